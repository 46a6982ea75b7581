//! Changes of the membership: what an operator asks for, what a primary refuses, and what follows when the record of
//! a change is settled. One at a time, one voter at a time.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use seawall_recovery::messages::{Greet, Refusal as Declined};
use seawall_sender::feed::Pulse;
use seawall_sender::frame::Kind;
use seawall_sender::violation::Violation;
use seawall_wal::configuration::{Configuration, MEMBERS_MAX, Member, Suffrage};
use seawall_wal::names::{Extent, Lsn, Origin, ReplicaId};
use seawall_wal::record::Kind as RecordKind;

use crate::bait::Bait;
use crate::commit::majority;
use crate::core::Core;
use crate::io::{Answered, CommandId, LinkId, Refusal};
use crate::link::LinkUse;
use crate::notice::Notice;
use crate::setup::CommitRule;

/// What is to become of the membership.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// A new replica joins: it is fed, and votes once it is in sync.
    Add {
        /// Its identity, never used before.
        replica: ReplicaId,
        /// Its name for people.
        name: String,
        /// Where it listens: host and port.
        address: String,
    },
    /// A replica leaves for good.
    Remove {
        /// Which.
        replica: ReplicaId,
    },
    /// A replica listens elsewhere.
    Move {
        /// Which.
        replica: ReplicaId,
        /// Where: host and port.
        address: String,
    },
}

/// Why a change is not begun, for people.
type Objection = String;

impl Core {
    /// An operator wants a change.
    pub(crate) fn on_change(&mut self, id: CommandId, change: &Change) {
        let begun = self.check_begin().and_then(|()| self.judge(change)).and_then(|(next, subject)| {
            let number = next.number;
            self.begin_configuration(&next, subject).map(|()| number)
        });
        match begun {
            Ok(number) => {
                if let Some((before, _)) = self.changing.replace((id, number)) {
                    self.answer(before, Err("another change was begun".into()));
                }
            }
            Err(why) => self.answer(id, Err(format!("the membership is not changed: {why}"))),
        }
    }

    /// Whether a change may begin now.
    fn check_begin(&self) -> Result<(), Objection> {
        let Some(primary) = self.primary.as_ref() else {
            return Err("this replica is not the primary; ask the one that is".into());
        };
        if !primary.serving {
            return Err("the primary's reign has not begun: its start has not committed; try again".into());
        }
        if primary.handing.is_some() || self.drain.is_some() {
            return Err("the primary hands over or shuts down; ask the next one".into());
        }
        let newest = self.membership.newest().number;
        if self.membership.pending().is_some() && !self.setup.baited(Bait::TwoAtOnce) {
            // Invariant: one-change-at-a-time.
            return Err(format!(
                "configuration {newest} is pending: wait until it is settled, then try again"
            ));
        }
        Ok(())
    }

    /// The configuration that a change makes, and whose texts its record carries.
    fn judge(&self, change: &Change) -> Result<(Configuration, Option<ReplicaId>), Objection> {
        let now = self.membership.newest();
        match change {
            Change::Add { replica, name, address } => {
                check_newcomer(now, *replica, name)?;
                check_address(now, *replica, address)?;
                let (name, address) = (name.clone(), address.clone());
                let member = Member { replica: *replica, name, address, suffrage: Suffrage::Learner };
                Ok((now.with(member), Some(*replica)))
            }
            Change::Move { replica, address } => {
                let member = known(now, *replica)?;
                if member.address == *address {
                    return Err(format!("{} is at {address} already", member.name));
                }
                check_address(now, *replica, address)?;
                Ok((now.with(Member { address: address.clone(), ..member.clone() }), Some(*replica)))
            }
            Change::Remove { replica } => {
                let member = known(now, *replica)?;
                if *replica == self.me() {
                    return Err(format!("{} is the primary: have it hand over first", member.name));
                }
                let next = now.without(*replica);
                if member.suffrage.votes() {
                    self.check_capacity(now, &next)?;
                }
                Ok((next, None))
            }
        }
    }

