//! One side of a session.
//!
//! What must always hold: told messages are handed over in the order of their telling, however
//! they arrive; a call is answered once; once a side is over it stays so, and nothing waits.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};

use bytes::Bytes;
use isotherm_reactor::{Handle, Waiter};
use isotherm_seam::Mono;
use isotherm_sim::HostId;
use isotherm_transport::{
    Body, CallError, Closed, Frame, PeerAddr, Session, TOLD_BYTES_MAX, Ticket,
};

use super::{Event, Net, What};

pub(super) struct End {
    pub(super) id: u64,
    pub(super) host: HostId,
    pub(super) local: SocketAddr,
    pub(super) local_name: RefCell<String>,
    /// Known once the handshake has come so far.
    pub(super) peer_host: Cell<Option<HostId>>,
    pub(super) other: Cell<Option<u64>>,
    /// The peer has closed the session, rather than lost it.
    pub(super) peer_closed: Cell<bool>,
    peer: PeerAddr,
    net: RefCell<Weak<RefCell<Net>>>,
    handle: Handle,
    state: RefCell<State>,
    requesting: Waiter,
    telling: Waiter,
    readying: Waiter,
}

#[derive(Default)]
struct State {
    is_ready: bool,
    closed: Option<Closed>,
    /// Nothing can be heard of the peer since then.
    deaf_since: Option<Mono>,
    next_call: u64,
    calls: BTreeMap<u64, Pending>,
    /// Calls that wait for the handshake, or for others to be done.
    waiting: VecDeque<(u64, Frame)>,
    /// Calls that the peer has, or that are on their way.
    open_calls: usize,
    requests: VecDeque<(u64, bool, Frame)>,
    /// Requests that were taken and not answered; false when nobody waits for the answer.
    taken: BTreeMap<u64, bool>,
    /// Told before the handshake was done.
    early: VecDeque<Box<[u8]>>,
    /// Told and not read by the peer.
    told_unread: usize,
    told_next: u64,
    /// Told by the peer: in order, then those that came before their turn.
    told: VecDeque<Box<[u8]>>,
    heard_next: u64,
    heard_early: BTreeMap<u64, Box<[u8]>>,
}

struct Pending {
    answer: Option<Result<Frame, CallError>>,
    waiter: Waiter,
    /// Where its request is under way, and when that leaves.
    under_way: Option<(u32, Mono)>,
}

impl End {
    pub(super) fn new(
        id: u64,
        host: HostId,
        local: SocketAddr,
        peer: PeerAddr,
        handle: &Handle,
    ) -> End {
        End {
            id,
            host,
            local,
            local_name: RefCell::default(),
            peer_host: Cell::new(None),
            other: Cell::new(None),
            peer_closed: Cell::new(false),
            peer,
            net: RefCell::default(),
            handle: handle.clone(),
            state: RefCell::default(),
            requesting: handle.waiter(),
            telling: handle.waiter(),
            readying: handle.waiter(),
        }
    }

    pub(super) fn belong(&self, net: &Rc<RefCell<Net>>) {
        *self.net.borrow_mut() = Rc::downgrade(net);
    }

    /// The side that was dialled learns who dialled.
    pub(super) fn meet(&self, near: &End) {
        self.peer_host.set(Some(near.host));
        self.other.set(Some(near.id));
    }

    pub(super) fn peer_addr(&self) -> SocketAddr {
        self.peer.addr
    }

    pub(super) fn is_ready(&self) -> bool {
        self.state.borrow().is_ready
    }

    pub(super) fn deaf_since(&self) -> Option<Mono> {
        self.state.borrow().deaf_since
    }

    /// Whether it can hear its peer now; true if it has just become deaf.
    pub(super) fn hears(&self, now: Mono, hears: bool) -> bool {
        let deaf_since = &mut self.state.borrow_mut().deaf_since;
        match (hears, *deaf_since) {
            (true, _) => *deaf_since = None,
            (false, None) => *deaf_since = Some(now),
            (false, Some(_)) => return false,
        }
        !hears
    }

    /// Ends this side; false if it was over.
    pub(super) fn end(&self, why: Closed) -> bool {
        let state = &mut *self.state.borrow_mut();
        if state.closed.is_some() {
            return false;
        }
        state.closed = Some(why);
        state.requests.clear();
        state.waiting.clear();
        state.early.clear();
        state.told.clear();
        state.heard_early.clear();
        for pending in state.calls.values_mut() {
            pending.answer.get_or_insert(Err(CallError::Closed(why)));
            pending.waiter.wake();
        }
        state.taken.values_mut().for_each(|is_wanted| *is_wanted = false);
        self.requesting.wake();
        self.telling.wake();
        self.readying.wake();
        true
    }

