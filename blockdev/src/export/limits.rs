//! Every bound that an export session keeps, in one place.

use core::time::Duration;

use seawall_engine::io::REQUEST_BLOCKS_MAX;
use seawall_wal::names::BLOCK_BYTES;

const MIB: u64 = 1 << 20;

/// The bounds of one connection. Sizes in bytes unless named otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// From the connection's start to the end of its handshake, not counting the wait for an attachment.
    pub handshake: Duration,
    /// How long a client is held until it may attach (an election, the fence).
    pub attach: Duration,
    /// Options in one handshake, not counting the allowance for listed exports.
    pub options_max: u32,
    /// Options more for each export that was listed: clients ask for each in turn.
    pub options_per_export: u32,
    /// An option's data; read and judged up to here.
    pub option_bytes_max: u32,
    /// An option's data up to here is drained and refused; above, the connection closes.
    pub option_drain_bytes_max: u32,
    /// Requests whose reply has not left yet. Beyond, reading stops.
    pub requests_max: u32,
    /// Memory held for requests whose reply has not left yet. Beyond, reading stops.
    pub payload_bytes_max: u64,
    /// The largest READ or WRITE that is served.
    pub request_bytes_max: u32,
    /// The payload of a WRITE up to here is drained and refused; above, the connection closes.
    pub drain_bytes_max: u32,
    /// Bytes given to the driver to send and not yet sent. Beyond, reading stops.
    pub reply_bytes_max: u64,
    /// How long the client may take none of the bytes that wait for it.
    pub reply_stall: Duration,
    /// How long the client may send nothing in the middle of a payload.
    pub payload_stall: Duration,
    /// Runs in one answer about allocation.
    pub status_runs_max: u32,
}

impl Limits {
    /// What is used unless the operator says otherwise.
    pub const DEFAULT: Limits = Limits {
        handshake: Duration::from_secs(10),
        attach: Duration::from_secs(10),
        options_max: 64,
        options_per_export: 32,
        option_bytes_max: 64 << 10,
        option_drain_bytes_max: 1 << 20,
        requests_max: 256,
        payload_bytes_max: 64 * MIB,
        request_bytes_max: 32 << 20,
        drain_bytes_max: 64 << 20,
        reply_bytes_max: 64 * MIB,
        reply_stall: Duration::from_secs(120),
        payload_stall: Duration::from_secs(60),
        status_runs_max: 1 << 16,
    };

    /// Blocks of memory that one request may need at the most: its bytes and a torn block at its end. A driver's
    /// pool holds at least this much, or the largest request would wait for ever.
    #[must_use]
    pub const fn request_blocks_max(&self) -> u32 {
        self.request_bytes_max / BLOCK_BYTES + 1
    }

    /// Whether the numbers fit each other.
    #[must_use]
    pub const fn is_coherent(&self) -> bool {
        self.option_bytes_max <= self.option_drain_bytes_max
            && self.request_bytes_max <= self.drain_bytes_max
            && self.request_bytes_max.is_multiple_of(REQUEST_BLOCKS_MAX * BLOCK_BYTES)
            && self.request_blocks_max() as u64 * BLOCK_BYTES as u64 <= self.payload_bytes_max
            && self.requests_max > 0
            && self.reply_bytes_max > 0
            && self.status_runs_max > 0
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits::DEFAULT
    }
}

const _: () = assert!(Limits::DEFAULT.is_coherent());
