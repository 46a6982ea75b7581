//! One connection that only reads, and never gives up what it asked: it goes on asking a server that does not answer,
//! so that this one, when it comes to itself, has questions before it that were put long after it had lost its place.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::ledger::Reading;
use super::plan::Dice;
use super::stamp::{BLOCK_SECTORS, SECTOR_BYTES};
use super::{Board, Violation};
use crate::nbd::{self, Stream, Target};

/// Between two questions.
const PACE: Duration = Duration::from_millis(10);
/// Questions without an answer at the most.
const OPEN_MAX: usize = 512;
const BLOCK_BYTES: u32 = 4096;

/// An answer without error that a witness was given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Testimony {
    /// When it was asked for.
    pub asked: Instant,
    /// When it came.
    pub heard: Instant,
}

#[derive(Default)]
struct Notes {
    open: BTreeMap<u64, (Reading, Instant)>,
    heard: Vec<Testimony>,
}

struct Shared {
    board: Arc<Board>,
    notes: Mutex<Notes>,
    stop: AtomicBool,
}

/// A reader of one node, whose every answer the ledger judges. It ends with its connection, and with this.
pub struct Witness {
    shared: Arc<Shared>,
    stream: Stream,
    threads: Vec<JoinHandle<()>>,
}

impl Witness {
    /// Connect, and begin to read blocks that the ledger knows.
    ///
    /// # Errors
    /// If there is no connection within `patience`.
    pub fn begin(target: &Target, board: &Arc<Board>, seed: u64, patience: Duration) -> io::Result<Witness> {
        let (stream, _) = nbd::connect(target, patience)?;
        let notes = Mutex::default();
        let shared = Arc::new(Shared { board: Arc::clone(board), notes, stop: AtomicBool::new(false) });
        let (asks, hears) = (stream.duplicate()?, stream.duplicate()?);
        let (asking, hearing) = (Arc::clone(&shared), Arc::clone(&shared));
        let threads = vec![
            // Either ends with the connection, which is what there is to know.
            thread::spawn(move || drop(asking.ask(asks, Dice::new(seed)))),
            thread::spawn(move || drop(hearing.hear(hears))),
        ];
        Ok(Witness { shared, stream, threads })
    }

    /// What it was told so far, in the order in which it was.
    #[must_use]
    pub fn testimonies(&self) -> Vec<Testimony> {
        self.shared.notes().heard.clone()
    }

    /// How many questions have no answer yet.
    #[must_use]
    pub fn open(&self) -> usize {
        self.shared.notes().open.len()
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.stream.close();
        for thread in self.threads.drain(..) {
            // One that panicked has said so.
            let _ = thread.join();
        }
        let mut inner = self.shared.board.lock();
        let open = std::mem::take(&mut self.shared.notes().open);
        for (reading, _) in open.into_values() {
            let found = inner.ledger.drop_read(reading);
            inner.blame(found);
        }
    }
}

impl Shared {
    /// After the board, where both are held.
    fn notes(&self) -> std::sync::MutexGuard<'_, Notes> {
        self.notes.lock().expect("no holder of the lock panics")
    }

    fn ask(&self, mut stream: Stream, mut dice: Dice) -> io::Result<()> {
        let mut cookie = 0_u64;
        while !self.stop.load(Ordering::Relaxed) {
            thread::sleep(PACE);
            let mut inner = self.board.lock();
            let block = dice.below(inner.ledger.sectors() as u64 / BLOCK_SECTORS);
            let (first, count) = (block * BLOCK_SECTORS, usize::try_from(BLOCK_SECTORS).unwrap_or(1));
            let place = usize::try_from(first).unwrap_or(0);
            if self.notes().open.len() >= OPEN_MAX || !inner.ledger.has_room(place, count) {
                continue;
            }
            cookie += 1;
            let reading = inner.ledger.begin_read(place, count);
            self.notes().open.insert(cookie, (reading, Instant::now()));
            drop(inner);
            let offset = first * SECTOR_BYTES as u64;
            nbd::send(&mut stream, nbd::Command::Read, 0, cookie, offset, BLOCK_BYTES, &[])?;
        }
        Ok(())
    }

    fn hear(&self, mut stream: Stream) -> io::Result<()> {
        let mut bytes = [0; BLOCK_BYTES as usize];
        loop {
            let reply = nbd::receive(&mut stream)?;
            if reply.error == 0 {
                stream.read_exact(&mut bytes)?;
            }
            let mut inner = self.board.lock();
            let mut notes = self.notes();
            let open = notes.open.remove(&reply.cookie);
            let (reading, asked) = open.ok_or_else(|| io::Error::other("an answer to nothing asked"))?;
            let found: Vec<Violation> = if reply.error == 0 {
                notes.heard.push(Testimony { asked, heard: Instant::now() });
                inner.ledger.on_read(reading, &bytes)
            } else {
                inner.ledger.drop_read(reading)
            };
            drop(notes);
            inner.blame(found);
        }
    }
}
