//! What a written sector holds: the run that wrote it, where it belongs, which write it was, by which connection and
//! when, and filling that follows from all of these, so that every byte of a sector is judged.

/// Bytes of one sector, the unit of the ledger.
pub const SECTOR_BYTES: usize = 512;
/// Sectors of one block of a Seawall volume.
pub(super) const BLOCK_SECTORS: u64 = 8;
const MAGIC: u64 = 0x7365_6177_616c_6c31;
const WORD: usize = 8;

/// Which write left a sector.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark {
    /// Its number.
    pub version: u64,
    /// The connection that sent it.
    pub by: u32,
    /// When it was sent, in milliseconds since 1970.
    pub sent_ms: u64,
}

/// What a sector turned out to hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Content {
    /// Nothing but zeroes.
    Zero,
    /// The whole stamp of this write, at its place.
    Stamp(Mark),
    /// A stamp of this run that belongs to another sector.
    Misplaced {
        /// The sector that it belongs to.
        belongs: u64,
        /// Which write it is.
        mark: Mark,
    },
    /// The beginning of a stamp of this run, with other bytes after it.
    Torn {
        /// The write that it claims to be.
        claims: Mark,
    },
    /// Something that this run never wrote.
    Foreign,
}

/// Fill a run of sectors, of which the first is `first`, as this write of `run` does.
pub(super) fn fill(bytes: &mut [u8], run: u64, first: u64, mark: Mark) {
    for (sector, bytes) in (first..).zip(bytes.chunks_exact_mut(SECTOR_BYTES)) {
        for (word, bytes) in words(run, sector, mark).zip(bytes.chunks_exact_mut(WORD)) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
    }
}

/// Read one sector.
pub(super) fn read(bytes: &[u8], run: u64, sector: u64) -> Content {
    let word = |at: usize| {
        u64::from_le_bytes(bytes[at * WORD..(at + 1) * WORD].try_into().expect("a slice of one word"))
    };
    if word(0) != MAGIC || word(1) != run {
        let zero = bytes.iter().all(|byte| *byte == 0);
        return if zero { Content::Zero } else { Content::Foreign };
    }
    let by = u32::try_from(word(4)).unwrap_or(u32::MAX);
    let (belongs, claims) = (word(2), Mark { version: word(3), by, sent_ms: word(5) });
    let whole = words(run, belongs, claims).enumerate().all(|(at, expected)| word(at) == expected);
    if !whole {
        Content::Torn { claims }
    } else if belongs != sector {
        Content::Misplaced { belongs, mark: claims }
    } else {
        Content::Stamp(claims)
    }
}

fn words(run: u64, sector: u64, mark: Mark) -> impl Iterator<Item = u64> {
    let head = [MAGIC, run, sector, mark.version, u64::from(mark.by), mark.sent_ms];
    let seed = run ^ sector.rotate_left(24) ^ mark.version.rotate_left(48);
    let seed = mix(seed ^ mark.sent_ms.rotate_left(12)) ^ u64::from(mark.by);
    let filling = (head.len()..SECTOR_BYTES / WORD).map(move |at| mix(seed.wrapping_add(at as u64)));
    head.into_iter().chain(filling)
}

/// The finaliser of splitmix64.
fn mix(word: u64) -> u64 {
    let word = word.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(version: u64) -> Mark {
        Mark { version, by: 3, sent_ms: 1_700_000_000_123 }
    }

    fn sector(run: u64, sector: u64, version: u64) -> Vec<u8> {
        let mut bytes = vec![0; SECTOR_BYTES];
        fill(&mut bytes, run, sector, mark(version));
        bytes
    }

    #[test]
    fn a_sector_says_which_write_it_is() {
        assert_eq!(read(&sector(9, 4, 77), 9, 4), Content::Stamp(mark(77)));
        assert_eq!(read(&sector(9, 5, 77), 9, 4), Content::Misplaced { belongs: 5, mark: mark(77) });
        assert_eq!(read(&sector(8, 4, 77), 9, 4), Content::Foreign);
        assert_eq!(read(&[0; SECTOR_BYTES], 9, 4), Content::Zero);
    }

    #[test]
    fn every_flipped_bit_shows() {
        let good = sector(9, 4, 77);
        for bit in 0..SECTOR_BYTES * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(!matches!(read(&bytes, 9, 4), Content::Stamp(_)), "bit {bit}");
        }
    }

    #[test]
    fn half_of_one_write_and_half_of_another_is_torn() {
        let mut bytes = sector(9, 4, 77);
        bytes[256..].copy_from_slice(&sector(9, 4, 78)[256..]);
        assert_eq!(read(&bytes, 9, 4), Content::Torn { claims: mark(77) });
    }
}
