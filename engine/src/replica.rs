//! The door.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use seawall_sender::time::Instant;
use seawall_wal::configuration::Configuration;
use seawall_wal::names::{Epoch, Lsn};

use crate::commit::Electorate;
use crate::core::{Core, Purpose, Told};
use crate::forward::Owner;
use crate::io::{Area, Command, DiskDone, DiskError, Input, LetIn, OpId, Outbox, Output, Refusal};
use crate::notice::Notice;
use crate::opening::{Found, Next, Opening, note_restart};
use crate::risk::AtRisk;
use crate::scribe::Safety;
use crate::setup::Setup;
use crate::status::{Policy, Quorum, Role, Status, Watch};

/// One replica of a volume.
#[derive(Debug)]
pub struct Replica {
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// Nothing was read yet.
    Unread(Box<Setup>),
    /// The disk is being read.
    Opening { setup: Box<Setup>, opening: Box<Opening>, op: OpId },
    /// It takes part.
    Open(Box<Core>),
    /// The disk can't be used.
    Refused { setup: Box<Setup>, why: String },
}

impl Replica {
    /// A replica that has read nothing. Its first step, whatever the input, begins to read its disk.
    #[must_use]
    pub fn new(_now: Instant, setup: Setup) -> Replica {
        setup.limits.recovery.check();
        Replica { stage: Stage::Unread(Box::new(setup)) }
    }

    /// One event, one step, one drain of `out`.
    pub fn step(&mut self, now: Instant, input: Input, out: &mut Outbox) {
        if let Stage::Unread(setup) = &self.stage {
            let (opening, what) = Opening::begin();
            let op = OpId(0);
            out.push(Output::Disk { op, what });
            self.stage = Stage::Opening { setup: setup.clone(), opening: Box::new(opening), op };
        }
        match &mut self.stage {
            Stage::Unread(_) => unreachable!("it reads by now"),
            Stage::Opening { setup, opening, op } => match input {
                Input::DiskDone { op: done, result } if done == *op => {
                    let next = opening.on_done(setup, result);
                    self.on_opened(now, next, out);
                }
                other => turn_away(other, "this replica is still reading its disk", out),
            },
            Stage::Refused { why, .. } => turn_away(input, why, out),
            Stage::Open(core) => core.step(now, input, out),
        }
    }

    fn on_opened(&mut self, now: Instant, next: Next, out: &mut Outbox) {
        let Stage::Opening { setup, op, .. } = &mut self.stage else { return };
        match next {
            Next::Do(what) => {
                *op = OpId(op.0 + 1);
                out.push(Output::Disk { op: *op, what });
            }
            Next::Open(found) => {
                let core = open(now, (**setup).clone(), *found, op.0 + 1, out);
                self.stage = Stage::Open(Box::new(core));
            }
            Next::Refuse(why) => {
                out.push(Output::Notice(Notice::OpenFailed { why: why.clone() }));
                self.stage = Stage::Refused { setup: setup.clone(), why };
            }
        }
    }

    /// When to call again with [`Input::Tick`] if nothing else happens.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Unread(_) => Some(Instant::default()),
            Stage::Opening { .. } | Stage::Refused { .. } => None,
            Stage::Open(core) => core.deadline(),
        }
    }

    /// What it is, and the epoch whose primary it follows or is.
    #[must_use]
    pub fn role(&self) -> (Role, Epoch) {
        match &self.stage {
            Stage::Unread(_) | Stage::Opening { .. } => (Role::Opening, Epoch::ZERO),
            Stage::Refused { .. } => (Role::Faulted, Epoch::ZERO),
            Stage::Open(core) => core.role(),
        }
    }

    /// The newest attachment that it knows to be settled, and what it has asked for: what a client's connection is
    /// let in with.
    #[must_use]
    pub fn attachment(&self) -> LetIn {
        match &self.stage {
            Stage::Unread(_) | Stage::Opening { .. } | Stage::Refused { .. } => LetIn::default(),
            Stage::Open(core) => core.let_in(),
        }
    }

    /// What it shows of itself.
    #[must_use]
    pub fn status(&self) -> Status {
        match &self.stage {
            Stage::Unread(setup) | Stage::Opening { setup, .. } => closed(setup, Role::Opening, None),
            Stage::Refused { setup, why } => closed(setup, Role::Faulted, Some(why.clone())),
            Stage::Open(core) => core.status(),
        }
    }
}

