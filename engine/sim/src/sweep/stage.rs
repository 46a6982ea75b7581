//! A small world in which everything happens at once and in one order: real replicas, a network that loses nothing,
//! and one replica, the subject, whose every disk operation can be looked at, stopped at or spoilt.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use seawall_engine::io::{
    Answer, Buf, DiskDone, DiskOp, Done, Input, LinkId, OpId, Outbox, Output, Refusal, RequestId,
};
use seawall_engine::notice::Notice;
use seawall_engine::replica::Replica;
use seawall_engine::setup::Ack;
use seawall_engine::status::{Role, Status};
use seawall_sender::frame::{FRAME_BYTES, Frame};
use seawall_sender::greeting::Proven;
use seawall_sender::time::Instant;
use seawall_wal::names::Extent;

use super::drive::Drive;
use super::history::{History, Stamps, Told};
use super::plan::{Order, Plan};
use super::shot::{Shot, Spoken};
use super::spoil::Spoil;
use crate::disk::buffers;
use crate::pool::Pool;

/// Which node's disk is swept.
pub(super) const SUBJECT: usize = 0;
/// Things that happen in one wait at the most.
const STEPS_MAX: usize = 400_000;
/// Simulated time of one wait at the most.
const WAIT_MAX: Duration = Duration::from_secs(600);

/// Something that must not be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wrong {
    /// Which check found it.
    pub check: &'static str,
    /// What it found.
    pub detail: String,
}

impl Wrong {
    pub(super) fn new(check: &'static str, detail: impl Into<String>) -> Wrong {
        Wrong { check, detail: detail.into() }
    }
}

impl core::fmt::Display for Wrong {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}: {}", self.check, self.detail)
    }
}

/// A disk operation that is under way.
#[derive(Debug)]
pub(super) struct Given {
    op: OpId,
    what: DiskOp,
    mark: u64,
}

/// A node.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) drive: Drive,
    pub(super) boot: u8,
    pub(super) pool: Pool,
    pub(super) replica: Option<Replica>,
    pub(super) life: u32,
    pub(super) accepted: u64,
    pub(super) given: VecDeque<Given>,
    pub(super) away: bool,
    /// Why it refused to open.
    pub(super) refused: Option<String>,
    /// It said that its disk failed.
    pub(super) failed: bool,
}

/// What a client waits for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asked {
    Change(usize),
    Flush { acked: u128 },
    Read { extent: Extent, buf: Buf },
}

/// The world.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) plan: Plan,
    pub(super) nodes: Vec<Node>,
    pub(super) history: History,
    pub(super) spoken: Spoken,
    /// What is recorded of the subject's disk operations, if anything is.
    pub(super) shots: Option<Vec<Shot>>,
    /// What goes wrong on the subject's disk.
    pub(super) spoil: Option<Spoil>,
    /// Disk operations that the subject's disk has carried out.
    pub(super) ops: usize,
    /// Writes that the subject asked its disk for after it said that it had failed.
    pub(super) writes_after_failure: usize,
    /// What had been told when the subject said that its disk had failed.
    pub(super) at_failure: Option<(Told, Spoken)>,
    /// The operation that was spoilt.
    pub(super) spoilt: Option<String>,
    pub(super) now: Instant,
    pub(super) inputs: VecDeque<(usize, u32, Input)>,
    pub(super) links: BTreeMap<(usize, LinkId), (usize, LinkId)>,
    pub(super) asked: BTreeMap<u64, (usize, Asked)>,
    pub(super) results: BTreeMap<u64, Result<Done, Refusal>>,
    pub(super) seen: BTreeMap<u64, Option<Stamps>>,
    pub(super) answers: BTreeMap<u64, Answer>,
    pub(super) numbers: u64,
}

