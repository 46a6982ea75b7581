//! A driver without a socket and a core without a log: memory with counted references, and a volume of bytes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use seawall_blockdev::export::nbd::{Attachment, Connection};
use seawall_blockdev::export::{
    Action, Actions, Catalog, Export, ExportId, Limits, PartId, Piece, Segment, TaskId,
};
use seawall_engine::io::{Buf, Done, Payload, Refusal, Request};
use seawall_sender::time::Instant;
use seawall_wal::names::Crc;

pub(crate) const BLOCK: usize = 4096;

/// Which answers wait until they are asked for.
#[derive(Clone, Copy, Default)]
pub(crate) struct Holds {
    pub(crate) attach: bool,
    pub(crate) buffers: bool,
    pub(crate) core: bool,
    pub(crate) sends: bool,
    /// Memory for payloads.
    pub(crate) payload: bool,
}

pub(crate) struct Rig {
    pub(crate) connection: Connection,
    pub(crate) now: Instant,
    pub(crate) holds: Holds,
    /// Everything that the machine asked for, if `keeps_log`.
    pub(crate) log: Vec<Action>,
    pub(crate) keeps_log: bool,
    /// What the client got.
    pub(crate) wire: Vec<u8>,
    /// What the client sent and nobody took.
    pub(crate) inbox: Vec<u8>,
    pub(crate) volume: Vec<u8>,
    pub(crate) holes: Vec<bool>,
    pub(crate) submitted: VecDeque<(PartId, Request)>,
    pub(crate) wants_buffers: VecDeque<(TaskId, Vec<u32>, bool)>,
    pub(crate) closing: bool,
    pub(crate) closed: bool,
    memory: BTreeMap<u32, Allocation>,
    next_slot: u32,
    payload: Option<Vec<Piece>>,
    attach: Option<ExportId>,
    unsent: VecDeque<(u64, Vec<Buf>)>,
}

struct Allocation {
    bytes: Vec<u8>,
    references: u32,
}

pub(crate) fn catalog(blocks: u64) -> Arc<Catalog> {
    let export = |name: &str, description: &str, read_only| Export {
        name: name.into(),
        description: description.into(),
        blocks,
        read_only,
    };
    let exports = vec![export("vol0", "the first", false), export("frozen", "", true)];
    Arc::new(Catalog::new(exports, Some(ExportId(0))))
}

impl Rig {
    pub(crate) fn new(blocks: u64, limits: Limits) -> Rig {
        let mut out = Actions::default();
        let now = Instant(1_000_000_000);
        let connection = Connection::open(now, catalog(blocks), limits, &mut out);
        let blocks = usize::try_from(blocks).unwrap();
        let mut rig = Rig {
            connection,
            now,
            holds: Holds::default(),
            log: Vec::new(),
            keeps_log: false,
            wire: Vec::new(),
            inbox: Vec::new(),
            volume: vec![0; blocks * BLOCK],
            holes: vec![true; blocks],
            submitted: VecDeque::new(),
            wants_buffers: VecDeque::new(),
            closing: false,
            closed: false,
            memory: BTreeMap::new(),
            next_slot: 0,
            payload: None,
            attach: None,
            unsent: VecDeque::new(),
        };
        rig.carry_out(out);
        rig
    }

