//! Sessions from their first event to their last.

mod room;

use std::time::Duration;

use proptest::prelude::*;
use room::{BLOCKS, FACTS, NOW, Walk, decision, every_news, rebuild, resume};
use seawall_recovery::messages::{BeginPlan, Refusal};
use seawall_recovery::plan::{Decision, Plan, PlanFacts, RefuseWhy, Trust};
use seawall_recovery::session::{Effect, End, Event, Feed, News, Next, Phase, State, Superseder};
use seawall_sender::session_id::SessionId;
use seawall_sender::time::Instant;
use seawall_sender::violation::Violation;
use seawall_wal::names::Lsn;

fn acked(durable: u64) -> News {
    News::Acked { durable: Lsn(durable) }
}

fn session(count: u32) -> SessionId {
    SessionId { boot: 1, count }
}

#[test]
fn a_replica_with_no_gap_is_in_sync_as_soon_as_it_has_begun_and_needs_no_write_for_it() {
    let mut walk = Walk::new();
    let session = session(10);
    walk.due();
    assert_eq!(walk.out, [Effect::Connect { session }]);
    walk.news(News::Connected);
    assert_eq!(walk.out, [Effect::SendHello { session }]);
    walk.news(News::Welcomed);
    assert_eq!(walk.out, [Effect::SendGreet { session }]);
    let decision = decision(Plan::ZeroGap { at: Lsn(60) });
    walk.news(News::Decided(decision));
    let plan = BeginPlan::Feed { from: Lsn(60) };
    assert_eq!(walk.out, [Effect::SendBegin { session, decision, plan, target: Lsn(60) }]);
    walk.news(News::Begun { end: Lsn(60), held: BLOCKS });
    let counted = Effect::CountVote { session, counts: true };
    assert_eq!(walk.out, [Effect::StartFeed { session, from: Lsn(60) }, counted]);
}

#[test]
fn the_target_of_a_catch_up_is_frozen_when_it_is_decided() {
    let mut walk = Walk::new();
    walk.decided(Plan::CatchUp { from: Lsn(30) });
    walk.room.log.end = Lsn(1000);
    walk.news(News::Begun { end: Lsn(30), held: BLOCKS }).news(acked(59));
    assert_eq!(walk.state.name(), "catching-up");
    walk.news(acked(60));
    assert_eq!(walk.state.name(), "in-sync", "though the log has gone on");
}

#[test]
fn a_cut_starts_the_feed_where_it_cut() {
    let mut walk = Walk::new();
    walk.decided(Plan::CutThenCatchUp { to: Lsn(42) });
    let begin = walk.out.clone();
    let begun =
        |effect: &Effect| matches!(effect, Effect::SendBegin { plan: BeginPlan::Cut { to: Lsn(42) }, .. });
    assert!(begin.iter().any(begun), "{begin:?}");
    walk.news(News::Begun { end: Lsn(42), held: BLOCKS });
    assert_eq!(walk.out, [Effect::StartFeed { session: session(10), from: Lsn(42) }]);
    assert_eq!(walk.state.name(), "catching-up");
}

#[test]
fn a_rebuild_copies_closes_compares_and_catches_up() {
    let mut walk = Walk::new();
    let session = session(10);
    walk.decided(rebuild()).news(News::Begun { end: Lsn(50), held: 0 });
    let feed = Effect::StartFeed { session, from: Lsn(50) };
    assert_eq!(walk.out, [feed, Effect::StartBase { session, cut: Lsn(50), held: 0 }]);
    walk.news(News::BaseAcked { held: BLOCKS - 1 }).news(acked(60));
    assert_eq!(walk.state.name(), "copying", "live records are not the base");
    walk.room.settled = Lsn(70);
    walk.room.log.end = Lsn(80);
    walk.news(News::BaseAcked { held: BLOCKS });
    let frontier = Lsn(80);
    assert_eq!(
        walk.out,
        [Effect::SendBaseDone { session, frontier }],
        "the last read may have seen up to there, and what the replica forgot is below"
    );
    walk.room.settled = Lsn(75);
    walk.news(acked(79));
    assert_eq!(walk.out, []);
    walk.news(acked(80));
    assert_eq!(walk.out, [Effect::AskDigest { session, frontier }]);
    walk.room.log.end = Lsn(90);
    walk.news(acked(82));
    assert_eq!(walk.state.name(), "comparing", "it is not in sync before it is proven equal");
    walk.news(News::DigestCompared { equal: true });
    assert_eq!(walk.state.name(), "catching-up");
    walk.room.log.end = Lsn(100);
    walk.news(acked(89));
    assert_eq!(walk.state.name(), "catching-up");
    walk.news(acked(90));
    assert!(walk.state.is_in_sync());
}

