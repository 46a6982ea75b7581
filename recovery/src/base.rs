//! The base lane of a rebuild: home blocks, copied beside the live feed.
//!
//! The source reads each block as of its settled frontier of that moment, which is at or above the rebuild's cut;
//! the target writes it home unless a settled live record touched it since the cut. So a block holds, at any
//! moment, some settled records below its source's frontier and none above, and once the target's log has
//! reached the frontier of the last read, its home and its log together are the volume.
//!
//! Only settled records keep base blocks out. A record that may yet be cut must not: with it gone, nobody would
//! ever bring the block.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use seawall_sender::violation::Violation;
use seawall_wal::guard;
use seawall_wal::names::{Extent, Lsn};

use crate::block_set::BlockSet;
use crate::messages::BASE_BLOCKS_MAX;

/// Extents that a target keeps ahead of the first block that it doesn't hold: what any source may have in flight.
pub const AHEAD_MAX: usize = 4096;

/// How much a source keeps in flight.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct BaseLimits {
    /// Extents that were taken and are not held yet.
    pub extents_max: usize,
    /// Blocks with data in them, of those extents.
    pub blocks_max: u64,
}

impl BaseLimits {
    /// 8 MiB in up to 64 extents.
    pub const DEFAULT: BaseLimits = BaseLimits { extents_max: 64, blocks_max: 2048 };
}

impl Default for BaseLimits {
    fn default() -> BaseLimits {
        BaseLimits::DEFAULT
    }
}

/// The primary's end: a cursor over the blocks, and what is in flight behind it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct BaseSource {
    volume_blocks: u64,
    limits: BaseLimits,
    held: u64,
    next: u64,
    in_flight: VecDeque<Taken>,
    in_flight_blocks: u64,
}

/// Blocks that were taken from the cursor and are not held yet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Taken {
    extent: Extent,
    data_blocks: u32,
}

impl BaseSource {
    /// Copies from block `held` on.
    #[must_use]
    pub fn new(volume_blocks: u64, held: u64, limits: BaseLimits) -> BaseSource {
        assert!(held <= volume_blocks, "a base is no larger than its volume");
        assert!(limits.extents_max >= 1, "a window lets something through");
        assert!(limits.extents_max <= AHEAD_MAX, "a target has room for a window");
        assert!(limits.blocks_max >= u64::from(BASE_BLOCKS_MAX), "an empty window admits any extent");
        BaseSource {
            volume_blocks,
            limits,
            held,
            next: held,
            in_flight: VecDeque::new(),
            in_flight_blocks: 0,
        }
    }

    /// The next block to copy, if there is one and the window has room for an extent of any kind.
    #[must_use]
    pub fn wants(&self) -> Option<u64> {
        let blocks = self.in_flight_blocks + u64::from(BASE_BLOCKS_MAX);
        let room = guard!("base-window-extents", self.in_flight.len() < self.limits.extents_max)
            && guard!("base-window-blocks", blocks <= self.limits.blocks_max);
        (room && self.next < self.volume_blocks).then_some(self.next)
    }

    /// The blocks from the cursor on that one message of data may carry; empty at the end.
    #[must_use]
    pub fn reach(&self) -> Extent {
        let blocks = (self.volume_blocks - self.next).min(u64::from(BASE_BLOCKS_MAX));
        Extent::new(self.next, u32::try_from(blocks).expect("at most a message's"))
    }

    /// These blocks, from [`wants`](BaseSource::wants) on, are being read or sent now, `data_blocks` of them with
    /// data. They may be sent in any order.
    pub fn on_taken(&mut self, extent: Extent, data_blocks: u32) {
        assert!(self.wants() == Some(extent.start), "blocks are taken in order, while there is room");
        assert!(!extent.is_empty() && extent.end() <= self.volume_blocks, "blocks of the volume are taken");
        assert!(data_blocks <= BASE_BLOCKS_MAX.min(extent.blocks), "data fits a message");
        self.next = extent.end();
        self.in_flight_blocks += u64::from(data_blocks);
        self.in_flight.push_back(Taken { extent, data_blocks });
    }

    /// The target holds the blocks below `held`. Gives how many are newly so.
    ///
    /// # Errors
    /// The target's fault; nothing has changed then.
    pub fn on_acked(&mut self, held: u64) -> Result<u64, Violation> {
        if !guard!("base-answer-never-moves-back", held >= self.held) {
            return Err(Violation::BaseMovedBack { before: self.held, after: held });
        }
        if !guard!("base-answer-within-sent", held <= self.next) {
            return Err(Violation::BasePastSent { held, sent: self.next });
        }
        let new = held - self.held;
        self.held = held;
        while let Some(done) = self.in_flight.pop_front_if(|taken| taken.extent.end() <= held) {
            self.in_flight_blocks -= u64::from(done.data_blocks);
        }
        Ok(new)
    }

    /// The first block that the target doesn't hold.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.held
    }

    /// The first block that was not taken yet.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Extents in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Blocks of data in flight.
    #[must_use]
    pub fn in_flight_blocks(&self) -> u64 {
        self.in_flight_blocks
    }

    /// Whether the target holds all.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.held == self.volume_blocks
    }
}

/// The target's end: which blocks it holds, and which ones live records have taken over.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct BaseTarget {
    volume_blocks: u64,
    floor: Lsn,
    held: u64,
    live: BlockSet,
    /// Extents above `held` by their first block: being written, or written and waiting for those below.
    ahead: BTreeMap<u64, Ahead>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Ahead {
    extent: Extent,
    written: bool,
}

