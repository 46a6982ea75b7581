//! An NBD server over a vector of bytes, which can be told to lie.

use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use seawall_ops::nbd::Target;

/// What is wrong with the server.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Plant {
    Nothing,
    /// Close the connection after so many requests, the last one applied or not, but not answered.
    CutConnections {
        every: u64,
    },
    /// Answer EIO to every so manieth request, having applied half of the writes among them.
    Refuse {
        every: u64,
    },
    /// Answer the nth request without having stored it.
    LoseWrite {
        nth: u64,
    },
    /// Answer every so manieth read with what was there before the last write.
    StaleRead {
        every: u64,
    },
    /// Every so manieth request breaks its connection and is applied `after` requests later.
    LandLate {
        every: u64,
        after: u64,
    },
    /// Store only half of the first sector of the nth request.
    HalfSector {
        nth: u64,
    },
    /// Store the nth request one sector beside its place.
    Misdirect {
        nth: u64,
    },
}

impl Plant {
    /// Whether it names one request.
    pub(crate) fn counts(self) -> bool {
        matches!(self, Plant::LoseWrite { .. } | Plant::HalfSector { .. } | Plant::Misdirect { .. })
    }
}

struct Store {
    bytes: Vec<u8>,
    before: Vec<u8>,
    late: Vec<(u64, usize, Vec<u8>)>,
}

impl Store {
    fn write(&mut self, at: usize, bytes: &[u8]) {
        let range = at..at + bytes.len();
        self.before[range.clone()].copy_from_slice(&self.bytes[range.clone()]);
        self.bytes[range].copy_from_slice(bytes);
    }
}

struct Shared {
    store: Mutex<Store>,
    count: AtomicU64,
    plant: Plant,
}

/// A running server; its socket's file goes away with it.
pub(crate) struct Fake {
    path: PathBuf,
}

static SERVERS: AtomicU64 = AtomicU64::new(0);

impl Fake {
    pub(crate) fn start(bytes: usize, plant: Plant) -> Fake {
        let number = SERVERS.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("seawall-fake-{}-{number}", std::process::id()));
        let listener = UnixListener::bind(&path).unwrap();
        let store = Store { bytes: vec![0; bytes], before: vec![0; bytes], late: Vec::new() };
        let shared = Arc::new(Shared { store: Mutex::new(store), count: AtomicU64::new(0), plant });
        thread::spawn(move || {
            for stream in listener.incoming() {
                let shared = Arc::clone(&shared);
                thread::spawn(move || serve(stream.unwrap(), &shared));
            }
        });
        Fake { path }
    }

    pub(crate) fn target(&self) -> Target {
        format!("nbd+unix:///fake?socket={}", self.path.display()).parse().unwrap()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn serve(mut stream: UnixStream, shared: &Shared) {
    // However it ends, the client sees a closed connection.
    let _ = negotiate(&mut stream, shared).and_then(|()| transmit(&mut stream, shared));
    let _ = stream.shutdown(std::net::Shutdown::Both);
}

fn negotiate(stream: &mut UnixStream, shared: &Shared) -> io::Result<()> {
    stream.write_all(b"NBDMAGICIHAVEOPT\x00\x03")?;
    let mut head = [0; 20];
    stream.read_exact(&mut head)?;
    let length = u32::from_be_bytes(head[16..].try_into().unwrap()) as usize;
    stream.read_exact(&mut vec![0; length])?;
    let reply = |kind: u32, data: &[u8]| {
        let mut reply = 0x0003_e889_0455_65a9_u64.to_be_bytes().to_vec();
        reply.extend(&head[12..16]);
        reply.extend(kind.to_be_bytes());
        reply.extend(u32::try_from(data.len()).unwrap().to_be_bytes());
        reply.extend(data);
        reply
    };
    let mut info = vec![0, 0];
    info.extend((shared.store.lock().unwrap().bytes.len() as u64).to_be_bytes());
    info.extend(1_u16.to_be_bytes());
    stream.write_all(&reply(3, &info))?;
    stream.write_all(&reply(1, &[]))
}

fn transmit(stream: &mut UnixStream, shared: &Shared) -> io::Result<()> {
    loop {
        let mut head = [0; 28];
        stream.read_exact(&mut head)?;
        let command = u16::from_be_bytes([head[6], head[7]]);
        let at = usize::try_from(u64::from_be_bytes(head[16..24].try_into().unwrap())).unwrap();
        let length = u32::from_be_bytes(head[24..28].try_into().unwrap()) as usize;
        let mut payload = match command {
            1 => vec![0; length],
            _ => Vec::new(),
        };
        stream.read_exact(&mut payload)?;
        if command == 2 {
            return Ok(());
        }
        if matches!(command, 4 | 6) {
            payload = vec![0; length];
        }
        let (error, data) = apply(shared, command, at, length, &payload)?;
        let mut reply = 0x6744_6698_u32.to_be_bytes().to_vec();
        reply.extend(error.to_be_bytes());
        reply.extend(&head[8..16]);
        reply.extend(data);
        stream.write_all(&reply)?;
    }
}

/// Carry one request out, or not, as the plant says. Returns error number and data of the answer.
fn apply(
    shared: &Shared,
    command: u16,
    at: usize,
    length: usize,
    payload: &[u8],
) -> io::Result<(u32, Vec<u8>)> {
    let count = shared.count.fetch_add(1, Ordering::Relaxed) + 1;
    let mut store = shared.store.lock().unwrap();
    let due: Vec<_> = store.late.extract_if(.., |(due, ..)| *due <= count).collect();
    for (_, at, bytes) in due {
        store.write(at, &bytes);
    }
    let cut = || Err(io::ErrorKind::ConnectionAborted.into());
    let write = !payload.is_empty();
    match shared.plant {
        Plant::CutConnections { every } if count.is_multiple_of(every) => {
            if write && count.is_multiple_of(2) {
                store.write(at, payload);
            }
            return cut();
        }
        Plant::Refuse { every } if count.is_multiple_of(every) => {
            if write && count.is_multiple_of(4) {
                store.write(at, payload);
            }
            return Ok((5, Vec::new()));
        }
        Plant::LandLate { every, after } if write && count.is_multiple_of(every) => {
            store.late.push((count + after, at, payload.to_vec()));
            return cut();
        }
        Plant::LoseWrite { nth } if count == nth => return Ok((0, Vec::new())),
        Plant::HalfSector { nth } if count == nth => {
            let half = [&payload[..256], &[0x5a; 256][..]].concat();
            store.write(at, payload);
            store.write(at, &half);
            return Ok((0, Vec::new()));
        }
        Plant::Misdirect { nth } if count == nth => {
            let beside = if at == 0 { 512 } else { at - 512 };
            store.write(beside, payload);
            return Ok((0, Vec::new()));
        }
        _ => {}
    }
    if write {
        store.write(at, payload);
    }
    let stale = matches!(shared.plant, Plant::StaleRead { every } if count.is_multiple_of(every));
    let from = if stale { &store.before } else { &store.bytes };
    let data = if command == 0 { from[at..at + length].to_vec() } else { Vec::new() };
    Ok((0, data))
}
