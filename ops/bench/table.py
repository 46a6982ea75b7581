#!/usr/bin/env python3
"""The table: three replicas and the client on this machine, beside plain files and QEMU's quorum, in the same rounds.

    python3 ops/bench/table.py [--rounds 5] [--seconds 4] [--json FILE] [--plot FILE] [--baseline FILE]
    python3 ops/bench/table.py --binary NEW --against OLD --rows "4k write"    # two builds side by side
    python3 ops/bench/table.py --against-security plaintext                    # what TLS between replicas costs
    python3 ops/bench/table.py --profile                                       # and where a write's time goes

raw is one file, raw x3 the slowest of three at once: what a three-copy engine without network could reach. QEMU's quorum
is a storage daemon over three servers, each write durable on all three. Every round measures every row of every target,
each time in another order; what was written is checked by reading back, and by the digests of all copies. Machines are
shared and noisy, so only the ratios of one run mean something. Needs fio with its nbd engine; without QEMU's tools its
column is left out, by name. Leaves nothing behind. Exits 1 when a row is not filled or something read was not what was
written, 2 with --strict when a first goal is missed.
"""
import argparse
import json
import pathlib
import shutil
import signal
import statistics
import sys
import tempfile
import time

import load
import plot
import quorum
from cluster import ROOT, Cluster, built

WRITE32 = "4k write, depth 32, durable"
READ32 = "4k read, depth 32"
MIB = 1 << 20


class Row:
    """One line of the table: what fio does, what it is compared with, and both goals."""

    def __init__(self, name, options, unit, against, goals, durable=False, long=False):
        self.name, self.options, self.unit, self.against, self.goals = name, options, unit, against, goals
        self.durable, self.long = durable, long

    def arguments(self, asked):
        span = [f"--size={asked.span}"]
        if self.long:
            # At least four times the log, so that the checkpoint's work is in it.
            return [*self.options, *span, f"--io_size={4 * asked.log_bytes}"]
        return [*self.options, *span, f"--runtime={asked.seconds}", "--time_based"]


ROWS = [
    Row("4k write, depth 1, durable", ["--rw=randwrite", "--bs=4k", "--iodepth=1"], "iops", "raw x3", (0.6, 0.9), durable=True),
    Row(WRITE32, ["--rw=randwrite", "--bs=4k", "--iodepth=32"], "iops", "raw x3", (0.6, 1.0), long=True),
    Row("4k read, depth 1", ["--rw=randread", "--bs=4k", "--iodepth=1"], "iops", "raw", (0.6, 0.8)),
    Row(READ32, ["--rw=randread", "--bs=4k", "--iodepth=32"], "iops", "raw", (0.6, 0.9)),
    Row("1M write", ["--rw=write", "--bs=1M", "--iodepth=8"], "mbs", "raw x3", (0.45, 0.85)),
    Row("1M read", ["--rw=read", "--bs=1M", "--iodepth=8"], "mbs", "raw", (0.8, 0.95)),
]


class Files:
    """Plain files: `raw` is the first, `raw x3` all at once."""

    def __init__(self, home):
        self.paths = [home / f"raw{i}" for i in range(3)]

    def measure(self, row, asked):
        if row.against == "raw":
            return load.run(load.file(self.paths[0]), *row.arguments(asked))
        places = [load.file(path, row.durable) for path in self.paths]
        return min(load.run_all(places, *row.arguments(asked)), key=lambda result: result["iops"])

    def is_verified(self, span):
        return all(load.is_verified(load.file(path), span) for path in self.paths)

    def fill(self, span):
        for path in self.paths:
            load.run(load.file(path), "--rw=write", "--bs=1M", f"--size={span}", "--iodepth=8")


