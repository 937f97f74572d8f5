//! The results of a load as JSON: fio's keys where they mean what fio means by them.
//!
//! What must always hold: `lat_ns` counts from the moment at which an operation was sent, as in
//! fio, and `rt_ns` from the one at which it was to be sent; a number is a number and an option is
//! a string. A pass is a job, called by its policy. What fio has not stands under `isotherm`,
//! under `delete`, and in a direction under `rt_ns`, `sched_lag_ns` and the counts beside them.
//!
//! ```text
//! isotherm.timelines[]   job, start_ms, every_ms, and for each direction
//!     ios, bytes         one number for each stretch of time
//!     cells, rt_cells    for each stretch: cell, count, ...: times from the actual start, and
//!                        from the intended one
//! isotherm.disk_busy[]   job, every_ms, disks (names), share: for each disk a row over time
//! isotherm.demand        how bursty the schedule is, and what the law says of it
//! ```

use std::collections::BTreeMap;

use isotherm_seam::{Nanos, Wall};
use isotherm_workload::PERCENTILES;
use serde_json::{Map, Value, json};

use crate::busy::Busy;
use crate::demand::Demand;
use crate::plan::{ArrivalLaw, Part, Plan};
use crate::runner::Pass;
use crate::tally::{Kind, LATE, Tally, Times};
use crate::timeline;

/// What a document says beside the measurements.
#[derive(Clone, Debug)]
pub struct Header {
    /// When the run began.
    pub began: Wall,
    /// The same for people.
    pub time: String,
    /// Whether time was virtual.
    pub is_virtual: bool,
    /// What it ran against, in a few words.
    pub target: String,
    /// What is to be known about the run, one sentence each.
    pub messages: Vec<String>,
}

/// The document of some passes, each with how busy disks were, if that is known.
pub fn document(header: &Header, plan: &Plan, passes: &[(Pass, Option<Busy>)]) -> Value {
    let mut messages = header.messages.clone();
    messages.extend(passes.iter().flat_map(|(pass, _)| remarks(pass)));
    let began = passes.first().map_or(0, |(pass, _)| pass.start.0);
    let jobs = passes.iter().enumerate().map(|(group, (pass, _))| job(group, header, plan, pass));
    let timelines = passes.iter().map(|(pass, _)| one_timeline(pass, pass.start.0 - began));
    let busy = passes.iter().filter_map(|(pass, busy)| Some((pass, busy.as_ref()?)));
    json!({
        "fio version": concat!("isotherm-", env!("CARGO_PKG_VERSION")),
        "timestamp": header.began.0.div_euclid(1_000_000_000),
        "timestamp_ms": header.began.0.div_euclid(1_000_000),
        "time": header.time,
        "jobs": jobs.collect::<Vec<_>>(),
        "per_disk": [],
        "disk_util": [],
        "messages": messages,
        "isotherm": {
            "version": env!("CARGO_PKG_VERSION"),
            "time": if header.is_virtual { "virtual" } else { "host" },
            "target": header.target,
            "interrupted": passes.iter().any(|(pass, _)| pass.was_stopped),
            "cells": { "first_ns": timeline::FIRST_NS, "per_octave": timeline::PER_OCTAVE },
            "timelines": timelines.collect::<Vec<_>>(),
            "disk_busy": busy.map(|(pass, busy)| one_busy(pass, busy)).collect::<Vec<_>>(),
            "demand": demand(plan),
        },
    })
}

/// What a reader of the numbers has to know.
fn remarks(pass: &Pass) -> Vec<String> {
    let mut out = Vec::new();
    let name = &pass.policy;
    if pass.was_stopped {
        out.push(format!("{name}: stopped before its time"));
    }
    for kind in Kind::ALL {
        let (tally, word) = (pass.kind(kind), kind.word());
        if tally.unsent > 0 {
            out.push(format!(
                "{name}: {} {word}s were due and never sent, as those before them were still \
                 under way: the cluster does not keep up with the rate, and the times of the \
                 others say less than the truth",
                tally.unsent
            ));
        }
        if tally.failures() > 0 {
            let each = tally.failed.iter().map(|(trouble, count)| format!("{count} {trouble}"));
            let each: Vec<String> = each.collect();
            out.push(format!(
                "{name}: {} {word}s failed ({}): they have no time in the percentiles",
                tally.failures(),
                each.join(", ")
            ));
        }
        let p99 = |times: &Times| times.percentile_ns(99.0);
        if p99(&tally.response) > p99(&tally.latency).saturating_mul(2) {
            out.push(format!(
                "{name}: p99 of {word}s from the intended start is more than twice that from the \
                 actual one: operations waited to be sent"
            ));
        }
    }
    if pass.unfinished > 0 {
        out.push(format!(
            "{name}: {} operations had no answer when they were given up",
            pass.unfinished
        ));
    }
    if pass.idle_deletes > 0 {
        out.push(format!(
            "{name}: {} deletes had nothing to delete: too few versions had been replaced by then",
            pass.idle_deletes
        ));
    }
    if pass.wrong > 0 {
        out.push(format!("{name}: {} PROMISES WERE BROKEN; the first:", pass.wrong));
        out.extend(pass.told.iter().map(|told| format!("{name}: {told}")));
    }
    out
}

