//! The words between a replica that has clients and the primary: a client's request, handed on, and its answer.
//! Each is the whole meta part of the frame of its name; bytes of writes and reads are the frame's payload.

use alloc::vec::Vec;

use bincode::{Decode, Encode};

use seawall_wal::names::{Crc, Extent, Lsn, Origin};

use crate::io::{REQUEST_BLOCKS_MAX, Refusal, Request};

/// Runs in one answer to a question for holes: what fits a frame.
pub const RUNS_MAX: u32 = 4096;

/// A client's request, handed on to the primary of the frame's epoch. The frame's session names the connection: the
/// primary hears only the newest one of each replica.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Forward {
    /// Names the answer.
    pub number: u64,
    /// Of a write: its place in the clients' order. None of others.
    pub origin: Origin,
    /// When this request was first given to a primary, everything below was settled: a record of it is not below.
    pub seen: Lsn,
    /// It was given to a primary before, and may be in the log.
    pub again: bool,
    /// What is asked.
    pub what: Forwarding,
}

/// What is asked. Variants are only ever added at the end.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub enum Forwarding {
    /// The bytes of some blocks.
    Read {
        /// Which.
        extent: Extent,
    },
    /// Whole blocks, as payload.
    Write {
        /// Which.
        extent: Extent,
        /// Durable before it completes.
        fua: bool,
        /// One per block.
        crcs: Vec<Crc>,
    },
    /// Sectors of one block. The payload is a block of which only these count.
    WritePart {
        /// Which block.
        block: u64,
        /// The first sector within the block, 0 to 7.
        first_sector: u8,
        /// How many, 1 to 7.
        sectors: u8,
        /// Durable before it completes.
        fua: bool,
        /// Of the whole payload.
        crc: Crc,
    },
    /// Blocks that shall read as zeroes.
    WriteZeroes {
        /// Which.
        extent: Extent,
        /// Durable before it completes.
        fua: bool,
    },
    /// Blocks that are no longer needed.
    Trim {
        /// Which.
        extent: Extent,
        /// Durable before it completes.
        fua: bool,
    },
    /// Everything that completed before is durable.
    Flush,
    /// Which parts are holes.
    Status {
        /// Of which blocks.
        extent: Extent,
        /// Runs to report at the most.
        runs_max: u32,
    },
    /// An attachment for the clients of the replica that asks.
    Attach {
        /// The attachment that it takes the place of. If there is a newer one, it is refused.
        expected: Lsn,
    },
}

/// The answer.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Forwarded {
    /// Of which request.
    pub number: u64,
    /// What came of it.
    pub answer: ForwardAnswer,
}

/// What came of a request. Variants are only ever added at the end.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub enum ForwardAnswer {
    /// The bytes are the payload, except for holes; no payload if there are only holes.
    Read {
        /// Bit per block.
        holes: u64,
        /// One per block; that of a hole counts for nothing.
        crcs: Vec<Crc>,
    },
    /// It is as durable as was asked.
    Written,
    /// So is everything before.
    Flushed,
    /// Runs from the start of the extent: length in blocks, and whether it is a hole.
    Status(Vec<(u64, bool)>),
    /// The attachment is the newest, durably.
    Attached {
        /// Its name: the position of its attach record.
        incarnation: Lsn,
    },
    /// Refused.
    Refused(Refusal),
}

impl Forwarding {
    /// How many blocks of payload come with it.
    #[must_use]
    pub fn payload_blocks(&self) -> u32 {
        match self {
            Forwarding::Write { extent, .. } => extent.blocks,
            Forwarding::WritePart { .. } => 1,
            Forwarding::Read { .. }
            | Forwarding::WriteZeroes { .. }
            | Forwarding::Trim { .. }
            | Forwarding::Flush
            | Forwarding::Status { .. }
            | Forwarding::Attach { .. } => 0,
        }
    }

