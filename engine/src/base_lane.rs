//! The base lane of a rebuild, at both ends: home blocks copied beside the live feed.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use seawall_recovery::base::{Admitted, BaseLimits, BaseSource, BaseTarget};
use seawall_recovery::event::{Event, News};
use seawall_recovery::messages::{BASE_HOLES_MAX, Base, BaseAck, BaseBody, BaseDone, Digest, DigestAsk};
use seawall_sender::codec;
use seawall_sender::frame::Kind;
use seawall_sender::session_id::SessionId;
use seawall_sender::violation::Violation;
use seawall_wal::log::Pin;
use seawall_wal::names::{Crc, Extent, Lsn, ReplicaId};
use seawall_wal::table::stored;

use crate::bait::Bait;
use crate::core::{Core, Purpose};
use crate::digest::Asker;
use crate::follower::FeedName;
use crate::io::{Area, Buf, DiskDone, DiskError, DiskOp, Payload, ReadPiece};
use crate::locate::{Located, Source as From};
use crate::notice::{AreaName, Notice};

/// Blocks of base that are written before a checkpoint makes them lasting: 64 MiB.
const SAVE_BLOCKS: u64 = 16 << 10;
/// Digests that are asked for and not yet due at the most; an honest primary asks for one or two.
const ASKS_MAX: usize = 16;
/// Base messages that wait for a checkpoint at the most; sources keep to far fewer.
const QUEUE_MAX: usize = 256;
/// Reads of one thing before its mismatch is believed.
const TRIES_MAX: u32 = 8;

/// The primary's end.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) cursor: BaseSource,
    reads: BTreeMap<u64, SourceRead>,
    numbers: u64,
}

#[derive(Debug)]
struct SourceRead {
    extent: Extent,
    as_of: Lsn,
    located: Located,
    pin: Option<Pin>,
    moves: u64,
    tries: u32,
}

impl Source {
    pub(crate) fn new(volume_blocks: u64, held: u64, extents_max: usize) -> Source {
        let limits = BaseLimits { extents_max, ..BaseLimits::DEFAULT };
        Source { cursor: BaseSource::new(volume_blocks, held, limits), reads: BTreeMap::new(), numbers: 0 }
    }
}

/// The replica's end.
#[derive(Debug)]
pub(crate) struct Copy {
    target: BaseTarget,
    /// Came, and wait for a checkpoint to end.
    queue: VecDeque<(Base, Option<Payload>)>,
    /// Extents that are being written: how many writes each still has.
    writing: BTreeMap<u64, (Extent, usize)>,
    saved: u64,
    /// Everything is held and equal: the next checkpoint makes the base complete, then this is told.
    pub(crate) proven: Option<(Lsn, u128)>,
}

impl Copy {
    pub(crate) fn new(volume_blocks: u64, held: u64, floor: Lsn) -> Copy {
        Copy {
            target: BaseTarget::new(volume_blocks, held, floor),
            queue: VecDeque::new(),
            writing: BTreeMap::new(),
            saved: held,
            proven: None,
        }
    }

    /// A live record of these blocks settled.
    pub(crate) fn on_settled(&mut self, extent: Extent) {
        self.target.on_settled(extent);
    }

    /// The first block that isn't held.
    pub(crate) fn held(&self) -> u64 {
        self.target.held()
    }

    /// Buffers of base blocks that were not written yet.
    pub(crate) fn into_bufs(self) -> impl Iterator<Item = Buf> {
        self.queue.into_iter().filter_map(|(_, payload)| payload.map(|payload| payload.buf))
    }
}

impl Core {
    /// A resumed base lane hears once more of every settled record that the log still holds.
    pub(crate) fn replay_settled(&mut self) {
        let mut lsn = self.log.start();
        while lsn < self.taken {
            let entry = self.log.entry(lsn).expect("the log is dense");
            if !entry.extent.is_empty()
                && let Some(copy) = self.feed.as_mut().and_then(|feed| feed.base.as_mut())
            {
                copy.on_settled(entry.extent);
            }
            lsn = lsn.next();
        }
    }

