//! How many requests were in flight, sent and reaped at a time.

/// Counts in fio's classes: `iodepth_level` (1, 2, 4, … 64 and more), `iodepth_submit` and
/// `iodepth_complete` (none, up to 4, up to 8, … up to 64, more).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Depths {
    /// By the number in flight just after each request was sent.
    pub level: [u64; 7],
    /// By how many were sent in one turn.
    pub submit: [u64; 7],
    /// By how many were reaped in one poll.
    pub complete: [u64; 7],
}

impl Depths {
    #[inline]
    pub(crate) fn level(&mut self, inflight: u32) {
        debug_assert!(inflight > 0);
        let class = (31 - (inflight | 1).leading_zeros()).min(6);
        self.level[class as usize] += 1;
    }

    #[inline]
    pub(crate) fn sent(&mut self, count: usize) {
        if count > 0 {
            self.submit[batch_class(count)] += 1;
        }
    }

    #[inline]
    pub(crate) fn reaped(&mut self, count: usize) {
        self.complete[batch_class(count)] += 1;
    }

    /// Adds the counts of another.
    pub(crate) fn merge(&mut self, other: &Depths) {
        let tables = [
            (&mut self.level, &other.level),
            (&mut self.submit, &other.submit),
            (&mut self.complete, &other.complete),
        ];
        for (mine, theirs) in tables {
            mine.iter_mut().zip(theirs).for_each(|(a, b)| *a += b);
        }
    }
}

/// 0 for none, 1 up to 4, 2 up to 8, 3 up to 16, 4 up to 32, 5 up to 64, 6 beyond.
#[inline]
fn batch_class(count: usize) -> usize {
    let doublings = usize::BITS - (count.saturating_sub(1) >> 2).leading_zeros();
    if count == 0 { 0 } else { (1 + doublings as usize).min(6) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_fios() {
        let classes = [0, 1, 4, 5, 8, 9, 16, 17, 32, 33, 64, 65, 4096].map(batch_class);
        assert_eq!(classes, [0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6]);
        let mut depths = Depths::default();
        [1, 2, 3, 4, 7, 8, 32, 63, 64, 1000].into_iter().for_each(|n| depths.level(n));
        assert_eq!(depths.level, [1, 2, 2, 1, 0, 2, 2]);
    }

    #[test]
    fn merged_counts_add_up() {
        let mut a = Depths::default();
        a.reaped(3);
        let mut b = a;
        b.sent(3);
        a.merge(&b);
        assert_eq!((a.complete[1], a.submit[1], a.level[0]), (2, 1, 0));
    }
}
