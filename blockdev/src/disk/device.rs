//! A file or block device, opened for direct I/O by this process alone.

use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::libc;
use nix::sys::uio::{pread, pwrite};
use seawall_wal::names::BLOCK_BYTES;

use crate::ring::device;
use crate::ring::op::{Descriptor, Errno};
use crate::ring::pages::Pages;

/// What a device is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeviceKind {
    /// A file of a file system.
    File,
    /// A block device.
    Block,
}

/// Why a device can't be used. What was found, what was expected, what to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DeviceError {
    /// The operating system refuses.
    Refused {
        /// Which device.
        path: PathBuf,
        /// What was tried.
        act: &'static str,
        /// The operating system's number.
        errno: i32,
    },
    /// It is neither a file nor a block device.
    Kind {
        /// What has that name.
        path: PathBuf,
    },
    /// Somebody else has it open: another daemon, or a mounted file system.
    InUse {
        /// Which device.
        path: PathBuf,
    },
    /// It can't be written past the page cache.
    NoDirectIo {
        /// Which device.
        path: PathBuf,
    },
    /// It can't be written in units of 4096 bytes.
    Sector {
        /// Which device.
        path: PathBuf,
        /// Its unit in bytes.
        bytes: u32,
    },
    /// It is smaller than what it is to hold.
    Size {
        /// Which device.
        path: PathBuf,
        /// Its size in bytes.
        found: u64,
        /// What it is to hold, in bytes.
        needed: u64,
    },
    /// It was formatted for a smaller unit than it can write now.
    Unit {
        /// Which device.
        path: PathBuf,
        /// Its unit in bytes.
        found: u32,
        /// What it was formatted for, in bytes.
        formatted: u32,
    },
    /// There is no replica on it.
    NotFormatted {
        /// Which device.
        path: PathBuf,
    },
    /// There is something on it that can't be read as a replica.
    Unreadable {
        /// Which device.
        path: PathBuf,
        /// The rule that says so.
        why: &'static str,
    },
    /// The log device is not the one that belongs to the main device.
    WrongLog {
        /// The log device.
        path: PathBuf,
        /// What it holds.
        found: &'static str,
    },
}

impl fmt::Display for DeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use DeviceError as E;
        match self {
            E::Refused { path, act, errno } => {
                write!(f, "{}: {act}: {}", path.display(), io::Error::from_raw_os_error(*errno))
            }
            E::Kind { path } => {
                write!(f, "{} is neither a file nor a block device: give the path of one", path.display())
            }
            E::InUse { path } => write!(
                f,
                "{} is in use: another process serves it, or it is mounted; stop that, and try again",
                path.display()
            ),
            E::NoDirectIo { path } => write!(
                f,
                "{} does not support direct I/O: put it on ext4, XFS or a block device",
                path.display()
            ),
            E::Sector { path, bytes } => write!(
                f,
                "{} is written in units of {bytes} bytes; 512 to 4096 are expected: use another device",
                path.display()
            ),
            E::Size { path, found, needed } => write!(
                f,
                "{} has {found} bytes, {needed} are needed: enlarge it, or make volume or log smaller",
                path.display()
            ),
            E::Unit { path, found, formatted } => write!(
                f,
                "{} is written in units of {found} bytes, but was formatted for {formatted}: it was moved to another \
                 kind of device; let it be rebuilt there from another copy",
                path.display()
            ),
            E::NotFormatted { path } => {
                write!(f, "{} holds no replica: format it first", path.display())
            }
            E::Unreadable { path, why } => write!(
                f,
                "{}: its superblocks can't be trusted ({why}); nothing was changed. If this is the right device, \
                 replace the replica by a new one and let it be rebuilt",
                path.display()
            ),
            E::WrongLog { path, found } => write!(
                f,
                "{} {found}: it is not the log that belongs to the main device; give the right one",
                path.display()
            ),
        }
    }
}

impl std::error::Error for DeviceError {}

/// An open device. Nobody else who asks can open it as long as this, or an operation on it, lives.
pub struct Device {
    file: Descriptor,
    path: PathBuf,
    kind: DeviceKind,
    unit_bytes: u32,
    bytes: u64,
}

impl Device {
    /// Opens a file or block device that is there.
    pub fn open(path: &Path) -> Result<Device, DeviceError> {
        Device::with(path, OpenOptions::new().read(true).write(true))
    }

    /// As [`Device::open`]; while somebody else has it, tries again for so long. A process that was killed lets go of
    /// its devices only when the kernel has ended its operations in flight, which is after it is gone.
    pub fn open_within(path: &Path, patience: Duration) -> Result<Device, DeviceError> {
        let began = Instant::now();
        loop {
            match Device::open(path) {
                Err(DeviceError::InUse { .. }) if began.elapsed() < patience => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                opened => return opened,
            }
        }
    }

    /// Creates a file of that size, or opens one that is there and makes it at least so large.
    pub fn create(path: &Path, bytes: u64) -> Result<Device, DeviceError> {
        let is_block = std::fs::metadata(path).is_ok_and(|found| found.file_type().is_block_device());
        let mut device = Device::with(
            path,
            OpenOptions::new().read(true).write(true).create(!is_block).truncate(false).mode(0o600),
        )?;
        if device.kind == DeviceKind::File && device.bytes < bytes {
            let file = File::from(device.file.try_clone().map_err(refused(path, "open"))?);
            file.set_len(bytes).map_err(refused(path, "enlarge"))?;
            device.bytes = bytes;
        }
        device.check_size(bytes)?;
        Ok(device)
    }

