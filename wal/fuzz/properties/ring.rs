//! A log ring through appends, cuts, checkpoints, crashes and damage. A crash costs nothing that was durable and
//! brings up nothing that was not appended, with either copy of the superblock; after damage the log is refused, or still the beginning of what it was.

use std::collections::BTreeMap;

use seawall_wal::crc::crc32c;
use seawall_wal::geometry::Geometry;
use seawall_wal::log::{Log, Position};
use seawall_wal::names::{Crc, Epoch, Extent, Lsn, Origin, ReplicaId, VolumeId};
use seawall_wal::record::{BODY_BLOCKS_MAX, HEADER_BYTES, Kind, MAGIC, RecordHeader};
use seawall_wal::restart::{Damage, Restart, RestartRule, Restarted};
use seawall_wal::scan::{RECORD_BYTES_MAX, Scanned, scan};
use seawall_wal::superblock::{CleanMark, Superblock};

use crate::script::Script;

const VOLUME: VolumeId = VolumeId([7; 16]);
const LOG_BYTES: usize = 640 << 10;
const STEPS_MAX: usize = 64;

struct World {
    log: Log,
    superblock: Superblock,
    /// What the other copy of the superblock says.
    older: Superblock,
    /// The log area as it is on stable storage.
    area: Vec<u8>,
    /// Writes that a crash may lose, whole or in part: offset and bytes.
    pending: Vec<(usize, Vec<u8>)>,
    /// All that was appended and not cut.
    history: BTreeMap<Lsn, RecordHeader>,
    epoch: u64,
    /// No two records are alike.
    nonce: u64,
}

/// The input is a script; its first byte says what a unit is, and how near the end of the numbers it begins.
pub(crate) fn check(input: &[u8]) {
    let mut script = Script::new(input);
    let shape = script.byte();
    let mut world = World::new(shape);
    for _ in 0..STEPS_MAX {
        match script.byte() % 16 {
            _ if script.is_over() => break,
            0..=3 => world.append(Kind::Write, 1 + u32::from(script.byte() % 12)),
            4 => world.append(Kind::Write, BODY_BLOCKS_MAX),
            5 => world.append(Kind::WriteZeroes, 1 + u32::from(script.byte())),
            6 => world.append(Kind::Trim, 1),
            7 => {
                world.epoch += 1;
                world.append(Kind::EpochStart, 0);
            }
            8 => world.flush(),
            9 | 10 => world.release(&mut script),
            11 => world.cut(&mut script),
            12 => world.start_over(&mut script),
            13 => world.end_well(),
            14 => world.crash(&mut script),
            _ => return world.damage(&mut script),
        }
    }
    world.crash(&mut script);
}

impl World {
    fn new(shape: u8) -> World {
        let unit_bytes = if shape & 1 == 0 { 512 } else { 4096 };
        let log_bytes = LOG_BYTES as u64;
        let geometry = Geometry { volume_blocks: 1 << 40, log_bytes, unit_bytes, separate_log: false };
        let epoch = Epoch { counter: 1, replica: ReplicaId(2) };
        let superblock = Superblock {
            sequence: 4,
            promised: epoch,
            campaigned: epoch,
            ..Superblock::newborn(VOLUME, ReplicaId(2), geometry, vec![])
        };
        let log = Log::new(&geometry, Position::ORIGIN);
        let (area, history) = (vec![0; LOG_BYTES], BTreeMap::new());
        let older = superblock.clone();
        let pending = Vec::new();
        World { log, superblock, older, area, pending, history, epoch: 1, nonce: 0 }
    }

    fn append(&mut self, kind: Kind, blocks: u32) {
        self.nonce += 1;
        let seed = self.nonce;
        let count = if kind == Kind::Write { blocks } else { 0 };
        let body: Vec<Vec<u8>> = (0..count).map(|n| block(seed, n)).collect();
        let extent =
            if kind == Kind::EpochStart { Extent::default() } else { Extent::new(seed * 1000, blocks) };
        let header = RecordHeader {
            volume: VOLUME,
            epoch: Epoch { counter: self.epoch, replica: ReplicaId(2) },
            lsn: self.log.end(),
            kind,
            extent,
            chain: self.log.tail_chain(),
            origin: Origin::NONE,
            body: body.iter().map(|block| crc_of_block(block)).collect(),
        };
        let trailer = self.log.trailer();
        let Ok(placed) = self.log.push(&header) else { return };
        self.go_on();
        let encode =
            |header: &RecordHeader| header.encode(trailer.durable_before, trailer.generation).to_vec();
        if let Some((offset, bytes)) = placed.padding {
            let RecordHeader { epoch, lsn, chain, .. } = header;
            let padding = RecordHeader::padding(VOLUME, epoch, lsn, chain, bytes);
            self.pending.push((usize::try_from(offset).expect("small"), encode(&padding)));
        }
        let mut bytes = encode(&header);
        bytes.resize(self.superblock.geometry.unit_bytes as usize, 0);
        body.iter().for_each(|block| bytes.extend_from_slice(block));
        self.pending.push((usize::try_from(placed.offset).expect("small"), bytes));
        self.history.insert(header.lsn, header);
    }

