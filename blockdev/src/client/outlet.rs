//! What leaves to a client: replies, in order, straight from the pool.

use std::collections::VecDeque;

use seawall_engine::io::Buf;

use crate::export::Segment;
use crate::gear::Gear;
use crate::ring::op::Op;
use crate::ring::pieces::{Piece, Pieces};

/// Bytes and pieces of one send at the most.
const BATCH_BYTES: usize = 1 << 20;
const BATCH_PIECES: usize = 512;

/// What waits to leave.
enum Reply {
    Segment(Segment),
    /// Everything before has left: these references end.
    End(Vec<Buf>),
}

/// The sending end of one client's connection.
pub(super) struct Outlet {
    queue: VecDeque<Reply>,
    sending: bool,
    /// References that end with the send under way.
    leaving: Vec<Buf>,
}

impl Outlet {
    pub(super) fn new() -> Outlet {
        Outlet { queue: VecDeque::new(), sending: false, leaving: Vec::new() }
    }

    /// Whether a send is under way.
    pub(super) fn is_sending(&self) -> bool {
        self.sending
    }

    /// Queues a reply; the references in `release` end when it has left, or never will.
    pub(super) fn push(&mut self, segments: Vec<Segment>, release: Vec<Buf>) {
        self.queue.extend(segments.into_iter().map(Reply::Segment));
        self.queue.push_back(Reply::End(release));
    }

    /// The next pieces to send, if there are any and no send is under way. Until [`Outlet::on_sent`].
    pub(super) fn open(&mut self, gear: &mut Gear) -> Option<Pieces> {
        if self.sending {
            return None;
        }
        let mut from = Pieces::new();
        let mut bytes = 0;
        while bytes < BATCH_BYTES && from.len() < BATCH_PIECES {
            match self.queue.pop_front() {
                None => break,
                Some(Reply::End(release)) => self.leaving.extend(release),
                Some(Reply::Segment(segment)) => {
                    let piece = piece(segment, gear);
                    bytes += piece.bytes();
                    from.push(piece);
                }
            }
        }
        // What ends with the last piece ends with this send, also where the batch was full before.
        while let Some(Reply::End(_)) = self.queue.front() {
            let Some(Reply::End(release)) = self.queue.pop_front() else { unreachable!("it was looked at") };
            self.leaving.extend(release);
        }
        if from.is_empty() {
            self.let_go(gear);
            return None;
        }
        self.sending = true;
        Some(from)
    }

    /// A send moved so many bytes. The rest of it, to be sent next.
    pub(super) fn on_sent(&mut self, op: Op, moved: usize, gear: &mut Gear) -> Option<Pieces> {
        let mut from = op.into_pieces();
        from.pass(moved);
        if moved > 0 && !from.is_empty() {
            return Some(from);
        }
        self.sending = false;
        self.let_go(gear);
        None
    }

    /// The send under way, or what was left of it, is given up.
    pub(super) fn on_broken(&mut self, gear: &mut Gear) {
        self.sending = false;
        self.let_go(gear);
    }

    /// Nothing that waits will leave any more. What a send under way still reads is let go when that is over.
    pub(super) fn forget(&mut self, gear: &mut Gear) {
        for reply in self.queue.drain(..) {
            if let Reply::End(release) = reply {
                self.leaving.extend(release);
            }
        }
        if !self.sending {
            self.let_go(gear);
        }
    }

    fn let_go(&mut self, gear: &mut Gear) {
        self.leaving.drain(..).for_each(|buf| gear.pool.release(buf));
    }
}

fn piece(segment: Segment, gear: &Gear) -> Piece {
    match segment {
        Segment::Bytes(bytes) => Piece::Bytes { bytes, from: 0 },
        Segment::Data { buf, offset, bytes } => {
            Piece::Pool(gear.pool.span(buf).after(offset as usize).until(bytes as usize))
        }
        Segment::Zeroes(bytes) => Piece::Zeroes(bytes as usize),
    }
}
