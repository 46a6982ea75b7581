//! How many copies a write needs, and how far that many have come. Pure arithmetic over frontiers.

use alloc::vec::Vec;

use seawall_wal::names::Lsn;

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

    #[test]
    fn an_even_number_of_voters_needs_more_than_half() {
        assert_eq!(majority(4), 3);
        check(CommitRule::Majority, 9, &[9, 2, 1], 2);
    }
}
