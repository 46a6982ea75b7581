//! Restarts from the real bytes of a small log: cut at every byte, flipped at every bit.

use seawall_wal::crc::crc32c;
use seawall_wal::geometry::Geometry;
use seawall_wal::log::{Log, Position};
use seawall_wal::names::{Crc, Epoch, Extent, Lsn, Origin, ReplicaId, VolumeId};
use seawall_wal::record::{Kind, RecordHeader};
use seawall_wal::restart::{Damage, Restart, RestartRule, Restarted};
use seawall_wal::scan::scan;
use seawall_wal::superblock::{CleanMark, Cut, Superblock};

const VOLUME: VolumeId = VolumeId([7; 16]);
const REIGN: Epoch = Epoch { counter: 3, replica: ReplicaId(2) };
const GEOMETRY: Geometry =
    Geometry { volume_blocks: 1000, log_bytes: 4 << 20, unit_bytes: 512, separate_log: false };

fn superblock() -> Superblock {
    Superblock {
        sequence: 4,
        promised: REIGN,
        campaigned: REIGN,
        ..Superblock::newborn(VOLUME, ReplicaId(2), GEOMETRY, vec![])
    }
}

/// A log with the bytes of its beginning; the rest of the ring is zeroes.
struct Image {
    bytes: Vec<u8>,
    log: Log,
    epoch: Epoch,
    durable_before: Vec<Lsn>,
}

impl Image {
    fn new() -> Image {
        let log = Log::new(&GEOMETRY, Position::ORIGIN);
        Image { bytes: Vec::new(), log, epoch: REIGN, durable_before: Vec::new() }
    }

    fn push(&mut self, kind: Kind, blocks: u32) {
        let body_blocks = if kind == Kind::Write { blocks } else { 0 };
        let lsn = self.log.end();
        let blocks_of_body: Vec<Vec<u8>> = (0..body_blocks)
            .map(|i| (0..4096_u32).map(|at| u8::try_from((at * 31 + i + 1) % 251).expect("a byte")).collect())
            .collect();
        let extent = if kind == Kind::EpochStart { Extent::default() } else { Extent::new(lsn.0, blocks) };
        let header = RecordHeader {
            volume: VOLUME,
            epoch: self.epoch,
            lsn,
            kind,
            extent,
            chain: self.log.tail_chain(),
            origin: Origin::NONE,
            body: blocks_of_body.iter().map(|block| crc32c(block)).collect(),
        };
        let trailer = self.log.trailer();
        self.durable_before.push(trailer.durable_before);
        let placed = self.log.push(&header).expect("a small log");
        let at = usize::try_from(placed.offset).expect("small");
        self.bytes.truncate(at);
        self.bytes.extend_from_slice(&header.encode(trailer.durable_before, trailer.generation)[..]);
        blocks_of_body.iter().for_each(|block| self.bytes.extend_from_slice(block));
    }

    fn durable(&mut self) {
        self.log.on_written(self.log.end());
        self.log.on_durable(self.log.end());
    }

    /// Three appends of records that are durable before the next, the last one of two records.
    fn five_records() -> Image {
        let mut image = Image::new();
        image.push(Kind::EpochStart, 0);
        image.durable();
        image.push(Kind::Write, 1);
        image.push(Kind::Trim, 9);
        image.durable();
        image.push(Kind::Write, 1);
        image.push(Kind::WriteZeroes, 3);
        image
    }

    fn range(&self, lsn: u64) -> std::ops::Range<usize> {
        let at = |lsn| self.log.entry(Lsn(lsn)).map_or(self.bytes.len() as u64, |entry| entry.offset);
        usize::try_from(at(lsn)).expect("small")..usize::try_from(at(lsn + 1)).expect("small")
    }
}

fn restart(superblock: &Superblock, bytes: &[u8]) -> Result<Restarted, Damage> {
    let mut restart = Restart::new(superblock);
    let mut padded = bytes.to_vec();
    padded.resize(bytes.len().next_multiple_of(512), 0);
    restart.feed(scan(&padded, 0, 512, crc32c));
    restart.finish()
}

fn check_equal(found: &Log, expected: &Log, end: u64) {
    assert_eq!(found.end(), Lsn(end));
    for lsn in (0..end).map(Lsn) {
        assert_eq!(found.entry(lsn), expected.entry(lsn));
        assert_eq!(found.body_crcs(lsn), expected.body_crcs(lsn));
    }
    assert_eq!(Some(found.tail_chain()), expected.chain_at(Lsn(end)));
    assert_eq!(Some(found.tail_epoch()), expected.epoch_before(Lsn(end)));
}

