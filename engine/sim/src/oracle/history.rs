//! One history: a position that was committed holds the same record wherever it is committed.

use std::collections::BTreeMap;

use seawall_engine::io::{AppendPart, Area};
use seawall_wal::crc::ZERO_BLOCK;
use seawall_wal::names::{Crc, Epoch, Lsn, Origin};
use seawall_wal::record::{HEADER_BYTES, Kind, RecordHeader};

use crate::disk::Disk;
use crate::oracle::Failure;
use crate::oracle::ring::append_bytes;

/// Which record is at which position.
#[derive(Debug)]
pub(crate) struct History {
    written: Vec<BTreeMap<Lsn, Crc>>,
    /// Appends that each node's disk was given and has not ended: place in the log area, position, digest.
    given: Vec<Vec<(u64, Lsn, Crc)>>,
    committed: BTreeMap<Lsn, (Crc, usize)>,
    /// Every record that was ever written, by place and digest.
    records: BTreeMap<(Lsn, Crc), RecordHeader>,
    /// The one record that an epoch has at a place.
    names: BTreeMap<(Epoch, Lsn), Crc>,
    /// With which record each epoch begins.
    starts: BTreeMap<Epoch, (Lsn, Crc)>,
    /// Where each reign begins, by its epoch.
    reigns: BTreeMap<Epoch, Lsn>,
    /// Which request each committed record is of, up to `origins_to`; and the newest attachment there.
    origins: BTreeMap<Origin, Lsn>,
    origins_to: Lsn,
    attached: Lsn,
    forked: bool,
    forced: bool,
    judged: Vec<Lsn>,
    /// Positions that at least two replicas committed.
    pub(crate) witnessed: u64,
}

impl History {
    /// For that many replicas.
    pub(crate) fn new(replicas: usize) -> History {
        History {
            written: vec![BTreeMap::new(); replicas],
            given: vec![Vec::new(); replicas],
            committed: BTreeMap::new(),
            records: BTreeMap::new(),
            names: BTreeMap::new(),
            reigns: BTreeMap::new(),
            starts: BTreeMap::new(),
            origins: BTreeMap::new(),
            origins_to: Lsn::ZERO,
            attached: Lsn::ZERO,
            forked: false,
            forced: false,
            judged: vec![Lsn::ZERO; replicas],
            witnessed: 0,
        }
    }

    /// A suffix of what was committed may be gone, by contract.
    pub(crate) fn on_forked(&mut self) {
        self.forked = true;
    }

    /// A promotion was forced: a log that ends at `first` with a record of that digest is the history, whatever was
    /// committed elsewhere.
    pub(crate) fn on_forced(&mut self, node: usize, first: Lsn, chain: Crc) {
        self.forced = true;
        self.committed.clear();
        let (mut lsn, mut chain) = (first, chain);
        while let Some(header) = lsn.prev().and_then(|before| self.records.get(&(before, chain))) {
            lsn = header.lsn;
            self.committed.insert(lsn, (chain, node));
            chain = header.chain;
        }
        self.judged.fill(Lsn::ZERO);
        self.origins.clear();
        (self.origins_to, self.attached) = (Lsn::ZERO, Lsn::ZERO);
    }

    /// Whether a promotion was ever forced.
    pub(crate) fn is_forced(&self) -> bool {
        self.forced
    }

