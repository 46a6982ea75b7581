//! Explore from a command line.
//!
//! ```text
//! explore [--only PROBE] [--larger N] [--states N] [--seconds N]   all small worlds, or larger ones, within a budget
//! explore --without GUARD                                         a shortest way to what breaks without it
//! ```

use std::process::ExitCode;
use std::time::Duration;

use explore::mutants::MUTANTS;
use explore::probe::{Probe, Scale};
use explore::search::{Report, hush};

fn main() -> ExitCode {
    hush();
    let mut scale = Scale::TESTS;
    let mut only = None;
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().unwrap_or_default();
        let number = value.parse::<u64>().ok();
        match (&word[..], number) {
            ("--only", _) => only = Some(value),
            ("--without", _) => return without(&value),
            ("--larger", Some(number)) => scale.larger = u8::try_from(number).unwrap_or(u8::MAX),
            ("--states", Some(number)) => scale.states = usize::try_from(number).unwrap_or(usize::MAX),
            ("--seconds", Some(number)) => scale.time = Duration::from_secs(number),
            (_, _) => {
                eprintln!(
                    "usage: explore [--only PROBE] [--larger N] [--states N] [--seconds N] | --without GUARD"
                );
                return ExitCode::from(2);
            }
        }
    }
    let mut broken = false;
    for probe in Probe::ALL {
        if only.as_ref().is_none_or(|only| format!("{probe:?}").eq_ignore_ascii_case(only)) {
            let report = probe.run(scale);
            println!("{report}");
            broken |= report.breach.is_some();
        }
    }
    if broken { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn without(guard: &str) -> ExitCode {
    let Some(mutant) = MUTANTS.iter().find(|mutant| mutant.guard == guard) else {
        eprintln!("there is no guard {guard}");
        return ExitCode::from(2);
    };
    let report: Report = mutant.take(Scale::TESTS).report;
    println!("{report}");
    if report.breach.is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
