//! What is planted, drawn from a seed before anything runs.
//!
//! What must always hold: the plan is plain data and a function of its configuration; nothing
//! of it reaches the verdict, which sees the measurements alone. Healthy disks differ a little
//! from each other, as disks do.

use isotherm_heat::{Judgement, Verdict};
use isotherm_seam::{BlockSize, DiskId, Domain, Draws};

const PLAN: Domain = Domain::new("fleet.plan");

/// Siblings of one model differ by up to this much.
const UNLIKE_MAX: f64 = 0.03;
/// A limping disk takes so many times as long. Field data: what limps is 2 times slower and
/// more (FAST'16, 0.2 % of disk hours).
const LIMP: (f64, f64) = (1.8, 3.2);
/// So many reads are to meet the bad region on average, so that a run shows it.
const REGION_READS: f64 = 30.0;
/// The least and the largest share of the disk that goes bad.
const REGION_SHARE: (f64, f64) = (0.015, 0.08);
/// The region is cut into so many parts, ...
const PATCHES: u32 = 10;
/// ... and of each such a share can't be read at all. The rest takes retries.
const PATCH_SHARE: f64 = 0.3;

/// What the plan is drawn from.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct PlanConfig {
    /// The seed.
    pub seed: u64,
    /// How many disks.
    pub disks: u32,
    /// Plant nothing.
    pub healthy: bool,
    /// How many reads each disk is to get: a region that no read meets can't be found.
    pub reads_per_disk: f64,
}

/// What ails a disk.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Ail {
    /// Everything takes so many times as long.
    Limp {
        /// How many.
        factor: f64,
    },
    /// A region of it takes retries to read, and patches of that can't be read at all.
    BadRegion {
        /// Where it starts, as a share of the disk.
        start: f64,
        /// How long it is, as a share of the disk.
        length: f64,
    },
}

impl Ail {
    /// The verdict that finds it.
    pub fn verdict(&self) -> Verdict {
        match self {
            Ail::Limp { .. } => Verdict::Slow,
            Ail::BadRegion { .. } => Verdict::Failing,
        }
    }
}

/// One disk of the plan.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct DiskPlan {
    /// Which.
    pub disk: DiskId,
    /// How it differs from its siblings: times as long as the model says.
    pub pace: f64,
    /// What ails it.
    pub ail: Option<Ail>,
}

/// The fleet as planned.
#[derive(Clone, PartialEq, Debug)]
pub struct Plan {
    /// What it was drawn from.
    pub config: PlanConfig,
    /// Each disk.
    pub disks: Vec<DiskPlan>,
}

impl Plan {
    /// Draws a plan: unless healthy, one disk limps and another has a bad region.
    pub fn draw(config: &PlanConfig) -> Plan {
        assert!(config.disks >= 2, "two disks are to be planted");
        let mut draws = Draws::new(config.seed, PLAN, 0);
        let pace = |draws: &mut Draws| 1.0 + UNLIKE_MAX * draws.next_f64();
        let mut disks: Vec<DiskPlan> = (0..config.disks)
            .map(|disk| DiskPlan { disk: DiskId(disk), pace: pace(&mut draws), ail: None })
            .collect();
        let limping = draws.below(config.disks.into()) as usize;
        // One of the others.
        let after = 1 + draws.below(u64::from(config.disks) - 1) as usize;
        let failing = (limping + after) % disks.len();
        let factor = LIMP.0 + (LIMP.1 - LIMP.0) * draws.next_f64();
        let usual = (REGION_READS / config.reads_per_disk).max(REGION_SHARE.0);
        let length = (usual * (1.0 + draws.next_f64())).min(REGION_SHARE.1);
        let start = (1.0 - length) * draws.next_f64();
        if !config.healthy {
            disks[limping].ail = Some(Ail::Limp { factor });
            disks[failing].ail = Some(Ail::BadRegion { start, length });
        }
        Plan { config: *config, disks }
    }

    /// The planted disks.
    pub fn planted(&self) -> impl Iterator<Item = (DiskId, Ail)> + '_ {
        self.disks.iter().filter_map(|plan| Some((plan.disk, plan.ail?)))
    }

    /// Holds the judgements against the plan.
    pub fn grade(&self, judgements: &[Judgement]) -> Grade {
        let mut grade = Grade::default();
        for (plan, judgement) in self.disks.iter().zip(judgements) {
            assert_eq!(plan.disk, judgement.disk, "one judgement a disk, in order");
            match plan.ail {
                Some(ail) if judgement.verdict == ail.verdict() => grade.found.push(plan.disk),
                Some(_) => grade.missed.push(plan.disk),
                None if judgement.verdict.is_flagged() => grade.wronged.push(plan.disk),
                None => {}
            }
        }
        grade
    }
}

