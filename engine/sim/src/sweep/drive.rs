//! One replica's devices, and every disk operation of the seam over them. An operation takes effect as a whole when
//! it is carried out; what a crash leaves of it is chosen by the sweep.

use seawall_engine::io::{Area, DiskDone, DiskOp, ReadPiece};
use seawall_wal::crc::crc32c;
use seawall_wal::geometry::{Geometry, SUPER_SLOT_BYTES, Slot};
use seawall_wal::scan::{RECORD_BYTES_MAX, Scanned, scan};
use seawall_wal::superblock::{SlotState, Superblock};
use seawall_wal::table::{Table, stored};

use super::medium::{Loss, Medium};
use crate::areas::{self, Domain};
use crate::device::SECTOR;
use crate::pool::{BLOCK, Pool};

/// What an operation writes.
#[derive(Clone, Debug)]
pub(super) struct Write {
    pub(super) area: Area,
    /// Bytes from the area's start.
    pub(super) offset: u64,
    pub(super) bytes: Vec<u8>,
    pub(super) durable: bool,
}

/// The devices of one replica.
#[derive(Clone, Debug)]
pub(super) struct Drive {
    pub(super) geometry: Geometry,
    main: Medium,
    log: Medium,
}

impl Drive {
    /// Empty devices.
    pub(super) fn new(geometry: Geometry) -> Drive {
        Drive { geometry, main: Medium::default(), log: Medium::default() }
    }

    /// What reads of an area see.
    pub(super) fn bytes(&self, area: Area, offset: u64, len: usize) -> Vec<u8> {
        self.medium(area).bytes(self.start(area) + offset, len)
    }

    /// Carry out a write.
    pub(super) fn write(&mut self, write: &Write) {
        let Write { area, offset, bytes, durable } = write;
        assert!(offset + bytes.len() as u64 <= self.area_bytes(*area), "a write stays within its area");
        let at = self.start(*area) + offset;
        self.medium_mut(*area).write(Domain::of(*area), at, bytes, *durable);
    }

    /// Some sectors of a write reached the medium: `part` says for each sector how many of its bytes did.
    pub(super) fn write_torn(&mut self, write: &Write, part: impl Fn(usize) -> usize) {
        for (index, new) in write.bytes.chunks_exact(SECTOR).enumerate() {
            let offset = write.offset + (index * SECTOR) as u64;
            let mut bytes = self.bytes(write.area, offset, SECTOR);
            let fresh = part(index);
            if fresh == 0 {
                continue;
            }
            bytes[..fresh].copy_from_slice(&new[..fresh]);
            self.write(&Write { area: write.area, offset, bytes, durable: true });
        }
    }

    /// For [`Drive::flush`]: what was written so far.
    pub(super) fn mark(&self, area: Area) -> u64 {
        self.medium(area).mark()
    }

    /// What was written up to `mark` in the area's domain is stable.
    pub(super) fn flush(&mut self, area: Area, mark: u64) {
        self.medium_mut(area).flush(Domain::of(area), mark);
    }

    /// Everything is stable.
    pub(super) fn flush_all(&mut self) {
        for area in [Area::Log, Area::Home] {
            self.flush(area, u64::MAX);
        }
    }

    /// The power is gone.
    pub(super) fn lose(&mut self, loss: Loss) {
        let main = self.main.unsure();
        let beyond = |index: usize| index.checked_sub(main).unwrap_or(usize::MAX);
        let log = match loss {
            Loss::OnlyLost(index) => Loss::OnlyLost(beyond(index)),
            Loss::OnlyKept(index) => Loss::OnlyKept(beyond(index)),
            Loss::Nothing | Loss::Everything | Loss::Alternating(_) => loss,
            Loss::Scattered(_) | Loss::TornAt(_) => loss,
        };
        self.main.lose(loss);
        self.log.lose(log);
    }

    /// How many sectors a power loss may take back.
    pub(super) fn unsure(&self) -> usize {
        self.main.unsure() + self.log.unsure()
    }

