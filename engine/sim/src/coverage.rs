//! What a swarm must have seen before its silence means anything: every kind of notice, every rule of the tables that
//! decide, every kind of fault.

use core::fmt::Write as _;

use seawall_engine::notice::Notice;
use seawall_recovery::rule::Rule;
use seawall_wal::restart::RestartRule;
use seawall_wal::superblock::ChoiceRule;

use crate::tally::{Fault, Tally};

/// A swarm of fewer seeds may have missed something by chance.
pub const SEEDS_MIN: u64 = 1000;

/// What can be seen.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Table {
    /// Kinds of notices.
    Notice,
    /// Rules by which a plan for a replica is chosen.
    Plan,
    /// Rules by which a restart judges a log.
    Restart,
    /// Rules by which one of two superblocks is chosen.
    Choice,
    /// Faults.
    Fault,
}

impl Table {
    /// All of them.
    pub const ALL: [Table; 5] = [Table::Notice, Table::Plan, Table::Restart, Table::Choice, Table::Fault];

    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Table::Notice => "notice",
            Table::Plan => "plan rule",
            Table::Restart => "restart rule",
            Table::Choice => "superblock rule",
            Table::Fault => "fault",
        }
    }

    /// The names of all its entries.
    #[must_use]
    pub fn entries(self) -> Vec<&'static str> {
        match self {
            Table::Notice => Notice::KINDS.to_vec(),
            Table::Plan => Rule::ALL.iter().map(Rule::name).collect(),
            Table::Restart => RestartRule::ALL.into_iter().map(RestartRule::name).collect(),
            Table::Choice => ChoiceRule::ALL.into_iter().map(ChoiceRule::name).collect(),
            Table::Fault => Fault::ALL.into_iter().map(Fault::name).collect(),
        }
    }
}

/// What no swarm shows, why, and which test shows it instead.
const EXCUSED: &[(Table, &str, &str)] = &[
    (Table::Notice, "clocks-differ", "clocks are within the bound; scenario clocks-beyond-the-bound"),
    (
        Table::Notice,
        "clocks-agree",
        "clocks are within the bound; engine's drift.rs, a clock that runs right again",
    ),
    (
        Table::Plan,
        "foreign-disk",
        "the greeting refuses it before there are facts; `recovery/tests/boundaries.rs`",
    ),
    (Table::Plan, "absurd-facts", "only a peer that lies tells them; `recovery/tests/boundaries.rs`"),
    (
        Table::Plan,
        "promised-above",
        "the greeting refuses it, but for a race; `recovery/tests/boundaries.rs`",
    ),
    (
        Table::Plan,
        "settled-ahead",
        "needs a reign without the newest history; `recovery/tests/boundaries.rs`",
    ),
    (
        Table::Plan,
        "trust-withdrawn",
        "needs a rebuild that ended with other bytes; `recovery/tests/boundaries.rs`",
    ),
    (Table::Plan, "stray-base", "needs a reign that began below a rebuild; `recovery/tests/boundaries.rs`"),
    (
        Table::Plan,
        "early-base",
        "needs a source that knows of less than the last one; `recovery/tests/boundaries.rs`",
    ),
    (Table::Plan, "tail-contradicts", "needs one name for two records; `recovery/tests/boundaries.rs`"),
    (
        Table::Plan,
        "tail-ahead",
        "a new reign writes a record before it plans; `recovery/tests/boundaries.rs`",
    ),
    (
        Table::Restart,
        "floor-missing",
        "the lost records are mostly proven by later ones; `wal/tests/restart_images.rs`",
    ),
    (
        Table::Restart,
        "clean-mark-broken",
        "no disk is harmed after a clean shutdown; `wal/tests/restart_images.rs`",
    ),
    (
        Table::Notice,
        "peer-refused",
        "the driver's own: TLS is not simulated; `blockdev/src/links/tests/tls.rs`",
    ),
    (Table::Notice, "forcing", "no operator of a swarm forces anything; arena forced"),
    (Table::Notice, "forced", "no operator of a swarm forces anything; arena forced"),
    (Table::Notice, "force-refused", "no operator of a swarm forces anything; arena forced"),
    (Table::Notice, "stranded", "no operator of a swarm forces anything; arena forced"),
    (Table::Fault, "forced", "no operator of a swarm forces anything; arena forced"),
    (Table::Fault, "foretold", "only a story has a look first; `scenarios/forced`"),
    (Table::Choice, "never-formatted", "every disk is formatted; `wal/tests/superblock.rs`"),
    (Table::Choice, "none-readable", "the atlas spares one slot; `wal/tests/superblock.rs`"),
    (Table::Choice, "strangers", "no disk gets another's slot; `wal/tests/superblock.rs`"),
    (Table::Choice, "twins", "numbers are never used twice; `wal/tests/superblock.rs`"),
    (Table::Choice, "rivals", "numbers are never used twice; `wal/tests/superblock.rs`"),
];

