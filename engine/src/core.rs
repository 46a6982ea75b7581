//! An open replica: everything it knows, and the few moves that all its parts share.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use seawall_sender::frame::{self, Kind};
use seawall_sender::session_id::SessionId;
use seawall_sender::time::Instant;
use seawall_sender::violation::Violation;
use seawall_wal::geometry::Geometry;
use seawall_wal::log::{Log, Pin};
use seawall_wal::names::{Crc, Epoch, Era, Extent, LineageRow, Lsn, ReplicaId};
use seawall_wal::overlay::Overlay;
use seawall_wal::record::{Kind as RecordKind, RecordHeader};
use seawall_wal::superblock::BaseState;
use seawall_wal::table::Table;

use crate::appender::Appender;
use crate::attachment::Attachments;
use crate::authority::PendingPromise;
use crate::bait::Bait;
use crate::ballot::Denial;
use crate::branch::Keeping;
use crate::candidate::Candidate;
use crate::commit::Electorate;
use crate::dice::Dice;
use crate::digest::Digests;
use crate::follower::{Feed, FeedName};
use crate::force::Forcing;
use crate::forward::{Forwarder, Owner};
use crate::handover::Ceding;
use crate::io::{Answer, Area, Buf, CommandId, DiskError, DiskOp, LinkId, OpId, Outbox, Output, RequestId};
use crate::lane::Lane;
use crate::lease::Grant;
use crate::link::LinkUse;
use crate::maintenance::{Maintenance, Wall};
use crate::membership::Membership;
use crate::mover::{Move, Mover};
use crate::notice::{AreaName, Notice};
use crate::primary::Primary;
use crate::scribe::{Safety, Scribe};
use crate::served::Served;
use crate::setup::{Ack, Setup};
use crate::vigil::Vigil;

/// What happens when a superblock is on stable storage.
#[derive(Debug)]
pub(crate) enum Told {
    /// Nobody waits.
    Nothing,
    /// A restart is on record: the replica takes part.
    Reopened,
    /// A promise, asked for over a link.
    Promise { link: LinkId, epoch: Epoch },
    /// Our own promise to ourselves.
    OwnPromise { epoch: Epoch },
    /// An epoch that is to be forced will never be used again.
    Reserved { epoch: Epoch },
    /// A forced epoch, whose start is durable here, is promised.
    Forced { epoch: Epoch },
    /// The epoch of a primary's greeting.
    Greeted { feed: FeedName },
    /// The log was cut or begun anew.
    Begun { feed: FeedName },
    /// As before, with a log that starts anew.
    StartedOver { feed: FeedName, start: Lsn },
    /// A candidate's own tail was cut: it may fetch what it lacks.
    CutForFetch { epoch: Epoch },
    /// What a checkpoint is about to move is settled.
    Settled,
    /// A checkpoint, and whether it made a rebuilt base complete.
    Checkpoint { complete: bool },
    /// The log's start moved.
    Released { start: Lsn },
    /// The clean mark.
    Drained,
}

/// To whom a disk operation's end belongs.
#[derive(Debug)]
pub(crate) enum Purpose {
    Superblock,
    Append,
    LogFlush {
        to: Lsn,
    },
    Read {
        number: u64,
    },
    MergeBase {
        number: u64,
    },
    Merge {
        number: u64,
    },
    FeedRead {
        replica: ReplicaId,
        session: SessionId,
        first: Lsn,
        records: u64,
    },
    BaseRead {
        replica: ReplicaId,
        session: SessionId,
        number: u64,
    },
    BaseWrite {
        feed: FeedName,
        whole: Extent,
        part: Extent,
        crcs: Vec<Crc>,
    },
    FetchRead {
        link: LinkId,
        epoch: Epoch,
        first: Lsn,
        records: u64,
    },
    /// A read whose reign ended while the disk was at it.
    Orphan {
        owner: Owner,
    },
    /// What the buffer of a part of a block holds is to be known, by whoever is given it next.
    PartSum {
        number: u64,
    },
    /// The bytes of a read that the primary sent come to where the client wants them.
    Brought {
        number: u64,
        holes: u64,
    },
    Move(Move),
    /// What a cut takes is being kept.
    Keep,
}

