//! A replica's status as operators and their programs see it: names instead of numbers, JSON, one truth.

use std::time::Duration;

use seawall_engine::setup::{Ack, CommitRule};
use seawall_engine::status::{MaintenanceStatus, PeerStatus, Role, Status};
use seawall_sender::time::Instant;
use seawall_wal::configuration;
use seawall_wal::names::{Epoch, Era, ReplicaId};
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::explain::{Answer, answers};
use crate::outlook::{AtRiskReport, Outlook, outlooks};
use crate::quantity::show_duration;

/// One replica.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Report {
    /// Its name.
    pub replica: String,
    /// Its identity.
    pub id: String,
    /// The process that keeps it.
    pub pid: u32,
    /// The volume.
    pub volume: Volume,
    /// What it is: opening, follower, candidate, starting, primary, faulted, drained.
    pub role: String,
    /// The epoch whose primary it follows or is.
    pub epoch: String,
    /// The highest epoch that it promised.
    pub promised: String,
    /// The primary of that epoch, if there is one.
    pub primary: Option<String>,
    /// How the last restart judged the disk.
    pub restart_rule: String,
    /// Why it is faulted.
    pub fault: Option<String>,
    /// Starts over its life.
    pub boots: u32,
    /// Its frontiers, as LSNs.
    pub frontiers: Frontiers,
    /// Its log ring.
    pub log: Ring,
    /// Whether its copy is whole.
    pub base_complete: bool,
    /// Blocks that are held, while it is not.
    pub base_held_blocks: u64,
    /// Bytes of memory that the index of the log takes.
    pub index_bytes: usize,
    /// Requests admitted and not yet completed.
    pub requests: usize,
    /// Which epoch wrote from where on.
    pub lineage: Vec<Row>,
    /// A promotion that was forced in its history, for as long as a member is a learner; or one elsewhere that puts this copy
    /// on the losing branch.
    pub forced: Option<String>,
    /// Who the members are.
    pub members: Members,
    /// Who works on which replica.
    pub maintenance: Vec<Maintenance>,
    /// On a primary: the others.
    pub peers: Vec<Peer>,
    /// On a primary: what a loss would cost now.
    pub risk: Option<Risk>,
    /// Whether the volume takes writes, as far as this replica knows.
    pub quorum: Quorum,
    /// On a primary, under commit rule `all`: for whom writes wait.
    pub in_sync_set: Option<InSyncSet>,
    /// On a primary that serves: what would become of the volume with each replica gone.
    pub outlook: Vec<Outlook>,
    /// Why it is healthy, writable, promotable and in sync, or not; on a primary, also why its peers are in sync or not.
    pub explain: Vec<Answer>,
    /// Where clients are served.
    pub exports: Vec<String>,
}

/// The volume.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// Its identity.
    pub id: String,
    /// Its size.
    pub bytes: u64,
    /// The commit rule.
    pub commit: String,
    /// The acknowledgement mode.
    pub ack: String,
    /// For how many seconds a request waits for a quorum before it ends with an error; none: for ever.
    pub quorum_patience_seconds: Option<f64>,
    /// Under commit rule `all`: for how many seconds writes wait for one of the in-sync set before it is dropped; none:
    /// for ever, or another commit rule.
    pub all_patience_seconds: Option<f64>,
}

/// The in-sync set of commit rule `all`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct InSyncSet {
    /// For whom a write waits.
    pub members: Vec<String>,
    /// How many voters there are.
    pub voters: usize,
    /// Voters that are not in it.
    pub dropped: Vec<Dropped>,
}

/// A voter that no write waits for.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Dropped {
    /// Its name.
    pub replica: String,
    /// For how many seconds it has been out of the set; none if an earlier primary dropped it.
    pub seconds: Option<f64>,
    /// What kept writes waiting; none if an earlier primary dropped it.
    pub why: Option<String>,
    /// Whether it is in sync again, and joins the set before long.
    pub in_sync: bool,
}

/// The configuration in force.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Members {
    /// Its number: 0 as the volume was formatted, one more with each change.
    pub number: u64,
    /// Its record is not known to be settled yet.
    pub pending: bool,
    /// All members, in the order in which they joined.
    pub members: Vec<Member>,
}

