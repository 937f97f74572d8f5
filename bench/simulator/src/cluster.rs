//! The cluster of a run: nodes over their disks, clients, and an operator whose machine never
//! fails.
//!
//! What must always hold: a machine that starts again has nothing but what its disks kept; a disk
//! that replaces another has another name, and the map says so from then on.

use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;

use isotherm_client::{Client, ClientConfig};
use isotherm_node::{Node, NodeConfig, ShelfState};
use isotherm_placement::{ClusterMap, Disk, DiskNo, DiskState, GroupOptions, NodeNo};
use isotherm_reactor::{Handle, Task};
use isotherm_seam::{
    BlockSize, BufPool, DiskId, Domain, Draws, Mono, Nanos, PoolClass, PoolLayout,
};
use isotherm_sim::{
    CrashStyle, DiskControl, FaultRates, LinkShape, SimClock, SimDisk, SimDiskConfig, SimEntropy,
    SimNetwork, SimNetworkConfig, Trace,
};
use isotherm_store::FormatOptions;
use isotherm_transport::Network;
use isotherm_transport::quic::{Crypto, NodeKeys, Quic, QuicConfig};

use crate::plan::{Plan, Setup};
use crate::run::Tier;
use crate::{MachineId, MessageConfig, MessageNetwork, World};

/// Blocks of an extent of 4 MiB: half of it holds a record of the longest cell.
const EXTENT_BLOCKS: u32 = 1024;

/// Bytes of an extent.
pub(crate) const EXTENT_BYTES: u64 = EXTENT_BLOCKS as u64 * isotherm_store::BLOCK_BYTES as u64;

/// A disk of a node, as the world has it.
struct Slot {
    control: DiskControl,
    no: DiskNo,
    uuid: [u8; 16],
    is_formatted: Rc<RefCell<bool>>,
}

struct NodeRig {
    node: Option<Node>,
    slots: Vec<Slot>,
    pool: BufPool,
}

/// A cluster in virtual time.
pub(crate) struct Cluster {
    pub(crate) world: World,
    /// In the tier that has datagrams.
    datagrams: Option<SimNetwork>,
    pub(crate) map: ClusterMap,
    setup: Setup,
    seed: u64,
    nodes: Vec<NodeRig>,
    clients: Vec<Option<Client>>,
    /// How often each machine was started.
    lives: Vec<u64>,
    next_disk: u32,
    trace: Option<Trace>,
    /// Faults of disks that were replaced.
    faults_gone: u64,
    node_config: NodeConfig,
    client_config: ClientConfig,
}

thread_local! {
    /// Mapping memory costs more than a start: the pools of this thread's runs, one a machine.
    static POOLS: RefCell<Vec<BufPool>> = const { RefCell::new(Vec::new()) };
}

fn pool() -> BufPool {
    let class = |buf_bytes, count| PoolClass { buf_bytes, count };
    POOLS.with_borrow_mut(Vec::pop).unwrap_or_else(|| {
        BufPool::new(&PoolLayout {
            classes: vec![class(4 << 10, 200), class(80 << 10, 48), class(1100 << 10, 40)],
            align: BlockSize::B4096,
            huge: false,
        })
        .expect("memory for a pool")
    })
}

/// Buffers of a pool.
pub(crate) const POOL_BUFS: usize = 200 + 48 + 40;

fn uuid(no: DiskNo) -> [u8; 16] {
    let mut uuid = [7; 16];
    uuid[..4].copy_from_slice(&no.0.to_le_bytes());
    uuid
}

fn addr(id: MachineId) -> SocketAddr {
    (Ipv4Addr::new(10, 0, 0, 1 + id.0 as u8), 7000).into()
}

fn name(id: MachineId) -> String {
    format!("machine{}", id.0)
}

