//! Histories as small as they can be: who wrote each record, from the first on. What a record says follows from
//! that, with real headers, digests and chains.

use std::cell::RefCell;
use std::collections::HashMap;

use seawall_wal::names::{Crc, Epoch, Extent, LineageRow, Lsn, Origin, ReplicaId, VolumeId};
use seawall_wal::record::{Kind, RecordHeader};

/// The volume.
pub(crate) const VOLUME: VolumeId = VolumeId([7; 16]);
/// Its size in blocks.
pub(crate) const BLOCKS: u64 = 4;

/// The epoch of that number; the replica of the same number reigns in it.
pub(crate) fn epoch(number: u8) -> Epoch {
    match number {
        0 => Epoch::ZERO,
        _ => Epoch { counter: u64::from(number), replica: ReplicaId(u64::from(number)) },
    }
}

/// The frontier after so many records.
pub(crate) fn lsn(records: usize) -> Lsn {
    Lsn(records as u64)
}

thread_local! {
    static KNOWN: RefCell<HashMap<Vec<u8>, (RecordHeader, Crc)>> = RefCell::default();
}

fn known<T>(history: &[u8], tell: impl FnOnce(&(RecordHeader, Crc)) -> T) -> T {
    if let Some(found) = KNOWN.with_borrow(|known| known.get(history).cloned()) {
        return tell(&found);
    }
    let header = make(history);
    let digest = header.digest();
    KNOWN.with_borrow_mut(|known| known.insert(history.to_vec(), (header.clone(), digest)));
    tell(&(header, digest))
}

fn make(history: &[u8]) -> RecordHeader {
    let (last, before) = history.split_last().expect("a record");
    let starts = before.last() != Some(last);
    RecordHeader {
        volume: VOLUME,
        epoch: epoch(*last),
        lsn: lsn(before.len()),
        kind: if starts { Kind::EpochStart } else { Kind::WriteZeroes },
        extent: if starts { Extent::default() } else { Extent::new(before.len() as u64 % BLOCKS, 1) },
        chain: chain(before),
        origin: Origin::NONE,
        body: Vec::new(),
    }
}

/// The last record of a history.
pub(crate) fn header(history: &[u8]) -> RecordHeader {
    known(history, |(header, _)| header.clone())
}

/// The digest of the last record; that of no record is zero.
pub(crate) fn chain(history: &[u8]) -> Crc {
    if history.is_empty() { Crc(0) } else { known(history, |(_, digest)| *digest) }
}

/// The epoch of the last record.
pub(crate) fn tail_epoch(history: &[u8]) -> Epoch {
    epoch(history.last().copied().unwrap_or(0))
}

/// Which epoch wrote which part.
pub(crate) fn lineage(history: &[u8]) -> Vec<LineageRow> {
    let starts = (0..history.len()).filter(|at| *at == 0 || history[*at] != history[*at - 1]);
    starts.map(|at| LineageRow { epoch: epoch(history[at]), first: lsn(at) }).collect()
}

/// How many records two histories share from the first on.
pub(crate) fn shared<T: PartialEq>(a: &[T], b: &[T]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
