//! One peer as its primary sees it: the sender that remembers it for ever, and the session that serves it now.

use alloc::string::String;
use alloc::vec::Vec;

use seawall_recovery::effect::Effect;
use seawall_recovery::event::{Event, News, Superseder};
use seawall_recovery::facts::{Facts, Ours};
use seawall_recovery::messages::{Begin, BeginPlan, Begun, Greet, Refuse};
use seawall_recovery::phase::Phase;
use seawall_recovery::plan;
use seawall_recovery::progress::Estimator;
use seawall_recovery::session::{Context, State};
use seawall_sender::codec;
use seawall_sender::feed::{Ack, PulseAck};
use seawall_sender::frame::Kind;
use seawall_sender::greeting::Hello;
use seawall_sender::sender::{Limits as Window, Sender};
use seawall_sender::session_id::SessionId;
use seawall_sender::time::Instant;
use seawall_sender::violation::Violation;
use seawall_wal::configuration::Member;
use seawall_wal::log::Pin;
use seawall_wal::names::{Crc, Epoch, Lsn, LsnRange, ReplicaId};

use crate::amnesia::Amnesia;
use crate::awaited::Pace;
use crate::bait::Bait;
use crate::base_lane::Source as BaseLane;
use crate::core::Core;
use crate::drift::{Drift, Sample};
use crate::io::{Buf, LinkId};
use crate::link::LinkUse;
use crate::notice::Notice;
use crate::setup::Limits;
use crate::turn::Holding;

/// One peer.
#[derive(Debug)]
pub(crate) struct Lane {
    /// Where it listens, by the newest configuration.
    pub(crate) address: String,
    /// How often it was connected to.
    tries: u64,
    pub(crate) sender: Sender,
    pub(crate) session: State,
    pub(crate) link: Option<LinkId>,
    pub(crate) rule: &'static str,
    pub(crate) last_end: &'static str,
    /// What its disk proved to be home when it was last asked.
    home: Lsn,
    /// What it has, as far as this reign knows.
    pub(crate) holding: Holding,
    pub(crate) pin: Option<Pin>,
    /// A read of old records for it is under way.
    pub(crate) reading: bool,
    pub(crate) base: Option<BaseLane>,
    /// It hears of nothing settled above here before our digest at that LSN is asked for.
    pub(crate) digest_at: Option<Lsn>,
    /// Our digest, to be compared with its answer; and whether the session waits for that.
    pub(crate) digest: Option<(Lsn, u128)>,
    pub(crate) compares: bool,
    /// It has forgotten what it promised, and its copy is not whole again.
    pub(crate) amnesia: Option<Amnesia>,
    /// Whether its clock runs at the rate of ours.
    pub(crate) drift: Drift,
    pub(crate) estimator: Estimator,
    /// How it keeps up, where writes wait for it.
    pub(crate) pace: Pace,
    pub(crate) began_at: Lsn,
    /// A planted bug.
    counts_early: bool,
    /// How far it was sent records in its last session of this reign; only planted bugs ask.
    #[cfg(feature = "bait")]
    pub(crate) remembered: Option<Lsn>,
}

impl Lane {
    pub(crate) fn new(member: &Member, now: Instant, limits: &Limits) -> Lane {
        let window =
            Window { window_records: limits.window_records as u64, window_bytes: limits.window_bytes };
        Lane {
            address: member.address.clone(),
            tries: 0,
            sender: Sender::new(member.replica, &window),
            session: State::new(now),
            link: None,
            rule: "none",
            last_end: "none",
            home: Lsn::ZERO,
            holding: Holding::Unknown,
            pin: None,
            reading: false,
            base: None,
            digest_at: None,
            digest: None,
            compares: false,
            amnesia: None,
            drift: Drift::default(),
            estimator: Estimator::new(),
            pace: Pace::default(),
            began_at: Lsn::ZERO,
            counts_early: false,
            #[cfg(feature = "bait")]
            remembered: None,
        }
    }

