//! The log ring as bookkeeping: which record is where, how far it is written and durable, what may be overwritten.
//!
//! ```text
//!        reusable      start            durable   written   end
//!  ─────────┼────────────┼─────────────────┼─────────┼───────┼──────────► LSN
//!           │ released,  │   held: read by feeds,    │ being │
//!           │ not yet    │   redone after a restart  │written│
//!           │ overwritten
//! ```

use alloc::collections::{BTreeMap, VecDeque};
use core::fmt;

use bincode::{Decode, Encode};

use crate::geometry::Geometry;
use crate::index::{Index, Row};
use crate::names::{BLOCK_BYTES, Crc, Epoch, Extent, Lsn, Origin, VolumeId};
use crate::record::{Kind, RecordHeader, Trailer};
use crate::superblock::Cut;

/// Bytes of the ring that only the start of an epoch and a configuration may use, so that a full log can still elect.
pub const RESERVE_BYTES: u64 = 64 << 10;

/// A place in the log: between two records.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Position {
    /// The record that comes next.
    pub lsn: Lsn,
    /// Where in the log area it, or the padding before it, begins. Bytes.
    pub offset: u64,
    /// The digest of the record before.
    pub chain: Crc,
    /// The epoch of the record before.
    pub epoch: Epoch,
}

impl Position {
    /// Before the first record of a volume.
    pub const ORIGIN: Position = Position { lsn: Lsn::ZERO, offset: 0, chain: Crc(0), epoch: Epoch::ZERO };
}

/// What is known of one record that the log holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Its position.
    pub lsn: Lsn,
    /// Who wrote it.
    pub epoch: Epoch,
    /// What it does.
    pub kind: Kind,
    /// Which blocks.
    pub extent: Extent,
    /// Where its header is in the log area. Bytes.
    pub offset: u64,
    /// Its digest.
    pub digest: Crc,
    /// Which request wrote it.
    pub origin: Origin,
}

impl Entry {
    /// How many blocks of body follow its header.
    #[must_use]
    pub fn body_blocks(&self) -> u32 {
        if self.kind.carries_blocks() { self.extent.blocks } else { 0 }
    }
}

/// Where a record goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Placed {
    /// A padding to be written first: its offset and its length, in bytes, to the end of the ring.
    pub padding: Option<(u64, u64)>,
    /// Where the record's header goes. Bytes in the log area.
    pub offset: u64,
}

/// The record does not fit. Nothing has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full {
    /// What it would need: record, padding, and the reserve that it may not use. Bytes.
    pub needed_bytes: u64,
    /// What is free. Bytes.
    pub free_bytes: u64,
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the log has {} bytes free, {} are needed", self.free_bytes, self.needed_bytes)
    }
}

impl core::error::Error for Full {}

/// Holds the log from a record on, until it is given back to [`Log::unpin`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Pin {
    from: Lsn,
}

impl Pin {
    /// The first record that it holds.
    #[must_use]
    pub fn from(&self) -> Lsn {
        self.from
    }
}

/// The ring. Offsets count on for ever inside (`end_at`, `floor_at`); on the device they are taken modulo its size.
#[derive(Clone, Debug)]
pub struct Log {
    log_bytes: u64,
    unit_bytes: u32,
    index: Index,
    /// Where `start`, or the padding before it, is in the log area; what is before it.
    head_offset: u64,
    head_chain: Crc,
    head_epoch: Epoch,
    written: Lsn,
    durable: Lsn,
    tail_chain: Crc,
    tail_epoch: Epoch,
    generation: u32,
    /// Where the next record or padding goes.
    end_at: u64,
    /// From where on nothing may be overwritten.
    floor_at: u64,
    /// Releases whose superblock is not known to be durable: the start that it names, and where that is.
    releases: VecDeque<(Lsn, u64)>,
    pins: BTreeMap<Lsn, u32>,
}

