//! Whole nodes in one process: real files, real sockets, and a client that speaks just enough NBD.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use seawall_blockdev::disk::Disk;
use seawall_blockdev::disk::device::Device;
use seawall_blockdev::disk::format::format;
use seawall_blockdev::driver::Driver;
use seawall_blockdev::net::Address;
use seawall_blockdev::net::credentials::Security;
use seawall_blockdev::pool::PoolSettings;
use seawall_blockdev::ring::RingSettings;
use seawall_blockdev::settings::{Settings, VolumeSettings};
use seawall_engine::io::{Answer, Command};
use seawall_engine::setup::{Peer, Setup};
use seawall_engine::status::{Role, Status};
use seawall_wal::geometry::Geometry;
use seawall_wal::label::Label;
use seawall_wal::names::{ReplicaId, VolumeId};

pub(crate) const VOLUME: VolumeId = VolumeId([0x5e; 16]);
pub(crate) const BLOCKS: u64 = 16 << 10;
const PATIENCE: Duration = Duration::from_secs(20);

static NUMBERS: AtomicU64 = AtomicU64::new(0);

/// A directory that goes with its test.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Scratch {
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("seawall-driver-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Some nodes that keep one volume.
pub(crate) struct Cluster {
    pub(crate) scratch: Scratch,
    pub(crate) ring: RingSettings,
    pub(crate) pool: PoolSettings,
    security: Vec<Security>,
    ports: Vec<String>,
    pub(crate) nodes: Vec<Option<Driver>>,
}

/// Addresses that were free a moment ago.
fn ports(count: usize) -> Vec<String> {
    let held: Vec<TcpListener> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    held.iter().map(|listener| format!("localhost:{}", listener.local_addr().unwrap().port())).collect()
}

impl Cluster {
    pub(crate) fn new(count: usize, ring: RingSettings) -> Cluster {
        Cluster::secure(ring, vec![Security::Plaintext; count])
    }

    /// As [`Cluster::new`], each node with what it proves itself with.
    pub(crate) fn secure(ring: RingSettings, security: Vec<Security>) -> Cluster {
        let count = security.len();
        let pool = PoolSettings { blocks: 4096, core_blocks: 1024 };
        let nodes = (0..count).map(|_| None).collect();
        let mut cluster =
            Cluster { scratch: Scratch::new(), ring, pool, security, ports: ports(count), nodes };
        for index in 0..count {
            cluster.format(index);
            cluster.start(index);
        }
        cluster
    }

    fn setup(&self, index: usize) -> Setup {
        let member = |index: usize| Peer {
            replica: ReplicaId(index as u64 + 1),
            name: format!("node-{index}"),
            address: self.ports[index].replace("localhost", "127.0.0.1"),
            voter: true,
        };
        let mut members: Vec<Peer> = (0..self.ports.len()).map(member).collect();
        // One is known by name, to have names looked up.
        if let Some(last) = members.last_mut() {
            last.address.clone_from(&self.ports[self.ports.len() - 1]);
        }
        let (replica, first) = (ReplicaId(index as u64 + 1), ReplicaId(1));
        Setup { machine_boot: [1; 16], ..Setup::new(VOLUME, replica, members, first, BLOCKS) }
    }

    fn disk(&self, index: usize) -> PathBuf {
        self.scratch.path(&format!("disk-{index}"))
    }

    pub(crate) fn socket(&self, index: usize) -> PathBuf {
        self.scratch.path(&format!("nbd-{index}"))
    }

    pub(crate) fn peer_port(&self, index: usize) -> String {
        self.ports[index].replace("localhost", "127.0.0.1")
    }

    pub(crate) fn format(&self, index: usize) {
        let setup = self.setup(index);
        let geometry =
            Geometry { volume_blocks: BLOCKS, log_bytes: 16 << 20, unit_bytes: 512, separate_log: false };
        let main = Device::create(&self.disk(index), geometry.device_bytes_min()).unwrap();
        let geometry = Geometry { unit_bytes: main.unit_bytes(), ..geometry };
        let disk = Disk::new(main, None, geometry).unwrap();
        let label = Label { volume: VOLUME, replica: setup.replica, geometry };
        let superblock = seawall_engine::format::newborn(&setup, geometry);
        format(&disk, &label, &seawall_engine::format::both_slots(&superblock), |_, _| ()).unwrap();
    }

    pub(crate) fn start(&mut self, index: usize) {
        let settings = Settings {
            ring: self.ring,
            pool: self.pool,
            peers: vec![self.peer_port(index)],
            security: self.security[index].clone(),
            clients: vec![Address::Unix(self.socket(index)), Address::Tcp(String::from("127.0.0.1:0"))],
            volumes: vec![VolumeSettings {
                setup: self.setup(index),
                main: self.disk(index),
                log: None,
                export: String::from("disk"),
                description: String::new(),
                read_only: false,
                branches: None,
            }],
            ..Settings::default()
        };
        self.nodes[index] = Some(Driver::start(settings).unwrap());
    }

    pub(crate) fn node(&self, index: usize) -> &Driver {
        self.nodes[index].as_ref().unwrap()
    }

    pub(crate) fn stop(&mut self, index: usize) {
        self.nodes[index].take().unwrap().stop().unwrap();
    }

    pub(crate) fn status(&self, index: usize) -> Status {
        self.node(index).handle().status_wait(VOLUME, PATIENCE).unwrap().unwrap()
    }

    pub(crate) fn command(&self, index: usize, command: Command) -> Answer {
        self.node(index).handle().command_wait(VOLUME, command, PATIENCE).unwrap()
    }

    pub(crate) fn counter(&self, index: usize, name: &str) -> u64 {
        let all = self.node(index).handle().counters().all();
        all.iter().find(|(found, ..)| *found == name).unwrap().3
    }

    /// Waits until something holds.
    pub(crate) fn until(&self, what: &str, holds: impl Fn(&Cluster) -> bool) {
        let began = Instant::now();
        while !holds(self) {
            if began.elapsed() > PATIENCE {
                let live = (0..self.nodes.len()).filter(|index| self.nodes[*index].is_some());
                let told: Vec<_> = live
                    .map(|index| {
                        (self.status(index), self.node(index).notices().try_iter().collect::<Vec<_>>())
                    })
                    .collect();
                panic!("{what} took too long: {told:#?}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn serving(&self, index: usize) {
        self.until("serving", |cluster| cluster.status(index).role == Role::Primary);
    }

    pub(crate) fn in_sync(&self, index: usize, peers: usize) {
        self.until("in sync", |cluster| {
            cluster.status(index).peers.iter().filter(|peer| peer.counts).count() == peers
        });
    }
}

/// A client of the oldest kind: fixed newstyle, simple replies, one request after the other unless told otherwise.
pub(crate) struct Client<S> {
    pub(crate) stream: S,
    next: u64,
}

pub(crate) const READ: u16 = 0;
pub(crate) const WRITE: u16 = 1;
pub(crate) const FLUSH: u16 = 3;
pub(crate) const TRIM: u16 = 4;

impl Client<UnixStream> {
    pub(crate) fn connect(socket: &Path) -> Client<UnixStream> {
        let stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Client::greet(stream)
    }
}

impl<S: Read + Write> Client<S> {
    pub(crate) fn greet(mut stream: S) -> Client<S> {
        let mut greeting = [0; 18];
        stream.read_exact(&mut greeting).unwrap();
        assert_eq!(&greeting[..16], b"NBDMAGICIHAVEOPT");
        let mut hello = 3u32.to_be_bytes().to_vec();
        hello.extend(b"IHAVEOPT");
        hello.extend(1u32.to_be_bytes());
        hello.extend(4u32.to_be_bytes());
        hello.extend(b"disk");
        stream.write_all(&hello).unwrap();
        let mut answer = [0; 10];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer[..8], (BLOCKS * 4096).to_be_bytes());
        Client { stream, next: 0 }
    }

    pub(crate) fn ask(&mut self, what: u16, offset: u64, bytes: u32, payload: &[u8]) -> u64 {
        self.next += 1;
        let mut request = 0x2560_9513u32.to_be_bytes().to_vec();
        request.extend(0u16.to_be_bytes());
        request.extend(what.to_be_bytes());
        request.extend(self.next.to_be_bytes());
        request.extend(offset.to_be_bytes());
        request.extend(bytes.to_be_bytes());
        request.extend(payload);
        self.stream.write_all(&request).unwrap();
        self.next
    }

    /// The next answer: its cookie and error.
    pub(crate) fn hear(&mut self) -> (u64, u32) {
        let mut head = [0; 16];
        self.stream.read_exact(&mut head).unwrap();
        assert_eq!(head[..4], 0x6744_6698u32.to_be_bytes());
        let error = u32::from_be_bytes(head[4..8].try_into().unwrap());
        (u64::from_be_bytes(head[8..].try_into().unwrap()), error)
    }

    pub(crate) fn write(&mut self, offset: u64, payload: &[u8]) {
        let cookie = self.ask(WRITE, offset, u32::try_from(payload.len()).unwrap(), payload);
        assert_eq!(self.hear(), (cookie, 0));
    }

    pub(crate) fn read(&mut self, offset: u64, bytes: usize) -> Vec<u8> {
        let cookie = self.ask(READ, offset, u32::try_from(bytes).unwrap(), &[]);
        assert_eq!(self.hear(), (cookie, 0));
        let mut data = vec![0; bytes];
        self.stream.read_exact(&mut data).unwrap();
        data
    }

    pub(crate) fn simple(&mut self, what: u16, offset: u64, bytes: u32) {
        let cookie = self.ask(what, offset, bytes, &[]);
        assert_eq!(self.hear(), (cookie, 0));
    }
}

/// Bytes that tell where they belong.
pub(crate) fn pattern(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(bytes + 8);
    while out.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend(state.to_le_bytes());
    }
    out.truncate(bytes);
    out
}
