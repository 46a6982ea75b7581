//! The shipped recovery session against a replica that may say anything at any moment, and a clock that may stand
//! anywhere between two deadlines.

mod ghost;
mod words;

use std::time::Duration;

use seawall_recovery::messages::BeginPlan;
use seawall_recovery::plan::Plan;
use seawall_recovery::session::{
    Context, Effect, Event, Feed, Limits, Live, News, Past, Phase, State, Superseder,
};
use seawall_sender::session_id::SessionId;
use seawall_sender::time::Instant;
use seawall_sender::violation::Violation;
use seawall_wal::names::{Lsn, LsnRange, ReplicaId};

use crate::search::{Breach, Model};
use ghost::Ghost;

/// The moment at which every state is looked at: only distances count.
pub(crate) const NOW: Instant = Instant(1_000_000_000_000);
const SECOND: Duration = Duration::from_secs(1);
/// The volume, in blocks.
pub(crate) const BLOCKS: u64 = 2;
pub(crate) const REPLICA: ReplicaId = ReplicaId(2);
/// Beyond so many failed attempts nothing changes: the backoff is at its longest.
const ATTEMPTS_MAX: u32 = 3;
const LOG_START: Lsn = Lsn(2);
const LOG_END_MAX: Lsn = Lsn(5);

pub(crate) const LIMITS: Limits = Limits {
    connect: SECOND,
    greet: SECOND,
    begin: SECOND,
    compare: Duration::from_secs(3),
    silence: Duration::from_secs(2),
    no_progress: Duration::from_secs(3),
    catch_up: Duration::from_secs(4),
    steady: Duration::from_secs(2),
    backoff_min: SECOND,
    backoff_max: Duration::from_secs(2),
    turn: SECOND,
    parked: Duration::from_secs(4),
};

/// The session, the world that it sees, and what somebody who only watches knows.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Room {
    pub(crate) state: State,
    pub(crate) log_end: Lsn,
    pub(crate) settled: Lsn,
    pub(crate) rebuild_allowed: bool,
    ghost: Ghost,
}

/// One thing that happens to a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Time passes to the deadline.
    Wait,
    /// A second passes.
    Pass,
    /// The replica may be back.
    Prompt,
    /// The session is void.
    Supersede,
    /// The log grows by a record.
    Append,
    /// All of the log is settled.
    Settle,
    /// Something is said in a session that is over, or never was.
    Stale(SessionId, News),
    /// Something is said in the present session.
    News(News),
}

/// The model.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sessions;

/// The name of the present session; what is not live has none.
pub(crate) const PRESENT: SessionId = SessionId { boot: 1, count: 5 };
const FRESH: SessionId = SessionId { boot: 1, count: 6 };
const STALE: [SessionId; 3] = [SessionId { boot: 1, count: 4 }, FRESH, SessionId::NONE];

impl Room {
    pub(crate) fn log(&self) -> LsnRange {
        LsnRange::new(LOG_START, self.log_end)
    }

