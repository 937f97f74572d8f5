//! The same run several times: what a number is worth.
//!
//! What must always hold: the numbers shown are the median, the least and the greatest of the
//! runs that were made, each beside the number of runs.

use isotherm_load::{JobResult, Report};
use isotherm_workload::Direction;
use serde_json::{Value, json};

use super::writer::Beside;

/// One number of one direction of one job, in every run.
struct Row {
    job: String,
    direction: &'static str,
    metric: &'static str,
    unit: &'static str,
    values: Vec<f64>,
}

/// The run whose IOPS are the median, and the table of all runs.
pub(super) fn summarise(reports: &[Report]) -> (usize, Beside) {
    let mut order: Vec<usize> = (0..reports.len()).collect();
    order.sort_by(|a, b| iops(&reports[*a]).total_cmp(&iops(&reports[*b])));
    let middle = order[(reports.len() - 1) / 2];
    let rows = rows(reports);
    let mut text = format!("\nRepeated {} times (median, least to greatest):\n", reports.len());
    for row in &rows {
        let (least, median, most) = spread(&row.values);
        let scale = if row.unit == "ms" { 1e6 } else { 1.0 };
        let shares = if median > 0.0 { (most - least) * 50.0 / median } else { 0.0 };
        text.push_str(&format!(
            "  {:<16} {:<5} {:<8} {:>12.2} ({:.2} to {:.2}, ±{:.1}%) {}\n",
            row.job,
            row.direction,
            row.metric,
            median / scale,
            least / scale,
            most / scale,
            shares,
            row.unit
        ));
    }
    let metrics: Vec<Value> = rows
        .iter()
        .map(|row| {
            let (least, median, most) = spread(&row.values);
            json!({
                "job": row.job,
                "direction": row.direction,
                "metric": row.metric,
                "unit": if row.unit == "ms" { "ns" } else { row.unit },
                "median": median,
                "min": least,
                "max": most,
                "values": row.values,
            })
        })
        .collect();
    let value = json!({ "runs": reports.len(), "shown_run": middle + 1, "metrics": metrics });
    (middle, Beside { keys: vec![("repeat", value)], text })
}

fn iops(report: &Report) -> f64 {
    report.jobs.iter().flat_map(|job| Direction::ALL.map(|d| job.iops(d))).sum()
}

fn rows(reports: &[Report]) -> Vec<Row> {
    let mut rows = Vec::new();
    for (index, job) in reports[0].jobs.iter().enumerate() {
        for direction in Direction::ALL {
            let of = |metric: &dyn Fn(&JobResult) -> f64| -> Vec<f64> {
                reports.iter().filter_map(|report| report.jobs.get(index)).map(metric).collect()
            };
            let tally = |job: &JobResult| job.tallies[direction.index()].clone();
            if tally(job).ios() == 0 {
                continue;
            }
            let mut row = |metric, unit, values| {
                let (job, direction) = (job.job.name.clone(), direction.word());
                rows.push(Row { job, direction, metric, unit, values });
            };
            row("IOPS", "1/s", of(&|job| job.iops(direction)));
            row("BW", "B/s", of(&|job| job.bytes_per_second(direction)));
            let percentile =
                |percent: f64| of(&|job| tally(job).latencies.histogram.percentile(percent) as f64);
            row("lat p50", "ms", percentile(50.0));
            row("lat p99", "ms", percentile(99.0));
            row("lat p99.9", "ms", percentile(99.9));
            if tally(job).open_loop.is_some() {
                let open = |job: &JobResult| {
                    tally(job).open_loop.map_or(0, |open| open.response.percentile(99.0)) as f64
                };
                row("rt p99", "ms", of(&open));
            }
        }
    }
    rows
}

/// Least, median and greatest.
pub(super) fn spread(values: &[f64]) -> (f64, f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted[..] {
        [] => (0.0, 0.0, 0.0),
        [least, ..] => {
            let most = sorted[sorted.len() - 1];
            let half = sorted.len() / 2;
            let median = match sorted.len() % 2 {
                1 => sorted[half],
                _ => (sorted[half - 1] + sorted[half]) / 2.0,
            };
            (least, median, most)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads_of_odd_and_even_rows() {
        assert_eq!(spread(&[3.0, 1.0, 2.0]), (1.0, 2.0, 3.0));
        assert_eq!(spread(&[4.0, 1.0, 2.0, 3.0]), (1.0, 2.5, 4.0));
        assert_eq!(spread(&[7.0]), (7.0, 7.0, 7.0));
    }
}