/// An open replica.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) setup: Setup,
    pub(crate) now: Instant,
    pub(crate) out: Outbox,
    pub(crate) ops: BTreeMap<OpId, Purpose>,
    next_op: u64,
    /// Names reads and merges; never used twice, so that what ends late can't be mistaken.
    pub(crate) numbers: u64,
    next_link: u64,
    pub(crate) links: BTreeMap<LinkId, LinkUse>,
    pub(crate) scribe: Scribe<Told>,
    pub(crate) log: Log,
    pub(crate) appender: Appender,
    /// Barriers: make the log durable up to here, and the flush under way.
    pub(crate) flush_to: Lsn,
    pub(crate) flushing: bool,
    /// The newest record of each block among those that are not yet settled here.
    pub(crate) recent: Overlay,
    /// The newest record of each block among the settled ones that are not yet home.
    pub(crate) overlay: Overlay,
    pub(crate) table: Table,
    /// The volume's promise holds below this.
    pub(crate) committed: Lsn,
    /// A commit quorum has it durable below this.
    pub(crate) settled: Lsn,
    /// Settled, durable in our own log, and in `overlay` or home below this.
    pub(crate) taken: Lsn,
    pub(crate) lineage: Vec<LineageRow>,
    pub(crate) restart_rule: &'static str,
    /// The restart is on record.
    pub(crate) takes_part: bool,
    pub(crate) fault: Option<String>,
    pub(crate) drain: Option<CommandId>,
    pub(crate) drained: bool,
    /// The clean mark is on its way.
    pub(crate) draining: bool,
    pub(crate) mover: Mover,
    pub(crate) lanes: BTreeMap<ReplicaId, Lane>,
    pub(crate) sessions_begun: u32,
    pub(crate) primary: Option<Primary>,
    pub(crate) candidate: Option<Candidate>,
    pub(crate) feed: Option<Feed>,
    /// A promotion that an operator forces here.
    pub(crate) forcing: Option<Forcing>,
    /// The highest epoch heard of from others whose era is above that of our own log.
    pub(crate) foreign: Epoch,
    pub(crate) promising: Option<PendingPromise>,
    /// The lease that this voter granted last.
    pub(crate) grant: Option<Grant>,
    /// It grants none before then, because an operator wants another primary.
    pub(crate) withheld: Instant,
    /// The last promise that it refused: for which epoch, why, and when.
    pub(crate) refused: Option<(Epoch, Denial, Instant)>,
    /// Since when it has had no part in a volume that takes writes.
    pub(crate) quorumless: Option<Instant>,
    pub(crate) vigil: Vigil,
    pub(crate) dice: Dice,
    /// An operator's wish that the primary was asked for.
    pub(crate) ceding: Option<Ceding>,
    /// Base blocks on their way home.
    pub(crate) base_writes: usize,
    pub(crate) digests: Digests,
    pub(crate) attachments: Attachments,
    pub(crate) membership: Membership,
    /// Who decides, by that membership.
    pub(crate) electorate: Electorate,
    /// It changed in this step: what follows from that is to be seen to.
    pub(crate) members_changed: bool,
    /// Who works on which replica.
    pub(crate) maintenance: Maintenance,
    /// The operators who wait for such records to be settled.
    pub(crate) leasing: BTreeMap<Lsn, CommandId>,
    /// The last reign that was handed over to another replica, as far as we heard.
    pub(crate) handed_back: Epoch,
    /// The operator who waits for a configuration to be settled.
    pub(crate) changing: Option<(CommandId, u64)>,
    /// A member said that this replica was removed.
    pub(crate) told_removed: bool,
    pub(crate) has_left: bool,
    /// Our clients' requests.
    pub(crate) forwarder: Forwarder,
    /// The connections over which peers' clients are heard; their sessions are remembered for as long as we live.
    pub(crate) served: BTreeMap<ReplicaId, Served>,
    /// What of this log is kept elsewhere, before it is void here.
    pub(crate) keeping: Keeping,
    /// Buffers to which we hold more references than the driver handed over: how many more.
    shares: BTreeMap<(u32, u32), u32>,
}

