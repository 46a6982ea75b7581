//! What an operation moves: an ordered list of pieces of memory, owned by the operation until it is over.

use std::cell::UnsafeCell;
use std::collections::VecDeque;
use std::rc::Rc;

use nix::libc::iovec;

use super::arena::{Access, Arena, Span};
use super::pages::Pages;

/// The most pieces that the kernel takes at once (UIO_MAXIOV).
const VECTORS_MAX: usize = 1024;
/// What zeroes are sent from, as often as needed.
static ZEROES: [u8; 65536] = [0; 65536];

/// Where bytes go that nobody wants; aligned for direct I/O.
#[repr(align(4096))]
struct Pit(UnsafeCell<[u8; PIT_BYTES]>);

/// How large it is; for more it is used again.
const PIT_BYTES: usize = 65536;

// SAFETY: only the kernel writes there, and nobody reads it.
unsafe impl Sync for Pit {}

static PIT: Pit = Pit(UnsafeCell::new([0; PIT_BYTES]));

/// One piece of memory.
#[derive(Debug)]
pub enum Piece {
    /// A part of the pool's arena.
    Pool(Span),
    /// Bytes of the heap, from `from` on. Not for direct I/O.
    Bytes {
        /// The memory.
        bytes: Vec<u8>,
        /// Where the piece begins in it.
        from: usize,
    },
    /// Page-aligned memory, from `from` on.
    Pages {
        /// The memory.
        pages: Pages,
        /// Where the piece begins in it.
        from: usize,
    },
    /// A part of page-aligned memory that other pieces share. Only for operations that do not change it.
    Shared {
        /// The memory.
        pages: Rc<Pages>,
        /// Where the piece begins in it.
        from: usize,
        /// Where it ends.
        to: usize,
    },
    /// So many zeroes. Only for operations that do not change it.
    Zeroes(usize),
    /// Room for so many bytes that nobody wants. Only for operations that fill it.
    Skipped(usize),
}

impl Piece {
    /// Its size in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Piece::Pool(span) => span.bytes,
            Piece::Bytes { bytes, from } => bytes.len() - from,
            Piece::Pages { pages, from } => pages.len() - from,
            Piece::Shared { from, to, .. } => to - from,
            Piece::Zeroes(bytes) | Piece::Skipped(bytes) => *bytes,
        }
    }

    fn pass(&mut self, passed: usize) {
        match self {
            Piece::Pool(span) => *span = span.after(passed),
            Piece::Bytes { from, .. } | Piece::Pages { from, .. } | Piece::Shared { from, .. } => {
                *from += passed
            }
            Piece::Zeroes(bytes) | Piece::Skipped(bytes) => *bytes -= passed,
        }
    }
}

/// Pieces in order.
#[derive(Debug, Default)]
pub struct Pieces(VecDeque<Piece>);

impl Pieces {
    /// None yet.
    #[must_use]
    pub fn new() -> Pieces {
        Pieces::default()
    }

    /// Just one.
    #[must_use]
    pub fn one(piece: Piece) -> Pieces {
        Pieces(VecDeque::from([piece]))
    }

    /// Adds one at the end, unless it is empty.
    pub fn push(&mut self, piece: Piece) {
        if piece.bytes() > 0 {
            self.0.push_back(piece);
        }
    }

    /// How many bytes they have together.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.iter().map(Piece::bytes).sum()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Drops the first `passed` bytes: they were moved.
    pub fn pass(&mut self, mut passed: usize) {
        while passed > 0 {
            let first = self.0.front_mut().expect("no more is moved than there was");
            let bytes = first.bytes();
            if passed < bytes {
                first.pass(passed);
                return;
            }
            passed -= bytes;
            self.0.pop_front();
        }
    }

    /// The first piece, taken out.
    pub fn pop(&mut self) -> Option<Piece> {
        self.0.pop_front()
    }

    /// The last piece, taken out.
    pub fn pop_last(&mut self) -> Option<Piece> {
        self.0.pop_back()
    }

    /// The only piece, if it is one of the arena.
    pub(super) fn single_span(&self) -> Option<Span> {
        match (self.0.len(), self.0.front()) {
            (1, Some(Piece::Pool(span))) => Some(*span),
            (_, _) => None,
        }
    }

    /// Takes the marks of all pieces that lie in the arena.
    pub(super) fn hold(&self, arena: &Arena, access: Access) {
        for piece in &self.0 {
            if let Piece::Pool(span) = piece {
                arena.hold(*span, access);
            }
        }
    }

    /// Gives those marks back.
    pub(super) fn let_go(&self, arena: &Arena, access: Access) {
        for piece in &self.0 {
            if let Piece::Pool(span) = piece {
                arena.let_go(*span, access);
            }
        }
    }

    /// The kernel's view of the first [`VECTORS_MAX`] pieces. What is beyond makes the operation end short.
    pub(super) fn vectors(&mut self, arena: &Arena, access: Access, into: &mut Vec<iovec>) {
        for piece in &mut self.0 {
            if into.len() >= VECTORS_MAX {
                return;
            }
            let (base, bytes): (*mut u8, usize) = match piece {
                Piece::Skipped(bytes) => {
                    assert!(access == Access::Change, "what nobody wants is not sent");
                    let mut left = *bytes;
                    while left > 0 && into.len() < VECTORS_MAX {
                        let part = left.min(PIT_BYTES);
                        into.push(iovec { iov_base: PIT.0.get().cast(), iov_len: part });
                        left -= part;
                    }
                    continue;
                }
                Piece::Pool(span) => (arena.at(*span), span.bytes),
                Piece::Bytes { bytes, from } => {
                    let rest = &mut bytes[*from..];
                    (rest.as_mut_ptr(), rest.len())
                }
                Piece::Pages { pages, from } => {
                    let rest = &mut pages[*from..];
                    (rest.as_mut_ptr(), rest.len())
                }
                Piece::Shared { pages, from, to } => {
                    assert!(access == Access::Look, "shared memory is not changed");
                    let part = &pages[*from..*to];
                    (part.as_ptr().cast_mut(), part.len())
                }
                Piece::Zeroes(bytes) => {
                    assert!(access == Access::Look, "zeroes are not changed");
                    let mut left = *bytes;
                    while left > 0 && into.len() < VECTORS_MAX {
                        let part = left.min(ZEROES.len());
                        into.push(iovec { iov_base: ZEROES.as_ptr().cast_mut().cast(), iov_len: part });
                        left -= part;
                    }
                    continue;
                }
            };
            into.push(iovec { iov_base: base.cast(), iov_len: bytes });
        }
    }
}
