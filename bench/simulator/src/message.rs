//! Sessions in virtual time whose messages are single events: what a reliable transport would
//! show of a network, without its packets.
//!
//! What must always hold: the promises of `transport::Session`. Loss is seen as delay, a cut as
//! delay and then as silence, a peer that restarts as a reset. A message arrives whole or not at
//! all. Each fate is drawn by link and number, so what other links carry never changes it.
//!
//! ```text
//! call ─> [beyond calls_max, or no handshake yet: waits here] ─> link: queue, delay, jitter,
//!     a retransmission time for each loss ─> arrives, unless the link is cut or the host stands
//!     still: then it is sent again and again, until its sender or the session is gone
//! ```
//!
//! | file         | what it holds                                                |
//! |--------------|--------------------------------------------------------------|
//! | `message.rs` | [`MessageNetwork`]: the world's hand on it; the events       |
//! | `message/route.rs` | links, hosts, and when a message arrives               |
//! | `message/end.rs`   | one side of a session                                  |
//! | `message/ends.rs`  | all sides of all sessions                              |
//! | `message/endpoint.rs` | where sessions come from                            |

mod end;
mod endpoint;
mod ends;
mod route;

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::SocketAddr;
use std::rc::Rc;

use isotherm_reactor::Handle;
use isotherm_seam::{Clock, Mono, Nanos};
use isotherm_sim::{HostId, LinkShape, SimClock, Trace, TraceEvent, hash64};
use isotherm_transport::{CallError, Closed, Connection, Frame};

pub use endpoint::MessageEndpoint;

use end::End;
use ends::Ends;
use route::{Host, Route};

/// How a network of messages is made.
#[derive(Clone, Debug)]
pub struct MessageConfig {
    /// The seed of the run.
    pub seed: u64,
    /// What links are like. Loss and flipped bits of a message's datagrams cost time; doubles
    /// are never seen.
    pub shape: LinkShape,
    /// A session that hears nothing of its peer for so long is over.
    pub idle_timeout: Nanos,
    /// A handshake takes no longer.
    pub handshake_timeout: Nanos,
    /// A session that has nothing to say says so this often.
    pub keep_alive: Nanos,
    /// The time to the first retransmission; it doubles up to a second.
    pub retransmit: Nanos,
    /// Calls of one side of a session that the peer has, or that are on their way; more wait.
    pub calls_max: usize,
    /// Told messages that the peer has not read.
    pub told_max: usize,
    /// Sessions of one endpoint.
    pub sessions_max: usize,
    /// Records each message as it arrives.
    pub trace: Option<Trace>,
}

impl MessageConfig {
    /// A network on which nothing goes wrong.
    #[must_use]
    pub fn new(seed: u64) -> MessageConfig {
        MessageConfig {
            seed,
            shape: LinkShape::default(),
            idle_timeout: Nanos::from_secs(10),
            handshake_timeout: Nanos::from_secs(5),
            keep_alive: Nanos::from_secs(3),
            retransmit: Nanos::from_millis(25),
            calls_max: 256,
            told_max: 1024,
            sessions_max: 1024,
            trace: None,
        }
    }
}

/// What became of messages so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MessageCounters {
    /// That arrived.
    pub arrived: u64,
    /// Bytes of those.
    pub arrived_bytes: u64,
    /// Datagrams of messages that were lost and sent again.
    pub lost: u64,
    /// Messages that found a cut link or a host that stands still, and were sent again.
    pub blocked: u64,
    /// Sessions that came about.
    pub sessions: u64,
    /// Sides of sessions that ended by silence.
    pub silent: u64,
    /// Sides of sessions that ended because the peer has no memory of them.
    pub reset: u64,
}

/// The world's hand on a network of messages. Clones are handles to the same one.
#[derive(Clone)]
pub struct MessageNetwork {
    shared: Rc<RefCell<Net>>,
}

pub(crate) struct Net {
    config: MessageConfig,
    clock: SimClock,
    heap: BinaryHeap<Reverse<(Mono, u64, u32)>>,
    events: Vec<Option<Event>>,
    free: Vec<u32>,
    made: u64,
    route: Route,
    hosts: BTreeMap<HostId, Host>,
    endpoints: BTreeMap<SocketAddr, Rc<MessageEndpoint>>,
    /// Whose an address is, also while nobody listens there.
    addrs: BTreeMap<SocketAddr, HostId>,
    ends: Ends,
    touched: Vec<HostId>,
    counters: MessageCounters,
}

