//! A stream of bytes against a machine: what the fuzzer does, and the replay of what it kept.

use seawall_blockdev::export::{Action, Limits};

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

/// Everything that the machine asks for, when nothing but payloads is answered; then let it end.
pub(crate) fn actions(stream: &[u8], cuts: &[usize]) -> (Vec<Action>, Vec<u8>) {
    let mut rig = Rig::new(200, Limits::DEFAULT);
    rig.keeps_log = true;
    (rig.holds.core, rig.holds.sends, rig.holds.buffers) = (true, true, true);
    let mut from = 0;
    for cut in cuts.iter().map(|cut| cut % (stream.len() + 1)).chain([stream.len()]) {
        if cut > from {
            rig.feed(&stream[from..cut]);
            from = cut;
        }
    }
    let (log, wire) = (std::mem::take(&mut rig.log), rig.taken());
    rig.finish();
    (log, wire)
}

/// The first byte says how many cuts there are, and two bytes each where; the rest is the stream. Cut there, or at
/// every byte, it has the same consequences as in one piece.
pub(crate) fn cuts(input: &[u8]) {
    let Some((count, rest)) = input.split_first() else { return };
    let (places, stream) = rest.split_at(rest.len().min(2 * usize::from(count % 32)));
    let place = |place: &[u8; 2]| usize::from(u16::from_le_bytes(*place)) % (stream.len() + 1);
    let mut cuts: Vec<usize> = places.as_chunks().0.iter().map(place).collect();
    cuts.sort_unstable();
    let whole = actions(stream, &[]);
    assert!(actions(stream, &cuts) == whole, "cut at {cuts:?}");
    let every: Vec<usize> = (0..stream.len()).collect();
    assert!(actions(stream, &every) == whole, "cut at every byte");
}
