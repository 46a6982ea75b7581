//! What was written and what was answered, per sector, and what may therefore be read.
//!
//! At most one write of a sector is under way at a time, so its writes have an order. A completed write must be
//! read until a newer one takes its place. A write in doubt (its connection ended before the answer, or the
//! answer was an error) may be read or not; but once a newer write has completed, or has been read, an older one
//! in doubt must never be read again.
//!
//! The ledger is also kept as lines of text in a file, appended before each write is sent and after each answer,
//! so that it outlives the process that keeps it: `w VERSION FIRST COUNT` and `z VERSION FIRST COUNT` (a write of
//! stamps or zeroes begins), `d VERSION` (it completed), `s VERSION FIRST COUNT` (a read settled that this write in
//! doubt did take effect). A write without a `d` line is in doubt.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;

use super::stamp::{self, Content, SECTOR_BYTES};

/// What every sector held before the first write: anything but a stamp of this ledger.
const BEFORE: u64 = 0;

/// A write of the ledger, in the order in which they were issued. The first is 1.
pub type Version = u64;

/// What a write leaves behind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Leaves {
    /// Stamped sectors.
    Stamps,
    /// Zeroes.
    Zeroes,
}

/// Sectors that are not what they must be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Violation {
    /// A completed write is not there: an older one is.
    WentBack {
        /// Where.
        sector: u64,
        /// The newest write that completed or was read.
        expected: Version,
        /// What is there; zero for what was before all writes.
        found: Version,
    },
    /// A write in doubt took effect after a newer one had completed or been read.
    CameBack {
        /// Where.
        sector: u64,
        /// The newest write that completed or was read.
        expected: Version,
        /// The write that came back.
        found: Version,
    },
    /// Zeroes, where no write that may be there left any.
    Vanished {
        /// Where.
        sector: u64,
        /// The newest write that completed or was read.
        expected: Version,
    },
    /// A write that was never issued for this sector.
    NeverWritten {
        /// Where.
        sector: u64,
        /// The write that it claims to be.
        found: Version,
    },
    /// A sector that belongs elsewhere.
    Misplaced {
        /// Where it was found.
        sector: u64,
        /// Where it belongs.
        belongs: u64,
    },
    /// Half a write.
    Torn {
        /// Where.
        sector: u64,
        /// The write that its beginning claims to be.
        claims: Version,
    },
    /// Bytes that nobody wrote.
    Foreign {
        /// Where.
        sector: u64,
        /// The newest write that completed or was read.
        expected: Version,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Violation::WentBack { sector, expected, found } => {
                write!(f, "sector {sector}: completed write {expected} is not there, older write {found} is")
            }
            Violation::CameBack { sector, expected, found } => {
                write!(
                    f,
                    "sector {sector}: write {found}, which was in doubt, came back after newer write {expected}"
                )
            }
            Violation::Vanished { sector, expected } => {
                write!(f, "sector {sector}: zeroes where write {expected} must be")
            }
            Violation::NeverWritten { sector, found } => {
                write!(f, "sector {sector}: holds write {found}, which was never issued for it")
            }
            Violation::Misplaced { sector, belongs } => {
                write!(f, "sector {sector}: holds what was written to sector {belongs}")
            }
            Violation::Torn { sector, claims } => {
                write!(f, "sector {sector}: begins as write {claims} and goes on as something else")
            }
            Violation::Foreign { sector, expected } => {
                write!(f, "sector {sector}: bytes that nobody wrote, where write {expected} must be")
            }
        }
    }
}

/// One sector's past.
#[derive(Clone, Default, Debug)]
struct History {
    /// The newest write that completed or was read.
    newest: Version,
    /// What that one left.
    zero: bool,
    /// Writes in doubt, with what they leave; older ones than `newest` are lost for good.
    doubts: Vec<(Version, bool)>,
}

#[derive(Clone, Copy, Debug)]
struct Issued {
    leaves: Leaves,
    first: usize,
    count: usize,
}

/// The book.
#[derive(Debug)]
pub struct Ledger {
    run: u64,
    sectors: Vec<History>,
    open: BTreeMap<Version, Issued>,
    last: Version,
    file: Option<File>,
}

