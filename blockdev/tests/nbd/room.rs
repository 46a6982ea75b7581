//! Limits, deadlines, and the ways in which a connection ends.

use seawall_blockdev::export::{Action, Limits};
use seawall_engine::io::Refusal;

use crate::requests::{DISC, FLUSH, READ, TRIM, WRITE, WRITE_ZEROES};
use crate::rig::{BLOCK, Rig, serving};
use crate::wire::{request, simple_reply, u32_at};

fn rig() -> Rig {
    serving(16384, Limits::DEFAULT, false)
}

fn answers(rig: &mut Rig) -> usize {
    let wire = rig.taken();
    assert!(wire.len().is_multiple_of(16), "answers without data");
    wire.chunks(16).for_each(|reply| assert_eq!(simple_reply(reply, 0).0, 0));
    wire.len() / 16
}

#[test]
fn reading_stops_at_256_requests_until_replies_have_left() {
    let mut rig = rig();
    rig.holds.core = true;
    let flushes: Vec<u8> = (0..300).flat_map(|i| request(FLUSH, 0, 0).cookie(i).encode()).collect();
    rig.feed(&flushes);
    assert_eq!(rig.submitted.len(), 256);
    assert!(!rig.connection.wants_bytes() && rig.inbox.len() == 44 * 28);
    rig.holds.sends = true;
    (0..10).for_each(|_| rig.complete(Ok(())));
    assert!(!rig.connection.wants_bytes(), "an answer that has not left counts");
    rig.holds.sends = false;
    rig.pump();
    assert_eq!(rig.submitted.len(), 256);
    rig.holds.core = false;
    rig.pump();
    assert_eq!(answers(&mut rig), 300);
    rig.finish();
}

#[test]
fn reading_stops_when_requests_hold_64_mib() {
    let mut rig = rig();
    rig.holds.core = true;
    let reads: Vec<u8> = (0..3).flat_map(|_| request(READ, 0, 32 << 20).encode()).collect();
    rig.feed(&reads);
    assert_eq!(rig.submitted.len(), 256, "two requests of 128 parts each");
    assert!(!rig.connection.wants_bytes());
    (0..128).for_each(|_| rig.complete(Ok(())));
    assert_eq!(rig.submitted.len(), 256, "the first has left, the third begins");
    rig.finish();
}

#[test]
fn memory_of_a_read_is_held_until_its_reply_has_left() {
    let mut rig = rig();
    rig.holds.sends = true;
    let reads: Vec<u8> = (0..3).flat_map(|_| request(READ, 0, 32 << 20).encode()).collect();
    rig.feed(&reads);
    assert_eq!(rig.taken().len(), 2 * ((32 << 20) + 16));
    assert!(!rig.connection.wants_bytes());
    rig.holds.sends = false;
    rig.pump();
    assert_eq!(rig.taken().len(), (32 << 20) + 16);
    rig.finish();
}

#[test]
fn a_client_that_takes_nothing_is_closed_after_two_minutes() {
    let mut rig = rig();
    rig.holds.sends = true;
    rig.feed(&request(FLUSH, 0, 0).encode());
    let start = rig.now;
    rig.now.0 += 100_000_000_000;
    rig.feed(&request(READ, 0, 1 << 20).encode());
    rig.event(|connection, now, out| connection.on_sent(now, 1, out));
    rig.deadline();
    assert_eq!(rig.now.since(start).as_secs(), 220, "two minutes since it last took a byte");
    assert!(rig.closed);
    rig.holds.sends = false;
    rig.finish();
}

#[test]
fn a_payload_may_stall_for_a_minute_but_our_own_memory_does_not_count() {
    let mut rig = rig();
    rig.holds.payload = true;
    rig.feed(&request(WRITE, 0, 4096).encode());
    assert_eq!(rig.connection.deadline(), None);
    rig.holds.payload = false;
    rig.now.0 += 3_600_000_000_000;
    let start = rig.now;
    rig.feed(&[1; 100]);
    rig.deadline();
    assert_eq!(rig.now.since(start).as_secs(), 60);
    assert!(rig.closed);
    rig.finish();
    assert!(rig.volume.iter().all(|byte| *byte == 0));
}

#[test]
fn a_payload_that_is_dropped_may_stall_for_a_minute_too() {
    let mut rig = rig();
    rig.feed(&request(WRITE, 1, 4096).with(&[1; 4000]));
    rig.deadline();
    assert!(rig.closed);
}

#[test]
fn an_idle_client_has_no_deadline() {
    assert_eq!(rig().connection.deadline(), None);
}

#[test]
fn everything_sent_before_the_leave_is_answered_before_the_end() {
    let mut rig = rig();
    rig.holds.core = true;
    let mut sent: Vec<u8> =
        (0..64).flat_map(|i| request(WRITE, i * 512, 512).cookie(i).with(&[1; 512])).collect();
    sent.extend(request(DISC, 0, 0).encode());
    sent.extend(request(FLUSH, 0, 0).encode());
    rig.feed(&sent);
    assert!(!rig.closing && !rig.connection.wants_bytes());
    rig.holds.core = false;
    rig.pump();
    assert_eq!(answers(&mut rig), 64);
    assert!(rig.closing && !rig.closed && rig.connection.is_closed() && rig.connection.is_idle());
    assert!(rig.volume[..64 * 512].iter().all(|byte| *byte == 1));
    rig.finish();
}

#[test]
fn a_half_received_write_is_never_sequenced() {
    let mut rig = rig();
    rig.keeps_log = true;
    rig.feed(&request(WRITE, 0, 1 << 20).with(&[1; (1 << 20) - 1]));
    rig.finish();
    assert!(!rig.log.iter().any(|action| matches!(action, Action::Submit { .. })));
}

