//! What can be seen of a run from outside, as it happens: for the conditions of scenarios and for the timeline.

use seawall_engine::io::{Area, DiskOp};
use seawall_engine::notice::Notice;
use seawall_sender::frame::FrameHeader;

use crate::deed::Act;
use crate::disk::Crash;
use crate::scenario::DiskVerb;
use crate::world::World;

/// Something that is seen of a node.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sign<'a> {
    /// It says something.
    Notice(&'a Notice),
    /// It sends a message, if the connection still is.
    Sends(Option<usize>, &'a FrameHeader),
    /// It hears a message.
    Hears(Option<usize>, &'a FrameHeader),
    /// Its disk is given something to do, or has done it.
    Disk(DiskVerb, Area, DiskEnd),
    /// Its life ends.
    Down(Crash),
    /// A life of it begins.
    Up,
    /// It goes on after a pause.
    Resumed,
    /// It is told to reign.
    Promoted {
        /// Without asking the present one.
        take_over: bool,
    },
    /// A write completed; something was read; a request was refused or cut off.
    Wrote,
    Read,
    Refused,
    /// Something is done to the world, to no node in particular.
    Deed(Act),
    /// The world heals.
    Heals,
}

/// How far a disk operation is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum DiskEnd {
    Given,
    Done,
    Failed,
}

/// What an operation does where, if it is on the device at all.
pub(crate) fn verb(what: &DiskOp) -> Option<(DiskVerb, Area)> {
    match what {
        DiskOp::ReadMeta { area, .. } => Some((DiskVerb::Read, *area)),
        DiskOp::WriteMeta { area, .. } => Some((DiskVerb::Write, *area)),
        DiskOp::Scan { .. } => Some((DiskVerb::Read, Area::Log)),
        DiskOp::Append { .. } => Some((DiskVerb::Write, Area::Log)),
        DiskOp::Read { pieces, .. } => pieces.first().map(|piece| (DiskVerb::Read, piece.area)),
        DiskOp::WriteHome { .. } => Some((DiskVerb::Write, Area::Home)),
        DiskOp::Flush { area } => Some((DiskVerb::Flush, *area)),
        DiskOp::Discard { .. } | DiskOp::Merge { .. } | DiskOp::Copy { .. } => None,
    }
}

impl World {
    /// Whether anybody looks.
    pub(crate) fn is_watched(&self) -> bool {
        self.story.is_some() || self.timeline.is_some()
    }

    /// A node shows something.
    pub(crate) fn sign(&mut self, node: usize, sign: Sign<'_>) {
        if let Some(story) = &mut self.story {
            story.on_sign(self.now, node, sign);
        }
        if let Some(timeline) = &mut self.timeline {
            timeline.on_sign(self.now, node, sign);
        }
    }

    /// A node sends or hears a message, which is looked at only if anybody looks.
    pub(crate) fn sign_frame(
        &mut self,
        node: usize,
        link: seawall_engine::io::LinkId,
        head: &[u8],
        sends: bool,
    ) {
        if !self.is_watched() {
            return;
        }
        let header = head.first_chunk().and_then(|head| FrameHeader::decode(head).ok());
        let peer = self.net.peer(node, link);
        if let Some(header) = &header {
            self.sign(node, if sends { Sign::Sends(peer, header) } else { Sign::Hears(peer, header) });
        }
    }
}
