//! The shipped receiver against a primary that sends anything: the right record, and the right record with one thing
//! wrong. Whoever watches replays what was admitted onto a volume of his own.

use seawall_sender::receiver::Receiver;
use seawall_sender::session_id::SessionId;
use seawall_wal::names::{Crc, Epoch, Extent, Lsn, Origin, ReplicaId, VolumeId};
use seawall_wal::record::{Kind, RecordHeader};

use crate::search::{Breach, Model, rule};

const VOLUME: VolumeId = VolumeId([7; 16]);
const BLOCKS: u64 = 3;
const RECORDS: usize = 4;
const PRESENT: SessionId = SessionId { boot: 1, count: 2 };
const STALE: SessionId = SessionId { boot: 1, count: 1 };
/// The reign of the session.
const REIGN: u64 = 3;

/// The model.
#[derive(Clone, Copy, Debug, Default)]
pub struct Offers;

/// The receiver, and what was admitted, as somebody else keeps it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Room {
    receiver: Receiver,
    /// Reigns of the records admitted.
    log: Vec<u64>,
    tail: Crc,
}

/// One thing that is wrong with a record, or nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flaw {
    /// Nothing.
    None,
    /// It came in a session that is over.
    StaleSession,
    /// It came in a frame of another reign.
    OtherEpoch,
    /// Of another volume.
    OtherVolume,
    /// One record is missing before it.
    Ahead,
    /// It came before.
    Again,
    /// It continues other records.
    OtherChain,
    /// It is of an older reign than the record before it.
    OldEpoch,
    /// It is of a reign after that of the session.
    LaterEpoch,
    /// Its reign did not start.
    NoStart,
    /// Its reign starts again.
    SecondStart,
    /// Of a kind that is local.
    Padding,
    /// It names a block past the end.
    PastTheEnd,
    /// It names no block.
    NoBlock,
    /// It names another number of checksums than of blocks.
    ShortBody,
    /// A block of it did not come.
    ShortPayload,
    /// A block of it came with other bytes.
    OtherBytes,
}

const FLAWS: [Flaw; 17] = [
    Flaw::None,
    Flaw::StaleSession,
    Flaw::OtherEpoch,
    Flaw::OtherVolume,
    Flaw::Ahead,
    Flaw::Again,
    Flaw::OtherChain,
    Flaw::OldEpoch,
    Flaw::LaterEpoch,
    Flaw::NoStart,
    Flaw::SecondStart,
    Flaw::Padding,
    Flaw::PastTheEnd,
    Flaw::NoBlock,
    Flaw::ShortBody,
    Flaw::ShortPayload,
    Flaw::OtherBytes,
];

/// What comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    /// What it should be.
    pub kind: Kind,
    /// What is wrong.
    pub flaw: Flaw,
}

fn epoch(counter: u64) -> Epoch {
    if counter == 0 { Epoch::ZERO } else { Epoch { counter, replica: ReplicaId(1) } }
}

impl Room {
    /// The right record of that kind.
    fn right(&self, kind: Kind) -> RecordHeader {
        let last = self.log.last().copied().unwrap_or(0);
        let (blocks, bodies) = match kind {
            Kind::Write => (2, 2),
            Kind::WriteZeroes | Kind::Trim => (2, 0),
            Kind::EpochStart | Kind::Attach | Kind::Padding => (0, 0),
            Kind::Configuration | Kind::Maintenance => (0, 0),
        };
        RecordHeader {
            volume: VOLUME,
            epoch: epoch(if kind == Kind::EpochStart { last + 1 } else { last }),
            lsn: Lsn(self.log.len() as u64),
            kind,
            extent: Extent::new(u64::from(blocks > 0), blocks),
            chain: self.tail,
            origin: Origin::NONE,
            body: (0..bodies).map(Crc).collect(),
        }
    }

