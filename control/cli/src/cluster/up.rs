//! `isotherm cluster up`: makes a cluster, or starts one that was stopped.
//!
//! What must always hold: nothing is written outside the folder but to devices that were named; a
//! cluster that is there is started as it is, never made anew; if anything fails, what was started
//! is stopped again.

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, TcpListener, UdpSocket};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail, ensure};
use isotherm_client::{ClientConfig, Refusal};
use isotherm_erasure::Scheme;
use isotherm_host::{HostClock, OsEntropy};
use isotherm_placement::{ClusterMap, Disk, DiskNo, DiskState, GroupOptions, Load, Node, NodeNo};
use isotherm_seam::{Clock, Domain, Draws, Entropy, Nanos};
use isotherm_transport::Ca;
use isotherm_wire::Failure;

use super::folder::{CERT_DAYS, Folder, issue, read_ca, write_ca, write_whole};
use super::link::Link;
use super::{Place, running, stop};
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
  isotherm cluster up --nodes 6 --disks 4 --hdd exos-x24 --limp 7=2.5
  isotherm cluster up --memory --size 256M --codec 2+1 --nodes 3")]
pub(super) struct UpCommand {
    #[command(flatten)]
    place: Place,
    /// Nodes, each a process
    #[arg(long, value_name = "N", default_value_t = 6)]
    nodes: u32,
    #[command(flatten)]
    with: With,
    /// How objects are coded: data cells + parity cells
    #[arg(long, value_name = "K+M", default_value = "4+2")]
    codec: String,
}

/// What new nodes are made with.
#[derive(clap::Args)]
struct With {
    /// Disks of each node
    #[arg(long, value_name = "N", default_value_t = 1)]
    disks: u32,
    /// Size of each disk
    #[arg(long, value_name = "SIZE", default_value = "1G", value_parser = words::bytes)]
    size: u64,
    /// Emulate mechanical disks of this model over the files; see `isotherm hdd profiles`
    #[arg(long, value_name = "MODEL")]
    hdd: Option<String>,
    /// One of these takes so many times as long for everything: `7=3` for disk 7, which count from
    /// 0 over all nodes: the first of each node, then the second of each; may be repeated
    #[arg(long, value_name = "DISK=FACTOR", requires = "hdd", value_parser = parse_limp)]
    limp: Vec<(u32, f64)>,
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
    /// Bytes of UDP payload; 8972 is quick on loopback
    #[arg(long, value_name = "BYTES", default_value_t = MTU)]
    mtu: u16,
}

/// Adds nodes to a cluster that runs.
///
/// The new map has further groups that use the new disks; what is there stays where it is.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  isotherm cluster grow --nodes 1 --disks 4 --hdd exos-x24")]
pub(super) struct GrowCommand {
    #[command(flatten)]
    place: Place,
    /// Nodes to add
    #[arg(long, value_name = "N", default_value_t = 1)]
    nodes: u32,
    #[command(flatten)]
    with: With,
}

/// What loopback takes in one packet, less its headers.
const MTU: u16 = 8972;
/// How long nodes get to open their disks.
const PATIENCE: Duration = Duration::from_secs(60);

impl UpCommand {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let folder = self.place.folder();
        if !folder.is_cluster() {
            let scheme: Scheme = self.codec.parse()?;
            make(&folder, scheme, self.nodes, &self.with)?;
        }
        let map = folder.map()?;
        let started = start(&folder, &map);
        let waited = started.and_then(|()| wait(&folder, &map, &crate::stop::on_signal()?));
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
            folder.path.display()
        );
        Ok(ExitCode::SUCCESS)
    }
}

