//! A request in the transmission phase: taken apart, and judged before anything is allocated for it.

use seawall_wal::names::SECTOR_BYTES;

use super::super::catalog::ExportId;
use super::super::client::Work;
use super::super::limits::Limits;
use super::super::span::Span;
use super::wire::{self, Errno, REQUEST_BYTES, REQUEST_MAGIC, u16_at, u32_at, u64_at};

/// What was agreed in the handshake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Terms {
    pub(super) export: ExportId,
    /// Size of the export.
    pub(super) bytes: u64,
    pub(super) read_only: bool,
    /// Structured replies.
    pub(super) structured: bool,
    /// Whether the context `base:allocation` is selected.
    pub(super) allocation: bool,
}

/// What a request asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Command {
    Read,
    Write,
    Disconnect,
    Flush,
    Trim,
    Cache,
    WriteZeroes,
    BlockStatus,
}

impl Command {
    fn decode(code: u16) -> Option<Command> {
        Some(match code {
            wire::CMD_READ => Command::Read,
            wire::CMD_WRITE => Command::Write,
            wire::CMD_DISC => Command::Disconnect,
            wire::CMD_FLUSH => Command::Flush,
            wire::CMD_TRIM => Command::Trim,
            wire::CMD_CACHE => Command::Cache,
            wire::CMD_WRITE_ZEROES => Command::WriteZeroes,
            wire::CMD_BLOCK_STATUS => Command::BlockStatus,
            _ => return None,
        })
    }
}

/// A request's header (doc/proto.md, "Request message").
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Request {
    pub(super) flags: u16,
    /// `None`: unknown.
    pub(super) command: Option<Command>,
    pub(super) cookie: u64,
    pub(super) offset: u64,
    pub(super) bytes: u32,
}

/// What is to be done with a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// Do it.
    Work(Work),
    /// It is done already.
    Done,
    /// Drop `drain` bytes of payload, then refuse it.
    Refuse { errno: Errno, text: &'static str, drain: u32 },
    /// The client takes its leave.
    Leave,
    /// The stream makes no sense from here on, or would take too long to.
    Break,
}

impl Request {
    /// `None` if it does not begin with the magic number.
    pub(super) fn decode(bytes: &[u8]) -> Option<Request> {
        assert_eq!(bytes.len(), REQUEST_BYTES, "a whole header");
        (u32_at(bytes, 0) == REQUEST_MAGIC).then(|| Request {
            flags: u16_at(bytes, 4),
            command: Command::decode(u16_at(bytes, 6)),
            cookie: u64_at(bytes, 8),
            offset: u64_at(bytes, 16),
            bytes: u32_at(bytes, 24),
        })
    }

    /// Whether it takes leave.
    pub(super) fn leaves(&self) -> bool {
        self.command == Some(Command::Disconnect)
    }

    /// How many bytes of payload follow it.
    pub(super) fn payload_bytes(&self) -> u32 {
        // An unknown command has no payload that we could know of.
        if self.command == Some(Command::Write) { self.bytes } else { 0 }
    }

    /// Judge it. The first rule that it breaks decides.
    pub(super) fn judge(&self, terms: &Terms, limits: &Limits) -> Verdict {
        let Some(command) = self.command else {
            return Verdict::Refuse { errno: Errno::Invalid, text: "unknown command", drain: 0 };
        };
        if command == Command::Disconnect {
            return Verdict::Leave;
        }
        let drain = self.payload_bytes();
        if drain > limits.drain_bytes_max {
            return Verdict::Break;
        }
        match self.check(command, terms, limits) {
            Ok(()) => self.accept(command, limits),
            Err((errno, text)) => Verdict::Refuse { errno, text, drain },
        }
    }

