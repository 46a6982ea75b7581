//! Aimed worlds: a seed's profile with some of it laid down, where chance alone would seldom hit. All overrides of a
//! profile live here.

use core::fmt;

use seawall_engine::bait::Bait;
use seawall_engine::setup::{Ack, CommitRule};
use seawall_wal::geometry::LOG_BYTES_MIN;

use crate::clock::{MILLIS, SECOND};
use crate::device::Loss;
use crate::profile::{DeviceProfile, Every, Profile, WireProfile};

/// What a seed's world is aimed at.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub enum Arena {
    /// At nothing: all as the seed draws it.
    #[default]
    Swarm,
    /// Successors behind the primary's back, and clients at both.
    Split,
    /// As before, with plain writes acknowledged before they are flushed.
    SplitWritten,
    /// Successors behind the primary's back, and processes die.
    SplitCrashes,
    /// As before, on slow disks.
    SplitSlow,
    /// Processes and machines die all the time, and the operator changes his mind.
    Crashes,
    /// Links break and directions are cut, and every copy counts.
    Links,
    /// A copy is wiped under load, and links break while it is rebuilt.
    Rebuild,
    /// A copy is wiped under load, and every copy counts.
    RebuildAll,
    /// A copy is wiped, and processes die.
    RebuildCrashes,
    /// A copy of a small volume is wiped, processes die, every copy counts, and records are fed one by one.
    RebuildStarts,
    /// A small log, and peers that are cut off for seconds under a load of large writes.
    Behind,
    /// Disk operations take seconds at times, the log is small, and a copy is wiped.
    Stalls,
    /// The primary's copy alone is the promise, and primaries change.
    Alone,
    /// As before, with plain writes acknowledged before they are flushed.
    AloneWritten,
    /// Names lead to other nodes than they should, and the operator promotes.
    WrongDoor,
    /// No operator: primaries are cut off, deaf, or stand still for longer than a lease, and clocks are as wrong as
    /// they may be.
    Unattended,
    /// The same, and voters are killed and back at once.
    UnattendedCrashes,
    /// No operator, primaries are cut off from some or all, and a voter's device is replaced by an empty one.
    Forgotten,
    /// Two copies, then more or fewer: members join, leave and move, primaries are cut off, and processes die.
    Members,
    /// An operator forces promotions of whoever is alone, and declares dead whoever does not answer.
    Forced,
    /// No operator, every copy counts until it keeps writes waiting, and copies are cut off, slow, killed, and joined by
    /// others.
    Awaited,
}

impl Arena {
    /// All of them.
    pub const ALL: [Arena; 22] = [
        Arena::Swarm,
        Arena::Split,
        Arena::SplitWritten,
        Arena::SplitCrashes,
        Arena::SplitSlow,
        Arena::Crashes,
        Arena::Links,
        Arena::Rebuild,
        Arena::RebuildAll,
        Arena::RebuildCrashes,
        Arena::RebuildStarts,
        Arena::Behind,
        Arena::Stalls,
        Arena::Alone,
        Arena::AloneWritten,
        Arena::WrongDoor,
        Arena::Unattended,
        Arena::UnattendedCrashes,
        Arena::Forgotten,
        Arena::Members,
        Arena::Forced,
        Arena::Awaited,
    ];

