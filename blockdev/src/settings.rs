//! What a driver is told at its start.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use seawall_engine::setup::Setup;

use crate::branches::Branches;
use crate::disk::device::DeviceError;
use crate::export::Limits;
use crate::net::credentials::Security;
use crate::net::{Address, ListenError};
use crate::pool::PoolSettings;
use crate::ring::{RingError, RingSettings};

/// One replica that the driver keeps.
#[derive(Clone, Debug)]
pub struct VolumeSettings {
    /// Who it is and what it promises.
    pub setup: Setup,
    /// Its main device: a file or a block device, formatted.
    pub main: PathBuf,
    /// Its log device, if the log has one of its own.
    pub log: Option<PathBuf>,
    /// The name that clients use for it.
    pub export: String,
    /// What clients are told of it.
    pub description: String,
    /// Whether clients may only read.
    pub read_only: bool,
    /// Where what is cut out of its log is kept. Nowhere: then it counts as a place without room.
    pub branches: Option<Branches>,
}

/// Everything about one driver.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The ring.
    pub ring: RingSettings,
    /// The buffer pool.
    pub pool: PoolSettings,
    /// How long the loop stays awake after something happened, instead of sleeping at once. Costs a processor.
    pub spin: Duration,
    /// Where peers come in: host and port.
    pub peers: Vec<String>,
    /// How it speaks with peers.
    pub security: Security,
    /// Where NBD clients come in.
    pub clients: Vec<Address>,
    /// Connections of clients at the most; more are closed at once.
    pub clients_max: usize,
    /// Bounds of one client connection; made smaller where the pool is too small for them.
    pub limits: Limits,
    /// The replicas. Without any the driver does nothing.
    pub volumes: Vec<VolumeSettings>,
}

impl Default for Settings {
    /// No replica, no listener; everything else as is usual.
    fn default() -> Settings {
        Settings {
            ring: RingSettings::default(),
            pool: PoolSettings::default(),
            spin: Duration::ZERO,
            peers: Vec::new(),
            security: Security::Plaintext,
            clients: Vec::new(),
            clients_max: 256,
            limits: Limits::DEFAULT,
            volumes: Vec::new(),
        }
    }
}

/// Why a driver does not start.
#[derive(Debug)]
pub enum StartError {
    /// There is no ring, or no memory.
    Ring(RingError),
    /// A device can't be used.
    Device(DeviceError),
    /// Nobody can listen there.
    Listen(ListenError),
    /// The pool is too small for a single request.
    Pool {
        /// Its blocks for clients.
        blocks: u32,
        /// What is needed at least.
        needed: u32,
    },
    /// There is no event counter, or no thread.
    Thread {
        /// The operating system's number.
        errno: i32,
    },
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Ring(error) => error.fmt(f),
            StartError::Device(error) => error.fmt(f),
            StartError::Listen(error) => error.fmt(f),
            StartError::Pool { blocks, needed } => write!(
                f,
                "the buffer pool has {blocks} blocks of 4096 bytes for clients, {needed} are needed: enlarge it"
            ),
            StartError::Thread { errno } => {
                write!(f, "no thread for the driver: {}", std::io::Error::from_raw_os_error(*errno))
            }
        }
    }
}

impl std::error::Error for StartError {}

impl From<RingError> for StartError {
    fn from(error: RingError) -> StartError {
        StartError::Ring(error)
    }
}

impl From<DeviceError> for StartError {
    fn from(error: DeviceError) -> StartError {
        StartError::Device(error)
    }
}

impl From<ListenError> for StartError {
    fn from(error: ListenError) -> StartError {
        StartError::Listen(error)
    }
}