/// What must come of an image in which only the records of `intact` are as they were written.
fn check_judgement(image: &Image, result: Result<Restarted, Damage>, intact: &[bool], what: &str) {
    let end = intact.iter().position(|good| !good).unwrap_or(intact.len());
    let proof =
        (end..intact.len()).filter(|lsn| intact[*lsn] && image.durable_before[*lsn] > Lsn(end as u64)).max();
    match (result, proof) {
        (Ok(Restarted { log, rule, torn }), None) => {
            check_equal(&log, &image.log, end as u64);
            let offset = image.range(end as u64).start as u64;
            match torn {
                None => assert_eq!(rule, RestartRule::CleanEnd, "{what}"),
                Some(torn) => {
                    assert_eq!(rule, RestartRule::TornTail, "{what}");
                    assert_eq!((torn.lsn, torn.offset), (Lsn(end as u64), offset), "{what}");
                }
            }
        }
        (Err(damage), Some(proof)) => {
            let expected = Damage {
                rule: RestartRule::InteriorDamage,
                lsn: Lsn(end as u64),
                offset: image.range(end as u64).start as u64,
                proof_lsn: Lsn(proof as u64),
            };
            assert_eq!(damage, expected, "{what}");
        }
        (result, proof) => panic!("{what}: {result:?} with the proof {proof:?}"),
    }
}

fn intact(image: &Image, bytes: &[u8]) -> Vec<bool> {
    let mut padded = bytes.to_vec();
    padded.resize(image.bytes.len(), 0);
    (0..5).map(|lsn| padded[image.range(lsn)] == image.bytes[image.range(lsn)]).collect()
}

#[test]
fn a_log_that_is_cut_at_any_byte_ends_at_the_last_whole_record() {
    let image = Image::five_records();
    for length in 0..=image.bytes.len() {
        let cut = &image.bytes[..length];
        let intact = intact(&image, cut);
        let whole = intact.iter().position(|good| !good).unwrap_or(5);
        assert!(intact[whole..].iter().all(|good| !good), "nothing follows a cut");
        check_judgement(&image, restart(&superblock(), cut), &intact, &format!("cut at {length}"));
    }
}

#[test]
fn every_flipped_bit_is_a_torn_tail_or_damage_at_its_place() {
    let mut image = Image::five_records();
    let mut seen = [0; 2];
    for bit in 0..image.bytes.len() * 8 {
        image.bytes[bit / 8] ^= 1 << (bit % 8);
        let result = restart(&superblock(), &image.bytes);
        image.bytes[bit / 8] ^= 1 << (bit % 8);
        let flipped = (0..5).find(|lsn| image.range(*lsn).contains(&(bit / 8))).expect("in a record");
        seen[usize::from(result.is_err())] += 1;
        let intact: Vec<bool> = (0..5).map(|lsn| lsn != flipped).collect();
        check_judgement(&image, result, &intact, &format!("bit {bit} in record {flipped}"));
    }
    // Records 0 to 2 were known durable by what follows; 3 and 4 were one append.
    let durable_bits = image.range(3).start * 8;
    assert_eq!(seen, [image.bytes.len() * 8 - durable_bits, durable_bits]);
}

#[test]
fn a_lost_sector_within_the_last_append_is_a_torn_tail() {
    let image = Image::five_records();
    let mut lost = image.bytes.clone();
    let header = image.range(3).start;
    lost[header..header + 512].fill(0);
    let restarted = restart(&superblock(), &lost).expect("nobody relied on it");
    assert_eq!(restarted.rule, RestartRule::TornTail);
    let torn = restarted.torn.expect("torn");
    assert_eq!((torn.lsn, torn.dropped), (Lsn(3), 1));
}

#[test]
fn a_clean_mark_is_met_missed_or_outdated() {
    let image = Image::five_records();
    let marked = |end| Superblock { clean: Some(CleanMark { end: Lsn(end) }), ..superblock() };
    let rule = |end, bytes: &[u8]| match restart(&marked(end), bytes) {
        Ok(restarted) => restarted.rule,
        Err(damage) => damage.rule,
    };
    assert_eq!(rule(5, &image.bytes), RestartRule::CleanShutdown);
    assert_eq!(rule(6, &image.bytes), RestartRule::CleanMarkBroken);
    assert_eq!(rule(4, &image.bytes), RestartRule::CleanEnd);
    assert_eq!(rule(5, &image.bytes[..image.range(4).start]), RestartRule::CleanMarkBroken);
    let damage = restart(&marked(6), &image.bytes).expect_err("refused");
    assert_eq!((damage.lsn, damage.proof_lsn), (Lsn(5), Lsn(6)));
}

