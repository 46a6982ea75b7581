//! What comes from a client: bytes that its machine has not taken yet, and the payload that goes past it.

use seawall_engine::io::{Buf, Payload};

use crate::checksum;
use crate::export::Piece as Stretch;
use crate::gear::Gear;
use crate::ring::arena::Span;
use crate::ring::op::Op;
use crate::ring::pieces::{Piece, Pieces};

/// Bytes of the memory that requests are received into, besides payloads.
const STAGING_BYTES: usize = 64 << 10;

/// The payload under way.
enum Course {
    /// There is none.
    None,
    /// It waits for memory.
    Waiting(Vec<Stretch>),
    /// So many bytes of it are in its buffers.
    Filling { stretches: Vec<Stretch>, bufs: Vec<Buf>, filled: usize },
}

/// The receiving end of one client's connection.
pub(super) struct Inlet {
    memory: Vec<u8>,
    /// The range of it that was received and not yet looked at.
    from: usize,
    to: usize,
    /// Bytes received, over its life.
    received: u64,
    receiving: bool,
    course: Course,
}

impl Inlet {
    pub(super) fn new() -> Inlet {
        Inlet { memory: Vec::new(), from: 0, to: 0, received: 0, receiving: false, course: Course::None }
    }

    /// Whether a receive is under way.
    pub(super) fn is_receiving(&self) -> bool {
        self.receiving
    }

    /// Whether a payload is under way, or waits for memory.
    pub(super) fn has_payload(&self) -> bool {
        !matches!(self.course, Course::None)
    }

    /// Whether bytes can be received now: what came before was looked at, and there is room for what comes.
    pub(super) fn is_ready(&self) -> bool {
        !self.receiving && self.from == self.to && !matches!(self.course, Course::Waiting(_))
    }

    /// Bytes of the payload under way that did not come yet.
    pub(super) fn lacking(&self) -> usize {
        let all =
            |stretches: &[Stretch]| stretches.iter().map(|stretch| stretch.bytes as usize).sum::<usize>();
        match &self.course {
            Course::None => 0,
            Course::Waiting(stretches) => all(stretches),
            Course::Filling { stretches, filled, .. } => all(stretches) - filled,
        }
    }

    /// Bytes received over its life.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Those of them that were looked at, or are part of a payload under way.
    pub(super) fn seen(&self) -> u64 {
        self.received - self.bytes().len() as u64
    }

    /// What came and is not part of a payload.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.memory[self.from..self.to]
    }

    /// So much of it was taken.
    pub(super) fn pass(&mut self, bytes: usize) {
        self.from += bytes;
        assert!(self.from <= self.to, "no more is taken than there is");
    }

    /// A payload is to come, into memory that is not there yet.
    pub(super) fn expect(&mut self, stretches: Vec<Stretch>) {
        assert!(!self.has_payload(), "one payload at a time");
        self.course = Course::Waiting(stretches);
    }

    /// Its memory is there.
    pub(super) fn fill_into(&mut self, bufs: Vec<Buf>) {
        match std::mem::replace(&mut self.course, Course::None) {
            Course::Waiting(stretches) => self.course = Course::Filling { stretches, bufs, filled: 0 },
            Course::None | Course::Filling { .. } => unreachable!("memory comes when it is asked for"),
        }
    }

    /// Where the next bytes go: to the payload under way, then to memory of its own. Until [`Inlet::on_received`].
    pub(super) fn open(&mut self, gear: &Gear) -> Pieces {
        assert!(self.is_ready(), "one receive at a time");
        let mut into = Pieces::new();
        if let Course::Filling { stretches, bufs, filled } = &self.course {
            for span in rest(stretches, bufs, *filled, gear) {
                into.push(Piece::Pool(span));
            }
        }
        let mut bytes = std::mem::take(&mut self.memory);
        bytes.resize(STAGING_BYTES, 0);
        (self.from, self.to) = (0, 0);
        into.push(Piece::Bytes { bytes, from: 0 });
        self.receiving = true;
        into
    }

    /// A receive brought `moved` bytes. Whether some of them went to the payload.
    pub(super) fn on_received(&mut self, op: Op, moved: usize) -> bool {
        self.receiving = false;
        self.received += moved as u64;
        let mut into = op.into_pieces();
        let Some(Piece::Bytes { bytes, .. }) = into.pop_last() else {
            unreachable!("the staging memory is the last piece of every receive")
        };
        let direct = into.bytes().min(moved);
        self.memory = bytes;
        self.to = moved - direct;
        if let Course::Filling { filled, .. } = &mut self.course {
            *filled += direct;
        }
        direct > 0
    }

    /// Moves bytes that came before there was memory into the payload. Whether there were any.
    pub(super) fn top_up(&mut self, gear: &Gear) -> bool {
        let Course::Filling { stretches, bufs, filled } = &mut self.course else { return false };
        let before = self.from;
        for span in rest(stretches, bufs, *filled, gear) {
            let moved = span.bytes.min(self.to - self.from);
            if moved > 0 {
                let bytes = &self.memory[self.from..self.from + moved];
                gear.pool.arena().change(span.until(moved), |into| into.copy_from_slice(bytes));
                self.from += moved;
                *filled += moved;
            }
        }
        self.from > before
    }

    /// The payload, when all of it is there.
    pub(super) fn take_whole(&mut self, gear: &Gear) -> Option<Vec<Payload>> {
        let Course::Filling { bufs, .. } = &self.course else { return None };
        if self.lacking() > 0 {
            return None;
        }
        let sum = |buf: &Buf| checksum::of_blocks(gear.pool.arena(), gear.pool.span(*buf));
        let payloads = bufs.iter().map(|buf| Payload { buf: *buf, crcs: sum(buf) }).collect();
        self.course = Course::None;
        Some(payloads)
    }

    /// Nobody wants to know any more what came. A payload under way is given up as soon as nothing is received.
    pub(super) fn forget(&mut self, gear: &mut Gear) {
        if self.receiving {
            return;
        }
        (self.from, self.to) = (0, 0);
        if let Course::Filling { bufs, .. } = std::mem::replace(&mut self.course, Course::None) {
            bufs.into_iter().for_each(|buf| gear.pool.release(buf));
        }
    }
}

/// Where the rest of a payload belongs.
fn rest(stretches: &[Stretch], bufs: &[Buf], filled: usize, gear: &Gear) -> Vec<Span> {
    let mut passed = filled;
    let mut spans = Vec::new();
    for (stretch, buf) in stretches.iter().zip(bufs) {
        let bytes = stretch.bytes as usize;
        let skipped = passed.min(bytes);
        passed -= skipped;
        if skipped < bytes {
            let span = gear.pool.span(*buf).after(stretch.skip as usize + skipped);
            spans.push(span.until(bytes - skipped));
        }
    }
    spans
}
