//! A device, sector by sector: what a read sees, and what a power loss may still take back.
//!
//! Writes go to the device's cache. They become stable by a flush of their domain, or at once when they are
//! written as durable (forced unit access, which makes nothing else stable). Killing a process takes nothing
//! back. A power loss decides for each sector on its own which of its versions since the last stable one stays:
//! that covers lost, torn and reordered writes.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::areas::Domain;
use crate::prng::Prng;

/// Bytes of a sector: what a device writes as a whole, if it is not told to tear it.
pub(crate) const SECTOR: usize = 512;
/// Memory is taken in chunks of this many bytes.
const CHUNK: usize = 1 << 16;
/// What a chunk holds that was never written.
static BLANK: [u8; CHUNK] = [0; CHUNK];
/// So many buffers of writes that became stable are kept for the next ones.
const SPARE_MAX: usize = 64;

/// How a power loss treats what was not flushed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Loss {
    /// All of it had reached the medium.
    Nothing,
    /// None of it had.
    Everything,
    /// Each sector on its own.
    Sectors,
    /// Each sector on its own, and some of them are torn within.
    TornSectors,
}

/// A device.
#[derive(Debug, Default)]
pub(crate) struct Device {
    /// By number, as far as any was written.
    chunks: Vec<Option<Box<[u8]>>>,
    unflushed: [Vec<Undo>; 2],
    spare: Vec<Vec<u8>>,
    writes: u64,
}

/// A write that may still be taken back.
#[derive(Debug)]
struct Undo {
    number: u64,
    offset: u64,
    before: Vec<u8>,
    stable: bool,
}

impl Undo {
    fn end(&self) -> u64 {
        self.offset + self.before.len() as u64
    }
}

impl Device {
    /// What is at `offset`; never written bytes are zero.
    pub(crate) fn read(&self, offset: u64, into: &mut [u8]) {
        each_chunk(offset, into.len(), |chunk, within, at, len| {
            into[at..at + len].copy_from_slice(&self.chunk(chunk)[within..within + len]);
        });
    }

    /// [`Device::read`], put after what `onto` holds.
    pub(crate) fn read_onto(&self, offset: u64, len: usize, onto: &mut Vec<u8>) {
        onto.reserve(len);
        each_chunk(offset, len, |chunk, within, _, len| {
            onto.extend_from_slice(&self.chunk(chunk)[within..within + len]);
        });
    }

    /// [`Device::read`] into memory of its own.
    pub(crate) fn bytes(&self, offset: u64, len: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.read_onto(offset, len, &mut bytes);
        bytes
    }

