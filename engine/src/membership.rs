//! Who the members are: the settled configuration, and those of the log that may yet be cut. The newest is in force
//! from its append on; while it is not settled, the one before it has a say, too.

use alloc::string::String;
use alloc::vec::Vec;

use seawall_wal::configuration::{Configuration, Member};
use seawall_wal::log::Log;
use seawall_wal::names::{Crc, Epoch, Lsn, ReplicaId};
use seawall_wal::record::Kind;

use crate::commit::{Electorate, copies_needed};
use crate::core::Core;
use crate::lane::Lane;
use crate::setup::CommitRule;

/// The configurations of a log that matter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Membership {
    /// The newest of the settled ones.
    settled: Configuration,
    /// Those that may yet be cut, in order.
    later: Vec<Later>,
}

/// A configuration that may yet be cut.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Later {
    at: Lsn,
    configuration: Configuration,
    /// It began with an era: the one before has no say.
    forced: bool,
}

impl Membership {
    /// Those of a log whose superblock names `known`, and of which everything below `taken` is settled.
    pub(crate) fn found(known: Configuration, log: &Log, taken: Lsn) -> Membership {
        let mut found = Membership::anew(known);
        let mut lsn = log.start();
        while lsn < log.end() {
            for kind in [Kind::Configuration, Kind::EpochStart] {
                if let Some(words) = log.words(lsn, kind) {
                    found.on_appended(lsn, words, kind == Kind::EpochStart);
                }
            }
            lsn = lsn.next();
        }
        found.on_settled(taken);
        found
    }

    /// A log that begins anew, behind that configuration.
    pub(crate) fn anew(settled: Configuration) -> Membership {
        Membership { settled, later: Vec::new() }
    }

    /// One joins the log. One that is known already, because the superblock or a primary named it, changes nothing.
    pub(crate) fn on_appended(&mut self, at: Lsn, words: &[Crc], forced: bool) {
        if let Some(next) = self.newest().after(words)
            && next.number > self.newest().number
        {
            self.later.push(Later { at, configuration: next, forced });
        }
    }

    /// Everything below `taken` is settled. Whether that settled a configuration.
    pub(crate) fn on_settled(&mut self, taken: Lsn) -> bool {
        let settled = self.later.iter().take_while(|later| later.at < taken).count();
        let newest = self.later.drain(..settled).next_back();
        let any = newest.is_some();
        if let Some(Later { configuration, .. }) = newest {
            self.settled = configuration;
        }
        any
    }

    /// The log was cut. Whether that took a configuration back.
    pub(crate) fn on_cut(&mut self, to: Lsn) -> bool {
        let before = self.later.len();
        self.later.retain(|later| later.at < to);
        self.later.len() < before
    }

    /// The one in force.
    pub(crate) fn newest(&self) -> &Configuration {
        self.later.last().map_or(&self.settled, |later| &later.configuration)
    }

    /// The newest that no cut takes back.
    pub(crate) fn settled(&self) -> &Configuration {
        &self.settled
    }

    /// Where the record of the newest one is, while that is not known to be settled.
    pub(crate) fn pending(&self) -> Option<Lsn> {
        self.later.last().map(|later| later.at)
    }

    /// The one before the newest, while that is not known to be settled. No election loses anything older: a
    /// configuration is begun only when a majority has the one before it. One that was forced decides alone.
    pub(crate) fn before(&self) -> Option<&Configuration> {
        let last = self.later.len().checked_sub(1).filter(|last| !self.later[*last].forced)?;
        Some(last.checked_sub(1).map_or(&self.settled, |at| &self.later[at].configuration))
    }

    /// All that may have a say: the settled one and those after it.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Configuration> {
        core::iter::once(&self.settled).chain(self.later.iter().map(|later| &later.configuration))
    }

    /// Who decides: the voters of the newest and, while that is pending, also those of the one before. Who falls out of
    /// the in-sync set is waited for until no election can lose the record that says so, all below `sure` being such;
    /// who joins it is waited for at once.
    pub(crate) fn electorate(&self, sure: Lsn) -> Electorate {
        // Invariant: both-majorities.
        let voters = |configuration: &Configuration| configuration.voters().collect::<Vec<ReplicaId>>();
        // Invariant: dropped-by-record.
        let known = self.later.partition_point(|later| later.at < sure);
        // Nobody whom an era was forced without is waited for.
        let forced = self.later.iter().rposition(|later| later.forced).map_or(0, |at| at + 1);
        let mut awaited: Vec<ReplicaId> = Vec::new();
        for replica in self.all().skip(known.max(forced)).flat_map(Configuration::awaited) {
            if !awaited.contains(&replica) {
                awaited.push(replica);
            }
        }
        Electorate::new(voters(self.newest()), self.before().map(voters)).awaiting(awaited)
    }
}

