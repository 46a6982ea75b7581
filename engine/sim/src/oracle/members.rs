//! both-majorities, judged by the records that the disks were given: a configuration is committed when majorities of it
//! and of the one before hold its record, and until then both decide what else is.

use std::collections::BTreeMap;

use seawall_engine::commit::majority;
use seawall_engine::io::{AppendPart, Area};
use seawall_engine::setup::CommitRule;
use seawall_wal::configuration::{Configuration, Member, Suffrage};
use seawall_wal::names::{Crc, Era, Lsn};
use seawall_wal::record::{HEADER_BYTES, Kind, RecordHeader};
use seawall_wal::superblock::Superblock;

use crate::birth::replica;
use crate::disk::Disk;
use crate::oracle::Failure;
use crate::oracle::history::History;
use crate::oracle::ring::append_bytes;
use crate::profile::Profile;

/// A record of a configuration, wherever it is.
#[derive(Clone, Debug)]
struct Change {
    /// Of one that was forced, none: it decides alone.
    before: Option<Configuration>,
    next: Configuration,
    /// Whose disks have it: one bit per node.
    held: u8,
    judged: bool,
}

impl Change {
    fn is_held(&self) -> bool {
        self.before.iter().chain([&self.next]).all(|configuration| {
            let roll = bits(configuration);
            (roll & self.held).count_ones() >= most(roll)
        })
    }
}

/// What each node's disk says of the members.
#[derive(Debug)]
pub(crate) struct Members {
    rule: CommitRule,
    /// What its superblocks said, and of which era that was.
    known: Vec<Configuration>,
    known_eras: Vec<Era>,
    /// The configurations of its log.
    logs: Vec<Vec<(Lsn, Crc)>>,
    /// Records of configurations that its disk was given and has not ended: place in the log area, and header.
    given: Vec<Vec<(u64, RecordHeader)>>,
    changes: BTreeMap<(Lsn, Crc), Change>,
    born: Configuration,
    /// Every list of voters that there was before a promotion was forced.
    past: Vec<u8>,
    /// Every in-sync set.
    past_sets: Vec<u8>,
    /// The newest that was committed.
    newest: Configuration,
}

impl Members {
    /// At birth.
    pub(crate) fn new(profile: &Profile) -> Members {
        let member = |node| Member {
            replica: replica(node),
            name: String::new(),
            address: String::new(),
            suffrage: Suffrage::Voter,
        };
        let born = Configuration::newborn((0..profile.replicas).map(member).collect());
        Members {
            rule: profile.commit,
            known: vec![born.clone(); profile.nodes()],
            known_eras: vec![Era::FIRST; profile.nodes()],
            logs: vec![Vec::new(); profile.nodes()],
            given: vec![Vec::new(); profile.nodes()],
            changes: BTreeMap::new(),
            newest: born.clone(),
            past: vec![bits(&born)],
            past_sets: vec![awaited(&born)],
            born,
        }
    }

    /// Whether a change was ever committed.
    pub(crate) fn changed(&self) -> bool {
        self.newest.number > 0
    }

    /// Nodes of the newest configuration that was committed.
    pub(crate) fn nodes(&self) -> Vec<usize> {
        (0..self.known.len()).filter(|node| self.newest.member(replica(*node)).is_some()).collect()
    }

    /// Those of them that vote.
    pub(crate) fn voters(&self) -> Vec<usize> {
        (0..self.known.len()).filter(|node| self.newest.votes(replica(*node))).collect()
    }

    /// A superblock is on a disk.
    pub(crate) fn on_superblock(&mut self, node: usize, superblock: &Superblock) {
        let configuration = &superblock.configuration;
        let era = superblock.lineage.last().map_or(Era::FIRST, |row| row.epoch.era());
        let known = (self.known_eras[node], self.known[node].number);
        if (era, configuration.number) <= known {
            return;
        }
        (self.known[node], self.known_eras[node]) = (configuration.clone(), era);
        let changes = &mut self.changes;
        self.logs[node]
            .retain(|at| changes.get(at).is_some_and(|change| change.next.number > configuration.number));
        for change in changes.values_mut().filter(|change| change.next == *configuration) {
            change.held |= 1 << node;
        }
    }

