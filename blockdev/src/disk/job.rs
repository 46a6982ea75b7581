//! Disk operations as the ring carries them out: each a job of one or more ring operations.

use std::rc::Rc;

use seawall_engine::io::{AppendPart, Area, Buf, DiskDone, DiskError, DiskOp, OpId, ReadPiece};
use seawall_wal::crc::ZERO_BLOCK;
use seawall_wal::names::{BLOCK_BYTES, SECTOR_BYTES};
use seawall_wal::scan::scan;

use super::Disk;
use crate::checksum;
use crate::counters::{add, count};
use crate::gear::{Gear, Token, Waiter};
use crate::pool::{Pool, Purpose};
use crate::ring::op::{Completion, Errno, Op};
use crate::ring::pages::Pages;
use crate::ring::pieces::{Piece, Pieces};

/// EIO: what a transfer that moves nothing is.
const EIO: i32 = 5;
/// What lies between two pieces of the log that are read at once: reading it costs less than another operation.
const GAP_BYTES_MAX: u64 = 16 << 10;
/// Pieces of one read at the most, so that the kernel takes all of it.
const STRETCH_PIECES_MAX: usize = 256;
/// Discards below this many blocks are not worth what they cost a file system.
const DISCARD_BLOCKS_MIN: u32 = 16;

/// A disk operation that is over.
pub(crate) struct Finished {
    pub(crate) op: OpId,
    pub(crate) result: Result<DiskDone, DiskError>,
}

/// What a job is about, besides the ring operations that it waits for.
enum Kind {
    /// Metadata is read.
    Meta,
    /// The log is scanned from this offset on.
    Scan { offset: u64 },
    /// Something is stored, flushed or discarded.
    Store,
    /// Blocks are gathered in a buffer; those that no piece names become zeroes.
    Gather { buf: Buf, pieces: Vec<ReadPiece> },
    /// The same, but there is no buffer yet.
    Wanting { pieces: Vec<ReadPiece> },
}

struct Job {
    op: OpId,
    kind: Kind,
    /// References that end with the job.
    held: Vec<Buf>,
    /// Ring operations that are not over.
    waiting: u32,
    /// The first error.
    errno: Option<i32>,
    /// What was read, if it is no buffer of the pool.
    pages: Option<Pages>,
}

/// The disk of one volume, and the operations under way on it.
pub struct Jobs {
    volume: u32,
    disk: Disk,
    jobs: Vec<Option<Job>>,
    free: Vec<u32>,
}

/// The buffers that an operation names: each is referred to until it is over.
pub(crate) fn buffers(what: &DiskOp) -> Vec<Buf> {
    match what {
        DiskOp::Append { parts, .. } => parts.iter().filter_map(|part| part.body).collect(),
        DiskOp::Read { into, .. } => into.iter().copied().collect(),
        DiskOp::WriteHome { from, .. } => vec![*from],
        DiskOp::Copy { from, to } => vec![*from, *to],
        DiskOp::Merge { base, over, zero_base, .. } => {
            if *zero_base {
                vec![*over]
            } else {
                vec![*base, *over]
            }
        }
        DiskOp::ReadMeta { .. }
        | DiskOp::WriteMeta { .. }
        | DiskOp::Scan { .. }
        | DiskOp::Discard { .. }
        | DiskOp::Flush { .. } => Vec::new(),
    }
}

impl Jobs {
    /// No operation yet on the disk of that volume.
    #[must_use]
    pub fn new(volume: u32, disk: Disk) -> Jobs {
        Jobs { volume, disk, jobs: Vec::new(), free: Vec::new() }
    }