impl GrowCommand {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let folder = self.place.folder();
        let old = folder.map()?;
        let entropy = OsEntropy::new()?;
        let (first, first_disk) = (old.nodes.len() as u32, old.disks.len() as u32);
        let plan = self.with.plan(&folder, &entropy, first, first_disk, self.nodes)?;
        let mut draws = Draws::new(entropy.next_u64(GROUPS, 0), GROUPS, old.version);
        let options = GroupOptions::default();
        // How full the disks are is the control plane's to know; by hand they count as alike.
        let load = |_| Load::default();
        let map = old.grow(plan.nodes.clone(), plan.disks.clone(), &options, &load, &mut draws)?;
        plan.carry_out(&folder, &read_ca(&folder.path.join("ca"))?, &self.with)?;
        // The nodes first: nobody may learn of disks that do not answer yet.
        start(&folder, &map)?;
        folder.write_map(&map)?;
        wait(&folder, &map, &crate::stop::on_signal()?)?;
        println!(
            "map version {}: {} nodes with {} disks, {} groups ({} of them new)",
            map.version,
            map.nodes.len(),
            map.disks.len(),
            map.groups.len(),
            map.groups.len() - old.groups.len(),
        );
        Ok(ExitCode::SUCCESS)
    }
}

const LOOPBACK: [IpAddr; 1] = [IpAddr::V4(Ipv4Addr::LOCALHOST)];

/// A number by chance.
fn uuid(entropy: &OsEntropy) -> [u8; 16] {
    let draw = || u128::from(entropy.next_u64(UUIDS, 0));
    (draw() << 64 | draw()).to_be_bytes()
}

/// Nodes that are to be made.
struct Plan {
    nodes: Vec<Node>,
    disks: Vec<Disk>,
    files: Vec<NodeToml>,
}

impl With {
    /// Chooses ports, names and numbers for new nodes. Writes nothing.
    fn plan(
        &self,
        folder: &Folder,
        entropy: &OsEntropy,
        first_node: u32,
        first_disk: u32,
        nodes: u32,
    ) -> anyhow::Result<Plan> {
        ensure!(nodes > 0, "--nodes: one at least");
        let count = match self.devices.len() {
            0 => nodes * self.disks,
            devices => devices as u32,
        };
        for (disk, _) in &self.limp {
            ensure!(*disk < count, "--limp {disk}: there are disks 0 to {}", count.max(1) - 1);
        }
        // The sockets hold their ports until all are chosen.
        let bind = |_| -> std::io::Result<(UdpSocket, TcpListener)> {
            Ok((UdpSocket::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?))
        };
        let sockets: Vec<_> =
            (0..nodes).map(bind).collect::<Result<_, _>>().context("no free port")?;
        let mut plan = Plan { nodes: Vec::new(), disks: Vec::new(), files: Vec::new() };
        for (number, (udp, tcp)) in (first_node..).zip(&sockets) {
            let (addr, admin) = (udp.local_addr()?, tcp.local_addr()?);
            let name = format!("node{number}");
            plan.nodes.push(Node {
                no: NodeNo(number),
                name: name.clone(),
                rack: None,
                cores: vec![addr],
                admin: Some(admin),
            });
            plan.files.push(NodeToml {
                name,
                admin: Some(admin),
                mtu: self.mtu,
                tls: TlsToml {
                    cert: "cert.pem".into(),
                    key: "key.pem".into(),
                    roots: "../ca/roots.pem".into(),
                },
                core: vec![CoreToml { listen: addr, cpu: None, disk: Vec::new() }],
            });
        }
        for number in 0..count {
            let file = &mut plan.files[(number % nodes) as usize];
            let disks = &mut file.core[0].disk;
            let (name, uuid) = (format!("disk{}", disks.len()), uuid(entropy));
            let path = folder.node(&file.name).join("disks").join(format!("{name}.img"));
            let device = self.device(number as usize, &path)?;
            plan.disks.push(Disk {
                no: DiskNo(first_disk + number),
                uuid,
                node: NodeNo(first_node + number % nodes),
                core: 0,
                name: name.clone(),
                capacity_bytes: self.size,
                state: DiskState::In,
            });
            let text = format!("{:032x}", u128::from_be_bytes(uuid));
            disks.push(DiskToml { uuid: text, name, device, volatile: self.memory });
        }
        Ok(plan)
    }

