//! `seawall replica add|remove|replace|move|list`: changes of a volume's members, asked of its primary, and how a
//! newcomer comes along.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use serde_json::json;

use crate::admin::{self, Ask};
use crate::cli::{COMMAND_PATIENCE, Daemon};
use crate::fault::{Exit, Fault};
use crate::quantity::show_duration;
use crate::report::{Member, Report};

/// Between two looks at a newcomer.
const GLANCE: Duration = Duration::from_millis(500);
/// Where nobody looks on, a line so often.
const LINE: Duration = Duration::from_secs(10);

/// A change of the members.
#[derive(Subcommand, Debug)]
pub(crate) enum Change {
    /// Have a new replica join, and wait until it votes. Its node must run, formatted with `seawall format --join`.
    Add {
        #[command(flatten)]
        newcomer: Newcomer,
        #[command(flatten)]
        common: Common,
    },
    /// Have a replica leave for good: it serves nothing and votes on nothing any more.
    Remove {
        /// Its name or identity.
        replica: String,
        #[command(flatten)]
        common: Common,
    },
    /// Have a new replica join in the place of another, which leaves once the new one votes.
    Replace {
        /// The name or identity of the one that leaves.
        old: String,
        #[command(flatten)]
        newcomer: Newcomer,
        #[command(flatten)]
        common: Common,
    },
    /// Tell the volume that a replica listens elsewhere.
    Move {
        /// Its name or identity.
        replica: String,
        /// Host and port.
        address: String,
        #[command(flatten)]
        common: Common,
    },
    /// Show the members.
    List {
        #[command(flatten)]
        common: Common,
    },
}

/// A replica that is to join.
#[derive(Args, Debug)]
pub(crate) struct Newcomer {
    /// Its identity, never used before: r- and up to 16 hexadecimal digits.
    id: String,
    /// Its name.
    name: String,
    /// Where it listens: host and port.
    address: String,
    /// Do not wait until it votes.
    #[arg(long)]
    no_wait: bool,
}

/// Whom to ask, and how to answer.
#[derive(Args, Debug)]
pub(crate) struct Common {
    #[command(flatten)]
    daemon: Daemon,
    /// As JSON, one object per line.
    #[arg(long)]
    json: bool,
}

/// Do what was asked.
///
/// # Errors
/// If the primary refuses, or is lost meanwhile.
pub(crate) fn run(change: &Change) -> Result<(), Fault> {
    match change {
        Change::Add { newcomer, common } => add(&common.daemon.socket()?, newcomer, common.json),
        Change::Remove { replica, common } => remove(&common.daemon.socket()?, replica, common.json),
        Change::Replace { old, newcomer, common } => {
            let socket = common.daemon.socket()?;
            // Whoever is to leave must be there, before somebody joins in its place.
            known(&admin::report(&socket)?, old)?;
            if newcomer.no_wait {
                return Err(Fault::new(Exit::Other, "a replacement waits until the new replica votes")
                    .next("leave --no-wait out, or add and remove one after the other"));
            }
            add(&socket, newcomer, common.json)?;
            remove(&socket, old, common.json)
        }
        Change::Move { replica, address, common } => {
            let ask = Ask::Move { replica: replica.clone(), address: address.clone() };
            let number = ask_change(&common.daemon.socket()?, ask)?;
            tell(common.json, number, &format!("{replica} is at {address}"), "moved", replica);
            Ok(())
        }
        Change::List { common } => list(&admin::report(&common.daemon.socket()?)?, common.json),
    }
}

fn ask_change(socket: &Path, ask: Ask) -> Result<u64, Fault> {
    let answer = admin::ask(socket, ask, COMMAND_PATIENCE)?;
    Ok(answer["configuration"].as_u64().unwrap_or_default())
}

fn tell(json: bool, number: u64, text: &str, what: &str, replica: &str) {
    let line = if json {
        json!({ "configuration": number, "event": what, "replica": replica }).to_string()
    } else {
        format!("{text}: configuration {number} is settled")
    };
    say(&format!("{line}\n"));
}

