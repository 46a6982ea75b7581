//! Drills with real processes: replicas are killed, wiped, stopped and promoted under a load whose ledger knows what
//! was promised.

#[expect(dead_code, reason = "other drills use the rest")]
mod cluster;
mod room;
mod site;

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use cluster::{Cluster, Load, tool};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use room::Room;
use seawall_ops::load::Plan;
use site::{Scratch, Shape, seawall, text};

const A: usize = 0;
const B: usize = 1;
const C: usize = 2;

/// A load that leaves the log some room.
fn gently(plan: &mut Plan) {
    plan.connections = 1;
    plan.depth = 4;
    plan.sectors_max = 16;
}

/// The load of the default plan.
fn fully(_: &mut Plan) {}

#[test]
fn three_replicas_serve_one_volume_and_hold_the_same_bytes() {
    let cluster = Cluster::start(Shape::default());
    let load = Load::begin(cluster.targets(&[A]), fully);
    load.await_done(20_000);
    let tally = load.end();
    assert_eq!((tally.errors(), tally.disconnects), (0, 0), "{tally:?}");
    cluster.assert_equal(A);
    for index in [A, B, C] {
        let mib = cluster.resident_bytes(index) >> 20;
        println!("replica {index}: at most {mib} MiB resident");
        assert!(mib <= 128, "replica {index} took {mib} MiB");
    }
}

#[test]
fn other_peoples_tools_copy_an_image_in_and_out() {
    let cluster = Cluster::start(Shape::default());
    let uri = cluster.uri(A);
    let path = |name: &str| cluster.dir().join(name).display().to_string();
    let (source, copy) = (path("source.img"), path("copy.img"));
    let mut bytes = vec![0_u8; 64 << 20];
    // Every third 64 KiB is data, the rest are holes.
    for (chunk, bytes) in bytes.chunks_mut(64 << 10).enumerate().step_by(3) {
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = (at.wrapping_mul(chunk + 7) >> 3).to_le_bytes()[0];
        }
    }
    bytes.resize(256 << 20, 0);
    fs::write(&source, &bytes).unwrap();
    if tool("nbdcopy", &["--flush", "--connections=4", &source, &uri]).is_some() {
        tool("nbdcopy", &["--connections=4", &uri, &copy]);
        assert!(fs::read(&copy).unwrap() == bytes, "what nbdcopy brought in is what it brings out");
    }
    if tool("qemu-img", &["convert", "-n", "-f", "raw", "-O", "raw", &source, &uri]).is_some() {
        tool("qemu-img", &["compare", "-f", "raw", "-F", "raw", &source, &uri]);
    }
    tool(
        "qemu-io",
        &[
            "-f",
            "raw",
            "-c",
            "write -P 0x66 0 64k",
            "-c",
            "write -P 0x77 513 1021",
            "-c",
            "read -P 0x66 0 512",
            "-c",
            "read -P 0x77 513 1021",
            "-c",
            "read -P 0x66 1536 4k",
            "-c",
            "write -z 4k 8k",
            "-c",
            "read -P 0 4k 8k",
            "-c",
            "flush",
            &uri,
        ],
    )
    .inspect(|said| assert!(!said.contains("failed"), "{said}"));
    let job = [
        "--name=verify",
        "--ioengine=nbd",
        &format!("--uri={uri}"),
        "--rw=randrw",
        "--bsrange=512-1m",
        "--size=64m",
        "--io_size=128m",
        "--iodepth=16",
        "--verify=crc32c",
        "--verify_fatal=1",
        "--verify_state_save=0",
        "--do_verify=1",
        "--minimal",
    ];
    tool("fio", &job);
    cluster.assert_equal(A);
}

#[test]
fn a_replica_killed_under_load_catches_up_and_no_client_sees_it() {
    let mut cluster = Cluster::start(Shape { log_mib: 256, ..Shape::default() });
    let load = Load::begin(cluster.targets(&[A]), gently);
    load.await_done(500);
    cluster.kill(B);
    load.await_done(500);
    cluster.begin(B);
    cluster.await_in_sync(A);
    assert_eq!(cluster.rule(A, B), "end-on-our-log", "it came back by the log");
    load.await_done(200);
    let tally = load.end();
    assert_eq!((tally.errors(), tally.disconnects), (0, 0), "a client noticed: {tally:?}");
    println!("longest request {} ms", tally.longest_request_ms);
    cluster.assert_equal(A);
}

