//! What a driver counts, as numbers that any thread may read at any time.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! counters {
    ($($(#[$doc:meta])* $field:ident $name:literal $kind:ident $help:literal;)*) => {
        /// All numbers of one driver. Counters only grow; gauges go up and down.
        #[derive(Debug, Default)]
        pub struct Counters { $($(#[$doc])* pub $field: AtomicU64,)* }

        impl Counters {
            /// Each number: its name, whether it only grows, what it says, and its value.
            #[must_use]
            pub fn all(&self) -> Vec<(&'static str, Kind, &'static str, u64)> {
                vec![$(($name, Kind::$kind, $help, self.$field.load(Relaxed)),)*]
            }
        }
    };
}

/// How a number behaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
}

counters! {
    /// Turns of the driver's loop.
    turns "driver_turns" Counter "Turns of the driver's loop";
    /// The longest time between waking up and waiting again, in nanoseconds.
    tick_gap_nanos_max "driver_tick_gap_nanos_max" Gauge "Longest time between waking up and waiting again";
    /// Completions that did not fit into the completion queue at once.
    ring_overflows "driver_ring_overflows" Counter "Completions that did not fit into the queue at once";
    /// Blocks of the pool that are allocated.
    pool_blocks_used "pool_blocks_used" Gauge "Blocks of 4096 bytes of the buffer pool in use";
    /// Allocations of the pool.
    pool_allocations "pool_allocations" Gauge "Allocations of the buffer pool";
    /// Those who wait for room in the pool.
    pool_waiting "pool_waiting" Gauge "Requests, frames and reads that wait for room in the buffer pool";
    /// Appends to logs.
    appends "log_appends" Counter "Appends to the log";
    /// Records in them.
    append_records "log_records" Counter "Records appended to the log";
    /// Appends that were durable by themselves.
    durable_appends "log_durable_appends" Counter "Appends to the log that were durable when they were done";
    /// Writes to devices that were durable by themselves: appends, superblocks.
    durable_writes "device_durable_writes" Counter "Writes to a device that were durable when they were done";
    /// Flushes of devices.
    flushes "device_flushes" Counter "Flushes of a device, besides durable writes";
    /// Bytes written to devices.
    device_bytes_written "device_bytes_written" Counter "Bytes written to the devices";
    /// Bytes read from devices.
    device_bytes_read "device_bytes_read" Counter "Bytes read from the devices";
    /// Device operations that failed.
    device_errors "device_errors" Counter "Operations on the devices that failed";
    /// Requests of clients given to replicas.
    requests "client_requests" Counter "Requests of clients given to the volume";
    /// Requests that were refused.
    refusals "client_refusals" Counter "Requests of clients that were refused";
    /// Payload bytes that clients wrote.
    client_bytes_written "client_bytes_written" Counter "Payload bytes that clients wrote";
    /// Payload bytes that clients read.
    client_bytes_read "client_bytes_read" Counter "Payload bytes that clients read";
    /// Flushes by clients.
    client_flushes "client_flushes" Counter "Flushes that clients asked for";
    /// Connections of clients now open.
    clients "clients" Gauge "Connections of clients";
    /// Connections of clients ever accepted.
    clients_accepted "clients_accepted" Counter "Connections of clients accepted";
    /// Connections to and from peers now open.
    links "links" Gauge "Connections to and from peers";
    /// Connections to and from peers that were lost.
    links_lost "links_lost" Counter "Connections to and from peers that were lost";
    /// Connections of peers closed because what they sent was no frame.
    framing_violations "framing_violations" Counter "Connections closed because what came was not a frame";
    /// Connections of peers for volumes that are not here.
    strangers "strangers" Counter "Connections closed because they named no volume of this node";
    /// Connections with peers that did not come to be because TLS failed.
    peers_refused "peers_refused" Counter "Connections with peers given up because TLS failed";
    /// Bytes received from peers.
    peer_bytes_received "peer_bytes_received" Counter "Bytes received from peers";
    /// Bytes sent to peers.
    peer_bytes_sent "peer_bytes_sent" Counter "Bytes sent to peers";
    /// Writes of clients that were followed from the turn that brought them to the send that answered them.
    probes_here "write_probes_here" Counter "Writes of clients that were followed, one at a time";
    /// From the turn that brought its last byte until the machine was told, in nanoseconds, of those writes.
    here_receive "write_here_receive_nanos" Counter "From the turn that brought its last byte until the machine was told, of the writes that were followed";
    /// In the machine, until it had its place in the log, in nanoseconds, of those writes.
    here_admit "write_here_admit_nanos" Counter "In the machine, until it had its place in the log, of the writes that were followed";
    /// Until its append began, in nanoseconds, of those writes.
    here_queue "write_here_queue_nanos" Counter "Until its append began, of the writes that were followed";
    /// Until the append was done, or enough others had it, in nanoseconds, of those writes.
    here_log "write_here_log_nanos" Counter "Until the append was done, or enough others had it, of the writes that were followed";
    /// After that, until enough others had it, in nanoseconds, of those writes.
    here_peers "write_here_peers_nanos" Counter "After that, until enough others had it, of the writes that were followed";
    /// Until a send to its client was over, in nanoseconds, of those writes.
    here_answer "write_here_answer_nanos" Counter "Until a send to its client was over, of the writes that were followed";
    /// All of it, in nanoseconds, of those writes.
    here_whole "write_here_whole_nanos" Counter "All of it, of the writes that were followed";
    /// Writes of a primary that were followed from the turn that brought them to the send that acknowledged them.
    probes_there "write_probes_there" Counter "Writes of a primary that were followed, one at a time";
    /// From the turn that brought its last byte until the machine was told, in nanoseconds, of those writes.
    there_receive "write_there_receive_nanos" Counter "From the turn that brought its last byte until the machine was told, of a primary's writes that were followed";
    /// In the machine, until it had its place in the log, in nanoseconds, of those writes.
    there_admit "write_there_admit_nanos" Counter "In the machine, until it had its place in the log, of a primary's writes that were followed";
    /// Until its append began, in nanoseconds, of those writes.
    there_queue "write_there_queue_nanos" Counter "Until its append began, of a primary's writes that were followed";
    /// Until the append was done, in nanoseconds, of those writes.
    there_log "write_there_log_nanos" Counter "Until the append was done, of a primary's writes that were followed";
    /// Until a send to its primary was over, in nanoseconds, of those writes.
    there_answer "write_there_answer_nanos" Counter "Until a send to its primary was over, of a primary's writes that were followed";
    /// All of it, in nanoseconds, of those writes.
    there_whole "write_there_whole_nanos" Counter "All of it, of a primary's writes that were followed";
    /// Notices that found the queue to the control plane full.
    notices_dropped "notices_dropped" Counter "Notices that found the queue to the control plane full";
}

/// Adds to a counter.
pub(crate) fn add(counter: &AtomicU64, more: u64) {
    // One thread writes: no read-modify-write cycle is needed.
    counter.store(counter.load(Relaxed).wrapping_add(more), Relaxed);
}

/// Counts one.
pub(crate) fn count(counter: &AtomicU64) {
    add(counter, 1);
}

/// Sets a gauge.
pub(crate) fn set(gauge: &AtomicU64, value: u64) {
    gauge.store(value, Relaxed);
}

/// Raises a gauge to a new maximum.
pub(crate) fn raise(gauge: &AtomicU64, value: u64) {
    if value > gauge.load(Relaxed) {
        gauge.store(value, Relaxed);
    }
}
