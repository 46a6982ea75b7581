//! durable-before-done and only-committed-goes-home, judged by what the disks hold: a write that completes is on
//! as many disks as its commit rule says, and what goes home is on stable storage on as many.

use std::collections::BTreeMap;

use seawall_engine::commit::copies_needed;
use seawall_engine::io::{AppendPart, Area, DiskOp, OpId};
use seawall_engine::setup::{Ack, CommitRule};
use seawall_wal::names::{Extent, Lsn};
use seawall_wal::record::RecordHeader;

use crate::checksum::crc32c;
use crate::device::SECTOR;
use crate::disk::{Crash, Disk};
use crate::oracle::Failure;
use crate::oracle::register::Turn;
use crate::pool::{BLOCK, Pool};
use crate::profile::Profile;
use crate::stamp::Stamp;

/// Who holds a write: one bit per node.
#[derive(Clone, Copy, Default, Debug)]
struct Held {
    durable: u8,
    written: u8,
    /// Its newest record.
    at: Lsn,
}

/// A record on a disk that a power loss may still take back.
#[derive(Clone, Debug)]
struct Unflushed {
    stamps: Vec<Stamp>,
    offset: u64,
    header: Box<[u8; 512]>,
    /// The device said so. A write that failed may be there all the same, or become so with what stood there before.
    sure: bool,
}

/// Who holds what.
#[derive(Debug)]
pub(crate) struct Copies {
    rule: CommitRule,
    /// Who decides for the primary that completes a write, as bits; one list for each configuration that has a say.
    pub(crate) rolls: Vec<u8>,
    /// Every such list that there ever was.
    pub(crate) all_rolls: Vec<u8>,
    /// Under commit rule `all`: for whom that write had to wait, as bits; each of these would have done.
    pub(crate) sets: Vec<u8>,
    /// Every in-sync set that there ever was.
    pub(crate) all_sets: Vec<u8>,
    ack: Ack,
    held: Vec<Held>,
    unflushed: Vec<Vec<Unflushed>>,
    /// For each flush of a log in flight: how many records it covers.
    flushes: BTreeMap<(usize, OpId), usize>,
    /// Writes that completed before they were durable on a quorum, when, and which primary said so itself.
    owed: Vec<(Stamp, Turn, usize)>,
}

impl Copies {
    /// Nobody holds anything.
    pub(crate) fn new(profile: &Profile) -> Copies {
        let roll = (0..profile.replicas).fold(0, |bits, node| bits | 1 << node);
        Copies {
            rule: profile.commit,
            rolls: vec![roll],
            all_rolls: vec![roll],
            sets: vec![roll],
            all_sets: vec![roll],
            ack: profile.ack,
            held: Vec::new(),
            unflushed: vec![Vec::new(); profile.nodes()],
            flushes: BTreeMap::new(),
            owed: Vec::new(),
        }
    }

    /// A disk is given an operation.
    pub(crate) fn on_given(&mut self, node: usize, op: OpId, what: &DiskOp) {
        if let DiskOp::Flush { area: Area::Log } = what {
            self.flushes.insert((node, op), self.unflushed[node].len());
        }
    }

    /// A disk operation ended, well or not.
    pub(crate) fn on_ended(
        &mut self,
        node: usize,
        op: OpId,
        what: &DiskOp,
        good: bool,
        disk: &Disk,
        pool: &Pool,
    ) -> Result<(), Failure> {
        match what {
            DiskOp::Append { offset, parts, durable } => {
                for record in records(*offset, parts, disk, pool) {
                    self.note_place(&record);
                    if good && *durable {
                        self.mark(node, &record.stamps, |held| &mut held.durable);
                    } else {
                        if good || is_intact(&record, disk) {
                            self.mark(node, &record.stamps, |held| &mut held.written);
                        }
                        self.unflushed[node].push(Unflushed { sure: good, ..record });
                    }
                }
            }
            DiskOp::Flush { area: Area::Log } => {
                let covered = self.flushes.remove(&(node, op)).unwrap_or(0);
                if good {
                    let covered = covered.min(self.unflushed[node].len());
                    let flushed: Vec<Unflushed> = self.unflushed[node].drain(..covered).collect();
                    for waiting in self.flushes.iter_mut().filter(|((at, _), _)| *at == node) {
                        *waiting.1 = waiting.1.saturating_sub(covered);
                    }
                    for record in flushed.into_iter().filter(|record| record.sure || is_intact(record, disk))
                    {
                        self.mark(node, &record.stamps, |held| &mut held.durable);
                    }
                }
            }
            DiskOp::WriteHome { extent, from } => return self.check_home(node, *extent, pool.bytes(*from)),
            DiskOp::Flush { .. }
            | DiskOp::ReadMeta { .. }
            | DiskOp::WriteMeta { .. }
            | DiskOp::Scan { .. } => {}
            DiskOp::Read { .. } | DiskOp::Discard { .. } | DiskOp::Merge { .. } | DiskOp::Copy { .. } => {}
        }
        Ok(())
    }

