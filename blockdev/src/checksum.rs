//! CRC32C of payload, with the processor's own instructions. Each byte is summed once, where it comes in.

use crc_fast::{CrcAlgorithm, checksum};
use seawall_wal::names::{BLOCK_BYTES, Crc};

use crate::ring::arena::{Arena, Span};

/// The checksum of some bytes.
#[must_use]
pub fn crc32c(bytes: &[u8]) -> Crc {
    let sum = checksum(CrcAlgorithm::Crc32Iscsi, bytes);
    Crc(u32::try_from(sum).expect("a CRC32C has 32 bits"))
}

/// The checksums of the blocks of a span.
#[must_use]
pub fn of_blocks(arena: &Arena, span: Span) -> Vec<Crc> {
    arena.look(span, |bytes| bytes.chunks_exact(BLOCK_BYTES as usize).map(crc32c).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_checksum_that_the_log_is_written_with() {
        assert_eq!(crc32c(b"123456789"), Crc(0xE306_9283));
        let block: Vec<u8> = (0..4096u32).map(|i| u8::try_from(i * 7 % 251).unwrap()).collect();
        assert_eq!(crc32c(&block), seawall_wal::crc::crc32c(&block));
        assert_eq!(crc32c(&[0; 4096]), seawall_wal::crc::ZERO_BLOCK);
    }
}
