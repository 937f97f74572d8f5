//! Connections to the cores that own disks, and what is known of disks by having asked them.
//!
//! What must always hold: one connection an address, made when it is first needed and again after
//! it was lost, with growing pauses; a disk that failed to answer is not preferred for a while,
//! and is asked again afterwards without anybody's help.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;

use isotherm_placement::DiskNo;
use isotherm_reactor::Handle;
use isotherm_seam::{Mono, Nanos};
use isotherm_transport::{Connection, Network, PeerAddr};
use isotherm_wire::{Doubt, Told, VERSION_LEAST};

use crate::steer::{Heard, Inbox};

/// A disk that was asked and has answered nothing for so long is asked whether it is there: long for
/// any disk, short beside the time after which a lost session counts as over. Who reads around it
/// meanwhile gives his question up, so that nobody waits for an answer as long as that.
const QUIET: Nanos = Nanos::from_secs(1);
/// How long a disk that takes no writes is not asked to.
const REFUSES_FOR: Nanos = Nanos::from_secs(8);

pub(crate) struct Links {
    handle: Handle,
    network: Rc<dyn Network>,
    links: RefCell<BTreeMap<SocketAddr, Link>>,
    disks: RefCell<BTreeMap<DiskNo, Health>>,
}

/// Who waits for the claim of which reservation, and of which cell it is.
type Claims = BTreeMap<u64, (Rc<Inbox>, usize)>;

/// A connection, and the version that both ends speak: the least until the peer has greeted.
#[derive(Clone)]
pub(crate) struct Link {
    pub(crate) connection: Connection,
    version: Rc<Cell<u8>>,
    /// The peer has greeted: it is there.
    is_greeted: Rc<Cell<bool>>,
    /// Of the next reservation.
    number: Rc<Cell<u64>>,
    pub(crate) claims: Rc<RefCell<Claims>>,
}

impl Link {
    /// The version in which to write.
    pub(crate) fn version(&self) -> u8 {
        self.version.get()
    }

    /// Whether the peer is known to understand them.
    pub(crate) fn takes_reservations(&self) -> bool {
        self.version() >= 2
    }

    /// A number for a reservation, whose claims go there.
    pub(crate) fn reserve(&self, inbox: &Rc<Inbox>, cell: usize) -> u64 {
        let number = self.number.get();
        self.number.set(number + 1);
        self.claims.borrow_mut().insert(number, (Rc::clone(inbox), cell));
        number
    }

    /// A disk says something of a reservation.
    fn heard(&self, number: u64, heard: Heard) {
        match self.claims.borrow().get(&number) {
            Some((inbox, cell)) => inbox.hear(*cell, heard),
            // The read is over; that it is dropped is on its way, or was lost for want of room.
            None if heard == Heard::Claimed => {
                self.connection.tell(&Told::Drop { number }.encode());
            }
            None => {}
        }
    }

    /// Hears the peer's greeting and its claims. One that speaks no version of ours is left.
    async fn hear(self) {
        let mut told = Vec::new();
        while self.connection.told(&mut told).await.is_ok() {
            match Told::decode(&told) {
                Ok(Told::Hello { least, newest, .. }) => match Told::agreed(least, newest) {
                    Some(version) => {
                        self.version.set(version);
                        self.is_greeted.set(true);
                    }
                    None => self.connection.close(),
                },
                Ok(Told::Claim { number }) => self.heard(number, Heard::Claimed),
                Ok(Told::Begun { number }) => self.heard(number, Heard::Begun),
                Ok(Told::Waits { number }) => self.heard(number, Heard::Waits),
                Ok(_) | Err(_) => {}
            }
            told.clear();
        }
    }
}

/// What is known of a disk.
#[derive(Clone, Copy, Debug, Default)]
struct Health {
    /// When it was asked first since it answered last.
    asked: Option<Mono>,
    /// It did not answer, and has not since.
    is_silent: bool,
    /// It said that it takes no writes.
    refuses_until: Mono,
    /// For want of room.
    is_full: bool,
    /// It may have lost what it had acknowledged, it said last.
    doubt: Doubt,
}

impl Links {
    pub(crate) fn new(handle: &Handle, network: Rc<dyn Network>) -> Links {
        let handle = handle.clone();
        Links { handle, network, links: RefCell::default(), disks: RefCell::default() }
    }

