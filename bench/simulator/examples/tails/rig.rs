//! A cluster on modelled disks, and what it holds.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;

use bytes::Bytes;
use isotherm_block::hdd::{Hdd, HddOptions, Slow};
use isotherm_client::{Client, ClientConfig, ClientError, Locator};
use isotherm_node::{Node, NodeConfig, ShelfState};
use isotherm_placement::{ClusterMap, Disk, DiskNo, DiskState, GroupOptions, NodeNo};
use isotherm_reactor::Handle;
use isotherm_seam::{BlockSize, BufPool, Domain, Draws, Nanos, PoolClass, PoolLayout, draw};
use isotherm_sim::{LinkShape, SimClock, SimEntropy};
use isotherm_simulator::{MachineId, MessageConfig, MessageNetwork, World};
use isotherm_store::sched::{DiskProfile, SchedConfig};
use isotherm_store::{FormatOptions, Options, PutBuf};

use crate::setup::{APPEND_BYTES, Setup};
use crate::thin::Thin;

/// Room in the index of a disk beside its shards.
const ENTRIES_SPARE: u64 = 4096;
/// Nodes that take their buffers from one pool. Memory that was used once stays used, and nodes
/// are rarely busy all at the same time: each with a pool of its own would take several times as
/// much, and find none of it in a cache.
const NODES_PER_POOL: u32 = 20;

pub(crate) struct Rig {
    setup: Setup,
    pub(crate) world: World,
    nodes: Vec<Node>,
    pools: Vec<BufPool>,
    map: ClusterMap,
    pub(crate) clients: Vec<(MachineId, Client)>,
    /// Of clients that are gone.
    hedged: u64,
}

/// What all disks have done.
#[derive(Clone, Copy, Default)]
pub(crate) struct Worked {
    pub(crate) reads: u64,
    pub(crate) time: Nanos,
    pub(crate) append_time: Nanos,
}

fn addr(id: u32) -> SocketAddr {
    (Ipv4Addr::new(10, 0, (id >> 8) as u8, id as u8), 7000).into()
}

fn uuid(no: u32) -> [u8; 16] {
    let mut uuid = [7; 16];
    uuid[..4].copy_from_slice(&no.to_le_bytes());
    uuid
}

fn record_buf_bytes(setup: &Setup) -> u32 {
    PutBuf::buffer_bytes(setup.cell as usize) as u32
}

/// Buffers for so many nodes.
fn pool(setup: &Setup, nodes: u32) -> BufPool {
    let record = record_buf_bytes(setup);
    let class = |buf_bytes, count| PoolClass { buf_bytes, count: count * setup.disks * nodes };
    let mut classes = vec![class(4 << 10, 128), class(record, 96)];
    if record < 1100 << 10 {
        classes.push(class(1100 << 10, if setup.appends > 0.0 { 48 } else { 14 }));
    }
    let layout = PoolLayout { classes, align: BlockSize::B4096, huge: false };
    BufPool::new(&layout).expect("memory")
}

