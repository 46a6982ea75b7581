//! The loop: hear, tell, carry out, wait.

use std::io;
use std::net::ToSocketAddrs;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use nix::errno::Errno;
use seawall_engine::branch::Branch;
use seawall_engine::io::{DiskDone, DiskError, Input, LinkId, OpId, Output, Request};
use seawall_engine::notice::Notice;
use seawall_sender::time::Instant;
use seawall_wal::names::BLOCK_BYTES;

use super::{Attaching, Door, Loop, STOP_PATIENCE};
use crate::clock;
use crate::counters::{add, count, raise, set};
use crate::disk::{Finished, buffers};
use crate::gear::{Gear, Token, Waiter};
use crate::handle::{Told, Wish};
use crate::net;
use crate::ring::op::{Completion, Op, Outcome};

/// How long a door stays shut after an error, such as too many open files.
const DOOR_PATIENCE: Duration = Duration::from_millis(100);
/// A machine whose deadline has passed already is called again after this long, not at once.
const TICK_MIN: Duration = Duration::from_micros(100);

impl Loop {
    /// Until it is stopped.
    pub(super) fn run(&mut self) -> io::Result<()> {
        loop {
            let now = clock::now();
            self.settle();
            self.ask_deadlines();
            self.links.flush(&mut self.gear);
            self.clients.flush(now, &mut self.gear);
            if self.is_over(now) {
                return Ok(());
            }
            let before_wait = clock::now();
            let patience = self.patience(before_wait);
            self.gear.ring.turn(patience)?;
            let woke = clock::now();
            self.woke = woke;
            let mut any = false;
            self.clients.look_around(woke, &mut self.gear);
            while let Some(completion) = self.gear.ring.take() {
                any = true;
                self.on_completion(completion, woke);
            }
            if any && !self.spin.is_zero() {
                self.awake_until = woke.after(self.spin);
            }
            self.expire(woke);
            self.note(now, before_wait);
        }
    }

    /// When each machine wants to be called again, once for all steps of a turn.
    fn ask_deadlines(&mut self) {
        for volume in self.volumes.iter_mut().filter(|volume| volume.stepped) {
            volume.stepped = false;
            let soonest = clock::now().after(TICK_MIN);
            volume.deadline = volume.replica.deadline().map(|deadline| deadline.max(soonest));
        }
    }

    /// What the counters say of a turn that began `now` and waited from `done` on.
    fn note(&self, now: Instant, done: Instant) {
        let Gear { ring, pool, counters } = &self.gear;
        count(&counters.turns);
        raise(&counters.tick_gap_nanos_max, done.0.saturating_sub(now.0));
        set(&counters.ring_overflows, ring.overflows());
        set(&counters.pool_blocks_used, u64::from(pool.blocks_used()));
        set(&counters.pool_allocations, pool.allocations() as u64);
        set(&counters.pool_waiting, pool.waiting() as u64);
    }

    /// Whether it was stopped and clients have heard their last answers.
    fn is_over(&mut self, now: Instant) -> bool {
        if !self.handle.stop.load(Ordering::Acquire) {
            return false;
        }
        let since = match self.stopping {
            Some(since) => since,
            None => {
                self.stopping = Some(now);
                self.clients.shut_down(now, &mut self.gear);
                self.settle();
                self.clients.flush(now, &mut self.gear);
                now
            }
        };
        self.clients.len() == 0 || now >= since.after(STOP_PATIENCE)
    }

    /// How long there is nothing to do.
    fn patience(&self, now: Instant) -> Option<Duration> {
        if now < self.awake_until {
            return Some(Duration::ZERO);
        }
        let machines = self.volumes.iter().filter_map(|volume| volume.deadline);
        let doors = self.peer_doors.iter().chain(&self.client_doors).filter_map(|door| door.retry);
        let stop = self.stopping.map(|since| since.after(STOP_PATIENCE));
        let others = [self.links.deadline(), self.clients.deadline(), stop];
        let first = machines.chain(doors).chain(others.into_iter().flatten()).min()?;
        Some(first.since(now))
    }

