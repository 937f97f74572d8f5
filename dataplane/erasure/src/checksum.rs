//! CRC32C of cells: one for every 64 KiB, combinable into that of a cell and of a stripe.
//!
//! The end-to-end rule: a stripe is verified after it was encoded, and the checksum of its user
//! bytes ([`Checksums::stripe`]) is held by whoever refers to it, not only beside the bytes. A
//! reader combines the checksums of the chunks that it read and compares with the referrer's,
//! without touching the bytes again.

use crate::descriptor::Descriptor;
use crate::kernel::Outputs;
use crate::matrix::Matrix;
use crate::program::Pass;
use crc_fast::{CrcAlgorithm, Digest};
use std::ops::Range;

/// Bytes of a cell behind one checksum; the last chunk of a cell may be shorter.
pub const CHUNK_BYTES: usize = 64 << 10;

/// CRC32C (Castagnoli, reflected, as iSCSI has it) of `bytes`.
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

/// CRC32C of `a` followed by `b`, from the checksum of each and the bytes of `b`.
#[must_use]
pub fn combine(a: u32, b: u32, b_bytes: u64) -> u32 {
    // Appending n bytes multiplies the register of `a` by x^8n modulo the polynomial.
    times(a, power_of_x(8 * u128::from(b_bytes))) ^ b
}

/// Takes `bytes` into a CRC register: the checksum before its last inversion, all ones before
/// the first byte.
pub(crate) fn take(register: u32, bytes: &[u8]) -> u32 {
    if bytes.is_empty() {
        return register;
    }
    let mut digest = Digest::new_with_init_state(CrcAlgorithm::Crc32Iscsi, register.into());
    digest.update(bytes);
    digest.get_state() as u32
}

/// The CRC registers of a stripe's cells.
pub(crate) struct Registers<'a> {
    pub(crate) data: &'a mut [u32],
    pub(crate) parity: &'a mut [u32],
}

impl Registers<'_> {
    /// Takes in `columns` of the multiplied outputs of `pass`.
    pub(crate) fn take_outputs(
        &mut self,
        pass: &Pass,
        outputs: &mut (impl Outputs + ?Sized),
        columns: Range<usize>,
    ) {
        for &output in &pass.outputs()[usize::from(pass.has_plain())..] {
            let register = &mut self.parity[usize::from(output)];
            *register = take(*register, &outputs.cell_mut(output.into())[columns.clone()]);
        }
    }
}

/// The reflected polynomial: bit 31 is x^0.
const POLYNOMIAL: u32 = 0x82F6_3B78;

/// a·b modulo the polynomial, both reflected.
const fn times(a: u32, mut b: u32) -> u32 {
    let (mut product, mut bit) = (0, 1 << 31);
    while bit != 0 {
        if a & bit != 0 {
            product ^= b;
        }
        b = (b >> 1) ^ (POLYNOMIAL * (b & 1));
        bit >>= 1;
    }
    product
}

/// x^exponent modulo the polynomial.
pub(crate) const fn power_of_x(mut exponent: u128) -> u32 {
    let (mut power, mut square) = (1 << 31, 1 << 30);
    while exponent != 0 {
        if exponent & 1 == 1 {
            power = times(power, square);
        }
        square = times(square, square);
        exponent >>= 1;
    }
    power
}

/// What appending one whole chunk multiplies a checksum by.
const CHUNK_SHIFT: u32 = power_of_x(8 * CHUNK_BYTES as u128);

/// The checksums of one stripe: of every chunk of every cell.
///
/// Made once and used for stripe after stripe; taking new checksums allocates nothing.
#[derive(Clone)]
pub struct Checksums {
    cell_bytes: usize,
    data_cells: usize,
    chunks_per_cell: usize,
    /// By cell, then chunk.
    chunks: Vec<u32>,
    /// The register of the chunk under way in each cell.
    running: Vec<u32>,
    /// The checksums of zeros: as many as a whole chunk has bytes, and as the last one.
    zeros: [u32; 2],
}

