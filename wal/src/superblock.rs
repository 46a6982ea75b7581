//! What a replica knows of itself: two copies, each written in turn, so that a torn write loses neither.
//!
//! A copy that can't be read is not the same as one that is empty, and never becomes one.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use bincode::{Decode, Encode};

use crate::configuration::Configuration;
pub use crate::configuration::{MEMBER_TEXT_BYTES_MAX, MEMBERS_MAX, Member};
use crate::geometry::Geometry;
pub use crate::geometry::{SUPER_SLOT_BYTES, Slot};
use crate::guard;
use crate::log::Position;
use crate::maintenance::Leases;
use crate::names::{COUNT_MAX, Epoch, LineageRow, Lsn, ReplicaId, VolumeId};
pub use crate::sealed::Unreadable;
use crate::sealed::{Opened, open, seal};
use crate::table::TableMark;

/// The first bytes of a superblock copy.
pub const MAGIC: [u8; 8] = *b"SEAWALL\x01";
/// The version of its layout.
pub const VERSION: u32 = 7;

/// Bytes of one slot.
pub const SLOT_BYTES: u32 = 64 << 10;
/// The most rows of lineage that a superblock holds.
pub const LINEAGE_ROWS_MAX: usize = 1024;

/// When a write is committed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub enum CommitRule {
    /// More than half of the voters hold it.
    Majority,
    /// Every voter holds it.
    All,
    /// The primary holds it; the others follow.
    One,
}

/// Who finds a new primary when the volume has none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub enum Failover {
    /// The replicas themselves, where the commit rule allows it: any but `one`.
    Automatic,
    /// An operator, or the last primary when it comes back.
    Manual,
}

impl Failover {
    /// Whether replicas find themselves a primary without being asked. Under commit rule `one` the primary's own copy
    /// is the promise, and nobody else can know what it held.
    #[must_use]
    pub fn acts_under(self, commit: CommitRule) -> bool {
        match (self, commit) {
            (Failover::Automatic, CommitRule::Majority | CommitRule::All) => true,
            (Failover::Automatic, CommitRule::One) | (Failover::Manual, _) => false,
        }
    }
}

/// What the volume is called and promises, as the configuration said at the last start. Nothing reads it but people
/// who have lost the configuration.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Terms {
    /// Its name, by which clients ask for it. Empty if it was never told.
    pub name: String,
    /// When a write is committed.
    pub commit: CommitRule,
    /// Who finds a new primary.
    pub failover: Failover,
    /// How long a voter that answered its primary promises nobody else. Milliseconds.
    pub lease_ms: u64,
}

impl Default for Terms {
    fn default() -> Terms {
        Terms {
            name: String::new(),
            commit: CommitRule::Majority,
            failover: Failover::Automatic,
            lease_ms: 0,
        }
    }
}

/// A lasting cut of the log: records from `lsn` on whose trailer says a lower generation are void. Everything below
/// `lsn` was durable when this was written.
///
/// An epoch could not say this: the branch that was cut may be of a higher epoch than the first records of the one
/// that replaces it, and a branch that was cut may even come back, by way of another replica.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Cut {
    /// The first record that is void.
    pub lsn: Lsn,
    /// How many times this log had been cut, this time included.
    pub generation: u32,
}

/// How far the home area is that of the volume.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub enum BaseState {
    /// Home and log are the volume's bytes.
    Complete,
    /// A base is being copied.
    Rebuilding {
        /// As of which record.
        cut: Lsn,
        /// Blocks below this one are held.
        held: u64,
        /// The lineage that it was copied under.
        lineage: LineageRow,
    },
    /// Nothing was ever stored here.
    Blank,
}

/// The replica ended well: all is home and durable, and nothing follows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub struct CleanMark {
    /// The end of its log.
    pub end: Lsn,
}

