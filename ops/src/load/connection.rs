//! One connection of a load: a thread that asks and a thread that hears, for as long as the connection lives;
//! then the next one.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::ledger::{Leaves, Reading, Version};
use super::plan::{Dice, Plan};
use super::stamp::{BLOCK_SECTORS, SECTOR_BYTES};
use super::{Board, Inner};
use crate::nbd::{self, Command, Export, Stream};

/// How often a thread that waits looks whether the load was told to stop.
const GLANCE: Duration = Duration::from_millis(50);
/// The part at the beginning of the ledger that more than its share of the requests go to, so that they overlap.
const HOT_SECTORS: usize = 8 * 24;

/// A request in flight.
#[derive(Clone, Copy, Debug)]
struct Asked {
    command: Command,
    first: usize,
    count: usize,
    deed: Deed,
    at: Instant,
}

/// What the ledger knows of it.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Write(Version),
    Read(Reading),
    Flush,
}

/// What is asked next.
struct Pick {
    asked: Asked,
    flags: u16,
    payload: Vec<u8>,
}

pub(super) struct Connection<'a> {
    plan: &'a Plan,
    board: &'a Arc<Board>,
    dice: Dice,
    number: u32,
    deadline: Option<Instant>,
}

/// The requests of one connection by cookie, kept under the board's lock order: board first, then these.
#[derive(Default)]
struct Flight {
    asked: BTreeMap<u64, Asked>,
    /// All that was to be asked was asked and answered: the asking thread is about to close the connection.
    complete: bool,
    /// Nothing more will be heard.
    deaf: bool,
}

type Shared = std::sync::Mutex<Flight>;

impl<'a> Connection<'a> {
    pub(super) fn new(
        plan: &'a Plan,
        board: &'a Arc<Board>,
        number: u32,
        deadline: Option<Instant>,
    ) -> Connection<'a> {
        let dice = Dice::new(plan.seed.wrapping_mul(1000).wrapping_add(u64::from(number)));
        Connection { plan, board, dice, number, deadline }
    }

    /// Connect again and again until the load is over.
    pub(super) fn run(mut self) {
        let mut alone_since = Instant::now();
        while !self.is_over(&self.board.lock()) {
            // Moves before turns: who hears of a move too early only comes again.
            let moves = self.board.moves();
            let turn = self.board.turn();
            let target = &self.plan.targets[turn % self.plan.targets.len()];
            match nbd::connect(target, self.plan.answer_patience) {
                Ok((stream, export)) => {
                    self.board.lock().tally.connects += 1;
                    let before = self.board.lock().tally.done();
                    if !self.converse(&stream, export, moves) {
                        self.board.lock().tally.disconnects += 1;
                        self.board.changed.notify_all();
                        self.board.turn_from(turn);
                    }
                    if self.board.lock().tally.done() > before {
                        alone_since = Instant::now();
                    } else {
                        thread::sleep(self.plan.retry_pause);
                    }
                }
                Err(_) => {
                    self.board.turn_from(turn);
                    thread::sleep(self.plan.retry_pause);
                }
            }
            if alone_since.elapsed() > self.plan.patience {
                self.board.lock().tally.gave_up += 1;
                return;
            }
        }
    }

    fn is_over(&self, inner: &Inner) -> bool {
        self.board.stopped()
            || self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
            || self.plan.requests.is_some_and(|all| inner.issued >= all)
    }

    /// Returns whether it ended because the load is over, or goes elsewhere.
    fn converse(&mut self, stream: &Stream, export: Export, moves: usize) -> bool {
        let flight = Shared::default();
        let heard = thread::scope(|scope| {
            let ear = scope.spawn(|| hear(self.plan, self.board, stream, &flight));
            // Whatever ended it, the other thread hears of it by the socket.
            let asked = self.ask(stream, export, &flight, moves);
            if asked.is_err() {
                stream.close();
            }
            let heard = ear.join().expect("the hearing thread does not panic");
            asked.and(heard)
        });
        stream.close();
        let mut inner = self.board.lock();
        let left = std::mem::take(&mut flight.lock().expect("no holder of the lock panics").asked);
        for asked in left.values() {
            inner.drop_unanswered(asked);
        }
        self.board.changed.notify_all();
        heard.is_ok()
    }

    fn ask(&mut self, stream: &Stream, export: Export, flight: &Shared, moves: usize) -> io::Result<()> {
        let (plan, board) = (self.plan, self.board);
        let mut stream = stream.duplicate()?;
        let mut cookie = 0_u64;
        loop {
            let mut inner = board.lock();
            let over = self.is_over(&inner) || board.moves() != moves;
            let (in_flight, complete) = {
                let mut flight = flight.lock().expect("no holder of the lock panics");
                if flight.deaf {
                    return Err(io::ErrorKind::ConnectionAborted.into());
                }
                flight.complete = over && flight.asked.is_empty();
                (flight.asked.len(), flight.complete)
            };
            if complete {
                drop(inner);
                let sent = nbd::send(&mut stream, Command::Disconnect, 0, 0, 0, 0, &[]);
                // So that the hearing thread ends, whatever the server does.
                stream.close();
                return sent;
            }
            let pick = if over || in_flight >= plan.depth {
                None
            } else {
                inner.pick(plan, &mut self.dice, self.number, export)?
            };
            let Some(Pick { mut asked, flags, payload }) = pick else {
                drop(board.changed.wait_timeout(inner, GLANCE).expect("no holder of the lock panics"));
                continue;
            };
            cookie += 1;
            asked.at = Instant::now();
            flight.lock().expect("no holder of the lock panics").asked.insert(cookie, asked);
            drop(inner);
            let offset = (asked.first * SECTOR_BYTES) as u64;
            let bytes = u32::try_from(asked.count * SECTOR_BYTES).expect("bounded by the plan");
            nbd::send(&mut stream, asked.command, flags, cookie, offset, bytes, &payload)?;
        }
    }
}

