//! Drills with tiny rings: nothing is lost, nothing hangs.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use super::arena::Span;
use super::op::Descriptor;
use super::pages::Pages;
use super::pieces::{Piece, Pieces};
use super::socket::{HangUp, hung_up};
use super::*;

const TINY: RingSettings = RingSettings { entries: 4, fixed_buffers: true };

fn ring<T>(settings: RingSettings) -> Ring<T> {
    Ring::new(settings, Rc::new(Arena::map(2048).unwrap())).unwrap()
}

fn heap(bytes: usize) -> Pieces {
    Pieces::one(Piece::Bytes { bytes: vec![0; bytes], from: 0 })
}

fn pairs(count: usize) -> Vec<(Descriptor, UnixStream)> {
    (0..count)
        .map(|_| UnixStream::pair().map(|(ours, theirs)| (Rc::new(OwnedFd::from(ours)), theirs)).unwrap())
        .collect()
}

fn received(completion: Completion<usize>) -> (usize, Vec<u8>) {
    let moved = completion.moved().unwrap();
    match completion.op.into_pieces().pop() {
        Some(Piece::Bytes { mut bytes, .. }) => {
            bytes.truncate(moved);
            (completion.token, bytes)
        }
        other => panic!("bytes were given, {other:?} came back"),
    }
}

#[test]
fn a_full_submission_queue_and_an_overflowing_completion_queue_lose_nothing() {
    let mut ring = ring::<usize>(TINY);
    let mut sockets = pairs(200);
    for (index, (ours, _)) in sockets.iter().enumerate() {
        ring.push(index, Op::Receive { socket: Rc::clone(ours), into: heap(16) });
    }
    ring.turn(Some(Duration::ZERO)).unwrap();
    assert!(ring.take().is_none());
    assert_eq!(ring.in_flight(), 200);
    for round in 0u8..5 {
        for (_, theirs) in &mut sockets {
            theirs.write_all(&[round, 1]).unwrap();
        }
        let mut came = vec![0; 200];
        while came.iter().sum::<usize>() < 200 {
            ring.turn(Some(Duration::from_secs(5))).unwrap();
            let mut any = false;
            while let Some(completion) = ring.take() {
                let (index, bytes) = received(completion);
                assert_eq!(bytes, [round, 1]);
                came[index] += 1;
                any = true;
                // Re-armed while the submission queue (of four) is full of other re-arms.
                ring.push(index, Op::Receive { socket: Rc::clone(&sockets[index].0), into: heap(16) });
            }
            assert!(any, "the ring slept although there was something to do");
        }
        assert_eq!(came, vec![1; 200]);
    }
    assert!(ring.overflows() > 0, "the drill overflowed the completion queue");
}

#[test]
fn a_short_read_says_how_much_and_the_end_of_a_file_is_nothing() {
    let path = std::env::temp_dir().join(format!("seawall-ring-short-{}", std::process::id()));
    std::fs::write(&path, [5; 5000]).unwrap();
    let file: Descriptor = Rc::new(File::open(&path).unwrap().into());
    std::fs::remove_file(&path).unwrap();
    let mut ring = ring::<u64>(TINY);
    for offset in [0, 4096, 5000] {
        ring.push(offset, Op::Read { file: Rc::clone(&file), offset, into: heap(4096) });
    }
    let mut moved = Vec::new();
    while moved.len() < 3 {
        ring.turn(None).unwrap();
        while let Some(completion) = ring.take() {
            moved.push((completion.token, completion.moved().unwrap()));
        }
    }
    moved.sort_unstable();
    assert_eq!(moved, [(0, 4096), (4096, 904), (5000, 0)]);
}

