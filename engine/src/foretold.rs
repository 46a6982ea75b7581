//! What a forced promotion would mean: who answers, what would be the history, what is in the way.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use seawall_wal::names::{Epoch, Lsn, ReplicaId};

use crate::bait::Bait;
use crate::ballot::{Denial, Denied, Promise};
use crate::core::Core;
use crate::force::LEASE_GLANCE;

/// What would become the history, as it was shown to the operator: the last record of this replica's log, and where the
/// log ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Token {
    /// The epoch of the last record.
    pub epoch: Epoch,
    /// One past it.
    pub end: Lsn,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.epoch, self.end)
    }
}

/// What an operator wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wish {
    /// To be told what it would mean. Nothing changes.
    Foretell,
    /// That it is done.
    Act {
        /// What he was told would be the history.
        token: Token,
        /// Voters that he declares dead.
        dead: Vec<ReplicaId>,
        /// He takes a copy that may have lost records that it answered for.
        lossy: bool,
    },
}

/// What another voter is to a forced promotion.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// It does not answer: it is to be declared dead.
    Silent,
    /// It answers, and would promise.
    Fenced {
        /// The end of its durable log.
        end: Lsn,
        /// The epoch of its last record.
        tail: Epoch,
        /// Its log is better than ours: it is to be promoted instead.
        better: bool,
    },
    /// It answers, and its copy is not whole: it becomes a learner. It need not promise: until a primary has made its copy
    /// whole it has no say, and the forced one greets it first.
    NotWhole,
    /// It answers, and keeps to a lease: that runs out.
    Leased,
    /// It answers, and follows a primary that lives or is one.
    Led,
    /// It answers, and can't promise, for that reason.
    Unable(&'static str),
}

/// What a forced promotion of a replica would mean.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Foretold {
    /// The replica.
    pub replica: ReplicaId,
    /// What would be the history.
    pub token: Token,
    /// Below this it knows that the promise holds; whatever is lost is above.
    pub committed: Lsn,
    /// The other voters.
    pub voters: Vec<(ReplicaId, Standing)>,
    /// How long the leases that this replica granted still run.
    pub lease: Duration,
    /// It reigned itself until now: it has all that it told clients to be done.
    pub reigned: bool,
    /// How long ago it heard from a primary that had its voters; none if it did not in this life.
    pub unheard: Option<Duration>,
    /// Its copy may have lost records that it answered for.
    pub lossy: bool,
    /// Why it can't be done here at all.
    pub objection: Option<String>,
}

impl Core {
    pub(crate) fn token(&self) -> Token {
        Token { epoch: self.log.tail_epoch(), end: self.log.end() }
    }

    /// Why no promotion can be forced here, whatever the others are.
    pub(crate) fn force_objection(&self) -> Option<String> {
        let led = self.feed.as_ref().filter(|_| self.hears_a_primary()).map(|feed| feed.epoch.replica);
        let serves = self.primary.is_some() && self.hears_a_primary();
        if let Some(fault) = &self.fault {
            Some(fault.clone())
        } else if !self.takes_part || self.drain.is_some() || self.drained {
            Some("this replica is starting or shutting down".into())
        } else if self.is_removed() || self.membership.newest().member(self.me()).is_none() {
            Some("this replica is no member of the volume".into())
        } else if !self.base_complete() {
            // Invariant: rebuilding-never-votes.
            Some("this replica's own copy is not whole (blank or rebuilding): force another one".into())
        } else if serves {
            Some("this replica is the primary and has its quorum: nothing need be forced".into())
        } else {
            led.map(|primary| format!("{primary} is primary and lives: stop it, or promote by plan"))
        }
    }

