//! The log that peers are still to be sent is pinned, as far as it can wait for them.

use alloc::vec::Vec;

use seawall_recovery::event::News;
use seawall_wal::names::{Lsn, ReplicaId};

use crate::bait::Bait;
use crate::core::Core;
use crate::notice::Notice;

impl Core {
    /// Hold the log from there on for a peer.
    pub(crate) fn pin_lane(&mut self, replica: ReplicaId, from: Lsn) {
        if self.setup.baited(Bait::FeedUnpinned) {
            return;
        }
        let pin = self.log.pin(from);
        let before = self.lane_mut(replica).pin.replace(pin);
        self.unpin(before);
    }

    /// Lanes need the log only from what they are sent next.
    pub(crate) fn refresh_pins(&mut self) {
        let moved: Vec<(ReplicaId, Lsn)> = self
            .lanes
            .iter()
            .filter_map(|(replica, lane)| {
                Some((*replica, lane.sender.next()?)).filter(|_| lane.pin.is_some())
            })
            .collect();
        for (replica, next) in moved {
            self.pin_lane(replica, next);
        }
    }

    /// The log can't wait for the peer that is furthest behind.
    pub(crate) fn drop_laggard(&mut self) {
        let laggard = self
            .lanes
            .iter()
            .filter_map(|(replica, lane)| {
                Some((lane.pin.as_ref()?.from(), *replica, lane.session.session()?))
            })
            .min_by_key(|(from, _, _)| *from);
        let Some((pinned, replica, session)) = laggard else { return };
        if pinned >= self.mover.home || self.log.pinned() != Some(pinned) {
            return;
        }
        self.notice(Notice::RetentionExceeded { replica, pinned });
        let _ = self.news(replica, session, News::RetentionSpent);
    }
}
