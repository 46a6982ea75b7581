//! What was written and what was answered, per sector, and what may therefore be read.
//!
//! Each sector is a register of its own (`register.rs`): writes and reads of it may overlap, on one connection or on
//! several. A completed write must be read until a newer one takes its place. A write in doubt (its connection ended
//! before the answer, or the answer was an error) may be read or not; but once a write that began after that has
//! taken effect, it must never be read again.
//!
//! The ledger is also kept as lines of text in a file (`journal.rs`), appended before each write is sent and after
//! each answer, so that it outlives the process that keeps it. A write without a line about its end is in doubt.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use super::journal::{Entry, Journal};
use super::register::{Judgement, Register, Seen, Shown, Tick, Unexplained, Write};
use super::stamp::{self, Content, Mark, SECTOR_BYTES};
use super::violation::{Expected, Kind, Violation};

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

/// A read under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reading {
    begin: Tick,
    first: usize,
    count: usize,
}

/// The book.
#[derive(Debug)]
pub struct Ledger {
    run: u64,
    sectors: Vec<Register>,
    open: BTreeMap<Version, (Tick, Arc<Write>)>,
    /// Writes that were in doubt at some time, to tell what came back.
    doubted: BTreeSet<Version>,
    clock: Tick,
    last: Version,
    overlaps: u64,
    journal: Option<Journal>,
}

impl Ledger {
    /// An empty ledger of `sectors` sectors that lives in memory. `run` is stamped into every sector.
    #[must_use]
    pub fn new(run: u64, sectors: usize) -> Ledger {
        let mut registers = Vec::new();
        registers.resize_with(sectors, Register::default);
        Ledger {
            run,
            sectors: registers,
            open: BTreeMap::new(),
            doubted: BTreeSet::new(),
            clock: 0,
            last: 0,
            overlaps: 0,
            journal: None,
        }
    }

    /// The ledger of that file; an empty one of `sectors` sectors if there is none. A last line without its end was
    /// being written when the keeper died, before its request was sent: it is taken away.
    ///
    /// # Errors
    /// If the file can't be read or written, another process uses it (kind `ResourceBusy`), or a line of it means
    /// nothing (kind `InvalidData`, with the line's number).
    pub fn open(path: &Path, run: u64, sectors: usize) -> io::Result<Ledger> {
        let (journal, entries) = Journal::open(path, run, sectors)?;
        let mut ledger = Ledger::new(journal.run, journal.sectors);
        for (number, entry) in (2..).zip(entries) {
            ledger
                .replay(&entry)
                .ok_or_else(|| Journal::senseless(number, "it contradicts those before it"))?;
        }
        ledger.journal = Some(journal);
        // What was under way when its keeper ended is in doubt.
        for version in ledger.open.keys().copied().collect::<Vec<_>>() {
            ledger.note(&Entry::Doubt { version })?;
            ledger.end_doubted(version);
        }
        Ok(ledger)
    }

    fn replay(&mut self, entry: &Entry) -> Option<()> {
        match *entry {
            Entry::Sent { leaves, mark, first, count } => {
                if mark.version <= self.last || first.checked_add(count)? > self.sectors.len() {
                    return None;
                }
                self.begin(leaves, mark, first, count);
            }
            Entry::Done { version, at_ms } => {
                let (_, write) = self.open.get(&version)?;
                write.answered_ms.store(at_ms, Ordering::Relaxed);
                self.end(version, true);
            }
            Entry::Doubt { version } => {
                self.open.contains_key(&version).then_some(())?;
                self.end_doubted(version);
            }
            Entry::Seen { version, sector } => {
                let shown = if version == 0 { Shown::Zero } else { Shown::Stamp(version) };
                let (begin, end) = (self.tick(), self.tick());
                let register = self.sectors.get_mut(sector).filter(|register| register.is_quiet())?;
                register.begin_read(begin);
                register
                    .end_read(begin, end, Some(Seen { shown, mark: None }))
                    .unexplained
                    .is_empty()
                    .then_some(())?;
            }
        }
        Some(())
    }

    /// How many sectors it covers.
    #[must_use]
    pub fn sectors(&self) -> usize {
        self.sectors.len()
    }

    /// How often a write and something else of the same sector were under way together.
    #[must_use]
    pub fn overlaps(&self) -> u64 {
        self.overlaps
    }

    /// Whether the load may begin something more there, or leaves these sectors alone for a while.
    #[must_use]
    pub fn has_room(&self, first: usize, count: usize) -> bool {
        self.sectors[first..first + count].iter().all(Register::has_room)
    }

    /// A write by that connection begins: its number, which goes into its stamps.
    ///
    /// # Errors
    /// If the ledger's file can't be written; then the request must not be sent.
    pub fn issue(&mut self, leaves: Leaves, first: usize, count: usize, by: u32) -> io::Result<Version> {
        let mark = Mark { version: self.last + 1, by, sent_ms: millis() };
        self.note(&Entry::Sent { leaves, mark, first, count })?;
        self.begin(leaves, mark, first, count);
        Ok(mark.version)
    }

    fn begin(&mut self, leaves: Leaves, mark: Mark, first: usize, count: usize) {
        let Mark { version, by, sent_ms } = mark;
        let answered_ms = AtomicU64::new(0);
        let write = Arc::new(Write { version, leaves, first, count, by, sent_ms, answered_ms });
        let begin = self.tick();
        for register in &mut self.sectors[first..first + count] {
            register.begin_write(&write, begin);
        }
        self.last = version;
        self.open.insert(version, (begin, write));
    }

    /// The bytes of a write of stamps that is under way.
    ///
    /// # Panics
    /// If it is not under way: the caller's mistake.
    #[must_use]
    pub fn payload(&self, version: Version) -> Vec<u8> {
        let (_, write) = &self.open[&version];
        let mut bytes = vec![0; write.count * SECTOR_BYTES];
        stamp::fill(&mut bytes, self.run, write.first as u64, write.mark());
        bytes
    }

