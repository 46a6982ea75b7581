//! One sector as a register, judged exactly: was there an order of its reads and writes that explains every read?
//!
//! The order must keep what was over before something else began, and each operation takes effect at one moment
//! between its beginning and its end. A write in doubt (never answered, or answered with an error) may take effect
//! at any moment after its beginning, or never; but not after a write has taken effect that began when the doubt was
//! known: whoever gave the first one up and wrote anew must not see the first one land on top.
//!
//! A register collects what happens while any operation is under way, and is judged whenever it is quiet again, by
//! a search over all orders. What it carries on to the next time are the values that it may hold, and with each of
//! them the writes in doubt that may still come.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::ledger::{Leaves, Version};
use super::stamp::Mark;

/// A moment: the number of an event of the ledger.
pub(super) type Tick = u64;
/// Operations that the load has begun since a sector was quiet, when it leaves that sector alone: orders are many.
const BEGUN_MAX: usize = 8;
/// Writes in doubt that may still come to a sector, when the load leaves it alone. Together with the reads of a check
/// they fit a mask.
const DOUBTS_MAX: usize = 6;

/// A write, as its client knows it.
#[derive(Debug)]
pub(super) struct Write {
    pub(super) version: Version,
    pub(super) leaves: Leaves,
    pub(super) first: usize,
    pub(super) count: usize,
    /// The connection that sent it.
    pub(super) by: u32,
    /// When it was sent, in milliseconds since 1970.
    pub(super) sent_ms: u64,
    /// When it was answered well; zero before.
    pub(super) answered_ms: AtomicU64,
}

impl Write {
    pub(super) fn mark(&self) -> Mark {
        Mark { version: self.version, by: self.by, sent_ms: self.sent_ms }
    }
}

/// What a sector shows to who reads it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Shown {
    /// Bytes that no write of the ledger left.
    Before,
    Zero,
    Stamp(Version),
}

/// What a read returned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) shown: Shown,
    /// The stamp, if it is one.
    pub(super) mark: Option<Mark>,
}

/// What a sector holds: what a write left, or what was there before all writes.
pub(super) type Value = Option<Arc<Write>>;

fn shows(value: &Value) -> Shown {
    match value.as_deref() {
        None => Shown::Before,
        Some(Write { leaves: Leaves::Zeroes, .. }) => Shown::Zero,
        Some(write) => Shown::Stamp(write.version),
    }
}

/// Whether a read may have returned this where that value was. Before all writes there may have been zeroes.
fn explains(value: &Value, read: Shown) -> bool {
    shows(value) == read || (value.is_none() && read == Shown::Zero)
}

/// A read that no order explains.
#[derive(Debug)]
pub(super) struct Unexplained {
    pub(super) read: Seen,
    /// What would have been explained.
    pub(super) permitted: Vec<Value>,
}

/// What a quiet moment told.
#[derive(Default, Debug)]
pub(super) struct Judgement {
    pub(super) unexplained: Vec<Unexplained>,
    /// A read that was alone left fewer values possible than there were.
    pub(super) narrowed: Option<Shown>,
    /// A write and something else were under way together.
    pub(super) overlapped: bool,
}

/// A sector.
#[derive(Default, Debug)]
pub(super) struct Register {
    value: Value,
    more: Option<Box<More>>,
}

/// Whatever a sector has that is not quiet and certain.
#[derive(Debug)]
struct More {
    pasts: Vec<Past>,
    doubts: Vec<Doubt>,
    begun: Vec<Begun>,
    under_way: usize,
}

/// A value that the sector may hold, and the doubts (a mask) that may still come then.
#[derive(Debug)]
struct Past {
    value: Value,
    left: u32,
}

#[derive(Clone, Debug)]
struct Doubt {
    write: Arc<Write>,
    begin: Tick,
    known: Tick,
}

#[derive(Debug)]
struct Begun {
    begin: Tick,
    end: Option<Tick>,
    deed: Deed,
}

#[derive(Debug)]
enum Deed {
    Write { write: Arc<Write>, sure: bool },
    Read(Option<Seen>),
}

/// One operation of the search.
#[derive(Clone)]
struct Move {
    begin: Tick,
    end: Tick,
    /// It did take effect.
    sure: bool,
    act: Act,
    /// What must come before it.
    after: u32,
    /// What it may not follow.
    never_after: u32,
}

#[derive(Clone)]
enum Act {
    Write(Arc<Write>),
    Read(Seen),
}

impl Register {
    /// Whether the load may begin another operation here.
    pub(super) fn has_room(&self) -> bool {
        let busy = |more: &More| more.begun.len() >= BEGUN_MAX || more.doubts.len() >= DOUBTS_MAX;
        !self.more.as_deref().is_some_and(busy)
    }

    /// Whether anything is under way.
    pub(super) fn is_quiet(&self) -> bool {
        self.more.as_ref().is_none_or(|more| more.under_way == 0)
    }

    pub(super) fn begin_write(&mut self, write: &Arc<Write>, begin: Tick) {
        self.begin(begin, Deed::Write { write: Arc::clone(write), sure: false });
    }

