//! A judgement as sentences for people: the same words in the bench's table, in its document
//! and in the control plane's log.
//!
//! What must always hold: each number of a sentence is in the evidence; nothing is said that
//! the evidence does not hold.

use std::fmt::{self, Display, Formatter};

use isotherm_seam::Nanos;

use crate::evidence::{
    Comparison, Evidence, Judgement, Metric, Missing, TailEvidence, Verdict, WindowEvidence,
};
use crate::region::RegionEvidence;

impl Display for Verdict {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl Display for Judgement {
    /// One line: the disk, what it is like, and the evidence.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let evidence = &self.evidence;
        write!(f, "disk {:02} ", self.disk.0)?;
        match self.verdict {
            Verdict::Ok => write!(f, "is like its peers"),
            Verdict::Watch => {
                write!(f, "is worth watching (no proof): ")?;
                watch_reasons(evidence, f)
            }
            Verdict::Erratic => {
                write!(f, "is erratic: ")?;
                tail_reasons(evidence, &mut Parts::new(f))
            }
            Verdict::Slow => {
                write!(f, "limps: ")?;
                slow_reasons(evidence, f)
            }
            Verdict::Failing => match &evidence.region {
                Some(region) => write!(f, "has a bad region: {region}"),
                None => write!(f, "fails: {} reads failed all over the disk", evidence.errors),
            },
            Verdict::Gone => match evidence.silence {
                Some(silence) if !evidence.said_gone => {
                    write!(f, "does not answer: silent for {}", Ms(silence))
                }
                _ => write!(f, "is gone: the device says so"),
            },
        }?;
        if let Verdict::Failing | Verdict::Gone = self.verdict
            && let Some(p50) = evidence.comparison(Metric::P50).filter(|c| c.worse)
        {
            write!(f, "; it is slow too: {p50}")?;
        }
        Ok(())
    }
}

impl Evidence {
    /// The comparison of one quantile, where it could be made.
    pub fn comparison(&self, metric: Metric) -> Option<&Comparison> {
        self.comparisons.iter().find(|c| c.metric == metric)
    }
}

fn slow_reasons(evidence: &Evidence, f: &mut Formatter<'_>) -> fmt::Result {
    if let Some(p50) = evidence.comparison(Metric::P50) {
        write!(f, "{p50}")?;
    }
    let worse = evidence.comparisons.iter().filter(|c| c.worse).count();
    write!(f, ", in {worse} of {} metrics", evidence.comparisons.len())?;
    match evidence.windows {
        Some(w) if w.worse == w.compared => write!(f, " and all {} windows", w.compared),
        Some(w) => write!(f, " and {} of {} windows", w.worse, w.compared),
        None => Ok(()),
    }
}

fn tail_reasons(evidence: &Evidence, parts: &mut Parts<'_, '_>) -> fmt::Result {
    for comparison in evidence.comparisons.iter().filter(|c| c.worse) {
        parts.say(comparison)?;
    }
    if let Some(tail) = evidence.tail.filter(|t| t.slow_reads as f64 > t.expected) {
        parts.say(&tail)?;
    }
    if let Some(windows) = evidence.windows.filter(|w| w.episodes > 0) {
        parts.say(&windows)?;
    }
    Ok(())
}

fn watch_reasons(evidence: &Evidence, f: &mut Formatter<'_>) -> fmt::Result {
    let failed = format_args!("{} failed reads", evidence.errors).to_string();
    let mut parts = Parts::new(f);
    if evidence.errors > 0 {
        parts.say(&failed)?;
    }
    if let Some(region) = &evidence.region_hint {
        parts.say(region)?;
    }
    tail_reasons(evidence, &mut parts)
}

/// Writes parts with semicolons between them.
struct Parts<'a, 'b> {
    f: &'a mut Formatter<'b>,
    any: bool,
}

impl<'a, 'b> Parts<'a, 'b> {
    fn new(f: &'a mut Formatter<'b>) -> Self {
        Parts { f, any: false }
    }

    fn say(&mut self, part: &dyn Display) -> fmt::Result {
        let between = if self.any { "; " } else { "" };
        self.any = true;
        write!(self.f, "{between}{part}")
    }
}

impl Display for Comparison {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "service {} {} against {} of its peers ({:.1}x, z {:.0})",
            self.metric.word(),
            Ms(self.own),
            Ms(self.peers),
            self.ratio,
            self.z
        )
    }
}

impl Display for WindowEvidence {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "slow for {} of {} windows", self.episodes, self.compared)
    }
}

impl Display for TailEvidence {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} reads beyond {} where {:.1} are usual (p = {:.0e})",
            self.slow_reads,
            Ms(self.threshold),
            self.expected,
            self.p_value
        )
    }
}

impl Display for RegionEvidence {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} failed or slow reads ({} failed) within LBA {}..{}, {:.1} % of the disk \
             (p = {:.0e})",
            self.inside,
            self.incidents,
            self.errors_inside,
            self.first.0,
            self.last.0,
            100.0 * self.disk_share,
            self.p_value
        )
    }
}

impl Display for Missing {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Missing::Peers { have, need } => {
                write!(f, "not compared: {have} peers where {need} are needed")
            }
            Missing::Reads { have, need } => {
                write!(f, "not compared: {have} reads where {need} are needed")
            }
            Missing::TailReads { have, need } => {
                write!(f, "p99 not compared: {have} reads where {need} are needed")
            }
            Missing::Windows { have, need } => {
                write!(f, "not followed over time: {have} windows where {need} are needed")
            }
            Missing::LikeLoad { ratio } => {
                write!(f, "not compared: its load is {ratio:.2} times that of its peers")
            }
            Missing::Coverage => write!(f, "reads were taken to be spread evenly"),
        }
    }
}

/// A length of time in milliseconds, with the digits that matter.
struct Ms(Nanos);

impl Display for Ms {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let ms = self.0.as_millis_f64();
        if ms >= 100.0 { write!(f, "{ms:.0} ms") } else { write!(f, "{ms:.1} ms") }
    }
}