    fn on_completion(&mut self, completion: Completion<Token>, now: Instant) {
        let Loop { gear, links, clients, inputs, probe, .. } = self;
        match completion.token {
            Token::Wake => {
                gear.ring.push(Token::Wake, Op::Await { event: Rc::clone(&self.bell) });
                self.hear();
            }
            Token::Disk { volume, job } => {
                let finished = self.volumes[volume as usize].jobs.on_completion(job, completion, gear);
                self.on_finished(volume, finished);
            }
            Token::LinkConnect { link } => links.on_connected(link, completion, gear, inputs),
            Token::LinkReceive { link } => links.on_received(link, completion, gear, inputs),
            Token::LinkSend { link } => {
                probe.on_link_sent(links.name_of(link), now, &gear.counters);
                links.on_sent(link, completion, gear, inputs);
            }
            Token::ClientReceive { client } => clients.on_received(client, completion, now, gear),
            Token::ClientSend { client } => {
                probe.on_client_sent(client, now, &gear.counters);
                clients.on_sent(client, completion, now, gear);
            }
            Token::ClientWatch { client } => clients.on_watched(client, &completion, now, gear),
            Token::PeerAccept { listener } => {
                let door = &mut self.peer_doors[listener as usize];
                if let Some(socket) = admit(door, completion, now, self.stopping.is_some(), gear) {
                    links.accept(socket, now, gear);
                }
            }
            Token::ClientAccept { listener } => {
                let door = &mut self.client_doors[listener as usize];
                if let Some(socket) = admit(door, completion, now, self.stopping.is_some(), gear) {
                    if door.listener.is_tcp {
                        net::tune(&socket);
                    }
                    clients.accept(socket, now, gear);
                }
            }
        }
    }

    fn on_finished(&mut self, volume: u32, finished: Option<Finished>) {
        if let Some(Finished { op, result }) = finished {
            self.inputs.push_back((volume, Input::DiskDone { op, result }));
        }
    }

    /// What the control plane wants.
    fn hear(&mut self) {
        while let Ok(wish) = self.wished.try_recv() {
            match wish {
                Wish::Command { volume, command, reply } => {
                    match (0u32..).zip(&mut self.volumes).find(|(_, here)| here.id == volume) {
                        Some((index, here)) => {
                            let input = here.command(command, reply);
                            self.inputs.push_back((index, input));
                        }
                        None => reply(Err(String::from("this node has no replica of that volume"))),
                    }
                }
                Wish::Status { volume, reply } => {
                    let here = self.volumes.iter().find(|here| here.id == volume);
                    let status = here.map(|here| here.replica.status());
                    reply(status.map(|status| status.as_of(clock::now())));
                }
                Wish::Kept { volume, op, result } => {
                    self.inputs.push_back((volume, Input::DiskDone { op, result }));
                }
                Wish::Secure { security } => self.links.secure(security),
                Wish::Resolved { volume, link, slot, to } => {
                    let Loop { gear, links, inputs, .. } = self;
                    links.on_resolved(volume, link, slot, to, gear, inputs);
                }
            }
        }
    }

    /// What the clock wants.
    fn expire(&mut self, now: Instant) {
        for (index, volume) in (0u32..).zip(&mut self.volumes) {
            if volume.deadline.is_some_and(|deadline| deadline <= now) {
                volume.deadline = None;
                self.inputs.push_back((index, Input::Tick));
            }
        }
        let Loop { gear, links, clients, inputs, .. } = self;
        links.expire(now, gear, inputs);
        clients.expire(now, gear);
        let peers = (0u32..).zip(&mut self.peer_doors);
        let clients = (0u32..).zip(&mut self.client_doors);
        for (token, door) in peers
            .map(|(listener, door)| (Token::PeerAccept { listener }, door))
            .chain(clients.map(|(listener, door)| (Token::ClientAccept { listener }, door)))
        {
            if door.retry.take_if(|retry| *retry <= now).is_some() {
                gear.ring.push(token, Op::Accept { socket: Rc::clone(&door.listener.socket) });
            }
        }
    }

