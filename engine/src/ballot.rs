//! The words of a candidacy. Each is the whole meta part of the frame of its name; the frame's header names
//! volume and the candidate's epoch.

use alloc::vec::Vec;

use bincode::{Decode, Encode};

use seawall_wal::guard;
use seawall_wal::names::{Crc, Epoch, LineageRow, Lsn, LsnRange};

/// A candidate asks for a promise.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Ask {
    /// To follow nobody below it.
    pub epoch: Epoch,
    /// Only asks whether a promise would be given; nothing changes.
    pub sounding: bool,
    /// An operator wants it: a live primary is no reason to refuse.
    pub planned: bool,
    /// The number of the newest configuration in the candidate's log.
    pub configuration: u64,
}

/// A promise, durable before it is spoken; or, to a sounding, the word that it would be given.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Promise {
    /// As it was asked.
    pub epoch: Epoch,
    /// As it was asked.
    pub sounding: bool,
    /// The newest rows of the voter's history.
    pub lineage: Vec<LineageRow>,
    /// What its log holds durably.
    pub log: LsnRange,
    /// The epoch of its last durable record.
    pub tail_epoch: Epoch,
    /// That record's digest.
    pub tail_chain: Crc,
    /// Whether it may have lost records that it answered for.
    pub lossy: bool,
}

/// No promise.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Denied {
    /// As it was asked.
    pub epoch: Epoch,
    /// What was promised before.
    pub promised: Epoch,
    /// Why not.
    pub why: Denial,
}

/// Why a voter does not promise.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub enum Denial {
    /// It promised as much or more before.
    Promised,
    /// Its own copy is not whole.
    Rebuilding,
    /// It hears from a primary, and no operator asked for another.
    LivePrimary,
    /// Its disk failed, or it is shutting down.
    Unable,
    /// Another replica holds a lease that it granted.
    Leased,
    /// The candidate is no voter by a configuration that is as new as the one that it knows.
    NotVoter,
    /// It was removed from the volume itself.
    Removed,
    /// Somebody works on the primary that is missed, and no operator asked for another.
    Maintained,
}

impl Denial {
    /// Its name for notices.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Denial::Promised => "promised before",
            Denial::Rebuilding => "its own copy is not whole",
            Denial::LivePrimary => "there is a live primary",
            Denial::Unable => "its disk failed or it is shutting down",
            Denial::Leased => "the primary's lease has not run out",
            Denial::NotVoter => "the candidate is no voter",
            Denial::Removed => "it was removed from the volume",
            Denial::Maintained => "the primary is under maintenance",
        }
    }
}

/// What a voter is when it is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Standing {
    /// Its disk works, and it is not shutting down.
    pub able: bool,
    /// The highest epoch it promised.
    pub promised: Epoch,
    /// Its own copy is whole.
    pub whole: bool,
    /// It hears from a primary, or is one.
    pub hears_a_primary: bool,
    /// A lease that it granted to another than the one who asks has not run out.
    pub leased: bool,
}

impl Standing {
    /// Why it gives no promise; `None` if it gives one.
    #[must_use]
    pub fn denial(&self, ask: &Ask) -> Option<Denial> {
        // Who asks twice for the same epoch is the same candidate, whose answer was lost.
        let again = ask.epoch == self.promised && !ask.sounding;
        if !self.able {
            Some(Denial::Unable)
        } else if !guard!("vote-only-for-a-higher-epoch", ask.epoch > self.promised || again) {
            Some(Denial::Promised)
        } else if !guard!("vote-only-of-a-whole-copy", self.whole) {
            // Invariant: rebuilding-never-votes.
            Some(Denial::Rebuilding)
        } else if ask.sounding && !ask.planned && self.hears_a_primary {
            Some(Denial::LivePrimary)
        } else if self.leased {
            // Invariant: reads-need-a-lease. Whoever holds it may be serving at this moment.
            Some(Denial::Leased)
        } else {
            None
        }
    }
}

impl Promise {
    /// Whether its log is the better history: ranked by (epoch of the last durable record, end of the durable log)
    /// alone.
    #[must_use]
    pub fn outranks(&self, other: &Promise) -> bool {
        let newer = self.tail_epoch > other.tail_epoch;
        let longer = self.tail_epoch == other.tail_epoch && self.log.end > other.log.end;
        newer || longer
    }
}

/// A candidate asks the holder of the best log for records that it lacks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Fetch {
    /// From the end of its own log.
    pub from: Lsn,
    /// To here; the holder may stop earlier.
    pub to: Lsn,
}

/// The records asked for were sent up to here, each in a frame of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub struct FetchEnd {
    /// The frontier that was reached.
    pub to: Lsn,
}

/// Whether `voted` gave enough promises: a majority of voters, of which those that may have lost records that they
/// answered for count only if every voter promised, or if they themselves are a majority.
#[must_use]
pub fn is_elected(sound: usize, lossy: usize, voters: usize) -> bool {
    let majority = crate::commit::majority(voters);
    let of_sound = guard!("elected-by-a-majority", sound >= majority);
    of_sound || lossy >= majority || sound + lossy == voters
}

#[cfg(test)]
mod tests {
    use super::is_elected;

    #[test]
    fn two_sound_promises_of_three_elect() {
        assert!(is_elected(2, 0, 3));
        assert!(!is_elected(1, 0, 3));
    }

    #[test]
    fn a_lossy_promise_does_not_make_a_majority() {
        assert!(!is_elected(1, 1, 3));
    }

    #[test]
    fn lossy_promises_count_when_all_promised_or_when_they_are_a_majority() {
        assert!(is_elected(2, 1, 3));
        assert!(is_elected(1, 2, 3));
        assert!(is_elected(0, 2, 3));
    }
}
