//! Frames: what is on the wire, and that no bit of it changes unnoticed.

use seawall_sender::frame::{
    self, FRAME_BYTES, Frame, FrameHeader, Kind, Lengths, META_BYTES_MAX, PAYLOAD_BYTES_MAX, VERSION_MAX,
};
use seawall_sender::session_id::SessionId;
use seawall_sender::violation::Violation;
use seawall_wal::crc::crc32c;
use seawall_wal::names::{BLOCK_BYTES, Crc, Epoch, ReplicaId, VolumeId};

const VOLUME: VolumeId = VolumeId(*b"\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff");
const EPOCH: Epoch = Epoch { counter: 7, replica: ReplicaId(0x0102_0304_0506_0708) };
const SESSION: SessionId = SessionId { boot: 3, count: 9 };

fn split(bytes: &[u8]) -> (&[u8; FRAME_BYTES], &[u8]) {
    bytes.split_first_chunk().expect("a frame has a header")
}

fn header(kind: Kind, meta_bytes: u32, payload_bytes: u32) -> FrameHeader {
    FrameHeader {
        version: VERSION_MAX,
        kind,
        volume: VOLUME,
        epoch: EPOCH,
        session: SESSION,
        meta_bytes,
        payload_bytes,
        meta_crc: Crc(0),
    }
}

/// Writes `bytes` into a header and makes its checksum right again: what a peer of another make would send.
fn forge(mut head: [u8; FRAME_BYTES], at: usize, bytes: &[u8]) -> [u8; FRAME_BYTES] {
    head[at..at + bytes.len()].copy_from_slice(bytes);
    let crc = crc32c(&head[..60]);
    head[60..].copy_from_slice(&crc.0.to_le_bytes());
    head
}

#[test]
fn a_frame_is_these_bytes() {
    let bytes = frame::encode(Kind::Append, VOLUME, EPOCH, SESSION, b"seawall!", 8192);
    let expected: [&[u8]; 13] = [
        b"SWAL",                             // magic
        b"\x01\x00",                         // version
        b"\x10\x00",                         // kind
        &VOLUME.0,                           // volume
        b"\x07\x00\x00\x00\x00\x00\x00\x00", // epoch: counter
        b"\x08\x07\x06\x05\x04\x03\x02\x01", // epoch: replica
        b"\x03\x00\x00\x00",                 // session: boot
        b"\x09\x00\x00\x00",                 // session: count
        b"\x08\x00\x00\x00",                 // meta bytes
        b"\x00\x20\x00\x00",                 // payload bytes
        b"\x4a\xe3\xc4\x81",                 // meta checksum
        b"\xbd\x5e\x48\x1e",                 // header checksum
        b"seawall!",                         // meta
    ];
    assert_eq!(bytes, expected.concat());
}

#[test]
fn a_frame_comes_back_as_it_went() {
    let bytes = frame::encode(Kind::Pulse, VOLUME, EPOCH, SESSION, b"beat", 0);
    let (head, meta) = split(&bytes);
    assert_eq!(frame::lengths(head), Ok(Lengths { meta: 4, payload: 0 }));
    let frame = Frame::decode(head, meta.to_vec()).expect("it is whole");
    assert_eq!(frame.header, FrameHeader { meta_crc: crc32c(b"beat"), ..header(Kind::Pulse, 4, 0) });
    assert_eq!(frame.meta, b"beat");
}

#[test]
fn every_flipped_bit_of_header_and_meta_is_detected() {
    let whole = frame::encode(Kind::Append, VOLUME, EPOCH, SESSION, &[0x5a; 150], 4096);
    for bit in 0..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let (head, meta) = split(&bytes);
        // A driver must not even believe the lengths of a damaged header.
        assert_eq!(frame::lengths(head).is_err(), bit / 8 < FRAME_BYTES, "bit {bit}");
        assert!(Frame::decode(head, meta.to_vec()).is_err(), "bit {bit}");
    }
}

#[test]
fn every_length_of_meta_but_the_right_one_is_detected() {
    let whole = frame::encode(Kind::Ack, VOLUME, EPOCH, SESSION, &[0; 32], 0);
    let (head, _) = split(&whole);
    for found in (0..64).filter(|len| *len != 32) {
        let refused = Frame::decode(head, vec![0; found]);
        assert_eq!(refused, Err(Violation::MetaLength { expected: 32, found }));
    }
}

#[test]
fn what_no_build_of_ours_sends_is_refused_by_name() {
    let check = |at: usize, bytes: &[u8], expected: Violation| {
        let forged = forge(header(Kind::Append, 8, 4096).encode(), at, bytes);
        assert_eq!(frame::lengths(&forged), Err(expected));
    };
    check(0, b"SWAX", Violation::BadMagic { found: u32::from_le_bytes(*b"SWAX") });
    check(4, &[0, 0], Violation::UnknownVersion { found: 0 });
    check(4, &[2, 0], Violation::UnknownVersion { found: 2 });
    for code in [0, 4, 15, 20, 31, 42, 63, 73, 0xffff_u16] {
        check(6, &code.to_le_bytes(), Violation::UnknownKind { code });
    }
    for bytes in [META_BYTES_MAX + 1, u32::MAX] {
        check(48, &bytes.to_le_bytes(), Violation::MetaTooLong { bytes });
    }
    for bytes in [PAYLOAD_BYTES_MAX + BLOCK_BYTES, u32::MAX] {
        check(52, &bytes.to_le_bytes(), Violation::PayloadTooLong { bytes });
    }
    for bytes in [1_u32, 512, 4095, 4097] {
        check(52, &bytes.to_le_bytes(), Violation::PayloadNotBlocks { bytes });
    }
}

#[test]
fn the_limits_themselves_are_allowed() {
    let head = header(Kind::Append, META_BYTES_MAX, PAYLOAD_BYTES_MAX).encode();
    assert_eq!(frame::lengths(&head), Ok(Lengths { meta: 65_536, payload: 393_216 }));
}

#[test]
fn kinds_keep_their_codes_and_only_some_have_a_payload() {
    let codes: Vec<u16> = Kind::ALL.iter().map(|kind| kind.code()).collect();
    assert_eq!(
        codes,
        [
            1, 2, 3, 16, 17, 18, 19, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 64, 65, 66, 67, 68, 69, 70, 71,
            72, 96, 97
        ]
    );
    for kind in Kind::ALL.iter().copied() {
        assert_eq!(Kind::from_code(kind.code()), Ok(kind));
        let allowed =
            matches!(kind, Kind::Append | Kind::Base | Kind::Fetched | Kind::Forward | Kind::Forwarded);
        let expected = match allowed {
            true => Ok(Lengths { meta: 0, payload: 4096 }),
            false => Err(Violation::PayloadNotAllowed { kind, bytes: 4096 }),
        };
        assert_eq!(frame::lengths(&header(kind, 0, 4096).encode()), expected);
    }
}
