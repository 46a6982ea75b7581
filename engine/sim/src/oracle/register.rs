//! One register: the writes that went to a place, what reads of it saw, and whether any order of them explains
//! that.
//!
//! Every write has a value of its own, so a history of one register is linearizable exactly if no two values
//! must each come before the other (Gibbons and Korach, "Testing shared memories", 1997, section 5): value `a`
//! must come before `b` if some operation on `a` (its write, or a read that saw it) ended before some operation
//! on `b` began. A write without a known end may be anywhere, or nowhere, until somebody sees it. Only zeroes
//! are written by many: a read of them is taken for the one write that explains it, and left out if several do.

use core::fmt;

use crate::stamp::Stamp;

/// A position in the order of all events of a run.
pub(crate) type Turn = u64;

/// Has not ended.
const NEVER: Turn = Turn::MAX;
/// Above so many values of one register, those that can't be seen any more are forgotten.
const VALUES_MAX: usize = 24;

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{} [{}, ", self.stamp.0, if self.zero { "z" } else { "" }, self.began)?;
        match self.ended_first {
            NEVER => f.write_str("?)"),
            ended => write!(f, "{ended}) last seen by {}", self.began_last),
        }
    }
}

/// A write and the reads that saw it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Value {
    /// Which write.
    pub(crate) stamp: Stamp,
    /// Whether it wrote zeroes.
    zero: bool,
    /// When the write began.
    began: Turn,
    /// The first end of an operation on it.
    ended_first: Turn,
    /// The last beginning of an operation on it.
    began_last: Turn,
    /// When its client was told that a later write of its own is done, if that is known: if it was ever to be seen,
    /// it had taken effect by then.
    fenced: Turn,
    /// The same, if that later write went to this very place: nobody who looks after that sees it.
    buried: Turn,
}

impl Value {
    fn must_precede(&self, other: &Value) -> bool {
        self.ended_first < other.began_last
    }
}

/// Why a read can't be explained.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unexplained {
    /// Nobody wrote this here, or it was overwritten so long ago that it is forgotten.
    Unknown,
    /// It was read before it was written.
    Early,
    /// It should be both older and newer than that other write.
    Disordered {
        /// The other write.
        other: Stamp,
    },
    /// No write of zeroes explains the zeroes.
    NoZero,
    /// Its client had written here anew, and had its answer, before the read began.
    Buried,
}

/// One place.
#[derive(Clone, Debug)]
pub(crate) struct Register {
    values: Vec<Value>,
}

impl Register {
    /// A place that holds zeroes.
    pub(crate) fn new() -> Register {
        let zeroes = Value {
            stamp: Stamp::ZERO,
            zero: true,
            began: 0,
            ended_first: 0,
            began_last: 0,
            fenced: NEVER,
            buried: NEVER,
        };
        Register { values: vec![zeroes] }
    }

    /// A write begins. Every operation that has not ended began at `oldest` or later.
    pub(crate) fn on_write_began(&mut self, stamp: Stamp, zero: bool, began: Turn, oldest: Turn) {
        if self.values.len() >= VALUES_MAX {
            self.forget(oldest);
        }
        self.values.push(Value {
            stamp,
            zero,
            began,
            ended_first: NEVER,
            began_last: began,
            fenced: NEVER,
            buried: NEVER,
        });
    }

    /// A write completed.
    pub(crate) fn on_write_ended(&mut self, stamp: Stamp, ended: Turn) -> Result<(), Unexplained> {
        // What is forgotten was hidden by a newer value already: its end says nothing more.
        let Some(index) = self.find(stamp) else { return Ok(()) };
        self.values[index].ended_first = self.values[index].ended_first.min(ended);
        self.check(self.values[index])
    }

    /// A write in doubt: its client has now been told that a later one is done, perhaps (`here`) of this place.
    pub(crate) fn on_fenced(&mut self, stamp: Stamp, now: Turn, here: bool) {
        let Some(index) = self.find(stamp) else { return };
        let value = &mut self.values[index];
        value.fenced = value.fenced.min(now);
        if here {
            value.buried = value.buried.min(now);
        }
    }

