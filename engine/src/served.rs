//! The primary's side of forwarding: requests of other replicas' clients come in, join those of our own, and are
//! answered over the connection on which they came.

use alloc::vec::Vec;

use seawall_sender::codec;
use seawall_sender::frame::{Frame, Kind};
use seawall_sender::receiver::check_blocks;
use seawall_sender::session_id::SessionId;
use seawall_sender::time::Instant;
use seawall_sender::violation::Violation;
use seawall_wal::names::{Crc, Lsn, Origin, ReplicaId};

use crate::bait::Bait;
use crate::core::{Core, Purpose};
use crate::forward::{Good, Owner};
use crate::forwarding::{Forward, ForwardAnswer, Forwarded, Forwarding};
use crate::io::{Buf, Done, LinkId, Payload, Refusal, Request};
use crate::notice::Notice;
use crate::primary::{Admitted, AttachWish, Merging, ReadProgress, Waiting};

/// The connection over which a replica's clients are heard.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Served {
    pub(crate) link: LinkId,
    pub(crate) session: SessionId,
    /// Requests not answered.
    pub(crate) requests: usize,
}

/// A request that came before this reign serves.
#[derive(Debug)]
pub(crate) struct Parked {
    link: LinkId,
    forward: Forward,
    payload: Option<Payload>,
    since: Instant,
}

impl Core {
    /// A request of a client of a peer.
    pub(crate) fn on_forward(
        &mut self,
        link: LinkId,
        peer: ReplicaId,
        frame: &Frame,
        bytes: &mut Option<Payload>,
    ) -> Result<(), Violation> {
        let forward: Forward = codec::decode(&frame.meta)?;
        let ended = self.drain.is_some() || self.drained || self.fault.is_some();
        let reigns = self.primary.as_ref().is_some_and(|primary| primary.epoch == frame.header.epoch);
        if ended || !reigns {
            // It looks for the primary once more.
            self.notice(Notice::Stale { session: frame.header.session });
            self.disconnect(link);
            return Ok(());
        }
        // Invariant: newest-attachment-writes. What is left in an older connection is never heard after a newer one.
        let session = frame.header.session;
        let known = self.served.get(&peer).copied();
        if known.is_some_and(|known| known.session > session) {
            self.notice(Notice::Stale { session });
            self.disconnect(link);
            return Ok(());
        }
        if known.is_none_or(|known| known.link != link) {
            self.served.insert(peer, Served { link, session, requests: 0 });
            if let Some(known) = known {
                self.disconnect(known.link);
            }
        }
        check_forward(&forward, self.setup.volume_blocks, bytes.as_ref())?;
        let requests_max = self.setup.limits.requests_max;
        let Some(served) = self.served.get_mut(&peer) else { return Ok(()) };
        // One of them is for an attachment.
        if served.requests > requests_max {
            return Err(Violation::OutOfTurn { state: "full of requests", event: "Forward" });
        }
        served.requests += 1;
        let parked = Parked { link, forward, payload: bytes.take(), since: self.now };
        let Some(primary) = self.primary.as_mut() else { return Ok(()) };
        if primary.serving {
            self.hear(peer, parked);
            self.admit_writes();
            self.serve();
        } else {
            primary.parked.push_back((peer, parked));
        }
        Ok(())
    }

    /// The reign serves: what came before is heard now.
    pub(crate) fn hear_parked(&mut self) {
        let Some(primary) = self.primary.as_mut().filter(|primary| primary.serving) else { return };
        if primary.parked.is_empty() {
            return;
        }
        for (peer, parked) in core::mem::take(&mut primary.parked) {
            self.hear(peer, parked);
        }
        self.admit_writes();
        self.serve();
    }

    fn hear(&mut self, peer: ReplicaId, parked: Parked) {
        let Parked { link, forward, payload, since } = parked;
        let Forward { number, origin, seen, again, what } = forward;
        let owner = Owner::Peer { link, number };
        let again = again.then_some(seen);
        let request = match what {
            Forwarding::Attach { expected } => return self.ask_attachment(owner, peer, expected, since),
            Forwarding::Read { extent } => return self.admit_read(owner, extent, None, since),
            Forwarding::Write { extent, fua, .. } => {
                let Some(payload) = payload else { return };
                Request::Write { extent, payload, fua }
            }
            Forwarding::WritePart { block, first_sector, sectors, fua, .. } => {
                let Some(Payload { buf, .. }) = payload else { return };
                Request::WritePart { block, first_sector, sectors, buf, fua }
            }
            Forwarding::WriteZeroes { extent, fua } => Request::WriteZeroes { extent, fua },
            Forwarding::Trim { extent, fua } => Request::Trim { extent, fua },
            Forwarding::Flush => Request::Flush,
            Forwarding::Status { extent, runs_max } => {
                let runs_max = runs_max.min(crate::forwarding::RUNS_MAX);
                Request::Status { extent, runs_max }
            }
        };
        self.ask_here(owner, request, origin, again, since);
    }

