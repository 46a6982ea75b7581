//! A replica's devices as its machine uses them: every disk operation of the seam, over simulated devices.
//!
//! An operation takes effect when it ends, except that a read may have looked as early as it was given. Until
//! then it is in flight, and a crash leaves of it what it likes.

pub(crate) mod damage;

use std::borrow::Cow;
use std::collections::BTreeMap;

use seawall_engine::format::{both_slots, wiped};
use seawall_engine::io::{Area, Buf, DiskDone, DiskError, DiskOp, OpId, ReadPiece};
use seawall_wal::geometry::Geometry;
use seawall_wal::names::Extent;
use seawall_wal::scan::{Scanned, scan};
use seawall_wal::superblock::Superblock;

use crate::areas::{self, Domain};
use crate::checksum::crc32c;
use crate::device::{Device, Loss, SECTOR};
use crate::disk::damage::Damage;
use crate::pool::{BLOCK, Pool};
use crate::prng::Prng;

/// Linux's number for an input/output error.
pub(crate) const EIO: DiskError = DiskError { errno: 5 };
/// Linux's number for a device without space.
pub(crate) const ENOSPC: DiskError = DiskError { errno: 28 };

/// How an operation will end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    /// Well.
    Good,
    /// With an error; of what it was to write, anything may have been written.
    Error(DiskError),
    /// Well, says the device, and has written nothing.
    Lost,
    /// Well, says the device, and has written it at another place of the same area.
    Astray {
        /// There. Bytes from the area's start.
        to: u64,
    },
}

/// How a node's life ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Crash {
    /// The process is killed; the device keeps its cache.
    Kill,
    /// The power is gone.
    Power(Loss),
}

#[derive(Debug)]
struct Job {
    what: DiskOp,
    fate: Fate,
    /// The bytes of a read that looked when it was given.
    early: Option<Vec<u8>>,
    /// For a flush: what had been written when it was given.
    mark: u64,
}

/// An operation that ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// What it was.
    pub(crate) what: DiskOp,
    /// How it ended.
    pub(crate) result: Result<DiskDone, DiskError>,
}

/// The devices of one replica, and what is in flight on them.
#[derive(Debug)]
pub(crate) struct Disk {
    geometry: Geometry,
    main: Device,
    log: Device,
    jobs: BTreeMap<OpId, Job>,
    damage: Damage,
    /// Memory for what an append writes or a scan reads; empty between operations.
    scratch: Vec<u8>,
}

impl Disk {
    /// Empty devices of that geometry.
    pub(crate) fn new(geometry: Geometry) -> Disk {
        Disk {
            geometry,
            main: Device::default(),
            log: Device::default(),
            jobs: BTreeMap::new(),
            damage: Damage::default(),
            scratch: Vec::new(),
        }
    }

    /// Its geometry.
    pub(crate) fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// What a formatter writes before the first life.
    pub(crate) fn format(&mut self, area: Area, offset: u64, bytes: &[u8]) {
        self.write(area, offset, bytes, true);
    }

    /// What an operator writes who throws the copy away.
    pub(crate) fn wipe(&mut self, superblock: &Superblock) {
        for (area, offset, bytes) in both_slots(&wiped(superblock)) {
            self.format(area, offset, &bytes);
        }
        for area in [Area::Log, Area::Table] {
            let bytes = usize::try_from(self.area_bytes(area)).expect("a small volume");
            self.format(area, 0, &vec![0; bytes]);
        }
        self.forget_damage();
    }

    /// An empty device in its place, formatted with that superblock.
    pub(crate) fn replace(&mut self, superblock: &Superblock) {
        for area in [Area::Super, Area::Log, Area::Table, Area::Home] {
            let bytes = usize::try_from(self.area_bytes(area)).expect("a small volume");
            self.format(area, 0, &vec![0; bytes]);
        }
        for (area, offset, bytes) in both_slots(superblock) {
            self.format(area, offset, &bytes);
        }
        self.forget_damage();
    }

    /// What is there now, whether stable or not.
    pub(crate) fn bytes(&self, area: Area, offset: u64, len: usize) -> Vec<u8> {
        let at = self.offset(area) + offset;
        self.device(area).bytes(at, len)
    }

