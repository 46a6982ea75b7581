//! The unit of the wire: 64 bytes of header, a meta part that only the machines read, and a payload part of
//! whole blocks that they never see. `PROTOCOL.md` draws it.

use alloc::vec::Vec;
use core::fmt;

use seawall_wal::crc::crc32c;
use seawall_wal::names::{BLOCK_BYTES, Crc, Epoch, ReplicaId, VolumeId};

use crate::session_id::SessionId;
use crate::violation::Violation;

/// Bytes of a frame's header.
pub const FRAME_BYTES: usize = 64;
/// Most bytes of a frame's meta part.
pub const META_BYTES_MAX: u32 = 65_536;
/// Most blocks of a frame's payload part.
pub const PAYLOAD_BLOCKS_MAX: u32 = 96;
/// Most bytes of a frame's payload part.
pub const PAYLOAD_BYTES_MAX: u32 = PAYLOAD_BLOCKS_MAX * BLOCK_BYTES;
/// The oldest version of the protocol that this build speaks.
pub const VERSION_MIN: u16 = 1;
/// The newest version of the protocol that this build speaks.
pub const VERSION_MAX: u16 = 1;
/// What every frame begins with: the bytes `SWAL`.
pub const MAGIC: u32 = u32::from_le_bytes(*b"SWAL");

/// Everything up to the header's own checksum.
const CHECKED_BYTES: usize = FRAME_BYTES - 4;

