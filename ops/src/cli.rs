//! The command line: what can be asked of the program, and who answers it.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde_json::json;

use crate::admin::{self, Ask};
use crate::config::{self, Config};
use crate::fault::{Exit, Fault};
use crate::format::Birth;
use crate::logs::{Form, Loudness};
use crate::verify::{self, VerifyLoad};
use crate::{
    adopt, branch, demo, explain, force, format, inspect, logs, maintenance, members, outlook, pki, quantity,
    screen, serve, wipe,
};

/// How long an operator's command may take: leases run out, disks are slow, elections are repeated.
pub(crate) const COMMAND_PATIENCE: Duration = Duration::from_secs(120);

/// Seawall: block volumes, replicated.
#[derive(Parser, Debug)]
#[command(name = "seawall", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Action,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// Three replicas on this machine, in a fresh directory, until Ctrl-C.
    Demo(demo::Options),
    /// Serve one replica until SIGTERM.
    Serve(ServeArgs),
    /// Make a new replica on the devices that the configuration names.
    Format {
        /// The node's configuration.
        #[arg(long)]
        config: PathBuf,
        /// Destroy what is there.
        #[arg(long)]
        force: bool,
        /// This replica existed before, and its devices are lost: it is rebuilt from the others, and votes on nothing
        /// until then. Without this, it is one of a new volume.
        #[arg(long)]
        rejoin: bool,
        /// The replica is to join a volume that exists: it holds nothing and votes on nothing until the volume's primary
        /// has been told of it and has rebuilt it.
        #[arg(long, conflicts_with = "rejoin")]
        join: bool,
    },
    /// Show what a running replica is and, on a primary, how its peers come along.
    Status {
        #[command(flatten)]
        daemon: Daemon,
        /// As JSON.
        #[arg(long)]
        json: bool,
        /// Again every second, until Ctrl-C.
        #[arg(long)]
        watch: bool,
    },
    /// Make a running replica the primary: the present one hands over to it, or it is elected if there is none.
    Promote {
        #[command(flatten)]
        daemon: Daemon,
        /// Do not ask the present primary, which may answer and not work: be elected in its place.
        #[arg(long)]
        take_over: bool,
        #[command(flatten)]
        forced: force::Options,
    },
    /// Have a running primary hand over to a replica that is in sync.
    Handover {
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Say why a running replica is healthy, writable, promotable and in sync, or not; what happens next; what you may do.
    Explain {
        #[command(flatten)]
        daemon: Daemon,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Say what would become of the volume with a replica gone. Asks the primary, changes nothing.
    Whatif {
        /// What is done.
        #[arg(value_enum)]
        deed: Deed,
        /// The replica's name.
        replica: String,
        #[command(flatten)]
        daemon: Daemon,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Compare the digests of all replicas that are in sync with a running primary.
    Digest {
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Drain a running replica and end it; fails if none runs, and if it ends without its clean mark.
    Stop {
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Make and show the keys with which replicas prove to each other who they are.
    #[command(subcommand)]
    Pki(pki::Act),
    /// Show what a device holds, changing nothing.
    #[command(subcommand)]
    Inspect(Inspect),
    /// Make the configuration of a volume's nodes anew, from the replicas' disks alone.
    Adopt(adopt::Options),
    /// What cuts and rebuilds took out of this replica's log, and was kept.
    #[command(subcommand)]
    Branch(branch::Act),
    /// Say that somebody works on a replica, so that nothing is done about it by itself meanwhile.
    #[command(subcommand)]
    Maintenance(maintenance::Act),
    /// The volume's members, and acts on a stopped replica.
    #[command(subcommand)]
    Replica(ReplicaAct),
    /// OVERWRITE a volume with stamped sectors, and check everything that is read against a ledger.
    VerifyLoad(VerifyLoad),
}

#[derive(Args, Debug)]
struct ServeArgs {
    /// The node's configuration.
    #[arg(long)]
    config: PathBuf,
    /// How log lines look.
    #[arg(long, value_enum, default_value = "text")]
    log_form: Form,
    /// How much is logged.
    #[arg(long, value_enum, default_value = "info")]
    log_level: Loudness,
    /// Also end when standard input closes.
    #[arg(long)]
    leash: bool,
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub(crate) struct Daemon {
    /// The node's configuration, which names its admin socket.
    #[arg(long)]
    config: Option<PathBuf>,
    /// The node's admin socket.
    #[arg(long)]
    socket: Option<PathBuf>,
}

impl Daemon {
    pub(crate) fn socket(&self) -> Result<PathBuf, Fault> {
        match (&self.socket, &self.config) {
            (Some(socket), _) => Ok(socket.clone()),
            (None, Some(path)) => Ok(Config::load(path)?.admin),
            (None, None) => Err(config::missing()),
        }
    }
}

/// What might be done to a replica.
#[derive(ValueEnum, Clone, Copy, Debug)]
enum Deed {
    /// It is gone from one moment to the next.
    Kill,
    /// It hands over what it has, and goes.
    Drain,
}

impl Deed {
    fn name(self) -> &'static str {
        match self {
            Deed::Kill => "kill",
            Deed::Drain => "drain",
        }
    }
}

#[derive(Subcommand, Debug)]
enum Inspect {
    /// The superblocks.
    Superblock {
        /// The main device.
        path: PathBuf,
    },
    /// The log.
    Log {
        /// The main device.
        path: PathBuf,
        /// The log's own device, if it has one.
        #[arg(long)]
        log: Option<PathBuf>,
        /// Show every record.
        #[arg(long)]
        records: bool,
    },
}

#[derive(Subcommand, Debug)]
enum ReplicaAct {
    #[command(flatten)]
    Change(members::Change),
    /// Throw the copy of a stopped replica away, to rehearse its rebuild.
    Wipe {
        /// The node's configuration.
        #[arg(long)]
        config: PathBuf,
        /// The replica's name, as confirmation.
        #[arg(long, value_name = "REPLICA-NAME")]
        yes_wipe: Option<String>,
    },
}

/// Do what was asked.
///
/// # Errors
/// If it can't be done.
pub fn run(cli: Cli) -> Result<(), Fault> {
    match cli.command {
        Action::Demo(options) => demo::run(&options),
        Action::Serve(args) => {
            logs::start(args.log_form, args.log_level);
            serve::run(Config::load(&args.config)?, args.leash)
        }
        Action::Format { config, force, rejoin, join } => {
            format_devices(&config, Birth { force, rejoin, join })
        }
        Action::Status { daemon, json, watch } => status(&daemon.socket()?, json, watch),
        Action::Promote { daemon, forced, .. } if forced.force => {
            say(&force::run(&daemon.socket()?, &forced)?)
        }
        Action::Promote { daemon, take_over, .. } => {
            let ask = if take_over { Ask::TakeOver } else { Ask::Promote };
            let answer = admin::ask(&daemon.socket()?, ask, COMMAND_PATIENCE)?;
            say(&format!("primary in epoch {}\n", answer["epoch"].as_str().unwrap_or("?")))
        }
        Action::Handover { daemon } => {
            let answer = admin::ask(&daemon.socket()?, Ask::HandOver, COMMAND_PATIENCE)?;
            say(&format!("handed over to {}\n", answer["to"].as_str().unwrap_or("?")))
        }
        Action::Explain { daemon, json } => {
            let answers = explain::ask(&daemon.socket()?)?;
            let lines: Vec<String> = answers.iter().map(explain::Answer::show).collect();
            say(&if json { format!("{}\n", json!(answers)) } else { lines.concat() })
        }
        Action::Whatif { deed, replica, daemon, json } => {
            let outlook = outlook::ask(&daemon.socket()?, deed.name(), &replica)?;
            let outlook = if json { json!(outlook).to_string() } else { outlook.show() };
            say(&format!("{outlook}\n"))
        }
        Action::Digest { daemon } => digest(&daemon.socket()?),
        Action::Stop { daemon } => stop(&daemon.socket()?),
        Action::Pki(act) => say(&pki::run(&act)?),
        Action::Inspect(Inspect::Superblock { path }) => say(&inspect::superblock(&path)?),
        Action::Inspect(Inspect::Log { path, log, records }) => {
            say(&inspect::log(&path, log.as_deref(), records)?)
        }
        Action::Branch(act) => say(&branch::run(&act)?),
        Action::Adopt(options) => say(&adopt::run(&options)?),
        Action::Maintenance(act) => maintenance::run(&act),
        Action::Replica(ReplicaAct::Change(change)) => members::run(&change),
        Action::Replica(ReplicaAct::Wipe { config, yes_wipe }) => {
            let config = Config::load(&config)?;
            wipe::run(&config, yes_wipe.as_deref())?;
            say(&format!("replica {} is blank; it keeps its identity and its promise\n", config.own().name))
        }
        Action::VerifyLoad(args) => verify::run(args),
    }
}

/// To standard output; a reader that went away has heard enough.
fn say(text: &str) -> Result<(), Fault> {
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    Ok(())
}

fn format_devices(path: &Path, birth: Birth) -> Result<(), Fault> {
    let config = Config::load(path)?;
    let show = std::io::stderr().is_terminal();
    format::run(&config, birth, |done, total| {
        if show {
            eprint!("\rwriting zeroes: {} of {}   ", quantity::show_size(done), quantity::show_size(total));
        }
    })?;
    if show {
        eprintln!();
    }
    say(&format!(
        "{} is replica {} ({}) of volume {}\n",
        config.home.display(),
        config.own().name,
        config.replica,
        config.volume
    ))
}

fn status(socket: &Path, json: bool, watch: bool) -> Result<(), Fault> {
    let redraw = watch && !json && std::io::stdout().is_terminal();
    loop {
        let text = if json {
            format!("{}\n", admin::ask(socket, Ask::Status, Duration::from_secs(5))?)
        } else {
            screen::show(&admin::report(socket)?)
        };
        say(&if redraw { format!("\x1b[H\x1b[2J{text}") } else { text })?;
        if !watch {
            return Ok(());
        }
        thread::sleep(Duration::from_secs(1));
    }
}

fn digest(socket: &Path) -> Result<(), Fault> {
    let digests = admin::digests(socket)?;
    for (replica, digest) in &digests.digests {
        say(&format!("{replica:<16} {digest} at {}\n", digests.at))?;
    }
    if digests.are_equal() {
        return say(&format!("{} replicas are equal\n", digests.digests.len()));
    }
    Err(Fault::new(Exit::LedgerBroken, "replicas that are in sync hold different bytes")
        .next("keep all devices as they are, and report this"))
}

fn stop(socket: &Path) -> Result<(), Fault> {
    // Without a daemon nothing was stopped: that is for the caller to know.
    admin::report(socket)?;
    let answer = admin::ask(socket, Ask::Stop, serve::DRAIN_PATIENCE + Duration::from_secs(10));
    answer.map_err(|fault| match fault.exit {
        Exit::Unreachable => Fault::new(Exit::Unclean, "the daemon went away before it was drained")
            .next("the next start reads the log instead of the clean mark"),
        _ => fault,
    })?;
    while std::os::unix::net::UnixStream::connect(socket).is_ok() {
        thread::sleep(Duration::from_millis(50));
    }
    say("stopped: drained, with its clean mark\n")
}
