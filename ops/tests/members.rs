//! Members of a volume of real processes change under a load whose ledger knows what was promised: one joins, one
//! leaves, one is replaced, one is found at another port. No request fails, and all copies are equal in the end.

#[expect(dead_code, reason = "other drills use the rest")]
mod cluster;
mod site;

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use cluster::{Cluster, Load};
use seawall_ops::admin;
use seawall_ops::config::Config;
use seawall_ops::load::Plan;
use seawall_ops::pki;
use seawall_ops::report::Report;
use site::{Shape, seawall, text};

const A: usize = 0;
const B: usize = 1;
const C: usize = 2;

/// A load that leaves the machine some room.
fn gently(plan: &mut Plan) {
    plan.connections = 1;
    plan.depth = 4;
    plan.sectors_max = 16;
}

/// A replica that is none of the first three.
struct Newcomer {
    name: &'static str,
    id: &'static str,
    config: PathBuf,
    child: Option<Child>,
}

impl Newcomer {
    /// Its configuration, made of that of the first; its keys; its devices, formatted to join; and its process.
    fn start(cluster: &Cluster, name: &'static str, id: &'static str) -> Newcomer {
        let config = cluster.dir().join(format!("{name}.toml"));
        let first = fs::read_to_string(cluster.config(A)).unwrap();
        let metrics = first.lines().find(|line| line.starts_with("metrics")).unwrap();
        let own = format!(
            "\n[[replica]]\nname = \"{name}\"\nid = \"{id}\"\naddress = \"127.0.0.1:{}\"\nvoter = false\n\n[limits]",
            free_port()
        );
        let text = first
            .replace("replica = \"a\"", &format!("replica = \"{name}\""))
            .replace("\"a.", &format!("\"{name}."))
            .replace("unix:a.", &format!("unix:{name}."))
            .replace("keys/a.", &format!("keys/{name}."))
            .replace(metrics, &format!("metrics = \"127.0.0.1:{}\"", free_port()))
            .replace("\n[limits]", &own);
        fs::write(&config, text).unwrap();
        pki::issue(&cluster.dir().join("keys"), &Config::load(&config).unwrap(), Some(name), 30).unwrap();
        let output = seawall().args(["format", "--join", "--config"]).arg(&config).output().unwrap();
        assert!(output.status.success(), "{}", text_of(&output));
        let mut newcomer = Newcomer { name, id, config, child: None };
        newcomer.begin(cluster.dir());
        newcomer
    }

    fn begin(&mut self, dir: &Path) {
        let log =
            File::options().create(true).append(true).open(dir.join(format!("{}.log", self.name))).unwrap();
        let mut command = seawall();
        command.args(["serve", "--leash", "--config"]).arg(&self.config);
        self.child = Some(command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log).spawn().unwrap());
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn address(&self) -> String {
        let config = Config::load(&self.config).unwrap();
        config.own().address.clone()
    }

    /// It listens at another port from now on, by its own configuration.
    fn move_away(&mut self, dir: &Path) -> String {
        self.kill();
        let (old, new) = (self.address(), format!("127.0.0.1:{}", free_port()));
        let text = fs::read_to_string(&self.config).unwrap();
        fs::write(&self.config, text.replace(&old, &new)).unwrap();
        self.begin(dir);
        new
    }
}

