//! The world: nodes, network, clients, operator and time, and what each of their events does to the others.

use seawall_engine::bait::Bait;
use seawall_engine::format::{both_slots, newborn};
use seawall_engine::io::{Command, CommandId, DiskOp, Input, LinkId, OpId, Request as Ask, RequestId};
use seawall_engine::setup::{Limits, Peer, Setup};
use seawall_recovery::limits::Limits as RecoveryLimits;
use seawall_sender::frame::{FRAME_BYTES, Frame, Kind, lengths};
use seawall_wal::names::{ReplicaId, VolumeId};

use crate::client::{Client, Wish};
use crate::clock::{MILLIS, Moment, SECOND};
use crate::disk::Disk;
use crate::net::{Heard, Host, Net, NetEvent};
use crate::node::{Node, Request, State};
use crate::options::Options;
use crate::oracle::ledger::Place;
use crate::oracle::register::Turn;
use crate::oracle::{Failure, Oracle};
use crate::pool::BLOCK;
use crate::prng::{Prng, Stream};
use crate::profile::Profile;
use crate::queue::Queue;
use crate::stamp::{blocks, fill_sector};
use crate::tally::{Fault, Tally};
use crate::transcript::Transcript;
use crate::trouble::Trouble;

/// The volume of every run.
pub(crate) const VOLUME: VolumeId = VolumeId(*b"a simulated one.");

/// Something that happens.
#[derive(Debug)]
pub(crate) enum Event {
    /// A machine's deadline.
    Tick {
        /// Whose.
        node: usize,
        /// In which life.
        life: u32,
        /// Which of its ticks.
        tick: u64,
    },
    /// A disk operation ends.
    Disk {
        /// Whose.
        node: usize,
        /// In which life.
        life: u32,
        /// Which.
        op: OpId,
    },
    /// Something on the network.
    Net(NetEvent),
    /// A client's hand is free.
    Idle {
        /// Which.
        slot: usize,
        /// After so many requests.
        asked: u64,
    },
    /// A request arrives at a node.
    Request {
        /// Where.
        node: usize,
        /// From which hand.
        slot: usize,
        /// What.
        wish: Wish,
    },
    /// A fault happens, or ends.
    Trouble(Trouble),
    /// The operator has a look.
    Watch,
}

/// A client's hand: one request at a time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Hand {
    /// Requests so far.
    pub(crate) asked: u64,
    /// Whether one is under way.
    pub(crate) busy: bool,
    /// Who it takes for the primary.
    pub(crate) guess: usize,
}

/// Streams of chance, one per concern.
#[derive(Debug)]
pub(crate) struct Chances {
    pub(crate) order: Prng,
    pub(crate) disk: Prng,
    pub(crate) disk_fault: Prng,
    pub(crate) loss: Prng,
    pub(crate) crash: Prng,
    pub(crate) partition: Prng,
    pub(crate) client: Prng,
    pub(crate) operator: Prng,
    pub(crate) clock: Prng,
}

/// Everything.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) options: Options,
    pub(crate) profile: Profile,
    pub(crate) now: Moment,
    pub(crate) turn: Turn,
    pub(crate) queue: Queue<Event>,
    pub(crate) chances: Chances,
    pub(crate) nodes: Vec<Node>,
    pub(crate) net: Net,
    pub(crate) client: Client,
    pub(crate) hands: Vec<Hand>,
    pub(crate) requests: u64,
    pub(crate) commands: u64,
    pub(crate) chaos: bool,
    pub(crate) load: bool,
    pub(crate) reigned_last: Moment,
    pub(crate) served_last: Moment,
    pub(crate) oracle: Oracle,
    pub(crate) tally: Tally,
    pub(crate) transcript: Transcript,
}

impl World {
    /// The world of a seed, before its beginning.
    pub(crate) fn new(options: &Options) -> World {
        let seed = options.seed;
        let profile = Profile::draw(seed);
        let stream = |stream| Prng::new(seed, stream);
        let nodes = (0..profile.replicas).map(|node| Node::new(formatted(&profile, node))).collect();
        World {
            options: options.clone(),
            now: Moment(0),
            turn: 0,
            queue: Queue::new(seed),
            chances: Chances {
                order: stream(Stream::Order),
                disk: stream(Stream::Disk),
                disk_fault: stream(Stream::DiskFault),
                loss: stream(Stream::Loss),
                crash: stream(Stream::Crash),
                partition: stream(Stream::Partition),
                client: stream(Stream::Client),
                operator: stream(Stream::Operator),
                clock: stream(Stream::Clock),
            },
            nodes,
            net: Net::new(profile.replicas, profile.net, stream(Stream::Net), stream(Stream::Reset)),
            client: Client::new(profile.load, profile.geometry.volume_blocks),
            hands: vec![Hand::default(); profile.load.outstanding],
            requests: 0,
            commands: 0,
            chaos: true,
            load: true,
            reigned_last: Moment(0),
            served_last: Moment(0),
            oracle: Oracle::new(&profile),
            tally: Tally::default(),
            transcript: Transcript::new(options.trace),
            profile,
        }
    }

