//! How a scenario is read: line by line, and what is wrong is said with its line.

use seawall_engine::bait::Bait;
use seawall_wal::names::Extent;

use super::words::Words;
use super::{Condition, Do, Event, Expect, Question, Script, Step, What, When};
use crate::clock::SECOND;
use crate::deed::Act;
use crate::device::Loss;
use crate::oracle::ledger::has_parts;
use crate::profile::Profile;
use crate::scenario::conditions::{notice, outcome, whole_condition};
use crate::word::Span;

/// What is not met within so long is not met, if the step does not say otherwise. In nanoseconds.
const PATIENCE: u64 = 30 * SECOND;

pub(super) type Read<T> = Result<T, String>;

pub(super) fn read(text: &str) -> Read<Script> {
    let mut script = Script {
        title: String::new(),
        seeds: 0..3,
        plant: None,
        baits: Vec::new(),
        loose: false,
        profile: Profile::calm(),
        steps: Vec::new(),
        expects: Vec::new(),
    };
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if !line.is_empty() && !line.starts_with('#') {
            read_line(&mut script, number, line).map_err(|why| format!("line {number}: {why}"))?;
        }
    }
    if script.title.is_empty() {
        return Err("the first line that is no comment must be: scenario: WHAT IT SHOWS".to_owned());
    }
    check_names(&script)?;
    Ok(script)
}

fn read_line(script: &mut Script, number: usize, line: &str) -> Read<()> {
    if let Some(title) = line.strip_prefix("scenario:") {
        title.trim().clone_into(&mut script.title);
        return Ok(());
    }
    let mut words = Words::new(line);
    if words.take("seeds") {
        let range = words.next();
        let ends = range.split_once("..").and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
        let (first, end) = ends.ok_or_else(|| format!("{range:?} is no range A..B"))?;
        script.seeds = first..end;
        return words.end();
    }
    if words.take("loose") {
        script.loose = true;
        return words.end();
    }
    if words.take("plant") {
        script.plant = Some(bait(words.next())?);
        return words.end();
    }
    if words.take("bait") {
        let bait = bait(words.next())?;
        if !words.take("fails") {
            return Err("a bait line is: bait NAME fails CHECK".to_owned());
        }
        script.baits.push((bait, words.next().to_owned()));
        return words.end();
    }
    if words.take("expect") {
        script.expects.push((number, expect(&mut words)?));
        return words.end();
    }
    let name = line.split_whitespace().next().unwrap_or_default();
    if Profile::KNOBS.contains(&name) && !(name == "load" && (line == "load off" || line == "load on")) {
        words.next();
        let value = words.next();
        // `load 4 deep` reads better.
        let _ = name == "load" && words.take("deep");
        script.profile.turn(name, value)?;
        return words.end();
    }
    let (when, what) = step(line)?;
    script.steps.push(Step { line: number, when, what });
    Ok(())
}

fn bait(name: &str) -> Read<Bait> {
    let bait = Bait::ALL.iter().copied().find(|bait| bait.name() == name);
    bait.ok_or_else(|| format!("{name:?} is no bait"))
}

fn step(line: &str) -> Read<(When, Vec<Do>)> {
    let mut words = Words::new(line);
    if words.take("at") || words.take("after") {
        let at = line.starts_with("at");
        let time = words.next();
        let Span(nanos) = crate::word::Word::read(time.trim_end_matches(':'))
            .ok_or_else(|| format!("{time:?} is no time like 300ms"))?;
        return Ok((if at { When::At(nanos) } else { When::After(nanos) }, acts(words.all())?));
    }
    if words.take("when") {
        let rest = words.all();
        let (condition, what) = rest.split_once(':').ok_or("a step is: when CONDITION: WHAT")?;
        let (condition, within) = match condition.rsplit_once(" within ") {
            None => (condition, PATIENCE),
            Some((condition, time)) => (condition, Words::new(time).word::<Span>()?.0),
        };
        return Ok((When::If(whole_condition(condition)?, within), acts(what)?));
    }
    Ok((When::After(0), acts(line)?))
}

fn acts(text: &str) -> Read<Vec<Do>> {
    text.split(';').map(str::trim).filter(|act| !act.is_empty()).map(act).collect()
}

