//! `isotherm disks`: the disks of this machine, and what the safety check finds on them.
//!
//! What must always hold: nothing is written to any disk. It works as an ordinary user too, and
//! then says what could not be read, on standard error.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use isotherm_host::safety::{Findings, Inspector, Target};
use isotherm_host::{Disk, DiskKind, Uses, WriteCache, ZoneModel};
use isotherm_seam::OpenError;
use serde_json::{Value, json};

/// Disks are looked at by so many threads: each waits for a few reads.
const THREADS_MAX: usize = 16;

/// Lists the disks of this machine, and what they hold.
///
/// A disk is "free" when nothing known stands on it and nobody uses it. Only such a disk is
/// written without `--destroy`.
#[derive(clap::Args)]
pub(crate) struct DisksCommand {
    /// Tell all about this disk, partition or file (a path, or a name such as sda).
    path: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// List those without a medium too: unused loop devices, RAM disks.
    #[arg(long)]
    all: bool,
}

impl DisksCommand {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let inspector = Inspector::new();
        match &self.path {
            Some(path) => {
                let path = resolve(path);
                let findings = inspector.inspect(&path)?;
                if self.json {
                    print_json(&findings_json(&findings));
                } else {
                    print_details(&findings);
                }
                complain(&[&Ok(findings)]);
            }
            None => self.list(&inspector),
        }
        Ok(ExitCode::SUCCESS)
    }

    fn list(&self, inspector: &Inspector) {
        let listed: Vec<&Disk> =
            inspector.disks().iter().filter(|disk| self.all || has_medium(disk)).collect();
        let looked = look_at(inspector, &listed);
        let rows: Vec<(&Disk, &Looked)> = listed.iter().copied().zip(&looked).collect();
        if self.json {
            print_json(&rows.iter().map(|(disk, looked)| row_json(disk, looked)).collect());
        } else {
            print_table(&rows);
            let hidden = inspector.disks().len() - listed.len();
            if hidden > 0 {
                eprintln!("{hidden} without a medium are not shown (--all).");
            }
        }
        complain(&looked.iter().collect::<Vec<_>>());
    }
}

type Looked = Result<Findings, OpenError>;

fn has_medium(disk: &Disk) -> bool {
    disk.bytes > 0 && disk.kind != DiskKind::Ram
}

/// `sda` stands for `/dev/sda`, unless there is a file of that name.
fn resolve(path: &Path) -> PathBuf {
    let device = Path::new("/dev").join(path);
    if !path.exists() && device.exists() { device } else { path.to_owned() }
}

/// Looks at many disks side by side: each costs a few seeks.
fn look_at(inspector: &Inspector, disks: &[&Disk]) -> Vec<Looked> {
    let share = disks.len().div_ceil(THREADS_MAX).max(1);
    std::thread::scope(|scope| {
        let look = |disks: &[&Disk]| -> Vec<Looked> {
            disks.iter().map(|disk| inspector.inspect(&disk.path)).collect()
        };
        let threads: Vec<_> =
            disks.chunks(share).map(|disks| scope.spawn(move || look(disks))).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, Vec<Looked>>| {
            thread.join().expect("inspecting does not panic")
        };
        threads.into_iter().flat_map(join).collect()
    })
}

/// Says what could not be read, and what would help.
fn complain(looked: &[&Looked]) {
    let unread: Vec<String> = looked
        .iter()
        .filter_map(|looked| looked.as_ref().ok())
        .filter(|findings| findings.content.is_none())
        .map(|findings| findings.path.display().to_string())
        .collect();
    if !unread.is_empty() {
        eprintln!(
            "Permission denied to read {}: what they hold is not known, so they are never \
             written. Run as root or as a member of the group that owns the device.",
            unread.join(", ")
        );
    }
}