impl Cluster {
    /// Machines of a setup: nodes, then clients, then the operator.
    pub(crate) fn new(
        plan: &Plan,
        tier: Tier,
        trace: Option<Trace>,
        node_config: NodeConfig,
        client_config: ClientConfig,
    ) -> Cluster {
        let setup = plan.setup.clone();
        let clock = SimClock::new();
        let config = MessageConfig {
            shape: shape(&setup, 0.0),
            trace: trace.clone(),
            ..MessageConfig::new(plan.seed)
        };
        let network = MessageNetwork::new(config, clock.clone());
        let mut world = World::new(plan.seed, clock, network);
        let datagrams = (tier == Tier::Quic).then(|| {
            let config = SimNetworkConfig {
                shape: shape(&setup, 0.0),
                trace: trace.clone(),
                ..SimNetworkConfig::new(plan.seed)
            };
            SimNetwork::new(config)
        });
        if let Some(datagrams) = &datagrams {
            world.set_datagrams(datagrams.clone());
        }
        let (mut map_nodes, mut map_disks, mut nodes) = (Vec::new(), Vec::new(), Vec::new());
        let mut next_disk = 0;
        for no in 0..setup.nodes as u32 {
            let id = world.add(2048);
            map_nodes.push(isotherm_placement::Node {
                no: NodeNo(no),
                name: name(id),
                rack: None,
                cores: vec![addr(id)],
                admin: None,
            });
            let mut slots = Vec::new();
            for _ in 0..setup.disks {
                let (no_of_disk, slot) = slot(plan.seed, &setup, next_disk, trace.as_ref());
                next_disk += 1;
                world.add_disk(id, slot.control.clone());
                map_disks.push(map_disk(&setup, no_of_disk, NodeNo(no)));
                slots.push(slot);
            }
            nodes.push(NodeRig { node: None, slots, pool: pool() });
        }
        for _ in 0..=setup.clients {
            world.add(4096);
        }
        let scheme = format!("{}+{}", setup.data, setup.parity).parse().expect("a code");
        let groups = GroupOptions { groups_per_disk: setup.groups as u32 };
        let mut draws = Draws::new(plan.seed, Domain::new("simulator.map"), 0);
        let map = ClusterMap::build([9; 16], scheme, map_nodes, map_disks, &groups, &mut draws)
            .expect("a cluster that can be");
        let count = setup.clients as usize + 1;
        let lives = vec![0; setup.nodes as usize + count];
        let mut cluster = Cluster {
            world,
            datagrams,
            map,
            setup,
            seed: plan.seed,
            nodes,
            clients: vec![None; count],
            lives,
            next_disk,
            trace,
            faults_gone: 0,
            node_config,
            client_config,
        };
        for node in 0..cluster.nodes.len() {
            cluster.start_node(node);
        }
        for client in 0..count {
            cluster.start_client(client);
        }
        cluster
    }

