//! A candidacy: sound a majority, promise oneself, ask for promises, take the best history among them, reign.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use seawall_recovery::lineage;
use seawall_sender::codec;
use seawall_sender::frame::Kind;
use seawall_sender::greeting::Hello;
use seawall_sender::receiver::Receiver;
use seawall_sender::session_id::SessionId;
use seawall_sender::time::Instant;
use seawall_wal::names::{Epoch, Extent, LineageRow, Lsn, Origin, ReplicaId};
use seawall_wal::record::Kind as RecordKind;

use crate::bait::Bait;
use crate::ballot::{Ask, Denial, Denied, Promise, is_elected};
use crate::commit::Electorate;
use crate::core::{Core, Told};
use crate::era::next_epoch;
use crate::io::{Answered, CommandId, LinkId};
use crate::link::LinkUse;
use crate::notice::Notice;
use crate::primary::Primary;
use crate::scribe::Safety;
use crate::status::CandidacyStatus;

/// Rounds that an operator waits for.
const ROUNDS_FOR_OPERATOR: u32 = 4;
/// The same for rounds in which a lease was in the way: each is over soon.
const LEASED_ROUNDS_FOR_OPERATOR: u32 = 16;
/// Rest after a failed round, times the number of rounds, at most eight times, and as much again by chance.
const REST: Duration = Duration::from_millis(300);

/// How many times the longest silence a voter waits for the one that it promised to.
pub(crate) const PATIENCE: u32 = 2;
/// The same for one that yields to a better log.
pub(crate) const PATIENCE_YIELDING: u32 = 6;

/// How far a candidacy has come.
#[derive(Debug)]
pub(crate) enum Stage {
    /// Until the next round.
    Resting { until: Instant },
    /// Asking who would promise; we have promised nothing ourselves.
    Sounding { willing: Vec<ReplicaId>, until: Instant },
    /// Our own promise is on its way to the disk, or durable; the others are asked after that.
    Asking { own: bool, promises: BTreeMap<ReplicaId, Promise>, until: Instant },
    /// Taking the best log of a majority. `cutting`: what left it was cut, and the mark is not durable yet.
    Fetching {
        link: LinkId,
        to: Lsn,
        cutting: bool,
        receiver: Option<Receiver>,
        lineage: Vec<LineageRow>,
        /// Who elected it, by the log that it had then.
        electors: Electorate,
        until: Instant,
    },
    /// Primary; its start has not committed. An operator hears so at last.
    Won { until: Instant },
}

/// A replica that wants to be primary.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) epoch: Epoch,
    pub(crate) stage: Stage,
    command: Option<CommandId>,
    pub(crate) rounds: u32,
    leased_rounds: u32,
    /// The highest promise that a refusal named.
    pub(crate) highest: Epoch,
    pub(crate) links: BTreeMap<ReplicaId, LinkId>,
    pub(crate) why: String,
    /// Who refused in this round.
    refused: Vec<ReplicaId>,
    /// What was in the way in this round was a lease: it runs out soon.
    leased: bool,
}

impl Candidate {
    /// Whether it waits for somebody else to reign.
    pub(crate) fn is_resting(&self) -> bool {
        matches!(self.stage, Stage::Resting { .. })
    }

    /// Whether an operator wants it.
    pub(crate) fn is_commanded(&self) -> bool {
        self.command.is_some()
    }

    /// How it comes along.
    pub(crate) fn status(&self) -> CandidacyStatus {
        let stage = match self.stage {
            Stage::Resting { .. } => "resting",
            Stage::Sounding { .. } => "sounding",
            Stage::Asking { .. } => "asking",
            Stage::Fetching { .. } => "fetching",
            Stage::Won { .. } => "won",
        };
        let (until, why) = (self.deadline(), self.why.clone());
        let commanded = self.is_commanded();
        CandidacyStatus { epoch: self.epoch, stage, until, rounds: self.rounds, why, commanded }
    }

