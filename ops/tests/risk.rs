//! Data at risk, measured: under commit rule `one` the primary is killed at any moment, another one is promoted, and
//! what is missing then is no more than the primary's last report said.
//!
//! `SEAWALL_LOSSES` says how many rounds; 4 unless told. A write that completes after a report was asked for is not in
//! it: the loss that counts is of writes that had completed before.

#[allow(dead_code, reason = "other drills use the rest")]
mod cluster;
#[allow(dead_code, reason = "other drills use the rest")]
mod site;

use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use cluster::Cluster;
use nix::sys::signal::Signal;
use seawall_ops::nbd::{self, Command, Stream};
use seawall_ops::report::Report;
use site::{NAMES, Shape, text};

const WRITE_BYTES: u32 = 64 << 10;
const SHAPE: Shape = Shape { volume_mib: 256, log_mib: 64 };
const WRITES: u64 = 4096;

fn one(configs: &[PathBuf]) {
    for config in configs {
        let text = fs::read_to_string(config).unwrap();
        let manual = "failover = \"manual\"\n";
        assert!(text.contains(manual));
        let text = text.replace(manual, "failover = \"manual\"\ncommit = \"one\"\n");
        // Little is on its way to a copy that stands still.
        fs::write(config, text.replace("[limits]\n", "[limits]\nwindow = \"1MiB\"\n")).unwrap();
    }
}

fn connect(cluster: &Cluster, node: usize) -> Stream {
    nbd::connect(&cluster.uri(node).parse().unwrap(), Duration::from_secs(20)).unwrap().0
}

/// One write after the other, each to a place of its own, until the connection breaks. `done` counts those that
/// completed.
fn write_on(mut stream: Stream, stamp: u64, done: &AtomicU64) {
    let mut payload = vec![0; WRITE_BYTES as usize];
    for number in 0..WRITES {
        payload[..8].copy_from_slice(&(stamp + number).to_le_bytes());
        let offset = number * u64::from(WRITE_BYTES);
        let sent = nbd::send(&mut stream, Command::Write, 0, number, offset, WRITE_BYTES, &payload);
        if sent.is_err() || !nbd::receive(&mut stream).is_ok_and(|reply| reply.error == 0) {
            return;
        }
        done.store(number + 1, Ordering::SeqCst);
    }
}

/// How many of the first `count` writes are not there.
fn missing(mut stream: Stream, stamp: u64, count: u64) -> u64 {
    let mut missing = 0;
    for number in 0..count {
        let offset = number * u64::from(WRITE_BYTES);
        nbd::send(&mut stream, Command::Read, 0, number, offset, 4096, &[]).unwrap();
        assert_eq!(nbd::receive(&mut stream).unwrap().error, 0);
        let mut block = [0; 4096];
        stream.read_exact(&mut block).unwrap();
        let found = u64::from_le_bytes(block[..8].try_into().unwrap());
        missing += u64::from(found != stamp + number);
        assert!(
            missing == 0 || found != stamp + number,
            "what is lost is a suffix, and write {number} is there"
        );
    }
    missing
}

/// The newest report of a replica, and how many writes had completed before it was asked for.
fn last_report(cluster: &Cluster, node: usize, done: &AtomicU64, until: Instant) -> (Report, u64) {
    let mut last = None;
    while Instant::now() < until || last.is_none() {
        let before = done.load(Ordering::SeqCst);
        last = cluster.report(node).map(|report| (report, before)).or(last);
    }
    last.expect("it answers")
}

fn promote(cluster: &Cluster, node: usize) {
    let deadline = Instant::now() + cluster::PATIENCE;
    loop {
        let output = cluster.run(node, &["promote"]);
        if output.status.success() {
            return;
        }
        assert!(Instant::now() < deadline, "{}", text(&output));
    }
}

#[test]
fn what_a_killed_primary_takes_with_it_is_no_more_than_it_said() {
    let rounds: u64 =
        std::env::var("SEAWALL_LOSSES").map_or(4, |rounds| rounds.parse().expect("a number of rounds"));
    let mut cluster = Cluster::start_with(SHAPE, one);
    let (mut primary, mut lost_ever) = (0, 0);
    for round in 0..rounds {
        let others = [(primary + 1) % NAMES.len(), (primary + 2) % NAMES.len()];
        // Every other time the others stand still first, so that much is at risk.
        let still = round % 2 == 0;
        let stamp = (round + 1) << 32;
        let done = Arc::new(AtomicU64::new(0));
        let (stream, shared) = (connect(&cluster, primary), Arc::clone(&done));
        let writer = thread::spawn(move || write_on(stream, stamp, &shared));
        while done.load(Ordering::SeqCst) < 20 {
            thread::yield_now();
        }
        if still {
            others.iter().for_each(|other| cluster.signal(*other, Signal::SIGSTOP));
        }
        let until = Instant::now() + Duration::from_millis(150 + 131 * (round % 7));
        let (report, before) = last_report(&cluster, primary, &done, until);
        cluster.kill(primary);
        writer.join().unwrap();
        others.iter().for_each(|other| cluster.signal(*other, Signal::SIGCONT));
        promote(&cluster, others[0]);
        let lost = missing(connect(&cluster, others[0]), stamp, before);
        let risk = report.risk.expect("it reigned").alone;
        let bytes = lost * u64::from(WRITE_BYTES);
        println!(
            "round {round}: {before} writes before the last report, which said {} records, {} bytes, {:.3} s at risk; \
             {lost} writes, {bytes} bytes were lost",
            risk.records, risk.bytes, risk.seconds
        );
        assert!(bytes <= risk.bytes && lost <= risk.records, "more was lost than was said");
        lost_ever += lost;
        cluster.begin(primary);
        cluster.await_in_sync(others[0]);
        primary = others[0];
    }
    assert!(lost_ever > 0, "nothing was ever lost: these rounds show nothing");
    let metrics = cluster.metrics(primary);
    for gauge in
        ["seawall_at_risk_alone_bytes ", "seawall_at_risk_volatile_seconds ", "seawall_peer_at_risk_bytes{"]
    {
        assert!(metrics.contains(gauge), "{gauge} is not in {metrics}");
    }
}
