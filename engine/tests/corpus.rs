//! The kept corpus of every fuzz target of this crate, and changes of it.

use std::path::Path;

#[path = "../fuzz/properties/ballot.rs"]
mod ballot;
#[path = "../../wal/fuzz/replay.rs"]
mod replay;

#[test]
fn a_word_of_a_candidacy_that_can_be_read_is_written_as_the_same_bytes() {
    replay::replay(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/ballot"), ballot::check);
}
