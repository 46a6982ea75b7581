//! What a replica shows of itself. Derived when asked for, never stored, never read back.

use alloc::string::String;
use alloc::vec::Vec;

use core::time::Duration;

use seawall_recovery::progress::Progress;
use seawall_sender::session_id::SessionId;
use seawall_sender::time::Instant;
use seawall_wal::configuration::Configuration;
use seawall_wal::names::{Epoch, LineageRow, Lsn, ReplicaId};

use crate::ballot::Denial;
use crate::commit::Electorate;
use crate::risk::AtRisk;
use crate::setup::{Ack, CommitRule, Failover, Setup};

/// What a replica is at the moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Reading its disk.
    Opening,
    /// Following a primary, or waiting for one.
    Follower,
    /// Asking for promises, or fetching the history.
    Candidate,
    /// Primary, but its epoch's start has not committed yet.
    Starting,
    /// Primary, and it serves.
    Primary,
    /// Its disk failed or can't be used.
    Faulted,
    /// Shut down cleanly.
    Drained,
    /// No member of the volume any more.
    Removed,
}

impl Role {
    /// Its name for people and machines.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Role::Opening => "opening",
            Role::Follower => "follower",
            Role::Candidate => "candidate",
            Role::Starting => "starting",
            Role::Primary => "primary",
            Role::Faulted => "faulted",
            Role::Drained => "drained",
            Role::Removed => "removed",
        }
    }
}

/// One replica as it sees itself and, on a primary, its peers.
#[derive(Clone, PartialEq, Debug)]
pub struct Status {
    /// Who.
    pub replica: ReplicaId,
    /// What it is.
    pub role: Role,
    /// The highest epoch it promised.
    pub promised: Epoch,
    /// The epoch whose primary it follows or is; zero if none.
    pub epoch: Epoch,
    /// Which epoch wrote which part of the log.
    pub lineage: Vec<LineageRow>,
    /// First record in the log.
    pub log_start: Lsn,
    /// One past the last record.
    pub log_end: Lsn,
    /// Below this the log is written.
    pub written: Lsn,
    /// Below this the log is on stable storage.
    pub durable: Lsn,
    /// Below this the promise holds (on a follower: as last told).
    pub committed: Lsn,
    /// Below this a commit quorum has it durable (on a follower: as last told).
    pub settled: Lsn,
    /// Below this everything is home.
    pub checkpoint: Lsn,
    /// Bytes of the log ring in use, and its size.
    pub log_used_bytes: u64,
    /// Size of the log ring.
    pub log_bytes: u64,
    /// Bytes of memory that the index of the log takes.
    pub index_bytes: usize,
    /// Whether its copy is whole.
    pub base_complete: bool,
    /// Blocks of the base that are held while it is rebuilt.
    pub base_held: u64,
    /// Whether it may have lost records that it answered for (`ack = written` and a power loss).
    pub lossy: bool,
    /// How the last restart judged the disk.
    pub restart_rule: &'static str,
    /// Why it is faulted.
    pub fault: Option<String>,
    /// Requests admitted and not yet completed.
    pub requests: usize,
    /// Starts of this replica over its life.
    pub boots: u32,
    /// The configuration in force.
    pub configuration: Configuration,
    /// Where its record is, while that is not known to be settled.
    pub pending: Option<Lsn>,
    /// Who works on which replica, by replica.
    pub maintenance: Vec<MaintenanceStatus>,
    /// On a primary: its peers.
    pub peers: Vec<PeerStatus>,
    /// The moment of which all this tells, on the replica's own clock.
    pub now: Instant,
    /// What the volume promises, and what follows from that.
    pub policy: Policy,
    /// Who decides.
    pub electorate: Electorate,
    /// Whether its promises and its durable frontier count.
    pub voter: bool,
    /// The epoch of a promotion that was forced without this copy, which puts it on the losing branch.
    pub stranded: Option<Epoch>,
    /// The last promotion that was forced in the history of its log.
    pub forced: Option<ForcedStatus>,
    /// Whether it is on its way to a clean end.
    pub draining: bool,
    /// Who takes writes, and what keeps them from it.
    pub quorum: Quorum,
    /// What it knows of its primary, and what it does about not having one.
    pub watch: Watch,
    /// On a primary: promised records that no other copy is known to have on stable storage.
    pub alone: AtRisk,
    /// On a primary: promised records that no quorum has on stable storage yet.
    pub volatile: AtRisk,
}

impl Status {
    /// The maintenance of a replica.
    #[must_use]
    pub fn maintains(&self, replica: ReplicaId) -> Option<&MaintenanceStatus> {
        self.maintenance.iter().find(|lease| lease.replica == replica)
    }

    /// On a primary: whether the voters that count are a majority, and the others of the in-sync set are dropped from it
    /// before long.
    #[must_use]
    pub fn shrinks(&self) -> bool {
        let policy = &self.policy;
        let counts = |voter| {
            voter == self.replica || self.peers.iter().any(|peer| peer.replica == voter && peer.counts)
        };
        policy.commit == CommitRule::All
            && policy.all_patience.is_some()
            && self.electorate.is_majority(counts)
    }

    /// The same, told later: the replica may have slept since its last step.
    #[must_use]
    pub fn as_of(self, now: Instant) -> Status {
        Status { now: self.now.max(now), ..self }
    }
}

