//! base-never-over-newer: within one life of a replica, what a checkpoint moved home is only ever overwritten by
//! something newer, whether a checkpoint or a rebuild writes it. What a rebuild wrote may be overwritten by older
//! live records: the newer ones follow before the copy counts. And a restart begins anew: what an unfinished
//! checkpoint had moved is moved again, oldest first.
//!
//! And what a checkpoint moves has been named as settled by the superblock, in both slots under commit rule `one`: a
//! restart may rely on it.

use std::collections::BTreeMap;

use seawall_engine::io::{AppendPart, DiskOp};
use seawall_wal::names::{Epoch, Lsn, Origin};
use seawall_wal::record::RecordHeader;

use crate::device::SECTOR;
use crate::oracle::Failure;
use crate::pool::{BLOCK, Pool};

/// The record that brought a write.
#[derive(Clone, Copy, Debug)]
struct Brought {
    lsn: Lsn,
    /// The lowest of all that the same request was written as: under commit rule `one` two reigns may each have it.
    lowest: Lsn,
    epoch: Epoch,
    origin: Origin,
}

/// Which record brought which write, and what went home.
#[derive(Debug)]
pub(crate) struct Home {
    records: Vec<Option<Brought>>,
    moved: Vec<BTreeMap<u64, Lsn>>,
    /// What the last two superblocks name as settled, the older first.
    named: Vec<[Lsn; 2]>,
    /// Whether both must name it: no quorum keeps what one of them forgets.
    twice: bool,
    forked: bool,
}

impl Home {
    /// For that many replicas. `twice`: what goes home must be named by both superblock slots.
    pub(crate) fn new(replicas: usize, twice: bool) -> Home {
        Home {
            records: Vec::new(),
            moved: vec![BTreeMap::new(); replicas],
            named: vec![[Lsn::ZERO; 2]; replicas],
            twice,
            forked: false,
        }
    }

    /// A disk is given records.
    pub(crate) fn on_append(&mut self, parts: &[AppendPart], pool: &Pool) {
        for part in parts {
            let (Some(body), Ok((header, _))) = (part.body, RecordHeader::decode(&part.header)) else {
                continue;
            };
            for stamp in stamps(&pool.bytes(body)[..BLOCK]) {
                if stamp >= self.records.len() {
                    self.records.resize(stamp + 1024, None);
                }
                let (lsn, epoch, origin) = (header.lsn, header.epoch, header.origin);
                let brings = Brought { lsn, lowest: lsn, epoch, origin };
                let brought = self.records[stamp].get_or_insert(brings);
                // A merged block carries older writes on: their own records came first. But a write whose record was cut
                // may be given to the next reign, which writes it anew, perhaps further down.
                if brought.origin == origin {
                    brought.lowest = brought.lowest.min(lsn);
                    if brought.epoch < epoch {
                        (brought.lsn, brought.epoch) = (lsn, epoch);
                    }
                }
            }
        }
    }

    /// A suffix of what was committed may be gone, by contract.
    pub(crate) fn on_forked(&mut self) {
        self.forked = true;
    }

    /// A node crashed.
    pub(crate) fn on_crash(&mut self, node: usize) {
        self.moved[node].clear();
    }

    /// A superblock is stored, as far as the device says.
    pub(crate) fn on_named(&mut self, node: usize, settled: Lsn) {
        self.named[node] = [self.named[node][1], settled];
    }

    /// A write of home blocks is about to be carried out.
    pub(crate) fn on_write(&mut self, node: usize, what: &DiskOp, pool: &Pool) -> Result<(), Failure> {
        let DiskOp::WriteHome { extent, from } = what else { return Ok(()) };
        let [older, newer] = self.named[node];
        let named = if self.twice { older.min(newer) } else { newer };
        for (block, bytes) in (extent.start..extent.end()).zip(pool.bytes(*from).chunks_exact(BLOCK)) {
            let brought = stamps(bytes).filter_map(|stamp| self.records.get(stamp).copied().flatten());
            let lsn = |brought: Brought| if self.forked { brought.lowest } else { brought.lsn };
            let newest = brought.map(lsn).max();
            let Some(newest) = newest else { continue };
            if newest >= named && !pool.is_base(*from) {
                let detail = format!(
                    "node {node} moves record {newest} home to block {block}, its superblock says settled below {named}"
                );
                return Err(Failure::new("only-committed-goes-home", detail));
            }
            let before = if pool.is_base(*from) {
                self.moved[node].get(&block).copied()
            } else {
                self.moved[node].insert(block, newest)
            };
            if let Some(before) = before.filter(|before| *before > newest && !self.forked) {
                let detail = format!(
                    "node {node} overwrites home block {block} of record {before} with what record {newest} wrote"
                );
                return Err(Failure::new("base-never-over-newer", detail));
            }
        }
        Ok(())
    }
}

fn stamps(block: &[u8]) -> impl Iterator<Item = usize> {
    let stamps =
        block.chunks_exact(SECTOR).map(|sector| u64::from_le_bytes(sector[..8].try_into().expect("eight")));
    stamps.filter(|stamp| *stamp != 0).filter_map(|stamp| usize::try_from(stamp).ok())
}
