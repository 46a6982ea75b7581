//! Why a replica is what it is: for each question an ordered table of named rules over a few facts, of which exactly
//! one fires, as a test over every combination shows. Nothing is decided here; what is decided elsewhere is named.

mod peer;

use crate::status::{Role, Status};

pub use peer::{PeerFacts, PeerRule};

/// What may be asked of a replica.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Question {
    /// Whether all is well.
    Healthy,
    /// Whether clients of this replica can write.
    Writable,
    /// Whether it can be made primary.
    Promotable,
    /// Whether its copy is up to date.
    InSync,
}

impl Question {
    /// All of them.
    pub const ALL: [Question; 4] =
        [Question::Healthy, Question::Writable, Question::Promotable, Question::InSync];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Question::Healthy => "healthy",
            Question::Writable => "writable",
            Question::Promotable => "promotable",
            Question::InSync => "in-sync",
        }
    }
}

/// How the process is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Condition {
    /// It reads its disk.
    Opening,
    /// Its disk failed or can't be used.
    Faulted,
    /// It shuts down, or did.
    Ending,
    /// It is no member any more.
    Removed,
    /// None of that.
    Fit,
}

/// What part it has in the volume.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// It reigns and serves.
    Reigning,
    /// It reigns, and its start has not committed.
    Starting,
    /// It asks for promises.
    Asking,
    /// It waits before it asks again.
    Resting,
    /// A primary feeds it.
    Fed,
    /// A primary has greeted it and does not feed it yet.
    Joining,
    /// It follows nobody.
    Alone,
}

/// What the rules are about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Facts {
    /// How the process is.
    pub condition: Condition,
    /// What part it has.
    pub part: Part,
    /// On a primary: whether enough voters count.
    pub quorum: bool,
    /// On a primary: whether enough will once the in-sync set is smaller.
    pub shrinks: bool,
    /// On a primary: whether it holds its lease.
    pub leased: bool,
    /// On a primary: whether all others count, and are waited for if the commit rule is `all`.
    pub full: bool,
    /// On a follower: whether it hears from its primary.
    pub heard: bool,
    /// Whether this volume's replicas find themselves a primary.
    pub acts: bool,
    /// Whether it votes.
    pub voter: bool,
    /// Whether its copy is whole.
    pub whole: bool,
    /// Whether a lease that it granted to another has not run out.
    pub bound: bool,
    /// On a primary: whether somebody works on all of those that do not count.
    pub excused: bool,
    /// Whether somebody works on the primary, so that nobody takes its place by itself.
    pub spared: bool,
    /// Whether a promotion was forced without its copy.
    pub stranded: bool,
}

impl Facts {
    /// The facts of a status.
    #[must_use]
    pub fn of(status: &Status) -> Facts {
        let rests = status.watch.candidacy.as_ref().is_some_and(|candidacy| candidacy.stage == "resting");
        let bound = |(epoch, until): (seawall_wal::names::Epoch, _)| {
            epoch.replica != status.replica && status.now < until
        };
        let (condition, part) = match status.role {
            Role::Opening => (Condition::Opening, Part::Alone),
            Role::Faulted => (Condition::Faulted, Part::Alone),
            Role::Drained => (Condition::Ending, Part::Alone),
            Role::Removed => (Condition::Removed, Part::Alone),
            Role::Primary => (Condition::Fit, Part::Reigning),
            Role::Starting => (Condition::Fit, Part::Starting),
            Role::Candidate => (Condition::Fit, Part::Asking),
            Role::Follower if rests => (Condition::Fit, Part::Resting),
            Role::Follower => match &status.watch.feed {
                Some(feed) if feed.fed => (Condition::Fit, Part::Fed),
                Some(_) => (Condition::Fit, Part::Joining),
                None => (Condition::Fit, Part::Alone),
            },
        };
        Facts {
            condition: if status.draining { Condition::Ending } else { condition },
            part,
            quorum: status.quorum.present >= status.quorum.needed,
            leased: status.quorum.leased,
            shrinks: status.shrinks(),
            full: status.peers.iter().all(|peer| peer.counts && !peer.lagging),
            heard: status.quorum.heard,
            acts: status.policy.failover.acts_under(status.policy.commit),
            voter: status.voter,
            whole: status.base_complete,
            bound: status.watch.grant.is_some_and(bound),
            excused: status.peers.iter().all(|peer| peer.counts || peer.maintained),
            spared: status.watch.spared,
            stranded: status.stranded.is_some(),
        }
    }
}

