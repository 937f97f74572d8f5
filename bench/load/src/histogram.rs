//! Counts of latencies in fio's buckets.
//!
//! What must always hold: the bucket of a value, and the value shown for a bucket, are fio's,
//! so percentiles and bins are equal to fio's to the bucket; histograms of many disks add up
//! to the histogram of all.
//!
//! ```text
//! 64 buckets to a power of two, 29 groups, 1,856 buckets of 8 bytes: 14.5 KiB
//! value          bucket                     width
//! 0 ..= 127      the value itself           1 ns
//! from 128 on    (e << 6) + (value >> e)    2^e ns, e = msb - 6: at most 1/64 of the value
//! beyond 2^34    the last one               (17.2 s and more)
//! ```

const BITS: u32 = 6;
const GROUPS: u32 = 29;
/// How many buckets there are.
pub(crate) const BUCKETS: usize = (GROUPS as usize) << BITS;

/// Counts of values in nanoseconds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Histogram {
    counts: Box<[u64; BUCKETS]>,
}

impl Histogram {
    /// Without any value.
    pub fn new() -> Histogram {
        Histogram { counts: Box::new([0; BUCKETS]) }
    }

    /// Counts one value.
    #[inline]
    pub fn record(&mut self, value_ns: u64) {
        self.counts[bucket(value_ns)] += 1;
    }

    /// How many values were counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Adds the counts of another.
    pub fn merge(&mut self, other: &Histogram) {
        for (mine, theirs) in self.counts.iter_mut().zip(other.counts.iter()) {
            *mine += theirs;
        }
    }

    /// The values shown for each of `percents`, which ascend: the middle of the first bucket at
    /// which so many hundredths of all values are reached, as fio has it. Zeros where nothing
    /// was counted.
    pub fn percentiles(&self, percents: &[f64]) -> Vec<u64> {
        debug_assert!(percents.is_sorted());
        let total = self.count();
        let mut values = vec![0; percents.len()];
        let mut wanted = percents.iter().zip(values.iter_mut()).peekable();
        let mut sum = 0;
        for (index, &count) in self.counts.iter().enumerate() {
            if total == 0 || count == 0 {
                continue;
            }
            sum += count;
            while let Some((_, value)) =
                wanted.next_if(|(percent, _)| sum as f64 >= **percent / 100.0 * total as f64)
            {
                *value = middle(index);
            }
        }
        values
    }

    /// The value shown for one percentile.
    pub fn percentile(&self, percent: f64) -> u64 {
        self.percentiles(&[percent])[0]
    }

    /// The value shown for each bucket that holds any, and how many it holds.
    pub fn bins(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.held().map(|(index, count)| (middle(usize::from(index)), count))
    }

    /// The number of each bucket that holds any, and how many it holds.
    pub(crate) fn held(&self) -> impl Iterator<Item = (u16, u64)> + '_ {
        let held = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        held.map(|(index, &count)| (index as u16, count))
    }
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram::new()
    }
}

#[inline]
fn bucket(value_ns: u64) -> usize {
    // Below 128 the exponent is zero, and the bucket is the value.
    let exponent = 63 - (value_ns | 1 << BITS).leading_zeros() - BITS;
    let index = ((exponent as usize) << BITS) + (value_ns >> exponent) as usize;
    index.min(BUCKETS - 1)
}

fn middle(index: usize) -> u64 {
    if index < 2 << BITS {
        return index as u64;
    }
    let exponent = (index as u32 >> BITS) - 1;
    let low = (index as u64 & ((1 << BITS) - 1)) | 1 << BITS;
    // Half of a bucket of width 2^exponent; the exponent is at least 1 here.
    (low << exponent) + (1 << (exponent - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_fios() {
        let cases = [(0, 0), (127, 127), (128, 129), (160, 161), (161, 161), (340, 342)];
        for (value, shown) in cases {
            assert_eq!(middle(bucket(value)), shown, "{value}");
        }
        assert_eq!(middle(bucket(77_936)), 78_336, "as fio 3.33 showed this very value");
        assert_eq!(middle(bucket(1_480)), 1_480);
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
        assert_eq!(bucket((1 << 34) - 1), BUCKETS - 1);
    }

    #[test]
    fn every_bucket_holds_its_own_middle_and_they_ascend() {
        for index in 0..BUCKETS {
            assert_eq!(bucket(middle(index)), index);
            assert!(index == 0 || middle(index) > middle(index - 1));
        }
    }

    #[test]
    fn percentiles_of_a_known_row() {
        let mut histogram = Histogram::new();
        (1..=100).for_each(|value| histogram.record(value));
        assert_eq!(histogram.percentiles(&[1.0, 50.0, 99.0, 100.0]), [1, 50, 99, 100]);
        assert_eq!(histogram.percentile(0.0), 1);
        assert_eq!(Histogram::new().percentiles(&[50.0, 99.0]), [0, 0]);
    }

    #[test]
    fn merged_is_as_if_counted_together() {
        let (mut a, mut b, mut both) = (Histogram::new(), Histogram::new(), Histogram::new());
        for i in 0..1_000u64 {
            let value = i * i * 37;
            if i % 3 == 0 {
                a.record(value)
            } else {
                b.record(value)
            }
            both.record(value);
        }
        a.merge(&b);
        assert_eq!(a, both);
        assert_eq!(a.bins().map(|(_, n)| n).sum::<u64>(), 1_000);
    }
}
