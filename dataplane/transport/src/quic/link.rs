//! One connection: its calls, its requests, and what became of it.
//!
//! What must always hold:
//! - a stream that ends early is reset, never finished: a cut message does not look whole;
//! - when the connection is over, every call has an answer and everybody who waits is woken;
//! - a stream belongs to one call or one request, or to nobody any more: then both its halves
//!   have ended or were cut, so that the peer gets its place back.
//!
//! ```text
//! call ──> queued ──> open: request goes out, answer comes in ──> answered ──> taken by its caller
//! stream of the peer ──> arriving ──> arrived ──> handed over ──> answer goes out ──> gone
//! ```

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};

use bytes::Bytes;
use isotherm_reactor::{Handle, Waiter};
use isotherm_seam::Mono;
use quinn_proto::{
    ConnectionError, ConnectionHandle, Dir, Event, ReadError, StreamEvent, StreamId,
    TransportErrorCode, VarInt, WriteError,
};

use crate::quic::budget::{Account, Budget, Claim};
use crate::quic::counters::{LinkCounters, QuicCounters};
use crate::quic::endpoint::Quic;
use crate::quic::loans::Loans;
use crate::quic::message::{Incoming, Outgoing, Read, Sent};
use crate::quic::slots::Slots;
use crate::quic::told::{Inbox, Outbox};
use crate::{CallError, Closed, Frame, PeerAddr, Session, Ticket};

/// Why a stream was cut.
mod cut {
    use super::VarInt;
    /// Nobody waits for the answer.
    pub(super) const ABANDONED: VarInt = VarInt::from_u32(1);
    /// The request was given up.
    pub(super) const REFUSED: VarInt = VarInt::from_u32(2);
    /// It could not be read.
    pub(super) const GARBLED: VarInt = VarInt::from_u32(3);
}

/// Why a connection was closed, as the peer is told.
pub(crate) mod farewell {
    use super::VarInt;
    /// Its user is done with it.
    pub(crate) const DONE: VarInt = VarInt::from_u32(0);
    /// The peer broke the protocol.
    pub(crate) const PROTOCOL: VarInt = VarInt::from_u32(1);
    /// The peer's certificate has no name.
    pub(crate) const UNTRUSTED: VarInt = VarInt::from_u32(3);
}

/// Priority of what is told; those of calls lie below.
const TOLD_PRIORITY: i32 = i32::MAX;

/// One connection. Sessions and the endpoint share it.
pub(crate) struct Link {
    quic: Weak<Quic>,
    core: Handle,
    pub(crate) state: RefCell<LinkState>,
    /// In the endpoint's list of those to be driven.
    pub(crate) is_touched: Cell<bool>,
    /// Datagrams came since it was last driven.
    pub(crate) has_mail: Cell<bool>,
    /// Its sends were put off for a turn.
    pub(crate) is_deferred: Cell<bool>,
    /// Its number at the endpoint, until that has forgotten it.
    pub(crate) handle: Cell<Option<ConnectionHandle>>,
    loans: Rc<Loans>,
    account: Account,
    ready: Waiter,
    requests: Waiter,
    told: Waiter,
}

/// What the connections of an endpoint share.
pub(crate) struct Shared {
    pub(crate) loans: Rc<Loans>,
    pub(crate) budget: Rc<Budget>,
}

/// Where a connection stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    Handshake,
    Open,
    Over(Closed),
}

enum Owner {
    Call(Ticket),
    Request(Ticket),
}

struct CallSlot {
    stream: Option<StreamId>,
    out: Option<Outgoing>,
    answer: Incoming,
    done: Option<Result<Frame, CallError>>,
    waiter: Waiter,
}

struct RequestSlot {
    stream: StreamId,
    incoming: Option<Incoming>,
    /// Room for it, from its header until it is handed over.
    claim: Option<Claim>,
    is_wanted: bool,
    out: Option<Outgoing>,
}

