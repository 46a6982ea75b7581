//! The simulator's command line.
//!
//! ```text
//! sim --seed N [--trace] [--timeline]   one run, told in full or so that one can read it
//! sim --seed N --save FILE              one run, and a script that has it again
//! sim --seed N --shrink                 a failing run, made short
//! sim --seeds A..B                      many runs
//! sim --swarm --budget 10m --jobs 2     as many runs as the time allows
//! sim --seeds A..B --bare               runs that leave a bare quorum after the faults
//! sim --seeds A..B --coverage FILE      what they saw, as a document
//! sim --bait NAME --seeds A..B          runs with a planted bug, which must be caught, in the world aimed at it
//! sim --arena NAME --seeds A..B         runs in a world aimed at something
//! sim --scenario FILE-OR-FOLDER         scenarios, each over its seeds and with its baits
//! sim --replay FILE                     what a script says
//! sim --whatif A..B [--table FILE]      what a primary foretells of a killed replica, and what follows
//! sim --sweep [--table FILE]            the storage sweep, all of it, and its table
//! ```

mod arguments;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use arguments::{Asked, USAGE};
use sim::arena::Arena;
use sim::coverage::markdown;
use sim::options::Options;
use sim::play;
use sim::run::{Report, run};
use sim::scenario::Script;
use sim::shrink::shrink;
use sim::swarm::{Budget, swarm};

