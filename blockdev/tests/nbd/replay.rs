//! A stream of bytes against a machine: what the fuzzer does, and the replay of what it kept.

use seawall_blockdev::export::Limits;

use crate::rig::Rig;

/// The first byte says which answers of the world are slow, the second how the stream is cut; the rest is the stream.
pub(crate) fn replay(input: &[u8]) {
    let [holds, stride, stream @ ..] = input else { return };
    let mut rig = Rig::new(200, Limits::DEFAULT);
    rig.holds.core = holds & 1 != 0;
    rig.holds.sends = holds & 2 != 0;
    rig.holds.buffers = holds & 4 != 0;
    rig.holds.payload = holds & 8 != 0;
    for piece in stream.chunks(usize::from(*stride).max(1)) {
        rig.feed(piece);
    }
    rig.finish();
}
