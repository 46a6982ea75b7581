//! What a device does wrong on purpose, and what a driver with a planted bug does wrong.

use seawall_engine::io::{Area, DiskDone, DiskError, DiskOp};

use super::drive::{Drive, Write};
use super::medium::Loss;
use crate::device::SECTOR;
use crate::pool::{BLOCK, Pool};

/// How an operation ends ill.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Ill {
    /// It says so, and nothing was written; of a flush, everything that it was to cover is gone.
    Error,
    /// It says so after half of it was written.
    HalfError,
    /// It says so, and all of it was done.
    DoneError,
    /// The device is full.
    NoSpace,
    /// It says that it was written. It was not.
    Lost,
    /// It was written a block further on.
    Misdirected,
}

impl Ill {
    /// All of them.
    pub const ALL: [Ill; 6] =
        [Ill::Error, Ill::HalfError, Ill::DoneError, Ill::NoSpace, Ill::Lost, Ill::Misdirected];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Ill::Error => "error, nothing done",
            Ill::HalfError => "error, half done",
            Ill::DoneError => "error, all done",
            Ill::NoSpace => "no space",
            Ill::Lost => "lost",
            Ill::Misdirected => "misdirected",
        }
    }

    /// Whether the device says that something is wrong.
    #[must_use]
    pub fn is_told(self) -> bool {
        match self {
            Ill::Error | Ill::HalfError | Ill::DoneError | Ill::NoSpace => true,
            Ill::Lost | Ill::Misdirected => false,
        }
    }
}

/// One operation that ends ill.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Spoil {
    /// Which of the subject's disk operations.
    pub(super) at: usize,
    pub(super) ill: Ill,
}

impl Spoil {
    /// Do the operation ill. What is no write and no flush can only fail.
    pub(super) fn carry_out(
        self,
        drive: &mut Drive,
        what: &DiskOp,
        mark: u64,
        pool: &mut Pool,
    ) -> Result<DiskDone, DiskError> {
        if let DiskOp::Merge { .. } | DiskOp::Copy { .. } = what {
            // It happens in memory.
            return Ok(drive.carry_out(what, mark, pool));
        }
        let failed = |errno| Err(DiskError { errno });
        let write = drive.writes(what, pool);
        match (self.ill, write) {
            (Ill::Error, None) => {
                if let DiskOp::Flush { .. } = what {
                    drive.lose(Loss::Everything);
                }
                failed(5)
            }
            (Ill::HalfError, None) => failed(5),
            (Ill::DoneError, None) => {
                if let DiskOp::Flush { area } = what {
                    drive.flush(*area, mark);
                }
                failed(5)
            }
            (Ill::NoSpace, None) => failed(28),
            (Ill::Lost, None) => match what {
                // A flush that does nothing.
                DiskOp::Flush { .. } => Ok(DiskDone::Done),
                _ => Ok(drive.carry_out(what, mark, pool)),
            },
            (Ill::Misdirected, None) => Ok(drive.carry_out(what, mark, pool)),
            (Ill::Error, Some(_)) => failed(5),
            (Ill::HalfError, Some(write)) => {
                let half = write.bytes.len() / SECTOR / 2;
                drive.write_torn(&write, |sector| if sector < half { SECTOR } else { 0 });
                failed(5)
            }
            (Ill::DoneError, Some(write)) => {
                drive.write(&write);
                failed(5)
            }
            (Ill::NoSpace, Some(_)) => failed(28),
            (Ill::Lost, Some(_)) => Ok(DiskDone::Done),
            (Ill::Misdirected, Some(write)) => {
                misdirect(drive, &write);
                Ok(DiskDone::Done)
            }
        }
    }
}

/// Write a block further on, whatever stands there; at the end of an area, in the next one.
fn misdirect(drive: &mut Drive, write: &Write) {
    match drive.main_offset(write.area, write.offset) {
        Some(at) => drive.put_main(at + BLOCK as u64, &write.bytes),
        None => drive.put(write.area, write.offset + BLOCK as u64, &write.bytes),
    }
}

/// A planted bug in a driver, or in an engine, as it looks from the device.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Sabotage {
    /// The flush between a checkpoint's pages and its superblock does nothing.
    FlushSkipped,
    /// Superblocks are written to one slot only.
    OneSlot,
    /// A page of the checksum table is written over its only copy.
    PageInPlace,
    /// Appends are not brought to stable storage.
    AppendNotDurable,
}

impl Sabotage {
    /// All of them.
    pub const ALL: [Sabotage; 4] =
        [Sabotage::FlushSkipped, Sabotage::OneSlot, Sabotage::PageInPlace, Sabotage::AppendNotDurable];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Sabotage::FlushSkipped => "flush-skipped",
            Sabotage::OneSlot => "one-slot",
            Sabotage::PageInPlace => "page-in-place",
            Sabotage::AppendNotDurable => "append-not-durable",
        }
    }

    /// What is given to the disk instead.
    pub(super) fn twist(self, what: DiskOp, mark: u64) -> (DiskOp, u64) {
        match (self, what) {
            (Sabotage::FlushSkipped, DiskOp::Flush { area: Area::Home }) => {
                (DiskOp::Flush { area: Area::Home }, 0)
            }
            (Sabotage::OneSlot, DiskOp::WriteMeta { area: Area::Super, bytes, durable, .. }) => {
                (DiskOp::WriteMeta { area: Area::Super, offset: 0, bytes, durable }, mark)
            }
            (Sabotage::PageInPlace, DiskOp::WriteMeta { area: Area::Table, offset, bytes, durable }) => {
                let offset = offset - offset % (2 * BLOCK as u64);
                (DiskOp::WriteMeta { area: Area::Table, offset, bytes, durable }, mark)
            }
            (Sabotage::AppendNotDurable, DiskOp::Append { offset, parts, durable: _ }) => {
                (DiskOp::Append { offset, parts, durable: false }, mark)
            }
            (_, what) => (what, mark),
        }
    }
}
