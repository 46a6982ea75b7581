//! What `seawall whatif` says before a blow, and whether it came so.

use std::collections::BTreeSet;

use super::Drill;
use crate::cluster::Cluster;
use crate::site::{NAMES, text};

/// What is to come, by the primary's own word.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Forecast {
    writable: bool,
    primaries: BTreeSet<String>,
    said: String,
}

/// What came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Outcome {
    /// Whether clients wrote again without anybody's help.
    pub(crate) wrote: bool,
    /// Who was primary then.
    pub(crate) primary: Option<usize>,
}

impl Forecast {
    /// Asked of the primary, before that is done to `victim`.
    pub(crate) fn ask(cluster: &Cluster, primary: usize, drill: Drill, victim: usize) -> Forecast {
        // To the others, a primary that can't be reached is as good as dead.
        let deed = if drill == Drill::HandOver { "drain" } else { "kill" };
        let output = cluster.run(primary, &["whatif", deed, NAMES[victim], "--json"]);
        assert!(output.status.success(), "{}", text(&output));
        Forecast::read(&String::from_utf8_lossy(&output.stdout))
    }

    pub(crate) fn read(json: &str) -> Forecast {
        let value: serde_json::Value = serde_json::from_str(json).unwrap();
        let names = value["primary_candidates"].as_array().expect("a list of names");
        Forecast {
            writable: value["writable"].as_bool().expect("yes or no"),
            primaries: names.iter().map(|name| name.as_str().expect("a name").to_owned()).collect(),
            said: value["says"].as_str().unwrap_or_default().to_owned(),
        }
    }

    /// What came otherwise than it says; none if all came so.
    pub(crate) fn mismatch(&self, outcome: Outcome) -> Option<String> {
        let known = outcome.primary.is_none_or(|index| self.primaries.contains(NAMES[index]));
        if outcome.wrote == self.writable && known {
            return None;
        }
        let wrote = if outcome.wrote { "clients wrote again" } else { "clients could not write" };
        let primary = outcome.primary.map_or("nobody", |index| NAMES[index]);
        Some(format!("{wrote}, {primary} was the primary; foretold: {} ({:?})", self.said, self.primaries))
    }
}