pub(crate) struct LinkState {
    /// Gone once it is drained.
    pub(crate) conn: Option<quinn_proto::Connection>,
    pub(crate) dialled: bool,
    pub(crate) phase: Phase,
    peer: PeerAddr,
    calls: Slots<CallSlot>,
    /// Calls for which there is no stream yet.
    queued: VecDeque<Ticket>,
    requests: Slots<RequestSlot>,
    arrived: VecDeque<Ticket>,
    streams: BTreeMap<StreamId, Owner>,
    /// Streams whose message found no room, the oldest first.
    blocked: VecDeque<StreamId>,
    /// The one of them for which the connection will say when there is room.
    awaited: Option<StreamId>,
    outbox: Outbox,
    told_out: Option<StreamId>,
    inbox: Inbox,
    told_in: Option<StreamId>,
    /// Streams opened so far: the older, the sooner it is sent.
    opened: u32,
    /// When it is to be looked at again, as the endpoint has it in its list.
    pub(crate) timer: Option<Mono>,
    pub(crate) handshake_until: Option<Mono>,
    pub(crate) since: Mono,
    pub(crate) counters: LinkCounters,
}

impl Link {
    pub(crate) fn new(
        quic: &Weak<Quic>,
        core: &Handle,
        shared: &Shared,
        conn: quinn_proto::Connection,
        peer: PeerAddr,
        now: Mono,
        handshake_until: Mono,
    ) -> Rc<Link> {
        let dialled = conn.side().is_client();
        let link = Link::over(quic, core, shared, peer, Closed::Here, now);
        {
            let state = &mut *link.state.borrow_mut();
            state.conn = Some(conn);
            state.dialled = dialled;
            state.phase = Phase::Handshake;
            state.handshake_until = Some(handshake_until);
        }
        link
    }

    /// One that never came to be.
    pub(crate) fn over(
        quic: &Weak<Quic>,
        core: &Handle,
        shared: &Shared,
        peer: PeerAddr,
        why: Closed,
        now: Mono,
    ) -> Rc<Link> {
        let state = LinkState {
            conn: None,
            dialled: true,
            phase: Phase::Over(why),
            peer,
            calls: Slots::default(),
            queued: VecDeque::new(),
            requests: Slots::default(),
            arrived: VecDeque::new(),
            streams: BTreeMap::new(),
            blocked: VecDeque::new(),
            awaited: None,
            outbox: Outbox::default(),
            told_out: None,
            inbox: Inbox::default(),
            told_in: None,
            opened: 0,
            timer: None,
            handshake_until: None,
            since: now,
            counters: LinkCounters::default(),
        };
        Rc::new(Link {
            quic: quic.clone(),
            core: core.clone(),
            state: RefCell::new(state),
            is_touched: Cell::new(false),
            has_mail: Cell::new(false),
            is_deferred: Cell::new(false),
            handle: Cell::new(None),
            loans: Rc::clone(&shared.loans),
            account: shared.budget.account(),
            ready: core.waiter(),
            requests: core.waiter(),
            told: core.waiter(),
        })
    }

    /// Has the endpoint drive it in its next turn.
    fn touch(self: &Rc<Self>) {
        if let Some(quic) = self.quic.upgrade() {
            quic.touch(self);
        }
    }

    /// Takes in what the connection has to say. Returns whether its handshake is now done.
    pub(crate) fn take_events(&self, state: &mut LinkState, counters: &mut QuicCounters) -> bool {
        let mut is_new = false;
        while let Some(event) = state.conn.as_mut().and_then(quinn_proto::Connection::poll) {
            match event {
                Event::Connected => is_new = self.connected(state, counters),
                Event::ConnectionLost { reason } => self.lost(state, reason, counters),
                Event::Stream(event) if state.phase == Phase::Open => {
                    self.stream_event(state, event, counters);
                }
                Event::Stream(_)
                | Event::HandshakeDataReady
                | Event::DatagramReceived
                | Event::DatagramsUnblocked => {}
            }
        }
        is_new && state.phase == Phase::Open
    }

