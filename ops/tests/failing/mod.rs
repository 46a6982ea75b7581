//! A real block device that fails when it is told to: a file behind a server that injects errors (nbdkit), shown as a
//! file (nbdfuse), shown as a block device (a loop device). Everything goes away with it.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::site::Scratch;

/// How long each of the programs may take to come up or to go.
const PATIENCE: Duration = Duration::from_secs(20);
const GLANCE: Duration = Duration::from_millis(20);

/// The device. Fields go away in their order: who uses it before what it stands on.
pub(crate) struct FailingDevice {
    /// Held open: the kernel takes the loop device down with the last one who has it open.
    held: Option<File>,
    path: PathBuf,
    fuse: Option<Child>,
    server: Option<Child>,
    scratch: Scratch,
}

impl FailingDevice {
    /// A device of that size; none, and said so, if this process may not or can not make one.
    pub(crate) fn new(mib: u64) -> Option<FailingDevice> {
        let skip = |why: &str| {
            println!("skipped: {why}");
            None
        };
        let is_root = fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
        if !is_root || !Path::new("/dev/fuse").exists() {
            return skip("a block device that fails needs root and /dev/fuse");
        }
        let scratch = Scratch::new();
        let at = |name: &str| scratch.path().join(name);
        File::create(at("disk.img")).unwrap().set_len(mib << 20).unwrap();
        let mut device =
            FailingDevice { held: None, path: PathBuf::new(), fuse: None, server: None, scratch };
        let at = |name: &str| device.scratch.path().join(name);
        let log = || File::options().create(true).append(true).open(at("programs.log")).unwrap();
        let start = |command: &mut Command| command.stdin(Stdio::null()).stdout(log()).stderr(log()).spawn();
        let server = start(
            Command::new("nbdkit")
                .args(["--foreground", "--exit-with-parent", "--filter=error", "--unix"])
                .arg(at("socket"))
                .arg("file")
                .arg(at("disk.img"))
                .args(["error-pwrite=EIO", "error-pwrite-rate=100%"])
                .arg(format!("error-pwrite-file={}", at("writes-fail").display())),
        );
        let Ok(server) = server else { return skip("nbdkit is not installed") };
        device.server = Some(server);
        let at = |name: &str| device.scratch.path().join(name);
        await_that(|| at("socket").exists());
        fs::create_dir(at("fuse")).unwrap();
        let log = || File::options().create(true).append(true).open(at("programs.log")).unwrap();
        let fuse = Command::new("nbdfuse")
            .arg(at("fuse/disk"))
            .arg(format!("nbd+unix:///?socket={}", at("socket").display()))
            .stdin(Stdio::null())
            .stdout(log())
            .stderr(log())
            .spawn();
        let Ok(fuse) = fuse else { return skip("nbdfuse is not installed") };
        device.fuse = Some(fuse);
        let disk = device.scratch.path().join("fuse/disk");
        await_that(|| disk.exists());
        let output = Command::new("losetup").args(["--find", "--show"]).arg(&disk).output();
        let Some(output) = output.ok().filter(|output| output.status.success()) else {
            return skip("there is no loop device to be had");
        };
        device.path = PathBuf::from(String::from_utf8(output.stdout).unwrap().trim());
        device.held = Some(File::open(&device.path).unwrap());
        // It stays until nobody has it open any more.
        let status = Command::new("losetup").arg("--detach").arg(&device.path).status().unwrap();
        assert!(status.success());
        Some(device)
    }

    /// Where the block device is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// From here on every write fails with EIO.
    pub(crate) fn fail_writes(&self) {
        File::create(self.scratch.path().join("writes-fail")).unwrap();
    }

    /// It works again.
    pub(crate) fn heal(&self) {
        fs::remove_file(self.scratch.path().join("writes-fail")).unwrap();
    }
}

impl Drop for FailingDevice {
    fn drop(&mut self) {
        drop(self.held.take());
        if let Some(mut fuse) = self.fuse.take() {
            // Busy for a moment: the kernel lets go of the loop device in the background.
            let mount = self.scratch.path().join("fuse");
            let begin = Instant::now();
            let unmount = || Command::new("fusermount3").arg("-u").arg(&mount).stderr(Stdio::null()).status();
            while begin.elapsed() < PATIENCE
                && matches!(fuse.try_wait(), Ok(None))
                && !unmount().is_ok_and(|status| status.success())
            {
                thread::sleep(GLANCE);
            }
            if begin.elapsed() >= PATIENCE {
                let _ = Command::new("fusermount3").arg("-uz").arg(&mount).status();
                let _ = fuse.kill();
            }
            let _ = fuse.wait();
        }
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
        if thread::panicking() {
            let log = fs::read_to_string(self.scratch.path().join("programs.log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!(
                "-- programs behind {}:\n{}",
                self.path.display(),
                lines[lines.len().saturating_sub(10)..].join("\n")
            );
        }
    }
}

fn await_that(come: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !come() {
        assert!(Instant::now() < deadline, "a program behind the device did not come up");
        thread::sleep(GLANCE);
    }
}