fn job(group: usize, header: &Header, plan: &Plan, pass: &Pass) -> Value {
    let mut out = Map::new();
    let failed: u64 = pass.kinds.iter().map(Tally::failures).sum();
    out.insert("jobname".into(), pass.policy.clone().into());
    out.insert("groupid".into(), group.into());
    // As fio: an error number. 5 is EIO, 110 that something did not answer in time.
    let error = if pass.wrong > 0 {
        5
    } else if failed + pass.unfinished > 0 {
        110
    } else {
        0
    };
    out.insert("error".into(), error.into());
    out.insert("elapsed".into(), (plan.warmup + pass.counted).0.div_ceil(1_000_000_000).into());
    out.insert("job options".into(), options(plan, pass));
    for kind in Kind::ALL {
        out.insert(kind.word().into(), direction(pass, kind));
    }
    out.insert("job_runtime".into(), (pass.counted.0 / 1_000_000).into());
    out.insert(
        "isotherm".into(),
        json!({
            "target": header.target,
            "broken_promises": pass.wrong,
            "unfinished": pass.unfinished,
            "idle_deletes": pass.idle_deletes,
            "interrupted": pass.was_stopped,
        }),
    );
    Value::Object(out)
}

fn options(plan: &Plan, pass: &Pass) -> Value {
    let mut out = Map::new();
    let mut add = |name: &str, value: String| {
        out.insert(name.to_owned(), value.into());
    };
    add("policy", pass.policy.clone());
    add("objects", plan.objects.to_string());
    add("size", plan.sizes.to_string());
    add("rate", plan.rate_per_s.to_string());
    match plan.arrivals {
        ArrivalLaw::Constant => add("arrivals", "constant".into()),
        ArrivalLaw::Poisson => add("arrivals", "poisson".into()),
        ArrivalLaw::Bursty { law, common } => {
            add("arrivals", "bursty".into());
            add("burst", format!("{}s", law.on_mean_s));
            add("duty", law.duty.to_string());
            add("common", common.to_string());
        }
        ArrivalLaw::Shifting { law } => {
            add("arrivals", "shifting".into());
            add("burst", format!("{}s", law.on_mean_s));
            add("duty", law.duty.to_string());
        }
    }
    add("tenants", plan.tenants.to_string());
    add("tenant_zipf", plan.tenant_zipf.to_string());
    add("zipf", plan.zipf.map_or_else(|| "0".to_owned(), |theta| theta.to_string()));
    add("hot", plan.hot.to_string());
    add("mix", format!("{}:{}:{}", plan.mix.read, plan.mix.write, plan.mix.delete));
    add(
        "part",
        match plan.part {
            Part::Whole => "whole".to_owned(),
            Part::Cell => "cell".to_owned(),
            Part::Bytes(bytes) => bytes.to_string(),
        },
    );
    add("warmup", format!("{}s", plan.warmup.as_secs_f64()));
    add("runtime", format!("{}s", plan.runtime.as_secs_f64()));
    add("seed", plan.seed.to_string());
    Value::Object(out)
}

fn direction(pass: &Pass, kind: Kind) -> Value {
    let tally = pass.kind(kind);
    let seconds = pass.counted.as_secs_f64();
    let per_second = |count: u64| if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
    let mut out = Map::new();
    out.insert("io_bytes".into(), tally.bytes.into());
    out.insert("io_kbytes".into(), (tally.bytes >> 10).into());
    out.insert("bw_bytes".into(), (per_second(tally.bytes) as u64).into());
    out.insert("bw".into(), ((per_second(tally.bytes) / 1024.0) as u64).into());
    out.insert("iops".into(), six(per_second(tally.done())));
    let ran = if tally.done() > 0 { pass.counted.0 / 1_000_000 } else { 0 };
    out.insert("runtime".into(), ran.into());
    out.insert("total_ios".into(), tally.done().into());
    out.insert("short_ios".into(), 0.into());
    out.insert("drop_ios".into(), 0.into());
    // Sending and completing are not timed apart.
    out.insert("clat_ns".into(), times(&tally.latency));
    out.insert("lat_ns".into(), times(&tally.latency));
    out.insert("rt_ns".into(), times(&tally.response));
    out.insert("sched_lag_ns".into(), times(&tally.lag));
    out.insert("late_ios".into(), tally.late.into());
    out.insert("late_means_ns".into(), LATE.0.into());
    out.insert("unsent_ios".into(), tally.unsent.into());
    out.insert("failed_ios".into(), tally.failures().into());
    let failed = tally.failed.iter().map(|(trouble, count)| (trouble.to_string(), json!(count)));
    out.insert("failures".into(), Value::Object(failed.collect()));
    let columns = tally.timeline.columns();
    let every_s = tally.timeline.every().as_secs_f64();
    // Whole stretches: not what came after the end, nor after a stop.
    let whole = (pass.counted.0 / tally.timeline.every().0) as usize;
    let rates: Vec<f64> =
        columns.iter().take(whole).map(|column| column.ios as f64 / every_s).collect();
    let mean = rates.iter().sum::<f64>() / rates.len().max(1) as f64;
    let squares = rates.iter().map(|rate| (rate - mean).powi(2)).sum::<f64>();
    let deviation = if rates.len() < 2 { 0.0 } else { (squares / (rates.len() - 1) as f64).sqrt() };
    let least = rates.iter().copied().reduce(f64::min).unwrap_or(0.0);
    out.insert("iops_min".into(), (least as u64).into());
    out.insert("iops_max".into(), (rates.iter().copied().fold(0.0, f64::max) as u64).into());
    out.insert("iops_mean".into(), six(mean));
    out.insert("iops_stddev".into(), six(deviation));
    out.insert("iops_samples".into(), rates.len().into());
    Value::Object(out)
}

