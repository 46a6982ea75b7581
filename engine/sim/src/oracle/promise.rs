//! promise-is-durable-first: when a promise leaves, both superblocks on the disk say it.

use seawall_engine::ballot::Promise;
use seawall_engine::io::Area;
use seawall_sender::codec;
use seawall_sender::frame::{FRAME_BYTES, FrameHeader, Kind};
use seawall_wal::geometry::{Geometry, SUPER_SLOT_BYTES, Slot};
use seawall_wal::superblock::{SlotState, Superblock};

use crate::disk::Disk;
use crate::oracle::Failure;
use crate::oracle::vote::Votes;

/// A frame leaves a node with that disk.
pub(crate) fn check(node: usize, head: &[u8], disk: &Disk, votes: &Votes) -> Result<(), Failure> {
    let header = head.first_chunk().and_then(|head| FrameHeader::decode(head).ok());
    if header.is_none_or(|header| header.kind != Kind::Promise) {
        return Ok(());
    }
    let promise: Promise = codec::decode(&head[FRAME_BYTES..])
        .map_err(|why| Failure::new("frame-integrity", format!("node {node} sends no promise: {why}")))?;
    if promise.sounding {
        return Ok(());
    }
    votes.check_promise(node)?;
    let mut missing = None;
    for slot in [Slot::A, Slot::B] {
        let bytes = disk.view(
            Area::Super,
            Geometry::super_offset(slot),
            usize::try_from(SUPER_SLOT_BYTES).expect("64 KiB"),
        );
        let good = match Superblock::decode(&bytes) {
            SlotState::Present(superblock) => superblock.promised >= promise.epoch,
            SlotState::Empty | SlotState::Unreadable { .. } => false,
        };
        if good {
            continue;
        }
        // A device may have lost one of the two: for that there are two.
        if missing.replace(slot).is_some() || disk.wrong_sectors(Area::Super) == 0 {
            let detail =
                format!("node {node} promises {} before its superblock {slot:?} says so", promise.epoch);
            return Err(Failure::new("promise-is-durable-first", detail));
        }
    }
    Ok(())
}
