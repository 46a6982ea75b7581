//! What the larger of the planted bugs do. Only in builds with the feature `bait`.

use alloc::vec::Vec;

use seawall_recovery::event::{Event, News};
use seawall_recovery::facts::Facts;
use seawall_recovery::lineage;
use seawall_recovery::messages::{Begin, BeginPlan};
use seawall_sender::receiver::Receiver;
use seawall_sender::violation::Violation;
use seawall_wal::configuration::Suffrage;
use seawall_wal::names::{Extent, Lsn, LsnRange, Origin, ReplicaId};
use seawall_wal::record::{Kind, RecordHeader};
use seawall_wal::superblock::BaseState;

use crate::bait::Bait;
use crate::commit::{Electorate, frontier};
use crate::core::{Core, Told};
use crate::follower::Stage;
use crate::primary::Primary;
use crate::scribe::Safety;
use crate::setup::CommitRule;

impl Core {
    /// What a stale count of voters takes for those who decide.
    pub(crate) fn misjudge_electorate(&mut self) {
        let newest = self.membership.newest();
        if self.setup.baited(Bait::StaleConfigCounted) {
            let before = self.membership.before().unwrap_or(newest);
            self.electorate = Electorate::new(before.voters().collect(), None);
        } else if self.setup.baited(Bait::LearnerCounts) {
            let all = newest.members.iter().filter(|member| member.suffrage != Suffrage::Observer);
            self.electorate = Electorate::new(all.map(|member| member.replica).collect(), None);
        } else if self.setup.baited(Bait::DropUnrecorded) {
            let awaited = newest.awaited().collect();
            self.electorate = self.electorate.clone().awaiting(awaited);
        } else if self.setup.baited(Bait::TwoAtOnce) {
            self.electorate = Electorate::new(newest.voters().collect(), None);
        }
    }

    /// What is settled where the in-sync set is misjudged.
    pub(crate) fn settled_as_planted(&mut self, settled: Lsn) -> Lsn {
        let at = |core: &Core, replicas: &mut dyn Iterator<Item = ReplicaId>| -> Vec<Lsn> {
            replicas.map(|replica| core.durable_at(replica)).collect()
        };
        match self.setup.bait {
            Some(Bait::DroppedStillCurrent) if self.setup.commit == CommitRule::All => {
                let mut voters = at(self, &mut self.electorate.voters());
                frontier(&mut voters, self.electorate.awaited().len())
            }
            Some(Bait::DropBelowMajority) if self.setup.commit == CommitRule::All => {
                // Whatever is in the log is taken for sure, so that the set shrinks alone.
                let own = self.log.durable();
                self.note_majority(own, own);
                at(self, &mut self.electorate.awaited().iter().copied()).into_iter().min().unwrap_or(settled)
            }
            Some(_) | None => settled,
        }
    }

    /// [`Bait::ReignAgain`]: the last reign goes on, without a word to anybody. Whether it does.
    pub(crate) fn reigns_again(&mut self) -> bool {
        let promised = self.promised();
        let row = self.lineage.last().filter(|row| row.epoch == promised && promised.replica == self.me());
        let Some(first) = row.map(|row| row.first).filter(|_| self.setup.baited(Bait::ReignAgain)) else {
            return false;
        };
        self.primary = Some(Primary::new(promised, first, self.has_leases()));
        self.lanes_due();
        self.weigh();
        true
    }

    /// What a peer's disk says of itself, as the older designs and [`Bait::AnyDiskWillDo`] take it.
    pub(crate) fn facts_as_planted(&self, replica: ReplicaId, told: &Facts) -> Facts {
        let facts = told.clone();
        let lane = &self.lanes[&replica];
        match self.setup.bait {
            Some(Bait::AnyDiskWillDo) => Facts { replica, ..facts },
            Some(Bait::CutBelowHome) if facts.base == BaseState::Complete => {
                Facts { checkpoint: facts.log.start, ..facts }
            }
            Some(Bait::AddressKeyed) if facts.base == BaseState::Blank => {
                self.at_our(lane.sender.frontiers().durable, facts)
            }
            Some(Bait::ResumeUnasked) if facts.base == BaseState::Complete => match lane.remembered {
                Some(at) if at > facts.log.end => self.at_our(at, facts),
                Some(_) | None => facts,
            },
            Some(_) | None => facts,
        }
    }

    /// [`Bait::WholeTooEarly`]: our log ends where it is settled, for a session that has copied a base.
    pub(crate) fn log_as_planted(&self, log: LsnRange, event: &Event) -> LsnRange {
        match event {
            Event::Session { news: News::BaseAcked { .. } | News::Begun { .. }, .. }
                if self.setup.baited(Bait::WholeTooEarly) =>
            {
                LsnRange::new(log.start, self.taken)
            }
            Event::Session { .. } | Event::Ticked | Event::Prompted | Event::Superseded { .. } => log,
        }
    }

