//! A replica: a disk that forgets what was not flushed, and the shipped receiver. What surrounds the receiver is said
//! as shortly as it can be.

use seawall_recovery::messages::{BeginPlan, Refusal};
use seawall_sender::feed::Ack;
use seawall_sender::receiver::Receiver;
use seawall_sender::session_id::SessionId;
use seawall_wal::names::Lsn;

use super::{Down, Message, Up};
use crate::history::{BLOCKS, VOLUME, chain, epoch, header, lsn, tail_epoch};
use crate::search::{Breach, rule};

/// A session as the replica sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Feed {
    reign: u8,
    session: SessionId,
    /// Once the plan is true.
    receiver: Option<Receiver>,
    /// Received, in memory.
    pending: Vec<u8>,
    told: Option<Ack>,
}

impl std::hash::Hash for Feed {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        let Feed { reign, session, receiver, pending, told } = self;
        // What its receiver expects follows from the log and what is pending, but for its name.
        (reign, session, receiver.as_ref().map(Receiver::received), pending, told).hash(state);
    }
}

/// A replica.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Replica {
    /// Durable at once: both copies are flushed before it is spoken of.
    pub(super) promised: u8,
    pub(super) log: Vec<u8>,
    pub(super) durable: usize,
    feed: Option<Feed>,
}

impl Replica {
    pub(super) fn new(log: &[u8], promised: u8) -> Replica {
        Replica { promised, log: log.to_vec(), durable: log.len(), feed: None }
    }

    pub(super) fn pending(&self) -> &[u8] {
        self.feed.as_ref().map_or(&[], |feed| &feed.pending)
    }

    pub(super) fn is_fed_by(&self, reign: u8, session: SessionId) -> bool {
        self.feed.as_ref().is_some_and(|feed| feed.reign == reign && feed.session == session)
    }

    /// It hears a message of a primary, and may answer.
    pub(super) fn hear(&mut self, message: &Message<Down>) -> Result<Option<Up>, Breach> {
        let before = self.clone();
        let present = self.is_fed_by(message.reign, message.session);
        let answer = match &message.body {
            Down::Greet => return Ok(self.greeted(message.reign, message.session)),
            Down::Begin { plan, history } if present => self.begin(*plan, history)?,
            Down::Begin { .. } => Some(Up::Refuse { why: Refusal::Promised }),
            Down::Append { history } => {
                self.append(message, history);
                None
            }
        };
        rule("stale-session-changes-nothing", present || *self == before, || {
            format!("the replica took {message:?}")
        })?;
        Ok(answer)
    }

    fn greeted(&mut self, reign: u8, session: SessionId) -> Option<Up> {
        if reign < self.promised {
            return Some(Up::Refuse { why: Refusal::Promised });
        }
        if self.feed.as_ref().is_some_and(|feed| feed.reign == reign && feed.session >= session) {
            return Some(Up::Refuse { why: Refusal::PlanOutdated });
        }
        self.promise(reign);
        self.feed = Some(Feed { reign, session, receiver: None, pending: Vec::new(), told: None });
        Some(Up::Facts { log: self.log.clone(), promised: self.promised })
    }

    /// It flushes its log, then its promise.
    pub(super) fn promise(&mut self, reign: u8) {
        self.feed = None;
        self.durable = self.log.len();
        self.promised = reign;
    }

    fn begin(&mut self, plan: BeginPlan, history: &[u8]) -> Result<Option<Up>, Breach> {
        let Replica { log, durable, feed, .. } = self;
        let Some(feed) = feed.as_mut().filter(|feed| feed.receiver.is_none()) else {
            return Ok(Some(Up::Refuse { why: Refusal::PlanOutdated }));
        };
        let from = history.len();
        let cuts = match plan {
            BeginPlan::Feed { .. } => false,
            BeginPlan::Cut { .. } => true,
            BeginPlan::Rebuild { .. } | BeginPlan::Resume { .. } => {
                return Err(Breach::new("no-rebuild-without-need", format!("{plan:?}")));
            }
        };
        if from > log.len() || (from < log.len() && !cuts) {
            return Ok(Some(Up::Refuse { why: Refusal::PlanOutdated }));
        }
        if chain(&log[..from]) != chain(history) || tail_epoch(&log[..from]) != tail_epoch(history) {
            return Ok(Some(Up::Refuse { why: Refusal::ChainDiffers }));
        }
        log.truncate(from);
        *durable = from;
        let (chain, last) = (chain(log), tail_epoch(log));
        let receiver = Receiver::new(feed.session, epoch(feed.reign), lsn(from), chain, last, BLOCKS);
        feed.receiver = Some(receiver);
        Ok(Some(Up::Begun { end: from }))
    }

    /// Whatever comes, the receiver alone judges.
    fn append(&mut self, message: &Message<Down>, history: &[u8]) {
        let Some(feed) = &mut self.feed else { return };
        let Some(receiver) = &mut feed.receiver else { return };
        let (frame_epoch, record) = (epoch(message.reign), header(history));
        let admitted = receiver.on_append(frame_epoch, message.session, &record, &[], VOLUME);
        if admitted.is_ok() {
            feed.pending.push(*history.last().expect("a record"));
        }
    }

    pub(super) fn store(&mut self) {
        if let Some(feed) = &mut self.feed {
            self.log.append(&mut feed.pending);
        }
    }

    pub(super) fn flush(&mut self) {
        self.durable = self.log.len();
    }

    /// What it has to say of itself, if that is news.
    pub(super) fn acknowledge(&mut self) -> Option<(u8, SessionId, Ack)> {
        let (written, durable) = (lsn(self.log.len()), lsn(self.durable));
        let feed = self.feed.as_mut()?;
        let received = feed.receiver.as_ref()?.received();
        let ack = Ack { received, written, durable, home: Lsn::ZERO };
        if feed.told.replace(ack) == Some(ack) {
            return None;
        }
        Some((feed.reign, feed.session, ack))
    }

    pub(super) fn restart(&mut self, keeps: bool) {
        self.feed = None;
        if !keeps {
            self.log.truncate(self.durable);
        }
        self.durable = self.log.len();
    }
}
