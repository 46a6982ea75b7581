//! Turns records into appends: one write at a time, and what comes meanwhile is the next one (group commit
//! without a timer).

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use seawall_wal::log::Placed;
use seawall_wal::names::{Lsn, VolumeId};
use seawall_wal::record::{HEADER_BYTES, RecordHeader, Trailer};

use crate::io::{AppendPart, Buf};

/// A record on its way to the log.
#[derive(Debug)]
pub(crate) struct Pending {
    /// Its header.
    pub(crate) header: RecordHeader,
    /// Its body, until the log has it.
    pub(crate) body: Option<Buf>,
    offset: u64,
    bytes: u64,
    padding: Option<Padding>,
}

#[derive(Debug)]
struct Padding {
    offset: u64,
    header: RecordHeader,
    written: bool,
}

/// One write of the log.
#[derive(Debug)]
pub(crate) struct Batch {
    /// Where.
    pub(crate) offset: u64,
    /// What.
    pub(crate) parts: Vec<AppendPart>,
    /// Whether it must be on stable storage when done.
    pub(crate) durable: bool,
}

/// What a finished write leaves.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Written {
    /// The log is written below this.
    pub(crate) to: Lsn,
    /// And on stable storage, if it was that kind of write.
    pub(crate) durable: bool,
    /// Bodies that the log needs no more.
    pub(crate) bodies: Vec<Buf>,
}

/// The queue in front of the log.
#[derive(Debug)]
pub(crate) struct Appender {
    volume: VolumeId,
    unit: u32,
    queue: VecDeque<Pending>,
    in_flight: usize,
    in_flight_durable: bool,
    busy: bool,
}

impl Appender {
    /// An idle one. `unit` is the log's unit in bytes.
    pub(crate) fn new(volume: VolumeId, unit: u32) -> Appender {
        Appender { volume, unit, queue: VecDeque::new(), in_flight: 0, in_flight_durable: false, busy: false }
    }

    /// A record was placed in the log: it is written when its turn comes.
    pub(crate) fn push(&mut self, header: RecordHeader, body: Option<Buf>, placed: &Placed) {
        let padding = placed.padding.map(|(offset, bytes)| Padding {
            offset,
            header: RecordHeader::padding(self.volume, header.epoch, header.lsn, header.chain, bytes),
            written: false,
        });
        let bytes = header.disk_bytes(self.unit);
        self.queue.push_back(Pending { header, body, offset: placed.offset, bytes, padding });
    }

    /// The next write, if none is under way.
    pub(crate) fn next_batch(
        &mut self,
        trailer: Trailer,
        durable_always: bool,
        bytes_max: u64,
        records_max: usize,
    ) -> Option<Batch> {
        if self.busy {
            return None;
        }
        let first = self.queue.front_mut()?;
        if let Some(padding) = first.padding.as_mut().filter(|p| !p.written) {
            padding.written = true;
            self.busy = true;
            self.in_flight_durable = false;
            let header = padding.header.encode(trailer.durable_before, trailer.generation);
            return Some(Batch {
                offset: padding.offset,
                parts: alloc::vec![AppendPart { header, body: None }],
                durable: durable_always,
            });
        }
        let offset = first.offset;
        let mut batch = Batch { offset, parts: Vec::new(), durable: durable_always };
        let mut end = offset;
        for pending in &self.queue {
            // At the ring's end the log goes on at its beginning, with padding before or, by chance, without.
            let wraps = !batch.parts.is_empty() && (pending.padding.is_some() || pending.offset == 0);
            let full = batch.parts.len() >= records_max || end + pending.bytes > offset + bytes_max;
            if wraps || (full && !batch.parts.is_empty()) {
                break;
            }
            assert_eq!(pending.offset, end, "records of a batch lie back to back");
            let header: Box<[u8; HEADER_BYTES]> =
                pending.header.encode(trailer.durable_before, trailer.generation);
            batch.parts.push(AppendPart { header, body: pending.body });
            end += pending.bytes;
        }
        self.in_flight = batch.parts.len();
        self.in_flight_durable = batch.durable;
        self.busy = true;
        Some(batch)
    }

    /// The write under way ended well. `None` if it was only padding.
    pub(crate) fn on_written(&mut self) -> Option<Written> {
        assert!(self.busy, "a write was under way");
        self.busy = false;
        let done = core::mem::take(&mut self.in_flight);
        if done == 0 {
            return None;
        }
        let mut bodies = Vec::new();
        let mut to = Lsn::ZERO;
        for pending in self.queue.drain(..done) {
            bodies.extend(pending.body);
            to = pending.header.lsn.next();
        }
        Some(Written { to, durable: self.in_flight_durable, bodies })
    }

    /// Records that the log does not have yet, oldest first.
    pub(crate) fn pending(&self, lsn: Lsn) -> Option<&Pending> {
        let first = self.queue.front()?.header.lsn;
        if lsn < first {
            return None;
        }
        self.queue.get(usize::try_from(lsn.since(first)).ok()?)
    }

    /// The log failed: nothing more is written, and these bodies are not needed any more.
    pub(crate) fn give_up(&mut self) -> Vec<Buf> {
        self.queue.iter_mut().filter_map(|pending| pending.body.take()).collect()
    }

    /// Whether nothing is queued or under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.queue.is_empty() && !self.busy
    }
}
