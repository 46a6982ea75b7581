//! What a run is like: the volume, the load and the faults, all drawn from the seed. Each fault is off in about
//! half of all seeds, on its own.

mod knobs;
mod weather;

use core::fmt;

use seawall_engine::commit::copies_needed;
use seawall_engine::setup::{Ack, CommitRule};
use seawall_wal::geometry::{Geometry, LOG_BYTES_MIN};

use crate::clock::{MILLIS, SECOND};
use crate::device::Loss;
use crate::prng::{Prng, Stream};
pub(crate) use crate::profile::weather::{DeviceProfile, WireProfile};

/// The usual lease.
const LEASE: u64 = 300 * MILLIS;

/// How often something happens: after a time between these, in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Every {
    /// At the earliest.
    pub(crate) min: u64,
    /// At the latest.
    pub(crate) max: u64,
}

impl Every {
    /// The next time.
    pub(crate) fn draw(self, prng: &mut Prng) -> u64 {
        prng.between(self.min, self.max)
    }
}

/// The network. Times in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct NetProfile {
    /// One way, at least.
    pub(crate) delay_min: u64,
    /// One way, at most, but for spikes.
    pub(crate) delay_max: u64,
    /// Chance in a million that something takes forty times as long.
    pub(crate) spikes: u64,
    /// Bytes per second in each direction between two nodes; zero is without limit.
    pub(crate) bandwidth: u64,
    /// Bytes on the way of one connection, in each direction; zero is without limit.
    pub(crate) bound: u64,
}

/// The disks. Chances in a million.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct DiskProfile {
    /// An operation takes at least so long, in nanoseconds.
    pub(crate) latency_min: u64,
    /// And at most so long, but for stalls.
    pub(crate) latency_max: u64,
    /// An operation takes seconds.
    pub(crate) stalls: u64,
    /// A read fails.
    pub(crate) read_errors: u64,
    /// A write fails.
    pub(crate) write_errors: u64,
    /// A flush fails.
    pub(crate) flush_errors: u64,
}

/// The clients.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct LoadProfile {
    /// Requests at the same time.
    pub(crate) outstanding: usize,
    /// Pause between requests, in nanoseconds at most.
    pub(crate) think_max: u64,
    /// Blocks of a request at most.
    pub(crate) blocks_max: u32,
    /// Half of all requests are for the first so many blocks.
    pub(crate) hot_blocks: u64,
    /// Of a hundred requests, so many read.
    pub(crate) reads: u64,
    /// Of a hundred others, so many flush.
    pub(crate) flushes: u64,
    /// Whether there are trims and write-zeroes.
    pub(crate) zeroes: bool,
    /// Whether there are writes of single sectors.
    pub(crate) parts: bool,
    /// A client turns to other things after so many nanoseconds without an answer.
    pub(crate) gives_up: Option<u64>,
    /// So many requests, and no more.
    pub(crate) requests_max: u64,
    /// No request begins later, in nanoseconds since the beginning.
    pub(crate) until: u64,
}

/// The machine's own bounds, where a run tries others than the usual ones.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Bounds {
    /// Records of one append.
    pub(crate) append_records: usize,
    /// Records on their way to one peer.
    pub(crate) window_records: usize,
    /// Extents of a rebuild in flight.
    pub(crate) base_extents: usize,
    /// A checkpoint begins when so much of the log is not home.
    pub(crate) checkpoint_sixteenths: u64,
    /// A checkpoint begins when the index of what is not home takes so many bytes.
    pub(crate) overlay_bytes: usize,
}

