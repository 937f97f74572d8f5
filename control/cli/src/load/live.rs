//! How a load goes, on standard error.
//!
//! What must always hold: nothing is written to standard output; on a terminal a line is written
//! over the one before and taken away at the end; elsewhere there are lines only if they are asked
//! for.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};

use isotherm_host::HostClock;
use isotherm_objects::{Kind, Sight};
use isotherm_seam::{Clock, Mono, Nanos};

use super::told::time;
use crate::store::words;

/// Virtual seconds go by faster than anybody reads.
const SHOWN_EVERY: Nanos = Nanos::from_millis(100);

/// The view of a run.
pub(crate) struct Live {
    is_shown: bool,
    is_terminal: bool,
    policy: String,
    whole: Nanos,
    shown_at: Mono,
    is_dirty: bool,
}

impl Live {
    pub(crate) fn new(wanted: bool) -> Live {
        let is_terminal = std::io::stderr().is_terminal();
        Live {
            is_shown: wanted || is_terminal,
            is_terminal,
            policy: String::new(),
            whole: Nanos::ZERO,
            shown_at: Mono::ZERO,
            is_dirty: false,
        }
    }

    /// A pass begins.
    pub(super) fn begin(&mut self, policy: &str, whole: Nanos) {
        (self.policy, self.whole) = (policy.to_owned(), whole);
    }

    /// Objects go by, one after the other.
    pub(super) fn moved(&mut self, moved: u64, objects: u64, word: &str) {
        self.write(&format!("{moved} of {objects} objects {word}"));
    }

    pub(super) fn show(&mut self, sight: &Sight) {
        let text = line(&self.policy, self.whole, sight);
        self.write(&text);
    }

    /// Takes the line away.
    pub(super) fn clear(&mut self) {
        if self.is_dirty {
            let _ = std::io::stderr().lock().write_all(b"\r\x1b[K");
            self.is_dirty = false;
        }
    }

    fn write(&mut self, text: &str) {
        let now = HostClock::new().mono();
        if !self.is_shown || (self.is_dirty && now.since(self.shown_at) < SHOWN_EVERY) {
            return;
        }
        self.shown_at = now;
        self.is_dirty = self.is_terminal;
        let text = if self.is_terminal { format!("\r\x1b[K{text}") } else { format!("{text}\n") };
        // A terminal that is gone is no reason to stop measuring.
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
    }
}

fn line(policy: &str, whole: Nanos, sight: &Sight) -> String {
    let (elapsed, whole) = (sight.elapsed.as_secs_f64(), whole.as_secs_f64().max(1e-9));
    let mut out = format!("{policy}: [{:.1}%]", (elapsed * 100.0 / whole).min(100.0));
    for (kind, rate) in Kind::ALL.iter().zip(sight.per_second) {
        if rate > 0.0 {
            let _ = write!(out, "[{}={rate:.0}/s]", &kind.word()[..1]);
        }
    }
    let _ = write!(
        out,
        "[{}/s][p99 {}][{} under way]",
        words::size(sight.bytes_per_second as u64),
        time(sight.p99.0),
        sight.under_way
    );
    for (count, word) in
        [(sight.late, "late"), (sight.failed, "failed"), (sight.wrong, "PROMISES BROKEN")]
    {
        if count > 0 {
            let _ = write!(out, "[{count} {word}]");
        }
    }
    let left = (whole - elapsed).max(0.0) as u64;
    let _ = write!(out, "[eta {:02}m:{:02}s]", left / 60, left % 60);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_is_known() {
        let sight = Sight {
            elapsed: Nanos::from_secs(15),
            per_second: [95.0, 5.0, 0.0],
            bytes_per_second: 104_857_600.0,
            p99: Nanos::from_millis(34),
            under_way: 3,
            failed: 0,
            late: 2,
            wrong: 0,
        };
        assert_eq!(
            line("late", Nanos::from_secs(60), &sight),
            "late: [25.0%][r=95/s][w=5/s][100.0 MiB/s][p99 34.0 ms][3 under way][2 late]\
             [eta 00m:45s]"
        );
    }
}
