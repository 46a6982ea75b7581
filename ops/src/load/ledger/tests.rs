use super::*;

const RUN: u64 = 5;

fn stamped(version: Version) -> Vec<u8> {
    Ledger::new(RUN, 1).payload(version, 0, 1)
}

/// A sector's writes: `d` completes, `?` stays in doubt, capital letters leave zeroes.
fn ledger(past: &str) -> Ledger {
    let mut ledger = Ledger::new(RUN, 1);
    for end in past.chars() {
        let leaves = if end.is_uppercase() || end == '!' { Leaves::Zeroes } else { Leaves::Stamps };
        let version = ledger.issue(leaves, 0, 1).unwrap();
        match end {
            'd' | 'D' => ledger.on_completed(version).unwrap(),
            '?' | '!' => ledger.doubt(version),
            other => panic!("{other} is no end of a write"),
        }
    }
    ledger
}

/// After that past, what may be read: versions, and 0 for zeroes.
fn check(past: &str, permitted: &[Version]) {
    for version in 0..=past.len() as u64 {
        let bytes = if version == 0 { vec![0; SECTOR_BYTES] } else { stamped(version) };
        let violations = ledger(past).judge(0, &bytes);
        assert_eq!(violations.is_empty(), permitted.contains(&version), "{past}, {version}: {violations:?}");
    }
}

#[test]
fn only_the_newest_completed_write_may_be_read() {
    check("d", &[1]);
    check("ddd", &[3]);
    check("dD", &[0]);
    check("Dd", &[2]);
}

#[test]
fn a_write_in_doubt_may_be_there_or_not() {
    check("?", &[0, 1]);
    check("d?", &[1, 2]);
    check("d??", &[1, 2, 3]);
    check("d!", &[0, 1]);
    check("D?", &[0, 2]);
}

#[test]
fn a_write_in_doubt_is_lost_for_good_once_a_newer_one_completed() {
    check("d?d", &[3]);
    check("d!d", &[3]);
    check("?D", &[0]);
    assert_eq!(
        ledger("d?d").judge(0, &stamped(2)),
        [Violation::CameBack { sector: 0, expected: 3, found: 2 }]
    );
}

#[test]
fn what_was_read_once_must_be_read_again() {
    let mut ledger = ledger("d?");
    assert!(ledger.judge(0, &stamped(2)).is_empty());
    assert_eq!(ledger.judge(0, &stamped(1)), [Violation::WentBack { sector: 0, expected: 2, found: 1 }]);
}

#[test]
fn every_other_content_is_named() {
    let mut ledger = ledger("d");
    assert_eq!(ledger.judge(0, &[0; SECTOR_BYTES]), [Violation::Vanished { sector: 0, expected: 1 }]);
    assert_eq!(ledger.judge(0, &[7; SECTOR_BYTES]), [Violation::Foreign { sector: 0, expected: 1 }]);
    assert_eq!(ledger.judge(0, &stamped(9)), [Violation::NeverWritten { sector: 0, found: 9 }]);
    let elsewhere = Ledger::new(RUN, 9).payload(1, 8, 1);
    assert_eq!(ledger.judge(0, &elsewhere), [Violation::Misplaced { sector: 0, belongs: 8 }]);
    let mut torn = stamped(1);
    torn[300] ^= 1;
    assert_eq!(ledger.judge(0, &torn), [Violation::Torn { sector: 0, claims: 1 }]);
}

#[test]
fn a_ledger_read_back_from_its_file_knows_the_same() {
    let path = std::env::temp_dir().join(format!("seawall-ledger-{}", std::process::id()));
    let mut kept = Ledger::open(&path, RUN, 1).unwrap();
    let first = kept.issue(Leaves::Stamps, 0, 1).unwrap();
    kept.on_completed(first).unwrap();
    let second = kept.issue(Leaves::Stamps, 0, 1).unwrap();
    let reopened = |content: Version| Ledger::open(&path, 0, 0).unwrap().judge(0, &stamped(content));
    assert!(reopened(second).is_empty(), "the second write is in doubt, so it may be there");
    assert!(!reopened(first).is_empty(), "but once it was read, the first may not");
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn half_a_last_line_was_never_sent() {
    let text = "seawall-ledger 1 5 8\nw 1 0 8\nd 1\nw 2 0";
    assert_eq!(Ledger::read(text.as_bytes()).unwrap().last, 1);
    assert!(Ledger::read("seawall-ledger 1 5 8\nw 1 0 9\n".as_bytes()).is_err());
    assert!(Ledger::read("something else\n".as_bytes()).is_err());
}
