//! rebuilding-never-votes, judged by the disks: who promises, or begins to count for a primary, has a whole copy.

use std::collections::BTreeSet;

use seawall_engine::status::Status;
use seawall_wal::names::{Epoch, ReplicaId};
use seawall_wal::superblock::{BaseState, Superblock};

use crate::birth::replica;
use crate::disk::Disk;
use crate::oracle::Failure;
use crate::oracle::image::superblock;

/// Whose copy is whole, and who counts.
#[derive(Debug)]
pub(crate) struct Votes {
    /// Whether it is, by the newest durable superblock, and what that promised.
    whole: Vec<(bool, Epoch)>,
    counted: BTreeSet<(usize, ReplicaId)>,
}

impl Votes {
    /// For that many replicas, all born whole.
    pub(crate) fn new(replicas: usize) -> Votes {
        Votes { whole: vec![(true, Epoch::ZERO); replicas], counted: BTreeSet::new() }
    }

    /// A superblock is durable.
    pub(crate) fn on_superblock(&mut self, node: usize, superblock: &Superblock) {
        self.whole[node] = (superblock.base == BaseState::Complete, superblock.promised);
    }

    /// A node crashed, or its disk was wiped.
    pub(crate) fn on_crashed(&mut self, node: usize, disk: &Disk) {
        self.counted.retain(|(at, _)| *at != node);
        if let Some(superblock) = superblock(disk) {
            self.on_superblock(node, &superblock);
        }
    }

    /// A node makes a promise.
    pub(crate) fn check_promise(&self, node: usize) -> Result<(), Failure> {
        if self.whole[node].0 {
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
            let at = self.whole.iter().enumerate().position(|(at, _)| replica(at) == peer.replica);
            let (whole, promised) = self.whole[at.expect("a member")];
            if self.counted.insert(key) && !whole && promised <= status.epoch {
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
