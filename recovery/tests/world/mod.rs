//! Logs and facts for the tests, written down as who wrote how many records.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use seawall_recovery::facts::{Facts, Ours};
use seawall_recovery::plan::{Decision, Trust, decide};
use seawall_wal::names::{Crc, Epoch, LineageRow, Lsn, LsnRange, ReplicaId, VolumeId};
use seawall_wal::superblock::BaseState;

pub(crate) const VOLUME: VolumeId = VolumeId([7; 16]);
pub(crate) const PEER: ReplicaId = ReplicaId(2);
pub(crate) const BLOCKS: u64 = 1000;

pub(crate) fn epoch(counter: u64) -> Epoch {
    Epoch { counter, replica: ReplicaId(1) }
}

/// A log: the epoch of every record ever, and what of it is still there.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    pub(crate) records: Vec<Epoch>,
    pub(crate) start: u64,
}

impl Log {
    /// `(counter, records)` per reign.
    pub(crate) fn new(start: u64, reigns: &[(u64, u64)]) -> Log {
        let records = reigns.iter().flat_map(|&(counter, n)| (0..n).map(move |_| epoch(counter))).collect();
        Log { records, start }
    }

    pub(crate) fn end(&self) -> Lsn {
        Lsn(self.records.len() as u64)
    }

    pub(crate) fn range(&self) -> LsnRange {
        LsnRange::new(Lsn(self.start), self.end())
    }

    pub(crate) fn lineage(&self) -> Vec<LineageRow> {
        let mut rows: Vec<LineageRow> = Vec::new();
        for (lsn, &epoch) in (0..).zip(&self.records) {
            if rows.last().is_none_or(|row| row.epoch != epoch) {
                rows.push(LineageRow { epoch, first: Lsn(lsn) });
            }
        }
        rows
    }

    pub(crate) fn tail_epoch(&self) -> Epoch {
        self.records.last().copied().unwrap_or(Epoch::ZERO)
    }

    /// Digest of the record below `at`, a fold over all records below.
    pub(crate) fn chain(&self, at: Lsn) -> Crc {
        let fold = |chain: u32, epoch: &Epoch| {
            let part = epoch.counter * 31 + epoch.replica.0;
            chain.wrapping_mul(0x0100_0193) ^ u32::try_from(part).expect("small")
        };
        let below = usize::try_from(at.0).expect("small");
        Crc(self.records[..below].iter().fold(0x811c_9dc5, fold))
    }
}

/// The primary, in the reign of its last record.
#[derive(Clone, Debug)]
pub(crate) struct Primary {
    pub(crate) log: Log,
    pub(crate) settled: u64,
}

/// What a replica says.
pub(crate) fn facts(log: &Log, checkpoint: u64) -> Facts {
    Facts {
        volume: VOLUME,
        replica: PEER,
        promised: log.tail_epoch(),
        lineage: log.lineage(),
        log: log.range(),
        tail_epoch: log.tail_epoch(),
        tail_chain: log.chain(log.end()),
        checkpoint: Lsn(checkpoint),
        base: BaseState::Complete,
        lossy: false,
        boots: 1,
        promises_lost: false,
    }
}

impl Primary {
    pub(crate) fn with<T>(&self, use_it: impl FnOnce(&Ours<'_>) -> T) -> T {
        let lineage = self.log.lineage();
        let range = self.log.range();
        let chain_at = |at: Lsn| (range.start <= at && at <= range.end).then(|| self.log.chain(at));
        use_it(&Ours {
            volume: VOLUME,
            peer: PEER,
            epoch: self.log.tail_epoch(),
            lineage: &lineage,
            log: range,
            tail_epoch: self.log.tail_epoch(),
            settled: Lsn(self.settled),
            volume_blocks: BLOCKS,
            chain_at: &chain_at,
        })
    }

    pub(crate) fn decide(&self, theirs: &Facts) -> Decision {
        self.decide_trusting(theirs, Trust::Full)
    }

    pub(crate) fn decide_trusting(&self, theirs: &Facts, trust: Trust) -> Decision {
        self.with(|ours| decide(ours, theirs, trust))
    }
}
