//! Digests of the volume's bytes at one LSN, to compare copies.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use seawall_recovery::event::News;
use seawall_recovery::messages::{Digest, DigestAsk};
use seawall_sender::codec;
use seawall_sender::frame::Kind;
use seawall_sender::session_id::SessionId;
use seawall_sender::violation::Violation;
use seawall_wal::names::{Extent, Lsn, ReplicaId};
use seawall_wal::table::{mix, stored};

use crate::bait::Bait;
use crate::core::Core;
use crate::io::{Answered, CommandId};
use crate::notice::Notice;

/// Blocks that one lookup looks at.
const STRIDE_BLOCKS: u32 = 1 << 16;

/// Who waits for our own digest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Asker {
    /// The primary that we follow, whose digest this is.
    Primary { session: SessionId, theirs: u128 },
    /// A peer that is to be compared with us.
    Lane { replica: ReplicaId, session: SessionId },
    /// An operator's question.
    Question,
}

/// An operator's question, and who has answered.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) id: CommandId,
    pub(crate) at: Lsn,
    pub(crate) missing: Vec<ReplicaId>,
    pub(crate) digests: Vec<(ReplicaId, u128)>,
    pub(crate) own: bool,
}

/// Digests asked for and not yet due, and questions under way.
#[derive(Debug, Default)]
pub(crate) struct Digests {
    pub(crate) wanted: BTreeMap<Lsn, Vec<Asker>>,
    pub(crate) questions: Vec<Question>,
}

impl Digests {
    /// Digests that are wanted and not yet due.
    pub(crate) fn waiting(&self) -> usize {
        self.wanted.values().map(Vec::len).sum()
    }
}

impl Core {
    /// The digest of the volume's bytes as of `taken`.
    pub(crate) fn digest_now(&self) -> u128 {
        let blocks = self.setup.volume_blocks;
        let mut digest = self.table.digest();
        let mut start = 0;
        while start < blocks {
            let length =
                u32::try_from(u64::from(STRIDE_BLOCKS).min(blocks - start)).expect("a stride is small");
            let extent = Extent::new(start, length);
            for (part, cover) in self.overlay.lookup(extent) {
                let Some(cover) = cover else { continue };
                for block in part.start..part.end() {
                    if let Some(old) = self.table.get(block) {
                        digest = digest.wrapping_sub(mix(block, old));
                    }
                    if cover.zero {
                        continue;
                    }
                    let index = cover.first + u32::try_from(block - part.start).expect("a part is small");
                    let crc = self.log.body_crc(cover.lsn, index).expect("an overlaid record is in the log");
                    digest = digest.wrapping_add(mix(block, stored(crc)));
                }
            }
            start += u64::from(length);
        }
        digest
    }

    /// `taken` has just become `lsn`: answer who waits for that.
    pub(crate) fn digest_due(&mut self, lsn: Lsn) {
        let Some(askers) = self.digests.wanted.remove(&lsn) else { return };
        let digest = self.digest_now();
        for asker in askers {
            match asker {
                Asker::Primary { session, theirs } => self.tell_digest(session, lsn, theirs, digest),
                Asker::Lane { replica, session } => self.ask_digest_of(replica, session, lsn, digest),
                Asker::Question => self.on_own_digest(lsn, digest),
            }
        }
    }

    /// Somebody wants the digest at `at`, which is not below `taken`.
    pub(crate) fn want_digest(&mut self, at: Lsn, asker: Asker) {
        assert!(at >= self.taken, "a digest of the past can't be told any more");
        let askers = self.digests.wanted.entry(at).or_default();
        if !askers.contains(&asker) {
            askers.push(asker);
        }
        if self.taken == at {
            self.digest_due(at);
        }
    }

    fn on_own_digest(&mut self, at: Lsn, digest: u128) {
        let me = self.me();
        for question in self.digests.questions.iter_mut().filter(|question| question.at == at) {
            question.own = true;
            question.digests.push((me, digest));
        }
        self.answer_digests();
    }

