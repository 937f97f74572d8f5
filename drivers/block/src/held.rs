//! Completions that wait for their time.
//!
//! What must always hold: they leave in the order of their times, and those of one time in the
//! order in which they came.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use isotherm_seam::{Completion, Due, Mono};

/// A bounded queue of completions by time.
pub(crate) struct Held {
    heap: BinaryHeap<Reverse<Entry>>,
    arrivals: u64,
}

struct Entry {
    at: Mono,
    arrival: u64,
    completion: Completion,
}

impl Held {
    /// Room for `count`; what is beyond it would allocate.
    pub(crate) fn new(count: u32) -> Held {
        Held { heap: BinaryHeap::with_capacity(count as usize), arrivals: 0 }
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }

    pub(crate) fn push(&mut self, at: Mono, completion: Completion) {
        debug_assert!(self.heap.len() < self.heap.capacity(), "a fixed size");
        self.arrivals += 1;
        self.heap.push(Reverse(Entry { at, arrival: self.arrivals, completion }));
    }

    /// Moves what is due to `done`, within its spare capacity.
    pub(crate) fn release(&mut self, now: Mono, done: &mut Vec<Completion>) {
        while done.len() < done.capacity() {
            if self.heap.peek().is_none_or(|Reverse(entry)| entry.at > now) {
                return;
            }
            let Reverse(entry) = self.heap.pop().expect("seen above");
            done.push(entry.completion);
        }
    }

    /// When the first is due.
    pub(crate) fn due(&self) -> Due {
        self.heap.peek().map_or(Due::Idle, |Reverse(entry)| Due::At(entry.at))
    }
}

impl Entry {
    fn key(&self) -> (Mono, u64) {
        (self.at, self.arrival)
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Entry) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Entry) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Entry) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Entry {}

#[cfg(test)]
mod tests {
    use super::*;
    use isotherm_seam::Tag;

    #[test]
    fn what_is_due_leaves_in_order_and_within_the_room() {
        let mut held = Held::new(4);
        for (at, tag) in [(5, 0), (3, 1), (5, 2), (9, 3)] {
            let completion = Completion { tag: Tag(tag), buf: None, result: Ok(()) };
            held.push(Mono(at), completion);
        }
        assert_eq!(held.due(), Due::At(Mono(3)));
        let mut done = Vec::with_capacity(2);
        held.release(Mono(2), &mut done);
        assert!(done.is_empty());
        held.release(Mono(8), &mut done);
        let tags = |done: &mut Vec<Completion>| done.drain(..).map(|c| c.tag.0).collect::<Vec<_>>();
        assert_eq!(tags(&mut done), [1, 0]);
        held.release(Mono(8), &mut done);
        assert_eq!(tags(&mut done), [2]);
        assert_eq!(held.due(), Due::At(Mono(9)));
    }
}