#[test]
fn a_receive_on_a_socket_that_is_shut_down_ends_and_gives_its_memory_back() {
    let mut ring = ring::<usize>(TINY);
    let (ours, theirs) = UnixStream::pair().unwrap();
    let shut = ours.try_clone().unwrap();
    let span = Span { start: 4096, bytes: 8192 };
    let into = Pieces::one(Piece::Pool(span));
    ring.push(1, Op::Receive { socket: Rc::new(ours.into()), into });
    ring.turn(Some(Duration::from_millis(1))).unwrap();
    assert!(ring.take().is_none());
    assert!(!ring.arena().is_quiet(), "the kernel may still write to it");
    shut.shutdown(std::net::Shutdown::Both).unwrap();
    ring.turn(Some(Duration::from_secs(5))).unwrap();
    assert_eq!(ring.take().unwrap().moved(), Ok(0));
    assert!(ring.arena().is_quiet());
    drop(theirs);
}

#[test]
fn an_accept_and_a_connect_that_nobody_answers_end_with_the_ring() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let socket: Descriptor = Rc::new(listener.into());
    let mut ring = ring::<usize>(TINY);
    for token in 0..10 {
        ring.push(token, Op::Accept { socket: Rc::clone(&socket) });
    }
    ring.turn(Some(Duration::ZERO)).unwrap();
    let mut client = TcpStream::connect(address).unwrap();
    ring.turn(Some(Duration::from_secs(5))).unwrap();
    let Completion { outcome: Ok(Outcome::Accepted(accepted)), op, .. } = ring.take().unwrap() else {
        panic!("a client connected")
    };
    drop((accepted, op));
    assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
    let began = std::time::Instant::now();
    drop(ring);
    assert!(began.elapsed() < Duration::from_secs(2));
    assert_eq!(Rc::strong_count(&socket), 1, "nothing in flight keeps the socket");
}

#[test]
fn a_gather_of_the_pool_the_heap_and_zeroes_arrives_in_order_whatever_the_kernel_takes_at_once() {
    let mut ring = ring::<usize>(TINY);
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let socket: Descriptor = Rc::new(ours.into());
    let arena = Rc::clone(ring.arena());
    let mut expected = Vec::new();
    let mut from = Pieces::new();
    let shared = Rc::new(Pages::copy_of(&[9; 512]));
    for block in 0..600usize {
        let fill = u8::try_from(block % 251).unwrap();
        let span = Span { start: block * 4096, bytes: 4096 };
        arena.change(span, |bytes| bytes.fill(fill));
        from.push(Piece::Pool(span));
        from.push(Piece::Bytes { bytes: vec![1, 2, 3], from: 1 });
        from.push(Piece::Shared { pages: Rc::clone(&shared), from: 0, to: 7 });
        from.push(Piece::Zeroes(if block == 3 { 100_000 } else { 1 }));
        expected.extend(std::iter::repeat_n(fill, 4096));
        expected.extend([2, 3, 9, 9, 9, 9, 9, 9, 9]);
        expected.extend(std::iter::repeat_n(0, if block == 3 { 100_000 } else { 1 }));
    }
    let total = from.bytes();
    let reader = std::thread::spawn(move || {
        let mut all = vec![0; total];
        theirs.read_exact(&mut all).unwrap();
        all
    });
    let mut sends = 0;
    while !from.is_empty() {
        ring.push(0, Op::Send { socket: Rc::clone(&socket), from });
        ring.turn(None).unwrap();
        let completion = loop {
            match ring.take() {
                Some(completion) => break completion,
                None => ring.turn(None).unwrap(),
            }
        };
        let moved = completion.moved().unwrap();
        from = completion.op.into_pieces();
        from.pass(moved);
        sends += 1;
    }
    assert!(sends > 1, "2400 pieces are more than the kernel takes at once");
    assert!(reader.join().unwrap() == expected);
    assert!(arena.is_quiet());
}

#[test]
fn dropping_what_is_in_flight_is_impossible_the_ring_owns_it_until_it_is_over() {
    // The rule of the ring as the type system sees it: push takes the memory, only take gives it back. Here the
    // kernel still writes to a span while its owner has forgotten it; the marks know.
    let mut ring = ring::<usize>(TINY);
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let span = Span { start: 0, bytes: 4096 };
    ring.push(0, Op::Receive { socket: Rc::new(ours.into()), into: Pieces::one(Piece::Pool(span)) });
    ring.turn(Some(Duration::ZERO)).unwrap();
    let arena = Rc::clone(ring.arena());
    let look = || arena.look(span, <[u8]>::len);
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(look)).is_err());
    theirs.write_all(b"late").unwrap();
    ring.turn(None).unwrap();
    assert_eq!(ring.take().unwrap().moved(), Ok(4));
    arena.look(span, |bytes| assert_eq!(&bytes[..4], b"late"));
}

