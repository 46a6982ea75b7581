//! The `seawall` program: one binary for the daemon, the operator's commands and the demonstration.

use std::process::ExitCode;

use clap::Parser;
use seawall_ops::cli::Cli;

fn main() -> ExitCode {
    match seawall_ops::cli::run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprint!("{fault}");
            ExitCode::from(fault.exit.code())
        }
    }
}
