//! `seawall inspect`: what a device holds, read with the engine's own decoders, changing nothing. It also works on
//! the device of a running replica; then it shows a moment of it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use seawall_wal::crc::crc32c;
use seawall_wal::geometry::{Geometry, Slot};
use seawall_wal::log::Log;
use seawall_wal::names::{Epoch, Lsn};
use seawall_wal::record::Kind;
use seawall_wal::restart::{Damage, Restart, Restarted};
use seawall_wal::scan::{Found, Scanned, scan};
use seawall_wal::superblock::{BaseState, Choice, SUPER_SLOT_BYTES, SlotState, Superblock, choose};

use crate::fault::{Exit, Fault};
use crate::quantity::{show_duration, show_size};

/// Bytes of the log that are read at a time: more than the largest record.
const PIECE_BYTES: u64 = 4 << 20;

/// The superblocks on a main device, as text.
///
/// # Errors
/// If it can't be read.
pub fn superblock(path: &Path) -> Result<String, Fault> {
    let [a, b] = slots(path)?;
    let mut out = String::new();
    for (name, state) in [("A", &a), ("B", &b)] {
        let line = match state {
            SlotState::Empty => "empty".to_owned(),
            SlotState::Present(superblock) => format!("sequence {}", superblock.sequence),
            SlotState::Unreadable { why } => format!("unreadable: {why}"),
        };
        let _ = writeln!(out, "slot {name}      {line}");
    }
    let (rule, choice) = choose(a, b);
    let _ = writeln!(out, "rule        {}: {rule}", rule.name());
    if let Choice::Use { superblock, rewrite } = choice {
        if let Some(slot) = rewrite {
            let _ = writeln!(out, "rewrite     slot {slot:?}, before anything else is written");
        }
        show_superblock(&superblock, &mut out);
    }
    Ok(out)
}

fn show_superblock(superblock: &Superblock, out: &mut String) {
    let s = superblock;
    let g = &s.geometry;
    let base = match s.base {
        BaseState::Complete => "complete".to_owned(),
        BaseState::Blank => "blank".to_owned(),
        BaseState::Rebuilding { cut, held, lineage } => {
            format!("rebuilding as of {cut} ({}), blocks below {held} are held", lineage.epoch)
        }
    };
    let clean = s.clean.map_or("no".to_owned(), |mark| format!("at {}", mark.end));
    let cut = s.cut.map_or("none".to_owned(), |cut| format!("at {}, generation {}", cut.lsn, cut.generation));
    let lines = [
        ("volume", s.volume.to_string()),
        (
            "terms",
            format!(
                "{:?}, commit {:?}, failover {:?}, lease {} ms",
                s.terms.name, s.terms.commit, s.terms.failover, s.terms.lease_ms
            ),
        ),
        ("replica", s.replica.to_string()),
        ("size", show_size(g.home_bytes())),
        (
            "log",
            format!(
                "{} in units of {} bytes{}",
                show_size(g.log_bytes),
                g.unit_bytes,
                if g.separate_log { ", on its own device" } else { "" }
            ),
        ),
        (
            "areas",
            format!("log at {}, table at {}, home at {}", g.log_offset(), g.table_offset(), g.home_offset()),
        ),
        ("promised", s.promised.to_string()),
        ("campaigned", s.campaigned.to_string()),
        (
            "log start",
            format!("{} at log offset {}, chain {}", s.log_start.lsn, s.log_start.offset, s.log_start.chain),
        ),
        ("checkpoint", format!("{}, number {}", s.checkpoint, s.checkpoint_number)),
        ("settled", s.settled.to_string()),
        ("attached", s.attached.to_string()),
        ("configured", format!("configuration {}", s.configuration.number)),
        ("cut", cut),
        ("base", base),
        ("clean", clean),
        ("boots", s.boots.to_string()),
        ("lossy", if s.lossy { "yes" } else { "no" }.to_owned()),
        ("promises", if s.promises_lost { "lost with its device" } else { "known" }.to_owned()),
    ];
    for (name, text) in lines {
        let _ = writeln!(out, "{name:<12}{text}");
    }
    for row in &s.lineage {
        let _ = writeln!(out, "lineage     epoch {} from {}", row.epoch, row.first);
    }
    for member in &s.configuration.members {
        let vote = member.suffrage.name();
        let _ = writeln!(out, "member      {} {} at {}, {vote}", member.name, member.replica, member.address);
    }
    for lease in &s.maintenance.held {
        let (since, length) = (lease.began_ms / 1000, Duration::from_millis(lease.length_ms));
        let _ = writeln!(
            out,
            "maintenance {} by {} from Unix time {since} for {}: {}",
            lease.replica,
            lease.owner,
            show_duration(length),
            lease.reason
        );
    }
}

