//! One client request as several core requests, and back: the part that all protocols share.
//!
//! A [`Task`](Work) is split at multiples of 256 KiB; sub-block ends of writes become `WritePart`s; a trim shrinks
//! to the whole blocks inside, a read grows to the whole blocks around. A task ends once, when all of its parts
//! have: well, or with the first refusal.
//!
//! What is *sequenced* was given to the core and takes effect whatever becomes of the connection; a write is
//! sequenced only when its whole payload is in.

use seawall_engine::io::{Buf, Done, Payload, Refusal, Request};
use seawall_wal::names::BLOCK_BYTES;

use super::action::{Action, Actions, PartId, Piece, TaskId};
use super::slab::Slab;
use super::span::{Edge, Span};

/// What a client wants, within the volume and on sector bounds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Work {
    /// Its bytes.
    Read(Span),
    /// Store the payload that follows.
    Write {
        /// Where.
        span: Span,
        /// Durable before it ends.
        fua: bool,
    },
    /// Make it read as zeroes.
    WriteZeroes {
        /// Where.
        span: Span,
        /// Durable before it ends.
        fua: bool,
    },
    /// Forget what lies inside, as far as that is whole blocks.
    Trim {
        /// Where.
        span: Span,
        /// Durable before it ends.
        fua: bool,
    },
    /// Make durable what ended before.
    Flush,
    /// Tell which parts are holes.
    Status {
        /// Where.
        span: Span,
        /// Runs at the most.
        runs_max: u32,
    },
}

impl Work {
    /// Bytes of buffer memory that it needs.
    #[must_use]
    pub fn memory(&self) -> u64 {
        let blocks = match self {
            Work::Read(span) | Work::Write { span, .. } => u64::from(span.outer().blocks),
            Work::WriteZeroes { span, .. } => span.edges().count() as u64,
            Work::Trim { .. } | Work::Flush | Work::Status { .. } => 0,
        };
        blocks * u64::from(BLOCK_BYTES)
    }
}

/// A stretch of a read that is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Filled {
    /// Which.
    pub piece: Piece,
    /// Its buffer, with one reference.
    pub buf: Buf,
    /// The blocks of it that are zeroes and whose bytes in the buffer mean nothing; bit 0 is the first.
    pub holes: u64,
}

/// Bytes of the same kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Run {
    /// How many.
    pub bytes: u32,
    /// Whether they are a hole, which reads as zeroes.
    pub hole: bool,
}

/// How a task ended well.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Harvest {
    /// A read: its stretches in order. Their references are the receiver's.
    Read(Vec<Filled>),
    /// A write, write-zeroes or trim.
    Written,
    /// A flush.
    Flushed,
    /// A status: runs from the start of the span, not past its end, neighbours unlike. May cover less.
    Status(Vec<Run>),
}

/// A task that is over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ended<T> {
    /// What came with it.
    pub tag: T,
    /// What it was.
    pub work: Work,
    /// How it ended.
    pub result: Result<Harvest, Refusal>,
}

/// The tasks of one connection. `T` is what the protocol keeps with each.
#[derive(Debug)]
pub struct Client<T> {
    tasks: Slab<Task<T>>,
    parts: Slab<Part>,
    /// The client is gone: results are dropped.
    abandoned: bool,
}

#[derive(Debug)]
struct Task<T> {
    tag: T,
    work: Work,
    /// Of a read that was submitted.
    filled: Vec<Filled>,
    /// Of a status that is done.
    runs: Vec<Run>,
    /// Parts that the core has and did not answer; zero until the task is sequenced.
    parts_left: u32,
    refusal: Option<Refusal>,
}

#[derive(Clone, Copy, Debug)]
struct Part {
    task: TaskId,
    /// Which stretch of a read it fills.
    filled: usize,
}

impl<T> Default for Client<T> {
    fn default() -> Client<T> {
        Client::new()
    }
}

impl<T> Client<T> {
    /// Without tasks.
    #[must_use]
    pub fn new() -> Client<T> {
        Client { tasks: Slab::new(), parts: Slab::new(), abandoned: false }
    }

