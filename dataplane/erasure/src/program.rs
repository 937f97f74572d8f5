//! Programs: rows of coefficients, compiled into passes that a kernel can run.
//!
//! A row says how one output is summed up from the sources. Rows of zeros and ones alone are
//! plain: they need no multiplication, and each pass computes one of them beside up to eight
//! multiplied rows, so that every source is loaded once for all.

use crate::checksum::Registers;
use crate::kernel::{Kernel, Outputs, ROWS_MAX, SOURCES_MAX, Sources};
use std::ops::Range;

/// Bytes of sources that a program of several passes walks before it starts over with the
/// next pass: they should stay in the second-level cache.
const BLOCK_BYTES: usize = 256 << 10;

/// How outputs are summed up from sources, one row for each output.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    sources: usize,
    coefficients: Vec<u8>,
    /// A plain row that also takes the finished bytes of other rows.
    pub(crate) fold: Option<Fold>,
}

/// A plain row that adds other outputs to its sources: `outputs[target]` is the XOR of its
/// row's sources and of the outputs in `Rows::folded`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fold {
    /// The row.
    pub(crate) target: u16,
    /// The outputs that are added to it, as a set.
    pub(crate) folded: crate::cells::CellSet,
}

impl Rows {
    /// Makes this `rows` rows of zeros over `sources` sources.
    pub(crate) fn reset(&mut self, rows: usize, sources: usize) {
        self.sources = sources;
        self.coefficients.clear();
        self.coefficients.resize(rows * sources, 0);
        self.fold = None;
    }

    /// Rows.
    pub(crate) fn len(&self) -> usize {
        self.coefficients.len().checked_div(self.sources).unwrap_or(0)
    }

    /// The coefficients of one row.
    pub(crate) fn row(&self, row: usize) -> &[u8] {
        &self.coefficients[row * self.sources..][..self.sources]
    }

    /// The coefficients of one row.
    pub(crate) fn row_mut(&mut self, row: usize) -> &mut [u8] {
        &mut self.coefficients[row * self.sources..][..self.sources]
    }

    fn is_plain(&self, row: usize) -> bool {
        self.row(row).iter().all(|&c| c <= 1)
    }
}

/// A plain row and up to eight multiplied rows over some sources.
#[derive(Debug, Default)]
pub(crate) struct Pass {
    sources: Vec<u16>,
    plain_sources: usize,
    outputs: Vec<u16>,
    has_plain: bool,
    folded: usize,
    coefficients: Vec<u8>,
    table: Vec<u64>,
}

impl Pass {
    /// The sources; those of the plain row come first.
    pub(crate) fn sources(&self) -> &[u16] {
        &self.sources
    }

    /// Sources of the plain row.
    pub(crate) fn plain_sources(&self) -> usize {
        self.plain_sources
    }

    /// The outputs: that of the plain row, if any, then those of the multiplied rows.
    pub(crate) fn outputs(&self) -> &[u16] {
        &self.outputs
    }

    /// Whether the first output is a plain row's.
    pub(crate) fn has_plain(&self) -> bool {
        self.has_plain
    }

    /// Rows with coefficients.
    pub(crate) fn multiplied_rows(&self) -> usize {
        self.outputs.len() - usize::from(self.has_plain)
    }

    /// Multiplied rows, from the first, that are added to the plain row.
    pub(crate) fn folded(&self) -> usize {
        self.folded
    }

    /// Coefficients of the multiplied rows, by source and then row.
    pub(crate) fn coefficients(&self) -> &[u8] {
        &self.coefficients
    }

    /// The coefficients in the form of the kernel that the pass was compiled for.
    pub(crate) fn table(&self) -> &[u64] {
        &self.table
    }

    fn clear(&mut self) {
        self.sources.clear();
        self.outputs.clear();
        self.coefficients.clear();
        self.table.clear();
        (self.has_plain, self.plain_sources, self.folded) = (false, 0, 0);
    }

    /// Chooses and orders the sources and writes down the coefficients, once the outputs are
    /// known.
    fn finish(&mut self, kernel: Kernel, rows: &Rows) {
        debug_assert!(
            (1..self.outputs.len()).all(|i| !self.outputs[..i].contains(&self.outputs[i]))
        );
        let (plain, multiplied) = self.outputs.split_at(usize::from(self.has_plain));
        if let [plain] = plain {
            let row = rows.row(usize::from(*plain));
            self.sources.extend((0..rows.sources).filter(|&s| row[s] != 0).map(|s| s as u16));
            self.plain_sources = self.sources.len();
        }
        for s in 0..rows.sources {
            let in_plain = plain.iter().any(|&row| rows.row(usize::from(row))[s] != 0);
            let used = multiplied.iter().any(|&row| rows.row(usize::from(row))[s] != 0);
            if used && !in_plain {
                self.sources.push(s as u16);
            }
        }
        assert!(self.sources.len() <= SOURCES_MAX, "a stripe over GF(2^8) has 256 cells");
        for &source in &self.sources {
            for &row in multiplied {
                let coefficient = rows.row(usize::from(row))[usize::from(source)];
                self.coefficients.push(coefficient);
                kernel.expand(coefficient, &mut self.table);
            }
        }
    }
}

/// Passes that together compute every output. Compiling into one again reuses its memory.
#[derive(Debug)]
pub(crate) struct Program {
    kernel: Kernel,
    passes: Vec<Pass>,
    used: usize,
    plain: Vec<u16>,
    multiplied: Vec<u16>,
}

impl Program {
    /// A program without outputs.
    pub(crate) fn new(kernel: Kernel) -> Program {
        Program { kernel, passes: Vec::new(), used: 0, plain: Vec::new(), multiplied: Vec::new() }
    }

