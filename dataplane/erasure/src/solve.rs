//! From a loss pattern to the rows that rebuild the lost cells from the surviving ones.
//!
//! Each surviving parity cell is an equation over the missing data cells. As many of them as
//! there are missing cells (e) are chosen and solved, e×e; the other surviving parities are
//! never read. Equations of local groups come first, so that a loss inside one group is solved
//! by that group alone.
//!
//! Reed-Solomon needs no elimination, as the inverse of a Cauchy matrix has a closed form. With
//! z_c the point of cell c (see matrix.rs), s_c its column's scale, L the missing data cells and
//! Q the parity cells in use, wanted cell w takes of cell u
//!
//! ```text
//!              W(u)                          product of (z_c ^ z_l) over l in L without c
//! a(w,u) = ---------------------,   W(c) = s_c ------------------------------------------------
//!          W(w) · (z_u ^ z_w)                product of (z_c ^ z_q) over q in Q without c
//! ```
//!
//! for every surviving data cell and every cell of Q. (Over the rational functions with poles at
//! the data points that vanish in Q, it is Lagrange's interpolation.) That is one sum of
//! logarithms for each coefficient: 128 + 64 cells with 64 lost are solved in a tenth of the time.

use crate::cells::CellSet;
use crate::field::{add_scaled, exp, inv, log, mul};
use crate::matrix::Matrix;
use crate::program::{Fold, Rows};

/// Solves loss patterns; keeps its memory from one to the next.
#[derive(Debug, Default)]
pub(crate) struct Solver {
    /// Missing data cells, rising; unknown u of the equations is `missing[u]`.
    missing: Vec<u16>,
    /// The parity rows in use, equation by equation.
    equations: Vec<u16>,
    /// For each equation: its reduced coefficients over the unknowns, then what it is made of
    /// as factors of the equations in use.
    reduced: Vec<u8>,
    /// For each equation, the unknown that no other one contains; for each unknown, the
    /// equation that does.
    pivots: Vec<u16>,
    solved_by: Vec<Option<u16>>,
    /// How much of each equation in use one wanted cell takes.
    factors: Vec<u8>,
    /// The equation under work.
    candidate: Vec<u8>,
    /// The logarithm of W of each cell that is read, see above.
    weights: Vec<u32>,
}

/// A wanted cell that the surviving ones don't determine: its place among the wanted ones.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Undetermined(pub(crate) usize);

impl Solver {
    /// Writes into `rows` how each of `wanted`, cells that don't survive, is summed up from
    /// `survivors`: one row each, in their order, over all cells of the stripe.
    pub(crate) fn solve(
        &mut self,
        matrix: &Matrix,
        survivors: &CellSet,
        wanted: &[u16],
        rows: &mut Rows,
    ) -> Result<(), Undetermined> {
        let data = matrix.columns();
        rows.reset(wanted.len(), data + matrix.rows());
        self.missing.clear();
        self.missing.extend((0..data).filter(|&j| !survivors.contains(j)).map(|j| j as u16));
        if matrix.is_cauchy() {
            self.interpolate(matrix, survivors, wanted, rows)?;
            rows.fold = self.fold(matrix, survivors, wanted, rows);
            return Ok(());
        }
        self.eliminate(matrix, survivors);
        for (at, &cell) in wanted.iter().enumerate() {
            if !self.combine(matrix, survivors, usize::from(cell), rows.row_mut(at)) {
                return Err(Undetermined(at));
            }
        }
        rows.fold = self.fold(matrix, survivors, wanted, rows);
        Ok(())
    }

    /// Writes the rows of a Reed-Solomon code, as drawn at the top of this file.
    fn interpolate(
        &mut self,
        matrix: &Matrix,
        survivors: &CellSet,
        wanted: &[u16],
        rows: &mut Rows,
    ) -> Result<(), Undetermined> {
        let (data, cells) = (matrix.columns(), matrix.columns() + matrix.rows());
        self.equations.clear();
        let parity = (0..matrix.rows()).filter(|&i| survivors.contains(data + i));
        self.equations.extend(parity.take(self.missing.len()).map(|i| i as u16));
        if self.equations.len() < self.missing.len() {
            // Every parity cell has a share of every data cell: nothing can be told.
            return Err(Undetermined(0));
        }
        let equations = self.equations.iter().map(|&i| data + usize::from(i));
        let weight = |cell: usize| {
            let z = matrix.point(cell);
            let mut sum = log(matrix.scale(cell));
            for &missing in self.missing.iter().filter(|&&l| usize::from(l) != cell) {
                sum += log(z ^ matrix.point(missing.into()));
            }
            for equation in equations.clone().filter(|&q| q != cell) {
                sum += 255 - log(z ^ matrix.point(equation));
            }
            sum % 255
        };
        let read = (0..data).filter(|&j| survivors.contains(j)).chain(equations.clone());
        self.weights.clear();
        self.weights.resize(cells, 0);
        for cell in read.clone() {
            self.weights[cell] = weight(cell);
        }
        for (at, &cell) in wanted.iter().enumerate() {
            let (z, own) = (matrix.point(cell.into()), 255 - weight(cell.into()));
            let row = rows.row_mut(at);
            for u in read.clone() {
                row[u] = exp(self.weights[u] + own + 255 - log(z ^ matrix.point(u)));
            }
        }
        Ok(())
    }

