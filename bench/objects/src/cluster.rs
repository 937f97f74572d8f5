//! A cluster in one thread and in virtual time: a core for each node and one for the client, stores
//! on modelled disks, and nothing between them but calls.
//!
//! What must always hold: time moves only when no core has anything to do, and then to the
//! earliest moment that any of them waits for; so a run gives the same result each time, to the
//! last bit. The network and the processors take no time here: what is measured is disks, their
//! queues, and who asks which of them.

use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;

use isotherm_block::{OpenContext, Spec};
use isotherm_client::{Client, ClientConfig};
use isotherm_erasure::Scheme;
use isotherm_node::{Node, NodeConfig, ShelfState};
use isotherm_placement::{
    BuildError, ClusterMap, Disk as MapDisk, DiskNo, DiskState, GroupOptions, Node as MapNode,
    NodeNo,
};
use isotherm_reactor::{Disk, Handle, Reactor, ReactorConfig};
use isotherm_seam::{
    BlockSize, BufPool, Clock, Domain, Draws, Due, Mono, Nanos, OpenError, OpenOptions, Park,
    PoolClass, PoolLayout, RegionError, draw,
};
use isotherm_sim::{SimClock, SimEntropy, SimPark};
use isotherm_store::sched::DiskProfile;
use isotherm_store::{FormatOptions, Options, PAYLOAD_MAX, PutBuf, World, format};
use isotherm_transport::{LocalHub, LocalNetwork};

use crate::busy::Worked;

const MAP: Domain = Domain::new("objects.cluster.map");
const DEVICE: Domain = Domain::new("objects.cluster.device");
const TURN: Domain = Domain::new("objects.cluster.turn");

/// Shards that a disk may hold.
const ENTRIES_MAX: u64 = 1 << 20;
/// Buffers of the longest record that each disk brings, and of shorter ones.
const LONG_PER_DISK: u32 = 20;
const SHORT_PER_DISK: u32 = 24;
/// Extents that a disk has at least, if it is large enough for that.
const EXTENTS: u64 = 64;
/// Blocks of 4 KiB of the shortest extent.
const EXTENT_BLOCKS_MIN: u32 = 16;

type Core = Reactor<SimPark, SimClock>;

/// How a cluster is made.
#[derive(Clone, Debug)]
pub struct ClusterConfig {
    /// Where all chance comes from.
    pub seed: u64,
    /// How many nodes.
    pub nodes: u32,
    /// How objects are coded.
    pub scheme: Scheme,
    /// The disks as specs of drivers, dealt to the nodes in turn.
    pub devices: Vec<String>,
    /// How its client behaves.
    pub client: ClientConfig,
}

