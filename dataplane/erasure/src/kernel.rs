//! The kernels: how the processor multiplies cells by coefficients.
//!
//! All of erasure coding is one operation, a [`Pass`]: up to eight outputs that are each a sum
//! of sources multiplied by coefficients, and one that is their plain XOR. A kernel is one file
//! that computes a pass on some kind of processor; each must equal the scalar one byte for
//! byte. The file with the `unsafe` code of a kernel is only reached through [`Kernel::run`],
//! which checks every cell's length and the processor's features first.

#![allow(unsafe_code, reason = "SIMD kernels take raw pointers and need CPU features")]

use crate::checksum::{self, Registers};
use crate::codec::Lost;
use crate::field::{AFFINE, NIBBLES};
use crate::program::Pass;
use std::mem::MaybeUninit;
use std::ops::Range;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx2_gfni;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod lanes;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;
#[cfg(target_arch = "x86_64")]
mod summed;

/// Multiplied rows of one pass at most: what the register files hold.
pub(crate) const ROWS_MAX: usize = 8;
/// Sources of one pass at most: the cells of a stripe over GF(2^8).
pub(crate) const SOURCES_MAX: usize = 256;

/// A way to multiply cells by coefficients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kernel {
    /// AVX-512 with GFNI.
    Avx512Gfni,
    /// AVX2 with GFNI.
    Avx2Gfni,
    /// AVX2, two byte shuffles a product.
    Avx2,
    /// NEON, two table look-ups a product.
    Neon,
    /// One byte at a time.
    Scalar,
}

impl Kernel {
    /// All kernels, the fastest first.
    pub const ALL: [Kernel; 5] =
        [Kernel::Avx512Gfni, Kernel::Avx2Gfni, Kernel::Avx2, Kernel::Neon, Kernel::Scalar];

    /// The fastest kernel that this processor can run.
    #[must_use]
    pub fn fastest() -> Kernel {
        Kernel::available().next().expect("the scalar kernel always runs")
    }

    /// The kernels that this processor can run, the fastest first.
    pub fn available() -> impl Iterator<Item = Kernel> {
        Kernel::ALL.into_iter().filter(|kernel| kernel.is_available())
    }