impl Stage {
    /// A world over these devices, with nobody alive.
    pub(super) fn new(plan: Plan, drives: Vec<Drive>, boot: u8, history: History) -> Stage {
        let node = |drive| Node {
            drive,
            boot,
            pool: Pool::default(),
            replica: None,
            life: 0,
            accepted: 0,
            given: VecDeque::new(),
            away: false,
            refused: None,
            failed: false,
        };
        Stage {
            plan,
            nodes: drives.into_iter().map(node).collect(),
            history,
            spoken: Spoken::default(),
            shots: None,
            spoil: None,
            ops: 0,
            writes_after_failure: 0,
            at_failure: None,
            spoilt: None,
            now: Instant(1_000_000_000),
            inputs: VecDeque::new(),
            links: BTreeMap::new(),
            asked: BTreeMap::new(),
            results: BTreeMap::new(),
            seen: BTreeMap::new(),
            answers: BTreeMap::new(),
            numbers: 0,
        }
    }

    /// A process begins.
    pub(super) fn start(&mut self, node: usize) {
        let setup = self.plan.setup(node, self.nodes[node].boot);
        let here = &mut self.nodes[node];
        here.life += 1;
        here.pool = Pool::default();
        here.refused = None;
        here.failed = false;
        here.replica = Some(Replica::new(self.now, setup));
        let life = here.life;
        self.inputs.push_back((node, life, Input::Tick));
    }

    /// All processes begin.
    pub(super) fn start_all(&mut self) {
        (0..self.nodes.len()).for_each(|node| self.start(node));
    }

    /// A process is killed; what its disk was doing is not done.
    pub(super) fn kill(&mut self, node: usize) {
        let here = &mut self.nodes[node];
        here.replica = None;
        here.given.clear();
        self.asked.retain(|_, (at, _)| *at != node);
        self.unlink(node);
    }

    /// Nobody hears a node any more, and it hears nobody.
    pub(super) fn isolate(&mut self, node: usize) {
        self.nodes[node].away = true;
        self.unlink(node);
    }

    /// It is heard again.
    pub(super) fn heal(&mut self, node: usize) {
        self.nodes[node].away = false;
    }

    fn unlink(&mut self, node: usize) {
        let mine: Vec<_> = self.links.keys().filter(|(at, _)| *at == node).copied().collect();
        for (_, link) in mine {
            if let Some((at, link)) = self.close(node, link) {
                self.hear(at, Input::Lost { link });
            }
            self.hear(node, Input::Lost { link });
        }
    }

    fn close(&mut self, node: usize, link: LinkId) -> Option<(usize, LinkId)> {
        let other = self.links.remove(&(node, link))?;
        self.links.remove(&other);
        Some(other)
    }

    pub(super) fn hear(&mut self, node: usize, input: Input) {
        let life = self.nodes[node].life;
        self.inputs.push_back((node, life, input));
    }

    /// What a node shows of itself.
    pub(super) fn status(&self, node: usize) -> Option<Status> {
        self.nodes[node].replica.as_ref().map(Replica::status)
    }

    /// Who serves: of several, the one of the highest epoch.
    pub(super) fn serving(&self) -> Option<usize> {
        let roles = self.nodes.iter().enumerate().filter_map(|(at, node)| {
            let (role, epoch) = node.replica.as_ref()?.role();
            (role == Role::Primary && !node.away).then_some((epoch, at))
        });
        roles.max().map(|(_, at)| at)
    }

    /// Go on until `done`; false if it never comes.
    pub(super) fn until(&mut self, mut done: impl FnMut(&Stage) -> bool) -> bool {
        let limit = self.now.after(WAIT_MAX);
        for _ in 0..STEPS_MAX {
            if done(self) {
                return true;
            }
            if !self.happen(limit) {
                return false;
            }
        }
        false
    }

    /// [`Stage::until`], or that it never comes.
    pub(super) fn reach(
        &mut self,
        what: &'static str,
        done: impl FnMut(&Stage) -> bool,
    ) -> Result<(), Wrong> {
        if self.until(done) {
            return Ok(());
        }
        let roles: Vec<_> = (0..self.nodes.len())
            .map(|node| self.status(node).map(|status| (status.role, status.fault, status.log_end)))
            .collect();
        Err(Wrong::new("it-goes-on", format!("{what} never comes; {roles:?}")))
    }

