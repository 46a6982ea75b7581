//! Requests one by one: what they ask of the core, and what they are answered.

use seawall_blockdev::export::{Action, Limits};
use seawall_engine::io::{Refusal, Request as Core};
use seawall_wal::names::Extent;

use crate::rig::{BLOCK, Rig, serving, serving_export};
use crate::wire::{Chunk, Request, chunks, option, request, simple_reply, u16_at, u32_at};

pub(crate) const READ: u16 = 0;
pub(crate) const WRITE: u16 = 1;
pub(crate) const DISC: u16 = 2;
pub(crate) const FLUSH: u16 = 3;
pub(crate) const TRIM: u16 = 4;
pub(crate) const CACHE: u16 = 5;
pub(crate) const WRITE_ZEROES: u16 = 6;
pub(crate) const BLOCK_STATUS: u16 = 7;

pub(crate) const FUA: u16 = 1;
pub(crate) const NO_HOLE: u16 = 2;
pub(crate) const DF: u16 = 4;
pub(crate) const REQ_ONE: u16 = 8;
pub(crate) const FAST_ZERO: u16 = 16;

pub(crate) const EPERM: u32 = 1;
pub(crate) const EIO: u32 = 5;
pub(crate) const EINVAL: u32 = 22;
pub(crate) const ENOSPC: u32 = 28;
pub(crate) const EOVERFLOW: u32 = 75;

const COOKIE: u64 = 0x1122_3344_5566_7788;
const MIB: u32 = 1 << 20;
/// Blocks of 64 MiB.
const LARGE: u64 = 16384;

fn simple(blocks: u64) -> Rig {
    serving(blocks, Limits::DEFAULT, false)
}

fn structured(blocks: u64) -> Rig {
    serving(blocks, Limits::DEFAULT, true)
}

/// The error that a request gets, and the proof that the connection lives on.
fn error(rig: &mut Rig, sent: &[u8]) -> u32 {
    rig.feed(sent);
    let wire = rig.taken();
    let (error, cookie, data, rest) = simple_reply(&wire, 0);
    assert_eq!((cookie, data.len(), rest.len()), (COOKIE, 0, 0));
    rig.feed(&request(FLUSH, 0, 0).encode());
    assert_eq!(simple_reply(&rig.taken(), 0).0, 0);
    error
}

/// The core requests that `sent` becomes.
fn core(rig: &mut Rig, sent: &[u8]) -> Vec<Core> {
    rig.holds.core = true;
    rig.feed(sent);
    let requests = rig.submitted.iter().map(|(_, request)| request.clone()).collect();
    rig.holds.core = false;
    rig.pump();
    requests
}

#[test]
fn a_write_and_a_read_in_bytes() {
    let mut rig = simple(16);
    rig.feed(&request(WRITE, 512, 512).with(&[7; 512]));
    assert_eq!(rig.taken(), b"\x67\x44\x66\x98\0\0\0\0\x11\x22\x33\x44\x55\x66\x77\x88");
    rig.feed(&request(READ, 0, 1536).encode());
    let header = b"\x67\x44\x66\x98\0\0\0\0\x11\x22\x33\x44\x55\x66\x77\x88";
    assert_eq!(rig.taken(), [&header[..], &[0; 512], &[7; 512], &[0; 512]].concat());
    rig.finish();
}

#[test]
fn an_error_in_bytes() {
    let mut rig = simple(16);
    rig.feed(&request(READ, 256, 512).encode());
    assert_eq!(rig.taken(), b"\x67\x44\x66\x98\0\0\0\x16\x11\x22\x33\x44\x55\x66\x77\x88");
    let mut rig = structured(16);
    rig.feed(&request(FLUSH, 1, 0).encode());
    let header = b"\x66\x8e\x33\xef\0\x01\x80\x01\x11\x22\x33\x44\x55\x66\x77\x88\0\0\0\x1a\0\0\0\x16\0\x14";
    assert_eq!(rig.taken(), [&header[..], b"a flush has no range"].concat());
}

