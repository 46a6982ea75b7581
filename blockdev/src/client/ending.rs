//! A client that hangs up, and what must not come after it.
//!
//! What a client gave up by hanging up never lands on what it writes anew over another connection: it is closed as
//! soon as it has hung up, whether its bytes are read or not, and before anything is looked at that came later
//! elsewhere. What it sent and the core was not given is dropped, unless it took its leave in order: then it wants
//! what it asked for done.
//!
//! A machine that dies hangs nothing up. Who comes new is let in when everything that had come over the others is
//! with the core, as far as it was whole.

use super::{Client, End, Hearing, Wishes};
use crate::gear::{Gear, Token};
use crate::ring::op::{Completion, Descriptor, Op, Outcome};
use crate::ring::socket::{self, HangUp};
use seawall_sender::time::Instant;

/// What had come over a connection when somebody new came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Mark {
    slot: u32,
    number: u64,
    until: Until,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Until {
    /// So many bytes.
    Bytes(u64),
    /// So many requests, all of them looked at.
    Requests(u64),
}

impl Mark {
    /// Where that connection is.
    pub(crate) fn slot(&self) -> u32 {
        self.slot
    }
}

impl Client {
    /// Has the ring tell when it hangs up.
    pub(super) fn watch(&mut self, gear: &mut Gear) {
        if !self.watched && self.end == End::Open {
            self.watched = true;
            let socket = Descriptor::clone(&self.socket);
            gear.ring.push(Token::ClientWatch { client: self.slot }, Op::Watch { socket });
        }
    }

    /// The watch is over.
    pub(crate) fn on_watched(
        &mut self,
        completion: &Completion<Token>,
        now: Instant,
        gear: &mut Gear,
        wishes: &mut Wishes,
    ) {
        self.watched = false;
        if let Ok(Outcome::HungUp(how)) = completion.outcome {
            self.on_hung_up(how, now, gear, wishes);
        }
    }

    /// Whether something of it could be given to the core after what came later elsewhere: it has, or may have, bytes
    /// that are not looked at. `heard`: a receive of it is over.
    pub(crate) fn lags(&self, heard: bool) -> bool {
        self.minds_hang_ups() && (heard || !self.inlet.is_receiving())
    }

    pub(super) fn minds_hang_ups(&self) -> bool {
        self.end == End::Open && self.connection.minds_hang_ups()
    }

    /// Its socket, to ask the kernel about.
    pub(crate) fn socket(&self) -> &Descriptor {
        &self.socket
    }

    /// The client hung up.
    pub(crate) fn on_hung_up(&mut self, how: HangUp, now: Instant, gear: &mut Gear, wishes: &mut Wishes) {
        if !self.minds_hang_ups() {
            return;
        }
        match (how, self.hearing) {
            (HangUp::Whole, _) => self.tell(gear, wishes, now, |c, out| c.on_eof(out)),
            (HangUp::Half, Hearing::Open) if self.inlet.is_receiving() => self.hearing = Hearing::Ending,
            (HangUp::Half, Hearing::Open) => self.judge(now, gear, wishes),
            (HangUp::Half, Hearing::Ending | Hearing::Left) => {}
        }
    }

    /// All that comes has come. Who hung up in the middle wants nothing of it.
    pub(super) fn judge(&mut self, now: Instant, gear: &mut Gear, wishes: &mut Wishes) {
        let mut rest = self.inlet.bytes().to_vec();
        rest.extend(socket::peek(&self.socket));
        if self.connection.is_left(self.inlet.lacking(), &rest) {
            self.hearing = Hearing::Left;
            self.go_on(gear, wishes, now);
        } else {
            self.tell(gear, wishes, now, |c, out| c.on_eof(out));
        }
    }

    /// What had come by now.
    pub(crate) fn mark(&self) -> Mark {
        let bytes = self.inlet.received() + socket::unread(&self.socket) as u64;
        Mark { slot: self.slot, number: self.number, until: Until::Bytes(bytes) }
    }

    /// Whether the core was given all that had come by then and was whole. Of a connection that is over there is
    /// nothing to come.
    pub(crate) fn is_past(&self, mark: &mut Mark) -> bool {
        if mark.number != self.number || self.end != End::Open || self.connection.is_closed() {
            return true;
        }
        if let Until::Bytes(bytes) = mark.until {
            let waits = self.inlet.seen() < bytes || self.connection.is_full();
            if self.connection.minds_hang_ups() && waits {
                return false;
            }
            mark.until = Until::Requests(self.connection.requests());
        }
        let Until::Requests(requests) = mark.until else { return true };
        !self.connection.has_waiting(requests)
    }
}
