//! Many seeds: how they ended, which faults fired, which notices were seen.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Instant;

use crate::coverage::{SEEDS_MIN, Table, missing, rows};
use crate::effort::SHARE_MIN;
use crate::options::Options;
use crate::oracle::Failure;
use crate::run::run;
use crate::tally::Tally;

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

/// Run them on as many threads as asked for. `told` hears of every failure, by seed; all that is told and counted
/// is the same for any number of threads, if there is no time budget.
pub fn swarm(
    base: &Options,
    budget: Budget,
    threads: usize,
    mut told: impl FnMut(u64, &str, &Failure),
) -> Harvest {
    let started = Instant::now();
    let mut harvest = Harvest::default();
    let next = AtomicU64::new(budget.first);
    let enough = AtomicBool::new(false);
    let (reports, received) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let (reports, next, enough) = (reports.clone(), &next, &enough);
            scope.spawn(move || {
                while !enough.load(Ordering::Relaxed)
                    && budget.wall.is_none_or(|wall| started.elapsed() < wall)
                {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= budget.end
                        || reports.send((seed, run(&Options { seed, ..base.clone() }))).is_err()
                    {
                        return;
                    }
                }
            });
        }
        drop(reports);
        let mut early = BTreeMap::new();
        let mut due = budget.first;
        for (seed, report) in received {
            early.insert(seed, report);
            while let Some(report) = early.remove(&due) {
                if harvest.failures.len() < budget.failures_max {
                    harvest.seeds += 1;
                    harvest.tally.add(&report.tally);
                    if let Some(failure) = report.failure {
                        told(due, &report.profile, &failure);
                        harvest.failures.push((due, failure));
                    }
                }
                enough.fetch_or(harvest.failures.len() >= budget.failures_max, Ordering::Relaxed);
                due += 1;
            }
        }
    });
    harvest.seconds = started.elapsed().as_secs_f64();
    harvest
}

impl Harvest {
    /// What so many seeds must have shown, and have not.
    #[must_use]
    pub fn shortcoming(&self) -> Option<String> {
        if self.seeds < SEEDS_MIN {
            return None;
        }
        if self.tally.effort.percent() < SHARE_MIN {
            return Some(format!(
                "less than {SHARE_MIN} % of what could be written was written among faults"
            ));
        }
        let missing = missing(&self.tally);
        (!missing.is_empty()).then(|| format!("{} things that can be seen were never seen", missing.len()))
    }

    /// The final lines.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let tally = &self.tally;
        let line = |table: Table| {
            let seen: Vec<String> = rows(tally)
                .iter()
                .filter(|row| row.table == table && row.count > 0)
                .map(|row| format!("{} {}", row.name, row.count))
                .collect();
            format!("{}s: {}", table.name(), seen.join(", "))
        };
        let unseen: Vec<String> =
            missing(tally).iter().map(|row| format!("{} {}", row.table.name(), row.name)).collect();
        let simulated = tally.nanos / 1_000_000_000;
        let mut lines = vec![
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
            format!(
                "{} ended where an operator must decide, {} compared by digest, {} nodes reopened by their clean mark, \
                 {} forked under commit rule one",
                tally.needs_operator, tally.compared, tally.clean_restarts, tally.forked
            ),
            format!(
                "{} copies replaced for damage, {} disks whole again, {} spared damage that nobody could see",
                tally.replaced, tally.whole_again, tally.spared
            ),
        ];
        lines.push(format!(
            "{} of {} writes that the same clients would complete without faults ({} %); {} runs wrote next to nothing",
            tally.effort.written,
            tally.effort.expected,
            tally.effort.percent(),
            tally.effort.poor
        ));
        lines.extend(Table::ALL.map(line));
        lines.push(format!(
            "never seen: {}",
            if unseen.is_empty() { "nothing".to_owned() } else { unseen.join(", ") }
        ));
        lines
    }
}
