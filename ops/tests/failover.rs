//! Drills with real processes and no operator: primaries are killed, stand still and hand over under a load whose
//! ledger knows what was promised, and the replicas find their primary themselves.
//!
//! `SEAWALL_FAILOVERS` says how many rounds of each; 3 unless told.

#[expect(dead_code, reason = "other drills use the rest")]
mod cluster;
mod site;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use cluster::{Cluster, Load};
use nix::sys::signal::Signal;
use site::{NAMES, Shape, text};

/// From now on the replicas find a new primary themselves.
fn unattended(configs: &[PathBuf]) {
    for config in configs {
        let text = fs::read_to_string(config).unwrap();
        assert!(text.contains("\"manual\""));
        fs::write(config, text.replace("\"manual\"", "\"automatic\"")).unwrap();
    }
}

fn rounds() -> usize {
    std::env::var("SEAWALL_FAILOVERS").map_or(3, |rounds| rounds.parse().expect("a number of rounds"))
}

/// Who says that it serves, in the highest epoch, among all but that one.
fn primary_but(cluster: &Cluster, silent: Option<usize>) -> Option<usize> {
    let serving = |index: usize| {
        let report = cluster.report(index).filter(|report| report.role == "primary")?;
        let counter = report.epoch.split('@').next().and_then(|counter| counter.parse::<u64>().ok())?;
        Some((counter, index))
    };
    let asked = (0..NAMES.len()).filter(|index| Some(*index) != silent);
    asked.filter_map(serving).max().map(|(_, index)| index)
}

fn primary(cluster: &Cluster) -> Option<usize> {
    primary_but(cluster, None)
}

/// Wait until another one than that serves.
fn await_successor(cluster: &Cluster, old: usize) -> usize {
    let begin = Instant::now();
    loop {
        // The old one may not answer at all.
        if let Some(index) = primary_but(cluster, Some(old)) {
            return index;
        }
        assert!(begin.elapsed() < cluster::PATIENCE, "nobody took over from {}", NAMES[old]);
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// How long one kind of round took until another one served: median and longest, in milliseconds.
fn tell(what: &str, mut waits: Vec<u128>) {
    waits.sort_unstable();
    let (median, longest) = (waits[waits.len() / 2], waits[waits.len() - 1]);
    println!(
        "{what}: {} rounds, another one served after {median} ms in the median, {longest} ms at most",
        waits.len()
    );
}

/// Rounds in which the primary is struck, another one takes over, and the old one comes back under it.
fn drill(what: &str, strike: fn(&mut Cluster, usize), relieve: fn(&mut Cluster, usize)) {
    let mut cluster = Cluster::start_with(Shape::default(), unattended);
    let load = Load::begin(cluster.targets(&[0, 1, 2]), |_| {});
    load.await_done(1000);
    let mut waits = Vec::new();
    for _ in 0..rounds() {
        let old = primary(&cluster).expect("somebody serves");
        let struck = Instant::now();
        strike(&mut cluster, old);
        let new = await_successor(&cluster, old);
        waits.push(struck.elapsed().as_millis());
        relieve(&mut cluster, old);
        cluster.await_in_sync(new);
        load.await_done(200);
    }
    tell(what, waits);
    let tally = load.end();
    assert_eq!(tally.errors(), 0, "{tally:?}");
    cluster.assert_equal(primary(&cluster).expect("somebody serves"));
}

#[test]
fn the_primary_is_killed_and_the_others_find_another_one_themselves() {
    drill("killed", Cluster::kill, Cluster::begin);
}

#[test]
fn a_primary_that_stood_still_longer_than_its_lease_finds_another_one_in_its_place() {
    let go_on = |cluster: &mut Cluster, old: usize| cluster.signal(old, Signal::SIGCONT);
    drill("stood still", |cluster, old| cluster.signal(old, Signal::SIGSTOP), go_on);
}

#[test]
fn a_primary_hands_over_by_plan_and_no_client_sees_more_than_a_pause() {
    let cluster = Cluster::start_with(Shape::default(), unattended);
    let load = Load::begin(cluster.targets(&[0, 1, 2]), |_| {});
    load.await_done(1000);
    let mut waits = Vec::new();
    for _ in 0..rounds() {
        let old = primary(&cluster).expect("somebody serves");
        let begin = Instant::now();
        let output = cluster.run(old, &["handover"]);
        assert!(output.status.success(), "{}", text(&output));
        let new = await_successor(&cluster, old);
        load.await_done(1);
        waits.push(begin.elapsed().as_millis());
        cluster.await_in_sync(new);
        load.await_done(200);
    }
    tell("handed over", waits);
    let tally = load.end();
    println!("longest request {} ms", tally.longest_request_ms);
    assert_eq!((tally.errors(), tally.disconnects), (0, 0), "a client noticed: {tally:?}");
    cluster.assert_equal(primary(&cluster).expect("somebody serves"));
}
