//! A report for people, in the line shapes of fio's normal output, which scripts read too.

use core::fmt::{self, Write as _};

use isotherm_workload::Direction;

use crate::calendar::date;
use crate::json::{CLASSES, PERCENTILES, latency_classes, percentages};
use crate::report::{DiskResult, JobResult, Report};
use crate::{Latencies, Tally};

/// Disks listed by themselves; the rest are in the JSON.
const DISKS_SHOWN: usize = 16;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for message in self.messages.iter().chain(&self.notes) {
            writeln!(f, "note: {message}")?;
        }
        if self.interrupted {
            writeln!(f, "note: stopped before its end; this is what ran")?;
        }
        for job in &self.jobs {
            writeln!(f)?;
            f.write_str(&self.job_to_text(job))?;
        }
        for group in self.groups() {
            self.group(f, group)?;
        }
        if !self.disk_uses.is_empty() {
            writeln!(f, "\nDisk stats (read/write):")?;
        }
        let took_ms = (self.took.0 / 1_000_000).max(1) as f64;
        for disk in &self.disk_uses {
            let util = (disk.busy_ms as f64 * 100.0 / took_ms).min(100.0);
            writeln!(
                f,
                "  {}: ios={}/{}, merge={}/{}, ticks={}/{}, in_queue={}, util={util:.2}%",
                disk.name,
                disk.read[0],
                disk.write[0],
                disk.read[1],
                disk.write[1],
                disk.read[3],
                disk.write[3],
                disk.queue_ms,
            )?;
        }
        Ok(())
    }
}

impl Report {
    fn groups(&self) -> Vec<u32> {
        let mut groups: Vec<u32> = self.jobs.iter().map(|job| job.group).collect();
        groups.dedup();
        groups
    }

    fn job_to_text(&self, job: &JobResult) -> String {
        let mut out = String::new();
        // Writing to a string can't fail.
        let _ = self.write_job(&mut out, job);
        out
    }

    fn write_job(&self, out: &mut String, job: &JobResult) -> fmt::Result {
        let error = job.failures.first().map_or(0, |failure| failure.errno());
        writeln!(
            out,
            "{}: (groupid={}, jobs={}): err={error:2}: {}",
            job.job.name,
            job.group,
            job.lanes,
            date(self.started.0.div_euclid(1_000_000_000)),
        )?;
        if let Some(text) = &job.job.description {
            writeln!(out, "  Description  : [{text}]")?;
        }
        writeln!(
            out,
            "  driver       : {}; rw={}, bs={}, iodepth={}, direct={}",
            job.drivers().join(", "),
            job.job.pattern.word(),
            job.job.block_bytes,
            job.depth,
            directness(job),
        )?;
        for note in job.notes() {
            writeln!(out, "  note         : {note}")?;
        }
        for failure in &job.failures {
            writeln!(out, "  error        : {failure}")?;
        }
        for direction in Direction::ALL {
            let tally = &job.tallies[direction.index()];
            if tally.ios() > 0 {
                write_direction(out, job, direction, tally)?;
            }
        }
        self.write_classes(out, job)?;
        let sum_ns = job.elapsed_sum.0.max(1) as f64;
        let percent = |ns: u64| ns as f64 * 100.0 / sum_ns;
        if self.time == crate::TimeSource::Host {
            writeln!(
                out,
                "  cpu          : usr={:.2}%, sys={:.2}%, ctx={}, majf={}, minf={}",
                percent(job.cpu.user.0),
                percent(job.cpu.system.0),
                job.cpu.switches,
                job.cpu.major_faults,
                job.cpu.minor_faults,
            )?;
        }
        let depths = [
            ("  IO depths    :", ["1", "2", "4", "8", "16", "32", ">=64"], &job.depths.level),
            ("     submit    :", ["0", "4", "8", "16", "32", "64", ">=64"], &job.depths.submit),
            ("     complete  :", ["0", "4", "8", "16", "32", "64", ">=64"], &job.depths.complete),
        ];
        for (label, keys, counts) in depths {
            let parts = keys.iter().zip(percentages(counts));
            let parts: Vec<String> =
                parts.map(|(key, share)| format!("{key}={share:.1}%")).collect();
            writeln!(out, "{label} {}", parts.join(", "))?;
        }
        let [reads, writes] = job.tallies.each_ref().map(Tally::ios);
        writeln!(
            out,
            "     issued rwts: total={reads},{writes},0,0 short=0,0,0,0 dropped=0,0,0,0"
        )?;
        write_disks(out, job)
    }

