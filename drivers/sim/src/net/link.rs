//! One direction between two hosts: what becomes of each datagram, and when.
//!
//! What must always hold: a decision depends on the seed, the link, the datagram's number on the
//! link and the state of the link's queue; never on what became of datagrams of other links.
//!
//! ```text
//! sent ─> in the queue (bytes per second, bounded) ─> delay + jitter ─> arrives
//!          begins at the end of what is before it, or of a clog
//! ```

use isotherm_seam::{Domain, Draws, Mono, Nanos, draw};

const LOSS: Domain = Domain::new("sim.net.loss");
const JITTER: Domain = Domain::new("sim.net.jitter");
const DOUBLE: Domain = Domain::new("sim.net.double");
const DOUBLE_JITTER: Domain = Domain::new("sim.net.double.jitter");
const FLIP: Domain = Domain::new("sim.net.flip");

/// What one direction between two hosts is like.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct LinkShape {
    /// The least time from the end of the queue to the receiver.
    pub delay: Nanos,
    /// Mean of an exponential time on top of it, drawn per datagram. More than the distance of
    /// two datagrams lets them overtake each other.
    pub jitter: Nanos,
    /// What the queue sends; 0 is without bound, and then there is no queue.
    pub bytes_per_s: u64,
    /// Bytes that wait in the queue; what comes beyond is dropped.
    pub queue_bytes_max: u64,
    /// The longest datagram that passes, without headers of IP and UDP. Longer ones are lost.
    pub mtu_bytes: usize,
    /// Probability that a datagram is lost.
    pub loss: f64,
    /// Probability that it arrives twice.
    pub duplication: f64,
    /// Probability that one bit of it is flipped.
    pub bit_flip: f64,
}

impl Default for LinkShape {
    /// Ten gigabit Ethernet in one hall: 25 µs and a mean of 5 µs more, jumbo frames, a queue
    /// of 1 MiB. Round figures. Nothing goes wrong.
    fn default() -> LinkShape {
        LinkShape {
            delay: Nanos::from_micros(25),
            jitter: Nanos::from_micros(5),
            bytes_per_s: 1_250_000_000,
            queue_bytes_max: 1 << 20,
            mtu_bytes: 8972,
            loss: 0.0,
            duplication: 0.0,
            bit_flip: 0.0,
        }
    }
}

/// What becomes of one datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    TooLong,
    QueueFull,
    Lost,
    Arrives {
        at: Mono,
        /// A copy arrives then.
        again: Option<Mono>,
        /// This bit of it is flipped.
        flipped_bit: Option<u64>,
    },
}

/// One direction between two hosts.
pub(crate) struct Link {
    seed: u64,
    entity: u64,
    pub(crate) shape: LinkShape,
    pub(crate) is_cut: bool,
    clogged_until: Mono,
    /// When the queue is empty if nothing else comes.
    busy_until: Mono,
    datagrams: u64,
}

impl Link {
    pub(crate) fn new(seed: u64, entity: u64, shape: LinkShape) -> Link {
        Link {
            seed,
            entity,
            shape,
            is_cut: false,
            clogged_until: Mono::ZERO,
            busy_until: Mono::ZERO,
            datagrams: 0,
        }
    }

    /// The number of the next datagram; each has one, whatever becomes of it.
    pub(crate) fn next_number(&mut self) -> u64 {
        let number = self.datagrams;
        self.datagrams += 1;
        number
    }

    /// What is sent from now on leaves the queue only then.
    pub(crate) fn clog(&mut self, until: Mono) {
        self.clogged_until = self.clogged_until.max(until);
    }

    /// When what is sent now, of so many bytes, has left the queue; `None` when it is full.
    fn leaves(&mut self, now: Mono, len_bytes: usize) -> Option<Mono> {
        let begin = self.clogged_until.max(now);
        if self.shape.bytes_per_s == 0 {
            return Some(begin);
        }
        let rate = u128::from(self.shape.bytes_per_s);
        let waits = u128::from(self.busy_until.since(begin).0) * rate / 1_000_000_000;
        if waits + len_bytes as u128 > u128::from(self.shape.queue_bytes_max) {
            return None;
        }
        let takes = len_bytes as u128 * 1_000_000_000 / rate;
        self.busy_until = self.busy_until.max(begin) + Nanos(takes as u64);
        Some(self.busy_until)
    }

