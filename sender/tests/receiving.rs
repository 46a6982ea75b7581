//! The receiver: it admits the records of the log, all of them, once, in order, or says what is wrong.

use proptest::prelude::*;
use seawall_sender::feed::{Append, Frontiers};
use seawall_sender::frame::{self, FRAME_BYTES, Frame, Kind as FrameKind};
use seawall_sender::receiver::{Receiver, check_blocks};
use seawall_sender::sender::{APPEND_BYTES_MAX, Limits, Sender};
use seawall_sender::session_id::SessionId;
use seawall_sender::violation::Violation;
use seawall_wal::crc::crc32c;
use seawall_wal::names::{Crc, Epoch, Extent, Lsn, Origin, ReplicaId, VolumeId};
use seawall_wal::record::{Kind, RecordHeader};

const VOLUME: VolumeId = VolumeId([7; 16]);
const VOLUME_BLOCKS: u64 = 1000;
const SESSION: SessionId = SessionId { boot: 1, count: 1 };

fn epoch(counter: u64) -> Epoch {
    Epoch { counter, replica: ReplicaId(counter) }
}

/// A log of `records` records: two reigns, all kinds that travel, each record continuing the one before it.
fn log(records: u64) -> Vec<RecordHeader> {
    let mut chain = Crc(0);
    let mut log = Vec::new();
    for lsn in 0..records {
        let reign = if lsn < records / 2 { epoch(1) } else { epoch(2) };
        let (kind, extent) = match lsn {
            0 => (Kind::EpochStart, Extent::default()),
            _ if lsn == records / 2 => (Kind::EpochStart, Extent::default()),
            _ if lsn % 5 == 3 => (Kind::Trim, Extent::new(lsn, 600)),
            _ if lsn % 5 == 4 => (Kind::WriteZeroes, Extent::new(lsn, 5)),
            _ => (Kind::Write, Extent::new(lsn, 2)),
        };
        let body = match kind {
            Kind::Write => vec![crc32c(&lsn.to_le_bytes()), Crc(1)],
            Kind::WriteZeroes
            | Kind::Trim
            | Kind::EpochStart
            | Kind::Attach
            | Kind::Padding
            | Kind::Configuration
            | Kind::Maintenance => vec![],
        };
        let record = RecordHeader {
            volume: VOLUME,
            epoch: reign,
            lsn: Lsn(lsn),
            kind,
            extent,
            chain,
            origin: Origin::NONE,
            body,
        };
        chain = record.digest();
        log.push(record);
    }
    log
}

/// What a replica that has the first `have` records of `log` takes its feed up with, in `session`.
fn receiver(session: SessionId, log: &[RecordHeader], have: u64) -> Receiver {
    let last = have.checked_sub(1).map(|last| &log[usize::try_from(last).expect("a short log")]);
    let (chain, last_epoch) = last.map_or((Crc(0), Epoch::ZERO), |record| (record.digest(), record.epoch));
    Receiver::new(session, epoch(2), Lsn(have), chain, last_epoch, VOLUME_BLOCKS)
}

#[test]
fn a_whole_log_is_admitted() {
    let log = log(40);
    let mut receiver = receiver(SESSION, &log, 0);
    for record in &log {
        assert_eq!(receiver.on_append(epoch(2), SESSION, record, &record.body, VOLUME), Ok(()));
        assert_eq!(receiver.received(), record.lsn.next());
    }
}

/// Offers record 12 (a write), changed by `spoil`, where it is next; says what the receiver found.
fn spoilt(spoil: impl FnOnce(&mut RecordHeader)) -> Violation {
    let log = log(40);
    let mut receiver = receiver(SESSION, &log, 12);
    let before = receiver.clone();
    let mut record = log[12].clone();
    spoil(&mut record);
    let found = receiver.on_append(epoch(2), SESSION, &record, &record.body, VOLUME);
    assert_eq!(receiver, before, "a refused record changes nothing");
    found.expect_err("it was spoilt")
}

