//! A replica that follows a primary: greeted, told what to make true, then fed.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use seawall_recovery::facts::Facts;
use seawall_recovery::lineage;
use seawall_recovery::messages::{Begin, BeginPlan, Begun, Greet, Refusal, Refuse};
use seawall_sender::codec;
use seawall_sender::feed::{Ack, Append, Pulse, PulseAck};
use seawall_sender::frame::Kind;
use seawall_sender::receiver::Receiver;
use seawall_sender::session_id::SessionId;
use seawall_sender::time::Instant;
use seawall_sender::violation::Violation;
use seawall_wal::names::{COUNT_MAX, Epoch, LineageRow, Lsn, LsnRange};
use seawall_wal::overlay::Overlay;
use seawall_wal::record::RecordHeader;
use seawall_wal::superblock::BaseState;

use crate::attachment::Attachments;
use crate::bait::Bait;
use crate::base_lane::Copy as BaseCopy;
use crate::branch::MayGo;
use crate::core::{Core, Told};
use crate::io::{Buf, LinkId, Payload};
use crate::membership::Membership;
use crate::notice::Notice;
use crate::scribe::Safety;

/// No log gets so far: what is above is nonsense, and would overflow.
pub(crate) const POSITION_MAX: u64 = COUNT_MAX;

/// How far a feed is.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Stage {
    /// The primary greeted us; our promise and our log are on their way to the disk.
    Greeted { promised: bool },
    /// Our facts are told.
    Told,
    /// The plan is known, and waits for a checkpoint to end.
    Planned { begin: Begin },
    /// The plan is on its way to the disk.
    Beginning { begin: Begin },
    /// Records come.
    Fed { receiver: Receiver },
}

impl Stage {
    /// Its name, for status.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Stage::Greeted { .. } => "greeted",
            Stage::Told => "told",
            Stage::Planned { .. } => "planned",
            Stage::Beginning { .. } => "beginning",
            Stage::Fed { .. } => "fed",
        }
    }
}

/// Names a feed: session ids alone are unique only among those of one primary.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FeedName {
    pub(crate) epoch: Epoch,
    pub(crate) session: SessionId,
}

/// The feed of one session.
#[derive(Debug)]
pub(crate) struct Feed {
    pub(crate) link: LinkId,
    pub(crate) session: SessionId,
    pub(crate) epoch: Epoch,
    pub(crate) stage: Stage,
    /// Records that found no room in the log; bounded by the sender's window.
    pub(crate) parked: VecDeque<(RecordHeader, Option<Buf>)>,
    pub(crate) heard: Instant,
    /// The newest pulse that others have confirmed to the primary.
    confirmed: u64,
    told: Option<Ack>,
    /// A lossy replica is lossy no more when durable below here.
    target: Lsn,
    /// The base lane of a rebuild.
    pub(crate) base: Option<BaseCopy>,
    /// The primary's history, and where it ended when it greeted us.
    pub(crate) theirs: (Vec<LineageRow>, Lsn),
}

impl Feed {
    /// Its name.
    pub(crate) fn name(&self) -> FeedName {
        FeedName { epoch: self.epoch, session: self.session }
    }

    /// Whether the primary owes us a sign of life; in the other stages it waits for us.
    pub(crate) fn is_owed(&self) -> bool {
        match self.stage {
            Stage::Told | Stage::Fed { .. } => true,
            Stage::Greeted { .. } | Stage::Planned { .. } | Stage::Beginning { .. } => false,
        }
    }

    /// Whether records come.
    pub(crate) fn is_fed(&self) -> bool {
        matches!(self.stage, Stage::Fed { .. })
    }
}

impl Core {
    /// Whether a frame belongs to the present feed.
    pub(crate) fn is_fed_by(&self, link: LinkId, epoch: Epoch, session: SessionId) -> bool {
        // Invariant: stale-session-changes-nothing.
        self.feed
            .as_ref()
            .is_some_and(|feed| feed.link == link && feed.session == session && feed.epoch == epoch)
    }