    /// The client sends.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.inbox.extend_from_slice(bytes);
        self.pump();
    }

    /// What the client got since the last time.
    pub(crate) fn taken(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.wire)
    }

    /// Let everything happen that nothing holds up.
    pub(crate) fn pump(&mut self) {
        loop {
            let mut out = Actions::default();
            if self.payload.is_some() && !self.closing {
                if self.holds.payload || !self.receive(&mut out) {
                    return;
                }
            } else if let Some(export) = self.attach.filter(|_| !self.holds.attach) {
                self.attach = None;
                self.connection.on_attached(self.now, export, Attachment::Granted, &mut out);
            } else if let Some(ready) =
                (!self.holds.buffers).then(|| self.wants_buffers.pop_front()).flatten()
            {
                self.give_buffers(ready, &mut out);
            } else if !self.holds.core && !self.submitted.is_empty() {
                let (part, request) = self.submitted.pop_front().unwrap();
                let done = self.execute(&request);
                self.connection.on_completed(self.now, part, Ok(done), &mut out);
            } else if !self.holds.sends && !self.unsent.is_empty() {
                let (bytes, release) = self.unsent.pop_front().unwrap();
                release.into_iter().for_each(|buf| self.release(buf));
                self.connection.on_sent(self.now, bytes, &mut out);
            } else if !self.inbox.is_empty() && self.connection.wants_bytes() {
                let inbox = std::mem::take(&mut self.inbox);
                let consumed = self.connection.on_bytes(self.now, &inbox, &mut out);
                assert!(consumed > 0, "a machine that wants bytes takes some");
                self.inbox = inbox[consumed..].to_vec();
            } else {
                return;
            }
            self.carry_out(out);
        }
    }

    /// Receive a payload if the whole of it is there.
    fn receive(&mut self, out: &mut Actions) -> bool {
        self.connection.on_payload_progress(self.now);
        let pieces = self.payload.as_ref().unwrap();
        let bytes: usize = pieces.iter().map(|piece| piece.bytes as usize).sum();
        if self.inbox.len() < bytes {
            return false;
        }
        let pieces = self.payload.take().unwrap();
        let mut payloads = Vec::new();
        for piece in pieces {
            assert!(piece.blocks <= 64 && piece.skip < 4096);
            let buf = self.allocate(piece.blocks, 0xa5);
            let rest = self.inbox.split_off(piece.bytes as usize);
            let payload = std::mem::replace(&mut self.inbox, rest);
            let bytes = &mut self.memory.get_mut(&buf.slot).unwrap().bytes;
            bytes[piece.skip as usize..][..payload.len()].copy_from_slice(&payload);
            let crcs = bytes.chunks(BLOCK).map(checksum).collect();
            payloads.push(Payload { buf, crcs });
        }
        self.connection.on_payload(payloads, out);
        true
    }

    fn give_buffers(&mut self, (task, blocks, zeroed): (TaskId, Vec<u32>, bool), out: &mut Actions) {
        let fill = if zeroed { 0 } else { 0xa5 };
        let buffers = blocks.into_iter().map(|blocks| self.allocate(blocks, fill)).collect();
        self.connection.on_buffers(task, buffers, out);
    }

    fn allocate(&mut self, blocks: u32, fill: u8) -> Buf {
        assert!((1..=64).contains(&blocks), "buffers are 1 to 64 blocks");
        let slot = self.next_slot;
        self.next_slot += 1;
        let bytes = vec![fill; blocks as usize * BLOCK];
        self.memory.insert(slot, Allocation { bytes, references: 1 });
        Buf { slot, first: 0, blocks }
    }

    fn release(&mut self, buf: Buf) {
        let allocation = self.memory.get_mut(&buf.slot).expect("a reference to what is allocated");
        allocation.references -= 1;
        if allocation.references == 0 {
            self.memory.remove(&buf.slot);
        }
    }

    pub(crate) fn carry_out(&mut self, out: Actions) {
        for action in out.list {
            if self.keeps_log {
                self.log.push(action.clone());
            }
            assert!(
                !self.closed || matches!(action, Action::Release(_)),
                "only releases after the end: {action:?}"
            );
            match action {
                Action::Send { segments, release } => {
                    assert!(!self.closing, "nothing is said after the end");
                    let bytes = segments.iter().map(Segment::bytes).sum();
                    self.render(segments);
                    self.unsent.push_back((bytes, release));
                }
                Action::Payload { pieces } => {
                    assert!(self.payload.replace(pieces).is_none(), "one payload at a time");
                }
                Action::Buffers { task, blocks, zeroed } => {
                    self.wants_buffers.push_back((task, blocks, zeroed))
                }
                Action::Retain { buf, times } => {
                    self.memory.get_mut(&buf.slot).unwrap().references += times;
                }
                Action::Release(buf) => self.release(buf),
                Action::Submit { part, request } => self.submitted.push_back((part, request)),
                Action::Attach { export } => self.attach = Some(export),
                Action::CloseAfterSends => {
                    self.closing = true;
                    self.payload = None;
                    self.wants_buffers.clear();
                }
                Action::Close => {
                    (self.closing, self.closed) = (true, true);
                    self.payload = None;
                    self.wants_buffers.clear();
                    for (_, release) in std::mem::take(&mut self.unsent) {
                        release.into_iter().for_each(|buf| self.release(buf));
                    }
                }
            }
        }
    }

    fn render(&mut self, segments: Vec<Segment>) {
        for segment in segments {
            match segment {
                Segment::Bytes(bytes) => self.wire.extend_from_slice(&bytes),
                Segment::Data { buf, offset, bytes } => {
                    let from = buf.first as usize * BLOCK + offset as usize;
                    let all = &self.memory[&buf.slot].bytes;
                    self.wire.extend_from_slice(&all[from..from + bytes as usize]);
                }
                Segment::Zeroes(bytes) => self.wire.resize(self.wire.len() + bytes as usize, 0),
            }
        }
    }

    /// What the core does.
    fn execute(&mut self, request: &Request) -> Done {
        match request {
            Request::Read { extent, buf } => {
                assert_eq!(extent.blocks, buf.blocks);
                let mut holes = 0;
                for i in 0..extent.blocks {
                    let (block, at) = (index(extent.start) + i as usize, (buf.first + i) as usize * BLOCK);
                    if self.holes[block] {
                        holes |= 1 << i;
                    } else {
                        let from = &self.volume[block * BLOCK..][..BLOCK];
                        self.memory.get_mut(&buf.slot).unwrap().bytes[at..at + BLOCK].copy_from_slice(from);
                    }
                }
                Done::Read { holes }
            }
            Request::Write { extent, payload, fua: _ } => {
                assert_eq!(extent.blocks, payload.buf.blocks);
                assert_eq!(extent.start / 64, (extent.end() - 1) / 64, "split at multiples of 256 KiB");
                for i in 0..extent.blocks as usize {
                    let at = (payload.buf.first as usize + i) * BLOCK;
                    let bytes = self.memory[&payload.buf.slot].bytes[at..at + BLOCK].to_vec();
                    assert_eq!(payload.crcs[i], checksum(&bytes), "the checksum is the block's");
                    let block = index(extent.start) + i;
                    self.volume[block * BLOCK..][..BLOCK].copy_from_slice(&bytes);
                    self.holes[block] = false;
                }
                self.release(payload.buf);
                Done::Written
            }
            Request::WritePart { block, first_sector, sectors, buf, fua: _ } => {
                assert!(buf.blocks == 1 && *sectors > 0 && *sectors < 8 && first_sector + sectors <= 8);
                let block = index(*block);
                let (from, bytes) = (*first_sector as usize * 512, *sectors as usize * 512);
                let over =
                    &mut self.memory.get_mut(&buf.slot).unwrap().bytes[buf.first as usize * BLOCK..][..BLOCK];
                let home = &mut self.volume[block * BLOCK..][..BLOCK];
                home[from..from + bytes].copy_from_slice(&over[from..from + bytes]);
                // The merged block is made in place.
                over.copy_from_slice(home);
                self.holes[block] = false;
                self.release(*buf);
                Done::Written
            }
            Request::WriteZeroes { extent, .. } | Request::Trim { extent, .. } => {
                assert!(!extent.is_empty());
                let (from, to) = (index(extent.start), index(extent.end()));
                self.volume[from * BLOCK..to * BLOCK].fill(0);
                self.holes[from..to].fill(true);
                Done::Written
            }
            Request::Flush => Done::Flushed,
            Request::Status { extent, runs_max } => {
                let all = &self.holes[index(extent.start)..index(extent.end())];
                let runs = all.chunk_by(|a, b| a == b).map(|run| (run.len() as u64, run[0]));
                Done::Status(runs.take(*runs_max as usize).collect())
            }
        }
    }

    /// The core answers the oldest request so.
    pub(crate) fn complete(&mut self, result: Result<(), Refusal>) {
        let (part, request) = self.submitted.pop_front().expect("something is submitted");
        let result = match result {
            Ok(()) => Ok(self.execute(&request)),
            Err(refusal) => {
                match &request {
                    Request::Write { payload: Payload { buf, .. }, .. } | Request::WritePart { buf, .. } => {
                        self.release(*buf);
                    }
                    Request::Read { .. }
                    | Request::WriteZeroes { .. }
                    | Request::Trim { .. }
                    | Request::Flush
                    | Request::Status { .. } => {}
                }
                Err(refusal)
            }
        };
        self.event(|connection, now, out| connection.on_completed(now, part, result, out));
    }

    /// The driver hears whether the client may attach.
    pub(crate) fn attach(&mut self, attachment: Attachment) {
        let export = self.attach.take().expect("somebody wishes to attach");
        self.event(|connection, now, out| connection.on_attached(now, export, attachment, out));
    }

    /// Something happens to the machine.
    pub(crate) fn event(&mut self, event: impl FnOnce(&mut Connection, Instant, &mut Actions)) {
        let mut out = Actions::default();
        event(&mut self.connection, self.now, &mut out);
        self.carry_out(out);
        self.pump();
    }

    /// Time passes up to the machine's deadline, if it has one.
    pub(crate) fn deadline(&mut self) {
        self.now = self.connection.deadline().expect("there is a deadline");
        self.event(|connection, now, out| connection.on_deadline(now, out));
    }

    /// The client goes, everything ends, and nothing is left over.
    pub(crate) fn finish(&mut self) {
        self.event(|connection, _, out| connection.on_eof(out));
        self.holds = Holds::default();
        self.pump();
        assert!(self.connection.is_closed() && self.connection.is_idle());
        assert!(self.memory.is_empty(), "{} buffers are still referred to", self.memory.len());
    }
}

