//! A promotion without a majority, by an operator's word: the one act that can fork a volume.
//!
//! It begins a new era. The forced reign's start brings the configuration in which it reigns, so that both are on the
//! disk or neither is; from its append on that configuration alone decides, here and on every follower: those who took
//! part vote, and those declared dead are learners, who become voters when they are in sync. Nobody gets into an era by
//! counting, so whatever the others do without this history, it is ranked below it, by every comparison of epochs there
//! is; and whoever knows of a higher era than that of its own log neither campaigns nor promises in its own: it waits to
//! be fed.
//!
//! Before that, every other voter is either fenced, by a durable promise of the forced epoch, or declared dead by name;
//! and a whole lease has passed since anything that this replica or a fenced one granted. What was told to the operator
//! must be true still.
//!
//! In order: the epoch is put on record as used, so that no later life uses it again; the fenced promise it; the start
//! becomes durable here; then it is promised here; and only then is anybody told of it. A crash before the start is
//! durable leaves nothing but the promises of the fenced, who wait for the operator to repeat it.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use seawall_sender::codec;
use seawall_sender::frame::Kind;
use seawall_sender::session_id::SessionId;
use seawall_sender::time::Instant;
use seawall_wal::configuration::{Configuration, Suffrage};
use seawall_wal::names::{Epoch, Extent, LineageRow, Lsn, Origin, ReplicaId};
use seawall_wal::record::Kind as RecordKind;

use crate::ballot::{Ask, Denial, Denied, Promise};
use crate::core::{Core, Told};
use crate::foretold::{Foretold, Wish};
use crate::io::{Answered, CommandId, LinkId, Refusal};
use crate::link::LinkUse;
use crate::notice::Notice;
use crate::primary::Primary;
use crate::scribe::Safety;

/// Between two rounds while a lease is in the way, at the most.
pub(crate) const LEASE_GLANCE: Duration = Duration::from_millis(200);

/// How far an act is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// Asking who answers, and what they have. Until then.
    Sounding { until: Instant },
    /// A lease is in the way.
    Resting { until: Instant },
    /// The epoch is put on record as used.
    Reserving,
    /// The others promise.
    Fencing { until: Instant },
    /// Its start is on its way to our disk.
    Beginning { first: Lsn },
    /// The promise of it is.
    Promising,
    /// The reign has begun, and its start has not committed.
    Begun { until: Instant },
}

/// A forced promotion under way.
#[derive(Debug)]
pub(crate) struct Forcing {
    command: CommandId,
    wish: Wish,
    epoch: Epoch,
    stage: Stage,
    rounds: u32,
    /// The highest epoch that a voter named.
    highest: Epoch,
    links: BTreeMap<ReplicaId, LinkId>,
    pub(crate) heard: BTreeMap<ReplicaId, Result<Promise, Denied>>,
}

impl Forcing {
    /// When it must act by itself.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.stage {
            Stage::Sounding { until }
            | Stage::Resting { until }
            | Stage::Fencing { until }
            | Stage::Begun { until } => Some(until),
            Stage::Reserving | Stage::Beginning { .. } | Stage::Promising => None,
        }
    }
}

impl Core {
    /// Whether a forced reign has begun here of which nobody may hear yet.
    pub(crate) fn begins_by_force(&self) -> bool {
        self.forcing
            .as_ref()
            .is_some_and(|forcing| matches!(forcing.stage, Stage::Beginning { .. } | Stage::Promising))
    }

    /// An operator wants to know, or to do it.
    pub(crate) fn on_force(&mut self, id: CommandId, wish: Wish) {
        if self.begins_by_force() {
            return self.answer(id, Err("a forced promotion is under way here: wait for its end".into()));
        }
        if let Some(why) = self.force_objection() {
            return match wish {
                Wish::Foretell => {
                    let foretold = Foretold { objection: Some(why), ..self.foretell() };
                    self.answer(id, Ok(Answered::Foretold(Box::new(foretold))));
                }
                Wish::Act { .. } => {
                    self.notice(Notice::ForceRefused { why: why.clone() });
                    self.answer(id, Err(format!("nothing was forced: {why}")));
                }
            };
        }
        self.force_ends("another one was asked for");
        self.forcing = Some(Forcing {
            command: id,
            wish,
            epoch: Epoch::ZERO,
            stage: Stage::Resting { until: self.now },
            rounds: 0,
            highest: Epoch::ZERO,
            links: BTreeMap::new(),
            heard: BTreeMap::new(),
        });
        self.force_sound();
    }

