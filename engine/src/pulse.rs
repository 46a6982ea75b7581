//! Pulses: "I am still your primary, aren't I?" A voter that answers one promises nobody else for the length of a
//! lease, so enough answers let the primary show what it knows until the shortest of them has run out.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;

use seawall_sender::time::Instant;
use seawall_wal::names::ReplicaId;

use crate::commit::{Electorate, confirmers};

/// Pulses unanswered at a time; more wait and go as one.
const UNANSWERED_MAX: u64 = 4;
/// Pulses whose time of sending is remembered. An answer to an older one extends no lease.
const REMEMBERED: usize = 64;

/// The pulses of one reign, numbered from 1.
#[derive(Debug)]
pub(crate) struct Pulses {
    me: ReplicaId,
    sent: u64,
    wanted: u64,
    confirmed: u64,
    /// When the newest of them were sent.
    sent_at: VecDeque<(u64, Instant)>,
    answered: BTreeMap<ReplicaId, u64>,
    /// The newest of them whose answer was a lease.
    granted: BTreeMap<ReplicaId, u64>,
    pub(crate) last: Instant,
}

impl Pulses {
    /// Those of a reign of `me`.
    pub(crate) fn new(me: ReplicaId) -> Pulses {
        Pulses {
            me,
            sent: 0,
            wanted: 0,
            confirmed: 0,
            sent_at: VecDeque::new(),
            answered: BTreeMap::new(),
            granted: BTreeMap::new(),
            last: Instant::default(),
        }
    }

    /// Something must be confirmed: by a pulse that is sent from now on. Which one.
    pub(crate) fn want(&mut self) -> u64 {
        self.wanted = self.sent + 1;
        self.wanted
    }

    /// All below and with this one were answered by enough voters.
    pub(crate) fn confirmed(&self) -> u64 {
        self.confirmed
    }

    /// Whether one is to be sent now.
    pub(crate) fn is_due(&self) -> bool {
        self.wanted > self.sent && self.sent - self.confirmed < UNANSWERED_MAX
    }

    /// One is sent: its number.
    pub(crate) fn on_sent(&mut self, now: Instant, voters: &Electorate) -> u64 {
        self.sent += 1;
        self.last = now;
        if self.sent_at.len() == REMEMBERED {
            self.sent_at.pop_front();
        }
        self.sent_at.push_back((self.sent, now));
        self.count(voters);
        self.sent
    }

    /// A voter answered: it has promised nobody else; and, if it `grants` a lease, it will not for a while.
    pub(crate) fn on_answered(&mut self, replica: ReplicaId, number: u64, grants: bool, voters: &Electorate) {
        let number = number.min(self.sent);
        let known = self.answered.entry(replica).or_default();
        *known = number.max(*known);
        if grants {
            let known = self.granted.entry(replica).or_default();
            *known = number.max(*known);
        }
        self.count(voters);
    }

    /// The newest that a voter has answered; 0 if none.
    pub(crate) fn answered_by(&self, replica: ReplicaId) -> u64 {
        self.answered.get(&replica).copied().unwrap_or(0)
    }

    fn count(&mut self, voters: &Electorate) {
        let answered = |replica| self.answered.get(&replica).copied();
        let number = voters.rolls().map(|roll| self.newest_of(roll, answered)).min().flatten();
        self.confirmed = self.confirmed.max(number.unwrap_or(0));
    }

    /// When that pulse was sent, if that is remembered.
    pub(crate) fn sent_at(&self, number: u64) -> Option<Instant> {
        let at = self.sent_at.binary_search_by_key(&number, |(sent, _)| *sent).ok()?;
        self.sent_at.get(at).map(|(_, when)| *when)
    }

    /// Until when no voter that was asked promises anybody else, counting those whose clock can be `trusted`. `held`
    /// is how much of a lease may be counted on, by the primary's own clock.
    pub(crate) fn lease_until(
        &self,
        voters: &Electorate,
        held: Duration,
        trusted: impl Fn(ReplicaId) -> bool,
    ) -> Option<Instant> {
        let granted = |replica: ReplicaId| self.granted.get(&replica).copied().filter(|_| trusted(replica));
        let of_roll = |roll: &[ReplicaId]| {
            if confirmers(roll.len()) == 1 && roll.contains(&self.me) {
                // No majority comes about without this replica, which promised nobody else.
                return Some(Instant(u64::MAX));
            }
            let number = self.newest_of(roll, granted)?;
            // It counts from when it was asked, not from when the answer came.
            self.sent_at(number).map(|sent| sent.after(held))
        };
        voters.rolls().map(of_roll).min().flatten()
    }

