//! What would become of the volume if a replica were lost or taken out by plan: asked of the very functions that
//! decide it, over a copy of what the primary knows. A test shows that exactly one rule fires for every volume.

use alloc::vec::Vec;
use core::time::Duration;

use seawall_wal::names::{Crc, Epoch, LineageRow, Lsn, LsnRange, ReplicaId};

use crate::ballot::{Ask, Promise, Standing, is_elected};
use crate::commit::{Electorate, copies_needed, majority};
use crate::handover;
use crate::risk::AtRisk;
use crate::setup::CommitRule;
use crate::status::{Policy, Role, Status};

/// What might be done to a replica.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Deed {
    /// It is gone from one moment to the next.
    Kill,
    /// It hands over what it has, and goes.
    Drain,
}

impl Deed {
    /// Both.
    pub const ALL: [Deed; 2] = [Deed::Kill, Deed::Drain];

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Deed::Kill => "kill",
            Deed::Drain => "drain",
        }
    }
}

/// One copy of the volume, as the primary knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Copy {
    /// Whose.
    pub replica: ReplicaId,
    /// Whether it votes.
    pub voter: bool,
    /// Whether its process is there.
    pub there: bool,
    /// Whether it answers pulses.
    pub fed: bool,
    /// Whether its frontier counts for commit.
    pub counts: bool,
    /// Whether its copy is whole, as far as is known.
    pub whole: bool,
    /// What it has on stable storage.
    pub durable: Lsn,
    /// What of the promise it may lack.
    pub behind: AtRisk,
}

/// A volume that takes writes, as its primary knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Facts {
    /// What it promises.
    pub policy: Policy,
    /// Who reigns, and since which epoch.
    pub epoch: Epoch,
    /// Which epoch wrote which part of the log.
    pub lineage: Vec<LineageRow>,
    /// Who decides.
    pub electorate: Electorate,
    /// All copies, the primary's first.
    pub copies: Vec<Copy>,
    /// For how long yet somebody works on the primary.
    pub maintained: Option<Duration>,
}

/// The rule that says what becomes of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Rule {
    /// It has no vote: nothing depends on it.
    SpareLost,
    /// The others are enough, at once.
    QuorumStays,
    /// The others are enough when writes do not wait for it any more.
    SetShrinks,
    /// The others are enough when those that are being brought in sync are.
    QuorumReturns,
    /// The others are too few.
    QuorumLost,
    /// The primary hands over first.
    HandedOver,
    /// The others find another primary themselves.
    FailsOver,
    /// The others wait until its maintenance is over, and find another primary then.
    UnderMaintenance,
    /// The others wait for an operator to name one.
    OperatorChooses,
    /// Another one could be elected, and not commit: the commit rule asks for more copies than would be left.
    CopiesMissing,
    /// Too few whole copies would be left to elect another primary.
    MajorityMissing,
}

/// Whether clients can write then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Nothing changes for them.
    Stays,
    /// After a pause, which ends by itself.
    Pauses,
    /// When an operator has promoted somebody.
    WaitsForOperator,
    /// When a replica is back that is away then.
    Stops,
}

impl Effect {
    /// Its name for machines.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Effect::Stays => "stays",
            Effect::Pauses => "pauses",
            Effect::WaitsForOperator => "waits-for-operator",
            Effect::Stops => "stops",
        }
    }

    /// Whether clients can write again without anybody's help.
    #[must_use]
    pub const fn is_writable(self) -> bool {
        match self {
            Effect::Stays | Effect::Pauses => true,
            Effect::WaitsForOperator | Effect::Stops => false,
        }
    }
}

/// What the rules are about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Situation {
    /// Whether the replica votes.
    pub voter: bool,
    /// Whether it is the primary.
    pub reigns: bool,
    /// Whether it can hand over first.
    pub hands_over: bool,
    /// Whether those that count now are enough without it, also for a lease.
    pub enough: bool,
    /// Whether they are once writes do not wait for it any more, which follows by itself.
    pub shrinks: bool,
    /// Whether those that are there are enough without it, once they are in sync.
    pub enough_soon: bool,
    /// Whether the others can elect a primary.
    pub elects: bool,
    /// Whether they do so by themselves.
    pub acts: bool,
    /// Whether somebody works on the primary.
    pub maintained: bool,
}

