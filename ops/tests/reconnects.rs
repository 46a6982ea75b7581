//! Other people's clients when the node that they are attached to dies: what README tells them to be set up like.

#[expect(dead_code, reason = "the drills use the rest")]
mod cluster;
mod doors;
mod site;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use cluster::{Cluster, PATIENCE};
use doors::{NAME, installed, under_one_name};
use site::{NAMES, Shape, text};

const A: usize = 0;
const MIB: u64 = 1 << 20;
const PYTHON: &str = "/usr/bin/python3";

/// A program that is spoken with. It ends with this.
struct Dialogue {
    child: Child,
    stdin: Option<ChildStdin>,
    said: Arc<(Mutex<String>, Condvar)>,
}

impl Dialogue {
    fn begin(command: &mut Command) -> Dialogue {
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        let said: Arc<(Mutex<String>, Condvar)> = Arc::default();
        let (out, error) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        listen(out, Arc::clone(&said));
        listen(error, Arc::clone(&said));
        Dialogue { stdin: child.stdin.take(), child, said }
    }

    fn tell(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("it is still spoken with");
        stdin.write_all(format!("{line}\n").as_bytes()).unwrap();
        stdin.flush().unwrap();
    }

    fn said(&self) -> String {
        self.said.0.lock().unwrap().clone()
    }

    /// Wait until it has said that so often.
    fn await_said(&self, what: &str, times: usize) {
        let (said, changed) = (&self.said.0, &self.said.1);
        let enough = |said: &mut String| said.matches(what).count() < times;
        let (said, wait) = changed.wait_timeout_while(said.lock().unwrap(), PATIENCE, enough).unwrap();
        assert!(!wait.timed_out(), "{what:?} was not said {times} times:\n{said}");
    }

    /// Nothing more is told to it: what it said, when it has ended well.
    fn end(mut self) -> String {
        drop(self.stdin.take());
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}: {}", self.said());
        self.said()
    }
}

impl Drop for Dialogue {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn listen(mut from: impl Read + Send + 'static, said: Arc<(Mutex<String>, Condvar)>) {
    thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            said.0.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..count]));
            said.1.notify_all();
        }
    });
}

/// Replicas that find their primary themselves, and the port at which their clients find them.
fn cluster() -> (Cluster, u16) {
    let mut port = 0;
    let shape = Shape { volume_mib: 64, log_mib: 64 };
    let cluster = Cluster::start_with(shape, |configs| port = doors::open(configs));
    (cluster, port)
}

fn qemu(command: &mut Command, server: &str) -> Dialogue {
    let disk = format!("driver=nbd,{server},export=vol,reconnect-delay=60,open-timeout=60");
    Dialogue::begin(command.args(["-t", "none", "--image-opts", &disk]))
}

fn killed_and_back(cluster: &mut Cluster, index: usize) {
    cluster.kill(index);
    cluster.begin(index);
}

#[test]
fn qemu_waits_for_its_node_to_come_back_and_asks_again() {
    if !installed(&["qemu-io"]) {
        return;
    }
    let (mut cluster, _) = cluster();
    let path = cluster.dir().join("a.nbd").display().to_string();
    cluster.kill(A);
    fs::remove_file(&path).unwrap();
    // `open-timeout`: nobody is there yet.
    let mut disk = qemu(&mut Command::new("qemu-io"), &format!("server.type=unix,server.path={path}"));
    cluster.begin(A);
    disk.tell("write -P 1 0 64k");
    disk.await_said("wrote 65536/65536 bytes at offset 0", 1);
    // `reconnect-delay`: it dies while nothing is asked, and while something is.
    killed_and_back(&mut cluster, A);
    disk.tell("write -P 2 64k 64k");
    disk.await_said("wrote 65536/65536 bytes at offset 65536", 1);
    cluster.kill(A);
    disk.tell("write -P 3 128k 64k");
    thread::sleep(Duration::from_millis(100));
    cluster.begin(A);
    disk.await_said("wrote 65536/65536 bytes at offset 131072", 1);
    for (pattern, place, times) in [(1, "0", 1), (2, "64k", 2), (3, "128k", 3)] {
        // It looks for another line only when one comes.
        disk.tell(&format!("read -P {pattern} {place} 64k"));
        disk.await_said("read 65536/65536", times);
    }
    disk.tell("flush");
    let said = disk.end().to_lowercase();
    assert!(!said.contains("fail") && !said.contains("error"), "{said}");
    cluster.assert_all_equal();
}

