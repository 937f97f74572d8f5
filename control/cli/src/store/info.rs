//! `isotherm store info`: what a disk holds, in short.

use std::process::ExitCode;

use isotherm_store::layout::State;
use isotherm_store::offline::ExtentInfo;
use isotherm_store::sched::DiskProfile;
use isotherm_store::{BLOCK_BYTES, RecoveredDisk, uuid_text};
use serde_json::{Value, json};

use super::rig::{Setup, Watcher, run};
use super::{On, Recovery, explain, words};

/// Tells what a store holds and how it stands. Writes nothing.
///
/// Reads the checkpoints, the index and, after an unclean stop, what was written since.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  isotherm store info /dev/sdb
  isotherm store info /dev/sdb --extents
  isotherm store info --json /tmp/disk.img")]
pub(super) struct InfoCommand {
    #[command(flatten)]
    on: On,
    #[command(flatten)]
    recovery: Recovery,
    /// One line for each extent that holds something
    #[arg(long)]
    extents: bool,
}

impl InfoCommand {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let spec = self.on.spec()?;
        let watcher = Watcher::new("reading the index")?;
        let recovery = self.recovery;
        let told = run(&spec, &Setup::reading(), &watcher, move |world, disk| async move {
            recovery.recover(&world, &disk).await
        })?;
        let Some(disk) = told else {
            eprintln!("isotherm: stopped while the index was read");
            return Ok(ExitCode::from(130));
        };
        let disk = disk.map_err(|error| explain(&self.on.device, error))?;
        if self.on.json {
            println!("{:#}", self.to_json(&disk));
        } else {
            self.print(&disk);
        }
        Ok(ExitCode::SUCCESS)
    }

    fn print(&self, disk: &RecoveredDisk) {
        let checkpoint = disk.checkpoint();
        let report = disk.report();
        let counts = disk.extent_counts();
        let extent_bytes = u64::from(checkpoint.extent_blocks) * BLOCK_BYTES as u64;
        let extents = disk.extents().count() as u64;
        let line = |name: &str, text: String| println!("{name:<14}{text}");
        line("store", uuid_text(&checkpoint.uuid));
        line("formatted", words::date(checkpoint.formatted_s));
        let how = match (report.full_scan, report.clean) {
            (true, _) => "not used: everything was read".to_owned(),
            (false, true) => {
                format!("{}, closed {}", report.checkpoint, words::date(checkpoint.written_s))
            }
            (false, false) => format!(
                "{} of {}, not closed: {} changes replayed from {} extents",
                report.checkpoint,
                words::date(checkpoint.written_s),
                report.records_replayed,
                report.extents_read
            ),
        };
        line("checkpoint", how);
        if checkpoint.retired {
            line("retired", "takes no more puts".to_owned());
        }
        line(
            "size",
            format!(
                "{} in {extents} extents of {}",
                words::size(extents * extent_bytes),
                words::size(extent_bytes)
            ),
        );
        line(
            "extents",
            format!(
                "{} free, {} open, {} sealed, {} dead, {} offline, {} meta; {} suspect",
                counts.free,
                counts.open,
                counts.sealed,
                counts.dead,
                counts.offline,
                counts.meta,
                counts.suspect
            ),
        );
        let live = words::size(disk.live_bytes());
        line("live", format!("{live} of shards, tombstones and index"));
        line("entries", format!("{} shards and kept tombstones", disk.entries()));
        let runs = disk.runs();
        let run_entries: u64 = runs.iter().map(|run| run.entries).sum();
        line("index", format!("{} runs of {run_entries} entries", runs.len()));
        let room = u64::from(disk.room_extents()) * extent_bytes;
        line("room", format!("{} for new shards before the cleaner works", words::size(room)));
        line("payload", format!("at most {} bytes", checkpoint.payload_max));
        line("calibration", profile_text(&checkpoint.profile));
        for hole in &report.holes {
            let (extent, block, blocks) = (hole.extent.0, hole.block, hole.blocks);
            line("hole", format!("{blocks} blocks from {extent}:{block}: repair from other disks"));
        }
        if self.extents {
            print_extents(disk);
        }
    }

    fn to_json(&self, disk: &RecoveredDisk) -> Value {
        let checkpoint = disk.checkpoint();
        let report = disk.report();
        let counts = disk.extent_counts();
        let holes: Vec<Value> = report
            .holes
            .iter()
            .map(
                |hole| json!({"extent": hole.extent.0, "block": hole.block, "blocks": hole.blocks}),
            )
            .collect();
        let runs: Vec<Value> = disk
            .runs()
            .iter()
            .map(|run| {
                json!({
                    "run": run.id, "level": run.level, "entries": run.entries, "gone": run.gone,
                    "chunks": run.chunks.len(),
                    "first_key": run.first_key.to_string(), "last_key": run.last_key.to_string(),
                })
            })
            .collect();
        let mut told = json!({
            "uuid": uuid_text(&checkpoint.uuid),
            "formatted_s": checkpoint.formatted_s,
            "checkpoint": report.checkpoint,
            "checkpoint_s": checkpoint.written_s,
            "checkpoint_damaged": report.checkpoint_damaged,
            "clean": report.clean,
            "retired": checkpoint.retired,
            "full_scan": report.full_scan,
            "records_replayed": report.records_replayed,
            "records_torn": report.records_torn,
            "holes": holes,
            "extent_bytes": u64::from(checkpoint.extent_blocks) * BLOCK_BYTES as u64,
            "extents": {
                "meta": counts.meta, "free": counts.free, "open": counts.open,
                "sealed": counts.sealed, "dead": counts.dead, "offline": counts.offline,
                "suspect": counts.suspect,
            },
            "entries": disk.entries(),
            "live_bytes": disk.live_bytes(),
            "room_extents": disk.room_extents(),
            "payload_bytes_max": checkpoint.payload_max,
            "runs": runs,
            "calibrated": !checkpoint.profile.is_empty(),
        });
        if self.extents {
            told["extent_rows"] = disk.extents().map(|info| extent_json(&info)).collect();
        }
        told
    }
}