#[expect(clippy::large_enum_variant, reason = "nearly all events are messages")]
enum Event {
    Message {
        from: HostId,
        to: HostId,
        /// The side that sends; it sends again only while it is there.
        sender: u64,
        /// When the last of it has left its host.
        left: Mono,
        attempt: u32,
        what: What,
    },
    /// Has this side heard nothing since?
    Idle { end: u64, since: Mono },
    /// The next packet of this side finds nobody.
    Probe { end: u64 },
    /// Is the handshake done?
    Handshake { end: u64 },
}

/// What a message is.
enum What {
    Dial {
        to: SocketAddr,
        name: String,
    },
    Accepted {
        end: u64,
        far: u64,
    },
    Declined {
        end: u64,
        why: Closed,
    },
    /// The third flight of a handshake.
    Done {
        end: u64,
    },
    /// Whoever asked may have given up meanwhile.
    Request {
        end: u64,
        call: u64,
        is_wanted: bool,
        frame: Frame,
    },
    Answer {
        end: u64,
        call: u64,
        answer: Result<Frame, CallError>,
    },
    Abandon {
        end: u64,
        call: u64,
    },
    Told {
        end: u64,
        number: u64,
        message: Box<[u8]>,
    },
    Close {
        end: u64,
    },
}

/// Bytes of a message that has no body.
const BARE_BYTES: usize = 64;

impl What {
    fn len_bytes(&self) -> usize {
        match self {
            What::Request { frame, .. } | What::Answer { answer: Ok(frame), .. } => {
                frame.len_bytes()
            }
            What::Told { message, .. } => BARE_BYTES + message.len(),
            What::Dial { .. } | What::Accepted { .. } => 1200,
            _ => BARE_BYTES,
        }
    }

    /// Whether it overtakes payload.
    fn is_urgent(&self) -> bool {
        !matches!(self, What::Request { .. } | What::Answer { .. })
    }

    /// Which side of which session takes it; `None` for one without a session yet.
    fn end(&self) -> Option<u64> {
        match self {
            What::Dial { .. } => None,
            What::Accepted { end, .. }
            | What::Declined { end, .. }
            | What::Done { end }
            | What::Request { end, .. }
            | What::Answer { end, .. }
            | What::Abandon { end, .. }
            | What::Told { end, .. }
            | What::Close { end } => Some(*end),
        }
    }

    /// For the trace: its kind, its number, its content.
    fn digest(&self) -> (u32, u64, u64) {
        let content = |frame: &Frame| hash64(&frame.header) ^ u64::from(frame.body.crc());
        match self {
            What::Dial { .. } => (1, 0, 0),
            What::Accepted { .. } => (2, 0, 0),
            What::Declined { .. } => (3, 0, 0),
            What::Done { .. } => (4, 0, 0),
            What::Request { call, frame, .. } => (5, *call, content(frame)),
            What::Answer { call, answer: Ok(frame), .. } => (6, *call, content(frame)),
            What::Answer { call, .. } => (7, *call, 0),
            What::Abandon { call, .. } => (8, *call, 0),
            What::Told { number, message, .. } => (9, *number, hash64(message)),
            What::Close { .. } => (10, 0, 0),
        }
    }
}

impl MessageNetwork {
    /// A network without hosts on this clock.
    #[must_use]
    pub fn new(config: MessageConfig, clock: SimClock) -> MessageNetwork {
        let route = Route::new(config.seed, config.shape);
        let net = Net {
            config,
            clock,
            heap: BinaryHeap::new(),
            events: Vec::new(),
            free: Vec::new(),
            made: 0,
            route,
            hosts: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            addrs: BTreeMap::new(),
            ends: Ends::default(),
            touched: Vec::new(),
            counters: MessageCounters::default(),
        };
        MessageNetwork { shared: Rc::new(RefCell::new(net)) }
    }

    /// An endpoint of a host on a core of it. Peers that still have sessions with what had the
    /// address before learn that it lost its memory.
    #[must_use]
    pub fn endpoint(
        &self,
        host: HostId,
        addr: SocketAddr,
        name: &str,
        handle: &Handle,
    ) -> Rc<MessageEndpoint> {
        let endpoint = MessageEndpoint::new(&self.shared, host, addr, name, handle);
        let net = &mut *self.shared.borrow_mut();
        net.hosts.entry(host).or_default().is_up = true;
        net.addrs.insert(addr, host);
        net.endpoints.insert(addr, Rc::clone(&endpoint));
        endpoint
    }

