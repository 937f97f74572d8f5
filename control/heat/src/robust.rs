//! Middle and spread that a few sick disks can't move.
//!
//! What must always hold: less than half of the values, however wild, leave median and MAD
//! within the range of the others.

/// A normal deviate's standard deviation over its median absolute deviation.
pub const MAD_TO_SIGMA: f64 = 1.4826;

/// The middle value, or the mean of the two middle ones. `None` of nothing.
pub fn median(values: &mut [f64]) -> Option<f64> {
    let n = values.len();
    if n == 0 {
        return None;
    }
    let (below, &mut upper, _) = values.select_nth_unstable_by(n / 2, f64::total_cmp);
    if n % 2 == 1 {
        return Some(upper);
    }
    let lower = below.iter().copied().max_by(f64::total_cmp).expect("n is at least two");
    Some(f64::midpoint(lower, upper))
}

/// Where a group of values lies and how far it spreads.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Spread {
    /// Their median.
    pub median: f64,
    /// Their median absolute deviation, scaled to a normal deviate's standard deviation.
    pub sigma: f64,
    /// How many values.
    pub count: usize,
}

/// Above this many values, one of them in or out no longer matters: it moves the median by at
/// most one rank in 64.
const LEAVE_ONE_OUT_MAX: usize = 64;

/// The spread of all values but the one at `own`, so that a disk is not its own peer. In groups
/// of more than 64 nothing is left out, and `whole` (the spread of all) is the answer.
pub fn spread_without(values: &[f64], own: usize, whole: Option<Spread>) -> Option<Spread> {
    if values.len() > LEAVE_ONE_OUT_MAX {
        return whole;
    }
    let others = values.iter().enumerate().filter(|&(i, _)| i != own).map(|(_, &v)| v);
    spread(others.collect())
}

/// The spread of all values. `None` of nothing.
pub(crate) fn spread(mut values: Vec<f64>) -> Option<Spread> {
    let count = values.len();
    let middle = median(&mut values)?;
    for value in &mut values {
        *value = (*value - middle).abs();
    }
    let mad = median(&mut values).expect("as many deviations as values");
    Some(Spread { median: middle, sigma: mad * MAD_TO_SIGMA, count })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&mut []), None);
        assert_eq!(median(&mut [3.0]), Some(3.0));
        assert_eq!(median(&mut [9.0, 1.0, 5.0]), Some(5.0));
        assert_eq!(median(&mut [9.0, 1.0, 5.0, 7.0]), Some(6.0));
    }

    #[test]
    fn wild_values_short_of_half_do_not_move_it_far() {
        let mut values = vec![10.0, 10.1, 9.9, 10.2, 9.8];
        let calm = spread(values.clone()).unwrap();
        values.extend([1e9, 1e12, 1e15, 1e18]);
        let wild = spread(values).unwrap();
        assert!((wild.median - calm.median).abs() <= 0.2);
        assert!(wild.sigma <= 0.6);
    }

    #[test]
    fn a_disk_is_not_its_own_peer() {
        let values = [10.0, 11.0, 12.0, 500.0];
        let peers = spread_without(&values, 3, None).unwrap();
        assert_eq!((peers.median, peers.count), (11.0, 3));
        let many = vec![1.0; 100];
        let whole = spread(many.clone());
        assert_eq!(spread_without(&many, 0, whole), whole);
    }
}
