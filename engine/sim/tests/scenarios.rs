//! Every scenario file ends as it says, and every bait named in one is caught by it.

use std::path::Path;

use sim::play::{files, play_all};

#[test]
fn every_scenario_ends_as_it_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let files = files(&folder).unwrap();
    assert!(files.len() >= 3, "scenarios are found: {files:?}");
    let mut failed = Vec::new();
    play_all(&files, None, 2, |file, played| {
        if let Some((seed, why)) = &played.failure {
            failed.push(format!("{} seed {seed:?}: {why}", file.display()));
        }
    });
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