#[test]
fn a_rebuild_that_was_broken_off_goes_on_where_it_was() {
    let mut walk = Walk::new();
    walk.decided(resume(64)).news(News::Begun { end: Lsn(45), held: 64 });
    let session = session(10);
    let feed = Effect::StartFeed { session, from: Lsn(45) };
    assert_eq!(walk.out, [feed, Effect::StartBase { session, cut: Lsn(40), held: 64 }]);
    assert_eq!(walk.state.name(), "copying");
}

#[test]
fn a_rebuild_that_lacked_only_its_proof_copies_nothing_more() {
    let mut walk = Walk::new();
    walk.room.settled = Lsn(45);
    walk.room.log.end = Lsn(45);
    walk.decided(resume(BLOCKS)).news(News::Begun { end: Lsn(45), held: BLOCKS });
    assert_eq!(walk.state.name(), "comparing");
    assert!(matches!(walk.out[2], Effect::SendBaseDone { frontier: Lsn(45), .. }));
    assert!(matches!(walk.out[3], Effect::AskDigest { frontier: Lsn(45), .. }));
}

#[test]
fn a_replica_that_begins_elsewhere_than_it_was_told_is_not_fed() {
    let check = |plan, end, held, violation| {
        let mut walk = Walk::new();
        walk.decided(plan);
        let session = walk.state.session().expect("a session");
        let news = News::Begun { end: Lsn(end), held };
        assert_eq!(walk.event(Event::Session { session, news }), Some(violation));
        assert_eq!(walk.last_end(), "violated");
        assert!(!walk.out.iter().any(|effect| matches!(effect, Effect::StartFeed { .. })));
    };
    let elsewhere =
        |expected, found| Violation::BegunElsewhere { expected: Lsn(expected), found: Lsn(found) };
    check(Plan::CatchUp { from: Lsn(30) }, 29, BLOCKS, elsewhere(30, 29));
    check(Plan::CatchUp { from: Lsn(30) }, 31, BLOCKS, elsewhere(30, 31));
    let less = Violation::BaseMovedBack { before: BLOCKS, after: BLOCKS - 1 };
    check(Plan::CatchUp { from: Lsn(30) }, 30, BLOCKS - 1, less);
    check(rebuild(), 50, 1, Violation::BasePastSent { held: 1, sent: 0 });
    check(resume(64), 45, 63, Violation::BaseMovedBack { before: 64, after: 63 });
}

#[test]
fn an_answer_past_the_log_or_the_volume_ends_the_session() {
    let check = |plan, news, violation| {
        let mut walk = Walk::new();
        walk.decided(plan);
        let held = if plan == rebuild() { 0 } else { BLOCKS };
        let end = plan.begin().expect("a plan").feed_from();
        walk.news(News::Begun { end, held });
        let session = walk.state.session().expect("a session");
        assert_eq!(walk.event(Event::Session { session, news }), Some(violation));
        assert_eq!(walk.last_end(), "violated");
    };
    let past = Violation::AckPastSent { acked: Lsn(61), sent: Lsn(60) };
    for plan in [Plan::CatchUp { from: Lsn(30) }, Plan::ZeroGap { at: Lsn(60) }, rebuild()] {
        check(plan, acked(61), past);
    }
    let held = BLOCKS + 1;
    check(rebuild(), News::BaseAcked { held }, Violation::BasePastSent { held, sent: BLOCKS });
}

