//! Stripes of seeded bytes, and loss patterns.
#![allow(dead_code, reason = "each test file uses its part")]

use isotherm_erasure::{Codec, Descriptor, Kernel, Lost, Options, Scheme};

/// A small seeded generator (SplitMix64): test bytes must be the same on every machine.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| (self.next() >> 32) as u8).collect()
    }

    /// `count` distinct cells of `of`.
    pub(crate) fn pattern(&mut self, count: usize, of: usize) -> Vec<usize> {
        let mut cells: Vec<usize> = (0..of).collect();
        for i in 0..count {
            let j = i + self.below(of - i);
            cells.swap(i, j);
        }
        cells.truncate(count);
        cells
    }
}

/// Whether the full counts were asked for.
pub(crate) fn soak() -> bool {
    std::env::var_os("ISOTHERM_SOAK").is_some_and(|value| value == "1")
}

pub(crate) fn codec(text: &str, cell_bytes: usize, kernel: Kernel) -> Codec {
    let scheme: Scheme = text.parse().unwrap();
    let descriptor = Descriptor::new(scheme, cell_bytes as u32).unwrap();
    Codec::with_options(descriptor, Options { kernel: Some(kernel), ..Options::default() }).unwrap()
}

/// All cells of a stripe, parity by `codec`.
pub(crate) fn stripe(codec: &mut Codec, random: &mut Random) -> Vec<Vec<u8>> {
    let (scheme, cell_bytes) = (codec.descriptor().scheme(), codec.descriptor().cell_bytes());
    let mut cells: Vec<Vec<u8>> = (0..scheme.cells()).map(|_| random.bytes(cell_bytes)).collect();
    let (data, parity) = cells.split_at_mut(scheme.data_cells());
    encode(codec, data, parity);
    cells
}

pub(crate) fn encode(codec: &mut Codec, data: &[Vec<u8>], parity: &mut [Vec<u8>]) {
    let data: Vec<&[u8]> = data.iter().map(Vec::as_slice).collect();
    let mut parity: Vec<&mut [u8]> = parity.iter_mut().map(Vec::as_mut_slice).collect();
    codec.encode(&data, &mut parity).unwrap();
}

/// Rebuilds `wanted` with `missing` gone; the buffers start out dirty.
pub(crate) fn rebuild(
    codec: &mut Codec,
    cells: &[Vec<u8>],
    missing: &[usize],
    wanted: &[usize],
) -> Result<Vec<Vec<u8>>, isotherm_erasure::ReconstructError> {
    let survivors: Vec<Option<&[u8]>> = cells
        .iter()
        .enumerate()
        .map(|(i, bytes)| (!missing.contains(&i)).then_some(bytes.as_slice()))
        .collect();
    let mut buffers = vec![vec![0xA5; codec.descriptor().cell_bytes()]; wanted.len()];
    let mut lost: Vec<Lost<'_>> = wanted
        .iter()
        .zip(&mut buffers)
        .map(|(&cell, bytes)| Lost { cell, bytes: bytes.as_mut_slice() })
        .collect();
    codec.reconstruct(&survivors, &mut lost)?;
    Ok(buffers)
}

/// Every way to choose `count` of `of` cells.
pub(crate) fn choices(count: usize, of: usize) -> Vec<Vec<usize>> {
    let mut chosen = Vec::new();
    let mut now: Vec<usize> = (0..count).collect();
    loop {
        chosen.push(now.clone());
        let Some(i) = (0..count).rev().find(|&i| now[i] != of - count + i) else {
            return chosen;
        };
        now[i] += 1;
        for j in i + 1..count {
            now[j] = now[j - 1] + 1;
        }
    }
}
