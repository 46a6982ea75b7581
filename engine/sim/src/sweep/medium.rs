//! A device whose every crash can be chosen: it can be copied in no time, and knows of each sector what a power
//! loss may still take back.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::areas::Domain;
use crate::device::SECTOR;

/// Memory is taken, and shared between copies, in pages of this many bytes.
const PAGE: usize = 4096;

/// Which of the sectors that were not flushed a power loss takes back. Sectors are counted in order of their place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Loss {
    /// None: all had been written back.
    Nothing,
    /// All of them.
    Everything,
    /// Only this one.
    OnlyLost(usize),
    /// All but this one.
    OnlyKept(usize),
    /// Every other one, the even or the odd ones.
    Alternating(usize),
    /// Each as a number that grows out of this seed says, in any of the versions that it had.
    Scattered(u64),
    /// The last write of every sector had come as far as this byte of it.
    TornAt(usize),
}

/// A device.
#[derive(Clone, Debug, Default)]
pub(super) struct Medium {
    pages: BTreeMap<u64, Arc<[u8; PAGE]>>,
    undos: Vec<Undo>,
    writes: u64,
}

/// A write that may still be taken back.
#[derive(Clone, Debug)]
struct Undo {
    domain: Domain,
    number: u64,
    offset: u64,
    before: Arc<[u8]>,
    stable: bool,
}

impl Undo {
    fn end(&self) -> u64 {
        self.offset + self.before.len() as u64
    }
}

impl Medium {
    /// What is at `offset`; never written bytes are zero.
    pub(super) fn read(&self, offset: u64, into: &mut [u8]) {
        each_page(offset, into.len(), |page, within, at, len| match self.pages.get(&page) {
            Some(bytes) => into[at..at + len].copy_from_slice(&bytes[within..within + len]),
            None => into[at..at + len].fill(0),
        });
    }

    /// [`Medium::read`] into memory of its own.
    pub(super) fn bytes(&self, offset: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.read(offset, &mut bytes);
        bytes
    }

    /// The first stretch from `from` on, and before `end`, that is not known to be all zeroes.
    pub(super) fn used(&self, from: u64, end: u64) -> Option<(u64, u64)> {
        let mut pages =
            self.pages.range(from / PAGE as u64..end.div_ceil(PAGE as u64)).map(|(page, _)| *page);
        let first = pages.next()?;
        let mut after = first + 1;
        for page in pages {
            if page != after {
                break;
            }
            after += 1;
        }
        Some(((first * PAGE as u64).max(from), (after * PAGE as u64).min(end)))
    }

    /// Write whole sectors. What is `durable` is stable at once, and makes nothing else stable.
    pub(super) fn write(&mut self, domain: Domain, offset: u64, bytes: &[u8], durable: bool) {
        assert!(
            offset.is_multiple_of(SECTOR as u64) && bytes.len().is_multiple_of(SECTOR),
            "writes are whole sectors"
        );
        let end = offset + bytes.len() as u64;
        self.writes += 1;
        let covered = |undo: &Undo| undo.domain == domain && undo.offset < end && offset < undo.end();
        if !durable || self.undos.iter().any(covered) {
            let before = self.bytes(offset, bytes.len()).into();
            self.undos.push(Undo { domain, number: self.writes, offset, before, stable: durable });
        }
        self.put(offset, bytes);
    }

    /// A mark of what was written so far, for [`Medium::flush`].
    pub(super) fn mark(&self) -> u64 {
        self.writes
    }

    /// What was written in the domain up to `mark` is stable.
    pub(super) fn flush(&mut self, domain: Domain, mark: u64) {
        for undo in &mut self.undos {
            undo.stable |= undo.domain == domain && undo.number <= mark;
        }
        for domain in [Domain::Log, Domain::Main] {
            let kept = self.undos.iter().position(|undo| undo.domain == domain && !undo.stable);
            let kept = kept.unwrap_or(self.undos.len());
            let mut index = 0;
            self.undos.retain(|undo| {
                index += 1;
                undo.domain != domain || index > kept
            });
        }
    }

    /// How many sectors a power loss may take back.
    pub(super) fn unsure(&self) -> usize {
        self.versions().iter().filter(|(_, versions)| versions.len() > 1).count()
    }

    /// The power is gone.
    pub(super) fn lose(&mut self, loss: Loss) {
        let sectors = self.versions();
        let unsure = sectors.into_iter().filter(|(_, versions)| versions.len() > 1);
        let mut put = Vec::new();
        for (index, (sector, versions)) in unsure.enumerate() {
            let newest = versions.len() - 1;
            let lost = match loss {
                Loss::Nothing => 0,
                Loss::Everything => newest,
                Loss::OnlyLost(one) => {
                    if index == one {
                        newest
                    } else {
                        0
                    }
                }
                Loss::OnlyKept(one) => {
                    if index == one {
                        0
                    } else {
                        newest
                    }
                }
                Loss::Alternating(phase) => {
                    if index % 2 == phase {
                        newest
                    } else {
                        0
                    }
                }
                Loss::Scattered(seed) => {
                    usize::try_from(scramble(seed ^ sector) % versions.len() as u64).expect("a small number")
                }
                Loss::TornAt(_) => 0,
            };
            let mut content = versions[newest - lost].clone();
            if let Loss::TornAt(at) = loss {
                content[at..].copy_from_slice(&versions[newest - 1][at..]);
            }
            put.push((sector * SECTOR as u64, content));
        }
        for (offset, content) in put {
            self.put(offset, &content);
        }
        self.undos.clear();
    }