    /// Records are on a disk.
    pub(crate) fn on_append(&mut self, node: usize, parts: &[AppendPart]) {
        for part in parts {
            let Ok((header, _)) = RecordHeader::decode(&part.header) else { continue };
            if header.kind == Kind::Padding {
                continue;
            }
            self.given[node].retain(|(_, given)| given.lsn != header.lsn);
            self.note(node, &header);
        }
    }

    /// A disk is given records for its log from `offset` on: even if the node crashes before that ends, they may be
    /// there.
    pub(crate) fn on_given(&mut self, node: usize, offset: u64, parts: &[AppendPart], unit: u64) {
        let mut next = offset;
        for part in parts {
            let at = next;
            next += append_bytes(core::slice::from_ref(part), unit);
            let header = RecordHeader::decode(&part.header).map(|(header, _)| header);
            self.given[node].extend(header.into_iter().filter(brings_members).map(|header| (at, header)));
        }
    }

    /// A life has ended: what is on the disk now.
    pub(crate) fn on_crashed(&mut self, node: usize, disk: &Disk) {
        for (offset, given) in core::mem::take(&mut self.given[node]) {
            let bytes = disk.view(Area::Log, offset, HEADER_BYTES);
            let there = RecordHeader::decode(bytes.first_chunk().expect("a header's bytes"));
            if there.is_ok_and(|(header, _)| header.digest() == given.digest()) {
                self.note(node, &given);
            }
        }
    }

    /// A record is in a log, and the last one there.
    fn note(&mut self, node: usize, header: &RecordHeader) {
        self.logs[node].retain(|(lsn, _)| *lsn < header.lsn);
        if !brings_members(header) {
            return;
        }
        let before = self.of(node).clone();
        let Some(next) = before.after(&header.body) else { return };
        let before = Some(before).filter(|_| header.kind == Kind::Configuration);
        let at = (header.lsn, header.digest());
        let known = Change { before, next, held: 0, judged: false };
        self.changes.entry(at).or_insert(known).held |= 1 << node;
        if self.changes[&at].next.number > self.known[node].number {
            self.logs[node].push(at);
        }
    }

    /// The newest configuration on a node's disk.
    fn of(&self, node: usize) -> &Configuration {
        self.logs[node].last().map_or(&self.known[node], |at| &self.changes[at].next)
    }

    /// Below which position the configurations of a primary's log have a say on a record: one that was forced decides on
    /// all that the log holds.
    fn decided_to(&self, node: usize, record: Lsn) -> Lsn {
        let log = &self.logs[node];
        let counts = |(at, change): &(&(Lsn, Crc), &Change)| change.judged || log.contains(at);
        let forced = self.changes.iter().rev().filter(counts).find(|(_, change)| change.before.is_none());
        forced.map_or(record, |((lsn, _), _)| record.max(lsn.next()))
    }

    /// Who decides on a record of a primary's log: nodes as bits, one list for each configuration that has a say.
    pub(crate) fn rolls(&self, node: usize, record: Lsn) -> Vec<u8> {
        let log = &self.logs[node];
        let counts = |(at, change): &(&(Lsn, Crc), &Change)| change.judged || log.contains(at);
        let to = self.decided_to(node, record);
        let Some((_, change)) = self.changes.range(..(to, Crc(0))).rev().find(counts) else {
            return vec![bits(&self.born)];
        };
        let before = change.before.iter().filter(|_| !change.is_held());
        core::iter::once(&change.next).chain(before).map(bits).collect()
    }

    /// Every list of voters that there ever was.
    pub(crate) fn all_rolls(&self) -> Vec<u8> {
        let mut rolls: Vec<u8> = self.changes.values().map(|change| bits(&change.next)).collect();
        rolls.push(bits(&self.newest));
        rolls.extend(&self.past);
        rolls.extend(self.changes.values().filter_map(|change| change.before.as_ref()).map(bits));
        rolls.sort_unstable();
        rolls.dedup();
        rolls
    }

