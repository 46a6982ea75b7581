//! Every state of a session meets every event.

mod room;

use room::{FRESH, NOW, Room, SESSION, every_news, every_phase, live};
use seawall_recovery::session::{Effect, Event, State, Superseder};
use seawall_sender::session_id::SessionId;
use seawall_sender::violation::Violation;

/// What comes of a news in a phase: the name of the next state, or `-` where it has no place.
///
/// In order: connected, welcome, facts, begun, refuse, ack, base-ack, digest, retention-spent, violation, lost.
#[rustfmt::skip]
const TABLE: [(&str, [&str; 11]); 9] = [
    ("connecting",  ["welcoming", "-", "-", "-", "-", "-", "-", "-", "idle", "idle", "idle"]),
    ("welcoming",   ["-", "greeting", "-", "-", "-", "-", "-", "-", "idle", "idle", "idle"]),
    ("greeting",    ["-", "-", "beginning", "-", "idle", "-", "-", "-", "idle", "idle", "idle"]),
    ("beginning",   ["-", "-", "-", "catching-up", "idle", "-", "-", "-", "idle", "idle", "idle"]),
    ("catching-up", ["-", "-", "-", "-", "idle", "in-sync", "-", "-", "idle", "idle", "idle"]),
    ("copying",     ["-", "-", "-", "-", "idle", "copying", "closing", "-", "idle", "idle", "idle"]),
    ("closing",     ["-", "-", "-", "-", "idle", "comparing", "closing", "-", "idle", "idle", "idle"]),
    ("comparing",   ["-", "-", "-", "-", "idle", "comparing", "comparing", "catching-up", "idle", "idle", "idle"]),
    ("in-sync",     ["-", "-", "-", "-", "idle", "in-sync", "-", "-", "idle", "idle", "idle"]),
];

#[test]
fn every_phase_answers_every_news() {
    let room = Room::default();
    assert_eq!(every_phase().map(|phase| phase.name()), TABLE.map(|(phase, _)| phase));
    for (phase, (_, row)) in every_phase().into_iter().zip(TABLE) {
        for (news, expected) in every_news().into_iter().zip(row) {
            let before = live(phase);
            let mut out = Vec::new();
            let after = before.on(NOW, Event::Session { session: SESSION, news }, &room.context(), &mut out);
            let what = format!("{} while {}", news.name(), phase.name());
            if expected == "-" {
                let out_of_turn = Violation::OutOfTurn { state: phase.name(), event: news.name() };
                assert_eq!((after, &out[..]), (Err(out_of_turn), &[][..]), "{what}");
                continue;
            }
            let after = after.unwrap_or_else(|violation| panic!("{what}: {violation}"));
            assert_eq!(after.name(), expected, "{what}");
            let ended = out.iter().any(|effect| matches!(effect, Effect::Disconnect { .. }));
            assert_eq!(ended, expected == "idle", "{what}: a session that ends says so");
        }
    }
}

#[test]
fn a_violation_ends_the_session_and_says_which() {
    let room = Room::default();
    for (phase, (_, row)) in every_phase().into_iter().zip(TABLE) {
        for (news, expected) in every_news().into_iter().zip(row) {
            if expected != "-" {
                continue;
            }
            let mut out = Vec::new();
            let event = Event::Session { session: SESSION, news };
            let (after, violation) = live(phase).drive(NOW, event, &room.context(), &mut out);
            assert_eq!(after.name(), "idle");
            let Some(Effect::Disconnect { end, .. }) = out.last() else { panic!("no end of {phase:?}") };
            assert_eq!(end.name(), "violated");
            assert!(matches!(violation, Some(Violation::OutOfTurn { .. })));
        }
    }
}

#[test]
fn nothing_of_another_session_changes_anything() {
    let room = Room::default();
    let stale = [SessionId { boot: 1, count: 8 }, SessionId { boot: 0, count: 9 }, SessionId::NONE, FRESH];
    let idle = State::new(NOW);
    let states = every_phase().map(live).into_iter().chain([idle]);
    for state in states {
        for news in every_news() {
            for session in stale {
                let mut out = Vec::new();
                let current = state.session().unwrap_or(SessionId::NONE);
                let expected = Violation::StaleSession { current, found: session };
                let event = Event::Session { session, news };
                assert_eq!(state.on(NOW, event, &room.context(), &mut out), Err(expected));
                assert_eq!(state.drive(NOW, event, &room.context(), &mut out), (state, Some(expected)));
                assert_eq!(out, []);
            }
        }
    }
}

#[test]
fn a_hint_disturbs_no_session() {
    let room = Room::default();
    for phase in every_phase() {
        let mut out = Vec::new();
        assert_eq!(live(phase).on(NOW, Event::Prompted, &room.context(), &mut out), Ok(live(phase)));
        assert_eq!(out, []);
    }
}

#[test]
fn whatever_supersedes_a_session_ends_it_from_every_phase_and_the_next_is_due_at_once() {
    let room = Room::default();
    let all = [Superseder::Epoch, Superseder::Address, Superseder::Membership, Superseder::Shutdown];
    for by in all {
        for phase in every_phase() {
            let mut out = Vec::new();
            let after =
                live(phase).on(NOW, Event::Superseded { by }, &room.context(), &mut out).expect("any time");
            assert_eq!((after.name(), after.deadline(&room.limits)), ("idle", NOW));
            assert_eq!(after.past().attempts, 0, "whatever went wrong before is of no interest any more");
            let Some(Effect::Disconnect { session, end, phase: at, .. }) = out.last() else {
                panic!("no end")
            };
            assert_eq!((*session, end.name(), *at), (SESSION, "superseded", phase.name()));
        }
        let mut out = Vec::new();
        let after = State::new(NOW).on(NOW, Event::Superseded { by }, &room.context(), &mut out);
        assert_eq!((after, &out[..]), (Ok(State::new(NOW)), &[][..]));
    }
}

#[test]
fn only_who_leaves_sync_takes_its_vote_along() {
    let room = Room::default();
    for phase in every_phase() {
        let mut out = Vec::new();
        let event = Event::Superseded { by: Superseder::Epoch };
        live(phase).on(NOW, event, &room.context(), &mut out).expect("any time");
        let uncounted = out.contains(&Effect::CountVote { session: SESSION, counts: false });
        assert_eq!(uncounted, live(phase).is_in_sync(), "{}", phase.name());
    }
}
