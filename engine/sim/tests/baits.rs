//! Each planted bug is caught by the check that guards its rule, within a bounded number of seeds.

use core::ops::Range;

use seawall_engine::bait::Bait;
use sim::options::Options;
use sim::run::run;

/// The first seed at which one of these checks finds the bug; a seed that fails without the bug does not count.
fn check(bait: Bait, seeds: Range<u64>, checks: &[&str]) {
    for seed in seeds.clone() {
        let plain = Options::seed(seed);
        let Some(failure) = run(&Options { bait: Some(bait), ..plain.clone() }).failure else { continue };
        if checks.contains(&failure.check) && run(&plain).failure.is_none() {
            println!("bait {} caught at seed {seed} by {}", bait.name(), failure.check);
            return;
        }
    }
    panic!("bait {} was not caught by {checks:?} in seeds {seeds:?}", bait.name());
}

#[test]
fn an_acknowledgement_before_the_disk_has_it_is_caught() {
    check(Bait::AckBeforeDisk, 0..5, &["durable-before-done"]);
}

#[test]
fn a_completion_one_copy_early_is_caught() {
    check(Bait::CompleteOneEarly, 0..5, &["durable-before-done"]);
}

#[test]
fn a_record_that_goes_home_before_it_is_committed_is_caught() {
    check(Bait::HomeBeforeCommit, 0..10, &["only-committed-goes-home"]);
}

#[test]
fn a_checkpoint_that_moves_what_the_superblock_does_not_name_is_caught() {
    check(Bait::MoveUnnamed, 0..5, &["only-committed-goes-home"]);
}

#[test]
fn a_base_block_over_a_newer_one_is_caught() {
    check(Bait::BaseOverNewer, 0..600, &["base-never-over-newer", "in-sync-means-equal", "one-history"]);
}

#[test]
fn a_promise_before_it_is_durable_is_caught() {
    check(Bait::PromiseNotDurable, 0..5, &["promise-is-durable-first"]);
}

#[test]
fn a_read_without_a_majority_is_caught() {
    check(Bait::ReadUnconfirmed, 0..600, &["one-history"]);
}

#[test]
fn a_voter_that_goes_on_with_the_old_primary_after_a_promise_is_caught() {
    check(Bait::AcceptStaleSession, 0..600, &["one-history"]);
}
