//! What the machines cost, without any world: instructions and nanoseconds of a write through three replicas, and of
//! the small things that it is made of.
//!
//! `cargo bench -p seawall-engine --bench step` prints the table and compares instructions with `BASELINE.tsv` beside
//! this file; more than 3 % more of anything is an error. `SEAWALL_STEPS=record` writes the baseline anew. Instructions
//! are counted by valgrind's callgrind, as the difference between a longer and a shorter run, so they are the same on a
//! busy machine; without valgrind there are nanoseconds only.

mod micro;
mod trio;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Instant;

/// One thing that is measured: does it so many times.
struct Case {
    name: &'static str,
    /// How often, in the shorter run.
    times: u32,
    run: fn(u32),
}

const CASES: [Case; 9] = [
    Case { name: "a write through three replicas, depth 1", times: 1500, run: |n| trio::write(1, n) },
    Case { name: "a write through three replicas, depth 32", times: 1500, run: |n| trio::write(32, n) },
    Case { name: "a read, depth 1", times: 1500, run: |n| trio::read(1, n) },
    Case { name: "encode an Append frame", times: 2000, run: micro::frame_encode },
    Case { name: "decode an Append frame", times: 2000, run: micro::frame_decode },
    Case { name: "encode a record's header", times: 2000, run: micro::record_encode },
    Case { name: "CRC32C of 4096 bytes, as the core does it", times: 500, run: micro::crc },
    Case { name: "insert into an overlay of 1 million", times: 200_000, run: micro::overlay_insert },
    Case { name: "look up in an overlay of 1 million", times: 200_000, run: micro::overlay_lookup },
];

/// How much more is an error, in percent.
const TOLERANCE: f64 = 3.0;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, flag, name, times] = &arguments[..]
        && flag == "--count"
    {
        let case = CASES.iter().find(|case| case.name == name).expect("a case of ours");
        (case.run)(times.parse().expect("a number"));
        return ExitCode::SUCCESS;
    }
    let has_valgrind = Command::new("valgrind").arg("--version").output().is_ok();
    if !has_valgrind {
        println!("valgrind is not installed: nanoseconds only, nothing is compared");
    }
    let mut table = String::new();
    let mut worse = Vec::new();
    let before = baseline();
    println!("{:46}{:>10}{:>14}{:>12}", "", "ns", "instructions", "baseline");
    for case in &CASES {
        let nanos = nanos(case);
        let counted = if has_valgrind { instructions(case) } else { None };
        let was = before.iter().find(|(name, _)| name == case.name).map(|(_, count)| *count);
        let shown = |count: Option<f64>| count.map_or(String::from("-"), |count| format!("{count:.0}"));
        println!("{:46}{nanos:>10.0}{:>14}{:>12}", case.name, shown(counted), shown(was));
        if let Some(count) = counted {
            writeln!(table, "{}\t{count:.0}", case.name).expect("a string takes everything");
            if was.is_some_and(|was| count > was * (1.0 + TOLERANCE / 100.0)) {
                worse.push(case.name);
            }
        }
    }
    if has_valgrind && std::env::var_os("SEAWALL_STEPS").is_some_and(|what| what == "record") {
        std::fs::write(path(), table).expect("the baseline is written");
    } else if !worse.is_empty() {
        println!("more than {TOLERANCE} % more instructions than before: {}", worse.join("; "));
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Nanoseconds for one, without what comes before the first.
fn nanos(case: &Case) -> f64 {
    let time = |times: u32| {
        let began = Instant::now();
        (case.run)(times);
        began.elapsed().as_secs_f64()
    };
    (time(case.times * 9) - time(case.times)) / f64::from(case.times * 8) * 1e9
}

/// Instructions for one, without what comes before the first.
fn instructions(case: &Case) -> Option<f64> {
    let few = collected(case.name, case.times)?;
    let more = collected(case.name, case.times * 3)?;
    Some((more - few) / f64::from(case.times * 2))
}

fn collected(name: &str, times: u32) -> Option<f64> {
    let own = std::env::current_exe().ok()?;
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(own);
    let done = command.args(["--count", name, &times.to_string()]).output().ok()?;
    let told = String::from_utf8_lossy(&done.stderr).into_owned();
    let line = told.lines().find(|line| line.contains("Collected"))?;
    line.split_whitespace().last()?.parse().ok()
}

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("benches/step/BASELINE.tsv")
}

fn baseline() -> Vec<(String, f64)> {
    let text = std::fs::read_to_string(path()).unwrap_or_default();
    let row = |line: &str| {
        let (name, count) = line.split_once('\t')?;
        Some((name.to_owned(), count.parse().ok()?))
    };
    text.lines().filter_map(row).collect()
}
