//! The ledger load against a server in memory: an honest one passes whatever happens to its connections, and
//! each planted lie is caught.

mod fake;

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use fake::{Fake, Plant};
use seawall_ops::load::ledger::Ledger;
use seawall_ops::load::violation::Kind;
use seawall_ops::load::{self, Board, Mix, Plan, SECTOR_BYTES, Witness};

const SECTORS: usize = 2048;
const REQUESTS: u64 = 4000;

/// Load a server that does this to its clients, then read everything back.
fn load_and_check(plant: Plant, mix: Mix) -> Arc<Board> {
    let server = Fake::start(SECTORS * SECTOR_BYTES, plant);
    let mut plan = Plan::new(vec![server.target()]);
    plan.requests = Some(REQUESTS);
    plan.mix = mix;
    plan.sectors_max = 64;
    plan.patience = Duration::from_secs(20);
    if plant.counts() {
        // One request at a time, so that the one which is lied about is the last of the load and nothing hides it.
        (plan.connections, plan.depth) = (1, 1);
    }
    let board = Board::new(Ledger::new(42, SECTORS));
    load::run(&plan, &board);
    let tally = board.tally();
    assert_eq!(tally.gave_up, 0, "{tally:?}");
    assert!(tally.writes > 1000, "a load that wrote nothing proves nothing: {tally:?}");
    assert!(load::check(&plan, &board), "the server can be read");
    board
}

/// Writes alone.
const WRITES: Mix = Mix { write: 100, zero: 0, trim: 0, flush: 0, fua: 0 };

fn assert_clean(board: &Board) {
    assert!(board.violations().is_empty(), "{:?}", board.violations());
    assert_eq!(board.tally().checked_sectors, SECTORS as u64);
}

fn assert_caught(board: &Board, kind: impl Fn(Kind) -> bool) {
    let violations = board.violations();
    assert!(violations.iter().any(|violation| kind(violation.kind)), "not caught: {violations:?}");
}

#[test]
fn an_honest_server_passes() {
    let board = load_and_check(Plant::Nothing, Mix::default());
    assert_clean(&board);
    let tally = board.tally();
    assert_eq!((tally.in_doubt, tally.errors(), tally.disconnects), (0, 0, 0), "{tally:?}");
    assert!(tally.reads > 100 && tally.flushes > 10 && tally.overlaps > 100, "{tally:?}");
}

#[test]
fn an_honest_server_whose_connections_break_passes() {
    let board = load_and_check(Plant::CutConnections { every: 97 }, Mix::default());
    assert_clean(&board);
    let tally = board.tally();
    assert!(tally.disconnects > 10 && tally.in_doubt > 10, "connections broke: {tally:?}");
}

#[test]
fn an_honest_server_that_refuses_now_and_then_passes() {
    let board = load_and_check(Plant::Refuse { every: 50 }, Mix::default());
    assert_clean(&board);
    assert!(board.tally().errors() > 10);
}

#[test]
fn a_lost_write_is_caught() {
    let board = load_and_check(Plant::LoseWrite { nth: REQUESTS }, WRITES);
    assert_caught(&board, |v| matches!(v, Kind::WentBack | Kind::Vanished));
}

#[test]
fn a_stale_read_is_caught() {
    let board = load_and_check(Plant::StaleRead { every: 40 }, Mix::default());
    assert_caught(&board, |v| matches!(v, Kind::WentBack | Kind::Vanished));
}

#[test]
fn a_write_of_a_broken_connection_that_lands_late_is_caught() {
    let board = load_and_check(Plant::LandLate { every: 211, after: 400 }, Mix::default());
    assert_caught(&board, |v| matches!(v, Kind::CameBack));
}

#[test]
fn half_a_write_is_caught() {
    let board = load_and_check(Plant::HalfSector { nth: REQUESTS }, WRITES);
    assert_caught(&board, |v| matches!(v, Kind::Torn));
}

