//! What a load does: where, how much, how mixed, from which seed.

use std::time::Duration;

use crate::nbd::Target;

/// Parts of the requests, in percent; what is left over is reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mix {
    /// Writes of stamped sectors.
    pub write: u64,
    /// Writes of zeroes.
    pub zero: u64,
    /// Trims.
    pub trim: u64,
    /// Flushes.
    pub flush: u64,
    /// Of the writes, how many carry FUA.
    pub fua: u64,
}

impl Default for Mix {
    fn default() -> Mix {
        Mix { write: 70, zero: 2, trim: 2, flush: 2, fua: 10 }
    }
}

/// One load.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The export, at one or more places that are tried in turn.
    pub targets: Vec<Target>,
    /// Connections.
    pub connections: u32,
    /// Requests in flight per connection.
    pub depth: usize,
    /// Where the randomness starts.
    pub seed: u64,
    /// What the requests are.
    pub mix: Mix,
    /// The longest request in sectors; at least one block of 8.
    pub sectors_max: usize,
    /// How long to go on; without it, until told to stop or until `requests` are done.
    pub time: Option<Duration>,
    /// How many requests to ask in all.
    pub requests: Option<u64>,
    /// How long to go on trying without anything done before giving up.
    pub patience: Duration,
    /// How long to wait for an answer on one connection before trying another.
    pub answer_patience: Duration,
    /// How long to wait between two tries for a connection.
    pub retry_pause: Duration,
}

impl Plan {
    /// A moderate load on one export: two connections with eight requests each.
    #[must_use]
    pub fn new(targets: Vec<Target>) -> Plan {
        Plan {
            targets,
            connections: 2,
            depth: 8,
            seed: 1,
            mix: Mix::default(),
            sectors_max: 512,
            time: None,
            requests: None,
            patience: Duration::from_secs(120),
            answer_patience: Duration::from_secs(120),
            retry_pause: Duration::from_millis(20),
        }
    }
}

/// A small, fast, seeded source of numbers (xorshift64*): not for secrets.
#[derive(Clone, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `bound`, which is not zero.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16) % bound
    }
}
