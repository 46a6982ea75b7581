//! The forwarder: keeps what this replica's clients asked for, in the order in which they asked, and gives it to the
//! primary, whoever that is. What was not answered when a primary is lost is given to the next one, in order: clients
//! see a pause. On the primary itself requests take the same way, without the wire.
//!
//! A write carries an origin, the same whenever it is given: a primary whose log holds it does not write it again.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use seawall_sender::codec;
use seawall_sender::frame::Kind;
use seawall_sender::time::Instant;
use seawall_wal::names::{Crc, Epoch, Era, Extent, Lsn, Origin, ReplicaId};

use crate::bait::Bait;
use crate::core::{Core, Purpose};
use crate::forwarding::{Forward, Forwarding};
use crate::io::{Buf, DiskDone, DiskError, DiskOp, Done, LetIn, LinkId, Refusal, Request, RequestId};
use crate::line::Line;
use crate::notice::Notice;
use crate::order::target;

/// Requests of one life: their numbers never meet those of another life.
const NUMBERS_PER_LIFE: u64 = 1 << 40;
/// Whose request it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Owner {
    /// Of a client of ours.
    Ours { number: u64 },
    /// Of a client of the replica at the other end of that link.
    Peer { link: LinkId, number: u64 },
}

/// How a request ended well.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Good {
    /// For a client.
    Done(Done),
    /// The bytes of a read for a peer's client, in a buffer of their own.
    Bytes { holes: u64, buf: Buf, crcs: Vec<Crc> },
    /// An attachment begins.
    Attached { incarnation: Lsn },
}

/// Where a request is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// With us.
    Waiting,
    /// With us, and its buffer with the disk.
    Busy,
    /// With us as the primary.
    Here,
    /// With the primary at the other end of the line.
    There,
}

/// What a client, or the forwarder itself, wants.
#[derive(Debug)]
pub(crate) enum Wanted {
    Request { id: RequestId, knows: LetIn, request: Request },
    Attach { expected: Lsn },
}

/// A request that is not answered.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) wanted: Wanted,
    since: Instant,
    pub(crate) place: Place,
    origin: Origin,
    /// What was settled when it was first given to a primary.
    seen: Option<Lsn>,
    /// Of the buffer of a part of a block.
    crc: Option<Crc>,
    /// How it ends when the disk lets go of its buffer.
    ends: Option<Refusal>,
}

impl Kept {
    fn writes(&self) -> bool {
        match &self.wanted {
            Wanted::Request { request, .. } => writes(request),
            Wanted::Attach { .. } => false,
        }
    }

    fn target(&self) -> Option<Extent> {
        match &self.wanted {
            Wanted::Request { request, .. } => target(request),
            Wanted::Attach { .. } => None,
        }
    }
}

pub(crate) fn writes(request: &Request) -> bool {
    match request {
        Request::Write { .. }
        | Request::WritePart { .. }
        | Request::WriteZeroes { .. }
        | Request::Trim { .. } => true,
        Request::Read { .. } | Request::Flush | Request::Status { .. } => false,
    }
}

/// Which attachment this replica's clients write under.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Attached {
    No,
    /// Asked for by that request. Nobody else attached since `expected`, as far as we know.
    Asking {
        number: u64,
        expected: Lsn,
    },
    /// Since nobody else attached between the two, who knew of either may write, if it was let in before that request
    /// asked for the attachment.
    Yes {
        incarnation: Lsn,
        expected: Lsn,
        asked: u64,
    },
}

/// The keeper of our clients' requests.
#[derive(Debug)]
pub(crate) struct Forwarder {
    next: u64,
    pub(crate) kept: BTreeMap<u64, Kept>,
    pub(crate) waiting: BTreeSet<u64>,
    /// Writes whose buffer is with the disk before they can be given on.
    with_disk: BTreeSet<u64>,
    pub(crate) attached: Attached,
    /// The era that all this is of, and the number of the first thing that was kept in it.
    pub(crate) era: (Era, u64),
    pub(crate) line: Option<Line>,
    pub(crate) lines: u32,
    pub(crate) rests_until: Instant,
    /// Whose connection was lost last: only that one is let rest.
    pub(crate) lost: Option<(ReplicaId, Epoch)>,
}

