//! What came of a demo, in words and as a document.
//!
//! What must always hold: nothing is said that was not measured; where the processor was too slow
//! for a picture of disks, that is said beside it.

use std::fmt::Write as _;

use isotherm_objects::{Check, Header, Kind, Pass, Plan};
use isotherm_placement::ClusterMap;
use serde_json::{Value, json};

use super::plan::OBJECT_BYTES;
use super::{Drawn, Outcome};
use crate::load::told as passes;
use crate::store::words;

/// What the pass is called that runs after a node was killed.
pub(super) const WITHOUT: &str = "late, a node gone";

/// With more than this share of reads sent late, the client did not keep up.
const LATE_SHARE: f64 = 0.02;
/// Fewer reads than this say nothing of one in a thousand.
const RARE_MIN: u64 = 1_000;

pub(super) fn up(map: &ClusterMap) -> String {
    format!(
        "up: {} nodes with {} disks, {} groups of {}",
        map.nodes.len(),
        map.disks.len(),
        map.groups.len(),
        map.scheme
    )
}

pub(super) fn put(load: &Plan) -> String {
    let bytes = words::size(load.objects * OBJECT_BYTES);
    format!("put: {} objects of {}, {bytes}", load.objects, words::size(OBJECT_BYTES))
}

pub(super) fn passed(pass: &Pass) -> String {
    let reads = pass.kind(Kind::Read);
    let at = |percent| passes::time(reads.response.percentile_ns(percent));
    format!("{}: {} reads, p50 {}, p99 {}", pass.policy, reads.done(), at(50.0), at(99.0))
}

pub(super) fn checked(check: &Check) -> String {
    format!("checked: {} objects, {}", check.right, words::size(check.bytes))
}

/// Whether anything was read that is not what was put, or could not be read with a node gone.
pub(super) fn is_wrong(outcome: &Outcome) -> bool {
    let wrong = outcome.passes.iter().any(|(pass, _)| pass.wrong > 0);
    let check = outcome.check.as_ref();
    let is_whole = |check: &Check| check.right == outcome.drawn.load.objects;
    wrong
        || check.is_some_and(|check| check.wrong + check.failed > 0)
        || (!outcome.was_stopped && !check.is_some_and(is_whole))
}

/// The document of a load, and what a demo adds to it.
pub(super) fn document(outcome: &Outcome) -> Value {
    let seconds = u32::try_from(outcome.began.0 / 1_000_000_000).unwrap_or(0);
    let mut messages = Vec::new();
    for (pass, _) in &outcome.passes {
        messages.extend(planted(&outcome.drawn).map(|text| format!("{}: {text}", pass.policy)));
        if let (WITHOUT, Some(killed)) = (pass.policy.as_str(), &outcome.killed) {
            messages.push(format!("{WITHOUT}: {killed} was killed before this pass"));
        }
        messages.extend(slow(pass).map(|text| format!("{}: {text}", pass.policy)));
    }
    let header = Header {
        began: outcome.began,
        time: words::date(seconds),
        is_virtual: false,
        target: outcome.target.clone(),
        messages,
    };
    let mut document = isotherm_objects::document(&header, &outcome.drawn.load, &outcome.passes);
    let check = outcome.check.as_ref().map(|check| {
        json!({
            "objects_right": check.right, "bytes": check.bytes, "objects_wrong": check.wrong,
            "objects_failed": check.failed, "told": check.told,
        })
    });
    let parts = outcome.parts.iter().map(|(part, took)| json!({ "part": part, "seconds": took }));
    document["isotherm"]["demo"] = json!({
        "seed": outcome.drawn.seed,
        "limping": outcome.drawn.limping_name(),
        "limps_times": outcome.drawn.limp.map(|(_, factor)| factor),
        "hot_share": outcome.drawn.load.hot,
        "killed": outcome.killed,
        "checked": check,
        "interrupted": outcome.was_stopped,
        "parts": parts.collect::<Vec<_>>(),
    });
    document
}

/// What the seed has planted.
fn planted(drawn: &Drawn) -> Option<String> {
    let name = drawn.limping_name()?;
    let (_, factor) = drawn.limp?;
    Some(format!("{name} takes {factor} times as long for everything"))
}

/// Whether the processor had a part in what was measured.
fn slow(pass: &Pass) -> Option<String> {
    let reads = pass.kind(Kind::Read);
    let sent = reads.lag.count().max(1);
    let is_slow = reads.late as f64 > LATE_SHARE * sent as f64;
    is_slow.then(|| {
        format!(
            "{} of {sent} reads were sent late: the processor is busy, and the times are not \
             those of disks alone",
            reads.late
        )
    })
}

