//! NEON: a product is two table look-ups, one for each nibble of the operand.

use super::lanes::{Lanes, passes};
use std::arch::aarch64::*;

#[derive(Clone, Copy)]
pub(super) struct Quad(uint8x16_t);

// SAFETY of every body below: `Lanes` asks the caller for the CPU features and the pointers.
impl Lanes for Quad {
    const BYTES: usize = 16;
    /// The products of the low nibbles, those of the high ones.
    type Coefficient = (uint8x16_t, uint8x16_t);
    /// The low nibbles, the high ones.
    type Operand = (uint8x16_t, uint8x16_t);

    #[inline(always)]
    unsafe fn load(from: *const u8) -> Quad {
        // SAFETY: the caller's.
        Quad(unsafe { vld1q_u8(from) })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut u8) {
        // SAFETY: the caller's.
        unsafe { vst1q_u8(to, self.0) }
    }
    /// An ordinary store: stable Rust has no intrinsic for STNP.
    #[inline(always)]
    unsafe fn stream(self, to: *mut u8) {
        // SAFETY: the caller's.
        unsafe { self.store(to) }
    }
    #[inline(always)]
    unsafe fn zero() -> Quad {
        // SAFETY: the caller's.
        Quad(unsafe { vdupq_n_u8(0) })
    }
    #[inline(always)]
    unsafe fn xor(self, other: Quad) -> Quad {
        // SAFETY: the caller's.
        Quad(unsafe { veorq_u8(self.0, other.0) })
    }
    #[inline(always)]
    unsafe fn xor2(self, a: Quad, b: Quad) -> Quad {
        // SAFETY: the caller's.
        Quad(unsafe { veorq_u8(self.0, veorq_u8(a.0, b.0)) })
    }
    #[inline(always)]
    unsafe fn operand(self) -> (uint8x16_t, uint8x16_t) {
        // SAFETY: the caller's.
        unsafe { (vandq_u8(self.0, vdupq_n_u8(15)), vshrq_n_u8::<4>(self.0)) }
    }
    #[inline(always)]
    unsafe fn coefficient(table: *const u64, index: usize) -> (uint8x16_t, uint8x16_t) {
        // SAFETY: the caller's; a coefficient is four words.
        unsafe {
            let at = table.add(4 * index).cast::<u8>();
            (vld1q_u8(at), vld1q_u8(at.add(16)))
        }
    }
    #[inline(always)]
    unsafe fn product(a: (uint8x16_t, uint8x16_t), c: (uint8x16_t, uint8x16_t)) -> Quad {
        // SAFETY: the caller's.
        unsafe { Quad(veorq_u8(vqtbl1q_u8(c.0, a.0), vqtbl1q_u8(c.1, a.1))) }
    }
    /// Nothing: stable Rust has no intrinsic for PRFM, and hardware prefetchers follow cells.
    #[inline(always)]
    unsafe fn prefetch(_from: *const u8) {}
    /// Nothing: there are no streamed stores to order.
    #[inline(always)]
    unsafe fn fence() {}
}

passes!(Quad, "neon", [2, 2, 2, 2, 2, 1, 1, 1, 1]);
