//! `isotherm store`: a disk of shards, looked at and handled without a node.
//!
//! What must always hold: only `format`, `put`, `rm` and `bench` write, and they ask the safety
//! check first; every other verb opens the disk for reading only. Standard output carries
//! results; progress goes to standard error, and only to a terminal.
//!
//! | file        | what it holds                                                             |
//! |-------------|---------------------------------------------------------------------------|
//! | `rig.rs`    | a disk on a core, with somebody who watches                               |
//! | `meter.rs`  | what a disk was asked for, counted                                        |
//! | `words.rs`  | times, sizes and keys as people read them                                 |
//! | `format.rs` `info.rs` `ls.rs` `check.rs` `scan.rs` `dump.rs` `shards.rs` `bench.rs` | the verbs |

mod bench;
mod check;
mod dump;
mod format;
mod info;
mod ls;
mod meter;
mod rig;
mod scan;
mod shards;
pub(crate) mod words;

pub(crate) use format::{format_disk, usual_extent_blocks, usual_profile};

use std::process::ExitCode;

use anyhow::{Context, anyhow};
use clap::Subcommand;
use isotherm_block::Spec;
use isotherm_host::safety::may_write_all;
use isotherm_reactor::Disk;
use isotherm_store::{OpenError, Options, RecoveredDisk, ScannedDisk, World};

/// A disk of shards: make one, look into it, check it, measure it.
///
/// DEVICE is a file, a block device or a stack of drivers, as for `isotherm bench`: a path, or
/// such as `file:/srv/disk.img?size=1G` or `hdd:exos-x24,file:/srv/disk.img`. Only format, put,
/// rm and bench write. No node may be using the disk meanwhile: of a file nobody can tell, and
/// what is just being written looks torn.
#[derive(clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct StoreCommand {
    #[command(subcommand)]
    verb: Verb,
}

const EXIT_CODES: &str = "\
Exit codes: 0 done; 1 failed, or what was asked for is not there or not well; 2 (check, scrub and \
scan) it can't be judged, or the command line is wrong; 130 stopped by Ctrl-C, what was found so \
far is told.

Begin with:
  isotherm store format '/tmp/disk.img?size=1G'
  echo hello | isotherm store put /tmp/disk.img 7/2a/0/3 -
  isotherm store ls /tmp/disk.img
  isotherm store get /tmp/disk.img 7/2a/0/3
  isotherm store check /tmp/disk.img";

#[derive(Subcommand)]
enum Verb {
    Format(format::FormatCommand),
    Info(info::InfoCommand),
    Ls(ls::LsCommand),
    Check(check::CheckCommand),
    Scrub(check::ScrubCommand),
    Scan(scan::ScanCommand),
    Dump(dump::DumpCommand),
    Put(shards::PutCommand),
    Get(shards::GetCommand),
    Rm(shards::RmCommand),
    Bench(bench::BenchCommand),
}

impl StoreCommand {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self.verb {
            Verb::Format(command) => command.run(),
            Verb::Info(command) => command.run(),
            Verb::Ls(command) => command.run(),
            Verb::Check(command) => command.run(),
            Verb::Scrub(command) => command.run(),
            Verb::Scan(command) => command.run(),
            Verb::Dump(command) => command.run(),
            Verb::Put(command) => command.run(),
            Verb::Get(command) => command.run(),
            Verb::Rm(command) => command.run(),
            Verb::Bench(command) => command.run(),
        }
    }
}

/// Which disk, and how the answer is written.
#[derive(clap::Args)]
struct On {
    /// The disk: a path or the spec of a device
    #[arg(value_name = "DEVICE")]
    device: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl On {
    fn spec(&self) -> anyhow::Result<Spec> {
        Ok(Spec::parse(&self.device)?)
    }
}

/// How the index is found.
#[derive(clap::Args, Clone, Copy)]
struct Recovery {
    /// Read every check block of the disk instead of its checkpoints: the way out when none of
    /// them is whole
    #[arg(long)]
    full_scan: bool,
}

impl Recovery {
    /// The index of a disk; writes nothing.
    async fn recover(self, world: &World, disk: &Disk) -> Result<RecoveredDisk, OpenError> {
        let scanned = ScannedDisk::scan(world, disk).await?;
        match self.full_scan {
            true => scanned.recover_by_full_scan(Options::default()).await,
            false => scanned.recover(Options::default()).await,
        }
    }
}

/// Why a disk could not be opened, with the next step.
fn explain(device: &str, error: OpenError) -> anyhow::Error {
    let hint = match error {
        OpenError::NotAStore => " (`isotherm store format` makes one)",
        OpenError::NoCheckpoint | OpenError::Index => {
            " (add --full-scan; `isotherm store scan` tells what is there)"
        }
        _ => "",
    };
    anyhow!("{device}: {error}{hint}")
}

/// Asks the safety check for a disk that is to be made a store, or measured as one.
fn may_destroy(spec: &Spec, destroy: &[String]) -> anyhow::Result<()> {
    match spec.path() {
        Some(path) => may_write_all(&[path.to_owned()], destroy).map(drop).map_err(Into::into),
        None if destroy.is_empty() => Ok(()),
        None => Err(anyhow!("--destroy: {} is no file and no device", spec.text())),
    }
}

/// Asks the safety check for a disk that holds a store, which has been seen: what looks like the
/// sign of another owner is the content of some shard.
fn may_change(spec: &Spec) -> anyhow::Result<()> {
    let Some(path) = spec.path() else {
        return Err(anyhow!("{}: what is put there is gone with this process", spec.text()));
    };
    let named = path.display().to_string();
    may_write_all(&[path.to_owned()], &[named]).map(drop).context("nothing was written")
}
