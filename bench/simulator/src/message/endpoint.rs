//! Where sessions come from: one endpoint of one core.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};

use isotherm_reactor::{Handle, Waiter};
use isotherm_sim::HostId;
use isotherm_transport::{Closed, Connection, Network, PeerAddr};

use super::end::End;
use super::{Event, Net, What, connection};

/// An endpoint of a network of messages.
pub struct MessageEndpoint {
    net: Weak<RefCell<Net>>,
    host: HostId,
    addr: SocketAddr,
    name: String,
    handle: Handle,
    accepted: RefCell<VecDeque<Rc<End>>>,
    accepting: Waiter,
}

impl MessageEndpoint {
    pub(super) fn new(
        net: &Rc<RefCell<Net>>,
        host: HostId,
        addr: SocketAddr,
        name: &str,
        handle: &Handle,
    ) -> Rc<MessageEndpoint> {
        Rc::new(MessageEndpoint {
            net: Rc::downgrade(net),
            host,
            addr,
            name: name.to_owned(),
            handle: handle.clone(),
            accepted: RefCell::default(),
            accepting: handle.waiter(),
        })
    }

    pub(super) fn host(&self) -> HostId {
        self.host
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// What this endpoint knows of who dials it.
    pub(super) fn peer_of(&self, near: &End) -> PeerAddr {
        PeerAddr { addr: near.local, name: near.local_name.borrow().clone() }
    }

    /// A session's handshake is done.
    pub(super) fn accept(&self, end: Rc<End>) {
        self.accepted.borrow_mut().push_back(end);
        self.accepting.wake();
    }
}

impl Network for MessageEndpoint {
    fn dial(&self, to: &PeerAddr) -> Connection {
        let shared = self.net.upgrade().expect("the network outlives its endpoints");
        let net = &mut *shared.borrow_mut();
        let near = net.add_end(&self.handle, self.host, self.addr, to.clone());
        near.local_name.borrow_mut().clone_from(&self.name);
        let now = isotherm_seam::Clock::mono(&net.clock);
        let until = now + net.config.handshake_timeout;
        net.schedule(until, Event::Handshake { end: near.id });
        let host = net.addrs.get(&to.addr).copied();
        // An endpoint that is gone has a core that is over: it dials nobody.
        let is_ours = net.endpoints.get(&self.addr).is_some_and(|e| std::ptr::eq(&**e, self));
        if !is_ours {
            net.end_one(&near, Closed::Here);
        } else if let Some(host) = host {
            let what = What::Dial { to: to.addr, name: to.name.clone() };
            net.send_between(self.host, host, near.id, what);
        }
        connection(&shared, &near)
    }

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<Connection> {
        let next = self.accepted.borrow_mut().pop_front();
        match (next, self.net.upgrade()) {
            (Some(end), Some(net)) => Poll::Ready(connection(&net, &end)),
            _ => {
                self.accepting.wait(cx);
                Poll::Pending
            }
        }
    }

    fn local(&self) -> SocketAddr {
        self.addr
    }
}