    /// Takes a message in.
    pub(super) fn take(self: &Rc<Self>, net: &mut Net, what: What) {
        if self.closed().is_some() {
            return;
        }
        match what {
            What::Dial { .. } => unreachable!("it has no side yet"),
            What::Accepted { far, .. } => {
                let Some(far) = net.ends.get(far).cloned() else { return };
                self.meet(&far);
                self.begin(net);
                net.send(self, What::Done { end: far.id });
                self.flush(net);
                return;
            }
            What::Declined { why, .. } => return net.end_one(self, why),
            What::Close { .. } => return net.end_one(self, Closed::ByPeer),
            _ => {}
        }
        if !self.is_ready() {
            // Whatever comes from who dialled says that the handshake is done.
            self.begin(net);
            if let Some(endpoint) = net.endpoints.get(&self.local) {
                endpoint.accept(Rc::clone(self));
            }
        }
        let state = &mut *self.state.borrow_mut();
        match what {
            What::Request { call, is_wanted, frame, .. } => {
                state.requests.push_back((call, is_wanted, frame));
                self.requesting.wake();
            }
            What::Answer { call, answer, .. } => {
                // One that was abandoned was counted then.
                if let Some(pending) = state.calls.get_mut(&call) {
                    pending.answer.get_or_insert(answer);
                    pending.waiter.wake();
                    state.open_calls -= 1;
                    self.flush_calls(net, state);
                }
            }
            What::Abandon { call, .. } => {
                state.requests.retain(|(number, ..)| *number != call);
                if let Some(is_wanted) = state.taken.get_mut(&call) {
                    *is_wanted = false;
                }
            }
            What::Told { number, message, .. } => {
                state.heard_early.insert(number, message);
                while let Some(message) = state.heard_early.remove(&state.heard_next) {
                    state.told.push_back(message);
                    state.heard_next += 1;
                }
                self.telling.wake();
            }
            What::Done { .. } => {}
            What::Dial { .. }
            | What::Accepted { .. }
            | What::Declined { .. }
            | What::Close { .. } => unreachable!("answered above"),
        }
    }

    /// The handshake is done on this side.
    fn begin(self: &Rc<Self>, net: &mut Net) {
        self.state.borrow_mut().is_ready = true;
        self.readying.wake();
        let now = isotherm_seam::Clock::mono(&net.clock);
        net.listen_one(now, self);
    }

    fn flush(&self, net: &mut Net) {
        let state = &mut *self.state.borrow_mut();
        while let Some(message) = state.early.pop_front() {
            self.send_told(net, state, message);
        }
        self.flush_calls(net, state);
    }

    fn flush_calls(&self, net: &mut Net, state: &mut State) {
        let Some(end) = self.other.get() else { return };
        while state.is_ready && state.open_calls < net.config.calls_max {
            let Some((call, frame)) = state.waiting.pop_front() else { return };
            state.open_calls += 1;
            let what = What::Request { end, call, is_wanted: true, frame };
            let sent = net.send(self, what);
            let pending = state.calls.get_mut(&call).expect("it waits");
            pending.under_way = sent;
        }
    }

    fn send_told(&self, net: &mut Net, state: &mut State, message: Box<[u8]>) {
        let Some(end) = self.other.get() else { return };
        let number = state.told_next;
        state.told_next += 1;
        net.send(self, What::Told { end, number, message });
    }

    /// The request of a call was sent again: it is elsewhere now.
    pub(super) fn moved(&self, call: u64, slot: u32, left: Mono) {
        if let Some(pending) = self.state.borrow_mut().calls.get_mut(&call) {
            pending.under_way = Some((slot, left));
        }
    }

    /// The peer has read a told message of this side.
    fn was_read(&self) {
        let state = &mut *self.state.borrow_mut();
        state.told_unread = state.told_unread.saturating_sub(1);
    }

    fn net(&self) -> Option<Rc<RefCell<Net>>> {
        self.net.borrow().upgrade()
    }

    fn respond(&self, ticket: Ticket, answer: Result<Frame, CallError>) {
        let is_wanted = self.state.borrow_mut().taken.remove(&ticket.0).unwrap_or(false);
        if is_wanted
            && let Some(end) = self.other.get()
            && let Some(net) = self.net()
        {
            net.borrow_mut().send(self, What::Answer { end, call: ticket.0, answer });
        }
    }
}

/// The same message, without a buffer of the sender's pool.
fn packed(frame: Frame) -> Frame {
    let Frame { header, body } = frame;
    let body = match body {
        Body::Buffer(..) => match body.to_vec() {
            bytes if bytes.is_empty() => Body::Empty,
            bytes => Body::Chunks(vec![Bytes::from(bytes)]),
        },
        body => body,
    };
    Frame { header, body }
}

impl Session for End {
    fn peer(&self) -> PeerAddr {
        self.peer.clone()
    }

    fn call(&self, request: Frame) -> Ticket {
        let state = &mut *self.state.borrow_mut();
        let call = state.next_call;
        state.next_call += 1;
        let answer = match (state.closed, request.check()) {
            (Some(why), _) => Some(Err(CallError::Closed(why))),
            (None, Err(error)) => Some(Err(CallError::Garbled(error))),
            (None, Ok(_)) => None,
        };
        let is_sent = answer.is_none();
        let pending = Pending { answer, waiter: self.handle.waiter(), under_way: None };
        state.calls.insert(call, pending);
        if is_sent {
            state.waiting.push_back((call, packed(request)));
            if let Some(net) = self.net() {
                self.flush_calls(&mut net.borrow_mut(), state);
            }
        }
        Ticket(call)
    }

