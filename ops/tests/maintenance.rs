//! Somebody works on a replica of a volume of real processes: its primary is killed and is back in time, or is not;
//! an operator decides otherwise; and what is said of all that.

#[allow(dead_code, reason = "other drills use the rest")]
mod cluster;
#[allow(dead_code, reason = "other drills use the rest")]
mod site;

use std::fs;
use std::path::PathBuf;

use cluster::{Cluster, Load};
use seawall_ops::load::Plan;
use serde_json::Value;
use site::{Shape, text};

const A: usize = 0;
const B: usize = 1;
const C: usize = 2;
const SHAPE: Shape = Shape { volume_mib: 64, log_mib: 32 };

fn automatic(configs: &[PathBuf]) {
    for config in configs {
        let text = fs::read_to_string(config).unwrap();
        let text =
            text.replace("failover = \"manual\"\n", "failover = \"automatic\"\nno_quorum = \"wait\"\n");
        fs::write(config, text).unwrap();
    }
}

fn gently(plan: &mut Plan) {
    plan.connections = 1;
    plan.depth = 2;
    plan.sectors_max = 16;
}

/// Three copies, of which `a` reigns.
fn start() -> Cluster {
    let cluster = Cluster::start_with(SHAPE, automatic);
    if cluster.report(A).is_none_or(|report| report.role != "primary") {
        let output = cluster.run(A, &["promote"]);
        assert!(output.status.success(), "{}", text(&output));
    }
    cluster.await_in_sync(A);
    cluster
}

fn id(node: usize) -> String {
    format!("r-{:016x}", node + 10)
}

fn maintenance(cluster: &Cluster, node: usize, arguments: &[&str]) -> Result<String, String> {
    let output = cluster.run(node, &[&["maintenance"], arguments].concat());
    if output.status.success() { Ok(text(&output)) } else { Err(text(&output)) }
}

fn begin(cluster: &Cluster, node: usize, replica: &str, long: &str) -> String {
    let arguments = ["begin", replica, "--owner", "ann", "--reason", "new kernel", "--for", long];
    maintenance(cluster, node, &arguments).unwrap_or_else(|said| panic!("{said}"))
}

