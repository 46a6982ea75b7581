//! `seawall serve`: one replica, from its configuration to its clean end.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use axum::routing::get;
use nix::sys::stat::{Mode, umask};
use seawall_engine::io::{Answered, Command};
use seawall_engine::notice::Notice;
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, watch};

use crate::config::{Config, Listen};
use crate::disk::{Devices, examine};
use crate::fault::{Exit, Fault};
use crate::node::Node;
use crate::report::Report;
use crate::{admin, keys, logs, metrics};

/// How long a clean end may take before the process ends without it.
pub const DRAIN_PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at the key files.
const KEY_GLANCE: Duration = Duration::from_secs(1);
/// How long those who asked for the end may take to hear of it.
const ANSWER_PATIENCE: Duration = Duration::from_secs(1);

/// What the control plane's tasks share.
pub struct Plane {
    /// The configuration.
    pub config: Config,
    /// The driver.
    pub node: Node,
    /// Told when the process is to end.
    pub stop: Notify,
    /// How the drain ended, once it has; nothing while it has not.
    pub drained: watch::Sender<Option<Result<(), String>>>,
    noticed: Mutex<BTreeMap<&'static str, u64>>,
}

impl Plane {
    /// The replica's status, unless the driver is gone.
    pub async fn report(&self) -> Option<Report> {
        self.node.status().await.map(|status| Report::new(&self.config, &status))
    }

    async fn metrics(&self) -> String {
        let numbers = self.node.numbers();
        match self.report().await {
            Some(report) => {
                let noticed = self.noticed.lock().expect("no holder of the lock panics").clone();
                metrics::page(&report, &numbers, &noticed)
            }
            None => String::new(),
        }
    }

    fn on_notice(&self, notice: &Notice) {
        *self.noticed.lock().expect("no holder of the lock panics").entry(notice.kind()).or_default() += 1;
        logs::notice(&self.config.own().name, notice);
    }
}

/// Serve until told to end. With `leash`, also end when standard input closes: when whoever started it is gone.
///
/// # Errors
/// If it can't start, or ends otherwise than cleanly.
pub fn run(config: Config, leash: bool) -> Result<(), Fault> {
    let superblock = examine(&config, &Devices::open(&config)?)?;
    tracing::info!(
        replica = config.own().name.as_str(),
        "replica {} of volume {}, promised {}",
        superblock.replica,
        superblock.volume,
        superblock.promised
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Fault::new(Exit::Other, "the control plane can't start").found(error.to_string()))?;
    runtime.block_on(plane(config, leash))
}

async fn plane(config: Config, leash: bool) -> Result<(), Fault> {
    let admin = bind_admin(&config.admin)?;
    let metrics = match &config.metrics {
        Some(address) => Some(TcpListener::bind(address).await.map_err(|e| bind_fault(address, &e))?),
        None => None,
    };
    let signals = |kind| {
        signal(kind).map_err(|e| Fault::new(Exit::Other, "signals can't be caught").found(e.to_string()))
    };
    let (mut terminate, mut interrupt) =
        (signals(SignalKind::terminate())?, signals(SignalKind::interrupt())?);
    // Before they are read: what changes after this is read again.
    let watch = keys::Watch::new(&config);
    let node = Node::start(&config)?;
    let (stop, drained) = (Notify::new(), watch::Sender::new(None));
    let plane = Arc::new(Plane { config, node, stop, drained, noticed: Mutex::default() });
    tokio::spawn(admin::serve(admin, Arc::clone(&plane)));
    tokio::spawn(watch_keys(signals(SignalKind::hangup())?, watch, Arc::clone(&plane)));
    if let Some(listener) = metrics {
        tokio::spawn(serve_metrics(listener, Arc::clone(&plane)));
    }
    if leash {
        watch_leash(Arc::clone(&plane));
    }
    let ended = tokio::select! {
        () = hear_notices(&plane) => Some("the driver ended by itself"),
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        () = plane.stop.notified() => None,
    };
    let result = match ended {
        Some(why) => Err(Fault::new(Exit::Other, why).next("the log lines before this one say why")),
        None => drain(&plane, &mut terminate, &mut interrupt).await,
    };
    // Whoever asked for the end hears how it went.
    plane.drained.send_replace(Some(result.clone().map_err(|fault| fault.to_string())));
    let _ = tokio::time::timeout(ANSWER_PATIENCE, plane.drained.closed()).await;
    // Whoever starts next binds anew; a stale socket would only confuse.
    let _ = std::fs::remove_file(&plane.config.admin);
    let finished = plane.node.finish();
    match (result, finished) {
        (Ok(()), Err(error)) => {
            Err(Fault::new(Exit::Other, "the driver's ring failed").found(error.to_string()))
        }
        (Err(fault), Err(error)) => Err(fault.found(error.to_string())),
        (result, Ok(())) => result,
    }
}

