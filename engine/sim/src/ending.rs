//! How a run ends: at rest, compared by the engine's own digests, and in some runs shut down and begun once more.

use seawall_engine::io::{Answer, Answered, Command, CommandId};
use seawall_engine::setup::{Ack, CommitRule};
use seawall_engine::status::Role;

use crate::clock::{MILLIS, SECOND};
use crate::disk::Crash;
use crate::oracle::Failure;
use crate::oracle::voters::Voters;
use crate::world::World;

/// Everything must come to rest within so long, in nanoseconds.
const REST_MAX: u64 = 120 * SECOND;
/// A command must be answered within so long, in nanoseconds.
const ANSWER_MAX: u64 = 60 * SECOND;
/// So often an operator asks again before it is an error.
const QUESTIONS_MAX: u32 = 4;

impl World {
    /// Until nothing moves any more. `false`: by contract an operator has to decide first.
    pub(crate) fn come_to_rest(&mut self) -> Result<bool, Failure> {
        let bound = self.now.plus(REST_MAX);
        while let Some(unrest) = self.unrest() {
            if self.now >= bound && (self.needs_operator() || self.is_down_to_one()) {
                self.tally.needs_operator += 1;
                return Ok(false);
            }
            if self.now >= bound {
                let voters = Voters::of(self.voter_nodes().into_iter().map(|node| &self.nodes[node].disk));
                let detail =
                    format!("no rest after {} s: {unrest}; {voters:?}{}", REST_MAX / SECOND, self.survey());
                return Err(Failure::new("it-comes-back", detail));
            }
            let next = self.now.plus(50 * MILLIS);
            while self.advance(next)? {}
        }
        Ok(true)
    }

    /// A volume of two copies, and one of them is being replaced: it votes on nothing, and one vote is no majority.
    fn is_down_to_one(&self) -> bool {
        let whole = |node: &usize| self.status(*node).is_some_and(|status| status.base_complete);
        self.nodes.len() == 2
            && self.atlas.harmed().next().is_some()
            && self.serving().is_none()
            && (0..2).filter(whole).count() < 2
    }

    /// Too few copies left whose word counts: no election can succeed, since what was acknowledged might be lost.
    /// Contract, section 8. That can happen where acknowledgements come before the flush, or where one copy was thrown
    /// away while another one was being rebuilt, or where nobody waits for the others (commit rule `one`) and all of them
    /// fell behind the log. What the copies are is read from the disks.
    pub(crate) fn needs_operator(&self) -> bool {
        let voters = Voters::of(self.voter_nodes().into_iter().map(|node| &self.nodes[node].disk));
        let reigns = |role| matches!(role, Role::Starting | Role::Primary);
        let reigned =
            (0..self.nodes.len()).filter_map(|node| self.status(node)).any(|status| reigns(status.role));
        let alone = self.profile.commit == CommitRule::One;
        let lost = alone || self.profile.ack == Ack::Written || self.wiped || self.tally.replaced > 0;
        lost && !reigned && !voters.can_elect()
    }

    /// The primary compares all copies: all are in sync, so all must answer, and all must be equal.
    pub(crate) fn compare(&mut self) -> Result<(), Failure> {
        let mut said = String::new();
        for _ in 0..QUESTIONS_MAX {
            let Some(primary) = self.serving() else {
                said = "nobody serves".to_owned();
                self.come_to_rest()?;
                continue;
            };
            let id = self.command(primary, Command::Digest)?;
            let answer = self.answer_to(id)?;
            if let Ok(Answered::Digest { digests, .. }) = &answer
                && digests.len() == self.member_nodes().len()
            {
                if digests.iter().any(|(_, digest)| *digest != digests[0].1) {
                    return Err(Failure::new("in-sync-means-equal", format!("digests differ: {digests:x?}")));
                }
                self.tally.compared += 1;
                return Ok(());
            }
            said = format!("{answer:?}");
            self.come_to_rest()?;
        }
        Err(Failure::new("in-sync-means-equal", format!("not all copies were compared: {said}")))
    }

    /// All are drained, lose their power, and open by their clean marks.
    pub(crate) fn drain_and_restart(&mut self) -> Result<(), Failure> {
        let nodes = self.nodes.len();
        let mut asked = Vec::new();
        for node in 0..nodes {
            asked.push(self.command(node, Command::Drain)?);
        }
        for (node, id) in asked.into_iter().enumerate() {
            let answer = self.answer_to(id)?;
            if answer != Ok(Answered::Drained) {
                return Err(Failure::new("clean-shutdown", format!("node {node} answers {answer:?}")));
            }
        }
        self.opened.fill(None);
        for node in 0..nodes {
            self.crash(node, Crash::Power(self.profile.loss));
        }
        for node in 0..nodes {
            self.start(node)?;
        }
        self.come_to_rest()?;
        if let Some(node) = (0..nodes).find(|node| self.opened[*node] != Some("clean-shutdown")) {
            let detail = format!("node {node} was drained and opened by {:?}", self.opened[node]);
            return Err(Failure::new("clean-shutdown", detail));
        }
        self.tally.clean_restarts += nodes as u64;
        Ok(())
    }

    fn answer_to(&mut self, id: CommandId) -> Result<Answer, Failure> {
        let bound = self.now.plus(ANSWER_MAX);
        while self.now < bound {
            if let Some(answer) = self.answers.remove(&id) {
                return Ok(answer);
            }
            let next = self.now.plus(10 * MILLIS);
            while self.advance(next)? {}
        }
        Err(Failure::new("it-comes-back", format!("command {} was never answered{}", id.0, self.survey())))
    }
}