impl Core {
    /// The replica that a disk holds.
    pub(crate) fn new(now: Instant, setup: Setup, found: crate::opening::Found, next_op: u64) -> Core {
        let crate::opening::Found { mut superblock, table, mut log, rule, torn_at: _ } = found;
        if setup.baited(Bait::PromiseForgotten) {
            (superblock.promised, superblock.campaigned) = (log.tail_epoch(), Epoch::ZERO);
        }
        log.on_written(log.end());
        log.on_durable(log.end());
        let mut lineage = superblock.lineage.clone();
        lineage.retain(|row| row.first < log.end());
        let mut lsn = log.start();
        while lsn < log.end() {
            let entry = log.entry(lsn).expect("the log is dense");
            if entry.kind == RecordKind::EpochStart && !lineage.iter().any(|row| row.epoch == entry.epoch) {
                lineage.push(LineageRow { epoch: entry.epoch, first: lsn });
            }
            lsn = lsn.next();
        }
        lineage.sort_unstable_by_key(|row| row.first);
        let (checkpoint, settled) = (superblock.checkpoint, superblock.settled);
        let attachments = Attachments::found(superblock.attached, &log, checkpoint);
        let known = crate::opening::configuration(&superblock, &setup);
        let membership = Membership::found(known, &log, checkpoint);
        let wall = Wall { now, at_zero: setup.wall };
        let maintenance = Maintenance::found(superblock.maintenance.clone(), &log, checkpoint, wall);
        let forwarder = Forwarder::new(superblock.boots, log.tail_epoch().era());
        let unit = superblock.geometry.unit_bytes;
        let appender = Appender::new(setup.volume, unit);
        let mut core = Core {
            now,
            out: Outbox::default(),
            ops: BTreeMap::new(),
            next_op,
            numbers: 0,
            next_link: 0,
            links: BTreeMap::new(),
            scribe: Scribe::new(superblock),
            appender,
            flush_to: Lsn::ZERO,
            flushing: false,
            recent: Overlay::new(),
            overlay: Overlay::new(),
            table,
            committed: settled,
            settled,
            taken: checkpoint,
            lineage,
            restart_rule: rule,
            takes_part: false,
            fault: None,
            drain: None,
            drained: false,
            draining: false,
            mover: Mover::new(checkpoint),
            lanes: BTreeMap::new(),
            sessions_begun: 0,
            primary: None,
            candidate: None,
            feed: None,
            forcing: None,
            foreign: Epoch::ZERO,
            promising: None,
            grant: None,
            withheld: Instant::default(),
            refused: None,
            quorumless: Some(now),
            vigil: Vigil::new(now),
            dice: Dice::new(setup.seed),
            ceding: None,
            base_writes: 0,
            digests: Digests::default(),
            attachments,
            electorate: membership.electorate(Lsn::ZERO),
            membership,
            members_changed: false,
            maintenance,
            leasing: BTreeMap::new(),
            handed_back: Epoch::ZERO,
            changing: None,
            told_removed: false,
            has_left: false,
            forwarder,
            served: BTreeMap::new(),
            keeping: Keeping::default(),
            shares: BTreeMap::new(),
            setup,
            log,
        };
        while core.taken < settled {
            core.take_next();
        }
        core.on_members();
        core.rebuild_recent();
        core.assume_grant();
        core
    }

    /// `recent` from what the log holds above `taken`.
    pub(crate) fn rebuild_recent(&mut self) {
        self.recent = Overlay::new();
        let mut lsn = self.taken.max(self.log.start());
        while lsn < self.log.end() {
            let entry = self.log.entry(lsn).expect("the log is dense");
            self.note_recent(lsn, entry.kind, entry.extent);
            lsn = lsn.next();
        }
    }

    pub(crate) fn note_recent(&mut self, lsn: Lsn, kind: RecordKind, extent: Extent) {
        match kind {
            RecordKind::Write => self.recent.insert(extent, lsn, false),
            RecordKind::WriteZeroes | RecordKind::Trim => self.recent.insert(extent, lsn, true),
            RecordKind::EpochStart | RecordKind::Attach | RecordKind::Padding => {}
            RecordKind::Configuration | RecordKind::Maintenance => {}
        }
    }

