//! A report as fio's JSON: its keys, its nesting, its types.
//!
//! What must always hold: whatever has fio's name means what fio means by it, and what fio has
//! not stands under `isotherm`, `rt_ns` and `messages`. A number is a number and an option is a
//! string. What is not measured is zero with `N` zero, as fio has it for engines without it:
//! submission is not timed apart from completion, so `slat_ns` is empty and `clat_ns` is
//! `lat_ns`.

use isotherm_seam::Nanos;
use isotherm_workload::Direction;
use serde_json::{Map, Value, json};

use crate::calendar::date;
use crate::report::{DiskResult, JobResult, Report};
use crate::usage::DiskUse;
use crate::{LATE_NS, Latencies, Tally, TimeSource};

/// fio's seventeen.
pub(crate) const PERCENTILES: [f64; 17] = [
    1.0, 5.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 95.0, 99.0, 99.5, 99.9, 99.95,
    99.99,
];

const DEPTHS: [&str; 7] = ["1", "2", "4", "8", "16", "32", ">=64"];
const BATCHES: [&str; 7] = ["0", "4", "8", "16", "32", "64", ">=64"];

/// Upper ends of fio's latency classes, in their unit.
pub(crate) const CLASSES: [u64; 10] = [2, 4, 10, 20, 50, 100, 250, 500, 750, 1000];

impl Report {
    /// The whole document.
    pub fn to_json(&self) -> Value {
        let seconds = self.started.0.div_euclid(1_000_000_000);
        let mut root = Map::new();
        root.insert("fio version".into(), format!("isotherm-{}", env!("CARGO_PKG_VERSION")).into());
        root.insert("timestamp".into(), seconds.into());
        root.insert("timestamp_ms".into(), self.started.0.div_euclid(1_000_000).into());
        root.insert("time".into(), date(seconds).into());
        if !self.global.is_empty() {
            root.insert("global options".into(), options(&self.global));
        }
        let jobs: Vec<Value> = self.jobs.iter().map(|job| self.job_to_json(job)).collect();
        root.insert("jobs".into(), jobs.into());
        let disks: Vec<Value> =
            self.disk_uses.iter().map(|disk| disk_util(disk, self.took)).collect();
        root.insert("disk_util".into(), disks.into());
        root.insert("messages".into(), self.messages.clone().into());
        root.insert("isotherm".into(), self.own());
        Value::Object(root)
    }

    fn own(&self) -> Value {
        let ios: u64 = self.jobs.iter().map(JobResult::ios).sum();
        let cpu_ns = (self.cpu.user + self.cpu.system).0;
        json!({
            "time": match self.time {
                TimeSource::Host => "host",
                TimeSource::Virtual => "virtual",
            },
            "interrupted": self.interrupted,
            "took_ms": self.took.0 / 1_000_000,
            "threads": self.threads,
            "cpu_ns_per_io": six(cpu_ns as f64 / ios.max(1) as f64),
            "notes": self.notes,
        })
    }

    fn job_to_json(&self, job: &JobResult) -> Value {
        let given = &job.job.given;
        let mut out = Map::new();
        out.insert("jobname".into(), job.job.name.clone().into());
        out.insert("groupid".into(), job.group.into());
        out.insert("error".into(), job.failures.first().map_or(0, |f| f.errno()).into());
        out.insert("eta".into(), 0.into());
        out.insert("elapsed".into(), self.took.0.div_ceil(1_000_000_000).into());
        if let Some(text) = &job.job.description {
            out.insert("desc".into(), text.clone().into());
        }
        out.insert("job options".into(), options(given));
        for direction in Direction::ALL {
            out.insert(direction.word().into(), self.direction(job, direction));
        }
        out.insert("trim".into(), no_direction());
        out.insert("sync".into(), json!({ "total_ios": 0, "lat_ns": none() }));
        let sum_ns = job.elapsed_sum.0.max(1) as f64;
        // In virtual time a share of the run's time says nothing about a processor.
        let percent = |time: Nanos| match self.time {
            TimeSource::Host => six(time.0 as f64 * 100.0 / sum_ns),
            TimeSource::Virtual => six(0.0),
        };
        out.insert("job_runtime".into(), (job.elapsed_sum.0 / 1_000_000).into());
        out.insert("usr_cpu".into(), percent(job.cpu.user));
        out.insert("sys_cpu".into(), percent(job.cpu.system));
        out.insert("ctx".into(), job.cpu.switches.into());
        out.insert("majf".into(), job.cpu.major_faults.into());
        out.insert("minf".into(), job.cpu.minor_faults.into());
        out.insert("iodepth_level".into(), shares(&DEPTHS, &job.depths.level));
        out.insert("iodepth_submit".into(), shares(&BATCHES, &job.depths.submit));
        out.insert("iodepth_complete".into(), shares(&BATCHES, &job.depths.complete));
        let [ns, us, ms] = latency_classes(&job.tallies);
        let keys = CLASSES.map(|n| n.to_string());
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let long: Vec<&str> = keys.iter().copied().chain(["2000", ">=2000"]).collect();
        out.insert("latency_ns".into(), floats(&keys, &ns));
        out.insert("latency_us".into(), floats(&keys, &us));
        out.insert("latency_ms".into(), floats(&long, &ms));
        out.insert("latency_depth".into(), job.depth.into());
        out.insert("latency_target".into(), 0.into());
        out.insert("latency_percentile".into(), six(100.0));
        out.insert("latency_window".into(), 0.into());
        out.insert("isotherm".into(), own_of_job(job));
        Value::Object(out)
    }

