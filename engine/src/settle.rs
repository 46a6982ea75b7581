//! Frontiers move: a record is written, durable, committed, settled, taken; each move is told to those who wait.

use seawall_sender::session_id::SessionId;
use seawall_wal::names::{Extent, Lsn, ReplicaId};
use seawall_wal::record::Kind as RecordKind;

use crate::bait::Bait;
use crate::core::Core;
use crate::io::{Area, DiskDone, DiskError};
use crate::setup::{Ack, CommitRule};

impl Core {
    /// An append ended.
    pub(crate) fn on_appended(&mut self, result: Result<DiskDone, DiskError>) {
        if let Err(error) = result {
            self.fail(Area::Log, error);
            return;
        }
        let Some(written) = self.appender.on_written() else { return };
        for body in written.bodies {
            if self.setup.baited(Bait::LeakBuffer) && written.to.0 % 16 == 0 {
                continue;
            }
            self.release(body);
        }
        self.log.on_written(written.to);
        if written.durable {
            self.on_durable(written.to);
        }
        self.on_own_progress();
    }

    /// A flush of the log ended.
    pub(crate) fn on_log_flushed(&mut self, to: Lsn, result: Result<DiskDone, DiskError>) {
        self.flushing = false;
        if let Err(error) = result {
            self.fail(Area::Log, error);
            return;
        }
        // A cut may have come in between.
        self.on_durable(to.min(self.log.written()));
        self.on_own_progress();
    }

    fn on_durable(&mut self, to: Lsn) {
        if to > self.log.durable() {
            self.log.on_durable(to);
        }
    }

    fn on_own_progress(&mut self) {
        self.weigh();
        self.follower_progressed();
        self.candidate_progressed();
        self.force_progressed();
        self.take();
    }

    /// On a primary: what do the voters' frontiers commit?
    pub(crate) fn weigh(&mut self) {
        let Some(primary) = self.primary.as_ref().filter(|_| !self.begins_by_force()) else { return };
        let first = primary.first;
        let me = self.me();
        // A voter that is not in sync counts as zero.
        let frontiers = |replica: &ReplicaId| {
            let lane = self.lanes.get(replica).filter(|lane| lane.counts())?;
            Some(lane.sender.frontiers())
        };
        let durable = |replica: ReplicaId| match frontiers(&replica) {
            _ if replica == me => self.log.durable(),
            Some(frontiers) => frontiers.durable,
            None => Lsn::ZERO,
        };
        let written = |replica: ReplicaId| match frontiers(&replica) {
            _ if replica == me => self.log.written(),
            Some(frontiers) => frontiers.written,
            None => Lsn::ZERO,
        };
        let mut rule = self.setup.commit;
        if self.setup.baited(Bait::CompleteOneEarly) {
            rule = CommitRule::One;
        }
        let mut settled = self.electorate.committed(rule, me, durable);
        let mut deciding = None;
        if let Some(pending) = self.membership.pending().filter(|_| rule != CommitRule::Majority) {
            // Whoever is promoted asks a majority: what decides who that is must be known to one, in every mode.
            let known = self.electorate.committed(CommitRule::Majority, me, durable) > pending;
            match rule {
                CommitRule::One if !known => settled = settled.min(pending),
                // Nobody reigns any more who does not know of it, so a copy that left need not be waited for.
                CommitRule::All if known => deciding = Some(self.electorate.of_newest()),
                CommitRule::One | CommitRule::All | CommitRule::Majority => {}
            }
        }
        let electorate = deciding.as_ref().unwrap_or(&self.electorate);
        settled = match rule {
            CommitRule::All => electorate.committed(rule, me, durable),
            CommitRule::One | CommitRule::Majority => settled,
        };
        // An epoch's own start record decides when its frontiers begin to move.
        if settled <= first {
            return;
        }
        let committed = match self.setup.ack {
            Ack::Durable => settled,
            Ack::Written if rule == CommitRule::One && settled < self.log.durable() => settled,
            Ack::Written => electorate.committed(rule, me, written).max(settled),
        };
        // Invariant: committed-never-falls.
        self.settled = self.settled.max(settled);
        let (now, promised) = (self.now, self.committed);
        if let Some(primary) = self.primary.as_mut().filter(|_| committed > promised) {
            primary.marks.on_moved(promised, now);
        }
        self.committed = self.committed.max(committed);
        if self.setup.baited(Bait::CommitFalls) {
            self.committed = committed;
        }
        // Invariant: durable-before-done.
        assert!(
            self.committed <= self.log.end() || self.setup.baited(Bait::CompleteOneEarly),
            "nothing commits that is not in the log"
        );
        self.serve();
        self.take();
    }

    /// What is settled and durable here joins the overlay: from there it may go home.
    pub(crate) fn take(&mut self) {
        let early = self.setup.baited(Bait::HomeBeforeCommit);
        let to = if early { self.log.durable() } else { self.settled.min(self.log.durable()) };
        while self.taken < to {
            // Invariant: only-committed-goes-home.
            assert!(self.taken < self.settled || early, "only settled records are taken");
            let extent = self.take_next();
            // Invariant: base-never-over-newer.
            if !extent.is_empty()
                && let Some(copy) = self.feed.as_mut().and_then(|feed| feed.base.as_mut())
            {
                copy.on_settled(extent);
            }
            self.digest_due(self.taken);
        }
        self.checkpoint_due();
    }

    /// The next record joins the overlay; the blocks that it writes.
    pub(crate) fn take_next(&mut self) -> Extent {
        let lsn = self.taken;
        let entry = self.log.entry(lsn).expect("records that are not home are in the log");
        self.taken = lsn.next();
        if entry.kind == RecordKind::Attach {
            self.attachments.on_settled(self.taken);
        }
        if let RecordKind::Configuration | RecordKind::EpochStart = entry.kind
            && self.membership.on_settled(self.taken)
        {
            self.on_members();
        }
        if entry.kind == RecordKind::Maintenance {
            self.on_maintenance_settled();
        }
        match entry.kind {
            RecordKind::Write => self.overlay.insert(entry.extent, lsn, false),
            RecordKind::WriteZeroes | RecordKind::Trim => self.overlay.insert(entry.extent, lsn, true),
            RecordKind::EpochStart | RecordKind::Attach | RecordKind::Padding => {}
            RecordKind::Configuration | RecordKind::Maintenance => {}
        }
        self.recent.remove(entry.extent, lsn);
        entry.extent
    }

    /// A peer holds at home, or copied a base as of, records of our own history below `checkpoint`: some reign before
    /// ours had settled them.
    pub(crate) fn on_settled_proven(&mut self, checkpoint: Lsn) {
        self.settled = self.settled.max(checkpoint.min(self.log.durable()));
        self.committed = self.committed.max(self.settled);
        self.take();
    }

    /// A primary told how far the volume has settled.
    pub(crate) fn on_settled_told(&mut self, session: SessionId, settled: Lsn) {
        if self.feed.as_ref().is_none_or(|feed| feed.session != session || !feed.is_fed()) {
            return;
        }
        let settled = settled.min(self.log.end());
        if settled > self.settled {
            self.settled = settled;
            self.committed = self.committed.max(settled);
        }
        self.take();
    }
}
