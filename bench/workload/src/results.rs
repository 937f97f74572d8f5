//! What is told of a job, and how: fio's options of results, with fio's defaults.
//!
//! What must always hold: turning something off takes it out of the results, never out of what
//! is done to a disk; a log that is asked for is written, whatever else is turned off.

use isotherm_seam::Nanos;

/// fio's seventeen.
pub const PERCENTILES: [f64; 17] = [
    1.0, 5.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 95.0, 99.0, 99.5, 99.9, 99.95,
    99.99,
];

/// How many percentiles a job may ask for, as in fio.
pub(crate) const PERCENTILES_MAX: usize = 20;

/// What of one family of times is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Family {
    /// It is told at all.
    pub told: bool,
    /// With its percentiles.
    pub percentiles: bool,
}

/// How the directions of a job are told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unified {
    /// Each by itself.
    Separate,
    /// All as one.
    Mixed,
    /// Each by itself, and all as one.
    Both,
}

/// What is told of a job, and how.
#[derive(Clone, PartialEq, Debug)]
pub struct Results {
    /// Ascending, in percent.
    pub percentiles: Vec<f64>,
    /// From the start of a request until its driver has it.
    pub slat: Family,
    /// From there to its completion.
    pub clat: Family,
    /// Both together.
    pub lat: Family,
    /// Bandwidth over time.
    pub bandwidth: bool,
    /// IOPS over time; fio leaves it out with `gtod_reduce` only.
    pub iops: bool,
    /// Anything.
    pub stats: bool,
    /// How the directions are told.
    pub unified: Unified,
    /// Between two samples of the bandwidth.
    pub bandwidth_every: Nanos,
    /// Between two samples of the IOPS.
    pub iops_every: Nanos,
    /// Which logs are written.
    pub logs: Logs,
}

/// Which logs are written, and how.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Logs {
    /// What the names of the bandwidth logs begin with; empty for the name of the job.
    pub bandwidth: Option<String>,
    /// The same of IOPS.
    pub iops: Option<String>,
    /// The same of latencies: slat, clat and lat.
    pub latency: Option<String>,
    /// The same of histograms.
    pub histogram: Option<String>,
    /// One line for so long, or for each request if zero.
    pub every: Nanos,
    /// A line has the greatest value of its time, not the mean.
    pub greatest: bool,
    /// Lines have the offset.
    pub offset: bool,
    /// A file for each copy of a job.
    pub per_job: bool,
    /// Times are since 1970.
    pub unix_epoch: bool,
    /// Between two histograms.
    pub histogram_every: Nanos,
    /// Two to this power of fio's buckets are one in a histogram's log.
    pub coarseness: u32,
}

impl Logs {
    /// Whether there is any.
    pub fn any(&self) -> bool {
        [&self.bandwidth, &self.iops, &self.latency, &self.histogram].iter().any(|l| l.is_some())
    }
}

impl Results {
    /// Leaves out what fio leaves out to read the clock less often.
    pub(crate) fn reduce(&mut self, reduced: bool) {
        for family in [&mut self.slat, &mut self.clat, &mut self.lat] {
            family.told = !reduced;
        }
        self.bandwidth = !reduced;
        self.iops = !reduced;
    }
}

impl Default for Results {
    fn default() -> Results {
        let plain = Family { told: true, percentiles: false };
        Results {
            percentiles: PERCENTILES.to_vec(),
            slat: plain,
            clat: Family { percentiles: true, ..plain },
            lat: plain,
            bandwidth: true,
            iops: true,
            stats: true,
            unified: Unified::Separate,
            bandwidth_every: Nanos::from_millis(500),
            iops_every: Nanos::from_millis(500),
            logs: Logs::default(),
        }
    }
}

impl Default for Logs {
    fn default() -> Logs {
        Logs {
            bandwidth: None,
            iops: None,
            latency: None,
            histogram: None,
            every: Nanos::ZERO,
            greatest: false,
            offset: false,
            per_job: true,
            unix_epoch: false,
            histogram_every: Nanos::ZERO,
            coarseness: 0,
        }
    }
}
