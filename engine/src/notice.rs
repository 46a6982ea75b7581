//! What is worth telling. One typed notice is log line, counter and coverage mark at once.

use core::fmt;

use seawall_sender::session_id::SessionId;
use seawall_sender::violation::Violation;
use seawall_wal::names::{Epoch, Extent, Lsn, ReplicaId};

use crate::io::Area;

/// How loud a notice is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    /// Part of daily life.
    Info,
    /// Redundancy or time was lost, nothing else.
    Warn,
    /// Somebody must look.
    Error,
}

macro_rules! notices {
    ($( $(#[$doc:meta])* $kind:ident { $( $(#[$fdoc:meta])* $field:ident : $ty:ty ),* $(,)? } $level:ident $name:literal $text:literal; )*) => {
        /// One thing that happened.
        #[derive(Clone, PartialEq, Eq, Debug)]
        pub enum Notice {
            $( $(#[$doc])* $kind { $( $(#[$fdoc])* $field: $ty ),* }, )*
        }

        impl Notice {
            /// The names of all kinds.
            pub const KINDS: &'static [&'static str] = &[ $( $name ),* ];

            /// The kind's name, as counters show it.
            #[must_use]
            pub fn kind(&self) -> &'static str {
                match self { $( Notice::$kind { .. } => $name, )* }
            }

            /// How loud it is.
            #[must_use]
            pub fn level(&self) -> Level {
                match self { $( Notice::$kind { .. } => Level::$level, )* }
            }
        }

        impl fmt::Display for Notice {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self { $( Notice::$kind { $( $field ),* } => write!(f, $text $(, $field = $field)*), )* }
            }
        }
    };
}

notices! {
    /// The disk was read and the replica takes part again.
    Opened {
        /// The restart rule that fired.
        rule: &'static str,
        /// First record that the log holds.
        start: Lsn,
        /// One past the last.
        end: Lsn,
        /// Below this everything is home.
        checkpoint: Lsn,
    } Info "opened" "opened by rule {rule}: log [{start}, {end}), all home below {checkpoint}";
    /// The log's last append had not been finished; what was never acknowledged is cut off.
    TornTailCut {
        /// Where the log ends now.
        at: Lsn,
    } Warn "torn-tail-cut" "the log's last append was torn and never acknowledged: the log ends at {at}";
    /// The disk can't be used.
    OpenFailed {
        /// What was found, what was expected, what to do.
        why: alloc::string::String,
    } Error "open-failed" "{why}";
    /// A disk operation failed; the replica serves no more.
    DiskFailed {
        /// Where.
        area: AreaName,
        /// The operating system's number.
        errno: i32,
    } Error "disk-failed" "the {area} area failed with error {errno}: this replica stops, nothing acknowledged is lost; replace or repair the device and restart it";
    /// Bytes could not be read; who asked for them was told.
    ReadFailed {
        /// Where.
        area: AreaName,
        /// Which blocks.
        extent: Extent,
        /// The operating system's number.
        errno: i32,
    } Error "read-failed" "{extent} in the {area} area could not be read: error {errno}";
    /// Bytes on disk do not match their checksum.
    Corrupt {
        /// Where.
        area: AreaName,
        /// Which blocks.
        extent: Extent,
    } Error "corrupt" "{extent} in the {area} area do not match their checksum and were not served";
    /// This replica asks for promises.
    Campaigning {
        /// For which epoch.
        epoch: Epoch,
    } Info "campaigning" "asking for promises for epoch {epoch}";
    /// A round of candidacy ended without a majority.
    CampaignFailed {
        /// For which epoch.
        epoch: Epoch,
        /// The highest promise that a refusal named.
        promised: Epoch,
    } Warn "campaign-failed" "no majority for epoch {epoch}; the highest promise heard of is {promised}";
    /// The candidate fetches what it lacks.
    AdoptingLog {
        /// From whom.
        holder: ReplicaId,
        /// From here.
        from: Lsn,
        /// To here.
        to: Lsn,
    } Info "adopting-log" "fetching [{from}, {to}) from {holder}, whose log is the best of a majority";
    /// This replica became primary; it serves when its epoch-start record has committed.
    Reigning {
        /// The new epoch.
        epoch: Epoch,
        /// Where it begins.
        first: Lsn,
    } Info "reigning" "primary in epoch {epoch}, which begins at {first}";
    /// An operator forces a promotion here, and all that must be so before is so.
    Forcing {
        /// The epoch.
        epoch: Epoch,
    } Warn "forcing" "an operator forces a promotion here: epoch {epoch}";
    /// A promotion that an operator wanted to force was not, or is not served yet.
    ForceRefused {
        /// What was found, and what to do.
        why: alloc::string::String,
    } Warn "force-refused" "a promotion was not forced: {why}";
    /// A forced reign's start joins the log, with the configuration in which it reigns.
    Forced {
        /// The epoch.
        epoch: Epoch,
        /// Where it begins.
        first: Lsn,
        /// The epoch of the record before.
        before: Epoch,
    } Warn "forced" "epoch {epoch} was forced by an operator: the history up to {first}, whose last record is of {before}, is the volume's; whatever else went on is void";
    /// A promotion was forced without this copy.
    Stranded {
        /// The highest epoch of that era that was heard of.
        epoch: Epoch,
    } Warn "stranded" "a promotion was forced elsewhere (epoch {epoch}): this copy is on the losing branch, and waits for that reign to feed it";
    /// The epoch-start record committed.
    Serving {
        /// The epoch.
        epoch: Epoch,
    } Info "serving" "epoch {epoch} has committed its start: serving";
    /// A higher epoch was heard of; this replica reigns no more.
    SteppedDown {
        /// The epoch that ended.
        epoch: Epoch,
        /// The one that ended it.
        promised: Epoch,
    } Warn "stepped-down" "epoch {epoch} ended: {promised} was promised";
    /// The reign ended by plan, and nobody need wait for its lease to run out.
    HandedOver {
        /// The epoch that ended.
        epoch: Epoch,
        /// Who is to reign next.
        to: ReplicaId,
    } Info "handed-over" "epoch {epoch} ended by plan: {to} is to reign";
    /// Too many clocks run at another rate than ours for a lease to mean anything.
    ClocksDiffer {} Error "clocks-differ" "the clocks of too many replicas run at another rate than this one's: reads are confirmed one by one instead of by lease; check the clock sources of the machines";
    /// They agree again.
    ClocksAgree {} Info "clocks-agree" "enough clocks run at the rate of this one's again: reads are served under the lease";
    /// A promise is durable and told.
    Promised {
        /// To which epoch.
        epoch: Epoch,
    } Info "promised" "promised epoch {epoch}";
    /// A promise was refused.
    PromiseDenied {
        /// What was asked for.
        epoch: Epoch,
        /// Why not.
        why: &'static str,
    } Info "promise-denied" "no promise for epoch {epoch}: {why}";
    /// A plan for a replica was chosen.
    Planned {
        /// For whom.
        replica: ReplicaId,
        /// In which session.
        session: SessionId,
        /// The rule that fired.
        rule: &'static str,
        /// Where its durable log ended.
        at: Lsn,
    } Info "planned" "{replica} {session}: rule {rule} at {at}";
    /// A replica is in sync.
    InSync {
        /// Who.
        replica: ReplicaId,
        /// In which session.
        session: SessionId,
        /// From here on.
        at: Lsn,
    } Info "in-sync" "{replica} {session}: in sync at {at}";
    /// A session ended.
    SessionEnded {
        /// Of whom.
        replica: ReplicaId,
        /// Which.
        session: SessionId,
        /// Why.
        why: &'static str,
    } Warn "session-ended" "{replica} {session}: ended: {why}";
    /// A peer broke the protocol; its connection is closed.
    PeerViolated {
        /// What it did.
        violation: Violation,
    } Error "peer-violated" "peer violation: {violation}";
    /// A connection with a peer came to nothing before either knew who the other is. Told by the driver.
    PeerRefused {
        /// Where the peer is, what was found, what to do.
        why: alloc::string::String,
    } Warn "peer-refused" "no connection with {why}";
    /// Something of a superseded session or epoch came, and changed nothing.
    Stale {
        /// What it named.
        session: SessionId,
    } Info "stale" "a message of superseded {session} changed nothing";
    /// The session follows a primary.
    Following {
        /// Its epoch.
        epoch: Epoch,
        /// The session.
        session: SessionId,
        /// What the primary decided.
        plan: &'static str,
    } Info "following" "following {epoch} in {session}: {plan}";
    /// The tail that left the volume's history was cut.
    TailCut {
        /// The new end.
        to: Lsn,
        /// Where it ended before.
        from: Lsn,
    } Warn "tail-cut" "records [{to}, {from}) were never committed and were cut";
    /// What is about to be cut is kept in a place of its own.
    BranchKept {
        /// Its first record.
        from: Lsn,
        /// One past its last.
        to: Lsn,
    } Warn "branch-kept" "records [{from}, {to}) left the history, and are kept: see `seawall branch list`";
    /// What is about to be cut can't be kept.
    BranchNotKept {
        /// Its first record.
        from: Lsn,
        /// One past its last.
        to: Lsn,
        /// The operating system's number.
        errno: i32,
        /// What follows.
        so: &'static str,
    } Error "branch-not-kept" "records [{from}, {to}) left the history, and there is no place to keep them (error {errno}): {so}";
    /// This replica's copy is being rebuilt.
    RebuildBegan {
        /// The cut.
        cut: Lsn,
        /// First block to come.
        from_block: u64,
    } Warn "rebuild-began" "rebuild as of {cut}, from block {from_block}";
    /// A peer's device was made anew: it does not know any more what it promised.
    PromisesLost {
        /// Which.
        replica: ReplicaId,
    } Warn "promises-lost" "{replica} has forgotten what it promised: it counts for nothing until its copy is whole and enough other voters have answered";
    /// Nothing can hang any more on what a peer forgot.
    PromisesProven {
        /// Which.
        replica: ReplicaId,
    } Info "promises-proven" "what {replica} forgot can do no harm any more: its copy may become whole";
    /// The copy is whole again.
    RebuildDone {
        /// The frontier at which it was compared.
        at: Lsn,
    } Info "rebuild-done" "rebuild complete, equal at {at}";
    /// A checkpoint is durable.
    Checkpointed {
        /// Everything below is home.
        to: Lsn,
        /// Blocks that were moved.
        blocks: u64,
    } Info "checkpointed" "all home below {to}, {blocks} blocks moved";
    /// A replica so far behind that the log can't wait for it.
    RetentionExceeded {
        /// Who.
        replica: ReplicaId,
        /// What it still needed.
        pinned: Lsn,
    } Warn "retention-exceeded" "{replica} still needed the log from {pinned} on; its session ends so that the log can go on";
    /// A request waited too long for a quorum.
    QuorumMissing {
        /// Voters that count, this one included.
        present: usize,
        /// Voters needed.
        needed: usize,
        /// Voters that do not count.
        missing: Replicas,
    } Error "quorum-missing" "{present} of {needed} needed copies: a request was refused after its patience ran out; not in sync: {missing}";
    /// Requests waited too long for a primary.
    PrimaryMissing {
        /// How many were refused now.
        requests: usize,
        /// The highest epoch that this replica promised, which names the last primary that it knows of.
        last: Epoch,
    } Error "primary-missing" "{requests} requests were refused: no primary could be reached until their patience ran out; the last one known is that of {last}";
    /// Clients of this replica may write.
    Attached {
        /// Under this attachment.
        incarnation: Lsn,
    } Info "attached" "clients of this replica write under attachment {incarnation}";
    /// Clients attached through another replica since.
    Superseded {
        /// The attachment that is over.
        incarnation: Lsn,
    } Warn "superseded" "attachment {incarnation} is over: clients write through another replica now";
    /// A request that was asked again was in the log already.
    Replayed {
        /// Where.
        at: Lsn,
    } Info "replayed" "a request that was asked again is record {at}: it is not written again";
    /// A record brings a new configuration; it is in force, and not settled yet.
    ConfigurationBegun {
        /// Its number.
        number: u64,
        /// Where the record is.
        at: Lsn,
    } Info "configuration-begun" "configuration {number} begins with record {at}";
    /// Both majorities have the record of a configuration.
    ConfigurationSettled {
        /// Its number.
        number: u64,
    } Info "configuration-settled" "configuration {number} is settled";
    /// No write waits any more for a voter that kept writes waiting, once a majority knows of that.
    SetShrunk {
        /// Which.
        replica: ReplicaId,
        /// The configuration that says so.
        number: u64,
        /// What kept writes waiting.
        why: &'static str,
    } Warn "set-shrunk" "{replica} falls out of the in-sync set with configuration {number}: {why}; it votes as before, and writes complete without it until it keeps up again";
    /// Writes wait for a voter again.
    SetGrown {
        /// Which.
        replica: ReplicaId,
        /// The configuration that says so.
        number: u64,
    } Info "set-grown" "{replica} is in the in-sync set again with configuration {number}: writes wait for it";
    /// This replica is no member any more.
    Left {
        /// The newest configuration that it knows.
        number: u64,
    } Warn "left" "this replica was removed from the volume (it knows configuration {number}): it serves nothing and votes on nothing; stop it and keep or wipe its disk";
    /// The configuration file and the disk name different members.
    MembersDiffer {
        /// What the disk knows, and where the file differs.
        why: alloc::string::String,
    } Warn "members-differ" "{why}";
    /// Somebody works on a replica.
    MaintenanceBegan {
        /// On which.
        replica: ReplicaId,
        /// Who.
        owner: alloc::string::String,
        /// Why.
        reason: alloc::string::String,
        /// For how long from its record on.
        seconds: u64,
    } Info "maintenance-began" "{replica} is under maintenance by {owner} for {seconds} s: {reason}";
    /// An operator says that the work on a replica is done.
    MaintenanceEnded {
        /// On which.
        replica: ReplicaId,
        /// Who says so.
        owner: alloc::string::String,
    } Info "maintenance-ended" "{owner} ended the maintenance of {replica}";
    /// The time that was given for it is over.
    MaintenanceOver {
        /// On which.
        replica: ReplicaId,
    } Warn "maintenance-over" "the time for the maintenance of {replica} has run out: it is missed and rebuilt like any other again";
    /// The primary is missed, and somebody works on it.
    PrimarySpared {
        /// Which.
        replica: ReplicaId,
    } Warn "primary-spared" "the primary {replica} is missed and under maintenance: nobody takes its place before that is over, unless an operator promotes another";
    /// Everything is home and the clean mark is durable.
    Drained {
        /// Where the log ends.
        end: Lsn,
    } Info "drained" "clean shutdown at {end}";
}

/// Some replicas in a sentence.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Replicas(pub alloc::vec::Vec<ReplicaId>);

impl fmt::Display for Replicas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, replica) in self.0.iter().enumerate() {
            write!(f, "{}{replica}", if index == 0 { "" } else { ", " })?;
        }
        if self.0.is_empty() { f.write_str("nobody") } else { Ok(()) }
    }
}

/// An area's name in a sentence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AreaName(pub Area);

impl fmt::Display for AreaName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Area::Super => "superblock",
            Area::Log => "log",
            Area::Table => "checksum table",
            Area::Home => "home",
        })
    }
}
