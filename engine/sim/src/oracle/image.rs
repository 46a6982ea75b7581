//! same-bytes: a replica's volume, read from its disk alone: superblock, checksum table, log, home.

use seawall_engine::io::Area;
use seawall_wal::geometry::{Geometry, SUPER_SLOT_BYTES, Slot};
use seawall_wal::log::Log;
use seawall_wal::names::Lsn;
use seawall_wal::record::Kind;
use seawall_wal::restart::{Damage, Restart, RestartRule};
use seawall_wal::scan::scan;
use seawall_wal::superblock::{Choice, ChoiceRule, Superblock, choose};
use seawall_wal::table::{Table, stored};

use crate::checksum::crc32c;
use crate::disk::Disk;
use crate::oracle::Failure;
use crate::oracle::history::History;
use crate::pool::BLOCK;

/// A volume as a disk has it.
#[derive(Debug)]
pub(crate) struct Image {
    /// All of it.
    pub(crate) bytes: Vec<u8>,
    pub(crate) log: Log,
    /// Which blocks come from the log: home does not count there, yet.
    in_log: Vec<bool>,
}

impl Image {
    /// What is on a disk.
    pub(crate) fn read(node: usize, disk: &Disk) -> Result<Image, Failure> {
        let bad = |what: String| Failure::new("same-bytes", format!("the disk of node {node}: {what}"));
        let superblock = superblock(disk).ok_or_else(|| bad("no superblock".to_owned()))?;
        let geometry = superblock.geometry;
        let mut table = Table::new(geometry.volume_blocks, superblock.table);
        let pages = disk.bytes(Area::Table, 0, len(geometry.table_bytes()));
        table.load(0, &pages).map_err(|why| bad(why.to_string()))?;
        table.on_loaded().map_err(|why| bad(why.to_string()))?;
        let log = log(&superblock, disk).map_err(|damage| bad(damage.to_string()))?;

        let mut bytes = disk.bytes(Area::Home, 0, len(geometry.home_bytes()));
        let mut in_log = vec![false; len(geometry.volume_blocks)];
        overlay(&log, superblock.checkpoint, disk, &mut bytes, &mut in_log);
        for (block, content) in bytes.chunks_exact_mut(BLOCK).enumerate() {
            if in_log[block] {
                continue;
            }
            match table.get(block as u64) {
                None => content.fill(0),
                Some(crc) if crc == stored(crc32c(content)) => {}
                Some(crc) => {
                    let found = crc32c(content);
                    return Err(bad(format!(
                        "home block {block} has checksum {found}, the table says {crc}"
                    )));
                }
            }
        }
        Ok(Image { bytes, log, in_log })
    }

    /// Whether the bytes of a block come from the log.
    pub(crate) fn is_in_log(&self, block: u64) -> bool {
        self.in_log[len(block)]
    }

    /// Nothing differs from another node's.
    pub(crate) fn check_equal(&self, other: &Image, node: usize) -> Result<(), Failure> {
        let differs = |(mine, theirs): (&[u8], &[u8])| mine != theirs;
        let pairs = self.bytes.chunks_exact(BLOCK).zip(other.bytes.chunks_exact(BLOCK));
        let blocks: Vec<usize> =
            pairs.enumerate().filter_map(|(block, pair)| differs(pair).then_some(block)).take(20).collect();
        if !blocks.is_empty() {
            let at = |image: &Image| {
                let at = blocks[0] * BLOCK;
                image.bytes[at..at + 8].to_vec()
            };
            let detail = format!(
                "node {node} differs from node 0 in blocks {blocks:?}: {:x?} and {:x?}",
                at(other),
                at(self)
            );
            return Err(Failure::new("in-sync-means-equal", detail));
        }
        Ok(())
    }

    /// Every record of the log is the one that was committed there.
    pub(crate) fn check_history(&self, node: usize, history: &History) -> Result<(), Failure> {
        let blocks = self.bytes.chunks_exact(BLOCK);
        let replayed = history.replay(self.log.end(), self.log.tail_chain(), blocks.len() as u64)?;
        if let Some((block, _)) =
            blocks.zip(replayed).enumerate().find(|(_, (bytes, crc))| crc32c(bytes) != *crc)
        {
            let detail =
                format!("block {block} on the disk of node {node} is not what its records made of it");
            return Err(Failure::new("one-history", detail));
        }
        let mut lsn = self.log.start();
        while lsn < self.log.end() && !history.is_forked() {
            let found = self.log.entry(lsn).map(|entry| entry.digest);
            let committed = history.committed(lsn);
            if committed.is_some() && found != committed {
                let detail = format!(
                    "record {lsn} on the disk of node {node} is {found:?}, committed was {committed:?}"
                );
                return Err(Failure::new("one-history", detail));
            }
            lsn = lsn.next();
        }
        Ok(())
    }
}

/// Which superblock of a disk counts, and why.
pub(crate) fn choice(disk: &Disk) -> (ChoiceRule, Choice) {
    let slot = |slot: Slot| {
        let offset = Geometry::super_offset(slot);
        Superblock::decode(&disk.bytes(Area::Super, offset, len(SUPER_SLOT_BYTES)))
    };
    choose(slot(Slot::A), slot(Slot::B))
}

/// The newest superblock on a disk.
pub(crate) fn superblock(disk: &Disk) -> Option<Superblock> {
    match choice(disk).1 {
        Choice::Use { superblock, .. } => Some(*superblock),
        Choice::Blank | Choice::Refuse => None,
    }
}

/// The rule by which a restart would refuse the log of a disk, if it would.
pub(crate) fn refused(disk: &Disk) -> Option<RestartRule> {
    log(&superblock(disk)?, disk).err().map(|damage| damage.rule)
}

/// The log on a disk, judged as a replica judges it.
pub(crate) fn log(superblock: &Superblock, disk: &Disk) -> Result<Log, Damage> {
    let geometry = superblock.geometry;
    let start = superblock.log_start.offset;
    let mut restart = Restart::new(superblock);
    for (from, to) in [(start, geometry.log_bytes), (0, start)] {
        let mut at = from;
        while at < to {
            let bytes = disk.bytes(Area::Log, at, len(to - at));
            let scanned = scan(&bytes, at, geometry.unit_bytes, crc32c);
            at = scanned.next;
            restart.feed(scanned);
        }
    }
    restart.finish().map(|restarted| restarted.log)
}

fn overlay(log: &Log, checkpoint: Lsn, disk: &Disk, bytes: &mut [u8], in_log: &mut [bool]) {
    let mut lsn = checkpoint.max(log.start());
    while lsn < log.end() {
        let entry = log.entry(lsn).expect("the log is dense");
        let blocks = len(entry.extent.start)..len(entry.extent.end());
        let target = &mut bytes[blocks.start * BLOCK..blocks.end * BLOCK];
        match entry.kind {
            Kind::Write => {
                target.copy_from_slice(&disk.bytes(Area::Log, log.body_offset(&entry), target.len()));
                in_log[blocks].fill(true);
            }
            Kind::WriteZeroes | Kind::Trim => {
                target.fill(0);
                in_log[blocks].fill(true);
            }
            Kind::EpochStart | Kind::Padding => {}
        }
        lsn = lsn.next();
    }
}

fn len(n: u64) -> usize {
    usize::try_from(n).expect("a small volume")
}
