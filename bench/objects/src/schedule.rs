//! What is to be done, and when: drawn from a seed before anything has answered.
//!
//! What must always hold: the same plan gives the same operations at the same times, whoever runs
//! them and however they fare; times ascend, and all lie before the end.
//!
//! ```text
//! arrivals (constant, Poisson, a source for each tenant and one for all, Poisson of those that are
//! on) ─> tenant
//! tenant ─> kind by the mix ─> object by its popularity, or the hot one ─> part of it
//! ```

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use isotherm_seam::{Domain, Draws, Mono, Nanos};
use isotherm_workload::{ArrivalProcess, Arrivals, Law, Ranks};

use crate::burst::{Burst, Periods};
use crate::plan::{ArrivalLaw, Plan};
use crate::tenants::Tenants;

const OPERATION: Domain = Domain::new("objects.operation");
const BURSTS: Domain = Domain::new("objects.bursts");
const RANKS: Domain = Domain::new("objects.ranks");

/// The object that a share of the reads goes to. It is never replaced.
pub const HOT: u64 = 0;

/// One operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Operation {
    /// Its place in the row.
    pub number: u64,
    /// When it is to begin, from the start on.
    pub at: Nanos,
    /// Who asks.
    pub tenant: u32,
    /// What for.
    pub act: Act,
}

/// What an operation does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Act {
    /// Reads an object, or the part of it that this draw gives.
    Read {
        /// Which object.
        slot: u64,
        /// Says which part.
        draw: u64,
    },
    /// Puts a new version of an object.
    Write {
        /// Which object.
        slot: u64,
    },
    /// Deletes the version that was replaced longest ago.
    Delete,
}

/// The operations of a plan, in the order of their times.
pub struct Schedule {
    plan: Plan,
    tenants: Tenants,
    source: Source,
    /// By tenant, if objects are not all alike.
    ranks: Vec<Ranks>,
    number: u64,
}

enum Source {
    Steady(Arrivals),
    Bursty {
        /// One for each tenant, and then one for all of them together, if there is one.
        bursts: Vec<Burst>,
        /// The next arrival of each that has one.
        next: BinaryHeap<Reverse<(Nanos, usize)>>,
    },
    Shifting {
        arrivals: Arrivals,
        /// By tenant.
        periods: Vec<Periods>,
        draws: Draws,
    },
}

/// Tenants that are drawn for an arrival before it is that of the last one, on or not: with a duty
/// of a tenth nobody of so many is on once in 10^11.
const DRAWN_MAX: u32 = 240;

impl Schedule {
    /// The operations of a plan that was checked.
    pub fn new(plan: &Plan) -> Schedule {
        let tenants = Tenants::new(plan.tenants, plan.tenant_zipf, plan.objects);
        let ranks = match plan.zipf {
            None => Vec::new(),
            Some(theta) => (0..plan.tenants)
                .map(|tenant| {
                    let slots = tenants.slots(tenant);
                    let law = Law::Zipf { theta, center: None };
                    let seed = Draws::new(plan.seed, RANKS, tenant.into()).next_u64();
                    let ranks = Ranks::new(&law, slots.end - slots.start, 1, seed);
                    ranks.expect("the law is not the even one")
                })
                .collect(),
        };
        let source = Source::new(plan, &tenants);
        Schedule { plan: plan.clone(), tenants, source, ranks, number: 0 }
    }

    fn end(&self) -> Nanos {
        self.plan.whole()
    }

    /// The object that a tenant asks for.
    fn slot(&mut self, tenant: u32, draws: &mut Draws) -> u64 {
        let slots = self.tenants.slots(tenant);
        match self.ranks.get_mut(tenant as usize) {
            Some(ranks) => slots.start + ranks.next(),
            None => slots.start + draws.below(slots.end - slots.start),
        }
    }

    fn act(&mut self, tenant: u32, draws: &mut Draws) -> Act {
        let mix = self.plan.mix;
        let kind = draws.below(u64::from(mix.read) + u64::from(mix.write) + u64::from(mix.delete));
        let draw = draws.next_u64();
        let is_hot = draws.happens(self.plan.hot);
        if kind < u64::from(mix.read) {
            let slot = if is_hot { HOT } else { self.slot(tenant, draws) };
            Act::Read { slot, draw }
        } else if kind < u64::from(mix.read) + u64::from(mix.write) {
            match self.slot(tenant, draws) {
                HOT if self.plan.hot > 0.0 => Act::Write { slot: HOT + 1 },
                slot => Act::Write { slot },
            }
        } else {
            Act::Delete
        }
    }
}

impl Iterator for Schedule {
    type Item = Operation;

    fn next(&mut self) -> Option<Operation> {
        let (at, of) = self.source.next(self.end(), &self.tenants)?;
        let number = self.number;
        self.number += 1;
        // Keyed by its number: another mix does not move who asks.
        let mut draws = Draws::new(self.plan.seed, OPERATION, number);
        let drawn = self.tenants.at(draws.next_f64());
        let tenant = of.unwrap_or(drawn);
        let act = self.act(tenant, &mut draws);
        Some(Operation { number, at, tenant, act })
    }
}

