//! What a replica is told at birth: who it is, who the others are, what the volume promises, its limits.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use seawall_wal::names::{ReplicaId, VolumeId};
pub use seawall_wal::superblock::{CommitRule, Failover};

use crate::bait::Bait;

/// One copy of the volume, as the configuration names it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Peer {
    /// Its identity, which must be the one on its disk.
    pub replica: ReplicaId,
    /// Its name for people.
    pub name: String,
    /// Where it listens: host and port.
    pub address: String,
    /// Whether its promises and its durable frontier count.
    pub voter: bool,
}

/// What "holds it" means for plain writes. Flushes and FUA writes always mean durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ack {
    /// On stable storage.
    Durable,
    /// Written to the log, the device not flushed: survives the death of every process, not a power loss.
    Written,
}

/// Every number that bounds a replica. Sizes in bytes, times as durations.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Client requests in flight; the driver keeps to it and lets more wait.
    pub requests_max: usize,
    /// Bytes of one append at the most.
    pub append_bytes_max: u64,
    /// Records of one append at the most.
    pub append_records_max: usize,
    /// Records sent to one peer and not yet acknowledged.
    pub window_records: usize,
    /// Bytes sent to one peer and not yet acknowledged.
    pub window_bytes: u64,
    /// Bytes of one read of the log for a peer that is behind.
    pub feed_read_bytes: u64,
    /// Moves home at a time.
    pub checkpoint_jobs: usize,
    /// A checkpoint begins when this part (in 1/16) of the log is not yet home.
    pub checkpoint_sixteenths: u64,
    /// Old records are released when less than this part (in 1/16) of the log is free.
    pub release_sixteenths: u64,
    /// Memory that the index of settled records may take before a checkpoint begins.
    pub overlay_bytes_max: usize,
    /// Extents of a rebuild's base in flight.
    pub base_extents: usize,
    /// How long a request may wait for a commit quorum, or for a primary, before it is refused; none: for ever.
    pub quorum_patience: Option<Duration>,
    /// Under commit rule `all`: how long a voter may keep writes waiting, or be away, before none waits for it any more;
    /// none: for ever.
    pub all_patience: Option<Duration>,
    /// How often a primary tells idle peers that it is there.
    pub pulse_interval: Duration,
    /// How long a voter that answered its primary promises nobody else, by its own clock. All replicas of a volume
    /// must be told the same. Zero: there are no leases, and every read is confirmed by an answer of its own.
    pub lease: Duration,
    /// By how many percent the rate of any clock may be wrong, either way; below 100.
    pub clock_error_percent: u32,
    /// A peer that has said nothing for so long is lost.
    pub silence_max: Duration,
    /// How long one round of candidacy may take.
    pub candidacy_round: Duration,
    /// The recovery session's own limits.
    pub recovery: seawall_recovery::session::Limits,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            requests_max: 1024,
            append_bytes_max: 2 << 20,
            append_records_max: 256,
            window_records: 4096,
            window_bytes: 4 << 20,
            feed_read_bytes: 256 << 10,
            checkpoint_jobs: 16,
            checkpoint_sixteenths: 6,
            release_sixteenths: 3,
            overlay_bytes_max: 32 << 20,
            base_extents: 8,
            quorum_patience: Some(Duration::from_secs(60)),
            all_patience: Some(Duration::from_secs(3)),
            pulse_interval: Duration::from_millis(200),
            lease: Duration::from_secs(1),
            clock_error_percent: 5,
            silence_max: Duration::from_secs(5),
            candidacy_round: Duration::from_secs(5),
            recovery: seawall_recovery::session::Limits::default(),
        }
    }
}

impl Limits {
    /// How much of a lease its holder may count on, by its own clock: less than the whole by as much as its clock may
    /// be slow while that of the one who granted it is fast.
    #[must_use]
    pub fn lease_held(&self) -> Duration {
        self.lease * (100 - self.clock_error_percent) / (100 + self.clock_error_percent)
    }

    /// How long a regular primary may be silent before it is missed.
    #[must_use]
    pub fn missed_after(&self) -> Duration {
        self.lease.max(self.pulse_interval * 3)
    }
}

/// What a replica is told at birth.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The volume.
    pub volume: VolumeId,
    /// What clients call it. Kept on the disk for who loses the configuration.
    pub name: String,
    /// Which of its copies this is; must be what the disk says.
    pub replica: ReplicaId,
    /// All copies, this one too.
    pub members: Vec<Peer>,
    /// Who reigns first over a newly formatted volume. Later the disks know better.
    pub first_primary: ReplicaId,
    /// The volume's size in blocks of 4096 bytes; must be what the disk says.
    pub volume_blocks: u64,
    /// When a write is committed.
    pub commit: CommitRule,
    /// What a copy's acknowledgement of a plain write means.
    pub ack: Ack,
    /// Who finds a new primary.
    pub failover: Failover,
    /// Where this life's chances come from; another number in every life.
    pub seed: u64,
    /// Names the machine's present boot, so that a power loss can be told from a killed process.
    pub machine_boot: [u8; 16],
    /// What Unix time it was when this replica's clock was at zero. Only maintenance leases ask for it.
    pub wall: Duration,
    /// All bounds.
    pub limits: Limits,
    /// A planted bug, to show that a check can fail.
    #[cfg(feature = "bait")]
    pub bait: Option<Bait>,
}

impl Setup {
    /// The usual: commit rule `majority`, durable acknowledgements, automatic failover, default limits, an unknown boot.
    ///
    /// Sizes in blocks of 4096 bytes.
    #[must_use]
    pub fn new(
        volume: VolumeId,
        replica: ReplicaId,
        members: Vec<Peer>,
        first_primary: ReplicaId,
        volume_blocks: u64,
    ) -> Setup {
        Setup {
            volume,
            name: String::new(),
            replica,
            members,
            first_primary,
            volume_blocks,
            commit: CommitRule::Majority,
            ack: Ack::Durable,
            failover: Failover::Automatic,
            seed: 0,
            machine_boot: [0; 16],
            wall: Duration::ZERO,
            limits: Limits::default(),
            #[cfg(feature = "bait")]
            bait: None,
        }
    }

    /// Whether that bug is planted. Never, in a build without the feature.
    #[cfg(feature = "bait")]
    pub(crate) fn baited(&self, bait: Bait) -> bool {
        self.bait == Some(bait)
    }

    #[cfg(not(feature = "bait"))]
    #[expect(clippy::unused_self, reason = "its baited twin needs it")]
    pub(crate) const fn baited(&self, _bait: Bait) -> bool {
        false
    }

    /// The member of that identity.
    #[must_use]
    pub fn member(&self, replica: ReplicaId) -> Option<&Peer> {
        self.members.iter().find(|m| m.replica == replica)
    }
}
