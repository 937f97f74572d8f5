//! One endpoint of one core: a socket, the connections on it, and the turn that drives them.
//!
//! What must always hold:
//! - a turn costs what was touched: connections are driven when a datagram, a timer or a task has
//!   touched them, and never looked for;
//! - a turn is bounded: so many bytes in, so many sends for each connection; what is left waits
//!   for the next turn, behind the others;
//! - what strangers can make it hold is bounded: connections, half-open handshakes, and what is
//!   buffered for them;
//! - a connection whose code panics is closed and counted; the core and its neighbours go on.
//!
//! ```text
//! turn: socket ──> datagrams ──> connections ─┐
//!                  timers ────────────────────┼──> touched: events ──> sessions ──> wakers
//!                  calls, answers (tasks) ────┘             packets ──> socket
//! ```

mod drive;
mod receive;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::BytesMut;
use isotherm_reactor::{Handle, Source, Waiter};
use isotherm_seam::{Datagram, Due, Entropy, Mono, Nanos, Received};
use quinn_proto::{
    ClientConfig, ConnectError, Endpoint, EndpointConfig, NoneTokenStore, ServerConfig, Transmit,
};

use crate::quic::budget::Budget;
use crate::quic::chance::{self, Cids, CoreTime};
use crate::quic::config::{self, Crypto, QuicConfig};
use crate::quic::counters::QuicCounters;
use crate::quic::link::{Link, LinkState, Phase, QuicSession, Shared, farewell};
use crate::quic::null;
use crate::{Closed, Connection, Network, PeerAddr};

/// Buffers that one call of the socket fills. It is not called again before they were looked at.
const RECV_BUFS: usize = 4;
/// What came in a buffer is copied out of it below this length; above, the buffer goes with it
/// and a new one takes its place.
const WORTH_KEEPING: usize = 32 << 10;
/// Buffers that are remembered to be used again: 8 MiB.
const SPENT_MAX: usize = 128;
/// Packets kept for incoming handshakes that were not looked at yet. They are looked at at once.
const INCOMING_BYTES: u64 = 64 << 10;
const INCOMING_BYTES_TOTAL: u64 = 4 << 20;

/// An endpoint. It is its core's source of network events, and the [`Network`] of what runs there.
pub struct Quic {
    me: Weak<Quic>,
    core: Handle,
    /// Time zero of the core, as quinn-proto wants it: only differences matter.
    base: Instant,
    config: QuicConfig,
    local: SocketAddr,
    state: RefCell<State>,
    /// Connections to be driven, the longest waiting first. Apart from `state`, because sessions
    /// add to it while the endpoint is at work.
    touched: RefCell<VecDeque<Rc<Link>>>,
    acceptor: Waiter,
    shared: Shared,
}

struct State {
    endpoint: Endpoint,
    socket: Box<dyn Datagram>,
    links: BTreeMap<usize, Rc<Link>>,
    timers: BTreeSet<(Mono, usize)>,
    accepted: VecDeque<Rc<Link>>,
    half_open: usize,
    incoming: usize,
    setup: Setup,
    time: Arc<CoreTime>,
    counters: QuicCounters,
    bufs: Vec<BytesMut>,
    spent: Spent,
    recv_bytes: usize,
    received: Vec<Received>,
    /// What has come and was not looked at yet.
    unread: VecDeque<(Received, BytesMut)>,
    out: Vec<u8>,
    /// What the socket had no room for. Nothing else is sent before it.
    blocked: Option<(Transmit, Vec<u8>)>,
}

/// Receive buffers that went up with what they brought, by their unused ends. Once nobody reads
/// the rest of one any more it is used again: fresh memory would cost a page fault each 4 KiB.
#[derive(Default)]
struct Spent(VecDeque<BytesMut>);

impl Spent {
    fn keep(&mut self, rest: BytesMut) {
        if self.0.len() == SPENT_MAX {
            self.0.pop_front();
        }
        self.0.push_back(rest);
    }

    /// A buffer of this length: the oldest if it is free again, or a new one.
    fn renew(&mut self, len: usize) -> BytesMut {
        if self.0.front_mut().is_some_and(|oldest| {
            oldest.clear();
            oldest.try_reclaim(len)
        }) {
            let mut oldest = self.0.pop_front().expect("it was looked at");
            oldest.resize(len, 0);
            return oldest;
        }
        BytesMut::zeroed(len)
    }
}