    /// When it must act by itself.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Resting { until }
            | Stage::Sounding { until, .. }
            | Stage::Asking { until, .. }
            | Stage::Fetching { until, .. } => Some(*until),
            Stage::Won { until } => Some(*until).filter(|_| self.command.is_some()),
        }
    }
}

impl Core {
    /// An operator wants this replica to be primary.
    pub(crate) fn on_promote(&mut self, id: CommandId, take_over: bool) {
        if let Some(fault) = self.fault.clone() {
            self.answer(id, Err(fault));
        } else if let Some(primary) = self.primary.as_ref().filter(|primary| primary.serving) {
            let epoch = primary.epoch;
            self.answer(id, Ok(Answered::Promoted(alloc::format!("{epoch}"))));
        } else if !self.is_voter(self.me()) {
            self.answer(id, Err("this replica is not a voter: it can't be primary".into()));
        } else if !self.base_complete() {
            // Invariant: rebuilding-never-votes.
            self.answer(
                id,
                Err("this replica's own copy is not whole (blank or rebuilding): promote another one".into()),
            );
        } else if self.drain.is_some() || self.drained {
            self.answer(id, Err("this replica is shutting down".into()));
        } else if take_over || !self.ask_for_handover(id) {
            self.campaign_for(id);
        }
    }

    /// Ask for promises because an operator wants it, or go on doing so.
    pub(crate) fn campaign_for(&mut self, command: CommandId) {
        let Some(candidate) = self.candidate.as_mut() else { return self.campaign(Some(command)) };
        (candidate.rounds, candidate.leased_rounds) = (0, 0);
        let rests = matches!(candidate.stage, Stage::Resting { .. });
        if let Some(before) = candidate.command.replace(command) {
            self.answer(before, Err("another promotion was asked for".into()));
        }
        if rests {
            self.begin_round();
        }
    }

    /// Ask for promises, once or (without an operator) until somebody reigns. Who is no voter does not.
    pub(crate) fn campaign(&mut self, command: Option<CommandId>) {
        if !self.is_voter(self.me()) {
            if let Some(id) = command {
                self.answer(id, Err("this replica is not a voter: it can't be primary".into()));
            }
            return;
        }
        let candidate = Candidate {
            epoch: Epoch::ZERO,
            stage: Stage::Resting { until: self.now },
            command,
            rounds: 0,
            leased_rounds: 0,
            highest: Epoch::ZERO,
            links: BTreeMap::new(),
            why: String::new(),
            refused: Vec::new(),
            leased: false,
        };
        self.candidate = Some(candidate);
        self.begin_round();
    }

    fn begin_round(&mut self) {
        let me = self.me();
        if let Some(why) = self.stranded_why() {
            return self.candidate_ends(&why);
        }
        let used = self.promised().max(self.scribe.content().campaigned);
        let tail = self.log.tail_epoch();
        let until = self.now.after(self.setup.limits.candidacy_round);
        let held_back = self.leased_against(me).max(self.spared_by(me));
        let baited = self.setup.baited(Bait::EraByCounting);
        let Some(candidate) = self.candidate.as_mut() else { return };
        if let Some(until) = held_back.filter(|_| candidate.command.is_none()) {
            // Our own promise is a voter's like any other; an operator's wish is told to the others meanwhile.
            candidate.stage = Stage::Resting { until };
            return;
        }
        candidate.refused.clear();
        candidate.leased = false;
        // A restarted process never campaigns for an epoch that it used before.
        candidate.epoch = next_epoch(me, tail, [used, candidate.highest], baited);
        candidate.rounds += 1;
        candidate.stage = Stage::Sounding { willing: alloc::vec![me], until };
        let epoch = candidate.epoch;
        self.notice(Notice::Campaigning { epoch });
        self.connect_voters();
        self.count_willing();
    }

    /// A connection of the candidacy is open.
    pub(crate) fn candidacy_connected(&mut self, link: LinkId, replica: ReplicaId) {
        let (hello, epoch) = (Hello::new(&self.identity(), replica), self.log.tail_epoch());
        self.send(link, Kind::Hello, epoch, SessionId::NONE, &codec::encode(&hello), None);
    }