impl Forwarder {
    /// One with nothing to do, in the life of that number, with a log of that era.
    pub(crate) fn new(boots: u32, era: Era) -> Forwarder {
        Forwarder {
            next: u64::from(boots) * NUMBERS_PER_LIFE,
            kept: BTreeMap::new(),
            waiting: BTreeSet::new(),
            with_disk: BTreeSet::new(),
            attached: Attached::No,
            era: (era, 0),
            line: None,
            lines: 0,
            rests_until: Instant::default(),
            lost: None,
        }
    }

    /// Clients' requests that are not answered.
    pub(crate) fn requests(&self) -> usize {
        self.kept.values().filter(|kept| matches!(kept.wanted, Wanted::Request { .. })).count()
    }

    /// Whether a write that came before that number is with the disk, and touches `extent`.
    fn is_behind(&self, number: u64, extent: Extent) -> bool {
        let before = self.with_disk.range(..number).filter_map(|before| self.kept.get(before)?.target());
        before.into_iter().any(|before| before.overlaps(&extent))
    }

    /// Whether nothing is kept.
    pub(crate) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }
}

impl Core {
    /// What a client's connection is let in with.
    pub(crate) fn let_in(&self) -> LetIn {
        LetIn { newest: self.attachments.settled(), at: self.forwarder.next }
    }

    /// A client wants something.
    pub(crate) fn on_request(&mut self, id: RequestId, knows: LetIn, request: Request) {
        let refusal = if self.fault.is_some() {
            Some(Refusal::Faulted)
        } else if self.drain.is_some() || self.drained {
            Some(Refusal::ShuttingDown)
        } else {
            Some(Refusal::Superseded).filter(|_| writes(&request) && knows.at < self.forwarder.era.1)
        };
        if let Some(refusal) = refusal {
            return self.refuse(id, &request, refusal);
        }
        self.keep(Wanted::Request { id, knows, request });
    }

    fn keep(&mut self, wanted: Wanted) -> u64 {
        let since = self.now;
        let forwarder = &mut self.forwarder;
        let number = forwarder.next;
        forwarder.next += 1;
        let kept = Kept {
            wanted,
            since,
            place: Place::Waiting,
            origin: Origin::NONE,
            seen: None,
            crc: None,
            ends: None,
        };
        forwarder.kept.insert(number, kept);
        forwarder.waiting.insert(number);
        number
    }

    /// Give what waits to whoever reigns. Called at the end of every step.
    pub(crate) fn forward(&mut self) {
        // What a life names is unique only when its start is on record.
        if self.fault.is_some() || self.drained || !self.takes_part {
            return;
        }
        self.look_at_era();
        self.look_at_attachment();
        if let Some(primary) = &self.primary {
            let serving = primary.serving;
            self.drop_line();
            if serving && !self.forwarder.waiting.is_empty() {
                self.give_all(None);
                self.admit_writes();
                self.serve();
            }
            return;
        }
        let target = self.feed.as_ref().map(|feed| (feed.epoch.replica, feed.epoch));
        // What we know of attachments is of our log's era.
        let Some(target) = target.filter(|(_, epoch)| epoch.era() <= self.era()) else { return };
        if self.forwarder.line.is_some_and(|line| (line.to, line.epoch) != target) {
            self.drop_line();
        }
        if self.forwarder.waiting.is_empty() {
            return;
        }
        match self.forwarder.line {
            Some(line) if line.open => self.give_all(Some(line)),
            Some(_) => {}
            None if self.forwarder.lost == Some(target) && self.now < self.forwarder.rests_until => {}
            None => self.open_line(target.0, target.1),
        }
    }

    /// Somebody else's clients attached, and this replica's own log says so.
    fn look_at_attachment(&mut self) {
        let newest = self.attachments.settled();
        if let Attached::Yes { incarnation, .. } = self.forwarder.attached
            && newest > incarnation
        {
            self.lose_attachment(incarnation);
        }
    }

    fn lose_attachment(&mut self, incarnation: Lsn) {
        self.forwarder.attached = Attached::No;
        self.notice(Notice::Superseded { incarnation });
        // Those clients came before it was lost: they come again, or not.
        self.supersede(|kept, knows| kept.origin == Origin::NONE && knows <= incarnation);
    }

