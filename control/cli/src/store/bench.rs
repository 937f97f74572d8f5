//! `isotherm store bench`: puts and gets under a workload, on a store of its own.
//!
//! What must always hold: a disk that exists is made a store only if --format says so, and then
//! the safety check is asked first. Every byte that a get gives is checked by the store, and the
//! first eight of each shard here: a wrong one fails the run.
//!
//! | file        | what it holds                                                             |
//! |-------------|---------------------------------------------------------------------------|
//! | `work.rs`   | which key, how long: plain functions of the seed                          |
//! | `lanes.rs`  | the requests that are under way, and what is counted                      |
//! | `report.rs` | what came out, as text and as JSON                                        |

mod lanes;
mod report;
mod work;

use std::process::ExitCode;

use anyhow::{Context, anyhow, bail, ensure};
use clap::ValueEnum;
use isotherm_block::Spec;
use isotherm_reactor::Disk;
use isotherm_seam::Nanos;
use isotherm_store::sched::{CalibrateOptions, calibrate};
use isotherm_store::{FormatOptions, Options, Store, World};

use self::lanes::{Order, measure};
use self::report::{Outcome, Setting};
use self::work::{Sizes, Work};
use super::rig::{Setup, Watcher, run};
use super::{explain, format, may_change, may_destroy, words};

/// Measures a store: puts, gets, or both, under a workload. Writes.
///
/// In memory or on a new file it makes the store itself. A disk that exists must hold a store, to
/// which the shards of the run are added (groups from 4,000,000,000 on; they stay), or is made
/// one with --format. With --virtual, models over memory run in virtual time: as fast as they
/// compute, and the same each time.
#[derive(clap::Args)]
#[command(after_help = "Exit codes: 0 every request was answered well; 1 some were not; 130 \
stopped, what ran is told.

Examples:
  isotherm store bench memory:1G --ops put,get --shard-bytes 64k --inflight 16 --runtime 5
  isotherm store bench --virtual hdd:exos-x24,memory:4G --calibrate --ops put,get --shard-bytes \
1m --runtime 30
  isotherm store bench '/srv/bench.img?size=8G' --ops mixed --reads 90 --zipf 0.99 --shard-bytes \
4k..1m
  isotherm store bench /dev/sdb --format --destroy ZXA01234 --ops put --inflight 64 --json")]
pub(super) struct BenchCommand {
    /// The disk: a path or the spec of a device
    #[arg(value_name = "DEVICE", required_unless_present = "spec", conflicts_with = "spec")]
    device: Option<String>,
    /// The same
    #[arg(long, value_name = "DEVICE")]
    spec: Option<String>,
    /// What is asked, one after the other
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["put", "get"])]
    ops: Vec<Ops>,
    /// Length of a shard: one size, several (4k,64k), or a span (4k..1m) whose powers of two are
    /// equally frequent
    #[arg(long, value_name = "SIZES", default_value = "64k", value_parser = Sizes::parse)]
    shard_bytes: Sizes,
    /// Requests under way
    #[arg(long, value_name = "N", default_value_t = 16,
          value_parser = clap::value_parser!(u32).range(1..=1024))]
    inflight: u32,
    /// Different shards; by default as many as --fill says
    #[arg(long, value_name = "N", conflicts_with = "fill",
          value_parser = clap::value_parser!(u64).range(1..=1 << 32))]
    keys: Option<u64>,
    /// Hundredths of the disk that the shards fill
    #[arg(long, value_name = "PERCENT", default_value_t = 50.0)]
    fill: f64,
    /// Seconds of each of --ops
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
    runtime: f64,
    /// Gets among 100 requests of `mixed`
    #[arg(long, value_name = "PERCENT", default_value_t = 70.0)]
    reads: f64,
    /// How uneven gets and puts of `mixed` are: 0 is even, 0.99 is as in YCSB
    #[arg(long, value_name = "THETA", default_value_t = 0.0)]
    zipf: f64,
    /// Decides everything that is drawn
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// In virtual time: for models over memory
    #[arg(long = "virtual")]
    virtual_time: bool,
    /// Make the disk a store first, whatever store is on it
    #[arg(long)]
    format: bool,
    /// Measure the disk before it is made a store, so that requests are well ordered
    #[arg(long)]
    calibrate: bool,
    /// This disk (its path or serial) may be overwritten although it holds something
    #[arg(long, value_name = "DISK")]
    destroy: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum Ops {
    /// Puts, key after key; from the last on the first ones are replaced
    Put,
    /// Gets of whole shards
    Get,
    /// Both: --reads says how many gets
    Mixed,
}

impl Ops {
    fn word(self) -> &'static str {
        match self {
            Ops::Put => "put",
            Ops::Get => "get",
            Ops::Mixed => "mixed",
        }
    }
}

