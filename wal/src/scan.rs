//! What bytes of the log area look like records: run by the driver over what it read, so that bodies never enter
//! the machine.

use alloc::vec::Vec;

use crate::names::{BLOCK_BYTES, Crc};
use crate::record::{HEADER_BYTES, MAGIC, RecordHeader, Trailer};

/// Bytes that suffice for the largest record of any unit.
pub const RECORD_BYTES_MAX: u64 = 4096 + crate::record::BODY_BLOCKS_MAX as u64 * BLOCK_BYTES as u64;

/// What a piece of the log area holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Scanned {
    /// In order.
    pub records: Vec<Found>,
    /// Where in the log area to go on. Always past the beginning of the piece.
    pub next: u64,
}

/// A valid header.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// Where it is in the log area. Bytes.
    pub offset: u64,
    /// Its replicated part.
    pub header: RecordHeader,
    /// Its local trailer.
    pub trailer: Trailer,
    /// Whether each block of its body has the checksum that the header states.
    pub body_ok: bool,
}

/// Look at `bytes`, which are from `base` on in a log of that unit. `crc_of_block` gives the CRC32C of one block.
///
/// Wherever a valid header stands it is reported, also inside of what is left of older records: the caller judges.
/// Only an intact body is stepped over. A record that reaches past the bytes is left for the next piece, unless it
/// is at their very beginning, where it could never be complete: pieces are therefore at least
/// [`RECORD_BYTES_MAX`] long, except at the end of the ring.
///
/// # Panics
/// If `bytes` or `base` are no whole units.
pub fn scan(bytes: &[u8], base: u64, unit_bytes: u32, crc_of_block: impl Fn(&[u8]) -> Crc) -> Scanned {
    let unit = unit_bytes as usize;
    assert!(unit.is_multiple_of(HEADER_BYTES) && bytes.len().is_multiple_of(unit), "whole units");
    assert!(base.is_multiple_of(u64::from(unit_bytes)), "whole units");
    let mut records = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let Some((header, trailer)) = header_at(&bytes[at..]) else {
            at += unit;
            continue;
        };
        let body = at + unit;
        let after = body + header.sums().len() * BLOCK_BYTES as usize;
        if after > bytes.len() {
            if at > 0 {
                break;
            }
            at += unit;
            continue;
        }
        let blocks = bytes[body..after].chunks_exact(BLOCK_BYTES as usize);
        let body_ok = blocks.zip(header.sums()).all(|(block, crc)| crc_of_block(block) == *crc);
        records.push(Found { offset: base + at as u64, header, trailer, body_ok });
        at = if body_ok { after } else { body };
    }
    Scanned { records, next: base + at as u64 }
}

fn header_at(bytes: &[u8]) -> Option<(RecordHeader, Trailer)> {
    let head = bytes.first_chunk::<HEADER_BYTES>()?;
    // Most units are body or zeroes: four bytes tell.
    if head[..4] != MAGIC.to_le_bytes() {
        return None;
    }
    RecordHeader::decode(head).ok()
}
