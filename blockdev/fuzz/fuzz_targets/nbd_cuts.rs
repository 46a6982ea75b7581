//! Bytes of an NBD session, cut anyhow: the same consequences as in one piece.
//!
//! `cargo +nightly fuzz run nbd_cuts` in `blockdev`. The input is what `blockdev/tests/nbd/replay.rs` says; the
//! kept corpus is replayed by an ordinary test too.
#![no_main]

#[path = "../../tests/nbd/replay.rs"]
#[allow(dead_code)]
mod replay;
#[path = "../../tests/nbd/rig.rs"]
#[allow(dead_code)]
mod rig;
#[path = "../../tests/nbd/wire.rs"]
#[allow(dead_code)]
mod wire;

libfuzzer_sys::fuzz_target!(|input: &[u8]| replay::cuts(input));
