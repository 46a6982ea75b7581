//! Whether a voter's clock runs at the rate of ours, as far as messages can show.

use core::time::Duration;

use seawall_sender::time::Instant;

/// Two answers must be so far apart before they say something.
const APART_MIN: Duration = Duration::from_secs(2);
/// From here on the first of them is forgotten: a rate may change.
const APART_MAX: Duration = Duration::from_secs(60);

/// When a voter showed a time: after we asked, before the answer came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Sample {
    /// Our clock, when we asked.
    pub(crate) asked: Instant,
    /// Our clock, when the answer came.
    pub(crate) came: Instant,
    /// The voter's clock in between. Only differences mean anything.
    pub(crate) theirs: Instant,
}

/// What is known of one voter's clock.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Drift {
    first: Option<Sample>,
    proven: bool,
}

impl Drift {
    /// Whether the rates differ by more than two clocks may that are each wrong by the bound.
    pub(crate) fn is_proven(&self) -> bool {
        self.proven
    }

    /// A new session: perhaps with a new life of the voter, whose clock has another beginning. What was proven of its
    /// rate stands until answers show otherwise.
    pub(crate) fn on_session(&mut self) {
        self.first = None;
    }

    /// An answer came. `percent` bounds the error of either clock's rate.
    pub(crate) fn on_sample(&mut self, sample: Sample, percent: u32) {
        let Some(first) = self.first.filter(|first| first.theirs <= sample.theirs) else {
            self.first = Some(sample);
            return;
        };
        let at_least = sample.asked.since(first.came);
        let at_most = sample.came.since(first.asked);
        if at_least < APART_MIN {
            return;
        }
        let theirs = sample.theirs.since(first.theirs).as_nanos();
        let (fast, slow) = (u128::from(100 + percent), u128::from(100 - percent));
        self.proven = theirs * slow > at_most.as_nanos() * fast || theirs * fast < at_least.as_nanos() * slow;
        if self.proven || at_least > APART_MAX {
            self.first = Some(sample);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn after(theirs_percent: u64, seconds: u64, round_trip: u64) -> bool {
        let at = |now: u64| Sample {
            asked: Instant(now),
            came: Instant(now + round_trip),
            theirs: Instant(77 + (now + round_trip / 2) * theirs_percent / 100),
        };
        let mut drift = Drift::default();
        drift.on_sample(at(SECOND), 5);
        drift.on_sample(at((1 + seconds) * SECOND), 5);
        drift.is_proven()
    }

    #[test]
    fn two_clocks_within_the_bound_are_never_accused() {
        for percent in [91, 95, 100, 105, 110] {
            for round_trip in [0, SECOND / 10, SECOND] {
                assert!(!after(percent, 10, round_trip), "{percent} %, {round_trip} ns");
            }
        }
    }

    #[test]
    fn a_clock_beyond_the_bound_is_found_out_either_way() {
        assert!(after(115, 10, SECOND / 100));
        assert!(after(85, 10, SECOND / 100));
    }

    #[test]
    fn slow_answers_excuse_what_they_could_explain() {
        assert!(!after(115, 4, SECOND));
        assert!(after(115, 40, SECOND));
    }

    #[test]
    fn nothing_is_said_of_a_moment() {
        assert!(!after(200, 1, 0));
    }

    #[test]
    fn a_new_session_acquits_nobody() {
        let mut drift = Drift::default();
        for (ours, theirs) in [(10, 10), (20, 40)] {
            let (ours, theirs) = (Instant(ours * SECOND), Instant(theirs * SECOND));
            drift.on_sample(Sample { asked: ours, came: ours, theirs }, 5);
        }
        drift.on_session();
        assert!(drift.is_proven());
        let again = Sample { asked: Instant(30 * SECOND), came: Instant(30 * SECOND), theirs: Instant(7) };
        drift.on_sample(again, 5);
        assert!(drift.is_proven(), "one answer shows no rate");
    }

    #[test]
    fn a_clock_that_runs_right_again_is_acquitted() {
        let mut drift = Drift::default();
        let mut sample = Sample { asked: Instant(0), came: Instant(0), theirs: Instant(0) };
        drift.on_sample(sample, 5);
        for (ours, theirs) in [(10, 20), (20, 30)] {
            sample = Sample {
                asked: Instant(ours * SECOND),
                came: Instant(ours * SECOND),
                theirs: Instant(theirs * SECOND),
            };
            drift.on_sample(sample, 5);
            assert_eq!(drift.is_proven(), ours == 10);
        }
    }
}