    /// Tells the machines everything, and does what they want, until nothing is left.
    fn settle(&mut self) {
        loop {
            while let Some((export, id, knows, request)) = self.clients.wishes.requests.pop_front() {
                self.count_request(&request);
                self.volumes[export.0 as usize].queue(id, knows, request);
            }
            for (index, volume) in (0u32..).zip(&mut self.volumes) {
                while let Some(input) = volume.admit() {
                    self.inputs.push_back((index, input));
                }
            }
            if let Some((volume, input)) = self.inputs.pop_front() {
                self.step(volume, input);
                continue;
            }
            if let Some((volume, violation)) = self.links.violations.pop() {
                self.tell(volume, Notice::PeerViolated { violation });
                continue;
            }
            if let Some((volume, why)) = self.links.refusals.pop() {
                // Without a volume there is nobody to tell.
                if (volume as usize) < self.volumes.len() {
                    self.tell(volume, Notice::PeerRefused { why });
                }
                continue;
            }
            if self.attach() {
                continue;
            }
            let Some((waiter, bufs)) = self.gear.pool.granted() else { return };
            let now = clock::now();
            let Loop { gear, links, clients, inputs, .. } = self;
            match waiter {
                Waiter::Disk { volume, job } => {
                    let finished = self.volumes[volume as usize].jobs.on_granted(job, bufs[0], gear);
                    self.on_finished(volume, finished);
                }
                Waiter::Link { link } => links.on_granted(link, bufs[0], gear, inputs),
                Waiter::ClientPayload { client } => clients.on_payload_granted(client, bufs, now, gear),
                Waiter::ClientBuffers { client, task } => {
                    clients.on_buffers_granted(client, task, bufs, now, gear);
                }
            }
        }
    }

    /// Answers clients that want to attach, as far as that can be said. Whether any was answered.
    fn attach(&mut self) -> bool {
        for (client, export) in std::mem::take(&mut self.clients.wishes.attachments) {
            // A slot asks once at a time: who had it before does not wait any more.
            self.attaching.retain(|other| other.client != client);
            let before = self.clients.marks(export);
            self.attaching.push(Attaching { client, export, before });
        }
        let mut answered = false;
        for mut waiting in std::mem::take(&mut self.attaching) {
            let Attaching { client, export, .. } = waiting;
            let attachment = if self.stopping.is_some() {
                Some(crate::export::nbd::Attachment::ShuttingDown)
            } else if !self.clients.are_past(&mut waiting.before) || self.clients.is_haunted(export) {
                None
            } else {
                self.volumes[export.0 as usize].attachment()
            };
            match attachment {
                None => self.attaching.push(waiting),
                Some(attachment) => {
                    answered = true;
                    let knows = self.volumes[export.0 as usize].replica.attachment();
                    let now = clock::now();
                    self.clients.on_attached(client, export, attachment, knows, now, &mut self.gear);
                }
            }
        }
        answered
    }

    fn step(&mut self, index: u32, input: Input) {
        let now = clock::now();
        self.probe.on_input(index, &input, self.woke, now);
        let volume = &mut self.volumes[index as usize];
        volume.replica.step(now, input, &mut self.outbox);
        volume.stepped = true;
        let mut outputs = std::mem::take(&mut self.outbox.outputs);
        if self.probe.listens() {
            self.probe.on_outputs(index, &outputs, clock::now());
        }
        // All references first: a `Release` may stand before what it is about.
        for output in &outputs {
            match output {
                Output::Disk { what, .. } => {
                    buffers(what).into_iter().for_each(|buf| self.gear.pool.retain(buf));
                }
                Output::Send { payload, .. } => {
                    payload.iter().for_each(|buf| self.gear.pool.retain(*buf));
                }
                Output::Keep { .. }
                | Output::Connect { .. }
                | Output::Disconnect { .. }
                | Output::Complete { .. }
                | Output::Release(_)
                | Output::Answer { .. }
                | Output::Notice(_) => {}
            }
        }
        for output in outputs.drain(..) {
            self.carry_out(index, output, now);
        }
        self.outbox.outputs = outputs;
    }