impl Ledger {
    /// An empty ledger of `sectors` sectors that lives in memory. `run` is stamped into every sector.
    #[must_use]
    pub fn new(run: u64, sectors: usize) -> Ledger {
        let sectors = vec![History::default(); sectors];
        Ledger { run, sectors, open: BTreeMap::new(), last: BEFORE, file: None }
    }

    /// The ledger of that file; an empty one of `sectors` sectors if there is none.
    ///
    /// # Errors
    /// If the file can't be read or written, or a line of it means nothing (kind `InvalidData`).
    pub fn open(path: &Path, run: u64, sectors: usize) -> io::Result<Ledger> {
        let mut ledger = match File::open(path) {
            Ok(file) => Ledger::read(BufReader::new(file))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                std::fs::write(path, format!("seawall-ledger 1 {run} {sectors}\n"))?;
                Ledger::new(run, sectors)
            }
            Err(error) => return Err(error),
        };
        ledger.file = Some(OpenOptions::new().append(true).open(path)?);
        Ok(ledger)
    }

    fn read(mut lines: impl BufRead) -> io::Result<Ledger> {
        let bad =
            |line: &str| io::Error::new(io::ErrorKind::InvalidData, format!("not a ledger's line: {line:?}"));
        let mut line = String::new();
        lines.read_line(&mut line)?;
        let mut ledger = match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["seawall-ledger", "1", run, sectors] => {
                Ledger::new(run.parse().map_err(|_| bad(&line))?, sectors.parse().map_err(|_| bad(&line))?)
            }
            _ => return Err(bad(&line)),
        };
        loop {
            line.clear();
            // A last line without its end was being written when the keeper died, before its request was sent.
            if lines.read_line(&mut line)? == 0 || !line.ends_with('\n') {
                break;
            }
            ledger.replay(&line).ok_or_else(|| bad(&line))?;
        }
        let open: Vec<Version> = ledger.open.keys().copied().collect();
        for version in open {
            ledger.doubt(version);
        }
        Ok(ledger)
    }

    fn replay(&mut self, line: &str) -> Option<()> {
        let mut words = line.split_whitespace();
        let kind = words.next()?;
        let version: Version = words.next()?.parse().ok()?;
        if kind == "d" {
            self.open.contains_key(&version).then(|| self.complete(version))?;
            return Some(());
        }
        let first: usize = words.next()?.parse().ok()?;
        let count: usize = words.next()?.parse().ok()?;
        if first.checked_add(count)? > self.sectors.len() {
            return None;
        }
        match kind {
            "w" | "z" => {
                let leaves = if kind == "w" { Leaves::Stamps } else { Leaves::Zeroes };
                self.open.insert(version, Issued { leaves, first, count });
                self.last = self.last.max(version);
            }
            "s" => {
                // Whoever read it knew it as a write in doubt; here it may still be open.
                if self.open.contains_key(&version) {
                    self.doubt(version);
                }
                for sector in first..first + count {
                    let history = &mut self.sectors[sector];
                    let zero = history.doubts.iter().find(|(doubt, _)| *doubt == version)?.1;
                    history.settle(version, zero);
                }
            }
            _ => return None,
        }
        Some(())
    }

    /// How many sectors it covers.
    #[must_use]
    pub fn sectors(&self) -> usize {
        self.sectors.len()
    }

    /// A write begins: its number, which goes into its stamps.
    ///
    /// # Errors
    /// If the ledger's file can't be written; then the request must not be sent.
    pub fn issue(&mut self, leaves: Leaves, first: usize, count: usize) -> io::Result<Version> {
        let version = self.last + 1;
        let letter = match leaves {
            Leaves::Stamps => 'w',
            Leaves::Zeroes => 'z',
        };
        self.note(format_args!("{letter} {version} {first} {count}\n"))?;
        self.last = version;
        self.open.insert(version, Issued { leaves, first, count });
        Ok(version)
    }

    /// The bytes of a write of stamps.
    #[must_use]
    pub fn payload(&self, version: Version, first: usize, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count * SECTOR_BYTES];
        stamp::fill(&mut bytes, self.run, first as u64, version);
        bytes
    }

    /// It was answered well.
    ///
    /// # Errors
    /// If the ledger's file can't be written.
    ///
    /// # Panics
    /// If it is not under way: the caller's mistake.
    pub fn on_completed(&mut self, version: Version) -> io::Result<()> {
        self.complete(version);
        self.note(format_args!("d {version}\n"))
    }

    fn complete(&mut self, version: Version) {
        let issued = self.open.remove(&version).expect("a write completes once");
        for history in &mut self.sectors[issued.first..issued.first + issued.count] {
            history.settle(version, issued.leaves == Leaves::Zeroes);
        }
    }

    /// It will not be answered, or was answered with an error: nobody knows whether it takes effect.
    ///
    /// # Panics
    /// If it is not under way: the caller's mistake.
    pub fn doubt(&mut self, version: Version) {
        let issued = self.open.remove(&version).expect("a write ends once");
        for history in &mut self.sectors[issued.first..issued.first + issued.count] {
            history.doubts.push((version, issued.leaves == Leaves::Zeroes));
        }
    }

    /// Judge sectors that were read while no write of them was under way.
    ///
    /// # Panics
    /// If they reach past the ledger: the caller's mistake.
    pub fn judge(&mut self, first: usize, bytes: &[u8]) -> Vec<Violation> {
        let mut violations = Vec::new();
        let mut settled: Vec<(Version, usize)> = Vec::new();
        for (at, bytes) in (first..).zip(bytes.chunks_exact(SECTOR_BYTES)) {
            let history = &mut self.sectors[at];
            match history.judge(stamp::read(bytes, self.run, at as u64), at as u64) {
                Ok(Some(version)) => settled.push((version, at)),
                Ok(None) => {}
                Err(violation) => violations.push(violation),
            }
        }
        for (version, at) in settled {
            if let Err(error) = self.note(format_args!("s {version} {at} 1\n")) {
                // Without this line a later process judges less strictly, never wrongly.
                eprintln!("seawall: the ledger's file can't be written: {error}");
            }
        }
        violations
    }

    fn note(&mut self, line: fmt::Arguments<'_>) -> io::Result<()> {
        match &mut self.file {
            // One system call per line: what is written survives this process.
            Some(file) => file.write_all(line.to_string().as_bytes()),
            None => Ok(()),
        }
    }
}

