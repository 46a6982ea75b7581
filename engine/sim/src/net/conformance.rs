//! The simulated network keeps the contract of every transport between replicas.

use seawall_sender::conformance::{self, End, Heard as Told, PAIRS, cases, fill, number, play};

use super::*;
use crate::driver::read;
use crate::prng::Stream;

/// Bytes of a connection on their way at the most.
const BOUND: u64 = 1 << 20;
/// Frames of 256 KiB that are more than that.
const PLENTY: u32 = 16;
/// Where nobody is.
const NOBODY: usize = PAIRS + 1;

/// Node 0 is near to all; each pair has a far one.
struct Room {
    net: Net,
    now: Moment,
    agenda: Vec<(Moment, NetEvent)>,
    hosts: Vec<Host>,
    pools: Vec<Pool>,
    names: [[Option<LinkId>; 2]; PAIRS],
    told: BTreeMap<(usize, LinkId), Vec<Told>>,
    links: u64,
}

impl Room {
    fn new(seed: u64) -> Room {
        let profile =
            NetProfile { delay_min: 1000, delay_max: 200_000, spikes: 1000, bandwidth: 0, bound: BOUND };
        let stream = |stream| Prng::new(seed, stream);
        let up = Host { powered: true, life: Some(1), paused: false };
        let mut hosts = vec![up; NOBODY + 1];
        hosts[NOBODY].life = None;
        Room {
            net: Net::new(
                NOBODY + 1,
                profile,
                stream(Stream::Net),
                stream(Stream::Reset),
                stream(Stream::Wire),
            ),
            now: Moment(0),
            agenda: Vec::new(),
            hosts,
            pools: (0..=NOBODY).map(|_| Pool::default()).collect(),
            names: [[None; 2]; PAIRS],
            told: BTreeMap::new(),
            links: 0,
        }
    }

    fn node(pair: usize, end: End) -> usize {
        match end {
            End::Near => 0,
            End::Far => pair + 1,
        }
    }

    fn tell(&mut self, node: usize, link: LinkId, told: Told) {
        self.told.entry((node, link)).or_default().push(told);
    }

    fn release(&mut self, node: usize, unsent: Vec<Buf>) {
        unsent.into_iter().for_each(|buf| self.pools[node].release(buf));
    }

    /// What a driver does with what its node hears.
    fn on_heard(&mut self, node: usize, heard: Heard) {
        match heard {
            Heard::Accepted(id) => {
                self.links += 1;
                let link = LinkId(self.links * 2 + 1);
                self.net.on_accepted(id, link);
                self.names[node - 1][End::Far as usize] = Some(link);
            }
            Heard::Connected(link) => self.tell(node, link, Told::Open),
            Heard::Lost(link, unsent) => {
                self.release(node, unsent);
                self.tell(node, link, Told::End);
            }
            Heard::Frame(link, bytes) => match read(&bytes) {
                Ok((frame, payload)) => {
                    let number = number(&frame.meta).expect("the meta part is as it was sent");
                    assert!(payload.iter().all(|byte| *byte == fill(number)), "frame {number} changed");
                    let blocks = u32::try_from(payload.len() / BLOCK).expect("few");
                    self.tell(node, link, Told::Frame { number, blocks });
                }
                Err(_) => {
                    let unsent = self.net.on_disconnect(self.now, node, link);
                    self.release(node, unsent);
                    self.tell(node, link, Told::End);
                }
            },
            Heard::Flipped(..) => panic!("nothing is flipped here"),
        }
    }
}

impl conformance::Rig for Room {
    fn dial(&mut self, pair: usize, nobody: bool) {
        self.links += 1;
        let link = LinkId(self.links * 2);
        self.names[pair] = [Some(link), None];
        let to = if nobody { NOBODY } else { pair + 1 };
        self.net.on_connect(self.now, (0, 1), link, Some(to), false);
    }

    fn send(&mut self, pair: usize, from: End, head: Vec<u8>, number: u32, blocks: u32) {
        let node = Room::node(pair, from);
        let link = self.names[pair][from as usize].expect("who sends was connected");
        let payload = (blocks > 0).then(|| {
            let buf = self.pools[node].take(blocks);
            self.pools[node].bytes_mut(buf).fill(fill(number));
            buf
        });
        if !self.net.on_send(self.now, node, link, head, payload) {
            self.release(node, payload.into_iter().collect());
        }
    }

    fn close(&mut self, pair: usize, end: End) {
        let node = Room::node(pair, end);
        let link = self.names[pair][end as usize].expect("who closes was connected");
        let unsent = self.net.on_disconnect(self.now, node, link);
        self.release(node, unsent);
    }

    fn stop(&mut self, pair: usize, end: End) {
        let link = self.names[pair][end as usize].expect("who stops was connected");
        let (id, side) = self.net.links[&(Room::node(pair, end), link)];
        self.net.close_lane(self.now, id, side);
    }

    fn hold(&mut self, pair: usize, held: bool) {
        self.hosts[pair + 1].paused = held;
        if !held {
            self.net.on_resumed(self.now, pair + 1);
        }
    }

    fn turn(&mut self) -> bool {
        self.agenda.extend(self.net.agenda());
        self.agenda.sort_by_key(|(at, _)| core::cmp::Reverse(*at));
        let Some((at, event)) = self.agenda.pop() else { return false };
        self.now = self.now.max(at);
        let heard = match event {
            NetEvent::Leave(id, side) => {
                if let Some(node) = self.net.sender(id, side) {
                    let sent = self.net.on_leave(at, id, side, &self.pools[node]);
                    self.release(node, sent.into_iter().collect());
                }
                None
            }
            NetEvent::Arrive(id, side) => self.net.on_arrive(at, id, side, &self.hosts),
            NetEvent::GiveUp(id) => self.net.on_give_up(at, id, &self.hosts),
        };
        if let Some((node, heard)) = heard {
            self.on_heard(node, heard);
        }
        true
    }

    fn heard(&mut self, pair: usize, end: End) -> Vec<Told> {
        let name = self.names[pair][end as usize];
        name.and_then(|name| self.told.remove(&(Room::node(pair, end), name))).unwrap_or_default()
    }

    fn waiting_bytes(&mut self, pair: usize, end: End) -> u64 {
        let link = self.names[pair][end as usize].expect("who sends was connected");
        let (id, side) = self.net.links[&(Room::node(pair, end), link)];
        let leaving = &self.net.conns[&id].lanes[side as usize].leaving;
        let bytes = |(head, payload): &(Vec<u8>, Option<Buf>)| {
            head.len() as u64 + payload.map_or(0, |buf| u64::from(buf.blocks) * BLOCK as u64)
        };
        leaving.iter().map(bytes).sum()
    }

    fn way_bytes_max(&self) -> u64 {
        BOUND
    }

    fn is_home(&self) -> bool {
        self.pools.iter().all(|pool| pool.held() == 0) && self.net.open_connections() == 0
    }
}

#[test]
fn the_simulated_network_keeps_the_contract_of_every_transport() {
    for seed in 0..20 {
        for case in cases(PLENTY) {
            println!("seed {seed}: {}", case.name);
            play(&case, &mut Room::new(seed));
        }
    }
}