#[test]
fn qemu_that_was_not_told_to_wait_gives_an_error() {
    if !installed(&["qemu-io"]) {
        return;
    }
    let (mut cluster, _) = cluster();
    let disk = format!(
        "driver=nbd,server.type=unix,server.path={},export=vol",
        cluster.dir().join("a.nbd").display()
    );
    let mut disk = Dialogue::begin(Command::new("qemu-io").args(["-t", "none", "--image-opts", &disk]));
    disk.tell("write -P 1 0 64k");
    disk.await_said("wrote 65536/65536 bytes at offset 0", 1);
    killed_and_back(&mut cluster, A);
    disk.tell("write -P 2 64k 64k");
    disk.await_said("write failed: Input/output error", 1);
}

#[test]
fn clients_with_one_name_for_all_nodes_go_to_another_one() {
    if !installed(&["qemu-io", "nbdkit", "nbdcopy"]) {
        return;
    }
    let (mut cluster, port) = cluster();
    let Some(mut program) = under_one_name(cluster.dir(), "qemu-io") else { return };
    let mut disk = qemu(&mut program, &format!("server.type=inet,server.host={NAME},server.port={port}"));
    disk.tell("write -P 1 0 64k");
    disk.await_said("wrote 65536/65536 bytes at offset 0", 1);
    // The first one of the name has it; it stays away.
    cluster.kill(A);
    disk.tell("write -P 2 64k 64k");
    disk.await_said("wrote 65536/65536 bytes at offset 65536", 1);
    disk.tell("read -P 1 0 64k");
    disk.await_said("read 65536/65536", 1);
    disk.tell("read -P 2 64k 64k");
    disk.await_said("read 65536/65536", 2);
    let said = disk.end().to_lowercase();
    assert!(!said.contains("fail") && !said.contains("error"), "{said}");
    cluster.begin(A);
    cluster.await_whole();

    // The same for libnbd's tools, with nbdkit in between.
    let source = image(&cluster);
    let mut program = under_one_name(cluster.dir(), "nbdkit").expect("it did before");
    let uri = format!("uri=nbd://{NAME}:{port}/vol");
    let copy = format!("nbdcopy --flush --request-size=65536 {} \"$uri\"", source.display());
    program.args(["-U", "-", "--filter=retry", "nbd", &uri, "retries=60", "retry-delay=1"]);
    program.args(["retry-exponential=no", "--run", &copy]);
    let before = cluster.report(A).unwrap().frontiers.end;
    let copying = Dialogue::begin(&mut program);
    cluster.wait(A, "something copied", |report| report.frontiers.end > before + 20);
    cluster.kill(A);
    let said = copying.end();
    println!("{said}");
    let (path, uri) = (source.display().to_string(), cluster.uri(1));
    let output = Command::new("nbdcopy").args([&uri, "-"]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    assert!(output.stdout == fs::read(path).unwrap(), "what was copied in is what comes out");
    cluster.begin(A);
    cluster.assert_all_equal();
}

/// An image as large as the volume, all of it data.
fn image(cluster: &Cluster) -> PathBuf {
    let path = cluster.dir().join("source.img");
    let file = File::create(&path).unwrap();
    for chunk in 0..64 * MIB / 65536 {
        let bytes: Vec<u8> = (0..65536_u64).map(|at| ((at * (chunk + 7)) >> 3).to_le_bytes()[0]).collect();
        file.write_all_at(&bytes, chunk * 65536).unwrap();
    }
    path
}

#[test]
fn a_client_with_libnbd_that_knows_several_nodes_goes_from_one_to_the_next() {
    let import = Command::new(PYTHON).args(["-c", "import nbd"]).output();
    if !import.is_ok_and(|output| output.status.success()) {
        println!("skipped: python3-libnbd is not installed");
        return;
    }
    let (mut cluster, port) = cluster();
    let mut program = Command::new(PYTHON);
    program.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/proofs/several.py"));
    let uri = |index: usize| format!("nbd://127.0.0.{}:{port}/vol", index + 1);
    program.args((0..NAMES.len()).map(uri));
    let client = Dialogue::begin(&mut program);
    client.await_said("wrote ", 10);
    for node in 0..NAMES.len() {
        client.await_said(&format!("at {}", uri(node)), 1);
        let before = client.said().matches("wrote ").count();
        cluster.kill(node);
        client.await_said("wrote ", before + 10);
        cluster.begin(node);
        cluster.await_whole();
    }
    let said = client.end();
    assert!(said.contains("blocks are as written"), "{said}");
    cluster.assert_all_equal();
}
