//! A safe wrapper over one io_uring, and everything else of the project that needs `unsafe`.
//!
//! The rule that makes it safe: an operation owns its memory and its descriptor from [`Ring::push`] until
//! [`Ring::take`] gives it back, and nothing is ever abandoned in flight. Who wants an end to an operation on a
//! socket shuts the socket down and waits for the completion.
#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use io_uring::types::{CancelBuilder, SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, opcode};
use nix::libc;

pub mod arena;
pub mod device;
mod fixed;
mod flight;
pub mod op;
pub mod pages;
pub mod pieces;
pub mod socket;
#[cfg(test)]
mod tests;

use arena::Arena;
use fixed::FixedBuffers;
use flight::Flight;
use op::{Completion, Errno, Op, Outcome};
use socket::HangUp;

/// How often an operation that the kernel asks to repeat is repeated before the error is passed on.
const TRIES_MAX: u32 = 1000;
/// How long a ring that is dropped waits for its operations before it leaks their memory.
const DROP_PATIENCE: Duration = Duration::from_secs(10);

/// Why there is no ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RingError {
    /// The pool's memory can't be had.
    Map {
        /// How much was asked for.
        bytes: usize,
        /// The operating system's number.
        errno: i32,
    },
    /// The kernel gives no ring.
    Setup {
        /// How many entries were asked for.
        entries: u32,
        /// The operating system's number.
        errno: i32,
    },
}

impl fmt::Display for RingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RingError::Map { bytes, errno } => {
                write!(f, "no memory for the buffer pool of {bytes} bytes (error {errno}): make it smaller")
            }
            RingError::Setup { entries, errno } => write!(
                f,
                "no io_uring of {entries} entries (error {errno}): Linux 6.1 or newer is needed, with io_uring \
                 allowed (sysctl kernel.io_uring_disabled, container seccomp profile)"
            ),
        }
    }
}

impl std::error::Error for RingError {}

/// How a ring is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RingSettings {
    /// Submission entries; the completion queue has twice as many, or 4096 if that is more and this is not tiny.
    pub entries: u32,
    /// Whether the arena is registered with the kernel where that is allowed.
    pub fixed_buffers: bool,
}

impl Default for RingSettings {
    fn default() -> RingSettings {
        RingSettings { entries: 256, fixed_buffers: true }
    }
}

/// Names an operation in flight, to end it early.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ticket(u64);

/// What waits for room in the submission queue.
#[derive(Clone, Copy)]
enum Queued {
    /// The flight of this index.
    Flight(u32),
    /// The wish that the operation of this name ends early.
    Cancel(u64),
}

/// The name of cancellations: nobody waits for them.
const NOBODY: u64 = u64::MAX;

/// One io_uring, used by the thread that made it. `T` names operations.
pub struct Ring<T> {
    uring: IoUring,
    arena: Rc<Arena>,
    fixed: FixedBuffers,
    flights: Vec<Option<Flight<T>>>,
    free: Vec<u32>,
    /// What found the submission queue full.
    backlog: VecDeque<Queued>,
    /// Completions taken off the kernel's queue: flight and result.
    ready: VecDeque<(u32, i32)>,
    /// Tells operations that use the same place one after the other apart.
    generation: u32,
    /// Completions that the kernel could not put into its queue at once.
    overflows: u64,
}

impl<T> Ring<T> {
    /// A ring over this arena, for this thread alone.
    pub fn new(settings: RingSettings, arena: Rc<Arena>) -> Result<Ring<T>, RingError> {
        let entries = settings.entries.max(1);
        let completions = if entries < 64 { entries * 2 } else { (entries * 2).max(4096) };
        let uring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_submit_all()
            .setup_cqsize(completions)
            .dontfork()
            .build(entries)
            .map_err(|e| RingError::Setup { entries, errno: e.raw_os_error().unwrap_or(0) })?;
        let fixed = if settings.fixed_buffers {
            FixedBuffers::for_arena(&uring.submitter(), &arena)
        } else {
            FixedBuffers::none()
        };
        Ok(Ring {
            uring,
            arena,
            fixed,
            flights: Vec::new(),
            free: Vec::new(),
            backlog: VecDeque::new(),
            ready: VecDeque::new(),
            generation: 0,
            overflows: 0,
        })
    }