/// One or two words for a table, then what stands behind them.
fn state(looked: &Looked) -> String {
    let findings = match looked {
        Ok(findings) => findings,
        Err(error) => return format!("can't be opened: {}", error.cause),
    };
    if findings.is_in_use() {
        return format!("in use: {}", findings.users());
    }
    let holdings = findings.holdings();
    if !holdings.is_empty() {
        return format!("holds {}", holdings.join("; "));
    }
    match &findings.content {
        _ if findings.is_device() && findings.bytes == 0 => "no medium".to_owned(),
        None => "unknown: permission denied".to_owned(),
        Some(_) if findings.read_only => "write-protected".to_owned(),
        Some(content) if content.blank => "free, blank".to_owned(),
        Some(_) => "free, holds nothing known".to_owned(),
    }
}

fn print_table(rows: &[(&Disk, &Looked)]) {
    let heading = ["NAME", "KIND", "SIZE", "BLOCK", "MEDIUM", "CACHE", "DEPTH", "LINK", "MODEL"];
    let mut table: Vec<Vec<String>> = vec![heading.map(str::to_owned).to_vec()];
    table[0].extend(["SERIAL".to_owned(), "STATE".to_owned()]);
    for (disk, looked) in rows {
        table.push(vec![
            disk.name.clone(),
            disk.kind.to_string(),
            size(disk.bytes),
            block(disk),
            medium(disk).to_owned(),
            cache(disk).to_owned(),
            or_dash(&disk.queue_depth),
            or_dash(&disk.link),
            or_dash(&disk.model),
            or_dash(&disk.serial),
            state(looked),
        ]);
    }
    let widths: Vec<usize> = (0..table[0].len())
        .map(|column| table.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
        .collect();
    for row in &table {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}")).collect();
        println!("{}", cells.join("  ").trim_end());
    }
}

fn print_details(findings: &Findings) {
    let line = |key: &str, value: String| println!("{key:<18}{value}");
    line("path", findings.path.display().to_string());
    match &findings.target {
        Target::File => line("what", "regular file".to_owned()),
        Target::Disk(disk) => line("what", format!("{} disk {}", disk.kind, disk.name)),
        Target::Partition(disk, part) => {
            line("what", format!("partition {} of {} disk {}", part.name, disk.kind, disk.name));
            line("starts at", format!("byte {}", part.start_bytes));
        }
        Target::Unlisted(number) => line("what", format!("block device {number}")),
    }
    line("size", format!("{} ({} bytes)", size(findings.bytes), findings.bytes));
    if let Some(disk) = findings.disk() {
        disk_facts(disk).into_iter().for_each(|(key, value)| line(key, value));
        for part in &disk.partitions {
            let users = if part.uses.is_empty() { String::new() } else { part.uses.to_string() };
            line("partition", format!("{}  {}  {users}", part.name, size(part.bytes)));
        }
    }
    if let Some(content) = &findings.content {
        for found in &content.found {
            line("holds", format!("{} (sign at byte {})", found.name, found.offset_bytes));
        }
    }
    line("state", state(&Ok(findings.clone())));
}

/// What is known about a disk, in the order of interest; nothing is said of what is not known.
fn disk_facts(disk: &Disk) -> Vec<(&'static str, String)> {
    let owned = |text: &str| Some(text.to_owned());
    let path = |path: &PathBuf| path.display().to_string();
    let zones = disk.zones.map(|zones| {
        format!("{} of {}, at most {} open", zones.count, size(zones.zone_bytes), zones.open_max)
    });
    let ranges: Vec<String> = disk
        .access_ranges
        .iter()
        .map(|range| format!("{} from byte {}", size(range.bytes), range.start_bytes))
        .collect();
    let joined = |words: &[String]| (!words.is_empty()).then(|| words.join(", "));
    let facts = [
        ("vendor", disk.vendor.clone()),
        ("model", disk.model.clone()),
        ("serial", disk.serial.clone()),
        ("world-wide name", disk.wwn.clone()),
        ("firmware", disk.firmware.clone()),
        ("by-id", joined(&disk.by_id)),
        ("link", disk.link.clone()),
        ("memory node", disk.node.map(|node| node.to_string())),
        (
            "block",
            owned(&format!("{} logical, {} physical", disk.logical_block, disk.physical_block)),
        ),
        ("medium", owned(medium(disk))),
        ("zones", zones),
        ("actuators", joined(&ranges)),
        ("write cache", disk.write_cache.map(|_| cache(disk).to_owned())),
        ("queue depth", disk.queue_depth.map(|depth| depth.to_string())),
        ("scheduler", disk.scheduler.clone()),
        ("discard", owned(yes_no(disk.discard))),
        ("removable", owned(yes_no(disk.removable))),
        ("write-protected", owned(yes_no(disk.read_only))),
        ("shows the file", disk.backing_file.as_ref().map(path)),
        ("mapper name", disk.mapper_name.clone()),
        ("made of", joined(&disk.parts)),
    ];
    facts.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
}

