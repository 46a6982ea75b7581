//! One node, and three, with everything real but the machines they run on.

mod bench;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use bench::{BLOCKS, Client, Cluster, FLUSH, READ, TRIM, WRITE, pattern};
use seawall_blockdev::net::Address;
use seawall_blockdev::ring::RingSettings;
use seawall_engine::io::{Answered, Command};

const TINY: RingSettings = RingSettings { entries: 4, fixed_buffers: false };

fn usual() -> RingSettings {
    RingSettings::default()
}

/// Nothing of what went through is left in the pool.
fn came_home(cluster: &Cluster, index: usize) {
    cluster.until("coming home", |cluster| cluster.counter(index, "pool_allocations") == 0);
}

#[test]
fn what_one_node_stores_it_gives_back_also_after_a_restart() {
    for ring in [usual(), TINY] {
        let mut cluster = Cluster::new(1, ring);
        cluster.serving(0);
        let mut client = Client::connect(&cluster.socket(0));
        let mut model = vec![0; 4 << 20];
        // Whole blocks, parts of blocks, more than a piece, more than a receive.
        for (seed, (offset, bytes)) in [
            (0, 4096),
            (8192, 65536),
            (100_000, 512),
            (99_840, 1024),
            (1 << 20, 1 << 20),
            (3 << 19, 512),
            ((1 << 20) + 512, 300_032),
            (4096, 512),
        ]
        .into_iter()
        .enumerate()
        {
            let offset: usize = offset / 512 * 512;
            let payload = pattern(seed as u64, bytes);
            model[offset..offset + bytes].copy_from_slice(&payload);
            client.write(offset as u64, &payload);
        }
        client.simple(TRIM, 16384, 8192);
        model[16384..24576].fill(0);
        client.simple(FLUSH, 0, 0);
        assert!(client.read(0, model.len()) == model);
        assert!(client.read(99_840, 512) == model[99_840..100_352]);
        drop(client);
        came_home(&cluster, 0);
        // Once without a clean end, once with one.
        for drain in [false, true] {
            if drain {
                assert_eq!(cluster.command(0, Command::Drain), Ok(Answered::Drained));
            }
            cluster.stop(0);
            cluster.start(0);
            cluster.serving(0);
            let mut client = Client::connect(&cluster.socket(0));
            assert!(client.read(0, model.len()) == model);
        }
        came_home(&cluster, 0);
    }
}

#[test]
fn three_nodes_hold_the_same_bytes_and_one_that_was_away_comes_back() {
    for ring in [usual(), TINY] {
        let mut cluster = Cluster::new(3, ring);
        cluster.serving(0);
        cluster.in_sync(0, 2);
        let mut client = Client::connect(&cluster.socket(0));
        client.write(0, &pattern(1, 1 << 20));
        cluster.stop(2);
        // Two of three go on.
        client.write(1 << 20, &pattern(2, 1 << 20));
        cluster.start(2);
        cluster.in_sync(0, 2);
        client.write(2 << 20, &pattern(3, 1 << 20));
        client.simple(FLUSH, 0, 0);
        for (at, seed) in [(0, 1), (1, 2), (2, 3)] {
            assert!(client.read(at << 20, 1 << 20) == pattern(seed, 1 << 20));
        }
        let Ok(Answered::Digest { digests, .. }) = cluster.command(0, Command::Digest) else {
            panic!("a digest of all three")
        };
        assert_eq!(digests.len(), 3);
        assert!(digests.iter().all(|(_, digest)| *digest == digests[0].1));
        drop(client);
        (0..3).for_each(|index| came_home(&cluster, index));
    }
}

#[test]
fn many_clients_and_requests_in_flight_on_a_tiny_ring_lose_no_wake_up() {
    let cluster = Cluster::new(1, TINY);
    cluster.serving(0);
    let socket = cluster.socket(0);
    std::thread::scope(|scope| {
        for number in 0..12u64 {
            let socket = &socket;
            scope.spawn(move || {
                let mut client = Client::connect(socket);
                let base = number << 20;
                for round in 0..20 {
                    let mut cookies: Vec<u64> = (0..16u64)
                        .map(|slot| {
                            client.ask(WRITE, base + slot * 8192, 8192, &pattern(round * 99 + slot, 8192))
                        })
                        .collect();
                    for _ in 0..16 {
                        let (cookie, error) = client.hear();
                        assert_eq!(error, 0);
                        cookies.retain(|open| *open != cookie);
                    }
                    assert!(cookies.is_empty());
                    for slot in 0..16 {
                        assert!(client.read(base + slot * 8192, 8192) == pattern(round * 99 + slot, 8192));
                    }
                }
            });
        }
    });
    came_home(&cluster, 0);
    assert!(cluster.counter(0, "driver_ring_overflows") > 0, "the drill overflowed the completion queue");
}