    /// Whether the core has nothing of it any more.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.parts.len() == 0
    }

    /// Whether no task is under way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tasks.len() == 0
    }

    /// Changes that wait for memory of our own. What else is not sequenced waits for its payload.
    pub fn waiting(&self) -> impl Iterator<Item = &T> {
        let waits = |task: &&Task<T>| task.parts_left == 0 && matches!(task.work, Work::WriteZeroes { .. });
        self.tasks.iter().filter(waits).map(|task| &task.tag)
    }

    /// Begin a task. Comes back at once if there is nothing to do (an empty span, a trim of no whole block).
    pub fn begin(&mut self, work: Work, tag: T, out: &mut Actions) -> Result<TaskId, Ended<T>> {
        assert!(!self.abandoned, "a client that is gone wants nothing");
        let Some(harvest) = nothing(&work) else {
            let task = Task { tag, work, filled: Vec::new(), runs: Vec::new(), parts_left: 0, refusal: None };
            let id = TaskId(self.tasks.insert(task));
            self.start(id, work, out);
            return Ok(id);
        };
        Err(Ended { tag, work, result: Ok(harvest) })
    }

    fn start(&mut self, id: TaskId, work: Work, out: &mut Actions) {
        match work {
            Work::Read(span) => {
                let blocks = span.pieces().map(|piece| piece.blocks).collect();
                out.push(Action::Buffers { task: id, blocks, zeroed: false });
            }
            Work::Write { span, .. } => out.push(Action::Payload { pieces: span.pieces().collect() }),
            Work::WriteZeroes { span, fua } => match span.edges().count() {
                0 => self.submit(id, Request::WriteZeroes { extent: span.inner(), fua }, out),
                // One block each: the core merges the rest of its block into it.
                edges => out.push(Action::Buffers { task: id, blocks: vec![1; edges], zeroed: true }),
            },
            Work::Trim { span, fua } => self.submit(id, Request::Trim { extent: span.inner(), fua }, out),
            Work::Flush => self.submit(id, Request::Flush, out),
            Work::Status { span, runs_max } => {
                self.submit(id, Request::Status { extent: span.outer(), runs_max }, out);
            }
        }
    }

    fn submit(&mut self, task: TaskId, request: Request, out: &mut Actions) {
        self.submit_filling(task, 0, request, out);
    }

    fn submit_filling(&mut self, task: TaskId, filled: usize, request: Request, out: &mut Actions) {
        let part = PartId(self.parts.insert(Part { task, filled }));
        self.tasks.get_mut(task.0).expect("a task that submits is there").parts_left += 1;
        out.push(Action::Submit { part, request });
    }

    /// The whole payload of a write is in: sequence it. With each buffer comes one reference.
    pub fn on_payload(&mut self, id: TaskId, payloads: Vec<Payload>, out: &mut Actions) {
        let work = self.tasks.get_mut(id.0).expect("a payload is of a task").work;
        let Work::Write { span, fua } = work else { panic!("a payload is of a write") };
        assert_eq!(payloads.len(), span.pieces().count(), "every piece has its payload");
        for (piece, payload) in span.pieces().zip(payloads) {
            assert_eq!(payload.buf.blocks, piece.blocks, "a piece has a buffer of its size");
            assert_eq!(payload.crcs.len(), piece.blocks as usize, "a checksum per block");
            self.sequence(id, piece, payload, fua, out);
        }
    }

    fn sequence(&mut self, id: TaskId, piece: Piece, payload: Payload, fua: bool, out: &mut Actions) {
        let Payload { buf, mut crcs } = payload;
        let whole = piece.span().inner();
        let edges = piece.span().edges().count();
        let references = u32::try_from(edges).expect("two at the most") + u32::from(!whole.is_empty());
        if references > 1 {
            out.push(Action::Retain { buf, times: references - 1 });
        }
        for edge in piece.span().edges() {
            self.submit(id, write_part(edge, buf.part(piece.place(edge.block), 1), fua), out);
        }
        if !whole.is_empty() {
            let first = piece.place(whole.start);
            crcs.truncate((first + whole.blocks) as usize);
            crcs.drain(..first as usize);
            let payload = Payload { buf: buf.part(first, whole.blocks), crcs };
            self.submit(id, Request::Write { extent: whole, payload, fua }, out);
        }
    }

    /// The buffers that a task waits for are there, one reference with each.
    pub fn on_buffers(&mut self, id: TaskId, buffers: Vec<Buf>, out: &mut Actions) {
        let Some(task) = self.tasks.get_mut(id.0) else {
            // The task was given up before.
            out.list.extend(buffers.into_iter().map(Action::Release));
            return;
        };
        assert_eq!(task.parts_left, 0, "buffers come once");
        match task.work {
            Work::Read(span) => {
                assert_eq!(buffers.len(), span.pieces().count(), "every piece has its buffer");
                for (i, (piece, buf)) in span.pieces().zip(buffers).enumerate() {
                    assert_eq!(buf.blocks, piece.blocks, "a piece has a buffer of its size");
                    let task = self.tasks.get_mut(id.0).expect("it was there above");
                    task.filled.push(Filled { piece, buf, holes: 0 });
                    self.submit_filling(id, i, Request::Read { extent: piece.extent(), buf }, out);
                }
            }
            Work::WriteZeroes { span, fua } => {
                assert_eq!(buffers.len(), span.edges().count(), "every edge has its buffer");
                for (edge, buf) in span.edges().zip(buffers) {
                    assert_eq!(buf.blocks, 1, "an edge is within one block");
                    self.submit(id, write_part(edge, buf, fua), out);
                }
                if !span.inner().is_empty() {
                    self.submit(id, Request::WriteZeroes { extent: span.inner(), fua }, out);
                }
            }
            Work::Write { .. } | Work::Trim { .. } | Work::Flush | Work::Status { .. } => {
                panic!("only reads and zeroes ask for buffers")
            }
        }
    }

    /// The core answered a part. Its task, if that was the last one and somebody still wants to know.
    pub fn on_completed(
        &mut self,
        part: PartId,
        result: Result<Done, Refusal>,
        out: &mut Actions,
    ) -> Option<Ended<T>> {
        let Part { task: id, filled } =
            self.parts.remove(part.0).expect("the core answers what it was asked, once");
        let task = self.tasks.get_mut(id.0).expect("a task lives as long as its parts");
        match (task.work, result) {
            (Work::Read(_), Ok(Done::Read { holes })) => task.filled[filled].holes = holes,
            (Work::Write { .. } | Work::WriteZeroes { .. } | Work::Trim { .. }, Ok(Done::Written))
            | (Work::Flush, Ok(Done::Flushed)) => {}
            (Work::Status { span, .. }, Ok(Done::Status(runs))) => task.runs = clip(span, &runs),
            (_, Err(refusal)) => {
                task.refusal.get_or_insert(refusal);
            }
            (work, Ok(done @ (Done::Read { .. } | Done::Written | Done::Flushed | Done::Status(_)))) => {
                panic!("the core answered {done:?} to {work:?}")
            }
        }
        task.parts_left -= 1;
        if task.parts_left > 0 {
            return None;
        }
        let task = self.tasks.remove(id.0).expect("it was there above");
        if self.abandoned || task.refusal.is_some() {
            out.list.extend(task.filled.iter().map(|filled| Action::Release(filled.buf)));
        }
        (!self.abandoned).then(|| task.end())
    }

    /// Give up a task of which nothing is sequenced.
    pub fn give_up(&mut self, id: TaskId) -> Work {
        let task = self.tasks.remove(id.0).expect("only a task can be given up");
        assert_eq!(task.parts_left, 0, "what is sequenced is not given up");
        task.work
    }

    /// The client is gone: what is not sequenced is given up, results of the rest are dropped.
    pub fn abandon(&mut self) {
        self.abandoned = true;
        self.tasks.retain(|task| task.parts_left > 0);
    }
}