    /// An operator asks.
    pub(crate) fn ask_digest(&mut self, id: CommandId) {
        if self.primary.as_ref().is_none_or(|primary| !primary.serving) {
            self.answer(id, Err("this replica is not the primary: ask the primary".into()));
            return;
        }
        let at = self.log.end();
        let peers: Vec<(ReplicaId, SessionId)> = self
            .lanes
            .iter()
            .filter(|(_, lane)| lane.counts() && lane.digest_at.is_none())
            .filter_map(|(replica, lane)| Some((*replica, lane.session.session()?)))
            .collect();
        let missing = peers.iter().map(|(replica, _)| *replica).collect();
        self.digests.questions.push(Question { id, at, missing, digests: Vec::new(), own: false });
        for (replica, session) in peers {
            self.plan_digest(replica, session, at);
        }
        self.want_digest(at, Asker::Question);
        self.want_pulse();
    }

    /// A peer's digest came for an operator's question.
    pub(crate) fn on_digest_for_question(&mut self, replica: ReplicaId, at: Lsn, digest: u128) {
        for question in self.digests.questions.iter_mut().filter(|question| question.at == at) {
            if let Some(place) = question.missing.iter().position(|missing| *missing == replica) {
                question.missing.swap_remove(place);
                question.digests.push((replica, digest));
            }
        }
        self.answer_digests();
    }

    /// A peer is gone: nobody waits for its digest.
    pub(crate) fn digest_not_coming(&mut self, replica: ReplicaId) {
        for question in &mut self.digests.questions {
            question.missing.retain(|missing| *missing != replica);
        }
        self.answer_digests();
    }

    fn answer_digests(&mut self) {
        let questions = core::mem::take(&mut self.digests.questions);
        for mut question in questions {
            if question.own && question.missing.is_empty() {
                question.digests.sort_unstable();
                let answered = Answered::Digest { at: question.at, digests: question.digests };
                self.answer(question.id, Ok(answered));
            } else {
                self.digests.questions.push(question);
            }
        }
    }

    pub(crate) fn lane_digest(
        &mut self,
        replica: ReplicaId,
        session: SessionId,
        theirs: Digest,
    ) -> Result<(), Violation> {
        let Some(lane) = self.lanes.get_mut(&replica) else { return Ok(()) };
        if lane.session.session() != Some(session) {
            self.notice(Notice::Stale { session });
            return Ok(());
        }
        let compared = lane.digest.take_if(|(at, _)| *at == theirs.at);
        self.on_digest_for_question(replica, theirs.at, theirs.digest);
        let lane = self.lane_mut(replica);
        let Some((at, ours)) = compared else { return Ok(()) };
        if !core::mem::take(&mut lane.compares) {
            return Ok(());
        }
        let equal = ours == theirs.digest || self.setup.baited(Bait::SkipBlock);
        if equal {
            self.lane_mut(replica).amnesia = None;
            self.notice(Notice::RebuildDone { at });
        }
        self.news(replica, session, News::DigestCompared { equal })
    }

    /// Our digest at that position is to be compared with a peer's.
    pub(crate) fn plan_digest(&mut self, replica: ReplicaId, session: SessionId, at: Lsn) {
        self.lane_mut(replica).digest_at = Some(at);
        self.want_digest(at, Asker::Lane { replica, session });
        self.want_pulse();
    }

    /// Our own digest is known: ask for the peer's.
    pub(crate) fn ask_digest_of(&mut self, replica: ReplicaId, session: SessionId, at: Lsn, digest: u128) {
        let lane = self.lane_mut(replica);
        if lane.session.session() != Some(session) || lane.digest_at != Some(at) {
            return;
        }
        lane.digest_at = None;
        lane.digest = Some((at, digest));
        let ask = codec::encode(&DigestAsk { at, digest });
        self.send_lane(replica, Kind::DigestAsk, self.epoch(), session, &ask, None);
        self.want_pulse();
    }
}
