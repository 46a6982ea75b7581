//! One record of the log: a header of 512 bytes, then as many blocks as it has body checksums.
//!
//! The first 496 bytes are replicated: they are the same on every replica. The last 16 are the local trailer,
//! which says what this replica knew when it wrote the record here. `wal/FORMAT.md` draws both.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use crate::configuration::{WORDS_MAX, are_words};
use crate::crc::crc32c;
use crate::maintenance::Lease;
use crate::names::{BLOCK_BYTES, Crc, Epoch, Extent, Lsn, Origin, ReplicaId, VolumeId};

/// Bytes of an encoded header.
pub const HEADER_BYTES: usize = 512;
/// The most blocks of body in one record.
pub const BODY_BLOCKS_MAX: u32 = 96;
const _: () = assert!(WORDS_MAX == BODY_BLOCKS_MAX as usize, "words stand where body checksums do");
/// The longest replicated part on the wire, in bytes.
pub const WIRE_BYTES_MAX: usize = FIXED_BYTES + 4 * BODY_BLOCKS_MAX as usize + 4;

/// The first bytes of every record: "SWLR".
pub const MAGIC: u32 = u32::from_le_bytes(*b"SWLR");
const VERSION: u8 = 2;

/// Where the body checksums begin.
const FIXED_BYTES: usize = 80;
const BODY_END: usize = FIXED_BYTES + 4 * BODY_BLOCKS_MAX as usize;
const DIGEST_AT: usize = 492;
const TRAILER_AT: usize = 496;
const TRAILER_CRC_AT: usize = 508;

/// What a record does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Kind {
    /// Store the body's blocks.
    Write = 1,
    /// Make the extent read as zeroes.
    WriteZeroes = 2,
    /// The extent is no longer needed, and reads as zeroes.
    Trim = 3,
    /// A reign begins. One that an operator forced brings its configuration along.
    EpochStart = 4,
    /// The rest of the ring is not used. Local: not replicated, not counted, not part of the chain.
    Padding = 5,
    /// A client's attachment begins: its position names the attachment, and fences the ones before.
    Attach = 6,
    /// The volume's members change: see [`crate::configuration`].
    Configuration = 7,
    /// Somebody works on a replica, or is done: see [`crate::maintenance`].
    Maintenance = 8,
}

impl Kind {
    /// Its code on disk and wire.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The kind of that code.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Kind> {
        use Kind::{Attach, Configuration, EpochStart, Maintenance, Padding, Trim, Write, WriteZeroes};
        [Write, WriteZeroes, Trim, EpochStart, Padding, Attach, Configuration, Maintenance]
            .into_iter()
            .find(|kind| kind.code() == code)
    }

    /// Whether the blocks of its extent follow its header.
    #[must_use]
    pub fn carries_blocks(self) -> bool {
        match self {
            Kind::Write => true,
            Kind::WriteZeroes
            | Kind::Trim
            | Kind::EpochStart
            | Kind::Padding
            | Kind::Attach
            | Kind::Configuration
            | Kind::Maintenance => false,
        }
    }

    /// Whether it makes its extent read as zeroes.
    #[must_use]
    pub fn is_zero(self) -> bool {
        match self {
            Kind::WriteZeroes | Kind::Trim => true,
            Kind::Write | Kind::EpochStart | Kind::Padding | Kind::Attach => false,
            Kind::Configuration | Kind::Maintenance => false,
        }
    }

    /// Whether its header may hold words of its own where the body checksums of a write stand, and no block follows.
    #[must_use]
    pub fn has_words(self) -> bool {
        match self {
            Kind::Configuration | Kind::Maintenance | Kind::EpochStart => true,
            Kind::Write | Kind::WriteZeroes | Kind::Trim => false,
            Kind::Padding | Kind::Attach => false,
        }
    }
}

/// What a replica knew locally when it wrote a record; not covered by the chain, not replicated.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Trailer {
    /// The frontier known to be durable in this log: everything below it was on stable storage.
    pub durable_before: Lsn,
    /// How many times this replica's log had been cut. See [`crate::superblock::Cut`].
    pub generation: u32,
}