    /// One bit of an area rots.
    pub(super) fn flip(&mut self, area: Area, offset: u64, bit: u8) {
        let at = self.start(area) + offset;
        self.medium_mut(area).flip(at, bit);
    }

    /// Bytes of an area are replaced, by nobody who may.
    pub(super) fn put(&mut self, area: Area, offset: u64, bytes: &[u8]) {
        let at = self.start(area) + offset;
        self.medium_mut(area).put(at, bytes);
    }

    /// Where on the device an area's byte is; `None` for a separate log, which is on another device.
    pub(super) fn main_offset(&self, area: Area, offset: u64) -> Option<u64> {
        (area != Area::Log || !self.geometry.separate_log).then(|| self.start(area) + offset)
    }

    /// Write to the main device, wherever that is.
    pub(super) fn put_main(&mut self, offset: u64, bytes: &[u8]) {
        self.main.put(offset, bytes);
    }

    /// What an operation writes, if it is one that writes.
    pub(super) fn writes(&self, what: &DiskOp, pool: &Pool) -> Option<Write> {
        match what {
            DiskOp::WriteMeta { area, offset, bytes, durable } => {
                Some(Write { area: *area, offset: *offset, bytes: bytes.clone(), durable: *durable })
            }
            DiskOp::Append { offset, parts, durable } => Some(Write {
                area: Area::Log,
                offset: *offset,
                bytes: areas::appended(&self.geometry, parts, pool),
                durable: *durable,
            }),
            DiskOp::WriteHome { extent, from } => Some(Write {
                area: Area::Home,
                offset: extent.start * BLOCK as u64,
                bytes: pool.bytes(*from).to_vec(),
                durable: false,
            }),
            // Whoever reads it before it is written again shall notice.
            DiskOp::Discard { extent } => Some(Write {
                area: Area::Home,
                offset: extent.start * BLOCK as u64,
                bytes: vec![0xDD; extent.blocks as usize * BLOCK],
                durable: false,
            }),
            DiskOp::Flush { .. } | DiskOp::Merge { .. } | DiskOp::Copy { .. } => None,
            DiskOp::ReadMeta { .. } | DiskOp::Scan { .. } | DiskOp::Read { .. } => None,
        }
    }

    /// Carry out an operation. `mark` is what had been written when it was given, for a flush.
    pub(super) fn carry_out(&mut self, what: &DiskOp, mark: u64, pool: &mut Pool) -> DiskDone {
        if let Some(write) = self.writes(what, pool) {
            self.write(&write);
            return DiskDone::Done;
        }
        match what {
            DiskOp::ReadMeta { area, offset, bytes } => {
                DiskDone::Meta(self.bytes(*area, *offset, *bytes as usize))
            }
            DiskOp::Scan { offset, bytes } => DiskDone::Scanned(self.scan(*offset, u64::from(*bytes))),
            DiskOp::Read { pieces, into, blocks } => {
                let bytes = self.gather(pieces, *blocks);
                let buf = into.unwrap_or_else(|| pool.take(*blocks));
                pool.bytes_mut(buf).copy_from_slice(&bytes);
                DiskDone::Read { buf, crcs: areas::checksums(pieces, *blocks, &bytes) }
            }
            DiskOp::Flush { area } => {
                self.flush(*area, mark);
                DiskDone::Done
            }
            DiskOp::Copy { from, to } => {
                let bytes = pool.bytes(*from).to_vec();
                pool.bytes_mut(*to).copy_from_slice(&bytes);
                DiskDone::Done
            }
            DiskOp::Merge { base, over, first_sector, sectors, zero_base } => {
                let base = (!zero_base).then(|| pool.bytes(*base).to_vec());
                DiskDone::Merged(areas::merged(base, pool.bytes_mut(*over), *first_sector, *sectors))
            }
            DiskOp::WriteMeta { .. } | DiskOp::Append { .. } => unreachable!("a write"),
            DiskOp::WriteHome { .. } | DiskOp::Discard { .. } => unreachable!("a write"),
        }
    }

