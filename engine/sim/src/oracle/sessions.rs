//! Nobody waits for ever, during faults as well as after them: every recovery session ends or progresses, and every
//! request is answered, within a bounded time in which its node runs. What a replica says of itself is believed here:
//! this is about progress, not about truth.

use std::collections::BTreeMap;

use seawall_engine::io::RequestId;
use seawall_engine::status::{PeerStatus, Role, Status};
use seawall_sender::session_id::SessionId;
use seawall_wal::names::{Lsn, ReplicaId};

use crate::clock::SECOND;
use crate::oracle::Failure;

/// No phase of a session has a deadline longer than ten seconds, and a disk may stall for twelve: so long, in
/// nanoseconds, may one go on in which nothing at all changes.
pub(crate) const STILL_MAX: u64 = 25 * SECOND;
/// A request is refused when a quorum was missing for three seconds, and its disk operations may stall more than
/// once: so long, in nanoseconds, may one be under way.
pub(crate) const REQUEST_MAX: u64 = 60 * SECOND;

/// All by which one can see that a session goes on.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Look {
    state: &'static str,
    session: Option<SessionId>,
    frontiers: [Lsn; 4],
    done: u64,
}

impl Look {
    fn new(peer: &PeerStatus) -> Look {
        Look {
            state: peer.state,
            session: peer.session,
            frontiers: [peer.received, peer.written, peer.durable, peer.home],
            done: peer.progress.map_or(0, |progress| progress.done),
        }
    }
}

/// Who stands still since when.
#[derive(Debug)]
pub(crate) struct Sessions {
    still: BTreeMap<(usize, ReplicaId), (Look, u64)>,
    waiting: Vec<BTreeMap<RequestId, u64>>,
}

impl Sessions {
    /// For that many replicas.
    pub(crate) fn new(replicas: usize) -> Sessions {
        Sessions { still: BTreeMap::new(), waiting: vec![BTreeMap::new(); replicas] }
    }

    /// A process ended.
    pub(crate) fn on_crash(&mut self, node: usize) {
        self.still.retain(|(at, _), _| *at != node);
        self.waiting[node].clear();
    }

    /// A node has run for so many nanoseconds more, and says this of itself.
    pub(crate) fn on_look(
        &mut self,
        node: usize,
        passed: u64,
        status: &Status,
        requests: impl Iterator<Item = RequestId>,
    ) -> Result<(), Failure> {
        self.check_requests(node, passed, requests)?;
        match status.role {
            Role::Starting | Role::Primary => {}
            Role::Opening
            | Role::Follower
            | Role::Candidate
            | Role::Faulted
            | Role::Drained
            | Role::Removed => {
                self.still.retain(|(at, _), _| *at != node);
                return Ok(());
            }
        }
        for peer in &status.peers {
            self.check_peer(node, passed, status, peer)?;
        }
        Ok(())
    }

    fn check_peer(
        &mut self,
        node: usize,
        passed: u64,
        status: &Status,
        peer: &PeerStatus,
    ) -> Result<(), Failure> {
        let look = Look::new(peer);
        let idle = peer.counts && peer.durable == status.log_end;
        let still = self.still.entry((node, peer.replica)).or_insert_with(|| (look.clone(), 0));
        if idle || still.0 != look {
            *still = (look, 0);
            return Ok(());
        }
        still.1 += passed;
        if still.1 <= STILL_MAX {
            return Ok(());
        }
        let detail = format!(
            "node {node}, {} in {}: its session {:?} with {} is {} for {} s and nothing moves: rule {}, last end {}, durable {} of {}, lag {} records",
            status.role.name(),
            status.epoch,
            peer.session,
            peer.replica,
            peer.state,
            still.1 / SECOND,
            peer.rule,
            peer.last_end,
            peer.durable,
            status.log_end,
            peer.lag_records,
        );
        Err(Failure::new("sessions-end-or-progress", detail))
    }