class Ours:
    """Three replicas of one build."""

    def __init__(self, binary, home, asked, security, config):
        self.cluster = Cluster(binary, home, asked.size, asked.log, security, config)
        self.cluster.start()
        self.settle()
        self.idle = self.cluster.resident_mib("VmRSS")

    def settle(self):
        self.cluster.wait(self.cluster.in_sync(), "three copies in sync")

    def fill(self, span):
        load.run(load.nbd(self.cluster.uri()), "--rw=write", "--bs=1M", f"--size={span}", "--iodepth=8")

    def look(self):
        cpu = self.cluster.cpu_seconds()
        # The kernel's count and ours are of one moment when nothing is written meanwhile: a round of the checkpoint ends.
        for _ in range(100):
            written = self.cluster.written_bytes()
            counters = {name: self.cluster.counters(name) for name in self.cluster.running}
            if written == self.cluster.written_bytes():
                break
            time.sleep(0.02)
        return {"cpu": cpu, "written": written, "counters": counters}

    def measure(self, row, asked):
        self.settle()
        before = self.look()
        result = load.run(load.nbd(self.cluster.uri()), *row.arguments(asked))
        after = self.look()
        ios = result["ios"]
        result["cpu"] = {n: (after["cpu"][n] - before["cpu"][n]) / ios * 1e6 for n in after["cpu"]}
        result["device"] = sum(after["written"][n] - before["written"][n] for n in after["written"])
        result["counted"] = {
            name: {key: value - before["counters"][name].get(key, 0) for key, value in now.items() if "_total" in key}
            for name, now in after["counters"].items()
        }
        return result

    def is_verified(self, span):
        if not load.is_verified(load.nbd(self.cluster.uri()), span):
            return False
        self.settle()
        # Fails unless the copies are equal.
        return "3 replicas are equal" in self.cluster.tool("digest", "--socket", self.cluster.home / "a.admin")

    def kill(self):
        self.cluster.kill()


class Rival:
    """QEMU's quorum."""

    def __init__(self, home, asked):
        self.quorum = quorum.Quorum(home, asked.span_bytes)

    def fill(self, span):
        load.run(load.nbd(self.quorum.uri()), "--rw=write", "--bs=1M", f"--size={span}", "--iodepth=8")

    def measure(self, row, asked):
        before = self.quorum.cpu_seconds()
        result = load.run(load.nbd(self.quorum.uri()), *row.arguments(asked))
        result["cpu"] = {"all": (self.quorum.cpu_seconds() - before) / result["ios"] * 1e6}
        return result

    def is_verified(self, span):
        return load.is_verified(load.nbd(self.quorum.uri()), span)

    def kill(self):
        self.quorum.kill()


def measured(targets, rows, asked):
    """Every sample of every row and target, and whether everything read back was what was written."""
    found = {row.name: {name: [] for name in targets} for row in rows}
    verified = {name: True for name in targets}
    names = list(targets)
    for number in range(asked.rounds):
        for index, row in enumerate(rows):
            print(f"round {number + 1} of {asked.rounds}: {row.name}", file=sys.stderr, flush=True)
            turn = (number + index) % len(names)
            for name in names[turn:] + names[:turn]:
                found[row.name][name].append(targets[name].measure(row, asked))
        for name in names:
            verified[name] &= targets[name].is_verified(asked.span)
    return found, verified


def middle(samples, key):
    return statistics.median(sample[key] for sample in samples)


def ratio(these, those, unit):
    return statistics.median(a[unit] / b[unit] for a, b in zip(these, those))


def summary(samples):
    """Medians over the rounds."""
    short = {key: middle(samples, key) for key in ("iops", "mbs", "p50", "p99", "p99.9", "longest")}
    if "cpu" in samples[0]:
        short["cpu"] = {name: statistics.median(s["cpu"][name] for s in samples) for name in samples[0]["cpu"]}
    return short


