//! The checksum of every home block, which is the allocation map too: a block without one is a hole, reads as
//! zeroes and is never looked at on the device.
//!
//! Each page has two places on the device. A checkpoint writes a changed page to the place that the last durable
//! superblock does not count on, so a torn page write loses nothing; and the superblock holds a fold over the
//! pages that it counts on, so neither a rotten page nor a lost page write goes unseen.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use bincode::{Decode, Encode};

use crate::crc::{ZERO_BLOCK, crc32c};
use crate::geometry::Slot;
use crate::names::{Crc, Extent};

/// Blocks that one page tells of.
pub const PAGE_ENTRIES: u64 = 1016;
/// Bytes of one page on the device.
pub const PAGE_BYTES: u64 = 4096;
/// Bytes of both places of a page; they are neighbours.
pub const PAGE_PAIR_BYTES: u64 = 2 * PAGE_BYTES;
/// The first bytes of a page: "SWCT".
pub const MAGIC: u32 = u32::from_le_bytes(*b"SWCT");
const VERSION: u32 = 1;

const BYTES: usize = 4096;
const HEAD_BYTES: usize = 32;
const ENTRIES: usize = (BYTES - HEAD_BYTES) / 4;
const CRC_AT: usize = 24;
const RESERVED_AT: usize = 28;

/// How many pages a volume has.
#[must_use]
pub fn pages(volume_blocks: u64) -> u64 {
    volume_blocks.div_ceil(PAGE_ENTRIES)
}

/// What a superblock says of the table that it counts on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Encode, Decode)]
pub struct TableMark {
    /// Pages of a higher generation come from a checkpoint that did not end, and don't count.
    pub generation: u64,
    /// Fold over the newest counting page of each index.
    pub root: u128,
}

/// What is wrong with a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TableError {
    /// Neither place of a page can be read.
    Unreadable {
        /// Its index.
        page: u64,
    },
    /// The pages are not those that the superblock counts on.
    Stale {
        /// The index of the first page with a place that can't be read, if there is one: probably this.
        suspect: Option<u64>,
    },
    /// Some pages were never loaded.
    Incomplete {
        /// How many were.
        loaded: u64,
        /// How many there are.
        pages: u64,
    },
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TableError::Unreadable { page } => write!(f, "checksum table page {page}: no copy can be read"),
            TableError::Stale { suspect: Some(page) } => {
                write!(f, "checksum table is not that of the superblock; page {page} has an unreadable copy")
            }
            TableError::Stale { suspect: None } => {
                f.write_str("checksum table is not that of the superblock")
            }
            TableError::Incomplete { loaded, pages } => {
                write!(f, "checksum table: {loaded} of {pages} pages read")
            }
        }
    }
}

impl core::error::Error for TableError {}

/// A page as it stands in one of its places.
#[derive(Clone, Copy, Debug)]
struct Copy {
    slot: Slot,
    generation: u64,
    crc: Crc,
}

#[derive(Clone, Debug, Default)]
struct Page {
    /// `None` when all blocks are holes.
    entries: Option<Box<[u32; ENTRIES]>>,
    /// How many are not.
    held: u16,
    /// Has changed since it was last encoded.
    dirty: bool,
    /// Its other place holds a copy of a checkpoint that did not end, which the next checkpoint must overwrite.
    leftover: bool,
    /// What the last durable superblock counts on.
    settled: Option<Copy>,
    /// What the checkpoint in progress wrote.
    written: Option<Copy>,
}

/// The table.
#[derive(Clone, Debug)]
pub struct Table {
    volume_blocks: u64,
    pages: Vec<Page>,
    mark: TableMark,
    /// Pages that the checkpoint in progress wrote.
    written: Vec<u64>,
    leftovers: u64,
    digest: u128,
    loaded: u64,
    loaded_root: u128,
    suspect: Option<u64>,
}

impl Table {
    /// A table of holes, to be filled from the device by [`load`](Table::load) if `mark` is not the default one.
    #[must_use]
    pub fn new(volume_blocks: u64, mark: TableMark) -> Table {
        let count = usize::try_from(pages(volume_blocks)).expect("the table fits into memory");
        Table {
            volume_blocks,
            pages: alloc::vec![Page::default(); count],
            mark,
            written: Vec::new(),
            leftovers: 0,
            digest: 0,
            loaded: 0,
            loaded_root: 0,
            suspect: None,
        }
    }