#[test]
fn a_log_that_ends_below_what_was_settled_is_damaged() {
    let image = Image::five_records();
    let at = |settled| Superblock { settled: Lsn(settled), ..superblock() };
    assert!(restart(&at(5), &image.bytes).is_ok());
    let damage = restart(&at(6), &image.bytes).expect_err("refused");
    assert_eq!((damage.rule, damage.lsn, damage.proof_lsn), (RestartRule::FloorMissing, Lsn(5), Lsn(6)));
}

#[test]
fn a_tail_that_was_cut_stays_away_and_proves_nothing() {
    let mut image = Image::five_records();
    let old = image.bytes.clone();
    image.durable();
    let mark = image.log.cut(Lsn(2));
    assert_eq!(mark, Cut { lsn: Lsn(2), generation: 1 });
    let cut = Superblock { cut: Some(mark), ..superblock() };

    let restarted = restart(&cut, &old).expect("a cut is no damage");
    assert_eq!((restarted.log.end(), restarted.rule), (Lsn(2), RestartRule::CleanEnd));
    assert_eq!(restarted.log.generation(), 1);

    // The branch that replaces it begins with an epoch below that of the branch that was cut.
    image.push(Kind::Trim, 4);
    let mut new = old.clone();
    let at = image.range(2);
    new[at.clone()].copy_from_slice(&image.bytes[at]);
    let restarted = restart(&cut, &new).expect("whole");
    check_equal(&restarted.log, &image.log, 3);
    assert_eq!(restarted.rule, RestartRule::CleanEnd);

    // Without the mark the old tail would come back.
    assert_eq!(restart(&superblock(), &old).expect("whole").log.end(), Lsn(5));
}

#[test]
fn a_branch_that_was_cut_may_come_back() {
    let mut image = Image::five_records();
    image.durable();
    let again = image.log.header(VOLUME, Lsn(2)).expect("held");
    let mark = image.log.cut(Lsn(2));
    let placed = image.log.push(&again).expect("room");
    let at = usize::try_from(placed.offset).expect("small");
    let trailer = image.log.trailer();
    let mut bytes = image.bytes.clone();
    bytes[at..at + 512].copy_from_slice(&again.encode(trailer.durable_before, trailer.generation)[..]);
    let restarted = restart(&Superblock { cut: Some(mark), ..superblock() }, &bytes).expect("whole");
    assert_eq!(
        restarted.log.end(),
        Lsn(3),
        "the record that came back counts, what followed it once does not"
    );
    // Even if the superblock copy with the mark is lost.
    assert_eq!(restart(&superblock(), &bytes).expect("whole").log.end(), Lsn(3));
}

#[test]
fn a_record_at_another_place_is_not_followed() {
    let image = Image::five_records();
    let last = image.range(4).start;
    let mut misdirected = image.bytes[..last].to_vec();
    misdirected.extend_from_slice(&[0; 512]);
    misdirected.extend_from_slice(&image.bytes[last..]);
    let restarted = restart(&superblock(), &misdirected).expect("nobody relied on it");
    assert_eq!((restarted.log.end(), restarted.rule), (Lsn(4), RestartRule::TornTail));
}

#[test]
fn a_log_that_lost_what_a_cut_relied_on_is_damaged() {
    let mut image = Image::five_records();
    image.durable();
    let mark = image.log.cut(Lsn(2));
    let cut = Superblock { cut: Some(mark), ..superblock() };
    let damage = restart(&cut, &image.bytes[..image.range(1).start]).expect_err("refused");
    assert_eq!((damage.rule, damage.lsn, damage.proof_lsn), (RestartRule::FloorMissing, Lsn(1), Lsn(2)));
}