    /// Whether those who are in sync can commit and elect, both before the change and after it.
    fn check_capacity(&self, now: &Configuration, next: &Configuration) -> Result<(), Objection> {
        let all = self.setup.commit == CommitRule::All;
        if all && !next.awaits_a_majority() {
            let lags = |member: &&Member| member.suffrage == Suffrage::Lagging && next.votes(member.replica);
            let names =
                now.members.iter().filter(lags).map(|m| m.name.clone()).collect::<Vec<_>>().join(", ");
            return Err(format!(
                "of {} voters {} would be in the in-sync set, and it is more than half of them; {names} must be in it again first",
                next.voters().count(),
                next.awaited().count(),
            ));
        }
        for (configuration, when) in [(next, "would be"), (now, "are")] {
            let waits = all && configuration.number == next.number;
            let voters: Vec<ReplicaId> =
                if waits { configuration.awaited().collect() } else { configuration.voters().collect() };
            let (there, missing): (Vec<ReplicaId>, Vec<ReplicaId>) =
                voters.iter().partition(|voter| self.is_in_sync(**voter));
            let needed = if waits { voters.len() } else { majority(voters.len()) };
            if there.len() < needed {
                let names = missing.iter().filter_map(|voter| now.member(*voter)).map(|m| m.name.clone());
                let names = names.collect::<Vec<_>>().join(", ");
                return Err(format!(
                    "of {} voters {} {when} in sync, {needed} are needed; {names} must come back and be in sync first",
                    voters.len(),
                    there.len(),
                ));
            }
        }
        Ok(())
    }

    /// A record brings the next configuration, which is in force from here on.
    pub(crate) fn begin_configuration(
        &mut self,
        next: &Configuration,
        subject: Option<ReplicaId>,
    ) -> Result<(), Objection> {
        let room = |room| format!("its name and address together may have {room} bytes");
        let words = next.words(subject).map_err(room)?;
        // Invariant: one-change-at-a-time.
        assert!(
            self.is_sure_of_the_newest() || self.setup.baited(Bait::TwoAtOnce),
            "a change waits until no election can lose the one before it"
        );
        let header = self.next_header(RecordKind::Configuration, Extent::default(), words, Origin::NONE);
        let at = header.lsn;
        if self.append(header, None).is_err() {
            self.space_wanted();
            return Err("the log has no room for the record just now; try again".into());
        }
        self.notice(Notice::ConfigurationBegun { number: next.number, at });
        self.want_durable(at.next());
        // Whoever decides now has not granted anything yet.
        self.weigh_clocks();
        self.lanes_tick();
        self.weigh();
        Ok(())
    }

    /// Make a voter of a learner that has caught up, and see to what a change of the membership brings with it.
    pub(crate) fn members_due(&mut self) {
        if core::mem::take(&mut self.members_changed) {
            self.members_settled();
        }
        self.set_due();
        // This runs in every step: on most replicas it ends here.
        if self.primary.as_ref().is_none_or(|primary| !primary.serving)
            || self.membership.pending().is_some()
            || self.check_begin().is_err()
        {
            return;
        }
        let now = self.membership.newest();
        let ready =
            |member: &&Member| member.suffrage == Suffrage::Learner && self.is_in_sync(member.replica);
        let Some(learner) = now.members.iter().find(ready) else { return };
        let next = now.with(Member { suffrage: Suffrage::Voter, ..learner.clone() });
        // With one voter more, more are needed: it waits until they are there.
        if self.check_capacity(now, &next).is_ok() {
            // Full logs have room again some day.
            let _ = self.begin_configuration(&next, None);
        }
    }

    /// The membership is another one: whoever is no member any more is told and left.
    fn members_settled(&mut self) {
        if self.is_retired(self.me()) {
            return self.left();
        }
        if self.primary.is_none() {
            return self.part_with_strangers();
        }
        self.weigh_clocks();
        let settled = self.membership.settled().number;
        if let Some((id, number)) = self.changing.take_if(|(_, number)| *number <= settled) {
            self.notice(Notice::ConfigurationSettled { number });
            self.answer(id, Ok(Answered::Configured(number)));
        }
        self.part_with_strangers();
        self.weigh();
    }

    /// End what there is with replicas that are no members any more.
    fn part_with_strangers(&mut self) {
        let gone: Vec<ReplicaId> =
            self.lanes.keys().copied().filter(|replica| !self.is_member(*replica)).collect();
        for replica in gone {
            self.tell_of_its_removal(replica);
            self.lane_left(replica);
            self.lanes.remove(&replica);
        }
        let inbound = |used: &LinkUse| matches!(used, LinkUse::Inbound { peer } if !self.is_member(*peer));
        let links: Vec<LinkId> =
            self.links.iter().filter(|(_, used)| inbound(used)).map(|(link, _)| *link).collect();
        // Those of our own primary: only settled records part us, and it does not remove itself.
        let feeds = self.feed.as_ref().map(|feed| feed.link);
        for link in links.into_iter().filter(|link| Some(*link) != feeds) {
            self.disconnect(link);
        }
    }

