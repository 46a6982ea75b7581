//! What one more failure would do, in words and as data: the engine's own decisions about a copy of its state.

use std::path::Path;

use seawall_engine::outlook::{Deed, Effect, Facts, Outlook as Decided, Rule};
use seawall_engine::risk::AtRisk;
use seawall_engine::status::Status;
use seawall_sender::time::Instant;
use serde::{Deserialize, Serialize};

use crate::admin;
use crate::config::Config;
use crate::fault::{Exit, Fault};
use crate::quantity::show_size;

/// Promised records that would be lost with the copies that hold them.
#[derive(Clone, PartialEq, Default, Debug, Serialize, Deserialize)]
pub struct AtRiskReport {
    /// How many.
    pub records: u64,
    /// What they take in the log, in bytes. Where `beyond`, at least.
    pub bytes: u64,
    /// For how many seconds the oldest of them has been promised, at most; 0 if there are none. Where `beyond`, at
    /// least.
    pub seconds: f64,
    /// The log does not reach back to the oldest of them.
    pub beyond: bool,
}

impl AtRiskReport {
    /// As it is at that moment.
    #[must_use]
    pub fn new(risk: &AtRisk, now: Instant) -> AtRiskReport {
        let seconds = risk.since.map_or(0.0, |since| now.since(since).as_secs_f64());
        AtRiskReport { records: risk.records, bytes: risk.bytes, seconds, beyond: risk.beyond }
    }

    /// In words; none if nothing is at risk.
    #[must_use]
    pub fn show(&self) -> Option<String> {
        let least = if self.beyond { "at least " } else { "" };
        let text =
            format!("{least}{} records, {}, {:.1} s", self.records, show_size(self.bytes), self.seconds);
        (self.records > 0).then_some(text)
    }
}

/// What would become of the volume.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Outlook {
    /// What is done: kill or drain.
    pub deed: String,
    /// To whom.
    pub replica: String,
    /// The rule that says what follows.
    pub rule: String,
    /// What clients see: stays, pauses, waits-for-operator, stops.
    pub effect: String,
    /// Whether clients can write again without anybody's help.
    pub writable: bool,
    /// Voters that are there then.
    pub voters_present: usize,
    /// Copies that a write needs.
    pub copies_needed: usize,
    /// Who may be primary then, without or with an operator's help.
    pub primary_candidates: Vec<String>,
    /// The likely one of them.
    pub primary_likely: Option<String>,
    /// How long clients wait, where that can be said.
    pub pause_ms: Option<u64>,
    /// What may be lost of the promise, if the replica never comes back.
    pub lost: AtRiskReport,
    /// All that in words.
    pub says: String,
}

/// What would become of the volume with each replica gone, either way; nothing where the status is not that of a
/// primary that serves, which alone knows the others.
#[must_use]
pub fn outlooks(config: &Config, status: &Status) -> Vec<Outlook> {
    let Some(facts) = Facts::of(status) else { return Vec::new() };
    let mut all = Vec::new();
    for deed in Deed::ALL {
        let decided = facts.copies.iter().filter_map(|copy| facts.outlook(deed, copy.replica));
        all.extend(decided.map(|decided| Outlook::new(config, status, &decided)));
    }
    all
}

impl Outlook {
    fn new(config: &Config, status: &Status, decided: &Decided) -> Outlook {
        let name = |replica: &_| config.name_of(*replica);
        let effect = decided.rule.effect();
        let mut outlook = Outlook {
            deed: decided.deed.name().to_owned(),
            replica: name(&decided.replica),
            rule: decided.rule.name().to_owned(),
            effect: effect.name().to_owned(),
            writable: effect.is_writable(),
            voters_present: decided.present,
            copies_needed: decided.needed,
            primary_candidates: decided.primaries.iter().map(name).collect(),
            primary_likely: decided.likely.as_ref().map(name),
            pause_ms: decided.pause.and_then(|pause| u64::try_from(pause.as_millis()).ok()),
            lost: AtRiskReport::new(&decided.lost, status.now),
            says: String::new(),
        };
        outlook.says = outlook.words(decided.rule, decided.voters);
        outlook
    }

