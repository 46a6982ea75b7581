//! A node's links with everything real: a ring, a pool, a listener that others call.

use super::*;
use crate::net::{Address, Listener};
use crate::ring::op::Outcome;

/// One node.
pub(super) struct Site {
    pub(super) gear: Gear,
    pub(super) links: Links,
    pub(super) inputs: Inputs,
    pub(super) address: String,
    listener: Listener,
}

impl Site {
    pub(super) fn new(security: Security) -> Site {
        let ring = RingSettings { entries: 16, fixed_buffers: false };
        let pool = PoolSettings { blocks: 16 << 10, core_blocks: 8 << 10 };
        let mut gear = Gear::new(ring, pool, Arc::new(Counters::default())).unwrap();
        let anywhere = Address::Tcp(String::from("127.0.0.1:0"));
        let listener = Listener::open_within(&anywhere, Duration::ZERO).unwrap();
        let socket = Rc::clone(&listener.socket);
        gear.ring.push(Token::PeerAccept { listener: 0 }, Op::Accept { socket });
        let address = listener.address.to_string();
        Site { gear, links: Links::new(vec![VOLUME], security), inputs: Inputs::new(), address, listener }
    }

    /// Does what can be done now, and waits a moment if that is nothing.
    pub(super) fn turn(&mut self) {
        let Site { gear, links, inputs, listener, .. } = self;
        links.flush(gear);
        gear.ring.turn(Some(Duration::from_millis(1))).unwrap();
        while let Some(completion) = gear.ring.take() {
            match completion.token {
                Token::LinkConnect { link } => links.on_connected(link, completion, gear, inputs),
                Token::LinkReceive { link } => links.on_received(link, completion, gear, inputs),
                Token::LinkSend { link } => links.on_sent(link, completion, gear, inputs),
                Token::PeerAccept { .. } => {
                    let Ok(Outcome::Accepted(socket)) = completion.outcome else { panic!("it listens") };
                    links.accept(socket, clock::now(), gear);
                    let socket = Rc::clone(&listener.socket);
                    gear.ring.push(Token::PeerAccept { listener: 0 }, Op::Accept { socket });
                }
                other => panic!("only links are at work, not {other:?}"),
            }
        }
        while let Some((waiter, bufs)) = gear.pool.granted() {
            let Waiter::Link { link } = waiter else { panic!("only links wait") };
            links.on_granted(link, bufs[0], gear, inputs);
        }
        links.expire(clock::now(), gear, inputs);
    }

    pub(super) fn send(&mut self, name: LinkId, head: Vec<u8>, fill: u8, blocks: u32) {
        let payload = (blocks > 0).then(|| {
            let buf = self.gear.pool.alloc(Purpose::Core, &[blocks]).expect("the pool is large")[0];
            self.gear.pool.arena().change(self.gear.pool.span(buf), |bytes| bytes.fill(fill));
            buf
        });
        self.links.send(0, name, head, payload, &mut self.gear);
    }

    pub(super) fn disconnect(&mut self, name: LinkId) {
        self.links.disconnect(0, name, clock::now(), &mut self.gear, &mut self.inputs);
    }

    /// Why connections came to nothing, so far.
    pub(super) fn refusals(&self) -> Vec<&str> {
        self.links.refusals.iter().map(|(_, why)| why.as_str()).collect()
    }
}
