//! What the devices and the network of a run are like, drawn apart from everything else.

use crate::clock::{MILLIS, SECOND};
use crate::prng::Prng;
use crate::profile::{Every, Profile};

/// What befalls devices.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct DeviceProfile {
    /// A sector rots.
    pub(crate) rot: Option<Every>,
    /// A write is lost.
    pub(crate) lose: Option<Every>,
    /// A write goes astray.
    pub(crate) misdirect: Option<Every>,
    /// An operation hangs.
    pub(crate) hang: Option<Every>,
    /// There is no space for a while.
    pub(crate) fill: Option<Every>,
}

impl DeviceProfile {
    /// Each of them in some seeds: damage in about one of six, since it brings a rebuild every time.
    pub(crate) fn draw(prng: &mut Prng) -> DeviceProfile {
        let mut some = |one_in: u64, min: u64, max: u64| {
            let on = prng.below(one_in) == 0;
            on.then_some(Every { min: min * MILLIS, max })
        };
        DeviceProfile {
            rot: some(6, 100, 2 * SECOND),
            lose: some(6, 100, 2 * SECOND),
            misdirect: some(6, 100, 2 * SECOND),
            hang: some(6, 300, 4 * SECOND),
            fill: some(6, 300, 4 * SECOND),
        }
    }
}

/// What befalls frames and names.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct WireProfile {
    /// A frame is changed.
    pub(crate) flip: Option<Every>,
    /// Two names lead to each other's host.
    pub(crate) swap: Option<Every>,
    /// A replica moves.
    pub(crate) r#move: Option<Every>,
}

/// How bad the network of a run is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Weather {
    /// Nothing is cut, changed or late.
    Calm,
    /// Connections break at times, and little else.
    Light,
    /// All of it at once.
    Heavy,
    /// Each fault by itself in some of the runs.
    Swarm,
}

impl Profile {
    /// Draws what devices, wires and clocks do.
    pub(super) fn settle_weather(&mut self, prng: &mut Prng) {
        self.device = DeviceProfile::draw(prng);
        let weather = prng.pick(&[
            Weather::Calm,
            Weather::Light,
            Weather::Heavy,
            Weather::Swarm,
            Weather::Swarm,
            Weather::Swarm,
            Weather::Swarm,
            Weather::Swarm,
        ]);
        self.net.bandwidth = prng.pick(&[0, 0, 0, 100_000_000, 10_000_000]);
        self.net.bound = prng.pick(&[0, 0, 0, 1 << 20, 64 << 10]);
        self.clock_jumps = prng.coin();
        let mut some = |one_in: u64, min: u64, max: u64| {
            let on = prng.below(one_in) == 0;
            on.then_some(Every { min: min * MILLIS, max: max * MILLIS })
        };
        let flip = some(2, 50, 1500);
        let swap = some(4, 500, 4000);
        let r#move = some(4, 1000, 6000);
        self.wire = WireProfile { flip, swap, r#move };
        match weather {
            Weather::Swarm => {}
            Weather::Calm => {
                self.lull();
                self.reset = None;
                self.wire.flip = None;
            }
            Weather::Light => self.lull(),
            Weather::Heavy => {
                let often = |min: u64, max: u64| Some(Every { min: min * MILLIS, max: max * MILLIS });
                self.net.spikes = 20_000;
                self.cut = self.cut.or(often(500, 3000));
                self.one_way = self.one_way.or(often(500, 3000));
                self.reset = self.reset.or(often(50, 2000));
                self.wire.flip = self.wire.flip.or(often(50, 1000));
                self.stuck = self.stuck.max(50_000);
                self.net.bound = if self.net.bound == 0 { 1 << 20 } else { self.net.bound };
            }
        }
    }

    /// No cuts, no delays out of the ordinary, everybody where he is.
    fn lull(&mut self) {
        self.net.spikes = 0;
        self.net.bandwidth = 0;
        (self.cut, self.one_way, self.usurp) = (None, None, None);
        self.stuck = 0;
        self.wire.swap = None;
        self.wire.r#move = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_befalls_devices_and_wires_is_on_in_some_seeds_and_off_in_most() {
        let profiles: Vec<Profile> = (0..600).map(Profile::draw).collect();
        let faults: [fn(&Profile) -> bool; 11] = [
            |p| p.device.rot.is_some(),
            |p| p.device.lose.is_some(),
            |p| p.device.misdirect.is_some(),
            |p| p.device.hang.is_some(),
            |p| p.device.fill.is_some(),
            |p| p.wire.flip.is_some(),
            |p| p.wire.swap.is_some(),
            |p| p.wire.r#move.is_some(),
            |p| p.net.bandwidth > 0,
            |p| p.net.bound > 0,
            |p| p.clock_jumps,
        ];
        for (index, fault) in faults.into_iter().enumerate() {
            let seeds = profiles.iter().filter(|p| fault(p)).count();
            assert!((60..360).contains(&seeds), "fault {index}: {seeds} of 600");
        }
    }
}
