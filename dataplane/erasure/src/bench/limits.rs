//! What the machine allows: the rate of the multiply instruction, and the bytes that memory
//! moves when nothing is computed.

#![allow(unsafe_code, reason = "instructions and streamed stores are measured directly")]

use super::contender::Contender;
use crate::Kernel;

/// Products in flight, so that the latency of the instruction does not show.
const CHAINS: usize = 12;
/// Rounds of one measurement: some 40 µs.
const ROUNDS: usize = 10_000;

/// Byte products a nanosecond of the kernel's multiply instruction alone; none for a kernel
/// without one that can be run here.
pub(super) fn products_per_ns(kernel: Kernel, now: &dyn Fn() -> u64) -> Option<f64> {
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: no measurement below runs on a processor without its features.
        let measure: (unsafe fn(), usize) = match kernel {
            _ if !kernel.is_available() => return None,
            Kernel::Avx512Gfni => (x86::affine_zmm, 64),
            Kernel::Avx2Gfni => (x86::affine_ymm, 32),
            // A product is two shuffles.
            Kernel::Avx2 => (x86::shuffle_ymm, 16),
            Kernel::Neon | Kernel::Scalar => return None,
        };
        let start = now();
        // SAFETY: the kernel is available.
        unsafe { measure.0() };
        Some((CHAINS * ROUNDS * measure.1) as f64 / (now() - start) as f64)
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = (kernel, now);
        None
    }
}

/// Loops that read k cells and write m past the caches, in two orders; none where there are no
/// streamed stores.
pub(super) fn bandwidth_loops() -> Vec<Box<dyn Contender>> {
    #[cfg(target_arch = "x86_64")]
    if Kernel::Avx512Gfni.is_available() {
        return vec![
            Box::new(Bandwidth { name: "bandwidth-by-column", block_bytes: 256 }),
            Box::new(Bandwidth { name: "bandwidth-by-block", block_bytes: 16 << 10 }),
        ];
    }
    Vec::new()
}

/// Reads `block_bytes` of every data cell, then writes as much of every parity cell.
#[cfg(target_arch = "x86_64")]
struct Bandwidth {
    name: &'static str,
    block_bytes: usize,
}

#[cfg(target_arch = "x86_64")]
impl Contender for Bandwidth {
    fn name(&self) -> String {
        self.name.to_owned()
    }

    fn is_bandwidth(&self) -> bool {
        true
    }

    fn run(&mut self, data: &[&[u8]], parity: &mut [&mut [u8]], runs: u64) {
        let cell_bytes = data[0].len() / 256 * 256;
        assert!(parity.iter().all(|cell| cell.as_ptr().addr().is_multiple_of(64)));
        for _ in 0..runs {
            // SAFETY: AVX-512 is there, cells have that many bytes, and parity is aligned.
            unsafe { x86::move_cells(data, parity, cell_bytes, self.block_bytes) };
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{CHAINS, ROUNDS};
    use std::arch::x86_64::*;
    use std::hint::black_box;

    /// # Safety
    /// The processor has the features.
    #[target_feature(enable = "avx512f,avx512bw,gfni")]
    pub(super) unsafe fn affine_zmm() {
        let matrix = black_box(_mm512_set1_epi64(0x0102_0408_1020_4081));
        let mut sums = [_mm512_set1_epi8(black_box(3)); CHAINS];
        for _ in 0..ROUNDS {
            for sum in &mut sums {
                *sum = _mm512_gf2p8affine_epi64_epi8::<0>(*sum, matrix);
            }
        }
        black_box(sums);
    }

    /// # Safety
    /// The processor has the features.
    #[target_feature(enable = "avx2,gfni")]
    pub(super) unsafe fn affine_ymm() {
        let matrix = black_box(_mm256_set1_epi64x(0x0102_0408_1020_4081));
        let mut sums = [_mm256_set1_epi8(black_box(3)); CHAINS];
        for _ in 0..ROUNDS {
            for sum in &mut sums {
                *sum = _mm256_gf2p8affine_epi64_epi8::<0>(*sum, matrix);
            }
        }
        black_box(sums);
    }

    /// # Safety
    /// The processor has the features.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn shuffle_ymm() {
        let table = black_box(_mm256_set1_epi64x(0x0102_0408_1020_4081));
        let mut sums = [_mm256_set1_epi8(black_box(3)); CHAINS];
        for _ in 0..ROUNDS {
            for sum in &mut sums {
                *sum = _mm256_shuffle_epi8(table, *sum);
            }
        }
        black_box(sums);
    }

    /// Block by block of each cell, reads the data and writes something into the parity.
    ///
    /// # Safety
    /// The processor has the features; every cell has `cell_bytes`, which like `block_bytes` is
    /// whole 256-byte steps; parity cells are aligned to 64 bytes.
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn move_cells(
        data: &[&[u8]],
        parity: &mut [&mut [u8]],
        cell_bytes: usize,
        block_bytes: usize,
    ) {
        let mut start = 0;
        while start < cell_bytes {
            let end = cell_bytes.min(start + block_bytes);
            let mut sums = [_mm512_setzero_si512(); 4];
            for cell in data {
                let mut at = start;
                while at < end {
                    let from = cell.as_ptr().wrapping_add(at);
                    for (i, sum) in sums.iter_mut().enumerate() {
                        _mm_prefetch::<_MM_HINT_T1>(from.wrapping_add(1024 + 64 * i).cast());
                        // SAFETY: within the cell.
                        let vector = unsafe { _mm512_loadu_si512(from.add(64 * i).cast()) };
                        *sum = _mm512_xor_si512(*sum, vector);
                    }
                    at += 256;
                }
            }
            for cell in parity.iter_mut() {
                let mut at = start;
                while at < end {
                    for (i, sum) in sums.iter().enumerate() {
                        // SAFETY: within the cell, and aligned.
                        unsafe {
                            _mm512_stream_si512(cell.as_mut_ptr().add(at + 64 * i).cast(), *sum);
                        }
                    }
                    at += 256;
                }
            }
            start = end;
        }
        _mm_sfence();
    }
}
