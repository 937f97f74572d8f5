//! The fail-slow verdict.
//!
//! What must always hold: a disk is judged by its peers without itself; it is accused only
//! where an effect is large *and* a second, separate look agrees:
//!
//! | verdict | effect                                   | agreement                              |
//! |---------|------------------------------------------|----------------------------------------|
//! | gone    | says so, or is silent                    | its peers answer                       |
//! | failing | failed and slow reads                    | they cluster, or several failed        |
//! | slow    | p50 worse (z and ratio)                  | both halves of the span (without: p90) |
//! | erratic | p90 worse; slow reads; slow windows      | p50 or p99; both halves; three windows |
//! | watch   | any of these alone                       | none                                   |

use std::collections::BTreeMap;

use isotherm_seam::Nanos;

use crate::evidence::{
    Comparison, Evidence, Judgement, Metric, Missing, TailEvidence, Verdict, WindowEvidence,
};
use crate::odds::poisson_at_least;
use crate::region::{Incident, RegionEvidence, find_region};
use crate::report::{DiskReport, PeerGroup, Quantiles};
use crate::robust::{Spread, median, spread, spread_without};
use crate::{RegionRule, Thresholds};

/// Judges every disk of a fleet against its peers. The judgements come in the order of the
/// reports. Reports of one call cover the same span in the same windows.
pub fn judge(fleet: &[DiskReport], thresholds: &Thresholds) -> Vec<Judgement> {
    let mut groups: BTreeMap<PeerGroup, Vec<usize>> = BTreeMap::new();
    for (index, report) in fleet.iter().enumerate() {
        groups.entry(report.peers).or_default().push(index);
    }
    let mut judgements: Vec<Option<Judgement>> = vec![None; fleet.len()];
    for members in groups.values() {
        let reports: Vec<&DiskReport> = members.iter().map(|&i| &fleet[i]).collect();
        let group = Group::new(&reports, thresholds);
        for (&index, report) in members.iter().zip(&reports) {
            judgements[index] = Some(group.judge(report));
        }
    }
    judgements.into_iter().map(|j| j.expect("every disk is in one group")).collect()
}

/// One column of comparable numbers: who has one, and which.
struct Column {
    owners: Vec<usize>,
    values: Vec<f64>,
    whole: Option<Spread>,
}

impl Column {
    fn new(entries: impl Iterator<Item = (usize, f64)>) -> Column {
        let (owners, values): (Vec<usize>, Vec<f64>) = entries.unzip();
        let whole = spread(values.clone());
        Column { owners, values, whole }
    }

    /// The spread of the others' numbers, whether or not the disk itself has one.
    fn peers_of(&self, rank: usize) -> Option<Spread> {
        match self.owners.binary_search(&rank) {
            Ok(own) => spread_without(&self.values, own, self.whole),
            Err(_) => self.whole,
        }
    }
}

/// The disks of one model, with what their comparison needs.
struct Group<'a> {
    thresholds: &'a Thresholds,
    ranks: BTreeMap<u32, usize>,
    reads: Column,
    load: Column,
    p50: Column,
    p90: Column,
    p99: Column,
    pace: Pace,
    slow_share: Column,
    windows: Vec<Column>,
}

