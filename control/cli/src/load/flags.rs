//! What may be asked for.

use std::path::PathBuf;

use anyhow::Context;
use clap::ValueEnum;
use isotherm_client::{ClientConfig, ReadPolicy};
use isotherm_objects::{ArrivalLaw, BurstLaw, Mix, Part, Plan, RunConfig, SizeLaw};
use isotherm_seam::Nanos;

use crate::store::words;

/// Puts objects, then reads, writes and deletes them on a schedule, and measures.
///
/// An open loop: operations have their time from a seed, whether or not the cluster keeps up, and
/// a response time counts from there. Every byte that is read is checked. With several policies
/// the same schedule is run with each of them in turn. docs/LOAD.md says more.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  isotherm cluster up --nodes 6 --disks 4 --hdd exos-x24
  isotherm load --rate 100 --size 1m --runtime 30s
  isotherm load --rate 200 --size 4m --read cell --zipf 0.9 --json > out.json
  isotherm load --arrivals bursty --tenants 50 --common 0.1 --report page.html
  isotherm load --mix 90:8:2 --size lognormal:256k:1.5:4k-16m
  isotherm load --simulate 6x4 --rate 40 --size 4m --policy direct,least-loaded,late
  isotherm load --simulate 6x4 --limp 7=2.5 --policy random,late
  isotherm load --simulate 6x4 --sick 3=hdd:exos-x24:slow=4,memory:4G --report page.html")]
pub(crate) struct LoadCommand {
    /// The cluster's folder
    #[arg(long, value_name = "FOLDER", env = "ISOTHERM_CLUSTER", default_value = "cluster")]
    pub(super) cluster: PathBuf,
    /// A cluster in virtual time instead: so many nodes with so many disks each
    #[arg(long, value_name = "NODESxDISKS", value_parser = parse_shape)]
    pub(super) simulate: Option<(u32, u32)>,
    /// The disks of a simulated cluster, as a stack of drivers
    #[arg(long, value_name = "SPEC", default_value = "hdd:exos-x24,memory:4G")]
    pub(super) device: String,
    /// Another one for a disk of a simulated cluster, which count from 0; may be repeated
    #[arg(long, value_name = "DISK=SPEC", requires = "simulate", value_parser = parse_sick)]
    pub(super) sick: Vec<(usize, String)>,
    /// A disk of a simulated cluster that takes so many times as long for everything, as in
    /// `isotherm cluster up`; may be repeated
    #[arg(long, value_name = "DISK=FACTOR", requires = "simulate",
          value_parser = crate::cluster::parse_limp)]
    pub(super) limp: Vec<(u32, f64)>,
    /// How objects of a simulated cluster are coded: data cells + parity cells
    #[arg(long, value_name = "K+M", default_value = "4+2")]
    pub(super) codec: String,

    /// Objects that are put before it begins
    #[arg(long, value_name = "N", default_value_t = 200)]
    objects: u64,
    /// How long they are: 64k, 4k-1m, or lognormal:MEDIAN:SIGMA[:MIN-MAX]
    #[arg(long, value_name = "LAW", default_value = "1m")]
    size: SizeLaw,
    /// Objects from this length on are cut into stripes, shorter ones are kept in copies; by default
    /// the client's own threshold
    #[arg(long, value_name = "SIZE", value_parser = words::bytes)]
    striped_from: Option<u64>,
    /// What a read asks for: whole, cell (one cell, one movement of one arm), or a number of bytes
    #[arg(long, value_name = "PART", default_value = "whole", value_parser = parse_part)]
    read: Part,
    /// Reads, writes (of a new version) and deletes (of a replaced one), in parts
    #[arg(long, value_name = "R:W:D", default_value = "100:0:0", value_parser = parse_mix)]
    mix: Mix,

    /// Operations offered a second
    #[arg(long, value_name = "N", default_value_t = 20.0)]
    rate: f64,
    /// When they come
    #[arg(long, value_enum, default_value_t = ArrivalsArg::Poisson)]
    arrivals: ArrivalsArg,
    /// Tenants, each with bursts and objects of its own
    #[arg(long, value_name = "N", default_value_t = 1)]
    tenants: u32,
    /// How unlike tenants are: the k-th asks 1 / k^THETA as often as the first
    #[arg(long, value_name = "THETA", default_value_t = 0.99)]
    tenant_zipf: f64,
    /// The mean length of a burst
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_time)]
    burst: Nanos,
    /// The part of the time in which a tenant is on
    #[arg(long, value_name = "SHARE", default_value_t = 0.1)]
    duty: f64,
    /// The part of the demand whose bursts are those of all tenants at the same time
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    common: f64,
    /// How unlike objects are: the k-th of a tenant is asked for 1 / k^THETA as often as the first;
    /// 0 asks for all alike
    #[arg(long, value_name = "THETA", default_value_t = 0.0)]
    zipf: f64,
    /// The part of the reads that all go to one object
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    hot: f64,

    /// Run the schedule with each of these ways to read, in turn, joined by commas: late, direct,
    /// random, least-loaded, probe, all-n, tied
    #[arg(long, value_name = "WORDS", value_delimiter = ',', default_value = "late")]
    policy: Vec<String>,
    /// What comes before this time is done and not counted
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = parse_time)]
    warmup: Nanos,
    /// How long is counted
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_time)]
    runtime: Nanos,
    /// Decides everything that is drawn; by chance where absent
    #[arg(long, value_name = "N")]
    pub(super) seed: Option<u64>,
    /// Operations under way at most; those that come on top wait, and are late
    #[arg(long, value_name = "N", default_value_t = 256,
          value_parser = clap::value_parser!(u32).range(1..=1024))]
    under_way: u32,
    /// Leave the objects in the cluster
    #[arg(long)]
    pub(super) keep: bool,
    /// Results as JSON, in the shape of fio's
    #[arg(long)]
    pub(super) json: bool,
    /// Also write a page with the results over time
    #[arg(long, value_name = "FILE")]
    pub(super) report: Option<PathBuf>,
    /// Show how it goes also where standard error is no terminal
    #[arg(long)]
    pub(super) live: bool,
}

