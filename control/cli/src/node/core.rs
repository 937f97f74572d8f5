//! One core of a node: a thread with a ring, its disks, its socket.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::mpsc::SyncSender;
use std::thread::JoinHandle;

use anyhow::{Context, anyhow};
use isotherm_block::{OpenContext, Spec};
use isotherm_host::{HostClock, OsEntropy, pin};
use isotherm_node::{Node, NodeConfig, NodeReport};
use isotherm_reactor::{Counters, Handle, Mailbox, Reactor, ReactorConfig, Sender};
use isotherm_seam::{
    BlockSize, BufPool, CoreId, Domain, Leaf, Nanos, OpenOptions, Park, PoolClass, PoolLayout, draw,
};
use isotherm_store::{FormatOptions, Options, PAYLOAD_MAX, PutBuf, World};
use isotherm_transport::quic::{Crypto, NodeKeys, Quic, QuicConfig, QuicCounters};
use isotherm_transport::{Identities, Network};
use isotherm_uring::{Ring, RingConfig};

use super::config::{CoreToml, DiskToml};

const DEVICE: Domain = Domain::new("cli.node.device");

/// What a core is asked to do from outside.
#[derive(Debug)]
pub(crate) enum Order {
    /// Say how it is.
    Report(SyncSender<CoreReport>),
    /// Stop in good order, and say when that is done.
    Stop(SyncSender<()>),
    /// As a bug would.
    #[cfg(test)]
    Panic,
}

/// How a core is.
#[derive(Clone, Debug)]
pub(crate) struct CoreReport {
    pub(crate) core: u16,
    pub(crate) addr: SocketAddr,
    pub(crate) node: NodeReport,
    pub(crate) reactor: Counters,
    pub(crate) quic: QuicCounters,
}

/// A core that runs.
pub(crate) struct Core {
    pub(crate) orders: Sender<Order>,
    pub(crate) addr: SocketAddr,
    thread: JoinHandle<()>,
}

/// What every core of a node has alike.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) identities: std::sync::Arc<Identities>,
    pub(crate) keys: NodeKeys,
    pub(crate) mtu: u16,
}

/// Orders that wait at once.
const ORDERS: usize = 16;
/// Tasks of a core: sessions, requests, and what the stores have.
const TASKS: u32 = 16_384;
/// A connection is made anew when it is so old, so that nobody goes on for ever with a certificate
/// that has expired, or whose authority is not trusted any more.
const CONNECTION_AGE_MAX: Nanos = Nanos::from_secs(3600);
/// How often old connections are looked for; those that are busy more often, until they are not.
const RENEW_EVERY: Nanos = Nanos::from_secs(60);
const RENEW_BUSY_EVERY: Nanos = Nanos::from_secs(1);
/// Buffers of the longest record that each disk brings, and of shorter ones.
const LONG_PER_DISK: u32 = 20;
const SHORT_PER_DISK: u32 = 24;

impl Core {
    /// Starts a core and waits until it listens. Its disks are opened after that.
    pub(crate) fn start(number: u16, config: &CoreToml, shared: &Shared) -> anyhow::Result<Core> {
        let (config, shared) = (config.clone(), shared.clone());
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        let thread = std::thread::Builder::new()
            .name(format!("core{number}"))
            .spawn(move || match prepare(&config, &shared) {
                Ok(prepared) => {
                    let (orders, mailbox) = prepared.reactor.mailbox(ORDERS);
                    let addr = prepared.quic.local();
                    let _ = tell.send(Ok((orders, addr)));
                    prepared.run(number, mailbox);
                }
                Err(error) => {
                    let _ = tell.send(Err(error));
                }
            })
            .context("no thread for a core")?;
        let started = told.recv().map_err(|_| anyhow!("a core ended while it was started"))?;
        let (orders, addr) = started?;
        Ok(Core { orders, addr, thread })
    }

    /// Whether it runs no more, although nobody has stopped it.
    pub(crate) fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for its end.
    pub(crate) fn join(self) -> anyhow::Result<()> {
        self.thread.join().map_err(|_| anyhow!("the core at {} panicked", self.addr))
    }
}

struct Prepared {
    reactor: Reactor<Ring, HostClock>,
    quic: Rc<Quic>,
    node: Node,
}

