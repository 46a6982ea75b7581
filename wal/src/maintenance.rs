//! Maintenance leases: somebody works on a replica, says so, and says for how long. Records bring them; the settled
//! ones are in the superblock.
//!
//! A lease says when it began by the wall clock of the primary that wrote it, and how long it lasts. Nothing that can
//! lose data asks for the time: a lease only holds back what replicas would otherwise do by themselves.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use bincode::{Decode, Encode};

use crate::configuration::MEMBERS_MAX;
use crate::names::{COUNT_MAX, Crc, Lsn, ReplicaId};
use crate::record::BODY_BLOCKS_MAX;

/// The longest name of who works on a replica, in bytes.
pub const OWNER_BYTES_MAX: usize = 64;
/// The longest reason, in bytes.
pub const REASON_BYTES_MAX: usize = 256;
/// The longest lease. It can be renewed.
pub const LENGTH_MAX: Duration = Duration::from_secs(24 * 3600);

const HEAD_BYTES: usize = 28;
const _: () = assert!(
    HEAD_BYTES + OWNER_BYTES_MAX + REASON_BYTES_MAX <= 4 * BODY_BLOCKS_MAX as usize,
    "a lease fits a record"
);

/// Somebody works on a replica.
#[derive(Clone, PartialEq, Eq, Debug, Hash, Encode, Decode)]
pub struct Lease {
    /// On which.
    pub replica: ReplicaId,
    /// Who.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// When it began, in milliseconds of Unix time.
    pub began_ms: u64,
    /// How long it lasts from then on, in milliseconds. Zero: the one before is over.
    pub length_ms: u64,
}

impl Lease {
    /// When it is over, in milliseconds of Unix time.
    #[must_use]
    pub fn over_ms(&self) -> u64 {
        self.began_ms.saturating_add(self.length_ms)
    }

    /// Whether it ends the one before, and is none itself.
    #[must_use]
    pub fn ends(&self) -> bool {
        self.length_ms == 0
    }

    /// Whether texts and numbers are such as we write.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.owner.len() <= OWNER_BYTES_MAX
            && self.reason.len() <= REASON_BYTES_MAX
            && self.began_ms <= COUNT_MAX
            && u128::from(self.length_ms) <= LENGTH_MAX.as_millis()
    }

    /// What a record says of it.
    ///
    /// # Panics
    /// If it is not sound.
    #[must_use]
    pub fn words(&self) -> Vec<Crc> {
        assert!(self.is_sound(), "who asks for a lease is told its limits");
        let short = |text: &str| u16::try_from(text.len()).expect("a short text").to_le_bytes();
        let mut bytes = self.replica.0.to_le_bytes().to_vec();
        bytes.extend(self.began_ms.to_le_bytes());
        bytes.extend(self.length_ms.to_le_bytes());
        bytes.extend(short(&self.owner));
        bytes.extend(short(&self.reason));
        bytes.extend(self.owner.as_bytes());
        bytes.extend(self.reason.as_bytes());
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes.chunks_exact(4).map(|w| Crc(u32::from_le_bytes([w[0], w[1], w[2], w[3]]))).collect()
    }

    /// The lease that a record brings; `None` if the words are none.
    #[must_use]
    pub fn of(words: &[Crc]) -> Option<Lease> {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.0.to_le_bytes()).collect();
        let (head, rest) = bytes.split_first_chunk::<HEAD_BYTES>()?;
        let number = |at: usize| {
            let eight = head[at..at + 8].first_chunk().copied().unwrap_or_default();
            u64::from_le_bytes(eight)
        };
        let owner = usize::from(u16::from_le_bytes([head[24], head[25]]));
        let reason = usize::from(u16::from_le_bytes([head[26], head[27]]));
        let padding = rest.get(owner + reason..)?;
        if padding.len() >= 4 || padding.iter().any(|byte| *byte != 0) {
            return None;
        }
        let text = |bytes: &[u8]| core::str::from_utf8(bytes).ok().map(String::from);
        let lease = Lease {
            replica: ReplicaId(number(0)),
            owner: text(&rest[..owner])?,
            reason: text(&rest[owner..owner + reason])?,
            began_ms: number(8),
            length_ms: number(16),
        };
        lease.is_sound().then_some(lease)
    }
}

/// The leases that settled records brought.
#[derive(Clone, PartialEq, Eq, Debug, Hash, Default, Encode, Decode)]
pub struct Leases {
    /// At most one of a replica, and at most [`MEMBERS_MAX`], the newest last.
    pub held: Vec<Lease>,
    /// What records below this brought is among them, or over.
    pub through: Lsn,
}

impl Leases {
    /// The record at `lsn` brings that one, and is settled.
    pub fn settle(&mut self, lsn: Lsn, lease: Lease) {
        if lsn < self.through {
            return;
        }
        self.through = lsn.next();
        self.held.retain(|held| held.replica != lease.replica);
        if !lease.ends() {
            self.held.push(lease);
        }
        let most = self.held.len().saturating_sub(MEMBERS_MAX);
        self.held.drain(..most);
    }

    /// Whether the list and its texts are no longer than we write them, and nobody is named twice.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let once = |lease: &Lease| self.held.iter().filter(|l| l.replica == lease.replica).count() == 1;
        self.held.len() <= MEMBERS_MAX
            && self.through.0 <= COUNT_MAX
            && self.held.iter().all(|lease| lease.is_sound() && !lease.ends() && once(lease))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(replica: u64, length_ms: u64) -> Lease {
        let (owner, reason) = ("ann".into(), "new kernel".into());
        Lease { replica: ReplicaId(replica), owner, reason, began_ms: 1_700_000_000_000, length_ms }
    }

    #[test]
    fn a_record_brings_the_lease_that_it_was_written_for() {
        let longest = Lease {
            owner: "o".repeat(OWNER_BYTES_MAX),
            reason: "r".repeat(REASON_BYTES_MAX),
            ..lease(u64::MAX, 24 * 3_600_000)
        };
        let nobody = Lease { owner: String::new(), reason: String::new(), ..lease(1, 0) };
        for lease in [lease(7, 1_800_000), longest, nobody] {
            assert_eq!(Lease::of(&lease.words()), Some(lease));
        }
    }

    #[test]
    fn what_is_no_lease_is_not_taken_for_one() {
        let words = lease(7, 1000).words();
        assert_eq!(Lease::of(&words[..words.len() - 1]), None, "cut short");
        assert_eq!(Lease::of(&[&words[..], &[Crc(0)]].concat()), None, "followed by more");
        assert_eq!(Lease::of(&[]), None);
        let mut long = words;
        long[4] = Crc(24 * 3_600_000 + 1);
        assert_eq!(Lease::of(&long), None, "longer than the longest");
    }

    #[test]
    fn a_replica_has_one_lease_and_an_older_record_changes_nothing() {
        let mut leases = Leases::default();
        leases.settle(Lsn(3), lease(1, 1000));
        leases.settle(Lsn(5), lease(2, 1000));
        leases.settle(Lsn(6), lease(1, 2000));
        assert_eq!(leases.held, [lease(2, 1000), lease(1, 2000)]);
        leases.settle(Lsn(3), lease(1, 1000));
        assert_eq!(leases.held[1], lease(1, 2000), "read again after a restart");
        leases.settle(Lsn(7), lease(2, 0));
        assert_eq!((leases.held.len(), leases.through), (1, Lsn(8)));
        for replica in 10..100 {
            leases.settle(Lsn(replica), lease(replica, 1000));
        }
        assert!(leases.is_sound() && leases.held.len() == MEMBERS_MAX);
    }
}
