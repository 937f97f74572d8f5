//! A codec: one scheme on one kernel, with the plans and work space that it needs.
//!
//! A codec belongs to one core. Cells are borrowed slices: data cells are read and parity cells
//! written where they lie, and once a codec is warm no operation allocates. Every operation
//! comes twice: whole, and as a step that works on a slice of columns and moves a [`Cursor`]
//! on, so that a large stripe does not hold its core.

use crate::cells::CellSet;
use crate::checksum::{Checksums, take};
use crate::descriptor::{Descriptor, Scheme};
use crate::error::{CodecError, ReconstructError, ShapeError, VerifyError};
use crate::kernel::{Kernel, Outputs, Scratch, Sources};
use crate::leopard::Leopard;
use crate::matrix::Matrix;
use crate::plan::Plans;
use crate::program::{Program, Rows};
use std::ops::Range;

/// Whether a stripe's cells lie in the processor's caches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Residency {
    /// Judged by size: a stripe above [`STREAM_BYTES`] is taken to be cold.
    #[default]
    Auto,
    /// Cells were touched just now, or parity will be read at once: ordinary stores.
    Cached,
    /// Cells come from memory and parity goes to a device: prefetch, and store past the caches.
    Cold,
}

/// Bytes of a stripe, parity included, from which on it is taken to be cold. Measured (the
/// `residency` bench): encoded again and again, stripes of up to 8 MiB do better with ordinary
/// stores, at 12 and 16 MiB it is the same, and from 20 MiB on streaming wins.
pub const STREAM_BYTES: usize = 20 << 20;

/// What a codec can be told beside its descriptor.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// The kernel; by default the fastest that the processor has.
    pub kernel: Option<Kernel>,
    /// Where the cells lie.
    pub residency: Residency,
}

/// How far an operation in steps has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cursor {
    column: usize,
    /// Whether what the loss pattern needs was looked at.
    is_planned: bool,
}

impl Cursor {
    /// Before the first byte.
    #[must_use]
    pub fn new() -> Cursor {
        Cursor::default()
    }

    /// Bytes of each cell that are done.
    #[must_use]
    pub fn column(&self) -> usize {
        self.column
    }
}

/// What a step leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "an operation is only over when a step says so"]
pub enum Progress {
    /// There is more to do.
    More,
    /// The operation is complete.
    Done,
}

/// A cell to be rebuilt.
#[derive(Debug)]
pub struct Lost<'a> {
    /// Its index, data cells first.
    pub cell: usize,
    /// Where its bytes go.
    pub bytes: &'a mut [u8],
}

/// One scheme on one kernel.
#[derive(Debug)]
pub struct Codec {
    descriptor: Descriptor,
    kernel: Kernel,
    residency: Residency,
    engine: Engine,
}

#[derive(Debug)]
enum Engine {
    Matrix(Box<MatrixEngine>),
    Leopard(Box<Leopard>),
}

#[derive(Debug)]
struct MatrixEngine {
    matrix: Matrix,
    encode: Program,
    plans: Plans,
    /// For each data cell, what its change adds to the parity cells; made when first needed.
    updates: Vec<Option<Program>>,
    /// Parity of the block that [`Codec::verify`] compares.
    scratch: Vec<u8>,
}

/// Nanoseconds that a step should take; it is bounded by a figure for slow memory and a slow
/// kernel, so that it stays well below the 200 µs that a core may be held.
const STEP_NS: f64 = 80_000.0;
/// Nanoseconds that planning takes for each lost cell and each cell of the stripe.
const PLAN_NS: f64 = 4.0;
/// Bytes a nanosecond that cold memory gives when others use it too.
const MEMORY_BYTES_PER_NS: f64 = 4.0;
/// Bytes of stripe that the Leopard code handles in a nanosecond.
const LEOPARD_BYTES_PER_NS: f64 = 1.0;
/// Bytes of each parity cell that are verified at a time.
const VERIFY_BYTES: usize = 4096;

impl Codec {
    /// A codec on the fastest kernel.
    #[must_use]
    pub fn new(descriptor: Descriptor) -> Codec {
        Codec::with_options(descriptor, Options::default())
            .expect("the default kernel is available")
    }