impl BaseTarget {
    /// Holds the blocks below `held`. `floor` is the replica's checkpoint at this moment: what is settled below it
    /// is home and forgotten, so base blocks have to be as of there at least; what is settled from it on is told to
    /// [`on_settled`](BaseTarget::on_settled), all of it.
    #[must_use]
    pub fn new(volume_blocks: u64, held: u64, floor: Lsn) -> BaseTarget {
        assert!(held <= volume_blocks, "a base is no larger than its volume");
        BaseTarget { volume_blocks, floor, held, live: BlockSet::new(), ahead: BTreeMap::new() }
    }

    /// Another session goes on with it, from [`held`](BaseTarget::held) on. Base writes of the last one have ended.
    pub fn on_begun(&mut self) {
        assert!(self.ahead.values().all(|ahead| ahead.written), "no base write outlives its session");
        self.ahead.clear();
    }

    /// A settled live record touched these blocks: what the base says of them is of no interest any more.
    pub fn on_settled(&mut self, extent: Extent) {
        // Below `held` no base block comes any more.
        let start = extent.start.max(self.held);
        if let Some(blocks) = extent.end().checked_sub(start).and_then(|blocks| u32::try_from(blocks).ok()) {
            self.live.insert(Extent::new(start, blocks));
        }
    }

    /// Base blocks came, as of `as_of`: which of them to write home (or to make holes), as runs in order. They are
    /// being written from now on, until [`on_written`](BaseTarget::on_written) is told of `extent`, also when
    /// there is no run. Blocks that are held already give no run and no later `on_written`: see the result.
    ///
    /// # Errors
    /// The source's fault; nothing has changed then.
    // Invariant: base-never-over-newer.
    pub fn admit(&mut self, extent: Extent, as_of: Lsn) -> Result<Admitted, Violation> {
        let inside =
            extent.start.checked_add(u64::from(extent.blocks)).is_some_and(|end| end <= self.volume_blocks);
        if !guard!("base-extent-not-empty", !extent.is_empty())
            || !guard!("base-extent-in-the-volume", inside)
        {
            return Err(Violation::ExtentOutside { extent, volume_blocks: self.volume_blocks });
        }
        if !guard!("base-as-of-the-floor", as_of >= self.floor) {
            return Err(Violation::BaseTooOld { as_of, floor: self.floor });
        }
        if !guard!("base-not-held-yet", extent.end() > self.held) {
            return Ok(Admitted::Held);
        }
        let apart = guard!("base-above-what-is-held", extent.start >= self.held)
            && guard!("base-extents-apart", self.overlapping(extent).next().is_none());
        if !apart {
            return Err(Violation::BaseOverlaps { extent });
        }
        if !guard!("base-ahead-is-bounded", self.ahead.len() < AHEAD_MAX) {
            return Err(Violation::OutOfTurn { state: "base window full", event: "Base" });
        }
        self.ahead.insert(extent.start, Ahead { extent, written: false });
        let runs = self.live.gaps(extent);
        assert!(!runs.iter().any(|run| self.live.touches(*run)), "a base block never overwrites a newer one");
        Ok(Admitted::Write { runs })
    }

    /// All runs of an admitted extent are at home, not yet durably. Gives whether [`held`](BaseTarget::held) moved.
    pub fn on_written(&mut self, extent: Extent) -> bool {
        let ahead =
            self.ahead.get_mut(&extent.start).filter(|ahead| ahead.extent == extent && !ahead.written);
        ahead.expect("what is written was admitted, once").written = true;
        let before = self.held;
        while let Some(first) = self.ahead.first_entry().filter(|first| {
            let Ahead { extent, written } = *first.get();
            written && guard!("base-held-without-a-gap", extent.start == self.held)
        }) {
            self.held = first.remove().extent.end();
        }
        if self.held != before {
            self.live.forget_below(self.held);
        }
        self.held != before
    }

    /// Whether base blocks among these are being written: a live record may not be written home there until they
    /// are, or the older write could land after the newer one.
    // Invariant: base-never-over-newer.
    #[must_use]
    pub fn is_writing(&self, extent: Extent) -> bool {
        !guard!("live-waits-for-base", self.overlapping(extent).all(|ahead| ahead.written))
    }

    /// The first block that isn't held.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.held
    }

    /// Whether all are.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.held == self.volume_blocks
    }

    /// Memory that it takes, in bytes, about.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.live.bytes() + self.ahead.len() as u64 * 48
    }

    fn overlapping(&self, extent: Extent) -> impl Iterator<Item = &Ahead> {
        // Extents ahead don't overlap each other: of those that start below, only the last can reach in.
        let below = self.ahead.range(..extent.start).next_back();
        let within = self.ahead.range(extent.start..extent.end().max(extent.start));
        below
            .into_iter()
            .chain(within)
            .map(|(_, ahead)| ahead)
            .filter(move |ahead| ahead.extent.overlaps(&extent))
    }
}

/// What to do with base blocks that came.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Admitted {
    /// Write these runs home, then tell [`on_written`](BaseTarget::on_written). There may be none.
    Write {
        /// In order.
        runs: Vec<Extent>,
    },
    /// Nothing: all of them are held.
    Held,
}