    /// The memory that its operations move.
    #[must_use]
    pub fn arena(&self) -> &Rc<Arena> {
        &self.arena
    }

    /// How many operations are not over yet (or over, but not taken).
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.flights.len() - self.free.len()
    }

    /// How often completions did not fit into the kernel's queue at once.
    #[must_use]
    pub fn overflows(&self) -> u64 {
        self.overflows
    }

    /// Begins an operation; it reaches the kernel with the next [`Ring::turn`]. There is always room.
    pub fn push(&mut self, token: T, op: Op) -> Ticket {
        if let Some((pieces, access)) = op.pieces() {
            assert!(!pieces.is_empty(), "an operation moves something");
            pieces.hold(&self.arena, access);
        }
        self.generation = self.generation.wrapping_add(1) & (u32::MAX >> 1);
        let flight = Some(Flight::new(token, op, self.generation));
        let index = match self.free.pop() {
            Some(index) => {
                self.flights[index as usize] = flight;
                index
            }
            None => {
                self.flights.push(flight);
                u32::try_from(self.flights.len() - 1).expect("fewer than 2^32 operations in flight")
            }
        };
        self.backlog.push_back(Queued::Flight(index));
        self.fill();
        Ticket(name(index, self.generation))
    }

    /// Asks for an early end of an operation. It may end as if nobody had asked; its completion comes in any case.
    /// Nothing happens when it is over already.
    pub fn cancel(&mut self, ticket: Ticket) {
        self.backlog.push_back(Queued::Cancel(ticket.0));
        self.fill();
    }

    /// Moves what waits into the submission queue, as far as there is room.
    fn fill(&mut self) {
        while let Some(&queued) = self.backlog.front() {
            if self.uring.submission().is_full() {
                return;
            }
            let entry = match queued {
                Queued::Cancel(name) => opcode::AsyncCancel::new(name).build().user_data(NOBODY),
                Queued::Flight(index) => {
                    let flight = self.flights[index as usize].as_mut().expect("what waits is in flight");
                    if let Some(span) = flight.op.pieces().and_then(|(pieces, _)| pieces.single_span()) {
                        self.fixed.touch(&self.uring.submitter(), &self.arena, span);
                    }
                    let name = name(index, flight.generation);
                    flight.entry(&self.arena, &self.fixed).user_data(name)
                }
            };
            // SAFETY: everything the entry points to is owned by the flight, which stays where it is until the
            // completion was taken, or is memory of the arena, which this ring keeps and whose marks are held.
            let pushed = unsafe { self.uring.submission().push(&entry) };
            assert!(pushed.is_ok(), "there was room a moment ago");
            self.backlog.pop_front();
        }
    }

    /// Hands everything that was begun to the kernel and waits for a completion, at most so long; with `None`,
    /// as long as it takes; not at all while there are completions to take.
    pub fn turn(&mut self, patience: Option<Duration>) -> io::Result<()> {
        loop {
            self.fill();
            self.harvest();
            let wait = self.backlog.is_empty() && self.ready.is_empty() && patience != Some(Duration::ZERO);
            let entered = self.enter(wait, patience);
            let overflowed = self.uring.submission().cq_overflow();
            self.overflows += u64::from(overflowed);
            self.harvest();
            match entered.map_err(|e| (e.raw_os_error(), e)) {
                Ok(()) | Err((Some(libc::ETIME | libc::EINTR | libc::EAGAIN | libc::EBUSY), _)) => {}
                Err((_, error)) => return Err(error),
            }
            // What could not be submitted is tried again at once: harvesting has made room.
            if self.backlog.is_empty() && self.uring.submission().is_empty() && !overflowed {
                return Ok(());
            }
        }
    }

    fn enter(&mut self, wait: bool, patience: Option<Duration>) -> io::Result<()> {
        let pending = u32::try_from(self.uring.submission().len()).unwrap_or(u32::MAX);
        let submitter = self.uring.submitter();
        match (wait, patience) {
            // Deferred work only runs when we ask for events, also when we do not wait.
            // SAFETY: no argument is passed, and the count is what is in the queue.
            (false, _) => unsafe {
                submitter.enter::<libc::sigset_t>(pending, 0, EnterFlags::GETEVENTS.bits(), None)
            },
            (true, None) => submitter.submit_and_wait(1),
            (true, Some(patience)) => {
                let timespec = Timespec::from(patience);
                submitter.submit_with_args(1, &SubmitArgs::new().timespec(&timespec))
            }
        }
        .map(drop)
    }

    fn harvest(&mut self) {
        for entry in self.uring.completion() {
            if entry.user_data() != NOBODY {
                self.ready.push_back((index(entry.user_data()), entry.result()));
            }
        }
    }

    /// The names of the operations that are over, as far as that is known: what [`Ring::take`] gives next.
    pub fn over(&self) -> impl Iterator<Item = &T> {
        self.ready
            .iter()
            .filter_map(|(index, _)| self.flights[*index as usize].as_ref())
            .map(|flight| &flight.token)
    }

    /// The next operation that is over.
    pub fn take(&mut self) -> Option<Completion<T>> {
        loop {
            let (index, result) = self.ready.pop_front()?;
            let slot = &mut self.flights[index as usize];
            let flight = slot.as_mut().expect("an operation ends once");
            if matches!(-result, libc::EAGAIN | libc::EINTR) && flight.tries < TRIES_MAX {
                flight.tries += 1;
                self.backlog.push_back(Queued::Flight(index));
                continue;
            }
            let flight = slot.take().expect("just looked at");
            self.free.push(index);
            if let Some((pieces, access)) = flight.op.pieces() {
                pieces.let_go(&self.arena, access);
            }
            return Some(Completion {
                outcome: outcome(&flight.op, result),
                token: flight.token,
                op: flight.op,
            });
        }
    }
}