    pub(crate) fn nodes(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn node_id(&self, node: usize) -> MachineId {
        MachineId(node as u32)
    }

    pub(crate) fn client_id(&self, client: usize) -> MachineId {
        MachineId((self.nodes.len() + client) as u32)
    }

    /// Which client is the operator.
    pub(crate) fn operator(&self) -> usize {
        self.clients.len() - 1
    }

    /// A client, if its machine runs.
    pub(crate) fn client(&self, client: usize) -> Option<Client> {
        self.clients[client].clone()
    }

    /// Where a machine that has just been started is reached.
    fn endpoint(&mut self, id: MachineId, handle: &Handle) -> Rc<dyn Network> {
        let life = &mut self.lives[id.0 as usize];
        *life += 1;
        let Some(datagrams) = &self.datagrams else {
            return self.world.messages().endpoint(id.host(), addr(id), &name(id), handle);
        };
        let of_machine = self.seed ^ u64::from(id.0) << 32;
        // Kept over its lives: a peer of the one before is told so at once.
        let keys = NodeKeys::draw(&SimEntropy::new(of_machine));
        // Half of the clusters have jumbo frames.
        let mtu = if self.seed.is_multiple_of(2) { 1452 } else { 8952 };
        let crypto = Crypto::Null { name: name(id) };
        let config = QuicConfig::new(crypto, keys).with_mtu(mtu);
        let socket = Box::new(datagrams.open(id.host(), addr(id)));
        Quic::open(handle, socket, config, &SimEntropy::new(of_machine ^ *life << 48))
    }

    /// Starts a node that does not run. Its disks are opened in the background, new ones formatted
    /// first.
    pub(crate) fn start_node(&mut self, node: usize) {
        let id = self.node_id(node);
        if self.world.is_up(id) {
            return;
        }
        let handle = self.world.start(id);
        let network = self.endpoint(id, &handle);
        let rig = &mut self.nodes[node];
        let world = isotherm_store::World {
            handle: handle.clone(),
            pool: rig.pool.clone(),
            clock: Rc::new(self.world.clock().clone()),
        };
        let served = Node::new(world.clone(), network, self.node_config.clone());
        for (index, slot) in rig.slots.iter_mut().enumerate() {
            let disk = handle.attach(Box::new(slot.control.open()));
            let name = format!("disk{index}");
            if *slot.is_formatted.borrow() {
                served.add_disk(slot.uuid, &name, disk);
                continue;
            }
            let (world, served, uuid) = (world.clone(), served.clone(), slot.uuid);
            let is_formatted = Rc::clone(&slot.is_formatted);
            handle.spawn("format", async move {
                let options = FormatOptions {
                    extent_blocks: Some(EXTENT_BLOCKS),
                    // A power cut may have left a part of the format.
                    force: true,
                    ..FormatOptions::new(uuid)
                };
                match isotherm_store::format(&world, &disk, &options).await {
                    Ok(_) => {
                        *is_formatted.borrow_mut() = true;
                        served.add_disk(uuid, &name, disk);
                    }
                    Err(error) => served.add_failed(uuid, &name, &error.to_string()),
                }
            });
        }
        self.nodes[node].node = Some(served);
        self.world.wake(id);
    }

    pub(crate) fn crash_node(&mut self, node: usize, style: u64) {
        self.nodes[node].node = None;
        let id = self.node_id(node);
        let style = |index: usize| CrashStyle::drawn(style, index as u64);
        self.world.crash(id, style);
    }

    pub(crate) fn kill_node(&mut self, node: usize) {
        self.nodes[node].node = None;
        let id = self.node_id(node);
        self.world.kill(id);
    }

    pub(crate) fn start_client(&mut self, client: usize) {
        let id = self.client_id(client);
        if self.world.is_up(id) {
            return;
        }
        let handle = self.world.start(id);
        let network = self.endpoint(id, &handle);
        let life = self.lives[id.0 as usize];
        let seed = self.seed ^ (client as u64 + 1) << 24 ^ life << 40;
        let entropy = Rc::new(SimEntropy::new(seed));
        self.clients[client] =
            Some(Client::new(&handle, network, self.map.clone(), entropy, self.client_config));
    }

    pub(crate) fn kill_client(&mut self, client: usize) {
        self.clients[client] = None;
        let id = self.client_id(client);
        self.world.kill(id);
    }

    /// Runs something on a client's machine.
    pub(crate) fn spawn<T: 'static>(
        &mut self,
        client: usize,
        future: impl Future<Output = T> + 'static,
    ) -> Option<Task<T>> {
        let id = self.client_id(client);
        let task = self.world.handle(id)?.try_spawn("operation", future).ok();
        self.world.wake(id);
        task
    }

    /// A disk's hand.
    pub(crate) fn disk(&self, node: usize, disk: usize) -> &DiskControl {
        &self.nodes[node].slots[disk].control
    }

    /// How much of a disk may hold something, in blocks: extents that were never used are blank,
    /// and harm to them is none.
    pub(crate) fn used_blocks(&self) -> u64 {
        self.setup.extents * u64::from(EXTENT_BLOCKS) / 2
    }

    /// Where a disk of the map is; `None` for one that was replaced.
    pub(crate) fn place_of(&self, no: DiskNo) -> Option<(usize, usize)> {
        let places = self.nodes.iter().enumerate().flat_map(|(node, rig)| {
            rig.slots.iter().enumerate().map(move |(disk, slot)| (slot.no, (node, disk)))
        });
        places.into_iter().find(|(other, _)| *other == no).map(|(_, place)| place)
    }

    /// The number of a disk.
    pub(crate) fn disk_no(&self, node: usize, disk: usize) -> DiskNo {
        self.nodes[node].slots[disk].no
    }

    /// Puts an empty disk in the place of one. Its node must not run.
    pub(crate) fn replace(&mut self, node: usize, disk: usize) {
        let id = self.node_id(node);
        assert!(!self.world.is_up(id), "a disk is replaced while its node is off");
        let (no, new) = slot(self.seed, &self.setup, self.next_disk, self.trace.as_ref());
        self.next_disk += 1;
        let old = std::mem::replace(&mut self.nodes[node].slots[disk], new);
        self.faults_gone += old.control.faults_total() + 1;
        self.world.set_disk(id, disk, self.nodes[node].slots[disk].control.clone());
        let mut change = self.map.change();
        let mut gone = self.map.disk(old.no).expect("it was in the map").clone();
        gone.state = DiskState::Out;
        change.disks = vec![gone, map_disk(&self.setup, no, NodeNo(node as u32))];
        let with_disk = self.map.apply(&change).expect("a disk more, a disk less");
        let mut change = with_disk.change();
        for group in &with_disk.groups {
            if let Some(position) = group.members.iter().position(|member| *member == old.no) {
                let group = with_disk.replace(group.id, position, no);
                change.groups.push(group.expect("it stands where the old one stood"));
            }
        }
        self.map = with_disk.apply(&change).expect("one disk for another");
        self.hand_out_map();
    }

