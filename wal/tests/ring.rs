//! The ring over a simulated device: random appends, releases, cuts, resets and crashes with torn appends, many
//! times round. After every crash the log is what it was, but for a suffix of what was not durable.

use proptest::prelude::*;
use seawall_wal::crc::crc32c;
use seawall_wal::geometry::{Geometry, LOG_BYTES_MIN};
use seawall_wal::log::{Full, Log, Position, RESERVE_BYTES};
use seawall_wal::names::{Epoch, Extent, Lsn, Origin, ReplicaId, VolumeId};
use seawall_wal::record::{BODY_BLOCKS_MAX, Kind, RecordHeader};
use seawall_wal::restart::{Restart, RestartRule};
use seawall_wal::scan::scan;
use seawall_wal::superblock::Superblock;

const VOLUME: VolumeId = VolumeId([7; 16]);
const VOLUME_BLOCKS: u64 = 1 << 20;

#[derive(Clone, Debug)]
enum Op {
    /// One append of records of so many blocks (0: a record without a body), durable when done.
    Append { blocks: Vec<u32>, epoch: bool },
    /// Release a part of what is held, in 1/16.
    Release { part: u64 },
    /// Cut a part of what is held off, in 1/16.
    Cut { part: u64 },
    /// Begin anew, so many records further or back.
    Reset { lsn: u64 },
    /// A crash during an append, of which some sectors arrive: those whose bit is set, over and over.
    Crash { blocks: Vec<u32>, sectors: u64 },
}

fn blocks() -> impl Strategy<Value = Vec<u32>> {
    let one = prop_oneof![2 => Just(0), 3 => 1..4_u32, 3 => Just(BODY_BLOCKS_MAX)];
    prop::collection::vec(one, 1..5)
}

fn ops() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => (blocks(), any::<bool>()).prop_map(|(blocks, epoch)| Op::Append { blocks, epoch }),
        6 => (0..17_u64).prop_map(|part| Op::Release { part }),
        2 => (0..3_u64).prop_map(|part| Op::Cut { part }),
        1 => (0..400_u64).prop_map(|lsn| Op::Reset { lsn }),
        3 => (blocks(), any::<u64>()).prop_map(|(blocks, sectors)| Op::Crash { blocks, sectors }),
    ]
}

struct Rig {
    device: Vec<u8>,
    superblock: Superblock,
    log: Log,
    epoch: Epoch,
    salt: u64,
    /// Every record that the log holds, as it was pushed, with the bytes that it and its padding cover.
    model: Vec<(RecordHeader, u64, u64)>,
}

impl Rig {
    fn new(unit_bytes: u32) -> Rig {
        let geometry = Geometry {
            volume_blocks: VOLUME_BLOCKS,
            log_bytes: LOG_BYTES_MIN,
            unit_bytes,
            separate_log: false,
        };
        let superblock = Superblock::newborn(VOLUME, ReplicaId(2), geometry, vec![]);
        Rig {
            device: vec![0; usize::try_from(LOG_BYTES_MIN).expect("small")],
            log: Log::new(&geometry, Position::ORIGIN),
            superblock,
            epoch: Epoch { counter: 1, replica: ReplicaId(1) },
            salt: 0,
            model: vec![],
        }
    }

    fn unit(&self) -> usize {
        self.superblock.geometry.unit_bytes as usize
    }

