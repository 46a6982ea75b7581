//! The kept corpus of every fuzz target of this crate, and changes of it.

use std::path::{Path, PathBuf};

#[path = "../fuzz/properties/admin.rs"]
mod admin;
#[path = "../fuzz/properties/config.rs"]
mod config;
#[path = "../fuzz/properties/ledger.rs"]
mod ledger;
#[path = "../../wal/fuzz/replay.rs"]
mod replay;

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target)
}

#[test]
fn a_configuration_is_refused_well_or_can_be_used() {
    replay::replay(&corpus("config"), config::check);
}

#[test]
fn a_line_of_the_admin_interface_does_no_harm() {
    replay::replay(&corpus("admin"), admin::check);
}

#[test]
fn a_ledger_that_can_be_opened_can_be_opened_again() {
    replay::replay(&corpus("ledger"), ledger::check);
}