/// What the kernel knows an operation by. Never [`NOBODY`]: generations have 31 bits.
fn name(index: u32, generation: u32) -> u64 {
    u64::from(generation) << 32 | u64::from(index)
}

fn index(name: u64) -> u32 {
    u32::try_from(name & u64::from(u32::MAX)).expect("32 bits")
}

fn outcome(op: &Op, result: i32) -> Result<Outcome, Errno> {
    match (op, usize::try_from(result)) {
        (_, Err(_)) => Err(Errno(-result)),
        // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
        (Op::Accept { .. }, Ok(_)) => Ok(Outcome::Accepted(unsafe { OwnedFd::from_raw_fd(result) })),
        (Op::Watch { .. }, Ok(_)) => Ok(Outcome::HungUp(HangUp::of(result))),
        (_, Ok(moved)) => Ok(Outcome::Moved(moved)),
    }
}

impl<T> Drop for Ring<T> {
    /// Cancels what is in flight and waits until it is over, because until then the memory is the kernel's.
    fn drop(&mut self) {
        let began = std::time::Instant::now();
        let mut over = vec![false; self.flights.len()];
        let mut left = self.in_flight();
        // What never reached the kernel is not the kernel's.
        for queued in self.backlog.drain(..) {
            if let Queued::Flight(index) = queued {
                over[index as usize] = true;
                left -= 1;
            }
        }
        while left > 0 && began.elapsed() < DROP_PATIENCE {
            let step = Duration::from_millis(20);
            let _ =
                self.uring.submitter().register_sync_cancel(Some(Timespec::from(step)), CancelBuilder::any());
            let _ = self.turn(Some(step));
            while let Some((index, result)) = self.ready.pop_front() {
                let index = index as usize;
                if !over[index] {
                    over[index] = true;
                    left -= 1;
                    if let Some(flight) = &self.flights[index] {
                        // An accepted connection that nobody waits for is closed.
                        drop(outcome(&flight.op, result));
                    }
                }
            }
        }
        if left > 0 {
            std::mem::forget(std::mem::take(&mut self.flights));
            std::mem::forget(Rc::clone(&self.arena));
        }
    }
}
