//! What an export's session machine asks of its driver.
//!
//! Rules that a driver keeps:
//!
//! * Actions are carried out in the order in which they were given, within one call and across calls.
//! * References: a [`Buf`] is one reference to its allocation, and every reference is given back exactly once.
//!   The machine hands references on with [`Action::Submit`] (to the core, which gives them back its own way) and
//!   with [`Action::Send`] (to the socket), and lets go of them with [`Action::Release`].
//! * After [`Action::Close`] or [`Action::CloseAfterSends`] the machine asks for nothing but `Release` (and, after
//!   the latter, `Close`, when the client does not take what waits for it). A `Payload`
//!   or `Buffers` that is not answered by then is void: the driver frees what it had allocated and need not answer
//!   (an answer is taken and released). What was submitted is still answered, until `Connection::is_idle`.

use seawall_engine::io::{Buf, Request};

use super::catalog::ExportId;

/// Names a client's request between `Buffers` and its answer. Reused when the request is over.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TaskId(pub u32);

/// Names a core request between `Submit` and its completion: unique within its connection while in flight. A
/// driver may make its `RequestId` of a connection number (high half) and this (low half).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PartId(pub u32);

/// A stretch of a payload, in a buffer of its own: never more than `REQUEST_BLOCKS_MAX` blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Piece {
    /// The volume block that the buffer's first block stands for.
    pub start: u64,
    /// Blocks of the buffer.
    pub blocks: u32,
    /// Byte of the buffer at which the payload begins: below 4096.
    pub skip: u32,
    /// Bytes of payload: `skip + bytes` fits, and reaches into the last block.
    pub bytes: u32,
}

/// A run of bytes to send.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Segment {
    /// These.
    Bytes(Vec<u8>),
    /// `bytes` bytes of a buffer, from byte `offset` of its first block on.
    Data {
        /// Where they are.
        buf: Buf,
        /// From which byte on.
        offset: u32,
        /// How many.
        bytes: u32,
    },
    /// So many zero bytes.
    Zeroes(u32),
}

impl Segment {
    /// How many bytes it puts on the wire.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        match self {
            Segment::Bytes(bytes) => bytes.len() as u64,
            Segment::Data { bytes, .. } | Segment::Zeroes(bytes) => u64::from(*bytes),
        }
    }
}

/// One thing that the driver is to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Send the segments, after everything that was given before. Tell the machine of every byte that left, by
    /// `on_sent`. When all have left, or the socket is gone, drop one reference of each buffer in `release`.
    Send {
        /// What to send; not empty.
        segments: Vec<Segment>,
        /// What to let go of afterwards.
        release: Vec<Buf>,
    },
    /// Receive a payload: the next bytes of the stream, beginning with those that `on_bytes` did not consume.
    /// Allocate a buffer for each piece (all or none: waiting for some while holding others would deadlock
    /// connections against each other), fill them one after the other, and when the whole payload is in, answer
    /// with `on_payload`. Until then give no bytes to `on_bytes`. At most one is under way per connection.
    Payload {
        /// In stream order.
        pieces: Vec<Piece>,
    },
    /// Allocate a buffer of each size (all or none, as above; wait for memory if need be) and answer with
    /// `on_buffers`.
    Buffers {
        /// Names this in the answer.
        task: TaskId,
        /// Sizes in blocks, each at most `REQUEST_BLOCKS_MAX`.
        blocks: Vec<u32>,
        /// Whether they must be filled with zeroes.
        zeroed: bool,
    },
    /// Take so many more references of an allocation.
    Retain {
        /// Which; one reference is held already.
        buf: Buf,
        /// How many more.
        times: u32,
    },
    /// Drop one reference.
    Release(Buf),
    /// Give the request to the core; answer with `on_completed`. Any buffer in it goes with one reference. With
    /// the completion of a `Read`, good or bad, the reference comes back to the machine.
    Submit {
        /// Names it in the answer.
        part: PartId,
        /// What.
        request: Request,
    },
    /// The client wants to use the export: answer with `on_attached`, at once or later (the machine bounds the
    /// wait). The place to hold a client through an election, and for the fence: before it grants, the driver
    /// waits until the closed connections of that export are idle, so that nothing sequenced by a connection that
    /// its client gave up lands after what the client writes next.
    Attach {
        /// Which.
        export: ExportId,
    },
    /// Stop reading; close when everything given by `Send` has left.
    CloseAfterSends,
    /// Close now, without sending what still waits.
    Close,
}

/// Where a step puts its actions.
#[derive(Debug, Default)]
pub struct Actions {
    /// What is to be done, in order.
    pub list: Vec<Action>,
}

impl Actions {
    /// Add one.
    pub fn push(&mut self, action: Action) {
        self.list.push(action);
    }
}
