//! Cases that are judged one by one, from small to large, so that the first one that fails is a smallest one.

use std::time::{Duration, Instant};

use crate::search::{Breach, Counterexample, Report, attempt};

/// A count of cases, up to the first one that fails.
#[derive(Debug)]
pub struct Cases {
    began: Instant,
    report: Report,
}

impl Cases {
    /// None yet.
    #[must_use]
    pub fn new(model: &'static str) -> Cases {
        let report =
            Report { model, states: 0, steps: 0, depth: 0, whole: true, took: Duration::ZERO, breach: None };
        Cases { began: Instant::now(), report }
    }

    /// One more of that size. Whether to go on.
    pub fn judge(
        &mut self,
        size: usize,
        told: impl FnOnce() -> Vec<String>,
        judge: impl FnOnce() -> Result<(), Breach>,
    ) -> bool {
        self.report.states += 1;
        self.report.depth = self.report.depth.max(size);
        if let Err(breach) = attempt(judge) {
            self.report.breach = Some(Counterexample { breach, trace: told() });
        }
        self.report.breach.is_none()
    }

    /// What came of them.
    #[must_use]
    pub fn report(mut self) -> Report {
        self.report.took = self.began.elapsed();
        self.report
    }
}
