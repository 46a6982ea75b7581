//! A promotion without a majority, by an operator's word, over real processes: what the preview says, what is refused,
//! what is there afterwards, and how one that was declared dead comes back.

#[allow(dead_code, reason = "each test uses a part of it")]
mod cluster;
mod site;

use std::io::Read;
use std::process::Output;
use std::thread;
use std::time::{Duration, Instant};

use cluster::{Cluster, Load, PATIENCE};
use seawall_ops::force::Preview;
use seawall_ops::nbd::{self, Command};
use site::{Shape, text};

const SHAPE: Shape = Shape { volume_mib: 64, log_mib: 16 };
const BLOCK: usize = 4096;
const A: usize = 0;
const B: usize = 1;
const C: usize = 2;

fn connect(cluster: &Cluster, index: usize) -> nbd::Stream {
    nbd::connect(&cluster.uri(index).parse().unwrap(), Duration::from_secs(30)).unwrap().0
}

/// Ask for a write, and do not wait for its answer.
fn write(stream: &mut nbd::Stream, block: u64, byte: u8) {
    nbd::send(stream, Command::Write, 0, 1, block * BLOCK as u64, 4096, &[byte; BLOCK]).unwrap();
}

fn force(cluster: &Cluster, arguments: &[&str]) -> Output {
    cluster.run(B, &[&["promote", "--force"], arguments].concat())
}

/// A restart is not over when it has a role: until its replica takes part, nothing can be forced there.
fn await_preview(cluster: &Cluster) -> Preview {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let output = force(cluster, &["--json"]);
        let preview: Preview = serde_json::from_slice(&output.stdout).unwrap();
        if preview.command.is_some() {
            return preview;
        }
        assert!(Instant::now() < deadline, "{}", text(&output));
        thread::sleep(Duration::from_millis(20));
    }
}

fn check_refused(cluster: &Cluster, arguments: &[&str], says: &str) {
    let output = force(cluster, arguments);
    assert_eq!(output.status.code(), Some(13), "{}", text(&output));
    assert!(text(&output).contains(says), "{}", text(&output));
}

#[test]
fn the_last_copy_is_forced_and_the_others_come_back_as_learners() {
    let mut cluster = Cluster::start(SHAPE);
    let mut stream = connect(&cluster, A);
    write(&mut stream, 0, 0x11);
    assert_eq!(nbd::receive(&mut stream).unwrap().error, 0, "it completed");
    check_refused(&cluster, &["--accept-loss", "1@r-1:1"], "is primary and lives");

    // What the first wrote alone was never done: it is what is lost, and kept.
    cluster.kill(B);
    cluster.kill(C);
    let before = cluster.report(A).expect("it runs").frontiers.end;
    write(&mut stream, 7, 0xee);
    cluster.wait(A, "the lonely write on its disk", |report| report.frontiers.durable > before);
    cluster.kill(A);
    cluster.begin(B);
    cluster.wait(B, "an answer", |report| report.role == "follower" || report.role == "candidate");

    let preview = await_preview(&cluster);
    let command = preview.command.clone().unwrap();
    assert!(command.contains("--dead a --dead c"), "{command}");
    let shown = text(&force(&cluster, &[]));
    assert!(shown.contains(&preview.token) && shown.contains("does not answer"), "{shown}");
    check_refused(&cluster, &["--accept-loss", &preview.token], "does not answer");
    let (epoch, _) = preview.token.rsplit_once(':').unwrap();
    let wrong = format!("{epoch}:{}", preview.end + 1);
    check_refused(
        &cluster,
        &["--accept-loss", &wrong, "--dead", "a", "--dead", "c"],
        "the history has moved",
    );

    let words: Vec<&str> = command.split(' ').skip(3).collect();
    let forced = force(&cluster, &words);
    assert!(forced.status.success(), "{}", text(&forced));
    let mut stream = connect(&cluster, B);
    nbd::send(&mut stream, Command::Read, 0, 1, 0, 4096, &[]).unwrap();
    assert_eq!(nbd::receive(&mut stream).unwrap().error, 0);
    let mut block = [0; BLOCK];
    stream.read_exact(&mut block).unwrap();
    assert_eq!(block, [0x11; BLOCK], "what completed is there");
    let load = Load::begin(cluster.targets(&[B]), |plan| plan.connections = 1);
    load.await_writes(100);

    cluster.begin(A);
    let votes = |name: &str, report: &seawall_ops::report::Report| {
        report.members.members.iter().any(|member| member.replica == name && member.suffrage == "voter")
    };
    cluster.wait(B, "the first to vote again", |report| votes("a", report) && !report.members.pending);
    load.end();
    let kept = cluster.run(A, &["branch", "list", "--json"]);
    let kept: serde_json::Value = serde_json::from_slice(&kept.stdout).unwrap();
    assert_eq!(kept["branches"].as_array().unwrap().len(), 1, "{kept}");
    cluster.begin(C);
    cluster.wait(B, "the last to vote again", |report| votes("c", report) && !report.members.pending);
    cluster.assert_equal(B);
}
