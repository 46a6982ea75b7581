//! What one replica's disk says: its superblock, and how far its log goes.

use std::path::{Path, PathBuf};

use seawall_blockdev::disk::device::Device;
use seawall_blockdev::disk::format::{Contents, contents};
use seawall_wal::label::{LABEL_BYTES, Label, LabelState};
use seawall_wal::names::{Epoch, LineageRow, Lsn};
use seawall_wal::superblock::{BaseState, Superblock};

use crate::disk::{device_fault, open_lingering};
use crate::fault::{Exit, Fault};
use crate::inspect;

/// A replica, by its own disk.
#[derive(Clone, Debug)]
pub(super) struct Evidence {
    /// The main device.
    pub(super) path: PathBuf,
    /// The log's own, if it has one.
    pub(super) log: Option<PathBuf>,
    /// What it knows of itself.
    pub(super) superblock: Superblock,
    /// The end of its log; of a damaged one, what is certain of it.
    pub(super) end: Lsn,
    /// The epoch of its last record.
    pub(super) tail_epoch: Epoch,
    /// Which epoch wrote which part of it.
    pub(super) lineage: Vec<LineageRow>,
    /// What a start would say against this log.
    pub(super) damage: Option<String>,
}

impl Evidence {
    /// Whether it holds all of the volume, up to the end of its log.
    pub(super) fn is_whole(&self) -> bool {
        self.superblock.base == BaseState::Complete && self.damage.is_none()
    }

    /// What kind of copy it is, in a word.
    pub(super) fn copy(&self) -> &'static str {
        match self.superblock.base {
            BaseState::Blank | BaseState::Rebuilding { .. } if self.superblock.promises_lost => "forgetful",
            BaseState::Blank => "blank",
            BaseState::Rebuilding { .. } => "half rebuilt",
            BaseState::Complete if self.damage.is_some() => "damaged",
            BaseState::Complete if self.superblock.lossy => "lossy",
            BaseState::Complete => "whole",
        }
    }
}

/// Read all of them. Logs with a device of their own are found by their labels.
///
/// # Errors
/// If one can't be read, is in use, is no disk of a replica, or lacks its other half.
pub(super) fn gather(paths: &[PathBuf]) -> Result<Vec<Evidence>, Fault> {
    let mut mains = Vec::new();
    let mut logs: Vec<(Label, PathBuf)> = Vec::new();
    for path in paths {
        let path = std::fs::canonicalize(path)
            .map_err(|error| Fault::io("find", path, &error).next("give the path of a replica's device"))?;
        match look(&path)? {
            Half::Main(superblock) => mains.push((path, superblock)),
            Half::Log(label) => logs.push((label, path)),
        }
    }
    let mut found = Vec::new();
    for (path, superblock) in mains {
        let log =
            superblock.geometry.separate_log.then(|| claim(&path, &superblock, &mut logs)).transpose()?;
        found.push(read(path, log, superblock)?);
    }
    if let Some((label, path)) = logs.first() {
        return Err(Fault::new(Exit::Ambiguous, format!("{} is half a replica", path.display()))
            .found(format!("the log of replica {} of volume {}", label.replica, label.volume))
            .expected("its main device too")
            .next("give the main device as well, or leave the log out"));
    }
    Ok(found)
}

/// What a device is of a replica.
enum Half {
    Main(Box<Superblock>),
    Log(Label),
}

fn look(path: &Path) -> Result<Half, Fault> {
    let fault = |error| device_fault(&error);
    // Opening it makes sure that nobody else has it.
    let device: Device = open_lingering(path)?;
    if device.bytes() >= u64::from(LABEL_BYTES) {
        let head = device.read(0, usize::try_from(LABEL_BYTES).expect("one block")).map_err(fault)?;
        if let LabelState::Present(label) = Label::decode(&head) {
            return Ok(Half::Log(label));
        }
    }
    match contents(&device).map_err(fault)? {
        Contents::Replica(superblock) if device.bytes() < superblock.geometry.device_bytes_min() => {
            Err(Fault::new(Exit::Truncated, format!("{} is smaller than the replica on it", path.display()))
                .found(format!("{} bytes", device.bytes()))
                .expected(format!("{} bytes", superblock.geometry.device_bytes_min()))
                .next("bring it back to its size, or leave it out"))
        }
        Contents::Replica(superblock) => Ok(Half::Main(superblock)),
        Contents::Blank => {
            Err(Fault::new(Exit::NotFormatted, format!("{} holds no replica", path.display()))
                .found("blank superblocks")
                .next("check the path, or leave it out"))
        }
        Contents::Unreadable(why) => {
            Err(Fault::new(Exit::Damaged, format!("the superblocks of {} can't be trusted", path.display()))
                .found(format!("rule {why}"))
                .next("check the path; if it was a replica, leave it out: it is to be replaced"))
        }
    }
}

/// The log that belongs to a main device, out of those that were given.
fn claim(path: &Path, superblock: &Superblock, logs: &mut Vec<(Label, PathBuf)>) -> Result<PathBuf, Fault> {
    let ours = Label::of(superblock);
    let mine: Vec<usize> = (0..logs.len()).filter(|at| logs[*at].0 == ours).collect();
    match mine[..] {
        [at] => Ok(logs.remove(at).1),
        [] => Err(Fault::new(Exit::Ambiguous, format!("{} is half a replica", path.display()))
            .found(format!("replica {} of volume {}, without its log", ours.replica, ours.volume))
            .expected("the device of its log too")
            .next("give the log's device as well; if it is lost, leave this one out: it is to be replaced")),
        [one, other, ..] => Err(Fault::new(Exit::Ambiguous, format!("{} has two logs", path.display()))
            .found(format!("{} and {}", logs[one].1.display(), logs[other].1.display()))
            .expected("one")
            .next("leave out the one that is a copy")),
    }
}

fn read(path: PathBuf, log: Option<PathBuf>, superblock: Box<Superblock>) -> Result<Evidence, Fault> {
    let mut lineage = superblock.lineage.clone();
    let certain = superblock.settled;
    let (end, tail_epoch, damage) = match inspect::restart(&path, log.as_deref(), &superblock)? {
        Ok(good) => {
            // A lineage row comes only from a durable epoch-start record: what the superblock does not know yet,
            // the log does.
            lineage.retain(|row| row.first < good.log.end());
            for (epoch, first) in inspect::epochs(&good.log) {
                if !lineage.iter().any(|row| row.epoch == epoch) {
                    lineage.push(LineageRow { epoch, first });
                }
            }
            lineage.sort_unstable_by_key(|row| row.first);
            (good.log.end(), good.log.tail_epoch(), None)
        }
        Err(damage) => {
            lineage.retain(|row| row.first < certain);
            (certain, lineage.last().map_or(Epoch::ZERO, |row| row.epoch), Some(damage.to_string()))
        }
    };
    Ok(Evidence { path, log, superblock: *superblock, end, tail_epoch, lineage, damage })
}
