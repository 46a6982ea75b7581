//! one-primary-per-epoch: an epoch has one primary, in one life of it.

use std::collections::BTreeMap;

use seawall_engine::status::{Role, Status};
use seawall_wal::names::Epoch;

use crate::oracle::Failure;

/// Who reigned in which epoch.
#[derive(Debug, Default)]
pub(crate) struct Reigns {
    by_epoch: BTreeMap<Epoch, (usize, u32)>,
}

impl Reigns {
    /// A replica says what it is.
    pub(crate) fn on_status(&mut self, node: usize, life: u32, status: &Status) -> Result<(), Failure> {
        match status.role {
            Role::Starting | Role::Primary => {}
            Role::Opening | Role::Follower | Role::Candidate | Role::Faulted | Role::Drained => return Ok(()),
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
}