    fn carry_out(&mut self, index: u32, output: Output, now: Instant) {
        let Loop { gear, links, clients, inputs, .. } = self;
        let volume = &mut self.volumes[index as usize];
        match output {
            Output::Disk { op, what } => {
                let finished = volume.jobs.begin(op, what, gear);
                self.on_finished(index, finished);
            }
            Output::Keep { op, branch } => self.keep(index, op, branch),
            Output::Connect { link, to: _, address } => {
                if links.connect(index, link, &address, gear, inputs) {
                    self.resolve(index, link, address);
                }
            }
            Output::Send { link, head, payload } => links.send(index, link, head, payload, gear),
            Output::Disconnect { link } => links.disconnect(index, link, now, gear, inputs),
            Output::Complete { id, result } => {
                volume.on_completed();
                add(&gear.counters.refusals, u64::from(result.is_err()));
                clients.on_completed(id, result, now, gear);
            }
            Output::Release(buf) => gear.pool.release(buf),
            Output::Answer { id, answer } => volume.on_answer(id, answer),
            Output::Notice(notice) => self.tell(index, notice),
        }
    }

    fn tell(&self, index: u32, notice: Notice) {
        let told = Told { volume: self.volumes[index as usize].id, notice };
        if self.told.try_send(told).is_err() {
            count(&self.gear.counters.notices_dropped);
        }
    }

    /// Looks a peer's name up on a thread of its own: it may take seconds.
    fn resolve(&self, volume: u32, link: LinkId, address: String) {
        let Some(slot) = self.links.slot_of(volume, link) else { return };
        let handle = self.handle.clone();
        let look_up = move || {
            let to = address.to_socket_addrs().ok().and_then(|mut found| found.next());
            if handle.wishes.send(Wish::Resolved { volume, link, slot, to }).is_ok() {
                handle.ring_bell();
            }
        };
        if std::thread::Builder::new().name(String::from("resolver")).spawn(look_up).is_err() {
            // No thread is as good as no address.
            let _ = self.handle.wishes.try_send(Wish::Resolved { volume, link, slot, to: None });
            self.handle.ring_bell();
        }
    }

    /// Copies a branch on a thread of its own: it may be as long as the log.
    fn keep(&mut self, index: u32, op: OpId, branch: Box<Branch>) {
        let volume = &self.volumes[index as usize];
        let handle = self.handle.clone();
        let begun = volume.branches.clone().ok_or(Errno::ENOSYS as i32).and_then(|branches| {
            let source = volume.source().map_err(|error| error.raw_os_error().unwrap_or(0))?;
            let copy = move || {
                let kept = branches.keep(&branch, &source);
                let errno = |error: io::Error| DiskError { errno: error.raw_os_error().unwrap_or(0) };
                let result = kept.map(|()| DiskDone::Done).map_err(errno);
                if handle.wishes.send(Wish::Kept { volume: index, op, result }).is_ok() {
                    handle.ring_bell();
                }
            };
            let thread = std::thread::Builder::new().name(String::from("branch")).spawn(copy);
            thread.map(drop).map_err(|error| error.raw_os_error().unwrap_or(0))
        });
        if let Err(errno) = begun {
            // No thread is as good as no place.
            self.inputs.push_back((index, Input::DiskDone { op, result: Err(DiskError { errno }) }));
        }
    }

    fn count_request(&self, request: &Request) {
        let counters = &self.gear.counters;
        count(&counters.requests);
        let bytes = |blocks: u32| u64::from(blocks) * u64::from(BLOCK_BYTES);
        match request {
            Request::Read { extent, .. } => add(&counters.client_bytes_read, bytes(extent.blocks)),
            Request::Write { extent, .. } => add(&counters.client_bytes_written, bytes(extent.blocks)),
            Request::WritePart { sectors, .. } => {
                add(&counters.client_bytes_written, u64::from(*sectors) * 512);
            }
            Request::Flush => count(&counters.client_flushes),
            Request::WriteZeroes { .. } | Request::Trim { .. } | Request::Status { .. } => {}
        }
    }
}

/// The connection that came through a door, which is armed again.
fn admit(
    door: &mut Door,
    completion: Completion<Token>,
    now: Instant,
    stopping: bool,
    gear: &mut Gear,
) -> Option<std::os::fd::OwnedFd> {
    match completion.outcome {
        Ok(Outcome::Accepted(socket)) => {
            if stopping {
                return None;
            }
            gear.ring.push(completion.token, completion.op);
            Some(socket)
        }
        Ok(Outcome::Moved(_) | Outcome::HungUp(_)) | Err(_) => {
            door.retry = Some(now.after(DOOR_PATIENCE)).filter(|_| !stopping);
            None
        }
    }
}
