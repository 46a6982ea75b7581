//! One replica in its driver: the machine, its disk, and what waits for it.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::AsFd;

use seawall_engine::io::{Answer, Area, CommandId, Input, LetIn, Request, RequestId};
use seawall_engine::replica::Replica;
use seawall_engine::setup::Setup;
use seawall_engine::status::Role;
use seawall_sender::time::Instant;
use seawall_wal::names::{Epoch, VolumeId};

use crate::branches::{Branches, Source};
use crate::disk::{Disk, Jobs};
use crate::export::nbd::Attachment;
use crate::handle::Reply;

/// One replica.
pub(crate) struct Volume {
    pub(crate) id: VolumeId,
    pub(crate) replica: Replica,
    pub(crate) jobs: Jobs,
    /// When the machine wants to be called again.
    pub(crate) deadline: Option<Instant>,
    /// It made a step since then.
    pub(crate) stepped: bool,
    /// Names of peers, for people.
    setup: Setup,
    /// Requests given to the machine and not yet completed.
    in_flight: usize,
    /// Requests that wait for that to fall below the machine's limit.
    waiting: VecDeque<(RequestId, LetIn, Request)>,
    /// Commands not yet answered.
    commands: BTreeMap<CommandId, Reply<Answer>>,
    next_command: u64,
    /// Where what is cut out of its log is kept.
    pub(crate) branches: Option<Branches>,
}

impl Volume {
    pub(crate) fn new(
        index: u32,
        setup: Setup,
        disk: Disk,
        branches: Option<Branches>,
        now: Instant,
    ) -> Volume {
        Volume {
            id: setup.volume,
            replica: Replica::new(now, setup.clone()),
            jobs: Jobs::new(index, disk),
            deadline: Some(now),
            stepped: false,
            setup,
            in_flight: 0,
            waiting: VecDeque::new(),
            commands: BTreeMap::new(),
            next_command: 0,
            branches,
        }
    }

    /// Its log, for somebody else to read.
    pub(crate) fn source(&self) -> io::Result<Source> {
        let (log, log_offset) = self.jobs.disk().place(Area::Log);
        Ok(Source {
            volume: self.id,
            replica: self.setup.replica,
            unit_bytes: self.jobs.disk().geometry().unit_bytes,
            device: log.descriptor().as_fd().try_clone_to_owned()?,
            log_offset,
        })
    }

    /// A client's request: it waits for its turn.
    pub(crate) fn queue(&mut self, id: RequestId, knows: LetIn, request: Request) {
        self.waiting.push_back((id, knows, request));
    }

    /// The next request whose turn it is.
    pub(crate) fn admit(&mut self) -> Option<Input> {
        if self.in_flight >= self.setup.limits.requests_max {
            return None;
        }
        let (id, knows, request) = self.waiting.pop_front()?;
        self.in_flight += 1;
        Some(Input::Request { id, knows, request })
    }

    /// A request ended.
    pub(crate) fn on_completed(&mut self) {
        // Invariant: completion-exactly-once.
        self.in_flight = self.in_flight.checked_sub(1).expect("a request ends once");
    }

    /// The input for a command, whose answer goes to `reply`.
    pub(crate) fn command(&mut self, command: seawall_engine::io::Command, reply: Reply<Answer>) -> Input {
        self.next_command += 1;
        let id = CommandId(self.next_command);
        self.commands.insert(id, reply);
        Input::Command { id, command }
    }

    /// A command ended.
    pub(crate) fn on_answer(&mut self, id: CommandId, answer: Answer) {
        if let Some(reply) = self.commands.remove(&id) {
            reply(answer);
        }
    }

    /// Whether a client may attach now; `None` while nobody reigns, as in an election. A replica that is not the
    /// primary hands requests on to it.
    pub(crate) fn attachment(&self) -> Option<Attachment> {
        let (role, epoch) = self.replica.role();
        match role {
            Role::Primary => Some(Attachment::Granted),
            Role::Opening | Role::Candidate | Role::Starting => None,
            Role::Follower if epoch == Epoch::ZERO => None,
            Role::Follower => Some(Attachment::Granted),
            Role::Faulted | Role::Drained | Role::Removed => Some(Attachment::NotPrimary { primary: None }),
        }
    }
}
