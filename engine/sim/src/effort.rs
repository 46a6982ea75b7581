//! A run that proved nothing fails: if too little was written while things went wrong, or something that was to go
//! wrong did not.

use crate::clock::{MILLIS, SECOND};
use crate::oracle::Failure;
use crate::tally::Fault;
use crate::world::World;
use seawall_engine::setup::CommitRule;

/// If too little has happened by the end of the faults, they go on for so much longer at most, in nanoseconds.
const LONGER_MAX: u64 = 300 * SECOND;
/// A run that writes less than this part (in 1/1000) of what it would write without faults is counted as poor.
const SHARE_POOR: u64 = 20;

/// A swarm that wrote less than this, in percent of what it would have written without faults, proved little.
pub const SHARE_MIN: u64 = 15;

/// What a run did among its faults, and what it would have done without.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Effort {
    /// Writes that completed while there were faults.
    pub written: u64,
    /// Writes that the same clients would have completed in that time, at the rate that they reach after the faults.
    pub expected: u64,
    /// Whether it wrote next to nothing of that: 0 or 1, for many runs a count.
    pub poor: u64,
}

impl Effort {
    /// Add another run's.
    pub fn add(&mut self, other: Effort) {
        self.written += other.written;
        self.expected += other.expected;
        self.poor += other.poor;
    }

    /// What was written, in percent of what would have been.
    #[must_use]
    pub fn percent(self) -> u64 {
        (self.written * 100).checked_div(self.expected).unwrap_or(100)
    }
}

impl World {
    /// Faults go on until their time is over, and longer if too little has happened by then.
    pub(crate) fn suffer(&mut self) -> Result<(), Failure> {
        let chaos = self.now.max(self.heals());
        while self.advance(chaos)? {}
        let late = chaos.plus(LONGER_MAX);
        while self.now < late && self.owes() {
            let next = self.now.plus(50 * MILLIS);
            while self.advance(next)? {}
        }
        self.tally.effort.written = self.tally.written;
        Ok(())
    }

    /// Whether too little has happened. A script says itself how long its faults go on.
    fn owes(&self) -> bool {
        let little = self.tally.written < self.profile.writes_min || !self.owed_faults().is_empty();
        little && !self.is_scripted()
    }

    fn is_scripted(&self) -> bool {
        self.options.script.is_some()
    }

    /// The faults that were asked for and can happen in any run, and did not happen yet.
    fn owed_faults(&self) -> Vec<Fault> {
        let profile = &self.profile;
        let asked = [
            (Fault::Kill, profile.kill),
            (Fault::PowerLoss, profile.power),
            (Fault::Blackout, profile.blackout),
            (Fault::Pause, profile.pause),
            (Fault::Cut, profile.cut),
            (Fault::OneWayCut, profile.one_way),
            (Fault::Reset, profile.reset),
            (Fault::Promotion, profile.promote),
        ];
        let owed =
            |(fault, every): &(Fault, Option<_>)| every.is_some() && !self.tally.faults.contains_key(fault);
        // A script brings what it brings.
        asked.into_iter().filter(|asked| !self.is_scripted() && owed(asked)).map(|(fault, _)| fault).collect()
    }

    /// Clients wrote so much in so many nanoseconds after the faults.
    pub(crate) fn on_calm(&mut self, written: u64, nanos: u64, chaos: u64) {
        let expected = u128::from(written) * u128::from(chaos) / u128::from(nanos.max(1));
        let effort = &mut self.tally.effort;
        effort.expected = u64::try_from(expected).expect("a run is short");
        effort.poor = u64::from(effort.written * 1000 < effort.expected * SHARE_POOR);
    }

    /// A run in which nothing happened proved nothing.
    pub(crate) fn check_effort(&self) -> Result<(), Failure> {
        let least = self.profile.writes_min;
        if least == 0 {
            return Ok(());
        }
        let idle = |what: String| Err(Failure::new("effort", what));
        let written = if self.is_scripted() { self.tally.written } else { self.tally.effort.written };
        if written < least {
            return idle(format!("only {written} writes completed among the faults"));
        }
        if self.tally.faults.is_empty() {
            return idle("no fault fired".to_owned());
        }
        if let Some(fault) = self.owed_faults().first() {
            return idle(format!("{} was asked for and never fired", fault.name()));
        }
        // Under rule one the other copies may have come to hold it by rebuilds alone.
        if self.oracle.history.witnessed == 0 && self.profile.commit != CommitRule::One {
            return idle("no record was committed by two replicas".to_owned());
        }
        Ok(())
    }
}