/// From its deadline on a phase is over, and not a moment before.
#[test]
fn every_wait_ends_at_its_deadline_and_not_before() {
    let catch_up = Plan::CatchUp { from: Lsn(30) };
    let begun = News::Begun { end: Lsn(30), held: BLOCKS };
    let check = |walk: &mut Walk, phase, end| {
        assert_eq!(walk.state.name(), phase);
        let deadline = walk.state.deadline(&walk.room.limits);
        walk.now = Instant(deadline.0 - 1);
        walk.event(Event::Ticked);
        assert_eq!((walk.state.name(), walk.ends.len()), (phase, 0), "not yet");
        walk.now = deadline;
        walk.event(Event::Ticked);
        assert_eq!(
            walk.ends.iter().map(|(end, phase)| (end.name(), *phase)).collect::<Vec<_>>(),
            [(end, phase)]
        );
    };
    check(Walk::new().due(), "connecting", "deadline-passed");
    check(Walk::new().due().news(News::Connected), "welcoming", "deadline-passed");
    check(Walk::new().due().news(News::Connected).news(News::Welcomed), "greeting", "deadline-passed");
    check(Walk::new().decided(catch_up), "beginning", "deadline-passed");
    check(Walk::new().decided(catch_up).news(begun), "catching-up", "silent");
    check(Walk::new().decided(rebuild()).news(News::Begun { end: Lsn(50), held: 0 }), "copying", "silent");
    check(
        Walk::new().decided(resume(BLOCKS)).news(News::Begun { end: Lsn(45), held: BLOCKS }),
        "closing",
        "silent",
    );
    check(Walk::new().in_sync(), "in-sync", "silent");
}

/// Answers that say nothing new come every second until the session ends; gives why and after how long.
fn starve(walk: &mut Walk, news: News) -> (&'static str, Duration) {
    let began = walk.now;
    while walk.ends.is_empty() {
        walk.wait(Duration::from_secs(1));
        if walk.event(Event::Ticked).is_none() && walk.ends.is_empty() {
            walk.news(news);
        }
        assert!(walk.now.since(began) < Duration::from_secs(10_000), "no session waits for ever");
    }
    (walk.last_end(), walk.now.since(began))
}

#[test]
fn who_answers_but_gets_nowhere_spends_its_budget() {
    let limits = Walk::new().room.limits;
    let mut walk = Walk::new();
    walk.decided(Plan::CatchUp { from: Lsn(30) }).news(News::Begun { end: Lsn(30), held: BLOCKS });
    assert_eq!(starve(&mut walk, acked(30)), ("no-progress", limits.no_progress));

    let mut walk = Walk::new();
    walk.decided(rebuild()).news(News::Begun { end: Lsn(50), held: 0 });
    assert_eq!(starve(&mut walk, acked(50)), ("no-progress", limits.no_progress));

    let mut walk = Walk::new();
    walk.decided(resume(BLOCKS)).news(News::Begun { end: Lsn(45), held: BLOCKS });
    assert_eq!(starve(&mut walk, acked(45)), ("no-progress", limits.no_progress));

    let mut walk = Walk::new();
    walk.room.log.end = Lsn(45);
    walk.room.settled = Lsn(45);
    walk.decided(resume(BLOCKS)).news(News::Begun { end: Lsn(45), held: BLOCKS });
    assert_eq!(starve(&mut walk, acked(45)), ("deadline-passed", limits.compare));
}

#[test]
fn live_records_are_no_progress_of_the_base() {
    let mut walk = Walk::new();
    walk.decided(rebuild()).news(News::Begun { end: Lsn(50), held: 0 });
    let mut durable = 50;
    while walk.ends.is_empty() {
        durable += 1;
        walk.room.log.end = Lsn(durable);
        walk.news(acked(durable)).wait(Duration::from_secs(1)).event(Event::Ticked);
        assert!(durable < 10_000, "no session waits for ever");
    }
    assert_eq!(walk.last_end(), "no-progress");
    assert_eq!(walk.now.since(NOW), walk.room.limits.no_progress);
}

#[test]
fn a_slow_catch_up_goes_on_until_its_time_is_spent_and_the_next_goes_on_from_there() {
    let mut walk = Walk::new();
    walk.room.log.end = Lsn(1_000_000);
    walk.decided(Plan::CatchUp { from: Lsn(30) }).news(News::Begun { end: Lsn(30), held: BLOCKS });
    let mut durable = 30;
    while walk.ends.is_empty() {
        durable += 1;
        walk.news(acked(durable)).wait(Duration::from_secs(1)).event(Event::Ticked);
        assert!(durable < 10_000, "no session waits for ever");
    }
    assert_eq!(walk.ends[0].0.to_string(), "time-spent: the next attempt goes on from there");
    assert_eq!(walk.now.since(NOW), walk.room.limits.catch_up);
}

