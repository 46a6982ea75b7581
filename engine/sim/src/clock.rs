//! Virtual time, and the clocks that nodes have instead of it.

use core::fmt;
use core::time::Duration;

use seawall_sender::time::Instant;

/// A moment of the simulated world, in nanoseconds since its beginning. Nodes never see it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Moment(pub(crate) u64);

impl Moment {
    /// So many nanoseconds later.
    pub(crate) fn plus(self, nanos: u64) -> Moment {
        Moment(self.0.saturating_add(nanos))
    }

    /// Nanoseconds since `earlier`; zero if it is not earlier.
    pub(crate) fn since(self, earlier: Moment) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>4}.{:06}", self.0 / 1_000_000_000, self.0 / 1_000 % 1_000_000)
    }
}

impl fmt::Debug for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A millisecond in nanoseconds.
pub(crate) const MILLIS: u64 = 1_000_000;
/// A second in nanoseconds.
pub(crate) const SECOND: u64 = 1_000 * MILLIS;

/// Unix time at the beginning of the world.
const UNIX: Duration = Duration::from_secs(1_700_000_000);

/// What Unix time it was when a clock was at zero that shows `local` now.
pub(crate) fn wall_at_zero(now: Moment, local: Instant) -> Duration {
    UNIX + Duration::from_nanos(now.0) - Duration::from_nanos(local.0)
}

/// What one node takes for time: an origin of its own and a rate that is a little wrong.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NodeClock {
    started: Moment,
    origin: u64,
    /// Local nanoseconds per million nanoseconds of the world.
    rate: u64,
}

impl NodeClock {
    /// A clock that shows `origin` at `started` and runs `rate_ppm` parts in a million too fast (or too slow).
    pub(crate) fn new(started: Moment, origin: u64, rate_ppm: i64) -> NodeClock {
        let rate = 1_000_000_i64 + rate_ppm;
        NodeClock { started, origin, rate: u64::try_from(rate).expect("a clock runs forward") }
    }

    /// What it shows.
    pub(crate) fn shows(&self, now: Moment) -> Instant {
        let local = u128::from(now.since(self.started)) * u128::from(self.rate) / 1_000_000;
        Instant(self.origin + u64::try_from(local).expect("a run is shorter than 500 years"))
    }

    /// The first moment at which it shows `instant` or later.
    pub(crate) fn when(&self, instant: Instant) -> Moment {
        let local = u128::from(instant.0.saturating_sub(self.origin));
        let world = (local * 1_000_000).div_ceil(u128::from(self.rate));
        Moment(u64::try_from(world).unwrap_or(u64::MAX)).plus(self.started.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_has_reached_a_deadline_when_the_world_says_so_and_not_before() {
        for ppm in [-50_000, -1, 0, 3, 50_000] {
            let clock = NodeClock::new(Moment(77), 1_000_003, ppm);
            for deadline in [1_000_003, 1_000_004, 1_999_999, 8_000_000_001] {
                let when = clock.when(Instant(deadline));
                assert!(clock.shows(when) >= Instant(deadline));
                assert!(when.0 <= 77 || clock.shows(Moment(when.0 - 1)) < Instant(deadline));
            }
        }
    }

    #[test]
    fn a_fast_clock_shows_more() {
        let clock = NodeClock::new(Moment(0), 0, 50_000);
        assert_eq!(clock.shows(Moment(SECOND)), Instant(1_050_000_000));
    }
}
