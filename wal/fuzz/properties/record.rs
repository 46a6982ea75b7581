//! A record's header, on disk and on the wire: whatever the bytes, no panic; and what can be read is written again
//! as the same bytes.

use seawall_wal::crc::crc32c;
use seawall_wal::record::{HEADER_BYTES, Kind, MAGIC, RecordHeader, WIRE_BYTES_MAX};

const DIGEST_AT: usize = 492;
const TRAILER_CRC_AT: usize = 508;

/// The input is a header; if a bit is wrong, then also what it would be with magic, version and checksums put right.
pub(crate) fn check(input: &[u8]) {
    let mut head = [0; HEADER_BYTES];
    let length = input.len().min(HEADER_BYTES);
    head[..length].copy_from_slice(&input[..length]);
    check_disk(&head);
    check_disk(&sealed(head));
    check_wire(input);
    check_wire(&sealed_wire(input));
}

fn check_disk(bytes: &[u8; HEADER_BYTES]) {
    let Ok((header, trailer)) = RecordHeader::decode(bytes) else { return };
    assert!(header.encode(trailer.durable_before, trailer.generation)[..] == bytes[..], "the same bytes");
    assert_eq!(header.digest().0.to_le_bytes(), bytes[DIGEST_AT..DIGEST_AT + 4]);
    check_header(&header);
    let wire = header.wire();
    match header.kind {
        Kind::Padding => assert!(RecordHeader::from_wire(&wire).is_err(), "a padding does not travel"),
        Kind::Write
        | Kind::WriteZeroes
        | Kind::Trim
        | Kind::EpochStart
        | Kind::Attach
        | Kind::Configuration
        | Kind::Maintenance => {
            assert_eq!(RecordHeader::from_wire(&wire), Ok(header));
        }
    }
}

fn check_wire(bytes: &[u8]) {
    let Ok(header) = RecordHeader::from_wire(bytes) else { return };
    assert!(bytes.len() <= WIRE_BYTES_MAX, "the longest record is bounded");
    assert!(header.wire() == bytes, "the same bytes");
    check_header(&header);
}

/// What whoever reads one relies on.
fn check_header(header: &RecordHeader) {
    if header.kind != Kind::Padding {
        assert!(header.extent.end() >= header.extent.start, "an extent ends within the numbers");
        assert!(header.disk_bytes(4096) <= 4096 + 96 * 4096);
    }
}

fn body_end(bytes: &[u8]) -> usize {
    80 + 4 * usize::from(u16::from_le_bytes([bytes[6], bytes[7]]))
}

fn put_crc(bytes: &mut [u8], from: usize, to: usize, at: usize) {
    let crc = crc32c(&bytes[from..to]).0.to_le_bytes();
    bytes[at..at + 4].copy_from_slice(&crc);
}

fn sealed(mut head: [u8; HEADER_BYTES]) -> [u8; HEADER_BYTES] {
    head[..4].copy_from_slice(&MAGIC.to_le_bytes());
    head[4] = 2;
    let end = body_end(&head).min(464);
    put_crc(&mut head, 0, end, DIGEST_AT);
    put_crc(&mut head, DIGEST_AT, TRAILER_CRC_AT, TRAILER_CRC_AT);
    head
}

fn sealed_wire(input: &[u8]) -> Vec<u8> {
    let mut bytes = input.to_vec();
    if bytes.len() < 84 {
        return bytes;
    }
    bytes[..4].copy_from_slice(&MAGIC.to_le_bytes());
    bytes[4] = 2;
    bytes.truncate(body_end(&bytes) + 4);
    let end = bytes.len() - 4;
    put_crc(&mut bytes, 0, end, end);
    bytes
}
