//! A scenario: a world, steps, and what is expected of it, read from a text. The script that replays a run is one of
//! them. `scenarios/README.md` tells the language.

mod conditions;
mod reading;
mod words;

pub(crate) use words::kebab;

use core::fmt;
use core::ops::Range;

use seawall_engine::bait::Bait;
use seawall_engine::io::Area;
use seawall_sender::frame::Kind;
use seawall_wal::names::Extent;

use crate::deed::{Act, Deed};
use crate::device::Loss;
use crate::options::Options;
use crate::profile::Profile;
use crate::run::Report;
use crate::word::{Span, Word};

/// A scenario.
#[derive(Clone, Debug)]
pub struct Script {
    /// What it shows.
    pub title: String,
    /// The seeds with which it runs.
    pub seeds: Range<u64>,
    /// A bug planted in every run of it.
    pub plant: Option<Bait>,
    /// Bugs that make it fail when they are planted, and the check by which.
    pub baits: Vec<(Bait, String)>,
    /// Deeds that would do nothing are passed over, as in what is left of a run.
    pub(crate) loose: bool,
    pub(crate) profile: Profile,
    pub(crate) steps: Vec<Step>,
    pub(crate) expects: Vec<(usize, Expect)>,
}

/// One step, done after all before it.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Step {
    pub(crate) line: usize,
    pub(crate) when: When,
    pub(crate) what: Vec<Do>,
}

/// When a step is done.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum When {
    /// At that moment of the run.
    At(u64),
    /// So many nanoseconds after the step before it.
    After(u64),
    /// Once that is so, but no later than so many nanoseconds after the step before it.
    If(Condition, u64),
}

/// What a step does.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Do {
    Act(Act),
    /// Both directions between a node and all others are cut.
    Isolate(usize, Span),
    /// Both directions between two nodes are cut.
    Part(usize, usize, Span),
    /// All nodes lose their power.
    Blackout(Loss, Span),
    /// A client asks a node, or whoever serves.
    Ask(Question, Option<usize>),
    /// The clients of the load stop, or go on.
    Load(bool),
    /// The operator shuts a node down.
    Drain(usize),
    /// That must be so.
    Check(Condition),
}

/// What a client asks for, by name.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Question {
    pub(crate) name: String,
    pub(crate) what: What,
    /// Of a read: one of these writes, or zeroes, must be what every block shows.
    pub(crate) is: Vec<String>,
}

/// What a client asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum What {
    Write {
        extent: Extent,
        fua: bool,
    },
    /// The first so many sectors of a block.
    Part {
        block: u64,
        sectors: u8,
    },
    Zero {
        extent: Extent,
        trim: bool,
    },
    Read(Extent),
    Flush,
}

/// How a request that was asked by name ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    Waits,
    Completed,
    Refused(String),
    InDoubt,
}

/// Something that is so, or happens.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Condition {
    /// A node shows a word of itself: its role, whether it runs, the state of the session that feeds it.
    Is(usize, String),
    AllInSync,
    Serves(bool),
    /// So many writes completed since the step before.
    Writes(u64),
    Number(usize, String, bool, u64),
    Outcome(String, Option<Outcome>),
    /// That happened so often since the step before.
    Seen(Event, u64),
    Not(Box<Condition>),
}

/// Something that happens.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Event {
    Notice { kind: String, node: Option<usize>, saying: Option<String> },
    Sends { node: usize, kind: Kind, to: Option<usize> },
    Hears { node: usize, kind: Kind, from: Option<usize> },
    Disk { node: usize, does: DiskVerb, area: Area, ended: bool },
}

/// What a disk does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DiskVerb {
    /// Reads.
    Read,
    /// Writes.
    Write,
    /// Flushes.
    Flush,
}

/// What must be so at the end.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Expect {
    /// That happened: at least once, or exactly so often.
    Seen(Event, Option<u64>),
    /// The rule by which the last plan for a node was chosen.
    Rule(usize, String),
    /// What the last primary decided for a node.
    Plan(usize, String),
    /// The rule by which a node opened last.
    Opened(usize, String),
    Outcome(String, Outcome),
    RestWithin(u64),
    CopiesEqual,
    Operator,
    Fails(String),
    So(Condition),
}