    /// A node is about to crash: what may be on its disk afterwards.
    pub(crate) fn on_crashing(&mut self, node: usize, disk: &Disk, pool: &Pool) {
        for what in disk.in_flight() {
            if let DiskOp::Append { offset, parts, .. } = what {
                let records: Vec<Unflushed> = records(*offset, parts, disk, pool).collect();
                self.unflushed[node].extend(records);
            }
        }
        self.flushes.retain(|(at, _), _| *at != node);
    }

    /// A node has crashed: what is on its disk now.
    pub(crate) fn on_crashed(&mut self, node: usize, crash: Crash, disk: &Disk) {
        for record in core::mem::take(&mut self.unflushed[node]) {
            let intact = is_intact(&record, disk);
            match crash {
                Crash::Kill if intact => {
                    self.mark(node, &record.stamps, |held| &mut held.written);
                    self.unflushed[node].push(record);
                }
                Crash::Power(_) if intact => self.mark(node, &record.stamps, |held| &mut held.durable),
                // What was written once was truly acknowledged, whatever a power loss did to it since.
                Crash::Kill | Crash::Power(_) => {}
            }
        }
        if crash != Crash::Kill {
            self.forget_owed(node);
        }
    }

    /// Where one copy is enough, what is lost with that copy may be gone by contract: who owed it owes it no more.
    fn forget_owed(&mut self, node: usize) {
        if self.is_alone() {
            let held = &self.held;
            self.owed.retain(|(stamp, _, at)| *at != node || held[index(*stamp)].durable != 0);
        }
    }

    /// A node's disk was wiped. What it held once was truly acknowledged.
    pub(crate) fn on_wiped(&mut self, node: usize) {
        self.unflushed[node].clear();
        self.forget_owed(node);
    }

    /// A write with a body completed.
    pub(crate) fn check_done(
        &mut self,
        node: usize,
        stamp: Stamp,
        fua: bool,
        now: Turn,
    ) -> Result<(), Failure> {
        let held = *self.of(stamp);
        let durably = fua || self.ack == Ack::Durable;
        let copies = if durably { held.durable } else { held.durable | held.written };
        if !self.decides(copies) {
            let how = if durably { "on stable storage" } else { "written" };
            let detail = format!(
                "write {} completed with {} copies {how} (durable on {:05b}, written on {:05b}), voters are {:?}, in-sync sets {:?}",
                stamp.0,
                copies.count_ones(),
                held.durable,
                held.written,
                self.rolls,
                self.sets
            );
            return Err(Failure::new("durable-before-done", detail));
        }
        if !self.decides(held.durable) {
            self.owed.push((stamp, now, node));
        }
        Ok(())
    }

    /// A flush that began then completed at a node. Under commit rule `one` it speaks for what that node completed:
    /// what another one did may be gone with it, by contract.
    pub(crate) fn check_flushed(&mut self, node: usize, began: Turn) -> Result<(), Failure> {
        let durable: Vec<bool> =
            self.owed.iter().map(|(stamp, ..)| self.was_enough(self.held[index(*stamp)].durable)).collect();
        let mut durable = durable.into_iter();
        self.owed.retain(|_| !durable.next().unwrap_or_default());
        let alone = self.is_alone();
        match self.owed.iter().find(|(_, done, at)| *done < began && (*at == node || !alone)) {
            None => Ok(()),
            Some((stamp, ..)) => {
                let detail = format!(
                    "a flush completed, and write {} from before it is not durable on a quorum",
                    stamp.0
                );
                Err(Failure::new("durable-before-done", detail))
            }
        }
    }

    fn check_home(&mut self, node: usize, extent: Extent, bytes: &[u8]) -> Result<(), Failure> {
        for (index, sector) in bytes.chunks_exact(SECTOR).enumerate() {
            let stamp = stamp_of(sector);
            let durable = self.of(stamp).durable;
            if stamp != Stamp::ZERO && !self.was_enough(durable) {
                let detail = format!(
                    "node {node} moves write {} home to block {}, and it is durable on {:05b} only",
                    stamp.0,
                    extent.start + (index / 8) as u64,
                    self.of(stamp).durable
                );
                return Err(Failure::new("only-committed-goes-home", detail));
            }
        }
        Ok(())
    }

    /// Whether these copies are a quorum of those voters.
    fn is_quorum(&self, roll: u8, copies: u8) -> bool {
        let voters = if self.is_alone() { copies } else { copies & roll };
        voters.count_ones() as usize >= self.needed(roll)
    }

    fn needed(&self, roll: u8) -> usize {
        // Of `all` the set says the rest.
        let rule = if self.rule == CommitRule::One { CommitRule::One } else { CommitRule::Majority };
        copies_needed(rule, roll.count_ones() as usize)
    }

    /// Invariant: dropped-by-record. Whether they are all of one of these in-sync sets, where that is asked for.
    fn holds_a_set(&self, sets: &[u8], copies: u8) -> bool {
        self.rule != CommitRule::All || sets.iter().any(|set| copies & set == *set)
    }