    /// The next thing; false if there is none before `limit`.
    fn happen(&mut self, limit: Instant) -> bool {
        if let Some((node, life, input)) = self.inputs.pop_front() {
            if self.nodes[node].life == life && self.nodes[node].replica.is_some() {
                self.step(node, input);
            }
            return true;
        }
        let busy = |stage: &Stage, node: usize| !stage.nodes[node].given.is_empty();
        if let Some(node) = (0..self.nodes.len()).rev().find(|node| busy(self, *node)) {
            self.disk(node);
            return true;
        }
        let replicas = self.nodes.iter().enumerate();
        let due = replicas.filter_map(|(at, node)| Some((node.replica.as_ref()?.deadline()?, at))).min();
        match due {
            Some((deadline, node)) if deadline <= limit => {
                self.now = self.now.max(deadline);
                self.hear(node, Input::Tick);
                true
            }
            Some(_) | None => false,
        }
    }

    fn step(&mut self, node: usize, input: Input) {
        let mut out = Outbox::default();
        self.nodes[node].replica.as_mut().expect("a process that runs").step(self.now, input, &mut out);
        for output in &out.outputs {
            let held = match output {
                Output::Disk { what, .. } => buffers(what),
                Output::Send { payload, .. } => payload.iter().copied().collect(),
                Output::Keep { .. } => Vec::new(),
                Output::Connect { .. } | Output::Disconnect { .. } | Output::Complete { .. } => Vec::new(),
                Output::Release(_) | Output::Answer { .. } | Output::Notice(_) => Vec::new(),
            };
            held.into_iter().for_each(|buf| self.nodes[node].pool.hold(buf));
        }
        for output in out.outputs {
            self.on_output(node, output);
        }
    }

    fn on_output(&mut self, node: usize, output: Output) {
        match output {
            Output::Disk { op, what } => {
                let here = &mut self.nodes[node];
                let mark = match &what {
                    DiskOp::Flush { area } => here.drive.mark(*area),
                    _ => 0,
                };
                let (what, mark) = match self.plan.sabotage.filter(|_| node == SUBJECT) {
                    Some(sabotage) => sabotage.twist(what, mark),
                    None => (what, mark),
                };
                if node == SUBJECT && here.failed && here.drive.writes(&what, &here.pool).is_some() {
                    self.writes_after_failure += 1;
                }
                here.given.push_back(Given { op, what, mark });
            }
            Output::Keep { op, branch: _ } => {
                self.hear(node, Input::DiskDone { op, result: Ok(DiskDone::Done) })
            }
            Output::Connect { link, to: _, address } => {
                let peer: usize = address.parse().expect("an address that the configuration named");
                let there = &mut self.nodes[peer];
                if there.replica.is_none() || there.away || self.nodes[node].away {
                    return self.hear(node, Input::Lost { link });
                }
                let there = &mut self.nodes[peer];
                there.accepted += 1;
                let other = LinkId(there.accepted * 2 - 1);
                self.links.insert((node, link), (peer, other));
                self.links.insert((peer, other), (node, link));
                self.hear(peer, Input::Accepted { link: other, proven: Proven::Nobody });
                self.hear(node, Input::Connected { link, proven: Proven::Nobody });
            }
            Output::Send { link, head, payload } => self.send(node, link, &head, payload),
            Output::Disconnect { link } => {
                if let Some((peer, link)) = self.close(node, link) {
                    self.hear(peer, Input::Lost { link });
                }
            }
            Output::Complete { id, result } => self.on_complete(node, id, result),
            Output::Release(buf) => self.nodes[node].pool.release(buf),
            Output::Answer { id, answer } => {
                self.answers.insert(id.0, answer);
            }
            Output::Notice(notice) => self.on_notice(node, notice),
        }
    }

    fn send(&mut self, node: usize, link: LinkId, head: &[u8], payload: Option<Buf>) {
        let (first, meta) = head.split_first_chunk::<FRAME_BYTES>().expect("a frame has a header");
        let frame = Frame::decode(first, meta.to_vec()).expect("our own frames are well formed");
        if node == SUBJECT {
            self.spoken.on_said(&frame);
        }
        let bytes = payload.map(|buf| self.nodes[node].pool.bytes(buf).to_vec());
        if let Some(buf) = payload {
            self.nodes[node].pool.release(buf);
        }
        let Some(&(peer, link)) = self.links.get(&(node, link)) else { return };
        if peer == SUBJECT {
            self.spoken.on_heard(&frame);
        }
        let payload = bytes.map(|bytes| self.nodes[peer].pool.filled(&bytes));
        self.hear(peer, Input::Received { link, frame, payload });
    }