    /// The checksum of a block's bytes at home, as [`stored`] gives it; `None` is a hole.
    #[must_use]
    pub fn get(&self, block: u64) -> Option<Crc> {
        assert!(block < self.volume_blocks, "a block of the volume");
        let (page, at) = place(block);
        self.pages[page].entries.as_ref().map(|entries| Crc(entries[at])).filter(|crc| *crc != Crc(0))
    }

    /// A block's home bytes have this checksum now, or are no longer there.
    pub fn set(&mut self, block: u64, crc: Option<Crc>) {
        assert!(block < self.volume_blocks, "a block of the volume");
        let (at_page, at) = place(block);
        let page = &mut self.pages[at_page];
        let new = crc.map_or(0, |crc| stored(crc).0);
        let old = page.entries.as_ref().map_or(0, |entries| entries[at]);
        if old == new {
            return;
        }
        page.entries.get_or_insert_with(|| Box::new([0; ENTRIES]))[at] = new;
        page.dirty = true;
        if old == 0 {
            page.held += 1;
        } else {
            self.digest = self.digest.wrapping_sub(mix(block, Crc(old)));
        }
        if new == 0 {
            page.held -= 1;
            if page.held == 0 {
                page.entries = None;
            }
        } else {
            self.digest = self.digest.wrapping_add(mix(block, Crc(new)));
        }
    }

    /// All blocks of `extent` are holes now.
    pub fn set_holes(&mut self, extent: Extent) {
        assert!(extent.end() <= self.volume_blocks, "blocks of the volume");
        let mut block = extent.start;
        while block < extent.end() {
            let (page, _) = place(block);
            let end = ((page as u64 + 1) * PAGE_ENTRIES).min(extent.end());
            if self.pages[page].held > 0 {
                (block..end).for_each(|block| self.set(block, None));
            }
            block = end;
        }
    }

