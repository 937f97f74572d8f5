//! Bad regions: incidents (failed and very slow reads) that cluster in the address space.
//!
//! What must always hold: positions are measured in *reads*, not in blocks. A stretch that is
//! read a lot collects incidents even on a sound disk, so a window's width is the share of all
//! reads that went into its slices (whole slices, which only widens it). Under the hypothesis
//! "incidents hit any read alike" the incidents are then uniform, and the scan statistic tells
//! how surprising the tightest window is.

use isotherm_seam::Lba;

use crate::odds::scan_at_least;

/// A read that failed or took far too long.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Incident {
    /// Where it starts.
    pub lba: Lba,
    /// It failed; otherwise it was slow.
    pub error: bool,
}

/// What makes a cluster of incidents a bad region.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct RegionRule {
    /// At least so many incidents inside.
    pub incidents_min: u64,
    /// At most this share of all reads went there.
    pub share_max: f64,
    /// A read inside is at least so many times as likely to be an incident as one outside.
    pub odds_min: f64,
    /// At most this probability of such a cluster by chance, all windows tried included.
    pub p_max: f64,
}

/// A cluster of incidents.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct RegionEvidence {
    /// First block of the first incident inside.
    pub first: Lba,
    /// First block of the last incident inside.
    pub last: Lba,
    /// Incidents inside.
    pub inside: u64,
    /// Those of them that were errors.
    pub errors_inside: u64,
    /// Incidents on the whole disk.
    pub incidents: u64,
    /// Reads of the slices that the region touches: incidents and others.
    pub reads_inside: f64,
    /// From `first` to `last`, as a share of the disk.
    pub disk_share: f64,
    /// Share of all reads that went to the slices that the region touches.
    pub read_share: f64,
    /// Probability of a cluster this tight anywhere, if incidents hit any read alike.
    pub p_value: f64,
}

/// Slices that stand in for an unknown coverage.
const UNIFORM_SLICES: usize = 256;

/// The least probable cluster that keeps the rule; `None` where there is none. `incidents` are
/// sorted in place. `coverage` is as in [`crate::DiskReport`], `reads` its total.
pub fn find_region(
    incidents: &mut [Incident],
    blocks: u64,
    coverage: &[u32],
    reads: u64,
    rule: &RegionRule,
) -> Option<RegionEvidence> {
    let n = incidents.len();
    if (n as u64) < rule.incidents_min.max(2) || reads == 0 || blocks == 0 {
        return None;
    }
    incidents.sort_unstable();
    let map = ReadMap::new(coverage, blocks, reads);
    let slices: Vec<usize> = incidents.iter().map(|i| map.slice_of(i.lba)).collect();

    let tried = (n as u64 - rule.incidents_min.max(2) + 1) as f64;
    let mut best: Option<(f64, usize, usize)> = None;
    for count in rule.incidents_min.max(2) as usize..=n {
        // Of all windows of `count` incidents the narrowest is the most surprising.
        let (share, start) = (0..=n - count)
            .map(|start| (map.share(slices[start], slices[start + count - 1]), start))
            .min_by(|a, b| a.0.total_cmp(&b.0))
            .expect("count is at most n");
        let outside = (n - count) as f64 + 0.5;
        let odds = (count as f64 / share) / (outside / (1.0 - share).max(f64::MIN_POSITIVE));
        if share > rule.share_max || odds < rule.odds_min {
            continue;
        }
        let p = (scan_at_least(count as u64, n as u64, share) * tried).min(1.0);
        if p <= rule.p_max && best.is_none_or(|(least, ..)| p < least) {
            best = Some((p, start, count));
        }
    }

    let (p_value, start, count) = best?;
    let inside = &incidents[start..start + count];
    let (first, last) = (inside[0].lba, inside[count - 1].lba);
    let read_share = map.share(slices[start], slices[start + count - 1]);
    Some(RegionEvidence {
        first,
        last,
        inside: count as u64,
        errors_inside: inside.iter().filter(|i| i.error).count() as u64,
        incidents: n as u64,
        reads_inside: read_share * map.total,
        disk_share: (last.0 - first.0) as f64 / blocks as f64,
        read_share,
        p_value,
    })
}

/// Where the reads went: `before[i]` of them to slices below `i`.
struct ReadMap {
    before: Vec<f64>,
    blocks: u64,
    total: f64,
}

