//! A voter whose device was made anew under its old identity: what it promised, and to whom it granted a lease, is
//! forgotten. Until nothing can hang on that any more, its answers count for nothing and its copy is not called whole.
//!
//! What it forgot may be part of a majority that has a later primary than us, or is just about to have one. Two things
//! together rule that out, both by answers of the others to a pulse that was sent after it told what it had forgotten:
//!
//! * So many of them still follow us that, without one of those, no majority came about with what it forgot.
//! * No candidate still holds a promise that it forgot, and may add another one to it later. A candidate has promised
//!   itself before it asks: it is not among those who answer. So either everybody else has answered, or so much time has
//!   passed since it told us that the round in which it was asked is over by any clock.

use core::time::Duration;

use seawall_sender::session_id::SessionId;
use seawall_sender::time::Instant;
use seawall_wal::names::{Lsn, ReplicaId};

use crate::bait::Bait;
use crate::core::Core;
use crate::notice::Notice;

/// What its primary knows of a forgetful peer, for as long as one session lasts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Amnesia {
    /// It told its facts then.
    since: Instant,
    /// The first pulse that was sent after that.
    pulse: u64,
    /// The digest that proves its copy is wanted by that session, and held back.
    digest: Option<SessionId>,
}

impl Core {
    /// A peer told its facts: whether it remembers what it promised.
    pub(crate) fn note_memory(&mut self, replica: ReplicaId, promises_lost: bool) {
        let since = self.now;
        let Some(primary) = self.primary.as_mut() else { return };
        let amnesia = promises_lost.then(|| Amnesia { since, pulse: primary.pulses.want(), digest: None });
        self.lane_mut(replica).amnesia = amnesia;
        if promises_lost {
            self.notice(Notice::PromisesLost { replica });
        }
    }

    /// Whether what a voter answers says something of what it promises.
    pub(crate) fn remembers(&self, replica: ReplicaId) -> bool {
        // Invariant: forgotten-promises-bind.
        let lane = self.lanes.get(&replica);
        self.setup.baited(Bait::BlankConfirms) || lane.is_none_or(|lane| lane.amnesia.is_none())
    }

    /// The digest that makes a rebuilt copy whole is wanted: at once, or when nothing hangs on what it forgot.
    pub(crate) fn prove_copy(&mut self, replica: ReplicaId, session: SessionId) {
        let hold_back = !self.setup.baited(Bait::WholeUnconfirmed);
        if let Some(amnesia) = self.lane_mut(replica).amnesia.as_mut().filter(|_| hold_back) {
            amnesia.digest = Some(session);
            return self.recollect();
        }
        // Not at the log's end: what is not settled may wait for this very peer to count.
        let end = self.setup.baited(Bait::DigestAtEnd);
        let at: Lsn = if end { self.log.end() } else { self.settled };
        self.plan_digest(replica, session, at);
    }

    /// Pulses were answered, or time passed: whose forgotten promises can do no harm any more?
    pub(crate) fn recollect(&mut self) {
        let proven = |(replica, lane): (&ReplicaId, &crate::lane::Lane)| {
            let amnesia = lane.amnesia.filter(|amnesia| self.is_past(amnesia))?;
            Some((*replica, amnesia.digest?))
        };
        let proven: alloc::vec::Vec<_> = self.lanes.iter().filter_map(proven).collect();
        for (replica, session) in proven {
            // Its answers count when it has made its copy whole, and not before: until then it forgets again with the
            // next restart.
            if let Some(amnesia) = self.lane_mut(replica).amnesia.as_mut() {
                amnesia.digest = None;
            }
            self.notice(Notice::PromisesProven { replica });
            let at = self.settled;
            self.plan_digest(replica, session, at);
        }
    }

    fn is_past(&self, amnesia: &Amnesia) -> bool {
        let Some(primary) = self.primary.as_ref() else { return false };
        let confirmed = primary.pulses.confirmed();
        if confirmed < amnesia.pulse {
            return false;
        }
        if self.setup.baited(Bait::PromiseOutlives) {
            return true;
        }
        let forgot = |replica| self.lanes.get(&replica).is_some_and(|lane| lane.amnesia.is_some());
        let mut others = self.electorate.voters().filter(|voter| *voter != self.me() && !forgot(*voter));
        if others.all(|replica| primary.pulses.answered_by(replica) >= amnesia.pulse) {
            return true;
        }
        let sent = primary.pulses.sent_at(confirmed);
        primary.clocks_trusted
            && sent.is_some_and(|sent| amnesia.since.after(self.round_by_any_clock()) <= sent)
    }

    /// How long, by our clock, a round of candidacy may last by anybody's.
    fn round_by_any_clock(&self) -> Duration {
        let percent = self.setup.limits.clock_error_percent;
        self.setup.limits.candidacy_round * (100 + percent) / (100 - percent)
    }
}
