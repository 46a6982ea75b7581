//! The messages of a recovery session. The property stands in `properties/words.rs`; the kept corpus is
//! replayed by an ordinary test too.
#![no_main]

#[path = "../properties/words.rs"]
mod words;

libfuzzer_sys::fuzz_target!(|input: &[u8]| words::check(input));