    /// Ask the other voters, who change nothing by that.
    fn force_sound(&mut self) {
        let until = self.now.after(self.setup.limits.candidacy_round);
        let me = self.me();
        let used = self.scribe.content().campaigned.max(self.promised()).max(self.foreign);
        let used = used.max(self.log.tail_epoch());
        let others: Vec<ReplicaId> = self.electorate.voters().filter(|voter| *voter != me).collect();
        let Some(forcing) = self.forcing.as_mut() else { return };
        let Some(epoch) = used.max(forcing.highest).forced_successor(me) else {
            return self.force_ends("no more promotions can be forced in this volume's history");
        };
        (forcing.epoch, forcing.stage) = (epoch, Stage::Sounding { until });
        forcing.rounds += 1;
        forcing.heard.clear();
        let attempt = u64::from(forcing.rounds - 1);
        self.flush_to = self.flush_to.max(self.log.end());
        for replica in others {
            let link = self.forcing.as_ref().and_then(|forcing| forcing.links.get(&replica).copied());
            if let Some(link) = link {
                if matches!(self.links.get(&link), Some(LinkUse::Candidacy { welcomed: true, .. })) {
                    self.force_ask(link, true, false);
                }
            } else if let Some(address) = self.address_of(replica, attempt) {
                let link = self.connect(replica, address, LinkUse::Candidacy { replica, welcomed: false });
                if let Some(forcing) = self.forcing.as_mut() {
                    forcing.links.insert(replica, link);
                }
            }
        }
        self.force_progressed();
    }

    fn force_ask(&mut self, link: LinkId, sounding: bool, planned: bool) {
        let Some(forcing) = self.forcing.as_ref() else { return };
        let epoch = forcing.epoch;
        let configuration = self.membership.newest().number;
        let ask = Ask { epoch, sounding, planned, configuration };
        self.send(link, Kind::Ask, epoch, SessionId::NONE, &codec::encode(&ask), None);
    }

    /// A voter said who it is. Whether that was for us.
    pub(crate) fn force_welcomed(&mut self, link: LinkId) -> bool {
        let Some(forcing) = self.forcing.as_ref().filter(|f| f.links.values().any(|l| *l == link)) else {
            return false;
        };
        // While they are sounded, a live primary is a reason to refuse.
        if let Stage::Sounding { .. } = forcing.stage {
            self.force_ask(link, true, false);
        }
        true
    }

    /// A voter promises, or would. Given back if it was not for us.
    pub(crate) fn force_promised(&mut self, replica: ReplicaId, promise: Promise) -> Option<Promise> {
        let Some(forcing) = self.forcing.as_mut().filter(|f| f.epoch == promise.epoch) else {
            return Some(promise);
        };
        let wanted = match forcing.stage {
            Stage::Sounding { .. } => promise.sounding,
            Stage::Fencing { .. } => !promise.sounding,
            Stage::Resting { .. }
            | Stage::Reserving
            | Stage::Beginning { .. }
            | Stage::Promising
            | Stage::Begun { .. } => false,
        };
        if wanted {
            forcing.heard.insert(replica, Ok(promise));
            self.force_progressed();
        }
        None
    }

    /// A voter refuses. Whether that was for us.
    pub(crate) fn force_denied(&mut self, replica: ReplicaId, denied: Denied) -> bool {
        let Some(forcing) = self.forcing.as_mut().filter(|f| f.epoch == denied.epoch) else { return false };
        forcing.highest = forcing.highest.max(denied.promised);
        let link = forcing.links.get(&replica).copied();
        match (forcing.stage, link) {
            // An operator's wish goes before the work on a primary that is missed.
            (Stage::Sounding { .. }, Some(link)) if denied.why == Denial::Maintained => {
                self.force_ask(link, true, true);
            }
            (Stage::Sounding { .. }, _) => {
                forcing.heard.insert(replica, Err(denied));
                self.force_progressed();
            }
            (Stage::Fencing { .. }, _) => {
                let why = format!("{replica} refuses to promise now: {}; try again", denied.why.name());
                self.force_ends(&why);
            }
            (
                Stage::Resting { .. }
                | Stage::Reserving
                | Stage::Beginning { .. }
                | Stage::Promising
                | Stage::Begun { .. },
                _,
            ) => {}
        }
        true
    }

    /// A connection is gone.
    pub(crate) fn force_lost(&mut self, link: LinkId) {
        if let Some(forcing) = self.forcing.as_mut() {
            forcing.links.retain(|_, used| *used != link);
        }
        self.force_progressed();
    }