/// The disk is read: a new life begins, on record before it takes part.
fn open(now: Instant, setup: Setup, found: Found, next_op: u64, out: &mut Outbox) -> Core {
    let torn = found.torn_at;
    let opened = Notice::Opened {
        rule: found.rule,
        start: found.log.start(),
        end: found.log.end(),
        checkpoint: found.superblock.checkpoint,
    };
    out.push(Output::Notice(opened));
    if let Some(at) = torn {
        out.push(Output::Notice(Notice::TornTailCut { at }));
    }
    let known = crate::opening::configuration(&found.superblock, &setup);
    if let Some(why) = crate::opening::difference(&known, &setup) {
        out.push(Output::Notice(Notice::MembersDiffer { why }));
    }
    let mut core = Core::new(now, setup, found, next_op);
    core::mem::swap(out, &mut core.out);
    let setup = core.setup.clone();
    let tail = core.log.tail_epoch();
    core.change_superblock(Safety::Twice, Told::Reopened, |superblock| {
        note_restart(superblock, &setup);
        // A forced start is durable before the promise of it is.
        superblock.promised = superblock.promised.max(tail);
    });
    core.write_out();
    core::mem::swap(out, &mut core.out);
    core
}

/// An input to a replica that does not take part.
fn turn_away(input: Input, why: &str, out: &mut Outbox) {
    match input {
        Input::Request { id, request, .. } => {
            if let Some(buf) = request.brought() {
                out.push(Output::Release(buf));
            }
            out.push(Output::Complete { id, result: Err(Refusal::NotPrimary) });
        }
        Input::Accepted { link, .. } => out.push(Output::Disconnect { link }),
        Input::Received { payload, .. } => {
            if let Some(payload) = payload {
                out.push(Output::Release(payload.buf));
            }
        }
        Input::Command { id, command: Command::Drain } => {
            // It changed nothing, so there is nothing to bring home.
            out.push(Output::Answer { id, answer: Ok(crate::io::Answered::Drained) });
        }
        Input::Command {
            id,
            command:
                Command::Promote { .. }
                | Command::Force(_)
                | Command::HandOver { .. }
                | Command::Change(_)
                | Command::Maintain(_)
                | Command::Digest,
        } => {
            out.push(Output::Answer { id, answer: Err(why.into()) });
        }
        Input::DiskDone { result: Ok(DiskDone::Read { buf, .. }), .. } => out.push(Output::Release(buf)),
        Input::DiskDone { .. } | Input::Connected { .. } | Input::Lost { .. } | Input::Tick => {}
    }
}

fn closed(setup: &Setup, role: Role, fault: Option<String>) -> Status {
    Status {
        replica: setup.replica,
        role,
        promised: Epoch::ZERO,
        epoch: Epoch::ZERO,
        lineage: Vec::new(),
        log_start: Lsn::ZERO,
        log_end: Lsn::ZERO,
        written: Lsn::ZERO,
        durable: Lsn::ZERO,
        committed: Lsn::ZERO,
        settled: Lsn::ZERO,
        checkpoint: Lsn::ZERO,
        log_used_bytes: 0,
        log_bytes: 0,
        index_bytes: 0,
        base_complete: false,
        base_held: 0,
        lossy: false,
        restart_rule: "none",
        fault,
        requests: 0,
        boots: 0,
        configuration: Configuration::default(),
        pending: None,
        maintenance: Vec::new(),
        peers: Vec::new(),
        now: Instant::default(),
        policy: Policy::of(setup),
        electorate: Electorate::new(Vec::new(), None),
        voter: setup.member(setup.replica).is_some_and(|member| member.voter),
        stranded: None,
        forced: None,
        draining: false,
        quorum: Quorum::default(),
        watch: Watch::default(),
        alone: AtRisk::default(),
        volatile: AtRisk::default(),
    }
}