/// What would become of the volume.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outlook {
    /// What is done.
    pub deed: Deed,
    /// To whom.
    pub replica: ReplicaId,
    /// The rule that says what follows.
    pub rule: Rule,
    /// Voters that are there then.
    pub present: usize,
    /// Voters in all.
    pub voters: usize,
    /// Copies that a write needs.
    pub needed: usize,
    /// Who may be primary then.
    pub primaries: Vec<ReplicaId>,
    /// The likely one: whose log is the best.
    pub likely: Option<ReplicaId>,
    /// How long clients wait, where that can be said.
    pub pause: Option<Duration>,
    /// What may be lost of the promise, if the replica never comes back.
    pub lost: AtRisk,
}

impl Rule {
    /// All of them.
    pub const ALL: [Rule; 11] = [
        Rule::SpareLost,
        Rule::QuorumStays,
        Rule::SetShrinks,
        Rule::QuorumReturns,
        Rule::QuorumLost,
        Rule::HandedOver,
        Rule::FailsOver,
        Rule::UnderMaintenance,
        Rule::OperatorChooses,
        Rule::CopiesMissing,
        Rule::MajorityMissing,
    ];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Rule::SpareLost => "spare-lost",
            Rule::QuorumStays => "quorum-stays",
            Rule::SetShrinks => "set-shrinks",
            Rule::QuorumReturns => "quorum-returns",
            Rule::QuorumLost => "quorum-lost",
            Rule::HandedOver => "handed-over",
            Rule::FailsOver => "fails-over",
            Rule::UnderMaintenance => "under-maintenance",
            Rule::OperatorChooses => "operator-chooses",
            Rule::CopiesMissing => "copies-missing",
            Rule::MajorityMissing => "majority-missing",
        }
    }

    /// The rule for a situation.
    #[must_use]
    pub fn of(situation: Situation) -> Rule {
        let fires = Rule::ALL.into_iter().find(|rule| rule.fires(situation));
        fires.expect("a rule fires in every situation, as a test shows")
    }

    /// Whether this rule claims the situation. No two do.
    #[must_use]
    pub fn fires(self, situation: Situation) -> bool {
        let Situation { voter, reigns, hands_over, enough, shrinks, enough_soon, elects, acts, maintained } =
            situation;
        let follower = !reigns && voter;
        let by_plan = reigns && hands_over && enough_soon;
        let struck = reigns && !by_plan;
        match self {
            Rule::SpareLost => !reigns && !voter,
            Rule::QuorumStays => follower && enough,
            Rule::SetShrinks => follower && !enough && shrinks,
            Rule::QuorumReturns => follower && !enough && !shrinks && enough_soon,
            Rule::QuorumLost => follower && !enough && !shrinks && !enough_soon,
            Rule::HandedOver => by_plan,
            Rule::FailsOver => struck && elects && enough_soon && acts && !maintained,
            Rule::UnderMaintenance => struck && elects && enough_soon && acts && maintained,
            Rule::OperatorChooses => struck && elects && enough_soon && !acts,
            Rule::CopiesMissing => struck && elects && !enough_soon,
            Rule::MajorityMissing => struck && !elects,
        }
    }

    /// What it means for clients.
    #[must_use]
    pub const fn effect(self) -> Effect {
        match self {
            Rule::SpareLost | Rule::QuorumStays => Effect::Stays,
            Rule::SetShrinks | Rule::QuorumReturns | Rule::HandedOver => Effect::Pauses,
            Rule::FailsOver | Rule::UnderMaintenance => Effect::Pauses,
            Rule::OperatorChooses => Effect::WaitsForOperator,
            Rule::QuorumLost | Rule::CopiesMissing | Rule::MajorityMissing => Effect::Stops,
        }
    }
}

impl Facts {
    /// What a primary that serves knows; nobody else knows the others.
    #[must_use]
    pub fn of(status: &Status) -> Option<Facts> {
        if status.role != Role::Primary {
            return None;
        }
        let own = Copy {
            replica: status.replica,
            voter: status.voter,
            there: true,
            fed: true,
            counts: true,
            whole: status.base_complete,
            durable: status.durable,
            behind: AtRisk::default(),
        };
        let peers = status.peers.iter().map(|peer| Copy {
            replica: peer.replica,
            voter: peer.voter,
            there: peer.speaks,
            fed: peer.fed,
            counts: peer.counts,
            whole: !peer.rebuilding,
            durable: peer.durable,
            behind: peer.behind,
        });
        Some(Facts {
            policy: status.policy,
            electorate: status.electorate.clone(),
            epoch: status.epoch,
            lineage: status.lineage.clone(),
            copies: core::iter::once(own).chain(peers).collect(),
            maintained: status.maintains(status.replica).map(|lease| lease.until.since(status.now)),
        })
    }

