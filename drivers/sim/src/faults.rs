//! What goes wrong with a disk, as plain data.
//!
//! What must always hold: a plan and a seed decide every fault. A rate is drawn per request,
//! keyed by the request's number on its disk, so a plan can be cut down without disturbing what
//! is left of it; what is scheduled happens at its time.

use std::ops::Range;

use isotherm_seam::{Lba, Mono, Nanos};

use crate::CrashStyle;

/// How long requests take on a disk that is well: uniform between two bounds, plus the time
/// for the bytes. A mechanical disk is a layer above, with [`Latency::NONE`] here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Latency {
    /// Shortest and longest read.
    pub read: (Nanos, Nanos),
    /// Shortest and longest write; also of discards and zone operations.
    pub write: (Nanos, Nanos),
    /// Shortest and longest flush.
    pub flush: (Nanos, Nanos),
    /// Bytes per second once the first byte is there; 0 is at once.
    pub bytes_per_s: u64,
}

impl Latency {
    /// No time at all: every request is complete when it is polled for.
    pub const NONE: Latency = Latency {
        read: (Nanos::ZERO, Nanos::ZERO),
        write: (Nanos::ZERO, Nanos::ZERO),
        flush: (Nanos::ZERO, Nanos::ZERO),
        bytes_per_s: 0,
    };
}

impl Default for Latency {
    /// A quick disk: 50–150 µs, flushes 0.2–1 ms, 1 GB/s. Round figures, no model of any disk.
    fn default() -> Latency {
        Latency {
            read: (Nanos::from_micros(50), Nanos::from_micros(150)),
            write: (Nanos::from_micros(50), Nanos::from_micros(150)),
            flush: (Nanos::from_micros(200), Nanos::from_millis(1)),
            bytes_per_s: 1_000_000_000,
        }
    }
}

/// Everything that goes wrong with one disk.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct FaultPlan {
    /// By chance, per request.
    pub rates: FaultRates,
    /// Times and places where it is slow.
    pub slow: Vec<Slow>,
    /// Times when nothing completes.
    pub stalls: Vec<Stall>,
    /// At a time, in any order.
    pub events: Vec<FaultEvent>,
}

/// Probabilities, each between 0 and 1.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct FaultRates {
    /// A read fails and leaves no harm: the next may succeed.
    pub read_error: f64,
    /// A write fails; each of its sectors is then old, new or unreadable.
    pub write_error: f64,
    /// A flush fails; nothing was made durable by it.
    pub flush_error: f64,
    /// A read or write is answered [`isotherm_seam::IoError::TimedOut`], after 30 s; a
    /// write fails as by `write_error`.
    pub time_out: f64,
    /// A read finds that one sector of its range has become unreadable, until it is rewritten.
    pub latent: f64,
    /// A read finds that one bit of its range has flipped on the medium.
    pub rot: f64,
    /// A write is acknowledged and never applied.
    pub lost_write: f64,
    /// A write is acknowledged and applied at another address.
    pub misdirected_write: f64,
    /// A flush is acknowledged and makes nothing durable.
    pub lying_flush: f64,
}

/// How long a request takes that is answered `TimedOut`: 30 s, the default of Linux's
/// `/sys/block/*/device/timeout`.
pub(crate) const TIME_OUT: Nanos = Nanos::from_secs(30);

/// Slower than it should be.
#[derive(Clone, PartialEq, Debug)]
pub struct Slow {
    /// For requests submitted in this time.
    pub when: Range<Mono>,
    /// Where; `None` is the whole disk, flushes included.
    pub blocks: Option<Range<Lba>>,
    /// How many times slower.
    pub factor: f64,
}

/// Nothing completes for a while, once or again and again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stall {
    /// The first one begins.
    pub from: Mono,
    /// Each lasts so long.
    pub length: Nanos,
    /// From the start of one to the start of the next; `None` is once.
    pub every: Option<Nanos>,
}

/// Something that happens at a time.
#[derive(Clone, PartialEq, Debug)]
pub struct FaultEvent {
    /// When.
    pub at: Mono,
    /// What.
    pub fault: Fault,
}

