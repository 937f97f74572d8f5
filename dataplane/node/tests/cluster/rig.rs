//! A cluster in one thread and in virtual time: a core for each node and one for the client.

#[path = "mortal.rs"]
mod mortal;

use std::cell::RefCell;
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;

use isotherm_client::{Client, ClientConfig};
use isotherm_node::{Node, NodeConfig};
use isotherm_placement::{ClusterMap, Disk, DiskNo, DiskState, GroupOptions, NodeNo};
use isotherm_reactor::{Handle, Reactor, ReactorConfig, Task};
use isotherm_seam::{
    BlockSize, BufPool, Clock, DiskId, Domain, Draws, Due, Mono, Nanos, PoolClass, PoolLayout,
};
use isotherm_sim::{
    CrashStyle, DiskControl, SimClock, SimDisk, SimDiskConfig, SimEntropy, SimPark,
};
use isotherm_store::{FormatOptions, Options, Reserve, World, format};
use isotherm_transport::LocalHub;

use mortal::{Life, MortalNetwork};

type Core = Reactor<SimPark, SimClock>;

/// Extents of 4 MiB, 64 of them.
pub(crate) const EXTENT_BLOCKS: u32 = 1024;
pub(crate) const DISK_BLOCKS: u64 = 64 * EXTENT_BLOCKS as u64;

pub(crate) struct Machine {
    pub(crate) core: Option<Core>,
    /// Its core while it is stopped, as a process is by SIGSTOP.
    frozen: Option<Core>,
    pub(crate) node: Option<Node>,
    pub(crate) disks: Vec<DiskControl>,
    name: String,
    addr: SocketAddr,
    pool: BufPool,
}

pub(crate) struct Rig {
    pub(crate) clock: SimClock,
    pub(crate) machines: Vec<Machine>,
    pub(crate) client: Client,
    core: Core,
    /// Of a client that dies.
    mortal: Option<Core>,
    mortals: u16,
    client_config: ClientConfig,
    hub: LocalHub,
}

fn pool() -> BufPool {
    let class = |buf_bytes, count| PoolClass { buf_bytes, count };
    BufPool::new(&PoolLayout {
        classes: vec![class(4 << 10, 200), class(80 << 10, 32), class(1100 << 10, 40)],
        align: BlockSize::B4096,
        huge: false,
    })
    .unwrap()
}

fn options() -> Options {
    Options {
        entries_max: 20_000,
        reserve: Reserve::default(),
        batch_bytes: 256 << 10,
        ..Options::default()
    }
}

fn uuid(machine: usize, disk: usize) -> [u8; 16] {
    let mut uuid = [7; 16];
    (uuid[0], uuid[1]) = (machine as u8, disk as u8);
    uuid
}

impl Rig {
    pub(crate) fn new(seed: u64, machines: usize, disks: usize, scheme: &str) -> Rig {
        Rig::with(seed, machines, disks, scheme, ClientConfig::default())
    }

    pub(crate) fn with(
        seed: u64,
        machines: usize,
        disks: usize,
        scheme: &str,
        config: ClientConfig,
    ) -> Rig {
        Rig::sized(seed, machines, disks, scheme, config, |_| DISK_BLOCKS)
    }

    pub(crate) fn sized(
        seed: u64,
        machines: usize,
        disks: usize,
        scheme: &str,
        config: ClientConfig,
        disk_blocks: fn(usize) -> u64,
    ) -> Rig {
        let clock = SimClock::new();
        let hub = LocalHub::new();
        let mut nodes = Vec::new();
        let mut map_disks = Vec::new();
        let mut made = Vec::new();
        for m in 0..machines {
            let name = format!("node{m}");
            let addr: SocketAddr = format!("10.0.0.{}:7000", m + 1).parse().unwrap();
            nodes.push(isotherm_placement::Node {
                no: NodeNo(m as u32),
                name: name.clone(),
                rack: None,
                cores: vec![addr],
                admin: None,
            });
            let mut controls = Vec::new();
            for d in 0..disks {
                let id = DiskId((m * disks + d) as u32);
                let mut config = SimDiskConfig::new(seed, id, disk_blocks(m));
                config.geometry.logical = BlockSize::B4096;
                config.geometry.physical = BlockSize::B4096;
                config.geometry.io_bytes_max = 2 << 20;
                let disk = SimDisk::new(config);
                controls.push(disk.control());
                map_disks.push(Disk {
                    no: DiskNo((m * disks + d) as u32),
                    uuid: uuid(m, d),
                    node: NodeNo(m as u32),
                    core: 0,
                    name: format!("disk{d}"),
                    capacity_bytes: disk_blocks(m) * 4096,
                    state: DiskState::In,
                });
            }
            made.push(Machine {
                core: None,
                frozen: None,
                node: None,
                disks: controls,
                name,
                addr,
                pool: pool(),
            });
        }
        let mut draws = Draws::new(seed, Domain::new("rig.map"), 0);
        let groups = GroupOptions { groups_per_disk: 8 };
        let map = ClusterMap::build(
            [9; 16],
            scheme.parse().unwrap(),
            nodes,
            map_disks,
            &groups,
            &mut draws,
        )
        .unwrap();
        let core =
            Reactor::new(SimPark::new(clock.clone()), clock.clone(), ReactorConfig::default());
        let network = hub.host(core.handle(), "10.1.0.1:1".parse().unwrap(), "client");
        let entropy = Rc::new(SimEntropy::new(seed));
        let client = Client::new(core.handle(), network, map, entropy, config);
        let mut rig = Rig {
            clock,
            machines: made,
            client,
            core,
            mortal: None,
            mortals: 0,
            client_config: config,
            hub,
        };
        for m in 0..machines {
            rig.start(m, true);
        }
        rig
    }

