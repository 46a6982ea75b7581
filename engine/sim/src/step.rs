//! One step of one machine, and what a driver does with its outbox.

use seawall_engine::branch::Branch;
use seawall_engine::io::{Buf, Done, Input, OpId, Outbox, Output, Refusal, RequestId};
use seawall_engine::notice::Notice;
use seawall_engine::replica::Replica;
use seawall_engine::status::Role;

use crate::client::Wish;
use crate::clock::{MILLIS, SECOND};
use crate::coverage::Table;
use crate::directory::Directory;
use crate::disk::{EIO, Fate, buffers, bytes_moved, describe};
use crate::node::{Request, State};
use crate::oracle::Failure;
use crate::oracle::image::refused;
use crate::oracle::ledger::Place;
use crate::pool::BLOCK;
use crate::sign::{DiskEnd, Sign, verb};
use crate::tally::Fault;
use crate::world::{Event, RECENT, World};

/// A node that only hands requests on, where the one who answers counts.
const NOBODY: usize = usize::MAX - 1;
/// Clocks that are further off than a lease allows for; in a million.
const CLOCK_PPM_MAX: u64 = 50_000;
/// More steps than this within a millisecond are no progress.
const STEPS_PER_MILLI_MAX: u32 = 20_000;

impl World {
    /// One input, one step, one outbox.
    pub(crate) fn step(&mut self, node: usize, input: Input) -> Result<(), Failure> {
        let now = self.nodes[node].clock.shows(self.now);
        let asked = match &input {
            Input::Request { id, .. } => Some(*id),
            Input::DiskDone { .. }
            | Input::Connected { .. }
            | Input::Accepted { .. }
            | Input::Received { .. } => None,
            Input::Lost { .. } | Input::Command { .. } | Input::Tick => None,
        };
        self.transcript.note(self.now.0 ^ (node as u64) << 56);
        self.transcript.line(self.now, &node, || describe_input(&input));
        let mut out = Outbox::default();
        let here = &mut self.nodes[node];
        here.replica.as_mut().expect("a process that runs").step(now, input, &mut out);
        self.tally.steps += 1;
        self.carry_out(node, asked, out.outputs)?;

        let here = &mut self.nodes[node];
        let replica = here.replica.as_ref().expect("a process that runs");
        let status = replica.status();
        here.faulted = status.role == Role::Faulted;
        self.oracle.on_step(node, here.life, &status)?;
        self.oracle.upkeep.on_status(self.now, node, &status)?;
        if let Some(timeline) = &mut self.timeline {
            timeline.on_status(self.now, node, &status);
        }
        let deadline = replica.deadline();
        if deadline != here.deadline {
            here.deadline = deadline;
            here.tick += 1;
            if let Some(deadline) = deadline {
                let late = self.chances.clock.between(1_000, 100_000);
                let at = here.clock.when(deadline).max(self.now).plus(late);
                self.queue.push(at, Event::Tick { node, life: here.life, tick: here.tick });
            }
        }
        let since = self.now.since(here.busy.0);
        here.busy = if since > MILLIS { (self.now, 0) } else { (here.busy.0, here.busy.1 + 1) };
        if here.busy.1 > STEPS_PER_MILLI_MAX {
            let detail = format!("node {node} makes {STEPS_PER_MILLI_MAX} steps within a millisecond");
            return Err(Failure::new("no-false-progress", detail));
        }
        Ok(())
    }

    fn carry_out(
        &mut self,
        node: usize,
        asked: Option<RequestId>,
        mut outputs: Vec<Output>,
    ) -> Result<(), Failure> {
        for output in &outputs {
            for buf in held_by(output) {
                self.nodes[node].pool.hold(buf);
            }
        }
        self.shuffle(&mut outputs);
        for output in outputs {
            self.on_output(node, asked, output)?;
        }
        Ok(())
    }

