//! Encoding and CRC32C in one loop, for AVX-512 with GFNI and VPCLMULQDQ.
//!
//! Two passes, or two loops over a block that stays in the cache, cost the sum of both: a CRC by
//! itself is bound by VPCLMULQDQ, which leaves the units free that multiply and add. Here each
//! vector is folded in the visit that multiplies it, and parity while it is in registers: it is
//! never read back, so that cold stripes can be written past the caches.
//!
//! Worked out for 10+4 on Zen 4, per 64 bytes of column. Two 64-byte operations can be had in a
//! clock; a product and a three-way XOR take one place each, a VPCLMULQDQ three and every second
//! clock. Encoding takes 30 products and 20 XORs, folding 13 cells 26 VPCLMULQDQ and 13 XORs:
//! 141 places, 71 clocks, where a CRC of 14 cells takes 56 and encoding another 42. The plain
//! output is left to [`Checksums`](crate::Checksums), which sums up the checksums of its sources.
//!
//! Folding (Gopal et al., "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ", Intel
//! 2009): a vector is a polynomial over GF(2); moving it n bits up the message multiplies it by
//! x^n, and modulo the polynomial of the CRC any vector congruent to that will do.

use super::avx512::Zmm;
use super::lanes::{self, Lanes};
use super::{ROWS_MAX, Raw, SOURCES_MAX};
use crate::checksum::power_of_x;
use std::arch::asm;
use std::arch::x86_64::*;
use std::hint::black_box;
use std::mem::MaybeUninit;

/// Columns are worked on in whole steps.
pub(super) const STEP_BYTES: usize = 64 * VECTORS_MAX;
/// Vectors of each cell in one visit, at most.
const VECTORS_MAX: usize = 4;

/// x has this order modulo the polynomial, which is (x + 1) times a primitive one of degree 31.
const ORDER: u128 = (1 << 31) - 1;
const _: () = assert!(power_of_x(ORDER) == power_of_x(0));

/// `FOLDS[v]` moves a vector v + 1 vectors along: the factor of the first half of each 128 bits,
/// which has 64 bits further to go, and that of the second.
static FOLDS: [[u64; 2]; VECTORS_MAX] = {
    let mut folds = [[0; 2]; VECTORS_MAX];
    let mut v = 0;
    while v < folds.len() {
        let bits = 512 * (v + 1) as u128;
        folds[v] = [(power_of_x(bits + 32) as u64) << 1, (power_of_x(bits - 32) as u64) << 1];
        v += 1;
    }
    folds
};
/// From a register to the 32 bits of message that would have left it behind: x^-32, without the
/// x^33 that [`times`] multiplies by.
const BACK: u32 = power_of_x(ORDER - 32 - 33);

/// A vector that is congruent to all of a cell so far.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Folded([u64; 8]);

/// Whether the processor has what this loop needs beside AVX-512 and GFNI.
pub(super) fn is_available() -> bool {
    is_x86_feature_detected!("vpclmulqdq")
        && is_x86_feature_detected!("pclmulqdq")
        && is_x86_feature_detected!("sse4.2")
}

/// One compiled pass: the registers of all sources and multiplied outputs, from column, to column.
type PassFn = unsafe fn(&Raw, &mut [u32], usize, usize);

/// Computes a pass over `[start, end)` as [`lanes::pass`] does, and takes every source and every
/// multiplied output into `registers`.
///
/// # Safety
/// As [`lanes::pass`]; the processor has the features; columns are whole steps.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,gfni,vpclmulqdq,pclmulqdq,sse4.2")]
unsafe fn pass<const R: usize, const X: bool, const STREAM: bool, const V: usize>(
    raw: &Raw,
    registers: &mut [u32],
    start: usize,
    end: usize,
) {
    const { assert!(STEP_BYTES.is_multiple_of(64 * V)) };
    debug_assert!((end - start).is_multiple_of(STEP_BYTES));
    assert_eq!(registers.len(), raw.sources + R, "a register for each cell");
    let mut cells = [const { MaybeUninit::<Folded>::uninit() }; SOURCES_MAX + ROWS_MAX];
    for (cell, &register) in cells.iter_mut().zip(&*registers) {
        cell.write(Folded([0, 0, 0, 0, 0, 0, 0, u64::from(times(register, BACK)) << 32]));
    }
    // SAFETY: as many as there are registers were written.
    let cells = unsafe {
        std::slice::from_raw_parts_mut(cells.as_mut_ptr().cast::<Folded>(), registers.len())
    };
    // Known to the compiler, the halves of a factor would take a register each.
    let folds = black_box(&FOLDS);
    let folds: [__m512i; V] = std::array::from_fn(|v| {
        let [first, second] = folds[v];
        _mm512_broadcast_i32x4(_mm_set_epi64x(second as i64, first as i64))
    });
    let mut at = start;
    while at < end {
        // SAFETY: the columns are within [start, end), which the caller vouches for.
        unsafe { step::<R, X, STREAM, V>(raw, cells, &folds, at) };
        at += 64 * V;
    }
    for (cell, register) in cells.iter().zip(registers) {
        *register = cell.0.iter().fold(0, |sum, &word| _mm_crc32_u64(sum, word)) as u32;
    }
    if STREAM {
        _mm_sfence();
    }
}

