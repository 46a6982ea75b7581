//! Databases on a mounted volume while one primary after the other is killed and the replicas find the next one
//! themselves, attached at a node that stays, and by a client that goes to another node when its own dies: no error
//! reaches them, and nothing is lost that they were told is committed.
//!
//! `SEAWALL_KILLS` says how many primaries are killed; 2 unless told.

#[expect(dead_code, reason = "the drills use the rest")]
mod cluster;
mod doors;
mod mount;
mod postgres;
mod site;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use cluster::{Cluster, PATIENCE};
use mount::Mount;
use postgres::Postgres;
use seawall_ops::admin::{self, Ask};
use site::{NAMES, Shape, text};

/// Where the file system is attached. This node lives.
const HERE: usize = 1;
const ELSEWHERE: usize = 2;
/// How SQLite keeps its journal.
const MODES: [&str; 2] = ["wal", "rollback"];
const POSTGRES: &str = "postgres";
const PYTHON: &str = "/usr/bin/python3";

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/proofs/database.py")
}

/// A database at work. It ends with this.
struct Work {
    mode: &'static str,
    ledger: PathBuf,
    child: Child,
}

impl Work {
    fn begin(mode: &'static str, place: &Path, ledger: PathBuf) -> Work {
        let mut command = Command::new(PYTHON);
        command.arg(script()).arg("work").arg(place).arg(&ledger).arg(mode);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        Work { mode, ledger, child: child.unwrap() }
    }

    fn committed(&self) -> usize {
        fs::read_to_string(&self.ledger).map_or(0, |text| text.lines().count())
    }