fn pool(disks: u32) -> anyhow::Result<BufPool> {
    let longest = PutBuf::buffer_bytes(PAYLOAD_MAX as usize) as u32;
    let class = |buf_bytes: u32, count| PoolClass { buf_bytes, count };
    let disks = disks.max(1);
    BufPool::new(&PoolLayout {
        classes: vec![
            class(4 << 10, 128 * disks),
            class(16 << 10, SHORT_PER_DISK * disks),
            class(80 << 10, SHORT_PER_DISK * disks),
            class(272 << 10, 8 * disks),
            class(longest, LONG_PER_DISK * disks),
        ],
        align: BlockSize::B4096,
        huge: false,
    })
    .context("no memory for the buffers")
}

fn prepare(config: &CoreToml, shared: &Shared) -> anyhow::Result<Prepared> {
    if let Some(cpu) = config.cpu {
        pin(CoreId(cpu)).with_context(|| format!("cpu = {cpu}"))?;
    }
    let pool = pool(config.disk.len() as u32)?;
    let ring = Ring::new(&RingConfig::new(pool.clone())).context("a node needs io_uring")?;
    let clock = HostClock::new();
    let exclusive = config.cpu.is_some();
    // On loopback an answer comes within tens of microseconds: worth spinning for.
    let spin_max = Nanos::from_micros(200);
    let reactor_config =
        ReactorConfig { tasks_max: TASKS, exclusive, spin_max, ..ReactorConfig::default() };
    let reactor = Reactor::new(ring.clone(), clock, reactor_config);
    let socket = ring.udp(config.listen).with_context(|| format!("{}", config.listen))?;
    let crypto = Crypto::Tls(std::sync::Arc::clone(&shared.identities));
    let quic_config = QuicConfig::new(crypto, shared.keys.clone()).with_mtu(shared.mtu);
    let entropy = OsEntropy::new()?;
    let quic = Quic::open(reactor.handle(), Box::new(socket), quic_config, &entropy);
    let world =
        World { handle: reactor.handle().clone(), pool: pool.clone(), clock: Rc::new(clock) };
    let network = Rc::clone(&quic) as Rc<dyn Network>;
    let node = Node::new(world.clone(), network, node_config());
    for disk in &config.disk {
        add_disk(&reactor, &ring, &world, &node, disk)?;
    }
    Ok(Prepared { reactor, quic, node })
}

fn node_config() -> NodeConfig {
    NodeConfig {
        store: Options { entries_max: 32 << 20, ..Options::default() },
        held_bytes_max: u64::from(LONG_PER_DISK / 2) << 20,
        ..NodeConfig::default()
    }
}

/// Opens the device of a disk. One that can't be opened is reported, and its siblings serve.
fn add_disk(
    reactor: &Reactor<Ring, HostClock>,
    ring: &Ring,
    world: &World,
    node: &Node,
    config: &DiskToml,
) -> anyhow::Result<()> {
    let uuid = config.uuid()?;
    let spec = Spec::parse(&config.device)?;
    let mut leaf = ring.clone();
    let options = OpenOptions { write: true, depth: 64, ..OpenOptions::default() };
    let leaves: &mut [&mut dyn Leaf] = &mut [&mut leaf];
    let unparker = ring.clone().unparker();
    // Disks of a node are no copies of each other: neither their phases nor their faults.
    let number = u128::from_be_bytes(uuid);
    let seed = draw(number as u64, DEVICE, (number >> 64) as u64, 0);
    match spec.open(OpenContext { options, unparker, seed, leaves }) {
        Ok(device) => {
            let disk = reactor.attach(device);
            if !config.volatile {
                node.add_disk(uuid, &config.name, disk);
                return Ok(());
            }
            let (world, node, name) = (world.clone(), node.clone(), config.name.clone());
            let profile = crate::store::usual_profile(&config.device);
            reactor.spawn("format", async move {
                let bytes = disk.geometry().capacity_bytes();
                let options = FormatOptions {
                    extent_blocks: Some(crate::store::usual_extent_blocks(bytes)),
                    profile,
                    ..FormatOptions::new(uuid)
                };
                match isotherm_store::format(&world, &disk, &options).await {
                    Ok(()) => node.add_disk(uuid, &name, disk),
                    Err(error) => node.add_failed(uuid, &name, &error.to_string()),
                }
            });
        }
        Err(error) => {
            eprintln!("isotherm: {}: {error}", config.name);
            node.add_failed(uuid, &config.name, &error.to_string());
        }
    }
    Ok(())
}

