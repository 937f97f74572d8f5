//! The side-by-side measurement: every contender in one process, turn by turn.
//!
//! Absolute figures of a shared machine mean little; ratios of contenders that ran alternately
//! within the same second do. Each round gives every contender one turn of about the same
//! length, and a row holds the median of a contender's turns. GB/s are 10^9 bytes of data
//! (k cells, or all that a check reads) per second on one core.
//!
//! Time comes from the caller, as everywhere above the drivers.

use crate::{Codec, Descriptor, Kernel, Options, Residency, Scheme};
use contender::{Contender, Stripes};
use std::fmt;
pub use steps::{STRIPE_BYTES, StepRequest, StepRow, steps};

mod contender;
#[cfg(feature = "isal")]
mod isal;
mod limits;
mod steps;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// Parity from data that lies in the caches as far as it fits.
    Encode,
    /// Parity from data that lies in memory, stripe after stripe.
    EncodeCold,
    /// All that may be lost, rebuilt by a kept plan: the first m data cells, or as many as
    /// there are and then parity.
    Decode,
    /// The same with the plan made anew for each stripe.
    DecodeReplan,
    /// The first data cell rebuilt.
    DecodeOne,
    /// Parity, and CRC32C of all cells per 64 KiB.
    EncodeWithChecksums,
    /// The same with the data in memory.
    EncodeWithChecksumsCold,
    /// Parity compared with what the data make.
    Verify,
    /// One data cell changed: its delta added to all parity cells. GB/s of delta.
    Update,
}

impl Operation {
    /// All operations.
    pub const ALL: [Operation; 9] = [
        Operation::Encode,
        Operation::EncodeCold,
        Operation::Decode,
        Operation::DecodeReplan,
        Operation::DecodeOne,
        Operation::EncodeWithChecksums,
        Operation::EncodeWithChecksumsCold,
        Operation::Verify,
        Operation::Update,
    ];

    /// Its name in tables and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Operation::Encode => "encode",
            Operation::EncodeCold => "encode-cold",
            Operation::Decode => "decode",
            Operation::DecodeReplan => "decode-replan",
            Operation::DecodeOne => "decode-one",
            Operation::EncodeWithChecksums => "encode-with-checksums",
            Operation::EncodeWithChecksumsCold => "encode-with-checksums-cold",
            Operation::Verify => "verify",
            Operation::Update => "update",
        }
    }
}

impl Operation {
    /// Whether its stripes lie in memory, not in the caches.
    fn is_cold(self) -> bool {
        matches!(self, Operation::EncodeCold | Operation::EncodeWithChecksumsCold)
    }

