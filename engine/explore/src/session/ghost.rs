//! What somebody who only watches a session knows of it, and what must hold of what he sees. Says once more, without
//! the machine's own words, what a session is for.

use std::time::Duration;

use seawall_recovery::backoff;
use seawall_recovery::messages::{BeginPlan, Refusal};
use seawall_recovery::plan::{PlanFacts, RefuseWhy, Trust};
use seawall_recovery::session::{Effect, End, Event, Live, News, Next, Past, Phase, Setback, State};
use seawall_sender::time::Instant;
use seawall_sender::violation::Violation;
use seawall_wal::names::Lsn;

use super::{BLOCKS, LIMITS, REPLICA, Room, is_fault};
use crate::search::{Breach, rule};

/// What is known by watching.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Ghost {
    /// The present phase began.
    entered: Instant,
    /// The replica was last heard of while it was fed.
    heard: Instant,
    /// It last came closer to what the phase waits for.
    moved: Instant,
    /// What was decided upon, while that is being carried out.
    judged: Option<PlanFacts>,
    /// What it was told to make true.
    plan: Option<BeginPlan>,
    /// It is in sync when durable below here.
    target: Lsn,
    /// It said so in this session.
    durable: Lsn,
    /// It holds the blocks below.
    held: u64,
    /// When the base was whole: the settled frontier of that moment.
    whole: Option<Lsn>,
    /// Its digest was ours.
    equal: bool,
    /// Not to be tried again before.
    not_before: Instant,
    /// Failed attempts since it was last steadily in sync.
    attempts: u32,
    /// The last end that will come again.
    setback: Option<Setback>,
    /// Its bytes were wrong, and were not replaced since.
    distrusted: bool,
}

impl Ghost {
    pub(super) fn new(now: Instant) -> Ghost {
        Ghost {
            entered: now,
            heard: now,
            moved: now,
            judged: None,
            plan: None,
            target: Lsn::ZERO,
            durable: Lsn::ZERO,
            held: 0,
            whole: None,
            equal: false,
            not_before: now,
            attempts: 0,
            setback: None,
            distrusted: false,
        }
    }

    /// The same at another moment. What is long over is forgotten.
    pub(super) fn moved(self, back: impl Fn(Instant) -> Instant) -> Ghost {
        let oldest = Instant(super::NOW.0 - 5_000_000_000);
        let back = |at| back(at).max(oldest);
        Ghost {
            entered: back(self.entered),
            heard: back(self.heard),
            moved: back(self.moved),
            not_before: back(self.not_before).max(super::NOW),
            attempts: self.attempts.min(super::ATTEMPTS_MAX),
            ..self
        }
    }

    /// Whether what the machine did is right, and what is known after it.
    pub(super) fn judge(
        mut self,
        room: &Room,
        now: Instant,
        event: &Event,
        after: &State,
        violation: Option<Violation>,
        out: &[Effect],
    ) -> Result<Ghost, Breach> {
        let before = room.state;
        if let Event::Session { session, .. } = event
            && before.session() != Some(*session)
        {
            // Whatever it is: it is not of this session.
            let nothing = *after == before && out.is_empty();
            rule("stale-session-changes-nothing", nothing, || {
                format!("{} became {}", before.name(), after.name())
            })?;
            return Ok(self);
        }
        if let Event::Session { news, .. } = event
            && violation.is_none()
        {
            self.hear(room, now, news)?;
        }
        match event {
            Event::Superseded { .. } => (self.attempts, self.setback, self.not_before) = (0, None, now),
            Event::Prompted => self.not_before = self.not_before.min(now.after(LIMITS.backoff_min)),
            Event::Ticked | Event::Session { .. } => {}
        }
        for effect in out {
            self.check_effect(room, now, effect, is_fault(violation))?;
        }
        if before.name() != after.name() || out.iter().any(|effect| matches!(effect, Effect::Connect { .. }))
        {
            (self.entered, self.moved, self.heard) = (now, now, now);
        }
        self.check_time(now, event, after)?;
        self.check_votes(after)?;
        match after {
            State::Idle { .. } | State::Parked { .. } => {
                (self.plan, self.target, self.durable) = (None, Lsn::ZERO, Lsn::ZERO);
                (self.held, self.whole, self.equal, self.judged) = (0, None, false, None);
            }
            State::Live(_) => {}
        }
        Ok(self)
    }

