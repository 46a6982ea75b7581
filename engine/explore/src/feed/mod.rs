//! The shipped sender, receiver, plan and recovery session over a link that loses, repeats and delays, between
//! primaries of two reigns and one replica whose disk forgets what was not flushed.

mod primary;
mod replica;

use crate::history::{lsn, shared};
use crate::search::{Breach, Model, rule};
use primary::Primary;
use replica::Replica;
use seawall_recovery::messages::{BeginPlan, Refusal};
use seawall_sender::feed::Ack;
use seawall_sender::session_id::SessionId;

/// What a primary says.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Down {
    /// A session is opened.
    Greet,
    /// What to make true; `history` is ours, below where the feed starts.
    Begin { plan: BeginPlan, history: Vec<u8> },
    /// A record: the last of this history.
    Append { history: Vec<u8> },
}

/// What the replica says.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Up {
    /// What its disk proves.
    Facts { log: Vec<u8>, promised: u8 },
    /// The plan is true.
    Begun { end: usize },
    /// How far it is.
    Ack { ack: Ack },
    /// No.
    Refuse { why: Refusal },
}

/// A message, with the names on its frame.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Message<T> {
    pub(crate) reign: u8,
    pub(crate) session: SessionId,
    pub(crate) body: T,
}

/// What may still go wrong.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Budget {
    /// Sessions of each primary.
    pub sessions: u32,
    /// Links that break.
    pub drops: u8,
    /// Restarts of the replica.
    pub replica_restarts: u8,
    /// Restarts of a primary.
    pub primary_restarts: u8,
    /// Records of each primary, its start among them.
    pub records: usize,
    /// Messages of broken links that come all the same, as often as they like.
    pub late: usize,
}

/// Everybody.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct World {
    pub(crate) primaries: Vec<Primary>,
    pub(crate) replica: Replica,
    late_down: Vec<Message<Down>>,
    late_up: Vec<Message<Up>>,
    budget: Budget,
}

/// One thing that happens. Reigns are counted from 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// A primary opens a session.
    Connect(u8),
    /// A primary sends the next record.
    Send(u8),
    /// A primary writes a record.
    Write(u8),
    /// The replica hears the next message of a primary.
    Hear(u8),
    /// A primary hears the next message of the replica.
    Answer(u8),
    /// What the replica received is written to its log.
    Store,
    /// What it wrote is on stable storage.
    Flush,
    /// The link of a primary breaks; a message down it comes later, perhaps more than once.
    Break(u8, Option<Later>),
    /// A deadline of a primary passes.
    Expire(u8),
    /// A late message comes to the replica.
    HearLate(u8),
    /// A late message comes to its primary.
    AnswerLate(u8),
    /// The replica loses power; with or without what it had not flushed.
    RestartReplica {
        /// Whether what it wrote and did not flush is there after it.
        keeps: bool,
    },
    /// A primary forgets all but its log.
    RestartPrimary(u8),
    /// A second reign begins with so many records of the first one; whether the replica promised it.
    Elect {
        /// How many.
        kept: usize,
        /// Whether.
        promised: bool,
    },
}

/// Which message of a broken link comes later.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Later {
    /// One to the replica.
    Down(u8),
    /// One of the replica.
    Up(u8),
}

/// The model.
#[derive(Clone, Copy, Debug)]
pub struct Feeds {
    /// Its name.
    pub name: &'static str,
    /// Records that the first primary begins with.
    pub written: usize,
    /// Whether a second reign may begin.
    pub elects: bool,
    /// What may go wrong.
    pub budget: Budget,
}

/// Nothing goes wrong.
const CALM: Budget =
    Budget { sessions: 1, drops: 0, replica_restarts: 0, primary_restarts: 0, records: 4, late: 0 };

