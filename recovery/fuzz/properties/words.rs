//! The messages of a recovery session: whatever the bytes, no panic; what can be read is written again as the same
//! bytes; and base blocks that pass their check are what they say.

use bincode::{Decode, Encode};
use seawall_recovery::facts::Facts;
use seawall_recovery::messages::{
    BASE_BLOCKS_MAX, Base, BaseAck, BaseBody, BaseDone, Begin, Begun, Digest, DigestAsk, Greet, Refuse,
};
use seawall_sender::codec;

const VOLUME_BLOCKS: u64 = 1 << 40;

/// The first byte says how many blocks of payload came; the rest is the meta part of a frame.
pub(crate) fn check(input: &[u8]) {
    let Some((payload_blocks, meta)) = input.split_first() else { return };
    check_control::<Greet>(meta);
    check_control::<Begin>(meta);
    check_control::<Begun>(meta);
    check_control::<BaseAck>(meta);
    check_control::<BaseDone>(meta);
    check_control::<DigestAsk>(meta);
    check_control::<Digest>(meta);
    check_control::<Refuse>(meta);
    if let Some(facts) = check_control::<Facts>(meta) {
        let _ = facts.are_sound(VOLUME_BLOCKS);
    }
    if let Some(base) = check_control::<Base>(meta) {
        check_base(&base, usize::from(*payload_blocks));
    }
}

fn check_control<T: Encode + Decode<()>>(meta: &[u8]) -> Option<T> {
    let message = codec::decode::<T>(meta).ok()?;
    assert!(codec::encode(&message) == meta, "the same bytes");
    Some(message)
}

fn check_base(base: &Base, payload_blocks: usize) {
    if base.check(VOLUME_BLOCKS, payload_blocks).is_err() {
        return;
    }
    let runs = base.runs();
    let covered = runs.iter().fold(base.extent.start, |at, run| {
        assert!(run.extent.start == at && run.extent.blocks > 0, "runs follow each other");
        run.extent.end()
    });
    assert_eq!(covered, base.extent.end(), "runs cover the extent");
    let data: u32 = runs.iter().filter(|run| run.at.is_some()).map(|run| run.extent.blocks).sum();
    assert_eq!(data as usize, payload_blocks, "all of the payload is used, once");
    match base.body {
        BaseBody::Holes => assert!(runs.len() == 1 && runs[0].at.is_none()),
        BaseBody::Blocks { .. } => assert!(base.extent.blocks <= BASE_BLOCKS_MAX),
    }
    for run in &runs {
        assert!(run.at.is_none_or(|at| at as usize + run.extent.blocks as usize <= payload_blocks));
    }
}
