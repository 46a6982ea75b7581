//! File systems of their own, so small that they get full.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::site::Scratch;

/// A file system that goes away; none if this process may not mount one.
pub(crate) struct Room(Scratch);

impl Room {
    pub(crate) fn mount(mib: u64) -> Option<Room> {
        let scratch = Scratch::new();
        let size = format!("size={mib}m");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "none"]).arg(scratch.path()).stderr(Stdio::null());
        if mount.status().is_ok_and(|status| status.success()) {
            return Some(Room(scratch));
        }
        println!("skipped: this process may not mount a file system");
        None
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    fn filler(&self) -> PathBuf {
        self.path().join("filler")
    }

    /// Take all the room that there is at the moment.
    pub(crate) fn fill(&self) {
        let mut file = File::options().create(true).append(true).open(self.filler()).unwrap();
        for bytes in [vec![0xff; 1 << 20], vec![0xff; 4096]] {
            while file.write_all(&bytes).is_ok() {}
        }
    }

    /// Give it back.
    pub(crate) fn clear(&self) {
        let _ = fs::remove_file(self.filler());
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.path()).status();
    }
}