    /// Read and send base blocks as far as the window goes.
    pub(crate) fn pump_base(&mut self, replica: ReplicaId) {
        loop {
            let Some(base) = self.lanes.get(&replica).and_then(|lane| lane.base.as_ref()) else { return };
            let Some(block) = base.cursor.wants() else { return };
            let reach = base.cursor.reach();
            let holes = self.holes_from(block);
            let as_of = self.taken;
            if holes >= reach.blocks {
                let extent = Extent::new(block, holes);
                self.base_mut(replica).cursor.on_taken(extent, 0);
                self.send_base(replica, &Base { extent, as_of, body: BaseBody::Holes }, None);
                continue;
            }
            let located = self.locate_taken(reach);
            let holes = located.holes().count_ones();
            self.base_mut(replica).cursor.on_taken(reach, reach.blocks - holes);
            self.read_base(
                replica,
                SourceRead { extent: reach, as_of, located, pin: None, moves: 0, tries: 0 },
            );
        }
    }

    fn base_mut(&mut self, replica: ReplicaId) -> &mut Source {
        self.lane_mut(replica).base.as_mut().expect("the lane copies a base")
    }

    /// Settled holes from `block` on, without looking at data.
    fn holes_from(&self, block: u64) -> u32 {
        let left = self.setup.volume_blocks - block;
        let extent = Extent::new(block, u32::try_from(left.min(u64::from(BASE_HOLES_MAX))).expect("bounded"));
        let mut holes = 0;
        for (part, cover) in self.overlay.lookup(extent) {
            match cover {
                Some(cover) if cover.zero => holes += part.blocks,
                Some(_) => return holes,
                None => {
                    for (run, hole) in self.table.holes(part) {
                        if !hole {
                            return holes;
                        }
                        holes += run.blocks;
                    }
                }
            }
        }
        holes
    }

    fn read_base(&mut self, replica: ReplicaId, mut read: SourceRead) {
        read.located = self.locate_taken(read.extent);
        read.moves = self.mover.moves();
        read.pin = self.pin_read(read.located.oldest);
        // Holes are left out: what is left moves together.
        let mut at = 0;
        let mut pieces: Vec<ReadPiece> = self.pieces(read.extent, &read.located);
        for piece in &mut pieces {
            piece.at = at;
            at += piece.blocks;
        }
        if pieces.is_empty() {
            // Trimmed meanwhile.
            self.send_base_read(replica, read, None);
            return;
        }
        let base = self.base_mut(replica);
        base.numbers += 1;
        let number = base.numbers;
        base.reads.insert(number, read);
        let session = self.lanes[&replica].session.session().unwrap_or_default();
        self.disk(
            Purpose::BaseRead { replica, session, number },
            DiskOp::Read { pieces, into: None, blocks: at },
        );
    }

    /// Base blocks were read.
    pub(crate) fn on_base_read(
        &mut self,
        replica: ReplicaId,
        session: SessionId,
        number: u64,
        result: Result<DiskDone, DiskError>,
    ) {
        let lane = self.lanes.get_mut(&replica).filter(|lane| lane.session.session() == Some(session));
        let Some(mut read) =
            lane.and_then(|lane| lane.base.as_mut()).and_then(|base| base.reads.remove(&number))
        else {
            return self.drop_read(result);
        };
        self.unpin(read.pin.take());
        let (buf, crcs) = match result {
            Ok(DiskDone::Read { buf, crcs }) => (buf, crcs),
            Ok(other) => panic!("a read was answered with {other:?}"),
            Err(error) => {
                let extent = read.extent;
                self.notice(Notice::ReadFailed { area: AreaName(Area::Home), extent, errno: error.errno });
                self.lane_event(replica, Event::Session { session, news: News::Lost });
                return;
            }
        };
        let Some(wrong) = self.base_mismatch(&read, &crcs) else {
            self.send_base_read(replica, read, Some(Payload { buf, crcs }));
            return;
        };
        self.release(buf);
        if read.moves != self.mover.moves() && read.tries < TRIES_MAX {
            // What is read now is at least as new as what was located then.
            read.tries += 1;
            read.as_of = self.taken;
            self.read_base(replica, read);
            return;
        }
        self.notice(Notice::Corrupt { area: AreaName(Area::Home), extent: wrong });
        self.lane_event(replica, Event::Session { session, news: News::Lost });
    }

