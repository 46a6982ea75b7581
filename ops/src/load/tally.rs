//! What a load counted.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

/// Counts of one load.
#[derive(Clone, Default, PartialEq, Debug, Serialize)]
pub struct Tally {
    /// Writes, zero writes and trims that completed.
    pub writes: u64,
    /// Reads that completed and were judged.
    pub reads: u64,
    /// Flushes that completed.
    pub flushes: u64,
    /// Bytes written and read.
    pub bytes: u64,
    /// Writes whose connection ended before they were answered, or that were answered with an error.
    pub in_doubt: u64,
    /// Requests answered with an error, by error number.
    pub errors: BTreeMap<u32, u64>,
    /// Connections that ended before they were told to.
    pub disconnects: u64,
    /// Connections that were negotiated.
    pub connects: u64,
    /// How often a write and something else of the same sector were under way together.
    pub overlaps: u64,
    /// Sectors that the final check read.
    pub checked_sectors: u64,
    /// Sectors that were not what they must be.
    pub violations: u64,
    /// The longest that an answered request took, in milliseconds.
    pub longest_request_ms: u64,
    /// The longest time without any answer on any connection, in milliseconds.
    pub longest_gap_ms: u64,
    /// Connections that gave up for good.
    pub gave_up: u64,
}

impl Tally {
    /// How many requests were answered with an error.
    #[must_use]
    pub fn errors(&self) -> u64 {
        self.errors.values().sum()
    }

    /// How many requests were answered well.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.writes + self.reads + self.flushes
    }

    pub(super) fn on_error(&mut self, error: u32) {
        *self.errors.entry(error).or_default() += 1;
    }

    pub(super) fn on_reply(&mut self, took: Duration, gap: Duration) {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.longest_request_ms = self.longest_request_ms.max(millis(took));
        self.longest_gap_ms = self.longest_gap_ms.max(millis(gap));
    }
}
