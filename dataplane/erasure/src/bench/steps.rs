//! How long a step holds its core.
//!
//! A stripe of 16 MiB of data goes through every operation in steps, from memory, and each step
//! is timed. A step that was interrupted says nothing about the code, so for the first, the second
//! and each later step the least time of all stripes counts, and a row holds the longest of those;
//! beside it, the longest that was seen.

use super::Operation;
use super::contender::{Cells, Stripes, lost_cells};
use crate::{
    Checksums, Codec, Cursor, Descriptor, GeometryError, Kernel, Lost, Options, Progress, Scheme,
};

/// User bytes of the stripe.
pub const STRIPE_BYTES: usize = 16 << 20;

/// The operations that are timed; decoding loses other cells in each stripe, so each needs a new
/// plan.
const OPERATIONS: [Operation; 6] = [
    Operation::Encode,
    Operation::EncodeWithChecksums,
    Operation::Verify,
    Operation::Update,
    Operation::DecodeReplan,
    Operation::DecodeOne,
];

/// What to time.
#[derive(Debug, Clone)]
pub struct StepRequest {
    /// The schemes.
    pub schemes: Vec<Scheme>,
    /// Stripes of each operation.
    pub rounds: usize,
    /// Memory that the stripes rotate over.
    pub cold_bytes: usize,
    /// User bytes of a stripe.
    pub stripe_bytes: usize,
    /// Whether the slower kernels of this processor are timed too.
    pub all_kernels: bool,
}

impl Default for StepRequest {
    fn default() -> StepRequest {
        let schemes =
            ["3x", "4+2", "10+4", "32+8", "128+64", "128+127", "lrc12+2+2", "290+10", "1000+200"];
        StepRequest {
            schemes: schemes.iter().map(|text| text.parse().expect("a geometry")).collect(),
            rounds: 9,
            cold_bytes: 128 << 20,
            stripe_bytes: STRIPE_BYTES,
            all_kernels: false,
        }
    }
}

/// The steps of one operation under one scheme.
#[derive(Debug, Clone, PartialEq)]
pub struct StepRow {
    /// The scheme, as it is written.
    pub geometry: String,
    /// Bytes of a cell.
    pub cell_bytes: u32,
    /// What was done.
    pub operation: Operation,
    /// The kernel.
    pub kernel: Kernel,
    /// Steps that a stripe took.
    pub steps: usize,
    /// Microseconds of the longest step, each taken from the stripe where it was shortest.
    pub longest_us: f64,
    /// Microseconds of the longest step that was seen, interruptions included.
    pub worst_us: f64,
}

/// Times the steps; `now` tells monotonic nanoseconds.
///
/// # Errors
/// If a scheme can't have cells of that length.
pub fn steps(
    request: &StepRequest,
    now: &dyn Fn() -> u64,
    each: &mut dyn FnMut(&StepRow),
) -> Result<Vec<StepRow>, GeometryError> {
    let mut rows = Vec::new();
    for &scheme in &request.schemes {
        let cell_bytes = request.stripe_bytes.div_ceil(scheme.data_cells());
        let unit = if cell_bytes >= 4096 { 4096 } else { 64 };
        let descriptor = Descriptor::new(scheme, cell_bytes.next_multiple_of(unit) as u32)?;
        let mut stripes = Stripes::new(descriptor, Operation::EncodeCold, request.cold_bytes);
        let kernels = Kernel::available().take(if request.all_kernels { usize::MAX } else { 1 });
        for kernel in kernels {
            for operation in OPERATIONS {
                let row = time(request, now, &mut stripes, descriptor, kernel, operation);
                each(&row);
                rows.push(row);
            }
        }
    }
    Ok(rows)
}

