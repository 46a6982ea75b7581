//! One connection to a peer: frames in, frames out, each in order; as they are, or under TLS.

use std::collections::VecDeque;

use seawall_engine::io::{Buf, Input, LinkId, Payload};
use seawall_sender::frame::Frame;
use seawall_sender::greeting::Proven;
use seawall_sender::time::Instant;
use seawall_sender::violation::Violation;
use seawall_wal::names::{BLOCK_BYTES, VolumeId};

use crate::counters::add;
use crate::frames::{Intake, Next};
use crate::gear::{Gear, Token, Waiter};
use crate::net::session::{Session, Took};
use crate::pool::Purpose;
use crate::ring::Ticket;
use crate::ring::op::{Completion, Descriptor, Op};
use crate::ring::pieces::{Piece, Pieces};

/// Bytes of the memory that frames are received into, besides payloads.
const STAGING_BYTES: usize = 64 << 10;
/// Bytes and frames of one send at the most.
const BATCH_BYTES: usize = 1 << 20;
const BATCH_FRAMES: usize = 256;

/// Bytes of one send under TLS, at the most and a frame: while they leave, the next are sealed.
const SEALED_BYTES: usize = 256 << 10;

/// What a link is at the moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    /// The peer's name is looked up.
    Resolving,
    /// The connection opens.
    Connecting { ticket: Ticket },
    /// It is open, and both ends prove who they are, until then.
    Proving { until: Instant },
    /// A peer came and has not said yet which volume it wants.
    Strange { until: Instant },
    /// Frames go both ways.
    Open,
    /// The machine has let go of it; what was given to send still leaves, until then.
    Draining { until: Instant },
    /// TLS has failed: the peer is told so and may hang up, until then.
    Parting { until: Instant },
    /// Over, but for operations in flight.
    Closed,
}

/// One frame that waits to leave.
struct Outgoing {
    head: Vec<u8>,
    payload: Option<Buf>,
}

/// What a receive brought.
pub(crate) enum Came {
    /// A whole frame.
    Frame(Frame, Option<Payload>),
    /// Nothing more for now.
    Nothing,
    /// What came is no frame: the connection is worth nothing any more.
    Malformed(Violation),
    /// Both ends have proven who they are.
    Proven,
    /// TLS failed, and why.
    Refused(String),
    /// The peer says no more.
    Ended,
}

/// One connection to a peer.
pub(crate) struct Link {
    pub(crate) slot: u32,
    pub(crate) name: LinkId,
    /// Which volume it belongs to, once that is known.
    pub(crate) volume: Option<u32>,
    pub(crate) state: State,
    socket: Option<Descriptor>,
    /// Where the other end is, for people.
    far_end: String,
    /// TLS, unless it is plaintext.
    session: Option<Box<Session>>,
    intake: Intake,
    /// Bytes received and not yet looked at: memory, and the range in it.
    staged: (Vec<u8>, usize, usize),
    receiving: bool,
    /// It waits for a buffer of the pool.
    wanting: bool,
    queue: VecDeque<Outgoing>,
    sending: bool,
    /// References that end with the send under way.
    leaving: Vec<Buf>,
}

impl Link {
    pub(crate) fn new(slot: u32, name: LinkId, volume: Option<u32>, state: State) -> Link {
        Link {
            slot,
            name,
            volume,
            state,
            socket: None,
            far_end: String::new(),
            session: None,
            intake: Intake::new(),
            staged: (Vec::new(), 0, 0),
            receiving: false,
            wanting: false,
            queue: VecDeque::new(),
            sending: false,
            leaving: Vec::new(),
        }
    }

    /// Its socket, and where the other end is.
    pub(crate) fn set_socket(&mut self, socket: Descriptor, far_end: String) {
        self.socket = Some(socket);
        self.far_end = far_end;
    }

    /// Goes on under TLS.
    pub(crate) fn set_session(&mut self, session: Session) {
        self.session = Some(Box::new(session));
    }

