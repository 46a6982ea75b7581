//! The shipped restart over all small disks: every short life of a log, every end of it, and one thing wrong with what
//! is left.
//!
//! A life is a few of: a record is appended, everything is flushed, the tail is cut, a checkpoint, a clean end. Each
//! life then ends with each part of what it had not flushed, and with each record rotten in each way.

use seawall_wal::log::{Log, Position};
use seawall_wal::names::{Crc, Epoch, Extent, Lsn, Origin, ReplicaId, VolumeId};
use seawall_wal::record::{Kind, RecordHeader, Trailer};
use seawall_wal::restart::{Damage, Restart, RestartRule, Restarted};
use seawall_wal::scan::{Found, Scanned};
use seawall_wal::superblock::{CleanMark, Superblock};

use crate::cases::Cases;
use crate::search::{Breach, Report, rule};
use crate::slots::{GEOMETRY, superblock};

const VOLUME: VolumeId = VolumeId([7; 16]);
const STRANGER: VolumeId = VolumeId([8; 16]);

/// One thing that a log lives through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Act {
    /// A record is appended; a new reign begins with it, or not.
    Append { begins: bool },
    /// All of it is durable.
    Flush,
    /// The last records, all durable, are cut.
    Cut { records: u64 },
    /// All that is durable is home.
    Checkpoint,
    /// A clean end.
    End,
}

const ACTS: [Act; 8] = [
    Act::Append { begins: false },
    Act::Append { begins: true },
    Act::Flush,
    Act::Cut { records: 1 },
    Act::Cut { records: 2 },
    Act::Cut { records: 3 },
    Act::Checkpoint,
    Act::End,
];

/// What there was before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Past {
    /// Nothing.
    None,
    /// Records of an older volume on the same device.
    Stranger,
    /// Records of the ring's lap before.
    Lap,
    /// Three records, each durable before the next; the second begins a reign, or not.
    Reigns(bool),
}

/// The first record of the second lap.
const LAP: Lsn = Lsn(10);

/// How a record is lost or rotten.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Rot {
    /// It is not there.
    Gone,
    /// Its header is, its body is not.
    Torn,
    /// It says that it was durable before it was written.
    Nonsense,
    /// It says that it is of an older reign.
    OlderReign,
    /// It names blocks past the end of the volume.
    PastTheEnd,
    /// It stands one unit behind its place.
    Misplaced,
}

const ROTS: [Rot; 6] =
    [Rot::Gone, Rot::Torn, Rot::Nonsense, Rot::OlderReign, Rot::PastTheEnd, Rot::Misplaced];

/// A log's life: the shipped log, what is on its device, and what was ever relied on.
#[derive(Clone, Debug)]
struct Life {
    past: Past,
    acts: Vec<Act>,
    log: Log,
    superblock: Superblock,
    /// The superblock before the last cut was marked, while the other copy of it is that old.
    unmarked: Option<Superblock>,
    device: Vec<Found>,
    reign: u64,
}

/// Every record is as large as every other, so that what is cut is overwritten exactly.
fn header(log: &Log, reign: u64, kind: Kind) -> RecordHeader {
    RecordHeader {
        volume: VOLUME,
        epoch: Epoch { counter: reign, replica: ReplicaId(1) },
        lsn: log.end(),
        kind,
        extent: if kind == Kind::EpochStart { Extent::default() } else { Extent::new(log.end().0, 1) },
        chain: log.tail_chain(),
        origin: Origin::NONE,
        body: Vec::new(),
    }
}

impl Life {
    fn new(past: Past) -> Life {
        let mut superblock = superblock(4, VOLUME);
        if past == Past::Lap {
            let epoch = Epoch { counter: 1, replica: ReplicaId(1) };
            superblock.log_start = Position { lsn: LAP, offset: 0, chain: Crc(5), epoch };
            (superblock.checkpoint, superblock.settled) = (LAP, LAP);
        }
        let mut life = Life {
            past,
            acts: Vec::new(),
            log: Log::new(&GEOMETRY, superblock.log_start),
            superblock,
            unmarked: None,
            device: Vec::new(),
            reign: 1,
        };
        let mut old = Life { log: Log::new(&GEOMETRY, Position::ORIGIN), ..life.clone() };
        match past {
            Past::None => {}
            Past::Stranger => {
                (0..2).for_each(|_| old.append(false));
                life.device = old.device;
                life.device.iter_mut().for_each(|found| found.header.volume = STRANGER);
            }
            Past::Lap => {
                (0..3).for_each(|_| old.append(false));
                life.device = old.device;
            }
            Past::Reigns(begins) => {
                for begins in [false, begins, false] {
                    assert!(life.act(Act::Append { begins }) && life.act(Act::Flush), "a short life");
                }
                life.acts.clear();
            }
        }
        life
    }