    /// It was answered well. Returns what this makes certain to be wrong.
    ///
    /// # Errors
    /// If the ledger's file can't be written.
    ///
    /// # Panics
    /// If it is not under way: the caller's mistake.
    pub fn on_completed(&mut self, version: Version) -> io::Result<Vec<Violation>> {
        let at_ms = millis();
        self.open[&version].1.answered_ms.store(at_ms, Ordering::Relaxed);
        let violations = self.end(version, true);
        self.note(&Entry::Done { version, at_ms })?;
        Ok(violations)
    }

    /// It will not be answered, or was answered with an error: nobody knows whether it takes effect.
    ///
    /// # Panics
    /// If it is not under way: the caller's mistake.
    pub fn doubt(&mut self, version: Version) -> Vec<Violation> {
        // Without this line a later process judges less strictly, never wrongly.
        self.try_note(&Entry::Doubt { version });
        self.end_doubted(version)
    }

    fn end_doubted(&mut self, version: Version) -> Vec<Violation> {
        self.doubted.insert(version);
        self.end(version, false)
    }

    fn end(&mut self, version: Version, sure: bool) -> Vec<Violation> {
        let (begin, write) = self.open.remove(&version).expect("a write ends once");
        let end = self.tick();
        let mut violations = Vec::new();
        for sector in write.first..write.first + write.count {
            let judgement = self.sectors[sector].end_write(begin, end, sure);
            self.hear(sector, judgement, &mut violations);
        }
        violations
    }

    /// A read begins.
    pub fn begin_read(&mut self, first: usize, count: usize) -> Reading {
        let begin = self.tick();
        for register in &mut self.sectors[first..first + count] {
            register.begin_read(begin);
        }
        Reading { begin, first, count }
    }

    /// A read was answered with these bytes. Returns what this makes certain to be wrong: what overlapped with a
    /// write is judged when that one has ended.
    ///
    /// # Panics
    /// If it has ended already: the caller's mistake.
    pub fn on_read(&mut self, reading: Reading, bytes: &[u8]) -> Vec<Violation> {
        let end = self.tick();
        let mut violations = Vec::new();
        for (sector, bytes) in (reading.first..).zip(bytes.chunks_exact(SECTOR_BYTES)) {
            let seen = match stamp::read(bytes, self.run, sector as u64) {
                Content::Stamp(mark) => Ok(Seen { shown: Shown::Stamp(mark.version), mark: Some(mark) }),
                Content::Zero => Ok(Seen { shown: Shown::Zero, mark: None }),
                Content::Foreign => Ok(Seen { shown: Shown::Before, mark: None }),
                Content::Misplaced { belongs, mark } => Err((Kind::Misplaced { belongs }, mark)),
                Content::Torn { claims } => Err((Kind::Torn, claims)),
            };
            if let Err((kind, mark)) = seen {
                let sector = sector as u64;
                violations.push(Violation { sector, kind, found: Some(mark), expected: Vec::new() });
            }
            let judgement = self.sectors[sector].end_read(reading.begin, end, seen.ok());
            if let Some(shown) = judgement.narrowed {
                let version = if let Shown::Stamp(version) = shown { version } else { 0 };
                // As with a doubt: a later process knows less.
                self.try_note(&Entry::Seen { version, sector });
            }
            self.hear(sector, judgement, &mut violations);
        }
        violations
    }

    /// A read will not be answered, or was answered with an error.
    ///
    /// # Panics
    /// If it has ended already: the caller's mistake.
    pub fn drop_read(&mut self, reading: Reading) -> Vec<Violation> {
        let end = self.tick();
        let mut violations = Vec::new();
        for sector in reading.first..reading.first + reading.count {
            let judgement = self.sectors[sector].end_read(reading.begin, end, None);
            self.hear(sector, judgement, &mut violations);
        }
        violations
    }

    /// Judge sectors that are read at once.
    pub fn judge(&mut self, first: usize, bytes: &[u8]) -> Vec<Violation> {
        let reading = self.begin_read(first, bytes.len() / SECTOR_BYTES);
        self.on_read(reading, bytes)
    }

    fn hear(&mut self, sector: usize, judgement: Judgement, violations: &mut Vec<Violation>) {
        self.overlaps += u64::from(judgement.overlapped);
        violations.extend(judgement.unexplained.into_iter().map(|one| self.violation(sector, &one)));
    }

    fn violation(&self, sector: usize, unexplained: &Unexplained) -> Violation {
        let kind = match unexplained.read.shown {
            Shown::Before => Kind::Foreign,
            Shown::Zero => Kind::Vanished,
            Shown::Stamp(version) if version > self.last => Kind::NeverWritten,
            Shown::Stamp(version) if self.doubted.contains(&version) => Kind::CameBack,
            Shown::Stamp(_) => Kind::WentBack,
        };
        let expected = unexplained.permitted.iter().map(|value| Expected::new(value.as_deref())).collect();
        let found = unexplained.read.mark;
        Violation { sector: sector as u64, kind, found, expected }
    }

    fn tick(&mut self) -> Tick {
        self.clock += 1;
        self.clock
    }

    fn note(&mut self, entry: &Entry) -> io::Result<()> {
        self.journal.as_mut().map_or(Ok(()), |journal| journal.note(entry))
    }

    fn try_note(&mut self, entry: &Entry) {
        if let Err(error) = self.note(entry) {
            eprintln!("seawall: the ledger's file can't be written: {error}");
        }
    }
}

/// The time of day, in milliseconds since 1970. Told to people, compared with nothing.
fn millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
