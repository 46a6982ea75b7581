//! A write joins the log: from here on its place in the volume's one order is fixed.

use alloc::vec;
use alloc::vec::Vec;

use seawall_sender::time::Instant;
use seawall_wal::names::{Crc, Extent, Lsn, Origin};
use seawall_wal::record::{Kind, RecordHeader};

use crate::attachment::Trace;
use crate::bait::Bait;
use crate::core::{Core, Purpose};
use crate::forward::{Good, Owner};
use crate::io::{Area, DiskDone, DiskError, DiskOp, Done, Payload, Refusal, Request};
use crate::locate::{Located, Source};
use crate::notice::{AreaName, Notice};
use crate::order::target;
use crate::primary::{Admitted, Merging, Waiting};
use crate::setup::Ack;

/// Reads of one thing before its mismatch is believed: a checkpoint may have moved the blocks meanwhile.
const TRIES_MAX: u32 = 8;

/// Whether it is to be durable in every mode.
fn is_fua(request: &Request) -> bool {
    match request {
        Request::Write { fua, .. }
        | Request::WritePart { fua, .. }
        | Request::WriteZeroes { fua, .. }
        | Request::Trim { fua, .. } => *fua,
        Request::Read { .. } | Request::Flush | Request::Status { .. } => false,
    }
}

impl Core {
    /// Let waiting writes join the log, in their order, as far as it has room.
    pub(crate) fn admit_writes(&mut self) {
        // What is not admitted yet when a hand-over begins is not this reign's to write.
        if self.primary.as_ref().is_none_or(|primary| !primary.serving || primary.handing.is_some()) {
            return;
        }
        self.admit_attachments();
        let Some(primary) = self.primary.as_mut() else { return };
        let mut waiting = core::mem::take(&mut primary.waiting);
        let mut kept = alloc::collections::VecDeque::new();
        let mut ahead = self.ahead();
        while let Some(next) = waiting.pop_front() {
            let extent = target(&next.request).expect("only writes wait for the log");
            let held =
                self.primary.as_ref().is_some_and(|p| p.held_blocks.iter().any(|b| extent.contains(*b)));
            // What was merged came before all that waits for it.
            if (held || ahead.blocks(extent, || false)) && !next.merged {
                ahead.push(extent);
                kept.push_back(next);
                continue;
            }
            let Some(next) = self.check_origin(next) else { continue };
            let Waiting { owner, origin, again, request, since, merged } = next;
            match request {
                Request::WritePart { block, first_sector, sectors, buf, fua } => {
                    self.begin_merge(Merging {
                        owner,
                        origin,
                        block,
                        first_sector,
                        sectors,
                        over: buf,
                        fua,
                        since,
                        located: Located::default(),
                        pin: None,
                        tries: 0,
                        moves: 0,
                    });
                }
                request => {
                    if let Err(request) = self.admit(owner, origin, request, since) {
                        // The log is full: everything behind waits, too.
                        waiting.push_front(Waiting { owner, origin, again, request, since, merged });
                        break;
                    }
                    if merged && let Some(primary) = self.primary.as_mut() {
                        primary.held_blocks.retain(|held| *held != extent.start);
                    }
                }
            }
        }
        kept.append(&mut waiting);
        match self.primary.as_mut() {
            // What was merged on the spot stands in front already.
            Some(primary) => primary.waiting.append(&mut kept),
            // To make room the reign may have ended.
            None => {
                for waiting in kept {
                    let owner = waiting.owner;
                    self.forget_waiting(waiting);
                    self.reign_over(owner, Refusal::NotPrimary);
                }
            }
        }
    }