    /// Whether its frontiers count for commit.
    pub(crate) fn counts(&self) -> bool {
        // Invariant: rebuilding-never-votes.
        self.session.is_in_sync() || self.counts_early && self.base.is_some()
    }

    /// Whether it said who it is in the live session.
    pub(crate) fn speaks(&self) -> bool {
        match &self.session {
            State::Idle { .. } | State::Parked { .. } => false,
            State::Live(live) => !matches!(live.phase, Phase::Connecting { .. } | Phase::Welcoming { .. }),
        }
    }

    /// Whether its copy is not whole, as far as the live session knows.
    pub(crate) fn is_rebuilding(&self) -> bool {
        match &self.session {
            State::Idle { .. } | State::Parked { .. } => false,
            State::Live(live) => match live.phase {
                Phase::Copying { .. } | Phase::Closing { .. } | Phase::Comparing { .. } => true,
                Phase::Beginning { plan, .. } => matches!(plan, BeginPlan::Rebuild { .. }),
                Phase::Connecting { .. } | Phase::Welcoming { .. } | Phase::Greeting { .. } => false,
                Phase::CatchingUp { .. } | Phase::InSync { .. } => false,
            },
        }
    }

    /// Without a session: when the next one begins.
    pub(crate) fn next_try(&self) -> Option<Instant> {
        match &self.session {
            State::Idle { due, .. } | State::Parked { due, .. } => Some(*due),
            State::Live(_) => None,
        }
    }

    /// A whole copy there is known to hold everything below this on stable storage.
    pub(crate) fn holds(&self) -> Lsn {
        if self.is_rebuilding() { Lsn::ZERO } else { self.sender.frontiers().durable }
    }
}

impl Core {
    /// A reign begins: every peer is to be greeted at once.
    pub(crate) fn lanes_due(&mut self) {
        let now = self.now;
        let counts_early = self.setup.baited(Bait::RebuildingCounts);
        for lane in self.lanes.values_mut() {
            lane.counts_early = counts_early;
            #[cfg(feature = "bait")]
            {
                lane.remembered = None;
            }
            lane.session = State::new(now);
            lane.pace = Pace::default();
        }
        self.lanes_tick();
    }

    /// Something happened to a peer's session.
    pub(crate) fn lane_event(&mut self, replica: ReplicaId, event: Event) -> Option<Violation> {
        let fresh = SessionId {
            boot: self.scribe.content().boots,
            count: self.sessions_begun.checked_add(1).expect("few"),
        };
        let log = LsnRange::new(self.log.start(), self.log.end());
        #[cfg(feature = "bait")]
        let log = self.log_as_planted(log, &event);
        let context = Context {
            replica,
            fresh,
            log,
            settled: self.taken,
            volume_blocks: self.setup.volume_blocks,
            rebuild_allowed: self.has_its_turn(replica) && self.may_rebuild(replica),
            limits: &self.setup.limits.recovery,
        };
        let mut effects = Vec::new();
        let now = self.now;
        let lane = self.lanes.get_mut(&replica)?;
        let (next, violation) = lane.session.drive(now, event, &context, &mut effects);
        lane.session = next;
        for effect in effects {
            self.carry_out(replica, effect);
        }
        violation
    }

    pub(crate) fn news(
        &mut self,
        replica: ReplicaId,
        session: SessionId,
        news: News,
    ) -> Result<(), Violation> {
        match self.lane_event(replica, Event::Session { session, news }) {
            None => Ok(()),
            Some(Violation::StaleSession { .. }) => {
                self.notice(Notice::Stale { session });
                Ok(())
            }
            // The session has ended itself already; its link is gone with it.
            Some(violation) => {
                self.notice(Notice::PeerViolated { violation });
                Ok(())
            }
        }
    }

