//! A report as fio's JSON: its keys, its nesting, its types.
//!
//! What must always hold: whatever has fio's name means what fio means by it, and what fio has
//! not stands under `per_disk`, `messages`, `isotherm`, and in a direction under `rt_ns`,
//! `sched_lag_ns` and the counts beside them. A number is a number and an option is a string.
//! What was not measured, or was turned off, is zero with `N` zero.
//!
//! ```text
//! isotherm.timelines[]   job, start_ms, every_ms, and for each direction
//!     ios, bytes         one number for each stretch of time
//!     cells              for each stretch: cell, count, cell, count, ...
//! isotherm.cells         first_ns, per_octave: where the cells begin
//! ```

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use isotherm_seam::Wall;
use isotherm_workload::{Direction, Family, Steady};
use serde_json::{Map, Value, json};

use super::{
    BATCHES, CLASSES, DEPTHS, Style, Times, Way, latency_classes, percentages, share_of_group,
};
use crate::calendar::date;
use crate::report::{DiskResult, JobResult, Report};
use crate::timeline::{self, Timeline};
use crate::usage::DiskUse;
use crate::{LATE_NS, TimeSource, per_second};

/// What makes disks of copies of a job the same: group, job, and path or spec and place.
type DiskKey<'a> = (u32, &'a str, Result<&'a Path, (&'a str, usize)>);

/// Jobs with a timeline of their own; of more there is one timeline of all.
const TIMELINES_MAX: usize = 16;

/// The document of a run that could not begin: what is wrong stands in `messages`.
pub fn failed_document(style: &Style, now: Wall, error: &str) -> Value {
    let mut root = head(style, now);
    for key in ["jobs", "per_disk", "disk_util"] {
        root.insert(key.into(), json!([]));
    }
    root.insert("messages".into(), json!([error]));
    root.insert(
        "isotherm".into(),
        json!({ "version": env!("CARGO_PKG_VERSION"), "refused": error, "timelines": [] }),
    );
    Value::Object(root)
}

fn head(style: &Style, at: Wall) -> Map<String, Value> {
    let seconds = at.0.div_euclid(1_000_000_000);
    let mut root = Map::new();
    root.insert("fio version".into(), style.version.clone().into());
    root.insert("timestamp".into(), seconds.into());
    root.insert("timestamp_ms".into(), at.0.div_euclid(1_000_000).into());
    root.insert("time".into(), date(seconds).into());
    root
}

impl Report {
    /// The whole document, with the bins of latencies if wanted.
    pub fn to_json(&self, style: &Style, bins: bool) -> Value {
        let mut root = head(style, self.started);
        if !self.global.is_empty() {
            root.insert("global options".into(), options(&self.global));
        }
        let jobs: Vec<Value> = self.jobs.iter().map(|job| self.job_to_json(job, bins)).collect();
        root.insert("jobs".into(), jobs.into());
        let rows = self.disk_rows();
        let disks: Vec<Value> = rows.iter().map(|(job, one)| disk(job, one, bins)).collect();
        root.insert("per_disk".into(), disks.into());
        let disks: Vec<Value> = self.disk_uses.iter().map(|disk| self.disk_util(disk)).collect();
        root.insert("disk_util".into(), disks.into());
        root.insert("messages".into(), self.messages.clone().into());
        root.insert("isotherm".into(), self.own());
        Value::Object(root)
    }

