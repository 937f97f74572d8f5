//! A network in virtual time: all sockets of a simulated cluster and the links between its hosts.
//!
//! What must always hold: whatever the contract of [`isotherm_seam::Datagram`] leaves open is
//! decided by the seed and by the hand that holds the [`SimNetwork`]. A datagram's fate is drawn
//! when it is sent, keyed by its link and its number on it, so what other links carry never
//! changes it. A cut ends what is under way; a receiver that does not read loses what its buffer
//! has no room for.
//!
//! A [`SimSocket`] is what a core holds; [`SimNetwork`] is the world's hand on all of it.

mod link;
mod socket;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::rc::Rc;

use isotherm_seam::Mono;

pub use link::{LinkShape, exponential};
pub use socket::SimSocket;

use crate::{Trace, TraceEvent, hash64};
use link::{Fate, Link};
use socket::{Inbox, Parcel};

/// A machine on the network; it may have many sockets.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct HostId(pub u32);

/// How a simulated network is made.
#[derive(Clone, Debug)]
pub struct SimNetworkConfig {
    /// The seed of the run.
    pub seed: u64,
    /// What each link is like where nobody says otherwise.
    pub shape: LinkShape,
    /// Bytes that have arrived at a socket and were not yet read; what comes beyond is lost.
    pub recv_buffer_bytes: usize,
    /// Bytes of a socket that have not yet left its host's queues; beyond, a send is refused.
    pub send_buffer_bytes: usize,
    /// Datagrams in one `send`.
    pub send_segments_max: usize,
    /// Datagrams that one `recv` may bring.
    pub recv_segments_max: usize,
    /// Records each datagram, when it is sent and when it is read.
    pub trace: Option<Trace>,
}

impl SimNetworkConfig {
    /// A network on which nothing goes wrong; buffers of 4 MiB, batches of 32.
    #[must_use]
    pub fn new(seed: u64) -> SimNetworkConfig {
        SimNetworkConfig {
            seed,
            shape: LinkShape::default(),
            recv_buffer_bytes: 4 << 20,
            send_buffer_bytes: 4 << 20,
            send_segments_max: 32,
            recv_segments_max: 32,
            trace: None,
        }
    }
}

/// What became of datagrams so far. A segment of a batch counts as a datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NetCounters {
    /// Given to a socket and taken.
    pub sent: u64,
    /// Bytes of those.
    pub sent_bytes: u64,
    /// Read by a receiver, copies included.
    pub received: u64,
    /// Lost by chance.
    pub lost: u64,
    /// Doubled by chance.
    pub doubled: u64,
    /// With a bit flipped by chance.
    pub flipped: u64,
    /// Lost to a cut, at once or under way.
    pub cut: u64,
    /// Longer than the link carries.
    pub too_long: u64,
    /// Dropped at the end of a link's queue.
    pub queue_full: u64,
    /// Dropped before a receiver that did not read.
    pub buffer_full: u64,
    /// Sent by, to, or under way to a host that is down.
    pub down: u64,
    /// For an address that nobody has.
    pub nobody: u64,
    /// Sends that were refused because the socket's buffer was full; not datagrams.
    pub refused: u64,
}

/// The world's hand on a simulated network. Clones are handles to the same one.
#[derive(Clone)]
pub struct SimNetwork {
    shared: Rc<RefCell<Net>>,
}

pub(crate) struct Net {
    pub(crate) config: SimNetworkConfig,
    shape: LinkShape,
    links: BTreeMap<(HostId, HostId), Link>,
    pub(crate) inboxes: BTreeMap<SocketAddr, Inbox>,
    down: BTreeSet<HostId>,
    /// Hosts that something is new for.
    touched: BTreeSet<HostId>,
    parcels: u64,
    sessions: u64,
    pub(crate) counters: NetCounters,
}

