//! A set of blocks: a bitmap in pages that exist only where it holds something.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use seawall_wal::names::Extent;

/// Blocks of one page: 16 MiB of the volume.
const PAGE_BLOCKS: u64 = 4096;
const WORDS: usize = 64;
const _: () = assert!(PAGE_BLOCKS == 64 * WORDS as u64, "a bit per block");

type Page = Box<[u64; WORDS]>;

/// A set of blocks.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct BlockSet {
    pages: BTreeMap<u64, Page>,
}

impl BlockSet {
    /// Holds nothing.
    #[must_use]
    pub fn new() -> BlockSet {
        BlockSet::default()
    }

    /// Hold these blocks too.
    pub fn insert(&mut self, extent: Extent) {
        for (page, word, bits) in words(extent) {
            let page = self.pages.entry(page).or_insert_with(|| Box::new([0; WORDS]));
            page[word] |= bits;
        }
    }

    /// Hold none of these blocks.
    pub fn remove(&mut self, extent: Extent) {
        for (page, word, bits) in words(extent) {
            if let Some(page) = self.pages.get_mut(&page) {
                page[word] &= !bits;
            }
        }
    }

    /// Forget the blocks below `block`, as far as that frees memory: those of its own page may stay.
    pub fn forget_below(&mut self, block: u64) {
        self.pages = self.pages.split_off(&(block / PAGE_BLOCKS));
    }

    /// Whether `block` is held.
    #[must_use]
    pub fn contains(&self, block: u64) -> bool {
        words(Extent::new(block, 1)).all(|(page, word, bits)| self.word(page, word) & bits != 0)
    }

    /// Whether one of these blocks is held.
    #[must_use]
    pub fn touches(&self, extent: Extent) -> bool {
        words(extent).any(|(page, word, bits)| self.word(page, word) & bits != 0)
    }

    /// The runs of `extent` that are not held, in order.
    #[must_use]
    pub fn gaps(&self, extent: Extent) -> Vec<Extent> {
        let mut gaps: Vec<Extent> = Vec::new();
        for (page, word, bits) in words(extent) {
            let mut free = bits & !self.word(page, word);
            while free != 0 {
                let first = free.trailing_zeros();
                let blocks = (free >> first).trailing_ones();
                let start = page * PAGE_BLOCKS + word as u64 * 64 + u64::from(first);
                match gaps.last_mut() {
                    Some(gap) if gap.end() == start => gap.blocks += blocks,
                    Some(_) | None => gaps.push(Extent::new(start, blocks)),
                }
                free &= !mask(first, blocks);
            }
        }
        gaps
    }

    /// How many blocks are held.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.pages.values().flat_map(|page| page.iter()).map(|word| u64::from(word.count_ones())).sum()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pages.values().all(|page| page.iter().all(|word| *word == 0))
    }

    /// Memory that it takes, in bytes, about.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.pages.len() as u64 * (PAGE_BLOCKS / 8 + 32)
    }

    fn word(&self, page: u64, word: usize) -> u64 {
        self.pages.get(&page).map_or(0, |page| page[word])
    }
}

/// The words that hold the blocks of an extent: page, word of the page, and the bits of it.
fn words(extent: Extent) -> impl Iterator<Item = (u64, usize, u64)> {
    let mut block = extent.start;
    core::iter::from_fn(move || {
        let left = extent.end().checked_sub(block).filter(|left| *left > 0)?;
        let within = block % PAGE_BLOCKS;
        let first = u32::try_from(within % 64).expect("below 64");
        let blocks = u32::try_from(left.min(u64::from(64 - first))).expect("at most 64");
        let word = usize::try_from(within / 64).expect("below 64");
        let item = (block / PAGE_BLOCKS, word, mask(first, blocks));
        block += u64::from(blocks);
        Some(item)
    })
}

/// `blocks` bits from bit `first` on; at least one, and none past the word.
const fn mask(first: u32, blocks: u32) -> u64 {
    (u64::MAX >> (64 - blocks)) << first
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_holds_what_a_plain_set_would(
            ops in prop::collection::vec((any::<bool>(), 0u64..9000, 0u32..5000), 1..20),
            (start, blocks) in (0u64..9000, 0u32..5000),
        ) {
            let (mut set, mut plain) = (BlockSet::new(), BTreeSet::new());
            for (insert, start, blocks) in ops {
                let extent = Extent::new(start, blocks);
                if insert {
                    set.insert(extent);
                    plain.extend(start..extent.end());
                } else {
                    set.remove(extent);
                    plain.retain(|block| !extent.contains(*block));
                }
            }
            let extent = Extent::new(start, blocks);
            prop_assert_eq!(set.len(), plain.len() as u64);
            prop_assert_eq!(set.is_empty(), plain.is_empty());
            prop_assert_eq!(set.touches(extent), plain.range(start..extent.end()).next().is_some());
            let gaps = set.gaps(extent);
            let free: std::vec::Vec<u64> = (start..extent.end()).filter(|block| !plain.contains(block)).collect();
            let told: std::vec::Vec<u64> = gaps.iter().flat_map(|gap| gap.start..gap.end()).collect();
            prop_assert_eq!(told, free);
            prop_assert!(gaps.windows(2).all(|pair| pair[0].end() < pair[1].start), "runs are whole");
            for block in [start, start + 1, 4095, 4096] {
                prop_assert_eq!(set.contains(block), plain.contains(&block));
            }
        }
    }

    #[test]
    fn memory_is_bounded_by_the_volume_and_given_back_behind_the_cursor() {
        let mut set = BlockSet::new();
        set.insert(Extent::new(0, 2_621_440));
        assert_eq!(set.len(), 2_621_440);
        assert!(set.bytes() < 512 << 10, "10 GiB take {} bytes", set.bytes());
        set.forget_below(2_621_440 - 1);
        assert_eq!(set.len(), 4096, "what is left is the page of the cursor");
        assert!(set.contains(2_621_439) && !set.contains(0));
    }
}