    fn connected(&self, state: &mut LinkState, counters: &mut QuicCounters) -> bool {
        let Some(conn) = &mut state.conn else { return false };
        if state.phase != Phase::Handshake {
            return false;
        }
        let identity = conn.crypto_session().peer_identity();
        let Some(name) = identity.as_deref().and_then(crate::quic::name_of_identity) else {
            self.end(state, Closed::Untrusted, farewell::UNTRUSTED);
            counters.refused_untrusted += 1;
            return false;
        };
        state.peer.name = name;
        state.phase = Phase::Open;
        state.handshake_until = None;
        counters.handshakes += 1;
        if let Some(id) = conn.streams().open(Dir::Uni) {
            let _ = conn.send_stream(id).set_priority(TOLD_PRIORITY);
            state.told_out = Some(id);
        }
        self.ready.wake();
        self.pump_told(state);
        self.open_queued(state);
        true
    }

    /// The connection failed, or the peer has closed it.
    fn lost(&self, state: &mut LinkState, reason: ConnectionError, counters: &mut QuicCounters) {
        let was = state.phase;
        let why = closed_by(&reason);
        if let Phase::Over(_) = was {
            return;
        }
        let counter = match (was, why) {
            (Phase::Handshake, Closed::Untrusted) => &mut counters.refused_untrusted,
            (Phase::Handshake, Closed::Protocol) => &mut counters.refused_protocol,
            (Phase::Handshake, Closed::Silent) => &mut counters.refused_silent,
            (_, Closed::Untrusted) => &mut counters.refused_untrusted,
            (_, Closed::Silent) => &mut counters.lost_silent,
            (_, Closed::Reset) => &mut counters.lost_reset,
            (_, Closed::Protocol) => &mut counters.lost_protocol,
            _ => &mut counters.lost_closed,
        };
        *counter += 1;
        self.over_with(state, why);
    }

    /// The handshake has taken too long.
    pub(crate) fn give_up(&self, state: &mut LinkState, counters: &mut QuicCounters) {
        if state.phase == Phase::Handshake {
            counters.refused_silent += 1;
            self.end(state, Closed::Silent, farewell::DONE);
        }
    }

    /// Ends it from this side.
    pub(crate) fn end(&self, state: &mut LinkState, why: Closed, code: VarInt) {
        if let Phase::Over(_) = state.phase {
            return;
        }
        if let (Some(conn), Some(quic)) = (&mut state.conn, self.quic.upgrade()) {
            conn.close(quic.instant(self.core.now()), code, Bytes::new());
        }
        self.over_with(state, why);
    }

    /// Everything that waits learns that it is over.
    pub(crate) fn over_with(&self, state: &mut LinkState, why: Closed) {
        state.phase = Phase::Over(why);
        state.handshake_until = None;
        for call in state.calls.iter_mut() {
            call.out = None;
            if call.done.is_none() {
                call.done = Some(Err(why.into()));
                call.waiter.wake();
            }
        }
        state.queued.clear();
        state.requests.clear();
        state.arrived.clear();
        state.streams.clear();
        state.blocked.clear();
        self.ready.wake();
        self.requests.wake();
        self.told.wake();
    }

    fn stream_event(&self, state: &mut LinkState, event: StreamEvent, counters: &mut QuicCounters) {
        match event {
            StreamEvent::Opened { dir: Dir::Bi } => self.take_streams(state, counters),
            StreamEvent::Opened { dir: Dir::Uni } => {
                let Some(conn) = &mut state.conn else { return };
                state.told_in = conn.streams().accept(Dir::Uni).or(state.told_in);
                self.read_told(state);
            }
            StreamEvent::Readable { id } if state.told_in == Some(id) => self.read_told(state),
            StreamEvent::Readable { id } => self.read(state, id, counters),
            StreamEvent::Writable { id } if state.told_out == Some(id) => self.pump_told(state),
            StreamEvent::Writable { .. } => self.write_blocked(state),
            StreamEvent::Stopped { id, .. } => self.stopped(state, id),
            StreamEvent::Available { dir: Dir::Bi } => self.open_queued(state),
            StreamEvent::Available { dir: Dir::Uni } | StreamEvent::Finished { .. } => {}
        }
    }

    /// Streams that the peer has opened: a request on each.
    fn take_streams(&self, state: &mut LinkState, counters: &mut QuicCounters) {
        while let Some(id) = state.conn.as_mut().and_then(|conn| conn.streams().accept(Dir::Bi)) {
            let slot = RequestSlot {
                stream: id,
                incoming: Some(Incoming::new()),
                claim: None,
                is_wanted: true,
                out: None,
            };
            let ticket = state.requests.insert(slot);
            state.streams.insert(id, Owner::Request(ticket));
            self.read(state, id, counters);
        }
    }