/// Why there is no cluster.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// A disk can't be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// No memory for buffers.
    #[error("no memory for the buffers of the nodes: {0}")]
    Memory(#[from] RegionError),
    /// No groups can be made of these disks.
    #[error(transparent)]
    Map(#[from] BuildError),
    /// A disk can't be formatted or opened by its node.
    #[error("{name}: {why}")]
    Disk {
        /// Which disk.
        name: String,
        /// What the store said.
        why: String,
    },
}

struct Machine {
    core: Core,
    node: Node,
    /// Which disks of the cluster its shelves are, in their order.
    disks: Vec<usize>,
}

/// A cluster in virtual time.
pub struct Cluster {
    clock: SimClock,
    machines: Vec<Machine>,
    core: Core,
    client: Client,
    names: Vec<String>,
    /// Which core is turned first.
    turns: Draws,
    /// Its addresses.
    _client_host: Rc<LocalNetwork>,
}

impl Cluster {
    /// Makes a cluster with empty disks and waits, in virtual time, until all of them are open.
    pub fn new(config: &ClusterConfig) -> Result<Cluster, ClusterError> {
        let (clock, hub) = (SimClock::new(), LocalHub::new());
        let nodes = (0..config.nodes)
            .map(|node| MapNode {
                no: NodeNo(node),
                name: format!("node{node}"),
                rack: None,
                cores: vec![addr(node)],
                admin: None,
            })
            .collect();
        let mut parts: Vec<Part> = (0..config.nodes).map(|_| Part::new(&clock)).collect();
        let (mut disks, mut names) = (Vec::new(), Vec::new());
        for (index, device) in config.devices.iter().enumerate() {
            let node = index as u32 % config.nodes;
            let part = &mut parts[node as usize];
            let name = format!("node{node} disk{}", part.disks.len());
            let seed = draw(config.seed, DEVICE, index as u64, 0);
            let disk = part.attach(device, seed)?;
            disks.push(MapDisk {
                no: DiskNo(index as u32),
                uuid: uuid(index),
                node: NodeNo(node),
                core: 0,
                name: name.clone(),
                capacity_bytes: disk.geometry().capacity_bytes(),
                state: DiskState::In,
            });
            let profile = match device.split(',').any(|layer| layer.starts_with("hdd:")) {
                true => DiskProfile::nearline().to_bytes().to_vec(),
                false => Vec::new(),
            };
            part.disks.push(Empty { index, name: name.clone(), disk, profile });
            names.push(name);
        }
        let mut draws = Draws::new(config.seed, MAP, 0);
        let options = GroupOptions::default();
        let map = ClusterMap::build([1; 16], config.scheme, nodes, disks, &options, &mut draws)?;
        let core_config = ReactorConfig { tasks_max: 16_384, ..ReactorConfig::default() };
        let core = Reactor::new(SimPark::new(clock.clone()), clock.clone(), core_config);
        let host = hub.host(core.handle(), "10.255.0.1:1".parse().expect("an address"), "client");
        let entropy = Rc::new(SimEntropy::new(config.seed));
        let network = Rc::clone(&host);
        let client = Client::new(core.handle(), network, map, entropy, config.client);
        let mut cluster = Cluster {
            clock,
            machines: Vec::new(),
            core,
            client,
            names,
            turns: Draws::new(config.seed, TURN, 0),
            _client_host: host,
        };
        for (node, part) in parts.into_iter().enumerate() {
            cluster.start(node as u32, part, &hub)?;
        }
        Ok(cluster)
    }

    fn start(&mut self, node: u32, part: Part, hub: &LocalHub) -> Result<(), ClusterError> {
        let classes = part.pool_classes();
        let Part { core, disks } = part;
        let layout = PoolLayout { classes, align: BlockSize::B4096, huge: false };
        let world = World {
            handle: core.handle().clone(),
            pool: BufPool::new(&layout)?,
            clock: Rc::new(self.clock.clone()),
        };
        let network = hub.host(core.handle(), addr(node), &format!("node{node}"));
        let store = Options { entries_max: ENTRIES_MAX, ..Options::default() };
        let held_bytes_max = u64::from(LONG_PER_DISK / 2) << 20;
        let config = NodeConfig { store, held_bytes_max, ..NodeConfig::default() };
        let served = Node::new(world.clone(), network, config);
        let formatted: Vec<_> = disks
            .iter()
            .map(|Empty { index, name, disk, profile }| {
                let (world, disk, index) = (world.clone(), disk.clone(), *index);
                let (served, name, profile) = (served.clone(), name.clone(), profile.clone());
                core.spawn("format", async move {
                    let options = FormatOptions {
                        extent_blocks: Some(extent_blocks(disk.geometry().capacity_bytes())),
                        profile,
                        ..FormatOptions::new(uuid(index))
                    };
                    match format(&world, &disk, &options).await {
                        Ok(_) => served.add_disk(uuid(index), &name, disk),
                        Err(error) => served.add_failed(uuid(index), &name, &error.to_string()),
                    }
                })
            })
            .collect();
        let count = formatted.len();
        let disks = disks.into_iter().map(|disk| disk.index).collect();
        self.machines.push(Machine { core, node: served.clone(), disks });
        self.turn_until(|| served.report().disks.len() == count && served.is_settled());
        for disk in served.report().disks {
            if let ShelfState::Failed(why) = disk.state {
                return Err(ClusterError::Disk { name: disk.name, why });
            }
        }
        Ok(())
    }

    /// The client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The client's core.
    pub fn handle(&self) -> Handle {
        self.core.handle().clone()
    }

    /// The disks.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// How long each disk has worked so far.
    pub fn worked(&self) -> Vec<Worked> {
        let mut worked = vec![None; self.names.len()];
        for machine in &self.machines {
            // Shelves are told apart by their number, whatever order they were opened in.
            for report in machine.node.report().disks {
                let index = machine.disks.iter().find(|&&index| uuid(index) == report.uuid);
                if let Some(&index) = index {
                    worked[index] = Some(report.disk_time);
                }
            }
        }
        worked
    }

    /// Runs something on the client's core. Whenever so much time has passed, and at the end, it is
    /// looked at.
    pub fn run<T: 'static>(
        &mut self,
        every: Nanos,
        look: &mut dyn FnMut(&Cluster),
        future: impl Future<Output = T> + 'static,
    ) -> T {
        let mut task = self.core.spawn("load", future);
        let mut next = self.clock.mono() + every;
        loop {
            self.turn();
            if let Some(value) = task.try_take() {
                look(self);
                return value;
            }
            let due = self.due().expect("everything sleeps for ever: a bug of the load");
            if due < next {
                self.clock.advance_to(due);
            } else {
                self.clock.advance_to(next);
                look(self);
                next = next + every;
            }
        }
    }

    fn turn_until(&mut self, is_done: impl Fn() -> bool) {
        loop {
            self.turn();
            if is_done() {
                return;
            }
            let due = self.due().expect("everything sleeps for ever: a bug of the cluster");
            self.clock.advance_to(due);
        }
    }

    /// Turns every core until none has anything to do. Which node comes first is drawn anew each
    /// time: what happens at the same moment would else always be seen in the order of their numbers,
    /// and those who take what comes first would never use the others.
    fn turn(&mut self) {
        loop {
            let now = self.clock.mono();
            let mut worked = false;
            let first = self.turns.below(self.machines.len().max(1) as u64) as usize;
            let (late, early) = self.machines.split_at_mut(first);
            let machines = early.iter_mut().chain(late).map(|machine| &mut machine.core);
            for core in machines.chain([&mut self.core]) {
                let is_due = match core.due() {
                    Due::Now => true,
                    Due::At(at) => at <= now,
                    Due::Event | Due::Idle => false,
                };
                if is_due {
                    worked |= core.turn();
                }
            }
            if !worked {
                return;
            }
        }
    }

    /// The earliest moment that a core waits for: always later than now.
    fn due(&self) -> Option<Mono> {
        let cores = self.machines.iter().map(|machine| &machine.core).chain([&self.core]);
        let soon = self.clock.mono() + Nanos(1);
        let due = cores.filter_map(|core| match core.due() {
            Due::Now => Some(soon),
            Due::At(at) => Some(at.max(soon)),
            Due::Event | Due::Idle => None,
        });
        due.min()
    }
}

