//! What may be on its way to one replica at a time: a bound in records and in bytes, held for ever.

use alloc::collections::VecDeque;

use seawall_wal::guard;
use seawall_wal::names::Lsn;
use seawall_wal::record::WIRE_BYTES_MAX;

use crate::feed::APPEND_PREFIX_BYTES;
use crate::frame::{FRAME_BYTES, PAYLOAD_BYTES_MAX};

/// Most bytes of one record on the wire. A window must have room for one.
#[expect(clippy::cast_possible_truncation, reason = "three small constants; const code has no try_from")]
pub const APPEND_BYTES_MAX: u32 =
    (FRAME_BYTES + APPEND_PREFIX_BYTES + WIRE_BYTES_MAX) as u32 + PAYLOAD_BYTES_MAX;

/// The bounds of a window.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Limits {
    /// Most records in flight; at least 1.
    pub window_records: u64,
    /// Most bytes in flight, as they are counted by whoever sends; at least [`APPEND_BYTES_MAX`], so that an
    /// empty window admits any record.
    pub window_bytes: u64,
}

/// Records that were sent and of which the replica has not yet said that they are in its log.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Window {
    limits: Limits,
    /// The oldest record in flight; the next to be sent if there is none.
    first: Lsn,
    /// Bytes of each record in flight, from `first` on.
    sizes: VecDeque<u32>,
    /// Their sum.
    bytes: u64,
}

impl Window {
    pub(crate) fn new(limits: Limits) -> Window {
        assert!(limits.window_records >= 1, "a window admits a record");
        assert!(limits.window_bytes >= u64::from(APPEND_BYTES_MAX), "an empty window admits any record");
        Window { limits, first: Lsn::ZERO, sizes: VecDeque::new(), bytes: 0 }
    }

    /// Forgets what is in flight; the next record is `from`.
    pub(crate) fn reset(&mut self, from: Lsn) {
        self.first = from;
        self.sizes = VecDeque::new();
        self.bytes = 0;
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn records(&self) -> u64 {
        self.sizes.len() as u64
    }

    pub(crate) fn has_room(&self, bytes: u32) -> bool {
        guard!("window-records", self.records() < self.limits.window_records)
            && guard!("window-bytes", self.bytes + u64::from(bytes) <= self.limits.window_bytes)
    }

    pub(crate) fn on_sent(&mut self, bytes: u32) {
        assert!(self.has_room(bytes), "nothing is sent past the window");
        self.sizes.push_back(bytes);
        self.bytes += u64::from(bytes);
    }

    /// The replica's log holds what is below `written`.
    pub(crate) fn on_written(&mut self, written: Lsn) {
        while self.first < written
            && let Some(bytes) = self.sizes.pop_front()
        {
            self.first = self.first.next();
            self.bytes -= u64::from(bytes);
        }
    }
}
