//! What is to be done with a replica: an ordered table of named rules over a few small facts.
//!
//! [`decide`] reduces what both sides know to [`PlanFacts`]; [`Rule::of`] finds the one rule that fires, and
//! `Rule::plan` says what that rule asks for. A test walks all combinations of the facts and shows that exactly
//! one rule claims each of them.

use core::fmt;

use seawall_wal::names::Lsn;

use crate::facts::{Facts, Ours};
use crate::lineage;
use crate::messages::BeginPlan;

pub use crate::plan_facts::{Base, Fork, Identity, PlanFacts, Promise, Reach, Tail, Told, Trust};
pub use crate::rule::Rule;

/// What to do.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Plan {
    /// Nothing is missing and nothing is too much: feed it from `at` on.
    ZeroGap {
        /// The end of both logs.
        at: Lsn,
    },
    /// Feed it what it missed.
    CatchUp {
        /// The end of its log.
        from: Lsn,
    },
    /// Let it drop the end of its log, which is no part of our history, then feed it what it missed.
    CutThenCatchUp {
        /// The last frontier that both histories share.
        to: Lsn,
    },
    /// Copy the base, with the live feed beside it.
    Rebuild {
        /// Why the log alone does not do.
        why: RebuildWhy,
        /// What an earlier rebuild left behind that can be kept; `None` starts from nothing.
        resume: Option<Resume>,
        /// Base blocks are as of here or later: of the resumed rebuild, or our settled frontier.
        cut: Lsn,
    },
    /// Leave it alone.
    Refuse {
        /// Why.
        why: RefuseWhy,
    },
}

/// What is kept of a rebuild that was broken off.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Resume {
    /// Blocks below here are held.
    pub held: u64,
    /// The log is kept below here and fed from here on.
    pub from: Lsn,
}

impl Plan {
    /// What to tell the replica; nothing if it is refused.
    #[must_use]
    pub const fn begin(&self) -> Option<BeginPlan> {
        match *self {
            Plan::ZeroGap { at } => Some(BeginPlan::Feed { from: at }),
            Plan::CatchUp { from } => Some(BeginPlan::Feed { from }),
            Plan::CutThenCatchUp { to } => Some(BeginPlan::Cut { to }),
            Plan::Rebuild { resume: None, cut, .. } => Some(BeginPlan::Rebuild { cut }),
            Plan::Rebuild { resume: Some(Resume { held, from }), cut, .. } => {
                Some(BeginPlan::Resume { cut, held, from })
            }
            Plan::Refuse { .. } => None,
        }
    }

    /// Its name, for notices and status.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Plan::ZeroGap { .. } => "zero-gap",
            Plan::CatchUp { .. } => "catch-up",
            Plan::CutThenCatchUp { .. } => "cut-then-catch-up",
            Plan::Rebuild { resume: None, .. } => "rebuild",
            Plan::Rebuild { resume: Some(_), .. } => "resumed-rebuild",
            Plan::Refuse { .. } => "refuse",
        }
    }
}

/// Why a rebuild.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum RebuildWhy {
    /// The replica never held the volume.
    Blank,
    /// An earlier rebuild was broken off.
    Incomplete,
    /// The history of which an earlier rebuild was a copy is not ours.
    BaseLeftHistory,
    /// Our log no longer reaches back to where its log ends.
    LogGone,
    /// Its history left ours below what is home already.
    ForkBelowHome,
    /// It holds another record than we do under the same name.
    Diverged,
    /// After its last rebuild its bytes were not ours.
    DigestDiffered,
}

impl RebuildWhy {
    /// Its name, for notices and status.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            RebuildWhy::Blank => "blank",
            RebuildWhy::Incomplete => "incomplete",
            RebuildWhy::BaseLeftHistory => "base-left-history",
            RebuildWhy::LogGone => "log-gone",
            RebuildWhy::ForkBelowHome => "fork-below-home",
            RebuildWhy::Diverged => "diverged",
            RebuildWhy::DigestDiffered => "digest-differed",
        }
    }
}

/// Why nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum RefuseWhy {
    /// The disk that answered is of another volume or replica.
    WrongIdentity,
    /// What it says can't be.
    FactsAbsurd,
    /// It promised a higher epoch than ours: our reign is over.
    Promised,
    /// It holds at home what we should have and don't: its copy may be the last good one.
    AheadOfUs,
    /// Our settled frontier has yet to reach what it holds at home; until then our blocks are older than its.
    NotSettled,
}

impl RefuseWhy {
    /// Its name, for notices and status.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            RefuseWhy::WrongIdentity => "wrong-identity",
            RefuseWhy::FactsAbsurd => "facts-absurd",
            RefuseWhy::Promised => "promised",
            RefuseWhy::AheadOfUs => "ahead-of-us",
            RefuseWhy::NotSettled => "not-settled",
        }
    }
}

/// What was decided, and all that it depended on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Decision {
    /// What to do.
    pub plan: Plan,
    /// By which rule.
    pub rule: Rule,
    /// For which facts.
    pub facts: PlanFacts,
    /// Whether the replica may have lost records that it answered for. Changes nothing of the plan: its frontiers
    /// are those that its disk proves.
    pub lossy: bool,
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} by {}", self.plan.name(), self.rule.name())?;
        match self.plan {
            Plan::ZeroGap { at } => write!(f, " at {at}"),
            Plan::CatchUp { from } => write!(f, " from {from}"),
            Plan::CutThenCatchUp { to } => write!(f, " to {to}"),
            Plan::Rebuild { why, resume: None, cut } => write!(f, " ({}) as of {cut}", why.name()),
            Plan::Rebuild { why, resume: Some(Resume { held, from }), cut } => {
                write!(f, " ({}) as of {cut} from block {held}, log from {from}", why.name())
            }
            Plan::Refuse { why } => write!(f, " ({})", why.name()),
        }
    }
}

/// Decide what is to be done with a replica that says this of itself.
#[must_use]
pub fn decide(ours: &Ours<'_>, theirs: &Facts, trust: Trust) -> Decision {
    ours.check();
    let fork = lineage::fork(ours.lineage, ours.log.end, &theirs.lineage, theirs.log.end);
    let facts = PlanFacts::reduce(ours, theirs, trust, fork);
    let rule = Rule::of(&facts);
    Decision { plan: rule.plan(ours, theirs, trust, fork), rule, facts, lossy: theirs.lossy }
}
