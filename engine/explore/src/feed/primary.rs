//! A primary: its log, the shipped sender and the shipped recovery session of its one replica, and a link.

use std::hash::{Hash, Hasher};

use seawall_recovery::effect::Effect;
use seawall_recovery::event::{Event, News};
use seawall_recovery::facts::{Facts, Ours};
use seawall_recovery::plan::{self, Decision};
use seawall_recovery::session::{Context, Limits, Live, Past, Phase, State};
use seawall_sender::sender::{self, APPEND_BYTES_MAX, Sender};
use seawall_sender::session_id::SessionId;
use seawall_sender::time::Instant;
use seawall_sender::violation::Violation;
use seawall_wal::names::{Lsn, LsnRange, ReplicaId};
use seawall_wal::superblock::BaseState;

use super::replica::Replica;
use super::{Budget, Down, Message, Step, Up};
use crate::history::{BLOCKS, VOLUME, chain, epoch, lineage, lsn, tail_epoch};
use crate::search::{Breach, rule};

const NOW: Instant = Instant(1_000_000_000_000);
const NEVER: Instant = Instant(1_000_000_000_000_000);
pub(super) const REPLICA: ReplicaId = ReplicaId(9);
const LIMITS: Limits = Limits::DEFAULT;
const WINDOW: sender::Limits = sender::Limits { window_records: 2, window_bytes: APPEND_BYTES_MAX as u64 };

/// What is on its way.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Link {
    pub(crate) session: SessionId,
    pub(crate) down: Vec<Message<Down>>,
    pub(crate) up: Vec<Message<Up>>,
}

/// A primary.
#[derive(Clone, Debug)]
pub(crate) struct Primary {
    pub(crate) reign: u8,
    pub(crate) log: Vec<u8>,
    pub(crate) sender: Sender,
    pub(crate) session: State,
    pub(crate) link: Option<Link>,
    boot: u32,
    begun: u32,
}

impl PartialEq for Primary {
    fn eq(&self, other: &Primary) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Primary {}

impl Hash for Primary {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

/// Bytes of a record on the wire, as they are counted: the second one is as large as can be.
fn bytes(at: usize) -> u32 {
    if at == 1 { APPEND_BYTES_MAX } else { 400 }
}

impl Primary {
    pub(super) fn new(reign: u8, log: Vec<u8>) -> Primary {
        let sender = Sender::new(REPLICA, &WINDOW);
        Primary { reign, log, sender, session: State::new(NOW), link: None, boot: 1, begun: 0 }
    }

    /// All that its future depends on: not how many stale messages the sender counted.
    fn key(&self) -> impl Hash + PartialEq + '_ {
        let Primary { reign, log, sender, session, link, boot, begun } = self;
        let fed = (sender.session(), sender.next(), sender.frontiers(), sender.in_flight_records());
        (reign, log, fed, session, link, (boot, begun))
    }

    pub(super) fn may_send(&self) -> bool {
        let next = self.sender.next().and_then(|next| usize::try_from(next.0).ok());
        next.is_some_and(|next| next < self.log.len() && self.sender.has_room(bytes(next)))
    }

    pub(super) fn steps(&self, budget: &Budget) -> Vec<Step> {
        let reign = self.reign;
        let mut steps = Vec::new();
        if self.session.session().is_none() && self.begun < budget.sessions {
            steps.push(Step::Connect(reign));
        }
        if self.may_send() {
            steps.push(Step::Send(reign));
        }
        if self.log.iter().filter(|of| **of == reign).count() < budget.records {
            steps.push(Step::Write(reign));
        }
        if let Some(link) = &self.link {
            if !link.down.is_empty() {
                steps.push(Step::Hear(reign));
            }
            if !link.up.is_empty() {
                steps.push(Step::Answer(reign));
            }
        }
        steps
    }

