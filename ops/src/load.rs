//! Load with a memory: a client that stamps every sector it writes, keeps a ledger of what it was told, and
//! judges everything that it reads. It shares no code with the server and believes nothing that it says.

mod connection;
mod journal;
mod lap;
pub mod ledger;
mod plan;
mod register;
mod stamp;
mod tally;
pub mod violation;
mod witness;

use std::io::Read;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::nbd;
use connection::Connection;
pub use lap::{Lap, Pause};
use ledger::Ledger;
pub use plan::{Mix, Plan};
pub use stamp::{Mark, SECTOR_BYTES};
pub use tally::Tally;
use violation::Violation;
pub use witness::{Testimony, Witness};

/// Violations that are kept in full; more are only counted.
pub const VIOLATIONS_KEPT_MAX: usize = 64;
/// Bytes of one read of the final check.
const CHECK_BYTES: u32 = 256 << 10;

/// What the connections of one load share.
#[derive(Debug)]
pub struct Board {
    inner: Mutex<Inner>,
    changed: Condvar,
    stop: AtomicBool,
    /// Which target all connections go to: clients without an identity use one node at a time.
    turn: AtomicUsize,
    /// How often all were told where to go.
    moves: AtomicUsize,
}

/// What stands on the board.
#[derive(Debug)]
struct Inner {
    ledger: Ledger,
    tally: Tally,
    issued: u64,
    violations: Vec<Violation>,
    last_reply: Instant,
    lap: Lap,
}

impl Board {
    /// A board with nothing on it but the ledger.
    #[must_use]
    pub fn new(ledger: Ledger) -> Arc<Board> {
        let inner = Inner {
            ledger,
            tally: Tally::default(),
            issued: 0,
            violations: Vec::new(),
            last_reply: Instant::now(),
            lap: Lap::new(SystemTime::now()),
        };
        Arc::new(Board {
            inner: Mutex::new(inner),
            changed: Condvar::new(),
            stop: AtomicBool::new(false),
            turn: AtomicUsize::new(0),
            moves: AtomicUsize::new(0),
        })
    }

    /// End the load: nothing more is asked, what is in flight is awaited.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.changed.notify_all();
    }

    /// Whether the load was told to end.
    #[must_use]
    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// What has happened so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        let inner = self.lock();
        Tally { overlaps: inner.ledger.overlaps(), ..inner.tally.clone() }
    }

    /// What was found wrong so far; the first [`VIOLATIONS_KEPT_MAX`] of it.
    #[must_use]
    pub fn violations(&self) -> Vec<Violation> {
        self.lock().violations.clone()
    }

    /// Whether somebody else does the waiting: block until `done` says so or the time is over.
    ///
    /// Returns whether `done` was reached.
    pub fn wait(&self, patience: Duration, done: impl Fn(&Tally) -> bool) -> bool {
        let deadline = Instant::now() + patience;
        let mut inner = self.lock();
        while !done(&inner.tally) {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { return false };
            inner = self.changed.wait_timeout(inner, left).expect("no holder of the lock panics").0;
        }
        true
    }

    /// All connections go to that target of the plan, each when it has heard what it has asked for.
    pub fn move_to(&self, target: usize) {
        self.turn.store(target, Ordering::Relaxed);
        self.moves.fetch_add(1, Ordering::Relaxed);
        self.changed.notify_all();
    }

    /// What was seen since this was last asked; another lap begins.
    #[must_use]
    pub fn lap(&self) -> Lap {
        std::mem::replace(&mut self.lock().lap, Lap::new(SystemTime::now()))
    }

    fn moves(&self) -> usize {
        self.moves.load(Ordering::Relaxed)
    }

    fn turn(&self) -> usize {
        self.turn.load(Ordering::Relaxed)
    }

    /// That target does not do: the next one, unless another connection went on already.
    fn turn_from(&self, from: usize) {
        let _ = self.turn.compare_exchange(from, from + 1, Ordering::Relaxed, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no holder of the lock panics")
    }
}

impl Inner {
    fn blame(&mut self, found: Vec<Violation>) {
        self.tally.violations += found.len() as u64;
        let room = VIOLATIONS_KEPT_MAX.saturating_sub(self.violations.len());
        self.violations.extend(found.into_iter().take(room));
    }
}

/// Run the plan to its end, or until the board is told to stop, or until no connection could be had for the
/// plan's patience.
///
/// # Panics
/// If a thread of the load panics, which is a bug.
pub fn run(plan: &Plan, board: &Arc<Board>) {
    let deadline = plan.time.map(|time| Instant::now() + time);
    board.lock().last_reply = Instant::now();
    thread::scope(|scope| {
        for number in 0..plan.connections {
            scope.spawn(move || Connection::new(plan, board, number, deadline).run());
        }
    });
}

/// Read everything that the ledger knows, once, and judge it, while a load goes on or after it. Returns whether all
/// of it could be read.
#[must_use]
pub fn check(plan: &Plan, board: &Board) -> bool {
    let deadline = Instant::now() + plan.patience;
    let mut first = 0;
    let mut turn = 0;
    while Instant::now() < deadline {
        let target = &plan.targets[turn % plan.targets.len()];
        turn += 1;
        if let Ok((mut stream, export)) = nbd::connect(target, plan.answer_patience) {
            let whole = check_over(&mut stream, export.bytes, plan.answer_patience, board, &mut first);
            if whole.is_ok() {
                return true;
            }
        }
        thread::sleep(plan.retry_pause);
    }
    false
}

fn check_over(
    stream: &mut nbd::Stream,
    export_bytes: u64,
    patience: Duration,
    board: &Board,
    first: &mut usize,
) -> std::io::Result<()> {
    stream.set_read_timeout(Some(patience))?;
    let sectors = board.lock().ledger.sectors();
    if export_bytes < (sectors * SECTOR_BYTES) as u64 {
        return Err(std::io::Error::other("the export is smaller than the ledger"));
    }
    let mut bytes = vec![0; CHECK_BYTES as usize];
    while *first < sectors {
        let count = (sectors - *first).min(bytes.len() / SECTOR_BYTES);
        let part = &mut bytes[..count * SECTOR_BYTES];
        let reading = board.lock().ledger.begin_read(*first, count);
        let answer = read_at(stream, *first, part);
        let mut inner = board.lock();
        let violations = match &answer {
            Ok(0) => inner.ledger.on_read(reading, part),
            Ok(_) | Err(_) => inner.ledger.drop_read(reading),
        };
        inner.blame(violations);
        match answer? {
            0 => {
                inner.tally.checked_sectors += count as u64;
                *first += count;
            }
            error => {
                inner.tally.on_error(error);
                return Err(std::io::Error::other("the server refused a read"));
            }
        }
    }
    nbd::send(stream, nbd::Command::Disconnect, 0, 0, 0, 0, &[])
}

/// Returns the error that the server answers with, or 0.
fn read_at(stream: &mut nbd::Stream, first: usize, bytes: &mut [u8]) -> std::io::Result<u32> {
    let length = u32::try_from(bytes.len()).expect("bounded by CHECK_BYTES");
    nbd::send(stream, nbd::Command::Read, 0, first as u64, (first * SECTOR_BYTES) as u64, length, &[])?;
    let reply = nbd::receive(stream)?;
    if reply.error == 0 {
        stream.read_exact(bytes)?;
    }
    Ok(reply.error)
}
