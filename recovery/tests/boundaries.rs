//! Plans for logs as they are, at both sides of every boundary: one record more, one less.

mod world;

use proptest::prelude::*;
use seawall_recovery::facts::Facts;
use seawall_recovery::messages::Begin;
use seawall_recovery::plan::{Plan, RebuildWhy, RefuseWhy, Resume, Rule, Trust};
use seawall_wal::configuration::Configuration;
use seawall_wal::maintenance::Leases;
use seawall_wal::names::{Crc, Epoch, LineageRow, Lsn, ReplicaId, VolumeId};
use seawall_wal::superblock::BaseState;
use world::{BLOCKS, Log, Primary, epoch, facts};

/// Reign 3 from record 20 on, the log from record 10 to 30, settled to 25.
fn primary() -> Primary {
    Primary { log: Log::new(10, &[(1, 12), (2, 8), (3, 10)]), settled: 25 }
}

fn rebuild(why: RebuildWhy) -> Plan {
    Plan::Rebuild { why, resume: None, cut: Lsn(25) }
}

fn check(theirs: &Facts, rule: Rule, plan: Plan) {
    let decision = primary().decide(theirs);
    assert_eq!((decision.rule, decision.plan), (rule, plan), "{decision}");
}

#[test]
fn equal_ends_are_no_gap_and_one_record_less_is_a_catch_up_and_one_more_is_cut() {
    let at = |records| facts(&Log::new(0, &[(1, 12), (2, 8), (3, records)]), 11);
    check(&at(9), Rule::EndOnOurLog, Plan::CatchUp { from: Lsn(29) });
    check(&at(10), Rule::EqualEnds, Plan::ZeroGap { at: Lsn(30) });
    check(&at(11), Rule::TailAhead, Plan::CutThenCatchUp { to: Lsn(30) });
}

#[test]
fn the_log_reaches_back_to_its_first_record_and_not_to_the_one_before() {
    let at = |records| facts(&Log::new(0, &[(1, records)]), 0);
    check(&at(11), Rule::EndOnOurLog, Plan::CatchUp { from: Lsn(11) });
    check(&at(10), Rule::EndOnOurLog, Plan::CatchUp { from: Lsn(10) });
    check(&at(9), Rule::LogGone, rebuild(RebuildWhy::LogGone));
    check(&at(0), Rule::LogGone, rebuild(RebuildWhy::LogGone));
}

#[test]
fn a_tail_leaves_with_its_first_record_of_another_reign() {
    // Up to record 20 the history is shared; from there on ours is of reign 3.
    let at = |records| facts(&Log::new(0, &[(1, 12), (2, records)]), 12);
    check(&at(7), Rule::EndOnOurLog, Plan::CatchUp { from: Lsn(19) });
    check(&at(8), Rule::EndOnOurLog, Plan::CatchUp { from: Lsn(20) });
    check(&at(9), Rule::TailLeft, Plan::CutThenCatchUp { to: Lsn(20) });
}

#[test]
fn a_cut_goes_down_to_the_checkpoint_and_not_below() {
    let at = |checkpoint| facts(&Log::new(0, &[(1, 12), (2, 10)]), checkpoint);
    check(&at(19), Rule::TailLeft, Plan::CutThenCatchUp { to: Lsn(20) });
    check(&at(20), Rule::TailLeft, Plan::CutThenCatchUp { to: Lsn(20) });
    check(&at(21), Rule::ForkBelowHome, rebuild(RebuildWhy::ForkBelowHome));
}

#[test]
fn a_cut_needs_a_log_that_reaches_back_to_the_fork() {
    // They left in reign 1 already; our log starts at record 10.
    let at = |shared, left| facts(&Log::new(0, &[(1, shared), (left, 5)]), 0);
    let other = |shared: u64| {
        let mut theirs = at(shared, 9);
        theirs.promised = epoch(3);
        theirs
    };
    check(&other(11), Rule::TailLeft, Plan::CutThenCatchUp { to: Lsn(11) });
    check(&other(10), Rule::TailLeft, Plan::CutThenCatchUp { to: Lsn(10) });
    check(&other(9), Rule::LogGone, rebuild(RebuildWhy::LogGone));
}