fn print_extents(disk: &RecoveredDisk) {
    let now_s = words::now_s();
    println!(
        "\n{:>7}  {:<8} {:<9} {:>11} {:>8} {:>11}  {:>8}  {:>8}",
        "EXTENT", "STATE", "STREAM", "INCARNATION", "WRITTEN", "LIVE", "NEWEST", "VERIFIED"
    );
    for info in disk.extents() {
        let row = info.row;
        if matches!(row.state, State::Free | State::Next) {
            continue;
        }
        println!(
            "{:>7}  {:<8} {:<9} {:>11} {:>8} {:>11}  {:>8}  {:>8}{}",
            info.id.0,
            words::state(row.state),
            if row.state == State::Meta { "-" } else { words::stream(row.stream) },
            row.incarnation,
            row.written,
            words::size(info.live_bytes),
            words::age(row.newest_s, now_s),
            words::age(row.verified_s, now_s),
            if row.suspect { "  suspect" } else { "" },
        );
    }
}

fn extent_json(info: &ExtentInfo) -> Value {
    let row = info.row;
    json!({
        "extent": info.id.0,
        "state": words::state(row.state),
        "stream": words::stream(row.stream),
        "incarnation": row.incarnation,
        "written_blocks": row.written,
        "live_bytes": info.live_bytes,
        "suspect": row.suspect,
        "newest_s": row.newest_s,
        "verified_s": row.verified_s,
    })
}

fn profile_text(bytes: &[u8]) -> String {
    match bytes.try_into().map(DiskProfile::from_bytes) {
        Err(_) => "none: the disk counts as one without an arm".to_owned(),
        Ok(Err(error)) => error.to_string(),
        Ok(Ok(profile)) => format!(
            "{}, {:.0} to {:.0} MB/s, {:.1} ms overhead and flush {:.1} ms",
            if profile.rotating { "rotating" } else { "no arm" },
            f64::from(profile.outer_kb_s) / 1e3,
            f64::from(profile.inner_kb_s) / 1e3,
            profile.overhead.as_millis_f64(),
            profile.flush.as_millis_f64(),
        ),
    }
}