    /// What links are like from now on where nobody said otherwise.
    pub fn set_shape(&self, shape: LinkShape) {
        self.shared.borrow_mut().route.set_shape(shape);
    }

    /// What one direction is like from now on.
    pub fn set_link(&self, from: HostId, to: HostId, shape: LinkShape) {
        self.shared.borrow_mut().route.link(from, to).shape = shape;
    }

    /// Cuts one direction.
    pub fn cut(&self, from: HostId, to: HostId) {
        let net = &mut *self.shared.borrow_mut();
        net.route.link(from, to).is_cut = true;
        net.listen();
    }

    /// Cuts both directions between every host of one set and every host of the other.
    pub fn partition(&self, one: &[HostId], other: &[HostId]) {
        let net = &mut *self.shared.borrow_mut();
        for &a in one {
            for &b in other {
                net.route.link(a, b).is_cut = true;
                net.route.link(b, a).is_cut = true;
            }
        }
        net.listen();
    }

    /// Mends one direction.
    pub fn mend(&self, from: HostId, to: HostId) {
        let net = &mut *self.shared.borrow_mut();
        net.route.link(from, to).is_cut = false;
        net.listen();
    }

    /// Mends every cut.
    pub fn heal(&self) {
        let net = &mut *self.shared.borrow_mut();
        net.route.mend_all();
        net.listen();
    }

    /// A host loses its power: all that it knew of sessions is gone. What had left it arrives.
    pub fn down(&self, host: HostId) {
        // What is dropped here may hold the last handles to a core; its tasks are gone already.
        let dropped = self.shared.borrow_mut().down(host);
        drop(dropped);
    }

    /// A host stands still, or goes on: nothing reaches it and it says nothing meanwhile.
    pub fn pause(&self, host: HostId, is_paused: bool) {
        let net = &mut *self.shared.borrow_mut();
        net.hosts.entry(host).or_default().is_paused = is_paused;
        net.listen();
    }

    /// When the next event is due.
    #[must_use]
    pub fn next(&self) -> Option<Mono> {
        self.shared.borrow().heap.peek().map(|Reverse((at, _, _))| *at)
    }

    /// Lets everything happen that is due. Returns how many events that were.
    pub fn turn(&self) -> u64 {
        let mut net = self.shared.borrow_mut();
        let now = net.clock.mono();
        let mut count = 0;
        while let Some(&Reverse((at, _, slot))) = net.heap.peek()
            && at <= now
        {
            net.heap.pop();
            net.free.push(slot);
            // A message that was called back leaves its place empty.
            if let Some(event) = net.events[slot as usize].take() {
                net.happen(now, event);
                count += 1;
            }
        }
        count
    }

    /// Hosts whose tasks were woken since the last call, some perhaps twice.
    pub fn take_touched(&self, into: &mut Vec<HostId>) {
        into.append(&mut self.shared.borrow_mut().touched);
    }

    /// What became of messages so far.
    #[must_use]
    pub fn counters(&self) -> MessageCounters {
        self.shared.borrow().counters
    }

    /// Events that lie ahead.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.shared.borrow().heap.len()
    }

    /// Sides of sessions that are open.
    #[must_use]
    pub fn open_ends(&self) -> usize {
        self.shared.borrow().ends.len()
    }
}

impl Net {
    fn schedule(&mut self, at: Mono, event: Event) -> u32 {
        let slot = match self.free.pop() {
            Some(slot) => {
                self.events[slot as usize] = Some(event);
                slot
            }
            None => {
                self.events.push(Some(event));
                (self.events.len() - 1) as u32
            }
        };
        let number = self.made;
        self.made += 1;
        self.heap.push(Reverse((at, number, slot)));
        slot
    }

    /// Sends a message of a side to its peer's host.
    fn send(&mut self, end: &End, what: What) -> Option<(u32, Mono)> {
        let to = end.peer_host.get()?;
        Some(self.send_between(end.host, to, end.id, what))
    }

