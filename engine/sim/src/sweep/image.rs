//! Rot and cuts: every byte cut and every flipped bit of a real log, and every flipped bit of the superblocks, the
//! checksum table, the label of a log device and blocks at home.

use std::collections::BTreeMap;
use std::sync::Mutex;

use seawall_engine::io::Area;
use seawall_wal::crc::crc32c;
use seawall_wal::geometry::{Geometry, Slot};
use seawall_wal::label::{Label, LabelState};
use seawall_wal::log::Log;
use seawall_wal::names::{Crc, Extent, Lsn};
use seawall_wal::restart::{Damage, Restart, RestartRule};
use seawall_wal::superblock::{Choice, SlotState, Superblock, choose};
use seawall_wal::table::{Table, stored};

use super::drive::Drive;
use super::history::Wish;
use super::plan::Plan;
use super::script::Script;
use super::stage::{SUBJECT, Stage, Wrong};
use super::sweeper::{Scope, parallel};
use crate::pool::BLOCK;

/// What was counted of one kind of damage: cases by outcome.
pub type ImageCount = BTreeMap<&'static str, BTreeMap<&'static str, usize>>;

/// All damage to images; what must not be is an error.
///
/// # Errors
/// The first case that went wrong, named.
pub fn images(scope: Scope) -> Result<ImageCount, Wrong> {
    let count = Mutex::new(ImageCount::new());
    let first = Mutex::new(None);
    let tally = Tally { count: &count, first: &first, scope };
    for unit_bytes in [512, 4096] {
        for clean in [false, true] {
            tally.log(unit_bytes, clean)?;
        }
    }
    tally.rest()?;
    let first = first.into_inner().expect("nobody panics here");
    first.map_or_else(|| Ok(count.into_inner().expect("nobody panics here")), Err)
}

struct Tally<'a> {
    count: &'a Mutex<ImageCount>,
    first: &'a Mutex<Option<Wrong>>,
    scope: Scope,
}

type Counts = BTreeMap<&'static str, usize>;

