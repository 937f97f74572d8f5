//! Intervals by resampling (Efron 1979), of stretches of time in blocks (Politis & Romano 1992):
//! what happens in one second is like what happened in the one before, so single stretches are
//! not independent, and intervals made of them would be too narrow.
//!
//! What must always hold: the same data give the same interval.

use isotherm_seam::{Domain, draw};

const DOMAIN: Domain = Domain::new("report.resample");
const ROUNDS: usize = 1_000;

/// A number with its interval: 95 of 100 such intervals hold what is estimated.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Interval {
    /// As measured.
    pub estimate: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// The interval of `of(A) / of(B)`-like numbers: `of` is given stretches of the one and of the
/// other.
pub(crate) fn interval(sizes: [usize; 2], of: &dyn Fn(&[usize], &[usize]) -> f64) -> Interval {
    let whole = sizes.map(|size| (0..size).collect::<Vec<usize>>());
    let estimate = of(&whole[0], &whole[1]);
    let mut values: Vec<f64> = Vec::with_capacity(ROUNDS);
    for round in 0..ROUNDS {
        let [a, b] = [0, 1].map(|side| blocks(sizes[side], side as u64, round as u64));
        let value = of(&a, &b);
        if value.is_finite() {
            values.push(value);
        }
    }
    values.sort_by(f64::total_cmp);
    let at = |share: f64| match values.len() {
        0 => f64::NAN,
        len => values[((len - 1) as f64 * share).round() as usize],
    };
    Interval { estimate, low: at(0.025), high: at(0.975) }
}

/// As many stretches as there are, drawn in blocks that wrap around.
fn blocks(size: usize, side: u64, round: u64) -> Vec<usize> {
    let block = (size as f64).cbrt().round().max(1.0) as usize;
    let mut drawn = Vec::with_capacity(size + block);
    let mut count = 0;
    while drawn.len() < size {
        let first = draw(side, DOMAIN, round, count) % size as u64;
        count += 1;
        drawn.extend((0..block).map(|step| (first as usize + step) % size));
    }
    drawn.truncate(size);
    drawn
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_of_a_mean_is_as_wide_as_theory_says() {
        // 400 independent values, evenly from 0 to 1: deviation 0.2887, so the mean has 0.0144 and
        // its interval 0.0283 to either side. Blocks of seven make that itself uncertain by a
        // tenth or two.
        let value = |i| draw(7, DOMAIN, 1, i) as f64 / u64::MAX as f64;
        let values: Vec<f64> = (0..400).map(value).collect();
        let mean = |at: &[usize]| at.iter().map(|i| values[*i]).sum::<f64>() / at.len() as f64;
        let one = interval([400, 1], &|a, _| mean(a));
        assert!((0.45..0.55).contains(&one.estimate), "{one:?}");
        let half = (one.high - one.low) / 2.0;
        assert!((0.02..0.038).contains(&half), "{half}");
        assert_eq!(one, interval([400, 1], &|a, _| mean(a)), "always the same");
    }

    #[test]
    fn no_spread_no_width() {
        let one = interval([10, 10], &|a, b| a.len() as f64 / b.len() as f64);
        assert_eq!((one.estimate, one.low, one.high), (1.0, 1.0, 1.0));
    }
}
