//! Where the line is drawn. Each figure has its reason here, and its measured false alarms in
//! `docs/FLEET.md`.

use isotherm_seam::Nanos;

use crate::RegionRule;

/// With the default thresholds a healthy disk is flagged with at most this probability a
/// judgement: none of 240,000 was, so 1.3e-5 is the upper end of the 95 % interval. Where the
/// host stalls a lot or siblings differ a lot it is more; see docs/FLEET.md.
pub const FALSE_FLAGS_MAX: f64 = 1.3e-5;

/// What it takes to be accused. The defaults are those that the false alarm rates were
/// measured with.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Thresholds {
    /// Fewer peers (beside the disk itself) say nothing: with three, one odd peer is a third.
    pub peers_min: usize,
    /// Fewer reads say nothing: the median of 50 reads is known to about 6 % at the spread of
    /// a disk arm (coefficient of variation 0.33), a third of the least effect.
    pub reads_min: u64,
    /// Fewer reads say nothing about the 99th percentile: five of them lie beyond it.
    pub tail_reads_min: u64,
    /// Robust deviations from the peers' median.
    pub z_min: f64,
    /// Times the peers' median. Disks of one model differ by 2-5 % from sample to sample, and
    /// nobody replaces a disk for 10 %.
    pub effect_min: f64,
    /// Difference between siblings that is taken for granted, as a share of the median, beside
    /// what the peers show: a few of them may agree by chance, and their MAD is then far too
    /// small.
    pub spread_floor: f64,
    /// Offered load may differ from the peers' by this factor where service time depends on
    /// load, that is where the drive holds more than one read.
    pub load_ratio_max: f64,
    /// A read is slow beyond so many times the disk's own median. Mechanics alone reach 2.2:
    /// a full stroke and a whole turn (24 ms) over the median (11 ms).
    pub slow_read_factor: f64,
    /// And beyond so many times the peers' 99th percentile, scaled to the disk's own pace.
    pub slow_read_tail: f64,
    /// Share of slow reads that a healthy disk may have: ten times the recalibrations and
    /// retries of a sound drive (about one read in 10,000).
    pub slow_share_floor: f64,
    /// Probability by chance of as many slow reads as were seen, below which they are too many.
    pub slow_p_max: f64,
    /// Fewer slow reads are never too many.
    pub slow_reads_min: u64,
    /// Windows with fewer reads are not looked at.
    pub window_reads_min: u64,
    /// A window is an *episode* when its median is so many times the peers' in that window.
    pub episode_effect: f64,
    /// So many episodes make a disk erratic.
    pub episodes_min: u32,
    /// Failed reads that condemn a disk although they do not cluster.
    pub errors_min: u64,
    /// What makes a cluster a bad region.
    pub region: RegionRule,
    /// What makes a cluster worth watching, though it is no proof.
    pub region_watch_p_max: f64,
    /// A disk that has not answered for so long, and far longer than its peers ever took, is
    /// gone. Drives give up on a sector after 2 to 7 seconds.
    pub silence_min: Nanos,
}

impl Default for Thresholds {
    fn default() -> Thresholds {
        Thresholds {
            peers_min: 4,
            reads_min: 50,
            tail_reads_min: 500,
            z_min: 4.0,
            effect_min: 1.15,
            spread_floor: 0.03,
            load_ratio_max: 1.25,
            slow_read_factor: 3.0,
            slow_read_tail: 1.5,
            slow_share_floor: 1e-3,
            slow_p_max: 1e-6,
            slow_reads_min: 8,
            window_reads_min: 20,
            episode_effect: 1.5,
            episodes_min: 3,
            errors_min: 4,
            region: RegionRule { incidents_min: 4, share_max: 0.10, odds_min: 10.0, p_max: 1e-5 },
            region_watch_p_max: 1e-3,
            silence_min: Nanos::from_secs(10),
        }
    }
}
