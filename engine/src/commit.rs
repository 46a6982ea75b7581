//! How many copies a write needs, and how far that many have come. Pure arithmetic over frontiers.

use alloc::vec::Vec;

use seawall_wal::names::{Lsn, ReplicaId};

use crate::setup::CommitRule;

/// Copies that must hold a record before it is committed.
#[must_use]
pub fn copies_needed(rule: CommitRule, voters: usize) -> usize {
    match rule {
        CommitRule::Majority => majority(voters),
        CommitRule::All => voters,
        CommitRule::One => 1,
    }
}

/// More than half.
#[must_use]
pub fn majority(voters: usize) -> usize {
    voters / 2 + 1
}

/// So many voters that no majority comes about without one of them.
#[must_use]
pub fn confirmers(voters: usize) -> usize {
    voters - majority(voters) + 1
}

/// The frontier below which at least `copies` of the voters are: the `copies`-th largest. A voter that does not
/// count is to be given as [`Lsn::ZERO`].
///
/// # Panics
/// If there are fewer voters than copies, or no copy is asked for: both are our own mistakes.
#[must_use]
pub fn frontier(voters: &mut [Lsn], copies: usize) -> Lsn {
    assert!(0 < copies && copies <= voters.len(), "a quorum is some of the voters");
    voters.sort_unstable_by(|a, b| b.cmp(a));
    voters[copies - 1]
}

/// Who decides: the voters of the configuration in force and, while its record is not settled, those of the one before
/// as well. Whatever is decided needs enough of each. Under commit rule `all` each member of the in-sync set besides.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Electorate {
    newest: Vec<ReplicaId>,
    before: Option<Vec<ReplicaId>>,
    awaited: Vec<ReplicaId>,
}

impl Electorate {
    /// The voters of the newest configuration, and of the one before if that still has a say. All of them are in the
    /// in-sync set.
    #[must_use]
    pub fn new(newest: Vec<ReplicaId>, before: Option<Vec<ReplicaId>>) -> Electorate {
        let before = before.filter(|before| *before != newest);
        let electorate = Electorate { newest, before, awaited: Vec::new() };
        let awaited = electorate.voters().collect();
        electorate.awaiting(awaited)
    }

    /// The same voters, of which these are in the in-sync set.
    #[must_use]
    pub fn awaiting(self, awaited: Vec<ReplicaId>) -> Electorate {
        Electorate { awaited, ..self }
    }

    /// The in-sync set: for each of these a write waits under commit rule `all`.
    #[must_use]
    pub fn awaited(&self) -> &[ReplicaId] {
        &self.awaited
    }

    /// The lists of voters that each decide.
    // Invariant: both-majorities. Whoever decides asks each list.
    pub fn rolls(&self) -> impl Iterator<Item = &[ReplicaId]> {
        core::iter::once(&self.newest[..]).chain(self.before.as_deref())
    }

    /// Everybody who has a say.
    pub fn voters(&self) -> impl Iterator<Item = ReplicaId> + '_ {
        let only_before = self.before.iter().flatten().filter(|voter| !self.newest.contains(voter));
        self.newest.iter().chain(only_before).copied()
    }

    /// Whether it has a say.
    #[must_use]
    pub fn has(&self, replica: ReplicaId) -> bool {
        self.rolls().any(|roll| roll.contains(&replica))
    }

    /// Whether more than half of each list are such.
    pub fn is_majority(&self, is: impl Fn(ReplicaId) -> bool) -> bool {
        self.rolls().all(|roll| roll.iter().filter(|voter| is(**voter)).count() >= majority(roll.len()))
    }

    /// Whether of each list so many are such that no majority comes about without one of them.
    pub fn is_confirming(&self, is: impl Fn(ReplicaId) -> bool) -> bool {
        self.rolls().all(|roll| roll.iter().filter(|voter| is(**voter)).count() >= confirmers(roll.len()))
    }

    /// The frontier below which enough voters of each list are, and under `all` each of the in-sync set besides; one that
    /// does not count is at [`Lsn::ZERO`]. Under `one` that of `me`, whatever the others have.
    pub fn committed(&self, rule: CommitRule, me: ReplicaId, frontier_of: impl Fn(ReplicaId) -> Lsn) -> Lsn {
        match rule {
            CommitRule::One => frontier_of(me),
            CommitRule::Majority => self.decided(frontier_of),
            // Invariant: set-is-a-majority. Whatever the set is, an election finds what was committed.
            CommitRule::All => self.slowest(&frontier_of).min(self.decided(frontier_of)),
        }
    }

    /// The frontier below which more than half of each list are.
    fn decided(&self, frontier_of: impl Fn(ReplicaId) -> Lsn) -> Lsn {
        let of_roll = |roll: &[ReplicaId]| {
            let mut voters: Vec<Lsn> = roll.iter().map(|voter| frontier_of(*voter)).collect();
            if voters.is_empty() {
                return Lsn::ZERO;
            }
            let copies = majority(voters.len());
            frontier(&mut voters, copies)
        };
        self.rolls().map(of_roll).min().unwrap_or(Lsn::ZERO)
    }

    /// The frontier below which each of the in-sync set is.
    fn slowest(&self, frontier_of: impl Fn(ReplicaId) -> Lsn) -> Lsn {
        self.awaited.iter().map(|replica| frontier_of(*replica)).min().unwrap_or(Lsn::ZERO)
    }
}

