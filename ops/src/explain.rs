//! Why a volume is as it is, in words: the rule that answers each question, what it saw, what happens next by itself
//! and when, and what an operator may do.

use std::fmt::Write as _;
use std::path::Path;

use seawall_engine::explain::{Facts, PeerRule, Question, Rule};
use seawall_engine::status::{CandidacyStatus, PeerStatus, Status};
use seawall_sender::time::Instant;
use seawall_wal::names::ReplicaId;
use serde::{Deserialize, Serialize};

use crate::admin;
use crate::config::Config;
use crate::fault::Fault;
use crate::report::Maintenance;

/// The answer to one question.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Answer {
    /// What was asked: healthy, writable, promotable, in-sync.
    pub question: String,
    /// Of which replica.
    pub replica: String,
    /// Whether it is so.
    pub yes: bool,
    /// The rule that says so.
    pub rule: String,
    /// What it saw.
    pub because: String,
    /// What happens next by itself; none if nothing does.
    pub next: Option<String>,
    /// In how many seconds, where that is known.
    pub next_seconds: Option<f64>,
    /// What an operator may do; none if nothing need be done.
    pub may: Option<String>,
}

/// What happens next by itself, and when.
struct Next(Option<(String, Option<Instant>)>);

/// All that a replica can answer of itself and, on a primary, of the others.
#[must_use]
pub fn answers(config: &Config, status: &Status) -> Vec<Answer> {
    let facts = Facts::of(status);
    let scene = Scene { config, status };
    let own = Question::ALL.into_iter().map(|question| scene.own(question, Rule::of(question, facts)));
    let peers = status.peers.iter().map(|peer| scene.peer(peer, PeerRule::of(peer)));
    own.chain(peers).collect()
}

struct Scene<'a> {
    config: &'a Config,
    status: &'a Status,
}

