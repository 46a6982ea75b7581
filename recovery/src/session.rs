//! The recovery session: one attempt after the other to bring one replica to in-sync and to keep it there.
//!
//! [`State`] is all that the primary knows of it, a value without references: [`State::on`] takes one event and
//! gives the next state, with what is now to be done pushed to `out`. It never fails half way: with an `Err`
//! nothing has changed. [`State::drive`] is the same with the faults of the peer already answered.
//!
//! # What the engine delivers
//!
//! The engine keeps one `State` per member that it feeds, from [`State::new`] on, for as long as it is primary.
//! It answers every [`Connect`](Effect::Connect) with events that name the connect's session, and stops to
//! deliver events of a session with its [`Disconnect`](Effect::Disconnect). Within a step, events are delivered
//! in the order in which their inputs came, `Ticked` last: an answer that is there beats the deadline for it.
//!
//! | event | when |
//! |---|---|
//! | `Ticked` | whenever `now` is at or past [`State::deadline`]; sooner does no harm |
//! | `Prompted` | something suggests that the replica is back (it connected to us, the operator says so); any time |
//! | `Superseded` | a new epoch, a new address or a new member list makes the present session void; any time |
//! | `Connected` | the link that `Connect` asked for is open |
//! | `Welcomed` | a `Welcome` came and passed its checks |
//! | `Decided` | `Facts` came: with `plan::decide(ours, &facts, state.trust())` |
//! | `Begun` | a `Begun` came |
//! | `Declined` | a `Refuse` came (also deliver the promise in it to whoever decides about stepping down) |
//! | `Acked` | an `Ack` or `PulseAck` came and passed `Sender::on_acked`: with the sender's durable frontier |
//! | `BaseAcked` | a `BaseAck` came and passed `BaseSource::on_acked` |
//! | `DigestCompared` | a `Digest` came: with whether it is equal to ours at the same LSN |
//! | `RetentionSpent` | this session's pin costs more log than the retention budget allows |
//! | `Violated` | the peer broke a rule of the session that was noticed outside of this machine |
//! | `Lost` | the link is gone |
//!
//! # What the effects oblige it to
//!
//! | effect | to do |
//! |---|---|
//! | `Connect` | open a link to the replica's present address, and use up [`Context::fresh`] |
//! | `SendHello` | send a `Hello` |
//! | `SendGreet` | send a [`Greet`](crate::messages::Greet) |
//! | `SendBegin` | pin the log from the plan's `feed_from`, send `Begin::of(..)`, say the decision in a notice |
//! | `StartFeed` | `Sender::begin(session, from)`, feed from there on, pulse; the pin follows the sender's durable |
//! | `StartBase` | make a `BaseSource` from `held` on and send base blocks, beside the feed |
//! | `SendBaseDone` | send it, drop the `BaseSource` |
//! | `AskDigest` | compute our digest at our settled frontier, which is at or above `frontier`, and ask for theirs |
//! | `CountVote` | from now on the replica's durable frontier counts for commit, or counts no more: count anew |
//! | `Disconnect` | close the link, `Sender::end(session)`, give back the pin, drop the base, tell of the end |

use alloc::vec::Vec;

use seawall_sender::session_id::SessionId;
use seawall_sender::time::Instant;
use seawall_sender::violation::Violation;
use seawall_wal::guard;
use seawall_wal::names::Lsn;

use crate::backoff;
use crate::end::Outlook;
use crate::messages::{BeginPlan, Refusal};
use crate::plan::{Decision, Plan, PlanFacts, Trust};

pub use crate::context::Context;
pub use crate::effect::{Effect, Next};
pub use crate::end::{Budget, End};
pub use crate::event::{Event, News, Superseder};
pub use crate::feed::Feed;
pub use crate::limits::Limits;
pub use crate::past::{Past, Setback};
pub use crate::phase::Phase;

/// All that the primary knows of the recovery of one replica.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum State {
    /// No session; the next one is due.
    Idle {
        /// Remembered.
        past: Past,
        /// Then.
        due: Instant,
    },
    /// No session; the same setback came twice for the same facts, and only a slow clock tries again.
    Parked {
        /// Remembered.
        past: Past,
        /// What came twice.
        setback: Setback,
        /// Next attempt.
        due: Instant,
    },
    /// A session.
    Live(Live),
}

/// A session.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Live {
    /// Its name.
    pub session: SessionId,
    /// Remembered.
    pub past: Past,
    /// How far it is.
    pub phase: Phase,
}

impl State {
    /// No session yet, and one due at once.
    #[must_use]
    pub fn new(now: Instant) -> State {
        State::Idle { past: Past::default(), due: now }
    }

