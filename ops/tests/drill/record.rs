//! What the rounds of a run took, as a table.

use std::fmt::Write as _;
use std::time::Duration;

use super::Drill;
use super::stages::Stages;

/// What one round took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    pub(crate) drill: Drill,
    pub(crate) attached: bool,
    /// None if the logs do not tell the story of one change.
    pub(crate) stages: Option<Stages>,
    /// The longest time without a completed write.
    pub(crate) pause: Duration,
    /// The longest that an answered request took.
    pub(crate) longest_request: Duration,
    /// From the blow until all three were in sync again.
    pub(crate) whole: Duration,
}

/// What the project means to reach, in milliseconds: whose figure, of which drill, first median and longest, then.
const GOALS: [(Drill, &str, &str); 3] = [
    (
        Drill::Kill,
        "killed, first completed write on the new primary",
        "3000, at most 5000; then 1000, at most 2000",
    ),
    (Drill::HandOver, "handed over, longest stall of a client", "at most 500; then 100"),
    (Drill::KillFollower, "another one killed, longest stall of a client", "at most 100; then 50"),
];

fn millis(time: Duration) -> u128 {
    // Rounded: a tenth of a millisecond is noise.
    (time.as_micros() + 500) / 1000
}

/// Median, 99th percentile and longest, in milliseconds.
pub(crate) fn spread(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let Some(longest) = times.last() else { return "-".to_owned() };
    let at = |percent: usize| times[(times.len() * percent).div_ceil(100).clamp(1, times.len()) - 1];
    format!("{} / {} / {}", millis(at(50)), millis(at(99)), millis(*longest))
}

/// One row for each drill and place of the client.
pub(crate) fn table(records: &[Record]) -> String {
    let heads = ["drill", "client at", "rounds", "detect", "promise", "catch up", "open", "first write"];
    let heads = [&heads[..], &["all of it", "without a write", "longest request", "whole again"]].concat();
    let mut text = format!("| {} |\n|{}\n", heads.join(" | "), "---|".repeat(heads.len()));
    for drill in Drill::ALL {
        for attached in [false, true] {
            let here = move |one: &&Record| one.drill == drill && one.attached == attached;
            let rows = || records.iter().filter(here);
            if rows().next().is_none() {
                continue;
            }
            let place = match (drill, attached) {
                (Drill::KillFollower, _) => "the primary",
                (Drill::KillMajority, _) => "the survivor",
                (_, false) => "another node",
                (_, true) => "the same node",
            };
            let told: Vec<Stages> = rows().filter_map(|record| record.stages).collect();
            let mut cells = vec![drill.name().to_owned(), place.to_owned(), rows().count().to_string()];
            for part in 0..5 {
                cells.push(spread(told.iter().map(|stages| stages.parts()[part]).collect()));
            }
            cells.push(spread(told.iter().map(Stages::total).collect()));
            cells.push(spread(rows().map(|record| record.pause).collect()));
            cells.push(spread(rows().map(|record| record.longest_request).collect()));
            cells.push(spread(rows().map(|record| record.whole).collect()));
            let _ = writeln!(text, "| {} |", cells.join(" | "));
        }
    }
    text
}

/// What was reached of what is wanted.
pub(crate) fn goals(records: &[Record]) -> String {
    let mut text = String::from("| figure | goal | here: median / p99 / longest |\n|---|---|---|\n");
    for (drill, what, goal) in GOALS {
        let rows = records.iter().filter(|record| record.drill == drill);
        let times: Vec<Duration> = match drill {
            Drill::Kill => rows.filter_map(|record| record.stages.map(|stages| stages.total())).collect(),
            _ => rows.map(|record| record.longest_request.max(record.pause)).collect(),
        };
        let _ = writeln!(text, "| {what} | {goal} | {} |", spread(times));
    }
    text
}
