//! The bottom floor of Seawall: the nouns, the bytes on a replica's devices, and what they mean after a restart.
//!
//! Everything here is bookkeeping and arithmetic; nothing does I/O. `wal/FORMAT.md` draws every byte.
#![no_std]
#![forbid(unsafe_code)]
extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod branch;
pub mod configuration;
pub mod crc;
pub mod epoch;
pub mod geometry;
pub mod guard;
mod index;
pub mod label;
pub mod log;
pub mod maintenance;
pub mod names;
pub mod overlay;
pub mod record;
pub mod restart;
pub mod scan;
mod sealed;
pub mod superblock;
pub mod table;
