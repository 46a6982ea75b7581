//! The kept corpus of every fuzz target of this crate, and changes of it.

use std::path::Path;

#[path = "../fuzz/properties/record.rs"]
mod record;
#[path = "../fuzz/replay.rs"]
mod replay;
#[path = "../fuzz/properties/ring.rs"]
mod ring;
#[path = "../fuzz/script.rs"]
#[allow(dead_code)]
mod script;
#[path = "../fuzz/properties/superblock.rs"]
mod superblock;
#[path = "../fuzz/properties/table.rs"]
mod table;

fn corpus(target: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target)
}

#[test]
fn a_record_that_can_be_read_is_written_as_the_same_bytes() {
    replay::replay(&corpus("record"), record::check);
}

#[test]
fn a_superblock_that_can_be_read_can_be_started_from() {
    replay::replay(&corpus("superblock"), superblock::check);
}

#[test]
fn a_table_that_loads_is_that_of_its_superblock() {
    replay::replay(&corpus("table"), table::check);
}

#[test]
fn a_log_that_starts_again_is_what_was_appended() {
    replay::replay(&corpus("ring"), ring::check);
}
