//! What only a primary keeps: its epoch, and the requests of its clients on their way.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use seawall_sender::time::Instant;
use seawall_wal::names::{Crc, Epoch, Lsn, Origin, ReplicaId};

use crate::attachment::Traces;
use crate::bait::Bait;
use crate::core::{Core, Purpose, Told};
use crate::forward::{Good, Owner};
use crate::handover::Handing;
use crate::io::{Buf, Done, Refusal, Request, RequestId};
use crate::lease::Proof;
use crate::locate::Located;
use crate::notice::{Notice, Replicas};
use crate::pulse::Pulses;
use crate::risk::Marks;
use crate::scribe::Safety;
use crate::served::Parked;
use crate::setup::Ack;

/// A write that waits to join the log.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) owner: Owner,
    pub(crate) origin: Origin,
    /// It was given to a primary before, when everything below was settled.
    pub(crate) again: Option<Lsn>,
    pub(crate) request: Request,
    pub(crate) since: Instant,
    /// It was a part of a block and is merged now: its block is held for it.
    pub(crate) merged: bool,
}

/// A replica that wants its clients to write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttachWish {
    pub(crate) owner: Owner,
    pub(crate) of: ReplicaId,
    /// The attachment that it is to take the place of.
    pub(crate) expected: Lsn,
    pub(crate) since: Instant,
}

/// A request that waits for a frontier.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub(crate) owner: Owner,
    /// The frontier that it waits for.
    pub(crate) end: Lsn,
    pub(crate) since: Instant,
    pub(crate) done: Good,
    /// What must be so when it is answered.
    pub(crate) proof: Proof,
}

/// A read on its way.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) owner: Owner,
    pub(crate) extent: seawall_wal::names::Extent,
    /// The client's; for a peer's client, what it was filled into.
    pub(crate) buf: Option<Buf>,
    /// Of a peer's read that is filled: one per block.
    pub(crate) crcs: Vec<Crc>,
    pub(crate) located: Located,
    pub(crate) pin: Option<seawall_wal::log::Pin>,
    pub(crate) since: Instant,
    /// What must be so when it is shown.
    pub(crate) proof: Proof,
    pub(crate) progress: ReadProgress,
    pub(crate) tries: u32,
    /// Checkpoints begun and ended when it was located.
    pub(crate) moves: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ReadProgress {
    /// Its records are not all committed and written.
    Waiting,
    /// The disk is at it.
    UnderWay,
    /// The bytes are there.
    Filled,
}

/// A part of a block on its way to be a whole one.
#[derive(Debug)]
pub(crate) struct Merging {
    pub(crate) owner: Owner,
    pub(crate) origin: Origin,
    pub(crate) block: u64,
    pub(crate) first_sector: u8,
    pub(crate) sectors: u8,
    pub(crate) over: Buf,
    pub(crate) fua: bool,
    pub(crate) since: Instant,
    pub(crate) located: Located,
    pub(crate) pin: Option<seawall_wal::log::Pin>,
    pub(crate) tries: u32,
    pub(crate) moves: u64,
}

/// One reign.
#[derive(Debug)]
pub(crate) struct Primary {
    pub(crate) epoch: Epoch,
    /// Its epoch-start record.
    pub(crate) first: Lsn,
    /// That record has committed.
    pub(crate) serving: bool,
    pub(crate) waiting: VecDeque<Waiting>,
    /// In LSN order; wait for `committed`.
    pub(crate) plain: VecDeque<Admitted>,
    /// In LSN order; wait for `settled`: FUA writes and flushes.
    pub(crate) firm: VecDeque<Admitted>,
    pub(crate) reads: BTreeMap<u64, Reading>,
    pub(crate) merges: BTreeMap<u64, Merging>,
    pub(crate) held_blocks: Vec<u64>,
    pub(crate) pulses: Pulses,
    /// Who wants to attach.
    pub(crate) attaching: VecDeque<AttachWish>,
    /// What came from peers before this reign serves.
    pub(crate) parked: VecDeque<(ReplicaId, Parked)>,
    /// Which request is where in the log.
    pub(crate) traces: Traces,
    /// Enough clocks run at the rate of ours for a lease to mean something.
    pub(crate) clocks_trusted: bool,
    /// Nobody else reigns before then, by our own clock.
    pub(crate) leased_until: Option<Instant>,
    /// It is about to hand over.
    pub(crate) handing: Option<Handing>,
    /// When the promise moved.
    pub(crate) marks: Marks,
    /// A majority of the voters has had everything below this on stable storage, this reign's start among it.
    pub(crate) sure: Lsn,
    /// The same for what is written: where that counts.
    pub(crate) spread: Lsn,
}

