//! A connection: its two ends, and what is on its way between them.

use std::collections::{BTreeMap, VecDeque};

use seawall_engine::io::{Buf, LinkId};

use crate::clock::Moment;

/// A connection, named by the world.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct ConnId(pub(crate) u64);

/// One of a connection's two ends; as a direction, that from this end to the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Side {
    /// Who opened it.
    Opener,
    /// Who was called.
    Called,
}

impl Side {
    pub(crate) const BOTH: [Side; 2] = [Side::Opener, Side::Called];

    pub(crate) fn other(self) -> Side {
        match self {
            Side::Opener => Side::Called,
            Side::Called => Side::Opener,
        }
    }
}

/// What the world has to come back with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NetEvent {
    /// The oldest frame that an end wants to send leaves it.
    Leave(ConnId, Side),
    /// The first thing on its way from that end may have arrived.
    Arrive(ConnId, Side),
    /// Whoever opened it has waited long enough.
    GiveUp(ConnId),
}

/// What a node's process hears.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Heard {
    /// Somebody connected; the driver has to name the link by [`Net::on_accepted`].
    Accepted(ConnId),
    /// The connection that it asked for is open.
    Connected(LinkId),
    /// The bytes of one frame.
    Frame(LinkId, Vec<u8>),
    /// The bytes of one frame, some of them changed on the way.
    Flipped(LinkId, Vec<u8>),
    /// The connection is gone, with these buffers that it had still to send.
    Lost(LinkId, Vec<Buf>),
}

/// How a node looks from the network.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Host {
    /// The machine has power: its kernel answers.
    pub(crate) powered: bool,
    /// The life of its process, if there is one.
    pub(crate) life: Option<u32>,
    /// The process does not run.
    pub(crate) paused: bool,
}

#[derive(Debug)]
pub(crate) enum Item {
    Syn,
    Accept,
    SynAck,
    Frame(Vec<u8>),
    Close,
}

#[derive(Debug)]
pub(crate) struct End {
    pub(crate) node: usize,
    pub(crate) life: u32,
    pub(crate) link: Option<LinkId>,
    pub(crate) open: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Lane {
    pub(crate) leaving: VecDeque<(Vec<u8>, Option<Buf>)>,
    pub(crate) wire: VecDeque<(Moment, Item)>,
    pub(crate) last: Moment,
    /// Bytes of the frames on their way.
    pub(crate) on_wire: u64,
    /// How many frames found no room on the way, and wait to leave.
    pub(crate) blocked: u64,
    /// Its last item is on it.
    pub(crate) closed: bool,
    /// Its first item has come as far as a cut direction or a process that does not run.
    pub(crate) held: bool,
}

#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) ends: [End; 2],
    pub(crate) lanes: [Lane; 2],
    pub(crate) connected: bool,
    /// Who answered is not who was meant.
    pub(crate) astray: bool,
}

impl Lane {
    pub(crate) fn take_unsent(&mut self) -> Vec<Buf> {
        self.leaving.drain(..).filter_map(|(_, payload)| payload).collect()
    }
}

pub(crate) fn rearm(
    conns: &mut BTreeMap<ConnId, Conn>,
    agenda: &mut Vec<(Moment, NetEvent)>,
    which: impl Fn((usize, usize)) -> bool,
    mut when: impl FnMut() -> Moment,
) {
    for (&id, conn) in conns {
        for side in Side::BOTH {
            let ends = (conn.ends[side as usize].node, conn.ends[side.other() as usize].node);
            let lane = &mut conn.lanes[side as usize];
            if lane.held && which(ends) {
                lane.held = false;
                agenda.push((when(), NetEvent::Arrive(id, side)));
            }
        }
    }
}