    /// When to deliver [`Ticked`](Event::Ticked) at the latest.
    #[must_use]
    pub fn deadline(&self, limits: &Limits) -> Instant {
        match self {
            State::Idle { due, .. } | State::Parked { due, .. } => *due,
            State::Live(live) => live.phase.deadline(limits),
        }
    }

    /// The present session.
    #[must_use]
    pub fn session(&self) -> Option<SessionId> {
        match self {
            State::Idle { .. } | State::Parked { .. } => None,
            State::Live(live) => Some(live.session),
        }
    }

    /// What is remembered of earlier sessions.
    #[must_use]
    pub fn past(&self) -> Past {
        match self {
            State::Idle { past, .. } | State::Parked { past, .. } | State::Live(Live { past, .. }) => *past,
        }
    }

    /// What earlier sessions showed of the replica's bytes; for [`plan::decide`](crate::plan::decide).
    #[must_use]
    pub fn trust(&self) -> Trust {
        self.past().trust
    }

    /// Whether the replica's durable frontier counts.
    // Invariant: rebuilding-never-votes.
    #[must_use]
    pub fn is_in_sync(&self) -> bool {
        matches!(self, State::Live(Live { phase: Phase::InSync { .. }, .. }))
    }

    /// Its name, for status.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            State::Idle { .. } => "idle",
            State::Parked { .. } => "parked",
            State::Live(live) => live.phase.name(),
        }
    }

    /// One event, one next state, and what is to be done pushed to `out`.
    ///
    /// # Errors
    /// The peer's fault; nothing has changed then and nothing was pushed. After a
    /// [`StaleSession`](Violation::StaleSession) that is all; after any other the session is to be ended, with
    /// [`Violated`](News::Violated).
    pub fn on(
        self,
        now: Instant,
        event: Event,
        context: &Context<'_>,
        out: &mut Vec<Effect>,
    ) -> Result<State, Violation> {
        use {Event as E, State as S};
        Ok(match (self, event) {
            (S::Idle { past, due } | S::Parked { past, due, .. }, E::Ticked)
                if guard!("session-waits-until-due", now >= due) =>
            {
                connect(past, now, context, out)
            }
            (S::Idle { .. } | S::Parked { .. }, E::Ticked) => self,
            (S::Live(live), E::Ticked) => live.on_ticked(now, context, out),

            // A hint never outruns the first backoff: a replica that keeps coming back makes no storm.
            (S::Idle { past, due }, E::Prompted) => {
                S::Idle { past, due: due.min(now.after(context.limits.backoff_min)) }
            }
            (S::Parked { past, .. }, E::Prompted) => {
                S::Idle { past, due: now.after(context.limits.backoff_min) }
            }
            (S::Live(_), E::Prompted) => self,

            (S::Idle { past, .. } | S::Parked { past, .. }, E::Superseded { .. }) => {
                S::Idle { past: past.afresh(), due: now }
            }
            (S::Live(live), E::Superseded { by }) => {
                live.end(now, End::Superseded { by }, None, context, out)
            }

            // Invariant: stale-session-changes-nothing.
            (S::Idle { .. } | S::Parked { .. }, E::Session { session: found, .. }) => {
                return Err(Violation::StaleSession { current: SessionId::NONE, found });
            }
            (S::Live(live), E::Session { session: found, .. })
                if !guard!("session-hears-itself", found == live.session) =>
            {
                return Err(Violation::StaleSession { current: live.session, found });
            }
            (S::Live(live), E::Session { news, .. }) => live.on_news(now, news, context, out)?,
        })
    }

    /// As [`on`](State::on), with the peer's fault answered: a stale message changes nothing, any other fault ends
    /// the session. The fault is returned for whoever counts it.
    #[must_use]
    pub fn drive(
        self,
        now: Instant,
        event: Event,
        context: &Context<'_>,
        out: &mut Vec<Effect>,
    ) -> (State, Option<Violation>) {
        match (self.on(now, event, context, out), self) {
            (Ok(next), _) => (next, None),
            (Err(stale @ Violation::StaleSession { .. }), _) => (self, Some(stale)),
            (Err(violation), State::Live(live)) => {
                (live.end(now, End::Violated { violation }, None, context, out), Some(violation))
            }
            (Err(violation), State::Idle { .. } | State::Parked { .. }) => (self, Some(violation)),
        }
    }
}