impl ReadMap {
    fn new(coverage: &[u32], blocks: u64, reads: u64) -> ReadMap {
        let counted: u64 = coverage.iter().map(|&c| u64::from(c)).sum();
        let mut before = vec![0.0];
        let mut sum = 0.0;
        if counted == 0 {
            let each = reads as f64 / UNIFORM_SLICES as f64;
            before.extend((1..=UNIFORM_SLICES).map(|i| i as f64 * each));
            sum = reads as f64;
        } else {
            for &count in coverage {
                sum += f64::from(count);
                before.push(sum);
            }
        }
        ReadMap { before, blocks, total: sum }
    }

    fn slice_of(&self, lba: Lba) -> usize {
        let slices = self.before.len() - 1;
        let slice = u128::from(lba.0) * slices as u128 / u128::from(self.blocks);
        (slice as usize).min(slices - 1)
    }

    /// Share of all reads that went to the slices `first..=last`, never quite nothing.
    fn share(&self, first: usize, last: usize) -> f64 {
        let reads = self.before[last + 1] - self.before[first];
        (reads.max(1.0) / self.total).min(1.0)
    }
}

#[cfg(test)]
mod tests {
    use isotherm_seam::{Domain, Draws};

    use super::*;
    use crate::Thresholds;

    const BLOCKS: u64 = 1 << 32;

    fn at(positions: &[f64]) -> Vec<Incident> {
        let lba = |x: &f64| Lba((x * BLOCKS as f64) as u64);
        positions.iter().map(|x| Incident { lba: lba(x), error: false }).collect()
    }

    fn rule() -> RegionRule {
        Thresholds::default().region
    }

    #[test]
    fn a_cluster_is_found_with_its_ends() {
        let mut incidents = at(&[0.31, 0.305, 0.302, 0.309, 0.3, 0.307, 0.304, 0.9]);
        incidents[0].error = true;
        let found = find_region(&mut incidents, BLOCKS, &[], 1_000, &rule()).unwrap();
        assert_eq!((found.inside, found.incidents, found.errors_inside), (7, 8, 1));
        assert_eq!(found.first, at(&[0.3])[0].lba);
        assert_eq!(found.last, at(&[0.31])[0].lba);
        assert!((found.disk_share - 0.01).abs() < 1e-6);
        assert!(found.p_value < 1e-8, "{}", found.p_value);
    }

    #[test]
    fn scattered_or_few_incidents_are_none() {
        assert_eq!(find_region(&mut at(&[0.3, 0.3001]), BLOCKS, &[], 1_000, &rule()), None);
        let mut spread = at(&[0.05, 0.2, 0.35, 0.5, 0.6, 0.75, 0.8, 0.99]);
        assert_eq!(find_region(&mut spread, BLOCKS, &[], 1_000, &rule()), None);
        assert_eq!(find_region(&mut [], BLOCKS, &[], 0, &rule()), None);
    }

    #[test]
    fn a_hot_spot_is_not_a_bad_region() {
        // Seven of eight incidents in one hundredth of the disk, to which 80 % of reads go.
        let mut coverage = vec![2u32; 100];
        coverage[30] = 800;
        let mut incidents = at(&[0.301, 0.302, 0.303, 0.304, 0.305, 0.306, 0.307, 0.9]);
        assert_eq!(find_region(&mut incidents, BLOCKS, &coverage, 998, &rule()), None);
        // The same incidents where reads are even.
        let even = vec![10u32; 100];
        assert!(find_region(&mut incidents, BLOCKS, &even, 1_000, &rule()).is_some());
    }

    #[test]
    fn chance_makes_no_more_clusters_than_the_rule_says() {
        // At p_max = 1e-2 of 4,000 disks with 5 to 24 scattered incidents at most 40 are
        // expected; whole slices and the allowance for all windows make it fewer.
        let rule = RegionRule { p_max: 1e-2, share_max: 1.0, odds_min: 1.0, ..rule() };
        let mut draws = Draws::new(3, Domain::new("heat.test.region"), 0);
        let mut found = 0;
        for round in 0..4_000u64 {
            let n = 5 + round % 20;
            let positions: Vec<f64> = (0..n).map(|_| draws.next_f64()).collect();
            let region = find_region(&mut at(&positions), BLOCKS, &[], 1_000, &rule);
            found += u32::from(region.is_some());
        }
        assert!(found <= 55, "{found} false clusters");
        assert!(found >= 1, "the test has no power");
    }
}