#[test]
fn records_of_other_volumes_and_older_epochs_are_not_followed() {
    let image = Image::five_records();
    let stranger = Superblock { volume: VolumeId([8; 16]), ..superblock() };
    let restarted = restart(&stranger, &image.bytes).expect("nothing of ours");
    assert_eq!((restarted.log.end(), restarted.rule), (Lsn(0), RestartRule::CleanEnd));

    let newer = Epoch { counter: 4, replica: ReplicaId(1) };
    let start = Position { epoch: newer, ..Position::ORIGIN };
    let restarted = restart(&Superblock { log_start: start, ..superblock() }, &image.bytes);
    assert_eq!(restarted.expect_err("something of ours is in the way").lsn, Lsn(0));
}

#[test]
fn a_record_past_the_end_of_the_volume_is_not_followed() {
    let image = Image::five_records();
    let geometry = Geometry { volume_blocks: 2, ..GEOMETRY };
    let small = Superblock { geometry, ..superblock() };
    assert_eq!(restart(&small, &image.bytes).expect_err("damaged").lsn, Lsn(2));
}

#[test]
fn any_pieces_of_a_scan_make_the_whole() {
    let image = Image::five_records();
    let whole = scan(&image.bytes, 0, 512, crc32c).records;
    assert_eq!(whole.len(), 5);
    // A piece shorter than a record would never hold it; from there on each size does.
    for piece in (9..image.bytes.len() / 512 + 2).map(|units| units * 512) {
        let mut found = Vec::new();
        let mut at = 0;
        while at < image.bytes.len() {
            let end = (at + piece).min(image.bytes.len());
            let scanned = scan(&image.bytes[at..end], at as u64, 512, crc32c);
            let next = usize::try_from(scanned.next).expect("small");
            assert!(next > at, "a scan goes on");
            found.extend(scanned.records);
            at = next;
        }
        assert_eq!(found, whole, "pieces of {piece}");
    }
}

#[test]
fn a_record_that_reaches_past_the_end_of_the_ring_is_none() {
    let image = Image::five_records();
    let short = &image.bytes[..image.range(1).start + 512];
    let first = scan(short, 0, 512, crc32c);
    assert_eq!((first.records.len(), first.next), (1, 512));
    let rest = scan(&short[512..], 512, 512, crc32c);
    assert_eq!((rest.records.len(), rest.next), (0, 1024));
}

#[test]
fn a_broken_body_is_reported_and_looked_into() {
    let image = Image::five_records();
    let mut bytes = image.bytes.clone();
    // What is left of an older record inside the body of the broken one.
    let inside = image.range(1).start + 512 + 1024;
    let older = image.bytes[image.range(2)].to_vec();
    bytes[inside..inside + 512].copy_from_slice(&older);
    let records = scan(&bytes, 0, 512, crc32c).records;
    let seen: Vec<_> = records.iter().map(|found| (found.header.lsn, found.body_ok)).collect();
    let expected = [(0, true), (1, false), (2, true), (2, true), (3, true), (4, true)];
    assert_eq!(seen, expected.map(|(lsn, ok)| (Lsn(lsn), ok)));
    assert_eq!(crc32c(&[]), Crc(0));
}

#[test]
fn records_of_a_cut_that_only_a_lost_superblock_copy_knows_prove_nothing() {
    let mut image = Image::five_records();
    image.durable();
    image.push(Kind::Write, 1);
    let before = image.bytes.clone();
    // The mark goes into one copy, which rots; the record after the cut is durable.
    image.durable();
    let _ = image.log.cut(Lsn(2));
    image.epoch = Epoch { counter: 4, replica: ReplicaId(3) };
    image.push(Kind::EpochStart, 0);
    image.durable();
    let mut bytes = image.bytes.clone();
    bytes.extend_from_slice(&before[bytes.len()..]);
    let restarted = restart(&superblock(), &bytes).expect("what was cut was not relied on");
    check_equal(&restarted.log, &image.log, 3);
    assert_eq!(restarted.log.generation(), 1);
}

#[test]
fn a_lower_cut_that_only_a_lost_superblock_copy_knows_outdates_the_one_that_is_known() {
    let mut image = Image::five_records();
    image.durable();
    let known = Superblock { cut: Some(image.log.cut(Lsn(4))), ..superblock() };
    let _ = image.log.cut(Lsn(2));
    image.epoch = Epoch { counter: 4, replica: ReplicaId(3) };
    image.push(Kind::EpochStart, 0);
    image.durable();
    let restarted = restart(&known, &image.bytes).expect("the log goes as far as it was durable");
    check_equal(&restarted.log, &image.log, 3);
    assert_eq!((restarted.log.generation(), restarted.rule), (2, RestartRule::CleanEnd));
}