fn connect(past: Past, now: Instant, context: &Context<'_>, out: &mut Vec<Effect>) -> State {
    let session = context.fresh;
    assert!(session != SessionId::NONE, "a session has a name");
    out.push(Effect::Connect { session });
    State::Live(Live {
        session,
        past,
        phase: Phase::Connecting { deadline: now.after(context.limits.connect) },
    })
}

impl Live {
    fn on_ticked(self, now: Instant, context: &Context<'_>, out: &mut Vec<Effect>) -> State {
        let phase = match self.phase {
            Phase::InSync { feed, since } => Phase::InSync { feed: feed.idling(now, context.log), since },
            phase => phase,
        };
        let live = Live { phase, ..self };
        match phase.overdue(now, context.limits) {
            Some(end) => live.end(now, end, None, context, out),
            None => State::Live(live),
        }
    }

    fn on_news(
        self,
        now: Instant,
        news: News,
        context: &Context<'_>,
        out: &mut Vec<Effect>,
    ) -> Result<State, Violation> {
        use {News as N, Phase as P};
        let Live { session, .. } = self;
        let limits = context.limits;
        Ok(match (self.phase, news) {
            (_, N::Lost) => self.end(now, End::Lost, None, context, out),
            (_, N::Violated { violation }) => self.end(now, End::Violated { violation }, None, context, out),
            (_, N::RetentionSpent) => {
                self.end(now, End::BudgetSpent { budget: Budget::Retention }, None, context, out)
            }

            (P::Connecting { .. }, N::Connected) => {
                out.push(Effect::SendHello { session });
                self.at(P::Welcoming { deadline: now.after(limits.greet) })
            }
            (P::Welcoming { .. }, N::Welcomed) => {
                out.push(Effect::SendGreet { session });
                self.at(P::Greeting { deadline: now.after(limits.greet) })
            }
            (P::Greeting { .. }, N::Decided(decision)) => self.on_decided(now, decision, context, out),
            (P::Beginning { plan, target, .. }, N::Begun { end, held }) => {
                check_begun(plan, end, held, context.volume_blocks)?;
                self.on_begun(now, plan, target, context, out)
            }
            (P::Beginning { decision, .. }, N::Declined { why }) => {
                self.end(now, End::Declined { why }, Some(decision.facts), context, out)
            }
            (
                P::Greeting { .. }
                | P::CatchingUp { .. }
                | P::Copying { .. }
                | P::Closing { .. }
                | P::Comparing { .. }
                | P::InSync { .. },
                N::Declined { why },
            ) => self.end(now, End::Declined { why }, None, context, out),

            (P::CatchingUp { feed, target, deadline }, N::Acked { durable }) => {
                let feed = feed.on_acked(durable, now, context.log)?;
                if guard!("catch-up-reaches-its-target", feed.durable >= target) {
                    self.synced(now, feed, context, out)
                } else {
                    self.at(P::CatchingUp { feed, target, deadline })
                }
            }
            (P::Copying { feed, held }, N::Acked { durable }) => {
                let feed = feed.on_acked(durable, now, context.log)?.but_stuck(feed.stuck);
                self.at(P::Copying { feed, held })
            }
            (P::Copying { feed, held: before }, N::BaseAcked { held }) => {
                check_held(before, held, context.volume_blocks)?;
                let feed = if held > before { feed.moved(now) } else { feed };
                self.copied(now, feed, held, context, out)
            }
            (P::Closing { feed, frontier }, N::Acked { durable }) => {
                let feed = feed.on_acked(durable, now, context.log)?;
                self.closed(now, feed, frontier, context, out)
            }
            // The last answer of the base, said twice.
            (P::Closing { .. } | P::Comparing { .. }, N::BaseAcked { held })
                if guard!("last-base-answer-is-the-last", held == context.volume_blocks) =>
            {
                State::Live(self)
            }
            (P::Comparing { feed, deadline }, N::Acked { durable }) => {
                let feed = feed.on_acked(durable, now, context.log)?.but_stuck(None);
                self.at(P::Comparing { feed, deadline })
            }
            (P::Comparing { feed, .. }, N::DigestCompared { equal })
                if guard!("digests-are-equal", equal) =>
            {
                let target = context.log.end;
                self.catch_up(now, feed.moved(now), target, context, out)
            }
            (P::Comparing { .. }, N::DigestCompared { .. }) => {
                self.end(now, End::DigestDiffered, None, context, out)
            }
            (P::InSync { feed, since }, N::Acked { durable }) => {
                let feed = feed.on_acked(durable, now, context.log)?.idling(now, context.log);
                self.at(P::InSync { feed, since })
            }

            // Each of the rest is said at a moment that has no use for it.
            (
                P::Connecting { .. },
                N::Welcomed
                | N::Decided(_)
                | N::Begun { .. }
                | N::Declined { .. }
                | N::Acked { .. }
                | N::BaseAcked { .. }
                | N::DigestCompared { .. },
            )
            | (
                P::Welcoming { .. },
                N::Connected
                | N::Decided(_)
                | N::Begun { .. }
                | N::Declined { .. }
                | N::Acked { .. }
                | N::BaseAcked { .. }
                | N::DigestCompared { .. },
            )
            | (
                P::Greeting { .. },
                N::Connected
                | N::Welcomed
                | N::Begun { .. }
                | N::Acked { .. }
                | N::BaseAcked { .. }
                | N::DigestCompared { .. },
            )
            | (
                P::Beginning { .. },
                N::Connected
                | N::Welcomed
                | N::Decided(_)
                | N::Acked { .. }
                | N::BaseAcked { .. }
                | N::DigestCompared { .. },
            )
            | (
                P::Copying { .. },
                N::Connected | N::Welcomed | N::Decided(_) | N::Begun { .. } | N::DigestCompared { .. },
            )
            | (
                P::CatchingUp { .. } | P::Closing { .. } | P::InSync { .. },
                N::Connected
                | N::Welcomed
                | N::Decided(_)
                | N::Begun { .. }
                | N::BaseAcked { .. }
                | N::DigestCompared { .. },
            )
            | (
                P::Comparing { .. },
                N::Connected | N::Welcomed | N::Decided(_) | N::Begun { .. } | N::BaseAcked { .. },
            ) => return Err(Violation::OutOfTurn { state: self.phase.name(), event: news.name() }),
        })
    }

