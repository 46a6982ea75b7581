//! What happened in a run, counted: faults that fired, notices that were seen, requests that ended.

use std::collections::BTreeMap;

use crate::coverage::Table;
use crate::effort::Effort;

/// Something that the simulator does to the world.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Fault {
    /// A process was killed.
    Kill,
    /// A node lost its power.
    PowerLoss,
    /// All nodes lost their power at once.
    Blackout,
    /// A power loss took sectors back.
    SectorsLost,
    /// A process did not run for a while.
    Pause,
    /// A node was cut off.
    Cut,
    /// One direction was cut.
    OneWayCut,
    /// Something was held back by a cut direction.
    HeldBack,
    /// A connection broke.
    Reset,
    /// Frames were lost with their connection.
    TailLost,
    /// A disk operation took seconds.
    Stall,
    /// A read failed.
    ReadError,
    /// A write failed.
    WriteError,
    /// A flush failed.
    FlushError,
    /// The operator promoted a node for no reason.
    Promotion,
    /// The operator had the primary hand over.
    Handover,
    /// A client did not wait for its answer.
    GaveUp,
    /// A replica was promoted while the primary could not hear of it, and went on with the other voters.
    Usurped,
    /// A new primary's first words to its voters were held back.
    GreetHeldBack,
    /// A connection stood still while others went on.
    Stuck,
    /// A follower's copy was wiped.
    Wiped,
    /// A replica's device was replaced by an empty one.
    NewDisk,
    /// A sector rotted.
    Rot,
    /// A device called a write done and did not do it.
    LostWrite,
    /// A device wrote at another place.
    Misdirected,
    /// A disk operation did not end for a long time, and its process could not be killed.
    Hung,
    /// A write found no space.
    Full,
    /// Bits of a frame's header or meta part flipped on the way.
    FlippedHead,
    /// Bits of a frame's payload flipped on the way.
    FlippedPayload,
    /// An end of a connection was not told that the other one is gone.
    HalfOpen,
    /// A frame waited for others on a narrow line.
    Queued,
    /// A frame waited at its sender because too much was on its way.
    Bounded,
    /// Two replicas' names led to each other's host.
    Swapped,
    /// A connection went to another replica than it was meant for.
    WrongHost,
    /// A replica moved to a new address.
    Moved,
    /// A connection went to where a replica had been once.
    NobodyThere,
    /// A clock jumped while its process did not run.
    ClockJump,
    /// The operator had a node join.
    Added,
    /// The operator had a node leave.
    Removed,
    /// The operator told the primary of a node's new address.
    Readdressed,
    /// The operator told the primary that somebody works on a node, or is done.
    Maintained,
    /// The operator forced a promotion.
    Forced,
    /// The operator looked what a forced promotion would mean.
    Foretold,
}