impl Source {
    fn new(plan: &Plan, tenants: &Tenants) -> Source {
        let steady = |process| {
            let seed = Draws::new(plan.seed, BURSTS, 0).next_u64();
            Source::Steady(Arrivals::new(Mono::ZERO, plan.rate_per_s, process, seed))
        };
        let (law, common) = match plan.arrivals {
            ArrivalLaw::Constant => return steady(ArrivalProcess::Linear),
            ArrivalLaw::Poisson => return steady(ArrivalProcess::Poisson),
            ArrivalLaw::Bursty { law, common } => (law, common),
            ArrivalLaw::Shifting { law } => {
                let Source::Steady(arrivals) = steady(ArrivalProcess::Poisson) else {
                    unreachable!("it was just made")
                };
                let draws = |index: u64| Draws::new(plan.seed, BURSTS, index);
                let periods =
                    (1..=u64::from(plan.tenants)).map(|index| Periods::new(law, draws(index)));
                return Source::Shifting { arrivals, periods: periods.collect(), draws: draws(0) };
            }
        };
        let own = tenants.shares.iter().map(|share| share * (1.0 - common));
        let rates = own.chain([common]).map(|share| share * plan.rate_per_s);
        let mut bursts: Vec<Burst> = rates
            .enumerate()
            .map(|(index, rate)| Burst::new(law, rate, Draws::new(plan.seed, BURSTS, index as u64)))
            .collect();
        let end = plan.whole();
        let firsts = bursts.iter_mut().enumerate();
        let next = firsts.filter_map(|(index, burst)| Some(Reverse((after(burst, end)?, index))));
        let next = next.collect();
        Source::Bursty { bursts, next }
    }

    /// The next arrival, and whose it is, if that is known.
    fn next(&mut self, end: Nanos, tenants: &Tenants) -> Option<(Nanos, Option<u32>)> {
        match self {
            Source::Steady(arrivals) => {
                let at = arrivals.peek().since(Mono::ZERO);
                arrivals.advance();
                (at < end).then_some((at, None))
            }
            Source::Bursty { bursts, next } => {
                let Reverse((at, index)) = next.pop()?;
                if let Some(more) = after(&mut bursts[index], end) {
                    next.push(Reverse((more, index)));
                }
                // The last one is that of all of them.
                Some((at, (index + 1 < bursts.len()).then_some(index as u32)))
            }
            Source::Shifting { arrivals, periods, draws } => {
                let at = arrivals.peek().since(Mono::ZERO);
                arrivals.advance();
                let mut tenant = 0;
                for _ in 0..DRAWN_MAX {
                    tenant = tenants.at(draws.next_f64());
                    if periods[tenant as usize].is_on(at.as_secs_f64()) {
                        break;
                    }
                }
                (at < end).then_some((at, Some(tenant)))
            }
        }
    }
}

