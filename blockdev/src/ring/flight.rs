//! One operation in flight: the operation itself, and the structures that the kernel reads with it.

use std::net::SocketAddr;
use std::os::fd::AsRawFd;

use io_uring::{opcode, squeue, types};
use nix::libc;
use nix::sys::socket::{SockaddrLike, SockaddrStorage};

use super::arena::{Access, Arena};
use super::fixed::FixedBuffers;
use super::op::Op;
use super::socket;

/// An operation between its submission and its completion.
pub(super) struct Flight<T> {
    pub(super) token: T,
    pub(super) op: Op,
    /// How often the kernel asked to try again.
    pub(super) tries: u32,
    /// Tells it from earlier operations of the same index.
    pub(super) generation: u32,
    vectors: Vec<libc::iovec>,
    header: Option<Box<libc::msghdr>>,
    address: Option<Box<SockaddrStorage>>,
    counter: Option<Box<[u8; 8]>>,
}

impl<T> Flight<T> {
    pub(super) fn new(token: T, op: Op, generation: u32) -> Flight<T> {
        Flight {
            token,
            op,
            tries: 0,
            generation,
            vectors: Vec::new(),
            header: None,
            address: None,
            counter: None,
        }
    }

    /// The submission entry. Its pointers are into what the flight owns, or into the arena.
    pub(super) fn entry(&mut self, arena: &Arena, fixed: &FixedBuffers) -> squeue::Entry {
        self.vectors.clear();
        match &mut self.op {
            Op::Read { into, .. } | Op::Receive { into, .. } => {
                into.vectors(arena, Access::Change, &mut self.vectors);
            }
            Op::Write { from, .. } | Op::Send { from, .. } => {
                from.vectors(arena, Access::Look, &mut self.vectors);
            }
            Op::Sync { .. }
            | Op::Punch { .. }
            | Op::Accept { .. }
            | Op::Connect { .. }
            | Op::Await { .. }
            | Op::Watch { .. } => {}
        }
        let vectors = u32::try_from(self.vectors.len()).expect("at most 1024 vectors");
        match &self.op {
            Op::Read { file, offset, into } => {
                let fd = types::Fd(file.as_raw_fd());
                match into.single_span().and_then(|span| fixed.index_of(span)) {
                    Some(index) => {
                        let vector = self.vectors[0];
                        let bytes = u32::try_from(vector.iov_len).unwrap_or(u32::MAX);
                        opcode::ReadFixed::new(fd, vector.iov_base.cast(), bytes, index)
                            .offset(*offset)
                            .build()
                    }
                    None => opcode::Readv::new(fd, self.vectors.as_ptr(), vectors).offset(*offset).build(),
                }
            }
            Op::Write { file, offset, from, durable } => {
                let fd = types::Fd(file.as_raw_fd());
                let flags = if *durable { libc::RWF_DSYNC } else { 0 };
                match from.single_span().and_then(|span| fixed.index_of(span)) {
                    Some(index) => {
                        let vector = self.vectors[0];
                        let bytes = u32::try_from(vector.iov_len).unwrap_or(u32::MAX);
                        opcode::WriteFixed::new(fd, vector.iov_base.cast(), bytes, index)
                            .offset(*offset)
                            .rw_flags(flags)
                            .build()
                    }
                    None => opcode::Writev::new(fd, self.vectors.as_ptr(), vectors)
                        .offset(*offset)
                        .rw_flags(flags)
                        .build(),
                }
            }
            Op::Sync { file } => {
                opcode::Fsync::new(types::Fd(file.as_raw_fd())).flags(types::FsyncFlags::DATASYNC).build()
            }
            Op::Punch { file, offset, bytes } => opcode::Fallocate::new(types::Fd(file.as_raw_fd()), *bytes)
                .offset(*offset)
                .mode(libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE)
                .build(),
            Op::Receive { socket, .. } => match self.vectors[..] {
                [vector] => {
                    let bytes = u32::try_from(vector.iov_len).unwrap_or(u32::MAX);
                    opcode::Recv::new(types::Fd(socket.as_raw_fd()), vector.iov_base.cast(), bytes).build()
                }
                _ => {
                    let header = self.header.insert(message(&mut self.vectors));
                    opcode::RecvMsg::new(types::Fd(socket.as_raw_fd()), &raw mut **header).build()
                }
            },
            Op::Send { socket, .. } => {
                let flags = (libc::MSG_NOSIGNAL | libc::MSG_WAITALL).cast_unsigned();
                match self.vectors[..] {
                    [vector] => {
                        let bytes = u32::try_from(vector.iov_len).unwrap_or(u32::MAX);
                        opcode::Send::new(types::Fd(socket.as_raw_fd()), vector.iov_base.cast(), bytes)
                            .flags(flags.cast_signed())
                            .build()
                    }
                    _ => {
                        let header = self.header.insert(message(&mut self.vectors));
                        opcode::SendMsg::new(types::Fd(socket.as_raw_fd()), &raw const **header)
                            .flags(flags)
                            .build()
                    }
                }
            }
            Op::Accept { socket } => {
                opcode::Accept::new(types::Fd(socket.as_raw_fd()), std::ptr::null_mut(), std::ptr::null_mut())
                    .flags(libc::SOCK_CLOEXEC)
                    .build()
            }
            Op::Connect { socket, to } => {
                let address = self.address.insert(Box::new(storage(*to)));
                opcode::Connect::new(types::Fd(socket.as_raw_fd()), address.as_ptr(), address.len()).build()
            }
            Op::Await { event } => {
                let counter = self.counter.insert(Box::default());
                opcode::Read::new(types::Fd(event.as_raw_fd()), counter.as_mut_ptr(), 8).build()
            }
            Op::Watch { socket } => {
                opcode::PollAdd::new(types::Fd(socket.as_raw_fd()), socket::EVENTS.cast_unsigned().into())
                    .build()
            }
        }
    }
}

fn message(vectors: &mut [libc::iovec]) -> Box<libc::msghdr> {
    // SAFETY: all zeroes is what a message header without name, control part and vectors is.
    let mut header: Box<libc::msghdr> = Box::new(unsafe { std::mem::zeroed() });
    header.msg_iov = vectors.as_mut_ptr();
    header.msg_iovlen = vectors.len();
    header
}

fn storage(address: SocketAddr) -> SockaddrStorage {
    match address {
        SocketAddr::V4(address) => SockaddrStorage::from(address),
        SocketAddr::V6(address) => SockaddrStorage::from(address),
    }
}