impl Scene<'_> {
    fn own(&self, question: Question, rule: Rule) -> Answer {
        let Next(next) = self.next(question, rule);
        let because = self.because(rule);
        let who = self.config.name_of(self.status.replica);
        self.answer(question, who, rule.is_good(), rule.name(), because, next, self.may(question, rule))
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of an answer")]
    fn answer(
        &self,
        question: Question,
        replica: String,
        yes: bool,
        rule: &str,
        because: String,
        next: Option<(String, Option<Instant>)>,
        may: Option<String>,
    ) -> Answer {
        let at = next.as_ref().and_then(|(_, at)| *at);
        Answer {
            question: question.name().to_owned(),
            replica,
            yes,
            rule: rule.to_owned(),
            because,
            next_seconds: at.map(|at| at.since(self.status.now).as_secs_f64()),
            next: next.map(|(what, _)| what),
            may,
        }
    }

    fn missing(&self) -> String {
        let missing = self.status.peers.iter().filter(|peer| !peer.counts || peer.lagging);
        let names: Vec<String> = missing
            .map(|peer| format!("{} ({})", self.config.name_of(peer.replica), PeerRule::of(peer).name()))
            .collect();
        if names.is_empty() { "nobody".to_owned() } else { names.join(", ") }
    }

    /// Who works on a replica.
    fn lease(&self, replica: ReplicaId) -> Option<String> {
        let lease = self.status.maintains(replica)?;
        Some(Maintenance::new(self.config, lease, self.status.now).show())
    }

    fn primary(&self) -> String {
        self.status.watch.feed.map_or("none".to_owned(), |feed| self.config.name_of(feed.primary))
    }

    /// How long its primary has been silent, or that it has none.
    fn silence(&self) -> String {
        match self.status.watch.feed {
            Some(feed) => {
                let silent = self.status.now.since(feed.heard).as_secs_f64();
                format!("the primary {} has been silent for {silent:.1} s", self.config.name_of(feed.primary))
            }
            None => "no primary feeds this replica".to_owned(),
        }
    }

    fn candidacy(&self) -> String {
        let Some(candidacy) = &self.status.watch.candidacy else { return "it asks for promises".to_owned() };
        let CandidacyStatus { stage, rounds, why, commanded, .. } = candidacy;
        let who = if *commanded { "an operator wants it" } else { "it missed its primary" };
        let why = if why.is_empty() { String::new() } else { format!("; the last round: {why}") };
        format!("{who}: candidacy {stage}, round {rounds}{why}")
    }

    fn grant(&self) -> String {
        match self.status.watch.grant {
            Some((epoch, until)) => {
                let left = until.since(self.status.now).as_secs_f64();
                format!("its lease to {} runs out in {left:.1} s", self.config.name_of(epoch.replica))
            }
            None => "it granted no lease".to_owned(),
        }
    }

    fn because(&self, rule: Rule) -> String {
        let Status { quorum, policy, fault, base_held, .. } = self.status;
        let counts = format!("{} of {} copies that a write needs are in sync", quorum.present, quorum.needed);
        let missing = self.missing();
        match rule {
            Rule::Opening => "it reads its disk".to_owned(),
            Rule::DiskFailed => format!("its disk failed: {}", fault.as_deref().unwrap_or("no reason given")),
            Rule::ShuttingDown => "it was asked to end".to_owned(),
            Rule::Removed => {
                let number = self.status.configuration.number;
                format!(
                    "it was removed from the volume, and serves and votes on nothing (it knows configuration {number})"
                )
            }
            Rule::AllCopies => "it reigns, holds its lease, and all other copies are in sync".to_owned(),
            Rule::CopiesMissing => {
                format!("it serves; not in sync, or not in the in-sync set again: {missing}")
            }
            Rule::ReignsInVain => {
                let lease = if quorum.leased { "it holds its lease" } else { "it holds no lease" };
                format!("{counts}, and {lease}; not in sync: {missing}")
            }
            Rule::StartUncommitted => {
                format!(
                    "it was elected, and its first record has not committed: {counts}; not in sync: {missing}"
                )
            }
            Rule::Follows | Rule::IsFed => format!("the primary {} feeds it", self.primary()),
            Rule::HandsOn => format!("it hands what its clients ask on to the primary {}", self.primary()),
            Rule::IsRebuilt => {
                format!("its copy is being rebuilt by {}: {base_held} blocks are held", self.primary())
            }
            Rule::CopiesMaintained => {
                let maintained = self.status.peers.iter().filter(|peer| !peer.counts);
                let leases: Vec<String> = maintained.filter_map(|peer| self.lease(peer.replica)).collect();
                format!("it serves; {}", leases.join("; "))
            }
            Rule::PrimaryMaintained => {
                let lease = self.lease(self.status.promised.replica).unwrap_or_default();
                format!("{}; {lease}", self.silence())
            }
            Rule::WithoutPrimary | Rule::PrimarySilent => self.silence(),
            Rule::MissesPrimary | Rule::Unfed => self.silence(),
            Rule::TakesWrites => format!("it reigns and holds its lease; {counts}"),
            Rule::TooFewCopies | Rule::SetShrinks => format!("{counts}; not in sync: {missing}"),
            Rule::NoLease => format!(
                "too few voters have confirmed within {:.1} s that it still reigns",
                policy.lease.as_secs_f64()
            ),
            Rule::AsksForPromises | Rule::WaitsToAsk => self.candidacy(),
            Rule::Joins => format!("the primary {} has greeted it, and plans what it lacks", self.primary()),
            Rule::OthersMustAsk => {
                let why = if self.status.voter { "its own copy is not whole" } else { "it has no vote" };
                format!("{}, and this replica can't be primary: {why}", self.silence())
            }
            Rule::OperatorMustAsk => {
                let commit = match policy.commit {
                    seawall_engine::setup::CommitRule::One => "commit is one",
                    seawall_engine::setup::CommitRule::Majority | seawall_engine::setup::CommitRule::All => {
                        "failover is manual"
                    }
                };
                format!("{}, and {commit}: nobody is elected without being told", self.silence())
            }
            Rule::LosingBranch => match self.status.stranded {
                Some(epoch) => format!(
                    "a promotion was forced elsewhere (epoch {}): this copy is on the losing branch",
                    crate::report::epoch_name(self.config, epoch)
                ),
                None => self.silence(),
            },
            Rule::Reigns | Rule::IsTheMeasure => "it is the primary".to_owned(),
            Rule::NoVoter => "it has no vote".to_owned(),
            Rule::CopyNotWhole => {
                let blocks = self.config.volume_blocks();
                format!("its copy is blank or being rebuilt: {base_held} of {blocks} blocks are held")
            }
            Rule::ByHandover => {
                format!("the primary {} would hand over to it if it is in sync", self.primary())
            }
            Rule::LeaseNotRunOut => self.grant(),
            Rule::MayAsk => format!("its copy is whole, it votes, and {}", self.silence()),
        }
    }

    fn next(&self, question: Question, rule: Rule) -> Next {
        let Status { watch, policy, .. } = self.status;
        let candidacy = watch.candidacy.as_ref().and_then(|candidacy| candidacy.until);
        let say = |what: &str, at| Next(Some((what.to_owned(), at)));
        match rule {
            Rule::CopiesMissing | Rule::TooFewCopies | Rule::ReignsInVain | Rule::StartUncommitted => {
                let next = self.status.peers.iter().filter_map(|peer| peer.next_try).min();
                say("missing copies are connected to and brought in sync", next)
            }
            Rule::SetShrinks => {
                let patience = policy.all_patience.unwrap_or_default().as_secs_f64();
                let what = format!(
                    "who keeps writes waiting for {patience:.1} s is dropped from the in-sync set, and they complete"
                );
                Next(Some((what, None)))
            }
            Rule::NoLease => {
                say("it asks again with every pulse, and steps down if a higher epoch is promised", None)
            }
            Rule::AsksForPromises => say("the round ends", candidacy),
            Rule::WaitsToAsk => say("it asks for promises again", candidacy),
            Rule::IsRebuilt | Rule::CopyNotWhole if watch.feed.is_some() => say("the rebuild goes on", None),
            Rule::Joins => say("records come when the plan is made true", None),
            Rule::MissesPrimary | Rule::WithoutPrimary | Rule::PrimarySilent | Rule::Unfed
                if watch.asks_at.is_some() =>
            {
                say("it asks for promises if it hears of no primary until then", watch.asks_at)
            }
            Rule::WithoutPrimary | Rule::Unfed if candidacy.is_some() => {
                say("it asks for promises again", candidacy)
            }
            Rule::CopiesMaintained => {
                say("they are caught up when they are back, and rebuilt when that is over", None)
            }
            Rule::PrimaryMaintained => {
                let until = self.status.maintains(self.status.promised.replica).map(|lease| lease.until);
                say("another primary is found if it is not back until then", until)
            }
            Rule::LeaseNotRunOut => say("the lease runs out", watch.grant.map(|(_, until)| until)),
            Rule::Opening => say("it takes part once its disk is read", None),
            Rule::ShuttingDown => say("the process ends when everything is home", None),
            Rule::Removed => Next(None),
            Rule::LosingBranch => {
                say("the forced reign feeds it, and what only this copy has is kept beside its disk", None)
            }
            Rule::OthersMustAsk => say("another replica that misses the primary asks for promises", None),
            Rule::Reigns | Rule::TakesWrites | Rule::AllCopies | Rule::Follows | Rule::IsFed => Next(None),
            Rule::HandsOn | Rule::ByHandover | Rule::MayAsk | Rule::IsTheMeasure => Next(None),
            Rule::IsRebuilt | Rule::CopyNotWhole | Rule::MissesPrimary | Rule::WithoutPrimary => Next(None),
            Rule::PrimarySilent | Rule::Unfed | Rule::DiskFailed | Rule::OperatorMustAsk => Next(None),
            Rule::NoVoter => {
                debug_assert!(question == Question::Promotable);
                Next(None)
            }
        }
    }

    fn may(&self, question: Question, rule: Rule) -> Option<String> {
        let name = self.config.name_of(self.status.replica);
        let text = match rule {
            Rule::DiskFailed => {
                "replace the device, or wipe this copy and start it again to rebuild it: seawall replica wipe".to_owned()
            }
            Rule::CopiesMissing | Rule::TooFewCopies | Rule::ReignsInVain | Rule::StartUncommitted => {
                "start the missing replicas, or see to the network between them and this one; each is explained below"
                    .to_owned()
            }
            Rule::Removed => {
                "stop it, and keep its disk or wipe it; to have this node hold a copy again, let it join under a new \
                 identity: seawall format --join, seawall replica add"
                    .to_owned()
            }
            Rule::SetShrinks => "nothing; or bring the missing replica back".to_owned(),
            Rule::NoLease => "see to the network between the voters; if it does not work any more, promote another one: seawall promote --take-over".to_owned(),
            Rule::OperatorMustAsk => {
                format!("promote this replica or another one: seawall promote --config {name}.toml; its log is compared with those of a majority")
            }
            Rule::OthersMustAsk => "promote another replica: seawall promote".to_owned(),
            Rule::LosingBranch => {
                "start the replica that was forced, or see to the network between; if it is gone for good, look what forcing this one would mean: seawall promote --force".to_owned()
            }
            Rule::MissesPrimary | Rule::WaitsToAsk | Rule::AsksForPromises => {
                "nothing; or bring the other voters back, of which more than half must promise".to_owned()
            }
            Rule::WithoutPrimary => "see below whether this replica is promotable".to_owned(),
            Rule::CopiesMaintained => {
                "end it, so that what needs a rebuild is rebuilt now: seawall maintenance end".to_owned()
            }
            Rule::PrimaryMaintained => {
                "bring the primary back, or promote another replica now: seawall promote".to_owned()
            }
            Rule::PrimarySilent | Rule::Unfed => "start the primary, or promote a replica".to_owned(),
            Rule::CopyNotWhole if question == Question::Promotable => "promote another replica".to_owned(),
            Rule::NoVoter => "promote a replica that votes".to_owned(),
            Rule::LeaseNotRunOut => "wait; nobody but the holder of the lease can serve before that".to_owned(),
            Rule::CopyNotWhole if self.status.watch.feed.is_none() => {
                "start the primary, which rebuilds this copy".to_owned()
            }
            Rule::MayAsk => "seawall promote: a majority of the voters must promise".to_owned(),
            Rule::ByHandover => "seawall promote: the primary hands over".to_owned(),
            Rule::Opening | Rule::ShuttingDown | Rule::AllCopies | Rule::Follows | Rule::IsRebuilt => return None,
            Rule::TakesWrites | Rule::HandsOn | Rule::Joins | Rule::Reigns => return None,
            Rule::CopyNotWhole | Rule::IsTheMeasure | Rule::IsFed => return None,
        };
        Some(text)
    }

    fn peer(&self, peer: &PeerStatus, rule: PeerRule) -> Answer {
        let name = self.config.name_of(peer.replica);
        let plan = format!("plan by rule {}", peer.rule);
        let ended = format!("the last session ended: {}", peer.last_end);
        let (because, next, may) = match rule {
            PeerRule::Counts => ("its durable frontier counts".to_owned(), None, None),
            PeerRule::Lagging => (
                format!("it is in sync; {}, and no write waits for it", dropped(peer, self.status)),
                Some(("writes wait for it again once it has kept up for a while".to_owned(), None)),
                None,
            ),
            PeerRule::Rebuilding => (
                format!("its copy is being rebuilt, {plan}"),
                Some(("the rebuild goes on".to_owned(), None)),
                None,
            ),
            PeerRule::CatchingUp => {
                let lacks = format!("it lacks {} records, {plan}", peer.lag_records);
                (lacks, Some(("it is sent what it lacks".to_owned(), None)), None)
            }
            PeerRule::Greeting => {
                let doing = format!("it is asked what it holds, or makes the plan true ({})", peer.state);
                (doing, Some(("it is fed".to_owned(), None)), None)
            }
            PeerRule::Maintained => (
                format!("{}; {ended}", self.lease(peer.replica).unwrap_or_default()),
                Some(("another attempt; a rebuild only when that is over".to_owned(), peer.next_try)),
                Some(format!("have it rebuilt now, if it must be: seawall maintenance end {name}")),
            ),
            PeerRule::Unreachable => (
                format!("it does not answer ({}); {ended}", peer.state),
                Some(("another attempt".to_owned(), None)),
                Some(format!("see whether {name} runs, and to the network between")),
            ),
            PeerRule::Waiting if peer.last_end == "deferred" => (
                "its copy is out of date, and is not thrown away while another one is being rebuilt"
                    .to_owned(),
                Some(("its rebuild has its turn when that one is whole".to_owned(), peer.next_try)),
                None,
            ),
            PeerRule::Waiting => (
                format!("there is no session ({}); {ended}", peer.state),
                Some(("another attempt".to_owned(), peer.next_try)),
                Some(format!("see whether {name} runs, and what its status says")),
            ),
        };
        let yes = rule == PeerRule::Counts;
        self.answer(Question::InSync, name, yes, rule.name(), because, next, may)
    }
}

/// Why a peer is not in the in-sync set.
fn dropped(peer: &PeerStatus, status: &Status) -> String {
    match peer.dropped {
        Some((at, why)) => {
            let seconds = status.now.since(at).as_secs_f64();
            format!("it fell out of the in-sync set {seconds:.1} s ago ({why})")
        }
        None => "it fell out of the in-sync set under an earlier primary".to_owned(),
    }
}

impl Answer {
    /// As lines for people.
    #[must_use]
    pub fn show(&self) -> String {
        let yes = if self.yes { "yes" } else { "NO" };
        let mut text =
            format!("{} {}: {yes} (rule {})\n  {}\n", self.replica, self.question, self.rule, self.because);
        if let Some(next) = &self.next {
            let when = self.next_seconds.map(|seconds| format!(", in {seconds:.1} s")).unwrap_or_default();
            let _ = writeln!(text, "  next by itself: {next}{when}");
        }
        if let Some(may) = &self.may {
            let _ = writeln!(text, "  you may: {may}");
        }
        text
    }
}

/// What the daemon answers to all questions.
///
/// # Errors
/// If no daemon answers.
pub fn ask(socket: &Path) -> Result<Vec<Answer>, Fault> {
    Ok(admin::report(socket)?.explain)
}