    /// The same where it is, if it lies together there.
    pub(crate) fn view(&self, area: Area, offset: u64, len: usize) -> Cow<'_, [u8]> {
        self.device(area).view(self.offset(area) + offset, len)
    }

    /// The same, put after what `onto` holds.
    pub(crate) fn read_onto(&self, area: Area, offset: u64, len: usize, onto: &mut Vec<u8>) {
        self.device(area).read_onto(self.offset(area) + offset, len, onto);
    }

    /// Whether nothing was ever written near a range.
    pub(crate) fn is_blank(&self, area: Area, offset: u64, len: usize) -> bool {
        self.device(area).is_blank(self.offset(area) + offset, len)
    }

    /// What an operation in flight is.
    pub(crate) fn given(&self, op: OpId) -> &DiskOp {
        &self.jobs[&op].what
    }

    /// A number that stands for everything on it.
    pub(crate) fn digest(&self) -> u64 {
        self.main.digest() ^ self.log.digest().rotate_left(17)
    }

    /// Whether a write is in flight that the device will lose or put elsewhere.
    pub(crate) fn is_about_to_err(&self) -> bool {
        self.jobs.values().any(|job| matches!(job.fate, Fate::Lost | Fate::Astray { .. }))
    }

    /// Operations in flight.
    pub(crate) fn in_flight(&self) -> impl Iterator<Item = &DiskOp> {
        self.jobs.values().map(|job| &job.what)
    }

    /// An operation is given. `early`: a read looks now instead of at its end.
    pub(crate) fn on_given(&mut self, op: OpId, what: DiskOp, fate: Fate, early: bool) {
        let mark = match &what {
            DiskOp::Flush { area } => self.device(*area).mark(),
            _ => 0,
        };
        let early = match &what {
            DiskOp::Read { pieces, blocks, .. } if early => {
                let mut bytes = vec![0; *blocks as usize * BLOCK];
                self.gather(pieces, &mut bytes);
                Some(bytes)
            }
            _ => None,
        };
        let before = self.jobs.insert(op, Job { what, fate, early, mark });
        assert!(before.is_none(), "{op:?} names two operations");
    }

    /// An operation ends.
    pub(crate) fn on_due(&mut self, op: OpId, pool: &mut Pool, prng: &mut Prng) -> Ended {
        let Job { what, fate, early, mark } = self.jobs.remove(&op).expect("an operation in flight");
        let result = match fate {
            Fate::Good => Ok(self.carry_out(&what, early, mark, pool)),
            Fate::Error(error) => {
                self.break_off(&what, pool, prng);
                Err(error)
            }
            Fate::Lost => {
                self.lose_write(&what, pool);
                Ok(DiskDone::Done)
            }
            Fate::Astray { to } => {
                self.misdirect(&what, to, pool);
                Ok(DiskDone::Done)
            }
        };
        Ended { what, result }
    }

    /// The node's life ends. Gives the number of sectors that a power loss took back.
    pub(crate) fn on_crash(&mut self, crash: Crash, pool: &Pool, prng: &mut Prng) -> u64 {
        for job in core::mem::take(&mut self.jobs).into_values() {
            self.break_off(&job.what, pool, prng);
        }
        match crash {
            Crash::Kill => 0,
            Crash::Power(loss) => self.main.lose(loss, prng) + self.log.lose(loss, prng),
        }
    }

    fn carry_out(&mut self, what: &DiskOp, early: Option<Vec<u8>>, mark: u64, pool: &mut Pool) -> DiskDone {
        match what {
            DiskOp::ReadMeta { area, offset, bytes } => {
                DiskDone::Meta(self.bytes(*area, *offset, *bytes as usize))
            }
            DiskOp::WriteMeta { area, offset, bytes, durable } => {
                self.write(*area, *offset, bytes, *durable);
                DiskDone::Done
            }
            DiskOp::Scan { offset, bytes } => DiskDone::Scanned(self.scan(*offset, *bytes as usize)),
            DiskOp::Append { offset, parts, durable } => {
                let mut bytes = core::mem::take(&mut self.scratch);
                areas::append_onto(&self.geometry, parts, pool, &mut bytes);
                self.write(Area::Log, *offset, &bytes, *durable);
                bytes.clear();
                self.scratch = bytes;
                DiskDone::Done
            }
            DiskOp::Read { pieces, into, blocks } => {
                let buf = into.unwrap_or_else(|| pool.take(*blocks));
                let bytes = pool.bytes_mut(buf);
                assert_eq!(bytes.len(), *blocks as usize * BLOCK, "a read fills its buffer");
                match early {
                    Some(early) => bytes.copy_from_slice(&early),
                    None => self.gather(pieces, bytes),
                }
                DiskDone::Read { buf, crcs: areas::checksums(pieces, *blocks, bytes) }
            }
            DiskOp::WriteHome { extent, from } => {
                self.write(Area::Home, extent.start * BLOCK as u64, pool.bytes(*from), false);
                DiskDone::Done
            }
            DiskOp::Discard { extent } => {
                // Whoever reads it before it is written again shall notice.
                let bytes = vec![0xDD; extent.blocks as usize * BLOCK];
                self.write(Area::Home, extent.start * BLOCK as u64, &bytes, false);
                DiskDone::Done
            }
            DiskOp::Flush { area } => {
                self.device_mut(*area).flush(Domain::of(*area), mark);
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
        }
    }

    fn scan(&mut self, offset: u64, len: usize) -> Scanned {
        if self.is_blank(Area::Log, offset, len) {
            return Scanned { records: Vec::new(), next: offset + len as u64 };
        }
        let mut bytes = core::mem::take(&mut self.scratch);
        self.read_onto(Area::Log, offset, len, &mut bytes);
        let scanned = scan(&bytes, offset, self.geometry.unit_bytes, crc32c);
        bytes.clear();
        self.scratch = bytes;
        scanned
    }

    /// Nobody knows how far an operation came.
    fn break_off(&mut self, what: &DiskOp, pool: &Pool, prng: &mut Prng) {
        let Some((area, offset, bytes, _)) = self.writes(what, pool) else { return };
        let before = self.bytes(area, offset, bytes.len());
        let at = self.offset(area) + offset;
        self.device_mut(area).write_some(Domain::of(area), at, &bytes, prng);
        let after = self.bytes(area, offset, bytes.len());
        for (index, (old, new)) in before.chunks_exact(SECTOR).zip(after.chunks_exact(SECTOR)).enumerate() {
            if old != new {
                self.damage.on_written(area, offset + (index * SECTOR) as u64, SECTOR);
            }
        }
    }

    /// What an operation writes: where, what, and whether it is stable when it ends.
    pub(crate) fn writes(&self, what: &DiskOp, pool: &Pool) -> Option<(Area, u64, Vec<u8>, bool)> {
        match what {
            DiskOp::WriteMeta { area, offset, bytes, durable } => {
                Some((*area, *offset, bytes.clone(), *durable))
            }
            DiskOp::Append { offset, parts, durable } => {
                Some((Area::Log, *offset, areas::appended(&self.geometry, parts, pool), *durable))
            }
            DiskOp::WriteHome { extent, from } => {
                Some((Area::Home, extent.start * BLOCK as u64, pool.bytes(*from).to_vec(), false))
            }
            DiskOp::Discard { .. } | DiskOp::Flush { .. } | DiskOp::Merge { .. } | DiskOp::Copy { .. } => {
                None
            }
            DiskOp::ReadMeta { .. } | DiskOp::Scan { .. } | DiskOp::Read { .. } => None,
        }
    }

    fn gather(&self, pieces: &[ReadPiece], bytes: &mut [u8]) {
        areas::gather(pieces, bytes, |area, offset, into| {
            self.device(area).read(self.offset(area) + offset, into);
        });
    }

    fn write(&mut self, area: Area, offset: u64, bytes: &[u8], durable: bool) {
        self.damage.on_written(area, offset, bytes.len());
        self.store(area, offset, bytes, durable);
    }

    /// A write as the device carries it out.
    fn store(&mut self, area: Area, offset: u64, bytes: &[u8], durable: bool) {
        assert!(offset + bytes.len() as u64 <= self.area_bytes(area), "a write stays within its area");
        let at = self.offset(area) + offset;
        self.device_mut(area).write(Domain::of(area), at, bytes, durable);
    }

    /// Changes what is there behind everybody's back.
    fn put(&mut self, area: Area, offset: u64, bytes: &[u8]) {
        let at = self.offset(area) + offset;
        self.device_mut(area).put(at, bytes);
    }

    fn offset(&self, area: Area) -> u64 {
        areas::start(&self.geometry, area)
    }

    /// Bytes of an area.
    pub(crate) fn area_bytes(&self, area: Area) -> u64 {
        areas::bytes(&self.geometry, area)
    }

    fn device(&self, area: Area) -> &Device {
        match area {
            Area::Log if self.geometry.separate_log => &self.log,
            Area::Log | Area::Super | Area::Table | Area::Home => &self.main,
        }
    }

    fn device_mut(&mut self, area: Area) -> &mut Device {
        match area {
            Area::Log if self.geometry.separate_log => &mut self.log,
            Area::Log | Area::Super | Area::Table | Area::Home => &mut self.main,
        }
    }
}