def reported(targets, rows, found, verified, asked):
    report = {"rounds": asked.rounds, "seconds": asked.seconds, "log": asked.log, "verified": verified, "rows": {}}
    for row in rows:
        cells = found[row.name]
        report["rows"][row.name] = {
            "unit": row.unit,
            "against": row.against,
            "goals": row.goals,
            "ratios": {n: ratio(s, cells["raw"], row.unit) for n, s in cells.items() if n != "raw"},
            "targets": {name: summary(samples) for name, samples in cells.items()},
            "samples": {name: [s[row.unit] for s in samples] for name, samples in cells.items()},
        }
        if "against" in targets:
            report["rows"][row.name]["faster"] = [
                a[row.unit] / b[row.unit] for a, b in zip(cells["seawall"], cells["against"])]
    report["figures"] = {}
    for name in ("seawall", "against"):
        if name in targets:
            report["figures"][name] = figures(targets[name], found, name)
    report["stages"] = {row.name: stages(found[row.name]["seawall"]) for row in rows if "write" in row.name}
    return report


def figures(ours, found, name):
    """What is not a rate: processor time, bytes, flushes and memory. Value and both goals, smaller is better."""
    lines = {}
    for row, goals in ((WRITE32, (50, 30)), (READ32, (12, 8))):
        if row in found:
            cpu = statistics.median(sum(s["cpu"].values()) for s in found[row][name])
            lines[f"CPU us per {row.split(',')[0]} at depth 32, all servers"] = (cpu, goals)
    if WRITE32 in found:
        samples = found[WRITE32][name]
        payload = sum(s["bytes"] for s in samples)

        def counted(key, only=None):
            return sum(c.get(f"seawall_{key}_total", 0) for s in samples for n, c in s["counted"].items() if only in (None, n))

        kernel, own = sum(s["device"] for s in samples), counted("device_bytes_written")
        lines["device bytes per payload byte, as the kernel counts"] = (kernel / payload, (7, 6.5))
        lines["device bytes per payload byte, as we count"] = (own / payload, (7, 6.5))
        lines["one count by the other, less 1, in percent"] = (abs(kernel / own - 1) * 100, (1, 1))
        ios = sum(s["ios"] for s in samples)
        # What was durable by itself, and flushes, of the replica that has most.
        most = max(counted("device_durable_writes", n) or counted("log_durable_appends", n) for n in ours.cluster.running)
        flushes = max(counted("device_flushes", n) for n in ours.cluster.running)
        lines["flushes or durable writes per write at depth 32, one replica"] = ((most + flushes) / ios, (1 / 10, 1 / 30))
    lines["resident MiB of a replica, idle"] = (max(ours.idle.values()), (40, 25))
    lines["resident MiB of a replica, at its peak"] = (max(ours.cluster.resident_mib().values()), (128, 96))
    return lines


def stages(samples):
    """Where a write's time goes, in microseconds: of the writes that were looked at, by the primary and by its peers."""
    found = {}
    for name in "abc":
        for sample in samples:
            for key, value in sample["counted"][name].items():
                if key.startswith("seawall_write_") and "_nanos_total" in key:
                    stage = key.removeprefix("seawall_write_").removesuffix("_nanos_total")
                    found.setdefault(name, {}).setdefault(stage, 0.0)
                    found[name][stage] += value
    counts = {}
    for name in found:
        for kind in ("here", "there"):
            key = f"seawall_write_probes_{kind}_total"
            counts[name, kind] = sum(s["counted"][name].get(key, 0) for s in samples)
    told = {}
    for name, parts in found.items():
        for stage, nanos in parts.items():
            kind = stage.split("_")[0]
            if counts.get((name, kind)):
                told.setdefault(f"{name} {kind}", {})[stage.split("_", 1)[1]] = nanos / counts[name, kind] / 1e3
    return told


def judged(value, goals, larger):
    """Which of both goals a value reaches."""
    first, then = ((value >= g) if larger else (value <= g) for g in goals)
    return "both" if then else "first" if first else "NO"


