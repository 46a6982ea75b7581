//! Planted bugs: each breaks one rule, so that the check which guards it can be shown to fail.

/// Which rule is broken.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Bait {
    /// A replica acknowledges a record before its disk has it (breaks durable-before-done).
    AckBeforeDisk,
    /// A write completes with one copy fewer than the rule says (breaks durable-before-done).
    CompleteOneEarly,
    /// Records go home before they are committed (breaks only-committed-goes-home).
    HomeBeforeCommit,
    /// A voter that promised a higher epoch goes on taking records in the session of the lower one (breaks
    /// stale-session-changes-nothing).
    AcceptStaleSession,
    /// A base block overwrites a newer live one (breaks base-never-over-newer).
    BaseOverNewer,
    /// A promise is spoken before it is durable (breaks promise-is-durable-first).
    PromiseNotDurable,
    /// A round moves records home before the superblock names them as settled (breaks in-sync-means-equal: what a
    /// crash leaves of it is copied as a rebuild's base).
    MoveUnnamed,
    /// Reads are served without asking a majority (breaks reads-need-a-lease).
    ReadUnconfirmed,
}

impl Bait {
    /// All of them.
    pub const ALL: [Bait; 8] = [
        Bait::AckBeforeDisk,
        Bait::CompleteOneEarly,
        Bait::HomeBeforeCommit,
        Bait::AcceptStaleSession,
        Bait::BaseOverNewer,
        Bait::PromiseNotDurable,
        Bait::MoveUnnamed,
        Bait::ReadUnconfirmed,
    ];

    /// Its name on a command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Bait::AckBeforeDisk => "ack-before-disk",
            Bait::CompleteOneEarly => "complete-one-early",
            Bait::HomeBeforeCommit => "home-before-commit",
            Bait::AcceptStaleSession => "accept-stale-session",
            Bait::BaseOverNewer => "base-over-newer",
            Bait::PromiseNotDurable => "promise-not-durable",
            Bait::MoveUnnamed => "move-unnamed",
            Bait::ReadUnconfirmed => "read-unconfirmed",
        }
    }
}
