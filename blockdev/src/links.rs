//! All connections to and from peers, and whose they are.

#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use seawall_engine::io::{Buf, Input, LinkId, Payload};
use seawall_sender::codec;
use seawall_sender::frame::Frame;
use seawall_sender::frame::{Kind, encode};
use seawall_sender::greeting::{Farewell, Parting};
use seawall_sender::session_id::SessionId;
use seawall_sender::time::Instant;
use seawall_sender::violation::Violation;
use seawall_wal::names::{Epoch, VolumeId};

use crate::clock;
use crate::counters::{count, set};
use crate::gear::{Gear, Token};
use crate::link::{Came, Link, State, link_of};
use crate::net;
use crate::net::credentials::Security;
use crate::net::refusal;
use crate::net::session::Session;
use crate::ring::op::{Completion, Descriptor, Op};

/// What comes for which volume.
pub(crate) type Inputs = VecDeque<(u32, Input)>;

/// How long a peer that came may take to say which volume it wants.
const STRANGE_PATIENCE: Duration = Duration::from_secs(10);
/// How many such peers there may be.
const STRANGERS_MAX: usize = 64;
/// How many links there may be in all; peers that come when there are as many are turned away.
const LINKS_MAX: usize = 1024;
/// How long both ends of a connection that we opened may take to prove who they are.
const PROOF_PATIENCE: Duration = Duration::from_secs(10);
/// How long a peer may take to hang up after it was told that TLS failed.
const PARTING_PATIENCE: Duration = Duration::from_secs(1);
/// How long frames given before a disconnect may take to leave.
const DRAIN_PATIENCE: Duration = Duration::from_secs(1);

/// All links of a driver.
pub(crate) struct Links {
    slots: Vec<Option<Link>>,
    free: Vec<u32>,
    /// Which of them the machines know, by volume and name.
    names: HashMap<(u32, LinkId), u32>,
    volumes: Vec<VolumeId>,
    /// How connections that begin now are made.
    security: Security,
    /// The next name for one that is accepted: odd.
    odd: u64,
    /// Those with something new to send.
    dirty: Vec<u32>,
    /// No link has a deadline before this one.
    deadline: Option<Instant>,
    /// What peers sent instead of frames, to be told.
    pub(crate) violations: Vec<(u32, Violation)>,
    /// Connections that came to nothing before the machine knew of a peer, and why, to be told.
    pub(crate) refusals: Vec<(u32, String)>,
}

impl Links {
    pub(crate) fn new(volumes: Vec<VolumeId>, security: Security) -> Links {
        Links {
            slots: Vec::new(),
            free: Vec::new(),
            names: HashMap::new(),
            volumes,
            security,
            odd: 1,
            dirty: Vec::new(),
            deadline: None,
            violations: Vec::new(),
            refusals: Vec::new(),
        }
    }

    /// From now on connections are made this way; those that are, stay as they are.
    pub(crate) fn secure(&mut self, security: Security) {
        self.security = security;
    }

    /// The machine of `volume` wants a connection. Whether the address is a name that has to be looked up first.
    pub(crate) fn connect(
        &mut self,
        volume: u32,
        name: LinkId,
        address: &str,
        gear: &mut Gear,
        inputs: &mut Inputs,
    ) -> bool {
        let slot = self.add(name, Some(volume), State::Resolving);
        self.names.insert((volume, name), slot);
        match address.parse::<SocketAddr>() {
            Ok(to) => self.on_resolved(volume, name, slot, Some(to), gear, inputs),
            Err(_) => return true,
        }
        false
    }

    /// The slot of a link whose name is looked up.
    pub(crate) fn slot_of(&self, volume: u32, name: LinkId) -> Option<u32> {
        self.names.get(&(volume, name)).copied()
    }

    /// The name of the link in a slot.
    pub(crate) fn name_of(&self, slot: u32) -> Option<LinkId> {
        self.slots.get(slot as usize)?.as_ref().map(|link| link.name)
    }

    /// A peer's name was looked up.
    pub(crate) fn on_resolved(
        &mut self,
        volume: u32,
        name: LinkId,
        slot: u32,
        to: Option<SocketAddr>,
        gear: &mut Gear,
        inputs: &mut Inputs,
    ) {
        let Some(Some(link)) = self.slots.get_mut(slot as usize) else { return };
        if link.name != name || link.volume != Some(volume) {
            return;
        }
        // The name was given up while it was looked up.
        let is_known = self.names.get(&(volume, name)) == Some(&slot);
        let socket = to.filter(|_| is_known).and_then(|to| Some((net::outbound(to).ok()?, to)));
        match socket {
            None => {
                link.state = State::Closed;
                self.lose(slot, gear, inputs);
            }
            Some((socket, to)) => {
                let op = Op::Connect { socket: Rc::clone(&socket), to };
                let ticket = gear.ring.push(Token::LinkConnect { link: slot }, op);
                link.set_socket(socket, to.to_string());
                link.state = State::Connecting { ticket };
            }
        }
    }

