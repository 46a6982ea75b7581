//! What a world is: a node hears of another by the network alone, and of its own earlier life by the disk alone.

mod lives;
mod passing;

use std::sync::Arc;

use seawall_engine::io::LinkId;
use seawall_engine::status::{MaintenanceStatus, Quorum, Status, Watch};
use seawall_sender::frame::Kind;
use seawall_sender::time::Instant;

use super::*;
use crate::clock::SECOND;
use crate::disk::Crash;
use crate::driver::read;
use crate::scenario::Script;

/// A frame that the network delivered.
struct Delivered {
    from: usize,
    to: usize,
    link: LinkId,
    kind: Kind,
    bytes: Vec<u8>,
}

/// Three copies, no faults, and what these knobs say.
fn calm(seed: u64, knobs: &str) -> World {
    let script = Script::read(&format!("scenario: a calm world\n{knobs}\n")).expect("a script");
    World::new(&Options { script: Some(Arc::new(script)), ..Options::seed(seed) })
}

/// What a node says of itself, but for the time: when it was asked, and what happens at which moment.
fn timeless(status: Status) -> Status {
    let quorum = Quorum { missing_since: None, ..status.quorum };
    let untimed = |lease| MaintenanceStatus { until: Instant::default(), ..lease };
    let maintenance = status.maintenance.into_iter().map(untimed).collect();
    Status { now: Instant::default(), quorum, watch: Watch::default(), maintenance, ..status }
}

/// The world goes on until then. All that a node hears of another is written down.
fn go_on(world: &mut World, until: Moment, heard: &mut Vec<Delivered>) {
    while world.queue.due().is_some_and(|due| due <= until) {
        let (at, event) = world.queue.pop().expect("something is due");
        world.now = world.now.max(at);
        world.turn += 1;
        let done = match event {
            Event::Net(event) => match world.carry(event) {
                Some((to, came)) => {
                    heard.extend(delivered(world, to, &came));
                    world.on_heard(to, came)
                }
                None => Ok(()),
            },
            other => world.on_event(other),
        };
        done.and_then(|()| world.oracle.verdict()).expect("a calm world");
        world.take_agenda();
    }
    world.now = until;
}

fn delivered(world: &World, to: usize, came: &Heard) -> Option<Delivered> {
    let Heard::Frame(link, bytes) = came else { return None };
    let from = world.net.peer(to, *link).expect("a frame comes over a connection");
    let (frame, _) = read(bytes).expect("a frame as it was sent");
    Some(Delivered { from, to, link: *link, kind: frame.header.kind, bytes: bytes.clone() })
}

/// Cut all directions from and to a node.
fn cut_off(world: &mut World, node: usize, cut: bool) {
    for other in (0..world.nodes.len()).filter(|other| *other != node) {
        world.net.set_cut(world.now, node, other, cut);
        world.net.set_cut(world.now, other, node, cut);
    }
}