impl std::fmt::Debug for Checksums {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Checksums").field("chunks", &self.chunks).finish_non_exhaustive()
    }
}

impl Checksums {
    /// Room for the checksums of a stripe.
    #[must_use]
    pub fn new(descriptor: &Descriptor) -> Checksums {
        let (cells, cell_bytes) = (descriptor.scheme().cells(), descriptor.cell_bytes());
        let chunks_per_cell = cell_bytes.div_ceil(CHUNK_BYTES);
        Checksums {
            cell_bytes,
            data_cells: descriptor.scheme().data_cells(),
            chunks_per_cell,
            chunks: vec![0; cells * chunks_per_cell],
            running: vec![u32::MAX; cells],
            zeros: [CHUNK_BYTES, cell_bytes - (chunks_per_cell - 1) * CHUNK_BYTES]
                .map(|bytes| !times(u32::MAX, power_of_x(8 * bytes as u128))),
        }
    }

    /// Cells of the stripe.
    #[must_use]
    pub fn cells(&self) -> usize {
        self.running.len()
    }

    /// The checksums of a cell's chunks, in order.
    ///
    /// # Panics
    /// If the stripe has no such cell.
    #[must_use]
    pub fn chunks(&self, cell: usize) -> &[u32] {
        &self.chunks[cell * self.chunks_per_cell..][..self.chunks_per_cell]
    }

    /// The checksum of a whole cell.
    ///
    /// # Panics
    /// If the stripe has no such cell.
    #[must_use]
    pub fn cell(&self, cell: usize) -> u32 {
        let chunks = self.chunks(cell);
        let last_bytes = self.cell_bytes - (chunks.len() - 1) * CHUNK_BYTES;
        let (last, whole) = chunks.split_last().expect("a cell has at least one byte");
        match whole.split_first() {
            None => *last,
            Some((first, rest)) => {
                let whole = rest.iter().fold(*first, |sum, c| times(sum, CHUNK_SHIFT) ^ c);
                combine(whole, *last, last_bytes as u64)
            }
        }
    }

    /// The checksum of the stripe's user bytes, all data cells one after the other: what the
    /// stripe's referrer keeps.
    #[must_use]
    pub fn stripe(&self) -> u32 {
        let shift = power_of_x(8 * self.cell_bytes as u128);
        (1..self.data_cells).fold(self.cell(0), |sum, cell| times(sum, shift) ^ self.cell(cell))
    }

    /// Whether these are of a stripe of that shape.
    pub(crate) fn fit(&self, descriptor: &Descriptor) -> bool {
        self.cells() == descriptor.scheme().cells()
            && self.data_cells == descriptor.scheme().data_cells()
            && self.cell_bytes == descriptor.cell_bytes()
    }

    /// Where the chunk ends that `column` is in.
    pub(crate) fn chunk_end(&self, column: usize) -> usize {
        self.cell_bytes.min((column / CHUNK_BYTES + 1) * CHUNK_BYTES)
    }