    /// Whether they are one of all who decide.
    fn decides(&self, copies: u8) -> bool {
        match self.rolls[..] {
            [] => self.was_enough(copies),
            _ => {
                let quorum = self.rolls.iter().all(|roll| self.is_quorum(*roll, copies));
                quorum && self.holds_a_set(&self.sets, copies)
            }
        }
    }

    /// Where a write's newest record is.
    pub(crate) fn place(&mut self, stamp: Stamp) -> Lsn {
        self.of(stamp).at
    }

    /// Whether they were one of some configuration.
    fn was_enough(&self, copies: u8) -> bool {
        let quorum = self.all_rolls.iter().any(|roll| self.is_quorum(*roll, copies));
        quorum && self.holds_a_set(&self.all_sets, copies)
    }

    /// One copy is enough.
    fn is_alone(&self) -> bool {
        self.all_rolls.iter().all(|roll| self.needed(*roll) == 1)
    }

    fn note_place(&mut self, record: &Unflushed) {
        if let Ok((header, _)) = RecordHeader::decode(&record.header) {
            record.stamps.iter().for_each(|stamp| self.of(*stamp).at = header.lsn);
        }
    }

    fn mark(&mut self, node: usize, stamps: &[Stamp], which: fn(&mut Held) -> &mut u8) {
        for stamp in stamps {
            *which(self.of(*stamp)) |= 1 << node;
        }
    }

    fn of(&mut self, stamp: Stamp) -> &mut Held {
        let index = index(stamp);
        if index >= self.held.len() {
            self.held.resize(index + 1024, Held::default());
        }
        &mut self.held[index]
    }
}

fn index(stamp: Stamp) -> usize {
    usize::try_from(stamp.0).expect("stamps count writes")
}

fn stamp_of(sector: &[u8]) -> Stamp {
    Stamp(u64::from_le_bytes(sector[..8].try_into().expect("eight bytes")))
}

/// The records of an append that have a body, by what their first block says.
fn records(offset: u64, parts: &[AppendPart], disk: &Disk, pool: &Pool) -> impl Iterator<Item = Unflushed> {
    let unit = u64::from(disk.geometry().unit_bytes);
    let mut at = offset;
    parts.iter().filter_map(move |part| {
        let offset = at;
        at += unit;
        let body = pool.bytes(part.body?);
        at += body.len() as u64;
        let mut stamps: Vec<Stamp> = body[..BLOCK].chunks_exact(SECTOR).map(stamp_of).collect();
        stamps.dedup();
        stamps.retain(|stamp| *stamp != Stamp::ZERO);
        Some(Unflushed { stamps, offset, header: part.header.clone(), sure: true })
    })
}

/// Bytes of a record's header that are the same on every disk.
const REPLICATED_BYTES: usize = 0x1f0;

/// Whether the whole record is on the disk.
fn is_intact(record: &Unflushed, disk: &Disk) -> bool {
    let (header, _) = RecordHeader::decode(&record.header).expect("it was judged when it was written");
    let unit = u64::from(disk.geometry().unit_bytes);
    // What each disk adds to a header may be of an earlier try, of which the rest was left.
    if disk.view(Area::Log, record.offset, SECTOR)[..REPLICATED_BYTES] != record.header[..REPLICATED_BYTES] {
        return false;
    }
    let body = disk.view(Area::Log, record.offset + unit, header.sums().len() * BLOCK);
    body.chunks_exact(BLOCK).zip(header.sums()).all(|(block, crc)| crc32c(block) == *crc)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::birth::formatted;
    use crate::device::Loss;

    /// What a flush at `at` is found to be, when node 0 completed a write, crashed, and its disk no longer has it.
    fn check(commit: CommitRule, crash: Crash, at: usize, expected: Option<&'static str>) {
        let profile = Profile { replicas: 3, commit, ack: Ack::Written, ..Profile::draw(0) };
        let mut copies = Copies::new(&profile);
        let stamp = Stamp(1);
        copies.mark(0, &[stamp], |held| &mut held.written);
        copies.mark(1, &[stamp], |held| &mut held.written);
        copies.check_done(0, stamp, false, 1).unwrap();
        copies.on_crashed(0, crash, &formatted(&profile, 0));
        let found = copies.check_flushed(at, 2).err();
        assert_eq!(found.map(|failure| failure.check), expected, "{commit:?} {crash:?} node {at}");
    }

    #[test]
    fn where_one_copy_is_enough_a_power_loss_may_take_what_was_not_flushed() {
        let power = Crash::Power(Loss::Everything);
        check(CommitRule::One, power, 0, None);
        check(CommitRule::One, Crash::Kill, 0, Some("durable-before-done"));
        check(CommitRule::One, Crash::Kill, 1, None);
        check(CommitRule::Majority, power, 0, Some("durable-before-done"));
        check(CommitRule::Majority, power, 1, Some("durable-before-done"));
    }
}
