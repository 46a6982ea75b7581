//! same-bytes: a replica's volume, read from its disk alone: superblock, checksum table, log, home.

use std::borrow::Cow;

use seawall_engine::io::Area;
use seawall_wal::crc::ZERO_BLOCK;
use seawall_wal::geometry::{Geometry, SUPER_SLOT_BYTES, Slot};
use seawall_wal::log::Log;
use seawall_wal::names::{Crc, Lsn};
use seawall_wal::record::Kind;
use seawall_wal::restart::{Damage, Restart, RestartRule};
use seawall_wal::scan::{RECORD_BYTES_MAX, scan};
use seawall_wal::superblock::{Choice, ChoiceRule, Superblock, choose};
use seawall_wal::table::{Table, stored};

use crate::checksum::crc32c;
use crate::disk::Disk;
use crate::oracle::Failure;
use crate::oracle::history::History;
use crate::pool::BLOCK;

/// The log is looked through in pieces of so many bytes: small enough for a cache, large enough for any record.
const WINDOW: u64 = 512 << 10;
const _: () = assert!(WINDOW >= RECORD_BYTES_MAX);

static ZEROES: [u8; BLOCK] = [0; BLOCK];

/// A volume as a disk has it.
#[derive(Debug)]
pub(crate) struct Image<'a> {
    blocks: Vec<Block<'a>>,
    pub(crate) log: Log,
}

/// A block of it, mostly where the disk has it.
#[derive(Clone, Debug)]
struct Block<'a> {
    /// `None` is zeroes.
    bytes: Option<Cow<'a, [u8]>>,
    /// Their checksum, once the image is read.
    crc: Crc,
    /// It comes from the log: home does not count there, yet.
    in_log: bool,
}

impl<'a> Block<'a> {
    fn zeroes(in_log: bool) -> Block<'a> {
        Block { bytes: None, crc: ZERO_BLOCK, in_log }
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.as_deref().unwrap_or(&ZEROES)
    }

    fn differs(&self, other: &Block<'_>) -> bool {
        (self.bytes.is_some() || other.bytes.is_some()) && self.bytes() != other.bytes()
    }
}

impl Image<'_> {
    /// What is on a disk.
    pub(crate) fn read(node: usize, disk: &Disk) -> Result<Image<'_>, Failure> {
        let bad = |what: String| Failure::new("same-bytes", format!("the disk of node {node}: {what}"));
        let superblock = superblock(disk).ok_or_else(|| bad("no superblock".to_owned()))?;
        let geometry = superblock.geometry;
        let mut table = Table::new(geometry.volume_blocks, superblock.table);
        let pages = disk.bytes(Area::Table, 0, len(geometry.table_bytes()));
        table.load(0, &pages).map_err(|why| bad(why.to_string()))?;
        table.on_loaded().map_err(|why| bad(why.to_string()))?;
        let log = log(&superblock, disk).map_err(|damage| bad(damage.to_string()))?;

        let mut blocks = vec![Block::zeroes(false); len(geometry.volume_blocks)];
        overlay(&log, superblock.checkpoint, disk, &mut blocks);
        for (number, block) in (0..).zip(&mut blocks) {
            let at_home = table.get(number).filter(|_| !block.in_log);
            if at_home.is_some() {
                block.bytes = Some(disk.view(Area::Home, number * BLOCK as u64, BLOCK));
            }
            block.crc = block.bytes.as_deref().map_or(ZERO_BLOCK, crc32c);
            if let Some(crc) = at_home.filter(|crc| *crc != stored(block.crc)) {
                let found = block.crc;
                return Err(bad(format!("home block {number} has checksum {found}, the table says {crc}")));
            }
        }
        Ok(Image { blocks, log })
    }

    /// All of it, block by block; `None` is zeroes.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = Option<&[u8]>> {
        self.blocks.iter().map(|block| block.bytes.as_deref())
    }

    /// Whether the bytes of a block come from the log.
    pub(crate) fn is_in_log(&self, block: u64) -> bool {
        self.blocks[len(block)].in_log
    }

    /// Nothing differs from another node's.
    pub(crate) fn check_equal(&self, other: &Image<'_>, node: usize) -> Result<(), Failure> {
        let pairs = self.blocks.iter().zip(&other.blocks).enumerate();
        let differ = pairs.filter(|(_, (mine, theirs))| mine.differs(theirs));
        let blocks: Vec<usize> = differ.map(|(block, _)| block).take(20).collect();
        if !blocks.is_empty() {
            let at = |image: &Image<'_>| image.blocks[blocks[0]].bytes()[..8].to_vec();
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
        let replayed = history.replay(self.log.end(), self.log.tail_chain(), self.blocks.len() as u64)?;
        let mut pairs = self.blocks.iter().zip(replayed).enumerate();
        if let Some((block, _)) = pairs.find(|(_, (block, crc))| block.crc != *crc) {
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
        Superblock::decode(&disk.view(Area::Super, offset, len(SUPER_SLOT_BYTES)))
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
    let mut bytes = Vec::new();
    for (from, to) in [(start, geometry.log_bytes), (0, start)] {
        let mut at = from;
        while at < to {
            let window = len(WINDOW.min(to - at));
            if disk.is_blank(Area::Log, at, window) {
                at += window as u64;
                continue;
            }
            bytes.clear();
            disk.read_onto(Area::Log, at, window, &mut bytes);
            let scanned = scan(&bytes, at, geometry.unit_bytes, crc32c);
            at = scanned.next;
            restart.feed(scanned);
        }
    }
    restart.finish().map(|restarted| restarted.log)
}

fn overlay<'a>(log: &Log, checkpoint: Lsn, disk: &'a Disk, volume: &mut [Block<'a>]) {
    let mut lsn = checkpoint.max(log.start());
    while lsn < log.end() {
        let entry = log.entry(lsn).expect("the log is dense");
        let target = &mut volume[len(entry.extent.start)..len(entry.extent.end())];
        match entry.kind {
            Kind::Write => {
                for (block, at) in target.iter_mut().zip((log.body_offset(&entry)..).step_by(BLOCK)) {
                    let bytes = Some(disk.view(Area::Log, at, BLOCK));
                    *block = Block { bytes, ..Block::zeroes(true) };
                }
            }
            Kind::WriteZeroes | Kind::Trim => target.fill(Block::zeroes(true)),
            Kind::EpochStart | Kind::Attach | Kind::Padding => {}
            Kind::Configuration | Kind::Maintenance => {}
        }
        lsn = lsn.next();
    }
}

fn len(n: u64) -> usize {
    usize::try_from(n).expect("a small volume")
}
