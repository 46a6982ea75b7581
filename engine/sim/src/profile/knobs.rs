//! The profile as text: every knob by its name, from one table. A calm world has no chances at all; a script or
//! scenario says where its world differs from that.
//!
//! What the planner draws its deeds from is no knob: a script says the deeds themselves.

use super::{
    Bounds, DeviceProfile, DiskProfile, Every, LEASE, LoadProfile, NetProfile, Profile, WireProfile,
};
use crate::clock::{MILLIS, SECOND};
use crate::device::Loss;
use crate::word::{Span, Word};
use seawall_engine::setup::{Ack, CommitRule};
use seawall_wal::geometry::{Geometry, LOG_BYTES_MIN};

macro_rules! knobs {
    ($( $name:literal $kind:ident $( $path:ident ).+ ; )*) => {
        impl Profile {
            /// The names of all knobs.
            pub(crate) const KNOBS: &'static [&'static str] = &[ $( $name ),* ];

            /// Turn a knob.
            pub(crate) fn turn(&mut self, name: &str, value: &str) -> Result<(), String> {
                match name {
                    $( $name => {
                        let read = $kind::read(value).ok_or_else(|| format!("{name} {value}: not {}", $kind::WHAT))?;
                        self.$( $path ).+ = read;
                        Ok(())
                    } )*
                    _ => Err(format!("{name} is no knob; there are: {}", Profile::KNOBS.join(", "))),
                }
            }

            /// How every knob stands.
            pub(crate) fn knobs(&self) -> Vec<(&'static str, String)> {
                vec![ $( ($name, $kind::show(&self.$( $path ).+)) ),* ]
            }
        }
    };
}

knobs! {
    "copies" count replicas;
    "spares" count spares;
    "commit" commit commit;
    "ack" ack ack;
    "automatic" flag automatic;
    "all-patience" span all_patience;
    "lease" span lease;
    "blocks" count geometry.volume_blocks;
    "log" bytes geometry.log_bytes;
    "unit" bytes geometry.unit_bytes;
    "separate-log" flag geometry.separate_log;
    "chaos" span chaos;
    "operator" flag operator;
    "effort" count writes_min;
    "drain" flag drain;
    "fragile" node fragile;
    "clock-ppm" count clock_ppm;
    "stuck" count stuck;
    "load" count load.outstanding;
    "requests" count load.requests_max;
    "load-until" span load.until;
    "think" span load.think_max;
    "request-blocks" count load.blocks_max;
    "hot-blocks" count load.hot_blocks;
    "reads" count load.reads;
    "flushes" count load.flushes;
    "zeroes" flag load.zeroes;
    "parts" flag load.parts;
    "gives-up" perhaps load.gives_up;
    "net-min" span net.delay_min;
    "net-max" span net.delay_max;
    "net-spikes" count net.spikes;
    "bandwidth" bytes net.bandwidth;
    "connection-bytes" bytes net.bound;
    "clock-jumps" flag clock_jumps;
    "disk-min" span disk.latency_min;
    "disk-max" span disk.latency_max;
    "disk-stalls" count disk.stalls;
    "read-errors" count disk.read_errors;
    "write-errors" count disk.write_errors;
    "flush-errors" count disk.flush_errors;
    "append-records" count bounds.append_records;
    "window-records" count bounds.window_records;
    "base-extents" count bounds.base_extents;
    "checkpoint-sixteenths" count bounds.checkpoint_sixteenths;
    "overlay" bytes bounds.overlay_bytes;
    "loss" loss loss;
}

impl Profile {
    /// A world in which nothing goes wrong by itself, and nobody asks for anything.
    pub(crate) fn calm() -> Profile {
        Profile {
            replicas: 3,
            spares: 0,
            commit: CommitRule::Majority,
            ack: Ack::Durable,
            automatic: false,
            all_patience: SECOND,
            lease: LEASE,
            geometry: Geometry {
                volume_blocks: 1024,
                log_bytes: LOG_BYTES_MIN,
                unit_bytes: 4096,
                separate_log: false,
            },
            chaos: 0,
            net: NetProfile { delay_min: 100_000, delay_max: 200_000, spikes: 0, bandwidth: 0, bound: 0 },
            disk: DiskProfile {
                latency_min: 50_000,
                latency_max: 100_000,
                stalls: 0,
                read_errors: 0,
                write_errors: 0,
                flush_errors: 0,
            },
            wire: WireProfile::default(),
            clock_jumps: false,
            device: DeviceProfile::default(),
            load: LoadProfile {
                outstanding: 0,
                think_max: 20 * MILLIS,
                blocks_max: 16,
                hot_blocks: 64,
                reads: 20,
                flushes: 4,
                zeroes: false,
                parts: false,
                gives_up: None,
                requests_max: u64::MAX,
                until: u64::MAX,
            },
            bounds: Bounds {
                append_records: 256,
                window_records: 4096,
                base_extents: 8,
                checkpoint_sixteenths: 4,
                overlay_bytes: 32 << 20,
            },
            kill: None,
            power: None,
            blackout: None,
            loss: Loss::TornSectors,
            down: Every { min: 10 * MILLIS, max: 300 * MILLIS },
            outage: Every { min: 10 * MILLIS, max: 500 * MILLIS },
            pause: None,
            cut: None,
            one_way: None,
            reset: None,
            promote: None,
            clock_ppm: 0,
            fragile: 0,
            usurp: None,
            stuck: 0,
            wipe: None,
            replace: None,
            change: None,
            maintain: None,
            force: None,
            drain: false,
            operator: false,
            writes_min: 0,
        }
    }

