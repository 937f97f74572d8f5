//! `isotherm cluster up|grow|drill|status|down`: a whole cluster on this machine, real processes on loopback.

mod drill;
pub(crate) mod folder;
mod link;
mod net;
mod partition;
mod status;
mod up;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

pub(crate) use folder::Folder;
pub(crate) use link::Link;
pub(crate) use up::{Attached, Emulated, parse_limp};

/// A cluster of nodes on this machine, for trying things and for tests.
///
/// Each node is a process of its own with its disks, its certificate and its log, all under one
/// folder.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  isotherm cluster up --nodes 6 --disks 4 --hdd exos-x24
  isotherm put photo.jpg
  isotherm cluster status
  isotherm cluster down --remove")]
pub(crate) struct ClusterCommand {
    #[command(subcommand)]
    verb: ClusterVerb,
}

#[derive(clap::Subcommand)]
enum ClusterVerb {
    Up(up::UpCommand),
    Down(DownCommand),
    Drill(drill::DrillCommand),
    Grow(up::GrowCommand),
    Status(status::StatusCommand),
}

impl ClusterCommand {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self.verb {
            ClusterVerb::Up(command) => command.run(),
            ClusterVerb::Down(command) => command.run(),
            ClusterVerb::Drill(command) => command.run(),
            ClusterVerb::Grow(command) => command.run(),
            ClusterVerb::Status(command) => command.run(),
        }
    }
}

/// Where a cluster is.
#[derive(clap::Args)]
pub(crate) struct Place {
    /// The cluster's folder
    #[arg(
        long = "dir",
        alias = "cluster",
        value_name = "FOLDER",
        env = "ISOTHERM_CLUSTER",
        default_value = "cluster"
    )]
    dir: PathBuf,
}

impl Place {
    fn folder(&self) -> Folder {
        Folder::new(&self.dir)
    }
}

/// Stops a cluster in good order.
#[derive(clap::Args)]
struct DownCommand {
    #[command(flatten)]
    place: Place,
    /// Also remove the folder, with all that the cluster holds
    #[arg(long)]
    remove: bool,
}

/// How long nodes get to stop.
const PATIENCE: Duration = Duration::from_secs(30);

impl DownCommand {
    fn run(self) -> anyhow::Result<ExitCode> {
        let folder = self.place.folder();
        let map = folder.map()?;
        let names: Vec<&str> = map.nodes.iter().map(|node| node.name.as_str()).collect();
        let left = stop(&folder, &names);
        for name in &left {
            eprintln!(
                "isotherm: {name} does not stop: see {}",
                folder.node(name).join("log").display()
            );
        }
        if self.remove && left.is_empty() {
            std::fs::remove_dir_all(&folder.path)
                .with_context(|| format!("{}: can't be removed", folder.path.display()))?;
        }
        Ok(if left.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Tells nodes to stop and waits. Gives the names of those that did not.
#[expect(clippy::disallowed_methods, reason = "waits for processes")]
pub(crate) fn stop(folder: &Folder, names: &[&str]) -> Vec<String> {
    let mut running: Vec<(&str, Pid)> =
        names.iter().filter_map(|name| Some((*name, running(folder, name)?))).collect();
    for (_, pid) in &running {
        // One that has ended meanwhile needs no signal.
        let _ = kill(*pid, Signal::SIGTERM);
    }
    let start = Instant::now();
    while !running.is_empty() && start.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(20));
        running.retain(|(name, pid)| self::running(folder, name) == Some(*pid));
    }
    for name in names {
        if !running.iter().any(|(other, _)| other == name) {
            let _ = std::fs::remove_file(folder.pid_file(name));
        }
    }
    running.into_iter().map(|(name, _)| name.to_owned()).collect()
}

/// The process of a node, if it runs: its number is in the node's folder, and the process with that
/// number was started with that folder.
pub(crate) fn running(folder: &Folder, name: &str) -> Option<Pid> {
    let pid: i32 = std::fs::read_to_string(folder.pid_file(name)).ok()?.trim().parse().ok()?;
    let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let is_ours = arguments.split(|&byte| byte == 0).any(|argument| {
        let argument = std::path::Path::new(std::str::from_utf8(argument).unwrap_or_default());
        argument.ends_with(format!("{name}/node.toml"))
    });
    // A process that has ended and was not waited for has no arguments any more.
    is_ours.then(|| Pid::from_raw(pid))
}
