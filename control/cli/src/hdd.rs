//! `isotherm hdd`: mechanical disks for programs that know nothing of us.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use isotherm_block::Spec;
use isotherm_block::hdd::{PROFILES, Profile};
use isotherm_block::spec::parse_bytes;
use isotherm_host::{OsEntropy, safety};
use isotherm_seam::{Domain, Entropy};
use isotherm_serve::{DiskTally, Serve, ServeOptions, Served, serve};
use serde_json::{Value, json};

/// Emulated hard disks.
#[derive(clap::Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct HddCommand {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand)]
enum Verb {
    Serve(ServeArgs),
    /// Lists the drives that can be emulated.
    Profiles {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Offers emulated hard disks to any program, as files of a mount.
///
/// Each file is as long as the drive, and takes as long as the drive. The backing files are
/// sparse: what is never written takes no space. Runs until Ctrl-C, or until the folder is
/// unmounted, and then tells what the disks did.
#[derive(clap::Args)]
#[command(after_help = SERVE_EXAMPLES)]
struct ServeArgs {
    /// The drive, with the options of the `hdd` layer: exos-x24:cache=off
    #[arg(long, default_value = "exos-x24")]
    profile: String,
    /// The file that holds the data; {} is the number of the disk; made if it is not there
    #[arg(long, value_name = "FILE", required_unless_present = "spec")]
    backing: Option<String>,
    /// How long a disk is, such as 100G (the drive's own capacity if not given)
    #[arg(long, value_parser = size)]
    size: Option<u64>,
    /// How many disks
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    disks: u32,
    /// Any device, in place of --profile and --backing; {} is the number of the disk
    #[arg(long, conflicts_with_all = ["backing", "size", "profile"])]
    spec: Option<String>,
    /// A block device under the disks that may be overwritten although it holds something
    #[arg(long, value_name = "DISK")]
    destroy: Vec<String>,
    /// Chooses what the disks do by chance (drawn if not given)
    #[arg(long)]
    seed: Option<u64>,
    /// Other users may open the disks
    #[arg(long)]
    allow_other: bool,
    /// Serve under real-time scheduling, so that the disks keep their time on a busy machine
    #[arg(long)]
    realtime: bool,
    /// Print JSON: one line when the disks are there, one at the end
    #[arg(long)]
    json: bool,
    /// An empty folder
    mount: PathBuf,
}

const SERVE_EXAMPLES: &str = "\
Examples:
  isotherm hdd serve --backing /srv/disk.img /mnt/hdd
  losetup --find --show --direct-io=on /mnt/hdd/disk      # a block device of it, as root
  isotherm hdd serve --profile exos-x24:cache=off --backing /srv/d{}.img --disks 8 /mnt/hdd
  isotherm hdd serve --spec 'fault:latent=20,hdd:hc670,memory:4G' /mnt/hdd";

const SEED: Domain = Domain::new("cli.hdd.seed");

/// Commands that a drive queues, and so many a program may have in it.
const DEPTH: u32 = 32;

/// ext4 takes no file of 16 TiB; xfs and btrfs take more, and lose nothing by it.
const PART: &str = "8T";

fn size(text: &str) -> Result<u64, String> {
    parse_bytes(text).ok_or_else(|| "a size such as 100G is expected".to_owned())
}

impl HddCommand {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self.verb {
            Verb::Serve(args) => args.run(),
            Verb::Profiles { json } => {
                profiles(json);
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

impl ServeArgs {
    fn run(self) -> anyhow::Result<ExitCode> {
        let disks = self.specs()?;
        let paths: Vec<PathBuf> =
            disks.iter().filter_map(|(_, spec)| spec.path().map(PathBuf::from)).collect();
        let same = (1..paths.len()).find(|&at| paths[..at].contains(&paths[at]));
        if let Some(at) = same {
            bail!("{}: two disks in one file; put {{}} for the disk's number", paths[at].display());
        }
        safety::may_write_all(&paths, &self.destroy)?;
        let seed = match self.seed {
            Some(seed) => seed,
            None => OsEntropy::new()?.next_u64(SEED, 0),
        };
        let options = ServeOptions {
            mount: self.mount.clone(),
            disks,
            depth: DEPTH,
            seed,
            allow_other: self.allow_other,
            realtime: self.realtime,
        };
        let stop = crate::stop::on_signal()?;
        let tallies = serve(&options, &stop, &mut |event| match event {
            Serve::Ready(served) if self.json => println!("{}", ready_json(served, seed)),
            Serve::Ready(served) => say_ready(served, seed),
            Serve::Busy => eprintln!(
                "isotherm: a disk is still open (a loop device? losetup -j FILE, losetup -d DEV): \
                 it ends when the last one is closed"
            ),
        })?;
        let names = options.disks.iter().map(|(name, _)| name.as_str());
        if self.json {
            let disks: Vec<Value> = names.zip(&tallies).map(|(n, t)| tally_json(n, t)).collect();
            println!("{}", json!({ "disks": disks }));
        } else {
            names.zip(&tallies).for_each(|(name, tally)| say_tally(name, tally));
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Each disk's file name and what is behind it.
    fn specs(&self) -> anyhow::Result<Vec<(String, Spec)>> {
        let named = |disk: u32| match self.disks {
            1 => "disk".to_owned(),
            _ => format!("disk{disk}"),
        };
        let text = match (&self.spec, &self.backing) {
            (Some(spec), _) => spec.clone(),
            (None, Some(backing)) => {
                let bytes = match self.size {
                    Some(bytes) => bytes,
                    None => self.capacity()?,
                };
                let question = if backing.contains('?') { "?" } else { "" };
                let bytes = bytes / 4096 * 4096;
                format!(
                    "hdd:{},file:{backing}{question}?size={bytes}:direct=no:part={PART}",
                    self.profile
                )
            }
            (None, None) => bail!("--backing FILE or --spec SPEC is needed"),
        };
        let spec = |disk: u32| Spec::parse(&text.replace("{}", &disk.to_string()));
        (0..self.disks).map(|disk| Ok((named(disk), spec(disk)?))).collect()
    }

    fn capacity(&self) -> anyhow::Result<u64> {
        let name = self.profile.split(':').next().unwrap_or_default();
        let profile = PROFILES.iter().find(|profile| profile.name == name);
        let names = || PROFILES.iter().map(|profile| profile.name).collect::<Vec<_>>().join(", ");
        let profile =
            profile.with_context(|| format!("no drive `{name}`: there are {}", names()))?;
        Ok(profile.capacity_bytes)
    }
}

fn say_ready(served: &Served, seed: u64) {
    for (file, bytes) in &served.files {
        println!("{}  {:.1} GB", file.display(), *bytes as f64 / 1e9);
    }
    println!(
        "The way through the kernel takes {:.0} us and is taken off each answer. Seed {seed}. \
         Ctrl-C ends it.",
        served.lead.as_secs_f64() * 1e6
    );
}

fn ready_json(served: &Served, seed: u64) -> Value {
    let file = |(file, bytes): &(PathBuf, u64)| json!({ "file": file, "bytes": bytes });
    json!({
        "files": served.files.iter().map(file).collect::<Vec<_>>(),
        "way_ns": served.lead.0,
        "seed": seed,
    })
}

fn say_tally(name: &str, tally: &DiskTally) {
    let mean =
        tally.mean().map_or(String::new(), |mean| format!(", mean {:.2} ms", mean.as_millis_f64()));
    println!(
        "{name}: {} reads ({:.1} MB), {} writes ({:.1} MB), {} flushes, {} errors{mean}",
        tally.reads,
        tally.read_bytes as f64 / 1e6,
        tally.writes,
        tally.written_bytes as f64 / 1e6,
        tally.flushes,
        tally.errors,
    );
}

fn tally_json(name: &str, tally: &DiskTally) -> Value {
    json!({
        "disk": name,
        "reads": tally.reads,
        "read_bytes": tally.read_bytes,
        "writes": tally.writes,
        "written_bytes": tally.written_bytes,
        "flushes": tally.flushes,
        "errors": tally.errors,
        "mean_ns": tally.mean().map(|mean| mean.0),
    })
}

fn profiles(as_json: bool) {
    let row = |profile: &Profile| {
        json!({
            "name": profile.name,
            "title": profile.title,
            "capacity_bytes": profile.capacity_bytes,
            "rpm": profile.rpm,
            "outer_mb_s": profile.outer_mb_s,
            "host_managed": profile.host_managed,
        })
    };
    if as_json {
        println!("{:#}", PROFILES.iter().map(row).collect::<Value>());
        return;
    }
    for profile in PROFILES {
        println!(
            "{:<12} {:>6.1} TB  {} rpm  {:.0} MB/s at the rim  {}{}",
            profile.name,
            profile.capacity_bytes as f64 / 1e12,
            profile.rpm,
            profile.outer_mb_s,
            profile.title,
            if profile.host_managed { " (zoned: not to be served)" } else { "" },
        );
    }
}
