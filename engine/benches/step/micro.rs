//! The small things that a write is made of.

use std::hint::black_box;

use seawall_sender::feed::Append;
use seawall_sender::frame::{self, FRAME_BYTES, Frame, Kind};
use seawall_sender::session_id::SessionId;
use seawall_wal::crc::crc32c;
use seawall_wal::names::{Crc, Epoch, Extent, Lsn, Origin, ReplicaId, VolumeId};
use seawall_wal::overlay::Overlay;
use seawall_wal::record::{Kind as RecordKind, RecordHeader};

const VOLUME: VolumeId = VolumeId([7; 16]);
const EPOCH: Epoch = Epoch { counter: 3, replica: ReplicaId(1) };
const MILLION: u64 = 1_000_000;

fn record(lsn: u64) -> RecordHeader {
    RecordHeader {
        volume: VOLUME,
        epoch: EPOCH,
        lsn: Lsn(lsn),
        kind: RecordKind::Write,
        extent: Extent::new(lsn, 1),
        chain: Crc(1),
        origin: Origin::NONE,
        body: vec![Crc(2)],
    }
}

fn append(record: &RecordHeader) -> Vec<u8> {
    let meta = Append::encode(Lsn(1), record);
    frame::encode(Kind::Append, VOLUME, EPOCH, SessionId { boot: 1, count: 1 }, &meta, 4096)
}

pub(crate) fn frame_encode(times: u32) {
    let record = record(5);
    for _ in 0..times {
        black_box(append(black_box(&record)));
    }
}

pub(crate) fn frame_decode(times: u32) {
    let bytes = append(&record(5));
    for _ in 0..times {
        let head: &[u8; FRAME_BYTES] = bytes.first_chunk().expect("a whole header");
        let frame = Frame::decode(black_box(head), bytes[FRAME_BYTES..].to_vec()).expect("our own frame");
        black_box(Append::decode(&frame.meta).expect("our own record"));
    }
}

pub(crate) fn record_encode(times: u32) {
    let record = record(5);
    for _ in 0..times {
        black_box(black_box(&record).encode(Lsn(1), 0));
    }
}

pub(crate) fn crc(times: u32) {
    let block = [7; 4096];
    for _ in 0..times {
        black_box(crc32c(black_box(&block)));
    }
}

/// A million covers of a block each, in no order.
fn million() -> Overlay {
    let mut overlay = Overlay::new();
    for lsn in 0..MILLION {
        overlay.insert(Extent::new(scattered(lsn), 1), Lsn(lsn), false);
    }
    overlay
}

/// Visits every block below twice a million once.
fn scattered(number: u64) -> u64 {
    number.wrapping_mul(1_234_567_891) % (2 * MILLION)
}

pub(crate) fn overlay_insert(times: u32) {
    let mut overlay = million();
    for lsn in MILLION..MILLION + u64::from(times) {
        overlay.insert(Extent::new(scattered(lsn), 1), Lsn(lsn), false);
    }
    black_box(overlay.len());
}

pub(crate) fn overlay_lookup(times: u32) {
    let overlay = million();
    for number in 0..u64::from(times) {
        for found in overlay.lookup(Extent::new(scattered(number * 7), 1)) {
            black_box(found);
        }
    }
}
