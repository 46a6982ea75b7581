//! Leases. A voter that answers a pulse promises nobody else for a while; a primary that enough voters have answered
//! may show what it knows for almost as long, counted from when it asked. Only the rates of clocks matter, and the
//! bound of their error makes the primary's share shorter.

use alloc::vec::Vec;

use seawall_sender::time::Instant;
use seawall_wal::names::{Epoch, ReplicaId};

use crate::bait::Bait;
use crate::core::Core;
use crate::notice::Notice;
use crate::setup::CommitRule;

/// Whom a voter has granted a lease. Remembered only in memory: a restarted voter takes the one that it promised for
/// the holder of a whole lease.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Grant {
    epoch: Epoch,
    until: Instant,
}

impl Grant {
    /// To whom, and until when.
    pub(crate) fn told(self) -> (Epoch, Instant) {
        (self.epoch, self.until)
    }
}

/// What is known of our reign at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Hold {
    leased: bool,
    confirmed: u64,
}

impl Hold {
    /// Whether something that needs this proof may be shown now.
    pub(crate) fn satisfies(self, proof: Proof) -> bool {
        match proof {
            Proof::Lease => self.leased,
            Proof::Pulse(number) => number <= self.confirmed,
            Proof::Quorum | Proof::Nothing => true,
        }
    }
}

/// What must be so before something is shown to a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Proof {
    /// The primary holds its lease at that moment.
    Lease,
    /// That pulse was answered by enough voters: where clocks can't be relied on.
    Pulse(u64),
    /// The frontiers of a commit quorum in sessions of this epoch, which the request waits for anyway: where clocks
    /// can't be relied on.
    Quorum,
    /// Nothing: a planted bug.
    Nothing,
}

impl Core {
    /// What a restarted voter must take for granted.
    pub(crate) fn assume_grant(&mut self) {
        let forgot = self.scribe.content().promises_lost;
        // One that does not know whom it answered waits for whoever that was.
        let epoch = if forgot { Epoch::ZERO } else { self.promised() };
        // One that never promised anything never answered anybody.
        if (forgot || epoch != Epoch::ZERO) && !self.setup.baited(Bait::GrantForgotten) {
            self.grant = Some(Grant { epoch, until: self.now.after(self.setup.limits.lease) });
        }
    }

    /// The primary of our feed asks whether it still reigns: a lease goes with the answer. Whether it does.
    pub(crate) fn grant_lease(&mut self, epoch: Epoch) -> bool {
        let grants = self.stands_by_its_primary() && self.withheld <= self.now;
        if grants {
            // Invariant: reads-need-a-lease.
            assert!(
                self.promised() <= epoch || self.setup.baited(Bait::AcceptStaleSession),
                "promised to another"
            );
            self.grant = Some(Grant { epoch, until: self.now.after(self.setup.limits.lease) });
        }
        grants
    }

    /// No lease is granted for long enough that the present one runs out, and another replica is promised something.
    pub(crate) fn withhold_lease(&mut self) {
        self.withheld = self.now.after(self.setup.limits.lease * 4);
    }

    /// The holder of that lease gave it back, for good.
    pub(crate) fn lease_handed_back(&mut self, epoch: Epoch) {
        self.grant = self.grant.filter(|grant| grant.epoch != epoch);
    }

    /// Until when nobody but the holder of a lease is promised anything; `None` if `asker` may be. Who asks for promises
    /// in a new epoch has given up the lease of an older one. A primary's own lease is in nobody's way: it steps down
    /// before it promises.
    pub(crate) fn leased_against(&self, asker: ReplicaId) -> Option<Instant> {
        let grant = self.grant.filter(|grant| self.now < grant.until && grant.epoch.replica != asker)?;
        Some(grant.until).filter(|_| !self.setup.baited(Bait::GrantIgnored))
    }

    /// Whether there are leases at all.
    pub(crate) fn has_leases(&self) -> bool {
        !self.setup.limits.lease.is_zero()
    }

    fn clock_is_trusted(&self, replica: ReplicaId) -> bool {
        self.lanes.get(&replica).is_none_or(|lane| !lane.drift.is_proven())
    }

    /// A pulse left or was answered: until when, by our own clock, does nobody else reign?
    pub(crate) fn renew_lease(&mut self) {
        let held = self.setup.limits.lease_held();
        let Some(primary) = self.primary.as_ref() else { return };
        let trusted = |replica| self.clock_is_trusted(replica);
        let until = primary.pulses.lease_until(&self.electorate, held, trusted);
        let until = until.filter(|_| primary.clocks_trusted);
        if let Some(primary) = self.primary.as_mut() {
            primary.leased_until = until;
        }
    }

    /// Whether we are the only one who may serve, at this moment.
    pub(crate) fn holds_lease(&self) -> bool {
        let until = self.primary.as_ref().and_then(|primary| primary.leased_until);
        until.is_some_and(|until| self.now < until)
    }

    /// What an answer must wait for that shows what nobody may have changed behind our back.
    pub(crate) fn proof_of_reign(&mut self) -> Proof {
        if self.setup.baited(Bait::ReadUnconfirmed) {
            return Proof::Nothing;
        }
        if self.setup.baited(Bait::LeaseAtAdmission) && self.holds_lease() {
            return Proof::Nothing;
        }
        // Invariant: reads-need-a-lease.
        match self.primary.as_mut() {
            Some(primary) if !primary.clocks_trusted => Proof::Pulse(primary.pulses.want()),
            Some(_) | None => Proof::Lease,
        }
    }

    /// What is known of our reign now.
    pub(crate) fn hold(&self) -> Hold {
        let confirmed = self.primary.as_ref().map_or(0, |primary| primary.pulses.confirmed());
        Hold { leased: self.holds_lease(), confirmed }
    }

    /// The same for a write. Under `one` no peer's frontier shows that we still reign.
    pub(crate) fn proof_for_write(&mut self) -> Proof {
        let trusted = self.primary.as_ref().is_none_or(|primary| primary.clocks_trusted);
        match self.setup.commit {
            CommitRule::One => self.proof_of_reign(),
            CommitRule::Majority | CommitRule::All if trusted => Proof::Lease,
            CommitRule::Majority | CommitRule::All => Proof::Quorum,
        }
    }

    /// A voter's clock was heard of. Where too few can be relied on, pulses confirm what leases can't.
    pub(crate) fn weigh_clocks(&mut self) {
        let right = self.electorate.is_confirming(|replica| self.clock_is_trusted(replica));
        let trusted = right && self.has_leases();
        let Some(primary) = self.primary.as_mut().filter(|primary| primary.clocks_trusted != trusted) else {
            return self.renew_lease();
        };
        primary.clocks_trusted = trusted;
        if !trusted {
            // Whatever waits for the lease waits for an answer now.
            let number = primary.pulses.want();
            let queued =
                primary.plain.iter_mut().chain(&mut primary.firm).map(|admitted| &mut admitted.proof);
            let proofs: Vec<&mut Proof> =
                queued.chain(primary.reads.values_mut().map(|read| &mut read.proof)).collect();
            for proof in proofs.into_iter().filter(|proof| **proof == Proof::Lease) {
                *proof = Proof::Pulse(number);
            }
        }
        self.notice(if trusted { Notice::ClocksAgree {} } else { Notice::ClocksDiffer {} });
        self.renew_lease();
    }
}
