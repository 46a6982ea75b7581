//! Faults that are aimed at what the engine is doing, where chance alone would seldom hit.

use seawall_engine::status::Role;
use seawall_sender::frame::{FrameHeader, Kind};
use seawall_wal::names::Epoch;

use crate::clock::{MILLIS, SECOND};
use crate::disk::Crash;
use crate::oracle::Failure;
use crate::oracle::image::superblock;
use crate::profile::Every;
use crate::tally::Fault;
use crate::trouble::Trouble;
use crate::world::{Event, World};

/// So often clients look around after a promotion behind the primary's back.
const SPLIT_LOOKS: u32 = 30;

impl World {
    /// Who serves, in the highest epoch.
    pub(crate) fn serving(&self) -> Option<usize> {
        let roles = self.nodes.iter().enumerate().filter_map(|(node, here)| {
            let status = here.replica.as_ref()?.status();
            (self.is_up(node) && status.role == Role::Primary).then_some((status.epoch, node))
        });
        roles.max().map(|(_, node)| node)
    }

    /// Somebody is to be promoted of whom the primary does not hear, while it goes on with the others.
    pub(crate) fn usurp(&mut self) {
        let Some(primary) = self.serving() else { return };
        let prng = &mut self.chances.scenario;
        let heir = (primary + 1 + prng.index(self.nodes.len() - 1)) % self.nodes.len();
        let long = prng.between(SECOND, 4 * SECOND);
        let after = prng.between(0, 300 * MILLIS);
        if !self.is_up(heir) {
            return;
        }
        // Half of the time it hears of nobody, and goes on in the belief that it reigns.
        let alone = self.chances.scenario.coin();
        for other in (0..self.nodes.len()).filter(|other| *other == heir || alone && *other != primary) {
            self.cut_for(primary, other, long);
            self.cut_for(other, primary, long);
        }
        let life = self.nodes[heir].life;
        self.queue.push(self.now.plus(after), Event::Trouble(Trouble::Crown { node: heir, life }));
    }

    /// It is promoted.
    pub(crate) fn crown(&mut self, node: usize, life: u32) -> Result<(), Failure> {
        if !self.nodes[node].lives(life) || !self.is_up(node) {
            return Ok(());
        }
        self.tally.fired(Fault::Usurped, 1);
        self.heir = Some(node);
        self.promote(node)
    }

    /// A node says that it reigns. If it was promoted behind the primary's back, its voters hear of it late.
    pub(crate) fn on_reigning(&mut self, node: usize, epoch: Epoch) {
        self.oracle.on_reigning(epoch);
        self.tally.forked = u64::from(self.oracle.is_forked());
        if self.heir != Some(node) || !self.chaos {
            return;
        }
        self.heir = None;
        self.queue.push(self.now, Event::Trouble(Trouble::Split { left: SPLIT_LOOKS }));
        for voter in (0..self.nodes.len()).filter(|voter| *voter != node) {
            let long = self.chances.scenario.between(50 * MILLIS, 1500 * MILLIS);
            self.tally.fired(Fault::GreetHeldBack, 1);
            self.cut_for(node, voter, long);
        }
    }

    /// If two nodes take themselves for primary, clients that wait turn to either of them.
    pub(crate) fn split(&mut self, left: u32) {
        let reigns = |node: &usize| {
            let role = self.nodes[*node].replica.as_ref().map(|replica| replica.status().role);
            self.is_up(*node) && role == Some(Role::Primary)
        };
        let primaries: Vec<usize> = (0..self.nodes.len()).filter(reigns).collect();
        if primaries.len() > 1 {
            for (slot, hand) in self.hands.iter_mut().enumerate() {
                hand.guess = self.chances.scenario.pick(&primaries);
                if hand.busy {
                    self.queue.push(self.now, Event::Idle { slot, asked: hand.asked });
                }
            }
        }
        if left > 0 {
            let next = self.now.plus(100 * MILLIS);
            self.queue.push(next, Event::Trouble(Trouble::Split { left: left - 1 }));
        }
    }

    /// Whether the connection of this frame stands still from now on, and for how many nanoseconds.
    pub(crate) fn stands_still(&mut self, head: &[u8]) -> Option<u64> {
        let header = head.first_chunk().and_then(|head| FrameHeader::decode(head).ok())?;
        let opens = matches!(header.kind, Kind::Greet | Kind::Begin | Kind::Ask | Kind::Promise);
        let prng = &mut self.chances.scenario;
        if !opens || !self.chaos || !prng.chance(self.profile.stuck) {
            return None;
        }
        self.tally.fired(Fault::Stuck, 1);
        Some(prng.between(SECOND, 6 * SECOND))
    }

    /// An operator wipes a follower's copy, as `seawall replica wipe` does: once, and only when all copies are whole.
    pub(crate) fn wipe(&mut self) {
        let Some(primary) = self.serving() else { return };
        let whole = |node: usize| {
            let status = self.nodes[node].replica.as_ref().map(seawall_engine::replica::Replica::status);
            self.is_up(node) && status.is_some_and(|status| status.base_complete && !status.lossy)
        };
        let in_sync = |node: usize| {
            let status = self.nodes[node].replica.as_ref().map(seawall_engine::replica::Replica::status);
            status.is_some_and(|status| status.peers.iter().all(|peer| peer.counts))
        };
        if self.wiped || !in_sync(primary) || !(0..self.nodes.len()).all(whole) {
            return;
        }
        let node = (primary + 1 + self.chances.scenario.index(self.nodes.len() - 1)) % self.nodes.len();
        let Some(before) = superblock(&self.nodes[node].disk) else { return };
        self.wiped = true;
        self.tally.fired(Fault::Wiped, 1);
        self.crash(node, Crash::Kill);
        // What the process had in flight when it ended may have changed the superblock.
        let before = superblock(&self.nodes[node].disk).unwrap_or(before);
        self.transcript.line(self.now, &node, || "=== wiped".to_owned());
        self.nodes[node].disk.wipe(&before);
        self.oracle.on_wiped(node, &self.nodes[node].disk);
        let down = Every { min: 10 * MILLIS, max: SECOND }.draw(&mut self.chances.scenario);
        let life = self.nodes[node].life;
        self.queue.push(self.now.plus(down), Event::Trouble(Trouble::Start { node, life }));
    }
}