impl Primary {
    /// `leases`: whether there are any.
    pub(crate) fn new(epoch: Epoch, first: Lsn, leases: bool) -> Primary {
        Primary {
            epoch,
            first,
            serving: false,
            waiting: VecDeque::new(),
            plain: VecDeque::new(),
            firm: VecDeque::new(),
            reads: BTreeMap::new(),
            merges: BTreeMap::new(),
            held_blocks: Vec::new(),
            pulses: Pulses::new(epoch.replica),
            attaching: VecDeque::new(),
            parked: VecDeque::new(),
            traces: Traces::default(),
            clocks_trusted: leases,
            leased_until: None,
            handing: None,
            marks: Marks::default(),
            sure: Lsn::ZERO,
            spread: Lsn::ZERO,
        }
    }

    /// Requests given and not yet completed.
    pub(crate) fn requests(&self) -> usize {
        let admitted = self.plain.len() + self.firm.len() + self.attaching.len();
        self.waiting.len() + admitted + self.reads.len() + self.merges.len()
    }

    /// The oldest request's age counts from here.
    fn oldest(&self) -> Option<Instant> {
        let queues = [self.waiting.front().map(|w| w.since)];
        let admitted = [self.plain.front().map(|a| a.since), self.firm.front().map(|a| a.since)];
        // What the disk is at ends when the disk does: no deadline helps it.
        let idle = self.reads.values().filter(|r| r.progress != ReadProgress::UnderWay);
        let reads = idle.map(|r| r.since).min();
        queues.into_iter().chain(admitted).chain([reads]).flatten().min()
    }

    /// When the oldest request's patience ends.
    pub(crate) fn deadline(&self, patience: Option<core::time::Duration>) -> Option<Instant> {
        Some(self.oldest()?.after(patience?))
    }
}

impl Core {
    /// A request that a primary is given: of a client of ours, or of a peer's.
    pub(crate) fn ask_here(
        &mut self,
        owner: Owner,
        request: Request,
        origin: Origin,
        again: Option<Lsn>,
        since: Instant,
    ) {
        match request {
            Request::Read { extent, buf } => self.admit_read(owner, extent, Some(buf), since),
            Request::Flush => {
                // Everything completed before is below `committed`; make that durable on the quorum.
                let end = self.committed;
                self.want_durable(end);
                let done = Good::Done(Done::Flushed);
                // What a successor that we don't know of has completed is not below our `committed`: in `written`
                // mode it may not be durable, so there must be none.
                let proof = match self.setup.ack {
                    Ack::Written if self.setup.baited(Bait::FlushUnconfirmed) => Proof::Nothing,
                    Ack::Written => self.proof_of_reign(),
                    Ack::Durable => self.proof_for_write(),
                };
                let primary = self.primary.as_mut().expect("a primary was asked");
                primary.firm_push(Admitted { owner, end, since, done, proof });
            }
            Request::Status { extent, runs_max } => {
                let end = self.log.end();
                let done = Good::Done(Done::Status(self.hole_runs(extent, runs_max)));
                let proof = self.proof_of_reign();
                let primary = self.primary.as_mut().expect("a primary was asked");
                primary.plain.push_back(Admitted { owner, end, since, done, proof });
            }
            Request::Write { .. }
            | Request::WritePart { .. }
            | Request::WriteZeroes { .. }
            | Request::Trim { .. } => {
                let primary = self.primary.as_mut().expect("a primary was asked");
                primary.waiting.push_back(Waiting { owner, origin, again, request, since, merged: false });
            }
        }
    }