    /// Places a record and returns what is to be written where.
    fn push(&mut self, kind: Kind, blocks: u32) -> Result<Vec<(u64, Vec<u8>)>, Full> {
        self.salt += 1;
        let body_blocks = if kind == Kind::Write { blocks } else { 0 };
        let salt = self.salt;
        let bodies: Vec<Vec<u8>> =
            (0..body_blocks).map(|i| (salt << 8 | u64::from(i)).to_le_bytes().repeat(512)).collect();
        let header = RecordHeader {
            volume: VOLUME,
            epoch: self.epoch,
            lsn: self.log.end(),
            kind,
            extent: if kind == Kind::EpochStart { Extent::default() } else { Extent::new(salt, blocks) },
            chain: self.log.tail_chain(),
            origin: Origin::NONE,
            body: bodies.iter().map(|block| crc32c(block)).collect(),
        };
        let before = self.log.clone();
        let placed = self.log.push(&header).inspect_err(|full| {
            assert_eq!(full.free_bytes, before.free_bytes());
            assert_eq!(
                (self.log.end(), self.log.tail()),
                (before.end(), before.tail()),
                "nothing has changed"
            );
        })?;
        let trailer = self.log.trailer();
        let mut writes = vec![];
        if let Some((offset, bytes)) = placed.padding {
            assert_eq!(offset + bytes, LOG_BYTES_MIN);
            let padding = RecordHeader::padding(VOLUME, self.epoch, header.lsn, header.chain, bytes);
            writes.push((offset, self.padded(&padding)));
        }
        let mut bytes = self.padded(&header);
        assert_eq!(header.encode(trailer.durable_before, trailer.generation)[..], bytes[..512]);
        bodies.iter().for_each(|block| bytes.extend_from_slice(block));
        assert_eq!(bytes.len() as u64, header.disk_bytes(self.superblock.geometry.unit_bytes));
        assert!(placed.offset + bytes.len() as u64 <= LOG_BYTES_MIN, "a record never wraps");
        writes.push((placed.offset, bytes));
        let covered = writes.iter().map(|(_, bytes)| bytes.len() as u64).sum();
        self.model.push((header, placed.offset, covered));
        self.check_held();
        Ok(writes)
    }

    fn padded(&self, header: &RecordHeader) -> Vec<u8> {
        let trailer = self.log.trailer();
        let mut bytes = header.encode(trailer.durable_before, trailer.generation).to_vec();
        bytes.resize(self.unit(), 0);
        bytes
    }

    /// What is held is never covered by anything else.
    fn check_held(&self) {
        let unit = self.superblock.geometry.unit_bytes;
        let mut ranges: Vec<(u64, u64)> = self
            .model
            .iter()
            .map(|(header, offset, _)| (*offset, offset + header.disk_bytes(unit)))
            .collect();
        ranges.sort_unstable();
        assert!(ranges.windows(2).all(|pair| pair[0].1 <= pair[1].0), "records overlap: {ranges:?}");
        let held: u64 = self.model.iter().map(|(header, ..)| header.disk_bytes(unit)).sum();
        assert!(held <= self.log.used_bytes() && self.log.used_bytes() <= LOG_BYTES_MIN);
    }

    fn append(&mut self, blocks: &[u32], write: impl Fn(&mut Vec<u8>, &[(u64, Vec<u8>)])) {
        let mut writes = vec![];
        for blocks in blocks {
            let kind = if *blocks > 0 { Kind::Write } else { Kind::Trim };
            match self.push(kind, (*blocks).max(1)) {
                Ok(more) => writes.extend(more),
                Err(full) => {
                    assert!(full.needed_bytes > full.free_bytes);
                    break;
                }
            }
        }
        write(&mut self.device, &writes);
    }

    fn durable(&mut self) {
        self.log.on_written(self.log.end());
        self.log.on_durable(self.log.end());
    }

    fn at(&self, part: u64) -> Lsn {
        Lsn(self.log.start().0 + self.log.end().since(self.log.start()) * part.min(16) / 16)
    }

    fn run(&mut self, op: &Op) {
        match op {
            Op::Append { blocks, epoch } => {
                if *epoch {
                    self.epoch = self.epoch.successor(ReplicaId(1));
                    if let Ok(writes) = self.push(Kind::EpochStart, 0) {
                        store(&mut self.device, &writes);
                        self.durable();
                    }
                }
                self.append(blocks, |device, writes| store(device, writes));
                self.durable();
            }
            Op::Release { part } => {
                let to = self.at(*part);
                let used = self.log.used_bytes();
                self.log.release(to);
                assert_eq!(self.log.used_bytes(), used, "nothing is free before the superblock says so");
                self.model.retain(|(header, ..)| header.lsn >= to);
                self.superblock.log_start = self.log.head();
                self.superblock.checkpoint = self.superblock.checkpoint.max(to);
                self.log.on_release_durable(to);
                assert_eq!(self.log.used_bytes() == 0, to == self.log.end());
            }
            Op::Cut { part } => {
                let to = self.at(16 - part).max(self.superblock.checkpoint);
                self.superblock.cut = Some(self.log.cut(to));
                self.model.retain(|(header, ..)| header.lsn < to);
            }
            Op::Reset { lsn } => {
                let (chain, epoch) = (self.log.tail_chain(), self.log.tail_epoch());
                self.superblock.cut = Some(self.log.reset(Lsn(*lsn), chain, epoch));
                self.superblock.log_start = self.log.head();
                self.superblock.checkpoint = Lsn(*lsn);
                self.log.on_release_durable(Lsn(*lsn));
                self.model.clear();
                assert_eq!(self.log.used_bytes(), 0);
            }
            Op::Crash { blocks, sectors } => self.crash(blocks, *sectors),
        }
        self.check_log();
    }