impl Tally<'_> {
    /// Judge cases `0..count` of one kind, in pieces, on several threads.
    fn each(
        &self,
        kind: &'static str,
        count: usize,
        stride: usize,
        judge: impl Fn(usize) -> Result<&'static str, String> + Sync,
    ) {
        const PIECE: usize = 512;
        let pieces = count.div_ceil(PIECE);
        let counts = parallel(pieces, self.scope.threads, |piece, counts: &mut Counts| {
            for case in (piece * PIECE..count.min((piece + 1) * PIECE)).filter(|case| case % stride == 0) {
                match judge(case) {
                    Ok(outcome) => *counts.entry(outcome).or_default() += 1,
                    Err(why) => {
                        let mut first = self.first.lock().expect("nobody panics here");
                        first.get_or_insert(Wrong::new(kind, format!("case {case}: {why}")));
                    }
                }
            }
        });
        let mut all = self.count.lock().expect("nobody panics here");
        let kind = all.entry(kind).or_default();
        for (outcome, cases) in counts {
            *kind.entry(outcome).or_default() += cases;
        }
    }

    /// A log of several epochs, with batches, a padding and a wrap; ended by a kill, or cleanly.
    fn log(&self, unit_bytes: u32, clean: bool) -> Result<(), Wrong> {
        let picture = Picture::take(unit_bytes, clean)?;
        let whole =
            picture.judge(&picture.drive).map_err(|damage| wrong("a whole log", damage.to_string()))?;
        if whole.0 != picture.end || picture.records.len() < 24 {
            return Err(wrong("a whole log", format!("{} of {} records", whole.0, picture.records.len())));
        }
        let used = picture.used();
        let bytes: usize = used.iter().map(|(_, len)| len).sum();
        let place = |at: usize| {
            let mut at = at;
            for (start, len) in &used {
                if at < *len {
                    return start + at as u64;
                }
                at -= len;
            }
            unreachable!("within what is used")
        };
        let (flips, cuts) = match clean {
            false => ("log: a bit flips", "log: cut at a byte"),
            true => ("log after a clean end: a bit flips", "log after a clean end: cut at a byte"),
        };
        // After a clean end all damage is alike: a sample says it.
        let stride = if clean { self.scope.stride * 16 } else { self.scope.stride };
        self.each(flips, bytes * 8, stride, |case| {
            let mut drive = picture.drive.clone();
            let offset = place(case / 8);
            drive.flip(Area::Log, offset, u8::try_from(case % 8).expect("a bit"));
            picture.check(&drive, true)
        });
        self.each(cuts, bytes, stride, |case| {
            let mut drive = picture.drive.clone();
            let mut rest = case;
            for (start, len) in &used {
                let keep = rest.min(*len);
                rest -= keep;
                drive.put(Area::Log, start + keep as u64, &vec![0; len - keep]);
            }
            picture.check(&drive, false)
        });
        Ok(())
    }

    fn rest(&self) -> Result<(), Wrong> {
        let plan = Script::Checkpoint.plan();
        let mut stage = Script::Checkpoint.stage(plan);
        Script::Checkpoint.play(&mut stage)?;
        let drive = stage.nodes[SUBJECT].drive.clone();
        self.superblocks(&plan, &stage, &drive);
        self.table(&drive)?;
        self.label(&drive);
        self.home(&plan, &stage, &drive)
    }

    fn superblocks(&self, plan: &Plan, stage: &Stage, drive: &Drive) {
        let whole: Vec<Superblock> = drive.slots().into_iter().filter_map(present).collect();
        let slot_bits = BLOCK * 8;
        let allowed = |drive: &Drive, both: bool| {
            let [a, b] = drive.slots();
            match choose(a, b) {
                (_, Choice::Use { superblock, .. }) if whole.contains(&superblock) => {
                    Ok("one of the two copies is used")
                }
                (_, Choice::Use { .. }) => Err("a superblock that nobody wrote".to_owned()),
                // Erased altogether, nothing tells it from a disk that was never written.
                (_, Choice::Blank) if both && is_erased(drive) => Ok("both erased altogether: blank"),
                (_, Choice::Blank) => Err("taken for a blank disk".to_owned()),
                (_, Choice::Refuse) if both => Ok("refused"),
                (rule, Choice::Refuse) => Err(format!("refused with one copy whole: {rule}")),
            }
        };
        let flip = |drive: &mut Drive, slot: Slot, bit: usize| {
            let at = Geometry::super_offset(slot) + bit as u64 / 8;
            drive.flip(Area::Super, at, u8::try_from(bit % 8).expect("a bit"));
        };
        self.each("superblock: a bit of one slot flips", 2 * slot_bits, self.scope.stride, |case| {
            let mut drive = drive.clone();
            flip(&mut drive, [Slot::A, Slot::B][case / slot_bits], case % slot_bits);
            allowed(&drive, false)
        });
        self.each("superblock: a bit of both slots flips", 4 * slot_bits, self.scope.stride, |case| {
            let mut drive = drive.clone();
            flip(&mut drive, Slot::A, case % slot_bits);
            flip(&mut drive, Slot::B, (case * 7919 + case / slot_bits) % slot_bits);
            allowed(&drive, true)
        });
        // Both torn: the front of each is of another write, of zeroes or of something else.
        let fills: [&[u8]; 3] = [&[0; 4096], &[0xA5; 4096], &whole[0].encode()];
        self.each("superblock: both slots torn", 3 * 64 * 64, self.scope.stride, |case| {
            let mut drive = drive.clone();
            let fill = fills[case / 4096];
            for (slot, at) in [(Slot::A, case % 64), (Slot::B, case / 64 % 64)] {
                drive.put(Area::Super, Geometry::super_offset(slot), &fill[..at * 64]);
            }
            allowed(&drive, true)
        });
        // The same by way of the engine: what it refuses to open it leaves alone.
        self.each("superblock: both slots rotten, opened", slot_bits, self.scope.stride * 31, |case| {
            let mut drive = drive.clone();
            flip(&mut drive, Slot::A, case);
            flip(&mut drive, Slot::B, case);
            let refuses = matches!(allowed(&drive, true)?, "refused");
            let mut stage = Stage::new(*plan, vec![drive.clone()], 2, stage.history.clone());
            stage.start(SUBJECT);
            let opened = stage.serve().is_ok();
            let untouched = stage.nodes[SUBJECT].drive.slots() == drive.slots();
            match (refuses, opened, untouched) {
                (true, false, true) => Ok("refused, and nothing was written"),
                (false, true, _) => Ok("opened"),
                state => Err(format!("refuses, opened, untouched: {state:?}")),
            }
        });
    }

    fn table(&self, drive: &Drive) -> Result<(), Wrong> {
        let superblock = drive.superblock().ok_or_else(|| wrong("table", "no superblock".into()))?;
        let len = usize::try_from(drive.geometry.table_bytes()).expect("a small table");
        let area = drive.bytes(Area::Table, 0, len);
        let load = |area: &[u8]| {
            let mut table = Table::new(drive.geometry.volume_blocks, superblock.table);
            table.load(0, area)?;
            table.on_loaded().map(|()| table.digest())
        };
        let whole = load(&area).map_err(|error| wrong("table", error.to_string()))?;
        self.each("table: a bit of a page flips, in either place", len * 8, self.scope.stride, |case| {
            let mut area = area.clone();
            area[case / 8] ^= 1 << (case % 8);
            match load(&area) {
                Err(_) => Ok("refused"),
                Ok(digest) if digest == whole => Ok("the place that does not count: as it was"),
                Ok(_) => Err("another table was taken for the right one".into()),
            }
        });
        let places = len / BLOCK;
        self.each("table: a place is lost, old, or that of another page", places * (places + 1), 1, |case| {
            let mut changed = area.clone();
            let (to, from) = (case % places, case / places);
            let other = if from == places { vec![0; BLOCK] } else { area[from * BLOCK..][..BLOCK].to_vec() };
            changed[to * BLOCK..][..BLOCK].copy_from_slice(&other);
            match load(&changed) {
                Err(_) => Ok("refused"),
                Ok(digest) if digest == whole => Ok("as it was"),
                Ok(_) => Err("another table was taken for the right one".into()),
            }
        });
        Ok(())
    }

    fn label(&self, drive: &Drive) {
        let superblock = drive.superblock().expect("a replica");
        let whole = Label::of(&superblock);
        let bytes = whole.encode();
        self.each("label: a bit flips", bytes.len() * 8, self.scope.stride, |case| {
            let mut bytes = bytes.clone();
            bytes[case / 8] ^= 1 << (case % 8);
            match Label::decode(&bytes) {
                LabelState::Unreadable { .. } => Ok("unreadable"),
                LabelState::Present(label) if label == whole => Ok("behind the label: as it was"),
                LabelState::Present(_) => Err("another label".into()),
                LabelState::Empty => Err("taken for an empty device".into()),
            }
        });
    }

    fn home(&self, plan: &Plan, stage: &Stage, drive: &Drive) -> Result<(), Wrong> {
        let superblock = drive.superblock().ok_or_else(|| wrong("home", "no superblock".into()))?;
        let mut table = Table::new(drive.geometry.volume_blocks, superblock.table);
        let len = usize::try_from(drive.geometry.table_bytes()).expect("a small table");
        table.load(0, &drive.bytes(Area::Table, 0, len)).map_err(|e| wrong("home", e.to_string()))?;
        let blocks: Vec<u64> =
            (0..drive.geometry.volume_blocks).filter(|block| table.get(*block).is_some()).collect();
        let bits = BLOCK * 8;
        self.each("home: a bit of a block flips", blocks.len() * bits, self.scope.stride, |case| {
            let block = blocks[case / bits];
            let mut bytes = drive.bytes(Area::Home, block * BLOCK as u64, BLOCK);
            bytes[case % bits / 8] ^= 1 << (case % 8);
            let found: Crc = stored(crc32c(&bytes));
            if table.get(block) == Some(found) { Err("not seen".into()) } else { Ok("seen on read") }
        });
        // The same by way of the engine, as a client sees it.
        self.each("home: a rotten block is read", blocks.len() * bits, self.scope.stride * 1009, |case| {
            let block = blocks[case / bits];
            let mut drive = drive.clone();
            let at = block * BLOCK as u64 + (case % bits / 8) as u64;
            drive.flip(Area::Home, at, u8::try_from(case % 8).expect("a bit"));
            let mut stage = Stage::new(*plan, vec![drive], 2, stage.history.clone());
            stage.start(SUBJECT);
            let node = stage.serve().map_err(|wrong| wrong.to_string())?;
            match stage.read_all(node) {
                Err(wrong) if wrong.detail.contains("Unreadable") => Ok("the read is refused"),
                Err(wrong) => Err(wrong.to_string()),
                Ok(_) => Err("the read was answered".into()),
            }
        });
        Ok(())
    }
}

