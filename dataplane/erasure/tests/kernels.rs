//! Every kernel equals the scalar one: odd lengths, unaligned cells, every operation.

mod support;

use isotherm_erasure::{
    CHUNK_BYTES, Checksums, Codec, Cursor, Descriptor, Kernel, Lost, Options, Progress, Residency,
    VerifyError, crc32c,
};
use support::{Random, codec, stripe};

const SCHEMES: [&str; 12] = [
    "3x",
    "1+1",
    "4+2",
    "5+1",
    "7+3",
    "10+4",
    "6+9",
    "17+3",
    "20+8",
    "12+20",
    "lrc12+2+2",
    "40+17",
];

/// Cells cut out of larger memory at odd places.
struct Unaligned {
    memory: Vec<Vec<u8>>,
    starts: Vec<usize>,
    cell_bytes: usize,
}

impl Unaligned {
    fn new(cells: &[Vec<u8>], random: &mut Random) -> Unaligned {
        let starts: Vec<usize> = cells.iter().map(|_| random.below(67)).collect();
        let memory = cells.iter().zip(&starts).map(|(cell, &start)| {
            let mut memory = vec![0xEE; start + cell.len() + 131];
            memory[start..start + cell.len()].copy_from_slice(cell);
            memory
        });
        Unaligned { memory: memory.collect(), starts, cell_bytes: cells[0].len() }
    }

    fn cells(&self) -> Vec<&[u8]> {
        let cells = self.memory.iter().zip(&self.starts);
        cells.map(|(memory, &start)| &memory[start..start + self.cell_bytes]).collect()
    }

    fn cells_mut(&mut self) -> Vec<&mut [u8]> {
        let (cells, bytes) = (self.memory.iter_mut().zip(&self.starts), self.cell_bytes);
        cells.map(|(memory, &start)| &mut memory[start..start + bytes]).collect()
    }

    /// Whether the bytes around every cell are untouched.
    fn is_intact_around(&self) -> bool {
        self.memory.iter().zip(&self.starts).all(|(memory, &start)| {
            let (before, rest) = memory.split_at(start);
            before.iter().chain(&rest[self.cell_bytes..]).all(|&byte| byte == 0xEE)
        })
    }
}

fn lengths(random: &mut Random) -> Vec<usize> {
    let mut lengths =
        vec![1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 256, 511, 512];
    lengths.extend((0..6).map(|_| 1 + random.below(3000)));
    lengths
}

#[test]
fn encode_equals_scalar() {
    let seed = 42;
    println!("seed {seed}");
    let mut random = Random(seed);
    for text in SCHEMES {
        for cell_bytes in lengths(&mut random) {
            let mut scalar = codec(text, cell_bytes, Kernel::Scalar);
            let cells = stripe(&mut scalar, &mut random);
            let k = scalar.descriptor().scheme().data_cells();
            for kernel in Kernel::available() {
                for residency in [Residency::Cached, Residency::Cold] {
                    let options = Options { kernel: Some(kernel), residency };
                    let mut codec = Codec::with_options(scalar.descriptor(), options).unwrap();
                    let data = Unaligned::new(&cells[..k], &mut random);
                    let dirty = vec![vec![0x77; cell_bytes]; cells.len() - k];
                    let mut parity = Unaligned::new(&dirty, &mut random);
                    codec.encode(&data.cells(), &mut parity.cells_mut()).unwrap();
                    assert!(parity.cells() == cells[k..], "{text} of {cell_bytes} on {kernel}");
                    assert!(parity.is_intact_around(), "{text} of {cell_bytes} on {kernel}");
                }
            }
        }
    }
}

