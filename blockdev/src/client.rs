//! One client's connection: its socket, its memory, and the machine that speaks its protocol.

mod ending;
mod inlet;
mod outlet;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use seawall_engine::io::{Buf, Done, LetIn, Refusal, Request, RequestId};
use seawall_sender::time::Instant;

use crate::export::nbd::{Attachment, Connection};
use crate::export::{Action, Actions, Catalog, ExportId, Limits, PartId, TaskId};
use crate::gear::{Gear, Token, Waiter};
use crate::net;
use crate::pool::Purpose;
use crate::ring::op::{Completion, Descriptor, Op};
use crate::ring::pieces::Pieces;
pub(crate) use ending::Mark;
use inlet::Inlet;
use outlet::Outlet;

/// How long a client may take to close its end after ours.
const PARTING_PATIENCE: Duration = Duration::from_secs(1);

/// What clients want of the rest of the driver.
#[derive(Default)]
pub(crate) struct Wishes {
    /// Requests, with the export that they are for, and the attachment that was known when their client was let in.
    pub(crate) requests: VecDeque<(ExportId, RequestId, LetIn, Request)>,
    /// Who wants to use which export.
    pub(crate) attachments: Vec<(u32, ExportId)>,
}

/// What is known of a client's hanging up.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hearing {
    /// Nothing.
    Open,
    /// It sends nothing more. Whether it takes its leave is seen when the receive under way is over.
    Ending,
    /// It took its leave: what came is done and answered as ever.
    Left,
}

/// How far the end has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// Not at all.
    Open,
    /// Nothing more is read; what is given to send still leaves.
    Leaving,
    /// All has left; until then the client closes its end.
    Parting { until: Instant },
    /// The socket is shut down.
    Gone,
}

/// One client's connection.
pub(crate) struct Client {
    slot: u32,
    socket: Descriptor,
    connection: Connection,
    end: End,
    inlet: Inlet,
    outlet: Outlet,
    /// Tasks whose buffers are to be zeroes.
    zeroed: Vec<TaskId>,
    todo: VecDeque<Action>,
    /// The newest attachment that the replica knew when this connection was let in.
    knows: LetIn,
    /// Tells it from others that had its slot before.
    number: u64,
    hearing: Hearing,
    /// Whether the ring tells when it hangs up.
    watched: bool,
    /// Memory that was granted while it was not known whether anybody wants it.
    granted: Vec<(TaskId, Vec<Buf>)>,
}

impl Client {
    pub(crate) fn open(
        slot: u32,
        number: u64,
        socket: Descriptor,
        catalog: Arc<Catalog>,
        limits: Limits,
        now: Instant,
    ) -> Client {
        let mut out = Actions::default();
        let connection = Connection::open(now, catalog, limits, &mut out);
        Client {
            slot,
            socket,
            connection,
            end: End::Open,
            inlet: Inlet::new(),
            outlet: Outlet::new(),
            zeroed: Vec::new(),
            todo: out.list.into(),
            knows: LetIn::default(),
            number,
            hearing: Hearing::Open,
            watched: false,
            granted: Vec::new(),
        }
    }

    /// The export that it uses.
    pub(crate) fn export(&self) -> Option<ExportId> {
        self.connection.export()
    }

    /// Whether it is over, but something of it is still with the core.
    pub(crate) fn is_haunting(&self) -> bool {
        (self.end != End::Open || self.connection.is_closed()) && !self.connection.is_idle()
    }

    /// Whether it is over and nothing of it is anywhere.
    pub(crate) fn is_over(&self) -> bool {
        let in_flight = self.inlet.is_receiving() || self.outlet.is_sending() || self.watched;
        self.end == End::Gone && !in_flight && self.connection.is_idle()
    }

