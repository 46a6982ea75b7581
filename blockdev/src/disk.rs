//! A replica's devices: where its areas are, and how operations on them are carried out.

pub mod device;
pub mod format;
mod job;
#[cfg(test)]
mod tests;

use seawall_engine::io::Area;
use seawall_wal::geometry::Geometry;
use seawall_wal::label::{LABEL_BYTES, Label, LabelState};

use device::{Device, DeviceError};
use format::{Contents, contents};

pub use job::Jobs;
pub(crate) use job::{Finished, buffers};

/// The devices of one replica.
pub struct Disk {
    main: Device,
    log: Option<Device>,
    geometry: Geometry,
}

impl Disk {
    /// These devices, for a replica of this geometry. They need not be formatted yet.
    pub fn new(main: Device, log: Option<Device>, geometry: Geometry) -> Result<Disk, DeviceError> {
        let disk = Disk { main, log, geometry };
        disk.main.check_size(geometry.device_bytes_min())?;
        let log = disk.log();
        if geometry.separate_log {
            log.check_size(geometry.log_device_bytes_min())?;
        }
        if log.unit_bytes() > geometry.unit_bytes {
            let (found, formatted) = (log.unit_bytes(), geometry.unit_bytes);
            return Err(DeviceError::Unit { path: log.path().to_path_buf(), found, formatted });
        }
        Ok(disk)
    }

    /// The formatted devices of a replica, as their superblock describes them.
    pub fn open(main: Device, log: Option<Device>) -> Result<Disk, DeviceError> {
        let path = || main.path().to_path_buf();
        let superblock = match contents(&main)? {
            Contents::Replica(superblock) => superblock,
            Contents::Blank => return Err(DeviceError::NotFormatted { path: path() }),
            Contents::Unreadable(why) => return Err(DeviceError::Unreadable { path: path(), why }),
        };
        match (&log, superblock.geometry.separate_log) {
            (Some(log), true) => check_label(log, &Label::of(&superblock))?,
            (None, false) => {}
            (Some(log), false) => {
                let found = "was given as a log device, but the replica keeps its log on its main device";
                return Err(DeviceError::WrongLog { path: log.path().to_path_buf(), found });
            }
            (None, true) => {
                let found = "keeps its log on a device of its own, and none was given";
                return Err(DeviceError::WrongLog { path: path(), found });
            }
        }
        Disk::new(main, log, superblock.geometry)
    }

    /// Where everything is.
    #[must_use]
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The main device.
    #[must_use]
    pub fn main(&self) -> &Device {
        &self.main
    }

    /// The device that the log is on.
    #[must_use]
    pub fn log(&self) -> &Device {
        self.log.as_ref().unwrap_or(&self.main)
    }

    /// Which device an area is on, and at which byte it begins.
    #[must_use]
    pub fn place(&self, area: Area) -> (&Device, u64) {
        match area {
            Area::Super => (&self.main, 0),
            Area::Log => (self.log(), self.geometry.log_offset()),
            Area::Table => (&self.main, self.geometry.table_offset()),
            Area::Home => (&self.main, self.geometry.home_offset()),
        }
    }

    /// How long an area is, in bytes.
    fn area_bytes(&self, area: Area) -> u64 {
        match area {
            Area::Super => seawall_wal::geometry::SUPER_BYTES,
            Area::Log => self.geometry.log_bytes,
            Area::Table => self.geometry.table_bytes(),
            Area::Home => self.geometry.home_bytes(),
        }
    }
}

fn check_label(log: &Device, expected: &Label) -> Result<(), DeviceError> {
    let found = match Label::decode(&log.read(0, LABEL_BYTES as usize)?) {
        LabelState::Present(label) if label == *expected => return Ok(()),
        LabelState::Present(_) => "is the log device of another replica",
        LabelState::Empty => "is blank",
        LabelState::Unreadable { .. } => "holds something that is not a log's label",
    };
    Err(DeviceError::WrongLog { path: log.path().to_path_buf(), found })
}