    /// Time passed.
    pub(crate) fn force_tick(&mut self) {
        let Some(forcing) = self.forcing.as_ref() else { return };
        if forcing.deadline().is_none_or(|deadline| deadline > self.now) {
            return;
        }
        match forcing.stage {
            Stage::Resting { .. } => self.force_sound(),
            Stage::Sounding { .. } => self.force_heard(),
            Stage::Fencing { .. } => {
                let voters = self.missing_promises();
                let why = format!("{voters} answered, and does not promise now; try again");
                self.force_ends(&why);
            }
            Stage::Begun { .. } => {
                let why = "the forced reign has begun, and its start can't commit: voters that promised must be in sync";
                self.force_ends(why);
            }
            Stage::Reserving | Stage::Beginning { .. } | Stage::Promising => {}
        }
    }

    /// Something moved that it may have waited for.
    pub(crate) fn force_progressed(&mut self) {
        let Some(forcing) = self.forcing.as_ref() else { return };
        match forcing.stage {
            Stage::Sounding { .. } => {
                let pending = |voter: &ReplicaId| {
                    !forcing.heard.contains_key(voter) && forcing.links.contains_key(voter)
                };
                if !self.electorate.voters().any(|voter| pending(&voter)) && self.log_is_settled_on_disk() {
                    self.force_heard();
                }
            }
            Stage::Fencing { .. } if self.missing_promises().is_empty() => self.force_begin(),
            Stage::Beginning { first } if self.log.durable() > first => {
                let epoch = forcing.epoch;
                if let Some(forcing) = self.forcing.as_mut() {
                    forcing.stage = Stage::Promising;
                }
                // Invariant: promise-is-durable-first. It is told when it is in both copies.
                self.change_superblock(Safety::Twice, Told::Forced { epoch }, |superblock| {
                    assert!(superblock.promised < epoch, "Invariant: promised-never-falls.");
                    superblock.promised = epoch;
                });
            }
            Stage::Fencing { .. }
            | Stage::Beginning { .. }
            | Stage::Resting { .. }
            | Stage::Reserving
            | Stage::Promising
            | Stage::Begun { .. } => {}
        }
    }

    /// All who answer have answered.
    fn force_heard(&mut self) {
        let Some(forcing) = self.forcing.as_ref() else { return };
        if !self.log_is_settled_on_disk() {
            return self.force_rest(LEASE_GLANCE);
        }
        // Somebody promised as much before: the next round asks for more.
        if forcing.highest >= forcing.epoch {
            return self.force_sound();
        }
        match forcing.wish.clone() {
            Wish::Foretell => {
                let foretold = self.foretell();
                if let Some(forcing) = self.drop_forcing() {
                    self.answer(forcing.command, Ok(Answered::Foretold(Box::new(foretold))));
                }
            }
            Wish::Act { token, dead, lossy } => match self.force_verdict(token, &dead, lossy) {
                Ok(None) => self.force_reserve(),
                Ok(Some(wait)) => self.force_rest(wait),
                Err(why) => self.force_ends(&why),
            },
        }
    }

    fn force_rest(&mut self, wait: Duration) {
        let until = self.now.after(wait.min(LEASE_GLANCE));
        if let Some(forcing) = self.forcing.as_mut() {
            forcing.stage = Stage::Resting { until };
        }
    }

    /// From here on this replica follows nobody and asks for nothing else.
    fn force_reserve(&mut self) {
        let Some(forcing) = self.forcing.take() else { return };
        let epoch = forcing.epoch;
        self.candidate_ends("an operator forces a promotion here");
        self.end_feed("an operator forces a promotion here");
        self.abdicate(Refusal::NotPrimary);
        // What a candidacy or a reign of before left behind.
        self.candidate_ends("an operator forces a promotion here");
        self.forcing = Some(Forcing { stage: Stage::Reserving, ..forcing });
        self.notice(Notice::Forcing { epoch });
        self.change_superblock(Safety::Twice, Told::Reserved { epoch }, |superblock| {
            superblock.campaigned = epoch;
        });
    }

    /// No later life uses that epoch again.
    pub(crate) fn on_force_reserved(&mut self, epoch: Epoch) {
        let until = self.now.after(self.setup.limits.candidacy_round);
        let Some(forcing) = self.forcing.as_mut().filter(|f| f.epoch == epoch) else { return };
        if forcing.stage != Stage::Reserving {
            return;
        }
        forcing.stage = Stage::Fencing { until };
        let sounded: Vec<ReplicaId> =
            forcing.heard.iter().filter(|(_, heard)| heard.is_ok()).map(|(voter, _)| *voter).collect();
        let links: Vec<LinkId> =
            sounded.iter().filter_map(|voter| forcing.links.get(voter).copied()).collect();
        for link in links {
            self.force_ask(link, false, true);
        }
        self.force_progressed();
    }