    fn at(self, phase: Phase) -> State {
        State::Live(Live { phase, ..self })
    }

    fn on_decided(
        self,
        now: Instant,
        decision: Decision,
        context: &Context<'_>,
        out: &mut Vec<Effect>,
    ) -> State {
        let facts = Some(decision.facts);
        let target = match decision.plan {
            Plan::Refuse { why } => return self.end(now, End::Refused { why }, facts, context, out),
            // Invariant: a-majority-stays-whole.
            Plan::Rebuild { .. } if !guard!("rebuild-has-its-turn", context.rebuild_allowed) => {
                return self.end(now, End::Deferred, facts, context, out);
            }
            Plan::ZeroGap { at } => at,
            Plan::CatchUp { .. } | Plan::CutThenCatchUp { .. } | Plan::Rebuild { .. } => context.log.end,
        };
        let plan = decision.plan.begin().expect("what isn't refused begins");
        out.push(Effect::SendBegin { session: self.session, decision, plan, target });
        self.at(Phase::Beginning { deadline: now.after(context.limits.begin), decision, plan, target })
    }

    fn on_begun(
        self,
        now: Instant,
        plan: BeginPlan,
        target: Lsn,
        context: &Context<'_>,
        out: &mut Vec<Effect>,
    ) -> State {
        let (session, from) = (self.session, plan.feed_from());
        let feed = Feed::new(from, now);
        out.push(Effect::StartFeed { session, from });
        match plan {
            BeginPlan::Feed { .. } | BeginPlan::Cut { .. } => self.catch_up(now, feed, target, context, out),
            BeginPlan::Rebuild { cut } => {
                out.push(Effect::StartBase { session, cut, held: 0 });
                // Whatever was wrong with the replica's bytes, they are gone.
                let clean = Live { past: Past { trust: Trust::Full, ..self.past }, ..self };
                clean.copied(now, feed, 0, context, out)
            }
            BeginPlan::Resume { cut, held, .. } => {
                out.push(Effect::StartBase { session, cut, held });
                self.copied(now, feed, held, context, out)
            }
        }
    }

    fn copied(
        self,
        now: Instant,
        feed: Feed,
        held: u64,
        context: &Context<'_>,
        out: &mut Vec<Effect>,
    ) -> State {
        if !guard!("base-is-whole", held >= context.volume_blocks) {
            return self.at(Phase::Copying { feed, held });
        }
        // No base block was read after this moment, so none holds a record above our log's end. And a copy that is
        // proven whole may vote: until its log reaches here it must not, for what it answered for before it was lost
        // may be anywhere below the start of our reign.
        let frontier = context.log.end;
        out.push(Effect::SendBaseDone { session: self.session, frontier });
        self.closed(now, feed, frontier, context, out)
    }