    fn base_mismatch(&self, read: &SourceRead, crcs: &[Crc]) -> Option<Extent> {
        let mut at = 0;
        for run in read.located.runs.iter().filter(|run| run.source != From::Hole) {
            for block in 0..run.blocks {
                let found =
                    crcs.get(at).map(|crc| if run.source == From::Home { stored(*crc) } else { *crc });
                if self.expected(read.extent, run, block) != found {
                    return Some(Extent::new(read.extent.start + u64::from(run.at + block), 1));
                }
                at += 1;
            }
        }
        None
    }

    fn send_base_read(&mut self, replica: ReplicaId, read: SourceRead, payload: Option<Payload>) {
        let (crcs, buf) = payload.map_or((Vec::new(), None), |payload| (payload.crcs, Some(payload.buf)));
        let holes = read.located.holes();
        let body = if buf.is_none() { BaseBody::Holes } else { BaseBody::Blocks { holes, crcs } };
        self.send_base(replica, &Base { extent: read.extent, as_of: read.as_of, body }, buf);
        if let Some(buf) = buf {
            self.release(buf);
        }
    }

    fn send_base(&mut self, replica: ReplicaId, base: &Base, payload: Option<Buf>) {
        let session = self.lanes.get(&replica).and_then(|lane| lane.session.session()).unwrap_or_default();
        self.send_lane(replica, Kind::Base, self.epoch(), session, &codec::encode(base), payload);
    }

    /// The target holds base blocks.
    pub(crate) fn lane_base_acked(
        &mut self,
        replica: ReplicaId,
        session: SessionId,
        ack: BaseAck,
    ) -> Result<(), Violation> {
        let now = self.now;
        let Some(lane) = self.lanes.get_mut(&replica).filter(|lane| lane.session.session() == Some(session))
        else {
            self.notice(Notice::Stale { session });
            return Ok(());
        };
        let Some(base) = lane.base.as_mut() else {
            return Err(Violation::OutOfTurn { state: "no base lane", event: "BaseAck" });
        };
        base.cursor.on_acked(ack.held)?;
        lane.estimator.on_done(now, ack.held);
        if let Some(violation) =
            self.lane_event(replica, Event::Session { session, news: News::BaseAcked { held: ack.held } })
        {
            self.notice(Notice::PeerViolated { violation });
        }
        Ok(())
    }

    /// The base lane is done or its session over.
    pub(crate) fn drop_base(&mut self, replica: ReplicaId) {
        let Some(base) = self.lane_mut(replica).base.take() else { return };
        for read in base.reads.into_values() {
            self.unpin(read.pin);
        }
    }

    /// Base blocks came.
    pub(crate) fn on_base(&mut self, base: Base, payload: Option<Payload>) -> Result<(), Violation> {
        let volume_blocks = self.setup.volume_blocks;
        let now = self.now;
        let blocks = payload.as_ref().map_or(0, |payload| payload.crcs.len());
        let judged = base.check(volume_blocks, blocks).and_then(|()| match (&base.body, &payload) {
            (BaseBody::Blocks { crcs, .. }, Some(payload)) => {
                seawall_sender::receiver::check_blocks(crcs, &payload.crcs)
            }
            (BaseBody::Blocks { .. } | BaseBody::Holes, _) => Ok(()),
        });
        let feed = self.feed.as_mut().filter(|feed| feed.is_fed());
        let copy = feed.and_then(|feed| {
            feed.heard = now;
            feed.base.as_mut()
        });
        let judged = judged.and(if copy.is_some() {
            Ok(())
        } else {
            Err(Violation::OutOfTurn { state: "no rebuild", event: "Base" })
        });
        if let Err(violation) = judged {
            self.drop_payload(payload);
            return Err(violation);
        }
        if let Some(copy) = copy {
            if copy.queue.len() >= QUEUE_MAX {
                self.drop_payload(payload);
                return Err(Violation::OutOfTurn { state: "base window full", event: "Base" });
            }
            copy.queue.push_back((base, payload));
        }
        self.pump_base_copy_checked()
    }

