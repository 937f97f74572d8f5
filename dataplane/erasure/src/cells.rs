//! Sets of cells of one stripe, by index: the data cells first, then the parity cells.

use crate::kernel::SOURCES_MAX;

/// A set of cell indices below [`CellSet::CAPACITY`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CellSet([u64; 4]);

impl CellSet {
    /// Indices that a set can hold: the cells of a stripe over GF(2^8).
    pub const CAPACITY: usize = SOURCES_MAX;

    /// No cells.
    pub const EMPTY: CellSet = CellSet([0; 4]);

    /// The cells below `count`.
    ///
    /// # Panics
    /// If `count` is above [`CellSet::CAPACITY`].
    #[must_use]
    pub fn first(count: usize) -> CellSet {
        assert!(count <= CellSet::CAPACITY);
        let mut set = CellSet::EMPTY;
        for (i, word) in set.0.iter_mut().enumerate() {
            let bits = count.saturating_sub(64 * i).min(64);
            *word = if bits == 64 { u64::MAX } else { (1 << bits) - 1 };
        }
        set
    }

    /// Adds a cell.
    ///
    /// # Panics
    /// If `cell` is not below [`CellSet::CAPACITY`].
    pub fn insert(&mut self, cell: usize) {
        self.0[cell / 64] |= 1 << (cell % 64);
    }

    /// Takes a cell out.
    ///
    /// # Panics
    /// If `cell` is not below [`CellSet::CAPACITY`].
    pub fn remove(&mut self, cell: usize) {
        self.0[cell / 64] &= !(1 << (cell % 64));
    }

    /// Whether the cell is in the set.
    #[must_use]
    pub fn contains(&self, cell: usize) -> bool {
        cell < CellSet::CAPACITY && self.0[cell / 64] >> (cell % 64) & 1 == 1
    }

    /// Cells in the set.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == CellSet::EMPTY
    }

    /// The cells that are in this set and not in `other`.
    #[must_use]
    pub fn minus(&self, other: &CellSet) -> CellSet {
        CellSet(std::array::from_fn(|i| self.0[i] & !other.0[i]))
    }

    /// The cells that are in either set.
    #[must_use]
    pub fn union(&self, other: &CellSet) -> CellSet {
        CellSet(std::array::from_fn(|i| self.0[i] | other.0[i]))
    }

    /// The cells in rising order.
    pub fn iter(&self) -> impl Iterator<Item = usize> + use<> {
        let words = self.0;
        (0..4).flat_map(move |i| {
            let mut word = words[i];
            std::iter::from_fn(move || {
                if word == 0 {
                    return None;
                }
                let bit = word.trailing_zeros() as usize;
                word &= word - 1;
                Some(64 * i + bit)
            })
        })
    }

    pub(crate) fn words(&self) -> [u64; 4] {
        self.0
    }
}

impl FromIterator<usize> for CellSet {
    fn from_iter<I: IntoIterator<Item = usize>>(cells: I) -> CellSet {
        let mut set = CellSet::EMPTY;
        cells.into_iter().for_each(|cell| set.insert(cell));
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behaves_as_a_set() {
        let set: CellSet = [0, 63, 64, 130, 255].into_iter().collect();
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 63, 64, 130, 255]);
        assert_eq!(set.len(), 5);
        assert!(set.contains(130) && !set.contains(131) && !set.contains(999));
        for count in [0, 1, 63, 64, 65, 200, 256] {
            let first = CellSet::first(count);
            assert_eq!(first.len(), count);
            assert!(first.iter().eq(0..count));
        }
        assert_eq!(CellSet::first(65).minus(&set).len(), 62);
        assert_eq!(CellSet::first(2).union(&set).len(), 6);
    }
}