#[test]
fn ahead_of_us_in_our_own_reign_is_cut_unless_it_is_home() {
    let at = |checkpoint| facts(&Log::new(0, &[(1, 12), (2, 8), (3, 12)]), checkpoint);
    check(&at(30), Rule::TailAhead, Plan::CutThenCatchUp { to: Lsn(30) });
    check(&at(31), Rule::SettledAhead, Plan::Refuse { why: RefuseWhy::AheadOfUs });
    let decision = primary().decide_trusting(&at(31), Trust::DigestDiffered);
    assert_eq!(decision.rule, Rule::SettledAhead, "not even distrust lets us overwrite it");

    // Nor does it help that it went on in another reign: what we have is a part of what it has.
    let mut other = facts(&Log::new(0, &[(1, 12), (2, 8), (3, 12), (4, 2)]), 33);
    other.promised = epoch(3);
    check(&other, Rule::SettledAhead, Plan::Refuse { why: RefuseWhy::AheadOfUs });
    other.checkpoint = Lsn(30);
    check(&other, Rule::TailAhead, Plan::CutThenCatchUp { to: Lsn(30) });
}

#[test]
fn another_record_under_the_same_name_is_a_divergence_where_we_can_see_it() {
    let damaged = |records, last| {
        let mut theirs = facts(&Log::new(0, &[(1, 12), (2, records)]), 0);
        theirs.tail_chain = Crc(last);
        theirs
    };
    check(&damaged(5, 0xbad), Rule::TailContradicts, rebuild(RebuildWhy::Diverged));
    let mut equal = facts(&primary().log, 25);
    check(&equal, Rule::EqualEnds, Plan::ZeroGap { at: Lsn(30) });
    equal.tail_chain.0 ^= 1;
    check(&equal, Rule::TailContradicts, rebuild(RebuildWhy::Diverged));
    // At record 10 our log knows its predecessor's digest, at 9 no more.
    let early = |records| {
        let mut theirs = facts(&Log::new(0, &[(1, records)]), 0);
        theirs.tail_chain.0 ^= 1;
        theirs
    };
    check(&early(10), Rule::TailContradicts, rebuild(RebuildWhy::Diverged));
    check(&early(9), Rule::LogGone, rebuild(RebuildWhy::LogGone));
}

#[test]
fn a_promise_to_our_reign_is_kept_and_one_to_a_higher_reign_ends_it() {
    let mut theirs = facts(&primary().log, 25);
    theirs.promised = epoch(3);
    check(&theirs, Rule::EqualEnds, Plan::ZeroGap { at: Lsn(30) });
    theirs.promised = Epoch { counter: 3, replica: ReplicaId(2) };
    check(&theirs, Rule::PromisedAbove, Plan::Refuse { why: RefuseWhy::Promised });
    theirs.promised = epoch(4);
    check(&theirs, Rule::PromisedAbove, Plan::Refuse { why: RefuseWhy::Promised });
}

#[test]
fn the_wrong_disk_is_refused_whatever_else_it_says() {
    let mut theirs = facts(&primary().log, 25);
    theirs.replica = ReplicaId(3);
    theirs.promised = epoch(9);
    check(&theirs, Rule::ForeignDisk, Plan::Refuse { why: RefuseWhy::WrongIdentity });
    theirs.replica = world::PEER;
    theirs.volume = VolumeId([8; 16]);
    check(&theirs, Rule::ForeignDisk, Plan::Refuse { why: RefuseWhy::WrongIdentity });
}

#[test]
fn facts_that_cannot_be_are_refused() {
    let good = facts(&Log::new(5, &[(1, 12), (2, 5)]), 10);
    check(&good, Rule::EndOnOurLog, Plan::CatchUp { from: Lsn(17) });
    let spoil = |spoil: &dyn Fn(&mut Facts)| {
        let mut theirs = good.clone();
        spoil(&mut theirs);
        check(&theirs, Rule::AbsurdFacts, Plan::Refuse { why: RefuseWhy::FactsAbsurd });
    };
    spoil(&|theirs| theirs.checkpoint = Lsn(4));
    spoil(&|theirs| theirs.checkpoint = Lsn(18));
    spoil(&|theirs| theirs.log.end = Lsn(12));
    spoil(&|theirs| theirs.log.start = Lsn(18));
    spoil(&|theirs| theirs.tail_epoch = epoch(1));
    spoil(&|theirs| theirs.lineage.clear());
    spoil(&|theirs| theirs.lineage.reverse());
    spoil(&|theirs| theirs.lineage[1].first = Lsn(13));
    spoil(&|theirs| theirs.base = rebuilding(11, 0, row(1, 0)));
    spoil(&|theirs| theirs.base = rebuilding(10, BLOCKS + 1, row(1, 0)));
}