    /// Any order, except that the frames of one link stay in theirs.
    fn shuffle(&mut self, outputs: &mut Vec<Output>) {
        if outputs.len() < 2 {
            return;
        }
        let mut order: Vec<usize> = (0..outputs.len()).collect();
        self.chances.order.shuffle(&mut order);
        let link = |index: usize| match &outputs[index] {
            Output::Send { link, .. } => Some(*link),
            Output::Disk { .. }
            | Output::Keep { .. }
            | Output::Connect { .. }
            | Output::Disconnect { .. }
            | Output::Complete { .. } => None,
            Output::Release(_) | Output::Answer { .. } | Output::Notice(_) => None,
        };
        let mut links: Vec<_> = order.iter().filter_map(|&index| link(index)).collect();
        links.sort_unstable();
        links.dedup();
        for one in links {
            let places: Vec<usize> = (0..order.len()).filter(|&at| link(order[at]) == Some(one)).collect();
            let mut sends: Vec<usize> = places.iter().map(|&at| order[at]).collect();
            sends.sort_unstable();
            for (place, send) in places.into_iter().zip(sends) {
                order[place] = send;
            }
        }
        let mut taken: Vec<Option<Output>> = core::mem::take(outputs).into_iter().map(Some).collect();
        outputs.extend(order.into_iter().map(|index| taken[index].take().expect("each once")));
    }

    fn on_output(&mut self, node: usize, asked: Option<RequestId>, output: Output) -> Result<(), Failure> {
        match output {
            Output::Disk { op, what } => return self.give(node, op, what),
            Output::Keep { op, branch } => self.keep(node, op, branch),
            Output::Connect { link, to: _, address } => {
                let life = self.nodes[node].life;
                self.transcript.line(self.now, &node, || format!("  connect {link:?} to {address}"));
                let host = self.directory.host(&address);
                let astray = host.is_some_and(|host| host != Directory::owner(&address));
                self.tally.fired(Fault::WrongHost, u64::from(astray));
                self.tally.fired(Fault::NobodyThere, u64::from(host.is_none()));
                self.net.on_connect(self.now, (node, life), link, host, astray);
            }
            Output::Send { link, head, payload } => {
                crate::oracle::promise::check(node, &head, &self.nodes[node].disk, &self.oracle.votes)?;
                crate::oracle::telling::check(node, &head)?;
                self.transcript.note(head.len() as u64);
                self.transcript.line(self.now, &node, || describe_frame(link, &head));
                self.sign_frame(node, link, &head, true);
                let stands = self.stands_still(&head);
                let taken = self.net.on_send(self.now, node, link, head, payload);
                if let Some(long) = stands.filter(|_| taken) {
                    self.net.on_stuck(self.now, node, link, long);
                }
                if !taken && let Some(buf) = payload {
                    self.nodes[node].pool.release(buf);
                }
            }
            Output::Disconnect { link } => {
                self.transcript.line(self.now, &node, || format!("  disconnect {link:?}"));
                for buf in self.net.on_disconnect(self.now, node, link) {
                    self.nodes[node].pool.release(buf);
                }
            }
            Output::Complete { id, result } => return self.on_complete(node, asked == Some(id), id, result),
            Output::Release(buf) => self.nodes[node].pool.release(buf),
            Output::Answer { id, answer } => {
                self.transcript.line(self.now, &node, || format!("  answer {}: {answer:?}", id.0));
                self.oracle.upkeep.on_answer(id, answer.is_ok());
                self.answers.insert(id, answer);
                self.on_answered(id);
            }
            Output::Notice(notice) => return self.on_notice(node, &notice),
        }
        Ok(())
    }

    fn on_notice(&mut self, node: usize, notice: &Notice) -> Result<(), Failure> {
        self.transcript.line(self.now, &node, || format!("  ! {notice}"));
        self.sign(node, Sign::Notice(notice));
        *self.tally.notices.entry(notice.kind()).or_default() += 1;
        let recent = &mut self.recent[node];
        recent.truncate(RECENT - 1);
        recent.push_front((self.now, notice.clone()));
        if let Notice::Promised { epoch } | Notice::Reigning { epoch, .. } = notice {
            self.oracle.frontiers.on_promised(node, *epoch);
        }
        if let Notice::Forced { epoch, first, before } = notice {
            self.on_forced(node, *epoch, *first, *before)?;
        }
        if let Notice::Reigning { epoch, first } = notice {
            self.on_reigning(node, *epoch);
            self.oracle.history.on_reigning(node, *epoch, *first)?;
        }
        if let Notice::Opened { rule, .. } = notice {
            self.opened[node] = Some(rule);
            self.tally.mark(Table::Restart, rule);
        }
        if let Notice::OpenFailed { .. } = notice
            && let Some(rule) = refused(&self.nodes[node].disk)
        {
            self.tally.mark(Table::Restart, rule.name());
        }
        if let Notice::Planned { rule, .. } = notice {
            self.tally.mark(Table::Plan, rule);
        }
        self.on_complaint(node, notice)
    }

