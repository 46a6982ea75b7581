//! The world: nodes, network, clients, operator and time, and what each of their events does to the others.

use std::collections::{BTreeMap, VecDeque};

use seawall_engine::branch::Branch;
use seawall_engine::io::{Answer, Area, Command, CommandId, DiskDone, Input, LetIn, LinkId, OpId};
use seawall_engine::notice::Notice;
use seawall_sender::greeting::Proven;
use seawall_wal::names::VolumeId;

use crate::atlas::Atlas;
use crate::birth::{self, formatted};
use crate::client::{Client, Wish};
use crate::clock::{MILLIS, Moment};
use crate::deed::Deed;
use crate::directory::Directory;
use crate::disk::ENOSPC;
use crate::executor::Mend;
use crate::forcing::Operator;
use crate::net::{Heard, Host, Net, NetEvent};
use crate::node::{Node, State};
use crate::options::Options;
use crate::oracle::register::Turn;
use crate::oracle::{Failure, Oracle};
use crate::planner::Planner;
use crate::prng::{Prng, Stream};
use crate::profile::Profile;
use crate::queue::Queue;
use crate::scenario::DiskVerb;
use crate::sign::{DiskEnd, Sign, verb};
use crate::stamp::Stamp;
use crate::story::Story;
use crate::tally::Tally;
use crate::timeline::Timeline;
use crate::transcript::Transcript;

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
    /// A branch is in its place, or finds none.
    Kept {
        /// Whose.
        node: usize,
        /// In which life.
        life: u32,
        /// Which operation.
        op: OpId,
        /// What.
        branch: Box<Branch>,
        /// Whether there was room.
        good: bool,
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
        /// The hand's count of requests.
        asked: u64,
        /// What.
        wish: Wish,
    },
    /// A fault passes.
    Mend(Mend),
    /// The operator has a look.
    Watch,
    /// The operator has read an answer.
    Thinks {
        /// To which command.
        id: CommandId,
    },
}

/// A connection of a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Connection {
    /// To that node.
    pub(crate) node: usize,
    /// In that life of it.
    pub(crate) life: u32,
    /// What the node said when it let the client in.
    pub(crate) knows: LetIn,
}

/// A client's hand: one request at a time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hand {
    /// Requests so far.
    pub(crate) asked: u64,
    /// Whether one is under way.
    pub(crate) busy: bool,
    /// Which node it goes to.
    pub(crate) guess: usize,
    /// Its connection, while that is good.
    pub(crate) connection: Option<Connection>,
    /// Writes that it gave up, or of whose end it never heard, since the last one that it was told is done.
    pub(crate) doubts: Vec<Stamp>,
}

/// Streams of chance, one per concern.
#[derive(Debug)]
pub(crate) struct Chances {
    pub(crate) order: Prng,
    pub(crate) disk: Prng,
    pub(crate) disk_fault: Prng,
    pub(crate) loss: Prng,
    pub(crate) client: Prng,
    pub(crate) operator: Prng,
    pub(crate) clock: Prng,
    pub(crate) stuck: Prng,
    pub(crate) damage: Prng,
    pub(crate) jump: Prng,
    pub(crate) dice: Prng,
    pub(crate) side: Prng,
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
    /// Whether connections prove who is at their ends, as TLS does.
    pub(crate) proves: bool,
    pub(crate) directory: Directory,
    pub(crate) client: Client,
    pub(crate) hands: Vec<Hand>,
    /// The connection over which a story writes.
    pub(crate) told: Option<Connection>,
    /// Where clients were last told that a write is done.
    pub(crate) abode: usize,
    pub(crate) requests: u64,
    pub(crate) commands: u64,
    pub(crate) chaos: bool,
    pub(crate) load: bool,
    pub(crate) reigned_last: Moment,
    pub(crate) served_last: Moment,
    pub(crate) planner: Planner,
    /// The scenario that comes to pass, if it is one.
    pub(crate) story: Option<Box<Story>>,
    /// A readable account, if it is wanted.
    pub(crate) timeline: Option<Box<Timeline>>,
    /// When the last of what passes by itself will have passed.
    pub(crate) mended: Moment,
    /// Disk operations that will fail.
    pub(crate) rigged: Vec<(usize, DiskVerb, Area)>,
    /// Until when each node's disk ends nothing.
    pub(crate) stalled: Vec<Moment>,
    /// Requests of the load so far.
    pub(crate) wishes: u64,
    /// The deeds that were carried out.
    pub(crate) deeds: Vec<Deed>,
    /// How long each completed write took, in nanoseconds, if somebody wants to know.
    pub(crate) waits: Option<Vec<u64>>,
    /// When everything was mended.
    pub(crate) healed: Option<Moment>,
    /// Whether a copy was wiped.
    pub(crate) wiped: bool,
    /// Answers to commands, by command.
    pub(crate) answers: BTreeMap<CommandId, Answer>,
    /// The rule by which each node opened last.
    pub(crate) opened: Vec<Option<&'static str>>,
    pub(crate) atlas: Atlas,
    /// What an operator who forces promotions knows.
    pub(crate) operator: Operator,
    /// The last notices of each node, for a report.
    pub(crate) recent: Vec<VecDeque<(Moment, Notice)>>,
    pub(crate) oracle: Oracle,
    pub(crate) tally: Tally,
    pub(crate) transcript: Transcript,
}

