//! The run that every kind of network must pass, for messages in virtual time.

use std::net::{Ipv4Addr, SocketAddr};

use isotherm_seam::Nanos;
use isotherm_sim::{HostId, LinkShape, SimClock};
use isotherm_simulator::{MessageConfig, MessageNetwork, World};
use isotherm_transport::PeerAddr;
use isotherm_transport::conformance::{Pair, run};

fn addr(host: u8) -> SocketAddr {
    (Ipv4Addr::new(10, 0, 0, host), 4000).into()
}

/// Both endpoints are on one machine, under two addresses: its link to itself is as any other.
fn messages_keep_every_promise(shape: LinkShape) {
    let clock = SimClock::new();
    let config = MessageConfig { shape, ..MessageConfig::new(5) };
    let network = MessageNetwork::new(config, clock.clone());
    let mut world = World::new(5, clock, network.clone());
    let machine = world.add(4096);
    let core = world.start(machine);
    let endpoint = |host: u8, name| network.endpoint(HostId(0), addr(host), name, &core);
    let pair = Pair {
        core: core.clone(),
        near: endpoint(1, "near"),
        far: endpoint(2, "far"),
        to_far: PeerAddr { addr: addr(2), name: "far".into() },
        to_nobody: PeerAddr { addr: addr(3), name: "nobody".into() },
        near_name: Some("near".into()),
    };
    let mut task = core.spawn("conformance", run(pair));
    world.wake(machine);
    let mut done = None;
    let until = world.after(Nanos::from_secs(3600));
    world.run_until(until, |_| {
        done = task.try_take();
        done.is_some()
    });
    assert!(done.is_some(), "it never ends");
}

#[test]
fn a_quiet_network() {
    messages_keep_every_promise(LinkShape::default());
}

#[test]
fn one_that_loses_a_tenth() {
    let jitter = Nanos::from_millis(1);
    messages_keep_every_promise(LinkShape { loss: 0.1, jitter, ..LinkShape::default() });
}
