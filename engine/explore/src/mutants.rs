//! Every guard of the machines, and where it is shown what breaks without it. `MUTATIONS.md` is made from this, and a
//! test makes it anew.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use seawall_wal::guard;

use crate::probe::{Probe, Scale};
use crate::search::Report;

/// One guard that is taken away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mutant {
    /// Its name.
    pub guard: &'static str,
    /// Another guard, in front of it or behind it, that keeps out the same; taken away with it.
    pub beside: Option<&'static str>,
    /// Where to look.
    pub probe: Probe,
}

const fn alone(guard: &'static str, probe: Probe) -> Mutant {
    Mutant { guard, beside: None, probe }
}

const fn beside(guard: &'static str, other: &'static str, probe: Probe) -> Mutant {
    Mutant { guard, beside: Some(other), probe }
}

/// All of them.
pub const MUTANTS: &[Mutant] = &[
    // The sender.
    alone("sender-ends-its-session", Probe::Answers),
    alone("sender-hears-its-session", Probe::Reconnects),
    alone("ack-within-sent", Probe::Answers),
    alone("ack-never-moves-back", Probe::Answers),
    alone("frontiers-home-in-durable", Probe::Answers),
    alone("frontiers-durable-in-written", Probe::Answers),
    alone("frontiers-written-in-received", Probe::Answers),
    alone("window-records", Probe::Calm),
    alone("window-bytes", Probe::Calm),
    // The receiver.
    alone("receiver-hears-its-session", Probe::Reconnects),
    alone("receiver-hears-its-epoch", Probe::SecondReign),
    alone("record-of-the-volume", Probe::Offers),
    alone("record-is-next", Probe::Offers),
    alone("record-continues-the-chain", Probe::Offers),
    alone("record-epoch-never-falls", Probe::Offers),
    alone("record-epoch-not-ahead", Probe::Offers),
    alone("reign-begins-with-its-start", Probe::Offers),
    alone("reign-begins-once", Probe::Offers),
    alone("padding-never-travels", Probe::Offers),
    alone("body-of-its-extent", Probe::Offers),
    alone("extent-in-the-volume", Probe::Offers),
    alone("extent-not-empty", Probe::Offers),
    alone("payload-has-all-blocks", Probe::Offers),
    alone("payload-as-named", Probe::Offers),
    // The greeting.
    beside("hello-versions-are-a-range", "hello-versions-meet", Probe::Reversed),
    alone("hello-versions-meet", Probe::Greetings),
    alone("hello-wants-us", Probe::Greetings),
    alone("hello-block-bytes", Probe::Greetings),
    alone("hello-volume-blocks", Probe::Greetings),
    alone("welcome-version", Probe::Greetings),
    alone("welcome-of-the-wanted", Probe::Greetings),
    alone("greeting-of-the-volume", Probe::Greetings),
    alone("greeting-without-authentication", Probe::Greetings),
    // The recovery session.
    alone("session-waits-until-due", Probe::Session),
    alone("session-hears-itself", Probe::Session),
    alone("catch-up-reaches-its-target", Probe::Session),
    alone("catch-up-has-a-gap", Probe::Session),
    alone("last-base-answer-is-the-last", Probe::Session),
    alone("digests-are-equal", Probe::Session),
    alone("rebuild-has-its-turn", Probe::Session),
    alone("base-is-whole", Probe::Session),
    alone("base-is-closed", Probe::Session),
    alone("steady-before-forgiven", Probe::Session),
    alone("setback-twice-parks", Probe::Session),
    alone("begun-where-told", Probe::Session),
    alone("begun-holds-no-more", Probe::Session),
    alone("base-never-moves-back", Probe::Session),
    alone("base-in-the-volume", Probe::Session),
    alone("session-acked-within-log", Probe::Session),
    alone("silence-ends", Probe::Session),
    alone("standstill-ends", Probe::Session),
    alone("deadline-ends", Probe::Session),
    // The plan.
    alone("facts-log-joins-home", Probe::Special),
    alone("facts-home-within-log", Probe::Special),
    alone("facts-cut-within-home", Probe::Special),
    alone("facts-held-in-the-volume", Probe::Special),
    alone("facts-lineage-of-the-log", Probe::Special),
    alone("plan-of-the-volume", Probe::Special),
    alone("plan-of-the-replica", Probe::Special),
    alone("plan-lineages-agree", Probe::Special),
    alone("plan-promise-reached", Probe::Special),
    alone("plan-trust-kept", Probe::Special),
    alone("plan-base-of-our-history", Probe::Special),
    alone("plan-base-is-settled", Probe::Special),
    alone("plan-tails-agree", Probe::Whole),
    alone("plan-fork-above-home", Probe::Whole),
    alone("plan-log-reaches-fork", Probe::Whole),
    alone("plan-keeps-what-is-ahead", Probe::Whole),
    // The base lanes.
    alone("base-window-extents", Probe::Sources),
    alone("base-window-blocks", Probe::Sources),
    alone("base-answer-never-moves-back", Probe::Sources),
    alone("base-answer-within-sent", Probe::Sources),
    alone("base-extent-not-empty", Probe::Targets),
    alone("base-extent-in-the-volume", Probe::Targets),
    alone("base-as-of-the-floor", Probe::Targets),
    alone("base-not-held-yet", Probe::Targets),
    alone("base-above-what-is-held", Probe::Targets),
    alone("base-extents-apart", Probe::Targets),
    alone("base-held-without-a-gap", Probe::Targets),
    alone("live-waits-for-base", Probe::Targets),
    alone("base-ahead-is-bounded", Probe::Ahead),
    // The restart.
    alone("restart-of-the-volume", Probe::Disks),
    alone("restart-cut-is-void", Probe::Disks),
    alone("restart-states-its-past", Probe::Disks),
    alone("restart-strays-are-told", Probe::Disks),
    alone("restart-older-cuts-prove-nothing", Probe::Disks),
    alone("restart-later-cut-outdates", Probe::Disks),
    alone("restart-body-is-whole", Probe::Disks),
    beside("restart-record-is-next", "restart-chain-continues", Probe::Disks),
    beside("restart-chain-continues", "restart-record-is-next", Probe::Disks),
    alone("restart-epoch-never-falls", Probe::Disks),
    alone("restart-generation-never-falls", Probe::Disks),
    alone("restart-extent-in-the-volume", Probe::Disks),
    alone("restart-record-in-its-place", Probe::Disks),
    alone("restart-reaches-the-mark", Probe::Disks),
    alone("restart-reaches-the-floor", Probe::Disks),
    alone("restart-proof-is-heard", Probe::Disks),
    // The superblock.
    alone("copies-of-one-replica", Probe::Slots),
    alone("copies-of-one-age-agree", Probe::Slots),
    alone("newer-copy-counts", Probe::Slots),
    alone("superblock-geometry", Probe::Slots),
    alone("superblock-log-in-the-ring", Probe::Slots),
    alone("superblock-log-at-a-unit", Probe::Slots),
    alone("superblock-lists-fit", Probe::Slots),
    alone("superblock-home-is-settled", Probe::Slots),
    alone("superblock-numbers-go-on", Probe::Slots),
    alone("superblock-counts-go-on", Probe::Slots),
    alone("superblock-held-in-the-volume", Probe::Slots),
    alone("superblock-whole-remembers", Probe::Slots),
    // Votes.
    alone("vote-only-for-a-higher-epoch", Probe::Votes),
    alone("vote-only-of-a-whole-copy", Probe::Votes),
    alone("elected-by-a-majority", Probe::Votes),
    alone("promise-is-durable-first", Probe::Votes),
    alone("best-history-of-a-majority", Probe::Votes),
    alone("follow-nobody-below-the-promise", Probe::Votes),
    alone("own-start-commits-first", Probe::Candidates),
];

