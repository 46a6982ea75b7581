//! One run, from a seed to a verdict.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe};

use crate::clock::{MILLIS, SECOND};
use crate::deed::Deed;
use crate::options::Options;
use crate::oracle::Failure;
use crate::pool::MEMORY;
use crate::tally::{Fault, Tally};
use crate::world::World;

/// The name under which a machine's own assertion is reported: one that no oracle stood behind.
pub const ASSERTION: &str = "assertion";

/// Clients go on for so long after the faults have ended, in nanoseconds.
const AFTERMATH: u64 = SECOND;
/// If nobody serves them by then, for so much longer at most, in nanoseconds.
const WORK_MAX: u64 = 60 * SECOND;
/// How fast they are without faults is seen over so long, in nanoseconds.
const CALM: u64 = SECOND / 2;

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Report {
    /// Changes with any difference between two runs.
    pub digest: u128,
    /// What happened.
    pub tally: Tally,
    /// The profile on one line.
    pub profile: String,
    /// What was done to the world.
    pub deeds: Vec<Deed>,
    /// When the world healed, or when the run ended before that. Virtual nanoseconds.
    pub healed: u64,
    /// A readable account, if it was asked for.
    pub timeline: Vec<String>,
    /// What was found.
    pub failure: Option<Failure>,
}

thread_local! {
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
    static RUNNING: Cell<bool> = const { Cell::new(false) };
}

/// Run one seed. A machine that panics is a failure like any other.
#[must_use]
pub fn run(options: &Options) -> Report {
    listen_to_panics();
    let mut world = World::new(options);
    RUNNING.set(true);
    let verdict = panic::catch_unwind(AssertUnwindSafe(|| live(&mut world)));
    RUNNING.set(false);
    let failure = match verdict {
        Ok(Ok(())) => None,
        Ok(Err(failure)) => Some(failure),
        Err(_) => {
            let said = PANIC.with(|panic| panic.borrow_mut().take()).unwrap_or_default();
            let check = if said.starts_with(MEMORY) { MEMORY } else { ASSERTION };
            Some(Failure { check, detail: said })
        }
    };
    world.tally.nanos = world.now.0;
    world.tally.fired(Fault::TailLost, world.net.tail_frames_lost);
    world.tally.fired(Fault::HeldBack, world.net.held_back);
    world.tally.fired(Fault::HalfOpen, world.net.half_open);
    world.tally.fired(Fault::Queued, world.net.queued);
    world.tally.fired(Fault::Bounded, world.net.bounded);
    for node in &world.nodes {
        world.transcript.note(node.disk.digest());
    }
    // A run that failed among its faults was to suffer them for longer.
    let healed = world.healed.unwrap_or(world.now.max(world.heals()));
    Report {
        digest: world.transcript.digest(),
        tally: world.tally,
        profile: world.profile.to_string(),
        deeds: world.deeds,
        healed: healed.0,
        timeline: world.timeline.map(|timeline| timeline.into_lines(world.now)).unwrap_or_default(),
        failure,
    }
}

fn live(world: &mut World) -> Result<(), Failure> {
    world.begin()?;
    // A scenario's steps, and until what they do has passed.
    while world.has_steps() {
        let next = world.now.plus(MILLIS);
        while world.has_steps() && world.advance(next)? {}
    }
    world.suffer()?;
    let healed = world.now;
    world.heal()?;
    if world.options.bare {
        if !world.leave_a_quorum()? {
            world.tally.needs_operator += 1;
            return world.check_story(None);
        }
        world.keep_writing()?;
        world.bring_back()?;
    }
    // Until somebody serves again, and long enough to see how fast.
    let (late, calm) = (healed.plus(WORK_MAX), healed.plus(AFTERMATH - CALM));
    while world.advance(calm)? {}
    while world.served_last < healed && world.now < late {
        let next = world.now.plus(CALM);
        while world.advance(next)? {}
    }
    let (before, until) = (world.tally.written, world.now.plus(CALM));
    while world.advance(until)? {}
    world.on_calm(world.tally.written - before, CALM, healed.0);
    world.load = false;
    if !world.come_to_rest()? {
        return world.check_story(None);
    }
    let rested = world.now;
    if !world.scrub_to_the_end()? {
        return world.check_story(None);
    }
    world.check_images()?;
    world.compare()?;
    world.check_story(Some(rested))?;
    if world.profile.drain {
        world.drain_and_restart()?;
        world.check_images()?;
        world.compare()?;
    }
    world.check_effort()
}

/// A panic's words and place, kept for the report instead of printed; panics outside of runs are none of ours.
fn listen_to_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !RUNNING.get() {
                return before(info);
            }
            let place = info.location().map(ToString::to_string).unwrap_or_default();
            let words = info.payload_as_str().unwrap_or("something that is no text");
            let trace = Backtrace::capture();
            let trace = if trace.status() == BacktraceStatus::Captured {
                format!("\n{trace}")
            } else {
                String::new()
            };
            PANIC.with(|panic| *panic.borrow_mut() = Some(format!("{words} ({place}){trace}")));
        }));
    });
}