/// Everything.
#[derive(Clone, Debug)]
pub(crate) struct Profile {
    /// How many copies at the beginning.
    pub(crate) replicas: usize,
    /// Nodes that are no members yet.
    pub(crate) spares: usize,
    /// When a write is committed.
    pub(crate) commit: CommitRule,
    /// What an acknowledgement means.
    pub(crate) ack: Ack,
    /// Whether the replicas find a new primary themselves.
    pub(crate) automatic: bool,
    /// Under commit rule `all`: how long writes wait for a copy, in nanoseconds; zero: for ever.
    pub(crate) all_patience: u64,
    /// How long a lease is, in nanoseconds; zero: there are none.
    pub(crate) lease: u64,
    /// Sizes.
    pub(crate) geometry: Geometry,
    /// How long there are faults, in nanoseconds.
    pub(crate) chaos: u64,
    /// The network.
    pub(crate) net: NetProfile,
    /// The disks.
    pub(crate) disk: DiskProfile,
    /// What befalls frames and names.
    pub(crate) wire: WireProfile,
    /// Whether clocks jump while a process does not run.
    pub(crate) clock_jumps: bool,
    /// What befalls the disks.
    pub(crate) device: DeviceProfile,
    /// The clients.
    pub(crate) load: LoadProfile,
    /// The machine's bounds.
    pub(crate) bounds: Bounds,
    /// A process is killed.
    pub(crate) kill: Option<Every>,
    /// A node loses its power.
    pub(crate) power: Option<Every>,
    /// All nodes lose their power at once.
    pub(crate) blackout: Option<Every>,
    /// What a power loss leaves.
    pub(crate) loss: Loss,
    /// How long a node stays down, in nanoseconds.
    pub(crate) down: Every,
    /// How long a process does not run, and directions are cut, in nanoseconds.
    pub(crate) outage: Every,
    /// A process does not run for a while.
    pub(crate) pause: Option<Every>,
    /// A node is cut off in both directions.
    pub(crate) cut: Option<Every>,
    /// One direction between two nodes is cut.
    pub(crate) one_way: Option<Every>,
    /// A connection breaks.
    pub(crate) reset: Option<Every>,
    /// The operator promotes a node for no reason.
    pub(crate) promote: Option<Every>,
    /// Clocks are wrong by up to so many parts in a million.
    pub(crate) clock_ppm: u64,
    /// The one node that may lose its power when plain writes are acknowledged before they are flushed.
    pub(crate) fragile: usize,
    /// A replica is promoted that the primary does not hear of.
    pub(crate) usurp: Option<Every>,
    /// Connections stand still, each on its own: chance in a million per frame that opens something.
    pub(crate) stuck: u64,
    /// A follower's copy is wiped, once, after so many nanoseconds.
    pub(crate) wipe: Option<Every>,
    /// A replica's device is replaced by an empty one, once, after so many nanoseconds.
    pub(crate) replace: Option<Every>,
    /// The membership changes.
    pub(crate) change: Option<Every>,
    /// Somebody works on a node, and says so.
    pub(crate) maintain: Option<Every>,
    /// Everybody but one is lost to the others, and the operator forces its promotion.
    pub(crate) force: Option<Every>,
    /// The run ends with a clean shutdown of all, a power loss, and a restart.
    pub(crate) drain: bool,
    /// Whether an operator replaces what failed and promotes somebody if nobody serves, before the world heals too.
    pub(crate) operator: bool,
    /// A run with fewer completed writes proved nothing; zero: it need not prove anything by that.
    pub(crate) writes_min: u64,
}

