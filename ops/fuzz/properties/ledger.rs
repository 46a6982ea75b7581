//! The file of a load's ledger: whatever is in it, no panic; and one that can be opened can be opened again, with
//! what was written since.

use std::fs;

use seawall_ops::load::ledger::{Leaves, Ledger};

/// The input is the file. One that speaks of more sectors than memory has is not given to it.
pub(crate) fn check(input: &[u8]) {
    let Some(first) = input.split(|byte| *byte == b'\n').next() else { return };
    let sectors = String::from_utf8_lossy(first).split_whitespace().nth(3).and_then(|n| n.parse().ok());
    if sectors.is_some_and(|sectors: u64| sectors > 1 << 12) {
        return;
    }
    let path = std::env::temp_dir().join(format!("seawall-fuzz-ledger-{}", std::process::id()));
    fs::write(&path, input).expect("a place for files");
    if let Ok(mut ledger) = Ledger::open(&path, 42, 8) {
        let sectors = ledger.sectors();
        if sectors > 0 && !input.windows(5).any(|digits| digits == b"18446") {
            ledger.issue(Leaves::Stamps, 0, 1, 3).expect("it can be written");
        }
        drop(ledger);
        let again = Ledger::open(&path, 42, 8).expect("what it wrote itself can be read");
        assert_eq!(again.sectors(), sectors);
    }
    fs::remove_file(&path).expect("it was there");
}
