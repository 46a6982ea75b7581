//! The nouns that every floor says: volumes, replicas, epochs, positions, extents, checksums.

use core::fmt;

use bincode::de::Decoder;
use bincode::error::DecodeError;
use bincode::{Decode, Encode, impl_borrow_decode};

pub use crate::epoch::{Epoch, Era};

/// Bytes of one block: the unit of the log's bodies, the home area and its checksum table.
pub const BLOCK_BYTES: u32 = 4096;
/// Bytes of one logical sector: the smallest thing that a client may address.
pub const SECTOR_BYTES: u32 = 512;
/// Sectors of one block.
pub const BLOCK_SECTORS: u32 = BLOCK_BYTES / SECTOR_BYTES;

/// No position, epoch or other counter of a volume gets so far in its life: whoever says so, on a disk or on the
/// wire, is wrong, and is not believed, lest sums with it overflow.
pub const COUNT_MAX: u64 = 1 << 62;

/// A volume's identity, drawn at its creation and never reused. Shown as a UUID.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct VolumeId(pub [u8; 16]);

impl fmt::Display for VolumeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for VolumeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One copy of a volume. Written into its superblock at birth, never reused; its address may change any time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct ReplicaId(pub u64);

impl ReplicaId {
    /// No replica: the owner of [`Epoch::ZERO`].
    pub const NONE: ReplicaId = ReplicaId(0);
}

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r-{:016x}", self.0)
    }
}

impl fmt::Debug for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Dense position of a record in the volume's one log; as a frontier, everything below it has the property.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Encode)]
pub struct Lsn(pub u64);

/// A number that is counted on: not above [`COUNT_MAX`].
fn decode_count<D: Decoder>(decoder: &mut D) -> Result<u64, DecodeError> {
    match u64::decode(decoder)? {
        count if count <= COUNT_MAX => Ok(count),
        _ => Err(DecodeError::Other("a count that no volume reaches")),
    }
}

impl<C> Decode<C> for Lsn {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Lsn, DecodeError> {
        Ok(Lsn(decode_count(decoder)?))
    }
}

impl_borrow_decode!(Lsn);

/// Which request of a client wrote a record: so that one that is asked again can be told from a new one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Encode, Decode)]
pub struct Origin {
    /// The attachment in which it was asked, named by the position of its attach record.
    pub incarnation: Lsn,
    /// Counts the requests of that attachment.
    pub number: u64,
}

impl Origin {
    /// Of no client.
    pub const NONE: Origin = Origin { incarnation: Lsn::ZERO, number: 0 };
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.incarnation, self.number)
    }
}

impl Lsn {
    /// The first record of a volume.
    pub const ZERO: Lsn = Lsn(0);

    /// The position after this one.
    #[must_use]
    pub fn next(self) -> Lsn {
        Lsn(self.0.checked_add(1).expect("fewer than 2^64 records"))
    }

    /// The position before this one, if there is one.
    #[must_use]
    pub fn prev(self) -> Option<Lsn> {
        self.0.checked_sub(1).map(Lsn)
    }

    /// Records from `earlier` up to here; zero if `earlier` is not earlier.
    #[must_use]
    pub fn since(self, earlier: Lsn) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lsn {}", self.0)
    }
}

/// Records from `start` up to, not including, `end`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Encode, Decode)]
pub struct LsnRange {
    /// The first record.
    pub start: Lsn,
    /// The frontier: the first record that is not in the range.
    pub end: Lsn,
}

impl LsnRange {
    /// The range `[start, end)`; empty when `end` is not above `start`.
    #[must_use]
    pub fn new(start: Lsn, end: Lsn) -> LsnRange {
        LsnRange { start, end: end.max(start) }
    }

    /// How many records it holds.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.end.since(self.start)
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.end <= self.start
    }

    /// Whether `lsn` is one of its records.
    #[must_use]
    pub fn contains(&self, lsn: Lsn) -> bool {
        self.start <= lsn && lsn < self.end
    }
}

/// One row of a volume's history: from `first` on, the log was written in `epoch`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Encode, Decode)]
pub struct LineageRow {
    /// The reign.
    pub epoch: Epoch,
    /// Its epoch-start record.
    pub first: Lsn,
}

/// A run of blocks of the volume.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Encode, Decode)]
pub struct Extent {
    /// The first block.
    pub start: u64,
    /// How many blocks.
    pub blocks: u32,
}

impl Extent {
    /// `blocks` blocks from `start` on.
    #[must_use]
    pub const fn new(start: u64, blocks: u32) -> Extent {
        Extent { start, blocks }
    }

    /// The first block after it.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.start + self.blocks as u64
    }

    /// Its size in bytes.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.blocks as u64 * BLOCK_BYTES as u64
    }

    /// Whether it holds no block.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.blocks == 0
    }

    /// Whether both hold a same block.
    #[must_use]
    pub const fn overlaps(&self, other: &Extent) -> bool {
        self.start < other.end() && other.start < self.end()
    }

    /// Whether `block` is in it.
    #[must_use]
    pub const fn contains(&self, block: u64) -> bool {
        self.start <= block && block < self.end()
    }
}

impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "blocks {}..{}", self.start, self.end())
    }
}

/// A CRC32C (Castagnoli, RFC 3720 appendix B.4): of a header, or of one block of data.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Encode, Decode)]
pub struct Crc(pub u32);

impl fmt::Debug for Crc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "crc {:08x}", self.0)
    }
}

impl fmt::Display for Crc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}