/// A node before it runs.
struct Part {
    core: Core,
    disks: Vec<Empty>,
}

/// A disk that is not formatted yet.
struct Empty {
    /// Its place in the cluster.
    index: usize,
    name: String,
    disk: Disk,
    /// What its store is told of its arm.
    profile: Vec<u8>,
}

impl Part {
    fn new(clock: &SimClock) -> Part {
        let config = ReactorConfig { tasks_max: 16_384, ..ReactorConfig::default() };
        let core = Reactor::new(SimPark::new(clock.clone()), clock.clone(), config);
        Part { core, disks: Vec::new() }
    }

    fn attach(&mut self, device: &str, seed: u64) -> Result<Disk, OpenError> {
        let options = OpenOptions { write: true, depth: 64, ..OpenOptions::default() };
        let unparker = self.core.park_mut().unparker();
        let context = OpenContext { options, unparker, seed, leaves: &mut [] };
        Ok(self.core.attach(Spec::parse(device)?.open(context)?))
    }

    fn pool_classes(&self) -> Vec<PoolClass> {
        let disks = self.disks.len().max(1) as u32;
        let longest = PutBuf::buffer_bytes(PAYLOAD_MAX as usize) as u32;
        let class = |buf_bytes, count| PoolClass { buf_bytes, count: count * disks };
        vec![
            class(4 << 10, 128),
            class(16 << 10, SHORT_PER_DISK),
            class(80 << 10, SHORT_PER_DISK),
            class(272 << 10, 8),
            class(longest, LONG_PER_DISK),
        ]
    }
}

fn addr(node: u32) -> SocketAddr {
    SocketAddr::from(([10, 0, (node >> 8) as u8, node as u8], 7000))
}

fn uuid(index: usize) -> [u8; 16] {
    let mut uuid = [0x5a; 16];
    uuid[..8].copy_from_slice(&(index as u64).to_be_bytes());
    uuid
}

/// As long as the disk has many of them: a short disk has short ones, and then takes no long cells.
/// The disks of `isotherm cluster up` are cut alike.
fn extent_blocks(disk_bytes: u64) -> u32 {
    let mut blocks = isotherm_store::EXTENT_BLOCKS_DEFAULT;
    while blocks > EXTENT_BLOCKS_MIN && disk_bytes / (u64::from(blocks) * 4096) < EXTENTS {
        blocks /= 2;
    }
    blocks
}
