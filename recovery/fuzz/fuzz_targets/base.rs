//! Both ends of a base lane, and a peer that says anything. The property stands in `properties/base.rs`; the kept corpus is
//! replayed by an ordinary test too.
#![no_main]

#[path = "../properties/base.rs"]
mod base;
#[path = "../../../wal/fuzz/script.rs"]
#[allow(dead_code)]
mod script;

libfuzzer_sys::fuzz_target!(|input: &[u8]| base::check(input));
