//! Both copies of a superblock, and a label. The property stands in `properties/superblock.rs`; the kept corpus is
//! replayed by an ordinary test too.
#![no_main]

#[path = "../properties/superblock.rs"]
mod superblock;

libfuzzer_sys::fuzz_target!(|input: &[u8]| superblock::check(input));
