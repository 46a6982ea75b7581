//! How far a recovery session is.

use seawall_sender::time::Instant;
use seawall_wal::guard;
use seawall_wal::names::Lsn;

use crate::end::{Budget, End};
use crate::feed::Feed;
use crate::limits::Limits;
use crate::messages::BeginPlan;
use crate::plan::Decision;

/// How far a session is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Phase {
    /// Waiting for the link.
    Connecting {
        /// Until then.
        deadline: Instant,
    },
    /// Waiting for the welcome.
    Welcoming {
        /// Until then.
        deadline: Instant,
    },
    /// Waiting for the facts.
    Greeting {
        /// Until then.
        deadline: Instant,
    },
    /// Waiting for the plan to be true.
    Beginning {
        /// Until then.
        deadline: Instant,
        /// What was decided.
        decision: Decision,
        /// In the replica's words.
        plan: BeginPlan,
        /// In sync when durable below here.
        target: Lsn,
    },
    /// Fed, and missing what was there when it began.
    CatchingUp {
        /// How the feed goes.
        feed: Feed,
        /// In sync when durable below here.
        target: Lsn,
        /// At the latest.
        deadline: Instant,
    },
    /// Fed, and missing base blocks.
    Copying {
        /// How the feed goes; its progress is that of the base.
        feed: Feed,
        /// The first block that isn't held.
        held: u64,
    },
    /// Fed, with all base blocks, and missing records that some of them hold already.
    Closing {
        /// How the feed goes.
        feed: Feed,
        /// The base is whole when durable below here.
        frontier: Lsn,
    },
    /// Fed, with a whole base that is to be proven equal.
    Comparing {
        /// How the feed goes.
        feed: Feed,
        /// Until then.
        deadline: Instant,
    },
    /// Fed, and counting.
    InSync {
        /// How the feed goes.
        feed: Feed,
        /// Since then.
        since: Instant,
    },
}

impl Phase {
    /// Its name, for notices, violations and status.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Phase::Connecting { .. } => "connecting",
            Phase::Welcoming { .. } => "welcoming",
            Phase::Greeting { .. } => "greeting",
            Phase::Beginning { .. } => "beginning",
            Phase::CatchingUp { .. } => "catching-up",
            Phase::Copying { .. } => "copying",
            Phase::Closing { .. } => "closing",
            Phase::Comparing { .. } => "comparing",
            Phase::InSync { .. } => "in-sync",
        }
    }

    pub(crate) fn deadline(&self, limits: &Limits) -> Instant {
        match self {
            Phase::Connecting { deadline }
            | Phase::Welcoming { deadline }
            | Phase::Greeting { deadline }
            | Phase::Beginning { deadline, .. } => *deadline,
            Phase::CatchingUp { feed, deadline, .. } | Phase::Comparing { feed, deadline } => {
                feed.deadline(limits).min(*deadline)
            }
            Phase::Copying { feed, .. } | Phase::Closing { feed, .. } | Phase::InSync { feed, .. } => {
                feed.deadline(limits)
            }
        }
    }

    /// Why the session ends now, if it does.
    pub(crate) fn overdue(&self, now: Instant, limits: &Limits) -> Option<End> {
        let late = |deadline, end| (!guard!("deadline-ends", now < deadline)).then_some(end);
        match *self {
            Phase::Connecting { deadline }
            | Phase::Welcoming { deadline }
            | Phase::Greeting { deadline }
            | Phase::Beginning { deadline, .. } => late(deadline, End::DeadlinePassed),
            Phase::CatchingUp { feed, deadline, .. } => feed
                .overdue(now, limits)
                .or_else(|| late(deadline, End::BudgetSpent { budget: Budget::Time })),
            Phase::Comparing { feed, deadline } => {
                feed.overdue(now, limits).or_else(|| late(deadline, End::DeadlinePassed))
            }
            Phase::Copying { feed, .. } | Phase::Closing { feed, .. } | Phase::InSync { feed, .. } => {
                feed.overdue(now, limits)
            }
        }
    }
}
