//! Tables for a terminal: how a run stands, and how it came out.
//!
//! What must always hold: plain text, no colour and no cursor movement; lines are at most 100
//! columns, but for the sentences of the verdict. The same state gives the same text.

use std::fmt::Write;

use isotherm_heat::{FALSE_FLAGS_MAX, Missing, Verdict};
use isotherm_seam::{DiskId, Nanos};

use crate::outcome::Outcome;
use crate::plan::Ail;
use crate::progress::Progress;

/// A run under way: one line a disk.
pub fn live(progress: &Progress) -> String {
    let (reads, errors) = progress.totals();
    let mut text = format!(
        "{:5.1} of {:.0} s   {reads} reads, {errors} errors\n\
         disk    reads  errors  waiting  refused      p50      p99  service p50    busy\n",
        progress.elapsed.as_secs_f64(),
        progress.duration.as_secs_f64(),
    );
    for lane in &progress.lanes {
        let gone = if lane.gone { "  gone" } else { "" };
        writeln!(
            text,
            "  {:02}  {:7}  {:6}  {:7}  {:7}  {:>7}  {:>7}  {:>11}  {:5.0} %{gone}",
            lane.disk.0,
            lane.reads,
            lane.errors,
            lane.waiting,
            lane.refused,
            ms(lane.response_p50),
            ms(lane.response_p99),
            ms(lane.service_p50),
            100.0 * lane.busy_share,
        )
        .expect("a string takes all text");
    }
    text
}

/// A run under way, in one line.
pub fn live_line(progress: &Progress) -> String {
    let (reads, errors) = progress.totals();
    let waiting: usize = progress.lanes.iter().map(|lane| lane.waiting).sum();
    let refused: u64 = progress.lanes.iter().map(|lane| lane.refused).sum();
    format!(
        "{:5.1} of {:.0} s: {reads} reads, {errors} errors, {waiting} waiting, {refused} refused",
        progress.elapsed.as_secs_f64(),
        progress.duration.as_secs_f64(),
    )
}

/// A run that is over: the table, and a sentence for each disk that is not simply well.
pub fn summary(outcome: &Outcome) -> String {
    let mut text = String::from(
        "disk  verdict    reads  errors  unserved      p50       p99     p99.9  service p50    busy\n",
    );
    let measured = &outcome.measured;
    for (disk, judgement) in measured.disks.iter().zip(&outcome.judgements) {
        writeln!(
            text,
            "  {:02}  {:<8} {:6}  {:6}  {:8}  {:>7}  {:>8}  {:>8}  {:>11}  {:5.0} %",
            judgement.disk.0,
            judgement.verdict.word(),
            disk.arrived.reads,
            disk.arrived.errors,
            disk.arrived.refused + disk.arrived.left_over,
            ms(disk.response(0.5)),
            ms(disk.response(0.99)),
            ms(disk.response(0.999)),
            ms(disk.service(0.5)),
            100.0 * disk.busy_share,
        )
        .expect("a string takes all text");
    }
    text.push_str(
        "Times in ms: p50 to p99.9 from the intended start of a read, service from handing it to \
         the disk.\nUnserved: turned away at a full queue, or still waiting when the load ended.\n",
    );
    text.push('\n');
    for judgement in outcome.judgements.iter().filter(|j| j.verdict != Verdict::Ok) {
        writeln!(text, "{judgement}").expect("a string takes all text");
    }
    let healthy = outcome.judgements.iter().filter(|j| !j.verdict.is_flagged()).count();
    writeln!(
        text,
        "False alarms to expect among {healthy} healthy disks: below {:.4} (docs/FLEET.md).",
        healthy as f64 * FALSE_FLAGS_MAX
    )
    .expect("a string takes all text");
    for missing in missing_lines(outcome) {
        writeln!(text, "{missing}").expect("a string takes all text");
    }
    text
}

/// Whether the verdict is right, against what was planted.
pub fn grade(outcome: &Outcome) -> String {
    let planted: Vec<String> = outcome
        .plan
        .planted()
        .map(|(disk, ail)| match ail {
            Ail::Limp { factor } => format!("disk {:02} limping {factor:.2}x", disk.0),
            Ail::BadRegion { start, length } => format!(
                "disk {:02} with {:.1} % bad from {:.1} % on",
                disk.0,
                100.0 * length,
                100.0 * start
            ),
        })
        .collect();
    let planted = if planted.is_empty() { "nothing".to_owned() } else { planted.join(" and ") };
    let grade = &outcome.grade;
    let list = |disks: &[DiskId]| {
        disks.iter().map(|disk| format!("{:02}", disk.0)).collect::<Vec<_>>().join(", ")
    };
    let mut text = format!("Planted: {planted}. ");
    if grade.is_right() {
        text.push_str(if grade.found.is_empty() {
            "None was flagged.\n"
        } else {
            "Just these were flagged.\n"
        });
        return text;
    }
    if !grade.missed.is_empty() {
        write!(text, "Missed: {}. ", list(&grade.missed)).expect("a string takes all text");
    }
    if !grade.wronged.is_empty() {
        write!(text, "Wrongly flagged: {}. ", list(&grade.wronged))
            .expect("a string takes all text");
    }
    text.push('\n');
    text
}

/// What the verdict had to do without: each kind once, with the disks that it concerns.
fn missing_lines(outcome: &Outcome) -> Vec<String> {
    let mut kinds: Vec<(&Missing, Vec<DiskId>)> = Vec::new();
    for judgement in &outcome.judgements {
        for missing in &judgement.evidence.missing {
            let kind = std::mem::discriminant(missing);
            match kinds.iter_mut().find(|(known, _)| std::mem::discriminant(*known) == kind) {
                Some((_, disks)) => disks.push(judgement.disk),
                None => kinds.push((missing, vec![judgement.disk])),
            }
        }
    }
    let line = |(missing, disks): (&Missing, Vec<DiskId>)| match &disks[..] {
        [disk] => format!("disk {:02}: {missing}", disk.0),
        [first, ..] => format!("{} disks, such as {:02}: {missing}", disks.len(), first.0),
        [] => unreachable!("a kind was seen on a disk"),
    };
    kinds.into_iter().map(line).collect()
}

/// Milliseconds to four digits or so.
fn ms(time: Nanos) -> String {
    let ms = time.as_millis_f64();
    if ms >= 1_000.0 { format!("{ms:.0}") } else { format!("{ms:.1}") }
}