    /// When to call [`Client::on_deadline`].
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.end {
            End::Open | End::Leaving => self.connection.deadline(),
            End::Parting { until } => Some(until),
            End::Gone => None,
        }
    }

    pub(crate) fn on_deadline(&mut self, now: Instant, gear: &mut Gear, wishes: &mut Wishes) {
        match self.end {
            End::Parting { until } if until <= now => self.shut(gear),
            End::Parting { .. } | End::Gone => {}
            End::Open | End::Leaving => self.tell(gear, wishes, now, |c, out| c.on_deadline(now, out)),
        }
    }

    pub(crate) fn on_attached(
        &mut self,
        export: ExportId,
        attachment: Attachment,
        knows: LetIn,
        now: Instant,
        gear: &mut Gear,
        wishes: &mut Wishes,
    ) {
        self.knows = knows;
        self.tell(gear, wishes, now, |c, out| c.on_attached(now, export, attachment, out));
    }

    pub(crate) fn on_completed(
        &mut self,
        part: PartId,
        result: Result<Done, Refusal>,
        now: Instant,
        gear: &mut Gear,
        wishes: &mut Wishes,
    ) {
        self.tell(gear, wishes, now, |c, out| c.on_completed(now, part, result, out));
    }

    pub(crate) fn on_shutdown(&mut self, now: Instant, gear: &mut Gear, wishes: &mut Wishes) {
        self.tell(gear, wishes, now, |c, out| c.on_shutdown(out));
    }

    /// The pool has room for the payload now.
    pub(crate) fn on_payload_granted(
        &mut self,
        bufs: Vec<Buf>,
        now: Instant,
        gear: &mut Gear,
        wishes: &mut Wishes,
    ) {
        self.fill_into(bufs, now);
        self.go_on(gear, wishes, now);
    }

    /// The pool has room for a task's buffers now.
    pub(crate) fn on_buffers_granted(
        &mut self,
        task: TaskId,
        bufs: Vec<Buf>,
        now: Instant,
        gear: &mut Gear,
        wishes: &mut Wishes,
    ) {
        match self.hearing {
            Hearing::Ending => self.granted.push((task, bufs)),
            Hearing::Open | Hearing::Left => self.grant(task, bufs, now, gear, wishes),
        }
    }

    fn grant(&mut self, task: TaskId, bufs: Vec<Buf>, now: Instant, gear: &mut Gear, wishes: &mut Wishes) {
        let zero = self.zeroed.iter().position(|of| *of == task).map(|at| self.zeroed.swap_remove(at));
        if zero.is_some() {
            for buf in &bufs {
                gear.pool.arena().change(gear.pool.span(*buf), |bytes| bytes.fill(0));
            }
        }
        self.tell(gear, wishes, now, |c, out| c.on_buffers(task, bufs, out));
    }

    /// A send is over.
    pub(crate) fn on_sent(
        &mut self,
        completion: Completion<Token>,
        now: Instant,
        gear: &mut Gear,
        wishes: &mut Wishes,
    ) {
        let moved = completion.moved().unwrap_or(0);
        if moved == 0 || self.end == End::Gone {
            self.outlet.on_broken(gear);
            return self.tell(gear, wishes, now, |c, out| c.on_eof(out));
        }
        if let Some(rest) = self.outlet.on_sent(completion.op, moved, gear) {
            self.push_send(rest, gear);
        }
        self.tell(gear, wishes, now, |c, out| c.on_sent(now, moved as u64, out));
    }

    /// A receive is over.
    pub(crate) fn on_received(
        &mut self,
        completion: Completion<Token>,
        now: Instant,
        gear: &mut Gear,
        wishes: &mut Wishes,
    ) {
        let moved = completion.moved().unwrap_or(0);
        let has_filled = self.inlet.on_received(completion.op, moved);
        match self.end {
            End::Open if has_filled => self.connection.on_payload_progress(now),
            End::Open => {}
            // Nobody listens any more.
            End::Leaving | End::Gone => self.inlet.forget(gear),
            End::Parting { .. } => {
                self.inlet.forget(gear);
                if moved == 0 {
                    self.shut(gear);
                }
            }
        }
        match moved {
            0 => self.tell(gear, wishes, now, |c, out| c.on_eof(out)),
            _ if self.hearing == Hearing::Ending && self.minds_hang_ups() => self.judge(now, gear, wishes),
            _ => self.go_on(gear, wishes, now),
        }
        for (task, bufs) in std::mem::take(&mut self.granted) {
            self.grant(task, bufs, now, gear, wishes);
        }
    }

    /// Tells the machine something, and does what it wants.
    fn tell(
        &mut self,
        gear: &mut Gear,
        wishes: &mut Wishes,
        now: Instant,
        what: impl FnOnce(&mut Connection, &mut Actions),
    ) {
        let mut out = Actions::default();
        what(&mut self.connection, &mut out);
        self.todo.extend(out.list);
        self.go_on(gear, wishes, now);
    }

    /// Does what the machine wants, and gives it what came, until it wants nothing and takes nothing.
    pub(crate) fn go_on(&mut self, gear: &mut Gear, wishes: &mut Wishes, now: Instant) {
        loop {
            let mut out = Actions::default();
            match self.todo.pop_front() {
                Some(action) => self.act(action, now, gear, wishes, &mut out),
                None if self.end != End::Open || self.inlet.is_receiving() => break,
                None => {
                    if !self.feed(now, gear, &mut out) {
                        break;
                    }
                }
            }
            self.todo.extend(out.list);
        }
        self.start_receive(gear);
    }

    fn act(&mut self, action: Action, now: Instant, gear: &mut Gear, wishes: &mut Wishes, out: &mut Actions) {
        match action {
            Action::Send { segments, release } => {
                self.outlet.push(segments, release);
            }
            Action::Payload { pieces } => {
                let sizes = pieces.iter().map(|piece| piece.blocks).collect();
                self.inlet.expect(pieces);
                let waiter = Waiter::ClientPayload { client: self.slot };
                if let Some(bufs) = gear.pool.alloc_or_wait(Purpose::Client, sizes, waiter) {
                    self.fill_into(bufs, now);
                }
            }
            Action::Buffers { task, blocks, zeroed } => {
                let waiter = Waiter::ClientBuffers { client: self.slot, task };
                match gear.pool.alloc_or_wait(Purpose::Client, blocks, waiter) {
                    None if zeroed => self.zeroed.push(task),
                    None => {}
                    Some(bufs) => {
                        for buf in bufs.iter().filter(|_| zeroed) {
                            gear.pool.arena().change(gear.pool.span(*buf), |bytes| bytes.fill(0));
                        }
                        self.connection.on_buffers(task, bufs, out);
                    }
                }
            }
            Action::Retain { buf, times } => gear.pool.retain_times(buf, times),
            Action::Release(buf) => gear.pool.release(buf),
            Action::Submit { part, request } => {
                let export = self.connection.export().expect("requests follow an attachment");
                let id = RequestId(u64::from(self.slot) << 32 | u64::from(part.0));
                wishes.requests.push_back((export, id, self.knows, request));
            }
            Action::Attach { export } => {
                wishes.attachments.push((self.slot, export));
                self.watch(gear);
            }
            Action::CloseAfterSends => {
                if self.end == End::Open {
                    self.end = End::Leaving;
                    self.forget_memory(gear);
                }
            }
            Action::Close => self.shut(gear),
        }
    }

    fn fill_into(&mut self, bufs: Vec<Buf>, now: Instant) {
        self.inlet.fill_into(bufs);
        self.connection.on_payload_progress(now);
    }

    /// Gives the machine, or the payload under way, some of what came. Whether anything moved.
    fn feed(&mut self, now: Instant, gear: &mut Gear, out: &mut Actions) -> bool {
        if self.inlet.has_payload() {
            let topped_up = self.inlet.top_up(gear);
            return match self.inlet.take_whole(gear) {
                Some(payloads) => {
                    self.connection.on_payload(payloads, out);
                    true
                }
                None => topped_up,
            };
        }
        if self.inlet.bytes().is_empty() || !self.connection.wants_bytes() {
            return false;
        }
        let taken = self.connection.on_bytes(now, self.inlet.bytes(), out);
        self.inlet.pass(taken);
        taken > 0 || !out.list.is_empty()
    }

    /// Receives, if somebody wants to know what comes.
    fn start_receive(&mut self, gear: &mut Gear) {
        let wanted = match self.end {
            End::Gone | End::Leaving => false,
            End::Parting { .. } => true,
            End::Open => self.inlet.has_payload() || self.connection.wants_bytes(),
        };
        if wanted && self.inlet.is_ready() {
            let into = self.inlet.open(gear);
            let socket = Descriptor::clone(&self.socket);
            gear.ring.push(Token::ClientReceive { client: self.slot }, Op::Receive { socket, into });
        }
    }

    /// Sends what waits, unless a send is under way; parts when that was all.
    pub(crate) fn start_send(&mut self, now: Instant, gear: &mut Gear) {
        if matches!(self.end, End::Gone | End::Parting { .. }) {
            return;
        }
        if let Some(from) = self.outlet.open(gear) {
            self.push_send(from, gear);
        } else if self.end == End::Leaving && !self.outlet.is_sending() {
            net::shut_write(&self.socket);
            self.end = End::Parting { until: now.after(PARTING_PATIENCE) };
            self.start_receive(gear);
        }
    }

    fn push_send(&mut self, from: Pieces, gear: &mut Gear) {
        let socket = Descriptor::clone(&self.socket);
        gear.ring.push(Token::ClientSend { client: self.slot }, Op::Send { socket, from });
    }

    /// Ends it. What is in flight keeps its memory until it is over.
    fn shut(&mut self, gear: &mut Gear) {
        if self.end == End::Gone {
            return;
        }
        self.end = End::Gone;
        net::shut(&self.socket);
        self.forget_memory(gear);
        self.outlet.forget(gear);
    }

    /// Waits for no memory any more, and gives back that of a payload that nobody will hear of.
    fn forget_memory(&mut self, gear: &mut Gear) {
        let slot = self.slot;
        gear.pool.forget(|waiter| match waiter {
            Waiter::ClientPayload { client } | Waiter::ClientBuffers { client, .. } => *client == slot,
            Waiter::Disk { .. } | Waiter::Link { .. } => false,
        });
        self.inlet.forget(gear);
    }
}
