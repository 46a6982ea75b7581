//! Which record holds the newest bytes of each block that is not home yet.
//!
//! Covers never overlap; each is a part of one record's extent. Records come in the order of the log, so the one
//! that comes last wins.

use alloc::collections::BTreeMap;

use crate::names::{Extent, Lsn};

/// Who holds a run of blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cover {
    /// The record.
    pub lsn: Lsn,
    /// Whether the blocks read as zeroes; there is no body then.
    pub zero: bool,
    /// The run's first block, counted within the record's extent.
    pub first: u32,
}

/// A cover without its first block, which is the key: 16 bytes.
#[derive(Clone, Copy, Debug)]
struct Span {
    lsn: Lsn,
    blocks: u32,
    /// [`ZERO`] where the blocks are zeroes: a record with a body has far fewer blocks than that.
    first: u32,
}

const ZERO: u32 = u32::MAX;

/// What one cover takes in a B-tree whose nodes are about half full, in bytes: its share of a leaf of 280 bytes for
/// up to 11 pairs, of inner nodes of 376 bytes, and of the allocator's own.
const COVER_BYTES: usize = 64;

impl Span {
    fn cover(&self) -> Cover {
        let zero = self.first == ZERO;
        Cover { lsn: self.lsn, zero, first: if zero { 0 } else { self.first } }
    }

    /// What is left of it without its first `blocks` blocks.
    fn without(&self, blocks: u32) -> Span {
        let first = if self.first == ZERO { ZERO } else { self.first + blocks };
        Span { lsn: self.lsn, blocks: self.blocks - blocks, first }
    }
}

/// The map.
#[derive(Clone, Debug, Default)]
pub struct Overlay {
    spans: BTreeMap<u64, Span>,
}

impl Overlay {
    /// An empty one.
    #[must_use]
    pub fn new() -> Overlay {
        Overlay::default()
    }

    /// The record `lsn` stores `extent`, or makes it zeroes.
    ///
    /// # Panics
    /// If a newer record is already there.
    pub fn insert(&mut self, extent: Extent, lsn: Lsn, zero: bool) {
        if extent.is_empty() {
            return;
        }
        self.clear(extent, lsn);
        self.spans
            .insert(extent.start, Span { lsn, blocks: extent.blocks, first: if zero { ZERO } else { 0 } });
    }

    /// Runs that cover `extent` in order, each with who holds it; `None` is home.
    pub fn lookup(&self, extent: Extent) -> impl Iterator<Item = (Extent, Option<Cover>)> + '_ {
        let mut covers = self.covers(extent).peekable();
        let mut at = extent.start;
        core::iter::from_fn(move || {
            if at >= extent.end() {
                return None;
            }
            let end = match covers.peek() {
                Some((run, cover)) if run.start == at => {
                    let (run, cover) = (*run, *cover);
                    covers.next();
                    at = run.end();
                    return Some((run, Some(cover)));
                }
                Some((run, _)) => run.start,
                None => extent.end(),
            };
            let run = Extent::new(at, run_blocks(at, end));
            at = end;
            Some((run, None))
        })
    }

    /// The newest record that holds any block of `extent`.
    #[must_use]
    pub fn newest_in(&self, extent: Extent) -> Option<Lsn> {
        self.covers(extent).map(|(_, cover)| cover.lsn).max()
    }

    /// Forget what the record `lsn` holds within `extent`: it is home now. What newer records hold stays.
    pub fn remove(&mut self, extent: Extent, lsn: Lsn) {
        let mut from = extent.start;
        while from < extent.end() {
            let next = self.covers(Extent::new(from, run_blocks(from, extent.end())));
            let Some(run) = next.filter(|(_, cover)| cover.lsn == lsn).map(|(run, _)| run).next() else {
                return;
            };
            self.clear(run, lsn);
            from = run.end();
        }
    }

    /// Forget everything that records below `target` hold.
    pub fn discard_below(&mut self, target: Lsn) {
        self.spans.retain(|_, span| span.lsn >= target);
    }

    /// Forget everything.
    pub fn clear_all(&mut self) {
        self.spans.clear();
    }

    /// How many covers there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether everything is home.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Memory that it takes, in bytes; estimated, rather too much than too little.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.spans.len() * COVER_BYTES
    }

    /// The covers that overlap `extent`, clipped to it, in order.
    fn covers(&self, extent: Extent) -> impl Iterator<Item = (Extent, Cover)> + '_ {
        let (from, to) = (extent.start, extent.end());
        let before = if extent.is_empty() { None } else { self.before(from) };
        before.into_iter().chain(self.spans.range(from..to).map(|(start, span)| (*start, *span))).map(
            move |(start, span)| {
                let (start, span) = clip(start, span, from, to);
                (Extent::new(start, span.blocks), span.cover())
            },
        )
    }

    /// The span that begins before `block` and reaches it.
    fn before(&self, block: u64) -> Option<(u64, Span)> {
        let (start, span) = self.spans.range(..block).next_back()?;
        (start + u64::from(span.blocks) > block).then_some((*start, *span))
    }

    /// Make room: nobody holds `extent` then. Spans that reach over its ends keep their rest.
    fn clear(&mut self, extent: Extent, newest: Lsn) {
        let (from, to) = (extent.start, extent.end());
        if let Some((start, span)) = self.before(from) {
            assert!(span.lsn <= newest, "records come in the order of the log");
            let kept = Span { blocks: run_blocks(start, from), ..span };
            self.spans.insert(start, kept);
            let end = start + u64::from(span.blocks);
            if end > to {
                self.spans.insert(to, span.without(run_blocks(start, to)));
                return;
            }
        }
        while let Some((start, span)) = self.spans.range(from..to).next().map(|(start, span)| (*start, *span))
        {
            assert!(span.lsn <= newest, "records come in the order of the log");
            self.spans.remove(&start);
            let end = start + u64::from(span.blocks);
            if end > to {
                self.spans.insert(to, span.without(run_blocks(start, to)));
                return;
            }
        }
    }
}

/// The part of a span within `[from, to)`, which it overlaps.
fn clip(start: u64, span: Span, from: u64, to: u64) -> (u64, Span) {
    let front = from.saturating_sub(start);
    let cut = span.without(u32::try_from(front).expect("within the span"));
    let start = start + front;
    let end = (start + u64::from(cut.blocks)).min(to);
    (start, Span { blocks: run_blocks(start, end), ..cut })
}

fn run_blocks(start: u64, end: u64) -> u32 {
    u32::try_from(end - start).expect("a run is part of an extent")
}