    fn send_between(&mut self, from: HostId, to: HostId, sender: u64, what: What) -> (u32, Mono) {
        let now = self.clock.mono();
        let sent = self.route.send(
            now,
            from,
            to,
            what.len_bytes(),
            what.is_urgent(),
            self.config.retransmit,
        );
        self.counters.lost += u64::from(sent.lost);
        // A close is said once, and then only to who asks.
        let is_lost_close = sent.lost > 0 && matches!(what, What::Close { .. });
        let left = sent.left;
        let event = match what {
            What::Close { end } if is_lost_close => Event::Probe { end },
            what => Event::Message { from, to, sender, left, attempt: 0, what },
        };
        (self.schedule(sent.arrives, event), left)
    }

    fn happen(&mut self, now: Mono, event: Event) {
        match event {
            Event::Message { from, to, sender, left, attempt, what } => {
                let reaches = !self.route.link(from, to).is_cut
                    && self.hosts.get(&to).is_some_and(Host::is_awake);
                if !reaches {
                    self.blocked(now, Event::Message { from, to, sender, left, attempt, what });
                } else {
                    self.arrive(now, from, to, sender, what);
                }
            }
            Event::Idle { end, since } => {
                let Some(end) = self.ends.get(end).cloned() else { return };
                if end.deaf_since() == Some(since) {
                    self.counters.silent += 1;
                    self.end_one(&end, Closed::Silent);
                }
            }
            Event::Handshake { end } => {
                let Some(end) = self.ends.get(end).cloned() else { return };
                if !end.is_ready() {
                    self.end_one(&end, Closed::Silent);
                }
            }
            Event::Probe { end } => self.probe(now, end),
        }
    }

    /// A message that found no way: its sender sends it again, if it is still there.
    fn blocked(&mut self, now: Mono, event: Event) {
        let Event::Message { from, to, sender, attempt, what, .. } = event else { return };
        self.counters.blocked += 1;
        if let What::Close { end } = what {
            self.schedule(now + self.config.keep_alive, Event::Probe { end });
            return;
        }
        if self.ends.get(sender).is_none() {
            return;
        }
        let wait = Nanos(self.config.retransmit.0 << attempt.min(10));
        let again = now + wait.min(Nanos::from_secs(1));
        let call = match &what {
            What::Request { call, .. } => Some(*call),
            _ => None,
        };
        let attempt = attempt + 1;
        let event = Event::Message { from, to, sender, left: again, attempt, what };
        let slot = self.schedule(again, event);
        if let Some(call) = call
            && let Some(end) = self.ends.get(sender)
        {
            end.moved(call, slot, again);
        }
    }

    fn arrive(&mut self, now: Mono, from: HostId, to: HostId, sender: u64, what: What) {
        self.counters.arrived += 1;
        self.counters.arrived_bytes += what.len_bytes() as u64;
        if let Some(trace) = &self.config.trace {
            let (kind, id, content) = what.digest();
            let entity = u64::from(from.0) << 32 | u64::from(to.0);
            trace.record(TraceEvent { at: now, entity, kind, id, content });
        }
        let Some(number) = what.end() else {
            if let What::Dial { to, name } = what {
                self.dialled(now, sender, to, &name);
            }
            return;
        };
        let Some(end) = self.ends.get(number).cloned() else {
            // The packet finds nobody: the sender learns that.
            if !matches!(what, What::Close { .. } | What::Declined { .. }) {
                self.schedule(now, Event::Probe { end: sender });
            }
            return;
        };
        self.touched.push(end.host);
        end.take(self, what);
    }

    /// Somebody dials an address of ours.
    fn dialled(&mut self, now: Mono, caller: u64, to: SocketAddr, name: &str) {
        let Some(near) = self.ends.get(caller).cloned() else { return };
        let Some(endpoint) = self.endpoints.get(&to).cloned() else { return };
        let sessions = self.ends.sessions_of(&to);
        let why = if endpoint.name() != name {
            Some(Closed::Untrusted)
        } else if sessions >= self.config.sessions_max {
            Some(Closed::Full)
        } else {
            None
        };
        let (here, there) = (endpoint.host(), near.host);
        if let Some(why) = why {
            self.send_between(here, there, u64::MAX, What::Declined { end: caller, why });
            return;
        }
        let far = self.add_end(endpoint.handle(), here, to, endpoint.peer_of(&near));
        far.meet(&near);
        self.counters.sessions += 1;
        let until = now + self.config.handshake_timeout;
        self.schedule(until, Event::Handshake { end: far.id });
        self.send(&far, What::Accepted { end: caller, far: far.id });
    }

