//! Every format, byte by byte. A change here is a change of what is on people's disks.

use std::fmt::Write as _;

use seawall_wal::configuration::{Configuration, Member, Suffrage};
use seawall_wal::crc::crc32c;
use seawall_wal::geometry::Geometry;
use seawall_wal::label::{Label, LabelState};
use seawall_wal::log::Position;
use seawall_wal::maintenance::{Lease, Leases};
use seawall_wal::names::{Crc, Epoch, Extent, LineageRow, Lsn, Origin, ReplicaId, VolumeId};
use seawall_wal::record::{Kind, RecordHeader, Trailer};
use seawall_wal::superblock::{
    BaseState, CleanMark, CommitRule, Cut, Failover, SlotState, Superblock, Terms,
};
use seawall_wal::table::{Table, TableMark, mix};

const VOLUME: VolumeId = VolumeId([
    0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf,
]);
const REPLICA: ReplicaId = ReplicaId(0x1112_1314_1516_1718);
const EPOCH: Epoch = Epoch { counter: 0x21, replica: REPLICA };
const GEOMETRY: Geometry =
    Geometry { volume_blocks: 0x28_0000, log_bytes: 0x4000_0000, unit_bytes: 512, separate_log: true };

/// Lines of 16 bytes, those of zeroes left out.
fn dump(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (line, at) in bytes.chunks(16).zip((0..).step_by(16)) {
        if line.iter().any(|b| *b != 0) {
            write!(text, "\n{at:04x}").expect("a string takes all");
            line.iter().for_each(|b| write!(text, " {b:02x}").expect("a string takes all"));
        }
    }
    text
}

fn check(bytes: &[u8], length: usize, golden: &str) {
    assert_eq!(bytes.len(), length);
    let dumped = dump(bytes);
    assert_eq!(dumped, golden, "\nis:{dumped}\n");
}

fn write() -> RecordHeader {
    RecordHeader {
        volume: VOLUME,
        epoch: EPOCH,
        lsn: Lsn(0x31),
        kind: Kind::Write,
        extent: Extent::new(0x4142, 2),
        chain: Crc(0x5152_5354),
        origin: Origin { incarnation: Lsn(0x1f), number: 0xe1e2_e3e4_e5e6_e7e8 },
        body: vec![Crc(0x6162_6364), Crc(0x7172_7374)],
    }
}

#[test]
fn a_write_record() {
    let bytes = write().encode(Lsn(0x2f), 3);
    check(
        &bytes[..],
        512,
        "
0000 53 57 4c 52 02 01 02 00 a0 a1 a2 a3 a4 a5 a6 a7
0010 a8 a9 aa ab ac ad ae af 21 00 00 00 00 00 00 00
0020 18 17 16 15 14 13 12 11 31 00 00 00 00 00 00 00
0030 42 41 00 00 00 00 00 00 02 00 00 00 54 53 52 51
0040 1f 00 00 00 00 00 00 00 e8 e7 e6 e5 e4 e3 e2 e1
0050 64 63 62 61 74 73 72 71 00 00 00 00 00 00 00 00
01e0 00 00 00 00 00 00 00 00 00 00 00 00 36 66 35 09
01f0 2f 00 00 00 00 00 00 00 03 00 00 00 6d 4a bc 59",
    );
    assert_eq!(
        RecordHeader::decode(&bytes),
        Ok((write(), Trailer { durable_before: Lsn(0x2f), generation: 3 }))
    );
    assert_eq!(write().digest(), crc32c(&bytes[..88]));
}

#[test]
fn a_write_record_on_the_wire() {
    let bytes = write().wire();
    check(
        &bytes,
        92,
        "
0000 53 57 4c 52 02 01 02 00 a0 a1 a2 a3 a4 a5 a6 a7
0010 a8 a9 aa ab ac ad ae af 21 00 00 00 00 00 00 00
0020 18 17 16 15 14 13 12 11 31 00 00 00 00 00 00 00
0030 42 41 00 00 00 00 00 00 02 00 00 00 54 53 52 51
0040 1f 00 00 00 00 00 00 00 e8 e7 e6 e5 e4 e3 e2 e1
0050 64 63 62 61 74 73 72 71 36 66 35 09",
    );
    assert_eq!(RecordHeader::from_wire(&bytes), Ok(write()));
    assert_eq!(bytes[88..], write().digest().0.to_le_bytes());
}

