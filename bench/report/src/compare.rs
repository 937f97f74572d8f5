//! Two runs side by side: by how much they differ, and how sure that is.
//!
//! What must always hold: a verdict is said only of an interval; where there is too little to make
//! one, that is the verdict. Where both runs were repeated, the interval is made of the repeats;
//! else of the stretches of time of one run each, and says nothing of how runs differ.

use serde_json::Value;

use crate::directions;
use crate::resample::{Interval, interval};
use crate::timeline::Timeline;

/// Stretches that a run must have.
const STRETCHES_MIN: usize = 8;
/// Repeats that both runs must have to be compared by them.
const REPEATS_MIN: usize = 3;
/// A difference below this is none, however sure.
const MATTERS: f64 = 0.02;
/// If no more than this is possible, the runs are the same.
const SAME: f64 = 0.05;

/// One number of two runs.
#[derive(Clone, PartialEq, Debug)]
pub struct Comparison {
    /// Of which job.
    pub job: String,
    /// Of which direction.
    pub direction: &'static str,
    /// Which number.
    pub metric: &'static str,
    /// In the first run.
    pub a: f64,
    /// In the second.
    pub b: f64,
    /// The second over the first, unless there is too little to tell.
    pub ratio: Option<Interval>,
    /// What follows.
    pub verdict: Verdict,
    /// What the interval is made of, in words.
    pub ground: String,
}

/// What is said of a difference.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The second run is better.
    Better,
    /// The second run is worse.
    Worse,
    /// They differ by less than matters.
    Same,
    /// The interval holds both.
    Open,
    /// Too little was measured to make an interval.
    TooLittle,
}

impl Verdict {
    /// In a word or two.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Better => "B is better",
            Verdict::Worse => "B is worse",
            Verdict::Same => "same within 5 %",
            Verdict::Open => "can't be told apart",
            Verdict::TooLittle => "too little measured for a verdict",
        }
    }
}

/// A number that is compared: its name, whether more is better, and how a timeline gives it.
struct Metric {
    name: &'static str,
    /// As the repeats of a document call it.
    repeated: &'static str,
    more_is_better: bool,
    of: fn(&Timeline, &[usize]) -> f64,
}

const METRICS: [Metric; 3] = [
    Metric { name: "IOPS", repeated: "IOPS", more_is_better: true, of: |line, at| line.iops(at) },
    Metric {
        name: "p50 latency, ns",
        repeated: "lat p50",
        more_is_better: false,
        of: |line, at| line.quantile_ns(at, 0.5),
    },
    Metric {
        name: "p99 latency, ns",
        repeated: "lat p99",
        more_is_better: false,
        of: |line, at| line.quantile_ns(at, 0.99),
    },
];

/// Compares the jobs that both documents have, by name.
pub fn compare(a: &Value, b: &Value) -> Vec<Comparison> {
    let mut out = Vec::new();
    let mut seen: Vec<&str> = Vec::new();
    for job in a["jobs"].as_array().into_iter().flatten() {
        let Some(name) = job["jobname"].as_str().filter(|name| !seen.contains(name)) else {
            continue;
        };
        seen.push(name);
        let other = b["jobs"].as_array().into_iter().flatten().find(|job| job["jobname"] == name);
        let Some(other) = other else { continue };
        for (direction, way) in directions(job) {
            if !directions(other).any(|(word, _)| word == direction) {
                continue;
            }
            for metric in &METRICS {
                out.push(one(a, b, name, direction, metric, [way, &other[direction]]));
            }
        }
    }
    out
}

fn one(
    a: &Value,
    b: &Value,
    job: &str,
    direction: &'static str,
    metric: &Metric,
    ways: [&Value; 2],
) -> Comparison {
    let repeats = [a, b].map(|document| repeats(document, job, direction, metric.repeated));
    let (ratio, ground) = if repeats.iter().all(|values| values.len() >= REPEATS_MIN) {
        let median = |values: &[f64], at: &[usize]| {
            let mut drawn: Vec<f64> = at.iter().map(|i| values[*i]).collect();
            drawn.sort_by(f64::total_cmp);
            drawn[(drawn.len() - 1) / 2]
        };
        let sizes = [repeats[0].len(), repeats[1].len()];
        let ratio = interval(sizes, &|x, y| median(&repeats[1], y) / median(&repeats[0], x));
        (Some(ratio), format!("{} and {} repeated runs", sizes[0], sizes[1]))
    } else {
        match [a, b].map(|document| Timeline::read(document, job, direction)) {
            [Some(x), Some(y)] if x.len().min(y.len()) >= STRETCHES_MIN => {
                let of = metric.of;
                let ratio = interval([x.len(), y.len()], &|p, q| of(&y, q) / of(&x, p));
                let ground = format!("{} and {} stretches of one run each", x.len(), y.len());
                (Some(ratio), ground)
            }
            _ => (None, "nothing over time".to_owned()),
        }
    };
    let ratio = ratio.filter(|r| r.low.is_finite() && r.high.is_finite() && r.low > 0.0);
    let is_response = |document: &Value| {
        Timeline::read(document, job, direction).is_some_and(|timeline| timeline.is_response)
    };
    let plain = |document: &Value, way: &Value| match metric.name {
        "IOPS" => way["iops"].as_f64().unwrap_or(0.0),
        name => {
            let key = if name.starts_with("p50") { "50.000000" } else { "99.000000" };
            let family = match is_response(document) {
                true => Some(&way["rt_ns"]),
                false => crate::told(way).map(|(_, family)| family),
            };
            family.and_then(|family| family["percentile"][key].as_f64()).unwrap_or(0.0)
        }
    };
    let verdict = ratio.map_or(Verdict::TooLittle, |ratio| judge(&ratio, metric.more_is_better));
    Comparison {
        job: job.to_owned(),
        direction,
        metric: metric.name,
        a: plain(a, ways[0]),
        b: plain(b, ways[1]),
        ratio,
        verdict,
        ground,
    }
}