async fn hear_notices(plane: &Plane) {
    while let Some(notice) = plane.node.notice().await {
        plane.on_notice(&notice);
    }
}

/// A second signal ends the process at once, whatever its disk is doing.
async fn drain(plane: &Plane, terminate: &mut Signal, interrupt: &mut Signal) -> Result<(), Fault> {
    tracing::info!("draining");
    tokio::select! {
        drained = drain_patiently(plane) => drained,
        _ = terminate.recv() => end_at_once(),
        _ = interrupt.recv() => end_at_once(),
    }
}

fn end_at_once() -> ! {
    let fault = unclean("a second signal, before it was drained");
    eprint!("{fault}");
    std::process::exit(fault.exit.code().into())
}

fn unclean(found: impl Into<String>) -> Fault {
    Fault::new(Exit::Unclean, "the shutdown was not clean; nothing completed is lost")
        .found(found)
        .next("the next start reads the log instead of the clean mark")
}

async fn drain_patiently(plane: &Plane) -> Result<(), Fault> {
    let drained = async {
        tokio::select! {
            answer = plane.node.command(Command::Drain) => answer,
            () = hear_notices(plane) => Err("the driver ended before it was drained".to_owned()),
        }
    };
    match tokio::time::timeout(DRAIN_PATIENCE, drained).await {
        Ok(Ok(Answered::Drained)) => {
            tracing::info!("drained: all is home, the clean mark is durable");
            Ok(())
        }
        Ok(Ok(other)) => Err(unclean(format!("an answer to something else: {other:?}"))),
        Ok(Err(why)) => Err(unclean(why)),
        Err(_) => Err(unclean(format!("no end after {} s", DRAIN_PATIENCE.as_secs()))),
    }
}

async fn serve_metrics(listener: TcpListener, plane: Arc<Plane>) {
    let page = move || {
        let plane = Arc::clone(&plane);
        async move { ([("content-type", "text/plain; version=0.0.4")], plane.metrics().await) }
    };
    let router = axum::Router::new().route("/metrics", get(page));
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!("metrics are served no more: {error}");
    }
}

/// Reads the keys again when a file of theirs has changed, and on SIGHUP. What can't be used changes nothing: a
/// certificate may be there a moment before its key.
async fn watch_keys(mut hangup: Signal, mut watch: keys::Watch, plane: Arc<Plane>) {
    loop {
        let told = tokio::select! {
            _ = hangup.recv() => true,
            () = tokio::time::sleep(KEY_GLANCE) => false,
        };
        if !watch.has_changed(&plane.config) && !told {
            continue;
        }
        match plane.node.secure(&plane.config) {
            Ok(()) => {
                tracing::info!("connections with peers that begin from now on use the keys as they are now")
            }
            Err(fault) => tracing::error!("the keys stay as they were: {fault}"),
        }
    }
}

/// A thread of its own: standard input can't be waited for by the control plane without holding up its end.
fn watch_leash(plane: Arc<Plane>) {
    thread::spawn(move || {
        let mut stdin = std::io::stdin();
        let mut bytes = [0; 64];
        while matches!(stdin.read(&mut bytes), Ok(1..)) {}
        plane.stop.notify_one();
    });
}

fn bind_admin(path: &Path) -> Result<UnixListener, Fault> {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    if is_socket && std::os::unix::net::UnixStream::connect(path).is_err() {
        // Left over from a process that was killed: nobody listens.
        let _ = std::fs::remove_file(path);
    }
    // For its owner alone, from its first moment on: whoever may write to it may stop and promote.
    let before = umask(Mode::S_IXUSR | Mode::S_IRWXG | Mode::S_IRWXO);
    let bound = UnixListener::bind(path);
    umask(before);
    bound.map_err(|error| bind_fault(&path.display().to_string(), &error))
}

/// The refusal of an address.
#[must_use]
pub fn bind_fault(address: &str, error: &std::io::Error) -> Fault {
    let fault = |exit| Fault::new(exit, format!("can't listen at {address}")).found(error.to_string());
    match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            fault(Exit::AddressInUse).next("stop whoever listens there, or configure another address")
        }
        _ => fault(Exit::Io).next("configure another address"),
    }
}

/// How clients name the volume that is served there.
#[must_use]
pub fn export_uri(config: &Config, listen: &Listen) -> String {
    match listen {
        Listen::Unix(path) => format!("nbd+unix:///{}?socket={}", config.name, path.display()),
        Listen::Tcp(address) => format!("nbd://{address}/{}", config.name),
    }
}