/// The buffers that an operation names: it holds them until it ends.
pub(crate) fn buffers(what: &DiskOp) -> Vec<Buf> {
    match what {
        DiskOp::Append { parts, .. } => parts.iter().filter_map(|part| part.body).collect(),
        DiskOp::Read { into, .. } => into.iter().copied().collect(),
        DiskOp::WriteHome { from, .. } => vec![*from],
        DiskOp::Copy { from, to } => vec![*from, *to],
        DiskOp::Merge { base, over, zero_base: false, .. } => vec![*base, *over],
        DiskOp::Merge { over, zero_base: true, .. } => vec![*over],
        DiskOp::ReadMeta { .. } | DiskOp::WriteMeta { .. } | DiskOp::Scan { .. } => Vec::new(),
        DiskOp::Discard { .. } | DiskOp::Flush { .. } => Vec::new(),
    }
}

/// Bytes that an operation moves, for its duration.
pub(crate) fn bytes_moved(what: &DiskOp) -> u64 {
    let blocks = |blocks: u32| u64::from(blocks) * BLOCK as u64;
    match what {
        DiskOp::ReadMeta { bytes, .. } | DiskOp::Scan { bytes, .. } => u64::from(*bytes),
        DiskOp::WriteMeta { bytes, .. } => bytes.len() as u64,
        DiskOp::Append { parts, .. } => {
            parts.iter().map(|p| 512 + p.body.map_or(0, |buf| blocks(buf.blocks))).sum()
        }
        DiskOp::Read { blocks: count, .. } => blocks(*count),
        DiskOp::WriteHome { extent, .. } => blocks(extent.blocks),
        DiskOp::Discard { .. } | DiskOp::Flush { .. } | DiskOp::Merge { .. } | DiskOp::Copy { .. } => 0,
    }
}

