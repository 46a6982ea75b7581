//! `seawall promote --force`: what a promotion without a majority would mean, and doing it.

use std::fmt::Write as _;
use std::io::IsTerminal;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use seawall_engine::foretold::{Foretold, Standing, Token, Wish};
use seawall_wal::names::{Epoch, Lsn, ReplicaId};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::admin::{self, Ask};
use crate::cli::COMMAND_PATIENCE;
use crate::config::Config;
use crate::fault::{Exit, Fault};
use crate::quantity::show_duration;
use crate::report::epoch_name;

/// How a promotion is forced.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Without a majority of the voters: shows what that would mean, and the command that does it.
    #[arg(long, conflicts_with = "take_over")]
    pub(crate) force: bool,
    /// Do it, and lose what is above this: the token that the preview shows.
    #[arg(long, value_name = "TOKEN", requires = "force")]
    accept_loss: Option<String>,
    /// A voter that does not answer and is dead: it must not be running anywhere. May be given more than once.
    #[arg(long, value_name = "REPLICA", requires = "accept_loss")]
    dead: Vec<String>,
    /// Do it with a copy that may have lost records that it answered for.
    #[arg(long, requires = "accept_loss")]
    accept_lossy: bool,
    /// As JSON.
    #[arg(long, requires = "force")]
    json: bool,
}

/// What a forced promotion of a replica would mean.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Preview {
    /// The replica.
    pub replica: String,
    /// What would be the volume's history: the epoch of its last record, and where it ends.
    pub token: String,
    /// The epoch of its last record, by name.
    pub tail: String,
    /// Where it ends.
    pub end: u64,
    /// Below this the replica knows that writes were promised. Whatever is lost is not below it.
    pub committed: u64,
    /// It reigned itself until now: it has all that it told clients to be done.
    pub reigned: bool,
    /// For how many seconds it has not heard from a primary that had its voters; none if it has not since it started.
    pub unheard_seconds: Option<f64>,
    /// For how many seconds leases that it granted still run.
    pub lease_seconds: f64,
    /// Its copy may have lost records that it answered for.
    pub lossy: bool,
    /// The other voters.
    pub voters: Vec<Voter>,
    /// Why it can't be done here.
    pub objection: Option<String>,
    /// The command that does it; none if it can't be done here.
    pub command: Option<String>,
}

/// Another voter.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Voter {
    /// Its name.
    pub replica: String,
    /// What it is to a forced promotion: silent, fenced, better, not-whole, leased, led, unable.
    pub standing: String,
    /// What is known of it, and what would become of it.
    pub says: String,
}

impl Preview {
    /// As a daemon tells it.
    #[must_use]
    pub fn new(foretold: &Foretold, config: &Config) -> Preview {
        let Foretold { replica, token, committed, voters, lease, reigned, unheard, lossy, objection } =
            foretold;
        let voters: Vec<(Voter, bool)> =
            voters.iter().map(|(voter, standing)| voter_of(config, *voter, *standing, *token)).collect();
        let bars =
            voters.iter().any(|(voter, _)| ["better", "led", "unable"].contains(&voter.standing.as_str()));
        let dead: String = voters
            .iter()
            .filter(|(_, dead)| *dead)
            .map(|(voter, _)| format!(" --dead {}", voter.replica))
            .collect();
        let accept = if *lossy { " --accept-lossy" } else { "" };
        let command = format!("seawall promote --force --accept-loss {token}{dead}{accept}");
        Preview {
            replica: config.name_of(*replica),
            token: token.to_string(),
            tail: epoch_name(config, token.epoch),
            end: token.end.0,
            committed: committed.0,
            reigned: *reigned,
            unheard_seconds: unheard.map(|unheard| unheard.as_secs_f64()),
            lease_seconds: lease.as_secs_f64(),
            lossy: *lossy,
            voters: voters.into_iter().map(|(voter, _)| voter).collect(),
            objection: objection.clone(),
            command: (objection.is_none() && !bars).then_some(command),
        }
    }

    /// For people.
    #[must_use]
    pub fn show(&self) -> String {
        let mut text = format!(
            "forcing {} makes its log the volume's history: up to record {}, whose last record is of {}\n",
            self.replica, self.end, self.tail
        );
        if let Some(why) = &self.objection {
            let _ = writeln!(text, "it can't be done here: {why}");
            return text;
        }
        for Voter { replica, says, .. } in &self.voters {
            let _ = writeln!(text, "  {replica:<12} {says}");
        }
        let heard = match (self.reigned, self.unheard_seconds) {
            (true, _) => "it reigned itself until now, and has all that it told them".to_owned(),
            (false, Some(seconds)) => {
                let ago = show_duration(Duration::from_secs_f64(seconds));
                format!("it heard from a primary that had its voters {ago} ago")
            }
            (false, None) => "it has heard from no primary since it started".to_owned(),
        };
        let (committed, end) = (self.committed, self.end);
        let _ = writeln!(
            text,
            "lost:   all that clients were told and that is not below record {end}: nothing below {committed}, as it knows; {heard}"
        );
        let _ = writeln!(
            text,
            "kept:   what the others have and this one has not stays beside their disks when they come back: seawall branch list"
        );
        if self.lossy {
            let _ = writeln!(
                text,
                "lossy:  this copy may have lost records that it answered for (its machine lost power)"
            );
        }
        if self.lease_seconds > 0.0 {
            let lease = show_duration(Duration::from_secs_f64(self.lease_seconds));
            let _ =
                writeln!(text, "wait:   {lease}, until the leases that this replica granted have run out");
        }
        match &self.command {
            Some(command) => {
                let _ = writeln!(
                    text,
                    "a voter that is declared dead must not be running anywhere: if it is, two histories go on, and what it does is void\n\
                     to do it:  {command}"
                );
            }
            None => text.push_str("it can't be done as things are: see above\n"),
        }
        text
    }
}

