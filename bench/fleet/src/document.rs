//! The result as one JSON document: per disk what fio would say, and beside it the verdict, the
//! evidence and the plan.
//!
//! What must always hold: `jobs[]` has fio's keys and units (`read.iops`, `clat_ns.percentile`,
//! KiB/s for `bw`), so that what reads fio's output reads this; what fio has not is under keys
//! of its own. `clat_ns` and `lat_ns` are the service time, which fio measures from after its
//! rate limit; `rt_ns` counts from the intended start.

use isotherm_heat::{
    Comparison, Evidence, FALSE_FLAGS_MAX, Judgement, RegionEvidence, TailEvidence, WindowEvidence,
};
use isotherm_seam::{IoError, Nanos};
use serde_json::{Map, Value, json};

use crate::load::{DiskMeasured, Measured};
use crate::measure::Times;
use crate::outcome::Outcome;
use crate::plan::{Ail, Plan};
use crate::rig::TimeKind;

/// fio's seventeen percentiles.
const PERCENTILES: [f64; 17] = [
    1.0, 5.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 95.0, 99.0, 99.5, 99.9, 99.95,
    99.99,
];

/// The number of this form of document. It rises when a key changes its meaning.
const FORMAT: u32 = 1;

/// The document of a run.
pub fn document(outcome: &Outcome) -> Value {
    let Outcome { plan, place, began, measured, judgements, grade } = outcome;
    let time = match place.time {
        TimeKind::Wall => "wall",
        TimeKind::Virtual => "virtual",
    };
    let disks = measured.disks.iter().zip(judgements);
    json!({
        "isotherm version": env!("CARGO_PKG_VERSION"),
        "format": FORMAT,
        "timestamp": began.0 / 1_000_000_000,
        "timestamp_ms": began.0 / 1_000_000,
        "clock": time,
        "stopped early": measured.stopped,
        "place": {
            "disks": place.sentence,
            "drivers": place.drivers,
            "notes": place.notes,
        },
        "load": load(measured),
        "host": {
            "turns": measured.host.turns,
            "late_turns": measured.host.late_turns,
            "lag_max_ns": measured.host.lag_max.0,
        },
        "plan": planned(plan),
        "verdict": {
            "right": grade.is_right(),
            "found": grade.found.iter().map(|disk| disk.0).collect::<Vec<_>>(),
            "missed": grade.missed.iter().map(|disk| disk.0).collect::<Vec<_>>(),
            "false alarms to expect per healthy disk, at most": FALSE_FLAGS_MAX,
            "wrongly flagged": grade.wronged.iter().map(|disk| disk.0).collect::<Vec<_>>(),
        },
        "jobs": disks.map(|(disk, judgement)| job(disk, judgement, measured)).collect::<Vec<_>>(),
        "disk_util": [],
    })
}

fn load(measured: &Measured) -> Value {
    let config = &measured.config;
    json!({
        "rate_iops": config.rate_per_s,
        "rate_process": "poisson",
        "rw": "randread",
        "bs": config.read_bytes,
        "iodepth": config.depth,
        "queue_max": config.queue_max,
        "windows": config.windows,
        "seed": config.seed,
        "duration_ns": config.duration.0,
        "runtime_ns": measured.span.0,
    })
}

fn planned(plan: &Plan) -> Value {
    let planted = plan.planted().map(|(disk, ail)| match ail {
        Ail::Limp { factor } => json!({ "disk": disk.0, "ail": "limp", "factor": factor }),
        Ail::BadRegion { start, length } => json!({
            "disk": disk.0, "ail": "bad region", "start": start, "length": length,
        }),
    });
    let planted: Vec<Value> = planted.collect();
    json!({
        "seed": plan.config.seed,
        "disks": plan.config.disks,
        "healthy": plan.config.healthy,
        "planted": planted,
        "pace": plan.disks.iter().map(|disk| disk.pace).collect::<Vec<_>>(),
    })
}

