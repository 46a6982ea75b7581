//! Sockets: how they are made and tuned, and TLS on those between peers. What goes through them is the business of
//! links and clients.
//!
//! | module | what it is |
//! |---|---|
//! | [`certificate`] | what a certificate says |
//! | [`credentials`] | what a node proves itself with, and by what it knows its peers |
//! | [`identity`] | the name of a replica in a certificate |
//! | [`date`] | moments for people |

pub mod certificate;
pub mod credentials;
pub mod date;
pub mod identity;
pub(crate) mod refusal;
pub(crate) mod session;

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::libc;
use nix::sys::socket::{self, AddressFamily, Shutdown, SockFlag, SockType, SockaddrStorage, sockopt};

use crate::ring::op::Descriptor;

/// Seconds without traffic until a connection is probed, between probes, and how many fail until it is dead.
const KEEPALIVE: (u32, u32, u32) = (10, 5, 3);
/// Milliseconds that sent bytes may stay unacknowledged until a connection is dead.
const USER_TIMEOUT_MILLIS: u32 = 20_000;

/// Where a listener is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Address {
    /// A unix socket at that path.
    Unix(PathBuf),
    /// Host and port.
    Tcp(String),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
            Address::Tcp(address) => f.write_str(address),
        }
    }
}

/// Why nobody listens at an address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListenError {
    /// Where.
    pub address: Address,
    /// The operating system's number; zero if a name has no address.
    pub errno: i32,
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.errno {
            0 => write!(f, "can't listen at {}: the host has no address; give another one", self.address),
            errno => write!(f, "can't listen at {}: {}", self.address, io::Error::from_raw_os_error(errno)),
        }
    }
}

impl std::error::Error for ListenError {}

/// A listening socket, and where it really is.
pub(crate) struct Listener {
    pub(crate) socket: Descriptor,
    pub(crate) address: Address,
    pub(crate) is_tcp: bool,
}

impl Listener {
    /// Listens; while somebody else does, tries again for so long. A process that was killed lets go of its sockets
    /// only when the kernel has ended its operations in flight, which is after it is gone.
    pub(crate) fn open_within(address: &Address, patience: Duration) -> Result<Listener, ListenError> {
        let began = Instant::now();
        loop {
            match Listener::open(address) {
                Err(error) if error.errno == libc::EADDRINUSE && began.elapsed() < patience => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                opened => return opened,
            }
        }
    }

    fn open(address: &Address) -> Result<Listener, ListenError> {
        let error =
            |e: io::Error| ListenError { address: address.clone(), errno: e.raw_os_error().unwrap_or(0) };
        match address {
            Address::Tcp(name) => {
                let listener = TcpListener::bind(name.as_str()).map_err(error)?;
                let bound = listener.local_addr().map_err(error)?.to_string();
                let socket = Rc::new(OwnedFd::from(listener));
                Ok(Listener { socket, address: Address::Tcp(bound), is_tcp: true })
            }
            Address::Unix(path) => {
                clear_stale(path);
                let listener = UnixListener::bind(path).map_err(error)?;
                let socket = Rc::new(OwnedFd::from(listener));
                Ok(Listener { socket, address: address.clone(), is_tcp: false })
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Address::Unix(path) = &self.address {
            // Who finds no socket knows at once that nobody serves.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Removes a socket that nobody listens at any more.
fn clear_stale(path: &Path) {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    let refused = |e: io::Error| e.kind() == io::ErrorKind::ConnectionRefused;
    if is_socket && UnixStream::connect(path).err().is_some_and(refused) {
        let _ = std::fs::remove_file(path);
    }
}

/// A socket for a connection to `to`.
pub(crate) fn outbound(to: SocketAddr) -> io::Result<Descriptor> {
    let family = if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let socket = socket::socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    tune(&socket);
    Ok(Rc::new(socket))
}

/// Small frames leave at once, and a peer that is gone is noticed. A socket that refuses an option works without.
pub(crate) fn tune(socket: &OwnedFd) {
    let (idle, interval, count) = KEEPALIVE;
    let _ = socket::setsockopt(socket, sockopt::TcpNoDelay, &true);
    let _ = socket::setsockopt(socket, sockopt::KeepAlive, &true);
    let _ = socket::setsockopt(socket, sockopt::TcpKeepIdle, &idle);
    let _ = socket::setsockopt(socket, sockopt::TcpKeepInterval, &interval);
    let _ = socket::setsockopt(socket, sockopt::TcpKeepCount, &count);
    let _ = socket::setsockopt(socket, sockopt::TcpUserTimeout, &USER_TIMEOUT_MILLIS);
}

/// Where the other end of a connection is, for people.
pub(crate) fn far_end(socket: &OwnedFd) -> String {
    match socket::getpeername::<SockaddrStorage>(socket.as_raw_fd()) {
        Ok(address) => address.to_string(),
        Err(_) => String::from("a peer that is gone"),
    }
}

/// Ends both directions: every operation in flight on the socket ends soon.
pub(crate) fn shut(socket: &Descriptor) {
    let _ = socket::shutdown(socket.as_raw_fd(), Shutdown::Both);
}

/// Ends our direction, after what was sent.
pub(crate) fn shut_write(socket: &Descriptor) {
    let _ = socket::shutdown(socket.as_raw_fd(), Shutdown::Write);
}
