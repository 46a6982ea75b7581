//! The search beside brute force: all orders of all small histories that a seed draws.

use super::*;
use crate::load::plan::Dice;

#[derive(Clone, Copy, Debug)]
enum What {
    Write { version: Version, zero: bool },
    Read(Option<Shown>),
}

/// One operation of a history of one sector.
#[derive(Clone, Copy, Debug)]
struct Op {
    begin: Tick,
    end: Tick,
    /// Not in doubt.
    sure: bool,
    what: What,
}

/// The definition, word by word: some order of all sure operations and any of the others explains every read.
fn is_explained(ops: &[Op]) -> bool {
    fn goes_on(ops: &[Op], order: &mut Vec<usize>, value: Shown) -> bool {
        let placed = |at: &usize| order.contains(at);
        if (0..ops.len()).all(|at| placed(&at) || !ops[at].sure) {
            return true;
        }
        for at in (0..ops.len()).filter(|at| !placed(at)).collect::<Vec<_>>() {
            let op = &ops[at];
            let too_early = (0..ops.len())
                .any(|other| !order.contains(&other) && ops[other].sure && ops[other].end < op.begin);
            let newer =
                |other: &usize| matches!(ops[*other].what, What::Write { .. }) && ops[*other].begin > op.end;
            let too_late = !op.sure && order.iter().any(newer);
            let next = match op.what {
                What::Write { zero: true, .. } => Some(Shown::Zero),
                What::Write { version, zero: false } => Some(Shown::Stamp(version)),
                What::Read(None) => Some(value),
                What::Read(Some(shown)) => {
                    let same = shown == value || (value == Shown::Before && shown == Shown::Zero);
                    same.then_some(value)
                }
            };
            let Some(next) = next.filter(|_| !too_early && !too_late) else { continue };
            order.push(at);
            if goes_on(ops, order, next) {
                return true;
            }
            order.pop();
        }
        false
    }
    goes_on(ops, &mut Vec::new(), Shown::Before)
}

/// A history: up to `ops` operations, up to `wide` of them at a time.
fn draw(dice: &mut Dice, count: u64, wide: u64) -> Vec<Op> {
    let mut ops: Vec<Op> = Vec::new();
    let mut open: Vec<usize> = Vec::new();
    let (mut clock, mut version) = (0, 0);
    while (ops.len() as u64) < count || !open.is_empty() {
        clock += 1;
        let begins = (ops.len() as u64) < count && (open.len() as u64) < wide;
        if begins && (open.is_empty() || dice.below(2) == 0) {
            let what = if dice.below(2) == 0 {
                version += 1;
                What::Write { version, zero: dice.below(4) == 0 }
            } else {
                What::Read(None)
            };
            open.push(ops.len());
            ops.push(Op { begin: clock, end: 0, sure: true, what });
        } else {
            let at = open.swap_remove(usize::try_from(dice.below(open.len() as u64)).unwrap());
            ops[at].end = clock;
            let stamps: Vec<Version> = ops
                .iter()
                .filter_map(|op| match op.what {
                    What::Write { version, zero: false } => Some(version),
                    What::Write { .. } | What::Read(_) => None,
                })
                .collect();
            match &mut ops[at].what {
                What::Write { .. } => ops[at].sure = dice.below(3) > 0,
                What::Read(shown) => {
                    let pick = dice.below(stamps.len() as u64 * 3 + 2);
                    *shown = match pick {
                        0 => Some(Shown::Before),
                        1 => Some(Shown::Zero),
                        // The newer ones more often: else nearly every history is wrong at once.
                        pick => {
                            let back = (pick - 2) / 3 * dice.below(2);
                            Some(Shown::Stamp(stamps[stamps.len() - 1 - usize::try_from(back).unwrap()]))
                        }
                    };
                }
            }
        }
    }
    ops
}

/// What the register says of it, and when: the moment of the first read that nothing explains.
fn first_unexplained(ops: &[Op]) -> Option<Tick> {
    let mut register = Register::default();
    let last = ops.iter().map(|op| op.end).max().unwrap_or(0);
    let write = |version, zero| {
        let leaves = if zero { Leaves::Zeroes } else { Leaves::Stamps };
        Arc::new(Write {
            version,
            leaves,
            first: 0,
            count: 1,
            by: 0,
            sent_ms: 0,
            answered_ms: AtomicU64::new(0),
        })
    };
    for now in 1..=last {
        for op in ops.iter().filter(|op| op.begin == now) {
            match op.what {
                What::Write { version, zero } => register.begin_write(&write(version, zero), now),
                What::Read(_) => register.begin_read(now),
            }
        }
        for op in ops.iter().filter(|op| op.end == now) {
            let judgement = match op.what {
                What::Write { .. } => register.end_write(op.begin, now, op.sure),
                What::Read(shown) => {
                    register.end_read(op.begin, now, shown.map(|shown| Seen { shown, mark: None }))
                }
            };
            if !judgement.unexplained.is_empty() {
                return Some(now);
            }
        }
    }
    None
}

/// Whether they agree, and whether the history was explained.
fn agree(ops: &[Op]) -> bool {
    let found = first_unexplained(ops);
    match found {
        None => assert!(is_explained(ops), "nothing explains this, and it was not noticed: {ops:#?}"),
        Some(at) => {
            let until: Vec<Op> = ops.iter().filter(|op| op.end <= at).copied().collect();
            assert!(!is_explained(&until), "blamed at {at}, though there is an explanation: {until:#?}");
        }
    }
    found.is_none()
}

#[test]
fn the_search_says_what_brute_force_says_of_every_small_history() {
    let (mut right, mut wrong) = (0_u64, 0_u64);
    for seed in 0..60_000 {
        let mut dice = Dice::new(seed);
        let (count, wide) = (2 + dice.below(6), 1 + dice.below(4));
        let explained = agree(&draw(&mut dice, count, wide));
        *(if explained { &mut right } else { &mut wrong }) += 1;
    }
    println!("{right} histories have an explanation, {wrong} have none");
    assert!(right > 10_000 && wrong > 10_000, "{right}, {wrong}");
}

#[test]
fn a_read_beside_two_writes_may_see_either_and_what_it_saw_binds_the_next() {
    let write =
        |version, begin, end| Op { begin, end, sure: true, what: What::Write { version, zero: false } };
    let read =
        |version, begin, end| Op { begin, end, sure: true, what: What::Read(Some(Shown::Stamp(version))) };
    for (first, second, explained) in [(1, 1, true), (1, 2, true), (2, 2, true), (2, 1, true)] {
        assert_eq!(
            agree(&[write(1, 1, 9), write(2, 2, 8), read(first, 3, 4), read(second, 5, 6)]),
            explained
        );
    }
    // Both writes are over: what is there now stays.
    for (first, second, explained) in [(1, 1, true), (1, 2, false), (2, 2, true), (2, 1, false)] {
        assert_eq!(
            agree(&[write(1, 1, 4), write(2, 2, 3), read(first, 5, 6), read(second, 7, 8)]),
            explained
        );
    }
    assert!(!agree(&[write(1, 1, 9), write(2, 2, 8), read(1, 3, 4), read(2, 5, 6), read(1, 7, 10)]));
}

#[test]
fn a_sector_that_is_quiet_and_certain_takes_no_memory_of_its_own() {
    assert!(size_of::<Register>() <= 16);
    let mut register = Register::default();
    register.begin_read(1);
    register.end_read(1, 2, Some(Seen { shown: Shown::Zero, mark: None }));
    assert!(register.more.is_none());
}