impl Log {
    /// An empty log whose next record is `at.lsn`, at `at.offset`.
    #[must_use]
    pub fn new(geometry: &Geometry, at: Position) -> Log {
        let unit_bytes = geometry.unit_bytes;
        assert!(at.offset < geometry.log_bytes, "a position lies in the ring");
        assert!(at.offset.is_multiple_of(u64::from(unit_bytes)), "records begin at a multiple of the unit");
        Log {
            log_bytes: geometry.log_bytes,
            unit_bytes,
            index: Index::new(at.lsn),
            head_offset: at.offset,
            head_chain: at.chain,
            head_epoch: at.epoch,
            written: at.lsn,
            durable: at.lsn,
            tail_chain: at.chain,
            tail_epoch: at.epoch,
            generation: 0,
            end_at: at.offset,
            floor_at: at.offset,
            releases: VecDeque::new(),
            pins: BTreeMap::new(),
        }
    }

    /// The same log after its cuts: see [`Cut`].
    #[must_use]
    pub fn with_generation(self, generation: u32) -> Log {
        Log { generation, ..self }
    }

    /// The first record that it holds.
    #[must_use]
    pub fn start(&self) -> Lsn {
        self.index.start()
    }

    /// The next record to come.
    #[must_use]
    pub fn end(&self) -> Lsn {
        self.index.end()
    }

    /// Everything below has been written to the device.
    #[must_use]
    pub fn written(&self) -> Lsn {
        self.written
    }

    /// Everything below is on stable storage.
    #[must_use]
    pub fn durable(&self) -> Lsn {
        self.durable
    }

    /// Where its first record is: what the superblock names.
    #[must_use]
    pub fn head(&self) -> Position {
        let Log { head_offset, head_chain, head_epoch, .. } = *self;
        Position { lsn: self.start(), offset: head_offset, chain: head_chain, epoch: head_epoch }
    }

    /// Where its next record comes.
    #[must_use]
    pub fn tail(&self) -> Position {
        let offset = self.end_at % self.log_bytes;
        Position { lsn: self.end(), offset, chain: self.tail_chain, epoch: self.tail_epoch }
    }

    /// The epoch of its last record.
    #[must_use]
    pub fn tail_epoch(&self) -> Epoch {
        self.tail_epoch
    }

    /// The digest of its last record.
    #[must_use]
    pub fn tail_chain(&self) -> Crc {
        self.tail_chain
    }

    /// How many times it has been cut.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// What a record that is written now says of what is known here.
    #[must_use]
    pub fn trailer(&self) -> Trailer {
        Trailer { durable_before: self.durable, generation: self.generation }
    }

    /// The chain that a record at `lsn` must carry; known from `start` up to and with `end`.
    #[must_use]
    pub fn chain_at(&self, lsn: Lsn) -> Option<Crc> {
        if lsn == self.start() {
            return Some(self.head_chain);
        }
        self.index.row(lsn.prev()?).map(|row| row.digest)
    }

    /// The epoch of the record before `lsn`; known from `start` up to and with `end`.
    #[must_use]
    pub fn epoch_before(&self, lsn: Lsn) -> Option<Epoch> {
        if lsn == self.start() {
            return Some(self.head_epoch);
        }
        let before = lsn.prev()?;
        self.index.row(before).map(|_| self.index.epoch(before))
    }

    /// The record at `lsn`, if the log holds it.
    #[must_use]
    pub fn entry(&self, lsn: Lsn) -> Option<Entry> {
        let row = self.index.row(lsn)?;
        Some(Entry {
            lsn,
            epoch: self.index.epoch(lsn),
            kind: row.kind,
            extent: row.extent(),
            offset: self.offset(row),
            digest: row.digest,
            origin: row.origin,
        })
    }

