//! How long the parts of a recovery may take.

use core::time::Duration;

/// How long things may take. All of them bound a wait: no session waits for ever.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// For a link to open.
    pub connect: Duration,
    /// For each answer of the handshake; the replica flushes its log before the second one.
    pub greet: Duration,
    /// For a plan to become true; the replica may have to reset its checksum table.
    pub begin: Duration,
    /// For digests to be compared, with the records up to the digest's LSN on their way.
    pub compare: Duration,
    /// Between two signs of life while fed.
    pub silence: Duration,
    /// Between two signs of progress, while there is something to do.
    pub no_progress: Duration,
    /// For a catch-up as a whole.
    pub catch_up: Duration,
    /// In sync for as long as this, a replica is not one that flaps.
    pub steady: Duration,
    /// First wait after an attempt that came to nothing; doubles with each.
    pub backoff_min: Duration,
    /// Longest such wait.
    pub backoff_max: Duration,
    /// Wait for what will pass by itself: a turn to rebuild, our own settled frontier.
    pub turn: Duration,
    /// Wait of a replica whose plan was refused twice for the same facts.
    pub parked: Duration,
}

impl Limits {
    /// For links and disks as they are in one room.
    pub const DEFAULT: Limits = Limits {
        connect: Duration::from_secs(2),
        greet: Duration::from_secs(15),
        begin: Duration::from_secs(30),
        compare: Duration::from_secs(60),
        silence: Duration::from_secs(5),
        no_progress: Duration::from_secs(20),
        catch_up: Duration::from_secs(600),
        steady: Duration::from_secs(10),
        backoff_min: Duration::from_millis(50),
        backoff_max: Duration::from_secs(5),
        turn: Duration::from_millis(500),
        parked: Duration::from_secs(10),
    };

    /// Whether the limits fit each other: our fault if not.
    pub fn check(&self) {
        assert!(self.backoff_min > Duration::ZERO && self.turn > Duration::ZERO, "retries never spin");
        assert!(self.backoff_min <= self.backoff_max, "the longest wait is no shorter than the first");
        assert!(self.backoff_max <= self.parked, "parked is the slowest clock");
        assert!(self.no_progress <= self.catch_up, "a catch-up may be slow for once");
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits::DEFAULT
    }
}
