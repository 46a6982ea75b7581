//! What only the kernel knows of a block device.

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::libc;

use super::op::Errno;

/// Ioctls as `linux/fs.h` numbers them.
mod raw {
    use nix::libc;

    nix::ioctl_read_bad!(sector_bytes, libc::BLKSSZGET, libc::c_int);
    nix::ioctl_read!(bytes, 0x12, 114, u64);
    nix::ioctl_write_ptr_bad!(discard, nix::request_code_none!(0x12, 119), [u64; 2]);
}

/// Bytes of one logical sector of a block device: the unit of direct I/O (BLKSSZGET).
pub fn sector_bytes(device: BorrowedFd<'_>) -> Result<u32, Errno> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the ioctl writes one int.
    unsafe { raw::sector_bytes(device.as_raw_fd(), &raw mut bytes) }.map_err(|errno| Errno(errno as i32))?;
    u32::try_from(bytes).map_err(|_| Errno(libc::EINVAL))
}

/// Size of a block device in bytes (BLKGETSIZE64).
pub fn bytes(device: BorrowedFd<'_>) -> Result<u64, Errno> {
    let mut bytes: u64 = 0;
    // SAFETY: the ioctl writes one 64-bit number, whatever `size_t` its number was computed with.
    unsafe { raw::bytes(device.as_raw_fd(), &raw mut bytes) }.map_err(|errno| Errno(errno as i32))?;
    Ok(bytes)
}

/// Gives the space of a part of a block device back (BLKDISCARD). Waits until it is done.
pub fn discard(device: BorrowedFd<'_>, offset: u64, bytes: u64) -> Result<(), Errno> {
    let range = [offset, bytes];
    // SAFETY: the ioctl reads two 64-bit numbers.
    unsafe { raw::discard(device.as_raw_fd(), &raw const range) }.map_err(|errno| Errno(errno as i32))?;
    Ok(())
}

/// The unit of direct I/O on a file, in bytes: of offsets and lengths, and of addresses in memory (STATX_DIOALIGN).
/// `None` if the file system does not say.
pub fn direct_io_bytes(file: BorrowedFd<'_>) -> Result<Option<u32>, Errno> {
    // SAFETY: all zeroes is a valid `statx`: it holds nothing but numbers.
    let mut answer: libc::statx = unsafe { std::mem::zeroed() };
    // SAFETY: the empty path names the descriptor itself, and the call writes one `statx`.
    let failed = unsafe {
        libc::statx(
            file.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            libc::STATX_DIOALIGN,
            &raw mut answer,
        )
    };
    if failed != 0 {
        return Err(Errno(nix::errno::Errno::last_raw()));
    }
    let unit = answer.stx_dio_offset_align.max(answer.stx_dio_mem_align);
    Ok((answer.stx_mask & libc::STATX_DIOALIGN != 0 && answer.stx_dio_offset_align > 0).then_some(unit))
}
