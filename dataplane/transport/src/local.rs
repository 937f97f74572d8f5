//! Sessions within one thread: a client and nodes in one process, without a network between them.
//! Each host has its own core; in virtual time there may be many in one thread.
//!
//! What must always hold: the promises of `session.rs`. Nothing is delayed and nothing is lost; a
//! host that is taken away closes its sessions as a peer that restarts does.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};

use isotherm_reactor::{Handle, Waiter};

use crate::{CallError, Closed, Connection, Frame, Network, PeerAddr, Session, Ticket};

/// Told messages that wait to be read.
const TOLD_MAX: usize = 1024;

/// All hosts of one thread.
#[derive(Clone, Default)]
pub struct LocalHub {
    hub: Rc<Hub>,
}

#[derive(Default)]
struct Hub {
    hosts: RefCell<BTreeMap<SocketAddr, Weak<LocalNetwork>>>,
}

/// One address on a hub.
pub struct LocalNetwork {
    hub: Rc<Hub>,
    handle: Handle,
    addr: SocketAddr,
    name: String,
    accepted: RefCell<VecDeque<Connection>>,
    accepting: Waiter,
    ends: RefCell<Vec<Weak<End>>>,
}

/// One side of a session.
struct End {
    peer: PeerAddr,
    other: RefCell<Weak<End>>,
    state: RefCell<State>,
    requesting: Waiter,
    telling: Waiter,
    handle: Handle,
}

#[derive(Default)]
struct State {
    next: u64,
    /// Calls of this side: the answer once it is there, and who waits.
    calls: BTreeMap<u64, Pending>,
    /// Requests of the other side that nobody has taken.
    requests: VecDeque<(u64, Frame)>,
    /// Those that were taken and are not answered; false if nobody waits for the answer.
    taken: BTreeMap<u64, bool>,
    told: VecDeque<Vec<u8>>,
    closed: Option<Closed>,
}

struct Pending {
    answer: Option<Result<Frame, CallError>>,
    waiter: Waiter,
}

impl LocalHub {
    /// A hub without hosts.
    pub fn new() -> LocalHub {
        LocalHub::default()
    }

    /// A host on a core, for as long as it is kept. Panics on an address that is taken.
    pub fn host(&self, handle: &Handle, addr: SocketAddr, name: &str) -> Rc<LocalNetwork> {
        let network = Rc::new(LocalNetwork {
            hub: Rc::clone(&self.hub),
            handle: handle.clone(),
            addr,
            name: name.to_owned(),
            accepted: RefCell::default(),
            accepting: handle.waiter(),
            ends: RefCell::default(),
        });
        let before = self.hub.hosts.borrow_mut().insert(addr, Rc::downgrade(&network));
        assert!(before.is_none_or(|host| host.strong_count() == 0), "{addr} is taken");
        network
    }
}

impl Drop for LocalNetwork {
    fn drop(&mut self) {
        for end in self.ends.borrow().iter().filter_map(Weak::upgrade) {
            end.end(Closed::Here, Closed::Reset);
        }
    }
}

impl Network for LocalNetwork {
    fn dial(&self, to: &PeerAddr) -> Connection {
        let host = self.hub.hosts.borrow().get(&to.addr).and_then(Weak::upgrade);
        let near = End::new(&self.handle, to.clone());
        let Some(host) = host else {
            near.state.borrow_mut().closed = Some(Closed::Silent);
            return Connection::new(near);
        };
        if host.name != to.name {
            near.state.borrow_mut().closed = Some(Closed::Untrusted);
            return Connection::new(near);
        }
        let caller = PeerAddr { addr: self.addr, name: self.name.clone() };
        let far = End::new(&host.handle, caller);
        *near.other.borrow_mut() = Rc::downgrade(&far);
        *far.other.borrow_mut() = Rc::downgrade(&near);
        self.keep(&near);
        host.keep(&far);
        host.accepted.borrow_mut().push_back(Connection::new(far));
        host.accepting.wake();
        Connection::new(near)
    }

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<Connection> {
        match self.accepted.borrow_mut().pop_front() {
            Some(connection) => Poll::Ready(connection),
            None => {
                self.accepting.wait(cx);
                Poll::Pending
            }
        }
    }

    fn local(&self) -> SocketAddr {
        self.addr
    }
}

impl LocalNetwork {
    fn keep(&self, end: &Rc<End>) {
        let mut ends = self.ends.borrow_mut();
        ends.retain(|end| end.strong_count() > 0);
        ends.push(Rc::downgrade(end));
    }
}

impl End {
    fn new(handle: &Handle, peer: PeerAddr) -> Rc<End> {
        Rc::new(End {
            peer,
            other: RefCell::default(),
            state: RefCell::default(),
            requesting: handle.waiter(),
            telling: handle.waiter(),
            handle: handle.clone(),
        })
    }

    fn other(&self) -> Option<Rc<End>> {
        self.other.borrow().upgrade()
    }