    /// A promotion was forced behind `first`: what else was to be the membership is void.
    pub(crate) fn on_forced(&mut self, history: &History, first: Lsn) {
        (self.past, self.past_sets) = (self.all_rolls(), self.all_sets());
        self.changes.retain(|(lsn, digest), _| *lsn < first && history.committed(*lsn) == Some(*digest));
        let changes = &self.changes;
        for log in &mut self.logs {
            log.retain(|at| changes.contains_key(at));
        }
        // What the forced copy has of them is so, whoever else held it.
        self.changes.values_mut().for_each(|change| change.judged = true);
        let newest = self.changes.values().next_back().map(|change| &change.next);
        self.newest = newest.unwrap_or(&self.born).clone();
    }

    /// For whom a write at `record` of a primary's log had to wait under commit rule `all`, as bits; each of these would
    /// have done. It waits for the set of the newest configuration that enough disks hold, and for those of all later ones
    /// up to the write. A later one yet may count once enough disks hold it, the primary's own among them or not.
    pub(crate) fn sets(&self, node: usize, record: Lsn) -> Vec<u8> {
        let known = self.changes.range(..(self.decided_to(node, record), Crc(0))).rev();
        let known = known.filter(|(at, change)| change.judged || self.logs[node].contains(at));
        let (mut set, mut number, mut sure) = (0, 0, false);
        for (_, change) in known {
            set |= awaited(&change.next);
            (number, sure) = (change.next.number, change.before.is_none() || change.is_held());
            if sure {
                break;
            }
        }
        if !sure {
            (set, number) = (set | awaited(&self.born), 0);
        }
        let later = self.changes.values().filter(|change| change.next.number > number && change.is_held());
        core::iter::once(set).chain(later.map(|change| awaited(&change.next))).collect()
    }

    /// Every in-sync set that there ever was.
    pub(crate) fn all_sets(&self) -> Vec<u8> {
        let mut sets: Vec<u8> = self.changes.values().map(|change| awaited(&change.next)).collect();
        sets.push(awaited(&self.newest));
        sets.extend(&self.past_sets);
        sets.sort_unstable();
        sets.dedup();
        sets
    }

    /// What was committed meanwhile had the majorities that it needs.
    pub(crate) fn check(&mut self, history: &History) -> Result<(), Failure> {
        if history.is_forked() {
            return Ok(());
        }
        for ((lsn, digest), change) in &mut self.changes {
            if change.judged || history.committed(*lsn) != Some(*digest) {
                continue;
            }
            change.judged = true;
            if change.next.number > self.newest.number {
                self.newest = change.next.clone();
            }
            if !change.is_held() {
                let detail = format!(
                    "configuration {} at {lsn} was committed under {:?}, and only nodes {:05b} hold it; voters are {:05b}, and \
                     were {:05b}",
                    change.next.number,
                    self.rule,
                    change.held,
                    bits(&change.next),
                    change.before.as_ref().map_or(0, bits)
                );
                return Err(Failure::new("both-majorities", detail));
            }
        }
        Ok(())
    }
}

fn bits(configuration: &Configuration) -> u8 {
    (0..8).filter(|node| configuration.votes(replica(*node))).fold(0, |bits, node| bits | 1 << node)
}

/// Whether a record brings a configuration: one of its own, or the start of an era.
fn brings_members(header: &RecordHeader) -> bool {
    match header.kind {
        Kind::Configuration => true,
        Kind::EpochStart => !header.body.is_empty(),
        Kind::Write | Kind::WriteZeroes | Kind::Trim | Kind::Padding | Kind::Attach | Kind::Maintenance => {
            false
        }
    }
}

/// Its in-sync set, as bits.
fn awaited(configuration: &Configuration) -> u8 {
    let awaits = |node: &usize| configuration.awaited().any(|replica_of| replica_of == replica(*node));
    (0..8).filter(awaits).fold(0, |bits, node| bits | 1 << node)
}

fn most(roll: u8) -> u32 {
    u32::try_from(majority(roll.count_ones() as usize)).expect("few voters")
}
