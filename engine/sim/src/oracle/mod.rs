//! What must hold whatever happens. Each check is a file; all of them look at the simulated disks and at what
//! clients were told, and take a replica's word only for what it claims, never for what is so.

pub(crate) mod bodies;
pub(crate) mod branches;
pub(crate) mod copies;
pub(crate) mod frontiers;
pub(crate) mod history;
pub(crate) mod home;
pub(crate) mod image;
pub(crate) mod ledger;
pub(crate) mod lives;
mod members;
pub(crate) mod promise;
pub(crate) mod register;
pub(crate) mod reign;
pub(crate) mod ring;
pub(crate) mod sessions;
pub(crate) mod telling;
pub(crate) mod upkeep;
pub(crate) mod vote;
pub(crate) mod voters;

use core::fmt;

use seawall_engine::io::{Area, DiskOp, OpId};
use seawall_engine::replica::Replica;
use seawall_engine::setup::CommitRule;
use seawall_engine::status::{Role, Status};
use seawall_wal::names::{Epoch, Era};
use seawall_wal::superblock::{BaseState, SlotState, Superblock};

use crate::birth::replica;
use crate::disk::{Crash, Disk};
use crate::node::{Node, Request};
use crate::oracle::bodies::Bodies;
use crate::oracle::branches::Branches;
use crate::oracle::copies::Copies;
use crate::oracle::frontiers::Frontiers;
use crate::oracle::history::History;
use crate::oracle::home::Home;
use crate::oracle::ledger::Ledger;
use crate::oracle::lives::Lives;
use crate::oracle::members::Members;
use crate::oracle::reign::Reigns;
use crate::oracle::ring::Rings;
use crate::oracle::sessions::Sessions;
use crate::oracle::upkeep::Upkeep;
use crate::oracle::vote::Votes;
use crate::pool::Pool;
use crate::profile::Profile;
use crate::stamp::Stamp;

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
    /// Who the members are.
    pub(crate) members: Members,
    /// Every record's bytes are the same everywhere.
    bodies: Bodies,
    /// What a cut takes is kept.
    pub(crate) branches: Branches,
    /// What the disk said at the end of each life.
    lives: Lives,
    /// Which records the log may overwrite.
    rings: Rings,
    /// Who waits for how long.
    pub(crate) sessions: Sessions,
    /// Whose work on which node is respected.
    pub(crate) upkeep: Upkeep,
    /// Whose word counts.
    pub(crate) votes: Votes,
    found: Option<Failure>,
    commit: CommitRule,
    epoch: Option<Epoch>,
    forked: bool,
    /// The highest that an operator forced.
    pub(crate) era: Era,
}

impl Oracle {
    /// At the beginning of the world.
    pub(crate) fn new(profile: &Profile) -> Oracle {
        Oracle {
            ledger: Ledger::new(profile.geometry.volume_blocks, profile.commit == CommitRule::One),
            copies: Copies::new(profile),
            frontiers: Frontiers::new(profile.nodes()),
            history: History::new(profile.nodes()),
            home: Home::new(profile.nodes(), profile.commit == CommitRule::One),
            reigns: Reigns::new(),
            members: Members::new(profile),
            bodies: Bodies::default(),
            branches: Branches::new(profile.nodes()),
            lives: Lives::new(profile.nodes()),
            rings: Rings::new(profile.nodes()),
            sessions: Sessions::new(profile.nodes()),
            upkeep: Upkeep::new(profile),
            votes: Votes::new(profile.nodes()),
            found: None,
            commit: profile.commit,
            epoch: None,
            forked: false,
            era: Era::FIRST,
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
            self.lives.on_forked();
        }
    }

    /// An operator forced a promotion: what else went on may be void. What is the volume's history is known exactly; of
    /// what each replica says by itself, nothing falls in the highest era only.
    pub(crate) fn on_forced(&mut self, era: Era) {
        self.era = era;
        self.frontiers.on_forked();
        self.home.on_forked();
        self.lives.on_forked();
    }

    /// Whether a suffix may have been lost by contract.
    pub(crate) fn is_forked(&self) -> bool {
        self.forked
    }

    /// The disk of a node is given an operation.
    pub(crate) fn on_disk_given(
        &mut self,
        node: usize,
        here: &Node,
        op: OpId,
        what: &DiskOp,
    ) -> Result<(), Failure> {
        self.copies.on_given(node, op, what);
        self.branches.on_given(node, what, &here.disk, &self.history)?;
        // When a reign ends its reads are refused, but not before the disk has let go of their buffers.
        let reign = here.replica.as_ref().map(Replica::role);
        let reigns = |request: &&Request| reign == Some((Role::Primary, request.epoch));
        let waiting = here.requests.values().filter(reigns).filter_map(|request| request.buf);
        self.rings.on_given(node, what, &here.disk, waiting)?;
        if let DiskOp::Append { offset, parts, .. } = what {
            self.home.on_append(parts, &here.pool);
            let unit = u64::from(here.disk.geometry().unit_bytes);
            self.history.on_given(node, *offset, parts, unit)?;
            self.members.on_given(node, *offset, parts, unit);
        }
        Ok(())
    }

