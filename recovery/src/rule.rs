//! The table of rules that choose a plan.

use seawall_wal::guard;
use seawall_wal::names::Lsn;
use seawall_wal::superblock::BaseState;

use crate::facts::{Facts, Ours};
use crate::plan::{Plan, RebuildWhy, RefuseWhy, Resume};
use crate::plan_facts::{Base, Fork, Identity, PlanFacts, Promise, Reach, Tail, Told, Trust};

/// A rule of the table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Rule {
    /// Another disk answers at this address.
    ForeignDisk,
    /// The facts can't be.
    AbsurdFacts,
    /// Our reign is over.
    PromisedAbove,
    /// It has all that we have, and holds at home what we lack.
    SettledAhead,
    /// It has nothing.
    BlankBase,
    /// Its bytes were found to be wrong.
    TrustWithdrawn,
    /// Its half base is of another history.
    StrayBase,
    /// Its half base is newer than what we may give.
    EarlyBase,
    /// Its last record is not the one of ours with that name.
    TailContradicts,
    /// Its history left ours below its checkpoint.
    ForkBelowHome,
    /// Our log starts above where the histories part.
    LogGone,
    /// Its half base can be completed.
    HalfBase,
    /// Both logs end alike.
    EqualEnds,
    /// Its log ends on our history, and ours goes on from there.
    EndOnOurLog,
    /// Its log goes on where ours ends, with nothing of that at home.
    TailAhead,
    /// Its tail left our history, with nothing of that at home.
    TailLeft,
}

impl Rule {
    /// All of them, in order.
    pub const ALL: [Rule; 16] = [
        Rule::ForeignDisk,
        Rule::AbsurdFacts,
        Rule::PromisedAbove,
        Rule::SettledAhead,
        Rule::BlankBase,
        Rule::TrustWithdrawn,
        Rule::StrayBase,
        Rule::EarlyBase,
        Rule::TailContradicts,
        Rule::ForkBelowHome,
        Rule::LogGone,
        Rule::HalfBase,
        Rule::EqualEnds,
        Rule::EndOnOurLog,
        Rule::TailAhead,
        Rule::TailLeft,
    ];

    /// Its name, for notices and status.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Rule::ForeignDisk => "foreign-disk",
            Rule::AbsurdFacts => "absurd-facts",
            Rule::PromisedAbove => "promised-above",
            Rule::SettledAhead => "settled-ahead",
            Rule::BlankBase => "blank-base",
            Rule::TrustWithdrawn => "trust-withdrawn",
            Rule::StrayBase => "stray-base",
            Rule::EarlyBase => "early-base",
            Rule::TailContradicts => "tail-contradicts",
            Rule::ForkBelowHome => "fork-below-home",
            Rule::LogGone => "log-gone",
            Rule::HalfBase => "half-base",
            Rule::EqualEnds => "equal-ends",
            Rule::EndOnOurLog => "end-on-our-log",
            Rule::TailAhead => "tail-ahead",
            Rule::TailLeft => "tail-left",
        }
    }

    /// The rule for these facts.
    #[must_use]
    pub fn of(facts: &PlanFacts) -> Rule {
        let fires = Rule::ALL.into_iter().find(|rule| rule.fires(facts));
        fires.expect("a rule fires for every combination of facts, as a test shows")
    }

    /// Whether this rule claims these facts. No two do, so the order of the table is only one of reading.
    #[must_use]
    pub fn fires(self, facts: &PlanFacts) -> bool {
        let PlanFacts { base, tail, fork, reach, .. } = *facts;
        let admitted = facts.identity == Identity::Wanted && facts.told == Told::Sound;
        let subject = admitted && facts.promise == Promise::Reached;
        // What would be lost for good if we had our way.
        let outranked = base != Base::Blank
            && !guard!("plan-keeps-what-is-ahead", tail != Tail::Ahead || fork != Fork::BelowHome);
        let trusted = subject && base != Base::Blank && facts.trust == Trust::Full && !outranked;
        let useful = trusted && matches!(base, Base::Complete | Base::Resumable);
        let sharing = useful && tail != Tail::Contradicts && fork == Fork::AtOrAboveHome;
        let feedable = sharing && reach == Reach::Held;
        match self {
            Rule::ForeignDisk => facts.identity == Identity::Foreign,
            Rule::AbsurdFacts => facts.identity == Identity::Wanted && facts.told == Told::Absurd,
            Rule::PromisedAbove => admitted && facts.promise == Promise::Above,
            Rule::SettledAhead => subject && outranked,
            Rule::BlankBase => subject && base == Base::Blank,
            Rule::TrustWithdrawn => {
                subject && base != Base::Blank && !outranked && facts.trust != Trust::Full
            }
            Rule::StrayBase => trusted && base == Base::Stray,
            Rule::EarlyBase => trusted && base == Base::Early,
            Rule::TailContradicts => useful && tail == Tail::Contradicts,
            Rule::ForkBelowHome => useful && tail != Tail::Contradicts && fork == Fork::BelowHome,
            Rule::LogGone => sharing && reach == Reach::Gone,
            Rule::HalfBase => feedable && base == Base::Resumable,
            Rule::EqualEnds => feedable && base == Base::Complete && tail == Tail::Equal,
            Rule::EndOnOurLog => feedable && base == Base::Complete && tail == Tail::Behind,
            Rule::TailAhead => feedable && base == Base::Complete && tail == Tail::Ahead,
            Rule::TailLeft => feedable && base == Base::Complete && tail == Tail::Left,
        }
    }

    /// What it asks for.
    pub(crate) fn plan(self, ours: &Ours<'_>, theirs: &Facts, trust: Trust, fork: Lsn) -> Plan {
        let rebuild = |why| Plan::Rebuild { why, resume: None, cut: ours.settled };
        let refuse = |why| Plan::Refuse { why };
        match self {
            Rule::ForeignDisk => refuse(RefuseWhy::WrongIdentity),
            Rule::AbsurdFacts => refuse(RefuseWhy::FactsAbsurd),
            Rule::PromisedAbove => refuse(RefuseWhy::Promised),
            Rule::SettledAhead => refuse(RefuseWhy::AheadOfUs),
            Rule::EarlyBase => refuse(RefuseWhy::NotSettled),
            Rule::BlankBase => rebuild(RebuildWhy::Blank),
            Rule::TrustWithdrawn => rebuild(match trust {
                Trust::DigestDiffered => RebuildWhy::DigestDiffered,
                Trust::Full | Trust::Diverged => RebuildWhy::Diverged,
            }),
            Rule::StrayBase => rebuild(RebuildWhy::BaseLeftHistory),
            Rule::TailContradicts => rebuild(RebuildWhy::Diverged),
            Rule::ForkBelowHome => rebuild(RebuildWhy::ForkBelowHome),
            Rule::LogGone => rebuild(RebuildWhy::LogGone),
            Rule::HalfBase => match theirs.base {
                BaseState::Rebuilding { cut, held, .. } => {
                    let resume = Some(Resume { held, from: fork });
                    Plan::Rebuild { why: RebuildWhy::Incomplete, resume, cut }
                }
                BaseState::Complete | BaseState::Blank => unreachable!("only half a base can be completed"),
            },
            Rule::EqualEnds => Plan::ZeroGap { at: fork },
            Rule::EndOnOurLog => Plan::CatchUp { from: fork },
            Rule::TailAhead | Rule::TailLeft => Plan::CutThenCatchUp { to: fork },
        }
    }
}
