//! Where replicas of a test live: a directory that goes away, their configurations, and the program.

use std::fmt::Write as _;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use seawall_ops::config::Config;
use seawall_ops::pki;

/// The replicas.
pub(crate) const NAMES: [&str; 3] = ["a", "b", "c"];

/// The program under test: this build's, or the one that `SEAWALL_PROGRAM` names.
pub(crate) fn seawall() -> Command {
    let program = std::env::var_os("SEAWALL_PROGRAM");
    Command::new(program.unwrap_or_else(|| env!("CARGO_BIN_EXE_seawall").into()))
}

/// A directory that goes away.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Scratch {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("seawall-test-{}-{count}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The sizes of a cluster.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) volume_mib: u64,
    pub(crate) log_mib: u64,
}

impl Default for Shape {
    fn default() -> Shape {
        Shape { volume_mib: 256, log_mib: 64 }
    }
}

/// Write the configuration of each of three replicas into a directory, and keys for them.
pub(crate) fn write_configs(dir: &Path, shape: Shape, volume: &str) -> Vec<PathBuf> {
    let listeners: Vec<TcpListener> = (0..6).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let ports: Vec<u16> = listeners.iter().map(|l| l.local_addr().unwrap().port()).collect();
    let mut replicas = String::new();
    for (index, name) in NAMES.iter().enumerate() {
        let (id, port) = (index + 10, ports[index]);
        let _ = write!(
            replicas,
            "\n[[replica]]\nname = \"{name}\"\nid = \"r-{id:016x}\"\naddress = \"127.0.0.1:{port}\"\n"
        );
    }
    let config = |(index, name): (usize, &&str)| {
        let text = format!(
            "[node]\nreplica = \"{name}\"\nhome = \"{name}.img\"\nlog_size = \"{}MiB\"\nadmin = \"{name}.admin\"\n\
             metrics = \"127.0.0.1:{}\"\n\n[[nbd]]\nlisten = \"unix:{name}.nbd\"\n\n\
             [transport]\nca = \"keys/ca.pem\"\ncertificate = \"keys/{name}.pem\"\nkey = \"keys/{name}.key\"\n\n[volume]\nname = \"vol\"\n\
             id = \"{volume}\"\nsize = \"{}MiB\"\nfirst_primary = \"a\"\nfailover = \"manual\"\n{replicas}\n\
             [limits]\nsilence = \"2s\"\n",
            shape.log_mib,
            ports[index + 3],
            shape.volume_mib
        );
        let path = dir.join(format!("{name}.toml"));
        fs::write(&path, text).unwrap();
        path
    };
    let configs: Vec<PathBuf> = NAMES.iter().enumerate().map(config).collect();
    let keys = dir.join("keys");
    pki::init(&keys, 30).unwrap();
    pki::issue(&keys, &Config::load(&configs[0]).unwrap(), None, 30).unwrap();
    configs
}

pub(crate) const VOLUME: &str = "6f1e0f6e-6c3a-4a5e-9d7b-2f1f4b6f7c11";

/// What a command said, both ways.
pub(crate) fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
