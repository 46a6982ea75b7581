//! What the operator does about damage, as the manual has it: a replica that can't be trusted any more is wiped and
//! rebuilt from the others; one that reigns is replaced by another first.
//!
//! The operator knows what replicas say: notices of unreadable blocks, and why one does not open. When the faults are
//! over every disk that is still harmed is read through, as a scrub would.

use seawall_engine::notice::Notice;
use seawall_engine::status::Role;

use crate::clock::SECOND;
use crate::disk::Crash;
use crate::executor::Mend;
use crate::oracle::Failure;
use crate::oracle::image::superblock;
use crate::world::{Event, World};

/// After so many rounds of reading and replacing everything must be whole.
const SCRUBS_MAX: u32 = 4;

impl World {
    /// A node says something that tells of damage, or should only be said of it.
    pub(crate) fn on_complaint(&mut self, node: usize, notice: &Notice) -> Result<(), Failure> {
        let excused = self.atlas.is_harmed(node);
        let complains = match notice {
            Notice::Corrupt { .. } => true,
            // The message names the remedy.
            Notice::OpenFailed { why } => why.contains("wipe"),
            _ => false,
        };
        if complains && !excused {
            let detail = format!("node {node}, whose disk is as it wrote it, says: {notice}");
            return Err(Failure::new("damage-is-real", detail));
        }
        self.nodes[node].sick |= complains;
        Ok(())
    }

    /// The operator looks after one node. Whether it was taken down.
    pub(crate) fn care_for(&mut self, node: usize) -> Result<bool, Failure> {
        if self.atlas.is_harmed(node) && self.seems_well(node) {
            // Reading through a disk takes a while: once a second is enough.
            let _still_wrong = self.look_for_wholeness(node);
        }
        if !self.nodes[node].sick || !self.is_up(node) {
            return Ok(false);
        }
        let reigns = self
            .status(node)
            .is_some_and(|status| matches!(status.role, Role::Primary | Role::Starting | Role::Candidate));
        if self.nodes[node].faulted {
            self.replace_copy(node);
            return Ok(true);
        }
        if reigns {
            self.depose(node)?;
            return Ok(false);
        }
        let others_are_whole = self.serving().is_some_and(|primary| {
            self.status(primary).is_some_and(|status| {
                status.peers.iter().all(|peer| peer.counts || peer.replica == crate::birth::replica(node))
            })
        });
        if others_are_whole {
            self.replace_copy(node);
        }
        Ok(others_are_whole)
    }

    /// Whether it may be worth to read through its disk: its copy is whole, it says.
    fn seems_well(&self, node: usize) -> bool {
        self.status(node).is_some_and(|status| {
            status.base_complete && !matches!(status.role, Role::Opening | Role::Faulted)
        })
    }

    /// Another one is promoted in place of a primary that can't read what it has.
    fn depose(&mut self, node: usize) -> Result<(), Failure> {
        let Some(status) = self.status(node) else { return Ok(()) };
        let fit = |other: &usize| {
            let replica = crate::birth::replica(*other);
            *other != node && self.is_up(*other) && !self.nodes[*other].sick && {
                status.role != Role::Primary
                    || status.peers.iter().any(|peer| peer.replica == replica && peer.counts)
            }
        };
        let heirs: Vec<usize> = (0..self.nodes.len()).filter(fit).collect();
        if heirs.is_empty() {
            return Ok(());
        }
        let heir = self.chances.operator.pick(&heirs);
        self.promote(heir, true)
    }

    /// Its copy is thrown away and comes back from the others.
    fn replace_copy(&mut self, node: usize) {
        self.crash(node, Crash::Kill);
        let Some(superblock) = superblock(&self.nodes[node].disk) else {
            return self.start_later(node);
        };
        self.transcript
            .line(self.now, &node, || "=== wiped by the operator, because it is damaged".to_owned());
        self.tally.replaced += 1;
        self.nodes[node].sick = false;
        self.wipe_disk(node, &superblock);
        self.start_later(node);
    }

    fn start_later(&mut self, node: usize) {
        let life = self.nodes[node].life;
        self.queue.push(self.now.plus(SECOND), Event::Mend(Mend::Start { node, life }));
    }

    /// Every disk that was harmed is read through and replaced if need be, until all are whole. `false`: by contract an
    /// operator has to decide first.
    pub(crate) fn scrub_to_the_end(&mut self) -> Result<bool, Failure> {
        for _ in 0..SCRUBS_MAX {
            let found = self.scrub();
            if found.is_empty() {
                return Ok(true);
            }
            if !self.come_to_rest()? {
                return Ok(false);
            }
        }
        Err(Failure::new(
            "damage-is-mended",
            format!("after {SCRUBS_MAX} rounds: {}", self.scrub().join("; ")),
        ))
    }

    /// What is wrong on the disks that were harmed. Nobody mends that of a replica that is no member any more.
    fn scrub(&mut self) -> Vec<String> {
        let members = self.oracle.members.nodes();
        let harmed: Vec<usize> = self.atlas.harmed().filter(|node| members.contains(node)).collect();
        let mut found = Vec::new();
        for node in harmed {
            if let Err(why) = self.look_for_wholeness(node) {
                self.transcript.line(self.now, &node, || format!("=== a scrub finds: {why}"));
                self.nodes[node].sick = true;
                found.push(format!("node {node}: {why}"));
            }
        }
        found
    }
}
