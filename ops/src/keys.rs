//! What a node proves itself with, from the files that its configuration names: read at the start, and again whenever
//! one of them changes, so that keys are replaced without an end of service.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use seawall_blockdev::net::credentials::{Credentials, Security};
use seawall_blockdev::net::date;

use crate::config::{Config, KeyFiles, Transport};
use crate::fault::{Exit, Fault};

/// A certificate that is valid for no longer than this is warned of: three weeks, in seconds.
const SOON: u64 = 21 * 86_400;
/// No file of keys is longer, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// How the node speaks with its peers, by its configuration and the files as they are now.
///
/// # Errors
/// If the configuration says nothing and there are peers, or the files can't be used.
pub fn security(config: &Config) -> Result<Security, Fault> {
    match &config.transport {
        Transport::Plaintext => Ok(Security::Plaintext),
        // There is nobody to speak with.
        Transport::Unsaid if config.replicas.len() == 1 => Ok(Security::Plaintext),
        Transport::Unsaid => Err(unsaid(config)),
        Transport::Tls(files) => {
            let read = read(config, files)?;
            warn_of_end(files, read.until());
            Ok(Security::Tls(Arc::new(read)))
        }
    }
}

/// Connections that begin after it has expired come to nothing.
fn warn_of_end(files: &KeyFiles, until: u64) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    if until < now.saturating_add(SOON) {
        let (file, end) = (files.certificate.display(), date::show(until));
        tracing::warn!("{file} expires on {end}: run `seawall pki issue` again and copy it before that");
    }
}

fn unsaid(config: &Config) -> Fault {
    let path = config.path.display();
    Fault::new(Exit::Keys, format!("{path}: replicas need keys, to prove to each other who they are"))
        .found(format!("{} replicas and no [transport]", config.replicas.len()))
        .expected("[transport] with `ca`, `certificate` and `key`")
        .next(format!(
            "make them: seawall pki init pki && seawall pki issue pki --config {path}; or, where nobody else can reach \
             the network, say so: [transport] security = \"plaintext\""
        ))
}

fn read(config: &Config, files: &KeyFiles) -> Result<Credentials, Fault> {
    let paths = [&files.ca, &files.certificate, &files.key];
    let [ca, certificate, key] = paths.map(|path| contents(path));
    let shown = || paths.map(|path| path.display().to_string()).join(", ");
    let credentials = Credentials::new(&ca?, &certificate?, &key?).map_err(|error| {
        Fault::new(Exit::Keys, "the keys of [transport] can't be used")
            .found(error.to_string())
            .expected(format!("a CA, a certificate signed by it, and its key, in {}", shown()))
            .next("look at them with `seawall pki show FILE`; make new ones with `seawall pki issue`")
    })?;
    let wanted = (config.volume, config.replica);
    if credentials.names().contains(&wanted) {
        return Ok(credentials);
    }
    let found =
        credentials.names().iter().map(|(volume, replica)| format!("replica {replica} of volume {volume}"));
    Err(Fault::new(
        Exit::Keys,
        format!("{} is the certificate of another replica", files.certificate.display()),
    )
    .found(found.collect::<Vec<_>>().join(", "))
    .expected(format!("replica {} ({}) of volume {}", config.replica, config.own().name, config.volume))
    .next("correct `certificate` and `key` in [transport], or `replica` in [node]"))
}

fn contents(path: &Path) -> Result<Vec<u8>, Fault> {
    let fault = |error: std::io::Error| {
        Fault::io("read", path, &error).next("make it with `seawall pki`, or correct [transport]")
    };
    let mut bytes = Vec::new();
    File::open(path).map_err(fault)?.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(fault)?;
    Ok(bytes)
}

/// What tells one state of a file from the next: inode, size, and when it was changed.
type Stamp = Option<(u64, u64, i64, i64)>;

/// Notices when key files change.
pub struct Watch {
    seen: [Stamp; 3],
}

impl Watch {
    /// As they are now.
    #[must_use]
    pub fn new(config: &Config) -> Watch {
        Watch { seen: stamps(config) }
    }

    /// Whether one of them is not as it was the last time.
    pub fn has_changed(&mut self, config: &Config) -> bool {
        let now = stamps(config);
        std::mem::replace(&mut self.seen, now) != now
    }
}

fn stamps(config: &Config) -> [Stamp; 3] {
    let Transport::Tls(files) = &config.transport else { return [None; 3] };
    [&files.ca, &files.certificate, &files.key].map(|path| {
        let found = fs::metadata(path).ok()?;
        Some((found.ino(), found.len(), found.mtime(), found.mtime_nsec()))
    })
}