    /// A connect is over.
    pub(crate) fn on_connected(
        &mut self,
        slot: u32,
        completion: Completion<Token>,
        gear: &mut Gear,
        inputs: &mut Inputs,
    ) {
        let Some(link) = self.slots[slot as usize].as_mut() else { return };
        let volume = link.volume.expect("who connects knows for which volume");
        let is_known = self.names.get(&(volume, link.name)) == Some(&slot);
        if completion.moved().is_err() || !is_known {
            link.state = State::Closed;
            return self.lose(slot, gear, inputs);
        }
        match &self.security {
            Security::Plaintext => self.on_proven(slot, inputs),
            Security::Tls(credentials) => {
                let until = clock::now().after(PROOF_PATIENCE);
                link.set_session(Session::dial(credentials));
                link.state = State::Proving { until };
                link.start_send(gear);
                self.note_deadline(until);
            }
        }
        self.slots[slot as usize].as_mut().expect("it has just connected").start_receive(gear);
    }

    /// A connection that we opened is open, and proven if it is to be.
    fn on_proven(&mut self, slot: u32, inputs: &mut Inputs) {
        let link = self.slots[slot as usize].as_mut().expect("it is looked at");
        let Some(volume) = link.volume else { return };
        link.state = State::Open;
        let proven = link.proven(self.volumes[volume as usize]);
        inputs.push_back((volume, Input::Connected { link: link.name, proven }));
    }

    /// A peer came.
    pub(crate) fn accept(&mut self, socket: OwnedFd, now: Instant, gear: &mut Gear) {
        let strange = self.slots.iter().flatten().filter(|link| matches!(link.state, State::Strange { .. }));
        if strange.count() >= STRANGERS_MAX || self.len() >= LINKS_MAX {
            count(&gear.counters.strangers);
            return;
        }
        net::tune(&socket);
        let name = LinkId(self.odd);
        self.odd += 2;
        let until = now.after(STRANGE_PATIENCE);
        let slot = self.add(name, None, State::Strange { until });
        self.note_deadline(until);
        let link = self.slots[slot as usize].as_mut().expect("just added");
        let far_end = net::far_end(&socket);
        link.set_socket(Descriptor::new(socket), far_end);
        if let Security::Tls(credentials) = &self.security {
            link.set_session(Session::accept(credentials));
        }
        link.start_receive(gear);
    }

    /// Queues a frame. The payload's reference, which the caller took, ends when it has left or never will.
    pub(crate) fn send(
        &mut self,
        volume: u32,
        name: LinkId,
        head: Vec<u8>,
        payload: Option<Buf>,
        gear: &mut Gear,
    ) {
        match self.names.get(&(volume, name)).and_then(|slot| self.slots[*slot as usize].as_mut()) {
            Some(link) if link.state == State::Open => {
                link.send(head, payload);
                self.dirty.push(link.slot);
            }
            // It is lost already, and the machine will hear of it.
            Some(_) | None => payload.into_iter().for_each(|buf| gear.pool.release(buf)),
        }
    }

    /// The machine lets go of a connection: what has come and waits to be told is not told.
    pub(crate) fn disconnect(
        &mut self,
        volume: u32,
        name: LinkId,
        now: Instant,
        gear: &mut Gear,
        inputs: &mut Inputs,
    ) {
        inputs.retain(|(of, input)| {
            let untold = *of == volume && link_of(input) == Some(name);
            if let (true, Input::Received { payload: Some(payload), .. }) = (untold, input) {
                gear.pool.release(payload.buf);
            }
            !untold
        });
        let Some(slot) = self.names.remove(&(volume, name)) else { return };
        let link = self.slots[slot as usize].as_mut().expect("a known link is there");
        if link.state == State::Open && !link.has_sent_all() {
            let until = now.after(DRAIN_PATIENCE);
            link.state = State::Draining { until };
            link.stop_intake(gear);
            self.note_deadline(until);
            return;
        }
        link.close(gear);
        self.collect(slot, gear);
    }

