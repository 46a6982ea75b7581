use super::*;
use crate::setup::{Ack, CommitRule, Failover};
use seawall_sender::time::Instant;

/// A copy in one letter: `s` in sync, `c` catching up, `r` rebuilding, `-` away; in capitals without a vote.
fn copy(index: usize, letter: char) -> Copy {
    let state = letter.to_ascii_lowercase();
    let behind = match state {
        's' => AtRisk::default(),
        _ => AtRisk { records: 7, bytes: 7 * 4608, since: Some(Instant(3)), beyond: false },
    };
    Copy {
        replica: ReplicaId(index as u64),
        voter: letter == '-' || letter.is_ascii_lowercase(),
        there: state != '-',
        fed: state != '-',
        counts: state == 's',
        whole: state != 'r',
        durable: Lsn(100 - behind.records),
        behind,
    }
}

/// The first letter is the primary.
fn volume(commit: CommitRule, copies: &str) -> Facts {
    let copies: Vec<Copy> = copies.chars().enumerate().map(|(index, letter)| copy(index, letter)).collect();
    let epoch = Epoch { counter: 4, replica: ReplicaId(0) };
    let policy = Policy {
        commit,
        ack: Ack::Durable,
        failover: Failover::Automatic,
        lease: Duration::from_secs(1),
        missed_after: Duration::from_secs(1),
        patience: Some(Duration::from_secs(60)),
        all_patience: Some(Duration::from_secs(3)),
    };
    let voters = copies.iter().filter(|copy| copy.voter).map(|copy| copy.replica).collect();
    let electorate = Electorate::new(voters, None);
    let lineage = alloc::vec![LineageRow { epoch, first: Lsn(50) }];
    Facts { policy, electorate, epoch, lineage, copies, maintained: None }
}

fn rules(facts: &Facts, deed: Deed) -> Vec<&'static str> {
    let outlook = |copy: &Copy| facts.outlook(deed, copy.replica).expect("it is a copy").rule.name();
    facts.copies.iter().map(outlook).collect()
}

#[test]
fn exactly_one_rule_fires_in_every_situation_and_each_in_some() {
    let mut fired = Vec::new();
    for bits in 0..1 << 9 {
        let bit = |at: u32| bits >> at & 1 == 1;
        let situation = Situation {
            voter: bit(0),
            reigns: bit(1),
            hands_over: bit(2),
            enough: bit(3),
            enough_soon: bit(4),
            elects: bit(5),
            acts: bit(6),
            maintained: bit(7),
            shrinks: bit(8),
        };
        let firing: Vec<Rule> = Rule::ALL.into_iter().filter(|rule| rule.fires(situation)).collect();
        assert_eq!(firing, [Rule::of(situation)], "{situation:?}");
        fired.extend(firing);
    }
    assert!(Rule::ALL.iter().all(|rule| fired.contains(rule)));
}

#[test]
fn a_healthy_volume_of_three_survives_the_loss_of_any_one() {
    let facts = volume(CommitRule::Majority, "sss");
    assert_eq!(rules(&facts, Deed::Kill), ["fails-over", "quorum-stays", "quorum-stays"]);
    assert_eq!(rules(&facts, Deed::Drain), ["handed-over", "quorum-stays", "quorum-stays"]);
    let outlook = facts.outlook(Deed::Kill, ReplicaId(0)).unwrap();
    assert_eq!(outlook.primaries, [ReplicaId(1), ReplicaId(2)]);
    assert_eq!((outlook.likely, outlook.lost), (Some(ReplicaId(1)), AtRisk::default()));
}

#[test]
fn a_primary_under_maintenance_is_waited_for_and_one_that_hands_over_is_not() {
    let facts = Facts { maintained: Some(Duration::from_secs(600)), ..volume(CommitRule::Majority, "sss") };
    assert_eq!(rules(&facts, Deed::Kill), ["under-maintenance", "quorum-stays", "quorum-stays"]);
    assert_eq!(rules(&facts, Deed::Drain), ["handed-over", "quorum-stays", "quorum-stays"]);
    let outlook = facts.outlook(Deed::Kill, ReplicaId(0)).unwrap();
    assert_eq!(outlook.pause, Some(Duration::from_secs(600)));
}

