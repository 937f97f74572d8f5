//! The one loop that every SIMD kernel runs, over whichever vectors it is given.
//!
//! A kernel says how to load, store, xor and multiply its vectors ([`Lanes`]); the loop keeps
//! the sums of up to eight multiplied rows and one plain XOR row in registers while it walks
//! down the sources in pairs, so each source byte is loaded once and each sum stored once.

use super::Raw;

/// Bytes ahead of the loop that streaming passes prefetch.
const PREFETCH_BYTES: usize = 1024;

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
                let (a, b) = pair::<L, R, STREAM, V>(raw, s, at, &mut sums);
                for v in 0..V {
                    plain[v] = plain[v].xor2(a[v], b[v]);
                }
                s += 2;
            }
            if s < raw.plain_sources {
                let a = single::<L, R, STREAM, V>(raw, s, at, &mut sums);
                for v in 0..V {
                    plain[v] = plain[v].xor(a[v]);
                }
                s += 1;
            }
        }
        if R > 0 {
            while s + 2 <= raw.sources {
                pair::<L, R, STREAM, V>(raw, s, at, &mut sums);
                s += 2;
            }
            if s < raw.sources {
                single::<L, R, STREAM, V>(raw, s, at, &mut sums);
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

/// Adds two sources to every multiplied row; gives them back for the plain one.
///
/// # Safety
/// As [`step`], and sources `s` and `s + 1` exist.
#[inline(always)]
unsafe fn pair<L: Lanes, const R: usize, const STREAM: bool, const V: usize>(
    raw: &Raw,
    s: usize,
    at: usize,
    sums: &mut [[L; V]; R],
) -> ([L; V], [L; V]) {
    // SAFETY: the caller's.
    unsafe {
        let (a, b) = (take::<L, STREAM, V>(raw, s, at), take::<L, STREAM, V>(raw, s + 1, at));
        for (r, sums) in sums.iter_mut().enumerate() {
            let ca = L::coefficient(raw.table, s * R + r);
            let cb = L::coefficient(raw.table, (s + 1) * R + r);
            for v in 0..V {
                sums[v] =
                    sums[v].xor2(L::product(a[v].operand(), ca), L::product(b[v].operand(), cb));
            }
        }
        (a, b)
    }
}

/// Adds one source to every multiplied row; gives it back for the plain one.
///
/// # Safety
/// As [`step`], and source `s` exists.
#[inline(always)]
unsafe fn single<L: Lanes, const R: usize, const STREAM: bool, const V: usize>(
    raw: &Raw,
    s: usize,
    at: usize,
    sums: &mut [[L; V]; R],
) -> [L; V] {
    // SAFETY: the caller's.
    unsafe {
        let a = take::<L, STREAM, V>(raw, s, at);
        for (r, sums) in sums.iter_mut().enumerate() {
            let c = L::coefficient(raw.table, s * R + r);
            for v in 0..V {
                sums[v] = sums[v].xor(L::product(a[v].operand(), c));
            }
        }
        a
    }
}

/// Loads `V` vectors of source `s`, prefetching what comes later if the pass streams.
///
/// # Safety
/// As [`step`], and source `s` exists.
#[inline(always)]
unsafe fn take<L: Lanes, const STREAM: bool, const V: usize>(
    raw: &Raw,
    s: usize,
    at: usize,
) -> [L; V] {
    // SAFETY: the caller's; a prefetch past the end of a cell touches nothing.
    unsafe {
        let source = *raw.cells.add(s);
        if STREAM {
            let mut ahead = 0;
            while ahead < V * L::BYTES {
                L::prefetch(source.wrapping_add(at + PREFETCH_BYTES + ahead));
                ahead += 64;
            }
        }
        let mut vectors = [L::zero(); V];
        for (v, vector) in vectors.iter_mut().enumerate() {
            *vector = L::load(source.add(at + v * L::BYTES));
        }
        vectors
    }
}

/// Stores `V` vectors of one output.
///
/// # Safety
/// As [`step`]; if `STREAM`, `output + at` is aligned to a vector.
#[inline(always)]
unsafe fn put<L: Lanes, const STREAM: bool, const V: usize>(
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
/// `$narrow` vectors at a time up to four multiplied rows, `$wide` above: as many as the
/// register file holds beside the operands.
macro_rules! passes {
    ($lanes:ty, $features:literal, $few:literal, $many:literal) => {
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
                        instance::<0, $x, $stream, $few>,
                        instance::<1, $x, $stream, $few>,
                        instance::<2, $x, $stream, $few>,
                        instance::<3, $x, $stream, $few>,
                        instance::<4, $x, $stream, $few>,
                        instance::<5, $x, $stream, $many>,
                        instance::<6, $x, $stream, $many>,
                        instance::<7, $x, $stream, $many>,
                        instance::<8, $x, $stream, $many>,
                    ]
                };
            }
            [[rows!(false, false), rows!(true, false)], [rows!(false, true), rows!(true, true)]]
        };
    };
}
pub(super) use passes;
