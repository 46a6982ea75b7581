//! Real files, opened for direct I/O.

use std::path::PathBuf;
use std::sync::Arc;

use seawall_engine::io::{AppendPart, Area, Buf, DiskDone, DiskError, DiskOp, OpId, ReadPiece};
use seawall_wal::crc::ZERO_BLOCK;
use seawall_wal::geometry::Geometry;
use seawall_wal::label::Label;
use seawall_wal::names::{Crc, Epoch, Extent, Lsn, Origin, ReplicaId, VolumeId};
use seawall_wal::record::{Kind, RecordHeader};

use super::device::{Device, DeviceError};
use super::format::{Contents, contents, format};
use super::{Disk, Jobs, buffers};
use crate::checksum::crc32c;
use crate::counters::Counters;
use crate::gear::{Gear, Token};
use crate::pool::{PoolSettings, Purpose};
use crate::ring::RingSettings;

/// A file that goes with its test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        Scratch(std::env::temp_dir().join(format!("seawall-disk-{}-{name}", std::process::id())))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn geometry(unit_bytes: u32, separate_log: bool) -> Geometry {
    Geometry { volume_blocks: 1000, log_bytes: 4 << 20, unit_bytes, separate_log }
}

fn label(geometry: Geometry) -> Label {
    Label { volume: VolumeId([7; 16]), replica: ReplicaId(9), geometry }
}

struct Bench {
    gear: Gear,
    jobs: Jobs,
    next: u64,
}

impl Bench {
    fn new(scratch: &Scratch, unit_bytes: u32, entries: u32) -> Bench {
        let geometry = geometry(unit_bytes, false);
        let main = Device::create(&scratch.0, geometry.device_bytes_min()).unwrap();
        let disk = Disk::new(main, None, geometry).unwrap();
        format(&disk, &label(geometry), &[], |_, _| ()).unwrap();
        let ring = RingSettings { entries, fixed_buffers: entries > 4 };
        let pool = PoolSettings { blocks: 256, core_blocks: 64 };
        let gear = Gear::new(ring, pool, Arc::new(Counters::default())).unwrap();
        Bench { gear, jobs: Jobs::new(0, disk), next: 0 }
    }

    fn buf(&mut self, blocks: u32, fill: u8) -> Buf {
        let buf = self.gear.pool.alloc(Purpose::Client, &[blocks]).unwrap()[0];
        self.gear.pool.arena().change(self.gear.pool.span(buf), |bytes| bytes.fill(fill));
        buf
    }

    fn bytes(&self, buf: Buf) -> Vec<u8> {
        self.gear.pool.arena().look(self.gear.pool.span(buf), <[u8]>::to_vec)
    }

    /// Carries one operation out, as the driver does.
    fn run(&mut self, what: DiskOp) -> Result<DiskDone, DiskError> {
        self.next += 1;
        for buf in buffers(&what) {
            self.gear.pool.retain(buf);
        }
        let op = OpId(self.next);
        let mut finished = self.jobs.begin(op, what, &mut self.gear);
        while finished.is_none() {
            self.gear.ring.turn(None).unwrap();
            while let Some(completion) = self.gear.ring.take() {
                let Token::Disk { job, .. } = completion.token else { panic!("only disks are at work") };
                finished = self.jobs.on_completion(job, completion, &mut self.gear).or(finished);
            }
        }
        let finished = finished.unwrap();
        assert_eq!(finished.op, op);
        assert_eq!(self.jobs.under_way(), 0);
        finished.result
    }
}

fn record(lsn: u64, chain: Crc, body: &[u8]) -> (RecordHeader, Box<[u8; 512]>) {
    let blocks = u32::try_from(body.len() / 4096).unwrap();
    let header = RecordHeader {
        volume: VolumeId([7; 16]),
        epoch: Epoch { counter: 1, replica: ReplicaId(9) },
        lsn: Lsn(lsn),
        kind: Kind::Write,
        extent: Extent::new(3, blocks),
        chain,
        origin: Origin::NONE,
        body: body.chunks(4096).map(crc32c).collect(),
    };
    let encoded = header.encode(Lsn::ZERO, 0);
    (header, encoded)
}