impl BenchCommand {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        self.check()?;
        let device = self.device.clone().or(self.spec.clone()).expect("clap asks for one");
        let spec = Spec::parse(&device)?;
        let formats = self.makes_a_store(&spec)?;
        let setup = Setup {
            virtual_time: self.virtual_time,
            seed: self.seed,
            inflight: self.inflight,
            ..Setup::writing()
        };
        let watcher = Watcher::new("making a store")?;
        let watch = watcher.clone();
        let json = self.json;
        let done = run(&spec, &setup, &watcher, move |world, disk| async move {
            let store = self.open(&device, &world, &disk, formats).await?;
            let status = store.status();
            let extents = u64::from(status.room_extents);
            let room = extents * status.extent_bytes;
            let mut sizes = self.shard_bytes.clone();
            let payload_max = store.payload_max();
            ensure!(
                sizes.longest() <= payload_max,
                "--shard-bytes: a shard of this disk has at most {payload_max} bytes"
            );
            sizes.seed(self.seed);
            let fitting = (room as f64 * self.fill / 100.0 / sizes.mean_record_bytes()) as u64;
            let keys = self.keys.unwrap_or(fitting);
            ensure!(keys > 0, "there is no room for shards of that length on {device}");
            let work = Work::new(sizes, keys, self.zipf, self.seed);
            let order = Order {
                lanes: self.inflight,
                runtime: Nanos::from_secs_f64(self.runtime),
                reads: self.reads / 100.0,
            };
            let phases = measure(&world, &store, &work, &order, &self.ops, &watch).await;
            let index_bytes = store.status().index_bytes;
            store.close().await.context("the store could not be closed")?;
            anyhow::Ok(Outcome {
                setting: Setting {
                    device,
                    driver: disk.info().driver.clone(),
                    keys,
                    shard_bytes: self.shard_bytes.to_string(),
                    inflight: self.inflight,
                    reads_percent: self.reads,
                    zipf: self.zipf,
                    seed: self.seed,
                    virtual_time: self.virtual_time,
                    payload_max,
                },
                index_bytes,
                phases,
                stopped: !watch.goes_on(),
            })
        })?;
        let outcome = done.expect("a job that writes is not cut short")?;
        match json {
            true => println!("{:#}", outcome.to_json()),
            false => print!("{}", outcome.to_text()),
        }
        Ok(match () {
            () if outcome.stopped => ExitCode::from(130),
            () if outcome.failures() > 0 => ExitCode::FAILURE,
            () => ExitCode::SUCCESS,
        })
    }

    fn check(&self) -> anyhow::Result<()> {
        let within = |name: &str, value: f64, least: f64, most: f64| {
            ensure!(
                (least..=most).contains(&value),
                "--{name} {value}: {least} to {most} is expected"
            );
            Ok(())
        };
        within("fill", self.fill, 0.1, 95.0)?;
        within("runtime", self.runtime, 0.01, 86_400.0)?;
        within("reads", self.reads, 0.0, 100.0)?;
        within("zipf", self.zipf, 0.0, 0.999)
    }

    /// Whether the disk is to be made a store; asks the safety check.
    fn makes_a_store(&self, spec: &Spec) -> anyhow::Result<bool> {
        let leaf = spec.text().rsplit(',').next().unwrap_or_default();
        if leaf.starts_with("null:") {
            bail!("{}: null keeps nothing, so there is nothing to get: use memory", spec.text());
        }
        let Some(path) = spec.path() else {
            may_destroy(spec, &self.destroy)?;
            return Ok(true);
        };
        if self.virtual_time {
            bail!("--virtual: {} is no model: use one over memory", path.display());
        }
        let is_new = !path.exists();
        if is_new || self.format {
            may_destroy(spec, &self.destroy)?;
            return Ok(true);
        }
        ensure!(self.destroy.is_empty(), "--destroy goes with --format");
        may_change(spec)?;
        Ok(false)
    }

    async fn open(
        &self,
        device: &str,
        world: &World,
        disk: &Disk,
        formats: bool,
    ) -> anyhow::Result<Store> {
        if formats {
            let mut options = FormatOptions { force: true, ..FormatOptions::new(self.uuid()?) };
            let bytes = disk.geometry().capacity_bytes();
            options.extent_blocks = Some(format::usual_extent_blocks(bytes));
            if self.calibrate {
                let profile =
                    calibrate(&world.handle, disk, &world.pool, CalibrateOptions::default())
                        .await?;
                options.profile = profile.to_bytes().to_vec();
            }
            isotherm_store::format(world, disk, &options)
                .await
                .map_err(|error| anyhow!("{device}: {error}"))?;
        }
        let opened = Store::open(world, disk, Options::default()).await;
        Ok(opened.map_err(|error| explain(device, error))?.0)
    }

    /// In virtual time the same run is the same in every byte.
    fn uuid(&self) -> anyhow::Result<[u8; 16]> {
        match self.virtual_time {
            true => Ok((u128::from(self.seed) << 64 | 0x1507).to_be_bytes()),
            false => format::drawn_uuid(),
        }
    }
}

impl std::fmt::Display for Sizes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = |bytes: &u32| words::size(u64::from(*bytes));
        match self.span() {
            Some((least, most)) => write!(f, "{} to {}", text(&least), text(&most)),
            None => {
                let all: Vec<String> = self.listed().iter().map(text).collect();
                write!(f, "{}", all.join(", "))
            }
        }
    }
}