#[test]
fn retention_ends_a_session_and_says_that_a_rebuild_is_next() {
    let mut walk = Walk::new();
    walk.decided(Plan::CatchUp { from: Lsn(30) }).news(News::Begun { end: Lsn(30), held: BLOCKS });
    walk.news(News::RetentionSpent);
    assert_eq!(walk.ends[0].0.to_string(), "retention-spent: a rebuild is next");
}

#[test]
fn an_idle_volume_keeps_its_replicas_in_sync() {
    let mut walk = Walk::new();
    walk.in_sync();
    for _ in 0..10_000 {
        walk.wait(Duration::from_secs(1)).event(Event::Ticked);
        walk.news(acked(60));
    }
    walk.room.log.end = Lsn(61);
    walk.event(Event::Ticked);
    assert!(walk.state.is_in_sync(), "a write after a long rest finds a replica that is not late");
    let (end, after) = starve(&mut walk, acked(60));
    assert_eq!((end, after), ("no-progress", walk.room.limits.no_progress));
}

#[test]
fn a_busy_replica_stays_in_sync_while_it_moves_at_all() {
    let mut walk = Walk::new();
    walk.in_sync();
    walk.room.log.end = Lsn(1_000_000);
    for durable in 61..1000 {
        walk.news(acked(durable)).wait(Duration::from_secs(4)).event(Event::Ticked);
        assert!(walk.state.is_in_sync());
    }
}

#[test]
fn an_answer_that_is_there_beats_the_deadline_for_it() {
    let mut walk = Walk::new();
    walk.due();
    walk.now = walk.state.deadline(&walk.room.limits);
    walk.news(News::Connected);
    walk.event(Event::Ticked);
    assert_eq!((walk.state.name(), walk.ends.len()), ("welcoming", 0));

    let mut walk = Walk::new();
    walk.due();
    walk.now = walk.state.deadline(&walk.room.limits);
    let late = walk.state.session().expect("a session");
    walk.event(Event::Ticked);
    let stale = walk.event(Event::Session { session: late, news: News::Connected });
    assert!(matches!(stale, Some(Violation::StaleSession { .. })), "and after it, it is of no interest");
}

#[test]
fn waits_grow_while_nothing_comes_of_it_and_never_beyond_their_bound() {
    let mut walk = Walk::new();
    let mut waits = Vec::new();
    for _ in 0..20 {
        walk.due().news(News::Lost);
        waits.push(walk.state.deadline(&walk.room.limits).since(walk.now));
    }
    let limits = walk.room.limits;
    assert!(waits[0] >= limits.backoff_min / 2 && waits[0] < limits.backoff_min);
    assert!(waits.iter().all(|wait| *wait < limits.backoff_max));
    assert!(waits[10..].iter().all(|wait| *wait >= limits.backoff_max / 2));
    walk.in_sync().wait(limits.steady).news(acked(60)).news(News::Lost);
    let wait = walk.state.deadline(&limits).since(walk.now);
    assert!(wait < limits.backoff_min, "who was in sync for long is back at once");
}

#[test]
fn a_replica_that_flaps_is_waited_for_longer_each_time() {
    let mut walk = Walk::new();
    let limits = walk.room.limits;
    for _ in 0..10 {
        walk.in_sync().wait(limits.steady / 2).news(News::Lost);
    }
    assert!(walk.state.deadline(&limits).since(walk.now) >= limits.backoff_max / 2);
}

#[test]
fn a_hint_brings_the_next_attempt_forward_and_makes_no_storm() {
    let mut walk = Walk::new();
    let limits = walk.room.limits;
    for _ in 0..10 {
        walk.due().news(News::Lost);
    }
    walk.event(Event::Prompted);
    assert_eq!(walk.state.deadline(&limits), walk.now.after(limits.backoff_min));
    let due = walk.state.deadline(&limits);
    walk.wait(limits.backoff_min / 2).event(Event::Prompted);
    assert_eq!(walk.state.deadline(&limits), due, "hints don't put it off either");
}

fn refused(why: RefuseWhy, facts: PlanFacts) -> Decision {
    Decision { facts, ..decision(Plan::Refuse { why }) }
}

