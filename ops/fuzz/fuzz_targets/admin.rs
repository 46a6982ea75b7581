//! A line of the admin interface. The property stands in `properties/admin.rs`; the kept corpus is
//! replayed by an ordinary test too.
#![no_main]

#[path = "../properties/admin.rs"]
mod admin;

libfuzzer_sys::fuzz_target!(|input: &[u8]| admin::check(input));
