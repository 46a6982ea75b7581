//! What the TOML parser says, in our words, and what a misspelt word may have meant.

use super::page::Page;
use crate::fault::Fault;

/// The parser's refusal as one of ours.
pub(super) fn fault(page: &Page, error: &toml::de::Error) -> Fault {
    let span = error.span().unwrap_or(0..0);
    let message = error.message();
    if let Some((key, rest)) = message.strip_prefix("unknown field `").and_then(|m| m.split_once('`')) {
        let known: Vec<&str> = rest.split('`').skip(1).step_by(2).collect();
        let fault = page.fault(span, "unknown key").found(format!("`{key}`"));
        let fault = fault.expected(format!("one of {}", known.join(", ")));
        return match nearest(key, known.iter().copied()) {
            Some(word) => fault.next(format!("write `{word}` if that is what it means, or remove the line")),
            None => fault.next("remove the line, or move it to the section that knows it"),
        };
    }
    if let Some(key) = message.strip_prefix("missing field `").and_then(|m| m.strip_suffix('`')) {
        return page
            .fault(span, "a key is missing")
            .expected(format!("`{key}`"))
            .next(format!("add `{key}` here"));
    }
    let (found, expected) = message.split_once(", expected ").unwrap_or((message, "TOML"));
    let found = found.replace('\n', "; ");
    if let Some(found) =
        found.strip_prefix("invalid type: ").or_else(|| found.strip_prefix("invalid value: "))
    {
        let fault = page.fault(span, "a value of the wrong kind").found(found).expected(expected);
        return fault.next("write a value of that kind; text stands in quotes");
    }
    page.fault(span, "this is not TOML")
        .found(found)
        .expected(expected)
        .next("correct the syntax at the mark")
}

/// The word that is at most two edits away, if there is one.
pub(super) fn nearest<'w>(word: &str, known: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    known
        .map(|k| (edits(word, k), k))
        .filter(|(edits, _)| *edits <= 2)
        .min_by_key(|(e, _)| *e)
        .map(|(_, k)| k)
}

/// How many letters must be added, dropped, changed or swapped with their neighbour to make `b` of `a`.
fn edits(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut cost = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            if i == 0 || j == 0 {
                cost[i][j] = i + j;
                continue;
            }
            let change = usize::from(a[i - 1] != b[j - 1]);
            cost[i][j] = (cost[i - 1][j] + 1).min(cost[i][j - 1] + 1).min(cost[i - 1][j - 1] + change);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                cost[i][j] = cost[i][j].min(cost[i - 2][j - 2] + 1);
            }
        }
    }
    cost[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_too_many_too_few_wrong_or_swapped_is_one_edit() {
        for word in ["homee", "hme", "hope", "ohme"] {
            assert_eq!(edits(word, "home"), 1, "{word}");
        }
        assert_eq!(nearest("lgo_size", ["log", "log_size"].into_iter()), Some("log_size"));
        assert_eq!(nearest("colour", ["log", "log_size"].into_iter()), None);
    }
}