    /// A promotion was forced by a copy that shows this here: it is what is there now, whatever came after it elsewhere.
    /// A write without an end may still come, also one that its client gave up on the side that is void.
    pub(crate) fn on_forced(&mut self, seen: Stamp, now: Turn) {
        let began = self.find(seen).map_or(0, |index| self.values[index].began);
        self.values.retain(|value| value.ended_first == NEVER && value.stamp != seen);
        for value in &mut self.values {
            (value.fenced, value.buried) = (NEVER, NEVER);
        }
        self.values.push(Value {
            stamp: seen,
            zero: seen == Stamp::ZERO,
            began,
            ended_first: now,
            began_last: now,
            fenced: NEVER,
            buried: NEVER,
        });
    }

    /// A write never happened: it was refused before it began.
    pub(crate) fn on_write_void(&mut self, stamp: Stamp) {
        self.values.retain(|value| value.stamp != stamp);
    }

    /// A read saw this, in whatever order: somebody must have written it here, or nobody anything.
    pub(crate) fn check_known(&self, seen: Stamp) -> Result<(), Unexplained> {
        let known = seen == Stamp::ZERO || self.find(seen).is_some_and(|index| !self.values[index].zero);
        if known { Ok(()) } else { Err(Unexplained::Unknown) }
    }

    /// A read that began and ended then saw this.
    pub(crate) fn on_read(&mut self, seen: Stamp, began: Turn, ended: Turn) -> Result<(), Unexplained> {
        if seen == Stamp::ZERO {
            let explain: Vec<usize> = (0..self.values.len())
                .filter(|&index| self.values[index].zero && self.with_read(index, began, ended).is_ok())
                .collect();
            return match explain[..] {
                [] => Err(Unexplained::NoZero),
                [only] => {
                    self.values[only] = self.with_read(only, began, ended)?;
                    Ok(())
                }
                [..] => Ok(()),
            };
        }
        let index = self.find(seen).filter(|&index| !self.values[index].zero).ok_or(Unexplained::Unknown)?;
        self.values[index] = self.with_read(index, began, ended)?;
        Ok(())
    }

    /// The newest values, for a report.
    pub(crate) fn values(&self) -> &[Value] {
        &self.values
    }

    fn find(&self, stamp: Stamp) -> Option<usize> {
        self.values.iter().rposition(|value| value.stamp == stamp)
    }

    fn with_read(&self, index: usize, began: Turn, ended: Turn) -> Result<Value, Unexplained> {
        let mut value = self.values[index];
        if ended < value.began {
            return Err(Unexplained::Early);
        }
        if began > value.buried {
            return Err(Unexplained::Buried);
        }
        value.ended_first = value.ended_first.min(ended).min(value.fenced);
        value.began_last = value.began_last.max(began);
        self.check(value)?;
        Ok(value)
    }

    fn check(&self, value: Value) -> Result<(), Unexplained> {
        let contradicts = |other: &&Value| {
            other.stamp != value.stamp && other.must_precede(&value) && value.must_precede(other)
        };
        match self.values.iter().find(contradicts) {
            Some(other) => Err(Unexplained::Disordered { other: other.stamp }),
            None => Ok(()),
        }
    }

    /// Drops each value that a newer one hides: it began after all that is known of the hidden one, and ended
    /// before whatever can still end began. Who saw the hidden one again would contradict the newer one, and who
    /// contradicts the hidden one contradicts the newer one too.
    fn forget(&mut self, oldest: Turn) {
        let newest =
            self.values.iter().filter(|value| value.ended_first < oldest).map(|value| value.began).max();
        if let Some(newest) = newest {
            self.values.retain(|value| value.ended_first >= newest || value.began_last >= newest);
        }
    }
}

#[cfg(test)]
mod brute;

#[cfg(test)]
mod tests {
    use super::*;

    const A: Stamp = Stamp(1);
    const B: Stamp = Stamp(2);
    const ZEROED: Stamp = Stamp(3);

    fn register(writes: &[(Stamp, Turn, Option<Turn>)]) -> Register {
        let mut register = Register::new();
        for &(stamp, began, ended) in writes {
            register.on_write_began(stamp, stamp == ZEROED, began, 0);
            if let Some(ended) = ended {
                register.on_write_ended(stamp, ended).unwrap();
            }
        }
        register
    }

    fn check(
        writes: &[(Stamp, Turn, Option<Turn>)],
        reads: &[(Stamp, Turn, Turn)],
        expected: Result<(), Unexplained>,
    ) {
        let mut register = register(writes);
        let (last, before) = reads.split_last().unwrap();
        for &(seen, began, ended) in before {
            assert_eq!(register.on_read(seen, began, ended), Ok(()));
        }
        assert_eq!(register.on_read(last.0, last.1, last.2), expected, "{writes:?} {reads:?}");
    }

