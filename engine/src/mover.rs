//! Moves settled records home, in rounds: first the superblock names how far everything is settled, then blocks move,
//! then the checksum table, then a flush, then the superblock that says so. Only then may the log forget them.
//!
//! Bodies are read in the order of the log, where records lie back to back: one read brings dozens of them, whatever
//! blocks they are for. What is overwritten by then is not moved. Each batch goes home in the order of its blocks.
//!
//! What a crash leaves of a round is in the home area and not in the table. A restart takes all records below the
//! named frontier for settled, as they are: they cover whatever the round had moved.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use seawall_wal::log::Log;
use seawall_wal::names::{BLOCK_BYTES, Crc, Extent, Lsn};
use seawall_wal::superblock::BaseState;

use crate::bait::Bait;
use crate::core::{Core, Purpose, Told};
use crate::io::{Area, Buf, DiskDone, DiskError, DiskOp, ReadPiece};
use crate::notice::{AreaName, Notice};
use crate::scribe::Safety;
use crate::setup::CommitRule;

/// Blocks of one batch, which are one read.
const BATCH_BLOCKS_MAX: u32 = 64;
/// Runs of one batch, each of which may be a write of its own.
const BATCH_RUNS_MAX: usize = 32;
/// With so few writes ready the next batch is read.
const READY_MIN: usize = 16;
/// Batches that are read at once.
const READS_MAX: usize = 2;
/// Table pages written at a time.
const PAGES_IN_FLIGHT: usize = 32;

/// Which operation of a round ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Move {
    Read {
        batch: u64,
    },
    /// Of so many runs of the batch, from the one at `run` on.
    Write {
        batch: u64,
        run: usize,
        runs: usize,
    },
    Discard,
    Page,
    Flush,
}

/// Blocks that go home from one record.
#[derive(Clone, Copy, Debug)]
struct Going {
    extent: Extent,
    lsn: Lsn,
    /// Its first block within the record's body.
    first: u32,
    /// Its first block within the batch's buffer.
    at: u32,
}

/// A write that may begin: blocks in a row, of one run or more.
#[derive(Clone, Copy, Debug)]
struct Ready {
    batch: u64,
    run: usize,
    runs: usize,
    extent: Extent,
    from: Buf,
}

