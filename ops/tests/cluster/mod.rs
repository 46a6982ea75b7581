//! Real replica processes in a fresh directory: started, killed, wiped and looked at. Everything ends and goes away
//! with the [`Cluster`].

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use seawall_ops::admin::{self, Digests};
use seawall_ops::load::ledger::Ledger;
use seawall_ops::load::violation::Violation;
use seawall_ops::load::{self, Board, Plan, SECTOR_BYTES};
use seawall_ops::nbd::Target;
use seawall_ops::report::Report;

use crate::site::{NAMES, Scratch, Shape, VOLUME, seawall, text, write_configs};

/// How long anything may take that is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(150);
/// Between two looks.
const GLANCE: Duration = Duration::from_millis(20);
const MIB: u64 = 1 << 20;

struct Node {
    config: PathBuf,
    /// What goes before its command.
    prefix: Vec<String>,
    child: Option<Child>,
}

/// Three replicas, of which the first begins as primary.
pub(crate) struct Cluster {
    nodes: Vec<Node>,
    scratch: Scratch,
}

impl Cluster {
    /// Format and start all, and wait until all are in sync.
    pub(crate) fn start(shape: Shape) -> Cluster {
        Cluster::start_with(shape, |_| {})
    }

    /// As [`Cluster::start`], with the configurations changed before they are used.
    pub(crate) fn start_with(shape: Shape, change: impl FnOnce(&[PathBuf])) -> Cluster {
        Cluster::start_at(shape, |_| Vec::new(), change)
    }

    /// As [`Cluster::start_with`], each with a command before its own that says where it runs.
    pub(crate) fn start_at(
        shape: Shape,
        prefix: impl Fn(usize) -> Vec<String>,
        change: impl FnOnce(&[PathBuf]),
    ) -> Cluster {
        let scratch = Scratch::new();
        let configs = write_configs(scratch.path(), shape, VOLUME);
        change(&configs);
        let node = |(index, config)| Node { config, prefix: prefix(index), child: None };
        let nodes = configs.into_iter().enumerate().map(node).collect();
        let mut cluster = Cluster { nodes, scratch };
        for index in 0..NAMES.len() {
            let output = cluster.run(index, &["format"]);
            assert!(output.status.success(), "{}", text(&output));
            cluster.begin(index);
        }
        if fs::read_to_string(cluster.config(0)).unwrap().contains("\"automatic\"") {
            // On a busy machine another one than the first may be faster.
            cluster.await_whole();
        } else {
            cluster.await_in_sync(0);
        }
        cluster
    }

    pub(crate) fn dir(&self) -> &Path {
        self.scratch.path()
    }

    pub(crate) fn config(&self, index: usize) -> &Path {
        &self.nodes[index].config
    }

    pub(crate) fn admin(&self, index: usize) -> PathBuf {
        self.dir().join(format!("{}.admin", NAMES[index]))
    }

    pub(crate) fn uri(&self, index: usize) -> String {
        format!("nbd+unix:///vol?socket={}", self.dir().join(format!("{}.nbd", NAMES[index])).display())
    }

    pub(crate) fn targets(&self, indices: &[usize]) -> Vec<Target> {
        indices.iter().map(|index| self.uri(*index).parse().unwrap()).collect()
    }