    /// What that would do; none if the volume has no such copy.
    #[must_use]
    pub fn outlook(&self, deed: Deed, replica: ReplicaId) -> Option<Outlook> {
        let struck = self.copies.iter().find(|copy| copy.replica == replica)?;
        let left: Vec<&Copy> = self.copies.iter().filter(|copy| copy.replica != replica).collect();
        let reigns = replica == self.epoch.replica;
        let electors = self.electors(&left);
        let heirs = left.iter().map(|copy| (copy.replica, copy.voter && copy.counts));
        let heir = handover::successor(heirs, self.electorate.awaited()).filter(|_| deed == Deed::Drain);
        let policy = &self.policy;
        // The in-sync set becomes as small as a majority, if it must.
        let sooner = if self.shrinks() { CommitRule::Majority } else { policy.commit };
        let situation = Situation {
            voter: struck.voter,
            reigns,
            hands_over: heir.is_some(),
            enough: self.is_enough(policy.commit, &left, |copy| copy.counts, |copy| copy.fed),
            shrinks: self.shrinks() && self.is_enough(sooner, &left, |copy| copy.counts, |copy| copy.fed),
            enough_soon: self.is_enough(sooner, &left, |copy| copy.there, |copy| copy.there),
            elects: self.elects(&electors),
            acts: policy.failover.acts_under(policy.commit),
            maintained: self.maintained.is_some(),
        };
        let rule = Rule::of(situation);
        let (primaries, likely, pause) = match rule {
            Rule::SpareLost | Rule::QuorumStays => {
                (alloc::vec![self.epoch.replica], Some(self.epoch.replica), Some(Duration::ZERO))
            }
            Rule::SetShrinks => {
                (alloc::vec![self.epoch.replica], Some(self.epoch.replica), policy.all_patience)
            }
            // Until then it may lose its lease, and be missed.
            Rule::QuorumReturns => (named(&electors), Some(self.epoch.replica), None),
            Rule::HandedOver => (named(&electors), heir, Some(Duration::ZERO)),
            Rule::FailsOver => (named(&electors), self.best(&electors), Some(self.detection())),
            Rule::UnderMaintenance => {
                let until = self.maintained.map(|left| left.max(self.detection()));
                (named(&electors), self.best(&electors), until)
            }
            Rule::OperatorChooses => (named(&electors), self.best(&electors), None),
            Rule::QuorumLost | Rule::CopiesMissing | Rule::MajorityMissing => (Vec::new(), None, None),
        };
        let lost = match rule {
            Rule::FailsOver | Rule::UnderMaintenance | Rule::OperatorChooses => self.lost(&electors, &left),
            Rule::CopiesMissing | Rule::MajorityMissing => self.lost(&electors, &left),
            Rule::SpareLost
            | Rule::QuorumStays
            | Rule::SetShrinks
            | Rule::QuorumReturns
            | Rule::QuorumLost
            | Rule::HandedOver => AtRisk::default(),
        };
        let present = left.iter().filter(|copy| copy.voter && copy.there).count();
        let voters = self.electorate.rolls().next().map_or(0, <[ReplicaId]>::len);
        let needed = match policy.commit {
            CommitRule::All if self.shrinks() => {
                let stay = |awaited: &&ReplicaId| **awaited != replica;
                self.electorate.awaited().iter().filter(stay).count().max(majority(voters))
            }
            CommitRule::All => self.electorate.awaited().len(),
            rule @ (CommitRule::Majority | CommitRule::One) => copies_needed(rule, voters),
        };
        Some(Outlook { deed, replica, rule, present, voters, needed, primaries, likely, pause, lost })
    }

    /// Whether writes stop waiting, after a while, for a copy that is gone.
    fn shrinks(&self) -> bool {
        self.policy.commit == CommitRule::All && self.policy.all_patience.is_some()
    }