    /// Its name on a command line and in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Arena::Swarm => "swarm",
            Arena::Split => "split",
            Arena::SplitWritten => "split-written",
            Arena::SplitCrashes => "split-crashes",
            Arena::SplitSlow => "split-slow",
            Arena::Crashes => "crashes",
            Arena::Links => "links",
            Arena::Rebuild => "rebuild",
            Arena::RebuildAll => "rebuild-all",
            Arena::RebuildCrashes => "rebuild-crashes",
            Arena::RebuildStarts => "rebuild-starts",
            Arena::Behind => "behind",
            Arena::Stalls => "stalls",
            Arena::Alone => "alone",
            Arena::AloneWritten => "alone-written",
            Arena::WrongDoor => "wrong-door",
            Arena::Unattended => "unattended",
            Arena::UnattendedCrashes => "unattended-crashes",
            Arena::Forgotten => "forgotten",
            Arena::Members => "members",
            Arena::Forced => "forced",
            Arena::Awaited => "awaited",
        }
    }

    /// Where a bait shows soonest.
    #[must_use]
    pub fn of(bait: Bait) -> Arena {
        match bait {
            Bait::AckBeforeDisk
            | Bait::CompleteOneEarly
            | Bait::HomeBeforeCommit
            | Bait::PromiseNotDurable
            | Bait::MoveUnnamed
            | Bait::MoveSkips
            | Bait::CompleteTwice
            | Bait::LeakBuffer => Arena::Swarm,
            Bait::AcceptStaleSession
            | Bait::BranchDropped
            | Bait::ReadUnconfirmed
            | Bait::ForgetToAnswer
            | Bait::ReleaseTwice
            | Bait::OvertakesHeld
            | Bait::MaintenanceIgnored => Arena::Split,
            Bait::PromiseFalls
            | Bait::NeverYield
            | Bait::LineageBehind
            | Bait::AttachForgotten
            | Bait::AttachedOnce => Arena::SplitCrashes,
            Bait::FetchBeforeCut => Arena::SplitSlow,
            Bait::FlushUnconfirmed => Arena::SplitWritten,
            Bait::ReignAgain | Bait::PromiseForgotten => Arena::Crashes,
            Bait::AckWhatWasTold | Bait::ResumeUnasked | Bait::SkipRecord | Bait::ReplayUnchecked => {
                Arena::Links
            }
            Bait::BaseOverNewer => Arena::Stalls,
            Bait::SkipBlock | Bait::RebuildingCounts | Bait::BaseWaitsForEver | Bait::AddressKeyed => {
                Arena::Rebuild
            }
            Bait::RebuildingVotes => Arena::RebuildCrashes,
            Bait::WholeTooEarly => Arena::RebuildStarts,
            Bait::DigestAtEnd => Arena::RebuildAll,
            Bait::CommitFalls
            | Bait::FeedUnpinned
            | Bait::ReadUnpinned
            | Bait::KeepPin
            | Bait::SentIsHeld => Arena::Behind,
            Bait::CutBelowHome | Bait::NamedOnce => Arena::Alone,
            Bait::CommitPastCut => Arena::AloneWritten,
            Bait::AnyDiskWillDo => Arena::WrongDoor,
            Bait::LeaseAtAdmission | Bait::NoPreVote => Arena::Unattended,
            Bait::GrantForgotten | Bait::RankByLength => Arena::UnattendedCrashes,
            Bait::GrantIgnored => Arena::Split,
            Bait::AllRebuiltAtOnce => Arena::Swarm,
            Bait::BlankConfirms | Bait::WholeUnconfirmed | Bait::PromiseOutlives => Arena::Forgotten,
            Bait::DroppedStillCurrent | Bait::DropUnrecorded | Bait::DropBelowMajority => Arena::Awaited,
            Bait::StaleConfigCounted | Bait::LearnerCounts | Bait::TwoAtOnce => Arena::Members,
            Bait::EraByCounting | Bait::ForceWithoutWait | Bait::ForceTokenUnchecked => Arena::Forced,
        }
    }

    /// Lay down what it is aimed at.
    pub(crate) fn dress(self, profile: &mut Profile) {
        if self == Arena::Swarm {
            return;
        }
        calm(profile);
        match self {
            Arena::Swarm => {}
            Arena::Split => split(profile),
            Arena::SplitWritten => {
                split(profile);
                profile.ack = Ack::Written;
                profile.load.reads = 5;
                profile.load.flushes = 40;
            }
            Arena::SplitCrashes => split_crashes(profile),
            Arena::SplitSlow => {
                split_crashes(profile);
                slow_disk(profile);
            }
            Arena::Crashes => {
                profile.kill = often(300, 1500);
                profile.power = often(500, 2000);
                profile.blackout = often(2000, 4000);
                profile.promote = often(500, 1500);
                profile.loss = Loss::TornSectors;
                profile.down = Every { min: 10 * MILLIS, max: 300 * MILLIS };
                slow_disk(profile);
            }
            Arena::Links => {
                profile.commit = CommitRule::All;
                profile.all_patience = 0;
                profile.reset = often(50, 400);
                profile.cut = often(1000, 3000);
                profile.one_way = often(1000, 3000);
                profile.bounds.window_records = 2;
            }
            Arena::Rebuild => rebuild(profile),
            Arena::RebuildAll => {
                rebuild(profile);
                profile.commit = CommitRule::All;
                profile.all_patience = 0;
                profile.reset = None;
            }
            Arena::RebuildCrashes => {
                rebuild(profile);
                profile.kill = often(500, 2000);
                profile.promote = often(500, 2000);
                profile.down = Every { min: 10 * MILLIS, max: SECOND };
            }
            Arena::RebuildStarts => {
                rebuild(profile);
                profile.commit = CommitRule::All;
                profile.all_patience = 0;
                profile.reset = None;
                profile.kill = often(300, 1000);
                profile.promote = often(500, 2000);
                profile.down = Every { min: 10 * MILLIS, max: 100 * MILLIS };
                profile.geometry.volume_blocks = 64;
                profile.load.hot_blocks = 64;
                profile.load.outstanding = 16;
                profile.bounds.window_records = 1;
                profile.bounds.checkpoint_sixteenths = 4;
            }
            Arena::Behind => {
                profile.geometry.log_bytes = LOG_BYTES_MIN;
                profile.load.blocks_max = 64;
                profile.load.reads = 10;
                profile.load.outstanding = 8;
                profile.bounds.window_records = 64;
                profile.cut = often(500, 1500);
                profile.reset = often(300, 1500);
                profile.disk.stalls = 500;
            }
            Arena::Stalls => {
                profile.chaos = 10 * SECOND;
                profile.geometry.volume_blocks = 512;
                profile.geometry.log_bytes = LOG_BYTES_MIN;
                profile.disk.stalls = 3_000;
                profile.wipe = often(500, 1500);
                profile.load.outstanding = 16;
                profile.load.blocks_max = 64;
                profile.load.reads = 30;
                profile.load.hot_blocks = 128;
                profile.bounds.overlay_bytes = 32 << 20;
                profile.bounds.checkpoint_sixteenths = 4;
            }
            Arena::Alone => alone(profile),
            Arena::AloneWritten => {
                alone(profile);
                profile.ack = Ack::Written;
            }
            Arena::WrongDoor => {
                profile.replicas = 3;
                profile.promote = often(500, 1500);
                profile.reset = often(200, 1000);
                profile.kill = often(1000, 3000);
                profile.one_way = often(500, 2000);
                profile.wire.swap = often(300, 1500);
            }
            Arena::Unattended => unattended(profile),
            Arena::Forgotten => {
                unattended(profile);
                profile.usurp = often(500, 1500);
                profile.replace = often(500, 2500);
                profile.geometry.volume_blocks = 64;
            }
            Arena::Members => members(profile),
            Arena::Forced => forced(profile),
            Arena::Awaited => awaited(profile),
            Arena::UnattendedCrashes => {
                unattended(profile);
                profile.kill = often(200, 700);
                profile.down = Every { min: 10 * MILLIS, max: 100 * MILLIS };
            }
        }
    }
}