/// A member.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Member {
    /// Its name.
    pub replica: String,
    /// Its identity.
    pub id: String,
    /// Where it listens.
    pub address: String,
    /// What it is: voter, lagging (it votes, and writes do not wait for it), learner, observer.
    pub suffrage: String,
}

impl Members {
    fn new(status: &Status) -> Members {
        let member = |member: &configuration::Member| Member {
            replica: member.name.clone(),
            id: member.replica.to_string(),
            address: member.address.clone(),
            suffrage: member.suffrage.name().to_owned(),
        };
        Members {
            number: status.configuration.number,
            pending: status.pending.is_some(),
            members: status.configuration.members.iter().map(member).collect(),
        }
    }
}

/// Somebody works on a replica.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Maintenance {
    /// On which.
    pub replica: String,
    /// Who.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// Since when, as Unix time in seconds.
    pub since: u64,
    /// For how many seconds more.
    pub left_seconds: f64,
}

impl Maintenance {
    pub(crate) fn new(config: &Config, lease: &MaintenanceStatus, now: Instant) -> Maintenance {
        Maintenance {
            replica: config.name_of(lease.replica),
            owner: lease.owner.clone(),
            reason: lease.reason.clone(),
            since: lease.began_ms / 1000,
            left_seconds: lease.until.since(now).as_secs_f64(),
        }
    }

    /// In words.
    #[must_use]
    pub fn show(&self) -> String {
        let Maintenance { replica, owner, reason, left_seconds, .. } = self;
        let left = show_duration(Duration::from_secs_f64(left_seconds.ceil()));
        format!("{replica} is under maintenance by {owner} for {left} more: {reason}")
    }
}

/// A replica's own frontiers.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Frontiers {
    /// First record in the log.
    pub start: u64,
    /// One past the last.
    pub end: u64,
    /// Written below.
    pub written: u64,
    /// On stable storage below.
    pub durable: u64,
    /// Promised below.
    pub committed: u64,
    /// Durable on a quorum below.
    pub settled: u64,
    /// Home below.
    pub checkpoint: u64,
}

/// A log ring.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Ring {
    /// Bytes in use.
    pub used_bytes: u64,
    /// Its size.
    pub bytes: u64,
}

/// A row of lineage.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Row {
    /// The epoch.
    pub epoch: String,
    /// Its first record.
    pub first: u64,
}

/// A peer, as the primary sees it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Peer {
    /// Its name.
    pub replica: String,
    /// Its identity.
    pub id: String,
    /// Whether it votes.
    pub voter: bool,
    /// The session's state.
    pub state: String,
    /// The live session.
    pub session: Option<String>,
    /// The rule that chose the last plan.
    pub rule: String,
    /// How the last session ended.
    pub last_end: String,
    /// Whether its durable frontier counts for commit.
    pub counts: bool,
    /// Received below.
    pub received: u64,
    /// Written below.
    pub written: u64,
    /// On stable storage below.
    pub durable: u64,
    /// Home below.
    pub home: u64,
    /// Sent and not yet acknowledged.
    pub in_flight_bytes: u64,
    /// Records that it lacks.
    pub lag_records: u64,
    /// Bytes that it lacks, as far as the log still holds them.
    pub lag_bytes: u64,
    /// Promised records that it is not known to have on stable storage.
    pub behind: AtRiskReport,
    /// How a catch-up or rebuild comes along.
    pub progress: Option<Progress>,
}

/// How far a recovery is.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Progress {
    /// The session's phase.
    pub phase: String,
    /// How many are done.
    pub done: u64,
    /// Of how many.
    pub total: u64,
    /// Of what.
    pub unit: String,
    /// How many per second, of late.
    pub per_second: u64,
    /// Seconds to go; none while it stands still.
    pub eta_seconds: Option<u64>,
}

/// What a loss would cost.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Risk {
    /// Copies that hold everything that was promised.
    pub copies: usize,
    /// Copies there should be.
    pub copies_wanted: usize,
    /// How many of these can be lost with nothing that was promised lost.
    pub losses_survived: usize,
    /// Promised records that no other copy is known to have on stable storage.
    pub alone: AtRiskReport,
    /// Promised records that no commit quorum has on stable storage yet: those of `ack = "written"` that a power loss of
    /// a quorum would take back.
    pub volatile: AtRiskReport,
}