    /// Chooses equations and brings them to a form in which each has an unknown of its own.
    fn eliminate(&mut self, matrix: &Matrix, survivors: &CellSet) {
        let (data, unknowns) = (matrix.columns(), self.missing.len());
        let width = 2 * unknowns;
        self.equations.clear();
        self.reduced.clear();
        self.pivots.clear();
        self.solved_by.clear();
        self.solved_by.resize(unknowns, None);
        for parity in (0..matrix.rows()).filter(|&i| survivors.contains(data + i)) {
            let count = self.equations.len();
            if count == unknowns {
                break;
            }
            self.candidate.clear();
            self.candidate.extend(self.missing.iter().map(|&j| matrix.at(parity, j.into())));
            self.candidate.resize(width, 0);
            self.candidate[unknowns + count] = 1;
            for (e, &pivot) in self.pivots.iter().enumerate() {
                let factor = self.candidate[usize::from(pivot)];
                add_scaled(&mut self.candidate, factor, &self.reduced[e * width..][..width]);
            }
            let Some(pivot) = self.candidate[..unknowns].iter().position(|&c| c != 0) else {
                continue;
            };
            let scale = inv(self.candidate[pivot]);
            self.candidate.iter_mut().for_each(|c| *c = mul(*c, scale));
            for equation in self.reduced.chunks_exact_mut(width) {
                let factor = equation[pivot];
                add_scaled(equation, factor, &self.candidate);
            }
            self.reduced.extend_from_slice(&self.candidate);
            self.pivots.push(pivot as u16);
            self.solved_by[pivot] = Some(count as u16);
            self.equations.push(parity as u16);
        }
    }

    /// The row of one wanted cell; false if it is not determined.
    fn combine(
        &mut self,
        matrix: &Matrix,
        survivors: &CellSet,
        cell: usize,
        row: &mut [u8],
    ) -> bool {
        let (data, unknowns) = (matrix.columns(), self.missing.len());
        self.factors.clear();
        self.factors.resize(self.equations.len(), 0);
        for (u, &missing) in self.missing.iter().enumerate() {
            let needed = match cell.checked_sub(data) {
                Some(parity) => matrix.at(parity, missing.into()),
                None => u8::from(usize::from(missing) == cell),
            };
            if needed == 0 {
                continue;
            }
            let Some(equation) = self.solved_by[u] else { return false };
            let solved = &self.reduced[usize::from(equation) * 2 * unknowns..][..2 * unknowns];
            if solved[..unknowns].iter().enumerate().any(|(other, &c)| other != u && c != 0) {
                return false;
            }
            let made_of = &solved[unknowns..][..self.equations.len()];
            add_scaled(&mut self.factors, needed, made_of);
        }
        if let Some(parity) = cell.checked_sub(data) {
            row[..data].copy_from_slice(matrix.row(parity));
        }
        for (&factor, &equation) in self.factors.iter().zip(&self.equations) {
            add_scaled(&mut row[..data], factor, matrix.row(equation.into()));
            row[data + usize::from(equation)] = factor;
        }
        // What is left of the missing cells are the unknowns themselves.
        for &missing in &self.missing {
            row[usize::from(missing)] = 0;
        }
        debug_assert!(row.iter().enumerate().all(|(s, &c)| c == 0 || survivors.contains(s)));
        true
    }

    /// Looks for a plain parity whose other unknowns are rebuilt in the same pass: then one
    /// output is an XOR of survivors and those outputs, and a multiplication is saved.
    fn fold(
        &self,
        matrix: &Matrix,
        survivors: &CellSet,
        wanted: &[u16],
        rows: &mut Rows,
    ) -> Option<Fold> {
        if wanted.len() > crate::kernel::ROWS_MAX + 1 {
            return None;
        }
        let data = matrix.columns();
        let place = |cell: usize| wanted.iter().position(|&w| usize::from(w) == cell);
        for parity in (0..matrix.rows()).filter(|&i| matrix.is_plain(i)) {
            let cell = data + parity;
            let mut unknowns = self.missing.iter().filter(|&&j| matrix.at(parity, j.into()) == 1);
            let target = if self.equations.contains(&(parity as u16)) {
                unknowns.next().and_then(|&j| place(j.into()))
            } else {
                place(cell)
            };
            let (Some(target), false) = (target, unknowns.clone().next().is_none()) else {
                continue;
            };
            let Some(folded) = unknowns.map(|&j| place(j.into())).collect::<Option<CellSet>>()
            else {
                continue;
            };
            let row = rows.row_mut(target);
            row.fill(0);
            for j in (0..data).filter(|&j| survivors.contains(j)) {
                row[j] = matrix.at(parity, j);
            }
            row[cell] = u8::from(survivors.contains(cell));
            return Some(Fold { target: target as u16, folded });
        }
        None
    }