    fn write_classes(&self, out: &mut String, job: &JobResult) -> fmt::Result {
        let units = ["nsec", "usec", "msec"];
        for (unit, shares) in units.iter().zip(latency_classes(&job.tallies)) {
            let names = CLASSES.map(|n| n.to_string()).into_iter();
            let names = names.chain(["2000".into(), ">=2000".into()]);
            // What rounds to nothing is left out, as in fio.
            let shown: Vec<String> = names
                .zip(shares)
                .filter(|(_, share)| *share >= 0.01)
                .map(|(name, share)| format!("{name}={share:.2}%"))
                .collect();
            if !shown.is_empty() {
                writeln!(out, "  lat ({unit})   : {}", shown.join(", "))?;
            }
        }
        Ok(())
    }

    fn group(&self, f: &mut fmt::Formatter<'_>, group: u32) -> fmt::Result {
        writeln!(f, "\nRun status group {group} (all jobs):")?;
        for direction in Direction::ALL {
            let jobs = self.jobs.iter().filter(|job| job.group == group);
            let jobs: Vec<&JobResult> =
                jobs.filter(|job| job.tallies[direction.index()].ios() > 0).collect();
            if jobs.is_empty() {
                continue;
            }
            let rates: Vec<f64> = jobs.iter().map(|job| job.bytes_per_second(direction)).collect();
            let times: Vec<u64> = jobs.iter().map(|job| job.elapsed.0 / 1_000_000).collect();
            let bytes: u64 = jobs.iter().map(|job| job.tallies[direction.index()].bytes).sum();
            let least = rates.iter().copied().fold(f64::INFINITY, f64::min);
            let most = rates.iter().copied().fold(0.0, f64::max);
            let sum: f64 = rates.iter().sum();
            writeln!(
                f,
                "{:>7}: bw={} ({}), {}-{} ({}-{}), io={} ({}), run={}-{}msec",
                direction.word().to_uppercase(),
                binary(sum, "/s"),
                decimal(sum, "/s"),
                binary(least, "/s"),
                binary(most, "/s"),
                decimal(least, "/s"),
                decimal(most, "/s"),
                binary(bytes as f64, ""),
                decimal(bytes as f64, ""),
                times.iter().min().unwrap_or(&0),
                times.iter().max().unwrap_or(&0),
            )?;
        }
        Ok(())
    }
}

fn directness(job: &JobResult) -> &'static str {
    let mut known = job.disks.iter().filter_map(|disk| disk.info.direct);
    match known.next() {
        None => "none (no kernel underneath)",
        Some(first) if known.any(|other| other != first) => "on some disks only",
        Some(true) => "yes",
        Some(false) => "no",
    }
}

fn write_direction(
    out: &mut String,
    job: &JobResult,
    direction: Direction,
    tally: &Tally,
) -> fmt::Result {
    let rate = job.bytes_per_second(direction);
    writeln!(
        out,
        "  {:>5}: IOPS={}, BW={} ({})({}/{}msec)",
        direction.word(),
        thousands(job.iops(direction)),
        binary(rate, "/s"),
        decimal(rate, "/s"),
        binary(tally.bytes as f64, ""),
        job.elapsed.0 / 1_000_000,
    )?;
    write_latencies(out, "clat", &tally.latencies)?;
    write_latencies(out, " lat", &tally.latencies)?;
    write_percentiles(out, "clat", &tally.latencies)?;
    if let Some(open) = &tally.open_loop {
        write_latencies(out, "  rt", &open.response)?;
        write_percentiles(out, "rt", &open.response)?;
        writeln!(
            out,
            "    open loop: rt counts from the intended start; late={} (by more than 1 msec), \
             never sent={}",
            open.late_ios, open.unsent_ios
        )?;
        let (rt, lat) = (&open.response.histogram, &tally.latencies.histogram);
        if rt.percentile(99.0) > 2 * lat.percentile(99.0) {
            writeln!(
                out,
                "    warning: p99(rt) is more than twice p99(lat): the disks do not keep up with \
                 the rate, and lat hides it"
            )?;
        }
    }
    let series = &job.series[direction.index()];
    if series.samples() > 0 {
        let kib = |iops: f64| iops * job.job.block_bytes as f64 / 1024.0;
        writeln!(
            out,
            "   bw (  KiB/s): min={:5.0}, max={:5.0}, per=100.00%, avg={:.2}, stdev={:5.2}, \
             samples={}",
            kib(series.min()),
            kib(series.max()),
            kib(series.mean()),
            kib(series.stddev()),
            series.samples()
        )?;
        writeln!(
            out,
            "   iops        : min={:5.0}, max={:5.0}, avg={:.2}, stdev={:5.2}, samples={}",
            series.min(),
            series.max(),
            series.mean(),
            series.stddev(),
            series.samples()
        )?;
    }
    Ok(())
}