    /// What a scan of the whole piece would report; stretches that were never written are zeroes and are skipped.
    pub(super) fn scan(&self, offset: u64, bytes: u64) -> Scanned {
        let unit = u64::from(self.geometry.unit_bytes);
        let (start, end) = (self.start(Area::Log), offset + bytes);
        let mut all = Scanned { records: Vec::new(), next: end };
        let mut at = offset;
        while at < end {
            let Some((first, after)) = self.medium(Area::Log).used(start + at, start + end) else { break };
            // A unit before, because at the very beginning of a piece other rules hold; zeroes after, because the
            // last record may state to be longer than what was written.
            let first = (first - start).saturating_sub(unit).max(at) / unit * unit;
            let after = (after - start + RECORD_BYTES_MAX).min(end);
            let len = usize::try_from(after - first).expect("a small log");
            let part = scan(&self.bytes(Area::Log, first, len), first, self.geometry.unit_bytes, crc32c);
            all.records.extend(part.records);
            if part.next < after && after == end {
                all.next = part.next;
                break;
            }
            at = part.next;
        }
        all
    }

    /// What its superblock slots hold.
    pub(super) fn slots(&self) -> [SlotState; 2] {
        [Slot::A, Slot::B].map(|slot| {
            let len = usize::try_from(SUPER_SLOT_BYTES).expect("64 KiB");
            Superblock::decode(&self.bytes(Area::Super, Geometry::super_offset(slot), len))
        })
    }

    /// The newest superblock.
    pub(super) fn superblock(&self) -> Option<Box<Superblock>> {
        let present = self.slots().into_iter().filter_map(|state| match state {
            SlotState::Present(superblock) => Some(superblock),
            SlotState::Empty | SlotState::Unreadable { .. } => None,
        });
        present.max_by_key(|superblock| superblock.sequence)
    }

    /// Compare the home area, when all is home, with the table that the newest superblock counts on; gives the
    /// number of blocks that are no holes.
    pub(super) fn check_home(&self) -> Result<u64, String> {
        let superblock = self.superblock().ok_or("no superblock can be read")?;
        let mut table = Table::new(self.geometry.volume_blocks, superblock.table);
        let len = usize::try_from(self.geometry.table_bytes()).expect("a small table");
        table.load(0, &self.bytes(Area::Table, 0, len)).map_err(|error| error.to_string())?;
        table.on_loaded().map_err(|error| error.to_string())?;
        let mut blocks = 0;
        for block in 0..self.geometry.volume_blocks {
            let Some(stated) = table.get(block) else { continue };
            blocks += 1;
            let found = stored(crc32c(&self.bytes(Area::Home, block * BLOCK as u64, BLOCK)));
            if found != stated {
                return Err(format!("block {block} at home has checksum {found}, the table says {stated}"));
            }
        }
        Ok(blocks)
    }

    fn gather(&self, pieces: &[ReadPiece], blocks: u32) -> Vec<u8> {
        areas::gathered(pieces, blocks, |area, offset, into| {
            self.medium(area).read(self.start(area) + offset, into);
        })
    }

    fn start(&self, area: Area) -> u64 {
        areas::start(&self.geometry, area)
    }

    /// Bytes of an area.
    pub(super) fn area_bytes(&self, area: Area) -> u64 {
        areas::bytes(&self.geometry, area)
    }

    fn medium(&self, area: Area) -> &Medium {
        match area {
            Area::Log if self.geometry.separate_log => &self.log,
            Area::Log | Area::Super | Area::Table | Area::Home => &self.main,
        }
    }

    fn medium_mut(&mut self, area: Area) -> &mut Medium {
        match area {
            Area::Log if self.geometry.separate_log => &mut self.log,
            Area::Log | Area::Super | Area::Table | Area::Home => &mut self.main,
        }
    }
}