    pub(crate) fn me(&self) -> ReplicaId {
        self.setup.replica
    }

    pub(crate) fn promised(&self) -> Epoch {
        self.scribe.content().promised
    }

    /// The era of our own log.
    pub(crate) fn era(&self) -> Era {
        self.log.tail_epoch().era()
    }

    pub(crate) fn checkpoint(&self) -> Lsn {
        self.scribe.content().checkpoint
    }

    pub(crate) fn base_complete(&self) -> bool {
        matches!(self.scribe.content().base, BaseState::Complete)
    }

    pub(crate) fn notice(&mut self, notice: Notice) {
        self.out.push(Output::Notice(notice));
    }

    pub(crate) fn disk(&mut self, purpose: Purpose, what: DiskOp) {
        if matches!(purpose, Purpose::BaseWrite { .. }) {
            self.base_writes += 1;
        }
        let op = self.next_op(purpose);
        self.out.push(Output::Disk { op, what });
    }

    /// A name for an operation, whose end belongs there.
    pub(crate) fn next_op(&mut self, purpose: Purpose) -> OpId {
        let op = OpId(self.next_op);
        self.next_op += 1;
        self.ops.insert(op, purpose);
        op
    }

    pub(crate) fn connect(&mut self, to: ReplicaId, address: String, used: LinkUse) -> LinkId {
        let link = LinkId(self.next_link);
        self.next_link += 2;
        self.links.insert(link, used);
        self.out.push(Output::Connect { link, to, address });
        link
    }

    pub(crate) fn disconnect(&mut self, link: LinkId) {
        if self.links.remove(&link).is_some() {
            self.out.push(Output::Disconnect { link });
            self.served_lost(link);
        }
    }

    pub(crate) fn send(
        &mut self,
        link: LinkId,
        kind: Kind,
        epoch: Epoch,
        session: SessionId,
        meta: &[u8],
        payload: Option<Buf>,
    ) {
        let payload_bytes = payload.map_or(0, |buf| buf.blocks * seawall_wal::names::BLOCK_BYTES);
        let head = frame::encode(kind, self.setup.volume, epoch, session, meta, payload_bytes);
        self.out.push(Output::Send { link, head, payload });
    }

    /// A buffer is used by one more of our parts: it goes back to the driver when each of them has released it.
    pub(crate) fn share(&mut self, buf: Option<Buf>) {
        if let Some(buf) = buf {
            *self.shares.entry((buf.slot, buf.first)).or_default() += 1;
        }
    }

    pub(crate) fn release(&mut self, buf: Buf) {
        let key = (buf.slot, buf.first);
        match self.shares.get_mut(&key) {
            None => self.out.push(Output::Release(buf)),
            Some(1) => {
                self.shares.remove(&key);
            }
            Some(more) => *more -= 1,
        }
    }

    pub(crate) fn answer(&mut self, id: CommandId, answer: Answer) {
        self.out.push(Output::Answer { id, answer });
    }

    pub(crate) fn complete(&mut self, id: RequestId, result: Result<crate::io::Done, crate::io::Refusal>) {
        self.out.push(Output::Complete { id, result });
    }

    /// A record joins the log. `Err` when it is full; nothing has changed then.
    pub(crate) fn append(&mut self, header: RecordHeader, body: Option<Buf>) -> Result<(), RecordHeader> {
        // Invariant: log-is-dense.
        assert_eq!(header.lsn, self.log.end(), "records join the log in order");
        let Ok(placed) = self.log.push(&header) else { return Err(header) };
        self.note_recent(header.lsn, header.kind, header.extent);
        if header.kind == RecordKind::Attach {
            self.attachments.on_appended(header.lsn);
        }
        if let RecordKind::Configuration | RecordKind::EpochStart = header.kind
            && !header.body.is_empty()
        {
            // In force from here on.
            let forced = header.kind == RecordKind::EpochStart;
            self.membership.on_appended(header.lsn, &header.body, forced);
            self.on_members();
        }
        if header.kind == RecordKind::Maintenance {
            let wall = self.wall();
            self.maintenance.on_appended(header.lsn, &header.body, wall);
        }
        self.appender.push(header, body, &placed);
        Ok(())
    }

