//! The streams of a connection: what is read from them, what is written to them.

use quinn_proto::{Dir, ReadError, StreamEvent, StreamId, VarInt, WriteError};

use super::{Link, LinkState, Owner, RequestSlot, TOLD_PRIORITY, cut, farewell};
use crate::quic::counters::QuicCounters;
use crate::quic::message::{Incoming, Read, Sent};
use crate::{CallError, Closed, Ticket};

impl Link {
    pub(super) fn stream_event(
        &self,
        state: &mut LinkState,
        event: StreamEvent,
        counters: &mut QuicCounters,
    ) {
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
    pub(super) fn drop_request(&self, state: &mut LinkState, ticket: Ticket, code: VarInt) {
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
    pub(super) fn open_queued(&self, state: &mut LinkState) {
        while let Some(&ticket) = state.queued.front() {
            if !self.open(state, ticket) {
                return;
            }
            state.queued.pop_front();
        }
    }

    /// Gives a stream to a call. False if there is none now.
    pub(super) fn open(&self, state: &mut LinkState, ticket: Ticket) -> bool {
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
    pub(super) fn prefer_older(&self, state: &mut LinkState, id: StreamId) {
        let age = i32::try_from(state.opened & 0x7fff_ffff).expect("31 bits");
        state.opened = state.opened.wrapping_add(1);
        if let Some(conn) = &mut state.conn {
            let _ = conn.send_stream(id).set_priority(TOLD_PRIORITY - 1 - age);
        }
    }

    /// Sends the message of a stream, behind those that wait for room.
    pub(super) fn write(&self, state: &mut LinkState, id: StreamId) {
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
    pub(super) fn pump_told(&self, state: &mut LinkState) {
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
    pub(super) fn read_told(&self, state: &mut LinkState) {
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
}
