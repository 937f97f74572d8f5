//! Buffers for I/O: a fixed pool per core.
//!
//! What must always hold: a byte that the kernel (or a helper thread) may still write belongs
//! to nobody else. A buffer moves into a request and comes back with its completion; a driver
//! that must go away while the kernel still holds one leaks it, and with it the pool's memory,
//! rather than free it. A buffer never outlives its region: each holds its pool alive.
//!
//! ```text
//! one region, page aligned (2 MiB aligned in huge pages), registered with the ring as a whole
//! | class 0: n0 x 4 KiB | class 1: n1 x 64 KiB | class 2: n2 x 1 MiB + 16 KiB | ...
//! ```
#![allow(unsafe_code, reason = "island: slices of the pool's region")]

use core::mem::ManuallyDrop;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::{BlockSize, PageBacking, Region, RegionError};

/// So many buffers of one size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PoolClass {
    /// Bytes of one buffer; rounded up to the pool's alignment.
    pub buf_bytes: u32,
    /// How many.
    pub count: u32,
}

/// What a pool is made of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PoolLayout {
    /// In ascending order of size. A request takes the smallest class that fits and has one.
    pub classes: Vec<PoolClass>,
    /// Each buffer starts on a multiple of this: the largest physical block of the disks.
    pub align: BlockSize,
    /// Ask for huge pages.
    pub huge: bool,
}

impl PoolLayout {
    /// `count` buffers of one size, aligned for 4 KiB physical blocks, in huge pages where they
    /// can be had.
    pub fn uniform(buf_bytes: u32, count: u32) -> PoolLayout {
        PoolLayout {
            classes: vec![PoolClass { buf_bytes, count }],
            align: BlockSize::B4096,
            huge: true,
        }
    }
}

/// Why no buffer can be had now. A completion may change that.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PoolExhausted {
    /// Every buffer that is large enough is in use.
    #[error("the core's buffer pool is in use to its last buffer of that size")]
    NoBuffer,
    /// The disk holds as much as its quota allows.
    #[error("the disk holds its whole quota of buffers")]
    OverQuota,
    /// No class is that large: waiting will not help.
    #[error("no buffer of the pool is that large")]
    TooLong,
}

/// A fixed pool of buffers for one core. Clones are handles to the same pool.
#[derive(Clone)]
pub struct BufPool {
    inner: Rc<Inner>,
}

struct Inner {
    region: Region,
    classes: Vec<Class>,
    quotas: RefCell<Vec<QuotaState>>,
}

struct Class {
    buf_bytes: u32,
    /// Offset of its first buffer in the region.
    start: usize,
    free: RefCell<Vec<u32>>,
}

struct QuotaState {
    limit_bytes: u64,
    used_bytes: Cell<u64>,
}

const NO_QUOTA: u16 = u16::MAX;

impl BufPool {
    /// Maps the memory and cuts it up. Nothing is allocated after this.
    ///
    /// Panics on a layout without buffers, or with classes out of order: that is a bug.
    pub fn new(layout: &PoolLayout) -> Result<BufPool, RegionError> {
        assert!(layout.classes.iter().any(|c| c.count > 0 && c.buf_bytes > 0), "an empty pool");
        assert!(layout.classes.is_sorted_by_key(|c| c.buf_bytes), "classes ascend");
        let align = layout.align.bytes();
        let mut classes = Vec::with_capacity(layout.classes.len());
        let mut end = 0usize;
        for class in &layout.classes {
            let buf_bytes = class.buf_bytes.max(1).next_multiple_of(align);
            classes.push(Class {
                buf_bytes,
                start: end,
                // Popped from the end: the lowest slot first, so that little memory is touched.
                free: RefCell::new((0..class.count).rev().collect()),
            });
            end += buf_bytes as usize * class.count as usize;
        }
        let slack = (align as usize).saturating_sub(4096);
        let region = Region::new(end + slack, layout.huge)?;
        let shift = region.as_ptr().as_ptr().align_offset(align as usize);
        for class in &mut classes {
            class.start += shift;
        }
        assert!(end + shift <= region.len(), "every buffer lies within the region");
        Ok(BufPool { inner: Rc::new(Inner { region, classes, quotas: RefCell::new(Vec::new()) }) })
    }