/// Declares the kinds once: their order, their codes, what they are.
macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $code:literal,)+) => {
        /// What a frame is. Codes are fixed for ever, in groups: greeting from 1, feed from 16, recovery from
        /// 32, authority from 64, clients from 96.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u16)]
        pub enum Kind { $($(#[$doc])* $name = $code,)+ }

        impl Kind {
            /// Every kind, by code.
            pub const ALL: &[Kind] = &[$(Kind::$name,)+];

            /// Its code on the wire.
            #[must_use]
            pub const fn code(self) -> u16 {
                match self { $(Kind::$name => $code,)+ }
            }

            /// Its name, for notices.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Kind::$name => stringify!($name),)+ }
            }

            /// The kind with this code.
            pub const fn from_code(code: u16) -> Result<Kind, Violation> {
                match code {
                    $($code => Ok(Kind::$name),)+
                    code => Err(Violation::UnknownKind { code }),
                }
            }
        }
    };
}

kinds! {
    /// The first frame of a connection, from whoever opened it.
    Hello = 1,
    /// The answer to `Hello`: we are whom you want, and speak this version.
    Welcome = 2,
    /// The last frame of a connection: why it ends.
    Farewell = 3,
    /// One log record, and its body as payload.
    Append = 16,
    /// How far the replica is.
    Ack = 17,
    /// The primary lives: its frontiers, a barrier, and whether it still reigns.
    Pulse = 18,
    /// The answer to `Pulse`.
    PulseAck = 19,
    /// Asks a replica for its facts, in a new session.
    Greet = 32,
    /// What the replica's disk holds.
    Facts = 33,
    /// The plan that follows from the facts.
    Begin = 34,
    /// The plan is taken up.
    Begun = 35,
    /// Blocks of the base, as payload, and holes.
    Base = 36,
    /// How far the base is held.
    BaseAck = 37,
    /// The base is complete.
    BaseDone = 38,
    /// Asks for a digest of the volume at an LSN.
    DigestAsk = 39,
    /// The digest.
    Digest = 40,
    /// The session is refused, and why.
    Refuse = 41,
    /// Asks for a promise, or whether there would be one.
    Ask = 64,
    /// The promise.
    Promise = 65,
    /// No promise, and why.
    Denied = 66,
    /// Asks a voter for records of the history that was chosen.
    Fetch = 67,
    /// One such record, and its body as payload.
    Fetched = 68,
    /// There are no more.
    FetchEnd = 69,
    /// A fed replica asks its primary to hand over to it.
    Cede = 70,
    /// The primary has handed its lease back, and names its successor.
    Release = 71,
    /// It does not hand over, and why.
    Keep = 72,
    /// A client's request, handed on to the primary, and what it writes as payload.
    Forward = 96,
    /// Its answer, and what it reads as payload.
    Forwarded = 97,
}

impl Kind {
    /// Whether frames of this kind may carry a payload.
    #[must_use]
    pub const fn may_carry_payload(self) -> bool {
        match self {
            Kind::Append | Kind::Base | Kind::Fetched | Kind::Forward | Kind::Forwarded => true,
            Kind::Hello | Kind::Welcome | Kind::Farewell => false,
            Kind::Ack | Kind::Pulse | Kind::PulseAck => false,
            Kind::Greet | Kind::Facts | Kind::Begin | Kind::Begun | Kind::BaseAck | Kind::BaseDone => false,
            Kind::DigestAsk | Kind::Digest | Kind::Refuse => false,
            Kind::Ask | Kind::Promise | Kind::Denied | Kind::Fetch | Kind::FetchEnd => false,
            Kind::Cede | Kind::Release | Kind::Keep => false,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A frame's header, judged.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FrameHeader {
    /// Of the protocol.
    pub version: u16,
    /// What it is.
    pub kind: Kind,
    /// Of which volume.
    pub volume: VolumeId,
    /// The reign in which it was sent, as its sender knew it then.
    pub epoch: Epoch,
    /// The session that it belongs to.
    pub session: SessionId,
    /// Bytes of the meta part.
    pub meta_bytes: u32,
    /// Bytes of the payload part, a multiple of [`BLOCK_BYTES`].
    pub payload_bytes: u32,
    /// Checksum of the meta part.
    pub meta_crc: Crc,
}

/// How much follows a frame's header on the wire, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Lengths {
    /// Of the meta part, which comes first.
    pub meta: usize,
    /// Of the payload part.
    pub payload: usize,
}

/// A whole frame but for its payload.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Frame {
    /// Its header.
    pub header: FrameHeader,
    /// Its meta part, equal to its checksum.
    pub meta: Vec<u8>,
}

/// What a driver asks when it has the first 64 bytes of a frame: how much more is to come. After an error the
/// stream has no next frame: the connection is to be closed.
pub fn lengths(head: &[u8; FRAME_BYTES]) -> Result<Lengths, Violation> {
    let header = FrameHeader::decode(head)?;
    Ok(Lengths { meta: header.meta_bytes as usize, payload: header.payload_bytes as usize })
}

/// A frame's header and meta part; `payload_bytes` of payload follow on the wire.
#[must_use]
pub fn encode(
    kind: Kind,
    volume: VolumeId,
    epoch: Epoch,
    session: SessionId,
    meta: &[u8],
    payload_bytes: u32,
) -> Vec<u8> {
    let meta_bytes = u32::try_from(meta.len()).unwrap_or(u32::MAX);
    check_lengths(kind, meta_bytes, payload_bytes).expect("we send no frame that a peer would refuse");
    let header = FrameHeader {
        version: VERSION_MAX,
        kind,
        volume,
        epoch,
        session,
        meta_bytes,
        payload_bytes,
        meta_crc: crc32c(meta),
    };
    let mut bytes = Vec::with_capacity(FRAME_BYTES + meta.len());
    bytes.extend_from_slice(&header.encode());
    bytes.extend_from_slice(meta);
    bytes
}

impl Frame {
    /// The frame of these 64 bytes and this meta part, which must be as long as [`lengths`] said.
    pub fn decode(head: &[u8; FRAME_BYTES], meta: Vec<u8>) -> Result<Frame, Violation> {
        let header = FrameHeader::decode(head)?;
        if meta.len() != header.meta_bytes as usize {
            return Err(Violation::MetaLength { expected: header.meta_bytes as usize, found: meta.len() });
        }
        let computed = crc32c(&meta);
        if computed != header.meta_crc {
            return Err(Violation::MetaCorrupt { expected: header.meta_crc, found: computed });
        }
        Ok(Frame { header, meta })
    }
}

impl FrameHeader {
    /// Its 64 bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; FRAME_BYTES] {
        let mut head = [0; FRAME_BYTES];
        head[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        head[4..6].copy_from_slice(&self.version.to_le_bytes());
        head[6..8].copy_from_slice(&self.kind.code().to_le_bytes());
        head[8..24].copy_from_slice(&self.volume.0);
        head[24..32].copy_from_slice(&self.epoch.counter.to_le_bytes());
        head[32..40].copy_from_slice(&self.epoch.replica.0.to_le_bytes());
        head[40..44].copy_from_slice(&self.session.boot.to_le_bytes());
        head[44..48].copy_from_slice(&self.session.count.to_le_bytes());
        head[48..52].copy_from_slice(&self.meta_bytes.to_le_bytes());
        head[52..56].copy_from_slice(&self.payload_bytes.to_le_bytes());
        head[56..60].copy_from_slice(&self.meta_crc.0.to_le_bytes());
        let crc = crc32c(&head[..CHECKED_BYTES]);
        head[60..64].copy_from_slice(&crc.0.to_le_bytes());
        head
    }

    /// The header of these 64 bytes. The magic is judged before the checksum, to tell a stranger from damage,
    /// and everything else after it.
    pub fn decode(head: &[u8; FRAME_BYTES]) -> Result<FrameHeader, Violation> {
        let magic = u32_at(head, 0);
        if magic != MAGIC {
            return Err(Violation::BadMagic { found: magic });
        }
        let (stored, computed) = (Crc(u32_at(head, 60)), crc32c(&head[..CHECKED_BYTES]));
        if stored != computed {
            return Err(Violation::HeaderCorrupt { expected: stored, found: computed });
        }
        let version = u16_at(head, 4);
        if !(VERSION_MIN..=VERSION_MAX).contains(&version) {
            return Err(Violation::UnknownVersion { found: version });
        }
        let header = FrameHeader {
            version,
            kind: Kind::from_code(u16_at(head, 6))?,
            volume: VolumeId(array_at(head, 8)),
            epoch: Epoch { counter: u64_at(head, 24), replica: ReplicaId(u64_at(head, 32)) },
            session: SessionId { boot: u32_at(head, 40), count: u32_at(head, 44) },
            meta_bytes: u32_at(head, 48),
            payload_bytes: u32_at(head, 52),
            meta_crc: Crc(u32_at(head, 56)),
        };
        check_lengths(header.kind, header.meta_bytes, header.payload_bytes)?;
        Ok(header)
    }
}

/// Whether a frame of this kind may be this long.
fn check_lengths(kind: Kind, meta_bytes: u32, payload_bytes: u32) -> Result<(), Violation> {
    if meta_bytes > META_BYTES_MAX {
        return Err(Violation::MetaTooLong { bytes: meta_bytes });
    }
    if payload_bytes > 0 && !kind.may_carry_payload() {
        return Err(Violation::PayloadNotAllowed { kind, bytes: payload_bytes });
    }
    if payload_bytes > PAYLOAD_BYTES_MAX {
        return Err(Violation::PayloadTooLong { bytes: payload_bytes });
    }
    if !payload_bytes.is_multiple_of(BLOCK_BYTES) {
        return Err(Violation::PayloadNotBlocks { bytes: payload_bytes });
    }
    Ok(())
}

fn array_at<const N: usize>(head: &[u8; FRAME_BYTES], at: usize) -> [u8; N] {
    head[at..at + N].try_into().expect("the layout's fields lie within the header")
}

fn u16_at(head: &[u8; FRAME_BYTES], at: usize) -> u16 {
    u16::from_le_bytes(array_at(head, at))
}

fn u32_at(head: &[u8; FRAME_BYTES], at: usize) -> u32 {
    u32::from_le_bytes(array_at(head, at))
}

fn u64_at(head: &[u8; FRAME_BYTES], at: usize) -> u64 {
    u64::from_le_bytes(array_at(head, at))
}
