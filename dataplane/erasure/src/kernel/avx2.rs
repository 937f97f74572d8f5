//! AVX2 alone: a product is two byte shuffles, one for each nibble of the operand.

use super::lanes::{Lanes, passes};
use std::arch::x86_64::*;

#[derive(Clone, Copy)]
pub(super) struct Ymm(__m256i);

// SAFETY of every body below: `Lanes` asks the caller for the CPU features and the pointers.
impl Lanes for Ymm {
    const BYTES: usize = 32;
    /// The products of the low nibbles, those of the high ones; each in both halves.
    type Coefficient = (__m256i, __m256i);
    /// The low nibbles, the high ones.
    type Operand = (__m256i, __m256i);

    #[inline(always)]
    unsafe fn load(from: *const u8) -> Ymm {
        // SAFETY: the caller's.
        Ymm(unsafe { _mm256_loadu_si256(from.cast()) })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut u8) {
        // SAFETY: the caller's.
        unsafe { _mm256_storeu_si256(to.cast(), self.0) }
    }
    #[inline(always)]
    unsafe fn stream(self, to: *mut u8) {
        // SAFETY: the caller's.
        unsafe { _mm256_stream_si256(to.cast(), self.0) }
    }
    #[inline(always)]
    unsafe fn zero() -> Ymm {
        // SAFETY: the caller's.
        Ymm(unsafe { _mm256_setzero_si256() })
    }
    #[inline(always)]
    unsafe fn xor(self, other: Ymm) -> Ymm {
        // SAFETY: the caller's.
        Ymm(unsafe { _mm256_xor_si256(self.0, other.0) })
    }
    #[inline(always)]
    unsafe fn xor2(self, a: Ymm, b: Ymm) -> Ymm {
        // SAFETY: the caller's.
        Ymm(unsafe { _mm256_xor_si256(self.0, _mm256_xor_si256(a.0, b.0)) })
    }
    #[inline(always)]
    unsafe fn operand(self) -> (__m256i, __m256i) {
        // SAFETY: the caller's.
        unsafe {
            let mask = _mm256_set1_epi8(15);
            let high = _mm256_and_si256(_mm256_srli_epi64::<4>(self.0), mask);
            (_mm256_and_si256(self.0, mask), high)
        }
    }
    #[inline(always)]
    unsafe fn coefficient(table: *const u64, index: usize) -> (__m256i, __m256i) {
        // SAFETY: the caller's; a coefficient is four words.
        unsafe {
            let at = table.add(4 * index);
            let (low, high) = (_mm_loadu_si128(at.cast()), _mm_loadu_si128(at.add(2).cast()));
            (_mm256_broadcastsi128_si256(low), _mm256_broadcastsi128_si256(high))
        }
    }
    #[inline(always)]
    unsafe fn product(a: (__m256i, __m256i), c: (__m256i, __m256i)) -> Ymm {
        // SAFETY: the caller's.
        unsafe {
            Ymm(_mm256_xor_si256(_mm256_shuffle_epi8(c.0, a.0), _mm256_shuffle_epi8(c.1, a.1)))
        }
    }
    #[inline(always)]
    unsafe fn prefetch(from: *const u8) {
        // SAFETY: a prefetch never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(from.cast()) }
    }
    #[inline(always)]
    unsafe fn fence() {
        // SAFETY: part of the x86-64 baseline.
        unsafe { _mm_sfence() }
    }
}

passes!(Ymm, "avx2", [1, 1, 1, 1, 1, 1, 1, 1, 1]);