/// [`frontier`] for the rule: under `one` the primary's own frontier decides alone.
#[must_use]
pub fn committed(rule: CommitRule, own: Lsn, others: impl Iterator<Item = Lsn>) -> Lsn {
    let mut voters: Vec<Lsn> = core::iter::once(own).chain(others).collect();
    match rule {
        CommitRule::One => own,
        CommitRule::Majority | CommitRule::All => {
            let copies = copies_needed(rule, voters.len());
            frontier(&mut voters, copies)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rule: CommitRule, own: u64, others: &[u64], expected: u64) {
        assert_eq!(committed(rule, Lsn(own), others.iter().copied().map(Lsn)), Lsn(expected));
    }

    #[test]
    fn a_write_is_done_when_the_second_of_three_copies_has_it() {
        check(CommitRule::Majority, 7, &[5, 3], 5);
        check(CommitRule::Majority, 3, &[5, 7], 5);
        check(CommitRule::Majority, 7, &[0, 0], 0);
    }

    #[test]
    fn all_means_the_slowest() {
        check(CommitRule::All, 7, &[5, 3], 3);
        check(CommitRule::All, 7, &[5, 0], 0);
    }

    #[test]
    fn one_means_the_primary_whatever_the_others_have() {
        check(CommitRule::One, 4, &[9, 9], 4);
    }

    #[test]
    fn a_lone_voter_is_its_own_majority() {
        check(CommitRule::Majority, 6, &[], 6);
    }

    #[test]
    fn every_majority_meets_those_who_confirm() {
        for voters in 1..10 {
            assert!(majority(voters) + confirmers(voters) > voters);
            assert!(majority(voters) + confirmers(voters) - 1 <= voters);
        }
    }

    fn replicas(ids: &[u64]) -> Vec<ReplicaId> {
        ids.iter().copied().map(ReplicaId).collect()
    }

    #[test]
    fn while_a_change_is_pending_each_configuration_needs_its_own_majority() {
        let both = Electorate::new(replicas(&[1, 2, 3, 4]), Some(replicas(&[1, 2, 3])));
        let check = |who: &[u64], expected| {
            assert_eq!(both.is_majority(|voter| who.contains(&voter.0)), expected, "{who:?}");
        };
        check(&[1, 2], false);
        check(&[3, 4, 1], true);
        check(&[2, 3, 1], true);
        let at = |voter: ReplicaId| Lsn([0, 9, 8, 0, 5][usize::try_from(voter.0).unwrap()]);
        assert_eq!(both.committed(CommitRule::Majority, ReplicaId(1), at), Lsn(5));
        assert_eq!(both.committed(CommitRule::All, ReplicaId(1), at), Lsn(0));
        assert_eq!(both.committed(CommitRule::One, ReplicaId(1), at), Lsn(9));
        let settled = Electorate::new(replicas(&[1, 2, 3]), None);
        assert_eq!(settled.committed(CommitRule::Majority, ReplicaId(1), at), Lsn(8));
    }

    #[test]
    fn under_all_a_write_waits_for_the_set_and_for_no_one_else() {
        let at = |voter: ReplicaId| Lsn([0, 9, 8, 3][usize::try_from(voter.0).unwrap()]);
        let check = |awaited: &[u64], expected| {
            let three = Electorate::new(replicas(&[1, 2, 3]), None).awaiting(replicas(awaited));
            assert_eq!(three.committed(CommitRule::All, ReplicaId(1), at), Lsn(expected), "{awaited:?}");
            assert_eq!(three.committed(CommitRule::Majority, ReplicaId(1), at), Lsn(8));
        };
        check(&[1, 2, 3], 3);
        check(&[1, 2], 8);
        check(&[1], 8);
        check(&[], 0);
    }

    #[test]
    fn majorities_of_two_configurations_that_differ_by_one_voter_meet() {
        for voters in 1..10 {
            assert!(majority(voters) + majority(voters + 1) > voters + 1);
        }
    }

    #[test]
    fn the_lone_voter_that_was_confirms_nothing_for_the_two_that_are() {
        let both = Electorate::new(replicas(&[1, 2, 3]), Some(replicas(&[1, 2])));
        assert!(!both.is_confirming(|voter| voter.0 == 1));
        assert!(both.is_confirming(|voter| voter.0 != 3));
        assert!(both.voters().eq(replicas(&[1, 2, 3])) && both.has(ReplicaId(3)) && !both.has(ReplicaId(4)));
    }

    #[test]
    fn an_even_number_of_voters_needs_more_than_half() {
        assert_eq!(majority(4), 3);
        check(CommitRule::Majority, 9, &[9, 2, 1], 2);
    }
}
