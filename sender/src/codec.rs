//! The one place that knows how control messages become bytes, so that the encoder behind it can be replaced
//! without a change of format: integers fixed and little-endian, enum variants as `u32` in order of declaration,
//! sequences as a `u64` count and their items, `Option` as one byte and its value.

use alloc::vec::Vec;
use core::fmt;

use bincode::config::{Configuration, Fixint, Limit, LittleEndian};
use bincode::error::DecodeError;
use bincode::{Decode, Encode, config};

use crate::frame::META_BYTES_MAX;

/// [`META_BYTES_MAX`] as the limit's type wants it.
const LIMIT: usize = 65_536;
const _: () = assert!(LIMIT == META_BYTES_MAX as usize, "a message fits a frame's meta part");

const CONFIG: Configuration<LittleEndian, Fixint, Limit<LIMIT>> =
    config::standard().with_little_endian().with_fixed_int_encoding().with_limit::<LIMIT>();

/// Why bytes are not the message that they should be.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CodecError {
    /// They end within the message.
    Truncated,
    /// The message claims to be larger than [`META_BYTES_MAX`].
    TooLong,
    /// There are more bytes than the message has.
    Trailing {
        /// How many more.
        bytes: usize,
    },
    /// A variant, a flag or a count that does not exist.
    Malformed,
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CodecError::Truncated => f.write_str("message is cut short"),
            CodecError::TooLong => write!(f, "message claims more than {META_BYTES_MAX} bytes"),
            CodecError::Trailing { bytes } => write!(f, "message is followed by {bytes} bytes"),
            CodecError::Malformed => f.write_str("message is malformed"),
        }
    }
}

impl core::error::Error for CodecError {}

/// The bytes of `message`. It must fit [`META_BYTES_MAX`]: what we send is bounded by our own limits.
#[must_use]
pub fn encode<T: Encode>(message: &T) -> Vec<u8> {
    let bytes =
        bincode::encode_to_vec(message, CONFIG).expect("messages are plain data, which always encodes");
    assert!(bytes.len() <= LIMIT, "a message of {} bytes does not fit a frame", bytes.len());
    bytes
}

/// The message that `bytes`, all of them, are.
pub fn decode<T: Decode<()>>(bytes: &[u8]) -> Result<T, CodecError> {
    let (message, used) = bincode::decode_from_slice(bytes, CONFIG).map_err(|why| match why {
        DecodeError::UnexpectedEnd { .. } => CodecError::Truncated,
        DecodeError::LimitExceeded => CodecError::TooLong,
        // The encoder's own list is open and made for debugging; a peer's fault needs no finer name.
        _ => CodecError::Malformed,
    })?;
    match bytes.len() - used {
        0 => Ok(message),
        bytes => Err(CodecError::Trailing { bytes }),
    }
}
