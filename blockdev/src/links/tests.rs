//! Links against plain sockets on the other side, and against each other.

mod conformance;
mod mint;
mod site;
mod tls;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use seawall_engine::io::{Buf, Input, LinkId};
use seawall_sender::frame::{Kind, encode};
use seawall_sender::session_id::SessionId;
use seawall_wal::names::{Epoch, VolumeId};

use super::*;
use crate::checksum::crc32c;
use crate::clock;
use crate::counters::Counters;
use crate::frames::{Intake, Next};
use crate::gear::Waiter;
use crate::pool::{PoolSettings, Purpose};
use crate::ring::RingSettings;

const VOLUME: VolumeId = VolumeId([4; 16]);

struct Bench {
    gear: Gear,
    links: Links,
    inputs: Inputs,
}

fn frame(meta: &[u8], payload: &[u8]) -> Vec<u8> {
    let session = SessionId { boot: 1, count: 2 };
    encode(Kind::Append, VOLUME, Epoch::ZERO, session, meta, u32::try_from(payload.len()).unwrap())
}

impl Bench {
    fn new(blocks: u32) -> Bench {
        let ring = RingSettings { entries: 4, fixed_buffers: false };
        let pool = PoolSettings { blocks, core_blocks: blocks / 2 };
        let gear = Gear::new(ring, pool, Arc::new(Counters::default())).unwrap();
        Bench { gear, links: Links::new(vec![VOLUME], Security::Plaintext), inputs: Inputs::new() }
    }

    fn turn(&mut self) {
        let Bench { gear, links, inputs } = self;
        links.flush(gear);
        gear.ring.turn(Some(Duration::from_millis(10))).unwrap();
        while let Some(completion) = gear.ring.take() {
            match completion.token {
                Token::LinkConnect { link } => links.on_connected(link, completion, gear, inputs),
                Token::LinkReceive { link } => links.on_received(link, completion, gear, inputs),
                Token::LinkSend { link } => links.on_sent(link, completion, gear, inputs),
                other => panic!("only links are at work, not {other:?}"),
            }
        }
        while let Some((waiter, bufs)) = gear.pool.granted() {
            let Waiter::Link { link } = waiter else { panic!("only links wait") };
            links.on_granted(link, bufs[0], gear, inputs);
        }
    }

    fn until(&mut self, holds: impl Fn(&Bench) -> bool) {
        let began = std::time::Instant::now();
        while !holds(self) {
            assert!(began.elapsed() < Duration::from_secs(20), "that took too long");
            self.turn();
        }
    }

    /// A link that the machine opened, and its other side.
    fn connected(&mut self) -> (LinkId, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (name, to) = (LinkId(2), listener.local_addr().unwrap().to_string());
        assert!(!self.links.connect(0, name, &to, &mut self.gear, &mut self.inputs));
        self.until(|bench| !bench.inputs.is_empty());
        assert!(matches!(self.inputs.pop_front(), Some((0, Input::Connected { link, .. })) if link == name));
        (name, listener.accept().unwrap().0)
    }

    fn buf(&mut self, blocks: u32, fill: u8) -> Buf {
        let buf = self.gear.pool.alloc(Purpose::Core, &[blocks]).unwrap()[0];
        self.gear.pool.arena().change(self.gear.pool.span(buf), |bytes| bytes.fill(fill));
        buf
    }
}

#[test]
fn frames_arrive_whole_and_in_order_however_the_stream_is_cut() {
    let mut stream = Vec::new();
    let payloads: Vec<Vec<u8>> = (0..6u8).map(|blocks| vec![blocks; usize::from(blocks) * 4096]).collect();
    for (index, payload) in (0u8..).zip(&payloads) {
        stream.extend(frame(&vec![index; usize::from(index) * 37], payload));
        stream.extend(payload);
    }
    for piece in [1, 63, 64, 65, 4095, 4097, 1 << 20] {
        // Room for one payload at a time only: the others wait, and the stream with them.
        let mut bench = Bench::new(12);
        let (_, mut peer) = bench.connected();
        let bytes = stream.clone();
        let sender = std::thread::spawn(move || {
            bytes.chunks(piece).for_each(|chunk| peer.write_all(chunk).unwrap());
            peer
        });
        for (index, payload) in (0u8..).zip(&payloads) {
            bench.until(|bench| !bench.inputs.is_empty());
            let Some((0, Input::Received { frame, payload: came, .. })) = bench.inputs.pop_front() else {
                panic!("a frame comes")
            };
            assert_eq!(frame.meta, vec![index; usize::from(index) * 37]);
            let crcs: Vec<_> = payload.chunks(4096).map(crc32c).collect();
            assert_eq!(came.as_ref().map_or(&Vec::new(), |came| &came.crcs), &crcs);
            if let Some(came) = came {
                bench.gear.pool.release(came.buf);
            }
        }
        drop(sender.join().unwrap());
        bench.until(|bench| bench.links.len() == 0);
        assert!(matches!(bench.inputs.pop_front(), Some((0, Input::Lost { .. }))));
        assert!(bench.inputs.is_empty() && bench.gear.pool.allocations() == 0);
    }
}

