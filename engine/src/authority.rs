//! Promises: a voter follows nobody below the epoch that it promised, whatever happens to it.

use seawall_recovery::lineage;
use seawall_sender::codec;
use seawall_sender::frame::Kind;
use seawall_sender::session_id::SessionId;
use seawall_sender::violation::Violation;
use seawall_wal::names::{Epoch, LsnRange};

use crate::bait::Bait;
use crate::ballot::{Ask, Denial, Denied, Fetch, FetchEnd, Promise, Standing};
use crate::candidate::PATIENCE;
use crate::core::{Core, Purpose, Told};
use crate::io::{Area, DiskDone, DiskError, LinkId, Refusal};
use crate::notice::Notice;
use crate::scribe::Safety;

/// Records of one answer to a fetch.
const FETCH_RECORDS_MAX: u64 = 64;

/// A promise that is on its way to the disk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PendingPromise {
    pub(crate) link: LinkId,
    pub(crate) epoch: Epoch,
    pub(crate) stored: bool,
}

impl Core {
    /// A candidate asks.
    pub(crate) fn on_ask(&mut self, link: LinkId, ask: Ask) {
        // Invariant: eras-are-forced. Whoever knows of a higher era than the candidate's promises it nothing.
        let foreign = if self.foreign.era() > ask.epoch.era() { self.foreign } else { Epoch::ZERO };
        let promised = self.promised().max(foreign);
        let fit = self.fault.is_none() && self.drain.is_none() && !self.drained;
        let standing = Standing {
            able: fit && !self.begins_by_force(),
            promised: if self.setup.baited(Bait::PromiseFalls) { Epoch::ZERO } else { promised },
            // Invariant: rebuilding-never-votes.
            whole: self.base_complete() || self.setup.baited(Bait::RebuildingVotes),
            hears_a_primary: self.hears_a_primary(),
            leased: self.leased_against(ask.epoch.replica).is_some() || !ask.planned && self.holds_lease(),
        };
        let why = if self.is_removed() {
            Some(Denial::Removed)
        } else if !self.may_lead(ask.epoch, ask.configuration) {
            Some(Denial::NotVoter)
        } else {
            // Whoever is asked for a promise after that was sounded, or is asked for by an operator.
            let spared = !ask.planned && self.spared_by(ask.epoch.replica).is_some();
            standing.denial(&ask).or(spared.then_some(Denial::Maintained))
        };
        if let Some(why) = why {
            self.notice(Notice::PromiseDenied { epoch: ask.epoch, why: why.name() });
            self.refused = Some((ask.epoch, why, self.now));
            if ask.planned {
                // An operator wants another one: the lease that is in the way is not extended for a while.
                self.withhold_lease();
            }
            let denied = Denied { epoch: ask.epoch, promised, why };
            self.send(link, Kind::Denied, ask.epoch, SessionId::NONE, &codec::encode(&denied), None);
            return;
        }
        if ask.sounding {
            let promise = self.promise(ask.epoch, true);
            self.send(link, Kind::Promise, ask.epoch, SessionId::NONE, &codec::encode(&promise), None);
            return;
        }
        self.heard_of(ask.epoch);
        self.wait_for_a_primary();
        if self.candidate.is_none() {
            // If the one that we promise to never reigns, somebody has to.
            self.rest(ask.epoch, PATIENCE);
        }
        // It flushes its log first, then its promise.
        self.flush_to = self.flush_to.max(self.log.end());
        self.promising = Some(PendingPromise { link, epoch: ask.epoch, stored: false });
        if self.setup.baited(Bait::PromiseNotDurable) {
            self.change_superblock(Safety::Twice, Told::Nothing, |superblock| {
                superblock.promised = ask.epoch
            });
            self.on_promise_stored(link, ask.epoch);
            return;
        }
        let falls = self.setup.baited(Bait::PromiseFalls);
        // Invariant: promise-is-durable-first. Both copies, one after the other, before it is told.
        self.change_superblock(Safety::Twice, Told::Promise { link, epoch: ask.epoch }, |superblock| {
            assert!(superblock.promised <= ask.epoch || falls, "Invariant: promised-never-falls.");
            superblock.promised = ask.epoch;
        });
    }

    /// What we say with a promise.
    pub(crate) fn promise(&self, epoch: Epoch, sounding: bool) -> Promise {
        let end = self.log.durable();
        Promise {
            epoch,
            sounding,
            lineage: lineage::newest(lineage::below(&self.lineage, end)).to_vec(),
            log: LsnRange::new(self.log.start(), end),
            tail_epoch: self.log.epoch_before(end).unwrap_or(Epoch::ZERO),
            tail_chain: self.log.chain_at(end).unwrap_or_default(),
            lossy: self.scribe.content().lossy,
        }
    }

    /// A higher epoch than that of our reign, our feed or our candidacy: they are over.
    pub(crate) fn heard_of(&mut self, epoch: Epoch) {
        self.note_era(epoch);
        if let Some(primary) = self.primary.as_ref().filter(|primary| primary.epoch < epoch) {
            let ended = primary.epoch;
            self.notice(Notice::SteppedDown { epoch: ended, promised: epoch });
            self.abdicate(Refusal::NotPrimary);
            if self.candidate.is_none() {
                self.rest(epoch, PATIENCE);
            }
        }
        let deaf = self.setup.baited(Bait::AcceptStaleSession);
        if !deaf && self.feed.as_ref().is_some_and(|feed| feed.epoch < epoch) {
            self.end_feed("a higher epoch was promised");
        }
        if self.candidate.as_ref().is_some_and(|candidate| candidate.epoch < epoch) {
            self.candidate_beaten(epoch);
        }
    }

