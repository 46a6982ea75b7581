//! Every guard is needed: without it something breaks, and the table says what.
//!
//! To make the table anew: `SEAWALL_MUTATIONS=record cargo test -p explore --test mutations`

use std::collections::BTreeSet;
use std::path::Path;

use explore::mutants::{MUTANTS, Taken, guards, table};
use explore::probe::Scale;
use explore::search::hush;

#[test]
fn the_table_of_mutations_is_as_recorded_and_without_any_guard_something_breaks() {
    let listed: BTreeSet<String> = MUTANTS.iter().map(|mutant| mutant.guard.to_owned()).collect();
    let standing: BTreeSet<String> = guards().into_keys().collect();
    assert_eq!(listed, standing, "the guards of the sources and those that are taken away");

    hush();
    let all: Vec<Taken> = MUTANTS.iter().map(|mutant| mutant.take(Scale::TESTS)).collect();
    let _ = std::panic::take_hook();
    for Taken { mutant, report, spare } in &all {
        assert!(report.breach.is_some(), "nothing breaks without {}: {report}", mutant.guard);
        assert_eq!(*spare, mutant.beside.is_some(), "{} breaks something alone", mutant.guard);
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("MUTATIONS.md");
    if std::env::var_os("SEAWALL_MUTATIONS").is_some() {
        std::fs::write(&path, table(&all)).unwrap();
    }
    let recorded = std::fs::read_to_string(&path).unwrap();
    let made = table(&all);
    for (made, recorded) in made.lines().zip(recorded.lines()) {
        assert_eq!(made, recorded, "to make it anew, see the head of this file");
    }
    assert_eq!(made.lines().count(), recorded.lines().count(), "to make it anew, see the head of this file");
}