fn time(
    request: &StepRequest,
    now: &dyn Fn() -> u64,
    stripes: &mut Stripes,
    descriptor: Descriptor,
    kernel: Kernel,
    operation: Operation,
) -> StepRow {
    let options = Options { kernel: Some(kernel), ..Options::default() };
    let mut codec = Codec::with_options(descriptor, options).expect("the kernel is available");
    let mut sums = Checksums::new(&descriptor);
    let (scheme, cell_bytes) = (descriptor.scheme(), descriptor.cell_bytes());
    let lost = lost_cells(scheme, operation);
    let mut rebuilt = Cells::new(lost, cell_bytes);
    let mut delta = vec![0; cell_bytes];
    let (mut least, mut worst): (Vec<u64>, u64) = (Vec::new(), 0);
    for round in 0..=request.rounds {
        let first = round % (scheme.cells() - lost + 1);
        let times = stripes.with_cells(|data, parity| {
            let mut cursor = Cursor::new();
            match operation {
                Operation::Encode => {
                    timed(now, || codec.encode_step(&mut cursor, data, parity).expect("its shape"))
                }
                Operation::EncodeWithChecksums => timed(now, || {
                    let sums = &mut sums;
                    codec
                        .encode_with_checksums_step(&mut cursor, data, parity, sums)
                        .expect("its shape")
                }),
                Operation::Verify => {
                    let parity: Vec<&[u8]> = parity.iter().map(|cell| &**cell).collect();
                    timed(now, || codec.verify_step(&mut cursor, data, &parity).expect("encoded"))
                }
                Operation::Update => {
                    // Zeros: parity stays what the data make.
                    delta.fill(0);
                    timed(now, || {
                        codec.update_step(&mut cursor, 0, &delta, parity).expect("its shape")
                    })
                }
                _ => {
                    let cells = data.iter().copied().chain(parity.iter().map(|cell| &**cell));
                    let is_lost = |cell: &usize| (first..first + lost).contains(cell);
                    let survivors: Vec<Option<&[u8]>> =
                        cells.enumerate().map(|(i, c)| (!is_lost(&i)).then_some(c)).collect();
                    let mut wanted: Vec<Lost<'_>> = rebuilt
                        .iter_mut()
                        .enumerate()
                        .map(|(i, bytes)| Lost { cell: first + i, bytes })
                        .collect();
                    timed(now, || {
                        codec
                            .reconstruct_step(&mut cursor, &survivors, &mut wanted)
                            .expect("solvable")
                    })
                }
            }
        });
        // The first stripe warms up what is made when it is first needed.
        if round == 0 {
            continue;
        }
        worst = worst.max(times.iter().copied().max().unwrap_or(0));
        least.resize(times.len(), u64::MAX);
        least.iter_mut().zip(times).for_each(|(least, time)| *least = time.min(*least));
    }
    StepRow {
        geometry: scheme.to_string(),
        cell_bytes: cell_bytes as u32,
        operation,
        kernel,
        steps: least.len(),
        longest_us: least.iter().copied().max().unwrap_or(0) as f64 / 1000.0,
        worst_us: worst as f64 / 1000.0,
    }
}

/// The nanoseconds of each step until the operation is done.
fn timed(now: &dyn Fn() -> u64, mut step: impl FnMut() -> Progress) -> Vec<u64> {
    let mut times = Vec::new();
    loop {
        let start = now();
        let progress = step();
        times.push(now() - start);
        if progress == Progress::Done {
            return times;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn every_operation_goes_in_steps() {
        let ticks = Cell::new(0);
        let now = || {
            ticks.set(ticks.get() + 1000);
            ticks.get()
        };
        let request = StepRequest {
            schemes: ["3x", "4+2", "lrc4+2+1", "250+20"].map(|s| s.parse().unwrap()).to_vec(),
            rounds: 2,
            cold_bytes: 1 << 20,
            stripe_bytes: 2 << 20,
            all_kernels: true,
        };
        let rows = steps(&request, &now, &mut |_| {}).unwrap();
        assert_eq!(rows.len(), 4 * Kernel::available().count() * OPERATIONS.len());
        // The clock moves once within each step, whatever it does.
        assert!(rows.iter().all(|row| row.longest_us == 1.0 && row.worst_us == 1.0));
        assert!(rows.iter().all(|row| row.steps > 1 || row.operation == Operation::Update));
    }
}