impl Core {
    fn step(&mut self, now: Instant, input: Input, out: &mut Outbox) {
        core::mem::swap(out, &mut self.out);
        self.now = self.now.max(now);
        match input {
            Input::Request { id, knows, request } => self.on_request(id, knows, request),
            Input::DiskDone { op, result } => self.on_disk_done(op, result),
            Input::Connected { link, proven } => self.on_connected(link, proven),
            Input::Accepted { link, proven } => self.on_accepted(link, proven),
            Input::Received { link, frame, payload } => self.on_received(link, frame, payload),
            Input::Lost { link } => self.lose(link),
            Input::Command { id, command } => match command {
                Command::Promote { take_over } => self.on_promote(id, take_over),
                Command::Force(wish) => self.on_force(id, wish),
                Command::HandOver { to } => self.on_handover_command(id, to),
                Command::Change(change) => self.on_change(id, &change),
                Command::Maintain(maintain) => self.on_maintain(id, maintain),
                Command::Drain => self.on_drain(id),
                Command::Digest => self.ask_digest(id),
            },
            Input::Tick => self.on_tick(),
        }
        self.members_due();
        self.hear_parked();
        self.forward();
        self.make_space();
        self.feed_lanes();
        self.pulse();
        self.drain_due();
        self.write_out();
        self.note_quorum();
        core::mem::swap(out, &mut self.out);
    }

    fn on_tick(&mut self) {
        if self.fault.is_some() || self.drained {
            return;
        }
        self.maintenance_tick();
        self.lanes_tick();
        self.candidate_tick();
        self.force_tick();
        self.follower_tick();
        self.handover_tick();
        self.vigil_tick();
        self.refuse_impatient();
        self.forward_tick();
    }

    fn deadline(&self) -> Option<Instant> {
        if self.fault.is_some() || self.drained {
            return None;
        }
        let silence = self.setup.limits.silence_max;
        let requests = self.primary.as_ref().and_then(|p| p.deadline(self.setup.limits.quorum_patience));
        let feed = self.feed.as_ref().filter(|feed| feed.is_owed()).map(|feed| feed.heard.after(silence));
        let candidate = self.candidate.as_ref().and_then(crate::candidate::Candidate::deadline);
        let unknown = self.unknown_since().map(|since| since.after(silence));
        let handing = self.primary.as_ref().and_then(|p| p.handing).map(|handing| handing.deadline());
        let ceding = self.ceding.map(|ceding| ceding.deadline());
        let forcing = self.forcing.as_ref().and_then(crate::force::Forcing::deadline);
        let own = [requests, feed, candidate, unknown, handing, ceding, forcing, self.set_deadline()];
        own.into_iter()
            .chain([self.lanes_deadline(), self.vigil_deadline(), self.forward_deadline()])
            .chain([self.maintenance.next_over()])
            .flatten()
            .min()
    }

