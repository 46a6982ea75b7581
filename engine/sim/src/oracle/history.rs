//! One history: a position that was committed holds the same record wherever it is committed.

use std::collections::BTreeMap;

use seawall_engine::io::AppendPart;
use seawall_wal::names::{Crc, Lsn};
use seawall_wal::record::{Kind, RecordHeader};

use crate::oracle::Failure;

/// Which record is at which position.
#[derive(Debug)]
pub(crate) struct History {
    written: Vec<BTreeMap<Lsn, Crc>>,
    committed: BTreeMap<Lsn, (Crc, usize)>,
    judged: Vec<Lsn>,
    /// Positions that at least two replicas committed.
    pub(crate) witnessed: u64,
}

impl History {
    /// For that many replicas.
    pub(crate) fn new(replicas: usize) -> History {
        History {
            written: vec![BTreeMap::new(); replicas],
            committed: BTreeMap::new(),
            judged: vec![Lsn::ZERO; replicas],
            witnessed: 0,
        }
    }

    /// A replica's disk was given records.
    pub(crate) fn on_append(&mut self, node: usize, parts: &[AppendPart]) -> Result<(), Failure> {
        for part in parts {
            let (header, _) = RecordHeader::decode(&part.header).map_err(|why| {
                Failure::new("log-is-dense", format!("node {node} writes what is no record: {why}"))
            })?;
            if header.kind == Kind::Padding {
                continue;
            }
            let digest = header.digest();
            self.written[node].insert(header.lsn, digest);
            if let Some((committed, first)) = self.committed.get(&header.lsn)
                && *committed != digest
                && header.lsn < self.judged[node]
            {
                let detail = format!(
                    "node {node} overwrites committed record {} ({committed}, first committed by node {first}) with {digest}",
                    header.lsn
                );
                return Err(Failure::new("one-history", detail));
            }
        }
        Ok(())
    }

    /// A replica says that everything below `committed` is so; its log holds it from `start` on.
    pub(crate) fn on_committed(&mut self, node: usize, start: Lsn, committed: Lsn) -> Result<(), Failure> {
        if committed <= self.judged[node] {
            return Ok(());
        }
        // What a rebuild jumped over may have been written once, in a tail that was cut.
        let from = self.judged[node].max(start);
        for (&lsn, &digest) in self.written[node].range(from.min(committed)..committed) {
            let (known, first) = *self.committed.entry(lsn).or_insert((digest, node));
            self.witnessed += u64::from(first != node);
            if known != digest {
                let detail = format!(
                    "record {lsn} is {known} as node {first} committed it, and {digest} as node {node} does"
                );
                return Err(Failure::new("one-history", detail));
            }
        }
        self.judged[node] = committed;
        Ok(())
    }

    /// The committed record at a position.
    pub(crate) fn committed(&self, lsn: Lsn) -> Option<Crc> {
        self.committed.get(&lsn).map(|(digest, _)| *digest)
    }
}
