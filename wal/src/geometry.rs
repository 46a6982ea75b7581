//! Where everything is on a replica's devices. All offsets and sizes are bytes, and multiples of 4096.
//!
//! ```text
//! main device:  superblocks 2 MiB | log (unless separate) | checksum table | home, aligned to 1 MiB
//! log device:   label 1 MiB | log
//! ```

use core::fmt;

use bincode::{Decode, Encode};

use crate::names::BLOCK_BYTES;
use crate::table;

const MIB: u64 = 1 << 20;
const BLOCK: u64 = BLOCK_BYTES as u64;

/// Bytes of one superblock slot.
pub const SUPER_SLOT_BYTES: u64 = 64 << 10;
/// Bytes of the area at the start of the main device that holds both superblock slots.
pub const SUPER_BYTES: u64 = 2 * MIB;
/// Bytes of the area at the start of a separate log device that holds its label.
pub const LABEL_AREA_BYTES: u64 = MIB;
/// The smallest log, in bytes.
pub const LOG_BYTES_MIN: u64 = 4 * MIB;
/// The largest log, in bytes.
pub const LOG_BYTES_MAX: u64 = 1 << 40;
/// The largest volume, in blocks: 4 PiB.
pub const VOLUME_BLOCKS_MAX: u64 = 1 << 40;

/// One of the two places of the superblock.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Slot {
    /// At the start of the device.
    A,
    /// One MiB in, so that no single erase block or track holds both.
    B,
}

impl Slot {
    /// Where the superblock of that sequence number is written: they alternate.
    #[must_use]
    pub fn of(sequence: u64) -> Slot {
        if sequence.is_multiple_of(2) { Slot::A } else { Slot::B }
    }

    /// 0 or 1.
    #[must_use]
    pub fn index(self) -> usize {
        match self {
            Slot::A => 0,
            Slot::B => 1,
        }
    }

    /// The other one.
    #[must_use]
    pub fn other(self) -> Slot {
        match self {
            Slot::A => Slot::B,
            Slot::B => Slot::A,
        }
    }
}

/// The sizes that fix where everything is. Chosen at format time, never changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Geometry {
    /// The volume's size in blocks of 4096 bytes.
    pub volume_blocks: u64,
    /// The log ring's size in bytes.
    pub log_bytes: u64,
    /// What a record's header takes in the log, in bytes: 512, or 4096 where the device can't write less.
    pub unit_bytes: u32,
    /// Whether the log is on a device of its own.
    pub separate_log: bool,
}

/// Why a geometry is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GeometryError {
    /// The volume has no block, or more than [`VOLUME_BLOCKS_MAX`].
    VolumeSize {
        /// What it has.
        blocks: u64,
    },
    /// The log is smaller than [`LOG_BYTES_MIN`], larger than [`LOG_BYTES_MAX`] or no multiple of 4096.
    LogSize {
        /// What it is.
        bytes: u64,
    },
    /// The unit is neither 512 nor 4096.
    Unit {
        /// What it is.
        bytes: u32,
    },
}

impl fmt::Display for GeometryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GeometryError::VolumeSize { blocks } => {
                write!(f, "a volume of {blocks} blocks; 1 to {VOLUME_BLOCKS_MAX} are possible")
            }
            GeometryError::LogSize { bytes } => {
                write!(
                    f,
                    "a log of {bytes} bytes; {LOG_BYTES_MIN} to {LOG_BYTES_MAX} in steps of 4096 are possible"
                )
            }
            GeometryError::Unit { bytes } => {
                write!(f, "a log unit of {bytes} bytes; 512 and 4096 are possible")
            }
        }
    }
}

impl core::error::Error for GeometryError {}

impl Geometry {
    /// Judge it.
    ///
    /// # Errors
    /// Names the first size that is out of bounds.
    pub fn check(&self) -> Result<(), GeometryError> {
        if self.volume_blocks == 0 || self.volume_blocks > VOLUME_BLOCKS_MAX {
            return Err(GeometryError::VolumeSize { blocks: self.volume_blocks });
        }
        let log_fits = (LOG_BYTES_MIN..=LOG_BYTES_MAX).contains(&self.log_bytes);
        if !log_fits || !self.log_bytes.is_multiple_of(BLOCK) {
            return Err(GeometryError::LogSize { bytes: self.log_bytes });
        }
        if self.unit_bytes != 512 && self.unit_bytes != 4096 {
            return Err(GeometryError::Unit { bytes: self.unit_bytes });
        }
        Ok(())
    }