/// An answer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Rule {
    /// Its disk is being read.
    Opening,
    /// Its disk failed.
    DiskFailed,
    /// It shuts down.
    ShuttingDown,
    /// It was removed from the volume.
    Removed,
    /// It serves, and all copies are in sync.
    AllCopies,
    /// It serves, and some copies are not in sync.
    CopiesMissing,
    /// It serves, and somebody works on those copies that are not in sync.
    CopiesMaintained,
    /// It reigns, and can't serve.
    ReignsInVain,
    /// It reigns, and its start has not committed.
    StartUncommitted,
    /// It follows a primary that lives.
    Follows,
    /// It follows a primary that lives, and its copy is being rebuilt.
    IsRebuilt,
    /// It has no primary.
    WithoutPrimary,
    /// It has no primary, and somebody works on the one that it had.
    PrimaryMaintained,
    /// It serves.
    TakesWrites,
    /// Writes wait for a copy of the in-sync set, until it is dropped from that.
    SetShrinks,
    /// Too few copies are in sync for a write.
    TooFewCopies,
    /// Too few voters confirm that it still reigns.
    NoLease,
    /// It asks for promises.
    AsksForPromises,
    /// It waits before it asks for promises again.
    WaitsToAsk,
    /// It hands what clients ask on to its primary.
    HandsOn,
    /// A primary is about to feed it.
    Joins,
    /// It has no primary, and asks for promises itself after a while.
    MissesPrimary,
    /// It has no primary, and can't ask for promises itself.
    OthersMustAsk,
    /// It has no primary, and only an operator can name one.
    OperatorMustAsk,
    /// It has no primary, and waits for a forced one: its copy is on the losing branch.
    LosingBranch,
    /// It is the primary.
    Reigns,
    /// It has no vote.
    NoVoter,
    /// Its copy is not whole.
    CopyNotWhole,
    /// Its primary would hand over to it.
    ByHandover,
    /// It granted a lease that has not run out.
    LeaseNotRunOut,
    /// It may ask for promises.
    MayAsk,
    /// Its copy is what the others are measured by.
    IsTheMeasure,
    /// Records come as they are written.
    IsFed,
    /// Its primary is silent.
    PrimarySilent,
    /// Nobody feeds it.
    Unfed,
}

