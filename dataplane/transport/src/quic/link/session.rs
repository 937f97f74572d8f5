//! A connection as nodes and clients hold it.

use std::rc::Rc;
use std::task::{Context, Poll};

use super::{CallSlot, Link, Phase, cut, farewell};
use crate::quic::message::{Incoming, Outgoing};
use crate::{CallError, Closed, Frame, PeerAddr, Session, Ticket};

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
