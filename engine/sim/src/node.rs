//! A node: a disk that outlives everything, and a process that lives, pauses and dies on it.

use std::collections::BTreeMap;

use seawall_engine::io::{Buf, Input, LinkId, RequestId};
use seawall_engine::replica::Replica;
use seawall_sender::time::Instant;
use seawall_wal::names::Epoch;

use crate::client::Wish;
use crate::clock::{Moment, NodeClock};
use crate::disk::Disk;
use crate::mishap::Waiting;
use crate::net::Host;
use crate::oracle::register::Turn;
use crate::pool::Pool;

/// What a node is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    /// Its process runs.
    Up,
    /// Its process does not run, and has lost nothing.
    Paused,
    /// It has no process.
    Down {
        /// Whether the machine has power.
        powered: bool,
    },
}

/// A request that a process works on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    /// Which of the client's hands waits for it, if it still does.
    pub(crate) slot: usize,
    /// The hand's count of requests when it asked.
    pub(crate) asked: u64,
    /// What was asked.
    pub(crate) wish: Wish,
    /// When.
    pub(crate) began: Turn,
    /// When, by the world's clock.
    pub(crate) since: Moment,
    /// The buffer of a read.
    pub(crate) buf: Option<Buf>,
    /// Under which reign it was asked.
    pub(crate) epoch: Epoch,
}

/// A node.
#[derive(Debug)]
pub(crate) struct Node {
    /// What it is.
    pub(crate) state: State,
    /// Counts lives.
    pub(crate) life: u32,
    /// Counts boots of the machine.
    pub(crate) boot: u32,
    /// Its devices.
    pub(crate) disk: Disk,
    /// What it takes for time.
    pub(crate) clock: NodeClock,
    /// Its memory.
    pub(crate) pool: Pool,
    /// The machine.
    pub(crate) replica: Option<Replica>,
    /// What waits for a paused process.
    pub(crate) inbox: Vec<Input>,
    /// Requests that it works on.
    pub(crate) requests: BTreeMap<RequestId, Request>,
    /// Links that it accepted in this life.
    pub(crate) accepted: u64,
    /// The deadline for which a tick is scheduled.
    pub(crate) deadline: Option<Instant>,
    /// Names that tick.
    pub(crate) tick: u64,
    /// Steps since the world's time went on by a millisecond.
    pub(crate) busy: (Moment, u32),
    /// Whether it said that its disk failed.
    pub(crate) faulted: bool,
    /// Whether it said of itself what tells of damage.
    pub(crate) sick: bool,
    /// Reads that failed in this life.
    pub(crate) read_errors: u64,
    /// What waits for its disk operations.
    pub(crate) waiting: Waiting,
}

impl Node {
    /// A node that has never run.
    pub(crate) fn new(disk: Disk) -> Node {
        Node {
            state: State::Down { powered: true },
            life: 0,
            boot: 1,
            disk,
            clock: NodeClock::new(Moment(0), 0, 0),
            pool: Pool::default(),
            replica: None,
            inbox: Vec::new(),
            requests: BTreeMap::new(),
            accepted: 0,
            deadline: None,
            tick: 0,
            busy: (Moment(0), 0),
            faulted: false,
            sick: false,
            read_errors: 0,
            waiting: Waiting::default(),
        }
    }

    /// How it looks from the network.
    pub(crate) fn host(&self) -> Host {
        match self.state {
            State::Up => Host { powered: true, life: Some(self.life), paused: false },
            State::Paused => Host { powered: true, life: Some(self.life), paused: true },
            State::Down { powered } => Host { powered, life: None, paused: false },
        }
    }

    /// Whether that life of it still is.
    pub(crate) fn lives(&self, life: u32) -> bool {
        self.life == life && self.replica.is_some()
    }

    /// A name for a connection that came in: odd, as the seam has it.
    pub(crate) fn accept(&mut self) -> LinkId {
        self.accepted += 1;
        LinkId(self.accepted * 2 - 1)
    }

    /// Names its machine's boot.
    pub(crate) fn machine_boot(&self) -> [u8; 16] {
        let mut boot = [0; 16];
        boot[..4].copy_from_slice(&self.boot.to_le_bytes());
        boot
    }
}
