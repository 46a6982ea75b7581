//! The atlas: what each disk may still lose, so that every run can be survived and a loss is always our fault.
//!
//! A disk is *harmed* when a fault of the device changed what it holds (rot, a write that was lost or went astray), or
//! when an operator wiped it. The rule:
//!
//! * So many disks are harmed at the same time at most: a minority of the copies, and one of two copies, since the
//!   other is whole. So no two copies of the same block or record are lost before the first of them is there again.
//! * While any other replica is being rebuilt for reasons of its own (it fell behind, its history was another), no disk
//!   is harmed anew: that replica threw its copy away.
//! * In `written` mode only the disk that may also lose what was not flushed: that is a loss like any other.
//! * None under commit rule `one`, where the primary's copy alone is the promise.
//! * A disk is whole again when its bytes say so, whatever its replica says: superblock, table, log and home read from
//!   the disk alone are the history that was committed, up to everything that it ever said to hold, and no
//!   superblock slot is wrong any more.
//! * Some damage can't be seen by anybody who has only that disk. It is taken back when the node starts: the write
//!   was not lost after all. That is so in two places, and nowhere else:
//!   - The end of the log. That a record is missing is proven by a later record, which says how far the log was
//!     durable when it was written. If the last records are lost or rotten, no such record is left, and what is left
//!     looks like an append that a crash tore. A replica would go on without records that it had acknowledged.
//!   - The superblock, when both slots are hit at once. What binds is in both slots, so one of them may be lost, and
//!     does no harm; a write that goes astray into the other slot spoils both. Then an older one would be taken for the
//!     newest, or none could be read, and identity and promise would be gone with them.
//!
//! Everything else must be noticed by the replica, and what it noticed is the operator's: see `care.rs`.

use std::collections::BTreeMap;

use seawall_engine::io::Area;
use seawall_engine::setup::{Ack, CommitRule};
use seawall_wal::names::Lsn;
use seawall_wal::superblock::BaseState;

use crate::disk::Disk;
use crate::oracle::image::{self, Image, superblock};
use crate::pool::BLOCK;
use crate::profile::Profile;
use crate::tally::Fault;
use crate::world::World;

/// Which disks are harmed.
#[derive(Debug)]
pub(crate) struct Atlas {
    bearable: usize,
    only: Option<usize>,
    /// By node: up to where it had said to hold the log when it was harmed last.
    harmed: BTreeMap<usize, Lsn>,
}

impl Atlas {
    /// All disks are whole.
    pub(crate) fn new(profile: &Profile) -> Atlas {
        let minority = ((profile.replicas - 1) / 2).max(1);
        let (bearable, only) = match (profile.commit, profile.ack) {
            (CommitRule::One, _) => (0, None),
            (CommitRule::Majority | CommitRule::All, Ack::Written) => (1, Some(profile.fragile)),
            (CommitRule::Majority | CommitRule::All, Ack::Durable) => (minority, None),
        };
        Atlas { bearable, only, harmed: BTreeMap::new() }
    }

    /// Whether a run can bear that this node's disk is harmed (more).
    pub(crate) fn bears(&self, node: usize) -> bool {
        self.only.is_none_or(|only| only == node)
            && (self.harmed.contains_key(&node) && self.bearable > 0 || self.harmed.len() < self.bearable)
    }

    /// A node's disk is harmed; it had said to hold the log below `told`.
    pub(crate) fn on_harmed(&mut self, node: usize, told: Lsn) {
        let before = self.harmed.entry(node).or_insert(told);
        *before = told.max(*before);
    }

    /// Whether it is, and was not seen to be whole since.
    pub(crate) fn is_harmed(&self, node: usize) -> bool {
        self.harmed.contains_key(&node)
    }

    /// Those that are.
    pub(crate) fn harmed(&self) -> impl Iterator<Item = usize> {
        self.harmed.keys().copied()
    }
}

/// What a replica would find on a disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Finding {
    /// No superblock can be read, or they contradict each other.
    Nothing,
    /// It sees that something is missing, and keeps off.
    Refusal,
    /// It would take part, with a superblock of that number and a log up to there.
    Life { sequence: u64, end: Lsn },
}

fn finding(disk: &Disk) -> Finding {
    let Some(superblock) = superblock(disk) else { return Finding::Nothing };
    match image::log(&superblock, disk) {
        Ok(log) => Finding::Life { sequence: superblock.sequence, end: log.end() },
        Err(_) => Finding::Refusal,
    }
}

/// What a replica would find on a disk, and what it would find if nothing were damaged.
fn findings(disk: &mut Disk) -> (Finding, Finding) {
    let is = finding(disk);
    disk.exchange_damage();
    let should = finding(disk);
    disk.exchange_damage();
    (is, should)
}

/// Whether a replica that found `is` goes on without something for which it answered, and can't know.
fn is_blind(is: Finding, should: Finding) -> bool {
    match (is, should) {
        (Finding::Nothing, _) => true,
        (Finding::Refusal, _) | (Finding::Life { .. }, Finding::Nothing | Finding::Refusal) => false,
        (Finding::Life { sequence, end }, Finding::Life { sequence: newest, end: whole }) => {
            // What binds is in both slots: that of the write before the last one, too.
            sequence + 1 < newest || end < whole
        }
    }
}

