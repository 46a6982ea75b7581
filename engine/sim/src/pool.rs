//! A node's buffers: real bytes behind the tokens that the machine moves, counted exactly as a driver counts them.

use seawall_engine::io::{Buf, Payload};
use seawall_wal::names::BLOCK_BYTES;

use crate::checksum::crc32c;

/// What the pool calls a broken rule of its own.
pub(crate) const MEMORY: &str = "buffers-come-home";

/// Bytes of a block, as a length.
pub(crate) const BLOCK: usize = BLOCK_BYTES as usize;

/// What freed memory is overwritten with, so that who still looks at it sees nothing sensible.
const FREED: u8 = 0xDB;

/// All buffers of one life of a node.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    slots: Vec<Slot>,
    free: Vec<u32>,
    held: usize,
}

#[derive(Debug)]
struct Slot {
    bytes: Vec<u8>,
    references: u32,
    /// Came with a block of a rebuild's base.
    base: bool,
}

impl Pool {
    /// A buffer of `blocks` blocks that hold anything; one reference.
    pub(crate) fn take(&mut self, blocks: u32) -> Buf {
        assert!(blocks > 0, "a buffer has room");
        let len = usize::try_from(blocks).expect("a buffer fits memory") * BLOCK;
        let slot = self.take_slot();
        // What it held before was overwritten when it was freed.
        self.slots[slot as usize].bytes.resize(len, FREED);
        Buf { slot, first: 0, blocks }
    }

    fn take_slot(&mut self) -> u32 {
        self.held += 1;
        match self.free.pop() {
            Some(slot) => {
                let reused = &mut self.slots[slot as usize];
                reused.references = 1;
                reused.base = false;
                slot
            }
            None => {
                self.slots.push(Slot { bytes: Vec::new(), references: 1, base: false });
                u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 buffers")
            }
        }
    }

    /// A buffer that holds `bytes`, whole blocks, with their checksums.
    pub(crate) fn filled(&mut self, bytes: &[u8]) -> Payload {
        assert!(bytes.len().is_multiple_of(BLOCK), "payload is whole blocks");
        let blocks = u32::try_from(bytes.len() / BLOCK).expect("a payload is small");
        assert!(blocks > 0, "a buffer has room");
        let slot = self.take_slot();
        let content = &mut self.slots[slot as usize].bytes;
        content.clear();
        content.extend_from_slice(bytes);
        let buf = Buf { slot, first: 0, blocks };
        Payload { buf, crcs: bytes.chunks_exact(BLOCK).map(crc32c).collect() }
    }

    /// Notes that a buffer came with a rebuild's base.
    pub(crate) fn mark_base(&mut self, buf: Buf) {
        self.live(buf).base = true;
    }

    /// Whether a buffer came with a rebuild's base.
    pub(crate) fn is_base(&self, buf: Buf) -> bool {
        self.slots[buf.slot as usize].base
    }

    /// One more reference to the allocation behind `buf`.
    pub(crate) fn hold(&mut self, buf: Buf) {
        let slot = self.live(buf);
        slot.references += 1;
    }

    /// One reference less; the last one frees it.
    pub(crate) fn release(&mut self, buf: Buf) {
        let slot = self.live(buf);
        slot.references -= 1;
        if slot.references == 0 {
            slot.bytes.fill(FREED);
            self.free.push(buf.slot);
            self.held -= 1;
        }
    }

    /// The bytes of a token.
    pub(crate) fn bytes(&self, buf: Buf) -> &[u8] {
        let slot = &self.slots[buf.slot as usize];
        assert!(slot.references > 0, "{MEMORY}: {buf:?} is read after it was given back");
        &slot.bytes[range(buf)]
    }

    /// The bytes of a token, to be written.
    pub(crate) fn bytes_mut(&mut self, buf: Buf) -> &mut [u8] {
        &mut self.live(buf).bytes[range(buf)]
    }

    /// Whether somebody holds it.
    pub(crate) fn is_held(&self, buf: Buf) -> bool {
        self.slots[buf.slot as usize].references > 0
    }

    /// Allocations that somebody still holds.
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    fn live(&mut self, buf: Buf) -> &mut Slot {
        let slot = &mut self.slots[buf.slot as usize];
        // Invariant: buffers-come-home.
        assert!(slot.references > 0, "{MEMORY}: {buf:?} is used after it was given back");
        slot
    }
}

fn range(buf: Buf) -> core::ops::Range<usize> {
    let first = buf.first as usize * BLOCK;
    first..first + buf.blocks as usize * BLOCK
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_free_when_the_last_reference_is_given_back() {
        let mut pool = Pool::default();
        let buf = pool.take(2);
        pool.hold(buf.part(1, 1));
        pool.release(buf);
        assert_eq!(pool.held(), 1);
        pool.bytes_mut(buf.part(1, 1)).fill(7);
        pool.release(buf.part(1, 1));
        assert_eq!(pool.held(), 0);
        assert_eq!(pool.take(1).slot, buf.slot);
        assert!(pool.bytes(buf.part(0, 1)).iter().all(|&byte| byte == FREED));
    }

    #[test]
    #[should_panic(expected = "is used after it was given back")]
    fn giving_back_twice_is_found() {
        let mut pool = Pool::default();
        let buf = pool.take(1);
        pool.release(buf);
        pool.release(buf);
    }

    #[test]
    fn a_filled_buffer_knows_its_checksums() {
        let mut pool = Pool::default();
        let payload = pool.filled(&[3; 2 * BLOCK]);
        assert_eq!(payload.crcs, [crc32c(&[3; BLOCK]); 2]);
    }
}
