//! A volume as a file system of this machine: nbdfuse shows an export as a file, a loop device makes a disk of it.
//! Everything goes away with it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::site::{Scratch, text};

const PATIENCE: Duration = Duration::from_secs(60);
const GLANCE: Duration = Duration::from_millis(20);
const PROGRAMS: [&str; 6] = ["nbdfuse", "losetup", "mkfs.ext4", "e2fsck", "fusermount3", "setpriv"];

/// A disk of this machine, and where it is mounted.
pub(crate) struct Mount {
    scratch: Scratch,
    fuse: Option<Child>,
    device: Option<String>,
}

fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    let path = std::env::var("PATH").unwrap_or_default();
    // The distribution's own, whatever else is on the path.
    command.env("PATH", format!("/usr/bin:/usr/sbin:/bin:/sbin:{path}")).stdin(Stdio::null());
    command
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = command(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {}: {}", arguments.join(" "), text(&output));
    text(&output).trim().to_owned()
}

/// Whether this process may mount what it needs to; says why not.
pub(crate) fn is_possible() -> bool {
    let is_root = fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    let has_fuse = Path::new("/dev/fuse").exists() && Path::new("/dev/loop-control").exists();
    let found = |program: &&&str| {
        ["/usr/bin", "/usr/sbin", "/bin", "/sbin"].iter().any(|dir| Path::new(dir).join(program).exists())
    };
    let missing = PROGRAMS.iter().find(|program| !found(program));
    if !is_root || !has_fuse || missing.is_some() {
        println!("skipped: a mount needs root, /dev/fuse, loop devices and {}", PROGRAMS.join(", "));
        return false;
    }
    sweep();
    true
}

impl Mount {
    /// The export as a disk, not mounted yet.
    pub(crate) fn attach(uri: &str) -> Mount {
        let mut mount = Mount { scratch: Scratch::new(), fuse: None, device: None };
        let (folder, place) = (mount.folder(), mount.place());
        fs::create_dir(&folder).unwrap();
        fs::create_dir(&place).unwrap();
        let file = folder.join("disk");
        let mut fuse = command("setpriv");
        // It ends with this thread, which is the test's own.
        fuse.args(["--pdeathsig", "KILL", "nbdfuse"]).arg(&file).arg(uri);
        mount.fuse = Some(fuse.spawn().unwrap());
        let deadline = Instant::now() + PATIENCE;
        while !file.exists() {
            let ended = mount.fuse.as_mut().and_then(|fuse| fuse.try_wait().unwrap());
            assert!(ended.is_none(), "nbdfuse {uri}: {ended:?}");
            assert!(Instant::now() < deadline, "nbdfuse {uri} shows nothing");
            thread::sleep(GLANCE);
        }
        let file = file.display().to_string();
        mount.device = Some(run("losetup", &["--find", "--show", "--direct-io=on", &file]));
        mount
    }

    fn folder(&self) -> PathBuf {
        self.scratch.path().join("fuse")
    }

    /// Where it is mounted.
    pub(crate) fn place(&self) -> PathBuf {
        self.scratch.path().join("mnt")
    }

    fn device(&self) -> &str {
        self.device.as_deref().expect("it is attached")
    }

    pub(crate) fn make_file_system(&self) {
        run("mkfs.ext4", &["-q", "-F", self.device()]);
    }

    pub(crate) fn mount(&self) {
        // Errors end it, rather than being written down and lived with.
        run("mount", &["-o", "errors=remount-ro", self.device(), &self.place().display().to_string()]);
    }

    pub(crate) fn unmount(&self) {
        run("umount", &[&self.place().display().to_string()]);
    }

    /// What the kernel found wrong with the mounted file system: nothing, if it still takes writes and knows of no error.
    pub(crate) fn complaints(&self) -> Option<String> {
        let name = self.device().trim_start_matches("/dev/");
        let errors = fs::read_to_string(format!("/sys/fs/ext4/{name}/errors_count")).unwrap();
        let mounts = fs::read_to_string("/proc/mounts").unwrap();
        let line = mounts.lines().find(|line| line.starts_with(self.device())).unwrap_or("not mounted");
        let writable =
            line.split(' ').nth(3).is_some_and(|options| options.split(',').any(|one| one == "rw"));
        (errors.trim() != "0" || !writable).then(|| format!("{} errors, {line}", errors.trim()))
    }

    /// A look at the file system that changes nothing: what is wrong with it.
    pub(crate) fn assert_clean(&self) {
        println!("{}", run("e2fsck", &["-fn", self.device()]).lines().next().unwrap_or_default());
    }

    /// As a machine does that starts after a power loss: the journal is replayed.
    pub(crate) fn recover(&self) {
        let output = command("e2fsck").args(["-fp", self.device()]).output().unwrap();
        println!("{}", text(&output).trim());
        // 1: it did something. What it can't do by itself is 4.
        assert!(output.status.code().is_some_and(|code| code <= 1), "{}", text(&output));
    }

    /// The machine of this client loses its power: what it has not sent will never be.
    pub(crate) fn lose_power(&mut self) {
        if let Some(mut fuse) = self.fuse.take() {
            fuse.kill().unwrap();
            fuse.wait().unwrap();
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let quietly = |program: &str, arguments: &[&str]| {
            drop(command(program).args(arguments).stderr(Stdio::null()).status());
        };
        quietly("umount", &["-l", &self.place().display().to_string()]);
        if let Some(device) = &self.device {
            quietly("losetup", &["-d", device]);
        }
        quietly("fusermount3", &["-uz", &self.folder().join("disk").display().to_string()]);
        quietly("fusermount3", &["-uz", &self.folder().display().to_string()]);
        if let Some(mut fuse) = self.fuse.take() {
            let deadline = Instant::now() + Duration::from_secs(10);
            while matches!(fuse.try_wait(), Ok(None)) && Instant::now() < deadline {
                thread::sleep(GLANCE);
            }
            let _ = fuse.kill();
            let _ = fuse.wait();
        }
    }
}

/// Take away what a test left behind that was killed and could not.
fn sweep() {
    let stale = |path: &str| {
        let name = path.split('/').find_map(|part| part.strip_prefix("seawall-test-"))?;
        let pid: u32 = name.split('-').next()?.parse().ok()?;
        (!Path::new(&format!("/proc/{pid}")).exists()).then_some(())
    };
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    let mut found: Vec<(&str, &str)> =
        mounts.lines().filter_map(|line| line.split(' ').next().zip(line.split(' ').nth(1))).collect();
    found.retain(|(_, place)| stale(place).is_some());
    // What is mounted on top first.
    for (device, place) in found.iter().rev() {
        println!("left behind: {device} at {place}");
        drop(command("umount").args(["-l", place]).status());
        if device.starts_with("/dev/loop") {
            drop(command("losetup").args(["-d", device]).status());
        }
    }
}
