//! The clients: what they ask for. Where it goes and what comes of it is the world's business.

use seawall_wal::names::Extent;

use crate::oracle::ledger::{Place, has_parts};
use crate::prng::Prng;
use crate::profile::LoadProfile;
use crate::stamp::Stamp;

/// One request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wish {
    /// Read blocks.
    Read(Extent),
    /// Write blocks or sectors.
    Write {
        /// What to write.
        stamp: Stamp,
        /// Where.
        place: Place,
        /// Durable before it is done.
        fua: bool,
    },
    /// Zero blocks, or trim them.
    Zero {
        /// What names it.
        stamp: Stamp,
        /// Which.
        extent: Extent,
        /// Trim.
        trim: bool,
        /// Durable before it is done.
        fua: bool,
    },
    /// A flush.
    Flush,
}

impl Wish {
    /// What names it, if it changes anything.
    pub(crate) fn stamp(&self) -> Option<Stamp> {
        match self {
            Wish::Write { stamp, .. } | Wish::Zero { stamp, .. } => Some(*stamp),
            Wish::Read(_) | Wish::Flush => None,
        }
    }

    /// Where it changes anything.
    pub(crate) fn place(&self) -> Option<Place> {
        match self {
            Wish::Write { place, .. } => Some(*place),
            Wish::Zero { extent, .. } => Some(Place::Blocks(*extent)),
            Wish::Read(_) | Wish::Flush => None,
        }
    }
}

/// Who asks.
#[derive(Debug)]
pub(crate) struct Client {
    load: LoadProfile,
    volume_blocks: u64,
    stamps: u64,
}

impl Client {
    /// One that has asked for nothing.
    pub(crate) fn new(load: LoadProfile, volume_blocks: u64) -> Client {
        Client { load, volume_blocks, stamps: 0 }
    }

    /// Names the next write.
    pub(crate) fn stamp(&mut self) -> Stamp {
        self.stamps += 1;
        Stamp(self.stamps)
    }

    /// The next thing to ask for.
    pub(crate) fn wish(&mut self, prng: &mut Prng) -> Wish {
        let draw = prng.below(100);
        if draw < self.load.reads {
            return Wish::Read(self.extent(prng, 64));
        }
        let kind = prng.below(100);
        let fua = prng.chance(100_000);
        if kind < self.load.flushes {
            return Wish::Flush;
        }
        let stamp = self.stamp();
        if self.load.zeroes && kind < 16 {
            let blocks_max = if prng.chance(100_000) { 4096 } else { 64 };
            return Wish::Zero { stamp, extent: self.extent(prng, blocks_max), trim: prng.coin(), fua };
        }
        let place = if self.load.parts && kind < 40 {
            self.sectors(prng)
        } else {
            Place::Blocks(self.extent(prng, 64))
        };
        Wish::Write { stamp, place, fua }
    }

    fn extent(&self, prng: &mut Prng, blocks_max: u32) -> Extent {
        let blocks_max = blocks_max.min(self.load.blocks_max.max(blocks_max / 64));
        // Any size is as likely to be below a bound as the half of it: many small ones, some as large as can be.
        let bound = 1 << prng.below(u64::from(blocks_max.ilog2()) + 1);
        let blocks = prng.between(1, bound.max(1));
        let start = self.block(prng);
        let blocks = blocks.min(self.volume_blocks - start).min(u64::from(blocks_max));
        Extent::new(start, u32::try_from(blocks).expect("few"))
    }

    fn sectors(&self, prng: &mut Prng) -> Place {
        let block = self.block(prng) | 3;
        assert!(has_parts(block), "a block that may be written in parts");
        let first = prng.below(8);
        let count = prng.between(1, (8 - first).min(7));
        let small = |n: u64| u8::try_from(n).expect("less than nine");
        Place::Sectors { block, first: small(first), count: small(count) }
    }

    fn block(&self, prng: &mut Prng) -> u64 {
        let below = if prng.coin() { self.load.hot_blocks } else { self.volume_blocks };
        prng.below(below.min(self.volume_blocks))
    }
}