    /// Starts a machine; its disks are as they were left.
    pub(crate) fn start(&mut self, m: usize, fresh: bool) {
        let clock = self.clock.clone();
        let config = ReactorConfig { tasks_max: 1000, ..ReactorConfig::default() };
        let core = Reactor::new(SimPark::new(clock.clone()), clock.clone(), config);
        let machine = &mut self.machines[m];
        let world = World {
            handle: core.handle().clone(),
            pool: machine.pool.clone(),
            clock: Rc::new(clock),
        };
        let disks: Vec<_> =
            machine.disks.iter().map(|control| core.attach(Box::new(control.open()))).collect();
        if fresh {
            let (world, disks) = (world.clone(), disks.clone());
            let formatted = Rc::new(RefCell::new(false));
            let done = Rc::clone(&formatted);
            core.spawn("format", async move {
                for (d, disk) in disks.iter().enumerate() {
                    let options = FormatOptions {
                        extent_blocks: Some(EXTENT_BLOCKS),
                        ..FormatOptions::new(uuid(m, d))
                    };
                    format(&world, disk, &options).await.unwrap();
                }
                *done.borrow_mut() = true;
            });
            machine.core = Some(core);
            self.turn_until(|_| *formatted.borrow());
        } else {
            machine.core = Some(core);
        }
        let machine = &mut self.machines[m];
        let handle = machine.core.as_ref().unwrap().handle().clone();
        let network = self.hub.host(&handle, machine.addr, &machine.name);
        let config = NodeConfig { store: options(), ..NodeConfig::default() };
        let node = Node::new(world, network, config);
        for (d, disk) in disks.into_iter().enumerate() {
            node.add_disk(uuid(m, d), &format!("disk{d}"), disk);
        }
        machine.node = Some(node.clone());
        self.turn_until(|_| node.is_settled());
    }

    /// The power of a machine goes.
    pub(crate) fn kill(&mut self, m: usize) {
        let machine = &mut self.machines[m];
        machine.node = None;
        machine.core = None;
        for disk in &machine.disks {
            disk.crash(CrashStyle::Random);
        }
    }