/// Kinds of trace events: what became of a datagram.
mod kind {
    pub(super) const ARRIVES: u32 = 1;
    pub(super) const LOST: u32 = 2;
    pub(super) const READ: u32 = 3;
}

impl SimNetwork {
    /// A network without sockets.
    #[must_use]
    pub fn new(config: SimNetworkConfig) -> SimNetwork {
        let shape = config.shape;
        let net = Net {
            config,
            shape,
            links: BTreeMap::new(),
            inboxes: BTreeMap::new(),
            down: BTreeSet::new(),
            touched: BTreeSet::new(),
            parcels: 0,
            sessions: 0,
            counters: NetCounters::default(),
        };
        SimNetwork { shared: Rc::new(RefCell::new(net)) }
    }

    /// Opens a socket of a host. One that had the address before hears nothing any more.
    #[must_use]
    pub fn open(&self, host: HostId, local: SocketAddr) -> SimSocket {
        let net = &mut *self.shared.borrow_mut();
        net.sessions += 1;
        net.inboxes.insert(local, Inbox::new(host, net.sessions));
        SimSocket::new(Rc::clone(&self.shared), host, local, net.sessions)
    }

    /// What links are like from now on where nobody said otherwise.
    pub fn set_shape(&self, shape: LinkShape) {
        let net = &mut *self.shared.borrow_mut();
        net.shape = shape;
        net.links.values_mut().for_each(|link| link.shape = shape);
    }

    /// What one direction is like from now on.
    pub fn set_link(&self, from: HostId, to: HostId, shape: LinkShape) {
        self.shared.borrow_mut().link(from, to).shape = shape;
    }

    /// What one direction is like.
    #[must_use]
    pub fn shape(&self, from: HostId, to: HostId) -> LinkShape {
        self.shared.borrow_mut().link(from, to).shape
    }

    /// What is sent in one direction from now on leaves only at `until`.
    pub fn clog(&self, from: HostId, to: HostId, until: Mono) {
        self.shared.borrow_mut().link(from, to).clog(until);
    }

    /// Cuts one direction: what is under way is lost, too.
    pub fn cut(&self, now: Mono, from: HostId, to: HostId) {
        self.shared.borrow_mut().cut(now, from, to);
    }

    /// Cuts both directions between every host of one set and every host of the other.
    pub fn partition(&self, now: Mono, one: &[HostId], other: &[HostId]) {
        let net = &mut *self.shared.borrow_mut();
        for &a in one {
            for &b in other {
                net.cut(now, a, b);
                net.cut(now, b, a);
            }
        }
    }

    /// Mends one direction.
    pub fn mend(&self, from: HostId, to: HostId) {
        self.shared.borrow_mut().link(from, to).is_cut = false;
    }

    /// Mends every cut. Hosts that are down stay down.
    pub fn heal(&self) {
        self.shared.borrow_mut().links.values_mut().for_each(|link| link.is_cut = false);
    }

    /// A host goes: its sockets are gone for good, with what they have not read.
    pub fn down(&self, host: HostId) {
        let net = &mut *self.shared.borrow_mut();
        net.down.insert(host);
        let lost: usize =
            net.inboxes.values().filter(|inbox| inbox.host == host).map(Inbox::parcels).sum();
        net.counters.down += lost as u64;
        net.inboxes.retain(|_, inbox| inbox.host != host);
    }

    /// A host is back; it opens its sockets anew.
    pub fn up(&self, host: HostId) {
        self.shared.borrow_mut().down.remove(&host);
    }

    /// When the next datagram arrives anywhere that was not read yet; also one that has arrived
    /// already. `None` if nothing is under way.
    #[must_use]
    pub fn next_arrival(&self) -> Option<Mono> {
        self.shared.borrow().inboxes.values().filter_map(Inbox::next).min()
    }

    /// The hosts for which something was sent since the last call: their sockets' `due` may have
    /// changed.
    #[must_use]
    pub fn take_touched(&self) -> BTreeSet<HostId> {
        std::mem::take(&mut self.shared.borrow_mut().touched)
    }

