//! Moves settled records home, in rounds: first the superblock names how far everything is settled, then blocks move
//! in order, then the checksum table, then a flush, then the superblock that says so. Only then may the log forget
//! them.
//!
//! What a crash leaves of a round is in the home area and not in the table. A restart takes all records below the
//! named frontier for settled, as they are: they cover whatever the round had moved.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use seawall_wal::names::{Extent, Lsn};
use seawall_wal::overlay::Cover;
use seawall_wal::superblock::BaseState;

use crate::bait::Bait;
use crate::core::{Core, Purpose, Told};
use crate::io::{Area, Buf, DiskDone, DiskError, DiskOp};
use crate::locate::{Located, Run, Source};
use crate::notice::{AreaName, Notice};
use crate::scribe::Safety;
use crate::setup::CommitRule;

/// Blocks of one move.
const JOB_BLOCKS_MAX: u32 = 64;
/// Covers looked up at a time.
const COVERS: usize = 512;
/// Table pages written at a time.
const PAGES_IN_FLIGHT: usize = 32;

/// Which operation of a round ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Move {
    Read { job: u64 },
    Write { job: u64 },
    Discard,
    Page,
    Flush,
}

#[derive(Debug)]
struct Job {
    extent: Extent,
    located: Located,
    buf: Option<Buf>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Naming,
    Moving,
    Paging,
    Flushing,
    Recording,
}

#[derive(Debug)]
struct Round {
    target: Lsn,
    stage: Stage,
    cursor: u64,
    /// What comes next, in block order, up to the cursor.
    queue: VecDeque<(Extent, Cover)>,
    jobs: BTreeMap<u64, Job>,
    numbers: u64,
    busy: usize,
    pages: Vec<u64>,
    blocks: u64,
    /// How far a rebuild's base had come when the round's writes were all done.
    base_held: Option<u64>,
    pin: Option<seawall_wal::log::Pin>,
}

/// The checkpoint's keeper.
#[derive(Debug, Default)]
pub(crate) struct Mover {
    round: Option<Round>,
    moves: u64,
    /// The durable checkpoint.
    pub(crate) home: Lsn,
    /// A round is wanted whatever the thresholds say.
    pub(crate) urgent: bool,
    /// A round is due, and waits for base blocks on their way home.
    pub(crate) waits: bool,
}

impl Mover {
    /// One at rest, with everything below `home` at home.
    pub(crate) fn new(home: Lsn) -> Mover {
        Mover { home, ..Mover::default() }
    }

    /// Changes whenever a round begins, writes a block or ends: what was located before may have moved.
    pub(crate) fn moves(&self) -> u64 {
        self.moves
    }

    /// The disk failed: no round ends any more, and these buffers are not needed.
    pub(crate) fn give_up(&mut self) -> Vec<Buf> {
        let jobs = self.round.take().map(|round| round.jobs).unwrap_or_default();
        jobs.into_values().filter_map(|job| job.buf).collect()
    }

    /// Whether a round is under way.
    pub(crate) fn is_active(&self) -> bool {
        self.round.is_some()
    }
}

impl Core {
    /// Begin a round if one is due.
    pub(crate) fn checkpoint_due(&mut self) {
        if self.mover.is_active() || self.fault.is_some() || self.drained {
            return;
        }
        let unsaved = self.log.bytes_from(self.mover.home.max(self.log.start()));
        let threshold = self.log_bytes() / 16 * self.setup.limits.checkpoint_sixteenths;
        let base = self.base_unsaved();
        let due = unsaved > threshold
            || self.overlay.bytes() > self.setup.limits.overlay_bytes_max
            || self.mover.urgent
            || base;
        if !due || (self.taken <= self.mover.home && !base) {
            self.mover.waits &= self.setup.baited(Bait::BaseWaitsForEver);
            return;
        }
        // Base blocks and moves never meet: one waits for the other.
        self.mover.waits = self.base_writes_in_flight();
        if self.mover.waits {
            return;
        }
        self.mover.urgent = false;
        self.mover.moves += 1;
        let target = self.checkpoint_target();
        let pin =
            (self.log.start() < self.log.end()).then(|| self.log.pin(self.mover.home.max(self.log.start())));
        self.mover.round = Some(Round {
            target,
            stage: Stage::Naming,
            cursor: 0,
            queue: VecDeque::new(),
            jobs: BTreeMap::new(),
            numbers: 0,
            busy: 0,
            pages: Vec::new(),
            blocks: 0,
            base_held: None,
            pin,
        });
        if self.setup.baited(Bait::MoveUnnamed) {
            return self.on_settled_named();
        }
        if target > self.scribe.content().settled {
            let safety = match self.setup.commit {
                // What a quorum holds is never cut: with the older name a copy waits until that is settled anew.
                CommitRule::Majority | CommitRule::All => Safety::Once,
                // What only a primary held may be cut by the next one. A broken round had moved it home without the
                // table, so rot of one slot must not let the cut go below the name.
                CommitRule::One if self.setup.baited(Bait::NamedOnce) => Safety::Once,
                CommitRule::One => Safety::Twice,
            };
            self.change_superblock(safety, Told::Settled, |superblock| superblock.settled = target);
        } else {
            self.on_settled_named();
        }
    }