    /// A place beside the disk takes a branch, if it has room.
    fn keep(&mut self, node: usize, op: OpId, branch: Box<Branch>) {
        let disk = &self.profile.disk;
        let side = &mut self.chances.side;
        let latency = side.between(disk.latency_min, disk.latency_max) + branch.bytes() / 2;
        let full = self.nodes[node].waiting.full.is_some_and(|(_, until)| self.now < until);
        let fails = self.chaos && (full || disk.write_errors > 0 && side.chance(125_000));
        self.transcript.line(self.now, &node, || {
            format!("  keep {} [{}, {})", op.0, branch.range.start, branch.range.end)
        });
        let life = self.nodes[node].life;
        self.queue.push(self.now.plus(latency), Event::Kept { node, life, op, branch, good: !fails });
    }

    fn give(&mut self, node: usize, op: OpId, what: seawall_engine::io::DiskOp) -> Result<(), Failure> {
        use seawall_engine::io::DiskOp as D;
        let rigged = self.is_rigged(node, &what);
        let disk = &self.profile.disk;
        let faults = &mut self.chances.disk_fault;
        let draw = faults.below(crate::prng::MILLION);
        let (chance, fault) = match &what {
            D::ReadMeta { .. } | D::Scan { .. } | D::Read { .. } => {
                (disk.read_errors, Some(Fault::ReadError))
            }
            D::WriteMeta { .. } | D::Append { .. } | D::WriteHome { .. } => {
                (disk.write_errors, Some(Fault::WriteError))
            }
            D::Flush { .. } => (disk.flush_errors, Some(Fault::FlushError)),
            D::Discard { .. } | D::Merge { .. } | D::Copy { .. } => (0, None),
        };
        let fate = match fault {
            Some(fault) if self.chaos && draw < chance => {
                self.tally.fired(fault, 1);
                Fate::Error(EIO)
            }
            Some(_) | None => Fate::Good,
        };
        let fate = if rigged { Fate::Error(EIO) } else { fate };
        let unread = fault == Some(Fault::ReadError) && fate != Fate::Good;
        self.nodes[node].read_errors += u64::from(unread);
        let mut latency =
            self.chances.disk.between(disk.latency_min, disk.latency_max) + bytes_moved(&what) / 2;
        if self.chaos && faults.chance(disk.stalls) {
            latency = faults.between(SECOND, 12 * SECOND);
            let stalls = &mut self.nodes[node].waiting.stalls;
            *stalls = self.now.plus(latency).max(*stalls);
            self.tally.fired(Fault::Stall, 1);
        }
        if let D::Merge { .. } | D::Copy { .. } = what {
            latency = 1_000;
        }
        let (fate, latency) = self.befalls(node, &what, fate, latency);
        let latency = latency.max(self.stalled[node].since(self.now));
        let early = self.chances.disk.coin();
        if let Some((does, area)) = verb(&what) {
            self.sign(node, Sign::Disk(does, area, DiskEnd::Given));
        }
        self.transcript.line(self.now, &node, || {
            format!(
                "  disk {} {}{}",
                op.0,
                describe(&what),
                if fate == Fate::Good { String::new() } else { format!(" ({fate:?})") }
            )
        });
        self.transcript.note(latency);
        self.oracle.on_disk_given(node, &self.nodes[node], op, &what)?;
        self.nodes[node].disk.on_given(op, what, fate, early);
        let life = self.nodes[node].life;
        self.queue.push(self.now.plus(latency), Event::Disk { node, life, op });
        Ok(())
    }