    /// The disks of each job. Copies of a job that are told apart in `jobs` share their disks, so
    /// what they did to one is one row. A made-up disk is known by its place among those of its
    /// copy.
    fn disk_rows(&self) -> Vec<(&JobResult, Cow<'_, DiskResult>)> {
        let mut rows: Vec<(&JobResult, Cow<'_, DiskResult>)> = Vec::new();
        let mut known: BTreeMap<DiskKey<'_>, usize> = BTreeMap::new();
        for job in &self.jobs {
            for (place, disk) in job.disks.iter().enumerate() {
                let which = disk.info.path.as_deref().ok_or((disk.spec.as_str(), place));
                let key = (job.group, job.job.name.as_str(), which);
                let at = *known.entry(key).or_insert(rows.len());
                match rows.get_mut(at) {
                    Some((_, row)) => row.to_mut().join(disk),
                    None => rows.push((job, Cow::Borrowed(disk))),
                }
            }
        }
        rows
    }

    fn own(&self) -> Value {
        let ios: u64 = self.jobs.iter().map(JobResult::ios).sum();
        let cpu_ns = (self.cpu.user + self.cpu.system).0;
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "time": match self.time {
                TimeSource::Host => "host",
                TimeSource::Virtual => "virtual",
            },
            "interrupted": self.interrupted,
            "took_ms": self.took.0 / 1_000_000,
            "threads": self.threads,
            "cpu_ns_per_io": six(cpu_ns as f64 / ios.max(1) as f64),
            "notes": self.notes,
            "cells": { "first_ns": timeline::cell_ns(1) as u64, "per_octave": timeline::PER_OCTAVE },
            "timelines": self.timelines_to_json(),
        })
    }

    fn timelines_to_json(&self) -> Value {
        let timelines: Vec<_> = self.timelines().collect();
        if timelines.len() <= TIMELINES_MAX {
            let each =
                timelines.iter().map(|(name, began, line)| one_timeline(name, began.0, line));
            return each.collect();
        }
        let mut whole: Option<Timeline> = None;
        for (_, _, line) in &timelines {
            whole.get_or_insert_with(|| Timeline::new(Direction::ALL.len())).merge(line);
        }
        whole.iter().map(|line| one_timeline("all jobs", 0, line)).collect()
    }

    fn job_to_json(&self, job: &JobResult, bins: bool) -> Value {
        let mut out = Map::new();
        out.insert("jobname".into(), job.job.name.clone().into());
        out.insert("groupid".into(), job.group.into());
        out.insert("error".into(), job.failures.first().map_or(0, |f| f.errno()).into());
        out.insert("eta".into(), 0.into());
        out.insert("elapsed".into(), self.took.0.div_ceil(1_000_000_000).into());
        out.insert("job options".into(), options(&job.job.given));
        let ways = job.ways();
        for way in ways.iter().filter(|way| way.word != "mixed") {
            out.insert(way.word.into(), self.direction(job, way, bins));
        }
        if ways.len() > 1 {
            let syncs = job.syncs.as_deref();
            let family = Family { told: true, percentiles: job.job.results.clat.percentiles };
            out.insert(
                "sync".into(),
                json!({
                    "total_ios": syncs.map_or(0, Times::count),
                    "lat_ns": times(syncs.map(|s| s as &dyn Times), family, job, bins),
                }),
            );
        }
        for way in ways.iter().filter(|way| way.word == "mixed") {
            out.insert(way.word.into(), self.direction(job, way, bins));
        }
        let [user, system] = self.cpu_percent(job);
        out.insert("job_runtime".into(), (job.elapsed_sum.0 / 1_000_000).into());
        out.insert("usr_cpu".into(), six(user));
        out.insert("sys_cpu".into(), six(system));
        out.insert("ctx".into(), job.cpu.switches.into());
        out.insert("majf".into(), job.cpu.major_faults.into());
        out.insert("minf".into(), job.cpu.minor_faults.into());
        out.insert("iodepth_level".into(), shares(&DEPTHS, &job.depths.level));
        out.insert("iodepth_submit".into(), shares(&BATCHES, &job.depths.submit));
        out.insert("iodepth_complete".into(), shares(&BATCHES, &job.depths.complete));
        let [ns, us, ms] = latency_classes(job);
        let keys = CLASSES.map(|n| n.to_string());
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let long: Vec<&str> = keys.iter().copied().chain(["2000", ">=2000"]).collect();
        out.insert("latency_ns".into(), floats(&keys, &ns));
        out.insert("latency_us".into(), floats(&keys, &us));
        out.insert("latency_ms".into(), floats(&long, &ms));
        let target = &job.job.target;
        out.insert("latency_depth".into(), job.found_depth.unwrap_or(job.depth).into());
        out.insert("latency_target".into(), target.latency.0.into());
        out.insert("latency_percentile".into(), six(target.percent));
        out.insert("latency_window".into(), (target.window.0 / 1000).into());
        if job.job.past_errors != [false; 2] {
            let errors: u64 = job.tallies.iter().map(|tally| tally.errors).sum();
            out.insert("total_err".into(), errors.into());
            // None but those of the medium are gone past.
            out.insert("first_error".into(), if errors > 0 { 5.into() } else { 0.into() });
        }
        if let Some(steady) = &job.steady {
            out.insert("steadystate".into(), steady_state(steady));
        }
        if let Some(text) = &job.job.description {
            out.insert("desc".into(), text.clone().into());
        }
        out.insert("isotherm".into(), own_of_job(job));
        Value::Object(out)
    }

    fn direction(&self, job: &JobResult, way: &Way<'_>, bins: bool) -> Value {
        let results = &job.job.results;
        let tally = &way.tally;
        let mut out = Map::new();
        out.insert("io_bytes".into(), tally.bytes.into());
        out.insert("io_kbytes".into(), (tally.bytes >> 10).into());
        out.insert("bw_bytes".into(), (way.bytes_per_second as u64).into());
        out.insert("bw".into(), ((way.bytes_per_second / 1024.0) as u64).into());
        out.insert("iops".into(), six(way.iops));
        let ran = if tally.ios() > 0 { job.elapsed.0 / 1_000_000 } else { 0 };
        out.insert("runtime".into(), ran.into());
        out.insert("total_ios".into(), tally.ios().into());
        out.insert("short_ios".into(), 0.into());
        out.insert("drop_ios".into(), 0.into());
        out.insert("slat_ns".into(), times(way.submission(job), results.slat, job, bins));
        out.insert("clat_ns".into(), times(Some(tally.completion()), results.clat, job, bins));
        out.insert("lat_ns".into(), times(Some(&tally.latencies), results.lat, job, bins));
        if let Some(open) = &tally.open_loop {
            let told = Family { told: true, percentiles: true };
            out.insert("rt_ns".into(), times(Some(&open.response), told, job, bins));
            out.insert("sched_lag_ns".into(), times(Some(&open.lag), told, job, bins));
            out.insert("late_ios".into(), open.late_ios.into());
            out.insert("late_means_ns".into(), LATE_NS.into());
            out.insert("unsent_ios".into(), open.unsent_ios.into());
        }
        let bytes = way.rates.map(|rates| rates.bytes).filter(|_| results.bandwidth);
        let kib = |rate: Option<f64>| rate.unwrap_or(0.0) / 1024.0;
        out.insert("bw_min".into(), (kib(bytes.map(|b| b.min())) as u64).into());
        out.insert("bw_max".into(), (kib(bytes.map(|b| b.max())) as u64).into());
        let share = bytes.map_or(0.0, |_| share_of_group(self, job, way));
        out.insert("bw_agg".into(), six(share));
        out.insert("bw_mean".into(), six(kib(bytes.map(|b| b.mean()))));
        out.insert("bw_dev".into(), six(kib(bytes.map(|b| b.stddev()))));
        out.insert("bw_samples".into(), bytes.map_or(0, |b| b.samples()).into());
        let iops = way.rates.map(|rates| rates.iops).filter(|_| results.iops);
        out.insert("iops_min".into(), (iops.map_or(0.0, |i| i.min()) as u64).into());
        out.insert("iops_max".into(), (iops.map_or(0.0, |i| i.max()) as u64).into());
        out.insert("iops_mean".into(), six(iops.map_or(0.0, |i| i.mean())));
        out.insert("iops_stddev".into(), six(iops.map_or(0.0, |i| i.stddev())));
        out.insert("iops_samples".into(), iops.map_or(0, |i| i.samples()).into());
        Value::Object(out)
    }

    fn disk_util(&self, disk: &DiskUse) -> Value {
        json!({
            "name": disk.name,
            "read_ios": disk.read[0],
            "write_ios": disk.write[0],
            "read_merges": disk.read[1],
            "write_merges": disk.write[1],
            "read_ticks": disk.read[3],
            "write_ticks": disk.write[3],
            "in_queue": disk.queue_ms,
            "util": six(self.utilisation(disk)),
        })
    }
}

