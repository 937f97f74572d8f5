//! What touched connections have to say, and what goes out.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use isotherm_seam::{Ecn, Mono, SendRefused};
use quinn_proto::{ConnectionHandle, EndpointEvent, Transmit};

use super::{Quic, State, add};
use crate::Closed;
use crate::quic::link::{Link, LinkState, Phase};

/// Sends of one connection in one turn.
const SENDS_PER_TURN: usize = 4;

impl Quic {
    /// Runs what may panic on behalf of one connection.
    pub(super) fn guard(&self, state: &mut State, link: &Rc<Link>, run: impl FnOnce(&Rc<Link>)) {
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
    pub(super) fn respond(&self, state: &mut State, now: Mono, transmit: &Transmit) {
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
    pub(super) fn fire(&self, state: &mut State, now: Mono) {
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
    pub(super) fn drive_all(&self, state: &mut State, now: Mono) {
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
