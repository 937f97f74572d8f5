//! Links and hosts: when a message arrives.
//!
//! What must always hold: a message's fate depends on the seed, its link and its number on it.

use isotherm_seam::{Domain, Draws, Mono, Nanos, draw};
use isotherm_sim::{HostId, LinkShape, exponential};

const JITTER: Domain = Domain::new("simulator.message.jitter");
const LOSS: Domain = Domain::new("simulator.message.loss");

/// Losses in a row before a message is let through: 0.5^10 at a loss of one half.
const LOSSES_MAX: u32 = 10;

/// The state of a host.
#[derive(Clone, Copy, Default)]
pub(super) struct Host {
    pub(super) is_up: bool,
    pub(super) is_paused: bool,
}

impl Host {
    pub(super) fn is_awake(&self) -> bool {
        self.is_up && !self.is_paused
    }
}

pub(super) struct Link {
    pub(super) shape: LinkShape,
    pub(super) is_cut: bool,
    busy_until: Mono,
    messages: u64,
}

/// Every link.
pub(super) struct Route {
    seed: u64,
    shape: LinkShape,
    /// By the host that sends and the one that receives: looked for twice for each message.
    links: Vec<Vec<Option<Link>>>,
}

/// What becomes of a message.
pub(super) struct Sent {
    /// When the last of it has left.
    pub(super) left: Mono,
    pub(super) arrives: Mono,
    /// Datagrams that were lost and sent again.
    pub(super) lost: u32,
}

impl Route {
    pub(super) fn new(seed: u64, shape: LinkShape) -> Route {
        Route { seed, shape, links: Vec::new() }
    }

    pub(super) fn set_shape(&mut self, shape: LinkShape) {
        self.shape = shape;
        self.links.iter_mut().flatten().flatten().for_each(|link| link.shape = shape);
    }

    pub(super) fn mend_all(&mut self) {
        self.links.iter_mut().flatten().flatten().for_each(|link| link.is_cut = false);
    }

    pub(super) fn link(&mut self, from: HostId, to: HostId) -> &mut Link {
        let shape = self.shape;
        let (from, to) = (from.0 as usize, to.0 as usize);
        if self.links.len() <= from {
            self.links.resize_with(from + 1, Vec::new);
        }
        let links = &mut self.links[from];
        if links.len() <= to {
            links.resize_with(to + 1, || None);
        }
        let new = Link { shape, is_cut: false, busy_until: Mono::ZERO, messages: 0 };
        links[to].get_or_insert(new)
    }

    /// A message sets out. An urgent one does not wait for payload before it.
    pub(super) fn send(
        &mut self,
        now: Mono,
        from: HostId,
        to: HostId,
        len_bytes: usize,
        is_urgent: bool,
        retransmit: Nanos,
    ) -> Sent {
        let seed = self.seed;
        let link = self.link(from, to);
        let shape = link.shape;
        let number = link.messages;
        link.messages += 1;
        let mut left = now;
        if !is_urgent && shape.bytes_per_s > 0 {
            let takes = len_bytes as u128 * 1_000_000_000 / u128::from(shape.bytes_per_s);
            left = link.busy_until.max(now) + Nanos(takes as u64);
            link.busy_until = left;
        }
        let entity = u64::from(from.0) << 32 | u64::from(to.0);
        let mut arrives = left + shape.delay;
        if shape.jitter > Nanos::ZERO {
            let jitter = exponential(draw(seed, JITTER, entity, number));
            arrives = arrives + Nanos((shape.jitter.0 as f64 * jitter) as u64);
        }
        let mut lost = 0;
        let p = shape.loss + shape.bit_flip;
        if p > 0.0 {
            // One datagram after the other would take as many draws; what is lost of a long
            // message costs one retransmission time together, and may be lost again.
            let datagrams = len_bytes.div_ceil(shape.mtu_bytes.max(1));
            let mut p = (p * datagrams as f64).min(0.9);
            let mut draws = Draws::new(draw(seed, LOSS, entity, number), LOSS, 0);
            while lost < LOSSES_MAX && draws.happens(p) {
                let wait = Nanos(retransmit.0 << lost);
                arrives = arrives + wait.min(Nanos::from_secs(1));
                lost += 1;
                p = (shape.loss + shape.bit_flip).min(0.9);
            }
        }
        Sent { left, arrives, lost }
    }
}