    /// A request ended: whoever asked is told.
    pub(crate) fn respond(&mut self, owner: Owner, result: Result<Good, Refusal>) {
        match owner {
            Owner::Ours { number } => self.on_ours_ended(number, result),
            Owner::Peer { link, number } => self.respond_there(link, number, result),
        }
    }

    fn respond_there(&mut self, link: LinkId, number: u64, result: Result<Good, Refusal>) {
        let bytes = match &result {
            Ok(Good::Bytes { buf, .. }) => Some(*buf),
            Ok(Good::Done(_) | Good::Attached { .. }) | Err(_) => None,
        };
        let Some(served) = self.served.values_mut().find(|served| served.link == link) else {
            bytes.into_iter().for_each(|buf| self.release(buf));
            return;
        };
        served.requests = served.requests.saturating_sub(1);
        let session = served.session;
        let answer = match result {
            Ok(Good::Done(Done::Read { holes })) => ForwardAnswer::Read { holes, crcs: Vec::new() },
            Ok(Good::Done(Done::Written)) => ForwardAnswer::Written,
            Ok(Good::Done(Done::Flushed)) => ForwardAnswer::Flushed,
            Ok(Good::Done(Done::Status(runs))) => ForwardAnswer::Status(runs),
            Ok(Good::Bytes { holes, crcs, .. }) => ForwardAnswer::Read { holes, crcs },
            Ok(Good::Attached { incarnation }) => ForwardAnswer::Attached { incarnation },
            Err(refusal) => ForwardAnswer::Refused(refusal),
        };
        let meta = codec::encode(&Forwarded { number, answer });
        self.send(link, Kind::Forwarded, self.epoch(), session, &meta, bytes);
        bytes.into_iter().for_each(|buf| self.release(buf));
    }

    /// A connection is gone: what came over it and is not in the log is forgotten; what is there may yet commit. It
    /// will be asked again, over another one.
    pub(crate) fn served_lost(&mut self, link: LinkId) {
        let mine = |owner: &Owner| matches!(owner, Owner::Peer { link: of, .. } if *of == link);
        for served in self.served.values_mut().filter(|served| served.link == link) {
            // Its session is remembered: an older one is never heard again.
            (served.link, served.requests) = (LinkId(u64::MAX), 0);
        }
        let Some(primary) = self.primary.as_mut() else { return };
        let (gone, kept): (Vec<_>, Vec<_>) =
            core::mem::take(&mut primary.parked).into_iter().partition(|(_, parked)| parked.link == link);
        primary.parked = kept.into();
        primary.attaching.retain(|wish| !mine(&wish.owner));
        primary.plain.retain(|admitted| !mine(&admitted.owner));
        primary.firm.retain(|admitted| !mine(&admitted.owner));
        let (waiting, kept): (Vec<_>, Vec<_>) =
            core::mem::take(&mut primary.waiting).into_iter().partition(|waiting| mine(&waiting.owner));
        primary.waiting = kept.into();
        let merges: Vec<u64> =
            primary.merges.iter().filter(|(_, m)| mine(&m.owner)).map(|(number, _)| *number).collect();
        let reads: Vec<u64> =
            primary.reads.iter().filter(|(_, r)| mine(&r.owner)).map(|(number, _)| *number).collect();
        for (_, parked) in gone {
            self.drop_parked(parked);
        }
        for waiting in waiting {
            self.forget_waiting(waiting);
        }
        for number in merges {
            if let Some(merging) = self.primary.as_mut().and_then(|primary| primary.merges.remove(&number)) {
                self.unhold(merging.block);
                self.forget_merging(merging);
            }
        }
        for number in reads {
            if let Some(read) = self.primary.as_mut().and_then(|primary| primary.reads.remove(&number)) {
                self.unpin(read.pin);
                if read.progress == ReadProgress::UnderWay {
                    self.orphan(number, read.owner);
                } else {
                    read.buf.into_iter().for_each(|buf| self.release(buf));
                }
            }
        }
    }

    pub(crate) fn drop_parked(&mut self, parked: Parked) {
        self.drop_payload(parked.payload);
    }

