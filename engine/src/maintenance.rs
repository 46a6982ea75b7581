//! Maintenance: somebody works on a replica, and says for how long. Until then nobody takes its place by itself, and no
//! rebuild of its copy begins by itself; whatever an operator asks for is done as ever, and nothing that keeps data
//! safe asks for a lease.
//!
//! A lease is a record of the log, in force from its append, here and on every follower; a cut takes it back. So a
//! majority of voters knows of each one that was answered for, and whoever sounds a majority meets one of them.
//!
//! The core has no wall clock. It is told once, at its start, what Unix time it was when its own clock was at zero; a
//! lease is over when the time that its primary's clock gave has come by that reckoning, and never later than its
//! length after this replica heard of it first in this life. To count from then on alone would let whoever catches up,
//! or restarts, hold on to a lease that is long over. So a node whose clock is ahead ends it early, and one whose clock
//! is behind holds on for one length at most; both cost no more than time.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use seawall_sender::time::Instant;
use seawall_wal::configuration::Member;
use seawall_wal::log::Log;
use seawall_wal::maintenance::{LENGTH_MAX, Lease, Leases, OWNER_BYTES_MAX, REASON_BYTES_MAX};
use seawall_wal::names::{Crc, Extent, Lsn, Origin, ReplicaId};
use seawall_wal::record::Kind;

use crate::bait::Bait;
use crate::commit::majority;
use crate::core::Core;
use crate::io::{Answered, CommandId};
use crate::lane::Lane;
use crate::notice::Notice;
use crate::status::{MaintenanceStatus, Role};

/// The shortest lease.
pub const LENGTH_MIN: Duration = Duration::from_secs(1);

/// What an operator says of the work on a replica.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Maintain {
    /// It begins, or goes on for longer.
    Begin {
        /// On which replica.
        replica: ReplicaId,
        /// Who works on it: 1 to [`OWNER_BYTES_MAX`] bytes.
        owner: String,
        /// Why: at most [`REASON_BYTES_MAX`] bytes.
        reason: String,
        /// For how long from now on: [`LENGTH_MIN`] to [`LENGTH_MAX`].
        length: Duration,
    },
    /// It is done, or what follows by itself shall follow now.
    End {
        /// On which replica.
        replica: ReplicaId,
        /// Who says so.
        owner: String,
    },
}

/// What Unix time it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wall {
    pub(crate) now: Instant,
    /// Unix time when our own clock was at zero.
    pub(crate) at_zero: Duration,
}

impl Wall {
    fn unix_ms(self) -> u64 {
        let now = self.at_zero + Duration::from_nanos(self.now.0);
        u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
    }

    /// Until when a lease is held here that is heard of now.
    fn until(self, lease: &Lease) -> Instant {
        let left = lease.over_ms().saturating_sub(self.unix_ms()).min(lease.length_ms);
        self.now.after(Duration::from_millis(left))
    }
}

/// The leases that a log and its superblock know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Maintenance {
    settled: Leases,
    until: BTreeMap<ReplicaId, Instant>,
    /// Those that may yet be cut, in order.
    later: Vec<(Lsn, Lease, Instant)>,
}

impl Maintenance {
    /// Those of a log whose superblock names `known`, and of which everything below `taken` is settled.
    pub(crate) fn found(known: Leases, log: &Log, taken: Lsn, wall: Wall) -> Maintenance {
        let mut found = Maintenance::anew(known, wall);
        let mut lsn = log.start();
        while lsn < log.end() {
            if let Some(words) = log.words(lsn, Kind::Maintenance) {
                found.on_appended(lsn, words, wall);
            }
            lsn = lsn.next();
        }
        found.on_settled(taken);
        found
    }

    /// Those of a log that begins anew.
    pub(crate) fn anew(settled: Leases, wall: Wall) -> Maintenance {
        let until = settled.held.iter().map(|lease| (lease.replica, wall.until(lease))).collect();
        Maintenance { settled, until, later: Vec::new() }
    }

    /// One joins the log.
    pub(crate) fn on_appended(&mut self, lsn: Lsn, words: &[Crc], wall: Wall) {
        if let Some(lease) = Lease::of(words).filter(|_| lsn >= self.settled.through) {
            let until = wall.until(&lease);
            self.later.push((lsn, lease, until));
        }
    }

    /// Everything below `taken` is settled: what that settled.
    pub(crate) fn on_settled(&mut self, taken: Lsn) -> Option<Lease> {
        let settled = self.later.iter().take_while(|(lsn, ..)| *lsn < taken).count();
        let mut newest = None;
        for (lsn, lease, until) in self.later.drain(..settled) {
            self.until.insert(lease.replica, until);
            self.settled.settle(lsn, lease.clone());
            newest = Some(lease);
        }
        newest
    }

