//! The arena as registered buffers: the kernel then need not look up and pin its pages for every operation.
//!
//! It is registered in chunks, each when it is first used, so that memory that nobody needs is never pinned.
//! Where registration is refused (memlock), operations go on without it.

use std::cell::Cell;

use io_uring::Submitter;
use nix::libc::iovec;

use super::arena::{Arena, Span};

/// Bytes of one chunk.
const CHUNK: usize = 4 << 20;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Chunk {
    Untouched,
    Registered,
    Refused,
}

/// Which chunks of the arena are registered.
pub(super) struct FixedBuffers {
    chunks: Vec<Cell<Chunk>>,
}

impl FixedBuffers {
    /// Nothing is registered, nor ever will be.
    pub(super) fn none() -> FixedBuffers {
        FixedBuffers { chunks: Vec::new() }
    }

    /// A table with room for the whole arena, if the kernel has one for us.
    pub(super) fn for_arena(submitter: &Submitter<'_>, arena: &Arena) -> FixedBuffers {
        let chunks = arena.bytes().div_ceil(CHUNK);
        let registered =
            u32::try_from(chunks).is_ok_and(|chunks| submitter.register_buffers_sparse(chunks).is_ok());
        let chunks = if registered { chunks } else { 0 };
        FixedBuffers { chunks: (0..chunks).map(|_| Cell::new(Chunk::Untouched)).collect() }
    }

    /// Registers the chunk that holds this span, if that was not tried before.
    pub(super) fn touch(&self, submitter: &Submitter<'_>, arena: &Arena, span: Span) {
        let Some(index) = chunk_of(span) else { return };
        let Some(chunk) = self.chunks.get(index) else { return };
        if chunk.get() != Chunk::Untouched {
            return;
        }
        let whole = Span { start: index * CHUNK, bytes: CHUNK.min(arena.bytes() - index * CHUNK) };
        let vector = iovec { iov_base: arena.at(whole).cast(), iov_len: whole.bytes };
        let offset = u32::try_from(index).expect("fewer than 2^32 chunks");
        // SAFETY: the chunk lies in the arena's mapping, which the ring keeps until it is gone itself.
        let registered = unsafe { submitter.register_buffers_update(offset, &[vector], None) };
        chunk.set(if registered.is_ok() { Chunk::Registered } else { Chunk::Refused });
    }

    /// The registered buffer that holds this span.
    pub(super) fn index_of(&self, span: Span) -> Option<u16> {
        let index = chunk_of(span)?;
        let chunk = self.chunks.get(index)?;
        (chunk.get() == Chunk::Registered).then(|| u16::try_from(index).ok()).flatten()
    }
}

/// The one chunk that the span lies in.
fn chunk_of(span: Span) -> Option<usize> {
    let first = span.start / CHUNK;
    (span.bytes > 0 && (span.start + span.bytes - 1) / CHUNK == first).then_some(first)
}