    /// The same world, but that no deeds are drawn in it.
    pub(crate) fn without_deeds(&self) -> Profile {
        let mut scripted = Profile::calm();
        for (name, value) in self.knobs() {
            scripted.turn(name, &value).expect("a knob stands where it can stand");
        }
        scripted
    }

    /// Where it differs from a calm world.
    pub(crate) fn turned(&self) -> Vec<(&'static str, String)> {
        let calm = Profile::calm().knobs();
        let differs = |(knob, calm): &((&str, String), (&str, String))| knob != calm;
        self.knobs().into_iter().zip(calm).filter(differs).map(|(knob, _)| knob).collect()
    }
}

macro_rules! kinds {
    ($( $kind:ident $what:literal $ty:ty, $show:expr, $read:expr; )*) => {
        $( mod $kind {
            #[allow(unused_imports)]
            use super::*;
            pub(super) const WHAT: &str = $what;
            pub(super) fn show(value: &$ty) -> String { let show: fn(&$ty) -> String = $show; show(value) }
            pub(super) fn read(text: &str) -> Option<$ty> { let read: fn(&str) -> Option<$ty> = $read; read(text) }
        } )*
    };
}

kinds! {
    span "a time like 300ms" u64, |nanos| Span(*nanos).shown(), |text| Span::read(text).map(|span| span.0);
    perhaps "off or a time like 300ms" Option<u64>,
        |nanos| nanos.map_or("off".to_owned(), |nanos| Span(nanos).shown()),
        |text| if text == "off" { Some(None) } else { span::read(text).map(Some) };
    flag "on or off" bool,
        |on| if *on { "on" } else { "off" }.to_owned(),
        |text| match text { "on" => Some(true), "off" => Some(false), _ => None };
    node "a node" usize, Word::shown, Word::read;
    loss "a loss" Loss, Word::shown, Word::read;
    commit "majority, all or one" CommitRule,
        |rule| format!("{rule:?}").to_lowercase(),
        |text| [CommitRule::Majority, CommitRule::All, CommitRule::One].into_iter().find(|rule| commit::show(rule) == text);
    ack "durable or written" Ack,
        |ack| format!("{ack:?}").to_lowercase(),
        |text| [Ack::Durable, Ack::Written].into_iter().find(|one| ack::show(one) == text);
}

mod count {
    pub(super) const WHAT: &str = "a number or none";

    /// The greatest number is no bound.
    pub(super) fn show<T: Copy + TryInto<u64>>(value: &T) -> String {
        let number = (*value).try_into().unwrap_or(u64::MAX);
        if number == u64::MAX { "none".to_owned() } else { number.to_string() }
    }

    pub(super) fn read<T: TryFrom<u64>>(text: &str) -> Option<T> {
        let number = if text == "none" { u64::MAX } else { text.parse().ok()? };
        T::try_from(number).ok()
    }
}

mod bytes {
    const UNITS: [(&str, u64); 2] = [("MiB", 1 << 20), ("KiB", 1 << 10)];
    pub(super) const WHAT: &str = "bytes like 4MiB";

    pub(super) fn show<T: Copy + TryInto<u64>>(value: &T) -> String {
        let bytes = (*value).try_into().unwrap_or(u64::MAX);
        match UNITS.iter().find(|(_, unit)| bytes > 0 && bytes % unit == 0) {
            Some((name, unit)) => format!("{}{name}", bytes / unit),
            None => bytes.to_string(),
        }
    }

    pub(super) fn read<T: TryFrom<u64>>(text: &str) -> Option<T> {
        let unit = UNITS.iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit)));
        let (number, unit) = unit.unwrap_or((text, 1));
        T::try_from(number.parse::<u64>().ok()?.checked_mul(unit)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profile_of_a_seed_is_a_calm_one_with_its_knobs_turned() {
        for seed in 0..100 {
            let drawn = Profile::draw(seed);
            let mut bare = drawn.clone();
            // What the planner draws deeds from.
            let calm = Profile::calm();
            (bare.down, bare.outage) = (calm.down, calm.outage);
            (bare.device, bare.wire) = (calm.device, calm.wire);
            for kind in [
                &mut bare.kill,
                &mut bare.power,
                &mut bare.blackout,
                &mut bare.pause,
                &mut bare.cut,
                &mut bare.one_way,
                &mut bare.reset,
                &mut bare.promote,
                &mut bare.usurp,
                &mut bare.wipe,
                &mut bare.replace,
                &mut bare.change,
                &mut bare.maintain,
                &mut bare.force,
            ] {
                *kind = None;
            }
            assert_eq!(format!("{:?}", drawn.without_deeds()), format!("{bare:?}"), "seed {seed}");
        }
    }

    #[test]
    fn a_knob_says_what_it_takes() {
        let mut profile = Profile::calm();
        assert_eq!(profile.turn("log", "8MiB"), Ok(()));
        assert_eq!(profile.turned(), [("log", "8MiB".to_owned())]);
        assert_eq!(profile.turn("ack", "never"), Err("ack never: not durable or written".to_owned()));
        assert!(profile.turn("colour", "red").is_err_and(|why| why.starts_with("colour is no knob")));
    }
}
