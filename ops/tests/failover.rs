//! Drills with real processes and no operator: primaries are killed, stand still, are cut off and hand over under a load
//! whose ledger knows what was promised, and the replicas find their primary themselves. Each replica lives in a network
//! namespace of its own (root; without, cuts are left out).
//!
//! Before each blow `seawall whatif` is asked what will come, and after it whether it was right.
//!
//! `SEAWALL_FAILOVERS` says how many rounds of what (`kill=50,pause=20,cut=20,hand-over=20,follower=20,majority=5,mixed=40`,
//! or one number for each), `SEAWALL_SEED` in which order they are mixed. What they took is printed as a table, and
//! written to the file that `SEAWALL_FAILOVER_TABLE` names. `SEAWALL_PROGRAM` names another build to drill.

#[expect(dead_code, reason = "other drills use the rest")]
mod cluster;
mod drill;
mod network;
#[expect(dead_code, reason = "the histories use the rest")]
mod script;
mod site;

use std::time::Duration;

use drill::forecast::{Forecast, Outcome};
use drill::record::{Record, goals, spread, table};
use drill::stages::{Stages, notices};
use drill::theatre::Theatre;
use drill::{Drill, script as draw};

/// What is drilled unless told otherwise.
const USUAL: &str = "kill=3,pause=3,cut=3,hand-over=3,follower=2,majority=1,mixed=3";

fn asked(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}

#[test]
fn primaries_come_and_go_and_nothing_that_completed_is_lost() {
    let seed = asked("SEAWALL_SEED", "3").parse().expect("SEAWALL_SEED is a number");
    let steps = draw(&asked("SEAWALL_FAILOVERS", USUAL), seed).unwrap_or_else(|why| panic!("{why}"));
    let mut theatre = Theatre::open(seed);
    for (number, step) in steps.iter().enumerate() {
        theatre.round(number, *step);
    }
    let (tally, records) = theatre.close();
    assert!(tally.writes > 0 && tally.reads > 0, "{tally:?}");
    let text =
        format!("{}\nTimes in milliseconds: median / p99 / longest.\n\n{}", goals(&records), table(&records));
    println!("\n{text}");
    if let Ok(path) = std::env::var("SEAWALL_FAILOVER_TABLE") {
        std::fs::write(path, text).unwrap();
    }
}

#[test]
fn a_script_is_drawn_from_a_seed_and_holds_what_was_asked_for() {
    let steps = draw("kill=2,cut=3,mixed=60", 7).unwrap();
    assert_eq!(steps, draw("kill=2,cut=3,mixed=60", 7).unwrap());
    assert_ne!(steps, draw("kill=2,cut=3,mixed=60", 8).unwrap());
    let drills: Vec<Drill> = steps.iter().map(|step| step.drill).collect();
    assert_eq!(drills[..5], [Drill::Kill, Drill::Kill, Drill::Cut, Drill::Mute, Drill::Deafen]);
    assert!(Drill::ALL.iter().all(|drill| drills[5..].contains(drill)), "{drills:?}");
    assert_eq!(draw("3", 1).unwrap().len(), 21);
    assert_eq!(draw(USUAL, 1).unwrap().len(), 18);
    for wrong in ["", "many", "kill", "kill=x", "sing=3"] {
        assert!(draw(wrong, 1).is_err(), "{wrong:?}");
    }
}

#[test]
fn stages_are_told_by_what_the_logs_say_and_when() {
    let line =
        |at: &str, kind: &str| format!("2026-02-28T23:59:{at}Z  INFO text replica=\"b\" kind=\"{kind}\"\n");
    let log: String = [
        ("50.000000", "serving"),
        ("58.500000", "campaigning"),
        ("58.700000", "campaigning"),
        ("58.750000", "adopting-log"),
        ("58.850000", "reigning"),
        ("58.900000", "serving"),
    ]
    .iter()
    .map(|(at, kind)| line(at, kind))
    .collect();
    let said = notices(&log);
    assert_eq!(said.len(), 6);
    let struck = said[0].at + Duration::from_millis(7400);
    let written = |moment| Some(moment + Duration::from_millis(3));
    let parts = Stages::new(struck, &said, &said, written).unwrap().parts().map(|part| part.as_millis());
    assert_eq!(parts, [1100, 250, 100, 50, 3]);
    // Without a log to fetch, promises are all there is to wait for.
    let fetched = said.iter().filter(|said| said.kind != "adopting-log").cloned().collect::<Vec<_>>();
    let stages = |said: &[_]| Stages::new(struck, said, said, Some);
    assert_eq!(stages(&fetched).unwrap().parts().map(|part| part.as_millis()), [1100, 350, 0, 50, 0]);
    // A leap year's last day of February is another one than the last of a year that leaps not.
    let next = notices(&line("59.000000", "x").replace("02-28T23:59:59", "03-01T00:00:01"))[0].at;
    assert_eq!(next.duration_since(said[0].at).unwrap(), Duration::from_secs(11));
    assert_eq!(stages(&[]), None);
    assert_eq!(stages(&said[..5]), None, "it never served");
}

#[test]
fn a_spread_is_median_and_99th_percentile_and_longest() {
    let times = |count: u64| (1..=count).map(Duration::from_millis).collect::<Vec<_>>();
    for (count, expected) in [(0, "-"), (1, "1 / 1 / 1"), (3, "2 / 3 / 3"), (200, "100 / 198 / 200")] {
        assert_eq!(spread(times(count)), expected);
    }
    let record = |drill, ms| Record {
        drill,
        attached: false,
        stages: None,
        pause: Duration::from_millis(ms),
        longest_request: Duration::from_millis(ms + 1),
        whole: Duration::from_millis(ms * 2),
    };
    let records = [record(Drill::HandOver, 10), record(Drill::HandOver, 20)];
    assert!(goals(&records).contains("| at most 500; then 100 | 11 / 21 / 21 |"), "{}", goals(&records));
    assert!(
        table(&records).contains("| handed over by plan | another node | 2 | - |"),
        "{}",
        table(&records)
    );
}

#[test]
fn a_forecast_is_right_if_clients_write_as_it_says_under_one_whom_it_names() {
    let forecast = |writable: bool| {
        Forecast::read(&format!("{{\"writable\":{writable},\"primary_candidates\":[\"b\",\"c\"]}}"))
    };
    for (writable, wrote, primary, right) in [
        (true, true, Some(1), true),
        (true, true, Some(0), false),
        (true, false, None, false),
        (false, false, None, true),
        (false, true, Some(2), false),
    ] {
        let mismatch = forecast(writable).mismatch(Outcome { wrote, primary });
        assert_eq!(mismatch.is_none(), right, "{writable} {wrote} {primary:?}: {mismatch:?}");
    }
}
