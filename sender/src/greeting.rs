//! The greeting: two ends of a new connection find out whether they speak of the same volume, in which version,
//! and as whom, before anything else is said.
//!
//! What the two say of themselves are claims. What the transport proved of the other end, if it proves anything, comes
//! beside them as [`Proven`], and a claim that differs from it is refused.
//!
//! The frames of the greeting are laid out alike in every version of the protocol and carry the version
//! [`GREETING_VERSION`], so that any two builds can at least tell each other why they can't talk.

use alloc::vec::Vec;
use core::fmt;

use bincode::{Decode, Encode};
use seawall_wal::guard;
use seawall_wal::names::{BLOCK_BYTES, ReplicaId, VolumeId};

use crate::frame::{VERSION_MAX, VERSION_MIN};
use crate::violation::Violation;

/// What the frames of the greeting carry as their version, in every version.
pub const GREETING_VERSION: u16 = 1;

const _: () = assert!(
    VERSION_MIN == GREETING_VERSION && VERSION_MAX == GREETING_VERSION,
    "a second version needs frames that carry the one that was agreed on"
);

/// The first message of a connection, from whoever opened it.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Encode, Decode)]
pub struct Hello {
    /// The oldest version that its sender speaks.
    pub version_min: u16,
    /// The newest.
    pub version_max: u16,
    /// Who it is.
    pub from: ReplicaId,
    /// Whom it wants. The disk that answers must be this one, at whatever address.
    pub to: ReplicaId,
    /// Room for authentication; empty in version 1.
    pub auth: Vec<u8>,
    /// The volume's block size, in bytes.
    pub block_bytes: u32,
    /// The volume's size, in blocks.
    pub volume_blocks: u64,
}

/// The answer to a [`Hello`] that was found good.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Encode, Decode)]
pub struct Welcome {
    /// The version that this connection speaks from now on.
    pub version: u16,
    /// Who answers: the identity on its disk.
    pub replica: ReplicaId,
    /// Room for authentication; empty in version 1.
    pub auth: Vec<u8>,
}

/// The last message of a connection, sent when there is still somebody to hear it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Encode, Decode)]
pub struct Farewell {
    /// Why the connection ends.
    pub why: Parting,
}

/// Why a connection ends. Variants are only ever added at the end.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Encode, Decode)]
pub enum Parting {
    /// The sender of this message shuts down.
    ShuttingDown,
    /// A newer connection of the same two replicas took its place.
    Superseded,
    /// The greeting found that the two do not fit.
    Mismatched(Mismatch),
    /// The other end broke the protocol.
    Violated,
    /// The other end is no member of the volume.
    NotMember,
    /// The other end was a member of the volume, and was removed for good.
    Removed,
}

/// What does not fit between two ends, with both values. Variants are only ever added at the end.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Encode, Decode)]
pub enum Mismatch {
    /// No version that both speak.
    Version {
        /// The oldest that we speak.
        ours_min: u16,
        /// The newest that we speak.
        ours_max: u16,
        /// The oldest that they speak.
        theirs_min: u16,
        /// The newest that they speak.
        theirs_max: u16,
    },
    /// Another volume.
    Volume {
        /// Ours.
        ours: VolumeId,
        /// Theirs.
        theirs: VolumeId,
    },
    /// The disk at this address is not the replica that was wanted.
    Replica {
        /// Who was wanted.
        wanted: ReplicaId,
        /// Who is there.
        found: ReplicaId,
    },
    /// Another block size, in bytes.
    BlockBytes {
        /// Ours.
        ours: u32,
        /// Theirs.
        theirs: u32,
    },
    /// Another volume size, in blocks.
    VolumeBlocks {
        /// Ours.
        ours: u64,
        /// Theirs.
        theirs: u64,
    },
    /// They authenticate in a way that we can't judge, and that we therefore do not pass over.
    Authentication {
        /// Bytes of authentication that we expect.
        ours: u64,
        /// Bytes that they sent.
        theirs: u64,
    },
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mismatch::Version { ours_min, ours_max, theirs_min, theirs_max } => {
                write!(f, "versions {theirs_min} to {theirs_max}, ours are {ours_min} to {ours_max}")
            }
            Mismatch::Volume { ours, theirs } => write!(f, "volume {theirs}, ours is {ours}"),
            Mismatch::Replica { wanted, found } => {
                write!(f, "replica {found} answers where {wanted} is wanted")
            }
            Mismatch::BlockBytes { ours, theirs } => write!(f, "blocks of {theirs} bytes, ours have {ours}"),
            Mismatch::VolumeBlocks { ours, theirs } => {
                write!(f, "volume of {theirs} blocks, ours has {ours}")
            }
            Mismatch::Authentication { ours, theirs } => {
                write!(f, "{theirs} bytes of authentication where {ours} are expected")
            }
        }
    }
}

impl core::error::Error for Mismatch {}

/// What the transport proved of who is at the other end of a connection, before anything was said on it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Proven {
    /// Nothing: the connection is plaintext, because the configuration says so by name. Claims are believed.
    Nobody,
    /// It holds the key of a certificate, signed by the cluster, for this replica.
    Replica {
        /// Of which volume.
        volume: VolumeId,
        /// Which copy of it.
        replica: ReplicaId,
    },
}

impl fmt::Display for Proven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Proven::Nobody => f.write_str("nobody"),
            Proven::Replica { volume, replica } => write!(f, "{replica} of volume {volume}"),
        }
    }
}