#[test]
fn what_is_appended_is_found_by_a_scan_whatever_the_unit_and_however_many_records() {
    for (unit, entries) in [(512, 4), (4096, 4), (512, 64)] {
        let scratch = Scratch::new(&format!("append-{unit}-{entries}"));
        let mut bench = Bench::new(&scratch, unit, entries);
        let body = bench.buf(2, 5);
        let (mut chain, mut headers, mut parts) = (Crc(0), Vec::new(), Vec::new());
        // More records than the kernel takes pieces at once: the write ends short and goes on.
        for lsn in 0..if unit == 512 { 700 } else { 60 } {
            let part = body.part(u32::try_from(lsn % 2).unwrap(), 1);
            let (header, encoded) = record(lsn, chain, &[5; 4096]);
            chain = header.digest();
            headers.push(header);
            parts.push(AppendPart { header: encoded, body: Some(part) });
        }
        let count = headers.len();
        for part in &parts {
            assert_eq!(part.header.len(), 512);
        }
        assert_eq!(bench.run(DiskOp::Append { offset: 8192, parts, durable: true }), Ok(DiskDone::Done));
        let done = bench.run(DiskOp::Scan { offset: 0, bytes: 4 << 20 });
        let Ok(DiskDone::Scanned(scanned)) = done else { panic!("{done:?}") };
        assert_eq!(scanned.records.len(), count);
        for (found, header) in scanned.records.iter().zip(&headers) {
            assert!(found.body_ok && found.header == *header);
        }
        assert_eq!(scanned.records[1].offset, 8192 + u64::from(unit) + 4096);
        bench.gear.pool.release(body);
        assert_eq!(bench.gear.pool.allocations(), 0, "buffers come home");
        let written = bench.gear.counters.device_bytes_written.load(std::sync::atomic::Ordering::Relaxed);
        assert_eq!(written, count as u64 * (u64::from(unit) + 4096));
    }
}

#[test]
fn a_read_gathers_pieces_zeroes_the_rest_and_sums_every_block() {
    let scratch = Scratch::new("gather");
    let mut bench = Bench::new(&scratch, 512, 4);
    let home = bench.buf(64, 3);
    assert_eq!(bench.run(DiskOp::WriteHome { extent: Extent::new(10, 64), from: home }), Ok(DiskDone::Done));
    let (header, encoded) = record(0, Crc(0), &[8; 8192]);
    let body = bench.buf(2, 8);
    let parts = vec![AppendPart { header: encoded, body: Some(body) }];
    bench.run(DiskOp::Append { offset: 0, parts, durable: false }).unwrap();
    let pieces = vec![
        ReadPiece { area: Area::Home, offset: 10 * 4096, blocks: 1, at: 0 },
        ReadPiece { area: Area::Home, offset: 11 * 4096, blocks: 1, at: 1 },
        ReadPiece { area: Area::Log, offset: 512 + 4096, blocks: 1, at: 3 },
    ];
    let into = bench.buf(5, 0xFF);
    let expected = vec![crc32c(&[3; 4096]), crc32c(&[3; 4096]), ZERO_BLOCK, header.body[1], ZERO_BLOCK];
    let mut bytes = vec![3; 8192];
    bytes.extend([0; 4096]);
    bytes.extend([8; 4096]);
    bytes.extend([0; 4096]);
    let read = DiskOp::Read { pieces: pieces.clone(), into: Some(into), blocks: 5 };
    assert_eq!(bench.run(read), Ok(DiskDone::Read { buf: into, crcs: expected.clone() }));
    assert_eq!(bench.bytes(into), bytes);
    let done = bench.run(DiskOp::Read { pieces, into: None, blocks: 5 });
    let Ok(DiskDone::Read { buf, crcs }) = done else { panic!("{done:?}") };
    assert_eq!((crcs, bench.bytes(buf)), (expected, bytes));
    for buf in [home, body, into, buf] {
        bench.gear.pool.release(buf);
    }
    assert_eq!(bench.gear.pool.allocations(), 0, "buffers come home");
}