#[test]
fn a_misdirected_write_is_caught() {
    let board = load_and_check(Plant::Misdirect { nth: REQUESTS }, WRITES);
    assert_caught(&board, |v| matches!(v, Kind::Misplaced { .. }));
}

#[test]
fn the_command_fails_with_its_own_code_when_the_ledger_is_broken() {
    let ledger =
        |name: &str| std::env::temp_dir().join(format!("seawall-ledger-{}-{name}", std::process::id()));
    let (honest, stale) = (Plant::Nothing, Plant::StaleRead { every: 40 });
    for (name, plant, code, outcome) in
        [("honest", honest, Some(0), "verified"), ("stale", stale, Some(14), "violated")]
    {
        let server = Fake::start(SECTORS * SECTOR_BYTES, plant);
        let path = ledger(name);
        let load = |more: &[&str]| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_seawall"));
            command.args([
                "verify-load",
                "--region",
                "1MiB",
                "--seconds",
                "1",
                "--uri",
                &server.target().to_string(),
            ]);
            command.arg("--ledger").arg(&path).args(more).output().unwrap()
        };
        let output = load(&[]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), code, "{said}");
        assert!(said.lines().last().unwrap().starts_with(&format!("{outcome}: ")), "{said}");
        if code == Some(0) {
            let output = load(&["--check-only", "--form", "json"]);
            assert_eq!(output.status.code(), Some(0), "what the file remembers is what the server has");
            let last: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!(
                (&last["outcome"], &last["tally"]["checked_sectors"]),
                (&"verified".into(), &2048.into())
            );
        }
        std::fs::remove_file(&path).unwrap();
    }
}

/// A load of writes on a server that does this to its clients, and a witness who reads there.
fn load_with_witness(plant: Plant) -> (Arc<Board>, usize) {
    let server = Fake::start(SECTORS * SECTOR_BYTES, plant);
    let mut plan = Plan::new(vec![server.target()]);
    (plan.mix, plan.sectors_max) = (WRITES, 64);
    let board = Board::new(Ledger::new(42, SECTORS));
    let heard = std::thread::scope(|scope| {
        let load = scope.spawn(|| load::run(&plan, &board));
        let witness = Witness::begin(&server.target(), &board, 1, plan.patience).unwrap();
        while witness.testimonies().len() < 60 {
            std::thread::yield_now();
        }
        board.stop();
        load.join().unwrap();
        witness.testimonies().len()
    });
    (board, heard)
}

#[test]
fn a_witness_finds_an_honest_server_honest() {
    let (board, heard) = load_with_witness(Plant::Nothing);
    assert!(heard >= 60 && board.violations().is_empty(), "{:?}", board.violations());
}

#[test]
fn a_stale_read_is_caught_that_only_a_witness_is_shown() {
    let (board, _) = load_with_witness(Plant::StaleRead { every: 3 });
    assert_caught(&board, |v| matches!(v, Kind::WentBack | Kind::Vanished));
}

#[test]
fn a_load_that_is_sent_elsewhere_leaves_nothing_unanswered() {
    let server = Fake::start(SECTORS * SECTOR_BYTES, Plant::Nothing);
    let plan = Plan::new(vec![server.target(), server.target()]);
    let board = Board::new(Ledger::new(42, SECTORS));
    std::thread::scope(|scope| {
        let load = scope.spawn(|| load::run(&plan, &board));
        for turn in 0..10 {
            let before = board.tally();
            board.move_to(turn % 2);
            let come = |tally: &load::Tally| {
                tally.connects >= before.connects + 2 && tally.writes >= before.writes + 20
            };
            assert!(board.wait(plan.patience, come), "{:?}", board.tally());
        }
        board.stop();
        load.join().unwrap();
    });
    assert!(load::check(&plan, &board), "the server can be read");
    assert_clean(&board);
    let tally = board.tally();
    assert_eq!((tally.in_doubt, tally.errors(), tally.disconnects), (0, 0, 0), "{tally:?}");
}
