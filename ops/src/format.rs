//! `seawall format`: a new replica on empty devices.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use seawall_blockdev::disk::Disk;
use seawall_blockdev::disk::device::Device;
use seawall_blockdev::disk::format::format;
use seawall_engine::format::{both_slots, newborn};
use seawall_wal::geometry::{Geometry, SUPER_BYTES, Slot};
use seawall_wal::label::Label;
use seawall_wal::superblock::{SLOT_BYTES, SlotState, Superblock};

use crate::config::Config;
use crate::disk::{device_fault, geometry, machine_boot, setup};
use crate::fault::{Exit, Fault};

/// Format the devices that the configuration names; files are created. `force` overwrites whatever is there.
/// `progress` hears how many bytes of how many are written.
///
/// # Errors
/// If something is there, or the devices are too small or in use.
pub fn run(config: &Config, force: bool, progress: impl FnMut(u64, u64)) -> Result<(), Fault> {
    let fault = |error| device_fault(&error);
    // The unit matters only within the log: sizes don't depend on it.
    let sizes = geometry(config, 4096);
    sizes.check().map_err(|error| {
        Fault::new(Exit::Config, format!("{}: this volume can't be laid out", config.path.display()))
            .found(error.to_string())
            .next("correct [volume] size or [node] log_size. Nothing was changed")
    })?;
    if !force {
        // Before anything is created, enlarged or opened for writing.
        for path in std::iter::once(&config.home).chain(&config.log) {
            check_unoccupied(path)?;
        }
    }
    let main = Device::create(&config.home, sizes.device_bytes_min()).map_err(fault)?;
    let log = match &config.log {
        Some(path) => Some(Device::create(path, sizes.log_device_bytes_min()).map_err(fault)?),
        None => None,
    };
    // The log's unit is one of two; a device with sectors between them is written in the larger.
    let unit_bytes = if log.as_ref().unwrap_or(&main).unit_bytes() <= 512 { 512 } else { 4096 };
    let geometry = geometry(config, unit_bytes);
    let superblock = newborn(&setup(config, machine_boot()?), geometry);
    let disk = Disk::new(main, log, geometry).map_err(fault)?;
    format(&disk, &Label::of(&superblock), &both_slots(&superblock), progress).map_err(fault)
}

/// Whether the first two megabytes of what is at `path`, if anything is, are zeroes.
fn check_unoccupied(path: &Path) -> Result<(), Fault> {
    let unreadable = |error: std::io::Error| {
        Fault::new(Exit::Io, format!("{} can't be read", path.display()))
            .found(error.to_string())
            .next("check the path and its permissions. Nothing was changed")
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(unreadable(error)),
    };
    let mut head = Vec::new();
    file.take(SUPER_BYTES).read_to_end(&mut head).map_err(unreadable)?;
    if head.iter().all(|byte| *byte == 0) {
        return Ok(());
    }
    let slot = |slot| {
        let from = usize::try_from(Geometry::super_offset(slot)).expect("within two megabytes");
        head.get(from..from + SLOT_BYTES as usize).map(Superblock::decode)
    };
    let replica = [Slot::A, Slot::B].into_iter().filter_map(slot).find_map(|state| match state {
        SlotState::Present(superblock) => Some(superblock),
        SlotState::Empty | SlotState::Unreadable { .. } => None,
    });
    let found = match replica {
        Some(found) => format!("replica {} of volume {}", found.replica, found.volume),
        None => "something that is no replica, or a damaged one".into(),
    };
    Err(Fault::new(Exit::Occupied, format!("{} is not empty", path.display()))
        .found(found)
        .expected("zeroes in its first two megabytes")
        .next("correct the path; to destroy what is there, add --force. Nothing was changed"))
}
