//! How long reads take under each policy, beside the bound: nodes, clients and schedulers as they
//! are, on modelled disks, in virtual time.
//!
//! ```text
//! cargo run --release -p isotherm-simulator --example tails -- --policy late,random --load 60
//!     --nodes 20 --disks 10     disks of each node
//!     --codec 10+4 --cell 65536 bytes of a cell; a codec of 0+m+1 copies: see --copies
//!     --copies                  objects are copies of one cell each (m + 1 of them)
//!     --load 40,60,80           percent: disk reads a second x service at depth 1 / disks
//!     --rate 60                 instead: reads of a disk a second
//!     --clients 20 --seconds 120 --warmup 30 --seed 1
//!     --slow 5                  one disk in a hundred takes so many times as long
//!     --appends 12              shards of 1 MiB that are put on each disk a second
//!     --delay-us 100            one way
//!     --hedges 30               of a thousand reads so many may ask for one cell more
//! ```
//!
//! One line of JSON a run. `bound_ms`: the same reads one at a time on idle disks.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;

use bytes::Bytes;
use isotherm_block::{OpenContext, Spec};
use isotherm_client::{Client, ClientConfig, Locator, ReadPolicy};
use isotherm_node::{Node, NodeConfig, ShelfState};
use isotherm_placement::{ClusterMap, Disk, DiskNo, DiskState, GroupOptions, NodeNo};
use isotherm_reactor::Handle;
use isotherm_seam::{
    BlockSize, BufPool, Domain, Draws, Mono, Nanos, OpenOptions, Park, PoolClass, PoolLayout, draw,
};
use isotherm_sim::{LinkShape, SimClock, SimEntropy, SimPark};
use isotherm_simulator::{MachineId, MessageConfig, MessageNetwork, World};
use isotherm_store::sched::DiskProfile;
use isotherm_store::{FormatOptions, Options, PutBuf};

/// Part of a disk that holds cells: seeks go nearly over the whole stroke.
const FILLED: f64 = 0.6;
/// The smallest disk that is still like a whole one, with room for its extents.
const DISK_BYTES: u64 = 64 << 20;
/// Reads of one object, of what its holders could serve: beyond that a cache in front serves them.
const CACHED_FROM: f64 = 0.25;

#[derive(Clone, Debug)]
struct Setup {
    nodes: u32,
    disks: u32,
    codec: String,
    cell: u64,
    copies: bool,
    loads: Vec<f64>,
    rate: Option<f64>,
    clients: u32,
    seconds: u64,
    warmup: u64,
    seed: u64,
    slow: f64,
    delay: Nanos,
    hedges: u32,
    policies: Vec<ReadPolicy>,
}

impl Setup {
    fn from_args() -> Setup {
        let mut setup = Setup {
            nodes: 20,
            disks: 5,
            codec: "10+4".to_owned(),
            cell: 65_536,
            copies: false,
            loads: vec![60.0],
            rate: None,
            clients: 20,
            seconds: 120,
            warmup: 30,
            seed: 1,
            slow: 1.0,
            delay: Nanos::from_micros(100),
            hedges: 30,
            policies: vec![ReadPolicy::Late],
        };
        let mut args = std::env::args().skip(1);
        while let Some(flag) = args.next() {
            if flag == "--copies" {
                setup.copies = true;
                continue;
            }
            let value = args.next().unwrap_or_else(|| panic!("{flag} needs a value"));
            let number = || value.parse::<f64>().unwrap_or_else(|_| panic!("{flag} {value}"));
            match flag.as_str() {
                "--nodes" => setup.nodes = number() as u32,
                "--disks" => setup.disks = number() as u32,
                "--codec" => setup.codec = value,
                "--cell" => setup.cell = number() as u64,
                "--load" => {
                    setup.loads = value.split(',').map(|load| load.parse().unwrap()).collect();
                }
                "--rate" => setup.rate = Some(number()),
                "--clients" => setup.clients = number() as u32,
                "--seconds" => setup.seconds = number() as u64,
                "--warmup" => setup.warmup = number() as u64,
                "--seed" => setup.seed = number() as u64,
                "--slow" => setup.slow = number(),
                "--delay-us" => setup.delay = Nanos::from_micros(number() as u64),
                "--hedges" => setup.hedges = number() as u32,
                "--policy" => {
                    setup.policies = value
                        .split(',')
                        .map(|policy| policy.parse().unwrap_or_else(|error| panic!("{error}")))
                        .collect();
                }
                _ => panic!("unknown flag {flag}"),
            }
        }
        setup
    }