def show(report):
    names = list(next(iter(report["rows"].values()))["targets"])
    others = [n for n in names if n not in ("raw", "seawall")]
    head = "".join(f"{n:>10}" for n in others)
    print(f"\n{'row':30}{'unit':>6}{'peer':>8}{'it has':>9}{'seawall':>9}{'ratio':>7}  {'goals':12}{'holds':7}"
          f"{'p50':>7}{'p99':>8}{'p99.9':>8}{'longest':>9}  {'CPU us per I/O: a, b, c':26}{head}")
    for name, row in report["rows"].items():
        ours, raw, unit = row["targets"]["seawall"], row["targets"]["raw"], row["unit"]
        value = row["ratios"]["seawall"]
        goals = " ".join(f"{g:g}" for g in row["goals"])
        cpu = " ".join(f"{v:.1f}" for v in ours["cpu"].values())
        rest = "".join(f"{row['targets'][n][unit]:10.0f}" for n in others)
        print(f"{name:30}{unit:>6}{row['against']:>8}{raw[unit]:9.0f}{ours[unit]:9.0f}{value:7.2f}  {goals:12}"
              f"{judged(value, row['goals'], True):7}{ours['p50']:7.0f}{ours['p99']:8.0f}{ours['p99.9']:8.0f}"
              f"{ours['longest']:9.0f}  {cpu:26}{rest}")
    for name, lines in report["figures"].items():
        print(f"\n{name}")
        for what, (value, goals) in lines.items():
            told = " ".join(f"{g:.3g}" for g in goals)
            print(f"  {what:62}{value:9.3g}  {told:12}{judged(value, goals, False)}")
    print("\nverified: " + ", ".join(f"{name} {'yes' if good else 'NO'}" for name, good in report["verified"].items()))
    if any("faster" in row for row in report["rows"].values()):
        print("\nseawall / against, median (lowest to highest of the rounds)")
        for name, row in report["rows"].items():
            f = row["faster"]
            cpu = [sum(row["targets"][n]["cpu"].values()) for n in ("seawall", "against")]
            print(f"  {name:30}{statistics.median(f):6.3f}  ({min(f):.3f} to {max(f):.3f})"
                  f"   CPU {cpu[0]:.1f} / {cpu[1]:.1f} us, p50 "
                  + " / ".join(f"{row['targets'][n]['p50']:.0f}" for n in ("seawall", "against")) + " us")


def show_stages(report):
    print("\nwhere a write's time goes, in us: means over the writes that were looked at")
    for row, parts in report["stages"].items():
        for who, found in parts.items():
            whole = found.get("whole", 0.0)
            rest = {k: v for k, v in found.items() if k != "whole"}
            told = ", ".join(f"{k} {v:.0f}" for k, v in rest.items())
            print(f"  {row:30}{who:8} {told}; sum {sum(rest.values()):.0f}, measured {whole:.0f}")


def compare(report, path):
    """This run's ratios beside those of an older one."""
    before = json.loads(pathlib.Path(path).read_text())
    print(f"\nratio to raw, now / in {path}")
    for name, row in report["rows"].items():
        old = before["rows"].get(name, {}).get("ratios", {}).get("seawall")
        if old:
            now = row["ratios"]["seawall"]
            print(f"  {name:40}{now:8.2f}{old:8.2f}{now / old - 1:+9.1%}")
    for what, (value, _) in report["figures"]["seawall"].items():
        old = before.get("figures", {}).get("seawall", {}).get(what)
        if old and old[0]:
            print(f"  {what:62}{value:8.3g}{old[0]:8.3g}{value / old[0] - 1:+9.1%}")


def is_filled(report):
    """Whether every row has a number of every target, and everything was verified."""
    rates = [t[row["unit"]] > 0 for row in report["rows"].values() for t in row["targets"].values()]
    return all(rates) and all(report["verified"].values())


