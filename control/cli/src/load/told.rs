//! Results as a table, and as documents of one pass each.

use std::fmt::Write as _;

use isotherm_objects::{Busy, Kind, Pass, Tally};
use isotherm_report::compare;
use serde_json::{Value, json};

use crate::store::words;

/// The name of the job in the documents of single passes: alike, so that they can be compared.
const JOB: &str = "load";

/// A time as people read it.
pub(crate) fn time(ns: u64) -> String {
    let (value, unit) = match ns {
        0..1_000 => return format!("{ns} ns"),
        1_000..1_000_000 => (ns as f64 / 1e3, "µs"),
        1_000_000..1_000_000_000 => (ns as f64 / 1e6, "ms"),
        _ => (ns as f64 / 1e9, "s"),
    };
    let digits = if value >= 100.0 { 0 } else { 1 };
    format!("{value:.digits$} {unit}")
}

/// The table of a run: a row for each policy and kind, then how busy disks were, then each policy
/// against the first.
pub(crate) fn table(document: &Value, passes: &[(Pass, Option<Busy>)]) -> String {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "{:<14} {:<6} {:>9} {:>12} {:>9} {:>9} {:>9} {:>9} {:>9} {:>7} {:>7} {:>7}",
        "policy",
        "",
        "done/s",
        "bytes/s",
        "p50",
        "p90",
        "p99",
        "p99.9",
        "max",
        "late",
        "unsent",
        "failed"
    );
    for (pass, _) in passes {
        let seconds = pass.counted.as_secs_f64().max(1e-9);
        for kind in Kind::ALL {
            let tally = pass.kind(kind);
            if tally.done() + tally.failures() + tally.unsent > 0 {
                row(&mut out, &pass.policy, kind, tally, seconds);
            }
        }
    }
    for (pass, busy) in passes {
        let Some(busy) = busy else { continue };
        let mut shares: Vec<f64> = (0..busy.names().len()).map(|disk| busy.share(disk)).collect();
        let hottest = (0..shares.len()).max_by(|a, b| shares[*a].total_cmp(&shares[*b]));
        let Some(hottest) = hottest else { continue };
        let (name, most) = (&busy.names()[hottest], shares[hottest]);
        shares.sort_by(f64::total_cmp);
        let _ = writeln!(
            out,
            "{:<14} disks busy: middle {:.0} %, least {:.0} %, most {:.0} % ({name})",
            pass.policy,
            shares[shares.len() / 2] * 100.0,
            shares[0] * 100.0,
            most * 100.0,
        );
    }
    let demand = &document["isotherm"]["demand"];
    let _ = writeln!(
        out,
        "offered: {} a second came of {}; in the busiest second of a thousand {:.1} times the mean; \
         deviation {:.2} of the mean, {:.2} by the law",
        demand["mean_per_second"],
        demand["offered_per_second"],
        demand["p99.9_over_mean"].as_f64().unwrap_or(0.0),
        demand["deviation_over_mean"].as_f64().unwrap_or(0.0),
        demand["deviation_over_mean_by_law"].as_f64().unwrap_or(0.0),
    );
    let each = each(document);
    if let Some(((first, a), others)) = each.split_first() {
        for (name, b) in others {
            for row in compare(a, b).iter().filter(|row| row.metric != "IOPS") {
                let Some(ratio) = row.ratio else { continue };
                let _ = writeln!(
                    out,
                    "{name} against {first}: {} {} {:.2} times ({:.2} to {:.2}): {}",
                    row.direction,
                    row.metric.split(' ').next().unwrap_or_default(),
                    ratio.estimate,
                    ratio.low,
                    ratio.high,
                    row.verdict.word().replace("B is", &format!("{name} is"))
                );
            }
        }
    }
    out
}

fn row(out: &mut String, policy: &str, kind: Kind, tally: &Tally, seconds: f64) {
    let at = |percent| time(tally.response.percentile_ns(percent));
    let _ = writeln!(
        out,
        "{policy:<14} {:<6} {:>9.1} {:>12} {:>9} {:>9} {:>9} {:>9} {:>9} {:>7} {:>7} {:>7}",
        kind.word(),
        tally.done() as f64 / seconds,
        words::size((tally.bytes as f64 / seconds) as u64),
        at(50.0),
        at(90.0),
        at(99.0),
        at(99.9),
        time(tally.response.max_ns()),
        tally.late,
        tally.unsent,
        tally.failures(),
    );
}

/// A document of each pass by itself, called by its policy.
pub(crate) fn each(document: &Value) -> Vec<(String, Value)> {
    let jobs = document["jobs"].as_array().into_iter().flatten();
    jobs.map(|job| {
        let name = job["jobname"].as_str().unwrap_or_default().to_owned();
        let mut one = document.clone();
        let of = |value: &Value| -> Value {
            let all = value.as_array().into_iter().flatten();
            let mut mine = all.filter(|entry| entry["job"] == *name).cloned().collect::<Vec<_>>();
            mine.iter_mut().for_each(|entry| entry["job"] = JOB.into());
            mine.into()
        };
        let mut job = job.clone();
        job["jobname"] = JOB.into();
        one["jobs"] = json!([job]);
        one["isotherm"]["timelines"] = of(&document["isotherm"]["timelines"]);
        one["isotherm"]["disk_busy"] = of(&document["isotherm"]["disk_busy"]);
        let about = format!("{name}: ");
        if let Some(messages) = one["messages"].as_array_mut() {
            messages.retain(|message| {
                message.as_str().is_some_and(|message| message.starts_with(&about))
            });
        }
        (name, one)
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_one_unit() {
        let got = [0, 1_500, 34_000_000, 340_000_000, 2_500_000_000].map(time);
        assert_eq!(got, ["0 ns", "1.5 µs", "34.0 ms", "340 ms", "2.5 s"]);
    }

    #[test]
    fn passes_are_told_apart_and_can_be_compared() {
        let document = json!({
            "jobs": [{ "jobname": "a", "read": {} }, { "jobname": "b", "read": {} }],
            "messages": ["a: slow", "b: fast"],
            "isotherm": { "timelines": [{ "job": "a" }, { "job": "b" }], "disk_busy": [] },
        });
        let each = each(&document);
        assert_eq!(each[1].0, "b");
        assert_eq!(each[1].1["jobs"], json!([{ "jobname": "load", "read": {} }]));
        assert_eq!(each[1].1["isotherm"]["timelines"], json!([{ "job": "load" }]));
        assert_eq!(each[1].1["messages"], json!(["b: fast"]));
    }
}
