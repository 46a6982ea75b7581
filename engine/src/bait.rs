//! Planted bugs: each breaks one rule, so that the check which guards it can be shown to fail; and the designs that
//! others had before, as bugs of the same kind. They exist in builds with the feature `bait` alone: in any other
//! build [`Setup::baited`](crate::setup::Setup) is the constant `false`.

macro_rules! baits {
    ($($bait:ident = $name:literal breaks $rule:literal: $says:literal;)*) => {
        /// Which rule is broken, and how.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum Bait {
            $(#[doc = $says] $bait,)*
        }

        #[cfg(feature = "bait")]
        impl Bait {
            /// All of them.
            pub const ALL: &[Bait] = &[$(Bait::$bait,)*];

            /// Its name on a command line.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Bait::$bait => $name,)*
                }
            }

            /// The invariant that it breaks.
            #[must_use]
            pub fn breaks(self) -> &'static str {
                match self {
                    $(Bait::$bait => $rule,)*
                }
            }

            /// What it does, in one sentence.
            #[must_use]
            pub fn says(self) -> &'static str {
                match self {
                    $(Bait::$bait => $says,)*
                }
            }
        }
    };
}

baits! {
    EraByCounting = "era-by-counting" breaks "eras-are-forced":
        "A candidate that is refused because of a higher era takes that era from the refusal.";
    ForceWithoutWait = "force-without-wait" breaks "reads-need-a-lease":
        "A promotion is forced at once, whatever leases were granted.";
    ForceTokenUnchecked = "force-token-unchecked" breaks "forced-as-told":
        "A promotion is forced whatever history the operator named.";
    AckBeforeDisk = "ack-before-disk" breaks "durable-before-done":
        "A replica acknowledges a record when it receives it, before its disk has it.";
    CompleteOneEarly = "complete-one-early" breaks "durable-before-done":
        "A write completes with the primary's copy alone, whatever the commit rule says.";
    FlushUnconfirmed = "flush-unconfirmed" breaks "durable-before-done":
        "In `written` mode a flush completes whether this primary still holds its lease or not.";
    HomeBeforeCommit = "home-before-commit" breaks "only-committed-goes-home":
        "Records go home before they are committed.";
    SkipRecord = "skip-record" breaks "log-is-dense":
        "A sender counts a record as sent now and then, and the receiver takes what comes after the hole.";
    ReignAgain = "reign-again" breaks "one-primary-per-epoch":
        "A restarted primary goes on in its old epoch.";
    PromiseNotDurable = "promise-not-durable" breaks "promise-is-durable-first":
        "A promise is spoken before it is durable.";
    PromiseFalls = "promise-falls" breaks "promised-never-falls":
        "A voter promises any epoch that it is asked for, also a lower one than before.";
    PromiseForgotten = "promise-forgotten" breaks "promised-never-falls":
        "A restarted voter knows its last record's epoch and no promise: the fence is in memory only.";
    AcceptStaleSession = "accept-stale-session" breaks "stale-session-changes-nothing":
        "A voter that promised a higher epoch goes on taking records in the session of the lower one.";
    AnyDiskWillDo = "any-disk-will-do" breaks "identity-outlives-address":
        "Neither end of a connection compares who is there with whom it wants.";
    AckWhatWasTold = "ack-what-was-told" breaks "acked-never-past-log":
        "A replica acknowledges what the primary says its log holds, instead of its own.";
    FeedUnpinned = "feed-unpinned" breaks "pinned-log-stays":
        "The log that a peer is fed from is not pinned.";
    ReadUnpinned = "read-unpinned" breaks "pinned-log-stays":
        "What is read from the log for a client or a rebuild is not pinned.";
    KeepPin = "keep-pin" breaks "retention-is-bounded":
        "The pin of a session that is over is never given back.";
    CommitFalls = "commit-falls" breaks "committed-never-falls":
        "A primary's commit frontier follows the voters' frontiers down when one of them is lost.";
    CutBelowHome = "cut-below-home" breaks "cut-only-above-checkpoint":
        "A replica is cut to where the histories part, also below what is home.";
    BaseOverNewer = "base-over-newer" breaks "base-never-over-newer":
        "A base block overwrites a newer live one.";
    RebuildingVotes = "rebuilding-votes" breaks "rebuilding-never-votes":
        "A replica whose copy is not whole promises like any other.";
    RebuildingCounts = "rebuilding-counts" breaks "rebuilding-never-votes":
        "A replica counts for commit while its base is still being copied.";
    WholeTooEarly = "whole-too-early" breaks "rebuilding-never-votes":
        "A rebuilt copy is called whole when its log reaches what is settled, and not the end of the primary's log.";
    SentIsHeld = "sent-is-held" breaks "dirty-cleared-by-proof":
        "What a peer that is behind was sent from the log counts as held, before it answers.";
    ReadUnconfirmed = "read-unconfirmed" breaks "reads-need-a-lease":
        "Reads are served without a lease.";
    LeaseAtAdmission = "lease-at-admission" breaks "reads-need-a-lease":
        "The lease is checked when a read comes, and not when its answer leaves.";
    GrantIgnored = "grant-ignored" breaks "reads-need-a-lease":
        "A voter promises in spite of a lease that it granted to another.";
    RankByLength = "rank-by-length" breaks "one-primary-per-epoch":
        "The longest log of a majority is taken for its history, whatever epoch its last record is of.";
    NoPreVote = "no-pre-vote" breaks "one-primary-per-epoch":
        "A candidate promises itself a new epoch before it has asked whether anybody would follow.";
    BlankConfirms = "blank-confirms" breaks "forgotten-promises-bind":
        "A voter whose device was made anew confirms pulses and grants leases at once.";
    WholeUnconfirmed = "whole-unconfirmed" breaks "forgotten-promises-bind":
        "The copy of a voter that forgot its promises is called whole before the others have answered.";
    AllRebuiltAtOnce = "all-rebuilt-at-once" breaks "a-majority-stays-whole":
        "Copies that are out of date are thrown away together, however few whole ones are left.";
    PromiseOutlives = "promise-outlives" breaks "forgotten-promises-bind":
        "The copy of a voter that forgot its promises is called whole while a candidate may still hold one of them.";
    GrantForgotten = "grant-forgotten" breaks "reads-need-a-lease":
        "A restarted voter does not wait for the lease to run out that it may have granted before.";
    CompleteTwice = "complete-twice" breaks "completion-exactly-once":
        "Every so often a write is completed twice.";
    ForgetToAnswer = "forget-to-answer" breaks "completion-exactly-once":
        "The writes that a reign leaves in its log when it ends are never answered.";
    LeakBuffer = "leak-buffer" breaks "buffers-come-home":
        "Every so often a record's body is not given back once the log has it.";
    ReleaseTwice = "release-twice" breaks "buffers-come-home":
        "A write that is refused gives its buffer back twice.";
    MoveUnnamed = "move-unnamed" breaks "in-sync-means-equal":
        "A round moves records home before the superblock names them as settled.";
    MoveSkips = "move-skips" breaks "in-sync-means-equal":
        "A round leaves a record out now and then, and the log forgets it all the same.";
    NamedOnce = "named-once" breaks "in-sync-means-equal":
        "Under commit rule `one` a round moves records home that one superblock slot alone names as settled.";
    SkipBlock = "skip-block" breaks "in-sync-means-equal":
        "A rebuild skips a block, and its digest is taken for equal.";
    DigestAtEnd = "digest-at-end" breaks "in-sync-means-equal":
        "The digest that proves a rebuild is planned at the log's end, which may need that copy to settle.";
    FetchBeforeCut = "fetch-before-cut" breaks "cut-only-above-checkpoint":
        "A candidate overwrites the tail that it cut before the cut is durable.";
    BranchDropped = "branch-dropped" breaks "cut-tail-is-kept":
        "What a cut or a rebuild takes out of a log is not kept first.";
    LineageBehind = "lineage-behind" breaks "log-is-dense":
        "A candidate notes the epochs that it fetches when the fetch is whole, and not if it breaks.";
    BaseWaitsForEver = "base-waits-for-ever" breaks "retention-is-bounded":
        "Base blocks go on waiting for a checkpoint that nobody wants any more.";
    CommitPastCut = "commit-past-cut" breaks "committed-never-falls":
        "A cut leaves the commit frontier above the log's end.";
    NeverYield = "never-yield" breaks "one-primary-per-epoch":
        "A candidate that can't reach the best log asks again at once instead of leaving it to its holder.";
    AddressKeyed = "address-keyed" breaks "identity-outlives-address":
        "A primary keeps a peer's progress by its address, whatever disk answers there.";
    ReplayUnchecked = "replay-unchecked" breaks "request-lands-once":
        "A request that is asked again is written again, whatever the log holds.";
    OvertakesHeld = "overtakes-held" breaks "newest-attachment-writes":
        "A write overtakes another one of the same blocks that has to wait.";
    AttachedOnce = "attached-once" breaks "newest-attachment-writes":
        "Clients that come later write under the attachment that their node holds already.";
    AttachForgotten = "attach-forgotten" breaks "newest-attachment-writes":
        "A new primary does not know which attachment was the newest before its reign.";
    StaleConfigCounted = "stale-config-counted" breaks "both-majorities":
        "While a configuration is pending, the quorum of the one before it counts alone.";
    LearnerCounts = "learner-counts" breaks "both-majorities":
        "A learner counts and votes like a voter.";
    TwoAtOnce = "two-at-once" breaks "one-change-at-a-time":
        "A second change of the membership begins while one is pending, and what is before both is forgotten.";
    MaintenanceIgnored = "maintenance-ignored" breaks "maintenance-is-respected":
        "Replicas take the place of a primary and rebuild copies whether somebody works on those or not.";
    DroppedStillCurrent = "dropped-still-current" breaks "dropped-by-record":
        "Who was dropped from the in-sync set and is fed again counts in the place of one of the set.";
    DropUnrecorded = "drop-unrecorded" breaks "dropped-by-record":
        "Writes do not wait for who was dropped, before a majority has the record that says so.";
    DropBelowMajority = "drop-below-majority" breaks "set-is-a-majority":
        "The in-sync set shrinks as far as copies are lost, and decides alone.";
    ResumeUnasked = "resume-unasked" breaks "stale-session-changes-nothing":
        "After a reconnect the feed goes on where the primary remembers to have been, without a handshake.";
}