    /// Runs that cover `extent` in order, each as long as it can be, and whether it is a hole.
    pub fn holes(&self, extent: Extent) -> impl Iterator<Item = (Extent, bool)> + '_ {
        let mut at = extent.start;
        core::iter::from_fn(move || {
            if at >= extent.end() {
                return None;
            }
            let start = at;
            let hole = self.get(start).is_none();
            while at < extent.end() && self.get(at).is_none() == hole {
                let (page, within) = place(at);
                let end = (page as u64 + 1) * PAGE_ENTRIES;
                let whole_page = within == 0 && hole && self.pages[page].held == 0;
                at = if whole_page { end.min(extent.end()) } else { at + 1 };
            }
            Some((Extent::new(start, u32::try_from(at - start).expect("part of the extent")), hole))
        })
    }

    /// A fold over all blocks that are not zeroes, in no order: equal for equal volumes, whatever their histories.
    /// The sum of [`mix`] over them, modulo 2^128.
    #[must_use]
    pub fn digest(&self) -> u128 {
        self.digest
    }

    /// Blocks that are not holes.
    #[must_use]
    pub fn held_blocks(&self) -> u64 {
        self.pages.iter().map(|page| u64::from(page.held)).sum()
    }

    /// Memory that it takes, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let filled = self.pages.iter().filter(|page| page.entries.is_some()).count();
        self.pages.capacity() * size_of::<Page>() + filled * (size_of::<[u32; ENTRIES]>() + 16)
    }

    /// Pages that the next checkpoint has to write, in order.
    pub fn dirty(&self) -> impl Iterator<Item = u64> + '_ {
        self.pages.iter().zip(0..).filter(|(page, _)| page.dirty || page.leftover).map(|(_, index)| index)
    }

    /// A page as it is to be written, and where in the table area. It is clean then, but what the last durable
    /// superblock counts on stays where it is until [`on_checkpointed`](Table::on_checkpointed). A page may be encoded
    /// again within one checkpoint.
    pub fn encode(&mut self, index: u64) -> (u64, Vec<u8>) {
        let page = &mut self.pages[usize::try_from(index).expect("a page of the table")];
        let slot = page.settled.map_or(Slot::A, |copy| copy.slot.other());
        let generation = self.mark.generation + 1;
        let bytes = encode_page(index, generation, page.entries.as_deref());
        let crc = Crc(word(&bytes, CRC_AT));
        if page.written.replace(Copy { slot, generation, crc }).is_none() {
            self.written.push(index);
        }
        if page.leftover {
            self.leftovers -= 1;
        }
        page.dirty = false;
        page.leftover = false;
        (index * PAGE_PAIR_BYTES + slot_offset(slot), bytes)
    }

    /// What the superblock of the checkpoint in progress has to say. All pages that were dirty at its start must be
    /// encoded, and durable before that superblock is written.
    #[must_use]
    pub fn next_mark(&self) -> TableMark {
        assert_eq!(self.leftovers, 0, "what an unfinished checkpoint left is overwritten by the next");
        let mut root = self.mark.root;
        for index in &self.written {
            let page = &self.pages[usize::try_from(*index).expect("a page of the table")];
            root = root.wrapping_sub(page.settled.map_or(0, |copy| mix_page(*index, copy)));
            root = root.wrapping_add(page.written.map_or(0, |copy| mix_page(*index, copy)));
        }
        TableMark { generation: self.mark.generation + 1, root }
    }

    /// The superblock with [`next_mark`](Table::next_mark) is durable: it is the one that counts.
    pub fn on_checkpointed(&mut self) {
        self.mark = self.next_mark();
        for index in core::mem::take(&mut self.written) {
            let page = &mut self.pages[usize::try_from(index).expect("a page of the table")];
            page.settled = page.written.take();
        }
    }

    /// The checkpoint in progress ends without its superblock: the next one writes its pages again. None of its
    /// writes may still be under way then.
    pub fn on_abandoned(&mut self) {
        for index in core::mem::take(&mut self.written) {
            let page = &mut self.pages[usize::try_from(index).expect("a page of the table")];
            page.written = None;
            page.dirty = true;
        }
    }

    /// What the last durable superblock says.
    #[must_use]
    pub fn mark(&self) -> TableMark {
        self.mark
    }

    /// Take in a piece of the table area: whole page pairs from `offset` on, each page once, in any order.
    ///
    /// # Errors
    /// If a page has no place that can be read.
    ///
    /// # Panics
    /// If the piece is not made of whole pairs within the table.
    pub fn load(&mut self, offset: u64, bytes: &[u8]) -> Result<(), TableError> {
        let pairs = bytes.chunks_exact(2 * BYTES);
        assert!(
            offset.is_multiple_of(PAGE_PAIR_BYTES) && pairs.remainder().is_empty(),
            "whole pairs of pages"
        );
        for (pair, index) in pairs.zip(offset / PAGE_PAIR_BYTES..) {
            self.load_pair(index, &pair[..BYTES], &pair[BYTES..])?;
        }
        Ok(())
    }

    /// All pages are loaded: are they those that the superblock counts on?
    ///
    /// # Errors
    /// If not.
    pub fn on_loaded(&mut self) -> Result<(), TableError> {
        let pages = self.pages.len() as u64;
        if self.loaded != pages {
            return Err(TableError::Incomplete { loaded: self.loaded, pages });
        }
        if self.loaded_root != self.mark.root {
            return Err(TableError::Stale { suspect: self.suspect });
        }
        Ok(())
    }

    fn load_pair(&mut self, index: u64, a: &[u8], b: &[u8]) -> Result<(), TableError> {
        let states = [(Slot::A, a), (Slot::B, b)].map(|(slot, bytes)| (slot, bytes, judge(index, bytes)));
        self.loaded += 1;
        match states.iter().filter(|(_, _, state)| matches!(state, PageState::Unreadable)).count() {
            0 => (),
            1 => self.suspect = self.suspect.or(Some(index)),
            _ => return Err(TableError::Unreadable { page: index }),
        }
        let valid = states.iter().filter_map(|(slot, bytes, state)| match state {
            PageState::Valid { generation, crc } => {
                Some((Copy { slot: *slot, generation: *generation, crc: *crc }, bytes))
            }
            PageState::Empty | PageState::Unreadable => None,
        });
        let (counting, leftover): (Vec<_>, Vec<_>) =
            valid.partition(|(copy, _)| copy.generation <= self.mark.generation);
        if !leftover.is_empty() {
            self.leftovers += 1;
        }
        let page = &mut self.pages[usize::try_from(index).expect("a page of the table")];
        page.leftover = !leftover.is_empty();
        let Some((copy, bytes)) = counting.into_iter().max_by_key(|(copy, _)| copy.generation) else {
            return Ok(());
        };
        page.settled = Some(copy);
        self.loaded_root = self.loaded_root.wrapping_add(mix_page(index, copy));
        let first = index * PAGE_ENTRIES;
        let blocks = usize::try_from((self.volume_blocks - first).min(PAGE_ENTRIES)).expect("within a page");
        let mut entries = Box::new([0; ENTRIES]);
        for (at, entry) in entries.iter_mut().enumerate().take(blocks) {
            *entry = word(bytes, HEAD_BYTES + 4 * at);
            if *entry != 0 {
                page.held += 1;
                self.digest = self.digest.wrapping_add(mix(first + at as u64, Crc(*entry)));
            }
        }
        page.entries = (page.held > 0).then_some(entries);
        Ok(())
    }
}

