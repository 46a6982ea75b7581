//! The clients' hands: how a request comes to a node, and what follows it.

use seawall_engine::io::{Input, Request as Ask, RequestId};
use seawall_engine::replica::Replica;
use seawall_wal::names::Epoch;

use crate::client::Wish;
use crate::clock::MILLIS;
use crate::node::{Request, State};
use crate::oracle::Failure;
use crate::oracle::ledger::Place;
use crate::pool::BLOCK;
use crate::profile::LoadProfile;
use crate::scenario::Outcome;
use crate::sign::Sign;
use crate::stamp::{blocks, fill_sector};
use crate::tally::Fault;
use crate::world::{Connection, Event, World};

impl World {
    /// A client's hand asks for the next thing.
    pub(crate) fn on_idle(&mut self, slot: usize, asked: u64) {
        if self.hands[slot].asked != asked {
            return;
        }
        let LoadProfile { requests_max, until, .. } = self.profile.load;
        let asks = self.load && self.wishes < requests_max && self.now.0 < until;
        let hand = &mut self.hands[slot];
        if hand.busy {
            self.tally.fired(Fault::GaveUp, 1);
            self.give_up(slot, asked);
        }
        let hand = &mut self.hands[slot];
        hand.busy = asks;
        if !asks {
            return;
        }
        self.wishes += 1;
        hand.asked += 1;
        let asked = hand.asked;
        let prng = &mut self.chances.client;
        let wish = self.client.wish(prng);
        let delay = prng.between(20_000, 300_000);
        if let Some(patience) = self.profile.load.gives_up {
            self.queue.push(self.now.plus(patience), Event::Idle { slot, asked });
        }
        // Some go elsewhere although they are served well.
        let strays = prng.chance(5_000);
        let elsewhere = prng.index(self.nodes.len());
        let node = if strays { elsewhere } else { hand.guess };
        self.queue.push(self.now.plus(delay), Event::Request { node, slot, asked, wish });
    }

    /// A client closes the connection over which it waits for an answer.
    fn give_up(&mut self, slot: usize, asked: u64) {
        self.hands[slot].connection = None;
        let waits = |request: &&Request| request.slot == slot && request.asked == asked;
        let request = self.nodes.iter().flat_map(|node| node.requests.values()).find(waits).copied();
        if let Some(stamp) = request.and_then(|request| request.wish.stamp()) {
            self.hands[slot].doubts.push(stamp);
        }
    }

    /// The connection over which a hand asks a node. A new one is let in when nothing of an old one is under way.
    /// A story has one client, which comes anew where it did not write last.
    fn connection(&mut self, node: usize, slot: usize, writes: bool) -> Option<Connection> {
        let told = writes && self.is_named(slot);
        let here = &self.nodes[node];
        let same = |known: &Connection| known.node == node && known.life == here.life;
        let of = if told { self.told } else { self.hands[slot].connection };
        if let Some(known) = of.filter(same) {
            return Some(known);
        }
        if here.requests.values().any(|request| request.slot == slot) {
            return None;
        }
        let knows = here.replica.as_ref().map(Replica::attachment).unwrap_or_default();
        let connection = Connection { node, life: here.life, knows };
        if told {
            self.told = Some(connection);
        } else {
            self.hands[slot].connection = Some(connection);
        }
        Some(connection)
    }

    /// A client's hand is free again.
    pub(crate) fn free(&mut self, slot: usize, asked: u64, after: u64) {
        if !self.is_named(slot) && self.hands[slot].asked == asked {
            self.hands[slot].busy = false;
            let think = self.chances.client.below(self.profile.load.think_max);
            self.queue.push(self.now.plus(after + think), Event::Idle { slot, asked });
        }
    }

    /// A request arrives at a node.
    pub(crate) fn on_request(
        &mut self,
        node: usize,
        slot: usize,
        asked: u64,
        wish: Wish,
    ) -> Result<(), Failure> {
        if self.hands[slot].asked != asked {
            // The client did not wait to be let in.
            return Ok(());
        }
        if let State::Down { .. } = self.nodes[node].state {
            self.tally.refused += 1;
            self.sign(node, Sign::Refused);
            self.on_named(slot, Outcome::Refused("nobody".to_owned()));
            self.hands[slot].guess = self.chances.client.index(self.nodes.len());
            self.free(slot, asked, 20 * MILLIS);
            return Ok(());
        }
        let Some(Connection { knows, .. }) = self.connection(node, slot, wish.stamp().is_some()) else {
            self.queue.push(self.now.plus(5 * MILLIS), Event::Request { node, slot, asked, wish });
            return Ok(());
        };
        self.requests += 1;
        let id = RequestId(self.requests);
        let pool = &mut self.nodes[node].pool;
        let mut buf = None;
        let ask = match wish {
            Wish::Read(extent) => {
                let into = pool.take(extent.blocks);
                buf = Some(into);
                self.oracle.ledger.on_read_began(self.turn);
                Ask::Read { extent, buf: into }
            }
            Wish::Write { stamp, place, fua } => {
                self.oracle.ledger.on_write_began(stamp, place, false, self.turn);
                match place {
                    Place::Blocks(extent) => {
                        let payload = pool.filled(&blocks(stamp, extent.start, extent.blocks));
                        Ask::Write { extent, payload, fua }
                    }
                    Place::Sectors { block, first, count } => {
                        let part = pool.take(1);
                        let bytes = pool.bytes_mut(part);
                        for sector in usize::from(first)..usize::from(first + count) {
                            fill_sector(stamp, block, sector, &mut bytes[sector * 512..(sector + 1) * 512]);
                        }
                        assert_eq!(bytes.len(), BLOCK, "one block");
                        Ask::WritePart { block, first_sector: first, sectors: count, buf: part, fua }
                    }
                }
            }
            Wish::Zero { stamp, extent, trim, fua } => {
                self.oracle.ledger.on_write_began(stamp, Place::Blocks(extent), true, self.turn);
                if trim { Ask::Trim { extent, fua } } else { Ask::WriteZeroes { extent, fua } }
            }
            Wish::Flush => Ask::Flush,
        };
        self.transcript.line(self.now, &node, || format!("request {} {wish:?}", id.0));
        let here = &mut self.nodes[node];
        let epoch = here.replica.as_ref().map_or(Epoch::ZERO, |replica| replica.role().1);
        let request = Request { slot, asked, wish, began: self.turn, since: self.now, buf, epoch };
        here.requests.insert(id, request);
        self.hear(node, Input::Request { id, knows, request: ask })
    }
}