impl Profile {
    /// The profile of a seed.
    pub(crate) fn draw(seed: u64) -> Profile {
        let mut prng = Prng::new(seed, Stream::Profile);
        let p = &mut prng;
        // Most runs are short and dense: more of them find more than longer ones do. Some are long, for what needs
        // time: logs that wrap often, sessions that are parked.
        let pace = p.pick(&[1, 1, 1, 1, 1, 1, 4]);
        let third = pace * SECOND / 3;
        let often = |p: &mut Prng, min, max| maybe(p, Every { min: min * third, max: max * third });
        let delay_min = p.pick(&[20_000, 100_000, 500_000]);
        let latency_min = p.pick(&[20_000, 80_000]);
        let volume_blocks = p.pick(&[512, 1024, 1024, 2048, 2048, 8192]);
        let mut profile = Profile {
            replicas: p.pick(&[3, 3, 3, 3, 5, 2]),
            spares: 0,
            commit: p.pick(&[
                CommitRule::Majority,
                CommitRule::Majority,
                CommitRule::Majority,
                CommitRule::All,
            ]),
            ack: p.pick(&[Ack::Durable, Ack::Durable, Ack::Written]),
            automatic: false,
            all_patience: 0,
            lease: LEASE,
            geometry: Geometry {
                volume_blocks,
                log_bytes: LOG_BYTES_MIN + p.below(3) * (LOG_BYTES_MIN / 2),
                unit_bytes: p.pick(&[512, 4096]),
                separate_log: p.coin(),
            },
            chaos: pace * p.between(1_500, 4_500) * MILLIS,
            net: NetProfile {
                delay_min,
                delay_max: delay_min * p.pick(&[2, 5, 20]),
                spikes: p.pick(&[0, 1_000, 20_000]),
                bandwidth: 0,
                bound: 0,
            },
            disk: DiskProfile {
                latency_min,
                latency_max: latency_min * p.pick(&[2, 10, 50]),
                stalls: p.pick(&[0, 0, 50, 500]),
                read_errors: p.pick(&[0, 0, 100]),
                write_errors: p.pick(&[0, 0, 100]),
                flush_errors: p.pick(&[0, 0, 1000]),
            },
            wire: WireProfile::default(),
            clock_jumps: false,
            device: DeviceProfile::default(),
            load: LoadProfile {
                outstanding: p.pick(&[1, 4, 8, 16]),
                think_max: p.pick(&[2, 10, 20, 50]) * MILLIS,
                blocks_max: p.pick(&[4, 16, 64]),
                hot_blocks: p.pick(&[8, 64, 512]),
                reads: p.pick(&[20, 50]),
                flushes: 4,
                zeroes: p.coin(),
                parts: p.coin(),
                gives_up: maybe(p, 4 * SECOND),
                requests_max: u64::MAX,
                until: u64::MAX,
            },
            bounds: Bounds {
                append_records: p.pick(&[1, 16, 256]),
                window_records: p.pick(&[2, 64, 4096]),
                base_extents: p.pick(&[1, 2, 8]),
                checkpoint_sixteenths: p.pick(&[1, 4, 6]),
                overlay_bytes: p.pick(&[4 << 10, 32 << 20]),
            },
            kill: often(p, 1, 6),
            power: often(p, 1, 8),
            blackout: often(p, 4, 15),
            loss: p.pick(&[Loss::Nothing, Loss::Everything, Loss::Sectors, Loss::Sectors, Loss::TornSectors]),
            down: Every { min: 10 * MILLIS, max: p.pick(&[100 * MILLIS, SECOND, pace * 2 * SECOND]) },
            outage: Every { min: 10 * MILLIS, max: 500 * MILLIS },
            pause: often(p, 1, 6),
            cut: often(p, 1, 6),
            one_way: often(p, 1, 6),
            reset: maybe(p, Every { min: 50 * MILLIS, max: 3 * SECOND }),
            promote: often(p, 1, 6),
            clock_ppm: p.pick(&[0, 0, 1_000, 50_000]),
            fragile: p.index(2),
            usurp: None,
            stuck: 0,
            wipe: None,
            replace: None,
            change: None,
            maintain: None,
            force: None,
            drain: false,
            operator: true,
            writes_min: 20,
        };
        profile.aim(seed);
        profile.draw_changes(seed);
        profile.draw_maintenance(seed);
        // Where no copy can be spared, long outages would leave next to nothing written.
        if !profile.has_spare() {
            profile.outage.max = 500 * MILLIS;
            profile.down.max = profile.down.max.min(SECOND);
        }
        // A run without any fault proves nothing.
        let calm =
            [profile.kill, profile.power, profile.blackout, profile.pause, profile.cut, profile.one_way];
        if calm.iter().chain([&profile.reset, &profile.promote]).all(Option::is_none) {
            profile.kill = Some(Every { min: SECOND, max: 6 * SECOND });
        }
        profile
    }

    /// The same, but that writes go on without one of the copies.
    pub(crate) fn with_spare(mut self) -> Profile {
        self.replicas = self.replicas.max(3);
        // Whoever is left works on, and nobody waits for the others.
        self.maintain = None;
        if !self.has_spare() {
            self.commit = CommitRule::Majority;
        }
        self
    }

    /// All nodes.
    pub(crate) fn nodes(&self) -> usize {
        self.replicas + self.spares
    }

    /// Some volumes change their members.
    fn draw_changes(&mut self, seed: u64) {
        let mut prng = Prng::new(seed, Stream::Members);
        let fits = self.commit != CommitRule::One && self.shrinks();
        let fits = fits && self.device == DeviceProfile::default();
        if fits && self.wipe.is_none() && !self.drain && prng.below(4) == 0 {
            self.spares = prng.pick(&[1, 1, 2]);
            self.change = Some(Every { min: 100 * MILLIS, max: 1500 * MILLIS });
        }
    }

    /// On some volumes somebody works, and says so.
    fn draw_maintenance(&mut self, seed: u64) {
        let mut prng = Prng::new(seed, Stream::Maintenance);
        if prng.below(5) == 0 {
            self.maintain = Some(Every { min: 300 * MILLIS, max: 3 * SECOND });
        }
    }

    /// Whether nobody is needed to find a new primary.
    pub(crate) fn finds_itself_a_primary(&self) -> bool {
        self.automatic && self.commit != CommitRule::One
    }

    /// Whether writes go on without one of the copies, if need be after a while.
    pub(crate) fn has_spare(&self) -> bool {
        self.copies_needed() < self.replicas
    }

    /// So many copies are enough for writes, if need be after a while.
    pub(crate) fn copies_needed(&self) -> usize {
        let rule = if self.shrinks() { CommitRule::Majority } else { self.commit };
        copies_needed(if self.commit == CommitRule::One { self.commit } else { rule }, self.replicas)
    }

    /// Whether no commit rule makes writes wait for each voter for ever.
    fn shrinks(&self) -> bool {
        self.commit != CommitRule::All || self.all_patience > 0
    }

