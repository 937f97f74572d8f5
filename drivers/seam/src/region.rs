//! A region of memory straight from the operating system: page aligned, zeroed, in huge pages
//! where they can be had.
#![allow(unsafe_code, reason = "island: owns a memory mapping")]

use core::num::NonZeroUsize;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;

use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap_anonymous, munmap};

const HUGE_BYTES: usize = 2 << 20;

/// What a region rests on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PageBacking {
    /// Reserved huge pages (hugetlbfs).
    Huge,
    /// Ordinary pages that the kernel was asked to join into huge ones.
    Transparent,
    /// Ordinary pages.
    Small,
}

/// Why no region could be had.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no memory for a region of {bytes} bytes: {}", std::io::Error::from_raw_os_error(*errno))]
pub struct RegionError {
    /// What was asked for.
    pub bytes: usize,
    /// What the system said.
    pub errno: i32,
}

/// Memory that starts on a page (2 MiB where it is that long) and reads as zero at first.
/// Pages that are never touched cost nothing.
pub struct Region {
    start: NonNull<u8>,
    len_bytes: usize,
    map_start: NonNull<u8>,
    map_bytes: usize,
    backing: PageBacking,
}

// SAFETY: a Region is the sole owner of its mapping, as a Box<[u8]> is of its allocation.
unsafe impl Send for Region {}
// SAFETY: `&Region` gives shared reads only.
unsafe impl Sync for Region {}

impl Region {
    /// A region of at least `len_bytes`, rounded up to whole pages.
    ///
    /// With `huge` it tries reserved huge pages first, then asks for transparent ones. Without,
    /// small pages: for memory of which little will be touched.
    pub fn new(len_bytes: usize, huge: bool) -> Result<Region, RegionError> {
        let len_bytes = len_bytes.max(1).next_multiple_of(4096);
        if huge && len_bytes >= HUGE_BYTES {
            let rounded = len_bytes.next_multiple_of(HUGE_BYTES);
            if let Ok(start) = map(rounded, MapFlags::MAP_HUGETLB) {
                return Ok(Region {
                    start,
                    len_bytes,
                    map_start: start,
                    map_bytes: rounded,
                    backing: PageBacking::Huge,
                });
            }
            return Region::transparent(len_bytes, rounded);
        }
        let start = map(len_bytes, MapFlags::empty())
            .map_err(|errno| RegionError { bytes: len_bytes, errno })?;
        Ok(Region {
            start,
            len_bytes,
            map_start: start,
            map_bytes: len_bytes,
            backing: PageBacking::Small,
        })
    }

    fn transparent(len_bytes: usize, rounded: usize) -> Result<Region, RegionError> {
        let map_bytes = rounded + HUGE_BYTES;
        let map_start = map(map_bytes, MapFlags::MAP_NORESERVE)
            .map_err(|errno| RegionError { bytes: len_bytes, errno })?;
        let skip = map_start.as_ptr().align_offset(HUGE_BYTES);
        assert!(skip < HUGE_BYTES, "a mapping can be aligned within its slack");
        // SAFETY: skip < HUGE_BYTES, and the mapping is HUGE_BYTES longer than `rounded`.
        let start = unsafe { map_start.add(skip) };
        // SAFETY: the range lies inside the mapping made above, which nobody else knows yet.
        let advised = unsafe { madvise(start.cast(), rounded, MmapAdvise::MADV_HUGEPAGE) };
        let backing = match advised {
            Ok(()) => PageBacking::Transparent,
            Err(_) => PageBacking::Small,
        };
        Ok(Region { start, len_bytes, map_start, map_bytes, backing })
    }

    /// Its first byte. Valid for as long as the region lives.
    pub fn as_ptr(&self) -> NonNull<u8> {
        self.start
    }

    /// What it rests on.
    pub fn backing(&self) -> PageBacking {
        self.backing
    }
}

fn map(bytes: usize, extra: MapFlags) -> Result<NonNull<u8>, i32> {
    let length = NonZeroUsize::new(bytes).expect("a region has a length");
    let prot = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: a new private anonymous mapping at an address of the kernel's choice touches no
    // memory that exists.
    let start = unsafe { mmap_anonymous(None, length, prot, MapFlags::MAP_PRIVATE | extra) };
    start.map(NonNull::cast).map_err(|errno| errno as i32)
}

impl Deref for Region {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: start..start+len_bytes is mapped, zero-initialised by the kernel, owned by
        // `self`, and written through `&mut self` only.
        unsafe { core::slice::from_raw_parts(self.start.as_ptr(), self.len_bytes) }
    }
}

impl DerefMut for Region {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and `&mut self` is the only access.
        unsafe { core::slice::from_raw_parts_mut(self.start.as_ptr(), self.len_bytes) }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `map` with just this length and is unmapped once.
        let unmapped = unsafe { munmap(self.map_start.cast(), self.map_bytes) };
        debug_assert!(unmapped.is_ok());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_is_aligned_zero_and_writable_to_its_end() {
        for (bytes, huge) in [(1, false), (4096, true), (5 << 20, true), (5 << 20, false)] {
            let mut region = Region::new(bytes, huge).unwrap();
            assert!(region.len() >= bytes && region.len().is_multiple_of(4096));
            assert_eq!(region.as_ptr().as_ptr() as usize % 4096, 0);
            if region.backing() != PageBacking::Small {
                assert_eq!(region.as_ptr().as_ptr() as usize % HUGE_BYTES, 0);
            }
            assert!(region.iter().all(|&b| b == 0));
            region.fill(0xa5);
            assert_eq!(*region.last().unwrap(), 0xa5);
        }
    }

    #[test]
    fn a_region_beyond_all_memory_is_refused() {
        assert!(Region::new(1 << 60, false).is_err());
    }
}