    /// Every cell is where it belongs: disks that came lately have what is older than they are.
    pub(crate) fn are_filled(&mut self) {
        let mut change = self.map.change();
        let groups = self.map.groups.iter().map(|group| (group, group.filled()));
        change.groups = groups.filter(|(old, new)| *old != new).map(|(_, new)| new).collect();
        if !change.groups.is_empty() {
            self.map = self.map.apply(&change).expect("members have more than before");
            self.hand_out_map();
        }
    }

    fn hand_out_map(&self) {
        for client in self.clients.iter().flatten() {
            client.set_map(self.map.clone());
        }
    }

    /// Whether every node runs and has opened what it could.
    pub(crate) fn is_settled(&self) -> bool {
        self.nodes.iter().all(|rig| {
            rig.node.as_ref().is_some_and(|node| {
                // The report costs more, and this is asked often.
                node.is_settled() && node.report().disks.len() == rig.slots.len()
            })
        })
    }

    /// How each disk of each node is, for a report.
    pub(crate) fn states(&self) -> String {
        let mut out = String::new();
        for (number, rig) in self.nodes.iter().enumerate() {
            let Some(node) = &rig.node else {
                out += &format!(" node {number} is off;");
                continue;
            };
            for disk in node.report().disks {
                match disk.state {
                    ShelfState::Open(open) if open.0.fenced => {
                        out += &format!(" {} of node {number} is fenced;", disk.name);
                    }
                    ShelfState::Open(open) if open.0.room_extents == 0 => {
                        let extents = open.0.extents;
                        out +=
                            &format!(" {} of node {number} has no room: {extents:?};", disk.name);
                    }
                    ShelfState::Open(_) => {}
                    state => out += &format!(" {} of node {number}: {state:?};", disk.name),
                }
            }
        }
        out
    }

    /// Disks that a node could not open, or that take no writes, and why.
    pub(crate) fn sick_disks(&self) -> Vec<(usize, usize, String)> {
        let mut sick = Vec::new();
        for (number, rig) in self.nodes.iter().enumerate() {
            let Some(node) = &rig.node else { continue };
            for report in node.report().disks {
                let index = rig.slots.iter().position(|slot| slot.uuid == report.uuid);
                let Some(index) = index else { continue };
                match report.state {
                    ShelfState::Open(open) if open.0.fenced => {
                        sick.push((number, index, "it takes no writes".into()));
                    }
                    // What can't be read keeps its extent until it is put back, for which there is no
                    // room.
                    ShelfState::Open(open)
                        if open.0.room_extents == 0
                            && 2 * open.0.extents.suspect > open.0.extents.sealed =>
                    {
                        let why = format!("it is full of what it can't read: {:?}", open.0.extents);
                        sick.push((number, index, why));
                    }
                    ShelfState::Failed(why) => sick.push((number, index, why)),
                    _ => {}
                }
            }
        }
        sick
    }

    /// Disks whose nodes found out by a full scan what is on them.
    pub(crate) fn scanned(&self) -> u64 {
        let nodes = self.nodes.iter().flat_map(|rig| &rig.node);
        let disks = nodes.flat_map(|node| node.report().disks);
        let is_scanned = |state: &ShelfState| match state {
            ShelfState::Open(open) => open.1.full_scan,
            _ => false,
        };
        disks.filter(|disk| is_scanned(&disk.state)).count() as u64
    }

    /// What nodes hold on to while nobody asks anything: requests, reservations, and buffers with
    /// those that their stores keep for themselves.
    pub(crate) fn held(&self) -> (u32, u32, usize) {
        let disks = self.nodes.iter().flat_map(|rig| &rig.node).flat_map(|n| n.report().disks);
        let reserved = disks.map(|disk| disk.reserved);
        let requests = self.nodes.iter().flat_map(|rig| &rig.node).map(|n| n.report().requests);
        let bufs = self.nodes.iter().map(|rig| POOL_BUFS - rig.pool.free_count());
        (requests.sum(), reserved.sum(), bufs.max().unwrap_or(0))
    }