    /// Whether it makes sense by itself on a volume of that many blocks.
    #[must_use]
    pub fn is_sound(&self, volume_blocks: u64) -> bool {
        let lies_in = |extent: &Extent| {
            let end = extent.start.checked_add(u64::from(extent.blocks));
            !extent.is_empty() && end.is_some_and(|end| end <= volume_blocks)
        };
        match self {
            Forwarding::Read { extent } => lies_in(extent) && extent.blocks <= REQUEST_BLOCKS_MAX,
            Forwarding::Write { extent, crcs, .. } => {
                let whole = extent.blocks <= REQUEST_BLOCKS_MAX && crcs.len() == extent.blocks as usize;
                lies_in(extent) && whole
            }
            Forwarding::WritePart { block, first_sector, sectors, .. } => {
                let within = *sectors > 0 && *sectors < 8 && first_sector.saturating_add(*sectors) <= 8;
                *block < volume_blocks && within
            }
            Forwarding::WriteZeroes { extent, .. }
            | Forwarding::Trim { extent, .. }
            | Forwarding::Status { extent, .. } => lies_in(extent),
            Forwarding::Flush | Forwarding::Attach { .. } => true,
        }
    }

    /// How a client's request travels. `crc` is that of the payload of a part of a block.
    #[must_use]
    pub fn of(request: &Request, crc: Crc) -> Forwarding {
        match request {
            Request::Read { extent, .. } => Forwarding::Read { extent: *extent },
            Request::Write { extent, payload, fua } => {
                Forwarding::Write { extent: *extent, fua: *fua, crcs: payload.crcs.clone() }
            }
            Request::WritePart { block, first_sector, sectors, fua, .. } => Forwarding::WritePart {
                block: *block,
                first_sector: *first_sector,
                sectors: *sectors,
                fua: *fua,
                crc,
            },
            Request::WriteZeroes { extent, fua } => Forwarding::WriteZeroes { extent: *extent, fua: *fua },
            Request::Trim { extent, fua } => Forwarding::Trim { extent: *extent, fua: *fua },
            Request::Flush => Forwarding::Flush,
            Request::Status { extent, runs_max } => {
                Forwarding::Status { extent: *extent, runs_max: (*runs_max).min(RUNS_MAX) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_and_an_answer_have_these_bytes() {
        let word = |n: u8| [n, 0, 0, 0, 0, 0, 0, 0];
        let forward = Forward {
            number: 1,
            origin: Origin { incarnation: Lsn(2), number: 3 },
            seen: Lsn(4),
            again: true,
            what: Forwarding::Trim { extent: Extent::new(6, 7), fua: true },
        };
        let head = [word(1), word(2), word(3), word(4)].concat();
        let rest = [&[1, 4, 0, 0, 0][..], &word(6), &[7, 0, 0, 0, 1]].concat();
        assert_eq!(seawall_sender::codec::encode(&forward), [head, rest].concat());
        let answer = ForwardAnswer::Refused(Refusal::InDoubt);
        let forwarded = seawall_sender::codec::encode(&Forwarded { number: 9, answer });
        assert_eq!(forwarded, [&word(9)[..], &[5, 0, 0, 0, 6, 0, 0, 0]].concat());
    }

    #[test]
    fn what_reaches_past_the_volume_or_has_no_shape_is_not_sound() {
        let part = |block, first_sector, sectors| Forwarding::WritePart {
            block,
            first_sector,
            sectors,
            fua: false,
            crc: Crc(0),
        };
        let zeroes =
            |start, blocks| Forwarding::WriteZeroes { extent: Extent::new(start, blocks), fua: true };
        let read = |blocks| Forwarding::Read { extent: Extent::new(0, blocks) };
        for (what, sound) in [
            (part(9, 0, 7), true),
            (part(9, 7, 1), true),
            (part(9, 7, 2), false),
            (part(9, 0, 8), false),
            (part(9, 0, 0), false),
            (part(10, 0, 1), false),
            (zeroes(0, 10), true),
            (zeroes(1, 10), false),
            (zeroes(u64::MAX, 10), false),
            (zeroes(3, 0), false),
            (read(10), true),
            (read(0), false),
            (Forwarding::Write { extent: Extent::new(0, 2), fua: false, crcs: alloc::vec![Crc(1)] }, false),
            (Forwarding::Flush, true),
        ] {
            assert_eq!(what.is_sound(10), sound, "{what:?}");
        }
        assert!(!Forwarding::Read { extent: Extent::new(0, 65) }.is_sound(100));
    }
}