    /// Sends what was given since the last time.
    pub(crate) fn flush(&mut self, gear: &mut Gear) {
        for slot in std::mem::take(&mut self.dirty) {
            if let Some(link) = self.slots[slot as usize].as_mut() {
                link.start_send(gear);
            }
        }
    }

    /// A send is over.
    pub(crate) fn on_sent(
        &mut self,
        slot: u32,
        completion: Completion<Token>,
        gear: &mut Gear,
        inputs: &mut Inputs,
    ) {
        let Some(link) = self.slots[slot as usize].as_mut() else { return };
        let stands = link.on_sent(completion, gear);
        if stands && matches!(link.state, State::Parting { .. }) && !link.is_sending() {
            // It hears why, and hangs up: a connection that is closed with bytes unread would take that away from it.
            return link.shut_write();
        }
        if !stands || (matches!(link.state, State::Draining { .. }) && link.has_sent_all()) {
            return self.lose(slot, gear, inputs);
        }
        link.start_send(gear);
    }

    /// A receive is over.
    pub(crate) fn on_received(
        &mut self,
        slot: u32,
        completion: Completion<Token>,
        gear: &mut Gear,
        inputs: &mut Inputs,
    ) {
        let Some(link) = self.slots[slot as usize].as_mut() else { return };
        let (stands, first) = link.on_received(completion, gear);
        if matches!(link.state, State::Closed | State::Draining { .. }) {
            // Nobody wants to know any more.
            if let Some((_, Some(payload))) = first {
                gear.pool.release(payload.buf);
            }
            return self.collect(slot, gear);
        }
        if !stands {
            if matches!(link.state, State::Proving { .. }) {
                return self.refuse(slot, refusal::ENDED_EARLY.to_owned(), gear, inputs);
            }
            return self.lose(slot, gear, inputs);
        }
        if matches!(link.state, State::Parting { .. }) {
            return link.discard(gear);
        }
        if let Some((frame, payload)) = first
            && !self.pass_on(slot, frame, payload, gear, inputs)
        {
            return;
        }
        self.look(slot, gear, inputs);
    }

    /// The pool has room now for the payload that a link waits for.
    pub(crate) fn on_granted(&mut self, slot: u32, buf: Buf, gear: &mut Gear, inputs: &mut Inputs) {
        let link = self.slots[slot as usize].as_mut().expect("who waits is forgotten before it goes");
        link.on_granted(buf);
        self.look(slot, gear, inputs);
    }

    fn look(&mut self, slot: u32, gear: &mut Gear, inputs: &mut Inputs) {
        loop {
            let link = self.slots[slot as usize].as_mut().expect("it is looked at");
            let came = link.look(gear);
            if link.is_secure() && matches!(came, Came::Nothing | Came::Proven | Came::Frame(..)) {
                // What proving takes; or the answer to a change of keys.
                link.start_send(gear);
            }
            match came {
                Came::Nothing => return,
                Came::Proven => self.on_proven(slot, inputs),
                Came::Ended => return self.lose(slot, gear, inputs),
                Came::Refused(why) => return self.refuse(slot, why, gear, inputs),
                Came::Malformed(violation) if speaks_tls(violation) && !link.is_secure() => {
                    return self.refuse_tls(slot, gear, inputs);
                }
                Came::Frame(frame, payload) => {
                    if !self.pass_on(slot, frame, payload, gear, inputs) {
                        return;
                    }
                }
                Came::Malformed(violation) => {
                    count(&gear.counters.framing_violations);
                    if let Some(volume) = link.volume {
                        self.violations.push((volume, violation));
                    }
                    return self.lose(slot, gear, inputs);
                }
            }
        }
    }

    /// Gives a frame to the machine of its volume. Whether the link is still there.
    fn pass_on(
        &mut self,
        slot: u32,
        frame: Frame,
        payload: Option<Payload>,
        gear: &mut Gear,
        inputs: &mut Inputs,
    ) -> bool {
        let link = self.slots[slot as usize].as_mut().expect("it has just received");
        let name = link.name;
        let volume = match link.volume {
            Some(volume) => volume,
            None => match self.volumes.iter().position(|volume| *volume == frame.header.volume) {
                Some(index) => {
                    let volume = u32::try_from(index).expect("few volumes");
                    link.volume = Some(volume);
                    link.state = State::Open;
                    self.names.insert((volume, name), slot);
                    let proven = link.proven(frame.header.volume);
                    inputs.push_back((volume, Input::Accepted { link: name, proven }));
                    volume
                }
                None => {
                    count(&gear.counters.strangers);
                    if let Some(payload) = payload {
                        gear.pool.release(payload.buf);
                    }
                    self.lose(slot, gear, inputs);
                    return false;
                }
            },
        };
        inputs.push_back((volume, Input::Received { link: name, frame, payload }));
        true
    }

