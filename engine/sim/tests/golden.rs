//! Runs whose digests are on record: a change of any of them is a change of behaviour, and is to be meant.
//!
//! To record them anew: `SEAWALL_GOLDEN=record cargo test -p sim --test golden`

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use sim::options::Options;
use sim::run::{Report, run};

const SEEDS: u64 = 8;

fn account(reports: &[Report]) -> String {
    let mut account = String::new();
    for (seed, report) in reports.iter().enumerate() {
        let Report { digest, tally, .. } = report;
        writeln!(account, "{seed} {digest:032x} {} steps {} writes", tally.steps, tally.written).unwrap();
    }
    account
}

#[test]
fn recorded_runs_are_as_recorded_and_a_run_can_be_repeated() {
    let reports: Vec<Report> = std::thread::scope(|scope| {
        let runs: Vec<_> = (0..SEEDS).map(|seed| scope.spawn(move || run(&Options::seed(seed)))).collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    for (seed, report) in reports.iter().enumerate() {
        assert_eq!(report.failure, None, "seed {seed}");
    }
    let again = run(&Options::seed(3));
    assert_eq!((again.digest, &again.tally), (reports[3].digest, &reports[3].tally), "same seed, same run");
    let digests: BTreeSet<u128> = reports.iter().map(|report| report.digest).collect();
    assert_eq!(digests.len(), reports.len(), "other seeds are other runs");

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden.txt");
    if std::env::var_os("SEAWALL_GOLDEN").is_some() {
        std::fs::write(&path, account(&reports)).unwrap();
    }
    let recorded = std::fs::read_to_string(&path).unwrap();
    assert_eq!(account(&reports), recorded, "to record anew, see the head of this file");
}