    /// Reads what has come on a stream of a call.
    fn read(&self, state: &mut LinkState, id: StreamId, counters: &mut QuicCounters) {
        let (Some(conn), Some(owner)) = (&mut state.conn, state.streams.get(&id)) else { return };
        let (ticket, incoming) = match *owner {
            Owner::Call(ticket) => (ticket, state.calls.get(ticket).map(|call| &mut call.answer)),
            Owner::Request(ticket) => {
                let slot = state.requests.get(ticket);
                (ticket, slot.and_then(|slot| slot.incoming.as_mut()))
            }
        };
        let Some(incoming) = incoming else { return };
        let (read, _) = incoming.pump(conn.recv_stream(id));
        let len_bytes = incoming.len_bytes();
        let is_call = matches!(owner, Owner::Call(_));
        if let Read::Garbled(_) = read {
            counters.garbled += 1;
            let _ = conn.recv_stream(id).stop(cut::GARBLED);
        }
        if let Read::Reset = read {
            counters.streams_reset += 1;
        }
        if let (false, Read::Pending | Read::Whole, Some(bytes)) = (is_call, &read, len_bytes)
            && !self.admit(state, ticket, bytes)
        {
            counters.refused_held += 1;
            return;
        }
        match (read, is_call) {
            (Read::Pending, _) => {}
            (Read::Whole, true) => self.answered(state, ticket, None),
            (Read::Reset, true) => self.answered(state, ticket, Some(CallError::Refused)),
            (Read::Garbled(e), true) => self.answered(state, ticket, Some(CallError::Garbled(e))),
            (Read::Whole, false) => {
                state.arrived.push_back(ticket);
                self.requests.wake();
            }
            (Read::Garbled(_), false) => self.drop_request(state, ticket, cut::GARBLED),
            (Read::Reset, false) => self.drop_request(state, ticket, cut::ABANDONED),
        }
    }

    /// Claims room for a request whose header is there, or refuses it.
    fn admit(&self, state: &mut LinkState, ticket: Ticket, bytes: u64) -> bool {
        let Some(slot) = state.requests.get(ticket) else { return true };
        if slot.claim.is_some() {
            return true;
        }
        slot.claim = self.account.claim(bytes);
        if slot.claim.is_some() {
            return true;
        }
        if let Some(conn) = &mut state.conn {
            let _ = conn.recv_stream(slot.stream).stop(cut::REFUSED);
        }
        self.drop_request(state, ticket, cut::REFUSED);
        false
    }

    /// A call of this side has come to its end.
    fn answered(&self, state: &mut LinkState, ticket: Ticket, error: Option<CallError>) {
        let Some(call) = state.calls.get(ticket) else { return };
        let answer = std::mem::replace(&mut call.answer, Incoming::new());
        call.done = Some(match error {
            None => Ok(answer.into_frame()),
            Some(error) => Err(error),
        });
        call.waiter.wake();
        let (stream, out) = (call.stream.take(), call.out.take());
        let Some(id) = stream else { return };
        state.streams.remove(&id);
        if let (Some(conn), true) = (&mut state.conn, out.is_some()) {
            let _ = conn.send_stream(id).reset(cut::ABANDONED);
        }
    }

    /// Forgets a request and cuts the answer's half of its stream.
    fn drop_request(&self, state: &mut LinkState, ticket: Ticket, code: VarInt) {
        let Some(slot) = state.requests.remove(ticket) else { return };
        state.streams.remove(&slot.stream);
        if let Some(conn) = &mut state.conn {
            let _ = conn.send_stream(slot.stream).reset(code);
        }
    }

