//! The system calls that no safe wrapper offers: this crate's island of unsafe code.
//!
//! What must always hold: each function takes a live `File` and slices, and touches no memory
//! but those and its own locals. An error is the plain errno.
#![allow(unsafe_code, reason = "island: ioctl, statx and pwritev2 have no safe wrapper")]

use std::fs::File;
use std::os::fd::{AsRawFd, RawFd};

/// `BLKSSZGET`: the logical block size of a block device, in bytes.
pub(crate) fn logical_block_bytes(file: &File) -> Result<u32, i32> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the kernel writes one int through this pointer, which lives across the call.
    let answer = unsafe { libc::ioctl(file.as_raw_fd(), libc::BLKSSZGET, &raw mut bytes) };
    check(answer).map(|_| bytes.cast_unsigned())
}

/// `BLKPBSZGET`: the physical block size of a block device, in bytes.
pub(crate) fn physical_block_bytes(file: &File) -> Result<u32, i32> {
    let mut bytes: libc::c_uint = 0;
    // SAFETY: the kernel writes one unsigned int through this pointer, which lives across the
    // call.
    let answer = unsafe { libc::ioctl(file.as_raw_fd(), libc::BLKPBSZGET, &raw mut bytes) };
    check(answer).map(|_| bytes)
}

/// `BLKDISCARD`: tells a block device that these bytes are no longer needed.
pub(crate) fn discard(file: &File, start_bytes: u64, len_bytes: u64) -> Result<(), i32> {
    const BLKDISCARD: u64 = nix::request_code_none!(0x12, 119);
    let range = [start_bytes, len_bytes];
    // SAFETY: the kernel reads two u64 through this pointer, which live across the call.
    let answer = unsafe { libc::ioctl(file.as_raw_fd(), BLKDISCARD as _, range.as_ptr()) };
    check(answer).map(|_| ())
}

/// What O_DIRECT wants of a file: alignment of the buffer and of offset and length, in bytes.
/// Zeros where O_DIRECT is not supported; `None` where the kernel or filesystem does not say.
pub(crate) fn direct_alignment(file: &File) -> Option<(u32, u32)> {
    // SAFETY: all zeros is a valid `statx`: it holds integers only.
    let mut stat: libc::statx = unsafe { core::mem::zeroed() };
    // SAFETY: an empty path with AT_EMPTY_PATH names the descriptor itself; the kernel writes
    // one `statx` through the pointer, which lives across the call.
    let answer = unsafe {
        libc::statx(
            file.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            libc::STATX_DIOALIGN,
            &raw mut stat,
        )
    };
    let told = answer == 0 && stat.stx_mask & libc::STATX_DIOALIGN != 0;
    told.then_some((stat.stx_dio_mem_align, stat.stx_dio_offset_align))
}

/// One `pwritev2` with `RWF_DSYNC`: what it wrote is durable when it returns. Returns how many
/// bytes those are.
pub(crate) fn write_durably(file: &File, bytes: &[u8], offset_bytes: u64) -> Result<usize, i32> {
    let part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let fd: RawFd = file.as_raw_fd();
    // SAFETY: one iovec over `bytes`, which the kernel only reads, for the length of the call.
    let answer = unsafe {
        libc::pwritev2(fd, &raw const part, 1, offset_bytes.cast_signed(), libc::RWF_DSYNC)
    };
    usize::try_from(answer).map_err(|_| last_errno())
}

fn check(answer: libc::c_int) -> Result<libc::c_int, i32> {
    if answer < 0 { Err(last_errno()) } else { Ok(answer) }
}

fn last_errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}

/// The errno of an error of the standard library; EIO where it has none.
pub(crate) fn errno_of(error: &std::io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}