fn row(counter: u64, first: u64) -> LineageRow {
    LineageRow { epoch: epoch(counter), first: Lsn(first) }
}

fn rebuilding(cut: u64, held: u64, lineage: LineageRow) -> BaseState {
    BaseState::Rebuilding { cut: Lsn(cut), held, lineage }
}

#[test]
fn a_blank_replica_is_rebuilt_from_nothing() {
    let mut theirs = facts(&Log::new(0, &[]), 0);
    theirs.base = BaseState::Blank;
    check(&theirs, Rule::BlankBase, rebuild(RebuildWhy::Blank));
}

#[test]
fn a_new_replica_of_a_new_volume_is_fed_from_the_first_record() {
    let primary = Primary { log: Log::new(0, &[(1, 1)]), settled: 0 };
    let decision = primary.decide(&facts(&Log::new(0, &[]), 0));
    assert_eq!(decision.plan, Plan::CatchUp { from: Lsn(0) });
}

#[test]
fn half_a_base_goes_on_where_it_was_while_its_history_is_ours_and_the_log_reaches_back() {
    // Cut at 15, so of reign 2; records are at home up to 18.
    let at = |records, checkpoint| {
        let mut theirs = facts(&Log::new(15, &[(1, 12), (2, records)]), checkpoint);
        theirs.base = rebuilding(15, 400, row(2, 12));
        theirs
    };
    let resume = |from| Plan::Rebuild {
        why: RebuildWhy::Incomplete,
        resume: Some(Resume { held: 400, from: Lsn(from) }),
        cut: Lsn(15),
    };
    check(&at(7, 18), Rule::HalfBase, resume(19));
    check(&at(8, 18), Rule::HalfBase, resume(20));
    check(&at(9, 18), Rule::HalfBase, resume(20));
    check(&at(9, 20), Rule::HalfBase, resume(20));
    check(&at(9, 21), Rule::ForkBelowHome, rebuild(RebuildWhy::ForkBelowHome));
    let mut stray = at(8, 18);
    stray.base = rebuilding(15, 400, row(2, 13));
    check(&stray, Rule::StrayBase, rebuild(RebuildWhy::BaseLeftHistory));
    let late = Primary { log: Log::new(21, &[(1, 12), (2, 8), (3, 10)]), settled: 25 };
    assert_eq!(late.decide(&at(8, 18)).plan, rebuild(RebuildWhy::LogGone));
}

#[test]
fn half_a_base_waits_until_what_is_home_there_is_settled_here() {
    let mut theirs = facts(&Log::new(15, &[(1, 12), (2, 8)]), 18);
    theirs.base = rebuilding(15, 400, row(2, 12));
    let at = |settled| Primary { log: primary().log, settled }.decide(&theirs).rule;
    assert_eq!(at(17), Rule::EarlyBase);
    assert_eq!(at(18), Rule::HalfBase);
}

#[test]
fn what_a_session_showed_outweighs_what_the_replica_says() {
    let theirs = facts(&primary().log, 25);
    let plan = |trust| primary().decide_trusting(&theirs, trust).plan;
    assert_eq!(plan(Trust::Full), Plan::ZeroGap { at: Lsn(30) });
    assert_eq!(plan(Trust::Diverged), rebuild(RebuildWhy::Diverged));
    assert_eq!(plan(Trust::DigestDiffered), rebuild(RebuildWhy::DigestDiffered));
}

#[test]
fn what_a_session_showed_outweighs_what_is_home_there() {
    // Our last reign has yet to settle anything; what is home there would prove records 20 to 25.
    let theirs = facts(&primary().log, 25);
    let early = Primary { log: primary().log, settled: 20 };
    let proves = |trust| early.decide_trusting(&theirs, trust).facts.proves_settled();
    assert!(proves(Trust::Full));
    assert!(!proves(Trust::Diverged), "its record below 25 may be another than ours");
    assert!(!proves(Trust::DigestDiffered), "its blocks are not those of our records");
}

#[test]
fn a_lossy_replica_is_planned_for_by_what_its_disk_proves() {
    let mut theirs = facts(&primary().log, 25);
    theirs.lossy = true;
    let decision = primary().decide(&theirs);
    assert!(decision.lossy);
    assert_eq!(decision.plan, Plan::ZeroGap { at: Lsn(30) });
}

