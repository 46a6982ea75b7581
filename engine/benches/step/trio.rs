//! Three replicas in memory, and a driver that does everything at once and costs next to nothing.

use std::collections::{BTreeMap, VecDeque};

use seawall_engine::format::{both_slots, newborn};
use seawall_engine::io::{
    Area, Buf, DiskDone, DiskOp, Done, Input, LetIn, LinkId, OpId, Outbox, Output, Payload, Request,
    RequestId,
};
use seawall_engine::replica::Replica;
use seawall_engine::setup::{Peer, Setup};
use seawall_sender::frame::{FRAME_BYTES, Frame};
use seawall_sender::greeting::Proven;
use seawall_sender::time::Instant;
use seawall_wal::crc::crc32c;
use seawall_wal::geometry::{Geometry, SUPER_BYTES};
use seawall_wal::names::{Crc, Extent, ReplicaId, VolumeId};
use seawall_wal::scan::Scanned;

const VOLUME: VolumeId = VolumeId([7; 16]);
const BLOCKS: u64 = 16 << 10;
const GEOMETRY: Geometry =
    Geometry { volume_blocks: BLOCKS, log_bytes: 16 << 20, unit_bytes: 512, separate_log: false };
/// Inputs of one turn at the most.
const TURN_INPUTS_MAX: usize = 32;
/// What time passes with every step, in nanoseconds.
const STEP_NANOS: u64 = 1000;

/// A replica, and what there is of its disk and its connections.
struct Node {
    replica: Replica,
    superblocks: Vec<u8>,
    table: BTreeMap<u64, Vec<u8>>,
    /// The other end of each link: node and the link's name there.
    links: BTreeMap<LinkId, (usize, LinkId)>,
    accepted: u64,
}

/// The three, and what is on its way to them.
struct Trio {
    nodes: Vec<Node>,
    inputs: VecDeque<(usize, Input)>,
    now: u64,
    outbox: Outbox,
    bufs: u32,
    /// The checksum of every block that is ever written.
    crc: Crc,
    completed: u32,
    requests: u64,
}

fn setup(index: u64) -> Setup {
    let peer = |i: u64| Peer {
        replica: ReplicaId(i + 1),
        name: format!("r{i}"),
        address: i.to_string(),
        voter: true,
    };
    Setup {
        seed: index,
        ..Setup::new(VOLUME, ReplicaId(index + 1), (0..3).map(peer).collect(), ReplicaId(1), BLOCKS)
    }
}

impl Trio {
    /// Three that are in sync, the first of them primary.
    fn start() -> Trio {
        let nodes = (0..3).map(|index| {
            let setup = setup(index);
            let mut superblocks = vec![0; usize::try_from(SUPER_BYTES).unwrap()];
            for (_, offset, bytes) in both_slots(&newborn(&setup, GEOMETRY)) {
                let at = usize::try_from(offset).unwrap();
                superblocks[at..at + bytes.len()].copy_from_slice(&bytes);
            }
            let replica = Replica::new(Instant(0), setup);
            Node { replica, superblocks, table: BTreeMap::new(), links: BTreeMap::new(), accepted: 1 }
        });
        let crc = crc32c(&[7; 4096]);
        let mut trio = Trio {
            nodes: nodes.collect(),
            inputs: VecDeque::new(),
            now: 1,
            outbox: Outbox::default(),
            bufs: 0,
            crc,
            completed: 0,
            requests: 0,
        };
        for index in 0..3 {
            trio.inputs.push_back((index, Input::Tick));
        }
        while !trio.is_in_sync() {
            trio.turn();
        }
        trio
    }

    fn is_in_sync(&self) -> bool {
        let status = self.nodes[0].replica.status();
        status.peers.len() == 2 && status.peers.iter().all(|peer| peer.counts)
    }

    fn buf(&mut self, blocks: u32) -> Buf {
        self.bufs = self.bufs.wrapping_add(1);
        Buf { slot: self.bufs, first: 0, blocks }
    }

    /// Some inputs, as a driver finds them at once; or, without any, the passing of time until somebody's deadline.
    fn turn(&mut self) {
        if self.inputs.is_empty() {
            let deadlines = self.nodes.iter().filter_map(|node| node.replica.deadline());
            let first = deadlines.min().expect("somebody waits for something");
            self.now = self.now.max(first.0);
        }
        for _ in 0..self.inputs.len().min(TURN_INPUTS_MAX) {
            let (index, input) = self.inputs.pop_front().expect("there are so many");
            self.step(index, input);
        }
        for index in 0..3 {
            if self.nodes[index].replica.deadline().is_some_and(|deadline| deadline.0 <= self.now) {
                self.step(index, Input::Tick);
            }
        }
    }

    fn step(&mut self, index: usize, input: Input) {
        self.now += STEP_NANOS;
        self.nodes[index].replica.step(Instant(self.now), input, &mut self.outbox);
        let mut outputs = std::mem::take(&mut self.outbox.outputs);
        for output in outputs.drain(..) {
            self.carry_out(index, output);
        }
        self.outbox.outputs = outputs;
    }

