//! AVX2 with GFNI: 32 products an instruction; the kernel of CPUs without 512-bit vectors.

use super::lanes::{Lanes, passes};
use std::arch::x86_64::*;

#[derive(Clone, Copy)]
pub(super) struct Ymm(__m256i);

// SAFETY of every body below: `Lanes` asks the caller for the CPU features and the pointers.
impl Lanes for Ymm {
    const BYTES: usize = 32;
    type Coefficient = __m256i;
    type Operand = __m256i;

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
    unsafe fn operand(self) -> __m256i {
        self.0
    }
    #[inline(always)]
    unsafe fn coefficient(table: *const u64, index: usize) -> __m256i {
        // SAFETY: the caller's.
        unsafe { _mm256_set1_epi64x(*table.add(index) as i64) }
    }
    #[inline(always)]
    unsafe fn product(a: __m256i, c: __m256i) -> Ymm {
        // SAFETY: the caller's.
        Ymm(unsafe { _mm256_gf2p8affine_epi64_epi8::<0>(a, c) })
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

passes!(Ymm, "avx2,gfni", [2, 2, 2, 2, 2, 1, 1, 1, 1]);