    fn carry_out(&mut self, replica: ReplicaId, effect: Effect) {
        match effect {
            Effect::Connect { session } => {
                self.sessions_begun = session.count;
                let tries = self.lanes[&replica].tries;
                let address = self.address_of(replica, tries).unwrap_or_default();
                self.lane_mut(replica).tries += 1;
                let link = self.connect(replica, address, LinkUse::Session { replica, welcomed: false });
                self.lane_mut(replica).link = Some(link);
            }
            Effect::SendHello { .. } => {
                let hello = codec::encode(&Hello::new(&self.identity(), replica));
                let epoch = self.log.tail_epoch();
                self.send_lane(replica, Kind::Hello, epoch, SessionId::NONE, &hello, None);
            }
            Effect::SendGreet { session } => {
                let epoch = self.epoch();
                let lineage = seawall_recovery::lineage::newest(&self.lineage).to_vec();
                let log = LsnRange::new(self.log.start(), self.log.end());
                let configuration = self.membership.newest().number;
                let settled = self.settled;
                let greet = Greet { session, epoch, lineage, log, settled, configuration };
                let greet = codec::encode(&greet);
                self.send_lane(replica, Kind::Greet, epoch, session, &greet, None);
            }
            Effect::SendBegin { session, decision, plan, target } => {
                let from = plan.feed_from();
                self.pin_lane(replica, from);
                let attached = self.attachments.settled();
                let begin = self.with_ours(replica, |ours| {
                    let (members, leases) = (self.membership.settled(), self.maintenance.settled());
                    Begin::of(plan, target, attached, members, leases, ours)
                });
                let lane = self.lane_mut(replica);
                lane.rule = decision.rule.name();
                if plan.base_from().is_some() && lane.holding != Holding::Forgotten {
                    lane.holding = Holding::Part;
                }
                lane.began_at = from;
                lane.estimator = Estimator::new();
                self.notice(Notice::Planned { replica, session, rule: decision.rule.name(), at: from });
                self.send_lane(replica, Kind::Begin, self.epoch(), session, &codec::encode(&begin), None);
            }
            Effect::StartFeed { session, from } => {
                let lane = self.lane_mut(replica);
                let home = lane.home.min(from);
                lane.drift.on_session();
                lane.sender.set_known(from, home).expect("what is home is in the log or below it");
                lane.sender.begin(session, from);
                self.want_pulse();
            }
            Effect::StartBase { held, .. } => {
                let limit = self.setup.limits.base_extents;
                let blocks = self.setup.volume_blocks;
                self.lane_mut(replica).base = Some(BaseLane::new(blocks, held, limit));
            }
            Effect::SendBaseDone { session, frontier } => {
                self.drop_base(replica);
                let done = codec::encode(&seawall_recovery::messages::BaseDone { frontier });
                self.send_lane(replica, Kind::BaseDone, self.epoch(), session, &done, None);
            }
            Effect::AskDigest { session, .. } => {
                self.lane_mut(replica).compares = true;
                self.prove_copy(replica, session);
            }
            Effect::CountVote { session, counts } => {
                if counts {
                    let lane = self.lane_mut(replica);
                    lane.holding = Holding::Whole;
                    let at = lane.sender.frontiers().durable;
                    self.notice(Notice::InSync { replica, session, at });
                }
                self.weigh();
            }
            Effect::Disconnect { session, end, phase, .. } => {
                self.notice(Notice::SessionEnded { replica, session, why: end.name() });
                let keeps_pin = self.setup.baited(Bait::KeepPin);
                let lane = self.lane_mut(replica);
                lane.last_end = end.name();
                if phase == "connecting" {
                    lane.holding = Holding::Unknown;
                }
                #[cfg(feature = "bait")]
                {
                    lane.remembered = lane.sender.next().or(lane.remembered);
                }
                if lane.sender.session() == Some(session) {
                    lane.sender.end(session);
                }
                (lane.reading, lane.digest_at, lane.digest, lane.compares) = (false, None, None, false);
                // It says so itself in the next session, if it has not been made whole.
                lane.amnesia = None;
                let (pin, link) = (lane.pin.take(), lane.link.take());
                self.unpin(pin.filter(|_| !keeps_pin));
                self.drop_base(replica);
                if let Some(link) = link {
                    self.disconnect(link);
                }
                self.digest_not_coming(replica);
            }
        }
    }

