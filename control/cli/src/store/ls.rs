//! `isotherm store ls`: the shards of a disk, in the order of their keys.

use std::io::Write;
use std::process::ExitCode;

use isotherm_store::index::{DeltaKind, Entry};
use isotherm_store::{Key, OpenError, WalkError};
use serde_json::{Value, json};

use super::rig::{Setup, Watcher, run};
use super::{On, Recovery, explain, words};

/// Lists shards in the order of their keys. Writes nothing.
///
/// A key is GROUP/OBJECT/STRIPE/POSITION, the object in hexadecimal. Tombstones that are still
/// kept are listed with --all.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  isotherm store ls /dev/sdb --limit 20
  isotherm store ls /dev/sdb --group 7 --all
  isotherm store ls /dev/sdb --from 7/2a/0/0 --to 7/2a/ffff/0 --json")]
pub(super) struct LsCommand {
    #[command(flatten)]
    on: On,
    #[command(flatten)]
    recovery: Recovery,
    /// Begin at this key
    #[arg(long, value_name = "KEY", value_parser = words::key)]
    from: Option<Key>,
    /// End with this key
    #[arg(long, value_name = "KEY", value_parser = words::key)]
    to: Option<Key>,
    /// Only this group
    #[arg(long, value_name = "N")]
    group: Option<u32>,
    /// So many at most
    #[arg(long, value_name = "N", default_value_t = u64::MAX, hide_default_value = true)]
    limit: u64,
    /// Kept tombstones too
    #[arg(long)]
    all: bool,
}

/// What was listed.
struct Listing {
    entries: Vec<Entry>,
    /// Where it would go on.
    next: Option<Key>,
    stopped: bool,
}

/// Entries that are held before they are written.
const PAGE: usize = 65_536;

impl LsCommand {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let spec = self.on.spec()?;
        let group = |group| (Key { group, ..Key::MIN }, Key { group, ..Key::MAX });
        let (first, last) = self.group.map_or((Key::MIN, Key::MAX), group);
        let from = self.from.unwrap_or(first).max(first);
        let to = self.to.unwrap_or(last).min(last);
        let (all, limit, recovery) = (self.all, self.limit, self.recovery);
        let now_s = words::now_s();
        let json = self.on.json;
        let watcher = Watcher::new("reading the index")?;
        let watch = watcher.clone();
        let told = run(&spec, &Setup::reading(), &watcher, move |world, disk| async move {
            let disk = recovery.recover(&world, &disk).await?;
            let mut entries = disk.entries_from(from);
            let mut listing = Listing { entries: Vec::new(), next: None, stopped: false };
            let mut count = 0;
            while let Some(entry) = entries.next().await.map_err(|error| match error {
                isotherm_store::GetError::Io(error) => OpenError::Walk(WalkError::Io(error)),
                _ => OpenError::Index,
            })? {
                if entry.key > to {
                    break;
                }
                if entry.delta.kind == DeltaKind::Dead && !all {
                    continue;
                }
                if count == limit || !watch.goes_on() {
                    listing.next = Some(entry.key);
                    listing.stopped = !watch.goes_on();
                    break;
                }
                count += 1;
                listing.entries.push(entry);
                // Text is written as it comes; a document is made of all.
                if !json && listing.entries.len() == PAGE {
                    print(&listing.entries, now_s);
                    listing.entries.clear();
                }
            }
            Ok(listing)
        })?;
        let Some(listing) = told else {
            eprintln!("isotherm: stopped while the index was read");
            return Ok(ExitCode::from(130));
        };
        let listing = listing.map_err(|error| explain(&self.on.device, error))?;
        if json {
            let rows: Vec<Value> = listing.entries.iter().map(entry_json).collect();
            let next = listing.next.map(|key| key.to_string());
            println!("{:#}", json!({"entries": rows, "next": next}));
        } else {
            print(&listing.entries, now_s);
            if let Some(next) = listing.next {
                eprintln!("More: go on with --from {next}");
            }
        }
        Ok(if listing.stopped { ExitCode::from(130) } else { ExitCode::SUCCESS })
    }
}

fn print(entries: &[Entry], now_s: u32) {
    let mut out = std::io::stdout().lock();
    for entry in entries {
        let delta = entry.delta;
        let length = match delta.kind {
            DeltaKind::Dead => "tombstone".to_owned(),
            _ => format!("{} blocks", delta.place.blocks),
        };
        let line = writeln!(
            out,
            "{:<50} {length:>10}  {:>8}  #{:<10} at {}",
            entry.key.to_string(),
            words::age(delta.wall_s, now_s),
            delta.sequence,
            words::place(&delta.place),
        );
        // Whoever reads has seen enough.
        if line.is_err() {
            std::process::exit(0);
        }
    }
}

fn entry_json(entry: &Entry) -> Value {
    let delta = entry.delta;
    json!({
        "key": entry.key.to_string(),
        "tombstone": delta.kind == DeltaKind::Dead,
        "sequence": delta.sequence,
        "at_s": delta.wall_s,
        "extent": delta.place.extent.0,
        "block": delta.place.block,
        "blocks": delta.place.blocks,
    })
}