/// Hear answers until the connection ends. Well, if it ended after the load was over.
fn hear(plan: &Plan, board: &Arc<Board>, stream: &Stream, flight: &Shared) -> io::Result<()> {
    let result = stream.duplicate().and_then(|mut stream| {
        stream.set_read_timeout(Some(plan.answer_patience))?;
        loop {
            let error = hear_one(board, &mut stream, flight)?;
            if error != 0 && plan.targets.len() > 1 {
                // Its disk may have failed for good: another one may serve by now.
                return Err(io::Error::other("an error, and there are other targets"));
            }
        }
    });
    let mut flight = flight.lock().expect("no holder of the lock panics");
    flight.deaf = true;
    board.changed.notify_all();
    // So that the asking thread ends, whatever it waits for.
    stream.close();
    if flight.complete { Ok(()) } else { result }
}

/// Returns the error that the answer tells, or 0.
fn hear_one(board: &Arc<Board>, stream: &mut Stream, flight: &Shared) -> io::Result<u32> {
    let reply = nbd::receive(stream)?;
    let asked = flight.lock().expect("no holder of the lock panics").asked.get(&reply.cookie).copied();
    let asked = asked.ok_or_else(|| io::Error::other("an answer to nothing that was asked"))?;
    let mut bytes = Vec::new();
    if asked.command == Command::Read && reply.error == 0 {
        bytes.resize(asked.count * SECTOR_BYTES, 0);
        stream.read_exact(&mut bytes)?;
    }
    let mut inner = board.lock();
    flight.lock().expect("no holder of the lock panics").asked.remove(&reply.cookie);
    inner.on_reply(&asked, reply.error, &bytes)?;
    board.changed.notify_all();
    Ok(reply.error)
}

