//! Guards that can be taken away, one at a time, so that it can be shown what each of them keeps out.
//!
//! `guard!("its-name", holds)` is whether `holds`, and nothing else in whatever is shipped: the name is not even
//! compiled. With the feature `mutants`, which the exploration of the machines switches on and `seawall` never does,
//! a guard that was [taken away](off) holds always. `engine/explore` takes each of them away and shows what breaks.

#[cfg(feature = "mutants")]
use core::sync::atomic::{AtomicU64, Ordering};

/// Whether the condition holds; or, for a guard that was taken away, true. Name first, then the condition: the one of
/// going on, not that of refusing.
#[cfg(not(feature = "mutants"))]
#[macro_export]
macro_rules! guard {
    ($name:literal, $holds:expr) => {
        $crate::guard::stands($holds)
    };
}

/// The condition itself.
#[cfg(not(feature = "mutants"))]
#[inline]
#[must_use]
pub const fn stands(holds: bool) -> bool {
    holds
}

/// Whether the condition holds; or, for a guard that was taken away, true. Name first, then the condition: the one of
/// going on, not that of refusing.
#[cfg(feature = "mutants")]
#[macro_export]
macro_rules! guard {
    ($name:literal, $holds:expr) => {{
        const NAMED: u64 = $crate::guard::number($name);
        $holds || $crate::guard::is_off(NAMED)
    }};
}

/// The guards that are taken away; zero is none. Two, because a guard may stand behind another one.
#[cfg(feature = "mutants")]
static OFF: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];
/// How often a guard that is taken away would have refused.
#[cfg(feature = "mutants")]
static MISSED: AtomicU64 = AtomicU64::new(0);

/// The number of a guard's name (FNV-1a, 64 bits).
#[cfg(feature = "mutants")]
#[must_use]
pub const fn number(name: &str) -> u64 {
    let (bytes, mut at, mut hash) = (name.as_bytes(), 0, 0xcbf2_9ce4_8422_2325);
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0100_0000_01b3);
        at += 1;
    }
    hash
}

/// Whether it is taken away; asked only where it would refuse.
#[cfg(feature = "mutants")]
#[must_use]
pub fn is_off(number: u64) -> bool {
    let off = OFF.iter().any(|slot| slot.load(Ordering::Relaxed) == number);
    if off {
        MISSED.fetch_add(1, Ordering::Relaxed);
    }
    off
}

/// Take these away, for the whole process, and put all others back.
///
/// # Panics
/// If there are more than two.
#[cfg(feature = "mutants")]
pub fn off(names: &[&str]) {
    assert!(names.len() <= OFF.len(), "at most two guards are taken away at a time");
    for (at, slot) in OFF.iter().enumerate() {
        slot.store(names.get(at).map_or(0, |name| number(name)), Ordering::Relaxed);
    }
    MISSED.store(0, Ordering::Relaxed);
}

/// How often the guards that are taken away would have refused since they were.
#[cfg(feature = "mutants")]
#[must_use]
pub fn missed() -> u64 {
    MISSED.load(Ordering::Relaxed)
}
