//! The in-sync set of commit rule `all`: a write waits for each voter in it. Who keeps writes waiting for too long is
//! dropped from it, and who keeps up again joins it; either is a record of the log, begun by the primary.
//!
//! Elections do not know the set: a majority of all voters elects, as ever. The set is more than half of the voters, so
//! every majority meets it, and whoever was dropped meets somebody who knows.

use core::time::Duration;

use seawall_recovery::phase::Phase;
use seawall_recovery::session::State;
use seawall_sender::time::Instant;
use seawall_wal::configuration::{Configuration, Member, Suffrage};
use seawall_wal::names::{Lsn, ReplicaId};

use crate::bait::Bait;
use crate::commit::majority;
use crate::core::Core;
use crate::lane::Lane;
use crate::notice::Notice;
use crate::setup::CommitRule;

/// A peer that is dropped again and again waits at most so many times as long, as a power of two.
const DOUBLINGS_MAX: u32 = 6;
/// Who was in the set for so many times the patience has a clean record again.
const FORGIVEN_AFTER: u32 = 16;

/// Something that a majority of the voters has and a peer lacks.
#[derive(Clone, Copy, Default, Debug)]
struct Debt {
    /// All below this, and since when.
    owed: Option<(Lsn, Instant)>,
}

impl Debt {
    /// A peer has everything below `held`, and a majority everything below `most`. For how long it had lacked what it
    /// has now, if it lacked anything.
    fn note(&mut self, now: Instant, held: Lsn, most: Lsn) -> Option<Duration> {
        let paid = self.owed.take_if(|(owed, _)| held >= *owed).map(|(_, since)| now.since(since));
        if self.owed.is_none() && held < most {
            self.owed = Some((most, now));
        }
        paid
    }

    fn since(&self) -> Option<Instant> {
        self.owed.map(|(_, since)| since)
    }
}

/// How a peer keeps up with a majority of the voters, during one reign.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Pace {
    durable: Debt,
    written: Debt,
    /// It has kept up since then.
    steady_since: Option<Instant>,
    /// How often it was dropped lately.
    drops: u32,
    /// When it was dropped last, and why.
    dropped: Option<(Instant, &'static str)>,
    joined: Option<Instant>,
}

/// How far somebody is.
#[derive(Clone, Copy)]
struct Reached {
    durable: Lsn,
    written: Lsn,
}

impl Pace {
    fn note(&mut self, now: Instant, counts: bool, held: Reached, most: Reached, patience: Duration) {
        let paid = self.durable.note(now, held.durable, most.durable);
        let paid = paid.max(self.written.note(now, held.written, most.written));
        if !counts {
            self.steady_since = None;
        } else if paid.is_some_and(|time| time * 2 > patience) {
            self.steady_since = Some(now);
        } else if paid.is_some() || self.late_since().is_none() {
            self.steady_since.get_or_insert(now);
        }
    }

    /// Since when it lacks something.
    fn late_since(&self) -> Option<Instant> {
        self.durable.since().into_iter().chain(self.written.since()).min()
    }

    /// When it will have lacked something for too long.
    fn late_at(&self, patience: Duration) -> Option<Instant> {
        self.late_since().map(|since| since.after(patience))
    }

    /// When it will have kept up for long enough to join the set: at once, if it was not dropped lately.
    fn steady_at(&self, patience: Duration) -> Option<Instant> {
        let dwell = match self.drops {
            0 => Duration::ZERO,
            drops => patience * (1 << (drops - 1).min(DOUBLINGS_MAX)),
        };
        self.steady_since.map(|since| since.after(dwell))
    }

    fn is_steady(&self, now: Instant, patience: Duration) -> bool {
        let lags = self.late_at(patience / 2).is_some_and(|late| late <= now);
        !lags && self.steady_at(patience).is_some_and(|steady| steady <= now)
    }

    fn on_dropped(&mut self, now: Instant, why: &'static str, patience: Duration) {
        let forgiven = self.joined.is_some_and(|joined| joined.after(patience * FORGIVEN_AFTER) <= now);
        self.drops = if forgiven { 1 } else { self.drops.saturating_add(1) };
        self.dropped = Some((now, why));
        self.steady_since = None;
    }

    fn on_joined(&mut self, now: Instant) {
        self.dropped = None;
        self.joined = Some(now);
    }

    /// When it was dropped, and why, if that was in this reign and it has not joined again.
    pub(crate) fn dropped(&self) -> Option<(Instant, &'static str)> {
        self.dropped
    }
}