    /// The promise is in both superblocks.
    pub(crate) fn on_promise_stored(&mut self, link: LinkId, epoch: Epoch) {
        if let Some(pending) = self.promising.as_mut().filter(|p| p.link == link && p.epoch == epoch) {
            pending.stored = true;
        }
        self.speak_promise();
    }

    /// Speak a promise once it and all that the log holds are durable.
    pub(crate) fn speak_promise(&mut self) {
        let Some(pending) = self.promising else { return };
        if !pending.stored || !self.log_is_settled_on_disk() {
            return;
        }
        self.promising = None;
        // A primary of that very epoch may have begun to rebuild this copy meanwhile.
        let whole = self.base_complete() || self.setup.baited(Bait::RebuildingVotes);
        if !self.links.contains_key(&pending.link) || self.promised() != pending.epoch || !whole {
            return;
        }
        let promise = self.promise(pending.epoch, false);
        self.notice(Notice::Promised { epoch: pending.epoch });
        self.send(
            pending.link,
            Kind::Promise,
            pending.epoch,
            SessionId::NONE,
            &codec::encode(&promise),
            None,
        );
    }

    /// Whether nothing is on its way to the log, and all of it is on stable storage.
    pub(crate) fn log_is_settled_on_disk(&self) -> bool {
        self.appender.is_idle() && self.log.durable() == self.log.end() && !self.flushing
    }

    /// The candidate that we promised to wants records of ours.
    pub(crate) fn on_fetch(&mut self, link: LinkId, epoch: Epoch, fetch: Fetch) -> Result<(), Violation> {
        let held = LsnRange::new(self.log.start(), self.log.durable());
        if epoch < self.promised() || fetch.from < held.start {
            // A higher epoch was promised since, or the log went on: no fault of the candidate. It looks elsewhere.
            self.notice(Notice::Stale { session: SessionId::NONE });
            self.disconnect(link);
            return Ok(());
        }
        if epoch != self.promised() || fetch.to > held.end || fetch.from >= fetch.to {
            return Err(Violation::OutOfTurn { state: "promised", event: "Fetch" });
        }
        let records = fetch.to.since(fetch.from).min(FETCH_RECORDS_MAX);
        self.fetch_read(link, epoch, fetch.from, records);
        Ok(())
    }

    /// Read records for a candidate: one read of as many bodies as fit.
    fn fetch_read(&mut self, link: LinkId, epoch: Epoch, first: seawall_wal::names::Lsn, records: u64) {
        let (what, records) = self.read_of_records(first, records);
        match what {
            Some(what) => self.disk(Purpose::FetchRead { link, epoch, first, records }, what),
            None => self.send_fetched(link, first, records, None),
        }
    }

    /// The bodies for a candidate came. Who promises with a log that it can't show keeps everybody from reigning, round
    /// after round: such a copy fails, as that of a primary does that can't show its log to a peer.
    pub(crate) fn on_fetch_read(
        &mut self,
        link: LinkId,
        epoch: Epoch,
        first: seawall_wal::names::Lsn,
        records: u64,
        result: Result<DiskDone, DiskError>,
    ) {
        let open = self.links.contains_key(&link);
        // Nothing pins what a candidate reads: if another one was promised something since, or somebody feeds us, then
        // what was read may have been cut or overwritten meanwhile, and shows nothing of the disk.
        let unchanged = self.promised() == epoch && self.feed.is_none() && first >= self.log.start();
        match result {
            Ok(DiskDone::Read { buf, crcs }) => {
                match self.body_mismatch(first, records, &crcs) {
                    None if open => self.send_fetched(link, first, records, Some(buf)),
                    Some(extent) if open && unchanged => self.log_is_corrupt(extent),
                    None | Some(_) => self.disconnect(link),
                }
                self.release(buf);
            }
            Ok(other) => panic!("a read was answered with {other:?}"),
            Err(error) if open && unchanged => self.fail(Area::Log, error),
            Err(_) => self.disconnect(link),
        }
    }

    fn send_fetched(
        &mut self,
        link: LinkId,
        first: seawall_wal::names::Lsn,
        records: u64,
        bodies: Option<crate::io::Buf>,
    ) {
        let epoch = self.promised();
        let settled = self.settled;
        let mut at = 0;
        let mut lsn = first;
        for _ in 0..records {
            let Some(header) = self.header(lsn) else { return self.disconnect(link) };
            let blocks = header.body_blocks();
            let payload = bodies.filter(|_| blocks > 0).map(|buf| buf.part(at, blocks));
            at += blocks;
            let meta = seawall_sender::feed::Append::encode(settled, &header);
            self.send(link, Kind::Fetched, epoch, SessionId::NONE, &meta, payload);
            lsn = lsn.next();
        }
        let end = codec::encode(&FetchEnd { to: lsn });
        self.send(link, Kind::FetchEnd, epoch, SessionId::NONE, &end, None);
    }
}
