//! What happens to a recovery session.

use seawall_sender::session_id::SessionId;
use seawall_sender::violation::Violation;
use seawall_wal::names::Lsn;

use crate::messages::Refusal;
use crate::plan::Decision;

/// One thing that happened.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Event {
    /// Time passed.
    Ticked,
    /// The replica may be back.
    Prompted,
    /// The present session is void.
    Superseded {
        /// Made so by this.
        by: Superseder,
    },
    /// Something happened in a session.
    Session {
        /// In which one.
        session: SessionId,
        /// What.
        news: News,
    },
}

/// What makes a session void.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Superseder {
    /// Another reign.
    Epoch,
    /// The replica's address is another one.
    Address,
    /// The member list or the replica's place in it.
    Membership,
    /// The primary ends its service.
    Shutdown,
}

impl Superseder {
    /// Its name, for notices and status.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Superseder::Epoch => "epoch",
            Superseder::Address => "address",
            Superseder::Membership => "membership",
            Superseder::Shutdown => "shutdown",
        }
    }
}

/// What happened in a session.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum News {
    /// The link is open.
    Connected,
    /// The replica welcomed us.
    Welcomed,
    /// The replica's facts came, and this is what was decided.
    Decided(Decision),
    /// The plan is true.
    Begun {
        /// Where the replica's log ends.
        end: Lsn,
        /// The first base block that it doesn't hold.
        held: u64,
    },
    /// The replica refused.
    Declined {
        /// Why.
        why: Refusal,
    },
    /// The replica lives, and is so far.
    Acked {
        /// Its log is on stable storage below here.
        durable: Lsn,
    },
    /// Base blocks are at home.
    BaseAcked {
        /// The first that isn't.
        held: u64,
    },
    /// The digests of both sides are known.
    DigestCompared {
        /// Whether they are equal.
        equal: bool,
    },
    /// The session's pin became too expensive.
    RetentionSpent,
    /// The replica broke a rule.
    Violated {
        /// Which.
        violation: Violation,
    },
    /// The link is gone.
    Lost,
}

impl News {
    /// Its name, for notices and violations.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            News::Connected => "connected",
            News::Welcomed => "welcome",
            News::Decided(_) => "facts",
            News::Begun { .. } => "begun",
            News::Declined { .. } => "refuse",
            News::Acked { .. } => "ack",
            News::BaseAcked { .. } => "base-ack",
            News::DigestCompared { .. } => "digest",
            News::RetentionSpent => "retention-spent",
            News::Violated { .. } => "violation",
            News::Lost => "lost",
        }
    }
}