    pub(super) fn begin_read(&mut self, begin: Tick) {
        self.begin(begin, Deed::Read(None));
    }

    fn begin(&mut self, begin: Tick, deed: Deed) {
        let value = &mut self.value;
        let more = self.more.get_or_insert_with(|| {
            let pasts = vec![Past { value: value.take(), left: 0 }];
            Box::new(More { pasts, doubts: Vec::new(), begun: Vec::new(), under_way: 0 })
        });
        more.under_way += 1;
        more.begun.push(Begun { begin, end: None, deed });
    }

    /// A write that began then was answered well, or (not `sure`) is in doubt from now on.
    pub(super) fn end_write(&mut self, begin: Tick, end: Tick, is_sure: bool) -> Judgement {
        self.end(begin, end, |deed| {
            if let Deed::Write { sure, .. } = deed {
                *sure = is_sure;
            }
        })
    }

    /// A read that began then returned this; nothing, if it was not answered or is judged elsewhere.
    pub(super) fn end_read(&mut self, begin: Tick, end: Tick, seen: Option<Seen>) -> Judgement {
        self.end(begin, end, |deed| *deed = Deed::Read(seen))
    }

    fn end(&mut self, begin: Tick, end: Tick, change: impl FnOnce(&mut Deed)) -> Judgement {
        let more = self.more.as_mut().expect("what ends has begun");
        let begun = more.begun.iter_mut().find(|begun| begun.begin == begin).expect("what ends has begun");
        begun.end = Some(end);
        change(&mut begun.deed);
        more.under_way -= 1;
        if more.under_way > 0 {
            return Judgement::default();
        }
        let judgement = more.settle();
        if let ([past], []) = (&mut more.pasts[..], &more.doubts[..]) {
            self.value = past.value.take();
            self.more = None;
        }
        judgement
    }
}

impl More {
    /// All is over: judge it, and keep what may be from here on.
    fn settle(&mut self) -> Judgement {
        let mut judgement = Judgement { overlapped: overlapped(&self.begun), ..Judgement::default() };
        let alone = match &self.begun[..] {
            [Begun { deed: Deed::Read(Some(seen)), .. }] => Some(seen.shown),
            _ => None,
        };
        let mut moves = moves(&self.doubts, &std::mem::take(&mut self.begun));
        let carried = self.doubts.len();
        let mut pasts = search(&self.pasts, carried, &moves);
        while pasts.is_empty() {
            let culprit = culprit(&self.pasts, carried, &moves);
            let Act::Read(read) = moves[culprit].act else { unreachable!("only reads are left unexplained") };
            let permitted = permitted(&self.pasts, carried, &moves, culprit);
            judgement.unexplained.push(Unexplained { read, permitted });
            moves.remove(culprit);
            relate(&mut moves);
            pasts = search(&self.pasts, carried, &moves);
        }
        if judgement.unexplained.is_empty() && pasts.len() < self.pasts.len() {
            judgement.narrowed = alone;
        }
        self.keep(&moves, pasts);
        judgement
    }

    /// Carry on with the doubts that still may come.
    fn keep(&mut self, moves: &[Move], mut pasts: Vec<Past>) {
        let any = pasts.iter().fold(0, |any, past| any | past.left);
        let still: Vec<usize> = (0..moves.len()).filter(|at| any & bit(*at) != 0).collect();
        for past in &mut pasts {
            let kept = (0..).zip(&still).filter(|(_, at)| past.left & bit(**at) != 0);
            past.left = kept.fold(0, |left, (to, _)| left | bit(to));
        }
        let doubt = |at: usize| match &moves[at] {
            Move { act: Act::Write(write), begin, end, .. } => {
                Doubt { write: Arc::clone(write), begin: *begin, known: *end }
            }
            Move { act: Act::Read(_), .. } => unreachable!("a read is never in doubt"),
        };
        self.doubts = still.into_iter().map(doubt).collect();
        self.pasts = pasts;
    }
}

fn bit(at: usize) -> u32 {
    assert!(at < 32, "a quiet moment comes before so much has begun");
    1 << at
}

fn overlapped(begun: &[Begun]) -> bool {
    let ended_before = |one: &Begun, other: &Begun| one.end.is_some_and(|end| end < other.begin);
    begun.iter().enumerate().any(|(at, one)| {
        let meets = |other: &Begun| !ended_before(one, other) && !ended_before(other, one);
        matches!(one.deed, Deed::Write { .. })
            && begun.iter().enumerate().any(|(other_at, other)| other_at != at && meets(other))
    })
}

/// The doubts first, in their order; then what has begun since.
fn moves(doubts: &[Doubt], begun: &[Begun]) -> Vec<Move> {
    let made = |begin, end, sure, act| Move { begin, end, sure, act, after: 0, never_after: 0 };
    let mut moves: Vec<Move> = doubts
        .iter()
        .map(|doubt| made(doubt.begin, doubt.known, false, Act::Write(Arc::clone(&doubt.write))))
        .collect();
    for begun in begun {
        let end = begun.end.expect("all is over");
        match &begun.deed {
            Deed::Write { write, sure } => {
                moves.push(made(begun.begin, end, *sure, Act::Write(Arc::clone(write))));
            }
            Deed::Read(Some(seen)) => moves.push(made(begun.begin, end, true, Act::Read(*seen))),
            Deed::Read(None) => {}
        }
    }
    relate(&mut moves);
    moves
}

