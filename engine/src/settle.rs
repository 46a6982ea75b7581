//! Frontiers move: a record is written, durable, committed, settled, taken; each move is told to those who wait.

use seawall_sender::feed::Frontiers;
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
        let early = self.setup.baited(Bait::CompleteOneEarly);
        let rule = if early { CommitRule::One } else { self.setup.commit };
        let majority = self.electorate.committed(CommitRule::Majority, me, |voter| self.durable_at(voter));
        let spread = match (rule, self.setup.ack) {
            (CommitRule::All, Ack::Written) => {
                self.electorate.committed(CommitRule::Majority, me, |voter| self.written_at(voter))
            }
            (CommitRule::All, Ack::Durable) | (CommitRule::Majority | CommitRule::One, _) => Lsn::ZERO,
        };
        // Who was dropped from the in-sync set is not waited for any more, once no election can lose that.
        self.note_majority(majority, spread);
        let settled = match rule {
            CommitRule::Majority => majority,
            CommitRule::All => self.electorate.committed(rule, me, |voter| self.durable_at(voter)),
            // Whoever is promoted asks a majority: what decides who that is must be known to one, in every mode.
            CommitRule::One => {
                let unknown = self.membership.pending().filter(|at| majority <= *at);
                unknown.map_or(self.log.durable(), |at| at.min(self.log.durable()))
            }
        };
        #[cfg(feature = "bait")]
        let settled = self.settled_as_planted(settled);
        // An epoch's own start record decides when its frontiers begin to move.
        if settled <= first {
            return;
        }
        let committed = match self.setup.ack {
            Ack::Durable => settled,
            Ack::Written if rule == CommitRule::One && settled < self.log.durable() => settled,
            Ack::Written => self.electorate.committed(rule, me, |voter| self.written_at(voter)).max(settled),
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

    /// Below which LSN a voter is known to have the log on stable storage; zero while it is not in sync.
    pub(crate) fn durable_at(&self, voter: ReplicaId) -> Lsn {
        if voter == self.me() { self.log.durable() } else { self.counted(voter).durable }
    }

    /// The same for what is written.
    pub(crate) fn written_at(&self, voter: ReplicaId) -> Lsn {
        if voter == self.me() { self.log.written() } else { self.counted(voter).written }
    }

    fn counted(&self, voter: ReplicaId) -> Frontiers {
        let lane = self.lanes.get(&voter).filter(|lane| lane.counts());
        lane.map(|lane| lane.sender.frontiers()).unwrap_or_default()
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
