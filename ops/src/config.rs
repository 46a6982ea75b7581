//! The configuration file of one node, read and judged. Every refusal names line and column, what was found,
//! what was expected and what to do.

mod judge;
mod page;
mod raw;
mod shape;

use std::path::{Path, PathBuf};
use std::time::Duration;

use seawall_blockdev::branches::Branches;
use seawall_engine::setup::{Ack, CommitRule, Failover};
use seawall_wal::configuration::{Configuration, Member};
use seawall_wal::names::{BLOCK_BYTES, ReplicaId, VolumeId};

use crate::fault::{Exit, Fault};
use judge::Judge;
use page::Page;
use raw::Raw;

/// The log's size if the file names none.
pub const LOG_BYTES_DEFAULT: u64 = 256 << 20;
/// The smallest log that can be asked for.
pub const LOG_BYTES_MIN: u64 = 4 << 20;
/// Memory for buffers if the file names none.
pub const BUFFER_BYTES_DEFAULT: u64 = 64 << 20;
/// The smallest window of a peer: two of the largest records.
const WINDOW_BYTES_MIN: u64 = 1 << 20;
/// Room for what is cut out of the log, if the file names none.
pub const BRANCH_BYTES_DEFAULT: u64 = 1 << 30;
/// How long that is kept, if the file does not say.
pub const BRANCH_TIME_DEFAULT: Duration = Duration::from_secs(30 * 24 * 3600);
/// The longest name of a replica, in bytes.
const NAME_BYTES_MAX: usize = 64;
/// The shortest silence after which a peer is taken for lost.
const SILENCE_MIN: Duration = Duration::from_millis(100);
/// Memory for buffers at the least: a few of the largest requests.
pub const BUFFER_BYTES_MIN: u64 = 16 << 20;
/// The smallest volume.
pub const VOLUME_BYTES_MIN: u64 = 1 << 20;
/// The longest path of a unix socket: `sun_path` less its terminating zero, unix(7).
pub const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Where a server listens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Listen {
    /// A unix socket at that path.
    Unix(PathBuf),
    /// Host and port.
    Tcp(String),
}

impl std::fmt::Display for Listen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Listen::Unix(path) => write!(f, "unix:{}", path.display()),
            Listen::Tcp(address) => f.write_str(address),
        }
    }
}

/// One copy of the volume.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Replica {
    /// Its name for people.
    pub name: String,
    /// Its identity.
    pub id: ReplicaId,
    /// Where it listens for its peers: host and port.
    pub address: String,
    /// Whether it counts.
    pub voter: bool,
}

/// The files with which a node proves who it is, all in PEM.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyFiles {
    /// The CAs that are believed.
    pub ca: PathBuf,
    /// The node's certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// What becomes of requests while there is no quorum, or no primary.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoQuorum {
    /// They wait for as long as `quorum_patience` says, and end with an error.
    Error,
    /// They wait for ever.
    Wait,
}

/// Under commit rule `all`: how long writes wait for a copy before it is dropped from the in-sync set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AllPatience {
    /// As long as is usual, and less than requests wait for a quorum.
    Usual,
    /// So long.
    For(Duration),
    /// For ever.
    Wait,
}

/// How replicas speak with each other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Transport {
    /// The file says nothing of it, which is refused where there is anybody to speak with.
    Unsaid,
    /// In plaintext, by name.
    Plaintext,
    /// Under TLS.
    Tls(KeyFiles),
}

/// Bounds that the file may override; the rest are the engine's own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Memory for payload buffers, in bytes.
    pub buffer_bytes: u64,
    /// Bytes sent to one peer and not yet acknowledged.
    pub window_bytes: Option<u64>,
    /// Client requests admitted and not yet completed.
    pub requests: Option<usize>,
    /// How long a request may wait for a commit quorum.
    pub quorum_patience: Option<Duration>,
    /// A peer that has said nothing for so long is lost.
    pub silence: Option<Duration>,
    /// How long a voter that answered its primary promises nobody else. The same in every node's file.
    pub lease: Option<Duration>,
}

