//! The feed of one live replica: the frames that carry it, what the primary keeps for the replica (its
//! [`sender`]), and what the replica keeps of the feed (its [`receiver`]). `PROTOCOL.md` draws every byte.
//!
//! Nothing here knows a socket or a clock: bytes and moments come in, bytes and verdicts go out.
#![no_std]
#![forbid(unsafe_code)]
extern crate alloc;

pub mod codec;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod feed;
pub mod frame;
pub mod greeting;
pub mod receiver;
pub mod sender;
pub mod session_id;
pub mod time;
pub mod violation;
pub mod window;