    /// A message of a session that is over.
    pub(crate) fn on_stale(&mut self, link: LinkId, session: SessionId) {
        self.notice(Notice::Stale { session });
        let refuse = Refuse { promised: self.promised(), why: Refusal::Promised };
        let refuse = if self.feed.as_ref().is_some_and(|feed| feed.link == link) {
            Refuse { why: Refusal::PlanOutdated, ..refuse }
        } else {
            refuse
        };
        let epoch = self.promised();
        self.send(link, Kind::Refuse, epoch, session, &codec::encode(&refuse), None);
    }

    pub(crate) fn refuse_session(&mut self, link: LinkId, epoch: Epoch, session: SessionId, why: Refusal) {
        let refuse = Refuse { promised: self.promised(), why };
        self.send(link, Kind::Refuse, epoch, session, &codec::encode(&refuse), None);
    }

    /// A primary opens a session.
    pub(crate) fn on_greet(&mut self, link: LinkId, greet: Greet) {
        if self.turns_away(link, &greet) {
            return;
        }
        let Greet { session, epoch, lineage, log, .. } = greet;
        let promised = self.promised();
        if self.fault.is_some() {
            return self.refuse_session(link, epoch, session, Refusal::Faulted);
        }
        if self.drain.is_some() || self.drained {
            return self.refuse_session(link, epoch, session, Refusal::ShuttingDown);
        }
        // The epoch is checked before anything else is looked at.
        if epoch < promised || (epoch == promised && self.primary.is_some()) {
            return self.refuse_session(link, epoch, session, Refusal::Promised);
        }
        if self.feed.as_ref().is_some_and(|feed| feed.epoch == epoch && feed.session >= session) {
            return self.on_stale(link, session);
        }
        self.heard_of(epoch);
        self.wait_for_a_primary();
        self.candidate_ends("a primary greeted this replica");
        self.end_feed("a newer session took its place");
        // What we promised may still be on its way to the disk: the candidate needed only a majority of us.
        let above = epoch > promised || self.scribe.is_behind();
        self.feed = Some(Feed {
            link,
            session,
            epoch,
            stage: Stage::Greeted { promised: !above },
            parked: VecDeque::new(),
            heard: self.now,
            confirmed: 0,
            told: None,
            target: Lsn::ZERO,
            base: None,
            theirs: (lineage, log.end),
        });
        self.flush_to = self.flush_to.max(self.log.end());
        if above {
            // Invariant: promise-is-durable-first. The epoch is on both superblocks before it is answered.
            self.change_superblock(
                Safety::Twice,
                Told::Greeted { feed: FeedName { epoch, session } },
                |superblock| {
                    assert!(superblock.promised <= epoch, "Invariant: promised-never-falls.");
                    superblock.promised = epoch;
                },
            );
        }
        self.follower_progressed();
    }

    /// The primary's epoch is on both superblocks.
    pub(crate) fn on_greeted_stored(&mut self, name: FeedName) {
        if let Some(feed) = self.feed.as_mut().filter(|feed| feed.name() == name)
            && let Stage::Greeted { promised } = &mut feed.stage
        {
            *promised = true;
        }
        self.follower_progressed();
    }

    /// Our log, promise or checkpoint moved: say what may be said now.
    pub(crate) fn follower_progressed(&mut self) {
        self.speak_promise();
        let on_disk = self.log_is_settled_on_disk();
        let calm = !self.mover.is_active() && !self.base_writes_in_flight();
        let Some(feed) = self.feed.as_ref() else { return };
        match &feed.stage {
            Stage::Greeted { promised: true } if on_disk && !self.base_writes_in_flight() => {
                self.tell_facts()
            }
            Stage::Planned { begin } if calm => {
                let begin = begin.clone();
                self.make_true(begin);
            }
            Stage::Fed { .. } => {
                self.unpark();
                self.acknowledge();
                self.pump_base_copy();
            }
            Stage::Greeted { .. } | Stage::Told | Stage::Planned { .. } | Stage::Beginning { .. } => {}
        }
    }