    pub(crate) fn lane_mut(&mut self, replica: ReplicaId) -> &mut Lane {
        self.lanes.get_mut(&replica).expect("every other member has a lane")
    }

    /// The epoch of our reign.
    pub(crate) fn epoch(&self) -> Epoch {
        self.primary.as_ref().map_or(self.promised(), |primary| primary.epoch)
    }

    pub(crate) fn send_lane(
        &mut self,
        replica: ReplicaId,
        kind: Kind,
        epoch: Epoch,
        session: SessionId,
        meta: &[u8],
        payload: Option<Buf>,
    ) {
        if let Some(link) = self.lanes.get(&replica).and_then(|lane| lane.link) {
            self.send(link, kind, epoch, session, meta, payload);
        }
    }

    pub(crate) fn lane_connected(&mut self, link: LinkId, replica: ReplicaId) {
        if let Some(session) = self.session_of(link, replica) {
            let _ = self.news(replica, session, News::Connected);
        }
    }

    pub(crate) fn lane_welcomed(&mut self, replica: ReplicaId) {
        if let Some(session) = self.lanes.get(&replica).and_then(|lane| lane.session.session()) {
            let _ = self.news(replica, session, News::Welcomed);
        }
    }

    pub(crate) fn lane_lost(&mut self, link: LinkId, replica: ReplicaId) {
        let Some(session) = self.session_of(link, replica) else { return };
        // The link is dead already: there is nothing to close.
        self.lane_mut(replica).link = None;
        let _ = self.news(replica, session, News::Lost);
    }

    fn session_of(&self, link: LinkId, replica: ReplicaId) -> Option<SessionId> {
        self.lanes.get(&replica).filter(|lane| lane.link == Some(link))?.session.session()
    }

    pub(crate) fn lane_superseded(&mut self, replica: ReplicaId) {
        let _ = self.lane_event(replica, Event::Superseded { by: Superseder::Epoch });
        let lane = self.lane_mut(replica);
        lane.session = State::new(Instant::default());
    }

    /// It is no member any more.
    pub(crate) fn lane_left(&mut self, replica: ReplicaId) {
        let _ = self.lane_event(replica, Event::Superseded { by: Superseder::Membership });
    }