impl Rule {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Rule::Opening => "opening",
            Rule::DiskFailed => "disk-failed",
            Rule::ShuttingDown => "shutting-down",
            Rule::Removed => "removed",
            Rule::AllCopies => "all-copies",
            Rule::CopiesMissing => "copies-missing",
            Rule::CopiesMaintained => "copies-maintained",
            Rule::ReignsInVain => "reigns-in-vain",
            Rule::StartUncommitted => "start-uncommitted",
            Rule::Follows => "follows",
            Rule::IsRebuilt => "is-rebuilt",
            Rule::WithoutPrimary => "without-primary",
            Rule::PrimaryMaintained => "primary-maintained",
            Rule::TakesWrites => "takes-writes",
            Rule::SetShrinks => "set-shrinks",
            Rule::TooFewCopies => "too-few-copies",
            Rule::NoLease => "no-lease",
            Rule::AsksForPromises => "asks-for-promises",
            Rule::WaitsToAsk => "waits-to-ask",
            Rule::HandsOn => "hands-on",
            Rule::Joins => "joins",
            Rule::MissesPrimary => "misses-primary",
            Rule::OthersMustAsk => "others-must-ask",
            Rule::OperatorMustAsk => "operator-must-ask",
            Rule::LosingBranch => "losing-branch",
            Rule::Reigns => "reigns",
            Rule::NoVoter => "no-voter",
            Rule::CopyNotWhole => "copy-not-whole",
            Rule::ByHandover => "by-handover",
            Rule::LeaseNotRunOut => "lease-not-run-out",
            Rule::MayAsk => "may-ask",
            Rule::IsTheMeasure => "is-the-measure",
            Rule::IsFed => "is-fed",
            Rule::PrimarySilent => "primary-silent",
            Rule::Unfed => "unfed",
        }
    }

    /// Whether the answer is yes.
    #[must_use]
    pub const fn is_good(self) -> bool {
        match self {
            Rule::AllCopies
            | Rule::CopiesMaintained
            | Rule::Follows
            | Rule::TakesWrites
            | Rule::HandsOn
            | Rule::Reigns
            | Rule::ByHandover
            | Rule::MayAsk
            | Rule::IsTheMeasure
            | Rule::IsFed => true,
            Rule::Opening
            | Rule::DiskFailed
            | Rule::ShuttingDown
            | Rule::Removed
            | Rule::CopiesMissing
            | Rule::ReignsInVain
            | Rule::StartUncommitted
            | Rule::IsRebuilt
            | Rule::WithoutPrimary
            | Rule::PrimaryMaintained
            | Rule::SetShrinks
            | Rule::TooFewCopies
            | Rule::NoLease
            | Rule::AsksForPromises
            | Rule::WaitsToAsk
            | Rule::Joins
            | Rule::MissesPrimary
            | Rule::OthersMustAsk
            | Rule::OperatorMustAsk
            | Rule::LosingBranch
            | Rule::NoVoter
            | Rule::CopyNotWhole
            | Rule::LeaseNotRunOut
            | Rule::PrimarySilent
            | Rule::Unfed => false,
        }
    }

    /// The rules that answer a question, in the order in which one reads them.
    #[must_use]
    pub const fn all(question: Question) -> &'static [Rule] {
        match question {
            Question::Healthy => &[
                Rule::Opening,
                Rule::DiskFailed,
                Rule::ShuttingDown,
                Rule::Removed,
                Rule::AllCopies,
                Rule::CopiesMissing,
                Rule::CopiesMaintained,
                Rule::ReignsInVain,
                Rule::StartUncommitted,
                Rule::Follows,
                Rule::IsRebuilt,
                Rule::WithoutPrimary,
                Rule::PrimaryMaintained,
            ],
            Question::Writable => &[
                Rule::Opening,
                Rule::DiskFailed,
                Rule::ShuttingDown,
                Rule::Removed,
                Rule::TakesWrites,
                Rule::SetShrinks,
                Rule::TooFewCopies,
                Rule::NoLease,
                Rule::StartUncommitted,
                Rule::AsksForPromises,
                Rule::WaitsToAsk,
                Rule::HandsOn,
                Rule::Joins,
                Rule::PrimaryMaintained,
                Rule::MissesPrimary,
                Rule::OthersMustAsk,
                Rule::OperatorMustAsk,
                Rule::LosingBranch,
            ],
            Question::Promotable => &[
                Rule::Opening,
                Rule::DiskFailed,
                Rule::ShuttingDown,
                Rule::Removed,
                Rule::Reigns,
                Rule::StartUncommitted,
                Rule::NoVoter,
                Rule::CopyNotWhole,
                Rule::ByHandover,
                Rule::AsksForPromises,
                Rule::LosingBranch,
                Rule::LeaseNotRunOut,
                Rule::MayAsk,
            ],
            Question::InSync => &[
                Rule::Opening,
                Rule::DiskFailed,
                Rule::ShuttingDown,
                Rule::Removed,
                Rule::IsTheMeasure,
                Rule::CopyNotWhole,
                Rule::IsFed,
                Rule::PrimarySilent,
                Rule::Joins,
                Rule::Unfed,
            ],
        }
    }

    /// The answer to a question.
    #[must_use]
    pub fn of(question: Question, facts: Facts) -> Rule {
        let fires = Rule::all(question).iter().find(|rule| rule.fires(question, facts));
        *fires.expect("a rule fires for every combination of facts, as a test shows")
    }

    /// Whether this rule claims these facts. Of those that answer a question, no two do.
    #[must_use]
    pub fn fires(self, question: Question, facts: Facts) -> bool {
        let Facts {
            condition,
            part,
            quorum,
            shrinks,
            leased,
            full,
            heard,
            acts,
            voter,
            whole,
            bound,
            excused,
            spared,
            stranded,
        } = facts;
        let fit = condition == Condition::Fit;
        let reigning = fit && part == Part::Reigning;
        let follows = fit && part == Part::Fed && heard;
        let leaderless = fit && (part == Part::Alone || part == Part::Fed && !heard);
        let able = voter && whole;
        let subject = fit && able && !matches!(part, Part::Reigning | Part::Starting);
        let waits = subject && part != Part::Asking && !follows;
        match self {
            Rule::Opening => condition == Condition::Opening,
            Rule::DiskFailed => condition == Condition::Faulted,
            Rule::ShuttingDown => condition == Condition::Ending,
            Rule::Removed => condition == Condition::Removed,
            Rule::AllCopies => reigning && quorum && leased && full,
            Rule::CopiesMissing => reigning && quorum && leased && !full && !excused,
            Rule::CopiesMaintained => reigning && quorum && leased && !full && excused,
            Rule::ReignsInVain => reigning && !(quorum && leased),
            Rule::StartUncommitted => fit && part == Part::Starting,
            Rule::Follows => follows && whole,
            Rule::IsRebuilt => follows && !whole,
            Rule::WithoutPrimary => {
                leaderless && !spared || fit && matches!(part, Part::Asking | Part::Resting | Part::Joining)
            }
            Rule::PrimaryMaintained => leaderless && spared,
            Rule::TakesWrites => reigning && quorum && leased,
            Rule::SetShrinks => reigning && !quorum && shrinks,
            Rule::TooFewCopies => reigning && !quorum && !shrinks,
            Rule::NoLease => reigning && quorum && !leased,
            Rule::AsksForPromises if question == Question::Promotable => subject && part == Part::Asking,
            Rule::AsksForPromises => fit && part == Part::Asking,
            Rule::WaitsToAsk => fit && part == Part::Resting,
            Rule::HandsOn => follows,
            Rule::Joins => fit && part == Part::Joining && (question == Question::Writable || whole),
            Rule::LosingBranch if question == Question::Promotable => waits && stranded,
            Rule::LosingBranch => leaderless && !spared && stranded,
            Rule::MissesPrimary => leaderless && !spared && !stranded && acts && able,
            Rule::OthersMustAsk => leaderless && !spared && !stranded && acts && !able,
            Rule::OperatorMustAsk => leaderless && !spared && !stranded && !acts,
            Rule::Reigns => reigning,
            Rule::NoVoter => fit && !voter && !matches!(part, Part::Reigning | Part::Starting),
            Rule::CopyNotWhole => {
                let others = fit && !whole && !matches!(part, Part::Reigning | Part::Starting);
                others && (question == Question::InSync || voter)
            }
            Rule::ByHandover => subject && follows,
            Rule::LeaseNotRunOut => waits && !stranded && bound,
            Rule::MayAsk => waits && !stranded && !bound,
            Rule::IsTheMeasure => fit && matches!(part, Part::Reigning | Part::Starting),
            Rule::IsFed => follows && whole,
            Rule::PrimarySilent => fit && whole && part == Part::Fed && !heard,
            Rule::Unfed => fit && whole && matches!(part, Part::Asking | Part::Resting | Part::Alone),
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    fn every_combination() -> Vec<Facts> {
        let ends = [Condition::Faulted, Condition::Ending, Condition::Removed];
        let conditions = [Condition::Opening, Condition::Fit].into_iter().chain(ends);
        let parts = [
            Part::Reigning,
            Part::Starting,
            Part::Asking,
            Part::Resting,
            Part::Fed,
            Part::Joining,
            Part::Alone,
        ];
        let mut all = Vec::new();
        for condition in conditions {
            for part in parts {
                for bits in 0..1 << 12 {
                    let bit = |at: u32| bits >> at & 1 == 1;
                    all.push(Facts {
                        condition,
                        part,
                        quorum: bit(0),
                        leased: bit(1),
                        full: bit(2),
                        heard: bit(3),
                        acts: bit(4),
                        voter: bit(5),
                        whole: bit(6),
                        bound: bit(7),
                        excused: bit(8),
                        spared: bit(9),
                        stranded: bit(10),
                        shrinks: bit(11),
                    });
                }
            }
        }
        all
    }

    #[test]
    fn exactly_one_rule_answers_each_question_for_every_combination_of_facts() {
        for question in Question::ALL {
            for facts in every_combination() {
                let firing: Vec<Rule> =
                    Rule::all(question).iter().copied().filter(|rule| rule.fires(question, facts)).collect();
                assert_eq!(firing.len(), 1, "{question:?}: {firing:?} for {facts:?}");
                assert_eq!(firing[0], Rule::of(question, facts));
            }
        }
    }

    #[test]
    fn every_rule_answers_its_question_for_some_combination() {
        let all = every_combination();
        for question in Question::ALL {
            for rule in Rule::all(question) {
                assert!(all.iter().any(|facts| rule.fires(question, *facts)), "{question:?} {rule:?}");
            }
        }
    }

    #[test]
    fn what_takes_writes_is_good_and_what_does_not_is_not() {
        for facts in every_combination() {
            let healthy = Rule::of(Question::Healthy, facts).is_good();
            let writable = Rule::of(Question::Writable, facts).is_good();
            assert!(writable || !healthy, "healthy and not writable: {facts:?}");
        }
    }
}