impl fmt::Display for Arena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

fn often(min_millis: u64, max_millis: u64) -> Option<Every> {
    Some(Every { min: min_millis * MILLIS, max: max_millis * MILLIS })
}

/// A short run of a small volume in the usual mode, under a busy load, in a world without faults.
fn calm(profile: &mut Profile) {
    profile.replicas = 3;
    profile.spares = 0;
    profile.change = None;
    profile.maintain = None;
    profile.force = None;
    profile.commit = CommitRule::Majority;
    profile.ack = Ack::Durable;
    profile.geometry.volume_blocks = 1024;
    profile.chaos = 5 * SECOND;
    for fault in [
        &mut profile.kill,
        &mut profile.power,
        &mut profile.blackout,
        &mut profile.pause,
        &mut profile.cut,
        &mut profile.one_way,
        &mut profile.reset,
        &mut profile.promote,
        &mut profile.usurp,
        &mut profile.wipe,
        &mut profile.replace,
    ] {
        *fault = None;
    }
    profile.device = DeviceProfile::default();
    profile.wire = WireProfile::default();
    profile.clock_jumps = false;
    profile.automatic = false;
    profile.net.bandwidth = 0;
    profile.net.bound = 0;
    profile.disk.stalls = 0;
    profile.disk.read_errors = 0;
    profile.disk.write_errors = 0;
    profile.disk.flush_errors = 0;
    profile.stuck = 0;
    profile.drain = false;
    profile.load.outstanding = 4;
    profile.load.blocks_max = 8;
    profile.load.think_max = 8 * MILLIS;
}

/// The disk is slow, and the network is not.
fn slow_disk(profile: &mut Profile) {
    profile.disk.latency_min = 80_000;
    profile.disk.latency_max = 4 * MILLIS;
    profile.net.delay_min = 20_000;
    profile.net.delay_max = 100_000;
}