    fn on_complete(
        &mut self,
        node: usize,
        at_once: bool,
        id: RequestId,
        result: Result<Done, Refusal>,
    ) -> Result<(), Failure> {
        // Invariant: completion-exactly-once.
        let Some(request) = self.nodes[node].requests.remove(&id) else {
            let detail =
                format!("node {node} completes request {}, which it was not asked or has completed", id.0);
            return Err(Failure::new("completion-exactly-once", detail));
        };
        let short = match &result {
            Ok(done) => short_done(done),
            Err(refusal) => format!("{refusal:?}"),
        };
        self.transcript.note(id.0);
        self.transcript.line(self.now, &node, || format!("  complete {} {:?}: {short}", id.0, request.wish));
        self.on_named_answer(node, &request, &result)?;
        let pause = match &result {
            Ok(done) => {
                // What was handed on was shown by the one who was asked.
                if let Some((Role::Primary, epoch)) = self.nodes[node].replica.as_ref().map(Replica::role)
                    && self.profile.clock_ppm <= CLOCK_PPM_MAX
                    && self.profile.lease > 0
                {
                    self.oracle.reigns.check_shows(node, epoch)?;
                }
                if self.is_void(node) {
                    // Whatever this side says since a promotion was forced on the other, nobody may count on it.
                    self.settle(&request, false);
                } else {
                    self.on_done(node, &request, done)?;
                    self.on_told(node, &request);
                }
                let wait = self.now.since(request.since);
                self.waits.iter_mut().for_each(|waits| waits.push(wait));
                self.sign(node, if let Done::Read { .. } = done { Sign::Read } else { Sign::Wrote });
                self.hands[request.slot].guess = node;
                0
            }
            Err(refusal) => {
                self.on_refused(node, &request, *refusal, at_once)?;
                20 * MILLIS
            }
        };
        if let Some(buf) = request.buf {
            self.nodes[node].pool.release(buf);
        }
        self.free(request.slot, request.asked, pause);
        Ok(())
    }

    fn on_done(&mut self, node: usize, request: &Request, done: &Done) -> Result<(), Failure> {
        // Who hands on a request speaks for somebody else.
        let reigns = self.status(node).is_some_and(|status| status.role == Role::Primary);
        let oracle = &mut self.oracle;
        match (request.wish, done) {
            (Wish::Read(extent), Done::Read { holes }) => {
                self.tally.reads += 1;
                let bytes = self.nodes[node].pool.bytes(request.buf.expect("a read has a buffer"));
                let hole = |block: usize| holes >> block & 1 == 1;
                let seen = bytes
                    .chunks_exact(BLOCK)
                    .enumerate()
                    .map(|(block, bytes)| (!hole(block)).then_some(bytes));
                oracle.ledger.on_read(extent.start, seen, request.began, self.turn)
            }
            (Wish::Write { stamp, fua, place }, Done::Written) => {
                let speaker = if reigns { node } else { NOBODY };
                self.tally.written += 1;
                self.served_last = self.now;
                oracle.weigh_members(reigns.then_some(node), stamp);
                oracle
                    .copies
                    .check_done(speaker, stamp, fua, self.turn)
                    .map_err(|failure| locate(failure, node, place))?;
                oracle.ledger.on_write_ended(stamp, self.turn)
            }
            (Wish::Zero { stamp, .. }, Done::Written) => {
                self.tally.written += 1;
                self.served_last = self.now;
                oracle.ledger.on_write_ended(stamp, self.turn)
            }
            (Wish::Flush, Done::Flushed) if reigns => oracle.copies.check_flushed(node, request.began),
            (Wish::Flush, Done::Flushed) => oracle.copies.check_flushed(usize::MAX, request.began),
            (wish, done) => {
                let detail = format!("node {node} answers {wish:?} with {}", short_done(done));
                Err(Failure::new("completion-exactly-once", detail))
            }
        }
    }

