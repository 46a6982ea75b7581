//! What a replica keeps of its feed: which record comes next, and what it has to continue. It admits the one
//! record that is next, whole and unbroken, or names what is wrong.

use seawall_wal::configuration::are_words;
use seawall_wal::guard;
use seawall_wal::maintenance::Lease;
use seawall_wal::names::{Crc, Epoch, Extent, Lsn, VolumeId};
use seawall_wal::record::{Kind, RecordHeader};

use crate::session_id::SessionId;
use crate::violation::Violation;

/// The replica's side of its feed, for one session.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Receiver {
    session: SessionId,
    epoch: Epoch,
    volume_blocks: u64,
    /// The next record.
    received: Lsn,
    /// The digest of the last one.
    chain: Crc,
    /// The reign of the last one.
    last_epoch: Epoch,
}

impl Receiver {
    /// A feed in `session` of the primary of `epoch`, from record `from` on, to a volume of `volume_blocks`
    /// blocks. The record before `from` has digest `chain` and was written in `last_epoch`.
    #[must_use]
    pub fn new(
        session: SessionId,
        epoch: Epoch,
        from: Lsn,
        chain: Crc,
        last_epoch: Epoch,
        volume_blocks: u64,
    ) -> Receiver {
        Receiver { session, epoch, volume_blocks, received: from, chain, last_epoch }
    }

    /// The session that it belongs to.
    #[must_use]
    pub fn session(&self) -> SessionId {
        self.session
    }

    /// The reign of the primary that feeds it.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The frontier of what was admitted: the record that comes next.
    #[must_use]
    pub fn received(&self) -> Lsn {
        self.received
    }

    /// Whether a message of this epoch and session belongs to the feed.
    pub fn check_session(&self, frame_epoch: Epoch, session: SessionId) -> Result<(), Violation> {
        // Invariant: stale-session-changes-nothing.
        if !guard!("receiver-hears-its-session", session == self.session) {
            return Err(Violation::StaleSession { current: self.session, found: session });
        }
        if !guard!("receiver-hears-its-epoch", frame_epoch == self.epoch) {
            return Err(Violation::WrongEpoch { expected: self.epoch, found: frame_epoch });
        }
        Ok(())
    }

    /// A record came, in a frame of `frame_epoch` and `session`, with a payload whose blocks have the checksums
    /// `payload_crcs`. If it is the one that is next, it is admitted, else nothing changes.
    pub fn on_append(
        &mut self,
        frame_epoch: Epoch,
        session: SessionId,
        record: &RecordHeader,
        payload_crcs: &[Crc],
        volume: VolumeId,
    ) -> Result<(), Violation> {
        self.check_session(frame_epoch, session)?;
        if !guard!("record-of-the-volume", record.volume == volume) {
            return Err(Violation::WrongVolume { expected: volume, found: record.volume });
        }
        self.check_place(record)?;
        check_shape(record, self.volume_blocks)?;
        check_payload(record, payload_crcs)?;
        self.received = record.lsn.next();
        self.chain = record.digest();
        self.last_epoch = record.epoch;
        Ok(())
    }

    /// Whether `record` continues the log.
    fn check_place(&self, record: &RecordHeader) -> Result<(), Violation> {
        let lsn = record.lsn;
        // Invariant: log-is-dense.
        if !guard!("record-is-next", lsn == self.received) {
            return Err(Violation::Hole { expected: self.received, found: lsn });
        }
        if !guard!("record-continues-the-chain", record.chain == self.chain) {
            return Err(Violation::ChainBroken { lsn, expected: self.chain, found: record.chain });
        }
        let (last, found) = (self.last_epoch, record.epoch);
        if !guard!("record-epoch-never-falls", found >= last) {
            return Err(Violation::EpochFell { lsn, last, found });
        }
        if !guard!("record-epoch-not-ahead", found <= self.epoch) {
            return Err(Violation::EpochAhead { lsn, session: self.epoch, found });
        }
        // Invariant: one-primary-per-epoch. A reign begins with its epoch-start record, once.
        let begins = record.kind == Kind::EpochStart;
        if !guard!("reign-begins-with-its-start", begins || found <= last)
            || !guard!("reign-begins-once", found > last || !begins)
        {
            return Err(Violation::EpochStartMisplaced { lsn, last, found });
        }
        // Invariant: eras-are-forced. With the configuration that makes it decide, and only so.
        let forced = begins && !record.body.is_empty();
        if forced != (found.era() > last.era()) {
            return Err(Violation::EpochStartMisplaced { lsn, last, found });
        }
        Ok(())
    }
}

/// Whether a record that travels makes sense by itself: its kind, its extent and its body fit each other and a
/// volume of `volume_blocks` blocks.
pub fn check_shape(record: &RecordHeader, volume_blocks: u64) -> Result<(), Violation> {
    let lsn = record.lsn;
    let expected = match record.kind {
        Kind::Write => {
            check_extent(&record.extent, volume_blocks)?;
            record.extent.blocks as usize
        }
        Kind::WriteZeroes | Kind::Trim => {
            check_extent(&record.extent, volume_blocks)?;
            0
        }
        kind @ Kind::Padding if !guard!("padding-never-travels", kind != Kind::Padding) => {
            return Err(Violation::KindNotSent { lsn, kind });
        }
        Kind::Configuration | Kind::EpochStart
            if !are_words(&record.body)
                && (record.kind == Kind::Configuration || !record.body.is_empty()) =>
        {
            return Err(Violation::BodyShape { lsn, expected: 0, found: record.body.len() });
        }
        Kind::Maintenance if Lease::of(&record.body).is_none() => {
            return Err(Violation::BodyShape { lsn, expected: 0, found: record.body.len() });
        }
        Kind::EpochStart | Kind::Attach | Kind::Padding | Kind::Configuration | Kind::Maintenance => 0,
    };
    match record.sums().len() {
        found if guard!("body-of-its-extent", found == expected) => Ok(()),
        found => Err(Violation::BodyShape { lsn, expected, found }),
    }
}

/// Whether `extent` is some blocks of a volume of `volume_blocks` blocks. To be asked of every extent that a
/// peer names before anything else is: its end may not even be a number.
pub fn check_extent(extent: &Extent, volume_blocks: u64) -> Result<(), Violation> {
    match extent.start.checked_add(u64::from(extent.blocks)) {
        Some(end)
            if guard!("extent-in-the-volume", end <= volume_blocks)
                && guard!("extent-not-empty", !extent.is_empty()) =>
        {
            Ok(())
        }
        Some(_) | None => Err(Violation::ExtentOutside { extent: *extent, volume_blocks }),
    }
}

/// Whether the payload that came is the body that `record` names.
pub fn check_payload(record: &RecordHeader, payload_crcs: &[Crc]) -> Result<(), Violation> {
    check_blocks(record.sums(), payload_crcs)
}

/// Whether the blocks that came have the checksums that the message names, one for one.
pub fn check_blocks(named: &[Crc], came: &[Crc]) -> Result<(), Violation> {
    if !guard!("payload-has-all-blocks", named.len() == came.len()) {
        return Err(Violation::PayloadBlocks { expected: named.len(), found: came.len() });
    }
    match named.iter().zip(came).position(|(named, came)| !guard!("payload-as-named", named == came)) {
        None => Ok(()),
        Some(block) => Err(Violation::PayloadCorrupt { block, expected: named[block], found: came[block] }),
    }
}
