//! Every network keeps what `session.rs` promises.

mod common;

use std::rc::Rc;

use common::{
    any_port, identity, named, now, open, real_core, sim_addr, sim_pair, tls, virtual_core,
};
use isotherm_seam::Nanos;
use isotherm_sim::{LinkShape, SimNetworkConfig};
use isotherm_transport::conformance::{Pair, run};
use isotherm_transport::{Ca, LocalHub, PeerAddr};

#[test]
fn within_a_core() {
    let mut reactor = virtual_core();
    let hub = LocalHub::new();
    let near = hub.host(reactor.handle(), sim_addr(1), "near");
    let far = hub.host(reactor.handle(), sim_addr(2), "far");
    let pair = Pair {
        core: reactor.handle().clone(),
        near,
        far,
        to_far: PeerAddr { addr: sim_addr(2), name: "far".into() },
        to_nobody: PeerAddr { addr: sim_addr(3), name: "nobody".into() },
        near_name: Some("near".into()),
    };
    reactor.run(run(pair));
}

/// QUIC over simulated sockets, the stand-in for TLS between them.
fn quic_on(shape: LinkShape, seed: u64) {
    let mut reactor = virtual_core();
    let (_net, near, far) =
        sim_pair(&reactor, SimNetworkConfig { shape, ..SimNetworkConfig::new(seed) });
    let pair = Pair {
        core: reactor.handle().clone(),
        near: Rc::clone(&near) as _,
        to_far: named(&far, "far"),
        far,
        to_nobody: PeerAddr { addr: sim_addr(3), name: "nobody".into() },
        near_name: Some("near".into()),
    };
    reactor.run(run(pair));
    assert_eq!(near.counters().panics, 0);
}

#[test]
fn quic_on_a_good_network() {
    quic_on(LinkShape::default(), 1);
}

#[test]
fn quic_on_a_bad_network() {
    let shape = LinkShape {
        loss: 0.01,
        duplication: 0.01,
        bit_flip: 0.005,
        jitter: Nanos::from_micros(300),
        ..LinkShape::default()
    };
    for seed in 1..4 {
        quic_on(shape, seed);
    }
}

#[test]
fn quic_with_tls_on_real_sockets() {
    for mtu in [1452, 8972] {
        let (mut reactor, ring) = real_core();
        let ca = Ca::create("test", now()).unwrap();
        let near = open(&reactor, &ring, tls(identity(&ca, "near")).with_mtu(mtu));
        let far = open(&reactor, &ring, tls(identity(&ca, "far")).with_mtu(mtu));
        // A port that was free a moment ago.
        let nobody = std::net::UdpSocket::bind(any_port()).unwrap().local_addr().unwrap();
        let pair = Pair {
            core: reactor.handle().clone(),
            near: near.clone(),
            to_far: named(&far, "far"),
            far: far.clone(),
            to_nobody: PeerAddr { addr: nobody, name: "nobody".into() },
            near_name: Some("near".into()),
        };
        reactor.run(run(pair));
        let counters = far.counters();
        assert_eq!((counters.panics, counters.garbled), (0, 0), "{counters:?}");
        assert!(counters.handshakes > 8, "{counters:?}");
    }
}
