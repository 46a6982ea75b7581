//! What an operator is told, by real processes: what one more failure would do and then does, why a volume takes no
//! writes, and what becomes of requests meanwhile, by either policy.

#[allow(dead_code, reason = "other drills use the rest")]
mod cluster;
#[allow(dead_code, reason = "other drills use the rest")]
mod site;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use cluster::Cluster;
use seawall_ops::nbd::{self, Command, Stream};
use serde_json::Value;
use site::{Shape, text};

const A: usize = 0;
const B: usize = 1;
const C: usize = 2;
const SHAPE: Shape = Shape { volume_mib: 16, log_mib: 16 };
const EIO: u32 = 5;

/// Automatic failover, and a line more for the volume.
fn with(volume: &'static str, limits: &'static str) -> impl FnOnce(&[PathBuf]) {
    move |configs| {
        for config in configs {
            let text = fs::read_to_string(config).unwrap();
            let text =
                text.replace("failover = \"manual\"\n", &format!("failover = \"automatic\"\n{volume}"));
            fs::write(config, text.replace("[limits]\n", &format!("[limits]\n{limits}"))).unwrap();
        }
    }
}

fn connect(cluster: &Cluster, node: usize) -> Stream {
    nbd::connect(&cluster.uri(node).parse().unwrap(), Duration::from_secs(60)).unwrap().0
}

fn ask_to_write(stream: &mut Stream) {
    nbd::send(stream, Command::Write, 0, 1, 0, 4096, &[7; 4096]).unwrap();
}

fn write(stream: &mut Stream) -> u32 {
    ask_to_write(stream);
    nbd::receive(stream).unwrap().error
}

fn json(cluster: &Cluster, node: usize, arguments: &[&str]) -> Value {
    let output = cluster.run(node, &[arguments, &["--json"]].concat());
    assert!(output.status.success(), "{}", text(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn whatif(cluster: &Cluster, node: usize, deed: &str, replica: &str) -> Value {
    json(cluster, node, &["whatif", deed, replica])
}

/// The rule by which a replica answers a question about one.
fn rule(cluster: &Cluster, node: usize, question: &str, about: &str) -> String {
    let answers = json(cluster, node, &["explain"]);
    let answers = answers.as_array().unwrap();
    let answer = answers.iter().find(|answer| answer["question"] == question && answer["replica"] == about);
    answer.unwrap_or_else(|| panic!("{question} of {about}: {answers:?}"))["rule"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
fn what_a_failure_would_do_is_said_before_and_why_it_did_afterwards() {
    let mut cluster = Cluster::start_with(SHAPE, with("", "quorum_patience = \"2s\"\n"));
    let mut client = connect(&cluster, A);
    assert_eq!(write(&mut client), 0);
    let healthy = whatif(&cluster, A, "kill", "a");
    assert_eq!((&healthy["writable"], &healthy["rule"]), (&true.into(), &"fails-over".into()), "{healthy}");
    assert_eq!(healthy["primary_candidates"], serde_json::json!(["b", "c"]));
    assert_eq!(whatif(&cluster, A, "drain", "a")["rule"], "handed-over");
    let elsewhere = cluster.run(B, &["whatif", "kill", "a"]);
    assert!(!elsewhere.status.success() && text(&elsewhere).contains("ask a"), "{}", text(&elsewhere));
    let shown = text(&cluster.run(A, &["status"]));
    assert!(shown.contains("if a fails: b or c takes over by itself"), "{shown}");
    assert_eq!(rule(&cluster, A, "healthy", "a"), "all-copies");
    assert_eq!(rule(&cluster, C, "writable", "c"), "hands-on");
    assert_eq!(rule(&cluster, C, "promotable", "c"), "by-handover");

    cluster.kill(C);
    cluster.wait(A, "c is missed", |report| report.quorum.missing == ["c"]);
    let next = whatif(&cluster, A, "kill", "b");
    assert_eq!((&next["writable"], &next["effect"]), (&false.into(), &"stops".into()), "{next}");
    let shown = text(&cluster.run(A, &["status"]));
    assert!(shown.contains("if b fails: writes stop"), "{shown}");
    assert!(shown.contains("if a fails: writes stop"), "{shown}");
    assert_eq!(rule(&cluster, A, "healthy", "a"), "copies-missing");
    assert_eq!(write(&mut client), 0);

    cluster.kill(B);
    assert_eq!(write(&mut client), EIO);
    cluster.await_said(A, "not in sync: r-000000000000000b, r-000000000000000c");
    let report = cluster.wait(A, "no quorum", |report| !report.quorum.has);
    assert!(report.quorum.missing_seconds.is_some() && report.quorum.missing == ["b", "c"], "{report:?}");
    assert_eq!(rule(&cluster, A, "writable", "a"), "too-few-copies");
    assert!(["unreachable", "waiting"].contains(&rule(&cluster, A, "in-sync", "b").as_str()));
    let shown = text(&cluster.run(A, &["status"]));
    assert!(shown.contains("NO QUORUM for ") && shown.contains("not in sync: b, c"), "{shown}");
    println!("{shown}{}", text(&cluster.run(A, &["explain"])));

    cluster.kill(A);
    cluster.begin(B);
    cluster.wait(B, "b says that it has no primary", |report| !report.quorum.has);
    println!("{}", text(&cluster.run(B, &["explain"])));
    cluster.begin(C);
    let led = |report: &seawall_ops::report::Report| report.primary.is_some() && report.quorum.has;
    cluster.wait(B, "b and c have a primary", led);
    // A client whose connection is closed comes anew.
    let deadline = Instant::now() + cluster::PATIENCE;
    let done = |mut stream: Stream| {
        ask_to_write(&mut stream);
        nbd::receive(&mut stream).is_ok_and(|reply| reply.error == 0)
    };
    while !done(connect(&cluster, B)) {
        assert!(Instant::now() < deadline, "b and c take writes again");
    }
}

#[test]
fn where_requests_wait_for_ever_they_are_done_when_there_is_a_quorum_again() {
    let mut cluster = Cluster::start_with(SHAPE, with("no_quorum = \"wait\"\n", ""));
    let mut client = connect(&cluster, A);
    assert_eq!(write(&mut client), 0);
    cluster.kill(B);
    cluster.kill(C);
    cluster.wait(A, "no quorum", |report| !report.quorum.has && report.quorum.missing == ["b", "c"]);
    assert_eq!(cluster.report(A).unwrap().volume.quorum_patience_seconds, None);
    ask_to_write(&mut client);
    client.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
    let early = nbd::receive(&mut client).map(|reply| reply.error);
    assert!(early.is_err(), "answered without a quorum: {early:?}");
    client.set_read_timeout(None).unwrap();
    cluster.begin(B);
    assert_eq!(nbd::receive(&mut client).unwrap().error, 0);
}
