//! Real block devices that fail under load, below real replicas: who stops, what is said, and that nothing is lost.

#[allow(dead_code, reason = "the drills use the rest of it")]
mod cluster;
mod failing;
#[allow(dead_code, reason = "the refusals use the rest of it")]
mod site;

use std::fs;

use cluster::{Cluster, Load};
use failing::FailingDevice;
use seawall_ops::load::Plan;
use site::{NAMES, Shape, text};

const A: usize = 0;
const B: usize = 1;
const C: usize = 2;

const SHAPE: Shape = Shape { volume_mib: 64, log_mib: 16 };
/// Room for a log, or for a home and its table.
const DEVICE_MIB: u64 = 80;

/// A part of a replica that is on a failing device.
#[derive(Clone, Copy, Debug)]
enum Part {
    Log,
    Home,
}

/// Three replicas, of which one has its log or its home on this device, and the other of the two in a file.
fn cluster_on(device: &FailingDevice, index: usize, part: Part) -> Cluster {
    Cluster::start_with(SHAPE, |configs| {
        let text = fs::read_to_string(&configs[index]).unwrap();
        let name = NAMES[index];
        let path = device.path().display();
        let line = format!("home = \"{name}.img\"");
        let lines = match part {
            Part::Log => format!("{line}\nlog = \"{path}\""),
            Part::Home => format!("home = \"{path}\"\nlog = \"{name}.log.img\""),
        };
        assert!(text.contains(&line));
        fs::write(&configs[index], text.replace(&line, &lines)).unwrap();
    })
}

/// What a replica says when the device under this part failed: in its status and in its log.
fn assert_said(cluster: &Cluster, index: usize, part: Part) {
    let areas: &[&str] = match part {
        Part::Log => &["log"],
        Part::Home => &["home", "table", "superblock"],
    };
    let messages: Vec<String> = areas
        .iter()
        .map(|area| {
            format!(
                "the {area} area failed with error 5: this replica stops, nothing acknowledged is lost; replace or \
                 repair the device and restart it"
            )
        })
        .collect();
    let report = cluster.wait(index, "a failed device", |report| report.role == "faulted");
    let fault = report.fault.expect("a faulted replica says why");
    println!("{}: {fault}", NAMES[index]);
    assert!(messages.contains(&fault), "{fault}");
    let log = fs::read_to_string(cluster.dir().join(format!("{}.log", NAMES[index]))).unwrap();
    assert_eq!(log.matches(&fault).count(), 1, "said once: {log}");
    let status = text(&cluster.run(index, &["status"]));
    assert!(status.contains("failed with error 5"), "{status}");
}

/// A load that leaves the log some room.
fn gently(plan: &mut Plan) {
    plan.connections = 2;
    plan.depth = 8;
}

fn a_follower_fails(part: Part) {
    let Some(device) = FailingDevice::new(DEVICE_MIB) else { return };
    let mut cluster = cluster_on(&device, B, part);
    let load = Load::begin(cluster.targets(&[A]), gently);
    load.await_done(500);
    device.fail_writes();
    assert_said(&cluster, B, part);
    load.await_done(500);
    let report = cluster
        .wait(A, "a quorum of two", |report| report.peers.iter().filter(|peer| peer.counts).count() == 1);
    assert_eq!(report.role, "primary");
    assert!(cluster.terminate(B).code().is_some(), "a faulted replica ends when it is told to");
    device.heal();
    cluster.begin(B);
    cluster.await_in_sync(A);
    println!("it came back by rule {}", cluster.rule(A, B));
    load.await_done(200);
    let tally = load.end();
    assert_eq!((tally.errors(), tally.disconnects), (0, 0), "a client noticed: {tally:?}");
    cluster.assert_equal(A);
}

fn the_primary_fails(part: Part) {
    let Some(device) = FailingDevice::new(DEVICE_MIB) else { return };
    let mut cluster = cluster_on(&device, A, part);
    let load = Load::begin(cluster.targets(&[A, B, C]), gently);
    load.await_done(500);
    device.fail_writes();
    assert_said(&cluster, A, part);
    let output = cluster.run(B, &["promote"]);
    assert!(output.status.success(), "{}", text(&output));
    load.await_done(500);
    assert!(cluster.terminate(A).code().is_some(), "a faulted replica ends when it is told to");
    device.heal();
    cluster.begin(A);
    cluster.await_in_sync(B);
    println!("it came back by rule {}", cluster.rule(B, A));
    load.await_done(200);
    let tally = load.end();
    assert!(tally.errors() + tally.disconnects > 0, "clients were told: {tally:?}");
    cluster.assert_equal(B);
}

#[test]
fn a_follower_whose_log_device_fails_stops_alone_and_no_client_sees_it() {
    a_follower_fails(Part::Log);
}

#[test]
fn a_follower_whose_home_device_fails_stops_alone_and_no_client_sees_it() {
    a_follower_fails(Part::Home);
}

#[test]
fn a_primary_whose_log_device_fails_is_relieved_with_nothing_lost() {
    the_primary_fails(Part::Log);
}

#[test]
fn a_primary_whose_home_device_fails_is_relieved_with_nothing_lost() {
    the_primary_fails(Part::Home);
}
