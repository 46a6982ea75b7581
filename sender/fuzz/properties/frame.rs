//! Frames, and the messages of greeting and feed: whatever the bytes, no panic; lengths are bounded before memory is
//! taken; and what can be read is written again as the same bytes.

use bincode::{Decode, Encode};
use seawall_sender::codec;
use seawall_sender::feed::{Append, Frontiers, PULSE_BYTES, Pulse, PulseAck};
use seawall_sender::frame::{
    self, FRAME_BYTES, Frame, FrameHeader, MAGIC, META_BYTES_MAX, PAYLOAD_BYTES_MAX, lengths,
};
use seawall_sender::greeting::{Farewell, Hello, Identity, Welcome, check_hello, check_welcome};
use seawall_wal::crc::crc32c;
use seawall_wal::names::{BLOCK_BYTES, ReplicaId, VolumeId};

/// The first byte says what is put right; the rest is a frame's header and meta part.
pub(crate) fn check(input: &[u8]) {
    let Some((repairs, bytes)) = input.split_first() else { return };
    let Some((head, meta)) = bytes.split_first_chunk::<FRAME_BYTES>() else { return check_meta(bytes) };
    check_meta(meta);
    check_frame(*head, meta);
    check_frame(sealed(*head, meta, *repairs), meta);
}

fn check_frame(head: [u8; FRAME_BYTES], meta: &[u8]) {
    let judged = FrameHeader::decode(&head);
    assert_eq!(judged.map(|_| ()), lengths(&head).map(|_| ()), "one judge, asked twice");
    let Ok(header) = judged else { return };
    assert_eq!(header.encode(), head);
    let told = lengths(&head).expect("just judged");
    assert!(told.meta <= META_BYTES_MAX as usize && told.payload <= PAYLOAD_BYTES_MAX as usize);
    assert!(told.payload.is_multiple_of(BLOCK_BYTES as usize));
    if let Ok(frame) = Frame::decode(&head, meta.to_vec()) {
        let FrameHeader { kind, volume, epoch, session, payload_bytes, .. } = frame.header;
        let written = frame::encode(kind, volume, epoch, session, &frame.meta, payload_bytes);
        assert!(written[..FRAME_BYTES] == head && &written[FRAME_BYTES..] == meta, "the same bytes");
    }
}

/// Any bytes may come as the meta part of any frame.
fn check_meta(meta: &[u8]) {
    let us = Identity { volume: VolumeId([7; 16]), replica: ReplicaId(2), volume_blocks: 1000 };
    if let Some(hello) = check_control::<Hello>(meta)
        && let Ok(version) = check_hello(&us, us.volume, &hello)
    {
        assert!(hello.version_min <= version && version <= hello.version_max);
    }
    if let Some(welcome) = check_control::<Welcome>(meta) {
        let agreed = check_welcome(&us, ReplicaId(3), us.volume, &welcome);
        assert!(agreed.is_err() || welcome.replica == ReplicaId(3));
    }
    check_control::<Farewell>(meta);
    if let Ok(append) = Append::decode(meta) {
        assert!(Append::encode(append.settled, &append.record) == meta, "the same bytes");
    }
    assert!(Frontiers::decode(meta).is_ok_and(|told| told.encode() == meta) == (meta.len() == 32));
    assert!(Pulse::decode(meta).is_ok_and(|told| told.encode() == meta) == (meta.len() == PULSE_BYTES));
    if let Ok(answer) = PulseAck::decode(meta) {
        assert!(answer.encode() == meta, "the same bytes");
    }
}

fn check_control<T: Encode + Decode<()>>(meta: &[u8]) -> Option<T> {
    let message = codec::decode::<T>(meta).ok()?;
    assert!(codec::encode(&message) == meta, "the same bytes");
    Some(message)
}

fn sealed(mut head: [u8; FRAME_BYTES], meta: &[u8], repairs: u8) -> [u8; FRAME_BYTES] {
    head[..4].copy_from_slice(&MAGIC.to_le_bytes());
    if repairs & 1 == 0 {
        head[4..6].copy_from_slice(&1_u16.to_le_bytes());
        head[48..52].copy_from_slice(&u32::try_from(meta.len()).expect("small").to_le_bytes());
    }
    if repairs & 2 == 0 {
        head[56..60].copy_from_slice(&crc32c(meta).0.to_le_bytes());
    }
    let crc = crc32c(&head[..60]).0.to_le_bytes();
    head[60..].copy_from_slice(&crc);
    head
}
