//! A liar between a client and a real volume: it passes everything on, but for one planted lie. For one client with one
//! connection that negotiates as ours does and waits for each answer.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;

use seawall_ops::nbd::Target;

const READ: u16 = 0;
const WRITE: u16 = 1;
const DISCONNECT: u16 = 2;
const ZEROES: [u16; 2] = [4, 6];

/// What it does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Lie {
    None,
    /// That request, a write, is answered well and never reaches the volume.
    LoseWrite {
        nth: u64,
    },
    /// From that request on, the first read of something that changed is answered with what was there before.
    StaleRead {
        from: u64,
    },
}

/// Where it lied: bytes.
pub(crate) type Place = std::ops::Range<usize>;

struct Memory {
    /// What the volume holds, and what it held one write earlier.
    now: Vec<u8>,
    before: Vec<u8>,
    count: u64,
    lied: Option<Place>,
}

/// It ends with its client.
pub(crate) struct Liar {
    path: PathBuf,
    memory: Arc<Mutex<Memory>>,
}

impl Liar {
    /// Between a client and the volume at that socket, of which it remembers so many bytes.
    pub(crate) fn start(dir: &Path, volume: &Path, bytes: usize, lie: Lie) -> Liar {
        let path = dir.join("liar");
        let listener = UnixListener::bind(&path).unwrap();
        let memory = Memory { now: vec![0; bytes], before: vec![0; bytes], count: 0, lied: None };
        let memory = Arc::new(Mutex::new(memory));
        let (volume, shared) = (volume.to_owned(), Arc::clone(&memory));
        thread::spawn(move || {
            for client in listener.incoming() {
                let (client, server) = (client.unwrap(), UnixStream::connect(&volume).unwrap());
                // However it ends, both sides see it.
                let _ = negotiate(&client, &server).and_then(|()| pass_on(&client, &server, lie, &shared));
                let _ = client.shutdown(Shutdown::Both);
            }
        });
        Liar { path, memory }
    }

    pub(crate) fn target(&self) -> Target {
        format!("nbd+unix:///vol?socket={}", self.path.display()).parse().unwrap()
    }

    pub(crate) fn lied(&self) -> Option<Place> {
        self.memory.lock().unwrap().lied.clone()
    }
}

fn take(mut from: &UnixStream, bytes: usize) -> io::Result<Vec<u8>> {
    let mut taken = vec![0; bytes];
    from.read_exact(&mut taken)?;
    Ok(taken)
}

fn relay(from: &UnixStream, mut to: &UnixStream, bytes: usize) -> io::Result<Vec<u8>> {
    let taken = take(from, bytes)?;
    to.write_all(&taken)?;
    Ok(taken)
}

fn number(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte))
}

/// One option, and the replies to it.
fn negotiate(client: &UnixStream, server: &UnixStream) -> io::Result<()> {
    relay(server, client, 18)?;
    let option = relay(client, server, 20)?;
    relay(client, server, number(&option[16..]))?;
    loop {
        let reply = relay(server, client, 20)?;
        relay(server, client, number(&reply[16..]))?;
        match number(&reply[12..16]) {
            1 => return Ok(()),
            3 => {}
            _ => return Err(io::ErrorKind::ConnectionRefused.into()),
        }
    }
}

fn pass_on(client: &UnixStream, server: &UnixStream, lie: Lie, memory: &Mutex<Memory>) -> io::Result<()> {
    let (mut to_client, mut to_server) = (client, server);
    loop {
        let head = take(client, 28)?;
        let (command, place) = (u16::from_be_bytes([head[6], head[7]]), number(&head[16..24]));
        let place = place..place + number(&head[24..]);
        let payload = if command == WRITE { take(client, place.len())? } else { Vec::new() };
        let mut memory = memory.lock().unwrap();
        memory.count += 1;
        if command == WRITE && lie == (Lie::LoseWrite { nth: memory.count }) {
            memory.lied = Some(place);
            to_client.write_all(&[&0x6744_6698_u32.to_be_bytes()[..], &[0; 4], &head[8..16]].concat())?;
            continue;
        }
        to_server.write_all(&head)?;
        to_server.write_all(&payload)?;
        if command == DISCONNECT {
            return Ok(());
        }
        let reply = relay(server, client, 16)?;
        assert_eq!(number(&reply[4..8]), 0, "a healthy volume answers well");
        if command == READ {
            let mut bytes = take(server, place.len())?;
            let changed = memory.now[place.clone()] != memory.before[place.clone()];
            let due = matches!(lie, Lie::StaleRead { from } if memory.count >= from);
            if due && changed && memory.lied.is_none() {
                bytes.copy_from_slice(&memory.before[place.clone()]);
                memory.lied = Some(place);
            }
            to_client.write_all(&bytes)?;
        } else if command == WRITE || ZEROES.contains(&command) {
            let old = memory.now[place.clone()].to_vec();
            memory.before[place.clone()].copy_from_slice(&old);
            match command {
                WRITE => memory.now[place].copy_from_slice(&payload),
                _ => memory.now[place].fill(0),
            }
        }
    }
}
