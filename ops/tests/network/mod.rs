//! A network of its own for each node: network namespaces, joined by a bridge in one more. Everything goes away with it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};

use crate::site::{NAMES, text};

/// An address of the link layer that nobody has.
const NOBODY: &str = "02:00:00:00:00:99";

/// The namespaces. Their names carry the process that made them.
pub(crate) struct Network {
    name: String,
}

fn ip(arguments: &[&str]) -> bool {
    let Ok(output) = Command::new("ip").args(arguments).stdin(Stdio::null()).output() else { return false };
    if !output.status.success() {
        println!("ip {}: {}", arguments.join(" "), text(&output).trim());
    }
    output.status.success()
}

/// A node's place at the bridge.
fn port(index: usize) -> String {
    format!("port-{}", NAMES[index])
}

/// Where a node is reached by the others.
pub(crate) fn address(index: usize) -> String {
    format!("10.77.0.{}", index + 1)
}

impl Network {
    /// None, and said so, if this process may not make one.
    pub(crate) fn new() -> Option<Network> {
        let is_root = fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
        if !is_root || Command::new("ip").arg("-V").output().is_err() {
            println!("skipped: network namespaces need root and `ip` (package iproute2)");
            return None;
        }
        sweep();
        let network = Network { name: format!("seawall{}", std::process::id()) };
        assert!(network.build(), "root and `ip` are here, and no network");
        Some(network)
    }

    fn build(&self) -> bool {
        let hub = self.hub();
        let mut well = ip(&["netns", "add", &hub])
            && ip(&["-n", &hub, "link", "add", "switch", "type", "bridge"])
            && ip(&["-n", &hub, "link", "set", "switch", "up"]);
        for index in 0..NAMES.len() {
            let (node, port, place) = (self.node(index), port(index), format!("{}/24", address(index)));
            let link = ["link", "add", "eth0", "netns", &node, "type", "veth", "peer", "name", &port];
            well = well
                && ip(&["netns", "add", &node])
                && ip(&[&link[..], &["netns", &hub]].concat())
                && ip(&["-n", &hub, "link", "set", &port, "master", "switch", "up"])
                && ip(&["-n", &node, "addr", "add", &place, "dev", "eth0"])
                && ip(&["-n", &node, "link", "set", "eth0", "up"])
                && ip(&["-n", &node, "link", "set", "lo", "up"]);
        }
        well
    }

    fn hub(&self) -> String {
        format!("{}-hub", self.name)
    }

    fn node(&self, index: usize) -> String {
        format!("{}-{}", self.name, NAMES[index])
    }

    /// What goes before a command that is to run at a node.
    pub(crate) fn prefix(&self, index: usize) -> Vec<String> {
        vec!["nsenter".to_owned(), format!("--net=/run/netns/{}", self.node(index))]
    }

    /// A node's link goes down: nothing comes or goes.
    pub(crate) fn cut(&self, index: usize) {
        assert!(ip(&["-n", &self.hub(), "link", "set", &port(index), "down"]));
    }

    /// What a node sends goes to nobody; it still hears the others.
    pub(crate) fn mute(&self, index: usize) {
        for other in (0..NAMES.len()).filter(|other| *other != index) {
            self.lose(index, other);
        }
    }

    /// What the others send to a node goes to nobody; they still hear it.
    pub(crate) fn deafen(&self, index: usize) {
        for other in (0..NAMES.len()).filter(|other| *other != index) {
            self.lose(other, index);
        }
    }

    fn lose(&self, from: usize, to: usize) {
        let (node, place) = (self.node(from), address(to));
        let neighbour = ["neigh", "replace", &place, "lladdr", NOBODY, "dev", "eth0", "nud", "permanent"];
        assert!(ip(&[&["-n", &node][..], &neighbour].concat()));
    }

    /// Everything is connected again.
    pub(crate) fn heal(&self) {
        for index in 0..NAMES.len() {
            assert!(ip(&["-n", &self.hub(), "link", "set", &port(index), "up"]));
            // The false ones and those that were learnt: all are asked for anew.
            let flush = ["neigh", "flush", "all", "nud", "all", "dev", "eth0"];
            assert!(ip(&[&["-n", &self.node(index)][..], &flush].concat()));
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for index in 0..NAMES.len() {
            ip(&["netns", "del", &self.node(index)]);
        }
        ip(&["netns", "del", &self.hub()]);
    }
}

/// Take away what a test left behind that was killed and could not.
fn sweep() {
    let Ok(entries) = fs::read_dir("/run/netns") else { return };
    for name in entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
        let pid = name.strip_prefix("seawall").and_then(|rest| rest.split_once('-')).map(|(pid, _)| pid);
        if pid.is_some_and(|pid| pid.parse::<u32>().is_ok() && !fs::exists(format!("/proc/{pid}")).unwrap()) {
            ip(&["netns", "del", &name]);
        }
    }
}

/// What the kernel says about the network, for a failure's message.
pub(crate) fn namespaces() -> String {
    Command::new("ip").args(["netns", "list"]).output().map_or_else(|_| String::new(), |output| text(&output))
}
