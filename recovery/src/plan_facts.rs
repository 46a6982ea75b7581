//! The few small facts that a plan depends on.

use seawall_wal::guard;
use seawall_wal::names::{LineageRow, Lsn};
use seawall_wal::superblock::BaseState;

use crate::facts::{Facts, Ours};
use crate::lineage;

/// Whose disk answered.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Identity {
    /// The volume and replica that were wanted.
    Wanted,
    /// Another's.
    Foreign,
}

/// Whether the facts can be.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Told {
    /// They can.
    Sound,
    /// They contradict each other, or name a reign's start elsewhere than our history does.
    Absurd,
}

/// What the replica promised.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Promise {
    /// No higher epoch than ours.
    Reached,
    /// A higher one.
    Above,
}

/// What earlier sessions of this reign showed of the replica's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Trust {
    /// Nothing bad.
    #[default]
    Full,
    /// A record of its log is another than ours of the same name.
    Diverged,
    /// A rebuild ended with other bytes than ours.
    DigestDiffered,
}

/// What its home area is worth to us.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Base {
    /// Everything below its checkpoint.
    Complete,
    /// A part, of our history, and we can give the rest.
    Resumable,
    /// A part, of our history, but we have yet to settle what is home there.
    Early,
    /// A part, of another history.
    Stray,
    /// Nothing.
    Blank,
}

/// How its log ends.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Tail {
    /// Where ours does, with the same record.
    Equal,
    /// On our history, below our end, and with the same record if we still have that one.
    Behind,
    /// Above our end, and all of our history is a part of theirs.
    Ahead,
    /// On another history.
    Left,
    /// On our history by its epochs, but with another record than ours.
    Contradicts,
}

/// Where the histories part.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Fork {
    /// At or above its checkpoint: a cut never touches its home area.
    AtOrAboveHome,
    /// Below.
    BelowHome,
}

/// How far back our log goes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Reach {
    /// To where the histories part, or further.
    Held,
    /// Not so far.
    Gone,
}

/// All that a plan depends on. Two handshakes with the same of these get the same rule.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PlanFacts {
    /// Whose disk answered.
    pub identity: Identity,
    /// Whether the facts can be.
    pub told: Told,
    /// What the replica promised.
    pub promise: Promise,
    /// What earlier sessions showed.
    pub trust: Trust,
    /// What its home area is worth.
    pub base: Base,
    /// How its log ends.
    pub tail: Tail,
    /// Where the histories part.
    pub fork: Fork,
    /// How far back our log goes.
    pub reach: Reach,
}

impl PlanFacts {
    /// The few things that matter of what both sides know. `fork` is where their histories part.
    pub(crate) fn reduce(ours: &Ours<'_>, theirs: &Facts, trust: Trust, fork: Lsn) -> PlanFacts {
        let wanted = guard!("plan-of-the-volume", theirs.volume == ours.volume)
            && guard!("plan-of-the-replica", theirs.replica == ours.peer);
        let sound = theirs.are_sound(ours.volume_blocks)
            && guard!("plan-lineages-agree", !lineage::contradict(ours.lineage, &theirs.lineage));
        PlanFacts {
            identity: if wanted { Identity::Wanted } else { Identity::Foreign },
            told: if sound { Told::Sound } else { Told::Absurd },
            promise: if guard!("plan-promise-reached", theirs.promised <= ours.epoch) {
                Promise::Reached
            } else {
                Promise::Above
            },
            trust: if guard!("plan-trust-kept", trust == Trust::Full) { Trust::Full } else { trust },
            base: Base::of(ours, theirs, fork),
            tail: Tail::of(ours, theirs, fork),
            fork: if guard!("plan-fork-above-home", fork >= theirs.checkpoint) {
                Fork::AtOrAboveHome
            } else {
                Fork::BelowHome
            },
            reach: if guard!("plan-log-reaches-fork", ours.log.start <= fork) {
                Reach::Held
            } else {
                Reach::Gone
            },
        }
    }

    /// Whether what is below its checkpoint is a part of our history. Only settled records go home and only from them
    /// is a base copied, so all of that was settled, whatever we know of it. A copy that showed other records or other
    /// bytes than ours proves nothing: which of its records went home is then not for its epochs to say.
    #[must_use]
    pub fn proves_settled(&self) -> bool {
        self.identity == Identity::Wanted
            && self.told == Told::Sound
            && self.promise == Promise::Reached
            && self.trust == Trust::Full
            && matches!(self.base, Base::Complete | Base::Resumable | Base::Early)
            && self.tail != Tail::Contradicts
            && self.fork == Fork::AtOrAboveHome
    }
}

impl Base {
    fn of(ours: &Ours<'_>, theirs: &Facts, fork: Lsn) -> Base {
        match theirs.base {
            BaseState::Complete => Base::Complete,
            BaseState::Blank => Base::Blank,
            BaseState::Rebuilding { cut, lineage: row, .. } => {
                if !guard!("plan-base-of-our-history", is_ours(ours, cut, row)) {
                    Base::Stray
                } else if !guard!("plan-base-is-settled", theirs.checkpoint <= ours.settled) {
                    // What it copied beyond the fork will never be settled here: there is nothing to wait for.
                    if theirs.checkpoint > fork { Base::Stray } else { Base::Early }
                } else {
                    Base::Resumable
                }
            }
        }
    }
}

/// Whether a copy as of `cut`, made under `row`, may be of our history. Where the histories part says the rest.
fn is_ours(ours: &Ours<'_>, cut: Lsn, row: LineageRow) -> bool {
    ours.lineage.contains(&row) || (cut == Lsn::ZERO && row == lineage::row_before(&[], cut))
}

impl Tail {
    fn of(ours: &Ours<'_>, theirs: &Facts, fork: Lsn) -> Tail {
        if fork == theirs.log.end {
            let differs = !guard!(
                "plan-tails-agree",
                (ours.chain_at)(fork).is_none_or(|chain| chain == theirs.tail_chain)
            );
            match (differs, fork == ours.log.end) {
                (true, _) => Tail::Contradicts,
                (false, true) => Tail::Equal,
                (false, false) => Tail::Behind,
            }
        } else if fork == ours.log.end {
            Tail::Ahead
        } else {
            Tail::Left
        }
    }
}