impl Fault {
    /// All of them.
    pub const ALL: [Fault; 43] = [
        Fault::Kill,
        Fault::PowerLoss,
        Fault::Blackout,
        Fault::SectorsLost,
        Fault::Pause,
        Fault::Cut,
        Fault::OneWayCut,
        Fault::HeldBack,
        Fault::Reset,
        Fault::TailLost,
        Fault::Stall,
        Fault::ReadError,
        Fault::WriteError,
        Fault::FlushError,
        Fault::Promotion,
        Fault::Handover,
        Fault::GaveUp,
        Fault::Usurped,
        Fault::GreetHeldBack,
        Fault::Stuck,
        Fault::Wiped,
        Fault::NewDisk,
        Fault::Rot,
        Fault::LostWrite,
        Fault::Misdirected,
        Fault::Hung,
        Fault::Full,
        Fault::FlippedHead,
        Fault::FlippedPayload,
        Fault::HalfOpen,
        Fault::Queued,
        Fault::Bounded,
        Fault::Swapped,
        Fault::WrongHost,
        Fault::Moved,
        Fault::NobodyThere,
        Fault::ClockJump,
        Fault::Added,
        Fault::Removed,
        Fault::Readdressed,
        Fault::Maintained,
        Fault::Forced,
        Fault::Foretold,
    ];

    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Fault::Kill => "kill",
            Fault::PowerLoss => "power-loss",
            Fault::Blackout => "blackout",
            Fault::SectorsLost => "sectors-lost",
            Fault::Pause => "pause",
            Fault::Cut => "cut",
            Fault::OneWayCut => "one-way-cut",
            Fault::HeldBack => "held-back",
            Fault::Reset => "reset",
            Fault::TailLost => "tail-lost",
            Fault::Stall => "stall",
            Fault::ReadError => "read-error",
            Fault::WriteError => "write-error",
            Fault::FlushError => "flush-error",
            Fault::Promotion => "promotion",
            Fault::Handover => "handover",
            Fault::GaveUp => "gave-up",
            Fault::Usurped => "usurped",
            Fault::GreetHeldBack => "greet-held-back",
            Fault::Stuck => "stuck",
            Fault::Wiped => "wiped",
            Fault::NewDisk => "new-disk",
            Fault::Rot => "rot",
            Fault::LostWrite => "lost-write",
            Fault::Misdirected => "misdirected",
            Fault::Hung => "hung",
            Fault::Full => "full",
            Fault::FlippedHead => "flipped-head",
            Fault::FlippedPayload => "flipped-payload",
            Fault::HalfOpen => "half-open",
            Fault::Queued => "queued",
            Fault::Bounded => "bounded",
            Fault::Swapped => "swapped",
            Fault::WrongHost => "wrong-host",
            Fault::Moved => "moved",
            Fault::NobodyThere => "nobody-there",
            Fault::ClockJump => "clock-jump",
            Fault::Added => "added",
            Fault::Removed => "removed",
            Fault::Readdressed => "readdressed",
            Fault::Maintained => "maintained",
            Fault::Forced => "forced",
            Fault::Foretold => "foretold",
        }
    }
}

/// Counts of one run, or of many.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// How often each fault fired.
    pub faults: BTreeMap<Fault, u64>,
    /// How often each kind of notice was seen.
    pub notices: BTreeMap<&'static str, u64>,
    /// How often each rule of a table decided.
    pub marks: BTreeMap<(Table, &'static str), u64>,
    /// Steps of all machines.
    pub steps: u64,
    /// Writes, write-zeroes and trims that completed.
    pub written: u64,
    /// Reads that completed.
    pub reads: u64,
    /// Requests that were refused or never answered.
    pub refused: u64,
    /// Runs that ended where by contract an operator has to decide.
    pub needs_operator: u64,
    /// Runs at whose end the primary compared all copies by digest.
    pub compared: u64,
    /// Nodes that were drained, lost power, and opened by their clean mark.
    pub clean_restarts: u64,
    /// Runs under commit rule `one` in which a suffix may have been lost.
    pub forked: u64,
    /// Nodes whose damage nobody could have seen, so that it was taken back before they started.
    pub spared: u64,
    /// Copies that the operator threw away because they were damaged.
    pub replaced: u64,
    /// Disks that were harmed and came to be whole again.
    pub whole_again: u64,
    /// Stages in which a bare quorum went on writing.
    pub bare_stages: u64,
    /// What was written among the faults.
    pub effort: Effort,
    /// Virtual nanoseconds.
    pub nanos: u64,
}

impl Tally {
    /// A fault fired.
    pub fn fired(&mut self, fault: Fault, times: u64) {
        if times > 0 {
            *self.faults.entry(fault).or_default() += times;
        }
    }

    /// A rule of a table decided.
    pub fn mark(&mut self, table: Table, rule: &'static str) {
        *self.marks.entry((table, rule)).or_default() += 1;
    }

    /// Add another run's.
    pub fn add(&mut self, other: &Tally) {
        for (fault, times) in &other.faults {
            *self.faults.entry(*fault).or_default() += times;
        }
        for (kind, times) in &other.notices {
            *self.notices.entry(kind).or_default() += times;
        }
        for (mark, times) in &other.marks {
            *self.marks.entry(*mark).or_default() += times;
        }
        self.steps += other.steps;
        self.written += other.written;
        self.reads += other.reads;
        self.refused += other.refused;
        self.needs_operator += other.needs_operator;
        self.compared += other.compared;
        self.clean_restarts += other.clean_restarts;
        self.forked += other.forked;
        self.spared += other.spared;
        self.replaced += other.replaced;
        self.whole_again += other.whole_again;
        self.bare_stages += other.bare_stages;
        self.effort.add(other.effort);
        self.nanos += other.nanos;
    }
}
