//! What a client has given up never lands on what it writes anew, however little of it the server had looked at.
//!
//! While two of three replicas stand still nothing completes, so that connections come to their limits and are not
//! read any further. Each drill leaves writes of one place behind in such a connection, writes that place over
//! another connection, and looks at what is there when everything is over.

#[expect(dead_code, reason = "the drills use the rest of it")]
mod cluster;
mod site;

use std::fs;
use std::io::{Error, ErrorKind, Read};
use std::net::TcpListener;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use cluster::{Cluster, PATIENCE};
use nix::sys::signal::Signal;
use seawall_ops::nbd::{self, Command, Stream, Target};
use site::Shape;

const A: usize = 0;
const B: usize = 1;
const C: usize = 2;
const BLOCK: u64 = 4096;
/// Requests that a connection may have in flight.
const REQUESTS_MAX: u64 = 256;
/// More than that, so little that it is in the server's socket whatever the server has read: what a TCP window keeps
/// in the client's own kernel is out of everybody's sight, with the end behind it.
const SENT: u64 = REQUESTS_MAX + 8;
/// What is written by what was given up, and anew.
const OLD: u8 = 0x11;
const NEW: u8 = 0x22;

/// One connection of a client.
struct Client(Stream);

impl Client {
    fn connect(target: &Target) -> Client {
        let (stream, _) = nbd::connect(target, PATIENCE).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Client(stream)
    }

    /// Write the first block, over new connections until one is not closed for what another node's clients wrote since.
    fn come_and_write(target: &Target, fill: u8) -> Client {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut client = Client::connect(target);
            client.send(0, 4096, fill);
            match nbd::receive(&mut client.0) {
                Ok(reply) => {
                    assert_eq!(reply.error, 0);
                    return client;
                }
                Err(error) => assert!(is_end(&error) && Instant::now() < deadline, "{error}"),
            }
        }
    }

    fn send(&mut self, offset: u64, bytes: u32, fill: u8) {
        let payload = vec![fill; bytes as usize];
        nbd::send(&mut self.0, Command::Write, 0, 7, offset, bytes, &payload).unwrap();
    }

    /// As many writes as come to the limit, and after them some of the first block.
    fn overfill(&mut self) {
        for number in 0..SENT {
            let block = if number < REQUESTS_MAX { number + 1 } else { 0 };
            self.send(block * BLOCK, 4096, OLD);
        }
    }

    fn hear(&mut self) {
        assert_eq!(nbd::receive(&mut self.0).unwrap().error, 0);
    }

    fn write_anew(&mut self) {
        self.send(0, 4096, NEW);
    }

    /// The first block.
    fn read(&mut self) -> Vec<u8> {
        nbd::send(&mut self.0, Command::Read, 0, 9, 0, 4096, &[]).unwrap();
        self.hear();
        let mut bytes = vec![0; 4096];
        self.0.read_exact(&mut bytes).unwrap();
        bytes
    }
}

/// Three replicas, of which the first is attached over TCP too.
fn start() -> (Cluster, Target) {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let cluster = Cluster::start_with(Shape::default(), |configs: &[PathBuf]| {
        let text = fs::read_to_string(&configs[A]).unwrap();
        fs::write(&configs[A], format!("{text}\n[[nbd]]\nlisten = \"127.0.0.1:{port}\"\n")).unwrap();
    });
    (cluster, format!("nbd://127.0.0.1:{port}/vol").parse().unwrap())
}

/// Whether the other end closed the connection.
fn is_end(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset)
}

/// A number of the first replica's metrics.
fn gauge(cluster: &Cluster, name: &str) -> u64 {
    let page = cluster.metrics(A);
    let line = page.lines().find_map(|line| line.strip_prefix(&format!("seawall_{name} ")));
    line.unwrap_or_else(|| panic!("{name} is not in\n{page}")).parse().unwrap()
}

fn await_gauge(cluster: &Cluster, name: &str, wanted: impl Fn(u64) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !wanted(gauge(cluster, name)) {
        assert!(Instant::now() < deadline, "{name} is {}", gauge(cluster, name));
        thread::sleep(Duration::from_millis(5));
    }
}

fn stand_still(cluster: &Cluster, signal: Signal) {
    [B, C].iter().for_each(|index| cluster.signal(*index, signal));
}

fn await_requests(cluster: &Cluster, requests: u64) {
    let wanted = usize::try_from(requests).unwrap();
    cluster.wait(A, "requests that wait", |report| report.requests >= wanted);
}

