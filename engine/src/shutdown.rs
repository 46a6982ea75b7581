//! A clean end: finish what is in flight, bring everything home, leave the clean mark.

use seawall_wal::superblock::CleanMark;

use crate::core::{Core, Told};
use crate::io::{Answered, CommandId, Refusal};
use crate::notice::Notice;
use crate::primary::Primary;
use crate::scribe::Safety;

impl Core {
    /// An operator wants a clean end.
    pub(crate) fn on_drain(&mut self, id: CommandId) {
        if self.drained {
            return self.answer(id, Ok(Answered::Drained));
        }
        if let Some(fault) = self.fault.clone() {
            return self.answer(id, Err(fault));
        }
        if let Some(before) = self.drain.replace(id) {
            self.answer(before, Err("asked for again".into()));
        }
        self.candidate_ends("this replica shuts down");
        self.drain_due();
    }

    /// Step by step towards the clean mark, as far as one can go now.
    pub(crate) fn drain_due(&mut self) {
        if self.drain.is_none() || self.draining {
            return;
        }
        let serving = |primary: &Primary| primary.serving;
        let asked = self.primary.as_ref().is_some_and(|primary| primary.requests() > 0);
        if self.primary.as_ref().is_some_and(serving) && (asked || !self.forwarder.is_empty()) {
            return;
        }
        self.abdicate(Refusal::ShuttingDown);
        self.refuse_all_ours(Refusal::ShuttingDown);
        if !self.forwarder.is_empty() {
            // The disk is at their buffers.
            return;
        }
        if self.feed.is_some() {
            self.end_feed("this replica shuts down");
        }
        self.flush_to = self.flush_to.max(self.log.end());
        if !self.log_is_settled_on_disk() || self.mover.is_active() || self.base_writes_in_flight() {
            return;
        }
        if self.taken > self.mover.home {
            self.mover.urgent = true;
            self.checkpoint_due();
            return;
        }
        self.draining = true;
        let end = self.log.end();
        self.change_superblock(Safety::Once, Told::Drained, |superblock| {
            superblock.clean = Some(CleanMark { end })
        });
    }

    /// The clean mark is durable.
    pub(crate) fn on_drained(&mut self) {
        self.drained = true;
        let end = self.log.end();
        self.notice(Notice::Drained { end });
        if let Some(id) = self.drain.take() {
            self.answer(id, Ok(Answered::Drained));
        }
    }
}