    /// A buffer of `len_bytes`, outside any quota. Its content is whatever was there before.
    pub fn alloc(&self, len_bytes: usize) -> Result<IoBuf, PoolExhausted> {
        Inner::alloc(&self.inner, len_bytes, NO_QUOTA)
    }

    /// A quota for one disk: it holds at most `limit_bytes` of buffers at any time, so a stuck
    /// disk can't take the buffers of its siblings.
    pub fn quota(&self, limit_bytes: u64) -> Quota {
        let mut quotas = self.inner.quotas.borrow_mut();
        let index = u16::try_from(quotas.len()).expect("fewer than 65,535 quotas");
        assert!(index != NO_QUOTA, "fewer than 65,535 quotas");
        quotas.push(QuotaState { limit_bytes, used_bytes: Cell::new(0) });
        Quota { pool: self.clone(), index }
    }

    /// Address and length in bytes of all buffers, for registration with a kernel interface.
    pub fn span(&self) -> (NonNull<u8>, usize) {
        (self.inner.region.as_ptr(), self.inner.region.len())
    }

    /// What the memory rests on.
    pub fn backing(&self) -> PageBacking {
        self.inner.region.backing()
    }

    /// Buffers that are not in use, over all classes.
    pub fn free_count(&self) -> usize {
        self.inner.classes.iter().map(|c| c.free.borrow().len()).sum()
    }
}

impl Inner {
    #[inline]
    fn alloc(self: &Rc<Self>, len_bytes: usize, quota: u16) -> Result<IoBuf, PoolExhausted> {
        let mut why = PoolExhausted::TooLong;
        for (index, class) in self.classes.iter().enumerate() {
            if (class.buf_bytes as usize) < len_bytes {
                continue;
            }
            why = PoolExhausted::NoBuffer;
            if class.free.borrow().is_empty() {
                continue;
            }
            if quota != NO_QUOTA {
                let quotas = self.quotas.borrow();
                let state = &quotas[quota as usize];
                let used = state.used_bytes.get() + u64::from(class.buf_bytes);
                if used > state.limit_bytes {
                    return Err(PoolExhausted::OverQuota);
                }
                state.used_bytes.set(used);
            }
            let slot = class.free.borrow_mut().pop().expect("not empty, as seen above");
            let offset = class.start + slot as usize * class.buf_bytes as usize;
            // SAFETY: `new` asserted that every buffer of every class lies in the region.
            let ptr = unsafe { self.region.as_ptr().add(offset) };
            return Ok(IoBuf {
                ptr,
                len_bytes: len_bytes as u32,
                capacity_bytes: class.buf_bytes,
                slot,
                class: index as u8,
                quota,
                pool: Rc::clone(self),
            });
        }
        Err(why)
    }
}

/// One disk's share of a pool.
pub struct Quota {
    pool: BufPool,
    index: u16,
}

impl Quota {
    /// A buffer of `len_bytes` that counts against this quota until it is dropped.
    pub fn alloc(&self, len_bytes: usize) -> Result<IoBuf, PoolExhausted> {
        Inner::alloc(&self.pool.inner, len_bytes, self.index)
    }

    /// Bytes of buffers out at present.
    pub fn used_bytes(&self) -> u64 {
        self.pool.inner.quotas.borrow()[self.index as usize].used_bytes.get()
    }

    /// The limit, in bytes.
    pub fn limit_bytes(&self) -> u64 {
        self.pool.inner.quotas.borrow()[self.index as usize].limit_bytes
    }
}

