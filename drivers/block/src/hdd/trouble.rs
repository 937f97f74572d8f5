//! What goes wrong in a drive without an error: retries, recalibration, a weak region, a drive
//! that has become slow.
//!
//! What must always hold: trouble costs time and never changes data. A draw depends on the
//! seed, the block and the time of arrival, not on what else was drawn.

use core::ops::Range;

use isotherm_seam::{Domain, Mono, Nanos, draw};

use super::geometry::Span;

const RETRY: Domain = Domain::new("hdd.retry");
const LENGTH: Domain = Domain::new("hdd.retry.length");

/// Chance that a command meets a recalibration of 20 to 60 ms. [estimate]
const RECALIBRATE: f64 = 1e-4;
/// Chance that a command is read or written again for 1 to 256 turns (8 ms to 2 s). [estimate]
const RETRY_TURNS: f64 = 1e-5;
/// Chance that a read of a weak region is.
const WEAK: f64 = 0.5;

/// A drive that takes a multiple of the time it should.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Slow {
    /// Times as long as normal; at least 1.
    pub factor: f64,
    /// Slow for so long...
    pub on: Nanos,
    /// ... at the start of each period of this length. Always, if the two are equal.
    pub every: Nanos,
}

impl Slow {
    /// Slow at all times.
    pub const fn always(factor: f64) -> Slow {
        Slow { factor, on: Nanos(1), every: Nanos(1) }
    }
}

/// What goes wrong, and how often.
#[derive(Clone, Debug)]
pub(super) struct Trouble {
    seed: u64,
    /// Multiplies the chances of retries and recalibration.
    retries: f64,
    slow: Option<Slow>,
    /// Blocks that take retries to read.
    weak: Range<u64>,
    turn: Nanos,
}

impl Trouble {
    pub(super) fn new(
        seed: u64,
        retries: f64,
        slow: Option<Slow>,
        weak: Range<u64>,
        turn: Nanos,
    ) -> Trouble {
        Trouble { seed, retries, slow, weak, turn }
    }

    /// How much longer than normal everything takes at this time.
    #[inline]
    pub(super) fn pace(&self, now: Mono) -> f64 {
        match self.slow {
            Some(slow) if now.0 % slow.every.0.max(1) < slow.on.0 => slow.factor,
            _ => 1.0,
        }
    }

    /// Time lost to retries by a command that arrived then.
    #[inline]
    pub(super) fn extra(&self, span: &Span, write: bool, arrived: Mono) -> Nanos {
        let chance = unit(draw(self.seed, RETRY, span.first, arrived.0));
        let weak = !write && span.first < self.weak.end && self.weak.start < span.end;
        let retry = self.retries * RETRY_TURNS + if weak { WEAK } else { 0.0 };
        if chance < retry {
            self.turns(draw(self.seed, LENGTH, span.first, arrived.0))
        } else if chance < retry + self.retries * RECALIBRATE {
            let length = unit(draw(self.seed, LENGTH, span.first, arrived.0));
            Nanos::from_millis_f64(20.0 + 40.0 * length)
        } else {
            Nanos::ZERO
        }
    }

    /// 1 to 256 turns, as likely between any power of two and the next.
    fn turns(&self, chance: u64) -> Nanos {
        let octave = 1u64 << (chance % 8);
        let turns = octave as f64 * (1.0 + unit(chance));
        Nanos(turns.floor() as u64 * self.turn.0)
    }
}

/// Uniform in [0, 1) from the high bits.
fn unit(chance: u64) -> f64 {
    (chance >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TURN: Nanos = Nanos(8_333_333);

    fn span(first: u64) -> Span {
        Span { first, end: first + 8, ..Span::default() }
    }

    #[test]
    fn retries_are_as_rare_as_stated_and_none_when_off() {
        let trouble = Trouble::new(3, 10.0, None, 0..0, TURN);
        let n = 1_000_000u64;
        let extras: Vec<Nanos> = (0..n)
            .map(|i| trouble.extra(&span(i), false, Mono(i)))
            .filter(|&extra| extra > Nanos::ZERO)
            .collect();
        // 1.1e-3 of a million: deviation 33.
        assert!((950..=1_250).contains(&extras.len()), "{}", extras.len());
        let longest = extras.iter().max().unwrap().as_millis_f64();
        assert!((200.0..2_134.0).contains(&longest), "{longest} ms");
        let off = Trouble::new(3, 0.0, None, 0..0, TURN);
        assert!((0..n).all(|i| off.extra(&span(i), false, Mono(i)) == Nanos::ZERO));
    }

    #[test]
    fn a_weak_region_hurts_reads_that_touch_it() {
        let trouble = Trouble::new(3, 0.0, None, 100..200, TURN);
        let hurt = |first, write| {
            (0..1_000)
                .filter(|&t| trouble.extra(&span(first), write, Mono(t)) > Nanos::ZERO)
                .count()
        };
        assert_eq!((hurt(92, false), hurt(200, false), hurt(150, true)), (0, 0, 0));
        assert!((400..600).contains(&hurt(93, false)));
        assert!((400..600).contains(&hurt(199, false)));
    }

    #[test]
    fn a_periodic_slowness_comes_and_goes() {
        let slow = Slow { factor: 4.0, on: Nanos(10), every: Nanos(100) };
        let trouble = Trouble::new(0, 0.0, Some(slow), 0..0, TURN);
        let paces: Vec<f64> = [0, 9, 10, 99, 100].map(|t| trouble.pace(Mono(t))).to_vec();
        assert_eq!(paces, [4.0, 4.0, 1.0, 1.0, 4.0]);
    }
}