    fn direction(&self, job: &JobResult, direction: Direction) -> Value {
        let tally = &job.tallies[direction.index()];
        let series = &job.series[direction.index()];
        let bytes_per_second = job.bytes_per_second(direction);
        let kib = |iops: f64| iops * job.job.block_bytes as f64 / 1024.0;
        let mut out = Map::new();
        out.insert("io_bytes".into(), tally.bytes.into());
        out.insert("io_kbytes".into(), (tally.bytes >> 10).into());
        out.insert("bw_bytes".into(), (bytes_per_second as u64).into());
        out.insert("bw".into(), ((bytes_per_second / 1024.0) as u64).into());
        out.insert("iops".into(), six(job.iops(direction)));
        let ran = if tally.ios() > 0 { job.elapsed.0 / 1_000_000 } else { 0 };
        out.insert("runtime".into(), ran.into());
        out.insert("total_ios".into(), tally.ios().into());
        out.insert("short_ios".into(), 0.into());
        out.insert("drop_ios".into(), 0.into());
        out.insert("slat_ns".into(), none());
        out.insert("clat_ns".into(), latencies(&tally.latencies, true));
        out.insert("lat_ns".into(), latencies(&tally.latencies, false));
        if let Some(open) = &tally.open_loop {
            out.insert("rt_ns".into(), latencies(&open.response, true));
            out.insert("sched_lag_ns".into(), latencies(&open.lag, true));
            out.insert("late_ios".into(), open.late_ios.into());
            out.insert("late_means_ns".into(), LATE_NS.into());
            out.insert("unsent_ios".into(), open.unsent_ios.into());
        }
        let group: f64 = self
            .jobs
            .iter()
            .filter(|other| other.group == job.group)
            .map(|other| other.bytes_per_second(direction) / 1024.0)
            .sum();
        let share = if group > 0.0 { (kib(series.mean()) * 100.0 / group).min(100.0) } else { 0.0 };
        out.insert("bw_min".into(), (kib(series.min()) as u64).into());
        out.insert("bw_max".into(), (kib(series.max()) as u64).into());
        out.insert("bw_agg".into(), six(share));
        out.insert("bw_mean".into(), six(kib(series.mean())));
        out.insert("bw_dev".into(), six(kib(series.stddev())));
        out.insert("bw_samples".into(), series.samples().into());
        out.insert("iops_min".into(), (series.min() as u64).into());
        out.insert("iops_max".into(), (series.max() as u64).into());
        out.insert("iops_mean".into(), six(series.mean()));
        out.insert("iops_stddev".into(), six(series.stddev()));
        out.insert("iops_samples".into(), series.samples().into());
        Value::Object(out)
    }
}

fn own_of_job(job: &JobResult) -> Value {
    let failures: Vec<Value> = job
        .failures
        .iter()
        .map(|failure| {
            json!({
                "disk": failure.disk,
                "direction": failure.direction.word(),
                "sector": failure.sector,
                "error": failure.errno(),
                "text": failure.to_string(),
            })
        })
        .collect();
    let disks: Vec<Value> = job.disks.iter().map(disk).collect();
    json!({
        "lanes": job.lanes,
        "depth": job.depth,
        "ioengine": job.job.engine.word(),
        "drivers": job.drivers(),
        "notes": job.notes(),
        "failures": failures,
        "effective options": {
            "rw": job.job.pattern.word(),
            "bs": job.job.block_bytes.to_string(),
            "iodepth": job.job.depth.to_string(),
            "numjobs": job.job.copies.to_string(),
            "direct": if job.job.direct { "1" } else { "0" },
        },
        "per_disk": disks,
    })
}

fn disk(disk: &DiskResult) -> Value {
    let mut out = Map::new();
    out.insert("name".into(), disk.info.name.clone().into());
    out.insert("spec".into(), disk.spec.clone().into());
    out.insert("driver".into(), disk.info.driver.clone().into());
    let path = disk.info.path.as_ref().map(|path| path.display().to_string());
    out.insert("path".into(), path.into());
    out.insert("direct".into(), disk.info.direct.into());
    out.insert("runtime".into(), (disk.elapsed.0 / 1_000_000).into());
    for direction in Direction::ALL {
        let tally = &disk.tallies[direction.index()];
        if tally.ios() + tally.errors == 0 {
            continue;
        }
        let mut one = Map::new();
        one.insert("iops".into(), six(disk.iops(direction)));
        one.insert("io_bytes".into(), tally.bytes.into());
        one.insert("total_ios".into(), tally.ios().into());
        one.insert("errors".into(), tally.errors.into());
        one.insert("lat_ns".into(), latencies(&tally.latencies, true));
        if let Some(open) = &tally.open_loop {
            one.insert("rt_ns".into(), latencies(&open.response, true));
        }
        out.insert(direction.word().into(), Value::Object(one));
    }
    Value::Object(out)
}

