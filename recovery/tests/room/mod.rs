//! One of each phase and news, and a driver for walks through sessions.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::time::Duration;

use seawall_recovery::messages::{BeginPlan, Refusal};
use seawall_recovery::plan::{
    Base, Decision, Fork, Identity, Plan, PlanFacts, Promise, Reach, RebuildWhy, Resume, Rule, Tail, Told,
    Trust,
};
use seawall_recovery::session::{Context, Effect, Event, Feed, Limits, News, Past, Phase, State};
use seawall_recovery::session::{End, Live};
use seawall_sender::session_id::SessionId;
use seawall_sender::time::Instant;
use seawall_sender::violation::Violation;
use seawall_wal::names::{Lsn, LsnRange, ReplicaId};

pub(crate) const SESSION: SessionId = SessionId { boot: 1, count: 9 };
pub(crate) const FRESH: SessionId = SessionId { boot: 1, count: 10 };
pub(crate) const NOW: Instant = Instant(1_000_000_000);
pub(crate) const BLOCKS: u64 = 100;

/// What a session sees of the world.
pub(crate) struct Room {
    pub(crate) fresh: SessionId,
    pub(crate) log: LsnRange,
    pub(crate) settled: Lsn,
    pub(crate) rebuild_allowed: bool,
    pub(crate) limits: Limits,
}

/// The log from record 10 to 60, settled to 50.
impl Default for Room {
    fn default() -> Room {
        let limits = Limits::default();
        limits.check();
        let log = LsnRange::new(Lsn(10), Lsn(60));
        Room { fresh: FRESH, log, settled: Lsn(50), rebuild_allowed: true, limits }
    }
}

impl Room {
    pub(crate) fn context(&self) -> Context<'_> {
        Context {
            replica: ReplicaId(2),
            fresh: self.fresh,
            log: self.log,
            settled: self.settled,
            volume_blocks: BLOCKS,
            rebuild_allowed: self.rebuild_allowed,
            limits: &self.limits,
        }
    }
}

pub(crate) const FACTS: PlanFacts = PlanFacts {
    identity: Identity::Wanted,
    told: Told::Sound,
    promise: Promise::Reached,
    trust: Trust::Full,
    base: Base::Complete,
    tail: Tail::Behind,
    fork: Fork::AtOrAboveHome,
    reach: Reach::Held,
};

pub(crate) fn decision(plan: Plan) -> Decision {
    Decision { plan, rule: Rule::of(&FACTS), facts: FACTS, lossy: false }
}

pub(crate) fn rebuild() -> Plan {
    Plan::Rebuild { why: RebuildWhy::LogGone, resume: None, cut: Lsn(50) }
}

pub(crate) fn resume(held: u64) -> Plan {
    let resume = Some(Resume { held, from: Lsn(45) });
    Plan::Rebuild { why: RebuildWhy::Incomplete, resume, cut: Lsn(40) }
}

pub(crate) fn live(phase: Phase) -> State {
    State::Live(Live { session: SESSION, past: Past::default(), phase })
}

pub(crate) fn every_phase() -> [Phase; 9] {
    let deadline = NOW.after(Duration::from_secs(1));
    let feed = Feed { durable: Lsn(40), heard: NOW, stuck: Some(NOW) };
    let plan = BeginPlan::Feed { from: Lsn(30) };
    let decision = decision(Plan::CatchUp { from: Lsn(30) });
    [
        Phase::Connecting { deadline },
        Phase::Welcoming { deadline },
        Phase::Greeting { deadline },
        Phase::Beginning { deadline, decision, plan, target: Lsn(60) },
        Phase::CatchingUp { feed, target: Lsn(50), deadline },
        Phase::Copying { feed, held: 50 },
        Phase::Closing { feed, frontier: Lsn(50) },
        Phase::Comparing { feed, deadline },
        Phase::InSync { feed, since: NOW },
    ]
}

