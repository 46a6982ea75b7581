//! cut-tail-is-kept: what a client wrote and a cut or a rebuild takes out of a log is in a place beside the volume
//! first, unless the history that replaces it has it too, or the world had no room for it.

use std::collections::{BTreeMap, BTreeSet};

use seawall_engine::branch::Branch;
use seawall_engine::io::{AppendPart, Area, DiskOp};
use seawall_recovery::lineage;
use seawall_wal::names::{Crc, Epoch, Lsn};
use seawall_wal::record::{Kind, RecordHeader};
use seawall_wal::scan::scan;
use seawall_wal::superblock::{BaseState, SlotState, Superblock};

use crate::checksum::crc32c;
use crate::disk::Disk;
use crate::oracle::Failure;
use crate::oracle::history::History;
use crate::oracle::image::{log, superblock};

/// What each log holds of clients, and what was kept of what it gave up.
#[derive(Debug)]
pub(crate) struct Branches {
    held: Vec<BTreeMap<Lsn, (Epoch, Crc)>>,
    /// How many times each log had been cut.
    cuts: Vec<u32>,
    kept: BTreeSet<(Lsn, Crc)>,
    /// Logs from which something was to be kept that found no room.
    excused: Vec<bool>,
}

fn writes(kind: Kind) -> bool {
    matches!(kind, Kind::Write | Kind::WriteZeroes | Kind::Trim)
}

impl Branches {
    /// For that many replicas, whose logs are empty.
    pub(crate) fn new(replicas: usize) -> Branches {
        Branches {
            held: vec![BTreeMap::new(); replicas],
            cuts: vec![0; replicas],
            kept: BTreeSet::new(),
            excused: vec![false; replicas],
        }
    }

    /// A replica's disk has taken records.
    pub(crate) fn on_append(&mut self, node: usize, parts: &[AppendPart]) {
        for part in parts {
            if let Ok((header, _)) = RecordHeader::decode(&part.header)
                && writes(header.kind)
            {
                self.held[node].insert(header.lsn, (header.epoch, header.digest()));
            }
        }
    }

    /// A branch is in its place: what there is of it on the disk. Or the world had no room for it.
    pub(crate) fn on_kept(&mut self, node: usize, branch: &Branch, disk: &Disk, good: bool) {
        if !good {
            self.excused[node] = true;
            return;
        }
        for (offset, bytes) in &branch.pieces {
            let bytes = disk.bytes(Area::Log, *offset, usize::try_from(*bytes).expect("a small log"));
            let found = scan(&bytes, *offset, disk.geometry().unit_bytes, crc32c).records;
            self.kept.extend(found.iter().filter(|f| f.body_ok).map(|f| (f.header.lsn, f.header.digest())));
        }
    }

    /// A disk is given a superblock: if it says that the log was cut or begun anew, then what it gives up must be
    /// somewhere.
    pub(crate) fn on_given(
        &mut self,
        node: usize,
        what: &DiskOp,
        disk: &Disk,
        history: &History,
    ) -> Result<(), Failure> {
        let DiskOp::WriteMeta { area: Area::Super, bytes, .. } = what else { return Ok(()) };
        let SlotState::Present(superblock) = Superblock::decode(bytes) else { return Ok(()) };
        let Some(cut) = superblock.cut.filter(|cut| cut.generation > self.cuts[node]) else {
            // What the log has let go of was home here, and is no longer a record that could be kept.
            self.held[node] = self.held[node].split_off(&superblock.log_start.lsn);
            return Ok(());
        };
        self.cuts[node] = cut.generation;
        let anew = superblock.base != BaseState::Complete && superblock.log_start.lsn == cut.lsn;
        let from = if anew { Lsn::ZERO } else { cut.lsn };
        let given_up = self.held[node].split_off(&from);
        if core::mem::take(&mut self.excused[node]) || disk.wrong_sectors(Area::Log) > 0 {
            return Ok(());
        }
        // (epoch, LSN) names a record for ever: what the history that it is rebuilt as has of that name is the same.
        let of_history = |lsn: Lsn, epoch| {
            let row = lineage::row_before(&superblock.lineage, lsn.next());
            anew && lsn < cut.lsn && row.epoch == epoch
        };
        for (lsn, (epoch, digest)) in given_up {
            let elsewhere = self.held.iter().any(|held| held.get(&lsn) == Some(&(epoch, digest)))
                || history.committed(lsn) == Some(digest)
                || of_history(lsn, epoch);
            if !elsewhere && !self.kept.contains(&(lsn, digest)) {
                let detail = format!(
                    "node {node} gives up record {lsn} ({digest}), which nobody else has, and it was not kept"
                );
                return Err(Failure::new("cut-tail-is-kept", detail));
            }
        }
        Ok(())
    }

    /// A life has ended, or a copy was thrown away: what the log holds now.
    pub(crate) fn on_crashed(&mut self, node: usize, disk: &Disk) {
        self.held[node].clear();
        let Some(superblock) = superblock(disk) else { return };
        self.cuts[node] = superblock.generation();
        let Ok(log) = log(&superblock, disk) else { return };
        let mut lsn = log.start();
        while let Some(entry) = log.entry(lsn) {
            if writes(entry.kind) {
                self.held[node].insert(lsn, (entry.epoch, entry.digest));
            }
            lsn = lsn.next();
        }
    }
}