fn index(number: u64) -> usize {
    usize::try_from(number).unwrap()
}

/// A stand-in: the machine never looks at it.
pub(crate) fn checksum(bytes: &[u8]) -> Crc {
    Crc(bytes.iter().fold(1, |sum: u32, byte| sum.wrapping_mul(31).wrapping_add(u32::from(*byte))))
}

/// A rig whose client uses `vol0`, with structured replies and `base:allocation` if `structured`.
pub(crate) fn serving(blocks: u64, limits: Limits, structured: bool) -> Rig {
    serving_export("vol0", blocks, limits, structured)
}

pub(crate) fn serving_export(name: &str, blocks: u64, limits: Limits, structured: bool) -> Rig {
    let mut rig = Rig::new(blocks, limits);
    rig.feed(&opening(name, structured));
    assert!(rig.connection.export().is_some());
    rig.taken();
    rig
}

/// What a client sends up to the first request.
pub(crate) fn opening(name: &str, structured: bool) -> Vec<u8> {
    let mut bytes = vec![0, 0, 0, 3];
    if structured {
        bytes.extend(crate::wire::option(8, b""));
        bytes.extend(crate::wire::option(10, &crate::wire::contexts(name, &["base:allocation"])));
    }
    bytes.extend(crate::wire::option(7, &crate::wire::info(name, &[])));
    bytes
}
