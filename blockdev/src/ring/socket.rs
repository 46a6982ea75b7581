//! What only the kernel knows of a connection: whether the other end hung up, and what came and was not read.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::libc;
use nix::sys::socket::{MsgFlags, recv};

/// What a hang-up is seen by, besides errors, which are always told.
pub(super) const EVENTS: libc::c_short = libc::POLLRDHUP;

/// Ioctls as `linux/sockios.h` numbers them.
mod raw {
    use nix::libc;

    nix::ioctl_read_bad!(unread, libc::FIONREAD, libc::c_int);
}

/// How far the other end of a connection is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HangUp {
    /// It sends nothing more; perhaps it listens. Over TCP a closed socket looks no different.
    Half,
    /// It is gone.
    Whole,
}

impl HangUp {
    /// What the events of poll(2), of which there is one, say of it.
    pub(super) fn of(events: i32) -> HangUp {
        if events & i32::from(libc::POLLHUP | libc::POLLERR | libc::POLLNVAL) == 0 {
            HangUp::Half
        } else {
            HangUp::Whole
        }
    }
}

/// Which of these connections the other end hung up, at this moment.
pub fn hung_up<'a>(sockets: impl Iterator<Item = &'a OwnedFd>) -> Vec<Option<HangUp>> {
    let asked = |socket: &OwnedFd| libc::pollfd { fd: socket.as_raw_fd(), events: EVENTS, revents: 0 };
    let mut asked: Vec<libc::pollfd> = sockets.map(asked).collect();
    // SAFETY: the call writes into as many places as there are, and does not wait. Without an answer nobody is known
    // to have hung up: the watches tell, a little later.
    let _ = unsafe { libc::poll(asked.as_mut_ptr(), asked.len() as libc::nfds_t, 0) };
    asked.iter().map(|told| (told.revents != 0).then(|| HangUp::of(told.revents.into()))).collect()
}

/// How many bytes came over a connection and were not read (FIONREAD).
#[must_use]
pub fn unread(socket: &OwnedFd) -> usize {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the ioctl writes one int.
    let told = unsafe { raw::unread(socket.as_raw_fd(), &raw mut bytes) };
    told.ok().and_then(|_| usize::try_from(bytes).ok()).unwrap_or(0)
}

/// The bytes that came over a connection and were not read. They stay where they are.
#[must_use]
pub fn peek(socket: &OwnedFd) -> Vec<u8> {
    let mut bytes = vec![0; unread(socket)];
    if !bytes.is_empty() {
        let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        let seen = recv(socket.as_raw_fd(), &mut bytes, flags).unwrap_or(0);
        bytes.truncate(seen);
    }
    bytes
}