    fn k(&self) -> u64 {
        self.codec.split('+').next().unwrap().parse().unwrap()
    }

    fn m(&self) -> u64 {
        self.codec.split('+').nth(1).unwrap().parse().unwrap()
    }

    fn all_disks(&self) -> u64 {
        u64::from(self.nodes) * u64::from(self.disks)
    }

    /// Cells that a read needs, and that an object has.
    fn needed(&self) -> u64 {
        if self.copies { 1 } else { self.k() }
    }

    fn holders(&self) -> u64 {
        if self.copies { self.m() + 1 } else { self.k() + self.m() }
    }

    fn object_bytes(&self) -> u64 {
        self.cell * self.needed()
    }

    fn objects(&self) -> u64 {
        let record = self.cell.next_multiple_of(4096) + 4096 * self.cell.div_ceil(256 << 10);
        let per_disk = (DISK_BYTES as f64 * FILLED) as u64 / record;
        per_disk * self.all_disks() / self.holders()
    }
}

/// A cluster on modelled disks.
struct Rig {
    world: World,
    nodes: Vec<Node>,
    clients: Vec<(MachineId, Client)>,
    pools: Vec<BufPool>,
}

fn addr(id: u32) -> SocketAddr {
    (Ipv4Addr::new(10, 0, (id >> 8) as u8, id as u8), 7000).into()
}

fn uuid(no: u32) -> [u8; 16] {
    let mut uuid = [7; 16];
    uuid[..4].copy_from_slice(&no.to_le_bytes());
    uuid
}

impl Rig {
    fn new(setup: &Setup) -> Rig {
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
                    capacity_bytes: DISK_BYTES,
                    state: DiskState::In,
                });
            }
        }
        let mut draws = Draws::new(setup.seed, Domain::new("tails.map"), 0);
        let scheme = setup.codec.parse().expect("a codec");
        let groups = GroupOptions { groups_per_disk: 100 };
        let map = ClusterMap::build([9; 16], scheme, map_nodes, map_disks, &groups, &mut draws)
            .expect("a cluster that can be");
        let clients: Vec<MachineId> = (0..setup.clients).map(|_| world.add(65_536)).collect();
        let mut rig = Rig { world, nodes: Vec::new(), clients: Vec::new(), pools: Vec::new() };
        for no in 0..setup.nodes {
            rig.start(setup, no);
        }
        let nodes = rig.nodes.clone();
        let until = rig.world.after(Nanos::from_secs(600));
        rig.world.run_until(until, |_| {
            nodes
                .iter()
                .all(|node| node.is_settled() && node.report().disks.len() == setup.disks as usize)
        });
        for disk in rig.nodes.iter().flat_map(|node| node.report().disks) {
            assert!(matches!(disk.state, ShelfState::Open(_)), "{}: {:?}", disk.name, disk.state);
        }
        for id in clients {
            let handle = rig.world.start(id);
            let network = rig.world.messages().endpoint(
                id.host(),
                addr(id.0),
                &format!("client{}", id.0),
                &handle,
            );
            let entropy = Rc::new(SimEntropy::new(setup.seed ^ u64::from(id.0) << 32));
            let config = ClientConfig {
                deadline: Nanos::from_secs(60),
                cell_patience: Nanos::from_secs(60),
                hedge_after: Nanos::from_secs(60),
                hedges_per_mille: setup.hedges,
                striped_from_bytes: if setup.copies { 1 << 20 } else { 1 },
                ..ClientConfig::default()
            };
            rig.clients.push((id, Client::new(&handle, network, map.clone(), entropy, config)));
        }
        rig
    }

    fn start(&mut self, setup: &Setup, no: u32) {
        let id = MachineId(no);
        let handle = self.world.start(id);
        let network =
            self.world.messages().endpoint(id.host(), addr(no), &format!("node{no}"), &handle);
        let record = PutBuf::buffer_bytes(setup.cell as usize) as u32;
        let class = |buf_bytes, count| PoolClass { buf_bytes, count: count * setup.disks };
        let pool = BufPool::new(&PoolLayout {
            classes: vec![class(4 << 10, 128), class(record, 96), class(1100 << 10, 14)],
            align: BlockSize::B4096,
            huge: false,
        })
        .expect("memory");
        let world = isotherm_store::World {
            handle: handle.clone(),
            pool: pool.clone(),
            clock: Rc::new(self.world.clock().clone()),
        };
        let store = Options {
            entries_max: 100_000,
            batch_bytes: 256 << 10,
            profile: Some(DiskProfile::nearline()),
            ..Options::default()
        };
        let config = NodeConfig { store, requests_max: 4096, ..NodeConfig::default() };
        let node = Node::new(world.clone(), network, config);
        for at in 0..setup.disks {
            let disk_no = no * setup.disks + at;
            let is_slow = setup.slow > 1.0 && disk_no % 100 == 37;
            let slow = if is_slow { format!(":slow={}", setup.slow) } else { String::new() };
            let spec = format!("hdd:exos-x24{slow},memory:{DISK_BYTES}");
            let unparker = SimPark::new(SimClock::new()).unparker();
            let options = OpenOptions { write: true, ..OpenOptions::default() };
            let seed = draw(setup.seed, Domain::new("tails.disk"), u64::from(disk_no), 0);
            let context = OpenContext { options, unparker, seed, leaves: &mut [] };
            let device = Spec::parse(&spec).and_then(|spec| spec.open(context));
            let disk = handle.attach(device.unwrap_or_else(|error| panic!("{error}")));
            let (world, node, uuid) = (world.clone(), node.clone(), uuid(disk_no));
            handle.spawn("format", async move {
                let options = FormatOptions {
                    extent_blocks: Some(if setup_cell_is_long(record) { 1024 } else { 128 }),
                    ..FormatOptions::new(uuid)
                };
                isotherm_store::format(&world, &disk, &options).await.expect("an empty disk");
                node.add_disk(uuid, &format!("disk{disk_no}"), disk);
            });
        }
        self.pools.push(pool);
        self.nodes.push(node);
        self.world.wake(id);
    }

    /// Runs until this says that it is done.
    fn until(&mut self, is_done: impl Fn() -> bool) {
        let until = self.world.after(Nanos::from_secs(100_000));
        assert!(self.world.run_until(until, |_| is_done()), "it never ends");
    }

    /// Reads that disks did, and how long they worked.
    fn worked(&self) -> (u64, Nanos) {
        let mut sum = (0, Nanos::ZERO);
        for node in &self.nodes {
            for disk in node.report().disks {
                sum.0 += disk.tally.done[1];
                sum.1 += disk.disk_time;
            }
        }
        sum
    }
}

