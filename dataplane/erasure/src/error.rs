//! Why an operation on a stripe was refused or failed.

use crate::kernel::Kernel;

/// Why a codec can't be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The kernel that was asked for needs another processor.
    #[error("this processor can't run the {0} kernel")]
    KernelUnavailable(Kernel),
}

/// Cells that don't have the shape of the stripe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// There are more or fewer cells than the stripe has.
    #[error("{found} cells where the stripe has {expected}")]
    CellCount {
        /// Cells of the stripe.
        expected: usize,
        /// Cells that were given.
        found: usize,
    },
    /// A cell is longer or shorter than the stripe's cells.
    #[error("cell {cell} has {found} bytes, its stripe's cells {expected}")]
    CellLength {
        /// The cell, data first.
        cell: usize,
        /// Bytes of the stripe's cells.
        expected: usize,
        /// Bytes of this one.
        found: usize,
    },
    /// The stripe has no cell of this index.
    #[error("cell {cell} of a stripe of {cells}")]
    NoSuchCell {
        /// The index asked for.
        cell: usize,
        /// Cells of the stripe.
        cells: usize,
    },
    /// The checksums are those of a stripe with another shape.
    #[error("checksums of a stripe of another shape")]
    ForeignChecksums,
}

/// Why cells can't be rebuilt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReconstructError {
    /// The cells have the wrong shape.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// The surviving cells don't determine a cell that is to be rebuilt.
    #[error("{survivors} surviving cells don't determine cell {cell}")]
    TooFewCells {
        /// The first wanted cell that can't be rebuilt.
        cell: usize,
        /// Cells that were given.
        survivors: usize,
    },
    /// A cell is to be rebuilt that is among the survivors.
    #[error("cell {0} is to be rebuilt, but survives")]
    NotLost(usize),
    /// A cell is to be rebuilt into two buffers.
    #[error("cell {0} is to be rebuilt twice")]
    WantedTwice(usize),
}

/// Why a stripe's cells don't agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The cells have the wrong shape.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// A parity cell is not what the data cells make.
    #[error("cell {cell} differs from what the data cells make of it at byte {column}")]
    Parity {
        /// The parity cell, counted from the first data cell.
        cell: usize,
        /// The first byte of it that differs.
        column: usize,
    },
    /// A cell is not what its checksum says.
    #[error("chunk {chunk} of cell {cell} has another checksum")]
    Checksum {
        /// The cell, data first.
        cell: usize,
        /// The 64 KiB of it that differ.
        chunk: usize,
    },
}
