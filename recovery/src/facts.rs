//! What the two sides of a handshake know of themselves.

use alloc::vec::Vec;
use core::fmt;

use bincode::{Decode, Encode};
use seawall_wal::guard;
use seawall_wal::names::{Crc, Epoch, LineageRow, Lsn, LsnRange, ReplicaId, VolumeId};
use seawall_wal::superblock::BaseState;

use crate::lineage;

/// What the disk of a replica proves, as it says itself: the meta part of the frame of that name.
#[derive(Clone, PartialEq, Debug, Encode, Decode)]
pub struct Facts {
    /// The volume on the disk that answers.
    pub volume: VolumeId,
    /// The replica on the disk that answers.
    pub replica: ReplicaId,
    /// The highest epoch it promised.
    pub promised: Epoch,
    /// The newest rows of its history, of the records below `log.end`;
    /// [`ROWS_MAX`](crate::lineage::ROWS_MAX) at the most.
    pub lineage: Vec<LineageRow>,
    /// What its log holds durably. It holds nothing else: its log was flushed before it answered.
    pub log: LsnRange,
    /// Epoch of the last record below `log.end`, also when that one is no longer in the log.
    pub tail_epoch: Epoch,
    /// Digest of that record.
    pub tail_chain: Crc,
    /// Its home area holds everything below here.
    pub checkpoint: Lsn,
    /// What its home area is worth.
    pub base: BaseState,
    /// Whether it may have lost records that it answered for.
    pub lossy: bool,
    /// How often it started.
    pub boots: u32,
    /// Whether it may have promised, and granted, what it does not know any more: its device was made anew.
    pub promises_lost: bool,
}

impl Facts {
    /// Whether they are a possible state of any disk.
    #[must_use]
    pub fn are_sound(&self, volume_blocks: u64) -> bool {
        let ordered = guard!("facts-log-joins-home", self.log.start <= self.checkpoint)
            && guard!("facts-home-within-log", self.checkpoint <= self.log.end);
        let base = match self.base {
            BaseState::Complete | BaseState::Blank => true,
            BaseState::Rebuilding { cut, held, .. } => {
                guard!("facts-cut-within-home", cut <= self.checkpoint)
                    && guard!("facts-held-in-the-volume", held <= volume_blocks)
            }
        };
        ordered
            && base
            && guard!(
                "facts-lineage-of-the-log",
                lineage::covers(&self.lineage, self.log.end, self.tail_epoch)
            )
    }
}

/// What the primary knows of itself when it judges a replica's facts.
#[derive(Clone, Copy)]
pub struct Ours<'a> {
    /// The volume.
    pub volume: VolumeId,
    /// The replica that the facts should be of.
    pub peer: ReplicaId,
    /// The present reign.
    pub epoch: Epoch,
    /// The history of all records below `log.end`, that of a start of `epoch` among them if it is in the log.
    pub lineage: &'a [LineageRow],
    /// What the log holds and can be fed from.
    pub log: LsnRange,
    /// Epoch of the last record below `log.end`.
    pub tail_epoch: Epoch,
    /// Below here, records are durable on a commit quorum and in our own log. Base blocks are as of here.
    pub settled: Lsn,
    /// The volume's size in blocks.
    pub volume_blocks: u64,
    /// Digest of the record below the given frontier; known for frontiers from `log.start` to `log.end`.
    pub chain_at: &'a dyn Fn(Lsn) -> Option<Crc>,
}

impl Ours<'_> {
    /// Our own bookkeeping contradicts itself if this fails.
    pub fn check(&self) {
        assert!(
            lineage::covers(self.lineage, self.log.end, self.tail_epoch),
            "our lineage {:?} is not that of a log that ends at {:?} in {:?}",
            self.lineage,
            self.log.end,
            self.tail_epoch
        );
        assert!(self.tail_epoch <= self.epoch, "our log holds a record of a reign after ours");
        assert!(
            self.log.start <= self.settled && self.settled <= self.log.end,
            "what is settled can be fed on from"
        );
    }
}

impl fmt::Debug for Ours<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ours")
            .field("volume", &self.volume)
            .field("peer", &self.peer)
            .field("epoch", &self.epoch)
            .field("lineage", &self.lineage)
            .field("log", &self.log)
            .field("tail_epoch", &self.tail_epoch)
            .field("settled", &self.settled)
            .field("volume_blocks", &self.volume_blocks)
            .finish_non_exhaustive()
    }
}
