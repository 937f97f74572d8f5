//! Who is compared, and the stripes they all work on.

use super::Operation;
use crate::{Checksums, Codec, Descriptor, Lost, Residency, Scheme};
use reed_solomon_simd::{ReedSolomonDecoder, ReedSolomonEncoder};
use std::hint::black_box;

/// Where pool buffers begin.
const ALIGNMENT: usize = 4096;

/// One way to do the operation.
pub(super) trait Contender {
    /// Its name in the rows.
    fn name(&self) -> String;
    /// Does the operation `runs` times on one stripe.
    fn run(&mut self, data: &[&[u8]], parity: &mut [&mut [u8]], runs: u64);
    /// Whether it does no coding and only moves the bytes.
    fn is_bandwidth(&self) -> bool {
        false
    }
}

/// The stripes of one comparison: one if they are to be hot, many if cold.
pub(super) struct Stripes {
    descriptor: Descriptor,
    operation: Operation,
    /// All stripes, one after the other.
    memory: Vec<u8>,
    aligned: usize,
    count: usize,
    next: usize,
}

impl Stripes {
    pub(super) fn new(descriptor: Descriptor, operation: Operation, cold_bytes: usize) -> Stripes {
        let stripe_bytes = descriptor.scheme().cells() * descriptor.cell_bytes();
        let count = if operation.is_cold() { cold_bytes.div_ceil(stripe_bytes) } else { 1 };
        let mut memory = vec![0u8; count * stripe_bytes + ALIGNMENT];
        let mut state = 1u64;
        for word in memory.as_chunks_mut::<8>().0 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *word = (state >> 8).to_le_bytes();
        }
        let aligned = memory.as_ptr().align_offset(ALIGNMENT);
        let mut stripes = Stripes { descriptor, operation, memory, aligned, count, next: 0 };
        let mut codec = Codec::new(descriptor);
        for _ in 0..count {
            stripes.with_cells(|data, parity| codec.encode(data, parity).expect("its shape"));
        }
        stripes
    }

    /// Lets a contender work on the next stripes, or on the only one, `runs` times.
    pub(super) fn turn(&mut self, contender: &mut dyn Contender, runs: u64) {
        if self.count == 1 {
            self.with_cells(|data, parity| contender.run(data, parity, runs));
        } else {
            for _ in 0..runs {
                self.with_cells(|data, parity| contender.run(data, parity, 1));
            }
        }
    }

    /// Calls `f` with the cells of the next stripe, each aligned like a pool buffer.
    pub(super) fn with_cells<T>(&mut self, f: impl FnOnce(&[&[u8]], &mut [&mut [u8]]) -> T) -> T {
        let (scheme, cell_bytes) = (self.descriptor.scheme(), self.descriptor.cell_bytes());
        let stripe_bytes = scheme.cells() * cell_bytes;
        self.next = (self.next + 1) % self.count;
        let stripe = &mut self.memory[self.aligned + self.next * stripe_bytes..][..stripe_bytes];
        let (data, parity) = stripe.split_at_mut(scheme.data_cells() * cell_bytes);
        let data: Vec<&[u8]> = data.chunks_exact(cell_bytes).collect();
        let mut parity: Vec<&mut [u8]> = parity.chunks_exact_mut(cell_bytes).collect();
        f(&data, &mut parity)
    }

    /// Bytes that one run counts for.
    pub(super) fn bytes_per_run(&self) -> usize {
        let cells = match self.operation {
            Operation::Update => 1,
            _ => self.descriptor.scheme().data_cells(),
        };
        cells * self.descriptor.cell_bytes()
    }
}

/// Cells to be rebuilt, each aligned like a pool buffer.
pub(super) struct Cells {
    memory: Vec<u8>,
    aligned: usize,
    count: usize,
    cell_bytes: usize,
}

impl Cells {
    pub(super) fn new(count: usize, cell_bytes: usize) -> Cells {
        let memory = vec![0; count * cell_bytes + ALIGNMENT];
        let aligned = memory.as_ptr().align_offset(ALIGNMENT);
        Cells { memory, aligned, count, cell_bytes }
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut [u8]> {
        self.memory[self.aligned..].chunks_exact_mut(self.cell_bytes).take(self.count)
    }
}

/// The cells that the decoding operations lose: data first.
pub(super) fn lost_cells(scheme: Scheme, operation: Operation) -> usize {
    match operation {
        Operation::DecodeOne => 1,
        _ => scheme.tolerated_losses(),
    }
}

/// This crate.
pub(super) struct Ours {
    codec: Codec,
    operation: Operation,
    sums: Checksums,
    rebuilt: Cells,
}

impl Ours {
    pub(super) fn new(mut codec: Codec, operation: Operation) -> Ours {
        if operation.is_cold() {
            codec.set_residency(Residency::Cold);
        }
        let descriptor = codec.descriptor();
        let lost = lost_cells(descriptor.scheme(), operation);
        Ours {
            codec,
            operation,
            sums: Checksums::new(&descriptor),
            rebuilt: Cells::new(lost, descriptor.cell_bytes()),
        }
    }

