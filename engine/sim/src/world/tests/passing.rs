//! All traffic goes through the simulated network, and what was meant for an earlier life changes nothing.

use std::collections::BTreeSet;

use seawall_engine::status::{Role, Status};
use seawall_sender::feed::Append;
use seawall_wal::names::Lsn;

use super::*;

fn statuses(world: &World) -> Vec<Status> {
    (0..world.nodes.len()).filter_map(|node| world.status(node)).collect()
}

#[test]
fn with_every_direction_cut_no_node_hears_of_another_and_nothing_completes() {
    for seed in 0..5 {
        let mut world = calm(seed, "load 4 deep\nreads 20");
        (0..3).for_each(|node| cut_off(&mut world, node, true));
        world.begin().expect("a calm world");
        let mut heard = Vec::new();
        go_on(&mut world, Moment(SECOND), &mut heard);
        let before = statuses(&world);
        world.promote(1, true).expect("a calm world");
        go_on(&mut world, Moment(6 * SECOND), &mut heard);
        assert!(heard.is_empty(), "seed {seed}: {} frames passed", heard.len());
        assert!(world.net.held_back > 0, "seed {seed}: nobody spoke, so nothing was shown");
        assert_eq!((world.tally.written, world.tally.reads), (0, 0), "seed {seed}");
        for (before, after) in before.iter().zip(statuses(&world)) {
            assert!(!matches!(after.role, Role::Primary | Role::Starting), "seed {seed}: {after:?}");
            let log = |status: &Status| (status.log_end, status.committed, status.settled, status.epoch);
            assert_eq!(log(before), log(&after), "seed {seed}");
        }
        (0..3).for_each(|node| cut_off(&mut world, node, false));
        go_on(&mut world, Moment(20 * SECOND), &mut heard);
        assert!(world.tally.written > 0, "seed {seed}: only the cuts kept it from serving");
    }
}

#[test]
fn a_node_that_is_cut_off_learns_nothing_while_the_others_write() {
    for seed in 0..5 {
        let mut world = calm(seed, "load 4 deep");
        cut_off(&mut world, 2, true);
        world.begin().expect("a calm world");
        let mut heard = Vec::new();
        go_on(&mut world, Moment(3 * SECOND), &mut heard);
        assert!(heard.iter().all(|frame| frame.from != 2 && frame.to != 2), "seed {seed}");
        let ends = statuses(&world).iter().map(|status| status.log_end).collect::<Vec<_>>();
        assert!(world.tally.written > 20 && ends[0] > Lsn(20), "seed {seed}: {ends:?}");
        assert_eq!(ends[2], Lsn(0), "seed {seed}");
    }
}

#[test]
fn all_that_a_node_knows_of_another_came_as_a_frame() {
    for seed in 0..5 {
        let mut world = calm(seed, "load 8 deep");
        world.begin().expect("a calm world");
        let mut heard = Vec::new();
        go_on(&mut world, Moment(3 * SECOND), &mut heard);
        let mut kinds: BTreeMap<Kind, usize> = BTreeMap::new();
        heard.iter().for_each(|frame| *kinds.entry(frame.kind).or_default() += 1);
        println!("seed {seed}: {kinds:?}");
        let election = [Kind::Hello, Kind::Welcome, Kind::Ask, Kind::Promise];
        let session = [Kind::Greet, Kind::Facts, Kind::Begin, Kind::Begun];
        let feed = [Kind::Append, Kind::Ack, Kind::Pulse, Kind::PulseAck];
        for kind in election.into_iter().chain(session).chain(feed) {
            assert!(kinds.contains_key(&kind), "seed {seed}: no {kind} in {kinds:?}");
        }
        let primary = world.serving().expect("a calm world has a primary");
        for node in (0..3).filter(|node| *node != primary) {
            let records = heard.iter().filter(|frame| (frame.to, frame.kind) == (node, Kind::Append));
            let came: BTreeSet<Lsn> = records
                .map(|frame| {
                    let (frame, _) = read(&frame.bytes).expect("a frame");
                    Append::decode(&frame.meta).expect("a record").record.lsn
                })
                .collect();
            let status = world.status(node).expect("it runs");
            assert!(status.log_end > Lsn(20), "seed {seed}: {status:?}");
            let missing = (0..status.log_end.0).map(Lsn).find(|lsn| !came.contains(lsn));
            assert_eq!(missing, None, "seed {seed}: node {node} has a record that nobody brought");
        }
    }
}

/// What a message does that was meant for an earlier life, or was sent by one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Late {
    /// It is counted as one of a session that is over.
    Stale,
    /// It is answered by a refusal; counted as stale as well, if its epoch has not ended.
    Refused,
    /// It is counted as a violation, and the connection goes.
    Violation,
}

/// Those that come again, run by run, and what comes of it.
const AGAIN: [&[(Kind, Late)]; 4] = [
    &[
        (Kind::Begin, Late::Stale),
        (Kind::Append, Late::Stale),
        (Kind::Pulse, Late::Stale),
        (Kind::Facts, Late::Stale),
        (Kind::Begun, Late::Stale),
        (Kind::Ack, Late::Stale),
        (Kind::PulseAck, Late::Stale),
    ],
    &[(Kind::Greet, Late::Refused)],
    &[(Kind::Hello, Late::Violation)],
    &[(Kind::Welcome, Late::Violation)],
];