    /// A subcommand with this replica's configuration, to its end.
    pub(crate) fn run(&self, index: usize, arguments: &[&str]) -> Output {
        seawall()
            .args(arguments)
            .arg("--config")
            .arg(self.config(index))
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// Start a replica's process; it ends by itself if this one does.
    pub(crate) fn begin(&mut self, index: usize) {
        assert!(self.nodes[index].child.is_none(), "{} runs already", NAMES[index]);
        let log = self.dir().join(format!("{}.log", NAMES[index]));
        let log = File::options().create(true).append(true).open(log).unwrap();
        let mut command = match &self.nodes[index].prefix[..] {
            [] => seawall(),
            [program, arguments @ ..] => {
                let mut command = Command::new(program);
                command.args(arguments).arg(seawall().get_program());
                command
            }
        };
        command.args(["serve", "--leash", "--config"]).arg(self.config(index));
        let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        self.nodes[index].child = Some(child);
    }

    /// SIGKILL, and wait until it is gone.
    pub(crate) fn kill(&mut self, index: usize) {
        let mut child = self.nodes[index].child.take().expect("it runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// SIGTERM, and how it ended.
    pub(crate) fn terminate(&mut self, index: usize) -> ExitStatus {
        self.signal(index, Signal::SIGTERM);
        self.await_end(index)
    }

    /// How it ended, once it has.
    pub(crate) fn await_end(&mut self, index: usize) -> ExitStatus {
        let mut child = self.nodes[index].child.take().expect("it runs");
        // Waiting closes its standard input, which is its leash: the end that follows would race the one asked for.
        let leash = child.stdin.take();
        let status = child.wait().unwrap();
        drop(leash);
        status
    }

    /// Wait until its log says so.
    pub(crate) fn await_said(&self, index: usize, what: &str) {
        let deadline = Instant::now() + PATIENCE;
        let log = self.dir().join(format!("{}.log", NAMES[index]));
        while !fs::read_to_string(&log).unwrap().contains(what) {
            assert!(Instant::now() < deadline, "{} never said {what:?}", NAMES[index]);
            thread::sleep(GLANCE);
        }
    }

    pub(crate) fn signal(&self, index: usize, signal: Signal) {
        let pid = self.nodes[index].child.as_ref().expect("it runs").id();
        kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal).unwrap();
    }

    pub(crate) fn report(&self, index: usize) -> Option<Report> {
        admin::report(&self.admin(index)).ok()
    }

    /// Look at a replica until it is as wanted.
    pub(crate) fn wait(&self, index: usize, what: &str, wanted: impl Fn(&Report) -> bool) -> Report {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let report = self.report(index);
            if let Some(report) = &report
                && wanted(report)
            {
                return report.clone();
            }
            assert!(Instant::now() < deadline, "{}: {what} did not come: {report:#?}", NAMES[index]);
            thread::sleep(GLANCE);
        }
    }

    /// Wait until a replica is primary and both others are in sync.
    pub(crate) fn await_in_sync(&self, primary: usize) -> Report {
        self.wait(primary, "three copies in sync", |report| {
            report.role == "primary"
                && report.peers.iter().filter(|peer| peer.state == "in-sync" && peer.counts).count() == 2
        })
    }

    /// Who serves in the highest epoch, among all but that one: the epoch's counter, and who.
    pub(crate) fn reigning(&self, silent: Option<usize>) -> Option<(u64, usize)> {
        let serving = |index: usize| {
            let report = self.report(index).filter(|report| report.role == "primary")?;
            let counter = report.epoch.split('@').next().and_then(|counter| counter.parse().ok())?;
            Some((counter, index))
        };
        (0..NAMES.len()).filter(|index| Some(*index) != silent).filter_map(serving).max()
    }

    /// Wait until another one than that serves, in a higher epoch. The old one may not answer at all.
    pub(crate) fn await_successor(&self, old: usize, epoch: u64) -> usize {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some((counter, index)) = self.reigning(Some(old))
                && counter > epoch
            {
                return index;
            }
            assert!(Instant::now() < deadline, "nobody took over from {}", NAMES[old]);
            thread::sleep(GLANCE / 2);
        }
    }

    /// Wait for a primary, whoever it is, with two others in sync: who, and the counter of its epoch.
    pub(crate) fn await_whole(&self) -> (usize, u64) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some((counter, index)) = self.reigning(None) {
                let counts = |report: &Report| report.peers.iter().filter(|peer| peer.counts).count();
                if self.report(index).is_some_and(|report| counts(&report) == 2) {
                    return (index, counter);
                }
            }
            let reports = || (0..NAMES.len()).map(|index| self.report(index)).collect::<Vec<_>>();
            assert!(Instant::now() < deadline, "they do not get well: {:#?}", reports());
            thread::sleep(GLANCE);
        }
    }

    /// Digests of all three at one LSN: they must be equal.
    pub(crate) fn assert_equal(&self, primary: usize) -> Digests {
        self.await_in_sync(primary);
        let digests = admin::digests(&self.admin(primary)).unwrap_or_else(|fault| panic!("{fault}"));
        assert_eq!(digests.digests.len(), 3, "{digests:?}");
        assert!(digests.are_equal(), "copies in sync hold different bytes: {digests:?}");
        digests
    }

    /// The same, whoever is primary: another one may be by the time that it is asked.
    pub(crate) fn assert_all_equal(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (primary, _) = self.await_whole();
            match admin::digests(&self.admin(primary)) {
                Ok(digests) => {
                    assert!(digests.are_equal(), "copies in sync hold different bytes: {digests:?}");
                    if digests.digests.len() == NAMES.len() {
                        return;
                    }
                }
                Err(fault) => println!("{}: {fault}", NAMES[primary]),
            }
            assert!(Instant::now() < deadline, "never three in sync for long enough");
        }
    }

    /// What the primary says of a peer.
    pub(crate) fn rule(&self, primary: usize, peer: usize) -> String {
        let report = self.report(primary).expect("the primary answers");
        report.peers.iter().find(|p| p.replica == NAMES[peer]).expect("it knows its peers").rule.clone()
    }

    /// What a replica tells on its page of metrics.
    pub(crate) fn metrics(&self, index: usize) -> String {
        let config = fs::read_to_string(self.config(index)).unwrap();
        let address =
            config.lines().find_map(|line| line.strip_prefix("metrics = ")).unwrap().trim_matches('"');
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).unwrap();
        page
    }

    /// Resident memory of a running replica, in bytes.
    pub(crate) fn resident_bytes(&self, index: usize) -> u64 {
        let pid = self.nodes[index].child.as_ref().expect("it runs").id();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("the kernel tells");
        let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kib * 1024
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            if let Some(mut child) = node.child.take() {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
        if thread::panicking() {
            for name in NAMES {
                let log = fs::read_to_string(self.dir().join(format!("{name}.log"))).unwrap_or_default();
                let lines: Vec<&str> = log.lines().filter(|line| !line.contains("checkpointed")).collect();
                eprintln!("-- log of {name}:\n{}", lines[lines.len().saturating_sub(40)..].join("\n"));
            }
        }
    }
}