fn setup_cell_is_long(record: u32) -> bool {
    record > 200 << 10
}

/// Puts every object.
fn fill(rig: &mut Rig, setup: &Setup) -> Rc<BTreeMap<u64, Locator>> {
    let kept = Rc::new(RefCell::new(BTreeMap::new()));
    let next = Rc::new(Cell::new(0));
    let lanes = Rc::new(Cell::new(0));
    let (objects, bytes) = (setup.objects(), setup.object_bytes() as usize);
    for (id, client) in rig.clients.clone() {
        for _ in 0..4 {
            let (client, kept, next) = (client.clone(), Rc::clone(&kept), Rc::clone(&next));
            let lanes = Rc::clone(&lanes);
            lanes.set(lanes.get() + 1);
            rig.world.handle(id).unwrap().spawn("fill", async move {
                loop {
                    let slot = next.get();
                    if slot >= objects {
                        break;
                    }
                    next.set(slot + 1);
                    let payload = Bytes::from(vec![slot as u8; bytes]);
                    let locator = client.put(client.new_id(), payload).await;
                    kept.borrow_mut().insert(slot, locator.expect("room for every object"));
                }
                lanes.set(lanes.get() - 1);
            });
            rig.world.wake(id);
        }
    }
    let left = Rc::clone(&lanes);
    rig.until(move || left.get() == 0);
    Rc::new(kept.take())
}

/// Who reads what and when: a constant rate over all, from tenants that are now on and now off.
struct Heat {
    draws: Draws,
    now: f64,
    /// On or not, until when, share of the demand.
    tenants: Vec<(bool, f64, f64)>,
    per_tenant: u64,
    /// Of the objects of a tenant, summed up.
    popular: Vec<f64>,
}

const PER_TENANT: u64 = 20;

impl Heat {
    fn new(seed: u64, objects: u64) -> Heat {
        let mut draws = Draws::new(seed, Domain::new("tails.heat"), 0);
        let per_tenant = PER_TENANT.min(objects);
        let tenants = (0..objects / per_tenant)
            .map(|rank| {
                let is_on = draws.next_f64() < 0.1;
                // What is left of a period at a random moment is longer than a period.
                let left = pareto(&mut draws, if is_on { 10.0 } else { 90.0 });
                (is_on, left * draws.next_f64() * 2.0, (rank as f64 + 1.0).powf(-0.5))
            })
            .collect();
        let mut sum = 0.0;
        let popular = (0..per_tenant)
            .map(|rank| {
                sum += (rank as f64 + 1.0).powf(-0.9);
                sum
            })
            .collect();
        Heat { draws, now: 0.0, tenants, per_tenant, popular }
    }

