//! The network between nodes: connections that carry whole frames, byte for byte, each direction in order.
//!
//! As with TCP, nothing within a connection is doubled or reordered, but connections overtake each other, break
//! with a tail of what was sent, stay half open when one end loses its power, and hold back what was sent into a
//! cut direction until it is whole again, however late that is. So what is doubled and reordered is what was said
//! on several connections: an old one that delivers after the one that replaced it. There is no middlebox that takes
//! the end of a connection and says it again on a new one: who could do that would have to speak for its sender from
//! the first word of a connection on, and what TCP carries has no such listener.
//!
//! A TCP checksum of 16 bits lets through what a broken switch or driver makes of a segment: bits may flip on the way.
//!
//! A line between two nodes may be narrow, each direction by itself: what is sent waits its turn. And so many bytes of a
//! connection at most are on their way: what does not fit waits at its sender, with its buffers.

mod conn;

use std::collections::{BTreeMap, BTreeSet};

use seawall_engine::io::{Buf, LinkId};

use crate::clock::{MILLIS, Moment, SECOND};
use crate::net::conn::{Conn, End, Item, Lane, rearm};
pub(crate) use crate::net::conn::{ConnId, Heard, Host, NetEvent, Side};
use crate::pool::{BLOCK, Pool};
use crate::prng::Prng;
use crate::profile::NetProfile;

/// All connections.
#[derive(Debug)]
pub(crate) struct Net {
    profile: NetProfile,
    delays: Prng,
    resets: Prng,
    conns: BTreeMap<ConnId, Conn>,
    links: BTreeMap<(usize, LinkId), (ConnId, Side)>,
    next: u64,
    cut: Vec<Vec<bool>>,
    /// Until when each direction is busy with what was sent before.
    busy: Vec<Vec<Moment>>,
    /// Directions whose next frame arrives with bits flipped.
    flips: BTreeSet<(usize, usize)>,
    flipper: Prng,
    agenda: Vec<(Moment, NetEvent)>,
    /// Frames that were lost with a connection.
    pub(crate) tail_frames_lost: u64,
    /// Things that were held back by a cut direction.
    pub(crate) held_back: u64,
    /// Ends that nobody told that the other one is gone.
    pub(crate) half_open: u64,
    /// Frames that waited for others on a narrow line.
    pub(crate) queued: u64,
    /// Frames that waited at their sender since too much was on its way.
    pub(crate) bounded: u64,
}

impl Net {
    /// No connections between that many nodes.
    pub(crate) fn new(nodes: usize, profile: NetProfile, delays: Prng, resets: Prng, flipper: Prng) -> Net {
        Net {
            profile,
            delays,
            resets,
            conns: BTreeMap::new(),
            links: BTreeMap::new(),
            next: 0,
            cut: vec![vec![false; nodes]; nodes],
            busy: vec![vec![Moment(0); nodes]; nodes],
            flips: BTreeSet::new(),
            flipper,
            agenda: Vec::new(),
            tail_frames_lost: 0,
            held_back: 0,
            half_open: 0,
            queued: 0,
            bounded: 0,
        }
    }

    /// What is to be scheduled since the last call.
    pub(crate) fn agenda(&mut self) -> Vec<(Moment, NetEvent)> {
        core::mem::take(&mut self.agenda)
    }

    /// A process opens a connection to whoever answers there, if anybody does; `astray`: that is not who it wants.
    pub(crate) fn on_connect(
        &mut self,
        now: Moment,
        from: (usize, u32),
        link: LinkId,
        to: Option<usize>,
        astray: bool,
    ) {
        let id = ConnId(self.next);
        self.next += 1;
        let opener = End { node: from.0, life: from.1, link: Some(link), open: true };
        let called = End { node: to.unwrap_or(from.0), life: 0, link: None, open: to.is_some() };
        let lanes = [Lane::default(), Lane::default()];
        self.conns.insert(id, Conn { ends: [opener, called], lanes, connected: false, astray });
        let named = self.links.insert((from.0, link), (id, Side::Opener));
        assert!(named.is_none(), "{link:?} names two connections");
        let patience = self.delays.between(1000, 5000) * MILLIS;
        self.agenda.push((now.plus(patience), NetEvent::GiveUp(id)));
        if to.is_some() {
            self.put(now, id, Side::Opener, Item::Syn);
        }
    }

