//! What a recovery session asks for.

use seawall_sender::session_id::SessionId;
use seawall_sender::time::Instant;
use seawall_wal::names::Lsn;

use crate::end::End;
use crate::messages::BeginPlan;
use crate::plan::Decision;

/// One thing to do. The table of [`session`](crate::session) says what each obliges to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Effect {
    /// Open a link.
    Connect {
        /// For this new session.
        session: SessionId,
    },
    /// Say who we are.
    SendHello {
        /// In this session.
        session: SessionId,
    },
    /// Say what our log holds, and ask for facts.
    SendGreet {
        /// In this session.
        session: SessionId,
    },
    /// Give the plan, and pin the log for it.
    SendBegin {
        /// In this session.
        session: SessionId,
        /// What was decided, and why.
        decision: Decision,
        /// The plan in the replica's words.
        plan: BeginPlan,
        /// The frozen target of the catch-up.
        target: Lsn,
    },
    /// Feed the replica.
    StartFeed {
        /// In this session.
        session: SessionId,
        /// From here on.
        from: Lsn,
    },
    /// Copy base blocks.
    StartBase {
        /// In this session.
        session: SessionId,
        /// As of here or later.
        cut: Lsn,
        /// From this block on.
        held: u64,
    },
    /// Say that all base blocks were sent.
    SendBaseDone {
        /// In this session.
        session: SessionId,
        /// None of them holds a record at or above here.
        frontier: Lsn,
    },
    /// Compare the bytes.
    AskDigest {
        /// In this session.
        session: SessionId,
        /// At an LSN at or above here.
        frontier: Lsn,
    },
    /// The replica's durable frontier counts for commit from now on, or no more.
    CountVote {
        /// In this session.
        session: SessionId,
        /// Whether it counts.
        counts: bool,
    },
    /// End the session.
    Disconnect {
        /// This one.
        session: SessionId,
        /// Why it ends.
        end: End,
        /// In which phase it was.
        phase: &'static str,
        /// What comes after it.
        next: Next,
    },
}

/// What comes after a session.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Next {
    /// Another one.
    Retry {
        /// Then.
        due: Instant,
    },
    /// Another one on a slow clock: this one ended like the one before, for the same facts.
    Park {
        /// Then.
        due: Instant,
    },
}