    /// The newest pulse that so many voters have answered that no majority comes about without one of them. Our own
    /// answer to ourselves is immediate: we reign only while our promise is our own.
    fn newest_of(&self, roll: &[ReplicaId], answer: impl Fn(ReplicaId) -> Option<u64>) -> Option<u64> {
        let own = |replica| Some(self.sent).filter(|_| replica == self.me);
        let mut answers: Vec<u64> =
            roll.iter().filter_map(|replica| own(*replica).or_else(|| answer(*replica))).collect();
        answers.sort_unstable_by(|a, b| b.cmp(a));
        answers.get(confirmers(roll.len()) - 1).copied().filter(|number| *number > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELD: Duration = Duration::from_nanos(100);

    const ME: ReplicaId = ReplicaId(6);

    /// We and the replicas that follow.
    fn of(voters: u64) -> Electorate {
        Electorate::new((6..6 + voters).map(ReplicaId).collect(), None)
    }

    fn everybody(_: ReplicaId) -> bool {
        true
    }

    #[test]
    fn what_is_wanted_after_a_pulse_left_needs_the_next_one() {
        let mut pulses = Pulses::new(ME);
        assert_eq!(pulses.want(), 1);
        assert_eq!(pulses.on_sent(Instant(5), &of(3)), 1);
        assert_eq!(pulses.want(), 2);
        pulses.on_answered(ReplicaId(7), 1, true, &of(3));
        assert_eq!(pulses.confirmed(), 1);
        assert!(pulses.is_due());
    }

    #[test]
    fn one_of_three_confirms_nothing() {
        let mut pulses = Pulses::new(ME);
        pulses.want();
        pulses.on_sent(Instant(5), &of(3));
        assert_eq!(pulses.confirmed(), 0);
        assert_eq!(pulses.lease_until(&of(3), HELD, everybody), None);
    }

    #[test]
    fn a_lone_voter_confirms_itself_and_so_does_one_of_two() {
        for voters in [1, 2] {
            let mut pulses = Pulses::new(ME);
            pulses.want();
            pulses.on_sent(Instant(5), &of(voters));
            assert_eq!(pulses.confirmed(), 1);
            assert_eq!(pulses.lease_until(&of(voters), HELD, everybody), Some(Instant(u64::MAX)));
        }
    }

    #[test]
    fn an_answer_to_a_pulse_never_sent_counts_as_the_last_one() {
        let mut pulses = Pulses::new(ME);
        pulses.want();
        pulses.on_sent(Instant(5), &of(3));
        pulses.on_answered(ReplicaId(7), 99, true, &of(3));
        assert_eq!(pulses.confirmed(), 1);
    }

    #[test]
    fn a_lease_counts_from_the_moment_when_it_was_asked_for() {
        let mut pulses = Pulses::new(ME);
        pulses.on_sent(Instant(5), &of(3));
        pulses.on_sent(Instant(40), &of(3));
        pulses.on_answered(ReplicaId(7), 1, true, &of(3));
        assert_eq!(pulses.lease_until(&of(3), HELD, everybody), Some(Instant(105)));
        pulses.on_answered(ReplicaId(8), 2, true, &of(3));
        assert_eq!(pulses.lease_until(&of(3), HELD, everybody), Some(Instant(140)));
    }

    #[test]
    fn of_five_the_second_newest_answer_decides() {
        let mut pulses = Pulses::new(ME);
        for now in [10, 20, 30] {
            pulses.on_sent(Instant(now), &of(5));
        }
        pulses.on_answered(ReplicaId(9), 3, true, &of(5));
        assert_eq!(pulses.lease_until(&of(5), HELD, everybody), None);
        pulses.on_answered(ReplicaId(10), 2, true, &of(5));
        assert_eq!(pulses.lease_until(&of(5), HELD, everybody), Some(Instant(120)));
    }

    #[test]
    fn the_answer_of_a_voter_whose_clock_is_wrong_extends_no_lease() {
        let mut pulses = Pulses::new(ME);
        pulses.on_sent(Instant(5), &of(3));
        pulses.on_answered(ReplicaId(7), 1, true, &of(3));
        assert_eq!(pulses.lease_until(&of(3), HELD, |replica| replica != ReplicaId(7)), None);
        assert_eq!(pulses.confirmed(), 1);
    }

    #[test]
    fn an_answer_to_a_pulse_that_is_forgotten_extends_no_lease() {
        let mut pulses = Pulses::new(ME);
        for now in 0..100 {
            pulses.on_sent(Instant(now), &of(3));
        }
        pulses.on_answered(ReplicaId(7), 3, true, &of(3));
        assert_eq!(pulses.lease_until(&of(3), HELD, everybody), None);
    }
}