fn job(disk: &DiskMeasured, judgement: &Judgement, measured: &Measured) -> Value {
    let config = &measured.config;
    let seconds = measured.span.as_secs_f64().max(1e-9);
    let arrived = &disk.arrived;
    let io_bytes = arrived.reads * u64::from(config.read_bytes);
    let bw_bytes = io_bytes as f64 / seconds;
    json!({
        "jobname": format!("disk-{:02}", judgement.disk.0),
        "groupid": 0,
        "error": disk.first_error.map_or(0, errno),
        "total_err": arrived.errors,
        "first_error": disk.first_error.map(|error| error.to_string()),
        "elapsed": seconds.ceil() as u64,
        "job options": {
            "name": format!("disk-{:02}", judgement.disk.0),
            "rw": "randread",
            "bs": config.read_bytes.to_string(),
            "iodepth": config.depth.to_string(),
            "numjobs": "1",
            "rate_iops": config.rate_per_s.to_string(),
            "rate_process": "poisson",
        },
        "read": {
            "io_bytes": io_bytes,
            "io_kbytes": io_bytes >> 10,
            "bw_bytes": bw_bytes as u64,
            "bw": (bw_bytes / 1024.0) as u64,
            "iops": arrived.reads as f64 / seconds,
            "runtime": measured.span.0 / 1_000_000,
            "total_ios": arrived.reads,
            "short_ios": 0,
            "drop_ios": arrived.refused,
            "clat_ns": times(&disk.service),
            "lat_ns": times(&disk.service),
            "rt_ns": times(&disk.response),
        },
        "arrivals": {
            "offered": arrived.offered,
            "reads": arrived.reads,
            "errors": arrived.errors,
            "refused": arrived.refused,
            "left_over": arrived.left_over,
            "unanswered": arrived.unanswered,
        },
        "busy": disk.busy_share,
        "windows_p50_ns": disk.report.windows.iter().map(|w| w.p50.0).collect::<Vec<_>>(),
        "blocks": disk.report.blocks,
        "block_bytes": disk.block_bytes,
        "verdict": judgement.verdict.word(),
        "flagged": judgement.verdict.is_flagged(),
        "because": judgement.to_string(),
        "evidence": evidence(&judgement.evidence),
    })
}

/// fio's `error`: the errno of the first one, as the kernel would have put it.
fn errno(error: IoError) -> i32 {
    match error {
        IoError::Media { .. } => 5,                  // EIO
        IoError::Gone => 19,                         // ENODEV
        IoError::TimedOut => 110,                    // ETIMEDOUT
        IoError::NoSpace => 28,                      // ENOSPC
        IoError::ReadOnly => 30,                     // EROFS
        IoError::Misfit(_) | IoError::Zone(_) => 22, // EINVAL
        IoError::Os { errno } => errno,
    }
}

fn times(times: &Times) -> Value {
    let (mean, stddev) = times.moments();
    let mut value = json!({
        "min": times.min().0,
        "max": times.max().0,
        "mean": mean,
        "stddev": stddev,
        "N": times.count(),
    });
    if times.count() > 0 {
        let percentile = |p: f64| (format!("{p:.6}"), json!(times.quantile(p / 100.0).0));
        let percentiles: Map<String, Value> = PERCENTILES.map(percentile).into_iter().collect();
        value["percentile"] = Value::Object(percentiles);
    }
    value
}

fn evidence(evidence: &Evidence) -> Value {
    let missing: Vec<String> = evidence.missing.iter().map(ToString::to_string).collect();
    json!({
        "comparisons": evidence.comparisons.iter().map(comparison).collect::<Vec<_>>(),
        "windows": evidence.windows.as_ref().map(windows),
        "slow_reads": evidence.tail.as_ref().map(tail),
        "region": evidence.region.as_ref().map(region),
        "region_hint": evidence.region_hint.as_ref().map(region),
        "errors": evidence.errors,
        "silence_ns": evidence.silence.map(|Nanos(ns)| ns),
        "gone": evidence.said_gone,
        "missing": missing,
    })
}

fn comparison(c: &Comparison) -> Value {
    json!({
        "metric": c.metric.word(),
        "own_ns": c.own.0,
        "peers_ns": c.peers.0,
        "peers": c.peer_count,
        "ratio": c.ratio,
        "z": c.z,
        "worse": c.worse,
    })
}

fn windows(w: &WindowEvidence) -> Value {
    json!({
        "compared": w.compared,
        "worse": w.worse,
        "episodes": w.episodes,
        "halves_ratio": w.halves,
    })
}

fn tail(t: &TailEvidence) -> Value {
    json!({
        "threshold_ns": t.threshold.0,
        "count": t.slow_reads,
        "in_first_half": t.in_first_half,
        "usual": t.expected,
        "p_value": t.p_value,
    })
}

fn region(r: &RegionEvidence) -> Value {
    json!({
        "first_lba": r.first.0,
        "last_lba": r.last.0,
        "inside": r.inside,
        "failed_inside": r.errors_inside,
        "incidents": r.incidents,
        "reads_inside": r.reads_inside,
        "disk_share": r.disk_share,
        "read_share": r.read_share,
        "p_value": r.p_value,
    })
}