impl Drop for Newcomer {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn text_of(output: &std::process::Output) -> String {
    text(output)
}

/// `seawall replica`, asked of the first.
fn replica(cluster: &Cluster, arguments: &[&str]) -> Result<String, String> {
    let output = cluster.run(A, &[&["replica"], arguments].concat());
    if output.status.success() { Ok(text(&output)) } else { Err(text(&output)) }
}

/// Wait until the first serves those, all in sync, and nothing is pending.
fn await_members(cluster: &Cluster, members: &[&str]) -> Report {
    cluster.wait(A, &format!("{members:?} in sync"), |report| {
        let named = report.members.members.iter().map(|member| member.replica.as_str());
        named.eq(members.iter().copied())
            && !report.members.pending
            && report.peers.len() + 1 == members.len()
            && report.peers.iter().all(|peer| peer.counts && peer.voter)
    })
}

#[test]
fn members_join_leave_and_move_under_load_and_no_client_sees_it() {
    let cluster = Cluster::start(Shape { volume_mib: 64, log_mib: 64 });
    let load = Load::begin(cluster.targets(&[A]), gently);
    load.await_writes(500);

    let d = Newcomer::start(&cluster, "d", "r-d1");
    let said =
        replica(&cluster, &["add", d.id, d.name, &d.address()]).unwrap_or_else(|said| panic!("{said}"));
    assert!(said.contains("d joins as a learner") && said.contains("d votes"), "{said}");
    await_members(&cluster, &["a", "b", "c", "d"]);
    load.await_writes(200);

    let said = replica(&cluster, &["remove", "b"]).unwrap_or_else(|said| panic!("{said}"));
    assert!(said.contains("b has left"), "{said}");
    cluster.wait(B, "to know that it was removed", |report| report.role == "removed");
    let said = text(&cluster.run(B, &["explain"]));
    assert_eq!(said.matches("NO (rule removed)").count(), 4, "{said}");
    load.await_writes(200);

    let mut e = Newcomer::start(&cluster, "e", "r-e1");
    let said = replica(&cluster, &["replace", "c", e.id, e.name, &e.address()])
        .unwrap_or_else(|said| panic!("{said}"));
    assert!(said.contains("e votes") && said.contains("c has left"), "{said}");
    cluster.wait(C, "to know that it was removed", |report| report.role == "removed");
    load.await_writes(200);

    let address = e.move_away(cluster.dir());
    replica(&cluster, &["move", "e", &address]).unwrap_or_else(|said| panic!("{said}"));
    let report = await_members(&cluster, &["a", "d", "e"]);
    assert!(report.members.members.iter().any(|member| member.replica == "e" && member.address == address));
    load.await_writes(200);

    let refusals = [
        (vec!["remove", "a"], "hand over first"),
        (vec!["remove", "b"], "no member"),
        (vec!["add", "r-d1", "f", "127.0.0.1:1"], "a member already"),
        (vec!["add", "r-000000000000000b", "b", "127.0.0.1:1"], "never used again"),
        (vec!["add", "r-f1", "f", &address], "the address of e already"),
        (vec!["add", "r-f1", "e", "127.0.0.1:1"], "the name e is that of"),
    ];
    for (arguments, why) in refusals {
        let said = replica(&cluster, &arguments).expect_err("it is refused");
        assert!(said.contains(why), "{arguments:?}: {said}");
    }

    let tally = load.end();
    assert_eq!((tally.errors(), tally.disconnects), (0, 0), "{tally:?}");
    await_members(&cluster, &["a", "d", "e"]);
    let digests = admin::digests(&cluster.admin(A)).unwrap_or_else(|fault| panic!("{fault}"));
    assert!(digests.digests.len() == 3 && digests.are_equal(), "{digests:?}");
}

#[test]
fn who_can_not_be_spared_is_not_removed() {
    let mut cluster = Cluster::start(Shape { volume_mib: 64, log_mib: 64 });
    cluster.kill(B);
    cluster.wait(A, "b to be missed", |report| {
        report.peers.iter().any(|peer| peer.replica == "b" && !peer.counts)
    });
    let said = replica(&cluster, &["remove", "c"]).expect_err("a alone can't commit for a and b");
    assert!(said.contains('b') && said.contains("must come back"), "{said}");
    let said = replica(&cluster, &["remove", "b"]).unwrap_or_else(|said| panic!("{said}"));
    assert!(said.contains("b has left"), "{said}");
    // Nobody feeds it any more, and without an operator's word it asks for nothing.
    cluster.begin(B);
    cluster.wait(B, "to serve nobody", |report| report.role == "follower" && report.primary.is_none());
    await_members(&cluster, &["a", "c"]);
}
