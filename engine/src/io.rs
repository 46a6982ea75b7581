//! The door: what comes in, what goes out. Two enums are the whole seam between the machine and a driver.
//!
//! Rules that every driver keeps:
//!
//! * An outbox is carried out in any order, but references to every buffer named in it are taken before any of
//!   it is carried out: a `Release` in the same outbox as a `Send` does not free what is being sent.
//! * Every `Disk` and every `Keep` output is answered by exactly one `DiskDone` with the same [`OpId`], also when it fails.
//! * Payload bytes never pass: the machine moves [`Buf`] tokens and the checksums that the driver computed.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use bincode::{Decode, Encode};
use seawall_sender::frame::Frame;
use seawall_sender::greeting::Proven;
use seawall_wal::names::{Crc, Extent, Lsn, ReplicaId};
use seawall_wal::record::HEADER_BYTES;
use seawall_wal::scan::Scanned;

use crate::branch::Branch;
use crate::change::Change;
use crate::foretold::{Foretold, Wish};
use crate::maintenance::Maintain;
use crate::notice::Notice;

/// Names a disk operation between its `Disk` output and its `DiskDone` input. Never reused within a life.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct OpId(pub u64);

/// Names a connection to a peer. The machine names those it opens (even numbers), the driver those that it
/// accepts (odd numbers). Never reused within a life.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LinkId(pub u64);

/// Names a client request between `Request` and `Complete`; chosen by the driver, unique while in flight.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RequestId(pub u64);

/// Names an operator's command between `Command` and `Answer`; chosen by the driver.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CommandId(pub u64);

/// A token for `blocks` blocks of memory, `first` blocks into the driver's allocation `slot`.
///
/// A token that comes in by an input is one reference, which the machine gives back once: with
/// [`Output::Release`], or, for the buffer of a read request, with its [`Output::Complete`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Buf {
    /// Which allocation.
    pub slot: u32,
    /// First block within it.
    pub first: u32,
    /// How many blocks.
    pub blocks: u32,
}

impl Buf {
    /// The part of it that begins `first` blocks in and is `blocks` long. Names the same reference.
    #[must_use]
    pub fn part(self, first: u32, blocks: u32) -> Buf {
        assert!(first + blocks <= self.blocks, "a part lies within its buffer");
        Buf { slot: self.slot, first: self.first + first, blocks }
    }
}

/// A buffer that came in filled, with the checksum of each of its blocks as the driver computed them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Payload {
    /// The bytes.
    pub buf: Buf,
    /// One per block.
    pub crcs: Vec<Crc>,
}

/// When a client's connection was let in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LetIn {
    /// The newest attachment that the replica knew to be settled.
    pub newest: Lsn,
    /// The number of the next thing that the replica's forwarder keeps: what is asked for later has no lower one.
    pub at: u64,
}

/// One thing that happened.
#[derive(Debug)]
pub enum Input {
    /// A client wants something. Requests hold at most [`REQUEST_BLOCKS_MAX`] blocks of payload.
    Request {
        /// Its name.
        id: RequestId,
        /// What `Replica::attachment` said when the client's connection was let in.
        knows: LetIn,
        /// What it wants.
        request: Request,
    },
    /// A disk operation ended.
    DiskDone {
        /// Which one.
        op: OpId,
        /// How.
        result: Result<DiskDone, DiskError>,
    },
    /// A connection that the machine asked for is open.
    Connected {
        /// Which one.
        link: LinkId,
        /// Who is proven to have answered.
        proven: Proven,
    },
    /// A peer connected to us; it has yet to say who it is.
    Accepted {
        /// Its name.
        link: LinkId,
        /// Who is proven to have come.
        proven: Proven,
    },
    /// A whole frame came.
    Received {
        /// From where.
        link: LinkId,
        /// Its header and meta part, not yet judged beyond their lengths.
        frame: Frame,
        /// Its payload part, if it has one.
        payload: Option<Payload>,
    },
    /// A connection is gone (refused, reset, closed, malformed beyond framing); its name is dead. Comes exactly
    /// once for every link that the machine did not itself disconnect.
    Lost {
        /// Which one.
        link: LinkId,
    },
    /// The operator wants something.
    Command {
        /// Its name.
        id: CommandId,
        /// What.
        command: Command,
    },
    /// The deadline passed.
    Tick,
}