    /// A codec with options.
    ///
    /// # Errors
    /// If the processor can't run the kernel asked for.
    pub fn with_options(descriptor: Descriptor, options: Options) -> Result<Codec, CodecError> {
        let kernel = options.kernel.unwrap_or_else(Kernel::fastest);
        if !kernel.is_available() {
            return Err(CodecError::KernelUnavailable(kernel));
        }
        let engine = match (descriptor.scheme().matrix(), descriptor.scheme()) {
            (Some(matrix), _) => Engine::Matrix(Box::new(MatrixEngine::new(matrix, kernel))),
            (None, Scheme::Leopard { data, parity }) => {
                Engine::Leopard(Box::new(Leopard::new(data, parity)))
            }
            (None, scheme) => unreachable!("{scheme} has a matrix"),
        };
        Ok(Codec { descriptor, kernel, residency: options.residency, engine })
    }

    /// What is recorded of the stripes that this codec makes.
    #[must_use]
    pub fn descriptor(&self) -> Descriptor {
        self.descriptor
    }

    /// Is for stripes of this description from now on. Plans don't depend on the length of cells:
    /// for stripes of all lengths one codec of their scheme is enough.
    ///
    /// Panics if the scheme is another.
    pub fn set_descriptor(&mut self, descriptor: Descriptor) {
        assert_eq!(
            descriptor.scheme(),
            self.descriptor.scheme(),
            "another scheme needs another codec"
        );
        self.descriptor = descriptor;
    }

    /// The kernel in use.
    #[must_use]
    pub fn kernel(&self) -> Kernel {
        self.kernel
    }

    /// Says where the cells of the next stripes lie.
    pub fn set_residency(&mut self, residency: Residency) {
        self.residency = residency;
    }

    /// Forgets the plans of all loss patterns; the next reconstruction of each solves it anew.
    pub fn forget_plans(&mut self) {
        if let Engine::Matrix(engine) = &mut self.engine {
            engine.plans.forget();
        }
    }

    /// Computes all parity cells from all data cells.
    ///
    /// # Errors
    /// If the cells don't have the stripe's shape; then nothing is written.
    pub fn encode(&mut self, data: &[&[u8]], parity: &mut [&mut [u8]]) -> Result<(), ShapeError> {
        self.check_data(data)?;
        self.check_parity(parity)?;
        self.encode_columns(data, parity, 0..self.cell_bytes(), self.streams());
        Ok(())
    }

    /// A step of [`encode`](Codec::encode).
    ///
    /// # Errors
    /// As `encode`.
    pub fn encode_step(
        &mut self,
        cursor: &mut Cursor,
        data: &[&[u8]],
        parity: &mut [&mut [u8]],
    ) -> Result<Progress, ShapeError> {
        self.check_data(data)?;
        self.check_parity(parity)?;
        let columns = self.next_columns(cursor, data.len(), parity.len(), 0);
        self.encode_columns(data, parity, columns.clone(), self.streams());
        Ok(self.advance(cursor, columns))
    }

    /// Computes all parity cells, and the checksums of all cells while their bytes are in the
    /// cache.
    ///
    /// # Errors
    /// If the cells or the checksums don't have the stripe's shape; then nothing is written.
    pub fn encode_with_checksums(
        &mut self,
        data: &[&[u8]],
        parity: &mut [&mut [u8]],
        sums: &mut Checksums,
    ) -> Result<(), ShapeError> {
        self.check_data(data)?;
        self.check_parity(parity)?;
        self.check_sums(sums)?;
        self.encode_summed(data, parity, sums, 0..self.cell_bytes());
        Ok(())
    }

    /// A step of [`encode_with_checksums`](Codec::encode_with_checksums).
    ///
    /// # Errors
    /// As `encode_with_checksums`.
    pub fn encode_with_checksums_step(
        &mut self,
        cursor: &mut Cursor,
        data: &[&[u8]],
        parity: &mut [&mut [u8]],
        sums: &mut Checksums,
    ) -> Result<Progress, ShapeError> {
        self.check_data(data)?;
        self.check_parity(parity)?;
        self.check_sums(sums)?;
        let cells = data.len() + parity.len();
        let columns = self.next_columns(cursor, data.len(), parity.len(), cells);
        self.encode_summed(data, parity, sums, columns.clone());
        Ok(self.advance(cursor, columns))
    }