fn say(text: &str) {
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

fn add(socket: &Path, newcomer: &Newcomer, json: bool) -> Result<(), Fault> {
    let Newcomer { id, name, address, no_wait } = newcomer;
    let ask = Ask::Add { id: id.clone(), name: name.clone(), address: address.clone() };
    let number = ask_change(socket, ask)?;
    tell(json, number, &format!("{name} joins as a learner"), "learner", name);
    if *no_wait { Ok(()) } else { await_vote(socket, name, json) }
}

fn remove(socket: &Path, replica: &str, json: bool) -> Result<(), Fault> {
    let number = ask_change(socket, Ask::Remove { replica: replica.to_owned() })?;
    tell(json, number, &format!("{replica} has left"), "removed", replica);
    Ok(())
}

/// Wait until a newcomer votes, and say how it comes along.
fn await_vote(socket: &Path, name: &str, json: bool) -> Result<(), Fault> {
    let live = !json && std::io::stdout().is_terminal();
    let mut said = (String::new(), Instant::now());
    loop {
        let report = admin::report(socket)?;
        if report.role != "primary" {
            return Err(Fault::new(Exit::Refused, format!("{} is not the primary any more", report.replica))
                .next(format!(
                    "{name} goes on joining under the next one: see `seawall replica list` there"
                )));
        }
        let member = known(&report, name)?;
        if member.suffrage == "voter" && !report.members.pending {
            if live {
                say("\r\x1b[K");
            }
            tell(json, report.members.number, &format!("{name} votes"), "voter", name);
            return Ok(());
        }
        let (phase, text) = come_along(&report, name);
        let due = live || said.0 != phase || said.1.elapsed() >= LINE;
        if due {
            match (live, json) {
                (true, _) => say(&format!("\r\x1b[K{name}: {text}")),
                (false, true) => {
                    say(&format!("{}\n", json!({ "event": phase, "replica": name, "text": text })))
                }
                (false, false) => say(&format!("{name}: {text}\n")),
            }
            said = (phase, Instant::now());
        }
        thread::sleep(GLANCE);
    }
}

/// The phase that a newcomer is in, and that with its numbers.
fn come_along(report: &Report, name: &str) -> (String, String) {
    let Some(peer) = report.peers.iter().find(|peer| peer.replica == name) else {
        return ("unknown".to_owned(), "not connected yet".to_owned());
    };
    let text = match &peer.progress {
        None => peer.state.clone(),
        Some(p) => {
            let percent = u128::from(p.done) * 100 / u128::from(p.total.max(1));
            let left = p.eta_seconds.map_or("standing still".to_owned(), |seconds| {
                format!("{} to go", show_duration(Duration::from_secs(seconds)))
            });
            format!("{}: {percent} %, {} {} per second, {left}", p.phase, p.per_second, p.unit)
        }
    };
    (peer.state.clone(), text)
}

fn known<'r>(report: &'r Report, replica: &str) -> Result<&'r Member, Fault> {
    report.members.members.iter().find(|member| member.replica == replica || member.id == replica).ok_or_else(
        || {
            let names: Vec<&str> =
                report.members.members.iter().map(|member| member.replica.as_str()).collect();
            Fault::new(Exit::Refused, format!("{replica} is no member of the volume"))
                .found(names.join(", "))
                .next("give the name or the identity of a member")
        },
    )
}

fn list(report: &Report, json: bool) -> Result<(), Fault> {
    if json {
        let text = serde_json::to_string(&report.members).expect("members can be told");
        say(&format!("{text}\n"));
        return Ok(());
    }
    let pending = if report.members.pending { ", pending" } else { "" };
    say(&format!("configuration {}{pending}\n", report.members.number));
    for Member { replica, id, address, suffrage } in &report.members.members {
        say(&format!("{replica:<16} {id} {suffrage:<8} {address}\n"));
    }
    Ok(())
}
