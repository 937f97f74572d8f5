//! What comes in: datagrams, and connections that strangers ask for.

use std::io::IoSliceMut;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;

use bytes::BytesMut;
use isotherm_seam::{Mono, Received};
use quinn_proto::{ConnectionHandle, DatagramEvent, EcnCodepoint};

use super::{Quic, RECV_BUFS, Setup, State, WORTH_KEEPING};
use crate::quic::config::Crypto;
use crate::quic::link::{Link, closed_by};
use crate::{Closed, PeerAddr};

/// Bytes of datagrams looked at in one turn; the rest waits for the next. Eight answers of 4 KiB:
/// with all that has come in one turn, sixteen calls of a client would go to and fro in one heap,
/// and each side would idle while the other works.
const BYTES_PER_TURN: usize = 32 << 10;

impl Quic {
    /// Takes in what the socket has, as far as a turn goes. Returns how many datagrams that were.
    pub(super) fn receive(&self, state: &mut State, now: Mono) -> usize {
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

    pub(super) fn add(
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
    pub(super) fn renew(&self, state: &mut State) {
        if let Crypto::Tls(identities) = &self.config.crypto
            && identities.generation() != state.setup.generation
        {
            let setup = Setup::new(&self.config, state.setup.cids.clone(), &state.time);
            state.endpoint.set_server_config(Some(Arc::clone(&setup.server)));
            state.setup = setup;
        }
    }
}
