//! Taking the best history of a majority: cut what left it, fetch what is lacking, yield if it is out of reach.

use alloc::string::String;
use alloc::vec::Vec;

use seawall_recovery::lineage;
use seawall_sender::codec;
use seawall_sender::feed::Append;
use seawall_sender::frame::Kind;
use seawall_sender::receiver::Receiver;
use seawall_sender::session_id::SessionId;
use seawall_sender::violation::Violation;
use seawall_wal::names::{Epoch, LineageRow, ReplicaId};
use seawall_wal::record::Kind as RecordKind;

use crate::bait::Bait;
use crate::ballot::{Fetch, FetchEnd, Promise};
use crate::branch::MayGo;
use crate::candidate::{PATIENCE_YIELDING, Stage};
use crate::core::{Core, Told};
use crate::io::{LinkId, Payload};
use crate::link::LinkUse;
use crate::notice::Notice;

impl Core {
    /// Drop what left the best history, then fetch what we lack of it.
    pub(crate) fn adopt_from(&mut self, holder: ReplicaId, best: &Promise) {
        let fork = lineage::fork(&self.lineage, self.log.end(), &best.lineage, best.log.end);
        let Some(candidate) = self.candidate.as_ref() else { return };
        let epoch = candidate.epoch;
        let link = candidate.links.get(&holder).copied().filter(|link| self.links.contains_key(link));
        let Some(link) = link else { return self.round_failed("the holder of the best log is out of reach") };
        // Invariant: cut-only-above-checkpoint.
        if fork < best.log.start || fork < self.taken || fork < self.checkpoint() {
            let why = alloc::format!(
                "the best log is that of {holder}, and this replica is too far from it to adopt it: promote {holder}"
            );
            return self.yield_to_holder(&why);
        }
        match self.may_go(fork, epoch) {
            MayGo::Yes => {}
            // It goes on asking until then, and comes here again.
            MayGo::Later => return,
            MayGo::No => {
                return self.yield_to_holder("there is no room for what this replica would have to cut");
            }
        }
        self.notice(Notice::AdoptingLog { holder, from: fork, to: best.log.end });
        let until = self.now.after(self.setup.limits.candidacy_round);
        let Some(candidate) = self.candidate.as_mut() else { return };
        let (to, lineage) = (best.log.end, best.lineage.clone());
        let electors = self.electorate.clone();
        let cutting = fork < self.log.end() && !self.setup.baited(Bait::FetchBeforeCut);
        candidate.stage = Stage::Fetching { link, to, cutting, receiver: None, lineage, electors, until };
        if fork < self.log.end() && self.setup.baited(Bait::FetchBeforeCut) {
            self.cut_tail(fork, Told::Nothing);
            self.fetch_on();
        } else if fork < self.log.end() {
            // The mark is durable before anything is written over what was cut.
            self.cut_tail(fork, Told::CutForFetch { epoch });
        } else {
            self.fetch_on();
        }
    }

    /// The best log is elsewhere and out of reach: its holder, who promised us, asks for promises itself before we
    /// do so again.
    fn yield_to_holder(&mut self, why: &str) {
        if self.setup.baited(Bait::NeverYield) {
            return self.round_failed(why);
        }
        let Some(candidate) = self.candidate.as_mut() else { return };
        let (epoch, promised) = (candidate.epoch, candidate.highest);
        candidate.why = why.into();
        self.notice(Notice::CampaignFailed { epoch, promised });
        self.candidate_ends(why);
        self.rest(epoch, PATIENCE_YIELDING);
    }

    /// The cut before a fetch is durable.
    pub(crate) fn on_cut_for_fetch(&mut self, epoch: Epoch) {
        let candidate = self.candidate.as_mut().filter(|candidate| candidate.epoch == epoch);
        let Some(Stage::Fetching { cutting, .. }) = candidate.map(|candidate| &mut candidate.stage) else {
            return;
        };
        *cutting = false;
        self.candidate_progressed();
    }

