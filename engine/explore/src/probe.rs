//! What there is to explore, and how far.

use std::time::Duration;

use crate::answers::Answers;
use crate::base::{Sources, Targets, ahead};
use crate::disks::disks;
use crate::feed::{Budget, Feeds};
use crate::greetings::greetings;
use crate::offers::Offers;
use crate::plans;
use crate::search::{Bounds, Report, explore};
use crate::session::Sessions;
use crate::slots::slots;
use crate::votes::Votes;

/// One thing to explore.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Probe {
    /// The recovery session and a replica that says anything.
    Session,
    /// A feed without faults.
    Calm,
    /// A feed over links that break, and messages that come late and again.
    Reconnects,
    /// And a replica that restarts.
    ReplicaRestarts,
    /// And a primary that restarts.
    PrimaryRestarts,
    /// And a second reign.
    SecondReign,
    /// And a second reign over broken links.
    BrokenReign,
    /// The sender and a replica that answers anything.
    Answers,
    /// The receiver and a primary that sends anything.
    Offers,
    /// The target of a base copy.
    Targets,
    /// The target of a base copy that comes in the wrong order.
    Ahead,
    /// The source of a base copy.
    Sources,
    /// Greetings.
    Greetings,
    /// Greetings whose versions are no range.
    Reversed,
    /// Superblock copies.
    Slots,
    /// Plans for whole copies.
    Whole,
    /// Plans for broken copies, and for lies.
    Special,
    /// Restarts.
    Disks,
    /// Votes.
    Votes,
    /// Votes of many candidates.
    Candidates,
}

/// How far to look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scale {
    /// Most states of one model.
    pub states: usize,
    /// Longest time for one model.
    pub time: Duration,
    /// How much larger the worlds are than those of the tests.
    pub larger: u8,
}

impl Scale {
    /// As tests look: some seconds.
    pub const TESTS: Scale = Scale { states: 60_000, time: Duration::MAX, larger: 0 };
}

impl Probe {
    /// All of them.
    pub const ALL: [Probe; 20] = [
        Probe::Session,
        Probe::Calm,
        Probe::Reconnects,
        Probe::ReplicaRestarts,
        Probe::PrimaryRestarts,
        Probe::SecondReign,
        Probe::BrokenReign,
        Probe::Answers,
        Probe::Offers,
        Probe::Targets,
        Probe::Ahead,
        Probe::Sources,
        Probe::Greetings,
        Probe::Reversed,
        Probe::Slots,
        Probe::Whole,
        Probe::Special,
        Probe::Disks,
        Probe::Votes,
        Probe::Candidates,
    ];

    /// States or cases that it has at the least in a test: fewer, and the model has collapsed and shows nothing.
    #[must_use]
    pub fn least(self) -> u64 {
        match self {
            Probe::Session | Probe::SecondReign | Probe::BrokenReign | Probe::Votes | Probe::Candidates => {
                60_000
            }
            Probe::Calm => 1_500,
            Probe::Reconnects | Probe::PrimaryRestarts => 2_500,
            Probe::ReplicaRestarts => 8_000,
            Probe::Answers => 150,
            Probe::Offers => 400,
            Probe::Targets => 8_000,
            Probe::Sources => 150,
            Probe::Ahead => 64,
            Probe::Greetings => 800,
            Probe::Reversed => 300,
            Probe::Slots => 400,
            Probe::Whole | Probe::Special => 100_000,
            Probe::Disks => 100_000,
        }
    }

    /// Look.
    #[must_use]
    pub fn run(self, scale: Scale) -> Report {
        let Scale { states, time, larger } = scale;
        let heals = Bounds { depth: usize::MAX, states, time, heals: true };
        let drifts = Bounds { heals: false, ..heals };
        let more = usize::from(larger);
        let feed = |at: usize| {
            let Feeds { budget, .. } = Feeds::ALL[at];
            let budget = Budget {
                sessions: budget.sessions + u32::from(larger),
                late: budget.late + more,
                drops: budget.drops + larger,
                ..budget
            };
            explore(&Feeds { budget, ..Feeds::ALL[at] }, heals)
        };
        match self {
            Probe::Session => explore(&Sessions, heals),
            Probe::Calm => feed(0),
            Probe::Reconnects => feed(1),
            Probe::ReplicaRestarts => feed(2),
            Probe::PrimaryRestarts => feed(3),
            Probe::SecondReign => feed(4),
            Probe::BrokenReign => feed(5),
            Probe::Answers => explore(&Answers, drifts),
            Probe::Offers => explore(&Offers, drifts),
            Probe::Targets => explore(&Targets, heals),
            Probe::Sources => explore(&Sources, heals),
            Probe::Ahead => ahead(),
            Probe::Greetings => greetings(false),
            Probe::Reversed => greetings(true),
            Probe::Slots => slots(),
            Probe::Whole => plans::whole(4 + more),
            Probe::Special => plans::special(3 + more),
            Probe::Disks => disks(5 + more),
            Probe::Votes => {
                let votes = Votes {
                    name: "votes",
                    campaigns: 3,
                    restarts: 1 + larger,
                    writes: 1 + larger,
                    rebuilds: 1,
                };
                explore(&votes, drifts)
            }
            Probe::Candidates => {
                let votes = Votes {
                    name: "votes: many candidates",
                    campaigns: 4 + larger,
                    restarts: 0,
                    writes: 0,
                    rebuilds: 0,
                };
                explore(&votes, drifts)
            }
        }
    }
}