/// Ends connections that are old and have nothing under way: their peers dial again.
async fn renew(quic: Rc<Quic>, handle: Handle) {
    loop {
        let is_busy = quic.close_older_than(CONNECTION_AGE_MAX) > 0;
        handle.sleep(if is_busy { RENEW_BUSY_EVERY } else { RENEW_EVERY }).await;
    }
}

impl Prepared {
    fn run(mut self, number: u16, mut orders: Mailbox<Order>) {
        let (node, quic) = (self.node.clone(), Rc::clone(&self.quic));
        let handle = self.reactor.handle().clone();
        handle.spawn("renew", renew(Rc::clone(&self.quic), handle.clone()));
        self.reactor.run(async move {
            while let Some(order) = orders.recv().await {
                match order {
                    Order::Report(to) => {
                        let report = CoreReport {
                            core: number,
                            addr: quic.local(),
                            node: node.report(),
                            reactor: handle.counters(),
                            quic: quic.counters(),
                        };
                        // Whoever asked may have gone.
                        let _ = to.try_send(report);
                    }
                    Order::Stop(done) => {
                        node.stop().await;
                        // What tells the peers is sent in the turns that follow.
                        handle.sleep(Nanos::from_millis(20)).await;
                        let _ = done.try_send(());
                        return;
                    }
                    #[cfg(test)]
                    Order::Panic => panic!("as a bug would"),
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;
    use std::time::Duration;

    use isotherm_node::ShelfState;
    use isotherm_seam::Clock;
    use isotherm_transport::{Ca, LeafRequest, TlsIdentity};

    use super::*;

    fn shared() -> Shared {
        let now = HostClock::new().wall();
        let ca = Ca::create("test", now).unwrap();
        let request = LeafRequest { name: "node0", dns: &[], ips: &[], now, days: 1 };
        let leaf = ca.issue(&request).unwrap();
        let (cert, key) = (leaf.cert_pem.as_bytes(), leaf.key_pem.as_bytes());
        let identity = TlsIdentity::from_pem(cert, key, ca.roots_pem().as_bytes()).unwrap();
        let keys = NodeKeys::draw(&OsEntropy::new().unwrap());
        Shared { identities: Identities::new(identity), keys, mtu: 1452 }
    }

    fn start(number: u16, shared: &Shared) -> Core {
        let disk = DiskToml {
            uuid: format!("{:032x}", number + 1),
            name: format!("disk{number}"),
            device: format!("memory:{}", 256 << 20),
            volatile: true,
        };
        let listen = "127.0.0.1:0".parse().unwrap();
        let config = CoreToml { listen, cpu: None, disk: vec![disk] };
        Core::start(number, &config, shared).unwrap()
    }

    fn is_open(core: &Core) -> bool {
        let (tell, told) = sync_channel(1);
        core.orders.try_send(Order::Report(tell)).unwrap();
        let report = told.recv_timeout(Duration::from_secs(20)).unwrap();
        report.node.disks.iter().any(|disk| matches!(disk.state, ShelfState::Open(_)))
    }

    #[expect(clippy::disallowed_methods, reason = "waits for threads")]
    fn wait(mut until: impl FnMut() -> bool) {
        for _ in 0..2000 {
            if until() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("it never comes");
    }

    #[test]
    fn a_core_that_panics_takes_its_own_disks_and_no_others() {
        let shared = shared();
        let (bad, good) = (start(0, &shared), start(1, &shared));
        wait(|| is_open(&bad) && is_open(&good));
        bad.orders.try_send(Order::Panic).unwrap();
        wait(|| bad.has_ended());
        assert!(bad.join().is_err());
        assert!(!good.has_ended() && is_open(&good));
        let (tell, told) = sync_channel(1);
        good.orders.try_send(Order::Stop(tell)).unwrap();
        told.recv_timeout(Duration::from_secs(30)).unwrap();
        good.join().unwrap();
    }
}
