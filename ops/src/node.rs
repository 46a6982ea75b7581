//! The driver as the control plane sees it: the one file that speaks to `seawall_blockdev`'s handle.

use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use seawall_blockdev::clock;
use seawall_blockdev::counters::Kind;
use seawall_blockdev::disk::device::DeviceError;
use seawall_blockdev::driver::Driver;
use seawall_blockdev::handle::{Handle, Told, Unheard};
use seawall_blockdev::net::Address;
use seawall_blockdev::net::credentials::Security;
use seawall_blockdev::pool::PoolSettings;
use seawall_blockdev::settings::{Settings, StartError, VolumeSettings};
use seawall_engine::io::{Answer, Command};
use seawall_engine::notice::Notice;
use seawall_engine::status::Status;
use seawall_wal::names::{BLOCK_BYTES, VolumeId};
use tokio::sync::{mpsc, oneshot};

use crate::config::{Config, Listen, Transport};
use crate::disk::{LINGER, device_fault, machine_boot, setup};
use crate::fault::{Exit, Fault};
use crate::keys;
use crate::metrics::Number;
use crate::quantity::random;
use crate::serve::bind_fault;

/// Notices that wait for the control plane at the most; then the driver's own queue fills, which it counts.
const NOTICES_MAX: usize = 256;
/// How long a status may take.
const STATUS_PATIENCE: Duration = Duration::from_secs(5);

/// A running driver with one replica.
pub struct Node {
    volume: VolumeId,
    /// Until when its certificate is valid, in seconds since the beginning of 1970; 0 without one.
    proves_until: AtomicU64,
    handle: Handle,
    notices: tokio::sync::Mutex<mpsc::Receiver<Notice>>,
    thread: Mutex<Option<JoinHandle<io::Result<()>>>>,
}