    fn closed(
        self,
        now: Instant,
        feed: Feed,
        frontier: Lsn,
        context: &Context<'_>,
        out: &mut Vec<Effect>,
    ) -> State {
        if !guard!("base-is-closed", feed.durable >= frontier) {
            return self.at(Phase::Closing { feed, frontier });
        }
        out.push(Effect::AskDigest { session: self.session, frontier });
        let deadline = now.after(context.limits.compare);
        self.at(Phase::Comparing { feed: feed.but_stuck(None), deadline })
    }

    fn catch_up(
        self,
        now: Instant,
        feed: Feed,
        target: Lsn,
        context: &Context<'_>,
        out: &mut Vec<Effect>,
    ) -> State {
        if guard!("catch-up-has-a-gap", feed.durable >= target) {
            return self.synced(now, feed, context, out);
        }
        self.at(Phase::CatchingUp { feed, target, deadline: now.after(context.limits.catch_up) })
    }

    fn synced(self, now: Instant, feed: Feed, context: &Context<'_>, out: &mut Vec<Effect>) -> State {
        out.push(Effect::CountVote { session: self.session, counts: true });
        let past = Past { trust: Trust::Full, setback: None, ..self.past };
        let feed = feed.idling(now, context.log);
        State::Live(Live { past, phase: Phase::InSync { feed, since: now }, ..self })
    }

    /// The one way out of a session.
    fn end(
        self,
        now: Instant,
        end: End,
        facts: Option<PlanFacts>,
        context: &Context<'_>,
        out: &mut Vec<Effect>,
    ) -> State {
        let Live { session, past, phase } = self;
        let limits = context.limits;
        let steady = match phase {
            Phase::InSync { since, .. } => {
                out.push(Effect::CountVote { session, counts: false });
                guard!("steady-before-forgiven", now >= since.after(limits.steady))
            }
            Phase::Connecting { .. }
            | Phase::Welcoming { .. }
            | Phase::Greeting { .. }
            | Phase::Beginning { .. }
            | Phase::CatchingUp { .. }
            | Phase::Copying { .. }
            | Phase::Closing { .. }
            | Phase::Comparing { .. } => false,
        };
        let trust = match end {
            End::DigestDiffered => Trust::DigestDiffered,
            End::Declined { why: Refusal::ChainDiffers } => Trust::Diverged,
            End::Superseded { .. }
            | End::DeadlinePassed
            | End::Silent
            | End::BudgetSpent { .. }
            | End::Lost
            | End::Refused { .. }
            | End::Declined { .. }
            | End::Deferred
            | End::Violated { .. } => past.trust,
        };
        let tried = if steady { 0 } else { past.attempts };
        let again = now.after(backoff::delay(context.replica, tried, limits.backoff_min, limits.backoff_max));
        let failed = Past { attempts: tried.saturating_add(1), trust, ..past };
        let next = match end.outlook() {
            Outlook::Afresh => State::Idle { past: past.afresh(), due: now },
            Outlook::Passing => State::Idle { past: Past { trust, ..past }, due: now.after(limits.turn) },
            Outlook::Open => State::Idle { past: failed, due: again },
            Outlook::Same => {
                let setback = Setback { end, facts };
                let past = Past { setback: Some(setback), ..failed };
                if guard!("setback-twice-parks", failed.setback != Some(setback)) {
                    State::Idle { past, due: again }
                } else {
                    State::Parked { past, setback, due: now.after(limits.parked) }
                }
            }
        };
        let next_due = match next {
            State::Idle { due, .. } => Next::Retry { due },
            State::Parked { due, .. } => Next::Park { due },
            State::Live(_) => unreachable!("an end is no session"),
        };
        out.push(Effect::Disconnect { session, end, phase: phase.name(), next: next_due });
        next
    }
}

/// Whether the replica begins where the plan says.
fn check_begun(plan: BeginPlan, end: Lsn, held: u64, volume_blocks: u64) -> Result<(), Violation> {
    let expected = plan.feed_from();
    if !guard!("begun-where-told", end == expected) {
        return Err(Violation::BegunElsewhere { expected, found: end });
    }
    let wanted = plan.base_from().unwrap_or(volume_blocks);
    check_held(wanted, held, volume_blocks)?;
    if !guard!("begun-holds-no-more", held <= wanted) {
        return Err(Violation::BasePastSent { held, sent: wanted });
    }
    Ok(())
}

fn check_held(before: u64, after: u64, volume_blocks: u64) -> Result<(), Violation> {
    if !guard!("base-never-moves-back", after >= before) {
        return Err(Violation::BaseMovedBack { before, after });
    }
    if !guard!("base-in-the-volume", after <= volume_blocks) {
        return Err(Violation::BasePastSent { held: after, sent: volume_blocks });
    }
    Ok(())
}