    /// The superblock says that everything which the round is to move is settled.
    pub(crate) fn on_settled_named(&mut self) {
        if let Some(round) = self.mover.round.as_mut().filter(|round| round.stage == Stage::Naming) {
            round.stage = Stage::Moving;
            self.pump_round();
        }
    }

    fn checkpoint_target(&self) -> Lsn {
        self.taken
    }

    pub(crate) fn log_bytes(&self) -> u64 {
        self.scribe.content().geometry.log_bytes
    }

    /// Keep the round's operations going, and step to its next stage when they are done.
    fn pump_round(&mut self) {
        loop {
            let jobs_max = self.setup.limits.checkpoint_jobs;
            let Some(round) = self.mover.round.as_mut() else { return };
            match round.stage {
                Stage::Moving => {
                    if round.busy >= jobs_max {
                        return;
                    }
                    if self.next_move() {
                        continue;
                    }
                    let held = self.base_held_contiguous();
                    let Some(round) = self.mover.round.as_mut() else { return };
                    if round.busy > 0 {
                        return;
                    }
                    round.base_held = held;
                    round.pages = self.table.dirty().collect();
                    round.pages.reverse();
                    round.stage = Stage::Paging;
                }
                Stage::Paging => {
                    if round.busy >= PAGES_IN_FLIGHT {
                        return;
                    }
                    if let Some(page) = round.pages.pop() {
                        round.busy += 1;
                        let (offset, bytes) = self.table.encode(page);
                        let what = DiskOp::WriteMeta { area: Area::Table, offset, bytes, durable: false };
                        self.disk(Purpose::Move(Move::Page), what);
                        continue;
                    }
                    if round.busy > 0 {
                        return;
                    }
                    round.stage = Stage::Flushing;
                    round.busy = 1;
                    self.disk(Purpose::Move(Move::Flush), DiskOp::Flush { area: Area::Home });
                    return;
                }
                Stage::Naming | Stage::Flushing | Stage::Recording => return,
            }
        }
    }

    /// Start the next move of the round; false when there is none left to start.
    fn next_move(&mut self) -> bool {
        let Some(round) = self.mover.round.as_mut() else { return false };
        if round.queue.is_empty() {
            // What is newer by the time it is moved stays in the overlay: the round moves what it saw.
            round.queue.extend(self.overlay.take_below(round.target, round.cursor, COVERS));
        }
        let Some((first, cover)) = round.queue.pop_front() else { return false };
        round.cursor = first.end();
        round.busy += 1;
        if cover.zero {
            round.blocks += u64::from(first.blocks);
            self.mover.moves += 1;
            self.table.set_holes(first);
            self.disk(Purpose::Move(Move::Discard), DiskOp::Discard { extent: first });
            return true;
        }
        let mut extent = Extent::new(first.start, 0);
        let mut located = Located::default();
        let mut next = Some((first, cover));
        while let Some((run, cover)) = next {
            let blocks = run.blocks.min(JOB_BLOCKS_MAX - extent.blocks);
            let source = Source::Record { lsn: cover.lsn, first: cover.first };
            located.runs.push(Run { at: extent.blocks, blocks, source });
            extent.blocks += blocks;
            round.cursor = round.cursor.max(extent.end());
            if blocks < run.blocks {
                let rest = Extent::new(run.start + u64::from(blocks), run.blocks - blocks);
                round.queue.push_front((rest, Cover { first: cover.first + blocks, ..cover }));
                break;
            }
            next = round.queue.pop_front_if(|(run, cover)| {
                !cover.zero && run.start == extent.end() && extent.blocks < JOB_BLOCKS_MAX
            });
        }
        round.blocks += u64::from(extent.blocks);
        round.numbers += 1;
        let job = round.numbers;
        round.jobs.insert(job, Job { extent, located: located.clone(), buf: None });
        let pieces = self.pieces(extent, &located);
        let what = DiskOp::Read { pieces, into: None, blocks: extent.blocks };
        self.disk(Purpose::Move(Move::Read { job }), what);
        true
    }