    /// Takes the memory that compiling `rows` rows over `sources` sources into `passes` passes
    /// needs at most.
    pub(crate) fn reserve(&mut self, passes: usize, rows: usize, sources: usize) {
        self.plain.reserve(rows);
        self.multiplied.reserve(rows);
        self.passes.resize_with(passes.max(self.passes.len()), Pass::default);
        let coefficients = sources * rows.min(ROWS_MAX);
        for pass in &mut self.passes {
            pass.sources.reserve(sources);
            pass.outputs.reserve(rows.min(ROWS_MAX) + 1);
            pass.coefficients.reserve(coefficients);
            pass.table.reserve(coefficients * self.kernel.coefficient_words());
        }
    }

    /// The kernel that it runs on.
    pub(crate) fn kernel(&self) -> Kernel {
        self.kernel
    }

    /// Makes this the program of `rows`.
    pub(crate) fn compile(&mut self, rows: &Rows) {
        self.plain.clear();
        self.multiplied.clear();
        self.used = 0;
        if let Some(fold) = &rows.fold {
            assert!(rows.len() <= ROWS_MAX + 1, "a folded row shares its pass with all others");
            self.multiplied.extend(fold.folded.iter().map(|row| row as u16));
            self.plain.push(fold.target);
        }
        for row in 0..rows.len() {
            let folds = rows
                .fold
                .is_some_and(|fold| usize::from(fold.target) == row || fold.folded.contains(row));
            match rows.is_plain(row) {
                _ if folds => {}
                true => self.plain.push(row as u16),
                false => self.multiplied.push(row as u16),
            }
        }

        let chunks = self.multiplied.len().div_ceil(ROWS_MAX).max(self.plain.len());
        let full = self.multiplied.len().div_ceil(ROWS_MAX);
        let (mut multiplied, mut plain) =
            (std::mem::take(&mut self.multiplied), std::mem::take(&mut self.plain));
        let mut rest = &multiplied[..];
        for chunk in 0..chunks {
            // Multiplied rows are spread evenly: 12 are better two times 6 than 8 and 4.
            let take = if chunk < full { rest.len().div_ceil(full - chunk) } else { 0 };
            let (now, later) = rest.split_at(take);
            rest = later;
            let folded = match &rows.fold {
                Some(fold) if chunk == 0 => fold.folded.len(),
                _ => 0,
            };
            let pass = self.next_pass();
            pass.folded = folded;
            if let Some(&row) = plain.get(chunk) {
                pass.has_plain = true;
                pass.outputs.push(row);
            }
            pass.outputs.extend_from_slice(now);
            let kernel = self.kernel;
            self.passes[self.used - 1].finish(kernel, rows);
        }
        // The lists keep their memory for the next time.
        std::mem::swap(&mut self.multiplied, &mut multiplied);
        std::mem::swap(&mut self.plain, &mut plain);
    }

    fn next_pass(&mut self) -> &mut Pass {
        if self.used == self.passes.len() {
            self.passes.push(Pass::default());
        }
        self.used += 1;
        let pass = &mut self.passes[self.used - 1];
        pass.clear();
        pass
    }

    /// The passes, in any order.
    pub(crate) fn passes(&self) -> &[Pass] {
        &self.passes[..self.used]
    }

    /// Computes every output over `columns`, as [`Kernel::run`] says.
    pub(crate) fn run(
        &self,
        sources: &(impl Sources + ?Sized),
        outputs: &mut (impl Outputs + ?Sized),
        columns: Range<usize>,
        accumulate: bool,
        stream: bool,
    ) {
        let passes = self.passes();
        let block = if passes.len() <= 1 { columns.len() } else { self.block_bytes() };
        for columns in blocks(columns, block) {
            for pass in passes {
                self.kernel.run(pass, sources, outputs, columns.clone(), accumulate, stream);
            }
        }
    }

    /// Computes every output over `columns` and takes those columns of every source and of every
    /// multiplied output into their registers. The first pass must read every source.
    pub(crate) fn run_summed(
        &self,
        sources: &(impl Sources + ?Sized),
        outputs: &mut (impl Outputs + ?Sized),
        columns: Range<usize>,
        stream: bool,
        registers: &mut Registers<'_>,
    ) {
        let (first, others) = self.passes().split_first().expect("a code has parity");
        assert_eq!(first.sources.len(), registers.data.len(), "the first pass reads all data");
        let in_one_loop = others.is_empty() && self.kernel.sums();
        let block = if in_one_loop { columns.len() } else { self.block_bytes() };
        for columns in blocks(columns, block) {
            let kernel = self.kernel;
            kernel.run_summed(first, sources, outputs, columns.clone(), stream, registers);
            for pass in others {
                kernel.run(pass, sources, outputs, columns.clone(), false, false);
                registers.take_outputs(pass, outputs, columns.clone());
            }
        }
    }

    /// Columns after which what was read first is still in the second-level cache: where the
    /// same sources are read more than once, they are worked on block by block.
    fn block_bytes(&self) -> usize {
        let cells = self.passes().iter().map(|pass| pass.sources.len()).max().unwrap_or(1).max(1);
        (BLOCK_BYTES / cells).next_power_of_two().max(1024)
    }
}

/// Cuts `columns` into blocks.
fn blocks(columns: Range<usize>, block_bytes: usize) -> impl Iterator<Item = Range<usize>> {
    let end = columns.end;
    columns.step_by(block_bytes.max(1)).map(move |start| start..end.min(start + block_bytes))
}
