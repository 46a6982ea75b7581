//! `seawall format`: a new replica on empty devices.

use seawall_blockdev::disk::Disk;
use seawall_blockdev::disk::device::Device;
use seawall_blockdev::disk::format::{Contents, contents, format};
use seawall_engine::format::{both_slots, newborn};
use seawall_wal::label::Label;

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
    let main = Device::create(&config.home, sizes.device_bytes_min()).map_err(fault)?;
    let log = match &config.log {
        Some(path) => Some(Device::create(path, sizes.log_device_bytes_min()).map_err(fault)?),
        None => None,
    };
    if !force {
        check_unoccupied(&main)?;
    }
    let geometry = geometry(config, log.as_ref().unwrap_or(&main).unit_bytes());
    let superblock = newborn(&setup(config, machine_boot()?), geometry);
    let disk = Disk::new(main, log, geometry).map_err(fault)?;
    format(&disk, &Label::of(&superblock), &both_slots(&superblock), progress).map_err(fault)
}

fn check_unoccupied(main: &Device) -> Result<(), Fault> {
    let found = match contents(main).map_err(|error| device_fault(&error))? {
        Contents::Blank => return Ok(()),
        Contents::Replica(superblock) => {
            format!("replica {} of volume {}", superblock.replica, superblock.volume)
        }
        Contents::Unreadable(why) => format!("something that is no replica, or a damaged one (rule {why})"),
    };
    Err(Fault::new(Exit::Occupied, format!("{} is not empty", main.path().display()))
        .found(found)
        .expected("zeroes in its first two megabytes")
        .next("correct the path; to destroy what is there, add --force. Nothing was changed"))
}
