//! What a disk holds that it should not: rot, and writes that it lost or put elsewhere.
//!
//! For every sector that is wrong the disk remembers what should be there, which no replica ever sees. A sector that
//! is written again is right again. With that memory the world can be asked what a disk would be without its damage,
//! and damage can be taken back.

use std::collections::BTreeMap;

use seawall_engine::io::{Area, DiskOp};

use crate::device::SECTOR;
use crate::disk::Disk;
use crate::pool::Pool;
use crate::prng::Prng;

/// How rot changes a sector.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rot {
    /// One bit, or up to four.
    Bits,
    /// All of it.
    Sector,
}

/// What should be in the sectors that are wrong, by area and offset within it.
#[derive(Debug, Default)]
pub(crate) struct Damage {
    sectors: BTreeMap<(Area, u64), Vec<u8>>,
}

impl Damage {
    /// Forgets the sectors of a range, which was written anew.
    pub(super) fn on_written(&mut self, area: Area, offset: u64, len: usize) {
        if self.sectors.is_empty() {
            return;
        }
        let range = (area, offset)..(area, offset + len as u64);
        let keys: Vec<(Area, u64)> = self.sectors.range(range).map(|(key, _)| *key).collect();
        for key in keys {
            self.sectors.remove(&key);
        }
    }
}

impl Disk {
    /// A sector rots.
    pub(crate) fn on_rot(&mut self, area: Area, offset: u64, rot: Rot, prng: &mut Prng) {
        let before = self.bytes(area, offset, SECTOR);
        let mut after = before.clone();
        match rot {
            Rot::Bits => {
                for _ in 0..prng.between(1, 4) {
                    after[prng.index(SECTOR)] ^= 1 << prng.below(8);
                }
            }
            Rot::Sector => {
                for bytes in after.chunks_exact_mut(8) {
                    bytes.copy_from_slice(&prng.bits().to_le_bytes());
                }
            }
        }
        self.damage.sectors.entry((area, offset)).or_insert(before);
        self.put(area, offset, &after);
    }

    /// A write that the device calls done and never does.
    pub(super) fn lose_write(&mut self, what: &DiskOp, pool: &Pool) {
        if let Some((area, offset, bytes, _)) = self.writes(what, pool) {
            self.miss(area, offset, &bytes);
        }
    }

    /// A write that lands at `to` instead, within the same area.
    pub(super) fn misdirect(&mut self, what: &DiskOp, to: u64, pool: &Pool) {
        let Some((area, offset, bytes, durable)) = self.writes(what, pool) else { return };
        self.miss(area, offset, &bytes);
        for (index, _) in bytes.chunks_exact(SECTOR).enumerate() {
            let at = to + (index * SECTOR) as u64;
            let before = self.bytes(area, at, SECTOR);
            self.damage.sectors.entry((area, at)).or_insert(before);
        }
        self.store(area, to, &bytes, durable);
    }

    /// What was to be written is remembered as missing.
    fn miss(&mut self, area: Area, offset: u64, bytes: &[u8]) {
        for (index, sector) in bytes.chunks_exact(SECTOR).enumerate() {
            self.damage.sectors.insert((area, offset + (index * SECTOR) as u64), sector.to_vec());
        }
    }

    /// How many sectors of an area are not as they should be.
    pub(crate) fn wrong_sectors(&self, area: Area) -> usize {
        self.wrong_places(area).count()
    }

    /// Sectors of an area that are not as they should be: their offsets within it.
    pub(crate) fn wrong_places(&self, area: Area) -> impl Iterator<Item = u64> {
        let sectors = self.damage.sectors.range((area, 0)..=(area, u64::MAX));
        sectors.filter_map(move |((_, offset), should)| {
            (self.view(area, *offset, SECTOR) != *should).then_some(*offset)
        })
    }

    /// What is wrong and what should be there change places: called twice, it changes nothing.
    pub(crate) fn exchange_damage(&mut self) {
        let mut sectors = core::mem::take(&mut self.damage.sectors);
        for ((area, offset), should) in &mut sectors {
            let is = self.bytes(*area, *offset, SECTOR);
            self.put(*area, *offset, should);
            *should = is;
        }
        self.damage.sectors = sectors;
    }

    /// All damage of these areas never was.
    pub(crate) fn take_back_damage(&mut self, areas: &[Area]) {
        let sectors = core::mem::take(&mut self.damage.sectors).into_iter();
        let (back, rest): (BTreeMap<_, _>, BTreeMap<_, _>) =
            sectors.partition(|((area, _), _)| areas.contains(area));
        self.damage.sectors = rest;
        for ((area, offset), should) in back {
            self.put(area, offset, &should);
        }
    }

    /// Whatever is wrong does not matter any more.
    pub(crate) fn forget_damage(&mut self) {
        self.damage.sectors.clear();
    }
}