    fn words(&self, rule: Rule, voters: usize) -> String {
        let Outlook { replica, voters_present: present, copies_needed: needed, .. } = self;
        let majority = voters / 2 + 1;
        let others = self.primary_candidates.join(" or ");
        let pause = self.pause_ms.map_or("a pause".to_owned(), |ms| format!("about {:.1} s", ms_as_s(ms)));
        let mut text = match rule {
            Rule::SpareLost => format!("{replica} has no vote: nothing changes for clients"),
            Rule::QuorumStays => "writes go on without a pause".to_owned(),
            Rule::SetShrinks => {
                format!(
                    "writes stop for {pause}, until {replica} is dropped from the in-sync set, and go on without it"
                )
            }
            Rule::QuorumReturns => {
                format!("writes stop until {needed} copies are in sync again, which comes by itself")
            }
            Rule::QuorumLost => format!(
                "writes stop: {present} of {voters} voters are left, a write needs {needed} copies and the primary's \
                 lease an answer; bring {replica} or another one back"
            ),
            Rule::HandedOver => {
                let heir = self.primary_likely.as_deref().unwrap_or("another");
                format!("the primary hands over to {heir} first: clients see a pause")
            }
            Rule::FailsOver => format!("{others} takes over by itself after {pause}"),
            Rule::UnderMaintenance => format!(
                "{replica} is under maintenance: writes wait until it is back, or {others} takes over by itself after \
                 {pause}; seawall promote does so at once"
            ),
            Rule::OperatorChooses => {
                format!("writes stop until an operator promotes {others}: seawall promote")
            }
            Rule::CopiesMissing => format!(
                "writes stop: the commit rule asks for {needed} copies and {present} are left; bring {replica} back"
            ),
            Rule::MajorityMissing => format!(
                "writes stop: {present} of {voters} voters are left, and electing another primary takes {majority} \
                 whole copies; bring {replica} back"
            ),
        };
        if let Some(lost) = self.lost.show() {
            text.push_str(&format!("; LOST if {replica} never comes back: {lost}"));
        }
        text
    }
}

fn ms_as_s(ms: u64) -> f64 {
    std::time::Duration::from_millis(ms).as_secs_f64()
}

impl Outlook {
    /// As lines for people.
    #[must_use]
    pub fn show(&self) -> String {
        let candidates = match self.primary_candidates.as_slice() {
            [] => "nobody".to_owned(),
            names => names.join(", "),
        };
        let likely =
            self.primary_likely.as_ref().map(|name| format!("   likely: {name}")).unwrap_or_default();
        format!(
            "{} {}: {}\n  rule {}   clients' writes: {}   primary: {candidates}{likely}",
            self.deed, self.replica, self.says, self.rule, self.effect
        )
    }
}

/// What would become of the volume, says the daemon of its primary.
///
/// # Errors
/// If no daemon answers, if it is not the primary, or if it knows no such replica.
pub fn ask(socket: &Path, deed: &str, replica: &str) -> Result<Outlook, Fault> {
    let report = admin::report(socket)?;
    let known = |outlook: &&Outlook| outlook.deed == deed && outlook.replica == replica;
    if let Some(outlook) = report.outlook.iter().find(known) {
        return Ok(outlook.clone());
    }
    let fault = Fault::new(Exit::Refused, format!("what {deed} {replica} would do is not known here"));
    if report.outlook.is_empty() {
        let found = format!(
            "{} is {}: only a primary that serves knows the other copies",
            report.replica, report.role
        );
        let next = match report.primary.filter(|primary| *primary != report.replica) {
            Some(primary) => format!("ask {primary}, which is the primary"),
            None => "the volume takes no writes as it is: seawall explain says why".to_owned(),
        };
        return Err(fault.found(found).expected("the primary's admin socket").next(next));
    }
    let kills = report.outlook.iter().filter(|outlook| outlook.deed == deed);
    let names: Vec<&str> = kills.map(|outlook| outlook.replica.as_str()).collect();
    Err(fault
        .found(replica.to_owned())
        .expected(format!("one of {}", names.join(", ")))
        .next("name a replica of the volume"))
}

/// What one more failure does, in one sentence or a few: replicas whose loss means the same are named together.
#[must_use]
pub fn next_failure(outlooks: &[Outlook]) -> Vec<String> {
    let kills: Vec<&Outlook> = outlooks.iter().filter(|outlook| outlook.deed == Deed::Kill.name()).collect();
    let harmless = |outlook: &&&Outlook| outlook.effect == Effect::Stays.name() && outlook.lost.records == 0;
    if !kills.is_empty() && kills.iter().all(|outlook| harmless(&outlook)) {
        return vec!["writes go on whichever fails".to_owned()];
    }
    let mut told: Vec<(Vec<&str>, &str)> = Vec::new();
    for outlook in kills {
        match told.iter_mut().find(|(_, says)| *says == outlook.says) {
            Some((names, _)) => names.push(&outlook.replica),
            None => told.push((vec![&outlook.replica], &outlook.says)),
        }
    }
    told.into_iter().map(|(names, says)| format!("if {} fails: {says}", names.join(" or "))).collect()
}
