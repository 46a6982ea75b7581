//! A life begins with what the disk says, and with nothing else.

use seawall_engine::io::{Outbox, Output};
use seawall_engine::replica::Replica;
use seawall_engine::status::{Role, Status};

use super::*;
use crate::birth::setup;
use crate::clock::wall_at_zero;
use crate::device::Loss;
use crate::disk::{Disk, Fate, buffers};
use crate::mishap::Waiting;
use crate::pool::Pool;

/// A second replica, opened from a copy of the bytes on a node's disk, by a clock that shows the same.
fn opened_from_bytes(world: &mut World, node: usize) -> Status {
    let addresses = world.directory.on_start(node);
    let here = &world.nodes[node];
    let mut disk = Disk::new(*here.disk.geometry());
    for area in [Area::Super, Area::Log, Area::Table, Area::Home] {
        let bytes = usize::try_from(disk.area_bytes(area)).expect("a small volume");
        disk.format(area, 0, &here.disk.bytes(area, 0, bytes));
    }
    let now = here.clock.shows(world.now);
    let wall = wall_at_zero(world.now, now);
    let boot = here.machine_boot();
    let mut replica = Replica::new(now, setup(&world.profile, &addresses, node, boot, 0, wall, None));
    let (mut pool, mut prng) = (Pool::default(), Prng::new(0, Stream::Loss));
    let mut inputs = VecDeque::from([Input::Tick]);
    while let Some(input) = inputs.pop_front() {
        let mut out = Outbox::default();
        replica.step(now, input, &mut out);
        for output in &out.outputs {
            if let Output::Disk { what, .. } = output {
                buffers(what).into_iter().for_each(|buf| pool.hold(buf));
            }
        }
        for output in out.outputs {
            if let Output::Disk { op, what } = output {
                disk.on_given(op, what, Fate::Good, false);
                let ended = disk.on_due(op, &mut pool, &mut prng);
                buffers(&ended.what).into_iter().for_each(|buf| pool.release(buf));
                inputs.push_back(Input::DiskDone { op, result: ended.result });
            } else if let Output::Release(buf) = output {
                pool.release(buf);
            }
        }
    }
    replica.status()
}

/// Takes everything off the agenda.
fn agenda(world: &mut World) -> Vec<(Moment, Event)> {
    std::iter::from_fn(|| world.queue.pop()).collect()
}

/// Whether it is a process's own: what its disk ends, and when it wakes.
fn is_of(event: &Event, which: usize, lived: u32) -> bool {
    match event {
        Event::Tick { node, life, .. } | Event::Disk { node, life, .. } | Event::Kept { node, life, .. } => {
            (*node, *life) == (which, lived)
        }
        Event::Net(_)
        | Event::Idle { .. }
        | Event::Request { .. }
        | Event::Mend(_)
        | Event::Watch
        | Event::Thinks { .. } => false,
    }
}

/// The same in the life before, if it is a process's own.
fn of_the_life_before(event: &Event) -> Option<Event> {
    match event {
        Event::Disk { node, life, op } => Some(Event::Disk { node: *node, life: life - 1, op: *op }),
        Event::Tick { node, life, tick } => Some(Event::Tick { node: *node, life: life - 1, tick: *tick }),
        Event::Kept { .. } | Event::Net(_) | Event::Idle { .. } => None,
        Event::Request { .. } | Event::Mend(_) | Event::Watch | Event::Thinks { .. } => None,
    }
}

/// These come, and nothing comes of it.
fn check_unheard(world: &mut World, node: usize, events: Vec<Event>, context: &str) {
    let before = (world.tally.steps, world.nodes[node].disk.digest(), world.status(node));
    for event in events {
        world.on_event(event).expect("nothing comes of it");
    }
    let after = (world.tally.steps, world.nodes[node].disk.digest(), world.status(node));
    assert_eq!(before, after, "{context}: something of an earlier life came");
}

