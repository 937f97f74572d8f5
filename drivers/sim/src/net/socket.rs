//! A socket of a simulated network, and what is on its way to it.
//!
//! What must always hold: what arrived while nobody read is kept up to the size of the buffer,
//! first come first kept, exactly as if the host had taken each datagram in at its time: nothing
//! is read between two reads, so it is enough to settle it then.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;

use isotherm_seam::{Datagram, DatagramLimits, Due, Ecn, Mono, Received, SendRefused, Transmit};

use super::{HostId, Net};

/// The most bytes of one batch: what the kernel takes, less headers.
const BATCH_BYTES_MAX: usize = 65_000;

/// A datagram on its way.
pub(crate) struct Parcel {
    pub(crate) at: Mono,
    /// Orders those of one time.
    pub(crate) number: u64,
    pub(crate) from: SocketAddr,
    pub(crate) sender: HostId,
    pub(crate) ecn: Option<Ecn>,
    pub(crate) content: Rc<[u8]>,
}

impl PartialEq for Parcel {
    fn eq(&self, other: &Parcel) -> bool {
        self.number == other.number
    }
}

impl Eq for Parcel {}

impl PartialOrd for Parcel {
    fn partial_cmp(&self, other: &Parcel) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Parcel {
    fn cmp(&self, other: &Parcel) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// What is on its way to one socket, and what has arrived.
pub(crate) struct Inbox {
    pub(crate) host: HostId,
    session: u64,
    under_way: BinaryHeap<Reverse<Parcel>>,
    arrived: VecDeque<Parcel>,
    arrived_bytes: usize,
}

impl Inbox {
    pub(crate) fn new(host: HostId, session: u64) -> Inbox {
        Inbox {
            host,
            session,
            under_way: BinaryHeap::new(),
            arrived: VecDeque::new(),
            arrived_bytes: 0,
        }
    }

    pub(crate) fn put(&mut self, parcel: Parcel) {
        self.under_way.push(Reverse(parcel));
    }

    pub(crate) fn parcels(&self) -> usize {
        self.under_way.len() + self.arrived.len()
    }

    /// When there is something to read.
    pub(crate) fn next(&self) -> Option<Mono> {
        match self.arrived.front() {
            Some(parcel) => Some(parcel.at),
            None => self.under_way.peek().map(|parcel| parcel.0.at),
        }
    }

    /// Takes in what has arrived by now; returns how many found no room.
    pub(crate) fn settle(&mut self, now: Mono, bytes_max: usize) -> u64 {
        let mut lost = 0;
        while self.under_way.peek().is_some_and(|parcel| parcel.0.at <= now) {
            let Reverse(parcel) = self.under_way.pop().expect("just seen");
            if self.arrived_bytes + parcel.content.len() > bytes_max {
                lost += 1;
                continue;
            }
            self.arrived_bytes += parcel.content.len();
            self.arrived.push_back(parcel);
        }
        lost
    }

    /// Loses what has not arrived yet of this sender; returns how many.
    pub(crate) fn cut(&mut self, now: Mono, sender: HostId) -> usize {
        let before = self.under_way.len();
        self.under_way.retain(|parcel| parcel.0.sender != sender || parcel.0.at <= now);
        before - self.under_way.len()
    }

    /// The next that has arrived, if `is_next` takes it.
    fn take(&mut self, is_next: impl FnOnce(&Parcel) -> bool) -> Option<Parcel> {
        let parcel = self.arrived.pop_front_if(|parcel| is_next(parcel))?;
        self.arrived_bytes -= parcel.content.len();
        Some(parcel)
    }
}

/// A simulated socket as its core holds it.
pub struct SimSocket {
    net: Rc<RefCell<Net>>,
    host: HostId,
    local: SocketAddr,
    session: u64,
    /// What has not left this host's queues: when it will have, and how long it is.
    leaving: VecDeque<(Mono, usize)>,
    leaving_bytes: usize,
    /// A send was refused: then there is room again.
    room_at: Option<Mono>,
}

impl SimSocket {
    pub(crate) fn new(
        net: Rc<RefCell<Net>>,
        host: HostId,
        local: SocketAddr,
        session: u64,
    ) -> SimSocket {
        SimSocket {
            net,
            host,
            local,
            session,
            leaving: VecDeque::new(),
            leaving_bytes: 0,
            room_at: None,
        }
    }

    /// The host it belongs to.
    #[must_use]
    pub fn host(&self) -> HostId {
        self.host
    }

    fn make_room(&mut self, now: Mono) {
        while let Some((_, len_bytes)) = self.leaving.pop_front_if(|(left, _)| *left <= now) {
            self.leaving_bytes -= len_bytes;
        }
    }
}

impl Datagram for SimSocket {
    fn local(&self) -> SocketAddr {
        self.local
    }

    fn limits(&self) -> DatagramLimits {
        let config = &self.net.borrow().config;
        DatagramLimits {
            send_segments_max: config.send_segments_max,
            send_bytes_max: BATCH_BYTES_MAX,
            recv_bytes_max: BATCH_BYTES_MAX,
        }
    }

    /// Panics on a batch beyond the limits: a kernel would drop it without a word.
    fn send(&mut self, now: Mono, transmit: &Transmit<'_>) -> Result<(), SendRefused> {
        self.room_at = None;
        let contents = transmit.contents;
        let stride = transmit.segment_bytes.unwrap_or(contents.len()).max(1);
        assert!(contents.len() <= BATCH_BYTES_MAX, "a batch of {} bytes", contents.len());
        if transmit.to.is_ipv4() != self.local.is_ipv4() {
            const EAFNOSUPPORT: i32 = 97;
            return Err(SendRefused::Unreachable { errno: EAFNOSUPPORT });
        }
        self.make_room(now);
        let net = &mut *self.net.borrow_mut();
        assert!(
            contents.len().div_ceil(stride) <= net.config.send_segments_max,
            "a batch of {} segments",
            contents.len().div_ceil(stride)
        );
        let waits = self.leaving_bytes;
        if waits > 0 && waits + contents.len() > net.config.send_buffer_bytes {
            net.counters.refused += 1;
            self.room_at = self.leaving.front().map(|(left, _)| *left);
            return Err(SendRefused::Full);
        }
        let mut one = |segment: &[u8]| {
            let left = net.send(now, self.host, self.local, transmit.to, transmit.ecn, segment);
            if let Some(left) = left.filter(|left| *left > now) {
                self.leaving.push_back((left, segment.len()));
                self.leaving_bytes += segment.len();
            }
        };
        if contents.is_empty() {
            one(&[]);
        }
        contents.chunks(stride).for_each(one);
        Ok(())
    }

    fn recv(&mut self, now: Mono, buf: &mut [u8]) -> Option<Received> {
        assert!(buf.len() >= BATCH_BYTES_MAX, "as documented");
        let net = &mut *self.net.borrow_mut();
        let (bytes_max, segments_max) =
            (net.config.recv_buffer_bytes, net.config.recv_segments_max);
        let inbox =
            net.inboxes.get_mut(&self.local).filter(|inbox| inbox.session == self.session)?;
        net.counters.buffer_full += inbox.settle(now, bytes_max);
        let mut parcels = vec![inbox.take(|_| true)?];
        let stride = parcels[0].content.len();
        let mut len_bytes = stride;
        while parcels.len() < segments_max && stride > 0 {
            let (first, last) = (&parcels[0], &parcels[parcels.len() - 1]);
            if last.content.len() < stride {
                break;
            }
            let next = inbox.take(|next| {
                next.from == first.from
                    && next.ecn == first.ecn
                    && (1..=stride).contains(&next.content.len())
                    && len_bytes + next.content.len() <= BATCH_BYTES_MAX
            });
            let Some(next) = next else { break };
            len_bytes += next.content.len();
            parcels.push(next);
        }
        net.counters.received += parcels.len() as u64;
        let mut at = 0;
        for parcel in &parcels {
            buf[at..at + parcel.content.len()].copy_from_slice(&parcel.content);
            at += parcel.content.len();
            net.record_read(now, self.host, parcel);
        }
        Some(Received {
            from: parcels[0].from,
            to_ip: Some(self.local.ip()),
            ecn: parcels[0].ecn,
            len_bytes,
            stride_bytes: stride,
        })
    }

    fn due(&self) -> Due {
        let net = self.net.borrow();
        let inbox = net.inboxes.get(&self.local).filter(|inbox| inbox.session == self.session);
        let next = [inbox.and_then(Inbox::next), self.room_at].into_iter().flatten().min();
        // Nothing is under way: only somebody else's sending can change that.
        next.map_or(Due::Event, Due::At)
    }
}

impl Drop for SimSocket {
    fn drop(&mut self) {
        let net = &mut *self.net.borrow_mut();
        if net.inboxes.get(&self.local).is_some_and(|inbox| inbox.session == self.session) {
            net.inboxes.remove(&self.local);
        }
    }
}