impl Node {
    /// Open the devices, listen, and start the driver's thread.
    ///
    /// # Errors
    /// If a device can't be used or an address is taken.
    pub fn start(config: &Config) -> Result<Node, Fault> {
        let settings = settings(config)?;
        let proves_until = AtomicU64::new(proves_until(&settings.security));
        let driver = start_lingering(&settings).map_err(|error| start_fault(&error))?;
        let (handle, told, thread) = driver.into_parts();
        let (notices, heard) = mpsc::channel(NOTICES_MAX);
        let forward = move || {
            for Told { notice, .. } in told {
                if notices.blocking_send(notice).is_err() {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("notices".to_owned()).spawn(forward).map_err(|error| {
            Fault::new(Exit::Other, "there is no thread for notices").found(error.to_string())
        })?;
        let notices = tokio::sync::Mutex::new(heard);
        Ok(Node { volume: config.volume, proves_until, handle, notices, thread: Mutex::new(Some(thread)) })
    }

    /// The replica's status, unless the driver is gone or too busy to tell.
    pub async fn status(&self) -> Option<Status> {
        let (reply, answer) = oneshot::channel();
        self.handle.status(self.volume, move |status| drop(reply.send(status))).ok()?;
        tokio::time::timeout(STATUS_PATIENCE, answer).await.ok()?.ok()?
    }

    /// Give the replica a command and wait for its answer.
    ///
    /// # Errors
    /// What the replica says, or that the driver is gone.
    pub async fn command(&self, command: Command) -> Answer {
        let (reply, answer) = oneshot::channel();
        let given = self.handle.command(self.volume, command, move |answer| drop(reply.send(answer)));
        given.map_err(|unheard| unheard.to_string())?;
        answer.await.unwrap_or_else(|_| Err(Unheard::Stopped.to_string()))
    }

    /// The next thing worth telling; none once the driver is gone. For one listener at a time.
    pub async fn notice(&self) -> Option<Notice> {
        self.notices.lock().await.recv().await
    }

    /// Read the keys again, and speak with peers by them from now on; connections that are, stay as they are.
    ///
    /// # Errors
    /// If they can't be used; then all stays as it was.
    pub fn secure(&self, config: &Config) -> Result<(), Fault> {
        let security = keys::security(config)?;
        self.proves_until.store(proves_until(&security), Ordering::Relaxed);
        self.handle.secure(security).map_err(|unheard| {
            Fault::new(Exit::Other, "new keys could not be given").found(unheard.to_string())
        })
    }

    /// The driver's numbers.
    #[must_use]
    pub fn numbers(&self) -> Vec<Number> {
        let until = self.proves_until.load(Ordering::Relaxed);
        let help = "When the certificate shown to peers expires, in seconds since 1970; 0 without one";
        let mut all = self.handle.counters().all();
        all.push(("certificate_expires_seconds", Kind::Gauge, help, until));
        all
    }

    /// End the driver's thread, whatever it is doing, and wait for its end.
    ///
    /// # Errors
    /// If its ring failed.
    ///
    /// # Panics
    /// If it panicked, which is a bug.
    pub fn finish(&self) -> io::Result<()> {
        self.handle.stop();
        let thread = self.thread.lock().expect("no holder of the lock panics").take();
        thread.map_or(Ok(()), |thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    }
}

fn proves_until(security: &Security) -> u64 {
    match security {
        Security::Plaintext => 0,
        Security::Tls(credentials) => credentials.until(),
    }
}

/// Start; while something is still in use by a process that ended just now, try again.
fn start_lingering(settings: &Settings) -> Result<Driver, StartError> {
    let deadline = Instant::now() + LINGER;
    loop {
        let error = match Driver::start(settings.clone()) {
            Ok(driver) => return Ok(driver),
            Err(error) => error,
        };
        let held = match &error {
            StartError::Device(error) => matches!(error, DeviceError::InUse { .. }),
            StartError::Listen(error) => error.errno == nix::errno::Errno::EADDRINUSE as i32,
            StartError::Ring(_) | StartError::Pool { .. } | StartError::Thread { .. } => false,
        };
        if !held || Instant::now() >= deadline {
            return Err(error);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn settings(config: &Config) -> Result<Settings, Fault> {
    let clients = config.nbd.iter().map(|listen| match listen {
        Listen::Unix(path) => Address::Unix(path.clone()),
        Listen::Tcp(address) => Address::Tcp(address.clone()),
    });
    let mut setup = setup(config, machine_boot()?);
    let no_chance =
        |e: std::io::Error| Fault::new(Exit::Other, "there is no randomness").found(e.to_string());
    setup.wall = wall();
    setup.seed = u64::from_le_bytes(random().map_err(no_chance)?);
    let volume = VolumeSettings {
        setup,
        main: config.home.clone(),
        log: config.log.clone(),
        export: config.name.clone(),
        description: format!("Seawall volume {}", config.volume),
        read_only: false,
        branches: Some(config.branches.clone()),
    };
    let blocks = u32::try_from(config.limits.buffer_bytes / u64::from(BLOCK_BYTES)).unwrap_or(u32::MAX);
    Ok(Settings {
        pool: PoolSettings { blocks, core_blocks: blocks / 4 },
        // Nobody comes in where there is nobody else.
        peers: match (&config.transport, config.replicas.len()) {
            (Transport::Unsaid, 1) => Vec::new(),
            (Transport::Unsaid | Transport::Plaintext | Transport::Tls(_), _) => {
                vec![config.own().address.clone()]
            }
        },
        security: keys::security(config)?,
        clients: clients.collect(),
        volumes: vec![volume],
        ..Settings::default()
    })
}

/// What Unix time it was when this machine's monotonic clock was at zero.
fn wall() -> Duration {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    unix.saturating_sub(Duration::from_nanos(clock::now().0))
}

fn start_fault(error: &StartError) -> Fault {
    match error {
        StartError::Device(error) => device_fault(error),
        StartError::Listen(error) => match error.errno {
            0 => Fault::new(Exit::Config, error.to_string()),
            errno => bind_fault(&error.address.to_string(), &io::Error::from_raw_os_error(errno)),
        },
        StartError::Pool { .. } => {
            Fault::new(Exit::Config, error.to_string()).next("raise `buffers` in [limits]")
        }
        StartError::Ring(_) | StartError::Thread { .. } => {
            Fault::new(Exit::Other, "the driver can't start").found(error.to_string())
        }
    }
}
