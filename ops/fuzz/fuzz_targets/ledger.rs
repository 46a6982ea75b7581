//! The file of a load's ledger. The property stands in `properties/ledger.rs`; the kept corpus is
//! replayed by an ordinary test too.
#![no_main]

#[path = "../properties/ledger.rs"]
mod ledger;

libfuzzer_sys::fuzz_target!(|input: &[u8]| ledger::check(input));
