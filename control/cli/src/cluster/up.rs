//! `isotherm cluster up`: makes a cluster, or starts one that was stopped.
//!
//! What must always hold: nothing is written outside the folder but to devices that were named; a
//! cluster that is there is started as it is, never made anew; if anything fails, what was started
//! is stopped again.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail, ensure};
use isotherm_client::{ClientConfig, Refusal};
use isotherm_erasure::Scheme;
use isotherm_host::{HostClock, OsEntropy};
use isotherm_placement::{ClusterMap, Disk, DiskNo, DiskState, GroupOptions, Node, NodeNo};
use isotherm_seam::{Clock, Domain, Draws, Entropy, Nanos};
use isotherm_transport::Ca;
use isotherm_wire::Failure;

use super::folder::{CERT_DAYS, Folder, issue, write_ca, write_whole};
use super::link::Link;
use super::{running, stop};
use crate::node::{CoreToml, DiskToml, NodeToml, TlsToml};
use crate::store::{format_disk, words};

const UUIDS: Domain = Domain::new("cli.cluster.uuid");
const GROUPS: Domain = Domain::new("cli.cluster.groups");

/// Starts a cluster on this machine: makes it if the folder has none.
///
/// By default disks are sparse files in the folder. No device is touched unless it is named.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  isotherm cluster up                                  6 nodes, 1 disk each, files of 1 GiB
  isotherm cluster up --nodes 6 --disks 4 --hdd exos-x24
  isotherm cluster up --memory --size 256M --codec 2+1 --nodes 3")]
pub(super) struct UpCommand {
    /// The cluster's folder
    #[arg(
        long = "dir",
        alias = "cluster",
        value_name = "FOLDER",
        env = "ISOTHERM_CLUSTER",
        default_value = "cluster"
    )]
    dir: PathBuf,
    /// Nodes, each a process
    #[arg(long, value_name = "N", default_value_t = 6)]
    nodes: u32,
    /// Disks of each node
    #[arg(long, value_name = "N", default_value_t = 1)]
    disks: u32,
    /// Size of each disk
    #[arg(long, value_name = "SIZE", default_value = "1G", value_parser = words::bytes)]
    size: u64,
    /// Emulate mechanical disks of this model over the files; see `isotherm hdd profiles`
    #[arg(long, value_name = "MODEL", conflicts_with = "memory")]
    hdd: Option<String>,
    /// Disks in memory: quick, and gone with the nodes
    #[arg(long)]
    memory: bool,
    /// Devices to use instead, dealt to the nodes in turn; what they hold is lost: name each again
    /// with --destroy
    #[arg(long, value_name = "DEVICE", num_args = 1.., conflicts_with_all = ["memory", "hdd", "disks"])]
    devices: Vec<String>,
    /// This device may be overwritten although it holds something
    #[arg(long, value_name = "DEVICE")]
    destroy: Vec<String>,
    /// How objects are coded: data cells + parity cells
    #[arg(long, value_name = "K+M", default_value = "4+2")]
    codec: String,
    /// Bytes of UDP payload; 8972 is quick on loopback
    #[arg(long, value_name = "BYTES", default_value_t = 8972)]
    mtu: u16,
}

/// How long nodes get to open their disks.
const PATIENCE: Duration = Duration::from_secs(60);