fn disk_util(disk: &DiskUse, took: Nanos) -> Value {
    let took_ms = (took.0 / 1_000_000).max(1);
    json!({
        "name": disk.name,
        "read_ios": disk.read[0],
        "write_ios": disk.write[0],
        "read_sectors": disk.read[2],
        "write_sectors": disk.write[2],
        "read_merges": disk.read[1],
        "write_merges": disk.write[1],
        "read_ticks": disk.read[3],
        "write_ticks": disk.write[3],
        "in_queue": disk.queue_ms,
        "util": six((disk.busy_ms as f64 * 100.0 / took_ms as f64).min(100.0)),
    })
}

fn latencies(latencies: &Latencies, percentiles: bool) -> Value {
    let mut out = Map::new();
    let count = latencies.count();
    out.insert("min".into(), latencies.min_ns().into());
    out.insert("max".into(), latencies.max_ns().into());
    out.insert("mean".into(), six(latencies.mean_ns()));
    out.insert("stddev".into(), six(latencies.stddev_ns()));
    out.insert("N".into(), count.into());
    if percentiles && count > 0 {
        let values = latencies.histogram.percentiles(&PERCENTILES);
        let named = PERCENTILES.iter().zip(values).map(|(p, v)| (format!("{p:.6}"), v.into()));
        out.insert("percentile".into(), Value::Object(named.collect()));
    }
    Value::Object(out)
}

fn none() -> Value {
    latencies(&Latencies::new(), false)
}

/// A direction in which nothing was done.
fn no_direction() -> Value {
    let mut out = Map::new();
    let whole = ["io_bytes", "io_kbytes", "bw_bytes", "bw"];
    let after = ["runtime", "total_ios", "short_ios", "drop_ios"];
    whole.iter().for_each(|key| drop(out.insert((*key).into(), 0.into())));
    out.insert("iops".into(), six(0.0));
    after.iter().for_each(|key| drop(out.insert((*key).into(), 0.into())));
    ["slat_ns", "clat_ns", "lat_ns"].iter().for_each(|key| drop(out.insert((*key).into(), none())));
    for what in ["bw", "iops"] {
        let mut put = |end: &str, value: Value| drop(out.insert(format!("{what}_{end}"), value));
        put("min", 0.into());
        put("max", 0.into());
        if what == "bw" {
            put("agg", six(0.0));
        }
        put("mean", six(0.0));
        put(if what == "bw" { "dev" } else { "stddev" }, six(0.0));
        put("samples", 0.into());
    }
    Value::Object(out)
}

fn options(given: &[(String, String)]) -> Value {
    Value::Object(given.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect())
}

/// Counts as percentages of their sum.
pub(crate) fn percentages(counts: &[u64]) -> Vec<f64> {
    let sum = counts.iter().sum::<u64>().max(1) as f64;
    counts.iter().map(|&count| count as f64 * 100.0 / sum).collect()
}

fn shares(keys: &[&str], counts: &[u64]) -> Value {
    floats(keys, &percentages(counts))
}

fn floats(keys: &[&str], values: &[f64]) -> Value {
    Value::Object(keys.iter().zip(values).map(|(key, v)| ((*key).to_owned(), six(*v))).collect())
}

/// Latencies of both directions in fio's classes, in percent: below 1 µs, below 1 ms, and from
/// there on. A bucket counts where its middle lies.
pub(crate) fn latency_classes(tallies: &[Tally; 2]) -> [Vec<f64>; 3] {
    let total = tallies.iter().map(Tally::ios).sum::<u64>().max(1) as f64;
    let mut classes = [vec![0.0; 10], vec![0.0; 10], vec![0.0; 12]];
    for (ns, count) in tallies.iter().flat_map(|tally| tally.latencies.histogram.bins()) {
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

/// As fio prints floats: six decimals.
fn six(value: f64) -> Value {
    json!((value * 1e6).round() / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_fall_into_fios_classes() {
        let mut tally = Tally::default();
        for ns in [1, 3, 999, 1_500, 900_000, 1_500_000_000, 5_000_000_000, 5_000_000_000] {
            tally.latencies.record(Nanos(ns));
        }
        let [ns, us, ms] = latency_classes(&[tally, Tally::default()]);
        assert_eq!((ns[0], ns[1], ns[9]), (12.5, 12.5, 12.5));
        assert_eq!((us[0], us[9]), (12.5, 12.5));
        assert_eq!((ms[10], ms[11]), (12.5, 25.0));
    }

    #[test]
    fn a_direction_in_which_nothing_was_done_has_all_keys() {
        let Value::Object(none) = no_direction() else { panic!() };
        assert_eq!(none.len(), 23);
        assert!(none["iops"].is_f64() && none["bw"].is_u64() && none["bw_agg"].is_f64());
    }
}