#[test]
fn a_trim_record() {
    let trim = RecordHeader { kind: Kind::Trim, extent: Extent::new(0, u32::MAX), body: vec![], ..write() };
    check(
        &trim.encode(Lsn(0), 0)[..],
        512,
        "
0000 53 57 4c 52 02 03 00 00 a0 a1 a2 a3 a4 a5 a6 a7
0010 a8 a9 aa ab ac ad ae af 21 00 00 00 00 00 00 00
0020 18 17 16 15 14 13 12 11 31 00 00 00 00 00 00 00
0030 00 00 00 00 00 00 00 00 ff ff ff ff 54 53 52 51
0040 1f 00 00 00 00 00 00 00 e8 e7 e6 e5 e4 e3 e2 e1
01e0 00 00 00 00 00 00 00 00 00 00 00 00 d3 75 4c 8d
01f0 00 00 00 00 00 00 00 00 00 00 00 00 8b ff 21 b3",
    );
}

#[test]
fn an_epoch_start_record() {
    let start = RecordHeader {
        kind: Kind::EpochStart,
        extent: Extent::default(),
        body: vec![],
        origin: Origin::NONE,
        ..write()
    };
    check(
        &start.encode(Lsn(0), 0)[..],
        512,
        "
0000 53 57 4c 52 02 04 00 00 a0 a1 a2 a3 a4 a5 a6 a7
0010 a8 a9 aa ab ac ad ae af 21 00 00 00 00 00 00 00
0020 18 17 16 15 14 13 12 11 31 00 00 00 00 00 00 00
0030 00 00 00 00 00 00 00 00 00 00 00 00 54 53 52 51
01e0 00 00 00 00 00 00 00 00 00 00 00 00 30 52 5d 0f
01f0 00 00 00 00 00 00 00 00 00 00 00 00 59 56 46 e0",
    );
}

#[test]
fn an_attach_record() {
    let origin = Origin { incarnation: Lsn(0x1f), number: 0x1112_1314_1516_1718 };
    let attach =
        RecordHeader { kind: Kind::Attach, extent: Extent::default(), body: vec![], origin, ..write() };
    check(
        &attach.encode(Lsn(0), 0)[..],
        512,
        "
0000 53 57 4c 52 02 06 00 00 a0 a1 a2 a3 a4 a5 a6 a7
0010 a8 a9 aa ab ac ad ae af 21 00 00 00 00 00 00 00
0020 18 17 16 15 14 13 12 11 31 00 00 00 00 00 00 00
0030 00 00 00 00 00 00 00 00 00 00 00 00 54 53 52 51
0040 1f 00 00 00 00 00 00 00 18 17 16 15 14 13 12 11
01e0 00 00 00 00 00 00 00 00 00 00 00 00 d8 1d 13 e2
01f0 00 00 00 00 00 00 00 00 00 00 00 00 68 43 c9 43",
    );
}

#[test]
fn a_padding_record() {
    let padding = RecordHeader::padding(VOLUME, EPOCH, Lsn(0x31), Crc(0x5152_5354), 0x2600);
    assert_eq!(padding.disk_bytes(512), 0x2600);
    check(
        &padding.encode(Lsn(0x2f), 3)[..],
        512,
        "
0000 53 57 4c 52 02 05 00 00 a0 a1 a2 a3 a4 a5 a6 a7
0010 a8 a9 aa ab ac ad ae af 21 00 00 00 00 00 00 00
0020 18 17 16 15 14 13 12 11 31 00 00 00 00 00 00 00
0030 00 26 00 00 00 00 00 00 00 00 00 00 54 53 52 51
01e0 00 00 00 00 00 00 00 00 00 00 00 00 3c b7 17 4d
01f0 2f 00 00 00 00 00 00 00 03 00 00 00 44 9b 1a 4c",
    );
}

fn configuration() -> Configuration {
    let (name, address) = ("north".into(), "n.example:7700".into());
    let north = Member { replica: REPLICA, name, address, suffrage: Suffrage::Voter };
    let south = Member { replica: ReplicaId(0xa1), suffrage: Suffrage::Learner, ..north.clone() };
    Configuration { number: 0x12, members: vec![north, south], retired: vec![ReplicaId(0xa2)] }
}

