//! What clients asked, what they were told, and therefore what a volume may hold: the acknowledged history, and of
//! what is in doubt any beginning, in the order of the log, never with a hole.

use std::collections::BTreeMap;

use seawall_wal::names::Extent;

use crate::device::SECTOR;
use crate::pool::BLOCK;

/// Sectors of a block.
const SECTORS: usize = BLOCK / SECTOR;
/// What stands in every stamp.
const MAGIC: u32 = 0x5ea_57a3;

/// A change that a client asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wish {
    /// Whole blocks.
    Write { extent: Extent, fua: bool },
    /// Some sectors of one block.
    Part { block: u64, first: u8, sectors: u8 },
    /// Zeroes.
    Zero { extent: Extent, fua: bool },
    /// Not needed any more.
    Trim { extent: Extent },
}

impl Wish {
    /// Which blocks it changes.
    pub(super) fn extent(self) -> Extent {
        match self {
            Wish::Write { extent, .. } | Wish::Zero { extent, .. } | Wish::Trim { extent } => extent,
            Wish::Part { block, .. } => Extent::new(block, 1),
        }
    }

    /// Whether it has to be durable when it completes.
    pub(super) fn is_firm(self) -> bool {
        match self {
            Wish::Write { fua, .. } | Wish::Zero { fua, .. } => fua,
            Wish::Part { .. } | Wish::Trim { .. } => false,
        }
    }
}

/// What one block holds: which change its sectors are from, 0 for zeroes.
pub(super) type Stamps = [u32; SECTORS];

/// What was told of each change. One bit per change.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Told {
    /// Asked for.
    pub(super) issued: u128,
    /// Completed.
    pub(super) acked: u128,
    /// Completed, and promised to outlive a power loss.
    pub(super) firm: u128,
}

/// The history of one volume.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    wishes: Vec<Wish>,
    pub(super) told: Told,
    /// Orders of changes that the log may have. Usually one; a branch that is to be cut is another.
    lines: Vec<Vec<usize>>,
    live: usize,
}

impl History {
    /// One in which nothing happened.
    pub(super) fn new() -> History {
        History { lines: vec![Vec::new()], ..History::default() }
    }

    /// One that goes on from what a volume was found to hold.
    pub(super) fn after(&self, found: &[usize]) -> History {
        let told = found.iter().fold(0, |bits, change| bits | 1 << change);
        History {
            wishes: self.wishes.clone(),
            told: Told { issued: told, acked: told, firm: told },
            lines: vec![found.to_vec()],
            live: 0,
        }
    }

    /// A client asks; gives the number of the change.
    pub(super) fn on_asked(&mut self, wish: Wish) -> usize {
        let change = self.wishes.len();
        assert!(change < 128, "a script is short");
        self.wishes.push(wish);
        self.told.issued |= 1 << change;
        self.lines[self.live].push(change);
        change
    }

    /// A change completed.
    pub(super) fn on_done(&mut self, change: usize, durable: bool) {
        self.told.acked |= 1 << change;
        if durable || self.wishes[change].is_firm() {
            // The log is dense: what is durable is so with all that came before it.
            for before in self.lines[self.live].iter().take_while(|before| **before <= change) {
                self.told.firm |= 1 << before;
            }
        }
    }

    /// A flush completed that was asked for when `acked` had completed.
    pub(super) fn on_flushed(&mut self, acked: u128) {
        self.told.firm |= acked;
    }

    /// From here on the changes so far and those of another branch part.
    pub(super) fn part(&mut self) {
        let branch = self.lines[self.live].clone();
        self.lines.push(branch);
    }

    /// What comes now is on that branch.
    pub(super) fn go_on_with(&mut self, line: usize) {
        self.live = line;
    }

    /// The bytes that a change writes into one sector.
    pub(super) fn sector(change: usize, block: u64, sector: usize) -> [u8; SECTOR] {
        let mut bytes = [0; SECTOR];
        let word = [u32::try_from(change + 1).expect("few"), u32::try_from(block).expect("a small volume")];
        for (index, piece) in bytes.chunks_exact_mut(16).enumerate() {
            let place = u32::try_from(sector << 8 | index).expect("small");
            for (at, word) in [word[0], word[1], place, MAGIC].into_iter().enumerate() {
                piece[4 * at..4 * at + 4].copy_from_slice(&word.to_le_bytes());
            }
        }
        bytes
    }

    /// The bytes of a whole block of a change.
    pub(super) fn block(change: usize, block: u64) -> Vec<u8> {
        (0..SECTORS).flat_map(|sector| History::sector(change, block, sector)).collect()
    }

    /// What a block's bytes are made of; `None` if some of them were never written by anybody.
    pub(super) fn stamps(block: u64, bytes: &[u8]) -> Option<Stamps> {
        let mut stamps = [0; SECTORS];
        for (sector, bytes) in bytes.chunks_exact(SECTOR).enumerate() {
            let stamp = u32::from_le_bytes(bytes[..4].try_into().expect("four bytes"));
            if stamp == 0 {
                if bytes.iter().any(|byte| *byte != 0) {
                    return None;
                }
                continue;
            }
            if bytes != History::sector(stamp as usize - 1, block, sector) {
                return None;
            }
            stamps[sector] = stamp;
        }
        Some(stamps)
    }