    fn on_notice(&mut self, node: usize, notice: Notice) {
        match notice {
            Notice::OpenFailed { why } => self.nodes[node].refused = Some(why),
            Notice::DiskFailed { .. } => {
                self.nodes[node].failed = true;
                if node == SUBJECT {
                    self.at_failure = Some((self.history.told, self.spoken));
                }
            }
            _ => {}
        }
    }

    fn on_complete(&mut self, node: usize, id: RequestId, result: Result<Done, Refusal>) {
        let Some((_, asked)) = self.asked.remove(&id.0) else { panic!("a request completes once") };
        match (asked, &result) {
            (Asked::Change(change), Ok(_)) => {
                self.history.on_done(change, self.plan.ack == Ack::Durable);
            }
            (Asked::Flush { acked }, Ok(_)) => self.history.on_flushed(acked),
            (Asked::Read { extent, buf }, Ok(Done::Read { holes })) => {
                for (at, block) in (extent.start..extent.end()).enumerate() {
                    let bytes = self.nodes[node].pool.bytes(buf.part(u32::try_from(at).expect("few"), 1));
                    let hole = holes >> at & 1 == 1;
                    let stamps = if hole { Some(Stamps::default()) } else { History::stamps(block, bytes) };
                    self.seen.insert(block, stamps);
                }
            }
            (Asked::Change(_) | Asked::Flush { .. } | Asked::Read { .. }, _) => {}
        }
        if let Asked::Read { buf, .. } = asked {
            self.nodes[node].pool.release(buf);
        }
        self.results.insert(id.0, result);
    }

    fn disk(&mut self, node: usize) {
        let here = &mut self.nodes[node];
        let newest = node == SUBJECT && self.plan.order == Order::Newest;
        let next = if newest { here.given.pop_back() } else { here.given.pop_front() };
        let Given { op, what, mark } = next.expect("something to do");
        if node == SUBJECT {
            let shot = self.shots.is_some().then(|| self.shot(&what, mark));
            if let Some(shots) = &mut self.shots {
                shots.extend(shot);
            }
            self.ops += 1;
        }
        let here = &mut self.nodes[node];
        let spoil = self.spoil.filter(|spoil| node == SUBJECT && spoil.at == self.ops - 1);
        let result = match spoil {
            Some(spoil) => spoil.carry_out(&mut here.drive, &what, mark, &mut here.pool),
            None => Ok(here.drive.carry_out(&what, mark, &mut here.pool)),
        };
        if spoil.is_some() {
            self.spoilt = Some(crate::disk::describe(&what));
        }
        for buf in buffers(&what) {
            here.pool.release(buf);
        }
        self.hear(node, Input::DiskDone { op, result });
    }

    fn shot(&self, what: &DiskOp, mark: u64) -> Shot {
        let here = &self.nodes[SUBJECT];
        let others = here.given.iter().filter_map(|given| here.drive.writes(&given.what, &here.pool));
        Shot {
            index: self.ops,
            what: crate::disk::describe(what),
            write: here.drive.writes(what, &here.pool),
            flush: match what {
                DiskOp::Flush { area } => Some((*area, mark)),
                _ => None,
            },
            others: others.collect(),
            drives: self.nodes.iter().map(|node| node.drive.clone()).collect(),
            boot: here.boot,
            history: self.history.clone(),
            spoken: self.spoken,
        }
    }

    /// What the subject has yet to write, when it dies now.
    pub(super) fn writes_in_flight(&self) -> Vec<super::drive::Write> {
        let here = &self.nodes[SUBJECT];
        here.given.iter().filter_map(|given| here.drive.writes(&given.what, &here.pool)).collect()
    }
}
