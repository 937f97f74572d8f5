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

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::IoSliceMut;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::BytesMut;
use isotherm_reactor::{Handle, Source, Waiter};
use isotherm_seam::{Datagram, Due, Ecn, Entropy, Mono, Nanos, Received, SendRefused};
use quinn_proto::{
    ClientConfig, ConnectError, ConnectionHandle, DatagramEvent, EcnCodepoint, Endpoint,
    EndpointConfig, EndpointEvent, NoneTokenStore, ServerConfig, Transmit,
};

use crate::quic::budget::Budget;
use crate::quic::chance::{self, Cids, CoreTime};
use crate::quic::config::{self, Crypto, QuicConfig};
use crate::quic::counters::QuicCounters;
use crate::quic::link::{Link, LinkState, Phase, QuicSession, Shared, closed_by, farewell};
use crate::quic::null;
use crate::{Closed, Connection, Network, PeerAddr};

/// Buffers that one call of the socket fills. It is not called again before they were looked at.
const RECV_BUFS: usize = 4;
/// What came in a buffer is copied out of it below this length; above, the buffer goes with it
/// and a new one takes its place.
const WORTH_KEEPING: usize = 32 << 10;
/// Buffers that are remembered to be used again: 8 MiB.
const SPENT_MAX: usize = 128;
/// Bytes of datagrams looked at in one turn; the rest waits for the next. Eight answers of 4 KiB:
/// with all that has come in one turn, sixteen calls of a client would go to and fro in one heap,
/// and each side would idle while the other works.
const BYTES_PER_TURN: usize = 32 << 10;
/// Sends of one connection in one turn.
const SENDS_PER_TURN: usize = 4;
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

    /// Takes in what the socket has, as far as a turn goes. Returns how many datagrams that were.
    fn receive(&self, state: &mut State, now: Mono) -> usize {
        let before = state.counters.datagrams_in;
        let mut left = BYTES_PER_TURN;
        let mut is_drained = false;
        while left > 0 {
            let Some((received, data)) = state.unread.front_mut() else {
                if is_drained {
                    break;
                }
                is_drained = self.fetch(state, now) < RECV_BUFS;
                continue;
            };
            let received = *received;
            let one = data.split_to(received.stride_bytes.min(data.len()));
            if data.is_empty() {
                state.unread.pop_front();
            }
            left = left.saturating_sub(one.len());
            state.counters.datagrams_in += 1;
            self.datagram(state, now, &received, one);
        }
        (state.counters.datagrams_in - before) as usize
    }

    /// Takes over what the socket has in one call. Returns how many buffers it has filled.
    fn fetch(&self, state: &mut State, now: Mono) -> usize {
        let mut bufs = std::mem::take(&mut state.bufs);
        let mut received = std::mem::take(&mut state.received);
        received.clear();
        let mut slices: [IoSliceMut<'_>; RECV_BUFS] = {
            let mut bufs = bufs.iter_mut();
            std::array::from_fn(|_| IoSliceMut::new(bufs.next().expect("as many as slices")))
        };
        let count = state.socket.recv_batch(now, &mut slices, &mut received);
        for (buf, received) in bufs.iter_mut().zip(&received) {
            state.counters.receives += 1;
            state.counters.bytes_in += received.len_bytes as u64;
            if received.len_bytes == 0 {
                continue;
            }
            let data = if received.len_bytes < WORTH_KEEPING {
                BytesMut::from(&buf[..received.len_bytes])
            } else {
                let fresh = state.spent.renew(state.recv_bytes);
                let mut rest = std::mem::replace(buf, fresh);
                let full = rest.split_to(received.len_bytes);
                state.spent.keep(rest);
                full
            };
            state.unread.push_back((*received, data));
        }
        state.bufs = bufs;
        state.received = received;
        count
    }

    fn datagram(&self, state: &mut State, now: Mono, received: &Received, data: BytesMut) {
        let at = self.instant(now);
        let ecn = received.ecn.and_then(|ecn| EcnCodepoint::from_bits(ecn as u8));
        state.out.clear();
        let (endpoint, out) = (&mut state.endpoint, &mut state.out);
        let handled = catch_unwind(AssertUnwindSafe(|| {
            endpoint.handle(at, received.from, received.to_ip, ecn, data, out)
        }));
        match handled {
            Err(_) => state.counters.panics += 1,
            Ok(None) => state.counters.junk += 1,
            Ok(Some(DatagramEvent::ConnectionEvent(handle, event))) => {
                let Some(link) = state.links.get(&handle.0).cloned() else { return };
                self.guard(state, &link, |link| {
                    if let Some(conn) = &mut link.state.borrow_mut().conn {
                        conn.handle_event(event);
                    }
                });
                link.has_mail.set(true);
                self.touch(&link);
            }
            Ok(Some(DatagramEvent::NewConnection(incoming))) => {
                self.admit(state, now, incoming);
            }
            Ok(Some(DatagramEvent::Response(transmit))) => {
                state.counters.junk += 1;
                self.respond(state, now, &transmit);
            }
        }
    }

    /// Whether to talk to a stranger.
    fn admit(&self, state: &mut State, now: Mono, incoming: quinn_proto::Incoming) {
        self.renew(state);
        state.out.clear();
        if state.incoming >= self.config.connections_max {
            state.counters.refused_full += 1;
            let transmit = state.endpoint.refuse(incoming, &mut state.out);
            return self.respond(state, now, &transmit);
        }
        if state.half_open >= self.config.half_open_max {
            state.counters.ignored_half_open += 1;
            return state.endpoint.ignore(incoming);
        }
        if state.half_open >= self.config.retry_above && !incoming.remote_address_validated() {
            state.counters.retries += 1;
            let transmit = state.endpoint.retry(incoming, &mut state.out);
            let transmit = transmit.expect("one that was not validated may be asked");
            return self.respond(state, now, &transmit);
        }
        let (at, from) = (self.instant(now), incoming.remote_address());
        let (endpoint, out) = (&mut state.endpoint, &mut state.out);
        let accepted = catch_unwind(AssertUnwindSafe(|| {
            let accepted = endpoint.accept(incoming, at, out, None);
            accepted.map_err(|error| (closed_by(&error.cause), error.response))
        }));
        match accepted {
            Err(_) => state.counters.panics += 1,
            Ok(Err((why, response))) => {
                // TLS has looked at the first message already.
                match why {
                    Closed::Untrusted => state.counters.refused_untrusted += 1,
                    Closed::Protocol => state.counters.refused_protocol += 1,
                    _ => state.counters.junk += 1,
                }
                if let Some(transmit) = response {
                    self.respond(state, now, &transmit);
                }
            }
            Ok(Ok((handle, conn))) => {
                let peer = PeerAddr { addr: from, name: String::new() };
                self.add(state, now, handle, conn, peer);
                state.half_open += 1;
                state.incoming += 1;
            }
        }
    }

    fn add(
        &self,
        state: &mut State,
        now: Mono,
        handle: ConnectionHandle,
        conn: quinn_proto::Connection,
        peer: PeerAddr,
    ) -> Rc<Link> {
        let until = now + self.config.handshake_timeout;
        let link = Link::new(&self.me, &self.core, &self.shared, conn, peer, now, until);
        link.handle.set(Some(handle));
        let before = state.links.insert(handle.0, Rc::clone(&link));
        debug_assert!(before.is_none(), "quinn-proto uses a number again once it is drained");
        self.touch(&link);
        link
    }

    /// Takes new identities into use.
    fn renew(&self, state: &mut State) {
        if let Crypto::Tls(identities) = &self.config.crypto
            && identities.generation() != state.setup.generation
        {
            let setup = Setup::new(&self.config, state.setup.cids.clone(), &state.time);
            state.endpoint.set_server_config(Some(Arc::clone(&setup.server)));
            state.setup = setup;
        }
    }

    /// Runs what may panic on behalf of one connection.
    fn guard(&self, state: &mut State, link: &Rc<Link>, run: impl FnOnce(&Rc<Link>)) {
        if catch_unwind(AssertUnwindSafe(|| run(link))).is_err() {
            state.counters.panics += 1;
            self.bury_broken(state, link);
        }
    }

    /// Ends a connection whose state can't be believed any more.
    fn bury_broken(&self, state: &mut State, link: &Rc<Link>) {
        let link_state = &mut *link.state.borrow_mut();
        let conn = link_state.conn.take();
        // What it owns may be as broken as it.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(conn)));
        if !matches!(link_state.phase, Phase::Over(_)) {
            self.close_half_open(state, link_state.phase, link_state.dialled);
            link.over_with(link_state, Closed::Protocol);
        }
        if let Some(handle) = link.handle.get() {
            state.endpoint.handle_event(handle, EndpointEvent::drained());
            self.forget(state, handle, link_state);
        }
    }

    fn close_half_open(&self, state: &mut State, was: Phase, dialled: bool) {
        if was == Phase::Handshake && !dialled {
            state.half_open -= 1;
        }
    }

    /// Sends what a stranger is told. It is not kept where there is no room.
    fn respond(&self, state: &mut State, now: Mono, transmit: &Transmit) {
        if state.blocked.is_none() {
            let out = std::mem::take(&mut state.out);
            let _ = self.send(state, now, transmit, &out[..transmit.size]);
            state.out = out;
        }
    }

    fn send(
        &self,
        state: &mut State,
        now: Mono,
        transmit: &Transmit,
        contents: &[u8],
    ) -> Result<(), SendRefused> {
        let sent = state.socket.send(
            now,
            &isotherm_seam::Transmit {
                to: transmit.destination,
                from_ip: transmit.src_ip,
                ecn: transmit.ecn.and_then(|ecn| Ecn::from_bits(ecn as u8)),
                contents,
                segment_bytes: transmit.segment_size,
            },
        );
        match sent {
            Ok(()) => {
                let each = transmit.segment_size.unwrap_or(contents.len()).max(1);
                state.counters.sends += 1;
                state.counters.datagrams_out += contents.len().div_ceil(each) as u64;
                state.counters.bytes_out += contents.len() as u64;
            }
            Err(SendRefused::Full) => state.counters.sends_full += 1,
            Err(SendRefused::Unreachable { .. }) => state.counters.sends_unreachable += 1,
        }
        sent
    }

    /// Lets the connections whose time has come know.
    fn fire(&self, state: &mut State, now: Mono) {
        while let Some(&(at, index)) = state.timers.first()
            && at <= now
        {
            state.timers.pop_first();
            let Some(link) = state.links.get(&index).cloned() else { continue };
            let at = self.instant(now);
            self.guard(state, &link, |link| {
                let link_state = &mut *link.state.borrow_mut();
                link_state.timer = None;
                if let Some(conn) = &mut link_state.conn
                    && conn.poll_timeout().is_some_and(|due| due <= at)
                {
                    conn.handle_timeout(at);
                }
            });
            let link_state = &mut *link.state.borrow_mut();
            if link_state.handshake_until.is_some_and(|until| until <= now) {
                self.close_half_open(state, link_state.phase, link_state.dialled);
                link.give_up(link_state, &mut state.counters);
            }
            self.touch(&link);
        }
    }

    /// Drives what was touched before this turn. Where the socket has no room, connections still
    /// take in what has come.
    fn drive_all(&self, state: &mut State, now: Mono) {
        let count = self.touched.borrow().len();
        for _ in 0..count {
            let has_room = self.flush(state, now);
            let Some(link) = self.touched.borrow_mut().pop_front() else { return };
            link.is_touched.set(false);
            let driven = catch_unwind(AssertUnwindSafe(|| {
                if !self.settle(state, &link) {
                    return false;
                }
                if !has_room {
                    return true;
                }
                // Whom its news has woken runs next, and has something to send: one packet then
                // carries that and the acknowledgement. It waits for one turn, no more.
                if link.has_mail.take() && !link.is_deferred.replace(true) {
                    return true;
                }
                link.is_deferred.set(false);
                self.transmit(state, &link, now)
            }));
            match driven {
                Ok(true) => self.touch(&link),
                Ok(false) => {}
                Err(_) => {
                    state.counters.panics += 1;
                    self.bury_broken(state, &link);
                }
            }
        }
    }

    /// Sends what the socket had no room for. False if it still has none.
    fn flush(&self, state: &mut State, now: Mono) -> bool {
        let Some((transmit, contents)) = state.blocked.take() else { return true };
        if self.send(state, now, &transmit, &contents) == Err(SendRefused::Full) {
            state.blocked = Some((transmit, contents));
            return false;
        }
        true
    }

    /// Takes in what a connection has to say. False if it is gone.
    fn settle(&self, state: &mut State, link: &Rc<Link>) -> bool {
        let link_state = &mut *link.state.borrow_mut();
        let Some(handle) = link.handle.get() else { return false };
        let was = link_state.phase;
        loop {
            if link.take_events(link_state, &mut state.counters) && !link_state.dialled {
                state.accepted.push_back(Rc::clone(link));
                self.acceptor.wake();
            }
            link.unstick(link_state);
            let Some(conn) = &mut link_state.conn else { return false };
            let mut is_drained = false;
            let mut answered = false;
            while let Some(event) = conn.poll_endpoint_events() {
                is_drained |= event.is_drained();
                if let Some(event) = state.endpoint.handle_event(handle, event) {
                    conn.handle_event(event);
                    answered = true;
                }
            }
            if is_drained {
                // It can't have been open: its end came with an event.
                if !matches!(link_state.phase, Phase::Over(_)) {
                    link.over_with(link_state, Closed::Silent);
                }
                self.account(state, was, link_state.phase, link_state.dialled);
                self.forget(state, handle, link_state);
                return false;
            }
            if !answered {
                break;
            }
        }
        self.account(state, was, link_state.phase, link_state.dialled);
        true
    }

    /// Sends what a connection has. True if that is more than its turn allows.
    fn transmit(&self, state: &mut State, link: &Rc<Link>, now: Mono) -> bool {
        let link_state = &mut *link.state.borrow_mut();
        let Some(handle) = link.handle.get() else { return false };
        let limits = state.socket.limits();
        let at_once =
            limits.send_segments_max.min(limits.send_bytes_max / usize::from(self.config.mtu));
        let at = self.instant(now);
        let mut is_more = true;
        for _ in 0..SENDS_PER_TURN {
            let Some(conn) = &mut link_state.conn else { return false };
            state.out.clear();
            let Some(transmit) = conn.poll_transmit(at, at_once.max(1), &mut state.out) else {
                is_more = false;
                break;
            };
            let out = std::mem::take(&mut state.out);
            let sent = self.send(state, now, &transmit, &out[..transmit.size]);
            if sent == Err(SendRefused::Full) {
                let contents = out[..transmit.size].to_vec();
                state.blocked = Some((transmit, contents));
                state.out = out;
                break;
            }
            state.out = out;
        }
        self.set_timer(state, link_state, handle);
        is_more
    }

    /// Keeps the count of incoming handshakes under way.
    fn account(&self, state: &mut State, was: Phase, is: Phase, dialled: bool) {
        if is != Phase::Handshake {
            self.close_half_open(state, was, dialled);
        }
    }

    /// Puts the connection's next time into the list. A time that has moved away is left where
    /// it is: it is looked at once for nothing, which is cheaper than moving it with each packet.
    fn set_timer(&self, state: &mut State, link: &mut LinkState, handle: ConnectionHandle) {
        let due = link.conn.as_mut().and_then(quinn_proto::Connection::poll_timeout);
        let due = due.map(|at| self.mono(at));
        let due = [due, link.handshake_until].into_iter().flatten().min();
        let Some(due) = due else { return };
        if link.timer.is_some_and(|timer| timer <= due) {
            return;
        }
        if let Some(timer) = link.timer.replace(due) {
            state.timers.remove(&(timer, handle.0));
        }
        state.timers.insert((due, handle.0));
    }

    /// The endpoint knows it no longer.
    fn forget(&self, state: &mut State, handle: ConnectionHandle, link: &mut LinkState) {
        if let Some(timer) = link.timer.take() {
            state.timers.remove(&(timer, handle.0));
        }
        if !link.dialled {
            state.incoming -= 1;
        }
        add(&mut state.counters, link);
        link.conn = None;
        if let Some(link) = state.links.remove(&handle.0) {
            link.handle.set(None);
        }
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