/// The rule by which a replica answers a question about one.
fn rule(cluster: &Cluster, node: usize, question: &str, about: &str) -> String {
    let output = cluster.run(node, &["explain", "--json"]);
    let answers: Value = serde_json::from_slice(&output.stdout).unwrap();
    let answers = answers.as_array().unwrap();
    let answer = answers.iter().find(|answer| answer["question"] == question && answer["replica"] == about);
    answer.unwrap_or_else(|| panic!("{question} of {about}: {answers:?}"))["rule"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
fn a_primary_that_is_restarted_under_a_lease_reigns_again_and_its_clients_only_waited() {
    let mut cluster = start();
    let said = begin(&cluster, A, "a", "10min");
    assert!(said.contains("a is under maintenance by ann") && said.contains("it is the primary"), "{said}");
    cluster.wait(C, "to know of it", |report| report.maintenance.iter().any(|lease| lease.replica == "a"));
    let next = text(&cluster.run(A, &["whatif", "kill", "a"]));
    assert!(next.contains("rule under-maintenance") && next.contains("seawall promote"), "{next}");
    let load = Load::begin(cluster.targets(&[B]), gently);
    load.await_writes(100);

    cluster.kill(A);
    cluster.await_said(B, "the primary r-000000000000000a is missed and under maintenance");
    cluster.await_said(C, "the primary r-000000000000000a is missed and under maintenance");
    assert_eq!(rule(&cluster, C, "writable", "c"), "primary-maintained");
    let shown = text(&cluster.run(C, &["status"]));
    assert!(shown.contains("a is under maintenance by ann for ") && shown.contains("new kernel"), "{shown}");
    let epoch = cluster.report(B).unwrap().promised;
    cluster.begin(A);
    cluster.wait(A, "to reign again", |report| report.role == "primary");
    load.await_writes(100);
    assert!(epoch.ends_with("@a"), "nobody else was promised anything meanwhile: {epoch}");

    let said = maintenance(&cluster, A, &["end", "a"]).unwrap_or_else(|said| panic!("{said}"));
    assert!(said.contains("the maintenance of a is over"), "{said}");
    cluster.wait(B, "to know that it is over", |report| report.maintenance.is_empty());
    let tally = load.end();
    assert_eq!((tally.errors(), tally.disconnects), (0, 0), "{tally:?}");
}

#[test]
fn a_lease_runs_out_and_an_operator_need_not_wait_for_that() {
    let mut cluster = start();
    begin(&cluster, A, "a", "5s");
    cluster.wait(C, "to know of it", |report| !report.maintenance.is_empty());
    cluster.kill(A);
    cluster.await_said(B, "the time for the maintenance of r-000000000000000a has run out");
    let led = |report: &seawall_ops::report::Report| report.primary.as_deref().is_some_and(|p| p != "a");
    let primary = cluster.wait(B, "to have another primary", led).primary;
    let primary = if primary.as_deref() == Some("b") { B } else { C };
    let other = B + C - primary;
    cluster.begin(A);
    cluster.await_in_sync(primary);

    let name = ["a", "b", "c"][primary];
    begin(&cluster, primary, name, "1h");
    cluster.wait(other, "to know of it", |report| !report.maintenance.is_empty());
    cluster.wait(A, "to know of it", |report| !report.maintenance.is_empty());
    cluster.kill(primary);
    cluster.await_said(other, &format!("the primary {} is missed and under maintenance", id(primary)));
    let output = cluster.run(other, &["promote"]);
    assert!(output.status.success(), "{}", text(&output));
    cluster.wait(other, "to reign", |report| report.role == "primary");
    cluster.wait(other, "to say that nothing is ill", |_| {
        rule(&cluster, other, "healthy", ["a", "b", "c"][other]) == "copies-maintained"
    });
    assert_eq!(rule(&cluster, other, "in-sync", name), "maintained");
    cluster.begin(primary);
    cluster.await_in_sync(other);
}

#[test]
fn what_can_not_be_a_lease_is_refused_and_what_one_means_is_said() {
    let mut cluster = start();
    begin(&cluster, A, "b", "10min");
    let renewed = begin(&cluster, A, "b", "20min");
    assert!(!renewed.contains("mind"), "{renewed}");
    let by_bob = ["begin", "b", "--owner", "bob", "--reason", "x", "--for", "1h"];
    let refusals: [(usize, &[&str], &str); 6] = [
        (A, &by_bob, "under maintenance by ann: new kernel"),
        (A, &["begin", "b", "--owner", "ann", "--reason", "x", "--for", "25h"], "1 s to 24 h"),
        (A, &["begin", "b", "--owner", "ann", "--reason", "x", "--for", "soon"], "no length of time"),
        (A, &["begin", "d", "--owner", "ann", "--reason", "x", "--for", "1h"], "no member"),
        (A, &["end", "c"], "c is not under maintenance"),
        (C, &by_bob, "not the primary"),
    ];
    for (node, arguments, why) in refusals {
        let said = maintenance(&cluster, node, arguments).expect_err("it is refused");
        assert!(said.contains(why), "{arguments:?}: {said}");
    }
    let said = begin(&cluster, A, "c", "10min");
    assert!(said.contains("2 of 3 voters are under maintenance (b, c)"), "{said}");
    maintenance(&cluster, A, &["end", "b"]).unwrap_or_else(|said| panic!("{said}"));
    let listed = maintenance(&cluster, C, &["list", "--json"]).unwrap_or_else(|said| panic!("{said}"));
    let leases: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(leases.as_array().map(Vec::len), Some(1), "{leases}");
    assert_eq!((&leases[0]["replica"], &leases[0]["owner"]), (&"c".into(), &"ann".into()), "{leases}");
    cluster.kill(B);
    cluster
        .wait(A, "b is missed", |report| report.peers.iter().any(|peer| peer.replica == "b" && !peer.counts));
    let said = begin(&cluster, A, "c", "10min");
    assert!(said.contains("without it too few voters are in sync"), "{said}");
    let page = cluster.metrics(A);
    assert!(page.contains("seawall_maintenance_seconds{owner=\"ann\",replica=\"c\"}"), "{page}");
}