    /// Begins something with the client, of which the machines have not heard yet.
    pub(crate) fn begin<T: 'static>(
        &mut self,
        future: impl Future<Output = T> + 'static,
    ) -> Task<T> {
        let task = self.core.spawn("test", future);
        while self.core.turn() {}
        task
    }

    /// The client does nothing for so long; the machines go on.
    pub(crate) fn stall(&mut self, span: Nanos) {
        let until = self.clock.mono() + span;
        while self.clock.mono() < until {
            let mut worked = true;
            while worked {
                worked = false;
                for machine in &mut self.machines {
                    worked |= machine.core.as_mut().is_some_and(Core::turn);
                }
            }
            let cores = self.machines.iter().filter_map(|machine| machine.core.as_ref());
            let next = cores.map(Core::due).min().unwrap_or(Due::At(until));
            let at = if let Due::At(at) = next { at.min(until) } else { self.clock.mono() };
            self.clock.advance_to(at.max(self.clock.mono() + Nanos::from_micros(50)));
        }
    }

    /// A machine does nothing any more, and its sessions stay as they are.
    pub(crate) fn freeze(&mut self, m: usize) {
        self.machines[m].frozen = self.machines[m].core.take();
    }

    /// It goes on.
    pub(crate) fn thaw(&mut self, m: usize) {
        self.machines[m].core = self.machines[m].frozen.take();
    }

    /// Stops a machine in good order.
    pub(crate) fn stop(&mut self, m: usize) {
        let node = self.machines[m].node.take().unwrap();
        let core = self.machines[m].core.as_ref().unwrap();
        let task = core.spawn("stop", async move { node.stop().await });
        let mut task = task;
        let mut is_stopped = false;
        self.turn_until(|_| {
            is_stopped |= task.try_take().is_some();
            is_stopped
        });
        self.machines[m].core = None;
    }

    fn turn_until(&mut self, mut is_done: impl FnMut(&Rig) -> bool) {
        loop {
            self.turn();
            if is_done(self) {
                return;
            }
            assert!(self.advance(), "everything sleeps for ever");
        }
    }

    /// Turns every core until nothing is left to do now.
    fn turn(&mut self) {
        loop {
            let mut worked = self.core.turn();
            worked |= self.mortal.as_mut().is_some_and(Core::turn);
            for machine in &mut self.machines {
                worked |= machine.core.as_mut().is_some_and(Core::turn);
            }
            if !worked {
                break;
            }
        }
    }

    /// Turns the clock to what is due next. False if nothing is.
    fn advance(&mut self) -> bool {
        let cores = self.machines.iter().filter_map(|machine| machine.core.as_ref());
        let clients = [&self.core].into_iter().chain(&self.mortal).map(Core::due);
        match cores.map(Core::due).chain(clients).min() {
            Some(Due::Now) => true,
            Some(Due::At(at)) => {
                self.clock.advance_to(at.max(self.clock.mono() + Nanos(1)));
                true
            }
            _ => false,
        }
    }

    /// Nothing is under way on any machine, and each has this many buffers free.
    pub(crate) fn idle_buffers(&mut self) -> Vec<usize> {
        // What goes on in the background ends.
        let handle = self.handle();
        self.run(async move { handle.sleep(Nanos::from_secs(3)).await });
        let machines = self.machines.iter().filter_map(|machine| {
            let report = machine.node.as_ref()?.report();
            assert_eq!(report.requests, 0, "{}: {report:?}", machine.name);
            assert!(report.disks.iter().all(|disk| disk.requests == 0), "{report:?}");
            Some(machine.pool.free_count())
        });
        machines.collect()
    }

    /// Runs something on the client's core.
    pub(crate) fn run<T: 'static>(&mut self, future: impl Future<Output = T> + 'static) -> T {
        let mut task = self.core.spawn("test", future);
        let mut value = None;
        self.turn_until(|_| {
            value = value.take().or_else(|| task.try_take());
            value.is_some()
        });
        value.unwrap()
    }

    /// Runs something with a client that dies after so many messages. `None` if it died before it
    /// was done.
    pub(crate) fn run_mortal<T: 'static, F: Future<Output = T> + 'static>(
        &mut self,
        messages: u64,
        job: impl FnOnce(Client) -> F,
    ) -> Option<T> {
        let clock = self.clock.clone();
        let core = Reactor::new(SimPark::new(clock.clone()), clock, ReactorConfig::default());
        self.mortals += 1;
        let [high, low] = self.mortals.to_be_bytes();
        let addr = SocketAddr::from(([10, 2, high, low], 1));
        let life = Life::new(messages);
        let network = self.hub.host(core.handle(), addr, "client");
        let network = Rc::new(MortalNetwork { network, life: life.clone() });
        let map = (*self.client.map()).clone();
        let entropy = Rc::new(SimEntropy::new(u64::from(self.mortals) << 32));
        let client = Client::new(core.handle(), network, map, entropy, self.client_config);
        let mut task = core.spawn("mortal", job(client));
        self.mortal = Some(core);
        let mut value = None;
        self.turn_until(|_| {
            value = value.take().or_else(|| task.try_take());
            value.is_some() || life.is_over()
        });
        if value.is_none() {
            // What is on its way arrives and is done, and nobody hears of it.
            let handle = self.handle();
            self.run(async move { handle.sleep(Nanos::from_secs(3)).await });
        }
        self.mortal = None;
        value
    }

    pub(crate) fn handle(&self) -> Handle {
        self.core.handle().clone()
    }

    pub(crate) fn now(&self) -> Mono {
        self.clock.mono()
    }
}
