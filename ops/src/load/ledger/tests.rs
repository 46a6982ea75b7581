use super::*;

const RUN: u64 = 5;

fn stamp_at(version: Version, sector: u64) -> Vec<u8> {
    let mut bytes = vec![0; SECTOR_BYTES];
    stamp::fill(&mut bytes, RUN, sector, Mark { version, by: 3, sent_ms: 45_296_789 });
    bytes
}

fn stamped(version: Version) -> Vec<u8> {
    stamp_at(version, 0)
}

/// A sector's writes: `d` completes, `?` stays in doubt, capital letters leave zeroes.
fn ledger(past: &str) -> Ledger {
    let mut ledger = Ledger::new(RUN, 1);
    for end in past.chars() {
        let leaves = if end.is_uppercase() || end == '!' { Leaves::Zeroes } else { Leaves::Stamps };
        let version = ledger.issue(leaves, 0, 1, 0).unwrap();
        match end {
            'd' | 'D' => assert!(ledger.on_completed(version).unwrap().is_empty()),
            '?' | '!' => assert!(ledger.doubt(version).is_empty()),
            other => panic!("{other} is no end of a write"),
        }
    }
    ledger
}

/// The one thing that is wrong with these bytes, and which writes were expected.
fn verdict(ledger: &mut Ledger, bytes: &[u8]) -> (Kind, Vec<Option<Version>>) {
    let violations = ledger.judge(0, bytes);
    assert_eq!(violations.len(), 1, "{violations:?}");
    (violations[0].kind, violations[0].expected.iter().map(Expected::version).collect())
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
    assert_eq!(verdict(&mut ledger("d?d"), &stamped(2)), (Kind::CameBack, vec![Some(3)]));
}

#[test]
fn what_was_read_once_must_be_read_again() {
    let mut ledger = ledger("d?");
    assert!(ledger.judge(0, &stamped(2)).is_empty());
    assert_eq!(verdict(&mut ledger, &stamped(1)), (Kind::WentBack, vec![Some(2)]));
}

#[test]
fn every_other_content_is_named() {
    let mut ledger = ledger("d");
    assert_eq!(verdict(&mut ledger, &[0; SECTOR_BYTES]), (Kind::Vanished, vec![Some(1)]));
    assert_eq!(verdict(&mut ledger, &[7; SECTOR_BYTES]), (Kind::Foreign, vec![Some(1)]));
    assert_eq!(verdict(&mut ledger, &stamped(9)), (Kind::NeverWritten, vec![Some(1)]));
    assert_eq!(verdict(&mut ledger, &stamp_at(1, 8)), (Kind::Misplaced { belongs: 8 }, vec![]));
    let mut torn = stamped(1);
    torn[300] ^= 1;
    assert_eq!(verdict(&mut ledger, &torn), (Kind::Torn, vec![]));
}

#[test]
fn a_violation_names_the_block_what_was_found_what_was_expected_and_who_wrote_either_when() {
    let mut ledger = Ledger::new(RUN, 20);
    for _ in 0..2 {
        let version = ledger.issue(Leaves::Stamps, 16, 2, 5).unwrap();
        assert!(ledger.on_completed(version).unwrap().is_empty());
    }
    let said = ledger.judge(17, &stamp_at(1, 17))[0].to_string();
    let begin = "block 2, sector 17: found older write 1 (connection 3, sent 12:34:56.789 UTC); \
                 expected write 2 (connection 5, sent ";
    assert!(said.starts_with(begin), "{said}");
    assert!(said.contains(" UTC, answered "), "{said}");
}

#[test]
fn reads_and_writes_of_one_sector_may_overlap() {
    let mut ledger = ledger("d");
    let early = ledger.begin_read(0, 1);
    let second = ledger.issue(Leaves::Stamps, 0, 1, 0).unwrap();
    let third = ledger.issue(Leaves::Stamps, 0, 1, 1).unwrap();
    assert!(ledger.on_completed(second).unwrap().is_empty());
    let late = ledger.begin_read(0, 1);
    assert!(ledger.on_read(early, &stamped(third)).is_empty());
    assert!(ledger.on_completed(third).unwrap().is_empty());
    // The third came before the second. Nobody may see the first any more.
    let after = ledger.begin_read(0, 1);
    assert!(ledger.on_read(after, &stamped(2)).is_empty(), "nothing is judged before all is over");
    let violations = ledger.on_read(late, &stamped(1));
    assert_eq!(violations.len(), 1, "{violations:?}");
    assert_eq!(violations[0].kind, Kind::WentBack);
    assert!(ledger.overlaps() > 0);
}

