//! Whose copy may be thrown away: a replica that is rebuilt has nothing and votes on nothing until that is over.

use seawall_recovery::facts::Facts;
use seawall_wal::names::ReplicaId;
use seawall_wal::superblock::BaseState;

use crate::bait::Bait;
use crate::core::Core;

/// What a peer has, as far as this reign knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Holding {
    /// It was not asked yet, or can't be reached.
    Unknown,
    /// A whole copy, however old.
    Whole,
    /// None, or a part.
    Part,
}

impl Holding {
    pub(crate) fn of(facts: &Facts) -> Holding {
        let whole = match facts.base {
            BaseState::Complete => !facts.lossy && !facts.promises_lost,
            BaseState::Blank | BaseState::Rebuilding { .. } => false,
        };
        if whole { Holding::Whole } else { Holding::Part }
    }
}

impl Core {
    /// Whether a replica's copy may be thrown away now, if that is the plan. With the last majority of whole copies it
    /// may not as long as another replica is being rebuilt: if our own copy turns out to be damaged, no rebuild ends,
    /// and only whole copies elect somebody whose copy is not.
    pub(crate) fn has_its_turn(&self, replica: ReplicaId) -> bool {
        let holds = |voter: ReplicaId, what| self.lanes.get(&voter).is_some_and(|lane| lane.holding == what);
        if !holds(replica, Holding::Whole) || !self.is_voter(replica) {
            return true;
        }
        let rebuilt = |voter: ReplicaId| voter != replica && holds(voter, Holding::Part);
        let stays = |voter: ReplicaId| voter == self.me() || voter != replica && holds(voter, Holding::Whole);
        // Invariant: a-majority-stays-whole.
        !self.electorate.voters().any(rebuilt)
            || self.electorate.is_majority(stays)
            || self.setup.baited(Bait::AllRebuiltAtOnce)
    }
}