    fn append(&mut self, begins: bool) {
        self.reign += u64::from(begins);
        let kind = if begins || self.log.end() == Lsn::ZERO { Kind::EpochStart } else { Kind::Trim };
        let (header, trailer) = (header(&self.log, self.reign, kind), self.log.trailer());
        let offset = self.log.push(&header).expect("a small log").offset;
        self.device.retain(|found| found.offset != offset);
        self.device.push(Found { offset, header, trailer, body_ok: true });
    }

    fn flush(&mut self) {
        self.log.on_written(self.log.end());
        self.log.on_durable(self.log.end());
    }

    fn act(&mut self, act: Act) -> bool {
        let durable = self.log.durable();
        let possible = match act {
            Act::Append { begins } => !begins || self.log.end() > Lsn::ZERO,
            Act::Flush => durable < self.log.end(),
            Act::Cut { records } => {
                let to = durable.0.checked_sub(records).map(Lsn);
                durable == self.log.end() && to.is_some_and(|to| to >= self.superblock.checkpoint)
            }
            Act::Checkpoint => durable > self.superblock.checkpoint,
            Act::End => durable == self.log.end() && durable > Lsn::ZERO,
        };
        if !possible || self.superblock.clean.is_some() {
            return false;
        }
        self.acts.push(act);
        match act {
            Act::Append { begins } => self.append(begins),
            Act::Flush => self.flush(),
            Act::Cut { records } => {
                self.unmarked = Some(self.superblock.clone());
                self.superblock.cut = Some(self.log.cut(Lsn(durable.0 - records)));
                self.reign = self.log.tail_epoch().counter.max(1);
            }
            Act::Checkpoint => {
                (self.superblock.checkpoint, self.superblock.settled) = (durable, durable);
                self.unmarked = None;
            }
            Act::End => {
                (self.superblock.clean, self.unmarked) = (Some(CleanMark { end: durable }), None);
            }
        }
        true
    }

    /// The record of the present history at `lsn`, as it is on the device.
    fn at(&self, lsn: Lsn) -> Option<usize> {
        let entry = self.log.entry(lsn)?;
        self.device
            .iter()
            .position(|found| found.offset == entry.offset && found.header.digest() == entry.digest)
    }
}

/// What is left of a life.
#[derive(Clone, Debug)]
struct Remains<'a> {
    life: &'a Life,
    superblock: &'a Superblock,
    device: Vec<Found>,
    /// The first record that is not as it was.
    intact: Lsn,
    told: String,
}

impl Remains<'_> {
    fn restart(&self) -> Result<Restarted, Damage> {
        let mut records = self.device.clone();
        records.sort_by_key(|found| found.offset);
        let mut restart = Restart::new(self.superblock);
        restart.feed(Scanned { records, next: GEOMETRY.log_bytes });
        restart.finish()
    }

    /// What may come of it.
    fn judge(&self) -> Result<(), Breach> {
        let Life { log, .. } = self.life;
        let acked = log.durable();
        match self.restart() {
            Ok(Restarted { log: found, rule: by, .. }) => {
                let end = found.end();
                let ours = end <= log.end() && Some(found.tail_chain()) == log.chain_at(end);
                rule("void-stays-void", ours, || {
                    format!("{by}: ends at {end} with a record that is not ours")
                })?;
                rule("what-is-rotten-does-not-count", end <= self.intact, || {
                    format!("{by}: goes on to {end} past {}", self.intact)
                })?;
                let whole = end >= self.intact.min(log.end());
                rule("what-is-whole-counts", whole, || {
                    format!("{by}: ends at {end}, whole to {}", self.intact)
                })?;
                let relied = self.relied();
                rule("damage-is-refused", relied <= end, || {
                    format!("{by}: ends at {end}, and {relied} was relied on")
                })?;
                let clean = self.superblock.clean.is_some();
                rule("a-clean-end-is-clean", !clean || by == RestartRule::CleanShutdown, || by.to_string())
            }
            Err(damage) => {
                let rotten = self.intact < acked;
                rule("a-crash-is-no-damage", rotten, || damage.to_string())
            }
        }
    }

    /// The highest frontier that something intact says was durable.
    fn relied(&self) -> Lsn {
        // An older cut says nothing when a later one went lower.
        let present = self.superblock.cut.filter(|cut| *cut == self.life.superblock.cut.unwrap_or(*cut));
        let cut = present.map_or(Lsn::ZERO, |cut| cut.lsn);
        let mark = self.superblock.clean.map_or(Lsn::ZERO, |mark| mark.end);
        let stated = (self.intact.0..self.life.log.end().0).filter_map(|lsn| {
            let at = self.life.at(Lsn(lsn))?;
            let found = &self.life.device[at];
            self.device.contains(found).then_some(found.trailer.durable_before)
        });
        let stated = stated.max().unwrap_or(Lsn::ZERO);
        self.superblock.settled.max(cut).max(mark).max(stated)
    }
}

