"""The table's ratios as one picture."""

WIDTH, LABEL, BAR, GAP, SCALE = 900, 230, 14, 16, 420
COLOURS = {"seawall": "#1f6f8b", "quorum": "#c2803a", "against": "#8a8f98"}


def drawn(report):
    """An SVG: a bar for each row and target, by the ratio to what it is compared with; both goals as marks."""
    parts, y = [], 56
    for name, row in report["rows"].items():
        targets = [t for t in COLOURS if t in row["ratios"]]
        parts.append(text(LABEL - 8, y + BAR, f"{name} / {row['against']}", "end"))
        top = y
        for target in targets:
            ratio = row["ratios"][target]
            parts.append(f'<rect x="{LABEL}" y="{y}" width="{min(ratio, 1.4) * SCALE:.0f}" height="{BAR}" '
                         f'fill="{COLOURS[target]}"/>')
            value = row["targets"][target][row["unit"]]
            unit = "IOPS" if row["unit"] == "iops" else "MB/s"
            parts.append(text(LABEL + min(ratio, 1.4) * SCALE + 6, y + BAR - 2, f"{ratio:.2f}  ({value:,.0f} {unit})"))
            y += BAR + 2
        for goal, dash in zip(row["goals"], ("4 3", "none")):
            x = LABEL + goal * SCALE
            parts.append(f'<line x1="{x:.0f}" x2="{x:.0f}" y1="{top - 4}" y2="{y + 2}" stroke="#333" stroke-dasharray="{dash}"/>')
        y += GAP
    legend, x = [], LABEL
    for target, colour in COLOURS.items():
        if any(target in row["ratios"] for row in report["rows"].values()):
            legend.append(f'<rect x="{x}" y="26" width="12" height="12" fill="{colour}"/>' + text(x + 18, 37, target))
            x += 110
    legend.append(text(x, 37, "dashed: first goal, solid: then"))
    title = text(LABEL, 16, f"Ratios of one run, medians of {report['rounds']} interleaved rounds", weight="bold")
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y}" font-family="sans-serif" font-size="12">'
            f'<rect width="100%" height="100%" fill="white"/>{title}{"".join(legend)}{"".join(parts)}</svg>\n')


def text(x, y, what, anchor="start", weight="normal"):
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" font-weight="{weight}">{what}</text>'