/// How a block's checksum is kept in the table, where zero means a hole.
#[must_use]
pub fn stored(crc: Crc) -> Crc {
    if crc == Crc(0) { Crc(u32::MAX) } else { crc }
}

/// What one block adds to a digest. A block of zeroes adds nothing, just as a hole.
#[must_use]
pub fn mix(block: u64, crc: Crc) -> u128 {
    if crc == ZERO_BLOCK { 0 } else { spread(block, u64::from(stored(crc).0)) }
}

fn mix_page(index: u64, copy: Copy) -> u128 {
    spread(scramble(index).wrapping_add(copy.generation), u64::from(copy.crc.0))
}

/// Two numbers to 128 bits, so that sums over many of them are unlikely to be equal by chance.
fn spread(a: u64, b: u64) -> u128 {
    let low = scramble(a ^ scramble(b ^ 0x5eaa_11fe_5eaa_11fe));
    let high = scramble(a.wrapping_add(scramble(b.wrapping_add(0x9e37_79b9_7f4a_7c15))));
    u128::from(high) << 64 | u128::from(low)
}

/// The finaliser of splitmix64.
fn scramble(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

const _: () = assert!(ENTRIES as u64 == PAGE_ENTRIES && BYTES as u64 == PAGE_BYTES);

enum PageState {
    Empty,
    Valid { generation: u64, crc: Crc },
    Unreadable,
}

fn judge(index: u64, bytes: &[u8]) -> PageState {
    if word(bytes, 0) != MAGIC {
        return if bytes.iter().all(|b| *b == 0) { PageState::Empty } else { PageState::Unreadable };
    }
    let stated = Crc(word(bytes, CRC_AT));
    let right = word(bytes, 4) == VERSION
        && long(bytes, 8) == index
        && word(bytes, RESERVED_AT) == 0
        && page_crc(bytes) == stated;
    if right { PageState::Valid { generation: long(bytes, 16), crc: stated } } else { PageState::Unreadable }
}

fn encode_page(index: u64, generation: u64, entries: Option<&[u32; ENTRIES]>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(BYTES);
    bytes.extend_from_slice(&MAGIC.to_le_bytes());
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&index.to_le_bytes());
    bytes.extend_from_slice(&generation.to_le_bytes());
    bytes.extend_from_slice(&[0; HEAD_BYTES - CRC_AT]);
    if let Some(entries) = entries {
        entries.iter().for_each(|entry| bytes.extend_from_slice(&entry.to_le_bytes()));
    }
    bytes.resize(BYTES, 0);
    let crc = page_crc(&bytes);
    bytes[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.0.to_le_bytes());
    bytes
}

/// The checksum of a page: of all its bytes but the checksum itself, the ones before it last.
fn page_crc(bytes: &[u8]) -> Crc {
    let after = crc32c(&bytes[CRC_AT + 4..]);
    let mut head = [0; CRC_AT + 4];
    head[..CRC_AT].copy_from_slice(&bytes[..CRC_AT]);
    head[CRC_AT..].copy_from_slice(&after.0.to_le_bytes());
    crc32c(&head)
}

fn place(block: u64) -> (usize, usize) {
    let page = usize::try_from(block / PAGE_ENTRIES).expect("the table fits into memory");
    (page, usize::try_from(block % PAGE_ENTRIES).expect("within a page"))
}

fn slot_offset(slot: Slot) -> u64 {
    match slot {
        Slot::A => 0,
        Slot::B => PAGE_BYTES,
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from(word(bytes, at + 4)) << 32 | u64::from(word(bytes, at))
}