impl<'a> Group<'a> {
    fn new(reports: &[&DiskReport], thresholds: &'a Thresholds) -> Group<'a> {
        let column = |pick: &dyn Fn(&DiskReport) -> Option<f64>| {
            Column::new(reports.iter().enumerate().filter_map(|(i, r)| Some((i, pick(r)?))))
        };
        let quantile = |reads_min: u64, pick: fn(&Quantiles) -> Nanos| {
            column(&|r: &DiskReport| {
                let usable = !r.gone && r.reads >= reads_min;
                usable.then(|| pick(&r.service).0 as f64)
            })
        };
        let (reads_min, tail_reads_min) = (thresholds.reads_min, thresholds.tail_reads_min);
        let p50 = quantile(reads_min, |q| q.p50);
        let p99 = quantile(reads_min, |q| q.p99);
        let pace = Pace { p50: p50.whole, p99: p99.whole };
        let window_count = reports.iter().map(|r| r.windows.len()).max().unwrap_or(0);
        let window = |w: usize| {
            column(&|r: &DiskReport| {
                let window = r.windows.get(w)?;
                let usable = !r.gone && window.reads >= thresholds.window_reads_min;
                usable.then_some(window.p50.0 as f64)
            })
        };
        let ranks: BTreeMap<u32, usize> =
            reports.iter().enumerate().map(|(i, r)| (r.disk.0, i)).collect();
        assert_eq!(ranks.len(), reports.len(), "a disk is reported once");
        Group {
            thresholds,
            ranks,
            reads: column(&|r| (!r.gone).then_some(r.reads as f64)),
            load: column(&|r| (!r.gone).then_some(r.offered_per_s)),
            p90: quantile(reads_min, |q| q.p90),
            p99: quantile(tail_reads_min, |q| q.p99),
            slow_share: column(&|r| {
                let usable = !r.gone && r.reads >= reads_min;
                usable.then(|| {
                    let threshold = slow_threshold(r, pace, thresholds);
                    count_slow(r, threshold).0 as f64 / r.reads as f64
                })
            }),
            pace,
            windows: (0..window_count).map(window).collect(),
            p50,
        }
    }

    fn judge(&self, report: &DiskReport) -> Judgement {
        let rank = self.ranks[&report.disk.0];
        let mut evidence = Evidence { errors: report.errors, ..Evidence::default() };
        evidence.said_gone = report.gone;
        evidence.silence = self.silence(report, rank);

        let comparable = self.comparable(report, rank, &mut evidence.missing);
        if comparable {
            for (metric, column, own) in [
                (Metric::P50, &self.p50, report.service.p50),
                (Metric::P90, &self.p90, report.service.p90),
                (Metric::P99, &self.p99, report.service.p99),
            ] {
                evidence.comparisons.extend(self.compare(report, rank, metric, column, own));
            }
            if report.reads < self.thresholds.tail_reads_min {
                evidence.missing.push(Missing::TailReads {
                    have: report.reads,
                    need: self.thresholds.tail_reads_min,
                });
            }
            evidence.windows = self.compare_windows(report, rank, &mut evidence.missing);
        }
        let threshold = slow_threshold(report, self.pace, self.thresholds);
        if comparable {
            evidence.tail = self.compare_tail(report, rank, threshold);
        }
        match self.look_for_region(report, threshold, &mut evidence.missing) {
            Some(region) if region.p_value <= self.thresholds.region.p_max => {
                evidence.region = Some(region);
            }
            hint => evidence.region_hint = hint,
        }
        let verdict = self.decide(&evidence);
        Judgement { disk: report.disk, verdict, evidence }
    }

    /// Whether the disk's times can be held against its peers'; what is missing otherwise.
    fn comparable(&self, report: &DiskReport, rank: usize, missing: &mut Vec<Missing>) -> bool {
        let t = self.thresholds;
        if report.gone {
            return false;
        }
        let before = missing.len();
        if report.reads < t.reads_min {
            missing.push(Missing::Reads { have: report.reads, need: t.reads_min });
        }
        let have = self.p50.peers_of(rank).map_or(0, |peers| peers.count);
        if have < t.peers_min {
            missing.push(Missing::Peers { have, need: t.peers_min });
        }
        if report.depth_max > 1 {
            let usual = self.load.peers_of(rank).map_or(0.0, |load| load.median);
            let ratio = if usual > 0.0 { report.offered_per_s / usual } else { 1.0 };
            if ratio > t.load_ratio_max || ratio < 1.0 / t.load_ratio_max {
                missing.push(Missing::LikeLoad { ratio });
            }
        }
        missing.len() == before
    }

    fn compare(
        &self,
        report: &DiskReport,
        rank: usize,
        metric: Metric,
        column: &Column,
        own: Nanos,
    ) -> Option<Comparison> {
        let t = self.thresholds;
        // A disk whose reads do not suffice for this quantile has no number in its column.
        column.owners.binary_search(&rank).ok()?;
        let peers = column.peers_of(rank).filter(|p| p.count >= t.peers_min && p.median > 0.0)?;
        // The peers' spread is that of samples of their size; a smaller sample spreads more.
        let usual_reads = self.reads.peers_of(rank).map_or(0.0, |reads| reads.median);
        let thinner = (usual_reads / report.reads as f64).max(1.0).sqrt();
        let sigma = self.sigma(peers) * thinner;
        let own_ns = own.0 as f64;
        let (ratio, z) = (own_ns / peers.median, (own_ns - peers.median) / sigma);
        Some(Comparison {
            metric,
            own,
            peers: Nanos(peers.median as u64),
            peer_count: peers.count,
            ratio,
            z,
            worse: z > t.z_min && ratio >= t.effect_min,
        })
    }

    /// The peers' spread and the one that is taken for granted, together.
    fn sigma(&self, peers: Spread) -> f64 {
        peers.sigma.hypot(self.thresholds.spread_floor * peers.median)
    }

    fn compare_windows(
        &self,
        report: &DiskReport,
        rank: usize,
        missing: &mut Vec<Missing>,
    ) -> Option<WindowEvidence> {
        let t = self.thresholds;
        let mut halves: [Vec<f64>; 2] = [Vec::new(), Vec::new()];
        let (mut compared, mut worse, mut episodes) = (0, 0, 0);
        for (w, column) in self.windows.iter().enumerate() {
            let Ok(own) = column.owners.binary_search(&rank) else { continue };
            let Some(peers) = column.peers_of(rank) else { continue };
            if peers.count < t.peers_min || peers.median <= 0.0 {
                continue;
            }
            let value = column.values[own];
            let ratio = value / peers.median;
            compared += 1;
            worse += u32::from(ratio >= t.effect_min);
            let far =
                ratio >= t.episode_effect && (value - peers.median) / self.sigma(peers) > t.z_min;
            episodes += u32::from(far);
            halves[half_of(w, report.windows.len())].push(ratio);
        }
        let [first, second] = &mut halves;
        match (median(first), median(second)) {
            (Some(first), Some(second)) => {
                Some(WindowEvidence { compared, worse, episodes, halves: [first, second] })
            }
            _ => {
                missing.push(Missing::Windows { have: compared, need: 2 });
                None
            }
        }
    }

    fn compare_tail(
        &self,
        report: &DiskReport,
        rank: usize,
        threshold: Nanos,
    ) -> Option<TailEvidence> {
        let usual = self.slow_share.peers_of(rank)?.median.max(self.thresholds.slow_share_floor);
        let (slow_reads, in_first_half) = count_slow(report, threshold);
        let expected = usual * report.reads as f64;
        let p_value = poisson_at_least(slow_reads, expected);
        Some(TailEvidence { threshold, slow_reads, in_first_half, expected, p_value })
    }

    /// Where failed and slow reads cluster, be it proof or a hint.
    fn look_for_region(
        &self,
        report: &DiskReport,
        threshold: Nanos,
        missing: &mut Vec<Missing>,
    ) -> Option<RegionEvidence> {
        let mut incidents: Vec<Incident> =
            report.failed.iter().map(|&lba| Incident { lba, error: true }).collect();
        let slow = report.slowest.iter().filter(|s| s.service > threshold);
        incidents.extend(slow.map(|s| Incident { lba: s.lba, error: false }));
        if incidents.is_empty() {
            return None;
        }
        if report.coverage.is_empty() {
            missing.push(Missing::Coverage);
        }
        let t = self.thresholds;
        let rule = RegionRule { p_max: t.region_watch_p_max.max(t.region.p_max), ..t.region };
        let reads = report.reads + report.errors;
        find_region(&mut incidents, report.blocks, &report.coverage, reads, &rule)
    }

    /// How long it has been silent, where that is far longer than its peers ever took.
    fn silence(&self, report: &DiskReport, rank: usize) -> Option<Nanos> {
        let peers_answer = self.reads.peers_of(rank).is_some_and(|r| r.median >= 1.0);
        let usual = self.p99.peers_of(rank).map_or(0.0, |p99| p99.median);
        let limit = (self.thresholds.silence_min.0 as f64).max(30.0 * usual);
        (peers_answer && report.unanswered.0 as f64 >= limit).then_some(report.unanswered)
    }

    fn decide(&self, evidence: &Evidence) -> Verdict {
        let t = self.thresholds;
        let worse = |metric| evidence.comparisons.iter().any(|c| c.metric == metric && c.worse);
        let (p50, p90, p99) = (worse(Metric::P50), worse(Metric::P90), worse(Metric::P99));
        // Slow all along: both halves say so or, where time was not looked at, p90 agrees.
        let all_along =
            evidence.windows.map_or(p90, |w| w.halves.iter().all(|&ratio| ratio >= t.effect_min));
        let episodes = evidence.windows.map_or(0, |w| w.episodes);
        let tail = evidence.tail.as_ref();
        let too_many_slow =
            tail.is_some_and(|s| s.slow_reads >= t.slow_reads_min && s.p_value <= t.slow_p_max);
        let in_both_halves = tail.is_some_and(|s| {
            let first = s.in_first_half.min(s.slow_reads - s.in_first_half);
            first * 4 >= s.slow_reads
        });

        if evidence.said_gone || evidence.silence.is_some() {
            Verdict::Gone
        } else if evidence.region.is_some() || evidence.errors >= t.errors_min {
            Verdict::Failing
        } else if p50 && all_along {
            Verdict::Slow
        } else if (p90 && (p50 || p99))
            || (too_many_slow && in_both_halves)
            || episodes >= t.episodes_min
        {
            Verdict::Erratic
        } else if p50
            || p90
            || p99
            || too_many_slow
            || episodes > 0
            || evidence.region_hint.is_some()
            || evidence.errors > 0
        {
            Verdict::Watch
        } else {
            Verdict::Ok
        }
    }
}

/// How fast the whole group is: one yardstick for slow reads, the disk itself included, so that
/// its count and its peers' are of the same thing.
#[derive(Clone, Copy)]
struct Pace {
    p50: Option<Spread>,
    p99: Option<Spread>,
}

/// Beyond this a read of this disk counts as slow. A limping disk is measured by its own pace,
/// so that its reads are not all slow: that is what the median is for.
fn slow_threshold(report: &DiskReport, pace: Pace, t: &Thresholds) -> Nanos {
    let own = report.service.p50.0 as f64;
    let mut limit = t.slow_read_factor * own;
    if let (Some(p50), Some(p99)) = (pace.p50, pace.p99)
        && p50.median > 0.0
    {
        let limp = (own / p50.median).max(1.0);
        limit = limit.max(t.slow_read_tail * p99.median * limp);
    }
    Nanos(limit as u64)
}

/// Slow reads among those that were kept, and how many of them in the first half of the span.
fn count_slow(report: &DiskReport, threshold: Nanos) -> (u64, u64) {
    let windows = report.windows.len();
    let (mut all, mut first) = (0, 0);
    for slow in report.slowest.iter().filter(|s| s.service > threshold) {
        all += 1;
        first += u64::from(half_of(slow.window as usize, windows) == 0);
    }
    (all, first)
}

fn half_of(window: usize, windows: usize) -> usize {
    usize::from(window * 2 >= windows)
}
