//! What must be so when a replica is opened over what a crash left: and again after it has gone on and crashed anew.

use std::collections::BTreeMap;

use seawall_engine::io::{Answered, Command};
use seawall_engine::setup::Ack;
use seawall_engine::status::Role;
use seawall_wal::names::Extent;

use super::drive::{Drive, Write};
use super::history::{History, Stamps, Wish};
use super::medium::Loss;
use super::plan::Plan;
use super::shot::Spoken;
use super::stage::{SUBJECT, Stage, Wrong};
use crate::device::SECTOR;

/// What a crash left, and what is owed.
#[derive(Clone, Debug)]
pub(super) struct Left {
    pub(super) plan: Plan,
    pub(super) drives: Vec<Drive>,
    /// Names the machine's boot from now on.
    pub(super) boot: u8,
    pub(super) history: History,
    /// Changes that must be there.
    pub(super) least: u128,
    pub(super) spoken: Spoken,
}

/// Open what is left, judge it, go on, crash again in the way that `turn` says, and judge that.
pub(super) fn judge(left: Left, turn: usize) -> Result<(), Wrong> {
    let Left { plan, drives, boot, history, least, spoken } = left;
    let mut stage = Stage::new(plan, drives, boot, history);
    open(&mut stage, &spoken)?;
    let found = look(&mut stage, least)?;
    go_on(&mut stage, &found, turn)
}

/// The subject opens, and bears out what it said.
fn open(stage: &mut Stage, spoken: &Spoken) -> Result<(), Wrong> {
    stage.start(SUBJECT);
    stage.reach("the opening of a disk", |stage| {
        let status = stage.status(SUBJECT);
        status.is_some_and(|status| status.role != Role::Opening)
    })?;
    if let Some(why) = &stage.nodes[SUBJECT].refused {
        return Err(Wrong::new("it-opens", why.clone()));
    }
    let status = stage.status(SUBJECT).expect("it runs");
    if status.promised < spoken.promised {
        let detail = format!("it said {}, its disk says {}", spoken.promised, status.promised);
        return Err(Wrong::new("promise-is-durable-first", detail));
    }
    if status.log_end < spoken.durable {
        let detail = format!("it said {} was durable, its log ends at {}", spoken.durable, status.log_end);
        return Err(Wrong::new("acked-never-past-log", detail));
    }
    if spoken.rebuilding && status.base_complete || spoken.proven && !status.base_complete {
        let detail = format!("base complete: {}, against {spoken:?}", status.base_complete);
        return Err(Wrong::new("base-state-is-durable-first", detail));
    }
    let rows = &status.lineage;
    let sorted = rows.windows(2).all(|pair| pair[0].first < pair[1].first && pair[0].epoch < pair[1].epoch);
    if !sorted || rows.iter().any(|row| row.first >= status.log_end) {
        let detail = format!("{rows:?} of a log that ends at {}", status.log_end);
        return Err(Wrong::new("lineage-is-of-the-log", detail));
    }
    (0..stage.nodes.len()).filter(|node| *node != SUBJECT).for_each(|node| stage.start(node));
    Ok(())
}

/// What the volume holds is a beginning of its history with all that is owed.
fn look(stage: &mut Stage, least: u128) -> Result<Vec<usize>, Wrong> {
    let node = stage.serve()?;
    if stage.nodes.len() > 1 {
        stage.reach("all in sync", Stage::is_in_sync)?;
    }
    let seen = stage.read_all(node)?;
    explain(stage, &seen, least)
}

fn explain(stage: &Stage, seen: &BTreeMap<u64, Stamps>, least: u128) -> Result<Vec<usize>, Wrong> {
    stage.history.explain(seen, least).map_err(|why| Wrong::new("acknowledged-history", why))
}

/// Write, crash again, look again, end well, look at home.
fn go_on(stage: &mut Stage, found: &[usize], turn: usize) -> Result<(), Wrong> {
    stage.history = stage.history.after(found);
    let node = stage.serve()?;
    let wish = |start, blocks| Wish::Write { extent: Extent::new(start, blocks), fua: false };
    let ids = [wish(0, 1), wish(1, 2), wish(1015, 2)].map(|wish| stage.ask(node, wish));
    let stop = stage.ops + turn % 7;
    stage.until(|stage| stage.ops >= stop || ids.iter().all(|id| stage.has_ended(*id)));
    let torn = stage.writes_in_flight();
    stage.kill(SUBJECT);
    let least = crash_again(stage, &torn, turn);
    stage.start(SUBJECT);
    let found = look(stage, least)?;
    stage.history = stage.history.after(&found);
    end(stage, turn)
}

fn crash_again(stage: &mut Stage, in_flight: &[Write], turn: usize) -> u128 {
    let told = stage.history.told;
    let alone = stage.nodes.len() == 1;
    let subject = &mut stage.nodes[SUBJECT];
    let power = match turn / 7 % 4 {
        0 => None,
        1 => Some(Loss::Everything),
        2 => {
            for write in in_flight {
                let half = write.bytes.len() / SECTOR / 2;
                subject.drive.write_torn(write, |sector| if sector < half { SECTOR } else { 0 });
            }
            Some(Loss::Nothing)
        }
        _ => Some(Loss::Scattered(turn as u64)),
    };
    let Some(loss) = power else { return told.acked };
    subject.drive.lose(loss);
    subject.boot += 1;
    if alone { told.firm } else { told.acked }
}

/// All copies are equal, everything goes home, and home is what the table says.
fn end(stage: &mut Stage, turn: usize) -> Result<(), Wrong> {
    if stage.nodes.len() > 1 {
        let node = stage.serve()?;
        let digests = match stage.command(node, Command::Digest)? {
            Ok(Answered::Digest { digests, .. }) => digests,
            other => return Err(Wrong::new("in-sync-means-equal", format!("no digests: {other:?}"))),
        };
        let equal = digests.windows(2).all(|pair| pair[0].1 == pair[1].1);
        if !equal || digests.len() != stage.nodes.len() {
            return Err(Wrong::new("in-sync-means-equal", format!("{digests:x?}")));
        }
    }
    match stage.command(SUBJECT, Command::Drain)? {
        Ok(Answered::Drained) => {}
        other => return Err(Wrong::new("it-drains", format!("{other:?}"))),
    }
    stage.kill(SUBJECT);
    let check = stage.nodes[SUBJECT].drive.check_home();
    check.map_err(|why| Wrong::new("home-is-what-the-table-says", why))?;
    if stage.nodes.len() > 1 || !turn.is_multiple_of(3) {
        return Ok(());
    }
    // What ended well is whole, whatever happens to the machine.
    let subject = &mut stage.nodes[SUBJECT];
    subject.drive.lose(Loss::Everything);
    subject.boot += 1;
    stage.start(SUBJECT);
    let least = stage.history.told.issued;
    look(stage, least)?;
    match stage.status(SUBJECT).map(|status| status.restart_rule) {
        Some("clean-shutdown") => Ok(()),
        rule => Err(Wrong::new("it-ended-well", format!("{rule:?}"))),
    }
}

/// What is owed after a device did an operation ill and said so, and the process was killed.
pub(super) fn least_after_failure(stage: &Stage, cache_lost: bool) -> u128 {
    let told = stage.history.told;
    let kept = stage.nodes.len() > 1 || stage.plan.ack == Ack::Durable || !cache_lost;
    if kept { told.acked } else { told.firm }
}
