//! TLS on one connection: bytes of the network in, bytes of frames out, and the other way.
//!
//! The library's buffered interface. Its unbuffered one copies as often (a received record is copied once after it was
//! decrypted, in both), and wants to be shown no bytes at all before each record that is sent, which it does not stand
//! when half a handshake message was left from what it was shown before.

use std::io::{BufRead, IoSlice, Write};
use std::sync::Arc;

use rustls::pki_types::{DnsName, ServerName};
use rustls::{ClientConnection, Connection, ServerConnection};
use seawall_sender::frame::MAGIC;
use seawall_sender::greeting::Proven;
use seawall_wal::names::VolumeId;

use crate::net::credentials::{Credentials, PROTOCOL};
use crate::net::identity::{self, Name};
use crate::net::refusal;

/// What is sealed at once at the most, where there is more: the plaintext of one TLS record.
const RECORD_BYTES: usize = 16 << 10;

/// What became of bytes that came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Took {
    /// Both ends have proven who they are; said once.
    Proven,
    /// There is plaintext to be looked at.
    Plaintext,
    /// More bytes are needed.
    Hungry,
    /// The peer says no more.
    Ended,
}

/// TLS on one connection.
pub(crate) struct Session {
    connection: Connection,
    /// Whether anything came.
    began: bool,
    proven: bool,
    names: Vec<Name>,
    /// Plaintext that was decrypted and not looked at yet, in bytes.
    ready: usize,
    /// Plaintext that waits for more, to be sealed with it.
    plain: Vec<u8>,
    /// What is to be sent.
    sealed: Vec<u8>,
}

impl Session {
    /// The end that opened the connection.
    pub(crate) fn dial(credentials: &Credentials) -> Session {
        // The library wants a name; nobody hears it, and it plays no part in who is believed.
        let name = ServerName::DnsName(DnsName::try_from("replica").expect("a plain name"));
        let connection = ClientConnection::new(Arc::clone(&credentials.client), name);
        Session::over(Connection::Client(connection.expect("the configuration was judged when it was made")))
    }

    /// The end that accepted it.
    pub(crate) fn accept(credentials: &Credentials) -> Session {
        let connection = ServerConnection::new(Arc::clone(&credentials.server));
        Session::over(Connection::Server(connection.expect("the configuration was judged when it was made")))
    }

    fn over(mut connection: Connection) -> Session {
        // What is written is sealed and taken out at once; the queue is the link's.
        connection.set_buffer_limit(None);
        let mut session = Session {
            connection,
            began: false,
            proven: false,
            names: Vec::new(),
            ready: 0,
            plain: Vec::new(),
            sealed: Vec::new(),
        };
        session.collect();
        session
    }

    /// Takes what came from the front of `bytes`, until there is something to tell.
    ///
    /// # Errors
    /// Why the connection is worth nothing; what the peer is to hear of it is then in [`Session::sealed`].
    pub(crate) fn take(&mut self, bytes: &mut &[u8]) -> Result<Took, String> {
        if let Some(first) = bytes.first()
            && !self.began
        {
            self.began = true;
            if *first == MAGIC.to_le_bytes()[0] {
                // A fatal alert, protocol_version (RFC 8446, section 6.2): whoever knows TLS knows that it is meant.
                self.sealed = vec![21, 3, 3, 0, 2, 2, 70];
                return Err(refusal::SPEAKS_PLAINTEXT.to_owned());
            }
        }
        loop {
            if self.ready > 0 {
                return Ok(Took::Plaintext);
            }
            if bytes.is_empty() {
                return Ok(Took::Hungry);
            }
            let read = self.connection.read_tls(bytes).map_err(|error| error.to_string())?;
            let processed = self.connection.process_new_packets();
            self.collect();
            let state = processed.map_err(|error| refusal::of(&error))?;
            self.ready = state.plaintext_bytes_to_read();
            if !self.proven && !self.connection.is_handshaking() {
                self.proven = true;
                self.names = self.judge()?;
                return Ok(Took::Proven);
            }
            if (state.peer_has_closed() || read == 0) && self.ready == 0 {
                return Ok(Took::Ended);
            }
        }
    }

    /// Who is at the other end, now that it has proven it.
    fn judge(&self) -> Result<Vec<Name>, String> {
        if self.connection.alpn_protocol() != Some(PROTOCOL) {
            return Err(refusal::OTHER_PROTOCOL.to_owned());
        }
        let own = self.connection.peer_certificates().and_then(<[_]>::first);
        let names = own.map(identity::names).unwrap_or_default();
        if names.is_empty() { Err(refusal::NAMELESS.to_owned()) } else { Ok(names) }
    }

    /// Who is at the other end, for one who keeps that volume.
    pub(crate) fn proven(&self, volume: VolumeId) -> Proven {
        let named = self.names.iter().find(|name| name.0 == volume).or(self.names.first());
        let (volume, replica) = named.expect("who has proven itself has a name");
        Proven::Replica { volume: *volume, replica: *replica }
    }

    /// Whether there is plaintext to be looked at.
    pub(crate) fn has_plaintext(&self) -> bool {
        self.ready > 0
    }

    /// Shows plaintext to `look`, which takes from its front what it can use now.
    pub(crate) fn look<R>(&mut self, look: impl FnOnce(&mut &[u8]) -> R) -> R {
        let mut reader = self.connection.reader();
        let chunk = reader.fill_buf().unwrap_or_default();
        let (mut bytes, before) = (chunk, chunk.len());
        let answer = look(&mut bytes);
        let used = before - bytes.len();
        reader.consume(used);
        self.ready -= used;
        answer
    }

    /// Seals a frame behind those before it.
    pub(crate) fn seal(&mut self, head: &[u8], payload: Option<&[u8]>) {
        self.plain.extend_from_slice(head);
        match payload {
            Some(payload) => self.write(payload),
            None if self.plain.len() >= RECORD_BYTES => self.write(&[]),
            None => {}
        }
    }

    /// What is to be sent now. Give the memory back with [`Session::reuse`].
    pub(crate) fn sealed(&mut self) -> Vec<u8> {
        if !self.plain.is_empty() {
            self.write(&[]);
        }
        std::mem::take(&mut self.sealed)
    }

    /// How many bytes are to be sent.
    pub(crate) fn sealed_bytes(&self) -> usize {
        self.sealed.len() + self.plain.len()
    }

    /// Memory to seal into.
    pub(crate) fn reuse(&mut self, mut memory: Vec<u8>) {
        if self.sealed.is_empty() {
            memory.clear();
            self.sealed = memory;
        }
    }

    fn write(&mut self, payload: &[u8]) {
        let plain = std::mem::take(&mut self.plain);
        let slices = [IoSlice::new(&plain), IoSlice::new(payload)];
        let written = self.connection.writer().write_vectored(&slices);
        assert_eq!(written.ok(), Some(plain.len() + payload.len()), "a proven connection takes everything");
        self.plain = plain;
        self.plain.clear();
        self.collect();
    }

    fn collect(&mut self) {
        while self.connection.wants_write() {
            self.connection.write_tls(&mut self.sealed).expect("memory takes everything");
        }
    }
}