#[test]
fn a_sparse_read_is_chunks_of_data_and_holes() {
    let mut rig = structured(256);
    rig.feed(&request(WRITE, 63 * 4096, 8192).with(&[9; 8192]));
    rig.taken();
    rig.feed(&request(READ, 62 * 4096 + 512, 5 * 4096).encode());
    let header = |flags: u8, kind: u8, length: u16| {
        let length = length.to_be_bytes();
        let cookie = b"\x11\x22\x33\x44\x55\x66\x77\x88\0\0";
        [&[0x66, 0x8e, 0x33, 0xef, 0, flags, 0, kind][..], cookie, &length].concat()
    };
    let expected = [
        header(0, 2, 12),
        b"\0\0\0\0\0\x03\xe2\0\0\0\x0e\0".to_vec(),
        header(0, 1, 8200),
        b"\0\0\0\0\0\x03\xf0\0".to_vec(),
        vec![9; 8192],
        header(1, 2, 12),
        b"\0\0\0\0\0\x04\x10\0\0\0\x22\0".to_vec(),
    ];
    assert_eq!(rig.taken(), expected.concat());

    rig.feed(&request(READ, 62 * 4096 + 512, 5 * 4096).flags(DF).encode());
    let data = [vec![0; 3584], vec![9; 8192], vec![0; 8704]].concat();
    let expected = [header(1, 1, 20488), b"\0\0\0\0\0\x03\xe2\0".to_vec(), data].concat();
    assert_eq!(rig.taken(), expected, "with DF, one chunk of data");
    rig.finish();
}

#[test]
fn a_block_status_tells_holes_within_the_range_asked_for() {
    let mut rig = structured(256);
    rig.feed(&request(WRITE, 2 * 4096, 4096).with(&[9; BLOCK]));
    rig.taken();
    rig.feed(&request(BLOCK_STATUS, 512, 16 * 4096).encode());
    let expected = b"\x66\x8e\x33\xef\0\x01\0\x05\x11\x22\x33\x44\x55\x66\x77\x88\0\0\0\x1c\0\0\0\x01\
        \0\0\x1e\0\0\0\0\x03\0\0\x10\0\0\0\0\0\0\0\xd2\0\0\0\0\x03";
    assert_eq!(rig.taken(), expected);
    rig.feed(&request(BLOCK_STATUS, 2 * 4096, 8 * 4096).flags(REQ_ONE).encode());
    assert_eq!(chunks(&rig.taken())[0].data, b"\0\0\0\x01\0\0\x10\0\0\0\0\0");
    rig.feed(&request(BLOCK_STATUS, 2 * 4096 + 512, 512).flags(REQ_ONE).encode());
    assert_eq!(chunks(&rig.taken())[0].data, b"\0\0\0\x01\0\0\x02\0\0\0\0\0", "never more than was asked");
}

#[test]
fn a_block_status_needs_its_context() {
    let mut rig = simple(16);
    assert_eq!(error(&mut rig, &request(BLOCK_STATUS, 0, 4096).encode()), EINVAL);
    let mut rig = Rig::new(16, Limits::DEFAULT);
    rig.feed(b"\0\0\0\x03");
    rig.feed(&option(8, b""));
    rig.feed(&option(10, &crate::wire::contexts("frozen", &["base:allocation"])));
    rig.feed(&option(7, &crate::wire::info("vol0", &[])));
    rig.taken();
    rig.feed(&request(BLOCK_STATUS, 0, 4096).encode());
    assert_eq!(chunks(&rig.taken())[0].kind, 0x8001, "the context was selected for another export");
}

