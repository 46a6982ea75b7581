//! The node's monotonic clock. It goes on while the machine is suspended: a lease runs out meanwhile.

use nix::time::{ClockId, clock_gettime};
use seawall_sender::time::Instant;

/// Now, by CLOCK_BOOTTIME.
#[must_use]
pub fn now() -> Instant {
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("every Linux has this clock");
    let seconds = u64::try_from(time.tv_sec()).expect("it never is negative");
    let nanos = u64::try_from(time.tv_nsec()).expect("it never is negative");
    Instant(seconds * 1_000_000_000 + nanos)
}
