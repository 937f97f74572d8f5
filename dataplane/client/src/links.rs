//! Connections to the cores that own disks, and what is known of disks by having asked them.
//!
//! What must always hold: one connection an address, made when it is first needed and again after
//! it was lost, with growing pauses; a disk that failed to answer is not preferred for a while,
//! and is asked again afterwards without anybody's help.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;

use isotherm_placement::DiskNo;
use isotherm_seam::{Mono, Nanos};
use isotherm_transport::{Connection, Network, PeerAddr};
use isotherm_wire::Told;

/// How long a disk that did not answer is avoided, at first and at most.
const AVOID_LEAST: Nanos = Nanos::from_secs(1);
const AVOID_MOST: Nanos = Nanos::from_secs(8);

pub(crate) struct Links {
    network: Rc<dyn Network>,
    links: RefCell<BTreeMap<SocketAddr, Connection>>,
    disks: RefCell<BTreeMap<DiskNo, Health>>,
}

/// What is known of a disk.
#[derive(Clone, Copy, Debug, Default)]
struct Health {
    avoid_until: Mono,
    pause: Nanos,
    /// Its last answer to a write was that it takes none.
    refuses_writes: bool,
}

impl Links {
    pub(crate) fn new(network: Rc<dyn Network>) -> Links {
        Links { network, links: RefCell::default(), disks: RefCell::default() }
    }

    /// A connection to an address, there or on its way.
    pub(crate) fn to(&self, peer: PeerAddr) -> Connection {
        let links = &mut *self.links.borrow_mut();
        if let Some(link) = links.get(&peer.addr)
            && link.closed().is_none()
        {
            return link.clone();
        }
        let link = self.network.dial(&peer);
        link.tell(&Told::hello(0).encode());
        links.insert(peer.addr, link.clone());
        link
    }

    /// The disk answered.
    pub(crate) fn answered(&self, disk: DiskNo) {
        let disks = &mut *self.disks.borrow_mut();
        if let Some(health) = disks.get_mut(&disk) {
            health.avoid_until = Mono::ZERO;
            health.pause = Nanos::ZERO;
        }
    }

    /// The disk did not answer.
    pub(crate) fn silent(&self, disk: DiskNo, now: Mono) {
        let health = &mut *self.disks.borrow_mut();
        let health = health.entry(disk).or_default();
        // Calls that were under way together fail together: they count once.
        if now >= health.avoid_until {
            health.pause = Nanos((health.pause.0 * 2).clamp(AVOID_LEAST.0, AVOID_MOST.0));
            health.avoid_until = now + health.pause;
        }
    }

    /// The disk said whether it takes writes.
    pub(crate) fn writes(&self, disk: DiskNo, refuses: bool, now: Mono) {
        let disks = &mut *self.disks.borrow_mut();
        match disks.get_mut(&disk) {
            None if !refuses => {}
            _ => {
                let health = disks.entry(disk).or_default();
                health.refuses_writes = refuses;
                if refuses {
                    health.pause = AVOID_MOST;
                    health.avoid_until = now + AVOID_MOST;
                }
            }
        }
    }

    /// Whether a disk is to be avoided for reads.
    pub(crate) fn is_silent(&self, disk: DiskNo, now: Mono) -> bool {
        let health = self.disks.borrow().get(&disk).copied().unwrap_or_default();
        health.avoid_until > now && !health.refuses_writes
    }

    /// Whether a disk is to be avoided for writes.
    pub(crate) fn is_sick(&self, disk: DiskNo, now: Mono) -> bool {
        self.disks.borrow().get(&disk).is_some_and(|health| health.avoid_until > now)
    }

    pub(crate) fn close(&self) {
        for link in std::mem::take(&mut *self.links.borrow_mut()).into_values() {
            link.close();
        }
    }
}
