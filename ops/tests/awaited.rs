//! Commit rule `all`, by real processes under a load whose ledger knows what was promised: a copy that dies costs a pause
//! and is dropped from the in-sync set, it comes back and is waited for again, and with two gone requests end by the
//! policy. How long clients stand still is printed.

#[allow(dead_code, reason = "other drills use the rest")]
mod cluster;
#[allow(dead_code, reason = "other drills use the rest")]
mod site;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use cluster::{Cluster, Load};
use seawall_ops::load::Plan;
use seawall_ops::nbd::{self, Command};
use seawall_ops::report::{InSyncSet, Report};
use site::{Shape, text};

const A: usize = 0;
const B: usize = 1;
const C: usize = 2;
const SHAPE: Shape = Shape { volume_mib: 64, log_mib: 64 };
const EIO: u32 = 5;

fn all(configs: &[PathBuf]) {
    for config in configs {
        let text = fs::read_to_string(config).unwrap();
        let manual = "failover = \"manual\"\n";
        assert!(text.contains(manual));
        let text = text.replace(manual, "failover = \"manual\"\ncommit = \"all\"\nall_patience = \"1s\"\n");
        fs::write(config, text.replace("[limits]\n", "[limits]\nquorum_patience = \"8s\"\n")).unwrap();
    }
}

fn gently(plan: &mut Plan) {
    plan.connections = 1;
    plan.depth = 4;
    plan.sectors_max = 16;
}

fn set(report: &Report) -> &InSyncSet {
    report.in_sync_set.as_ref().expect("the primary says for whom writes wait")
}

fn await_set(cluster: &Cluster, members: &[&str]) -> Report {
    cluster.wait(A, &format!("writes wait for {members:?}"), |report| {
        report.role == "primary" && set(report).members == members && !report.members.pending
    })
}

#[test]
fn a_copy_that_dies_is_dropped_and_is_waited_for_again_when_it_is_back() {
    let mut cluster = Cluster::start_with(SHAPE, all);
    await_set(&cluster, &["a", "b", "c"]);
    let load = Load::begin(cluster.targets(&[A]), gently);
    load.await_writes(200);

    cluster.kill(C);
    let killed = Instant::now();
    let report = await_set(&cluster, &["a", "b"]);
    let dropped = killed.elapsed();
    load.await_writes(50);
    println!("c was dropped after {dropped:?}, and writes went on after {:?}", killed.elapsed());
    let gone = &set(&report).dropped[..];
    assert!(gone.len() == 1 && gone[0].replica == "c" && gone[0].why.is_some(), "{gone:?}");
    let shown = text(&cluster.run(A, &["status"]));
    assert!(
        shown.contains("all: 2 of 3 in the in-sync set, c dropped ") && shown.contains(" ago: it "),
        "{shown}"
    );
    assert!(shown.contains("if b fails: writes stop"), "{shown}");
    let explained = text(&cluster.run(A, &["explain"]));
    assert!(explained.contains("(rule copies-missing)"), "{explained}");
    let metrics = cluster.metrics(A);
    assert!(metrics.contains("seawall_in_sync_set 2\n"), "{metrics}");
    load.await_writes(200);

    cluster.begin(C);
    let report = await_set(&cluster, &["a", "b", "c"]);
    assert!(set(&report).dropped.is_empty() && report.members.number == 2, "{report:?}");
    load.await_writes(200);
    let tally = load.end();
    assert_eq!((tally.errors(), tally.disconnects), (0, 0), "{tally:?}");
    cluster.assert_equal(A);

    cluster.kill(B);
    cluster.kill(C);
    cluster.wait(A, "both are missed", |report| report.quorum.missing == ["b", "c"]);
    let mut client = nbd::connect(&cluster.uri(A).parse().unwrap(), Duration::from_secs(60)).unwrap().0;
    nbd::send(&mut client, Command::Write, 0, 1, 0, 4096, &[7; 4096]).unwrap();
    assert_eq!(nbd::receive(&mut client).unwrap().error, EIO, "no set of one completes a write");
    let report = cluster.report(A).expect("it answers");
    assert!(set(&report).members.len() >= 2 && !report.quorum.shrinks, "{report:?}");
    println!("{}{}", text(&cluster.run(A, &["status"])), text(&cluster.run(A, &["explain"])));

    cluster.begin(B);
    await_set(&cluster, &["a", "b"]);
    cluster.begin(C);
    await_set(&cluster, &["a", "b", "c"]);
    cluster.assert_equal(A);
}