/// A buffer of a pool: owned, aligned, initialised, of fixed capacity. Dropping it gives it
/// back. It derefs to its first `len` bytes.
pub struct IoBuf {
    ptr: NonNull<u8>,
    len_bytes: u32,
    capacity_bytes: u32,
    slot: u32,
    class: u8,
    quota: u16,
    pool: Rc<Inner>,
}

// A request and its completion carry one; keep it to half a cache line.
const _: () = assert!(size_of::<IoBuf>() == 32);

impl IoBuf {
    /// How long it could be, in bytes.
    pub fn capacity(&self) -> usize {
        self.capacity_bytes as usize
    }

    /// Changes its length, within its capacity. Bytes that come into view hold what was there.
    pub fn set_len(&mut self, len_bytes: usize) {
        assert!(len_bytes <= self.capacity_bytes as usize, "longer than the buffer");
        self.len_bytes = len_bytes as u32;
    }

    /// Where it lies, for a kernel interface.
    pub fn as_raw(&mut self) -> *mut u8 {
        self.ptr.as_ptr()
    }

    /// Never gives the buffer back: for a driver that goes away while the kernel still holds
    /// it. The pool's memory then stays mapped until the process ends.
    pub fn leak(self) {
        core::mem::forget(self);
    }

    /// Splits it into the bytes, which may go to another thread, and a claim that stays here.
    /// The claim turns back into the buffer when the bytes return.
    pub fn lend(self) -> (BufClaim, LentBuf) {
        let lent = LentBuf { ptr: self.ptr, len_bytes: self.len_bytes };
        (BufClaim { buf: ManuallyDrop::new(self) }, lent)
    }
}

impl Deref for IoBuf {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: ptr..ptr+len lies in the region (asserted in `alloc`, `set_len`), which `pool`
        // keeps mapped; it was zeroed by the kernel, and this slot is in no other IoBuf.
        unsafe { core::slice::from_raw_parts(self.ptr.as_ptr(), self.len_bytes as usize) }
    }
}

