//! Replies of the transmission phase (doc/proto.md, "Simple reply message", "Structured reply chunk message").
//!
//! With structured replies negotiated, a READ is always answered by chunks and an error always carries text; the
//! good end of anything else stays a simple reply, which is shorter and equally allowed.

use seawall_wal::names::BLOCK_BYTES;

use super::super::action::Segment;
use super::super::client::{Filled, Run};
use super::wire::{self, Errno, SIMPLE_REPLY_MAGIC, STRUCTURED_REPLY_MAGIC};

/// The good end of a command without data.
pub(super) fn success(cookie: u64) -> Vec<Segment> {
    vec![Segment::Bytes(simple(0, cookie))]
}

/// A refusal.
pub(super) fn error(structured: bool, cookie: u64, errno: Errno, text: &str) -> Vec<Segment> {
    if !structured {
        return vec![Segment::Bytes(simple(errno as u32, cookie))];
    }
    let length = u16::try_from(text.len()).expect("texts are short");
    let mut chunk = chunk(wire::REPLY_FLAG_DONE, wire::REPLY_TYPE_ERROR, cookie, 6 + u32::from(length));
    chunk.extend_from_slice(&(errno as u32).to_be_bytes());
    chunk.extend_from_slice(&length.to_be_bytes());
    chunk.extend_from_slice(text.as_bytes());
    vec![Segment::Bytes(chunk)]
}

/// The data of a READ that has not the shape of a structured reply: all in a row, holes as zeroes.
pub(super) fn simple_read(cookie: u64, filled: &[Filled]) -> Vec<Segment> {
    let mut segments = success(cookie);
    for stretch in stretches(filled) {
        segments.extend(stretch.segments);
    }
    segments
}

/// The data of a READ as chunks: one per run of data and one per hole, or (`whole`, the flag DF) one for all.
pub(super) fn structured_read(cookie: u64, offset: u64, filled: &[Filled], whole: bool) -> Vec<Segment> {
    let mut stretches = stretches(filled);
    if whole && stretches.len() > 1 {
        let segments: Vec<Segment> = stretches.drain(..).flat_map(|stretch| stretch.segments).collect();
        stretches.push(Stretch { hole: false, bytes: total(&segments), segments });
    }
    if stretches.is_empty() {
        return vec![Segment::Bytes(chunk(wire::REPLY_FLAG_DONE, wire::REPLY_TYPE_NONE, cookie, 0))];
    }
    let last = stretches.len() - 1;
    let mut segments = Vec::new();
    let mut at = offset;
    for (i, stretch) in stretches.into_iter().enumerate() {
        let flags = if i == last { wire::REPLY_FLAG_DONE } else { 0 };
        if stretch.hole && !whole {
            let mut hole = chunk(flags, wire::REPLY_TYPE_OFFSET_HOLE, cookie, 12);
            hole.extend_from_slice(&at.to_be_bytes());
            hole.extend_from_slice(&stretch.bytes.to_be_bytes());
            segments.push(Segment::Bytes(hole));
        } else {
            let mut data = chunk(flags, wire::REPLY_TYPE_OFFSET_DATA, cookie, 8 + stretch.bytes);
            data.extend_from_slice(&at.to_be_bytes());
            segments.push(Segment::Bytes(data));
            segments.extend(stretch.segments);
        }
        at += u64::from(stretch.bytes);
    }
    segments
}

/// A BLOCK_STATUS: one chunk for the one context.
pub(super) fn status(cookie: u64, runs: &[Run]) -> Vec<Segment> {
    let length = 4 + 8 * u32::try_from(runs.len()).expect("runs are bounded");
    let mut chunk = chunk(wire::REPLY_FLAG_DONE, wire::REPLY_TYPE_BLOCK_STATUS, cookie, length);
    chunk.extend_from_slice(&wire::ALLOCATION_ID.to_be_bytes());
    for run in runs {
        chunk.extend_from_slice(&run.bytes.to_be_bytes());
        let state = if run.hole { wire::STATE_HOLE | wire::STATE_ZERO } else { 0 };
        chunk.extend_from_slice(&state.to_be_bytes());
    }
    vec![Segment::Bytes(chunk)]
}

fn simple(error: u32, cookie: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(16);
    bytes.extend_from_slice(&SIMPLE_REPLY_MAGIC.to_be_bytes());
    bytes.extend_from_slice(&error.to_be_bytes());
    bytes.extend_from_slice(&cookie.to_be_bytes());
    bytes
}

/// A chunk's header, with room for the beginning of its payload.
fn chunk(flags: u16, kind: u16, cookie: u64, length: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(32);
    bytes.extend_from_slice(&STRUCTURED_REPLY_MAGIC.to_be_bytes());
    bytes.extend_from_slice(&flags.to_be_bytes());
    bytes.extend_from_slice(&kind.to_be_bytes());
    bytes.extend_from_slice(&cookie.to_be_bytes());
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes
}

/// Bytes of one kind, perhaps from several buffers.
struct Stretch {
    hole: bool,
    bytes: u32,
    segments: Vec<Segment>,
}

fn stretches(filled: &[Filled]) -> Vec<Stretch> {
    let mut stretches: Vec<Stretch> = Vec::new();
    for piece in filled {
        for run in runs(piece) {
            let segment = if run.hole {
                Segment::Zeroes(run.to - run.from)
            } else {
                Segment::Data { buf: piece.buf, offset: run.from, bytes: run.to - run.from }
            };
            match stretches.last_mut() {
                Some(last) if last.hole == run.hole => {
                    last.bytes += run.to - run.from;
                    last.segments.push(segment);
                }
                Some(_) | None => {
                    stretches.push(Stretch {
                        hole: run.hole,
                        bytes: run.to - run.from,
                        segments: vec![segment],
                    });
                }
            }
        }
    }
    stretches
}

/// Bytes `from` up to `to` of a buffer.
struct BufferRun {
    hole: bool,
    from: u32,
    to: u32,
}

fn runs(filled: &Filled) -> Vec<BufferRun> {
    let piece = filled.piece;
    let mut runs: Vec<BufferRun> = Vec::new();
    for block in 0..piece.blocks {
        let hole = filled.holes >> block & 1 == 1;
        let from = (block * BLOCK_BYTES).max(piece.skip);
        let to = ((block + 1) * BLOCK_BYTES).min(piece.skip + piece.bytes);
        match runs.last_mut() {
            Some(last) if last.hole == hole => last.to = to,
            Some(_) | None => runs.push(BufferRun { hole, from, to }),
        }
    }
    runs
}

fn total(segments: &[Segment]) -> u32 {
    let bytes: u64 = segments.iter().map(Segment::bytes).sum();
    u32::try_from(bytes).expect("a read is below 2^32 bytes")
}
