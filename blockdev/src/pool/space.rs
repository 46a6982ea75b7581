//! Which blocks of the arena are free: a bitmap, searched for runs from either end.

use std::ops::Range;

/// A bit per block; set while the block is free.
pub(super) struct Space {
    words: Vec<u64>,
    blocks: u32,
}

const BITS: u32 = u64::BITS;

impl Space {
    /// `blocks` blocks, all free.
    pub(super) fn new(blocks: u32) -> Space {
        let mut space = Space { words: vec![0; blocks.div_ceil(BITS) as usize], blocks };
        space.mark(0..blocks, true);
        space
    }

    /// The lowest run of `blocks` free blocks in `within`.
    pub(super) fn lowest(&self, blocks: u32, within: Range<u32>) -> Option<u32> {
        let mut from = within.start;
        loop {
            let start = self.next(from, true, within.end);
            if blocks > within.end.checked_sub(start)? {
                return None;
            }
            let end = self.next(start, false, start + blocks);
            if end == start + blocks {
                return Some(start);
            }
            from = end;
        }
    }

    /// The highest run of `blocks` free blocks in `within`.
    pub(super) fn highest(&self, blocks: u32, within: Range<u32>) -> Option<u32> {
        let mut below = within.end;
        loop {
            let end = self.last(below, true, within.start)?;
            if blocks > end - within.start {
                return None;
            }
            match self.last(end, false, end - blocks) {
                None => return Some(end - blocks),
                Some(used) => below = used,
            }
        }
    }

    /// Takes a run that is free, or gives back one that is not.
    pub(super) fn mark(&mut self, run: Range<u32>, free: bool) {
        assert!(run.end <= self.blocks, "a run lies within the arena");
        let mut at = run.start;
        while at < run.end {
            let bit = at % BITS;
            let bits = (run.end - at).min(BITS - bit);
            let mask = (u64::MAX >> (BITS - bits)) << bit;
            let word = &mut self.words[(at / BITS) as usize];
            assert!(*word & mask == if free { 0 } else { mask }, "blocks are taken and given back once");
            *word ^= mask;
            at += bits;
        }
    }

    /// The first block from `from` on that is (not) free; `end` if there is none below it.
    fn next(&self, from: u32, free: bool, end: u32) -> u32 {
        let mut at = from;
        while at < end {
            let rest = self.word(at, free) >> (at % BITS);
            if rest != 0 {
                return (at + rest.trailing_zeros()).min(end);
            }
            at = (at / BITS + 1) * BITS;
        }
        end
    }

    /// One past the last block below `below` that is (not) free; `None` if there is none from `start` on.
    fn last(&self, below: u32, free: bool, start: u32) -> Option<u32> {
        let mut at = below;
        while at > start {
            let bit = (at - 1) % BITS;
            let rest = self.word(at - 1, free) << (BITS - 1 - bit);
            if rest != 0 {
                let found = at - rest.leading_zeros();
                return (found > start).then_some(found);
            }
            at -= bit + 1;
        }
        None
    }

    fn word(&self, block: u32, free: bool) -> u64 {
        let word = self.words[(block / BITS) as usize];
        if free { word } else { !word }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, proptest};

    fn model(free: &[bool], blocks: u32, within: &Range<u32>) -> Vec<u32> {
        (within.start..(within.end + 1).saturating_sub(blocks))
            .filter(|start| (*start..start + blocks).all(|block| free[block as usize]))
            .collect()
    }

    proptest! {
        #[test]
        fn the_lowest_and_the_highest_run_are_what_a_plain_search_finds(
            used in proptest::collection::vec(any::<u8>(), 300), blocks in 1u32..140,
            sparse in 1u8..40, start in 0u32..300, length in 0u32..300,
        ) {
            let mut space = Space::new(300);
            let free: Vec<bool> = used.iter().map(|draw| *draw >= sparse).collect();
            for (block, free) in (0..).zip(&free) {
                if !free {
                    space.mark(block..block + 1, false);
                }
            }
            let within = start..(start + length).min(300);
            let runs = model(&free, blocks, &within);
            assert_eq!(space.lowest(blocks, within.clone()), runs.first().copied());
            assert_eq!(space.highest(blocks, within), runs.last().copied());
        }
    }
}