/// What all restarts together showed.
#[derive(Default)]
struct Seen {
    restarts: usize,
    /// Disk operations of an old life that ended in the next one.
    old_ends: usize,
    /// Ticks of an old life that were due in the next one.
    old_ticks: usize,
    /// Lives that ended with more in their log than their disk had.
    forgot: usize,
    /// Lives that began with a disk that can't be used.
    refused: usize,
}

/// A node goes down after that moment of a seed's world, while its disk is busy if it ever is, and starts again, with
/// nobody to talk to.
fn restart(seed: u64, after: Moment, nth: usize, crash: Crash, seen: &mut Seen) {
    let mut world = World::new(&Options::seed(seed));
    let node = nth % world.nodes.len();
    world.begin().expect("a run that holds");
    while world.advance(after).expect("a run that holds") {}
    let latest = after.plus(200 * MILLIS);
    while world.nodes[node].disk.in_flight().next().is_none()
        && world.advance(latest).expect("a run that holds")
    {}
    let at = world.now;
    let context = format!("seed {seed}, node {node} down by {crash:?} at {at}");
    let (State::Up | State::Paused) = world.nodes[node].state else { return };
    let before = world.status(node).expect("a process");
    let old = world.nodes[node].life;
    // From here on this node is alone in the world, and nothing befalls it.
    world.chaos = false;
    world.planner.stop();
    world.rigged.clear();
    world.stalled.fill(world.now);
    world.nodes[node].waiting = Waiting::default();
    cut_off(&mut world, node, true);
    let mut left: Vec<Event> = agenda(&mut world).into_iter().map(|(_, event)| event).collect();
    left.retain(|event| is_of(event, node, old));
    seen.old_ends += left.iter().filter(|event| matches!(event, Event::Disk { .. })).count();
    seen.old_ticks += left.iter().filter(|event| matches!(event, Event::Tick { .. })).count();

    world.crash(node, crash);
    world.start(node).expect("a run that holds");
    let here = &world.nodes[node];
    assert!(here.inbox.is_empty() && here.requests.is_empty() && here.accepted == 0, "{context}");
    let expected = opened_from_bytes(&mut world, node);
    check_unheard(&mut world, node, left, &context);

    // The names of its operations begin anew: those of the old life are not taken for its own.
    let own = agenda(&mut world);
    let alike: Vec<Event> = own.iter().filter_map(|(_, event)| of_the_life_before(event)).collect();
    assert!(!alike.is_empty(), "{context}");
    check_unheard(&mut world, node, alike, &context);
    own.into_iter().for_each(|(at, event)| world.queue.push(at, event));

    let late = at.plus(60 * SECOND);
    let status = loop {
        let status = world.status(node).expect("a process");
        if status.role != Role::Opening && world.nodes[node].disk.in_flight().next().is_none() {
            break status;
        }
        assert!(world.advance(late).expect("a run that holds"), "{context}: it never opens");
    };
    let log_end = status.log_end;
    let refused = status.role == Role::Faulted;
    assert_eq!(timeless(status), timeless(expected), "{context}");
    seen.restarts += 1;
    seen.forgot += usize::from(before.log_end > log_end);
    seen.refused += usize::from(refused);
}

#[test]
fn after_a_crash_a_node_is_what_a_copy_of_its_disk_makes_of_it() {
    let mut seen = Seen::default();
    for seed in 0..12_usize {
        for (nth, at) in [300, 1100, 2500].into_iter().enumerate() {
            for crash in [Crash::Kill, Crash::Power(Loss::Everything), Crash::Power(Loss::TornSectors)] {
                restart(seed as u64, Moment(at * MILLIS), seed + nth, crash, &mut seen);
            }
        }
    }
    println!(
        "{} restarts, {} forgot a part of their log, {} refused; unheard: {} disk ends, {} ticks",
        seen.restarts, seen.forgot, seen.refused, seen.old_ends, seen.old_ticks
    );
    assert!(seen.restarts > 60 && seen.forgot > 5, "{} and {}", seen.restarts, seen.forgot);
    assert!(seen.old_ends > 20 && seen.old_ticks > 20, "{} and {}", seen.old_ends, seen.old_ticks);
}
