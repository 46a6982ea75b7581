//! one-primary-per-epoch: an epoch has one primary, in one life of it. reads-need-a-lease: what an older reign shows,
//! it shows before a newer one serves.

use std::collections::BTreeMap;

use seawall_engine::status::{Role, Status};
use seawall_wal::names::Epoch;

use crate::oracle::Failure;

/// Who reigned in which epoch.
#[derive(Debug)]
pub(crate) struct Reigns {
    by_epoch: BTreeMap<Epoch, (usize, u32)>,
    served: Epoch,
    /// How many of those that were declared dead run, and how many of them may serve without the others: so many as no
    /// ordinary majority comes about without.
    pub(crate) lively: usize,
    pub(crate) excuse_from: usize,
}

impl Reigns {
    /// Nobody has reigned.
    pub(crate) fn new() -> Reigns {
        Reigns { by_epoch: BTreeMap::new(), served: Epoch::ZERO, lively: 0, excuse_from: 0 }
    }

    /// A replica says what it is.
    pub(crate) fn on_status(&mut self, node: usize, life: u32, status: &Status) -> Result<(), Failure> {
        match status.role {
            Role::Starting => {}
            Role::Primary => self.served = self.served.max(status.epoch),
            Role::Opening
            | Role::Follower
            | Role::Candidate
            | Role::Faulted
            | Role::Drained
            | Role::Removed => return Ok(()),
        }
        let reigns = *self.by_epoch.entry(status.epoch).or_insert((node, life));
        if reigns == (node, life) {
            return Ok(());
        }
        let detail = format!(
            "epoch {} is that of node {} life {}, and node {node} life {life} reigns in it",
            status.epoch, reigns.0, reigns.1
        );
        Err(Failure::new("one-primary-per-epoch", detail))
    }

    /// Something is shown to a client that asked in that epoch.
    pub(crate) fn check_shows(&self, node: usize, epoch: Epoch) -> Result<(), Failure> {
        // What the operator declared is not true, and they confirm each other's leases: by contract that is his fault.
        let excused = self.lively >= self.excuse_from && epoch.era() < self.served.era();
        if self.served <= epoch || excused {
            return Ok(());
        }
        let detail =
            format!("node {node} answers in epoch {epoch}, and epoch {} serves already", self.served);
        Err(Failure::new("reads-need-a-lease", detail))
    }
}