    /// Those that would promise, were they asked without a primary around.
    fn electors<'a>(&self, left: &[&'a Copy]) -> Vec<&'a Copy> {
        let ask = Ask {
            epoch: self.epoch.successor(self.epoch.replica),
            sounding: true,
            planned: false,
            configuration: u64::MAX,
        };
        let promises = |copy: &&Copy| {
            let standing = Standing {
                able: copy.there,
                promised: self.epoch,
                whole: copy.whole,
                hears_a_primary: false,
                leased: false,
            };
            copy.voter && standing.denial(&ask).is_none()
        };
        left.iter().copied().filter(promises).collect()
    }

    /// Whether those are enough to elect one of them, of each list of voters.
    fn elects(&self, electors: &[&Copy]) -> bool {
        let promise = |voter: &&ReplicaId| electors.iter().any(|copy| copy.replica == **voter);
        self.electorate.rolls().all(|roll| is_elected(roll.iter().filter(promise).count(), 0, roll.len()))
    }

    /// Whether writes commit and are confirmed with these copies alone.
    fn is_enough(
        &self,
        rule: CommitRule,
        left: &[&Copy],
        counts: fn(&Copy) -> bool,
        fed: fn(&Copy) -> bool,
    ) -> bool {
        let of = |replica: ReplicaId| left.iter().copied().find(|copy| copy.replica == replica);
        // The one that reigns then holds what it writes. Those that are gone count as zero.
        let reigns = of(self.epoch.replica);
        let may = |copy: &&Copy| self.electorate.has(copy.replica) && copy.there && copy.whole;
        let Some(reigns) = reigns.or_else(|| left.iter().copied().find(may)) else { return false };
        let reigns = reigns.replica;
        let reached = |replica: ReplicaId| replica == reigns || of(replica).is_some_and(counts);
        let frontier = |replica| if reached(replica) { Lsn(1) } else { Lsn::ZERO };
        let commits = self.electorate.committed(rule, reigns, frontier) == Lsn(1);
        commits && self.electorate.is_confirming(|voter| voter == reigns || of(voter).is_some_and(fed))
    }

    /// Whose log ranks highest; of equal ones, the first.
    fn best(&self, electors: &[&Copy]) -> Option<ReplicaId> {
        let promise = |copy: &Copy| Promise {
            epoch: self.epoch,
            sounding: true,
            lineage: Vec::new(),
            log: LsnRange::new(Lsn::ZERO, copy.durable),
            tail_epoch: self
                .lineage
                .iter()
                .rev()
                .find(|row| row.first < copy.durable)
                .map_or(Epoch::ZERO, |row| row.epoch),
            tail_chain: Crc::default(),
            lossy: false,
        };
        let mut best: Option<(ReplicaId, Promise)> = None;
        for copy in electors {
            let promise = promise(copy);
            if best.as_ref().is_none_or(|(_, best)| promise.outranks(best)) {
                best = Some((copy.replica, promise));
            }
        }
        best.map(|(replica, _)| replica)
    }

    /// Until the others miss their primary, and one of them asks: they wait up to half as long again, each for
    /// another time, so the first of them does after a quarter of that or sooner.
    fn detection(&self) -> Duration {
        self.policy.missed_after * 9 / 8
    }

    /// What the best log of any majority of `electors` may lack. If there is no majority: what the best copy that is
    /// left may.
    fn lost(&self, electors: &[&Copy], left: &[&Copy]) -> AtRisk {
        let worst = |roll: &[ReplicaId]| {
            let voting = electors.iter().filter(|copy| roll.contains(&copy.replica));
            let mut risks: Vec<AtRisk> = voting.map(|copy| copy.behind).collect();
            let spared = risks.len().saturating_sub(majority(roll.len()));
            if risks.len() < majority(roll.len()) {
                risks = left.iter().filter(|copy| copy.whole).map(|copy| copy.behind).collect();
            }
            risks.sort_unstable_by_key(|risk| (risk.records, risk.bytes));
            risks.get(spared).copied().unwrap_or_default()
        };
        // Where two lists elect, the better of their best logs is taken.
        self.electorate.rolls().map(worst).min_by_key(|risk| risk.records).unwrap_or_default()
    }
}

fn named(copies: &[&Copy]) -> Vec<ReplicaId> {
    copies.iter().map(|copy| copy.replica).collect()
}

#[cfg(test)]
mod tests;
