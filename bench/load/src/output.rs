//! How results are written: one file for each format, one row of [`FORMATS`] for each.
//!
//! What must always hold: whatever has fio's name, place or column means what fio means by it.
//! A format writes the whole of a report, or nothing; a report of a run that failed is written
//! as that of any other.

mod csv;
mod json;
mod normal;
mod pretty;
mod terse;

use isotherm_workload::{Direction, Engine};

use crate::report::{JobResult, Report};
use crate::series::Rates;
use crate::{Latencies, ResponseTimes, Tally};

pub use json::failed_document;
pub use pretty::to_text as json_text;

/// How results are written.
pub struct Format {
    /// What `--output-format` calls it.
    pub name: &'static str,
    /// What it is.
    pub help: &'static str,
    /// Writes a report.
    pub write: fn(&Report, &Style) -> String,
}

/// What the user may choose of a format.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Style {
    /// Which of fio's terse formats: 2 to 5.
    pub terse_version: u32,
    /// What stands for fio's version.
    pub version: String,
}

impl Default for Style {
    fn default() -> Style {
        Style { terse_version: 3, version: concat!("isotherm-", env!("CARGO_PKG_VERSION")).into() }
    }
}

/// The formats, in the order in which fio writes several.
pub const FORMATS: &[Format] = &[
    Format { name: "terse", help: "fio's line of semicolons", write: terse::write },
    Format {
        name: "json",
        help: "fio's document",
        write: |report, style| json_text(&report.to_json(style, false)),
    },
    Format {
        name: "json+",
        help: "the same with the bins of latencies",
        write: |report, style| json_text(&report.to_json(style, true)),
    },
    Format {
        name: "jsonl",
        help: "the same as json on one line",
        write: |report, style| report.to_json(style, false).to_string() + "\n",
    },
    Format { name: "csv", help: "a row for each job, disk and direction", write: csv::write },
    Format { name: "normal", help: "for people", write: normal::write },
];

/// fio's classes of depths.
const DEPTHS: [&str; 7] = ["1", "2", "4", "8", "16", "32", ">=64"];
/// fio's classes of batches.
const BATCHES: [&str; 7] = ["0", "4", "8", "16", "32", "64", ">=64"];
/// Upper ends of fio's latency classes, in their unit.
const CLASSES: [u64; 10] = [2, 4, 10, 20, 50, 100, 250, 500, 750, 1000];

/// Times, of whatever kind.
trait Times {
    fn count(&self) -> u64;
    fn min_ns(&self) -> u64;
    fn max_ns(&self) -> u64;
    fn mean_ns(&self) -> f64;
    fn stddev_ns(&self) -> f64;
    /// The values of these percentiles, which ascend.
    fn percentiles(&self, percents: &[f64]) -> Vec<u64>;
    /// In fio's bins, where they are counted so.
    fn bins(&self) -> Option<Vec<(u64, u64)>>;
}

impl Times for Latencies {
    fn count(&self) -> u64 {
        self.count()
    }
    fn min_ns(&self) -> u64 {
        self.min_ns()
    }
    fn max_ns(&self) -> u64 {
        self.max_ns()
    }
    fn mean_ns(&self) -> f64 {
        self.mean_ns()
    }
    fn stddev_ns(&self) -> f64 {
        self.stddev_ns()
    }
    fn percentiles(&self, percents: &[f64]) -> Vec<u64> {
        self.histogram.percentiles(percents)
    }
    fn bins(&self) -> Option<Vec<(u64, u64)>> {
        Some(self.histogram.bins().collect())
    }
}

impl Times for ResponseTimes {
    fn count(&self) -> u64 {
        self.count()
    }
    fn min_ns(&self) -> u64 {
        self.min_ns()
    }
    fn max_ns(&self) -> u64 {
        self.max_ns()
    }
    fn mean_ns(&self) -> f64 {
        self.mean_ns()
    }
    fn stddev_ns(&self) -> f64 {
        self.stddev_ns()
    }
    fn percentiles(&self, percents: &[f64]) -> Vec<u64> {
        percents.iter().map(|percent| self.percentile(*percent)).collect()
    }
    fn bins(&self) -> Option<Vec<(u64, u64)>> {
        None
    }
}

/// One of fio's directions of a job, or all of them as one.
struct Way<'a> {
    word: &'static str,
    tally: std::borrow::Cow<'a, Tally>,
    rates: Option<Rates>,
    bytes_per_second: f64,
    iops: f64,
}

