//! AVX-512 with GFNI: 64 products an instruction, one instruction a clock on Zen 4.

use super::lanes::{Lanes, passes};
use std::arch::x86_64::*;

#[derive(Clone, Copy)]
pub(super) struct Zmm(pub(super) __m512i);

// SAFETY of every body below: `Lanes` asks the caller for the CPU features and the pointers.
impl Lanes for Zmm {
    const BYTES: usize = 64;
    type Coefficient = __m512i;
    type Operand = __m512i;

    #[inline(always)]
    unsafe fn load(from: *const u8) -> Zmm {
        // SAFETY: the caller's.
        Zmm(unsafe { _mm512_loadu_si512(from.cast()) })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut u8) {
        // SAFETY: the caller's.
        unsafe { _mm512_storeu_si512(to.cast(), self.0) }
    }
    #[inline(always)]
    unsafe fn stream(self, to: *mut u8) {
        // SAFETY: the caller's.
        unsafe { _mm512_stream_si512(to.cast(), self.0) }
    }
    #[inline(always)]
    unsafe fn zero() -> Zmm {
        // SAFETY: the caller's.
        Zmm(unsafe { _mm512_setzero_si512() })
    }
    #[inline(always)]
    unsafe fn xor(self, other: Zmm) -> Zmm {
        // SAFETY: the caller's.
        Zmm(unsafe { _mm512_xor_si512(self.0, other.0) })
    }
    #[inline(always)]
    unsafe fn xor2(self, a: Zmm, b: Zmm) -> Zmm {
        // SAFETY: the caller's. 0x96 is the truth table of a three-way XOR.
        Zmm(unsafe { _mm512_ternarylogic_epi64::<0x96>(self.0, a.0, b.0) })
    }
    #[inline(always)]
    unsafe fn operand(self) -> __m512i {
        self.0
    }
    #[inline(always)]
    unsafe fn coefficient(table: *const u64, index: usize) -> __m512i {
        // SAFETY: the caller's.
        unsafe { _mm512_set1_epi64(*table.add(index) as i64) }
    }
    #[inline(always)]
    unsafe fn product(a: __m512i, c: __m512i) -> Zmm {
        // SAFETY: the caller's.
        Zmm(unsafe { _mm512_gf2p8affine_epi64_epi8::<0>(a, c) })
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

passes!(Zmm, "avx512f,avx512bw,avx512vl,gfni", [8, 4, 8, 4, 4, 2, 2, 2, 2]);