fn act(text: &str) -> Read<Do> {
    let mut words = Words::new(text);
    let what = match words.next() {
        "isolate" => Do::Isolate(words.word()?, words.after("for", Span(3 * SECOND))?),
        "part" => {
            let one = words.word()?;
            let other = words.after("from", usize::MAX)?;
            if other == usize::MAX {
                return Err("part: part NODE from NODE [for TIME]".to_owned());
            }
            Do::Part(one, other, words.after("for", Span(3 * SECOND))?)
        }
        "blackout" => {
            Do::Blackout(words.after("with", Loss::TornSectors)?, words.after("for", Span(SECOND * 3 / 10))?)
        }
        "drain" => Do::Drain(words.word()?),
        "check" => Do::Check(whole_condition(words.all())?),
        "load" => Do::Load(match words.next() {
            "on" => true,
            "off" => false,
            other => return Err(format!("load {other:?}: on or off")),
        }),
        name @ ("write" | "sectors" | "zero" | "trim" | "read" | "flush") => question(name, &mut words)?,
        _ => return Act::read(text).map(Do::Act),
    };
    words.end()?;
    Ok(what)
}

fn question(verb: &str, words: &mut Words<'_>) -> Read<Do> {
    let mut extent = || {
        let word = words.next();
        let ends = word.split_once('+').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
        let (start, blocks) = ends.filter(|(_, blocks)| (1..=64).contains(blocks)).ok_or_else(|| {
            format!("{word:?} is no extent of 1 to 64 blocks like 0+8, which is eight blocks from block 0 on")
        })?;
        Ok::<Extent, String>(Extent::new(start, blocks))
    };
    let mut what = match verb {
        "write" => What::Write { extent: extent()?, fua: false },
        "sectors" => {
            let Extent { start: block, blocks } = extent()?;
            let sectors = u8::try_from(blocks).ok().filter(|sectors| *sectors < 8 && has_parts(block));
            let sectors = sectors
                .ok_or("sectors: fewer than 8 of a block like 3 or 7, whose number leaves 3 divided by 4")?;
            What::Part { block, sectors }
        }
        "zero" => What::Zero { extent: extent()?, trim: false },
        "trim" => What::Zero { extent: extent()?, trim: true },
        "read" => What::Read(extent()?),
        _ => What::Flush,
    };
    let mut is = Vec::new();
    if verb == "read" && words.take("is") {
        is.push(words.next().to_owned());
        while words.take("or") {
            is.push(words.next().to_owned());
        }
    }
    let name = if words.take("as") { words.next().to_owned() } else { String::new() };
    if name.len() == 1 || name.is_empty() && matches!(what, What::Write { .. } | What::Part { .. }) {
        return Err(format!("{verb}: a name of more than one letter, like: as w1"));
    }
    if let What::Write { fua, .. } = &mut what {
        *fua = words.take("fua");
    }
    let to = words.after("at", usize::MAX)?;
    Ok(Do::Ask(Question { name, what, is }, (to != usize::MAX).then_some(to)))
}

fn expect(words: &mut Words<'_>) -> Read<Expect> {
    if words.take("fails") {
        return Ok(Expect::Fails(words.next().to_owned()));
    }
    if words.take("operator") {
        return Ok(Expect::Operator);
    }
    if words.take("copies equal") {
        return Ok(Expect::CopiesEqual);
    }
    if words.take("all in sync within") {
        return Ok(Expect::RestWithin(words.word::<Span>()?.0));
    }
    let rebuild = |node| Event::Notice { kind: "rebuild-began".to_owned(), node, saying: None };
    if words.take("no rebuild of") {
        return Ok(Expect::Seen(rebuild(Some(words.word()?)), Some(0)));
    }
    if words.take("no rebuild") {
        return Ok(Expect::Seen(rebuild(None), Some(0)));
    }
    if words.take("rebuild of") {
        return Ok(Expect::Seen(rebuild(Some(words.word()?)), None));
    }
    if words.take("no notice") {
        return Ok(Expect::Seen(notice(words)?.0, Some(0)));
    }
    if words.take("notice") {
        let (event, times) = notice(words)?;
        return Ok(Expect::Seen(event, times));
    }
    for noun in ["write", "read", "flush", "request"] {
        if words.take(noun) {
            let name = words.next().to_owned();
            let outcome = outcome(words)?.ok_or("expect: completed, refused WHY, in doubt or waits")?;
            return Ok(Expect::Outcome(name, outcome));
        }
    }
    let mut ahead = Words::new(words.all());
    let line = ahead.all();
    ahead = Words::new(line);
    if let Ok(node) = ahead.word::<usize>() {
        let what = ahead.next();
        let name = ahead.next().to_owned();
        let found = match what {
            "rule" => Some(Expect::Rule(node, name)),
            "plan" => Some(Expect::Plan(node, name)),
            "opened" => Some(Expect::Opened(node, name)),
            _ => None,
        };
        if let Some(expect) = found {
            ahead.end()?;
            return Ok(expect);
        }
    }
    whole_condition(line).map(Expect::So)
}

