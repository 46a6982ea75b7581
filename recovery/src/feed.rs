//! How the feed of a session goes: frontier, signs of life, signs of progress.

use seawall_sender::time::Instant;
use seawall_sender::violation::Violation;
use seawall_wal::guard;
use seawall_wal::names::{Lsn, LsnRange};

use crate::end::{Budget, End};
use crate::limits::Limits;

/// How a feed goes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Feed {
    /// The replica's log is on stable storage below here.
    pub durable: Lsn,
    /// Last sign of life.
    pub heard: Instant,
    /// Since when there is something to do and nothing got done; `None` when there is nothing to do.
    pub stuck: Option<Instant>,
}

impl Feed {
    pub(crate) const fn new(durable: Lsn, now: Instant) -> Feed {
        Feed { durable, heard: now, stuck: Some(now) }
    }

    /// A sign of life, with a frontier.
    // Invariant: acked-never-past-log.
    pub(crate) fn on_acked(self, durable: Lsn, now: Instant, log: LsnRange) -> Result<Feed, Violation> {
        if !guard!("session-acked-within-log", durable <= log.end) {
            return Err(Violation::AckPastSent { acked: durable, sent: log.end });
        }
        let moved = durable > self.durable;
        let stuck = if moved { Some(now) } else { self.stuck };
        Ok(Feed { durable: durable.max(self.durable), heard: now, stuck })
    }

    /// A sign of life that is no progress, whatever the frontier did.
    pub(crate) const fn but_stuck(self, stuck: Option<Instant>) -> Feed {
        Feed { stuck, ..self }
    }

    /// Progress.
    pub(crate) const fn moved(self, now: Instant) -> Feed {
        Feed { heard: now, stuck: Some(now), ..self }
    }

    /// In sync there is only something to do while the log has more than the replica.
    pub(crate) fn idling(self, now: Instant, log: LsnRange) -> Feed {
        let stuck = if self.durable < log.end { self.stuck.or(Some(now)) } else { None };
        Feed { stuck, ..self }
    }

    pub(crate) fn deadline(&self, limits: &Limits) -> Instant {
        let silent = self.heard.after(limits.silence);
        self.stuck.map_or(silent, |since| silent.min(since.after(limits.no_progress)))
    }

    /// Why it ends now, if it does.
    pub(crate) fn overdue(&self, now: Instant, limits: &Limits) -> Option<End> {
        if !guard!("silence-ends", now < self.heard.after(limits.silence)) {
            Some(End::Silent)
        } else if !guard!(
            "standstill-ends",
            self.stuck.is_none_or(|since| now < since.after(limits.no_progress))
        ) {
            Some(End::BudgetSpent { budget: Budget::NoProgress })
        } else {
            None
        }
    }
}
