//! A sequence of faults, drawn from a seed: the same seed, the same sequence.

use std::fmt;

use crate::site::NAMES;

/// What happens in one round.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Fault {
    /// SIGKILL.
    Kill,
    /// SIGKILL of all three.
    KillAll,
    /// SIGSTOP, for less than a session may be silent.
    PauseShort,
    /// SIGSTOP, for longer than a session may be silent.
    PauseLong,
    /// The link is down.
    Cut,
    /// What it sends is lost.
    Mute,
    /// What is sent to it is lost.
    Deafen,
    /// There is no room left on its file system.
    Full,
    /// The operator makes it the primary.
    Promote,
}

/// How often each comes, in parts of their sum.
const FAULTS: [(Fault, u64); 9] = [
    (Fault::Kill, 5),
    (Fault::KillAll, 2),
    (Fault::PauseShort, 3),
    (Fault::PauseLong, 4),
    (Fault::Cut, 4),
    (Fault::Mute, 3),
    (Fault::Deafen, 3),
    (Fault::Full, 3),
    (Fault::Promote, 3),
];

impl Fault {
    pub(crate) fn all() -> impl Iterator<Item = Fault> {
        FAULTS.iter().map(|(fault, _)| *fault)
    }
}

/// One round.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Round {
    pub(crate) fault: Fault,
    /// Whom it hurts.
    pub(crate) victim: usize,
    /// Whom the operator makes the primary, if it is the primary that is hurt.
    pub(crate) stand_in: usize,
    /// Whether the operator does that, where the primary may also come back.
    pub(crate) relieve: bool,
    /// Requests that are done before it.
    pub(crate) requests: u64,
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}, after {} requests", self.fault, NAMES[self.victim], self.requests)?;
        let may = if self.relieve { "takes" } else { "waits to take" };
        write!(f, "; {} {may} over", NAMES[self.stand_in])
    }
}

/// splitmix64: small, and the same for ever.
pub(crate) struct Stream(u64);

impl Stream {
    pub(crate) fn new(seed: u64) -> Stream {
        Stream(seed)
    }

    /// A place in a list of so many.
    pub(crate) fn index(&mut self, bound: usize) -> usize {
        usize::try_from(self.below(bound as u64)).unwrap()
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let word = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)) % bound
    }
}

/// The rounds of a seed. Faults are drawn from a bag that holds each as often as its weight says, and is filled again
/// when it is empty: so many rounds have seen them all.
pub(crate) fn draw(seed: u64, rounds: usize) -> Vec<Round> {
    let mut stream = Stream::new(seed);
    let mut bag: Vec<Fault> = Vec::new();
    let round = |_| {
        if bag.is_empty() {
            let times = |(fault, weight): &(Fault, u64)| (0..*weight).map(|_| *fault).collect::<Vec<_>>();
            bag = FAULTS.iter().flat_map(times).collect();
        }
        let fault = bag.swap_remove(stream.index(bag.len()));
        let victim = stream.index(NAMES.len());
        let stand_in = (victim + 1 + stream.index(NAMES.len() - 1)) % NAMES.len();
        let relieve = stream.index(2) == 0;
        Round { fault, victim, stand_in, relieve, requests: 20 + stream.below(300) }
    };
    (0..rounds).map(round).collect()
}