/// Everything that a replica knows of itself without reading its log.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Superblock {
    /// Grows with every write of a copy; the newest counts.
    pub sequence: u64,
    /// The volume.
    pub volume: VolumeId,
    /// Which of its copies this is.
    pub replica: ReplicaId,
    /// Where everything is.
    pub geometry: Geometry,
    /// All copies: the newest configuration among the settled ones when this was written.
    pub configuration: Configuration,
    /// The highest epoch promised. Never falls.
    pub promised: Epoch,
    /// The highest epoch ever used as a candidate or primary. Never used again.
    pub campaigned: Epoch,
    /// Which epoch wrote which part of the log. At most [`LINEAGE_ROWS_MAX`].
    pub lineage: Vec<LineageRow>,
    /// Where the log begins.
    pub log_start: Position,
    /// Everything below is home.
    pub checkpoint: Lsn,
    /// Everything below was settled when this was written: it is durable here, is never cut, and may be home in
    /// part. Never below the checkpoint.
    pub settled: Lsn,
    /// Counts checkpoints.
    pub checkpoint_number: u64,
    /// The checksum table as of that checkpoint.
    pub table: TableMark,
    /// The last cut of the log.
    pub cut: Option<Cut>,
    /// How far the home area is that of the volume.
    pub base: BaseState,
    /// Set when the replica ends well, cleared before it writes again.
    pub clean: Option<CleanMark>,
    /// Counts starts of the process.
    pub boots: u32,
    /// The machine's boot in which it ran last.
    pub machine_boot: [u8; 16],
    /// Whether something that was answered for may be lost.
    pub lossy: bool,
    /// Whether it acknowledged durable records only, when it ran last.
    pub ack_durable: bool,
    /// The newest attach record among the settled ones when this was written; zero if there was none. An older
    /// attachment is never heard again.
    pub attached: Lsn,
    /// What the volume is called and promises, as last known.
    pub terms: Terms,
    /// The device was made anew under an identity that existed before: what the replica promised, and whom it granted
    /// a lease, is forgotten. Cleared together with the base becoming complete.
    pub promises_lost: bool,
    /// Who works on which replica, by the records that were settled when this was written.
    pub maintenance: Leases,
}

impl Superblock {
    /// That of a copy at birth: nothing was ever written, so everything is a hole and nothing is missing.
    #[must_use]
    pub fn newborn(
        volume: VolumeId,
        replica: ReplicaId,
        geometry: Geometry,
        members: Vec<Member>,
    ) -> Superblock {
        Superblock {
            sequence: 0,
            volume,
            replica,
            geometry,
            configuration: Configuration::newborn(members),
            promised: Epoch::ZERO,
            campaigned: Epoch::ZERO,
            lineage: Vec::new(),
            log_start: Position::ORIGIN,
            checkpoint: Lsn::ZERO,
            settled: Lsn::ZERO,
            checkpoint_number: 0,
            table: TableMark::default(),
            cut: None,
            base: BaseState::Complete,
            clean: None,
            boots: 0,
            machine_boot: [0; 16],
            lossy: false,
            ack_durable: true,
            attached: Lsn::ZERO,
            terms: Terms::default(),
            promises_lost: false,
            maintenance: Leases::default(),
        }
    }

    /// How many times the log has been cut: what its records' trailers say from here on.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.cut.map_or(0, |cut| cut.generation)
    }

    /// Where it is written: copies alternate.
    #[must_use]
    pub fn slot(&self) -> Slot {
        Slot::of(self.sequence)
    }

    /// As it stands in its slot, in whole blocks of 4096 bytes, at most [`SUPER_SLOT_BYTES`] long.
    ///
    /// # Panics
    /// If it has more members, longer texts or more rows of lineage than fit.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        assert!(self.is_bounded(), "members, their texts and lineage are bounded");
        seal(MAGIC, VERSION, self, SUPER_SLOT_BYTES)
    }

    fn is_bounded(&self) -> bool {
        self.configuration.is_sound()
            && self.terms.name.len() <= MEMBER_TEXT_BYTES_MAX
            && self.lineage.len() <= LINEAGE_ROWS_MAX
            && self.maintenance.is_sound()
    }

    /// Whether what it says can be relied on: offsets lie in their areas, lists are no longer than we write them,
    /// and every number can be counted on from.
    fn is_sound(&self) -> bool {
        let offset = self.log_start.offset;
        let place = guard!("superblock-geometry", self.geometry.check().is_ok())
            && guard!("superblock-log-in-the-ring", offset < self.geometry.log_bytes)
            && guard!("superblock-log-at-a-unit", offset.is_multiple_of(u64::from(self.geometry.unit_bytes)));
        let held = match self.base {
            BaseState::Complete | BaseState::Blank => 0,
            BaseState::Rebuilding { held, .. } => held,
        };
        let numbers = [self.sequence, self.checkpoint_number, self.table.generation];
        place
            && guard!(
                "superblock-home-is-settled",
                self.log_start.lsn <= self.checkpoint && self.checkpoint <= self.settled
            )
            && guard!("superblock-lists-fit", self.is_bounded())
            && guard!("superblock-numbers-go-on", numbers.iter().all(|n| *n <= COUNT_MAX))
            && guard!(
                "superblock-counts-go-on",
                [self.generation(), self.boots].iter().all(|n| *n < u32::MAX)
            )
            && guard!("superblock-held-in-the-volume", held <= self.geometry.volume_blocks)
            // Invariant: forgotten-promises-bind. A whole copy votes.
            && guard!("superblock-whole-remembers", !self.promises_lost || self.base != BaseState::Complete)
    }

    /// What a slot holds; `bytes` are all of the slot.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> SlotState {
        match open::<Superblock>(MAGIC, VERSION, bytes) {
            Opened::Empty => SlotState::Empty,
            Opened::Value(superblock) if !superblock.is_sound() => {
                SlotState::Unreadable { why: Unreadable::Value }
            }
            Opened::Value(superblock) => SlotState::Present(Box::new(superblock)),
            Opened::Unreadable(why) => SlotState::Unreadable { why },
        }
    }
}