/// Somebody works on a replica.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MaintenanceStatus {
    /// On which.
    pub replica: ReplicaId,
    /// Who.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// Since when, in milliseconds of Unix time.
    pub began_ms: u64,
    /// Until when, by the clock of the replica that says so.
    pub until: Instant,
}

/// A forced promotion in a history.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ForcedStatus {
    /// Its epoch.
    pub epoch: Epoch,
    /// Where it begins: up to here the history was that of the copy that was forced.
    pub first: Lsn,
    /// The epoch of the record before.
    pub before: Epoch,
}

/// What the volume promises, as this replica was told at birth.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    /// When a write is committed.
    pub commit: CommitRule,
    /// What an acknowledgement means.
    pub ack: Ack,
    /// Who finds a new primary.
    pub failover: Failover,
    /// The length of a lease; zero without.
    pub lease: Duration,
    /// How long a regular primary may be silent before it is missed.
    pub missed_after: Duration,
    /// How long a request waits for a quorum; none: for ever.
    pub patience: Option<Duration>,
    /// Under commit rule `all`: how long writes wait for one of the in-sync set; none: for ever.
    pub all_patience: Option<Duration>,
}

impl Policy {
    /// As it follows from a replica's setup.
    #[must_use]
    pub fn of(setup: &Setup) -> Policy {
        let limits = &setup.limits;
        Policy {
            commit: setup.commit,
            ack: setup.ack,
            failover: setup.failover,
            lease: limits.lease,
            missed_after: limits.missed_after(),
            patience: limits.quorum_patience,
            all_patience: limits.all_patience,
        }
    }
}

/// Whether the volume takes writes, as far as this replica knows.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Quorum {
    /// On a primary: voters whose frontiers count, itself among them.
    pub present: usize,
    /// On a primary: so many must.
    pub needed: usize,
    /// On a primary: whether it holds its lease, or needs none.
    pub leased: bool,
    /// On a follower: whether it hears from a primary.
    pub heard: bool,
    /// Since when this replica has had no part in a volume that takes writes; none if it has.
    pub missing_since: Option<Instant>,
}

/// What a replica knows of its primary, and what it does about not having one.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Watch {
    /// The feed from a primary.
    pub feed: Option<FeedStatus>,
    /// The lease that this voter granted last: to whom, and until when.
    pub grant: Option<(Epoch, Instant)>,
    /// When it asks for promises by itself, if it hears of no primary until then.
    pub asks_at: Option<Instant>,
    /// Its candidacy.
    pub candidacy: Option<CandidacyStatus>,
    /// The last promise that it refused: for which epoch, why, and when.
    pub refused: Option<(Epoch, Denial, Instant)>,
    /// Whether somebody works on the primary that it follows or misses, so that nobody takes its place by itself.
    pub spared: bool,
}

/// What a replica knows of the primary that feeds it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FeedStatus {
    /// Who.
    pub primary: ReplicaId,
    /// How far the feed is: greeted, told, planned, beginning, fed.
    pub stage: &'static str,
    /// Whether records come.
    pub fed: bool,
    /// Its last sign of life.
    pub heard: Instant,
    /// When its silence means that it is gone.
    pub silent_from: Instant,
}

/// A candidacy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CandidacyStatus {
    /// For which epoch; zero before its first round.
    pub epoch: Epoch,
    /// How far it is: resting, sounding, asking, fetching, won.
    pub stage: &'static str,
    /// When it goes on by itself; none if others decide that.
    pub until: Option<Instant>,
    /// Rounds so far.
    pub rounds: u32,
    /// Why the last round failed; empty if none has.
    pub why: String,
    /// Whether an operator wants it.
    pub commanded: bool,
}

/// A peer as the primary's sender and session know it.
#[derive(Clone, PartialEq, Debug)]
pub struct PeerStatus {
    /// Who.
    pub replica: ReplicaId,
    /// The session's state.
    pub state: &'static str,
    /// The live session.
    pub session: Option<SessionId>,
    /// The rule that chose the last plan: why it is caught up or rebuilt.
    pub rule: &'static str,
    /// How the last session ended.
    pub last_end: &'static str,
    /// Whether it votes.
    pub voter: bool,
    /// Whether it said who it is in the live session: it is there.
    pub speaks: bool,
    /// Whether it is fed: it answers pulses.
    pub fed: bool,
    /// Whether its copy is not whole, as far as the live session knows.
    pub rebuilding: bool,
    /// Whether somebody works on it.
    pub maintained: bool,
    /// Without a session: when the next one begins.
    pub next_try: Option<Instant>,
    /// Promised records that it is not known to have on stable storage.
    pub behind: AtRisk,
    /// Whether its durable frontier counts for commit.
    pub counts: bool,
    /// Whether it votes and is not in the in-sync set of commit rule `all`.
    pub lagging: bool,
    /// When it was dropped from that set and why, if that was in this reign and it has not joined it again.
    pub dropped: Option<(Instant, &'static str)>,
    /// What it has received.
    pub received: Lsn,
    /// What it has written.
    pub written: Lsn,
    /// What it has on stable storage.
    pub durable: Lsn,
    /// What is at home there.
    pub home: Lsn,
    /// Bytes sent and not yet acknowledged.
    pub in_flight_bytes: u64,
    /// Records and bytes that it lacks.
    pub lag_records: u64,
    /// Bytes that it lacks, as far as the log still holds them.
    pub lag_bytes: u64,
    /// How a catch-up or rebuild comes along.
    pub progress: Option<Progress>,
}