/// What came of one.
#[derive(Debug)]
pub struct Taken {
    /// Which.
    pub mutant: Mutant,
    /// With it taken away, and the one beside it, if there is one.
    pub report: Report,
    /// Whether it alone breaks nothing, as is said of one that has another beside it.
    pub spare: bool,
}

impl Mutant {
    /// Take it away and look. All other guards are in their places before and after.
    #[must_use]
    pub fn take(self, scale: Scale) -> Taken {
        let spare = self.beside.is_some() && {
            guard::off(&[self.guard]);
            self.probe.run(scale).breach.is_none()
        };
        let names: Vec<&str> = core::iter::once(self.guard).chain(self.beside).collect();
        guard::off(&names);
        let report = self.probe.run(scale);
        guard::off(&[]);
        Taken { mutant: self, report, spare }
    }
}

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("it is nested in the engine").to_owned()
}

/// Where the guards stand in the sources: file by name.
///
/// # Panics
/// If the sources can't be read, or a name stands twice.
#[must_use]
pub fn guards() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for folder in ["wal/src", "sender/src", "recovery/src", "engine/src", "engine/explore/src"] {
        let mut files: Vec<PathBuf> = fs::read_dir(root().join(folder))
            .expect("the floors stand beside each other")
            .map(|entry| entry.expect("a readable folder").path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
            .collect();
        files.sort();
        for file in
            files.iter().filter(|file| !file.ends_with("wal/src/guard.rs") && !file.ends_with("mutants.rs"))
        {
            let text = fs::read_to_string(file).expect("a readable file");
            let name = file.strip_prefix(root()).expect("below the root").display().to_string();
            for part in text.split("guard!(").skip(1) {
                let Some(guard) = part.trim_start().strip_prefix('"').and_then(|rest| rest.split('"').next())
                else {
                    continue;
                };
                let before = found.insert(guard.to_owned(), name.clone());
                assert_eq!(before, None, "{guard} stands twice");
            }
        }
    }
    found
}