    /// Write base blocks home, unless a checkpoint is at work or wants to be.
    pub(crate) fn pump_base_copy(&mut self) {
        let link = self.feed.as_ref().map(|feed| feed.link);
        if let (Err(violation), Some(link)) = (self.pump_base_copy_checked(), link) {
            self.violated(link, violation);
        }
    }

    fn pump_base_copy_checked(&mut self) -> Result<(), Violation> {
        while !self.mover.is_active() && !self.mover.waits {
            let feed = self.feed.as_mut();
            let Some(copy) = feed.and_then(|feed| feed.base.as_mut()) else { return Ok(()) };
            let Some((base, payload)) = copy.queue.pop_front() else { return Ok(()) };
            let admitted = match copy.target.admit(base.extent, base.as_of) {
                Ok(admitted) => admitted,
                Err(violation) => {
                    self.drop_payload(payload);
                    return Err(violation);
                }
            };
            match admitted {
                Admitted::Held => {}
                Admitted::Write { .. } if self.setup.baited(Bait::BaseOverNewer) => {
                    self.write_base(&base, payload.as_ref(), &[base.extent]);
                }
                Admitted::Write { .. } if self.setup.baited(Bait::SkipBlock) => {
                    let rest = Extent::new(base.extent.start + 1, base.extent.blocks - 1);
                    self.write_base(&base, payload.as_ref(), &[rest]);
                }
                Admitted::Write { runs } => self.write_base(&base, payload.as_ref(), &runs),
            }
            self.drop_payload(payload);
        }
        Ok(())
    }

    fn write_base(&mut self, base: &Base, payload: Option<&Payload>, admitted: &[Extent]) {
        let Some(feed) = self.feed.as_ref().map(crate::follower::Feed::name) else { return };
        let mut writes = 0;
        for run in base.runs() {
            for part in admitted.iter().filter_map(|admitted| intersection(run.extent, *admitted)) {
                let Some(at) = run.at else {
                    self.table.set_holes(part);
                    continue;
                };
                let at = at + u32::try_from(part.start - run.extent.start).expect("a run is short");
                let payload = payload.expect("a checked message has its payload");
                let from = payload.buf.part(at, part.blocks);
                let first = usize::try_from(at).expect("a payload is small");
                let crcs = payload.crcs[first..first + part.blocks as usize].to_vec();
                let whole = base.extent;
                writes += 1;
                self.disk(
                    Purpose::BaseWrite { feed, whole, part, crcs },
                    DiskOp::WriteHome { extent: part, from },
                );
            }
        }
        let Some(copy) = self.feed.as_mut().and_then(|feed| feed.base.as_mut()) else { return };
        copy.writing.insert(base.extent.start, (base.extent, writes));
        if writes == 0 {
            self.base_written(base.extent);
        }
    }

    /// A write of base blocks ended.
    pub(crate) fn on_base_write(
        &mut self,
        feed: FeedName,
        whole: Extent,
        part: Extent,
        crcs: &[Crc],
        result: Result<DiskDone, DiskError>,
    ) {
        self.base_writes -= 1;
        if let Err(error) = result {
            return self.fail(Area::Home, error);
        }
        // Also if the session ended meanwhile: the table tells what the disk holds.
        for (block, crc) in (part.start..part.end()).zip(crcs) {
            self.table.set(block, Some(*crc));
        }
        if self.feed.as_ref().is_none_or(|present| present.name() != feed) {
            self.checkpoint_due();
            self.follower_progressed();
            return;
        }
        let copy = self.feed.as_mut().and_then(|feed| feed.base.as_mut());
        let Some((_, writes)) = copy.and_then(|copy| copy.writing.get_mut(&whole.start)) else { return };
        *writes -= 1;
        if *writes == 0 {
            self.base_written(whole);
        }
    }

    fn base_written(&mut self, whole: Extent) {
        let Some(feed) = self.feed.as_mut() else { return };
        let Some(copy) = feed.base.as_mut() else { return };
        copy.writing.remove(&whole.start);
        if copy.target.on_written(whole) {
            let held = copy.target.held();
            let (link, epoch, session) = (feed.link, feed.epoch, feed.session);
            let ack = codec::encode(&BaseAck { held });
            self.send(link, Kind::BaseAck, epoch, session, &ack, None);
        }
        self.checkpoint_due();
    }