    /// The parity cells that the last solution reads, as rows of the matrix.
    #[cfg(test)]
    fn equations(&self) -> &[u16] {
        &self.equations
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn solve(matrix: &Matrix, lost: &[usize]) -> Result<(Rows, Solver), Undetermined> {
        let lost: CellSet = lost.iter().copied().collect();
        let survivors = CellSet::first(matrix.columns() + matrix.rows()).minus(&lost);
        let wanted: Vec<u16> = lost.iter().map(|cell| cell as u16).collect();
        let (mut solver, mut rows) = (Solver::default(), Rows::default());
        solver.solve(matrix, &survivors, &wanted, &mut rows).map(|()| (rows, solver))
    }

    fn reads(rows: &Rows, row: usize) -> usize {
        rows.row(row).iter().filter(|&&c| c != 0).count()
    }

    /// The closed form against elimination, which the other codes use.
    #[test]
    fn interpolation_is_elimination() {
        let mut state = 1u64;
        let mut below = |n: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as usize % n
        };
        for _ in 0..500 {
            let (k, m) = (1 + below(60), 1 + below(20));
            let cauchy = Matrix::reed_solomon(k, m);
            let general = cauchy.clone().by_elimination();
            let lost: Vec<usize> = (0..1 + below(m + 1)).map(|_| below(k + m)).collect();
            match (solve(&cauchy, &lost), solve(&general, &lost)) {
                (Ok((a, _)), Ok((b, _))) => {
                    assert_eq!((a.len(), a.fold), (b.len(), b.fold));
                    assert!((0..a.len()).all(|row| a.row(row) == b.row(row)), "{k}+{m} {lost:?}");
                }
                (a, b) => assert_eq!(a.err(), b.err(), "{k}+{m} without {lost:?}"),
            }
        }
    }

    #[test]
    fn one_loss_is_plain_xor() {
        let (rows, solver) = solve(&Matrix::reed_solomon(10, 4), &[3]).unwrap();
        assert_eq!(solver.equations(), [0]);
        assert!(rows.row(0).iter().all(|&c| c <= 1));
        assert_eq!(reads(&rows, 0), 10);
    }

    #[test]
    fn many_losses_save_a_multiplied_row() {
        let (rows, _) = solve(&Matrix::reed_solomon(10, 4), &[0, 1, 2, 3]).unwrap();
        let fold = rows.fold.unwrap();
        assert_eq!((fold.target, fold.folded), (0, [1, 2, 3].into_iter().collect()));
        // The first parity is lost as well: it is the XOR of all data, the rebuilt ones too.
        let (rows, _) = solve(&Matrix::reed_solomon(10, 4), &[0, 1, 10]).unwrap();
        let fold = rows.fold.unwrap();
        assert_eq!((fold.target, fold.folded), (2, [0, 1].into_iter().collect()));
    }

    #[test]
    fn a_local_loss_reads_its_group() {
        let lrc = Matrix::local(12, 2, 2);
        let (rows, _) = solve(&lrc, &[7]).unwrap();
        assert_eq!(reads(&rows, 0), 6);
        let (rows, _) = solve(&lrc, &[2, 7]).unwrap();
        assert_eq!((reads(&rows, 0), reads(&rows, 1)), (6, 6));
        let (rows, _) = solve(&lrc, &[12]).unwrap();
        assert_eq!(reads(&rows, 0), 6);
    }

    #[test]
    fn what_is_not_determined_is_refused() {
        assert_eq!(solve(&Matrix::reed_solomon(4, 2), &[0, 1, 2]).unwrap_err(), Undetermined(0));
        let lrc = Matrix::local(12, 2, 2);
        assert!(solve(&lrc, &[0, 1, 2, 3]).is_err());
        // A cell whose own group is whole can be had although the other group can't.
        let survivors = CellSet::first(16).minus(&[0, 1, 2, 3, 4, 9].into_iter().collect());
        let (mut solver, mut rows) = (Solver::default(), Rows::default());
        assert_eq!(solver.solve(&lrc, &survivors, &[9], &mut rows), Ok(()));
        assert_eq!(reads(&rows, 0), 6);
        assert_eq!(solver.solve(&lrc, &survivors, &[9, 4], &mut rows), Err(Undetermined(1)));
    }
}