#[test]
#[should_panic(expected = "our lineage")]
fn our_own_bookkeeping_is_held_to_account() {
    primary().with(|ours| {
        let short = seawall_recovery::facts::Ours { lineage: &ours.lineage[..2], ..*ours };
        seawall_recovery::plan::decide(&short, &facts(&primary().log, 25), Trust::Full)
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Records of each log one by one, without lineages, say what a plan has to do.
    #[test]
    fn a_plan_does_the_least_that_makes_the_logs_one(
        common in prop::collection::vec(1u64..6, 1..4),
        ours in prop::collection::vec(1u64..6, 1..3),
        theirs in prop::collection::vec(1u64..6, 0..3),
        (start, checkpoint) in (0u64..30, 0u64..30),
        drop in 0usize..6,
    ) {
        // Ours is the newest reign of all, theirs branch off below or run along.
        let reign = |counter: usize, owner| Epoch { counter: counter as u64, replica: ReplicaId(owner) };
        let fill = |records: &mut Vec<Epoch>, epoch, n: u64| records.extend((0..n).map(|_| epoch));
        let mut shared = Vec::new();
        for (at, n) in common.iter().enumerate() {
            fill(&mut shared, reign(at + 1, 1), *n);
        }
        let mut our_records = shared.clone();
        for (at, n) in ours.iter().enumerate() {
            fill(&mut our_records, reign(at + 20, 1), *n);
        }
        let mut their_records = shared;
        for (at, n) in theirs.iter().enumerate() {
            fill(&mut their_records, reign(at + 10, 2), *n);
        }
        their_records.truncate(their_records.len().saturating_sub(drop));

        let our_end = our_records.len() as u64;
        let primary = Primary { log: Log { records: our_records, start: start.min(our_end) }, settled: our_end };
        let their_log = Log { records: their_records, start: 0 };
        let checkpoint = checkpoint.min(their_log.end().0);
        let said = facts(&their_log, checkpoint);
        let same = primary.log.records.iter().zip(&their_log.records).take_while(|(a, b)| a == b).count() as u64;

        let decision = primary.decide(&said);
        let can_feed = same >= primary.log.start && same >= checkpoint;
        let expected = if !can_feed {
            None
        } else if same < their_log.end().0 {
            Some(Plan::CutThenCatchUp { to: Lsn(same) })
        } else if same < our_end {
            Some(Plan::CatchUp { from: Lsn(same) })
        } else {
            Some(Plan::ZeroGap { at: Lsn(same) })
        };
        match expected {
            Some(plan) => prop_assert_eq!(decision.plan, plan),
            None => prop_assert!(matches!(decision.plan, Plan::Rebuild { resume: None, .. }), "{}", decision),
        }

        // And what the replica is told is what it needs to check it.
        let plan = decision.plan.begin().expect("nothing here is refused");
        let (members, leases) = (Configuration::default(), Leases::default());
        let begin = primary.with(|ours| Begin::of(plan, ours.log.end, Lsn::ZERO, &members, &leases, ours));
        let from = plan.feed_from();
        prop_assert_eq!(begin.chain, primary.log.chain(from));
        let before = Log { records: primary.log.records[..usize::try_from(from.0).unwrap()].to_vec(), start: 0 };
        prop_assert_eq!(begin.epoch_before, before.tail_epoch());
        prop_assert_eq!(begin.lineage, before.lineage());
    }

    /// Whatever a peer says, there is an answer.
    #[test]
    fn any_facts_at_all_get_an_answer(
        rows in prop::collection::vec((0u64..5, 0u64..40), 0..5),
        (start, end, checkpoint) in (0u64..40, any::<u64>(), any::<u64>()),
        (tail, chain, cut, held) in (0u64..5, any::<u32>(), any::<u64>(), any::<u64>()),
        small in any::<bool>(),
        base in 0..3,
    ) {
        let mut theirs = facts(&Log::new(0, &[]), 0);
        theirs.lineage = rows.into_iter().map(|(counter, first)| row(counter, first)).collect();
        let bound = |n: u64| if small { n % 40 } else { n };
        theirs.log.start = Lsn(start);
        theirs.log.end = Lsn(bound(end));
        theirs.checkpoint = Lsn(bound(checkpoint));
        theirs.tail_epoch = epoch(tail);
        theirs.tail_chain = Crc(chain);
        theirs.base = match base {
            0 => BaseState::Complete,
            1 => BaseState::Blank,
            _ => rebuilding(bound(cut), bound(held), row(2, 12)),
        };
        let decision = primary().decide(&theirs);
        if let Some(plan) = decision.plan.begin() {
            let from = plan.feed_from();
            prop_assert!(Lsn(10) <= from && from <= Lsn(30));
        }
    }
}