fn print_json(value: &Value) {
    println!("{value:#}");
}

fn row_json(disk: &Disk, looked: &Looked) -> Value {
    match looked {
        Ok(findings) => findings_json(findings),
        Err(error) => json!({
            "path": disk.path, "error": error.cause.to_string(), "disk": disk_json(disk),
        }),
    }
}

fn findings_json(findings: &Findings) -> Value {
    let what = match &findings.target {
        Target::File => "file",
        Target::Disk(_) => "disk",
        Target::Partition(..) => "partition",
        Target::Unlisted(_) => "device",
    };
    let content = findings.content.as_ref().map(|content| {
        let found: Vec<Value> = content
            .found
            .iter()
            .map(|found| json!({"name": found.name, "offset_bytes": found.offset_bytes}))
            .collect();
        let unread: Vec<Value> = content
            .unread
            .iter()
            .map(
                |at| json!({"offset_bytes": at.offset_bytes, "bytes": at.bytes, "errno": at.errno}),
            )
            .collect();
        json!({"blank": content.blank, "signatures": found, "unreadable": unread})
    });
    json!({
        "path": findings.path,
        "what": what,
        "size_bytes": findings.bytes,
        "state": state(&Ok(findings.clone())),
        "in_use": findings.is_in_use(),
        "read_only": findings.read_only,
        "busy": findings.busy,
        "uses": uses_json(&findings.uses),
        "content": content,
        "partitions": findings.partitions,
        "disk": findings.disk().map(disk_json),
    })
}

fn uses_json(uses: &Uses) -> Value {
    json!({"mounts": uses.mounts, "holders": uses.holders, "swap": uses.swap})
}

fn disk_json(disk: &Disk) -> Value {
    let zones = disk.zones.map(|zones| {
        json!({
            "model": medium(disk),
            "zone_bytes": zones.zone_bytes,
            "count": zones.count,
            "open_max": zones.open_max,
        })
    });
    let ranges: Vec<Value> = disk
        .access_ranges
        .iter()
        .map(|range| json!({"start_bytes": range.start_bytes, "bytes": range.bytes}))
        .collect();
    let partitions: Vec<Value> = disk
        .partitions
        .iter()
        .map(|part| {
            json!({
                "name": part.name,
                "path": part.path,
                "start_bytes": part.start_bytes,
                "size_bytes": part.bytes,
                "uses": uses_json(&part.uses),
            })
        })
        .collect();
    json!({
        "name": disk.name,
        "path": disk.path,
        "number": disk.number.to_string(),
        "kind": disk.kind.to_string(),
        "by_id": disk.by_id,
        "vendor": disk.vendor,
        "model": disk.model,
        "serial": disk.serial,
        "wwn": disk.wwn,
        "firmware": disk.firmware,
        "size_bytes": disk.bytes,
        "logical_block_bytes": disk.logical_block,
        "physical_block_bytes": disk.physical_block,
        "rotational": disk.rotational,
        "zones": zones,
        "actuators": ranges,
        "scheduler": disk.scheduler,
        "write_cache": disk.write_cache.map(|_| cache(disk)),
        "queue_depth": disk.queue_depth,
        "link": disk.link,
        "node": disk.node,
        "removable": disk.removable,
        "read_only": disk.read_only,
        "discard": disk.discard,
        "made_up": disk.is_made_up(),
        "backing_file": disk.backing_file,
        "mapper_name": disk.mapper_name,
        "made_of": disk.parts,
        "partitions": partitions,
    })
}

