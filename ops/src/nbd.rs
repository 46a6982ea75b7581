//! A small NBD client over plain sockets, independent of the server's code: fixed newstyle handshake, simple
//! replies. Section names are those of the NBD protocol document (doc/proto.md of NetworkBlockDevice/nbd).

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

const NBDMAGIC: u64 = 0x4e42_444d_4147_4943;
const IHAVEOPT: u64 = 0x4948_4156_454f_5054;
const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
const REQUEST_MAGIC: u32 = 0x2560_9513;
const SIMPLE_REPLY_MAGIC: u32 = 0x6744_6698;
/// "Client flags": fixed newstyle, no zeroes.
const CLIENT_FLAGS: u32 = 0b11;
const OPT_GO: u32 = 7;
const REP_ACK: u32 = 1;
const REP_INFO: u32 = 3;
const REP_ERROR_BIT: u32 = 1 << 31;
const INFO_EXPORT: u16 = 0;
/// No option reply of ours is longer; a longer one is not worth reading.
const OPTION_REPLY_BYTES_MAX: u32 = 1 << 16;
/// "Command flags": force unit access.
pub const FLAG_FUA: u16 = 1;

/// Where an export is: `nbd://HOST:PORT/NAME` or `nbd+unix:///NAME?socket=PATH`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    address: Address,
    export: String,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Address {
    Unix(PathBuf),
    Tcp(String),
}

impl FromStr for Target {
    type Err = BadUri;

    fn from_str(text: &str) -> Result<Target, BadUri> {
        if let Some(rest) = text.strip_prefix("nbd+unix:///") {
            let (export, path) = rest.split_once("?socket=").ok_or(BadUri)?;
            return Ok(Target { address: Address::Unix(path.into()), export: export.to_owned() });
        }
        let rest = text.strip_prefix("nbd://").ok_or(BadUri)?;
        let (place, export) = rest.split_once('/').unwrap_or((rest, ""));
        let place = if place.contains(':') { place.to_owned() } else { format!("{place}:10809") };
        Ok(Target { address: Address::Tcp(place), export: export.to_owned() })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Address::Unix(path) => write!(f, "nbd+unix:///{}?socket={}", self.export, path.display()),
            Address::Tcp(place) => write!(f, "nbd://{place}/{}", self.export),
        }
    }
}

/// The text is no NBD URI of a kind that this client knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadUri;

impl fmt::Display for BadUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected nbd://HOST:PORT/NAME or nbd+unix:///NAME?socket=PATH")
    }
}

impl std::error::Error for BadUri {}

/// A connected socket of either kind.
#[derive(Debug)]
pub enum Stream {
    /// A unix socket.
    Unix(UnixStream),
    /// A TCP socket.
    Tcp(TcpStream),
}

impl Stream {
    fn connect(address: &Address) -> io::Result<Stream> {
        match address {
            Address::Unix(path) => UnixStream::connect(path).map(Stream::Unix),
            Address::Tcp(place) => {
                let stream = TcpStream::connect(place)?;
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            }
        }
    }

    /// The same socket once more, for another thread.
    ///
    /// # Errors
    /// If the process has no file descriptor left.
    pub fn duplicate(&self) -> io::Result<Stream> {
        match self {
            Stream::Unix(stream) => stream.try_clone().map(Stream::Unix),
            Stream::Tcp(stream) => stream.try_clone().map(Stream::Tcp),
        }
    }

    /// How long a read may wait.
    ///
    /// # Errors
    /// If the socket is dead.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        match self {
            Stream::Unix(stream) => stream.set_read_timeout(timeout),
            Stream::Tcp(stream) => stream.set_read_timeout(timeout),
        }
    }

    /// Wake every thread that reads or writes it; nothing more comes or goes.
    pub fn close(&self) {
        // A socket that is dead already is as closed as can be.
        let _ = match self {
            Stream::Unix(stream) => stream.shutdown(Shutdown::Both),
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Both),
        };
    }
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Unix(stream) => stream.read(buf),
            Stream::Tcp(stream) => stream.read(buf),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Unix(stream) => stream.write(buf),
            Stream::Tcp(stream) => stream.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An export as the server describes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Export {
    /// Its size in bytes.
    pub bytes: u64,
    /// "Transmission flags".
    pub flags: u16,
}

