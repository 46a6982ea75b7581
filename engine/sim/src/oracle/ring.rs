//! pinned-log-stays and retention-is-bounded, judged by the disk: an append overwrites no record that the durable
//! superblock still relies on, and nothing that is being read for a client who still waits. (A read whose request was
//! refused meanwhile, or whose reign is over, reads on for nobody: its record is pinned no more.) And
//! cut-only-above-checkpoint: nothing is written behind a cut of which no durable superblock knows.

use std::collections::BTreeMap;

use seawall_engine::io::{AppendPart, Area, Buf, DiskOp};
use seawall_wal::names::{BLOCK_BYTES, Lsn};
use seawall_wal::record::{Kind, RecordHeader};
use seawall_wal::superblock::{SlotState, Superblock};

use crate::disk::Disk;
use crate::oracle::Failure;
use crate::oracle::image::superblock;

/// What the ring of one node holds.
#[derive(Clone, Debug, Default)]
struct Ring {
    /// Where the records of the present branch are: by position, [offset, end) in bytes.
    places: BTreeMap<Lsn, (u64, u64)>,
    /// The same by offset.
    offsets: BTreeMap<u64, Lsn>,
    /// The newest superblock that is known to be durable: its number, and the first record that it relies on.
    floor: (u64, Lsn),
    /// Of how many cuts that one knows.
    generation: u32,
}

/// What the rings hold.
#[derive(Debug)]
pub(crate) struct Rings {
    rings: Vec<Ring>,
}

impl Rings {
    /// For that many replicas.
    pub(crate) fn new(replicas: usize) -> Rings {
        Rings { rings: vec![Ring::default(); replicas] }
    }

    /// A disk is given an operation. `waiting`: the buffers of reads whose clients wait.
    pub(crate) fn on_given(
        &mut self,
        node: usize,
        what: &DiskOp,
        disk: &Disk,
        waiting: impl Iterator<Item = Buf> + Clone,
    ) -> Result<(), Failure> {
        let DiskOp::Append { offset, parts, .. } = what else { return Ok(()) };
        let unit = u64::from(disk.geometry().unit_bytes);
        let end = offset + append_bytes(parts, unit);
        for (into, from, to) in disk.in_flight().flat_map(log_reads) {
            if from < end && *offset < to && waiting.clone().any(|buf| buf.slot == into.slot) {
                let detail = format!(
                    "node {node} writes the log at {offset:#x}..{end:#x} while {from:#x}..{to:#x} is being read for a client"
                );
                return Err(Failure::new("pinned-log-stays", detail));
            }
        }
        self.rings[node].check_cut(parts).map_err(|(lsn, generation)| {
            let known = self.rings[node].generation;
            let detail = format!(
                "node {node} writes record {lsn} behind cut {generation} of its log, and its durable superblock knows of {known}"
            );
            Failure::new("cut-only-above-checkpoint", detail)
        })?;
        self.rings[node].on_append(*offset, parts, unit).map_err(|(lsn, over)| {
            let floor = self.rings[node].floor.1;
            let detail = format!(
                "node {node} writes record {lsn} over record {over}, and its durable superblock relies on all from {floor} on"
            );
            Failure::new("pinned-log-stays", detail)
        })
    }

    /// An operation ended well.
    pub(crate) fn on_done(&mut self, node: usize, what: &DiskOp) {
        if let DiskOp::WriteMeta { area: Area::Super, bytes, durable: true, .. } = what
            && let SlotState::Present(superblock) = Superblock::decode(bytes)
        {
            self.rings[node].on_superblock(&superblock);
        }
    }

    /// A node crashed, or its disk was wiped: what it relies on is what its disk says now.
    pub(crate) fn on_crashed(&mut self, node: usize, disk: &Disk) {
        if let Some(superblock) = superblock(disk) {
            self.rings[node].floor = (0, Lsn::ZERO);
            self.rings[node].on_superblock(&superblock);
        }
    }

    /// A node's disk was wiped.
    pub(crate) fn on_wiped(&mut self, node: usize) {
        self.rings[node] = Ring::default();
    }
}

impl Ring {
    fn on_superblock(&mut self, superblock: &Superblock) {
        if superblock.sequence < self.floor.0 {
            return;
        }
        self.floor = (superblock.sequence, superblock.log_start.lsn);
        self.generation = superblock.cut.map_or(0, |cut| cut.generation);
        while let Some((&lsn, &(offset, _))) = self.places.first_key_value() {
            if lsn >= self.floor.1 {
                break;
            }
            self.forget(lsn, offset);
        }
    }

    /// `Err`: a record that is written, and the cut that it was written behind.
    fn check_cut(&self, parts: &[AppendPart]) -> Result<(), (Lsn, u32)> {
        let decoded = parts.iter().filter_map(|part| RecordHeader::decode(&part.header).ok());
        let mut above = decoded.filter(|(_, trailer)| trailer.generation > self.generation);
        above.next().map_or(Ok(()), |(header, trailer)| Err((header.lsn, trailer.generation)))
    }