#[test]
fn a_connect_that_nobody_answers_ends_when_it_is_cancelled_and_a_late_cancel_hits_nobody_else() {
    // A listener whose backlog is full drops what comes.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
    let to = listener.local_addr().unwrap();
    let fill = TcpStream::connect(to).unwrap();
    let mut ring = ring::<usize>(TINY);
    let mut tickets = Vec::new();
    for token in 0..8 {
        let (family, kind) = (nix::sys::socket::AddressFamily::Inet, nix::sys::socket::SockType::Stream);
        let socket =
            nix::sys::socket::socket(family, kind, nix::sys::socket::SockFlag::empty(), None).unwrap();
        tickets.push(ring.push(token, Op::Connect { socket: Rc::new(socket), to }));
    }
    ring.turn(Some(Duration::from_millis(50))).unwrap();
    while ring.take().is_some() {}
    assert!(ring.in_flight() > 0, "some found no room");
    for ticket in &tickets {
        ring.cancel(*ticket);
    }
    let began = std::time::Instant::now();
    while ring.in_flight() > 0 {
        ring.turn(Some(Duration::from_secs(1))).unwrap();
        while let Some(completion) = ring.take() {
            assert!(completion.moved().is_err());
        }
        assert!(began.elapsed() < Duration::from_secs(3));
    }
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    ring.push(99, Op::Receive { socket: Rc::new(ours.into()), into: heap(1) });
    ring.cancel(tickets[0]);
    ring.turn(Some(Duration::from_millis(20))).unwrap();
    assert!(ring.take().is_none());
    theirs.write_all(b"x").unwrap();
    ring.turn(None).unwrap();
    assert_eq!(received(ring.take().unwrap()), (99, b"x".to_vec()));
    drop(fill);
}

#[test]
fn a_watch_sees_a_hang_up_behind_bytes_that_nobody_reads_and_ends_with_its_socket() {
    let mut ring = ring::<usize>(TINY);
    let mut sockets = pairs(3);
    for (index, (ours, theirs)) in sockets.iter_mut().enumerate() {
        theirs.write_all(b"unread").unwrap();
        ring.push(index, Op::Watch { socket: Rc::clone(ours) });
    }
    ring.turn(Some(Duration::ZERO)).unwrap();
    assert!(ring.over().next().is_none(), "bytes are no hang-up");
    let ends: Vec<(Descriptor, UnixStream)> = std::mem::take(&mut sockets);
    let mut theirs = Vec::new();
    let mut ours = Vec::new();
    for (one, other) in ends {
        ours.push(one);
        theirs.push(Some(other));
    }
    assert_eq!(hung_up(ours.iter().map(|socket| &**socket)), [None; 3]);
    theirs[0].as_ref().unwrap().shutdown(std::net::Shutdown::Write).unwrap();
    theirs[1] = None;
    assert_eq!(hung_up(ours.iter().map(|socket| &**socket)), [Some(HangUp::Half), Some(HangUp::Whole), None]);
    let mut told = [None; 3];
    while told[0].is_none() || told[1].is_none() {
        ring.turn(Some(Duration::from_secs(5))).unwrap();
        while let Some(completion) = ring.take() {
            let Ok(Outcome::HungUp(how)) = completion.outcome else { panic!("{completion:?}") };
            told[completion.token] = Some(how);
        }
    }
    assert_eq!(told, [Some(HangUp::Half), Some(HangUp::Whole), None]);
    assert_eq!((socket::unread(&ours[0]), socket::peek(&ours[0])), (6, b"unread".to_vec()));
    crate::net::shut(&ours[2]);
    ring.turn(Some(Duration::from_secs(5))).unwrap();
    assert_eq!(ring.take().map(|completion| completion.token), Some(2), "our own end ends it");
    assert_eq!(ring.in_flight(), 0);
}