struct Kept(std::path::PathBuf);

impl Kept {
    fn new(name: &str) -> Kept {
        let name = format!("seawall-ledger-{}-{name}", std::process::id());
        Kept(std::env::temp_dir().join(name))
    }

    fn open(&self) -> std::io::Result<Ledger> {
        Ledger::open(&self.0, RUN, 8)
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.0).unwrap()
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn a_ledger_read_back_from_its_file_knows_the_same() {
    let kept = Kept::new("kept");
    let mut ledger = kept.open().unwrap();
    let first = ledger.issue(Leaves::Stamps, 0, 1, 0).unwrap();
    ledger.on_completed(first).unwrap();
    let second = ledger.issue(Leaves::Stamps, 0, 1, 0).unwrap();
    drop(ledger);
    let reopened = |content: Version| kept.open().unwrap().judge(0, &stamped(content));
    assert!(reopened(first).is_empty(), "the second write is in doubt, so the first may be there");
    assert!(reopened(second).is_empty(), "and so may it");
    assert!(!reopened(first).is_empty(), "but once it was read, the first may not");
}

#[test]
fn doubts_and_who_wrote_what_outlive_the_process() {
    let kept = Kept::new("doubts");
    let mut ledger = kept.open().unwrap();
    let first = ledger.issue(Leaves::Stamps, 0, 1, 0).unwrap();
    ledger.doubt(first);
    let second = ledger.issue(Leaves::Stamps, 0, 1, 7).unwrap();
    ledger.on_completed(second).unwrap();
    drop(ledger);
    let violations = kept.open().unwrap().judge(0, &stamped(first));
    assert_eq!(violations[0].kind, Kind::CameBack, "the doubt was known before the second was sent");
    assert!(violations[0].to_string().contains("expected write 2 (connection 7, sent"), "{}", violations[0]);
    assert!(violations[0].to_string().contains("answered"), "{}", violations[0]);
}

#[test]
fn half_a_last_line_was_never_sent_and_is_taken_away() {
    for whole in ["", "seawall-ledger 2 5 8\n", "seawall-ledger 2 5 8\nw 1 0 8 0 3\nd 1 4\n"] {
        for half in ["s", "w 2 0", "w 2 0 8 0 3"] {
            let kept = Kept::new("torn");
            std::fs::write(&kept.0, format!("{whole}{half}")).unwrap();
            let mut ledger = kept.open().unwrap();
            let version = ledger.issue(Leaves::Stamps, 0, 1, 0).unwrap();
            drop(ledger);
            assert_eq!(version, if whole.contains("\nw") { 2 } else { 1 });
            assert!(kept.text().starts_with(whole), "{}", kept.text());
            assert_eq!(kept.open().unwrap().last, version, "what comes after it is read back");
        }
    }
}

#[test]
fn a_line_that_means_nothing_is_refused_with_its_number() {
    for (text, line) in [
        ("something else\n", 1),
        ("seawall-ledger 1 5 8\n", 1),
        ("seawall-ledger 2 5 8\nw 1 0 9 0 3\n", 2),
        ("seawall-ledger 2 5 8\nw 1 0 8 0 3\nw 1 0 8 0 3\n", 3),
        ("seawall-ledger 2 5 8\nw 1 0 8 0 3\nd 2 3\n", 3),
        ("seawall-ledger 2 5 8\nw 1 0 8 0 3\nd 1 3\ns 0 1\n", 4),
        ("seawall-ledger 2 5 8\nw 1 0 8 0\nd 1 4\n", 2),
    ] {
        let kept = Kept::new("senseless");
        std::fs::write(&kept.0, text).unwrap();
        let error = kept.open().unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
        assert!(error.to_string().contains(&format!("line {line} ")), "{text:?}: {error}");
        assert_eq!(kept.text(), text, "nothing is changed");
    }
}

#[test]
fn a_ledger_has_one_keeper_at_a_time() {
    let kept = Kept::new("locked");
    let first = kept.open().unwrap();
    assert_eq!(kept.open().unwrap_err().kind(), std::io::ErrorKind::ResourceBusy);
    drop(first);
    kept.open().unwrap();
}