/// Which must come before which.
fn relate(moves: &mut [Move]) {
    for at in 0..moves.len() {
        let (begin, end, sure) = (moves[at].begin, moves[at].end, moves[at].sure);
        let mask = |wanted: &dyn Fn(&Move) -> bool| {
            (0..moves.len()).filter(|other| wanted(&moves[*other])).fold(0, |mask, other| mask | bit(other))
        };
        let after = mask(&|other| other.sure && other.end < begin);
        let newer = |other: &Move| matches!(other.act, Act::Write(_)) && other.begin > end;
        let never_after = if sure { 0 } else { mask(&newer) };
        (moves[at].after, moves[at].never_after) = (after, never_after);
    }
}

/// Everything that may be after all sure moves were made in an order that explains them; nothing if there is none.
/// The first `carried` moves are the doubts that the pasts speak of.
fn search(pasts: &[Past], carried: usize, moves: &[Move]) -> Vec<Past> {
    let all = |wanted: &dyn Fn(usize) -> bool| {
        (0..moves.len()).filter(|at| wanted(*at)).fold(0, |mask, at| mask | bit(at))
    };
    let (sure, carried) = (all(&|at| moves[at].sure), all(&|at| at < carried));
    // A value by the move that left it, or else by its past.
    let value = |name: usize| match moves.get(name) {
        Some(Move { act: Act::Write(write), .. }) => Some(Arc::clone(write)),
        Some(Move { act: Act::Read(_), .. }) => None,
        None => pasts[name - moves.len()].value.clone(),
    };
    let values: Vec<Value> = (0..moves.len() + pasts.len()).map(value).collect();
    // What a past has not left is as good as made.
    let begin = (moves.len()..).zip(pasts).map(|(name, past)| (name, carried & !past.left));
    let mut open: Vec<(usize, u32)> = begin.collect();
    let mut seen: BTreeSet<(usize, u32)> = open.iter().copied().collect();
    let mut told: BTreeSet<(Shown, u32)> = BTreeSet::new();
    let mut found = Vec::new();
    while let Some((name, made)) = open.pop() {
        if made & sure == sure {
            let left = all(&|at| !moves[at].sure && made & (bit(at) | moves[at].never_after) == 0);
            if told.insert((shows(&values[name]), left)) {
                found.push(Past { value: values[name].clone(), left });
            }
        }
        for (at, next) in moves.iter().enumerate() {
            if made & (bit(at) | next.never_after) != 0 || made & next.after != next.after {
                continue;
            }
            let to = match &next.act {
                Act::Write(_) => at,
                Act::Read(seen) if explains(&values[name], seen.shown) => name,
                Act::Read(_) => continue,
            };
            if seen.insert((to, made | bit(at))) {
                open.push((to, made | bit(at)));
            }
        }
    }
    found
}

/// The first read, by its end, that nothing explains.
fn culprit(pasts: &[Past], carried: usize, moves: &[Move]) -> usize {
    let mut reads: Vec<usize> =
        (0..moves.len()).filter(|at| matches!(moves[*at].act, Act::Read(_))).collect();
    reads.sort_by_key(|at| moves[*at].end);
    let fails = |last: &usize| {
        let known = |one: &&Move| matches!(one.act, Act::Write(_)) || one.end <= moves[*last].end;
        let mut known: Vec<Move> = moves.iter().filter(known).cloned().collect();
        relate(&mut known);
        search(pasts, carried, &known).is_empty()
    };
    let first = reads.iter().copied().find(|last| fails(last));
    first.expect("writes alone are always explained")
}

/// The values that this read might have returned instead.
fn permitted(pasts: &[Past], carried: usize, moves: &[Move], culprit: usize) -> Vec<Value> {
    let left = moves.iter().filter_map(|one| match &one.act {
        Act::Write(write) => Some(Some(Arc::clone(write))),
        Act::Read(_) => None,
    });
    let mut told = BTreeSet::new();
    let distinct: Vec<Value> = pasts
        .iter()
        .map(|past| past.value.clone())
        .chain(left)
        .filter(|value| told.insert(shows(value)))
        .collect();
    // What comes after it may be as wrong: it is not asked.
    let known = |one: &&Move| matches!(one.act, Act::Write(_)) || one.end <= moves[culprit].end;
    let explained = |value: &Value| {
        let mut instead: Vec<Move> = moves.iter().filter(known).cloned().collect();
        let asked = instead.iter_mut().find(|one| one.begin == moves[culprit].begin);
        asked.expect("it is among them").act = Act::Read(Seen { shown: shows(value), mark: None });
        relate(&mut instead);
        !search(pasts, carried, &instead).is_empty()
    };
    distinct.into_iter().filter(explained).collect()
}

#[cfg(test)]
mod tests;
