//! The kept corpus of every fuzz target of this crate, and changes of it.

use std::path::{Path, PathBuf};

#[path = "../fuzz/properties/base.rs"]
mod base;
#[path = "../fuzz/properties/handshake.rs"]
mod handshake;
#[path = "../../wal/fuzz/replay.rs"]
mod replay;
#[path = "../../wal/fuzz/script.rs"]
#[allow(dead_code)]
mod script;
#[path = "../fuzz/properties/words.rs"]
mod words;

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target)
}

#[test]
fn a_message_that_can_be_read_is_written_as_the_same_bytes() {
    replay::replay(&corpus("words"), words::check);
}

#[test]
fn a_plan_can_be_kept_whatever_a_replica_says() {
    replay::replay(&corpus("handshake"), handshake::check);
}

#[test]
fn a_base_lane_stands_a_peer_that_says_anything() {
    replay::replay(&corpus("base"), base::check);
}
