//! A run that is over: what was planned, measured and judged.

use isotherm_heat::{DiskReport, Judgement, Thresholds, judge};
use isotherm_seam::Wall;

use crate::load::Measured;
use crate::plan::{Grade, Plan};
use crate::rig::Place;

/// Everything that the document and the tables are made from.
pub struct Outcome {
    /// What was planted.
    pub plan: Plan,
    /// Where it ran.
    pub place: Place,
    /// When it began.
    pub began: Wall,
    /// What was measured.
    pub measured: Measured,
    /// What the verdict is, disk by disk. It saw the measurements and nothing of the plan.
    pub judgements: Vec<Judgement>,
    /// Whether that is right.
    pub grade: Grade,
}

impl Outcome {
    /// Judges what was measured, and holds it against the plan.
    pub fn new(plan: Plan, place: Place, began: Wall, measured: Measured) -> Outcome {
        let reports: Vec<DiskReport> =
            measured.disks.iter().map(|disk| disk.report.clone()).collect();
        let judgements = judge(&reports, &Thresholds::default());
        let grade = plan.grade(&judgements);
        Outcome { plan, place, began, measured, judgements, grade }
    }
}