    fn tell_facts(&mut self) {
        let superblock = self.scribe.content();
        let end = self.log.durable();
        let facts = Facts {
            volume: superblock.volume,
            replica: superblock.replica,
            promised: superblock.promised,
            lineage: lineage::newest(lineage::below(&self.lineage, end)).to_vec(),
            log: LsnRange::new(self.log.start(), end),
            tail_epoch: self.log.tail_epoch(),
            tail_chain: self.log.tail_chain(),
            checkpoint: self.checkpoint(),
            base: superblock.base,
            lossy: superblock.lossy,
            boots: superblock.boots,
            promises_lost: superblock.promises_lost,
        };
        let Some(feed) = self.feed.as_mut() else { return };
        feed.stage = Stage::Told;
        let (link, epoch, session) = (feed.link, feed.epoch, feed.session);
        self.send(link, Kind::Facts, epoch, session, &codec::encode(&facts), None);
    }

    /// The primary decided.
    pub(crate) fn on_begin(&mut self, begin: Begin) -> Result<(), Violation> {
        let Some(feed) = self.feed.as_mut() else { return Ok(()) };
        feed.heard = self.now;
        if feed.stage != Stage::Told {
            return Err(Violation::OutOfTurn { state: "greeted or fed", event: "Begin" });
        }
        let from = begin.plan.feed_from();
        let members = begin.configuration.is_sound() && begin.maintenance.is_sound();
        if from.0 > POSITION_MAX || !members || !lineage::covers(&begin.lineage, from, begin.epoch_before) {
            return Err(Violation::Contradictory { kind: Kind::Begin });
        }
        feed.stage = Stage::Planned { begin };
        self.follower_progressed();
        Ok(())
    }

    /// Make the primary's plan true of our log and base, durably.
    fn make_true(&mut self, #[cfg_attr(not(feature = "bait"), expect(unused_mut))] mut begin: Begin) {
        let Some(feed) = self.feed.as_ref() else { return };
        let (link, epoch, session) = (feed.link, feed.epoch, feed.session);
        let from = begin.plan.feed_from();
        #[cfg(feature = "bait")]
        self.obey(&mut begin);
        let keeps_log = !matches!(begin.plan, BeginPlan::Rebuild { .. });
        let refusal = if !keeps_log {
            None
        } else if from > self.log.end() || from < self.log.start() {
            Some(Refusal::PlanOutdated)
        } else if self.log.chain_at(from) != Some(begin.chain)
            || self.log.epoch_before(from) != Some(begin.epoch_before)
        {
            Some(Refusal::ChainDiffers)
        } else if from < self.log.end()
            && (from < self.checkpoint() || from < self.taken)
            && !self.setup.baited(Bait::CutBelowHome)
        {
            // Invariant: cut-only-above-checkpoint.
            Some(Refusal::CutBelowHome)
        } else if matches!(begin.plan, BeginPlan::Feed { .. }) && from != self.log.end() {
            Some(Refusal::PlanOutdated)
        } else {
            None
        };
        let held = match self.scribe.content().base {
            BaseState::Complete => self.setup.volume_blocks,
            BaseState::Rebuilding { held, .. } => held,
            BaseState::Blank => 0,
        };
        let refusal =
            refusal.or(if matches!(begin.plan, BeginPlan::Resume { held: resumed, .. } if resumed > held) {
                Some(Refusal::PlanOutdated)
            } else {
                None
            });
        let refusal = match refusal {
            None => match self.gives_up(&begin) {
                MayGo::Yes => None,
                // It stays planned until then.
                MayGo::Later => return,
                MayGo::No => Some(Refusal::BranchNotKept),
            },
            Some(why) => Some(why),
        };
        if let Some(why) = refusal {
            if let Some(feed) = self.feed.as_mut() {
                feed.stage = Stage::Told;
                feed.heard = self.now;
            }
            self.refuse_session(link, epoch, session, why);
            if why == Refusal::CutBelowHome {
                // With the checkpoint on record the next facts say so themselves, and a rebuild is planned.
                self.mover.urgent = true;
                self.checkpoint_due();
            }
            return;
        }
        let name = FeedName { epoch, session };
        let plan = match begin.plan {
            BeginPlan::Feed { .. } => "feed",
            BeginPlan::Cut { .. } => "cut",
            BeginPlan::Rebuild { .. } => "rebuild",
            BeginPlan::Resume { .. } => "resume",
        };
        self.notice(Notice::Following { epoch, session, plan });
        self.lineage = begin.lineage.clone();
        match begin.plan {
            BeginPlan::Feed { .. } => {
                self.change_superblock(Safety::Once, Told::Begun { feed: name }, |_| {})
            }
            BeginPlan::Cut { to } => self.cut_tail(to, Told::Begun { feed: name }),
            BeginPlan::Resume { cut, held, from } => {
                self.notice(Notice::RebuildBegan { cut, from_block: held });
                self.cut_tail(from, Told::Begun { feed: name });
            }
            BeginPlan::Rebuild { cut } => {
                // Invariant: rebuilding-never-votes. It may have been asking for promises when it was told.
                self.candidate_ends("this replica is being rebuilt");
                self.notice(Notice::RebuildBegan { cut, from_block: 0 });
                self.start_over(cut, &begin, name);
            }
        }
        if let Some(feed) = self.feed.as_mut() {
            feed.target = begin.target;
            feed.base = begin
                .plan
                .base_from()
                .map(|held| BaseCopy::new(self.setup.volume_blocks, held, self.log.start()));
            feed.stage = Stage::Beginning { begin };
        }
        self.replay_settled();
    }