/// What one end of a connection is: what its own superblock says.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Identity {
    /// The volume.
    pub volume: VolumeId,
    /// Which copy of it.
    pub replica: ReplicaId,
    /// Its size, in blocks.
    pub volume_blocks: u64,
}

impl Hello {
    /// What `us` says to the replica that it wants.
    #[must_use]
    pub fn new(us: &Identity, to: ReplicaId) -> Hello {
        Hello {
            version_min: VERSION_MIN,
            version_max: VERSION_MAX,
            from: us.replica,
            to,
            auth: Vec::new(),
            block_bytes: BLOCK_BYTES,
            volume_blocks: us.volume_blocks,
        }
    }
}

impl Welcome {
    /// What `us` answers, once [`check_hello`] agreed on a version.
    #[must_use]
    pub fn new(us: &Identity, version: u16) -> Welcome {
        Welcome { version, replica: us.replica, auth: Vec::new() }
    }
}

/// Whether the other end may be `claimed`, a replica of our volume: whom we wanted, or who it says it is.
pub fn check_proof(us: &Identity, claimed: ReplicaId, proven: Proven) -> Result<(), Violation> {
    match proven {
        Proven::Nobody => Ok(()),
        Proven::Replica { volume, replica } if volume == us.volume && replica == claimed => Ok(()),
        Proven::Replica { .. } => Err(Violation::Unproven { claimed, proven }),
    }
}

/// Judges what was proven of one who connected to us, before it says anything. Whether it is a member is not for the
/// greeting to know.
pub fn check_guest(us: &Identity, proven: Proven) -> Result<(), Violation> {
    match proven {
        Proven::Nobody => Ok(()),
        Proven::Replica { volume, .. } if volume != us.volume => {
            Err(Violation::WrongVolume { expected: us.volume, found: volume })
        }
        // Nobody has our key but ourselves: what we sent was sent back to us, or the key was stolen.
        Proven::Replica { replica, .. } if replica == us.replica => Err(Violation::Reflected { replica }),
        Proven::Replica { .. } => Ok(()),
    }
}

/// The newest version that both ends speak.
pub fn negotiate(hello: &Hello) -> Result<u16, Mismatch> {
    let newest = hello.version_max.min(VERSION_MAX);
    let oldest = hello.version_min.max(VERSION_MIN);
    // Both ranges must be ranges, too: theirs is a peer's word.
    if guard!("hello-versions-are-a-range", hello.version_min <= hello.version_max)
        && guard!("hello-versions-meet", oldest <= newest)
    {
        return Ok(newest);
    }
    Err(Mismatch::Version {
        ours_min: VERSION_MIN,
        ours_max: VERSION_MAX,
        theirs_min: hello.version_min,
        theirs_max: hello.version_max,
    })
}

/// Judges a `Hello` that came with frames of `volume`, and says which version the connection speaks. The first
/// thing that does not fit is named: version, volume, replica, block size, volume size, authentication.
pub fn check_hello(us: &Identity, volume: VolumeId, hello: &Hello) -> Result<u16, Mismatch> {
    let version = negotiate(hello)?;
    check_volume(us, volume)?;
    if !guard!("hello-wants-us", hello.to == us.replica) {
        return Err(Mismatch::Replica { wanted: hello.to, found: us.replica });
    }
    if !guard!("hello-block-bytes", hello.block_bytes == BLOCK_BYTES) {
        return Err(Mismatch::BlockBytes { ours: BLOCK_BYTES, theirs: hello.block_bytes });
    }
    if !guard!("hello-volume-blocks", hello.volume_blocks == us.volume_blocks) {
        return Err(Mismatch::VolumeBlocks { ours: us.volume_blocks, theirs: hello.volume_blocks });
    }
    check_auth(&hello.auth)?;
    Ok(version)
}

/// Judges a `Welcome` that came with frames of `volume`, in answer to our `Hello` to `wanted`.
pub fn check_welcome(
    us: &Identity,
    wanted: ReplicaId,
    volume: VolumeId,
    welcome: &Welcome,
) -> Result<u16, Mismatch> {
    if !guard!("welcome-version", (VERSION_MIN..=VERSION_MAX).contains(&welcome.version)) {
        return Err(Mismatch::Version {
            ours_min: VERSION_MIN,
            ours_max: VERSION_MAX,
            theirs_min: welcome.version,
            theirs_max: welcome.version,
        });
    }
    check_volume(us, volume)?;
    // Invariant: identity-outlives-address. Who is there is what its disk says, not where it was found.
    if !guard!("welcome-of-the-wanted", welcome.replica == wanted) {
        return Err(Mismatch::Replica { wanted, found: welcome.replica });
    }
    check_auth(&welcome.auth)?;
    Ok(welcome.version)
}

fn check_volume(us: &Identity, volume: VolumeId) -> Result<(), Mismatch> {
    if guard!("greeting-of-the-volume", volume == us.volume) {
        Ok(())
    } else {
        Err(Mismatch::Volume { ours: us.volume, theirs: volume })
    }
}

fn check_auth(auth: &[u8]) -> Result<(), Mismatch> {
    match auth.len() as u64 {
        theirs if guard!("greeting-without-authentication", theirs == 0) => Ok(()),
        theirs => Err(Mismatch::Authentication { ours: 0, theirs }),
    }
}