#[test]
fn what_is_refused_twice_for_the_same_facts_is_parked_with_its_reason() {
    let mut walk = Walk::new();
    let limits = walk.room.limits;
    let ahead = refused(RefuseWhy::AheadOfUs, FACTS);
    walk.decided_for(ahead);
    assert_eq!((walk.state.name(), walk.last_end()), ("idle", "refused"));
    walk.due().news(News::Lost);
    assert_eq!(walk.state.name(), "idle", "what comes between is no refusal");
    walk.decided_for(ahead);
    let State::Parked { setback, due, .. } = walk.state else { panic!("{:?}", walk.state) };
    assert_eq!(setback.end, End::Refused { why: RefuseWhy::AheadOfUs });
    assert_eq!(due, walk.now.after(limits.parked));
    assert!(matches!(walk.out.last(), Some(Effect::Disconnect { next: Next::Park { .. }, .. })));

    walk.decided_for(ahead);
    assert_eq!(walk.state.name(), "parked", "the slow clock finds nothing new");
    walk.event(Event::Prompted);
    assert_eq!(walk.state.name(), "idle");
    walk.decided_for(ahead);
    assert_eq!(walk.state.name(), "parked");
    walk.decided_for(refused(RefuseWhy::AheadOfUs, PlanFacts { trust: Trust::Diverged, ..FACTS }));
    assert_eq!(walk.state.name(), "idle", "other facts are another matter");
    walk.decided_for(ahead).in_sync().news(News::Lost).decided_for(ahead);
    assert_eq!(walk.state.name(), "idle", "and so is another failure after a success");
}

#[test]
fn what_passes_by_itself_is_waited_for_and_never_parked() {
    let mut walk = Walk::new();
    let limits = walk.room.limits;
    walk.room.rebuild_allowed = false;
    for _ in 0..5 {
        walk.decided_for(refused(RefuseWhy::NotSettled, FACTS));
        assert_eq!((walk.state.name(), walk.last_end()), ("idle", "refused"));
        assert_eq!(walk.state.deadline(&limits), walk.now.after(limits.turn));
        walk.decided(rebuild());
        assert_eq!((walk.state.name(), walk.last_end()), ("idle", "deferred"));
        assert_eq!(walk.state.deadline(&limits), walk.now.after(limits.turn));
    }
    assert_eq!(walk.state.past().attempts, 0);
    walk.decided(Plan::CatchUp { from: Lsn(30) });
    assert_eq!(walk.state.name(), "beginning", "whoever needs no rebuild needs no turn");
}

#[test]
fn a_chain_that_differs_under_the_plan_leads_to_a_rebuild_and_not_to_the_same_plan() {
    let mut walk = Walk::new();
    walk.decided(Plan::CutThenCatchUp { to: Lsn(42) });
    assert_eq!(walk.state.trust(), Trust::Full);
    walk.news(News::Declined { why: Refusal::ChainDiffers });
    assert_eq!((walk.state.name(), walk.state.trust()), ("idle", Trust::Diverged));
    walk.decided(rebuild());
    assert_eq!(walk.state.trust(), Trust::Diverged, "nothing is wiped yet");
    walk.news(News::Begun { end: Lsn(50), held: 0 });
    assert_eq!(walk.state.trust(), Trust::Full);
}

#[test]
fn bytes_that_differ_after_a_rebuild_are_rebuilt_once_more_and_then_parked() {
    let mut walk = Walk::new();
    let fail = |walk: &mut Walk| {
        walk.decided(rebuild())
            .news(News::Begun { end: Lsn(50), held: 0 })
            .news(News::BaseAcked { held: BLOCKS });
        walk.news(acked(60)).news(News::DigestCompared { equal: false });
        assert_eq!(walk.state.trust(), Trust::DigestDiffered);
    };
    fail(&mut walk);
    assert_eq!(walk.state.name(), "idle");
    fail(&mut walk);
    assert_eq!(walk.state.name(), "parked");
    assert_eq!(walk.last_end(), "digest-differed");
}

#[test]
fn the_last_answer_of_the_base_may_come_twice() {
    let mut walk = Walk::new();
    walk.decided(resume(64))
        .news(News::Begun { end: Lsn(45), held: 64 })
        .news(News::BaseAcked { held: BLOCKS });
    assert_eq!(walk.state.name(), "closing");
    walk.news(News::BaseAcked { held: BLOCKS });
    assert_eq!(walk.state.name(), "closing");
    let session = walk.state.session().expect("a session");
    let less = Event::Session { session, news: News::BaseAcked { held: 99 } };
    assert!(matches!(walk.event(less), Some(Violation::OutOfTurn { .. })));
}