impl UpCommand {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let folder = Folder::new(&self.dir);
        if !folder.is_cluster() {
            self.make(&folder)?;
        }
        let map = folder.map()?;
        let started = start(&folder, &map);
        let waited = started.and_then(|()| wait(&folder, &map));
        if let Err(error) = waited {
            let names: Vec<&str> = map.nodes.iter().map(|node| node.name.as_str()).collect();
            stop(&folder, &names);
            return Err(error);
        }
        println!(
            "{} nodes with {} disks, {} groups of {}, in {}",
            map.nodes.len(),
            map.disks.len(),
            map.groups.len(),
            map.scheme,
            self.dir.display()
        );
        Ok(ExitCode::SUCCESS)
    }

    /// Makes the folder: certificates, formatted disks, files, and the map last, since it is what
    /// says that there is a cluster.
    fn make(&self, folder: &Folder) -> anyhow::Result<()> {
        let scheme: Scheme = self.codec.parse()?;
        if let Ok(mut entries) = fs::read_dir(&folder.path) {
            ensure!(
                entries.next().is_none(),
                "{}: not empty, and no cluster: name another folder",
                folder.path.display()
            );
        }
        let (entropy, now) = (OsEntropy::new()?, HostClock::new().wall());
        let uuid = || {
            let draw = || u128::from(entropy.next_u64(UUIDS, 0));
            (draw() << 64 | draw()).to_be_bytes()
        };
        let mut disks_of: Vec<Vec<DiskToml>> = vec![Vec::new(); self.nodes as usize];
        let mut map_disks = Vec::new();
        for number in 0..self.disk_count() {
            let node = number as usize % self.nodes as usize;
            let (name, uuid) = (format!("disk{}", disks_of[node].len()), uuid());
            let path =
                folder.node(&format!("node{node}")).join("disks").join(format!("{name}.img"));
            let device = self.device(number as usize, &path)?;
            map_disks.push(Disk {
                no: DiskNo(number),
                uuid,
                node: NodeNo(node as u32),
                core: 0,
                name: name.clone(),
                capacity_bytes: self.size,
                state: DiskState::In,
            });
            let text = format!("{:032x}", u128::from_be_bytes(uuid));
            disks_of[node].push(DiskToml { uuid: text, name, device, volatile: self.memory });
        }
        // The sockets hold their ports until all are chosen.
        let sockets: Vec<UdpSocket> = (0..self.nodes)
            .map(|_| UdpSocket::bind("127.0.0.1:0"))
            .collect::<Result<_, _>>()
            .context("no free UDP port")?;
        let addrs: Vec<SocketAddr> =
            sockets.iter().map(UdpSocket::local_addr).collect::<Result<_, _>>()?;
        let listeners: Vec<TcpListener> = (0..self.nodes)
            .map(|_| TcpListener::bind("127.0.0.1:0"))
            .collect::<Result<_, _>>()
            .context("no free TCP port")?;
        let admins: Vec<SocketAddr> =
            listeners.iter().map(TcpListener::local_addr).collect::<Result<_, _>>()?;
        let map_nodes = addrs.iter().enumerate().map(|(number, addr)| Node {
            no: NodeNo(number as u32),
            name: format!("node{number}"),
            rack: None,
            cores: vec![*addr],
            admin: Some(admins[number]),
        });
        let mut draws = Draws::new(entropy.next_u64(GROUPS, 0), GROUPS, 0);
        let cluster = uuid();
        let options = GroupOptions::default();
        let map = ClusterMap::build(
            cluster,
            scheme,
            map_nodes.collect(),
            map_disks,
            &options,
            &mut draws,
        )?;
        // Nothing was written so far.
        let ca = Ca::create("isotherm", now)?;
        write_ca(&folder.path.join("ca"), &ca)?;
        let loopback = ["127.0.0.1".parse().expect("an address")];
        issue(&ca, &folder.path.join("client"), "client", &loopback, CERT_DAYS, now)?;
        for (number, addr) in addrs.iter().enumerate() {
            let name = format!("node{number}");
            let home = folder.node(&name);
            issue(&ca, &home, &name, &loopback, CERT_DAYS, now)?;
            for disk in disks_of[number].iter().filter(|disk| !disk.volatile) {
                fs::create_dir_all(home.join("disks"))?;
                let create = self.devices.is_empty().then_some(self.size);
                format_disk(&disk.device, disk.uuid()?, create, &self.destroy)
                    .with_context(|| format!("{name} {}", disk.name))?;
            }
            let config = NodeToml {
                name,
                admin: Some(admins[number]),
                mtu: self.mtu,
                tls: TlsToml {
                    cert: "cert.pem".into(),
                    key: "key.pem".into(),
                    roots: "../ca/roots.pem".into(),
                },
                core: vec![CoreToml { listen: *addr, cpu: None, disk: disks_of[number].clone() }],
            };
            write_whole(&home.join("node.toml"), toml::to_string(&config)?.as_bytes(), false)?;
        }
        folder.write_map(&map)
    }

    fn disk_count(&self) -> u32 {
        match self.devices.len() {
            0 => self.nodes * self.disks,
            devices => devices as u32,
        }
    }

    fn device(&self, number: usize, path: &Path) -> anyhow::Result<String> {
        if let Some(device) = self.devices.get(number) {
            return Ok(device.clone());
        }
        if self.memory {
            return Ok(format!("memory:{}", self.size));
        }
        let path = std::path::absolute(path)?;
        let path = path.to_str().ok_or_else(|| anyhow!("the folder's path is not UTF-8"))?;
        Ok(match &self.hdd {
            Some(model) => format!("hdd:{model},file:{path}"),
            None => path.to_owned(),
        })
    }
}

/// Starts every node that does not run.
pub(super) fn start(folder: &Folder, map: &ClusterMap) -> anyhow::Result<()> {
    let program = std::env::current_exe().context("where this program is")?;
    for node in &map.nodes {
        if running(folder, &node.name).is_some() {
            continue;
        }
        let home = fs::canonicalize(folder.node(&node.name))?;
        let log = File::options().create(true).append(true).open(home.join("log"))?;
        let child = Command::new(&program)
            .args(["node", "--config"])
            .arg(home.join("node.toml"))
            .current_dir(&home)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("{}: can't be started", node.name))?;
        write_whole(&home.join("pid"), child.id().to_string().as_bytes(), false)?;
    }
    Ok(())
}

/// Waits until every disk answers.
#[expect(clippy::disallowed_methods, reason = "waits for processes")]
fn wait(folder: &Folder, map: &ClusterMap) -> anyhow::Result<()> {
    let start = Instant::now();
    let stop = crate::stop::on_signal()?;
    let config = ClientConfig { deadline: Nanos::from_secs(2), ..ClientConfig::default() };
    loop {
        let mut link = Link::new(folder, config)?;
        let disks: Vec<DiskNo> = map.disks.iter().map(|disk| disk.no).collect();
        let late = link.run(&stop, move |client| async move {
            let mut late = Vec::new();
            for disk in disks {
                match client.disk_state(disk).await {
                    Ok(_) => {}
                    Err(why) => late.push((disk, why)),
                }
            }
            late
        });
        let late = late.ok_or_else(|| anyhow!("stopped before every disk was open"))?;
        let Some((disk, why)) = late.first() else { return Ok(()) };
        for node in &map.nodes {
            if running(folder, &node.name).is_none() {
                let log = folder.node(&node.name).join("log");
                bail!("{} has ended; its last words: {}", node.name, last_words(&log));
            }
        }
        if start.elapsed() > PATIENCE {
            let node = map.disk(*disk).and_then(|disk| map.node(disk.node));
            let name = node.map_or("its node", |node| node.name.as_str());
            let hint = match why {
                Refusal::Failed(Failure::NotOpen) => "it could not be opened",
                _ => "the node does not answer",
            };
            bail!("{disk} of {name}: {hint}: see {}", folder.node(name).join("log").display());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn last_words(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    text.lines().last().unwrap_or("none").to_owned()
}