fn is_erased(drive: &Drive) -> bool {
    [Slot::A, Slot::B].into_iter().all(|slot| {
        drive.bytes(Area::Super, Geometry::super_offset(slot), BLOCK).iter().all(|byte| *byte == 0)
    })
}

fn present(state: SlotState) -> Option<Superblock> {
    match state {
        SlotState::Present(superblock) => Some(*superblock),
        SlotState::Empty | SlotState::Unreadable { .. } => None,
    }
}

fn wrong(check: &'static str, detail: String) -> Wrong {
    Wrong { check, detail }
}

/// One record of the picture, as the whole log tells of it.
#[derive(Clone, Copy, Debug)]
struct Record {
    lsn: Lsn,
    offset: u64,
    /// Bytes that its checksums cover, from its offset: the header; then the body, behind the unit.
    body: u64,
    digest: Crc,
    durable_before: Lsn,
}

/// A log as it stands on a disk, and what is true of it.
struct Picture {
    drive: Drive,
    superblock: Superblock,
    records: Vec<Record>,
    end: Lsn,
}

impl Picture {
    fn take(unit_bytes: u32, clean: bool) -> Result<Picture, Wrong> {
        let script = Script::Wrap;
        let mut plan = script.plan();
        plan.geometry.unit_bytes = unit_bytes;
        // Nothing goes home: all of the log is there to be judged, unless it ends well.
        plan.checkpoint_sixteenths = 15;
        let mut stage = script.stage(plan);
        let wish = |start, blocks| Wish::Write { extent: Extent::new(start, blocks), fua: false };
        for round in 0..4 {
            stage.start(SUBJECT);
            stage.serve()?;
            let batch = [wish(round, 1), wish(9, 1), wish(round + 1, 1)];
            let ids = batch.map(|wish| stage.ask(SUBJECT, wish));
            stage.wait(&ids)?;
            for extent in [Extent::new(40, 1), Extent::new(round * 300, 2)] {
                let id = stage.ask(SUBJECT, Wish::Trim { extent });
                stage.wait(&[id])?;
            }
            if round == 3 && clean {
                let answer = stage.command(SUBJECT, seawall_engine::io::Command::Drain)?;
                answer.map_err(|why| wrong("it-drains", why))?;
            }
            stage.kill(SUBJECT);
        }
        let drive = stage.nodes[SUBJECT].drive.clone();
        let superblock = *drive.superblock().ok_or_else(|| wrong("a log", "no superblock".into()))?;
        let mut picture = Picture { drive, superblock, records: Vec::new(), end: Lsn::ZERO };
        let (end, log) =
            picture.judge(&picture.drive).map_err(|damage| wrong("a log", damage.to_string()))?;
        let found = picture.drive.scan(0, picture.drive.geometry.log_bytes).records;
        let mut lsn = log.start();
        while lsn < end {
            let entry = log.entry(lsn).expect("the log is dense");
            let found = found.iter().find(|found| found.offset == entry.offset).expect("it was scanned");
            picture.records.push(Record {
                lsn,
                offset: entry.offset,
                body: u64::from(entry.body_blocks()) * BLOCK as u64,
                digest: entry.digest,
                durable_before: found.trailer.durable_before,
            });
            lsn = lsn.next();
        }
        picture.end = end;
        Ok(picture)
    }