#[test]
fn a_configuration_record() {
    let (kind, extent, origin) = (Kind::Configuration, Extent::default(), Origin::NONE);
    let body = configuration().words(Some(REPLICA)).expect("it fits");
    let record = RecordHeader { kind, extent, body, origin, ..write() };
    assert_eq!(record.disk_bytes(512), 512, "no block follows");
    check(
        &record.encode(Lsn(0), 0)[..],
        512,
        "
0000 53 57 4c 52 02 07 0d 00 a0 a1 a2 a3 a4 a5 a6 a7
0010 a8 a9 aa ab ac ad ae af 21 00 00 00 00 00 00 00
0020 18 17 16 15 14 13 12 11 31 00 00 00 00 00 00 00
0030 00 00 00 00 00 00 00 00 00 00 00 00 54 53 52 51
0050 12 00 00 00 00 00 00 00 02 00 05 0e 18 17 16 15
0060 14 13 12 11 a1 00 00 00 00 00 00 00 01 02 6e 6f
0070 72 74 68 6e 2e 65 78 61 6d 70 6c 65 3a 37 37 30
0080 30 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
01e0 00 00 00 00 00 00 00 00 00 00 00 00 71 e7 46 35
01f0 00 00 00 00 00 00 00 00 00 00 00 00 cd a5 20 d3",
    );
}

fn lease() -> Lease {
    let (owner, reason) = ("ann".into(), "disk".into());
    Lease { replica: REPLICA, owner, reason, began_ms: 0x0102_0304, length_ms: 0x0506 }
}

#[test]
fn a_maintenance_record() {
    let (kind, extent, origin) = (Kind::Maintenance, Extent::default(), Origin::NONE);
    let record = RecordHeader { kind, extent, body: lease().words(), origin, ..write() };
    assert_eq!(record.disk_bytes(512), 512, "no block follows");
    check(
        &record.encode(Lsn(0), 0)[..],
        512,
        "
0000 53 57 4c 52 02 08 09 00 a0 a1 a2 a3 a4 a5 a6 a7
0010 a8 a9 aa ab ac ad ae af 21 00 00 00 00 00 00 00
0020 18 17 16 15 14 13 12 11 31 00 00 00 00 00 00 00
0030 00 00 00 00 00 00 00 00 00 00 00 00 54 53 52 51
0050 18 17 16 15 14 13 12 11 04 03 02 01 00 00 00 00
0060 06 05 00 00 00 00 00 00 03 00 04 00 61 6e 6e 64
0070 69 73 6b 00 00 00 00 00 00 00 00 00 00 00 00 00
01e0 00 00 00 00 00 00 00 00 00 00 00 00 ff a2 c5 bb
01f0 00 00 00 00 00 00 00 00 00 00 00 00 36 89 15 f8",
    );
}

fn superblock() -> Superblock {
    Superblock {
        sequence: 0x0102,
        volume: VOLUME,
        replica: REPLICA,
        geometry: GEOMETRY,
        configuration: configuration(),
        promised: EPOCH,
        campaigned: Epoch { counter: 0x1f, replica: REPLICA },
        lineage: vec![LineageRow { epoch: EPOCH, first: Lsn(0x30) }],
        log_start: Position { lsn: Lsn(0x25), offset: 0x0020_0000, chain: Crc(0x8182_8384), epoch: EPOCH },
        checkpoint: Lsn(0x2a),
        settled: Lsn(0x2b),
        checkpoint_number: 6,
        table: TableMark { generation: 5, root: 0x9192_9394 },
        cut: Some(Cut { lsn: Lsn(0x2c), generation: 3 }),
        base: BaseState::Rebuilding {
            cut: Lsn(0x28),
            held: 0x0001_0000,
            lineage: LineageRow { epoch: EPOCH, first: Lsn(0x30) },
        },
        clean: Some(CleanMark { end: Lsn(0x33) }),
        boots: 9,
        machine_boot: [0xb0; 16],
        lossy: false,
        ack_durable: true,
        attached: Lsn(0x2b),
        terms: Terms {
            name: "v".into(),
            commit: CommitRule::All,
            failover: Failover::Manual,
            lease_ms: 0x03e8,
        },
        promises_lost: true,
        maintenance: Leases { held: vec![lease()], through: Lsn(0x29) },
    }
}