/// The replicated part of a record's header.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct RecordHeader {
    /// Whose log it belongs to.
    pub volume: VolumeId,
    /// Who wrote it.
    pub epoch: Epoch,
    /// Its position. A padding has that of the record after it.
    pub lsn: Lsn,
    /// What it does.
    pub kind: Kind,
    /// Which blocks. A padding keeps its length in bytes in `extent.start`.
    pub extent: Extent,
    /// The digest of the record before it; zero for the first. A padding has that of the record after it.
    pub chain: Crc,
    /// Which request wrote it; of an attach record, the attachment that it replaces and the replica that asked for
    /// it; of others, none.
    pub origin: Origin,
    /// The checksum of each block of the body; of a configuration, a lease and a forced start, their words: then no block
    /// follows.
    pub body: Vec<Crc>,
}

/// Why bytes are no record.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RecordError {
    /// They don't begin with [`MAGIC`].
    Magic {
        /// What they begin with.
        found: u32,
    },
    /// Written by a version that we don't know.
    UnknownVersion {
        /// Which.
        version: u8,
    },
    /// Of a kind that we don't know.
    UnknownKind {
        /// Its code.
        code: u8,
    },
    /// The replicated part does not match its checksum.
    HeaderCrc {
        /// What the header says.
        stated: Crc,
        /// What it is.
        actual: Crc,
    },
    /// The local trailer does not match its checksum.
    TrailerCrc {
        /// What the trailer says.
        stated: Crc,
        /// What it is.
        actual: Crc,
    },
    /// A reserved byte is not zero.
    Reserved,
    /// Too short, too long, or not as long as its number of body blocks says.
    Length {
        /// How many bytes there are.
        bytes: usize,
    },
    /// Kind, extent, origin and number of body blocks don't go together.
    Shape {
        /// The kind.
        kind: Kind,
        /// The blocks that it names.
        blocks: u32,
        /// The blocks of its body.
        body: u32,
    },
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecordError::Magic { found } => write!(f, "no record: it begins with {found:08x}"),
            RecordError::UnknownVersion { version } => write!(f, "record of unknown version {version}"),
            RecordError::UnknownKind { code } => write!(f, "record of unknown kind {code}"),
            RecordError::HeaderCrc { stated, actual } => {
                write!(f, "record header says checksum {stated}, has {actual}")
            }
            RecordError::TrailerCrc { stated, actual } => {
                write!(f, "record trailer says checksum {stated}, has {actual}")
            }
            RecordError::Reserved => f.write_str("record with a reserved byte that is not zero"),
            RecordError::Length { bytes } => write!(f, "record header of {bytes} bytes"),
            RecordError::Shape { kind, blocks, body } => {
                write!(f, "{kind:?} record of {blocks} blocks with a body of {body}")
            }
        }
    }
}

impl core::error::Error for RecordError {}

impl RecordHeader {
    /// The record that fills the end of the ring: `bytes` long with its header, before the record `lsn`.
    #[must_use]
    pub fn padding(volume: VolumeId, epoch: Epoch, lsn: Lsn, chain: Crc, bytes: u64) -> RecordHeader {
        let extent = Extent::new(bytes, 0);
        let (kind, origin) = (Kind::Padding, Origin::NONE);
        RecordHeader { volume, epoch, lsn, kind, extent, chain, origin, body: Vec::new() }
    }

    /// How many blocks follow its header.
    ///
    /// # Panics
    /// If there are more than [`BODY_BLOCKS_MAX`].
    #[must_use]
    pub fn body_blocks(&self) -> u32 {
        u32::try_from(self.sums().len())
            .ok()
            .filter(|n| *n <= BODY_BLOCKS_MAX)
            .expect("a body within its limit")
    }

    /// The checksums of the blocks that follow its header.
    #[must_use]
    pub fn sums(&self) -> &[Crc] {
        match self.kind {
            Kind::Configuration | Kind::Maintenance | Kind::EpochStart => &[],
            Kind::Write | Kind::WriteZeroes | Kind::Trim | Kind::Padding | Kind::Attach => &self.body,
        }
    }

    /// How many checksums or words its header holds.
    fn words(&self) -> u32 {
        u32::try_from(self.body.len())
            .ok()
            .filter(|n| *n <= BODY_BLOCKS_MAX)
            .expect("a header within its limit")
    }

    /// What it takes in a log of that unit, in bytes: its padded header and its body. For a padding, its length.
    #[must_use]
    pub fn disk_bytes(&self, unit_bytes: u32) -> u64 {
        match self.kind {
            Kind::Padding => self.extent.start,
            Kind::Write
            | Kind::WriteZeroes
            | Kind::Trim
            | Kind::EpochStart
            | Kind::Attach
            | Kind::Configuration
            | Kind::Maintenance => {
                u64::from(unit_bytes) + u64::from(self.body_blocks()) * u64::from(BLOCK_BYTES)
            }
        }
    }

