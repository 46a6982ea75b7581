//! What a peer can do wrong. One variant per cause, on every floor: the session or the connection closes, the
//! cause is counted, and nothing of ours changes. Never a panic: a peer may be of any version, or hostile.

use core::fmt;

use seawall_wal::names::{Crc, Epoch, Extent, Lsn, ReplicaId, VolumeId};
use seawall_wal::record::{Kind as RecordKind, RecordError};

use crate::codec::CodecError;
use crate::feed::Frontiers;
use crate::frame::{Kind, META_BYTES_MAX, PAYLOAD_BYTES_MAX, VERSION_MAX, VERSION_MIN};
use crate::greeting::{Mismatch, Proven};
use crate::session_id::SessionId;

/// What a peer did wrong.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Violation {
    /// A frame does not begin as frames do.
    BadMagic {
        /// How it begins.
        found: u32,
    },
    /// A frame's header does not match its checksum.
    HeaderCorrupt {
        /// The checksum that came.
        expected: Crc,
        /// That of what came.
        found: Crc,
    },
    /// A frame of a version that this build does not speak.
    UnknownVersion {
        /// Its version.
        found: u16,
    },
    /// A frame of a kind that does not exist.
    UnknownKind {
        /// Its code.
        code: u16,
    },
    /// A meta part above [`META_BYTES_MAX`].
    MetaTooLong {
        /// Its size.
        bytes: u32,
    },
    /// A meta part of another length than its header, or its layout, says.
    MetaLength {
        /// Bytes that it should have.
        expected: usize,
        /// Bytes that it has.
        found: usize,
    },
    /// A meta part does not match its checksum.
    MetaCorrupt {
        /// The checksum that came.
        expected: Crc,
        /// That of what came.
        found: Crc,
    },
    /// A payload with a frame that has none.
    PayloadNotAllowed {
        /// The frame's kind.
        kind: Kind,
        /// The payload's size.
        bytes: u32,
    },
    /// A payload above [`PAYLOAD_BYTES_MAX`].
    PayloadTooLong {
        /// Its size.
        bytes: u32,
    },
    /// A payload that is not a whole number of blocks.
    PayloadNotBlocks {
        /// Its size.
        bytes: u32,
    },
    /// A payload of another number of blocks than the message names.
    PayloadBlocks {
        /// Blocks that the message names.
        expected: usize,
        /// Blocks that came.
        found: usize,
    },
    /// A block of a payload does not match its checksum.
    PayloadCorrupt {
        /// Which, counted within the payload.
        block: usize,
        /// The checksum that the message names.
        expected: Crc,
        /// That of what came.
        found: Crc,
    },
    /// A control message that can't be read.
    Unreadable(CodecError),
    /// A message that can be read, but contradicts itself, its payload, or what its sender said before.
    Contradictory {
        /// Of which kind.
        kind: Kind,
    },
    /// A log record that can't be read.
    BadRecord(RecordError),
    /// The peer is not whom, or how, it has to be.
    Mismatched(Mismatch),
    /// The peer is no member of the volume.
    NotMember {
        /// Who it says it is.
        replica: ReplicaId,
    },
    /// The peer is not proven to be whom we wanted, or who it says it is.
    Unproven {
        /// Whom we wanted, or who it says it is.
        claimed: ReplicaId,
        /// Who it is proven to be.
        proven: Proven,
    },
    /// A peer proved to be ourselves.
    Reflected {
        /// Us.
        replica: ReplicaId,
    },
    /// A message that this state does not expect.
    OutOfTurn {
        /// What we are.
        state: &'static str,
        /// What came.
        event: &'static str,
    },
    /// A message of a session that is not the present one.
    StaleSession {
        /// The present one; [`SessionId::NONE`] if there is none.
        current: SessionId,
        /// Its session.
        found: SessionId,
    },
    /// A message of another reign than its session's.
    WrongEpoch {
        /// The session's.
        expected: Epoch,
        /// The message's.
        found: Epoch,
    },
    /// A message or a record of another volume.
    WrongVolume {
        /// Ours.
        expected: VolumeId,
        /// Its volume.
        found: VolumeId,
    },
    /// The stream's next record is not the one after its last.
    Hole {
        /// The one that is missing.
        expected: Lsn,
        /// The one that came.
        found: Lsn,
    },
    /// A record does not continue the records before it.
    ChainBroken {
        /// The record.
        lsn: Lsn,
        /// The digest of the record before it.
        expected: Crc,
        /// What it says that digest is.
        found: Crc,
    },
    /// A record of an older reign than the record before it.
    EpochFell {
        /// The record.
        lsn: Lsn,
        /// The reign of the record before it.
        last: Epoch,
        /// Its reign.
        found: Epoch,
    },
    /// A record of a newer reign than that of the session.
    EpochAhead {
        /// The record.
        lsn: Lsn,
        /// The session's reign.
        session: Epoch,
        /// Its reign.
        found: Epoch,
    },
    /// A record of a reign that did not start, or a second start of the same reign.
    EpochStartMisplaced {
        /// The record.
        lsn: Lsn,
        /// The reign of the record before it.
        last: Epoch,
        /// Its reign.
        found: Epoch,
    },
    /// A record of a kind that never travels.
    KindNotSent {
        /// The record.
        lsn: Lsn,
        /// Its kind.
        kind: RecordKind,
    },
    /// A record whose body does not fit its kind and its extent.
    BodyShape {
        /// The record.
        lsn: Lsn,
        /// Blocks that the body should have.
        expected: usize,
        /// Blocks that it has.
        found: usize,
    },
    /// Blocks that are not of the volume, or none where there must be some.
    ExtentOutside {
        /// Which.
        extent: Extent,
        /// The volume's size in blocks.
        volume_blocks: u64,
    },
    /// An answer for records that were not sent in this session.
    AckPastSent {
        /// How far it says it received.
        acked: Lsn,
        /// The frontier of what was sent.
        sent: Lsn,
    },
    /// An answer that takes back an earlier one.
    AckMovedBack {
        /// The earlier one.
        before: Frontiers,
        /// This one.
        after: Frontiers,
    },
    /// Handshake facts that contradict each other, or our history.
    FactsAbsurd,
    /// A replica began a plan elsewhere than it was told to.
    BegunElsewhere {
        /// Where the plan begins.
        expected: Lsn,
        /// Where the replica's log ends.
        found: Lsn,
    },
    /// An answer for base blocks that were not sent in this session.
    BasePastSent {
        /// The frontier that it says it holds, in blocks.
        held: u64,
        /// The frontier of what was sent, in blocks.
        sent: u64,
    },
    /// An answer that takes base blocks back.
    BaseMovedBack {
        /// The frontier held before, in blocks.
        before: u64,
        /// The frontier held by this answer, in blocks.
        after: u64,
    },
    /// Base blocks that are older than what the replica already put in their place.
    BaseTooOld {
        /// Where in history they are from.
        as_of: Lsn,
        /// The lowest that will do.
        floor: Lsn,
    },
    /// Base blocks with holes outside of their extent.
    HolesOutside {
        /// Bit per block, the lowest for the first.
        holes: u64,
        /// How many blocks there are.
        blocks: u32,
    },
    /// Base blocks that are being written already.
    BaseOverlaps {
        /// Which.
        extent: Extent,
    },
    /// Frontiers that contradict each other: `home <= durable <= written <= received` does not hold.
    FrontiersDisordered {
        /// As they came.
        found: Frontiers,
    },
}

