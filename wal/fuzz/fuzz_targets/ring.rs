//! A log ring through crashes and damage. The property stands in `properties/ring.rs`; the kept corpus is
//! replayed by an ordinary test too.
#![no_main]

#[path = "../properties/ring.rs"]
mod ring;
#[path = "../script.rs"]
#[allow(dead_code)]
mod script;

libfuzzer_sys::fuzz_target!(|input: &[u8]| ring::check(input));
