//! A volume goes on while its quorum lives, and one dead member costs next to nothing.

use sim::options::Options;
use sim::rate::{Dead, Rate, rate};
use sim::run::run;

#[test]
fn a_bare_quorum_goes_on_writing() {
    let mut stages = 0;
    for seed in 0..40 {
        let report = run(&Options { bare: true, ..Options::seed(seed) });
        assert_eq!(report.failure, None, "seed {seed}");
        stages += report.tally.bare_stages;
    }
    assert!(stages >= 100, "{stages} stages are too few to prove anything");
}

fn check(dead: Dead) {
    let healthy = rate(1, Dead::Nobody).unwrap();
    let Rate { per_second, median, p99 } = rate(1, dead).unwrap();
    println!("healthy {healthy:?}; {dead:?} dead: {per_second} per second, {median} µs, {p99} µs");
    assert!(per_second * 100 >= healthy.per_second * 90, "{per_second} of {}", healthy.per_second);
    assert!(p99 * 100 <= healthy.p99 * 120, "{p99} µs, {} µs", healthy.p99);
}

#[test]
fn a_dead_follower_costs_less_than_a_tenth() {
    check(Dead::Follower(1));
    check(Dead::Follower(2));
}

#[test]
fn a_dead_primary_costs_less_than_a_tenth_once_it_is_replaced() {
    check(Dead::OldPrimary);
}
