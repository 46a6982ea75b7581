//! What clients write: every sector says which write it is of and where it belongs, and fills itself with what
//! follows from that, so that any sector read anywhere can be judged.

use crate::device::SECTOR;
use crate::pool::BLOCK;

/// Which client write; the value of a register. Zero is what nobody wrote, or somebody zeroed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Stamp(pub(crate) u64);

impl Stamp {
    /// Zeroes.
    pub(crate) const ZERO: Stamp = Stamp(0);
}

/// Bytes that no client ever wrote there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Garbage {
    /// The block.
    pub(crate) block: u64,
    /// The sector within it.
    pub(crate) sector: usize,
    /// How it begins.
    pub(crate) begins: [u64; 2],
}

fn place(block: u64, sector: usize) -> u64 {
    block * 8 + sector as u64
}

/// What the words of a sector count up from, but for the first two.
fn filling(stamp: Stamp, place: u64) -> u64 {
    (stamp.0 ^ place.rotate_left(32)).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

fn word_of(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().expect("eight bytes"))
}

/// Fill one sector.
pub(crate) fn fill_sector(stamp: Stamp, block: u64, sector: usize, into: &mut [u8]) {
    let place = place(block, sector);
    let filling = filling(stamp, place);
    for (index, bytes) in (0_u64..).zip(into.chunks_exact_mut(8)) {
        bytes.copy_from_slice(&filling.wrapping_add(index).to_le_bytes());
    }
    into[..8].copy_from_slice(&stamp.0.to_le_bytes());
    into[8..16].copy_from_slice(&place.to_le_bytes());
}

/// The bytes of whole blocks from `block` on.
pub(crate) fn blocks(stamp: Stamp, block: u64, blocks: u32) -> Vec<u8> {
    let mut bytes = vec![0; blocks as usize * BLOCK];
    for (index, sector) in bytes.chunks_exact_mut(SECTOR).enumerate() {
        fill_sector(stamp, block + (index / 8) as u64, index % 8, sector);
    }
    bytes
}

/// What a sector says, if it is what a client wrote there.
pub(crate) fn judge(bytes: &[u8], block: u64, sector: usize) -> Result<Stamp, Garbage> {
    let (head, rest) = bytes[..SECTOR].split_at(16);
    let begins = [word_of(&head[..8]), word_of(&head[8..])];
    let stamp = Stamp(begins[0]);
    let place = place(block, sector);
    let filling = filling(stamp, place);
    let good = match stamp {
        Stamp::ZERO => begins[1] == 0 && are(rest, |_| 0),
        Stamp(_) => begins[1] == place && are(rest, |index| filling.wrapping_add(index)),
    };
    if good { Ok(stamp) } else { Err(Garbage { block, sector, begins }) }
}

/// Whether the words from the third on are these. Mostly they are: all are looked at, so that none waits for another.
fn are(bytes: &[u8], word: impl Fn(u64) -> u64) -> bool {
    let differs = |(index, bytes)| word_of(bytes) ^ word(index);
    (2..).zip(bytes.chunks_exact(8)).map(differs).fold(0, |all, one| all | one) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sector_says_whose_it_is_and_where_it_belongs() {
        let bytes = blocks(Stamp(7), 100, 2);
        assert_eq!(judge(&bytes[BLOCK + 512..BLOCK + 1024], 101, 1), Ok(Stamp(7)));
        assert!(judge(&bytes[BLOCK + 512..BLOCK + 1024], 101, 2).is_err(), "misplaced");
        let mut bad = bytes[..512].to_vec();
        bad[300] ^= 1;
        assert!(judge(&bad, 100, 0).is_err(), "flipped");
        assert_eq!(judge(&[0; 512], 3, 3), Ok(Stamp::ZERO));
    }
}