    fn offer(&mut self, step: Step) -> Result<(), Breach> {
        let mut record = self.right(step.kind);
        let mut payload = record.body.clone();
        let (mut session, mut frame_epoch) = (PRESENT, epoch(REIGN));
        match step.flaw {
            Flaw::None => {}
            Flaw::StaleSession => session = STALE,
            Flaw::OtherEpoch => frame_epoch = epoch(REIGN - 1),
            Flaw::OtherVolume => record.volume = VolumeId([8; 16]),
            Flaw::Ahead => record.lsn = record.lsn.next(),
            Flaw::Again => record.lsn = record.lsn.prev().unwrap_or_default(),
            Flaw::OtherChain => record.chain = Crc(record.chain.0 ^ 1),
            Flaw::OldEpoch => record.epoch = epoch(record.epoch.counter.saturating_sub(1)),
            Flaw::LaterEpoch => record.epoch = epoch(REIGN + 1),
            Flaw::NoStart => record.epoch = epoch(record.epoch.counter + 1),
            Flaw::SecondStart => record.kind = Kind::EpochStart,
            Flaw::Padding => record.kind = Kind::Padding,
            Flaw::PastTheEnd => record.extent.start = BLOCKS - 1,
            Flaw::NoBlock => record.extent.blocks = 0,
            Flaw::ShortBody => drop(record.body.pop()),
            Flaw::ShortPayload => drop(payload.pop()),
            Flaw::OtherBytes => payload.iter_mut().take(1).for_each(|crc| crc.0 ^= 1),
        }
        if step.flaw == Flaw::NoBlock {
            (record.body, payload) = (Vec::new(), Vec::new());
        }
        if step.flaw == Flaw::ShortBody {
            payload.truncate(record.body.len());
        }
        let before = self.receiver.clone();
        if self.receiver.on_append(frame_epoch, session, &record, &payload, VOLUME).is_err() {
            return rule("a-refusal-changes-nothing", self.receiver == before, || format!("{step:?}"));
        }
        let present = session == PRESENT && frame_epoch == epoch(REIGN);
        rule("stale-session-changes-nothing", present, || format!("{session} of {frame_epoch} was heard"))?;
        self.replay(&record, &payload)
    }

    /// What it would mean for a volume.
    fn replay(&mut self, record: &RecordHeader, payload: &[Crc]) -> Result<(), Breach> {
        let RecordHeader { volume, lsn, kind, extent, chain, body, .. } = record;
        let last = self.log.last().copied().unwrap_or(0);
        let reign = record.epoch.counter;
        rule("a-log-is-of-one-volume", *volume == VOLUME, || volume.to_string())?;
        rule("log-is-dense", *lsn == Lsn(self.log.len() as u64), || {
            format!("record {lsn} is number {}", self.log.len())
        })?;
        rule("one-history", *chain == self.tail, || format!("record {lsn} continues another one"))?;
        rule("reigns-never-fall", reign >= last, || format!("reign {reign} after {last}"))?;
        rule("nothing-of-a-later-reign", reign <= REIGN, || {
            format!("reign {reign} in a session of {REIGN}")
        })?;
        let begins = *kind == Kind::EpochStart;
        rule("one-primary-per-epoch", begins == (reign > last), || {
            format!("{kind:?} of reign {reign} after {last}")
        })?;
        rule("paddings-are-local", *kind != Kind::Padding, || format!("record {lsn}"))?;
        let writes = matches!(kind, Kind::Write | Kind::WriteZeroes | Kind::Trim);
        if writes {
            rule("writes-stay-in-the-volume", extent.end() <= BLOCKS, || extent.to_string())?;
            rule("a-write-writes", !extent.is_empty(), || extent.to_string())?;
        }
        let blocks = if *kind == Kind::Write { extent.blocks as usize } else { 0 };
        rule("every-block-has-its-bytes", body.len() == blocks && payload.len() == body.len(), || {
            format!("{blocks} blocks, {} checksums, {} blocks came", body.len(), payload.len())
        })?;
        rule("bytes-are-those-that-were-written", payload == &body[..], || format!("record {lsn}"))?;
        self.log.push(reign);
        self.tail = record.digest();
        Ok(())
    }
}

impl Model for Offers {
    type State = Room;
    type Step = Step;

    fn name(&self) -> &'static str {
        "offers"
    }

    fn starts(&self) -> Vec<Room> {
        let receiver = Receiver::new(PRESENT, epoch(REIGN), Lsn::ZERO, Crc(0), Epoch::ZERO, BLOCKS);
        vec![Room { receiver, log: Vec::new(), tail: Crc(0) }]
    }

    fn steps(&self, room: &Room) -> Vec<Step> {
        if room.log.len() == RECORDS {
            return Vec::new();
        }
        let kinds = [Kind::EpochStart, Kind::Write, Kind::WriteZeroes];
        kinds.into_iter().flat_map(|kind| FLAWS.map(|flaw| Step { kind, flaw })).collect()
    }

    fn take(&self, room: &Room, step: &Step) -> Result<Room, Breach> {
        let mut room = room.clone();
        room.offer(*step)?;
        Ok(room)
    }

    fn heal(&self, _: &Room) -> Option<Step> {
        None
    }
}
