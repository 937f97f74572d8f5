//! The parity matrices: parity cell i is the sum over the data cells j of `at(i, j)` · cell j.
//!
//! Which matrix a stripe was coded with is named by its codec id and matrix version, and the
//! coefficients of a version never change. Version 1 of the Reed-Solomon matrix is
//!
//! ```text
//!            (255 ^ j)
//! C[i][j] = -----------        rows i < m, columns j < k, k + m <= 256
//!           (255-i) ^ j
//! ```
//!
//! that is the Cauchy matrix 1/(x_i ^ y_j) over the points x_i = 255-i and y_j = j, with each
//! column divided by its entry in row 0. The points are distinct because k + m <= 256, so each
//! square submatrix of the Cauchy matrix is invertible; scaling columns keeps it so, hence the
//! code is MDS. Row 0 is all ones: the first parity is plain XOR. A coefficient depends on i
//! and j alone, never on k or m: a stripe is what a wider one with zero cells would be.

use crate::field;

/// The coefficients of a code's parity cells, row by row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Matrix {
    rows: usize,
    columns: usize,
    coefficients: Vec<u8>,
    is_cauchy: bool,
}

impl Matrix {
    fn build(rows: usize, columns: usize, coefficient: impl Fn(usize, usize) -> u8) -> Matrix {
        let coefficients = (0..rows * columns).map(|n| coefficient(n / columns, n % columns));
        Matrix { rows, columns, coefficients: coefficients.collect(), is_cauchy: false }
    }

    /// Copies: every parity cell is the one data cell.
    pub(crate) fn replication(copies: usize) -> Matrix {
        Matrix::build(copies, 1, |_, _| 1)
    }

    /// Version 1 of the Reed-Solomon matrix, as drawn above.
    pub(crate) fn reed_solomon(data: usize, parity: usize) -> Matrix {
        assert!(data + parity <= 256, "GF(2^8) numbers 256 cells");
        Matrix { is_cauchy: true, ..Matrix::build(parity, data, cauchy) }
    }

    /// Version 1 of the LRC matrix: `groups` rows that are the XOR of `data / groups` cells
    /// each, then `globals` rows of the Reed-Solomon matrix: 1, 9, 17 and so on.
    ///
    /// The local rows sum to row 0 of that matrix, so any globals + 1 losses can be solved: if
    /// no local is lost, by the MDS code of row 0 and the global rows; else at most `globals`
    /// others are lost and the global rows alone suffice. The step of 8 is what makes two
    /// groups of up to eight cells with two globals maximally recoverable: every four losses
    /// that any such code can solve, this one does (rows 1 and 2 miss five patterns of 12+2+2).
    pub(crate) fn local(data: usize, groups: usize, globals: usize) -> Matrix {
        assert!(data.is_multiple_of(groups), "groups are of one size");
        assert!(Matrix::local_fits(data, globals), "GF(2^8) numbers 256 cells");
        let size = data / groups;
        Matrix::build(groups + globals, data, |i, j| {
            if i < groups { u8::from(j / size == i) } else { cauchy(global_row(i - groups), j) }
        })
    }

    /// Whether an LRC of that many data cells and globals has distinct points.
    pub(crate) fn local_fits(data: usize, globals: usize) -> bool {
        globals > 0 && data + global_row(globals - 1) < 256
    }

    /// Whether this is the Reed-Solomon matrix: [`point`](Matrix::point) and
    /// [`scale`](Matrix::scale) say all of it.
    pub(crate) fn is_cauchy(&self) -> bool {
        self.is_cauchy
    }

    /// The same matrix without the knowledge of what it is.
    #[cfg(test)]
    pub(crate) fn by_elimination(self) -> Matrix {
        Matrix { is_cauchy: false, ..self }
    }

    /// The point of a cell, data cells first: y_j or x_i.
    pub(crate) fn point(&self, cell: usize) -> u8 {
        match cell.checked_sub(self.columns) {
            None => cell as u8,
            Some(parity) => 255 - parity as u8,
        }
    }

    /// What the Cauchy matrix's column of a data cell was multiplied by; 1 for parity cells.
    pub(crate) fn scale(&self, cell: usize) -> u8 {
        if cell < self.columns { 255 ^ self.point(cell) } else { 1 }
    }

    /// Parity cells.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Data cells.
    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// The coefficients of parity cell `row`, one per data cell.
    pub(crate) fn row(&self, row: usize) -> &[u8] {
        &self.coefficients[row * self.columns..][..self.columns]
    }

    /// The coefficient of data cell `column` in parity cell `row`.
    pub(crate) fn at(&self, row: usize, column: usize) -> u8 {
        self.row(row)[column]
    }

    /// Whether parity cell `row` is the XOR of some data cells.
    pub(crate) fn is_plain(&self, row: usize) -> bool {
        self.row(row).iter().all(|&c| c <= 1)
    }
}

/// The row of the Reed-Solomon matrix that global parity `global` of an LRC uses.
const fn global_row(global: usize) -> usize {
    1 + 8 * global
}

fn cauchy(row: usize, column: usize) -> u8 {
    let (x0, x, y) = (255, 255 - row as u8, column as u8);
    field::mul(x0 ^ y, field::inv(x ^ y))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_row_is_xor_and_no_coefficient_is_zero() {
        for (k, m) in [(1, 1), (4, 2), (10, 4), (32, 8), (128, 128), (255, 1), (1, 255)] {
            let matrix = Matrix::reed_solomon(k, m);
            assert!(matrix.row(0).iter().all(|&c| c == 1));
            assert!((0..m).all(|i| matrix.row(i).iter().all(|&c| c != 0)));
            assert!((1..m).all(|i| k == 1 || !matrix.is_plain(i)), "{k}+{m}");
        }
    }

    #[test]
    fn a_narrower_code_is_a_corner_of_the_widest() {
        let (wide, narrow) = (Matrix::reed_solomon(200, 56), Matrix::reed_solomon(10, 4));
        for i in 0..4 {
            assert_eq!(narrow.row(i), &wide.row(i)[..10]);
        }
    }

    #[test]
    fn local_rows_sum_to_the_xor_of_all_data() {
        let matrix = Matrix::local(12, 2, 2);
        for j in 0..12 {
            assert_eq!(matrix.at(0, j) ^ matrix.at(1, j), 1);
        }
        assert!(matrix.is_plain(0) && matrix.is_plain(1) && !matrix.is_plain(2));
    }
}
