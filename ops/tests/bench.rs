//! The table of rates, made once and short: that it fills every row and finds what it wrote. Not the rates.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Long enough to write four logs and to read them back; short enough for every run of the tests.
const SHORT: [&str; 10] =
    ["--rounds", "1", "--seconds", "1", "--log", "8MiB", "--span", "64MiB", "--size", "256MiB"];

fn is_installed(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    if !found {
        println!("skipped: {program} is not installed");
    }
    found
}

#[test]
fn the_table_of_rates_has_every_row_filled_and_verified() {
    if !is_installed("python3") || !is_installed("fio") {
        return;
    }
    let has_quorum = is_installed("qemu-nbd") && is_installed("qemu-storage-daemon");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/table.py");
    let report = std::env::temp_dir().join(format!("seawall-table-{}.json", std::process::id()));
    let picture = report.with_extension("svg");
    let made = Command::new("python3")
        .arg(script)
        .args(SHORT)
        .args(["--binary", env!("CARGO_BIN_EXE_seawall")])
        .args(["--profile", "--json"])
        .arg(&report)
        .arg("--plot")
        .arg(&picture)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&made.stdout);
    let complaints = String::from_utf8_lossy(&made.stderr);
    let [report, picture] = [report, picture].map(|path| {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let _ = std::fs::remove_file(path);
        text
    });
    assert!(made.status.success(), "{told}\n{complaints}");
    assert!(picture.starts_with("<svg") && picture.ends_with("</svg>\n"));

    let report: Value = serde_json::from_str(&report).unwrap();
    let rows = report["rows"].as_object().unwrap();
    assert_eq!(rows.len(), 6);
    let mut targets = vec!["raw", "seawall"];
    targets.extend(has_quorum.then_some("quorum"));
    for target in targets {
        assert_eq!(report["verified"][target], true, "{told}");
        for (name, row) in rows {
            let rate = row["targets"][target][row["unit"].as_str().unwrap()].as_f64();
            assert!(rate.is_some_and(|rate| rate > 0.0), "{name} of {target}: {told}");
        }
    }
    // What the kernel saw us write is what we counted.
    let apart = report["figures"]["seawall"]["one count by the other, less 1, in percent"][0].as_f64();
    assert!(apart.is_some_and(|percent| percent < 1.0), "{told}");
}