#[test]
fn an_address_that_changes_is_tried_at_once() {
    let mut walk = Walk::new();
    for _ in 0..10 {
        walk.due().news(News::Lost);
    }
    walk.event(Event::Superseded { by: Superseder::Address });
    let now = walk.now;
    walk.due();
    assert_eq!((walk.state.name(), walk.now), ("connecting", now));
}

fn events() -> impl Strategy<Value = (u8, usize, u64, bool)> {
    (0u8..20, 0usize..16, 0u64..120, any::<bool>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever comes in whatever order: no panic, one session at a time, votes that count only while it lasts
    /// (the walk checks those); then, with a replica that does its part, it is in sync in bounded time.
    #[test]
    fn any_events_in_any_order_leave_a_state_that_comes_back(steps in prop::collection::vec(events(), 0..60)) {
        let mut walk = Walk::new();
        for (what, which, number, other) in steps {
            let current = walk.state.session().unwrap_or(SessionId::NONE);
            let session = if other { current } else { session(u32::try_from(number % 12).unwrap()) };
            let plans = [
                Plan::ZeroGap { at: Lsn(60) },
                Plan::CatchUp { from: Lsn(30) },
                Plan::CutThenCatchUp { to: Lsn(42) },
                rebuild(),
                resume(64),
                resume(BLOCKS),
                Plan::Refuse { why: RefuseWhy::AheadOfUs },
                Plan::Refuse { why: RefuseWhy::NotSettled },
            ];
            let news = match what {
                0..=3 => News::Decided(decision(plans[which % plans.len()])),
                4..=6 => match walk.state {
                    State::Live(live) => match live.phase {
                        Phase::Beginning { plan, .. } => {
                            News::Begun { end: plan.feed_from(), held: plan.base_from().unwrap_or(BLOCKS) }
                        }
                        _ => News::Connected,
                    },
                    State::Idle { .. } | State::Parked { .. } => News::Connected,
                },
                7 | 8 => acked(number),
                9 | 10 => News::BaseAcked { held: number },
                11 => News::DigestCompared { equal: which % 2 == 0 },
                12 => News::Welcomed,
                13 => { walk.event(Event::Ticked); continue }
                14 => { walk.due(); continue }
                15 => { walk.event(Event::Prompted); continue }
                16 if which == 0 => { walk.event(Event::Superseded { by: Superseder::Address }); continue }
                _ => every_news()[which % 11],
            };
            walk.event(Event::Session { session, news });
        }
        // From here on the replica does what it is asked to.
        let began = walk.now;
        while !walk.state.is_in_sync() {
            let State::Live(live) = walk.state else { walk.due(); continue };
            match live.phase {
                Phase::Connecting { .. } => walk.news(News::Connected),
                Phase::Welcoming { .. } => walk.news(News::Welcomed),
                Phase::Greeting { .. } => walk.news(News::Decided(decision(rebuild()))),
                Phase::Beginning { plan, .. } => {
                    walk.news(News::Begun { end: plan.feed_from(), held: plan.base_from().unwrap_or(BLOCKS) })
                }
                Phase::Copying { held, .. } => walk.news(News::BaseAcked { held: held + 1 }),
                Phase::CatchingUp { feed: Feed { durable, .. }, .. } | Phase::Closing { feed: Feed { durable, .. }, .. } => {
                    walk.news(acked(durable.0 + 1))
                }
                Phase::Comparing { .. } => walk.news(News::DigestCompared { equal: true }),
                Phase::InSync { .. } => unreachable!("it is not"),
            };
        }
        prop_assert!(walk.now.since(began) <= walk.room.limits.parked, "the longest wait is that of who is parked");
    }

    /// No session waits for ever: with time alone, every phase comes to its end.
    #[test]
    fn time_alone_ends_every_phase(which in 0usize..9) {
        let mut walk = Walk::new();
        walk.due();
        let State::Live(live) = walk.state else { unreachable!("it just connected") };
        walk.state = State::Live(seawall_recovery::session::Live { phase: room::every_phase()[which], ..live });
        let mut ticks = 0;
        let mut state = walk.state;
        let mut now = NOW;
        while state.session().is_some() {
            now = now.max(state.deadline(&walk.room.limits));
            state = state.on(now, Event::Ticked, &walk.room.context(), &mut Vec::new()).expect("time is no fault");
            ticks += 1;
            prop_assert!(ticks < 4, "each tick at a deadline gets on");
        }
        prop_assert!(now.since(NOW) <= walk.room.limits.catch_up);
    }
}
