//! A bare quorum: after the faults exactly so many copies as a commit needs are left, for ever. They must go on
//! completing writes, at every stage, and the others must find their way back in the end.

use crate::clock::SECOND;
use crate::disk::Crash;
use crate::oracle::Failure;
use crate::oracle::image::{refused, superblock};
use crate::world::World;
use seawall_engine::status::Role;
use seawall_wal::superblock::BaseState;

/// The first write must complete within so long after the others are gone: a primary may have to be missed, replaced
/// and elected, more than once. Nanoseconds.
const FIRST_MAX: u64 = 30 * SECOND;
/// After that at least one write completes in each stage of so many nanoseconds.
const STAGE: u64 = 3 * SECOND;
/// So many stages.
const STAGES: u32 = 4;
/// Within so long after the faults there must be a quorum of copies that are whole. Nanoseconds.
const WHOLE_MAX: u64 = 120 * SECOND;

impl World {
    /// All but a bare quorum go away for ever. `false`: by contract an operator has to decide first.
    pub(crate) fn leave_a_quorum(&mut self) -> Result<bool, Failure> {
        let needed = self.profile.copies_needed().max(self.nodes.len() / 2 + 1);
        let late = self.now.plus(WHOLE_MAX);
        // All have noted their restart, so that their disks say what they are worth.
        let next = self.now.plus(SECOND);
        while self.advance(next)? {}
        while self.whole_nodes().len() < needed {
            if self.now >= late {
                return if self.needs_operator() { Ok(false) } else { Err(self.never_whole(needed)) };
            }
            let next = self.now.plus(SECOND / 4);
            while self.advance(next)? {}
        }
        let mut whole = self.whole_nodes();
        self.chances.order.shuffle(&mut whole);
        whole.truncate(needed);
        for node in (0..self.nodes.len()).filter(|node| !whole.contains(node)) {
            if self.nodes[node].replica.is_some() {
                self.crash(node, Crash::Kill);
            }
            // Whoever meant to start it again means another life.
            self.nodes[node].life += 1;
            self.transcript.line(self.now, &node, || "=== gone for ever".to_owned());
        }
        Ok(true)
    }

    fn never_whole(&self, needed: usize) -> Failure {
        let detail = format!(
            "fewer than {needed} whole copies after {} s: {:?}{}",
            WHOLE_MAX / SECOND,
            self.whole_nodes(),
            self.survey()
        );
        Failure::new("it-comes-back", detail)
    }

    /// Nodes that run and whose disks are whole copies that lost nothing, and answer.
    fn whole_nodes(&self) -> Vec<usize> {
        let is_whole = |node: &usize| {
            let disk = &self.nodes[*node].disk;
            let good = superblock(disk)
                .is_some_and(|superblock| superblock.base == BaseState::Complete && !superblock.lossy);
            // What a disk that hangs says of its copy is from before the restart that it may not have noted.
            let noted = self.status(*node).is_some_and(|status| status.role != Role::Opening);
            let speaks = noted && !self.hangs(*node) && !self.stalls(*node);
            good && speaks && self.is_up(*node) && !self.atlas.is_harmed(*node) && refused(disk).is_none()
        };
        (0..self.nodes.len()).filter(is_whole).collect()
    }

    /// Writes complete at every stage.
    pub(crate) fn keep_writing(&mut self) -> Result<(), Failure> {
        let left = self.now;
        let late = left.plus(FIRST_MAX);
        let before = self.tally.written;
        while self.tally.written == before {
            if self.now >= late {
                return Err(self.stopped("no write completed", FIRST_MAX));
            }
            let next = self.now.plus(SECOND / 4);
            while self.advance(next)? {}
        }
        for _ in 0..STAGES {
            let (before, next) = (self.tally.written, self.now.plus(STAGE));
            while self.advance(next)? {}
            if self.tally.written == before {
                return Err(self.stopped("writes went on, and stopped", STAGE));
            }
            self.tally.bare_stages += 1;
        }
        Ok(())
    }

    fn stopped(&self, what: &str, long: u64) -> Failure {
        let detail = format!("{what} for {} s with a bare quorum{}", long / SECOND, self.survey());
        Failure::new("a-quorum-is-enough", detail)
    }

    /// Those that were gone come back.
    pub(crate) fn bring_back(&mut self) -> Result<(), Failure> {
        for node in 0..self.nodes.len() {
            if self.nodes[node].replica.is_none() {
                self.start(node)?;
            }
        }
        Ok(())
    }
}