/// When operations come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum ArrivalsArg {
    /// One every 1 / rate
    Constant,
    /// Independent of one another
    Poisson,
    /// Each tenant is now on and now off, for lengths with a heavy tail
    Bursty,
}

impl LoadCommand {
    /// What is asked for.
    pub(super) fn plan(&self, seed: u64) -> anyhow::Result<Plan> {
        let law = BurstLaw { on_mean_s: self.burst.as_secs_f64(), duty: self.duty };
        let arrivals = match self.arrivals {
            ArrivalsArg::Constant => ArrivalLaw::Constant,
            ArrivalsArg::Poisson => ArrivalLaw::Poisson,
            ArrivalsArg::Bursty => ArrivalLaw::Bursty { law, common: self.common },
        };
        anyhow::ensure!(
            self.common == 0.0 || self.arrivals == ArrivalsArg::Bursty,
            "--common says whose bursts are the same: it needs --arrivals bursty"
        );
        anyhow::ensure!(
            self.read != Part::Cell || self.striped_from.is_none(),
            "--read cell goes by the client's own threshold, not by --striped-from: give the bytes of \
             a cell instead, such as --read 64k"
        );
        Ok(Plan {
            seed,
            objects: self.objects,
            sizes: self.size,
            zipf: (self.zipf != 0.0).then_some(self.zipf),
            tenants: self.tenants,
            tenant_zipf: self.tenant_zipf,
            arrivals,
            rate_per_s: self.rate,
            mix: self.mix,
            part: self.read,
            hot: self.hot,
            warmup: self.warmup,
            runtime: self.runtime,
        })
    }

    pub(super) fn policies(&self) -> anyhow::Result<Vec<ReadPolicy>> {
        let mut policies: Vec<ReadPolicy> = Vec::new();
        for word in &self.policy {
            let policy = word.parse().context("--policy")?;
            anyhow::ensure!(!policies.contains(&policy), "--policy: {word} stands there twice");
            policies.push(policy);
        }
        Ok(policies)
    }

    pub(super) fn client_config(&self) -> ClientConfig {
        let usual = ClientConfig::default();
        let striped_from_bytes = self.striped_from.unwrap_or(usual.striped_from_bytes);
        ClientConfig { striped_from_bytes, ..usual }
    }