    /// When the next read is to begin, and of which object.
    fn next(&mut self, rate: f64) -> (Nanos, u64) {
        self.now += -(1.0 - self.draws.next_f64()).ln() / rate;
        for (is_on, until, _) in &mut self.tenants {
            while *until <= self.now {
                *is_on = !*is_on;
                *until += pareto(&mut self.draws, if *is_on { 10.0 } else { 90.0 });
            }
        }
        let tenant = loop {
            let tenant = self.draws.below(self.tenants.len() as u64) as usize;
            let (is_on, _, share) = self.tenants[tenant];
            if is_on && self.draws.next_f64() < share {
                break tenant;
            }
        };
        let at = self.draws.next_f64() * self.popular[self.popular.len() - 1];
        let object = self.popular.partition_point(|sum| *sum < at) as u64;
        let slot = tenant as u64 * self.per_tenant + object.min(self.per_tenant - 1);
        (Nanos::from_secs_f64(self.now), slot)
    }
}

fn pareto(draws: &mut Draws, mean: f64) -> f64 {
    mean / 3.0 * (1.0 - draws.next_f64()).powf(-1.0 / 1.5)
}

#[derive(Default)]
struct Seen {
    latencies: Vec<Nanos>,
    failed: u64,
    under_way: u64,
}

/// One read, counted from when it was to begin.
fn read(
    handle: &Handle,
    client: &Client,
    policy: ReadPolicy,
    (slot, locator): (u64, Locator),
    at: Mono,
    seen: &Rc<RefCell<Seen>>,
) {
    let (client, seen, clock) = (client.clone(), Rc::clone(seen), handle.clone());
    seen.borrow_mut().under_way += 1;
    handle.spawn("read", async move {
        let got = client.get_by(policy, &locator, None).await;
        let mut seen = seen.borrow_mut();
        seen.under_way -= 1;
        match got {
            Ok(bytes) => {
                assert_eq!(bytes.len() as u64, locator.len_bytes);
                assert!(bytes.iter().step_by(997).all(|byte| *byte == slot as u8), "other bytes");
                seen.latencies.push(clock.now().since(at));
            }
            Err(_) => seen.failed += 1,
        }
    });
}

fn ms(latencies: &[Nanos], quantile: f64) -> f64 {
    let at = (latencies.len() as f64 * quantile) as usize;
    latencies.get(at.min(latencies.len().max(1) - 1)).map_or(0.0, |at| at.as_millis_f64())
}

/// Reads on idle disks, one at a time: what no policy can beat, and the mean service.
fn bound(setup: &Setup, count: u64) -> (Vec<Nanos>, f64) {
    let healthy = Setup { slow: 1.0, nodes: setup.holders() as u32 * 2, disks: 1, ..setup.clone() };
    let mut rig = Rig::new(&healthy);
    let objects = fill(&mut rig, &healthy);
    let (reads, time) = rig.worked();
    let seen = Rc::new(RefCell::new(Seen::default()));
    let mut draws = Draws::new(setup.seed, Domain::new("tails.bound"), 0);
    for _ in 0..count {
        let slot = draws.below(objects.len() as u64);
        let (id, client) = rig.clients[0].clone();
        let handle = rig.world.handle(id).unwrap().clone();
        let at = rig.world.now();
        read(&handle, &client, ReadPolicy::Random, (slot, objects[&slot]), at, &seen);
        rig.world.wake(id);
        let until = rig.world.after(Nanos::from_secs(10));
        let watched = Rc::clone(&seen);
        rig.world.run_until(until, move |_| watched.borrow().under_way == 0);
    }
    let (reads_then, time_then) = rig.worked();
    let mean = (time_then - time).as_millis_f64() / (reads_then - reads) as f64;
    let mut latencies = std::mem::take(&mut seen.borrow_mut().latencies);
    latencies.sort_unstable();
    (latencies, mean)
}

fn main() {
    let setup = Setup::from_args();
    let (ideal, mean_ms) = bound(&setup, 20_000);
    let per_disk: Vec<(String, f64)> = match setup.rate {
        Some(rate) => vec![(format!("{rate}/s"), rate)],
        None => {
            let rate = |load: &f64| (format!("{load}%"), load / 100.0 * 1000.0 / mean_ms);
            setup.loads.iter().map(rate).collect()
        }
    };
    println!(
        "{{\"setup\":{:?},\"service_ms\":{mean_ms:.3},\"bound_ms\":[{:.1},{:.1},{:.1}]}}",
        format!("{setup:?}"),
        ms(&ideal, 0.5),
        ms(&ideal, 0.99),
        ms(&ideal, 0.999)
    );
    for policy in &setup.policies {
        for (name, rate) in &per_disk {
            pass(&setup, *policy, name, *rate, ms(&ideal, 0.999));
        }
    }
}