    fn on_refused(
        &mut self,
        node: usize,
        request: &Request,
        refusal: Refusal,
        at_once: bool,
    ) -> Result<(), Failure> {
        self.tally.refused += 1;
        self.sign(node, Sign::Refused);
        // It may be told by the primary, of its own disk.
        let harmed = |node: usize| self.atlas.is_harmed(node) || self.nodes[node].read_errors > 0;
        if refusal == Refusal::Unreadable && !(0..self.nodes.len()).any(harmed) {
            let detail =
                format!("node {node} can't read for {:?}, and its disk is as it wrote it", request.wish);
            return Err(Failure::new("damage-is-real", detail));
        }
        let hand = &mut self.hands[request.slot];
        match refusal {
            Refusal::Superseded => hand.guess = self.abode,
            Refusal::NotPrimary | Refusal::NoQuorum | Refusal::Faulted | Refusal::ShuttingDown => {
                hand.guess = self.chances.client.index(self.nodes.len());
            }
            Refusal::Unreadable | Refusal::InDoubt => {}
        }
        // An error is told over a connection that stays.
        let stays = matches!(refusal, Refusal::NoQuorum | Refusal::Unreadable | Refusal::InDoubt);
        if !stays && hand.asked == request.asked {
            hand.connection = None;
            if self.told.is_some_and(|told| self.is_named(request.slot) && told.node == node) {
                self.told = None;
            }
        }
        // What is refused in the step that hears of it was not begun.
        let void = at_once && refusal == Refusal::NotPrimary;
        self.settle(request, void);
        Ok(())
    }

    /// A client hears that its write is done: what it gave up before that never lands any more.
    fn on_told(&mut self, node: usize, request: &Request) {
        let hand = &mut self.hands[request.slot];
        let Some(place) = request.wish.place().filter(|_| hand.asked == request.asked) else { return };
        self.abode = node;
        for stamp in core::mem::take(&mut hand.doubts) {
            self.oracle.ledger.on_fenced(stamp, place, self.turn);
        }
    }

    /// A request ended without a good answer.
    pub(crate) fn settle(&mut self, request: &Request, void: bool) {
        let hand = &mut self.hands[request.slot];
        if let Some(stamp) = request.wish.stamp().filter(|_| !void && hand.asked == request.asked) {
            hand.doubts.push(stamp);
        }
        let ledger = &mut self.oracle.ledger;
        match request.wish {
            Wish::Read(_) => ledger.on_read_void(request.began),
            Wish::Write { stamp, .. } | Wish::Zero { stamp, .. } if void => ledger.on_write_void(stamp),
            Wish::Write { stamp, .. } | Wish::Zero { stamp, .. } => ledger.on_write_in_doubt(stamp),
            Wish::Flush => {}
        }
    }

    /// Whether a node's process runs.
    pub(crate) fn is_up(&self, node: usize) -> bool {
        self.nodes[node].state == State::Up
    }
}

fn locate(mut failure: Failure, node: usize, place: Place) -> Failure {
    failure.detail = format!("node {node}, {place:?}: {}", failure.detail);
    failure
}

fn held_by(output: &Output) -> Vec<Buf> {
    match output {
        Output::Disk { what, .. } => buffers(what),
        Output::Send { payload, .. } => payload.iter().copied().collect(),
        Output::Keep { .. } => Vec::new(),
        Output::Connect { .. } | Output::Disconnect { .. } | Output::Complete { .. } => Vec::new(),
        Output::Release(_) | Output::Answer { .. } | Output::Notice(_) => Vec::new(),
    }
}

fn short_done(done: &Done) -> String {
    match done {
        Done::Read { holes } => format!("read, holes {holes:x}"),
        Done::Written => "written".to_owned(),
        Done::Flushed => "flushed".to_owned(),
        Done::Status(runs) => format!("status {runs:?}"),
    }
}

fn describe_input(input: &Input) -> String {
    match input {
        Input::Request { id, .. } => format!("hears request {}", id.0),
        Input::DiskDone { op, result } => {
            format!("hears disk {} {}", op.0, if result.is_ok() { "done" } else { "FAILED" })
        }
        Input::Connected { link, .. } => format!("hears connected {link:?}"),
        Input::Accepted { link, .. } => format!("hears accepted {link:?}"),
        Input::Received { link, frame, .. } => {
            format!(
                "hears {} on {link:?} in {} {}",
                frame.header.kind, frame.header.epoch, frame.header.session
            )
        }
        Input::Lost { link } => format!("hears lost {link:?}"),
        Input::Command { id, command } => format!("hears command {} {command:?}", id.0),
        Input::Tick => "hears tick".to_owned(),
    }
}

fn describe_frame(link: seawall_engine::io::LinkId, head: &[u8]) -> String {
    let kind = head.first_chunk().and_then(|head| seawall_sender::frame::FrameHeader::decode(head).ok());
    match kind {
        Some(header) => format!("  send {} on {link:?} in {}", header.kind, header.session),
        None => format!("  send what is no frame on {link:?}"),
    }
}