    /// Every block that any change names.
    pub(super) fn touched(&self) -> Vec<Extent> {
        let mut blocks: Vec<u64> =
            self.wishes.iter().flat_map(|wish| wish.extent().start..wish.extent().end()).collect();
        blocks.sort_unstable();
        blocks.dedup();
        let mut runs: Vec<Extent> = Vec::new();
        for block in blocks {
            match runs.last_mut() {
                Some(run) if run.end() == block && run.blocks < 64 => run.blocks += 1,
                Some(_) | None => runs.push(Extent::new(block, 1)),
            }
        }
        runs
    }

    /// Which beginning of the history the volume holds, if any that is allowed: at least what `least` says. If none
    /// is, what is nearest, in words.
    pub(super) fn explain(&self, seen: &BTreeMap<u64, Stamps>, least: u128) -> Result<Vec<usize>, String> {
        for line in self.lines.iter().rev() {
            for end in (0..=line.len()).rev() {
                let bits = line[..end].iter().fold(0_u128, |bits, change| bits | 1 << change);
                let allowed = least & !bits == 0 && bits & !self.told.issued == 0;
                if allowed && self.differs(&line[..end], seen).is_none() {
                    return Ok(line[..end].to_vec());
                }
            }
        }
        for line in &self.lines {
            for end in (0..=line.len()).rev() {
                if self.differs(&line[..end], seen).is_none() {
                    let missing = line[end..].iter().filter(|change| least >> **change & 1 == 1).count();
                    return Err(format!(
                        "the volume is as of change {end}: {missing} promised ones are gone"
                    ));
                }
            }
        }
        let line = &self.lines[self.live];
        let difference = self.differs(line, seen).expect("it was just compared");
        Err(format!("the volume holds no beginning of its history; against all of it: {difference}"))
    }

    fn differs(&self, line: &[usize], seen: &BTreeMap<u64, Stamps>) -> Option<String> {
        let mut holds: BTreeMap<u64, Stamps> = BTreeMap::new();
        for &change in line {
            let stamp = u32::try_from(change + 1).expect("few");
            match self.wishes[change] {
                Wish::Write { extent, .. } => {
                    for block in extent.start..extent.end() {
                        holds.insert(block, [stamp; SECTORS]);
                    }
                }
                Wish::Part { block, first, sectors } => {
                    let stamps = holds.entry(block).or_default();
                    stamps[usize::from(first)..usize::from(first + sectors)].fill(stamp);
                }
                Wish::Zero { extent, .. } | Wish::Trim { extent } => {
                    for block in extent.start..extent.end() {
                        holds.remove(&block);
                    }
                }
            }
        }
        for (block, stamps) in seen {
            let expected = holds.get(block).copied().unwrap_or_default();
            if *stamps != expected {
                return Some(format!("block {block} holds {stamps:?}, expected {expected:?}"));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(start: u64) -> Wish {
        Wish::Write { extent: Extent::new(start, 1), fua: false }
    }

    fn seen(stamps: [u32; 3]) -> BTreeMap<u64, Stamps> {
        stamps.into_iter().zip(0..).map(|(stamp, block)| (block, [stamp; SECTORS])).collect()
    }

    #[test]
    fn a_suffix_in_doubt_may_be_gone_and_never_what_was_promised_or_a_middle() {
        let mut history = History::new();
        for block in 0..3 {
            history.on_asked(write(block));
        }
        history.on_done(0, true);
        let least = history.told.firm;
        assert_eq!(history.explain(&seen([1, 2, 3]), least), Ok(vec![0, 1, 2]));
        assert_eq!(history.explain(&seen([1, 0, 0]), least), Ok(vec![0]));
        assert!(history.explain(&seen([0, 0, 0]), least).unwrap_err().contains("1 promised ones are gone"));
        assert!(history.explain(&seen([1, 0, 3]), least).unwrap_err().contains("no beginning"));
    }

    #[test]
    fn a_branch_that_is_cut_and_the_one_that_is_kept_exclude_each_other() {
        let mut history = History::new();
        history.on_asked(write(0));
        history.part();
        history.on_asked(write(1));
        history.go_on_with(1);
        history.on_asked(write(2));
        assert_eq!(history.explain(&seen([1, 2, 0]), 1), Ok(vec![0, 1]));
        assert_eq!(history.explain(&seen([1, 0, 3]), 1), Ok(vec![0, 2]));
        assert!(history.explain(&seen([1, 2, 3]), 1).is_err());
    }

    #[test]
    fn bytes_tell_who_wrote_them_where() {
        let block = History::block(7, 30);
        assert_eq!(History::stamps(30, &block), Some([8; SECTORS]));
        assert_eq!(History::stamps(31, &block), None, "the bytes of another block");
        assert_eq!(History::stamps(31, &[0; BLOCK]), Some([0; SECTORS]));
        assert_eq!(History::stamps(31, &[0xDD; BLOCK]), None);
    }
}