fn pass(setup: &Setup, policy: ReadPolicy, name: &str, per_disk: f64, bound_ms: f64) {
    let mut rig = Rig::new(setup);
    let objects = fill(&mut rig, setup);
    let rate = per_disk * setup.all_disks() as f64 / setup.needed() as f64;
    let until = Nanos::from_secs(setup.seconds + setup.warmup);
    let start = rig.world.now();
    let seen = Rc::new(RefCell::new(Seen::default()));
    // Reads of one object that its holders see: a bucket of a second.
    let capacity = setup.holders() as f64 * 1000.0 / 11.3 / setup.needed() as f64;
    let cached_from = capacity * CACHED_FROM;
    let mut buckets: BTreeMap<u64, (f64, Nanos)> = BTreeMap::new();
    let (mut cached, mut offered) = (0u64, 0u64);
    let mut before: Option<((u64, Nanos), u64)> = None;
    let messages_before = rig.world.messages().counters();
    let events_before = rig.world.events();
    let mut heat = Heat::new(setup.seed, objects.len() as u64);
    let mut number = 0u64;
    loop {
        let (sent_at, slot) = heat.next(rate);
        if sent_at >= until {
            break;
        }
        number += 1;
        let (tokens, since) = buckets.entry(slot).or_insert((cached_from, Nanos::ZERO));
        let earned = sent_at.0.saturating_sub(since.0) as f64 / 1e9 * cached_from;
        *tokens = (*tokens + earned).min(cached_from);
        *since = sent_at;
        if *tokens < 1.0 {
            cached += 1;
            continue;
        }
        *tokens -= 1.0;
        let at = start + sent_at;
        rig.world.run_until(at, |_| false);
        if before.is_none() && sent_at >= Nanos::from_secs(setup.warmup) {
            before = Some((rig.worked(), offered));
            seen.borrow_mut().latencies.clear();
        }
        offered += 1;
        let (id, client) = &rig.clients[(number % u64::from(setup.clients)) as usize];
        let handle = rig.world.handle(*id).unwrap().clone();
        let locator = objects[&slot];
        // A client is a machine: many reads of it at once, each a task.
        read(&handle, client, policy, (slot, locator), at, &seen);
        rig.world.wake(*id);
    }
    let ((reads, time), offered_before) = before.expect("longer than the warm-up");
    let (reads_then, time_then) = rig.worked();
    let left = seen.borrow().under_way;
    let until = rig.world.after(Nanos::from_secs(20));
    let watched = Rc::clone(&seen);
    rig.world.run_until(until, move |_| watched.borrow().under_way == 0);
    let mut seen = seen.borrow_mut();
    // What is still under way counts as longer than all the others.
    seen.latencies.sort_unstable();
    let unended = seen.under_way + seen.failed;
    seen.latencies.extend((0..unended).map(|_| Nanos::from_secs(60)));
    let disks = setup.all_disks() as f64;
    let seconds = setup.seconds as f64;
    let counted = offered - offered_before;
    let disk_reads = (reads_then - reads) as f64;
    let needed = counted as f64 * setup.needed() as f64;
    let messages = rig.world.messages().counters();
    let p999 = ms(&seen.latencies, 0.999);
    println!(
        "{{\"policy\":\"{policy}\",\"load\":\"{name}\",\"p50_ms\":{:.1},\"p99_ms\":{:.1},\"p999_ms\":{p999:.1},\
         \"ratio\":{:.2},\"busy\":{:.3},\"reads_per_disk_s\":{:.1},\"extra_io\":{:.4},\"cached\":{:.3},\
         \"failed\":{},\"left\":{left},\"reads\":{counted},\"messages_per_read\":{:.1},\"bytes_per_read\":{:.0},\"events\":{}}}",
        ms(&seen.latencies, 0.5),
        ms(&seen.latencies, 0.99),
        p999 / bound_ms,
        (time_then - time).as_secs_f64() / seconds / disks,
        disk_reads / seconds / disks,
        disk_reads / needed - 1.0,
        cached as f64 / (cached + offered) as f64,
        seen.failed,
        (messages.arrived - messages_before.arrived) as f64 / offered as f64,
        (messages.arrived_bytes - messages_before.arrived_bytes) as f64 / offered as f64,
        rig.world.events() - events_before,
    );
}