impl Rig {
    pub(crate) fn new(setup: &Setup) -> Rig {
        let clock = SimClock::new();
        let shape = LinkShape { delay: setup.delay, ..LinkShape::default() };
        let config = MessageConfig { shape, ..MessageConfig::new(setup.seed) };
        let network = MessageNetwork::new(config, clock.clone());
        let mut world = World::new(setup.seed, clock, network);
        let (mut map_nodes, mut map_disks) = (Vec::new(), Vec::new());
        for no in 0..setup.nodes {
            let id = world.add(65_536);
            map_nodes.push(isotherm_placement::Node {
                no: NodeNo(no),
                name: format!("node{no}"),
                rack: None,
                cores: vec![addr(id.0)],
                admin: None,
            });
            for _ in 0..setup.disks {
                let disk = map_disks.len() as u32;
                map_disks.push(Disk {
                    no: DiskNo(disk),
                    uuid: uuid(disk),
                    node: NodeNo(no),
                    core: 0,
                    name: format!("disk{disk}"),
                    capacity_bytes: setup.disk_bytes(),
                    state: DiskState::In,
                });
            }
        }
        let mut draws = Draws::new(setup.seed, Domain::new("tails.map"), 0);
        let scheme = setup.codec.parse().expect("a codec");
        let groups = GroupOptions { groups_per_disk: 100 };
        let map = ClusterMap::build([9; 16], scheme, map_nodes, map_disks, &groups, &mut draws)
            .expect("a cluster that can be");
        let (nodes, pools, clients) = (Vec::new(), Vec::new(), Vec::new());
        let mut rig = Rig { setup: setup.clone(), world, nodes, pools, map, clients, hedged: 0 };
        // One after the other: to open a disk takes more buffers than to serve it.
        for no in 0..setup.nodes {
            let node = rig.start_node(no);
            let disks = setup.disks as usize;
            rig.until(|| node.is_settled() && node.report().disks.len() == disks);
        }
        for disk in rig.nodes.iter().flat_map(|node| node.report().disks) {
            assert!(matches!(disk.state, ShelfState::Open(_)), "{}: {:?}", disk.name, disk.state);
        }
        for _ in 0..setup.clients {
            let client = rig.start_client();
            rig.clients.push(client);
        }
        rig
    }

    /// A machine with a client.
    fn start_client(&mut self) -> (MachineId, Client) {
        let setup = &self.setup;
        let id = self.world.add(65_536);
        let handle = self.world.start(id);
        let name = format!("client{}", id.0);
        let network = self.world.messages().endpoint(id.host(), addr(id.0), &name, &handle);
        let entropy = Rc::new(SimEntropy::new(setup.seed ^ u64::from(id.0) << 32));
        let config = ClientConfig {
            deadline: Nanos::from_secs(60),
            cell_patience: Nanos::from_secs(60),
            hedge_after: Nanos::from_secs(60),
            hedges_per_mille: setup.hedges,
            striped_from_bytes: if setup.copies { 1 << 21 } else { 1 },
            ..ClientConfig::default()
        };
        (id, Client::new(&handle, network, self.map.clone(), entropy, config))
    }

    /// A client's machine goes dark, and another takes its place.
    pub(crate) fn replace_client(&mut self, at: usize) {
        let (id, _) = self.clients[at];
        let fresh = self.start_client();
        let old = std::mem::replace(&mut self.clients[at], fresh);
        self.hedged += old.1.counters().hedged;
        // What is left of the old client must not outlive its core.
        self.world.kill(id);
        drop(old);
    }

    fn start_node(&mut self, no: u32) -> Node {
        if no.is_multiple_of(NODES_PER_POOL) {
            let nodes = NODES_PER_POOL.min(self.setup.nodes - no);
            self.pools.push(pool(&self.setup, nodes));
        }
        let setup = &self.setup;
        let id = MachineId(no);
        let handle = self.world.start(id);
        let network =
            self.world.messages().endpoint(id.host(), addr(no), &format!("node{no}"), &handle);
        let pool = self.pools[(no / NODES_PER_POOL) as usize].clone();
        let world = isotherm_store::World {
            handle: handle.clone(),
            pool: pool.clone(),
            clock: Rc::new(self.world.clock().clone()),
        };
        let sched = match setup.claim_ahead {
            Some(claim_ahead) => SchedConfig { claim_ahead, ..SchedConfig::default() },
            None => SchedConfig::default(),
        };
        // In order of arrival, so many at once in the drive, which chooses among them.
        let profile = setup.depth.map_or_else(DiskProfile::nearline, DiskProfile::flat);
        let per_disk = (setup.objects() + setup.ballast()) * setup.holders() / setup.all_disks();
        let appended = (setup.appends * (setup.seconds + setup.warmup) as f64) as u64;
        let store = Options {
            entries_max: per_disk + per_disk / 4 + appended * 2 + ENTRIES_SPARE,
            batch_bytes: 256 << 10,
            profile: Some(profile),
            sched,
            ..Options::default()
        };
        let config = NodeConfig { store, requests_max: 4096, ..NodeConfig::default() };
        let node = Node::new(world.clone(), network, config);
        for at in 0..setup.disks {
            let disk_no = no * setup.disks + at;
            let mut options = HddOptions::default();
            if setup.slow > 1.0 && disk_no % 100 == 37 {
                options.slow = Some(Slow::always(setup.slow));
            }
            let seed = draw(setup.seed, Domain::new("tails.disk"), u64::from(disk_no), 0);
            let thin = Box::new(Thin::new(setup.disk_bytes()));
            let device = Hdd::new(thin, &options, seed).expect("large enough");
            let disk = handle.attach(Box::new(device));
            let (world, node, uuid) = (world.clone(), node.clone(), uuid(disk_no));
            let extent_blocks = Some(setup.extent_blocks());
            handle.spawn("format", async move {
                let options = FormatOptions { extent_blocks, ..FormatOptions::new(uuid) };
                isotherm_store::format(&world, &disk, &options).await.expect("an empty disk");
                node.add_disk(uuid, &format!("disk{disk_no}"), disk);
            });
        }
        self.nodes.push(node.clone());
        self.world.wake(id);
        node
    }

