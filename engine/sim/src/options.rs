//! What a run is asked to be.

use std::sync::Arc;

use seawall_engine::bait::Bait;

use crate::arena::Arena;
use crate::scenario::Script;

/// One run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Everything follows from it.
    pub seed: u64,
    /// A planted bug.
    pub bait: Option<Bait>,
    /// What its world is aimed at.
    pub arena: Arena,
    /// Print every event.
    pub trace: bool,
    /// Keep a readable account.
    pub timeline: bool,
    /// After the faults only a bare quorum is left, and must go on writing.
    pub bare: bool,
    /// What the world is like and what is done to it, instead of what the seed brings.
    pub script: Option<Arc<Script>>,
}

impl Options {
    /// The plain run of a seed.
    #[must_use]
    pub fn seed(seed: u64) -> Options {
        Options {
            seed,
            bait: None,
            arena: Arena::Swarm,
            trace: false,
            timeline: false,
            bare: false,
            script: None,
        }
    }
}
