//! The driver: one thread and one io_uring that carry out what replicas want of the world, and the exports by
//! which clients reach them.
//!
//! | module | what it is |
//! |---|---|
//! | [`driver`] | the thread, its loop, its start and end |
//! | [`handle`] | how the rest of the process speaks to it |
//! | [`settings`] | what it is told at its start |
//! | [`counters`] | what it counts |
//! | [`disk`] | devices, their format, operations on them |
//! | [`branches`] | what cuts took out of logs, kept as files |
//! | [`pool`] | the memory that payload travels in |
//! | [`net`] | sockets |
//! | [`export`] | the protocols of clients, as machines without sockets |
//! | [`ring`] | io_uring, and the only place of the project with `unsafe` in it |

pub mod branches;
pub mod checksum;
mod client;
mod clients;
pub mod clock;
pub mod counters;
pub mod disk;
pub mod driver;
pub mod export;
mod frames;
mod gear;
pub mod handle;
mod link;
mod links;
pub mod net;
pub mod pool;
mod probe;
pub mod ring;
pub mod settings;
mod volume;
