//! Both ends of a feed, and a peer that says anything: no panic, what is refused changes nothing, frontiers are in
//! order and never fall, and what is admitted is dense.

use seawall_sender::feed::Frontiers;
use seawall_sender::receiver::Receiver;
use seawall_sender::sender::{APPEND_BYTES_MAX, Limits, Sender, State};
use seawall_sender::session_id::SessionId;
use seawall_sender::violation::Violation;
use seawall_wal::names::{COUNT_MAX, Crc, Epoch, Extent, Lsn, Origin, ReplicaId, VolumeId};
use seawall_wal::record::{Kind, RecordHeader};

use crate::script::Script;

const VOLUME: VolumeId = VolumeId([7; 16]);
const VOLUME_BLOCKS: u64 = 1000;
const STEPS_MAX: usize = 200;
const LIMITS: Limits = Limits { window_records: 5, window_bytes: 2 * APPEND_BYTES_MAX as u64 };

/// The input is a script: where it begins, then what the peer says.
pub(crate) fn check(input: &[u8]) {
    let mut script = Script::new(input);
    let from = Lsn(script.number().min(COUNT_MAX));
    if script.flag() { check_receiver(&mut script, from) } else { check_sender(&mut script, from) }
}

fn epoch(counter: u64) -> Epoch {
    Epoch { counter, replica: ReplicaId(2) }
}

fn check_receiver(script: &mut Script<'_>, from: Lsn) {
    let session = SessionId { boot: 1, count: 1 };
    let mut receiver = Receiver::new(session, epoch(5), from, Crc(9), epoch(3), VOLUME_BLOCKS);
    let (mut chain, mut last) = (Crc(9), epoch(3));
    for _ in 0..STEPS_MAX {
        if script.is_over() {
            return;
        }
        let wrong = script.byte();
        let kinds = [
            Kind::Write,
            Kind::WriteZeroes,
            Kind::Trim,
            Kind::EpochStart,
            Kind::Padding,
            Kind::Attach,
            Kind::Configuration,
            Kind::Maintenance,
        ];
        let kind = kinds[usize::from(script.byte()) % kinds.len()];
        let blocks = u32::from(script.byte() % 8);
        let body = if kind == Kind::Write { vec![Crc(1); blocks as usize] } else { Vec::new() };
        let next = receiver.received();
        let record = RecordHeader {
            volume: if wrong == 1 { VolumeId([8; 16]) } else { VOLUME },
            epoch: match kind {
                Kind::EpochStart => epoch(last.counter.wrapping_add(u64::from(script.byte() % 3))),
                Kind::Write
                | Kind::WriteZeroes
                | Kind::Trim
                | Kind::Attach
                | Kind::Padding
                | Kind::Configuration
                | Kind::Maintenance => {
                    if wrong == 2 {
                        epoch(script.number())
                    } else {
                        last
                    }
                }
            },
            lsn: if wrong == 3 { Lsn(script.number()) } else { next },
            kind,
            extent: match kind {
                Kind::EpochStart | Kind::Attach | Kind::Configuration | Kind::Maintenance => {
                    Extent::default()
                }
                Kind::Write | Kind::WriteZeroes | Kind::Trim | Kind::Padding => {
                    Extent::new(script.number(), blocks)
                }
            },
            chain: if wrong == 4 { Crc(77) } else { chain },
            origin: Origin::NONE,
            body,
        };
        let mut came = record.body.clone();
        if wrong == 5 {
            came.push(Crc(2));
        }
        let spoken = SessionId { boot: 1, count: u32::from(wrong == 6) + 1 };
        let reign = if wrong == 7 { epoch(script.number()) } else { epoch(5) };
        let before = receiver.clone();
        match receiver.on_append(reign, spoken, &record, &came, VOLUME) {
            Ok(()) => {
                assert!(!(3..=7).contains(&wrong) || (record.lsn, record.chain) == (next, chain));
                assert_eq!((record.lsn, receiver.received()), (next, next.next()));
                assert!(record.epoch >= last && record.epoch <= epoch(5), "epochs grow, up to the session's");
                assert_eq!(record.epoch > last, record.kind == Kind::EpochStart);
                assert!(record.extent.end() <= VOLUME_BLOCKS);
                assert_eq!(
                    RecordHeader::from_wire(&record.wire()).as_ref(),
                    Ok(&record),
                    "it is well formed"
                );
                (chain, last) = (record.digest(), record.epoch);
            }
            Err(_) => assert_eq!(before, receiver, "what is refused changes nothing"),
        }
    }
}

fn check_sender(script: &mut Script<'_>, from: Lsn) {
    let mut sender = Sender::new(ReplicaId(3), &LIMITS);
    let mut count = 1;
    assert!(sender.set_known(from, Lsn(script.number().min(from.0))).is_ok());
    sender.begin(SessionId { boot: 1, count }, from);
    for _ in 0..STEPS_MAX {
        if script.is_over() {
            return;
        }
        let session = SessionId { boot: 1, count };
        match script.byte() % 4 {
            0 if sender.has_room(APPEND_BYTES_MAX) => {
                let next = sender.next().expect("it feeds");
                sender.on_sent(session, next, 1 + u32::from(script.byte()));
            }
            0 | 1 => check_ack(&mut sender, session, script),
            2 => {
                let stale = SessionId { boot: 1, count: script.byte().into() };
                let before = sender.frontiers();
                if stale != session {
                    let told = sender.on_acked(stale, before, Lsn(u64::MAX));
                    assert!(matches!(told, Err(Violation::StaleSession { .. })));
                }
                assert_eq!(sender.frontiers(), before);
            }
            _ => {
                sender.end(session);
                assert_eq!((sender.state(), sender.in_flight_bytes()), (State::Idle, 0));
                count += 1;
                // What a disk proves after that: perhaps less, never more than was sent.
                let durable = Lsn(script.number().min(sender.frontiers().durable.0));
                assert!(sender.set_known(durable, Lsn(script.number().min(durable.0))).is_ok());
                sender.begin(SessionId { boot: 1, count }, durable);
            }
        }
        assert!(sender.in_flight_records() <= LIMITS.window_records);
        assert!(sender.in_flight_bytes() <= LIMITS.window_bytes);
    }
}

fn check_ack(sender: &mut Sender, session: SessionId, script: &mut Script<'_>) {
    let sent = sender.next().expect("it feeds");
    let before = sender.frontiers();
    let mut told = || match script.byte() {
        by @ 0..=127 => Lsn(sent.0.saturating_sub(u64::from(by % 8))),
        _ => Lsn(script.number()),
    };
    let ack = Frontiers { received: told(), written: told(), durable: told(), home: told() };
    match sender.on_acked(session, ack, sent) {
        Ok(moved) => {
            let Frontiers { received, written, durable, home } = sender.frontiers();
            assert!(home <= durable && durable <= written && written <= received && received <= sent);
            assert!(!ack.moved_back_from(&before));
            assert_eq!((moved.written, moved.durable), (written > before.written, durable > before.durable));
            assert_eq!(sender.in_flight_records(), sent.since(written));
        }
        Err(_) => assert_eq!(sender.frontiers(), before, "what is refused changes nothing"),
    }
}