    /// Where everything is.
    #[must_use]
    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    /// How many operations are under way.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.jobs.len() - self.free.len()
    }

    /// Begins an operation. The caller took one reference to each of its [`buffers`]; they end with it. Some are
    /// over at once.
    pub(crate) fn begin(&mut self, op: OpId, what: DiskOp, gear: &mut Gear) -> Option<Finished> {
        let held = buffers(&what);
        match what {
            DiskOp::ReadMeta { area, offset, bytes } => {
                let job = self.open(op, Kind::Meta, held);
                let pages = Pages::zeroed(bytes as usize);
                self.read(job, area, offset, Pieces::one(Piece::Pages { pages, from: 0 }), gear);
            }
            DiskOp::Scan { offset, bytes } => {
                let job = self.open(op, Kind::Scan { offset }, held);
                let pages = Pages::zeroed(bytes as usize);
                self.read(job, Area::Log, offset, Pieces::one(Piece::Pages { pages, from: 0 }), gear);
            }
            DiskOp::WriteMeta { area, offset, bytes, durable } => {
                let job = self.open(op, Kind::Store, held);
                let pages = Pages::copy_of(&bytes);
                let from = Pieces::one(Piece::Pages { pages, from: 0 });
                self.write(job, area, offset, from, durable, gear);
            }
            DiskOp::Append { offset, parts, durable } => {
                let job = self.open(op, Kind::Store, held);
                count(&gear.counters.appends);
                add(&gear.counters.durable_appends, u64::from(durable));
                add(&gear.counters.append_records, parts.len() as u64);
                let from = append(&parts, self.disk.geometry.unit_bytes as usize, &gear.pool);
                self.write(job, Area::Log, offset, from, durable, gear);
            }
            DiskOp::WriteHome { extent, from } => {
                let job = self.open(op, Kind::Store, held);
                let offset = extent.start * u64::from(BLOCK_BYTES);
                assert!(extent.blocks == from.blocks, "an extent is written from as many blocks");
                let from = Pieces::one(Piece::Pool(gear.pool.span(from)));
                self.write(job, Area::Home, offset, from, false, gear);
            }
            DiskOp::Read { pieces, into: Some(buf), blocks } => {
                assert!(buf.blocks == blocks, "a read fills its buffer");
                let job = self.open(op, Kind::Wanting { pieces }, held);
                return self.gather(job, buf, gear);
            }
            DiskOp::Read { pieces, into: None, blocks } => {
                let job = self.open(op, Kind::Wanting { pieces }, held);
                let waiter = Waiter::Disk { volume: self.volume, job };
                let buf = gear.pool.alloc_or_wait(Purpose::Core, vec![blocks], waiter)?;
                return self.gather(job, buf[0], gear);
            }
            DiskOp::Discard { extent } => {
                if extent.blocks < DISCARD_BLOCKS_MIN {
                    return Some(Finished { op, result: Ok(DiskDone::Done) });
                }
                let job = self.open(op, Kind::Store, held);
                let (device, start) = self.disk.place(Area::Home);
                let offset = start + extent.start * u64::from(BLOCK_BYTES);
                let punch = Op::Punch { file: Rc::clone(device.descriptor()), offset, bytes: extent.bytes() };
                self.push(job, punch, gear);
            }
            DiskOp::Flush { area } => {
                let job = self.open(op, Kind::Store, held);
                count(&gear.counters.flushes);
                let (device, _) = self.disk.place(area);
                let sync = Op::Sync { file: Rc::clone(device.descriptor()) };
                self.push(job, sync, gear);
            }
            DiskOp::Copy { from, to } => {
                copy(from, to, &gear.pool);
                for buf in held {
                    gear.pool.release(buf);
                }
                return Some(Finished { op, result: Ok(DiskDone::Done) });
            }
            DiskOp::Merge { base, over, first_sector, sectors, zero_base } => {
                let base = (!zero_base).then_some(base);
                let crc = merge(base, over, first_sector, sectors, &gear.pool);
                for buf in held {
                    gear.pool.release(buf);
                }
                return Some(Finished { op, result: Ok(DiskDone::Merged(crc)) });
            }
        }
        None
    }

    /// The pool has room now for a read that brings its own buffer.
    pub(crate) fn on_granted(&mut self, job: u32, buf: Buf, gear: &mut Gear) -> Option<Finished> {
        self.gather(job, buf, gear)
    }

    /// A ring operation of a job is over.
    pub(crate) fn on_completion(
        &mut self,
        job: u32,
        completion: Completion<Token>,
        gear: &mut Gear,
    ) -> Option<Finished> {
        let moved = completion.moved();
        let under_way = self.jobs[job as usize].as_mut().expect("a job lasts as long as its operations");
        let failed = match (completion.op, moved) {
            (Op::Read { file, offset, mut into }, Ok(moved)) if moved > 0 => {
                add(&gear.counters.device_bytes_read, moved as u64);
                if moved < into.bytes() {
                    into.pass(moved);
                    let rest = Op::Read { file, offset: offset + moved as u64, into };
                    gear.ring.push(Token::Disk { volume: self.volume, job }, rest);
                    return None;
                }
                if let Some(Piece::Pages { pages, .. }) = into.pop() {
                    under_way.pages = Some(pages);
                }
                None
            }
            (Op::Write { file, offset, mut from, durable }, Ok(moved)) if moved > 0 => {
                add(&gear.counters.device_bytes_written, moved as u64);
                if moved < from.bytes() {
                    from.pass(moved);
                    let rest = Op::Write { file, offset: offset + moved as u64, from, durable };
                    gear.ring.push(Token::Disk { volume: self.volume, job }, rest);
                    return None;
                }
                None
            }
            (Op::Read { .. } | Op::Write { .. }, Ok(_)) => Some(EIO),
            // Space that is not given back costs space, nothing else.
            (Op::Punch { .. }, Ok(_) | Err(_)) => None,
            (_, Ok(_)) => None,
            (_, Err(Errno(errno))) => Some(errno),
        };
        if let Some(errno) = failed {
            count(&gear.counters.device_errors);
            under_way.errno.get_or_insert(errno);
        }
        under_way.waiting -= 1;
        if under_way.waiting > 0 { None } else { Some(self.finish(job, gear)) }
    }

    fn finish(&mut self, job: u32, gear: &mut Gear) -> Finished {
        let done = self.jobs[job as usize].take().expect("a job ends once");
        self.free.push(job);
        let result = match (done.errno, done.kind) {
            (Some(errno), Kind::Gather { buf, .. }) => {
                // The reference of a buffer that the driver supplied was to go with the answer.
                if done.held.is_empty() {
                    gear.pool.release(buf);
                }
                Err(DiskError { errno })
            }
            (Some(errno), _) => Err(DiskError { errno }),
            (None, Kind::Meta) => Ok(DiskDone::Meta(done.pages.expect("it was read").to_vec())),
            (None, Kind::Scan { offset }) => {
                let pages = done.pages.expect("it was read");
                let unit = self.disk.geometry.unit_bytes;
                Ok(DiskDone::Scanned(scan(&pages, offset, unit, checksum::crc32c)))
            }
            (None, Kind::Store) => Ok(DiskDone::Done),
            (None, Kind::Gather { buf, pieces }) => {
                Ok(DiskDone::Read { buf, crcs: sum_up(buf, &pieces, &gear.pool) })
            }
            (None, Kind::Wanting { .. }) => unreachable!("a read without a buffer has no operation"),
        };
        for buf in done.held {
            gear.pool.release(buf);
        }
        Finished { op: done.op, result }
    }

    fn gather(&mut self, job: u32, buf: Buf, gear: &mut Gear) -> Option<Finished> {
        let wanting = self.jobs[job as usize].as_mut().expect("a job waits for its buffer");
        let Kind::Wanting { pieces } = &mut wanting.kind else { unreachable!("a read gets one buffer") };
        let pieces = std::mem::take(pieces);
        for stretch in stretches(&pieces) {
            let mut into = Pieces::new();
            let mut end = stretch[0].offset;
            for piece in joined(&stretch) {
                into.push(Piece::Skipped(usize::try_from(piece.offset - end).expect("a small gap")));
                into.push(Piece::Pool(gear.pool.span(buf.part(piece.at, piece.blocks))));
                end = piece.offset + u64::from(piece.blocks) * u64::from(BLOCK_BYTES);
            }
            self.read(job, stretch[0].area, stretch[0].offset, into, gear);
        }
        let gathering = self.jobs[job as usize].as_mut().expect("it is still there");
        gathering.kind = Kind::Gather { buf, pieces };
        (gathering.waiting == 0).then(|| self.finish(job, gear))
    }

    fn open(&mut self, op: OpId, kind: Kind, held: Vec<Buf>) -> u32 {
        let job = Some(Job { op, kind, held, waiting: 0, errno: None, pages: None });
        match self.free.pop() {
            Some(index) => {
                self.jobs[index as usize] = job;
                index
            }
            None => {
                self.jobs.push(job);
                u32::try_from(self.jobs.len() - 1).expect("fewer than 2^32 jobs")
            }
        }
    }

    fn read(&mut self, job: u32, area: Area, offset: u64, into: Pieces, gear: &mut Gear) {
        assert!(offset + into.bytes() as u64 <= self.disk.area_bytes(area), "a read lies within its area");
        let (device, start) = self.disk.place(area);
        let file = Rc::clone(device.descriptor());
        self.push(job, Op::Read { file, offset: start + offset, into }, gear);
    }

    fn write(&mut self, job: u32, area: Area, offset: u64, from: Pieces, durable: bool, gear: &mut Gear) {
        assert!(offset + from.bytes() as u64 <= self.disk.area_bytes(area), "a write lies within its area");
        add(&gear.counters.durable_writes, u64::from(durable));
        let (device, start) = self.disk.place(area);
        let file = Rc::clone(device.descriptor());
        self.push(job, Op::Write { file, offset: start + offset, from, durable }, gear);
    }

    fn push(&mut self, job: u32, op: Op, gear: &mut Gear) {
        self.jobs[job as usize].as_mut().expect("a job was opened").waiting += 1;
        gear.ring.push(Token::Disk { volume: self.volume, job }, op);
    }
}