pub(crate) fn every_news() -> [News; 11] {
    [
        News::Connected,
        News::Welcomed,
        News::Decided(decision(Plan::CatchUp { from: Lsn(30) })),
        News::Begun { end: Lsn(30), held: BLOCKS },
        News::Declined { why: Refusal::Faulted },
        News::Acked { durable: Lsn(50) },
        News::BaseAcked { held: BLOCKS },
        News::DigestCompared { equal: true },
        News::RetentionSpent,
        News::Violated { violation: Violation::FactsAbsurd },
        News::Lost,
    ]
}

/// Drives one state along, minting sessions and checking what every drive has to keep.
pub(crate) struct Walk {
    pub(crate) room: Room,
    pub(crate) now: Instant,
    pub(crate) state: State,
    /// What the last event asked for.
    pub(crate) out: Vec<Effect>,
    pub(crate) ends: Vec<(End, &'static str)>,
    open: Option<SessionId>,
    counted: bool,
}

impl Walk {
    pub(crate) fn new() -> Walk {
        Walk {
            room: Room::default(),
            now: NOW,
            state: State::new(NOW),
            out: Vec::new(),
            ends: Vec::new(),
            open: None,
            counted: false,
        }
    }

    pub(crate) fn event(&mut self, event: Event) -> Option<Violation> {
        self.out.clear();
        let (state, violation) = self.state.drive(self.now, event, &self.room.context(), &mut self.out);
        for effect in &self.out {
            match *effect {
                Effect::Connect { session } => {
                    assert_eq!(self.open, None, "one session at a time");
                    assert_eq!(session, self.room.fresh, "each session has a name of its own");
                    self.room.fresh.count += 1;
                    self.open = Some(session);
                }
                Effect::CountVote { session, counts } => {
                    assert_eq!(self.open, Some(session));
                    assert_ne!(self.counted, counts, "a vote counts once");
                    self.counted = counts;
                }
                Effect::Disconnect { session, end, phase, .. } => {
                    assert_eq!(self.open.take(), Some(session), "what ends had begun");
                    assert!(!self.counted, "no vote outlives its session");
                    self.ends.push((end, phase));
                }
                Effect::SendHello { session }
                | Effect::SendGreet { session }
                | Effect::SendBegin { session, .. }
                | Effect::StartFeed { session, .. }
                | Effect::StartBase { session, .. }
                | Effect::SendBaseDone { session, .. }
                | Effect::AskDigest { session, .. } => assert_eq!(self.open, Some(session)),
            }
        }
        self.state = state;
        assert_eq!(self.state.session(), self.open);
        assert_eq!(self.state.is_in_sync(), self.counted);
        violation
    }

    /// The news is of the present session and has its place there.
    pub(crate) fn news(&mut self, news: News) -> &mut Walk {
        let session = self.state.session().expect("a session");
        assert_eq!(self.event(Event::Session { session, news }), None);
        self
    }

    /// Time passes to the deadline, and is told.
    pub(crate) fn due(&mut self) -> &mut Walk {
        self.now = self.now.max(self.state.deadline(&self.room.limits));
        assert_eq!(self.event(Event::Ticked), None);
        self
    }

    pub(crate) fn wait(&mut self, time: Duration) -> &mut Walk {
        self.now = self.now.after(time);
        self
    }

    /// From no session to the replica's facts, and on with this plan.
    pub(crate) fn decided(&mut self, plan: Plan) -> &mut Walk {
        self.decided_for(decision(plan))
    }

    pub(crate) fn decided_for(&mut self, decision: Decision) -> &mut Walk {
        self.due().news(News::Connected).news(News::Welcomed).news(News::Decided(decision))
    }

    pub(crate) fn in_sync(&mut self) -> &mut Walk {
        let at = self.room.log.end;
        self.decided(Plan::ZeroGap { at }).news(News::Begun { end: at, held: BLOCKS });
        assert!(self.state.is_in_sync());
        self
    }

    pub(crate) fn last_end(&self) -> &'static str {
        self.ends.last().expect("a session ended").0.name()
    }
}
