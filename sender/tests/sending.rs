//! The sender: what it knows of its replica, and what it lets on its way.

use seawall_sender::feed::{Ack, Frontiers};
use seawall_sender::sender::{APPEND_BYTES_MAX, Limits, Moved, Sender, State};
use seawall_sender::session_id::SessionId;
use seawall_sender::violation::Violation;
use seawall_wal::names::{Lsn, ReplicaId};

const MIB: u64 = 1 << 20;
const LIMITS: Limits = Limits { window_records: 256, window_bytes: 4 * MIB };
const LOG_END: Lsn = Lsn(u64::MAX);

fn session(count: u32) -> SessionId {
    SessionId { boot: 1, count }
}

fn ack(received: u64, written: u64, durable: u64, home: u64) -> Ack {
    Frontiers { received: Lsn(received), written: Lsn(written), durable: Lsn(durable), home: Lsn(home) }
}

/// In session 1, fed from 10 on, and sent up to 20; its disk proved 10 and a checkpoint of 4.
fn feeding() -> Sender {
    let mut sender = Sender::new(ReplicaId(2), &LIMITS);
    sender.set_known(Lsn(10), Lsn(4)).expect("a disk may prove this");
    sender.begin(session(1), Lsn(10));
    for lsn in 10..20 {
        sender.on_sent(session(1), Lsn(lsn), 5000);
    }
    sender
}

#[test]
fn an_answer_counts_when_nothing_about_it_contradicts() {
    let check = |acked: Ack, expected: Result<Moved, Violation>| {
        let mut sender = feeding();
        sender.on_acked(session(1), ack(15, 14, 13, 6), LOG_END).expect("a good answer");
        let before = sender.frontiers();
        assert_eq!(sender.on_acked(session(1), acked, LOG_END), expected, "{acked}");
        assert_eq!(sender.frontiers(), if expected.is_ok() { acked } else { before });
        assert_eq!(sender.in_flight_records(), 20 - sender.frontiers().written.0);
        assert_eq!(sender.in_flight_bytes(), 5000 * sender.in_flight_records());
    };
    let moved = |written, durable| Ok(Moved { written, durable });
    check(ack(15, 14, 13, 6), moved(false, false));
    check(ack(16, 14, 13, 7), moved(false, false));
    check(ack(16, 15, 13, 6), moved(true, false));
    check(ack(15, 14, 14, 6), moved(false, true));
    check(ack(20, 20, 20, 20), moved(true, true));

    let before = ack(15, 14, 13, 6);
    for after in [ack(14, 14, 13, 6), ack(15, 13, 13, 6), ack(15, 14, 12, 6), ack(15, 14, 13, 5)] {
        check(after, Err(Violation::AckMovedBack { before, after }));
    }
    for found in [ack(15, 16, 13, 6), ack(15, 14, 15, 6), ack(15, 14, 13, 14), ack(1, 2, 3, 4)] {
        check(found, Err(Violation::FrontiersDisordered { found }));
    }
    for acked in [21, u64::MAX] {
        check(ack(acked, 20, 20, 6), Err(Violation::AckPastSent { acked: Lsn(acked), sent: Lsn(20) }));
    }
}

#[test]
fn an_answer_of_another_session_changes_nothing_and_is_counted() {
    let mut sender = feeding();
    let before = sender.frontiers();
    let good = ack(20, 20, 20, 10);
    for (stale, found) in
        [session(0), session(2), SessionId::NONE, SessionId { boot: 2, count: 1 }].into_iter().enumerate()
    {
        let refused = sender.on_acked(found, good, LOG_END);
        assert_eq!(refused, Err(Violation::StaleSession { current: session(1), found }));
        assert_eq!(sender.stale(), stale as u64 + 1);
    }
    assert_eq!((sender.frontiers(), sender.in_flight_records()), (before, 10));
    assert_eq!(sender.state(), State::Feeding { session: session(1), next: Lsn(20) });
}

#[test]
fn an_end_of_another_session_ends_nothing() {
    let mut sender = feeding();
    sender.end(session(7));
    assert_eq!((sender.session(), sender.stale()), (Some(session(1)), 1));
    sender.end(session(1));
    sender.end(session(1));
    assert_eq!((sender.session(), sender.stale()), (None, 2));
}

#[test]
fn of_an_answer_and_an_end_in_one_tick_the_first_wins() {
    let good = ack(20, 20, 20, 10);

    let mut answered = feeding();
    assert_eq!(answered.on_acked(session(1), good, LOG_END), Ok(Moved { written: true, durable: true }));
    answered.end(session(1));
    assert_eq!(answered.frontiers(), good);

    let mut ended = feeding();
    ended.end(session(1));
    let late = Violation::StaleSession { current: SessionId::NONE, found: session(1) };
    assert_eq!(ended.on_acked(session(1), good, LOG_END), Err(late));
    assert_eq!(ended.frontiers(), Frontiers::proven(Lsn(10), Lsn(4)));
}

#[test]
fn a_sender_without_a_session_sends_nothing() {
    let mut sender = feeding();
    sender.end(session(1));
    assert_eq!((sender.next(), sender.has_room(1)), (None, false));
    assert_eq!((sender.in_flight_records(), sender.in_flight_bytes()), (0, 0));
}

