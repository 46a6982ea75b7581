//! What a loss would cost: records that clients were promised and that too few copies hold, how many, how many bytes,
//! and for how long.

use alloc::collections::VecDeque;
use core::time::Duration;

use seawall_sender::time::Instant;
use seawall_wal::names::Lsn;

use crate::core::Core;

/// So many moments are remembered at a time; older ones are remembered less exactly.
const MARKS_MAX: usize = 64;

/// Ages below this are all alike.
const AGE_MIN: Duration = Duration::from_millis(1);

/// Promised records that would be lost with the copies that hold them.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct AtRisk {
    /// How many.
    pub records: u64,
    /// What they take in the log, in bytes: their blocks and a header each. Where `beyond`, at least.
    pub bytes: u64,
    /// The oldest of them was promised at this moment or after it; none if there are none.
    pub since: Option<Instant>,
    /// The log does not reach back to the oldest of them.
    pub beyond: bool,
}

/// When the promise moved, as exactly as memory allows; what it says of an age is never too little.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Marks {
    /// From this record on, nothing was promised before that moment.
    marks: VecDeque<(Lsn, Instant)>,
}

impl Marks {
    /// Records from `from` on are promised now.
    pub(crate) fn on_moved(&mut self, from: Lsn, now: Instant) {
        if self.marks.len() == MARKS_MAX {
            self.forget_one(now);
        }
        self.marks.push_back((from, now));
    }

    /// Forget the one that makes an age wrong by the least, in proportion.
    fn forget_one(&mut self, now: Instant) {
        let error = |at: usize| {
            let gap = self.marks[at].1.since(self.marks[at - 1].1);
            let age = now.since(self.marks[at].1).max(AGE_MIN);
            gap.as_nanos() * 1_000_000 / age.as_nanos()
        };
        if let Some(least) = (1..self.marks.len()).min_by_key(|at| error(*at)) {
            self.marks.remove(least);
        }
    }

    /// When the promise of what is not below `held` began, at the earliest.
    pub(crate) fn since(&self, held: Lsn) -> Option<Instant> {
        let later = self.marks.partition_point(|(from, _)| *from <= held);
        self.marks.get(later.saturating_sub(1)).map(|(_, at)| *at)
    }
}

impl Core {
    /// What of the promise is not held by a copy that has everything below `held`.
    pub(crate) fn at_risk(&self, held: Lsn) -> AtRisk {
        let promised = self.committed;
        if held >= promised {
            return AtRisk::default();
        }
        AtRisk {
            records: promised.since(held),
            bytes: self.log.bytes_from(held) - self.log.bytes_from(promised),
            since: self.primary.as_ref().and_then(|primary| primary.marks.since(held)),
            beyond: held < self.log.start(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_counted_from_the_moment_when_the_oldest_was_promised() {
        let mut marks = Marks::default();
        assert_eq!(marks.since(Lsn(3)), None);
        for (from, at) in [(5, 10), (8, 20), (9, 30)] {
            marks.on_moved(Lsn(from), Instant(at));
        }
        let since = |held| marks.since(Lsn(held)).map(|at| at.0);
        assert_eq!([3, 5, 7, 8, 9, 90].map(since), [10, 10, 10, 20, 30, 30].map(Some));
    }

    #[test]
    fn what_is_forgotten_makes_an_age_greater_and_never_less() {
        let mut marks = Marks::default();
        const STEP: u64 = 1_000_000;
        for step in 0..10_000_u64 {
            marks.on_moved(Lsn(step * 3), Instant(step * STEP));
            assert!(marks.marks.len() <= MARKS_MAX);
        }
        let end = 9_999 * STEP;
        for held in 0..30_000 {
            let known = marks.since(Lsn(held)).expect("something moved").0;
            let true_one = held / 3 * STEP;
            assert!(known <= true_one, "{held}: {known}");
            assert!((end - known) * 3 <= (end - true_one) * 4 + 3 * STEP, "{held}: {known} for {true_one}");
        }
        assert_eq!(marks.since(Lsn(29_997)), Some(Instant(end)), "the newest is exact");
    }
}