/// In the powers of ten that disks are sold by: `24.0 TB`.
fn size(bytes: u64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB", "PB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", units[unit]) }
}

/// `512e` is the usual name of 512 over 4096.
fn block(disk: &Disk) -> String {
    match (disk.logical_block, disk.physical_block) {
        (512, 512) => "512n".to_owned(),
        (512, 4096) => "512e".to_owned(),
        (4096, 4096) => "4Kn".to_owned(),
        (logical, physical) => format!("{logical}/{physical}"),
    }
}

fn medium(disk: &Disk) -> &'static str {
    match (disk.zones.map(|zones| zones.model), disk.rotational) {
        (Some(ZoneModel::HostManaged), true) => "hdd, host-managed",
        (Some(ZoneModel::HostAware), true) => "hdd, host-aware",
        (Some(_), false) => "flash, zoned",
        (None, true) => "hdd",
        (None, false) if disk.is_made_up() => "-",
        (None, false) => "flash",
    }
}

fn cache(disk: &Disk) -> &'static str {
    match disk.write_cache {
        Some(WriteCache::Back) => "back",
        Some(WriteCache::Through) => "through",
        None => "-",
    }
}

fn yes_no(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}

fn or_dash<T: ToString>(value: &Option<T>) -> String {
    value.as_ref().map_or_else(|| "-".to_owned(), T::to_string)
}

#[cfg(test)]
mod tests {
    use isotherm_host::safety::{Content, Found};

    use super::*;

    #[test]
    fn sizes_are_told_as_disks_are_sold() {
        assert_eq!(size(0), "0 B");
        assert_eq!(size(999), "999 B");
        assert_eq!(size(24_000_277_250_048), "24.0 TB");
        assert_eq!(size(999_960_000), "1.0 GB");
        assert_eq!(size(u64::MAX), "18446.7 PB");
    }

    fn file(content: Option<Content>) -> Findings {
        Findings {
            path: PathBuf::from("image"),
            target: Target::File,
            bytes: 512,
            content,
            partitions: Vec::new(),
            uses: Uses::default(),
            busy: false,
            read_only: false,
        }
    }

    #[test]
    fn what_is_held_is_told_before_what_is_free() {
        let found = vec![Found { name: "XFS filesystem", offset_bytes: 0 }];
        let held = file(Some(Content { found, ..Content::default() }));
        let told = findings_json(&held);
        assert_eq!(
            (&told["what"], &told["state"]),
            (&json!("file"), &json!("holds XFS filesystem"))
        );
        assert_eq!(told["content"]["signatures"][0]["offset_bytes"], 0);
        let mut used = held;
        used.uses.mounts.push(PathBuf::from("/srv"));
        assert_eq!(state(&Ok(used)), "in use: mounted on /srv");
        let blank = Content { blank: true, ..Content::default() };
        assert_eq!(state(&Ok(file(Some(blank)))), "free, blank");
        assert_eq!(state(&Ok(file(Some(Content::default())))), "free, holds nothing known");
        assert_eq!(state(&Ok(file(None))), "unknown: permission denied");
    }

    #[test]
    fn a_disk_that_can_not_be_opened_says_so() {
        let looked = Inspector::new().inspect(Path::new("/no such disk"));
        assert_eq!(state(&looked), "can't be opened: no such file or device");
    }

    #[test]
    fn every_disk_of_this_machine_is_looked_at_once() {
        let inspector = Inspector::new();
        let disks: Vec<&Disk> = inspector.disks().iter().collect();
        let looked = look_at(&inspector, &disks);
        assert_eq!(looked.len(), disks.len());
        for (disk, looked) in disks.iter().zip(&looked) {
            match looked {
                Ok(findings) => assert_eq!(findings.path, disk.path),
                Err(error) => assert_eq!(error.device, disk.path.display().to_string()),
            }
        }
    }
}
