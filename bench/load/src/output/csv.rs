//! A table: a row for each job, disk and direction in which anything was done.
//!
//! What must always hold: every row has the columns of the header; a cell that has no value is
//! empty; names that hold commas, quotes or line ends are quoted (RFC 4180).

use isotherm_workload::Direction;

use super::{Style, Times};
use crate::report::Report;
use crate::{Tally, per_second};

const PERCENTS: [f64; 7] = [50.0, 90.0, 95.0, 99.0, 99.5, 99.9, 99.99];

pub(super) fn write(report: &Report, _: &Style) -> String {
    let mut out = String::from(
        "what,jobname,groupid,disk,direction,runtime_ms,total_ios,errors,io_bytes,iops,bw_bytes,\
         lat_min_ns,lat_mean_ns,lat_stddev_ns,",
    );
    for name in ["lat", "rt"] {
        for percent in PERCENTS {
            out.push_str(&format!("{name}_p{percent}_ns,"));
        }
        out.push_str(&format!("{name}_max_ns,"));
    }
    out.push_str("late_ios,unsent_ios\n");
    for job in &report.jobs {
        let head =
            [String::from("job"), quoted(&job.job.name), job.group.to_string(), String::new()];
        for direction in Direction::ALL {
            row(&mut out, &head, direction, &job.tallies[direction.index()], job.elapsed);
        }
        for disk in &job.disks {
            let head = [
                String::from("disk"),
                quoted(&job.job.name),
                job.group.to_string(),
                quoted(&disk.info.name),
            ];
            for direction in Direction::ALL {
                row(&mut out, &head, direction, &disk.tallies[direction.index()], disk.elapsed);
            }
        }
    }
    out
}

fn row(
    out: &mut String,
    head: &[String],
    direction: Direction,
    tally: &Tally,
    elapsed: isotherm_seam::Nanos,
) {
    if tally.ios() + tally.errors == 0 {
        return;
    }
    let mut cells = head.to_vec();
    cells.push(direction.word().into());
    cells.extend(
        [elapsed.0 / 1_000_000, tally.ios(), tally.errors, tally.bytes].map(|n| n.to_string()),
    );
    cells.push(format!("{:.6}", per_second(tally.ios(), elapsed)));
    cells.push(format!("{:.0}", per_second(tally.bytes, elapsed)));
    let lat = &tally.latencies;
    cells.push(lat.min_ns().to_string());
    cells.extend([lat.mean_ns(), lat.stddev_ns()].map(|ns| format!("{ns:.1}")));
    times(&mut cells, Some(lat));
    let open = tally.open_loop.as_deref();
    times(&mut cells, open.map(|open| &open.response as &dyn Times));
    let counts = open.map(|open| [open.late_ios, open.unsent_ios]);
    cells.extend([0, 1].map(|i| counts.map_or(String::new(), |counts| counts[i].to_string())));
    out.push_str(&cells.join(","));
    out.push('\n');
}

fn times(cells: &mut Vec<String>, times: Option<&dyn Times>) {
    match times {
        Some(times) => {
            cells.extend(times.percentiles(&PERCENTS).iter().map(u64::to_string));
            cells.push(times.max_ns().to_string());
        }
        None => cells.extend(std::iter::repeat_n(String::new(), PERCENTS.len() + 1)),
    }
}

fn quoted(text: &str) -> String {
    match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_where_they_must_be() {
        assert_eq!((quoted("a b"), quoted("a,\"b\"")), ("a b".into(), "\"a,\"\"b\"\"\"".into()));
    }
}
