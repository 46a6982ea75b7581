//! A value on a device under a magic, a version, a length and a checksum: superblock slots and labels.
//!
//! The value itself is bincode 2.0.1, fixed-size integers, little-endian: this module and its golden bytes are all
//! that knows.

use alloc::vec::Vec;

use bincode::{Decode, Encode};

use crate::crc::crc32c;
use crate::names::BLOCK_BYTES;

/// Bytes before the value: magic 8, version 4, length 4, checksum 4, zero 12.
pub(crate) const HEAD_BYTES: usize = 32;
const CRC_AT: usize = 16;
const RESERVED_AT: usize = 20;
const VALUE_BYTES_MAX: usize = 65_536;

/// What the bytes hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Opened<T> {
    Empty,
    Value(T),
    Unreadable(Unreadable),
}

/// Why bytes that are not empty can't be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unreadable {
    /// They begin with something else.
    Magic,
    /// Written by a version that we don't know.
    Version {
        /// Which.
        version: u32,
    },
    /// They are too short for the length that they state.
    Length {
        /// What they state, in bytes.
        stated: u32,
    },
    /// They don't match their checksum: torn or rotten.
    Checksum,
    /// The checksum is right, the value makes no sense.
    Value,
}

impl core::fmt::Display for Unreadable {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Unreadable::Magic => f.write_str("it begins with something else"),
            Unreadable::Version { version } => write!(f, "unknown version {version}"),
            Unreadable::Length { stated } => write!(f, "it states a length of {stated} bytes"),
            Unreadable::Checksum => f.write_str("the checksum does not match"),
            Unreadable::Value => f.write_str("the checksum matches, the content makes no sense"),
        }
    }
}

impl core::error::Error for Unreadable {}

fn config() -> impl bincode::config::Config {
    bincode::config::standard().with_little_endian().with_fixed_int_encoding().with_limit::<VALUE_BYTES_MAX>()
}

/// Seal a value: whole blocks, the rest zero.
pub(crate) fn seal<T: Encode>(magic: [u8; 8], version: u32, value: &T, bytes_max: u64) -> Vec<u8> {
    let value = bincode::encode_to_vec(value, config()).expect("our own values can be encoded");
    let stated = u32::try_from(value.len()).expect("values are small");
    let mut bytes = Vec::with_capacity(HEAD_BYTES + value.len());
    bytes.extend_from_slice(&magic);
    bytes.extend_from_slice(&version.to_le_bytes());
    bytes.extend_from_slice(&stated.to_le_bytes());
    bytes.extend_from_slice(&[0; HEAD_BYTES - CRC_AT]);
    bytes.extend_from_slice(&value);
    // The checksum is taken with zeroes in its place.
    let crc = crc32c(&bytes);
    bytes[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.0.to_le_bytes());
    assert!(bytes.len() as u64 <= bytes_max, "a sealed value fits its place");
    bytes.resize(bytes.len().next_multiple_of(BLOCK_BYTES as usize), 0);
    bytes
}

/// Read what [`seal`] wrote. Bytes after the stated length are left over from longer values, and don't count.
pub(crate) fn open<T: Decode<()>>(magic: [u8; 8], version: u32, bytes: &[u8]) -> Opened<T> {
    if bytes.iter().all(|b| *b == 0) {
        return Opened::Empty;
    }
    match open_present(magic, version, bytes) {
        Ok(value) => Opened::Value(value),
        Err(why) => Opened::Unreadable(why),
    }
}

fn open_present<T: Decode<()>>(magic: [u8; 8], version: u32, bytes: &[u8]) -> Result<T, Unreadable> {
    let Some((head, rest)) = bytes.split_first_chunk::<HEAD_BYTES>() else {
        return Err(Unreadable::Length { stated: 0 });
    };
    let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    if head[..8] != magic {
        return Err(Unreadable::Magic);
    }
    let stated = word(12);
    let Some(value) = usize::try_from(stated).ok().and_then(|n| rest.get(..n)) else {
        return Err(Unreadable::Length { stated });
    };
    let mut covered = Vec::with_capacity(HEAD_BYTES + value.len());
    covered.extend_from_slice(head);
    covered[CRC_AT..CRC_AT + 4].fill(0);
    covered.extend_from_slice(value);
    if crc32c(&covered).0 != word(CRC_AT) {
        return Err(Unreadable::Checksum);
    }
    if word(8) != version {
        return Err(Unreadable::Version { version: word(8) });
    }
    if head[RESERVED_AT..].iter().any(|byte| *byte != 0) {
        return Err(Unreadable::Value);
    }
    match bincode::decode_from_slice::<T, _>(value, config()) {
        Ok((decoded, used)) if used == value.len() => Ok(decoded),
        Ok(_) | Err(_) => Err(Unreadable::Value),
    }
}
