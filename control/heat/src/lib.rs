//! Heat: what the latencies of a fleet say about its disks.
//!
//! One function, [`judge`], serves the bench that characterises a fleet and the control plane
//! that steers around sick disks. It compares each disk with its peers (the same model,
//! firmware and capacity) and hands back a [`Verdict`] with the numbers that led to it.
//!
//! What must always hold:
//! - Pure: the same reports and thresholds give the same judgements; no clock, chance or I/O.
//! - No accusation without both *effect* and *agreement*: a difference that is merely
//!   significant, or seen by one measure in one part of the span, is [`Verdict::Watch`] at most.
//! - What could not be judged is said ([`Missing`]), never taken for health.
//!
//! What it can't see: a fleet of which half or more is sick in the same way (the median is then
//! sick too), and slowness of a disk without peers.

mod evidence;
mod judge;
mod odds;
mod region;
mod report;
mod robust;
mod thresholds;
mod words;

pub use evidence::{
    Comparison, Evidence, Judgement, Metric, Missing, TailEvidence, Verdict, WindowEvidence,
};
pub use judge::judge;
pub use odds::{binomial_at_least, poisson_at_least, scan_at_least};
pub use region::{Incident, RegionEvidence, RegionRule, find_region};
pub use report::{DiskReport, PeerGroup, Quantiles, SlowRead, Window};
pub use robust::{MAD_TO_SIGMA, Spread, median, spread_without};
pub use thresholds::{FALSE_FLAGS_MAX, Thresholds};