    /// Adds the change of one data cell to all parity cells: `delta` is its old bytes XOR its
    /// new ones. The slices may be any one range of the columns: all must be equally long.
    ///
    /// # Errors
    /// If the slices don't have one length or there is no such data cell; then nothing is
    /// written.
    pub fn update(
        &mut self,
        cell: usize,
        delta: &[u8],
        parity: &mut [&mut [u8]],
    ) -> Result<(), ShapeError> {
        self.check_update(cell, delta, parity)?;
        self.update_columns(cell, delta, parity, 0..delta.len());
        Ok(())
    }

    /// A step of [`update`](Codec::update).
    ///
    /// # Errors
    /// As `update`.
    pub fn update_step(
        &mut self,
        cursor: &mut Cursor,
        cell: usize,
        delta: &[u8],
        parity: &mut [&mut [u8]],
    ) -> Result<Progress, ShapeError> {
        self.check_update(cell, delta, parity)?;
        let step = self.step_columns(1, 2 * parity.len(), 0);
        let columns = cursor.column..delta.len().min(cursor.column + step);
        self.update_columns(cell, delta, parity, columns.clone());
        cursor.column = columns.end;
        Ok(if columns.end == delta.len() { Progress::Done } else { Progress::More })
    }

    /// Checks that the parity cells are what the data cells make.
    ///
    /// # Errors
    /// If the cells don't have the stripe's shape, or the first parity cell that differs.
    pub fn verify(&mut self, data: &[&[u8]], parity: &[&[u8]]) -> Result<(), VerifyError> {
        self.check_data(data)?;
        self.check_cells(parity.iter().map(|cell| cell.len()), parity.len(), true)?;
        self.verify_columns(data, parity, 0..self.cell_bytes())
    }

    /// A step of [`verify`](Codec::verify).
    ///
    /// # Errors
    /// As `verify`.
    pub fn verify_step(
        &mut self,
        cursor: &mut Cursor,
        data: &[&[u8]],
        parity: &[&[u8]],
    ) -> Result<Progress, VerifyError> {
        self.check_data(data)?;
        self.check_cells(parity.iter().map(|cell| cell.len()), parity.len(), true)?;
        let columns = self.next_columns(cursor, data.len(), parity.len(), 0);
        self.verify_columns(data, parity, columns.clone())?;
        Ok(self.advance(cursor, columns))
    }