fn times(times: &Times) -> Value {
    let mut out = Map::new();
    out.insert("min".into(), times.min_ns().into());
    out.insert("max".into(), times.max_ns().into());
    out.insert("mean".into(), six(times.mean_ns()));
    out.insert("stddev".into(), six(times.deviation_ns()));
    out.insert("N".into(), times.count().into());
    if times.count() > 0 {
        let named = PERCENTILES.map(|p| (format!("{p:.6}"), times.percentile_ns(p).into()));
        out.insert("percentile".into(), Value::Object(named.into_iter().collect()));
    }
    Value::Object(out)
}

fn one_timeline(pass: &Pass, began_ns: u64) -> Value {
    let mut out = Map::new();
    let every = pass.kinds[0].timeline.every();
    out.insert("job".into(), pass.policy.clone().into());
    out.insert("start_ms".into(), (began_ns / 1_000_000).into());
    out.insert("every_ms".into(), (every.0 / 1_000_000).into());
    for kind in Kind::ALL {
        let tally = pass.kind(kind);
        if tally.done() == 0 {
            continue;
        }
        let stretches =
            (pass.counted.0.div_ceil(every.0) as usize + 1).min(tally.timeline.columns().len());
        let columns = &tally.timeline.columns()[..stretches];
        let flat = |cells: &BTreeMap<u32, u32>| -> Vec<u32> {
            cells.iter().flat_map(|(cell, count)| [*cell, *count]).collect()
        };
        out.insert(
            kind.word().into(),
            json!({
                "ios": columns.iter().map(|column| column.ios).collect::<Vec<_>>(),
                "bytes": columns.iter().map(|column| column.bytes).collect::<Vec<_>>(),
                "cells": columns.iter().map(|column| flat(&column.latencies)).collect::<Vec<_>>(),
                "rt_cells": columns.iter().map(|c| flat(&c.responses)).collect::<Vec<_>>(),
            }),
        );
    }
    Value::Object(out)
}

fn one_busy(pass: &Pass, busy: &Busy) -> Value {
    let round = |share: f64| json!((share * 1e3).round() / 1e3);
    let row = |disk: usize| {
        let shares = busy.shares(disk).into_iter();
        shares.map(|share| share.map_or(Value::Null, round)).collect::<Vec<_>>()
    };
    let disks = 0..busy.names().len();
    json!({
        "job": pass.policy,
        "every_ms": busy.every().0 / 1_000_000,
        "disks": busy.names(),
        "mean": disks.clone().map(|disk| round(busy.share(disk))).collect::<Vec<_>>(),
        "share": disks.map(row).collect::<Vec<_>>(),
    })
}

/// How bursty the schedule is, in windows of a second.
fn demand(plan: &Plan) -> Value {
    let window = Nanos::from_secs(1).min(plan.whole());
    let demand = Demand::of(plan, window);
    json!({
        "window_ms": window.0 / 1_000_000,
        "windows": demand.counts.len(),
        "mean_per_second": six(demand.mean() / window.as_secs_f64()),
        "offered_per_second": plan.rate_per_s,
        "p99.9_over_mean": six(demand.percentile_over_mean(99.9)),
        "deviation_over_mean": six(demand.deviation()),
        "deviation_over_mean_by_law": six(demand.law_deviation),
        "effective_tenants": six(demand.effective_tenants),
    })
}

/// As fio prints floats: six decimals.
fn six(value: f64) -> Value {
    json!((value * 1e6).round() / 1e6)
}
