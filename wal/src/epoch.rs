//! Epochs, and the eras in which they are counted.
//!
//! An epoch's counter has two parts: above, the era; below, the reigns of that era. An era begins when an operator
//! forces a promotion, and nobody gets into it by counting: whoever is promoted in the ordinary way stays in the era of
//! the log that it has. So whatever compares epochs, promises, fences and histories alike, ranks what was forced above
//! everything that went on without it.

use core::fmt;
use core::str::FromStr;

use bincode::de::Decoder;
use bincode::error::DecodeError;
use bincode::{Decode, Encode, impl_borrow_decode};

use crate::names::ReplicaId;

/// Bits of a counter that count the reigns of an era.
const COUNT_BITS: u32 = 30;
/// Bits of an era that mark who forced it: two that are forced at once without knowing of each other are two.
const MARK_BITS: u32 = 20;
/// Whoever says that a reign has a higher count in its era is wrong: half of what there is, so that it goes on.
const COUNT_MAX: u64 = 1 << (COUNT_BITS - 1);
/// Whoever says that more promotions were forced is wrong.
const NUMBER_MAX: u64 = 2047;

/// What was forced: how many promotions in this history, and by whose copy the last of them. Above the ones that it knew.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Era(u64);

impl Era {
    /// Nothing was forced.
    pub const FIRST: Era = Era(0);

    /// The lowest era that `by` can force and that is higher than this one.
    fn next(self, by: ReplicaId) -> Option<Era> {
        let number = self.number() + 1;
        (number <= NUMBER_MAX).then_some(Era(number << MARK_BITS | mark(by)))
    }

    /// How many promotions were forced in its history.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0 >> MARK_BITS
    }

    const fn mark(self) -> u64 {
        self.0 & ((1 << MARK_BITS) - 1)
    }
}

const fn mark(replica: ReplicaId) -> u64 {
    replica.0 & ((1 << MARK_BITS) - 1)
}

/// The number of one reign of one primary: only grows, and two replicas can never mint the same one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode)]
pub struct Epoch {
    /// Counts reigns, within eras: see [`Epoch::era`] and [`Epoch::count`].
    pub counter: u64,
    /// Who reigns; breaks ties between counters.
    pub replica: ReplicaId,
}

impl Epoch {
    /// Before any reign: what a newly formatted replica has promised.
    pub const ZERO: Epoch = Epoch { counter: 0, replica: ReplicaId::NONE };

    /// The era that it belongs to.
    #[must_use]
    pub const fn era(self) -> Era {
        Era(self.counter >> COUNT_BITS)
    }

    /// The how many-th reign of its era it is.
    #[must_use]
    pub const fn count(self) -> u64 {
        self.counter & ((1 << COUNT_BITS) - 1)
    }

    /// The lowest epoch of `replica` that is higher than this one, in the same era.
    ///
    /// # Panics
    /// If the era has had as many reigns as can be counted.
    #[must_use]
    pub fn successor(self, replica: ReplicaId) -> Epoch {
        let next = self.count() + 1;
        assert!(next < 1 << COUNT_BITS, "fewer than 2^30 reigns in an era");
        Epoch { counter: self.counter + 1, replica }
    }

    /// The first epoch of an era that `replica` forces, above the era of this one; `None` if that can't be counted.
    #[must_use]
    pub fn forced_successor(self, replica: ReplicaId) -> Option<Epoch> {
        let Era(era) = self.era().next(replica)?;
        Some(Epoch { counter: era << COUNT_BITS | 1, replica })
    }

    /// Whether a volume may get so far: what says otherwise, on a disk or on the wire, is not believed.
    #[must_use]
    pub const fn is_sound(self) -> bool {
        self.count() <= COUNT_MAX && self.era().number() <= NUMBER_MAX
    }
}

impl<C> Decode<C> for Epoch {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Epoch, DecodeError> {
        let epoch = Epoch { counter: u64::decode(decoder)?, replica: ReplicaId::decode(decoder)? };
        if epoch.is_sound() { Ok(epoch) } else { Err(DecodeError::Other("an epoch that no volume reaches")) }
    }
}

impl_borrow_decode!(Epoch);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (era, count, replica) = (self.era(), self.count(), self.replica);
        if era != Era::FIRST {
            write!(f, "{}", era.number())?;
            if era.mark() != mark(replica) {
                write!(f, "-{:05x}", era.mark())?;
            }
            f.write_str("!")?;
        }
        write!(f, "{count}@{replica}")
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is no epoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoEpoch;