    /// Whether a connection ended up with somebody else than it was meant for.
    pub(crate) fn is_astray(&self, node: usize, link: LinkId) -> bool {
        self.links.get(&(node, link)).is_some_and(|(id, _)| self.conns[id].astray)
    }

    /// The driver names a connection that came in.
    pub(crate) fn on_accepted(&mut self, id: ConnId, link: LinkId) {
        let conn = self.conns.get_mut(&id).expect("it was heard of right now");
        conn.ends[1].link = Some(link);
        let named = self.links.insert((conn.ends[1].node, link), (id, Side::Called));
        assert!(named.is_none(), "{link:?} names two connections");
    }

    /// A process sends a frame. `false` if the connection is gone: nothing was taken.
    pub(crate) fn on_send(
        &mut self,
        now: Moment,
        node: usize,
        link: LinkId,
        head: Vec<u8>,
        payload: Option<Buf>,
    ) -> bool {
        let Some(&(id, side)) = self.links.get(&(node, link)) else { return false };
        let conn = self.conns.get_mut(&id).expect("a named connection exists");
        let lane = &mut conn.lanes[side as usize];
        if lane.closed {
            return false;
        }
        lane.leaving.push_back((head, payload));
        let after = self.delays.between(1_000, 20_000);
        self.agenda.push((now.plus(after), NetEvent::Leave(id, side)));
        true
    }

    /// A process closes a connection. Gives the buffers that it had still to send.
    pub(crate) fn on_disconnect(&mut self, now: Moment, node: usize, link: LinkId) -> Vec<Buf> {
        match self.links.remove(&(node, link)) {
            Some((id, side)) => self.close_end(now, id, side, true),
            None => Vec::new(),
        }
    }

    /// A node's process ends; its kernel says so to its peers if it still can.
    pub(crate) fn on_crash(&mut self, now: Moment, node: usize, life: u32, told: bool) {
        let ended = |end: &End| end.node == node && end.life == life && end.open;
        let gone: Vec<(ConnId, Side)> = self
            .conns
            .iter()
            .flat_map(|(id, conn)| Side::BOTH.map(|side| (*id, side, ended(&conn.ends[side as usize]))))
            .filter_map(|(id, side, ended)| ended.then_some((id, side)))
            .collect();
        for (id, side) in gone {
            let other = &self.conns[&id].ends[side.other() as usize];
            self.half_open += u64::from(!told && other.open && other.link.is_some());
            if let Some(link) = self.conns[&id].ends[side as usize].link {
                self.links.remove(&(node, link));
            }
            self.close_end(now, id, side, told);
        }
        self.on_resumed(now, node);
    }

    /// The node at the other end of a process's connection.
    pub(crate) fn peer(&self, node: usize, link: LinkId) -> Option<usize> {
        let (id, side) = self.links.get(&(node, link))?;
        self.conns.get(id).map(|conn| conn.ends[side.other() as usize].node)
    }

    /// All connections from there to there stand still for so many nanoseconds, and newer ones overtake them.
    pub(crate) fn on_stick(&mut self, now: Moment, from: usize, to: usize, long: u64) {
        for conn in self.conns.values_mut() {
            for side in Side::BOTH {
                if (conn.ends[side as usize].node, conn.ends[side.other() as usize].node) == (from, to) {
                    let lane = &mut conn.lanes[side as usize];
                    lane.last = lane.last.max(now.plus(long));
                }
            }
        }
    }

    /// The node at that end, if the connection still is.
    pub(crate) fn sender(&self, id: ConnId, side: Side) -> Option<usize> {
        self.conns.get(&id).map(|conn| conn.ends[side as usize].node)
    }