/// One step of [`pass`]: `V` vectors of every output.
///
/// # Safety
/// As [`pass`]; `cells` has one for each source, then one for each multiplied output.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,gfni,vpclmulqdq,pclmulqdq,sse4.2")]
unsafe fn step<const R: usize, const X: bool, const STREAM: bool, const V: usize>(
    raw: &Raw,
    cells: &mut [Folded],
    folds: &[__m512i; V],
    at: usize,
) {
    // SAFETY: `raw` holds `sources` sources and X + R outputs of at least at + V·64 bytes.
    unsafe {
        let mut sums = [[Zmm::zero(); V]; R];
        let mut plain = [Zmm::zero(); V];
        let mut s = 0;
        if X {
            while s + 2 <= raw.plain_sources {
                lanes::pair::<Zmm, R, true, STREAM, V>(raw, s, at, &mut sums, &mut plain);
                fold(cells.get_unchecked_mut(s), load(raw, s, at), folds);
                fold(cells.get_unchecked_mut(s + 1), load(raw, s + 1, at), folds);
                s += 2;
            }
            if s < raw.plain_sources {
                lanes::single::<Zmm, R, true, STREAM, V>(raw, s, at, &mut sums, &mut plain);
                fold(cells.get_unchecked_mut(s), load(raw, s, at), folds);
                s += 1;
            }
        }
        while s + 2 <= raw.sources {
            lanes::pair::<Zmm, R, false, STREAM, V>(raw, s, at, &mut sums, &mut plain);
            fold(cells.get_unchecked_mut(s), load(raw, s, at), folds);
            fold(cells.get_unchecked_mut(s + 1), load(raw, s + 1, at), folds);
            s += 2;
        }
        if s < raw.sources {
            lanes::single::<Zmm, R, false, STREAM, V>(raw, s, at, &mut sums, &mut plain);
            fold(cells.get_unchecked_mut(s), load(raw, s, at), folds);
        }
        for (r, sums) in sums.iter().enumerate() {
            fold(cells.get_unchecked_mut(raw.sources + r), |v| sums[v].0, folds);
            lanes::put::<Zmm, STREAM, V>(*sums, *raw.outputs.add(usize::from(X) + r), at);
        }
        if X {
            lanes::put::<Zmm, STREAM, V>(plain, *raw.outputs, at);
        }
    }
}

/// The vectors of source `s` from column `at` on. They were loaded for the products a moment
/// ago, but there are not the registers to keep them.
///
/// # Safety
/// The vectors that are asked for are there.
#[inline(always)]
unsafe fn load(raw: &Raw, s: usize, at: usize) -> impl Fn(usize) -> __m512i {
    // SAFETY: the caller's. The statement is empty: it hides from the compiler that it has seen
    // these bytes.
    let from = unsafe {
        let mut from = (*raw.cells.add(s)).add(at);
        asm!("/* {0} */", inout(reg) from, options(pure, readonly, nostack, preserves_flags));
        from
    };
    // SAFETY: the caller's.
    move |v| unsafe { _mm512_loadu_si512(from.add(64 * v).cast()) }
}

/// Takes `V` vectors into a cell.
#[inline]
#[target_feature(enable = "avx512f,vpclmulqdq")]
fn fold<const V: usize>(
    cell: &mut Folded,
    vector: impl Fn(usize) -> __m512i,
    folds: &[__m512i; V],
) {
    let mut sum = vector(V - 1);
    for v in 0..V {
        let (from, factors) = if v + 1 < V {
            (vector(v), folds[V - 2 - v])
        } else {
            // SAFETY: these are 64 bytes, aligned to as many.
            (unsafe { _mm512_load_si512(cell.0.as_ptr().cast()) }, folds[V - 1])
        };
        sum = _mm512_ternarylogic_epi64::<0x96>(
            sum,
            _mm512_clmulepi64_epi128::<0x00>(from, factors),
            _mm512_clmulepi64_epi128::<0x11>(from, factors),
        );
    }
    // SAFETY: as above.
    unsafe { _mm512_store_si512(cell.0.as_mut_ptr().cast(), sum) }
}

/// a·b·x^33 modulo the polynomial.
#[inline]
#[target_feature(enable = "sse4.2,pclmulqdq")]
fn times(a: u32, b: u32) -> u32 {
    let (a, b) = (_mm_cvtsi64_si128(i64::from(a)), _mm_cvtsi64_si128(i64::from(b)));
    _mm_crc32_u64(0, _mm_cvtsi128_si64(_mm_clmulepi64_si128::<0x00>(a, b)) as u64) as u32
}

/// The passes, by streaming, plain row and multiplied rows: as many vectors at a time as there
/// are registers for.
pub(super) static PASSES: [[[PassFn; ROWS_MAX + 1]; 2]; 2] = {
    macro_rules! rows {
        ($x:literal, $stream:literal) => {
            [
                pass::<0, $x, $stream, 4>,
                pass::<1, $x, $stream, 4>,
                pass::<2, $x, $stream, 4>,
                pass::<3, $x, $stream, 4>,
                pass::<4, $x, $stream, 2>,
                pass::<5, $x, $stream, 2>,
                pass::<6, $x, $stream, 2>,
                pass::<7, $x, $stream, 2>,
                pass::<8, $x, $stream, 2>,
            ]
        };
    }
    [[rows!(false, false), rows!(true, false)], [rows!(false, true), rows!(true, true)]]
};
