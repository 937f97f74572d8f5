//! A client that dies after so many messages: what it would have sent then is not sent, and what
//! it is answered it does not hear.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll};

use isotherm_transport::{
    CallError, Closed, Connection, Frame, LocalNetwork, Network, PeerAddr, Session, Ticket,
};

/// Messages that a client may still send.
#[derive(Clone)]
pub(crate) struct Life(Rc<Cell<u64>>);

impl Life {
    pub(crate) fn new(messages: u64) -> Life {
        Life(Rc::new(Cell::new(messages)))
    }

    pub(crate) fn is_over(&self) -> bool {
        self.0.get() == 0
    }

    fn spend(&self) -> bool {
        let left = self.0.get();
        self.0.set(left.saturating_sub(1));
        left > 0
    }
}

pub(crate) struct MortalNetwork {
    pub(crate) network: Rc<LocalNetwork>,
    pub(crate) life: Life,
}

impl Network for MortalNetwork {
    fn dial(&self, to: &PeerAddr) -> Connection {
        let session = Mortal { session: self.network.dial(to), life: self.life.clone() };
        Connection::new(Rc::new(session))
    }

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<Connection> {
        self.network.poll_accept(cx)
    }

    fn local(&self) -> SocketAddr {
        self.network.local()
    }
}

struct Mortal {
    session: Connection,
    life: Life,
}

/// Of a call that was never sent.
const NEVER: Ticket = Ticket(u64::MAX);

impl Session for Mortal {
    fn peer(&self) -> PeerAddr {
        self.session.peer()
    }

    fn call(&self, request: Frame) -> Ticket {
        if self.life.spend() { Session::call(&*self.session, request) } else { NEVER }
    }

    fn poll_answer(&self, ticket: Ticket, cx: &mut Context<'_>) -> Poll<Result<Frame, CallError>> {
        if self.life.is_over() {
            return Poll::Pending;
        }
        self.session.poll_answer(ticket, cx)
    }

    fn abandon(&self, ticket: Ticket) {
        // Who is dead does not tell anybody.
        if !self.life.is_over() && ticket != NEVER {
            self.session.abandon(ticket);
        }
    }

    fn poll_request(&self, cx: &mut Context<'_>) -> Poll<Result<(Ticket, Frame), Closed>> {
        self.session.poll_request(cx)
    }

    fn is_wanted(&self, ticket: Ticket) -> bool {
        self.session.is_wanted(ticket)
    }

    fn answer(&self, ticket: Ticket, answer: Frame) {
        self.session.answer(ticket, answer);
    }

    fn refuse(&self, ticket: Ticket) {
        self.session.refuse(ticket);
    }

    fn tell(&self, message: &[u8]) -> bool {
        self.life.is_over() || self.session.tell(message)
    }

    fn poll_told(&self, cx: &mut Context<'_>, into: &mut Vec<u8>) -> Poll<Result<(), Closed>> {
        self.session.poll_told(cx, into)
    }

    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        self.session.poll_ready(cx)
    }

    fn closed(&self) -> Option<Closed> {
        self.session.closed()
    }

    fn close(&self) {
        self.session.close();
    }
}