    /// A replica reigns, and its first record is at `first`: all that was committed is below. Unless it comes too late:
    /// the last promise of its majority was on its way while a newer reign began, and what is committed is of that.
    pub(crate) fn on_reigning(&mut self, node: usize, epoch: Epoch, first: Lsn) -> Result<(), Failure> {
        self.reigns.insert(epoch, first);
        let late = self.reigns.last_key_value().is_some_and(|(newest, _)| *newest > epoch);
        match self.committed.last_key_value() {
            Some((lsn, (_, by))) if *lsn >= first && !self.forked && !late => {
                let detail = format!(
                    "node {node} begins epoch {epoch} at {first}, and record {lsn} was committed by node {by}"
                );
                Err(Failure::new("one-history", detail))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// An old reign, or who follows it, commits nothing where a newer one has begun. A replica that follows nobody,
    /// in the epoch of none, has it from somebody who did.
    fn check_replaced(&self, node: usize, epoch: Epoch, lsn: Lsn) -> Result<(), Failure> {
        if epoch == Epoch::ZERO {
            return Ok(());
        }
        match self
            .reigns
            .iter()
            .rev()
            .take_while(|(newer, _)| **newer > epoch)
            .find(|(_, first)| **first <= lsn)
        {
            None => Ok(()),
            Some((newer, first)) => {
                let detail = format!(
                    "node {node} commits record {lsn} in epoch {epoch}, and epoch {newer} begins at {first}"
                );
                Err(Failure::new("one-history", detail))
            }
        }
    }

    /// A replica's disk is given records for its log from `offset` on: even if that fails, or the node crashes, they
    /// may be there.
    pub(crate) fn on_given(
        &mut self,
        node: usize,
        offset: u64,
        parts: &[AppendPart],
        unit: u64,
    ) -> Result<(), Failure> {
        let mut before: Option<Lsn> = None;
        let mut next = offset;
        for part in parts {
            let at = next;
            next += append_bytes(core::slice::from_ref(part), unit);
            let Ok((header, _)) = RecordHeader::decode(&part.header) else { continue };
            if header.kind == Kind::Padding {
                continue;
            }
            let digest = header.digest();
            self.given[node].push((at, header.lsn, digest));
            self.check_dense(node, before, &header)?;
            self.check_reign(node, &header, digest)?;
            before = Some(header.lsn);
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

    /// Invariant: log-is-dense. Each record follows the one before it in the append, and its chain a record that
    /// somebody wrote at the place before.
    fn check_dense(&self, node: usize, before: Option<Lsn>, header: &RecordHeader) -> Result<(), Failure> {
        if let Some(before) = before.filter(|before| before.next() != header.lsn) {
            let detail = format!("node {node} writes record {} behind record {before}", header.lsn);
            return Err(Failure::new("log-is-dense", detail));
        }
        let follows =
            header.lsn == Lsn::ZERO || self.records.contains_key(&(Lsn(header.lsn.0 - 1), header.chain));
        if !follows {
            let detail = format!(
                "node {node} writes record {} of epoch {} behind one that nobody ever wrote, {}",
                header.lsn, header.epoch, header.chain
            );
            return Err(Failure::new("log-is-dense", detail));
        }
        Ok(())
    }

    /// Invariant: one-primary-per-epoch. An epoch has one start record, and it is the first of its records.
    fn check_reign(&mut self, node: usize, header: &RecordHeader, digest: Crc) -> Result<(), Failure> {
        let begins = header.kind == Kind::EpochStart;
        let start = match self.starts.get(&header.epoch) {
            None if begins => *self.starts.entry(header.epoch).or_insert((header.lsn, digest)),
            None => {
                let detail = format!(
                    "node {node} writes record {} of epoch {}, which never began",
                    header.lsn, header.epoch
                );
                return Err(Failure::new("one-primary-per-epoch", detail));
            }
            Some(start) => *start,
        };
        // Invariant: eras-are-forced.
        let before = header.lsn.prev().and_then(|lsn| self.records.get(&(lsn, header.chain)));
        let before = before.map_or(Epoch::ZERO, |before| before.epoch);
        let forced = begins && !header.body.is_empty();
        if (header.epoch.era() > before.era()) != forced {
            let detail = format!(
                "node {node} writes record {} of epoch {} behind one of {before}: an era begins when it is forced, and only so",
                header.lsn, header.epoch
            );
            return Err(Failure::new("eras-are-forced", detail));
        }
        if begins && start != (header.lsn, digest) || !begins && header.lsn <= start.0 {
            let detail = format!(
                "node {node} writes {} record {} in epoch {}, which begins with record {}",
                if begins { "start" } else { "a" },
                header.lsn,
                header.epoch,
                start.0
            );
            return Err(Failure::new("one-primary-per-epoch", detail));
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
            self.given[node].retain(|(_, lsn, _)| *lsn != header.lsn);
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

    /// An empty device took the place of a node's: what its log held and what it said of it is gone.
    pub(crate) fn on_replaced(&mut self, node: usize) {
        self.written[node].clear();
        self.given[node].clear();
        self.judged[node] = Lsn::ZERO;
    }

    /// A node has crashed. What its disk was about to write may be there, and then its next life finds it.
    pub(crate) fn on_crashed(&mut self, node: usize, disk: &Disk) {
        for (offset, lsn, digest) in core::mem::take(&mut self.given[node]) {
            let bytes = disk.view(Area::Log, offset, HEADER_BYTES);
            let there = RecordHeader::decode(bytes.first_chunk().expect("a header's bytes"));
            if there.is_ok_and(|(header, _)| header.digest() == digest) {
                self.written[node].insert(lsn, digest);
            }
        }
    }

    /// A replica that reigns or is fed in `epoch` says that everything below `committed` is so; its log holds it from `start` on.
    pub(crate) fn on_committed(
        &mut self,
        node: usize,
        epoch: Epoch,
        start: Lsn,
        committed: Lsn,
    ) -> Result<(), Failure> {
        if committed <= self.judged[node] {
            return Ok(());
        }
        // What a rebuild jumped over may have been written once, in a tail that was cut.
        let from = self.judged[node].max(start);
        for (&lsn, &digest) in self.written[node].range(from.min(committed)..committed) {
            let (known, first) = *self.committed.entry(lsn).or_insert((digest, node));
            self.witnessed += u64::from(first != node);
            if first == node && !self.forked {
                self.check_replaced(node, epoch, lsn)?;
            }
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
        self.check_origins()
    }

    /// Invariants: request-lands-once, newest-attachment-writes. In what was committed a request is there once, and
    /// under the attachment that was the newest.
    fn check_origins(&mut self) -> Result<(), Failure> {
        while let Some((digest, _)) = self.committed.get(&self.origins_to).filter(|_| !self.forked) {
            let lsn = self.origins_to;
            self.origins_to = lsn.next();
            let Some(RecordHeader { kind, origin, .. }) = self.records.get(&(lsn, *digest)) else { continue };
            let writes =
                matches!(kind, Kind::Write | Kind::WriteZeroes | Kind::Trim) && *origin != Origin::NONE;
            if *kind == Kind::Attach {
                self.attached = lsn;
            }
            if writes && origin.incarnation != self.attached {
                let detail = format!(
                    "record {lsn} is request {origin}, and the newest attachment before it is {}",
                    self.attached
                );
                return Err(Failure::new("newest-attachment-writes", detail));
            }
            if writes && let Some(first) = self.origins.insert(*origin, lsn) {
                let detail = format!("request {origin} is record {first} and record {lsn}");
                return Err(Failure::new("request-lands-once", detail));
            }
        }
        Ok(())
    }

    /// One past the last position that anybody committed.
    pub(crate) fn end(&self) -> Lsn {
        self.committed.last_key_value().map_or(Lsn::ZERO, |(lsn, _)| lsn.next())
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

#[cfg(test)]
mod tests {
    use seawall_wal::names::{Extent, ReplicaId};

    use super::*;
    use crate::birth::formatted;
    use crate::profile::Profile;
    use crate::world::VOLUME;

    fn epoch(counter: u64) -> Epoch {
        Epoch { counter, replica: ReplicaId(0xA0) }
    }

    fn record(epoch: Epoch, lsn: u64, kind: Kind, chain: Crc) -> RecordHeader {
        let extent = Extent::new(0, u32::from(kind == Kind::WriteZeroes));
        let origin = Origin::NONE;
        RecordHeader { volume: VOLUME, epoch, lsn: Lsn(lsn), kind, extent, chain, origin, body: Vec::new() }
    }

    fn parts(records: &[RecordHeader]) -> Vec<AppendPart> {
        let part = |record: &RecordHeader| AppendPart { header: record.encode(Lsn::ZERO, 0), body: None };
        records.iter().map(part).collect()
    }

    /// A history in which the first reign wrote two records.
    fn history() -> (History, Vec<RecordHeader>) {
        let start = record(epoch(1), 0, Kind::EpochStart, Crc(0));
        let write = record(epoch(1), 1, Kind::WriteZeroes, start.digest());
        let mut history = History::new(2);
        history.on_given(0, 0, &parts(&[start.clone(), write.clone()]), 512).unwrap();
        (history, vec![start, write])
    }

    fn check(next: impl Fn(&[RecordHeader]) -> Vec<RecordHeader>, expected: Option<&'static str>) {
        let (mut history, before) = history();
        let found = history.on_given(1, 0, &parts(&next(&before)), 512).err();
        assert_eq!(found.as_ref().map(|failure| failure.check), expected, "{found:?}");
    }

    #[test]
    fn a_record_behind_a_hole_or_behind_another_is_found() {
        let write = |lsn, chain| record(epoch(1), lsn, Kind::WriteZeroes, chain);
        check(|before| vec![write(2, before[1].digest())], None);
        check(|before| vec![write(2, before[0].digest())], Some("log-is-dense"));
        check(|before| vec![write(3, before[1].digest())], Some("log-is-dense"));
        check(|before| vec![before[0].clone(), write(2, before[1].digest())], Some("log-is-dense"));
    }

    #[test]
    fn an_epoch_begins_once_and_with_its_start() {
        let start = |counter, chain| record(epoch(counter), 2, Kind::EpochStart, chain);
        check(|before| vec![start(2, before[1].digest())], None);
        check(|before| vec![start(1, before[1].digest())], Some("one-primary-per-epoch"));
        let early = |before: &[RecordHeader]| record(epoch(2), 2, Kind::WriteZeroes, before[1].digest());
        check(|before| vec![early(before)], Some("one-primary-per-epoch"));
    }

    #[test]
    fn a_reign_that_begins_without_what_was_committed_is_found_unless_a_newer_one_began_before_it() {
        let begins = |before: Option<u64>| {
            let (mut history, records) = history();
            history.on_append(0, &parts(&records)).unwrap();
            if let Some(counter) = before {
                history.on_reigning(0, epoch(counter), Lsn(0)).unwrap();
            }
            history.on_committed(0, Epoch::ZERO, Lsn(0), Lsn(2)).unwrap();
            history.on_reigning(1, epoch(5), Lsn(1)).err().map(|failure| failure.check)
        };
        assert_eq!(begins(None), Some("one-history"));
        assert_eq!(begins(Some(4)), Some("one-history"));
        assert_eq!(begins(Some(6)), None, "what is committed may be the newer one's");
    }

    #[test]
    fn one_name_for_two_records_is_found() {
        let elsewhere = |record: &RecordHeader| RecordHeader { extent: Extent::new(9, 1), ..record.clone() };
        check(|before| vec![before[1].clone()], None);
        check(|before| vec![elsewhere(&before[1])], Some("one-history"));
    }

    #[test]
    fn what_a_crash_leaves_of_an_append_is_what_the_next_life_finds() {
        let (mut history, before) = history();
        let mut disk = formatted(&Profile::draw(0), 0);
        disk.format(Area::Log, 0, &before[0].encode(Lsn::ZERO, 0)[..]);
        history.on_crashed(0, &disk);
        let found: Vec<(Lsn, Crc)> = history.written[0].clone().into_iter().collect();
        assert_eq!(found, [(Lsn(0), before[0].digest())]);
    }
}
