//! `seawall replica wipe`: throw a stopped replica's copy away, to rehearse its rebuild. Identity and promise stay.

use seawall_blockdev::disk::device::Device;
use seawall_blockdev::ring::pages::Pages;
use seawall_engine::format::{both_slots, wiped};

use crate::config::Config;
use crate::disk::{Devices, device_fault, examine};
use crate::fault::{Exit, Fault};

/// Bytes of one write of zeroes.
const STEP_BYTES: u64 = 1 << 20;

/// Wipe the replica that the configuration names, if `confirmed` is its name.
///
/// # Errors
/// If it was not confirmed, or the devices can't be opened, are in use, or are another replica's.
pub fn run(config: &Config, confirmed: Option<&str>) -> Result<(), Fault> {
    let name = &config.own().name;
    if confirmed != Some(name) {
        return Err(Fault::new(Exit::Refused, format!("this throws the copy of replica {name} away"))
            .found(confirmed.map_or("no confirmation".to_owned(), |word| format!("--yes-wipe {word}")))
            .expected(format!("--yes-wipe {name}"))
            .next("repeat the command with the replica's name as confirmation. Nothing was changed"));
    }
    let devices = Devices::open(config)?;
    let superblock = examine(config, &devices)?;
    let geometry = superblock.geometry;
    let main = &devices.main;
    // First the word, then the deed: a wipe that breaks off leaves a replica that is Blank and keeps its promise.
    for (_, offset, bytes) in both_slots(&wiped(&superblock)) {
        main.write(offset, &Pages::copy_of(&bytes)).map_err(|error| device_fault(&error))?;
        main.sync().map_err(|error| device_fault(&error))?;
    }
    let log = devices.log.as_ref().unwrap_or(main);
    zero(log, geometry.log_offset(), geometry.log_bytes)?;
    zero(main, geometry.table_offset(), geometry.table_bytes())?;
    Ok(())
}

fn zero(device: &Device, offset: u64, bytes: u64) -> Result<(), Fault> {
    let mut at = 0;
    while at < bytes {
        let step = STEP_BYTES.min(bytes - at);
        let zeroes = Pages::zeroed(usize::try_from(step).expect("at most 1 MiB"));
        device.write(offset + at, &zeroes).map_err(|error| device_fault(&error))?;
        at += step;
    }
    device.sync().map_err(|error| device_fault(&error))
}
