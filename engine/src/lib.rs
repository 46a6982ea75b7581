//! One replica of a volume, whole: requests, lanes, quorum, authority. One door: [`replica::Replica::step`].
//!
//! Nothing here knows a socket, a disk, a clock or a thread. Events come in, things to do go out ([`io`]); the
//! driver that carries them out is `seawall-blockdev` in the world and `sim` in the simulator.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod account;
mod admission;
mod adoption;
mod amnesia;
mod appender;
mod attachment;
mod authority;
mod awaited;
#[cfg(feature = "bait")]
pub mod bait;
#[cfg(not(feature = "bait"))]
#[expect(dead_code, unreachable_pub, reason = "some are only planted by what is not built here")]
mod bait;
pub mod ballot;
mod base_lane;
pub mod branch;
mod candidate;
pub mod change;
pub mod commit;
mod core;
mod dice;
mod digest;
mod drift;
mod era;
pub mod explain;
mod feeding;
mod follower;
mod force;
pub mod foretold;
pub mod format;
mod forward;
pub mod forwarding;
pub mod handover;
pub mod io;
mod lane;
mod lease;
mod line;
mod link;
mod locate;
pub mod maintenance;
mod membership;
mod mover;
pub mod notice;
mod opening;
mod order;
pub mod outlook;
mod pinning;
#[cfg(feature = "bait")]
mod planted;
mod primary;
mod pulse;
mod reading;
pub mod replica;
pub mod risk;
mod scribe;
mod served;
mod settle;
pub mod setup;
mod shutdown;
pub mod status;
mod turn;
mod vigil;