impl Way<'_> {
    /// From the start of a request until its driver had it, where that was timed. Engines that
    /// do one thing after the other have none, in fio's eyes.
    fn submission(&self, job: &JobResult) -> Option<&dyn Times> {
        let apart = !matches!(job.job.engine, Engine::Sync(_));
        let parts = self.tally.parts.as_deref().filter(|_| apart);
        parts.map(|parts| &parts.submission as &dyn Times)
    }
}

/// fio's directions, in its order.
const WAYS: [&str; 3] = ["read", "write", "trim"];

impl JobResult {
    /// The direction that fio calls by this word; nothing was done in one that is not built.
    fn way(&self, word: &'static str) -> Way<'_> {
        match Direction::ALL.into_iter().find(|direction| direction.word() == word) {
            Some(direction) => Way {
                word,
                tally: std::borrow::Cow::Borrowed(&self.tallies[direction.index()]),
                rates: Some(self.rates[direction.index()]),
                bytes_per_second: self.bytes_per_second(direction),
                iops: self.iops(direction),
            },
            None => Way {
                word,
                tally: std::borrow::Cow::Owned(Tally::default()),
                rates: None,
                bytes_per_second: 0.0,
                iops: 0.0,
            },
        }
    }

    /// All directions as one.
    fn mixed(&self) -> Way<'_> {
        let mut tally = Tally::default();
        let mut rates: Option<Rates> = None;
        for direction in Direction::ALL {
            tally.merge(&self.tallies[direction.index()]);
            let more = &self.rates[direction.index()];
            match &mut rates {
                Some(sum) => sum.beside(more),
                None => rates = Some(*more),
            }
        }
        Way {
            word: "mixed",
            tally: std::borrow::Cow::Owned(tally),
            rates,
            bytes_per_second: Direction::ALL.iter().map(|d| self.bytes_per_second(*d)).sum(),
            iops: Direction::ALL.iter().map(|d| self.iops(*d)).sum(),
        }
    }

    /// The ways in which a job is told.
    fn ways(&self) -> Vec<Way<'_>> {
        use isotherm_workload::Unified;
        let apart = WAYS.into_iter().map(|word| self.way(word));
        match self.job.results.unified {
            Unified::Separate => apart.collect(),
            Unified::Mixed => vec![self.mixed()],
            Unified::Both => apart.chain([self.mixed()]).collect(),
        }
    }
}

/// Counts as percentages of their sum.
fn percentages(counts: &[u64]) -> Vec<f64> {
    let sum = counts.iter().sum::<u64>().max(1) as f64;
    counts.iter().map(|&count| count as f64 * 100.0 / sum).collect()
}

/// Completion latencies of all directions in fio's classes, in percent: below 1 µs, below 1 ms,
/// and from there on. A bucket counts where its middle lies.
fn latency_classes(job: &JobResult) -> [Vec<f64>; 3] {
    let mut classes = [vec![0.0; 10], vec![0.0; 10], vec![0.0; 12]];
    if !job.job.results.clat.told {
        return classes;
    }
    let total = job.tallies.iter().map(Tally::ios).sum::<u64>().max(1) as f64;
    for (ns, count) in job.tallies.iter().flat_map(|tally| tally.completion().histogram.bins()) {
        let (unit, value) = match ns {
            0..1_000 => (0, ns),
            1_000..1_000_000 => (1, ns / 1_000),
            _ => (2, ns / 1_000_000),
        };
        let class = CLASSES.iter().position(|&end| value < end);
        let class = class.unwrap_or(if value < 2_000 { 10 } else { 11 });
        classes[unit][class] += count as f64 * 100.0 / total;
    }
    classes
}

/// What a direction has of its group's bandwidth, in percent, as fio reckons it.
fn share_of_group(report: &Report, job: &JobResult, way: &Way<'_>) -> f64 {
    let group = report.jobs.iter().filter(|other| other.group == job.group);
    let of = |other: &JobResult| match way.word {
        "mixed" => other.mixed().bytes_per_second,
        word => other.way(word).bytes_per_second,
    };
    let whole: f64 = group.map(of).sum();
    let mean = way.rates.map_or(0.0, |rates| rates.bytes.mean());
    if whole > 0.0 { (mean * 100.0 / whole).min(100.0) } else { 0.0 }
}

impl Report {
    /// How much of one core and second the directions of a job used, in percent: in this program
    /// and in the kernel. In virtual time a share of the run's time says nothing.
    fn cpu_percent(&self, job: &JobResult) -> [f64; 2] {
        let sum_ns = job.elapsed_sum.0.max(1) as f64;
        match self.time {
            crate::TimeSource::Host => {
                [job.cpu.user, job.cpu.system].map(|time| time.0 as f64 * 100.0 / sum_ns)
            }
            crate::TimeSource::Virtual => [0.0; 2],
        }
    }
}
