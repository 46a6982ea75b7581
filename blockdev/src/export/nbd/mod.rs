//! The NBD protocol (doc/proto.md of the NetworkBlockDevice project): fixed newstyle handshake, simple and
//! structured replies, the `base:allocation` metadata context.
//!
//! Not spoken, and answered with `NBD_REP_ERR_UNSUP`: TLS, extended headers, export peeking.

mod connection;
mod gather;
mod handshake;
mod option;
mod outlet;
mod reply;
mod request;
mod wire;

pub use connection::{Attachment, Connection};