#[test]
fn pieces_of_the_log_that_lie_close_are_one_read_whatever_their_order_in_the_buffer() {
    for unit in [512, 4096] {
        let scratch = Scratch::new(&format!("stretch-{unit}"));
        let mut bench = Bench::new(&scratch, unit, 64);
        let stride = u64::from(unit) + 4096;
        let (mut chain, mut parts, mut bodies) = (Crc(0), Vec::new(), Vec::new());
        for lsn in 0..40u8 {
            let (header, encoded) = record(lsn.into(), chain, &[lsn; 4096]);
            chain = header.digest();
            bodies.push(bench.buf(1, lsn));
            parts.push(AppendPart { header: encoded, body: bodies.last().copied() });
        }
        bench.run(DiskOp::Append { offset: 0, parts, durable: false }).unwrap();
        bodies.into_iter().for_each(|body| bench.gear.pool.release(body));
        // Neighbours, some left out, and one far away.
        let wanted = [7, 2, 3, 5, 39, 4];
        let piece = |(at, lsn): (u32, &u8)| {
            let offset = u64::from(*lsn) * stride + u64::from(unit);
            ReadPiece { area: Area::Log, offset, blocks: 1, at }
        };
        let pieces: Vec<ReadPiece> = (0..).zip(&wanted).map(piece).collect();
        let read = DiskOp::Read { pieces, into: None, blocks: 6 };
        let done = bench.run(read);
        let Ok(DiskDone::Read { buf, crcs }) = done else { panic!("{done:?}") };
        assert_eq!(crcs, wanted.map(|lsn| crc32c(&[lsn; 4096])));
        assert_eq!(bench.bytes(buf), wanted.map(|lsn| [lsn; 4096]).concat());
        let read = bench.gear.counters.device_bytes_read.load(std::sync::atomic::Ordering::Relaxed);
        assert_eq!(read, 5 * stride + 4096 + 4096, "from the third to the eighth at once, and the last");
        bench.gear.pool.release(buf);
        assert_eq!(bench.gear.pool.allocations(), 0, "buffers come home");
    }
}

#[test]
fn a_merge_keeps_the_older_bytes_around_the_newer_sectors() {
    let scratch = Scratch::new("merge");
    let mut bench = Bench::new(&scratch, 512, 4);
    let (base, over) = (bench.buf(1, 1), bench.buf(1, 2));
    let merge = |zero_base| DiskOp::Merge { base, over, first_sector: 2, sectors: 3, zero_base };
    let mut expected = vec![1; 4096];
    expected[1024..2560].fill(2);
    assert_eq!(bench.run(merge(false)), Ok(DiskDone::Merged(crc32c(&expected))));
    assert_eq!(bench.bytes(over), expected);
    expected[..1024].fill(0);
    expected[2560..].fill(0);
    assert_eq!(bench.run(merge(true)), Ok(DiskDone::Merged(crc32c(&expected))));
    bench.gear.pool.release(base);
    bench.gear.pool.release(over);
    assert_eq!(bench.gear.pool.allocations(), 0, "buffers come home");
}

