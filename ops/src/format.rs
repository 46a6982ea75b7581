//! `seawall format`: a new replica on empty devices.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use seawall_blockdev::disk::Disk;
use seawall_blockdev::disk::device::Device;
use seawall_blockdev::disk::format::format;
use seawall_engine::format::{both_slots, joiner, newborn, rejoining};
use seawall_wal::geometry::{Geometry, SUPER_BYTES, Slot};
use seawall_wal::label::Label;
use seawall_wal::names::Epoch;
use seawall_wal::superblock::{SLOT_BYTES, SlotState, Superblock};

use crate::config::Config;
use crate::disk::{device_fault, geometry, machine_boot, setup};
use crate::fault::{Exit, Fault};

/// What becomes a replica.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Birth {
    /// Overwrite whatever is there.
    pub force: bool,
    /// The replica existed before: what it promised is lost with its devices, and it is rebuilt before it votes.
    pub rejoin: bool,
    /// The replica joins a volume that exists, and is none of its members yet.
    pub join: bool,
}

/// Format the devices that the configuration names; files are created. `progress` hears how many bytes of how many are
/// written.
///
/// # Errors
/// If something is there, or the devices are too small or in use.
pub fn run(config: &Config, birth: Birth, progress: impl FnMut(u64, u64)) -> Result<(), Fault> {
    let fault = |error| device_fault(&error);
    // The unit matters only within the log: sizes don't depend on it.
    let sizes = geometry(config, 4096);
    sizes.check().map_err(|error| {
        Fault::new(Exit::Config, format!("{}: this volume can't be laid out", config.path.display()))
            .found(error.to_string())
            .next("correct [volume] size or [node] log_size. Nothing was changed")
    })?;
    // Before anything is created, enlarged or opened for writing.
    if !birth.force {
        for path in std::iter::once(&config.home).chain(&config.log) {
            check_unoccupied(path)?;
        }
    } else if !birth.rejoin {
        check_forgettable(config)?;
    }
    let main = Device::create(&config.home, sizes.device_bytes_min()).map_err(fault)?;
    let log = match &config.log {
        Some(path) => Some(Device::create(path, sizes.log_device_bytes_min()).map_err(fault)?),
        None => None,
    };
    // The log's unit is one of two; a device with sectors between them is written in the larger.
    let unit_bytes = if log.as_ref().unwrap_or(&main).unit_bytes() <= 512 { 512 } else { 4096 };
    let geometry = geometry(config, unit_bytes);
    let setup = setup(config, machine_boot()?);
    let superblock = match birth {
        Birth { rejoin: true, .. } => rejoining(&setup, geometry, unused_lives()?),
        Birth { join: true, .. } => joiner(&setup, geometry),
        Birth { .. } => newborn(&setup, geometry),
    };
    let disk = Disk::new(main, log, geometry).map_err(fault)?;
    format(&disk, &Label::of(&superblock), &both_slots(&superblock), progress).map_err(fault)
}

/// A number of starts that the replica did not reach before: nobody knows how many there were, so it is drawn from two
/// million, and its next lives count on from there.
fn unused_lives() -> Result<u32, Fault> {
    let path = Path::new("/dev/urandom");
    let mut drawn = [0; 4];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut drawn));
    read.map_err(|error| Fault::io("read", path, &error))?;
    Ok((u32::from_le_bytes(drawn) >> 11) | 1 << 10)
}

/// The first two megabytes of what is at `path`; empty if nothing is.
fn head(path: &Path) -> Result<Vec<u8>, Fault> {
    let unreadable = |error: std::io::Error| {
        Fault::new(Exit::Io, format!("{} can't be read", path.display()))
            .found(error.to_string())
            .next("check the path and its permissions. Nothing was changed")
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(error)),
    };
    let mut head = Vec::new();
    file.take(SUPER_BYTES).read_to_end(&mut head).map_err(unreadable)?;
    Ok(head)
}

/// The replica that lives there, if one does.
fn resident(head: &[u8]) -> Option<Box<Superblock>> {
    let slot = |slot| {
        let from = usize::try_from(Geometry::super_offset(slot)).expect("within two megabytes");
        head.get(from..from + SLOT_BYTES as usize).map(Superblock::decode)
    };
    [Slot::A, Slot::B].into_iter().filter_map(slot).find_map(|state| match state {
        SlotState::Present(superblock) => Some(superblock),
        SlotState::Empty | SlotState::Unreadable { .. } => None,
    })
}

/// Whether what is there is not this very replica, with promises that bind it. A new one in its place would vote as if
/// it had never promised anything.
fn check_forgettable(config: &Config) -> Result<(), Fault> {
    let Some(found) = resident(&head(&config.home)?) else { return Ok(()) };
    let itself = (found.volume, found.replica) == (config.volume, config.replica);
    if !itself || (found.promised == Epoch::ZERO && !found.promises_lost) {
        return Ok(());
    }
    Err(Fault::new(Exit::Occupied, format!("{} is this very replica", config.home.display()))
        .found(format!("replica {} of volume {}, which promised epoch {}", found.replica, found.volume, found.promised))
        .expected("another replica, or one that never promised anything: a new one would vote as if this one had not")
        .next(
            "to throw its copy away, seawall replica wipe, which keeps its promise; or seawall format --rejoin --force; for \
             a new volume, give it a new id. Nothing was changed",
        ))
}

/// Whether the first two megabytes of what is at `path`, if anything is, are zeroes.
fn check_unoccupied(path: &Path) -> Result<(), Fault> {
    let head = head(path)?;
    if head.iter().all(|byte| *byte == 0) {
        return Ok(());
    }
    let found = match resident(&head) {
        Some(found) => format!("replica {} of volume {}", found.replica, found.volume),
        None => "something that is no replica, or a damaged one".into(),
    };
    Err(Fault::new(Exit::Occupied, format!("{} is not empty", path.display()))
        .found(found)
        .expected("zeroes in its first two megabytes")
        .next("correct the path; to destroy what is there, add --force. Nothing was changed"))
}
