//! How a run goes, on standard error: fio's line each second, or a bar for each disk.
//!
//! What must always hold: nothing is written to standard output. On a terminal the view is
//! written over itself and taken away at the end; elsewhere there are plain lines, and only if
//! they are asked for.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};

use isotherm_load::{DiskSight, Sight};
use isotherm_seam::Nanos;

/// Disks that have a bar; the rest are counted.
const BARS_MAX: usize = 20;
/// The longest bar.
const BAR_WIDTH: usize = 30;

/// The view of one run.
pub(super) struct Live {
    shown: bool,
    terminal: bool,
    /// What the jobs say; their longest.
    whole: Option<Nanos>,
    /// Lines that the next view is written over.
    lines: usize,
    before: Vec<u64>,
    at: Nanos,
}

impl Live {
    pub(super) fn new(wanted: Option<bool>, whole: Option<Nanos>) -> Live {
        let terminal = std::io::stderr().is_terminal();
        Live {
            shown: wanted.unwrap_or(terminal),
            terminal,
            whole,
            lines: 0,
            before: Vec::new(),
            at: Nanos::ZERO,
        }
    }

    /// Whether each disk must be looked at.
    pub(super) fn wants_disks(&self) -> bool {
        self.shown && self.terminal
    }

    pub(super) fn show(&mut self, sight: &Sight) {
        if !self.shown {
            return;
        }
        let mut text = line(sight, self.whole);
        if self.terminal && sight.disks.len() > 1 {
            let seconds = (sight.elapsed - self.at).as_secs_f64();
            let iops = self.rates(&sight.disks, seconds);
            text.push_str(&bars(&sight.disks, &iops));
        }
        self.at = sight.elapsed;
        self.before = sight.disks.iter().map(|disk| disk.ios).collect();
        let mut out = String::new();
        if self.terminal {
            out.push_str(&over(self.lines));
            self.lines = text.lines().count();
        }
        out.push_str(&text);
        // A terminal that is gone is no reason to stop measuring.
        let _ = std::io::stderr().lock().write_all(out.as_bytes());
    }

    fn rates(&self, disks: &[DiskSight], seconds: f64) -> Vec<f64> {
        let rate = |(index, disk): (usize, &DiskSight)| {
            let before = self.before.get(index).copied().unwrap_or(0);
            disk.ios.saturating_sub(before) as f64 / seconds.max(1e-9)
        };
        disks.iter().enumerate().map(rate).collect()
    }

    /// Takes the view away.
    pub(super) fn clear(&mut self) {
        if self.lines > 0 {
            let _ = std::io::stderr().lock().write_all(over(self.lines).as_bytes());
            self.lines = 0;
        }
    }
}

/// Goes back over so many lines and clears what stands below.
fn over(lines: usize) -> String {
    if lines == 0 { String::new() } else { format!("\x1b[{lines}A\r\x1b[J") }
}

/// fio's line.
fn line(sight: &Sight, whole: Option<Nanos>) -> String {
    let seconds = sight.elapsed.as_secs_f64();
    let mut out = format!("Jobs: {} (f={})", sight.lanes, sight.disks.len().max(1));
    let (share, left) = match whole.map(Nanos::as_secs_f64).filter(|whole| *whole > 0.0) {
        Some(whole) => {
            let left = (whole - seconds).max(0.0) as u64;
            let share = format!("{:.1}%", (seconds * 100.0 / whole).min(100.0));
            (share, format!("{:02}m:{:02}s", left / 60, left % 60))
        }
        None => ("-.-%".to_owned(), "--".to_owned()),
    };
    let _ = write!(out, ": [{share}]");
    for (letter, bytes) in ["r", "w", "t"].iter().zip(sight.bytes) {
        if bytes > 0.0 {
            let _ = write!(out, "[{letter}={:.0}KiB/s]", bytes / 1024.0);
        }
    }
    for (letter, iops) in ["r", "w", "t"].iter().zip(sight.iops) {
        if iops > 0.0 {
            let _ = write!(out, "[{letter}={iops:.0} IOPS]");
        }
    }
    let _ = writeln!(out, "[eta {left}]");
    out
}

/// A bar for each disk: how many IOPS beside the most that one has; the slowest first.
fn bars(disks: &[DiskSight], iops: &[f64]) -> String {
    let mut order: Vec<usize> = (0..disks.len()).collect();
    order.sort_by(|a, b| disks[*b].p99_ns.total_cmp(&disks[*a].p99_ns));
    let most = iops.iter().copied().fold(1.0, f64::max);
    let mut out = String::new();
    for &index in order.iter().take(BARS_MAX) {
        let disk = &disks[index];
        let filled = (iops[index] / most * BAR_WIDTH as f64).round() as usize;
        let bar: String = (0..BAR_WIDTH).map(|at| if at < filled { '█' } else { '░' }).collect();
        let name: String = disk.name.chars().take(16).collect();
        let errors = match disk.errors {
            0 => String::new(),
            errors => format!("  {errors} errors"),
        };
        let _ = writeln!(
            out,
            "{index:4} {name:<16} {bar} {:>9.0} IOPS  p99 {:>9.2} ms{errors}",
            iops[index],
            disk.p99_ns / 1e6
        );
    }
    if disks.len() > BARS_MAX {
        let _ = writeln!(out, "     and {} more that are faster", disks.len() - BARS_MAX);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_is_known() {
        let sight = Sight {
            lanes: 2,
            iops: std::array::from_fn(|i| if i == 0 { 20.0 } else { 0.0 }),
            bytes: std::array::from_fn(|i| if i == 0 { 81920.0 } else { 0.0 }),
            elapsed: Nanos::from_millis(15_000),
            disks: Vec::new(),
            report: None,
        };
        let text = line(&sight, Some(Nanos::from_secs(60)));
        assert_eq!(text, "Jobs: 2 (f=1): [25.0%][r=80KiB/s][r=20 IOPS][eta 00m:45s]\n");
        assert!(line(&sight, None).contains("[-.-%]"));
    }
}