impl FromStr for Epoch {
    type Err = NoEpoch;

    /// What [`Display`](fmt::Display) wrote.
    fn from_str(text: &str) -> Result<Epoch, NoEpoch> {
        let (counted, replica) = text.split_once("@r-").ok_or(NoEpoch)?;
        let replica = ReplicaId(u64::from_str_radix(replica, 16).map_err(|_| NoEpoch)?);
        let (era, count) = match counted.split_once('!') {
            None => (Era::FIRST, counted),
            Some((era, count)) => {
                let (number, mark) = match era.split_once('-') {
                    None => (era, mark(replica)),
                    Some((number, mark)) => (number, u64::from_str_radix(mark, 16).map_err(|_| NoEpoch)?),
                };
                let number: u64 = number.parse().map_err(|_| NoEpoch)?;
                if number == 0 || number > NUMBER_MAX || mark >= 1 << MARK_BITS {
                    return Err(NoEpoch);
                }
                (Era(number << MARK_BITS | mark), count)
            }
        };
        let count: u64 = count.parse().map_err(|_| NoEpoch)?;
        let epoch = Epoch { counter: era.0 << COUNT_BITS | count, replica };
        if count <= COUNT_MAX { Ok(epoch) } else { Err(NoEpoch) }
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::ToString;

    use super::*;

    const A: ReplicaId = ReplicaId(0xA0);
    const B: ReplicaId = ReplicaId(0xB0);

    fn epoch(counter: u64, replica: ReplicaId) -> Epoch {
        Epoch { counter, replica }
    }

    #[test]
    fn what_is_forced_is_above_every_reign_of_the_eras_before() {
        let forced = epoch(7, B).forced_successor(A).expect("an era");
        let last = epoch((1 << COUNT_BITS) - 1, ReplicaId(u64::MAX));
        assert!(forced > last, "however many reigns there were");
        assert_eq!((forced.count(), forced.era().number(), forced.replica), (1, 1, A));
        assert!(forced.forced_successor(B).expect("an era") > forced.successor(A).successor(B));
    }

    #[test]
    fn whoever_counts_on_stays_in_its_era() {
        let forced = Epoch::ZERO.forced_successor(A).expect("an era");
        assert_eq!(forced.successor(B).era(), forced.era());
        assert_eq!(epoch(5, A).successor(B), epoch(6, B));
        assert_eq!(Epoch::ZERO.successor(A).era(), Era::FIRST);
    }

    #[test]
    fn two_eras_that_are_forced_at_once_are_two_and_no_count_of_the_lower_one_beats_the_higher() {
        let (a, b) = (epoch(3, A).forced_successor(A), epoch(3, A).forced_successor(B));
        let (a, b) = (a.expect("an era"), b.expect("an era"));
        assert_ne!(a.era(), b.era());
        assert!(a.successor(A).successor(B) < b, "the mark of who forced it decides, not the count");
    }

    #[test]
    fn an_epoch_is_shown_with_its_era_only_where_something_was_forced_and_read_as_it_is_shown() {
        let forced = epoch(3, A).forced_successor(A).expect("an era");
        assert_eq!(epoch(3, A).to_string(), "3@r-00000000000000a0");
        assert_eq!(forced.to_string(), "1!1@r-00000000000000a0");
        assert_eq!(forced.successor(B).to_string(), "1-000a0!2@r-00000000000000b0");
        for shown in [epoch(0, A), epoch(3, A), forced, forced.successor(B), forced.successor(A)] {
            assert_eq!(format!("{shown}").parse(), Ok(shown));
        }
        for wrong in ["", "1", "1@a", "x@r-1", "0!1@r-1", "9999!1@r-1", "1-fffff0!1@r-1", "1!9999999999@r-1"]
        {
            assert_eq!(wrong.parse::<Epoch>(), Err(NoEpoch), "{wrong}");
        }
    }

    #[test]
    fn what_can_t_be_counted_on_from_is_not_believed() {
        let last = epoch(NUMBER_MAX << (COUNT_BITS + MARK_BITS) | COUNT_MAX, A);
        assert!(last.is_sound());
        assert!(!epoch(last.counter + 1, A).is_sound());
        assert!(!epoch(u64::MAX, A).is_sound());
        assert!(last.successor(A) > last, "it goes on");
        assert_eq!(last.forced_successor(A), None, "no more can be forced");
    }
}