    /// The log was cut.
    pub(crate) fn on_cut(&mut self, to: Lsn) {
        self.later.retain(|(lsn, ..)| *lsn < to);
        self.settled.through = self.settled.through.min(to);
    }

    /// Those that no cut takes back.
    pub(crate) fn settled(&self) -> &Leases {
        &self.settled
    }

    /// The lease of a replica, and until when it is held here.
    pub(crate) fn of(&self, replica: ReplicaId, now: Instant) -> Option<(&Lease, Instant)> {
        let later = self.later.iter().rev().find(|(_, lease, _)| lease.replica == replica);
        let newest = later.map(|(_, lease, until)| (lease, *until)).or_else(|| {
            let lease = self.settled.held.iter().find(|lease| lease.replica == replica)?;
            Some((lease, *self.until.get(&replica)?))
        });
        newest.filter(|(lease, until)| !lease.ends() && now < *until)
    }

    /// All of them, by replica.
    pub(crate) fn all(&self, now: Instant) -> Vec<(&Lease, Instant)> {
        let later = self.later.iter().map(|(_, lease, _)| lease.replica);
        let mut replicas: Vec<ReplicaId> =
            self.settled.held.iter().map(|lease| lease.replica).chain(later).collect();
        replicas.sort_unstable();
        replicas.dedup();
        replicas.into_iter().filter_map(|replica| self.of(replica, now)).collect()
    }

    /// When the next of the settled ones runs out.
    pub(crate) fn next_over(&self) -> Option<Instant> {
        self.settled.held.iter().filter_map(|lease| self.until.get(&lease.replica)).min().copied()
    }

    /// The settled ones that have run out, which are forgotten with this.
    fn run_out(&mut self, now: Instant) -> Vec<ReplicaId> {
        let over = |lease: &Lease| self.until.get(&lease.replica).is_none_or(|until| *until <= now);
        let gone: Vec<ReplicaId> =
            self.settled.held.iter().filter(|lease| over(lease)).map(|lease| lease.replica).collect();
        self.settled.held.retain(|lease| !gone.contains(&lease.replica));
        self.until.retain(|replica, _| !gone.contains(replica));
        gone
    }
}

impl Core {
    pub(crate) fn wall(&self) -> Wall {
        Wall { now: self.now, at_zero: self.setup.wall }
    }

    /// Until when somebody works on a replica, as far as is known here.
    pub(crate) fn maintained(&self, replica: ReplicaId) -> Option<Instant> {
        self.maintenance.of(replica, self.now).map(|(_, until)| until)
    }

    /// Until when `heir` does not take the place of the primary that is missed without an operator, because somebody
    /// works on that one. One that has handed over is not missed.
    pub(crate) fn spared_by(&self, heir: ReplicaId) -> Option<Instant> {
        // Invariant: maintenance-is-respected.
        let last = self.promised();
        let missed = last.replica != heir && last != self.handed_back;
        let until = self.maintained(last.replica).filter(|_| missed)?;
        Some(until).filter(|_| !self.setup.baited(Bait::MaintenanceIgnored))
    }

    /// Whether a rebuild of a copy may begin by itself. A reign that has yet to begin may need that very copy.
    pub(crate) fn may_rebuild(&self, replica: ReplicaId) -> bool {
        // Invariant: maintenance-is-respected.
        let serves = self.primary.as_ref().is_some_and(|primary| primary.serving);
        !serves || self.maintained(replica).is_none() || self.setup.baited(Bait::MaintenanceIgnored)
    }

    /// An operator begins or ends the maintenance of a replica.
    pub(crate) fn on_maintain(&mut self, id: CommandId, maintain: Maintain) {
        let lease = self.check_maintain(&maintain).and_then(|()| self.write_lease(maintain));
        match lease {
            Ok(at) => {
                self.leasing.insert(at, id);
                self.weigh();
            }
            Err(why) => self.answer(id, Err(format!("maintenance is not changed: {why}"))),
        }
    }