    /// A connection to an address, there or on its way.
    pub(crate) fn to(&self, peer: PeerAddr) -> Link {
        let links = &mut *self.links.borrow_mut();
        if let Some(link) = links.get(&peer.addr)
            && link.connection.closed().is_none()
        {
            return link.clone();
        }
        let connection = self.network.dial(&peer);
        connection.tell(&Told::hello(0).encode());
        let link = Link {
            connection,
            version: Rc::new(Cell::new(VERSION_LEAST)),
            is_greeted: Rc::default(),
            number: Rc::default(),
            claims: Rc::default(),
        };
        // Without room for a task the least version goes on being spoken.
        let _ = self.handle.try_spawn("hear", link.clone().hear());
        links.insert(peer.addr, link.clone());
        link
    }

    /// Whether the connection to an address was lost, or is dialled and nobody has greeted yet: not
    /// the one to count on.
    pub(crate) fn is_unsure(&self, addr: SocketAddr) -> bool {
        let links = self.links.borrow();
        let lost = |link: &Link| !link.is_greeted.get() || link.connection.closed().is_some();
        links.get(&addr).is_some_and(lost)
    }

    /// The disk is asked. True if it was asked long ago and has not answered since: then somebody
    /// should find out.
    pub(crate) fn asked(&self, disk: DiskNo, now: Mono) -> bool {
        let disks = &mut *self.disks.borrow_mut();
        let health = disks.entry(disk).or_default();
        let first = *health.asked.get_or_insert(now);
        let is_quiet = !health.is_silent && now.since(first) > QUIET;
        if is_quiet {
            // Once in that time.
            health.asked = Some(now);
        }
        is_quiet
    }

    /// The disk answered.
    pub(crate) fn answered(&self, disk: DiskNo) {
        if let Some(health) = self.disks.borrow_mut().get_mut(&disk) {
            (health.asked, health.is_silent) = (None, false);
        }
    }

    /// The disk did not answer. True if it did before.
    pub(crate) fn silent(&self, disk: DiskNo) -> bool {
        let disks = &mut *self.disks.borrow_mut();
        !std::mem::replace(&mut disks.entry(disk).or_default().is_silent, true)
    }

    /// The disk took a write.
    pub(crate) fn takes_writes(&self, disk: DiskNo) {
        if let Some(health) = self.disks.borrow_mut().get_mut(&disk) {
            health.refuses_until = Mono::ZERO;
        }
    }

    /// The disk said that it takes no writes, for want of room or for good.
    pub(crate) fn refuses_writes(&self, disk: DiskNo, is_full: bool, now: Mono) {
        let disks = &mut *self.disks.borrow_mut();
        let health = disks.entry(disk).or_default();
        (health.refuses_until, health.is_full) = (now + REFUSES_FOR, is_full);
    }

    /// The disk said whether it may have lost something.
    pub(crate) fn doubted(&self, disk: DiskNo, doubt: Doubt) {
        let disks = &mut *self.disks.borrow_mut();
        match disks.get_mut(&disk) {
            Some(health) => health.doubt = doubt,
            None if doubt == Doubt::None => {}
            None => disks.entry(disk).or_default().doubt = doubt,
        }
    }

    /// What a disk said last of itself.
    pub(crate) fn doubt(&self, disk: DiskNo) -> Doubt {
        self.disks.borrow().get(&disk).map_or(Doubt::None, |health| health.doubt)
    }

    /// Whether a disk is to be avoided for reads.
    pub(crate) fn is_silent(&self, disk: DiskNo) -> bool {
        self.disks.borrow().get(&disk).is_some_and(|health| health.is_silent)
    }

    /// Whether a disk is to be avoided for writes.
    pub(crate) fn is_sick(&self, disk: DiskNo, now: Mono) -> bool {
        let disks = self.disks.borrow();
        disks.get(&disk).is_some_and(|health| health.is_silent || health.refuses_until > now)
    }

    /// Whether a disk has no room.
    pub(crate) fn is_full(&self, disk: DiskNo, now: Mono) -> bool {
        let disks = self.disks.borrow();
        disks.get(&disk).is_some_and(|health| health.is_full && health.refuses_until > now)
    }

    pub(crate) fn close(&self) {
        for link in std::mem::take(&mut *self.links.borrow_mut()).into_values() {
            link.connection.close();
        }
    }
}