/// Whether the volume takes writes, as one replica knows.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Quorum {
    /// Whether it has part in a volume that takes writes.
    pub has: bool,
    /// For how many seconds it has had none.
    pub missing_seconds: Option<f64>,
    /// On a primary: voters whose frontiers count, itself among them.
    pub present: usize,
    /// On a primary: so many must.
    pub needed: usize,
    /// On a primary: whether it holds its lease.
    pub leased: bool,
    /// On a primary: voters that do not count.
    pub missing: Vec<String>,
    /// On a primary, under commit rule `all`: whether it has one again once those are dropped from the in-sync set.
    pub shrinks: bool,
}

impl Report {
    /// What `status` says, in the names of the members that its disk knows, which beat the configuration file's.
    #[must_use]
    pub fn new(config: &Config, status: &Status) -> Report {
        let config = &config.with_members(&status.configuration);
        let epoch = |epoch| epoch_name(config, epoch);
        let reigns = status.epoch.counter > 0;
        let primary = matches!(status.role, Role::Primary | Role::Starting);
        Report {
            replica: config.name_of(status.replica),
            id: status.replica.to_string(),
            pid: std::process::id(),
            volume: Volume {
                name: config.name.clone(),
                id: config.volume.to_string(),
                bytes: config.volume_bytes,
                commit: commit_name(config.commit).to_owned(),
                ack: ack_name(config.ack).to_owned(),
                quorum_patience_seconds: status.policy.patience.map(|patience| patience.as_secs_f64()),
                all_patience_seconds: all_patience(status),
            },
            role: status.role.name().to_owned(),
            epoch: epoch(status.epoch),
            promised: epoch(status.promised),
            primary: reigns.then(|| config.name_of(status.epoch.replica)),
            restart_rule: status.restart_rule.to_owned(),
            fault: status.fault.clone(),
            boots: status.boots,
            frontiers: Frontiers {
                start: status.log_start.0,
                end: status.log_end.0,
                written: status.written.0,
                durable: status.durable.0,
                committed: status.committed.0,
                settled: status.settled.0,
                checkpoint: status.checkpoint.0,
            },
            log: Ring { used_bytes: status.log_used_bytes, bytes: status.log_bytes },
            base_complete: status.base_complete,
            base_held_blocks: status.base_held,
            index_bytes: status.index_bytes,
            requests: status.requests,
            lineage: status.lineage.iter().map(|r| Row { epoch: epoch(r.epoch), first: r.first.0 }).collect(),
            forced: forced(config, status),
            members: Members::new(status),
            maintenance: status.maintenance.iter().map(|l| Maintenance::new(config, l, status.now)).collect(),
            peers: status.peers.iter().map(|peer| Peer::new(config, peer, status.now)).collect(),
            risk: primary.then(|| Risk::new(config, status)),
            quorum: Quorum::new(config, status),
            in_sync_set: (primary && config.commit == CommitRule::All)
                .then(|| InSyncSet::new(config, status)),
            outlook: outlooks(config, status),
            explain: answers(config, status),
            exports: config.nbd.iter().map(|listen| crate::serve::export_uri(config, listen)).collect(),
        }
    }
}

impl Peer {
    fn new(config: &Config, peer: &PeerStatus, now: Instant) -> Peer {
        Peer {
            replica: config.name_of(peer.replica),
            id: peer.replica.to_string(),
            voter: is_voter(config, peer.replica),
            state: peer.state.to_owned(),
            session: peer.session.map(|session| session.to_string()),
            rule: peer.rule.to_owned(),
            last_end: peer.last_end.to_owned(),
            counts: peer.counts,
            received: peer.received.0,
            written: peer.written.0,
            durable: peer.durable.0,
            home: peer.home.0,
            in_flight_bytes: peer.in_flight_bytes,
            lag_records: peer.lag_records,
            lag_bytes: peer.lag_bytes,
            behind: AtRiskReport::new(&peer.behind, now),
            progress: peer.progress.map(|progress| Progress {
                phase: progress.phase.to_owned(),
                done: progress.done,
                total: progress.total,
                unit: progress.unit.name().to_owned(),
                per_second: progress.per_second,
                eta_seconds: progress.eta.map(|eta| eta.as_secs()),
            }),
        }
    }
}