impl World {
    /// A fault of its device harms a node's disk.
    pub(crate) fn harm(&mut self, node: usize, fault: Fault) {
        self.tally.fired(fault, 1);
        let told = self.oracle.frontiers.held(node);
        self.atlas.on_harmed(node, told);
    }

    /// Between two lives of a node: damage of which nobody could know is taken back.
    pub(crate) fn take_back_blind_damage(&mut self, node: usize) {
        let disk = &mut self.nodes[node].disk;
        if disk.wrong_sectors(Area::Log) + disk.wrong_sectors(Area::Super) == 0 {
            return;
        }
        let (is, should) = findings(disk);
        if is_blind(is, should) {
            disk.take_back_damage(&[Area::Log, Area::Super]);
            self.tally.spared += 1;
            self.transcript.line(self.now, &node, || {
                format!("=== spared what nobody could see: {is:?}, not {should:?}")
            });
        }
    }

    /// Whether the bytes on a node's disk are the whole volume as far as it ever said to hold it.
    fn is_whole(&mut self, node: usize) -> Result<(), String> {
        if self.nodes[node].disk.is_about_to_err() {
            return Err("a write is about to be lost or to go astray".to_owned());
        }
        let (is, should) = findings(&mut self.nodes[node].disk);
        if is != should {
            return Err(format!("a restart would find {is:?}, not {should:?}"));
        }
        let disk = &self.nodes[node].disk;
        let told = self.atlas.harmed.get(&node).copied().unwrap_or_default();
        // What it held of a branch that was cut is gone for good.
        let told = told.min(self.oracle.history.end());
        if disk.wrong_sectors(Area::Super) > 0 {
            return Err("a slot of the superblock is wrong".to_owned());
        }
        // A checkpoint may be under way that will name it.
        if disk.wrong_sectors(Area::Table) > 0 {
            return Err("a page of the table is wrong".to_owned());
        }
        let image = Image::read(node, disk).map_err(|failure| failure.detail)?;
        if superblock(disk).is_none_or(|superblock| superblock.base != BaseState::Complete) {
            return Err("it is being rebuilt".to_owned());
        }
        let covered = |offset| image.is_in_log(offset / BLOCK as u64);
        if disk.wrong_places(Area::Home).any(covered) {
            return Err("what is wrong at home will count with the next checkpoint".to_owned());
        }
        if image.log.end() < told {
            return Err(format!("its log ends at {}, it once held {told}", image.log.end()));
        }
        image.check_history(node, &self.oracle.history).map_err(|failure| failure.detail)
    }

    /// Takes a disk for whole again if its bytes are. What is wrong on it still, if anything is.
    pub(crate) fn look_for_wholeness(&mut self, node: usize) -> Result<(), String> {
        self.is_whole(node)?;
        self.atlas.harmed.remove(&node);
        self.nodes[node].disk.forget_damage();
        self.nodes[node].sick = false;
        self.tally.whole_again += 1;
        self.transcript.line(self.now, &node, || "=== its disk is whole again".to_owned());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn atlas(replicas: usize, commit: CommitRule, ack: Ack) -> Atlas {
        Atlas::new(&Profile { replicas, commit, ack, fragile: 1, ..Profile::draw(0) })
    }

    fn harmed_at_once(mut atlas: Atlas, nodes: &[usize]) -> Vec<usize> {
        let mut harmed = Vec::new();
        for &node in nodes {
            if atlas.bears(node) {
                atlas.on_harmed(node, Lsn(1));
                harmed.push(node);
            }
        }
        harmed
    }

    #[test]
    fn a_minority_may_be_harmed_at_once_and_the_same_disk_again_and_again() {
        let durable = |replicas, commit| atlas(replicas, commit, Ack::Durable);
        assert_eq!(harmed_at_once(durable(3, CommitRule::Majority), &[2, 0, 2, 1]), [2, 2]);
        assert_eq!(harmed_at_once(durable(3, CommitRule::All), &[1, 0, 2]), [1]);
        assert_eq!(harmed_at_once(durable(2, CommitRule::Majority), &[0, 1]), [0]);
        assert_eq!(harmed_at_once(durable(5, CommitRule::Majority), &[4, 3, 2, 4]), [4, 3, 4]);
        assert_eq!(harmed_at_once(durable(3, CommitRule::One), &[0, 1, 2]), []);
    }

    #[test]
    fn in_written_mode_only_the_disk_that_may_lose_its_tail_is_harmed() {
        let written = atlas(5, CommitRule::Majority, Ack::Written);
        assert_eq!(harmed_at_once(written, &[0, 1, 2, 1]), [1, 1]);
    }

    #[test]
    fn what_a_replica_would_go_on_without_and_not_know_is_blind() {
        let life = |sequence, end| Finding::Life { sequence, end: Lsn(end) };
        for (is, blind) in [
            (life(8, 20), false),
            (life(7, 20), false),
            (life(6, 20), true),
            (life(8, 19), true),
            (Finding::Refusal, false),
            (Finding::Nothing, true),
        ] {
            assert_eq!(is_blind(is, life(8, 20)), blind, "{is:?}");
        }
    }
}
