//! Why a peer of a primary counts for commit or not: rules over a few facts, of which exactly one fires.

use crate::status::PeerStatus;

/// Why a peer of a primary counts or not.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum PeerRule {
    /// It is in sync.
    Counts,
    /// It is in sync, and no write waits for it.
    Lagging,
    /// Its copy is being rebuilt.
    Rebuilding,
    /// It is sent what it lacks.
    CatchingUp,
    /// It is asked what it holds, and makes the plan for it true.
    Greeting,
    /// It is away, or waits for a rebuild, and somebody works on it.
    Maintained,
    /// It does not answer.
    Unreachable,
    /// There is no session; the next attempt has its time.
    Waiting,
}

impl PeerRule {
    /// All of them.
    pub const ALL: [PeerRule; 8] = [
        PeerRule::Counts,
        PeerRule::Lagging,
        PeerRule::Rebuilding,
        PeerRule::CatchingUp,
        PeerRule::Greeting,
        PeerRule::Maintained,
        PeerRule::Unreachable,
        PeerRule::Waiting,
    ];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            PeerRule::Counts => "counts",
            PeerRule::Lagging => "lagging",
            PeerRule::Rebuilding => "rebuilding",
            PeerRule::CatchingUp => "catching-up",
            PeerRule::Greeting => "greeting",
            PeerRule::Maintained => "maintained",
            PeerRule::Unreachable => "unreachable",
            PeerRule::Waiting => "waiting",
        }
    }

    /// The rule for a peer.
    #[must_use]
    pub fn of(peer: &PeerStatus) -> PeerRule {
        let fires = PeerRule::ALL.into_iter().find(|rule| rule.fires(PeerFacts::of(peer)));
        fires.expect("a rule fires for every combination of facts, as a test shows")
    }

    /// Whether this rule claims a peer. No two do.
    #[must_use]
    pub fn fires(self, facts: PeerFacts) -> bool {
        let PeerFacts { counts, lagging, rebuilding, fed, speaks, session, maintained } = facts;
        let away = !counts && !rebuilding && !fed && !speaks;
        match self {
            PeerRule::Counts => counts && !lagging,
            PeerRule::Lagging => counts && lagging,
            PeerRule::Rebuilding => !counts && rebuilding,
            PeerRule::CatchingUp => !counts && !rebuilding && fed,
            PeerRule::Greeting => !counts && !rebuilding && !fed && speaks,
            PeerRule::Maintained => away && maintained,
            PeerRule::Unreachable => away && !maintained && session,
            PeerRule::Waiting => away && !maintained && !session,
        }
    }
}

/// What the rules for peers are about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeerFacts {
    /// Whether its frontier counts for commit.
    pub counts: bool,
    /// Whether it votes and is not in the in-sync set.
    pub lagging: bool,
    /// Whether its copy is being rebuilt.
    pub rebuilding: bool,
    /// Whether it is fed.
    pub fed: bool,
    /// Whether it said who it is in the live session.
    pub speaks: bool,
    /// Whether there is a session.
    pub session: bool,
    /// Whether somebody works on it.
    pub maintained: bool,
}

impl PeerFacts {
    /// The facts of a peer.
    #[must_use]
    pub fn of(peer: &PeerStatus) -> PeerFacts {
        PeerFacts {
            counts: peer.counts,
            lagging: peer.lagging,
            rebuilding: peer.rebuilding,
            fed: peer.fed,
            speaks: peer.speaks,
            session: peer.session.is_some(),
            maintained: peer.maintained,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_one_rule_says_why_a_peer_counts_or_not() {
        for bits in 0..1 << 7 {
            let bit = |at: u32| bits >> at & 1 == 1;
            let facts = PeerFacts {
                counts: bit(0),
                rebuilding: bit(1),
                fed: bit(2),
                speaks: bit(3),
                session: bit(4),
                maintained: bit(5),
                lagging: bit(6),
            };
            assert_eq!(PeerRule::ALL.into_iter().filter(|rule| rule.fires(facts)).count(), 1, "{facts:?}");
        }
    }
}