    /// A voter said who it is.
    pub(crate) fn candidacy_welcomed(&mut self, link: LinkId) {
        if self.force_welcomed(link) {
            return;
        }
        let Some(candidate) = self.candidate.as_ref() else { return };
        let sounding = match &candidate.stage {
            Stage::Sounding { .. } => true,
            Stage::Asking { own: true, .. } => false,
            // It is asked when our own promise is durable; or no more.
            Stage::Asking { own: false, .. }
            | Stage::Resting { .. }
            | Stage::Fetching { .. }
            | Stage::Won { .. } => return,
        };
        self.ask(link, sounding);
    }

    fn ask(&mut self, link: LinkId, sounding: bool) {
        let Some(candidate) = self.candidate.as_ref() else { return };
        let epoch = candidate.epoch;
        let configuration = self.membership.newest().number;
        let ask = Ask { epoch, sounding, planned: candidate.command.is_some(), configuration };
        self.send(link, Kind::Ask, epoch, SessionId::NONE, &codec::encode(&ask), None);
    }

    /// A promise, or the word that it would be given.
    pub(crate) fn on_promise(&mut self, replica: ReplicaId, promise: Promise) {
        if !lineage::covers(&promise.lineage, promise.log.end, promise.tail_epoch) {
            return;
        }
        let Some(promise) = self.force_promised(replica, promise) else { return };
        let Some(candidate) = self.candidate.as_mut().filter(|candidate| candidate.epoch == promise.epoch)
        else {
            return;
        };
        match &mut candidate.stage {
            Stage::Sounding { willing, .. } if promise.sounding => {
                if !willing.contains(&replica) {
                    willing.push(replica);
                }
                self.count_willing();
            }
            Stage::Asking { promises, .. } if !promise.sounding => {
                promises.insert(replica, promise);
                self.count_promises();
            }
            // Late answers of a stage that is over.
            Stage::Sounding { .. }
            | Stage::Asking { .. }
            | Stage::Resting { .. }
            | Stage::Fetching { .. }
            | Stage::Won { .. } => {}
        }
    }

    fn count_willing(&mut self) {
        // A slow disk may take its time for our own promise.
        let until = self.now.after(self.setup.limits.candidacy_round * 12);
        let leased = self.leased_against(self.me()).is_some();
        let Some(candidate) = self.candidate.as_mut() else { return };
        let Stage::Sounding { willing, .. } = &candidate.stage else { return };
        let enough = self.electorate.is_majority(|voter| willing.contains(&voter));
        if !enough && !self.setup.baited(Bait::NoPreVote) {
            return;
        }
        // While we asked, the primary may have been heard of again.
        if leased {
            candidate.leased = true;
            return self.round_failed("the primary's lease has not run out");
        }
        let epoch = candidate.epoch;
        candidate.stage = Stage::Asking { own: false, promises: BTreeMap::new(), until };
        if self.feed.is_some() {
            self.end_feed("this replica campaigns");
        }
        self.flush_to = self.flush_to.max(self.log.end());
        // Invariant: promise-is-durable-first.
        self.change_superblock(Safety::Twice, Told::OwnPromise { epoch }, |superblock| {
            assert!(superblock.promised < epoch, "Invariant: promised-never-falls.");
            superblock.promised = epoch;
            superblock.campaigned = superblock.campaigned.max(epoch);
        });
    }

    /// Our own promise is durable: ask the others.
    pub(crate) fn on_own_promise_stored(&mut self, stored: Epoch) {
        let Some(candidate) = self.candidate.as_mut().filter(|candidate| candidate.epoch == stored) else {
            return;
        };
        let Stage::Asking { own, until, .. } = &mut candidate.stage else { return };
        *own = true;
        *until = self.now.after(self.setup.limits.candidacy_round);
        let links: Vec<LinkId> = candidate.links.values().copied().collect();
        for link in links {
            if matches!(self.links.get(&link), Some(LinkUse::Candidacy { welcomed: true, .. })) {
                self.ask(link, false);
            }
        }
        self.count_promises();
    }

