//! One history: a position that was committed holds the same record wherever it is committed.

use std::collections::BTreeMap;

use seawall_engine::io::AppendPart;
use seawall_wal::crc::ZERO_BLOCK;
use seawall_wal::names::{Crc, Epoch, Lsn};
use seawall_wal::record::{Kind, RecordHeader};

use crate::oracle::Failure;

/// Which record is at which position.
#[derive(Debug)]
pub(crate) struct History {
    written: Vec<BTreeMap<Lsn, Crc>>,
    committed: BTreeMap<Lsn, (Crc, usize)>,
    /// Every record that was ever written, by place and digest.
    records: BTreeMap<(Lsn, Crc), RecordHeader>,
    /// The one record that an epoch has at a place.
    names: BTreeMap<(Epoch, Lsn), Crc>,
    forked: bool,
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
            records: BTreeMap::new(),
            names: BTreeMap::new(),
            forked: false,
            judged: vec![Lsn::ZERO; replicas],
            witnessed: 0,
        }
    }

    /// A suffix of what was committed may be gone, by contract.
    pub(crate) fn on_forked(&mut self) {
        self.forked = true;
    }

    /// A replica's disk is given records: even if that fails, or the node crashes, they may be there.
    pub(crate) fn on_given(&mut self, node: usize, parts: &[AppendPart]) -> Result<(), Failure> {
        for (header, _) in parts.iter().filter_map(|part| RecordHeader::decode(&part.header).ok()) {
            if header.kind == Kind::Padding {
                continue;
            }
            let digest = header.digest();
            let first = *self.names.entry((header.epoch, header.lsn)).or_insert(digest);
            if first != digest {
                let detail = format!(
                    "node {node} writes {digest} as record {} of epoch {}, which is {first}",
                    header.lsn, header.epoch
                );
                return Err(Failure::new("one-history", detail));
            }
            self.records.entry((header.lsn, digest)).or_insert(header);
        }
        Ok(())
    }

    /// A replica's disk has taken records.
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
                && !self.forked
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
            if self.forked {
                self.committed.insert(lsn, (digest, node));
            } else if known != digest {
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

    /// The checksum of every block after all records up to the one before `end`, whose digest is `chain`: the chain
    /// is followed back to the first record of the volume, so that nothing but a suffix can be missing.
    pub(crate) fn replay(&self, end: Lsn, chain: Crc, blocks: u64) -> Result<Vec<Crc>, Failure> {
        let mut volume: Vec<Option<Crc>> = vec![None; usize::try_from(blocks).expect("a small volume")];
        let (mut lsn, mut chain) = (end, chain);
        while lsn > Lsn::ZERO {
            lsn = Lsn(lsn.0 - 1);
            let Some(header) = self.records.get(&(lsn, chain)) else {
                return Err(Failure::new(
                    "log-is-dense",
                    format!("nobody ever wrote record {lsn} as {chain}"),
                ));
            };
            for (index, block) in (header.extent.start..header.extent.end()).enumerate() {
                let crc = header.body.get(index).copied().unwrap_or(ZERO_BLOCK);
                volume[usize::try_from(block).expect("a small volume")].get_or_insert(crc);
            }
            chain = header.chain;
        }
        Ok(volume.into_iter().map(|crc| crc.unwrap_or(ZERO_BLOCK)).collect())
    }

    /// Whether what was committed once may have been lost.
    pub(crate) fn is_forked(&self) -> bool {
        self.forked
    }
}
