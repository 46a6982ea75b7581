//! `seawall maintenance begin|end|list`: an operator says that somebody works on a replica, and for how long.

use std::io::Write;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::admin::{self, Ask};
use crate::cli::{COMMAND_PATIENCE, Daemon};
use crate::fault::{Exit, Fault};
use crate::quantity;

/// What is said of the work on a replica.
#[derive(Subcommand, Debug)]
pub(crate) enum Act {
    /// Somebody works on a replica, or goes on for longer: nobody takes its place by itself, and no rebuild of it begins
    /// by itself. Asked of the primary.
    Begin {
        /// Its name or identity.
        replica: String,
        /// Who works on it.
        #[arg(long)]
        owner: String,
        /// Why.
        #[arg(long)]
        reason: String,
        /// For how long from now on, like 30m; at most 24h.
        #[arg(long = "for", value_name = "TIME")]
        long: String,
        #[command(flatten)]
        common: Common,
    },
    /// The work is done, or what waits for that shall begin now.
    End {
        /// Its name or identity.
        replica: String,
        /// Who says so.
        #[arg(long, default_value = "an operator")]
        owner: String,
        #[command(flatten)]
        common: Common,
    },
    /// Who works on which replica, as far as this node knows.
    List {
        #[command(flatten)]
        common: Common,
    },
}

/// Whom to ask, and how to answer.
#[derive(Args, Debug)]
pub(crate) struct Common {
    #[command(flatten)]
    daemon: Daemon,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// Do what was asked.
///
/// # Errors
/// If the primary refuses, or is lost meanwhile.
pub(crate) fn run(act: &Act) -> Result<(), Fault> {
    match act {
        Act::Begin { replica, owner, reason, long, common } => {
            let length = length(long)?;
            let for_ms = u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
            let (replica, owner, reason) = (replica.clone(), owner.clone(), reason.clone());
            let text = format!("{replica} is under maintenance by {owner} for {long}: {reason}");
            tell(common, Ask::BeginMaintenance { replica, owner, reason, for_ms }, &text)
        }
        Act::End { replica, owner, common } => {
            let text = format!("the maintenance of {replica} is over");
            tell(common, Ask::EndMaintenance { replica: replica.clone(), owner: owner.clone() }, &text)
        }
        Act::List { common } => list(common),
    }
}

fn length(text: &str) -> Result<Duration, Fault> {
    quantity::duration(text).ok_or_else(|| {
        Fault::new(Exit::Refused, format!("{text:?} is no length of time"))
            .expected("a number and a unit: 90s, 30m, 2h")
            .next("say how long the work takes at most; it can be renewed")
    })
}

fn tell(common: &Common, ask: Ask, text: &str) -> Result<(), Fault> {
    let answer = admin::ask(&common.daemon.socket()?, ask, COMMAND_PATIENCE)?;
    if common.json {
        say(&format!("{answer}\n"));
        return Ok(());
    }
    say(&format!("{text}\n"));
    for warning in answer["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        say(&format!("  mind: {warning}\n"));
    }
    Ok(())
}

fn list(common: &Common) -> Result<(), Fault> {
    let leases = admin::report(&common.daemon.socket()?)?.maintenance;
    if common.json {
        say(&format!("{}\n", json!(leases)));
    } else if leases.is_empty() {
        say("nobody works on any replica\n");
    }
    for lease in leases.iter().filter(|_| !common.json) {
        say(&format!("{}\n", lease.show()));
    }
    Ok(())
}

fn say(text: &str) {
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}