#[test]
fn a_write_is_split_into_edges_and_whole_blocks_at_multiples_of_256_kib() {
    let mut rig = simple(LARGE);
    let bytes = (256 << 10) + 1024;
    let payload: Vec<u8> = (0..bytes).map(|i| u8::try_from(i % 251).unwrap()).collect();
    let write = request(WRITE, (256 << 10) - 4096 - 512, bytes).flags(FUA).with(&payload);
    let requests = core(&mut rig, &write);
    let shapes: Vec<_> = requests
        .iter()
        .map(|request| match request {
            Core::WritePart { block, first_sector, sectors, buf, fua: true } => {
                (*block, u32::from(*first_sector), u32::from(*sectors), buf.first)
            }
            Core::Write { extent, payload, fua: true } => {
                (extent.start, 0, extent.blocks * 8, payload.buf.first)
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(shapes, [(62, 7, 1, 0), (63, 0, 8, 1), (127, 0, 1, 63), (64, 0, 63 * 8, 0)]);
    assert_eq!(rig.volume[(256 << 10) - 4608..][..bytes as usize], payload);
    assert_eq!(simple_reply(&rig.taken(), 0), (0, COOKIE, vec![], &[][..]), "one answer");
    rig.finish();
}

#[test]
fn zeroes_take_whole_blocks_at_once_and_edges_as_parts() {
    let mut rig = simple(LARGE);
    let zeroes = request(WRITE_ZEROES, 512, 33 << 20).flags(NO_HOLE | FAST_ZERO);
    let requests = core(&mut rig, &zeroes.encode());
    assert_eq!(requests.len(), 3);
    assert!(matches!(requests[0], Core::WritePart { block: 0, first_sector: 1, sectors: 7, fua: false, .. }));
    assert!(matches!(requests[1], Core::WritePart { block: 8448, first_sector: 0, sectors: 1, .. }));
    assert_eq!(requests[2], Core::WriteZeroes { extent: Extent::new(1, 8447), fua: false });
    let whole = request(WRITE_ZEROES, 0, 64 << 20).flags(FUA).encode();
    assert_eq!(core(&mut rig, &whole), [Core::WriteZeroes { extent: Extent::new(0, 16384), fua: true }]);
    rig.finish();
}

#[test]
fn a_trim_shrinks_to_the_whole_blocks_inside() {
    let mut rig = simple(64);
    let trim = request(TRIM, 512, 3 * 4096).flags(FUA).encode();
    assert_eq!(core(&mut rig, &trim), [Core::Trim { extent: Extent::new(1, 2), fua: true }]);
    rig.taken();
    assert_eq!(core(&mut rig, &request(TRIM, 512, 4096).encode()), []);
    assert_eq!(simple_reply(&rig.taken(), 0).0, 0);
}

#[test]
fn nothing_asked_is_done_at_once() {
    for (command, payload) in [(READ, 0), (WRITE, 0), (TRIM, 0), (WRITE_ZEROES, 0), (CACHE, 0)] {
        for offset in [0, 4096, 16 * 4096] {
            let mut rig = simple(16);
            assert_eq!(error(&mut rig, &request(command, offset, payload).encode()), 0);
        }
    }
    let mut rig = structured(16);
    rig.feed(&request(READ, 0, 0).encode());
    assert_eq!(chunks(&rig.taken()), [Chunk { flags: 1, kind: 0, cookie: COOKIE, data: vec![] }]);
    rig.feed(&request(CACHE, 0, 16 * 4096).encode());
    assert_eq!(u32_at(&rig.taken(), 4), 0);
}

/// Every rule about ranges and flags; of several broken ones the first in the order of judging decides.
#[test]
fn what_breaks_a_rule_gets_its_error_and_the_connection_lives() {
    let end = LARGE * 4096;
    let cases: [(Request, u32); 30] = [
        (request(READ, end, 512), EINVAL),
        (request(READ, end - 512, 1024), EINVAL),
        (request(READ, (1 << 63) - 512, 512), EINVAL),
        (request(READ, u64::MAX - 511, 512), EINVAL),
        (request(WRITE, end, 512), ENOSPC),
        (request(WRITE, u64::MAX - 511, 1024), ENOSPC),
        (request(WRITE_ZEROES, end - 512, 1024), ENOSPC),
        (request(TRIM, end - 512, 1024), EINVAL),
        (request(CACHE, end - 512, 1024), EINVAL),
        (request(READ, 1, 512), EINVAL),
        (request(READ, 0, 511), EINVAL),
        (request(WRITE, 256, 512), EINVAL),
        (request(WRITE, 0, 256), EINVAL),
        (request(WRITE_ZEROES, 0, 100), EINVAL),
        (request(TRIM, 100, 512), EINVAL),
        (request(CACHE, 0, 1), EINVAL),
        (request(FLUSH, 0, 512), EINVAL),
        (request(FLUSH, 512, 0), EINVAL),
        (request(8, 0, 0), EINVAL),
        (request(0xffff, 0, 512), EINVAL),
        (request(READ, 0, 512).flags(0x8000), EINVAL),
        (request(WRITE, 0, 512).flags(0x8000), EINVAL),
        (request(READ, 0, 512).flags(NO_HOLE), EINVAL),
        (request(WRITE, 0, 512).flags(FAST_ZERO), EINVAL),
        (request(WRITE_ZEROES, 0, 512).flags(DF), EINVAL),
        (request(READ, 0, 512).flags(DF), EINVAL),
        (request(TRIM, 0, 512).flags(REQ_ONE), EINVAL),
        (request(READ, 0, 32 * MIB + 512), EINVAL),
        (request(WRITE, 0, 33 * MIB), EINVAL),
        (request(WRITE, 0, 64 * MIB), EINVAL),
    ];
    let mut rig = simple(LARGE);
    for (case, expected) in cases {
        let payload = if case.command == WRITE { vec![0x25; case.bytes as usize] } else { Vec::new() };
        let Request { command, offset, bytes, flags, .. } = case;
        assert_eq!(error(&mut rig, &case.with(&payload)), expected, "{command} {offset} {bytes} {flags:#x}");
    }
    assert!(rig.volume.iter().all(|byte| *byte == 0), "nothing was applied");
    rig.finish();
}

#[test]
fn fua_may_be_on_every_command() {
    let mut rig = structured(16);
    for command in [READ, FLUSH, TRIM, CACHE, WRITE_ZEROES, BLOCK_STATUS] {
        let bytes = if command == FLUSH { 0 } else { 4096 };
        rig.feed(&request(command, 0, bytes).flags(FUA).encode());
        assert_ne!(u16_at(&rig.taken(), 6), 0x8001, "{command}");
    }
}

#[test]
fn an_unfragmented_read_beyond_the_maximum_overflows() {
    let mut rig = structured(LARGE);
    rig.feed(&request(READ, 0, 32 * MIB + 512).flags(DF).encode());
    assert_eq!(u32_at(&chunks(&rig.taken())[0].data, 0), EOVERFLOW);
}

#[test]
fn a_payload_beyond_draining_and_a_false_magic_end_the_session() {
    let mut rig = simple(LARGE);
    rig.feed(&request(WRITE, 0, 64 * MIB + 1).encode());
    assert!(rig.closed && rig.taken().is_empty());
    let mut rig = simple(LARGE);
    rig.feed(&[0; 28]);
    assert!(rig.closed && rig.taken().is_empty());
}

#[test]
fn a_read_only_export_takes_no_change() {
    let mut rig = serving_export("frozen", 16, Limits::DEFAULT, false);
    assert_eq!(error(&mut rig, &request(WRITE, 0, 512).with(&[1; 512])), EPERM);
    assert_eq!(error(&mut rig, &request(TRIM, 0, 4096).encode()), EPERM);
    assert_eq!(error(&mut rig, &request(WRITE_ZEROES, 0, 4096).flags(NO_HOLE).encode()), EPERM);
    rig.feed(&request(READ, 0, 512).encode());
    assert_eq!(simple_reply(&rig.taken(), 512).0, 0);
}

#[test]
fn the_largest_request_goes_through_whole() {
    let mut rig = structured(LARGE);
    let payload: Vec<u8> = (0..32 * MIB).map(|i| u8::try_from(i / 4096 % 255 + 1).unwrap()).collect();
    rig.feed(&request(WRITE, 512, 32 * MIB).with(&payload));
    rig.taken();
    rig.feed(&request(READ, 512, 32 * MIB).encode());
    let chunks = chunks(&rig.taken());
    assert_eq!(chunks.len(), 1);
    assert!(chunks[0].data[8..] == payload);
    rig.finish();
}

#[test]
fn a_refused_part_refuses_the_whole_and_is_answered_once() {
    for refusal in [Refusal::NoQuorum, Refusal::Unreadable, Refusal::InDoubt] {
        let mut rig = structured(LARGE);
        rig.holds.core = true;
        rig.feed(&request(READ, 0, 512 << 10).encode());
        assert_eq!(rig.submitted.len(), 2);
        rig.complete(Err(refusal));
        assert!(rig.taken().is_empty(), "not before all is over");
        rig.complete(Ok(()));
        let chunks = chunks(&rig.taken());
        assert_eq!((chunks.len(), chunks[0].flags, chunks[0].kind), (1, 1, 0x8001));
        assert_eq!(u32_at(&chunks[0].data, 0), EIO);
        assert!(
            usize::from(u16_at(&chunks[0].data, 4)) == chunks[0].data.len() - 6 && chunks[0].data.len() > 20
        );
        rig.finish();
    }
    let mut rig = simple(LARGE);
    rig.holds.core = true;
    rig.feed(&request(READ, 0, 4096).encode());
    rig.complete(Err(Refusal::Unreadable));
    assert_eq!(simple_reply(&rig.taken(), 4096).0, EIO);
    rig.finish();
}

#[test]
fn references_of_a_payload_are_one_for_each_part() {
    let mut rig = simple(64);
    rig.keeps_log = true;
    rig.feed(&request(WRITE, 512, 3 * 4096).with(&[1; 3 * BLOCK]));
    let retained = rig.log.iter().filter_map(|action| match action {
        Action::Retain { times, .. } => Some(*times),
        _ => None,
    });
    assert_eq!(retained.sum::<u32>(), 2, "one came with the payload; head, blocks and tail need three");
    rig.finish();
}
