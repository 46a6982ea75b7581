//! The shipped plan over all pairs of small concrete histories: what it asks for is carried out on the pair, and what
//! comes of that is looked at.

mod pair;

use seawall_recovery::plan::{PlanFacts, Rule, Trust};

use crate::cases::Cases;
use crate::search::{Report, rule};
use pair::{Copied, Lie, Ours, Pair, Theirs};

/// Epochs 1 to 3 of a volume: each but the first begins on some of what an earlier one wrote.
#[derive(Clone, Debug)]
struct Tree {
    lines: Vec<Vec<u8>>,
}

/// All trees whose lines have `records` records.
fn trees(records: usize) -> Vec<Tree> {
    let first = vec![1; records];
    let branch = |from: &[u8], at: usize, number: u8| {
        let mut line = from[..at].to_vec();
        line.resize(records, number);
        line
    };
    let mut trees = Vec::new();
    for second_at in 0..records {
        let second = branch(&first, second_at, 2);
        let of_first = (0..records).map(|at| branch(&first, at, 3));
        let of_second = (second_at + 1..records).map(|at| branch(&second, at, 3));
        for third in of_first.chain(of_second) {
            trees.push(Tree { lines: vec![first.clone(), second.clone(), third] });
        }
    }
    trees
}

/// All pairs of logs of a tree with so many records together.
fn logs(tree: &Tree, size: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut pairs = Vec::new();
    for ours in &tree.lines {
        for theirs in &tree.lines {
            for end in 1..=ours.len() {
                if let Some(other) = size.checked_sub(end).filter(|other| *other <= theirs.len()) {
                    pairs.push((ours[..end].to_vec(), theirs[..other].to_vec()));
                }
            }
        }
    }
    pairs.sort();
    pairs.dedup();
    pairs
}

/// Frontiers `a <= b` up to `end`.
fn ordered(end: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..=end).flat_map(move |b| (0..=b).map(move |a| (a, b)))
}

fn judge(cases: &mut Cases, pair: &Pair) -> bool {
    let size = pair.ours.log.len() + pair.theirs.log.len();
    cases.judge(
        size,
        || vec![pair.to_string()],
        || {
            let decision = pair.decide();
            one_rule_fires(&decision.facts, decision.rule)?;
            pair.carry_out(&decision.plan)?;
            pair.check_settled(decision.facts.proves_settled())
        },
    )
}

fn one_rule_fires(facts: &PlanFacts, fired: Rule) -> Result<(), crate::search::Breach> {
    let firing: Vec<Rule> = Rule::ALL.into_iter().filter(|rule| rule.fires(facts)).collect();
    rule("one-rule-fires", firing == [fired], || format!("{firing:?} for {facts:?}"))
}

/// Logs of up to `records` records in up to three epochs, where each log begins, what is settled and what is home, the
/// shortest first, until `judge` has seen enough.
fn every_pair(records: usize, mut judge: impl FnMut(&Ours, &Theirs) -> bool) {
    let trees = trees(records);
    for size in 1..=2 * records {
        let mut pairs: Vec<_> = trees.iter().flat_map(|tree| logs(tree, size)).collect();
        pairs.sort();
        pairs.dedup();
        for (our_log, their_log) in pairs {
            for (our_start, settled) in ordered(our_log.len()) {
                let ours = Ours { log: our_log.clone(), start: our_start, settled };
                for (start, checkpoint) in ordered(their_log.len()) {
                    if !judge(&ours, &Theirs::new(their_log.clone(), start, checkpoint)) {
                        return;
                    }
                }
            }
        }
    }
}

/// Whole copies, with the last record that its name says, or with another.
#[must_use]
pub fn whole(records: usize) -> Report {
    let mut cases = Cases::new("plan: whole copies");
    every_pair(records, |ours, theirs| {
        [false, true].into_iter().filter(|twin| !twin || !theirs.log.is_empty()).all(|twin| {
            let theirs = Theirs { twin, ..theirs.clone() };
            judge(&mut cases, &Pair { ours: ours.clone(), theirs, trust: Trust::Full })
        })
    });
    cases.report()
}

/// Broken rebuilds, blank disks, promises, foreign disks, lost trust, and facts that can't be.
#[must_use]
pub fn special(records: usize) -> Report {
    let mut cases = Cases::new("plan: broken copies and lies");
    every_pair(records, |ours, theirs| specials(&mut cases, ours, theirs));
    cases.report()
}

fn specials(cases: &mut Cases, ours: &Ours, theirs: &Theirs) -> bool {
    let mut go = |theirs: Theirs, trust| judge(cases, &Pair { ours: ours.clone(), theirs, trust });
    let copied = (0..=theirs.checkpoint).flat_map(|cut| {
        [false, true].into_iter().flat_map(move |stray| (0..3).map(move |held| Copied { cut, held, stray }))
    });
    for copied in copied {
        if !go(Theirs { copied: Some(copied), ..theirs.clone() }, Trust::Full) {
            return false;
        }
    }
    for promised in 1..=4 {
        if !go(Theirs { promised, ..theirs.clone() }, Trust::Full) {
            return false;
        }
    }
    for lie in Lie::ALL {
        if !go(Theirs { lie: Some(lie), ..theirs.clone() }, Trust::Full) {
            return false;
        }
    }
    for trust in [Trust::Diverged, Trust::DigestDiffered] {
        if !go(theirs.clone(), trust) {
            return false;
        }
    }
    go(Theirs { blank: true, ..theirs.clone() }, Trust::Full)
}
