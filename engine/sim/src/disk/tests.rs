use super::*;
use crate::disk::damage::Rot;
use crate::prng::Stream;
use seawall_engine::io::{AppendPart, Payload};
use seawall_wal::crc::ZERO_BLOCK;
use seawall_wal::names::{Crc, Epoch, Lsn, Origin, VolumeId};
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
        origin: Origin::NONE,
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
        disk.on_given(
            OpId(1),
            DiskOp::WriteHome { extent: Extent::new(0, 1), from },
            Fate::Error(EIO),
            false,
        );
        let ended = disk.on_due(OpId(1), &mut pool, &mut Prng::new(seed, Stream::Loss));
        assert_eq!(ended.result, Err(EIO));
        outcomes.insert(disk.bytes(Area::Home, 0, BLOCK).iter().filter(|&&byte| byte == 7).count());
    }
    assert!(outcomes.contains(&0) && outcomes.contains(&BLOCK) && outcomes.len() > 2, "{outcomes:?}");
}

fn home(start: u64, from: Buf) -> DiskOp {
    DiskOp::WriteHome { extent: Extent::new(start, 1), from }
}

fn blocks_at_home(disk: &Disk) -> Vec<u8> {
    (0..4).map(|block| disk.bytes(Area::Home, block * BLOCK as u64, BLOCK)[0]).collect()
}

#[test]
fn a_lost_write_is_done_and_was_not_done_until_it_is_written_again() {
    let (mut disk, mut pool) = (disk(512), Pool::default());
    let (one, two) = (pool.filled(&[1; BLOCK]).buf, pool.filled(&[2; BLOCK]).buf);
    carry(&mut disk, &mut pool, home(1, one), Fate::Good).unwrap();
    assert_eq!(carry(&mut disk, &mut pool, home(1, two), Fate::Lost), Ok(DiskDone::Done));
    assert_eq!(blocks_at_home(&disk), [0, 1, 0, 0]);
    assert_eq!(disk.wrong_sectors(Area::Home), 8);
    carry(&mut disk, &mut pool, home(1, two), Fate::Good).unwrap();
    assert_eq!((blocks_at_home(&disk), disk.wrong_sectors(Area::Home)), (vec![0, 2, 0, 0], 0));
}

#[test]
fn a_write_that_goes_astray_leaves_its_place_and_overwrites_another() {
    let (mut disk, mut pool) = (disk(4096), Pool::default());
    for block in 0..4 {
        let from = pool.filled(&[u8::try_from(block).unwrap() + 1; BLOCK]).buf;
        carry(&mut disk, &mut pool, home(block, from), Fate::Good).unwrap();
    }
    let from = pool.filled(&[9; BLOCK]).buf;
    let to = 2 * BLOCK as u64 + 512;
    assert_eq!(carry(&mut disk, &mut pool, home(0, from), Fate::Astray { to }), Ok(DiskDone::Done));
    assert_eq!(blocks_at_home(&disk), [1, 2, 3, 9]);
    assert_eq!(disk.wrong_sectors(Area::Home), 16);
    disk.exchange_damage();
    assert_eq!((blocks_at_home(&disk), disk.wrong_sectors(Area::Home)), (vec![9, 2, 3, 4], 16));
    disk.exchange_damage();
    disk.take_back_damage(&[Area::Log]);
    assert_eq!(blocks_at_home(&disk), [1, 2, 3, 9]);
    disk.take_back_damage(&[Area::Home]);
    assert_eq!((blocks_at_home(&disk), disk.wrong_sectors(Area::Home)), (vec![9, 2, 3, 4], 0));
}

#[test]
fn rot_changes_one_sector_of_what_was_stable() {
    for rot in [Rot::Bits, Rot::Sector] {
        let (mut disk, mut pool) = (disk(512), Pool::default());
        let from = pool.filled(&[7; BLOCK]).buf;
        carry(&mut disk, &mut pool, home(0, from), Fate::Good).unwrap();
        carry(&mut disk, &mut pool, DiskOp::Flush { area: Area::Home }, Fate::Good).unwrap();
        disk.on_rot(Area::Home, 1024, rot, &mut Prng::new(4, Stream::Damage));
        disk.on_crash(Crash::Power(Loss::Everything), &pool, &mut Prng::new(1, Stream::Loss));
        let bytes = disk.bytes(Area::Home, 0, BLOCK);
        let wrong: Vec<usize> = (0..BLOCK).filter(|&at| bytes[at] != 7).collect();
        assert!(wrong.iter().all(|at| (1024..1536).contains(at)), "{wrong:?}");
        assert!(if rot == Rot::Bits { (1..=4).contains(&wrong.len()) } else { wrong.len() > 400 });
        assert_eq!(disk.wrong_sectors(Area::Home), 1);
    }
}

#[test]
fn a_crash_in_the_middle_of_a_write_heals_only_what_it_wrote() {
    for seed in 0..32 {
        let (mut disk, mut pool) = (disk(512), Pool::default());
        let from = pool.filled(&[7; BLOCK]).buf;
        carry(&mut disk, &mut pool, home(0, from), Fate::Lost).unwrap();
        disk.on_given(OpId(1), home(0, from), Fate::Good, false);
        disk.on_crash(Crash::Kill, &pool, &mut Prng::new(seed, Stream::Loss));
        let missing = disk.bytes(Area::Home, 0, BLOCK).chunks_exact(SECTOR).filter(|s| s[0] != 7).count();
        assert_eq!(disk.wrong_sectors(Area::Home), missing);
    }
}
