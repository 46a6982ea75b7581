//! A configuration file. The property stands in `properties/config.rs`; the kept corpus is
//! replayed by an ordinary test too.
#![no_main]

#[path = "../properties/config.rs"]
mod config;

libfuzzer_sys::fuzz_target!(|input: &[u8]| config::check(input));
