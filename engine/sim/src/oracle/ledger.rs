//! What clients were told: one register per block, or per sector in the blocks that are written in parts.

use std::collections::{BTreeMap, BTreeSet};

use seawall_wal::names::Extent;

use crate::device::SECTOR;
use crate::oracle::Failure;
use crate::oracle::register::{Register, Turn, Unexplained};
use crate::pool::BLOCK;
use crate::stamp::{Stamp, judge};

/// Every so many blocks, one is written in parts too, and has a register per sector.
const PARTS_EVERY: u64 = 4;

/// Whether a block is one of those that are written in parts.
pub(crate) fn has_parts(block: u64) -> bool {
    block % PARTS_EVERY == PARTS_EVERY - 1
}

/// Where a write goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// Whole blocks.
    Blocks(Extent),
    /// Sectors of one block.
    Sectors {
        /// The block.
        block: u64,
        /// The first of them.
        first: u8,
        /// How many.
        count: u8,
    },
}

/// All registers, and the writes that may still end.
#[derive(Debug)]
pub(crate) struct Ledger {
    registers: Vec<Register>,
    writes: BTreeMap<Stamp, Place>,
    /// Those whose end nobody will hear of.
    doubtful: BTreeMap<Stamp, Place>,
    reading: BTreeSet<Turn>,
    /// What was overwritten may come back, so nothing is forgotten.
    keeps: bool,
    forked: bool,
}

impl Ledger {
    /// A volume of zeroes. `keeps`: of the commit rule `one`.
    pub(crate) fn new(blocks: u64, keeps: bool) -> Ledger {
        let registers =
            usize::try_from(blocks.div_ceil(PARTS_EVERY) * (PARTS_EVERY + 7)).expect("a small volume");
        Ledger {
            registers: vec![Register::new(); registers],
            writes: BTreeMap::new(),
            doubtful: BTreeMap::new(),
            reading: BTreeSet::new(),
            keeps,
            forked: false,
        }
    }

    /// A suffix of what was committed may be gone, by contract.
    pub(crate) fn on_forked(&mut self) {
        self.forked = true;
    }

    /// A promotion was forced by a copy that holds these blocks: they are the volume, and what completed elsewhere is
    /// void. What has not ended may still come.
    pub(crate) fn on_forced<'a>(
        &mut self,
        blocks: impl Iterator<Item = Option<&'a [u8]>>,
        now: Turn,
    ) -> Result<(), Failure> {
        for (block, bytes) in (0..).zip(blocks) {
            let stamps = stamps(block, bytes)?;
            let seen: &[Stamp] = if has_parts(block) { &stamps } else { &stamps[..1] };
            for (index, stamp) in (first_index(block)..).zip(seen) {
                self.registers[index].on_forced(*stamp, now);
            }
        }
        Ok(())
    }

    /// A write begins; whether it writes zeroes.
    pub(crate) fn on_write_began(&mut self, stamp: Stamp, place: Place, zero: bool, now: Turn) {
        let oldest = if self.keeps { 0 } else { self.reading.first().copied().unwrap_or(now) };
        for index in indexes(place) {
            self.registers[index].on_write_began(stamp, zero, now, oldest);
        }
        self.writes.insert(stamp, place);
    }

    /// A write completed.
    pub(crate) fn on_write_ended(&mut self, stamp: Stamp, now: Turn) -> Result<(), Failure> {
        let place = self.writes.remove(&stamp).expect("a write that began");
        if self.forked {
            return Ok(());
        }
        for index in indexes(place) {
            self.registers[index]
                .on_write_ended(stamp, now)
                .map_err(|why| self.failure(index, stamp, why))?;
        }
        Ok(())
    }

    /// A write was refused before it began.
    pub(crate) fn on_write_void(&mut self, stamp: Stamp) {
        let place = self.writes.remove(&stamp).expect("a write that began");
        for index in indexes(place) {
            self.registers[index].on_write_void(stamp);
        }
    }

    /// Nobody will hear any more how a write ended.
    pub(crate) fn on_write_in_doubt(&mut self, stamp: Stamp) {
        if let Some(place) = self.writes.remove(&stamp) {
            self.doubtful.insert(stamp, place);
        }
    }

    /// A client gave up a write, or never heard of its end, and has now been told that a later one, to `place`, is
    /// done: the earlier one has landed by now, or never will.
    pub(crate) fn on_fenced(&mut self, stamp: Stamp, place: Place, now: Turn) {
        let Some(first) = self.doubtful.get(&stamp).or_else(|| self.writes.get(&stamp)).copied() else {
            return;
        };
        let anew: BTreeSet<usize> = indexes(place).collect();
        for index in indexes(first) {
            self.registers[index].on_fenced(stamp, now, anew.contains(&index));
        }
    }

    /// A read begins.
    pub(crate) fn on_read_began(&mut self, now: Turn) {
        self.reading.insert(now);
    }

    /// A read ended without bytes.
    pub(crate) fn on_read_void(&mut self, began: Turn) {
        self.reading.remove(&began);
    }

    /// A read that began then ended with these blocks; `None` is a block of zeroes.
    pub(crate) fn on_read<'a>(
        &mut self,
        first: u64,
        blocks: impl Iterator<Item = Option<&'a [u8]>>,
        began: Turn,
        now: Turn,
    ) -> Result<(), Failure> {
        self.reading.remove(&began);
        for (block, bytes) in (first..).zip(blocks) {
            self.on_block(block, bytes, began, now)?;
        }
        Ok(())
    }

    fn on_block(&mut self, block: u64, bytes: Option<&[u8]>, began: Turn, now: Turn) -> Result<(), Failure> {
        let stamps = stamps(block, bytes)?;
        let seen: &[Stamp] = if has_parts(block) { &stamps } else { &stamps[..1] };
        if stamps.iter().any(|stamp| *stamp != stamps[0]) && seen.len() == 1 {
            return Err(Failure::new(
                "one-history",
                format!("a read returned block {block} mixed of {stamps:?}"),
            ));
        }
        let from = first_index(block);
        for (index, stamp) in (from..).zip(seen) {
            let register = &mut self.registers[index];
            let read =
                if self.forked { register.check_known(*stamp) } else { register.on_read(*stamp, began, now) };
            read.map_err(|why| self.failure(index, *stamp, why))?;
        }
        Ok(())
    }

    fn failure(&self, index: usize, stamp: Stamp, why: Unexplained) -> Failure {
        let width = usize::try_from(PARTS_EVERY).expect("few") + 7;
        let (group, within) = (index / width, index % width);
        let whole = width - 8;
        let (block, sector) = if within < whole {
            (group * (whole + 1) + within, String::new())
        } else {
            (group * (whole + 1) + whole, format!(" sector {}", within - whole))
        };
        let what = match why {
            Unexplained::Unknown => "was never written there, or was overwritten long ago".to_owned(),
            Unexplained::Early => "was read before it was written".to_owned(),
            Unexplained::Disordered { other } => {
                format!("must be both older and newer than write {}", other.0)
            }
            Unexplained::NoZero => "are zeroes that no write explains".to_owned(),
            Unexplained::Buried => "was given up by a client that has written there anew since".to_owned(),
        };
        let values: Vec<String> = self.registers[index].values().iter().map(ToString::to_string).collect();
        let detail =
            format!("block {block}{sector}: write {} {what}; known there: {}", stamp.0, values.join(", "));
        Failure::new("one-history", detail)
    }
}