    /// Own log durable, own promise durable, promises of enough others: take the best history.
    fn count_promises(&mut self) {
        let me = self.me();
        let ready = self.log_is_settled_on_disk();
        let Some(candidate) = self.candidate.as_ref() else { return };
        let Stage::Asking { own: true, promises, until } = &candidate.stage else { return };
        // Invariant: forgotten-promises-bind. What was promised in a round is worth nothing when its time is over: who
        // promised may have forgotten it meanwhile, and has waited for that long.
        if !ready || *until < self.now {
            return;
        }
        let ours = self.promise(candidate.epoch, false);
        let promise_of = |voter| if voter == me { Some(&ours) } else { promises.get(&voter) };
        let elected = self.electorate.rolls().all(|roll| {
            let promised: Vec<&Promise> = roll.iter().filter_map(|voter| promise_of(*voter)).collect();
            let lossy = promised.iter().filter(|promise| promise.lossy).count();
            is_elected(promised.len() - lossy, lossy, roll.len())
        });
        if !elected {
            return;
        }
        // We ourselves win a tie.
        let mut best: (ReplicaId, &Promise) = (me, &ours);
        for (replica, promise) in promises {
            let longer = promise.log.end > best.1.log.end;
            let baited = self.setup.baited(Bait::RankByLength);
            let better = if baited { longer } else { promise.outranks(best.1) };
            if better {
                best = (*replica, promise);
            }
        }
        if best.0 == me {
            self.reign();
            return;
        }
        let (holder, promise) = (best.0, best.1.clone());
        self.adopt_from(holder, &promise);
    }

    /// Our own log moved.
    pub(crate) fn candidate_progressed(&mut self) {
        let settled_on_disk = self.log_is_settled_on_disk();
        let Some(candidate) = self.candidate.as_ref() else { return };
        match &candidate.stage {
            Stage::Asking { .. } => self.count_promises(),
            // Nothing is written over what was cut, and nobody reigns without it, before the mark is durable.
            Stage::Fetching { cutting: true, .. } => {}
            Stage::Fetching { to, lineage, receiver, .. } => {
                self.flush_to = self.flush_to.max(self.log.end());
                if self.log.end() == *to && settled_on_disk {
                    self.lineage = lineage::below(lineage, self.log.end()).to_vec();
                    self.adopted();
                } else if receiver.is_none()
                    && settled_on_disk
                    && self.log.free_bytes() > self.log_bytes() / 8
                {
                    self.fetch_on();
                }
            }
            Stage::Resting { .. } | Stage::Sounding { .. } | Stage::Won { .. } => {}
        }
    }

    /// History is complete and durable: begin to write in the new epoch.
    pub(crate) fn reign(&mut self) {
        if !self.is_voter(self.me()) {
            // What it adopted says so. Who promised asks for promises itself after a while.
            return self.candidate_ends("the best log says that this replica is no voter any more");
        }
        let until = self.now.after(self.setup.limits.candidacy_round * 2);
        let Some(candidate) = self.candidate.as_mut() else { return };
        candidate.stage = Stage::Won { until };
        let epoch = candidate.epoch;
        let links: Vec<LinkId> = core::mem::take(&mut candidate.links).into_values().collect();
        for link in links {
            self.disconnect(link);
        }
        // Invariant: rebuilding-never-votes.
        assert!(self.base_complete(), "only a whole copy reigns");
        // Invariant: one-primary-per-epoch.
        assert!(self.promised() == epoch && epoch.replica == self.me(), "only the promised one reigns");
        // Invariant: eras-are-forced.
        let counted = epoch.era() == self.era() || self.setup.baited(Bait::EraByCounting);
        assert!(counted, "nobody gets into another era by counting");
        let first = self.log.end();
        self.primary = Some(Primary::new(epoch, first, self.has_leases()));
        let header = self.next_header(RecordKind::EpochStart, Extent::default(), Vec::new(), Origin::NONE);
        if self.append(header, None).is_err() {
            self.primary = None;
            self.space_wanted();
            self.round_failed("the log has no room for an epoch's start");
            return;
        }
        self.flush_to = self.flush_to.max(self.log.end());
        self.lineage.push(LineageRow { epoch, first });
        self.notice(Notice::Reigning { epoch, first });
        self.lanes_due();
        self.weigh();
    }