#[test]
fn a_replica_away_until_the_log_has_passed_it_is_rebuilt_under_load() {
    let mut cluster = Cluster::start(Shape { log_mib: 16, ..Shape::default() });
    let load = Load::begin(cluster.targets(&[A]), fully);
    load.await_done(500);
    let had = cluster.report(B).expect("it answers").frontiers.end;
    cluster.kill(B);
    let behind = had + 2000;
    cluster.wait(A, "a log that has passed the absent replica", |report| report.frontiers.start > behind);
    cluster.begin(B);
    cluster.await_in_sync(A);
    assert_eq!(cluster.rule(A, B), "log-gone");
    load.await_done(200);
    let tally = load.end();
    assert_eq!((tally.errors(), tally.disconnects), (0, 0), "a client noticed: {tally:?}");
    cluster.assert_equal(A);
}

#[test]
fn a_wiped_replica_is_rebuilt_from_nothing_and_a_wipe_wants_its_name() {
    let mut cluster = Cluster::start(Shape::default());
    let load = Load::begin(cluster.targets(&[A]), gently);
    load.await_done(2000);
    assert!(cluster.terminate(C).success());
    for arguments in [&["replica", "wipe"][..], &["replica", "wipe", "--yes-wipe", "b"][..]] {
        let output = cluster.run(C, arguments);
        assert_eq!(output.status.code(), Some(13), "{}", text(&output));
        assert!(text(&output).contains("expected: --yes-wipe c"), "{}", text(&output));
    }
    let output = cluster.run(C, &["replica", "wipe", "--yes-wipe", "c"]);
    assert!(output.status.success(), "{}", text(&output));
    cluster.begin(C);
    cluster.await_in_sync(A);
    assert_eq!(cluster.rule(A, C), "blank-base");
    load.end();
    cluster.assert_equal(A);
}

#[test]
fn a_replica_whose_device_was_lost_rejoins_and_is_no_new_one() {
    let mut cluster = Cluster::start(Shape::default());
    let load = Load::begin(cluster.targets(&[A]), gently);
    load.await_done(1000);
    assert!(cluster.terminate(C).success());
    let output = cluster.run(C, &["format", "--force"]);
    assert_eq!(output.status.code(), Some(9), "{}", text(&output));
    assert!(text(&output).contains("--rejoin"), "{}", text(&output));
    fs::remove_file(cluster.config(C).with_extension("img")).unwrap();
    let output = cluster.run(C, &["format", "--rejoin"]);
    assert!(output.status.success(), "{}", text(&output));
    cluster.begin(C);
    cluster.await_in_sync(A);
    assert_eq!(cluster.rule(A, C), "blank-base");
    load.await_done(1000);
    load.end();
    cluster.assert_equal(A);
}

#[test]
fn a_wipe_of_a_running_replica_is_refused() {
    let cluster = Cluster::start(Shape { volume_mib: 16, log_mib: 4 });
    let output = cluster.run(C, &["replica", "wipe", "--yes-wipe", "c"]);
    assert_eq!(output.status.code(), Some(10), "{}", text(&output));
    cluster.assert_equal(A);
}

