//! What one session leaves for the next.

use crate::end::End;
use crate::plan_facts::{PlanFacts, Trust};

/// What a state remembers of earlier sessions.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Past {
    /// Sessions in a row that came to nothing.
    pub attempts: u32,
    /// What they showed of the replica's bytes.
    pub trust: Trust,
    /// The last end that will repeat itself, and the facts that it was for.
    pub setback: Option<Setback>,
}

/// An end that will repeat itself for the same facts.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Setback {
    /// The end.
    pub end: End,
    /// The facts; `None` where the end does not depend on them.
    pub facts: Option<PlanFacts>,
}

impl Past {
    /// Only what was learned of the bytes still counts.
    pub(crate) fn afresh(self) -> Past {
        Past { attempts: 0, setback: None, ..self }
    }
}
