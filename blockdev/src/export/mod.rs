//! Exports: the protocols by which clients use a volume, as machines without sockets.
//!
//! A connection object takes bytes and events and gives [`Action`]s; a driver owns the socket, the memory and the
//! core. Nothing here knows an LSN, an epoch or a file descriptor.
//!
//! | module | what it is |
//! |---|---|
//! | [`action`] | what a machine asks of its driver, and the rules about buffers |
//! | [`catalog`] | which volumes there are, by which names |
//! | [`limits`] | every bound |
//! | [`span`] | byte ranges and the blocks under them |
//! | [`client`] | one client request as several core requests, and back |
//! | [`nbd`] | the NBD protocol |

pub mod action;
pub mod catalog;
pub mod client;
pub mod limits;
pub mod nbd;
mod slab;
pub mod span;

pub use action::{Action, Actions, PartId, Piece, Segment, TaskId};
pub use catalog::{Catalog, Export, ExportId};
pub use limits::Limits;
