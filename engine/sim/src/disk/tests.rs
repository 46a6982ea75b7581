use super::*;
use crate::prng::Stream;
use seawall_engine::io::Payload;
use seawall_wal::names::{Epoch, Lsn, VolumeId};
use seawall_wal::record::{Kind, RecordHeader};

fn disk(unit_bytes: u32) -> Disk {
    let geometry =
        Geometry { volume_blocks: 64, log_bytes: 4 << 20, unit_bytes, separate_log: unit_bytes == 512 };
    Disk::new(geometry)
}

fn part(lsn: u64, payload: &Payload) -> AppendPart {
    let header = RecordHeader {
        volume: VolumeId([1; 16]),
        epoch: Epoch::ZERO,
        lsn: Lsn(lsn),
        kind: Kind::Write,
        extent: Extent::new(lsn, payload.buf.blocks),
        chain: Crc(0),
        body: payload.crcs.clone(),
    };
    AppendPart { header: header.encode(Lsn::ZERO, 0), body: Some(payload.buf) }
}

fn carry(disk: &mut Disk, pool: &mut Pool, what: DiskOp, fate: Fate) -> Result<DiskDone, DiskError> {
    disk.on_given(OpId(9), what, fate, false);
    disk.on_due(OpId(9), pool, &mut Prng::new(1, Stream::Loss)).result
}

#[test]
fn what_is_appended_is_scanned_and_read() {
    for unit in [512, 4096] {
        let (mut disk, mut pool) = (disk(unit), Pool::default());
        let (first, second) = (pool.filled(&[5; BLOCK]), pool.filled(&[6; 2 * BLOCK]));
        let parts = vec![part(0, &first), part(1, &second)];
        let append = DiskOp::Append { offset: 0, parts, durable: true };
        assert_eq!(carry(&mut disk, &mut pool, append, Fate::Good), Ok(DiskDone::Done));
        let scan = DiskOp::Scan { offset: 0, bytes: 1 << 20 };
        let Ok(DiskDone::Scanned(scanned)) = carry(&mut disk, &mut pool, scan, Fate::Good) else { panic!() };
        let found: Vec<(u64, bool)> =
            scanned.records.iter().map(|found| (found.header.lsn.0, found.body_ok)).collect();
        assert_eq!(found, [(0, true), (1, true)]);
        let offset = scanned.records[1].offset + u64::from(unit);
        let pieces = vec![ReadPiece { area: Area::Log, offset, blocks: 2, at: 1 }];
        let read = DiskOp::Read { pieces, into: None, blocks: 4 };
        let Ok(DiskDone::Read { buf, crcs }) = carry(&mut disk, &mut pool, read, Fate::Good) else {
            panic!()
        };
        assert_eq!(crcs, [ZERO_BLOCK, second.crcs[0], second.crcs[1], ZERO_BLOCK]);
        assert_eq!(pool.bytes(buf.part(1, 2)), [6; 2 * BLOCK]);
    }
}

#[test]
fn a_merge_keeps_the_named_sectors_and_takes_the_rest() {
    let (mut disk, mut pool) = (disk(512), Pool::default());
    let (base, over) = (pool.filled(&[1; BLOCK]).buf, pool.filled(&[2; BLOCK]).buf);
    let merge = DiskOp::Merge { base, over, first_sector: 3, sectors: 2, zero_base: false };
    let mut expected = [1; BLOCK];
    expected[3 * SECTOR..5 * SECTOR].fill(2);
    assert_eq!(carry(&mut disk, &mut pool, merge, Fate::Good), Ok(DiskDone::Merged(crc32c(&expected))));
    assert_eq!(pool.bytes(over), expected);
}

#[test]
fn a_flush_covers_what_was_done_before_it_was_given_and_nothing_else() {
    let (mut disk, mut pool) = (disk(4096), Pool::default());
    let (one, two) = (pool.filled(&[1; BLOCK]).buf, pool.filled(&[2; BLOCK]).buf);
    let home = |start, from| DiskOp::WriteHome { extent: Extent::new(start, 1), from };
    carry(&mut disk, &mut pool, home(0, one), Fate::Good).unwrap();
    disk.on_given(OpId(1), DiskOp::Flush { area: Area::Home }, Fate::Good, false);
    carry(&mut disk, &mut pool, home(1, two), Fate::Good).unwrap();
    disk.on_due(OpId(1), &mut pool, &mut Prng::new(1, Stream::Loss));
    disk.on_crash(Crash::Power(Loss::Everything), &pool, &mut Prng::new(1, Stream::Loss));
    assert_eq!(disk.bytes(Area::Home, 0, BLOCK), [1; BLOCK]);
    assert_eq!(disk.bytes(Area::Home, BLOCK as u64, BLOCK), [0; BLOCK]);
}

#[test]
fn a_failed_write_may_have_written_anything() {
    let mut outcomes = std::collections::BTreeSet::new();
    for seed in 0..32 {
        let (mut disk, mut pool) = (disk(512), Pool::default());
        let from = pool.filled(&[7; BLOCK]).buf;
        disk.on_given(OpId(1), DiskOp::WriteHome { extent: Extent::new(0, 1), from }, Fate::Error, false);
        let ended = disk.on_due(OpId(1), &mut pool, &mut Prng::new(seed, Stream::Loss));
        assert_eq!(ended.result, Err(EIO));
        outcomes.insert(disk.bytes(Area::Home, 0, BLOCK).iter().filter(|&&byte| byte == 7).count());
    }
    assert!(outcomes.contains(&0) && outcomes.contains(&BLOCK) && outcomes.len() > 2, "{outcomes:?}");
}
