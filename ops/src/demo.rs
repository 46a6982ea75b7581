//! `seawall demo`: three replica processes on this machine in a fresh directory, shown live, cleaned up at the end.

use std::fs::{self, File};
use std::io::{IsTerminal, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clap::Args;
use seawall_wal::names::{ReplicaId, VolumeId};
use tokio::signal::unix::{SignalKind, signal};

use crate::config::Config;
use crate::fault::{Exit, Fault};
use crate::{admin, format, pki, quantity, screen};

const NAMES: [&str; 3] = ["a", "b", "c"];
/// The port that clients try first: assigned to NBD by IANA.
const NBD_PORT: u16 = 10809;
/// Between two looks at the replicas.
const GLANCE: Duration = Duration::from_secs(1);
/// A replica that ended is started again after this.
const RESTART_PAUSE: Duration = Duration::from_secs(3);
/// How long all replicas may take to end.
const END_PATIENCE: Duration = Duration::from_secs(60);

/// What the demonstration may be told.
#[derive(Args, Debug)]
pub struct Options {
    /// Where to put everything: a directory that is empty or not there yet.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// The volume's size.
    #[arg(long, default_value = "10GiB")]
    size: String,
    /// The size of each replica's log.
    #[arg(long, default_value = "256MiB")]
    log_size: String,
    /// Keep the directory at the end.
    #[arg(long)]
    keep: bool,
    /// The primary's NBD port on 127.0.0.1; by default 10809, or a free one if that is taken.
    #[arg(long)]
    nbd_port: Option<u16>,
}

/// How long its keys are valid, in days.
const KEY_DAYS: u64 = 365;

/// Run it until Ctrl-C.
///
/// # Errors
/// If a replica can't be made or started.
pub fn run(options: &Options) -> Result<(), Fault> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Fault::new(Exit::Other, "the demo can't start").found(error.to_string()))?;
    runtime.block_on(play(options))
}

async fn play(options: &Options) -> Result<(), Fault> {
    let signals = |kind| {
        signal(kind).map_err(|e| Fault::new(Exit::Other, "signals can't be caught").found(e.to_string()))
    };
    let (mut terminate, mut interrupt) =
        (signals(SignalKind::terminate())?, signals(SignalKind::interrupt())?);
    let mut stage = Stage::set(options)?;
    stage.say(&stage.attach_text());
    loop {
        stage.look();
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            () = tokio::time::sleep(GLANCE) => {}
        }
    }
    stage.say("\nending: every replica drains, checkpoints and writes its clean mark\n");
    Ok(())
}

/// One replica process.
struct Player {
    config: Config,
    child: Option<Child>,
    ended: Option<Instant>,
}

/// The directory and the replicas in it. Dropping it ends and removes them.
struct Stage {
    dir: PathBuf,
    keep: bool,
    redraw: bool,
    last_line: String,
    players: Vec<Player>,
}

impl Stage {
    fn set(options: &Options) -> Result<Stage, Fault> {
        let dir = match &options.dir {
            Some(dir) => dir.clone(),
            None => std::env::temp_dir().join(format!("seawall-demo-{}", std::process::id())),
        };
        let dir = fresh(&dir)?;
        let redraw = std::io::stdout().is_terminal();
        let mut stage =
            Stage { dir, keep: options.keep, redraw, last_line: String::new(), players: Vec::new() };
        for config in stage.write_configs(options)? {
            stage.say(&format!("formatting replica {} at {}\n", config.own().name, config.home.display()));
            format::run(&config, format::Birth::default(), |_, _| {})?;
            stage.players.push(Player { config, child: None, ended: None });
        }
        for player in &mut stage.players {
            player.start(&stage.dir)?;
        }
        Ok(stage)
    }

