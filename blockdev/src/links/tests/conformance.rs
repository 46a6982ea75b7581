//! The contract of every transport between replicas, on TCP and on TLS, with real rings and sockets.

use std::collections::BTreeMap;

use seawall_sender::conformance::{self, End, Heard, PAIRS, cases, fill, number, play};

use super::mint::Ca;
use super::site::Site;
use super::*;

/// Frames of 256 KiB that are more than what kernels keep of one connection.
const PLENTY: u32 = 96;

/// A near node, and a far one for each pair.
struct Room {
    /// The near node first.
    sites: Vec<Site>,
    /// The present connection of each pair, by its two ends.
    names: [[Option<LinkId>; 2]; PAIRS],
    heard: BTreeMap<(usize, LinkId), Vec<Heard>>,
    held: [bool; PAIRS],
    dialled: u64,
}

impl Room {
    fn new(security: impl Fn(u64) -> Security) -> Room {
        Room {
            sites: (0..=PAIRS as u64).map(|site| Site::new(security(site))).collect(),
            names: [[None; 2]; PAIRS],
            heard: BTreeMap::new(),
            held: [false; PAIRS],
            dialled: 0,
        }
    }

    fn site(pair: usize, end: End) -> usize {
        match end {
            End::Near => 0,
            End::Far => pair + 1,
        }
    }

    /// Notes what a site has heard.
    fn hear(&mut self, site: usize) {
        while let Some((_, input)) = self.sites[site].inputs.pop_front() {
            let (link, heard) = match input {
                Input::Accepted { link, .. } => {
                    self.names[site - 1][End::Far as usize] = Some(link);
                    continue;
                }
                Input::Connected { link, .. } => (link, Heard::Open),
                Input::Lost { link } => (link, Heard::End),
                Input::Received { link, frame, payload } => {
                    let number = number(&frame.meta).expect("the meta part is as it was sent");
                    let mut blocks = 0;
                    if let Some(payload) = payload {
                        let pool = &mut self.sites[site].gear.pool;
                        blocks = payload.buf.blocks;
                        let intact = |bytes: &[u8]| bytes.iter().all(|byte| *byte == fill(number));
                        assert!(pool.arena().look(pool.span(payload.buf), intact), "frame {number} changed");
                        pool.release(payload.buf);
                    }
                    (link, Heard::Frame { number, blocks })
                }
                other => panic!("links tell of links, not {other:?}"),
            };
            self.heard.entry((site, link)).or_default().push(heard);
        }
    }
}

impl conformance::Rig for Room {
    fn dial(&mut self, pair: usize, nobody: bool) {
        self.dialled += 1;
        let name = LinkId(self.dialled * 2);
        let address = if nobody {
            TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
        } else {
            self.sites[pair + 1].address.clone()
        };
        self.names[pair] = [Some(name), None];
        let Site { gear, links, inputs, .. } = &mut self.sites[0];
        assert!(!links.connect(0, name, &address, gear, inputs));
    }

    fn send(&mut self, pair: usize, from: End, head: Vec<u8>, number: u32, blocks: u32) {
        let name = self.names[pair][from as usize].expect("who sends was connected");
        self.sites[Room::site(pair, from)].send(name, head, fill(number), blocks);
    }

    fn close(&mut self, pair: usize, end: End) {
        let name = self.names[pair][end as usize].expect("who closes was connected");
        self.sites[Room::site(pair, end)].disconnect(name);
    }

    fn stop(&mut self, pair: usize, end: End) {
        let name = self.names[pair][end as usize].expect("who stops was connected");
        let links = &mut self.sites[Room::site(pair, end)].links;
        let slot = links.names[&(0, name)];
        links.slots[slot as usize].as_mut().unwrap().shut_write();
    }

    fn hold(&mut self, pair: usize, held: bool) {
        self.held[pair] = held;
    }

    fn turn(&mut self) -> bool {
        for site in 0..self.sites.len() {
            if site == 0 || !self.held[site - 1] {
                self.sites[site].turn();
                self.hear(site);
            }
        }
        true
    }

    fn heard(&mut self, pair: usize, end: End) -> Vec<Heard> {
        let site = Room::site(pair, end);
        self.hear(site);
        let name = self.names[pair][end as usize];
        name.and_then(|name| self.heard.remove(&(site, name))).unwrap_or_default()
    }

    fn waiting_bytes(&mut self, pair: usize, end: End) -> u64 {
        let name = self.names[pair][end as usize].expect("who sends was connected");
        let links = &self.sites[Room::site(pair, end)].links;
        links.slots[links.names[&(0, name)] as usize].as_ref().unwrap().waiting_bytes()
    }

    fn way_bytes_max(&self) -> u64 {
        // What the kernel keeps at both ends at the most, twice for its own bookkeeping, and one send.
        let most = |file: &str| -> u64 {
            let text = std::fs::read_to_string(format!("/proc/sys/net/ipv4/{file}")).unwrap();
            text.split_whitespace().last().unwrap().parse().unwrap()
        };
        most("tcp_wmem") + most("tcp_rmem") + (1 << 20)
    }

    fn is_home(&self) -> bool {
        self.sites.iter().all(|site| site.gear.pool.allocations() == 0 && site.links.len() == 0)
    }
}

#[test]
fn plaintext_keeps_the_contract_of_every_transport() {
    for case in cases(PLENTY) {
        play(&case, &mut Room::new(|_| Security::Plaintext));
    }
}

#[test]
fn tls_keeps_the_contract_of_every_transport() {
    let ca = Ca::new("the only one");
    for case in cases(PLENTY) {
        println!("{}", case.name);
        play(&case, &mut Room::new(|site| ca.security(VOLUME, site + 1)));
    }
}