/// Requests are asked before anything is said of them, and nodes are among the copies.
fn check_names(script: &Script) -> Read<()> {
    let mut names: Vec<&str> = vec!["zeroes"];
    let unknown = |line: usize, name: &str| format!("line {line}: no request was named {name:?} before");
    for step in &script.steps {
        let waits = match &step.when {
            When::If(condition, _) => Some(condition),
            When::At(_) | When::After(_) => None,
        };
        if let Some(name) = waits.and_then(named).filter(|name| !names.contains(name)) {
            return Err(unknown(step.line, name));
        }
        for what in &step.what {
            if let Do::Check(condition) = what
                && let Some(name) = named(condition).filter(|name| !names.contains(name))
            {
                return Err(unknown(step.line, name));
            }
            let Do::Ask(question, _) = what else { continue };
            if let Some(name) = question.is.iter().find(|name| !names.contains(&name.as_str())) {
                return Err(unknown(step.line, name));
            }
            if !question.name.is_empty() && names.contains(&question.name.as_str()) {
                return Err(format!("line {}: there is a {:?} already", step.line, question.name));
            }
            names.push(&question.name);
        }
    }
    for (line, expect) in &script.expects {
        let name = match expect {
            Expect::Outcome(name, _) => Some(name.as_str()),
            Expect::So(condition) => named(condition),
            Expect::Seen(..) | Expect::Rule(..) | Expect::Plan(..) | Expect::Opened(..) => None,
            Expect::RestWithin(_) | Expect::CopiesEqual | Expect::Operator | Expect::Fails(_) => None,
        };
        if let Some(name) = name.filter(|name| !names.contains(name)) {
            return Err(unknown(*line, name));
        }
    }
    Ok(())
}

fn named(condition: &Condition) -> Option<&str> {
    match condition {
        Condition::Outcome(name, _) => Some(name),
        Condition::Not(condition) => named(condition),
        Condition::Is(..) | Condition::AllInSync | Condition::Serves(_) | Condition::Writes(_) => None,
        Condition::Number(..) | Condition::Seen(..) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> String {
        Script::read(&format!("scenario: x\n{text}")).expect_err(text)
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (text, begins) in [
            ("copies many", "line 2: copies many: not a number"),
            ("\n# fine\nat noon kill b", "line 4: \"noon\" is no time"),
            ("when b is tired: kill b", "line 2: \"tired\" is nothing that a node is"),
            ("when b is primary kill b", "line 2: a step is: when CONDITION: WHAT"),
            ("when notice nonsense: kill b", "line 2: \"nonsense\" is no notice"),
            ("when w1 completed: kill b", "line 2: no request was named \"w1\" before"),
            ("write 0+8", "line 2: write: a name of more than one letter"),
            ("write 0+0 as w1", "line 2: \"0+0\" is no extent"),
            ("bait nonsense fails x", "line 2: \"nonsense\" is no bait"),
            ("expect b is happy", "line 2: \"happy\" is nothing that a node is"),
            ("after 1s check w2 ended", "line 2: no request was named \"w2\" before"),
            ("dance", "line 2: \"dance\" is no act"),
            ("kill b; kill", "line 2: kill: node is missing"),
            ("when b sends flowers: kill b", "line 2: \"flowers\" is no message"),
        ] {
            let said = wrong(text);
            assert!(said.starts_with(begins), "{text}: {said}");
        }
        assert!(Script::read("copies 3").expect_err("no title").contains("scenario: WHAT IT SHOWS"));
    }

    #[test]
    fn a_script_is_shown_as_it_is_read() {
        let text = "scenario: what seed 7 brought\nseeds 7..8\nplant promise-not-durable\nloose\nchaos 3500ms\nload 4\n\
                    at 1200.000001ms kill b for 300ms\nat 1300ms cut a to c for 2000ms\nexpect fails one-history\n";
        let script = Script::read(text).expect("a script");
        let shown = script.to_string();
        let again = Script::read(&shown).expect("a script");
        assert_eq!(shown, again.to_string());
        assert_eq!((&script.steps.len(), script.fails()), (&2, Some("one-history")));
        for line in text.lines() {
            assert!(shown.contains(line), "{line} in {shown}");
        }
    }
}