def bytes_of(text):
    for unit, factor in (("KiB", 1 << 10), ("MiB", MIB), ("GiB", 1 << 30)):
        if text.endswith(unit):
            return int(text.removesuffix(unit)) * factor
    return int(text)


def options():
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--rounds", type=int, default=5)
    asked.add_argument("--seconds", type=int, default=4, help="of each row and target, but where four logs are written")
    asked.add_argument("--size", default="10GiB", help="of the volume")
    asked.add_argument("--span", default="1GiB", help="what is written and read of it")
    asked.add_argument("--log", default="256MiB")
    asked.add_argument("--security", default="tls", choices=["tls", "plaintext"], help="between replicas")
    asked.add_argument("--config", default="", help="more lines of the replicas' configuration")
    asked.add_argument("--rows", default="", help="only rows with this in their names")
    asked.add_argument("--binary", help="the build to measure; by default one is made of this tree")
    asked.add_argument("--against", help="another build, measured in the same rounds")
    asked.add_argument("--against-security", choices=["tls", "plaintext"], help="a cluster of that kind in the same rounds")
    asked.add_argument("--against-config", help="a cluster with those lines in the same rounds")
    asked.add_argument("--without-quorum", action="store_true")
    asked.add_argument("--profile", action="store_true", help="print where a write's time goes")
    asked.add_argument("--json", help="write everything there")
    asked.add_argument("--plot", help="draw the ratios there, as SVG")
    asked.add_argument("--baseline", help="compare with what --json wrote before")
    asked.add_argument("--strict", action="store_true", help="exit 2 when a first goal is missed")
    asked = asked.parse_args()
    asked.log_bytes, asked.span_bytes = bytes_of(asked.log), bytes_of(asked.span)
    asked.span = str(asked.span_bytes)
    return asked


def main():
    asked = options()
    # Also who ends it from outside leaves nothing behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    if not shutil.which("fio"):
        sys.exit("fio is missing: apt-get install fio (or bash .ci/install)")
    rows = [row for row in ROWS if asked.rows in row.name]
    binary = pathlib.Path(asked.binary).resolve() if asked.binary else built()
    (ROOT / "target/bench").mkdir(parents=True, exist_ok=True)
    home = pathlib.Path(tempfile.mkdtemp(dir=ROOT / "target/bench"))
    targets = {"raw": Files(home)}
    try:
        targets["seawall"] = Ours(binary, home / "seawall", asked, asked.security, asked.config)
        if asked.against or asked.against_security or asked.against_config is not None:
            other = pathlib.Path(asked.against).resolve() if asked.against else binary
            security = asked.against_security or asked.security
            config = asked.config if asked.against_config is None else asked.against_config
            targets["against"] = Ours(other, home / "against", asked, security, config)
        if quorum.missing():
            print(f"without QEMU's quorum: {', '.join(quorum.missing())} missing", file=sys.stderr)
        elif not asked.without_quorum:
            targets["quorum"] = Rival(home / "quorum", asked)
        for target in targets.values():
            target.fill(asked.span)
        found, verified = measured(targets, rows, asked)
        report = reported(targets, rows, found, verified, asked)
    except load.LoadError as error:
        sys.exit(f"fio failed: {error}")
    finally:
        for target in targets.values():
            if not isinstance(target, Files):
                target.kill()
        shutil.rmtree(home, ignore_errors=True)
    show(report)
    if asked.profile:
        show_stages(report)
    if asked.baseline:
        compare(report, asked.baseline)
    if asked.json:
        pathlib.Path(asked.json).write_text(json.dumps(report, indent=1) + "\n")
    if asked.plot:
        pathlib.Path(asked.plot).write_text(plot.drawn(report))
    if not is_filled(report):
        sys.exit("not every row is filled and verified")
    missed = [n for n, row in report["rows"].items() if row["ratios"]["seawall"] < row["goals"][0]]
    if asked.strict and missed:
        print(f"first goal missed: {', '.join(missed)}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