/// What new connections are made with.
struct Setup {
    /// The identities' generation that it was made from.
    generation: u64,
    client: ClientConfig,
    server: Arc<ServerConfig>,
    cids: Cids,
}

impl Quic {
    /// An endpoint on this core, which turns it from now on.
    pub fn open(
        core: &Handle,
        socket: Box<dyn Datagram>,
        config: QuicConfig,
        entropy: &dyn Entropy,
    ) -> Rc<Quic> {
        let quic = Rc::new_cyclic(|me| Quic::new(me, core, socket, config, entropy));
        core.add_source(Rc::clone(&quic) as Rc<dyn Source>);
        quic
    }

    #[expect(clippy::disallowed_methods, reason = "a base for differences: no time is taken")]
    fn new(
        me: &Weak<Quic>,
        core: &Handle,
        socket: Box<dyn Datagram>,
        config: QuicConfig,
        entropy: &dyn Entropy,
    ) -> Quic {
        let cids = Cids::new(entropy);
        let time = Arc::new(CoreTime::default());
        let mut endpoint = EndpointConfig::new(config.keys.reset_key());
        let factory = cids.clone();
        endpoint
            .cid_generator(move || Box::new(factory.clone()))
            .supported_versions(vec![1])
            .grease_quic_bit(false)
            .max_udp_payload_size(config.mtu)
            .expect("the configuration has checked it")
            .rng_seed(Some(chance::bytes(entropy)));
        let setup = Setup::new(&config, cids, &time);
        let server = Some(Arc::clone(&setup.server));
        let recv_bytes = socket.limits().recv_bytes_max;
        let state = State {
            endpoint: Endpoint::new(Arc::new(endpoint), server, true, None),
            links: BTreeMap::new(),
            timers: BTreeSet::new(),
            accepted: VecDeque::new(),
            half_open: 0,
            incoming: 0,
            setup,
            time,
            counters: QuicCounters::default(),
            bufs: (0..RECV_BUFS).map(|_| BytesMut::zeroed(recv_bytes)).collect(),
            spent: Spent::default(),
            recv_bytes,
            received: Vec::with_capacity(RECV_BUFS),
            unread: VecDeque::with_capacity(RECV_BUFS),
            out: Vec::with_capacity(socket.limits().send_bytes_max),
            blocked: None,
            socket,
        };
        Quic {
            me: me.clone(),
            core: core.clone(),
            base: Instant::now(),
            local: state.socket.local(),
            shared: Shared { loans: Rc::default(), budget: Budget::new(config.held_bytes_max) },
            config,
            state: RefCell::new(state),
            touched: RefCell::default(),
            acceptor: core.waiter(),
        }
    }

    /// The core's time as quinn-proto wants it.
    pub(crate) fn instant(&self, now: Mono) -> Instant {
        self.base + config::duration(Nanos(now.0))
    }

    fn mono(&self, at: Instant) -> Mono {
        Mono(at.saturating_duration_since(self.base).as_nanos() as u64)
    }

    /// Has it driven in the next turn.
    pub(crate) fn touch(&self, link: &Rc<Link>) {
        if !link.is_touched.replace(true) {
            self.touched.borrow_mut().push_back(Rc::clone(link));
        }
    }

    /// What it has done so far.
    pub fn counters(&self) -> QuicCounters {
        let state = &mut *self.state.borrow_mut();
        let mut counters = state.counters;
        counters.connections = state.links.len() as u64;
        counters.half_open = state.half_open as u64;
        counters.held_bytes = self.shared.budget.held_bytes();
        for link in state.links.values() {
            add(&mut counters, &link.state.borrow());
        }
        counters
    }

    /// Closes the connections that are older than this and have nothing under way, so that peers
    /// dial anew, with new certificates. Returns how many of that age are still busy.
    pub fn close_older_than(&self, age: Nanos) -> usize {
        let now = self.core.now();
        let links: Vec<_> = self.state.borrow().links.values().cloned().collect();
        let old = |link: &&Rc<Link>| {
            let state = link.state.borrow();
            state.phase == Phase::Open && now.since(state.since) > age
        };
        let mut busy = 0;
        for link in links.iter().filter(old) {
            if link.is_idle() {
                link.end(&mut link.state.borrow_mut(), Closed::Here, farewell::DONE);
                self.touch(link);
            } else {
                busy += 1;
            }
        }
        busy
    }
}

/// Adds what one connection has counted.
fn add(counters: &mut QuicCounters, link: &LinkState) {
    counters.calls += link.counters.calls;
    counters.requests += link.counters.requests;
    if let Some(conn) = &link.conn {
        counters.packets_lost += conn.stats().path.lost_packets;
    }
}

