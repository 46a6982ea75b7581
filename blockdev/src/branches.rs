//! Where branches are kept: a directory of files beside the volume, bounded in size and time.
//!
//! A branch is what a cut or a rebuild takes out of a log (`seawall_engine::branch`). Its file is complete or not there:
//! it is written under another name, brought to stable storage, and renamed. Files that are older than their time go;
//! where there is no room, branches that no client can have relied on go first, the oldest before the others. The
//! rest stays until somebody discards it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::sys::uio::pread;
use seawall_engine::branch::Branch;
use seawall_wal::branch::{BranchLabel, LABEL_BYTES};
use seawall_wal::names::{ReplicaId, VolumeId};

use crate::ring::pages::Pages;

/// Bytes that are copied at a time.
const STEP_BYTES: u64 = 1 << 20;
/// The ending of a branch's name.
const ENDING: &str = "branch";
/// The ending of one that is being written.
const PART_ENDING: &str = "part";

/// Where branches are kept, and for how long.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Branches {
    /// The directory; made when there is something to keep.
    pub dir: PathBuf,
    /// All branches together take no more than this. Bytes.
    pub room_bytes: u64,
    /// Older ones go.
    pub keep_for: Duration,
}

/// A branch in its place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeptBranch {
    /// Its file.
    pub path: PathBuf,
    /// What it says of itself.
    pub label: BranchLabel,
}

impl KeptBranch {
    fn bytes(&self) -> u64 {
        u64::from(LABEL_BYTES) + self.label.bytes
    }
}

/// What a branch is taken from.
pub(crate) struct Source {
    pub(crate) volume: VolumeId,
    pub(crate) replica: ReplicaId,
    pub(crate) unit_bytes: u32,
    /// The device with the log, for this alone.
    pub(crate) device: OwnedFd,
    /// Where the log area begins on it. Bytes.
    pub(crate) log_offset: u64,
}

impl Branches {
    /// All that are there, the oldest first, and the files that say they are one and can't be read.
    ///
    /// # Errors
    /// If the directory can't be read; that there is none is no error.
    pub fn list(&self) -> io::Result<(Vec<KeptBranch>, Vec<PathBuf>)> {
        let (mut kept, mut unreadable) = (Vec::new(), Vec::new());
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((kept, unreadable)),
            entries => entries?,
        };
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_some_and(|ending| ending == ENDING) {
                match label(&path) {
                    Some(label) => kept.push(KeptBranch { path, label }),
                    None => unreadable.push(path),
                }
            }
        }
        kept.sort_by_key(|branch| (branch.label.kept_at, branch.label.generation));
        Ok((kept, unreadable))
    }

    /// Copy a branch to its place, and wait until it is on stable storage.
    pub(crate) fn keep(&self, branch: &Branch, source: &Source) -> io::Result<()> {
        let label = BranchLabel {
            volume: source.volume,
            replica: source.replica,
            start: branch.range.start,
            end: branch.range.end,
            fork: branch.fork,
            tail_epoch: branch.tail_epoch,
            successor: branch.successor,
            generation: branch.generation,
            relied_on: branch.relied_on,
            unit_bytes: source.unit_bytes,
            bytes: branch.bytes(),
            kept_at: now(),
        };
        fs::create_dir_all(&self.dir)?;
        self.clear_parts()?;
        self.make_room(u64::from(LABEL_BYTES) + label.bytes, label.kept_at)?;
        let name = format!("g{}-{}-{}", label.generation, label.start, label.end);
        let (part, path) =
            (self.dir.join(format!("{name}.{PART_ENDING}")), self.dir.join(format!("{name}.{ENDING}")));
        let written = write(&part, &label, branch, source);
        if let Err(error) = written {
            // What is left of it is of no use, and in the way.
            let _ = fs::remove_file(&part);
            return Err(error);
        }
        fs::rename(&part, &path)?;
        File::open(&self.dir)?.sync_all()
    }

    /// What was being written when a process ended is of no use.
    fn clear_parts(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            if path.extension().is_some_and(|ending| ending == PART_ENDING) {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    /// Let go of what is too old, and of what nobody relied on as far as it is in the way of `bytes` more.
    fn make_room(&self, bytes: u64, now: u64) -> io::Result<()> {
        let (mut kept, unreadable) = self.list()?;
        let expired =
            |branch: &KeptBranch| now.saturating_sub(branch.label.kept_at) > self.keep_for.as_secs();
        for branch in kept.extract_if(.., |branch| expired(branch)) {
            fs::remove_file(&branch.path)?;
        }
        let others: u64 = unreadable.iter().filter_map(|path| fs::metadata(path).ok()).map(|m| m.len()).sum();
        let mut used = others + kept.iter().map(KeptBranch::bytes).sum::<u64>();
        for branch in kept.iter().filter(|branch| !branch.label.relied_on) {
            if used + bytes <= self.room_bytes {
                break;
            }
            fs::remove_file(&branch.path)?;
            used -= branch.bytes();
        }
        if used + bytes > self.room_bytes {
            return Err(io::Error::from_raw_os_error(Errno::ENOSPC as i32));
        }
        Ok(())
    }
}

fn write(part: &Path, label: &BranchLabel, branch: &Branch, source: &Source) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(part)?;
    file.write_all(&label.encode())?;
    for (offset, bytes) in &branch.pieces {
        let mut at = *offset;
        let end = offset + bytes;
        while at < end {
            let step = STEP_BYTES.min(end - at);
            let mut pages = Pages::zeroed(usize::try_from(step).expect("at most 1 MiB"));
            read(source, at, &mut pages)?;
            file.write_all(&pages)?;
            at += step;
        }
    }
    file.sync_all()
}

fn read(source: &Source, offset: u64, into: &mut [u8]) -> io::Result<()> {
    let mut done = 0;
    while done < into.len() {
        let at = source.log_offset + offset + done as u64;
        let at = i64::try_from(at).map_err(|_| io::Error::from_raw_os_error(Errno::EINVAL as i32))?;
        match pread(&source.device, &mut into[done..], at) {
            Ok(0) => return Err(io::Error::from_raw_os_error(Errno::EIO as i32)),
            Ok(moved) => done += moved,
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

fn label(path: &Path) -> Option<BranchLabel> {
    let mut head = vec![0; LABEL_BYTES as usize];
    let file = File::open(path).ok()?;
    file.read_exact_at(&mut head, 0).ok()?;
    let label = BranchLabel::decode(&head).ok()?;
    let whole = u64::from(LABEL_BYTES) + label.bytes;
    (file.metadata().ok()?.len() >= whole).then_some(label)
}

/// Seconds since the beginning of 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests;