/// The most blocks of payload in one request: 256 KiB. Drivers split what is larger at multiples of it.
pub const REQUEST_BLOCKS_MAX: u32 = 64;

/// What a client wants. Ranges are checked against the volume's size by the export before they come here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request {
    /// Fill `buf` with the newest completed bytes of `extent`.
    Read {
        /// The blocks; at most [`REQUEST_BLOCKS_MAX`].
        extent: Extent,
        /// Where to; `extent.blocks` long. Goes back with the completion.
        buf: Buf,
    },
    /// Store whole blocks.
    Write {
        /// The blocks; at most [`REQUEST_BLOCKS_MAX`].
        extent: Extent,
        /// Their new bytes and checksums.
        payload: Payload,
        /// Durable on the quorum before it completes, in every ack mode.
        fua: bool,
    },
    /// Store some sectors of one block; the rest of the block keeps its newest bytes.
    WritePart {
        /// The block.
        block: u64,
        /// First sector within the block, 0 to 7.
        first_sector: u8,
        /// How many sectors, 1 to 7.
        sectors: u8,
        /// One block; only the named sectors of it are filled.
        buf: Buf,
        /// As for `Write`.
        fua: bool,
    },
    /// Make blocks read as zeroes. Any length.
    WriteZeroes {
        /// The blocks.
        extent: Extent,
        /// As for `Write`.
        fua: bool,
    },
    /// The client no longer needs these blocks; they read as zeroes from its completion on. Any length.
    Trim {
        /// The blocks.
        extent: Extent,
        /// As for `Write`.
        fua: bool,
    },
    /// Everything that completed before this came is durable on the quorum when it completes.
    Flush,
    /// Which parts of `extent` are holes.
    Status {
        /// The blocks. Any length.
        extent: Extent,
        /// Runs to report at the most.
        runs_max: u32,
    },
}

impl Request {
    /// The buffer that came with what it writes: the replica's until it releases it. That of a read is the client's,
    /// and goes back with the completion.
    pub(crate) fn brought(&self) -> Option<Buf> {
        match self {
            Request::Write { payload, .. } => Some(payload.buf),
            Request::WritePart { buf, .. } => Some(*buf),
            Request::Read { .. }
            | Request::WriteZeroes { .. }
            | Request::Trim { .. }
            | Request::Flush
            | Request::Status { .. } => None,
        }
    }
}

/// How a request ended well.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Done {
    /// The buffer is filled, but for the blocks whose bit is set here (bit 0 is the first block): those are
    /// zeroes, and their part of the buffer holds anything.
    Read {
        /// Bit per block.
        holes: u64,
    },
    /// A write, write-zeroes or trim is as durable as was asked.
    Written,
    /// A flush is done.
    Flushed,
    /// Runs from the start of the extent: length in blocks, and whether it is a hole. May cover less.
    Status(Vec<(u64, bool)>),
}

/// Why a request was refused. Nothing of it was applied, except where said. Variants are only ever added at the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub enum Refusal {
    /// This replica takes no part yet. Close the connection: a client retries a closed one.
    NotPrimary,
    /// No commit quorum, or no primary, in time. The write may still take effect later, but not after a later write of
    /// the same client.
    NoQuorum,
    /// Bytes could not be read or did not match their checksum.
    Unreadable,
    /// The local log or home area failed; the replica serves no more. The write may have taken effect.
    Faulted,
    /// The replica is shutting down. The write may have taken effect.
    ShuttingDown,
    /// Clients attached through another replica since this client came: what it wrote and was not answered may have
    /// taken effect before they came, and never does later. Close the connection: the client may come again.
    Superseded,
    /// The write was handed on before the primary was lost, and the log no longer tells whether it took effect. It is
    /// not written again, and never takes effect later.
    InDoubt,
}

