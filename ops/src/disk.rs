//! A stopped replica's devices: opened, judged against the configuration, never changed here.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use seawall_blockdev::disk::device::{Device, DeviceError};
use seawall_blockdev::disk::format::{Contents, contents};
use seawall_engine::setup::{Limits, Peer, Setup};
use seawall_wal::geometry::Geometry;
use seawall_wal::superblock::Superblock;

use crate::config::{AllPatience, Config, NoQuorum};
use crate::fault::{Exit, Fault};

/// How long to wait for devices and addresses that are in use: a process that was killed gives them back a moment
/// after its end, because the kernel takes its ring down in the background.
pub const LINGER: Duration = Duration::from_secs(3);

/// The devices of one replica, open and locked.
pub struct Devices {
    /// Superblocks, table and home, and the log unless it has its own.
    pub main: Device,
    /// The log's own.
    pub log: Option<Device>,
}

impl Devices {
    /// Open what the configuration names.
    ///
    /// # Errors
    /// If one of them is not there, in use, or can't be used.
    pub fn open(config: &Config) -> Result<Devices, Fault> {
        let open = |path: &Path| match std::fs::metadata(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(not_formatted(config, path, "no such file"))
            }
            _ => open_lingering(path),
        };
        Ok(Devices { main: open(&config.home)?, log: config.log.as_deref().map(open).transpose()? })
    }
}

/// Open a device; one that is in use may be so for a moment longer than its user lives.
///
/// # Errors
/// If it is not there, in use, or can't be used.
pub(crate) fn open_lingering(path: &Path) -> Result<Device, Fault> {
    let deadline = Instant::now() + LINGER;
    loop {
        match Device::open(path) {
            Err(DeviceError::InUse { .. }) if Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(20))
            }
            opened => return opened.map_err(|error| device_fault(&error)),
        }
    }
}

/// What the replica is told at its start, but for its life's own facts.
#[must_use]
pub fn setup(config: &Config, machine_boot: [u8; 16]) -> Setup {
    let mut limits = Limits::default();
    let ours = &config.limits;
    limits.window_bytes = ours.window_bytes.unwrap_or(limits.window_bytes);
    limits.requests_max = ours.requests.unwrap_or(limits.requests_max);
    limits.quorum_patience = match config.no_quorum {
        NoQuorum::Error => ours.quorum_patience.or(limits.quorum_patience),
        NoQuorum::Wait => None,
    };
    limits.all_patience = match config.all_patience {
        AllPatience::For(patience) => Some(patience),
        AllPatience::Wait => None,
        // Requests that end with an error after a short while end after the copy that they wait for is dropped.
        AllPatience::Usual => {
            let short = limits.quorum_patience.map(|patience| patience / 2);
            limits.all_patience.into_iter().chain(short).min()
        }
    };
    if let Some(silence) = ours.silence {
        limits.silence_max = silence;
        limits.recovery.silence = silence;
        limits.pulse_interval = limits.pulse_interval.min(silence / 4);
    }
    if let Some(lease) = ours.lease {
        limits.lease = lease;
    }
    // Some pulses may be late before the lease runs out.
    limits.pulse_interval = limits.pulse_interval.min(limits.lease / 5);
    let members = config.replicas.iter().map(|replica| Peer {
        replica: replica.id,
        name: replica.name.clone(),
        address: replica.address.clone(),
        voter: replica.voter,
    });
    let (replica, first) = (config.replica, config.first_primary);
    let mut setup = Setup::new(config.volume, replica, members.collect(), first, config.volume_blocks());
    setup.name.clone_from(&config.name);
    setup.commit = config.commit;
    setup.ack = config.ack;
    setup.failover = config.failover;
    setup.machine_boot = machine_boot;
    setup.limits = limits;
    setup
}

/// Where everything is on devices that this configuration formats, whose log device is written in units of
/// `unit_bytes`.
#[must_use]
pub fn geometry(config: &Config, unit_bytes: u32) -> Geometry {
    Geometry {
        volume_blocks: config.volume_blocks(),
        log_bytes: config.log_bytes,
        unit_bytes,
        separate_log: config.log.is_some(),
    }
}

/// The identity of the machine's present boot.
///
/// # Errors
/// If the kernel does not tell.
pub fn machine_boot() -> Result<[u8; 16], Fault> {
    let path = PathBuf::from("/proc/sys/kernel/random/boot_id");
    let text = std::fs::read_to_string(&path).map_err(|e| Fault::io("read", &path, &e))?;
    crate::quantity::volume_id(text.trim())
        .map(|id| id.0)
        .ok_or_else(|| Fault::new(Exit::Other, format!("{} holds no UUID", path.display())).found(text))
}