/// One node's configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// The file that it came from.
    pub path: PathBuf,
    /// Which of the replicas this node keeps.
    pub replica: ReplicaId,
    /// The main device: a file or a block device.
    pub home: PathBuf,
    /// The log's own device, if it has one.
    pub log: Option<PathBuf>,
    /// The log ring's size in bytes.
    pub log_bytes: u64,
    /// Where what is cut out of the log is kept, how much of it, and for how long.
    pub branches: Branches,
    /// The admin interface's unix socket.
    pub admin: PathBuf,
    /// Where metrics are served: host and port.
    pub metrics: Option<String>,
    /// How peers are spoken with.
    pub transport: Transport,
    /// Where clients are served.
    pub nbd: Vec<Listen>,
    /// The volume's name, which is also its export name.
    pub name: String,
    /// The volume.
    pub volume: VolumeId,
    /// Its size in bytes.
    pub volume_bytes: u64,
    /// When a write is committed.
    pub commit: CommitRule,
    /// What a copy's acknowledgement means.
    pub ack: Ack,
    /// Who finds a new primary.
    pub failover: Failover,
    /// What becomes of requests while there is no quorum.
    pub no_quorum: NoQuorum,
    /// Under commit rule `all`: how long writes wait for one of the in-sync set.
    pub all_patience: AllPatience,
    /// Who reigns first over a newly formatted volume.
    pub first_primary: ReplicaId,
    /// All replicas.
    pub replicas: Vec<Replica>,
    /// Bounds.
    pub limits: Limits,
}

impl Config {
    /// Read and judge a file. Paths in it are relative to the file's own directory.
    ///
    /// # Errors
    /// If it can't be read, or anything in it can't be used.
    pub fn load(path: &Path) -> Result<Config, Fault> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            Fault::io("read the configuration", path, &error).next("give the path of a configuration file")
        })?;
        Config::parse(path, text)
    }

    /// As [`Config::load`], from text.
    ///
    /// # Errors
    /// If anything in it can't be used.
    pub fn parse(path: &Path, text: String) -> Result<Config, Fault> {
        let page = Page::new(path, text);
        let raw: Raw = toml::from_str(page.text()).map_err(|error| shape::fault(&page, &error))?;
        let judge = Judge { page: &page, base: path.parent().unwrap_or(Path::new("")) };
        judge.config(path, &raw)
    }

    /// This node's own entry.
    ///
    /// # Panics
    /// Never after [`Config::load`], which checks that there is one.
    #[must_use]
    pub fn own(&self) -> &Replica {
        self.replicas.iter().find(|r| r.id == self.replica).expect("checked when it was loaded")
    }

    /// The name of a replica, or its identity if the file does not know it.
    #[must_use]
    pub fn name_of(&self, id: ReplicaId) -> String {
        self.replicas.iter().find(|r| r.id == id).map_or_else(|| id.to_string(), |r| r.name.clone())
    }

    /// The same with the members that a disk knows, if it knows any, in the place of the file's.
    #[must_use]
    pub fn with_members(&self, known: &Configuration) -> Config {
        let member = |member: &Member| Replica {
            name: member.name.clone(),
            id: member.replica,
            address: member.address.clone(),
            voter: member.suffrage.votes(),
        };
        let mut config = self.clone();
        if !known.members.is_empty() {
            // Who is no member any more keeps the name that the file gives it.
            config.replicas.retain(|replica| known.member(replica.id).is_none());
            config.replicas.iter_mut().for_each(|replica| replica.voter = false);
            config.replicas.splice(0..0, known.members.iter().map(member));
        }
        config
    }

    /// The volume's size in blocks.
    #[must_use]
    pub fn volume_blocks(&self) -> u64 {
        self.volume_bytes / u64::from(BLOCK_BYTES)
    }
}

/// The refusal of a command that needs a configuration and was given none.
#[must_use]
pub fn missing() -> Fault {
    Fault::new(Exit::Config, "no configuration was given").next("add --config FILE")
}

#[cfg(test)]
mod tests;
