//! What every part of the driver works with: the ring, the pool and the counters, and how operations are named.

use std::rc::Rc;
use std::sync::Arc;

use crate::counters::Counters;
use crate::export::TaskId;
use crate::pool::{Pool, PoolSettings};
use crate::ring::arena::Arena;
use crate::ring::{Ring, RingError, RingSettings};

/// Names an operation of the ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Token {
    /// The control plane has something.
    Wake,
    /// An operation of a disk job.
    Disk { volume: u32, job: u32 },
    /// A peer comes.
    PeerAccept { listener: u32 },
    /// A connection to a peer opens.
    LinkConnect { link: u32 },
    /// Bytes come from a peer.
    LinkReceive { link: u32 },
    /// Bytes leave to a peer.
    LinkSend { link: u32 },
    /// A client comes.
    ClientAccept { listener: u32 },
    /// Bytes come from a client.
    ClientReceive { client: u32 },
    /// Bytes leave to a client.
    ClientSend { client: u32 },
    /// A client hung up.
    ClientWatch { client: u32 },
}

/// Names one who waits for room in the pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Waiter {
    /// A disk job that brings its own buffer.
    Disk { volume: u32, job: u32 },
    /// A frame's payload.
    Link { link: u32 },
    /// A client's payload.
    ClientPayload { client: u32 },
    /// Memory for a client's reads and merges.
    ClientBuffers { client: u32, task: TaskId },
}

/// Ring, pool and counters of one driver.
pub(crate) struct Gear {
    pub(crate) ring: Ring<Token>,
    pub(crate) pool: Pool<Waiter>,
    pub(crate) counters: Arc<Counters>,
}

impl Gear {
    pub(crate) fn new(
        ring: RingSettings,
        pool: PoolSettings,
        counters: Arc<Counters>,
    ) -> Result<Gear, RingError> {
        let arena = Rc::new(Arena::map(pool.blocks)?);
        Ok(Gear { ring: Ring::new(ring, Rc::clone(&arena))?, pool: Pool::new(arena, pool), counters })
    }
}
