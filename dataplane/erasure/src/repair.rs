//! Repair arithmetic: which cells to read so that wanted ones can be rebuilt, at least cost.
//!
//! The cost is that of the disks: cells read (each is one disk's arm) and their bytes. A cell
//! whose local group is whole but for it costs its group alone; any other costs as many
//! independent cells as the stripe has data cells, whatever is asked of them, and then every
//! cell that is determined at all can be had from them.

use crate::cells::CellSet;
use crate::descriptor::{Descriptor, Scheme};
use crate::error::{ReconstructError, ShapeError};
use crate::field::{add_scaled, inv, mul};
use crate::matrix::Matrix;

/// What a repair reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reads {
    /// The cells to read.
    pub cells: CellSet,
    /// Disks that are read: one for each cell.
    pub disks: usize,
    /// Bytes that are read.
    pub bytes: u64,
}

/// The cells of `available` to read so that `wanted`, none of which is available, can be
/// rebuilt: as few as possible, and among equals those that are cheapest to decode from.
///
/// # Errors
/// If `available` does not determine one of `wanted`, or one of them is available or no cell
/// of the stripe. A stripe of more than 256 cells can't be asked about here: any k of its cells
/// are needed ([`Scheme::data_cells`]).
pub fn reads(
    descriptor: &Descriptor,
    available: &CellSet,
    wanted: &CellSet,
) -> Result<Reads, ReconstructError> {
    let scheme = descriptor.scheme();
    let cells = scheme.cells();
    if let Some(cell) = available.union(wanted).iter().find(|&cell| cell >= cells) {
        return Err(ShapeError::NoSuchCell { cell, cells }.into());
    }
    if let Some(cell) = wanted.iter().find(|&cell| available.contains(cell)) {
        return Err(ReconstructError::NotLost(cell));
    }
    let matrix = scheme.matrix();
    let mut read = CellSet::EMPTY;
    let mut rest = CellSet::EMPTY;
    for cell in wanted.iter() {
        match group_of(&scheme, cell).map(|group| group.minus(&[cell].into_iter().collect())) {
            Some(others) if others.minus(available).is_empty() => read = read.union(&others),
            _ => rest.insert(cell),
        }
    }
    if !rest.is_empty() {
        read = match &matrix {
            Some(matrix) => independent(matrix, available),
            None => available.iter().take(scheme.data_cells()).collect(),
        };
        let missing = rest.iter().find(|&cell| match &matrix {
            Some(matrix) => !spans(matrix, &read, cell),
            None => read.len() < scheme.data_cells(),
        });
        if let Some(cell) = missing {
            return Err(ReconstructError::TooFewCells { cell, survivors: available.len() });
        }
    }
    let disks = read.len();
    Ok(Reads { cells: read, disks, bytes: disks as u64 * descriptor.cell_bytes() as u64 })
}

/// The cells of which any one is the XOR of the others, if `cell` is in such a local group.
fn group_of(scheme: &Scheme, cell: usize) -> Option<CellSet> {
    let Scheme::Local { data, groups, .. } = *scheme else { return None };
    let (data, groups) = (usize::from(data), usize::from(groups));
    let size = data / groups;
    let group = if cell < data { cell / size } else { cell - data };
    if group >= groups {
        return None;
    }
    Some((group * size..(group + 1) * size).chain([data + group]).collect())
}

/// Independent cells of `available`, as many as there are: data first, then plain parity.
fn independent(matrix: &Matrix, available: &CellSet) -> CellSet {
    let mut basis = Basis::default();
    available.iter().filter(|&cell| basis.insert(unit(matrix, cell))).collect()
}

/// Whether `cell` is a combination of the cells of `read`.
fn spans(matrix: &Matrix, read: &CellSet, cell: usize) -> bool {
    let mut basis = Basis::default();
    read.iter().for_each(|cell| {
        basis.insert(unit(matrix, cell));
    });
    !basis.insert(unit(matrix, cell))
}

/// A cell as a combination of data cells.
fn unit(matrix: &Matrix, cell: usize) -> Vec<u8> {
    match cell.checked_sub(matrix.columns()) {
        Some(parity) => matrix.row(parity).to_vec(),
        None => (0..matrix.columns()).map(|j| u8::from(j == cell)).collect(),
    }
}

/// Independent combinations, each with 1 at a place where all later ones have 0.
#[derive(Default)]
struct Basis(Vec<(usize, Vec<u8>)>);