    /// Whether something was decrypted and not looked at.
    fn has_plaintext(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.has_plaintext())
    }

    /// Whether it is under TLS.
    pub(crate) fn is_secure(&self) -> bool {
        self.session.is_some()
    }

    /// Who is proven to be at the other end, for one who keeps that volume.
    pub(crate) fn proven(&self, volume: VolumeId) -> Proven {
        self.session.as_ref().map_or(Proven::Nobody, |session| session.proven(volume))
    }

    /// Where the other end is, for people.
    pub(crate) fn far_end(&self) -> &str {
        &self.far_end
    }

    /// Whether nothing of it is in flight.
    pub(crate) fn is_idle(&self) -> bool {
        !self.receiving && !self.sending && !matches!(self.state, State::Connecting { .. } | State::Resolving)
    }

    /// Whether it has nothing left to send.
    pub(crate) fn has_sent_all(&self) -> bool {
        !self.sending && self.queue.is_empty()
    }

    /// Queues a frame; the payload's reference ends when it has left, or never will.
    pub(crate) fn send(&mut self, head: Vec<u8>, payload: Option<Buf>) {
        self.queue.push_back(Outgoing { head, payload });
    }

    /// Sends what waits, unless a send is under way.
    pub(crate) fn start_send(&mut self, gear: &mut Gear) {
        if self.session.is_some() {
            return self.start_sealed_send(gear);
        }
        if self.sending
            || self.queue.is_empty()
            || !matches!(self.state, State::Open | State::Draining { .. })
        {
            return;
        }
        let mut from = Pieces::new();
        let (mut bytes, mut frames) = (0, 0);
        while let Some(next) = self.queue.front() {
            let payload = next.payload.map_or(0, |buf| buf.blocks as usize * BLOCK_BYTES as usize);
            bytes += next.head.len() + payload;
            frames += 1;
            if frames > 1 && (bytes > BATCH_BYTES || frames > BATCH_FRAMES) {
                break;
            }
            let next = self.queue.pop_front().expect("just looked at");
            from.push(Piece::Bytes { bytes: next.head, from: 0 });
            if let Some(buf) = next.payload {
                from.push(Piece::Pool(gear.pool.span(buf)));
                self.leaving.push(buf);
            }
        }
        self.push_send(from, gear);
    }

    /// As [`Link::start_send`], under TLS. A payload is not needed any more once it is sealed.
    fn start_sealed_send(&mut self, gear: &mut Gear) {
        let Some(session) = self.session.as_mut() else { return };
        if self.sending {
            return;
        }
        match self.state {
            State::Open | State::Draining { .. } => {
                while session.sealed_bytes() < SEALED_BYTES
                    && let Some(Outgoing { head, payload }) = self.queue.pop_front()
                {
                    match payload {
                        None => session.seal(&head, None),
                        Some(buf) => {
                            let span = gear.pool.span(buf);
                            gear.pool.arena().look(span, |bytes| session.seal(&head, Some(bytes)));
                            gear.pool.release(buf);
                        }
                    }
                }
            }
            State::Proving { .. } | State::Strange { .. } | State::Parting { .. } => {}
            State::Resolving | State::Connecting { .. } | State::Closed => return,
        }
        if session.sealed_bytes() > 0 {
            let bytes = session.sealed();
            self.push_send(Pieces::one(Piece::Bytes { bytes, from: 0 }), gear);
        }
    }

    fn push_send(&mut self, from: Pieces, gear: &mut Gear) {
        let socket = self.socket.clone().expect("an open link has a socket");
        self.sending = true;
        gear.ring.push(Token::LinkSend { link: self.slot }, Op::Send { socket, from });
    }

    /// A send is over. Whether the connection still stands.
    pub(crate) fn on_sent(&mut self, completion: Completion<Token>, gear: &mut Gear) -> bool {
        self.sending = false;
        let moved = completion.moved().unwrap_or(0);
        add(&gear.counters.peer_bytes_sent, moved as u64);
        let mut from = completion.op.into_pieces();
        if let Some(session) = &mut self.session
            && from.bytes() == moved
            && let Some(Piece::Bytes { bytes, .. }) = from.pop()
        {
            session.reuse(bytes);
        } else {
            from.pass(moved);
        }
        let stands = moved > 0 && self.state != State::Closed;
        if stands && !from.is_empty() {
            self.push_send(from, gear);
            return true;
        }
        for buf in self.leaving.drain(..) {
            gear.pool.release(buf);
        }
        stands
    }

    /// Receives, unless that is under way or there is something to be looked at first.
    pub(crate) fn start_receive(&mut self, gear: &mut Gear) {
        let receives = match self.state {
            State::Open | State::Strange { .. } | State::Proving { .. } | State::Parting { .. } => true,
            State::Resolving | State::Connecting { .. } | State::Draining { .. } | State::Closed => false,
        };
        if self.receiving || self.wanting || !receives {
            return;
        }
        assert!(self.staged.1 == self.staged.2, "what came before is looked at first");
        let mut into = Pieces::new();
        if let Some(span) = self.intake.wanted(&gear.pool)
            && self.session.is_none()
        {
            into.push(Piece::Pool(span));
        }
        let mut bytes = std::mem::take(&mut self.staged.0);
        bytes.resize(STAGING_BYTES, 0);
        into.push(Piece::Bytes { bytes, from: 0 });
        let socket = self.socket.clone().expect("an open link has a socket");
        self.receiving = true;
        gear.ring.push(Token::LinkReceive { link: self.slot }, Op::Receive { socket, into });
    }

    /// A receive is over. Whether the connection still stands, and the frame that it completed, if it was in its
    /// payload; more may come of [`Link::look`].
    pub(crate) fn on_received(
        &mut self,
        completion: Completion<Token>,
        gear: &mut Gear,
    ) -> (bool, Option<(Frame, Option<Payload>)>) {
        self.receiving = false;
        let moved = completion.moved().unwrap_or(0);
        add(&gear.counters.peer_bytes_received, moved as u64);
        let mut into = completion.op.into_pieces();
        let Some(Piece::Bytes { bytes, .. }) = into.pop_last() else {
            unreachable!("the staging memory is the last piece of every receive")
        };
        self.staged = (bytes, 0, 0);
        let filled = into.bytes().min(moved);
        self.staged.2 = moved - filled;
        let frame = match if filled > 0 { self.intake.on_filled(filled, &gear.pool) } else { None } {
            Some(Next::Frame(frame, payload)) => Some((frame, payload)),
            Some(Next::Buffer(_) | Next::Bytes) | None => None,
        };
        (moved > 0, frame)
    }

    /// Looks at what came: up to the next whole frame.
    pub(crate) fn look(&mut self, gear: &mut Gear) -> Came {
        loop {
            if self.wanting || self.receiving {
                return Came::Nothing;
            }
            let Link { intake, staged: (memory, from, to), session, .. } = self;
            let mut bytes = &memory[*from..*to];
            let next = match session {
                None => intake.on_bytes(&mut bytes, &gear.pool),
                Some(session) => match session.take(&mut bytes) {
                    Ok(Took::Plaintext) => session.look(|plain| intake.on_bytes(plain, &gear.pool)),
                    Ok(Took::Hungry) => Ok(Next::Bytes),
                    Ok(Took::Proven) => {
                        *from = *to - bytes.len();
                        return Came::Proven;
                    }
                    Ok(Took::Ended) => return Came::Ended,
                    Err(why) => return Came::Refused(why),
                },
            };
            *from = *to - bytes.len();
            match next {
                // What a record brought was not enough; the next one may be there.
                Ok(Next::Bytes) if self.staged.1 < self.staged.2 || self.has_plaintext() => {}
                Ok(Next::Frame(frame, payload)) => return Came::Frame(frame, payload),
                Ok(Next::Bytes) => {
                    self.start_receive(gear);
                    return Came::Nothing;
                }
                // Who has not said who it is gets no memory of the core's.
                Ok(Next::Buffer(_)) if matches!(self.state, State::Strange { .. }) => {
                    return Came::Malformed(Violation::OutOfTurn { state: "unknown", event: "a payload" });
                }
                Ok(Next::Buffer(blocks)) => {
                    let waiter = Waiter::Link { link: self.slot };
                    match gear.pool.alloc_or_wait(Purpose::Core, vec![blocks], waiter) {
                        Some(bufs) => self.intake.on_buffer(bufs[0]),
                        None => self.wanting = true,
                    }
                }
                Err(violation) => return Came::Malformed(violation),
            }
        }
    }

    /// The peer is told that TLS failed, if there is something to tell, and may hang up. Whether that takes time.
    pub(crate) fn part(&mut self, until: Instant, gear: &mut Gear) -> bool {
        self.stop_intake(gear);
        for outgoing in self.queue.drain(..) {
            outgoing.payload.into_iter().for_each(|buf| gear.pool.release(buf));
        }
        self.state = State::Parting { until };
        self.start_send(gear);
        if self.sending {
            self.discard(gear);
        }
        self.sending
    }

    /// Sends something before anything was agreed on, to a peer that is then parted with.
    pub(crate) fn tell(&mut self, head: Vec<u8>, gear: &mut Gear) {
        if !self.sending {
            self.push_send(Pieces::one(Piece::Bytes { bytes: head, from: 0 }), gear);
        }
    }

    /// Bytes that were given to send and did not begin to leave.
    #[cfg(test)]
    pub(crate) fn waiting_bytes(&self) -> u64 {
        let bytes = |out: &Outgoing| out.head.len() + out.payload.map_or(0, |b| b.blocks as usize * 4096);
        self.queue.iter().map(bytes).sum::<usize>() as u64
    }

    /// Whether a send is under way.
    pub(crate) fn is_sending(&self) -> bool {
        self.sending
    }

    /// In parting, what was to be told has left: nothing more comes from us.
    pub(crate) fn shut_write(&mut self) {
        self.socket.iter().for_each(crate::net::shut_write);
    }

    /// What came is not looked at: only the end is of interest.
    pub(crate) fn discard(&mut self, gear: &mut Gear) {
        self.staged.1 = self.staged.2;
        self.start_receive(gear);
    }

    /// The pool has room now for the payload that waits.
    pub(crate) fn on_granted(&mut self, buf: Buf) {
        self.wanting = false;
        self.intake.on_buffer(buf);
    }

    /// Wants nothing more from the peer.
    pub(crate) fn stop_intake(&mut self, gear: &mut Gear) {
        if self.wanting {
            let slot = self.slot;
            gear.pool.forget(|waiter| *waiter == Waiter::Link { link: slot });
            self.wanting = false;
        }
    }

    /// Ends it. What is in flight keeps its memory until it is over.
    pub(crate) fn close(&mut self, gear: &mut Gear) {
        if let State::Connecting { ticket } = self.state {
            // It stays in this state until the connect is over.
            gear.ring.cancel(ticket);
        } else {
            self.state = State::Closed;
        }
        if let Some(socket) = &self.socket {
            crate::net::shut(socket);
        }
        self.stop_intake(gear);
        for outgoing in self.queue.drain(..) {
            if let Some(buf) = outgoing.payload {
                gear.pool.release(buf);
            }
        }
    }

    /// Gives back what it still holds, when nothing is in flight any more.
    pub(crate) fn dissolve(mut self, gear: &mut Gear) {
        assert!(self.is_idle(), "what is in flight keeps its memory");
        for buf in self.leaving.drain(..).chain(self.intake.into_buffer()) {
            gear.pool.release(buf);
        }
    }
}

/// Which link an input tells of.
pub(crate) fn link_of(input: &Input) -> Option<LinkId> {
    match input {
        Input::Connected { link, .. }
        | Input::Accepted { link, .. }
        | Input::Received { link, .. }
        | Input::Lost { link } => Some(*link),
        Input::Request { .. } | Input::DiskDone { .. } | Input::Command { .. } | Input::Tick => None,
    }
}