    /// Ends both sides, each with what it sees.
    fn end(&self, here: Closed, there: Closed) {
        self.end_here(here);
        if let Some(other) = self.other() {
            other.end_here(there);
        }
    }

    fn end_here(&self, why: Closed) {
        let state = &mut *self.state.borrow_mut();
        if state.closed.is_some() {
            return;
        }
        state.closed = Some(why);
        state.requests.clear();
        for pending in state.calls.values_mut() {
            pending.answer.get_or_insert(Err(CallError::Closed(why)));
            pending.waiter.wake();
        }
        self.requesting.wake();
        self.telling.wake();
    }

    /// Gives the answer to a call of this side.
    fn settle(&self, ticket: Ticket, answer: Result<Frame, CallError>) {
        if let Some(pending) = self.state.borrow_mut().calls.get_mut(&ticket.0) {
            pending.answer = Some(answer);
            pending.waiter.wake();
        }
    }
}

impl Session for End {
    fn peer(&self) -> PeerAddr {
        self.peer.clone()
    }

    fn call(&self, request: Frame) -> Ticket {
        let mut state = self.state.borrow_mut();
        let ticket = state.next;
        state.next += 1;
        let closed = state.closed;
        let answer = match (closed, request.check()) {
            (Some(why), _) => Some(Err(CallError::Closed(why))),
            (None, Err(_)) => Some(Err(CallError::Refused)),
            (None, Ok(_)) => None,
        };
        let is_sent = answer.is_none();
        state.calls.insert(ticket, Pending { answer, waiter: self.handle.waiter() });
        drop(state);
        if is_sent && let Some(other) = self.other() {
            other.state.borrow_mut().requests.push_back((ticket, request));
            other.requesting.wake();
        }
        Ticket(ticket)
    }

    fn poll_answer(&self, ticket: Ticket, cx: &mut Context<'_>) -> Poll<Result<Frame, CallError>> {
        let mut state = self.state.borrow_mut();
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
        self.state.borrow_mut().calls.remove(&ticket.0);
        if let Some(other) = self.other() {
            let state = &mut *other.state.borrow_mut();
            state.requests.retain(|(number, _)| *number != ticket.0);
            if let Some(is_wanted) = state.taken.get_mut(&ticket.0) {
                *is_wanted = false;
            }
        }
    }

    fn poll_request(&self, cx: &mut Context<'_>) -> Poll<Result<(Ticket, Frame), Closed>> {
        let mut state = self.state.borrow_mut();
        if let Some((number, frame)) = state.requests.pop_front() {
            state.taken.insert(number, true);
            return Poll::Ready(Ok((Ticket(number), frame)));
        }
        if let Some(why) = state.closed {
            return Poll::Ready(Err(why));
        }
        self.requesting.wait(cx);
        Poll::Pending
    }

    fn is_wanted(&self, ticket: Ticket) -> bool {
        let state = self.state.borrow();
        state.closed.is_none() && state.taken.get(&ticket.0).copied().unwrap_or(false)
    }

    fn answer(&self, ticket: Ticket, answer: Frame) {
        self.state.borrow_mut().taken.remove(&ticket.0);
        if let Some(other) = self.other() {
            other.settle(ticket, answer.check().map(|_| answer).map_err(CallError::Garbled));
        }
    }

    fn refuse(&self, ticket: Ticket) {
        self.state.borrow_mut().taken.remove(&ticket.0);
        if let Some(other) = self.other() {
            other.settle(ticket, Err(CallError::Refused));
        }
    }

    fn tell(&self, message: &[u8]) -> bool {
        if self.state.borrow().closed.is_some() {
            return false;
        }
        let Some(other) = self.other() else { return false };
        let told = &mut other.state.borrow_mut().told;
        let has_room = told.len() < TOLD_MAX;
        if has_room {
            told.push_back(message.to_vec());
            other.telling.wake();
        }
        has_room
    }

    fn poll_told(&self, cx: &mut Context<'_>, into: &mut Vec<u8>) -> Poll<Result<(), Closed>> {
        let mut state = self.state.borrow_mut();
        if let Some(message) = state.told.pop_front() {
            into.extend_from_slice(&message);
            return Poll::Ready(Ok(()));
        }
        if let Some(why) = state.closed {
            return Poll::Ready(Err(why));
        }
        self.telling.wait(cx);
        Poll::Pending
    }

    fn poll_ready(&self, _: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        Poll::Ready(self.closed().map_or(Ok(()), Err))
    }

    fn closed(&self) -> Option<Closed> {
        self.state.borrow().closed
    }

    fn close(&self) {
        self.end(Closed::Here, Closed::ByPeer);
    }
}

impl Drop for End {
    /// Nobody holds this side any more: to the other it is closed.
    fn drop(&mut self) {
        if let Some(other) = self.other() {
            other.end_here(Closed::ByPeer);
        }
    }
}
