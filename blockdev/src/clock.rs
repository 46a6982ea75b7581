//! The node's monotonic clock.

use nix::time::{ClockId, clock_gettime};
use seawall_sender::time::Instant;

/// Now, by CLOCK_MONOTONIC.
#[must_use]
pub fn now() -> Instant {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("every Linux has this clock");
    let seconds = u64::try_from(time.tv_sec()).expect("it never is negative");
    let nanos = u64::try_from(time.tv_nsec()).expect("it never is negative");
    Instant(seconds * 1_000_000_000 + nanos)
}