    /// Whether this processor can run the kernel.
    #[must_use]
    pub fn is_available(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512Gfni => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("gfni")
            }
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2Gfni => {
                is_x86_feature_detected!("avx2") && is_x86_feature_detected!("gfni")
            }
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2 => is_x86_feature_detected!("avx2"),
            #[cfg(target_arch = "aarch64")]
            Kernel::Neon => std::arch::is_aarch64_feature_detected!("neon"),
            Kernel::Scalar => true,
            #[allow(unreachable_patterns, reason = "the kernels of other processors")]
            _ => false,
        }
    }

    /// Its name, as the command line and the benches write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Kernel::Avx512Gfni => "avx512-gfni",
            Kernel::Avx2Gfni => "avx2-gfni",
            Kernel::Avx2 => "avx2",
            Kernel::Neon => "neon",
            Kernel::Scalar => "scalar",
        }
    }

    /// Byte products a nanosecond that the kernel reaches on a slow processor, less than it
    /// does on any we measured: what bounds the time of a slice.
    pub(crate) const fn products_per_ns(self) -> f64 {
        match self {
            Kernel::Avx512Gfni | Kernel::Avx2Gfni => 64.0,
            Kernel::Avx2 | Kernel::Neon => 16.0,
            Kernel::Scalar => 0.25,
        }
    }

    /// Appends the form of `coefficient` that the kernel multiplies by.
    pub(crate) fn expand(self, coefficient: u8, table: &mut Vec<u64>) {
        match self {
            Kernel::Avx512Gfni | Kernel::Avx2Gfni => {
                table.push(AFFINE[usize::from(coefficient)]);
            }
            Kernel::Avx2 | Kernel::Neon => {
                table.extend_from_slice(&NIBBLES[usize::from(coefficient)]);
            }
            Kernel::Scalar => {}
        }
    }

    /// Words that [`expand`](Kernel::expand) appends.
    pub(crate) const fn coefficient_words(self) -> usize {
        match self {
            Kernel::Avx512Gfni | Kernel::Avx2Gfni => 1,
            Kernel::Avx2 | Kernel::Neon => 4,
            Kernel::Scalar => 0,
        }
    }

    /// Computes `pass` over `columns` of the cells; with `accumulate`, adds to what the outputs
    /// hold. With `stream`, sources are prefetched and outputs written past the caches, if they
    /// are aligned for it.
    ///
    /// # Panics
    /// If a cell is shorter than the end of `columns`, if the pass was compiled for a kernel
    /// with other tables, or if this processor lacks the kernel.
    pub(crate) fn run(
        self,
        pass: &Pass,
        sources: &(impl Sources + ?Sized),
        outputs: &mut (impl Outputs + ?Sized),
        columns: Range<usize>,
        accumulate: bool,
        stream: bool,
    ) {
        let vectors =
            self.passes().map_or(0, |(_, bytes)| (columns.end - columns.start) / bytes * bytes);
        let bulk = columns.start..columns.start + vectors;
        if let (Some((passes, vector_bytes)), false) = (self.passes(), bulk.is_empty()) {
            let rows = pass.multiplied_rows();
            self.with_raw(pass, sources, outputs, &bulk, vector_bytes, |raw, aligned| {
                let raw = Raw { accumulate, ..raw };
                let stream = stream && aligned && !accumulate;
                let instance = passes[usize::from(stream)][usize::from(pass.has_plain())][rows];
                // SAFETY: `with_raw` vouches for the processor, the cells and the alignment of
                // streamed outputs; `bulk` is a whole number of vectors.
                unsafe { instance(&raw, bulk.start, bulk.end) }
            });
        }
        if bulk.end < columns.end {
            scalar::pass(pass, sources, outputs, bulk.end..columns.end, accumulate);
        }
    }

    /// Computes `pass` as [`run`](Kernel::run) does, and takes `columns` of each source and each
    /// multiplied output into its CRC register. With `stream`, as `run`.
    ///
    /// # Panics
    /// As `run`; or if a cell of the pass has no register.
    pub(crate) fn run_summed(
        self,
        pass: &Pass,
        sources: &(impl Sources + ?Sized),
        outputs: &mut (impl Outputs + ?Sized),
        columns: Range<usize>,
        stream: bool,
        registers: &mut Registers<'_>,
    ) {
        let bulk = self.run_summed_bulk(pass, sources, outputs, &columns, stream, registers);
        let rest = columns.start + bulk..columns.end;
        self.run(pass, sources, outputs, rest.clone(), false, false);
        for &source in pass.sources() {
            let register = &mut registers.data[usize::from(source)];
            *register = checksum::take(*register, &sources.cell(source.into())[rest.clone()]);
        }
        registers.take_outputs(pass, outputs, rest);
    }

    /// Whether the kernel takes checksums in the loop that multiplies.
    pub(crate) fn sums(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        {
            self == Kernel::Avx512Gfni && summed::is_available()
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            false
        }
    }

    /// The part of [`run_summed`](Kernel::run_summed) that is done in one loop; the bytes of it.
    #[cfg(target_arch = "x86_64")]
    fn run_summed_bulk(
        self,
        pass: &Pass,
        sources: &(impl Sources + ?Sized),
        outputs: &mut (impl Outputs + ?Sized),
        columns: &Range<usize>,
        stream: bool,
        registers: &mut Registers<'_>,
    ) -> usize {
        let bytes = columns.len() / summed::STEP_BYTES * summed::STEP_BYTES;
        if !self.sums() || bytes == 0 {
            return 0;
        }
        let bulk = columns.start..columns.start + bytes;
        let (read, rows) = (pass.sources().len(), pass.multiplied_rows());
        let multiplied = &pass.outputs()[usize::from(pass.has_plain())..];
        let mut sums = [0; SOURCES_MAX + ROWS_MAX];
        for (sum, &source) in sums.iter_mut().zip(pass.sources()) {
            *sum = registers.data[usize::from(source)];
        }
        for (sum, &output) in sums[read..].iter_mut().zip(multiplied) {
            *sum = registers.parity[usize::from(output)];
        }
        self.with_raw(pass, sources, outputs, &bulk, 64, |raw, aligned| {
            let stream = usize::from(stream && aligned);
            let instance = summed::PASSES[stream][usize::from(pass.has_plain())][rows];
            // SAFETY: `with_raw` vouches for the processor, the cells and the alignment of
            // streamed outputs, and `sums` for what else the loop needs; `bulk` is whole steps.
            unsafe { instance(&raw, &mut sums[..read + rows], bulk.start, bulk.end) }
        });
        for (sum, &source) in sums.iter().zip(pass.sources()) {
            registers.data[usize::from(source)] = *sum;
        }
        for (sum, &output) in sums[read..].iter().zip(multiplied) {
            registers.parity[usize::from(output)] = *sum;
        }
        bytes
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn run_summed_bulk(
        self,
        _: &Pass,
        _: &(impl Sources + ?Sized),
        _: &mut (impl Outputs + ?Sized),
        _: &Range<usize>,
        _: bool,
        _: &mut Registers<'_>,
    ) -> usize {
        0
    }

    /// Calls `f` with the pass in the form that SIMD kernels take, and whether every output is
    /// aligned to `vector_bytes` at the start of `columns`. During the call the processor has
    /// the kernel's features; every cell is at least as long as the end of `columns`; outputs
    /// are distinct cells, each borrowed exclusively through `outputs`, and none is a source, as
    /// `sources` borrows those.
    fn with_raw(
        self,
        pass: &Pass,
        sources: &(impl Sources + ?Sized),
        outputs: &mut (impl Outputs + ?Sized),
        columns: &Range<usize>,
        vector_bytes: usize,
        f: impl FnOnce(Raw, bool),
    ) {
        assert!(self.is_available(), "this processor has no {}", self.name());
        assert_eq!(
            pass.table().len(),
            pass.sources().len() * pass.multiplied_rows() * self.coefficient_words(),
            "a pass runs on the kernel it was compiled for"
        );
        let mut cells = [const { MaybeUninit::<*const u8>::uninit() }; SOURCES_MAX];
        for (slot, &source) in cells[..pass.sources().len()].iter_mut().zip(pass.sources()) {
            slot.write(sources.cell(source.into())[..columns.end].as_ptr());
        }
        let mut written = [const { MaybeUninit::<*mut u8>::uninit() }; ROWS_MAX + 1];
        let mut aligned = true;
        for (slot, &output) in written.iter_mut().zip(pass.outputs()) {
            let output = outputs.cell_mut(output.into())[..columns.end].as_mut_ptr();
            aligned &= (output as usize + columns.start).is_multiple_of(vector_bytes);
            slot.write(output);
        }
        let raw = Raw {
            cells: cells.as_ptr().cast(),
            sources: pass.sources().len(),
            plain_sources: pass.plain_sources(),
            outputs: written.as_ptr().cast(),
            folded: pass.folded(),
            table: pass.table().as_ptr(),
            accumulate: false,
        };
        f(raw, aligned);
    }

    /// The kernel's compiled passes and the bytes of its vectors; none for the scalar one.
    #[cfg(target_arch = "x86_64")]
    fn passes(self) -> Option<(&'static lanes::Passes, usize)> {
        match self {
            Kernel::Avx512Gfni => Some((&avx512::PASSES, 64)),
            Kernel::Avx2Gfni => Some((&avx2_gfni::PASSES, 32)),
            Kernel::Avx2 => Some((&avx2::PASSES, 32)),
            Kernel::Neon | Kernel::Scalar => None,
        }
    }

    #[cfg(target_arch = "aarch64")]
    fn passes(self) -> Option<(&'static lanes::Passes, usize)> {
        matches!(self, Kernel::Neon).then_some((&neon::PASSES, 16))
    }

    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    fn passes(self) -> Option<(&'static [[[PassFn; ROWS_MAX + 1]; 2]; 2], usize)> {
        None
    }
}

