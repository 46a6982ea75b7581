//! Flips every single bit of every format, and shows that it is seen.

use seawall_wal::configuration::{Configuration, Member, Suffrage};
use seawall_wal::geometry::Geometry;
use seawall_wal::label::{Label, LabelState};
use seawall_wal::maintenance::Lease;
use seawall_wal::names::{Crc, Epoch, Extent, Lsn, Origin, ReplicaId, VolumeId};
use seawall_wal::record::{Kind, RecordHeader};
use seawall_wal::superblock::{BaseState, SlotState, Superblock};
use seawall_wal::table::{Table, TableError, TableMark};

const GEOMETRY: Geometry =
    Geometry { volume_blocks: 3000, log_bytes: 4 << 20, unit_bytes: 4096, separate_log: false };

fn header(kind: Kind, extent: Extent, body: u32) -> RecordHeader {
    RecordHeader {
        volume: VolumeId([7; 16]),
        epoch: Epoch { counter: 3, replica: ReplicaId(2) },
        lsn: Lsn(11),
        kind,
        extent,
        chain: Crc(0x1234),
        origin: Origin::NONE,
        body: (0..body).map(Crc).collect(),
    }
}

fn configuration() -> Vec<Crc> {
    let member = |id| Member {
        replica: ReplicaId(id),
        name: format!("node-{id}"),
        address: format!("10.0.0.{id}:7700"),
        suffrage: Suffrage::Voter,
    };
    let configuration = Configuration::newborn((1..4).map(member).collect());
    configuration.without(ReplicaId(2)).words(Some(ReplicaId(3))).expect("it fits")
}

fn lease() -> Vec<Crc> {
    let (owner, reason) = ("ann".into(), "new disk".into());
    Lease { replica: ReplicaId(2), owner, reason, began_ms: 7, length_ms: 60_000 }.words()
}

fn headers() -> Vec<RecordHeader> {
    vec![
        header(Kind::Write, Extent::new(9, 1), 1),
        header(Kind::Write, Extent::new(9, 31), 31),
        header(Kind::Write, Extent::new(0, 96), 96),
        header(Kind::WriteZeroes, Extent::new(1, 1000), 0),
        header(Kind::Trim, Extent::new(1, 1000), 0),
        header(Kind::EpochStart, Extent::default(), 0),
        header(Kind::Attach, Extent::default(), 0),
        header(Kind::Padding, Extent::new(512, 0), 0),
        RecordHeader { body: configuration(), ..header(Kind::Configuration, Extent::default(), 0) },
        RecordHeader { body: lease(), ..header(Kind::Maintenance, Extent::default(), 0) },
    ]
}

fn every_flip(bytes: &mut [u8], until: usize, mut see: impl FnMut(&[u8], usize)) {
    for bit in 0..until * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        see(bytes, bit);
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
}

#[test]
fn every_bit_of_a_header_counts() {
    for header in headers() {
        let mut bytes = header.encode(Lsn(10), 1);
        every_flip(&mut bytes[..], 512, |bytes, bit| {
            let bytes = bytes.first_chunk().expect("a header");
            assert!(RecordHeader::decode(bytes).is_err(), "bit {bit} of {header:?}");
        });
    }
}

#[test]
fn every_bit_and_every_length_on_the_wire_count() {
    for header in headers().into_iter().filter(|header| header.kind != Kind::Padding) {
        let mut bytes = header.wire();
        let length = bytes.len();
        assert_eq!(RecordHeader::from_wire(&bytes), Ok(header.clone()));
        every_flip(&mut bytes, length, |bytes, bit| {
            assert!(RecordHeader::from_wire(bytes).is_err(), "bit {bit} of {header:?}");
        });
        for short in 0..length {
            assert!(RecordHeader::from_wire(&bytes[..short]).is_err(), "{short} bytes of {header:?}");
        }
        bytes.push(0);
        assert!(RecordHeader::from_wire(&bytes).is_err(), "a byte too many");
    }
}

#[test]
fn a_padding_does_not_travel() {
    let padding = header(Kind::Padding, Extent::new(512, 0), 0);
    assert!(RecordHeader::from_wire(&padding.wire()).is_err());
}