    /// Closes those whose time is over.
    pub(crate) fn expire(&mut self, now: Instant, gear: &mut Gear, inputs: &mut Inputs) {
        if self.deadline.is_none_or(|deadline| now < deadline) {
            return;
        }
        self.deadline = None;
        for slot in 0..u32::try_from(self.slots.len()).expect("slots are 32-bit") {
            let Some(link) = &self.slots[slot as usize] else { continue };
            match link.state {
                State::Proving { until } if until <= now => {
                    self.refuse(slot, refusal::TOOK_TOO_LONG.to_owned(), gear, inputs);
                }
                State::Strange { until } | State::Draining { until } | State::Parting { until }
                    if until <= now =>
                {
                    self.lose(slot, gear, inputs);
                }
                State::Proving { until }
                | State::Strange { until }
                | State::Draining { until }
                | State::Parting { until } => self.note_deadline(until),
                State::Resolving | State::Connecting { .. } | State::Open | State::Closed => {}
            }
        }
    }

    /// When to call [`Links::expire`].
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    fn note_deadline(&mut self, until: Instant) {
        self.deadline = Some(self.deadline.map_or(until, |deadline| deadline.min(until)));
    }

    fn add(&mut self, name: LinkId, volume: Option<u32>, state: State) -> u32 {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 links")
        });
        self.slots[slot as usize] = Some(Link::new(slot, name, volume, state));
        slot
    }

    /// TLS came to nothing: says why, to our people and as far as may be to the peer.
    fn refuse(&mut self, slot: u32, why: String, gear: &mut Gear, inputs: &mut Inputs) {
        count(&gear.counters.peers_refused);
        let link = self.slots[slot as usize].as_mut().expect("a link is refused once");
        self.refusals.push((link.volume.unwrap_or(0), format!("{}: {why}", link.far_end())));
        self.forget(slot, gear, inputs);
        let until = clock::now().after(PARTING_PATIENCE);
        let link = self.slots[slot as usize].as_mut().expect("it is forgotten by the machine alone");
        if link.part(until, gear) {
            self.note_deadline(until);
            return;
        }
        link.close(gear);
        self.collect(slot, gear);
    }

    /// The peer speaks TLS and we do not: it hears a frame, by which it knows that.
    fn refuse_tls(&mut self, slot: u32, gear: &mut Gear, inputs: &mut Inputs) {
        let link = self.slots[slot as usize].as_mut().expect("it is looked at");
        let why = codec::encode(&Farewell { why: Parting::Violated });
        let head = encode(Kind::Farewell, VolumeId([0; 16]), Epoch::ZERO, SessionId::NONE, &why, 0);
        link.tell(head, gear);
        self.refuse(slot, refusal::SPEAKS_TLS.to_owned(), gear, inputs);
    }

    /// A connection is gone: tells the machine, unless that has let go of it.
    fn lose(&mut self, slot: u32, gear: &mut Gear, inputs: &mut Inputs) {
        self.forget(slot, gear, inputs);
        let link = self.slots[slot as usize].as_mut().expect("a link is lost once");
        link.close(gear);
        self.collect(slot, gear);
    }

    /// The machine hears once that a connection is gone, unless it has let go of it.
    fn forget(&mut self, slot: u32, gear: &Gear, inputs: &mut Inputs) {
        let link = self.slots[slot as usize].as_mut().expect("a link is lost once");
        if let Some(volume) = link.volume
            && self.names.get(&(volume, link.name)) == Some(&slot)
        {
            self.names.remove(&(volume, link.name));
            count(&gear.counters.links_lost);
            inputs.push_back((volume, Input::Lost { link: link.name }));
        }
    }

    /// Frees the place of a link that is closed and has nothing in flight.
    fn collect(&mut self, slot: u32, gear: &mut Gear) {
        if let Some(link) =
            self.slots[slot as usize].take_if(|link| link.state == State::Closed && link.is_idle())
        {
            link.dissolve(gear);
            self.free.push(slot);
        }
        set(&gear.counters.links, self.len() as u64);
    }
}

/// Whether what came instead of a frame begins as TLS does: a handshake or an alert, of any version (RFC 8446, 5.1).
fn speaks_tls(violation: Violation) -> bool {
    match violation {
        Violation::BadMagic { found } => matches!(found.to_le_bytes(), [21 | 22, 3, ..]),
        _ => false,
    }
}