    /// The superblock goes into both slots.
    fn store_twice(&mut self) {
        self.older = self.superblock.clone();
    }

    /// What follows a clean end begins with a superblock that says so.
    fn go_on(&mut self) {
        if self.superblock.clean.take().is_some() {
            self.store_twice();
        }
    }

    fn flush(&mut self) {
        for (at, bytes) in self.pending.drain(..) {
            self.area[at..at + bytes.len()].copy_from_slice(&bytes);
        }
        self.log.on_written(self.log.end());
        self.log.on_durable(self.log.end());
    }

    /// One of the places between two numbers.
    fn between(script: &mut Script<'_>, from: Lsn, to: Lsn) -> Lsn {
        Lsn(from.0 + script.below(to.since(from) + 1))
    }

    /// A checkpoint: everything below is home. Its superblock may be durable and not heard of.
    fn release(&mut self, script: &mut Script<'_>) {
        let to = Self::between(script, self.log.start(), self.log.durable());
        self.go_on();
        self.log.release(to);
        self.older = self.superblock.clone();
        self.superblock.log_start = self.log.head();
        self.superblock.checkpoint = self.superblock.checkpoint.max(to);
        self.superblock.settled = self.superblock.settled.max(to);
        if script.flag() {
            self.store_twice();
            self.log.on_release_durable(to);
        }
    }

    fn cut(&mut self, script: &mut Script<'_>) {
        self.flush();
        let from = self.log.start().max(self.superblock.checkpoint);
        let to = Self::between(script, from, self.log.durable());
        self.go_on();
        // Nothing is appended before both copies know.
        self.superblock.cut = Some(self.log.cut(to));
        self.store_twice();
        self.history.retain(|lsn, _| *lsn < to);
        self.epoch = self.log.tail_epoch().counter.max(self.epoch) + 1;
    }

    fn start_over(&mut self, script: &mut Script<'_>) {
        self.flush();
        let lsn = Lsn(script.below(1 << 62));
        let epoch = Epoch { counter: self.epoch, replica: ReplicaId(2) };
        self.superblock.cut = Some(self.log.reset(lsn, Crc(9), epoch));
        self.superblock.log_start = self.log.head();
        (self.superblock.checkpoint, self.superblock.settled) = (lsn, lsn);
        self.superblock.clean = None;
        self.history.clear();
        self.store_twice();
        if script.flag() {
            self.log.on_release_durable(lsn);
        }
    }

    fn end_well(&mut self) {
        self.flush();
        self.older = self.superblock.clone();
        self.superblock.clean = Some(CleanMark { end: self.log.end() });
    }

    /// Of the writes that were not flushed some are there, some are not, some in part.
    fn crash(&mut self, script: &mut Script<'_>) {
        let durable = self.log.durable();
        for (at, bytes) in std::mem::take(&mut self.pending) {
            for (n, sector) in bytes.chunks(512).enumerate() {
                let kept = match script.byte() % 4 {
                    0 => true,
                    1 => false,
                    2 => n < 2,
                    _ => n != 1,
                };
                if kept {
                    let at = at + n * 512;
                    self.area[at..at + sector.len()].copy_from_slice(sector);
                }
            }
        }
        // The newer copy rots as well.
        let restarted = self.restart(&self.older).expect("either copy of the superblock is enough");
        assert!(restarted.log.end() >= durable, "what was durable is there");
        self.check_content(&restarted.log, durable);
        let Restarted { log, rule, torn } = self.restart(&self.superblock).expect("a crash damages no log");
        assert!(durable <= log.end() && log.end() <= self.log.end(), "what was durable is there");
        assert_eq!(rule == RestartRule::TornTail, torn.is_some());
        assert_eq!(log.start(), self.log.start());
        self.check_content(&log, log.end());
        assert_eq!(log.generation(), self.log.generation());
        self.history.retain(|lsn, _| *lsn < log.end());
        self.log = log;
        self.store_twice();
    }

    fn check_content(&self, log: &Log, to: Lsn) {
        for lsn in (log.start().0..to.0).map(Lsn) {
            assert_eq!(log.header(VOLUME, lsn).as_ref(), self.history.get(&lsn), "record {lsn}");
        }
    }