/// The log of the replica on a main device, as text: a summary, and every record if asked for. `log` is the log's
/// own device, if it has one.
///
/// # Errors
/// If a device can't be read, or holds no superblock that says where the log is.
pub fn log(path: &Path, log: Option<&Path>, records: bool) -> Result<String, Fault> {
    let [a, b] = slots(path)?;
    let (rule, choice) = choose(a, b);
    let Choice::Use { superblock, .. } = choice else {
        return Err(Fault::new(
            Exit::Damaged,
            format!("no superblock of {} says where its log is", path.display()),
        )
        .found(rule.to_string())
        .next(format!("look at it: seawall inspect superblock {}", path.display())));
    };
    let ring_path = match (superblock.geometry.separate_log, log) {
        (false, None) => path,
        (true, Some(log)) => log,
        (true, None) => {
            return Err(Fault::new(Exit::Other, "the log is on its own device").next("add --log DEVICE"));
        }
        (false, Some(_)) => {
            return Err(Fault::new(Exit::Other, "the log is on the main device").next("leave --log away"));
        }
    };
    let ring = open(ring_path)?;
    let mut restart = Restart::new(&superblock);
    let mut out = String::new();
    let mut kinds: BTreeMap<String, u64> = BTreeMap::new();
    let mut broken = 0_u64;
    around(&ring, ring_path, &superblock, |scanned| {
        for found in &scanned.records {
            *kinds.entry(format!("{:?}", found.header.kind)).or_default() += 1;
            broken += u64::from(!found.body_ok);
            if records {
                show_record(found, &mut out);
            }
        }
        restart.feed(scanned);
    })?;
    for (kind, count) in kinds {
        let _ = writeln!(out, "headers     {count} {kind}");
    }
    let _ =
        writeln!(out, "broken      {broken} with a body that does not match (old laps of the ring included)");
    match restart.finish() {
        Ok(good) => {
            let _ =
                writeln!(out, "restart     {}: log [{}, {})", good.rule, good.log.start(), good.log.end());
            if let Some(torn) = good.torn {
                let _ = writeln!(
                    out,
                    "torn        at {} (log offset {}), {} records after it don't count",
                    torn.lsn, torn.offset, torn.dropped
                );
            }
        }
        Err(damage) => {
            let _ = writeln!(out, "damage      {damage}");
        }
    }
    Ok(out)
}

/// What a start would say to the log of that replica, whose log device is `log` if it has one.
///
/// # Errors
/// If a device can't be read.
pub(crate) fn restart(
    path: &Path,
    log: Option<&Path>,
    superblock: &Superblock,
) -> Result<Result<Restarted, Damage>, Fault> {
    let ring_path = log.unwrap_or(path);
    let mut restart = Restart::new(superblock);
    around(&open(ring_path)?, ring_path, superblock, |scanned| restart.feed(scanned))?;
    Ok(restart.finish())
}

/// Which epochs begin in a log, and with which records.
pub(crate) fn epochs(log: &Log) -> Vec<(Epoch, Lsn)> {
    let mut starts = Vec::new();
    let mut lsn = log.start();
    while let Some(entry) = log.entry(lsn) {
        if entry.kind == Kind::EpochStart {
            starts.push((entry.epoch, lsn));
        }
        lsn = lsn.next();
    }
    starts
}

fn show_record(found: &Found, out: &mut String) {
    let h = &found.header;
    let body = if found.body_ok { "" } else { ", BODY DOES NOT MATCH" };
    let _ = writeln!(
        out,
        "{:>12}  {} {:?} {} of {} at {}, durable before {}, generation {}{body}",
        h.lsn,
        h.epoch,
        h.kind,
        h.extent,
        h.origin,
        found.offset,
        found.trailer.durable_before,
        found.trailer.generation
    );
}

/// Scan the ring once around, from where the superblock says that the log begins.
fn around(
    ring: &File,
    path: &Path,
    superblock: &Superblock,
    mut each: impl FnMut(Scanned),
) -> Result<(), Fault> {
    let geometry = &superblock.geometry;
    let start = superblock.log_start.offset;
    for (from, to) in [(start, geometry.log_bytes), (0, start)] {
        let mut at = from;
        while at < to {
            let length = usize::try_from(PIECE_BYTES.min(to - at)).expect("at most 4 MiB");
            let bytes = read(ring, path, geometry.log_offset() + at, length)?;
            let scanned = scan(&bytes, at, geometry.unit_bytes, crc32c);
            at = scanned.next;
            each(scanned);
        }
    }
    Ok(())
}

fn slots(path: &Path) -> Result<[SlotState; 2], Fault> {
    let file = open(path)?;
    let slot = |slot| {
        let length = usize::try_from(SUPER_SLOT_BYTES).expect("64 KiB");
        read(&file, path, Geometry::super_offset(slot), length).map(|bytes| Superblock::decode(&bytes))
    };
    Ok([slot(Slot::A)?, slot(Slot::B)?])
}

fn open(path: &Path) -> Result<File, Fault> {
    File::open(path)
        .map_err(|error| Fault::io("open", path, &error).next("give the path of a replica's device"))
}

/// Bytes of a device; zeroes past its end, as in a file that was never written there.
fn read(file: &File, path: &Path, offset: u64, length: usize) -> Result<Vec<u8>, Fault> {
    let mut bytes = vec![0; length];
    let mut done = 0;
    while done < length {
        match file.read_at(&mut bytes[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(moved) => done += moved,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Fault::io("read", path, &error)),
        }
    }
    Ok(bytes)
}