    fn rebuild(&mut self, data: &[&[u8]], parity: &[&mut [u8]], runs: u64) {
        let lost = self.rebuilt.count;
        let cells = data.iter().copied().chain(parity.iter().map(|cell| &**cell));
        let survivors: Vec<Option<&[u8]>> =
            cells.enumerate().map(|(i, cell)| (i >= lost).then_some(cell)).collect();
        let buffers = self.rebuilt.iter_mut().enumerate();
        let mut wanted: Vec<Lost<'_>> = buffers.map(|(cell, bytes)| Lost { cell, bytes }).collect();
        for _ in 0..runs {
            if self.operation == Operation::DecodeReplan {
                self.codec.forget_plans();
            }
            self.codec.reconstruct(&survivors, &mut wanted).expect("solvable");
        }
    }
}

impl Contender for Ours {
    fn name(&self) -> String {
        format!("isotherm-{}", self.codec.kernel())
    }

    fn run(&mut self, data: &[&[u8]], parity: &mut [&mut [u8]], runs: u64) {
        match self.operation {
            Operation::Encode | Operation::EncodeCold => {
                for _ in 0..runs {
                    self.codec.encode(data, parity).expect("its shape");
                }
            }
            Operation::Decode | Operation::DecodeOne | Operation::DecodeReplan => {
                self.rebuild(data, parity, runs);
            }
            Operation::EncodeWithChecksums | Operation::EncodeWithChecksumsCold => {
                for _ in 0..runs {
                    let sums = &mut self.sums;
                    self.codec.encode_with_checksums(data, parity, sums).expect("its shape");
                }
            }
            Operation::Verify => {
                let parity: Vec<&[u8]> = parity.iter().map(|cell| &**cell).collect();
                for _ in 0..runs {
                    self.codec.verify(data, &parity).expect("encoded before");
                }
            }
            Operation::Update => {
                for _ in 0..runs {
                    self.codec.update(data.len() / 2, data[0], parity).expect("its shape");
                }
            }
        }
    }
}

/// This crate, encoding first and taking checksums of everything after that.
pub(super) struct TwoPasses {
    codec: Codec,
    sums: Checksums,
}

impl TwoPasses {
    pub(super) fn new(codec: Codec) -> TwoPasses {
        let sums = Checksums::new(&codec.descriptor());
        TwoPasses { codec, sums }
    }
}

impl Contender for TwoPasses {
    fn name(&self) -> String {
        "isotherm-two-passes".to_owned()
    }

    fn run(&mut self, data: &[&[u8]], parity: &mut [&mut [u8]], runs: u64) {
        for _ in 0..runs {
            self.codec.encode(data, parity).expect("its shape");
            for (cell, bytes) in data.iter().enumerate() {
                self.sums.update(cell, 0, bytes);
            }
            for (cell, bytes) in parity.iter().enumerate() {
                self.sums.update(data.len() + cell, 0, bytes);
            }
        }
    }
}

/// `reed-solomon-simd` with its work space kept, and without the copy of its results that most
/// callers would have to add.
pub(super) struct Simd {
    encoder: ReedSolomonEncoder,
    decoder: ReedSolomonDecoder,
    operation: Operation,
    lost: usize,
    /// Its own parity, which decoding starts from.
    parity: Vec<Vec<u8>>,
}

impl Simd {
    /// The contender, where it can do the operation.
    pub(super) fn contender(
        descriptor: Descriptor,
        operation: Operation,
    ) -> Option<Box<dyn Contender>> {
        let scheme = descriptor.scheme();
        let usable = matches!(scheme, Scheme::ReedSolomon { .. } | Scheme::Leopard { .. })
            && !matches!(
                operation,
                Operation::EncodeWithChecksums
                    | Operation::EncodeWithChecksumsCold
                    | Operation::Verify
                    | Operation::Update
            );
        let (k, m, bytes) = (scheme.data_cells(), scheme.parity_cells(), descriptor.cell_bytes());
        if !usable {
            return None;
        }
        let encoder = ReedSolomonEncoder::new(k, m, bytes).ok()?;
        let decoder = ReedSolomonDecoder::new(k, m, bytes).ok()?;
        let lost = lost_cells(scheme, operation).min(k);
        Some(Box::new(Simd { encoder, decoder, operation, lost, parity: Vec::new() }))
    }

    fn encode(encoder: &mut ReedSolomonEncoder, data: &[&[u8]], mut each: impl FnMut(&[u8])) {
        for cell in data {
            encoder.add_original_shard(cell).expect("its shape");
        }
        encoder.encode().expect("complete").recovery_iter().for_each(&mut each);
    }
}

impl Contender for Simd {
    fn name(&self) -> String {
        "reed-solomon-simd".to_owned()
    }

    fn run(&mut self, data: &[&[u8]], _: &mut [&mut [u8]], runs: u64) {
        for _ in 0..runs {
            if matches!(self.operation, Operation::Encode | Operation::EncodeCold) {
                Simd::encode(&mut self.encoder, data, |cell| {
                    black_box(cell);
                });
                continue;
            }
            if self.parity.is_empty() {
                Simd::encode(&mut self.encoder, data, |cell| self.parity.push(cell.to_vec()));
            }
            for (i, cell) in data.iter().enumerate().skip(self.lost) {
                self.decoder.add_original_shard(i, cell).expect("its shape");
            }
            for (i, cell) in self.parity.iter().enumerate().take(self.lost) {
                self.decoder.add_recovery_shard(i, cell).expect("its shape");
            }
            let result = self.decoder.decode().expect("enough cells");
            result.restored_original_iter().for_each(|cell| {
                black_box(cell);
            });
        }
    }
}
