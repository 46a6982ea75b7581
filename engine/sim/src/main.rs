//! The simulator's command line.
//!
//! ```text
//! sim --seed N [--trace]            one run, told in full
//! sim --seeds A..B                  many runs
//! sim --swarm --budget 60s          as many runs as the time allows
//! sim --bait NAME --seeds A..B      runs with a planted bug, which must be caught
//! ```

use std::process::ExitCode;
use std::time::Duration;

use seawall_engine::bait::Bait;
use sim::options::Options;
use sim::run::run;
use sim::swarm::{Budget, swarm};

const USAGE: &str =
    "usage: sim [--seed N] [--seeds A..B] [--swarm] [--budget 60s] [--failures N] [--bait NAME] [--trace]";

/// Seeds that run at the same time.
const THREADS: usize = 2;

/// What the command line asks for.
#[derive(Debug, Default)]
struct Asked {
    seed: Option<u64>,
    seeds: Option<(u64, u64)>,
    swarm: bool,
    budget: Option<Duration>,
    failures: Option<usize>,
    bait: Option<Bait>,
    trace: bool,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let asked = match read(&arguments) {
        Ok(asked) => asked,
        Err(why) => {
            eprintln!("{why}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let options =
        Options { seed: asked.seed.unwrap_or(0), bait: asked.bait, trace: asked.trace, deeds: None };
    if asked.seed.is_some() && asked.seeds.is_none() && !asked.swarm {
        return one(&options);
    }
    many(&asked, &options)
}

fn one(options: &Options) -> ExitCode {
    let report = run(options);
    println!("seed {}: {}", options.seed, report.profile);
    println!(
        "digest {:032x}; {} steps, {} ms simulated, {} writes, {} reads",
        report.digest,
        report.tally.steps,
        report.tally.nanos / 1_000_000,
        report.tally.written,
        report.tally.reads
    );
    match report.failure {
        None => ExitCode::SUCCESS,
        Some(failure) => {
            println!("FAILED {failure}");
            println!("replay: {}", replay(options.seed, options.bait));
            ExitCode::FAILURE
        }
    }
}

fn many(asked: &Asked, options: &Options) -> ExitCode {
    let (first, end) = asked.seeds.unwrap_or((0, if asked.swarm { u64::MAX } else { 20 }));
    let failures_max = asked.failures.unwrap_or(if asked.bait.is_some() { 1 } else { 10 });
    let budget = Budget { first, end, wall: asked.budget, failures_max };
    // A trace of two runs at once could not be read.
    let threads = if asked.trace { 1 } else { THREADS };
    let harvest = swarm(options, budget, threads, |seed, profile, failure| {
        println!("seed {seed} FAILED: {profile}");
        println!("  {failure}");
        println!("  replay: {}", replay(seed, options.bait));
    });
    for line in harvest.lines() {
        println!("{line}");
    }
    match (asked.bait, harvest.failures.first()) {
        (None, None) => ExitCode::SUCCESS,
        (None, Some(_)) => ExitCode::FAILURE,
        (Some(bait), Some((seed, failure))) => {
            println!("bait {} caught at seed {seed} by {}", bait.name(), failure.check);
            ExitCode::SUCCESS
        }
        (Some(bait), None) => {
            println!("bait {} was NOT caught", bait.name());
            ExitCode::FAILURE
        }
    }
}

fn replay(seed: u64, bait: Option<Bait>) -> String {
    let bait = bait.map(|bait| format!(" --bait {}", bait.name())).unwrap_or_default();
    format!("cargo run -p sim -- --seed {seed}{bait} --trace")
}

fn read(arguments: &[String]) -> Result<Asked, String> {
    let mut asked = Asked::default();
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
            "--swarm" => asked.swarm = true,
            "--budget" => {
                let text = value()?;
                asked.budget = Some(Duration::from_secs(number(text.strip_suffix('s').unwrap_or(text))?));
            }
            "--failures" => asked.failures = Some(usize::try_from(number(value()?)?).unwrap_or(usize::MAX)),
            "--bait" => {
                let text = value()?;
                let bait = Bait::ALL.into_iter().find(|bait| bait.name() == text);
                asked.bait = Some(bait.ok_or_else(|| format!("{text} is no bait"))?);
            }
            "--trace" => asked.trace = true,
            other => return Err(format!("{other} is unknown")),
        }
    }
    Ok(asked)
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{text} is no number"))
}
