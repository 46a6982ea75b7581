//! What a stage is set for.

use std::time::Duration;

use seawall_engine::bait::Bait;
use seawall_engine::setup::{Ack, CommitRule, Failover, Limits, Peer, Setup};
use seawall_wal::geometry::Geometry;
use seawall_wal::names::{ReplicaId, VolumeId};

use super::spoil::Sabotage;

/// Whose volume it is.
pub(super) const VOLUME: VolumeId = VolumeId(*b"swept--volume---");
/// In which order the subject's disk ends what it was given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Order {
    /// The oldest first.
    Oldest,
    /// The newest first.
    Newest,
}

/// What a stage is set for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) geometry: Geometry,
    pub(super) nodes: usize,
    pub(super) first_primary: usize,
    pub(super) ack: Ack,
    pub(super) order: Order,
    pub(super) checkpoint_sixteenths: u64,
    pub(super) release_sixteenths: u64,
    pub(super) bait: Option<Bait>,
    pub(super) sabotage: Option<Sabotage>,
}

impl Plan {
    /// What a node's machine is told.
    pub(super) fn setup(&self, node: usize, boot: u8) -> Setup {
        let members = (0..self.nodes).map(|node| Peer {
            replica: replica(node),
            name: format!("node-{node}"),
            address: format!("{node}"),
            voter: true,
        });
        let defaults = Limits::default();
        Setup {
            commit: CommitRule::Majority,
            ack: self.ack,
            failover: Failover::Manual,
            machine_boot: [boot; 16],
            limits: Limits {
                checkpoint_sixteenths: self.checkpoint_sixteenths,
                release_sixteenths: self.release_sixteenths,
                quorum_patience: Some(Duration::from_secs(3)),
                // A script says who reigns, and when.
                lease: Duration::ZERO,
                ..defaults
            },
            bait: self.bait,
            ..Setup::new(
                VOLUME,
                replica(node),
                members.collect(),
                replica(self.first_primary),
                self.geometry.volume_blocks,
            )
        }
    }
}

/// The replica of a node.
pub(super) fn replica(node: usize) -> ReplicaId {
    ReplicaId(0xA0 + node as u64)
}