impl Risk {
    /// A copy counts if it is fed and holds all that was promised.
    fn new(config: &Config, status: &Status) -> Risk {
        let held = |peer: &&PeerStatus| peer.counts && peer.durable >= status.settled;
        let voting = status.peers.iter().filter(|peer| is_voter(config, peer.replica));
        let copies = 1 + voting.filter(held).count();
        Risk {
            copies,
            copies_wanted: config.replicas.iter().filter(|replica| replica.voter).count(),
            losses_survived: copies - 1,
            alone: AtRiskReport::new(&status.alone, status.now),
            volatile: AtRiskReport::new(&status.volatile, status.now),
        }
    }
}

impl Quorum {
    fn new(config: &Config, status: &Status) -> Quorum {
        let quorum = &status.quorum;
        let missing = status.peers.iter().filter(|peer| peer.voter && !peer.counts);
        Quorum {
            has: quorum.missing_since.is_none(),
            missing_seconds: quorum.missing_since.map(|since| status.now.since(since).as_secs_f64()),
            present: quorum.present,
            needed: quorum.needed,
            leased: quorum.leased,
            missing: missing.map(|peer| config.name_of(peer.replica)).collect(),
            shrinks: status.shrinks(),
        }
    }
}

impl InSyncSet {
    fn new(config: &Config, status: &Status) -> InSyncSet {
        let lagging = |member: &&configuration::Member| status.configuration.lags(member.replica);
        let dropped = status.configuration.members.iter().filter(lagging).map(|member| {
            let peer = status.peers.iter().find(|peer| peer.replica == member.replica);
            let when = peer.and_then(|peer| peer.dropped);
            Dropped {
                replica: member.name.clone(),
                seconds: when.map(|(at, _)| status.now.since(at).as_secs_f64()),
                why: when.map(|(_, why)| why.to_owned()),
                in_sync: peer.is_none_or(|peer| peer.counts),
            }
        });
        InSyncSet {
            members: status.electorate.awaited().iter().map(|id| config.name_of(*id)).collect(),
            voters: status.configuration.voters().count(),
            dropped: dropped.collect(),
        }
    }
}

fn all_patience(status: &Status) -> Option<f64> {
    let patience = status.policy.all_patience.filter(|_| status.policy.commit == CommitRule::All);
    patience.map(|patience| patience.as_secs_f64())
}

fn is_voter(config: &Config, replica: ReplicaId) -> bool {
    config.replicas.iter().any(|known| known.id == replica && known.voter)
}

/// An epoch with the name of its primary.
#[must_use]
pub fn epoch_name(config: &Config, epoch: Epoch) -> String {
    let name = config.name_of(epoch.replica);
    if epoch.counter == 0 {
        "none".to_owned()
    } else if epoch.era() == Era::FIRST {
        format!("{}@{name}", epoch.count())
    } else {
        format!("{}!{}@{name}", epoch.era().number(), epoch.count())
    }
}

/// What an operator should know of a promotion that was forced.
fn forced(config: &Config, status: &Status) -> Option<String> {
    if let Some(epoch) = status.stranded {
        let epoch = epoch_name(config, epoch);
        return Some(format!(
            "LOSING BRANCH: a promotion was forced elsewhere (epoch {epoch}); this copy waits to be fed by it"
        ));
    }
    let learns = |member: &&configuration::Member| member.suffrage == configuration::Suffrage::Learner;
    let learners: Vec<&str> =
        status.configuration.members.iter().filter(learns).map(|member| member.name.as_str()).collect();
    let forced = status.forced.filter(|_| !learners.is_empty())?;
    Some(format!(
        "FORCED: epoch {} goes on from record {} of {}; not back yet: {}",
        epoch_name(config, forced.epoch),
        forced.first,
        epoch_name(config, forced.before),
        learners.join(", ")
    ))
}

fn commit_name(rule: CommitRule) -> &'static str {
    match rule {
        CommitRule::Majority => "majority",
        CommitRule::All => "all",
        CommitRule::One => "one",
    }
}

fn ack_name(ack: Ack) -> &'static str {
    match ack {
        Ack::Durable => "durable",
        Ack::Written => "written",
    }
}