impl Setup {
    fn new(config: &QuicConfig, cids: Cids, time: &Arc<CoreTime>) -> Setup {
        let (client, server, generation) = match &config.crypto {
            Crypto::Tls(identities) => {
                let generation = identities.generation();
                let identity = identities.current();
                let client: Arc<dyn quinn_proto::crypto::ClientConfig> = identity.client;
                let server: Arc<dyn quinn_proto::crypto::ServerConfig> = identity.server;
                (client, server, generation)
            }
            Crypto::Null { name } => {
                let null = Arc::new(null::NullConfig::new(name, cids.clone()));
                (null.clone() as _, null as _, 0)
            }
            Crypto::Custom { client, server } => (Arc::clone(client), Arc::clone(server), 0),
        };
        let mut client = ClientConfig::new(client);
        let first = cids.clone();
        client
            .transport_config(Arc::new(config::transport(config, true)))
            .token_store(Arc::new(NoneTokenStore))
            .initial_dst_cid_provider(Arc::new(move || first.first()));
        let mut server = ServerConfig::new(server, config.keys.token_key());
        server
            .transport_config(Arc::new(config::transport(config, false)))
            .migration(false)
            .max_incoming(config.half_open_max)
            .incoming_buffer_size(INCOMING_BYTES)
            .incoming_buffer_size_total(INCOMING_BYTES_TOTAL)
            .time_source(Arc::clone(time) as _);
        Setup { generation, client, server: Arc::new(server), cids }
    }
}

impl Source for Quic {
    fn turn(&self, now: Mono) -> usize {
        let state = &mut *self.state.borrow_mut();
        state.time.set(now);
        let events = self.receive(state, now);
        self.fire(state, now);
        if !self.touched.borrow().is_empty() {
            self.drive_all(state, now);
        }
        self.shared.loans.reclaim();
        events
    }

    fn due(&self) -> Due {
        let state = self.state.borrow();
        let socket = state.socket.due();
        let is_touched = state.blocked.is_none() && !self.touched.borrow().is_empty();
        if is_touched || !state.unread.is_empty() {
            return Due::Now;
        }
        let timer = state.timers.first().map_or(Due::Idle, |&(at, _)| Due::At(at));
        socket.min(timer)
    }
}

impl Network for Quic {
    fn dial(&self, to: &PeerAddr) -> Connection {
        let state = &mut *self.state.borrow_mut();
        let now = self.core.now();
        self.renew(state);
        let config = state.setup.client.clone();
        let dialled = state.endpoint.connect(self.instant(now), config, to.addr, &to.name);
        let peer = PeerAddr { addr: to.addr, name: String::new() };
        let link = match dialled {
            Ok((handle, conn)) => self.add(state, now, handle, conn, peer),
            Err(error) => {
                let why = match error {
                    // No certificate can carry it.
                    ConnectError::InvalidServerName(_) => Closed::Untrusted,
                    ConnectError::CidsExhausted => Closed::Full,
                    _ => Closed::Silent,
                };
                Link::over(&self.me, &self.core, &self.shared, peer, why, now)
            }
        };
        Connection::new(Rc::new(QuicSession(link)))
    }

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<Connection> {
        match self.state.borrow_mut().accepted.pop_front() {
            Some(link) => Poll::Ready(Connection::new(Rc::new(QuicSession(link)))),
            None => {
                self.acceptor.wait(cx);
                Poll::Pending
            }
        }
    }

    fn local(&self) -> SocketAddr {
        self.local
    }
}

impl Drop for Quic {
    /// Tells the peers, as far as the socket has room.
    fn drop(&mut self) {
        let now = self.core.now();
        let at = self.instant(now);
        let state = &mut *self.state.borrow_mut();
        for (_, link) in std::mem::take(&mut state.links) {
            let link_state = &mut *link.state.borrow_mut();
            let said = catch_unwind(AssertUnwindSafe(|| {
                let conn = link_state.conn.as_mut()?;
                conn.close(at, farewell::DONE, bytes::Bytes::new());
                state.out.clear();
                conn.poll_transmit(at, 1, &mut state.out)
            }));
            if let Ok(Some(transmit)) = said {
                self.respond(state, now, &transmit);
            }
            if !matches!(link_state.phase, Phase::Over(_)) {
                link.over_with(link_state, Closed::Here);
            }
            link_state.conn = None;
        }
        self.shared.loans.reclaim();
    }
}
