//! One client's connection: the machine that its driver holds.

use std::sync::Arc;

use seawall_engine::io::{Buf, Done, Payload, Refusal};
use seawall_sender::time::Instant;

use super::super::action::{Action, Actions, PartId, TaskId};
use super::super::catalog::{Catalog, ExportId};
use super::super::client::{Client, Ended, Harvest, Work};
use super::super::limits::Limits;
use super::gather::Gather;
use super::handshake::{Handshake, Outcome};
use super::outlet::Outlet;
use super::reply;
use super::request::{Request, Terms, Verdict};
use super::wire::{CMD_FLAG_DF, Errno, REQUEST_BYTES};

/// Whether a client may use an export now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Attachment {
    /// It may.
    Granted,
    /// The volume is not served here.
    NotPrimary {
        /// Who serves it, in words for the client's user.
        primary: Option<String>,
    },
    /// Nobody could say in time: there is no primary, or what came before over other connections is not sequenced.
    NotYet,
    /// As many connections as are allowed use it already.
    TooMany,
    /// The process is about to end.
    ShuttingDown,
}

/// One client's connection.
///
/// After every call that takes `out`, the driver carries the actions out and looks at [`Connection::wants_bytes`]
/// and [`Connection::deadline`] anew: any call can change both.
#[derive(Debug)]
pub struct Connection {
    limits: Limits,
    phase: Phase,
    handshake: Option<Box<Handshake>>,
    terms: Option<Terms>,
    inlet: Inlet,
    gather: Gather,
    client: Client<Tag>,
    outlet: Outlet,
    /// Requests that came, over its life.
    requests: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Until then, the client chooses an export.
    Haggling { until: Instant },
    /// Until then, it is to be heard whether the client may attach; it began `since`, and the handshake may then
    /// go on for what was left of `haggling_until`.
    Attaching { export: ExportId, since: Instant, until: Instant, haggling_until: Instant },
    /// Requests are taken.
    Serving,
    /// No more requests are taken; those under way are finished.
    Leaving,
    /// All is answered; what is given to send still leaves.
    Parting,
    /// Over.
    Closed,
}

/// What the next bytes of the stream are, while serving.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Inlet {
    /// A request's header.
    Header,
    /// A request is known, but must wait for room.
    Full { work: Work, tag: Tag },
    /// The payload of a refused WRITE, dropped. The client may send none of it until `stalled`.
    Drain { left: u32, refusal: Reproof, stalled: Instant },
    /// The payload of a WRITE, received by the driver. With a deadline once it began to.
    Payload { task: TaskId, stalled: Option<Instant> },
}

/// What a refused request is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Reproof {
    cookie: u64,
    errno: Errno,
    text: &'static str,
}

/// What is kept with a request under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Tag {
    cookie: u64,
    /// How many requests came before it.
    number: u64,
    /// The flag DF: one chunk.
    whole: bool,
}

impl Connection {
    /// A client connected: greet it.
    #[must_use]
    pub fn open(now: Instant, catalog: Arc<Catalog>, limits: Limits, out: &mut Actions) -> Connection {
        assert!(limits.is_coherent(), "the limits fit each other");
        let mut greeting = Vec::new();
        let handshake = Handshake::greet(catalog, limits, &mut greeting);
        let mut connection = Connection {
            limits,
            phase: Phase::Haggling { until: now.after(limits.handshake) },
            handshake: Some(Box::new(handshake)),
            terms: None,
            inlet: Inlet::Header,
            gather: Gather::default(),
            client: Client::new(),
            outlet: Outlet::new(limits),
            requests: 0,
        };
        connection.say(now, greeting, out);
        connection
    }

    /// The export in use, once there is one.
    #[must_use]
    pub fn export(&self) -> Option<ExportId> {
        self.terms.map(|terms| terms.export)
    }