/// What one read brings, in the order of blocks.
#[derive(Debug)]
struct Batch {
    runs: Vec<Going>,
    buf: Option<Buf>,
    /// Runs that are not home yet.
    left: usize,
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
    /// The record that comes next, and the block from which on of the blocks that it writes.
    next: Lsn,
    next_block: u64,
    batches: BTreeMap<u64, Batch>,
    /// Of which so many are being read.
    reading: usize,
    ready: VecDeque<Ready>,
    numbers: u64,
    /// Operations under way.
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
        let batches = self.round.take().map(|round| round.batches).unwrap_or_default();
        batches.into_values().filter_map(|batch| batch.buf).collect()
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
        let next = self.mover.home.max(self.log.start());
        let pin = (self.log.start() < self.log.end()).then(|| self.log.pin(next));
        self.mover.round = Some(Round {
            target,
            stage: Stage::Naming,
            next,
            next_block: 0,
            batches: BTreeMap::new(),
            reading: 0,
            ready: VecDeque::new(),
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

    /// Start the next operations of the round; false when there are none to start now.
    fn next_move(&mut self) -> bool {
        let Some(round) = self.mover.round.as_mut() else { return false };
        if round.ready.len() < READY_MIN && round.reading < READS_MAX && self.next_batch() {
            return true;
        }
        let Some(round) = self.mover.round.as_mut() else { return false };
        let Some(Ready { batch, run, runs, extent, from }) = round.ready.pop_front() else { return false };
        round.busy += 1;
        self.disk(Purpose::Move(Move::Write { batch, run, runs }), DiskOp::WriteHome { extent, from });
        true
    }

    /// Read what comes next in the log and is still the newest of its blocks; false when there is nothing left.
    fn next_batch(&mut self) -> bool {
        let mut going: Vec<Going> = Vec::new();
        let mut blocks = 0;
        let Some(round) = self.mover.round.as_mut() else { return false };
        let mut holes: Vec<Extent> = Vec::new();
        // Nothing below the target is written any more: each block has one place where it is seen.
        while round.next < round.target && going.len() + holes.len() < BATCH_RUNS_MAX {
            let Some(entry) = self.log.entry(round.next) else {
                // A log that began anew begins higher; what it does not hold has nothing to move.
                round.next = round.next.next().max(self.log.start().min(round.target));
                continue;
            };
            if self.setup.baited(Bait::MoveSkips) && entry.lsn.0 % 64 == 37 {
                round.next = round.next.next();
                continue;
            }
            let rest = rest_of(entry.extent, round.next_block);
            let held = self.overlay.lookup(rest).filter_map(|(run, cover)| {
                cover.filter(|cover| cover.lsn == entry.lsn).map(|cover| (run, cover))
            });
            let mut reached = None;
            for (run, cover) in held {
                if cover.zero {
                    holes.push(run);
                    continue;
                }
                let fits = run.blocks.min(BATCH_BLOCKS_MAX - blocks);
                if fits > 0 {
                    let extent = Extent::new(run.start, fits);
                    going.push(Going { extent, lsn: cover.lsn, first: cover.first, at: 0 });
                    blocks += fits;
                }
                if fits < run.blocks {
                    reached = Some(run.start + u64::from(fits));
                    break;
                }
            }
            if let Some(block) = reached {
                round.next_block = block;
                break;
            }
            (round.next, round.next_block) = (round.next.next(), 0);
        }
        let found = !holes.is_empty() || !going.is_empty();
        for extent in holes {
            self.discard_home(extent);
        }
        if !going.is_empty() {
            self.read_batch(going, blocks);
        }
        found
    }

    fn discard_home(&mut self, extent: Extent) {
        let Some(round) = self.mover.round.as_mut() else { return };
        round.busy += 1;
        round.blocks += u64::from(extent.blocks);
        self.mover.moves += 1;
        self.table.set_holes(extent);
        self.disk(Purpose::Move(Move::Discard), DiskOp::Discard { extent });
    }

    fn read_batch(&mut self, mut runs: Vec<Going>, blocks: u32) {
        runs.sort_unstable_by_key(|run| run.extent.start);
        let mut at = 0;
        let mut pieces = Vec::with_capacity(runs.len());
        for run in &mut runs {
            run.at = at;
            at += run.extent.blocks;
            let entry = self.log.entry(run.lsn).expect("a round's records are pinned");
            let offset = self.log.body_offset(&entry) + u64::from(run.first) * u64::from(BLOCK_BYTES);
            pieces.push(ReadPiece { area: Area::Log, offset, blocks: run.extent.blocks, at: run.at });
        }
        let Some(round) = self.mover.round.as_mut() else { return };
        round.blocks += u64::from(blocks);
        round.busy += 1;
        round.reading += 1;
        round.numbers += 1;
        let batch = round.numbers;
        round.batches.insert(batch, Batch { left: runs.len(), runs, buf: None });
        let what = DiskOp::Read { pieces, into: None, blocks };
        self.disk(Purpose::Move(Move::Read { batch }), what);
    }

    /// A batch was read: each stretch of blocks in a row is a write.
    fn on_batch_read(&mut self, number: u64, buf: Buf, crcs: &[Crc]) {
        let Some(round) = self.mover.round.as_mut() else { return };
        (round.busy, round.reading) = (round.busy - 1, round.reading - 1);
        let batch = round.batches.get_mut(&number).expect("a batch ends once");
        batch.buf = Some(buf);
        if let Some(extent) = batch.runs.iter().find_map(|run| mismatch(&self.log, run, crcs)) {
            self.notice(Notice::Corrupt { area: AreaName(Area::Log), extent });
            return self.fail(Area::Log, DiskError { errno: 5 });
        }
        for (index, run) in batch.runs.iter().enumerate() {
            match round.ready.back_mut() {
                Some(ready) if ready.batch == number && ready.extent.end() == run.extent.start => {
                    ready.runs += 1;
                    ready.extent.blocks += run.extent.blocks;
                    ready.from.blocks += run.extent.blocks;
                }
                Some(_) | None => {
                    let from = buf.part(run.at, run.extent.blocks);
                    round.ready.push_back(Ready {
                        batch: number,
                        run: index,
                        runs: 1,
                        extent: run.extent,
                        from,
                    });
                }
            }
        }
    }

    /// Runs of a batch are home.
    fn on_runs_home(&mut self, number: u64, first: usize, count: usize) {
        let Some(round) = self.mover.round.as_mut() else { return };
        round.busy -= 1;
        self.mover.moves += 1;
        let batch = round.batches.get_mut(&number).expect("a batch ends once");
        for run in &batch.runs[first..first + count] {
            for block in 0..run.extent.blocks {
                let crc = self.log.body_crc(run.lsn, run.first + block).expect("it was read and compared");
                self.table.set(run.extent.start + u64::from(block), Some(crc));
            }
        }
        batch.left -= count;
        if batch.left == 0 {
            let done = round.batches.remove(&number).expect("just looked at");
            self.release(done.buf.expect("it was read before it was written"));
        }
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
            Move::Read { batch } => {
                let DiskDone::Read { buf, crcs } = done else { panic!("a read was answered with {done:?}") };
                self.on_batch_read(batch, buf, &crcs);
            }
            Move::Write { batch, run, runs } => self.on_runs_home(batch, run, runs),
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

/// What is left of an extent from a block on.
fn rest_of(extent: Extent, from: u64) -> Extent {
    let passed = u32::try_from(from.saturating_sub(extent.start)).unwrap_or(u32::MAX).min(extent.blocks);
    Extent::new(extent.start + u64::from(passed), extent.blocks - passed)
}

/// The first block of a run that is not what the log was given.
fn mismatch(log: &Log, run: &Going, crcs: &[Crc]) -> Option<Extent> {
    let differs = |block: &u32| {
        let found = usize::try_from(run.at + block).ok().and_then(|at| crcs.get(at).copied());
        log.body_crc(run.lsn, run.first + block) != found
    };
    (0..run.extent.blocks).find(differs).map(|block| Extent::new(run.extent.start + u64::from(block), 1))
}
