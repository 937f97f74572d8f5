//! Criterion benches of the hot paths, for profiling and for one's own changes; the comparison
//! with other libraries, turn by turn, is `isotherm codec bench`.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use isotherm_erasure::{Checksums, Codec, Descriptor, Kernel, Lost, Options, Residency};

const GEOMETRIES: [&str; 3] = ["4+2", "10+4", "lrc12+2+2"];
const CELL_BYTES: [u32; 3] = [4 << 10, 64 << 10, 1 << 20];

fn descriptor(text: &str, cell_bytes: u32) -> Descriptor {
    Descriptor::new(text.parse().expect("a scheme"), cell_bytes).expect("a geometry")
}

fn cells(count: usize, cell_bytes: u32) -> Vec<Vec<u8>> {
    (0..count).map(|cell| vec![cell as u8 + 1; cell_bytes as usize]).collect()
}

fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    for text in GEOMETRIES {
        for cell_bytes in CELL_BYTES {
            let descriptor = descriptor(text, cell_bytes);
            let scheme = descriptor.scheme();
            let data = cells(scheme.data_cells(), cell_bytes);
            let data: Vec<&[u8]> = data.iter().map(Vec::as_slice).collect();
            let mut parity = cells(scheme.parity_cells(), cell_bytes);
            let mut parity: Vec<&mut [u8]> = parity.iter_mut().map(Vec::as_mut_slice).collect();
            group.throughput(Throughput::Bytes((data.len() * cell_bytes as usize) as u64));
            for kernel in Kernel::available().filter(|&kernel| kernel != Kernel::Scalar) {
                let options = Options { kernel: Some(kernel), ..Options::default() };
                let mut codec = Codec::with_options(descriptor, options).expect("available");
                let name = format!("{text}/{kernel}");
                group.bench_function(BenchmarkId::new(name, cell_bytes), |bencher| {
                    bencher.iter(|| codec.encode(&data, &mut parity));
                });
            }
            let mut sums = Checksums::new(&descriptor);
            let mut codec = Codec::new(descriptor);
            let name = format!("{text}/with-checksums");
            group.bench_function(BenchmarkId::new(name, cell_bytes), |bencher| {
                bencher.iter(|| codec.encode_with_checksums(&data, &mut parity, &mut sums));
            });
        }
    }
}

fn reconstruct(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("reconstruct");
    for text in GEOMETRIES {
        for cell_bytes in CELL_BYTES {
            let descriptor = descriptor(text, cell_bytes);
            let scheme = descriptor.scheme();
            let cells = cells(scheme.cells(), cell_bytes);
            let mut codec = Codec::new(descriptor);
            for count in [1, scheme.tolerated_losses()] {
                let survivors: Vec<Option<&[u8]>> = (0..cells.len())
                    .map(|cell| (cell >= count).then_some(cells[cell].as_slice()))
                    .collect();
                let mut buffers = vec![vec![0; cell_bytes as usize]; count];
                let mut lost: Vec<Lost<'_>> = buffers
                    .iter_mut()
                    .enumerate()
                    .map(|(cell, bytes)| Lost { cell, bytes })
                    .collect();
                let bytes = scheme.data_cells() * cell_bytes as usize;
                group.throughput(Throughput::Bytes(bytes as u64));
                let name = format!("{text}/{count}-lost");
                group.bench_function(BenchmarkId::new(name, cell_bytes), |bencher| {
                    bencher.iter(|| codec.reconstruct(&survivors, &mut lost));
                });
            }
        }
    }
}

/// Where streaming begins to pay, on stripes that are encoded again and again: what
/// [`isotherm_erasure::STREAM_BYTES`] was set from.
fn residency(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("residency");
    group.sample_size(10).measurement_time(std::time::Duration::from_millis(500));
    group.warm_up_time(std::time::Duration::from_millis(200));
    for text in ["4+2", "10+4"] {
        for stripe_mib in [1, 2, 4, 8, 12, 16, 20, 24, 32, 48, 64] {
            let scheme: isotherm_erasure::Scheme = text.parse().expect("a scheme");
            let cell_bytes = ((stripe_mib << 20) / scheme.cells()).next_multiple_of(4096);
            let descriptor = descriptor(text, cell_bytes as u32);
            // Aligned as pool buffers are: other cells are not streamed.
            let mut memory = vec![1u8; scheme.cells() * cell_bytes + 4096];
            let start = memory.as_ptr().align_offset(4096);
            let (data, parity) = memory[start..][..scheme.cells() * cell_bytes]
                .split_at_mut(scheme.data_cells() * cell_bytes);
            let data: Vec<&[u8]> = data.chunks_exact(cell_bytes).collect();
            let mut parity: Vec<&mut [u8]> = parity.chunks_exact_mut(cell_bytes).collect();
            group.throughput(Throughput::Bytes((data.len() * cell_bytes) as u64));
            for (name, residency) in [("cached", Residency::Cached), ("cold", Residency::Cold)] {
                let options = Options { residency, ..Options::default() };
                let mut codec = Codec::with_options(descriptor, options).expect("available");
                let name = format!("{text}/{name}");
                group.bench_function(BenchmarkId::new(name, format!("{stripe_mib}m")), |bencher| {
                    bencher.iter(|| codec.encode(&data, &mut parity));
                });
            }
        }
    }
}

criterion_group!(benches, encode, reconstruct, residency);
criterion_main!(benches);
