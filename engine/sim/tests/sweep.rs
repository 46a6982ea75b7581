//! A slice of the storage sweep, in every test run; all of it is `sim --sweep`.

use sim::sweep::{Harvest, Ill, Scope, Script, images, makers, planted, spoils, sweep};

/// Every so many-th case, on one core.
const fn slice(stride: usize) -> Scope {
    Scope { stride, threads: 1, sectors_bulk: 3, ..Scope::ALL }
}

fn assert_whole(harvest: &Harvest) {
    let failed: Vec<String> =
        harvest.failed.iter().take(3).map(|failed| format!("{}\n  {}", failed.case, failed.wrong)).collect();
    assert!(failed.is_empty(), "{} cases failed:\n{}", harvest.failed.len(), failed.join("\n"));
}

/// Disk operations, and crashes in the slice, that each mutation has at the least.
const CRASHES: [(Script, usize, usize); 17] = [
    (Script::AppendDurable, 17, 60),
    (Script::AppendWritten, 25, 100),
    (Script::AppendSeparate, 17, 80),
    (Script::Holes, 50, 240),
    (Script::Wrap, 19, 60),
    (Script::Checkpoint, 70, 400),
    (Script::CheckpointReordered, 70, 340),
    (Script::Lap, 70, 70),
    (Script::Restart, 50, 110),
    (Script::Shutdown, 75, 250),
    (Script::Promise, 24, 80),
    (Script::Follow, 35, 190),
    (Script::FollowWritten, 30, 100),
    (Script::Cut, 19, 60),
    (Script::Adopt, 20, 70),
    (Script::Rebuild, 24, 15),
    (Script::RebuildResumed, 55, 40),
];

#[test]
fn a_crash_at_any_disk_operation_leaves_the_acknowledged_history() {
    let mut all = 0;
    for (script, operations, cases) in CRASHES {
        let harvest = sweep(&[script], slice(41));
        assert_whole(&harvest);
        let count = &harvest.counts[script.name()];
        println!("{}: {} operations, {} crashes", script.name(), count.operations, count.cases());
        assert!(count.operations >= operations, "{}: {} operations", script.name(), count.operations);
        assert!(count.cases() >= cases, "{}: {} crashes", script.name(), count.cases());
        all += count.cases();
    }
    println!("{all} crashes");
}

#[test]
fn a_format_or_a_wipe_that_is_broken_off_leaves_one_replica_whole_or_none() {
    let harvest = makers(slice(41));
    assert_whole(&harvest);
    println!("{} crashes", harvest.cases());
    assert!(harvest.cases() >= 150, "{}", harvest.cases());
}

#[test]
fn a_device_that_says_it_failed_ends_all_acknowledging() {
    let ills = [Ill::Error, Ill::HalfError, Ill::DoneError, Ill::NoSpace];
    // 11 and the number of ills have nothing in common, so that every ill meets every kind of operation.
    let harvest = spoils(&Script::ALL, &ills, slice(11));
    assert_whole(&harvest);
    println!("{} failing operations", harvest.cases());
    assert!(harvest.cases() >= 200, "{}", harvest.cases());
}

#[test]
fn a_device_that_lies_never_makes_wrong_data_good() {
    let scripts: Vec<Script> = Script::ALL.into_iter().filter(|script| *script != Script::Lap).collect();
    let harvest = spoils(&scripts, &[Ill::Lost, Ill::Misdirected], slice(7));
    assert_whole(&harvest);
    for (mutation, count) in &harvest.counts {
        for (ill, outcome) in count.outcomes.keys() {
            let last_of_the_log = outcome.ends_with("its log is shorter");
            assert!(last_of_the_log || !outcome.contains("NOT SEEN"), "{mutation}: {ill}: {outcome}");
            assert!(!outcome.contains("another check"), "{mutation}: {ill}: {outcome}");
        }
        for operations in count.unseen.values() {
            assert!(operations.keys().all(|operation| operation == "append"), "{mutation}: {operations:?}");
        }
    }
    println!("{} lies", harvest.cases());
    assert!(harvest.cases() >= 150, "{}", harvest.cases());
}

#[test]
fn rot_and_cuts_are_seen_and_placed_in_every_area() {
    let counts = images(slice(307)).unwrap_or_else(|wrong| panic!("{wrong}"));
    let mut all = 0;
    for (damage, outcomes) in &counts {
        let cases: usize = outcomes.values().sum();
        println!("{damage}: {cases}");
        all += cases;
        assert!(cases > 0, "{damage}");
    }
    assert_eq!(counts.len(), 13, "{:?}", counts.keys());
    assert!(all >= 9_000, "{all}");
}

#[test]
fn planted_bugs_are_found() {
    // Some of them fall by an assertion of the machine, which need not be told at length.
    std::panic::set_hook(Box::new(|_| ()));
    let planted = planted(slice(1));
    drop(std::panic::take_hook());
    for (name, case) in planted {
        let case = case.unwrap_or_else(|| panic!("{name} is not found"));
        println!("{name}: {case}");
    }
}