    /// Where a superblock slot is on the main device, whatever the sizes.
    #[must_use]
    pub fn super_offset(slot: Slot) -> u64 {
        match slot {
            Slot::A => 0,
            Slot::B => MIB,
        }
    }

    /// Where the log is: on the log device if it is separate, else on the main device.
    #[must_use]
    pub fn log_offset(&self) -> u64 {
        if self.separate_log { LABEL_AREA_BYTES } else { SUPER_BYTES }
    }

    /// Where the checksum table is on the main device.
    #[must_use]
    pub fn table_offset(&self) -> u64 {
        if self.separate_log { SUPER_BYTES } else { SUPER_BYTES + self.log_bytes }
    }

    /// The checksum table's size: two slots per page.
    #[must_use]
    pub fn table_bytes(&self) -> u64 {
        table::pages(self.volume_blocks) * table::PAGE_PAIR_BYTES
    }

    /// Where the volume's bytes are on the main device.
    #[must_use]
    pub fn home_offset(&self) -> u64 {
        (self.table_offset() + self.table_bytes()).next_multiple_of(MIB)
    }

    /// The volume's size.
    #[must_use]
    pub fn home_bytes(&self) -> u64 {
        self.volume_blocks * BLOCK
    }

    /// What the main device must have at least.
    #[must_use]
    pub fn device_bytes_min(&self) -> u64 {
        self.home_offset() + self.home_bytes()
    }

    /// What the log device must have at least; zero if there is none.
    #[must_use]
    pub fn log_device_bytes_min(&self) -> u64 {
        if self.separate_log { LABEL_AREA_BYTES + self.log_bytes } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn geometry(separate_log: bool) -> Geometry {
        Geometry { volume_blocks: 10 << 18, log_bytes: 1 << 30, unit_bytes: 512, separate_log }
    }

    #[test]
    fn areas_follow_each_other_and_do_not_overlap() {
        for separate in [false, true] {
            let g = geometry(separate);
            assert!(g.check().is_ok());
            assert!(Geometry::super_offset(Slot::B) + SUPER_SLOT_BYTES <= SUPER_BYTES);
            assert!(Geometry::super_offset(Slot::A) + SUPER_SLOT_BYTES <= Geometry::super_offset(Slot::B));
            let log_end_on_main = if separate { SUPER_BYTES } else { g.log_offset() + g.log_bytes };
            assert_eq!(g.table_offset(), log_end_on_main);
            assert!(g.table_offset() + g.table_bytes() <= g.home_offset());
            assert!(g.home_offset().is_multiple_of(MIB));
            assert_eq!(g.device_bytes_min(), g.home_offset() + 10 * 1024 * MIB);
        }
        assert_eq!(geometry(true).log_device_bytes_min(), 1025 * MIB);
        assert_eq!(geometry(false).log_device_bytes_min(), 0);
    }

    #[test]
    fn sizes_at_both_sides_of_every_bound() {
        let good = geometry(false);
        let volume = |volume_blocks| Geometry { volume_blocks, ..good }.check().is_ok();
        let log = |log_bytes| Geometry { log_bytes, ..good }.check().is_ok();
        let unit = |unit_bytes| Geometry { unit_bytes, ..good }.check().is_ok();
        assert_eq!([0, 1, VOLUME_BLOCKS_MAX, VOLUME_BLOCKS_MAX + 1].map(volume), [false, true, true, false]);
        let logs =
            [LOG_BYTES_MIN - 4096, LOG_BYTES_MIN, LOG_BYTES_MIN + 512, LOG_BYTES_MAX, LOG_BYTES_MAX + 4096];
        assert_eq!(logs.map(log), [false, true, false, true, false]);
        assert_eq!([0, 512, 1024, 4096, 8192].map(unit), [false, true, false, true, false]);
    }

    #[test]
    fn slots_alternate() {
        assert_eq!([0, 1, 2, 3].map(Slot::of), [Slot::A, Slot::B, Slot::A, Slot::B]);
    }
}