/// The replica on the main device, if it is the one that the configuration means and all of it is there.
///
/// # Errors
/// If it is another one, or none, or a part of it.
pub fn examine(config: &Config, devices: &Devices) -> Result<Box<Superblock>, Fault> {
    let path = devices.main.path();
    let superblock = match contents(&devices.main).map_err(|error| device_fault(&error))? {
        Contents::Replica(superblock) => superblock,
        Contents::Blank => return Err(not_formatted(config, path, "blank superblocks")),
        Contents::Unreadable(why) => {
            return Err(Fault::new(Exit::Damaged, format!("the superblocks of {} can't be trusted", path.display()))
                .found(format!("rule {why}"))
                .expected(format!("replica {} of volume {}", config.replica, config.volume))
                .next("check the path; if it is right and the others are whole: seawall format --rejoin --force, and it is rebuilt. Nothing was changed"));
        }
    };
    check_identity(config, path, &superblock)?;
    check_geometry(config, path, &superblock.geometry)?;
    let sizes = [
        (Some(&devices.main), superblock.geometry.device_bytes_min()),
        (devices.log.as_ref(), superblock.geometry.log_device_bytes_min()),
    ];
    for (device, needed) in sizes {
        if let Some(device) = device.filter(|device| device.bytes() < needed) {
            return Err(Fault::new(
                Exit::Truncated,
                format!("{} is smaller than the replica on it", device.path().display()),
            )
            .found(format!("{} bytes", device.bytes()))
            .expected(format!("{needed} bytes"))
            .next("bring the device back to its size; if its end is lost, format it anew as a new replica. Nothing was changed"));
        }
    }
    Ok(superblock)
}

fn check_identity(config: &Config, path: &Path, superblock: &Superblock) -> Result<(), Fault> {
    let name = superblock.configuration.member(superblock.replica);
    let name = name.map_or(String::new(), |m| format!(" ({})", m.name));
    let found = format!("replica {}{name} of volume {}", superblock.replica, superblock.volume);
    let own = config.own();
    let expected = format!("replica {} ({}) of volume {}", own.id, own.name, config.volume);
    if superblock.volume != config.volume {
        return Err(Fault::new(Exit::OtherVolume, format!("{} is a disk of another volume", path.display()))
            .found(found)
            .expected(expected)
            .next("correct `home` in [node] or `id` in [volume]. Nothing was changed"));
    }
    if superblock.replica != config.replica {
        return Err(Fault::new(
            Exit::WrongDisk,
            format!("{} is the disk of another replica", path.display()),
        )
        .found(found)
        .expected(expected)
        .next("correct `home` or `replica` in [node]. Nothing was changed"));
    }
    Ok(())
}

fn check_geometry(config: &Config, path: &Path, found: &Geometry) -> Result<(), Fault> {
    let configured = geometry(config, found.unit_bytes);
    let differences = [
        ("size in [volume]", found.home_bytes(), configured.home_bytes()),
        ("log_size in [node]", found.log_bytes, configured.log_bytes),
    ];
    for (key, found, expected) in differences {
        if found != expected {
            return Err(Fault::new(
                Exit::Config,
                format!("{} was formatted with another {key}", path.display()),
            )
            .found(format!("{found} bytes on the disk"))
            .expected(format!("{expected} bytes by {}", config.path.display()))
            .next(format!("correct {key}; it can't be changed once the disk is formatted")));
        }
    }
    if found.separate_log != configured.separate_log {
        let place = |separate| if separate { "a log on its own device" } else { "a log on the main device" };
        return Err(Fault::new(Exit::Config, format!("{} was formatted otherwise", path.display()))
            .found(place(found.separate_log))
            .expected(place(configured.separate_log))
            .next("correct `log` in [node]"));
    }
    Ok(())
}

fn not_formatted(config: &Config, path: &Path, found: &str) -> Fault {
    Fault::new(Exit::NotFormatted, format!("there is no replica on {}", path.display()))
        .found(found)
        .expected(format!("replica {} of volume {}", config.replica, config.volume))
        .next(format!(
            "for a replica of a new volume: seawall format --config {}; if its devices were lost and are new, add --rejoin",
            config.path.display()
        ))
}

/// A device's refusal as one of ours.
#[must_use]
pub fn device_fault(error: &DeviceError) -> Fault {
    use DeviceError as E;
    let exit = match error {
        E::InUse { .. } => Exit::DiskInUse,
        E::Size { .. } => Exit::Truncated,
        E::NotFormatted { .. } => Exit::NotFormatted,
        E::Unreadable { .. } => Exit::Damaged,
        E::WrongLog { .. } | E::Unit { .. } => Exit::WrongDisk,
        E::Refused { .. } | E::Kind { .. } | E::NoDirectIo { .. } | E::Sector { .. } => Exit::Io,
    };
    Fault::new(exit, error.to_string())
}
