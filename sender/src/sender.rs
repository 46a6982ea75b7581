//! What the primary keeps for one replica, for as long as that replica is a member: how far it is, and what is
//! on its way to it. Reconnects, new addresses and reassignment end sessions, never the sender.

use seawall_wal::guard;
use seawall_wal::names::{Lsn, ReplicaId};

use crate::feed::Ack;
pub use crate::feed::Frontiers;
use crate::session_id::SessionId;
use crate::violation::Violation;
use crate::window::Window;
pub use crate::window::{APPEND_BYTES_MAX, Limits};

/// Whether records flow.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum State {
    /// No session: nothing is sent, no answer counts.
    Idle,
    /// Records flow in order.
    Feeding {
        /// In this session.
        session: SessionId,
        /// The next record to send.
        next: Lsn,
    },
}

/// Which of the frontiers that writes wait for an answer moved.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct Moved {
    /// More is in the replica's log.
    pub written: bool,
    /// More is on its stable storage.
    pub durable: bool,
}

/// The primary's side of one replica's feed.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Sender {
    replica: ReplicaId,
    state: State,
    frontiers: Frontiers,
    window: Window,
    /// The newest session that ever began.
    latest: SessionId,
    /// Events of sessions that were not the present one.
    stale: u64,
}

impl Sender {
    /// For a replica of which nothing is known.
    #[must_use]
    pub fn new(replica: ReplicaId, limits: &Limits) -> Sender {
        Sender {
            replica,
            state: State::Idle,
            frontiers: Frontiers::default(),
            window: Window::new(*limits),
            latest: SessionId::NONE,
            stale: 0,
        }
    }

    /// Whose sender it is.
    #[must_use]
    pub fn replica(&self) -> ReplicaId {
        self.replica
    }

    /// Whether records flow.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// How far the replica is known to be. Outlives sessions; whether it counts for anything outside of one is
    /// not the sender's to say.
    #[must_use]
    pub fn frontiers(&self) -> Frontiers {
        self.frontiers
    }

    /// The session that it feeds.
    #[must_use]
    pub fn session(&self) -> Option<SessionId> {
        match self.state {
            State::Idle => None,
            State::Feeding { session, .. } => Some(session),
        }
    }

    /// The next record to send.
    #[must_use]
    pub fn next(&self) -> Option<Lsn> {
        match self.state {
            State::Idle => None,
            State::Feeding { next, .. } => Some(next),
        }
    }

    /// Whether a record of `bytes` bytes may be sent now.
    #[must_use]
    pub fn has_room(&self, bytes: u32) -> bool {
        match self.state {
            State::Idle => false,
            State::Feeding { .. } => self.window.has_room(bytes),
        }
    }

    /// Bytes that were sent and are not known to be in the replica's log.
    #[must_use]
    pub fn in_flight_bytes(&self) -> u64 {
        self.window.bytes()
    }

    /// Records that were sent and are not known to be in the replica's log.
    #[must_use]
    pub fn in_flight_records(&self) -> u64 {
        self.window.records()
    }

    /// How many events of a session that was not the present one came, and changed nothing.
    #[must_use]
    pub fn stale(&self) -> u64 {
        self.stale
    }

    /// A handshake told what the replica's disk proves, and what is left of it after a cut: its log is durable
    /// below `durable`, its home area complete below `home`. The only thing that may lower a frontier; so it
    /// comes between sessions.
    pub fn set_known(&mut self, durable: Lsn, home: Lsn) -> Result<(), Violation> {
        assert!(self.state == State::Idle, "a disk is judged before its session feeds it");
        let known = Frontiers::proven(durable, home);
        known.check()?;
        self.frontiers = known;
        Ok(())
    }

    /// Feed from `from` on, in a session newer than every earlier one. [`Sender::set_known`] came before, and
    /// said where the replica's log ends: there.
    pub fn begin(&mut self, session: SessionId, from: Lsn) {
        assert!(self.state == State::Idle, "the old session ends before the new one begins");
        // Invariant: stale-session-changes-nothing. A name that comes twice could not be told from a stale one.
        assert!(session > self.latest, "session {session} after {}", self.latest);
        // Invariant: log-is-dense. A feed that began above the log's end would leave a hole in it.
        assert!(self.frontiers.received == from, "fed from {from}, log ends at {}", self.frontiers.received);
        self.latest = session;
        self.window.reset(from);
        self.state = State::Feeding { session, next: from };
    }

    /// The session is over: what is in flight counts for nothing, what was answered for is remembered.
    pub fn end(&mut self, session: SessionId) {
        match self.state {
            State::Feeding { session: current, .. }
                if guard!("sender-ends-its-session", current == session) =>
            {
                self.window.reset(self.frontiers.durable);
                self.state = State::Idle;
            }
            State::Idle | State::Feeding { .. } => self.stale += 1,
        }
    }

    /// Record `lsn` was sent, as `bytes` bytes.
    pub fn on_sent(&mut self, session: SessionId, lsn: Lsn, bytes: u32) {
        match self.state {
            State::Feeding { session: current, next } if current == session => {
                // Invariant: log-is-dense.
                assert!(lsn == next, "record {lsn} sent where {next} is next");
                self.window.on_sent(bytes);
                self.state = State::Feeding { session, next: next.next() };
            }
            State::Idle | State::Feeding { .. } => {
                panic!("record {lsn} sent in session {session}, which is over")
            }
        }
    }

    /// The replica answered. `log_end` is the end of the primary's log.
    pub fn on_acked(&mut self, session: SessionId, ack: Ack, log_end: Lsn) -> Result<Moved, Violation> {
        match self.state {
            State::Feeding { session: current, next }
                if guard!("sender-hears-its-session", current == session) =>
            {
                // Invariant: acked-never-past-log. What was sent came from the log.
                assert!(next <= log_end, "sent below {next}, log ends at {log_end}");
                self.check_ack(&ack, next)?;
                let moved = Moved {
                    written: ack.written > self.frontiers.written,
                    durable: ack.durable > self.frontiers.durable,
                };
                // Invariant: dirty-cleared-by-proof. Nothing but an answer of the live session moves what it holds.
                self.frontiers = ack;
                self.window.on_written(ack.written);
                Ok(moved)
            }
            // Invariant: stale-session-changes-nothing.
            State::Idle | State::Feeding { .. } => {
                self.stale += 1;
                let current = self.session().unwrap_or(SessionId::NONE);
                Err(Violation::StaleSession { current, found: session })
            }
        }
    }

    fn check_ack(&self, ack: &Ack, sent: Lsn) -> Result<(), Violation> {
        ack.check()?;
        // Invariant: acked-never-past-log.
        if !guard!("ack-within-sent", ack.received <= sent) {
            return Err(Violation::AckPastSent { acked: ack.received, sent });
        }
        if !guard!("ack-never-moves-back", !ack.moved_back_from(&self.frontiers)) {
            return Err(Violation::AckMovedBack { before: self.frontiers, after: *ack });
        }
        Ok(())
    }
}