/// The tables, and in words what they show.
pub(super) fn table(outcome: &Outcome, document: &Value) -> String {
    let mut out = String::new();
    if !outcome.passes.is_empty() {
        out.push('\n');
        out.push_str(&rows(outcome));
        out.push('\n');
    }
    let drawn = &outcome.drawn;
    if let Some(text) = planted(drawn) {
        let _ = writeln!(
            out,
            "Planted: {text}; {:.0} % of all reads ask for one object.",
            drawn.load.hot * 100.0
        );
    } else {
        let _ = writeln!(
            out,
            "Nothing planted; {:.0} % of all reads ask for one object.",
            drawn.load.hot * 100.0
        );
    }
    out.push_str(&verdict(outcome));
    if let Some(check) = &outcome.check {
        let killed = outcome.killed.as_deref().unwrap_or("a node");
        let all = drawn.load.objects;
        if check.right == all {
            let _ = writeln!(
                out,
                "With {killed} killed all {all} objects were read and are what was put, {} byte by byte.",
                words::size(check.bytes)
            );
        } else {
            let _ = writeln!(
                out,
                "With {killed} killed {} of {all} objects were read right; {} wrong, {} not read.",
                check.right, check.wrong, check.failed
            );
        }
        for told in &check.told {
            let _ = writeln!(out, "BROKEN: {told}");
        }
    }
    for message in document["messages"].as_array().into_iter().flatten() {
        let message = message.as_str().unwrap_or_default();
        if !message.contains("takes") && !message.contains("was killed") {
            let _ = writeln!(out, "note: {message}");
        }
    }
    if outcome.was_stopped {
        out.push_str("Stopped: this is what was measured until then.\n");
    }
    out
}

fn rows(outcome: &Outcome) -> String {
    let mut out = format!(
        "{:<18} {:>6} {:>9} {:>9} {:>9} {:>9} {:>9} {:>7}   {}\n",
        "reads", "done/s", "p50", "p90", "p99", "p99.9", "max", "failed", "busiest disk, middle"
    );
    for (pass, busy) in &outcome.passes {
        let reads = pass.kind(Kind::Read);
        let at = |percent| passes::time(reads.response.percentile_ns(percent));
        let heat = busy.as_ref().map(|busy| {
            let mut shares: Vec<(f64, usize)> =
                (0..busy.names().len()).map(|disk| (busy.share(disk), disk)).collect();
            shares.sort_by(|a, b| a.0.total_cmp(&b.0));
            let (most, disk) = shares.last().copied().unwrap_or((0.0, 0));
            let middle = shares.get(shares.len() / 2).map_or(0.0, |(share, _)| *share);
            let name = busy.names().get(disk).map_or("", String::as_str);
            format!("{:.0} % {name}, {:.0} %", most * 100.0, middle * 100.0)
        });
        let _ = writeln!(
            out,
            "{:<18} {:>6.0} {:>9} {:>9} {:>9} {:>9} {:>9} {:>7}   {}",
            pass.policy,
            reads.done() as f64 / pass.counted.as_secs_f64().max(1e-9),
            at(50.0),
            at(90.0),
            at(99.0),
            at(99.9),
            passes::time(reads.response.max_ns()),
            reads.failures() + reads.unsent + pass.unfinished,
            heat.unwrap_or_default(),
        );
    }
    out
}

/// What late binding was worth, by the numbers of this run.
fn verdict(outcome: &Outcome) -> String {
    let named = |name: &str| {
        let pass = outcome.passes.iter().find(|(pass, _)| pass.policy == name);
        pass.map(|(pass, _)| pass.kind(Kind::Read)).filter(|reads| reads.done() > 0)
    };
    let (Some(random), Some(late)) = (named("random"), named("late")) else {
        return String::new();
    };
    let rarest = if late.done().min(random.done()) < RARE_MIN { 99.0 } else { 99.9 };
    let ratio = |percent: f64| {
        let of = |tally: &isotherm_objects::Tally| tally.response.percentile_ns(percent).max(1);
        of(late) as f64 / of(random) as f64
    };
    format!(
        "Bound late, the same reads had {:.2} times the p99 and {:.2} times the p{rarest} of those \
         that went to disks by chance.\n",
        ratio(99.0),
        ratio(rarest)
    )
}
