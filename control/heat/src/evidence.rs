//! What a judgement says, and the numbers that it rests on.

use isotherm_seam::{DiskId, Nanos};

use crate::RegionEvidence;

/// What a disk is like. In ascending order of concern.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Verdict {
    /// Nothing seen that speaks against it.
    Ok,
    /// Something seen that is no proof: look again.
    Watch,
    /// Good on the whole, but with a tail or with episodes that its peers do not have.
    Erratic,
    /// Slower than its peers all along: it limps.
    Slow,
    /// It can't read part of itself.
    Failing,
    /// It does not answer.
    Gone,
}

impl Verdict {
    /// Whether the disk is accused: something should be done about it.
    pub fn is_flagged(self) -> bool {
        self >= Verdict::Erratic
    }

    /// One lower-case word.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::Watch => "watch",
            Verdict::Erratic => "erratic",
            Verdict::Slow => "slow",
            Verdict::Failing => "failing",
            Verdict::Gone => "gone",
        }
    }
}

/// The verdict on one disk.
#[derive(Clone, PartialEq, Debug)]
pub struct Judgement {
    /// Which disk.
    pub disk: DiskId,
    /// What it is like.
    pub verdict: Verdict,
    /// Why.
    pub evidence: Evidence,
}

/// What was looked at, also where it speaks for the disk.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Evidence {
    /// The disk's quantiles against its peers'.
    pub comparisons: Vec<Comparison>,
    /// Its medians over time against its peers'.
    pub windows: Option<WindowEvidence>,
    /// Its slow reads against its peers' share of them.
    pub tail: Option<TailEvidence>,
    /// Where its failed and slow reads cluster beyond doubt.
    pub region: Option<RegionEvidence>,
    /// Where they seem to cluster, when that is no proof.
    pub region_hint: Option<RegionEvidence>,
    /// Reads that failed.
    pub errors: u64,
    /// For how long it has not answered, where that is too long.
    pub silence: Option<Nanos>,
    /// It said itself that it is gone.
    pub said_gone: bool,
    /// What could not be looked at.
    pub missing: Vec<Missing>,
}

/// Which quantile of the service time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Metric {
    /// The median.
    P50,
    /// The 90th percentile.
    P90,
    /// The 99th percentile.
    P99,
}

impl Metric {
    /// Its usual name.
    pub fn word(self) -> &'static str {
        match self {
            Metric::P50 => "p50",
            Metric::P90 => "p90",
            Metric::P99 => "p99",
        }
    }
}

/// One quantile against the same of the peers.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Comparison {
    /// Which.
    pub metric: Metric,
    /// The disk's.
    pub own: Nanos,
    /// The median of its peers'.
    pub peers: Nanos,
    /// How many peers.
    pub peer_count: usize,
    /// `own` over `peers`.
    pub ratio: f64,
    /// Distance from the peers' median in robust standard deviations.
    pub z: f64,
    /// Both distance and ratio are beyond their thresholds.
    pub worse: bool,
}

/// Medians over time.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct WindowEvidence {
    /// Windows that could be compared.
    pub compared: u32,
    /// Those with a median worse by the least effect.
    pub worse: u32,
    /// Those far worse: episodes.
    pub episodes: u32,
    /// Median ratio to the peers, first and second half of the span.
    pub halves: [f64; 2],
}

/// Slow reads.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct TailEvidence {
    /// Beyond this a read counts as slow.
    pub threshold: Nanos,
    /// How many were.
    pub slow_reads: u64,
    /// Of them in the first half of the span.
    pub in_first_half: u64,
    /// How many would be usual, by the peers.
    pub expected: f64,
    /// Probability of as many by chance.
    pub p_value: f64,
}

/// Evidence that could not be had.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Missing {
    /// Too few peers to compare with.
    Peers {
        /// How many there are.
        have: usize,
        /// How many it takes.
        need: usize,
    },
    /// Too few reads for a median.
    Reads {
        /// How many there are.
        have: u64,
        /// How many it takes.
        need: u64,
    },
    /// Too few reads for a 99th percentile.
    TailReads {
        /// How many there are.
        have: u64,
        /// How many it takes.
        need: u64,
    },
    /// Too few windows with enough reads to tell the halves of the span apart.
    Windows {
        /// How many there are.
        have: u32,
        /// How many it takes.
        need: u32,
    },
    /// The load differs from the peers', and the drive may hold more than one read: its
    /// service time contains its queue.
    LikeLoad {
        /// Offered reads a second over the peers' median.
        ratio: f64,
    },
    /// Where the reads went is not known; they were taken to be uniform.
    Coverage,
}