/// What one slot holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SlotState {
    /// Zeroes only: never written.
    Empty,
    /// A superblock.
    Present(Box<Superblock>),
    /// Something that is not one (any more).
    Unreadable {
        /// Why.
        why: Unreadable,
    },
}

/// Which rule chose.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ChoiceRule {
    /// Both slots are empty.
    NeverFormatted,
    /// No slot can be read, and not both are empty.
    NoneReadable,
    /// One slot can be read; the other is empty or can't.
    OnlyOne,
    /// Both can be read, and are of different volumes, replicas or geometries.
    Strangers,
    /// Both have the same sequence number and the same content.
    Twins,
    /// Both have the same sequence number and different contents.
    Rivals,
    /// Both can be read, and one is newer.
    Newest,
}

impl ChoiceRule {
    /// All of them.
    pub const ALL: [ChoiceRule; 7] = [
        ChoiceRule::NeverFormatted,
        ChoiceRule::NoneReadable,
        ChoiceRule::OnlyOne,
        ChoiceRule::Strangers,
        ChoiceRule::Twins,
        ChoiceRule::Rivals,
        ChoiceRule::Newest,
    ];

    /// Its name in log lines.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            ChoiceRule::NeverFormatted => "never-formatted",
            ChoiceRule::NoneReadable => "none-readable",
            ChoiceRule::OnlyOne => "only-one",
            ChoiceRule::Strangers => "strangers",
            ChoiceRule::Twins => "twins",
            ChoiceRule::Rivals => "rivals",
            ChoiceRule::Newest => "newest",
        }
    }
}

impl fmt::Display for ChoiceRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ChoiceRule::NeverFormatted => {
                "both superblock copies are empty: there is no replica on this device"
            }
            ChoiceRule::NoneReadable => "no superblock copy can be read",
            ChoiceRule::OnlyOne => "one of the two superblock copies can be read",
            ChoiceRule::Strangers => "the two superblock copies are of different replicas",
            ChoiceRule::Twins => "both superblock copies are the same",
            ChoiceRule::Rivals => "the two superblock copies claim the same age and differ",
            ChoiceRule::Newest => "both superblock copies can be read, and one is newer",
        })
    }
}

/// What follows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Choice {
    /// There is no replica on this device.
    Blank,
    /// This is the replica.
    Use {
        /// What it knows of itself.
        superblock: Box<Superblock>,
        /// The copy that is to be written anew before anything else, because it is lost.
        rewrite: Option<Slot>,
    },
    /// There is or was a replica on this device, and it can't be told which: keep off.
    Refuse,
}

/// Which of the two copies counts.
#[must_use]
pub fn choose(a: SlotState, b: SlotState) -> (ChoiceRule, Choice) {
    use SlotState as S;
    let only = |superblock, lost| (ChoiceRule::OnlyOne, Choice::Use { superblock, rewrite: Some(lost) });
    match (a, b) {
        (S::Empty, S::Empty) => (ChoiceRule::NeverFormatted, Choice::Blank),
        (S::Empty | S::Unreadable { .. }, S::Unreadable { .. }) | (S::Unreadable { .. }, S::Empty) => {
            (ChoiceRule::NoneReadable, Choice::Refuse)
        }
        (S::Present(superblock), S::Empty | S::Unreadable { .. }) => only(superblock, Slot::B),
        (S::Empty | S::Unreadable { .. }, S::Present(superblock)) => only(superblock, Slot::A),
        (S::Present(a), S::Present(b)) => newest(a, b),
    }
}

fn newest(a: Box<Superblock>, b: Box<Superblock>) -> (ChoiceRule, Choice) {
    let identity = |s: &Superblock| (s.volume, s.replica, s.geometry);
    if !guard!("copies-of-one-replica", identity(&a) == identity(&b)) {
        return (ChoiceRule::Strangers, Choice::Refuse);
    }
    if a.sequence == b.sequence {
        return if guard!("copies-of-one-age-agree", a == b) {
            (ChoiceRule::Twins, Choice::Use { superblock: a, rewrite: None })
        } else {
            (ChoiceRule::Rivals, Choice::Refuse)
        };
    }
    let superblock = if guard!("newer-copy-counts", a.sequence > b.sequence) { a } else { b };
    (ChoiceRule::Newest, Choice::Use { superblock, rewrite: None })
}
