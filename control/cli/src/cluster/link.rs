//! A client of a cluster for the length of one job: a ring, a socket, a certificate.

use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, anyhow};
use isotherm_client::{Client, ClientConfig};
use isotherm_host::{HostClock, OsEntropy};
use isotherm_placement::ClusterMap;
use isotherm_reactor::{Handle, Reactor, ReactorConfig};
use isotherm_seam::{BlockSize, BufPool, Nanos, PoolClass, PoolLayout};
use isotherm_transport::Identities;
use isotherm_transport::quic::{Crypto, NodeKeys, Quic, QuicConfig};
use isotherm_uring::{Ring, RingConfig};

use super::folder::Folder;

/// Between two looks at the stop flag.
const TICK: Nanos = Nanos::from_millis(50);

/// A core with a client on it.
pub(crate) struct Link {
    reactor: Reactor<Ring, HostClock>,
    client: Client,
}

impl Link {
    /// A client of the cluster in a folder, on the calling thread.
    pub(crate) fn new(folder: &Folder, config: ClientConfig) -> anyhow::Result<Link> {
        Link::with_map(folder, folder.map()?, config)
    }

    /// As [`Link::new`], with a map that is not the folder's: the same disks elsewhere.
    pub(crate) fn with_map(
        folder: &Folder,
        map: ClusterMap,
        config: ClientConfig,
    ) -> anyhow::Result<Link> {
        let identity = folder.client_identity()?;
        // The client has no disks: a few buffers for the ring to be made with.
        let class = PoolClass { buf_bytes: 4096, count: 4 };
        let layout = PoolLayout { classes: vec![class], align: BlockSize::B4096, huge: false };
        let pool = BufPool::new(&layout).context("no memory")?;
        let ring = Ring::new(&RingConfig { entries: 64, pool }).context("io_uring is needed")?;
        let clock = HostClock::new();
        let reactor = Reactor::new(ring.clone(), clock, ReactorConfig::default());
        let near =
            map.nodes.iter().flat_map(|node| &node.cores).all(|addr| addr.ip().is_loopback());
        let local = if near { "127.0.0.1:0" } else { "0.0.0.0:0" };
        let socket = ring.udp(local.parse().expect("an address")).context("no UDP socket")?;
        let entropy = OsEntropy::new()?;
        let crypto = Crypto::Tls(Identities::new(identity));
        let quic_config = QuicConfig::new(crypto, NodeKeys::draw(&entropy));
        let quic = Quic::open(reactor.handle(), Box::new(socket), quic_config, &entropy);
        let client = Client::new(reactor.handle(), quic, map, Rc::new(entropy), config);
        Ok(Link { reactor, client })
    }

    /// Its core.
    pub(crate) fn handle(&self) -> Handle {
        self.reactor.handle().clone()
    }

    /// Its client.
    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    /// Runs a job. `None` if it was cut short by Ctrl-C.
    pub(crate) fn run<T: 'static, F: Future<Output = T> + 'static>(
        &mut self,
        stop: &Arc<AtomicBool>,
        job: impl FnOnce(Client) -> F,
    ) -> Option<T> {
        let mut task = self.reactor.spawn("job", job(self.client.clone()));
        let (handle, stop) = (self.reactor.handle().clone(), Arc::clone(stop));
        self.reactor.run(async move {
            loop {
                if let Some(value) = task.try_take() {
                    return Some(value);
                }
                if stop.load(Ordering::Relaxed) {
                    task.cancel();
                    return None;
                }
                let tick = handle.timeout(TICK, &mut task);
                if let Ok(value) = tick.await {
                    return Some(value);
                }
            }
        })
    }

    /// Runs a job that Ctrl-C makes an error.
    pub(crate) fn finish<T: 'static, F: Future<Output = T> + 'static>(
        &mut self,
        job: impl FnOnce(Client) -> F,
    ) -> anyhow::Result<T> {
        let stop = crate::stop::on_signal()?;
        self.run(&stop, job).ok_or_else(|| anyhow!("stopped before it was done"))
    }
}

impl Drop for Link {
    /// Tells the nodes, so that they need not wait for the silence to be long enough.
    fn drop(&mut self) {
        self.client.close();
        // What tells them is sent in a turn or two; nothing is started any more.
        for _ in 0..4 {
            self.reactor.turn();
        }
    }
}