/// The newest connection that a node hears the other on, at the same end of it as before the restart.
fn connection(world: &World, since: &[Delivered], old: &Delivered) -> Option<LinkId> {
    let same = |frame: &&Delivered| {
        (frame.from, frame.to, frame.link.0 % 2) == (old.from, old.to, old.link.0 % 2)
            && world.net.peer(frame.to, frame.link) == Some(old.from)
            && matches!(frame.kind, Kind::Pulse | Kind::PulseAck)
    };
    since.iter().rev().find(same).map(|frame| frame.link)
}

/// A frame of before comes again on a new connection.
fn say_again(world: &mut World, old: &Delivered, link: LinkId, late: Late, context: &str) {
    let count = |world: &World, kind| world.tally.notices.get(kind).copied().unwrap_or(0);
    let counts = |world: &World| (count(world, "stale"), count(world, "peer-violated"));
    let before = (counts(world), world.status(old.to).map(timeless), world.nodes[old.to].pool.held());
    world.on_frame(old.to, link, &old.bytes).expect("a calm world");
    world.take_agenda();
    let after = (counts(world), world.status(old.to).map(timeless), world.nodes[old.to].pool.held());
    let (stale, violated) = before.0;
    match late {
        Late::Stale => {
            assert_eq!(after.0, (stale + 1, violated), "{context}");
            assert_eq!((after.1, after.2), (before.1, before.2), "{context}: it changed something");
        }
        Late::Refused => {
            assert!(after.0 == before.0 || after.0 == (stale + 1, violated), "{context}: {after:?}");
            assert_eq!((after.1, after.2), (before.1, before.2), "{context}: it changed something");
        }
        Late::Violation => {
            assert_eq!(after.0, (stale, violated + 1), "{context}");
            let kept = |status: Option<Status>| {
                let status = status.expect("it runs");
                (status.role, status.promised, status.lineage, status.log_end, status.durable)
            };
            assert_eq!(kept(after.1), kept(before.1), "{context}: it changed something");
            assert_eq!(world.net.peer(old.to, link), None, "{context}: the connection stays");
        }
    }
}

/// A volume in which one node was killed and started: what was heard before, and since.
fn after_a_restart(seed: u64, restarted: usize) -> (World, Vec<Delivered>, Vec<Delivered>) {
    let mut world = calm(seed, "load 2 deep\nthink 2ms");
    world.begin().expect("a calm world");
    let mut before = Vec::new();
    go_on(&mut world, Moment(SECOND), &mut before);
    world.crash(restarted, Crash::Kill);
    world.take_agenda();
    go_on(&mut world, Moment(SECOND + 100 * MILLIS), &mut Vec::new());
    world.start(restarted).expect("a calm world");
    let mut since = Vec::new();
    go_on(&mut world, Moment(2 * SECOND), &mut since);
    if world.serving().is_none() {
        world.promote(restarted, true).expect("a calm world");
    }
    go_on(&mut world, Moment(5 * SECOND), &mut since);
    let first = since.iter().find(|frame| frame.to == restarted).expect("somebody speaks to the new life");
    assert!(matches!(first.kind, Kind::Hello | Kind::Welcome), "the old life's {} came", first.kind);
    (world, before, since)
}

/// Of these kinds, some frames of before a restart come again on the connections of after it, and are counted.
fn check(seed: u64, restarted: usize, kinds: &[(Kind, Late)], shown: &mut BTreeMap<Kind, usize>) {
    let (mut world, before, mut since) = after_a_restart(seed, restarted);
    let touches = |frame: &&Delivered| frame.from == restarted || frame.to == restarted;
    let refusals = |since: &[Delivered]| since.iter().filter(|frame| frame.kind == Kind::Refuse).count();
    let (written, mut refused) = (world.tally.written, refusals(&since));
    for &(kind, late) in kinds {
        for old in before.iter().filter(touches).filter(|old| old.kind == kind).take(4) {
            if let Some(link) = connection(&world, &since, old) {
                let context = format!("seed {seed}: {kind} from {} to {}", old.from, old.to);
                say_again(&mut world, old, link, late, &context);
                *shown.entry(kind).or_default() += 1;
                refused += usize::from(late == Late::Refused);
            }
        }
    }
    let until = world.now.plus(3 * SECOND);
    go_on(&mut world, until, &mut since);
    assert!(refusals(&since) >= refused, "seed {seed}, {kinds:?}: not all were answered by a refusal");
    assert!(world.tally.written > written, "seed {seed}: {kinds:?} stopped the volume");
}

#[test]
fn a_message_to_or_of_an_earlier_life_changes_nothing_and_is_counted() {
    for restarted in 0..3 {
        let mut shown = BTreeMap::new();
        for kinds in AGAIN {
            (0..2).for_each(|seed| check(seed, restarted, kinds, &mut shown));
        }
        println!("node {restarted} restarted: {shown:?} came again");
        for (kind, _) in AGAIN.into_iter().flatten() {
            assert!(shown.contains_key(kind), "{kind} never came again, with node {restarted} restarted");
        }
    }
}