/// A unit of time that suits these latencies: its name and its length in nanoseconds.
fn unit_of(latencies: &Latencies) -> (&'static str, f64) {
    match (latencies.min_ns(), latencies.max_ns()) {
        (2_000_001.., 100_000_000..) => ("msec", 1e6),
        (2_001.., 100_000..) => ("usec", 1e3),
        _ => ("nsec", 1.0),
    }
}

fn write_latencies(out: &mut String, name: &str, latencies: &Latencies) -> fmt::Result {
    let (unit, ns) = unit_of(latencies);
    writeln!(
        out,
        "    {name} ({unit}): min={:.0}, max={:.0}, avg={:.2}, stdev={:.2}",
        latencies.min_ns() as f64 / ns,
        latencies.max_ns() as f64 / ns,
        latencies.mean_ns() / ns,
        latencies.stddev_ns() / ns,
    )
}

fn write_percentiles(out: &mut String, name: &str, latencies: &Latencies) -> fmt::Result {
    let (unit, ns) = unit_of(latencies);
    writeln!(out, "    {name} percentiles ({unit}):")?;
    let values = latencies.histogram.percentiles(&PERCENTILES);
    let values: Vec<String> = values.iter().map(|v| format!("{:.0}", *v as f64 / ns)).collect();
    let width = values.iter().map(String::len).max().unwrap_or(0);
    let shown: Vec<String> = PERCENTILES
        .iter()
        .zip(&values)
        .map(|(percent, value)| format!("{percent:5.2}th=[{value:>width$}]"))
        .collect();
    let rows: Vec<String> = shown.chunks(4).map(|row| row.join(", ")).collect();
    for (index, row) in rows.iter().enumerate() {
        let end = if index + 1 < rows.len() { "," } else { "" };
        writeln!(out, "     | {row}{end}")?;
    }
    Ok(())
}

/// The disks by themselves, the one with the highest p99 first.
fn write_disks(out: &mut String, job: &JobResult) -> fmt::Result {
    if job.disks.len() < 2 {
        return Ok(());
    }
    let worst = |disk: &DiskResult| {
        disk.tallies.iter().map(|tally| tally.latencies.histogram.percentile(99.0)).max()
    };
    let mut disks: Vec<(usize, &DiskResult)> = job.disks.iter().enumerate().collect();
    disks.sort_by_key(|(_, disk)| core::cmp::Reverse(worst(disk)));
    writeln!(out, "  disks        :   number, name, direction, IOPS, p50, p99, p99.9 (usec)")?;
    for (index, disk) in disks.iter().take(DISKS_SHOWN) {
        for direction in Direction::ALL {
            let tally = &disk.tallies[direction.index()];
            if tally.ios() + tally.errors == 0 {
                continue;
            }
            let values = tally.latencies.histogram.percentiles(&[50.0, 99.0, 99.9]);
            writeln!(
                out,
                "     | {index:4} {:<20} {:<5} {:>9.1} {:>10.1} {:>10.1} {:>10.1}",
                disk.info.name,
                direction.word(),
                disk.iops(direction),
                values[0] as f64 / 1e3,
                values[1] as f64 / 1e3,
                values[2] as f64 / 1e3,
            )?;
        }
    }
    if disks.len() > DISKS_SHOWN {
        writeln!(out, "     | ... and {} more: see the JSON output", disks.len() - DISKS_SHOWN)?;
    }
    Ok(())
}

/// At most four digits and a multiple of `base`.
fn scaled(value: f64, base: f64, multiples: &[&str]) -> String {
    let (mut value, mut multiple) = (value, 0);
    while value >= 9_999.5 && multiple + 1 < multiples.len() {
        value /= base;
        multiple += 1;
    }
    let decimals = match value {
        _ if multiple == 0 => 0,
        v if v < 9.995 => 2,
        v if v < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}{}", multiples[multiple])
}

fn thousands(value: f64) -> String {
    scaled(value, 1000.0, &["", "k", "M", "G"])
}

fn binary(bytes: f64, per: &str) -> String {
    // From KiB on, as in fio.
    scaled(bytes / 1024.0, 1024.0, &["KiB", "MiB", "GiB", "TiB", "PiB"]) + per
}

fn decimal(bytes: f64, per: &str) -> String {
    scaled(bytes / 1000.0, 1000.0, &["kB", "MB", "GB", "TB", "PB"]) + per
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_four_digits_at_most() {
        let cases = [(999.0, "999"), (1000.4, "1000"), (12_345.0, "12.3k"), (4_224_977.0, "4225k")];
        for (value, shown) in cases {
            assert_eq!(thousands(value), shown);
        }
        assert_eq!(binary(4_100_096.0, ""), "4004KiB");
        assert_eq!(decimal(4_096_000.0, "/s"), "4096kB/s");
        assert_eq!(binary(17.3e9, "/s"), "16.1GiB/s");
    }
}