    fn check_maintain(&self, maintain: &Maintain) -> Result<(), String> {
        let Some(primary) = self.primary.as_ref() else {
            return Err("this replica is not the primary; ask the one that is".into());
        };
        if !primary.serving {
            return Err("the primary's reign has not begun: its start has not committed; try again".into());
        }
        if primary.handing.is_some() || self.drain.is_some() {
            return Err("the primary hands over or shuts down; ask the next one".into());
        }
        let (Maintain::Begin { replica, owner, .. } | Maintain::End { replica, owner }) = maintain;
        let members = &self.membership.newest().members;
        let Some(member) = members.iter().find(|member| member.replica == *replica) else {
            let names: Vec<String> = members.iter().map(|m| format!("{} ({})", m.name, m.replica)).collect();
            return Err(format!("{replica} is no member; members are {}", names.join(", ")));
        };
        if owner.is_empty() || owner.len() > OWNER_BYTES_MAX {
            return Err(format!("the owner is {} bytes long; give 1 to {OWNER_BYTES_MAX}", owner.len()));
        }
        let held = self.maintenance.of(*replica, self.now).map(|(lease, _)| lease);
        match (maintain, held) {
            (Maintain::Begin { reason, .. }, _) if reason.len() > REASON_BYTES_MAX => {
                Err(format!("the reason is {} bytes long; give at most {REASON_BYTES_MAX}", reason.len()))
            }
            (Maintain::Begin { length, .. }, _) if !(LENGTH_MIN..=LENGTH_MAX).contains(length) => {
                Err(format!(
                    "{} s are no length of a lease; give {} s to {} h, and renew it if need be",
                    length.as_secs_f64(),
                    LENGTH_MIN.as_secs(),
                    LENGTH_MAX.as_secs() / 3600
                ))
            }
            (Maintain::Begin { .. }, Some(held)) if held.owner != *owner => Err(format!(
                "{} is under maintenance by {}: {}; whoever that is ends it, or you do: seawall maintenance end",
                member.name, held.owner, held.reason
            )),
            (Maintain::End { .. }, None) => Err(format!("{} is not under maintenance", member.name)),
            (Maintain::Begin { .. }, _) | (Maintain::End { .. }, Some(_)) => Ok(()),
        }
    }

    fn write_lease(&mut self, maintain: Maintain) -> Result<Lsn, String> {
        let began_ms = self.wall().unix_ms();
        let lease = match maintain {
            Maintain::Begin { replica, owner, reason, length } => {
                let length_ms = u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
                Lease { replica, owner, reason, began_ms, length_ms }
            }
            Maintain::End { replica, owner } => {
                Lease { replica, owner, reason: String::new(), began_ms, length_ms: 0 }
            }
        };
        if !lease.is_sound() {
            return Err("this node's clock shows no time that a lease could begin at: set it".into());
        }
        let header = self.next_header(Kind::Maintenance, Extent::default(), lease.words(), Origin::NONE);
        let at = header.lsn;
        if self.append(header, None).is_err() {
            self.space_wanted();
            return Err("the log has no room for the record just now; try again".into());
        }
        self.want_durable(at.next());
        Ok(at)
    }

    /// A record is settled that began or ended the maintenance of a replica.
    pub(crate) fn on_maintenance_settled(&mut self) {
        let Some(lease) = self.maintenance.on_settled(self.taken) else { return };
        if !self.takes_part {
            return;
        }
        let Lease { replica, owner, reason, length_ms, .. } = lease;
        let seconds = length_ms / 1000;
        if length_ms > 0 {
            self.notice(Notice::MaintenanceBegan { replica, owner, reason, seconds });
        } else {
            self.notice(Notice::MaintenanceEnded { replica, owner });
        }
        let waiting = self.leasing.split_off(&self.taken);
        for id in core::mem::replace(&mut self.leasing, waiting).into_values() {
            let warnings = if length_ms > 0 { self.warnings(replica) } else { Vec::new() };
            self.answer(id, Ok(Answered::Maintained { warnings }));
        }
    }

    /// What a lease means that an operator may not have meant.
    fn warnings(&self, replica: ReplicaId) -> Vec<String> {
        let newest = self.membership.newest();
        let voters: Vec<&Member> = newest.members.iter().filter(|m| newest.votes(m.replica)).collect();
        let maintained = |member: &&&Member| self.maintained(member.replica).is_some();
        let under: Vec<String> = voters.iter().filter(maintained).map(|m| m.name.clone()).collect();
        let mut warnings = Vec::new();
        if replica == self.me() {
            warnings.push(
                "it is the primary: while it is away, clients wait for as long as the volume lets them, and nobody \
                 takes its place before the lease is over; to spare them that, hand over first: seawall handover"
                    .to_string(),
            );
        }
        if voters.len() - under.len() < majority(voters.len()) {
            warnings.push(format!(
                "{} of {} voters are under maintenance ({}): while they are away together nothing is written, and nobody \
                 can be elected",
                under.len(),
                voters.len(),
                under.join(", ")
            ));
        }
        let counts = |member: &&&Member| {
            let other = member.replica != replica;
            other
                && (member.replica == self.me() || self.lanes.get(&member.replica).is_some_and(Lane::counts))
        };
        if newest.votes(replica) && voters.iter().filter(counts).count() < majority(voters.len()) {
            warnings.push(
                "without it too few voters are in sync: while it is away nothing is written; bring the others back \
                 first"
                    .to_string(),
            );
        }
        warnings
    }