    fn give_all(&mut self, line: Option<Line>) {
        let numbers: Vec<u64> = self.forwarder.waiting.iter().copied().collect();
        let mut held_back = Vec::new();
        let mut ahead = self.ahead();
        for number in numbers {
            let Some(kept) = self.forwarder.kept.get(&number) else { continue };
            let behind =
                |extent: &Extent| ahead.blocks(*extent, || self.forwarder.is_behind(number, *extent));
            if let Some(extent) = kept.target().filter(behind) {
                ahead.push(extent);
                continue;
            }
            let unnamed = kept.writes() && kept.origin == Origin::NONE;
            // In the order in which they came: who waits for an attachment is not overtaken for ever.
            if unnamed && (!held_back.is_empty() || !self.name_origin(number)) {
                held_back.push(number);
                continue;
            }
            self.give(number, line);
        }
        self.want_attachment(&held_back, line);
    }

    /// A write that nobody was given yet takes its place in the clients' order. Not without an attachment that was
    /// asked for after its client was let in: an older one does not fence what that client gave up elsewhere.
    fn name_origin(&mut self, number: u64) -> bool {
        let once = self.setup.baited(Bait::AttachedOnce);
        let forwarder = &mut self.forwarder;
        let Attached::Yes { incarnation, expected, asked } = forwarder.attached else { return false };
        let Some(kept) = forwarder.kept.get_mut(&number) else { return false };
        let Wanted::Request { knows, .. } = kept.wanted else { return false };
        // Invariant: newest-attachment-writes.
        if knows.newest < expected || knows.at > asked && !once {
            return false;
        }
        kept.origin = Origin { incarnation, number };
        true
    }

    /// Writes wait for an attachment: ask for one, unless their clients came before somebody else's. It fences our own
    /// older one too: what was named under that is answered first.
    fn want_attachment(&mut self, writes: &[u64], line: Option<Line>) {
        let knows = |forwarder: &Forwarder, number: &u64| match &forwarder.kept.get(number)?.wanted {
            Wanted::Request { knows, .. } => Some(knows.newest),
            Wanted::Attach { .. } => None,
        };
        let Some(newest) = writes.iter().filter_map(|number| knows(&self.forwarder, number)).max() else {
            return;
        };
        let expected = match self.forwarder.attached {
            Attached::No => newest,
            Attached::Asking { expected, .. } | Attached::Yes { expected, .. } => expected,
        };
        for number in writes {
            if knows(&self.forwarder, number).is_some_and(|knows| knows < expected) {
                self.end_ours(*number, Err(Refusal::Superseded));
            }
        }
        let left = |number: &u64| self.forwarder.kept.contains_key(number);
        let named = |kept: &Kept| kept.origin != Origin::NONE;
        let after = match self.forwarder.attached {
            Attached::No => expected,
            Attached::Yes { incarnation, .. }
                if writes.iter().any(left) && !self.forwarder.kept.values().any(named) =>
            {
                incarnation
            }
            Attached::Asking { .. } | Attached::Yes { .. } => return,
        };
        let number = self.keep(Wanted::Attach { expected: after });
        self.forwarder.attached = Attached::Asking { number, expected };
        self.give(number, line);
    }

    fn give(&mut self, number: u64, line: Option<Line>) {
        let settled = self.settled;
        let Some(kept) = self.forwarder.kept.get_mut(&number) else { return };
        let again = kept.seen.is_some();
        let (origin, crc, since) = (kept.origin, kept.crc, kept.since);
        let seen = *kept.seen.get_or_insert(settled);
        let Some(line) = line else {
            kept.place = Place::Here;
            self.forwarder.waiting.remove(&number);
            let owner = Owner::Ours { number };
            return match &self.forwarder.kept[&number].wanted {
                Wanted::Attach { expected } => {
                    let (me, expected) = (self.me(), *expected);
                    self.ask_attachment(owner, me, expected, since);
                }
                Wanted::Request { request, .. } => {
                    let request = request.clone();
                    self.share(request.brought());
                    self.ask_here(owner, request, origin, again.then_some(seen), since);
                }
            };
        };
        let (what, buf) = match &kept.wanted {
            Wanted::Attach { expected } => (Forwarding::Attach { expected: *expected }, None),
            Wanted::Request { request: Request::WritePart { buf, first_sector, sectors, .. }, .. }
                if crc.is_none() =>
            {
                // What the rest of its block holds counts for nothing, but it travels: under a checksum.
                let (buf, first_sector, sectors) = (*buf, *first_sector, *sectors);
                kept.place = Place::Busy;
                kept.seen = if again { Some(seen) } else { None };
                self.forwarder.waiting.remove(&number);
                self.forwarder.with_disk.insert(number);
                let what = DiskOp::Merge { base: buf, over: buf, first_sector, sectors, zero_base: true };
                return self.disk(Purpose::PartSum { number }, what);
            }
            Wanted::Request { request, .. } => {
                (Forwarding::of(request, crc.unwrap_or_default()), request.brought())
            }
        };
        kept.place = Place::There;
        let forward = Forward { number, origin, seen, again, what };
        self.forwarder.waiting.remove(&number);
        if let Some(open) = self.forwarder.line.as_mut() {
            open.heard = if open.given == 0 { self.now } else { open.heard };
            open.given += 1;
        }
        let meta = codec::encode(&forward);
        self.send(line.link, Kind::Forward, line.epoch, line.session, &meta, buf);
    }

