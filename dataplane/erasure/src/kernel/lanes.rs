//! The one loop that every SIMD kernel runs, over whichever vectors it is given.
//!
//! A kernel says how to load, store, xor and multiply its vectors ([`Lanes`]); the loop keeps
//! the sums of up to eight multiplied rows and one plain XOR row in registers while it walks
//! down the sources in pairs, so each source byte is loaded once and each sum stored once.

use super::Raw;

/// Bytes ahead of the loop that streaming passes prefetch.
const PREFETCH_BYTES: usize = 1024;

/// Up to so many multiplied rows, the coefficients of two sources stay in registers and the
/// vectors pass by; above, the vectors stay and each coefficient is loaded once for all of them.
const FEW_ROWS: usize = 3;

/// One vector register of a kernel.
///
/// # Safety
/// Every function needs the CPU features of its kernel; `load`, `store` and `stream` touch
/// [`Lanes::BYTES`] bytes behind the pointer; `stream` needs it aligned to that.
pub(super) trait Lanes: Copy {
    /// Bytes of one vector.
    const BYTES: usize;
    /// What one coefficient looks like in registers.
    type Coefficient: Copy;
    /// A vector made ready to be multiplied.
    type Operand: Copy;

    unsafe fn load(from: *const u8) -> Self;
    unsafe fn store(self, to: *mut u8);
    /// A store that goes past the caches.
    unsafe fn stream(self, to: *mut u8);
    unsafe fn zero() -> Self;
    unsafe fn xor(self, other: Self) -> Self;
    /// `self ^ a ^ b`.
    unsafe fn xor2(self, a: Self, b: Self) -> Self;
    unsafe fn operand(self) -> Self::Operand;
    /// The `index`th coefficient of a pass's table.
    unsafe fn coefficient(table: *const u64, index: usize) -> Self::Coefficient;
    unsafe fn product(a: Self::Operand, c: Self::Coefficient) -> Self;
    unsafe fn prefetch(from: *const u8);
    /// Orders streamed stores before whatever follows.
    unsafe fn fence();
}

/// Computes a pass over `[start, end)`, a whole number of vectors, with `R` multiplied rows,
/// a plain row if `X`, and `V` vectors at a time.
///
/// # Safety
/// As [`Raw`] says; and the CPU has the features of `L`.
#[inline(always)]
pub(super) unsafe fn pass<
    L: Lanes,
    const R: usize,
    const X: bool,
    const STREAM: bool,
    const V: usize,
>(
    raw: &Raw,
    start: usize,
    end: usize,
) {
    debug_assert_eq!((end - start) % L::BYTES, 0);
    let mut at = start;
    // SAFETY: both loops stay within [start, end), which the caller vouches for.
    unsafe {
        while at + V * L::BYTES <= end {
            step::<L, R, X, STREAM, V>(raw, at);
            at += V * L::BYTES;
        }
        while at < end {
            step::<L, R, X, STREAM, 1>(raw, at);
            at += L::BYTES;
        }
        if STREAM {
            L::fence();
        }
    }
}

/// One step of [`pass`]: `V` vectors of every output.
///
/// # Safety
/// As [`pass`].
#[inline(always)]
unsafe fn step<L: Lanes, const R: usize, const X: bool, const STREAM: bool, const V: usize>(
    raw: &Raw,
    at: usize,
) {
    // SAFETY: `raw` holds `sources` sources and X + R outputs of at least at + V·BYTES bytes.
    unsafe {
        let mut sums = [[L::zero(); V]; R];
        let mut plain = [L::zero(); V];
        if raw.accumulate {
            for (v, plain) in plain.iter_mut().enumerate() {
                if X {
                    *plain = L::load((*raw.outputs).add(at + v * L::BYTES));
                }
            }
            for (r, sums) in sums.iter_mut().enumerate() {
                let output = *raw.outputs.add(usize::from(X) + r);
                for (v, sum) in sums.iter_mut().enumerate() {
                    *sum = L::load(output.add(at + v * L::BYTES));
                }
            }
        }

        let mut s = 0;
        if X {
            while s + 2 <= raw.plain_sources {
                pair::<L, R, true, STREAM, V>(raw, s, at, &mut sums, &mut plain);
                s += 2;
            }
            if s < raw.plain_sources {
                single::<L, R, true, STREAM, V>(raw, s, at, &mut sums, &mut plain);
                s += 1;
            }
        }
        if R > 0 {
            while s + 2 <= raw.sources {
                pair::<L, R, false, STREAM, V>(raw, s, at, &mut sums, &mut plain);
                s += 2;
            }
            if s < raw.sources {
                single::<L, R, false, STREAM, V>(raw, s, at, &mut sums, &mut plain);
            }
        }

        if X {
            for (r, sums) in sums.iter().enumerate() {
                if r < raw.folded {
                    for v in 0..V {
                        plain[v] = plain[v].xor(sums[v]);
                    }
                }
            }
            put::<L, STREAM, V>(plain, *raw.outputs, at);
        }
        for (r, sums) in sums.iter().enumerate() {
            put::<L, STREAM, V>(*sums, *raw.outputs.add(usize::from(X) + r), at);
        }
    }
}

/// Adds two sources to every multiplied row, and to the plain one if `X`.
///
/// # Safety
/// As [`step`], and sources `s` and `s + 1` exist.
#[inline(always)]
pub(super) unsafe fn pair<
    L: Lanes,
    const R: usize,
    const X: bool,
    const STREAM: bool,
    const V: usize,