    /// Give a refused request's buffer back and say why.
    pub(crate) fn refuse(&mut self, id: RequestId, request: &Request, refusal: Refusal) {
        if let Some(buf) = request.brought() {
            if self.setup.baited(Bait::ReleaseTwice) {
                self.release(buf);
            }
            self.release(buf);
        }
        self.complete(id, Err(refusal));
    }

    /// Complete what the frontiers and the lease allow.
    pub(crate) fn serve(&mut self) {
        let (committed, settled) = (self.committed, self.settled);
        let Some(primary) = self.primary.as_mut() else { return };
        if !primary.serving && settled > primary.first {
            primary.serving = true;
            let epoch = primary.epoch;
            self.notice(Notice::Serving { epoch });
            self.campaign_won(epoch);
            if self.scribe.content().lossy {
                // Its log is the volume's history now, whatever it lost before.
                self.change_superblock(Safety::Once, Told::Nothing, |superblock| superblock.lossy = false);
            }
        }
        let hold = self.hold();
        let primary = self.primary.as_mut().expect("still primary");
        let mut done = Vec::new();
        for (queue, frontier) in [(&mut primary.plain, committed), (&mut primary.firm, settled)] {
            while queue.front().is_some_and(|a| a.end <= frontier && hold.satisfies(a.proof)) {
                done.extend(queue.pop_front());
            }
        }
        for admitted in done {
            // Invariant: durable-before-done.
            assert!(admitted.end <= self.committed, "a write completes when its quorum has it");
            #[cfg(feature = "bait")]
            if self.setup.baited(Bait::CompleteTwice)
                && admitted.end.0 % 16 == 0
                && let Good::Done(done) = &admitted.done
                && let Some(id) = self.client_of(admitted.owner)
            {
                self.complete(id, Ok(done.clone()));
            }
            self.respond(admitted.owner, Ok(admitted.done));
        }
        self.serve_reads();
        self.handover_due();
        self.drain_due();
    }

    /// Refuse what has waited too long for a quorum.
    pub(crate) fn refuse_impatient(&mut self) {
        let now = self.now;
        let (Some(patience), Some(primary)) = (self.setup.limits.quorum_patience, self.primary.as_mut())
        else {
            return;
        };
        if primary.deadline(Some(patience)).is_none_or(|deadline| deadline > now) {
            return;
        }
        let late = |since: Instant| since.after(patience) <= now;
        let mut refused: Vec<Owner> = Vec::new();
        for queue in [&mut primary.plain, &mut primary.firm] {
            while queue.front().is_some_and(|a| late(a.since)) {
                refused.extend(queue.pop_front().map(|a| a.owner));
            }
        }
        let mut waiting = Vec::new();
        while primary.waiting.front().is_some_and(|w| late(w.since)) {
            waiting.extend(primary.waiting.pop_front());
        }
        // A read that the disk is at keeps its buffer until the disk is done with it.
        let reads: Vec<u64> = primary
            .reads
            .iter()
            .filter(|(_, read)| late(read.since) && read.progress != ReadProgress::UnderWay)
            .map(|(number, _)| *number)
            .collect();
        for number in reads {
            let read =
                self.primary.as_mut().and_then(|p| p.reads.remove(&number)).expect("it was just there");
            self.unpin(read.pin);
            if let Owner::Peer { .. } = read.owner {
                read.buf.into_iter().for_each(|buf| self.release(buf));
            }
            refused.push(read.owner);
        }
        if refused.is_empty() && waiting.is_empty() {
            return;
        }
        let (present, needed) = self.quorum_present();
        let counts = |lane: &crate::lane::Lane| lane.counts();
        let away = |voter: &ReplicaId| self.lanes.get(voter).is_some_and(|lane| !counts(lane));
        let missing = Replicas(self.electorate.voters().filter(away).collect());
        self.notice(Notice::QuorumMissing { present, needed, missing });
        for owner in refused {
            self.respond(owner, Err(Refusal::NoQuorum));
        }
        for waiting in waiting {
            let owner = waiting.owner;
            self.forget_waiting(waiting);
            self.respond(owner, Err(Refusal::NoQuorum));
        }
    }

