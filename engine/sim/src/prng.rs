//! Chance, all of it drawn from one seed. The generators are our own (splitmix64 seeds xoshiro256**, both by
//! Blackman and Vigna), so that a recorded seed means the same run after every change of dependencies.

/// Which concern draws. Each has its own generator, so that switching one fault on does not reshuffle the rest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stream {
    /// The run's profile.
    Profile,
    /// Order of events at the same moment, order of the outputs of one step.
    Order,
    /// How long things take on the network.
    Net,
    /// Connections that are reset, and what is lost with them.
    Reset,
    /// Which directions are cut, and when.
    Partition,
    /// How long disk operations take.
    Disk,
    /// Disk operations that fail or stall.
    DiskFault,
    /// What a crash leaves of what was not flushed.
    Loss,
    /// When nodes are killed, lose power or pause, and for how long.
    Crash,
    /// What clients do.
    Client,
    /// What the operator does.
    Operator,
    /// How wrong clocks are.
    Clock,
    /// Faults that are aimed: when, at whom, for how long.
    Scenario,
    /// Connections that stand still.
    Stuck,
    /// Promotions for no reason.
    Promotion,
    /// Which bits rot.
    Damage,
    /// When and where disks rot, and lose or misdirect writes.
    Mishap,
    /// What the devices and the wires of a run are like.
    Weather,
    /// Which bits flip on their way.
    Wire,
    /// When frames are changed, and names lead elsewhere.
    Names,
    /// When the membership changes, and how.
    Members,
    /// Clocks that jump.
    Jump,
    /// Devices that hang or are full.
    Hang,
    /// Whether connections prove who is at their ends.
    Proof,
    /// What machines are given to draw their own chances from.
    Dice,
    /// Who finds a new primary.
    Failover,
    /// When and of whom something is foretold.
    Forecast,
    /// How long what is kept of a log takes, and whether there is room.
    Side,
    /// Who works on which node, when and for how long.
    Maintenance,
    /// How long writes wait for a copy under commit rule `all`.
    Awaited,
}

impl Stream {
    /// The salt. Fixed for ever, like a format.
    const fn salt(self) -> u64 {
        match self {
            Stream::Profile => 1,
            Stream::Order => 2,
            Stream::Net => 3,
            Stream::Reset => 4,
            Stream::Partition => 5,
            Stream::Disk => 6,
            Stream::DiskFault => 7,
            Stream::Loss => 8,
            Stream::Crash => 9,
            Stream::Client => 10,
            Stream::Operator => 11,
            Stream::Clock => 12,
            Stream::Scenario => 13,
            Stream::Stuck => 21,
            Stream::Promotion => 22,
            Stream::Damage => 14,
            Stream::Mishap => 17,
            Stream::Weather => 18,
            Stream::Wire => 16,
            Stream::Names => 19,
            Stream::Members => 20,
            Stream::Jump => 20,
            Stream::Hang => 15,
            Stream::Proof => 41,
            Stream::Dice => 23,
            Stream::Failover => 24,
            Stream::Forecast => 42,
            Stream::Side => 43,
            Stream::Maintenance => 44,
            Stream::Awaited => 51,
        }
    }
}

/// One in a million is the unit of chances.
pub(crate) const MILLION: u64 = 1_000_000;

/// A stream of chance.
#[derive(Clone, Debug)]
pub(crate) struct Prng {
    state: [u64; 4],
}

impl Prng {
    /// The stream of that seed and concern.
    pub(crate) fn new(seed: u64, stream: Stream) -> Prng {
        let mut mix = seed ^ stream.salt().wrapping_mul(0xD6E8_FEB8_6659_FD93);
        Prng { state: core::array::from_fn(|_| splitmix(&mut mix)) }
    }

    /// 64 bits.
    pub(crate) fn bits(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.state;
        let result = b.wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        result
    }

    /// A number below `bound`, which is not zero. The bias of the multiplication does not matter here.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "there is a number below the bound");
        let wide = u128::from(self.bits()) * u128::from(bound);
        u64::try_from(wide >> 64).expect("the high half of a product is 64 bits")
    }

    /// A number from `low` to `high`, both included.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// An index below `len`, which is not zero.
    pub(crate) fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).expect("an index below a length")
    }

    /// Whether something of that many chances in a million happens.
    pub(crate) fn chance(&mut self, in_a_million: u64) -> bool {
        self.below(MILLION) < in_a_million
    }

    /// Heads or tails.
    pub(crate) fn coin(&mut self) -> bool {
        self.bits() >> 63 == 1
    }

    /// One of them.
    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.index(of.len())]
    }

    /// All of them in any order.
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.index(last + 1));
        }
    }
}

fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_means_the_same_numbers_for_ever() {
        let mut prng = Prng::new(42, Stream::Net);
        let drawn: [u64; 3] = core::array::from_fn(|_| prng.bits());
        assert_eq!(drawn, GOLDEN);
    }

    /// As an independent implementation computes them.
    const GOLDEN: [u64; 3] = [0x477419D98B888A90, 0x09233561DFB52158, 0x5300E5E12E33719E];

    #[test]
    fn streams_of_one_seed_differ() {
        assert_ne!(Prng::new(1, Stream::Net).bits(), Prng::new(1, Stream::Disk).bits());
        assert_ne!(Prng::new(1, Stream::Net).bits(), Prng::new(2, Stream::Net).bits());
    }

    #[test]
    fn numbers_stay_within_their_bounds_and_reach_them() {
        let mut prng = Prng::new(7, Stream::Client);
        let mut seen = [0u32; 5];
        for _ in 0..1000 {
            seen[usize::try_from(prng.between(3, 7) - 3).unwrap()] += 1;
        }
        assert!(seen.iter().all(|&n| n > 100), "{seen:?}");
    }

    #[test]
    fn a_shuffle_loses_nothing() {
        let mut items: Vec<u32> = (0..50).collect();
        Prng::new(3, Stream::Order).shuffle(&mut items);
        assert_ne!(items, (0..50).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..50).collect::<Vec<_>>());
    }
}
