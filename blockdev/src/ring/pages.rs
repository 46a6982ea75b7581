//! Page-aligned memory that is owned, zeroed when new: for what direct I/O moves but the pool does not hold.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use seawall_wal::names::BLOCK_BYTES;

/// Some bytes of zeroed, page-aligned memory.
pub struct Pages {
    base: NonNull<u8>,
    bytes: usize,
}

impl Pages {
    /// `bytes` zero bytes; more than none.
    #[must_use]
    pub fn zeroed(bytes: usize) -> Pages {
        let layout = layout(bytes);
        // SAFETY: the layout's size is not zero (`layout` asserts it).
        let base = unsafe { alloc_zeroed(layout) };
        Pages { base: NonNull::new(base).unwrap_or_else(|| handle_alloc_error(layout)), bytes }
    }

    /// A copy of `bytes`; more than none.
    #[must_use]
    pub fn copy_of(bytes: &[u8]) -> Pages {
        let mut pages = Pages::zeroed(bytes.len());
        pages.copy_from_slice(bytes);
        pages
    }
}

fn layout(bytes: usize) -> Layout {
    assert!(bytes > 0, "no memory is asked for when none is needed");
    Layout::from_size_align(bytes, BLOCK_BYTES as usize).expect("far below the size of the address space")
}

// SAFETY: it owns its memory alone, like a boxed slice.
unsafe impl Send for Pages {}

impl Deref for Pages {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: allocated with this length, initialised with zeroes, and owned.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr(), self.bytes) }
    }
}

impl DerefMut for Pages {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr(), self.bytes) }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: allocated in `zeroed` with this very layout.
        unsafe { dealloc(self.base.as_ptr(), layout(self.bytes)) }
    }
}

impl std::fmt::Debug for Pages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.bytes)
    }
}
