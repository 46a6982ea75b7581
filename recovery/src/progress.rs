//! How far a recovery is, how fast it goes and when it will be done.

use alloc::collections::VecDeque;
use core::time::Duration;

use seawall_sender::time::Instant;

/// What is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// Log records.
    Records,
    /// Blocks of the base.
    Blocks,
}

impl Unit {
    /// Its name, for status.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Unit::Records => "records",
            Unit::Blocks => "blocks",
        }
    }
}

/// How far a recovery is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// The session's phase.
    pub phase: &'static str,
    /// How many are done.
    pub done: u64,
    /// Of how many.
    pub total: u64,
    /// Of what.
    pub unit: Unit,
    /// How many per second, of late.
    pub per_second: u64,
    /// How much longer at that rate; `None` while it stands still.
    pub eta: Option<Duration>,
}

/// Moments kept: the rate is that of the time between the first and the last of them.
const SAMPLES: usize = 16;
/// Least time between two of them.
const GAP: Duration = Duration::from_millis(500);

/// Estimates a rate from what was done of late.
#[derive(Clone, Debug, Default)]
pub struct Estimator {
    samples: VecDeque<(Instant, u64)>,
}

impl Estimator {
    /// Knows nothing.
    #[must_use]
    pub fn new() -> Estimator {
        Estimator::default()
    }

    /// So much was done by now. What was done never falls; if it does, something else is counted: it starts anew.
    pub fn on_done(&mut self, now: Instant, done: u64) {
        if self.samples.back().is_some_and(|&(_, before)| done < before) {
            self.samples.clear();
        }
        if self.samples.back().is_some_and(|&(then, _)| now.since(then) < GAP) {
            return;
        }
        if self.samples.len() == SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back((now, done));
    }

    /// How many per second, of late; `done` of them by now.
    #[must_use]
    pub fn per_second(&self, now: Instant, done: u64) -> u64 {
        let Some(&(then, before)) = self.samples.front() else { return 0 };
        let nanos = now.since(then).as_nanos();
        let moved = u128::from(done.saturating_sub(before));
        u64::try_from((moved * 1_000_000_000).checked_div(nanos).unwrap_or(0)).unwrap_or(u64::MAX)
    }

    /// How far it is.
    #[must_use]
    pub fn progress(&self, now: Instant, phase: &'static str, done: u64, total: u64, unit: Unit) -> Progress {
        let per_second = self.per_second(now, done);
        let millis = u128::from(total.saturating_sub(done)) * 1000;
        let eta = millis.checked_div(u128::from(per_second));
        let eta = eta.map(|millis| Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX)));
        Progress { phase, done, total, unit, per_second, eta }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant(millis * 1_000_000)
    }

    #[test]
    fn a_steady_pace_is_told_and_says_when_it_is_done() {
        let mut estimator = Estimator::new();
        for tick in 0..100 {
            estimator.on_done(at(tick * 100), tick * 10);
        }
        let told = estimator.progress(at(9900), "copying", 990, 1990, Unit::Blocks);
        assert_eq!(told.per_second, 100);
        assert_eq!(told.eta, Some(Duration::from_secs(10)));
    }

    #[test]
    fn the_pace_is_that_of_late() {
        let mut estimator = Estimator::new();
        let mut done = 0;
        for tick in 0..40 {
            done += if tick < 20 { 1000 } else { 10 };
            estimator.on_done(at(tick * 1000), done);
        }
        assert_eq!(estimator.per_second(at(39_000), done), 10);
    }

    #[test]
    fn standing_still_has_no_end_and_a_new_count_no_past() {
        let mut estimator = Estimator::new();
        assert_eq!(estimator.progress(at(0), "copying", 0, 10, Unit::Blocks).eta, None);
        estimator.on_done(at(0), 500);
        estimator.on_done(at(60_000), 500);
        assert_eq!(estimator.progress(at(60_000), "copying", 500, 600, Unit::Blocks).eta, None);
        estimator.on_done(at(61_000), 10);
        assert_eq!(estimator.per_second(at(61_000), 10), 0, "there is one moment only");
        assert_eq!(estimator.per_second(at(62_000), 20), 10);
    }
}