/// Headers, each padded to a unit, and bodies, in order.
fn append(parts: &[AppendPart], unit: usize, pool: &Pool<Waiter>) -> Pieces {
    assert!(!parts.is_empty(), "an append holds records");
    let mut headers = Pages::zeroed(parts.len() * unit);
    for (part, header) in parts.iter().zip(headers.chunks_exact_mut(unit)) {
        header[..part.header.len()].copy_from_slice(&part.header[..]);
    }
    let headers = Rc::new(headers);
    let mut from = Pieces::new();
    for (index, part) in parts.iter().enumerate() {
        let pages = Rc::clone(&headers);
        from.push(Piece::Shared { pages, from: index * unit, to: (index + 1) * unit });
        if let Some(body) = part.body {
            from.push(Piece::Pool(pool.span(body)));
        }
    }
    from
}

/// Pieces of one read that go on where the one before ends, also in the buffer, as one.
fn joined(pieces: &[ReadPiece]) -> Vec<ReadPiece> {
    let mut joined: Vec<ReadPiece> = Vec::with_capacity(pieces.len());
    for piece in pieces {
        match joined.last_mut() {
            Some(last)
                if last.offset + u64::from(last.blocks) * u64::from(BLOCK_BYTES) == piece.offset
                    && last.at + last.blocks == piece.at =>
            {
                last.blocks += piece.blocks;
            }
            Some(_) | None => joined.push(*piece),
        }
    }
    joined
}