    #[test]
    fn a_read_sees_the_newest_completed_write() {
        let writes = [(A, 1, Some(2)), (B, 3, Some(4))];
        check(&writes, &[(B, 5, 6)], Ok(()));
        check(&writes, &[(A, 5, 6)], Err(Unexplained::Disordered { other: B }));
        check(&writes, &[(Stamp::ZERO, 5, 6)], Err(Unexplained::NoZero));
        check(&writes, &[(Stamp(9), 5, 6)], Err(Unexplained::Unknown));
    }

    #[test]
    fn a_read_may_see_either_side_of_a_write_that_runs_beside_it() {
        let writes = [(A, 1, Some(2)), (B, 3, Some(8))];
        check(&writes, &[(A, 4, 7)], Ok(()));
        check(&writes, &[(B, 4, 7)], Ok(()));
        check(&writes, &[(B, 4, 5), (A, 6, 7)], Err(Unexplained::Disordered { other: B }));
        check(&writes, &[(B, 1, 2)], Err(Unexplained::Early));
    }

    #[test]
    fn writes_beside_each_other_have_one_order_for_everybody() {
        let writes = [(A, 1, Some(10)), (B, 2, Some(9))];
        check(&writes, &[(A, 11, 12), (A, 13, 14)], Ok(()));
        check(&writes, &[(A, 11, 12), (B, 13, 14)], Err(Unexplained::Disordered { other: A }));
    }

    #[test]
    fn a_write_in_doubt_may_come_late_but_not_twice() {
        let writes = [(A, 1, None), (B, 3, Some(4))];
        check(&writes, &[(B, 5, 6), (A, 7, 8)], Ok(()));
        check(&writes, &[(A, 5, 6), (B, 7, 8)], Err(Unexplained::Disordered { other: A }));
        check(
            &[(A, 1, None), (B, 3, None)],
            &[(A, 5, 6), (B, 7, 8), (A, 9, 10)],
            Err(Unexplained::Disordered { other: B }),
        );
    }

    #[test]
    fn what_its_client_gave_up_and_wrote_anew_never_comes_back() {
        let gone = |here: bool, reads: &[(Stamp, Turn, Turn)]| {
            let mut register = register(&[(A, 1, None), (B, 3, Some(6))]);
            register.on_fenced(A, 6, here);
            reads.iter().map(|(seen, began, ended)| register.on_read(*seen, *began, *ended)).last().unwrap()
        };
        assert_eq!(gone(true, &[(B, 7, 8)]), Ok(()));
        assert_eq!(gone(true, &[(A, 4, 5)]), Ok(()), "it may have been there before");
        assert_eq!(gone(true, &[(A, 7, 8)]), Err(Unexplained::Buried));
        assert_eq!(gone(false, &[(B, 7, 8), (A, 9, 10)]), Err(Unexplained::Disordered { other: B }));
    }

    #[test]
    fn zeroes_are_explained_by_any_write_of_zeroes() {
        let writes = [(A, 1, Some(2)), (ZEROED, 3, Some(4))];
        check(&writes, &[(Stamp::ZERO, 5, 6)], Ok(()));
        check(&writes, &[(Stamp::ZERO, 5, 6), (A, 7, 8)], Err(Unexplained::Disordered { other: ZEROED }));
        check(
            &[(A, 1, Some(2)), (ZEROED, 3, None)],
            &[(Stamp::ZERO, 5, 6), (A, 7, 8)],
            Err(Unexplained::Disordered { other: ZEROED }),
        );
    }

    #[test]
    fn forgetting_hides_no_stale_read() {
        let mut register = Register::new();
        for n in 1..100 {
            register.on_write_began(Stamp(n), false, 10 * n, 10 * n);
            register.on_write_ended(Stamp(n), 10 * n + 5).unwrap();
        }
        assert!(register.values().len() <= VALUES_MAX);
        assert_eq!(register.on_read(Stamp(99), 2000, 2001), Ok(()));
        assert!(register.on_read(Stamp(98), 2000, 2001).is_err());
        assert!(register.on_read(Stamp(3), 2000, 2001).is_err());
    }
}