    fn crash(&mut self, blocks: &[u32], sectors: u64) {
        let durable = self.log.durable();
        self.append(blocks, |device, writes| {
            let mut sector = 0;
            for (offset, bytes) in writes {
                for (piece, at) in bytes.chunks(512).zip((*offset..).step_by(512)) {
                    if sectors >> (sector % 64) & 1 != 0 {
                        store(device, &[(at, piece.to_vec())]);
                    }
                    sector += 1;
                }
            }
        });
        let mut restart = Restart::new(&self.superblock);
        let start = self.superblock.log_start.offset;
        for (from, to) in [(start, LOG_BYTES_MIN), (0, start)] {
            let mut at = from;
            while at < to {
                let end = (at + (1 << 20)).min(to);
                let piece = usize::try_from(at).expect("small")..usize::try_from(end).expect("small");
                let scanned = scan(&self.device[piece], at, self.superblock.geometry.unit_bytes, crc32c);
                at = scanned.next;
                restart.feed(scanned);
            }
        }
        let restarted = restart.finish().expect("what was durable is there");
        assert!(
            matches!(restarted.rule, RestartRule::CleanEnd | RestartRule::TornTail),
            "{}",
            restarted.rule
        );
        let end = restarted.log.end();
        assert!(durable <= end && end <= self.log.end(), "durable {durable}, found {end}");
        assert_eq!(restarted.log.generation(), self.log.generation());
        self.model.retain(|(header, ..)| header.lsn < end);
        self.log = restarted.log;
        self.check_held();
    }

    fn check_log(&self) {
        let unit = self.superblock.geometry.unit_bytes;
        let log = &self.log;
        assert_eq!(log.end().since(log.start()), self.model.len() as u64);
        let mut chain = log.head().chain;
        let mut epoch = log.head().epoch;
        for (header, offset, _) in &self.model {
            assert_eq!((log.chain_at(header.lsn), log.epoch_before(header.lsn)), (Some(chain), Some(epoch)));
            assert_eq!(log.header(VOLUME, header.lsn).as_ref(), Some(header));
            let entry = log.entry(header.lsn).expect("held");
            assert_eq!((entry.offset, log.body_offset(&entry)), (*offset, offset + u64::from(unit)));
            (chain, epoch) = (header.digest(), header.epoch);
            assert_eq!(entry.digest, chain);
        }
        assert_eq!((log.tail_chain(), log.tail_epoch()), (chain, epoch));
        assert_eq!(log.entry(log.end()), None);
        assert_eq!(log.chain_at(log.end().next()), None);
        self.check_distances();
    }

    fn check_distances(&self) {
        let log = &self.log;
        let mut bytes = 0;
        for (header, offset, covered) in self.model.iter().rev() {
            let padding = covered - header.disk_bytes(self.superblock.geometry.unit_bytes);
            bytes += header.disk_bytes(self.superblock.geometry.unit_bytes);
            assert_eq!(log.bytes_from(header.lsn), bytes, "at {offset}");
            assert_eq!(log.lsn_at_bytes_before_end(bytes), header.lsn);
            assert_eq!(log.lsn_at_bytes_before_end(bytes - 1), header.lsn.next());
            if padding > 0 {
                // What lies between the last record before and the end of the ring belongs to this one.
                let before = self.model.iter().rev().find(|(other, ..)| other.lsn < header.lsn);
                let Some((other, offset, _)) = before else { continue };
                let end = offset + other.disk_bytes(self.superblock.geometry.unit_bytes);
                bytes += LOG_BYTES_MIN - end;
            }
        }
    }
}