    /// A frame leaves its sender. Gives the buffer that was sent.
    pub(crate) fn on_leave(&mut self, now: Moment, id: ConnId, side: Side, pool: &Pool) -> Option<Buf> {
        let conn = self.conns.get_mut(&id)?;
        let lane = &mut conn.lanes[side as usize];
        let bytes = lane.leaving.front().map(|(head, payload)| {
            head.len() as u64 + payload.map_or(0, |buf| u64::from(buf.blocks) * BLOCK as u64)
        })?;
        // One frame may always be on its way, however long it is.
        if self.profile.bound > 0 && lane.on_wire > 0 && lane.on_wire + bytes > self.profile.bound {
            lane.blocked += 1;
            self.bounded += 1;
            return None;
        }
        lane.on_wire += bytes;
        let (mut bytes, payload) = lane.leaving.pop_front()?;
        if let Some(buf) = payload {
            bytes.extend_from_slice(pool.bytes(buf));
        }
        self.put(now, id, side, Item::Frame(bytes));
        payload
    }

    /// Something may have arrived from that end: gives who hears what.
    pub(crate) fn on_arrive(
        &mut self,
        now: Moment,
        id: ConnId,
        side: Side,
        hosts: &[Host],
    ) -> Option<(usize, Heard)> {
        let conn = self.conns.get_mut(&id)?;
        let (from, to) = (conn.ends[side as usize].node, conn.ends[side.other() as usize].node);
        let lane = &mut conn.lanes[side as usize];
        match lane.wire.front() {
            Some((at, _)) if *at <= now => {}
            // What comes later has an event of its own.
            Some(_) | None => return None,
        }
        if self.cut[from][to] {
            self.held_back += u64::from(!lane.held);
            lane.held = true;
            return None;
        }
        let host = hosts[to];
        let end = &conn.ends[side.other() as usize];
        let alive = end.open && host.life == Some(end.life);
        if alive && host.paused {
            lane.held = true;
            return None;
        }
        let (_, item) = lane.wire.pop_front().expect("an item at the front");
        if let Item::Frame(bytes) = &item {
            lane.on_wire -= bytes.len() as u64;
            if lane.blocked > 0 {
                lane.blocked -= 1;
                self.agenda.push((now, NetEvent::Leave(id, side)));
            }
        }
        if let Some((at, _)) = lane.wire.front() {
            self.agenda.push(((*at).max(now), NetEvent::Arrive(id, side)));
        }
        let link = end.link;
        let heard = match item {
            Item::Syn => {
                self.on_syn(now, id, host);
                None
            }
            Item::Accept if alive => Some(Heard::Accepted(id)),
            Item::SynAck if alive => {
                conn.connected = true;
                link.map(Heard::Connected)
            }
            Item::Frame(mut bytes) if alive && self.flips.remove(&(from, to)) => {
                flip(&mut bytes, &mut self.flipper);
                link.map(|link| Heard::Flipped(link, bytes))
            }
            Item::Frame(bytes) if alive => link.map(|link| Heard::Frame(link, bytes)),
            Item::Close if alive => {
                let unsent = self.forget_end(id, side.other());
                link.map(|link| Heard::Lost(link, unsent))
            }
            Item::Accept | Item::SynAck | Item::Frame(_) => {
                // Nobody is there any more: the kernel, if there is one, resets the connection.
                if host.powered {
                    self.close_lane(now, id, side.other());
                }
                None
            }
            Item::Close => None,
        };
        self.sweep(id);
        heard.map(|heard| (to, heard))
    }

    /// A host is called: its kernel answers before its process knows.
    fn on_syn(&mut self, now: Moment, id: ConnId, host: Host) {
        let conn = self.conns.get_mut(&id).expect("a connection that is opened");
        match (host.powered, host.life) {
            (true, Some(life)) => {
                conn.ends[1].life = life;
                let at = now.plus(self.delays.between(0, 200_000));
                conn.lanes[0].wire.push_front((at, Item::Accept));
                self.agenda.push((at, NetEvent::Arrive(id, Side::Opener)));
                self.put(now, id, Side::Called, Item::SynAck);
            }
            (true, None) => {
                conn.ends[1].open = false;
                self.close_lane(now, id, Side::Called);
            }
            (false, _) => conn.ends[1].open = false,
        }
    }