/// Aligned cells, so that cold stripes are really streamed past the caches.
#[test]
fn streamed_stores_write_the_same_bytes() {
    let mut random = Random(9);
    for text in SCHEMES {
        let cell_bytes = 4096 + 64;
        let mut scalar = codec(text, cell_bytes, Kernel::Scalar);
        let cells = stripe(&mut scalar, &mut random);
        let scheme = scalar.descriptor().scheme();
        let data: Vec<&[u8]> = cells[..scheme.data_cells()].iter().map(Vec::as_slice).collect();
        for kernel in Kernel::available() {
            let options = Options { kernel: Some(kernel), residency: Residency::Cold };
            let mut codec = Codec::with_options(scalar.descriptor(), options).unwrap();
            let mut memory = vec![0; scheme.parity_cells() * cell_bytes + 64];
            let start = memory.as_ptr().align_offset(64);
            let mut parity: Vec<&mut [u8]> =
                memory[start..].chunks_exact_mut(cell_bytes).take(scheme.parity_cells()).collect();
            codec.encode(&data, &mut parity).unwrap();
            assert!(parity.iter().eq(&cells[scheme.data_cells()..]), "{text} on {kernel}");
        }
    }
}

/// In whole steps of the loop that does both, in less than one, and across chunks of checksums.
#[test]
fn checksums_taken_on_the_way_are_those_of_the_bytes() {
    let seed = 77;
    println!("seed {seed}");
    let mut random = Random(seed);
    for text in SCHEMES.into_iter().chain(["8+3", "32+8", "21+5", "30+6", "2+1"]) {
        let mut lengths = vec![1, 255, 256, 257, 512, 4096, 4096 + 64, CHUNK_BYTES + 3];
        lengths.extend((0..4).map(|_| 1 + random.below(3000)));
        if text == "10+4" {
            lengths.extend([CHUNK_BYTES, 3 * CHUNK_BYTES, 2 * CHUNK_BYTES + 1000]);
        }
        for cell_bytes in lengths {
            let fastest = Kernel::fastest();
            let cells = stripe(&mut codec(text, cell_bytes, fastest), &mut random);
            for kernel in Kernel::available() {
                if kernel == Kernel::Scalar && cell_bytes > CHUNK_BYTES {
                    continue;
                }
                for residency in [Residency::Cached, Residency::Cold] {
                    let descriptor =
                        Descriptor::new(text.parse().unwrap(), cell_bytes as u32).unwrap();
                    let options = Options { kernel: Some(kernel), residency };
                    let mut codec = Codec::with_options(descriptor, options).unwrap();
                    let k = descriptor.scheme().data_cells();
                    let data = Unaligned::new(&cells[..k], &mut random);
                    let dirty = vec![vec![0x55; cell_bytes]; cells.len() - k];
                    let mut parity = Unaligned::new(&dirty, &mut random);
                    let mut sums = Checksums::new(&descriptor);
                    for _ in 0..2 {
                        let parity = &mut parity.cells_mut();
                        codec.encode_with_checksums(&data.cells(), parity, &mut sums).unwrap();
                    }
                    let place = format!("{text} of {cell_bytes} on {kernel}, {residency:?}");
                    assert!(parity.cells() == cells[k..], "{place}");
                    assert!(parity.is_intact_around(), "{place}");
                    for (cell, bytes) in cells.iter().enumerate() {
                        let chunks = bytes.chunks(CHUNK_BYTES).map(crc32c);
                        assert!(chunks.eq(sums.chunks(cell).iter().copied()), "{place}: {cell}");
                    }
                }
            }
        }
    }
}