/// The next arrival of a source before the end.
fn after(burst: &mut Burst, end: Nanos) -> Option<Nanos> {
    burst.next(end.as_secs_f64()).map(Nanos::from_secs_f64).filter(|at| *at < end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::burst::BurstLaw;
    use crate::plan::{Mix, Part};

    fn bursty(common: f64) -> ArrivalLaw {
        ArrivalLaw::Bursty { law: BurstLaw::default(), common }
    }

    fn plan(seed: u64) -> Plan {
        Plan {
            rate_per_s: 1000.0,
            runtime: Nanos::from_secs(20),
            part: Part::Cell,
            ..Plan::new(seed)
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_row_and_another_one_another() {
        let shifting = ArrivalLaw::Shifting { law: BurstLaw::default() };
        for arrivals in [ArrivalLaw::Constant, ArrivalLaw::Poisson, bursty(0.3), shifting] {
            let plan = |seed| Plan {
                arrivals,
                tenants: 7,
                zipf: Some(0.9),
                hot: 0.2,
                mix: Mix { read: 8, write: 1, delete: 1 },
                ..plan(seed)
            };
            let row = |seed| Schedule::new(&plan(seed)).collect::<Vec<_>>();
            let one = row(1);
            assert_eq!(one, row(1));
            assert_ne!(one, row(2));
            assert!(one.is_sorted_by_key(|operation| operation.at));
            assert!(one.iter().zip(0..).all(|(operation, number)| operation.number == number));
            assert!(one.last().unwrap().at < plan(1).whole());
        }
    }

    #[test]
    fn the_rate_is_kept() {
        let count = |arrivals| Schedule::new(&Plan { arrivals, ..plan(3) }).count();
        assert_eq!(count(ArrivalLaw::Constant), 20_000);
        // Deviation 141.
        let poisson = count(ArrivalLaw::Poisson);
        assert!((19_400..20_600).contains(&poisson), "{poisson}");
        // Bursts of one run differ widely; over 300 runs of 1,000 tenants the mean is known to
        // about 3 / sqrt(1,000 * 300) and what long bursts add.
        let many = |seed| {
            let runtime = Nanos::from_secs(2);
            let plan = Plan {
                arrivals: bursty(0.0),
                tenants: 1000,
                tenant_zipf: 0.0,
                runtime,
                ..plan(seed)
            };
            Schedule::new(&plan).count() as f64
        };
        let mean = (0..300).map(many).sum::<f64>() / 300.0;
        assert!((mean / 2_000.0 - 1.0).abs() < 0.02, "{mean}");
    }

    #[test]
    fn shifting_demand_is_even_in_sum_and_bursty_by_tenant() {
        let plan = Plan {
            arrivals: ArrivalLaw::Shifting { law: BurstLaw::default() },
            tenants: 500,
            tenant_zipf: 0.5,
            ..plan(9)
        };
        let mut seconds = [0u32; 20];
        let mut moment = [0u32; 500];
        for operation in Schedule::new(&plan) {
            seconds[(operation.at.0 / 1_000_000_000) as usize] += 1;
            if operation.at < Nanos::from_secs(1) {
                moment[operation.tenant as usize] += 1;
            }
        }
        // Deviation 32.
        assert!(seconds.iter().all(|count| (840..1160).contains(count)), "{seconds:?}");
        // In one second a tenth of the tenants asks, and a few whose burst begins in it.
        let asking = moment.iter().filter(|&&count| count > 0).count();
        assert!((20..110).contains(&asking), "{asking} of 500");
    }

    #[test]
    fn the_mix_and_the_hot_object_have_their_shares() {
        let mix = Mix { read: 80, write: 15, delete: 5 };
        let plan = Plan { mix, hot: 0.25, ..plan(4) };
        let (mut reads, mut hot, mut writes, mut deletes) = (0, 0, 0, 0);
        for operation in Schedule::new(&plan) {
            match operation.act {
                Act::Read { slot, .. } => {
                    reads += 1;
                    hot += u32::from(slot == HOT);
                }
                Act::Write { slot } => {
                    writes += 1;
                    assert_ne!(slot, HOT, "the hot object stays where it is");
                }
                Act::Delete => deletes += 1,
            }
        }
        let whole = f64::from(reads + writes + deletes);
        assert!((f64::from(reads) / whole - 0.80).abs() < 0.015, "{reads}");
        assert!((f64::from(writes) / whole - 0.15).abs() < 0.015, "{writes}");
        assert!((f64::from(hot) / f64::from(reads) - 0.25).abs() < 0.015, "{hot}");
    }

    #[test]
    fn objects_are_asked_for_by_zipf() {
        let plan = Plan { zipf: Some(0.9), rate_per_s: 10_000.0, ..plan(5) };
        let mut counts = vec![0u32; 1000];
        for operation in Schedule::new(&plan) {
            if let Act::Read { slot, .. } = operation.act {
                counts[slot as usize] += 1;
            }
        }
        counts.sort_unstable_by(|a, b| b.cmp(a));
        // Of 200,000: the k-th has 1 / k^0.9 of the first, which has about a 13th.
        let sum: f64 = (1..=1000).map(|k| f64::from(k).powf(-0.9)).sum();
        for rank in [1usize, 2, 8, 64] {
            let expected = 200_000.0 / sum * (rank as f64).powf(-0.9);
            let got = f64::from(counts[rank - 1]);
            // Gray's inversion is exact for the first two and close to it further on.
            assert!((got / expected - 1.0).abs() < 0.25, "{rank}: {got} for {expected}");
        }
    }

    #[test]
    fn tenants_ask_by_share_for_objects_of_their_own() {
        for arrivals in [ArrivalLaw::Poisson, bursty(1.0)] {
            let plan = Plan { arrivals, tenants: 10, tenant_zipf: 1.0, ..plan(6) };
            let tenants = Tenants::new(10, 1.0, plan.objects);
            let mut counts = [0u32; 10];
            for operation in Schedule::new(&plan) {
                counts[operation.tenant as usize] += 1;
                let Act::Read { slot, .. } = operation.act else { panic!("only reads") };
                assert!(tenants.slots(operation.tenant).contains(&slot));
            }
            let whole: u32 = counts.iter().sum();
            let first = f64::from(counts[0]) / f64::from(whole.max(1));
            assert!(whole < 1000 || (first - tenants.shares[0]).abs() < 0.04, "{first}");
        }
    }

    #[test]
    fn another_mix_moves_neither_times_nor_tenants() {
        let row = |mix| {
            let plan = Plan { mix, tenants: 5, arrivals: bursty(0.5), ..plan(7) };
            Schedule::new(&plan)
                .map(|operation| (operation.at, operation.tenant))
                .collect::<Vec<_>>()
        };
        let reads = row(Mix { read: 1, write: 0, delete: 0 });
        assert_eq!(reads, row(Mix { read: 5, write: 3, delete: 1 }));
    }
}