    /// Everything begins to move.
    pub(crate) fn begin(&mut self) -> Result<(), Failure> {
        self.transcript.line(self.now, &"run", || format!("seed {}: {}", self.options.seed, self.profile));
        for node in 0..self.nodes.len() {
            self.start(node)?;
        }
        for slot in 0..self.hands.len() {
            self.queue.push(Moment(MILLIS), Event::Idle { slot, asked: 0 });
        }
        self.queue.push(Moment(500 * MILLIS), Event::Watch);
        self.plan_troubles();
        Ok(())
    }

    /// The next event, if it is not after `until`. `false` if there is none.
    pub(crate) fn advance(&mut self, until: Moment) -> Result<bool, Failure> {
        let Some((at, event)) = self.queue.pop() else { return Ok(false) };
        if at > until {
            self.queue.push(at, event);
            self.now = until;
            return Ok(false);
        }
        self.now = self.now.max(at);
        self.turn += 1;
        self.on_event(event)?;
        for (at, event) in self.net.agenda() {
            self.queue.push(at, Event::Net(event));
        }
        Ok(true)
    }

    fn on_event(&mut self, event: Event) -> Result<(), Failure> {
        match event {
            Event::Tick { node, life, tick } => {
                let due = self.nodes[node].lives(life) && self.nodes[node].tick == tick;
                self.nodes[node].deadline = if due { None } else { self.nodes[node].deadline };
                if due { self.hear(node, Input::Tick) } else { Ok(()) }
            }
            Event::Disk { node, life, op } => self.on_disk(node, life, op),
            Event::Net(event) => self.on_net(event),
            Event::Idle { slot, asked } => {
                self.on_idle(slot, asked);
                Ok(())
            }
            Event::Request { node, slot, wish } => self.on_request(node, slot, wish),
            Event::Trouble(trouble) => self.on_trouble(trouble),
            Event::Watch => self.on_watch(),
        }
    }

    /// A process hears of something, now or when it runs again.
    pub(crate) fn hear(&mut self, node: usize, input: Input) -> Result<(), Failure> {
        match self.nodes[node].state {
            State::Up => self.step(node, input),
            State::Paused => {
                self.nodes[node].inbox.push(input);
                Ok(())
            }
            State::Down { .. } => Ok(()),
        }
    }

    fn on_disk(&mut self, node: usize, life: u32, op: OpId) -> Result<(), Failure> {
        if !self.nodes[node].lives(life) {
            return Ok(());
        }
        let Node { disk, pool, .. } = &mut self.nodes[node];
        self.oracle.home.on_write(node, disk.given(op), pool)?;
        let ended = disk.on_due(op, pool, &mut self.chances.loss);
        if let (DiskOp::Append { parts, .. }, Ok(_)) = (&ended.what, &ended.result) {
            self.oracle.history.on_append(node, parts)?;
        }
        self.oracle.copies.on_ended(node, op, &ended.what, ended.result.is_ok(), disk, pool)?;
        for buf in crate::disk::buffers(&ended.what) {
            pool.release(buf);
        }
        self.hear(node, Input::DiskDone { op, result: ended.result })
    }

