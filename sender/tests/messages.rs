//! Messages: their bytes, and that other bytes are refused rather than believed.

use proptest::prelude::*;
use seawall_sender::codec::{self, CodecError};
use seawall_sender::feed::{Ack, Append, Frontiers, Pulse, PulseAck};
use seawall_sender::greeting::{Farewell, Hello, Mismatch, Parting, Welcome};
use seawall_sender::violation::Violation;
use seawall_wal::names::{Crc, Epoch, Extent, Lsn, Origin, ReplicaId, VolumeId};
use seawall_wal::record::{Kind, RecordHeader};

const ACK: Ack = Frontiers { received: Lsn(9), written: Lsn(8), durable: Lsn(7), home: Lsn(0x0605) };

fn hello() -> Hello {
    Hello {
        version_min: 1,
        version_max: 2,
        from: ReplicaId(0x0a),
        to: ReplicaId(0x0b),
        auth: vec![0xee],
        block_bytes: 4096,
        volume_blocks: 0x0100_0000,
    }
}

#[test]
fn the_greeting_is_these_bytes() {
    let expected: [&[u8]; 8] = [
        &[1, 0],                      // version_min
        &[2, 0],                      // version_max
        &[0x0a, 0, 0, 0, 0, 0, 0, 0], // from
        &[0x0b, 0, 0, 0, 0, 0, 0, 0], // to
        &[1, 0, 0, 0, 0, 0, 0, 0],    // auth: how many bytes
        &[0xee],                      // auth
        &[0, 0x10, 0, 0],             // block_bytes
        &[0, 0, 0, 0x01, 0, 0, 0, 0], // volume_blocks
    ];
    assert_eq!(codec::encode(&hello()), expected.concat());

    let welcome = Welcome { version: 1, replica: ReplicaId(0x0b), auth: vec![] };
    assert_eq!(codec::encode(&welcome), [1, 0, 0x0b, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);

    let check = |why: Parting, expected: &[u8]| assert_eq!(codec::encode(&Farewell { why }), expected);
    check(Parting::ShuttingDown, &[0, 0, 0, 0]);
    check(Parting::Superseded, &[1, 0, 0, 0]);
    check(Parting::Violated, &[3, 0, 0, 0]);
    check(Parting::NotMember, &[4, 0, 0, 0]);
    check(Parting::Removed, &[5, 0, 0, 0]);
    let version = Mismatch::Version { ours_min: 1, ours_max: 2, theirs_min: 3, theirs_max: 4 };
    check(Parting::Mismatched(version), &[2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2, 0, 3, 0, 4, 0]);
    let blocks = Mismatch::BlockBytes { ours: 4096, theirs: 512 };
    check(Parting::Mismatched(blocks), &[2, 0, 0, 0, 3, 0, 0, 0, 0, 0x10, 0, 0, 0, 2, 0, 0]);
}

#[test]
fn the_feed_is_these_bytes() {
    let ack =
        [9, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 5, 6, 0, 0, 0, 0, 0, 0];
    assert_eq!(ACK.encode(), ack);
    assert_eq!(Ack::decode(&ack), Ok(ACK));

    let answer = PulseAck { seq: 0x0102, ack: ACK, clock: 0x0304, grants: true };
    let clock = [4, 3, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
    let bytes = [&[2, 1, 0, 0, 0, 0, 0, 0][..], &ack, &clock].concat();
    assert_eq!(answer.encode(), bytes);
    assert_eq!(PulseAck::decode(&bytes), Ok(answer));

    let pulse = Pulse { seq: 1, end: Lsn(2), settled: Lsn(3), flush_to: Lsn(4), confirmed: 5 };
    let bytes = [1_u64, 2, 3, 4, 5].map(u64::to_le_bytes).concat();
    assert_eq!(pulse.encode(), bytes);
    assert_eq!(Pulse::decode(&bytes), Ok(pulse));
}

#[test]
fn an_append_is_a_frontier_and_a_record() {
    let record = RecordHeader {
        volume: VolumeId([7; 16]),
        epoch: Epoch { counter: 2, replica: ReplicaId(1) },
        lsn: Lsn(40),
        kind: Kind::Write,
        extent: Extent::new(100, 3),
        chain: Crc(0x1234),
        origin: Origin::NONE,
        body: vec![Crc(1), Crc(2), Crc(3)],
    };
    let meta = Append::encode(Lsn(0x2726), &record);
    assert_eq!(meta[..8], [0x26, 0x27, 0, 0, 0, 0, 0, 0]);
    assert_eq!(meta[8..], record.wire());
    assert_eq!(Append::decode(&meta), Ok(Append { settled: Lsn(0x2726), record }));
    for cut in 0..meta.len() {
        assert!(Append::decode(&meta[..cut]).is_err(), "cut after {cut} bytes");
    }
    for cut in 0..8 {
        assert_eq!(Append::decode(&meta[..cut]), Err(Violation::MetaLength { expected: 8, found: cut }));
    }
}

#[test]
fn a_feed_message_of_another_length_is_refused() {
    for found in 0..64 {
        let bytes = vec![0; found];
        let refused = |expected| Violation::MetaLength { expected, found };
        assert_eq!(Ack::decode(&bytes).err(), (found != 32).then(|| refused(32)));
        assert_eq!(Pulse::decode(&bytes).err(), (found != 40).then(|| refused(40)));
        assert_eq!(PulseAck::decode(&bytes).err(), (found != 56).then(|| refused(56)));
    }
}

#[test]
fn a_control_message_is_exactly_its_bytes() {
    let whole = codec::encode(&hello());
    assert_eq!(codec::decode(&whole), Ok(hello()));
    for cut in 0..whole.len() {
        assert_eq!(codec::decode::<Hello>(&whole[..cut]), Err(CodecError::Truncated), "cut after {cut}");
    }
    let longer = [&whole[..], &[0, 0]].concat();
    assert_eq!(codec::decode::<Hello>(&longer), Err(CodecError::Trailing { bytes: 2 }));
}

#[test]
fn a_count_that_claims_the_world_is_refused_before_memory_is_taken() {
    let mut bytes = codec::encode(&hello());
    for count in [65_536, 1 << 40, u64::MAX] {
        bytes[20..28].copy_from_slice(&count.to_le_bytes());
        assert_eq!(codec::decode::<Hello>(&bytes), Err(CodecError::TooLong), "a count of {count}");
    }
}

#[test]
fn a_variant_that_does_not_exist_is_refused() {
    assert_eq!(codec::decode::<Farewell>(&[6, 0, 0, 0]), Err(CodecError::Malformed));
    assert_eq!(codec::decode::<Farewell>(&[2, 0, 0, 0, 6, 0, 0, 0]), Err(CodecError::Malformed));
}

proptest! {
    #[test]
    fn noise_is_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = codec::decode::<Hello>(&bytes);
        let _ = codec::decode::<Welcome>(&bytes);
        let _ = codec::decode::<Farewell>(&bytes);
        let _ = Ack::decode(&bytes);
        let _ = Pulse::decode(&bytes);
        let _ = PulseAck::decode(&bytes);
        prop_assert!(Append::decode(&bytes).is_err());
    }
}
