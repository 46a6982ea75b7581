//! What the ring can do, and how it ends. An operation owns everything that the kernel touches for it.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use super::arena::Access;
use super::pieces::Pieces;
use super::socket::HangUp;

/// An open file, device or socket. Operations in flight keep it open.
pub type Descriptor = Rc<OwnedFd>;

/// One operation.
#[derive(Debug)]
pub enum Op {
    /// Read a file.
    Read {
        /// Which.
        file: Descriptor,
        /// From which byte on.
        offset: u64,
        /// Where to.
        into: Pieces,
    },
    /// Write a file.
    Write {
        /// Which.
        file: Descriptor,
        /// From which byte on.
        offset: u64,
        /// From where.
        from: Pieces,
        /// On stable storage when it is over (RWF_DSYNC).
        durable: bool,
    },
    /// Bring what was written to a file to stable storage (fdatasync).
    Sync {
        /// Which.
        file: Descriptor,
    },
    /// Give the space of a part of a file or device back; it reads as zeroes afterwards.
    Punch {
        /// Which.
        file: Descriptor,
        /// From which byte on.
        offset: u64,
        /// How many bytes.
        bytes: u64,
    },
    /// Receive what comes, at least one byte.
    Receive {
        /// From where.
        socket: Descriptor,
        /// Where to.
        into: Pieces,
    },
    /// Send.
    Send {
        /// To where.
        socket: Descriptor,
        /// What.
        from: Pieces,
    },
    /// Accept one connection.
    Accept {
        /// The listening socket.
        socket: Descriptor,
    },
    /// Connect a socket.
    Connect {
        /// The socket.
        socket: Descriptor,
        /// To where.
        to: SocketAddr,
    },
    /// Wait until an event counter is not zero, and take it to zero.
    Await {
        /// The event counter.
        event: Descriptor,
    },
    /// Wait until the other end of a connection hangs up. Sees that also behind bytes that nobody reads.
    Watch {
        /// The connection.
        socket: Descriptor,
    },
}

impl Op {
    /// What it moves.
    pub(super) fn pieces(&self) -> Option<(&Pieces, Access)> {
        match self {
            Op::Read { into, .. } | Op::Receive { into, .. } => Some((into, Access::Change)),
            Op::Write { from, .. } | Op::Send { from, .. } => Some((from, Access::Look)),
            Op::Sync { .. }
            | Op::Punch { .. }
            | Op::Accept { .. }
            | Op::Connect { .. }
            | Op::Await { .. }
            | Op::Watch { .. } => None,
        }
    }

    /// Its memory, given back.
    #[must_use]
    pub fn into_pieces(self) -> Pieces {
        match self {
            Op::Read { into, .. } | Op::Receive { into, .. } => into,
            Op::Write { from, .. } | Op::Send { from, .. } => from,
            Op::Sync { .. }
            | Op::Punch { .. }
            | Op::Accept { .. }
            | Op::Connect { .. }
            | Op::Await { .. }
            | Op::Watch { .. } => Pieces::new(),
        }
    }
}

/// How an operation ended well.
#[derive(Debug)]
pub enum Outcome {
    /// So many bytes were moved; fewer than there were, perhaps none (the end of a file or stream).
    Moved(usize),
    /// A connection was accepted.
    Accepted(OwnedFd),
    /// The other end hung up.
    HungUp(HangUp),
}

/// The operating system's number of an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Errno(pub i32);

/// One operation that is over.
#[derive(Debug)]
pub struct Completion<T> {
    /// The name that it was given.
    pub token: T,
    /// The operation, with its memory.
    pub op: Op,
    /// How it ended.
    pub outcome: Result<Outcome, Errno>,
}

impl<T> Completion<T> {
    /// How many bytes were moved; what moves none counts as none.
    pub fn moved(&self) -> Result<usize, Errno> {
        match &self.outcome {
            Ok(Outcome::Moved(bytes)) => Ok(*bytes),
            Ok(Outcome::Accepted(_) | Outcome::HungUp(_)) => Ok(0),
            Err(errno) => Err(*errno),
        }
    }
}
