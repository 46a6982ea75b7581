//! A PostgreSQL server in a directory, under the account that its package made.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cluster::PATIENCE;
use crate::site::{Scratch, text};

const GLANCE: Duration = Duration::from_millis(20);
const ACCOUNT: &str = "postgres";

/// A server that runs. It ends with this.
pub(crate) struct Postgres {
    sockets: Scratch,
    server: Child,
}

/// Where its programs are; none, and said so, if they are not all there.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let whole = |dir: &PathBuf| ["initdb", "postgres"].iter().all(|program| dir.join(program).exists());
    let found = versions.map(|version| version.path().join("bin")).filter(whole).max();
    let found = found.filter(|_| account().is_some() && Path::new("/usr/bin/psql").exists());
    if found.is_none() {
        println!("skipped: postgresql is not installed");
    }
    found
}

/// User and group.
fn account() -> Option<(u32, u32)> {
    let passwd = fs::read_to_string("/etc/passwd").ok()?;
    let line = passwd.lines().find(|line| line.split(':').next() == Some(ACCOUNT))?;
    let number = |at: usize| line.split(':').nth(at)?.parse().ok();
    number(2).zip(number(3))
}

/// As its account, and not longer than this process.
fn command(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    let account = ["--reuid", ACCOUNT, "--regid", ACCOUNT, "--clear-groups", "--pdeathsig", "QUIT"];
    command.args(account).arg(program).current_dir("/").stdin(Stdio::null());
    command
}

fn give(dir: &Path) {
    let (user, group) = account().expect("it was there before");
    chown(dir, Some(user), Some(group)).unwrap();
}

impl Postgres {
    /// A new one in that directory of a file system.
    pub(crate) fn make(place: &Path) -> Option<Postgres> {
        let (programs, folder) = (programs()?, place.join("pg"));
        fs::create_dir(&folder).unwrap();
        give(&folder);
        let output = command(&programs.join("initdb"))
            .args(["-A", "trust", "--data-checksums", "--no-instructions", "-D"])
            .arg(&folder)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", text(&output));
        Some(Postgres::start(place))
    }

    /// The one that was made there.
    pub(crate) fn start(place: &Path) -> Postgres {
        let programs = programs().expect("they were there before");
        let sockets = Scratch::new();
        give(sockets.path());
        let mut server = command(&programs.join("postgres"));
        // Little memory, and checkpoints all the time: it has to read and write.
        server.args(["-c", "listen_addresses=", "-c", "shared_buffers=1MB", "-c", "checkpoint_timeout=30s"]);
        server.arg("-k").arg(sockets.path()).arg("-D").arg(place.join("pg"));
        let log = fs::File::create(sockets.path().join("log")).unwrap();
        let server = server.stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let postgres = Postgres { sockets, server };
        postgres.await_ready();
        postgres
    }

    fn await_ready(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut ask = Command::new("/usr/bin/psql");
            ask.args(["-qAtX", "-U", ACCOUNT, "-c", "SELECT 1", ACCOUNT, "-h"]).arg(self.sockets.path());
            if ask.output().unwrap().status.success() {
                return;
            }
            let log = || fs::read_to_string(self.sockets.path().join("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "the server does not answer:\n{}", log());
            thread::sleep(GLANCE);
        }
    }

    /// Where its socket is.
    pub(crate) fn sockets(&self) -> &Path {
        self.sockets.path()
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.server.id()).unwrap());
        let _ = kill(pid, signal);
    }

    /// A shutdown as it should be.
    pub(crate) fn stop(mut self) {
        self.signal(Signal::SIGINT);
        assert!(self.server.wait().unwrap().success(), "it ends well");
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if matches!(self.server.try_wait(), Ok(Some(_))) {
            return;
        }
        // It takes its children with it, at once.
        self.signal(Signal::SIGQUIT);
        let deadline = Instant::now() + Duration::from_secs(10);
        while matches!(self.server.try_wait(), Ok(None)) && Instant::now() < deadline {
            thread::sleep(GLANCE);
        }
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
