//! The memory of the buffer pool: one mapping, handed out as spans, and a mark per block that says who is at it.
//!
//! The marks are what makes the wrapper safe: the kernel's operations and our own slices both take them, so a
//! slice of memory that the kernel is writing can't exist, nor a write to memory that the kernel is reading.

use std::cell::Cell;
use std::num::NonZeroUsize;
use std::ptr::NonNull;

use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use seawall_wal::names::BLOCK_BYTES;

use super::RingError;

/// Some bytes of an arena.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    /// Bytes from the arena's start.
    pub start: usize,
    /// How many bytes.
    pub bytes: usize,
}

impl Span {
    /// The rest of it after its first `bytes` bytes.
    #[must_use]
    pub fn after(self, bytes: usize) -> Span {
        assert!(bytes <= self.bytes, "no more is passed over than there is");
        Span { start: self.start + bytes, bytes: self.bytes - bytes }
    }

    /// Its first `bytes` bytes.
    #[must_use]
    pub fn until(self, bytes: usize) -> Span {
        assert!(bytes <= self.bytes, "no more is kept than there is");
        Span { start: self.start, bytes }
    }
}

/// What somebody does with a span.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Access {
    /// Looks at it; others may, too.
    Look,
    /// Changes it; nobody else may be at it.
    Change,
}

/// Bytes of a block, as an index.
const BLOCK: usize = BLOCK_BYTES as usize;
/// The mark of a block that is being changed.
const CHANGING: i32 = -1;

/// One mapping of page-aligned memory.
pub struct Arena {
    base: NonNull<u8>,
    bytes: usize,
    /// Per block: how many look at it, or [`CHANGING`].
    marks: Box<[Cell<i32>]>,
}

impl Arena {
    /// Maps `blocks` blocks. Memory that was never touched costs nothing.
    pub fn map(blocks: u32) -> Result<Arena, RingError> {
        let bytes = blocks as usize * BLOCK;
        let length = NonZeroUsize::new(bytes).ok_or(RingError::Map { bytes, errno: 22 })?;
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE;
        // SAFETY: a new private mapping at an address of the kernel's choice touches no memory of ours.
        let base =
            unsafe { mmap_anonymous(None, length, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, flags) }
                .map_err(|errno| RingError::Map { bytes, errno: errno as i32 })?;
        Ok(Arena { base: base.cast(), bytes, marks: (0..blocks).map(|_| Cell::new(0)).collect() })
    }

    /// Its size in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Shows the bytes of a span. Panics while the kernel, or anybody, changes one of its blocks.
    pub fn look<R>(&self, span: Span, look: impl FnOnce(&[u8]) -> R) -> R {
        self.hold(span, Access::Look);
        // SAFETY: the span lies in the mapping (`hold` asserts it) and its marks keep every writer away until
        // `let_go`; anonymous memory is always initialised.
        let answer = look(unsafe { std::slice::from_raw_parts(self.at(span), span.bytes) });
        self.let_go(span, Access::Look);
        answer
    }

    /// Lends the bytes of a span for changing. Panics while the kernel, or anybody, is at one of its blocks.
    pub fn change<R>(&self, span: Span, change: impl FnOnce(&mut [u8]) -> R) -> R {
        self.hold(span, Access::Change);
        // SAFETY: as for `look`, and the marks keep every reader away, too.
        let answer = change(unsafe { std::slice::from_raw_parts_mut(self.at(span), span.bytes) });
        self.let_go(span, Access::Change);
        answer
    }

    /// Where a span begins in memory.
    pub(super) fn at(&self, span: Span) -> *mut u8 {
        assert!(span.start + span.bytes <= self.bytes, "a span lies within its arena");
        // SAFETY: just asserted to lie in the mapping.
        unsafe { self.base.as_ptr().add(span.start) }
    }

    /// Takes the marks of a span's blocks.
    pub(super) fn hold(&self, span: Span, access: Access) {
        assert!(span.start + span.bytes <= self.bytes, "a span lies within its arena");
        for mark in self.marks_of(span) {
            match access {
                Access::Look => {
                    assert!(mark.get() != CHANGING, "a block that is being changed is not looked at");
                    mark.set(mark.get() + 1);
                }
                Access::Change => {
                    assert!(mark.get() == 0, "a block that is in use is not changed");
                    mark.set(CHANGING);
                }
            }
        }
    }

    /// Gives the marks of a span's blocks back.
    pub(super) fn let_go(&self, span: Span, access: Access) {
        for mark in self.marks_of(span) {
            match access {
                Access::Look => {
                    assert!(mark.get() > 0, "a mark is given back once");
                    mark.set(mark.get() - 1);
                }
                Access::Change => {
                    assert!(mark.get() == CHANGING, "a mark is given back once");
                    mark.set(0);
                }
            }
        }
    }

    /// Whether nobody is at any block.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.marks.iter().all(|mark| mark.get() == 0)
    }

    fn marks_of(&self, span: Span) -> &[Cell<i32>] {
        &self.marks[span.start / BLOCK..(span.start + span.bytes).div_ceil(BLOCK)]
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, made in `map`, and nothing refers to it any more: slices end with `look`
        // and `change`, and a ring keeps its arena until its operations are over.
        let unmapped = unsafe { munmap(self.base.cast(), self.bytes) };
        debug_assert!(unmapped.is_ok());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caught(act: impl FnOnce()) -> bool {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(act)).is_err()
    }

    #[test]
    fn nobody_changes_what_another_looks_at_and_neighbours_do_not_mind() {
        let arena = Arena::map(4).unwrap();
        let (first, second) = (Span { start: 0, bytes: BLOCK }, Span { start: BLOCK, bytes: 10 });
        arena.hold(first, Access::Look);
        arena.look(first, |bytes| assert_eq!(bytes, [0; BLOCK]));
        arena.change(second, |bytes| bytes.fill(7));
        assert!(caught(|| arena.change(first.until(1), |_| ())));
        arena.let_go(first, Access::Look);
        arena.change(first, |bytes| bytes.fill(1));
        arena.hold(second, Access::Change);
        assert!(caught(|| arena.look(second.after(9), |_| ())));
        arena.let_go(second, Access::Change);
        assert!(arena.is_quiet());
        assert!(caught(|| arena.look(Span { start: 4 * BLOCK - 1, bytes: 2 }, |_| ())));
    }
}
