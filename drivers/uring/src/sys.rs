//! System calls about a file or device that std does not have: sizes, alignment, a read that
//! must not block. Each takes an open file, so no descriptor can be wrong.
#![allow(unsafe_code, reason = "island: ioctl, statx and preadv2 take pointers")]

use std::fs::File;
use std::os::fd::AsRawFd;

use isotherm_seam::{BlockSize, Lba, ZoneInfo, ZoneState};

mod ioctl {
    nix::ioctl_read_bad!(blksszget, 0x1268, libc::c_int);
    nix::ioctl_read_bad!(blkpbszget, 0x127b, libc::c_uint);
    nix::ioctl_read!(blkgetsize64, 0x12, 114, u64);
    nix::ioctl_write_ptr_bad!(blkdiscard, 0x1277, [u64; 2]);
    nix::ioctl_readwrite!(blkreportzone, 0x12, 130, [u64; 2]);
    nix::ioctl_write_ptr!(blkresetzone, 0x12, 131, [u64; 2]);
    nix::ioctl_write_ptr!(blkfinishzone, 0x12, 136, [u64; 2]);
}

/// The unit of the zone ioctls, whatever the device's.
const SECTOR_BYTES: u64 = 512;

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

/// Resets the zone that is this byte range. Blocks.
pub(crate) fn reset_zone(device: &File, start_bytes: u64, len_bytes: u64) -> Result<(), i32> {
    let range = [start_bytes / SECTOR_BYTES, len_bytes / SECTOR_BYTES];
    // SAFETY: BLKRESETZONE reads two u64: start and length in sectors.
    unsafe { ioctl::blkresetzone(device.as_raw_fd(), &range) }.map(drop).map_err(|e| e as i32)
}

/// Finishes the zone that is this byte range. Blocks.
pub(crate) fn finish_zone(device: &File, start_bytes: u64, len_bytes: u64) -> Result<(), i32> {
    let range = [start_bytes / SECTOR_BYTES, len_bytes / SECTOR_BYTES];
    // SAFETY: BLKFINISHZONE reads two u64: start and length in sectors.
    unsafe { ioctl::blkfinishzone(device.as_raw_fd(), &range) }.map(drop).map_err(|e| e as i32)
}

const _: () = assert!(cfg!(target_endian = "little"), "halves of words are taken from the low end");

/// Words of the header of a zone report: start sector; count (low half) and flags (high half).
const HEADER_WORDS: usize = 2;
/// Words of one zone in it.
const ZONE_WORDS: usize = 8;
/// Flag of a report whose zones say their capacity.
const HAS_CAPACITY: u64 = 1;

/// Up to `zones` zones from a byte offset on, in blocks of `block`. Blocks.
pub(crate) fn report_zones(
    device: &File,
    start_bytes: u64,
    zones: usize,
    block: BlockSize,
) -> Result<Vec<ZoneInfo>, i32> {
    let mut words = vec![0u64; HEADER_WORDS + zones * ZONE_WORDS];
    words[0] = start_bytes / SECTOR_BYTES;
    words[1] = u64::from(u32::try_from(zones).map_err(|_| libc::EINVAL)?);
    // SAFETY: BLKREPORTZONE reads the two words of the header, and writes them and at most as
    // many zones as the header asks for, for which there is room behind it.
    unsafe { ioctl::blkreportzone(device.as_raw_fd(), words.as_mut_ptr().cast()) }
        .map_err(|e| e as i32)?;
    let count = (words[1] as u32 as usize).min(zones);
    let has_capacity = words[1] >> 32 & HAS_CAPACITY != 0;
    let zone = |words: &[u64]| zone_info(words, has_capacity, block);
    Ok(words[HEADER_WORDS..].chunks_exact(ZONE_WORDS).take(count).map(zone).collect())
}

/// One zone of a report.
///
/// ```text
/// word 0     1        2               3                            4
/// | start  | length | write pointer | type, condition, 2 flags, 4x| capacity | unused |
/// sectors    sectors  sectors         bytes, from the lowest        sectors
/// ```
fn zone_info(words: &[u64], has_capacity: bool, block: BlockSize) -> ZoneInfo {
    let blocks = |sectors: u64| block.blocks_in(sectors * SECTOR_BYTES);
    let [kind, condition, ..] = words[3].to_le_bytes();
    let start = Lba(blocks(words[0]));
    let capacity_blocks = blocks(if has_capacity { words[4] } else { words[1] });
    let state = match (kind, condition) {
        (2, 1) => ZoneState::Empty,
        (2, 2..=4) => ZoneState::Open, // Implicitly, explicitly, and closed in between.
        (2, 0xe) => ZoneState::Full,
        (_, 0xd) => ZoneState::ReadOnly,
        (_, 0xf) => ZoneState::Offline,
        _ => ZoneState::Conventional, // Sequential-preferred ones are written in any order too.
    };
    let write_pointer = match state {
        ZoneState::Open => Lba(blocks(words[2])),
        // The disk does not keep the pointer of a full zone.
        ZoneState::Full => start.offset(capacity_blocks),
        _ => start,
    };
    ZoneInfo { start, capacity_blocks, write_pointer, state }
}

/// What direct I/O asks for: alignment of the buffer and of offset and length, in bytes; 0
/// where there is no direct I/O. `None` where the kernel (before Linux 6.1) or the filesystem does not say.
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
    told.then_some((stat.stx_dio_mem_align, stat.stx_dio_offset_align))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reported_zone_is_told_in_blocks() {
        let words = |kind: u64, condition: u64| {
            [1 << 19, 1 << 19, (1 << 19) + 16, kind | condition << 8, (1 << 19) - 8, 0, 0, 0]
        };
        let info = |kind, condition, capacity| {
            zone_info(&words(kind, condition), capacity, BlockSize::B4096)
        };
        let open = info(2, 2, true);
        assert_eq!(open.start, Lba(1 << 16));
        assert_eq!(open.capacity_blocks, (1 << 16) - 1);
        assert_eq!(open.write_pointer, Lba((1 << 16) + 2));
        assert_eq!(open.state, ZoneState::Open);
        assert_eq!(info(2, 2, false).capacity_blocks, 1 << 16);
        assert_eq!(info(2, 0xe, false).write_pointer, Lba(1 << 17));
        let states = [
            (2, 1, ZoneState::Empty),
            (2, 3, ZoneState::Open),
            (2, 4, ZoneState::Open),
            (1, 0, ZoneState::Conventional),
            (3, 2, ZoneState::Conventional),
            (2, 0xd, ZoneState::ReadOnly),
            (1, 0xf, ZoneState::Offline),
        ];
        for (kind, condition, state) in states {
            assert_eq!(info(kind, condition, true).state, state);
        }
    }

    #[test]
    fn the_ioctl_numbers_are_the_kernel_s() {
        // From linux/blkzoned.h: _IOWR(0x12, 130, 16 bytes), _IOW(0x12, 131 and 136, 16 bytes).
        // What is not a block device answers ENOTTY to all of them, so the numbers are pinned
        // by the sizes they encode.
        assert_eq!(nix::request_code_readwrite!(0x12, 130, 16), 0xc010_1282);
        assert_eq!(nix::request_code_write!(0x12, 131, 16), 0x4010_1283);
        assert_eq!(nix::request_code_write!(0x12, 136, 16), 0x4010_1288);
        assert_eq!(size_of::<[u64; 2]>(), 16);
    }
}
