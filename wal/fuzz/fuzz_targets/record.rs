//! One record header, on disk and on the wire. The property stands in `properties/record.rs`; the kept corpus is
//! replayed by an ordinary test too.
#![no_main]

#[path = "../properties/record.rs"]
mod record;

libfuzzer_sys::fuzz_target!(|input: &[u8]| record::check(input));
