//! `seawall verify-load`: a load that remembers what it was told, and the verdict about what it reads.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use crate::fault::{Exit, Fault};
use crate::load::ledger::Ledger;
use crate::load::violation::Violation;
use crate::load::{self, Board, Plan, SECTOR_BYTES, Tally};
use crate::logs::Form;
use crate::nbd::Target;
use crate::quantity;

/// Its arguments.
#[derive(Args, Debug)]
#[command(after_long_help = "\
IT WRITES: it destroys what is in the first --region bytes of the volume. Use a volume that holds nothing.

Every sector that it writes carries its own number, place, sender and time. The ledger's file has a line before each \
write is sent and one after it was answered; so it knows, after a crash of the volume, of this machine's connection or \
of this program, what must be there (writes that were answered), what may be there (writes that never were), and what \
must not. Run it again with the same ledger to go on, or with --check-only to read everything and write nothing.

The last line says how it went: `verified: ...` with exit code 0, `violated: ...` with 14, `unreachable: ...` with 12. \
Before it, each sector that is not what it must be has a line: block and sector, what was found, what was expected, and \
which connection sent either when. With --form json each line is an object; the last one has an `outcome`.")]
pub struct VerifyLoad {
    /// The export; more than one if it may move.
    #[arg(long, required = true)]
    uri: Vec<Target>,
    /// The ledger's file; created if it is not there.
    #[arg(long)]
    ledger: PathBuf,
    /// How much of the volume a new ledger covers, from its start on. All of it is overwritten.
    #[arg(long, default_value = "64MiB", value_parser = parse_size)]
    region: u64,
    /// How long to load.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Connections.
    #[arg(long, default_value_t = 2)]
    connections: u32,
    /// Requests in flight per connection.
    #[arg(long, default_value_t = 8)]
    depth: usize,
    /// Where the randomness starts.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How long to go on trying while nothing gets done, in seconds.
    #[arg(long, default_value_t = 120)]
    patience: u64,
    /// How long to wait for an answer before trying another connection, in seconds.
    #[arg(long, default_value_t = 30)]
    answer_patience: u64,
    /// Only read everything and check it.
    #[arg(long)]
    check_only: bool,
    /// How what it found is told.
    #[arg(long, value_enum, default_value = "text")]
    form: Form,
}

fn parse_size(text: &str) -> Result<u64, String> {
    quantity::size(text).ok_or_else(|| "expected a size such as 64MiB".to_owned())
}

/// Load, read everything, and tell.
///
/// # Errors
/// If the ledger can't be used, the volume can't be reached, or it is not what it must be.
pub fn run(args: VerifyLoad) -> Result<(), Fault> {
    let ledger_fault = |error: &std::io::Error| Fault::io("use the ledger", &args.ledger, error);
    let sectors = usize::try_from(args.region).unwrap_or(usize::MAX) / SECTOR_BYTES;
    let run = quantity::random().map(u64::from_le_bytes).map_err(|e| ledger_fault(&e))?;
    let ledger = Ledger::open(&args.ledger, run, sectors).map_err(|e| ledger_fault(&e))?;
    let mut plan = Plan::new(args.uri);
    plan.connections = args.connections;
    plan.depth = args.depth;
    plan.seed = args.seed;
    plan.time = Some(Duration::from_secs(args.seconds));
    plan.patience = Duration::from_secs(args.patience);
    plan.answer_patience = Duration::from_secs(args.answer_patience);
    let board = Board::new(ledger);
    if !args.check_only {
        load::run(&plan, &board);
    }
    let whole = load::check(&plan, &board);
    let (tally, violations) = (board.tally(), board.violations());
    let reached = whole && tally.gave_up == 0;
    let outcome = match (tally.violations, reached) {
        (1.., _) => "violated",
        (0, false) => "unreachable",
        (0, true) => "verified",
    };
    let told = match args.form {
        Form::Text => text(outcome, &tally, &violations),
        Form::Json => objects(outcome, &tally, &violations),
    };
    // A reader that went away has heard enough.
    let _ = std::io::stdout().lock().write_all(told.as_bytes());
    if tally.violations > 0 {
        let what = format!("{} sectors are not what they must be", tally.violations);
        return Err(Fault::new(Exit::LedgerBroken, what).next("keep the devices and the ledger as they are"));
    }
    if !reached {
        return Err(Fault::new(Exit::Unreachable, "the volume could not be reached in time"));
    }
    Ok(())
}

fn text(outcome: &str, tally: &Tally, violations: &[Violation]) -> String {
    let mut told: String = violations.iter().map(|violation| format!("{violation}\n")).collect();
    let Tally { writes, reads, flushes, in_doubt, disconnects, overlaps, checked_sectors, .. } = tally;
    let errors = tally.errors();
    told += &format!(
        "{outcome}: {} violations; {writes} writes, {reads} reads, {flushes} flushes, {errors} errors, \
         {disconnects} disconnects, {in_doubt} in doubt, {overlaps} overlaps, {checked_sectors} sectors read at the \
         end, longest request {} ms\n",
        tally.violations, tally.longest_request_ms
    );
    told
}

fn objects(outcome: &str, tally: &Tally, violations: &[Violation]) -> String {
    let object = |violation: &Violation| {
        let (block, sector) = (violation.sector / 8, violation.sector);
        format!("{}\n", json!({ "block": block, "sector": sector, "what": violation.to_string() }))
    };
    let mut told: String = violations.iter().map(object).collect();
    told += &format!("{}\n", json!({ "outcome": outcome, "tally": tally }));
    told
}