    /// A request of ours ended at a primary, wherever that is.
    pub(crate) fn on_ours_ended(&mut self, number: u64, result: Result<Good, Refusal>) {
        match result {
            Ok(Good::Done(done)) => self.end_ours(number, Ok(done)),
            Ok(Good::Attached { incarnation }) => self.on_attached(number, incarnation),
            Ok(Good::Bytes { .. }) => unreachable!("our own reads fill their clients' buffers"),
            Err(refusal) => self.on_refused(number, refusal),
        }
    }

    pub(crate) fn on_refused(&mut self, number: u64, refusal: Refusal) {
        let forwarder = &mut self.forwarder;
        let Some(kept) = forwarder.kept.get(&number) else { return };
        let superseded = refusal == Refusal::Superseded;
        match kept.wanted {
            Wanted::Attach { expected } => {
                forwarder.kept.remove(&number);
                forwarder.waiting.remove(&number);
                let ours =
                    matches!(forwarder.attached, Attached::Asking { number: asked, .. } if asked == number);
                if ours {
                    forwarder.attached = Attached::No;
                }
                // Who knew no more than that came before somebody else's clients.
                if ours && superseded {
                    self.supersede(|kept, knows| kept.origin == Origin::NONE && knows <= expected);
                }
            }
            Wanted::Request { .. } => {
                let incarnation = kept.origin.incarnation;
                let ours = matches!(forwarder.attached, Attached::Yes { incarnation: now, .. } if now == incarnation);
                if superseded && ours {
                    self.lose_attachment(incarnation);
                }
                self.end_ours(number, Err(refusal));
            }
        }
    }

    fn supersede(&mut self, which: impl Fn(&Kept, Lsn) -> bool) {
        let gone: Vec<u64> = self
            .forwarder
            .kept
            .iter()
            .filter(|(_, kept)| match &kept.wanted {
                Wanted::Request { knows, .. } => kept.writes() && which(kept, knows.newest),
                Wanted::Attach { .. } => false,
            })
            .map(|(number, _)| *number)
            .collect();
        for number in gone {
            self.end_ours(number, Err(Refusal::Superseded));
        }
    }

    pub(crate) fn on_attached(&mut self, number: u64, incarnation: Lsn) {
        let forwarder = &mut self.forwarder;
        forwarder.kept.remove(&number);
        forwarder.waiting.remove(&number);
        if let Attached::Asking { number: asked, expected } = forwarder.attached
            && asked == number
        {
            forwarder.attached = Attached::Yes { incarnation, expected, asked };
            self.notice(Notice::Attached { incarnation });
        }
    }

    /// A client is answered, or will be when the disk lets go of its buffer.
    pub(crate) fn end_ours(&mut self, number: u64, result: Result<Done, Refusal>) {
        let forwarder = &mut self.forwarder;
        if let (Some(kept), Err(refusal)) = (forwarder.kept.get_mut(&number), &result)
            && kept.place == Place::Busy
        {
            kept.ends = Some(*refusal);
            return;
        }
        forwarder.waiting.remove(&number);
        let Some(kept) = forwarder.kept.remove(&number) else { return };
        let Wanted::Request { id, request, .. } = kept.wanted else { return };
        match result {
            Ok(done) => {
                if let Some(buf) = request.brought() {
                    self.release(buf);
                }
                self.complete(id, Ok(done));
            }
            Err(refusal) => self.refuse(id, &request, refusal),
        }
    }

