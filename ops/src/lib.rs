//! The operator's floor: daemon, command line, admin interface, metrics, configuration, and the load that
//! checks a volume from the client's side.
//!
//! It speaks to a replica only through the driver's handle (`node`), to a stopped replica only through its disk
//! (`disk`), and to a running one through its admin socket (`admin`).

#![expect(clippy::result_large_err, reason = "an operator is refused once in a process's life")]

pub mod admin;
pub mod adopt;
pub mod branch;
pub mod cli;
pub mod config;
pub mod demo;
pub mod disk;
pub mod explain;
pub mod fault;
pub mod force;
pub mod format;
pub mod inspect;
pub mod keys;
pub mod load;
pub mod logs;
mod maintenance;
mod members;
pub mod metrics;
pub mod nbd;
pub mod node;
pub mod outlook;
pub mod pki;
pub mod quantity;
pub mod report;
pub mod screen;
pub mod serve;
pub mod verify;
pub mod wipe;
