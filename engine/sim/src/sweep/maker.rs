//! What is written to a replica's devices without the replica: by who formats them, and by who throws a copy away.
//! The order of writes and flushes is that of the formatter and the wiper that ship.

use seawall_engine::format::{both_slots, newborn, wiped};
use seawall_engine::io::Area;
use seawall_engine::status::Role;
use seawall_wal::names::Lsn;
use seawall_wal::superblock::Superblock;

use super::crash::crashes;
use super::drive::{Drive, Write};
use super::harvest::{Failed, Harvest};
use super::history::History;
use super::plan::Plan;
use super::script::Script;
use super::shot::{Shot, Spoken};
use super::stage::{SUBJECT, Stage, Wrong};
use super::sweeper::{Scope, guarded, parallel};

/// Bytes of one write of zeroes.
const STEP_BYTES: u64 = 1 << 20;

/// One step of a maker.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// A write that is not yet durable.
    Write(Write),
    /// A flush of everything.
    Flush,
}

fn zeroes(drive: &Drive, area: Area, steps: &mut Vec<Step>) {
    let end = drive.area_bytes(area);
    let mut offset = 0;
    while offset < end {
        let len = usize::try_from(STEP_BYTES.min(end - offset)).expect("at most 1 MiB");
        steps.push(Step::Write(Write { area, offset, bytes: vec![0; len], durable: false }));
        offset += len as u64;
    }
}

/// The steps of a format that ends with this superblock: nothing is left of what was there before anything new is.
pub(super) fn format_steps(drive: &Drive, superblock: &Superblock) -> Vec<Step> {
    let mut steps = Vec::new();
    zeroes(drive, Area::Super, &mut steps);
    steps.push(Step::Flush);
    zeroes(drive, Area::Table, &mut steps);
    zeroes(drive, Area::Log, &mut steps);
    steps.push(Step::Flush);
    for (area, offset, bytes) in both_slots(superblock) {
        steps.push(Step::Write(Write { area, offset, bytes, durable: false }));
    }
    steps.push(Step::Flush);
    steps
}

/// The steps of a wipe: first the word, in both slots, then the deed.
pub(super) fn wipe_steps(drive: &Drive) -> Vec<Step> {
    let superblock = drive.superblock().expect("a replica");
    let mut steps = Vec::new();
    for (area, offset, bytes) in both_slots(&wiped(&superblock)) {
        steps.push(Step::Write(Write { area, offset, bytes, durable: false }));
        steps.push(Step::Flush);
    }
    zeroes(drive, Area::Log, &mut steps);
    steps.push(Step::Flush);
    zeroes(drive, Area::Table, &mut steps);
    steps.push(Step::Flush);
    steps
}

/// Carry a step out.
pub(super) fn take(drive: &mut Drive, step: &Step) {
    match step {
        Step::Write(write) => drive.write(write),
        Step::Flush => drive.flush_all(),
    }
}

/// Throw a copy away.
pub(super) fn wipe(drive: &mut Drive) {
    for step in wipe_steps(drive) {
        take(drive, &step);
    }
}

/// Break off whoever formats a replica's devices, or throws its copy away, at every write.
#[must_use]
pub fn makers(scope: Scope) -> Harvest {
    let mut harvest = Harvest::default();
    let script = Script::Checkpoint;
    let plan = scope.plan(script);
    let mut stage = script.stage(plan);
    if let Err(wrong) = script.play(&mut stage) {
        harvest.fail(Failed { case: "a replica to be made anew".into(), wrong });
        return harvest;
    }
    let used = stage.nodes[SUBJECT].drive.clone();
    let history = stage.history.clone();
    let newborn = newborn(&plan.setup(SUBJECT, 1), plan.geometry);
    let blank = Drive::new(plan.geometry);
    let all = [
        ("format, empty devices", blank.clone(), format_steps(&blank, &newborn)),
        ("format, over an old replica", used.clone(), format_steps(&used, &newborn)),
        ("wipe", used.clone(), wipe_steps(&used)),
    ];
    for (name, mut drive, steps) in all {
        harvest.begin(name, steps.len());
        let cases = Vec::from_iter(steps.iter().enumerate().flat_map(|(index, step)| {
            let shot = Shot {
                index,
                what: String::new(),
                write: match step {
                    Step::Write(write) => Some(write.clone()),
                    Step::Flush => None,
                },
                flush: match step {
                    Step::Write(_) => None,
                    Step::Flush => Some((Area::Home, u64::MAX)),
                },
                others: Vec::new(),
                drives: vec![drive.clone()],
                boot: 1,
                history: history.clone(),
                spoken: Spoken::default(),
            };
            take(&mut drive, step);
            let all = crashes(&shot, &shot.drives[0], scope.sectors.min(16));
            all.into_iter().map(|crash| (shot.clone(), crash)).collect::<Vec<_>>()
        }));
        let part = parallel(cases.len(), scope.threads, |at, part: &mut Harvest| {
            if at % scope.stride != 0 || part.failed.len() >= scope.failures {
                return;
            }
            let (shot, crash) = &cases[at];
            part.crash(name, *crash);
            let left = crash.strike(shot, &shot.drives[0]);
            let made = guarded(|| remade(plan, left, &history, name == "wipe"));
            if let Err(wrong) = made {
                part.fail(Failed {
                    case: format!("{name} case {at}: step {}: {crash:?}", shot.index),
                    wrong,
                });
            }
        });
        harvest.add(part);
    }
    harvest
}

/// A making that was broken off leaves the old replica whole, the new one whole, or nothing that opens; and a replica
/// that opens is never half of both.
fn remade(plan: Plan, drive: Drive, history: &History, keeps_promise: bool) -> Result<(), Wrong> {
    let mut stage = Stage::new(plan, vec![drive], 9, history.clone());
    stage.start(SUBJECT);
    stage.reach("the opening of a disk", |stage| {
        stage.status(SUBJECT).is_some_and(|status| status.role != Role::Opening)
    })?;
    let status = stage.status(SUBJECT).expect("it runs");
    if let Some(why) = &stage.nodes[SUBJECT].refused {
        if !keeps_promise {
            return Ok(());
        }
        // A page of the table was torn: the refusal says what to do, and doing it once more must do.
        let mut again = stage.nodes[SUBJECT].drive.clone();
        wipe(&mut again);
        let mut stage = Stage::new(plan, vec![again], 9, history.clone());
        stage.start(SUBJECT);
        stage.reach("the opening of a disk that was wiped again", |stage| {
            stage.status(SUBJECT).is_some_and(|status| status.role != Role::Opening)
        })?;
        let status = stage.status(SUBJECT).expect("it runs");
        let good = why.contains("wipe it") && stage.nodes[SUBJECT].refused.is_none();
        return if good && status.promised.counter > 0 {
            Ok(())
        } else {
            Err(Wrong::new("it-opens", why.clone()))
        };
    }
    if keeps_promise && status.promised.counter == 0 {
        return Err(Wrong::new("promise-is-durable-first", "a wipe forgot the promise"));
    }
    if !status.base_complete {
        // Blank: it serves nothing until it is rebuilt.
        return Ok(());
    }
    stage.serve()?;
    let seen = stage.read_all(SUBJECT)?;
    let everything = history.told.acked;
    let fresh = !keeps_promise && status.log_end == Lsn::ZERO;
    let owed = if fresh { 0 } else { everything };
    let found = stage.history.explain(&seen, owed).map_err(|why| Wrong::new("acknowledged-history", why))?;
    if fresh && !found.is_empty() {
        return Err(Wrong::new("acknowledged-history", "a new replica holds what an old one held"));
    }
    Ok(())
}