    /// Decides on datagram `number`. Second value: when it has left this host, for one that got
    /// into the queue.
    pub(crate) fn decide(
        &mut self,
        now: Mono,
        number: u64,
        len_bytes: usize,
    ) -> (Fate, Option<Mono>) {
        if len_bytes > self.shape.mtu_bytes {
            return (Fate::TooLong, None);
        }
        let Some(left) = self.leaves(now, len_bytes) else { return (Fate::QueueFull, None) };
        let shape = self.shape;
        if self.happens(LOSS, number, shape.loss) {
            return (Fate::Lost, Some(left));
        }
        let at = left + shape.delay + self.jitter(JITTER, number);
        let again = self
            .happens(DOUBLE, number, shape.duplication)
            .then(|| left + shape.delay + self.jitter(DOUBLE_JITTER, number));
        let flipped_bit = (len_bytes > 0 && self.happens(FLIP, number, shape.bit_flip))
            .then(|| self.draw(FLIP, !number) % (len_bytes as u64 * 8));
        (Fate::Arrives { at, again, flipped_bit }, Some(left))
    }

    fn jitter(&self, domain: Domain, number: u64) -> Nanos {
        if self.shape.jitter == Nanos::ZERO {
            return Nanos::ZERO;
        }
        Nanos((self.shape.jitter.0 as f64 * exponential(self.draw(domain, number))) as u64)
    }

    fn happens(&self, domain: Domain, number: u64, p: f64) -> bool {
        p > 0.0 && Draws::new(self.draw(domain, number), domain, 0).happens(p)
    }

    fn draw(&self, domain: Domain, number: u64) -> u64 {
        draw(self.seed, domain, self.entity, number)
    }
}

/// A draw of the exponential law of mean 1, from 64 uniform bits: -ln(u).
///
/// Only additions, multiplications and divisions, which IEEE 754 fixes to the last bit; the `ln`
/// of each system's library differs in the last place, and a run must not. With u = m / 2^(z+1)
/// and m in 1..2: -ln(u) = (z + 1) ln 2 - ln m, and ln m = 2 atanh s with s = (m-1)/(m+1) <= 1/3.
/// Nine terms leave an error below 10^-9.
#[must_use]
pub fn exponential(word: u64) -> f64 {
    let word = word | 1;
    let zeros = word.leading_zeros();
    let mantissa = (word << zeros) >> 11;
    let m = mantissa as f64 / (1u64 << 52) as f64;
    let s = (m - 1.0) / (m + 1.0);
    let square = s * s;
    let mut sum = 0.0;
    for term in (0..9).rev() {
        sum = sum * square + 1.0 / f64::from(2 * term + 1);
    }
    f64::from(zeros + 1) * std::f64::consts::LN_2 - 2.0 * s * sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_is_minus_ln() {
        for word in [1, 2, 77, 1 << 20, u64::MAX / 3, u64::MAX / 2, 1 << 63, u64::MAX] {
            let u = (word | 1) as f64 / 18_446_744_073_709_551_616.0;
            let difference = exponential(word) + u.ln();
            assert!(difference.abs() < 1e-9, "{word}: {difference}");
        }
        let mut draws = Draws::new(3, LOSS, 0);
        let mean = (0..100_000).map(|_| exponential(draws.next_u64())).sum::<f64>() / 1e5;
        // The deviation of the mean is 1/316.
        assert!((mean - 1.0).abs() < 0.013, "{mean}");
    }

    fn link(shape: LinkShape) -> Link {
        Link::new(1, 2, shape)
    }

    fn still() -> LinkShape {
        LinkShape { jitter: Nanos::ZERO, ..LinkShape::default() }
    }

    #[test]
    fn a_queue_sends_at_its_rate_and_drops_its_tail() {
        let shape = LinkShape { bytes_per_s: 1_000_000, queue_bytes_max: 3_500, ..still() };
        let mut link = link(shape);
        let mut at = Vec::new();
        for number in 0..5 {
            match link.decide(Mono(0), number, 1000).0 {
                Fate::Arrives { at: time, .. } => at.push(time.since(Mono(0) + shape.delay).0),
                Fate::QueueFull => at.push(0),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(at, [1_000_000, 2_000_000, 3_000_000, 0, 0]);
        // A millisecond later there is room for one more.
        assert!(matches!(link.decide(Mono(1_000_000), 5, 1000).0, Fate::Arrives { .. }));
        assert_eq!(link.decide(Mono(1_000_000), 6, 1000).0, Fate::QueueFull);
    }

    #[test]
    fn a_clog_holds_what_comes_and_the_queue_fills() {
        let shape = LinkShape { bytes_per_s: 1_000_000, queue_bytes_max: 2_500, ..still() };
        let mut link = link(shape);
        link.clog(Mono(9_000_000));
        let mut left = || link.decide(Mono(500_000), 0, 1000).1;
        assert_eq!(left(), Some(Mono(10_000_000)));
        assert_eq!(left(), Some(Mono(11_000_000)));
        assert_eq!(left(), None);
    }

    #[test]
    fn a_long_datagram_passes_nowhere() {
        let mut link = link(LinkShape { mtu_bytes: 1452, ..still() });
        assert_eq!(link.decide(Mono(0), 0, 1453), (Fate::TooLong, None));
        assert!(matches!(link.decide(Mono(0), 1, 1452).0, Fate::Arrives { .. }));
    }
}
