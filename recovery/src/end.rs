//! Why recovery sessions end.

use core::fmt;

use seawall_sender::violation::Violation;

use crate::event::Superseder;
use crate::messages::Refusal;
use crate::plan::RefuseWhy;

/// Why a session ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum End {
    /// It is void.
    Superseded {
        /// Made so by this.
        by: Superseder,
    },
    /// No answer in time.
    DeadlinePassed,
    /// No sign of life while fed.
    Silent,
    /// It cost more than it may.
    BudgetSpent {
        /// Of this.
        budget: Budget,
    },
    /// The link is gone.
    Lost,
    /// We refuse to do anything.
    Refused {
        /// Why.
        why: RefuseWhy,
    },
    /// The replica refused.
    Declined {
        /// Why.
        why: Refusal,
    },
    /// It needs a rebuild, and it isn't its turn.
    Deferred,
    /// The rebuilt bytes are not ours.
    DigestDiffered,
    /// The replica broke a rule.
    Violated {
        /// Which.
        violation: Violation,
    },
}

/// What a session may spend.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Budget {
    /// Time as a whole: the next session goes on where this one came to.
    Time,
    /// Time without progress: the next session goes on where this one came to.
    NoProgress,
    /// Log kept for it: the next session is likely a rebuild.
    Retention,
}

impl End {
    /// Its name, for notices and status.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            End::Superseded { .. } => "superseded",
            End::DeadlinePassed => "deadline-passed",
            End::Silent => "silent",
            End::BudgetSpent { budget: Budget::Time } => "time-spent",
            End::BudgetSpent { budget: Budget::NoProgress } => "no-progress",
            End::BudgetSpent { budget: Budget::Retention } => "retention-spent",
            End::Lost => "lost",
            End::Refused { .. } => "refused",
            End::Declined { .. } => "declined",
            End::Deferred => "deferred",
            End::DigestDiffered => "digest-differed",
            End::Violated { .. } => "violated",
        }
    }

    /// What is to be expected of a next attempt.
    pub(crate) const fn outlook(&self) -> Outlook {
        match self {
            End::Superseded { .. } => Outlook::Afresh,
            End::DeadlinePassed
            | End::Silent
            | End::BudgetSpent { .. }
            | End::Lost
            | End::Violated { .. } => Outlook::Open,
            End::Deferred
            | End::Refused { why: RefuseWhy::NotSettled }
            | End::Declined { why: Refusal::PlanOutdated } => Outlook::Passing,
            End::Declined { why: Refusal::ShuttingDown } => Outlook::Open,
            End::DigestDiffered
            | End::Refused {
                why:
                    RefuseWhy::WrongIdentity | RefuseWhy::FactsAbsurd | RefuseWhy::Promised | RefuseWhy::AheadOfUs,
            }
            | End::Declined {
                why:
                    Refusal::Promised
                    | Refusal::ChainDiffers
                    | Refusal::CutBelowHome
                    | Refusal::Faulted
                    | Refusal::BranchNotKept,
            } => Outlook::Same,
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            End::Superseded { by } => write!(f, " by {}", by.name()),
            End::Refused { why } => write!(f, ": {}", why.name()),
            End::Declined { why } => write!(f, ": {}", why.name()),
            End::Violated { violation } => write!(f, ": {violation}"),
            End::BudgetSpent { budget: Budget::Retention } => f.write_str(": a rebuild is next"),
            End::BudgetSpent { budget: Budget::Time | Budget::NoProgress } => {
                f.write_str(": the next attempt goes on from there")
            }
            End::DeadlinePassed | End::Silent | End::Lost | End::Deferred | End::DigestDiffered => Ok(()),
        }
    }
}

/// What an end says of the next attempt.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Outlook {
    /// Nothing that was learned counts any more.
    Afresh,
    /// It may go better, later.
    Open,
    /// It will go better, soon.
    Passing,
    /// It will go the same way unless the facts change.
    Same,
}