/// A ledger load that runs beside a drill.
pub(crate) struct Load {
    plan: Plan,
    board: Arc<Board>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    /// Begin to load the first 32 MiB of the volume.
    pub(crate) fn begin(targets: Vec<Target>, change: impl FnOnce(&mut Plan)) -> Load {
        let sectors = usize::try_from(32 * MIB).unwrap() / SECTOR_BYTES;
        Load::begin_with(Ledger::new(u64::from(std::process::id()), sectors), targets, change)
    }

    /// Begin with that ledger.
    pub(crate) fn begin_with(ledger: Ledger, targets: Vec<Target>, change: impl FnOnce(&mut Plan)) -> Load {
        let mut plan = Plan::new(targets);
        change(&mut plan);
        let board = Board::new(ledger);
        let (running, shared) = (plan.clone(), Arc::clone(&board));
        let thread = Some(thread::spawn(move || load::run(&running, &shared)));
        Load { plan, board, thread }
    }

    /// Wait until so many more requests are done.
    pub(crate) fn await_done(&self, more: u64) {
        let before = self.board.tally().done();
        self.await_tally("more requests done", |tally| tally.done() >= before + more);
    }

    /// Wait until so many more writes are done.
    pub(crate) fn await_writes(&self, more: u64) {
        let before = self.board.tally().writes;
        self.await_tally("more writes done", |tally| tally.writes >= before + more);
    }

    pub(crate) fn board(&self) -> &Arc<Board> {
        &self.board
    }

    /// Wait until it has counted so much.
    pub(crate) fn await_tally(&self, what: &str, come: impl Fn(&load::Tally) -> bool) {
        assert!(self.board.wait(PATIENCE, come), "{what} did not come: {:?}", self.board.tally());
    }

    /// Stop it, read everything back, and judge all of it.
    pub(crate) fn end(mut self) -> load::Tally {
        self.board.stop();
        self.thread.take().expect("it runs").join().unwrap();
        let tally = self.check();
        assert!(tally.writes > 0, "a load that wrote nothing proves nothing: {tally:?}");
        println!("{tally:?}");
        tally
    }
}

impl Load {
    pub(crate) fn violations(&self) -> Vec<Violation> {
        self.board.violations()
    }

    /// Read everything back and judge it, while it goes on.
    pub(crate) fn check(&self) -> load::Tally {
        assert!(load::check(&self.plan, &self.board), "the volume can be read");
        let (tally, violations) = (self.board.tally(), self.violations());
        let lines: Vec<String> = violations.iter().map(ToString::to_string).collect();
        assert!(violations.is_empty(), "{} violations:\n{}\n{tally:?}", tally.violations, lines.join("\n"));
        tally
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.board.stop();
    }
}

/// Run somebody else's program; says so and gives nothing if it is not installed.
pub(crate) fn tool(program: &str, arguments: &[&str]) -> Option<String> {
    let output = match Command::new(program).args(arguments).stdin(Stdio::null()).output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!("skipped: {program} is not installed");
            return None;
        }
        output => output.unwrap(),
    };
    assert!(output.status.success(), "{program} {arguments:?}: {}", text(&output));
    Some(text(&output))
}
