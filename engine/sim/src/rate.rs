//! What one dead copy costs, in a calm world: how fast clients write, in virtual time.

use std::sync::Arc;

use crate::clock::SECOND;
use crate::disk::Crash;
use crate::options::Options;
use crate::oracle::Failure;
use crate::profile::{LoadProfile, NetProfile, Profile};
use crate::scenario::Script;
use crate::world::World;

/// Until everything runs evenly, in nanoseconds.
const WARM_UP: u64 = 2 * SECOND;
/// Until a death is noticed and, if the primary died, another one serves, in nanoseconds.
const DETECTION: u64 = 5 * SECOND;
/// So long is counted, in nanoseconds.
const COUNTED: u64 = 10 * SECOND;

/// Who is dead.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dead {
    /// Nobody.
    Nobody,
    /// That follower of the first primary: 1 or 2.
    Follower(usize),
    /// The first primary; another one was elected.
    OldPrimary,
}

/// How fast clients write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    /// Completed writes per second.
    pub per_second: u64,
    /// Half of them took no longer, in microseconds.
    pub median: u64,
    /// Of a hundred, 99 took no longer, in microseconds.
    pub p99: u64,
}

/// Eight clients write small extents as fast as they can, to three copies, over one network that is even.
fn profile() -> Profile {
    let calm = Profile::calm();
    Profile {
        net: NetProfile { delay_min: 100_000, delay_max: 110_000, ..calm.net },
        load: LoadProfile {
            outstanding: 8,
            think_max: 1,
            blocks_max: 4,
            hot_blocks: 512,
            reads: 0,
            flushes: 4,
            zeroes: false,
            parts: false,
            gives_up: None,
            requests_max: u64::MAX,
            until: u64::MAX,
        },
        operator: true,
        chaos: u64::MAX,
        ..calm
    }
}

/// How fast clients write while somebody is dead, after the time in which that is noticed.
///
/// # Errors
/// What a check found.
pub fn rate(seed: u64, dead: Dead) -> Result<Rate, Failure> {
    let script = Arc::new(Script::bare(profile()));
    let mut world = World::new(&Options { script: Some(script), ..Options::seed(seed) });
    world.begin()?;
    let warm = world.now.plus(WARM_UP);
    while world.advance(warm)? {}
    let gone = match dead {
        Dead::Nobody => None,
        Dead::Follower(node) => Some(node),
        Dead::OldPrimary => Some(0),
    };
    if let Some(node) = gone {
        world.crash(node, Crash::Kill);
    }
    let noticed = world.now.plus(DETECTION);
    while world.advance(noticed)? {}
    world.waits = Some(Vec::new());
    let counted = world.now.plus(COUNTED);
    while world.advance(counted)? {}
    let mut waits = world.waits.take().unwrap_or_default();
    waits.sort_unstable();
    let of_hundred = |part: usize| waits.get(waits.len() * part / 100).map_or(0, |wait| wait / 1_000);
    Ok(Rate {
        per_second: waits.len() as u64 * SECOND / COUNTED,
        median: of_hundred(50),
        p99: of_hundred(99),
    })
}