/// Something that happens to a disk.
#[derive(Clone, PartialEq, Debug)]
pub enum Fault {
    /// The sectors of these blocks become unreadable until rewritten.
    Unreadable(Range<Lba>),
    /// One bit flips in each sector of these blocks.
    Rot(Range<Lba>),
    /// The next write is acknowledged and never applied.
    LoseNextWrite,
    /// The next write is applied at this address instead.
    MisdirectNextWrite(Lba),
    /// Keep a copy of what is durable, for [`Content::Remembered`].
    Remember,
    /// The disk loses power and answers `Gone`; its cache ends in this style.
    Gone(CrashStyle),
    /// It is there again, for whoever opens it anew.
    Back(Content),
}

/// What is on a disk that comes back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Content {
    /// What the power cut left.
    Kept,
    /// What was durable at the last [`Fault::Remember`]: an old copy, all of it well-formed.
    Remembered,
}

/// How a sector differs from what its owner was told.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Harm {
    /// It can't be read.
    Unreadable,
    /// A bit of it flipped.
    Rotten,
    /// An acknowledged write to it was never applied.
    Lost,
    /// A write meant for elsewhere was applied to it.
    Overwritten,
    /// It holds what it held when the disk was remembered.
    Outdated,
}

/// A fault that was injected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FaultRecord {
    /// When.
    pub at: Mono,
    /// The first block concerned; 0 where the whole disk is.
    pub lba: Lba,
    /// What.
    pub kind: FaultKind,
}

/// Kinds of injected faults.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultKind {
    /// A request failed.
    Error,
    /// A request was not answered in time.
    TimedOut,
    /// A sector became unreadable.
    Unreadable,
    /// A bit flipped.
    Rot,
    /// A write was lost.
    LostWrite,
    /// A write went to this other address.
    MisdirectedWrite {
        /// Where it went.
        to: Lba,
    },
    /// A flush lied.
    LyingFlush,
    /// The disk lost power.
    PowerCut,
    /// The disk came back with this content.
    Back(Content),
}

impl Slow {
    /// By how much a request submitted now at these blocks is slowed.
    pub(crate) fn factor_for(&self, now: Mono, blocks: &Range<Lba>) -> f64 {
        let meets = match &self.blocks {
            None => true,
            Some(slow) => slow.start < blocks.end && blocks.start < slow.end,
        };
        if meets && self.when.contains(&now) { self.factor } else { 1.0 }
    }
}

impl Stall {
    /// When something completes that would complete at `at`.
    pub(crate) fn delay(&self, at: Mono) -> Mono {
        let since = at.since(self.from).0;
        if at < self.from {
            return at;
        }
        let into = match self.every {
            Some(every) => since % every.0.max(1),
            None => since,
        };
        if into < self.length.0 { at + Nanos(self.length.0 - into) } else { at }
    }
}

impl FaultRates {
    /// Whether nothing at all happens by chance.
    pub(crate) fn is_zero(&self) -> bool {
        *self == FaultRates::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_ends_and_returns() {
        let once = Stall { from: Mono(100), length: Nanos(10), every: None };
        let at = [99, 100, 109, 110, 205].map(|at| once.delay(Mono(at)).0);
        assert_eq!(at, [99, 110, 110, 110, 205]);
        let again = Stall { every: Some(Nanos(100)), ..once };
        assert_eq!(again.delay(Mono(205)), Mono(210));
        assert_eq!(again.delay(Mono(211)), Mono(211));
    }

    #[test]
    fn slowness_has_a_time_and_a_place() {
        let slow = Slow { when: Mono(10)..Mono(20), blocks: Some(Lba(100)..Lba(200)), factor: 8.0 };
        assert_eq!(slow.factor_for(Mono(15), &(Lba(199)..Lba(210))), 8.0);
        assert_eq!(slow.factor_for(Mono(15), &(Lba(200)..Lba(210))), 1.0);
        assert_eq!(slow.factor_for(Mono(20), &(Lba(100)..Lba(101))), 1.0);
    }
}
