//! What a ledger says when a sector is not what it must be: where, what was found, what was expected, and who wrote
//! either when.

use std::fmt;

use super::ledger::{Leaves, Version};
use super::register::Write;
use super::stamp::{BLOCK_SECTORS, Mark};

/// A sector that is not what it must be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// Where.
    pub sector: u64,
    /// What is wrong.
    pub kind: Kind,
    /// The write that is there, as the sector itself tells; none for zeroes and for bytes of nobody.
    pub found: Option<Mark>,
    /// What might be there.
    pub expected: Vec<Expected>,
}

/// What is wrong with a sector.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A completed write is not there: an older one is.
    WentBack,
    /// A write in doubt took effect after a newer one had.
    CameBack,
    /// Zeroes, where no write that may be there left any.
    Vanished,
    /// A write that was never issued.
    NeverWritten,
    /// A sector that belongs elsewhere.
    Misplaced {
        /// Where it belongs.
        belongs: u64,
    },
    /// Half a write.
    Torn,
    /// Bytes that nobody wrote.
    Foreign,
}

/// What a sector may hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expected {
    /// What was there before all writes.
    Before,
    /// What this write left.
    Write {
        /// Which one.
        mark: Mark,
        /// What it left.
        leaves: Leaves,
        /// When it was answered well, in milliseconds since 1970; none if it was not.
        answered_ms: Option<u64>,
    },
}

impl Expected {
    pub(super) fn new(write: Option<&Write>) -> Expected {
        let Some(write) = write else { return Expected::Before };
        let answered_ms = match write.answered_ms.load(std::sync::atomic::Ordering::Relaxed) {
            0 => None,
            at => Some(at),
        };
        Expected::Write { mark: write.mark(), leaves: write.leaves, answered_ms }
    }

    /// The write; none for what was before all.
    #[must_use]
    pub fn version(&self) -> Option<Version> {
        match self {
            Expected::Before => None,
            Expected::Write { mark, .. } => Some(mark.version),
        }
    }
}

/// A time of day.
struct Clock(u64);

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, millis) = (self.0 / 1000, self.0 % 1000);
        let (minutes, hours) = (seconds / 60, seconds / 3600);
        write!(f, "{:02}:{:02}:{:02}.{millis:03} UTC", hours % 24, minutes % 60, seconds % 60)
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "write {} (connection {}, sent {})", self.version, self.by, Clock(self.sent_ms))
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expected::Before => f.write_str("what was there before all writes"),
            Expected::Write { mark, leaves, answered_ms } => {
                let zeroes = if *leaves == Leaves::Zeroes { "zeroes of " } else { "" };
                write!(f, "{zeroes}write {} (connection {}, ", mark.version, mark.by)?;
                write!(f, "sent {}, ", Clock(mark.sent_ms))?;
                match answered_ms {
                    Some(at) => write!(f, "answered {})", Clock(*at)),
                    None => f.write_str("in doubt)"),
                }
            }
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "block {}, sector {}: found ", self.sector / BLOCK_SECTORS, self.sector)?;
        match (&self.kind, &self.found) {
            (Kind::Torn, Some(mark)) => write!(f, "half of {mark} and other bytes")?,
            (Kind::Misplaced { belongs }, Some(mark)) => write!(f, "sector {belongs} of {mark}")?,
            (Kind::CameBack, Some(mark)) => write!(f, "{mark}, which was in doubt and came back")?,
            (Kind::NeverWritten, Some(mark)) => write!(f, "{mark}, which was never issued")?,
            (_, Some(mark)) => write!(f, "older {mark}")?,
            (Kind::Vanished, None) => f.write_str("zeroes")?,
            (_, None) => f.write_str("bytes that nobody wrote")?,
        }
        for (at, expected) in self.expected.iter().enumerate() {
            f.write_str(if at == 0 { "; expected " } else { " or " })?;
            write!(f, "{expected}")?;
        }
        Ok(())
    }
}