    /// The checksums of the body of the record at `lsn`; none if the log does not hold it.
    #[must_use]
    pub fn body_crcs(&self, lsn: Lsn) -> &[Crc] {
        let row = self.index.row(lsn).filter(|row| row.body_blocks() > 0);
        row.map_or(&[], |row| self.index.bodies(row))
    }

    /// The words of the record of that kind at `lsn`; `None` if there is none, or it has none.
    #[must_use]
    pub fn words(&self, lsn: Lsn, kind: Kind) -> Option<&[Crc]> {
        let row = self.index.row(lsn).filter(|row| row.kind == kind && kind.has_words())?;
        Some(self.index.bodies(row)).filter(|words| !words.is_empty())
    }

    /// The checksum of one block of the body of the record at `lsn`.
    #[must_use]
    pub fn body_crc(&self, lsn: Lsn, block: u32) -> Option<Crc> {
        self.body_crcs(lsn).get(block as usize).copied()
    }

    /// Where the body of a record is in the log area. Bytes.
    #[must_use]
    pub fn body_offset(&self, entry: &Entry) -> u64 {
        entry.offset + u64::from(self.unit_bytes)
    }

    /// The replicated header of the record at `lsn`, as it was pushed.
    #[must_use]
    pub fn header(&self, volume: VolumeId, lsn: Lsn) -> Option<RecordHeader> {
        let Entry { epoch, kind, extent, origin, .. } = self.entry(lsn)?;
        let chain = self.chain_at(lsn)?;
        let body = self.index.row(lsn).map_or(&[][..], |row| self.index.bodies(row)).to_vec();
        Some(RecordHeader { volume, epoch, lsn, kind, extent, chain, origin, body })
    }

    /// Give the next record its place.
    ///
    /// # Errors
    /// If it does not fit; nothing has changed then.
    ///
    /// # Panics
    /// If it does not follow the last record, or is a padding.
    pub fn push(&mut self, header: &RecordHeader) -> Result<Placed, Full> {
        // Invariant: log-is-dense.
        assert_eq!(header.lsn, self.end(), "records come without a hole");
        assert_eq!(header.chain, self.tail_chain, "each record names the one before it");
        assert!(header.epoch >= self.tail_epoch, "epochs only grow along the log");
        assert!(header.kind != Kind::Padding, "a padding has no position of its own");

        let bytes = header.disk_bytes(self.unit_bytes);
        let offset = self.end_at % self.log_bytes;
        let rest = self.log_bytes - offset;
        let padding = if bytes > rest { rest } else { 0 };
        let reserve = match header.kind {
            Kind::EpochStart | Kind::Configuration => 0,
            Kind::Write | Kind::WriteZeroes | Kind::Trim | Kind::Padding => RESERVE_BYTES,
            Kind::Attach | Kind::Maintenance => RESERVE_BYTES,
        };
        let needed_bytes = bytes + padding + reserve;
        if needed_bytes > self.free_bytes() {
            return Err(Full { needed_bytes, free_bytes: self.free_bytes() });
        }

        let padded = (padding > 0).then_some((offset, padding));
        let placed = Placed { padding: padded, offset: self.place(bytes) };
        let units = placed.offset / u64::from(self.unit_bytes);
        let digest = header.digest();
        self.index.push(header, u32::try_from(units).expect("a ring has fewer than 2^32 units"), digest);
        self.tail_chain = digest;
        self.tail_epoch = header.epoch;
        self.end_at += padding + bytes;
        Ok(placed)
    }

    /// Everything below `to` has been written.
    ///
    /// # Panics
    /// If it goes back, or past the end.
    pub fn on_written(&mut self, to: Lsn) {
        assert!(self.written <= to && to <= self.end(), "written moves on, within the log");
        self.written = to;
    }

    /// Everything below `to` is on stable storage.
    ///
    /// # Panics
    /// If it goes back, or past what was written.
    pub fn on_durable(&mut self, to: Lsn) {
        assert!(self.durable <= to && to <= self.written, "durable moves on, within what was written");
        self.durable = to;
    }

