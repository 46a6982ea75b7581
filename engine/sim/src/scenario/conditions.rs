//! How conditions are read, and what is said of requests.

use seawall_engine::notice::Notice;

use super::reading::Read;
use super::words::Words;
use super::{Condition, Event, Outcome};
use crate::scenario::DiskVerb;

/// Roles, whether a node runs, and states of the session that feeds it.
const STATES: [&str; 25] = [
    "opening",
    "follower",
    "candidate",
    "starting",
    "primary",
    "faulted",
    "drained",
    "removed",
    "up",
    "paused",
    "down",
    "lossy",
    "whole",
    "rebuilding",
    "idle",
    "parked",
    "connecting",
    "welcoming",
    "greeting",
    "beginning",
    "catching-up",
    "copying",
    "closing",
    "comparing",
    "in-sync",
];

/// Numbers that a node shows of itself.
const NUMBERS: [&str; 8] =
    ["committed", "durable", "settled", "checkpoint", "log-start", "log-end", "base-held", "boots"];

pub(super) fn whole_condition(text: &str) -> Read<Condition> {
    let mut words = Words::new(text);
    let condition = condition(&mut words)?;
    words.end()?;
    Ok(condition)
}

fn condition(words: &mut Words<'_>) -> Read<Condition> {
    if words.take("not") {
        return Ok(Condition::Not(Box::new(condition(words)?)));
    }
    if words.take("all in sync") {
        return Ok(Condition::AllInSync);
    }
    for (who, serves) in [("somebody serves", true), ("nobody serves", false)] {
        if words.take(who) {
            return Ok(Condition::Serves(serves));
        }
    }
    if words.take("notice") {
        return seen(words);
    }
    let first = words.next();
    if let Ok(number) = first.parse() {
        return if words.take("writes completed") {
            Ok(Condition::Writes(number))
        } else {
            Err(format!("{number} what? There is: N writes completed"))
        };
    }
    match crate::word::Word::read(first) {
        Some(node) => node_condition(node, words),
        None => Ok(Condition::Outcome(first.to_owned(), outcome(words)?)),
    }
}

fn node_condition(node: usize, words: &mut Words<'_>) -> Read<Condition> {
    if words.take("has promised") {
        let event = Event::Notice { kind: "promised".to_owned(), node: Some(node), saying: None };
        return Ok(Condition::Seen(event, 1));
    }
    let verb = words.next();
    let event = match verb {
        "is" => {
            let state = words.next();
            return match STATES.contains(&state) {
                true => Ok(Condition::Is(node, state.to_owned())),
                false => {
                    Err(format!("{state:?} is nothing that a node is; there are: {}", STATES.join(", ")))
                }
            };
        }
        "sends" => {
            let kind = words.word()?;
            let to = words.after("to", usize::MAX)?;
            Event::Sends { node, kind, to: (to != usize::MAX).then_some(to) }
        }
        "hears" => {
            let kind = words.word()?;
            let from = words.after("from", usize::MAX)?;
            Event::Hears { node, kind, from: (from != usize::MAX).then_some(from) }
        }
        "reads" => Event::Disk { node, does: DiskVerb::Read, area: words.word()?, ended: false },
        "writes" => Event::Disk { node, does: DiskVerb::Write, area: words.word()?, ended: false },
        "flushes" => Event::Disk { node, does: DiskVerb::Flush, area: words.word()?, ended: false },
        "wrote" => Event::Disk { node, does: DiskVerb::Write, area: words.word()?, ended: true },
        "flushed" => Event::Disk { node, does: DiskVerb::Flush, area: words.word()?, ended: true },
        number if NUMBERS.contains(&number) => {
            let least = match words.next() {
                ">=" => true,
                "<=" => false,
                other => return Err(format!("{other:?}: >= or <=")),
            };
            return Ok(Condition::Number(node, number.to_owned(), least, words.word()?));
        }
        other => {
            return Err(format!(
                "{other:?}: a node is, has promised, sends, hears, reads, writes, flushes, wrote, flushed, or shows one of: {}",
                NUMBERS.join(", ")
            ));
        }
    };
    Ok(Condition::Seen(event, times(words)?.unwrap_or(1)))
}

/// `notice KIND [at NODE] [N times] [saying WORDS]`
fn seen(words: &mut Words<'_>) -> Read<Condition> {
    let (event, times) = notice(words)?;
    Ok(Condition::Seen(event, times.unwrap_or(1)))
}

pub(super) fn notice(words: &mut Words<'_>) -> Read<(Event, Option<u64>)> {
    let kind = words.next();
    if !Notice::KINDS.contains(&kind) {
        return Err(format!("{kind:?} is no notice; there are: {}", Notice::KINDS.join(", ")));
    }
    let node = words.after("at", usize::MAX)?;
    let times = times(words)?;
    let saying = words.take("saying").then(|| words.all().to_owned());
    let node = (node != usize::MAX).then_some(node);
    Ok((Event::Notice { kind: kind.to_owned(), node, saying }, times))
}

fn times(words: &mut Words<'_>) -> Read<Option<u64>> {
    if words.take("twice") {
        return Ok(Some(2));
    }
    if words.take("once") {
        return Ok(Some(1));
    }
    for number in 0..=1000 {
        if words.take(&format!("{number} times")) {
            return Ok(Some(number));
        }
    }
    Ok(None)
}

/// What follows a request's name.
pub(super) fn outcome(words: &mut Words<'_>) -> Read<Option<Outcome>> {
    for (text, outcome) in [
        ("completed", Some(Outcome::Completed)),
        ("in doubt", Some(Outcome::InDoubt)),
        ("waits", Some(Outcome::Waits)),
        ("ended", None),
    ] {
        if words.take(text) {
            return Ok(outcome);
        }
    }
    match words.next() {
        "refused" => Ok(Some(Outcome::Refused(words.next().to_owned()))),
        other => Err(format!("{other:?}: a request is completed, refused WHY, in doubt, waits or ended")),
    }
}