    fn write_configs(&self, options: &Options) -> Result<Vec<Config>, Fault> {
        let no_chance =
            |e: std::io::Error| Fault::new(Exit::Other, "there is no randomness").found(e.to_string());
        let volume = VolumeId(quantity::random().map_err(no_chance)?);
        let mut replicas = String::new();
        let ports = free_ports(NAMES.len() * 2)?;
        let (peer_ports, nbd_ports) = ports.split_at(NAMES.len());
        for (name, port) in NAMES.iter().zip(peer_ports) {
            let id = ReplicaId(u64::from_le_bytes(quantity::random().map_err(no_chance)?) | 1);
            replicas +=
                &format!("\n[[replica]]\nname = \"{name}\"\nid = \"{id}\"\naddress = \"127.0.0.1:{port}\"\n");
        }
        let mut configs = Vec::new();
        for (index, name) in NAMES.iter().enumerate() {
            let nbd_port = match options.nbd_port {
                Some(port) if index == 0 => port,
                None if index == 0 && TcpListener::bind(("127.0.0.1", NBD_PORT)).is_ok() => NBD_PORT,
                Some(_) | None => nbd_ports[index],
            };
            let path = self.dir.join(format!("{name}.toml"));
            let text = format!(
                "[node]\nreplica = \"{name}\"\nhome = \"{name}.img\"\nlog_size = \"{}\"\nadmin = \"{name}.admin\"\n\n\
                 [[nbd]]\nlisten = \"unix:{name}.nbd\"\n\n[[nbd]]\nlisten = \"127.0.0.1:{nbd_port}\"\n\n\
                 [transport]\nca = \"keys/ca.pem\"\ncertificate = \"keys/{name}.pem\"\nkey = \"keys/{name}.key\"\n\n\
                 [volume]\nname = \"demo\"\nid = \"{volume}\"\nsize = \"{}\"\nfirst_primary = \"a\"\n{replicas}",
                options.log_size, options.size
            );
            fs::write(&path, text).map_err(|error| Fault::io("write", &path, &error))?;
            configs.push(Config::load(&path)?);
        }
        let keys = self.dir.join("keys");
        pki::init(&keys, KEY_DAYS)?;
        pki::issue(&keys, &configs[0], None, KEY_DAYS)?;
        Ok(configs)
    }

    fn attach_text(&self) -> String {
        let config = &self.players[0].config;
        let uris: Vec<String> = config.nbd.iter().map(|l| crate::serve::export_uri(config, l)).collect();
        let (unix, tcp) = (&uris[0], &uris[1]);
        let (_, port) =
            tcp.trim_start_matches("nbd://").trim_end_matches("/demo").rsplit_once(':').unwrap_or_default();
        format!(
            "\nThe volume `demo` ({}) is served by the primary at\n  {unix}\n  {tcp}\n\nAttach it, for example:\n  \
             qemu-img info '{unix}'\n  \
             nbdcopy --progress disk.img '{unix}'\n  \
             nbd-client 127.0.0.1 {port} /dev/nbd0 -N demo\n  \
             mkdir /tmp/seawall && nbdfuse /tmp/seawall/disk '{unix}'\n\n\
             Look closer:   seawall status --watch --socket {}\n\
             Try a loss:    kill -9 one of the processes below; it is started again after {} s\n\
             Everything is in {}; Ctrl-C ends it{}.\n\n",
            quantity::show_size(config.volume_bytes),
            config.admin.display(),
            RESTART_PAUSE.as_secs(),
            self.dir.display(),
            if self.keep { "" } else { " and removes it" }
        )
    }

    /// Show how things are, and start what ended again.
    fn look(&mut self) {
        for player in &mut self.players {
            if let Some(text) = player.look(&self.dir) {
                eprintln!("{text}");
            }
        }
        let reports: Vec<_> = self.players.iter().map(|player| admin::report(&player.config.admin)).collect();
        let primary = reports.iter().flatten().find(|r| r.role == "primary");
        let others = self.players.iter().zip(&reports).map(|(player, report)| match report {
            Ok(report) => format!("replica {}: {}, pid {}", report.replica, report.role, report.pid),
            Err(_) => format!("replica {}: no answer", player.config.own().name),
        });
        let others = others.collect::<Vec<_>>().join("   ");
        if self.redraw {
            let screen = primary.map_or("no replica is primary yet\n".to_owned(), screen::show);
            self.say(&format!("\x1b[H\x1b[2J{}{screen}\n{others}\n", self.attach_text()));
            return;
        }
        let line =
            primary.map_or(others.clone(), |report| format!("{} | {others}", screen::show_line(report)));
        if line != self.last_line {
            self.say(&format!("{line}\n"));
            self.last_line = line;
        }
    }