#[test]
fn what_was_given_before_a_disconnect_still_leaves_and_nothing_comes_after_it() {
    let mut bench = Bench::new(1024);
    let (name, mut peer) = bench.connected();
    let mut expected = Vec::new();
    for fill in 0..40u8 {
        let buf = bench.buf(8, fill);
        let head = frame(&[fill], &[fill; 8 * 4096]);
        expected.extend_from_slice(&head);
        expected.extend([fill; 8 * 4096]);
        bench.links.send(0, name, head, Some(buf), &mut bench.gear);
    }
    peer.write_all(&frame(&[1], &[])).unwrap();
    bench.until(|bench| !bench.inputs.is_empty());
    bench.links.disconnect(0, name, clock::now(), &mut bench.gear, &mut bench.inputs);
    assert!(bench.inputs.is_empty(), "what had come is not told any more");
    peer.write_all(&frame(&[2], &[0; 4096])).unwrap();
    let reader = std::thread::spawn(move || {
        let mut all = Vec::new();
        let _ = peer.read_to_end(&mut all);
        all
    });
    bench.until(|bench| bench.links.len() == 0);
    assert!(reader.join().unwrap().starts_with(&expected));
    assert!(bench.inputs.is_empty() && bench.gear.pool.allocations() == 0);
}

#[test]
fn a_peer_that_vanishes_in_the_middle_of_both_ways_is_lost_once_and_buffers_come_home() {
    let mut bench = Bench::new(1024);
    let (name, mut peer) = bench.connected();
    for fill in 0..60u8 {
        let buf = bench.buf(8, fill);
        bench.links.send(0, name, frame(&[fill], &[fill; 8 * 4096]), Some(buf), &mut bench.gear);
    }
    bench.turn();
    peer.write_all(&frame(&[1], &[0; 8192])).unwrap();
    peer.write_all(&[0; 5000]).unwrap();
    bench.turn();
    drop(peer);
    bench.until(|bench| bench.links.len() == 0);
    assert!(matches!(bench.inputs.pop_front(), Some((0, Input::Lost { link })) if link == name));
    assert!(bench.inputs.is_empty());
    assert_eq!(bench.gear.pool.allocations(), 0);
    let late = bench.buf(1, 0);
    bench.links.send(0, name, frame(&[], &[0; 4096]), Some(late), &mut bench.gear);
    bench.links.disconnect(0, name, clock::now(), &mut bench.gear, &mut bench.inputs);
    assert_eq!(bench.gear.pool.allocations(), 0);
}

#[test]
fn a_connection_that_nobody_answers_or_that_is_refused_ends() {
    let mut bench = Bench::new(16);
    let refused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    bench.links.connect(0, LinkId(4), &refused, &mut bench.gear, &mut bench.inputs);
    bench.until(|bench| !bench.inputs.is_empty());
    assert!(matches!(bench.inputs.pop_front(), Some((0, Input::Lost { link: LinkId(4) }))));
    let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
    nix::sys::socket::listen(&deaf, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
    let to = deaf.local_addr().unwrap();
    let fill = [TcpStream::connect(to).unwrap()];
    for name in [6, 8] {
        bench.links.connect(0, LinkId(name), &to.to_string(), &mut bench.gear, &mut bench.inputs);
    }
    (0..5).for_each(|_| bench.turn());
    for name in [6, 8] {
        bench.links.disconnect(0, LinkId(name), clock::now(), &mut bench.gear, &mut bench.inputs);
    }
    bench.until(|bench| bench.links.len() == 0);
    assert!(bench.inputs.is_empty());
    drop(fill);
}

#[test]
fn every_flipped_bit_of_a_plaintext_frame_is_found() {
    let payload: Vec<u8> = (0..4096u32).map(|at| at.to_le_bytes()[0] ^ 0x5a).collect();
    let stream = [frame(b"what the machines read", &payload), payload.clone()].concat();
    let promised = crc32c(&payload);
    let mut bench = Bench::new(4);
    let mut taken = 0;
    for bit in 0..stream.len() * 8 {
        let mut flipped = stream.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let (mut intake, mut bytes) = (Intake::new(), &flipped[..]);
        loop {
            match intake.on_bytes(&mut bytes, &bench.gear.pool) {
                // Header and meta part.
                Err(_) => break,
                // The payload: the machine compares what the driver computed with what the meta part promises.
                Ok(Next::Frame(_, came)) => {
                    let came = came.expect("the frame has a payload");
                    assert_ne!(came.crcs, [promised], "bit {bit}");
                    bench.gear.pool.release(came.buf);
                    taken += 1;
                    break;
                }
                Ok(Next::Buffer(blocks)) => {
                    intake.on_buffer(bench.gear.pool.alloc(Purpose::Core, &[blocks]).unwrap()[0]);
                }
                Ok(Next::Bytes) => panic!("bit {bit}: all of it was there"),
            }
        }
    }
    assert_eq!((taken, bench.gear.pool.allocations()), (4096 * 8, 0));
}
