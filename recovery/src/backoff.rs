//! How long to wait before the next attempt: doubling, bounded, and spread over replicas without any chance.

use core::time::Duration;

use seawall_wal::names::ReplicaId;

/// How long to wait after `attempts` attempts in a row that came to nothing: `min` doubled that often, `max` at the
/// most, and of that between a half and the whole, as replica and attempt have it.
#[must_use]
pub fn delay(replica: ReplicaId, attempts: u32, min: Duration, max: Duration) -> Duration {
    let whole = min.saturating_mul(2u32.saturating_pow(attempts)).min(max);
    let spread = mix(replica.0 ^ mix(u64::from(attempts))) >> 44; // 20 bits
    let half = whole / 2;
    let part = (half.as_nanos() * u128::from(spread)) >> 20;
    half + Duration::from_nanos(u64::try_from(part).unwrap_or(u64::MAX))
}

/// A mix of all bits into all bits (the finaliser of SplitMix64, Steele, Lea and Flood 2014).
const fn mix(bits: u64) -> u64 {
    let bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;

    const MIN: Duration = Duration::from_millis(50);
    const MAX: Duration = Duration::from_secs(5);

    #[test]
    fn it_doubles_up_to_the_bound_and_stays_within_its_upper_half() {
        for attempts in 0..100 {
            let whole = MIN.saturating_mul(1 << attempts.min(10)).min(MAX);
            let waited = delay(ReplicaId(7), attempts, MIN, MAX);
            assert!(whole / 2 <= waited && waited < whole, "{attempts}: {waited:?}");
        }
    }

    #[test]
    fn a_hundred_replicas_cut_together_come_back_spread_out() {
        let moments: BTreeSet<_> = (0..100).map(|n| delay(ReplicaId(n), 3, MIN, MAX)).collect();
        let span = *moments.last().expect("some") - *moments.first().expect("some");
        assert!(moments.len() == 100 && span > MIN * 3, "{} moments over {span:?}", moments.len());
    }
}