    fn context(&self) -> Context<'static> {
        Context {
            replica: REPLICA,
            fresh: FRESH,
            log: self.log(),
            settled: self.settled,
            volume_blocks: BLOCKS,
            rebuild_allowed: self.rebuild_allowed,
            limits: &LIMITS,
        }
    }

    pub(crate) fn phase(&self) -> Option<Phase> {
        match self.state {
            State::Idle { .. } | State::Parked { .. } => None,
            State::Live(Live { phase, .. }) => Some(phase),
        }
    }

    /// The machine takes an event at `now`, and whoever watches judges it.
    fn drive(mut self, now: Instant, event: Event) -> Result<Room, Breach> {
        let mut out: Vec<Effect> = Vec::new();
        let (state, violation) = self.state.drive(now, event, &self.context(), &mut out);
        self.ghost = self.ghost.judge(&self, now, &event, &state, violation, &out)?;
        self.state = state;
        Ok(self.at_now(now))
    }

    /// A session that is told nothing new before its deadline does nothing.
    fn check_early(&self, now: Instant, deadline: Instant) -> Result<(), Breach> {
        if deadline <= now {
            return Ok(());
        }
        let mut out = Vec::new();
        let early = Instant(deadline.0 - 1);
        let (state, _) = self.state.drive(early, Event::Ticked, &self.context(), &mut out);
        let same = state.name() == self.state.name() && state.session() == self.state.session();
        crate::search::rule("nothing-before-its-time", same && out.is_empty(), || {
            format!("{} became {} a nanosecond early", self.state.name(), state.name())
        })
    }

    /// The same, with `now` at the one moment at which states are looked at.
    fn at_now(mut self, now: Instant) -> Room {
        let back = |at: Instant| Instant((at.0 + NOW.0).saturating_sub(now.0));
        self.ghost = self.ghost.moved(back);
        let past = |past: Past| Past { attempts: past.attempts.min(ATTEMPTS_MAX), ..past };
        let feed = |feed: Feed| Feed { heard: back(feed.heard), stuck: feed.stuck.map(back), ..feed };
        self.state = match self.state {
            State::Idle { past: before, due } => State::Idle { past: past(before), due: back(due).max(NOW) },
            State::Parked { past: before, setback, due } => {
                State::Parked { past: past(before), setback, due: back(due).max(NOW) }
            }
            State::Live(live) => {
                use Phase as P;
                let phase = match live.phase {
                    P::Connecting { deadline } => P::Connecting { deadline: back(deadline) },
                    P::Welcoming { deadline } => P::Welcoming { deadline: back(deadline) },
                    P::Greeting { deadline } => P::Greeting { deadline: back(deadline) },
                    P::Beginning { deadline, decision, plan, target } => {
                        P::Beginning { deadline: back(deadline), decision, plan, target }
                    }
                    P::CatchingUp { feed: how, target, deadline } => {
                        P::CatchingUp { feed: feed(how), target, deadline: back(deadline) }
                    }
                    P::Copying { feed: how, held } => P::Copying { feed: feed(how), held },
                    P::Closing { feed: how, frontier } => P::Closing { feed: feed(how), frontier },
                    P::Comparing { feed: how, deadline } => {
                        P::Comparing { feed: feed(how), deadline: back(deadline) }
                    }
                    P::InSync { feed: how, since } => {
                        let oldest = Instant(NOW.0 - 3_000_000_000);
                        P::InSync { feed: feed(how), since: back(since).max(oldest) }
                    }
                };
                State::Live(Live { session: PRESENT, past: past(live.past), phase })
            }
        };
        self
    }

    /// What a replica that does everything right says next.
    fn good_news(&self) -> Option<News> {
        Some(match self.phase()? {
            Phase::Connecting { .. } => News::Connected,
            Phase::Welcoming { .. } => News::Welcomed,
            Phase::Greeting { .. } => News::Decided(words::decision(Plan::CatchUp { from: Lsn(3) })),
            Phase::Beginning { plan, .. } => {
                News::Begun { end: plan.feed_from(), held: plan.base_from().unwrap_or(BLOCKS) }
            }
            Phase::CatchingUp { .. } | Phase::Closing { .. } => News::Acked { durable: self.log_end },
            Phase::Copying { .. } => News::BaseAcked { held: BLOCKS },
            Phase::Comparing { .. } => News::DigestCompared { equal: true },
            Phase::InSync { .. } => return None,
        })
    }

    /// The plan of the present session, if it has begun.
    pub(crate) fn plan(&self) -> Option<BeginPlan> {
        match self.phase()? {
            Phase::Beginning { plan, .. } => Some(plan),
            Phase::Connecting { .. }
            | Phase::Welcoming { .. }
            | Phase::Greeting { .. }
            | Phase::CatchingUp { .. }
            | Phase::Copying { .. }
            | Phase::Closing { .. }
            | Phase::Comparing { .. }
            | Phase::InSync { .. } => None,
        }
    }
}

impl Model for Sessions {
    type State = Room;
    type Step = Step;

    fn name(&self) -> &'static str {
        "session"
    }

    fn starts(&self) -> Vec<Room> {
        LIMITS.check();
        let start = |rebuild_allowed| Room {
            state: State::new(NOW),
            log_end: Lsn(4),
            settled: Lsn(3),
            rebuild_allowed,
            ghost: Ghost::new(NOW),
        };
        vec![start(true), start(false)]
    }

    fn steps(&self, room: &Room) -> Vec<Step> {
        let mut steps = vec![Step::Wait, Step::Pass, Step::Prompt, Step::Supersede];
        if room.log_end < LOG_END_MAX {
            steps.push(Step::Append);
        }
        if room.settled < room.log_end {
            steps.push(Step::Settle);
        }
        steps.extend(words::stale(room).into_iter().map(|(session, news)| Step::Stale(session, news)));
        if room.state.session().is_some() {
            steps.extend(words::all(room).into_iter().map(Step::News));
        }
        steps
    }

    fn take(&self, room: &Room, step: &Step) -> Result<Room, Breach> {
        let mut room = *room;
        match *step {
            Step::Wait => {
                let deadline = room.state.deadline(&LIMITS).max(NOW);
                room.check_early(NOW, deadline)?;
                room.drive(deadline, Event::Ticked)
            }
            Step::Pass => room.drive(NOW.after(SECOND), Event::Ticked),
            Step::Prompt => room.drive(NOW, Event::Prompted),
            Step::Supersede => room.drive(NOW, Event::Superseded { by: Superseder::Epoch }),
            Step::Append => {
                room.log_end = room.log_end.next();
                Ok(room)
            }
            Step::Settle => {
                room.settled = room.log_end;
                Ok(room)
            }
            Step::Stale(session, news) => room.drive(NOW, Event::Session { session, news }),
            Step::News(news) => {
                let session = room.state.session().unwrap_or(PRESENT);
                room.drive(NOW, Event::Session { session, news })
            }
        }
    }

    fn heal(&self, room: &Room) -> Option<Step> {
        match room.state {
            State::Idle { .. } | State::Parked { .. } => Some(Step::Wait),
            State::Live(_) => room.good_news().map(Step::News),
        }
    }
}

/// Whether it is the fault of the session's own peer.
pub(crate) fn is_fault(violation: Option<Violation>) -> bool {
    violation.is_some_and(|violation| !matches!(violation, Violation::StaleSession { .. }))
}

/// The sessions that are not the present one, as tests of staleness use them.
pub(crate) const fn stale_sessions() -> [SessionId; 3] {
    STALE
}
