//! A write joins the log: from here on its place in the volume's one order is fixed.

use alloc::vec;
use alloc::vec::Vec;

use seawall_sender::time::Instant;
use seawall_wal::names::{Crc, Extent, Lsn};
use seawall_wal::record::{Kind, RecordHeader};

use crate::core::{Core, Purpose};
use crate::io::{Area, DiskDone, DiskError, DiskOp, Done, Payload, Refusal, Request, RequestId};
use crate::locate::{Located, Source};
use crate::notice::{AreaName, Notice};
use crate::primary::{Admitted, Merging, Waiting};
use crate::setup::{Ack, CommitRule};

/// Reads of one thing before its mismatch is believed: a checkpoint may have moved the blocks meanwhile.
const TRIES_MAX: u32 = 8;

/// The extent that a write touches.
fn target(request: &Request) -> Extent {
    match request {
        Request::Write { extent, .. }
        | Request::WriteZeroes { extent, .. }
        | Request::Trim { extent, .. } => *extent,
        Request::WritePart { block, .. } => Extent::new(*block, 1),
        Request::Read { .. } | Request::Flush | Request::Status { .. } => {
            unreachable!("only writes wait for the log")
        }
    }
}

impl Core {
    /// Let waiting writes join the log, in their order, as far as it has room.
    pub(crate) fn admit_writes(&mut self) {
        let Some(primary) = self.primary.as_mut() else { return };
        if !primary.serving {
            return;
        }
        let mut waiting = core::mem::take(&mut primary.waiting);
        let mut kept = alloc::collections::VecDeque::new();
        while let Some(next) = waiting.pop_front() {
            let extent = target(&next.request);
            let held =
                self.primary.as_ref().is_some_and(|p| p.held_blocks.iter().any(|b| extent.contains(*b)));
            if held && !next.merged {
                kept.push_back(next);
                continue;
            }
            let Waiting { id, request, since, merged } = next;
            match request {
                Request::WritePart { block, first_sector, sectors, buf, fua } => {
                    self.begin_merge(Merging {
                        id,
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
                    if let Err(request) = self.admit(id, request, since) {
                        // The log is full: everything behind waits, too.
                        waiting.push_front(Waiting { id, request, since, merged });
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
                    self.refuse(waiting.id, &waiting.request, Refusal::NotPrimary);
                }
            }
        }
    }

    fn admit(&mut self, id: RequestId, request: Request, since: Instant) -> Result<(), Request> {
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
        let header = self.next_header(kind, extent, crcs);
        let end = header.lsn.next();
        if self.append(header, body).is_err() {
            self.space_wanted();
            self.want_durable(self.log.end());
            return Err(request);
        }
        if self.setup.ack == Ack::Written && self.log.bytes_from(self.taken) > self.log_bytes() / 8 {
            self.want_durable(end);
        }
        let pulse = self.confirmation_for_write();
        let firm = fua && self.setup.ack == Ack::Written;
        if firm {
            self.want_durable(end);
        }
        let admitted = Admitted { id, end, since, done: Done::Written, pulse };
        let primary = self.primary.as_mut().expect("a primary admits");
        if firm {
            primary.firm_push(admitted);
        } else {
            primary.plain.push_back(admitted);
        }
        Ok(())
    }

    /// The header of the next record of this reign.
    pub(crate) fn next_header(&self, kind: Kind, extent: Extent, body: Vec<Crc>) -> RecordHeader {
        let epoch = self.primary.as_ref().map_or(self.promised(), |primary| primary.epoch);
        RecordHeader {
            volume: self.setup.volume,
            epoch,
            lsn: self.log.end(),
            kind,
            extent,
            chain: self.log.tail_chain(),
            body,
        }
    }

    /// Under `one` no peer's frontier shows that we still reign: a pulse must.
    pub(crate) fn confirmation_for_write(&mut self) -> u64 {
        match (self.setup.commit, self.primary.as_mut()) {
            (CommitRule::One, Some(primary)) => primary.pulses.want(),
            _ => 0,
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
        self.unhold(merging.block);
        self.release(merging.over);
        self.complete(merging.id, Err(Refusal::Unreadable));
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
        let payload = Payload { buf: merging.over, crcs: vec![crc] };
        let request = Request::Write { extent: Extent::new(merging.block, 1), payload, fua: merging.fua };
        let waiting = Waiting { id: merging.id, request, since: merging.since, merged: true };
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