#[test]
fn each_flaw_of_a_record_has_its_name() {
    let lsn = Lsn(12);
    let chain = log(40)[12].chain;
    assert_eq!(spoilt(|r| r.lsn = Lsn(13)), Violation::Hole { expected: lsn, found: Lsn(13) });
    assert_eq!(spoilt(|r| r.lsn = Lsn(11)), Violation::Hole { expected: lsn, found: Lsn(11) });
    assert_eq!(
        spoilt(|r| r.chain.0 ^= 1),
        Violation::ChainBroken { lsn, expected: chain, found: Crc(chain.0 ^ 1) }
    );
    assert_eq!(
        spoilt(|r| r.volume = VolumeId([8; 16])),
        Violation::WrongVolume { expected: VOLUME, found: VolumeId([8; 16]) }
    );
    assert_eq!(
        spoilt(|r| r.epoch = Epoch::ZERO),
        Violation::EpochFell { lsn, last: epoch(1), found: Epoch::ZERO }
    );
    assert_eq!(
        spoilt(|r| r.epoch = epoch(3)),
        Violation::EpochAhead { lsn, session: epoch(2), found: epoch(3) }
    );
    // The new reign without its start, and the old reign started again.
    assert_eq!(
        spoilt(|r| r.epoch = epoch(2)),
        Violation::EpochStartMisplaced { lsn, last: epoch(1), found: epoch(2) }
    );
    assert_eq!(
        spoilt(|r| r.kind = Kind::EpochStart),
        Violation::EpochStartMisplaced { lsn, last: epoch(1), found: epoch(1) }
    );
    assert_eq!(spoilt(|r| r.kind = Kind::Padding), Violation::KindNotSent { lsn, kind: Kind::Padding });
    assert_eq!(spoilt(|r| r.kind = Kind::Trim), Violation::BodyShape { lsn, expected: 0, found: 2 });
    assert_eq!(spoilt(|r| r.extent.blocks = 3), Violation::BodyShape { lsn, expected: 3, found: 2 });
    assert_eq!(spoilt(|r| r.body.truncate(1)), Violation::BodyShape { lsn, expected: 2, found: 1 });
    for extent in [Extent::new(999, 2), Extent::new(1000, 2), Extent::new(u64::MAX, 2), Extent::new(5, 0)] {
        let outside = Violation::ExtentOutside { extent, volume_blocks: VOLUME_BLOCKS };
        assert_eq!(spoilt(|r| r.extent = extent), outside);
        assert_eq!(spoilt(|r| (r.kind, r.extent) = (Kind::Trim, extent)), outside);
    }
}

#[test]
fn a_record_of_another_session_or_reign_changes_nothing() {
    let log = log(40);
    let mut receiver = receiver(SESSION, &log, 12);
    let before = receiver.clone();
    for found in [SessionId::NONE, SessionId { boot: 1, count: 2 }, SessionId { boot: 2, count: 1 }] {
        let refused = receiver.on_append(epoch(2), found, &log[12], &log[12].body, VOLUME);
        assert_eq!(refused, Err(Violation::StaleSession { current: SESSION, found }));
    }
    for found in [epoch(1), epoch(3)] {
        let refused = receiver.on_append(found, SESSION, &log[12], &log[12].body, VOLUME);
        assert_eq!(refused, Err(Violation::WrongEpoch { expected: epoch(2), found }));
    }
    assert_eq!(receiver, before);
}

#[test]
fn every_flipped_bit_of_a_block_of_the_payload_is_detected() {
    let block: Vec<u8> = (0..4096_u32).map(|i| i.to_le_bytes()[0] ^ i.to_le_bytes()[1]).collect();
    let named = [Crc(1), crc32c(&block)];
    let mut came = block;
    for bit in 0..came.len() * 8 {
        came[bit / 8] ^= 1 << (bit % 8);
        let found = crc32c(&came);
        let corrupt = Violation::PayloadCorrupt { block: 1, expected: named[1], found };
        assert_eq!(check_blocks(&named, &[Crc(1), found]), Err(corrupt), "bit {bit}");
        came[bit / 8] ^= 1 << (bit % 8);
    }
    assert_eq!(check_blocks(&named, &[Crc(1), crc32c(&came)]), Ok(()));
}

#[test]
fn a_payload_of_another_length_is_refused() {
    let log = log(40);
    let mut receiver = receiver(SESSION, &log, 12);
    for found in [0, 1, 3] {
        let refused = receiver.on_append(epoch(2), SESSION, &log[12], &vec![Crc(1); found], VOLUME);
        assert_eq!(refused, Err(Violation::PayloadBlocks { expected: 2, found }));
    }
}

#[test]
fn every_flipped_bit_of_an_append_is_detected() {
    let log = log(40);
    let meta = Append::encode(Lsn(3), &log[12]);
    let whole = frame::encode(FrameKind::Append, VOLUME, epoch(2), SESSION, &meta, 8192);
    for bit in 0..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let (head, meta) = bytes.split_first_chunk::<FRAME_BYTES>().expect("a frame has a header");
        assert!(Frame::decode(head, meta.to_vec()).is_err(), "bit {bit}");
    }
}

proptest! {
    /// A link that drops, repeats and reorders as it likes.
    #[test]
    fn nothing_passes_a_hole(deliveries in prop::collection::vec(0..40_usize, 0..400)) {
        let log = log(40);
        let mut receiver = receiver(SESSION, &log, 0);
        let mut admitted = 0;
        for i in deliveries {
            match receiver.on_append(epoch(2), SESSION, &log[i], &log[i].body, VOLUME) {
                Ok(()) => {
                    prop_assert_eq!(log[i].lsn, Lsn(admitted), "in order, once, without a hole");
                    admitted += 1;
                }
                Err(Violation::Hole { expected, found }) => {
                    prop_assert_eq!((expected, found), (Lsn(admitted), log[i].lsn));
                    prop_assert_ne!(expected, found);
                }
                Err(other) => prop_assert!(false, "{other}"),
            }
            prop_assert_eq!(receiver.received(), Lsn(admitted));
        }
    }
}