    /// Whoever opened the connection waits no longer, if it is not open yet.
    pub(crate) fn on_give_up(&mut self, now: Moment, id: ConnId, hosts: &[Host]) -> Option<(usize, Heard)> {
        let conn = self.conns.get(&id)?;
        let end = &conn.ends[0];
        if conn.connected || !end.open || hosts[end.node].life != Some(end.life) {
            return None;
        }
        if hosts[end.node].paused {
            self.agenda.push((now.plus(100 * MILLIS), NetEvent::GiveUp(id)));
            return None;
        }
        let (node, link) = (end.node, end.link?);
        self.links.remove(&(node, link));
        let unsent = self.close_end(now, id, Side::Opener, true);
        Some((node, Heard::Lost(link, unsent)))
    }

    /// The next frame in that direction arrives with bits flipped.
    pub(crate) fn flip_next(&mut self, from: usize, to: usize) {
        self.flips.insert((from, to));
    }

    /// Nothing is flipped any more.
    pub(crate) fn flip_nothing(&mut self) {
        self.flips.clear();
    }

    /// A node's connections break, all of them. Gives the buffers that were still to be sent, by node.
    pub(crate) fn on_moved(&mut self, now: Moment, node: usize) -> Vec<(usize, Buf)> {
        let touches = |conn: &Conn| conn.connected && conn.ends.iter().any(|end| end.node == node);
        let ids: Vec<ConnId> =
            self.conns.iter().filter(|(_, conn)| touches(conn)).map(|(id, _)| *id).collect();
        ids.into_iter().flat_map(|id| self.sever(now, id)).collect()
    }

    /// How many connections are open.
    pub(crate) fn open_connections(&self) -> usize {
        self.conns.values().filter(|conn| conn.connected).count()
    }

    /// Break the `nth` open connection, counted round. Gives the buffers that were still to be sent, by node.
    pub(crate) fn on_reset(&mut self, now: Moment, nth: u32) -> Vec<(usize, Buf)> {
        let ids: Vec<ConnId> =
            self.conns.iter().filter(|(_, conn)| conn.connected).map(|(id, _)| *id).collect();
        ids.get(nth as usize % ids.len().max(1)).map(|id| self.sever(now, *id)).unwrap_or_default()
    }

    fn sever(&mut self, now: Moment, id: ConnId) -> Vec<(usize, Buf)> {
        let mut unsent = Vec::new();
        for side in Side::BOTH {
            let conn = self.conns.get_mut(&id).expect("one of them");
            let node = conn.ends[side as usize].node;
            unsent.extend(conn.lanes[side as usize].take_unsent().into_iter().map(|buf| (node, buf)));
            if !conn.lanes[side as usize].closed {
                self.truncate(id, side);
                self.close_lane(now, id, side);
            }
        }
        unsent
    }

    /// A connection stands still in one direction for so many nanoseconds, and others overtake it.
    pub(crate) fn on_stuck(&mut self, now: Moment, node: usize, link: LinkId, long: u64) {
        let Some(&(id, side)) = self.links.get(&(node, link)) else { return };
        let conn = self.conns.get_mut(&id).expect("a named connection exists");
        let lane = &mut conn.lanes[side as usize];
        lane.last = lane.last.max(now.plus(long));
    }

    /// Cut a direction, or make it whole again.
    pub(crate) fn set_cut(&mut self, now: Moment, from: usize, to: usize, cut: bool) {
        self.cut[from][to] = cut;
        if !cut {
            let delays = &mut self.delays;
            // What was held back is retransmitted some time later.
            rearm(
                &mut self.conns,
                &mut self.agenda,
                |ends| ends == (from, to),
                || now.plus(delays.between(1, 400) * MILLIS),
            );
        }
    }

    /// A process runs again: it hears what came meanwhile.
    pub(crate) fn on_resumed(&mut self, now: Moment, node: usize) {
        rearm(&mut self.conns, &mut self.agenda, |(_, to)| to == node, || now);
    }