#[test]
fn with_one_of_three_away_the_loss_of_another_stops_writes() {
    let facts = volume(CommitRule::Majority, "ss-");
    assert_eq!(rules(&facts, Deed::Kill), ["majority-missing", "quorum-lost", "quorum-stays"]);
    let facts = volume(CommitRule::Majority, "ssc");
    assert_eq!(rules(&facts, Deed::Kill), ["fails-over", "quorum-returns", "quorum-stays"]);
    let facts = volume(CommitRule::Majority, "ssr");
    assert_eq!(rules(&facts, Deed::Kill), ["majority-missing", "quorum-returns", "quorum-stays"]);
}

#[test]
fn two_copies_are_never_a_majority_without_each_other() {
    let facts = volume(CommitRule::Majority, "ss");
    assert_eq!(rules(&facts, Deed::Kill), ["majority-missing", "quorum-lost"]);
    let facts = volume(CommitRule::One, "sc");
    assert_eq!(rules(&facts, Deed::Kill), ["majority-missing", "quorum-stays"]);
}

#[test]
fn under_all_writes_wait_for_a_lost_voter_until_the_set_has_shrunk() {
    let facts = volume(CommitRule::All, "sssS");
    assert_eq!(rules(&facts, Deed::Kill), ["fails-over", "set-shrinks", "set-shrinks", "spare-lost"]);
    let outlook = facts.outlook(Deed::Kill, ReplicaId(1)).unwrap();
    assert_eq!((outlook.pause, outlook.needed), (Some(Duration::from_secs(3)), 2));
    let facts = volume(CommitRule::All, "ss-");
    let shrunk = facts.electorate.clone().awaiting(alloc::vec![ReplicaId(0), ReplicaId(1)]);
    let facts = Facts { electorate: shrunk, ..facts };
    assert_eq!(rules(&facts, Deed::Kill), ["majority-missing", "quorum-lost", "quorum-stays"]);
    assert_eq!(rules(&volume(CommitRule::All, "ss"), Deed::Kill), ["majority-missing", "quorum-lost"]);
}

#[test]
fn a_set_that_never_shrinks_stops_writes_when_one_of_it_is_lost() {
    let mut facts = volume(CommitRule::All, "sssS");
    facts.policy.all_patience = None;
    assert_eq!(rules(&facts, Deed::Kill), ["copies-missing", "quorum-lost", "quorum-lost", "spare-lost"]);
}

#[test]
fn under_one_an_operator_chooses_and_the_lease_still_needs_another_voter() {
    let facts = volume(CommitRule::One, "scc");
    assert_eq!(rules(&facts, Deed::Kill), ["operator-chooses", "quorum-stays", "quorum-stays"]);
    let facts = volume(CommitRule::One, "sc-");
    assert_eq!(rules(&facts, Deed::Kill), ["majority-missing", "quorum-lost", "quorum-stays"]);
    let lost = facts.outlook(Deed::Kill, ReplicaId(0)).unwrap().lost;
    assert_eq!((lost.records, lost.bytes), (7, 7 * 4608));
}

#[test]
fn what_is_lost_is_what_the_worst_majority_lacks() {
    let facts = volume(CommitRule::One, "ssccc");
    let lost = facts.outlook(Deed::Kill, ReplicaId(0)).unwrap().lost;
    assert_eq!(lost.records, 7, "three of the four that are left elect, and the best may not be among them");
    let facts = volume(CommitRule::One, "sssrr");
    assert_eq!(facts.outlook(Deed::Kill, ReplicaId(0)).unwrap().lost.records, 0);
}

#[test]
fn the_best_log_is_likely_to_reign() {
    let facts = volume(CommitRule::Majority, "scss");
    let outlook = facts.outlook(Deed::Kill, ReplicaId(0)).unwrap();
    assert_eq!(outlook.likely, Some(ReplicaId(2)));
    assert_eq!(outlook.primaries.len(), 3);
    assert_eq!(facts.outlook(Deed::Kill, ReplicaId(9)), None);
}
