//! What the devices of a run are like, drawn apart from everything else.

use crate::clock::{MILLIS, SECOND};
use crate::prng::Prng;
use crate::profile::Every;

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
