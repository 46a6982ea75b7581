//! What the operator does about members: has one join, leave, or be found elsewhere, by telling whoever serves.

use core::time::Duration;

use seawall_engine::change::Change;
use seawall_engine::io::{Command, CommandId};
use seawall_engine::maintenance::{LENGTH_MIN, Maintain};
use seawall_engine::status::Status;
use seawall_wal::configuration::{Configuration, Member, Suffrage};

use crate::birth::{name, replica};
use crate::clock::{MILLIS, SECOND};
use crate::deed::Act;
use crate::oracle::Failure;
use crate::tally::Fault;
use crate::word::Span;
use crate::world::World;

impl World {
    /// Whether members may change in this run.
    fn changes(&self) -> bool {
        self.profile.spares > 0 || self.oracle.members.changed()
    }

    fn served_configuration(&self) -> Option<(usize, Configuration)> {
        let primary = self.serving()?;
        Some((primary, self.status(primary)?.configuration))
    }

    /// Whether a node may be asked to join: it never was a member.
    pub(crate) fn may_join(&self, node: usize) -> bool {
        let fresh = |known: &Configuration| {
            known.member(replica(node)).is_none() && !known.retired.contains(&replica(node))
        };
        node >= self.profile.replicas && self.served_configuration().is_some_and(|(_, known)| fresh(&known))
    }

    /// Whether it is a member that whoever serves may be asked to let go.
    pub(crate) fn may_leave(&self, node: usize) -> bool {
        self.served_configuration()
            .is_some_and(|(primary, known)| primary != node && known.member(replica(node)).is_some())
    }

    fn change(&mut self, change: Change) -> Result<(), Failure> {
        let Some(primary) = self.serving() else { return Ok(()) };
        self.command(primary, Command::Change(change)).map(|_| ())
    }

    pub(crate) fn add(&mut self, node: usize) -> Result<(), Failure> {
        // Whoever starts from now on reads of it.
        self.directory.set_named(node, true);
        let address = self.directory.address(node);
        self.change(Change::Add { replica: replica(node), name: name(node), address })
    }

    pub(crate) fn remove(&mut self, node: usize) -> Result<(), Failure> {
        self.change(Change::Remove { replica: replica(node) })
    }

    pub(crate) fn readdress(&mut self, node: usize) -> Result<(), Failure> {
        let address = self.directory.address(node);
        self.change(Change::Move { replica: replica(node), address })
    }

    /// The operator tells whoever serves that somebody works on a node, for so many nanoseconds, or is done.
    pub(crate) fn maintain(&mut self, node: usize, long: Option<u64>) -> Result<(), Failure> {
        let Some(primary) = self.serving() else { return Ok(()) };
        let (replica, owner) = (replica(node), String::from("sim"));
        let begin = |long| {
            let length = Duration::from_nanos(long).max(LENGTH_MIN);
            Maintain::Begin { replica, owner: owner.clone(), reason: String::from("a new kernel"), length }
        };
        let maintain = long.map_or(Maintain::End { replica, owner: owner.clone() }, begin);
        let id = CommandId(self.commands + 1);
        self.oracle.upkeep.on_asked(self.now, id, node, long);
        self.command(primary, Command::Maintain(maintain)).map(|_| ())
    }

    /// A change that chance wants: a spare joins, or somebody leaves or moves.
    pub(crate) fn plan_change(&mut self) -> Result<(), Failure> {
        let Some((primary, known)) = self.served_configuration() else { return Ok(()) };
        let nodes = self.nodes.len();
        let spare = (0..nodes).find(|node| self.may_join(*node));
        let voters = known.voters().count();
        let prng = self.planner_members();
        let (what, node) = (prng.below(4), (primary + 1 + prng.index(nodes - 1)) % nodes);
        let down = Span(prng.between(10 * MILLIS, SECOND / 2));
        let (act, fault) = match (what, spare) {
            (0 | 1, Some(node)) => (Act::Add { node }, Fault::Added),
            (0 | 2, _) if voters > 2 => (Act::Remove { node }, Fault::Removed),
            _ => (Act::Readdress { node, down }, Fault::Readdressed),
        };
        let done = self.carry_out_deed(act)?;
        self.tally.fired(fault, u64::from(done));
        Ok(())
    }

    /// The operator tells whoever serves of a member that is not where it is said to be.
    pub(crate) fn correct_addresses(&mut self) -> Result<(), Failure> {
        let Some((primary, known)) = self.served_configuration().filter(|_| self.changes()) else {
            return Ok(());
        };
        let pending = self.status(primary).is_some_and(|status| status.pending.is_some());
        let astray = |node: &usize| {
            known.member(replica(*node)).is_some_and(|member| member.address != self.directory.address(*node))
        };
        match (0..self.nodes.len()).find(astray) {
            Some(node) if !pending && !self.chaos => self.readdress(node),
            Some(_) | None => Ok(()),
        }
    }

    /// The nodes whose copies are the volume's.
    pub(crate) fn member_nodes(&self) -> Vec<usize> {
        if self.changes() { self.oracle.members.nodes() } else { (0..self.nodes.len()).collect() }
    }

    /// The nodes that vote.
    pub(crate) fn voter_nodes(&self) -> Vec<usize> {
        if self.changes() { self.oracle.members.voters() } else { (0..self.nodes.len()).collect() }
    }

    /// What is still to come of a change.
    pub(crate) fn change_under_way(&self, primary: &Status) -> Option<String> {
        let learner =
            primary.configuration.members.iter().find(|member| member.suffrage == Suffrage::Learner);
        let lags = |member: &&Member| member.suffrage == Suffrage::Lagging;
        let lagging = primary.configuration.members.iter().find(lags);
        match (primary.pending, learner, lagging) {
            (Some(at), ..) => {
                Some(format!("configuration {} is pending at {at}", primary.configuration.number))
            }
            (None, Some(learner), _) => Some(format!("{} is a learner", learner.name)),
            (None, None, Some(lagging)) => Some(format!("{} is not in the in-sync set", lagging.name)),
            (None, None, None) => None,
        }
    }
}
