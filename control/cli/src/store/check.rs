//! `isotherm store check` and `scrub`: is all there that should be, and unharmed?
//!
//! What must always hold: the first line is the verdict, the exit code says the same, and a disk
//! that could not be read as far as needed is never called sound.

use std::process::ExitCode;

use isotherm_store::offline::{Checked, Fault};
use isotherm_store::{GetError, OpenError, RecoveryReport, WalkError};
use serde_json::{Value, json};

use super::rig::{Setup, Watcher, run};
use super::{On, Recovery, explain, words};

/// Faults that are told one by one in text; JSON has all of them.
const FAULTS_TOLD: usize = 100;

/// Says whether a store is sound. Writes nothing.
///
/// Reads the checkpoints, the index, what was written since, and the heads of open extents; with
/// --full also every record, as `scrub` does. The first line is the verdict: sound, `holes: …`
/// (something acknowledged may be lost), `damaged: …`, `not a store`, or `not judged: …`.
#[derive(clap::Args)]
#[command(after_help = "Exit codes: 0 sound; 1 holes or damage; 2 it can't be judged: no store, \
or the disk can't be read; 130 stopped.

Examples:
  isotherm store check /dev/sdb
  isotherm store check /dev/sdb --full
  isotherm store check /dev/sdb --full-scan --full --json")]
pub(super) struct CheckCommand {
    #[command(flatten)]
    on: On,
    #[command(flatten)]
    recovery: Recovery,
    /// Read and check every record too
    #[arg(long)]
    full: bool,
}

/// Reads every record of a store and checks it. Writes nothing.
///
/// The same as `check --full`. What is found damaged can be repaired from the other disks of its
/// stripe; a store that runs scrubs by itself.
#[derive(clap::Args)]
#[command(after_help = "Exit codes: 0 sound; 1 holes or damage; 2 it can't be judged; 130 \
stopped.

Example:
  isotherm store scrub /dev/sdb")]
pub(super) struct ScrubCommand {
    #[command(flatten)]
    on: On,
    #[command(flatten)]
    recovery: Recovery,
}

impl ScrubCommand {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        CheckCommand { on: self.on, recovery: self.recovery, full: true }.run()
    }
}

/// What is said first, and what the exit code says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    Sound,
    Holes,
    Damaged,
    NotAStore,
    Unjudged,
    Stopped,
}

impl Verdict {
    fn code(self) -> u8 {
        match self {
            Verdict::Sound => 0,
            Verdict::Holes | Verdict::Damaged => 1,
            Verdict::NotAStore | Verdict::Unjudged => 2,
            Verdict::Stopped => 130,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Verdict::Sound => "sound",
            Verdict::Holes => "holes",
            Verdict::Damaged => "damaged",
            Verdict::NotAStore => "not a store",
            Verdict::Unjudged => "not judged",
            Verdict::Stopped => "stopped",
        }
    }
}

/// All that is known when it ends.
#[derive(Default)]
struct Findings {
    report: RecoveryReport,
    entries: u64,
    heads: Checked,
    /// With `--full`.
    records: Option<Checked>,
}

impl CheckCommand {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let spec = self.on.spec()?;
        let watcher = Watcher::new("reading the index")?;
        let watch = watcher.clone();
        let (recovery, full) = (self.recovery, self.full);
        let told = run(&spec, &Setup::reading(), &watcher, move |world, disk| async move {
            let disk = recovery.recover(&world, &disk).await?;
            let mut findings = Findings {
                report: disk.report().clone(),
                entries: disk.entries(),
                ..Findings::default()
            };
            findings.heads = disk.check_heads().await?;
            if full {
                let records = disk.check_records(&|at| watch.at("checking", at)).await;
                findings.records = Some(records.map_err(|error| match error {
                    GetError::Io(error) => OpenError::Walk(WalkError::Io(error)),
                    GetError::Buffer(why) => OpenError::Walk(WalkError::Buffer(why)),
                    _ => OpenError::Index,
                })?);
            }
            Ok(findings)
        });
        let (verdict, text, findings) = match told {
            Err(error) => (Verdict::Unjudged, format!("{error:#}"), None),
            Ok(None) => (Verdict::Stopped, "while the index was read".to_owned(), None),
            Ok(Some(Err(error))) => {
                let (verdict, text) = of_error(&self.on.device, error);
                (verdict, text, None)
            }
            Ok(Some(Ok(findings))) => {
                let (verdict, text) = judge(&findings);
                (verdict, text, Some(findings))
            }
        };
        if self.on.json {
            let findings = findings.as_ref().map(findings_json);
            let told = json!({
                "verdict": verdict.word(), "exit_code": verdict.code(), "why": text,
                "findings": findings,
            });
            println!("{told:#}");
        } else {
            match text.as_str() {
                "" => println!("{}", verdict.word()),
                text => println!("{}: {text}", verdict.word()),
            }
            if let Some(findings) = &findings {
                print(findings);
            }
        }
        Ok(ExitCode::from(verdict.code()))
    }
}