impl Lane {
    /// What keeps writes waiting for it.
    fn lateness(&self) -> &'static str {
        match &self.session {
            State::Live(live) if matches!(live.phase, Phase::InSync { .. }) => "its log is too slow",
            State::Live(_) if self.is_rebuilding() => "its copy is being rebuilt",
            State::Live(_) if self.speaks() => "it catches up",
            State::Live(_) | State::Idle { .. } | State::Parked { .. } => "it can't be reached",
        }
    }
}

/// What becomes of the set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Act {
    /// It is not waited for any more.
    Drop(ReplicaId),
    /// It is waited for.
    Join(ReplicaId),
}

impl Core {
    /// No election loses anything below this: in this reign a majority of the voters has had it on stable storage,
    /// the reign's own start among it. Zero if there is no such thing.
    pub(crate) fn sure(&self) -> Lsn {
        self.primary.as_ref().map_or(Lsn::ZERO, |primary| primary.sure)
    }

    /// Whether the next change may begin: no election loses the one before.
    // Invariant: one-change-at-a-time.
    pub(crate) fn is_sure_of_the_newest(&self) -> bool {
        self.membership.pending().is_none_or(|at| at < self.sure())
    }

    /// A majority of the voters has everything below `durable` on stable storage, and everything below `written` in the
    /// log.
    pub(crate) fn note_majority(&mut self, durable: Lsn, written: Lsn) {
        let Some(primary) = self.primary.as_mut().filter(|primary| durable > primary.first) else { return };
        let before = primary.sure;
        primary.sure = before.max(durable);
        primary.spread = primary.spread.max(written);
        let most = Reached { durable: primary.sure, written: primary.spread };
        if self.membership.pending().is_some_and(|at| before <= at && at < most.durable) {
            self.elect_anew();
        }
        self.note_paces(most);
    }

    fn note_paces(&mut self, most: Reached) {
        let Some(patience) = self.all_patience() else { return };
        let (now, newest) = (self.now, self.membership.newest());
        for (replica, lane) in &mut self.lanes {
            if !newest.votes(*replica) {
                continue;
            }
            let (counts, frontiers) = (lane.counts(), lane.sender.frontiers());
            let reached = |lsn| if counts { lsn } else { Lsn::ZERO };
            let held = Reached { durable: reached(frontiers.durable), written: reached(frontiers.written) };
            lane.pace.note(now, counts, held, most, patience);
        }
    }

    /// How long a member of the set may keep writes waiting; none if there is no set, or it never shrinks.
    fn all_patience(&self) -> Option<Duration> {
        self.setup.limits.all_patience.filter(|_| self.setup.commit == CommitRule::All)
    }

    /// See to the set.
    pub(crate) fn set_due(&mut self) {
        // This runs in every step: elsewhere nobody waits for the set.
        if self.setup.commit != CommitRule::All {
            return;
        }
        let Some(act) = self.set_act() else { return };
        let (replica, suffrage) = match act {
            Act::Drop(replica) => (replica, Suffrage::Lagging),
            Act::Join(replica) => (replica, Suffrage::Voter),
        };
        let newest = self.membership.newest();
        let Some(member) = newest.member(replica) else { return };
        let next = newest.with(Member { suffrage, ..member.clone() });
        let number = next.number;
        // Invariant: set-is-a-majority.
        assert!(
            next.awaits_a_majority() || self.setup.baited(Bait::DropBelowMajority),
            "every majority of the voters meets the in-sync set"
        );
        // Full logs have room again some day.
        if self.begin_configuration(&next, None).is_err() {
            return;
        }
        let (now, patience) = (self.now, self.all_patience().unwrap_or_default());
        let why = self.lanes.get(&replica).map_or("", Lane::lateness);
        if let Some(lane) = self.lanes.get_mut(&replica) {
            match act {
                Act::Drop(_) => lane.pace.on_dropped(now, why, patience),
                Act::Join(_) => lane.pace.on_joined(now),
            }
        }
        self.notice(match act {
            Act::Drop(replica) => Notice::SetShrunk { replica, number, why },
            Act::Join(replica) => Notice::SetGrown { replica, number },
        });
    }