    /// Sectors change, vanish, or stand where others belong; headers may be forged.
    fn damage(mut self, script: &mut Script<'_>) {
        self.flush();
        let sectors = (LOG_BYTES / 512) as u64;
        let used = usize::try_from(self.log.tail().offset).expect("small").clamp(4096, LOG_BYTES);
        let sector = |script: &mut Script<'_>| {
            let end = if script.flag() { sectors } else { (used / 512) as u64 };
            usize::try_from(script.below(end)).expect("small") * 512
        };
        let mut forged = false;
        for _ in 0..=script.byte() % 4 {
            let at = sector(script);
            match script.byte() % 5 {
                0 => self.area[at + usize::from(script.byte())] ^= 1 << (script.byte() % 8),
                1 => self.area[at..at + 512].fill(0),
                2 => {
                    let from = sector(script);
                    self.area.copy_within(from..from + 512, at);
                }
                3 => self.area[at..at + 512].fill(script.byte()),
                _ => {
                    forged = true;
                    forge(&mut self.area[at..at + 512], script);
                }
            }
        }
        if let Ok(restarted) = self.restart(&self.superblock) {
            assert!(restarted.log.end() >= self.superblock.checkpoint, "what is home was in the log");
            if !forged {
                self.check_content(&restarted.log, restarted.log.end());
            }
        }
    }

    /// As a driver does it; and in another way, which must not make a difference.
    fn restart(&self, superblock: &Superblock) -> Result<Restarted, Damage> {
        let start = usize::try_from(superblock.log_start.offset).expect("small");
        let mut restarts = [Restart::new(superblock), Restart::new(superblock)];
        for (from, to) in [(start, LOG_BYTES), (0, start)] {
            self.scan_in_pieces(from, to, LOG_BYTES, |scanned| restarts[0].feed(scanned));
            let piece = usize::try_from(RECORD_BYTES_MAX).expect("small");
            self.scan_in_pieces(from, to, piece, |scanned| restarts[1].feed(scanned));
        }
        let [one, other] = restarts.map(Restart::finish);
        let told = |result: &Result<Restarted, Damage>| {
            result.as_ref().map(|ok| (ok.rule, ok.torn, ok.log.tail())).map_err(|damage| *damage)
        };
        assert_eq!(told(&one), told(&other), "how the ring is read makes no difference");
        one
    }

    fn scan_in_pieces(&self, from: usize, to: usize, bytes: usize, mut feed: impl FnMut(Scanned)) {
        let unit = self.superblock.geometry.unit_bytes;
        let mut at = from;
        while at < to {
            let piece = &self.area[at..to.min(at + bytes)];
            let scanned = scan(piece, at as u64, unit, crc_of_block);
            let next = usize::try_from(scanned.next).expect("small");
            assert!(at < next && next <= at + piece.len(), "a scan gets on");
            at = next;
            feed(scanned);
        }
    }
}

fn block(seed: u64, n: u32) -> Vec<u8> {
    let mut bytes = vec![0; 4096];
    for sector in bytes.chunks_mut(512) {
        sector[..8].copy_from_slice(&(seed << 20 | u64::from(n)).to_le_bytes());
    }
    bytes
}

/// To the log a checksum is a number; this one is cheap, and finds lost and foreign sectors.
fn crc_of_block(block: &[u8]) -> Crc {
    let mut heads = [0; 64];
    for (head, sector) in heads.chunks_mut(8).zip(block.chunks(512)) {
        head.copy_from_slice(&sector[..8]);
    }
    crc32c(&heads)
}

/// A header with hostile numbers and right checksums.
fn forge(sector: &mut [u8], script: &mut Script<'_>) {
    let count = script.byte() % 97;
    let end = 64 + 4 * usize::from(count);
    sector[..4].copy_from_slice(&MAGIC.to_le_bytes());
    sector[4..8].copy_from_slice(&[1, script.byte() % 6, count, 0]);
    sector[8..24].copy_from_slice(&VOLUME.0);
    for at in [24, 40, 48] {
        sector[at..at + 8].copy_from_slice(&script.number().to_le_bytes());
    }
    sector[56..60].copy_from_slice(&u32::from(count).to_le_bytes());
    let put = |sector: &mut [u8], from: usize, to: usize, at: usize| {
        let crc = crc32c(&sector[from..to]).0.to_le_bytes();
        sector[at..at + 4].copy_from_slice(&crc);
    };
    sector[end..492].fill(0);
    put(sector, 0, end, 492);
    sector[496..504].copy_from_slice(&script.number().to_le_bytes());
    sector[504..508].fill(0);
    put(sector, 492, 508, 508);
    assert!(sector.len() == HEADER_BYTES);
}