    /// The epoch's start has committed.
    pub(crate) fn campaign_won(&mut self, epoch: Epoch) {
        self.force_won();
        let Some(candidate) = self.candidate.take() else { return };
        if let Some(id) = candidate.command {
            self.answer(id, Ok(Answered::Promoted(alloc::format!("{epoch}"))));
        }
    }

    /// No promise.
    pub(crate) fn on_denied(&mut self, replica: ReplicaId, denied: Denied) {
        if self.force_denied(replica, denied) {
            return;
        }
        self.note_era(denied.promised);
        let soon = self.now.after(self.setup.limits.lease / 4);
        let Some(candidate) = self.candidate.as_mut().filter(|candidate| candidate.epoch == denied.epoch)
        else {
            return;
        };
        if matches!(candidate.stage, Stage::Won { .. } | Stage::Fetching { .. }) {
            return;
        }
        candidate.highest = candidate.highest.max(denied.promised);
        candidate.why = alloc::format!("{replica} refused: {}", denied.why.name());
        if denied.why == Denial::Leased {
            // That is over soon; who does not answer at all is not waited for longer than that.
            candidate.leased = true;
            if let Stage::Sounding { until, .. } | Stage::Asking { until, .. } = &mut candidate.stage {
                *until = (*until).min(soon);
            }
        }
        let hopeless = denied.promised > candidate.epoch || denied.why == Denial::LivePrimary;
        if !candidate.refused.contains(&replica) {
            candidate.refused.push(replica);
        }
        let refused = &candidate.refused;
        if hopeless || !self.electorate.is_majority(|voter| !refused.contains(&voter)) {
            let why = candidate.why.clone();
            self.round_failed(&why);
        }
    }

    /// A higher epoch than the one that we ask for: an operator hears so, and the one who has it may reign; if it
    /// does not, we ask again.
    pub(crate) fn candidate_beaten(&mut self, epoch: Epoch) {
        self.candidate_ends("another replica was promised a higher epoch");
        self.rest(epoch, PATIENCE);
    }

    /// The primary that feeds us is heard of again, and not cut off: nobody needs another.
    pub(crate) fn candidate_reassured(&mut self) {
        let undecided = self.candidate.as_ref().is_some_and(|candidate| {
            let early = matches!(candidate.stage, Stage::Resting { .. } | Stage::Sounding { .. });
            early && candidate.command.is_none()
        });
        if undecided {
            self.candidate_ends("the primary is heard of again");
        }
    }

    /// Somebody else was promised `epoch`. If nobody reigns for a while, ask for promises ourselves.
    pub(crate) fn rest(&mut self, epoch: Epoch, silences: u32) {
        let fit = self.fault.is_none() && self.drain.is_none() && self.base_complete();
        if !fit || !self.is_voter(self.me()) || self.stranded().is_some() {
            return;
        }
        let limits = &self.setup.limits;
        // Where replicas act by themselves, they know when a primary is missed; elsewhere an operator may be at it.
        let silence =
            if self.finds_itself_a_primary() { self.missed_after() * 2 } else { limits.silence_max };
        let until = self.now.after(silence * silences + self.dice.below(REST * 2));
        self.candidate = Some(Candidate {
            epoch: Epoch::ZERO,
            stage: Stage::Resting { until },
            command: None,
            rounds: 0,
            leased_rounds: 0,
            highest: epoch,
            links: BTreeMap::new(),
            why: String::new(),
            refused: Vec::new(),
            leased: false,
        });
    }