>(
    raw: &Raw,
    s: usize,
    at: usize,
    sums: &mut [[L; V]; R],
    plain: &mut [L; V],
) {
    // SAFETY: the caller's.
    unsafe {
        let (from_a, from_b) =
            (source::<L, STREAM, V>(raw, s, at), source::<L, STREAM, V>(raw, s + 1, at));
        if R <= FEW_ROWS {
            for v in 0..V {
                let (a, b) = (L::load(from_a.add(v * L::BYTES)), L::load(from_b.add(v * L::BYTES)));
                let (ready_a, ready_b) = (a.operand(), b.operand());
                for (r, sums) in sums.iter_mut().enumerate() {
                    let ca = L::coefficient(raw.table, s * R + r);
                    let cb = L::coefficient(raw.table, (s + 1) * R + r);
                    sums[v] = sums[v].xor2(L::product(ready_a, ca), L::product(ready_b, cb));
                }
                if X {
                    plain[v] = plain[v].xor2(a, b);
                }
            }
            return;
        }
        let (mut a, mut b) = ([L::zero(); V], [L::zero(); V]);
        for v in 0..V {
            (a[v], b[v]) = (L::load(from_a.add(v * L::BYTES)), L::load(from_b.add(v * L::BYTES)));
        }
        for (r, sums) in sums.iter_mut().enumerate() {
            let ca = L::coefficient(raw.table, s * R + r);
            let cb = L::coefficient(raw.table, (s + 1) * R + r);
            for v in 0..V {
                let (pa, pb) = (L::product(a[v].operand(), ca), L::product(b[v].operand(), cb));
                sums[v] = sums[v].xor2(pa, pb);
            }
        }
        if X {
            for v in 0..V {
                plain[v] = plain[v].xor2(a[v], b[v]);
            }
        }
    }
}

/// Adds one source to every multiplied row, and to the plain one if `X`.
///
/// # Safety
/// As [`step`], and source `s` exists.
#[inline(always)]
pub(super) unsafe fn single<
    L: Lanes,
    const R: usize,
    const X: bool,
    const STREAM: bool,
    const V: usize,
>(
    raw: &Raw,
    s: usize,
    at: usize,
    sums: &mut [[L; V]; R],
    plain: &mut [L; V],
) {
    // SAFETY: the caller's.
    unsafe {
        let from = source::<L, STREAM, V>(raw, s, at);
        for v in 0..V {
            let a = L::load(from.add(v * L::BYTES));
            let ready = a.operand();
            for (r, sums) in sums.iter_mut().enumerate() {
                sums[v] = sums[v].xor(L::product(ready, L::coefficient(raw.table, s * R + r)));
            }
            if X {
                plain[v] = plain[v].xor(a);
            }
        }
    }
}

/// Where this step's vectors of source `s` lie; prefetches what comes later if the pass streams.
///
/// # Safety
/// As [`step`], and source `s` exists.
#[inline(always)]
unsafe fn source<L: Lanes, const STREAM: bool, const V: usize>(
    raw: &Raw,
    s: usize,
    at: usize,
) -> *const u8 {
    // SAFETY: the caller's; a prefetch past the end of a cell touches nothing.
    unsafe {
        let from = (*raw.cells.add(s)).add(at);
        if STREAM {
            let mut ahead = 0;
            while ahead < V * L::BYTES {
                L::prefetch(from.wrapping_add(PREFETCH_BYTES + ahead));
                ahead += 64;
            }
        }
        from
    }
}

/// Stores `V` vectors of one output.
///
/// # Safety
/// As [`step`]; if `STREAM`, `output + at` is aligned to a vector.
#[inline(always)]
pub(super) unsafe fn put<L: Lanes, const STREAM: bool, const V: usize>(
    vectors: [L; V],
    output: *mut u8,
    at: usize,
) {
    for (v, vector) in vectors.into_iter().enumerate() {
        // SAFETY: the caller's.
        unsafe {
            let to = output.add(at + v * L::BYTES);
            if STREAM { vector.stream(to) } else { vector.store(to) }
        }
    }
}

/// The passes of one kernel, by streaming, plain row and multiplied rows.
pub(super) type Passes = [[[super::PassFn; super::ROWS_MAX + 1]; 2]; 2];

/// Instantiates [`pass`] for every row count under the CPU features of a kernel.
///
/// For each count of multiplied rows, from none to eight, the vectors at a time: as many as the
/// register file holds beside the operands. Long visits to each source matter most where cells
/// are aligned to pages: then all sources fall into the same few sets of the first-level cache,
/// and what the hardware prefetches for one is thrown out by the next before it is used.
macro_rules! passes {
    ($lanes:ty, $features:literal, [$v0:literal, $v1:literal, $v2:literal, $v3:literal, $v4:literal, $v5:literal, $v6:literal, $v7:literal, $v8:literal]) => {
        #[target_feature(enable = $features)]
        unsafe fn instance<const R: usize, const X: bool, const STREAM: bool, const V: usize>(
            raw: &super::Raw,
            start: usize,
            end: usize,
        ) {
            // SAFETY: the caller's.
            unsafe { super::lanes::pass::<$lanes, R, X, STREAM, V>(raw, start, end) }
        }

        /// Every pass of this kernel.
        pub(super) static PASSES: super::lanes::Passes = {
            macro_rules! rows {
                ($x:literal, $stream:literal) => {
                    [
                        instance::<0, $x, $stream, $v0>,
                        instance::<1, $x, $stream, $v1>,
                        instance::<2, $x, $stream, $v2>,
                        instance::<3, $x, $stream, $v3>,
                        instance::<4, $x, $stream, $v4>,
                        instance::<5, $x, $stream, $v5>,
                        instance::<6, $x, $stream, $v6>,
                        instance::<7, $x, $stream, $v7>,
                        instance::<8, $x, $stream, $v8>,
                    ]
                };
            }
            [[rows!(false, false), rows!(true, false)], [rows!(false, true), rows!(true, true)]]
        };
    };
}
pub(super) use passes;
