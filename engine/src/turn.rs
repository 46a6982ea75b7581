//! Whose copy may be thrown away: a replica that is rebuilt has nothing and votes on nothing until that is over.

use seawall_recovery::facts::Facts;
use seawall_wal::names::ReplicaId;
use seawall_wal::superblock::BaseState;

use crate::bait::Bait;
use crate::core::Core;
use crate::lane::Lane;

/// What a peer has, as far as this reign knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Holding {
    /// It was not asked yet, or can't be reached.
    Unknown,
    /// A whole copy, however old.
    Whole,
    /// None, or a part.
    Part,
    /// That of a device made anew. It is whole only when enough others have answered, so nobody waits for it.
    Forgotten,
}

impl Holding {
    pub(crate) fn of(facts: &Facts) -> Holding {
        match facts.base {
            _ if facts.promises_lost => Holding::Forgotten,
            BaseState::Complete if !facts.lossy => Holding::Whole,
            BaseState::Complete | BaseState::Blank | BaseState::Rebuilding { .. } => Holding::Part,
        }
    }
}

impl Core {
    /// Whether a replica's copy may be thrown away now, if that is the plan. With the last majority of whole copies it
    /// may not as long as another replica is being rebuilt and a third is at hand: if our own copy turns out to be
    /// damaged, no rebuild ends, and that third may be elected, but only by whole copies.
    pub(crate) fn has_its_turn(&self, replica: ReplicaId) -> bool {
        let holds = |voter: ReplicaId, what| self.lanes.get(&voter).is_some_and(|lane| lane.holding == what);
        if !holds(replica, Holding::Whole) || !self.is_voter(replica) {
            return true;
        }
        let rebuilt = |voter: ReplicaId| voter != replica && holds(voter, Holding::Part);
        let stays = |voter: ReplicaId| voter == self.me() || voter != replica && holds(voter, Holding::Whole);
        let at_hand = |voter: ReplicaId| {
            let hopes = holds(voter, Holding::Unknown) || holds(voter, Holding::Whole);
            voter != replica && hopes && self.lanes.get(&voter).is_some_and(Lane::speaks)
        };
        // Invariant: a-majority-stays-whole.
        !self.electorate.voters().any(rebuilt)
            || !self.electorate.voters().any(at_hand)
            || self.electorate.is_majority(stays)
            || self.setup.baited(Bait::AllRebuiltAtOnce)
    }
}
