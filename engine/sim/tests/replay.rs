//! What was done to the world in a run is enough to have that run again.

use seawall_engine::bait::Bait;
use sim::options::Options;
use std::sync::Arc;

use sim::run::run;
use sim::scenario::Script;
use sim::shrink::shrink;

#[test]
fn the_deeds_of_a_run_carried_out_again_are_the_same_run() {
    for seed in [0, 4, 6] {
        let first = run(&Options::seed(seed));
        assert!(!first.deeds.is_empty(), "seed {seed}");
        let again = run(&Options {
            script: Some(Arc::new(Script::of_run(&Options::seed(seed), &first))),
            ..Options::seed(seed)
        });
        assert_eq!(again.deeds, first.deeds, "seed {seed}");
        assert_eq!((again.digest, again.failure), (first.digest, first.failure), "seed {seed}");
    }
}

#[test]
fn a_script_that_was_written_down_is_the_same_run() {
    let first = run(&Options::seed(5));
    let text = Script::of_run(&Options::seed(5), &first).to_string();
    let script = Arc::new(Script::read(&text).expect("what was written can be read"));
    let again = run(&Options { script: Some(Arc::clone(&script)), ..Options::seed(5) });
    assert_eq!((again.digest, &again.failure), (first.digest, &first.failure));
    assert_eq!(script.judge(&again), Ok(()));
}

#[test]
fn a_failing_run_shrinks_to_a_few_deeds_that_fail_by_the_same_check() {
    let bait = Bait::HomeBeforeCommit;
    let fails = |seed| {
        let report = run(&Options { bait: Some(bait), ..Options::seed(seed) });
        report.failure.clone().map(|failure| (seed, failure.check, report))
    };
    let (seed, check, report) = (0..20).find_map(fails).expect("the bait is caught");
    let short = shrink(&Script::of_run(&Options { bait: Some(bait), ..Options::seed(seed) }, &report), check)
        .expect("the script fails too");
    assert_eq!(short.failure.check, check);
    assert!(short.deeds <= 6, "{} deeds:\n{}", short.deeds, short.script);
    assert!(!short.timeline.is_empty());
    // What is printed can be had again.
    let script = Script::read(&short.script.to_string()).expect("a script");
    let again =
        run(&Options { bait: Some(bait), script: Some(Arc::new(script.clone())), ..Options::seed(seed) });
    assert_eq!(script.judge(&again), Ok(()));
}

#[test]
fn a_timeline_tells_deeds_elections_sessions_and_restarts() {
    let report = run(&Options { timeline: true, ..Options::seed(0) });
    let tells = |what: &str| report.timeline.iter().any(|line| line.contains(what));
    for what in
        ["DEED", "role", "→ primary in", "→ Greet", "session", "opened by rule", "HEALS", "writes done"]
    {
        assert!(tells(what), "{what}");
    }
    let plain = run(&Options::seed(0));
    assert_eq!(report.digest, plain.digest, "who looks changes nothing");
}
