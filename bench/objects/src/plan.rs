//! What a load asks for.
//!
//! What must always hold: a plan that [`Plan::check`] passes can be run to its end; what it asks
//! for follows from it alone, seed included.

use isotherm_seam::Nanos;

use crate::burst::BurstLaw;
use crate::sizes::SizeLaw;

/// Objects that a load may have: their state is kept in memory, some tens of bytes each.
pub const OBJECTS_MAX: u64 = 10_000_000;

/// A load.
#[derive(Clone, PartialEq, Debug)]
pub struct Plan {
    /// Decides everything that is drawn.
    pub seed: u64,
    /// Objects that are put before it begins. A write replaces one by a new version.
    pub objects: u64,
    /// How long they are.
    pub sizes: SizeLaw,
    /// The exponent by which objects of a tenant are asked for: Zipf; `None` asks for all alike.
    pub zipf: Option<f64>,
    /// Who asks.
    pub tenants: u32,
    /// The exponent by which tenants differ: the k-th has 1 / k^theta of the first one's demand.
    pub tenant_zipf: f64,
    /// When operations come.
    pub arrivals: ArrivalLaw,
    /// How many a second, in the mean.
    pub rate_per_s: f64,
    /// What they do.
    pub mix: Mix,
    /// What a read asks for of its object.
    pub part: Part,
    /// The part of the reads that all go to one object.
    pub hot: f64,
    /// What comes before this time is done and not counted.
    pub warmup: Nanos,
    /// How long is counted.
    pub runtime: Nanos,
}

/// When operations come.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum ArrivalLaw {
    /// One every 1 / rate.
    Constant,
    /// Independent of one another.
    Poisson,
    /// Each tenant by itself is now on and now off.
    Bursty {
        /// When.
        law: BurstLaw,
        /// The part of the demand that comes for all tenants at the same time.
        common: f64,
    },
    /// All together independent of one another at a constant rate, asked by whichever tenants are
    /// on: a slice of a fleet so large that its bursts are in who asks, and not in how much.
    Shifting {
        /// When a tenant is on.
        law: BurstLaw,
    },
}

/// Of so many operations in sum, how many are of which kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mix {
    /// Reads.
    pub read: u32,
    /// Writes: a new version of an object.
    pub write: u32,
    /// Deletes of a version that was replaced.
    pub delete: u32,
}

/// What a read asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// The object.
    Whole,
    /// One cell of it, by chance: one movement of one arm.
    Cell,
    /// So many bytes that begin at a multiple of as many, or what the object has from there.
    Bytes(u64),
}

/// What is wrong with a plan.
#[derive(Clone, Copy, PartialEq, Debug, thiserror::Error)]
pub enum PlanError {
    /// No objects, or too many.
    #[error("{0} objects: 1 to {OBJECTS_MAX} are possible")]
    Objects(u64),
    /// Tenants without objects.
    #[error("{tenants} tenants and {objects} objects: each tenant needs one at least")]
    Tenants {
        /// How many tenants.
        tenants: u32,
        /// How many objects.
        objects: u64,
    },
    /// No rate.
    #[error("a rate of {0} operations a second: it must be above zero")]
    Rate(f64),
    /// An exponent that the law does not have.
    #[error("an exponent of {0}: 0 to 10 are possible, but for 1 itself: take 0.99")]
    Exponent(f64),
    /// Nothing to do.
    #[error("the mix has no operation in it")]
    Mix,
    /// Not a part of one.
    #[error("{0} is no share: 0 to 1 are possible")]
    Share(f64),
    /// Never on, or always.
    #[error("bursts that last {} s and are on for {} of the time: seconds above zero, and a part between 0 and 1, are needed", .0.on_mean_s, .0.duty)]
    Burst(BurstLaw),
    /// One object, and it is the hot one.
    #[error("with a hot object there must be two at least")]
    Hot,
    /// No time.
    #[error("a run needs a time")]
    Runtime,
    /// A read of nothing.
    #[error("a read of zero bytes")]
    Part,
}