    /// What is aimed, from a stream of its own.
    fn aim(&mut self, seed: u64) {
        let mut prng = Prng::new(seed, Stream::Scenario);
        let p = &mut prng;
        self.usurp = maybe(p, Every { min: SECOND / 2, max: 4 * SECOND });
        self.stuck = p.pick(&[0, 50_000, 200_000]);
        self.wipe = maybe(p, Every { min: SECOND, max: 6 * SECOND }).filter(|_| self.replicas > 2);
        self.drain = p.coin();
        self.outage.max = p.pick(&[500 * MILLIS, 2 * SECOND, 8 * SECOND]);
        if p.below(12) == 0 {
            self.commit = CommitRule::One;
        }
        let replace = Some(Every { min: SECOND / 2, max: 6 * SECOND });
        self.replace = replace.filter(|_| p.below(3) == 0 && self.replicas > 2);
        self.settle_weather(&mut Prng::new(seed, Stream::Weather));
        let p = &mut Prng::new(seed, Stream::Failover);
        self.automatic = p.below(4) > 0;
        self.all_patience = Prng::new(seed, Stream::Awaited).pick(&[0, SECOND / 5, SECOND / 2, SECOND]);
        self.lease = p.pick(&[0, LEASE, LEASE, LEASE, LEASE, LEASE, 2 * LEASE, 2 * LEASE]);
    }
}

fn maybe<T>(prng: &mut Prng, fault: T) -> Option<T> {
    prng.coin().then_some(fault)
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Profile { replicas, commit, ack, geometry, net, disk, load, .. } = self;
        write!(
            f,
            "{replicas} copies, {commit:?}/{ack:?}, {} blocks, log {} KiB by {}{}, {} ms of faults; net {}..{} µs",
            geometry.volume_blocks,
            geometry.log_bytes >> 10,
            geometry.unit_bytes,
            if geometry.separate_log { " apart" } else { "" },
            self.chaos / MILLIS,
            net.delay_min / 1000,
            net.delay_max / 1000,
        )?;
        write!(f, "; disk {}..{} µs", disk.latency_min / 1000, disk.latency_max / 1000)?;
        write!(f, "; load {} deep, {}% reads, ≤{} blocks", load.outstanding, load.reads, load.blocks_max)?;
        let on = [
            ("kill", self.kill.is_some()),
            ("power", self.power.is_some()),
            ("blackout", self.blackout.is_some()),
            ("pause", self.pause.is_some()),
            ("cut", self.cut.is_some()),
            ("one-way", self.one_way.is_some()),
            ("reset", self.reset.is_some()),
            ("promote", self.promote.is_some()),
            ("clock", self.clock_ppm > 0),
            ("spikes", net.spikes > 0),
            ("stalls", disk.stalls > 0),
            ("read-errors", disk.read_errors > 0),
            ("write-errors", disk.write_errors > 0),
            ("flush-errors", disk.flush_errors > 0),
            ("zeroes", load.zeroes),
            ("parts", load.parts),
            ("gives-up", load.gives_up.is_some()),
            ("usurp", self.usurp.is_some()),
            ("stuck", self.stuck > 0),
            ("wipe", self.wipe.is_some()),
            ("replace", self.replace.is_some()),
            ("drain", self.drain),
            ("rot", self.device.rot.is_some()),
            ("lose", self.device.lose.is_some()),
            ("misdirect", self.device.misdirect.is_some()),
            ("hang", self.device.hang.is_some()),
            ("fill", self.device.fill.is_some()),
            ("narrow", net.bandwidth > 0),
            ("bound", net.bound > 0),
            ("flip", self.wire.flip.is_some()),
            ("swap", self.wire.swap.is_some()),
            ("move", self.wire.r#move.is_some()),
            ("jump", self.clock_jumps),
            ("automatic", self.automatic),
        ];
        let names: Vec<&str> = on.iter().filter(|(_, on)| *on).map(|(name, _)| *name).collect();
        write!(f, "; loss {:?}; {}", self.loss, names.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_off_in_about_half_of_all_seeds() {
        let profiles: Vec<Profile> = (0..200).map(Profile::draw).collect();
        let on = |fault: fn(&Profile) -> bool| profiles.iter().filter(|p| fault(p)).count();
        let faults: [fn(&Profile) -> bool; 8] = [
            |p| p.kill.is_some(),
            |p| p.power.is_some(),
            |p| p.blackout.is_some(),
            |p| p.pause.is_some(),
            |p| p.cut.is_some(),
            |p| p.one_way.is_some(),
            |p| p.reset.is_some(),
            |p| p.promote.is_some(),
        ];
        for fault in faults {
            let seeds = on(fault);
            assert!((60..140).contains(&seeds), "{seeds} of 200");
        }
    }
}