    /// What we know of ourselves, for a plan.
    fn with_ours<T>(&self, peer: ReplicaId, judge: impl FnOnce(&Ours<'_>) -> T) -> T {
        let chain_at = |lsn: Lsn| -> Option<Crc> { self.log.chain_at(lsn) };
        judge(&Ours {
            volume: self.setup.volume,
            peer,
            epoch: self.epoch(),
            lineage: &self.lineage,
            log: LsnRange::new(self.log.start(), self.log.end()),
            tail_epoch: self.log.tail_epoch(),
            settled: self.taken,
            volume_blocks: self.setup.volume_blocks,
            chain_at: &chain_at,
        })
    }

    pub(crate) fn lane_facts(
        &mut self,
        replica: ReplicaId,
        session: SessionId,
        facts: &Facts,
    ) -> Result<(), Violation> {
        if facts.promised > self.epoch() {
            self.heard_of(facts.promised);
            return Ok(());
        }
        #[cfg(feature = "bait")]
        let facts = &self.facts_as_planted(replica, facts);
        let Some(lane) = self.lanes.get_mut(&replica) else { return Ok(()) };
        // Invariant: stale-session-changes-nothing.
        let present = lane.session.session() == Some(session);
        let trust = lane.session.trust();
        if present {
            lane.home = facts.checkpoint;
            lane.holding = Holding::of(facts);
            self.note_memory(replica, facts.promises_lost);
        }
        let mut decision = self.with_ours(replica, |ours| plan::decide(ours, facts, trust));
        if present && decision.facts.proves_settled() && facts.checkpoint > self.taken {
            // A reign that has yet to begin may need this very copy to count, so it can't wait to learn it otherwise.
            self.on_settled_proven(facts.checkpoint);
            decision = self.with_ours(replica, |ours| plan::decide(ours, facts, trust));
        }
        if let plan::Plan::Rebuild { cut, resume: None, .. } = decision.plan
            && present
        {
            self.lane_mut(replica).home = cut;
        }
        self.news(replica, session, News::Decided(decision))
    }

    pub(crate) fn lane_begun(
        &mut self,
        replica: ReplicaId,
        session: SessionId,
        begun: Begun,
    ) -> Result<(), Violation> {
        self.news(replica, session, News::Begun { end: begun.end, held: begun.held })
    }

    pub(crate) fn lane_acked(
        &mut self,
        replica: ReplicaId,
        session: SessionId,
        ack: Ack,
    ) -> Result<(), Violation> {
        let end = self.log.end();
        let Some(lane) = self.lanes.get_mut(&replica) else { return Ok(()) };
        match lane.sender.on_acked(session, ack, end) {
            Ok(moved) => {
                let durable = lane.sender.frontiers().durable;
                self.news(replica, session, News::Acked { durable })?;
                if moved.durable || moved.written {
                    self.weigh();
                }
                Ok(())
            }
            Err(Violation::StaleSession { .. }) => {
                self.notice(Notice::Stale { session });
                Ok(())
            }
            Err(violation) => self.news(replica, session, News::Violated { violation }),
        }
    }

    pub(crate) fn lane_pulse_acked(
        &mut self,
        replica: ReplicaId,
        session: SessionId,
        ack: PulseAck,
    ) -> Result<(), Violation> {
        let current = self.lanes.get(&replica).and_then(|lane| lane.sender.session());
        self.lane_acked(replica, session, ack.ack)?;
        if current != Some(session) {
            return Ok(());
        }
        let (now, percent) = (self.now, self.setup.limits.clock_error_percent);
        let remembers = self.remembers(replica);
        // A learner's word counts from when it is a voter: it keeps it all the same.
        let lane = self.lanes.get_mut(&replica).filter(|lane| lane.base.is_none() && remembers);
        if let (Some(lane), Some(primary)) = (lane, self.primary.as_mut()) {
            primary.pulses.on_answered(replica, ack.seq, ack.grants, &self.electorate);
            if let Some(asked) = primary.pulses.sent_at(ack.seq) {
                let sample = Sample { asked, came: now, theirs: Instant(ack.clock) };
                lane.drift.on_sample(sample, percent);
            }
        }
        self.weigh_clocks();
        self.recollect();
        self.serve();
        Ok(())
    }

    pub(crate) fn lane_refused(
        &mut self,
        replica: ReplicaId,
        session: SessionId,
        refuse: Refuse,
    ) -> Result<(), Violation> {
        let current = self.lanes.get(&replica).and_then(|lane| lane.session.session());
        let news = self.news(replica, session, News::Declined { why: refuse.why });
        if current == Some(session) && refuse.promised > self.epoch() {
            self.heard_of(refuse.promised);
        }
        news
    }

    pub(crate) fn want_pulse(&mut self) {
        if let Some(primary) = self.primary.as_mut() {
            primary.pulses.want();
        }
    }

    /// Time passed.
    pub(crate) fn lanes_tick(&mut self) {
        if self.primary.is_none() || self.begins_by_force() {
            return;
        }
        let limits = self.setup.limits.recovery;
        let now = self.now;
        let due: Vec<ReplicaId> = self
            .lanes
            .iter()
            .filter(|(_, lane)| lane.session.deadline(&limits) <= now)
            .map(|(replica, _)| *replica)
            .collect();
        for replica in due {
            let _ = self.lane_event(replica, Event::Ticked);
        }
    }

    /// When a session must act by itself.
    pub(crate) fn lanes_deadline(&self) -> Option<Instant> {
        let primary = self.primary.as_ref().filter(|_| !self.begins_by_force())?;
        let limits = self.setup.limits.recovery;
        let pulse = primary.pulses.last.after(self.setup.limits.pulse_interval);
        self.lanes.values().map(|lane| lane.session.deadline(&limits)).chain([pulse]).min()
    }
}