/// What a disk is that could not be opened.
fn of_error(device: &str, error: OpenError) -> (Verdict, String) {
    let verdict = match error {
        OpenError::NotAStore => Verdict::NotAStore,
        OpenError::NoCheckpoint | OpenError::Index => Verdict::Damaged,
        _ => Verdict::Unjudged,
    };
    let text = match error {
        OpenError::NotAStore => String::new(),
        error => format!("{:#}", explain(device, error)),
    };
    (verdict, text)
}

fn judge(findings: &Findings) -> (Verdict, String) {
    let records = findings.records.iter();
    let faults: Vec<&Fault> =
        records.clone().flat_map(|checked| &checked.faults).chain(&findings.heads.faults).collect();
    let holes = &findings.report.holes;
    let stopped = records.clone().any(|checked| checked.stopped);
    if !faults.is_empty() {
        let is_record =
            |fault: &&&Fault| matches!(fault, Fault::Damaged { .. } | Fault::Missing { .. });
        let shards = faults.iter().filter(is_record).count();
        let other = faults.len() - shards;
        let parts = [
            (shards > 0).then(|| format!("{shards} shards or tombstones")),
            (other > 0).then(|| format!("{other} blocks of the store's own")),
            (!holes.is_empty()).then(|| format!("{} holes", holes.len())),
            stopped.then(|| "stopped before its end".to_owned()),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        return (Verdict::Damaged, parts.join(", "));
    }
    if !holes.is_empty() {
        let blocks: u64 = holes.iter().map(|hole| u64::from(hole.blocks)).sum();
        let text = format!(
            "{blocks} blocks in {} places where something acknowledged may have been; repair \
             them from other disks",
            holes.len()
        );
        return (Verdict::Holes, text);
    }
    if stopped {
        let extents = records.map(|checked| checked.extents).sum::<u32>();
        return (Verdict::Stopped, format!("nothing wrong in {extents} extents so far"));
    }
    (Verdict::Sound, String::new())
}

fn print(findings: &Findings) {
    let report = &findings.report;
    let how = match (report.full_scan, report.clean) {
        (true, _) => "every check block was read".to_owned(),
        (false, true) => format!("checkpoint {}, closed", report.checkpoint),
        (false, false) => {
            format!(
                "checkpoint {}, not closed: {} changes replayed, {} torn, which is harmless",
                report.checkpoint, report.records_replayed, report.records_torn
            )
        }
    };
    println!("{how}; {} entries", findings.entries);
    if report.checkpoint_damaged {
        println!("note: the newest checkpoint is not whole; the one before it served");
    }
    if report.unreadable_blocks > 0 {
        println!("note: {} blocks could not be read", report.unreadable_blocks);
    }
    match &findings.records {
        None => println!("not read: the records themselves (--full)"),
        Some(checked) => {
            let size = words::size(checked.blocks * isotherm_store::BLOCK_BYTES as u64);
            println!(
                "{} extents, {size}: {} shards, {} tombstones, {} index chunks, {} superseded{}",
                checked.extents,
                checked.shards,
                checked.tombstones,
                checked.chunks,
                checked.superseded,
                if checked.stopped { "; stopped before its end" } else { "" },
            );
            if checked.superseded_damaged > 0 || checked.unreadable_blocks > 0 {
                println!(
                    "note: {} superseded records are damaged, {} blocks can't be read",
                    checked.superseded_damaged, checked.unreadable_blocks
                );
            }
        }
    }
    for hole in &report.holes {
        println!("hole: {} blocks from {}:{}", hole.blocks, hole.extent.0, hole.block);
    }
    let faults = findings.heads.faults.iter();
    let faults: Vec<&Fault> =
        faults.chain(findings.records.iter().flat_map(|checked| &checked.faults)).collect();
    for fault in faults.iter().take(FAULTS_TOLD) {
        println!("{fault}");
    }
    if let Some(more) = faults.len().checked_sub(FAULTS_TOLD + 1) {
        println!("and {} more (--json tells all)", more + 1);
    }
}

fn findings_json(findings: &Findings) -> Value {
    let report = &findings.report;
    let holes: Vec<Value> = report.holes.iter().map(hole_json).collect();
    let faults = findings.heads.faults.iter();
    let faults: Vec<Value> = faults
        .chain(findings.records.iter().flat_map(|checked| &checked.faults))
        .map(fault_json)
        .collect();
    json!({
        "checkpoint": report.checkpoint,
        "checkpoint_damaged": report.checkpoint_damaged,
        "clean": report.clean,
        "full_scan": report.full_scan,
        "entries": findings.entries,
        "records_replayed": report.records_replayed,
        "records_torn": report.records_torn,
        "unreadable_blocks": report.unreadable_blocks,
        "holes": holes,
        "faults": faults,
        "records": findings.records.as_ref().map(|checked| json!({
            "extents": checked.extents,
            "blocks": checked.blocks,
            "shards": checked.shards,
            "tombstones": checked.tombstones,
            "chunks": checked.chunks,
            "superseded": checked.superseded,
            "superseded_damaged": checked.superseded_damaged,
            "unreadable_blocks": checked.unreadable_blocks,
            "stopped": checked.stopped,
        })),
    })
}

pub(super) fn hole_json(hole: &isotherm_store::Hole) -> Value {
    json!({"extent": hole.extent.0, "block": hole.block, "blocks": hole.blocks})
}

fn fault_json(fault: &Fault) -> Value {
    let (kind, key, place) = match fault {
        Fault::Head { extent, .. } => ("head", None, (extent.0, 0)),
        Fault::HeadUnreadable { extent } => ("head unreadable", None, (extent.0, 0)),
        Fault::Damaged { key, place } => {
            ("damaged", Some(key.to_string()), (place.extent.0, place.block))
        }
        Fault::Missing { key, place } => {
            ("missing", Some(key.to_string()), (place.extent.0, place.block))
        }
        Fault::Chunk { place, .. } => ("index chunk", None, (place.extent.0, place.block)),
    };
    json!({
        "kind": kind, "key": key, "extent": place.0, "block": place.1, "text": fault.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use isotherm_store::{ExtentId, Hole, Key, Place};

    use super::*;

    #[test]
    fn damage_goes_before_holes_and_holes_before_a_stop() {
        let mut findings = Findings::default();
        assert_eq!(judge(&findings).0, Verdict::Sound);
        findings.records = Some(Checked { stopped: true, ..Checked::default() });
        assert_eq!(judge(&findings).0, Verdict::Stopped);
        findings.report.holes.push(Hole { extent: ExtentId(1), block: 2, blocks: 3 });
        assert_eq!(judge(&findings).0, Verdict::Holes);
        let place = Place { extent: ExtentId(1), block: 2, blocks: 3, dead: false };
        let fault = Fault::Missing { key: Key::MIN, place };
        findings.records = Some(Checked { faults: vec![fault], ..Checked::default() });
        let (verdict, text) = judge(&findings);
        assert_eq!((verdict, text.as_str()), (Verdict::Damaged, "1 shards or tombstones, 1 holes"));
    }

    #[test]
    fn a_disk_that_can_not_be_opened_is_never_sound() {
        let of = |error| of_error("/dev/x", error).0.code();
        assert_eq!(of(OpenError::NotAStore), 2);
        assert_eq!(of(OpenError::NoCheckpoint), 1);
        assert_eq!(of(OpenError::Index), 1);
        assert_eq!(of(OpenError::Walk(isotherm_seam::IoError::Gone.into())), 2);
        assert_eq!(of(OpenError::Resized { recorded: 2, found: 1 }), 2);
    }
}