    /// The last that a removed replica hears of us: how far everything is settled, its removal too.
    fn tell_of_its_removal(&mut self, replica: ReplicaId) {
        let now = self.now;
        let Some(session) = self.lanes.get(&replica).and_then(|lane| lane.sender.session()) else { return };
        let Some(primary) = self.primary.as_mut() else { return };
        let (epoch, confirmed) = (primary.epoch, primary.pulses.confirmed());
        let seq = primary.pulses.on_sent(now, &self.electorate);
        let end = self.log.end();
        let pulse = Pulse { seq, end, settled: self.settled, flush_to: Lsn::ZERO, confirmed }.encode();
        self.send_lane(replica, Kind::Pulse, epoch, session, &pulse, None);
        // The other end closes it when it has heard.
        if let Some(link) = self.lane_mut(replica).link.take() {
            self.links.insert(link, LinkUse::Leaving { since: self.now });
        }
    }

    /// This replica was removed: it serves nobody, promises nothing and follows nobody.
    fn left(&mut self) {
        if self.has_left {
            return;
        }
        self.has_left = true;
        self.notice(Notice::Left { number: self.membership.settled().number });
        self.candidate_ends("this replica was removed from the volume");
        self.end_feed("this replica was removed from the volume");
        self.abdicate(Refusal::NotPrimary);
        self.refuse_all_ours(Refusal::NotPrimary);
    }

    /// A member says that this replica was removed, for good.
    pub(crate) fn on_removed(&mut self) {
        self.told_removed = true;
        self.left();
    }

    /// Whether a primary that greets is none to follow, or this replica one to follow none; then it was told.
    pub(crate) fn turns_away(&mut self, link: LinkId, greet: &Greet) -> bool {
        let replica = greet.epoch.replica;
        if !self.may_lead(greet.epoch, greet.configuration) && !self.setup.baited(Bait::AnyDiskWillDo) {
            self.violated(link, Violation::NotMember { replica });
            return true;
        }
        if self.is_retired(self.me()) {
            self.refuse_session(link, greet.epoch, greet.session, Declined::ShuttingDown);
            return true;
        }
        if self.begins_by_force() {
            // Its fate is decided by a disk, within moments.
            self.refuse_session(link, greet.epoch, greet.session, Declined::ShuttingDown);
            return true;
        }
        if greet.epoch >= self.promised() {
            // Whoever said that this one was removed knew less.
            (self.told_removed, self.has_left) = (false, false);
        }
        false
    }

    /// Whether this replica was removed. One that joins is fed before its own disk says that it is a member.
    pub(crate) fn is_removed(&self) -> bool {
        self.told_removed || self.is_retired(self.me())
    }

    /// The reign ended before a change was known to be settled.
    pub(crate) fn change_in_doubt(&mut self) {
        if let Some((id, number)) = self.changing.take() {
            let why = format!(
                "configuration {number} was begun, and the reign ended before it was settled: the next primary settles it \
                 or drops it; see what it lists"
            );
            self.answer(id, Err(why));
        }
    }
}

fn known(now: &Configuration, replica: ReplicaId) -> Result<&Member, Objection> {
    now.member(replica).ok_or_else(|| {
        let members: Vec<String> =
            now.members.iter().map(|m| format!("{} ({})", m.name, m.replica)).collect();
        format!("{replica} is no member; members are {}", members.join(", "))
    })
}

fn check_newcomer(now: &Configuration, replica: ReplicaId, name: &str) -> Result<(), Objection> {
    if replica == ReplicaId::NONE {
        return Err("a replica's identity is not zero; draw another one".into());
    }
    if let Some(member) = now.member(replica) {
        return Err(format!("{replica} is a member already: {} at {}", member.name, member.address));
    }
    if now.retired.contains(&replica) {
        return Err(format!(
            "{replica} was a member before, and an identity is never used again: draw another one"
        ));
    }
    if let Some(member) = now.members.iter().find(|member| member.name == name) {
        return Err(format!("the name {name} is that of {} already; give another one", member.replica));
    }
    if now.members.len() >= MEMBERS_MAX {
        return Err(format!("a volume has at most {MEMBERS_MAX} replicas; remove one first"));
    }
    Ok(())
}

fn check_address(now: &Configuration, replica: ReplicaId, address: &str) -> Result<(), Objection> {
    if address.is_empty() {
        return Err("an address is host and port".to_string());
    }
    match now.members.iter().find(|member| member.replica != replica && member.address == address) {
        Some(other) => {
            Err(format!("{address} is the address of {} already; move or remove that one first", other.name))
        }
        None => Ok(()),
    }
}