    /// `Err`: the record that is written, and the one that it overwrites although it is needed.
    fn on_append(&mut self, offset: u64, parts: &[AppendPart], unit: u64) -> Result<(), (Lsn, Lsn)> {
        let mut at = offset;
        for part in parts {
            let end = at + append_bytes(core::slice::from_ref(part), unit);
            if let Ok((header, _)) = RecordHeader::decode(&part.header)
                && header.kind != Kind::Padding
            {
                self.on_record(header.lsn, at, end)?;
            }
            at = end;
        }
        Ok(())
    }

    fn on_record(&mut self, lsn: Lsn, offset: u64, end: u64) -> Result<(), (Lsn, Lsn)> {
        // What was there at this position and above it belonged to a tail that is no more.
        if self.places.last_key_value().is_some_and(|(last, _)| *last >= lsn) {
            for (void, (offset, _)) in self.places.split_off(&lsn) {
                self.forget(void, offset);
            }
        }
        let before = self.offsets.range(..offset).next_back().map(|(_, lsn)| *lsn);
        let within = self.offsets.range(offset..end).next().map(|(_, lsn)| *lsn);
        let reaches = |over: &Lsn| self.places.get(over).is_some_and(|(_, to)| *to > offset);
        if let Some(over) = within.or(before.filter(reaches)) {
            return Err((lsn, over));
        }
        self.places.insert(lsn, (offset, end));
        self.offsets.insert(offset, lsn);
        Ok(())
    }

    fn forget(&mut self, lsn: Lsn, offset: u64) {
        self.places.remove(&lsn);
        if self.offsets.get(&offset) == Some(&lsn) {
            self.offsets.remove(&offset);
        }
    }
}

/// Bytes that these parts take in the log.
pub(super) fn append_bytes(parts: &[AppendPart], unit: u64) -> u64 {
    let body = |part: &AppendPart| part.body.map_or(0, |buf| u64::from(buf.blocks) * u64::from(BLOCK_BYTES));
    parts.iter().map(|part| unit + body(part)).sum()
}

/// The parts of the log, in bytes, that an operation reads, and into which buffer.
fn log_reads(what: &DiskOp) -> impl Iterator<Item = (Buf, u64, u64)> {
    let (pieces, into) = match what {
        DiskOp::Read { pieces, into, .. } => (&pieces[..], *into),
        DiskOp::ReadMeta { .. }
        | DiskOp::WriteMeta { .. }
        | DiskOp::Scan { .. }
        | DiskOp::Append { .. }
        | DiskOp::WriteHome { .. }
        | DiskOp::Discard { .. }
        | DiskOp::Flush { .. }
        | DiskOp::Merge { .. }
        | DiskOp::Copy { .. } => (&[][..], None),
    };
    let log = pieces.iter().filter(|piece| piece.area == Area::Log);
    log.filter_map(move |piece| {
        Some((into?, piece.offset, piece.offset + u64::from(piece.blocks) * u64::from(BLOCK_BYTES)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(floor: u64, records: &[(u64, u64, u64)]) -> Ring {
        let mut ring = Ring::default();
        for &(lsn, offset, end) in records {
            ring.on_record(Lsn(lsn), offset, end).unwrap();
        }
        ring.floor = (1, Lsn(floor));
        while let Some((&lsn, &(offset, _))) = ring.places.first_key_value().filter(|(lsn, _)| lsn.0 < floor)
        {
            ring.forget(lsn, offset);
        }
        ring
    }

    #[test]
    fn a_record_that_the_superblock_relies_on_is_not_overwritten() {
        let records = [(4, 0, 10), (5, 10, 30), (6, 30, 40)];
        assert_eq!(ring(5, &records).on_record(Lsn(7), 0, 10), Ok(()), "4 is released");
        assert_eq!(ring(5, &records).on_record(Lsn(7), 0, 11), Err((Lsn(7), Lsn(5))));
        assert_eq!(ring(5, &records).on_record(Lsn(7), 20, 25), Err((Lsn(7), Lsn(5))), "in the middle of it");
    }

    #[test]
    fn a_tail_that_was_cut_may_be_overwritten() {
        let mut ring = ring(4, &[(4, 0, 10), (5, 10, 11), (6, 11, 40)]);
        assert_eq!(ring.on_record(Lsn(5), 10, 20), Ok(()));
        assert_eq!(ring.on_record(Lsn(6), 20, 30), Ok(()));
        assert_eq!(ring.on_record(Lsn(7), 30, 40), Ok(()), "nothing of the old 6 is left");
        assert_eq!(ring.on_record(Lsn(8), 5, 6), Err((Lsn(8), Lsn(4))));
    }
}