    fn say(&self, text: &str) {
        // Nobody may be reading; the replicas are the point.
        let _ = std::io::stdout().lock().write_all(text.as_bytes());
    }
}

impl Player {
    fn start(&mut self, dir: &Path) -> Result<(), Fault> {
        let program = std::env::current_exe().map_err(|error| {
            Fault::new(Exit::Other, "this program can't be found").found(error.to_string())
        })?;
        let path = dir.join(format!("{}.log", self.config.own().name));
        let log = File::options().create(true).append(true).open(&path);
        let log = log.map_err(|error| Fault::io("write", &path, &error))?;
        let child = Command::new(&program)
            .args(["serve", "--leash", "--config"])
            .arg(&self.config.path)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|error| Fault::io("start", &program, &error))?;
        self.child = Some(child);
        self.ended = None;
        Ok(())
    }

    /// Notice an end, and start again a while after it.
    fn look(&mut self, dir: &Path) -> Option<String> {
        let name = self.config.own().name.clone();
        if let Some(ended) = self.ended {
            if ended.elapsed() < RESTART_PAUSE {
                return None;
            }
            return Some(match self.start(dir) {
                Ok(()) => format!("replica {name} is started again"),
                Err(fault) => fault.to_string(),
            });
        }
        let status = self.child.as_mut()?.try_wait().ok().flatten()?;
        self.child = None;
        self.ended = Some(Instant::now());
        Some(format!("replica {name} ended ({status}); its log is {name}.log in {}", dir.display()))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let mut children: Vec<Child> =
            self.players.iter_mut().filter_map(|player| player.child.take()).collect();
        for child in &mut children {
            // Letting go of the leash: every replica drains and ends.
            drop(child.stdin.take());
        }
        let deadline = Instant::now() + END_PATIENCE;
        for child in &mut children {
            while matches!(child.try_wait(), Ok(None)) && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(20));
            }
            // No more than a formality for a child that has ended.
            let _ = child.kill();
            let _ = child.wait();
        }
        if self.keep {
            self.say(&format!("kept: {}\n", self.dir.display()));
        } else if let Err(error) = fs::remove_dir_all(&self.dir) {
            eprintln!("seawall: can't remove {}: {error}", self.dir.display());
        }
    }
}

/// A directory that is made now, or is there and empty. Its absolute path.
fn fresh(dir: &Path) -> Result<PathBuf, Fault> {
    fs::create_dir_all(dir).map_err(|error| Fault::io("make", dir, &error))?;
    let mut entries = fs::read_dir(dir).map_err(|error| Fault::io("read", dir, &error))?;
    if entries.next().is_some() {
        return Err(Fault::new(Exit::Occupied, format!("{} is not empty", dir.display()))
            .expected("a directory that is empty or not there yet")
            .next("give another --dir. Nothing was changed"));
    }
    fs::canonicalize(dir).map_err(|error| Fault::io("find", dir, &error))
}

/// Ports of 127.0.0.1 that nobody listens on at the moment.
fn free_ports(count: usize) -> Result<Vec<u16>, Fault> {
    let bound = || -> std::io::Result<Vec<u16>> {
        // All are held until all are found, so that none comes twice.
        let listeners =
            (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<Vec<_>, _>>()?;
        listeners.iter().map(|listener| listener.local_addr().map(|address| address.port())).collect()
    };
    bound().map_err(|error| Fault::new(Exit::Other, "there is no free port").found(error.to_string()))
}