#[test]
fn updates_equal_encoding_again() {
    let seed = 5;
    println!("seed {seed}");
    let mut random = Random(seed);
    for text in SCHEMES.into_iter().chain(["250+10"]) {
        for kernel in Kernel::available() {
            let cell_bytes = 64 * (1 + random.below(20));
            let mut codec = codec(text, cell_bytes, kernel);
            let mut cells = stripe(&mut codec, &mut random);
            let k = codec.descriptor().scheme().data_cells();
            for _ in 0..3 {
                let (cell, new) = (random.below(k), random.bytes(cell_bytes));
                let delta: Vec<u8> = new.iter().zip(&cells[cell]).map(|(a, b)| a ^ b).collect();
                cells[cell] = new;
                let (data, parity) = cells.split_at_mut(k);
                let mut by_update: Vec<Vec<u8>> = parity.to_vec();
                // In two ranges, as a small write inside a cell would come.
                let cut = cell_bytes / 128 * 64;
                for range in [0..cut, cut..cell_bytes] {
                    let mut parts: Vec<&mut [u8]> =
                        by_update.iter_mut().map(|cell| &mut cell[range.clone()]).collect();
                    codec.update(cell, &delta[range], &mut parts).unwrap();
                }
                support::encode(&mut codec, data, parity);
                assert_eq!(by_update, parity, "{text} on {kernel}: cell {cell}");
            }
        }
    }
}

#[test]
fn verify_finds_every_kind_of_damage() {
    let mut random = Random(13);
    for text in SCHEMES.into_iter().chain(["250+10"]) {
        for kernel in Kernel::available() {
            let mut codec = codec(text, 8192 + 64, kernel);
            let mut cells = stripe(&mut codec, &mut random);
            let k = codec.descriptor().scheme().data_cells();
            let mut verify = |cells: &[Vec<u8>]| {
                let cells: Vec<&[u8]> = cells.iter().map(Vec::as_slice).collect();
                codec.verify(&cells[..k], &cells[k..])
            };
            assert_eq!(verify(&cells), Ok(()));
            let (parity, column) = (k + random.below(cells.len() - k), random.below(8192 + 64));
            cells[parity][column] ^= 4;
            assert_eq!(verify(&cells), Err(VerifyError::Parity { cell: parity, column }));
            cells[parity][column] ^= 4;
            let (cell, column) = (random.below(k), random.below(8192 + 64));
            cells[cell][column] ^= 1;
            let found = verify(&cells);
            if codec.descriptor().scheme().codec_id() == isotherm_erasure::CodecId::Leopard {
                assert!(matches!(found, Err(VerifyError::Parity { .. })), "{found:?}");
            } else {
                assert!(
                    matches!(found, Err(VerifyError::Parity { column: c, .. }) if c == column),
                    "{text} on {kernel}: {found:?}"
                );
            }
        }
    }
}