/// One entry of a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Row {
    /// Of which table.
    pub table: Table,
    /// Its name.
    pub name: &'static str,
    /// How often it was seen.
    pub count: u64,
    /// Why it need not be seen, if so.
    pub excuse: Option<&'static str>,
}

/// All entries of all tables.
#[must_use]
pub fn rows(tally: &Tally) -> Vec<Row> {
    let entries =
        Table::ALL.into_iter().flat_map(|table| table.entries().into_iter().map(move |name| (table, name)));
    entries
        .map(|(table, name)| Row {
            table,
            name,
            count: count(tally, table, name),
            excuse: EXCUSED
                .iter()
                .find(|excused| (excused.0, excused.1) == (table, name))
                .map(|excused| excused.2),
        })
        .collect()
}

fn count(tally: &Tally, table: Table, name: &'static str) -> u64 {
    let counted = match table {
        Table::Notice => tally.notices.get(name),
        Table::Plan | Table::Restart | Table::Choice => tally.marks.get(&(table, name)),
        Table::Fault => tally.faults.iter().find(|(fault, _)| fault.name() == name).map(|(_, count)| count),
    };
    counted.copied().unwrap_or(0)
}

/// What was never seen and has no excuse.
#[must_use]
pub fn missing(tally: &Tally) -> Vec<Row> {
    rows(tally).into_iter().filter(|row| row.count == 0 && row.excuse.is_none()).collect()
}

/// All of it as a document.
#[must_use]
pub fn markdown(seeds: u64, tally: &Tally) -> String {
    let mut text = format!(
        "# What {seeds} runs have seen\n\n{} steps, {} writes and {} reads that completed, {} s of simulated time.\n",
        tally.steps,
        tally.written,
        tally.reads,
        tally.nanos / 1_000_000_000
    );
    for table in Table::ALL {
        write!(text, "\n| {} | seen |\n|---|---|\n", table.name()).expect("a string takes everything");
        for row in rows(tally).into_iter().filter(|row| row.table == table) {
            let seen = match (row.count, row.excuse) {
                (0, Some(excuse)) => format!("never: {excuse}"),
                (0, None) => "**never**".to_owned(),
                (count, _) => count.to_string(),
            };
            writeln!(text, "| {} | {seen} |", row.name).expect("a string takes everything");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_never_seen_is_named() {
        let mut tally = Tally::default();
        for table in Table::ALL {
            for name in table.entries() {
                tally.marks.insert((table, name), 2);
                tally.notices.insert(name, 2);
            }
        }
        for fault in Fault::ALL {
            tally.fired(fault, 2);
        }
        assert_eq!(missing(&tally), []);
        tally.marks.remove(&(Table::Plan, "equal-ends"));
        tally.notices.remove("stale");
        tally.faults.remove(&Fault::Kill);
        let missing: Vec<&str> = missing(&tally).into_iter().map(|row| row.name).collect();
        assert_eq!(missing, ["stale", "equal-ends", "kill"]);
        assert!(markdown(7, &tally).contains("| equal-ends | **never** |"));
    }

    #[test]
    fn nothing_is_excused_that_does_not_exist() {
        for (table, name, excuse) in EXCUSED {
            assert!(table.entries().contains(name), "{name}: {excuse}");
        }
    }
}
