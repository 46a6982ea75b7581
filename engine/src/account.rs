//! What an open replica tells of itself, put together when somebody asks; and since when it has had no quorum, which
//! nobody could tell afterwards.

use alloc::vec::Vec;

use seawall_wal::names::{LineageRow, Lsn};
use seawall_wal::superblock::BaseState;

use crate::core::Core;
use crate::risk::AtRisk;
use crate::status::{FeedStatus, ForcedStatus, PeerStatus, Policy, Quorum, Status, Watch};

impl Core {
    /// What it shows of itself.
    pub(crate) fn status(&self) -> Status {
        let superblock = self.scribe.content();
        let (role, epoch) = self.role();
        let base_held = match superblock.base {
            BaseState::Complete => self.setup.volume_blocks,
            BaseState::Rebuilding { held, .. } => self.base_held_contiguous().unwrap_or(held),
            BaseState::Blank => 0,
        };
        Status {
            replica: self.me(),
            role,
            promised: superblock.promised,
            epoch,
            lineage: self.lineage.clone(),
            log_start: self.log.start(),
            log_end: self.log.end(),
            written: self.log.written(),
            durable: self.log.durable(),
            committed: self.committed,
            settled: self.settled,
            checkpoint: self.mover.home,
            log_used_bytes: self.log.used_bytes(),
            log_bytes: self.log_bytes(),
            index_bytes: self.log.index_bytes()
                + self.overlay.bytes()
                + self.recent.bytes()
                + self.table.bytes(),
            base_complete: self.base_complete(),
            base_held,
            lossy: superblock.lossy,
            restart_rule: self.restart_rule,
            fault: self.fault.clone(),
            requests: self.forwarder.requests(),
            boots: superblock.boots,
            configuration: self.membership.newest().clone(),
            pending: self.membership.pending(),
            maintenance: self.maintenance_status(),
            peers: if self.primary.is_some() { self.peers() } else { Vec::new() },
            now: self.now,
            policy: Policy::of(&self.setup),
            electorate: self.electorate.clone(),
            voter: self.is_voter(self.me()),
            stranded: self.stranded(),
            forced: self.forced(),
            draining: self.drain.is_some(),
            quorum: self.quorum(),
            watch: self.watch(),
            alone: self.on_reign(|core| core.at_risk(core.held_elsewhere())),
            volatile: self.on_reign(|core| core.at_risk(core.settled)),
        }
    }

    /// The last promotion that was forced in our history.
    fn forced(&self) -> Option<ForcedStatus> {
        let rises = |(before, row): &(&LineageRow, &LineageRow)| before.epoch.era() < row.epoch.era();
        let (before, row) = self.lineage.iter().zip(self.lineage.iter().skip(1)).rfind(rises)?;
        Some(ForcedStatus { epoch: row.epoch, first: row.first, before: before.epoch })
    }

    fn peers(&self) -> Vec<PeerStatus> {
        let end = self.log.end();
        self.lanes
            .iter()
            .map(|(replica, lane)| {
                let frontiers = lane.sender.frontiers();
                PeerStatus {
                    replica: *replica,
                    state: lane.session.name(),
                    session: lane.session.session(),
                    rule: lane.rule,
                    last_end: lane.last_end,
                    voter: self.is_voter(*replica),
                    speaks: lane.speaks(),
                    fed: lane.sender.session().is_some(),
                    rebuilding: lane.is_rebuilding(),
                    maintained: self.maintained(*replica).is_some(),
                    next_try: lane.next_try(),
                    behind: self.at_risk(lane.holds()),
                    counts: lane.counts(),
                    lagging: self.membership.newest().lags(*replica),
                    dropped: lane.pace.dropped(),
                    received: frontiers.received,
                    written: frontiers.written,
                    durable: frontiers.durable,
                    home: frontiers.home,
                    in_flight_bytes: lane.sender.in_flight_bytes(),
                    lag_records: end.since(frontiers.durable),
                    lag_bytes: self.log.bytes_from(frontiers.durable.max(self.log.start()).min(end)),
                    progress: self.progress(lane),
                }
            })
            .collect()
    }

    fn progress(&self, lane: &crate::lane::Lane) -> Option<seawall_recovery::progress::Progress> {
        use seawall_recovery::progress::Unit;
        if lane.session.session().is_none() || lane.counts() {
            return None;
        }
        let phase = lane.session.name();
        if let Some(base) = &lane.base {
            let held = base.cursor.held();
            return Some(lane.estimator.progress(
                self.now,
                phase,
                held,
                self.setup.volume_blocks,
                Unit::Blocks,
            ));
        }
        let done = lane.sender.frontiers().durable.since(lane.began_at);
        let total = self.log.end().since(lane.began_at);
        Some(lane.estimator.progress(self.now, phase, done, total, Unit::Records))
    }

    fn on_reign(&self, risk: fn(&Core) -> AtRisk) -> AtRisk {
        self.primary.as_ref().map_or(AtRisk::default(), |_| risk(self))
    }

    /// The farthest that any other copy is known to have come on stable storage: by its own word, or because nothing
    /// settles without it.
    fn held_elsewhere(&self) -> Lsn {
        let told = self.lanes.values().map(crate::lane::Lane::holds).max().unwrap_or(Lsn::ZERO);
        let (_, needed) = self.quorum_present();
        if needed > 1 { told.max(self.settled) } else { told }
    }

    fn quorum(&self) -> Quorum {
        let Some(primary) = self.primary.as_ref() else {
            let heard = self.hears_a_primary();
            return Quorum { heard, missing_since: self.quorumless, ..Quorum::default() };
        };
        let (present, needed) = self.quorum_present();
        Quorum {
            present,
            needed,
            leased: !primary.clocks_trusted || self.holds_lease(),
            heard: false,
            missing_since: self.quorumless,
        }
    }

    /// At the end of each step: is this replica part of a volume that takes writes?
    pub(crate) fn note_quorum(&mut self) {
        let has = if self.fault.is_some() || self.drained {
            false
        } else if self.primary.as_ref().is_some_and(|primary| primary.serving) {
            let quorum = self.quorum();
            quorum.present >= quorum.needed && quorum.leased
        } else {
            self.feed.as_ref().is_some_and(crate::follower::Feed::is_fed) && self.hears_a_primary()
        };
        self.quorumless = if has { None } else { self.quorumless.or(Some(self.now)) };
    }

    fn watch(&self) -> Watch {
        let silent_from = self.silent_from();
        let feed = self.feed.as_ref().map(|feed| FeedStatus {
            primary: feed.epoch.replica,
            stage: feed.stage.name(),
            fed: feed.is_fed(),
            heard: feed.heard,
            silent_from,
        });
        Watch {
            feed,
            grant: self.grant.map(crate::lease::Grant::told),
            asks_at: self.vigil_deadline(),
            candidacy: self.candidate.as_ref().map(crate::candidate::Candidate::status),
            refused: self.refused,
            spared: self.spared_by(self.me()).is_some(),
        }
    }
}
