//! What was done to the world in a run is enough to have that run again.

use sim::options::Options;
use sim::run::run;

#[test]
fn the_deeds_of_a_run_carried_out_again_are_the_same_run() {
    for seed in [0, 4, 6] {
        let first = run(&Options::seed(seed));
        assert!(!first.deeds.is_empty(), "seed {seed}");
        let again = run(&Options { deeds: Some(first.deeds.clone()), ..Options::seed(seed) });
        assert_eq!(again.deeds, first.deeds, "seed {seed}");
        assert_eq!((again.digest, again.failure), (first.digest, first.failure), "seed {seed}");
    }
}