    /// Wait until so many more transactions are committed.
    fn await_committed(&mut self, more: usize) {
        let (wanted, deadline) = (self.committed() + more, Instant::now() + PATIENCE);
        while self.committed() < wanted {
            if self.child.try_wait().unwrap().is_some() {
                let said = self.end();
                panic!("{}: the database ended: {said}", self.mode);
            }
            assert!(Instant::now() < deadline, "{}: no more transactions", self.mode);
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// What it said of errors, once it has ended: nothing, if there were none.
    fn end(&mut self) -> String {
        drop(self.child.stdin.take());
        let status = self.child.wait().unwrap();
        let mut said = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            std::io::Read::read_to_string(&mut stderr, &mut said).unwrap();
        }
        if status.success() { said } else { format!("{status}: {said}") }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn check(mode: &str, place: &Path, ledger: &Path) {
    let output = Command::new(PYTHON).arg(script()).arg("check").arg(place).arg(ledger).arg(mode).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", text(&output));
    println!("{}", text(&output).trim());
}

/// Kill the primary, which is not the node where the file system is attached, and bring it back.
fn kill_primary(cluster: &mut Cluster, works: &mut [Work]) {
    let (mut primary, mut epoch) = cluster.await_whole();
    while primary == HERE {
        if let Err(fault) = admin::ask(&cluster.admin(HERE), Ask::HandOver, PATIENCE) {
            println!("{} goes on: {fault}", NAMES[HERE]);
        } else {
            cluster.await_successor(HERE, epoch);
        }
        (primary, epoch) = cluster.await_whole();
    }
    cluster.kill(primary);
    let killed = Instant::now();
    let next = cluster.await_successor(primary, epoch);
    let served = killed.elapsed().as_millis();
    works.iter_mut().for_each(|work| work.await_committed(1));
    println!(
        "{} killed: {} serves after {served} ms, all databases commit after {} ms",
        NAMES[primary],
        NAMES[next],
        killed.elapsed().as_millis()
    );
    works.iter_mut().for_each(|work| work.await_committed(10));
    cluster.begin(primary);
}

/// A program between the disk and the nodes that asks again what was not answered, at whichever node lives.
struct Between {
    socket: PathBuf,
    child: Child,
}

impl Between {
    fn begin(cluster: &Cluster, port: u16) -> Option<Between> {
        let mut command = doors::under_one_name(cluster.dir(), "nbdkit")?;
        let socket = cluster.dir().join("between");
        let uri = format!("uri=nbd://{}:{port}/vol", doors::NAME);
        command.args(["--exit-with-parent", "-f", "-U"]).arg(&socket);
        command.args(["--filter=retry", "nbd", &uri, "retries=60", "retry-delay=1", "retry-exponential=no"]);
        let child = command.stdin(Stdio::null()).spawn().unwrap();
        let deadline = Instant::now() + PATIENCE;
        while !socket.exists() {
            assert!(Instant::now() < deadline, "nbdkit listens nowhere");
            thread::sleep(Duration::from_millis(10));
        }
        Some(Between { socket, child })
    }

    fn uri(&self) -> String {
        format!("nbd+unix:///vol?socket={}", self.socket.display())
    }
}

impl Drop for Between {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn databases_outlive_the_node_that_they_are_attached_to() {
    if !mount::is_possible() || !Path::new(PYTHON).exists() || !doors::installed(&["nbdkit"]) {
        return;
    }
    let mut port = 0;
    let shape = Shape { volume_mib: 256, log_mib: 64 };
    let mut cluster = Cluster::start_with(shape, |configs| port = doors::open(configs));
    let Some(between) = Between::begin(&cluster, port) else { return };
    let disk = Mount::attach(&between.uri());
    disk.make_file_system();
    disk.mount();
    let ledger = |mode: &str| cluster.dir().join(format!("{mode}.ledger"));
    let ledgers: Vec<PathBuf> = MODES.into_iter().map(ledger).collect();
    let begin = |(mode, ledger): (&'static str, &PathBuf)| Work::begin(mode, &disk.place(), ledger.clone());
    let mut works: Vec<Work> = MODES.into_iter().zip(&ledgers).map(begin).collect();
    works.iter_mut().for_each(|work| work.await_committed(10));
    // The first one of the name is the primary and has them; then the next one has.
    for node in [0, 1] {
        cluster.kill(node);
        works.iter_mut().for_each(|work| work.await_committed(10));
        cluster.begin(node);
        cluster.await_whole();
    }
    works.iter_mut().for_each(|work| assert_eq!(work.end(), "", "{}", work.mode));
    assert_eq!(disk.complaints(), None);
    disk.unmount();
    disk.assert_clean();
    drop(disk);
    drop(between);
    let disk = Mount::attach(&cluster.uri(ELSEWHERE));
    disk.mount();
    for (mode, ledger) in MODES.into_iter().zip(&ledgers) {
        check(mode, &disk.place(), ledger);
    }
    drop(disk);
    cluster.assert_all_equal();
}

/// A database of each kind at work: SQLite in that directory, and that server if there is one.
fn begin_all(cluster: &Cluster, place: &Path, server: Option<&Postgres>, ledgers: &str) -> Vec<Work> {
    let places = MODES.map(|mode| (mode, place)).into_iter();
    let places = places.chain(server.map(|server| (POSTGRES, server.sockets())));
    let begin = |(kind, place): (&'static str, &Path)| {
        Work::begin(kind, place, cluster.dir().join(format!("{kind}{ledgers}.ledger")))
    };
    let mut works: Vec<Work> = places.map(begin).collect();
    works.iter_mut().for_each(|work| work.await_committed(30));
    works
}

/// What [`begin_all`] began holds what it was told.
fn check_all(cluster: &Cluster, place: &Path, server: Option<&Postgres>, ledgers: &str) {
    let places = MODES.map(|mode| (mode, place)).into_iter();
    for (kind, place) in places.chain(server.map(|server| (POSTGRES, server.sockets()))) {
        check(kind, place, &cluster.dir().join(format!("{kind}{ledgers}.ledger")));
    }
}

#[test]
fn databases_on_a_mounted_volume_outlive_one_primary_after_the_other() {
    if !mount::is_possible() || !Path::new(PYTHON).exists() {
        return;
    }
    let kills = std::env::var("SEAWALL_KILLS").map_or(2, |kills| kills.parse().expect("a number of kills"));
    let mut cluster = Cluster::start_with(Shape { volume_mib: 512, log_mib: 64 }, |configs| {
        for config in configs {
            let text = fs::read_to_string(config).unwrap();
            assert!(text.contains("\"manual\""));
            fs::write(config, text.replace("\"manual\"", "\"automatic\"")).unwrap();
        }
    });
    let disk = Mount::attach(&cluster.uri(HERE));
    disk.make_file_system();
    disk.mount();
    let server = Postgres::make(&disk.place());
    let served = server.is_some();
    let mut works = begin_all(&cluster, &disk.place(), server.as_ref(), "");
    for _ in 0..kills {
        kill_primary(&mut cluster, &mut works);
    }
    works.iter_mut().for_each(|work| assert_eq!(work.end(), "", "{}", work.mode));
    server.into_iter().for_each(Postgres::stop);
    assert_eq!(disk.complaints(), None);
    disk.unmount();
    disk.assert_clean();
    drop(disk);

    // What is read now comes from the volume, through another node.
    let mut disk = Mount::attach(&cluster.uri(ELSEWHERE));
    disk.assert_clean();
    disk.mount();
    let server = served.then(|| Postgres::start(&disk.place()));
    check_all(&cluster, &disk.place(), server.as_ref(), "");
    // The client's machine dies as well.
    let again = disk.place().join("again");
    fs::create_dir(&again).unwrap();
    let mut works = begin_all(&cluster, &again, server.as_ref(), "-again");
    disk.lose_power();
    // Their disk is gone: they end, one way or the other.
    works.iter_mut().for_each(|work| drop(work.end()));
    drop(works);
    drop(server);
    drop(disk);
    let disk = Mount::attach(&cluster.uri(HERE));
    disk.recover();
    disk.mount();
    let server = served.then(|| Postgres::start(&disk.place()));
    check_all(&cluster, &disk.place().join("again"), server.as_ref(), "-again");
    check_all(&cluster, &disk.place(), None, "");
    server.into_iter().for_each(Postgres::stop);
    disk.unmount();
    disk.assert_clean();
    drop(disk);
    cluster.assert_all_equal();
}