/// What an operator wants of a running replica.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// Become primary.
    Promote {
        /// Whether to do so by promises at once, without asking the present primary to hand over first: for one that
        /// answers and does not work.
        take_over: bool,
    },
    /// Become primary without a majority, by an operator's word: only ask what that would mean, or do it.
    Force(Wish),
    /// Hand over to that replica, or to any that is in sync.
    HandOver {
        /// To whom.
        to: Option<ReplicaId>,
    },
    /// Change the membership.
    Change(Change),
    /// Begin or end the maintenance of a replica.
    Maintain(Maintain),
    /// Stop admitting, finish what is in flight, checkpoint, write the clean mark.
    Drain,
    /// A digest of the volume's bytes at the next LSN at which all in-sync replicas can be compared.
    Digest,
}

/// How a command ended: text for the operator in both cases.
pub type Answer = Result<Answered, String>;

/// A command's good end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answered {
    /// Primary in this epoch (shown form).
    Promoted(String),
    /// What a forced promotion would mean.
    Foretold(Box<Foretold>),
    /// The lease was handed back; that replica asks for promises now.
    HandedOver(ReplicaId),
    /// The configuration of that number is settled.
    Configured(u64),
    /// The lease is settled.
    Maintained {
        /// What it means that the operator may not have meant, for people.
        warnings: Vec<String>,
    },
    /// Nothing is in flight, all is home, the clean mark is durable: the process may end.
    Drained,
    /// Digests at one LSN: of this replica, and of each in-sync peer that answered.
    Digest {
        /// Where.
        at: Lsn,
        /// Who and what.
        digests: Vec<(ReplicaId, u128)>,
    },
}

/// Which area of the device an operation is on. Offsets are bytes from the area's start.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Area {
    /// The two superblock slots.
    Super,
    /// The log ring.
    Log,
    /// The checksum table.
    Table,
    /// The volume's bytes.
    Home,
}

/// One contiguous piece of a read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReadPiece {
    /// `Log` or `Home`.
    pub area: Area,
    /// Byte offset within the area, a multiple of 512.
    pub offset: u64,
    /// How many blocks.
    pub blocks: u32,
    /// Where in the buffer, in blocks.
    pub at: u32,
}

/// One record of an append: its header as it stands on disk, and its body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AppendPart {
    /// The encoded header; the driver pads it with zeroes to the log's unit.
    pub header: Box<[u8; HEADER_BYTES]>,
    /// The body's blocks, if the kind has one.
    pub body: Option<Buf>,
}

/// What a disk shall do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DiskOp {
    /// Read metadata (superblock slots, table pages).
    ReadMeta {
        /// `Super` or `Table`.
        area: Area,
        /// Byte offset, a multiple of 4096.
        offset: u64,
        /// Bytes, a multiple of 4096.
        bytes: u32,
    },
    /// Write metadata.
    WriteMeta {
        /// `Super` or `Table`.
        area: Area,
        /// Byte offset, a multiple of 4096.
        offset: u64,
        /// A multiple of 4096 long.
        bytes: Vec<u8>,
        /// On stable storage when it is done (as by RWF_DSYNC).
        durable: bool,
    },
    /// Read the log from `offset` on and report what looks like records (`seawall_wal::scan`).
    Scan {
        /// Byte offset in the log.
        offset: u64,
        /// Bytes to read; at most 4 MiB, not past the end of the ring.
        bytes: u32,
    },
    /// Append records to the log in one write. Never wraps.
    Append {
        /// Byte offset in the log.
        offset: u64,
        /// The records, back to back.
        parts: Vec<AppendPart>,
        /// On stable storage when it is done.
        durable: bool,
    },
    /// Gather blocks into one buffer.
    Read {
        /// What to read, and where to put it.
        pieces: Vec<ReadPiece>,
        /// The buffer; with `None` the driver supplies one of `blocks` blocks, when it has one.
        into: Option<Buf>,
        /// Its size.
        blocks: u32,
    },
    /// Write blocks to the home area, not yet durable.
    WriteHome {
        /// Where.
        extent: Extent,
        /// From what; `extent.blocks` long.
        from: Buf,
    },
    /// Give the space of home blocks back, best effort: their bytes are never read again before they are written.
    Discard {
        /// Which.
        extent: Extent,
    },
    /// Make everything on the area that was done before durable.
    Flush {
        /// `Log`, or `Home` (which covers `Super` and `Table` too).
        area: Area,
    },
    /// Copy blocks from one buffer to another of the same length.
    Copy {
        /// From here.
        from: Buf,
        /// To here.
        to: Buf,
    },
    /// Copy all but the named sectors of one block from `base` to `over`: `over` becomes the merged block.
    Merge {
        /// One block: the older bytes.
        base: Buf,
        /// One block: the newer bytes in the named sectors. With no base (`None`), the rest becomes zeroes.
        over: Buf,
        /// First sector that `over` holds.
        first_sector: u8,
        /// How many sectors it holds.
        sectors: u8,
        /// Whether `base` is all zeroes and its buffer is not to be looked at.
        zero_base: bool,
    },
}