    fn poll_answer(&self, ticket: Ticket, cx: &mut Context<'_>) -> Poll<Result<Frame, CallError>> {
        let state = &mut *self.state.borrow_mut();
        let pending = state.calls.get_mut(&ticket.0).expect("a ticket that is not void");
        match pending.answer.take() {
            Some(answer) => {
                state.calls.remove(&ticket.0);
                Poll::Ready(answer)
            }
            None => {
                pending.waiter.wait(cx);
                Poll::Pending
            }
        }
    }

    fn abandon(&self, ticket: Ticket) {
        let state = &mut *self.state.borrow_mut();
        let Some(pending) = state.calls.remove(&ticket.0) else { return };
        if pending.answer.is_some() || state.closed.is_some() {
            return;
        }
        let waiting = state.waiting.len();
        state.waiting.retain(|(call, _)| *call != ticket.0);
        if state.waiting.len() < waiting {
            return;
        }
        state.open_calls -= 1;
        let (Some(net), Some(end)) = (self.net(), self.other.get()) else { return };
        let net = &mut *net.borrow_mut();
        let under_way = pending.under_way.expect("it is not waiting");
        if !net.recall(under_way, end, ticket.0) {
            net.send(self, What::Abandon { end, call: ticket.0 });
        }
        self.flush_calls(net, state);
    }

    fn poll_request(&self, cx: &mut Context<'_>) -> Poll<Result<(Ticket, Frame), Closed>> {
        let state = &mut *self.state.borrow_mut();
        if let Some((call, is_wanted, frame)) = state.requests.pop_front() {
            state.taken.insert(call, is_wanted);
            return Poll::Ready(Ok((Ticket(call), frame)));
        }
        if let Some(why) = state.closed {
            return Poll::Ready(Err(why));
        }
        self.requesting.wait(cx);
        Poll::Pending
    }

    fn is_wanted(&self, ticket: Ticket) -> bool {
        self.state.borrow().taken.get(&ticket.0).copied().unwrap_or(false)
    }

    fn answer(&self, ticket: Ticket, answer: Frame) {
        let answer = match answer.check() {
            Ok(_) => Ok(packed(answer)),
            Err(error) => Err(CallError::Garbled(error)),
        };
        self.respond(ticket, answer);
    }

    fn refuse(&self, ticket: Ticket) {
        self.respond(ticket, Err(CallError::Refused));
    }

    fn tell(&self, message: &[u8]) -> bool {
        assert!((1..=TOLD_BYTES_MAX).contains(&message.len()), "told {} bytes", message.len());
        let state = &mut *self.state.borrow_mut();
        let Some(net) = self.net() else { return false };
        let net = &mut *net.borrow_mut();
        if state.closed.is_some() || state.told_unread >= net.config.told_max {
            return false;
        }
        state.told_unread += 1;
        if state.is_ready {
            self.send_told(net, state, message.into());
        } else {
            state.early.push_back(message.into());
        }
        true
    }

    fn poll_told(&self, cx: &mut Context<'_>, into: &mut Vec<u8>) -> Poll<Result<(), Closed>> {
        let state = &mut *self.state.borrow_mut();
        if let Some(message) = state.told.pop_front() {
            into.extend_from_slice(&message);
            let other = self.net().and_then(|net| net.borrow().other(self).cloned());
            if let Some(other) = other {
                other.was_read();
            }
            return Poll::Ready(Ok(()));
        }
        if let Some(why) = state.closed {
            return Poll::Ready(Err(why));
        }
        self.telling.wait(cx);
        Poll::Pending
    }

    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        let state = self.state.borrow();
        if let Some(why) = state.closed {
            return Poll::Ready(Err(why));
        }
        if state.is_ready {
            return Poll::Ready(Ok(()));
        }
        self.readying.wait(cx);
        Poll::Pending
    }

    fn closed(&self) -> Option<Closed> {
        self.state.borrow().closed
    }

    fn close(&self) {
        let Some(net) = self.net() else { return };
        let net = &mut *net.borrow_mut();
        let Some(end) = net.ends.get(self.id).cloned() else { return };
        if self.is_ready()
            && let Some(end) = self.other.get()
        {
            net.send(self, What::Close { end });
        }
        net.end_one(&end, Closed::Here);
    }
}

impl Net {
    /// Calls the request of a call back. True if the peer will not see it, or will see that
    /// nobody waits for it; false if it is there already.
    fn recall(&mut self, (slot, left): (u32, Mono), to: u64, of: u64) -> bool {
        let now = isotherm_seam::Clock::mono(&self.clock);
        let event = &mut self.events[slot as usize];
        let Some(Event::Message { what: What::Request { end, call, is_wanted, .. }, .. }) = event
        else {
            return false;
        };
        if (*end, *call) != (to, of) {
            return false;
        }
        *is_wanted = false;
        if left > now {
            *event = None;
        }
        true
    }
}