    /// The peer does not want what this side sends on a stream.
    fn stopped(&self, state: &mut LinkState, id: StreamId) {
        if let Some(conn) = &mut state.conn {
            let _ = conn.send_stream(id).reset(cut::ABANDONED);
        }
        match state.streams.get(&id) {
            // A request that the peer will not read: it has given the call up.
            Some(&Owner::Call(ticket)) => {
                if let Some(conn) = &mut state.conn {
                    let _ = conn.recv_stream(id).stop(cut::ABANDONED);
                }
                if let Some(call) = state.calls.get(ticket) {
                    call.out = None;
                }
                self.answered(state, ticket, Some(CallError::Refused));
            }
            Some(&Owner::Request(ticket)) => {
                let Some(slot) = state.requests.get(ticket) else { return };
                slot.is_wanted = false;
                // Handed over and not yet answered: its user holds the ticket.
                let is_held = slot.incoming.is_none() && slot.out.is_none();
                if slot.incoming.is_some()
                    && let Some(conn) = &mut state.conn
                {
                    let _ = conn.recv_stream(id).stop(cut::ABANDONED);
                }
                if !is_held {
                    state.requests.remove(ticket);
                }
                state.streams.remove(&id);
            }
            None => {}
        }
    }

    /// Gives streams to calls that wait for one.
    fn open_queued(&self, state: &mut LinkState) {
        while let Some(&ticket) = state.queued.front() {
            if !self.open(state, ticket) {
                return;
            }
            state.queued.pop_front();
        }
    }

    /// Gives a stream to a call. False if there is none now.
    fn open(&self, state: &mut LinkState, ticket: Ticket) -> bool {
        let Some(call) = state.calls.get(ticket) else { return true };
        let Some(conn) = &mut state.conn else { return true };
        let Some(id) = conn.streams().open(Dir::Bi) else { return false };
        call.stream = Some(id);
        state.streams.insert(id, Owner::Call(ticket));
        self.prefer_older(state, id);
        self.write(state, id);
        true
    }

    /// Streams are sent in the order in which their messages were ready to go. The count starts
    /// over after 2^31 of them: then, for a moment, a few go in another order.
    fn prefer_older(&self, state: &mut LinkState, id: StreamId) {
        let age = i32::try_from(state.opened & 0x7fff_ffff).expect("31 bits");
        state.opened = state.opened.wrapping_add(1);
        if let Some(conn) = &mut state.conn {
            let _ = conn.send_stream(id).set_priority(TOLD_PRIORITY - 1 - age);
        }
    }

    /// Sends the message of a stream, behind those that wait for room.
    fn write(&self, state: &mut LinkState, id: StreamId) {
        state.blocked.push_back(id);
        if state.blocked.len() == 1 {
            self.write_blocked(state);
        }
    }

    /// Asks again for room when who asked for it is gone.
    pub(crate) fn unstick(&self, state: &mut LinkState) {
        if state.blocked.front().is_some_and(|&id| state.awaited != Some(id)) {
            self.write_blocked(state);
        }
    }

    /// There is room again: the oldest first. quinn-proto would name the latest that asked, and
    /// let the oldest starve.
    fn write_blocked(&self, state: &mut LinkState) {
        while let Some(&id) = state.blocked.front() {
            if !state.streams.contains_key(&id) || self.write_now(state, id) {
                state.blocked.pop_front();
            } else {
                state.awaited = Some(id);
                return;
            }
        }
    }

    /// Sends on a stream what there is room for. False if that is not all.
    fn write_now(&self, state: &mut LinkState, id: StreamId) -> bool {
        let (Some(conn), Some(owner)) = (&mut state.conn, state.streams.get(&id)) else {
            return true;
        };
        let out = match *owner {
            Owner::Call(ticket) => state.calls.get(ticket).map(|call| &mut call.out),
            Owner::Request(ticket) => state.requests.get(ticket).map(|slot| &mut slot.out),
        };
        let Some(out) = out else { return true };
        let Some(outgoing) = out else { return true };
        match (outgoing.pump(&mut conn.send_stream(id)), owner) {
            (Sent::Blocked, _) => return false,
            (Sent::Whole, Owner::Call(_)) => *out = None,
            (Sent::Whole, &Owner::Request(ticket)) => {
                state.requests.remove(ticket);
                state.streams.remove(&id);
            }
            // The event says so too, and does the rest.
            (Sent::Stopped, _) => {}
        }
        true
    }