    /// [`Device::read`] where it is, if it lies in one chunk.
    pub(crate) fn view(&self, offset: u64, len: usize) -> Cow<'_, [u8]> {
        let (chunk, within) = place(offset);
        if within + len <= CHUNK {
            Cow::Borrowed(&self.chunk(chunk)[within..within + len])
        } else {
            Cow::Owned(self.bytes(offset, len))
        }
    }

    /// Whether nothing was ever written to any chunk of a range.
    pub(crate) fn is_blank(&self, offset: u64, len: usize) -> bool {
        let mut blank = true;
        each_chunk(offset, len, |chunk, _, _, _| {
            blank &= self.chunks.get(chunk).is_none_or(Option::is_none);
        });
        blank
    }

    fn chunk(&self, chunk: usize) -> &[u8] {
        self.chunks.get(chunk).and_then(Option::as_deref).unwrap_or(&BLANK)
    }

    /// Write whole sectors.
    pub(crate) fn write(&mut self, domain: Domain, offset: u64, bytes: &[u8], durable: bool) {
        assert!(
            offset.is_multiple_of(SECTOR as u64) && bytes.len().is_multiple_of(SECTOR),
            "writes are whole sectors"
        );
        let end = offset + bytes.len() as u64;
        let covers = |undo: &Undo| undo.offset < end && offset < undo.end();
        self.writes += 1;
        if !durable || self.unflushed[domain as usize].iter().any(covers) {
            let mut before = self.spare.pop().unwrap_or_default();
            before.clear();
            self.read_onto(offset, bytes.len(), &mut before);
            self.unflushed[domain as usize].push(Undo {
                number: self.writes,
                offset,
                before,
                stable: durable,
            });
        }
        self.put(offset, bytes);
    }

    /// A write of which nobody knows how much was done: any of its sectors are written, none stable.
    pub(crate) fn write_some(&mut self, domain: Domain, offset: u64, bytes: &[u8], prng: &mut Prng) {
        match prng.below(4) {
            0 => {}
            1 => self.write(domain, offset, bytes, false),
            2 => {
                let sectors = prng.index(bytes.len() / SECTOR + 1);
                self.write(domain, offset, &bytes[..sectors * SECTOR], false);
            }
            _ => {
                for (index, sector) in bytes.chunks_exact(SECTOR).enumerate() {
                    if prng.coin() {
                        self.write(domain, offset + (index * SECTOR) as u64, sector, false);
                    }
                }
            }
        }
    }

    /// A mark of what was written so far, for [`Device::flush`].
    pub(crate) fn mark(&self) -> u64 {
        self.writes
    }

    /// What was written in the domain up to `mark` is stable.
    pub(crate) fn flush(&mut self, domain: Domain, mark: u64) {
        let undos = &mut self.unflushed[domain as usize];
        for undo in undos.iter_mut().filter(|undo| undo.number <= mark) {
            undo.stable = true;
        }
        let kept = undos.iter().position(|undo| !undo.stable).unwrap_or(undos.len());
        for undo in undos.drain(..kept) {
            if self.spare.len() < SPARE_MAX {
                self.spare.push(undo.before);
            }
        }
    }

    /// The power is gone. Gives the number of sectors that lost something.
    pub(crate) fn lose(&mut self, loss: Loss, prng: &mut Prng) -> u64 {
        let mut lost = 0;
        for domain in [Domain::Log, Domain::Main] {
            let undos = core::mem::take(&mut self.unflushed[domain as usize]);
            let mut sectors: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
            for (index, undo) in undos.iter().enumerate() {
                for sector in undo.offset / SECTOR as u64..undo.end() / SECTOR as u64 {
                    sectors.entry(sector).or_default().push(index);
                }
            }
            for (sector, writes) in sectors {
                let offset = sector * SECTOR as u64;
                let mut versions: Vec<Vec<u8>> = writes
                    .iter()
                    .map(|&index| {
                        let at = usize::try_from(offset - undos[index].offset).expect("within a write");
                        undos[index].before[at..at + SECTOR].to_vec()
                    })
                    .collect();
                versions.push(self.bytes(offset, SECTOR));
                let oldest = writes.iter().rposition(|&index| undos[index].stable).map_or(0, |last| last + 1);
                let newest = versions.len() - 1;
                let mut choose = || oldest + prng.index(newest - oldest + 1);
                let (version, tear) = match loss {
                    Loss::Nothing => (newest, None),
                    Loss::Everything => (oldest, None),
                    Loss::Sectors => (choose(), None),
                    Loss::TornSectors => (choose(), Some(choose())),
                };
                let mut content = versions[version].clone();
                if let Some(other) = tear {
                    let at = prng.index(SECTOR);
                    content[at..].copy_from_slice(&versions[other][at..]);
                }
                lost += u64::from(content != versions[newest]);
                self.put(offset, &content);
            }
        }
        lost
    }

    /// A number that stands for all the bytes that reads see.
    pub(crate) fn digest(&self) -> u64 {
        const ODD: u64 = 0x9E37_79B9_7F4A_7C15;
        let mut digest = 0_u64;
        for (chunk, bytes) in (0_u64..).zip(&self.chunks) {
            let Some(bytes) = bytes else { continue };
            // Eight sums side by side: none waits for the other.
            let mut lanes = [chunk; 8];
            let mut any = 0;
            for words in bytes.chunks_exact(64) {
                for (lane, word) in lanes.iter_mut().zip(words.chunks_exact(8)) {
                    let word = u64::from_le_bytes(word.try_into().expect("eight bytes"));
                    any |= word;
                    *lane = (*lane ^ word).wrapping_mul(ODD).rotate_left(29);
                }
            }
            // A chunk of zeroes reads as one that was never written.
            if any == 0 {
                continue;
            }
            digest = lanes.iter().fold(digest, |sum, lane| (sum ^ lane).wrapping_mul(ODD).rotate_left(31));
        }
        digest
    }

    /// Changes bytes without a write: nothing takes it back.
    pub(crate) fn put(&mut self, offset: u64, bytes: &[u8]) {
        each_chunk(offset, bytes.len(), |chunk, within, at, len| {
            if self.chunks.len() <= chunk {
                self.chunks.resize_with(chunk + 1, || None);
            }
            let target = self.chunks[chunk].get_or_insert_with(|| vec![0; CHUNK].into_boxed_slice());
            target[within..within + len].copy_from_slice(&bytes[at..at + len]);
        });
    }
}