/// So many lines of a shrunk run's account are shown.
const LAST_LINES: usize = 40;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|argument| argument == "--sweep") {
        return sim::sweep::command(&arguments[1..]);
    }
    if arguments.first().is_some_and(|argument| argument == "--whatif") {
        return sim::foretell::command(&arguments[1..]);
    }
    let asked = match arguments::read(&arguments) {
        Ok(asked) => asked,
        Err(why) => {
            eprintln!("{why}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    if let Some(path) = &asked.replay {
        return replay(path, &asked);
    }
    if let Some(path) = &asked.scenario {
        return scenarios(path, &asked);
    }
    match asked.seed {
        Some(seed) if asked.seeds.is_none() && !asked.swarm => one(&options(&asked, seed), &asked),
        Some(_) | None => many(&asked),
    }
}

fn options(asked: &Asked, seed: u64) -> Options {
    let Asked { bait, trace, timeline, .. } = *asked;
    let arena = asked.arena.or(bait.map(Arena::of)).unwrap_or_default();
    Options { seed, bait, arena, trace, timeline, bare: asked.bare, script: None }
}

fn one(options: &Options, asked: &Asked) -> ExitCode {
    let report = run(options);
    tell(options, &report);
    let script = Script::of_run(options, &report);
    if let Some(path) = &asked.save {
        match std::fs::write(path, script.to_string()) {
            Ok(()) => println!("saved: sim --replay {}", path.display()),
            Err(why) => {
                eprintln!("{}: {why}", path.display());
                return ExitCode::from(2);
            }
        }
    }
    let Some(failure) = &report.failure else { return ExitCode::SUCCESS };
    println!("replay: {}", again(options.seed, options));
    if asked.shrink {
        make_short(&script, failure.check);
    }
    ExitCode::FAILURE
}

/// What there is to say of a run.
fn tell(options: &Options, report: &Report) {
    for line in &report.timeline {
        println!("{line}");
    }
    println!("seed {}: {}", options.seed, report.profile);
    println!(
        "digest {:032x}; {} steps, {} ms simulated, {} writes, {} reads, {} deeds",
        report.digest,
        report.tally.steps,
        report.tally.nanos / 1_000_000,
        report.tally.written,
        report.tally.reads,
        report.deeds.len()
    );
    if let Some(failure) = &report.failure {
        println!("FAILED {failure}");
    }
}

fn make_short(script: &Script, check: &'static str) {
    match shrink(script, check) {
        None => println!("the script of this run does not fail the same way: nothing to shrink"),
        Some(short) => {
            for line in short.timeline.iter().skip(short.timeline.len().saturating_sub(LAST_LINES)) {
                println!("{line}");
            }
            println!("FAILED {}", short.failure);
            println!(
                "shrunk in {} runs to {} deeds, {} writes:\n\n{}",
                short.runs, short.deeds, short.written, short.script
            );
        }
    }
}

fn replay(path: &Path, asked: &Asked) -> ExitCode {
    let script = match play::open(path) {
        Ok(script) => Arc::new(script),
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::from(2);
        }
    };
    let mut good = true;
    for seed in asked.seed.map_or(script.seeds.clone(), |seed| seed..seed + 1) {
        let bait = asked.bait.or(script.plant);
        let options = Options { bait, script: Some(Arc::clone(&script)), ..options(asked, seed) };
        let report = run(&options);
        tell(&options, &report);
        match script.judge(&report) {
            Ok(()) => println!("as the script expects"),
            Err(why) => {
                println!("NOT as the script expects: {why}");
                good = false;
            }
        }
        if let Some(failure) = report.failure.as_ref().filter(|_| asked.shrink) {
            make_short(&script, failure.check);
        }
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn scenarios(path: &Path, asked: &Asked) -> ExitCode {
    if asked.trace || asked.timeline || asked.shrink {
        return replay(path, asked);
    }
    let files = match play::files(path) {
        Ok(files) => files,
        Err(why) => {
            eprintln!("{}: {why}", path.display());
            return ExitCode::from(2);
        }
    };
    let mut failed = 0;
    play::play_all(&files, asked.seed, asked.jobs, |file, played| {
        let baits: Vec<String> =
            played.caught.iter().map(|(bait, seed)| format!("{} at seed {seed}", bait.name())).collect();
        let baits = if baits.is_empty() { String::new() } else { format!("; caught {}", baits.join(", ")) };
        match &played.failure {
            None => println!("ok      {}: {} ({} runs{baits})", file.display(), played.title, played.runs),
            Some((seed, why)) => {
                failed += 1;
                println!("FAILED  {}: {}", file.display(), played.title);
                let seed = seed.map(|seed| format!(" --seed {seed}")).unwrap_or_default();
                println!("        {why}");
                println!("        sim --scenario {}{seed} --timeline", file.display());
            }
        }
    });
    println!("{} scenarios, {failed} failed", files.len());
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn many(asked: &Asked) -> ExitCode {
    let (first, end) = asked.seeds.unwrap_or((0, if asked.swarm { u64::MAX } else { 20 }));
    let failures_max = asked.failures.unwrap_or(if asked.bait.is_some() { 1 } else { 10 });
    let budget = Budget { first, end, wall: asked.budget, failures_max };
    // A trace of two runs at once could not be read.
    let jobs = if asked.trace { 1 } else { asked.jobs };
    let base = Options { timeline: false, ..options(asked, 0) };
    let harvest = swarm(&base, budget, jobs, |seed, profile, failure| {
        println!("seed {seed} FAILED: {profile}");
        println!("  {failure}");
        println!("  replay: {}", again(seed, &base));
    });
    for line in harvest.lines() {
        println!("{line}");
    }
    if asked.shrink
        && let Some((seed, failure)) = harvest.failures.first()
    {
        let options = Options { seed: *seed, trace: false, ..base };
        make_short(&Script::of_run(&options, &run(&options)), failure.check);
    }
    if let Some(path) = &asked.coverage
        && let Err(why) = std::fs::write(path, markdown(harvest.seeds, &harvest.tally))
    {
        eprintln!("{}: {why}", path.display());
        return ExitCode::from(2);
    }
    match (asked.bait, harvest.failures.first()) {
        (None, None) => match harvest.shortcoming() {
            None => ExitCode::SUCCESS,
            Some(why) => {
                println!("FAILED: these runs proved too little: {why}");
                ExitCode::FAILURE
            }
        },
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

fn again(seed: u64, options: &Options) -> String {
    let bait = options.bait.map(|bait| format!(" --bait {}", bait.name())).unwrap_or_default();
    let usual = options.bait.map(Arena::of).unwrap_or_default();
    let arena = if options.arena == usual { String::new() } else { format!(" --arena {}", options.arena) };
    format!("cargo run --profile sim -p sim -- --seed {seed}{bait}{arena} --timeline")
}