    fn put(&mut self, now: Moment, id: ConnId, side: Side, item: Item) {
        let conn = self.conns.get_mut(&id).expect("a connection that something is put on");
        let lane = &mut conn.lanes[side as usize];
        if lane.closed {
            return;
        }
        let bytes = if let Item::Frame(bytes) = &item { bytes.len() as u64 } else { 0 };
        let mut delay = self.delays.between(self.profile.delay_min, self.profile.delay_max) + bytes;
        if self.delays.chance(self.profile.spikes) {
            delay *= 40;
        }
        if bytes > 0 && self.profile.bandwidth > 0 {
            let ends = (conn.ends[side as usize].node, conn.ends[side.other() as usize].node);
            let busy = &mut self.busy[ends.0][ends.1];
            self.queued += u64::from(*busy > now);
            *busy = now.max(*busy).plus(bytes * SECOND / self.profile.bandwidth);
            delay += busy.since(now);
        }
        lane.last = now.plus(delay).max(lane.last);
        let first = lane.wire.is_empty();
        lane.wire.push_back((lane.last, item));
        if first && !lane.held {
            self.agenda.push((lane.last, NetEvent::Arrive(id, side)));
        }
    }

    /// The last item of a direction.
    fn close_lane(&mut self, now: Moment, id: ConnId, side: Side) {
        self.put(now, id, side, Item::Close);
        self.conns.get_mut(&id).expect("a connection that is closed").lanes[side as usize].closed = true;
    }

    /// An end is closed by its own process or kernel.
    fn close_end(&mut self, now: Moment, id: ConnId, side: Side, told: bool) -> Vec<Buf> {
        let conn = self.conns.get_mut(&id).expect("a named connection exists");
        conn.ends[side as usize].open = false;
        let lane = &mut conn.lanes[side as usize];
        self.tail_frames_lost += lane.leaving.len() as u64;
        let unsent = lane.take_unsent();
        if told && !lane.closed {
            if self.resets.coin() {
                self.truncate(id, side);
            }
            self.close_lane(now, id, side);
        }
        self.sweep(id);
        unsent
    }

    /// An end heard that the connection is gone.
    fn forget_end(&mut self, id: ConnId, side: Side) -> Vec<Buf> {
        let conn = self.conns.get_mut(&id).expect("a connection that was heard of");
        let end = &mut conn.ends[side as usize];
        end.open = false;
        if let Some(link) = end.link {
            self.links.remove(&(end.node, link));
        }
        conn.lanes[side as usize].take_unsent()
    }

    /// A tail of the frames on their way is lost.
    fn truncate(&mut self, id: ConnId, side: Side) {
        let lane = &mut self.conns.get_mut(&id).expect("a connection that breaks").lanes[side as usize];
        let frames = lane.wire.iter().rev().take_while(|(_, item)| matches!(item, Item::Frame(_))).count();
        let lost = self.resets.index(frames + 1);
        lane.wire.truncate(lane.wire.len() - lost);
        self.tail_frames_lost += lost as u64;
    }

    /// Forget a connection that has no end left.
    fn sweep(&mut self, id: ConnId) {
        if self.conns.get(&id).is_some_and(|conn| conn.ends.iter().all(|end| !end.open)) {
            self.conns.remove(&id);
        }
    }
}

/// One to three bits flip: as many as a CRC32C is sure to see in what it covers of a frame. Half of the time in the
/// header or close to it.
fn flip(bytes: &mut [u8], prng: &mut Prng) {
    let near = if prng.coin() { bytes.len().min(256) } else { bytes.len() };
    let mut flipped = BTreeSet::new();
    for _ in 0..prng.between(1, 3) {
        let bit = prng.below(near as u64 * 8);
        if flipped.insert(bit) {
            bytes[usize::try_from(bit / 8).expect("within the frame")] ^= 1 << (bit % 8);
        }
    }
}

#[cfg(test)]
mod bench;
#[cfg(test)]
mod conformance;
