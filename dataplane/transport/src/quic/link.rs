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

mod session;
mod streams;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::{Rc, Weak};

use bytes::Bytes;
use isotherm_reactor::{Handle, Waiter};
use isotherm_seam::Mono;
use quinn_proto::{
    ConnectionError, ConnectionHandle, Dir, Event, StreamId, TransportErrorCode, VarInt,
};

use crate::quic::budget::{Account, Budget, Claim};
use crate::quic::counters::{LinkCounters, QuicCounters};
use crate::quic::endpoint::Quic;
use crate::quic::loans::Loans;
use crate::quic::message::{Incoming, Outgoing};
use crate::quic::slots::Slots;
use crate::quic::told::{Inbox, Outbox};
use crate::{CallError, Closed, Frame, PeerAddr, Ticket};

pub(crate) use session::QuicSession;

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
