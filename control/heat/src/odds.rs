//! How surprising a count is: tails of the Poisson, binomial and scan distributions.
//!
//! What must always hold: a result is a probability, 0 to 1. Terms are summed from logarithms,
//! so neither large counts nor tiny probabilities overflow; below about 1e-300 it is 0.

/// P(X >= `count`) for a Poisson variable of mean `mean` (not negative).
pub fn poisson_at_least(count: u64, mean: f64) -> f64 {
    assert!(mean >= 0.0 && mean.is_finite(), "a mean count is a number that is not negative");
    if count == 0 {
        return 1.0;
    }
    if mean == 0.0 {
        return 0.0;
    }
    let term = |i: u64| (i as f64 * mean.ln() - mean - ln_factorial(i)).exp();
    if count as f64 <= mean {
        // The lower side is the short one.
        let below: f64 = (0..count).map(term).sum();
        return (1.0 - below).clamp(0.0, 1.0);
    }
    // Above the mean the terms fall faster than a geometric series.
    let mut sum = 0.0;
    for i in count.. {
        let next = term(i);
        sum += next;
        if next <= sum * 1e-17 {
            break;
        }
    }
    sum.min(1.0)
}

/// P(X >= `count`) for a binomial variable of `trials` with probability `p`.
pub fn binomial_at_least(count: u64, trials: u64, p: f64) -> f64 {
    assert!((0.0..=1.0).contains(&p), "a probability lies within 0..1");
    if count == 0 {
        return 1.0;
    }
    let sum: f64 = (count..=trials).map(|i| binomial_term(i, trials, p)).sum();
    sum.min(1.0)
}

/// P(some interval of length `width` holds at least `count` of `points` independent uniform
/// points of the unit interval): the scan statistic.
///
/// Wallenstein and Neff's approximation (An approximation for the distribution of the scan
/// statistic, Statistics in Medicine 6, 1987): `(k/w - n - 1) b(k) + 2 P(X >= k)` with binomial
/// `b`. It is exact for `count == points`, and good where it is small, which is where it is
/// used; where it is not small it is cut off at 1.
pub fn scan_at_least(count: u64, points: u64, width: f64) -> f64 {
    assert!((0.0..=1.0).contains(&width), "the width is a part of the unit interval");
    if count <= 1 {
        return if points >= count { 1.0 } else { 0.0 };
    }
    if count > points || width == 0.0 {
        return 0.0;
    }
    let (k, n) = (count as f64, points as f64);
    let at = binomial_term(count, points, width);
    let p = (k / width - n - 1.0) * at + 2.0 * binomial_at_least(count, points, width);
    p.clamp(0.0, 1.0)
}

fn binomial_term(count: u64, trials: u64, p: f64) -> f64 {
    if p == 0.0 {
        return if count == 0 { 1.0 } else { 0.0 };
    }
    if p == 1.0 {
        return if count == trials { 1.0 } else { 0.0 };
    }
    let ways = ln_factorial(trials) - ln_factorial(count) - ln_factorial(trials - count);
    let (hits, misses) = (count as f64, (trials - count) as f64);
    (ways + hits * p.ln() + misses * (-p).ln_1p()).exp()
}

/// ln n!, to 1e-12 relative: products below 16, from there Stirling's series to the 1/n^5 term
/// (the next one is below 1/(1680 n^7) = 2e-12).
fn ln_factorial(n: u64) -> f64 {
    if n < 16 {
        return (2..=n).map(|i| i as f64).product::<f64>().ln();
    }
    let x = n as f64;
    let series = 1.0 / (12.0 * x) - 1.0 / (360.0 * x.powi(3)) + 1.0 / (1260.0 * x.powi(5));
    (x + 0.5) * x.ln() - x + 0.5 * (2.0 * core::f64::consts::PI).ln() + series
}

#[cfg(test)]
mod tests {
    use isotherm_seam::{Domain, Draws};

    use super::*;

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() <= 1e-9 * b.abs().max(1e-300)
    }

    #[test]
    fn factorials_agree_where_the_two_ways_meet() {
        let by_sum = |n: u64| (2..=n).map(|i| (i as f64).ln()).sum::<f64>();
        for n in [0, 1, 2, 15, 16, 17, 40, 1_000] {
            assert!((ln_factorial(n) - by_sum(n)).abs() < 1e-8 * by_sum(n).max(1.0), "{n}");
        }
    }

    #[test]
    fn poisson_tails_are_those_of_the_table() {
        assert_eq!(poisson_at_least(0, 3.0), 1.0);
        assert_eq!(poisson_at_least(1, 0.0), 0.0);
        assert!(near(poisson_at_least(1, 2.0), 1.0 - (-2.0f64).exp()));
        // 1 - e^-2 (1 + 2 + 2 + 8/6)
        let below = (-2.0f64).exp() * (1.0 + 2.0 + 2.0 + 8.0 / 6.0);
        assert!((poisson_at_least(4, 2.0) - (1.0 - below)).abs() < 1e-9);
        assert!(poisson_at_least(100, 1.0) < 1e-150);
        assert!(poisson_at_least(1_000_000, 1_000_000.0) > 0.49);
    }

    #[test]
    fn binomial_tails_are_those_of_coins() {
        assert!(near(binomial_at_least(3, 3, 0.5), 0.125));
        assert!(near(binomial_at_least(2, 3, 0.5), 0.5));
        assert!(near(binomial_at_least(1, 3, 0.5), 0.875));
        assert_eq!(binomial_at_least(4, 3, 0.5), 0.0);
        assert_eq!(binomial_at_least(3, 3, 1.0), 1.0);
    }

    #[test]
    fn the_scan_of_all_points_is_exact() {
        // P(range of n uniforms <= w) = n w^(n-1) - (n-1) w^n
        for (n, w) in [(4u64, 0.03f64), (14, 0.008), (5, 0.1)] {
            let exact = n as f64 * w.powi(n as i32 - 1) - (n - 1) as f64 * w.powi(n as i32);
            assert!((scan_at_least(n, n, w) / exact - 1.0).abs() < 1e-6, "{n} {w}");
        }
    }

    #[test]
    fn the_scan_of_some_points_agrees_with_drawing_them() {
        let (points, count, width, rounds) = (12u64, 5usize, 0.06f64, 60_000u64);
        let mut draws = Draws::new(11, Domain::new("heat.test.scan"), 0);
        let mut hits = 0u64;
        for _ in 0..rounds {
            let mut xs: Vec<f64> = (0..points).map(|_| draws.next_f64()).collect();
            xs.sort_by(f64::total_cmp);
            hits += u64::from(xs.windows(count).any(|w| w[count - 1] - w[0] <= width));
        }
        let seen = hits as f64 / rounds as f64;
        let said = scan_at_least(count as u64, points, width);
        assert!((said / seen - 1.0).abs() < 0.12, "said {said}, seen {seen}");
    }
}