    /// Flip one bit, as rot does.
    pub(super) fn flip(&mut self, offset: u64, bit: u8) {
        let mut byte = [0];
        self.read(offset, &mut byte);
        self.put(offset, &[byte[0] ^ (1 << bit)]);
    }

    /// Overwrite bytes, as nobody may.
    pub(super) fn put(&mut self, offset: u64, bytes: &[u8]) {
        each_page(offset, bytes.len(), |page, within, at, len| {
            if !self.pages.contains_key(&page) && bytes[at..at + len].iter().all(|byte| *byte == 0) {
                return;
            }
            let target = self.pages.entry(page).or_insert_with(|| Arc::new([0; PAGE]));
            Arc::make_mut(target)[within..within + len].copy_from_slice(&bytes[at..at + len]);
        });
    }

    /// The versions that each sector may come back in, oldest first; the last one is what reads see.
    fn versions(&self) -> BTreeMap<u64, Vec<Vec<u8>>> {
        let mut sectors: BTreeMap<u64, Vec<Vec<u8>>> = BTreeMap::new();
        for undo in &self.undos {
            for (index, before) in undo.before.chunks_exact(SECTOR).enumerate() {
                let versions = sectors.entry(undo.offset / SECTOR as u64 + index as u64).or_default();
                if undo.stable {
                    versions.clear();
                } else {
                    versions.push(before.to_vec());
                }
            }
        }
        for (sector, versions) in &mut sectors {
            versions.push(self.bytes(sector * SECTOR as u64, SECTOR));
            versions.dedup();
        }
        sectors
    }
}

/// The finaliser of splitmix64.
pub(super) fn scramble(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Calls with (page, offset within it, offset within the range, length) for each page of the range.
fn each_page(offset: u64, len: usize, mut call: impl FnMut(u64, usize, usize, usize)) {
    let mut at = 0;
    while at < len {
        let position = offset + at as u64;
        let within = usize::try_from(position % PAGE as u64).expect("within a page");
        let piece = (PAGE - within).min(len - at);
        call(position / PAGE as u64, within, at, piece);
        at += piece;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sectors(medium: &Medium, count: u64) -> Vec<u8> {
        (0..count).map(|index| medium.bytes(index * 512, 512)[0]).collect()
    }

    #[test]
    fn what_is_taken_back_is_chosen_sector_by_sector() {
        let mut medium = Medium::default();
        medium.write(Domain::Main, 0, &[1; 2048], true);
        medium.write(Domain::Main, 512, &[2; 1536], false);
        assert_eq!(medium.unsure(), 3);
        let after = |loss| {
            let mut medium = medium.clone();
            medium.lose(loss);
            assert_eq!(medium.unsure(), 0, "what a power loss left is stable");
            sectors(&medium, 4)
        };
        assert_eq!(after(Loss::Nothing), [1, 2, 2, 2]);
        assert_eq!(after(Loss::Everything), [1, 1, 1, 1]);
        assert_eq!(after(Loss::OnlyLost(1)), [1, 2, 1, 2]);
        assert_eq!(after(Loss::OnlyKept(1)), [1, 1, 2, 1]);
        assert_eq!(after(Loss::Alternating(0)), [1, 1, 2, 1]);
    }

    #[test]
    fn a_durable_write_and_a_flush_hold_what_they_cover_and_nothing_else() {
        let mut medium = Medium::default();
        medium.write(Domain::Log, 0, &[1; 1024], false);
        let mark = medium.mark();
        medium.write(Domain::Log, 512, &[2; 512], true);
        medium.write(Domain::Main, 1024, &[3; 512], false);
        let mut cut = medium.clone();
        cut.lose(Loss::Everything);
        assert_eq!(sectors(&cut, 3), [0, 2, 0]);
        medium.flush(Domain::Log, mark);
        medium.lose(Loss::Everything);
        assert_eq!(sectors(&medium, 3), [1, 2, 0]);
    }

    #[test]
    fn stretches_that_were_written_are_found() {
        let mut medium = Medium::default();
        medium.write(Domain::Log, 8192, &[1; 8192], false);
        medium.write(Domain::Log, 40960, &[1; 512], false);
        assert_eq!(medium.used(0, 1 << 20), Some((8192, 16384)));
        assert_eq!(medium.used(9000, 10000), Some((9000, 10000)));
        assert_eq!(medium.used(16384, 1 << 20), Some((40960, 45056)));
        assert_eq!(medium.used(45056, 1 << 20), None);
    }
}
