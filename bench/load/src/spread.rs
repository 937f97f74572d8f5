//! Extremes, mean and spread of whole numbers, exactly.

/// What is kept of a row of values.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Spread {
    count: u64,
    sum: u128,
    /// Of the squares; the mean square of n values below 2^44 stays far below 2^128 / n.
    squares: u128,
    /// `u64::MAX` of none.
    min: u64,
    max: u64,
}

impl Spread {
    pub(crate) const fn new() -> Spread {
        Spread { count: 0, sum: 0, squares: 0, min: u64::MAX, max: 0 }
    }

    #[inline]
    pub(crate) fn record(&mut self, value: u64) {
        self.count += 1;
        self.sum += u128::from(value);
        self.squares += u128::from(value) * u128::from(value);
        self.min = self.min.min(value);
        self.max = self.max.max(value);
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// 0 of none.
    pub(crate) fn min(&self) -> u64 {
        if self.min == u64::MAX { 0 } else { self.min }
    }

    pub(crate) fn max(&self) -> u64 {
        self.max
    }

    /// 0 of none.
    pub(crate) fn mean(&self) -> f64 {
        self.sum as f64 / self.count.max(1) as f64
    }

    /// Of the sample; 0 of fewer than two.
    pub(crate) fn stddev(&self) -> f64 {
        let n = u128::from(self.count);
        if n < 2 {
            return 0.0;
        }
        // The sum of squared distances from the mean is squares - sum^2 / n, in whole numbers
        // up to the last step, since it is a small difference of large ones. Cut in two so that
        // nothing overflows: sum^2 / n = sum * (sum / n) + sum * (sum % n) / n.
        let of_the_mean = self.sum * (self.sum / n) + self.sum * (self.sum % n) / n;
        (self.squares.saturating_sub(of_the_mean) as f64 / (n - 1) as f64).sqrt()
    }

    pub(crate) fn merge(&mut self, other: &Spread) {
        self.count += other.count;
        self.sum += other.sum;
        self.squares += other.squares;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[u64]) -> Spread {
        let mut spread = Spread::new();
        values.iter().for_each(|&value| spread.record(value));
        spread
    }

    #[test]
    fn mean_and_spread_are_exact() {
        let some = of(&[2, 4, 4, 4, 5, 5, 7, 9]);
        assert_eq!((some.min(), some.max(), some.mean()), (2, 9, 5.0));
        assert!((some.stddev() - (32.0f64 / 7.0).sqrt()).abs() < 1e-12);
        // A small spread on a large mean: doubles alone would lose it.
        let far = of(&[10_000_000_000, 10_000_000_001, 10_000_000_002]);
        assert_eq!(far.stddev(), 1.0);
        let none = Spread::new();
        assert_eq!((none.min(), none.mean(), none.stddev()), (0, 0.0, 0.0));
    }
}