    fn add_end(
        &mut self,
        handle: &Handle,
        host: HostId,
        local: SocketAddr,
        peer: isotherm_transport::PeerAddr,
    ) -> Rc<End> {
        let end = Rc::new(End::new(self.ends.next_id(), host, local, peer, handle));
        self.ends.push(Rc::clone(&end));
        end
    }

    /// The other side of a session, if it is still there.
    fn other(&self, end: &End) -> Option<&Rc<End>> {
        self.ends.get(end.other.get()?)
    }

    /// One side is over and says nothing of it.
    fn end_one(&mut self, end: &Rc<End>, why: Closed) {
        if end.end(why) {
            self.touched.push(end.host);
            self.ends.remove(end.id);
            self.orphaned(end, why);
        }
    }

    /// The other side of this one hears nothing from now on; its next packet tells it why.
    fn orphaned(&mut self, gone: &End, why: Closed) {
        let now = self.clock.mono();
        let Some(other) = self.other(gone).cloned() else { return };
        other.peer_closed.set(why == Closed::Here);
        self.listen_one(now, &other);
        // A close is on its way by itself.
        if why != Closed::Here {
            let at = now + self.config.keep_alive;
            self.schedule(at, Event::Probe { end: other.id });
        }
    }

    /// The next packet of a side whose peer is gone: does it reach a host that knows nothing?
    fn probe(&mut self, now: Mono, end: u64) {
        let Some(end) = self.ends.get(end).cloned() else { return };
        if self.other(&end).is_some() || !end.is_ready() {
            return;
        }
        let Some(peer) = end.peer_host.get() else { return };
        let is_there = self.endpoints.get(&end.peer_addr()).is_some_and(|e| e.host() == peer)
            && self.hosts.get(&peer).is_some_and(Host::is_awake)
            && self.hosts.get(&end.host).is_some_and(Host::is_awake)
            && !self.route.link(end.host, peer).is_cut
            && !self.route.link(peer, end.host).is_cut;
        if is_there {
            let why = if end.peer_closed.get() { Closed::ByPeer } else { Closed::Reset };
            self.counters.reset += u64::from(why == Closed::Reset);
            self.end_one(&end, why);
        } else {
            self.schedule(now + self.config.keep_alive, Event::Probe { end: end.id });
        }
    }

    /// Something has changed between hosts: who hears whom?
    fn listen(&mut self) {
        let now = self.clock.mono();
        let ends: Vec<Rc<End>> = self.ends.iter().cloned().collect();
        ends.iter().for_each(|end| self.listen_one(now, end));
    }

    fn listen_one(&mut self, now: Mono, end: &Rc<End>) {
        let Some(peer) = end.peer_host.get() else { return };
        if !end.is_ready() {
            return;
        }
        let hears = self.other(end).is_some()
            && self.hosts.get(&peer).is_some_and(Host::is_awake)
            && self.hosts.get(&end.host).is_some_and(Host::is_awake)
            && !self.route.link(peer, end.host).is_cut;
        if end.hears(now, hears) {
            let at = now + self.config.idle_timeout;
            self.schedule(at, Event::Idle { end: end.id, since: now });
        }
    }

    #[must_use = "dropped outside of the borrow"]
    fn down(&mut self, host: HostId) -> (Vec<Rc<End>>, Vec<Rc<MessageEndpoint>>, Vec<Event>) {
        let now = self.clock.mono();
        self.hosts.insert(host, Host { is_up: false, is_paused: false });
        let mut events = Vec::new();
        for slot in &mut self.events {
            let is_lost = matches!(
                slot,
                Some(Event::Message { from, left, .. }) if *from == host && *left > now
            );
            if is_lost {
                events.extend(slot.take());
            }
        }
        let addrs: Vec<SocketAddr> =
            self.endpoints.iter().filter(|(_, e)| e.host() == host).map(|(&a, _)| a).collect();
        let endpoints = addrs.iter().filter_map(|addr| self.endpoints.remove(addr)).collect();
        let gone: Vec<Rc<End>> = self.ends.iter().filter(|end| end.host == host).cloned().collect();
        for end in &gone {
            self.ends.remove(end.id);
            end.end(Closed::Here);
        }
        for end in &gone {
            self.orphaned(end, Closed::Reset);
        }
        self.listen();
        (gone, endpoints, events)
    }
}

/// A connection to a side.
fn connection(net: &Rc<RefCell<Net>>, end: &Rc<End>) -> Connection {
    end.belong(net);
    Connection::new(Rc::clone(end) as Rc<dyn isotherm_transport::Session>)
}
