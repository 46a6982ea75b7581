//! What a driver does with the bytes that come from a peer.

use seawall_engine::forwarding::{ForwardAnswer, Forwarded};
use seawall_engine::io::{Input, LinkId};
use seawall_sender::codec;
use seawall_sender::frame::{FRAME_BYTES, Frame, Kind, lengths};

use crate::checksum::crc32c;
use crate::oracle::Failure;
use crate::pool::BLOCK;
use crate::tally::Fault;
use crate::world::World;

/// A frame and its payload, if the bytes are one as far as a driver can tell.
pub(crate) fn read(bytes: &[u8]) -> Result<(Frame, &[u8]), String> {
    let head: &[u8; FRAME_BYTES] = bytes.first_chunk().ok_or("too short")?;
    let lengths = lengths(head).map_err(|why| why.to_string())?;
    let rest = &bytes[FRAME_BYTES..];
    if rest.len() != lengths.meta + lengths.payload {
        return Err(format!("{} bytes, header says {} and {}", rest.len(), lengths.meta, lengths.payload));
    }
    let (meta, payload) = rest.split_at(lengths.meta);
    let frame = Frame::decode(head, meta.to_vec()).map_err(|why| why.to_string())?;
    Ok((frame, payload))
}

impl World {
    /// A frame came as it was sent.
    pub(crate) fn on_frame(&mut self, node: usize, link: LinkId, bytes: &[u8]) -> Result<(), Failure> {
        let (frame, payload) = read(bytes)
            .map_err(|why| Failure::new("frame-integrity", format!("node {node} got a bad frame: {why}")))?;
        let kind = frame.header.kind;
        if self.net.is_astray(node, link) && !matches!(kind, Kind::Hello | Kind::Welcome | Kind::Farewell) {
            let detail =
                format!("node {node} gets {kind} over a connection that was meant for somebody else");
            return Err(Failure::new("identity-outlives-address", detail));
        }
        let payload = (!payload.is_empty()).then(|| self.nodes[node].pool.filled(payload));
        if let (Kind::Base, Some(payload)) = (kind, &payload) {
            self.nodes[node].pool.mark_base(payload.buf);
        }
        self.transcript.line(self.now, &node, || format!("  ← {link:?} {kind}"));
        self.sign_frame(node, link, bytes, false);
        self.hear(node, Input::Received { link, frame, payload })
    }

    /// A frame came with bits flipped. The driver sees that in header and meta part, and drops the connection; in the
    /// payload the machine does, which knows what its checksums must be.
    pub(crate) fn on_flipped(&mut self, node: usize, link: LinkId, bytes: &[u8]) -> Result<(), Failure> {
        let Ok((frame, payload)) = read(bytes) else {
            self.tally.fired(Fault::FlippedHead, 1);
            self.transcript.line(self.now, &node, || format!("  ← {link:?} what is no frame any more"));
            for buf in self.net.on_disconnect(self.now, node, link) {
                self.nodes[node].pool.release(buf);
            }
            return self.hear(node, Input::Lost { link });
        };
        let taken = |what: &str| {
            let detail = format!("node {node} takes a {} whose {what} changed on the way", frame.header.kind);
            Err(Failure::new("frame-integrity", detail))
        };
        if payload.is_empty() {
            return taken("header or meta part");
        }
        self.tally.fired(Fault::FlippedPayload, 1);
        self.transcript.line(self.now, &node, || format!("  ← {link:?} {}, changed", frame.header.kind));
        let payload = self.nodes[node].pool.filled(payload);
        let buf = payload.buf;
        self.hear(node, Input::Received { link, frame: frame.clone(), payload: Some(payload) })?;
        if self.nodes[node].pool.is_held(buf) && !only_holes_changed(&frame, bytes) {
            return taken("payload");
        }
        Ok(())
    }
}

/// Whether all that changed are blocks of an answer that the answer itself calls holes: nobody is shown those bytes.
fn only_holes_changed(frame: &Frame, bytes: &[u8]) -> bool {
    let Ok(Forwarded { answer: ForwardAnswer::Read { holes, crcs }, .. }) = codec::decode(&frame.meta) else {
        return false;
    };
    let Ok((_, payload)) = read(bytes) else { return false };
    let changed = payload.chunks_exact(BLOCK).zip(&crcs).map(|(block, crc)| crc32c(block) != *crc);
    frame.header.kind == Kind::Forwarded
        && changed.enumerate().all(|(at, changed)| !changed || holes >> at & 1 == 1)
}
