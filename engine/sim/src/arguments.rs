//! The command line, read.

use std::path::PathBuf;
use std::time::Duration;

use seawall_engine::bait::Bait;
use sim::arena::Arena;
use sim::word::{Span, Word};

/// How it is used.
pub(crate) const USAGE: &str = "\
usage: sim --seed N [--bait NAME] [--arena NAME] [--trace] [--timeline] [--save FILE] [--shrink]
       sim --seeds A..B | --swarm  [--bait NAME] [--arena NAME] [--budget 10m] [--jobs N] [--failures N] [--shrink] [--coverage FILE] [--bare]
       sim --scenario FILE-OR-FOLDER [--seed N] [--jobs N] [--trace] [--timeline]
       sim --replay FILE [--trace] [--timeline] [--shrink]
       sim --whatif A..B [--table FILE]
       sim --sweep [--table FILE]";

/// What the command line asks for.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) seed: Option<u64>,
    pub(crate) seeds: Option<(u64, u64)>,
    pub(crate) scenario: Option<PathBuf>,
    pub(crate) replay: Option<PathBuf>,
    pub(crate) save: Option<PathBuf>,
    pub(crate) coverage: Option<PathBuf>,
    pub(crate) bare: bool,
    pub(crate) swarm: bool,
    pub(crate) budget: Option<Duration>,
    pub(crate) jobs: usize,
    pub(crate) failures: Option<usize>,
    pub(crate) bait: Option<Bait>,
    pub(crate) arena: Option<Arena>,
    pub(crate) shrink: bool,
    pub(crate) trace: bool,
    pub(crate) timeline: bool,
}

pub(crate) fn read(arguments: &[String]) -> Result<Asked, String> {
    let mut asked = Asked {
        seed: None,
        seeds: None,
        scenario: None,
        replay: None,
        save: None,
        coverage: None,
        bare: false,
        swarm: false,
        budget: None,
        jobs: 2,
        failures: None,
        bait: None,
        arena: None,
        shrink: false,
        trace: false,
        timeline: false,
    };
    let mut rest = arguments.iter();
    while let Some(name) = rest.next() {
        let mut value = || rest.next().ok_or_else(|| format!("{name} needs a value"));
        match name.as_str() {
            "--seed" => asked.seed = Some(number(value()?)?),
            "--seeds" => {
                let range = value()?;
                let (first, end) =
                    range.split_once("..").ok_or_else(|| format!("{range} is no range A..B"))?;
                asked.seeds = Some((number(first)?, number(end)?));
            }
            "--scenario" => asked.scenario = Some(value()?.into()),
            "--replay" => asked.replay = Some(value()?.into()),
            "--save" => asked.save = Some(value()?.into()),
            "--coverage" => asked.coverage = Some(value()?.into()),
            "--bare" => asked.bare = true,
            "--swarm" => asked.swarm = true,
            "--budget" => {
                let text = value()?;
                let span =
                    Span::read(text).ok_or_else(|| format!("{text} is no time like 10m, 60s or 2h"))?;
                asked.budget = Some(Duration::from_nanos(span.0));
            }
            "--jobs" => asked.jobs = usize::try_from(number(value()?)?).unwrap_or(1).clamp(1, 256),
            "--failures" => asked.failures = Some(usize::try_from(number(value()?)?).unwrap_or(usize::MAX)),
            "--bait" => {
                let text = value()?;
                let bait = Bait::ALL.iter().copied().find(|bait| bait.name() == text);
                asked.bait = Some(bait.ok_or_else(|| format!("{text} is no bait"))?);
            }
            "--arena" => {
                let text = value()?;
                let arena = Arena::ALL.into_iter().find(|arena| arena.name() == text);
                asked.arena = Some(arena.ok_or_else(|| format!("{text} is no arena"))?);
            }
            "--shrink" => asked.shrink = true,
            "--trace" => asked.trace = true,
            "--timeline" => asked.timeline = true,
            other => return Err(format!("{other} is unknown")),
        }
    }
    Ok(asked)
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{text} is no number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(line: &str) -> Result<Asked, String> {
        read(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn a_command_line_says_what_it_asks_for() {
        let swarm = asked("--swarm --budget 10m --jobs 3 --failures 2 --shrink").expect("a command line");
        assert!(swarm.swarm && swarm.shrink && !swarm.trace);
        assert_eq!((swarm.budget, swarm.jobs), (Some(Duration::from_secs(600)), 3));
        assert_eq!(asked("--seeds 3..9").expect("a range").seeds, Some((3, 9)));
        assert_eq!(asked("--scenario x --timeline").expect("a file").scenario, Some("x".into()));
    }

    #[test]
    fn what_a_command_line_says_wrong_is_named() {
        for (line, why) in [
            ("--seed", "--seed needs a value"),
            ("--seeds 3", "3 is no range A..B"),
            ("--budget 10", "10 is no time like 10m, 60s or 2h"),
            ("--bait nonsense", "nonsense is no bait"),
            ("--fast", "--fast is unknown"),
        ] {
            assert_eq!(asked(line).err().as_deref(), Some(why), "{line}");
        }
    }
}