    /// Runs until this says that it is done.
    fn until(&mut self, is_done: impl Fn() -> bool) {
        let until = self.world.after(Nanos::from_secs(100_000));
        assert!(self.world.run_until(until, |_| is_done()), "it never ends");
    }

    /// Reads that asked for more cells than they needed, because some were slow.
    pub(crate) fn hedged(&self) -> u64 {
        let now = self.clients.iter().map(|(_, client)| client.counters().hedged);
        self.hedged + now.sum::<u64>()
    }

    pub(crate) fn worked(&self) -> Worked {
        let mut sum = Worked::default();
        for node in &self.nodes {
            for disk in node.report().disks {
                sum.reads += disk.tally.done[1];
                sum.time += disk.disk_time;
                sum.append_time += disk.append_time;
            }
        }
        sum
    }

    /// Puts every object that is to be read, and what lies between them.
    pub(crate) fn fill(&mut self) -> Rc<BTreeMap<u64, Locator>> {
        let kept = Rc::new(RefCell::new(BTreeMap::new()));
        let next = Rc::new(Cell::new(0));
        let lanes = Rc::new(Cell::new(0));
        let (objects, bytes) = (self.setup.objects(), self.setup.object_bytes() as usize);
        let ballast = self.setup.ballast();
        let filler = Bytes::from(vec![0; (APPEND_BYTES * self.setup.data_cells()) as usize]);
        for (id, client) in self.clients.clone() {
            for _ in 0..4 {
                let (client, kept, next) = (client.clone(), Rc::clone(&kept), Rc::clone(&next));
                let (lanes, filler) = (Rc::clone(&lanes), filler.clone());
                lanes.set(lanes.get() + 1);
                let handle = self.world.handle(id).expect("it runs").clone();
                handle.clone().spawn("fill", async move {
                    loop {
                        let slot: u64 = next.get();
                        if slot >= objects {
                            break;
                        }
                        next.set(slot + 1);
                        let payload = Bytes::from(vec![slot as u8; bytes]);
                        let locator = put_patiently(&client, &handle, payload).await;
                        kept.borrow_mut().insert(slot, locator);
                        let between = (slot + 1) * ballast / objects - slot * ballast / objects;
                        for _ in 0..between {
                            put_patiently(&client, &handle, filler.clone()).await;
                        }
                    }
                    lanes.set(lanes.get() - 1);
                });
                self.world.wake(id);
            }
        }
        let left = Rc::clone(&lanes);
        self.until(move || left.get() == 0);
        Rc::new(kept.take())
    }
}

/// Puts an object. Disks that have more to do than they take just now are given time.
async fn put_patiently(client: &Client, handle: &Handle, payload: Bytes) -> Locator {
    for _ in 0..1000 {
        match client.put(client.new_id(), payload.clone()).await {
            Err(ClientError::Busy { expected }) => {
                handle.sleep(expected.max(Nanos::from_millis(100))).await;
            }
            result => return result.expect("room for all that is put"),
        }
    }
    panic!("the disks are busy for ever");
}