    pub(crate) fn round_failed(&mut self, why: &str) {
        let now = self.now;
        let lease = self.setup.limits.lease;
        let unit = if self.finds_itself_a_primary() { self.missed_after() / 4 } else { REST };
        let (chance, soon) = (self.dice.below(unit * 3), self.dice.below(lease / 4));
        let Some(candidate) = self.candidate.as_mut() else { return };
        let (epoch, promised) = (candidate.epoch, candidate.highest);
        let links: Vec<LinkId> = core::mem::take(&mut candidate.links).into_values().collect();
        candidate.why = why.into();
        let operator = candidate.command.is_some();
        if candidate.leased {
            (candidate.rounds, candidate.leased_rounds) =
                (candidate.rounds.saturating_sub(1), candidate.leased_rounds + 1);
        }
        let (rounds, leased_rounds) = (candidate.rounds, candidate.leased_rounds);
        // Different replicas rest for different times, so that two of them do not meet for ever.
        let rest = if candidate.leased { lease / 4 + soon } else { unit * rounds.min(8) + chance };
        candidate.stage = Stage::Resting { until: now.after(rest) };
        for link in links {
            self.disconnect(link);
        }
        self.notice(Notice::CampaignFailed { epoch, promised });
        if operator && (rounds >= ROUNDS_FOR_OPERATOR || leased_rounds >= LEASED_ROUNDS_FOR_OPERATOR) {
            self.candidate_ends(why);
        }
    }

    /// The candidacy is over without a reign.
    pub(crate) fn candidate_ends(&mut self, why: &str) {
        let Some(candidate) = self.candidate.take() else { return };
        for link in candidate.links.into_values() {
            self.disconnect(link);
        }
        if let Some(id) = candidate.command {
            let why = if candidate.why.is_empty() { why } else { &candidate.why };
            self.answer(id, Err(alloc::format!("not promoted: {why}")));
        }
    }

    /// A connection of the candidacy is gone.
    pub(crate) fn candidacy_lost(&mut self, link: LinkId, replica: ReplicaId) {
        self.force_lost(link);
        let Some(candidate) = self.candidate.as_mut() else { return };
        if candidate.links.get(&replica) == Some(&link) {
            candidate.links.remove(&replica);
        }
        let fetching = matches!(&candidate.stage, Stage::Fetching { link: used, .. } if *used == link);
        if fetching {
            return self.round_failed("the holder of the best log went away");
        }
        // Who has answered counts although it is gone; who is connected may still answer.
        let Some(candidate) = self.candidate.as_ref() else { return };
        let answered: Vec<ReplicaId> = match &candidate.stage {
            Stage::Sounding { willing, .. } => willing.clone(),
            Stage::Asking { promises, .. } => promises.keys().copied().chain([self.me()]).collect(),
            Stage::Resting { .. } | Stage::Fetching { .. } | Stage::Won { .. } => return,
        };
        let may = |voter| answered.contains(&voter) || candidate.links.contains_key(&voter);
        if !self.electorate.is_majority(may) {
            self.round_failed("too few voters can be reached");
        }
    }

    /// Time passed.
    pub(crate) fn candidate_tick(&mut self) {
        let now = self.now;
        let Some(candidate) = self.candidate.as_ref() else { return };
        if candidate.deadline().is_none_or(|deadline| deadline > now) {
            return;
        }
        match &candidate.stage {
            Stage::Resting { .. } => self.begin_round(),
            Stage::Sounding { .. } => self.round_timed_out("no majority answered"),
            Stage::Asking { .. } => self.round_timed_out("no majority promised"),
            Stage::Fetching { .. } => self.round_failed("the holder of the best log fell silent"),
            Stage::Won { .. } => self.won_without_quorum(),
        }
    }

    /// The operator hears that the reign has begun and can't serve; it goes on trying.
    fn won_without_quorum(&mut self) {
        let command = self.candidate.as_mut().and_then(|candidate| candidate.command.take());
        if let Some(id) = command {
            let why = "promised by a majority, but its start can't commit: too few replicas are in sync";
            self.answer(id, Err(why.into()));
        }
    }

    fn round_timed_out(&mut self, why: &str) {
        let refused = self.candidate.as_ref().map(|candidate| candidate.why.clone()).unwrap_or_default();
        let why = if refused.is_empty() { why.into() } else { alloc::format!("{why}; {refused}") };
        self.round_failed(&why);
    }
}
