//! Asks the processor to fetch memory that will be read soon: an island of unsafe code, because
//! the intrinsic takes a raw pointer.
#![allow(unsafe_code, reason = "island: the prefetch intrinsic takes a raw pointer")]

/// Starts fetching the cache line (and the page translation) of `byte`. Never wrong, at worst
/// in vain; does nothing where stable Rust has no such instruction.
#[inline]
pub(crate) fn prefetch(byte: &u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing that a program can see, and does not fault; SSE, which it
    // needs, is part of x86-64.
    unsafe {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(core::ptr::from_ref(byte).cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = byte;
}
