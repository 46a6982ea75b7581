//! The register's judgement against that of a search through all orders, over many small random histories.

use std::collections::BTreeSet;

use super::*;
use crate::prng::{Prng, Stream};

#[derive(Clone, Copy, Debug)]
enum What {
    Write { zero: bool },
    Read,
}

#[derive(Clone, Copy, Debug)]
struct Op {
    what: What,
    /// What it writes, or saw.
    stamp: Stamp,
    began: Turn,
    /// `None`: a write of which nobody heard again.
    ended: Option<Turn>,
}

/// A history of so many operations on one register, with turns of their own; what reads see is drawn.
fn history(prng: &mut Prng, ops: usize, zeroes: bool) -> Vec<Op> {
    let mut turns: Vec<Turn> = (1..=2 * ops as u64).collect();
    // Near each other in time, mostly: else all of them run beside each other and nothing contradicts anything.
    for at in 0..turns.len() {
        let other = (at + prng.index(4)).min(turns.len() - 1);
        turns.swap(at, other);
    }
    let mut history = Vec::new();
    for (index, pair) in turns.chunks_exact(2).enumerate() {
        let (began, ended) = (pair[0].min(pair[1]), pair[0].max(pair[1]));
        if prng.coin() {
            let zero = zeroes && prng.below(3) == 0;
            let ended = (prng.below(4) > 0).then_some(ended);
            history.push(Op { what: What::Write { zero }, stamp: Stamp(index as u64 + 1), began, ended });
        } else {
            history.push(Op { what: What::Read, stamp: Stamp::ZERO, began, ended: Some(ended) });
        }
    }
    let mut values: Vec<Stamp> = vec![Stamp::ZERO];
    values.extend(history.iter().filter_map(|op| match op.what {
        What::Write { zero: false } => Some(op.stamp),
        What::Write { zero: true } | What::Read => None,
    }));
    for op in &mut history {
        if let What::Read = op.what {
            op.stamp = prng.pick(&values);
        }
    }
    history
}

/// Whether some order of all operations explains the history: tried one after the other.
fn is_explained(history: &[Op]) -> bool {
    let mut tried = BTreeSet::new();
    search(history, 0, Stamp::ZERO, &mut tried)
}

fn search(history: &[Op], done: u32, holds: Stamp, tried: &mut BTreeSet<(u32, Stamp)>) -> bool {
    let left = || history.iter().enumerate().filter(|(index, _)| done >> index & 1 == 0);
    // What nobody heard the end of may be left out.
    if left().all(|(_, op)| op.ended.is_none()) {
        return true;
    }
    if !tried.insert((done, holds)) {
        return false;
    }
    let first_end = left().filter_map(|(_, op)| op.ended).min().expect("one of them ended");
    left().filter(|(_, op)| op.began < first_end).any(|(index, op)| {
        let next = match op.what {
            What::Write { zero: true } => Some(Stamp::ZERO),
            What::Write { zero: false } => Some(op.stamp),
            What::Read => (op.stamp == holds).then_some(holds),
        };
        next.is_some_and(|next| search(history, done | 1 << index, next, tried))
    })
}

/// What the register says when it hears of the history turn by turn. `forgets`: it drops what it may after each write.
fn is_accepted(history: &[Op], forgets: bool) -> bool {
    let mut register = Register::new();
    for turn in 1..=2 * history.len() as u64 {
        for op in history {
            let verdict = match op.what {
                What::Write { zero } if op.began == turn => {
                    let reads = history.iter().filter(|op| matches!(op.what, What::Read));
                    let running = reads.filter(|read| read.began < turn && read.ended > Some(turn));
                    let oldest = running.map(|read| read.began).min().unwrap_or(turn);
                    if forgets {
                        register.forget(oldest);
                    }
                    register.on_write_began(op.stamp, zero, turn, oldest);
                    Ok(())
                }
                What::Write { .. } if op.ended == Some(turn) => register.on_write_ended(op.stamp, turn),
                What::Read if op.ended == Some(turn) => register.on_read(op.stamp, op.began, turn),
                What::Write { .. } | What::Read => Ok(()),
            };
            if verdict.is_err() {
                return false;
            }
        }
    }
    true
}

/// How many histories both accept, both reject, and only the search rejects.
fn compare(stream: Stream, histories: u64, zeroes: bool, forgets: bool) -> [u64; 3] {
    let mut counts = [0; 3];
    for seed in 0..histories {
        let mut prng = Prng::new(seed, stream);
        let ops = 2 + prng.index(8);
        let history = history(&mut prng, ops, zeroes);
        match (is_explained(&history), is_accepted(&history, forgets)) {
            (true, true) => counts[0] += 1,
            (false, false) => counts[1] += 1,
            (false, true) => counts[2] += 1,
            (true, false) => panic!("seed {seed}: explained, and rejected: {history:?}"),
        }
    }
    println!("accepted {}, rejected {}, only the search rejects {}", counts[0], counts[1], counts[2]);
    counts
}

#[test]
fn without_writes_of_zeroes_the_register_is_exactly_the_search() {
    for forgets in [false, true] {
        let [accepted, rejected, missed] = compare(Stream::Client, 40_000, false, forgets);
        assert!(accepted > 4_000 && rejected > 4_000, "both kinds are drawn: {accepted}, {rejected}");
        assert_eq!(missed, 0);
    }
}

#[test]
fn with_writes_of_zeroes_nothing_valid_is_rejected_and_little_else_is_missed() {
    for forgets in [false, true] {
        let [accepted, rejected, missed] = compare(Stream::Operator, 40_000, true, forgets);
        assert!(accepted > 4_000 && rejected > 4_000, "both kinds are drawn: {accepted}, {rejected}");
        assert!(missed * 20 < rejected, "{missed} of {rejected} were missed");
    }
}