fn judge(ratio: &Interval, more_is_better: bool) -> Verdict {
    let matters = (ratio.estimate - 1.0).abs() >= MATTERS;
    if matters && (ratio.low > 1.0 || ratio.high < 1.0) {
        return if (ratio.low > 1.0) == more_is_better { Verdict::Better } else { Verdict::Worse };
    }
    if ratio.low > 1.0 - SAME && ratio.high < 1.0 + SAME { Verdict::Same } else { Verdict::Open }
}

fn repeats(document: &Value, job: &str, direction: &str, metric: &str) -> Vec<f64> {
    let rows = document["isotherm"]["repeat"]["metrics"].as_array().into_iter().flatten();
    let mut rows = rows.filter(|row| {
        row["job"] == job && row["direction"] == direction && row["metric"] == metric
    });
    let values = rows.next().and_then(|row| row["values"].as_array());
    values.into_iter().flatten().filter_map(Value::as_f64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A run of so many stretches at about `iops` with latencies in `cell`.
    fn document(stretches: u64, iops: u64, cell: u64) -> Value {
        let wobble = |i: u64| iops + (i * 7919) % (iops / 20).max(1);
        let ios: Vec<u64> = (0..stretches).map(wobble).collect();
        let cells: Vec<Vec<u64>> =
            ios.iter().map(|n| vec![cell, n * 9 / 10, cell + 8, n / 10]).collect();
        json!({
            "jobs": [{"jobname": "a", "read": {
                "total_ios": ios.iter().sum::<u64>(), "iops": iops as f64,
                "clat_ns": {"percentile": {"50.000000": 100 * cell, "99.000000": 200 * cell}}
            }}],
            "isotherm": {
                "cells": {"first_ns": 256, "per_octave": 8},
                "timelines": [{"job": "a", "every_ms": 1000,
                               "read": {"ios": ios, "bytes": ios, "cells": cells}}]
            }
        })
    }

    fn verdicts(a: &Value, b: &Value) -> Vec<Verdict> {
        compare(a, b).iter().map(|one| one.verdict).collect()
    }

    #[test]
    fn a_run_is_the_same_as_itself() {
        let run = document(60, 1000, 40);
        assert_eq!(verdicts(&run, &run), [Verdict::Same; 3]);
    }

    #[test]
    fn faster_and_slower_are_told_with_their_intervals() {
        let (slow, fast) = (document(60, 1000, 48), document(60, 1300, 40));
        let all = compare(&slow, &fast);
        assert_eq!(verdicts(&slow, &fast), [Verdict::Better; 3]);
        let iops = all[0].ratio.unwrap();
        assert!(iops.low < iops.estimate && iops.estimate < iops.high, "{iops:?}");
        assert!((1.25..1.35).contains(&iops.estimate), "{iops:?}");
        assert_eq!(verdicts(&fast, &slow), [Verdict::Worse; 3]);
    }

    #[test]
    fn too_short_a_run_has_no_verdict() {
        let run = document(5, 1000, 40);
        assert_eq!(verdicts(&run, &run), [Verdict::TooLittle; 3]);
        let of_fio = json!({"jobs": [{"jobname": "a", "read": {"total_ios": 5, "iops": 1.0}}]});
        assert_eq!(verdicts(&of_fio, &of_fio), [Verdict::TooLittle; 3]);
    }

    #[test]
    fn repeats_count_before_stretches() {
        let with = |values: [f64; 4]| {
            let mut run = document(60, 1000, 40);
            run["isotherm"]["repeat"] = json!({"metrics": [
                {"job": "a", "direction": "read", "metric": "IOPS", "values": values}
            ]});
            run
        };
        // The stretches alone would be sure; the runs differ too much among themselves.
        let all =
            compare(&with([900.0, 1000.0, 1100.0, 1300.0]), &with([950.0, 1200.0, 1250.0, 1000.0]));
        assert_eq!(all[0].verdict, Verdict::Open, "{:?}", all[0]);
        assert!(all[0].ground.contains("4 repeated runs"));
    }
}