    /// Who answered and has not promised yet, for people.
    fn missing_promises(&self) -> String {
        let Some(forcing) = self.forcing.as_ref() else { return String::new() };
        let sounded = |heard: &Result<Promise, Denied>| heard.as_ref().is_ok_and(|promise| promise.sounding);
        let missing: Vec<String> = forcing
            .heard
            .iter()
            .filter(|(_, heard)| sounded(heard))
            .map(|(voter, _)| voter.to_string())
            .collect();
        missing.join(", ")
    }

    /// All fences are durable: the reign begins, if what was shown is true still.
    fn force_begin(&mut self) {
        let Some(forcing) = self.forcing.as_ref() else { return };
        let Wish::Act { token, dead, lossy } = forcing.wish.clone() else { return };
        let epoch = forcing.epoch;
        if self.promised() >= epoch {
            return self.force_ends("a higher epoch was promised meanwhile; try again");
        }
        match self.force_verdict(token, &dead, lossy) {
            Ok(_) if self.log_is_settled_on_disk() => {}
            Ok(_) => return self.force_ends("something was written meanwhile; try again"),
            Err(why) => return self.force_ends(&why),
        }
        let fenced: Vec<ReplicaId> =
            forcing.heard.iter().filter(|(_, heard)| heard.is_ok()).map(|(voter, _)| *voter).collect();
        let words = self.forced_configuration(&fenced).words(None).expect("no longer than the one before");
        // Invariant: rebuilding-never-votes.
        assert!(self.base_complete(), "only a whole copy reigns");
        let first = self.log.end();
        self.primary = Some(Primary::new(epoch, first, self.has_leases()));
        let header = self.next_header(RecordKind::EpochStart, Extent::default(), words, Origin::NONE);
        if self.append(header, None).is_err() {
            self.primary = None;
            self.space_wanted();
            return self.force_ends("the log has no room for an epoch's start just now; try again");
        }
        self.flush_to = self.flush_to.max(self.log.end());
        self.lineage.push(LineageRow { epoch, first });
        self.notice(Notice::Forced { epoch, first, before: token.epoch });
        if let Some(forcing) = self.forcing.as_mut() {
            forcing.stage = Stage::Beginning { first };
        }
    }

    /// The one in which it reigns: who took part votes.
    fn forced_configuration(&self, fenced: &[ReplicaId]) -> Configuration {
        let now = self.membership.newest();
        let me = self.me();
        let mut next = Configuration { number: now.number + 1, ..now.clone() };
        for member in &mut next.members {
            if member.replica == me || fenced.contains(&member.replica) {
                member.suffrage = Suffrage::Voter;
            } else if member.suffrage.votes() {
                member.suffrage = Suffrage::Learner;
            }
        }
        next
    }

    /// The start is durable here, and so is the promise: the others may hear of it.
    pub(crate) fn on_forced_stored(&mut self, epoch: Epoch) {
        let until = self.now.after(self.setup.limits.candidacy_round * 2);
        let Some(forcing) = self.forcing.as_mut().filter(|f| f.epoch == epoch) else { return };
        forcing.stage = Stage::Begun { until };
        let links: Vec<LinkId> = core::mem::take(&mut forcing.links).into_values().collect();
        for link in links {
            self.disconnect(link);
        }
        let first = self.primary.as_ref().map_or(Lsn::ZERO, |primary| primary.first);
        self.notice(Notice::Reigning { epoch, first });
        self.weigh_clocks();
        self.lanes_due();
        self.weigh();
    }

    /// Its start has committed.
    pub(crate) fn force_won(&mut self) {
        if let Some(forcing) = self.drop_forcing() {
            self.answer(forcing.command, Ok(Answered::Promoted(forcing.epoch.to_string())));
        }
    }

    fn drop_forcing(&mut self) -> Option<Forcing> {
        let mut forcing = self.forcing.take()?;
        for link in core::mem::take(&mut forcing.links).into_values() {
            self.disconnect(link);
        }
        Some(forcing)
    }

    /// It is over, not done or not known to be.
    pub(crate) fn force_ends(&mut self, why: &str) {
        if let Some(forcing) = self.drop_forcing() {
            let so = match forcing.stage {
                Stage::Sounding { .. } | Stage::Resting { .. } | Stage::Reserving => "nothing was forced",
                Stage::Fencing { .. } => "nothing was forced, and voters may have promised: repeat it",
                Stage::Beginning { .. } | Stage::Promising | Stage::Begun { .. } => {
                    "forced, and not served yet"
                }
            };
            if let Wish::Act { .. } = forcing.wish {
                self.notice(Notice::ForceRefused { why: why.into() });
            }
            self.answer(forcing.command, Err(format!("{so}: {why}")));
        }
    }
}