    /// Where records are, in ring order from the log's start: offset and length.
    fn used(&self) -> Vec<(u64, usize)> {
        let geometry = self.drive.geometry;
        let start = self.superblock.log_start.offset;
        let unit = u64::from(geometry.unit_bytes);
        let last = self.records.last().expect("a log with records");
        let tail = geometry.log_bytes - start;
        // Two units past the end too, which nobody has written.
        let front = last.offset + unit + last.body + 2 * unit;
        let len = |bytes| usize::try_from(bytes).expect("a small log");
        vec![(start, len(tail)), (0, len(front))]
    }

    /// The first record that is not as it was, as far as its checksums go.
    fn first_hit(&self, drive: &Drive) -> Option<usize> {
        let unit = u64::from(self.drive.geometry.unit_bytes);
        let differs = |offset: u64, bytes: u64| {
            let len = usize::try_from(bytes).expect("a small record");
            drive.bytes(Area::Log, offset, len) != self.drive.bytes(Area::Log, offset, len)
        };
        self.records
            .iter()
            .position(|record| differs(record.offset, 512) || differs(record.offset + unit, record.body))
    }

    fn judge(&self, drive: &Drive) -> Result<(Lsn, Log), Box<Damage>> {
        let mut restart = Restart::new(&self.superblock);
        let start = self.superblock.log_start.offset;
        restart.feed(drive.scan(start, drive.geometry.log_bytes - start));
        if start > 0 {
            restart.feed(drive.scan(0, start));
        }
        let restarted = restart.finish().map_err(Box::new)?;
        Ok((restarted.log.end(), restarted.log))
    }