impl Feeds {
    /// What is looked at: each of them some of what may go wrong, together all pairs of it.
    pub const ALL: [Feeds; 6] = [
        Feeds { name: "feed: calm", written: 2, elects: false, budget: Budget { records: 5, ..CALM } },
        Feeds {
            name: "feed: reconnects",
            written: 3,
            elects: false,
            budget: Budget { sessions: 3, drops: 2, late: 2, records: 4, ..CALM },
        },
        Feeds {
            name: "feed: the replica restarts",
            written: 3,
            elects: false,
            budget: Budget { sessions: 3, drops: 1, replica_restarts: 1, late: 1, records: 4, ..CALM },
        },
        Feeds {
            name: "feed: the primary restarts",
            written: 3,
            elects: false,
            budget: Budget { sessions: 2, primary_restarts: 1, drops: 2, late: 1, records: 4, ..CALM },
        },
        Feeds {
            name: "feed: a second reign",
            written: 3,
            elects: true,
            budget: Budget { sessions: 1, records: 2, ..CALM },
        },
        Feeds {
            name: "feed: a second reign over broken links",
            written: 2,
            elects: true,
            budget: Budget { sessions: 1, drops: 2, replica_restarts: 1, late: 1, records: 2, ..CALM },
        },
    ];
}

impl World {
    pub(crate) fn primary(&self, reign: u8) -> &Primary {
        &self.primaries[usize::from(reign) - 1]
    }

    pub(crate) fn primary_mut(&mut self, reign: u8) -> &mut Primary {
        &mut self.primaries[usize::from(reign) - 1]
    }

    fn reigns(&self) -> impl Iterator<Item = u8> + use<> {
        1..=u8::try_from(self.primaries.len()).expect("two")
    }

    /// The replica hears a message.
    fn hear(&mut self, message: &Message<Down>) -> Result<(), Breach> {
        let answer = self.replica.hear(message)?;
        if let Some(body) = answer {
            self.answered(message.reign, message.session, body);
        }
        Ok(())
    }

    /// The replica says something on a link, if that is still there.
    fn answered(&mut self, reign: u8, session: SessionId, body: Up) {
        let primary = self.primary_mut(reign);
        if let Some(link) = primary.link.as_mut().filter(|link| link.session == session) {
            link.up.push(Message { reign, session, body });
        }
    }

    fn acknowledge(&mut self) {
        if let Some((reign, session, ack)) = self.replica.acknowledge() {
            self.answered(reign, session, Up::Ack { ack });
        }
    }

    /// What must hold at every moment.
    fn check(&self) -> Result<(), Breach> {
        let Replica { log, durable, .. } = &self.replica;
        let held: Vec<u8> = log.iter().chain(self.replica.pending()).copied().collect();
        let one = self.primaries.iter().any(|primary| primary.log.starts_with(&held));
        rule("one-history", one, || format!("the replica holds {held:?}, which is nobody's history"))?;
        for reign in self.reigns().filter(|reign| *reign >= self.replica.promised) {
            let primary = self.primary(reign);
            let frontiers = primary.sender.frontiers();
            let proven = lsn(shared(&log[..*durable], &primary.log));
            rule("acked-is-on-the-disk", frontiers.durable <= proven, || {
                format!("{} is said to be durable, {proven} is", frontiers.durable)
            })?;
        }
        self.primaries.iter().try_for_each(|primary| primary.check(&self.replica))
    }
}

impl Model for Feeds {
    type State = World;
    type Step = Step;