/// A short account of an operation for the transcript.
pub(crate) fn describe(what: &DiskOp) -> String {
    let extent = |extent: &Extent| format!("{}+{}", extent.start, extent.blocks);
    match what {
        DiskOp::ReadMeta { area, offset, bytes } => format!("read {area:?} {offset:#x}+{bytes:#x}"),
        DiskOp::WriteMeta { area, offset, bytes, durable } => {
            format!("write {area:?} {offset:#x}+{:#x}{}", bytes.len(), if *durable { " durable" } else { "" })
        }
        DiskOp::Scan { offset, bytes } => format!("scan log {offset:#x}+{bytes:#x}"),
        DiskOp::Append { offset, parts, durable } => {
            let lsns: Vec<u64> = parts.iter().map(|part| lsn_of(&part.header)).collect();
            format!("append {offset:#x} records {lsns:?}{}", if *durable { " durable" } else { "" })
        }
        DiskOp::Read { pieces, blocks, .. } => {
            let pieces: Vec<String> = pieces
                .iter()
                .map(|p| format!("{:?} {:#x}+{}→{}", p.area, p.offset, p.blocks, p.at))
                .collect();
            format!("read {blocks} blocks from {pieces:?}")
        }
        DiskOp::WriteHome { extent: which, .. } => format!("write home {}", extent(which)),
        DiskOp::Discard { extent: which } => format!("discard {}", extent(which)),
        DiskOp::Flush { area } => format!("flush {area:?}"),
        DiskOp::Merge { first_sector, sectors, .. } => format!("merge sectors {first_sector}+{sectors}"),
        DiskOp::Copy { from, .. } => format!("copy {} blocks", from.blocks),
    }
}

fn lsn_of(header: &[u8; 512]) -> u64 {
    u64::from_le_bytes(header[40..48].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests;
