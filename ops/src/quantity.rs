//! Sizes, durations and identities as people write them, and back.

use std::time::Duration;

use seawall_wal::names::{ReplicaId, VolumeId};

const SIZE_UNITS: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];
const TIME_UNITS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1000), ("m", 60_000), ("min", 60_000), ("h", 3_600_000)];

/// A size in bytes: a whole number with `B`, `KiB`, `MiB`, `GiB` or `TiB`, or without a unit.
#[must_use]
pub fn size(text: &str) -> Option<u64> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let number: u64 = text[..digits].parse().ok()?;
    let unit = text[digits..].trim_start();
    if unit.is_empty() {
        return Some(number);
    }
    let (_, factor) = SIZE_UNITS.iter().find(|(name, _)| *name == unit)?;
    number.checked_mul(*factor)
}

/// A duration: a whole number with `ms`, `s`, `m` (or `min`) or `h`.
#[must_use]
pub fn duration(text: &str) -> Option<Duration> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let number: u64 = text[..digits].parse().ok()?;
    let (_, factor) = TIME_UNITS.iter().find(|(name, _)| *name == text[digits..].trim_start())?;
    number.checked_mul(*factor).map(Duration::from_millis)
}

/// A volume's identity: 32 hexadecimal digits, with hyphens as in a UUID or without.
#[must_use]
pub fn volume_id(text: &str) -> Option<VolumeId> {
    let hyphens: Vec<usize> = text.match_indices('-').map(|(at, _)| at).collect();
    if !(hyphens.is_empty() || hyphens == [8, 13, 18, 23]) {
        return None;
    }
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    if digits.len() != 32 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    u128::from_str_radix(&digits, 16).ok().map(|number| VolumeId(number.to_be_bytes()))
}

/// A replica's identity: `r-` and up to 16 hexadecimal digits, not all zero.
#[must_use]
pub fn replica_id(text: &str) -> Option<ReplicaId> {
    let digits = text.strip_prefix("r-")?;
    let plain = (1..=16).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
    let number = plain.then(|| u64::from_str_radix(digits, 16).ok()).flatten()?;
    (number != 0).then_some(ReplicaId(number))
}

/// A size for people: the largest unit in which it is at least one, with one decimal where it is not whole.
#[must_use]
pub fn show_size(bytes: u64) -> String {
    for (name, factor) in SIZE_UNITS {
        if bytes >= factor {
            let tenths = u128::from(bytes) * 10 / u128::from(factor);
            return if bytes.is_multiple_of(factor) {
                format!("{} {name}", bytes / factor)
            } else {
                format!("{}.{} {name}", tenths / 10, tenths % 10)
            };
        }
    }
    "0 B".to_owned()
}

/// A duration for people, to the second (below ten seconds: to the tenth).
#[must_use]
pub fn show_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..10 => format!("{:.1} s", duration.as_secs_f64()),
        10..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        3600.. => format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// `bytes` bytes of the system's randomness: for new identities only.
///
/// # Errors
/// If the system has none to give.
pub fn random<const BYTES: usize>() -> std::io::Result<[u8; BYTES]> {
    let mut bytes = [0; BYTES];
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_and_without_a_unit() {
        for (text, bytes) in [("4096", 4096), ("10GiB", 10 << 30), ("1 MiB", 1 << 20), ("7B", 7)] {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        for text in ["", "GiB", "10GB", "-1", "1.5GiB", "10 gib", "99999999TiB"] {
            assert_eq!(size(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_are_shown_in_the_largest_unit_that_fits() {
        for (bytes, text) in [(0, "0 B"), (512, "512 B"), (1536, "1.5 KiB"), (10 << 30, "10 GiB")] {
            assert_eq!(show_size(bytes), text);
        }
    }

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(duration("1500ms"), Some(Duration::from_millis(1500)));
        assert_eq!(duration("2min"), Some(Duration::from_secs(120)));
        assert_eq!(duration("60"), None);
    }

    #[test]
    fn an_identity_is_read_back_as_it_is_shown() {
        let volume = VolumeId(*b"0123456789abcdef");
        assert_eq!(volume_id(&volume.to_string()), Some(volume));
        assert_eq!(volume_id("3031-32333435363738396162636465666"), None);
        let replica = ReplicaId(0x1f);
        assert_eq!(replica_id(&replica.to_string()), Some(replica));
        assert_eq!(replica_id("r-1f"), Some(replica));
        for text in ["r-", "r-0", "1f", "r-+1", "r-00000000000000001"] {
            assert_eq!(replica_id(text), None, "{text}");
        }
    }
}
