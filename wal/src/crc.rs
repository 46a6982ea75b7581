//! CRC32C, the one checksum of the project.

use ::crc::{CRC_32_ISCSI, Table};

use crate::names::{BLOCK_BYTES, Crc};

const CASTAGNOLI: ::crc::Crc<u32, Table<16>> = ::crc::Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);
static FAST: ::crc::Crc<u32, Table<16>> = CASTAGNOLI;

/// The checksum of one block of zeroes.
pub const ZERO_BLOCK: Crc = Crc(CASTAGNOLI.checksum(&[0; BLOCK_BYTES as usize]));

/// The CRC32C (Castagnoli, RFC 3720 appendix B.4) of `bytes`.
#[must_use]
pub fn crc32c(bytes: &[u8]) -> Crc {
    Crc(FAST.checksum(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_rfc_3720_hold() {
        let ascending: std::vec::Vec<u8> = (0..32).collect();
        let descending: std::vec::Vec<u8> = (0..32).rev().collect();
        assert_eq!(crc32c(&[0; 32]), Crc(0x8a91_36aa));
        assert_eq!(crc32c(&[0xff; 32]), Crc(0x62a8_ab43));
        assert_eq!(crc32c(&ascending), Crc(0x46dd_794e));
        assert_eq!(crc32c(&descending), Crc(0x113f_db5c));
        assert_eq!(crc32c(b"123456789"), Crc(0xe306_9283));
    }

    #[test]
    fn a_block_of_zeroes_has_the_constant_checksum() {
        assert_eq!(crc32c(&[0; BLOCK_BYTES as usize]), ZERO_BLOCK);
        assert_eq!(ZERO_BLOCK, Crc(0x98f9_4189));
    }
}