    fn on_disk_done(&mut self, op: OpId, result: Result<DiskDone, DiskError>) {
        let purpose = self.ops.remove(&op).expect("a disk operation ends once");
        let clients =
            matches!(purpose, Purpose::Orphan { .. } | Purpose::PartSum { .. } | Purpose::Brought { .. });
        if self.fault.is_some() && !clients {
            // Nothing that ends now is acknowledged; buffers go home.
            return self.drop_read(result);
        }
        match purpose {
            Purpose::Superblock => self.on_superblock_written(result),
            Purpose::Append => self.on_appended(result),
            Purpose::LogFlush { to } => self.on_log_flushed(to, result),
            Purpose::Read { number } => self.on_read(number, result),
            Purpose::Orphan { owner: Owner::Peer { .. } } => self.drop_read(result),
            Purpose::Orphan { owner: Owner::Ours { number } } => self.on_free(number, None),
            Purpose::PartSum { number } => self.on_part_sum(number, result),
            Purpose::Brought { number, holes } => self.on_brought(number, holes),
            Purpose::MergeBase { number } => self.on_merge_base(number, result),
            Purpose::Merge { number } => self.on_merged(number, result),
            Purpose::FeedRead { replica, session, first, records } => {
                self.on_feed_read(replica, session, first, records, result);
            }
            Purpose::BaseRead { replica, session, number } => {
                self.on_base_read(replica, session, number, result)
            }
            Purpose::BaseWrite { feed, whole, part, crcs } => {
                self.on_base_write(feed, whole, part, &crcs, result);
            }
            Purpose::FetchRead { link, epoch, first, records } => {
                self.on_fetch_read(link, epoch, first, records, result);
            }
            Purpose::Move(which) => self.on_moved(which, result),
            Purpose::Keep => self.on_kept(result),
        }
    }

    fn on_superblock_written(&mut self, result: Result<DiskDone, DiskError>) {
        if let Err(error) = result {
            return self.fail(Area::Super, error);
        }
        for told in self.scribe.on_stored() {
            match told {
                Told::Nothing => {}
                Told::Reopened => self.take_part(),
                Told::Promise { link, epoch } => self.on_promise_stored(link, epoch),
                Told::OwnPromise { epoch } => self.on_own_promise_stored(epoch),
                Told::Reserved { epoch } => self.on_force_reserved(epoch),
                Told::Forced { epoch } => self.on_forced_stored(epoch),
                Told::Greeted { feed } => self.on_greeted_stored(feed),
                Told::CutForFetch { epoch } => self.on_cut_for_fetch(epoch),
                Told::Begun { feed } => self.on_begun_stored(feed),
                Told::StartedOver { feed, start } => {
                    self.log.on_release_durable(start);
                    self.on_begun_stored(feed);
                }
                Told::Settled => self.on_settled_named(),
                Told::Checkpoint { complete } => self.on_checkpointed(complete),
                Told::Released { start } => {
                    self.log.on_release_durable(start);
                    self.admit_writes();
                    self.follower_progressed();
                    self.candidate_progressed();
                }
                Told::Drained => self.on_drained(),
            }
        }
    }

    /// A restart is on record. The one that reigned last, or is to reign first, asks for promises.
    fn take_part(&mut self) {
        self.takes_part = true;
        self.wait_for_a_primary();
        let me = self.me();
        let promised = self.promised();
        let first = promised == Epoch::ZERO && self.setup.first_primary == me;
        let idle = self.feed.is_none() && self.candidate.is_none() && self.drain.is_none();
        if (first || promised.replica == me) && self.base_complete() && self.is_voter(me) && idle {
            #[cfg(feature = "bait")]
            if self.reigns_again() {
                return;
            }
            self.campaign(None);
        }
    }

    pub(crate) fn role(&self) -> (Role, Epoch) {
        let resting = self.candidate.as_ref().is_none_or(crate::candidate::Candidate::is_resting);
        let role = if self.fault.is_some() {
            Role::Faulted
        } else if self.drained {
            Role::Drained
        } else if self.is_removed() {
            Role::Removed
        } else if let Some(primary) = &self.primary {
            if primary.serving { Role::Primary } else { Role::Starting }
        } else if resting {
            Role::Follower
        } else {
            Role::Candidate
        };
        let epoch = match (&self.primary, &self.feed) {
            (Some(primary), _) => primary.epoch,
            (None, Some(feed)) => feed.epoch,
            (None, None) => Epoch::ZERO,
        };
        (role, epoch)
    }
}