impl Script {
    /// Read a text.
    ///
    /// # Errors
    /// The line, and what is wrong with it.
    pub fn read(text: &str) -> Result<Script, String> {
        reading::read(text)
    }

    /// The script that has a run of a seed again.
    #[must_use]
    pub fn of_run(options: &Options, report: &Report) -> Script {
        let (seed, bait) = (options.seed, options.bait);
        let mut profile = Profile::draw(seed);
        options.arena.dress(&mut profile);
        let mut script = Script {
            title: format!("what seed {seed} brought"),
            seeds: seed..seed + 1,
            plant: bait,
            baits: Vec::new(),
            loose: true,
            profile: profile.without_deeds(),
            steps: Vec::new(),
            expects: Vec::new(),
        };
        // Faults may have gone on for longer than the profile says.
        script.profile.chaos = script.profile.chaos.max(report.healed);
        script.set_deeds(&report.deeds);
        if let Some(failure) = &report.failure {
            script.expects.push((0, Expect::Fails(failure.check.to_owned())));
        }
        script
    }

    /// That world, and nothing that is done to it.
    pub(crate) fn bare(profile: Profile) -> Script {
        Script {
            title: "a world by itself".to_owned(),
            seeds: 0..1,
            plant: None,
            loose: false,
            baits: Vec::new(),
            profile,
            steps: Vec::new(),
            expects: Vec::new(),
        }
    }

    /// The check by which it is expected to fail.
    #[must_use]
    pub fn fails(&self) -> Option<&str> {
        self.expects.iter().find_map(|(_, expect)| match expect {
            Expect::Fails(check) => Some(check.as_str()),
            Expect::Seen(..) | Expect::Rule(..) | Expect::Plan(..) | Expect::Opened(..) => None,
            Expect::Outcome(..) | Expect::RestWithin(_) | Expect::CopiesEqual => None,
            Expect::Operator | Expect::So(_) => None,
        })
    }

    /// These deeds at their times, and nothing else.
    pub(crate) fn set_deeds(&mut self, deeds: &[Deed]) {
        let step = |deed: &Deed| Step { line: 0, when: When::At(deed.at.0), what: vec![Do::Act(deed.what)] };
        self.steps = deeds.iter().map(step).collect();
        self.loose = true;
    }

    /// Whether its steps are deeds at their times and nothing else.
    pub(crate) fn is_plain(&self) -> bool {
        let plain = |step: &Step| matches!((&step.when, &step.what[..]), (When::At(_), [Do::Act(_)]));
        self.steps.iter().all(plain)
    }

    /// It is to fail by that check, and nothing else is expected.
    pub(crate) fn expect_failure(&mut self, check: &str) {
        self.expects = vec![(0, Expect::Fails(check.to_owned()))];
    }

    /// How many steps it has.
    #[must_use]
    pub fn steps(&self) -> usize {
        self.steps.len()
    }

    /// The verdict on a run of it: whether it ended as expected.
    ///
    /// # Errors
    /// How it did not.
    pub fn judge(&self, report: &Report) -> Result<(), String> {
        match (self.fails(), &report.failure) {
            (None, None) => Ok(()),
            (None, Some(failure)) => Err(failure.to_string()),
            (Some(check), None) => Err(format!("it did not fail by {check}")),
            (Some(check), Some(failure)) if failure.check == check => Ok(()),
            (Some(check), Some(failure)) => Err(format!("it was to fail by {check}, and did by {failure}")),
        }
    }
}

/// As a text that reads the same: for the scripts that are made of runs, whose steps are deeds at their times.
impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "scenario: {}", self.title)?;
        writeln!(f, "seeds {}..{}", self.seeds.start, self.seeds.end)?;
        if let Some(bait) = self.plant {
            writeln!(f, "plant {}", bait.name())?;
        }
        if self.loose {
            writeln!(f, "loose")?;
        }
        for (name, value) in self.profile.turned() {
            writeln!(f, "{name} {value}")?;
        }
        for step in &self.steps {
            if let (When::At(at), [Do::Act(act)]) = (&step.when, &step.what[..]) {
                writeln!(f, "at {} {act}", Span(*at).shown())?;
            }
        }
        if let Some(check) = self.fails() {
            writeln!(f, "expect fails {check}")?;
        }
        Ok(())
    }
}