impl std::fmt::Display for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Cells that a pass reads, by index.
pub(crate) trait Sources {
    /// The bytes of cell `index`.
    fn cell(&self, index: usize) -> &[u8];
}

/// Cells that a pass writes, by index.
///
/// # Safety
/// Distinct indices are distinct memory, and an index is the same memory each time.
pub(crate) unsafe trait Outputs {
    /// The bytes of cell `index`.
    fn cell_mut(&mut self, index: usize) -> &mut [u8];
}

impl Sources for [&[u8]] {
    fn cell(&self, index: usize) -> &[u8] {
        self[index]
    }
}

impl Sources for [Option<&[u8]>] {
    fn cell(&self, index: usize) -> &[u8] {
        self[index].expect("a pass reads only surviving cells")
    }
}

// SAFETY: exclusive borrows don't overlap.
unsafe impl Outputs for [&mut [u8]] {
    fn cell_mut(&mut self, index: usize) -> &mut [u8] {
        self[index]
    }
}

// SAFETY: exclusive borrows don't overlap.
unsafe impl Outputs for [Lost<'_>] {
    fn cell_mut(&mut self, index: usize) -> &mut [u8] {
        self[index].bytes
    }
}

/// Working memory as cells of `cell_bytes` each.
pub(crate) struct Scratch<'a> {
    pub(crate) bytes: &'a mut [u8],
    pub(crate) cell_bytes: usize,
}

// SAFETY: cell `index` is its own part of the bytes.
unsafe impl Outputs for Scratch<'_> {
    fn cell_mut(&mut self, index: usize) -> &mut [u8] {
        &mut self.bytes[index * self.cell_bytes..][..self.cell_bytes]
    }
}

/// A pass in the form that SIMD kernels take.
///
/// Valid while its columns are within every cell, outputs are distinct and none is a source.
pub(crate) struct Raw {
    /// The sources' first bytes; those of the plain row come first.
    cells: *const *const u8,
    sources: usize,
    /// Sources that the plain row sums up.
    plain_sources: usize,
    /// The outputs' first bytes: the plain row, if any, then the multiplied ones.
    outputs: *const *mut u8,
    /// Multiplied rows, from the first, that are added to the plain row.
    folded: usize,
    /// Coefficients of the multiplied rows, by source and then row, in the kernel's form.
    table: *const u64,
    /// Whether the outputs' former bytes are part of the sums.
    accumulate: bool,
}

/// One compiled pass: from column, to column.
pub(crate) type PassFn = unsafe fn(&Raw, usize, usize);
