//! Debian's libisal (2.30), the yardstick that is not Rust.

#![allow(unsafe_code, reason = "calls into a C library")]

use super::Operation;
use super::contender::{Cells, Contender, lost_cells};
use crate::{Descriptor, Scheme};
use std::ffi::{c_int, c_uchar};

#[link(name = "isal")]
unsafe extern "C" {
    fn gf_gen_cauchy1_matrix(matrix: *mut c_uchar, rows: c_int, columns: c_int);
    fn gf_invert_matrix(matrix: *mut c_uchar, inverse: *mut c_uchar, n: c_int) -> c_int;
    fn ec_init_tables(k: c_int, rows: c_int, coefficients: *mut c_uchar, tables: *mut c_uchar);
    fn ec_encode_data(
        bytes: c_int,
        k: c_int,
        rows: c_int,
        tables: *mut c_uchar,
        data: *mut *mut c_uchar,
        coding: *mut *mut c_uchar,
    );
}

/// The library on its own Cauchy matrix, with tables kept unless the operation says otherwise.
pub(super) struct Isal {
    operation: Operation,
    data_cells: usize,
    parity_cells: usize,
    cell_bytes: usize,
    lost: usize,
    /// All k + m rows, the identity first.
    matrix: Vec<u8>,
    tables: Vec<u8>,
    rebuilt: Cells,
}

impl Isal {
    /// The contender, where it can do the operation.
    pub(super) fn contender(
        descriptor: Descriptor,
        operation: Operation,
    ) -> Option<Box<dyn Contender>> {
        let scheme = descriptor.scheme();
        let comparable = matches!(scheme, Scheme::ReedSolomon { .. })
            && scheme.parity_cells() <= scheme.data_cells()
            && !matches!(
                operation,
                Operation::EncodeWithChecksums
                    | Operation::EncodeWithChecksumsCold
                    | Operation::Verify
                    | Operation::Update
            );
        if !comparable {
            return None;
        }
        let (k, m) = (scheme.data_cells(), scheme.parity_cells());
        let mut matrix = vec![0; (k + m) * k];
        // SAFETY: the library writes (k + m) × k bytes.
        unsafe { gf_gen_cauchy1_matrix(matrix.as_mut_ptr(), (k + m) as c_int, k as c_int) };
        let lost = lost_cells(scheme, operation);
        let mut isal = Isal {
            operation,
            data_cells: k,
            parity_cells: m,
            cell_bytes: descriptor.cell_bytes(),
            lost,
            matrix,
            tables: vec![0; 32 * k * m],
            rebuilt: Cells::new(lost, descriptor.cell_bytes()),
        };
        isal.prepare();
        Some(Box::new(isal))
    }

    fn encodes(&self) -> bool {
        matches!(self.operation, Operation::Encode | Operation::EncodeCold)
    }

    /// Makes the tables: of the parity rows, or of what rebuilds the first cells.
    fn prepare(&mut self) {
        let (k, m) = (self.data_cells, self.parity_cells);
        if self.encodes() {
            let rows = self.matrix[k * k..].as_mut_ptr();
            // SAFETY: m rows of k coefficients; tables of 32 bytes for each.
            unsafe { ec_init_tables(k as c_int, m as c_int, rows, self.tables.as_mut_ptr()) };
            return;
        }
        let mut survivors = self.matrix[self.lost * k..][..k * k].to_vec();
        let mut inverse = vec![0; k * k];
        // SAFETY: both are k × k; tables have room for `lost` rows.
        unsafe {
            let singular =
                gf_invert_matrix(survivors.as_mut_ptr(), inverse.as_mut_ptr(), k as c_int);
            assert_eq!(singular, 0);
            let rows = inverse.as_mut_ptr();
            ec_init_tables(k as c_int, self.lost as c_int, rows, self.tables.as_mut_ptr());
        }
    }
}

impl Contender for Isal {
    fn name(&self) -> String {
        "isal-2.30".to_owned()
    }

    fn run(&mut self, data: &[&[u8]], parity: &mut [&mut [u8]], runs: u64) {
        let mut outputs: Vec<*mut c_uchar> = if self.encodes() {
            parity.iter_mut().map(|cell| cell.as_mut_ptr()).collect()
        } else {
            self.rebuilt.iter_mut().map(|cell| cell.as_mut_ptr()).collect()
        };
        let skipped = if self.encodes() { 0 } else { self.lost };
        let cells = data.iter().copied().chain(parity.iter().map(|cell| &**cell));
        let mut sources: Vec<*mut c_uchar> = cells
            .skip(skipped)
            .take(self.data_cells)
            .map(|cell| cell.as_ptr().cast_mut())
            .collect();
        for _ in 0..runs {
            if self.operation == Operation::DecodeReplan {
                self.prepare();
            }
            // SAFETY: k sources that are only read, and outputs that are not among them, all of
            // `cell_bytes`.
            unsafe {
                ec_encode_data(
                    self.cell_bytes as c_int,
                    self.data_cells as c_int,
                    outputs.len() as c_int,
                    self.tables.as_mut_ptr(),
                    sources.as_mut_ptr(),
                    outputs.as_mut_ptr(),
                );
            }
        }
    }
}