/// Calls with (chunk, offset within it, offset within the range, length) for each chunk of the range.
fn each_chunk(offset: u64, len: usize, mut call: impl FnMut(usize, usize, usize, usize)) {
    let mut at = 0;
    while at < len {
        let (chunk, within) = place(offset + at as u64);
        let piece = (CHUNK - within).min(len - at);
        call(chunk, within, at, piece);
        at += piece;
    }
}

/// In which chunk a byte is, and where in it.
fn place(offset: u64) -> (usize, usize) {
    let offset = usize::try_from(offset).expect("a small device");
    (offset / CHUNK, offset % CHUNK)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prng::Stream;

    fn prng() -> Prng {
        Prng::new(5, Stream::Loss)
    }

    fn sector(device: &Device, index: u64) -> u8 {
        let bytes = device.bytes(index * 512, 512);
        assert!(bytes.iter().all(|&byte| byte == bytes[0]), "a torn sector");
        bytes[0]
    }

    #[test]
    fn reads_see_writes_across_chunks_at_once() {
        let mut device = Device::default();
        device.write(Domain::Main, 65536 - 1024, &[9; 4096], false);
        assert_eq!(device.bytes(65536 - 1024, 4096), [9; 4096]);
        assert_eq!(device.bytes(65536 + 3072, 512), [0; 512]);
    }

    #[test]
    fn a_view_is_what_a_read_sees() {
        let mut device = Device::default();
        device.write(Domain::Main, 65536 - 1024, &[9; 2048], false);
        for (offset, len) in [(0, 512), (65536 - 1024, 1024), (65536 - 1024, 4096), (1 << 20, 131_072)] {
            assert_eq!(device.view(offset, len), device.bytes(offset, len), "{offset}+{len}");
        }
        assert!(matches!(device.view(65536, 4096), Cow::Borrowed(_)));
        assert!(device.is_blank(131_072, 65536) && !device.is_blank(65536, 131_072));
    }

    #[test]
    fn a_chunk_of_zeroes_has_the_digest_of_one_that_was_never_written() {
        let (mut zeroed, mut device) = (Device::default(), Device::default());
        zeroed.put(0, &[0; 512]);
        assert_eq!(zeroed.digest(), device.digest());
        for device in [&mut zeroed, &mut device] {
            device.put(1 << 17, &[1; 512]);
        }
        assert_eq!(zeroed.digest(), device.digest());
        device.put((1 << 17) + 511, &[2]);
        assert_ne!(zeroed.digest(), device.digest());
    }

    #[test]
    fn a_power_loss_takes_back_what_was_not_flushed_and_nothing_else() {
        let mut device = Device::default();
        device.write(Domain::Main, 0, &[1; 1024], false);
        let mark = device.mark();
        device.write(Domain::Main, 512, &[2; 512], false);
        device.write(Domain::Log, 2048, &[3; 512], false);
        device.flush(Domain::Main, mark);
        assert_eq!(device.lose(Loss::Everything, &mut prng()), 2);
        assert_eq!((sector(&device, 0), sector(&device, 1), sector(&device, 4)), (1, 1, 0));
        assert_eq!(device.lose(Loss::Everything, &mut prng()), 0, "what a power loss left is stable");
    }

    #[test]
    fn a_durable_write_stays_although_older_ones_below_it_are_not_flushed() {
        let mut device = Device::default();
        device.write(Domain::Log, 0, &[1; 1024], false);
        device.write(Domain::Log, 512, &[2; 512], true);
        device.lose(Loss::Everything, &mut prng());
        assert_eq!((sector(&device, 0), sector(&device, 1)), (0, 2));
    }

    #[test]
    fn sectors_are_lost_each_on_its_own_and_any_version_may_stay() {
        let mut seen = [[false; 3]; 2];
        for seed in 0..64 {
            let mut device = Device::default();
            device.write(Domain::Main, 0, &[1; 1024], false);
            device.write(Domain::Main, 0, &[2; 1024], false);
            device.lose(Loss::Sectors, &mut Prng::new(seed, Stream::Loss));
            for index in 0..2 {
                seen[index][usize::from(sector(&device, index as u64))] = true;
            }
        }
        assert_eq!(seen, [[true; 3]; 2]);
    }

    #[test]
    fn a_write_that_broke_off_is_there_in_part() {
        let mut states = std::collections::BTreeSet::new();
        let mut prng = prng();
        for _ in 0..400 {
            let mut device = Device::default();
            device.write_some(Domain::Log, 0, &[1; 1536], &mut prng);
            states.insert((0..3).map(|index| sector(&device, index)).collect::<Vec<_>>());
        }
        assert_eq!(states.len(), 8, "{states:?}");
    }
}
