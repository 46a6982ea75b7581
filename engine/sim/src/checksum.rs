//! CRC32C as a driver computes it, with the processor's own instructions: most of a run's bytes pass through here.

use crc_fast::CrcAlgorithm::Crc32Iscsi;
use seawall_wal::names::Crc;

/// The CRC32C (Castagnoli, RFC 3720 appendix B.4) of `bytes`.
pub(crate) fn crc32c(bytes: &[u8]) -> Crc {
    Crc(u32::try_from(crc_fast::checksum(Crc32Iscsi, bytes)).expect("a CRC32C has 32 bits"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_is_the_checksum_of_the_core() {
        let bytes: Vec<u8> = (0..=u8::MAX).cycle().take(9000).collect();
        for len in [0, 1, 7, 8, 15, 16, 63, 64, 65, 255, 256, 257, 511, 512, 4095, 4096, 9000] {
            assert_eq!(super::crc32c(&bytes[..len]), seawall_wal::crc::crc32c(&bytes[..len]), "{len} bytes");
        }
    }
}