    fn with(path: &Path, options: &mut OpenOptions) -> Result<Device, DeviceError> {
        let kind = match std::fs::metadata(path) {
            Ok(found) if found.file_type().is_block_device() => DeviceKind::Block,
            Ok(found) if !found.is_file() => return Err(DeviceError::Kind { path: path.to_path_buf() }),
            Ok(_) | Err(_) => DeviceKind::File,
        };
        // On a block device O_EXCL keeps other openers with O_EXCL away, and mounted file systems.
        let exclusive = if kind == DeviceKind::Block { libc::O_EXCL } else { 0 };
        let file =
            options.custom_flags(libc::O_DIRECT | exclusive).open(path).map_err(|error| {
                match error.raw_os_error() {
                    Some(libc::EBUSY) => DeviceError::InUse { path: path.to_path_buf() },
                    Some(libc::EINVAL) => DeviceError::NoDirectIo { path: path.to_path_buf() },
                    _ => refused(path, "open")(error),
                }
            })?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(DeviceError::InUse { path: path.to_path_buf() }),
            Err(TryLockError::Error(error)) => return Err(refused(path, "lock")(error)),
        }
        let said = |act| move |errno: Errno| refused(path, act)(io::Error::from_raw_os_error(errno.0));
        let (unit_bytes, bytes) = match kind {
            DeviceKind::Block => (
                device::sector_bytes(file.as_fd()).map_err(said("ask for its sector size"))?,
                device::bytes(file.as_fd()).map_err(said("ask for its size"))?,
            ),
            DeviceKind::File => (
                device::direct_io_bytes(file.as_fd())
                    .map_err(said("ask for its unit of direct I/O"))?
                    .unwrap_or(BLOCK_BYTES),
                file.metadata().map_err(refused(path, "ask for its size"))?.len(),
            ),
        };
        if unit_bytes > BLOCK_BYTES {
            return Err(DeviceError::Sector { path: path.to_path_buf(), bytes: unit_bytes });
        }
        let file = Rc::new(OwnedFd::from(file));
        Ok(Device { file, path: path.to_path_buf(), kind, unit_bytes: unit_bytes.max(512), bytes })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it is.
    #[must_use]
    pub fn kind(&self) -> DeviceKind {
        self.kind
    }

    /// Its size in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The unit in which it can be written, in bytes: 512 to 4096.
    #[must_use]
    pub fn unit_bytes(&self) -> u32 {
        self.unit_bytes
    }

    /// The open file.
    #[must_use]
    pub fn descriptor(&self) -> &Descriptor {
        &self.file
    }

    /// Judges its size, in bytes.
    pub fn check_size(&self, needed: u64) -> Result<(), DeviceError> {
        if self.bytes < needed {
            return Err(DeviceError::Size { path: self.path.clone(), found: self.bytes, needed });
        }
        Ok(())
    }

    /// Reads some bytes, waiting for them. For what is done before there is a ring.
    pub fn read(&self, offset: u64, bytes: usize) -> Result<Pages, DeviceError> {
        let mut pages = Pages::zeroed(bytes);
        let mut done = 0;
        while done < bytes {
            match pread(self.file.as_fd(), &mut pages[done..], at(offset, done)) {
                Ok(0) => return Err(self.refused("read", libc::EIO)),
                Ok(moved) => done += moved,
                Err(nix::errno::Errno::EINTR) => {}
                Err(errno) => return Err(self.refused("read", errno as i32)),
            }
        }
        Ok(pages)
    }

    /// Writes some bytes, waiting for it.
    pub fn write(&self, offset: u64, pages: &Pages) -> Result<(), DeviceError> {
        let mut done = 0;
        while done < pages.len() {
            match pwrite(self.file.as_fd(), &pages[done..], at(offset, done)) {
                Ok(0) => return Err(self.refused("write", libc::EIO)),
                Ok(moved) => done += moved,
                Err(nix::errno::Errno::EINTR) => {}
                Err(errno) => return Err(self.refused("write", errno as i32)),
            }
        }
        Ok(())
    }

    /// Brings everything to stable storage, waiting for it; a file's size and blocks, too.
    pub fn sync(&self) -> Result<(), DeviceError> {
        nix::unistd::fsync(self.file.as_fd())
            .map_err(|errno| self.refused("bring to stable storage", errno as i32))
    }

    /// Gives a part of its space back, if it can.
    pub fn discard(&self, offset: u64, bytes: u64) {
        if self.kind == DeviceKind::Block && bytes > 0 {
            // A device that can't simply keeps its space.
            let _ = device::discard(self.file.as_fd(), offset, bytes);
        }
    }

    fn refused(&self, act: &'static str, errno: i32) -> DeviceError {
        DeviceError::Refused { path: self.path.clone(), act, errno }
    }
}

fn at(offset: u64, done: usize) -> libc::off_t {
    libc::off_t::try_from(offset + done as u64).expect("devices are below 2^63 bytes")
}

fn refused(path: &Path, act: &'static str) -> impl Fn(io::Error) -> DeviceError {
    move |error| DeviceError::Refused {
        path: path.to_path_buf(),
        act,
        errno: error.raw_os_error().unwrap_or(0),
    }
}
