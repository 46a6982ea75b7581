//! How a stale replica becomes an in-sync one: what it says of itself ([`facts`]), what is decided about it
//! ([`plan`]), the session that carries the decision out ([`session`]), the words of it ([`messages`]), the
//! copying of base blocks ([`base`]) and how far all of that is ([`progress`]).
//!
//! Nothing here knows a socket, a disk or a clock: facts, events and moments come in, decisions and effects go
//! out, and the engine carries them out.
#![no_std]
#![forbid(unsafe_code)]
extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod backoff;
pub mod base;
pub mod block_set;
pub mod context;
pub mod effect;
pub mod end;
pub mod event;
pub mod facts;
pub mod feed;
pub mod limits;
pub mod lineage;
pub mod messages;
pub mod past;
pub mod phase;
pub mod plan;
pub mod plan_facts;
pub mod progress;
pub mod rule;
pub mod session;
