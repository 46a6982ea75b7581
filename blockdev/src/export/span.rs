//! Byte ranges of a volume, and the blocks under them. Ranges begin and end on 512-byte sectors.

use core::iter;

use seawall_engine::io::REQUEST_BLOCKS_MAX;
use seawall_wal::names::{BLOCK_BYTES, Extent, SECTOR_BYTES};

use super::action::Piece;

const BLOCK: u64 = BLOCK_BYTES as u64;

/// `bytes` bytes from byte `offset` of the volume on. May be empty.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    /// First byte.
    pub offset: u64,
    /// How many.
    pub bytes: u32,
}

/// Some, not all, sectors of one block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Edge {
    /// The block.
    pub block: u64,
    /// First sector within it, 0 to 7.
    pub first_sector: u8,
    /// How many sectors, 1 to 7.
    pub sectors: u8,
}

impl Span {
    /// The first byte after it.
    #[must_use]
    pub fn end(self) -> u64 {
        self.offset + u64::from(self.bytes)
    }

    /// The blocks that it touches.
    #[must_use]
    pub fn outer(self) -> Extent {
        if self.bytes == 0 {
            return Extent::new(self.offset / BLOCK, 0);
        }
        extent(self.offset / BLOCK, self.end().div_ceil(BLOCK))
    }

    /// The blocks that it covers. May be empty.
    #[must_use]
    pub fn inner(self) -> Extent {
        extent(self.offset.div_ceil(BLOCK), self.end() / BLOCK)
    }

    /// The blocks that it covers in part: the first and the last, neither, or one that is both.
    pub fn edges(self) -> impl Iterator<Item = Edge> {
        let (outer, inner) = (self.outer(), self.inner());
        let head = (!outer.is_empty() && !inner.contains(outer.start)).then_some(outer.start);
        let last = outer.end().saturating_sub(1);
        let tail = (outer.blocks > 1 && !inner.contains(last)).then_some(last);
        head.into_iter().chain(tail).map(move |block| self.edge(block))
    }

    fn edge(self, block: u64) -> Edge {
        let from = self.offset.max(block * BLOCK) - block * BLOCK;
        let to = self.end().min((block + 1) * BLOCK) - block * BLOCK;
        let sector = |byte: u64| u8::try_from(byte / u64::from(SECTOR_BYTES)).expect("a block has 8 sectors");
        let first_sector = sector(from);
        Edge { block, first_sector, sectors: sector(to) - first_sector }
    }

    /// The stretches that it is split into, at multiples of 256 KiB of the volume.
    pub fn pieces(self) -> impl Iterator<Item = Piece> {
        let outer = self.outer();
        let mut next = outer.start;
        iter::from_fn(move || {
            (next < outer.end()).then(|| {
                let stride = u64::from(REQUEST_BLOCKS_MAX);
                let until = ((next / stride + 1) * stride).min(outer.end());
                let from = self.offset.max(next * BLOCK);
                let to = self.end().min(until * BLOCK);
                let piece = Piece {
                    start: next,
                    blocks: narrow(until - next),
                    skip: narrow(from - next * BLOCK),
                    bytes: narrow(to - from),
                };
                next = until;
                piece
            })
        })
    }
}

impl Piece {
    /// The bytes of the volume that it carries.
    #[must_use]
    pub fn span(&self) -> Span {
        Span { offset: self.start * BLOCK + u64::from(self.skip), bytes: self.bytes }
    }

    /// The blocks of the volume under its buffer.
    #[must_use]
    pub fn extent(&self) -> Extent {
        Extent::new(self.start, self.blocks)
    }

    /// Where in its buffer `block` of the volume is, in blocks.
    #[must_use]
    pub fn place(&self, block: u64) -> u32 {
        assert!(self.extent().contains(block), "the block is under the piece");
        narrow(block - self.start)
    }
}

fn extent(start: u64, end: u64) -> Extent {
    Extent::new(start, narrow(end.saturating_sub(start)))
}

fn narrow(number: u64) -> u32 {
    u32::try_from(number).expect("a span is below 2^32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn span(offset: u64, bytes: u32) -> Span {
        Span { offset, bytes }
    }

    #[test]
    fn a_span_within_one_block_is_one_edge_and_covers_nothing() {
        let span = span(4096 * 3 + 1024, 2048);
        assert_eq!(span.inner().blocks, 0);
        let edges: Vec<_> = span.edges().collect();
        assert_eq!(edges, [Edge { block: 3, first_sector: 2, sectors: 4 }]);
    }

    #[test]
    fn a_span_over_a_block_boundary_without_a_whole_block_has_two_edges() {
        let edges: Vec<_> = span(4096 - 512, 1024).edges().collect();
        let edge = |block, first_sector, sectors| Edge { block, first_sector, sectors };
        assert_eq!(edges, [edge(0, 7, 1), edge(1, 0, 1)]);
    }

    #[test]
    fn a_span_is_split_at_multiples_of_256_kib_of_the_volume() {
        let pieces: Vec<_> = span((256 << 10) - 512, (256 << 10) + 1024).pieces().collect();
        let piece = |start, blocks, skip, bytes| Piece { start, blocks, skip, bytes };
        assert_eq!(pieces, [piece(63, 1, 3584, 512), piece(64, 64, 0, 256 << 10), piece(128, 1, 0, 512)]);
    }

    #[test]
    fn the_largest_span_does_not_overflow() {
        let span = span(512, u32::MAX - 511);
        assert_eq!(span.outer(), Extent::new(0, 1 << 20));
        assert_eq!(span.inner(), Extent::new(1, (1 << 20) - 1));
    }

    proptest! {
        #[test]
        fn pieces_edges_and_whole_blocks_tile_the_span(sector in 0u64..5000, sectors in 0u32..3000) {
            let span = span(sector * 512, sectors * 512);
            let mut at = span.offset;
            let mut edges = Vec::new();
            let mut whole = 0;
            for piece in span.pieces() {
                prop_assert_eq!(piece.span().offset, at);
                prop_assert!(piece.skip < 4096 && piece.bytes > 0 && piece.blocks <= REQUEST_BLOCKS_MAX);
                prop_assert!(u64::from(piece.skip + piece.bytes) > u64::from(piece.blocks - 1) * BLOCK);
                prop_assert!(u64::from(piece.skip + piece.bytes) <= u64::from(piece.blocks) * BLOCK);
                prop_assert_eq!(piece.start / 64, (piece.extent().end() - 1) / 64);
                at += u64::from(piece.bytes);
                edges.extend(piece.span().edges());
                whole += piece.span().inner().blocks;
            }
            prop_assert_eq!(at, span.end());
            prop_assert_eq!(whole, span.inner().blocks);
            prop_assert_eq!(edges, span.edges().collect::<Vec<_>>());
            let covered = span.inner().bytes()
                + span.edges().map(|edge| u64::from(edge.sectors) * 512).sum::<u64>();
            prop_assert_eq!(covered, u64::from(span.bytes));
        }
    }
}