    /// Drop the records from `to` on. They were never committed.
    pub(crate) fn cut_tail(&mut self, to: Lsn, told: Told) {
        let from = self.log.end();
        #[cfg(feature = "bait")]
        self.forget_home_above(to);
        // Invariant: cut-only-above-checkpoint.
        assert!(to >= self.checkpoint() && to >= self.taken, "what is home or settled is never cut");
        assert!(self.appender.is_idle(), "a cut waits for the appends before it");
        if to < from {
            let mark = self.log.cut(to);
            self.take_back_from(to);
            self.lineage.retain(|row| row.first < to);
            self.flush_to = self.flush_to.min(to);
            // In `written` mode a quorum that lost power takes its unflushed promises with it.
            if !self.setup.baited(Bait::CommitPastCut) {
                self.committed = self.committed.min(to);
            }
            self.settled = self.settled.min(to);
            self.rebuild_recent();
            self.notice(Notice::TailCut { to, from });
            // In both slots: without the mark, what was cut seems to prove that its replacement had been durable.
            self.change_superblock(Safety::Twice, told, |superblock| superblock.cut = Some(mark));
        } else {
            self.change_superblock(Safety::Once, told, |_| {});
        }
    }

    /// Forget everything: a rebuild from nothing.
    fn start_over(&mut self, cut: Lsn, begin: &Begin, feed: FeedName) {
        let mark = self.log.reset(cut, begin.chain, begin.epoch_before);
        let head = self.log.head();
        self.flush_to = Lsn::ZERO;
        self.recent = Overlay::new();
        self.overlay = Overlay::new();
        self.digests.wanted.clear();
        (self.taken, self.settled, self.committed) = (cut, cut, cut);
        self.mover.home = cut;
        self.attachments = Attachments::anew(begin.attached);
        self.membership = Membership::anew(begin.configuration.clone());
        self.maintenance = crate::maintenance::Maintenance::anew(begin.maintenance.clone(), self.wall());
        self.on_members();
        self.set_all_holes();
        let row = lineage::row_before(&begin.lineage, cut);
        let start = cut;
        // In both slots: the older one speaks of a log that is overwritten from now on.
        self.change_superblock(Safety::Twice, Told::StartedOver { feed, start }, |superblock| {
            superblock.cut = Some(mark);
            superblock.log_start = head;
            (superblock.checkpoint, superblock.settled) = (cut, cut);
            superblock.base = BaseState::Rebuilding { cut, held: 0, lineage: row };
        });
    }