    /// Ask for what comes after the end of our log.
    pub(crate) fn fetch_on(&mut self) {
        let (end, chain, last) = (self.log.end(), self.log.tail_chain(), self.log.tail_epoch());
        let blocks = self.setup.volume_blocks;
        let Some(candidate) = self.candidate.as_mut() else { return };
        let epoch = candidate.epoch;
        let Stage::Fetching { link, to, receiver, .. } = &mut candidate.stage else { return };
        if end >= *to {
            return;
        }
        *receiver = Some(Receiver::new(SessionId::NONE, epoch, end, chain, last, blocks));
        let (link, fetch) = (*link, codec::encode(&Fetch { from: end, to: *to }));
        self.send(link, Kind::Fetch, epoch, SessionId::NONE, &fetch, None);
    }

    /// A record of the best log.
    pub(crate) fn on_fetched(
        &mut self,
        from: LinkId,
        epoch: Epoch,
        append: Append,
        payload: Option<Payload>,
    ) -> Result<(), Violation> {
        let volume = self.setup.volume;
        let until = self.now.after(self.setup.limits.candidacy_round);
        let candidate = self.candidate.as_mut().filter(|candidate| candidate.epoch == epoch);
        let stage = candidate.map(|candidate| &mut candidate.stage);
        let Some(Stage::Fetching { link, receiver: Some(receiver), until: deadline, .. }) = stage else {
            self.drop_payload(payload);
            return Ok(());
        };
        if *link != from {
            self.drop_payload(payload);
            return Ok(());
        }
        *deadline = until;
        let crcs: &[_] = payload.as_ref().map_or(&[], |payload| &payload.crcs);
        if let Err(violation) = receiver.on_append(epoch, SessionId::NONE, &append.record, crcs, volume) {
            self.drop_payload(payload);
            return Err(violation);
        }
        let body = payload.map(|payload| payload.buf);
        let (kind, row) =
            (append.record.kind, LineageRow { epoch: append.record.epoch, first: append.record.lsn });
        if self.append(append.record, body).is_ok() {
            if kind == RecordKind::EpochStart && !self.setup.baited(Bait::LineageBehind) {
                self.lineage.push(row);
            }
            // What the holder knows to be settled may go home here, and so make room.
            self.settled = self.settled.max(append.settled.min(self.log.end()));
            self.committed = self.committed.max(self.settled);
            self.take();
            return Ok(());
        }
        if let Some(body) = body {
            self.release(body);
        }
        // Fetched anew when there is room.
        if let Some(Stage::Fetching { receiver, .. }) =
            self.candidate.as_mut().map(|candidate| &mut candidate.stage)
        {
            *receiver = None;
        }
        self.space_wanted();
        Ok(())
    }

    /// The holder sent what it could at once.
    pub(crate) fn on_fetch_end(&mut self, from: LinkId, end: FetchEnd) {
        let Some(candidate) = self.candidate.as_ref() else { return };
        let Stage::Fetching { link, receiver: Some(_), .. } = &candidate.stage else { return };
        if *link == from && end.to == self.log.end() {
            self.fetch_on();
        }
        self.candidate_progressed();
    }

    /// The best log is ours, durably. If it names other voters than those that were asked, they are asked anew: what was
    /// promised before may be forgotten by the time that the others have answered.
    pub(crate) fn adopted(&mut self) {
        let Some(candidate) = self.candidate.as_ref() else { return };
        let Stage::Fetching { electors, .. } = &candidate.stage else { return };
        if *electors == self.electorate {
            self.reign();
        } else {
            self.round_failed("the best log names other voters: they are asked next");
        }
    }

    /// Connect to all who have a say and to whom there is no connection.
    pub(crate) fn connect_voters(&mut self) {
        let Some(candidate) = self.candidate.as_ref() else { return };
        let (me, round) = (self.me(), u64::from(candidate.rounds));
        let unheard = |replica: &ReplicaId| *replica != me && !candidate.links.contains_key(replica);
        let others: Vec<(ReplicaId, String)> = self
            .electorate
            .voters()
            .filter(unheard)
            .filter_map(|replica| Some((replica, self.address_of(replica, round.wrapping_sub(1))?)))
            .collect();
        for (replica, address) in others {
            let link = self.connect(replica, address, LinkUse::Candidacy { replica, welcomed: false });
            if let Some(candidate) = self.candidate.as_mut() {
                candidate.links.insert(replica, link);
            }
        }
    }
}