    /// The reign is over that had it: it goes to the next one. `busy`: when the disk is done with its buffer.
    pub(crate) fn take_back(&mut self, number: u64, busy: bool) {
        let Some(kept) = self.forwarder.kept.get_mut(&number) else { return };
        kept.place = if busy { Place::Busy } else { Place::Waiting };
        if !busy {
            self.forwarder.waiting.insert(number);
        } else if kept.writes() {
            self.forwarder.with_disk.insert(number);
        }
    }

    /// The disk let go of a request's buffer; of a part of a block, its checksum now.
    pub(crate) fn on_free(&mut self, number: u64, crc: Option<Crc>) {
        self.forwarder.with_disk.remove(&number);
        let Some(kept) = self.forwarder.kept.get_mut(&number) else { return };
        kept.place = Place::Waiting;
        kept.crc = crc.or(kept.crc);
        self.forwarder.waiting.insert(number);
        let over = if self.fault.is_some() { Some(Refusal::Faulted) } else { None };
        if let Some(refusal) = kept.ends.or(over) {
            self.end_ours(number, Err(refusal));
        }
    }

    /// The checksum of a part of a block is known, or its block was merged: what is in its buffer now.
    pub(crate) fn on_part_sum(&mut self, number: u64, result: Result<DiskDone, DiskError>) {
        match result {
            Ok(DiskDone::Merged(crc)) => self.on_free(number, Some(crc)),
            other => panic!("a merge in memory was answered with {other:?}"),
        }
    }

    /// Its block was merged in place by our own reign.
    pub(crate) fn note_sum(&mut self, owner: Owner, crc: Crc) {
        if let Owner::Ours { number } = owner
            && let Some(kept) = self.forwarder.kept.get_mut(&number)
        {
            kept.crc = Some(crc);
        }
    }

    /// The bytes of a read are where the client wants them.
    pub(crate) fn on_brought(&mut self, number: u64, holes: u64) {
        let Some(kept) = self.forwarder.kept.get_mut(&number) else { return };
        kept.place = Place::Waiting;
        let result = kept.ends.map_or(Ok(Done::Read { holes }), Err);
        self.end_ours(number, result);
    }

    /// Nothing of ours is done any more.
    pub(crate) fn refuse_all_ours(&mut self, refusal: Refusal) {
        self.drop_line();
        let numbers: Vec<u64> = self.forwarder.kept.keys().copied().collect();
        for number in numbers {
            self.end_ours(number, Err(refusal));
        }
    }

    /// A request of ours that its reign never answers.
    #[cfg(feature = "bait")]
    pub(crate) fn client_of(&self, owner: Owner) -> Option<RequestId> {
        let Owner::Ours { number } = owner else { return None };
        match self.forwarder.kept.get(&number)?.wanted {
            Wanted::Request { id, .. } => Some(id),
            Wanted::Attach { .. } => None,
        }
    }

    /// The oldest request of a client that no primary of ours has, and when its patience ends.
    pub(crate) fn next_impatient(&self) -> Option<Instant> {
        let patience = self.setup.limits.quorum_patience?;
        let waits = |kept: &&Kept| {
            let with_us = matches!(kept.place, Place::Waiting | Place::There);
            with_us && matches!(kept.wanted, Wanted::Request { .. })
        };
        let forwarder = &self.forwarder;
        let oldest = if forwarder.line.is_some() || self.primary.is_none() {
            forwarder.kept.values().find(waits)
        } else {
            forwarder.waiting.iter().filter_map(|number| forwarder.kept.get(number)).find(waits)
        };
        oldest.map(|kept| kept.since.after(patience))
    }

    /// Time passed.
    pub(crate) fn forward_tick(&mut self) {
        let now = self.now;
        self.line_tick();
        let mut requests = 0;
        while self.next_impatient().is_some_and(|until| until <= now) {
            let Some(patience) = self.setup.limits.quorum_patience else { break };
            let forwarder = &self.forwarder;
            let next = forwarder.kept.iter().find(|(_, kept)| {
                let with_us = matches!(kept.place, Place::Waiting | Place::There);
                with_us && matches!(kept.wanted, Wanted::Request { .. }) && kept.since.after(patience) <= now
            });
            let Some(number) = next.map(|(number, _)| *number) else { break };
            self.end_ours(number, Err(Refusal::NoQuorum));
            requests += 1;
        }
        if requests > 0 {
            let last = self.promised();
            self.notice(Notice::PrimaryMissing { requests, last });
        }
    }
}