    /// The plan is durable: the feed may come.
    pub(crate) fn on_begun_stored(&mut self, name: FeedName) {
        let volume_blocks = self.setup.volume_blocks;
        let session = name.session;
        let Some(feed) = self.feed.as_mut().filter(|feed| feed.name() == name) else { return };
        let Stage::Beginning { begin } = &feed.stage else { return };
        let (from, settled) = (begin.plan.feed_from(), begin.settled);
        let held = begin.plan.base_from().unwrap_or(volume_blocks);
        assert_eq!(self.log.end(), from, "the feed goes on where the log ends");
        let receiver = Receiver::new(
            session,
            feed.epoch,
            from,
            self.log.tail_chain(),
            self.log.tail_epoch(),
            volume_blocks,
        );
        feed.stage = Stage::Fed { receiver };
        feed.heard = self.now;
        let (link, epoch) = (feed.link, feed.epoch);
        let begun = codec::encode(&Begun { end: from, held });
        self.send(link, Kind::Begun, epoch, session, &begun, None);
        self.on_settled_told(session, settled);
        self.acknowledge();
    }

    /// A record came.
    pub(crate) fn on_append(&mut self, append: Append, payload: Option<Payload>) -> Result<(), Violation> {
        let volume = self.setup.volume;
        let now = self.now;
        let Some(feed) = self.feed.as_mut() else { unreachable!("the frame is of the present feed") };
        feed.heard = now;
        let (epoch, session) = (feed.epoch, feed.session);
        let judged = match &mut feed.stage {
            Stage::Fed { receiver } => {
                let crcs: &[_] = payload.as_ref().map_or(&[], |payload| &payload.crcs);
                receiver.on_append(epoch, session, &append.record, crcs, volume)
            }
            Stage::Greeted { .. } | Stage::Told | Stage::Planned { .. } | Stage::Beginning { .. } => {
                Err(Violation::OutOfTurn { state: "not fed", event: "Append" })
            }
        };
        #[cfg(feature = "bait")]
        let judged = judged.or_else(|violation| self.take_anyway(violation, &append.record));
        if let Err(violation) = judged {
            self.drop_payload(payload);
            return Err(violation);
        }
        let Some(feed) = self.feed.as_mut() else { unreachable!("the frame is of the present feed") };
        if feed.parked.len() >= self.setup.limits.window_records {
            self.drop_payload(payload);
            return Err(Violation::OutOfTurn { state: "window full", event: "Append" });
        }
        let body = payload.map(|payload| payload.buf);
        feed.parked.push_back((append.record, body));
        self.unpark();
        self.on_settled_told(session, append.settled);
        if self.setup.baited(Bait::AckBeforeDisk) {
            self.acknowledge();
        }
        Ok(())
    }

    /// Records join the log as far as it has room.
    fn unpark(&mut self) {
        while let Some((record, body)) = self.feed.as_mut().and_then(|feed| feed.parked.pop_front()) {
            #[cfg(feature = "bait")]
            let record = self.chained(record);
            let (epoch, first, kind) = (record.epoch, record.lsn, record.kind);
            match self.append(record, body) {
                Ok(()) => {
                    if kind == seawall_wal::record::Kind::EpochStart {
                        self.lineage.push(LineageRow { epoch, first });
                    }
                }
                Err(record) => {
                    if let Some(feed) = self.feed.as_mut() {
                        feed.parked.push_front((record, body));
                    }
                    self.space_wanted();
                    return;
                }
            }
        }
    }

