//! The messages of a candidacy. The property stands in `properties/ballot.rs`; the kept corpus is
//! replayed by an ordinary test too.
#![no_main]

#[path = "../properties/ballot.rs"]
mod ballot;

libfuzzer_sys::fuzz_target!(|input: &[u8]| ballot::check(input));