/// Connect and negotiate as far as the transmission phase.
///
/// # Errors
/// If the connection breaks, or the server refuses (kind `ConnectionRefused`, with its text) or does not speak
/// fixed newstyle (kind `InvalidData`).
pub fn connect(target: &Target, patience: Duration) -> io::Result<(Stream, Export)> {
    let mut stream = Stream::connect(&target.address)?;
    stream.set_read_timeout(Some(patience))?;
    let mut hello = [0; 18];
    stream.read_exact(&mut hello)?;
    if u64_at(&hello, 0) != NBDMAGIC || u64_at(&hello, 8) != IHAVEOPT {
        return Err(invalid("the server does not speak newstyle NBD"));
    }
    let mut go = CLIENT_FLAGS.to_be_bytes().to_vec();
    let name = target.export.as_bytes();
    let name_bytes = u32::try_from(name.len()).map_err(|_| invalid("the export name is too long"))?;
    go.extend(IHAVEOPT.to_be_bytes());
    go.extend(OPT_GO.to_be_bytes());
    go.extend((name_bytes + 6).to_be_bytes());
    go.extend(name_bytes.to_be_bytes());
    go.extend(name);
    go.extend(0_u16.to_be_bytes());
    stream.write_all(&go)?;
    let export = read_go_replies(&mut stream)?;
    stream.set_read_timeout(None)?;
    Ok((stream, export))
}

fn read_go_replies(stream: &mut Stream) -> io::Result<Export> {
    let mut export = None;
    loop {
        let mut head = [0; 20];
        stream.read_exact(&mut head)?;
        let (kind, bytes) = (u32_at(&head, 12), u32_at(&head, 16));
        if u64_at(&head, 0) != OPTION_REPLY_MAGIC || bytes > OPTION_REPLY_BYTES_MAX {
            return Err(invalid("the server's option reply is malformed"));
        }
        let mut data = vec![0; bytes as usize];
        stream.read_exact(&mut data)?;
        if kind & REP_ERROR_BIT != 0 {
            let text = String::from_utf8_lossy(&data).into_owned();
            return Err(io::Error::new(io::ErrorKind::ConnectionRefused, text));
        }
        if kind == REP_ACK {
            return export.ok_or_else(|| invalid("the server did not describe the export"));
        }
        if kind == REP_INFO && data.len() >= 12 && data[..2] == INFO_EXPORT.to_be_bytes() {
            export =
                Some(Export { bytes: u64_at(&data, 2), flags: u16::from_be_bytes([data[10], data[11]]) });
        }
    }
}

/// What a request asks for: "Request types".
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Command {
    /// `NBD_CMD_READ`.
    Read,
    /// `NBD_CMD_WRITE`.
    Write,
    /// `NBD_CMD_DISC`.
    Disconnect,
    /// `NBD_CMD_FLUSH`.
    Flush,
    /// `NBD_CMD_TRIM`.
    Trim,
    /// `NBD_CMD_WRITE_ZEROES`.
    WriteZeroes,
}

impl Command {
    fn code(self) -> u16 {
        match self {
            Command::Read => 0,
            Command::Write => 1,
            Command::Disconnect => 2,
            Command::Flush => 3,
            Command::Trim => 4,
            Command::WriteZeroes => 6,
        }
    }
}

/// Send one request; `payload` is empty for all but writes. Offset and length in bytes.
///
/// # Errors
/// If the connection breaks.
pub fn send(
    stream: &mut Stream,
    command: Command,
    flags: u16,
    cookie: u64,
    offset: u64,
    bytes: u32,
    payload: &[u8],
) -> io::Result<()> {
    let mut request = Vec::with_capacity(28 + payload.len());
    request.extend(REQUEST_MAGIC.to_be_bytes());
    request.extend(flags.to_be_bytes());
    request.extend(command.code().to_be_bytes());
    request.extend(cookie.to_be_bytes());
    request.extend(offset.to_be_bytes());
    request.extend(bytes.to_be_bytes());
    request.extend(payload);
    stream.write_all(&request)
}

/// A simple reply's header. A read without error is followed by its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reply {
    /// "Error values"; zero is success.
    pub error: u32,
    /// The request's.
    pub cookie: u64,
}

/// Receive the next reply's header.
///
/// # Errors
/// If the connection breaks or what comes is no simple reply.
pub fn receive(stream: &mut Stream) -> io::Result<Reply> {
    let mut head = [0; 16];
    stream.read_exact(&mut head)?;
    if u32_at(&head, 0) != SIMPLE_REPLY_MAGIC {
        return Err(invalid("the server's reply is malformed"));
    }
    Ok(Reply { error: u32_at(&head, 4), cookie: u64_at(&head, 8) })
}

fn invalid(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    (u64::from(u32_at(bytes, at)) << 32) | u64::from(u32_at(bytes, at + 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_is_read_back_as_it_is_shown() {
        for uri in ["nbd://127.0.0.1:10809/vol0", "nbd+unix:///vol0?socket=/run/a.sock"] {
            assert_eq!(uri.parse::<Target>().unwrap().to_string(), uri);
        }
        assert_eq!("nbd://host".parse::<Target>().unwrap().to_string(), "nbd://host:10809/");
        for uri in ["http://host", "nbd+unix:///vol0", "/run/a.sock"] {
            assert_eq!(uri.parse::<Target>(), Err(BadUri), "{uri}");
        }
    }
}