    /// What it would mean, as far as is known.
    pub(crate) fn foretell(&self) -> Foretold {
        let me = self.me();
        let heard = |voter| self.forcing.as_ref().and_then(|forcing| forcing.heard.get(&voter));
        let others = self.electorate.voters().filter(|voter| *voter != me);
        let lease = self.leased_against(me).map_or(Duration::ZERO, |until| until.since(self.now));
        Foretold {
            replica: me,
            token: self.token(),
            committed: self.committed,
            voters: others.map(|voter| (voter, self.standing(heard(voter)))).collect(),
            lease,
            reigned: self.primary.is_some(),
            unheard: self.vigil.unheard(self.now),
            lossy: self.scribe.content().lossy,
            objection: None,
        }
    }

    fn standing(&self, heard: Option<&Result<Promise, Denied>>) -> Standing {
        match heard {
            None => Standing::Silent,
            Some(Ok(promise)) => {
                let ours = self.promise(promise.epoch, true);
                let better = promise.outranks(&ours);
                Standing::Fenced { end: promise.log.end, tail: promise.tail_epoch, better }
            }
            Some(Err(denied)) => match denied.why {
                Denial::Rebuilding => Standing::NotWhole,
                Denial::Leased => Standing::Leased,
                Denial::LivePrimary => Standing::Led,
                Denial::Promised
                | Denial::Unable
                | Denial::NotVoter
                | Denial::Removed
                | Denial::Maintained => Standing::Unable(denied.why.name()),
            },
        }
    }

    /// Whether it may be done now, or how long it must wait.
    pub(crate) fn force_verdict(
        &self,
        token: Token,
        dead: &[ReplicaId],
        lossy: bool,
    ) -> Result<Option<Duration>, String> {
        if let Some(why) = self.force_objection() {
            return Err(why);
        }
        if self.scribe.content().lossy && !lossy {
            return Err("this copy may have lost records that it answered for: promote another one, or accept that by name".into());
        }
        self.check_token(token)?;
        let foretold = self.foretell();
        let name = |replica: ReplicaId| {
            let member = self.membership.newest().member(replica);
            member.map_or_else(|| replica.to_string(), |member| member.name.clone())
        };
        if let Some(stranger) = dead.iter().find(|dead| !foretold.voters.iter().any(|(v, _)| v == *dead)) {
            return Err(format!("{} is no other voter: it need not be declared dead", name(*stranger)));
        }
        let mut waits = (!foretold.lease.is_zero()).then_some(foretold.lease);
        for (voter, standing) in &foretold.voters {
            let declared = dead.contains(voter);
            let who = name(*voter);
            match standing {
                Standing::Silent if declared => {}
                Standing::Silent => {
                    return Err(format!(
                        "{who} does not answer: start it, or, if it is gone for good, declare it dead"
                    ));
                }
                Standing::Led => {
                    return Err(format!(
                        "{who} follows a primary that lives, or is one: nothing need be forced; ask it for its status"
                    ));
                }
                Standing::Unable(why) => {
                    return Err(format!(
                        "{who} answers, and can't promise: {why}; stop it for good, then declare it dead"
                    ));
                }
                Standing::NotWhole => {}
                Standing::Fenced { .. } | Standing::Leased if declared => {
                    return Err(format!(
                        "{who} answers: it is not dead; take it out of what is declared dead"
                    ));
                }
                Standing::Fenced { end, tail, better: true } => {
                    return Err(format!(
                        "the log of {who} is better than this one's (its last record is of {tail}, it ends at {end}): promote {who} instead"
                    ));
                }
                Standing::Fenced { better: false, .. } => {}
                Standing::Leased => waits = waits.or(Some(LEASE_GLANCE)),
            }
        }
        // Invariant: reads-need-a-lease. Whoever was granted one may be serving at this moment.
        Ok(waits.filter(|_| !self.setup.baited(Bait::ForceWithoutWait)))
    }

    fn check_token(&self, token: Token) -> Result<(), String> {
        // Invariant: forced-as-told.
        let now = self.token();
        if token == now || self.setup.baited(Bait::ForceTokenUnchecked) {
            return Ok(());
        }
        Err(format!(
            "the history has moved: it would be {now}, and {token} was named; look at the preview again, then name what it says"
        ))
    }
}