    fn on_net(&mut self, event: NetEvent) -> Result<(), Failure> {
        let hosts: Vec<Host> = self.nodes.iter().map(Node::host).collect();
        let heard = match event {
            NetEvent::Leave(conn, side) => {
                let Some(node) = self.net.sender(conn, side) else { return Ok(()) };
                if let Some(buf) = self.net.on_leave(self.now, conn, side, &self.nodes[node].pool) {
                    self.nodes[node].pool.release(buf);
                }
                None
            }
            NetEvent::Arrive(conn, side) => self.net.on_arrive(self.now, conn, side, &hosts),
            NetEvent::GiveUp(conn) => self.net.on_give_up(self.now, conn, &hosts),
        };
        match heard {
            None => Ok(()),
            Some((node, Heard::Accepted(conn))) => {
                let link = self.nodes[node].accept();
                self.net.on_accepted(conn, link);
                self.hear(node, Input::Accepted { link })
            }
            Some((node, Heard::Connected(link))) => self.hear(node, Input::Connected { link }),
            Some((node, Heard::Lost(link, unsent))) => {
                for buf in unsent {
                    self.nodes[node].pool.release(buf);
                }
                self.hear(node, Input::Lost { link })
            }
            Some((node, Heard::Frame(link, bytes))) => self.on_frame(node, link, &bytes),
        }
    }

    /// What a driver does with the bytes of a frame.
    fn on_frame(&mut self, node: usize, link: LinkId, bytes: &[u8]) -> Result<(), Failure> {
        let broken =
            |why: String| Failure::new("frame-integrity", format!("node {node} got a bad frame: {why}"));
        let head: &[u8; FRAME_BYTES] = bytes.first_chunk().ok_or_else(|| broken("too short".to_owned()))?;
        let lengths = lengths(head).map_err(|why| broken(why.to_string()))?;
        let (meta, payload) = bytes[FRAME_BYTES..].split_at(lengths.meta);
        if payload.len() != lengths.payload {
            return Err(broken(format!(
                "payload of {} bytes, header says {}",
                payload.len(),
                lengths.payload
            )));
        }
        let frame = Frame::decode(head, meta.to_vec()).map_err(|why| broken(why.to_string()))?;
        let payload = (!payload.is_empty()).then(|| self.nodes[node].pool.filled(payload));
        if let (Kind::Base, Some(payload)) = (frame.header.kind, &payload) {
            self.nodes[node].pool.mark_base(payload.buf);
        }
        self.transcript.line(self.now, &node, || format!("  ← {link:?} {}", frame.header.kind));
        self.hear(node, Input::Received { link, frame, payload })
    }

    /// A client's hand asks for the next thing.
    fn on_idle(&mut self, slot: usize, asked: u64) {
        if self.hands[slot].asked != asked {
            return;
        }
        let hand = &mut self.hands[slot];
        if hand.busy {
            self.tally.fired(Fault::GaveUp, 1);
        }
        hand.busy = self.load;
        if !self.load {
            return;
        }
        hand.asked += 1;
        let asked = hand.asked;
        let prng = &mut self.chances.client;
        let wish = self.client.wish(prng);
        let delay = prng.between(20_000, 300_000);
        if let Some(patience) = self.profile.load.gives_up {
            self.queue.push(self.now.plus(patience), Event::Idle { slot, asked });
        }
        // Some ask elsewhere although they know a primary.
        let strays = prng.chance(20_000);
        let elsewhere = prng.index(self.nodes.len());
        let node = if strays { elsewhere } else { hand.guess };
        self.queue.push(self.now.plus(delay), Event::Request { node, slot, wish });
    }

    /// A client's hand is free again.
    pub(crate) fn free(&mut self, slot: usize, asked: u64, after: u64) {
        if self.hands[slot].asked == asked {
            self.hands[slot].busy = false;
            let think = self.chances.client.below(self.profile.load.think_max);
            self.queue.push(self.now.plus(after + think), Event::Idle { slot, asked });
        }
    }