    /// The machine took this for true.
    fn hear(&mut self, room: &Room, now: Instant, news: &News) -> Result<(), Breach> {
        match *news {
            News::Begun { end, held } => {
                let plan = room.plan();
                let told = plan.map(|plan| (plan.feed_from(), plan.base_from().unwrap_or(BLOCKS)));
                rule("begun-as-told", told == Some((end, held)), || {
                    format!("fed although it began at {end:?} with {held} blocks, told {told:?}")
                })?;
                (self.plan, self.durable, self.held) = (plan, end, held);
            }
            News::Acked { durable } => {
                rule("acked-never-past-log", durable <= room.log_end, || {
                    format!("{durable:?} of a log that ends at {:?} counts", room.log_end)
                })?;
                if durable > self.durable && !matches!(room.phase(), Some(Phase::Copying { .. })) {
                    self.moved = now;
                }
                (self.durable, self.heard) = (self.durable.max(durable), now);
            }
            News::BaseAcked { held } => {
                let sound = (self.held..=BLOCKS).contains(&held);
                rule("base-frontier-moves-on", sound, || {
                    format!("{held} blocks after {} of {BLOCKS} count", self.held)
                })?;
                if held > self.held {
                    self.moved = now;
                }
                if !matches!(room.phase(), Some(Phase::Closing { .. } | Phase::Comparing { .. })) {
                    self.heard = now;
                }
                self.held = held;
            }
            News::DigestCompared { equal } => {
                self.equal = equal;
                self.target = room.log_end;
            }
            News::Decided(decision) => self.judged = Some(decision.facts),
            News::Connected
            | News::Welcomed
            | News::Declined { .. }
            | News::RetentionSpent
            | News::Violated { .. }
            | News::Lost => {}
        }
        Ok(())
    }

    fn check_effect(
        &mut self,
        room: &Room,
        now: Instant,
        effect: &Effect,
        faulty: bool,
    ) -> Result<(), Breach> {
        match *effect {
            Effect::Connect { session } => {
                rule("sessions-have-names-of-their-own", session == super::FRESH, || {
                    format!("{session} again")
                })?;
                rule("retries-never-spin", now >= self.not_before, || {
                    format!("tried again {:?} too early", self.not_before.since(now))
                })?;
            }
            Effect::SendBegin { plan, target, .. } => {
                let copies = plan.base_from().is_some();
                rule("rebuilds-have-their-turn", !copies || room.rebuild_allowed, || "out of turn".into())?;
                self.target = target;
            }
            Effect::StartFeed { from, .. } => {
                rule("log-is-dense", from == self.durable, || {
                    format!("fed from {from:?}, its log ends at {:?}", self.durable)
                })?;
            }
            Effect::StartBase { held, .. } => {
                if held == 0 {
                    self.distrusted = false;
                }
            }
            Effect::SendBaseDone { frontier, .. } => {
                rule("base-is-whole-when-said", self.held == BLOCKS, || {
                    format!("{} of {BLOCKS} blocks", self.held)
                })?;
                self.whole = Some(frontier);
            }
            Effect::AskDigest { frontier, .. } => {
                let closed = self.whole.is_some_and(|whole| self.durable >= whole && frontier >= whole);
                rule("digest-of-a-whole-base", closed, || {
                    format!("durable {:?}, base whole from {:?} on", self.durable, self.whole)
                })?;
            }
            Effect::CountVote { counts: true, .. } => {
                rule("in-sync-means-caught-up", self.durable >= self.target, || {
                    format!("counts at {:?}, target is {:?}", self.durable, self.target)
                })?;
                let copied = self.plan.is_some_and(|plan| plan.base_from().is_some());
                rule("in-sync-means-equal", !copied || self.equal, || {
                    "counts without an equal digest".into()
                })?;
                (self.distrusted, self.setback) = (false, None);
            }
            Effect::Disconnect { end, next, .. } => self.check_end(room, now, end, next, faulty)?,
            Effect::SendHello { .. } | Effect::SendGreet { .. } | Effect::CountVote { counts: false, .. } => {
            }
        }
        Ok(())
    }

