//! What a cut or a rebuild takes out of this log is kept first.
//!
//! A tail that left the volume's history is void here, and nobody else may have it: an operator who looks for it later
//! must find it. So what clients wrote above the fork is copied to a place beside the volume before the log gives it
//! up, and the cut waits for that.
//!
//! What the log has let go of before can't be kept as records: of a copy that is rebuilt because it left the history
//! below its log's start, the branch begins there, and says so.
//!
//! Where there is no room for it, the question is whether a client may have been told that it is done. After an
//! ordinary election it can't have been: whoever was elected has all that ever completed. Then the volume goes on, and
//! a notice says what was dropped. Everywhere else (commit rule `one`, acknowledgements before the flush, what this
//! replica itself knew to be settled) the replica keeps its log and stays away, until there is room.

use alloc::boxed::Box;
use alloc::vec::Vec;

use seawall_recovery::lineage;
use seawall_recovery::messages::{Begin, BeginPlan};
use seawall_wal::log::Pin;
use seawall_wal::names::{Epoch, Lsn, LsnRange};
use seawall_wal::record::Kind as RecordKind;

use crate::bait::Bait;
use crate::core::{Core, Purpose};
use crate::io::{DiskDone, DiskError, Output};
use crate::notice::Notice;
use crate::setup::{Ack, CommitRule};

/// A tail of the log that is about to be void, and where it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Branch {
    /// Its records. They begin above the fork if the log no longer reaches back to it.
    pub range: LsnRange,
    /// Below it both histories are the same.
    pub fork: Lsn,
    /// The epoch of its last record.
    pub tail_epoch: Epoch,
    /// For whose sake it goes.
    pub successor: Epoch,
    /// How many times this log had been cut before.
    pub generation: u32,
    /// Whether clients may have been told that something in it is done.
    pub relied_on: bool,
    /// Where its records are in the log area, in their order: offset and length in bytes, in whole units of the log.
    pub pieces: Vec<(u64, u64)>,
}

impl Branch {
    /// How many bytes of log it is.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.pieces.iter().map(|(_, bytes)| bytes).sum()
    }
}

/// Names a branch within the life of a replica.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stretch {
    range: LsnRange,
    generation: u32,
    relied_on: bool,
}

/// How far the keeping of the last branch is.
#[derive(Debug, Default)]
pub(crate) enum Keeping {
    /// There was none.
    #[default]
    Nothing,
    /// It is being copied; the log is held meanwhile.
    Underway { stretch: Stretch, pin: Pin },
    /// It is in its place.
    Kept { stretch: Stretch },
    /// There is no place for it.
    Failed { stretch: Stretch, error: DiskError },
}

/// Whether a tail may go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum MayGo {
    /// It may.
    Yes,
    /// Not yet: whoever asks is called when that changes.
    Later,
    /// Not as long as there is no room for it.
    No,
}

impl Core {
    /// Whether all that this log holds from `fork` on may be void, for the sake of `successor`. What a client wrote is
    /// kept first.
    pub(crate) fn may_go(&mut self, fork: Lsn, successor: Epoch) -> MayGo {
        let range = LsnRange::new(fork.max(self.log.start()), self.log.end());
        if !self.holds_writes(range) || self.setup.baited(Bait::BranchDropped) {
            return MayGo::Yes;
        }
        // Invariant: cut-tail-is-kept.
        let relied_on =
            fork < self.settled || self.setup.commit == CommitRule::One || self.setup.ack == Ack::Written;
        let stretch = Stretch { range, generation: self.log.generation(), relied_on };
        match &self.keeping {
            Keeping::Underway { .. } => return MayGo::Later,
            Keeping::Kept { stretch: kept } if *kept == stretch => return MayGo::Yes,
            Keeping::Failed { stretch: failed, error } if *failed == stretch => {
                let errno = error.errno;
                // The next one who asks has it tried again.
                self.keeping = Keeping::Nothing;
                self.notice(Notice::BranchNotKept {
                    from: range.start,
                    to: range.end,
                    errno,
                    so: if relied_on { "it stays in the log, and this replica away" } else { "it is gone" },
                });
                return if relied_on { MayGo::No } else { MayGo::Yes };
            }
            Keeping::Nothing | Keeping::Kept { .. } | Keeping::Failed { .. } => {}
        }
        let branch = Branch {
            range,
            fork,
            tail_epoch: self.log.tail_epoch(),
            successor,
            generation: stretch.generation,
            relied_on,
            pieces: self.record_pieces(range),
        };
        // Invariant: pinned-log-stays.
        self.keeping = Keeping::Underway { stretch, pin: self.log.pin(range.start) };
        let op = self.next_op(Purpose::Keep);
        self.out.push(Output::Keep { op, branch: Box::new(branch) });
        MayGo::Later
    }

    /// Whether what a plan takes out of this log may go.
    pub(crate) fn gives_up(&mut self, begin: &Begin) -> MayGo {
        let Some(feed) = self.feed.as_ref() else { return MayGo::Later };
        match begin.plan {
            BeginPlan::Feed { .. } => MayGo::Yes,
            BeginPlan::Cut { .. } | BeginPlan::Resume { .. } | BeginPlan::Rebuild { .. } => {
                let (epoch, (lineage, end)) = (feed.epoch, &feed.theirs);
                let fork = lineage::fork(&self.lineage, self.log.end(), lineage, *end);
                self.may_go(fork, epoch)
            }
        }
    }

    /// Whether clients wrote anything there.
    fn holds_writes(&self, range: LsnRange) -> bool {
        let mut lsn = range.start;
        while lsn < range.end {
            match self.log.entry(lsn).expect("the log is dense").kind {
                RecordKind::Write | RecordKind::WriteZeroes | RecordKind::Trim => return true,
                RecordKind::EpochStart
                | RecordKind::Attach
                | RecordKind::Configuration
                | RecordKind::Maintenance
                | RecordKind::Padding => lsn = lsn.next(),
            }
        }
        false
    }

    /// Where records are in the log area.
    fn record_pieces(&self, range: LsnRange) -> Vec<(u64, u64)> {
        let unit = self.scribe.content().geometry.unit_bytes;
        let mut pieces: Vec<(u64, u64)> = Vec::new();
        let mut lsn = range.start;
        while lsn < range.end {
            let offset = self.log.entry(lsn).expect("the log is dense").offset;
            let bytes = self.header(lsn).expect("the log is dense").disk_bytes(unit);
            match pieces.last_mut() {
                Some((from, length)) if *from + *length == offset => *length += bytes,
                Some(_) | None => pieces.push((offset, bytes)),
            }
            lsn = lsn.next();
        }
        pieces
    }

    /// A branch is in its place, or can't be.
    pub(crate) fn on_kept(&mut self, result: Result<DiskDone, DiskError>) {
        let Keeping::Underway { stretch, pin } = core::mem::take(&mut self.keeping) else {
            panic!("one branch is kept at a time")
        };
        self.log.unpin(pin);
        self.keeping = match result {
            Ok(_) => {
                self.notice(Notice::BranchKept { from: stretch.range.start, to: stretch.range.end });
                Keeping::Kept { stretch }
            }
            Err(error) => Keeping::Failed { stretch, error },
        };
        self.follower_progressed();
        self.candidate_progressed();
    }
}