/// What happens next on a link between one sender and one receiver.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// The sender sends what its window admits.
    Send,
    /// The frame at this place of the queue arrives, whatever was sent before it.
    Deliver(usize),
    /// The frame at this place of the queue is lost.
    Drop(usize),
    /// The frame at this place of the queue will arrive twice.
    Repeat(usize),
    /// The replica's log catches up with what was received.
    Write,
    /// The replica answers.
    Answer,
    /// The connection breaks; the replica keeps what it wrote.
    Reconnect,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        4 => Just(Fate::Send),
        8 => Just(Fate::Deliver(0)),
        1 => (0..8_usize).prop_map(Fate::Deliver),
        1 => (0..8_usize).prop_map(Fate::Drop),
        1 => (0..8_usize).prop_map(Fate::Repeat),
        4 => Just(Fate::Write),
        4 => Just(Fate::Answer),
        1 => Just(Fate::Reconnect),
    ]
}

/// One sender, one replica, and what is between them.
struct Link {
    log: Vec<RecordHeader>,
    sender: Sender,
    receiver: Receiver,
    session: SessionId,
    /// Frames on their way; those of old sessions stay on it.
    flying: Vec<(SessionId, usize)>,
    /// The replica's log: which records, in which order.
    written: Vec<u64>,
    unwritten: Vec<u64>,
}

const LINK_LIMITS: Limits = Limits { window_records: 6, window_bytes: 4 * APPEND_BYTES_MAX as u64 };

impl Link {
    fn new(records: u64) -> Link {
        let (log, session) = (log(records), SESSION);
        let mut sender = Sender::new(ReplicaId(9), &LINK_LIMITS);
        sender.begin(session, Lsn(0));
        let receiver = receiver(session, &log, 0);
        Link { log, sender, receiver, session, flying: vec![], written: vec![], unwritten: vec![] }
    }

    fn step(&mut self, fate: Fate) {
        match fate {
            Fate::Send => self.send(),
            Fate::Deliver(at) if at < self.flying.len() => self.deliver(at),
            Fate::Drop(at) if at < self.flying.len() => drop(self.flying.remove(at)),
            Fate::Repeat(at) if at < self.flying.len() => self.flying.push(self.flying[at]),
            Fate::Deliver(_) | Fate::Drop(_) | Fate::Repeat(_) => {}
            Fate::Write => self.written.append(&mut self.unwritten),
            Fate::Answer => self.answer(),
            Fate::Reconnect => self.reconnect(),
        }
        assert!(self.sender.in_flight_records() <= LINK_LIMITS.window_records);
        assert!(self.sender.in_flight_bytes() <= LINK_LIMITS.window_bytes);
        let held = self.written.iter().chain(&self.unwritten).copied();
        assert!(held.eq(0..self.receiver.received().0), "the replica holds a prefix, once, in order");
        assert!(self.sender.frontiers().written.0 <= self.written.len() as u64, "no answer passes a log");
    }

    fn send(&mut self) {
        while let Some(lsn) = self.sender.next()
            && let Ok(i) = usize::try_from(lsn.0)
            && i < self.log.len()
            && self.sender.has_room(APPEND_BYTES_MAX)
        {
            self.sender.on_sent(self.session, lsn, APPEND_BYTES_MAX);
            self.flying.push((self.session, i));
        }
    }

    fn deliver(&mut self, at: usize) {
        let (session, i) = self.flying.remove(at);
        let record = &self.log[i];
        match self.receiver.on_append(epoch(2), session, record, &record.body, VOLUME) {
            Ok(()) => self.unwritten.push(record.lsn.0),
            Err(Violation::StaleSession { .. }) => {}
            Err(Violation::Hole { .. }) => self.reconnect(),
            Err(other) => panic!("{other}"),
        }
    }

    fn answer(&mut self) {
        let end = Lsn(self.written.len() as u64);
        let ack = Frontiers { received: self.receiver.received(), ..Frontiers::proven(end, Lsn(0)) };
        self.sender.on_acked(self.session, ack, Lsn(self.log.len() as u64)).expect("the replica is honest");
    }

    fn reconnect(&mut self) {
        self.unwritten.clear();
        self.sender.end(self.session);
        self.session.count += 1;
        let end = self.written.len() as u64;
        self.sender.set_known(Lsn(end), Lsn(0)).expect("the replica is honest");
        self.sender.begin(self.session, Lsn(end));
        self.receiver = receiver(self.session, &self.log, end);
    }
}

proptest! {
    #[test]
    fn whatever_the_link_does_the_replica_gets_the_log_in_the_end(
        fates in prop::collection::vec(fate(), 0..300),
    ) {
        let mut link = Link::new(40);
        for fate in fates {
            link.step(fate);
        }
        // The link heals.
        link.step(Fate::Reconnect);
        for _ in 0..40 {
            link.step(Fate::Send);
            while !link.flying.is_empty() {
                link.step(Fate::Deliver(0));
            }
            link.step(Fate::Write);
            link.step(Fate::Answer);
        }
        prop_assert_eq!(link.written.len(), link.log.len());
        prop_assert_eq!(link.sender.frontiers(), Frontiers::proven(Lsn(40), Lsn(0)));
    }
}