    /// The same disk, if it held all of our log below `at`.
    fn at_our(&self, at: Lsn, facts: Facts) -> Facts {
        let (Some(tail_chain), Some(tail_epoch)) = (self.log.chain_at(at), self.log.epoch_before(at)) else {
            return facts;
        };
        if at == Lsn::ZERO {
            return facts;
        }
        Facts {
            lineage: lineage::newest(lineage::below(&self.lineage, at)).to_vec(),
            log: LsnRange::new(self.log.start(), at),
            tail_chain,
            tail_epoch,
            checkpoint: self.log.start(),
            base: BaseState::Complete,
            ..facts
        }
    }

    /// The older designs: a feed begins where the primary says, whatever is here.
    pub(crate) fn obey(&mut self, begin: &mut Begin) {
        let BeginPlan::Feed { from } = begin.plan else { return };
        if from <= self.log.end() {
            return;
        }
        if self.setup.baited(Bait::AddressKeyed) && !self.base_complete() {
            let mark = self.log.reset(from, begin.chain, begin.epoch_before);
            let head = self.log.head();
            (self.taken, self.settled, self.committed) = (from, from, from);
            self.mover.home = from;
            self.lineage.clone_from(&begin.lineage);
            self.change_superblock(Safety::Twice, Told::Released { start: from }, |superblock| {
                superblock.cut = Some(mark);
                superblock.log_start = head;
                (superblock.checkpoint, superblock.settled) = (from, from);
                superblock.base = BaseState::Complete;
                superblock.promises_lost = false;
            });
        } else if self.setup.baited(Bait::ResumeUnasked) {
            self.fill_hole(from);
            begin.chain = self.log.chain_at(from).unwrap_or(begin.chain);
            begin.epoch_before = self.log.epoch_before(from).unwrap_or(begin.epoch_before);
        }
    }

    /// Records that were never received stand in the log as if they had been.
    fn fill_hole(&mut self, to: Lsn) {
        while self.log.end() < to {
            let filler = RecordHeader {
                volume: self.setup.volume,
                epoch: self.log.tail_epoch(),
                lsn: self.log.end(),
                kind: Kind::WriteZeroes,
                extent: Extent::new(0, 1),
                chain: self.log.tail_chain(),
                origin: Origin::NONE,
                body: alloc::vec![],
            };
            if self.append(filler, None).is_err() {
                return;
            }
        }
    }

    fn takes_holes(&self) -> bool {
        self.setup.baited(Bait::SkipRecord) || self.setup.baited(Bait::ResumeUnasked)
    }

    /// [`Bait::SkipRecord`], [`Bait::ResumeUnasked`]: a record that does not continue the log is taken all the same.
    pub(crate) fn take_anyway(&mut self, found: Violation, record: &RecordHeader) -> Result<(), Violation> {
        let above = matches!(found, Violation::Hole { expected, found } if expected < found);
        let continues = above || matches!(found, Violation::ChainBroken { .. });
        let idle = self.feed.as_ref().is_some_and(|feed| feed.parked.is_empty());
        if !continues || !idle || !self.takes_holes() {
            return Err(found);
        }
        self.fill_hole(record.lsn);
        let blocks = self.setup.volume_blocks;
        let end = self.log.end();
        if let Some(Stage::Fed { receiver }) = self.feed.as_mut().map(|feed| &mut feed.stage)
            && end == record.lsn
        {
            let (session, epoch, next) = (receiver.session(), receiver.epoch(), record.lsn.next());
            *receiver = Receiver::new(session, epoch, next, record.digest(), record.epoch, blocks);
            return Ok(());
        }
        Err(found)
    }

    /// The same: what is taken is chained to whatever was there.
    pub(crate) fn chained(&self, record: RecordHeader) -> RecordHeader {
        let chain = if self.takes_holes() { self.log.tail_chain() } else { record.chain };
        RecordHeader { chain, ..record }
    }

    /// [`Bait::CutBelowHome`]: what is home is forgotten to be so.
    pub(crate) fn forget_home_above(&mut self, to: Lsn) {
        if !self.setup.baited(Bait::CutBelowHome) || to >= self.taken.max(self.checkpoint()) {
            return;
        }
        self.mover.home = self.mover.home.min(to);
        self.taken = self.mover.home;
        self.overlay.clear_all();
        self.change_superblock(Safety::Once, Told::Nothing, |superblock| {
            superblock.checkpoint = superblock.checkpoint.min(to);
            superblock.settled = superblock.settled.min(to);
        });
    }
}
