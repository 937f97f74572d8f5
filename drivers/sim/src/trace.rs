//! A digest of everything that happened, so that two runs of one seed can be compared.
//!
//! What must always hold: the digest after event n depends on all events up to n and on their
//! order. So once two runs differ they differ for good, and the first difference is found by
//! bisecting the checkpoints, then running both again with that stretch kept.

use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;

use isotherm_seam::Mono;

/// Events between two checkpoints.
const CHECKPOINT_EVENTS: u64 = 4096;

/// One event of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TraceEvent {
    /// When it happened.
    pub at: Mono,
    /// To whom: a disk, a task, a connection.
    pub entity: u64,
    /// What kind of event; the numbers are the caller's.
    pub kind: u32,
    /// Which one of its kind.
    pub id: u64,
    /// [`hash64`] of what it carried; 0 for nothing.
    pub content: u64,
}

/// A rolling digest of events. Clones are handles to the same one.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    shared: Rc<RefCell<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    events: u64,
    digest: u64,
    checkpoints: Vec<u64>,
    keep: Range<u64>,
    kept: Vec<TraceEvent>,
}

impl Trace {
    /// Keeps the digest and its checkpoints: 8 bytes per 4,096 events.
    #[must_use]
    pub fn new() -> Trace {
        Trace::default()
    }

    /// Also keeps the events themselves whose index lies in `range`.
    #[must_use]
    pub fn keeping(range: Range<u64>) -> Trace {
        let trace = Trace::default();
        trace.shared.borrow_mut().keep = range;
        trace
    }

    /// Adds one event.
    pub fn record(&self, event: TraceEvent) {
        let s = &mut *self.shared.borrow_mut();
        let words = [event.at.0, event.entity, u64::from(event.kind), event.id, event.content];
        s.digest = words.iter().fold(s.digest, |h, &w| fold(h, w));
        if s.keep.contains(&s.events) {
            s.kept.push(event);
        }
        s.events += 1;
        if s.events.is_multiple_of(CHECKPOINT_EVENTS) {
            s.checkpoints.push(s.digest);
        }
    }

    /// How many events so far.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.shared.borrow().events
    }

    /// The digest of all events so far.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let s = self.shared.borrow();
        fold(s.digest, s.events)
    }

    /// The events kept, in order.
    #[must_use]
    pub fn kept(&self) -> Vec<TraceEvent> {
        self.shared.borrow().kept.clone()
    }

    /// The stretch of event indices that holds the first difference to another run; `None` if
    /// the runs are the same. Run both again with [`Trace::keeping`] that stretch to see it.
    #[must_use]
    pub fn first_difference(&self, other: &Trace) -> Option<Range<u64>> {
        if self.digest() == other.digest() {
            return None;
        }
        let (a, b) = (self.shared.borrow(), other.shared.borrow());
        let both = a.checkpoints.len().min(b.checkpoints.len());
        let (mut same, mut differs) = (0, both);
        while same < differs {
            let middle = same.midpoint(differs);
            if a.checkpoints[middle] == b.checkpoints[middle] {
                same = middle + 1;
            } else {
                differs = middle;
            }
        }
        let start = same as u64 * CHECKPOINT_EVENTS;
        Some(start..start + CHECKPOINT_EVENTS)
    }
}

/// 64 bits that stand for a content. Not against an adversary.
#[must_use]
pub fn hash64(bytes: &[u8]) -> u64 {
    // Four lanes, so that four multiplications are under way at once.
    let mut lanes = [1u64, 2, 3, 4];
    let mut rows = bytes.chunks_exact(32);
    for row in &mut rows {
        for (lane, word) in lanes.iter_mut().zip(row.chunks_exact(8)) {
            *lane = fold(*lane, u64::from_le_bytes(word.try_into().expect("8 bytes")));
        }
    }
    let mut hash = lanes.into_iter().fold(bytes.len() as u64, fold);
    for &byte in rows.remainder() {
        hash = fold(hash, u64::from(byte));
    }
    hash ^ (hash >> 32)
}

/// For a fixed `hash` two words never fold to the same value: each step is a bijection.
#[inline]
fn fold(hash: u64, word: u64) -> u64 {
    (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: u64) -> TraceEvent {
        TraceEvent { at: Mono(id * 3), entity: id % 5, kind: 1, id, content: id ^ 77 }
    }

    fn run(trace: Trace, events: u64, odd_one: u64) -> Trace {
        for id in 0..events {
            let mut event = event(id);
            event.content ^= u64::from(id == odd_one);
            trace.record(event);
        }
        trace
    }

    #[test]
    fn equal_runs_have_no_difference() {
        let (a, b) = (run(Trace::new(), 10_000, u64::MAX), run(Trace::new(), 10_000, u64::MAX));
        assert_eq!(a.first_difference(&b), None);
        assert!(a.first_difference(&run(Trace::new(), 9_999, u64::MAX)).is_some());
    }

    #[test]
    fn the_first_difference_is_found_wherever_it_is() {
        for odd_one in [0, 4_095, 4_096, 9_000, 20_479, 20_480, 20_999] {
            let (a, b) = (run(Trace::new(), 21_000, u64::MAX), run(Trace::new(), 21_000, odd_one));
            let stretch = a.first_difference(&b).expect("they differ");
            assert!(stretch.contains(&odd_one), "{odd_one} not in {stretch:?}");
            let a = run(Trace::keeping(stretch.clone()), 21_000, u64::MAX).kept();
            let b = run(Trace::keeping(stretch.clone()), 21_000, odd_one).kept();
            let at = a.iter().zip(&b).position(|(a, b)| a != b).expect("it is in the stretch");
            assert_eq!(stretch.start + at as u64, odd_one);
        }
    }

    #[test]
    fn a_hash_sees_each_bit_and_the_length() {
        let mut bytes = vec![0u8; 100];
        let zero = hash64(&bytes);
        for bit in 0..800 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(hash64(&bytes), zero, "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        assert_ne!(hash64(&bytes[..99]), zero);
    }
}