    /// A write that has not joined the log is dropped.
    pub(crate) fn forget_waiting(&mut self, waiting: Waiting) {
        if waiting.merged
            && let Request::Write { extent, .. } = &waiting.request
        {
            self.unhold(extent.start);
        }
        waiting.request.brought().into_iter().for_each(|buf| self.release(buf));
    }

    pub(crate) fn forget_merging(&mut self, merging: Merging) {
        self.unpin(merging.pin);
        self.release(merging.over);
    }

    /// The disk is at a read whose reign, or whose asker, is gone.
    pub(crate) fn orphan(&mut self, number: u64, owner: Owner) {
        let op = self
            .ops
            .iter_mut()
            .find(|(_, purpose)| matches!(purpose, Purpose::Read { number: n } if *n == number));
        let (_, purpose) = op.expect("the disk is at it");
        *purpose = Purpose::Orphan { owner };
    }

    /// A replica wants its clients to write. `expected` is the attachment that they knew when they came.
    pub(crate) fn ask_attachment(&mut self, owner: Owner, of: ReplicaId, expected: Lsn, since: Instant) {
        let Some(primary) = self.primary.as_mut() else { return };
        primary.attaching.push_back(AttachWish { owner, of, expected, since });
        self.admit_attachments();
    }

    /// Attachments begin, one after the other, as far as the log has room.
    pub(crate) fn admit_attachments(&mut self) {
        while let Some(wish) = self.primary.as_mut().and_then(|primary| primary.attaching.pop_front()) {
            let AttachWish { owner, of, expected, since } = wish;
            let newest = self.attachments.newest();
            let origin = Origin { incarnation: expected, number: of.0 };
            let its_own = self.log.entry(newest).is_some_and(|entry| entry.origin == origin);
            if newest != expected && !its_own {
                // Invariant: newest-attachment-writes. Somebody else's clients came later than its own.
                self.want_pulse();
                self.respond(owner, Err(Refusal::Superseded));
                continue;
            }
            // Where it asked before, that answer was lost, or it forgot it: the attachment is fenced like any other.
            let kind = seawall_wal::record::Kind::Attach;
            let extent = seawall_wal::names::Extent::default();
            let header = self.next_header(kind, extent, Vec::new(), origin);
            let incarnation = header.lsn;
            if self.append(header, None).is_err() {
                self.space_wanted();
                if let Some(primary) = self.primary.as_mut() {
                    primary.attaching.push_front(wish);
                }
                return;
            }
            let end = incarnation.next();
            // Its name must be for ever: in every mode it is durable on the quorum.
            self.want_durable(end);
            let proof = self.proof_for_write();
            let done = Good::Attached { incarnation };
            if let Some(primary) = self.primary.as_mut() {
                primary.firm_push(Admitted { owner, end, since, done, proof });
            }
        }
    }

    /// The newest attachment, as this reign's admission knows it.
    pub(crate) fn fence(&self) -> Lsn {
        let newest = self.attachments.newest();
        let first = self.primary.as_ref().map_or(Lsn::ZERO, |primary| primary.first);
        if self.setup.baited(Bait::AttachForgotten) && newest < first { Lsn::ZERO } else { newest }
    }
}

fn check_forward(forward: &Forward, volume_blocks: u64, bytes: Option<&Payload>) -> Result<(), Violation> {
    let contradictory = Violation::Contradictory { kind: Kind::Forward };
    if !forward.what.is_sound(volume_blocks) {
        return Err(contradictory);
    }
    let came: &[Crc] = bytes.map_or(&[], |payload| &payload.crcs);
    let blocks = bytes.map_or(0, |payload| payload.buf.blocks);
    if forward.what.payload_blocks() != blocks {
        return Err(contradictory);
    }
    match &forward.what {
        Forwarding::Write { crcs, .. } => check_blocks(crcs, came),
        Forwarding::WritePart { crc, .. } => check_blocks(&[*crc], came),
        Forwarding::Read { .. }
        | Forwarding::WriteZeroes { .. }
        | Forwarding::Trim { .. }
        | Forwarding::Flush
        | Forwarding::Status { .. }
        | Forwarding::Attach { .. } => Ok(()),
    }
}

/// What a peer's read was filled into, with the checksums of its blocks.
pub(crate) fn filled(buf: Option<Buf>, crcs: Vec<Crc>, holes: u64) -> Good {
    match buf {
        Some(buf) => Good::Bytes { holes, buf, crcs },
        None => Good::Done(Done::Read { holes }),
    }
}
