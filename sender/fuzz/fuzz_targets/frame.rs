//! Frames and the messages of greeting and feed. The property stands in `properties/frame.rs`; the kept corpus is
//! replayed by an ordinary test too.
#![no_main]

#[path = "../properties/frame.rs"]
mod frame;

libfuzzer_sys::fuzz_target!(|input: &[u8]| frame::check(input));
