//! fio's terse output: a line of fields for each job, read by position.
//!
//! What must always hold: each field stands where fio has it. Version 3 has 130 fields for one
//! disk, 5 has 189; 2 has no name of the program and no disks; 3 has no trims.

use std::fmt::Write as _;

use isotherm_workload::Unified;

use super::{Style, Times, Way, latency_classes, percentages, share_of_group};
use crate::report::{JobResult, Report};

/// Fields for percentiles, however many are told.
const PERCENTILES: usize = 20;

pub(super) fn write(report: &Report, style: &Style) -> String {
    report.jobs.iter().map(|job| line(report, job, style)).collect()
}

fn line(report: &Report, job: &JobResult, style: &Style) -> String {
    let version = style.terse_version;
    let error = job.failures.first().map_or(0, |failure| failure.errno());
    let mut out = match version {
        2 => format!("2;{};{};{error}", job.job.name, job.group),
        _ => format!("{version};{};{};{};{error}", style.version, job.job.name, job.group),
    };
    let words: &[&str] = if version == 3 { &["read", "write"] } else { &super::WAYS };
    match job.job.results.unified {
        Unified::Mixed => direction(&mut out, report, job, &job.mixed(), version),
        unified => {
            for word in words {
                direction(&mut out, report, job, &job.way(word), version);
            }
            if unified == Unified::Both {
                direction(&mut out, report, job, &job.mixed(), version);
            }
        }
    }
    // Writing to a string can't fail.
    let [user, system] = report.cpu_percent(job);
    let cpu = &job.cpu;
    let _ = write!(out, ";{user:.6}%;{system:.6}%;{}", cpu.switches);
    let _ = write!(out, ";{};{}", cpu.major_faults, cpu.minor_faults);
    for share in percentages(&job.depths.level) {
        let _ = write!(out, ";{share:3.1}%");
    }
    // Below 2 µs is one class here.
    let [ns, mut us, ms] = latency_classes(job);
    us[0] += ns.iter().sum::<f64>();
    for share in us.iter().chain(&ms) {
        let _ = write!(out, ";{share:3.2}%");
    }
    if version >= 3 {
        for disk in &report.disk_uses {
            let _ = write!(
                out,
                ";{};{};{};{};{};{};{};{};{:3.2}%",
                disk.name,
                disk.read[0],
                disk.write[0],
                disk.read[1],
                disk.write[1],
                disk.read[3],
                disk.write[3],
                disk.queue_ms,
                report.utilisation(disk),
            );
        }
    }
    if let Some(text) = &job.job.description {
        let _ = write!(out, ";{text}");
    }
    out.push('\n');
    out
}

fn direction(out: &mut String, report: &Report, job: &JobResult, way: &Way<'_>, version: u32) {
    let results = &job.job.results;
    let tally = &way.tally;
    let ran_ms = if tally.ios() > 0 { job.elapsed.0 / 1_000_000 } else { 0 };
    let _ = write!(
        out,
        ";{};{};{};{ran_ms}",
        tally.bytes >> 10,
        (way.bytes_per_second / 1024.0) as u64,
        way.iops as u64,
    );
    times(out, way.submission(job).filter(|_| results.slat.told));
    times(out, results.clat.told.then_some(tally.completion() as &dyn Times));
    let counted = match (results.lat.percentiles, results.clat.percentiles) {
        (true, _) => Some(&tally.latencies).filter(|_| results.lat.told),
        (false, true) => Some(tally.completion()).filter(|_| results.clat.told),
        (false, false) => None,
    };
    let counted = counted.filter(|times| times.count() > 0);
    let values = counted.map(|times| times.histogram.percentiles(&results.percentiles));
    let values = values.unwrap_or_default();
    for slot in 0..PERCENTILES {
        let _ = match values.get(slot) {
            Some(ns) => write!(out, ";{:.6}%={}", results.percentiles[slot], ns / 1000),
            None => write!(out, ";0%=0"),
        };
    }
    times(out, results.lat.told.then_some(&tally.latencies as &dyn Times));
    let rates = way.rates.filter(|rates| rates.bytes.samples() > 0 && results.bandwidth);
    let _ = match &rates {
        Some(rates) => {
            let kib = |bytes: f64| bytes / 1024.0;
            let bytes = &rates.bytes;
            write!(
                out,
                ";{};{};{:.6}%;{:.6};{:.6}",
                kib(bytes.min()) as u64,
                kib(bytes.max()) as u64,
                share_of_group(report, job, way),
                kib(bytes.mean()),
                kib(bytes.stddev()),
            )
        }
        None => write!(out, ";0;0;{0:.6}%;{0:.6};{0:.6}", 0.0),
    };
    if version == 5 {
        let _ = write!(out, ";{}", rates.map_or(0, |rates| rates.bytes.samples()));
        let iops = way.rates.map(|rates| rates.iops).filter(|_| results.iops);
        let _ = match iops {
            Some(iops) => write!(
                out,
                ";{};{};{:.6};{:.6};{}",
                iops.min() as u64,
                iops.max() as u64,
                iops.mean(),
                iops.stddev(),
                iops.samples(),
            ),
            None => write!(out, ";0;0;{0:.6};{0:.6};0", 0.0),
        };
    }
}

/// Least, greatest, mean and deviation in microseconds.
fn times(out: &mut String, times: Option<&dyn Times>) {
    let _ = match times.filter(|times| times.count() > 0) {
        Some(times) => write!(
            out,
            ";{};{};{:.6};{:.6}",
            times.min_ns() / 1000,
            times.max_ns() / 1000,
            times.mean_ns() / 1e3,
            times.stddev_ns() / 1e3,
        ),
        None => write!(out, ";0;0;{0:.6};{0:.6}", 0.0),
    };
}