/// A voter for people, and whether it is to be declared dead.
fn voter_of(config: &Config, voter: ReplicaId, standing: Standing, ours: Token) -> (Voter, bool) {
    let (name, says) = match standing {
        Standing::Silent => (
            "silent",
            "does not answer: to be declared dead; it becomes a learner when it comes back".to_owned(),
        ),
        Standing::Fenced { end, tail, better: true } => (
            "better",
            format!(
                "answers, and has the better log (to record {end}, of {}): promote it instead",
                epoch_name(config, tail)
            ),
        ),
        Standing::Fenced { end, better: false, .. } => {
            let same = if end == ours.end { ", the same log" } else { "" };
            ("fenced", format!("answers, and would promise; it votes on (its log ends at {end}{same})"))
        }
        Standing::NotWhole => {
            ("not-whole", "answers, and its copy is not whole: it becomes a learner".to_owned())
        }
        Standing::Leased => {
            ("leased", "answers, and keeps to a lease that it granted: that runs out".to_owned())
        }
        Standing::Led => {
            ("led", "answers, and follows a primary that lives, or is one: nothing need be forced".to_owned())
        }
        Standing::Unable(why) => ("unable", format!("answers, and can't promise: {why}; stop it for good")),
    };
    let voter = Voter { replica: config.name_of(voter), standing: name.to_owned(), says };
    (voter, standing == Standing::Silent)
}

/// What an operator asks for, as the core wants it: names and a token become what they name.
///
/// # Errors
/// What is no token, and who is no member.
pub(crate) fn wish(
    token: &str,
    dead: &[String],
    lossy: bool,
    named: impl Fn(&str) -> Option<ReplicaId>,
) -> Result<Wish, String> {
    let no_token =
        || format!("{token:?} is no token: give the one that the preview shows, EPOCH@REPLICA:LSN");
    let (epoch, end) = token.rsplit_once(':').ok_or_else(no_token)?;
    let epoch: Epoch = epoch.parse().map_err(|_| no_token())?;
    let end = Lsn(end.parse().map_err(|_| no_token())?);
    let find = |name: &String| named(name).ok_or_else(|| format!("{name} is no member of the volume"));
    let dead = dead.iter().map(find).collect::<Result<Vec<ReplicaId>, String>>()?;
    Ok(Wish::Act { token: Token { epoch, end }, dead, lossy })
}

/// Show what it would mean, or do it. What is to be printed.
///
/// # Errors
/// If the daemon refuses, or does not answer.
pub(crate) fn run(socket: &Path, options: &Options) -> Result<String, Fault> {
    let Some(token) = &options.accept_loss else {
        let value = admin::ask(socket, Ask::ForetellForce, COMMAND_PATIENCE)?;
        let preview: Preview = serde_json::from_value(value).map_err(|error| {
            Fault::new(Exit::Refused, "the daemon's preview has another shape").found(error.to_string())
        })?;
        return Ok(if options.json { format!("{}\n", json!(preview)) } else { preview.show() });
    };
    let ask = Ask::Force { token: token.clone(), dead: options.dead.clone(), lossy: options.accept_lossy };
    let answer = waiting(options.json, || admin::ask(socket, ask, COMMAND_PATIENCE));
    let answer = answer.map_err(|fault| fault.next("look at the preview again: seawall promote --force"))?;
    if options.json {
        return Ok(format!("{answer}\n"));
    }
    let epoch = answer["epoch"].as_str().unwrap_or("?");
    Ok(format!("primary by force, in epoch {epoch}; those declared dead come back as learners\n"))
}

/// Do it, and on a terminal say meanwhile that it goes on.
fn waiting<T>(quiet: bool, act: impl FnOnce() -> T + Send) -> T
where
    T: Send,
{
    let show = !quiet && std::io::stderr().is_terminal();
    let begun = Instant::now();
    thread::scope(|scope| {
        let act = scope.spawn(act);
        while !act.is_finished() {
            if show {
                let seconds = begun.elapsed().as_secs();
                eprint!("\rleases must run out, and who answers must promise: {seconds} s ");
            }
            thread::park_timeout(Duration::from_millis(200));
        }
        if show {
            eprintln!();
        }
        act.join().expect("asking does not panic")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_what_the_preview_shows() {
        let epoch = Epoch { counter: 7, replica: ReplicaId(0xa) };
        let token = Token { epoch, end: Lsn(4711) };
        let named = |name: &str| (name == "b").then_some(ReplicaId(0xb));
        let read = wish(&token.to_string(), &["b".to_owned()], false, named);
        assert_eq!(read, Ok(Wish::Act { token, dead: vec![ReplicaId(0xb)], lossy: false }));
        assert!(wish("7@a", &[], false, named).is_err_and(|why| why.contains("is no token")));
        let stranger = wish(&token.to_string(), &["x".to_owned()], false, named);
        assert!(stranger.is_err_and(|why| why.contains("x is no member")));
    }
}
