//! How the rest of the process speaks to a driver: a bounded queue each way, and a bell.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, channel};
use std::time::Duration;
use std::{fmt, net::SocketAddr};

use nix::sys::eventfd::EventFd;
use seawall_engine::io::{Answer, Command, DiskDone, DiskError, LinkId, OpId};
use seawall_engine::notice::Notice;
use seawall_engine::status::Status;
use seawall_wal::names::VolumeId;

use crate::counters::Counters;
use crate::net::Address;
use crate::net::credentials::Security;

/// What a replica told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Told {
    /// Of which volume.
    pub volume: VolumeId,
    /// What.
    pub notice: Notice,
}

/// Called, on the driver's thread, with the answer: must not block.
pub type Reply<T> = Box<dyn FnOnce(T) + Send>;

/// What somebody wants of the driver.
pub(crate) enum Wish {
    /// Something of a replica.
    Command { volume: VolumeId, command: Command, reply: Reply<Answer> },
    /// What a replica shows of itself; `None` if it is not here.
    Status { volume: VolumeId, reply: Reply<Option<Status>> },
    /// From now on peers are spoken with in this way.
    Secure { security: Security },
    /// A branch is in its place, or there is none for it.
    Kept { volume: u32, op: OpId, result: Result<DiskDone, DiskError> },
    /// A peer's name was looked up.
    Resolved { volume: u32, link: LinkId, slot: u32, to: Option<SocketAddr> },
}

/// Why a driver did not hear.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unheard {
    /// Too much waits for it already: try again later.
    Full,
    /// It has stopped.
    Stopped,
    /// It did not answer in time.
    Late,
}

impl fmt::Display for Unheard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unheard::Full => "the driver has too much to do: try again",
            Unheard::Stopped => "the driver has stopped",
            Unheard::Late => "the driver did not answer in time",
        })
    }
}

impl std::error::Error for Unheard {}

/// A driver as others see it. Cheap to clone; works from any thread.
#[derive(Clone)]
pub struct Handle {
    pub(crate) wishes: SyncSender<Wish>,
    pub(crate) bell: Arc<EventFd>,
    pub(crate) stop: Arc<AtomicBool>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) peers: Arc<Vec<Address>>,
    pub(crate) clients: Arc<Vec<Address>>,
}

impl Handle {
    /// Gives a command to a replica. `reply` is called once, on the driver's thread; it is dropped unheard if the
    /// driver stops first.
    pub fn command(
        &self,
        volume: VolumeId,
        command: Command,
        reply: impl FnOnce(Answer) + Send + 'static,
    ) -> Result<(), Unheard> {
        self.wish(Wish::Command { volume, command, reply: Box::new(reply) })
    }

    /// Asks a replica for its status; `None` if it is not here. As [`Handle::command`].
    pub fn status(
        &self,
        volume: VolumeId,
        reply: impl FnOnce(Option<Status>) + Send + 'static,
    ) -> Result<(), Unheard> {
        self.wish(Wish::Status { volume, reply: Box::new(reply) })
    }

    /// Connections with peers that begin from now on are made this way; those that are, stay as they are.
    pub fn secure(&self, security: Security) -> Result<(), Unheard> {
        self.wish(Wish::Secure { security })
    }

    /// As [`Handle::command`], waiting for the answer.
    pub fn command_wait(
        &self,
        volume: VolumeId,
        command: Command,
        at_most: Duration,
    ) -> Result<Answer, Unheard> {
        let (answer, answered) = channel();
        self.command(volume, command, move |given| drop(answer.send(given)))?;
        wait(&answered, at_most)
    }

    /// As [`Handle::status`], waiting for the answer.
    pub fn status_wait(&self, volume: VolumeId, at_most: Duration) -> Result<Option<Status>, Unheard> {
        let (answer, answered) = channel();
        self.status(volume, move |given| drop(answer.send(given)))?;
        wait(&answered, at_most)
    }

    /// Lets the driver answer what clients have under way, and end. Replicas are not drained: give them
    /// [`Command::Drain`] first, to end cleanly.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.ring_bell();
    }

    /// What the driver counts.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Where peers come in, with the ports that were really given.
    #[must_use]
    pub fn peer_addresses(&self) -> &[Address] {
        &self.peers
    }

    /// Where clients come in, with the ports that were really given.
    #[must_use]
    pub fn client_addresses(&self) -> &[Address] {
        &self.clients
    }

    pub(crate) fn ring_bell(&self) {
        // A counter that is full wakes the driver as well.
        let _ = self.bell.write(1);
    }

    fn wish(&self, wish: Wish) -> Result<(), Unheard> {
        match self.wishes.try_send(wish) {
            Ok(()) => {
                self.ring_bell();
                Ok(())
            }
            Err(TrySendError::Full(_)) => Err(Unheard::Full),
            Err(TrySendError::Disconnected(_)) => Err(Unheard::Stopped),
        }
    }
}

fn wait<T>(answered: &Receiver<T>, at_most: Duration) -> Result<T, Unheard> {
    answered.recv_timeout(at_most).map_err(|error| match error {
        RecvTimeoutError::Timeout => Unheard::Late,
        RecvTimeoutError::Disconnected => Unheard::Stopped,
    })
}
