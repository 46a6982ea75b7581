//! rebuilding-never-votes, judged by the disks: who promises, or begins to count for a primary, has a whole copy; and a
//! copy that was lost is whole again when it holds all that it had answered for, and not before.

use std::collections::BTreeSet;

use seawall_engine::io::Area;
use seawall_engine::status::Status;
use seawall_wal::log::Log;
use seawall_wal::names::{Epoch, Lsn, ReplicaId};
use seawall_wal::superblock::{BaseState, Superblock};

use crate::birth::replica;
use crate::disk::Disk;
use crate::oracle::Failure;
use crate::oracle::history::History;
use crate::oracle::image::{log, superblock};

/// A disk, by its newest durable superblock.
#[derive(Clone, Debug)]
struct Copy {
    /// What that said while the copy was whole; nothing after it was lost.
    whole: Option<Box<Superblock>>,
    /// Whether one was ever seen.
    seen: bool,
    /// What it promised.
    promised: Epoch,
    /// One past the last committed record that was here when the copy was lost.
    owed: Option<Lsn>,
}

impl Copy {
    fn new() -> Copy {
        Copy { whole: None, seen: false, promised: Epoch::ZERO, owed: None }
    }

    fn is_whole(&self) -> bool {
        self.whole.is_some() || !self.seen
    }
}

/// Whose copy is whole, and who counts.
#[derive(Debug)]
pub(crate) struct Votes {
    copies: Vec<Copy>,
    counted: BTreeSet<(usize, ReplicaId)>,
    /// Wiped, and not started since: what its last life said may still be on its way.
    silenced: BTreeSet<usize>,
}

impl Votes {
    /// For that many replicas, all born whole.
    pub(crate) fn new(replicas: usize) -> Votes {
        Votes { copies: vec![Copy::new(); replicas], counted: BTreeSet::new(), silenced: BTreeSet::new() }
    }

    /// A superblock was stored.
    pub(crate) fn on_superblock(
        &mut self,
        node: usize,
        superblock: &Superblock,
        disk: &Disk,
        history: &History,
    ) -> Result<(), Failure> {
        self.silenced.remove(&node);
        self.note(node, superblock, disk, history)
    }

    fn note(
        &mut self,
        node: usize,
        superblock: &Superblock,
        disk: &Disk,
        history: &History,
    ) -> Result<(), Failure> {
        let whole = superblock.base == BaseState::Complete;
        if !whole {
            self.on_losing(node, disk, history);
        }
        let copy = &mut self.copies[node];
        copy.seen = true;
        copy.promised = superblock.promised;
        copy.whole = whole.then(|| Box::new(superblock.clone()));
        match copy.owed.take_if(|_| whole) {
            Some(owed) if !history.is_forked() && !history.is_forced() => {
                check_holds(node, owed, superblock, disk)
            }
            Some(_) | None => Ok(()),
        }
    }

    /// A copy is about to be thrown away, or was just now, and its log is still there.
    pub(crate) fn on_losing(&mut self, node: usize, disk: &Disk, history: &History) {
        let copy = &mut self.copies[node];
        let Some(superblock) = copy.whole.take() else { return };
        if let Ok(log) = log(&superblock, disk) {
            copy.owed.get_or_insert(answered_for(&log, history));
        }
    }

    /// A node crashed.
    pub(crate) fn on_crashed(&mut self, node: usize, disk: &Disk, history: &History) -> Result<(), Failure> {
        self.counted.retain(|(at, _)| *at != node);
        superblock(disk).map_or(Ok(()), |superblock| self.note(node, &superblock, disk, history))
    }

    /// Its disk was wiped.
    pub(crate) fn on_wiped(&mut self, node: usize, disk: &Disk, history: &History) -> Result<(), Failure> {
        self.silenced.insert(node);
        self.on_crashed(node, disk, history)
    }

    /// A node makes a promise.
    pub(crate) fn check_promise(&self, node: usize) -> Result<(), Failure> {
        if self.copies[node].is_whole() {
            return Ok(());
        }
        let detail = format!("node {node} makes a promise, and its disk says that its copy is not whole");
        Err(Failure::new("rebuilding-never-votes", detail))
    }

    /// A replica says who counts. Only who begins to count is judged, and not by a primary that it knows to be
    /// replaced: what such a one heard last may be old.
    pub(crate) fn on_status(&mut self, node: usize, status: &Status) -> Result<(), Failure> {
        for peer in &status.peers {
            let key = (node, peer.replica);
            if !peer.counts {
                self.counted.remove(&key);
                continue;
            }
            let at = self.copies.iter().enumerate().position(|(at, _)| replica(at) == peer.replica);
            let at = at.expect("a member");
            let copy = &self.copies[at];
            let late = self.silenced.contains(&at);
            if self.counted.insert(key) && !copy.is_whole() && !late && copy.promised <= status.epoch {
                let detail = format!(
                    "node {node} counts {}, whose disk says that its copy is not whole",
                    peer.replica
                );
                return Err(Failure::new("rebuilding-never-votes", detail));
            }
        }
        Ok(())
    }
}

/// One past the last committed record in a log. What was committed elsewhere was not answered for here.
fn answered_for(log: &Log, history: &History) -> Lsn {
    let mut end = log.end().min(history.end());
    while let Some(lsn) = end.prev().filter(|lsn| *lsn >= log.start()) {
        if log.entry(lsn).map(|entry| entry.digest) == history.committed(lsn) {
            return end;
        }
        end = lsn;
    }
    end.min(log.start())
}

/// A copy is whole again: its log is there as far as it was when the copy was lost.
fn check_holds(node: usize, owed: Lsn, superblock: &Superblock, disk: &Disk) -> Result<(), Failure> {
    // What was settled is not below the log's end. A device that loses its writes is judged elsewhere.
    if superblock.settled >= owed || disk.wrong_sectors(Area::Log) > 0 {
        return Ok(());
    }
    match log(superblock, disk) {
        Ok(log) if log.end() < owed => {
            let detail = format!(
                "the disk of node {node} says that its copy is whole, with records below {}; before it was lost it had \
                 answered for all below {owed}",
                log.end()
            );
            Err(Failure::new("rebuilding-never-votes", detail))
        }
        Ok(_) | Err(_) => Ok(()),
    }
}