    /// How a session ended says when the next one is due.
    fn check_end(
        &mut self,
        room: &Room,
        now: Instant,
        end: End,
        next: Next,
        faulty: bool,
    ) -> Result<(), Breach> {
        rule("faults-are-named", !faulty || end.name() == "violated", || format!("{end} for a violation"))?;
        if matches!(end, End::DigestDiffered | End::Declined { why: Refusal::ChainDiffers }) {
            self.distrusted = true;
        }
        let due = match next {
            Next::Retry { due } | Next::Park { due } => due,
        };
        let steady =
            matches!(room.phase(), Some(Phase::InSync { .. })) && now >= self.entered.after(LIMITS.steady);
        let tried = if steady { 0 } else { self.attempts };
        let wait = backoff::delay(REPLICA, tried, LIMITS.backoff_min, LIMITS.backoff_max);
        let repeated = matches!(
            end,
            End::DigestDiffered
                | End::Refused {
                    why: RefuseWhy::WrongIdentity
                        | RefuseWhy::FactsAbsurd
                        | RefuseWhy::Promised
                        | RefuseWhy::AheadOfUs,
                }
                | End::Declined {
                    why: Refusal::Promised
                        | Refusal::ChainDiffers
                        | Refusal::CutBelowHome
                        | Refusal::Faulted
                        | Refusal::BranchNotKept,
                }
        );
        let passing = matches!(
            end,
            End::Deferred
                | End::Refused { why: RefuseWhy::NotSettled }
                | End::Declined { why: Refusal::PlanOutdated }
        );
        let expected = if matches!(end, End::Superseded { .. }) {
            (self.attempts, self.setback) = (0, None);
            now
        } else if passing {
            now.after(LIMITS.turn)
        } else {
            self.attempts = tried + 1;
            let facts = self.facts(room, end);
            let setback = repeated.then_some(Setback { end, facts });
            let again = setback.is_some() && setback == self.setback;
            self.setback = setback.or(self.setback);
            let parked = matches!(next, Next::Park { .. });
            rule("the-same-setback-parks", parked == again, || {
                format!("{end}: parked {parked}, came before {again}")
            })?;
            if again { now.after(LIMITS.parked) } else { now.after(wait) }
        };
        rule("retries-are-paced", due == expected, || {
            format!("after {end} due in {:?} instead of {:?}", due.since(now), expected.since(now))
        })?;
        self.not_before = due;
        Ok(())
    }

    /// What a setback was for.
    fn facts(&self, room: &Room, end: End) -> Option<PlanFacts> {
        let begins = matches!(room.phase(), Some(Phase::Beginning { .. }));
        let of_facts = matches!(end, End::Refused { .. }) || (begins && matches!(end, End::Declined { .. }));
        self.judged.filter(|_| of_facts)
    }

    /// Nobody waits for ever, and nobody is given up while he does what he should.
    fn check_time(&mut self, now: Instant, event: &Event, after: &State) -> Result<(), Breach> {
        if !matches!(event, Event::Ticked) {
            return Ok(());
        }
        let State::Live(Live { phase, .. }) = after else { return Ok(()) };
        let (silence, still) = (now.since(self.heard), now.since(self.moved));
        let age = now.since(self.entered);
        let over = |what, spent: Duration, limit| {
            rule("nobody-waits-for-ever", spent < limit, || {
                format!("{} for {spent:?} of {limit:?} ({what})", phase.name())
            })
        };
        match phase {
            Phase::Connecting { .. } => over("the link", age, LIMITS.connect),
            Phase::Welcoming { .. } | Phase::Greeting { .. } => over("an answer", age, LIMITS.greet),
            Phase::Beginning { .. } => over("the plan", age, LIMITS.begin),
            Phase::CatchingUp { .. } => {
                over("the target", age, LIMITS.catch_up)?;
                over("progress", still, LIMITS.no_progress)?;
                over("a sign of life", silence, LIMITS.silence)
            }
            Phase::Copying { .. } | Phase::Closing { .. } => {
                over("progress", still, LIMITS.no_progress)?;
                over("a sign of life", silence, LIMITS.silence)
            }
            Phase::Comparing { .. } => {
                over("the digest", age, LIMITS.compare)?;
                over("a sign of life", silence, LIMITS.silence)
            }
            Phase::InSync { .. } => over("a sign of life", silence, LIMITS.silence),
        }
    }

    /// Trust that was lost comes back by proof alone.
    fn check_votes(&self, after: &State) -> Result<(), Breach> {
        let Past { trust, .. } = after.past();
        rule("distrust-is-kept", !self.distrusted || trust != Trust::Full, || {
            "wrong bytes were forgotten before they were replaced".into()
        })
    }
}
