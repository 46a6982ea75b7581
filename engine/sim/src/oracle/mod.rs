//! What must hold whatever happens. Each check is a file; all of them look at the simulated disks and at what
//! clients were told, and take a replica's word only for what it claims, never for what is so.

pub(crate) mod copies;
pub(crate) mod frontiers;
pub(crate) mod history;
pub(crate) mod home;
pub(crate) mod image;
pub(crate) mod ledger;
pub(crate) mod promise;
pub(crate) mod register;
pub(crate) mod reign;

use core::fmt;

use seawall_engine::setup::CommitRule;
use seawall_engine::status::Status;
use seawall_wal::names::Epoch;

use crate::oracle::copies::Copies;
use crate::oracle::frontiers::Frontiers;
use crate::oracle::history::History;
use crate::oracle::home::Home;
use crate::oracle::ledger::Ledger;
use crate::oracle::reign::Reigns;
use crate::profile::Profile;

/// A promise that was broken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// Which check found it: the name of an invariant, or of the simulator's own rule.
    pub check: &'static str,
    /// What was found.
    pub detail: String,
}

impl Failure {
    pub(crate) fn new(check: &'static str, detail: String) -> Failure {
        Failure { check, detail }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.check, self.detail)
    }
}

/// All checks that run along.
#[derive(Debug)]
pub(crate) struct Oracle {
    /// What clients did and saw.
    pub(crate) ledger: Ledger,
    /// Who has which write on stable storage.
    pub(crate) copies: Copies,
    /// What never falls.
    pub(crate) frontiers: Frontiers,
    /// What was committed is the same everywhere.
    pub(crate) history: History,
    /// Home only goes forward.
    pub(crate) home: Home,
    /// Who reigned when.
    pub(crate) reigns: Reigns,
    commit: CommitRule,
    epoch: Option<Epoch>,
    forked: bool,
}

impl Oracle {
    /// At the beginning of the world.
    pub(crate) fn new(profile: &Profile) -> Oracle {
        Oracle {
            ledger: Ledger::new(profile.geometry.volume_blocks, profile.commit == CommitRule::One),
            copies: Copies::new(profile),
            frontiers: Frontiers::new(profile.replicas),
            history: History::new(profile.replicas),
            home: Home::new(profile.replicas),
            reigns: Reigns::default(),
            commit: profile.commit,
            epoch: None,
            forked: false,
        }
    }

    /// A replica reigns in an epoch. Under commit rule `one` the primary's own copy is the promise: whoever reigns
    /// after it may begin without its last writes, and it itself goes on until it hears of that.
    pub(crate) fn on_reigning(&mut self, epoch: Epoch) {
        let before = self.epoch.replace(epoch);
        if self.commit == CommitRule::One && before.is_some_and(|before| before != epoch) {
            self.forked = true;
            self.ledger.on_forked();
            self.frontiers.on_forked();
            self.history.on_forked();
            self.home.on_forked();
        }
    }

    /// Whether a suffix may have been lost by contract.
    pub(crate) fn is_forked(&self) -> bool {
        self.forked
    }

    /// A machine made a step.
    pub(crate) fn on_step(&mut self, node: usize, life: u32, status: &Status) -> Result<(), Failure> {
        self.reigns.on_status(node, life, status)?;
        self.frontiers.on_status(node, life, status)?;
        self.history.on_committed(node, status.log_start, status.committed.min(status.written))
    }
}
