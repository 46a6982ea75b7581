//! A checksum table on a device that crashes and rots. The property stands in `properties/table.rs`; the kept corpus is
//! replayed by an ordinary test too.
#![no_main]

#[path = "../properties/table.rs"]
mod table;
#[path = "../script.rs"]
#[allow(dead_code)]
mod script;

libfuzzer_sys::fuzz_target!(|input: &[u8]| table::check(input));