fn one_timeline(name: &str, began_ns: u64, line: &Timeline) -> Value {
    let mut out = Map::new();
    out.insert("job".into(), name.into());
    out.insert("start_ms".into(), (began_ns / 1_000_000).into());
    out.insert("every_ms".into(), (line.every().0 / 1_000_000).into());
    for direction in Direction::ALL {
        let columns = line.columns(direction.index());
        if columns.is_empty() {
            continue;
        }
        let ios: Vec<u64> = columns.iter().map(|column| column.ios).collect();
        let bytes: Vec<u64> = columns.iter().map(|column| column.bytes).collect();
        let cells: Vec<Vec<u64>> = columns
            .iter()
            .map(|column| column.cells().flat_map(|(i, n)| [i as u64, u64::from(n)]).collect())
            .collect();
        out.insert(direction.word().into(), json!({ "ios": ios, "bytes": bytes, "cells": cells }));
    }
    Value::Object(out)
}

/// How steady a job became, as fio tells it: bandwidth in bytes a second.
fn steady_state(steady: &Steady) -> Value {
    let plan = steady.plan();
    let percent = if plan.percent { "%" } else { "" };
    let whole = |values: &[f64]| values.iter().map(|value| *value as u64).collect::<Vec<u64>>();
    json!({
        "ss": format!("{}:{:.6}{percent}", plan.word(), plan.limit),
        "duration": plan.seconds(),
        "attained": u32::from(steady.attained()),
        "criterion": format!("{:.6}{percent}", steady.criterion()),
        "max_deviation": six(steady.deviation()),
        "slope": six(steady.slope()),
        "data": {
            "bw_mean": steady.bandwidth_mean() as u64,
            "iops_mean": steady.iops_mean() as u64,
            "iops": whole(steady.iops()),
            "bw": whole(steady.bandwidth()),
        },
    })
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
    })
}

