//! What came of a sweep, counted, and the table that says so.

use std::collections::BTreeMap;

use super::crash::Crash;
use super::stage::Wrong;

/// A case that failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failed {
    /// Which one, so that it can be found again.
    pub case: String,
    /// What was wrong.
    pub wrong: Wrong,
}

/// What was counted of one mutation.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Count {
    /// Disk operations that it makes.
    pub operations: usize,
    /// Crashes: by what was done of the operation (before, after, torn), and whether the power went.
    pub crashes: BTreeMap<(&'static str, bool), usize>,
    /// Ill operations, by ill and outcome.
    pub outcomes: BTreeMap<(&'static str, String), usize>,
    /// Of outcomes that nobody saw: which operations they came of.
    pub unseen: BTreeMap<(&'static str, String), BTreeMap<String, usize>>,
}

impl Count {
    /// All crashes.
    #[must_use]
    pub fn cases(&self) -> usize {
        self.crashes.values().sum::<usize>() + self.outcomes.values().sum::<usize>()
    }
}

/// What came of a sweep.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Harvest {
    /// By mutation.
    pub counts: BTreeMap<&'static str, Count>,
    /// What failed.
    pub failed: Vec<Failed>,
}

impl Harvest {
    pub(super) fn begin(&mut self, mutation: &'static str, operations: usize) {
        self.counts.entry(mutation).or_default().operations = operations;
    }

    pub(super) fn crash(&mut self, mutation: &'static str, crash: Crash) {
        let count = self.counts.entry(mutation).or_default();
        *count.crashes.entry((crash.leaves.class(), crash.is_power())).or_default() += 1;
    }

    pub(super) fn outcome(&mut self, mutation: &'static str, ill: &'static str, what: &str, operation: &str) {
        let count = self.counts.entry(mutation).or_default();
        let key = (ill, what.to_owned());
        if what.contains("NOT SEEN") || what.contains("another") || what.contains("assertion") {
            let verb: Vec<&str> = operation.split(' ').take(2).collect();
            let verb = if verb.first() == Some(&"append") { "append".into() } else { verb.join(" ") };
            *count.unseen.entry(key.clone()).or_default().entry(verb).or_default() += 1;
        }
        *count.outcomes.entry(key).or_default() += 1;
    }

    pub(super) fn fail(&mut self, failed: Failed) {
        self.failed.push(failed);
    }

    /// Join two harvests.
    pub fn add(&mut self, other: Harvest) {
        for (mutation, other) in other.counts {
            let count = self.counts.entry(mutation).or_default();
            count.operations = count.operations.max(other.operations);
            for (key, cases) in other.crashes {
                *count.crashes.entry(key).or_default() += cases;
            }
            for (key, cases) in other.outcomes {
                *count.outcomes.entry(key).or_default() += cases;
            }
            for (key, operations) in other.unseen {
                for (operation, cases) in operations {
                    *count.unseen.entry(key.clone()).or_default().entry(operation).or_default() += cases;
                }
            }
        }
        self.failed.extend(other.failed);
    }

    /// All cases.
    #[must_use]
    pub fn cases(&self) -> usize {
        self.counts.values().map(Count::cases).sum()
    }
}