#[test]
fn what_completed_before_all_replicas_were_killed_is_there_afterwards() {
    let rounds = std::env::var("SEAWALL_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(3_u32);
    let mut cluster = Cluster::start(Shape::default());
    let load = Load::begin(cluster.targets(&[A]), fully);
    let mut moment = u64::from(std::process::id());
    for round in 0..rounds {
        // A moment that differs from round to round and from run to run.
        moment = moment.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        load.await_done(200 + (moment >> 33) % 4000);
        for index in [A, B, C] {
            cluster.kill(index);
        }
        for index in [C, A, B] {
            cluster.begin(index);
        }
        cluster.await_in_sync(A);
        println!("round {round}: all came back");
    }
    load.await_done(200);
    let tally = load.end();
    assert!(tally.disconnects >= u64::from(rounds), "the kills were felt: {tally:?}");
    assert_eq!(tally.errors(), 0, "{tally:?}");
    cluster.assert_equal(A);
}

#[test]
fn a_promoted_replica_takes_over_with_everything_that_completed() {
    let cluster = Cluster::start(Shape::default());
    let load = Load::begin(cluster.targets(&[A, B, C]), fully);
    load.await_done(1000);
    for (to, name) in [(B, "b"), (C, "c"), (A, "a")] {
        let begin = Instant::now();
        let output = cluster.run(to, &["promote"]);
        assert!(output.status.success(), "{}", text(&output));
        load.await_done(200);
        println!("{name} took over; the load went on after {} ms", begin.elapsed().as_millis());
        cluster.await_in_sync(to);
    }
    let tally = load.end();
    assert_eq!((tally.errors(), tally.disconnects), (0, 0), "a client noticed: {tally:?}");
    cluster.assert_equal(A);
}

#[test]
fn a_client_of_a_node_that_stays_sees_a_pause_when_the_primary_is_killed() {
    let mut cluster = Cluster::start(Shape::default());
    let load = Load::begin(cluster.targets(&[B]), fully);
    load.await_done(1000);
    cluster.kill(A);
    let killed = Instant::now();
    let output = cluster.run(C, &["promote"]);
    assert!(output.status.success(), "{}", text(&output));
    load.await_done(1000);
    println!("the load went on after {} ms", killed.elapsed().as_millis());
    cluster.begin(A);
    cluster.await_in_sync(C);
    load.await_done(200);
    let tally = load.end();
    assert_eq!((tally.errors(), tally.disconnects), (0, 0), "a client noticed: {tally:?}");
    println!("longest request {} ms", tally.longest_request_ms);
    cluster.assert_equal(C);
}

#[test]
fn a_primary_that_died_follows_the_one_that_was_promoted() {
    let mut cluster = Cluster::start(Shape::default());
    let load = Load::begin(cluster.targets(&[A, B, C]), fully);
    load.await_done(1000);
    cluster.kill(A);
    let output = cluster.run(B, &["promote"]);
    assert!(output.status.success(), "{}", text(&output));
    load.await_done(500);
    cluster.begin(A);
    cluster.await_in_sync(B);
    load.await_done(200);
    load.end();
    cluster.assert_equal(B);
}

#[test]
fn sigterm_drains_and_the_next_start_is_clean() {
    let mut cluster = Cluster::start(Shape::default());
    let load = Load::begin(cluster.targets(&[A]), gently);
    load.await_done(1000);
    load.end();
    for index in [A, B, C] {
        assert!(cluster.terminate(index).success(), "SIGTERM ends with exit code 0");
        let image = cluster.dir().join(["a.img", "b.img", "c.img"][index]);
        let output = seawall().args(["inspect", "log"]).arg(&image).output().unwrap();
        assert!(text(&output).contains("clean-shutdown"), "{}", text(&output));
    }
    for index in [A, B, C] {
        cluster.begin(index);
    }
    let report = cluster.await_in_sync(A);
    assert_eq!(report.restart_rule, "clean-shutdown");
    cluster.assert_equal(A);
}

#[test]
fn what_a_client_gave_up_never_lands_on_what_it_wrote_anew() {
    let cluster = Cluster::start(Shape::default());
    // More than the primary takes in at a time: while nothing completes, some of it waits in the connections.
    let load = Load::begin(cluster.targets(&[A]), |plan| {
        (plan.connections, plan.depth) = (4, 256);
        plan.answer_patience = Duration::from_millis(500);
    });
    load.await_done(500);
    for _ in 0..3 {
        for index in [B, C] {
            cluster.signal(index, Signal::SIGSTOP);
        }
        // All hang up, and try to come in anew, again and again: they are let in when what they gave up has its place.
        load.await_tally("connections that were given up", |tally| tally.disconnects == tally.connects);
        for index in [B, C] {
            cluster.signal(index, Signal::SIGCONT);
        }
        cluster.await_in_sync(A);
        load.await_done(500);
    }
    let tally = load.end();
    assert!(tally.in_doubt > 1000, "much was given up: {tally:?}");
    cluster.assert_equal(A);
}

#[test]
fn stop_says_how_it_ended_and_the_admin_socket_is_for_its_owner() {
    let mut cluster = Cluster::start(Shape { volume_mib: 64, log_mib: 16 });
    let mode = fs::metadata(cluster.admin(C)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let output = cluster.run(C, &["stop"]);
    assert!(output.status.success() && text(&output).contains("with its clean mark"), "{}", text(&output));
    assert_eq!(cluster.await_end(C).code(), Some(0));
    let output = cluster.run(C, &["stop"]);
    assert_eq!(output.status.code(), Some(12), "there is none: {}", text(&output));
    // Without a quorum what was admitted can't be finished, so it is not drained; a second signal ends it at once.
    let load = Load::begin(cluster.targets(&[A]), gently);
    load.await_done(100);
    cluster.kill(B);
    cluster.wait(A, "requests that wait for a quorum", |report| {
        report.requests > 0 && !report.peers.iter().any(|peer| peer.counts)
    });
    cluster.signal(A, Signal::SIGTERM);
    cluster.await_said(A, " draining");
    cluster.signal(A, Signal::SIGTERM);
    assert_eq!(cluster.await_end(A).code(), Some(16));
    cluster.await_said(A, "error[unclean]: the shutdown was not clean; nothing completed is lost");
    for index in [A, B, C] {
        cluster.begin(index);
    }
    cluster.await_in_sync(A);
    load.end();
    cluster.assert_equal(A);
}

#[test]
fn sigterm_under_load_ends_in_time_and_loses_nothing() {
    let mut cluster = Cluster::start(Shape::default());
    let load = Load::begin(cluster.targets(&[A]), fully);
    load.await_done(2000);
    let begin = Instant::now();
    assert!(cluster.terminate(A).success());
    println!("drained in {} ms", begin.elapsed().as_millis());
    cluster.begin(A);
    let report = cluster.await_in_sync(A);
    assert_eq!(report.restart_rule, "clean-shutdown");
    load.await_done(200);
    load.end();
    cluster.assert_equal(A);
}

#[test]
fn a_replica_whose_disk_is_full_stops_alone_and_comes_back_when_there_is_room() {
    let Some(room) = Room::mount(64) else { return };
    let mut cluster = Cluster::start_with(Shape { volume_mib: 64, log_mib: 16 }, |configs| {
        let text = fs::read_to_string(&configs[B]).unwrap();
        let home = room.path().join("b.img");
        fs::write(&configs[B], text.replace("b.img", &home.display().to_string())).unwrap();
    });
    let load = Load::begin(cluster.targets(&[A]), fully);
    load.await_done(100);
    room.fill();
    let report = cluster.wait(B, "a full disk", |report| report.role == "faulted");
    println!("{:?}", report.fault);
    load.await_done(500);
    assert!(cluster.terminate(B).code().is_some(), "a faulted replica ends when it is told to");
    room.clear();
    cluster.begin(B);
    cluster.await_in_sync(A);
    load.await_done(200);
    let tally = load.end();
    assert_eq!((tally.errors(), tally.disconnects), (0, 0), "a client noticed: {tally:?}");
    cluster.assert_equal(A);
}

#[test]
fn metrics_and_status_tell_the_same() {
    let cluster = Cluster::start(Shape { volume_mib: 16, log_mib: 4 });
    let page = cluster.metrics(A);
    for line in [
        "seawall_role{role=\"primary\"} 1",
        "seawall_copies 3",
        "seawall_peer_counts{peer=\"b\"} 1",
        "seawall_notices_total{kind=\"serving\"} 1",
    ] {
        assert!(page.contains(line), "{line} is not in\n{page}");
    }
    let output = cluster.run(A, &["status"]);
    assert!(text(&output).contains("3 of 3 copies hold everything promised"), "{}", text(&output));
    assert!(text(&output).lines().count() <= 25, "one screen");
    let output = cluster.run(A, &["status", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["role"], "primary");
}

#[test]
fn the_demo_serves_starts_again_what_was_killed_and_cleans_up() {
    let scratch = Scratch::new();
    let dir = scratch.path().join("demo");
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command = seawall();
    command.args([
        "demo",
        "--size",
        "64MiB",
        "--log-size",
        "16MiB",
        "--nbd-port",
        &port.to_string(),
        "--dir",
    ]);
    let mut demo = command.arg(&dir).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(demo.stdout.take().unwrap()).lines();
    let in_sync = |line: &str| line.starts_with("a primary") && line.matches("in-sync").count() == 2;
    let line =
        said.by_ref().map(Result::unwrap).find(|line| in_sync(line)).expect("three copies come in sync");
    let uri = format!("nbd://127.0.0.1:{port}/demo");
    let load = Load::begin(vec![uri.parse().unwrap()], gently);
    let pid: i32 = line.rsplit("pid ").next().unwrap().parse().unwrap();
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    let back = |line: &str| in_sync(line) && !line.ends_with(&format!("pid {pid}"));
    said.by_ref().map(Result::unwrap).find(|line| back(line)).expect("the killed one comes back");
    load.end();
    kill(Pid::from_raw(i32::try_from(demo.id()).unwrap()), Signal::SIGINT).unwrap();
    assert!(demo.wait().unwrap().success());
    assert!(!dir.exists(), "the directory is removed");
    let rest: Vec<String> = said.map(Result::unwrap).collect();
    assert!(rest.iter().any(|line| line.contains("clean mark")), "{rest:?}");
}
