//! A peer's byte stream cut into frames. Payloads go straight into buffers of the pool.

use seawall_engine::io::{Buf, Payload};
use seawall_sender::frame::{FRAME_BYTES, Frame, MAGIC, lengths};
use seawall_sender::violation::Violation;
use seawall_wal::names::BLOCK_BYTES;

use crate::checksum;
use crate::gear::Waiter;
use crate::pool::Pool;
use crate::ring::arena::Span;

/// Where in a frame the stream is.
enum Stage {
    /// In the header; the bytes so far are collected.
    Head,
    /// In the meta part, which is collected behind the header.
    Meta { meta: usize, payload: usize },
    /// Before the payload, without a buffer for it.
    Wanting { frame: Frame, payload: usize },
    /// In the payload, of which so many bytes are there.
    Payload { frame: Frame, buf: Buf, filled: usize },
}

/// What comes next.
pub(crate) enum Next {
    /// A whole frame came.
    Frame(Frame, Option<Payload>),
    /// A buffer of so many blocks is needed, by [`Intake::on_buffer`].
    Buffer(u32),
    /// More bytes are needed.
    Bytes,
}

/// The reassembly of one stream.
pub(crate) struct Intake {
    stage: Stage,
    collected: Vec<u8>,
}

impl Intake {
    pub(crate) fn new() -> Intake {
        Intake { stage: Stage::Head, collected: Vec::new() }
    }

    /// Takes from the front of `bytes` what belongs to the present frame.
    ///
    /// # Errors
    /// When what came is no frame: the stream has no next one.
    pub(crate) fn on_bytes(&mut self, bytes: &mut &[u8], pool: &Pool<Waiter>) -> Result<Next, Violation> {
        loop {
            match &mut self.stage {
                Stage::Head => {
                    if !collect(&mut self.collected, FRAME_BYTES, bytes) {
                        // Whoever speaks something else may say less than a header, and then wait.
                        return check_magic(&self.collected).map(|()| Next::Bytes);
                    }
                    let lengths = lengths(head(&self.collected))?;
                    self.stage = Stage::Meta { meta: lengths.meta, payload: lengths.payload };
                }
                Stage::Meta { meta, payload } => {
                    if !collect(&mut self.collected, FRAME_BYTES + *meta, bytes) {
                        return Ok(Next::Bytes);
                    }
                    let frame = Frame::decode(head(&self.collected), self.collected[FRAME_BYTES..].to_vec())?;
                    self.collected.clear();
                    let payload = *payload;
                    if payload == 0 {
                        self.stage = Stage::Head;
                        return Ok(Next::Frame(frame, None));
                    }
                    self.stage = Stage::Wanting { frame, payload };
                }
                Stage::Wanting { payload, .. } => {
                    let blocks = payload.div_ceil(BLOCK_BYTES as usize);
                    return Ok(Next::Buffer(u32::try_from(blocks).expect("payloads are bounded")));
                }
                Stage::Payload { buf, filled, .. } => {
                    let rest = pool.span(*buf).after(*filled);
                    let moved = rest.bytes.min(bytes.len());
                    let (now, later) = bytes.split_at(moved);
                    pool.arena().change(rest.until(moved), |into| into.copy_from_slice(now));
                    *bytes = later;
                    *filled += moved;
                    return Ok(self.completed(pool).unwrap_or(Next::Bytes));
                }
            }
        }
    }

    /// The buffer that was asked for.
    pub(crate) fn on_buffer(&mut self, buf: Buf) {
        match std::mem::replace(&mut self.stage, Stage::Head) {
            Stage::Wanting { frame, payload } => {
                assert!(
                    payload == buf.blocks as usize * BLOCK_BYTES as usize,
                    "the buffer is as long as asked for"
                );
                self.stage = Stage::Payload { frame, buf, filled: 0 };
            }
            Stage::Head | Stage::Meta { .. } | Stage::Payload { .. } => {
                unreachable!("a buffer is asked for first")
            }
        }
    }

    /// Where the next bytes of the stream belong, if that is a payload.
    pub(crate) fn wanted(&self, pool: &Pool<Waiter>) -> Option<Span> {
        match &self.stage {
            Stage::Payload { buf, filled, .. } => Some(pool.span(*buf).after(*filled)),
            Stage::Head | Stage::Meta { .. } | Stage::Wanting { .. } => None,
        }
    }

    /// So many bytes were received where [`Intake::wanted`] said.
    pub(crate) fn on_filled(&mut self, moved: usize, pool: &Pool<Waiter>) -> Option<Next> {
        match &mut self.stage {
            Stage::Payload { filled, .. } => *filled += moved,
            Stage::Head | Stage::Meta { .. } | Stage::Wanting { .. } => unreachable!("nothing was wanted"),
        }
        self.completed(pool)
    }

    fn completed(&mut self, pool: &Pool<Waiter>) -> Option<Next> {
        let Stage::Payload { buf, filled, .. } = &self.stage else { return None };
        let span = pool.span(*buf);
        if *filled < span.bytes {
            return None;
        }
        let Stage::Payload { frame, buf, .. } = std::mem::replace(&mut self.stage, Stage::Head) else {
            unreachable!("just looked at")
        };
        let crcs = checksum::of_blocks(pool.arena(), span);
        Some(Next::Frame(frame, Some(Payload { buf, crcs })))
    }

    /// The stream is over: the buffer that it leaves half filled.
    pub(crate) fn into_buffer(self) -> Option<Buf> {
        match self.stage {
            Stage::Payload { buf, .. } => Some(buf),
            Stage::Head | Stage::Meta { .. } | Stage::Wanting { .. } => None,
        }
    }
}

/// Collects until there are `wanted` bytes; whether there are.
fn collect(collected: &mut Vec<u8>, wanted: usize, bytes: &mut &[u8]) -> bool {
    let (now, later) = bytes.split_at((wanted - collected.len()).min(bytes.len()));
    collected.extend_from_slice(now);
    *bytes = later;
    collected.len() == wanted
}

/// Whether these may be the first bytes of a header, as far as they say.
fn check_magic(collected: &[u8]) -> Result<(), Violation> {
    match collected.first_chunk().map(|first| u32::from_le_bytes(*first)) {
        Some(found) if found != MAGIC => Err(Violation::BadMagic { found }),
        Some(_) | None => Ok(()),
    }
}

fn head(collected: &[u8]) -> &[u8; FRAME_BYTES] {
    collected.first_chunk().expect("the header was collected")
}