/// The table of all guards.
///
/// # Panics
/// If the sources can't be read.
#[must_use]
pub fn table(all: &[Taken]) -> String {
    let guards = guards();
    let mut table = String::from(HEAD);
    for Taken { mutant: Mutant { guard, beside, .. }, report, spare } in all {
        let file = guards.get(*guard).map_or("?", String::as_str);
        let (breaks, steps) = match &report.breach {
            Some(found) => {
                let said = found.breach.said.replace('\n', " ").replace('|', "/");
                let said: String = said.chars().take(120).collect();
                (format!("{}: {said}", found.breach.property), found.trace.len().to_string())
            }
            None => ("NOTHING".to_owned(), "-".to_owned()),
        };
        let also = match beside {
            Some(other) if *spare => format!("alone nothing: `{other}` keeps out the same"),
            Some(_) => "NOT SPARE".to_owned(),
            None => String::new(),
        };
        let Report { model, states, .. } = report;
        writeln!(table, "| `{guard}` | `{file}` | {model} | {breaks} | {steps} | {states} | {also} |")
            .expect("a string");
    }
    writeln!(table, "\n{} guards.", all.len()).expect("a string");
    table
}

const HEAD: &str = "\
# What each guard keeps out

Made by `SEAWALL_MUTATIONS=record cargo test -p explore --test mutations`; a test makes it anew and compares.

Every guard of the machines below the line, taken away alone (with the one beside it, where two keep out the same),
and the first thing that breaks in an exploration of all small worlds, breadth first. *Steps* are those of a shortest
way to it (1 where single cases are judged), *states* those looked at until it was found. What stands in
`engine/explore` itself is a rule of the engine's one big machine, which can't be driven alone: the model says it once
more. One way in full: `cargo run -p explore -- --without NAME`.

There are no threads below the line, so there are no interleavings of threads to permute: what is permuted is the
order of events.

| guard | in | explored | breaks | steps | states | |
|---|---|---|---|---|---|---|
";
