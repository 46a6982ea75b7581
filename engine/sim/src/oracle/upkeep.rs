//! maintenance-is-respected: as long as somebody works on a primary, nobody else reigns, unless an operator had a hand
//! in it. Only what was answered is claimed: then a majority knows of it.

use std::collections::BTreeMap;

use seawall_engine::io::CommandId;
use seawall_engine::setup::CommitRule;
use seawall_engine::status::{Role, Status};
use seawall_wal::names::Epoch;

use crate::clock::Moment;
use crate::oracle::Failure;
use crate::profile::Profile;

/// Who works on what, as the operator was told.
#[derive(Debug)]
pub(crate) struct Upkeep {
    asked: BTreeMap<CommandId, (usize, Option<Moment>)>,
    held: BTreeMap<usize, Moment>,
    /// Who was told to be primary and has not answered in this life.
    wanted: BTreeMap<CommandId, usize>,
    reign: Option<(Epoch, usize)>,
    /// By how many parts in a million of the time since the beginning two nodes' clocks may differ.
    differ_ppm: u64,
    /// Where the primary's word alone is the promise, the others may not know.
    known: bool,
}

impl Upkeep {
    /// Nobody works on anything.
    pub(crate) fn new(profile: &Profile) -> Upkeep {
        Upkeep {
            asked: BTreeMap::new(),
            held: BTreeMap::new(),
            wanted: BTreeMap::new(),
            reign: None,
            differ_ppm: 2 * profile.clock_ppm,
            known: profile.commit != CommitRule::One,
        }
    }

    /// The operator begins the work on a node, for so many nanoseconds, or ends it.
    pub(crate) fn on_asked(&mut self, now: Moment, id: CommandId, node: usize, long: Option<u64>) {
        self.held.remove(&node);
        let slack = |long: u64| long / 10 + now.0 / 1_000 * self.differ_ppm / 1_000;
        let until = long.map(|long| now.plus(long.saturating_sub(slack(long))));
        self.asked.insert(id, (node, until));
    }

    /// An operator is answered.
    pub(crate) fn on_answer(&mut self, id: CommandId, good: bool) {
        self.wanted.remove(&id);
        let Some((node, until)) = self.asked.remove(&id) else { return };
        // Another word on that node may be in force already.
        let last = self.asked.values().all(|(other, _)| *other != node);
        if let Some(until) = until.filter(|_| good && last && self.known) {
            self.held.insert(node, until);
        }
    }

    /// The operator wants that node to be primary.
    pub(crate) fn on_operator(&mut self, id: CommandId, node: usize) {
        self.wanted.insert(id, node);
        self.held.clear();
        self.asked.clear();
    }

    /// A process is gone, and with it what it was told.
    pub(crate) fn on_crash(&mut self, node: usize) {
        self.wanted.retain(|_, wanted| *wanted != node);
    }

    /// A replica says what it is.
    pub(crate) fn on_status(&mut self, now: Moment, node: usize, status: &Status) -> Result<(), Failure> {
        match status.role {
            Role::Starting | Role::Primary => {}
            Role::Opening
            | Role::Follower
            | Role::Candidate
            | Role::Faulted
            | Role::Drained
            | Role::Removed => return Ok(()),
        }
        let before = self.reign.filter(|(epoch, _)| *epoch < status.epoch);
        if before.is_some() || self.reign.is_none() {
            self.reign = Some((status.epoch, node));
        }
        let wanted = self.wanted.values().any(|wanted| *wanted == node);
        let Some((epoch, last)) = before.filter(|(_, last)| *last != node && !wanted) else { return Ok(()) };
        match self.held.get(&last).filter(|until| now < **until) {
            None => Ok(()),
            Some(until) => Err(Failure::new(
                "maintenance-is-respected",
                format!(
                    "node {node} reigns in epoch {} after node {last} in {epoch}, which is under maintenance until {until}",
                    status.epoch
                ),
            )),
        }
    }
}
