//! Devices that fail and say so, and devices that lie: every operation once.

use super::harvest::{Failed, Harvest};
use super::judge::{Left, judge, least_after_failure};
use super::script::Script;
use super::spoil::{Ill, Spoil};
use super::stage::{SUBJECT, Wrong};
use super::sweeper::{Scope, guarded, parallel};

/// Break every disk operation of these scripts with a device that fails, is full or lies.
#[must_use]
pub fn spoils(scripts: &[Script], ills: &[Ill], scope: Scope) -> Harvest {
    let mut harvest = Harvest::default();
    for &script in scripts {
        let mut stage = script.stage(scope.plan(script));
        if let Err(wrong) = guarded(|| script.play(&mut stage)) {
            harvest.fail(Failed { case: format!("{}: without any fault", script.name()), wrong });
            continue;
        }
        let ops = stage.ops;
        harvest.begin(script.name(), ops);
        let part = parallel(ops * ills.len(), scope.threads, |number, part: &mut Harvest| {
            if number % scope.stride != 0 || part.failed.len() >= scope.failures {
                return;
            }
            let spoil = Spoil { at: number / ills.len(), ill: ills[number % ills.len()] };
            let mut spoilt = String::new();
            let result = guarded(|| {
                if spoil.ill.is_told() {
                    told(script, &scope, spoil, number, &mut spoilt)
                } else {
                    let outcome = untold(script, &scope, spoil, &mut spoilt)?;
                    part.outcome(script.name(), spoil.ill.name(), &outcome, &spoilt);
                    Ok(())
                }
            });
            if spoil.ill.is_told() {
                part.outcome(script.name(), spoil.ill.name(), "the acknowledged history", &spoilt);
            }
            if let Err(wrong) = result {
                let case = format!(
                    "{} case {number}: operation {} ({spoilt}): {}",
                    script.name(),
                    spoil.at,
                    spoil.ill.name()
                );
                part.fail(Failed { case, wrong });
            }
        });
        harvest.add(part);
    }
    harvest
}

/// The device says that it failed: nothing is acknowledged from then on, nothing more is written, and what had been
/// acknowledged is there after a restart.
fn told(
    script: Script,
    scope: &Scope,
    spoil: Spoil,
    number: usize,
    spoilt: &mut String,
) -> Result<(), Wrong> {
    let mut stage = script.stage(scope.plan(script));
    stage.spoil = Some(spoil);
    // However the script goes on without its subject.
    let _ = script.play(&mut stage);
    *spoilt = stage.spoilt.clone().unwrap_or_default();
    if let Some((told, spoken)) = stage.at_failure {
        if stage.nodes.len() == 1 && stage.history.told.acked != told.acked {
            return Err(Wrong::new("failure-is-final", "a write completed after the disk had failed"));
        }
        if stage.nodes[SUBJECT].failed && (stage.spoken != spoken || stage.writes_after_failure > 0) {
            let writes = stage.writes_after_failure;
            let detail =
                format!("{writes} writes after the failure; said {:?}, then {spoken:?}", stage.spoken);
            return Err(Wrong::new("failure-is-final", detail));
        }
        let status = stage.status(SUBJECT);
        if stage.nodes[SUBJECT].failed && status.is_some_and(|status| status.fault.is_none()) {
            return Err(Wrong::new("failure-is-told", "the replica shows no fault"));
        }
    } else if is_vital(spoilt) && stage.nodes[SUBJECT].refused.is_none() {
        return Err(Wrong::new("failure-is-told", "no notice"));
    }
    (0..stage.nodes.len()).for_each(|node| stage.kill(node));
    let cache_lost = spoil.ill == Ill::Error && spoilt.starts_with("flush");
    let left = Left {
        plan: scope.plan(script),
        least: least_after_failure(&stage, cache_lost),
        drives: stage.nodes.iter().map(|node| node.drive.clone()).collect(),
        boot: stage.nodes[SUBJECT].boot,
        history: stage.history.clone(),
        spoken: stage.spoken,
    };
    judge(left, number)
}

/// Whether a replica can't go on without this operation: all but the ones that answer others, or give space back.
fn is_vital(what: &str) -> bool {
    ["write", "append", "flush"].iter().any(|verb| what.starts_with(verb))
}

/// The device lies: what comes of it, in words.
fn untold(script: Script, scope: &Scope, spoil: Spoil, spoilt: &mut String) -> Result<String, Wrong> {
    let mut stage = script.stage(scope.plan(script));
    stage.spoil = Some(spoil);
    let played = script.play(&mut stage);
    *spoilt = stage.spoilt.clone().unwrap_or_default();
    let least = stage.history.told.acked;
    let seen = match stage.status(SUBJECT) {
        Some(_) => stage.serve().and_then(|node| stage.read_all(node)),
        None => Err(Wrong::new("it-goes-on", "it ended")),
    };
    let running = match (&played, &seen) {
        // It has ended well.
        (Ok(()), Err(_)) if stage.status(SUBJECT).is_none() => None,
        (Err(wrong), _) | (Ok(()), Err(wrong)) => Some(wrong.clone()),
        (Ok(()), Ok(seen)) => {
            stage.history.explain(seen, least).err().map(|why| Wrong::new("acknowledged-history", why))
        }
    };
    if let Some(wrong) = running {
        return Ok(format!("while it runs: {}", sort(&wrong)));
    }
    (0..stage.nodes.len()).for_each(|node| stage.kill(node));
    let left = Left {
        plan: scope.plan(script),
        drives: stage.nodes.iter().map(|node| node.drive.clone()).collect(),
        boot: stage.nodes[SUBJECT].boot,
        history: stage.history.clone(),
        least,
        spoken: stage.spoken,
    };
    Ok(match judge(left, 0) {
        Ok(()) => "no harm".into(),
        Err(wrong) => format!("after a restart: {}", sort(&wrong)),
    })
}

/// What kind of an end it is.
fn sort(wrong: &Wrong) -> &'static str {
    match (wrong.check, wrong.detail.as_str()) {
        ("it-opens", _) => "seen, it refuses to open",
        ("requests-end-well", detail) if detail.contains("Unreadable") => "seen, a read is refused",
        ("requests-end-well" | "it-goes-on" | "it-drains", _) => "seen, the replica faults",
        ("acked-never-past-log", _) => "NOT SEEN: its log is shorter",
        ("acknowledged-history", detail) if detail.contains("promised ones are gone") => {
            "NOT SEEN: its log is shorter"
        }
        ("promise-is-durable-first", _) => "NOT SEEN: a promise is gone",
        ("wrong-bytes" | "acknowledged-history" | "holes-are-zeroes", _) => "NOT SEEN: WRONG DATA",
        ("in-sync-means-equal", _) => "seen, digests differ",
        ("home-is-what-the-table-says", _) => "seen by who compares home with the table",
        ("assertion", _) => "an assertion",
        _ => "another check",
    }
}