impl DiskPlan {
    /// The stack of drivers over `leaf`, which holds `bytes` in blocks of `block`.
    pub fn spec(&self, leaf: &str, bytes: u64, block: BlockSize) -> String {
        let (mut pace, mut trouble, mut fault) = (self.pace, String::new(), String::new());
        match self.ail {
            None => {}
            Some(Ail::Limp { factor }) => pace *= factor,
            Some(Ail::BadRegion { start, length }) => {
                trouble = format!(":weak={:.6}%+{:.6}%", 100.0 * start, 100.0 * length);
                let at = |share: f64| block.lba_of((share * bytes as f64) as u64).0;
                let patch = length / f64::from(PATCHES);
                fault.push_str("fault");
                for i in 0..PATCHES {
                    let from = start + patch * f64::from(i);
                    let to = from + patch * PATCH_SHARE;
                    // Both ends are included.
                    fault.push_str(&format!(":bad={}-{}", at(from), at(to).max(at(from))));
                }
                fault.push(',');
            }
        }
        format!("hdd:exos-x24:slow={pace:.6}{trouble},{fault}{leaf}")
    }
}

/// How the judgements compare with the plan.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Grade {
    /// Planted, and named for what they are.
    pub found: Vec<DiskId>,
    /// Planted, and not named or named for something else.
    pub missed: Vec<DiskId>,
    /// Flagged without having been planted.
    pub wronged: Vec<DiskId>,
}

impl Grade {
    /// Just the planted disks were flagged, each for what it is.
    pub fn is_right(&self) -> bool {
        self.missed.is_empty() && self.wronged.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use isotherm_heat::Evidence;

    use super::*;

    fn config(seed: u64) -> PlanConfig {
        PlanConfig { seed, disks: 12, healthy: false, reads_per_disk: 1_000.0 }
    }

    #[test]
    fn a_plan_has_two_sick_disks_anywhere() {
        let mut limping = BTreeSet::new();
        let mut failing = BTreeSet::new();
        for seed in 0..200 {
            let plan = Plan::draw(&config(seed));
            assert_eq!(plan, Plan::draw(&config(seed)));
            let planted: Vec<(DiskId, Ail)> = plan.planted().collect();
            assert_eq!(planted.len(), 2, "seed {seed}");
            for (disk, ail) in planted {
                match ail {
                    Ail::Limp { factor } => {
                        assert!((1.8..=3.2).contains(&factor));
                        limping.insert(disk);
                    }
                    Ail::BadRegion { start, length } => {
                        assert!(length >= 0.03 && start >= 0.0 && start + length <= 1.0);
                        failing.insert(disk);
                    }
                }
            }
        }
        assert_eq!((limping.len(), failing.len()), (12, 12));
        let healthy = Plan::draw(&PlanConfig { healthy: true, ..config(1) });
        assert_eq!(healthy.planted().count(), 0);
    }

    #[test]
    fn a_spec_says_what_is_planted() {
        let plan = |ail| DiskPlan { disk: DiskId(0), pace: 1.01, ail };
        let spec = |ail| plan(ail).spec("memory:1G", 1 << 30, BlockSize::B4096);
        assert_eq!(spec(None), "hdd:exos-x24:slow=1.010000,memory:1G");
        assert_eq!(spec(Some(Ail::Limp { factor: 2.0 })), "hdd:exos-x24:slow=2.020000,memory:1G");
        let region = spec(Some(Ail::BadRegion { start: 0.5, length: 0.02 }));
        // 0.5 of 262,144 blocks is 131,072; a tenth of 2 % is 524.3 blocks, 30 % of it 157.3.
        assert!(
            region.starts_with(
                "hdd:exos-x24:slow=1.010000:weak=50.000000%+2.000000%,fault:bad=131072-131229:"
            ),
            "{region}"
        );
        assert_eq!(region.matches(":bad=").count(), 10);
    }

    #[test]
    fn a_grade_wants_the_right_disks_for_the_right_reason() {
        let plan = Plan::draw(&config(3));
        let judgements = |change: &dyn Fn(&DiskPlan) -> Verdict| -> Vec<Judgement> {
            let judge = |p| Judgement {
                disk: DiskPlan::clone(p).disk,
                verdict: change(p),
                evidence: Evidence::default(),
            };
            plan.disks.iter().map(judge).collect()
        };
        let right = |p: &DiskPlan| p.ail.map_or(Verdict::Ok, |ail| ail.verdict());
        assert!(plan.grade(&judgements(&right)).is_right());
        let watched = |p: &DiskPlan| p.ail.map_or(Verdict::Watch, |ail| ail.verdict());
        assert!(plan.grade(&judgements(&watched)).is_right(), "watching accuses nobody");
        let none = plan.grade(&judgements(&|_| Verdict::Ok));
        assert_eq!((none.missed.len(), none.is_right()), (2, false));
        let mixed = plan.grade(&judgements(&|p| match right(p) {
            Verdict::Slow => Verdict::Failing,
            other => other,
        }));
        assert_eq!((mixed.missed.len(), mixed.is_right()), (1, false));
        let all = plan.grade(&judgements(&|p| match p.ail {
            Some(ail) => ail.verdict(),
            None => Verdict::Erratic,
        }));
        assert_eq!((all.wronged.len(), all.is_right()), (10, false));
    }
}