    fn check_requests(
        &mut self,
        node: usize,
        passed: u64,
        requests: impl Iterator<Item = RequestId>,
    ) -> Result<(), Failure> {
        let before = &self.waiting[node];
        let now: BTreeMap<RequestId, u64> =
            requests.map(|id| (id, before.get(&id).map_or(0, |waited| waited + passed))).collect();
        let late = now.iter().find(|(_, waited)| **waited > REQUEST_MAX);
        if let Some((id, waited)) = late {
            let detail = format!("node {node} owes the answer to request {} for {} s", id.0, waited / SECOND);
            return Err(Failure::new("requests-are-answered", detail));
        }
        self.waiting[node] = now;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use seawall_engine::replica::Replica;
    use seawall_engine::risk::AtRisk;
    use seawall_sender::time::Instant;

    use super::*;
    use crate::birth;
    use crate::directory::Directory;
    use crate::profile::Profile;

    fn peer(state: &'static str, durable: u64) -> PeerStatus {
        PeerStatus {
            replica: ReplicaId(0xA1),
            state,
            session: None,
            rule: "end-on-our-log",
            last_end: "none",
            voter: true,
            speaks: true,
            fed: true,
            rebuilding: false,
            maintained: false,
            next_try: None,
            behind: AtRisk::default(),
            counts: state == "in-sync",
            lagging: false,
            dropped: None,
            received: Lsn(durable),
            written: Lsn(durable),
            durable: Lsn(durable),
            home: Lsn(0),
            in_flight_bytes: 0,
            lag_records: 0,
            lag_bytes: 0,
            progress: None,
        }
    }

    fn primary(peer: PeerStatus) -> Status {
        let addresses = Directory::new(2).on_start(0);
        let setup =
            birth::setup(&Profile::calm(), &addresses, 0, [0; 16], 0, core::time::Duration::ZERO, None);
        let newborn = Replica::new(Instant::default(), setup).status();
        Status { role: Role::Primary, log_end: Lsn(9), durable: Lsn(9), peers: vec![peer], ..newborn }
    }

    /// Looks once a second, for as long as said.
    fn look(sessions: &mut Sessions, seconds: u64, peer: impl Fn(u64) -> PeerStatus) -> Result<(), Failure> {
        (0..seconds)
            .try_for_each(|second| sessions.on_look(0, SECOND, &primary(peer(second)), core::iter::empty()))
    }

    #[test]
    fn a_session_that_stands_still_is_named_with_its_phase() {
        let failure = look(&mut Sessions::new(1), 60, |_| peer("catching-up", 4)).unwrap_err();
        assert!(failure.detail.contains("catching-up") && failure.detail.contains("last end none"));
    }

    #[test]
    fn one_that_progresses_changes_its_phase_or_has_nothing_to_do_is_left_alone() {
        assert_eq!(look(&mut Sessions::new(1), 900, |second| peer("catching-up", second / 20)), Ok(()));
        let flaps = |second| peer(if second / 20 % 2 == 0 { "idle" } else { "connecting" }, 4);
        assert_eq!(look(&mut Sessions::new(1), 900, flaps), Ok(()));
        assert_eq!(look(&mut Sessions::new(1), 900, |_| peer("in-sync", 9)), Ok(()));
        assert!(look(&mut Sessions::new(1), 900, |_| peer("in-sync", 8)).is_err(), "it owes a record");
    }

    #[test]
    fn a_crash_ends_what_stood_still() {
        let mut sessions = Sessions::new(1);
        for _ in 0..20 {
            assert_eq!(look(&mut sessions, 20, |_| peer("greeting", 4)), Ok(()));
            sessions.on_crash(0);
        }
    }

    #[test]
    fn a_request_that_is_never_answered_is_named() {
        let mut sessions = Sessions::new(1);
        let status = primary(peer("in-sync", 9));
        let verdict = (0..90).try_for_each(|second| {
            let requests = [RequestId(7), RequestId(100 + second)].into_iter();
            sessions.on_look(0, SECOND, &status, requests)
        });
        assert!(verdict.unwrap_err().detail.contains("request 7"));
    }
}