    /// Whether it is over and done with: nothing more is to be received or sent.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        match self.phase {
            Phase::Closed => true,
            Phase::Parting => self.outlet.is_empty(),
            Phase::Haggling { .. } | Phase::Attaching { .. } | Phase::Serving | Phase::Leaving => false,
        }
    }

    /// Whether the core has nothing of it any more. A closed connection is kept until then.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.client.is_idle()
    }

    /// Whether it takes bytes now. Not while the driver receives a payload, nor at a limit.
    #[must_use]
    pub fn wants_bytes(&self) -> bool {
        match (self.phase, self.inlet) {
            (Phase::Haggling { .. }, _) | (Phase::Serving, Inlet::Header) => self.outlet.has_room(),
            (Phase::Serving, Inlet::Drain { .. }) => true,
            (Phase::Serving, Inlet::Full { .. } | Inlet::Payload { .. })
            | (Phase::Attaching { .. } | Phase::Leaving | Phase::Parting | Phase::Closed, _) => false,
        }
    }

    /// Whether it matters that the client hangs up before that is read: it waits, or wants something. Who chooses an
    /// export is read on, and who took its leave waits for answers.
    #[must_use]
    pub fn minds_hang_ups(&self) -> bool {
        match self.phase {
            Phase::Attaching { .. } | Phase::Serving => true,
            Phase::Haggling { .. } | Phase::Leaving | Phase::Parting | Phase::Closed => false,
        }
    }

    /// Whether a client takes its leave (`NBD_CMD_DISC`) in `rest`, the last bytes of its stream: then it wants
    /// everything before done and answered. `payload` bytes at the beginning are of the payload that the driver
    /// receives.
    #[must_use]
    pub fn is_left(&self, payload: usize, rest: &[u8]) -> bool {
        let (Phase::Serving, Some(mut rest)) = (self.phase, rest.get(payload..)) else { return false };
        let passed = match self.inlet {
            Inlet::Header | Inlet::Payload { .. } => 0,
            Inlet::Full { work: Work::Write { span, .. }, .. } => span.bytes as usize,
            Inlet::Full { .. } => 0,
            Inlet::Drain { left, .. } => left as usize,
        };
        rest = rest.get(passed..).unwrap_or(&[]);
        // What there is of the next header.
        let mut header = self.gather.bytes().to_vec();
        while header.len() + rest.len() >= REQUEST_BYTES {
            let (lacking, after) = rest.split_at(REQUEST_BYTES - header.len());
            header.extend_from_slice(lacking);
            let Some(request) = Request::decode(&header) else { return false };
            if request.leaves() {
                return true;
            }
            rest = after.get(request.payload_bytes() as usize..).unwrap_or(&[]);
            header.clear();
        }
        false
    }

    /// Whether a request came that waits for room.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!((self.phase, self.inlet), (Phase::Serving, Inlet::Full { .. }))
    }

    /// How many requests came so far.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// Whether one of the first `requests` requests is a change that waits for memory of ours.
    #[must_use]
    pub fn has_waiting(&self, requests: u64) -> bool {
        self.client.waiting().any(|tag| tag.number < requests)
    }

    /// When to call [`Connection::on_deadline`] if nothing else happens.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let own = match (self.phase, self.inlet) {
            (Phase::Haggling { until } | Phase::Attaching { until, .. }, _) => Some(until),
            (Phase::Serving, Inlet::Drain { stalled, .. }) => Some(stalled),
            (Phase::Serving, Inlet::Payload { stalled, .. }) => stalled,
            (Phase::Serving, Inlet::Header | Inlet::Full { .. }) | (Phase::Leaving | Phase::Parting, _) => {
                None
            }
            (Phase::Closed, _) => return None,
        };
        own.into_iter().chain(self.outlet.deadline()).min()
    }

    /// A deadline passed. Does nothing if none has.
    pub fn on_deadline(&mut self, now: Instant, out: &mut Actions) {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        match self.phase {
            // The client hears why, and may ask again or elsewhere.
            Phase::Attaching { export, until, .. } if until <= now => {
                self.on_attached(now, export, Attachment::NotYet, out);
            }
            Phase::Attaching { .. }
            | Phase::Haggling { .. }
            | Phase::Serving
            | Phase::Leaving
            | Phase::Parting
            | Phase::Closed => self.close(out),
        }
    }

    /// Bytes came. Returns how many were taken; all, unless it no longer [`Connection::wants_bytes`]. Those not
    /// taken are the payload's first if a [`Action::Payload`] came out; else they are to be given again when it
    /// wants bytes.
    pub fn on_bytes(&mut self, now: Instant, bytes: &[u8], out: &mut Actions) -> usize {
        let mut rest = bytes;
        while !rest.is_empty() && self.wants_bytes() {
            match self.phase {
                Phase::Haggling { .. } => self.haggle(now, &mut rest, out),
                Phase::Serving => self.serve(now, &mut rest, out),
                Phase::Attaching { .. } | Phase::Leaving | Phase::Parting | Phase::Closed => {
                    unreachable!("no bytes are wanted")
                }
            }
        }
        bytes.len() - rest.len()
    }

    fn haggle(&mut self, now: Instant, rest: &mut &[u8], out: &mut Actions) {
        let mut answer = Vec::new();
        let outcome = self.handshake.as_mut().expect("it haggles").on_bytes(rest, &mut answer);
        self.say(now, answer, out);
        self.on_outcome(now, outcome, out);
    }

    fn on_outcome(&mut self, now: Instant, outcome: Outcome, out: &mut Actions) {
        match outcome {
            Outcome::Haggle => {}
            Outcome::Attach(export) => {
                let Phase::Haggling { until: haggling_until } = self.phase else {
                    unreachable!("only a client that haggles wishes to attach")
                };
                let until = now.after(self.limits.attach);
                self.phase = Phase::Attaching { export, since: now, until, haggling_until };
                out.push(Action::Attach { export });
            }
            Outcome::Part => self.part(out),
            Outcome::Break => self.close(out),
        }
    }

    /// The answer to [`Action::Attach`]. One that comes late is ignored.
    pub fn on_attached(&mut self, now: Instant, export: ExportId, attachment: Attachment, out: &mut Actions) {
        let Phase::Attaching { export: wished, since, haggling_until, .. } = self.phase else { return };
        if export != wished {
            return;
        }
        let mut answer = Vec::new();
        let attached = self.handshake.as_mut().expect("it haggles").on_attached(&attachment, &mut answer);
        self.phase = match attached {
            Ok(_) => Phase::Serving,
            Err(_) => Phase::Haggling { until: haggling_until.after(now.since(since)) },
        };
        self.say(now, answer, out);
        match attached {
            Ok(terms) => {
                self.terms = Some(terms);
                self.handshake = None;
            }
            Err(outcome) => self.on_outcome(now, outcome, out),
        }
    }

    fn serve(&mut self, now: Instant, rest: &mut &[u8], out: &mut Actions) {
        match self.inlet {
            Inlet::Header => {
                if let Some(header) = self.gather.take(REQUEST_BYTES, rest) {
                    self.on_header(now, &header, out);
                }
            }
            Inlet::Drain { left, refusal, .. } => {
                let dropped = rest.len().min(left as usize);
                *rest = &rest[dropped..];
                let left = left - u32::try_from(dropped).expect("not more than was left");
                self.drain(now, left, refusal, out);
            }
            Inlet::Full { .. } | Inlet::Payload { .. } => unreachable!("no bytes are wanted"),
        }
    }

    fn on_header(&mut self, now: Instant, header: &[u8], out: &mut Actions) {
        let terms = self.terms.expect("it serves");
        let Some(request) = Request::decode(header) else { return self.close(out) };
        let whole = request.flags & CMD_FLAG_DF != 0;
        let tag = Tag { cookie: request.cookie, number: self.requests, whole };
        self.requests += 1;
        match request.judge(&terms, &self.limits) {
            Verdict::Work(work) => {
                self.outlet.open_request();
                self.inlet = Inlet::Full { work, tag };
                self.admit(now, out);
            }
            Verdict::Done => {
                self.outlet.open_request();
                self.outlet.answer(now, reply::success(tag.cookie), Vec::new(), 0, out);
            }
            Verdict::Refuse { errno, text, drain } => {
                self.outlet.open_request();
                self.drain(now, drain, Reproof { cookie: tag.cookie, errno, text }, out);
            }
            Verdict::Leave => self.leave(out),
            Verdict::Break => self.close(out),
        }
    }

    fn drain(&mut self, now: Instant, left: u32, refusal: Reproof, out: &mut Actions) {
        if left > 0 {
            let stalled = now.after(self.limits.payload_stall);
            self.inlet = Inlet::Drain { left, refusal, stalled };
            return;
        }
        self.inlet = Inlet::Header;
        let Reproof { cookie, errno, text } = refusal;
        let structured = self.terms.expect("it serves").structured;
        self.outlet.answer(now, reply::error(structured, cookie, errno, text), Vec::new(), 0, out);
    }

    /// Begin the request that waits for room, if there is one, and room.
    fn admit(&mut self, now: Instant, out: &mut Actions) {
        let (Phase::Serving, Inlet::Full { work, tag }) = (self.phase, self.inlet) else { return };
        if !self.outlet.take_memory(work.memory()) {
            return;
        }
        self.inlet = Inlet::Header;
        match self.client.begin(work, tag, out) {
            Ok(task) => match work {
                Work::Write { .. } => self.inlet = Inlet::Payload { task, stalled: None },
                Work::Read(_)
                | Work::WriteZeroes { .. }
                | Work::Trim { .. }
                | Work::Flush
                | Work::Status { .. } => {}
            },
            Err(ended) => self.on_ended(now, ended, out),
        }
    }

    /// The driver has memory for the payload and begins to receive it, or received some of it.
    pub fn on_payload_progress(&mut self, now: Instant) {
        if let Inlet::Payload { stalled, .. } = &mut self.inlet {
            *stalled = Some(now.after(self.limits.payload_stall));
        }
    }

    /// The whole payload is in: the buffer of each [`Piece`](super::super::Piece), one reference with each, and a
    /// checksum for each of its blocks; that of a block which the payload covers in part is not looked at.
    pub fn on_payload(&mut self, payloads: Vec<Payload>, out: &mut Actions) {
        match (self.phase, self.inlet) {
            (Phase::Serving, Inlet::Payload { task, .. }) => {
                self.inlet = Inlet::Header;
                self.client.on_payload(task, payloads, out);
            }
            (Phase::Serving, Inlet::Header | Inlet::Full { .. } | Inlet::Drain { .. }) => {
                panic!("a payload comes when it was asked for")
            }
            // It was given up.
            (
                Phase::Haggling { .. }
                | Phase::Attaching { .. }
                | Phase::Leaving
                | Phase::Parting
                | Phase::Closed,
                _,
            ) => out.list.extend(payloads.into_iter().map(|payload| Action::Release(payload.buf))),
        }
    }

    /// The buffers that were asked for, one reference with each.
    pub fn on_buffers(&mut self, task: TaskId, buffers: Vec<Buf>, out: &mut Actions) {
        self.client.on_buffers(task, buffers, out);
    }

    /// The core answered a request.
    pub fn on_completed(
        &mut self,
        now: Instant,
        part: PartId,
        result: Result<Done, Refusal>,
        out: &mut Actions,
    ) {
        // A client retries what a closed connection left unanswered, elsewhere if need be; an error it would hand
        // on to its file system. So these are never answered: the volume is whole elsewhere.
        match result {
            Err(Refusal::NotPrimary | Refusal::Faulted | Refusal::Superseded) => self.close(out),
            Err(Refusal::ShuttingDown) => self.stop(out),
            Err(Refusal::NoQuorum | Refusal::Unreadable | Refusal::InDoubt) | Ok(_) => {}
        }
        if let Some(ended) = self.client.on_completed(part, result, out) {
            self.on_ended(now, ended, out);
        }
        self.part_when_done(out);
    }

    fn on_ended(&mut self, now: Instant, ended: Ended<Tag>, out: &mut Actions) {
        let Ended { tag: Tag { cookie, whole, .. }, work, result } = ended;
        let structured = self.terms.expect("it serves").structured;
        let memory = work.memory();
        let (segments, release) = match (result, work) {
            (Ok(Harvest::Read(filled)), Work::Read(span)) => {
                let segments = if structured {
                    reply::structured_read(cookie, span.offset, &filled, whole)
                } else {
                    reply::simple_read(cookie, &filled)
                };
                (segments, filled.into_iter().map(|filled| filled.buf).collect())
            }
            (Ok(Harvest::Status(runs)), _) => (reply::status(cookie, &runs), Vec::new()),
            (Ok(Harvest::Read(_)), _) => unreachable!("only a read harvests data"),
            (Ok(Harvest::Written | Harvest::Flushed), _) => (reply::success(cookie), Vec::new()),
            (
                Err(Refusal::NotPrimary | Refusal::Faulted | Refusal::ShuttingDown | Refusal::Superseded),
                _,
            ) => {
                self.outlet.forget(memory);
                return;
            }
            (Err(refusal @ (Refusal::NoQuorum | Refusal::Unreadable | Refusal::InDoubt)), _) => {
                (reply::error(structured, cookie, Errno::Io, explain(refusal)), Vec::new())
            }
        };
        self.outlet.answer(now, segments, release, memory, out);
    }

    /// So many more of the bytes given to send have left.
    pub fn on_sent(&mut self, now: Instant, bytes: u64, out: &mut Actions) {
        if self.phase == Phase::Closed {
            return;
        }
        self.outlet.on_sent(now, bytes);
        self.admit(now, out);
    }

    /// The client closed or reset the connection, or the socket failed; also in the middle of a payload. What is
    /// sequenced takes effect, the rest is dropped.
    pub fn on_eof(&mut self, out: &mut Actions) {
        self.close(out);
    }

    /// A planned end (of the process, of the reign): take no more, answer what is under way, close.
    pub fn on_shutdown(&mut self, out: &mut Actions) {
        self.stop(out);
        self.part_when_done(out);
    }

    fn stop(&mut self, out: &mut Actions) {
        match self.phase {
            Phase::Haggling { .. } | Phase::Attaching { .. } => self.part(out),
            Phase::Serving => {
                match self.inlet {
                    Inlet::Header => {}
                    // Not begun, or not sequenced: the client hears nothing of it and tries elsewhere.
                    Inlet::Full { .. } | Inlet::Drain { .. } => self.outlet.forget(0),
                    Inlet::Payload { task, .. } => {
                        let work = self.client.give_up(task);
                        self.outlet.forget(work.memory());
                    }
                }
                self.inlet = Inlet::Header;
                self.phase = Phase::Leaving;
            }
            Phase::Leaving | Phase::Parting | Phase::Closed => {}
        }
    }

    /// The client takes its leave: nothing more comes, all that came is answered.
    fn leave(&mut self, out: &mut Actions) {
        self.stop(out);
        self.part_when_done(out);
    }

    fn part_when_done(&mut self, out: &mut Actions) {
        if self.phase == Phase::Leaving && self.client.is_empty() {
            self.part(out);
        }
    }

    fn part(&mut self, out: &mut Actions) {
        self.phase = Phase::Parting;
        out.push(Action::CloseAfterSends);
    }

    fn close(&mut self, out: &mut Actions) {
        if self.phase == Phase::Closed {
            return;
        }
        self.phase = Phase::Closed;
        self.client.abandon();
        self.outlet.clear();
        out.push(Action::Close);
    }

    /// Bytes of the handshake.
    fn say(&mut self, now: Instant, bytes: Vec<u8>, out: &mut Actions) {
        if !bytes.is_empty() {
            self.outlet.say(now, bytes, out);
        }
    }
}

fn explain(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::NotPrimary => "not the primary",
        Refusal::NoQuorum => {
            "too few replicas answered in time: the status and the log of this node name those that are missing"
        }
        Refusal::Unreadable => "the bytes could not be read, or are damaged, on this replica",
        Refusal::Faulted => "a device of this replica failed",
        Refusal::ShuttingDown => "the server is shutting down",
        Refusal::Superseded => "clients attached through another node since",
        Refusal::InDoubt => "the primary was lost, and it is not known whether this took effect",
    }
}
