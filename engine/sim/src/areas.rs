//! The areas of a replica's devices: where they lie, and the bytes that operations of the seam bring to and from them.

use seawall_engine::io::{AppendPart, Area, ReadPiece};
use seawall_wal::crc::ZERO_BLOCK;
use seawall_wal::geometry::{Geometry, SUPER_BYTES};
use seawall_wal::names::Crc;

use crate::checksum::crc32c;
use crate::device::SECTOR;
use crate::pool::{BLOCK, Pool};

/// What a flush covers: the log, or everything else.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Domain {
    /// The log ring.
    Log,
    /// Superblock, table, home.
    Main,
}

impl Domain {
    /// That of an area.
    pub(crate) fn of(area: Area) -> Domain {
        match area {
            Area::Log => Domain::Log,
            Area::Super | Area::Table | Area::Home => Domain::Main,
        }
    }
}

/// Where an area starts on its device, in bytes.
pub(crate) fn start(geometry: &Geometry, area: Area) -> u64 {
    match area {
        Area::Super => 0,
        Area::Log => geometry.log_offset(),
        Area::Table => geometry.table_offset(),
        Area::Home => geometry.home_offset(),
    }
}

/// Bytes of an area.
pub(crate) fn bytes(geometry: &Geometry, area: Area) -> u64 {
    match area {
        Area::Super => SUPER_BYTES,
        Area::Log => geometry.log_bytes,
        Area::Table => geometry.table_bytes(),
        Area::Home => geometry.home_bytes(),
    }
}

/// What an append writes: each header filled up to a unit, then its body.
pub(crate) fn appended(geometry: &Geometry, parts: &[AppendPart], pool: &Pool) -> Vec<u8> {
    let mut bytes = Vec::new();
    append_onto(geometry, parts, pool, &mut bytes);
    bytes
}

/// [`appended`], put after what `onto` holds.
pub(crate) fn append_onto(geometry: &Geometry, parts: &[AppendPart], pool: &Pool, onto: &mut Vec<u8>) {
    let unit = geometry.unit_bytes as usize;
    for part in parts {
        let end = onto.len() + unit;
        onto.extend_from_slice(&part.header[..]);
        onto.resize(end, 0);
        if let Some(body) = part.body {
            onto.extend_from_slice(pool.bytes(body));
        }
    }
}

/// What a gathering read of so many blocks sees; `read` fills a slice from a byte of an area on. Zeroes elsewhere.
pub(crate) fn gathered(pieces: &[ReadPiece], blocks: u32, read: impl Fn(Area, u64, &mut [u8])) -> Vec<u8> {
    let mut bytes = vec![0; blocks as usize * BLOCK];
    gather(pieces, &mut bytes, read);
    bytes
}

/// [`gathered`] into memory that holds anything.
pub(crate) fn gather(pieces: &[ReadPiece], bytes: &mut [u8], read: impl Fn(Area, u64, &mut [u8])) {
    let filled = pieces.iter().try_fold(0, |end, piece| (piece.at == end).then_some(end + piece.blocks));
    if filled.is_none_or(|end| end as usize * BLOCK != bytes.len()) {
        bytes.fill(0);
    }
    for piece in pieces {
        let at = piece.at as usize * BLOCK;
        let into = &mut bytes[at..at + piece.blocks as usize * BLOCK];
        assert!(matches!(piece.area, Area::Log | Area::Home), "reads gather from log and home");
        read(piece.area, piece.offset, into);
    }
}

/// The checksums of a gathering read's blocks.
pub(crate) fn checksums(pieces: &[ReadPiece], blocks: u32, bytes: &[u8]) -> Vec<Crc> {
    let mut crcs = vec![ZERO_BLOCK; blocks as usize];
    for piece in pieces {
        for block in piece.at as usize..(piece.at + piece.blocks) as usize {
            crcs[block] = crc32c(&bytes[block * BLOCK..(block + 1) * BLOCK]);
        }
    }
    crcs
}

/// Fill up a block, of which only so many sectors from `first` on are new, from an older one, or with zeroes.
pub(crate) fn merged(base: Option<Vec<u8>>, over: &mut [u8], first: u8, sectors: u8) -> Crc {
    let base = base.unwrap_or_else(|| vec![0; BLOCK]);
    let first = usize::from(first) * SECTOR;
    let end = first + usize::from(sectors) * SECTOR;
    over[..first].copy_from_slice(&base[..first]);
    over[end..].copy_from_slice(&base[end..]);
    crc32c(over)
}