    fn on_request(&mut self, node: usize, slot: usize, wish: Wish) -> Result<(), Failure> {
        let asked = self.hands[slot].asked;
        if let State::Down { .. } = self.nodes[node].state {
            self.tally.refused += 1;
            self.hands[slot].guess = self.chances.client.index(self.nodes.len());
            self.free(slot, asked, 20 * MILLIS);
            return Ok(());
        }
        self.requests += 1;
        let id = RequestId(self.requests);
        let pool = &mut self.nodes[node].pool;
        let mut buf = None;
        let request = match wish {
            Wish::Read(extent) => {
                let into = pool.take(extent.blocks);
                buf = Some(into);
                self.oracle.ledger.on_read_began(self.turn);
                Ask::Read { extent, buf: into }
            }
            Wish::Write { stamp, place, fua } => {
                self.oracle.ledger.on_write_began(stamp, place, false, self.turn);
                match place {
                    Place::Blocks(extent) => {
                        let payload = pool.filled(&blocks(stamp, extent.start, extent.blocks));
                        Ask::Write { extent, payload, fua }
                    }
                    Place::Sectors { block, first, count } => {
                        let part = pool.take(1);
                        let bytes = pool.bytes_mut(part);
                        for sector in usize::from(first)..usize::from(first + count) {
                            fill_sector(stamp, block, sector, &mut bytes[sector * 512..(sector + 1) * 512]);
                        }
                        assert_eq!(bytes.len(), BLOCK, "one block");
                        Ask::WritePart { block, first_sector: first, sectors: count, buf: part, fua }
                    }
                }
            }
            Wish::Zero { stamp, extent, trim, fua } => {
                self.oracle.ledger.on_write_began(stamp, Place::Blocks(extent), true, self.turn);
                if trim { Ask::Trim { extent, fua } } else { Ask::WriteZeroes { extent, fua } }
            }
            Wish::Flush => Ask::Flush,
        };
        self.transcript.line(self.now, &node, || format!("request {} {wish:?}", id.0));
        self.nodes[node].requests.insert(id, Request { slot, asked, wish, began: self.turn, buf });
        self.hear(node, Input::Request { id, request })
    }

    /// The operator tells a node to become primary.
    pub(crate) fn promote(&mut self, node: usize) -> Result<(), Failure> {
        self.commands += 1;
        let id = CommandId(self.commands);
        self.transcript.line(self.now, &node, || format!("command {} promote", id.0));
        self.hear(node, Input::Command { id, command: Command::Promote })
    }
}

/// What a node's machine is told at the beginning of each life.
pub(crate) fn setup(profile: &Profile, node: usize, machine_boot: [u8; 16], bait: Option<Bait>) -> Setup {
    Setup {
        volume: VOLUME,
        replica: replica(node),
        members: members(profile),
        first_primary: replica(0),
        volume_blocks: profile.geometry.volume_blocks,
        commit: profile.commit,
        ack: profile.ack,
        machine_boot,
        limits: limits(profile),
        bait,
    }
}

/// A node's replica.
pub(crate) fn replica(node: usize) -> ReplicaId {
    ReplicaId(0xA0 + node as u64)
}

/// All copies, as the configuration names them.
pub(crate) fn members(profile: &Profile) -> Vec<Peer> {
    (0..profile.replicas)
        .map(|node| Peer {
            replica: replica(node),
            name: format!("node-{node}"),
            address: format!("node-{node}:7007"),
            voter: true,
        })
        .collect()
}

/// The node of an address.
pub(crate) fn node_at(address: &str) -> usize {
    let name = address.strip_suffix(":7007").and_then(|name| name.strip_prefix("node-"));
    name.and_then(|name| name.parse().ok()).expect("an address that the configuration named")
}

fn limits(profile: &Profile) -> Limits {
    use core::time::Duration;
    let recovery = RecoveryLimits {
        connect: Duration::from_secs(2),
        greet: Duration::from_secs(3),
        begin: Duration::from_secs(5),
        compare: Duration::from_secs(10),
        silence: Duration::from_millis(1500),
        no_progress: Duration::from_secs(5),
        catch_up: Duration::from_secs(60),
        steady: Duration::from_secs(2),
        backoff_min: Duration::from_millis(20),
        backoff_max: Duration::from_secs(1),
        parked: Duration::from_secs(10),
        ..RecoveryLimits::default()
    };
    Limits {
        quorum_patience: Duration::from_secs(3),
        pulse_interval: Duration::from_millis(100),
        silence_max: Duration::from_millis(1500),
        candidacy_round: Duration::from_millis(1500),
        recovery,
        append_records_max: profile.bounds.append_records,
        window_records: profile.bounds.window_records,
        base_extents: profile.bounds.base_extents,
        checkpoint_sixteenths: profile.bounds.checkpoint_sixteenths,
        overlay_bytes_max: profile.bounds.overlay_bytes,
        ..Limits::default()
    }
}

fn formatted(profile: &Profile, node: usize) -> Disk {
    let mut disk = Disk::new(profile.geometry);
    let superblock = newborn(&setup(profile, node, [0; 16], None), profile.geometry);
    for (area, offset, bytes) in both_slots(&superblock) {
        disk.format(area, offset, &bytes);
    }
    disk
}

/// How often the operator has a look.
pub(crate) const WATCH: u64 = 250 * MILLIS;
/// How long the operator waits for a primary that serves before promoting one.
pub(crate) const PATIENCE: u64 = 2 * SECOND;