    fn name(&self) -> &'static str {
        self.name
    }

    fn starts(&self) -> Vec<World> {
        let start = |replica| World {
            primaries: vec![Primary::new(1, vec![1; self.written])],
            replica,
            late_down: Vec::new(),
            late_up: Vec::new(),
            budget: self.budget,
        };
        vec![start(Replica::new(&[], 0)), start(Replica::new(&[1], 1))]
    }

    fn steps(&self, world: &World) -> Vec<Step> {
        let mut steps = Vec::new();
        for reign in world.reigns() {
            steps.extend(world.primary(reign).steps(&world.budget));
            if let Some(link) = world.primary(reign).link.as_ref().filter(|_| world.budget.drops > 0) {
                steps.push(Step::Break(reign, None));
                let late = world.late_down.len() + world.late_up.len();
                if late < world.budget.late {
                    let downs = (0..link.down.len()).map(|at| Later::Down(at.try_into().expect("few")));
                    let ups = (0..link.up.len()).map(|at| Later::Up(at.try_into().expect("few")));
                    steps.extend(downs.chain(ups).map(|later| Step::Break(reign, Some(later))));
                }
            }
            if world.budget.primary_restarts > 0 {
                steps.push(Step::RestartPrimary(reign));
            }
        }
        if !world.replica.pending().is_empty() {
            steps.push(Step::Store);
        }
        if world.replica.durable < world.replica.log.len() {
            steps.push(Step::Flush);
        }
        steps.extend((0..world.late_down.len()).map(|at| Step::HearLate(at.try_into().expect("few"))));
        steps.extend((0..world.late_up.len()).map(|at| Step::AnswerLate(at.try_into().expect("few"))));
        if world.budget.replica_restarts > 0 {
            steps.push(Step::RestartReplica { keeps: false });
            if world.replica.durable < world.replica.log.len() {
                steps.push(Step::RestartReplica { keeps: true });
            }
        }
        if let [first] = &world.primaries[..]
            && self.elects
        {
            // With its promise the replica tells what it has: a history that lacks it is not elected.
            let promised = (world.replica.log.len()..=first.log.len()).map(|kept| (kept, true));
            let elsewhere = (1..=first.log.len()).map(|kept| (kept, false));
            let elected = promised.filter(|(kept, _)| *kept > 0).chain(elsewhere);
            steps.extend(elected.map(|(kept, promised)| Step::Elect { kept, promised }));
        }
        steps
    }

    fn take(&self, world: &World, step: &Step) -> Result<World, Breach> {
        let mut world = world.clone();
        match *step {
            Step::Connect(reign) => world.primary_mut(reign).connect()?,
            Step::Send(reign) => world.primary_mut(reign).send(),
            Step::Write(reign) => world.primary_mut(reign).log.push(reign),
            Step::Expire(reign) => world.primary_mut(reign).expire()?,
            Step::Hear(reign) => {
                let link = world.primary_mut(reign).link.as_mut().expect("offered");
                let message = link.down.remove(0);
                world.hear(&message)?;
            }
            Step::Answer(reign) => {
                let link = world.primary_mut(reign).link.as_mut().expect("offered");
                let message = link.up.remove(0);
                world.primary_mut(reign).hear(&message)?;
            }
            Step::HearLate(at) => {
                let message = world.late_down[usize::from(at)].clone();
                world.hear(&message)?;
            }
            Step::AnswerLate(at) => {
                let message = world.late_up[usize::from(at)].clone();
                world.primary_mut(message.reign).hear(&message)?;
            }
            Step::Store => {
                world.replica.store();
                world.acknowledge();
            }
            Step::Flush => {
                world.replica.flush();
                world.acknowledge();
            }
            Step::Break(reign, later) => {
                world.budget.drops = world.budget.drops.saturating_sub(1);
                let link = world.primary(reign).link.clone().expect("offered");
                match later {
                    Some(Later::Down(at)) => world.late_down.push(link.down[usize::from(at)].clone()),
                    Some(Later::Up(at)) => world.late_up.push(link.up[usize::from(at)].clone()),
                    None => {}
                }
                world.primary_mut(reign).lost()?;
            }
            Step::RestartReplica { keeps } => {
                world.budget.replica_restarts -= 1;
                world.replica.restart(keeps);
                for reign in world.reigns() {
                    world.primary_mut(reign).lost()?;
                }
            }
            Step::RestartPrimary(reign) => {
                world.budget.primary_restarts -= 1;
                world.primary_mut(reign).restart();
            }
            Step::Elect { kept, promised } => {
                if promised {
                    world.replica.promise(2);
                }
                let mut log = world.primary(1).log[..kept].to_vec();
                log.push(2);
                world.primaries.push(Primary::new(2, log));
            }
        }
        world.check()?;
        Ok(world)
    }

    fn heal(&self, world: &World) -> Option<Step> {
        let reign = world.reigns().last().expect("one");
        let primary = world.primary(reign);
        let Some(link) = &primary.link else { return Some(Step::Connect(reign)) };
        if !link.up.is_empty() {
            return Some(Step::Answer(reign));
        }
        if !link.down.is_empty() {
            return Some(Step::Hear(reign));
        }
        if !world.replica.pending().is_empty() {
            return Some(Step::Store);
        }
        if world.replica.durable < world.replica.log.len() {
            return Some(Step::Flush);
        }
        if primary.may_send() {
            return Some(Step::Send(reign));
        }
        let equal = world.replica.log == primary.log && primary.session.is_in_sync();
        let known = primary.sender.frontiers().durable == lsn(primary.log.len());
        if equal && known { None } else { Some(Step::Expire(reign)) }
    }
}