impl Plan {
    /// A thousand objects of 1 MiB, read whole and each as often as another, at 10 a second for
    /// half a minute.
    pub fn new(seed: u64) -> Plan {
        Plan {
            seed,
            objects: 1000,
            sizes: SizeLaw::Fixed(1 << 20),
            zipf: None,
            tenants: 1,
            tenant_zipf: 0.99,
            arrivals: ArrivalLaw::Poisson,
            rate_per_s: 10.0,
            mix: Mix { read: 100, write: 0, delete: 0 },
            part: Part::Whole,
            hot: 0.0,
            warmup: Nanos::ZERO,
            runtime: Nanos::from_secs(30),
        }
    }

    /// From the first intended start to the last.
    pub fn whole(&self) -> Nanos {
        self.warmup + self.runtime
    }

    /// Whether it can be run.
    pub fn check(&self) -> Result<(), PlanError> {
        if self.objects == 0 || self.objects > OBJECTS_MAX {
            return Err(PlanError::Objects(self.objects));
        }
        if self.tenants == 0 || u64::from(self.tenants) > self.objects {
            return Err(PlanError::Tenants { tenants: self.tenants, objects: self.objects });
        }
        if !(self.rate_per_s.is_finite() && self.rate_per_s > 0.0) {
            return Err(PlanError::Rate(self.rate_per_s));
        }
        for theta in self.zipf.into_iter().chain([self.tenant_zipf]) {
            if !(0.0..=10.0).contains(&theta) {
                return Err(PlanError::Exponent(theta));
            }
        }
        // The inversion that places are drawn by has no value there.
        if self.zipf == Some(1.0) {
            return Err(PlanError::Exponent(1.0));
        }
        if self.mix.read + self.mix.write + self.mix.delete == 0 {
            return Err(PlanError::Mix);
        }
        if !(0.0..=1.0).contains(&self.hot) {
            return Err(PlanError::Share(self.hot));
        }
        if self.hot > 0.0 && self.objects < 2 {
            return Err(PlanError::Hot);
        }
        if let ArrivalLaw::Bursty { common, .. } = self.arrivals
            && !(0.0..=1.0).contains(&common)
        {
            return Err(PlanError::Share(common));
        }
        if let ArrivalLaw::Bursty { law, .. } | ArrivalLaw::Shifting { law } = self.arrivals {
            let is_law = law.on_mean_s.is_finite() && law.on_mean_s > 0.0;
            if !(is_law && law.duty > 0.0 && law.duty < 1.0) {
                return Err(PlanError::Burst(law));
            }
        }
        if self.runtime == Nanos::ZERO {
            return Err(PlanError::Runtime);
        }
        if self.part == Part::Bytes(0) {
            return Err(PlanError::Part);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_run_is_told_before_it_begins() {
        let plan = Plan::new(1);
        assert_eq!(plan.check(), Ok(()));
        let with = |change: &dyn Fn(&mut Plan)| {
            let mut plan = plan.clone();
            change(&mut plan);
            plan.check().unwrap_err()
        };
        assert_eq!(with(&|p| p.objects = 0), PlanError::Objects(0));
        assert!(matches!(with(&|p| p.tenants = 1001), PlanError::Tenants { .. }));
        assert_eq!(with(&|p| p.rate_per_s = 0.0), PlanError::Rate(0.0));
        assert!(matches!(with(&|p| p.rate_per_s = f64::NAN), PlanError::Rate(_)));
        assert_eq!(with(&|p| p.zipf = Some(1.0)), PlanError::Exponent(1.0));
        assert_eq!(with(&|p| p.mix = Mix { read: 0, write: 0, delete: 0 }), PlanError::Mix);
        assert_eq!(with(&|p| p.hot = 1.5), PlanError::Share(1.5));
        assert_eq!(with(&|p| p.runtime = Nanos::ZERO), PlanError::Runtime);
        assert_eq!(with(&|p| p.part = Part::Bytes(0)), PlanError::Part);
        let law = BurstLaw { duty: 1.0, ..BurstLaw::default() };
        let bursty = |p: &mut Plan| p.arrivals = ArrivalLaw::Bursty { law, common: 0.0 };
        assert_eq!(with(&bursty), PlanError::Burst(law));
        assert_eq!(with(&|p| p.arrivals = ArrivalLaw::Shifting { law }), PlanError::Burst(law));
        let alone = |p: &mut Plan| (p.objects, p.hot) = (1, 0.5);
        assert_eq!(with(&alone), PlanError::Hot);
    }
}