/// Pieces that are read at once, in the order of the device: what goes on where the one before ends, and what comes
/// shortly after. In the log that is a header, or a record that nobody wants.
fn stretches(pieces: &[ReadPiece]) -> Vec<Vec<ReadPiece>> {
    let mut sorted = pieces.to_vec();
    sorted.sort_unstable_by_key(|piece| (area_order(piece.area), piece.offset));
    let mut stretches: Vec<Vec<ReadPiece>> = Vec::new();
    for piece in sorted {
        match stretches.last_mut() {
            Some(stretch) if reaches(stretch, &piece) => stretch.push(piece),
            Some(_) | None => stretches.push(vec![piece]),
        }
    }
    stretches
}

/// Whether the read that brings these may bring that, too.
fn reaches(stretch: &[ReadPiece], next: &ReadPiece) -> bool {
    let Some(last) = stretch.last() else { return false };
    let end = last.offset + u64::from(last.blocks) * u64::from(BLOCK_BYTES);
    let gap_max = if last.area == Area::Log { GAP_BYTES_MAX } else { 0 };
    last.area == next.area
        && stretch.len() < STRETCH_PIECES_MAX
        && next.offset.checked_sub(end).is_some_and(|gap| gap <= gap_max)
}

fn area_order(area: Area) -> u8 {
    match area {
        Area::Super => 0,
        Area::Log => 1,
        Area::Table => 2,
        Area::Home => 3,
    }
}

/// Zeroes the blocks that no piece named, and sums all of them.
fn sum_up(buf: Buf, pieces: &[ReadPiece], pool: &Pool<Waiter>) -> Vec<seawall_wal::names::Crc> {
    let named = pieces.iter().map(|piece| piece.blocks).sum::<u32>();
    if named == buf.blocks {
        return checksum::of_blocks(pool.arena(), pool.span(buf));
    }
    let mut crcs = vec![ZERO_BLOCK; buf.blocks as usize];
    let mut is_named = vec![false; buf.blocks as usize];
    for piece in pieces {
        let range = piece.at as usize..(piece.at + piece.blocks) as usize;
        is_named[range.clone()].fill(true);
        let span = pool.span(buf.part(piece.at, piece.blocks));
        crcs[range].copy_from_slice(&checksum::of_blocks(pool.arena(), span));
    }
    for (block, _) in (0u32..).zip(&is_named).filter(|(_, named)| !**named) {
        pool.arena().change(pool.span(buf.part(block, 1)), |bytes| bytes.fill(0));
    }
    crcs
}

/// Copies as many blocks as both have.
fn copy(from: Buf, to: Buf, pool: &Pool<Waiter>) {
    assert!(from.blocks == to.blocks, "a copy fills its buffer");
    let arena = pool.arena();
    arena.change(pool.span(to), |to| arena.look(pool.span(from), |from| to.copy_from_slice(from)));
}

/// Fills what the named sectors of `over` leave with the bytes of `base`, or zeroes.
fn merge(
    base: Option<Buf>,
    over: Buf,
    first_sector: u8,
    sectors: u8,
    pool: &Pool<Waiter>,
) -> seawall_wal::names::Crc {
    let sector = SECTOR_BYTES as usize;
    let from = usize::from(first_sector) * sector;
    let to = from + usize::from(sectors) * sector;
    let arena = pool.arena();
    arena.change(pool.span(over.part(0, 1)), |over| {
        match base {
            None => {
                over[..from].fill(0);
                over[to..].fill(0);
            }
            Some(base) => arena.look(pool.span(base.part(0, 1)), |base| {
                over[..from].copy_from_slice(&base[..from]);
                over[to..].copy_from_slice(&base[to..]);
            }),
        }
        checksum::crc32c(over)
    })
}
