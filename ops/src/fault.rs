//! What an operator is told when something can't be done: what was found, what was expected, what to do.

use std::fmt;

/// Why the program ended, as a number for scripts and a word for people.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// Something that has no number of its own.
    Other,
    /// The configuration can't be used.
    Config,
    /// The disk at that path belongs to another replica of the volume.
    WrongDisk,
    /// The disk at that path belongs to another volume.
    OtherVolume,
    /// The disk is smaller than its own superblock says.
    Truncated,
    /// There is no superblock on the disk.
    NotFormatted,
    /// An address is taken.
    AddressInUse,
    /// The disk holds something that a command would destroy.
    Occupied,
    /// Another process uses the disk.
    DiskInUse,
    /// What is on the disk can't be read or contradicts itself.
    Damaged,
    /// No daemon answers.
    Unreachable,
    /// The daemon refused.
    Refused,
    /// The ledger and the volume disagree.
    LedgerBroken,
    /// A file or device can't be opened, read or written.
    Io,
    /// The replica ended without its clean mark.
    Unclean,
    /// There are no keys to prove with who the replica is, or they can't be used.
    Keys,
    /// What was given can be understood in more than one way, and they are not the same.
    Ambiguous,
}

impl Exit {
    /// The process's exit code; 2 is the command line parser's own.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Exit::Other => 1,
            Exit::Config => 3,
            Exit::WrongDisk => 4,
            Exit::OtherVolume => 5,
            Exit::Truncated => 6,
            Exit::NotFormatted => 7,
            Exit::AddressInUse => 8,
            Exit::Occupied => 9,
            Exit::DiskInUse => 10,
            Exit::Damaged => 11,
            Exit::Unreachable => 12,
            Exit::Refused => 13,
            Exit::LedgerBroken => 14,
            Exit::Io => 15,
            Exit::Unclean => 16,
            Exit::Keys => 17,
            Exit::Ambiguous => 18,
        }
    }

    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Exit::Other => "failed",
            Exit::Config => "config",
            Exit::WrongDisk => "wrong-disk",
            Exit::OtherVolume => "other-volume",
            Exit::Truncated => "truncated-disk",
            Exit::NotFormatted => "not-formatted",
            Exit::AddressInUse => "address-in-use",
            Exit::Occupied => "occupied",
            Exit::DiskInUse => "disk-in-use",
            Exit::Damaged => "damaged",
            Exit::Unreachable => "unreachable",
            Exit::Refused => "refused",
            Exit::LedgerBroken => "ledger-broken",
            Exit::Io => "io",
            Exit::Unclean => "unclean",
            Exit::Keys => "keys",
            Exit::Ambiguous => "ambiguous",
        }
    }
}

/// One refusal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// Which kind.
    pub exit: Exit,
    /// What can't be done, in one sentence.
    pub what: String,
    /// Lines of the file that is at fault, marked.
    pub snippet: Option<String>,
    /// What there is.
    pub found: Option<String>,
    /// What there should be.
    pub expected: Option<String>,
    /// The next step.
    pub next: Option<String>,
}

impl Fault {
    /// A refusal that says only what can't be done; the rest is added by the methods below.
    #[must_use]
    pub fn new(exit: Exit, what: impl Into<String>) -> Fault {
        Fault { exit, what: what.into(), snippet: None, found: None, expected: None, next: None }
    }

    /// A file or device that failed.
    #[must_use]
    pub fn io(doing: &str, path: &std::path::Path, error: &std::io::Error) -> Fault {
        Fault::new(Exit::Io, format!("can't {doing} {}", path.display())).found(error.to_string())
    }

    /// Say what there is.
    #[must_use]
    pub fn found(mut self, found: impl Into<String>) -> Fault {
        self.found = Some(found.into());
        self
    }

    /// Say what there should be.
    #[must_use]
    pub fn expected(mut self, expected: impl Into<String>) -> Fault {
        self.expected = Some(expected.into());
        self
    }

    /// Say what to do.
    #[must_use]
    pub fn next(mut self, next: impl Into<String>) -> Fault {
        self.next = Some(next.into());
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seawall: error[{}]: {}", self.exit.name(), self.what)?;
        if let Some(snippet) = &self.snippet {
            writeln!(f, "{snippet}")?;
        }
        let lines = [("found", &self.found), ("expected", &self.expected), ("do", &self.next)];
        for (name, text) in lines {
            if let Some(text) = text {
                writeln!(f, "  {:<10}{text}", format!("{name}:"))?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Fault {}
