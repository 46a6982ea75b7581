//! What befalls a device: sectors rot, writes are lost or go astray, operations hang, space runs out.

use seawall_engine::io::{Area, DiskOp};
use seawall_wal::geometry::{Geometry, Slot};
use seawall_wal::names::Lsn;
use seawall_wal::superblock::BaseState;

use crate::clock::Moment;
use crate::device::SECTOR;
use crate::disk::damage::Rot;
use crate::disk::{Disk, ENOSPC, Fate, bytes_moved};
use crate::oracle::image::{log, superblock};
use crate::pool::BLOCK;
use crate::tally::Fault;
use crate::world::World;

/// What becomes of a write of which the device says that it is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    /// It is not there.
    Lost,
    /// It is at another place of its area; which one follows from the number.
    Astray {
        /// The number.
        nth: u32,
    },
}

/// What waits for a node's next operations.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Waiting {
    /// The next write to that area goes that way.
    pub(crate) write: Option<(Area, Way)>,
    /// The next operation hangs for so many nanoseconds.
    pub(crate) hang: Option<u64>,
    /// An operation hangs until then.
    pub(crate) hangs: Moment,
    /// An operation stalls until then.
    pub(crate) stalls: Moment,
    /// Until then writes to that area find no space.
    pub(crate) full: Option<(Area, Moment)>,
}

/// Which area an operation writes to, where, and how many bytes.
fn target(what: &DiskOp, unit_bytes: u32) -> Option<(Area, u64, u64)> {
    match what {
        DiskOp::WriteMeta { area, offset, bytes, .. } => Some((*area, *offset, bytes.len() as u64)),
        DiskOp::Append { offset, parts, .. } => {
            let body = |blocks: u32| u64::from(blocks) * BLOCK as u64;
            let bytes = parts
                .iter()
                .map(|part| u64::from(unit_bytes) + part.body.map_or(0, |buf| body(buf.blocks)))
                .sum();
            Some((Area::Log, *offset, bytes))
        }
        DiskOp::WriteHome { extent, .. } => {
            Some((Area::Home, extent.start * BLOCK as u64, bytes_moved(what)))
        }
        DiskOp::Discard { .. } | DiskOp::Flush { .. } | DiskOp::Merge { .. } | DiskOp::Copy { .. } => None,
        DiskOp::ReadMeta { .. } | DiskOp::Scan { .. } | DiskOp::Read { .. } => None,
    }
}

/// Where a write of `len` bytes that was meant for `offset` lands: near by half of the time.
fn astray(area_bytes: u64, offset: u64, len: u64, nth: u32) -> Option<u64> {
    let nth = u64::from(nth);
    let step = if nth & 1 == 0 { BLOCK as u64 } else { SECTOR as u64 };
    let places = area_bytes.checked_sub(len)? / step + 1;
    let distance = if nth & 2 == 0 { nth / 4 % 64 + 1 } else { nth / 4 };
    let to = (offset / step + distance) % places * step;
    (to != offset).then_some(to)
}

/// The sector that rots: one of those that are in use, if any are.
fn rotten(disk: &Disk, area: Area, nth: u32) -> u64 {
    let nth = u64::from(nth);
    let sector = SECTOR as u64;
    match area {
        Area::Super => {
            let slot = if nth & 1 == 0 { Slot::A } else { Slot::B };
            Geometry::super_offset(slot)
        }
        Area::Log => {
            let log = superblock(disk).and_then(|superblock| log(&superblock, disk).ok());
            let used = log.as_ref().map_or(0, |log| log.end().since(log.start()));
            match log {
                Some(log) if used > 0 => {
                    let entry = log.entry(Lsn(log.start().0 + nth % used)).expect("a record of the log");
                    let body = u64::from(entry.body_blocks()) * BLOCK as u64 / sector;
                    // The header as often as the body.
                    if nth & 1 == 0 || body == 0 {
                        entry.offset
                    } else {
                        log.body_offset(&entry) + nth / 2 % body * sector
                    }
                }
                Some(_) | None => nth * sector % disk.area_bytes(Area::Log),
            }
        }
        Area::Table => nth * sector % disk.area_bytes(Area::Table),
        Area::Home => {
            let blocks = disk.area_bytes(Area::Home) / BLOCK as u64;
            let held =
                |block: &u64| disk.view(Area::Home, block * BLOCK as u64, SECTOR).iter().any(|b| *b != 0);
            let block = (0..blocks).map(|step| (nth + step) % blocks).find(held).unwrap_or(nth % blocks);
            block * BLOCK as u64 + nth / 8 % 8 * sector
        }
    }
}

