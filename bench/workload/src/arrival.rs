//! When requests come, if they come by a clock of their own.
//!
//! An open loop: requests arrive at a rate whether or not the disk keeps up, as the users of a
//! store do. Latency is then counted from the intended arrival; a closed loop, which waits for
//! one request before it sends the next, hides every stall from all requests but one.
//!
//! What must always hold: arrivals never depend on how the disk answers, and rounding to the
//! nanosecond never adds up: the n-th arrival of a constant rate is within 1 ns of n / rate.

use isotherm_seam::{Domain, Mono, Nanos};

use crate::{ArrivalProcess, FastRng};

const ARRIVAL: Domain = Domain::new("workload.arrival");

/// A stream of arrival times, without end.
#[derive(Clone, Debug)]
pub struct Arrivals {
    next: Mono,
    /// The part of a nanosecond that `next` leaves out.
    fraction: f64,
    gap_ns: f64,
    poisson: Option<FastRng>,
}

impl Arrivals {
    /// Arrivals from `start` on at `per_second`, a positive number. A constant rate has its
    /// first arrival at `start` itself, as fio has it.
    pub fn new(start: Mono, per_second: f64, process: ArrivalProcess, seed: u64) -> Arrivals {
        assert!(per_second.is_finite() && per_second > 0.0, "a rate is positive");
        let poisson = match process {
            ArrivalProcess::Linear => None,
            ArrivalProcess::Poisson => Some(FastRng::new(seed, ARRIVAL, 0)),
        };
        let gap_ns = 1e9 / per_second;
        let mut arrivals = Arrivals { next: start, fraction: 0.0, gap_ns, poisson };
        if arrivals.poisson.is_some() {
            arrivals.advance();
        }
        arrivals
    }

    /// The next arrival.
    #[inline]
    pub fn peek(&self) -> Mono {
        self.next
    }

    /// Goes on to the one after.
    #[inline]
    pub fn advance(&mut self) {
        self.advance_by(1);
    }

    /// Goes on to the one after, of which the last is worth so many: where the rate is one of
    /// bytes, a request is worth its length.
    #[inline]
    pub fn advance_by(&mut self, units: u64) {
        let mean = self.gap_ns * units as f64;
        let gap = match &mut self.poisson {
            None => mean,
            // 1 - u lies in (0, 1], so its logarithm is finite.
            Some(rng) => -(1.0 - rng.next_f64()).ln() * mean,
        };
        let exact = self.fraction + gap;
        let whole = exact as u64;
        self.fraction = exact - whole as f64;
        self.next = Mono(self.next.0.saturating_add(whole));
    }

    /// Leaves out what would have come during a time that is over.
    pub fn postpone(&mut self, by: Nanos) {
        self.next = self.next + by;
    }

    /// How many arrivals lie before `now`, counting from the next one, each worth `units`. A very
    /// long row is not counted to its end but, from there on, reckoned by the rate.
    pub fn count_before(mut self, now: Mono, units: u64) -> u64 {
        let mut count = 0;
        while self.next < now && count < COUNTED_MAX {
            count += 1;
            self.advance_by(units);
        }
        count + (now.since(self.next).0 as f64 / (self.gap_ns * units as f64)) as u64
    }
}

/// Arrivals counted one by one: some milliseconds' work.
const COUNTED_MAX: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn take(per_second: f64, process: ArrivalProcess, count: usize) -> Vec<u64> {
        let mut arrivals = Arrivals::new(Mono(1_000), per_second, process, 5);
        (0..count)
            .map(|_| {
                let at = arrivals.peek().0;
                arrivals.advance();
                at
            })
            .collect()
    }

    #[test]
    fn a_constant_rate_does_not_drift() {
        let times = take(3.0, ArrivalProcess::Linear, 3_000_001);
        assert_eq!(times[0], 1_000);
        let exact = 1_000_000 * 1_000_000_000u64 + 1_000;
        assert!(times[3_000_000].abs_diff(exact) <= 1, "{}", times[3_000_000]);
    }

    #[test]
    fn poisson_gaps_have_the_mean_and_spread_of_an_exponential() {
        // Mean of 200,000 gaps of mean 1e6 ns: deviation 0.22 %. Their own deviation equals
        // the mean, known to about 0.3 %.
        let times = take(1_000.0, ArrivalProcess::Poisson, 200_001);
        let gaps: Vec<f64> = times.windows(2).map(|w| (w[1] - w[0]) as f64).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let var = gaps.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((mean / 1e6 - 1.0).abs() < 0.01, "{mean}");
        assert!((var.sqrt() / mean - 1.0).abs() < 0.02, "{}", var.sqrt());
    }

    #[test]
    fn arrivals_before_a_time_are_counted_or_reckoned() {
        let at = |rate| Arrivals::new(Mono(0), rate, ArrivalProcess::Linear, 0);
        assert_eq!(at(10.0).count_before(Mono(1_000_000_000), 1), 10);
        assert_eq!(at(10.0).count_before(Mono(0), 1), 0);
        let many = at(1e9).count_before(Mono(3_600_000_000_000), 1);
        assert!(many.abs_diff(3_600_000_000_000) <= 1, "{many}");
    }

    #[test]
    fn a_rate_of_bytes_counts_lengths_and_may_be_postponed() {
        let mut arrivals = Arrivals::new(Mono(0), 1_000_000.0, ArrivalProcess::Linear, 0);
        arrivals.advance_by(4_000);
        assert_eq!(arrivals.peek(), Mono(4_000_000));
        arrivals.advance_by(500);
        arrivals.postpone(Nanos(9));
        assert_eq!(arrivals.peek(), Mono(4_500_009));
        assert_eq!(arrivals.count_before(Mono(8_500_010), 1_000), 5);
    }

    #[test]
    fn rates_above_a_million_keep_their_mean() {
        // Where integer microseconds would be all zeros.
        let times = take(5e6, ArrivalProcess::Poisson, 100_001);
        let mean = (times[100_000] - times[0]) as f64 / 100_000.0;
        assert!((mean / 200.0 - 1.0).abs() < 0.02, "{mean}");
    }
}