    fn device(&self, number: usize, path: &Path) -> anyhow::Result<String> {
        if let Some(device) = self.devices.get(number) {
            return Ok(device.clone());
        }
        let medium = if self.memory {
            format!("memory:{}", self.size)
        } else {
            let path = std::path::absolute(path)?;
            let path = path.to_str().ok_or_else(|| anyhow!("the folder's path is not UTF-8"))?;
            // A layer needs a leaf by name; a path alone is one by itself.
            if self.hdd.is_some() { format!("file:{path}") } else { path.to_owned() }
        };
        let limps = self.limp.iter().find(|(disk, _)| *disk as usize == number);
        Ok(match (&self.hdd, limps) {
            (Some(model), Some((_, factor))) => format!("hdd:{model}:slow={factor},{medium}"),
            (Some(model), None) => format!("hdd:{model},{medium}"),
            (None, _) => medium,
        })
    }
}

/// Makes the folder: certificates, formatted disks, files, and the map last, since it is what
/// says that there is a cluster.
fn make(folder: &Folder, scheme: Scheme, nodes: u32, with: &With) -> anyhow::Result<()> {
    if let Ok(mut entries) = fs::read_dir(&folder.path) {
        ensure!(
            entries.next().is_none(),
            "{}: not empty, and no cluster: name another folder",
            folder.path.display()
        );
    }
    let (entropy, now) = (OsEntropy::new()?, HostClock::new().wall());
    let plan = with.plan(folder, &entropy, 0, 0, nodes)?;
    let mut draws = Draws::new(entropy.next_u64(GROUPS, 0), GROUPS, 0);
    let map = ClusterMap::build(
        uuid(&entropy),
        scheme,
        plan.nodes.clone(),
        plan.disks.clone(),
        &GroupOptions::default(),
        &mut draws,
    )?;
    // Nothing was written so far.
    let ca = Ca::create("isotherm", now)?;
    write_ca(&folder.path.join("ca"), &ca)?;
    issue(&ca, &folder.path.join("client"), "client", &LOOPBACK, CERT_DAYS, now)?;
    plan.carry_out(folder, &ca, with)?;
    folder.write_map(&map)
}

/// A disk and how many times as long it takes.
pub(crate) fn parse_limp(text: &str) -> Result<(u32, f64), String> {
    let parts = text.split_once('=');
    parts
        .and_then(|(disk, factor)| Some((disk.parse().ok()?, factor.parse::<f64>().ok()?)))
        .filter(|(_, factor)| (1.0..=100.0).contains(factor))
        .ok_or_else(|| "a disk and a factor from 1 to 100 are expected, such as 7=2.5".to_owned())
}

/// What a cluster of emulated disks is made of.
#[derive(Clone, Debug)]
pub(crate) struct Emulated {
    pub(crate) nodes: u32,
    /// Disks of each.
    pub(crate) disks: u32,
    pub(crate) size_bytes: u64,
    /// The model of the disks.
    pub(crate) hdd: String,
    /// The disk that takes so many times as long.
    pub(crate) limp: Option<(u32, f64)>,
    pub(crate) scheme: Scheme,
}

/// A cluster that ends with this process, however that ends.
pub(crate) struct Attached {
    folder: Folder,
    children: Vec<(String, Child)>,
}

impl Attached {
    /// Makes a cluster in an empty folder, starts it and waits for its disks.
    pub(crate) fn up(
        folder: &Folder,
        shape: &Emulated,
        stop: &Arc<AtomicBool>,
    ) -> anyhow::Result<Attached> {
        let with = With {
            disks: shape.disks,
            size: shape.size_bytes,
            hdd: Some(shape.hdd.clone()),
            limp: shape.limp.into_iter().collect(),
            memory: false,
            devices: Vec::new(),
            destroy: Vec::new(),
            mtu: MTU,
        };
        make(folder, shape.scheme, shape.nodes, &with)?;
        let map = folder.map()?;
        let mut attached = Attached { folder: folder.clone(), children: Vec::new() };
        for node in &map.nodes {
            let child = start_node(folder, &node.name, &mut |command| {
                command.arg("--attached").stdin(Stdio::piped());
            })?;
            attached.children.push((node.name.clone(), child));
        }
        wait(folder, &map, stop)?;
        Ok(attached)
    }

