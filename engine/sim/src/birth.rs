//! What a node is born with: its formatted disk, and what its machine is told.

use core::time::Duration;

use seawall_engine::bait::Bait;
use seawall_engine::format::{both_slots, joiner, newborn, rejoining};
use seawall_engine::setup::{Failover, Limits, Peer, Setup};
use seawall_recovery::session::Limits as RecoveryLimits;
use seawall_wal::names::ReplicaId;
use seawall_wal::superblock::Superblock;

use crate::directory::Directory;
use crate::disk::Disk;
use crate::profile::Profile;
use crate::world::VOLUME;

/// What a node's machine is told at the beginning of each life.
pub(crate) fn setup(
    profile: &Profile,
    addresses: &[String],
    node: usize,
    machine_boot: [u8; 16],
    seed: u64,
    wall: Duration,
    bait: Option<Bait>,
) -> Setup {
    Setup {
        volume: VOLUME,
        name: String::from("sim"),
        replica: replica(node),
        members: members(profile, addresses),
        first_primary: replica(0),
        volume_blocks: profile.geometry.volume_blocks,
        commit: profile.commit,
        ack: profile.ack,
        failover: if profile.automatic { Failover::Automatic } else { Failover::Manual },
        seed,
        machine_boot,
        wall,
        limits: limits(profile),
        bait,
    }
}

/// A node's replica.
pub(crate) fn replica(node: usize) -> ReplicaId {
    ReplicaId(0xA0 + node as u64)
}

/// All copies, as a node's configuration file names them.
fn members(profile: &Profile, addresses: &[String]) -> Vec<Peer> {
    let peer = |(node, address): (usize, &String)| Peer {
        replica: replica(node),
        name: name(node),
        address: address.clone(),
        voter: node < profile.replicas,
    };
    addresses.iter().enumerate().filter(|(_, address)| !address.is_empty()).map(peer).collect()
}

/// A node's name for people.
pub(crate) fn name(node: usize) -> String {
    format!("node-{node}")
}

fn limits(profile: &Profile) -> Limits {
    let recovery = RecoveryLimits {
        connect: Duration::from_secs(2),
        greet: Duration::from_secs(3),
        begin: Duration::from_secs(5),
        compare: Duration::from_secs(10),
        silence: Duration::from_millis(1500),
        no_progress: Duration::from_secs(5),
        catch_up: Duration::from_secs(60),
        steady: Duration::from_secs(2),
        backoff_min: Duration::from_millis(20),
        backoff_max: Duration::from_secs(1),
        parked: Duration::from_secs(10),
        ..RecoveryLimits::default()
    };
    Limits {
        quorum_patience: Some(Duration::from_secs(3)),
        all_patience: Some(Duration::from_nanos(profile.all_patience)).filter(|patience| !patience.is_zero()),
        pulse_interval: Duration::from_millis(75),
        lease: Duration::from_nanos(profile.lease),
        silence_max: Duration::from_millis(1500),
        candidacy_round: Duration::from_millis(1500),
        recovery,
        append_records_max: profile.bounds.append_records,
        window_records: profile.bounds.window_records,
        base_extents: profile.bounds.base_extents,
        checkpoint_sixteenths: profile.bounds.checkpoint_sixteenths,
        overlay_bytes_max: profile.bounds.overlay_bytes,
        ..Limits::default()
    }
}

/// Where the configuration that a node's disk is formatted with finds the members: those of the beginning and itself.
fn first_words(profile: &Profile, node: usize) -> Vec<String> {
    let mut directory = Directory::new(profile.nodes());
    (profile.replicas..profile.nodes()).for_each(|spare| directory.set_named(spare, false));
    directory.on_start(node)
}

/// What is written on an empty disk that takes the place of a node's.
pub(crate) fn rejoining_superblock(profile: &Profile, node: usize, lives: u32) -> Superblock {
    rejoining(
        &setup(profile, &first_words(profile, node), node, [0; 16], 0, Duration::ZERO, None),
        profile.geometry,
        lives,
    )
}

/// The disk of a node before its first life.
pub(crate) fn formatted(profile: &Profile, node: usize) -> Disk {
    let mut disk = Disk::new(profile.geometry);
    let setup = setup(profile, &first_words(profile, node), node, [0; 16], 0, Duration::ZERO, None);
    let born = if node < profile.replicas { newborn } else { joiner };
    let superblock = born(&setup, profile.geometry);
    for (area, offset, bytes) in both_slots(&superblock) {
        disk.format(area, offset, &bytes);
    }
    disk
}