fn spoil(found: &Found, rot: Rot) -> Option<Found> {
    let mut found = found.clone();
    match rot {
        Rot::Gone => return None,
        Rot::Torn => found.body_ok = false,
        Rot::Nonsense => {
            let durable_before = found.header.lsn.next().next();
            found.trailer = Trailer { durable_before, ..found.trailer };
        }
        Rot::OlderReign => found.header.epoch = Epoch::ZERO,
        Rot::PastTheEnd => found.header.extent = Extent::new(GEOMETRY.volume_blocks, 1),
        Rot::Misplaced => found.offset += u64::from(GEOMETRY.unit_bytes) * 64,
    }
    Some(found)
}

/// Every end of a life.
fn ends(cases: &mut Cases, life: &Life) -> bool {
    let (durable, end) = (life.log.durable(), life.log.end());
    let mut remains: Vec<Remains<'_>> = Vec::new();
    let whole = Remains {
        life,
        superblock: &life.superblock,
        device: life.device.clone(),
        intact: end,
        told: "nothing is lost".into(),
    };
    // Any of what was not flushed is gone or torn, any else is there.
    let open = u32::try_from(end.since(durable)).expect("few");
    for fate in 0..3u32.pow(open) {
        let mut left = Remains { device: Vec::new(), told: String::new(), ..whole.clone() };
        for (at, found) in life.device.iter().enumerate() {
            let ours = (durable.0..end.0).find(|lsn| life.at(Lsn(*lsn)) == Some(at));
            let digit =
                ours.map_or(0, |lsn| fate / 3u32.pow(u32::try_from(lsn - durable.0).expect("few")) % 3);
            let rot = [None, Some(Rot::Gone), Some(Rot::Torn)][digit as usize];
            if let Some(rot) = rot {
                left.intact = left.intact.min(found.header.lsn);
                left.told = format!("{}{} is {rot:?}; ", left.told, found.header.lsn);
            }
            left.device.extend(rot.map_or_else(|| Some(found.clone()), |rot| spoil(found, rot)));
        }
        remains.push(left);
    }
    // One record, durable or not, is rotten.
    for lsn in (0..end.0).map(Lsn) {
        let Some(at) = life.at(lsn) else { continue };
        // Before the first record there is no reign that could be older.
        let rots = ROTS.into_iter().filter(|rot| lsn > Lsn::ZERO || *rot != Rot::OlderReign);
        for rot in rots {
            let mut left = Remains { intact: lsn, told: format!("{lsn} is {rot:?}"), ..whole.clone() };
            left.device.remove(at);
            left.device.extend(spoil(&life.device[at], rot));
            remains.push(left);
        }
    }
    // The copy of the superblock with the last mark is lost, when records were written after it.
    let after_mark = life.superblock.cut.is_some_and(|cut| durable > cut.lsn);
    if let Some(unmarked) = life.unmarked.as_ref().filter(|_| after_mark) {
        remains.push(Remains { superblock: unmarked, told: "the mark of the cut is lost".into(), ..whole });
    }
    remains.iter().all(|left| {
        let told = || {
            let acts = life.acts.iter().map(|act| format!("{act:?}"));
            let past = core::iter::once(format!("before: {:?}", life.past));
            past.chain(acts).chain([left.told.clone()]).filter(|line| !line.is_empty()).collect()
        };
        cases.judge(life.acts.len(), told, || left.judge())
    })
}

/// All lives of up to so many acts.
#[must_use]
pub fn disks(acts: usize) -> Report {
    let mut cases = Cases::new("restart");
    let pasts = [Past::None, Past::Stranger, Past::Lap, Past::Reigns(false), Past::Reigns(true)];
    let mut lives = pasts.map(Life::new).to_vec();
    for size in 0..=acts {
        for life in &lives {
            if !ends(&mut cases, life) {
                return cases.report();
            }
        }
        if size == acts {
            break;
        }
        let longer = |life: &Life| {
            let grown = ACTS.map(|act| {
                let mut next = life.clone();
                next.act(act).then_some(next)
            });
            grown.into_iter().flatten().collect::<Vec<_>>()
        };
        lives = lives.iter().flat_map(longer).collect();
    }
    cases.report()
}
