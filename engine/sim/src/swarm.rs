//! Many seeds: how they ended, which faults fired, which notices were seen.

use std::time::Instant;

use seawall_engine::notice::Notice;

use crate::options::Options;
use crate::oracle::Failure;
use crate::run::run;
use crate::tally::{Fault, Tally};

/// When to stop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Budget {
    /// The first seed.
    pub first: u64,
    /// One past the last seed.
    pub end: u64,
    /// No seed begins after so much wall time.
    pub wall: Option<std::time::Duration>,
    /// No seed begins after so many failures.
    pub failures_max: usize,
}

/// What many seeds showed.
#[derive(Clone, Debug, Default)]
pub struct Harvest {
    /// Seeds that ran.
    pub seeds: u64,
    /// All counts.
    pub tally: Tally,
    /// Those that failed.
    pub failures: Vec<(u64, Failure)>,
    /// Wall time in seconds.
    pub seconds: f64,
}

/// Run them. `told` hears of every failure at once.
pub fn swarm(base: &Options, budget: Budget, mut told: impl FnMut(u64, &str, &Failure)) -> Harvest {
    let started = Instant::now();
    let mut harvest = Harvest::default();
    for seed in budget.first..budget.end {
        let spent = budget.wall.is_some_and(|wall| started.elapsed() >= wall);
        if spent || harvest.failures.len() >= budget.failures_max {
            break;
        }
        let report = run(&Options { seed, ..base.clone() });
        harvest.seeds += 1;
        harvest.tally.add(&report.tally);
        if let Some(failure) = report.failure {
            told(seed, &report.profile, &failure);
            harvest.failures.push((seed, failure));
        }
    }
    harvest.seconds = started.elapsed().as_secs_f64();
    harvest
}

impl Harvest {
    /// The final lines.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let tally = &self.tally;
        let faults: Vec<String> = Fault::ALL
            .iter()
            .map(|fault| format!("{} {}", fault.name(), tally.faults.get(fault).copied().unwrap_or(0)))
            .collect();
        let seen = Notice::KINDS.iter().filter(|kind| tally.notices.contains_key(*kind));
        let unseen: Vec<&str> =
            Notice::KINDS.iter().copied().filter(|kind| !tally.notices.contains_key(kind)).collect();
        let notices: Vec<String> = seen.map(|kind| format!("{kind} {}", tally.notices[kind])).collect();
        let simulated = tally.nanos / 1_000_000_000;
        vec![
            format!(
                "{} seeds, {} failed; {} steps, {simulated} s simulated in {:.1} s; {} writes, {} reads, {} refused",
                self.seeds,
                self.failures.len(),
                tally.steps,
                self.seconds,
                tally.written,
                tally.reads,
                tally.refused
            ),
            format!("faults: {}", faults.join(", ")),
            format!("notices: {}", notices.join(", ")),
            format!(
                "notices never seen: {}",
                if unseen.is_empty() { "none".to_owned() } else { unseen.join(", ") }
            ),
        ]
    }
}