    /// Whether base blocks are on their way home: a checkpoint waits for them.
    pub(crate) fn base_writes_in_flight(&self) -> bool {
        self.base_writes > 0
    }

    /// Whether a checkpoint is wanted for the base's sake.
    pub(crate) fn base_unsaved(&self) -> bool {
        let copy = self.feed.as_ref().and_then(|feed| feed.base.as_ref());
        copy.is_some_and(|copy| copy.target.held() >= copy.saved + SAVE_BLOCKS || copy.proven.is_some())
    }

    /// How far the base is held without a gap.
    pub(crate) fn base_held_contiguous(&self) -> Option<u64> {
        Some(self.feed.as_ref()?.base.as_ref()?.held())
    }

    /// All base blocks were sent and are held.
    pub(crate) fn on_base_done(&mut self, _done: BaseDone) -> Result<(), Violation> {
        let feed = self.feed.as_ref().and_then(|feed| feed.base.as_ref());
        if !feed.is_some_and(|copy| copy.target.is_complete()) {
            return Err(Violation::OutOfTurn { state: "base incomplete", event: "BaseDone" });
        }
        Ok(())
    }

    /// The primary's digest at an LSN: compare with ours when we are there.
    pub(crate) fn on_digest_ask(&mut self, ask: DigestAsk) -> Result<(), Violation> {
        if ask.at < self.taken {
            // With the checkpoint on record the next facts say how far we are, and the primary asks from there on.
            self.mover.urgent = true;
            self.checkpoint_due();
            return Err(Violation::OutOfTurn { state: "settled beyond it", event: "DigestAsk" });
        }
        if self.digests.waiting() >= ASKS_MAX {
            return Err(Violation::OutOfTurn { state: "asked too often", event: "DigestAsk" });
        }
        let Some(session) = self.feed.as_ref().map(|feed| feed.session) else { return Ok(()) };
        self.want_digest(ask.at, Asker::Primary { session, theirs: ask.digest });
        Ok(())
    }

    /// Our digest is known: tell it, once a base that it proves is complete on disk.
    pub(crate) fn tell_digest(&mut self, session: SessionId, at: Lsn, theirs: u128, ours: u128) {
        let Some(feed) = self.feed.as_mut().filter(|feed| feed.session == session) else { return };
        if (ours == theirs || self.setup.baited(Bait::SkipBlock))
            && let Some(copy) = feed.base.as_mut()
        {
            // Invariant: in-sync-means-equal.
            copy.proven = Some((at, ours));
            self.mover.urgent = true;
            return;
        }
        let (link, epoch) = (feed.link, feed.epoch);
        let digest = codec::encode(&Digest { at, digest: ours });
        self.send(link, Kind::Digest, epoch, session, &digest, None);
    }

    /// A checkpoint made the base's progress lasting.
    pub(crate) fn on_base_saved(&mut self, held: Option<u64>, complete: bool) {
        let Some(feed) = self.feed.as_mut() else { return };
        let Some(copy) = feed.base.as_mut() else { return };
        copy.saved = copy.saved.max(held.unwrap_or(0));
        if complete && let Some((at, digest)) = copy.proven {
            feed.base = None;
            let (link, epoch, session) = (feed.link, feed.epoch, feed.session);
            self.notice(Notice::RebuildDone { at });
            let digest = codec::encode(&Digest { at, digest });
            self.send(link, Kind::Digest, epoch, session, &digest, None);
        }
    }

    /// Nothing of the home area counts any more.
    pub(crate) fn set_all_holes(&mut self) {
        let blocks = self.setup.volume_blocks;
        let mut start = 0;
        while start < blocks {
            let length = u32::try_from((blocks - start).min(u64::from(BASE_HOLES_MAX))).expect("bounded");
            self.table.set_holes(Extent::new(start, length));
            start += u64::from(length);
        }
    }
}

fn intersection(a: Extent, b: Extent) -> Option<Extent> {
    let start = a.start.max(b.start);
    let end = a.end().min(b.end());
    (start < end).then(|| Extent::new(start, u32::try_from(end - start).expect("it is part of both")))
}