    /// Whether a write may join the log. One of an older attachment never does; one that was given to a primary
    /// before does only if it certainly did not join then.
    fn check_origin(&mut self, waiting: Waiting) -> Option<Waiting> {
        let Waiting { owner, origin, again, since, merged, .. } = waiting;
        // Invariant: newest-attachment-writes.
        if origin.incarnation < self.fence() {
            self.forget_waiting(waiting);
            self.respond(owner, Err(Refusal::Superseded));
            return None;
        }
        let Some(seen) = again.filter(|_| !merged && !self.setup.baited(Bait::ReplayUnchecked)) else {
            return Some(waiting);
        };
        // Invariant: request-lands-once.
        let primary = self.primary.as_mut().expect("a primary admits");
        match primary.traces.find(&self.log, origin, seen) {
            Trace::Absent => Some(waiting),
            Trace::Found(lsn) => {
                let firm = is_fua(&waiting.request);
                self.forget_waiting(waiting);
                self.notice(Notice::Replayed { at: lsn });
                self.await_write(owner, lsn.next(), firm, since);
                None
            }
            Trace::Unknown => {
                self.forget_waiting(waiting);
                self.respond(owner, Err(Refusal::InDoubt));
                None
            }
        }
    }

    fn admit(
        &mut self,
        owner: Owner,
        origin: Origin,
        request: Request,
        since: Instant,
    ) -> Result<(), Request> {
        let (kind, extent, crcs, body, fua) = match &request {
            Request::Write { extent, payload, fua } => {
                (Kind::Write, *extent, payload.crcs.clone(), Some(payload.buf), *fua)
            }
            Request::WriteZeroes { extent, fua } => (Kind::WriteZeroes, *extent, Vec::new(), None, *fua),
            Request::Trim { extent, fua } => (Kind::Trim, *extent, Vec::new(), None, *fua),
            Request::WritePart { .. } | Request::Read { .. } | Request::Flush | Request::Status { .. } => {
                unreachable!("only whole writes join the log")
            }
        };
        let header = self.next_header(kind, extent, crcs, origin);
        let end = header.lsn.next();
        if self.append(header, body).is_err() {
            self.space_wanted();
            self.want_durable(self.log.end());
            return Err(request);
        }
        if self.setup.ack == Ack::Written && self.log.bytes_from(self.taken) > self.log_bytes() / 8 {
            self.want_durable(end);
        }
        self.await_write(owner, end, fua, since);
        Ok(())
    }

    /// A write whose record ends at `end` waits for that to commit.
    fn await_write(&mut self, owner: Owner, end: Lsn, fua: bool, since: Instant) {
        let proof = self.proof_for_write();
        let firm = fua && self.setup.ack == Ack::Written;
        if firm {
            self.want_durable(end);
        }
        let admitted = Admitted { owner, end, since, done: Good::Done(Done::Written), proof };
        let primary = self.primary.as_mut().expect("a primary admits");
        if firm {
            primary.firm_push(admitted);
        } else {
            primary.plain_push(admitted);
        }
    }

    /// The header of the next record of this reign.
    pub(crate) fn next_header(
        &self,
        kind: Kind,
        extent: Extent,
        body: Vec<Crc>,
        origin: Origin,
    ) -> RecordHeader {
        let epoch = self.primary.as_ref().map_or(self.promised(), |primary| primary.epoch);
        RecordHeader {
            volume: self.setup.volume,
            epoch,
            lsn: self.log.end(),
            kind,
            extent,
            chain: self.log.tail_chain(),
            origin,
            body,
        }
    }

    /// A flush or FUA write waits for the log to be durable up to `end`, here and at the peers.
    pub(crate) fn want_durable(&mut self, end: Lsn) {
        if end <= self.settled {
            return;
        }
        self.flush_to = self.flush_to.max(end);
        // In durable mode every append is a flush already.
        if self.setup.ack == Ack::Written
            && let Some(primary) = self.primary.as_mut()
        {
            primary.pulses.want();
        }
    }

    fn begin_merge(&mut self, mut merging: Merging) {
        let extent = Extent::new(merging.block, 1);
        merging.located = self.locate(extent);
        merging.moves = self.mover.moves();
        let primary = self.primary.as_mut().expect("a primary merges");
        if !primary.held_blocks.contains(&merging.block) {
            primary.held_blocks.push(merging.block);
        }
        self.numbers += 1;
        let number = self.numbers;
        let (over, first_sector, sectors) = (merging.over, merging.first_sector, merging.sectors);
        let source = merging.located.runs[0].source;
        if source == Source::Hole {
            primary.merges.insert(number, merging);
            let what = DiskOp::Merge { base: over, over, first_sector, sectors, zero_base: true };
            self.disk(Purpose::Merge { number }, what);
            return;
        }
        if let Source::Record { lsn, first } = source
            && let Some(base) = self.appender.pending(lsn).and_then(|pending| pending.body)
        {
            let base = base.part(first, 1);
            let primary = self.primary.as_mut().expect("a primary merges");
            primary.merges.insert(number, merging);
            let what = DiskOp::Merge { base, over, first_sector, sectors, zero_base: false };
            self.disk(Purpose::Merge { number }, what);
            return;
        }
        merging.pin = self.pin_read(merging.located.oldest);
        let pieces = self.pieces(extent, &merging.located);
        let primary = self.primary.as_mut().expect("a primary merges");
        primary.merges.insert(number, merging);
        self.disk(Purpose::MergeBase { number }, DiskOp::Read { pieces, into: None, blocks: 1 });
    }

