//! Plans: what rebuilds a loss pattern, kept for the next stripe that lost the same cells.
//!
//! A plan is keyed by the surviving and the wanted cells. The cache is a small table of four
//! ways. Its memory is taken when the codec is made, and a plan that has to go leaves its place
//! to the one that comes: even a plan made anew for each stripe, or one for a new pattern, allocates nothing.

use crate::cells::CellSet;
use crate::kernel::{Kernel, ROWS_MAX};
use crate::matrix::Matrix;
use crate::program::{Program, Rows};
use crate::solve::{Solver, Undetermined};

const WAYS: usize = 4;
/// Memory that the plans of one codec may take.
const CACHE_BYTES: usize = 4 << 20;
/// Sets of four ways at most.
const SETS_MAX: usize = 32;

#[derive(Debug)]
struct Plan {
    /// Survivors and wanted cells; none while the plan is forgotten.
    key: Option<(CellSet, CellSet)>,
    used_at: u64,
    program: Program,
}

/// The plans of one codec.
#[derive(Debug)]
pub(crate) struct Plans {
    kernel: Kernel,
    sets: usize,
    plans: Vec<Plan>,
    uses: u64,
    solver: Solver,
    rows: Rows,
    wanted: Vec<u16>,
}

impl Plans {
    /// No plans yet, for codes of that matrix.
    pub(crate) fn new(matrix: &Matrix, kernel: Kernel) -> Plans {
        let (data, parity) = (matrix.columns(), matrix.rows());
        // What one plan may need: a pass for each plain row, or for every eight others.
        let plain = (0..parity).filter(|&row| matrix.is_plain(row)).count() + 1;
        let passes = parity.div_ceil(ROWS_MAX).max(plain);
        let coefficient_bytes = 1 + 8 * kernel.coefficient_words();
        let pass_bytes = data * parity.min(ROWS_MAX) * coefficient_bytes + 4 * data + 128;
        let sets = (CACHE_BYTES / (passes * pass_bytes) / WAYS).clamp(1, SETS_MAX);
        let sets = 1 << sets.ilog2();
        let plans = (0..sets * WAYS).map(|_| {
            let mut program = Program::new(kernel);
            program.reserve(passes, parity, data);
            Plan { key: None, used_at: 0, program }
        });
        let mut plans = Plans {
            kernel,
            sets,
            plans: plans.collect(),
            uses: 0,
            solver: Solver::default(),
            rows: Rows::default(),
            wanted: Vec::with_capacity(data + parity),
        };
        // The largest pattern warms up what solving needs.
        let lost = CellSet::first(data.min(parity));
        let survivors = CellSet::first(data + parity).minus(&lost);
        let _ = plans.get(matrix, &survivors, &lost);
        plans.rows.reset(parity, data + parity);
        plans.forget();
        plans
    }

    /// The program that rebuilds `wanted` from `survivors`, its outputs in the order of
    /// `wanted`. On failure, the first wanted cell that `survivors` don't determine.
    pub(crate) fn get(
        &mut self,
        matrix: &Matrix,
        survivors: &CellSet,
        wanted: &CellSet,
    ) -> Result<&Program, usize> {
        let key = Some((*survivors, *wanted));
        let set = self.set_of(survivors, wanted);
        let ways = set * WAYS..(set + 1) * WAYS;
        self.uses += 1;
        if let Some(found) = ways.clone().find(|&at| self.plans[at].key == key) {
            let plan = &mut self.plans[found];
            plan.used_at = self.uses;
            return Ok(&plan.program);
        }
        let oldest = ways
            .min_by_key(|&at| (self.plans[at].key.is_some(), self.plans[at].used_at))
            .expect("a set has ways");
        self.wanted.clear();
        self.wanted.extend(wanted.iter().map(|cell| cell as u16));
        self.solver
            .solve(matrix, survivors, &self.wanted, &mut self.rows)
            .map_err(|Undetermined(at)| usize::from(self.wanted[at]))?;
        let plan = &mut self.plans[oldest];
        debug_assert_eq!(self.kernel, plan.program.kernel());
        plan.program.compile(&self.rows);
        plan.key = key;
        plan.used_at = self.uses;
        Ok(&plan.program)
    }

    /// Whether the plan is kept.
    pub(crate) fn has(&self, survivors: &CellSet, wanted: &CellSet) -> bool {
        let set = self.set_of(survivors, wanted);
        let key = Some((*survivors, *wanted));
        self.plans[set * WAYS..(set + 1) * WAYS].iter().any(|plan| plan.key == key)
    }

    /// Forgets every plan but keeps the memory.
    pub(crate) fn forget(&mut self) {
        self.plans.iter_mut().for_each(|plan| plan.key = None);
    }

    fn set_of(&self, survivors: &CellSet, wanted: &CellSet) -> usize {
        let words = survivors.words().into_iter().chain(wanted.words());
        let hash = words.fold(0u64, |hash, word| {
            (hash.rotate_left(29) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15)
        });
        (hash >> 32) as usize & (self.sets - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_it_kept_and_survives_eviction() {
        let matrix = Matrix::reed_solomon(10, 4);
        let mut plans = Plans::new(&matrix, Kernel::Scalar);
        let all = CellSet::first(14);
        let sources = |plans: &mut Plans, lost: [usize; 2]| {
            let lost: CellSet = lost.into_iter().collect();
            let program = plans.get(&matrix, &all.minus(&lost), &lost).unwrap();
            program.passes().iter().map(|p| p.coefficients().to_vec()).collect::<Vec<_>>()
        };
        let mut seen = Vec::new();
        for round in 0..3 {
            let mut at = 0;
            for a in 0..14 {
                for b in a + 1..14 {
                    // 91 patterns in 128 places: some sets overflow and their plans come anew.
                    let now = sources(&mut plans, [a, b]);
                    if round == 0 {
                        seen.push(now);
                    } else {
                        assert_eq!(seen[at], now);
                    }
                    at += 1;
                }
            }
            if round == 1 {
                plans.forget();
            }
        }
        let lost: CellSet = (0..5).collect();
        assert_eq!(plans.get(&matrix, &all.minus(&lost), &lost).unwrap_err(), 0);
    }
}
