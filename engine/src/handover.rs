//! Hand-over by plan: the primary drains, hands its lease back and names its successor, so that nobody waits for a
//! lease to run out.

use alloc::string::String;
use alloc::vec::Vec;

use bincode::{Decode, Encode};

use seawall_sender::codec;
use seawall_sender::frame::Kind;
use seawall_sender::session_id::SessionId;
use seawall_sender::time::Instant;
use seawall_wal::names::ReplicaId;

use crate::core::Core;
use crate::io::{Answered, CommandId, Refusal};
use crate::lane::Lane;
use crate::link::LinkUse;
use crate::notice::Notice;

/// The primary has handed its lease back. Final for its epoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Release {
    /// Who is to ask for promises now.
    pub to: ReplicaId,
}

/// The primary does not hand over.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Keep {
    /// Why not.
    pub why: Reluctance,
}

/// Why a primary does not hand over.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub enum Reluctance {
    /// It does not serve yet itself.
    NotServing,
    /// Who asks is not in sync.
    NotInSync,
    /// It hands over to another one already.
    Busy,
    /// It could not finish what was in flight in time, and goes on.
    TooSlow,
}

impl Reluctance {
    /// For people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Reluctance::NotServing => "the primary does not serve yet itself",
            Reluctance::NotInSync => "the replica is not in sync with its primary",
            Reluctance::Busy => "the primary hands over to another replica already",
            Reluctance::TooSlow => "the primary could not finish what was in flight in time, and goes on",
        }
    }
}

/// A primary that is about to hand over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Handing {
    to: ReplicaId,
    until: Instant,
    command: Option<CommandId>,
}

impl Handing {
    /// When it gives up and goes on.
    pub(crate) fn deadline(&self) -> Instant {
        self.until
    }

    /// The operator who waits for it.
    pub(crate) fn command(&self) -> Option<CommandId> {
        self.command
    }
}

/// A follower that has asked its primary to hand over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ceding {
    command: CommandId,
    until: Instant,
}

impl Ceding {
    /// When it stops waiting for an answer.
    pub(crate) fn deadline(&self) -> Instant {
        self.until
    }
}

/// To whom a primary hands over if nobody is named: the first voter that counts; one of the in-sync set, if there is
/// one.
#[must_use]
pub fn successor(
    others: impl Iterator<Item = (ReplicaId, bool)>,
    awaited: &[ReplicaId],
) -> Option<ReplicaId> {
    let counting = others.filter(|(_, counts)| *counts).map(|(replica, _)| replica);
    counting.min_by_key(|replica| !awaited.contains(replica))
}

impl Core {
    /// An operator wants this replica to be primary, and there is one that feeds it: ask that one. Whether it was.
    pub(crate) fn ask_for_handover(&mut self, command: CommandId) -> bool {
        let live = self.hears_a_primary();
        let Some(feed) = self.feed.as_ref().filter(|feed| live && feed.is_fed()) else { return false };
        let (link, epoch, session) = (feed.link, feed.epoch, feed.session);
        let until = self.now.after(self.setup.limits.candidacy_round);
        if let Some(before) = self.ceding.replace(Ceding { command, until }) {
            self.answer(before.command, Err("another promotion was asked for".into()));
        }
        self.send(link, Kind::Cede, epoch, session, &[], None);
        true
    }

    /// A fed replica asks us to hand over to it.
    pub(crate) fn on_cede(&mut self, replica: ReplicaId, session: SessionId) {
        if self.lanes.get(&replica).and_then(|lane| lane.sender.session()) != Some(session) {
            return self.notice(Notice::Stale { session });
        }
        if let Err(why) = self.begin_handover(replica, None) {
            self.decline_handover(replica, why);
        }
    }

    /// An operator wants this primary to hand over: to that replica, or to any that is in sync.
    pub(crate) fn on_handover_command(&mut self, id: CommandId, to: Option<ReplicaId>) {
        let fit = |replica, lane: &Lane| self.is_voter(replica) && lane.counts();
        let others = || self.lanes.iter().map(|(replica, lane)| (*replica, fit(*replica, lane)));
        // Whoever is worked on is named last.
        let free = others().filter(|(replica, _)| self.maintained(*replica).is_none());
        let awaited = self.electorate.awaited();
        let to = to.or_else(|| successor(free, awaited)).or_else(|| successor(others(), awaited));
        let Some(to) = to else {
            return self.answer(id, Err("not handed over: no other replica is in sync".into()));
        };
        if self.primary.is_none() {
            let why = "not handed over: this replica is not the primary; ask the one that is";
            return self.answer(id, Err(why.into()));
        }
        if let Err(why) = self.begin_handover(to, Some(id)) {
            self.answer(id, Err(alloc::format!("not handed over to {to}: {}", why.name())));
        }
    }

    fn begin_handover(&mut self, to: ReplicaId, command: Option<CommandId>) -> Result<(), Reluctance> {
        let until = self.now.after(self.setup.limits.candidacy_round / 2);
        let in_sync = self.is_voter(to) && self.lanes.get(&to).is_some_and(Lane::counts);
        let able = self.drain.is_none();
        let primary = self.primary.as_mut().filter(|primary| primary.serving && able);
        let Some(primary) = primary else { return Err(Reluctance::NotServing) };
        if !in_sync {
            return Err(Reluctance::NotInSync);
        }
        if primary.handing.is_some() {
            return Err(Reluctance::Busy);
        }
        primary.handing = Some(Handing { to, until, command });
        let end = self.log.end();
        self.want_durable(end);
        self.handover_due();
        Ok(())
    }