    fn context(&self) -> Context<'static> {
        let end = lsn(self.log.len());
        Context {
            replica: REPLICA,
            fresh: SessionId { boot: self.boot, count: self.begun + 1 },
            log: LsnRange::new(Lsn::ZERO, end),
            settled: Lsn::ZERO,
            volume_blocks: BLOCKS,
            rebuild_allowed: true,
            limits: &LIMITS,
        }
    }

    fn drive(&mut self, now: Instant, event: Event) -> Result<(), Breach> {
        let mut out = Vec::new();
        let (session, _) = self.session.drive(now, event, &self.context(), &mut out);
        self.session = still(session);
        for effect in out {
            self.carry_out(effect)?;
        }
        Ok(())
    }

    fn news(&mut self, session: SessionId, news: News) -> Result<(), Breach> {
        self.drive(NOW, Event::Session { session, news })
    }

    fn say(&mut self, session: SessionId, body: Down) {
        let message = Message { reign: self.reign, session, body };
        if let Some(link) = &mut self.link {
            link.down.push(message);
        }
    }

    fn carry_out(&mut self, effect: Effect) -> Result<(), Breach> {
        match effect {
            Effect::Connect { session } => {
                self.begun = session.count;
                self.link = Some(Link { session, down: Vec::new(), up: Vec::new() });
                self.news(session, News::Connected)?;
                self.news(session, News::Welcomed)
            }
            Effect::SendGreet { session } => {
                self.say(session, Down::Greet);
                Ok(())
            }
            Effect::SendBegin { session, plan, .. } => {
                let from = usize::try_from(plan.feed_from().0).expect("small");
                self.say(session, Down::Begin { plan, history: self.log[..from].to_vec() });
                Ok(())
            }
            Effect::StartFeed { session, from } => {
                let known = self.sender.set_known(from, Lsn::ZERO);
                rule("what-a-disk-proves-is-sound", known.is_ok(), || format!("{known:?}"))?;
                self.sender.begin(session, from);
                Ok(())
            }
            Effect::Disconnect { session, .. } => {
                if self.sender.session() == Some(session) {
                    self.sender.end(session);
                }
                self.link = None;
                Ok(())
            }
            Effect::StartBase { .. } | Effect::SendBaseDone { .. } | Effect::AskDigest { .. } => {
                Err(Breach::new("no-rebuild-without-need", "the logs reach back, nothing is home"))
            }
            Effect::SendHello { .. } | Effect::CountVote { .. } => Ok(()),
        }
    }

    pub(super) fn connect(&mut self) -> Result<(), Breach> {
        self.drive(NOW, Event::Ticked)
    }

    pub(super) fn expire(&mut self) -> Result<(), Breach> {
        self.drive(NEVER, Event::Ticked)
    }

    /// Its link is gone.
    pub(super) fn lost(&mut self) -> Result<(), Breach> {
        match self.link.take() {
            Some(Link { session, .. }) => self.news(session, News::Lost),
            None => Ok(()),
        }
    }

    pub(super) fn restart(&mut self) {
        let log = core::mem::take(&mut self.log);
        *self = Primary { boot: self.boot + 1, ..Primary::new(self.reign, log) };
    }

    pub(super) fn send(&mut self) {
        let session = self.sender.session().expect("offered");
        let next = usize::try_from(self.sender.next().expect("offered").0).expect("small");
        self.say(session, Down::Append { history: self.log[..=next].to_vec() });
        self.sender.on_sent(session, lsn(next), bytes(next));
    }