    /// Nothing goes wrong any more.
    pub(crate) fn heal(&mut self) {
        self.world.messages().heal();
        if let Some(datagrams) = &self.datagrams {
            datagrams.heal();
        }
        self.set_loss(0.0);
        for rig in &self.nodes {
            rig.slots.iter().for_each(|slot| slot.control.set_rates(FaultRates::default()));
        }
        (0..self.nodes.len()).for_each(|node| self.start_node(node));
        (0..self.clients.len()).for_each(|client| self.start_client(client));
    }

    pub(crate) fn set_loss(&self, loss: f64) {
        self.world.messages().set_shape(shape(&self.setup, loss));
        if let Some(datagrams) = &self.datagrams {
            // Where some are lost some come twice, and some are damaged.
            let duplication = loss / 2.0;
            let bit_flip = loss / 4.0;
            datagrams.set_shape(LinkShape { duplication, bit_flip, ..shape(&self.setup, loss) });
        }
    }

    /// Cuts the way from one machine to another, or mends it.
    pub(crate) fn cut(&self, from: MachineId, to: MachineId, is_cut: bool) {
        let (from, to) = (from.host(), to.host());
        let messages = self.world.messages();
        match (&self.datagrams, is_cut) {
            (Some(datagrams), true) => datagrams.cut(self.now(), from, to),
            (Some(datagrams), false) => datagrams.mend(from, to),
            (None, true) => messages.cut(from, to),
            (None, false) => messages.mend(from, to),
        }
    }

    /// Datagrams that arrived and were read.
    pub(crate) fn datagrams(&self) -> u64 {
        self.datagrams.as_ref().map_or(0, |datagrams| datagrams.counters().received)
    }

    pub(crate) fn now(&self) -> Mono {
        self.world.now()
    }

    /// Faults that disks have had, by chance or by command.
    pub(crate) fn disk_faults(&self) -> u64 {
        let now = self.nodes.iter().flat_map(|rig| &rig.slots);
        self.faults_gone + now.map(|slot| slot.control.faults_total()).sum::<u64>()
    }

    /// Ends all machines. Are all buffers back?
    pub(crate) fn end(mut self) -> Result<(), String> {
        self.clients.iter_mut().for_each(|client| *client = None);
        for client in 0..self.clients.len() {
            let id = self.client_id(client);
            self.world.kill(id);
        }
        for node in 0..self.nodes.len() {
            self.crash_node(node, 0);
        }
        let pools: Vec<BufPool> = self.nodes.iter().map(|rig| rig.pool.clone()).collect();
        drop(self);
        for (node, pool) in pools.into_iter().enumerate() {
            let lost = POOL_BUFS - pool.free_count();
            if lost > 0 {
                return Err(format!("{lost} buffers of node {node} never came back"));
            }
            POOLS.with_borrow_mut(|pools| pools.push(pool));
        }
        Ok(())
    }
}

fn shape(setup: &Setup, loss: f64) -> LinkShape {
    LinkShape {
        delay: Nanos::from_micros(setup.delay_us),
        jitter: Nanos::from_micros(setup.jitter_us),
        loss,
        ..LinkShape::default()
    }
}

fn slot(seed: u64, setup: &Setup, number: u32, trace: Option<&Trace>) -> (DiskNo, Slot) {
    let no = DiskNo(number);
    let blocks = setup.extents * u64::from(EXTENT_BLOCKS);
    let mut config = SimDiskConfig::new(seed, DiskId(number), blocks);
    config.geometry.io_bytes_max = 2 << 20;
    config.trace = trace.cloned();
    let control = SimDisk::new(config).control();
    (no, Slot { control, no, uuid: uuid(no), is_formatted: Rc::default() })
}

fn map_disk(setup: &Setup, no: DiskNo, node: NodeNo) -> Disk {
    Disk {
        no,
        uuid: uuid(no),
        node,
        core: 0,
        name: format!("disk{}", no.0),
        capacity_bytes: setup.extents * EXTENT_BYTES,
        state: DiskState::In,
    }
}