impl DerefMut for IoBuf {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`; `&mut self` is the only access.
        unsafe { core::slice::from_raw_parts_mut(self.ptr.as_ptr(), self.len_bytes as usize) }
    }
}

impl Drop for IoBuf {
    #[inline]
    fn drop(&mut self) {
        self.pool.classes[self.class as usize].free.borrow_mut().push(self.slot);
        if self.quota != NO_QUOTA {
            let quotas = self.pool.quotas.borrow();
            let used = &quotas[self.quota as usize].used_bytes;
            used.set(used.get() - u64::from(self.capacity_bytes));
        }
    }
}

impl core::fmt::Debug for IoBuf {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "IoBuf({} of {} bytes)", self.len_bytes, self.capacity_bytes)
    }
}

/// The home half of a lent buffer. Dropped before the bytes are back, it leaks the buffer: the
/// thread that has the bytes may still write them.
pub struct BufClaim {
    buf: ManuallyDrop<IoBuf>,
}

impl BufClaim {
    /// The buffer again. Panics if these are not its bytes: that is a bug.
    pub fn reunite(self, lent: LentBuf) -> IoBuf {
        let LentBuf { ptr, .. } = lent;
        assert!(self.buf.ptr == ptr, "a claim takes back its own bytes only");
        ManuallyDrop::into_inner(self.buf)
    }
}

/// The bytes of a lent buffer, for one other thread.
pub struct LentBuf {
    ptr: NonNull<u8>,
    len_bytes: u32,
}

// SAFETY: a LentBuf is the only access to its bytes: the claim has no method that reads or
// writes them, and gives the buffer back only against this very value. If the claim is dropped
// first, slot and region are leaked, so the bytes stay mapped and unused by others.
unsafe impl Send for LentBuf {}

impl Deref for LentBuf {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: see `unsafe impl Send`: mapped, initialised, accessed through `self` only.
        unsafe { core::slice::from_raw_parts(self.ptr.as_ptr(), self.len_bytes as usize) }
    }
}

impl AsRef<[u8]> for LentBuf {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl DerefMut for LentBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`; `&mut self` is the only access.
        unsafe { core::slice::from_raw_parts_mut(self.ptr.as_ptr(), self.len_bytes as usize) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool() -> BufPool {
        BufPool::new(&PoolLayout {
            classes: vec![
                PoolClass { buf_bytes: 4096, count: 2 },
                PoolClass { buf_bytes: 65_536, count: 1 },
            ],
            align: BlockSize::B4096,
            huge: false,
        })
        .unwrap()
    }

    #[test]
    fn a_buffer_is_aligned_and_comes_from_the_smallest_class_that_has_one() {
        let pool = pool();
        let mut bufs: Vec<IoBuf> = (0..3).map(|_| pool.alloc(1000).unwrap()).collect();
        assert!(
            bufs.iter_mut().all(|b| (b.as_raw() as usize).is_multiple_of(4096) && b.len() == 1000)
        );
        assert_eq!(bufs[2].capacity(), 65_536);
        assert_eq!(pool.alloc(1).unwrap_err(), PoolExhausted::NoBuffer);
        drop(bufs);
        assert_eq!(pool.free_count(), 3);
        assert_eq!(pool.alloc(65_537).unwrap_err(), PoolExhausted::TooLong);
    }

    #[test]
    fn buffers_do_not_overlap() {
        let pool = pool();
        let mut bufs: Vec<IoBuf> = (0..3).map(|_| pool.alloc(4096).unwrap()).collect();
        for (i, buf) in bufs.iter_mut().enumerate() {
            buf.set_len(buf.capacity());
            buf.fill(i as u8 + 1);
        }
        for (i, buf) in bufs.iter().enumerate() {
            assert!(buf.iter().all(|&b| b == i as u8 + 1));
        }
    }

    #[test]
    fn larger_alignment_than_a_page_is_kept() {
        let layout = PoolLayout {
            classes: vec![PoolClass { buf_bytes: 1, count: 3 }],
            align: BlockSize::new(65_536).unwrap(),
            huge: false,
        };
        let pool = BufPool::new(&layout).unwrap();
        let mut bufs: Vec<IoBuf> = (0..3).map(|_| pool.alloc(65_536).unwrap()).collect();
        assert!(bufs.iter_mut().all(|b| (b.as_raw() as usize).is_multiple_of(65_536)));
    }

    #[test]
    fn a_quota_refuses_one_disk_and_not_its_sibling() {
        let pool = pool();
        let (mine, other) = (pool.quota(4096), pool.quota(1 << 20));
        let held = mine.alloc(4096).unwrap();
        assert_eq!(mine.alloc(1).unwrap_err(), PoolExhausted::OverQuota);
        assert!(other.alloc(1).is_ok());
        drop(held);
        assert_eq!(mine.used_bytes(), 0);
        assert!(mine.alloc(1).is_ok());
    }

    #[test]
    fn a_lent_buffer_crosses_threads_and_comes_back_written() {
        let pool = pool();
        let (claim, mut lent) = pool.alloc(512).unwrap().lend();
        let lent = std::thread::scope(|s| {
            s.spawn(move || {
                lent.fill(7);
                lent
            })
            .join()
            .unwrap()
        });
        let buf = claim.reunite(lent);
        assert!(buf.iter().all(|&b| b == 7));
        drop(buf);
        assert_eq!(pool.free_count(), 3);
    }

    #[test]
    fn a_dropped_claim_leaks_rather_than_share() {
        let pool = pool();
        let mut lent = {
            let (_claim, lent) = pool.alloc(512).unwrap().lend();
            lent
        };
        assert_eq!(pool.free_count(), 2, "the slot never returns");
        drop(pool);
        lent.fill(1); // Still mapped: a fault here would end the test.
    }
}
