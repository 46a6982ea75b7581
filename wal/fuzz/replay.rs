//! What a fuzzer does, without one: a property over its kept corpus, and over small changes of every entry. The
//! changes are the same in every run; `SEAWALL_FUZZ_ROUNDS` says how many there are of each entry.

use std::fs;
use std::path::Path;

const ROUNDS_DEFAULT: u64 = 100;
/// A changed entry grows no longer than this, in bytes.
const BYTES_MAX: usize = 8192;

/// Checks every file of the folder `corpus`, and changes of it.
pub(crate) fn replay(corpus: &Path, check: fn(&[u8])) {
    let mut paths: Vec<_> = fs::read_dir(corpus)
        .expect("the corpus is kept in the repository")
        .map(|entry| entry.expect("a readable folder").path())
        .collect();
    paths.sort();
    let entries: Vec<_> = paths.iter().map(|path| fs::read(path).expect("a readable file")).collect();
    let bytes: usize = entries.iter().map(Vec::len).sum();
    assert!((4..200).contains(&entries.len()), "a corpus worth the name: {} files", entries.len());
    assert!(bytes < 300 << 10, "a small corpus: {bytes} bytes");
    let rounds = std::env::var("SEAWALL_FUZZ_ROUNDS").ok().and_then(|rounds| rounds.parse().ok());
    let mut chance = Chance(1);
    for entry in &entries {
        check(entry);
        for _ in 0..rounds.unwrap_or(ROUNDS_DEFAULT) {
            let mut changed = entry.clone();
            for _ in 0..=chance.below(4) {
                change(&mut changed, &entries, &mut chance);
            }
            check(&changed);
        }
    }
}

/// splitmix64.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % (end as u64).max(1)).expect("below a usize")
    }
}

fn change(bytes: &mut Vec<u8>, entries: &[Vec<u8>], chance: &mut Chance) {
    let at = chance.below(bytes.len());
    let until = (at + 1 + chance.below(8)).min(bytes.len());
    match chance.below(7) {
        0 if !bytes.is_empty() => bytes[at] ^= 1 << chance.below(8),
        1 if !bytes.is_empty() => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][chance.below(5)],
        2 if !bytes.is_empty() => bytes[at] = chance.next().to_le_bytes()[0],
        3 => bytes.truncate(at),
        4 if !bytes.is_empty() => drop(bytes.drain(at..until)),
        5 if !bytes.is_empty() => bytes[at..until].fill(0xff),
        _ => {
            let other = &entries[chance.below(entries.len())];
            let from = chance.below(other.len());
            let to = (from + 1 + chance.below(64)).min(other.len());
            bytes.splice(at..at, other[from..to].iter().copied());
        }
    }
    bytes.truncate(BYTES_MAX);
}