#[test]
fn what_does_not_go_together_is_no_record() {
    // Written as a well-formed record and then changed, with a right checksum: as a faulty peer might send it.
    let forge = |kind: Kind, start: u64, blocks: u32, body: u8| {
        let mut bytes = header(Kind::WriteZeroes, Extent::new(1, 1), 0).wire();
        let crcs = vec![0; 4 * usize::from(body)];
        bytes.truncate(80);
        bytes[5] = kind.code();
        bytes[6] = body;
        bytes[48..56].copy_from_slice(&start.to_le_bytes());
        bytes[56..60].copy_from_slice(&blocks.to_le_bytes());
        bytes.extend(crcs);
        let crc = seawall_wal::crc::crc32c(&bytes);
        bytes.extend(crc.0.to_le_bytes());
        RecordHeader::from_wire(&bytes).is_ok()
    };
    assert!(forge(Kind::Write, 5, 2, 2));
    assert!(forge(Kind::Trim, 5, 2, 0));
    assert!(!forge(Kind::Write, 5, 2, 1), "a block without its checksum");
    assert!(!forge(Kind::Write, 5, 97, 97), "a body too long");
    assert!(!forge(Kind::Write, 5, 0, 0), "a write of nothing");
    assert!(!forge(Kind::Write, u64::MAX, 2, 2), "past the end of everything");
    assert!(!forge(Kind::Trim, 5, 2, 1), "a trim with a body");
    assert!(!forge(Kind::WriteZeroes, 5, 0, 0), "zeroes nowhere");
    assert!(!forge(Kind::EpochStart, 5, 1, 0), "an epoch start somewhere");
}

fn superblock() -> Superblock {
    Superblock {
        sequence: 4,
        base: BaseState::Blank,
        machine_boot: [1; 16],
        ..Superblock::newborn(VolumeId([7; 16]), ReplicaId(2), GEOMETRY, vec![])
    }
}

#[test]
fn every_bit_of_a_superblock_counts_and_none_makes_it_empty() {
    let mut bytes = superblock().encode();
    let used = bytes.iter().rposition(|b| *b != 0).expect("not empty") + 1;
    every_flip(&mut bytes, used, |bytes, bit| {
        assert!(matches!(Superblock::decode(bytes), SlotState::Unreadable { .. }), "bit {bit}");
    });
}

#[test]
fn a_torn_superblock_is_unreadable_wherever_it_tears() {
    let new = superblock().encode();
    let mut old = superblock();
    old.sequence = 2;
    old.machine_boot = [9; 16];
    old.ack_durable = false;
    for at in 0..=new.len() {
        let torn = [&new[..at], &old.encode()[at..]].concat();
        match Superblock::decode(&torn) {
            SlotState::Present(found) => assert!(*found == old || *found == superblock()),
            SlotState::Unreadable { .. } => (),
            SlotState::Empty => panic!("torn at {at}: never empty"),
        }
    }
}

#[test]
fn what_is_left_of_a_longer_superblock_does_not_matter() {
    let mut slot = vec![0xee; 65536];
    let bytes = superblock().encode();
    slot[..bytes.len()].copy_from_slice(&bytes);
    assert_eq!(Superblock::decode(&slot), SlotState::Present(Box::new(superblock())));
    assert_eq!(Superblock::decode(&[0; 65536]), SlotState::Empty);
}

#[test]
fn every_bit_of_a_label_counts() {
    let mut bytes = Label::of(&superblock()).encode();
    let used = bytes.iter().rposition(|b| *b != 0).expect("not empty") + 1;
    every_flip(&mut bytes, used, |bytes, bit| {
        assert!(matches!(Label::decode(bytes), LabelState::Unreadable { .. }), "bit {bit}");
    });
    assert_eq!(Label::decode(&[0; 4096]), LabelState::Empty);
}

#[test]
fn every_bit_of_a_table_page_counts() {
    let mut table = Table::new(1000, TableMark::default());
    table.set(5, Some(Crc(77)));
    let (_, page) = table.encode(0);
    let mark = table.next_mark();
    let load = |area: &[u8]| {
        let mut table = Table::new(1000, mark);
        table.load(0, area)?;
        table.on_loaded()
    };
    let mut area = [page.clone(), vec![0; 4096]].concat();
    assert_eq!(load(&area), Ok(()));
    every_flip(&mut area, 4096, |area, bit| {
        assert_eq!(load(area), Err(TableError::Stale { suspect: Some(0) }), "bit {bit}");
    });
    assert_eq!(
        load(&[0; 8192]),
        Err(TableError::Stale { suspect: None }),
        "a page write that never happened"
    );
    assert_eq!(load(&[1; 8192]), Err(TableError::Unreadable { page: 0 }));
}