impl Basis {
    /// Adds a combination; false if it depends on the others.
    fn insert(&mut self, mut row: Vec<u8>) -> bool {
        for (pivot, known) in &self.0 {
            let factor = row[*pivot];
            add_scaled(&mut row, factor, known);
        }
        let Some(pivot) = row.iter().position(|&c| c != 0) else { return false };
        let scale = inv(row[pivot]);
        row.iter_mut().for_each(|c| *c = mul(*c, scale));
        self.0.push((pivot, row));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor(text: &str) -> Descriptor {
        Descriptor::new(text.parse().unwrap(), 4096).unwrap()
    }

    fn reads_for(text: &str, lost: &[usize], wanted: &[usize]) -> Result<Reads, ReconstructError> {
        let descriptor = descriptor(text);
        let all = CellSet::first(descriptor.scheme().cells());
        let available = all.minus(&lost.iter().copied().collect());
        reads(&descriptor, &available, &wanted.iter().copied().collect())
    }

    /// The table of docs/ERASURE.md.
    #[test]
    fn cells_read_to_repair_one() {
        let table = [
            ("3x", 1),
            ("4+2", 4),
            ("6+3", 6),
            ("8+3", 8),
            ("8+4", 8),
            ("10+4", 10),
            ("17+3", 17),
            ("lrc12+2+2", 6),
            ("20+8", 20),
        ];
        for (text, expected) in table {
            let found = reads_for(text, &[0], &[0]).unwrap();
            assert_eq!((found.disks, found.bytes), (expected, 4096 * expected as u64), "{text}");
        }
    }

    #[test]
    fn a_global_loss_reads_all_data_and_a_local_one_its_group() {
        assert_eq!(reads_for("lrc12+2+2", &[14], &[14]).unwrap().cells, CellSet::first(12));
        let found = reads_for("lrc12+2+2", &[13], &[13]).unwrap();
        assert_eq!(found.cells, (6..12).collect());
        // Two losses in two groups: both groups, which are all data but for the lost cells.
        assert_eq!(reads_for("lrc12+2+2", &[0, 6], &[0, 6]).unwrap().disks, 12);
        // Two in one group: twelve independent cells.
        assert_eq!(reads_for("lrc12+2+2", &[0, 1], &[0]).unwrap().disks, 12);
    }

    #[test]
    fn refuses_what_cannot_be() {
        let too_few = |cell, survivors| Err(ReconstructError::TooFewCells { cell, survivors });
        assert_eq!(reads_for("4+2", &[0, 1, 2], &[1]), too_few(1, 3));
        assert_eq!(reads_for("4+2", &[0], &[1]), Err(ReconstructError::NotLost(1)));
        assert!(reads_for("4+2", &[0], &[6]).is_err());
        assert_eq!(reads_for("lrc12+2+2", &[0, 1, 2, 3], &[0]), too_few(0, 12));
    }

    /// No smaller set would do: every subset of the survivors of a small code is tried.
    #[test]
    fn nothing_cheaper_exists() {
        for text in ["lrc4+2+1", "lrc4+2+2", "4+2", "3x", "2+3"] {
            let descriptor = descriptor(text);
            let (n, matrix) = (descriptor.scheme().cells(), descriptor.scheme().matrix().unwrap());
            for lost in 1u32..1 << n {
                let lost: CellSet = (0..n).filter(|&cell| lost >> cell & 1 == 1).collect();
                if lost.len() > 3 {
                    continue;
                }
                let available = CellSet::first(n).minus(&lost);
                for cell in lost.iter() {
                    let cheapest = (0u32..1 << n)
                        .map(|set| (0..n).filter(|&c| set >> c & 1 == 1).collect::<CellSet>())
                        .filter(|set| set.minus(&available).is_empty() && spans(&matrix, set, cell))
                        .map(|set| set.len())
                        .min();
                    let wanted = [cell].into_iter().collect();
                    let found = reads(&descriptor, &available, &wanted).ok().map(|r| r.disks);
                    assert_eq!(found, cheapest, "{text}: {cell} of {lost:?}");
                }
            }
        }
    }

    #[test]
    fn what_is_read_suffices_to_decode() {
        let descriptor = descriptor("lrc12+2+2");
        let matrix = descriptor.scheme().matrix().unwrap();
        let mut solver = crate::solve::Solver::default();
        let mut rows = crate::program::Rows::default();
        for a in 0..16 {
            for b in a + 1..16 {
                let lost = [a, b].into_iter().collect();
                let found = reads(&descriptor, &CellSet::first(16).minus(&lost), &lost).unwrap();
                let wanted = [a as u16, b as u16];
                assert_eq!(solver.solve(&matrix, &found.cells, &wanted, &mut rows), Ok(()));
            }
        }
    }
}