    /// A log that was damaged first at a record. `flip`: what comes after is still there, and proves what it can.
    fn check(&self, drive: &Drive, flip: bool) -> Result<&'static str, String> {
        let judged = self.judge(drive);
        let Some(index) = self.first_hit(drive) else {
            return match judged {
                Ok((end, _)) if end == self.end => Ok("beside the records: as it was"),
                Ok((end, _)) => Err(format!("nothing of value was hit, and the log ends at {end}")),
                Err(damage) => Err(format!("nothing of value was hit: {damage}")),
            };
        };
        let hit = &self.records[index];
        let after = &self.records[index + 1..];
        let proven = flip && after.iter().any(|record| record.durable_before > hit.lsn);
        let floor = self.superblock.checkpoint > hit.lsn;
        let clean = self.superblock.clean.is_some();
        match judged {
            Ok((end, log)) => {
                if proven || floor || clean {
                    return Err(format!("cut at {end} although it was proven durable"));
                }
                if end != hit.lsn {
                    return Err(format!("the log ends at {end}, record {} was hit", hit.lsn));
                }
                let same = self.records[..index]
                    .iter()
                    .all(|record| log.entry(record.lsn).is_some_and(|entry| entry.digest == record.digest));
                if same { Ok("the tail is cut there") } else { Err("other records were followed".into()) }
            }
            Err(damage) => {
                let placed = damage.lsn == hit.lsn && (damage.offset == hit.offset || self.is_padded(index));
                let rule = if proven {
                    RestartRule::InteriorDamage
                } else if floor {
                    RestartRule::FloorMissing
                } else {
                    RestartRule::CleanMarkBroken
                };
                if !placed || damage.rule != rule || !(proven || floor || clean) {
                    return Err(format!("record {} at {} was hit: {damage}", hit.lsn, hit.offset));
                }
                Ok(match rule {
                    RestartRule::InteriorDamage => "refused with its place: interior-damage",
                    RestartRule::FloorMissing => "refused with its place: floor-missing",
                    RestartRule::CleanMarkBroken => "refused with its place: clean-mark-broken",
                    RestartRule::CleanShutdown | RestartRule::TornTail | RestartRule::CleanEnd => "refused",
                })
            }
        }
    }

    /// Whether a record stands behind a padding: its place is then where the padding begins.
    fn is_padded(&self, index: usize) -> bool {
        self.records[index].offset == 0
    }
}