    /// This reign is over. What our clients asked for goes to the next one, or is refused; peers ask it themselves.
    /// What joined the log may yet take effect.
    pub(crate) fn abdicate(&mut self, refusal: Refusal) {
        let Some(primary) = self.primary.take() else { return };
        self.force_ends("the reign ended before it served");
        if let Some(id) = primary.handing.and_then(|handing| handing.command()) {
            self.answer(id, Err("not handed over: the reign ended before".into()));
        }
        self.change_in_doubt();
        self.leases_in_doubt();
        self.digests.wanted.clear();
        for question in core::mem::take(&mut self.digests.questions) {
            self.answer(question.id, Err("this replica is not the primary any more: ask again".into()));
        }
        for waiting in primary.waiting {
            let owner = waiting.owner;
            self.forget_waiting(waiting);
            self.reign_over(owner, refusal);
        }
        for wish in primary.attaching {
            self.reign_over(wish.owner, refusal);
        }
        for admitted in primary.plain.into_iter().chain(primary.firm) {
            if self.setup.baited(Bait::ForgetToAnswer) {
                continue;
            }
            self.reign_over(admitted.owner, refusal);
        }
        for (number, read) in primary.reads {
            self.unpin(read.pin);
            match (read.progress, read.owner) {
                // The disk still writes into its buffer: it goes on when the disk is done.
                (ReadProgress::UnderWay, owner) => {
                    self.orphan(number, owner);
                    if let Owner::Ours { number } = owner {
                        self.take_back(number, true);
                    }
                }
                (ReadProgress::Waiting | ReadProgress::Filled, Owner::Peer { .. }) => {
                    read.buf.into_iter().for_each(|buf| self.release(buf));
                }
                (ReadProgress::Waiting | ReadProgress::Filled, owner) => self.reign_over(owner, refusal),
            }
        }
        for (number, merging) in primary.merges {
            let owner = merging.owner;
            self.forget_merging(merging);
            if let Owner::Ours { number: ours } = owner
                && let Some((_, purpose)) = self
                    .ops
                    .iter_mut()
                    .find(|(_, purpose)| matches!(purpose, Purpose::Merge { number: n } if *n == number))
            {
                *purpose = Purpose::PartSum { number: ours };
                self.take_back(ours, true);
            } else {
                self.reign_over(owner, refusal);
            }
        }
        for (_, parked) in primary.parked {
            self.drop_parked(parked);
        }
        let links: Vec<_> = self.served.values().map(|served| served.link).collect();
        for link in links {
            self.disconnect(link);
        }
        let replicas: Vec<_> = self.lanes.keys().copied().collect();
        for replica in replicas {
            self.lane_superseded(replica);
        }
    }

    pub(crate) fn reign_over(&mut self, owner: Owner, refusal: Refusal) {
        match (owner, refusal) {
            (Owner::Ours { number }, Refusal::NotPrimary) => self.take_back(number, false),
            (Owner::Ours { .. }, _) => self.respond(owner, Err(refusal)),
            // It hears that the connection is gone.
            (Owner::Peer { .. }, _) => {}
        }
    }

    pub(crate) fn unpin(&mut self, pin: Option<seawall_wal::log::Pin>) {
        if let Some(pin) = pin {
            self.log.unpin(pin);
        }
    }
}

impl Primary {
    /// Flushes and FUA writes wait in the order of their frontiers.
    pub(crate) fn firm_push(&mut self, admitted: Admitted) {
        push(&mut self.firm, admitted);
    }

    /// So do other writes: one that is asked again is behind newer ones.
    pub(crate) fn plain_push(&mut self, admitted: Admitted) {
        push(&mut self.plain, admitted);
    }
}

fn push(queue: &mut VecDeque<Admitted>, admitted: Admitted) {
    let at = queue.iter().rposition(|other| other.end <= admitted.end).map_or(0, |at| at + 1);
    queue.insert(at, admitted);
}
