//! Where the newest bytes of a block are: in a record that is not yet settled, in one that is not yet home, at
//! home, or nowhere (a hole).

use alloc::vec::Vec;

use seawall_wal::names::{BLOCK_BYTES, Crc, Extent, Lsn};
use seawall_wal::table::stored;

use crate::core::Core;
use crate::io::{Area, ReadPiece};

/// Where a run of blocks comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Source {
    /// A record's body, from its `first` block on.
    Record { lsn: Lsn, first: u32 },
    /// Nowhere: zeroes.
    Hole,
    /// The home area.
    Home,
}

/// A run of blocks of an extent, and where it comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Run {
    /// First block within the extent.
    pub(crate) at: u32,
    /// How many blocks.
    pub(crate) blocks: u32,
    /// Where from.
    pub(crate) source: Source,
}

/// The newest admitted bytes of an extent.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Located {
    /// In order, without gaps.
    pub(crate) runs: Vec<Run>,
    /// Everything below must be committed before these bytes may be shown.
    pub(crate) needs: Lsn,
    /// The oldest record that is read.
    pub(crate) oldest: Option<Lsn>,
}

impl Core {
    /// Where the newest admitted bytes of `extent` are, records not yet committed included.
    pub(crate) fn locate(&self, extent: Extent) -> Located {
        let mut located = Located::default();
        for (run, cover) in self.recent.lookup(extent) {
            match cover {
                Some(cover) => {
                    located.needs = located.needs.max(cover.lsn.next());
                    let source = record_source(cover.lsn, cover.zero, cover.first);
                    located.push(extent, run, source);
                }
                None => self.locate_settled(extent, run, &mut located),
            }
        }
        located
    }

    /// Where the settled bytes of `extent` are: what a copy of the volume as of `taken` holds.
    pub(crate) fn locate_taken(&self, extent: Extent) -> Located {
        let mut located = Located::default();
        self.locate_settled(extent, extent, &mut located);
        located
    }

    fn locate_settled(&self, extent: Extent, run: Extent, located: &mut Located) {
        for (run, cover) in self.overlay.lookup(run) {
            match cover {
                Some(cover) => located.push(extent, run, record_source(cover.lsn, cover.zero, cover.first)),
                None => {
                    for block in run.start..run.end() {
                        let source =
                            if self.table.get(block).is_some() { Source::Home } else { Source::Hole };
                        located.push(extent, Extent::new(block, 1), source);
                    }
                }
            }
        }
    }

    /// The checksum that a block of a run must have, as known now.
    pub(crate) fn expected(&self, extent: Extent, run: &Run, block: u32) -> Option<Crc> {
        match run.source {
            Source::Record { lsn, first } => self.log.body_crc(lsn, first + block),
            Source::Hole => None,
            Source::Home => self.table.get(extent.start + u64::from(run.at + block)),
        }
    }

    /// The pieces to read for `located`; runs that are holes need none.
    pub(crate) fn pieces(&self, extent: Extent, located: &Located) -> Vec<ReadPiece> {
        let block_bytes = u64::from(BLOCK_BYTES);
        let mut pieces: Vec<ReadPiece> = Vec::new();
        for run in &located.runs {
            let (area, offset) = match run.source {
                Source::Hole => continue,
                Source::Home => (Area::Home, (extent.start + u64::from(run.at)) * block_bytes),
                Source::Record { lsn, first } => {
                    let entry = self.log.entry(lsn).expect("a located record is pinned");
                    (Area::Log, self.log.body_offset(&entry) + u64::from(first) * block_bytes)
                }
            };
            pieces.push(ReadPiece { area, offset, blocks: run.blocks, at: run.at });
        }
        pieces
    }

    /// Which blocks of what was read do not match; `None` if all do.
    pub(crate) fn mismatch(&self, extent: Extent, located: &Located, crcs: &[Crc]) -> Option<(Area, Extent)> {
        for run in &located.runs {
            let area = match run.source {
                Source::Hole => continue,
                Source::Home => Area::Home,
                Source::Record { .. } => Area::Log,
            };
            for block in 0..run.blocks {
                let at = usize::try_from(run.at + block).expect("a read is small");
                // The table keeps a checksum of zero as another value, because zero means a hole there.
                let found = crcs.get(at).map(|crc| if area == Area::Home { stored(*crc) } else { *crc });
                if self.expected(extent, run, block) != found {
                    return Some((area, Extent::new(extent.start + u64::from(run.at + block), 1)));
                }
            }
        }
        None
    }
}

fn record_source(lsn: Lsn, zero: bool, first: u32) -> Source {
    if zero { Source::Hole } else { Source::Record { lsn, first } }
}

impl Located {
    fn push(&mut self, extent: Extent, run: Extent, source: Source) {
        let at = u32::try_from(run.start - extent.start).expect("an extent's blocks fit");
        if let Source::Record { lsn, .. } = source {
            self.oldest = Some(self.oldest.map_or(lsn, |oldest| oldest.min(lsn)));
        }
        if let Some(last) = self.runs.last_mut() {
            let joins = match (last.source, source) {
                (Source::Hole, Source::Hole) | (Source::Home, Source::Home) => true,
                (Source::Record { lsn: a, first }, Source::Record { lsn: b, first: next }) => {
                    a == b && first + last.blocks == next
                }
                _ => false,
            };
            if joins && last.at + last.blocks == at {
                last.blocks += run.blocks;
                return;
            }
        }
        self.runs.push(Run { at, blocks: run.blocks, source });
    }

    /// A bit for each block that is a hole. For extents of at most 64 blocks.
    pub(crate) fn holes(&self) -> u64 {
        let mut bits = 0;
        for run in self.runs.iter().filter(|run| run.source == Source::Hole) {
            for block in run.at..run.at + run.blocks {
                bits |= 1 << block;
            }
        }
        bits
    }

    /// Whether nothing needs to be read.
    pub(crate) fn is_hole(&self) -> bool {
        self.runs.iter().all(|run| run.source == Source::Hole)
    }
}
