//! What a run is asked to be.

use seawall_engine::bait::Bait;

use crate::deed::Deed;

/// One run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// Everything follows from it.
    pub seed: u64,
    /// A planted bug.
    pub bait: Option<Bait>,
    /// Print every event.
    pub trace: bool,
    /// What is done to the world, instead of what the seed brings.
    pub deeds: Option<Vec<Deed>>,
}

impl Options {
    /// The plain run of a seed.
    #[must_use]
    pub fn seed(seed: u64) -> Options {
        Options { seed, bait: None, trace: false, deeds: None }
    }
}
