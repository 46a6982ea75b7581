//! One thread, one ring, some replicas: carries out what they want of the world and tells them what happened.

mod turn;

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::eventfd::{EfdFlags, EventFd};
use seawall_engine::io::{Input, Outbox};
use seawall_sender::time::Instant;

use crate::client::Mark;
use crate::clients::Clients;
use crate::clock;
use crate::counters::Counters;
use crate::disk::Disk;
use crate::disk::device::Device;
use crate::export::{Catalog, Export, ExportId, Limits};
use crate::gear::{Gear, Token};
use crate::handle::{Handle, Told, Wish};
use crate::links::{Inputs, Links};
use crate::net::{Address, Listener};
use crate::pool::Purpose;
use crate::probe::Probe;
use crate::ring::op::{Descriptor, Op};
use crate::settings::{Settings, StartError};
use crate::volume::Volume;

/// Wishes that wait for the driver at the most.
const WISHES_MAX: usize = 256;
/// Notices that wait for the control plane at the most.
const NOTICES_MAX: usize = 4096;
/// How long a start waits for a killed predecessor to let go of devices and addresses.
const START_PATIENCE: Duration = Duration::from_secs(5);
/// How long clients may take to hear their last answers when the driver stops.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

/// A running driver.
pub struct Driver {
    handle: Handle,
    notices: Receiver<Told>,
    thread: JoinHandle<io::Result<()>>,
}

impl Driver {
    /// Opens devices and listeners and begins to serve. Every error says what to do.
    pub fn start(settings: Settings) -> Result<Driver, StartError> {
        let (wishes, wished) = sync_channel(WISHES_MAX);
        let (told, notices) = sync_channel(NOTICES_MAX);
        let (started, result) = sync_channel(1);
        let errno = |error: io::Error| StartError::Thread { errno: error.raw_os_error().unwrap_or(0) };
        let flags = EfdFlags::EFD_CLOEXEC;
        let bell = EventFd::from_value_and_flags(0, flags).map_err(|e| errno(e.into()))?;
        let handle = Handle {
            wishes,
            bell: Arc::new(bell),
            stop: Arc::new(AtomicBool::new(false)),
            counters: Arc::new(Counters::default()),
            peers: Arc::default(),
            clients: Arc::default(),
        };
        let begun = handle.clone();
        // The ring, the pool and everything in them belong to this thread alone.
        let thread = std::thread::Builder::new()
            .name(String::from("driver"))
            .spawn(move || match Loop::open(settings, begun, wished, told) {
                Ok(mut looped) => {
                    // Nobody waits any more: then nobody wants it either.
                    let _ = started.send(Ok(looped.handle.clone()));
                    looped.run()
                }
                Err(error) => {
                    let _ = started.send(Err(error));
                    Ok(())
                }
            })
            .map_err(errno)?;
        let handle = result.recv().map_err(|_| StartError::Thread { errno: 0 })??;
        Ok(Driver { handle, notices, thread })
    }

    /// How to speak to it.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// What its replicas tell. Who does not listen loses notices, which is counted.
    #[must_use]
    pub fn notices(&self) -> &Receiver<Told> {
        &self.notices
    }

    /// Its parts: the way to speak to it, what its replicas tell, and the thread, which ends after
    /// [`Handle::stop`], or with an error when the ring fails.
    #[must_use]
    pub fn into_parts(self) -> (Handle, Receiver<Told>, JoinHandle<io::Result<()>>) {
        (self.handle, self.notices, self.thread)
    }

    /// Stops it and waits for its end.
    pub fn stop(self) -> io::Result<()> {
        self.handle.stop();
        self.join()
    }

