//! What a newly formatted or a wiped disk holds. Pure: the caller writes it.

use alloc::vec::Vec;

use seawall_wal::geometry::Geometry;
use seawall_wal::log::Position;
use seawall_wal::names::Lsn;
use seawall_wal::superblock::{BaseState, Cut, Slot, Superblock};
use seawall_wal::table::TableMark;

use crate::io::Area;
use crate::opening::{members, terms};
use crate::setup::{Ack, Setup};

/// The superblock of a replica at birth. All replicas of a new volume are born alike: everything is a hole.
#[must_use]
pub fn newborn(setup: &Setup, geometry: Geometry) -> Superblock {
    Superblock {
        machine_boot: setup.machine_boot,
        ack_durable: setup.ack == Ack::Durable,
        terms: terms(setup),
        ..Superblock::newborn(setup.volume, setup.replica, geometry, members(setup))
    }
}

/// The superblock of a replica that existed before, on a device that has nothing of it: it knows who it is, and that it
/// may have promised what it does not know any more. It votes on nothing until it is rebuilt. `lives` is a number of
/// starts that it certainly did not reach before: what its requests are named by must not be used again.
#[must_use]
pub fn rejoining(setup: &Setup, geometry: Geometry, lives: u32) -> Superblock {
    Superblock { base: BaseState::Blank, promises_lost: true, boots: lives, ..newborn(setup, geometry) }
}

/// The superblock of a replica that is to join a volume which exists: it holds nothing, and votes on nothing before a
/// primary has rebuilt it.
#[must_use]
pub fn joiner(setup: &Setup, geometry: Geometry) -> Superblock {
    Superblock { base: BaseState::Blank, ..newborn(setup, geometry) }
}

/// The superblock of a replica whose copy is thrown away. It keeps who it is and what it promised: what it said to
/// candidates still binds it. Its log and its checksum table are void, and are to be zeroed by the caller.
#[must_use]
pub fn wiped(superblock: &Superblock) -> Superblock {
    let generation =
        superblock.cut.map_or(0, |cut| cut.generation).checked_add(1).expect("fewer than 2^32 cuts");
    Superblock {
        sequence: superblock.sequence,
        lineage: Vec::new(),
        log_start: Position::ORIGIN,
        checkpoint: Lsn::ZERO,
        settled: Lsn::ZERO,
        attached: Lsn::ZERO,
        table: TableMark::default(),
        cut: Some(Cut { lsn: Lsn::ZERO, generation }),
        base: BaseState::Blank,
        clean: None,
        ..superblock.clone()
    }
}

/// The writes that put a superblock into both slots, in the order in which they are to be made: area, byte offset
/// within it, bytes.
#[must_use]
pub fn both_slots(superblock: &Superblock) -> Vec<(Area, u64, Vec<u8>)> {
    let mut writes = Vec::new();
    let mut superblock = superblock.clone();
    for _ in 0..2 {
        superblock.sequence += 1;
        let offset = Geometry::super_offset(Slot::of(superblock.sequence));
        writes.push((Area::Super, offset, superblock.encode()));
    }
    writes
}
