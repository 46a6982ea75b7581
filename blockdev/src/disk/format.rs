//! Making a replica's devices: zeroes where zeroes are relied on, then whatever says whose they are.

use seawall_engine::io::Area;
use seawall_wal::geometry::{Geometry, LABEL_AREA_BYTES, SUPER_BYTES, Slot};
use seawall_wal::label::Label;
use seawall_wal::superblock::{Choice, SUPER_SLOT_BYTES, Superblock, choose};

use super::Disk;
use super::device::{Device, DeviceError};
use crate::ring::pages::Pages;

/// Bytes of one write of zeroes.
const STEP_BYTES: u64 = 1 << 20;

/// What the superblock slots of a device hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Contents {
    /// Zeroes in both, or a device too small to have them: no replica.
    Blank,
    /// A replica.
    Replica(Box<Superblock>),
    /// Something else, or a replica that can't be told any more: the rule that says so.
    Unreadable(&'static str),
}

/// Looks what is on a device, without changing anything.
pub fn contents(device: &Device) -> Result<Contents, DeviceError> {
    if device.bytes() < SUPER_BYTES {
        return Ok(Contents::Blank);
    }
    let slot = |offset| {
        let bytes = usize::try_from(SUPER_SLOT_BYTES).expect("64 KiB");
        device.read(offset, bytes).map(|pages| Superblock::decode(&pages))
    };
    let (rule, choice) =
        choose(slot(Geometry::super_offset(Slot::A))?, slot(Geometry::super_offset(Slot::B))?);
    Ok(match choice {
        Choice::Blank => Contents::Blank,
        Choice::Use { superblock, .. } => Contents::Replica(superblock),
        Choice::Refuse => Contents::Unreadable(rule.name()),
    })
}

/// Writes zeroes to the superblock, log and table areas, then the label of a separate log, then `metadata`, and
/// brings all of it to stable storage. Whatever was on the devices is gone from the first moment on: a format that
/// was broken off leaves a blank device. `progress` hears how many bytes of how many are written.
pub fn format(
    disk: &Disk,
    label: &Label,
    metadata: &[(Area, u64, Vec<u8>)],
    mut progress: impl FnMut(u64, u64),
) -> Result<(), DeviceError> {
    let geometry = disk.geometry();
    let main = disk.main();
    let log = disk.log();
    let mut ranges = vec![(main, 0, SUPER_BYTES), (main, geometry.table_offset(), geometry.table_bytes())];
    if geometry.separate_log {
        ranges.push((log, 0, LABEL_AREA_BYTES));
    }
    ranges.push((log, geometry.log_offset(), geometry.log_bytes));
    let total = ranges.iter().map(|(_, _, bytes)| bytes).sum();
    let mut done = 0;
    let zeroes = Pages::zeroed(usize::try_from(STEP_BYTES).expect("1 MiB"));
    for (index, (device, start, bytes)) in ranges.into_iter().enumerate() {
        let mut at = 0;
        while at < bytes {
            let step = STEP_BYTES.min(bytes - at);
            if step == STEP_BYTES {
                device.write(start + at, &zeroes)?;
            } else {
                device.write(start + at, &Pages::zeroed(usize::try_from(step).expect("below 1 MiB")))?;
            }
            at += step;
            done += step;
            progress(done, total);
        }
        if index == 0 {
            device.sync()?;
        }
    }
    main.discard(geometry.home_offset(), geometry.home_bytes());
    main.sync()?;
    if geometry.separate_log {
        log.write(0, &Pages::copy_of(&label.encode()))?;
        log.sync()?;
    }
    for (area, offset, bytes) in metadata {
        let (device, start) = disk.place(*area);
        device.write(start + offset, &Pages::copy_of(bytes))?;
    }
    log.sync()?;
    main.sync()
}