    /// Waits for its end.
    pub fn join(self) -> io::Result<()> {
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// A listener, and when it is armed again after an error.
struct Door {
    listener: Listener,
    retry: Option<Instant>,
}

/// A client that waits to attach.
struct Attaching {
    client: u32,
    export: ExportId,
    /// What came before it, over other connections, and is not with the core.
    before: Vec<Mark>,
}

/// Everything that the driver's thread has.
struct Loop {
    handle: Handle,
    wished: Receiver<Wish>,
    told: SyncSender<Told>,
    bell: Descriptor,
    spin: Duration,
    volumes: Vec<Volume>,
    links: Links,
    clients: Clients,
    /// What happened and was not told yet.
    inputs: Inputs,
    outbox: Outbox,
    /// Clients that wait to attach.
    attaching: Vec<Attaching>,
    peer_doors: Vec<Door>,
    client_doors: Vec<Door>,
    /// Since when it stops.
    stopping: Option<Instant>,
    /// Something happened lately: do not sleep before then.
    awake_until: Instant,
    /// When it last had waited.
    woke: Instant,
    probe: Probe,
    /// Last: it waits for what is in flight.
    gear: Gear,
}

impl Loop {
    fn open(
        settings: Settings,
        mut handle: Handle,
        wished: Receiver<Wish>,
        told: SyncSender<Told>,
    ) -> Result<Loop, StartError> {
        let now = clock::now();
        let gear = Gear::new(settings.ring, settings.pool, Arc::clone(&handle.counters))?;
        let limits = fitted(settings.limits, gear.pool.blocks_max(Purpose::Client))?;
        let mut volumes = Vec::new();
        let mut exports = Vec::new();
        for (index, volume) in (0u32..).zip(settings.volumes) {
            let device = |path: &Path| Device::open_within(path, START_PATIENCE);
            let log = volume.log.as_deref().map(device).transpose()?;
            let disk = Disk::open(device(&volume.main)?, log)?;
            exports.push(Export {
                name: volume.export,
                description: volume.description,
                blocks: volume.setup.volume_blocks,
                read_only: volume.read_only,
            });
            volumes.push(Volume::new(index, volume.setup, disk, volume.branches, now));
        }
        let default = (exports.len() == 1).then_some(ExportId(0));
        let door = |address: &Address| {
            let listener = Listener::open_within(address, START_PATIENCE)?;
            Ok::<_, StartError>(Door { listener, retry: None })
        };
        let peer_addresses: Vec<Address> = settings.peers.into_iter().map(Address::Tcp).collect();
        let peer_doors = peer_addresses.iter().map(door).collect::<Result<Vec<_>, _>>()?;
        let client_doors = settings.clients.iter().map(door).collect::<Result<Vec<_>, _>>()?;
        let bound = |doors: &[Door]| Arc::new(doors.iter().map(|d| d.listener.address.clone()).collect());
        handle.peers = bound(&peer_doors);
        handle.clients = bound(&client_doors);
        let bell = std::os::fd::AsFd::as_fd(&*handle.bell).try_clone_to_owned();
        let bell: OwnedFd = bell.map_err(|e| StartError::Thread { errno: e.raw_os_error().unwrap_or(0) })?;
        let mut looped = Loop {
            wished,
            told,
            bell: Rc::new(bell),
            spin: settings.spin,
            links: Links::new(volumes.iter().map(|volume| volume.id).collect(), settings.security),
            clients: Clients::new(Catalog::new(exports, default), limits, settings.clients_max),
            volumes,
            inputs: Inputs::new(),
            outbox: Outbox::default(),
            attaching: Vec::new(),
            peer_doors,
            client_doors,
            stopping: None,
            awake_until: now,
            woke: now,
            probe: Probe::default(),
            gear,
            handle,
        };
        looped.listen();
        for volume in (0u32..).take(looped.volumes.len()) {
            looped.inputs.push_back((volume, Input::Tick));
        }
        Ok(looped)
    }

    /// Arms the bell and all doors.
    fn listen(&mut self) {
        self.gear.ring.push(Token::Wake, Op::Await { event: Rc::clone(&self.bell) });
        for (listener, door) in (0u32..).zip(&self.peer_doors) {
            let socket = Rc::clone(&door.listener.socket);
            self.gear.ring.push(Token::PeerAccept { listener }, Op::Accept { socket });
        }
        for (listener, door) in (0u32..).zip(&self.client_doors) {
            let socket = Rc::clone(&door.listener.socket);
            self.gear.ring.push(Token::ClientAccept { listener }, Op::Accept { socket });
        }
    }
}

/// Bounds of a client that fit a pool with so many blocks for clients.
fn fitted(mut limits: Limits, blocks: u32) -> Result<Limits, StartError> {
    let step = seawall_engine::io::REQUEST_BLOCKS_MAX;
    let block = seawall_wal::names::BLOCK_BYTES;
    if blocks <= step {
        return Err(StartError::Pool { blocks, needed: step + 1 });
    }
    let most = (blocks - 1) / step * step * block;
    limits.request_bytes_max = limits.request_bytes_max.min(most);
    // One client that reads slowly does not hold the memory of all.
    let share = u64::from(blocks) * u64::from(block) / 2;
    let largest = u64::from(limits.request_blocks_max()) * u64::from(block);
    limits.payload_bytes_max = limits.payload_bytes_max.min(share.max(largest));
    Ok(limits)
}