#[test]
fn steps_do_what_the_whole_does() {
    let seed = 21;
    println!("seed {seed}");
    let mut random = Random(seed);
    for (text, cell_bytes) in [("10+4", 200_000 + 77), ("lrc12+2+2", 150_001), ("290+10", 640)] {
        for kernel in Kernel::available() {
            let mut codec = codec(text, cell_bytes, kernel);
            let cells = stripe(&mut codec, &mut random);
            let k = codec.descriptor().scheme().data_cells();
            let all: Vec<&[u8]> = cells.iter().map(Vec::as_slice).collect();
            let mut parity = vec![vec![0; cell_bytes]; cells.len() - k];
            let mut sums = Checksums::new(&codec.descriptor());

            let mut outputs: Vec<&mut [u8]> = parity.iter_mut().map(Vec::as_mut_slice).collect();
            let (mut cursor, mut steps) = (Cursor::new(), 1);
            while codec.encode_step(&mut cursor, &all[..k], &mut outputs).unwrap() == Progress::More
            {
                steps += 1;
            }
            assert!(steps > 1, "{text} on {kernel} in one step of {cell_bytes}");
            assert_eq!(cursor.column(), cell_bytes);
            assert!(parity == cells[k..], "{text} on {kernel}");

            parity.iter_mut().for_each(|cell| cell.fill(0));
            let mut outputs: Vec<&mut [u8]> = parity.iter_mut().map(Vec::as_mut_slice).collect();
            let mut cursor = Cursor::new();
            while codec
                .encode_with_checksums_step(&mut cursor, &all[..k], &mut outputs, &mut sums)
                .unwrap()
                == Progress::More
            {}
            assert!(parity == cells[k..], "{text} on {kernel}");
            for (cell, bytes) in all.iter().enumerate() {
                assert_eq!(sums.cell(cell), crc32c(bytes));
            }
            assert_eq!(sums.stripe(), crc32c(&all[..k].concat()));

            let mut cursor = Cursor::new();
            while codec.verify_step(&mut cursor, &all[..k], &all[k..]).unwrap() == Progress::More {}

            let survivors: Vec<Option<&[u8]>> =
                all.iter().enumerate().map(|(i, cell)| (i > 1).then_some(*cell)).collect();
            let (mut first, mut second) = (vec![0; cell_bytes], vec![0; cell_bytes]);
            let mut lost =
                [Lost { cell: 1, bytes: &mut second }, Lost { cell: 0, bytes: &mut first }];
            let mut cursor = Cursor::new();
            while codec.reconstruct_step(&mut cursor, &survivors, &mut lost).unwrap()
                == Progress::More
            {}
            assert!(first == cells[0] && second == cells[1], "{text} on {kernel}");

            let (mut stepped, mut whole) = (cells[k..].to_vec(), cells[k..].to_vec());
            let mut outputs: Vec<&mut [u8]> = stepped.iter_mut().map(Vec::as_mut_slice).collect();
            let mut cursor = Cursor::new();
            while codec.update_step(&mut cursor, 2, all[0], &mut outputs).unwrap() == Progress::More
            {
            }
            let mut outputs: Vec<&mut [u8]> = whole.iter_mut().map(Vec::as_mut_slice).collect();
            codec.update(2, all[0], &mut outputs).unwrap();
            assert!(stepped == whole, "{text} on {kernel}");
        }
    }
}

#[test]
fn a_plan_that_takes_long_is_a_step_of_its_own() {
    for (text, alone) in [("10+4", false), ("128+64", true), ("290+10", true)] {
        let mut codec = codec(text, 64, Kernel::fastest());
        let cells = stripe(&mut codec, &mut Random(3));
        let lost: Vec<usize> = (1..=codec.descriptor().scheme().tolerated_losses()).collect();
        let survivors: Vec<Option<&[u8]>> = cells
            .iter()
            .enumerate()
            .map(|(i, cell)| (!lost.contains(&i)).then_some(cell.as_slice()))
            .collect();
        // The second stripe has its plan already.
        for alone in [alone, false] {
            let mut buffers = vec![vec![0; 64]; lost.len()];
            let mut wanted: Vec<Lost<'_>> =
                buffers.iter_mut().zip(&lost).map(|(bytes, &cell)| Lost { cell, bytes }).collect();
            let mut cursor = Cursor::new();
            let first = codec.reconstruct_step(&mut cursor, &survivors, &mut wanted).unwrap();
            assert_eq!((first == Progress::More, cursor.column() == 0), (alone, alone), "{text}");
            while cursor.column() < 64 {
                let _ = codec.reconstruct_step(&mut cursor, &survivors, &mut wanted).unwrap();
            }
            assert!(lost.iter().zip(&buffers).all(|(&cell, bytes)| *bytes == cells[cell]));
        }
    }
}

#[test]
fn kernels_of_other_processors_are_refused() {
    let descriptor = Descriptor::new("4+2".parse().unwrap(), 64).unwrap();
    let absent: Vec<Kernel> = Kernel::ALL.into_iter().filter(|k| !k.is_available()).collect();
    assert!(!absent.is_empty(), "no processor has every kernel");
    for kernel in absent {
        let options = Options { kernel: Some(kernel), ..Options::default() };
        let error = Codec::with_options(descriptor, options).unwrap_err();
        assert_eq!(error, isotherm_erasure::CodecError::KernelUnavailable(kernel));
    }
}
