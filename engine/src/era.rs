//! Which era a replica belongs to, and what it may do when it hears of a higher one: wait to be fed.

use alloc::format;
use alloc::string::String;

use seawall_wal::names::{Epoch, ReplicaId};

use crate::bait::Bait;
use crate::core::Core;
use crate::forward::Attached;
use crate::io::Refusal;
use crate::notice::Notice;

/// The epoch that a candidate asks for: above all that it used and heard of in its own era, and never in another.
pub(crate) fn next_epoch(me: ReplicaId, tail: Epoch, known: [Epoch; 2], baited: bool) -> Epoch {
    // Invariant: eras-are-forced.
    let counts = |epoch: &Epoch| baited || epoch.era() == tail.era();
    known.into_iter().filter(counts).fold(tail, Epoch::max).successor(me)
}

impl Core {
    /// An epoch was heard of: whether its era is above that of our log.
    pub(crate) fn note_era(&mut self, epoch: Epoch) {
        if epoch.era() > self.era() && epoch > self.foreign {
            self.foreign = epoch;
            self.notice(Notice::Stranded { epoch });
        }
    }

    /// The epoch that puts this log on the losing side of a forced promotion, until that reign feeds it.
    pub(crate) fn stranded(&self) -> Option<Epoch> {
        let highest = self.promised().max(self.foreign);
        (highest.era() > self.era() && !self.setup.baited(Bait::EraByCounting)).then_some(highest)
    }

    /// Our log belongs to a higher era than what our clients asked before: their attachment, and what they were let in with,
    /// may be names of the branch that is void, which other records have now. They come anew.
    pub(crate) fn look_at_era(&mut self) {
        let era = self.era();
        if era > self.forwarder.era.0 {
            // Invariant: newest-attachment-writes.
            self.forwarder.era = (era, self.let_in().at);
            self.forwarder.attached = Attached::No;
            self.refuse_all_ours(Refusal::Superseded);
        }
    }

    pub(crate) fn stranded_why(&self) -> Option<String> {
        let epoch = self.stranded()?;
        Some(format!(
            "a promotion was forced elsewhere (epoch {epoch}), and this copy is on the losing branch: it waits for that reign to \
             feed it"
        ))
    }
}