    /// The reign ended before a lease was known to be settled.
    pub(crate) fn leases_in_doubt(&mut self) {
        for id in core::mem::take(&mut self.leasing).into_values() {
            let why = "the reign ended before the lease was settled: the next primary settles it or drops it; see what it \
                       lists";
            self.answer(id, Err(why.into()));
        }
    }

    /// Time passed.
    pub(crate) fn maintenance_tick(&mut self) {
        for replica in self.maintenance.run_out(self.now) {
            self.notice(Notice::MaintenanceOver { replica });
        }
    }

    /// What is shown of the leases.
    pub(crate) fn maintenance_status(&self) -> Vec<MaintenanceStatus> {
        let role = self.role().0;
        let all = self.maintenance.all(self.now).into_iter();
        let members = all.filter(|(lease, _)| role != Role::Removed && self.is_member(lease.replica));
        members
            .map(|(lease, until)| MaintenanceStatus {
                replica: lease.replica,
                owner: lease.owner.clone(),
                reason: lease.reason.clone(),
                began_ms: lease.began_ms,
                until,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: u64 = 60_000;
    const BEGAN: u64 = 1_700_000_000_000;

    fn lease(replica: u64, length_ms: u64) -> Lease {
        let (owner, reason) = ("ann".into(), "disk".into());
        Lease { replica: ReplicaId(replica), owner, reason, began_ms: BEGAN, length_ms }
    }

    /// A clock that shows so many seconds, where that is so many milliseconds after the lease began.
    fn wall(seconds: u64, after_ms: i64) -> Wall {
        let at_zero = Duration::from_millis(BEGAN.saturating_add_signed(after_ms) - seconds * 1000);
        Wall { now: Instant(seconds * 1_000_000_000), at_zero }
    }

    fn left(known: &Maintenance, wall: Wall) -> Option<Duration> {
        known.of(ReplicaId(1), wall.now).map(|(_, until)| until.since(wall.now))
    }

    fn heard(wall: Wall) -> Maintenance {
        let mut known = Maintenance::anew(Leases::default(), wall);
        known.on_appended(Lsn(5), &lease(1, LONG).words(), wall);
        known
    }

    #[test]
    fn a_lease_is_over_when_its_time_has_come_by_the_wall() {
        assert_eq!(left(&heard(wall(9, 0)), wall(9, 0)), Some(Duration::from_secs(60)));
        assert_eq!(left(&heard(wall(9, 20_000)), wall(9, 20_000)), Some(Duration::from_secs(40)));
        assert_eq!(left(&heard(wall(9, 60_000)), wall(9, 60_000)), None, "heard of when it is over");
    }

    #[test]
    fn where_the_clock_is_behind_it_lasts_no_longer_than_its_length() {
        assert_eq!(left(&heard(wall(9, -3_600_000)), wall(9, -3_600_000)), Some(Duration::from_secs(60)));
    }

    #[test]
    fn a_restart_does_not_begin_it_anew() {
        let mut known = heard(wall(9, 0));
        known.on_settled(Lsn(6));
        let again = Maintenance::anew(known.settled().clone(), wall(2, 45_000));
        assert_eq!(left(&again, wall(2, 45_000)), Some(Duration::from_secs(15)));
    }

    #[test]
    fn it_is_in_force_from_its_append_and_a_cut_takes_it_back() {
        let at = wall(9, 0);
        let mut known = heard(at);
        known.on_appended(Lsn(7), &lease(1, 0).words(), at);
        assert_eq!(left(&known, at), None, "ended");
        known.on_cut(Lsn(7));
        assert!(left(&known, at).is_some(), "the end was cut");
        known.on_cut(Lsn(5));
        assert_eq!(left(&known, at), None, "it was cut itself");
    }

    #[test]
    fn what_has_run_out_is_told_once() {
        let mut known = heard(wall(9, 0));
        known.on_settled(Lsn(6));
        assert_eq!(known.next_over(), Some(wall(69, 60_000).now));
        assert_eq!(known.run_out(wall(68, 59_000).now), []);
        assert_eq!(known.run_out(wall(69, 60_000).now), [ReplicaId(1)]);
        assert_eq!((known.run_out(wall(99, 90_000).now), known.next_over()), (Vec::new(), None));
    }
}