    /// Whether it takes checksums of all cells.
    fn is_summed(self) -> bool {
        matches!(self, Operation::EncodeWithChecksums | Operation::EncodeWithChecksumsCold)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What to measure, and how long.
#[derive(Debug, Clone)]
pub struct Request {
    /// The schemes.
    pub schemes: Vec<Scheme>,
    /// Bytes of a cell.
    pub cell_bytes: Vec<u32>,
    /// The operations.
    pub operations: Vec<Operation>,
    /// Turns of each contender.
    pub rounds: usize,
    /// Nanoseconds of a turn, about.
    pub turn_ns: u64,
    /// Memory that cold stripes rotate over: many times the caches.
    pub cold_bytes: usize,
    /// Whether the slower kernels of this processor run as contenders too.
    pub all_kernels: bool,
}

impl Default for Request {
    fn default() -> Request {
        let schemes = ["4+2", "8+3", "10+4", "17+3", "20+8", "32+8"];
        Request {
            schemes: schemes.iter().map(|text| text.parse().expect("a geometry")).collect(),
            cell_bytes: vec![4 << 10, 64 << 10, 1 << 20],
            operations: Operation::ALL.to_vec(),
            rounds: 15,
            turn_ns: 500_000,
            cold_bytes: 512 << 20,
            all_kernels: false,
        }
    }
}

/// The result of one contender.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The scheme, as it is written.
    pub geometry: String,
    /// Bytes of a cell.
    pub cell_bytes: u32,
    /// What was done.
    pub operation: Operation,
    /// Who did it.
    pub contender: String,
    /// 10^9 bytes of data a second: the median of all turns.
    pub gb_per_s: f64,
    /// What the kernel's multiply instruction, measured in the same rounds, would allow if each
    /// parity row were multiplied and nothing else took time; for cold stripes, what a loop
    /// reaches that only reads k cells and writes m with the same stores. None where neither
    /// means anything.
    pub ceiling_gb_per_s: Option<f64>,
}

/// Runs the comparison; `now` tells monotonic nanoseconds, `each` sees the rows of one
/// comparison as soon as they are there.
///
/// # Errors
/// If a scheme can't have cells of one of the lengths.
pub fn run(
    request: &Request,
    now: &dyn Fn() -> u64,
    each: &mut dyn FnMut(&[Row]),
) -> Result<Vec<Row>, crate::GeometryError> {
    let mut rows = Vec::new();
    for &scheme in &request.schemes {
        for &cell_bytes in &request.cell_bytes {
            let descriptor = Descriptor::new(scheme, cell_bytes)?;
            for &operation in &request.operations {
                let found = compare(request, now, descriptor, operation);
                each(&found);
                rows.extend(found);
            }
        }
    }
    Ok(rows)
}

fn compare(
    request: &Request,
    now: &dyn Fn() -> u64,
    descriptor: Descriptor,
    operation: Operation,
) -> Vec<Row> {
    let mut stripes = Stripes::new(descriptor, operation, request.cold_bytes);
    let mut contenders = contenders(request, descriptor, operation);
    let kernel = Kernel::fastest();
    // How often each has to run to fill a turn; this also warms up caches and plans.
    let repeats: Vec<u64> = contenders
        .iter_mut()
        .map(|contender| {
            stripes.turn(contender.as_mut(), 1);
            let start = now();
            let mut runs = 0;
            while runs == 0 || now() - start < request.turn_ns {
                stripes.turn(contender.as_mut(), 1);
                runs += 1;
            }
            runs
        })
        .collect();
    let mut turns = vec![Vec::with_capacity(request.rounds); contenders.len()];
    let mut products = Vec::with_capacity(request.rounds);
    for _ in 0..request.rounds {
        for (at, contender) in contenders.iter_mut().enumerate() {
            let start = now();
            stripes.turn(contender.as_mut(), repeats[at]);
            turns[at].push((now() - start) as f64 / repeats[at] as f64);
        }
        products.extend(limits::products_per_ns(kernel, now));
    }
    let multiplied = if products.is_empty() { None } else { Some(median(&mut products)) };
    let bytes = stripes.bytes_per_run() as f64;
    let speeds: Vec<f64> = turns.iter_mut().map(|turns| bytes / median(turns)).collect();
    let bandwidth = contenders
        .iter()
        .zip(&speeds)
        .filter(|(contender, _)| contender.is_bandwidth())
        .map(|(_, &speed)| speed)
        .reduce(f64::max);
    let rows_of_parity = match operation {
        Operation::DecodeOne => 1,
        _ => descriptor.scheme().parity_cells(),
    };
    let of_instruction = match descriptor.scheme() {
        Scheme::ReedSolomon { .. } => multiplied.map(|rate| rate / rows_of_parity as f64),
        _ => None,
    };
    contenders
        .iter()
        .zip(speeds)
        .map(|(contender, gb_per_s)| Row {
            geometry: descriptor.scheme().to_string(),
            cell_bytes: descriptor.cell_bytes() as u32,
            operation,
            contender: contender.name(),
            gb_per_s,
            ceiling_gb_per_s: match operation {
                Operation::EncodeCold => bandwidth,
                Operation::Encode | Operation::Decode | Operation::DecodeReplan => of_instruction,
                _ => None,
            },
        })
        .collect()
}

fn contenders(
    request: &Request,
    descriptor: Descriptor,
    operation: Operation,
) -> Vec<Box<dyn Contender>> {
    let mut contenders: Vec<Box<dyn Contender>> = Vec::new();
    let kernels = Kernel::available().take(if request.all_kernels { usize::MAX } else { 1 });
    for kernel in kernels {
        let options = Options { kernel: Some(kernel), ..Options::default() };
        let codec = Codec::with_options(descriptor, options).expect("the kernel is available");
        contenders.push(Box::new(contender::Ours::new(codec, operation)));
    }
    if operation.is_summed() {
        let mut codec = Codec::new(descriptor);
        codec.set_residency(if operation.is_cold() { Residency::Cold } else { Residency::Auto });
        contenders.push(Box::new(contender::TwoPasses::new(codec)));
    }
    if operation == Operation::EncodeCold {
        contenders.extend(limits::bandwidth_loops());
    }
    contenders.extend(contender::Simd::contender(descriptor, operation));
    #[cfg(feature = "isal")]
    contenders.extend(isal::Isal::contender(descriptor, operation));
    contenders
}

fn median(turns: &mut [f64]) -> f64 {
    turns.sort_by(f64::total_cmp);
    turns[turns.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// The clock is a counter: what is checked is that each contender runs and has its row.
    #[test]
    fn every_operation_has_its_rows() {
        let ticks = Cell::new(0);
        let now = || {
            ticks.set(ticks.get() + 1000);
            ticks.get()
        };
        let request = Request {
            schemes: vec!["4+2".parse().unwrap(), "lrc4+2+1".parse().unwrap()],
            cell_bytes: vec![4096],
            rounds: 1,
            turn_ns: 1,
            cold_bytes: 1 << 20,
            all_kernels: true,
            ..Request::default()
        };
        let mut seen = 0;
        let rows = run(&request, &now, &mut |rows| seen += rows.len()).unwrap();
        assert_eq!(seen, rows.len());
        for operation in Operation::ALL {
            let of = |contender: &str| {
                rows.iter().any(|row| {
                    row.operation == operation
                        && row.geometry == "4+2"
                        && row.contender.starts_with(contender)
                })
            };
            assert!(of("isotherm"), "{operation}");
            let yardstick = !matches!(
                operation,
                Operation::EncodeWithChecksums
                    | Operation::EncodeWithChecksumsCold
                    | Operation::Verify
                    | Operation::Update
            );
            assert_eq!(of("reed-solomon-simd"), yardstick, "{operation}");
            assert_eq!(of("isal"), yardstick && cfg!(feature = "isal"), "{operation}");
        }
        assert!(rows.iter().all(|row| row.gb_per_s > 0.0));
    }
}