    pub(super) fn run_config(&self) -> RunConfig {
        RunConfig { under_way_max: self.under_way as usize, ..RunConfig::default() }
    }
}

fn parse_time(text: &str) -> Result<Nanos, String> {
    // A bare number is in seconds, as in `isotherm bench`.
    let seconds = text.parse::<f64>().ok().filter(|s| s.is_finite() && *s >= 0.0);
    seconds
        .map(Nanos::from_secs_f64)
        .or_else(|| isotherm_block::spec::parse_time(text))
        .or_else(|| {
            let minutes = text.strip_suffix('m')?.parse::<u64>().ok()?;
            minutes.checked_mul(60).map(Nanos::from_secs)
        })
        .ok_or_else(|| "a time such as 30 (seconds), 500ms or 2m is expected".to_owned())
}

fn parse_part(text: &str) -> Result<Part, String> {
    match text {
        "whole" => Ok(Part::Whole),
        "cell" => Ok(Part::Cell),
        bytes => words::bytes(bytes)
            .map(Part::Bytes)
            .map_err(|_| "whole, cell, or a number of bytes such as 64k is expected".to_owned()),
    }
}

fn parse_mix(text: &str) -> Result<Mix, String> {
    let parts: Option<Vec<u32>> = text.split(':').map(|part| part.parse().ok()).collect();
    match parts.as_deref() {
        Some(&[read, write, delete]) => Ok(Mix { read, write, delete }),
        _ => Err("three numbers such as 90:8:2 are expected: reads, writes, deletes".to_owned()),
    }
}

fn parse_shape(text: &str) -> Result<(u32, u32), String> {
    let numbers = text.split_once('x').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    numbers
        .filter(|(nodes, disks)| (1..=1000).contains(nodes) && (1..=100).contains(disks))
        .ok_or_else(|| "nodes and disks of each are expected, such as 6x4".to_owned())
}

/// The device of a disk that limps: its layer of a mechanical disk is that much slower.
pub(super) fn limping(device: &str, factor: f64) -> Option<String> {
    let at = device.find("hdd:").filter(|at| *at == 0 || device[..*at].ends_with(','))?;
    let end = device[at..].find(',').map_or(device.len(), |end| at + end);
    Some(format!("{}:slow={factor}{}", &device[..end], &device[end..]))
}

fn parse_sick(text: &str) -> Result<(usize, String), String> {
    let parts = text.split_once('=').and_then(|(disk, spec)| Some((disk.parse().ok()?, spec)));
    parts
        .map(|(disk, spec)| (disk, spec.to_owned()))
        .ok_or_else(|| "a disk and its device, such as 3=hdd:exos-x24:slow=4,memory:4G".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_they_are_written() {
        assert_eq!(parse_time("30"), Ok(Nanos::from_secs(30)));
        assert_eq!(parse_time("2.5"), Ok(Nanos::from_millis(2_500)));
        assert_eq!(parse_time("500ms"), Ok(Nanos::from_millis(500)));
        assert_eq!(parse_time("2m"), Ok(Nanos::from_secs(120)));
        assert!(parse_time("soon").is_err() && parse_time("-1").is_err());
        assert_eq!(parse_part("64k"), Ok(Part::Bytes(65_536)));
        assert_eq!(parse_mix("90:8:2"), Ok(Mix { read: 90, write: 8, delete: 2 }));
        assert!(parse_mix("90:8").is_err() && parse_mix("a:b:c").is_err());
        assert_eq!(parse_shape("6x4"), Ok((6, 4)));
        assert!(parse_shape("6").is_err() && parse_shape("0x4").is_err());
        assert_eq!(limping("hdd:a,memory:1G", 2.5).as_deref(), Some("hdd:a:slow=2.5,memory:1G"));
        let stack = limping("fault:eio=1e-4,hdd:a:depth=2,memory:1G", 3.0);
        assert_eq!(stack.as_deref(), Some("fault:eio=1e-4,hdd:a:depth=2:slow=3,memory:1G"));
        assert_eq!((limping("memory:1G", 2.0), limping("file:/hdd:x", 2.0)), (None, None));
        assert_eq!(parse_sick("3=hdd:a:slow=2,b"), Ok((3, "hdd:a:slow=2,b".to_owned())));
    }
}