impl From<Mismatch> for Violation {
    fn from(mismatch: Mismatch) -> Violation {
        Violation::Mismatched(mismatch)
    }
}

impl From<CodecError> for Violation {
    fn from(why: CodecError) -> Violation {
        Violation::Unreadable(why)
    }
}

impl From<RecordError> for Violation {
    fn from(why: RecordError) -> Violation {
        Violation::BadRecord(why)
    }
}

impl core::error::Error for Violation {}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Violation::BadMagic { found } => write!(f, "frame begins with {found:08x}"),
            Violation::HeaderCorrupt { expected, found } => {
                write!(f, "frame header has checksum {found}, says {expected}")
            }
            Violation::UnknownVersion { found } => {
                write!(f, "frame of version {found}, known are {VERSION_MIN} to {VERSION_MAX}")
            }
            Violation::UnknownKind { code } => write!(f, "frame of unknown kind {code}"),
            Violation::MetaTooLong { bytes } => {
                write!(f, "meta part of {bytes} bytes, at most {META_BYTES_MAX}")
            }
            Violation::MetaLength { expected, found } => {
                write!(f, "meta part of {found} bytes instead of {expected}")
            }
            Violation::MetaCorrupt { expected, found } => {
                write!(f, "meta part has checksum {found}, header says {expected}")
            }
            Violation::PayloadNotAllowed { kind, bytes } => {
                write!(f, "{kind} with a payload of {bytes} bytes")
            }
            Violation::PayloadTooLong { bytes } => {
                write!(f, "payload of {bytes} bytes, at most {PAYLOAD_BYTES_MAX}")
            }
            Violation::PayloadNotBlocks { bytes } => {
                write!(f, "payload of {bytes} bytes is not whole blocks")
            }
            Violation::PayloadBlocks { expected, found } => {
                write!(f, "payload of {found} blocks, message says {expected}")
            }
            Violation::PayloadCorrupt { block, expected, found } => {
                write!(f, "payload block {block} has checksum {found}, message says {expected}")
            }
            Violation::Unreadable(why) => write!(f, "message can't be read: {why}"),
            Violation::Contradictory { kind } => write!(f, "{kind} contradicts itself or its sender"),
            Violation::BadRecord(why) => write!(f, "record can't be read: {why}"),
            Violation::Mismatched(mismatch) => write!(f, "{mismatch}"),
            Violation::NotMember { replica } => write!(f, "{replica} is no member"),
            Violation::Unproven { claimed, proven } => {
                write!(f, "certificate of {proven} where {claimed} was wanted or claimed")
            }
            Violation::Reflected { replica } => {
                write!(
                    f,
                    "certificate of {replica}, which are we ourselves: reflected, or our key is in other hands"
                )
            }
            Violation::OutOfTurn { state, event } => write!(f, "{event} while {state}"),
            Violation::StaleSession { current, found } => {
                write!(f, "session {found}, present one is {current}")
            }
            Violation::WrongEpoch { expected, found } => write!(f, "epoch {found}, session has {expected}"),
            Violation::WrongVolume { expected, found } => write!(f, "volume {found}, ours is {expected}"),
            Violation::Hole { expected, found } => {
                write!(f, "record {found} came where {expected} is missing")
            }
            Violation::ChainBroken { lsn, expected, found } => {
                write!(f, "record {lsn} continues digest {found}, log ends with {expected}")
            }
            Violation::EpochFell { lsn, last, found } => {
                write!(f, "record {lsn} of epoch {found} after {last}")
            }
            Violation::EpochAhead { lsn, session, found } => {
                write!(f, "record {lsn} of epoch {found} in a session of {session}")
            }
            Violation::EpochStartMisplaced { lsn, last, found } => {
                write!(f, "record {lsn} of epoch {found} after {last}: that epoch starts elsewhere")
            }
            Violation::KindNotSent { lsn, kind } => write!(f, "record {lsn} of kind {kind:?} never travels"),
            Violation::BodyShape { lsn, expected, found } => {
                write!(f, "record {lsn} has a body of {found} blocks instead of {expected}")
            }
            // The extent is a peer's: its end may not be a number.
            Violation::ExtentOutside { extent, volume_blocks } => {
                write!(f, "{} blocks from {} on in a volume of {volume_blocks}", extent.blocks, extent.start)
            }
            Violation::AckPastSent { acked, sent } => write!(f, "answer for {acked}, sent is {sent}"),
            Violation::AckMovedBack { before, after } => write!(f, "answer {after} after {before}"),
            Violation::FactsAbsurd => f.write_str("handshake facts contradict each other or our history"),
            Violation::BegunElsewhere { expected, found } => {
                write!(f, "plan begins at {expected}, replica's log ends at {found}")
            }
            Violation::BasePastSent { held, sent } => {
                write!(f, "answer for base block {held}, sent is {sent}")
            }
            Violation::BaseMovedBack { before, after } => {
                write!(f, "answer for base block {after} after {before}")
            }
            Violation::BaseTooOld { as_of, floor } => write!(f, "base as of {as_of}, replica needs {floor}"),
            Violation::HolesOutside { holes, blocks } => {
                write!(f, "holes {holes:016x} in {blocks} base blocks")
            }
            Violation::BaseOverlaps { extent } => {
                write!(f, "{} base blocks from {} on are being written already", extent.blocks, extent.start)
            }
            Violation::FrontiersDisordered { found } => write!(f, "frontiers contradict each other: {found}"),
        }
    }
}