impl World {
    /// Whether a node's disk may be harmed there, as things are.
    pub(crate) fn may_harm(&self, node: usize, area: Area) -> bool {
        // One slot of the superblock at a time.
        let slots = area == Area::Super && self.nodes[node].disk.wrong_sectors(Area::Super) > 0;
        let others_have_copies = (0..self.nodes.len())
            .filter(|other| *other != node && !self.atlas.is_harmed(*other))
            .all(|other| self.has_copy(other));
        self.atlas.bears(node) && !slots && others_have_copies
    }

    /// Whether a node's disk says that its copy is not being rebuilt.
    fn has_copy(&self, node: usize) -> bool {
        superblock(&self.nodes[node].disk).is_some_and(|superblock| superblock.base == BaseState::Complete)
    }

    /// A sector rots.
    pub(crate) fn rot(&mut self, node: usize, area: Area, rot: Rot, nth: u32) {
        let disk = &mut self.nodes[node].disk;
        let offset = rotten(disk, area, nth);
        disk.on_rot(area, offset, rot, &mut self.chances.damage);
        self.transcript.line(self.now, &node, || format!("=== rot in {area:?} at {offset:#x}"));
        self.harm(node, Fault::Rot);
    }

    /// Whether an operation of the node hangs: its process can't be killed until it ends.
    pub(crate) fn hangs(&self, node: usize) -> bool {
        self.nodes[node].waiting.hangs > self.now
    }

    /// Whether an operation of the node takes seconds: whatever needs it waits.
    pub(crate) fn stalls(&self, node: usize) -> bool {
        self.nodes[node].waiting.stalls > self.now
    }

    /// What befalls an operation besides what chance had for it: how it ends, and after how many nanoseconds.
    pub(crate) fn befalls(&mut self, node: usize, what: &DiskOp, fate: Fate, latency: u64) -> (Fate, u64) {
        if !self.chaos || matches!(what, DiskOp::Merge { .. } | DiskOp::Copy { .. }) {
            return (fate, latency);
        }
        let latency = match self.nodes[node].waiting.hang.take() {
            Some(long) => {
                self.nodes[node].waiting.hangs = self.now.plus(long);
                self.tally.fired(Fault::Hung, 1);
                long
            }
            None => latency,
        };
        let disk = &self.nodes[node].disk;
        let Some((area, offset, len)) = target(what, disk.geometry().unit_bytes) else {
            return (fate, latency);
        };
        let area_bytes = disk.area_bytes(area);
        let Waiting { write, full, .. } = self.nodes[node].waiting;
        if full.is_some_and(|(of, until)| of == area && self.now < until) {
            self.tally.fired(Fault::Full, 1);
            return (Fate::Error(ENOSPC), latency);
        }
        let Some((_, way)) = write.filter(|(of, _)| *of == area && fate == Fate::Good) else {
            return (fate, latency);
        };
        let (fate, fault) = match way {
            Way::Lost => (Fate::Lost, Fault::LostWrite),
            Way::Astray { nth } => match astray(area_bytes, offset, len, nth) {
                Some(to) => (Fate::Astray { to }, Fault::Misdirected),
                None => return (fate, latency),
            },
        };
        self.nodes[node].waiting.write = None;
        if !self.may_harm(node, area) {
            return (Fate::Good, latency);
        }
        self.harm(node, fault);
        (fate, latency)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_goes_astray_within_its_area_and_never_where_it_belongs() {
        for nth in 0..5000 {
            let to = astray(64 * 4096, 8192, 12288, nth);
            let fits = |to: u64| to != 8192 && to + 12288 <= 64 * 4096 && to.is_multiple_of(512);
            assert!(to.is_none_or(fits), "{to:?}");
        }
        assert_eq!(astray(4096, 0, 8192, 0), None, "longer than the area");
        let apart = (0..5000).filter_map(|nth| astray(64 * 4096, 8192, 4096, nth));
        assert!(apart.collect::<std::collections::BTreeSet<u64>>().len() > 100);
    }
}