    /// Sends what is to be told.
    fn pump_told(&self, state: &mut LinkState) {
        let (Some(conn), Some(id)) = (&mut state.conn, state.told_out) else { return };
        let mut stream = conn.send_stream(id);
        while !state.outbox.is_empty() {
            match stream.write(state.outbox.front()) {
                Ok(count) => state.outbox.took(count),
                Err(WriteError::Blocked) => return,
                Err(WriteError::Stopped(_) | WriteError::ClosedStream) => {
                    return self.end(state, Closed::Protocol, farewell::PROTOCOL);
                }
            }
        }
    }

    /// Takes in what was told, as far as there is room for it.
    fn read_told(&self, state: &mut LinkState) {
        let (Some(conn), Some(id)) = (&mut state.conn, state.told_in) else { return };
        let mut stream = conn.recv_stream(id);
        let Ok(mut chunks) = stream.read(true) else { return };
        let is_over = loop {
            let room = state.inbox.room();
            if room == 0 {
                break false;
            }
            match chunks.next(room) {
                Ok(Some(chunk)) => state.inbox.push(&chunk.bytes),
                Err(ReadError::Blocked) => break false,
                // Nobody ends this stream while the connection lives.
                Ok(None) | Err(ReadError::Reset(_)) => break true,
            }
        };
        let _ = chunks.finalize();
        if is_over {
            return self.end(state, Closed::Protocol, farewell::PROTOCOL);
        }
        self.told.wake();
    }

    /// Whether nothing is under way on it.
    pub(crate) fn is_idle(&self) -> bool {
        let state = self.state.borrow();
        state.calls.len() == 0 && state.requests.len() == 0
    }
}

/// What the end of a connection means.
pub(crate) fn closed_by(reason: &ConnectionError) -> Closed {
    let of_code = |code: TransportErrorCode| {
        let code = u64::from(code);
        match code {
            _ if code == u64::from(TransportErrorCode::CONNECTION_REFUSED) => Closed::Full,
            // Alerts of TLS (RFC 8446, 6): bad, unsupported, revoked, expired, unknown
            // certificate; unknown authority, access denied, bad signature, none at all.
            0x12a..=0x12e | 0x130 | 0x131 | 0x133 | 0x174 => Closed::Untrusted,
            _ => Closed::Protocol,
        }
    };
    match reason {
        ConnectionError::VersionMismatch => Closed::Protocol,
        ConnectionError::TransportError(error) => of_code(error.code),
        ConnectionError::ConnectionClosed(close) => of_code(close.error_code),
        ConnectionError::ApplicationClosed(close) => match close.error_code {
            farewell::PROTOCOL => Closed::Protocol,
            farewell::UNTRUSTED => Closed::Untrusted,
            _ => Closed::ByPeer,
        },
        ConnectionError::Reset => Closed::Reset,
        ConnectionError::TimedOut => Closed::Silent,
        ConnectionError::LocallyClosed => Closed::Here,
        ConnectionError::CidsExhausted => Closed::Full,
    }
}

/// What nodes and clients hold.
pub(crate) struct QuicSession(pub(crate) Rc<Link>);

impl Session for QuicSession {
    fn peer(&self) -> PeerAddr {
        self.0.state.borrow().peer.clone()
    }

    fn call(&self, request: Frame) -> Ticket {
        let link = &self.0;
        let state = &mut *link.state.borrow_mut();
        let done = match state.phase {
            Phase::Over(why) => Some(Err(why.into())),
            _ => None,
        };
        let is_over = done.is_some();
        let call = CallSlot {
            stream: None,
            out: (!is_over).then(|| Outgoing::new(request, &link.loans)),
            answer: Incoming::new(),
            done,
            waiter: link.core.waiter(),
        };
        let ticket = state.calls.insert(call);
        if is_over {
            return ticket;
        }
        state.counters.calls += 1;
        if state.phase == Phase::Handshake || !state.queued.is_empty() || !link.open(state, ticket)
        {
            state.queued.push_back(ticket);
        } else {
            link.touch();
        }
        ticket
    }

    fn poll_answer(&self, ticket: Ticket, cx: &mut Context<'_>) -> Poll<Result<Frame, CallError>> {
        let state = &mut *self.0.state.borrow_mut();
        let call = state.calls.get(ticket).expect("a ticket is void once its answer was taken");
        match call.done.take() {
            Some(done) => {
                state.calls.remove(ticket);
                Poll::Ready(done)
            }
            None => {
                call.waiter.wait(cx);
                Poll::Pending
            }
        }
    }

