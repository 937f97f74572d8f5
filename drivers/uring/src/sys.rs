//! System calls about a file or device that std does not have: sizes, alignment, a read that
//! must not block. Each takes an open file, so no descriptor can be wrong.
#![allow(unsafe_code, reason = "island: ioctl, statx and preadv2 take pointers")]

use std::fs::File;
use std::os::fd::AsRawFd;

mod ioctl {
    nix::ioctl_read_bad!(blksszget, 0x1268, libc::c_int);
    nix::ioctl_read_bad!(blkpbszget, 0x127b, libc::c_uint);
    nix::ioctl_read!(blkgetsize64, 0x12, 114, u64);
    nix::ioctl_write_ptr_bad!(blkdiscard, 0x1277, [u64; 2]);
}

/// Bytes of a logical block of a block device.
pub(crate) fn logical_block_bytes(device: &File) -> Result<u32, i32> {
    let mut bytes = 0;
    // SAFETY: BLKSSZGET writes one int.
    unsafe { ioctl::blksszget(device.as_raw_fd(), &mut bytes) }.map_err(|e| e as i32)?;
    u32::try_from(bytes).map_err(|_| libc::EINVAL)
}

/// Bytes of a physical block of a block device.
pub(crate) fn physical_block_bytes(device: &File) -> Result<u32, i32> {
    let mut bytes = 0;
    // SAFETY: BLKPBSZGET writes one unsigned int.
    unsafe { ioctl::blkpbszget(device.as_raw_fd(), &mut bytes) }.map_err(|e| e as i32)?;
    Ok(bytes)
}

/// Bytes of a block device; 0 once it is gone.
pub(crate) fn device_bytes(device: &File) -> Result<u64, i32> {
    let mut bytes = 0;
    // SAFETY: BLKGETSIZE64 writes one u64.
    unsafe { ioctl::blkgetsize64(device.as_raw_fd(), &mut bytes) }.map_err(|e| e as i32)?;
    Ok(bytes)
}

/// Discards a byte range of a block device. Blocks.
pub(crate) fn discard_device(device: &File, start_bytes: u64, len_bytes: u64) -> Result<(), i32> {
    let range = [start_bytes, len_bytes];
    // SAFETY: BLKDISCARD reads two u64: start and length in bytes.
    unsafe { ioctl::blkdiscard(device.as_raw_fd(), &range) }.map(drop).map_err(|e| e as i32)
}

/// What direct I/O asks for: alignment of the buffer and of offset and length, in bytes.
/// `None` where the kernel (before Linux 6.1) or the filesystem does not say.
pub(crate) fn direct_alignment(file: &File) -> Option<(u32, u32)> {
    // SAFETY: statx is a plain struct of integers, for which zero is valid.
    let mut stat: libc::statx = unsafe { core::mem::zeroed() };
    // SAFETY: the path is a C string and `stat` is a statx to fill.
    let done = unsafe {
        libc::statx(
            file.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            libc::STATX_DIOALIGN,
            &mut stat,
        )
    };
    let told = done == 0 && stat.stx_mask & libc::STATX_DIOALIGN != 0;
    (told && stat.stx_dio_offset_align > 0)
        .then_some((stat.stx_dio_mem_align.max(1), stat.stx_dio_offset_align))
}

/// A read that answers EAGAIN rather than wait, and EOPNOTSUPP where the device can't promise
/// that. The errno otherwise.
pub(crate) fn read_nowait(file: &File, buf: &mut [u8], offset_bytes: u64) -> Result<usize, i32> {
    let iov = libc::iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: buf.len() };
    // SAFETY: one iovec over `buf`, which is borrowed for the call.
    let done = unsafe {
        libc::preadv2(file.as_raw_fd(), &iov, 1, offset_bytes as libc::off_t, libc::RWF_NOWAIT)
    };
    usize::try_from(done).map_err(|_| errno())
}

/// Whether holes can be punched into a regular file: asked beyond its end, where there is
/// nothing to lose.
pub(crate) fn can_punch_holes(file: &File, end_bytes: u64) -> bool {
    let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    let start = end_bytes.next_multiple_of(1 << 20) as libc::off_t;
    // SAFETY: no pointers.
    unsafe { libc::fallocate(file.as_raw_fd(), mode, start, 4096) == 0 }
}

fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}
