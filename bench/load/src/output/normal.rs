//! A report for people, in the line shapes of fio's normal output, which scripts read too.

use core::fmt::{self, Write as _};

use isotherm_workload::{Direction, Unified};

use super::{
    BATCHES, CLASSES, DEPTHS, Style, Times, WAYS, Way, latency_classes, percentages, share_of_group,
};
use crate::calendar::date;
use crate::report::{DiskResult, JobResult, Report};

/// Disks listed by themselves; the rest are in the JSON.
const DISKS_SHOWN: usize = 16;

pub(super) fn write(report: &Report, _: &Style) -> String {
    report.to_string()
}

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
        for disk in &self.disk_uses {
            let util = self.utilisation(disk);
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
            "{}: (groupid={}, jobs={}): err={error:2}: pid={}: {}",
            job.job.name,
            job.group,
            job.lanes,
            self.pid,
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
        for way in job.ways().iter().filter(|way| way.tally.ios() > 0) {
            self.write_direction(out, job, way)?;
        }
        self.write_classes(out, job)?;
        let [user, system] = self.cpu_percent(job);
        if self.time == crate::TimeSource::Host {
            writeln!(
                out,
                "  cpu          : usr={user:.2}%, sys={system:.2}%, ctx={}, majf={}, minf={}",
                job.cpu.switches, job.cpu.major_faults, job.cpu.minor_faults,
            )?;
        }
        let depths = [
            ("  IO depths    :", DEPTHS, &job.depths.level),
            ("     submit    :", BATCHES, &job.depths.submit),
            ("     complete  :", BATCHES, &job.depths.complete),
        ];
        for (label, keys, counts) in depths {
            let parts = keys.iter().zip(percentages(counts));
            let parts: Vec<String> =
                parts.map(|(key, share)| format!("{key}={share:.1}%")).collect();
            writeln!(out, "{label} {}", parts.join(", "))?;
        }
        let [reads, writes, trims] = WAYS.map(|word| job.way(word).tally.ios());
        let syncs = job.syncs.as_deref().map_or(0, Times::count);
        writeln!(
            out,
            "     issued rwts: total={reads},{writes},{trims},{syncs} short=0,0,0,0 \
             dropped=0,0,0,0"
        )?;
        let target = &job.job.target;
        writeln!(
            out,
            "     latency   : target={}, window={}, percentile={:.2}%, depth={}",
            target.latency.0,
            target.window.0 / 1000,
            target.percent,
            job.found_depth.unwrap_or(job.depth),
        )?;
        if let Some(steady) = &job.steady {
            let attained = if steady.attained() { "yes" } else { "no" };
            let bytes = steady.bandwidth_mean();
            let percent = if steady.plan().percent { "%" } else { "" };
            let kind = match (steady.plan().word(), steady.plan().slope) {
                (word, true) => word.replace('_', " "),
                (word, false) => format!("{word} mean dev"),
            };
            writeln!(
                out,
                "  steadystate  : attained={attained}, bw={:.0}KiB/s ({:.0}kB/s), iops={:.0}, \
                 {kind}={:.3}{percent}",
                bytes / 1024.0,
                bytes / 1000.0,
                steady.iops_mean(),
                steady.criterion(),
            )?;
        }
        write_disks(out, job)
    }

    fn write_classes(&self, out: &mut String, job: &JobResult) -> fmt::Result {
        let units = ["nsec", "usec", "msec"];
        for (unit, shares) in units.iter().zip(latency_classes(job)) {
            let names = CLASSES.map(|n| n.to_string()).into_iter();
            let names = names.chain(["2000".into(), ">=2000".into()]);
            // What is nothing is left out, and what rounds to nothing is not, as in fio.
            let shown: Vec<String> = names
                .zip(shares)
                .filter(|(_, share)| *share > 0.0)
                .map(|(name, share)| format!("{name}={:.2}%", share.max(0.01)))
                .collect();
            for row in shown.chunks(5) {
                writeln!(out, "  lat ({unit})   : {}", row.join(", "))?;
            }
        }
        Ok(())
    }

    fn group(&self, f: &mut fmt::Formatter<'_>, group: u32) -> fmt::Result {
        writeln!(f, "\nRun status group {group} (all jobs):")?;
        let jobs: Vec<&JobResult> = self.jobs.iter().filter(|job| job.group == group).collect();
        let unified = jobs.first().map_or(Unified::Separate, |job| job.job.results.unified);
        let words: &[&str] = match unified {
            Unified::Separate => &WAYS,
            Unified::Mixed => &["mixed"],
            Unified::Both => &["read", "write", "trim", "mixed"],
        };
        for word in words {
            let ways = jobs.iter().map(|job| (*job, job.any_way(word)));
            let ways: Vec<(&JobResult, Way<'_>)> =
                ways.filter(|(_, way)| way.tally.ios() > 0).collect();
            if ways.is_empty() {
                continue;
            }
            let rates: Vec<f64> = ways.iter().map(|(_, way)| way.bytes_per_second).collect();
            let times: Vec<u64> = ways.iter().map(|(job, _)| job.elapsed.0 / 1_000_000).collect();
            let bytes: u64 = ways.iter().map(|(_, way)| way.tally.bytes).sum();
            let least = rates.iter().copied().fold(f64::INFINITY, f64::min);
            let most = rates.iter().copied().fold(0.0, f64::max);
            let sum: f64 = rates.iter().sum();
            writeln!(
                f,
                "{:>7}: bw={} ({}), {}-{} ({}-{}), io={} ({}), run={}-{}msec",
                word.to_uppercase(),
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

    fn write_direction(&self, out: &mut String, job: &JobResult, way: &Way<'_>) -> fmt::Result {
        let results = &job.job.results;
        let tally = &way.tally;
        writeln!(
            out,
            "  {}: IOPS={}, BW={} ({})({}/{}msec){}",
            way.word,
            thousands(way.iops),
            binary(way.bytes_per_second, "/s"),
            decimal(way.bytes_per_second, "/s"),
            binary(tally.bytes as f64, ""),
            job.elapsed.0 / 1_000_000,
            // No zone is ever reset.
            if matches!(way.word, "write" | "trim") { "; 0 zone resets" } else { "" },
        )?;
        let families = [
            ("slat", way.submission(job), results.slat),
            ("clat", Some(tally.completion() as &dyn Times), results.clat),
            (" lat", Some(&tally.latencies as &dyn Times), results.lat),
        ];
        let told = |(name, times, family): (&'static str, Option<&'_ dyn Times>, _)| {
            let family: isotherm_workload::Family = family;
            times
                .filter(|times| family.told && times.count() > 0)
                .is_some()
                .then_some((name, family))
        };
        for (name, times, family) in families {
            if let (Some(_), Some(times)) = (told((name, times, family)), times) {
                write_latencies(out, name, times)?;
            }
        }
        for (name, times, family) in families {
            if let (Some((_, family)), Some(times)) = (told((name, times, family)), times)
                && family.percentiles
            {
                write_percentiles(out, name.trim(), times, &results.percentiles)?;
            }
        }
        if let Some(open) = &tally.open_loop {
            write_latencies(out, "  rt", &open.response)?;
            write_percentiles(out, "rt", &open.response, &results.percentiles)?;
            writeln!(
                out,
                "    open loop: rt counts from the intended start; late={} (by more than 1 msec), \
                 never sent={}",
                open.late_ios, open.unsent_ios
            )?;
        }
        let Some(rates) = way.rates else { return Ok(()) };
        let (bytes, iops) = (rates.bytes, rates.iops);
        if bytes.samples() > 0 && results.bandwidth {
            // In MiB where KiB would be long, as in fio.
            let (unit, divisor) =
                if bytes.max() / 1024.0 > 99_999.0 { ("MiB", 1048576.0) } else { ("KiB", 1024.0) };
            writeln!(
                out,
                "   bw ({unit:>5}/s): min={:5.0}, max={:5.0}, per={:3.2}%, avg={:5.2}, \
                 stdev={:5.2}, samples={}",
                bytes.min() / divisor,
                bytes.max() / divisor,
                share_of_group(self, job, way),
                bytes.mean() / divisor,
                bytes.stddev() / divisor,
                bytes.samples()
            )?;
        }
        if iops.samples() > 0 && results.iops {
            writeln!(
                out,
                "   iops        : min={:5.0}, max={:5.0}, avg={:5.2}, stdev={:5.2}, samples={}",
                iops.min(),
                iops.max(),
                iops.mean(),
                iops.stddev(),
                iops.samples()
            )?;
        }
        Ok(())
    }
}

impl JobResult {
    fn any_way(&self, word: &'static str) -> Way<'_> {
        if word == "mixed" { self.mixed() } else { self.way(word) }
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

/// A unit of time that suits these: its name and its length in nanoseconds.
fn unit_of(times: &dyn Times) -> (&'static str, f64) {
    match (times.min_ns(), times.max_ns()) {
        (2_000_001.., 100_000_000..) => ("msec", 1e6),
        (2_001.., 100_000..) => ("usec", 1e3),
        _ => ("nsec", 1.0),
    }
}

fn write_latencies(out: &mut String, name: &str, times: &dyn Times) -> fmt::Result {
    let (unit, ns) = unit_of(times);
    writeln!(
        out,
        "    {name} ({unit}): min={}, max={}, avg={:5.2}, stdev={:5.2}",
        thousands((times.min_ns() as f64 / ns).floor()),
        thousands((times.max_ns() as f64 / ns).floor()),
        times.mean_ns() / ns,
        times.stddev_ns() / ns,
    )
}

fn write_percentiles(
    out: &mut String,
    name: &str,
    times: &dyn Times,
    percents: &[f64],
) -> fmt::Result {
    let values = times.percentiles(percents);
    let (least, most) = (values.first().unwrap_or(&0), values.last().unwrap_or(&0));
    let (unit, ns) = match (least, most) {
        (2_000_001.., 100_000_000..) => ("msec", 1_000_000),
        (2_001.., 100_000..) => ("usec", 1_000),
        _ => ("nsec", 1),
    };
    writeln!(out, "    {name} percentiles ({unit}):")?;
    let values: Vec<String> = values.iter().map(|v| (v / ns).to_string()).collect();
    let width = values.iter().map(String::len).max().unwrap_or(0).max(5);
    let shown: Vec<String> = percents
        .iter()
        .zip(&values)
        .map(|(percent, value)| format!("{percent:5.2}th=[{value:>width$}]"))
        .collect();
    // As many as fio puts in its 80 columns.
    let rows: Vec<String> = shown.chunks(73 / (12 + width)).map(|row| row.join(", ")).collect();
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
