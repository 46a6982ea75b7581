//! The name of one recovery session.

use core::fmt;

use bincode::{Decode, Encode};

/// Names one session of one primary, uniquely across its restarts: the boot counter of the primary's own
/// superblock (raised durably before the first session of a life) and a counter within that life.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Encode, Decode)]
pub struct SessionId {
    /// The primary's boot counter.
    pub boot: u32,
    /// Counts sessions within that boot.
    pub count: u32,
}

impl SessionId {
    /// No session: what frames carry before one is named.
    pub const NONE: SessionId = SessionId { boot: 0, count: 0 };
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s{}.{}", self.boot, self.count)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