impl History {
    fn settle(&mut self, version: Version, zero: bool) {
        self.newest = version;
        self.zero = zero;
        self.doubts.retain(|(doubt, _)| *doubt != version);
    }

    /// What was read, if it is permitted; `Some` if it settles a write in doubt.
    fn judge(&mut self, content: Content, sector: u64) -> Result<Option<Version>, Violation> {
        let expected = self.newest;
        match content {
            Content::Version(found) => self.judge_version(found, sector),
            Content::Zero if expected == BEFORE || self.zero => Ok(None),
            Content::Zero => {
                let left = self.doubts.iter().find(|(doubt, zero)| *zero && *doubt > expected);
                let (version, zero) = *left.ok_or(Violation::Vanished { sector, expected })?;
                self.settle(version, zero);
                Ok(Some(version))
            }
            Content::Foreign if expected == BEFORE => Ok(None),
            Content::Foreign => Err(Violation::Foreign { sector, expected }),
            Content::Misplaced { belongs } => Err(Violation::Misplaced { sector, belongs }),
            Content::Torn { claims } => Err(Violation::Torn { sector, claims }),
        }
    }

    fn judge_version(&mut self, found: Version, sector: u64) -> Result<Option<Version>, Violation> {
        let expected = self.newest;
        if found == expected && !self.zero {
            return Ok(None);
        }
        match self.doubts.iter().find(|(doubt, zero)| *doubt == found && !zero) {
            Some(_) if found > expected => {
                self.settle(found, false);
                Ok(Some(found))
            }
            Some(_) => Err(Violation::CameBack { sector, expected, found }),
            None if found < expected => Err(Violation::WentBack { sector, expected, found }),
            None => Err(Violation::NeverWritten { sector, found }),
        }
    }
}

#[cfg(test)]
mod tests;
