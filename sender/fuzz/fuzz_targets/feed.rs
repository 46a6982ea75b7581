//! Both ends of a feed, and a peer that says anything. The property stands in `properties/feed.rs`; the kept corpus is
//! replayed by an ordinary test too.
#![no_main]

#[path = "../properties/feed.rs"]
mod feed;
#[path = "../../../wal/fuzz/script.rs"]
#[allow(dead_code)]
mod script;

libfuzzer_sys::fuzz_target!(|input: &[u8]| feed::check(input));