    /// The replica said something, now or long ago.
    pub(super) fn hear(&mut self, message: &Message<Up>) -> Result<(), Breach> {
        let before = self.clone();
        let session = message.session;
        match &message.body {
            Up::Facts { log, promised } => {
                let decision = self.decide(log, *promised);
                self.news(session, News::Decided(decision))?;
            }
            Up::Begun { end } => self.news(session, News::Begun { end: lsn(*end), held: BLOCKS })?,
            Up::Refuse { why } => self.news(session, News::Declined { why: *why })?,
            Up::Ack { ack } => {
                match self.sender.on_acked(session, *ack, lsn(self.log.len())) {
                    Ok(_) => {
                        let durable = self.sender.frontiers().durable;
                        self.news(session, News::Acked { durable })?;
                    }
                    Err(Violation::StaleSession { .. }) => {}
                    Err(violation) => self.news(session, News::Violated { violation })?,
                }
                let fell = self.sender.frontiers().moved_back_from(&before.sender.frontiers());
                rule("only-a-handshake-lowers-a-frontier", !fell, || {
                    format!("{ack} after {}", before.sender.frontiers())
                })?;
            }
        }
        let present = before.session.session() == Some(session);
        rule("stale-session-changes-nothing", present || *self == before, || {
            format!("the primary took {message:?}")
        })
    }

    fn decide(&self, log: &[u8], promised: u8) -> Decision {
        let end = lsn(log.len());
        let theirs = Facts {
            volume: VOLUME,
            replica: REPLICA,
            promised: epoch(promised),
            lineage: lineage(log),
            log: LsnRange::new(Lsn::ZERO, end),
            tail_epoch: tail_epoch(log),
            tail_chain: chain(log),
            checkpoint: Lsn::ZERO,
            base: BaseState::Complete,
            lossy: false,
            boots: 1,
            promises_lost: false,
        };
        let lineage = lineage(&self.log);
        let chain_at = |at: Lsn| self.log.get(..usize::try_from(at.0).ok()?).map(chain);
        let ours = Ours {
            volume: VOLUME,
            peer: REPLICA,
            epoch: epoch(self.reign),
            lineage: &lineage,
            log: LsnRange::new(Lsn::ZERO, lsn(self.log.len())),
            tail_epoch: tail_epoch(&self.log),
            settled: Lsn::ZERO,
            volume_blocks: BLOCKS,
            chain_at: &chain_at,
        };
        plan::decide(&ours, &theirs, self.session.trust())
    }

    /// What is on its way is bounded, and what was answered was sent.
    pub(super) fn check(&self, replica: &Replica) -> Result<(), Breach> {
        let frontiers = self.sender.frontiers();
        let sent = self.sender.next().unwrap_or(lsn(self.log.len()));
        rule("acked-never-past-log", frontiers.received <= sent, || format!("{frontiers}, sent is {sent}"))?;
        let Some(link) = &self.link else { return Ok(()) };
        let under_way = |message: &Message<Down>| match &message.body {
            Down::Append { history } => Some(history.len() - 1),
            Down::Greet | Down::Begin { .. } => None,
        };
        let mut records: Vec<usize> = link.down.iter().filter_map(under_way).collect();
        if replica.is_fed_by(self.reign, link.session) {
            records.extend((0..replica.pending().len()).map(|at| replica.log.len() + at));
        }
        let weight: u64 = records.iter().map(|at| u64::from(bytes(*at))).sum();
        let bounded = records.len() as u64 <= WINDOW.window_records && weight <= WINDOW.window_bytes;
        rule("what-is-under-way-is-bounded", bounded, || {
            format!("{} records of {weight} bytes are on their way", records.len())
        })
    }
}

/// The same state in a world where no time passes, and every next attempt is due.
fn still(state: State) -> State {
    let past = |past: Past| Past { attempts: 0, setback: None, ..past };
    match state {
        State::Idle { past: before, .. } | State::Parked { past: before, .. } => {
            State::Idle { past: past(before), due: NOW }
        }
        State::Live(Live { session, past: before, phase }) => {
            let phase = match phase {
                Phase::InSync { feed, .. } => Phase::InSync { feed, since: NOW },
                Phase::Connecting { .. }
                | Phase::Welcoming { .. }
                | Phase::Greeting { .. }
                | Phase::Beginning { .. }
                | Phase::CatchingUp { .. }
                | Phase::Copying { .. }
                | Phase::Closing { .. }
                | Phase::Comparing { .. } => phase,
            };
            State::Live(Live { session, past: past(before), phase })
        }
    }
}
