//! What a session sees of the world.

use seawall_sender::session_id::SessionId;
use seawall_wal::names::{Lsn, LsnRange, ReplicaId};

use crate::limits::Limits;

/// What a session can see of the world at an event.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Whom the session is for.
    pub replica: ReplicaId,
    /// A session id that was never used; used up by a [`Connect`](crate::effect::Effect::Connect).
    pub fresh: SessionId,
    /// What our log holds.
    pub log: LsnRange,
    /// Below here, records are durable on a commit quorum.
    pub settled: Lsn,
    /// The volume's size in blocks.
    pub volume_blocks: u64,
    /// Whether one more rebuild may run now: the node's cap, the operator's flag.
    pub rebuild_allowed: bool,
    /// How long things may take.
    pub limits: &'a Limits,
}