impl World {
    /// The world of a seed, before its beginning.
    pub(crate) fn new(options: &Options) -> World {
        let seed = options.seed;
        let profile = match &options.script {
            Some(script) => script.profile.clone(),
            None if options.bare => Profile::draw(seed).with_spare(),
            None => {
                let mut profile = Profile::draw(seed);
                options.arena.dress(&mut profile);
                profile
            }
        };
        let stream = |stream| Prng::new(seed, stream);
        let mut directory = Directory::new(profile.nodes());
        (profile.replicas..profile.nodes()).for_each(|spare| directory.set_named(spare, false));
        let nodes = (0..profile.nodes()).map(|node| Node::new(formatted(&profile, node))).collect();
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
                client: stream(Stream::Client),
                operator: stream(Stream::Operator),
                clock: stream(Stream::Clock),
                stuck: stream(Stream::Stuck),
                damage: stream(Stream::Damage),
                jump: stream(Stream::Jump),
                dice: stream(Stream::Dice),
                side: stream(Stream::Side),
            },
            nodes,
            net: Net::new(
                profile.nodes(),
                profile.net,
                stream(Stream::Net),
                stream(Stream::Reset),
                stream(Stream::Wire),
            ),
            proves: stream(Stream::Proof).coin(),
            directory,
            client: Client::new(profile.load, profile.geometry.volume_blocks),
            hands: vec![Hand::default(); profile.load.outstanding],
            told: None,
            abode: 0,
            requests: 0,
            commands: 0,
            chaos: true,
            load: true,
            reigned_last: Moment(0),
            served_last: Moment(0),
            planner: Planner::new(seed, options.script.is_some()),
            story: options.script.clone().map(|script| Box::new(Story::new(script))),
            timeline: options.timeline.then(Box::default),
            mended: Moment(0),
            rigged: Vec::new(),
            stalled: vec![Moment(0); profile.nodes()],
            wishes: 0,

