//! What a replica shows of itself. Derived when asked for, never stored, never read back.

use alloc::string::String;
use alloc::vec::Vec;

use seawall_recovery::progress::Progress;
use seawall_sender::session_id::SessionId;
use seawall_wal::names::{Epoch, LineageRow, Lsn, ReplicaId};

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
    /// On a primary: its peers.
    pub peers: Vec<PeerStatus>,
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
    /// Whether its durable frontier counts for commit.
    pub counts: bool,
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
