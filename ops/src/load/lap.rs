//! A part of a load that somebody looks at by itself: when writes completed in it, and when none did.

use std::time::{Duration, SystemTime};

/// A shorter time without a completed write is none worth a word.
const PAUSE_MIN: Duration = Duration::from_millis(2);
/// Pauses that are kept; later ones only count if they are the longest.
const PAUSES_MAX: usize = 10_000;

/// A time in which no write completed, between two that did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pause {
    /// When the last write before it completed, or the lap began.
    pub from: SystemTime,
    /// When the first one after it did.
    pub to: SystemTime,
}

impl Pause {
    /// How long it was.
    #[must_use]
    pub fn length(&self) -> Duration {
        self.to.duration_since(self.from).unwrap_or_default()
    }
}

/// What was seen since somebody last asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lap {
    /// When it began.
    pub began: SystemTime,
    /// The longest that an answered request took.
    pub longest_request: Duration,
    pauses: Vec<Pause>,
    last_write: SystemTime,
}

impl Lap {
    pub(super) fn new(now: SystemTime) -> Lap {
        Lap { began: now, longest_request: Duration::ZERO, pauses: Vec::new(), last_write: now }
    }

    pub(super) fn on_reply(&mut self, took: Duration) {
        self.longest_request = self.longest_request.max(took);
    }

    pub(super) fn on_write(&mut self, now: SystemTime) {
        let pause = Pause { from: self.last_write, to: now };
        self.last_write = now;
        if pause.length() < PAUSE_MIN {
            return;
        }
        if self.pauses.len() < PAUSES_MAX {
            self.pauses.push(pause);
        } else if let Some(longest) = self.pauses.iter_mut().max_by_key(|pause| pause.length())
            && longest.length() < pause.length()
        {
            *longest = pause;
        }
    }

    /// The longest pause; none if writes completed all the time.
    #[must_use]
    pub fn longest_pause(&self) -> Option<Pause> {
        self.pauses.iter().copied().max_by_key(Pause::length)
    }

    /// When the first write after that moment completed, to within what is no pause; none if none did.
    #[must_use]
    pub fn first_write_after(&self, moment: SystemTime) -> Option<SystemTime> {
        let after = self.pauses.iter().find(|pause| pause.to >= moment);
        match after {
            Some(pause) if pause.from <= moment => Some(pause.to),
            // Writes completed all the time around it.
            Some(_) => Some(moment),
            None => (self.last_write >= moment).then_some(moment),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(ms)
    }

    fn lap(writes: &[u64]) -> Lap {
        let mut lap = Lap::new(at(0));
        for ms in writes {
            lap.on_write(at(*ms));
        }
        lap
    }

    #[test]
    fn the_first_write_after_a_moment_ends_the_pause_in_which_the_moment_lies() {
        let lap = lap(&[1, 2, 3, 900, 901, 902]);
        assert_eq!(lap.longest_pause(), Some(Pause { from: at(3), to: at(900) }));
        for (moment, first) in [(3, 900), (500, 900), (900, 900), (901, 901), (902, 902)] {
            assert_eq!(lap.first_write_after(at(moment)), Some(at(first)), "after {moment}");
        }
        assert_eq!(lap.first_write_after(at(903)), None);
    }

    #[test]
    fn a_lap_whose_writes_never_pause_has_no_pause() {
        let lap = lap(&[1, 2, 3, 4]);
        assert_eq!((lap.longest_pause(), lap.first_write_after(at(2))), (None, Some(at(2))));
    }

    #[test]
    fn a_lap_without_writes_knows_of_none() {
        assert_eq!(lap(&[]).first_write_after(at(0)), Some(at(0)), "the moment it began");
        assert_eq!(lap(&[]).first_write_after(at(1)), None);
    }
}
