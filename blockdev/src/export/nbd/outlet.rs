//! What leaves towards the client, and what is held until it has: the connection's bounds are counted here.

use std::collections::VecDeque;

use seawall_engine::io::Buf;
use seawall_sender::time::Instant;

use super::super::action::{Action, Actions, Segment};
use super::super::limits::Limits;

/// The replies of one connection, and its requests up to the moment when their replies have left.
#[derive(Debug)]
pub(super) struct Outlet {
    limits: Limits,
    /// Given to the driver and not left, oldest first.
    replies: VecDeque<Waiting>,
    /// Bytes of `replies` that have not left.
    bytes: u64,
    /// When the client must have taken some of them.
    deadline: Option<Instant>,
    /// Requests whose reply has not left.
    requests: u32,
    /// Buffer memory of those requests.
    memory: u64,
}

/// A reply that has not left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Waiting {
    bytes_left: u64,
    /// Of the request that it answers, if it answers one: the buffer memory.
    request: Option<u64>,
}

impl Outlet {
    pub(super) fn new(limits: Limits) -> Outlet {
        Outlet { limits, replies: VecDeque::new(), bytes: 0, deadline: None, requests: 0, memory: 0 }
    }

    /// Whether everything has left.
    pub(super) fn is_empty(&self) -> bool {
        self.replies.is_empty()
    }

    /// Whether one more request may come.
    pub(super) fn has_room(&self) -> bool {
        self.bytes < self.limits.reply_bytes_max && self.requests < self.limits.requests_max
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// A request came: it counts until its reply has left or it is forgotten.
    pub(super) fn open_request(&mut self) {
        self.requests += 1;
    }

    /// Count so many bytes of buffer memory for a request, unless they are too many now.
    pub(super) fn take_memory(&mut self, bytes: u64) -> bool {
        let fits = self.memory + bytes <= self.limits.payload_bytes_max;
        if fits {
            self.memory += bytes;
        }
        fits
    }

    /// A request gets no reply; so much memory was counted for it.
    pub(super) fn forget(&mut self, memory: u64) {
        self.requests -= 1;
        self.memory -= memory;
    }

    /// Send bytes that answer no request.
    pub(super) fn say(&mut self, now: Instant, bytes: Vec<u8>, out: &mut Actions) {
        self.send(now, vec![Segment::Bytes(bytes)], Vec::new(), None, out);
    }

    /// Send the reply to a request, for which so much memory was counted.
    pub(super) fn answer(
        &mut self,
        now: Instant,
        segments: Vec<Segment>,
        release: Vec<Buf>,
        memory: u64,
        out: &mut Actions,
    ) {
        self.send(now, segments, release, Some(memory), out);
    }

    fn send(
        &mut self,
        now: Instant,
        segments: Vec<Segment>,
        release: Vec<Buf>,
        request: Option<u64>,
        out: &mut Actions,
    ) {
        let bytes: u64 = segments.iter().map(Segment::bytes).sum();
        assert!(bytes > 0, "there is something to send");
        self.replies.push_back(Waiting { bytes_left: bytes, request });
        self.bytes += bytes;
        self.deadline.get_or_insert(now.after(self.limits.reply_stall));
        out.push(Action::Send { segments, release });
    }

    /// So many more bytes have left.
    pub(super) fn on_sent(&mut self, now: Instant, bytes: u64) {
        self.bytes = self.bytes.checked_sub(bytes).expect("only what was given can leave");
        self.deadline = (self.bytes > 0).then(|| now.after(self.limits.reply_stall));
        let mut left = bytes;
        while let Some(reply) = self.replies.front_mut() {
            let gone = reply.bytes_left.min(left);
            reply.bytes_left -= gone;
            left -= gone;
            if reply.bytes_left > 0 {
                break;
            }
            let request = reply.request;
            self.replies.pop_front();
            if let Some(memory) = request {
                self.forget(memory);
            }
        }
    }

    /// Nothing more leaves.
    pub(super) fn clear(&mut self) {
        self.replies.clear();
        self.bytes = 0;
        self.deadline = None;
    }
}