impl Core {
    /// A configuration joined the log, was settled or was cut: who decides and who is fed may be others now.
    pub(crate) fn on_members(&mut self) {
        self.members_changed = true;
        self.elect_anew();
        let me = self.me();
        let mut members: Vec<Member> = Vec::new();
        // The newest says last where somebody is.
        for member in self.membership.all().flat_map(|configuration| &configuration.members) {
            members.retain(|known| known.replica != member.replica);
            members.push(member.clone());
        }
        members.retain(|member| member.replica != me);
        for member in &members {
            match self.lanes.get_mut(&member.replica) {
                Some(lane) => lane.address.clone_from(&member.address),
                None => {
                    let lane = Lane::new(member, self.now, &self.setup.limits);
                    self.lanes.insert(member.replica, lane);
                }
            }
        }
    }

    /// The log is cut: what its records from there on brought is not so.
    pub(crate) fn take_back_from(&mut self, to: Lsn) {
        self.attachments.on_cut(to);
        self.maintenance.on_cut(to);
        if self.membership.on_cut(to) {
            self.on_members();
        }
    }

    /// Who decides may be others now.
    pub(crate) fn elect_anew(&mut self) {
        self.electorate = self.membership.electorate(self.sure());
        #[cfg(feature = "bait")]
        self.misjudge_electorate();
    }

    /// Whether its promises and its durable frontier count, by the configuration in force.
    pub(crate) fn is_voter(&self, replica: ReplicaId) -> bool {
        self.membership.newest().votes(replica) && (replica != self.me() || !self.told_removed)
    }

    /// Whether any configuration that may have a say names it.
    pub(crate) fn is_member(&self, replica: ReplicaId) -> bool {
        self.membership.all().any(|configuration| configuration.member(replica).is_some())
    }

    /// Whether it was a member and is none any more, for good.
    pub(crate) fn is_retired(&self, replica: ReplicaId) -> bool {
        self.membership.settled().retired.contains(&replica) && !self.is_member(replica)
    }

    /// Whether a candidate or primary is to be heard that names that configuration as its newest. Whoever is no voter by
    /// any of ours, of which the later ones may yet be cut, must know a newer one. What a higher era says of the members
    /// counts more than what we know, whatever the numbers are.
    pub(crate) fn may_lead(&self, epoch: Epoch, number: u64) -> bool {
        let votes = self.membership.all().any(|configuration| configuration.votes(epoch.replica));
        votes || number > self.membership.newest().number || epoch.era() > self.era()
    }

    /// Where it is said to listen; another word of it with another attempt, if there are two.
    pub(crate) fn address_of(&self, replica: ReplicaId, attempt: u64) -> Option<String> {
        let named = self.lanes.get(&replica).map(|lane| &lane.address).filter(|address| !address.is_empty());
        let told = self.setup.member(replica).map(|peer| &peer.address);
        let told = told.filter(|told| named != Some(*told));
        match (named, told) {
            (Some(_), Some(told)) if attempt % 2 == 1 => Some(told.clone()),
            (Some(known), _) | (None, Some(known)) => Some(known.clone()),
            (None, None) => None,
        }
    }

    /// How many of those that a write may count on count now, and how many it needs: of the voters of the newest
    /// configuration; under `all`, of the in-sync set.
    pub(crate) fn quorum_present(&self) -> (usize, usize) {
        let counts = |voter: &ReplicaId| self.is_in_sync(*voter);
        match self.setup.commit {
            CommitRule::All => {
                let awaited = self.electorate.awaited();
                (awaited.iter().copied().filter(counts).count(), awaited.len())
            }
            rule @ (CommitRule::Majority | CommitRule::One) => {
                let newest = self.membership.newest();
                (newest.voters().filter(counts).count(), copies_needed(rule, newest.voters().count()))
            }
        }
    }

    /// Whether its frontiers count for commit now.
    pub(crate) fn is_in_sync(&self, replica: ReplicaId) -> bool {
        replica == self.me() || self.lanes.get(&replica).is_some_and(Lane::counts)
    }
}