    fn set_act(&self) -> Option<Act> {
        let primary = self.primary.as_ref()?;
        if primary.sure == Lsn::ZERO || !self.is_sure_of_the_newest() {
            return None;
        }
        let newest = self.membership.newest();
        let returned = |replica: &ReplicaId| newest.lags(*replica) && self.is_in_sync(*replica);
        // Alone it could begin no more than a record that nobody settles.
        let decides = self.electorate.is_majority(|voter| self.is_in_sync(voter));
        if let Some(late) =
            self.latest(newest).filter(|_| decides || self.setup.baited(Bait::DropBelowMajority))
        {
            if self.may_shrink(newest) {
                return Some(Act::Drop(late));
            }
            // Without it the set would be too small; with whoever is there again it is not.
            return newest.voters().find(returned).map(Act::Join);
        }
        if primary.handing.is_some() || self.drain.is_some() {
            return None;
        }
        let patience = self.all_patience();
        let steady = |replica: &ReplicaId| match (self.lanes.get(replica), patience) {
            (Some(lane), Some(patience)) => lane.pace.is_steady(self.now, patience),
            (Some(_), None) | (None, _) => true,
        };
        newest.voters().find(|replica| returned(replica) && steady(replica)).map(Act::Join)
    }

    /// Who of the set has kept writes waiting for too long, and longest.
    fn latest(&self, newest: &Configuration) -> Option<ReplicaId> {
        let patience = self.all_patience()?;
        let late = |replica: ReplicaId| {
            let at = self.lanes.get(&replica)?.pace.late_at(patience)?;
            Some((at, replica)).filter(|(at, _)| *at <= self.now)
        };
        newest.awaited().filter_map(late).min().map(|(_, replica)| replica)
    }

    /// Whether the set stays more than half of the voters without one of it.
    fn may_shrink(&self, newest: &Configuration) -> bool {
        // Invariant: set-is-a-majority.
        newest.awaited().count() > majority(newest.voters().count())
            || self.setup.baited(Bait::DropBelowMajority)
    }

    /// When the set changes by itself, if nothing else happens.
    pub(crate) fn set_deadline(&self) -> Option<Instant> {
        let patience = self.all_patience()?;
        self.primary.as_ref()?;
        let newest = self.membership.newest();
        let due = |(replica, lane): (&ReplicaId, &Lane)| match newest.member(*replica)?.suffrage {
            Suffrage::Voter => lane.pace.late_at(patience),
            Suffrage::Lagging if lane.counts() => lane.pace.steady_at(patience),
            Suffrage::Lagging | Suffrage::Observer | Suffrage::Learner => None,
        };
        self.lanes.iter().filter_map(due).filter(|due| *due > self.now).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_nanos(100);

    fn at(lsn: u64) -> Reached {
        Reached { durable: Lsn(lsn), written: Lsn(lsn) }
    }

    #[test]
    fn who_is_always_a_little_behind_is_never_late() {
        let mut pace = Pace::default();
        for step in 0..100 {
            pace.note(Instant(step * 30), true, at(step), at(step + 3), PATIENCE);
            assert_eq!(pace.late_at(PATIENCE).filter(|late| *late <= Instant(step * 30)), None, "{step}");
        }
    }

    #[test]
    fn who_lacks_the_same_for_too_long_is_late_whatever_else_it_gets() {
        let mut pace = Pace::default();
        pace.note(Instant(0), true, at(4), at(9), PATIENCE);
        for step in 1..5 {
            pace.note(Instant(step * 20), true, at(4 + step), at(20), PATIENCE);
        }
        assert_eq!(pace.late_at(PATIENCE), Some(Instant(100)));
        pace.note(Instant(99), true, at(9), at(20), PATIENCE);
        assert_eq!(pace.late_at(PATIENCE), Some(Instant(199)));
    }

    #[test]
    fn who_is_in_no_session_lacks_everything() {
        let mut pace = Pace::default();
        pace.note(Instant(7), false, at(0), at(1), PATIENCE);
        assert_eq!(pace.late_at(PATIENCE), Some(Instant(107)));
        assert!(!pace.is_steady(Instant(300), PATIENCE));
    }

    #[test]
    fn who_is_dropped_again_and_again_stays_out_for_longer_and_longer() {
        let mut pace = Pace::default();
        let mut now = Instant(0);
        for drops in 0..4 {
            pace.note(now, true, at(5), at(5), PATIENCE);
            let dwell = if drops == 0 { 0 } else { 100 << (drops - 1) };
            assert_eq!(pace.steady_at(PATIENCE), Some(Instant(now.0 + dwell)), "after {drops}");
            now = Instant(now.0 + dwell);
            assert!(pace.is_steady(now, PATIENCE));
            pace.on_joined(now);
            now = Instant(now.0 + 10);
            pace.on_dropped(now, "slow", PATIENCE);
        }
        pace.note(now, true, at(5), at(5), PATIENCE);
        pace.on_joined(now);
        now = Instant(now.0 + 1600);
        pace.on_dropped(now, "slow", PATIENCE);
        pace.note(now, true, at(5), at(5), PATIENCE);
        assert_eq!(pace.steady_at(PATIENCE), Some(Instant(now.0 + 100)), "it was long enough in the set");
    }
}