#[test]
fn metadata_comes_back_flushes_and_discards_end_well() {
    let scratch = Scratch::new("meta");
    let mut bench = Bench::new(&scratch, 512, 4);
    let bytes: Vec<u8> = (0..8192u32).map(|at| u8::try_from(at % 251).unwrap()).collect();
    for area in [Area::Super, Area::Table] {
        let write = DiskOp::WriteMeta { area, offset: 0, bytes: bytes.clone(), durable: true };
        assert_eq!(bench.run(write), Ok(DiskDone::Done));
        let read = DiskOp::ReadMeta { area, offset: 0, bytes: 8192 };
        assert_eq!(bench.run(read), Ok(DiskDone::Meta(bytes.clone())));
    }
    assert_eq!(bench.run(DiskOp::Flush { area: Area::Home }), Ok(DiskDone::Done));
    let from = bench.buf(64, 9);
    bench.run(DiskOp::WriteHome { extent: Extent::new(100, 64), from }).unwrap();
    assert_eq!(bench.run(DiskOp::Discard { extent: Extent::new(100, 64) }), Ok(DiskDone::Done));
    let pieces = vec![ReadPiece { area: Area::Home, offset: 100 * 4096, blocks: 64, at: 0 }];
    let read = bench.run(DiskOp::Read { pieces, into: Some(from), blocks: 64 });
    assert_eq!(read, Ok(DiskDone::Read { buf: from, crcs: vec![ZERO_BLOCK; 64] }));
}

#[test]
fn a_device_that_shrank_is_an_error_and_not_a_hang_and_buffers_come_home() {
    let scratch = Scratch::new("shrunk");
    let mut bench = Bench::new(&scratch, 512, 4);
    let home = geometry(512, false).home_offset();
    let file = std::fs::OpenOptions::new().write(true).open(&scratch.0).unwrap();
    // Half of a block is left: a short read first, then one that moves nothing.
    file.set_len(home + 4096 + 2048).unwrap();
    let pieces = vec![ReadPiece { area: Area::Home, offset: 0, blocks: 8, at: 0 }];
    for into in [None, Some(bench.buf(8, 1))] {
        let read = DiskOp::Read { pieces: pieces.clone(), into, blocks: 8 };
        assert_eq!(bench.run(read), Err(DiskError { errno: 5 }));
        into.into_iter().for_each(|buf| bench.gear.pool.release(buf));
    }
    assert_eq!(bench.gear.pool.allocations(), 0, "buffers come home");
}

#[test]
fn two_never_open_one_disk_and_strangers_are_told_apart() {
    let scratch = Scratch::new("lock");
    let first = Device::create(&scratch.0, 1 << 20).unwrap();
    assert_eq!(Device::open(&scratch.0).err(), Some(DeviceError::InUse { path: scratch.0.clone() }));
    assert_eq!(contents(&first).unwrap(), Contents::Blank);
    assert!(matches!(first.check_size(2 << 20), Err(DeviceError::Size { found: 1_048_576, .. })));
    drop(first);
    let again = Device::open(&scratch.0).unwrap();
    assert_eq!(Disk::open(again, None).err(), Some(DeviceError::NotFormatted { path: scratch.0.clone() }));
    assert!(matches!(Device::open(&std::env::temp_dir()), Err(DeviceError::Kind { .. })));
    let absent = Device::open(std::path::Path::new("no/such/disk")).err();
    assert!(matches!(absent, Some(DeviceError::Refused { errno: 2, act: "open", .. })));
}

#[test]
fn a_log_device_must_be_the_one_that_belongs_to_the_main_device() {
    let (main, log) = (Scratch::new("main"), Scratch::new("log"));
    let geometry = geometry(512, true);
    let create = || {
        let main = Device::create(&main.0, geometry.device_bytes_min()).unwrap();
        Disk::new(main, Some(Device::create(&log.0, geometry.log_device_bytes_min()).unwrap()), geometry)
            .unwrap()
    };
    let mut heard = Vec::new();
    format(&create(), &label(geometry), &[], |done, total| heard.push((done, total))).unwrap();
    assert_eq!(heard.last().map(|(done, total)| done == total), Some(true));
    let mut stranger = label(geometry);
    for (replica, fits) in [(9, true), (10, false)] {
        stranger.replica = ReplicaId(replica);
        let log = create().log.unwrap();
        log.write(0, &crate::ring::pages::Pages::copy_of(&stranger.encode())).unwrap();
        assert_eq!(super::check_label(&log, &label(geometry)).is_ok(), fits);
    }
}
