//! The messages of the feed. Their layouts are fixed, integers little-endian: the feed is the hot path, and it
//! is what an older build must be able to follow longest.

use alloc::vec::Vec;
use core::fmt;

use seawall_wal::guard;
use seawall_wal::names::Lsn;
use seawall_wal::record::RecordHeader;

use crate::frame::Kind;
use crate::violation::Violation;

/// Bytes of an [`Append`] before its record.
pub const APPEND_PREFIX_BYTES: usize = 8;
/// Bytes of an [`Ack`].
pub const ACK_BYTES: usize = 32;
/// Bytes of a [`Pulse`].
pub const PULSE_BYTES: usize = 40;
/// Bytes of a [`PulseAck`].
pub const PULSE_ACK_BYTES: usize = 8 + ACK_BYTES + 16;

/// How far a replica is, as four frontiers: `home <= durable <= written <= received`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct Frontiers {
    /// Below it, records are in the replica's memory.
    pub received: Lsn,
    /// Below it, records are in the replica's log, perhaps in a volatile cache.
    pub written: Lsn,
    /// Below it, records are on the replica's stable storage.
    pub durable: Lsn,
    /// Below it, records are in the replica's home area for good: its checkpoint.
    pub home: Lsn,
}

/// The meta part of an `Ack`: cumulative frontiers, never "received" for "durable".
pub type Ack = Frontiers;

/// The meta part of an `Append`. The record's body is the payload.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Append {
    /// Below it, records are durable on the commit quorum.
    pub settled: Lsn,
    /// The record; its checksums are those of the payload's blocks.
    pub record: RecordHeader,
}

/// The meta part of a `Pulse`: the primary lives, and asks whether it still reigns.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Pulse {
    /// Counts the pulses of this reign. What an answer confirms is what held when this one was sent.
    pub seq: u64,
    /// The end of the primary's log.
    pub end: Lsn,
    /// Below it, records are durable on the commit quorum.
    pub settled: Lsn,
    /// The barrier: the replica shall make durable what it has below it, without waiting for more.
    pub flush_to: Lsn,
    /// The newest pulse that so many voters answered that nobody else could be promoted meanwhile: while it moves,
    /// the primary is not cut off.
    pub confirmed: u64,
}

/// The meta part of a `PulseAck`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PulseAck {
    /// Of the pulse that it answers.
    pub seq: u64,
    /// As an `Ack` would say at this moment.
    pub ack: Ack,
    /// What the replica's clock shows, in nanoseconds since some moment of its own.
    pub clock: u64,
    /// Whether it promises nobody else for the length of a lease. That it has not done so yet it says in any case.
    pub grants: bool,
}

impl Frontiers {
    /// What a disk proves: everything below `durable` is in the log, everything below `home` also at home.
    #[must_use]
    pub fn proven(durable: Lsn, home: Lsn) -> Frontiers {
        Frontiers { received: durable, written: durable, durable, home }
    }

    /// Whether they contradict each other.
    pub fn check(&self) -> Result<(), Violation> {
        let ordered = guard!("frontiers-home-in-durable", self.home <= self.durable)
            && guard!("frontiers-durable-in-written", self.durable <= self.written)
            && guard!("frontiers-written-in-received", self.written <= self.received);
        if ordered { Ok(()) } else { Err(Violation::FrontiersDisordered { found: *self }) }
    }

    /// Whether any of them is below the same one of `earlier`.
    #[must_use]
    pub fn moved_back_from(&self, earlier: &Frontiers) -> bool {
        self.received < earlier.received
            || self.written < earlier.written
            || self.durable < earlier.durable
            || self.home < earlier.home
    }

    /// Its [`ACK_BYTES`] bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        words([self.received.0, self.written.0, self.durable.0, self.home.0])
    }

    /// The frontiers that these bytes are. They may contradict each other: see [`Frontiers::check`].
    pub fn decode(meta: &[u8]) -> Result<Frontiers, Violation> {
        let [received, written, durable, home] = from_words(meta)?.map(Lsn);
        Ok(Frontiers { received, written, durable, home })
    }
}

impl fmt::Display for Frontiers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Frontiers { received, written, durable, home } = self;
        write!(f, "received {received}, written {written}, durable {durable}, home {home}")
    }
}

impl Append {
    /// The bytes of an append, from parts: the record need not be cloned to be sent.
    #[must_use]
    pub fn encode(settled: Lsn, record: &RecordHeader) -> Vec<u8> {
        let wire = record.wire();
        let mut meta = Vec::with_capacity(APPEND_PREFIX_BYTES + wire.len());
        meta.extend_from_slice(&settled.0.to_le_bytes());
        meta.extend_from_slice(&wire);
        meta
    }

    /// The append that these bytes are.
    pub fn decode(meta: &[u8]) -> Result<Append, Violation> {
        let Some((settled, wire)) = meta.split_first_chunk::<APPEND_PREFIX_BYTES>() else {
            return Err(Violation::MetaLength { expected: APPEND_PREFIX_BYTES, found: meta.len() });
        };
        let record = RecordHeader::from_wire(wire)?;
        Ok(Append { settled: Lsn(u64::from_le_bytes(*settled)), record })
    }
}

impl Pulse {
    /// Its [`PULSE_BYTES`] bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        words([self.seq, self.end.0, self.settled.0, self.flush_to.0, self.confirmed])
    }

    /// The pulse that these bytes are.
    pub fn decode(meta: &[u8]) -> Result<Pulse, Violation> {
        let [seq, end, settled, flush_to, confirmed] = from_words(meta)?;
        Ok(Pulse { seq, end: Lsn(end), settled: Lsn(settled), flush_to: Lsn(flush_to), confirmed })
    }
}

impl PulseAck {
    /// Its [`PULSE_ACK_BYTES`] bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let Ack { received, written, durable, home } = self.ack;
        words([self.seq, received.0, written.0, durable.0, home.0, self.clock, u64::from(self.grants)])
    }

    /// The answer that these bytes are.
    pub fn decode(meta: &[u8]) -> Result<PulseAck, Violation> {
        let [seq, received, written, durable, home, clock, grants] = from_words(meta)?;
        let ack =
            Ack { received: Lsn(received), written: Lsn(written), durable: Lsn(durable), home: Lsn(home) };
        if grants > 1 {
            return Err(Violation::Contradictory { kind: Kind::PulseAck });
        }
        Ok(PulseAck { seq, ack, clock, grants: grants == 1 })
    }
}

fn words<const N: usize>(words: [u64; N]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn from_words<const N: usize>(meta: &[u8]) -> Result<[u64; N], Violation> {
    if meta.len() != N * 8 {
        return Err(Violation::MetaLength { expected: N * 8, found: meta.len() });
    }
    let mut words = [0; N];
    for (word, bytes) in words.iter_mut().zip(meta.as_chunks().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    Ok(words)
}