    /// The checksum of the replicated part: the `chain` of the next record.
    #[must_use]
    pub fn digest(&self) -> Crc {
        let mut bytes = [0; BODY_END];
        let end = self.put(&mut bytes);
        crc32c(&bytes[..end])
    }

    /// As it stands in the log, before it is padded to the log's unit; the arguments are the [`Trailer`]'s.
    ///
    /// # Panics
    /// If kind, extent and body don't go together.
    #[must_use]
    pub fn encode(&self, durable_before: Lsn, generation: u32) -> Box<[u8; HEADER_BYTES]> {
        check_shape(self.kind, self.extent, &self.body, self.origin)
            .expect("our own records are well formed");
        let mut bytes = Box::new([0; HEADER_BYTES]);
        let end = self.put(&mut bytes[..]);
        let digest = crc32c(&bytes[..end]);
        put_u32(&mut bytes[..], DIGEST_AT, digest.0);
        put_u64(&mut bytes[..], TRAILER_AT, durable_before.0);
        put_u32(&mut bytes[..], TRAILER_AT + 8, generation);
        // The trailer's checksum covers the digest too, so that no trailer is taken for that of another record.
        let crc = crc32c(&bytes[DIGEST_AT..TRAILER_CRC_AT]);
        put_u32(&mut bytes[..], TRAILER_CRC_AT, crc.0);
        bytes
    }

    /// Read what [`encode`](RecordHeader::encode) wrote.
    ///
    /// # Errors
    /// Any bit that is not as it was written is found.
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<(RecordHeader, Trailer), RecordError> {
        let (header, end) = take(bytes)?;
        if bytes[end..DIGEST_AT].iter().fold(0, |or, byte| or | byte) != 0 {
            return Err(RecordError::Reserved);
        }
        check_crc(bytes, end, DIGEST_AT)?;
        let stated = Crc(get_u32(bytes, TRAILER_CRC_AT));
        let actual = crc32c(&bytes[DIGEST_AT..TRAILER_CRC_AT]);
        if stated != actual {
            return Err(RecordError::TrailerCrc { stated, actual });
        }
        let durable_before = Lsn(get_u64(bytes, TRAILER_AT));
        let trailer = Trailer { durable_before, generation: get_u32(bytes, TRAILER_AT + 8) };
        Ok((header, trailer))
    }

    /// The replicated part as it travels: up to the last body checksum, then the digest.
    ///
    /// # Panics
    /// If kind, extent and body don't go together.
    #[must_use]
    pub fn wire(&self) -> Vec<u8> {
        check_shape(self.kind, self.extent, &self.body, self.origin)
            .expect("our own records are well formed");
        let mut bytes = alloc::vec![0; FIXED_BYTES + 4 * self.body.len() + 4];
        let end = self.put(&mut bytes);
        let digest = crc32c(&bytes[..end]);
        put_u32(&mut bytes, end, digest.0);
        bytes
    }

    /// Read what [`wire`](RecordHeader::wire) made; all of `bytes` must be it. A padding does not travel.
    ///
    /// # Errors
    /// Any bit that is not as it was written is found.
    pub fn from_wire(bytes: &[u8]) -> Result<RecordHeader, RecordError> {
        if bytes.len() < FIXED_BYTES + 4 {
            return Err(RecordError::Length { bytes: bytes.len() });
        }
        let (header, end) = take(bytes)?;
        if bytes.len() != end + 4 {
            return Err(RecordError::Length { bytes: bytes.len() });
        }
        check_crc(bytes, end, end)?;
        match header.kind {
            Kind::Write
            | Kind::WriteZeroes
            | Kind::Trim
            | Kind::EpochStart
            | Kind::Attach
            | Kind::Configuration
            | Kind::Maintenance => Ok(header),
            Kind::Padding => Err(RecordError::Shape { kind: Kind::Padding, blocks: 0, body: 0 }),
        }
    }