    fn acknowledge(&mut self) {
        let ack = self.ack();
        let Some(feed) = self.feed.as_mut() else { return };
        let Stage::Fed { .. } = feed.stage else { return };
        if feed.told == Some(ack) {
            return;
        }
        feed.told = Some(ack);
        let (link, epoch, session, target) = (feed.link, feed.epoch, feed.session, feed.target);
        self.send(link, Kind::Ack, epoch, session, &ack.encode(), None);
        if self.scribe.content().lossy && ack.durable >= target {
            self.change_superblock(Safety::Once, Told::Nothing, |superblock| superblock.lossy = false);
        }
    }

    /// Our frontiers in the present feed.
    fn ack(&self) -> Ack {
        let received = match self.feed.as_ref().map(|feed| &feed.stage) {
            Some(Stage::Fed { receiver }) => receiver.received(),
            Some(Stage::Greeted { .. } | Stage::Told | Stage::Planned { .. } | Stage::Beginning { .. })
            | None => self.log.end(),
        };
        if self.setup.baited(Bait::AckBeforeDisk) {
            return Ack { received, written: received, durable: received, home: self.mover.home };
        }
        // Invariant: acked-never-past-log.
        assert!(
            self.log.durable() <= self.log.written() && self.log.written() <= received,
            "frontiers are ordered"
        );
        Ack { received, written: self.log.written(), durable: self.log.durable(), home: self.mover.home }
    }

    /// The primary is there, and asks whether it still is our primary.
    pub(crate) fn on_pulse(&mut self, pulse: Pulse) {
        let now = self.now;
        let Some(feed) = self.feed.as_mut() else { return };
        feed.heard = now;
        let (link, epoch, session) = (feed.link, feed.epoch, feed.session);
        if pulse.confirmed > feed.confirmed {
            feed.confirmed = pulse.confirmed;
            self.vigil.on_sign(now);
            self.candidate_reassured();
        }
        let grants = self.grant_lease(epoch);
        if self.feed.as_ref().is_some_and(Feed::is_fed) {
            self.flush_to = self.flush_to.max(pulse.flush_to);
            self.on_settled_told(session, pulse.settled);
        }
        let mut ack = PulseAck { seq: pulse.seq, ack: self.ack(), clock: now.0, grants };
        if self.setup.baited(Bait::AckWhatWasTold) {
            (ack.ack.received, ack.ack.written, ack.ack.durable) = (pulse.end, pulse.end, pulse.end);
        }
        self.send(link, Kind::PulseAck, epoch, session, &ack.encode(), None);
    }

    /// The session is over; what it brought stays.
    pub(crate) fn end_feed(&mut self, why: &'static str) {
        let Some(feed) = self.feed.take() else { return };
        for (_, body) in &feed.parked {
            if let Some(body) = body {
                self.release(*body);
            }
        }
        if let Some(base) = feed.base {
            for buf in base.into_bufs() {
                self.release(buf);
            }
        }
        let askers: Vec<Lsn> = self.digests.wanted.keys().copied().collect();
        for at in askers {
            self.digests.wanted.remove(&at);
        }
        let replica = feed.epoch.replica;
        self.notice(Notice::SessionEnded { replica, session: feed.session, why });
        self.disconnect(feed.link);
        self.ceding_lost();
    }

    /// Time passed.
    pub(crate) fn follower_tick(&mut self) {
        let silence = self.setup.limits.silence_max;
        let silent =
            self.feed.as_ref().is_some_and(|feed| feed.is_owed() && feed.heard.after(silence) <= self.now);
        if silent {
            self.end_feed("the primary fell silent");
        }
        let now = self.now;
        let late: Vec<LinkId> = self
            .links
            .iter()
            .filter(|(_, used)| used.idle_since().is_some_and(|since| since.after(silence) <= now))
            .map(|(link, _)| *link)
            .collect();
        for link in late {
            self.disconnect(link);
        }
    }
}