impl Inner {
    /// Choose a request; none if a few tries find no place where the ledger has room for it.
    fn pick(&mut self, plan: &Plan, dice: &mut Dice, by: u32, export: Export) -> io::Result<Option<Pick>> {
        let sectors = self.ledger.sectors();
        if export.bytes < (sectors * SECTOR_BYTES) as u64 {
            return Err(io::Error::other("the export is smaller than the ledger"));
        }
        let mix = plan.mix;
        let roll = dice.below(100);
        let command = match roll {
            _ if roll < mix.write => Command::Write,
            _ if roll < mix.write + mix.zero => Command::WriteZeroes,
            _ if roll < mix.write + mix.zero + mix.trim => Command::Trim,
            _ if roll < mix.write + mix.zero + mix.trim + mix.flush => Command::Flush,
            _ => Command::Read,
        };
        let asked = Asked { command, first: 0, count: 0, deed: Deed::Flush, at: Instant::now() };
        if command == Command::Flush {
            self.issued += 1;
            return Ok(Some(Pick { asked, flags: 0, payload: Vec::new() }));
        }
        for _ in 0..16 {
            // A trim is a hint: only that of whole blocks is known to leave zeroes.
            let unit = if command == Command::Trim { BLOCK_SECTORS } else { 1 };
            let (first, count) = place(dice, sectors, plan.sectors_max, unit);
            if !self.ledger.has_room(first, count) {
                continue;
            }
            let leaves = match command {
                Command::Write => Some(Leaves::Stamps),
                Command::WriteZeroes | Command::Trim => Some(Leaves::Zeroes),
                Command::Read | Command::Flush | Command::Disconnect => None,
            };
            let version = leaves.map(|leaves| self.ledger.issue(leaves, first, count, by)).transpose()?;
            let payload = match (command, version) {
                (Command::Write, Some(version)) => self.ledger.payload(version),
                _ => Vec::new(),
            };
            let fua = version.is_some() && dice.below(100) < mix.fua;
            let deed = match version {
                Some(version) => Deed::Write(version),
                None => Deed::Read(self.ledger.begin_read(first, count)),
            };
            self.issued += 1;
            let asked = Asked { first, count, deed, ..asked };
            return Ok(Some(Pick { asked, flags: if fua { nbd::FLAG_FUA } else { 0 }, payload }));
        }
        Ok(None)
    }

    fn on_reply(&mut self, asked: &Asked, error: u32, bytes: &[u8]) -> io::Result<()> {
        let now = Instant::now();
        self.tally.on_reply(now.duration_since(asked.at), now.duration_since(self.last_reply));
        self.last_reply = now;
        self.lap.on_reply(now.duration_since(asked.at));
        if error != 0 {
            self.tally.on_error(error);
            self.drop_unanswered(asked);
            return Ok(());
        }
        self.tally.bytes += (asked.count * SECTOR_BYTES) as u64;
        let violations = match asked.deed {
            Deed::Read(reading) => {
                self.tally.reads += 1;
                self.ledger.on_read(reading, bytes)
            }
            Deed::Write(version) => {
                self.tally.writes += 1;
                self.lap.on_write(SystemTime::now());
                self.ledger.on_completed(version)?
            }
            Deed::Flush => {
                self.tally.flushes += 1;
                Vec::new()
            }
        };
        self.blame(violations);
        Ok(())
    }

    fn drop_unanswered(&mut self, asked: &Asked) {
        let violations = match asked.deed {
            Deed::Write(version) => {
                self.tally.in_doubt += 1;
                self.ledger.doubt(version)
            }
            Deed::Read(reading) => self.ledger.drop_read(reading),
            Deed::Flush => Vec::new(),
        };
        self.blame(violations);
    }
}

/// Where the next request goes: mostly single blocks, some larger runs, some parts of blocks; in whole units; some of
/// them to where others go.
fn place(dice: &mut Dice, sectors: usize, sectors_max: usize, unit: u64) -> (usize, usize) {
    let sectors = if dice.below(100) < 20 { sectors.min(HOT_SECTORS) } else { sectors };
    let max = (sectors_max.min(sectors) as u64 / unit * unit).max(unit);
    let (align, count) = match dice.below(100) {
        0..60 => (BLOCK_SECTORS, BLOCK_SECTORS),
        60..80 => (BLOCK_SECTORS, BLOCK_SECTORS * (1 + dice.below(16))),
        80..95 => (1, 1 + dice.below(20)),
        _ => (1, 1 + dice.below(max)),
    };
    let align = align.max(unit);
    let count = count.next_multiple_of(unit).min(max);
    let first = dice.below((sectors as u64 - count) / align + 1) * align;
    (usize::try_from(first).unwrap_or(0), usize::try_from(count).unwrap_or(1))
}