    /// Write all but the digest; returns where the body checksums end.
    fn put(&self, bytes: &mut [u8]) -> usize {
        put_u32(bytes, 0, MAGIC);
        bytes[4] = VERSION;
        bytes[5] = self.kind.code();
        let body = u16::try_from(self.words()).expect("at most 96");
        bytes[6..8].copy_from_slice(&body.to_le_bytes());
        bytes[8..24].copy_from_slice(&self.volume.0);
        put_u64(bytes, 24, self.epoch.counter);
        put_u64(bytes, 32, self.epoch.replica.0);
        put_u64(bytes, 40, self.lsn.0);
        put_u64(bytes, 48, self.extent.start);
        put_u32(bytes, 56, self.extent.blocks);
        put_u32(bytes, 60, self.chain.0);
        put_u64(bytes, 64, self.origin.incarnation.0);
        put_u64(bytes, 72, self.origin.number);
        let end = FIXED_BYTES + 4 * self.body.len();
        for (at, crc) in bytes[FIXED_BYTES..end].chunks_exact_mut(4).zip(&self.body) {
            at.copy_from_slice(&crc.0.to_le_bytes());
        }
        end
    }
}

/// Read all but the digest; returns where the body checksums end.
fn take(bytes: &[u8]) -> Result<(RecordHeader, usize), RecordError> {
    let magic = get_u32(bytes, 0);
    if magic != MAGIC {
        return Err(RecordError::Magic { found: magic });
    }
    if bytes[4] != VERSION {
        return Err(RecordError::UnknownVersion { version: bytes[4] });
    }
    let kind = Kind::from_code(bytes[5]).ok_or(RecordError::UnknownKind { code: bytes[5] })?;
    let body_blocks = u32::from(u16::from_le_bytes([bytes[6], bytes[7]]));
    let extent = Extent::new(get_u64(bytes, 48), get_u32(bytes, 56));
    if bytes.len() < FIXED_BYTES {
        return Err(RecordError::Length { bytes: bytes.len() });
    }
    let origin = Origin { incarnation: Lsn(get_u64(bytes, 64)), number: get_u64(bytes, 72) };
    if body_blocks > BODY_BLOCKS_MAX {
        return Err(RecordError::Shape { kind, blocks: extent.blocks, body: body_blocks });
    }
    let end = FIXED_BYTES + 4 * body_blocks as usize;
    if bytes.len() < end + 4 {
        return Err(RecordError::Length { bytes: bytes.len() });
    }
    let body: Vec<Crc> = bytes[FIXED_BYTES..end].chunks_exact(4).map(|crc| Crc(get_u32(crc, 0))).collect();
    check_shape(kind, extent, &body, origin)?;
    let mut volume = [0; 16];
    volume.copy_from_slice(&bytes[8..24]);
    let epoch = Epoch { counter: get_u64(bytes, 24), replica: ReplicaId(get_u64(bytes, 32)) };
    let header = RecordHeader {
        volume: VolumeId(volume),
        epoch,
        lsn: Lsn(get_u64(bytes, 40)),
        kind,
        extent,
        chain: Crc(get_u32(bytes, 60)),
        origin,
        body,
    };
    Ok((header, end))
}

fn check_crc(bytes: &[u8], end: usize, digest_at: usize) -> Result<(), RecordError> {
    let stated = Crc(get_u32(bytes, digest_at));
    let actual = crc32c(&bytes[..end]);
    if stated == actual { Ok(()) } else { Err(RecordError::HeaderCrc { stated, actual }) }
}

fn check_shape(kind: Kind, extent: Extent, words: &[Crc], origin: Origin) -> Result<(), RecordError> {
    let Extent { start, blocks } = extent;
    let body = u32::try_from(words.len()).unwrap_or(u32::MAX);
    let ends = start.checked_add(u64::from(blocks)).is_some();
    let good = match kind {
        Kind::Write => ends && 0 < blocks && blocks <= BODY_BLOCKS_MAX && body == blocks,
        Kind::WriteZeroes | Kind::Trim => ends && 0 < blocks && body == 0,
        Kind::EpochStart => {
            let words = body == 0 || are_words(words);
            extent == Extent::default() && words && origin == Origin::NONE
        }
        Kind::Attach => extent == Extent::default() && body == 0,
        Kind::Configuration => extent == Extent::default() && origin == Origin::NONE && are_words(words),
        Kind::Maintenance => {
            extent == Extent::default() && origin == Origin::NONE && Lease::of(words).is_some()
        }
        Kind::Padding => {
            let whole = start > 0 && start.is_multiple_of(HEADER_BYTES as u64);
            whole && blocks == 0 && body == 0 && origin == Origin::NONE
        }
    };
    if good { Ok(()) } else { Err(RecordError::Shape { kind, blocks, body }) }
}

fn get_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn get_u64(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

fn put_u32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

fn put_u64(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
}