    fn abandon(&self, ticket: Ticket) {
        let state = &mut *self.0.state.borrow_mut();
        let Some(call) = state.calls.remove(ticket) else { return };
        let Some(id) = call.stream else {
            return state.queued.retain(|&queued| queued != ticket);
        };
        state.streams.remove(&id);
        if state.blocked.front() == Some(&id) {
            state.blocked.pop_front();
        }
        if let Some(conn) = &mut state.conn {
            let _ = conn.send_stream(id).reset(cut::ABANDONED);
            let _ = conn.recv_stream(id).stop(cut::ABANDONED);
            self.0.touch();
        }
    }

    fn poll_request(&self, cx: &mut Context<'_>) -> Poll<Result<(Ticket, Frame), Closed>> {
        let state = &mut *self.0.state.borrow_mut();
        while let Some(ticket) = state.arrived.pop_front() {
            let Some(slot) = state.requests.get(ticket) else { continue };
            if !slot.is_wanted {
                state.requests.remove(ticket);
                continue;
            }
            let incoming = slot.incoming.take().expect("it has arrived and is handed over once");
            slot.claim = None;
            state.counters.requests += 1;
            return Poll::Ready(Ok((ticket, incoming.into_frame())));
        }
        match state.phase {
            Phase::Over(why) => Poll::Ready(Err(why)),
            _ => {
                self.0.requests.wait(cx);
                Poll::Pending
            }
        }
    }

    fn is_wanted(&self, ticket: Ticket) -> bool {
        self.0.state.borrow_mut().requests.get(ticket).is_some_and(|slot| slot.is_wanted)
    }

    fn answer(&self, ticket: Ticket, answer: Frame) {
        let state = &mut *self.0.state.borrow_mut();
        let Some(slot) = state.requests.get(ticket) else { return };
        if !slot.is_wanted {
            state.requests.remove(ticket);
            return;
        }
        slot.out = Some(Outgoing::new(answer, &self.0.loans));
        let id = slot.stream;
        self.0.prefer_older(state, id);
        self.0.write(state, id);
        self.0.touch();
    }

    fn refuse(&self, ticket: Ticket) {
        let state = &mut *self.0.state.borrow_mut();
        self.0.drop_request(state, ticket, cut::REFUSED);
        self.0.touch();
    }

    fn tell(&self, message: &[u8]) -> bool {
        let state = &mut *self.0.state.borrow_mut();
        if matches!(state.phase, Phase::Over(_)) || !state.outbox.push(message) {
            return false;
        }
        self.0.pump_told(state);
        self.0.touch();
        true
    }

    fn poll_told(&self, cx: &mut Context<'_>, into: &mut Vec<u8>) -> Poll<Result<(), Closed>> {
        let state = &mut *self.0.state.borrow_mut();
        let was_full = state.inbox.room() == 0;
        match state.inbox.pop(into) {
            Ok(true) => {
                if was_full {
                    self.0.read_told(state);
                    self.0.touch();
                }
                return Poll::Ready(Ok(()));
            }
            Ok(false) => {}
            Err(_) => {
                self.0.end(state, Closed::Protocol, farewell::PROTOCOL);
                self.0.touch();
                return Poll::Ready(Err(Closed::Protocol));
            }
        }
        match state.phase {
            Phase::Over(why) => Poll::Ready(Err(why)),
            _ => {
                self.0.told.wait(cx);
                Poll::Pending
            }
        }
    }

    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        match self.0.state.borrow().phase {
            Phase::Open => Poll::Ready(Ok(())),
            Phase::Over(why) => Poll::Ready(Err(why)),
            Phase::Handshake => {
                self.0.ready.wait(cx);
                Poll::Pending
            }
        }
    }

    fn closed(&self) -> Option<Closed> {
        match self.0.state.borrow().phase {
            Phase::Over(why) => Some(why),
            _ => None,
        }
    }

    fn close(&self) {
        let state = &mut *self.0.state.borrow_mut();
        self.0.end(state, Closed::Here, farewell::DONE);
        self.0.touch();
    }
}