    /// The registers of all cells, which stand at `column`; each cell is taken in from its first
    /// byte to its last.
    pub(crate) fn registers(&mut self, column: usize) -> Registers<'_> {
        if column.is_multiple_of(CHUNK_BYTES) {
            self.running.fill(u32::MAX);
        }
        let (data, parity) = self.running.split_at_mut(self.data_cells);
        Registers { data, parity }
    }

    /// Says that all registers stand at `column`; if that ends a chunk, its checksums are
    /// written down.
    pub(crate) fn advance(&mut self, column: usize) {
        if column.is_multiple_of(CHUNK_BYTES) || column == self.cell_bytes {
            let chunk = (column - 1) / CHUNK_BYTES;
            for (cell, register) in self.running.iter().enumerate() {
                self.chunks[cell * self.chunks_per_cell + chunk] = !register;
            }
        }
    }

    /// Writes the checksums of the plain parity cells for the chunk that ends at `column`, if
    /// one does: the sum of cells has the sum of their checksums, but for what the inversions
    /// add, which is the checksum of as many zeros. What they ought to be, that is: a parity
    /// cell that was stored wrong does not get a checksum to fit.
    pub(crate) fn derive_plain(&mut self, matrix: &Matrix, column: usize) {
        if !column.is_multiple_of(CHUNK_BYTES) && column != self.cell_bytes {
            return;
        }
        let chunk = (column - 1) / CHUNK_BYTES;
        let zeros = self.zeros[usize::from(column == self.cell_bytes)];
        for parity in (0..matrix.rows()).filter(|&row| matrix.is_plain(row)) {
            let mut sum = zeros;
            for (cell, _) in matrix.row(parity).iter().enumerate().filter(|(_, c)| **c == 1) {
                sum ^= self.chunks[cell * self.chunks_per_cell + chunk] ^ zeros;
            }
            self.chunks[(self.data_cells + parity) * self.chunks_per_cell + chunk] = sum;
        }
    }

    /// Takes in the next bytes of a cell, `bytes` being those from `column` on; each cell is
    /// taken in from its first byte to its last.
    #[cfg(any(test, feature = "bench"))]
    pub(crate) fn update(&mut self, cell: usize, mut column: usize, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if column.is_multiple_of(CHUNK_BYTES) {
                self.running[cell] = u32::MAX;
            }
            let (chunk, end) = (column / CHUNK_BYTES, self.chunk_end(column));
            let (now, later) = bytes.split_at(bytes.len().min(end - column));
            self.running[cell] = take(self.running[cell], now);
            column += now.len();
            bytes = later;
            if column == end {
                self.chunks[cell * self.chunks_per_cell + chunk] = !self.running[cell];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One bit at a time, from the polynomial alone.
    fn slow_crc32c(bytes: &[u8]) -> u32 {
        let mut register = u32::MAX;
        for &byte in bytes {
            register ^= u32::from(byte);
            for _ in 0..8 {
                register = (register >> 1) ^ (POLYNOMIAL * (register & 1));
            }
        }
        !register
    }

    #[test]
    fn is_castagnoli() {
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
        let bytes: Vec<u8> = (0..1000u32).map(|i| (i * 7 + 3) as u8).collect();
        for length in [0, 1, 15, 16, 63, 64, 255, 256, 999] {
            assert_eq!(crc32c(&bytes[..length]), slow_crc32c(&bytes[..length]));
        }
    }

    #[test]
    fn combines() {
        let bytes: Vec<u8> = (0..1000u32).map(|i| (i * 31 + 5) as u8).collect();
        for cut in [0, 1, 63, 500, 999, 1000] {
            let (a, b) = bytes.split_at(cut);
            assert_eq!(combine(crc32c(a), crc32c(b), b.len() as u64), crc32c(&bytes), "{cut}");
        }
    }

    #[test]
    fn of_chunks_cells_and_stripes() {
        let cell_bytes = 2 * CHUNK_BYTES + 100;
        let scheme = "2+1".parse().unwrap();
        let descriptor = Descriptor::new(scheme, cell_bytes as u32).unwrap();
        let bytes: Vec<u8> = (0..2 * cell_bytes).map(|i| (i * i / 7) as u8).collect();
        let mut sums = Checksums::new(&descriptor);
        for (cell, bytes) in bytes.chunks(cell_bytes).enumerate() {
            for (i, piece) in bytes.chunks(50_000).enumerate() {
                sums.update(cell, i * 50_000, piece);
            }
            for (chunk, bytes) in bytes.chunks(CHUNK_BYTES).enumerate() {
                assert_eq!(sums.chunks(cell)[chunk], crc32c(bytes));
            }
            assert_eq!(sums.cell(cell), crc32c(bytes));
        }
        assert_eq!(sums.stripe(), crc32c(&bytes));
    }
}
