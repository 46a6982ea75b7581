//! What a run leaves: a number that any difference would change, and, if wanted, every event as a line.

use core::fmt;

use crate::clock::Moment;

/// The account of a run.
#[derive(Debug)]
pub(crate) struct Transcript {
    digest: u128,
    printed: bool,
}

impl Transcript {
    /// An empty one; `printed` to standard output or not.
    pub(crate) fn new(printed: bool) -> Transcript {
        Transcript { digest: 0x6C62_272E_07BB_0142_62B8_2175_6295_C58D, printed }
    }

    /// Something of the run.
    pub(crate) fn note(&mut self, word: u64) {
        self.digest =
            (self.digest ^ u128::from(word)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013B);
    }

    /// A line, made only if it is wanted.
    pub(crate) fn line(&self, now: Moment, who: &dyn fmt::Display, what: impl FnOnce() -> String) {
        if self.printed {
            println!("{now} {who:<4} {}", what());
        }
    }

    /// The number.
    pub(crate) fn digest(&self) -> u128 {
        self.digest
    }
}