/// Nobody helps, and primaries are lost to the others for longer than a lease.
fn unattended(profile: &mut Profile) {
    profile.automatic = true;
    profile.cut = often(300, 1200);
    profile.one_way = often(300, 1200);
    profile.pause = often(300, 1200);
    profile.outage = Every { min: 300 * MILLIS, max: 1500 * MILLIS };
    profile.clock_ppm = 50_000;
    profile.disk.latency_max = 20 * MILLIS;
    profile.disk.stalls = 3_000;
    profile.load.reads = 60;
    profile.load.hot_blocks = 8;
    profile.load.blocks_max = 4;
    profile.load.gives_up = Some(SECOND);
}

/// The membership changes all the time, and primaries are lost meanwhile.
fn members(profile: &mut Profile) {
    profile.automatic = true;
    profile.replicas = 2 + usize::from(profile.fragile == 1);
    profile.spares = 2;
    profile.change = often(50, 500);
    profile.cut = often(300, 1200);
    profile.one_way = often(300, 1200);
    profile.kill = often(400, 1500);
    profile.outage = Every { min: 300 * MILLIS, max: 1500 * MILLIS };
    profile.down = Every { min: 10 * MILLIS, max: 500 * MILLIS };
    profile.geometry.volume_blocks = 256;
    profile.load.hot_blocks = 64;
    profile.load.gives_up = Some(SECOND);
    profile.writes_min = 0;
}

/// Copies are alone often, and an operator forces the promotion of one.
fn forced(profile: &mut Profile) {
    profile.automatic = true;
    profile.chaos = 12 * SECOND;
    profile.force = often(500, 4000);
    profile.kill = often(700, 3000);
    profile.one_way = often(700, 3000);
    profile.outage = Every { min: 300 * MILLIS, max: 1500 * MILLIS };
    profile.down = Every { min: 10 * MILLIS, max: 500 * MILLIS };
    profile.geometry.volume_blocks = 256;
    profile.load.hot_blocks = 64;
    profile.load.reads = 40;
    profile.load.gives_up = Some(SECOND);
    profile.writes_min = 0;
}

/// Writes wait for a copy that is lost for a little while, and then go on without it.
fn awaited(profile: &mut Profile) {
    members(profile);
    profile.replicas = if profile.fragile == 1 { 5 } else { 3 };
    profile.spares = 1;
    profile.change = often(500, 2500);
    profile.commit = CommitRule::All;
    profile.all_patience = 150 * MILLIS;
    profile.pause = often(400, 1500);
    profile.disk.stalls = 1_000;
    profile.disk.latency_max = 5 * MILLIS;
    profile.load.outstanding = 8;
    profile.load.think_max = 2 * MILLIS;
    profile.geometry.log_bytes = LOG_BYTES_MIN;
}

fn split(profile: &mut Profile) {
    profile.usurp = often(800, 2000);
    profile.load.reads = 50;
    profile.load.hot_blocks = 8;
    profile.load.blocks_max = 4;
    profile.load.gives_up = Some(SECOND);
}

fn split_crashes(profile: &mut Profile) {
    // Successors need not wait.
    profile.lease = 0;
    split(profile);
    profile.geometry.log_bytes = LOG_BYTES_MIN;
    profile.load.blocks_max = 16;
    profile.load.reads = 20;
    profile.kill = often(400, 1500);
    profile.promote = often(400, 1500);
    profile.reset = often(100, 600);
    profile.down = Every { min: 10 * MILLIS, max: 500 * MILLIS };
}

fn alone(profile: &mut Profile) {
    profile.commit = CommitRule::One;
    profile.kill = often(500, 2000);
    profile.promote = often(500, 2000);
    profile.usurp = often(1000, 2500);
    profile.one_way = often(500, 2000);
    profile.bounds.checkpoint_sixteenths = 1;
    profile.down = Every { min: 10 * MILLIS, max: 300 * MILLIS };
}

fn rebuild(profile: &mut Profile) {
    profile.wipe = often(1500, 3000);
    profile.reset = often(200, 1000);
    profile.load.reads = 20;
    profile.load.hot_blocks = 1024;
    profile.load.outstanding = 8;
    profile.load.think_max = 3 * MILLIS;
    profile.net.delay_min = 500_000;
    profile.net.delay_max = 5 * MILLIS;
    profile.disk.latency_min = 80_000;
    profile.disk.latency_max = 2 * MILLIS;
    profile.bounds.base_extents = 8;
    profile.bounds.window_records = 64;
    profile.bounds.checkpoint_sixteenths = 1;
    profile.bounds.overlay_bytes = 4 << 10;
}