    /// Kills a node as a power cut would: with SIGKILL.
    pub(crate) fn kill(&mut self, name: &str) -> anyhow::Result<()> {
        let at = self.children.iter().position(|(node, _)| node == name);
        let (_, mut child) = self.children.remove(at.with_context(|| format!("no node {name}"))?);
        child.kill().and_then(|()| child.wait()).with_context(|| format!("{name}: not killed"))?;
        Ok(())
    }

    /// Stops the nodes in good order; tells which of them did not.
    pub(crate) fn down(self) -> Vec<String> {
        let names: Vec<&str> = self.children.iter().map(|(name, _)| name.as_str()).collect();
        super::stop(&self.folder, &names)
    }
}

impl Drop for Attached {
    /// What still runs is not to outlive the folder.
    fn drop(&mut self) {
        for (_, child) in &mut self.children {
            // One that has ended by itself can't be killed, and is waited for all the same.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Plan {
    /// Makes certificates, formats disks, writes the nodes' files.
    fn carry_out(&self, folder: &Folder, ca: &Ca, with: &With) -> anyhow::Result<()> {
        let now = HostClock::new().wall();
        for file in &self.files {
            let home = folder.node(&file.name);
            issue(ca, &home, &file.name, &LOOPBACK, CERT_DAYS, now)?;
            for disk in file.core[0].disk.iter().filter(|disk| !disk.volatile) {
                fs::create_dir_all(home.join("disks"))?;
                let create = with.devices.is_empty().then_some(with.size);
                format_disk(&disk.device, disk.uuid()?, create, &with.destroy)
                    .with_context(|| format!("{} {}", file.name, disk.name))?;
            }
            write_whole(&home.join("node.toml"), toml::to_string(file)?.as_bytes(), false)?;
        }
        Ok(())
    }
}

/// Starts every node that does not run.
pub(super) fn start(folder: &Folder, map: &ClusterMap) -> anyhow::Result<()> {
    for node in &map.nodes {
        if running(folder, &node.name).is_some() {
            continue;
        }
        start_node(folder, &node.name, &mut |_| {})?;
    }
    Ok(())
}

fn start_node(
    folder: &Folder,
    name: &str,
    how: &mut dyn FnMut(&mut Command),
) -> anyhow::Result<Child> {
    let home = fs::canonicalize(folder.node(name))?;
    let mut command = node_command(folder, name, &home.join("node.toml"))?;
    how(&mut command);
    let child = command.spawn().with_context(|| format!("{name}: can't be started"))?;
    write_pid(folder, name, &child)?;
    Ok(child)
}

/// What starts a node by this configuration; its words go to the log in its folder.
pub(super) fn node_command(folder: &Folder, name: &str, config: &Path) -> anyhow::Result<Command> {
    let home = fs::canonicalize(folder.node(name))?;
    let log = File::options().create(true).append(true).open(home.join("log"))?;
    let mut command = Command::new(std::env::current_exe().context("where this program is")?);
    command
        .args(["node", "--config"])
        .arg(config)
        .current_dir(&home)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        // Ctrl-C is for whoever started it: that one says when the nodes are to end.
        .process_group(0);
    Ok(command)
}

/// Notes the process of a node, so that `cluster down` finds it.
pub(super) fn write_pid(folder: &Folder, name: &str, child: &Child) -> anyhow::Result<()> {
    write_whole(&folder.pid_file(name), child.id().to_string().as_bytes(), false)
}

/// Waits until every disk answers.
#[expect(clippy::disallowed_methods, reason = "waits for processes")]
pub(super) fn wait(
    folder: &Folder,
    map: &ClusterMap,
    stop: &Arc<AtomicBool>,
) -> anyhow::Result<()> {
    let start = Instant::now();
    let config = ClientConfig { deadline: Nanos::from_secs(2), ..ClientConfig::default() };
    loop {
        let mut link = Link::new(folder, config)?;
        let disks: Vec<DiskNo> = map.disks.iter().map(|disk| disk.no).collect();
        let late = link.run(stop, move |client| async move {
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