            deeds: Vec::new(),
            waits: None,
            healed: None,
            wiped: false,
            answers: BTreeMap::new(),
            opened: vec![None; profile.nodes()],
            atlas: Atlas::new(&profile),
            operator: Operator::default(),
            recent: vec![VecDeque::new(); profile.nodes()],
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
        let head = self.queue.due();
        let told = self.story.as_ref().and_then(|story| story.due());
        let planned = self.planner.due();
        if let Some(due) = told.into_iter().chain(planned).min()
            && due <= until
            && head.is_none_or(|head| due <= head)
        {
            self.now = self.now.max(due);
            if told == Some(due) {
                self.on_story()?;
            } else {
                self.on_plan()?;
            }
            self.look_at_story();
            return Ok(true);
        }
        let Some(head) = head else { return Ok(false) };
        if head > until {
            self.now = until;
            return Ok(false);
        }
        let Some((at, event)) = self.queue.pop() else { return Ok(false) };
        self.now = self.now.max(at);
        self.turn += 1;
        self.on_event(event)?;
        self.oracle.verdict()?;
        self.take_agenda();
        self.look_at_story();
        Ok(true)
    }

    /// What the network has to come back with is put on the world's agenda.
    pub(crate) fn take_agenda(&mut self) {
        for (at, event) in self.net.agenda() {
            self.queue.push(at, Event::Net(event));
        }
    }

    fn on_event(&mut self, event: Event) -> Result<(), Failure> {
        match event {
            Event::Tick { node, life, tick } => {
                let due = self.nodes[node].lives(life) && self.nodes[node].tick == tick;
                self.nodes[node].deadline = if due { None } else { self.nodes[node].deadline };
                if due { self.hear(node, Input::Tick) } else { Ok(()) }
            }
            Event::Disk { node, life, op } => self.on_disk(node, life, op),
            Event::Kept { node, life, op, branch, good } => self.on_kept(node, life, op, &branch, good),
            Event::Net(event) => self.on_net(event),
            Event::Idle { slot, asked } => {
                self.on_idle(slot, asked);
                Ok(())
            }
            Event::Request { node, slot, asked, wish } => self.on_request(node, slot, asked, wish),
            Event::Mend(mend) => self.on_mend(mend),
            Event::Watch => self.on_watch(),
            Event::Thinks { id } => self.on_thought(id),
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
        let end = if ended.result.is_ok() { DiskEnd::Done } else { DiskEnd::Failed };
        self.oracle.on_disk_ended(node, op, &ended.what, ended.result.is_ok(), disk, pool)?;
        for buf in crate::disk::buffers(&ended.what) {
            pool.release(buf);
        }
        if let Some((does, area)) = verb(&ended.what) {
            self.sign(node, Sign::Disk(does, area, end));
        }
        self.hear(node, Input::DiskDone { op, result: ended.result })
    }

    fn on_kept(
        &mut self,
        node: usize,
        life: u32,
        op: OpId,
        branch: &Branch,
        good: bool,
    ) -> Result<(), Failure> {
        if !self.nodes[node].lives(life) {
            return Ok(());
        }
        self.oracle.branches.on_kept(node, branch, &self.nodes[node].disk, good);
        let result = if good { Ok(DiskDone::Done) } else { Err(ENOSPC) };
        self.hear(node, Input::DiskDone { op, result })
    }

    fn on_net(&mut self, event: NetEvent) -> Result<(), Failure> {
        match self.carry(event) {
            None => Ok(()),
            Some((node, heard)) => self.on_heard(node, heard),
        }
    }

    /// What the network does then, and who hears what of it.
    fn carry(&mut self, event: NetEvent) -> Option<(usize, Heard)> {
        let hosts: Vec<Host> = self.nodes.iter().map(Node::host).collect();
        match event {
            NetEvent::Leave(conn, side) => {
                let node = self.net.sender(conn, side)?;
                if let Some(buf) = self.net.on_leave(self.now, conn, side, &self.nodes[node].pool) {
                    self.nodes[node].pool.release(buf);
                }
                None
            }
            NetEvent::Arrive(conn, side) => self.net.on_arrive(self.now, conn, side, &hosts),
            NetEvent::GiveUp(conn) => self.net.on_give_up(self.now, conn, &hosts),
        }
    }

    /// A process hears of the network: the only way to hear of another node.
    fn on_heard(&mut self, node: usize, heard: Heard) -> Result<(), Failure> {
        match heard {
            Heard::Accepted(conn) => {
                let link = self.nodes[node].accept();
                self.net.on_accepted(conn, link);
                let proven = self.proven(node, link);
                self.hear(node, Input::Accepted { link, proven })
            }
            Heard::Connected(link) => {
                let proven = self.proven(node, link);
                self.hear(node, Input::Connected { link, proven })
            }
            Heard::Lost(link, unsent) => {
                for buf in unsent {
                    self.nodes[node].pool.release(buf);
                }
                self.hear(node, Input::Lost { link })
            }
            Heard::Frame(link, bytes) => self.on_frame(node, link, &bytes),
            Heard::Flipped(link, bytes) => self.on_flipped(node, link, &bytes),
        }
    }

    /// Who is proven to be at the other end of a connection, in a run whose connections prove it: whoever is there.
    fn proven(&self, node: usize, link: LinkId) -> Proven {
        match self.net.peer(node, link).filter(|_| self.proves) {
            Some(peer) => Proven::Replica { volume: VOLUME, replica: birth::replica(peer) },
            None => Proven::Nobody,
        }
    }

    /// The operator tells a node to become primary.
    pub(crate) fn promote(&mut self, node: usize, take_over: bool) -> Result<(), Failure> {
        self.sign(node, Sign::Promoted { take_over });
        self.oracle.upkeep.on_operator(CommandId(self.commands + 1), node);
        self.command(node, Command::Promote { take_over }).map(|_| ())
    }

    /// The operator tells a node something. Gives the name under which it answers.
    pub(crate) fn command(&mut self, node: usize, command: Command) -> Result<CommandId, Failure> {
        let id = self.command_name();
        self.say_command(node, id, command)?;
        Ok(id)
    }

    /// A name for the next command.
    pub(crate) fn command_name(&mut self) -> CommandId {
        self.commands += 1;
        CommandId(self.commands)
    }

    pub(crate) fn say_command(
        &mut self,
        node: usize,
        id: CommandId,
        command: Command,
    ) -> Result<(), Failure> {
        self.transcript.line(self.now, &node, || format!("command {} {command:?}", id.0));
        self.hear(node, Input::Command { id, command })
    }
}

/// So many notices of each node are kept for a report.
pub(crate) const RECENT: usize = 5;
/// How often the operator has a look.
pub(crate) const WATCH: u64 = 250 * MILLIS;
/// How long the operator waits for a primary that serves before promoting one.
pub(crate) const PATIENCE: u64 = 800 * MILLIS;

#[cfg(test)]
mod tests;
