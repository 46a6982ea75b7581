//! A plan for whatever a replica says of itself. The property stands in `properties/handshake.rs`; the kept corpus is
//! replayed by an ordinary test too.
#![no_main]

#[path = "../properties/handshake.rs"]
mod handshake;
#[path = "../../../wal/fuzz/script.rs"]
#[allow(dead_code)]
mod script;

libfuzzer_sys::fuzz_target!(|input: &[u8]| handshake::check(input));