#[test]
fn what_waits_at_a_limit_dies_with_its_connection() {
    let (cluster, target) = start();
    for target in [target, cluster.targets(&[A])[0].clone()] {
        let (mut old, mut new) = (Client::connect(&target), Client::connect(&target));
        stand_still(&cluster, Signal::SIGSTOP);
        old.overfill();
        await_requests(&cluster, REQUESTS_MAX);
        drop(old);
        new.write_anew();
        await_requests(&cluster, REQUESTS_MAX + 1);
        stand_still(&cluster, Signal::SIGCONT);
        new.hear();
        await_gauge(&cluster, "clients", |clients| clients == 1);
        assert!(new.read() == [NEW; 4096], "what was given up came back");
        drop(new);
        cluster.await_in_sync(A);
    }
    cluster.assert_equal(A);
}

#[test]
fn who_comes_after_a_connection_at_its_limit_writes_after_all_that_it_sent() {
    let (cluster, target) = start();
    // A client that closed its connection, and one whose machine died: nobody closes its connection.
    for closes in [true, false] {
        let mut old = Client::connect(&target);
        stand_still(&cluster, Signal::SIGSTOP);
        old.overfill();
        await_requests(&cluster, REQUESTS_MAX);
        let before = gauge(&cluster, "clients_accepted_total");
        let old = (!closes).then_some(old);
        let target = target.clone();
        let anew = thread::spawn(move || {
            let mut new = Client::connect(&target);
            new.write_anew();
            new.hear();
            new
        });
        await_gauge(&cluster, "clients_accepted_total", |accepted| accepted > before);
        stand_still(&cluster, Signal::SIGCONT);
        let mut new = anew.join().unwrap();
        match old {
            Some(mut old) => (0..SENT).for_each(|_| old.hear()),
            None => await_gauge(&cluster, "clients", |clients| clients == 1),
        }
        assert!(new.read() == [NEW; 4096], "what was sent before came later");
        drop(new);
        await_gauge(&cluster, "clients", |clients| clients == 0);
        cluster.await_in_sync(A);
    }
    cluster.assert_equal(A);
}

#[test]
fn who_writes_through_another_node_ends_the_connections_of_the_one_before() {
    let cluster = Cluster::start(Shape { volume_mib: 16, log_mib: 4 });
    let targets = cluster.targets(&[A, B]);
    let mut here = Client::come_and_write(&targets[0], OLD);
    let mut there = Client::come_and_write(&targets[1], NEW);
    cluster.await_said(A, "kind=\"superseded\"");
    here.send(0, 4096, OLD);
    let error = nbd::receive(&mut here.0).expect_err("it is not answered");
    assert!(is_end(&error), "{error}");
    assert!(there.read() == [NEW; 4096]);
    let mut again = Client::come_and_write(&targets[0], 0x33);
    assert!(again.read() == [0x33; 4096] && there.read() == [0x33; 4096], "reads need no attachment");
    cluster.assert_equal(A);
}

#[test]
fn what_waits_for_memory_dies_with_its_connection() {
    let (cluster, _) = start();
    let target = cluster.targets(&[A])[0].clone();
    let (mut old, mut new) = (Client::connect(&target), Client::connect(&target));
    stand_still(&cluster, Signal::SIGSTOP);
    // Others take all of the memory.
    let greedy: Vec<_> = [16_u64, 96]
        .into_iter()
        .map(|mib| {
            let mut client = Client::connect(&target);
            thread::spawn(move || {
                (0..40).for_each(|number| client.send((mib + number) << 20, 1 << 20, 0x33));
                (0..40).for_each(|_| client.hear());
            })
        })
        .collect();
    await_gauge(&cluster, "pool_waiting", |waiting| waiting > 0);
    let waiting = gauge(&cluster, "pool_waiting");
    old.send(BLOCK, 4096, OLD);
    old.send(0, 4096, OLD);
    await_gauge(&cluster, "pool_waiting", |now| now > waiting);
    drop(old);
    new.write_anew();
    stand_still(&cluster, Signal::SIGCONT);
    new.hear();
    greedy.into_iter().for_each(|thread| thread.join().unwrap());
    await_gauge(&cluster, "clients", |clients| clients == 1);
    assert!(new.read() == [NEW; 4096], "what was given up came back");
    cluster.assert_equal(A);
}
