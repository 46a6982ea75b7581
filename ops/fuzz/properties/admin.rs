//! A line of the admin interface: whatever it is, no panic; and what is a request is one of the few that there are.

use seawall_ops::admin::{Ask, Digests, request};
use seawall_ops::report::Report;

/// The input is a line, to the daemon and from it.
pub(crate) fn check(input: &[u8]) {
    let line = String::from_utf8_lossy(input);
    match request(&line) {
        Ok(
            Ask::Status
            | Ask::Promote
            | Ask::TakeOver
            | Ask::ForetellForce
            | Ask::Force { .. }
            | Ask::HandOver
            | Ask::Digest
            | Ask::Add { .. }
            | Ask::Remove { .. }
            | Ask::Move { .. }
            | Ask::BeginMaintenance { .. }
            | Ask::EndMaintenance { .. }
            | Ask::Stop,
        ) => assert!(line.contains("\"ask\"")),
        Err(why) => assert!(why.starts_with("not a request")),
    }
    if let Ok(report) = serde_json::from_str::<Report>(&line) {
        let told = serde_json::to_string(&report).expect("a report can be told");
        let again: Report = serde_json::from_str(&told).expect("and understood");
        assert!(serde_json::to_string(&again).is_ok_and(|again| again == told));
    }
    if let Ok(digests) = serde_json::from_str::<Digests>(&line) {
        let _ = digests.are_equal();
    }
}