    /// A disk operation ended, well or not; its buffers are not given back yet.
    pub(crate) fn on_disk_ended(
        &mut self,
        node: usize,
        op: OpId,
        what: &DiskOp,
        good: bool,
        disk: &Disk,
        pool: &Pool,
    ) -> Result<(), Failure> {
        if good {
            self.rings.on_done(node, what);
            if let DiskOp::Append { parts, .. } = what {
                self.history.on_append(node, parts)?;
                self.branches.on_append(node, parts);
                self.bodies.on_append(node, parts, pool)?;
                self.members.on_append(node, parts);
            }
            if let DiskOp::WriteMeta { area: Area::Super, bytes, .. } = what
                && let SlotState::Present(superblock) = Superblock::decode(bytes)
            {
                self.home.on_named(node, superblock.settled);
                self.lives.on_superblock(node, superblock.sequence);
                self.members.on_superblock(node, &superblock);
                self.votes.on_superblock(node, &superblock, disk, &self.history)?;
                if superblock.base != BaseState::Complete {
                    self.lives.on_thrown_away(node);
                }
            }
        }
        self.note_members();
        self.copies.on_ended(node, op, what, good, disk, pool)
    }

    /// A life begins on that disk.
    pub(crate) fn on_started(&mut self, node: usize, disk: &Disk) {
        self.lives.on_started(node, disk);
    }

    fn note_members(&mut self) {
        self.copies.all_rolls = self.members.all_rolls();
        self.copies.all_sets = self.members.all_sets();
    }

    /// A life has ended: what is on the disk now.
    pub(crate) fn on_crashed(&mut self, node: usize, crash: Crash, disk: &Disk) {
        self.copies.on_crashed(node, crash, disk);
        self.home.on_crash(node);
        self.history.on_crashed(node, disk);
        self.members.on_crashed(node, disk);
        self.branches.on_crashed(node, disk);
        self.sessions.on_crash(node);
        self.upkeep.on_crash(node);
        self.rings.on_crashed(node, disk);
        let whole = self.votes.on_crashed(node, disk, &self.history);
        let judged = self.lives.on_crashed(node, crash, replica(node), self.frontiers.told(node), disk);
        self.found = self.found.take().or(whole.err()).or(judged.err());
    }

    /// What was found where nobody could be told at once.
    pub(crate) fn verdict(&mut self) -> Result<(), Failure> {
        self.found.take().map_or(Ok(()), Err)
    }

    /// An operator is about to throw a copy away.
    pub(crate) fn on_wiping(&mut self, node: usize, disk: &Disk) {
        self.votes.on_losing(node, disk, &self.history);
    }

    /// He did.
    pub(crate) fn on_wiped(&mut self, node: usize, disk: &Disk) {
        self.copies.on_wiped(node);
        self.branches.on_crashed(node, disk);
        self.rings.on_wiped(node);
        let whole = self.votes.on_wiped(node, disk, &self.history);
        self.found = self.found.take().or(whole.err());
        self.rings.on_crashed(node, disk);
        self.lives.on_thrown_away(node);
    }

    /// An empty device took the place of a node's: what the old one promised, nobody knows.
    pub(crate) fn on_replaced(&mut self, node: usize, disk: &Disk) {
        self.history.on_replaced(node);
        self.lives.on_replaced(node);
        self.frontiers.on_replaced(node);
        self.on_wiped(node, disk);
    }

    /// A machine made a step.
    pub(crate) fn on_step(&mut self, node: usize, life: u32, status: &Status) -> Result<(), Failure> {
        self.reigns.on_status(node, life, status)?;
        self.votes.on_status(node, status)?;
        self.frontiers.on_status(node, life, status)?;
        let committed = status.committed.min(status.written);
        // A log of a lower era than the one that was forced says nothing of the volume.
        let tail = status.lineage.last().map_or(Epoch::ZERO, |row| row.epoch);
        if tail.era() >= self.era {
            self.history.on_committed(node, status.epoch, status.log_start, committed)?;
        }
        self.members.check(&self.history)
    }

    /// Who decides on a write that a primary completes, by the disks; of one that another completes nothing is known but
    /// that somebody decided.
    pub(crate) fn weigh_members(&mut self, node: Option<usize>, stamp: Stamp) {
        let at = self.copies.place(stamp);
        self.copies.rolls = node.map_or_else(Vec::new, |node| self.members.rolls(node, at));
        self.copies.sets = node.map_or_else(Vec::new, |node| self.members.sets(node, at));
        self.note_members();
    }
}
