//! A failing script made short: fewer deeds, fewer knobs, fewer requests, a shorter life, as long as the same check
//! fails.

use std::sync::Arc;

use crate::clock::MILLIS;
use crate::deed::Deed;
use crate::options::Options;
use crate::oracle::Failure;
use crate::profile::Profile;
use crate::run::{Report, run};
use crate::scenario::Script;
use crate::word::{Span, Word};

/// No more runs than this.
const RUNS_MAX: u32 = 400;

/// A failing script that is shorter than it was.
#[derive(Clone, Debug)]
pub struct Short {
    /// The script.
    pub script: Script,
    /// By what it fails.
    pub failure: Failure,
    /// Deeds that its run carries out.
    pub deeds: usize,
    /// Writes that complete in it.
    pub written: u64,
    /// The account of its run.
    pub timeline: Vec<String>,
    /// How many runs that took.
    pub runs: u32,
}

struct Shrinker {
    check: &'static str,
    best: Script,
    report: Report,
    runs: u32,
}

/// Make a script that fails by `check` short. Nothing if it does not fail so.
#[must_use]
pub fn shrink(script: &Script, check: &'static str) -> Option<Short> {
    let mut script = script.clone();
    // Little happens in a short run.
    script.profile.writes_min = 0;
    let report = attempt(&script, false);
    report.failure.as_ref().filter(|failure| failure.check == check)?;
    let mut shrinker = Shrinker { check, best: script, report, runs: 1 };
    loop {
        let before = (shrinker.runs, shrinker.size());
        shrinker.drop_deeds();
        shrinker.lower_load();
        shrinker.calm_knobs();
        shrinker.end_sooner();
        if shrinker.size() == before.1 || shrinker.runs >= RUNS_MAX {
            break;
        }
    }
    shrinker.drop_deeds();
    let last = attempt(&shrinker.best, true);
    let failure = last.failure?;
    let mut script = shrinker.best;
    script.title = format!("{}, made short", script.title.trim_end_matches(", made short"));
    script.expect_failure(failure.check);
    Some(Short {
        script,
        failure,
        deeds: last.deeds.len(),
        written: last.tally.written,
        timeline: last.timeline,
        runs: shrinker.runs,
    })
}

fn attempt(script: &Script, timeline: bool) -> Report {
    let options = Options {
        bait: script.plant,
        timeline,
        script: Some(Arc::new(script.clone())),
        ..Options::seed(script.seeds.start)
    };
    run(&options)
}

impl Shrinker {
    fn size(&self) -> (usize, usize, u64) {
        (self.report.deeds.len(), self.best.profile.turned().len(), self.report.tally.steps)
    }

    /// Whether it still fails by the same check; then it is the best so far.
    fn try_script(&mut self, script: Script) -> bool {
        if self.runs >= RUNS_MAX {
            return false;
        }
        self.runs += 1;
        let report = attempt(&script, false);
        let same = report.failure.as_ref().is_some_and(|failure| failure.check == self.check);
        if same {
            self.best = script;
            self.report = report;
        }
        same
    }

    fn try_deeds(&mut self, deeds: &[Deed]) -> bool {
        let mut script = self.best.clone();
        script.set_deeds(deeds);
        self.try_script(script)
    }

    fn try_knob(&mut self, name: &str, value: &str) -> bool {
        let mut script = self.best.clone();
        script.profile.turn(name, value).is_ok() && self.try_script(script)
    }

    /// Chunks first, then one by one. A script with conditions has no list of deeds: what it did at its times is
    /// tried in its place.
    fn drop_deeds(&mut self) {
        let mut deeds = self.report.deeds.clone();
        if !self.best.is_plain() && !self.try_deeds(&deeds) {
            return;
        }
        let mut chunk = deeds.len().div_ceil(2);
        while chunk > 0 {
            let mut at = 0;
            while at < deeds.len() {
                let mut fewer = deeds.clone();
                fewer.drain(at..(at + chunk).min(deeds.len()));
                if self.try_deeds(&fewer) {
                    // Some of those that are left may do nothing now.
                    deeds.clone_from(&self.report.deeds);
                } else {
                    at += chunk;
                }
            }
            chunk = if chunk == 1 { 0 } else { chunk.div_ceil(2) };
        }
    }

    /// As few requests as it takes: how many there are, and how many at once.
    fn lower_load(&mut self) {
        for outstanding in ["1", "2", "4"] {
            let now = self.best.profile.load.outstanding;
            if outstanding.parse().is_ok_and(|fewer: usize| fewer < now) && self.try_knob("load", outstanding)
            {
                break;
            }
        }
        let asked = self.report.tally.written + self.report.tally.reads + self.report.tally.refused;
        let (mut low, mut high) = (0, asked.min(self.best.profile.load.requests_max));
        while low + 1 < high {
            let middle = low.midpoint(high);
            if self.try_knob("requests", &middle.to_string()) {
                high = middle;
            } else {
                low = middle;
            }
        }
    }

    /// Every knob as it is in a calm world, where it does not matter.
    fn calm_knobs(&mut self) {
        let calm = Profile::calm().knobs();
        for (name, value) in self.best.profile.turned() {
            let kept = ["chaos", "load", "requests", "load-until"].contains(&name);
            let calm = calm.iter().find(|(knob, _)| *knob == name);
            if let Some((_, calm)) = calm.filter(|(_, calm)| !kept && *calm != value) {
                self.try_knob(name, calm);
            }
        }
    }

    /// The world heals soon after the last deed.
    fn end_sooner(&mut self) {
        let last = self.report.deeds.last().map_or(0, |deed| deed.at.0);
        for after in [1, 100, 500, 1000] {
            let heals = last + after * MILLIS;
            if heals < self.best.profile.chaos && self.try_knob("chaos", &Span(heals).shown()) {
                break;
            }
        }
    }
}