    /// What became of datagrams so far.
    #[must_use]
    pub fn counters(&self) -> NetCounters {
        self.shared.borrow().counters
    }
}

impl Net {
    fn link(&mut self, from: HostId, to: HostId) -> &mut Link {
        let (seed, shape) = (self.config.seed, self.shape);
        let entity = u64::from(from.0) << 32 | u64::from(to.0);
        self.links.entry((from, to)).or_insert_with(|| Link::new(seed, entity, shape))
    }

    fn cut(&mut self, now: Mono, from: HostId, to: HostId) {
        self.link(from, to).is_cut = true;
        let inboxes = self.inboxes.values_mut().filter(|inbox| inbox.host == to);
        let lost: usize = inboxes.map(|inbox| inbox.cut(now, from)).sum();
        self.counters.cut += lost as u64;
    }

    /// One datagram sets out. When it has left its host's queue, if it got into it.
    pub(crate) fn send(
        &mut self,
        now: Mono,
        host: HostId,
        from: SocketAddr,
        to: SocketAddr,
        ecn: Option<isotherm_seam::Ecn>,
        bytes: &[u8],
    ) -> Option<Mono> {
        self.counters.sent += 1;
        self.counters.sent_bytes += bytes.len() as u64;
        if self.down.contains(&host) {
            self.counters.down += 1;
            return None;
        }
        // Where nobody listens there is no link either: its number does not count.
        let Some(receiver) = self.inboxes.get(&to).map(|inbox| inbox.host) else {
            self.counters.nobody += 1;
            return None;
        };
        let link = self.link(host, receiver);
        let number = link.next_number();
        let entity = u64::from(host.0) << 32 | u64::from(receiver.0);
        let (fate, left) = match link.is_cut {
            true => (None, None),
            false => {
                let (fate, left) = link.decide(now, number, bytes.len());
                (Some(fate), left)
            }
        };
        let counters = &mut self.counters;
        let mut event = TraceEvent { at: now, entity, kind: kind::LOST, id: number, content: 0 };
        match fate {
            None => counters.cut += 1,
            Some(Fate::TooLong) => counters.too_long += 1,
            Some(Fate::QueueFull) => counters.queue_full += 1,
            Some(Fate::Lost) => counters.lost += 1,
            Some(Fate::Arrives { at, again, flipped_bit }) => {
                let mut content: Rc<[u8]> = Rc::from(bytes);
                if let Some(bit) = flipped_bit {
                    counters.flipped += 1;
                    let bytes = Rc::get_mut(&mut content).expect("nobody else has it yet");
                    bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
                }
                counters.doubled += u64::from(again.is_some());
                event.kind = kind::ARRIVES;
                event.at = at;
                if self.config.trace.is_some() {
                    event.content = hash64(&content);
                }
                let inbox = self.inboxes.get_mut(&to).expect("just seen");
                // It may be long since anybody read: what it loses by that is lost by now.
                counters.buffer_full += inbox.settle(now, self.config.recv_buffer_bytes);
                for at in std::iter::once(at).chain(again) {
                    let number = self.parcels;
                    self.parcels += 1;
                    let content = Rc::clone(&content);
                    inbox.put(Parcel { at, number, from, sender: host, ecn, content });
                }
                self.touched.insert(receiver);
            }
        }
        self.record(event);
        left
    }

    pub(crate) fn record_read(&self, now: Mono, host: HostId, parcel: &Parcel) {
        if self.config.trace.is_some() {
            let entity = u64::from(parcel.sender.0) << 32 | u64::from(host.0);
            let content = hash64(&parcel.content);
            let id = parcel.number;
            self.record(TraceEvent { at: now, entity, kind: kind::READ, id, content });
        }
    }

    fn record(&self, event: TraceEvent) {
        if let Some(trace) = &self.config.trace {
            trace.record(event);
        }
    }
}
