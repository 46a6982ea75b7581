//! The label at the start of a separate log device: whose log it is.

use alloc::vec::Vec;

use bincode::{Decode, Encode};

use crate::geometry::{Geometry, LABEL_AREA_BYTES};
use crate::names::{ReplicaId, VolumeId};
pub use crate::sealed::Unreadable;
use crate::sealed::{Opened, open, seal};
use crate::superblock::Superblock;

/// The first bytes of a label.
pub const MAGIC: [u8; 8] = *b"SEAWALL\x02";
/// The version of its layout.
pub const VERSION: u32 = 1;

/// Bytes to read at the start of the log device.
pub const LABEL_BYTES: u32 = 4096;

/// Whose log a device holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Label {
    /// The volume.
    pub volume: VolumeId,
    /// Which of its copies.
    pub replica: ReplicaId,
    /// Where everything is.
    pub geometry: Geometry,
}

/// What the start of a log device holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LabelState {
    /// Zeroes only.
    Empty,
    /// A label.
    Present(Label),
    /// Something that is not one (any more).
    Unreadable {
        /// Why.
        why: Unreadable,
    },
}

impl Label {
    /// The label that belongs to a superblock.
    #[must_use]
    pub fn of(superblock: &Superblock) -> Label {
        let Superblock { volume, replica, geometry, .. } = superblock;
        Label { volume: *volume, replica: *replica, geometry: *geometry }
    }

    /// As it stands on the device: [`LABEL_BYTES`] long.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        seal(MAGIC, VERSION, self, LABEL_AREA_BYTES)
    }

    /// What the first [`LABEL_BYTES`] of a device hold.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> LabelState {
        match open::<Label>(MAGIC, VERSION, bytes) {
            Opened::Empty => LabelState::Empty,
            Opened::Value(label) => LabelState::Present(label),
            Opened::Unreadable(why) => LabelState::Unreadable { why },
        }
    }
}
