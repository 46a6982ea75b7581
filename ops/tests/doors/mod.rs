//! Addresses at which clients find the replicas: one for each, all at one port, and one name for all of them.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::site::NAMES;

/// What leads to all of them.
pub(crate) const NAME: &str = "vol0.example";

/// Whether all of these programs are there; says which one is not.
pub(crate) fn installed(programs: &[&str]) -> bool {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let missing = programs.iter().find(|name| !path.split(':').any(|dir| Path::new(dir).join(name).exists()));
    if let Some(name) = missing {
        println!("skipped: {name} is not installed");
    }
    missing.is_none()
}

/// Give each replica an address for clients, and let them find their primary themselves. Returns the port.
pub(crate) fn open(configs: &[PathBuf]) -> u16 {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for (index, config) in configs.iter().enumerate() {
        let text = fs::read_to_string(config).unwrap();
        assert!(text.contains("\"manual\"") && text.contains("\n[transport]"));
        let door = format!("\n[[nbd]]\nlisten = \"127.0.0.{}:{port}\"\n\n[transport]", index + 1);
        let text = text.replace("\"manual\"", "\"automatic\"").replace("\n[transport]", &door);
        fs::write(config, text).unwrap();
    }
    port
}

/// A command that finds all nodes under one name, with the files that say so in `dir`; none if this process can't make
/// it believe so.
pub(crate) fn under_one_name(dir: &Path, program: &str) -> Option<Command> {
    let is_root = fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    if !is_root || !installed(&["unshare"]) {
        println!("skipped: a name for all nodes needs root and `unshare` (package util-linux)");
        return None;
    }
    let (hosts, order) = (dir.join("hosts"), dir.join("host.conf"));
    let line = |index: usize| format!("127.0.0.{} {NAME}\n", index + 1);
    fs::write(&hosts, (0..NAMES.len()).map(line).collect::<String>()).unwrap();
    fs::write(&order, "multi on\n").unwrap();
    let mut command = Command::new("unshare");
    let script =
        "mount --bind \"$1\" /etc/hosts && mount --bind \"$2\" /etc/host.conf && shift 2 && exec \"$@\"";
    command.args(["--mount", "sh", "-c", script, "sh"]).arg(hosts).arg(order).arg(program);
    Some(command)
}