    /// Hold the log from `oldest` on for a read of it.
    pub(crate) fn pin_read(&mut self, oldest: Option<Lsn>) -> Option<Pin> {
        let oldest = oldest.filter(|_| !self.setup.baited(Bait::ReadUnpinned))?;
        Some(self.log.pin(oldest))
    }

    /// The header of a record that the log holds.
    pub(crate) fn header(&self, lsn: Lsn) -> Option<RecordHeader> {
        self.log.header(self.setup.volume, lsn)
    }

    /// Give the log and the superblock what they wait for. Called at the end of every step.
    pub(crate) fn write_out(&mut self) {
        if self.fault.is_some() {
            return;
        }
        let durable_always = self.setup.ack == Ack::Durable;
        let limits = (self.setup.limits.append_bytes_max, self.setup.limits.append_records_max);
        if let Some(batch) = self.appender.next_batch(self.log.trailer(), durable_always, limits.0, limits.1)
        {
            let what = DiskOp::Append { offset: batch.offset, parts: batch.parts, durable: batch.durable };
            self.disk(Purpose::Append, what);
        }
        if !self.flushing && self.log.durable() < self.flush_to.min(self.log.written()) {
            self.flushing = true;
            let to = self.log.written();
            self.disk(Purpose::LogFlush { to }, DiskOp::Flush { area: Area::Log });
        }
        if let Some((slot, bytes)) = self.scribe.next_write() {
            let offset = Geometry::super_offset(slot);
            let what = DiskOp::WriteMeta { area: Area::Super, offset, bytes, durable: true };
            self.disk(Purpose::Superblock, what);
        }
    }

    /// The world failed us: from here on nothing is acknowledged.
    pub(crate) fn fail(&mut self, area: Area, error: DiskError) {
        if self.fault.is_some() {
            return;
        }
        let notice = Notice::DiskFailed { area: AreaName(area), errno: error.errno };
        self.fault = Some(alloc::format!("{notice}"));
        self.notice(notice);
        self.abdicate(crate::io::Refusal::Faulted);
        self.refuse_all_ours(crate::io::Refusal::Faulted);
        self.end_feed("the disk failed");
        for buf in self.appender.give_up().into_iter().chain(self.mover.give_up()) {
            self.release(buf);
        }
        self.candidate_ends("the disk failed");
        self.force_ends("the disk failed");
        self.ceding_lost();
        let links: Vec<LinkId> = self.links.keys().copied().collect();
        for link in links {
            self.disconnect(link);
        }
        if let Some(id) = self.drain.take() {
            let why = self.fault.clone().unwrap_or_default();
            self.answer(id, Err(why));
        }
    }

    /// A peer broke the protocol: its connection goes, and is told of.
    pub(crate) fn violated(&mut self, link: LinkId, violation: Violation) {
        self.notice(Notice::PeerViolated { violation });
        if self.links.contains_key(&link) {
            self.lose(link);
            self.out.push(Output::Disconnect { link });
        }
    }

    pub(crate) fn change_superblock(
        &mut self,
        safety: Safety,
        told: Told,
        edit: impl FnOnce(&mut seawall_wal::superblock::Superblock),
    ) {
        // A lineage row comes only from a durable epoch-start record.
        let durable = self.log.durable();
        let lineage = seawall_recovery::lineage::newest(&self.lineage).iter().copied();
        let lineage: Vec<LineageRow> = lineage.filter(|row| row.first < durable).collect();
        let attached = self.attachments.settled();
        let configuration = self.membership.settled();
        let maintenance = self.maintenance.settled();
        self.scribe.change(safety, told, |superblock| {
            superblock.lineage = lineage;
            superblock.attached = attached;
            if superblock.configuration != *configuration {
                superblock.configuration = configuration.clone();
            }
            if superblock.maintenance != *maintenance {
                superblock.maintenance = maintenance.clone();
            }
            edit(superblock);
        });
    }
}
