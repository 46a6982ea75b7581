//! The label of a branch: a file beside the volume with records that a cut or a rebuild took out of a log.
//!
//! The label fills the file's first [`LABEL_BYTES`]; behind it are the records as they stood in the log, in order, each
//! with the checksums that it had there.

use alloc::vec::Vec;

use bincode::{Decode, Encode};

use crate::names::{Epoch, Lsn, LsnRange, ReplicaId, VolumeId};
pub use crate::sealed::Unreadable;
use crate::sealed::{Opened, open, seal};

/// The first bytes of a branch.
pub const MAGIC: [u8; 8] = *b"SEAWALL\x03";
const VERSION: u32 = 1;

/// Bytes of the label.
pub const LABEL_BYTES: u32 = 4096;

/// What a branch is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub struct BranchLabel {
    /// The volume.
    pub volume: VolumeId,
    /// In whose log it was.
    pub replica: ReplicaId,
    /// Its first record.
    pub start: Lsn,
    /// One past its last record.
    pub end: Lsn,
    /// Below it both histories are the same. The branch begins above it if the log did not reach back so far.
    pub fork: Lsn,
    /// The epoch of its last record.
    pub tail_epoch: Epoch,
    /// The epoch for whose sake it was cut.
    pub successor: Epoch,
    /// How many times the log had been cut before.
    pub generation: u32,
    /// Whether clients may have been told that something in it is done.
    pub relied_on: bool,
    /// The unit of the log that it was in. Bytes.
    pub unit_bytes: u32,
    /// How many bytes of records follow the label.
    pub bytes: u64,
    /// When it was kept, in seconds since the beginning of 1970 by the clock of its keeper.
    pub kept_at: u64,
}

impl BranchLabel {
    /// Its records.
    #[must_use]
    pub fn range(&self) -> LsnRange {
        LsnRange::new(self.start, self.end)
    }

    /// As it stands at the file's start: [`LABEL_BYTES`] long.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        seal(MAGIC, VERSION, self, u64::from(LABEL_BYTES))
    }

    /// What the first [`LABEL_BYTES`] of a file say.
    ///
    /// # Errors
    /// If they are no label.
    pub fn decode(bytes: &[u8]) -> Result<BranchLabel, Unreadable> {
        match open::<BranchLabel>(MAGIC, VERSION, bytes) {
            Opened::Value(label) if label.start <= label.end && label.fork <= label.start => Ok(label),
            Opened::Value(_) => Err(Unreadable::Value),
            Opened::Empty => Err(Unreadable::Magic),
            Opened::Unreadable(why) => Err(why),
        }
    }
}