/// How a disk operation ended well.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DiskDone {
    /// Metadata as read.
    Meta(Vec<u8>),
    /// What a scan saw.
    Scanned(Scanned),
    /// The blocks of a read, in buffer order (zero for blocks that no piece named). When the driver supplied the
    /// buffer, this hands its reference over.
    Read {
        /// The buffer that was read into.
        buf: Buf,
        /// One per block of it.
        crcs: Vec<Crc>,
    },
    /// The checksum of the merged block.
    Merged(Crc),
    /// An append, write, discard, flush or copy is done.
    Done,
}

/// How a disk operation failed. The world's fault, not the machine's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DiskError {
    /// The operating system's number (5 is EIO, 28 is ENOSPC). A read or write that came up short for good is 5.
    pub errno: i32,
}

/// One thing to do. The outputs of one step are independent of each other.
#[derive(Debug)]
pub enum Output {
    /// A disk operation.
    Disk {
        /// Its name.
        op: OpId,
        /// What.
        what: DiskOp,
    },
    /// Copy a part of the log to a place of its own, on stable storage, where people find it: it is about to be void.
    /// Answered by `DiskDone` with [`DiskDone::Done`], or with the error that there is no place for it.
    Keep {
        /// Its name.
        op: OpId,
        /// What.
        branch: Box<Branch>,
    },
    /// Open a connection. Answered by `Connected` or `Lost`.
    Connect {
        /// Its name from now on.
        link: LinkId,
        /// To whom.
        to: ReplicaId,
        /// Where: host and port.
        address: String,
    },
    /// Send a frame. Frames of one link leave in the order in which they were given, across steps and within one.
    Send {
        /// On which connection.
        link: LinkId,
        /// Header and meta part, encoded.
        head: Vec<u8>,
        /// The payload part.
        payload: Option<Buf>,
    },
    /// Close a connection now; nothing more comes from it, not even `Lost`.
    Disconnect {
        /// Which one.
        link: LinkId,
    },
    /// A request ended.
    Complete {
        /// Which one.
        id: RequestId,
        /// How.
        result: Result<Done, Refusal>,
    },
    /// Give a buffer's reference back.
    Release(Buf),
    /// A command ended.
    Answer {
        /// Which one.
        id: CommandId,
        /// How.
        answer: Answer,
    },
    /// Something worth telling: log line, counter and coverage mark at once.
    Notice(Notice),
}

/// Where a step puts its outputs.
#[derive(Debug, Default)]
pub struct Outbox {
    /// What is to be done.
    pub outputs: Vec<Output>,
}

impl Outbox {
    /// Add one.
    pub fn push(&mut self, output: Output) {
        self.outputs.push(output);
    }
}