    fn carry_out(&mut self, index: usize, output: Output) {
        match output {
            Output::Disk { op, what } => self.disk(index, op, what),
            Output::Connect { link, address, .. } => {
                let to: usize = address.parse().expect("addresses are numbers here");
                let there = LinkId(self.nodes[to].accepted);
                self.nodes[to].accepted += 2;
                self.nodes[to].links.insert(there, (index, link));
                self.nodes[index].links.insert(link, (to, there));
                self.inputs.push_back((to, Input::Accepted { link: there, proven: Proven::Nobody }));
                self.inputs.push_back((index, Input::Connected { link, proven: Proven::Nobody }));
            }
            Output::Send { link, head, payload } => {
                let Some((to, link)) = self.nodes[index].links.get(&link).copied() else { return };
                let first: &[u8; FRAME_BYTES] = head.first_chunk().expect("a whole header");
                let frame = Frame::decode(first, head[FRAME_BYTES..].to_vec()).expect("our own frame");
                let payload = payload.map(|sent| Payload {
                    buf: self.buf(sent.blocks),
                    crcs: vec![self.crc; sent.blocks as usize],
                });
                self.inputs.push_back((to, Input::Received { link, frame, payload }));
            }
            Output::Disconnect { link } => {
                if let Some((to, there)) = self.nodes[index].links.remove(&link)
                    && self.nodes[to].links.remove(&there).is_some()
                {
                    self.inputs.push_back((to, Input::Lost { link: there }));
                }
            }
            Output::Complete { result, .. } => {
                assert!(matches!(result, Ok(Done::Written | Done::Read { .. })), "{result:?}");
                self.completed += 1;
            }
            Output::Keep { op, .. } => self.done(index, op, DiskDone::Done),
            Output::Release(_) | Output::Answer { .. } | Output::Notice(_) => {}
        }
    }

    fn done(&mut self, index: usize, op: OpId, done: DiskDone) {
        self.inputs.push_back((index, Input::DiskDone { op, result: Ok(done) }));
    }

    fn disk(&mut self, index: usize, op: OpId, what: DiskOp) {
        let node = &mut self.nodes[index];
        let done = match what {
            DiskOp::ReadMeta { area: Area::Table, offset, bytes } => {
                let page = |at: u64| node.table.get(&at).cloned().unwrap_or_else(|| vec![0; 4096]);
                DiskDone::Meta((0..u64::from(bytes) / 4096).flat_map(|i| page(offset + i * 4096)).collect())
            }
            DiskOp::ReadMeta { offset, bytes, .. } => {
                let at = usize::try_from(offset).unwrap();
                DiskDone::Meta(node.superblocks[at..at + bytes as usize].to_vec())
            }
            DiskOp::WriteMeta { area: Area::Table, offset, bytes, .. } => {
                node.table.insert(offset, bytes);
                DiskDone::Done
            }
            DiskOp::WriteMeta { offset, bytes, .. } => {
                let at = usize::try_from(offset).unwrap();
                node.superblocks[at..at + bytes.len()].copy_from_slice(&bytes);
                DiskDone::Done
            }
            // Nobody starts twice: the log was never written.
            DiskOp::Scan { offset, bytes } => {
                DiskDone::Scanned(Scanned { records: Vec::new(), next: offset + u64::from(bytes) })
            }
            DiskOp::Read { into, blocks, .. } => {
                let buf = into.unwrap_or_else(|| self.buf(blocks));
                DiskDone::Read { buf, crcs: vec![self.crc; blocks as usize] }
            }
            DiskOp::Merge { .. } => DiskDone::Merged(self.crc),
            DiskOp::Append { .. }
            | DiskOp::WriteHome { .. }
            | DiskOp::Discard { .. }
            | DiskOp::Flush { .. }
            | DiskOp::Copy { .. } => DiskDone::Done,
        };
        self.done(index, op, done);
    }

    fn ask(&mut self, request: Request) {
        self.requests += 1;
        let input = Input::Request { id: RequestId(self.requests), knows: LetIn::default(), request };
        self.inputs.push_back((0, input));
    }

    /// A block somewhere, as if by chance.
    fn block(&self) -> Extent {
        Extent::new(self.requests.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 50, 1)
    }

    fn ask_to_write(&mut self) {
        let payload = Payload { buf: self.buf(1), crcs: vec![self.crc] };
        self.ask(Request::Write { extent: self.block(), payload, fua: false });
    }

    /// So many requests, so many of them at once.
    fn run(&mut self, depth: u32, count: u32, ask: fn(&mut Trio)) {
        let (end, mut asked) = (self.completed + count, 0);
        while self.completed < end {
            while asked < count && asked - (self.completed + count - end) < depth {
                ask(self);
                asked += 1;
            }
            self.turn();
        }
    }
}

/// So many writes of a block, so many of them at once, the moves home among them.
pub(crate) fn write(depth: u32, count: u32) {
    Trio::start().run(depth, count, Trio::ask_to_write);
}

/// So many reads of a block that was written.
pub(crate) fn read(depth: u32, count: u32) {
    let mut trio = Trio::start();
    trio.run(32, 4096, Trio::ask_to_write);
    trio.run(depth, count, |trio| {
        let buf = trio.buf(1);
        let extent = trio.block();
        trio.ask(Request::Read { extent, buf });
    });
}
