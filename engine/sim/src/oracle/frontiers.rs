//! committed-never-falls, promised-never-falls, and what is durable does not fall below what is committed.

use seawall_engine::status::{Role, Status};
use seawall_wal::names::{Epoch, Lsn};

use crate::oracle::Failure;

#[derive(Clone, Copy, Debug)]
struct Seen {
    life: u32,
    promised: Epoch,
    committed: Lsn,
    settled: Lsn,
    durable: Lsn,
    written: Lsn,
    checkpoint: Lsn,
    rebuilt: bool,
}

/// What each replica said last.
#[derive(Debug)]
pub(crate) struct Frontiers {
    seen: Vec<Option<Seen>>,
    /// The highest promise that each of them told somebody.
    told: Vec<Epoch>,
    forked: bool,
}

impl Frontiers {
    /// For that many replicas.
    pub(crate) fn new(replicas: usize) -> Frontiers {
        Frontiers { seen: vec![None; replicas], told: vec![Epoch::ZERO; replicas], forked: false }
    }

    /// A replica told somebody of a promise.
    pub(crate) fn on_promised(&mut self, node: usize, epoch: Epoch) {
        self.told[node] = self.told[node].max(epoch);
    }

    /// Its device was replaced: it does not know what it told.
    pub(crate) fn on_replaced(&mut self, node: usize) {
        self.told[node] = Epoch::ZERO;
    }

    /// The highest promise that a replica told somebody.
    pub(crate) fn told(&self, node: usize) -> Epoch {
        self.told[node]
    }

    /// A suffix of what was committed may be gone, by contract.
    pub(crate) fn on_forked(&mut self) {
        self.forked = true;
    }

    /// Below which a replica said last that its log is there.
    pub(crate) fn held(&self, node: usize) -> Lsn {
        self.seen[node].map_or(Lsn::ZERO, |seen| seen.written)
    }

    /// A replica says what it is.
    pub(crate) fn on_status(&mut self, node: usize, life: u32, status: &Status) -> Result<(), Failure> {
        match status.role {
            Role::Opening | Role::Faulted => return Ok(()),
            Role::Follower
            | Role::Candidate
            | Role::Starting
            | Role::Primary
            | Role::Drained
            | Role::Removed => {}
        }
        let now = Seen {
            life,
            promised: status.promised,
            committed: status.committed,
            settled: status.settled,
            durable: status.durable,
            written: status.written.max(status.durable),
            checkpoint: status.checkpoint,
            rebuilt: !status.base_complete,
        };
        let fell = |check, what: &str, before: String, after: String| {
            Err(Failure::new(
                check,
                format!("{what} of node {node} life {life} fell from {before} to {after}"),
            ))
        };
        if now.durable > status.log_end || now.checkpoint > now.durable && !now.rebuilt {
            let detail = format!(
                "node {node}: checkpoint {}, durable {}, end {}",
                now.checkpoint, now.durable, status.log_end
            );
            return Err(Failure::new("acked-never-past-log", detail));
        }
        if now.committed > status.log_end {
            let detail = format!(
                "node {node} says committed below {}, and its log ends at {}",
                now.committed, status.log_end
            );
            return Err(Failure::new("committed-never-falls", detail));
        }
        if let Some(before) = self.seen[node] {
            let bound = if before.life == life { before.promised } else { Epoch::ZERO };
            if now.promised < bound.max(self.told[node]) {
                let bound = bound.max(self.told[node]).to_string();
                return fell("promised-never-falls", "promised", bound, now.promised.to_string());
            }
            if self.forked {
                self.seen[node] = Some(now);
                return Ok(());
            }
            // A crash may undo the beginning of a rebuild: until that is on the disk, the old copy is all there.
            let undone = before.rebuilt && before.life != life;
            if now.checkpoint < before.checkpoint && !now.rebuilt && !undone {
                return fell(
                    "checkpoint-never-falls",
                    "checkpoint",
                    before.checkpoint.to_string(),
                    now.checkpoint.to_string(),
                );
            }
            let same_life = before.life == life && !now.rebuilt && !before.rebuilt;
            if same_life && now.committed < before.committed {
                return fell(
                    "committed-never-falls",
                    "committed",
                    before.committed.to_string(),
                    now.committed.to_string(),
                );
            }
            if same_life && now.settled < before.settled {
                return fell(
                    "committed-never-falls",
                    "settled",
                    before.settled.to_string(),
                    now.settled.to_string(),
                );
            }
            if same_life && now.durable < before.durable && now.durable < before.settled.min(before.durable) {
                return fell(
                    "durable-never-falls",
                    "durable",
                    before.durable.to_string(),
                    now.durable.to_string(),
                );
            }
        }
        self.seen[node] = Some(now);
        Ok(())
    }
}
