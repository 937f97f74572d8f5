//! The least rate of a job: fio's `rate_min` and `rate_iops_min`.
//!
//! What must always hold: a rate is judged over whole cycles only, and per direction.

use isotherm_seam::{Mono, Nanos};

use crate::Direction;

/// What rate a job must keep.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FloorPlan {
    /// Bytes a second, by [`Direction::index`].
    pub bytes: [Option<u64>; 2],
    /// Requests a second, by [`Direction::index`].
    pub ios: [Option<u64>; 2],
    /// Judged as often as this.
    pub cycle: Nanos,
}

/// A rate that was not kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooSlow {
    /// In which direction.
    pub direction: Direction,
    /// In bytes; in requests otherwise.
    pub in_bytes: bool,
    /// What was to be kept, a second.
    pub wanted: u64,
    /// What there was.
    pub got: u64,
}

/// The rates of one lane, cycle by cycle.
#[derive(Clone, Debug)]
pub struct Floor {
    plan: FloorPlan,
    since: Mono,
    counted: [(u64, u64); 2],
}

impl FloorPlan {
    /// Whether there is anything to keep.
    pub fn is_set(&self) -> bool {
        self.bytes.iter().chain(&self.ios).any(Option::is_some)
    }
}

impl Floor {
    /// From `now` on.
    pub fn new(plan: FloorPlan, now: Mono) -> Option<Floor> {
        plan.is_set().then_some(Floor { plan, since: now, counted: [(0, 0); 2] })
    }

    /// Looks at the requests and bytes completed so far, by direction.
    pub fn check(&mut self, now: Mono, done: [(u64, u64); 2]) -> Result<(), TooSlow> {
        let took = now.since(self.since);
        if took < self.plan.cycle || took == Nanos::ZERO {
            return Ok(());
        }
        let before = std::mem::replace(&mut self.counted, done);
        self.since = now;
        let per_second = |count: u64| (count as f64 / took.as_secs_f64()) as u64;
        for direction in Direction::ALL {
            let i = direction.index();
            let (ios, bytes) = (done[i].0 - before[i].0, done[i].1 - before[i].1);
            let rows = [(true, self.plan.bytes[i], bytes), (false, self.plan.ios[i], ios)];
            for (in_bytes, wanted, count) in rows {
                let got = per_second(count);
                if let Some(wanted) = wanted.filter(|&wanted| got < wanted) {
                    return Err(TooSlow { direction, in_bytes, wanted, got });
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cycle_is_judged_by_itself() {
        let plan = FloorPlan {
            bytes: [Some(1000), None],
            ios: [None, Some(10)],
            cycle: Nanos::from_secs(1),
        };
        let mut floor = Floor::new(plan, Mono(0)).unwrap();
        let second = |n: u64| Mono(n * 1_000_000_000);
        assert_eq!(floor.check(Mono(5), [(0, 0); 2]), Ok(()), "too early to say");
        assert_eq!(floor.check(second(1), [(1, 1000), (10, 0)]), Ok(()));
        let slow = floor.check(second(3), [(2, 4000), (29, 0)]).unwrap_err();
        assert_eq!((slow.direction, slow.in_bytes), (Direction::Write, false));
        assert_eq!((slow.wanted, slow.got), (10, 9));
        let slow = floor.check(second(4), [(3, 4999), (100, 0)]).unwrap_err();
        assert_eq!((slow.direction, slow.in_bytes, slow.got), (Direction::Read, true, 999));
    }
}