#[test]
fn a_sequenced_write_takes_effect_though_its_client_is_gone() {
    let mut rig = rig();
    (rig.holds.core, rig.holds.buffers) = (true, true);
    rig.feed(&request(WRITE, 512, 4096).with(&[1; BLOCK]));
    rig.feed(&request(READ, 0, 4096).encode());
    rig.event(|connection, _, out| connection.on_eof(out));
    assert!(rig.closed && !rig.connection.is_idle());
    rig.finish();
    assert!(rig.taken().is_empty());
    assert_eq!(rig.volume[512..4608], [1; BLOCK]);
}

#[test]
fn answers_that_the_driver_still_brings_after_the_end_are_released() {
    let mut rig = rig();
    rig.holds.buffers = true;
    rig.feed(&request(READ, 0, 4096).encode());
    let held = rig.wants_buffers.clone();
    rig.event(|connection, _, out| connection.on_eof(out));
    rig.wants_buffers = held;
    rig.finish();
}

#[test]
fn a_replica_that_can_not_serve_closes_without_an_answer() {
    for refusal in [Refusal::NotPrimary, Refusal::Faulted, Refusal::Superseded] {
        let mut rig = rig();
        rig.holds.core = true;
        rig.feed(&[request(READ, 0, 512 << 10).encode(), request(FLUSH, 0, 0).encode()].concat());
        rig.complete(Err(refusal));
        assert!(rig.closed && rig.taken().is_empty());
        rig.finish();
        assert!(rig.taken().is_empty());
    }
}

#[test]
fn shutting_down_answers_what_else_is_under_way_and_then_closes() {
    let mut rig = rig();
    rig.holds.core = true;
    rig.feed(&[request(TRIM, 0, 4096).encode(), request(FLUSH, 0, 0).cookie(9).encode()].concat());
    rig.complete(Err(Refusal::ShuttingDown));
    assert!(!rig.closing && !rig.connection.wants_bytes());
    rig.complete(Ok(()));
    assert!(rig.closing && !rig.closed);
    assert_eq!(simple_reply(&rig.taken(), 0), (0, 9, vec![], &[][..]));
    rig.finish();
}

#[test]
fn a_planned_end_drops_the_payload_under_way_and_answers_the_rest() {
    let mut rig = rig();
    rig.holds.core = true;
    rig.feed(&request(FLUSH, 0, 0).encode());
    rig.feed(&request(WRITE, 0, 4096).with(&[1; 100]));
    rig.event(|connection, _, out| connection.on_shutdown(out));
    assert!(!rig.closing);
    rig.complete(Ok(()));
    assert!(rig.closing);
    assert_eq!(answers(&mut rig), 1);
    rig.finish();
    let mut early = Rig::new(16, Limits::DEFAULT);
    early.event(|connection, _, out| connection.on_shutdown(out));
    assert!(early.closing);
}

#[test]
fn who_hangs_up_takes_its_leave_only_by_a_disconnect_at_a_place_for_requests() {
    let disc = request(DISC, 0, 0).encode();
    let flush = request(FLUSH, 0, 0).encode();
    let write = request(WRITE, 0, 512).with(&[1; 512]);
    // A payload that looks like a request, and one that is not whole.
    let sly = request(WRITE, 0, 512).with(&[&[1; 512 - 28], &disc[..]].concat());
    let broken = [&request(WRITE, 0, 1024).with(&[1; 512])[..], &disc[..]].concat();
    for (rest, leaves) in [
        (Vec::new(), false),
        (disc.clone(), true),
        ([&flush[..], &write, &disc].concat(), true),
        ([&flush[..], &write].concat(), false),
        (sly, false),
        (broken, false),
        (disc[..27].to_vec(), false),
        ([&b"noise"[..], &disc].concat(), false),
    ] {
        let mut rig = rig();
        assert_eq!(rig.connection.is_left(0, &rest), leaves, "{rest:?}");
        // Wherever the part that is looked at ends.
        rig.holds.core = true;
        for cut in [1, 20, 28, 40].into_iter().filter(|cut| *cut < rest.len()) {
            rig.finish();
            rig = serving(16384, Limits::DEFAULT, false);
            rig.holds.payload = true;
            rig.feed(&rest[..cut]);
            let pending = rig.inbox.clone();
            let first = if rest.len() < 28 { 0 } else { u32_at(&rest, 24) as usize };
            let payload = if rig.connection.wants_bytes() { 0 } else { first };
            let whole = [&pending[..], &rest[cut..]].concat();
            if rig.connection.minds_hang_ups() {
                assert_eq!(rig.connection.is_left(payload, &whole), leaves, "cut at {cut}");
            }
        }
        rig.finish();
    }
}

#[test]
fn a_change_that_waits_for_memory_is_known_by_its_place_among_the_requests() {
    let mut rig = rig();
    (rig.holds.buffers, rig.holds.core) = (true, true);
    rig.feed(&[request(FLUSH, 0, 0).encode(), request(READ, 512, 512).encode()].concat());
    rig.feed(&request(WRITE_ZEROES, 512, 512).encode());
    assert_eq!(rig.connection.requests(), 3);
    assert!(!rig.connection.has_waiting(2) && rig.connection.has_waiting(3) && !rig.connection.is_full());
    rig.holds.buffers = false;
    rig.pump();
    assert!(!rig.connection.has_waiting(3), "it is sequenced");
    rig.finish();
}