impl<T> Task<T> {
    fn end(self) -> Ended<T> {
        let result = match (self.refusal, self.work) {
            (Some(refusal), _) => Err(refusal),
            (None, Work::Read(_)) => Ok(Harvest::Read(self.filled)),
            (None, Work::Write { .. } | Work::WriteZeroes { .. } | Work::Trim { .. }) => Ok(Harvest::Written),
            (None, Work::Flush) => Ok(Harvest::Flushed),
            (None, Work::Status { .. }) => Ok(Harvest::Status(self.runs)),
        };
        Ended { tag: self.tag, work: self.work, result }
    }
}

fn nothing(work: &Work) -> Option<Harvest> {
    match work {
        Work::Read(span) => (span.bytes == 0).then(|| Harvest::Read(Vec::new())),
        Work::Write { span, .. } | Work::WriteZeroes { span, .. } => {
            (span.bytes == 0).then_some(Harvest::Written)
        }
        Work::Trim { span, .. } => span.inner().is_empty().then_some(Harvest::Written),
        Work::Flush => None,
        Work::Status { span, .. } => (span.bytes == 0).then(|| Harvest::Status(Vec::new())),
    }
}

fn write_part(edge: Edge, buf: Buf, fua: bool) -> Request {
    let Edge { block, first_sector, sectors } = edge;
    Request::WritePart { block, first_sector, sectors, buf, fua }
}

/// Runs of blocks from the first block of the span on, as runs of bytes of the span.
fn clip(span: Span, runs: &[(u64, bool)]) -> Vec<Run> {
    assert!(runs.iter().any(|(blocks, _)| *blocks > 0), "a status tells of one block at least");
    let block = u64::from(BLOCK_BYTES);
    let mut at = span.outer().start * block;
    let mut clipped: Vec<Run> = Vec::new();
    for &(blocks, hole) in runs {
        let end = at.saturating_add(blocks.saturating_mul(block));
        let bytes = end.min(span.end()).saturating_sub(at.max(span.offset));
        let bytes = u32::try_from(bytes).expect("a span is below 2^32 bytes");
        at = end;
        match clipped.last_mut() {
            _ if bytes == 0 => {}
            Some(last) if last.hole == hole => last.bytes += bytes,
            Some(_) | None => clipped.push(Run { bytes, hole }),
        }
    }
    clipped
}
