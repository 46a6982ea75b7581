//! The ledger's file: lines of text, each written with one system call, so that what is written survives the process
//! that writes it.
//!
//! `seawall-ledger 2 RUN SECTORS` is the first. Then `w VERSION FIRST COUNT BY AT` and `z VERSION FIRST COUNT BY AT`
//! (a write of stamps or zeroes is sent by connection BY), `d VERSION AT` (it was answered well), `x VERSION` (it is
//! in doubt from here on), `s VERSION SECTOR` (a read that was alone settled what is there; 0 for zeroes). Times are
//! milliseconds since 1970.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

use super::ledger::{Leaves, Version};
use super::stamp::Mark;

/// One line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Entry {
    Sent { leaves: Leaves, mark: Mark, first: usize, count: usize },
    Done { version: Version, at_ms: u64 },
    Doubt { version: Version },
    Seen { version: Version, sector: usize },
}

/// The file, in use by this process alone.
#[derive(Debug)]
pub(super) struct Journal {
    pub(super) run: u64,
    pub(super) sectors: usize,
    file: File,
    /// A line may be there in part: nothing may come after it.
    broken: bool,
}

impl Journal {
    /// Open it, or begin it if it is not there or empty. A last line without its end is taken away.
    pub(super) fn open(path: &Path, run: u64, sectors: usize) -> io::Result<(Journal, Vec<Entry>)> {
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        file.try_lock().map_err(|_| {
            io::Error::new(io::ErrorKind::ResourceBusy, "another process keeps this ledger at the moment")
        })?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        if whole < text.len() {
            eprintln!(
                "seawall: the ledger's last line was never finished, so what it says was never sent: {:?} is dropped",
                &text[whole..]
            );
            file.set_len(whole as u64)?;
        }
        let mut lines = text[..whole].lines();
        let Some(head) = lines.next() else {
            let mut journal = Journal { run, sectors, file, broken: false };
            journal.write(&format!("seawall-ledger 2 {run} {sectors}\n"))?;
            return Ok((journal, Vec::new()));
        };
        let (run, sectors) = parse_head(head).ok_or_else(|| Journal::senseless(1, head))?;
        let parsed =
            (2..).zip(lines).map(|(at, line)| parse(line).ok_or_else(|| Journal::senseless(at, line)));
        let entries = parsed.collect::<io::Result<Vec<Entry>>>()?;
        Ok((Journal { run, sectors, file, broken: false }, entries))
    }

    /// A line that means nothing.
    pub(super) fn senseless(number: usize, what: &str) -> io::Error {
        let text = format!("line {number} is no ledger's line: {what}");
        io::Error::new(io::ErrorKind::InvalidData, text)
    }

    pub(super) fn note(&mut self, entry: &Entry) -> io::Result<()> {
        let line = match entry {
            Entry::Sent { leaves, mark: Mark { version, by, sent_ms }, first, count } => {
                let letter = if *leaves == Leaves::Stamps { 'w' } else { 'z' };
                format!("{letter} {version} {first} {count} {by} {sent_ms}\n")
            }
            Entry::Done { version, at_ms } => format!("d {version} {at_ms}\n"),
            Entry::Doubt { version } => format!("x {version}\n"),
            Entry::Seen { version, sector } => format!("s {version} {sector}\n"),
        };
        self.write(&line)
    }

    fn write(&mut self, line: &str) -> io::Result<()> {
        if self.broken {
            return Err(io::Error::other("an earlier line could not be written"));
        }
        let written = self.file.write_all(line.as_bytes());
        self.broken = written.is_err();
        written
    }
}

fn parse_head(line: &str) -> Option<(u64, usize)> {
    let words = line.strip_prefix("seawall-ledger 2 ")?;
    let (run, sectors) = words.split_once(' ')?;
    Some((run.parse().ok()?, sectors.parse().ok()?))
}

fn parse(line: &str) -> Option<Entry> {
    let words: Vec<&str> = line.split(' ').collect();
    let number = |at: usize| words[at].parse::<u64>().ok();
    let place = |at: usize| words[at].parse::<usize>().ok();
    Some(match (words[0], words.len()) {
        (letter @ ("w" | "z"), 6) => {
            let leaves = if letter == "w" { Leaves::Stamps } else { Leaves::Zeroes };
            let mark = Mark { version: number(1)?, by: words[4].parse().ok()?, sent_ms: number(5)? };
            Entry::Sent { leaves, mark, first: place(2)?, count: place(3)? }
        }
        ("d", 3) => Entry::Done { version: number(1)?, at_ms: number(2)? },
        ("x", 2) => Entry::Doubt { version: number(1)? },
        ("s", 3) => Entry::Seen { version: number(1)?, sector: place(2)? },
        _ => return None,
    })
}
