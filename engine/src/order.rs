//! Writes that overlap keep the order in which they came: none overtakes another that has to wait. Otherwise one that
//! its client gave up while it waited could land on what that client wrote since.

use alloc::vec::Vec;

use seawall_wal::names::Extent;

use crate::bait::Bait;
use crate::core::Core;
use crate::io::Request;

/// What waits in front of a write.
#[derive(Debug)]
pub(crate) struct Ahead {
    waiting: Vec<Extent>,
    baited: bool,
}

impl Ahead {
    /// One more write waits.
    pub(crate) fn push(&mut self, extent: Extent) {
        self.waiting.push(extent);
    }

    /// Whether a write there has to wait, too. `or`: for another reason of the same kind.
    pub(crate) fn blocks(&self, extent: Extent, or: impl FnOnce() -> bool) -> bool {
        !self.baited && (self.waiting.iter().any(|waiting| waiting.overlaps(&extent)) || or())
    }
}

impl Core {
    /// Nothing waits so far.
    pub(crate) fn ahead(&self) -> Ahead {
        Ahead { waiting: Vec::new(), baited: self.setup.baited(Bait::OvertakesHeld) }
    }
}

/// The extent that a write touches; nothing for what writes nothing.
pub(crate) fn target(request: &Request) -> Option<Extent> {
    match request {
        Request::Write { extent, .. }
        | Request::WriteZeroes { extent, .. }
        | Request::Trim { extent, .. } => Some(*extent),
        Request::WritePart { block, .. } => Some(Extent::new(*block, 1)),
        Request::Read { .. } | Request::Flush | Request::Status { .. } => None,
    }
}