#[test]
fn five_sessions_later_the_same_sender_still_knows_what_its_replica_has() {
    let mut sender = Sender::new(ReplicaId(2), &LIMITS);
    sender.set_known(Lsn(0), Lsn(0)).expect("an empty log");
    for life in 1..=5 {
        let from = sender.frontiers().durable;
        sender.begin(session(life), from);
        for lsn in from.0..from.0 + 10 {
            sender.on_sent(session(life), Lsn(lsn), 600);
        }
        let durable = from.0 + 7;
        sender.on_acked(session(life), ack(from.0 + 9, durable, durable, from.0), LOG_END).expect("good");
        sender.end(session(life));
        assert_eq!(sender.frontiers(), ack(from.0 + 9, durable, durable, from.0), "a loss moves no frontier");
        sender.set_known(Lsn(durable), from).expect("what its disk proves next time");
    }
    assert_eq!(sender.replica(), ReplicaId(2));
    assert_eq!(sender.frontiers(), Frontiers::proven(Lsn(35), Lsn(28)));
}

#[test]
fn only_what_a_disk_proves_lowers_a_frontier() {
    let mut sender = feeding();
    sender.on_acked(session(1), ack(20, 20, 20, 10), LOG_END).expect("good");
    sender.end(session(1));
    let found = Frontiers::proven(Lsn(5), Lsn(6));
    assert_eq!(sender.set_known(Lsn(5), Lsn(6)), Err(Violation::FrontiersDisordered { found }));
    assert_eq!(sender.frontiers(), ack(20, 20, 20, 10));
    sender.set_known(Lsn(12), Lsn(10)).expect("a tail may be cut");
    assert_eq!(sender.frontiers(), Frontiers::proven(Lsn(12), Lsn(10)));
}

/// Sends as much as the window admits, and says up to where.
fn send_all(sender: &mut Sender, end: u64, bytes: u32) -> u64 {
    while let Some(lsn) = sender.next()
        && lsn.0 < end
        && sender.has_room(bytes)
    {
        sender.on_sent(session(1), lsn, bytes);
        assert!(sender.in_flight_bytes() <= LIMITS.window_bytes);
        assert!(sender.in_flight_records() <= LIMITS.window_records);
    }
    sender.next().expect("it is feeding").0
}

fn fresh() -> Sender {
    let mut sender = Sender::new(ReplicaId(2), &LIMITS);
    sender.begin(session(1), Lsn(0));
    sender
}

#[test]
fn a_silent_replica_never_has_more_in_flight_than_its_window() {
    // 200 MiB of records of 64 KiB wait for it.
    let (bytes, end) = (64 << 10, 3200);
    let mut sender = fresh();
    assert_eq!(send_all(&mut sender, end, bytes), 64);
    for _ in 0..1000 {
        assert_eq!(send_all(&mut sender, end, bytes), 64, "silence opens no window");
    }
    // What is merely received still takes the replica's memory.
    sender.on_acked(session(1), ack(64, 0, 0, 0), LOG_END).expect("good");
    assert_eq!(send_all(&mut sender, end, bytes), 64);
    // It wakes up, and takes everything, ten records at a time.
    let mut written = 0;
    while written < end {
        let sent = send_all(&mut sender, end, bytes);
        assert!(sent == end || sent == written + 64, "the window opens by as much as was written");
        written = (written + 10).min(sent);
        sender.on_acked(session(1), ack(sent, written, written, 0), LOG_END).expect("good");
    }
    assert_eq!((sender.in_flight_records(), sender.in_flight_bytes()), (0, 0));
}

#[test]
fn small_records_are_bounded_by_their_number() {
    let mut sender = fresh();
    assert_eq!(send_all(&mut sender, 10_000, 600), 256);
    sender.on_acked(session(1), ack(256, 3, 0, 0), LOG_END).expect("good");
    assert_eq!(send_all(&mut sender, 10_000, 600), 259);
}

#[test]
fn an_empty_window_admits_the_largest_record() {
    let limits = Limits { window_records: 2, window_bytes: u64::from(APPEND_BYTES_MAX) };
    let mut sender = Sender::new(ReplicaId(2), &limits);
    sender.begin(session(1), Lsn(0));
    assert!(sender.has_room(APPEND_BYTES_MAX));
    sender.on_sent(session(1), Lsn(0), APPEND_BYTES_MAX);
    assert!(!sender.has_room(1), "and not a byte more");
}

#[test]
#[should_panic(expected = "nothing is sent past the window")]
fn sending_past_the_window_is_our_fault() {
    let mut sender = fresh();
    for lsn in 0..257 {
        sender.on_sent(session(1), Lsn(lsn), 600);
    }
}

#[test]
#[should_panic(expected = "where 20 is next")]
fn sending_past_a_record_is_our_fault() {
    feeding().on_sent(session(1), Lsn(21), 600);
}

#[test]
#[should_panic(expected = "log ends at")]
fn feeding_from_above_the_end_of_a_log_is_our_fault() {
    let mut sender = Sender::new(ReplicaId(2), &LIMITS);
    sender.set_known(Lsn(10), Lsn(4)).expect("a disk may prove this");
    sender.begin(session(1), Lsn(11));
}

#[test]
#[should_panic(expected = "session s1.1 after s1.1")]
fn a_session_name_is_used_once() {
    let mut sender = fresh();
    sender.end(session(1));
    sender.begin(session(1), Lsn(0));
}
