//! What a cut took out of a log can be read back: a real primary that was left alone with a write, and came back.

#[allow(dead_code, reason = "each test uses a part of it")]
mod cluster;
mod site;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::process::Output;
use std::time::Duration;

use cluster::Cluster;
use seawall_ops::nbd::{self, Command};
use site::{Shape, text};

const SHAPE: Shape = Shape { volume_mib: 64, log_mib: 16 };
const BLOCK: usize = 4096;

/// Ask for a write, and do not wait for its answer.
fn write(stream: &mut nbd::Stream, block: u64, byte: u8) {
    let offset = block * BLOCK as u64;
    nbd::send(stream, Command::Write, 0, 1, offset, 4096, &[byte; BLOCK]).unwrap();
}

fn branch(cluster: &Cluster, arguments: &[&str]) -> Output {
    cluster.run(0, &[&["branch"], arguments].concat())
}

fn listed(cluster: &Cluster) -> Vec<serde_json::Value> {
    let output = branch(cluster, &["list", "--json"]);
    assert!(output.status.success(), "{}", text(&output));
    let all: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    all["branches"].as_array().unwrap().clone()
}

#[test]
fn what_a_lost_primary_wrote_alone_is_kept_when_it_comes_back() {
    let mut cluster = Cluster::start(SHAPE);
    let (mut stream, _) = nbd::connect(&cluster.uri(0).parse().unwrap(), Duration::from_secs(30)).unwrap();
    write(&mut stream, 0, 0x11);
    assert_eq!(nbd::receive(&mut stream).unwrap().error, 0, "it completed");
    assert!(listed(&cluster).is_empty(), "nothing was cut");

    cluster.kill(1);
    cluster.kill(2);
    let before = cluster.report(0).expect("it runs").frontiers.end;
    write(&mut stream, 7, 0xee);
    cluster.wait(0, "the lonely write on its disk", |report| report.frontiers.durable > before);
    cluster.kill(0);
    cluster.begin(1);
    cluster.begin(2);
    cluster.wait(1, "an answer", |report| report.role == "follower");
    cluster.wait(2, "an answer", |report| report.role == "follower");
    let promoted = cluster.run(1, &["promote"]);
    assert!(promoted.status.success(), "{}", text(&promoted));
    cluster.begin(0);
    cluster.assert_equal(1);

    let all = listed(&cluster);
    assert_eq!(all.len(), 1, "{all:?}");
    assert_eq!(all[0]["may_have_completed"], false);
    let name = all[0]["name"].as_str().unwrap();
    let token = all[0]["token"].as_str().unwrap();
    let shown = branch(&cluster, &["show", name]);
    assert!(text(&shown).contains("Write"), "{}", text(&shown));
    let uri = cluster.uri(1);
    let diff = branch(&cluster, &["diff", name, "--uri", &uri]);
    assert!(text(&diff).contains("blocks [7, 8) differ"), "{}", text(&diff));
    let image = cluster.dir().join("tail.img");
    let exported = branch(&cluster, &["export", name, image.to_str().unwrap()]);
    assert!(exported.status.success(), "{}", text(&exported));
    let mut block = [0; BLOCK];
    File::open(&image).unwrap().read_exact_at(&mut block, 7 * BLOCK as u64).unwrap();
    assert_eq!(block, [0xee; BLOCK]);

    let refused = branch(&cluster, &["discard", name]);
    assert_eq!(refused.status.code(), Some(13), "{}", text(&refused));
    assert_eq!(listed(&cluster).len(), 1);
    let discarded = branch(&cluster, &["discard", name, "--token", token]);
    assert!(discarded.status.success(), "{}", text(&discarded));
    assert!(listed(&cluster).is_empty());
    assert_eq!(fs::read_dir(cluster.dir().join("a.img.branches")).unwrap().count(), 0);
}
