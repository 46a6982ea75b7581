//! same-bytes, all along: a record's body on a disk is what its header says, and the same on every disk.

use std::collections::BTreeMap;

use seawall_engine::io::AppendPart;
use seawall_wal::names::{Crc, Lsn};
use seawall_wal::record::RecordHeader;

use crate::checksum::crc32c;
use crate::oracle::Failure;
use crate::pool::{BLOCK, Pool};

/// What the bodies of records were when they were first written.
#[derive(Debug, Default)]
pub(crate) struct Bodies {
    /// By place and digest of the header: who wrote it first, and a number that stands for the bytes.
    first: BTreeMap<(Lsn, Crc), (usize, u64)>,
}

impl Bodies {
    /// A disk has taken records, whose bodies are still where they were taken from.
    pub(crate) fn on_append(
        &mut self,
        node: usize,
        parts: &[AppendPart],
        pool: &Pool,
    ) -> Result<(), Failure> {
        for part in parts {
            let (Some(body), Ok((header, _))) = (part.body, RecordHeader::decode(&part.header)) else {
                continue;
            };
            self.on_body(node, &header, pool.bytes(body))?;
        }
        Ok(())
    }

    fn on_body(&mut self, node: usize, header: &RecordHeader, bytes: &[u8]) -> Result<(), Failure> {
        let now = sum(bytes);
        if let Some((first, before)) = self.first.get(&(header.lsn, header.digest())) {
            if *before == now {
                return Ok(());
            }
            let detail = format!(
                "node {node} has other bytes in record {} of epoch {} than node {first}",
                header.lsn, header.epoch
            );
            return Err(Failure::new("same-bytes", detail));
        }
        let crcs: Vec<Crc> = bytes.chunks_exact(BLOCK).map(crc32c).collect();
        if crcs != header.body {
            let detail = format!(
                "node {node} writes a body under record {} that its header does not name",
                header.lsn
            );
            return Err(Failure::new("same-bytes", detail));
        }
        self.first.insert((header.lsn, header.digest()), (node, now));
        Ok(())
    }
}

/// A number that changes with any difference, faster than a checksum.
fn sum(bytes: &[u8]) -> u64 {
    const ODD: u64 = 0x9E37_79B9_7F4A_7C15;
    // Eight sums side by side: none waits for the other.
    let mut lanes = [1_u64, 2, 3, 4, 5, 6, 7, 8];
    for words in bytes.chunks_exact(64) {
        for (lane, word) in lanes.iter_mut().zip(words.chunks_exact(8)) {
            let word = u64::from_le_bytes(word.try_into().expect("eight bytes"));
            *lane = (*lane ^ word).wrapping_mul(ODD).rotate_left(29);
        }
    }
    lanes.iter().fold(0, |sum, lane| (sum ^ lane).wrapping_mul(ODD).rotate_left(31))
}

#[cfg(test)]
mod tests {
    use seawall_wal::names::{Epoch, Extent, Origin, ReplicaId};
    use seawall_wal::record::Kind;

    use super::*;
    use crate::world::VOLUME;

    fn header(bytes: &[u8]) -> RecordHeader {
        RecordHeader {
            volume: VOLUME,
            epoch: Epoch { counter: 1, replica: ReplicaId(0xA0) },
            lsn: Lsn(7),
            kind: Kind::Write,
            extent: Extent::new(3, 1),
            chain: Crc(9),
            origin: Origin::NONE,
            body: bytes.chunks_exact(BLOCK).map(crc32c).collect(),
        }
    }

    #[test]
    fn the_same_record_with_other_bytes_on_another_disk_is_found() {
        let mut bytes = vec![5; BLOCK];
        let header = header(&bytes);
        let mut bodies = Bodies::default();
        assert_eq!(bodies.on_body(0, &header, &bytes), Ok(()));
        assert_eq!(bodies.on_body(1, &header, &bytes), Ok(()));
        bytes[4000] ^= 1;
        assert!(bodies.on_body(2, &header, &bytes).unwrap_err().detail.contains("than node 0"));
    }

    #[test]
    fn a_body_that_its_header_does_not_name_is_found_at_once() {
        let mut bytes = vec![5; BLOCK];
        let header = header(&bytes);
        bytes[0] = 6;
        assert_eq!(Bodies::default().on_body(0, &header, &bytes).unwrap_err().check, "same-bytes");
    }
}