    fn decline_handover(&mut self, replica: ReplicaId, why: Reluctance) {
        let session = self.lanes.get(&replica).and_then(|lane| lane.sender.session());
        if let Some(session) = session {
            let epoch = self.epoch();
            self.send_lane(replica, Kind::Keep, epoch, session, &codec::encode(&Keep { why }), None);
        }
    }

    /// Hand over once the successor has everything, and nothing is in flight that was admitted.
    pub(crate) fn handover_due(&mut self) {
        let Some(primary) = self.primary.as_ref() else { return };
        let Some(handing) = primary.handing else { return };
        let lane = self.lanes.get(&handing.to).filter(|lane| lane.counts());
        let end = self.log.end();
        let busy = !primary.merges.is_empty() || !primary.plain.is_empty() || !primary.firm.is_empty();
        let drained = !busy && self.settled == end && self.log.durable() == end;
        let has_all = lane.map(|lane| lane.sender.frontiers().durable >= end);
        if has_all.is_none() {
            return self.handover_failed(handing, Reluctance::NotInSync);
        }
        if !drained || has_all != Some(true) {
            return;
        }
        let epoch = primary.epoch;
        self.notice(Notice::HandedOver { epoch, to: handing.to });
        let release = codec::encode(&Release { to: handing.to });
        let fed: Vec<(ReplicaId, SessionId)> = self
            .lanes
            .iter()
            .filter_map(|(replica, lane)| Some((*replica, lane.sender.session()?)))
            .collect();
        for (replica, session) in fed {
            self.send_lane(replica, Kind::Release, epoch, session, &release, None);
            // The other end closes it when it has heard.
            if let Some(link) = self.lane_mut(replica).link.take() {
                self.links.insert(link, LinkUse::Leaving { since: self.now });
            }
        }
        if let Some(id) = handing.command {
            self.answer(id, Ok(Answered::HandedOver(handing.to)));
        }
        if let Some(primary) = self.primary.as_mut() {
            primary.handing = None;
        }
        self.handed_back = epoch;
        self.abdicate(Refusal::NotPrimary);
        self.wait_for_a_primary();
    }

    fn handover_failed(&mut self, handing: Handing, why: Reluctance) {
        if let Some(primary) = self.primary.as_mut() {
            primary.handing = None;
        }
        self.decline_handover(handing.to, why);
        if let Some(id) = handing.command {
            self.answer(id, Err(alloc::format!("not handed over to {}: {}", handing.to, why.name())));
        }
        self.admit_writes();
    }

    /// The primary handed its lease back.
    pub(crate) fn on_release(&mut self, release: Release) {
        let Some(epoch) = self.feed.as_ref().map(|feed| feed.epoch) else { return };
        self.lease_handed_back(epoch);
        self.handed_back = epoch;
        let ceding = self.ceding.take();
        self.end_feed("the primary handed over");
        self.wait_for_a_primary();
        if release.to == self.me() && self.base_complete() {
            self.campaign(ceding.map(|ceding| ceding.command));
        } else if let Some(ceding) = ceding {
            let why = alloc::format!("not promoted: the primary handed over to {}", release.to);
            self.answer(ceding.command, Err(why));
        }
    }

    /// The primary goes on.
    pub(crate) fn on_keep(&mut self, keep: Keep) {
        if let Some(ceding) = self.ceding.take() {
            let why = alloc::format!("not promoted: {}; to take over all the same, say so", keep.why.name());
            self.answer(ceding.command, Err(why));
        }
    }

    /// The primary that was asked is gone: ask for promises instead.
    pub(crate) fn ceding_lost(&mut self) {
        if let Some(ceding) = self.ceding.take() {
            if self.base_complete() && self.drain.is_none() && self.fault.is_none() {
                self.campaign_for(ceding.command);
            } else {
                let why = String::from("not promoted: this replica lost its primary and can't be one itself");
                self.answer(ceding.command, Err(why));
            }
        }
    }

    /// Time passed.
    pub(crate) fn handover_tick(&mut self) {
        let now = self.now;
        let handing = self.primary.as_ref().and_then(|primary| primary.handing);
        if let Some(handing) = handing.filter(|handing| handing.until <= now) {
            self.handover_failed(handing, Reluctance::TooSlow);
        }
        if let Some(ceding) = self.ceding.take_if(|ceding| ceding.until <= now) {
            let why = "not promoted: the primary did not answer in time; to take over all the same, say so";
            self.answer(ceding.command, Err(why.into()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_successor_is_of_the_in_sync_set_if_one_of_it_counts() {
        let of = |counting: &[u64], awaited: &[u64]| {
            let others = (1..5).map(|id| (ReplicaId(id), counting.contains(&id)));
            let awaited: Vec<ReplicaId> = awaited.iter().copied().map(ReplicaId).collect();
            successor(others, &awaited).map(|replica| replica.0)
        };
        assert_eq!(of(&[2, 3], &[1, 2, 3, 4]), Some(2));
        assert_eq!(of(&[2, 3], &[1, 3]), Some(3));
        assert_eq!(of(&[2, 4], &[1, 3]), Some(2));
        assert_eq!(of(&[], &[1, 3]), None);
    }
}
