//! What is known in memory of each record that the log holds.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::names::{Crc, Epoch, Extent, Lsn, Origin};
use crate::record::{Kind, RecordHeader};

/// One record: 48 bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    start: u64,
    /// Of a configuration and of an epoch's start, how many words it has: it names no block.
    blocks: u32,
    /// Offset of its header in the log area, in units.
    pub(crate) offset_units: u32,
    pub(crate) digest: Crc,
    /// Counts body checksums pushed before it, wrapping.
    body_at: u32,
    pub(crate) kind: Kind,
    pub(crate) origin: Origin,
}

const _: () = assert!(size_of::<Row>() <= 48);

impl Row {
    pub(crate) fn extent(&self) -> Extent {
        match self.kind {
            Kind::Configuration | Kind::Maintenance | Kind::EpochStart => Extent::default(),
            Kind::Write | Kind::WriteZeroes | Kind::Trim | Kind::Padding | Kind::Attach => {
                Extent::new(self.start, self.blocks)
            }
        }
    }

    pub(crate) fn body_blocks(&self) -> u32 {
        if self.kind.carries_blocks() { self.blocks } else { 0 }
    }

    /// How many checksums or words its header holds.
    fn words(&self) -> u32 {
        match self.kind {
            Kind::Write | Kind::Configuration | Kind::Maintenance | Kind::EpochStart => self.blocks,
            Kind::WriteZeroes | Kind::Trim | Kind::Padding | Kind::Attach => 0,
        }
    }
}

/// Records from a first one on, without a hole.
#[derive(Clone, Debug)]
pub(crate) struct Index {
    start: Lsn,
    rows: VecDeque<Row>,
    /// Which epoch wrote from which record on. What it says of records that are not held does not count.
    epochs: VecDeque<(Lsn, Epoch)>,
    /// Body checksums, those of records no longer held in front until they are half of it.
    bodies: Vec<Crc>,
    /// Counts body checksums that are no longer in `bodies`, wrapping.
    bodies_from: u32,
    /// Counts body checksums ever pushed, wrapping.
    bodies_to: u32,
}

impl Index {
    pub(crate) fn new(start: Lsn) -> Index {
        Index {
            start,
            rows: VecDeque::new(),
            epochs: VecDeque::new(),
            bodies: Vec::new(),
            bodies_from: 0,
            bodies_to: 0,
        }
    }

    pub(crate) fn start(&self) -> Lsn {
        self.start
    }

    pub(crate) fn end(&self) -> Lsn {
        Lsn(self.start.0 + self.rows.len() as u64)
    }

    pub(crate) fn row(&self, lsn: Lsn) -> Option<&Row> {
        let at = lsn.0.checked_sub(self.start.0)?;
        self.rows.get(usize::try_from(at).ok()?)
    }

    pub(crate) fn bodies(&self, row: &Row) -> &[Crc] {
        let start = self.bodies_before(row);
        &self.bodies[start..start + row.words() as usize]
    }

    /// The epoch of a record that is held.
    pub(crate) fn epoch(&self, lsn: Lsn) -> Epoch {
        let after = self.epochs.partition_point(|(first, _)| *first <= lsn);
        self.epochs[after - 1].1
    }

    pub(crate) fn push(&mut self, header: &RecordHeader, offset_units: u32, digest: Crc) {
        let words = u32::try_from(header.body.len()).expect("a header within its limit");
        let blocks = if header.kind.has_words() { words } else { header.extent.blocks };
        self.rows.push_back(Row {
            start: header.extent.start,
            blocks,
            offset_units,
            digest,
            body_at: self.bodies_to,
            kind: header.kind,
            origin: header.origin,
        });
        self.bodies.extend_from_slice(&header.body);
        self.bodies_to = self.bodies_to.wrapping_add(words);
        if self.epochs.back().is_none_or(|(_, epoch)| *epoch != header.epoch) {
            self.epochs.push_back((header.lsn, header.epoch));
        }
    }

    /// Forget the records from `to` on.
    pub(crate) fn forget_from(&mut self, to: Lsn) {
        if let Some(row) = self.row(to).copied() {
            let kept = self.bodies_before(&row);
            self.bodies.truncate(kept);
            self.bodies_to = row.body_at;
        }
        self.rows.truncate(count(to.since(self.start)));
        while self.epochs.back().is_some_and(|(first, _)| *first >= to) {
            self.epochs.pop_back();
        }
    }

    /// Forget the records below `to`, which is not above the end.
    pub(crate) fn forget_below(&mut self, to: Lsn) {
        let next = self.row(to).map_or(self.bodies_to, |row| row.body_at);
        let dead = next.wrapping_sub(self.bodies_from) as usize;
        // Moving the rest to the front costs no more than what was pushed since the last time.
        if dead * 2 >= self.bodies.len() {
            self.bodies.drain(..dead);
            self.bodies_from = next;
        }
        self.rows.drain(..count(to.since(self.start)));
        while self.epochs.get(1).is_some_and(|(first, _)| *first <= to) {
            self.epochs.pop_front();
        }
        self.start = to;
    }

    /// Memory that it takes, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.rows.capacity() * size_of::<Row>()
            + self.bodies.capacity() * size_of::<Crc>()
            + self.epochs.capacity() * size_of::<(Lsn, Epoch)>()
    }

    fn bodies_before(&self, row: &Row) -> usize {
        row.body_at.wrapping_sub(self.bodies_from) as usize
    }
}

fn count(records: u64) -> usize {
    usize::try_from(records).expect("records of the index are in memory")
}
