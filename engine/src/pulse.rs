//! Pulses: "I am still your primary, aren't I?" A majority that answers one was promised to nobody else when it
//! answered, so what was asked before the pulse was sent may be shown now.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use seawall_sender::time::Instant;
use seawall_wal::names::ReplicaId;

use crate::commit::majority;

/// Pulses unanswered at a time; more wait and go as one.
const UNANSWERED_MAX: u64 = 4;

/// The pulses of one reign, numbered from 1.
#[derive(Debug, Default)]
pub(crate) struct Pulses {
    sent: u64,
    wanted: u64,
    confirmed: u64,
    answered: BTreeMap<ReplicaId, u64>,
    pub(crate) last: Instant,
}

impl Pulses {
    /// Something must be confirmed: by a pulse that is sent from now on. Which one.
    pub(crate) fn want(&mut self) -> u64 {
        self.wanted = self.sent + 1;
        self.wanted
    }

    /// All below and with this one were answered by a majority.
    pub(crate) fn confirmed(&self) -> u64 {
        self.confirmed
    }

    /// Whether one is to be sent now.
    pub(crate) fn is_due(&self) -> bool {
        self.wanted > self.sent && self.sent - self.confirmed < UNANSWERED_MAX
    }

    /// One is sent: its number.
    pub(crate) fn on_sent(&mut self, now: Instant, voters: usize) -> u64 {
        self.sent += 1;
        self.last = now;
        self.count(voters);
        self.sent
    }

    /// A voter answered.
    pub(crate) fn on_answered(&mut self, replica: ReplicaId, number: u64, voters: usize) {
        let known = self.answered.entry(replica).or_default();
        *known = number.min(self.sent).max(*known);
        self.count(voters);
    }

    fn count(&mut self, voters: usize) {
        // Our own answer to ourselves is immediate: we reign only while our promise is our own.
        let mut answers: Vec<u64> = self.answered.values().copied().collect();
        answers.push(self.sent);
        answers.sort_unstable_by(|a, b| b.cmp(a));
        if let Some(number) = answers.get(majority(voters) - 1) {
            self.confirmed = self.confirmed.max(*number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_after_a_pulse_left_needs_the_next_one() {
        let mut pulses = Pulses::default();
        assert_eq!(pulses.want(), 1);
        assert_eq!(pulses.on_sent(Instant(5), 3), 1);
        assert_eq!(pulses.want(), 2);
        pulses.on_answered(ReplicaId(7), 1, 3);
        assert_eq!(pulses.confirmed(), 1);
        assert!(pulses.is_due());
    }

    #[test]
    fn one_of_three_is_no_majority() {
        let mut pulses = Pulses::default();
        pulses.want();
        pulses.on_sent(Instant(5), 3);
        assert_eq!(pulses.confirmed(), 0);
    }

    #[test]
    fn a_lone_voter_confirms_itself() {
        let mut pulses = Pulses::default();
        pulses.want();
        pulses.on_sent(Instant(5), 1);
        assert_eq!(pulses.confirmed(), 1);
    }

    #[test]
    fn an_answer_to_a_pulse_never_sent_counts_as_the_last_one() {
        let mut pulses = Pulses::default();
        pulses.want();
        pulses.on_sent(Instant(5), 3);
        pulses.on_answered(ReplicaId(7), 99, 3);
        assert_eq!(pulses.confirmed(), 1);
    }
}