    /// The mark that makes a cut at `to` last: it must be durable in the superblock before the next record is
    /// written, and everything below `to` must be durable before the mark is.
    #[must_use]
    pub fn cut_mark(&self, to: Lsn) -> Cut {
        let generation = self.generation.checked_add(1).expect("fewer than 2^32 cuts");
        Cut { lsn: to, generation }
    }

    /// Drop the records from `to` on; frontiers above it are lowered to it. Returns [`cut_mark`](Log::cut_mark).
    ///
    /// # Panics
    /// If `to` is not in the log, not durable, or below a pin.
    pub fn cut(&mut self, to: Lsn) -> Cut {
        assert!(self.start() <= to && to <= self.end(), "a cut lies in the log");
        assert!(to <= self.durable, "everything below a cut is durable, so that the mark can say so");
        // Invariant: pinned-log-stays.
        assert!(self.pins.range(to.next()..).next().is_none(), "what is pinned is not cut");
        let mark = self.cut_mark(to);
        let (chain, epoch) = (self.chain_at(to), self.epoch_before(to));
        self.end_at = self.after(to);
        self.index.forget_from(to);
        self.tail_chain = chain.expect("the chain is known at every place of the log");
        self.tail_epoch = epoch.expect("the epoch is known at every place of the log");
        self.written = self.written.min(to);
        self.durable = self.durable.min(to);
        self.generation = mark.generation;
        mark
    }

    /// Forget all records and go on with `lsn`, in the free space that follows. What was held stays untouched on the
    /// device until [`on_release_durable`](Log::on_release_durable) hears of `lsn`. The mark counts as in
    /// [`cut_mark`](Log::cut_mark); the new [`head`](Log::head) must be durable with it.
    ///
    /// # Panics
    /// If something is pinned.
    pub fn reset(&mut self, lsn: Lsn, chain: Crc, epoch: Epoch) -> Cut {
        // Invariant: pinned-log-stays.
        assert!(self.pins.is_empty(), "what is pinned is not forgotten");
        let mark = self.cut_mark(lsn);
        self.index = Index::new(lsn);
        self.head_offset = self.end_at % self.log_bytes;
        (self.head_chain, self.head_epoch) = (chain, epoch);
        self.releases.clear();
        self.releases.push_back((lsn, self.end_at));
        (self.written, self.durable) = (lsn, lsn);
        (self.tail_chain, self.tail_epoch) = (chain, epoch);
        self.generation = mark.generation;
        mark
    }

    /// Hold everything from `from` on.
    ///
    /// # Panics
    /// If `from` is not in the log.
    pub fn pin(&mut self, from: Lsn) -> Pin {
        // Invariant: pinned-log-stays.
        assert!(self.start() <= from && from <= self.end(), "only what is held can be pinned");
        *self.pins.entry(from).or_insert(0) += 1;
        Pin { from }
    }

    /// Let go of it.
    ///
    /// # Panics
    /// If it was let go of before.
    pub fn unpin(&mut self, pin: Pin) {
        let count = self.pins.get_mut(&pin.from).expect("a pin is let go of once");
        *count -= 1;
        if *count == 0 {
            self.pins.remove(&pin.from);
        }
    }

    /// The lowest pinned record.
    #[must_use]
    pub fn pinned(&self) -> Option<Lsn> {
        self.pins.first_key_value().map(|(lsn, _)| *lsn)
    }

    /// Stop holding the records below `to`. Their space is overwritten only after
    /// [`on_release_durable`](Log::on_release_durable).
    ///
    /// # Panics
    /// If something below `to` is pinned, or `to` is not durable.
    pub fn release(&mut self, to: Lsn) {
        if to <= self.start() {
            return;
        }
        // Invariant: pinned-log-stays.
        assert!(self.pinned().is_none_or(|pinned| to <= pinned), "what is pinned is not released");
        assert!(to <= self.durable, "only what is durable is released");
        let chain = self.chain_at(to).expect("durable is within the log");
        let epoch = self.epoch_before(to).expect("durable is within the log");
        let at = self.at(to);
        self.index.forget_below(to);
        self.head_offset = at % self.log_bytes;
        (self.head_chain, self.head_epoch) = (chain, epoch);
        self.releases.push_back((to, at));
    }

