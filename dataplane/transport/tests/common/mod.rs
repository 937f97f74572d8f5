//! Endpoints for tests: real sockets on loopback with TLS, simulated ones with the stand-in.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::net::SocketAddr;
use std::rc::Rc;

use isotherm_host::{HostClock, OsEntropy};
use isotherm_reactor::{Reactor, ReactorConfig};
use isotherm_seam::{BufPool, Clock, Nanos, PoolLayout, Wall};
use isotherm_sim::{HostId, SimClock, SimEntropy, SimNetwork, SimNetworkConfig, SimPark};
use isotherm_transport::quic::{Crypto, NodeKeys, Quic, QuicConfig};
use isotherm_transport::{Ca, Identities, Leaf, LeafRequest, PeerAddr, TlsIdentity};
use isotherm_uring::{Ring, RingConfig};

pub(crate) fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// A core on a ring.
pub(crate) fn real_core() -> (Reactor<Ring, HostClock>, Ring) {
    let pool = BufPool::new(&PoolLayout::uniform(4096, 4)).unwrap();
    let ring = Ring::new(&RingConfig { entries: 1024, pool }).unwrap();
    let reactor = Reactor::new(ring.clone(), HostClock::new(), ReactorConfig::default());
    (reactor, ring)
}

/// A core in virtual time.
pub(crate) fn virtual_core() -> Reactor<SimPark, SimClock> {
    let clock = SimClock::new();
    Reactor::new(SimPark::new(clock.clone()), clock, ReactorConfig::default())
}

pub(crate) fn now() -> Wall {
    HostClock::new().wall()
}

pub(crate) fn leaf(ca: &Ca, name: &str) -> Leaf {
    ca.issue(&LeafRequest { name, dns: &[], ips: &[], now: now(), days: 2 }).unwrap()
}

pub(crate) fn identity(ca: &Ca, name: &str) -> TlsIdentity {
    identity_trusting(ca, name, ca)
}

/// With a certificate of one authority that trusts another.
pub(crate) fn identity_trusting(ca: &Ca, name: &str, trusted: &Ca) -> TlsIdentity {
    let leaf = leaf(ca, name);
    let roots = trusted.roots_pem();
    TlsIdentity::from_pem(leaf.cert_pem.as_bytes(), leaf.key_pem.as_bytes(), roots.as_bytes())
        .unwrap()
}

pub(crate) fn tls(identity: TlsIdentity) -> QuicConfig {
    let keys = NodeKeys::draw(&OsEntropy::new().unwrap());
    let mut config = QuicConfig::new(Crypto::Tls(Identities::new(identity)), keys);
    config.handshake_timeout = Nanos::from_secs(1);
    config
}

pub(crate) fn null(name: &str, seed: u64) -> QuicConfig {
    let keys = NodeKeys::draw(&SimEntropy::new(seed));
    QuicConfig::new(Crypto::Null { name: name.into() }, keys)
}

pub(crate) fn open(
    reactor: &Reactor<Ring, HostClock>,
    ring: &Ring,
    config: QuicConfig,
) -> Rc<Quic> {
    open_at(reactor, ring, config, any_port())
}

pub(crate) fn open_at(
    reactor: &Reactor<Ring, HostClock>,
    ring: &Ring,
    config: QuicConfig,
    addr: SocketAddr,
) -> Rc<Quic> {
    let socket = Box::new(ring.udp(addr).unwrap());
    Quic::open(reactor.handle(), socket, config, &OsEntropy::new().unwrap())
}

pub(crate) fn named(quic: &Rc<Quic>, name: &str) -> PeerAddr {
    use isotherm_transport::Network;
    PeerAddr { addr: quic.local(), name: name.into() }
}

pub(crate) fn sim_addr(host: u32) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, host as u8], 7000))
}

/// Two endpoints on a simulated network.
pub(crate) fn sim_pair(
    reactor: &Reactor<SimPark, SimClock>,
    network: SimNetworkConfig,
) -> (SimNetwork, Rc<Quic>, Rc<Quic>) {
    let seed = network.seed;
    let net = SimNetwork::new(network);
    let quic = |host: u32, name: &str| {
        let socket = Box::new(net.open(HostId(host), sim_addr(host)));
        let entropy = SimEntropy::new(seed ^ u64::from(host));
        Quic::open(reactor.handle(), socket, null(name, seed ^ u64::from(host)), &entropy)
    };
    let (near, far) = (quic(1, "near"), quic(2, "far"));
    (net, near, far)
}
