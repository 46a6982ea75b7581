//! What a run is asked to be.

use seawall_engine::bait::Bait;

/// One run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// Everything follows from it.
    pub seed: u64,
    /// A planted bug.
    pub bait: Option<Bait>,
    /// Print every event.
    pub trace: bool,
}

impl Options {
    /// The plain run of a seed.
    #[must_use]
    pub fn seed(seed: u64) -> Options {
        Options { seed, bait: None, trace: false }
    }
}