    /// A superblock that names `start` as the log's first record is durable, so the space before that may be
    /// overwritten. To survive rot of one superblock copy, name the lower of the starts in the two copies.
    pub fn on_release_durable(&mut self, start: Lsn) {
        while let Some((to, at)) = self.releases.front().copied().filter(|(to, _)| *to <= start) {
            assert!(self.floor_at <= at && at <= self.end_at, "released space lies behind the end");
            assert!(to <= self.start(), "what is held is not reusable");
            self.floor_at = at;
            self.releases.pop_front();
        }
    }

    /// Bytes of the ring that may not be overwritten.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.end_at - self.floor_at
    }

    /// Bytes of the ring that may be overwritten, the reserve among them.
    #[must_use]
    pub fn free_bytes(&self) -> u64 {
        self.log_bytes - self.used_bytes()
    }

    /// The ring's size in bytes.
    #[must_use]
    pub fn log_bytes(&self) -> u64 {
        self.log_bytes
    }

    /// Bytes of the ring from the record at `lsn` up to the end; of all records if `lsn` is below the start.
    #[must_use]
    pub fn bytes_from(&self, lsn: Lsn) -> u64 {
        self.end_at - self.at(lsn.clamp(self.start(), self.end()))
    }

    /// The lowest record from which on there are at most `bytes` up to the end; the end if there is none.
    #[must_use]
    pub fn lsn_at_bytes_before_end(&self, bytes: u64) -> Lsn {
        let (mut low, mut high) = (self.start(), self.end());
        while low < high {
            let middle = Lsn(low.0 + high.since(low) / 2);
            if self.bytes_from(middle) <= bytes {
                high = middle;
            } else {
                low = middle.next();
            }
        }
        low
    }

    /// Memory that the index takes, in bytes.
    #[must_use]
    pub fn index_bytes(&self) -> usize {
        self.index.bytes()
    }

    /// Where a record of that size goes: where the last one ends, or at the start of the ring if it does not fit there.
    pub(crate) fn place(&self, bytes: u64) -> u64 {
        let offset = self.end_at % self.log_bytes;
        if bytes > self.log_bytes - offset { 0 } else { offset }
    }

    fn offset(&self, row: &Row) -> u64 {
        u64::from(row.offset_units) * u64::from(self.unit_bytes)
    }

    /// Where `lsn` is, counted on for ever. `lsn` is in `start..=end`.
    fn at(&self, lsn: Lsn) -> u64 {
        let Some(row) = self.index.row(lsn) else { return self.end_at };
        // All that is held is at most one ring behind the end; a record exactly one ring behind fills it.
        let behind = (self.end_at + self.log_bytes - self.offset(row)) % self.log_bytes;
        self.end_at - if behind == 0 { self.log_bytes } else { behind }
    }

    /// Where the record before `lsn` ends, counted on for ever. A padding in front of `lsn` comes after that: a
    /// restart does not know of it, and would look for the next record here.
    fn after(&self, lsn: Lsn) -> u64 {
        let before = lsn.prev().filter(|before| *before >= self.start());
        if let Some((before, row)) = before.and_then(|before| self.index.row(before).map(|row| (before, row)))
        {
            let body_bytes = u64::from(row.body_blocks()) * u64::from(BLOCK_BYTES);
            return self.at(before) + u64::from(self.unit_bytes) + body_bytes;
        }
        let at = self.at(lsn);
        at - (at + self.log_bytes - self.head_offset) % self.log_bytes
    }
}
