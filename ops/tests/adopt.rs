//! The configuration is lost, the disks are not: what `seawall adopt` makes of them, and what it refuses.

#[allow(dead_code, reason = "each test uses a part of it")]
mod cluster;
mod site;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use cluster::{Cluster, Load};
use site::{NAMES, Scratch, Shape, VOLUME, seawall, text, write_configs};

const SHAPE: Shape = Shape { volume_mib: 64, log_mib: 16 };
const SMALL: Shape = Shape { volume_mib: 16, log_mib: 4 };

fn adopt(disks: &[PathBuf], more: &[&str]) -> Output {
    seawall().arg("adopt").args(disks).args(more).output().unwrap()
}

fn disks(dir: &Path) -> Vec<PathBuf> {
    NAMES.iter().map(|name| dir.join(format!("{name}.img"))).collect()
}

/// Formatted, never started.
fn formatted(dir: &Path, volume: &str) -> Vec<PathBuf> {
    fs::create_dir_all(dir).unwrap();
    for config in write_configs(dir, SMALL, volume) {
        let output = seawall().args(["format", "--config"]).arg(config).output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
    }
    disks(dir)
}

fn check_refused(output: &Output, code: i32, said: &[&str]) {
    assert_eq!(output.status.code(), Some(code), "{}", text(output));
    for part in said {
        assert!(text(output).contains(part), "{part:?} is not in {}", text(output));
    }
}

/// Everything of the nodes but their disks.
fn lose_all_but_disks(dir: &Path) {
    fs::remove_dir_all(dir.join("keys")).unwrap();
    for name in NAMES {
        for ending in ["toml", "admin", "nbd"] {
            let _ = fs::remove_file(dir.join(format!("{name}.{ending}")));
        }
    }
    let left: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.iter().all(|path| path.extension().is_some_and(|e| e == "img" || e == "log")), "{left:?}");
}

fn make_keys(dir: &Path) {
    let keys = dir.join("keys");
    for arguments in [vec!["init"], vec!["issue", "--config", "a.toml"]] {
        let mut command = seawall();
        command.current_dir(dir).arg("pki").arg(arguments[0]).arg(&keys).args(&arguments[1..]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
    }
}

#[test]
fn a_volume_comes_back_from_its_disks_alone() {
    let mut cluster = Cluster::start(SHAPE);
    let load = Load::begin(cluster.targets(&[0, 1, 2]), |_| {});
    load.await_done(500);
    // One of them is behind, and is killed as the others are: no clean marks.
    cluster.kill(2);
    load.await_done(500);
    let running = adopt(&disks(cluster.dir()), &[]);
    check_refused(&running, 10, &["in use"]);
    cluster.kill(1);
    cluster.kill(0);
    let dir = cluster.dir().to_owned();
    lose_all_but_disks(&dir);

    let out = dir.display().to_string();
    let adopted = adopt(&disks(&dir), &["--out", &out]);
    assert!(adopted.status.success(), "{}", text(&adopted));
    println!("{}", text(&adopted));
    make_keys(&dir);
    for index in 0..NAMES.len() {
        cluster.begin(index);
    }
    // Who reigned last begins by itself.
    cluster.assert_equal(0);
    load.end();
}

#[test]
fn what_two_of_three_disks_say_is_enough_and_what_is_missing_is_said() {
    let scratch = Scratch::new();
    let disks = formatted(scratch.path(), VOLUME);
    let output = adopt(&disks[..2], &["--json"]);
    assert!(output.status.success(), "{}", text(&output));
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["name"], "vol");
    assert_eq!((&found["whole_voters"], &found["needed_voters"]), (&2.into(), &2.into()));
    let missing: Vec<&str> = found["members"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|member| member["found"] == false)
        .map(|member| member["name"].as_str().unwrap())
        .collect();
    assert_eq!(missing, ["c"]);
    let alone = adopt(&disks[..1], &[]);
    assert!(alone.status.success(), "{}", text(&alone));
    assert!(
        text(&alone).contains("1 of the 2 voters with a whole copy that a primary needs"),
        "{}",
        text(&alone)
    );
}

#[test]
fn two_disks_of_one_replica_are_refused() {
    let scratch = Scratch::new();
    let mut disks = formatted(scratch.path(), VOLUME);
    let copy = scratch.path().join("copy.img");
    fs::copy(&disks[0], &copy).unwrap();
    disks.push(copy);
    let out = scratch.path().join("out");
    let refused = adopt(&disks, &["--out", out.to_str().unwrap()]);
    check_refused(&refused, 18, &["two disks are replica r-000000000000000a", "copy.img", "leave out"]);
    assert!(!out.exists(), "nothing was written");
}

#[test]
fn disks_of_two_volumes_and_disks_that_are_none_are_refused() {
    let scratch = Scratch::new();
    let mut disks = formatted(&scratch.path().join("v"), VOLUME);
    disks.truncate(2);
    disks.extend(formatted(&scratch.path().join("w"), "00000000-0000-4000-8000-000000000001").pop());
    check_refused(&adopt(&disks, &[]), 5, &["disks of more than one volume", "one volume at a time"]);
    let blank = scratch.path().join("blank");
    fs::File::create(&blank).unwrap().set_len(64 << 20).unwrap();
    check_refused(&adopt(&[disks[0].clone(), blank], &[]), 7, &["holds no replica"]);
    let torn = fs::OpenOptions::new().write(true).open(&disks[0]).unwrap();
    torn.set_len(8 << 20).unwrap();
    check_refused(&adopt(&disks[..1], &[]), 6, &["smaller than the replica on it"]);
}

#[test]
fn a_configuration_that_is_there_is_never_replaced() {
    let scratch = Scratch::new();
    let disks = formatted(scratch.path(), VOLUME);
    let before = fs::read(scratch.path().join("a.toml")).unwrap();
    let refused = adopt(&disks, &["--out", scratch.path().to_str().unwrap()]);
    check_refused(&refused, 9, &["a.toml is there already", "Nothing was written"]);
    assert_eq!(fs::read(scratch.path().join("a.toml")).unwrap(), before);
}
