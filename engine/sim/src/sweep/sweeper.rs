//! Goes through all cases, on several threads.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use seawall_engine::bait::Bait;

use super::crash::{Crash, crashes};
use super::harvest::{Failed, Harvest};
use super::judge::{Left, judge};
use super::plan::Plan;
use super::script::Script;
use super::shot::Shot;
use super::spoil::Sabotage;
use super::stage::{SUBJECT, Wrong};

/// How much is swept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scope {
    /// Sectors of one operation, and unflushed ones, that are looked at one by one, at the most.
    pub sectors: usize,
    /// Of the cases only every so many-th.
    pub stride: usize,
    /// Cases at the same time.
    pub threads: usize,
    /// Sectors of mutations that move much data, where one by one would take too long.
    pub sectors_bulk: usize,
    /// A planted bug of the engine.
    pub bait: Option<Bait>,
    /// A planted bug of the driver.
    pub sabotage: Option<Sabotage>,
    /// End after so many failures.
    pub failures: usize,
}

impl Scope {
    /// Everything.
    pub const ALL: Scope = Scope {
        sectors: 48,
        sectors_bulk: 6,
        stride: 1,
        threads: 2,
        bait: None,
        sabotage: None,
        failures: 10,
    };

    fn sectors(&self, script: Script) -> usize {
        if script.is_bulky() { self.sectors.min(self.sectors_bulk) } else { self.sectors }
    }

    pub(super) fn plan(&self, script: Script) -> Plan {
        Plan { bait: self.bait, sabotage: self.sabotage, ..script.plan() }
    }
}

/// Crash at every disk operation of these scripts.
#[must_use]
pub fn sweep(scripts: &[Script], scope: Scope) -> Harvest {
    let mut harvest = Harvest::default();
    for &script in scripts {
        let shots = match photograph(script, scope.plan(script)) {
            Ok(shots) => shots,
            Err(wrong) => {
                harvest.fail(Failed { case: format!("{}: without any fault", script.name()), wrong });
                continue;
            }
        };
        harvest.begin(script.name(), shots.len());
        let mut numbers = 0;
        let firsts: Vec<usize> = shots
            .iter()
            .map(|shot| {
                let first = numbers;
                numbers += crashes(shot, &shot.drives[SUBJECT], scope.sectors(script)).len();
                first
            })
            .collect();
        let part = parallel(shots.len(), scope.threads, |at, part: &mut Harvest| {
            let shot = &shots[at];
            let subject = &shot.drives[SUBJECT];
            for (index, crash) in crashes(shot, subject, scope.sectors(script)).into_iter().enumerate() {
                let number = firsts[at] + index;
                if !number.is_multiple_of(scope.stride) {
                    continue;
                }
                if part.failed.len() >= scope.failures {
                    return;
                }
                part.crash(script.name(), crash);
                if let Err(wrong) = guarded(|| strike(script, &scope, shot, crash, number)) {
                    part.fail(Failed { case: name(script, shot, crash, number), wrong });
                }
            }
        });
        harvest.add(part);
    }
    harvest
}

fn name(script: Script, shot: &Shot, crash: Crash, number: usize) -> String {
    let Crash { leaves, others, end } = crash;
    let beside = if others { ", with what was in flight beside it" } else { "" };
    format!(
        "{} case {number}: at operation {} ({}): {leaves:?}{beside}, {end:?}",
        script.name(),
        shot.index,
        shot.what
    )
}

/// Plant one bug after the other; the name of each, and the case that found it, if one did.
#[must_use]
pub fn planted(scope: Scope) -> Vec<(String, Option<String>)> {
    let driver = |sabotage: Sabotage| Scope { sabotage: Some(sabotage), failures: 1, ..scope };
    let engine = |bait: Bait| Scope { bait: Some(bait), failures: 1, ..scope };
    let all = [
        (Sabotage::FlushSkipped.name(), Script::Checkpoint, driver(Sabotage::FlushSkipped)),
        (Sabotage::OneSlot.name(), Script::Promise, driver(Sabotage::OneSlot)),
        (Sabotage::PageInPlace.name(), Script::Checkpoint, driver(Sabotage::PageInPlace)),
        (Sabotage::AppendNotDurable.name(), Script::AppendDurable, driver(Sabotage::AppendNotDurable)),
        (Bait::PromiseNotDurable.name(), Script::Promise, engine(Bait::PromiseNotDurable)),
        (Bait::AckBeforeDisk.name(), Script::Follow, engine(Bait::AckBeforeDisk)),
    ];
    let caught = all.map(|(name, script, scope)| {
        let failed = sweep(&[script], scope).failed.into_iter().next();
        (name.to_owned(), failed.map(|failed| format!("{}: {}", failed.case, failed.wrong)))
    });
    caught.into()
}

fn photograph(script: Script, plan: Plan) -> Result<Vec<Shot>, Wrong> {
    let mut stage = script.stage(plan);
    stage.shots = Some(Vec::new());
    guarded(|| script.play(&mut stage))?;
    Ok(stage.shots.unwrap_or_default())
}

fn strike(script: Script, scope: &Scope, shot: &Shot, crash: Crash, number: usize) -> Result<(), Wrong> {
    let mut drives = shot.drives.clone();
    drives[SUBJECT] = crash.strike(shot, &shot.drives[SUBJECT]);
    let told = shot.history.told;
    let alone = drives.len() == 1;
    let left = Left {
        plan: scope.plan(script),
        drives,
        boot: shot.boot + u8::from(crash.is_power()),
        history: shot.history.clone(),
        least: if alone && crash.is_power() { told.firm } else { told.acked },
        spoken: shot.spoken,
    };
    judge(left, number)
}

/// What several threads count can be joined.
pub(super) trait Join: Default + Send {
    /// Take in what another one has counted.
    fn join(&mut self, other: Self);
}

impl Join for Harvest {
    fn join(&mut self, other: Harvest) {
        self.add(other);
    }
}

impl Join for BTreeMap<&'static str, usize> {
    fn join(&mut self, other: Self) {
        for (key, cases) in other {
            *self.entry(key).or_default() += cases;
        }
    }
}

/// Work over `0..count` on some threads, each of which counts for itself.
pub(super) fn parallel<T: Join>(count: usize, threads: usize, work: impl Fn(usize, &mut T) + Sync) -> T {
    let next = AtomicUsize::new(0);
    let all = Mutex::new(T::default());
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                let mut part = T::default();
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= count {
                        break;
                    }
                    work(at, &mut part);
                }
                all.lock().expect("nobody panics here").join(part);
            });
        }
    });
    all.into_inner().expect("nobody panics here")
}

/// An assertion of the machine is a finding like any other.
pub(super) fn guarded(work: impl FnOnce() -> Result<(), Wrong>) -> Result<(), Wrong> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(Wrong::new("assertion", text.unwrap_or_default()))
    })
}