/// Which write each sector of a block is of.
fn stamps(block: u64, bytes: Option<&[u8]>) -> Result<[Stamp; BLOCK / SECTOR], Failure> {
    let mut stamps = [Stamp::ZERO; BLOCK / SECTOR];
    for (sector, content) in bytes.unwrap_or_default().chunks_exact(SECTOR).enumerate() {
        stamps[sector] = judge(content, block, sector).map_err(|garbage| {
            Failure::new("one-history", format!("a read returned what nobody wrote: {garbage:x?}"))
        })?;
    }
    Ok(stamps)
}

fn first_index(block: u64) -> usize {
    let index = block / PARTS_EVERY * (PARTS_EVERY + 7) + block % PARTS_EVERY;
    usize::try_from(index).expect("a small volume")
}

fn indexes(place: Place) -> impl Iterator<Item = usize> {
    let (blocks, sectors) = match place {
        Place::Blocks(extent) => (extent.start..extent.end(), 0..8),
        Place::Sectors { block, first, count } => {
            (block..block + 1, usize::from(first)..usize::from(first + count))
        }
    };
    blocks.flat_map(move |block| {
        let sectors = if has_parts(block) { sectors.clone() } else { 0..1 };
        sectors.map(move |sector| first_index(block) + sector)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stamp::{blocks, fill_sector};

    fn read(ledger: &mut Ledger, first: u64, bytes: &[u8], began: Turn) -> Result<(), Failure> {
        ledger.on_read_began(began);
        ledger.on_read(first, bytes.chunks_exact(BLOCK).map(Some), began, began + 1)
    }

    #[test]
    fn a_block_written_in_parts_has_a_history_per_sector() {
        let mut ledger = Ledger::new(16, false);
        ledger.on_write_began(Stamp(1), Place::Blocks(Extent::new(2, 2)), false, 1);
        ledger.on_write_ended(Stamp(1), 2).unwrap();
        ledger.on_write_began(Stamp(2), Place::Sectors { block: 3, first: 6, count: 2 }, false, 3);
        ledger.on_write_ended(Stamp(2), 4).unwrap();
        let mut bytes = blocks(Stamp(1), 2, 2);
        assert!(read(&mut ledger, 2, &bytes, 5).is_err(), "the part is missing");
        for sector in [6, 7] {
            let at = BLOCK + sector * SECTOR;
            fill_sector(Stamp(2), 3, sector, &mut bytes[at..at + SECTOR]);
        }
        assert_eq!(read(&mut ledger, 2, &bytes, 7), Ok(()));
    }

    #[test]
    fn a_torn_block_is_found() {
        let mut ledger = Ledger::new(8, false);
        for stamp in [1, 2] {
            ledger.on_write_began(Stamp(stamp), Place::Blocks(Extent::new(0, 1)), false, stamp);
        }
        let mut bytes = blocks(Stamp(1), 0, 1);
        fill_sector(Stamp(2), 0, 5, &mut bytes[5 * SECTOR..6 * SECTOR]);
        assert!(read(&mut ledger, 0, &bytes, 9).unwrap_err().detail.contains("mixed"));
    }

    #[test]
    fn registers_of_all_blocks_are_apart() {
        let all: Vec<usize> = indexes(Place::Blocks(Extent::new(0, 12))).collect();
        assert_eq!(all, (0..33).collect::<Vec<_>>());
    }
}
