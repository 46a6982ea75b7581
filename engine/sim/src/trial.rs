//! A planted bug before its judges: the first seeds of its world at which they find it, and hold without it.

use core::ops::Range;

use seawall_engine::bait::Bait;

use crate::arena::Arena;
use crate::options::Options;
use crate::oracle::Failure;
use crate::run::{ASSERTION, run};

/// What came of it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Verdict {
    /// The first seed at which an oracle found it, and what it found.
    pub judged: Option<(u64, Failure)>,
    /// The first seed before that at which the machine's own assertion did.
    pub asserted: Option<(u64, Failure)>,
    /// Seeds at which something else was found, or which fail without the bug as well.
    pub strange: Vec<(u64, &'static str)>,
}

/// Run the seeds of an arena with a bug until one of these checks finds it, at a seed that holds without the bug.
#[must_use]
pub fn trial(bait: Bait, arena: Arena, seeds: Range<u64>, checks: &[&str]) -> Verdict {
    let mut verdict = Verdict::default();
    for seed in seeds {
        let plain = Options { arena, ..Options::seed(seed) };
        let Some(failure) = run(&Options { bait: Some(bait), ..plain.clone() }).failure else { continue };
        let assertion = failure.check == ASSERTION;
        if assertion && verdict.asserted.is_some() {
            continue;
        }
        if !(assertion || checks.contains(&failure.check)) || run(&plain).failure.is_some() {
            verdict.strange.push((seed, failure.check));
        } else if assertion {
            verdict.asserted = Some((seed, failure));
        } else {
            verdict.judged = Some((seed, failure));
            return verdict;
        }
    }
    verdict
}