fn disk(job: &JobResult, disk: &DiskResult, bins: bool) -> Value {
    let mut out = Map::new();
    out.insert("jobname".into(), job.job.name.clone().into());
    out.insert("groupid".into(), job.group.into());
    out.insert("name".into(), disk.info.name.clone().into());
    out.insert("spec".into(), disk.spec.clone().into());
    out.insert("driver".into(), disk.info.driver.clone().into());
    let path = disk.info.path.as_ref().map(|path| path.display().to_string());
    out.insert("path".into(), path.into());
    out.insert("direct".into(), disk.info.direct.into());
    out.insert("runtime".into(), (disk.elapsed.0 / 1_000_000).into());
    let told = Family { told: true, percentiles: true };
    for direction in Direction::ALL {
        let tally = &disk.tallies[direction.index()];
        if tally.ios() + tally.errors == 0 {
            continue;
        }
        let mut one = Map::new();
        one.insert("iops".into(), six(disk.iops(direction)));
        one.insert("bw_bytes".into(), (per_second(tally.bytes, disk.elapsed) as u64).into());
        one.insert("io_bytes".into(), tally.bytes.into());
        one.insert("total_ios".into(), tally.ios().into());
        one.insert("errors".into(), tally.errors.into());
        one.insert("lat_ns".into(), times(Some(&tally.latencies), told, job, bins));
        if let Some(open) = &tally.open_loop {
            one.insert("rt_ns".into(), times(Some(&open.response), told, job, bins));
        }
        out.insert(direction.word().into(), Value::Object(one));
    }
    Value::Object(out)
}

/// A family of times, as far as it is told.
fn times(times: Option<&dyn Times>, family: Family, job: &JobResult, bins: bool) -> Value {
    let mut out = Map::new();
    let times = times.filter(|_| family.told);
    out.insert("min".into(), times.map_or(0, Times::min_ns).into());
    out.insert("max".into(), times.map_or(0, Times::max_ns).into());
    out.insert("mean".into(), six(times.map_or(0.0, Times::mean_ns)));
    out.insert("stddev".into(), six(times.map_or(0.0, Times::stddev_ns)));
    out.insert("N".into(), times.map_or(0, Times::count).into());
    let Some(times) = times.filter(|times| family.percentiles && times.count() > 0) else {
        return Value::Object(out);
    };
    let percents = &job.job.results.percentiles;
    let values = times.percentiles(percents);
    let named = percents.iter().zip(values).map(|(p, v)| (format!("{p:.6}"), v.into()));
    out.insert("percentile".into(), Value::Object(named.collect()));
    if let Some(held) = times.bins().filter(|_| bins) {
        let held = held.into_iter().map(|(ns, count)| (ns.to_string(), count.into()));
        out.insert("bins".into(), Value::Object(held.collect()));
    }
    Value::Object(out)
}

fn options(given: &[(String, String)]) -> Value {
    Value::Object(given.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect())
}

fn shares(keys: &[&str], counts: &[u64]) -> Value {
    floats(keys, &percentages(counts))
}

fn floats(keys: &[&str], values: &[f64]) -> Value {
    Value::Object(keys.iter().zip(values).map(|(key, v)| ((*key).to_owned(), six(*v))).collect())
}

/// As fio prints floats: six decimals.
fn six(value: f64) -> Value {
    json!((value * 1e6).round() / 1e6)
}
