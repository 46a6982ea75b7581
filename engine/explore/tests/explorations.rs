//! All small worlds, with every guard in its place: nothing breaks, and there are enough of them.

use std::time::Duration;

use explore::probe::{Probe, Scale};
use explore::search::hush;

#[test]
fn nothing_breaks_in_any_small_world() {
    hush();
    let mut offences = Vec::new();
    let (mut states, mut took) = (0, Duration::ZERO);
    for probe in Probe::ALL {
        let report = probe.run(Scale::TESTS);
        println!("{report}");
        if report.breach.is_some() {
            offences.push(report.to_string());
        }
        if report.states < probe.least() {
            offences.push(format!("{probe:?} collapsed: {} of {} states", report.states, probe.least()));
        }
        states += report.states;
        took += report.took;
    }
    println!("{states} states and cases in {took:.1?}");
    let _ = std::panic::take_hook();
    assert!(offences.is_empty(), "{}", offences.join("\n"));
}