#[test]
fn peers_that_send_nonsense_or_die_in_the_middle_hurt_nobody() {
    let cluster = Cluster::new(3, usual());
    cluster.serving(0);
    cluster.in_sync(0, 2);
    let mut client = Client::connect(&cluster.socket(0));
    for round in 0..40u64 {
        let mut peer = TcpStream::connect(cluster.peer_port(0)).unwrap();
        let noise = pattern(round, 4096);
        match round % 5 {
            0 => peer.write_all(&noise).unwrap(),
            1 => peer.write_all(&noise[..30]).unwrap(),
            2 => peer.shutdown(Shutdown::Write).unwrap(),
            3 => {
                // A good header of a frame with a payload that never comes, for a volume that is not here.
                let frame = seawall_sender::frame::encode(
                    seawall_sender::frame::Kind::Append,
                    seawall_wal::names::VolumeId([9; 16]),
                    seawall_wal::names::Epoch::ZERO,
                    seawall_sender::session_id::SessionId { boot: 1, count: 1 },
                    &noise[..64],
                    8192,
                );
                peer.write_all(&frame).unwrap();
                peer.write_all(&noise).unwrap();
            }
            _ => {
                // Data that nobody read makes the close a reset.
                peer.write_all(&noise[..70]).unwrap();
                let _ = socket_linger(&peer);
            }
        }
        client.write(round * 4096, &pattern(round, 4096));
        drop(peer);
    }
    for round in 0..40u64 {
        assert!(client.read(round * 4096, 4096) == pattern(round, 4096));
    }
    assert!(cluster.counter(0, "framing_violations") >= 8);
    assert!(cluster.status(0).peers.iter().all(|peer| peer.counts), "real peers did not notice");
    drop(client);
    came_home(&cluster, 0);
    cluster.until("links closed", |cluster| cluster.counter(0, "links") <= 4);
}

fn socket_linger(stream: &TcpStream) -> nix::Result<()> {
    let linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
    nix::sys::socket::setsockopt(stream, nix::sys::socket::sockopt::Linger, &linger)
}

#[test]
fn clients_that_die_in_the_middle_of_a_payload_or_never_read_leave_nothing_behind() {
    let cluster = Cluster::new(1, usual());
    cluster.serving(0);
    let mut steady = Client::connect(&cluster.socket(0));
    for round in 0..20u64 {
        let mut client = Client::connect(&cluster.socket(0));
        match round % 3 {
            0 => {
                client.ask(WRITE, 1 << 20, 1 << 20, &pattern(round, 100_000));
            }
            1 => {
                for _ in 0..8 {
                    client.ask(READ, 0, 1 << 20, &[]);
                }
            }
            _ => {
                client.ask(WRITE, 2 << 20, 65536, &pattern(round, 65536));
            }
        }
        drop(client);
        steady.write(round * 512, &pattern(round, 512));
        assert!(steady.read(round * 512, 512) == pattern(round, 512));
    }
    drop(steady);
    came_home(&cluster, 0);
    cluster.until("clients closed", |cluster| cluster.counter(0, "clients") == 0);
}

#[test]
fn tcp_clients_are_served_and_a_stopped_node_closes_in_order() {
    let mut cluster = Cluster::new(1, usual());
    cluster.serving(0);
    let tcp = cluster.node(0).handle().client_addresses().iter().find_map(|address| match address {
        Address::Tcp(address) => Some(address.clone()),
        Address::Unix(_) => None,
    });
    let stream = TcpStream::connect(tcp.unwrap()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut client = Client::greet(stream);
    client.write(BLOCKS * 4096 - 4096, &pattern(5, 4096));
    assert!(client.read(BLOCKS * 4096 - 4096, 4096) == pattern(5, 4096));
    cluster.stop(0);
    assert_eq!(client.stream.read(&mut [0; 1]).unwrap(), 0, "the end of the stream, no reset");
    assert!(UnixStream::connect(cluster.socket(0)).is_err());
}

#[test]
fn requests_that_need_more_memory_than_there_is_take_turns_and_all_end() {
    let cluster = Cluster::new(1, usual());
    cluster.serving(0);
    let socket = cluster.socket(0);
    // The pool has 12 MiB for clients: one such request fits at a time, and four clients want one, both ways.
    let bytes = 8 << 20;
    std::thread::scope(|scope| {
        for number in 0..4u64 {
            let socket = &socket;
            scope.spawn(move || {
                let mut client = Client::connect(socket);
                let offset = (number << 23) + 512;
                for round in 0..3 {
                    let payload = pattern(number * 7 + round, bytes);
                    client.write(offset, &payload);
                    assert!(client.read(offset, bytes) == payload);
                }
            });
        }
    });
    came_home(&cluster, 0);
}