#[test]
fn a_superblock() {
    let bytes = superblock().encode();
    check(
        &bytes,
        4096,
        "
0000 53 45 41 57 41 4c 4c 01 07 00 00 00 00 02 00 00
0010 49 bf a9 e8 00 00 00 00 00 00 00 00 00 00 00 00
0020 02 01 00 00 00 00 00 00 a0 a1 a2 a3 a4 a5 a6 a7
0030 a8 a9 aa ab ac ad ae af 18 17 16 15 14 13 12 11
0040 00 00 28 00 00 00 00 00 00 00 00 40 00 00 00 00
0050 00 02 00 00 01 12 00 00 00 00 00 00 00 02 00 00
0060 00 00 00 00 00 18 17 16 15 14 13 12 11 05 00 00
0070 00 00 00 00 00 6e 6f 72 74 68 0e 00 00 00 00 00
0080 00 00 6e 2e 65 78 61 6d 70 6c 65 3a 37 37 30 30
0090 01 00 00 00 a1 00 00 00 00 00 00 00 05 00 00 00
00a0 00 00 00 00 6e 6f 72 74 68 0e 00 00 00 00 00 00
00b0 00 6e 2e 65 78 61 6d 70 6c 65 3a 37 37 30 30 02
00c0 00 00 00 01 00 00 00 00 00 00 00 a2 00 00 00 00
00d0 00 00 00 21 00 00 00 00 00 00 00 18 17 16 15 14
00e0 13 12 11 1f 00 00 00 00 00 00 00 18 17 16 15 14
00f0 13 12 11 01 00 00 00 00 00 00 00 21 00 00 00 00
0100 00 00 00 18 17 16 15 14 13 12 11 30 00 00 00 00
0110 00 00 00 25 00 00 00 00 00 00 00 00 00 20 00 00
0120 00 00 00 84 83 82 81 21 00 00 00 00 00 00 00 18
0130 17 16 15 14 13 12 11 2a 00 00 00 00 00 00 00 2b
0140 00 00 00 00 00 00 00 06 00 00 00 00 00 00 00 05
0150 00 00 00 00 00 00 00 94 93 92 91 00 00 00 00 00
0160 00 00 00 00 00 00 00 01 2c 00 00 00 00 00 00 00
0170 03 00 00 00 01 00 00 00 28 00 00 00 00 00 00 00
0180 00 00 01 00 00 00 00 00 21 00 00 00 00 00 00 00
0190 18 17 16 15 14 13 12 11 30 00 00 00 00 00 00 00
01a0 01 33 00 00 00 00 00 00 00 09 00 00 00 b0 b0 b0
01b0 b0 b0 b0 b0 b0 b0 b0 b0 b0 b0 b0 b0 b0 00 01 2b
01c0 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00 76
01d0 01 00 00 00 01 00 00 00 e8 03 00 00 00 00 00 00
01e0 01 01 00 00 00 00 00 00 00 18 17 16 15 14 13 12
01f0 11 03 00 00 00 00 00 00 00 61 6e 6e 04 00 00 00
0200 00 00 00 00 64 69 73 6b 04 03 02 01 00 00 00 00
0210 06 05 00 00 00 00 00 00 29 00 00 00 00 00 00 00",
    );
    assert_eq!(Superblock::decode(&bytes), SlotState::Present(Box::new(superblock())));
}

#[test]
fn a_label() {
    let label = Label::of(&superblock());
    check(
        &label.encode(),
        4096,
        "
0000 53 45 41 57 41 4c 4c 02 01 00 00 00 2d 00 00 00
0010 90 cb be 29 00 00 00 00 00 00 00 00 00 00 00 00
0020 a0 a1 a2 a3 a4 a5 a6 a7 a8 a9 aa ab ac ad ae af
0030 18 17 16 15 14 13 12 11 00 00 28 00 00 00 00 00
0040 00 00 00 40 00 00 00 00 00 02 00 00 01 00 00 00",
    );
    assert_eq!(Label::decode(&label.encode()), LabelState::Present(label));
}

#[test]
fn a_table_page() {
    let mut table = Table::new(5000, TableMark { generation: 6, root: 0 });
    table.set(1016, Some(Crc(0xc1c2_c3c4)));
    table.set(1018, Some(Crc(0)));
    table.set(2031, Some(Crc(0xd1d2_d3d4)));
    let (offset, bytes) = table.encode(1);
    assert_eq!(offset, 8192);
    check(
        &bytes,
        4096,
        "
0000 53 57 43 54 01 00 00 00 01 00 00 00 00 00 00 00
0010 07 00 00 00 00 00 00 00 a2 ee 29 c0 00 00 00 00
0020 c4 c3 c2 c1 00 00 00 00 ff ff ff ff 00 00 00 00
0ff0 00 00 00 00 00 00 00 00 00 00 00 00 d4 d3 d2 d1",
    );
    assert_eq!(format!("{:#034x}", table.next_mark().root), "0x3e63f59f8b900089bb732c879d05527f");
}

#[test]
fn a_digest() {
    assert_eq!(format!("{:#034x}", mix(1016, Crc(0xc1c2_c3c4))), "0x690733f366d63b64204d930409f1cad6");
    assert_eq!(mix(7, seawall_wal::crc::ZERO_BLOCK), 0, "a block of zeroes is as good as a hole");
}
