//! The kept corpus of every fuzz target of this crate, and changes of it.

use std::path::{Path, PathBuf};

#[path = "../fuzz/properties/feed.rs"]
mod feed;
#[path = "../fuzz/properties/frame.rs"]
mod frame;
#[path = "../../wal/fuzz/replay.rs"]
mod replay;
#[path = "../../wal/fuzz/script.rs"]
#[allow(dead_code)]
mod script;

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target)
}

#[test]
fn a_frame_that_can_be_read_is_written_as_the_same_bytes() {
    replay::replay(&corpus("frame"), frame::check);
}

#[test]
fn a_feed_stands_a_peer_that_says_anything() {
    replay::replay(&corpus("feed"), feed::check);
}