    /// An operation of the round ended.
    pub(crate) fn on_moved(&mut self, which: Move, result: Result<DiskDone, DiskError>) {
        let done = match (which, result) {
            // Space that is not given back costs space, nothing else.
            (Move::Discard, Err(_)) => DiskDone::Done,
            (Move::Read { .. }, Err(error)) => return self.fail(Area::Log, error),
            (Move::Page, Err(error)) => return self.fail(Area::Table, error),
            (Move::Write { .. } | Move::Flush, Err(error)) => return self.fail(Area::Home, error),
            (_, Ok(done)) => done,
        };
        let Some(round) = self.mover.round.as_mut() else {
            if let DiskDone::Read { buf, .. } = done {
                self.release(buf);
            }
            return;
        };
        match which {
            Move::Read { job } => {
                let DiskDone::Read { buf, crcs } = done else { panic!("a read was answered with {done:?}") };
                let Some(moving) = round.jobs.get_mut(&job) else { panic!("a job ends once") };
                moving.buf = Some(buf);
                let (extent, located) = (moving.extent, moving.located.clone());
                if let Some((area, extent)) = self.mismatch(extent, &located, &crcs) {
                    self.notice(Notice::Corrupt { area: AreaName(area), extent });
                    return self.fail(Area::Log, DiskError { errno: 5 });
                }
                self.disk(Purpose::Move(Move::Write { job }), DiskOp::WriteHome { extent, from: buf });
                return;
            }
            Move::Write { job } => {
                let moved = round.jobs.remove(&job).expect("a job ends once");
                round.busy -= 1;
                self.mover.moves += 1;
                for run in &moved.located.runs {
                    for block in 0..run.blocks {
                        let crc = self.expected(moved.extent, run, block).expect("it was read and compared");
                        self.table.set(moved.extent.start + u64::from(run.at + block), Some(crc));
                    }
                }
                self.release(moved.buf.expect("it was read before it was written"));
            }
            Move::Discard | Move::Page => round.busy -= 1,
            Move::Flush => {
                round.busy -= 1;
                round.stage = Stage::Recording;
                self.record_round();
                return;
            }
        }
        self.pump_round();
    }

    fn record_round(&mut self) {
        let Some(round) = self.mover.round.as_mut() else { return };
        let (target, held) = (round.target, round.base_held);
        let pin = round.pin.take();
        self.unpin(pin);
        // Invariant: only-committed-goes-home.
        assert!(target <= self.taken, "a checkpoint names only what was settled");
        let mark = self.table.next_mark();
        let copy = self.feed.as_ref().and_then(|feed| feed.base.as_ref());
        let complete =
            copy.is_some_and(|copy| copy.proven.is_some()) && held == Some(self.setup.volume_blocks);
        let (told, taken) = (Told::Checkpoint { complete }, self.taken);
        // In both slots: rot of the newer copy must not take us back to what the next round overwrites.
        self.change_superblock(Safety::Twice, told, |superblock| {
            superblock.checkpoint = superblock.checkpoint.max(target);
            superblock.settled = superblock.settled.max(taken);
            superblock.checkpoint_number += 1;
            superblock.table = mark;
            if let (BaseState::Rebuilding { held: known, .. }, Some(held)) = (&mut superblock.base, held) {
                *known = (*known).max(held);
            }
            if complete {
                superblock.base = BaseState::Complete;
                // Its primary has proven meanwhile that nothing hangs on what was forgotten.
                superblock.promises_lost = false;
            }
        });
    }

    /// The superblock that names a checkpoint is durable.
    pub(crate) fn on_checkpointed(&mut self, complete: bool) {
        let Some(round) = self.mover.round.take() else { return };
        self.mover.moves += 1;
        self.mover.home = self.mover.home.max(round.target);
        self.table.on_checkpointed();
        self.overlay.discard_below(round.target);
        self.notice(Notice::Checkpointed { to: round.target, blocks: round.blocks });
        self.on_base_saved(round.base_held, complete);
        self.make_space();
        self.admit_writes();
        self.checkpoint_due();
        self.follower_progressed();
        self.candidate_progressed();
        self.drain_due();
    }

    /// Let old records go when the ring gets full; where the log starts then, if it moved.
    fn release_for_space(&mut self, home: Lsn) -> Option<Lsn> {
        let low = self.log_bytes() / 16 * self.setup.limits.release_sixteenths;
        if self.log.free_bytes() >= low {
            return None;
        }
        self.refresh_pins();
        let bound = self.log.pinned().map_or(home, |pinned| pinned.min(home)).min(self.log.end());
        let mut to = self.log.start();
        while to < bound && self.log_bytes() - self.log.bytes_from(to) < 2 * low {
            to = to.next();
        }
        if to <= self.log.start() {
            return None;
        }
        // Invariant: pinned-log-stays.
        assert!(self.log.pinned().is_none_or(|pinned| to <= pinned), "nothing pinned is released");
        self.log.release(to);
        Some(to)
    }

    /// The log needs room: let go what is home, hurry what is not, drop who is too far behind.
    pub(crate) fn make_space(&mut self) {
        let low = self.log_bytes() / 16 * self.setup.limits.release_sixteenths;
        if self.log.free_bytes() >= low || self.mover.is_active() {
            return;
        }
        if let Some(start) = self.release_for_space(self.mover.home) {
            let head = self.log.head();
            self.change_superblock(Safety::Twice, Told::Released { start }, |superblock| {
                superblock.log_start = head;
            });
        }
        // Invariant: retention-is-bounded.
        if self.log_bytes() - self.log.bytes_from(self.log.start()) < low / 2 {
            self.drop_laggard();
        }
    }

    /// A record found no room.
    pub(crate) fn space_wanted(&mut self) {
        self.mover.urgent = true;
        self.make_space();
        self.checkpoint_due();
    }
}