    /// The older bytes of a block came.
    pub(crate) fn on_merge_base(&mut self, number: u64, result: Result<DiskDone, DiskError>) {
        let (base, crcs) = match result {
            Ok(DiskDone::Read { buf, crcs }) => (Some(buf), crcs),
            Ok(other) => panic!("a read was answered with {other:?}"),
            Err(_) => (None, vec![]),
        };
        let merging = self.primary.as_mut().and_then(|primary| primary.merges.remove(&number));
        let Some(mut merging) = merging else {
            if let Some(base) = base {
                self.release(base);
            }
            return;
        };
        self.unpin(merging.pin.take());
        let extent = Extent::new(merging.block, 1);
        let wrong = match base {
            None => Some((Area::Home, extent)),
            Some(_) => self.mismatch(extent, &merging.located, &crcs),
        };
        let Some((area, extent)) = wrong else {
            let base = base.expect("it was read");
            let (over, first_sector, sectors) = (merging.over, merging.first_sector, merging.sectors);
            if let Some(primary) = self.primary.as_mut() {
                primary.merges.insert(number, merging);
            }
            let what = DiskOp::Merge { base, over, first_sector, sectors, zero_base: false };
            self.disk(Purpose::Merge { number }, what);
            // The driver holds it until the merge is done.
            self.release(base);
            return;
        };
        if let Some(base) = base {
            self.release(base);
            if merging.moves != self.mover.moves() && merging.tries < TRIES_MAX {
                merging.tries += 1;
                self.begin_merge(merging);
                return;
            }
            self.notice(Notice::Corrupt { area: AreaName(area), extent });
        }
        let owner = merging.owner;
        self.unhold(merging.block);
        self.forget_merging(merging);
        self.respond(owner, Err(Refusal::Unreadable));
        self.admit_writes();
    }

    /// A block is whole: it joins the log as a write of one block.
    pub(crate) fn on_merged(&mut self, number: u64, result: Result<DiskDone, DiskError>) {
        let merging = self.primary.as_mut().and_then(|primary| primary.merges.remove(&number));
        let Some(merging) = merging else { return };
        let crc = match result {
            Ok(DiskDone::Merged(crc)) => crc,
            other => panic!("a merge in memory was answered with {other:?}"),
        };
        self.note_sum(merging.owner, crc);
        let payload = Payload { buf: merging.over, crcs: vec![crc] };
        let request = Request::Write { extent: Extent::new(merging.block, 1), payload, fua: merging.fua };
        let Merging { owner, origin, since, .. } = merging;
        let waiting = Waiting { owner, origin, again: None, request, since, merged: true };
        if let Some(primary) = self.primary.as_mut() {
            primary.waiting.push_front(waiting);
        }
        self.admit_writes();
    }

    pub(crate) fn unhold(&mut self, block: u64) {
        if let Some(primary) = self.primary.as_mut() {
            primary.held_blocks.retain(|held| *held != block);
        }
    }

    /// Take what a buffer of the wrong reign holds back to the driver.
    pub(crate) fn drop_read(&mut self, result: Result<DiskDone, DiskError>) {
        if let Ok(DiskDone::Read { buf, .. }) = result {
            self.release(buf);
        }
    }

    /// Payload of a received frame that is not needed.
    pub(crate) fn drop_payload(&mut self, payload: Option<Payload>) {
        if let Some(Payload { buf, .. }) = payload {
            self.release(buf);
        }
    }
}