fn store(device: &mut [u8], writes: &[(u64, Vec<u8>)]) {
    for (offset, bytes) in writes {
        let at = usize::try_from(*offset).expect("small");
        device[at..at + bytes.len()].copy_from_slice(bytes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn after_any_crash_the_log_is_what_it_was(ops in prop::collection::vec(ops(), 1..60), unit in prop_oneof![Just(512), Just(4096)]) {
        let mut rig = Rig::new(unit);
        for op in &ops {
            rig.run(op);
        }
        rig.crash(&[], 0);
        rig.check_log();
    }
}

#[test]
fn a_full_log_can_still_begin_an_epoch() {
    let mut rig = Rig::new(4096);
    while rig.push(Kind::Write, BODY_BLOCKS_MAX).is_ok() {}
    while rig.push(Kind::Trim, 1).is_ok() {}
    assert!(rig.log.free_bytes() >= RESERVE_BYTES);
    for _ in 0..RESERVE_BYTES / 4096 {
        rig.push(Kind::EpochStart, 0).expect("the reserve is for this");
    }
    rig.push(Kind::EpochStart, 0).expect_err("full is full");
}

#[test]
fn what_is_released_is_not_overwritten_before_the_superblock_says_so() {
    let mut rig = Rig::new(512);
    while rig.push(Kind::Write, BODY_BLOCKS_MAX).is_ok() {}
    rig.durable();
    let full = rig.push(Kind::Write, BODY_BLOCKS_MAX).expect_err("full");
    let to = rig.log.end();
    rig.log.release(to);
    assert_eq!(rig.push(Kind::Write, BODY_BLOCKS_MAX), Err(full));
    rig.log.on_release_durable(Lsn(to.0 - 1));
    assert_eq!(rig.push(Kind::Write, BODY_BLOCKS_MAX), Err(full), "an older start does not free it");
    rig.log.on_release_durable(to);
    rig.model.clear();
    rig.push(Kind::Write, BODY_BLOCKS_MAX).expect("free");
}

#[test]
fn a_pin_holds_until_the_last_one_is_gone() {
    let mut rig = Rig::new(512);
    (0..4).for_each(|_| assert!(rig.push(Kind::Trim, 1).is_ok()));
    rig.durable();
    let pins = [rig.log.pin(Lsn(2)), rig.log.pin(Lsn(2)), rig.log.pin(Lsn(3))];
    assert_eq!(rig.log.pinned(), Some(Lsn(2)));
    rig.log.release(Lsn(2));
    rig.log.unpin(pins[0]);
    assert_eq!(rig.log.pinned(), Some(Lsn(2)));
    rig.log.unpin(pins[1]);
    assert_eq!(rig.log.pinned(), Some(Lsn(3)));
    rig.log.release(Lsn(3));
    rig.log.unpin(pins[2]);
    assert_eq!(rig.log.pinned(), None);
}

#[test]
#[should_panic(expected = "what is pinned is not released")]
fn what_is_pinned_is_not_released() {
    let mut rig = Rig::new(512);
    (0..4).for_each(|_| assert!(rig.push(Kind::Trim, 1).is_ok()));
    rig.durable();
    let _ = rig.log.pin(Lsn(1));
    rig.log.release(Lsn(2));
}

#[test]
#[should_panic(expected = "only what is durable is released")]
fn what_is_not_durable_is_not_released() {
    let mut rig = Rig::new(512);
    (0..4).for_each(|_| assert!(rig.push(Kind::Trim, 1).is_ok()));
    rig.log.on_written(Lsn(4));
    rig.log.release(Lsn(2));
}

#[test]
#[should_panic(expected = "each record names the one before it")]
fn a_record_of_another_branch_does_not_join() {
    let mut rig = Rig::new(512);
    rig.push(Kind::Trim, 1).expect("room");
    let mut header = rig.log.header(VOLUME, Lsn(0)).expect("held");
    header.lsn = Lsn(1);
    let _ = rig.log.push(&header);
}