    /// Rebuilds the cells of `lost`, and no others, from the surviving ones. `survivors` has a
    /// place for each cell of the stripe; a cell that is neither there nor in `lost` is just
    /// not known. `lost` is sorted by cell.
    ///
    /// # Errors
    /// If the cells don't have the stripe's shape, or a lost cell is not determined by the
    /// survivors; then nothing is written.
    pub fn reconstruct(
        &mut self,
        survivors: &[Option<&[u8]>],
        lost: &mut [Lost<'_>],
    ) -> Result<(), ReconstructError> {
        let (alive, wanted) = self.check_loss(survivors, lost)?;
        self.reconstruct_columns(survivors, &alive, lost, &wanted, 0..self.cell_bytes())
    }

    /// A step of [`reconstruct`](Codec::reconstruct). Where a new loss pattern takes long to plan,
    /// the first step does only that.
    ///
    /// # Errors
    /// As `reconstruct`.
    pub fn reconstruct_step(
        &mut self,
        cursor: &mut Cursor,
        survivors: &[Option<&[u8]>],
        lost: &mut [Lost<'_>],
    ) -> Result<Progress, ReconstructError> {
        let (alive, wanted) = self.check_loss(survivors, lost)?;
        if !std::mem::replace(&mut cursor.is_planned, true)
            && self.plan(survivors, lost, &alive, &wanted)?
        {
            return Ok(Progress::More);
        }
        let sources = self.descriptor.scheme().data_cells();
        let columns = self.next_columns(cursor, sources, lost.len(), 0);
        self.reconstruct_columns(survivors, &alive, lost, &wanted, columns.clone())?;
        Ok(self.advance(cursor, columns))
    }

    /// Makes ready what the loss pattern needs; whether that took a step's time.
    fn plan(
        &mut self,
        survivors: &[Option<&[u8]>],
        lost: &[Lost<'_>],
        alive: &CellSet,
        wanted: &CellSet,
    ) -> Result<bool, ReconstructError> {
        if lost.is_empty() {
            return Ok(false);
        }
        match &mut self.engine {
            Engine::Matrix(engine) => {
                if engine.plans.has(alive, wanted) {
                    return Ok(false);
                }
                engine.plan(alive, wanted)?;
                let cells = self.descriptor.scheme().cells();
                Ok((cells * lost.len()) as f64 * PLAN_NS > STEP_NS / 4.0)
            }
            Engine::Leopard(leopard) => Ok(leopard.locate(survivors)),
        }
    }

    fn cell_bytes(&self) -> usize {
        self.descriptor.cell_bytes()
    }

    /// Whether cells are read with prefetch and written past the caches.
    fn streams(&self) -> bool {
        match self.residency {
            Residency::Cached => false,
            Residency::Cold => true,
            Residency::Auto => self.descriptor.scheme().cells() * self.cell_bytes() >= STREAM_BYTES,
        }
    }

    /// Columns of a step that reads `sources` cells, writes `outputs` and takes the checksums
    /// of `summed`.
    fn step_columns(&self, sources: usize, outputs: usize, summed: usize) -> usize {
        let cells = (sources + outputs) as f64;
        let mut column_ns = (cells + summed as f64) / MEMORY_BYTES_PER_NS;
        column_ns += match &self.engine {
            Engine::Matrix(_) => (sources * outputs) as f64 / self.kernel.products_per_ns(),
            Engine::Leopard(_) => self.descriptor.scheme().cells() as f64 / LEOPARD_BYTES_PER_NS,
        };
        let columns = (STEP_NS / column_ns) as usize;
        if columns >= 4096 { columns & !4095 } else { (columns & !63).max(64) }
    }

    fn next_columns(
        &self,
        cursor: &Cursor,
        sources: usize,
        outputs: usize,
        summed: usize,
    ) -> Range<usize> {
        let step = self.step_columns(sources, outputs, summed);
        cursor.column..self.cell_bytes().min(cursor.column + step)
    }

    fn advance(&self, cursor: &mut Cursor, columns: Range<usize>) -> Progress {
        cursor.column = columns.end;
        if columns.end == self.cell_bytes() { Progress::Done } else { Progress::More }
    }

    fn encode_columns(
        &mut self,
        data: &[&[u8]],
        parity: &mut [&mut [u8]],
        columns: Range<usize>,
        stream: bool,
    ) {
        match &mut self.engine {
            Engine::Matrix(engine) => engine.encode.run(data, parity, columns, false, stream),
            Engine::Leopard(leopard) => {
                leopard.encode(
                    |cell| data[cell],
                    columns.clone(),
                    |cell, bytes| {
                        parity[cell][columns.clone()].copy_from_slice(bytes);
                    },
                );
            }
        }
    }

    fn encode_summed(
        &mut self,
        data: &[&[u8]],
        parity: &mut [&mut [u8]],
        sums: &mut Checksums,
        columns: Range<usize>,
    ) {
        let stream = self.streams();
        let mut start = columns.start;
        while start < columns.end {
            let end = columns.end.min(sums.chunk_end(start));
            let mut registers = sums.registers(start);
            match &mut self.engine {
                Engine::Matrix(engine) => {
                    engine.encode.run_summed(data, parity, start..end, stream, &mut registers);
                    sums.advance(end);
                    sums.derive_plain(&engine.matrix, end);
                }
                Engine::Leopard(_) => {
                    self.encode_columns(data, parity, start..end, false);
                    for (register, cell) in registers.data.iter_mut().zip(data) {
                        *register = take(*register, &cell[start..end]);
                    }
                    for (register, cell) in registers.parity.iter_mut().zip(&*parity) {
                        *register = take(*register, &cell[start..end]);
                    }
                    sums.advance(end);
                }
            }
            start = end;
        }
    }

    fn update_columns(
        &mut self,
        cell: usize,
        delta: &[u8],
        parity: &mut [&mut [u8]],
        columns: Range<usize>,
    ) {
        match &mut self.engine {
            Engine::Matrix(engine) => {
                let program = engine.update_program(cell, self.kernel);
                program.run([delta].as_slice(), parity, columns, true, false);
            }
            Engine::Leopard(leopard) => leopard.update(cell, delta, columns, parity),
        }
    }

    fn verify_columns(
        &mut self,
        data: &[&[u8]],
        parity: &[&[u8]],
        columns: Range<usize>,
    ) -> Result<(), VerifyError> {
        let mut start = columns.start;
        while start < columns.end {
            let end = columns.end.min(start + VERIFY_BYTES);
            let mut differs: Option<(usize, usize)> = None;
            let mut compare = |cell: usize, made: &[u8]| {
                let found = &parity[cell][start..end];
                if differs.is_none() && made != found {
                    let at = made.iter().zip(found).position(|(a, b)| a != b);
                    differs = at.map(|at| (cell, at));
                }
            };
            match &mut self.engine {
                Engine::Matrix(engine) => {
                    let mut scratch =
                        Scratch { bytes: &mut engine.scratch, cell_bytes: VERIFY_BYTES };
                    let sources = From { cells: data, column: start };
                    engine.encode.run(&sources, &mut scratch, 0..end - start, false, false);
                    for cell in 0..parity.len() {
                        compare(cell, &scratch.cell_mut(cell)[..end - start]);
                    }
                }
                Engine::Leopard(leopard) => leopard.encode(|cell| data[cell], start..end, compare),
            }
            if let Some((cell, at)) = differs {
                return Err(VerifyError::Parity { cell: data.len() + cell, column: start + at });
            }
            start = end;
        }
        Ok(())
    }

    fn reconstruct_columns(
        &mut self,
        survivors: &[Option<&[u8]>],
        alive: &CellSet,
        lost: &mut [Lost<'_>],
        wanted: &CellSet,
        columns: Range<usize>,
    ) -> Result<(), ReconstructError> {
        if lost.is_empty() {
            return Ok(());
        }
        let stream = self.streams();
        match &mut self.engine {
            Engine::Matrix(engine) => {
                let program = engine.plan(alive, wanted)?;
                program.run(survivors, lost, columns, false, stream);
            }
            Engine::Leopard(leopard) => leopard.reconstruct(survivors, lost, columns),
        }
        Ok(())
    }

    fn check_data(&self, data: &[&[u8]]) -> Result<(), ShapeError> {
        self.check_cells(data.iter().map(|cell| cell.len()), data.len(), false)
    }

    fn check_parity(&self, parity: &[&mut [u8]]) -> Result<(), ShapeError> {
        self.check_cells(parity.iter().map(|cell| cell.len()), parity.len(), true)
    }

    fn check_cells(
        &self,
        lengths: impl Iterator<Item = usize>,
        found: usize,
        parity: bool,
    ) -> Result<(), ShapeError> {
        let scheme = self.descriptor.scheme();
        let (first, expected) = if parity {
            (scheme.data_cells(), scheme.parity_cells())
        } else {
            (0, scheme.data_cells())
        };
        if found != expected {
            return Err(ShapeError::CellCount { expected, found });
        }
        let expected = self.cell_bytes();
        for (cell, found) in lengths.enumerate() {
            if found != expected {
                return Err(ShapeError::CellLength { cell: first + cell, expected, found });
            }
        }
        Ok(())
    }

    fn check_sums(&self, sums: &Checksums) -> Result<(), ShapeError> {
        if sums.fit(&self.descriptor) { Ok(()) } else { Err(ShapeError::ForeignChecksums) }
    }

    fn check_update(
        &self,
        cell: usize,
        delta: &[u8],
        parity: &[&mut [u8]],
    ) -> Result<(), ShapeError> {
        let scheme = self.descriptor.scheme();
        if cell >= scheme.data_cells() {
            return Err(ShapeError::NoSuchCell { cell, cells: scheme.data_cells() });
        }
        let (expected, found) = (scheme.parity_cells(), parity.len());
        if found != expected {
            return Err(ShapeError::CellCount { expected, found });
        }
        let expected = delta.len();
        if let Some((p, bytes)) = parity.iter().enumerate().find(|(_, p)| p.len() != expected) {
            let cell = scheme.data_cells() + p;
            return Err(ShapeError::CellLength { cell, expected, found: bytes.len() });
        }
        let ragged = matches!(self.engine, Engine::Leopard(_)) && !expected.is_multiple_of(64);
        if expected > self.cell_bytes() || ragged {
            let expected = self.cell_bytes();
            return Err(ShapeError::CellLength { cell, expected, found: delta.len() });
        }
        Ok(())
    }

    /// Checks shapes, sorts `lost`, and gives back the surviving and the wanted cells; the sets
    /// stay empty for the Leopard code, whose cells they can't number.
    fn check_loss(
        &self,
        survivors: &[Option<&[u8]>],
        lost: &mut [Lost<'_>],
    ) -> Result<(CellSet, CellSet), ReconstructError> {
        let (cells, expected) = (self.descriptor.scheme().cells(), self.cell_bytes());
        if survivors.len() != cells {
            return Err(ShapeError::CellCount { expected: cells, found: survivors.len() }.into());
        }
        let (mut alive, mut wanted, mut count) = (CellSet::EMPTY, CellSet::EMPTY, 0);
        let small = matches!(self.engine, Engine::Matrix(_));
        for (cell, bytes) in survivors.iter().enumerate() {
            let Some(bytes) = bytes else { continue };
            if bytes.len() != expected {
                return Err(ShapeError::CellLength { cell, expected, found: bytes.len() }.into());
            }
            count += 1;
            if small {
                alive.insert(cell);
            }
        }
        lost.sort_unstable_by_key(|lost| lost.cell);
        let mut last = None;
        for Lost { cell, bytes } in lost.iter() {
            let cell = *cell;
            if cell >= cells {
                return Err(ShapeError::NoSuchCell { cell, cells }.into());
            }
            if bytes.len() != expected {
                return Err(ShapeError::CellLength { cell, expected, found: bytes.len() }.into());
            }
            if survivors[cell].is_some() {
                return Err(ReconstructError::NotLost(cell));
            }
            if last.replace(cell) == Some(cell) {
                return Err(ReconstructError::WantedTwice(cell));
            }
            if small {
                wanted.insert(cell);
            } else if count < self.descriptor.scheme().data_cells() {
                return Err(ReconstructError::TooFewCells { cell, survivors: count });
            }
        }
        Ok((alive, wanted))
    }
}

impl MatrixEngine {
    fn new(matrix: Matrix, kernel: Kernel) -> MatrixEngine {
        let mut rows = Rows::default();
        rows.reset(matrix.rows(), matrix.columns());
        for row in 0..matrix.rows() {
            rows.row_mut(row).copy_from_slice(matrix.row(row));
        }
        let mut encode = Program::new(kernel);
        encode.compile(&rows);
        MatrixEngine {
            encode,
            plans: Plans::new(&matrix, kernel),
            updates: (0..matrix.columns()).map(|_| None).collect(),
            scratch: vec![0; matrix.rows() * VERIFY_BYTES],
            matrix,
        }
    }

    fn plan(&mut self, alive: &CellSet, wanted: &CellSet) -> Result<&Program, ReconstructError> {
        let plan = self.plans.get(&self.matrix, alive, wanted);
        plan.map_err(|cell| ReconstructError::TooFewCells { cell, survivors: alive.len() })
    }

    fn update_program(&mut self, cell: usize, kernel: Kernel) -> &Program {
        self.updates[cell].get_or_insert_with(|| {
            let mut rows = Rows::default();
            rows.reset(self.matrix.rows(), 1);
            for row in 0..self.matrix.rows() {
                rows.row_mut(row)[0] = self.matrix.at(row, cell);
            }
            let mut program = Program::new(kernel);
            program.compile(&rows);
            program
        })
    }
}

/// Data cells from some column on.
struct From<'a> {
    cells: &'a [&'a [u8]],
    column: usize,
}

impl Sources for From<'_> {
    fn cell(&self, index: usize) -> &[u8] {
        &self.cells[index][self.column..]
    }
}
