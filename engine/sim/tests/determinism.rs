//! Same seed, same history, byte for byte.

use sim::options::Options;
use sim::run::run;

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in [3, 4, 5] {
        let first = run(&Options::seed(seed));
        let second = run(&Options::seed(seed));
        assert_eq!((first.digest, &first.tally), (second.digest, &second.tally), "seed {seed}");
    }
}

#[test]
fn other_seeds_are_other_runs() {
    let digests: std::collections::BTreeSet<u128> =
        (0..4).map(|seed| run(&Options::seed(seed)).digest).collect();
    assert_eq!(digests.len(), 4);
}