    fn check(&self, command: Command, terms: &Terms, limits: &Limits) -> Result<(), Broken> {
        if self.flags & !legal_flags(command, terms) != 0 {
            return Err((
                Errno::Invalid,
                "a flag that this command does not have, or that was not negotiated",
            ));
        }
        self.check_length(command, terms, limits)?;
        self.check_range(command, terms)?;
        let changes = matches!(command, Command::Write | Command::Trim | Command::WriteZeroes);
        if terms.read_only && changes {
            return Err((Errno::Permission, "the export is read-only"));
        }
        Ok(())
    }

    fn check_length(&self, command: Command, terms: &Terms, limits: &Limits) -> Result<(), Broken> {
        match command {
            Command::Flush if self.offset != 0 || self.bytes != 0 => {
                Err((Errno::Invalid, "a flush has no range"))
            }
            Command::BlockStatus if !terms.allocation => {
                Err((Errno::Invalid, "no metadata context was negotiated"))
            }
            Command::BlockStatus if self.bytes == 0 => Err((Errno::Invalid, "a block status of nothing")),
            Command::Read | Command::Write if self.bytes > limits.request_bytes_max => {
                let unfragmented = self.flags & wire::CMD_FLAG_DF != 0;
                let errno = if unfragmented { Errno::Overflow } else { Errno::Invalid };
                Err((errno, "longer than the maximum block size"))
            }
            Command::Read
            | Command::Write
            | Command::Disconnect
            | Command::Flush
            | Command::Trim
            | Command::Cache
            | Command::WriteZeroes
            | Command::BlockStatus => Ok(()),
        }
    }

    fn check_range(&self, command: Command, terms: &Terms) -> Result<(), Broken> {
        if !self.bytes.is_multiple_of(SECTOR_BYTES) || !self.offset.is_multiple_of(u64::from(SECTOR_BYTES)) {
            return Err((Errno::Invalid, "not a multiple of the minimum block size"));
        }
        if self.offset > terms.bytes || u64::from(self.bytes) > terms.bytes - self.offset {
            let grows = matches!(command, Command::Write | Command::WriteZeroes);
            let errno = if grows { Errno::NoSpace } else { Errno::Invalid };
            return Err((errno, "past the end of the export"));
        }
        Ok(())
    }

    /// What to do for a request that broke no rule.
    fn accept(&self, command: Command, limits: &Limits) -> Verdict {
        let span = Span { offset: self.offset, bytes: self.bytes };
        let fua = self.flags & wire::CMD_FLAG_FUA != 0;
        Verdict::Work(match command {
            Command::Read => Work::Read(span),
            Command::Write => Work::Write { span, fua },
            // Zeroes are a change of metadata, so they are always fast, and the space of the volume is always
            // reserved: FAST_ZERO and NO_HOLE are kept without doing anything.
            Command::WriteZeroes => Work::WriteZeroes { span, fua },
            Command::Trim => Work::Trim { span, fua },
            Command::Flush => Work::Flush,
            Command::BlockStatus => {
                let one = self.flags & wire::CMD_FLAG_REQ_ONE != 0;
                Work::Status { span, runs_max: if one { 1 } else { limits.status_runs_max } }
            }
            // A hint, and there is no cache to fill: the operating system's is bypassed.
            Command::Cache => return Verdict::Done,
            Command::Disconnect => return Verdict::Leave,
        })
    }
}

/// What to answer to a request that broke a rule.
type Broken = (Errno, &'static str);

/// The flags that a command may carry. FUA may be on every one (doc/proto.md, "Command flags").
fn legal_flags(command: Command, terms: &Terms) -> u16 {
    let own = match command {
        Command::Read => {
            if terms.structured {
                wire::CMD_FLAG_DF
            } else {
                0
            }
        }
        Command::WriteZeroes => wire::CMD_FLAG_NO_HOLE | wire::CMD_FLAG_FAST_ZERO,
        Command::BlockStatus => wire::CMD_FLAG_REQ_ONE,
        Command::Write | Command::Disconnect | Command::Flush | Command::Trim | Command::Cache => 0,
    };
    own | wire::CMD_FLAG_FUA
}
