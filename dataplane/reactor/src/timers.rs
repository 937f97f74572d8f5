//! Timers of one core: a binary heap whose entries know their place.
//!
//! What must always hold: timers fire in the order of their times, and those of the same time
//! in the order of their making. One that is no longer wanted leaves at once: most time-outs
//! never fire, and a heap that only forgot them when they came due would be full of them.

use isotherm_seam::Mono;

use crate::task::WakeRef;

/// Which timer: good until it is removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TimerId(u32);

#[derive(Default)]
pub(crate) struct Timers {
    /// Indices of nodes; each parent is earlier than its children.
    heap: Vec<u32>,
    nodes: Vec<Node>,
    free: Vec<u32>,
    made: u64,
}

struct Node {
    at: Mono,
    /// Orders timers of the same time.
    number: u64,
    /// Where it is in the heap; [`FIRED`] after it has fired.
    place: u32,
    wake: Option<WakeRef>,
}

const FIRED: u32 = u32::MAX;

impl Timers {
    pub(crate) fn insert(&mut self, at: Mono, wake: WakeRef) -> TimerId {
        let place = self.heap.len() as u32;
        let node = Node { at, number: self.made, place, wake: Some(wake) };
        self.made += 1;
        let index = match self.free.pop() {
            Some(index) => {
                self.nodes[index as usize] = node;
                index
            }
            None => {
                self.nodes.push(node);
                (self.nodes.len() - 1) as u32
            }
        };
        self.heap.push(index);
        self.rise(place as usize);
        TimerId(index)
    }

    /// Replaces who is woken.
    pub(crate) fn rewake(&mut self, id: TimerId, wake: WakeRef) -> Option<WakeRef> {
        self.nodes[id.0 as usize].wake.replace(wake)
    }

    /// Removes a timer, fired or not. Returns its wake, to be dropped outside.
    pub(crate) fn remove(&mut self, id: TimerId) -> Option<WakeRef> {
        let node = &mut self.nodes[id.0 as usize];
        let wake = node.wake.take();
        let place = std::mem::replace(&mut node.place, FIRED);
        if place != FIRED {
            self.remove_at(place as usize);
        }
        self.free.push(id.0);
        wake
    }

    /// The earliest time that any of them waits for.
    pub(crate) fn next(&self) -> Option<Mono> {
        self.heap.first().map(|&index| self.nodes[index as usize].at)
    }

    /// Fires the earliest timer if it is due; `None` if none is.
    pub(crate) fn fire(&mut self, now: Mono) -> Option<Option<WakeRef>> {
        if self.next()? > now {
            return None;
        }
        let index = self.remove_at(0);
        let node = &mut self.nodes[index as usize];
        node.place = FIRED;
        Some(node.wake.take())
    }

    fn key(&self, place: usize) -> (Mono, u64) {
        let node = &self.nodes[self.heap[place] as usize];
        (node.at, node.number)
    }

    fn remove_at(&mut self, place: usize) -> u32 {
        let index = self.heap.swap_remove(place);
        if place < self.heap.len() {
            self.nodes[self.heap[place] as usize].place = place as u32;
            self.sink(place);
            self.rise(place);
        }
        index
    }

    fn rise(&mut self, mut place: usize) {
        while place > 0 {
            let parent = (place - 1) / 2;
            if self.key(parent) < self.key(place) {
                break;
            }
            self.swap(parent, place);
            place = parent;
        }
    }

    fn sink(&mut self, mut place: usize) {
        loop {
            let children = [2 * place + 1, 2 * place + 2];
            let in_heap = children.into_iter().filter(|&child| child < self.heap.len());
            let Some(child) = in_heap.min_by_key(|&child| self.key(child)) else { break };
            if self.key(place) < self.key(child) {
                break;
            }
            self.swap(place, child);
            place = child;
        }
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.heap.swap(a, b);
        for place in [a, b] {
            self.nodes[self.heap[place] as usize].place = place as u32;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use isotherm_seam::{Domain, Draws};

    use super::*;

    fn fired(timers: &mut Timers, now: Mono) -> Vec<u32> {
        let mut out = Vec::new();
        while let Some(wake) = timers.fire(now) {
            let Some(WakeRef::Local(task)) = wake else { panic!("a local wake") };
            out.push(task);
        }
        out
    }

    #[test]
    fn timers_of_one_time_fire_in_the_order_of_their_making() {
        let mut timers = Timers::default();
        for task in 0..20 {
            timers.insert(Mono(7), WakeRef::Local(task));
        }
        timers.insert(Mono(6), WakeRef::Local(99));
        assert_eq!(fired(&mut timers, Mono(5)), []);
        assert_eq!(fired(&mut timers, Mono(7)), [99].into_iter().chain(0..20).collect::<Vec<_>>());
    }

    #[test]
    fn the_heap_agrees_with_a_sorted_map_under_random_use() {
        for seed in 0..50 {
            let mut draws = Draws::new(seed, Domain::new("test.timers"), 0);
            let mut timers = Timers::default();
            let mut model: BTreeMap<(Mono, u32), TimerId> = BTreeMap::new();
            let mut gone = Vec::new();
            for number in 0..2_000u32 {
                match draws.below(4) {
                    0 | 1 => {
                        let at = Mono(draws.below(1_000));
                        let id = timers.insert(at, WakeRef::Local(number));
                        model.insert((at, number), id);
                    }
                    2 if !model.is_empty() => {
                        let pick = draws.below(model.len() as u64) as usize;
                        let key = *model.keys().nth(pick).expect("within its length");
                        let id = model.remove(&key).expect("just seen");
                        assert!(timers.remove(id).is_some());
                    }
                    _ => {
                        let now = Mono(draws.below(1_000) / 4);
                        let due: Vec<(Mono, u32)> =
                            model.keys().copied().take_while(|key| key.0 <= now).collect();
                        let expected: Vec<u32> = due.iter().map(|key| key.1).collect();
                        assert_eq!(fired(&mut timers, now), expected, "seed {seed}");
                        gone.extend(due.iter().map(|key| model.remove(key).expect("listed")));
                    }
                }
                assert_eq!(timers.next(), model.keys().next().map(|key| key.0), "seed {seed}");
            }
            for id in gone {
                assert!(timers.remove(id).is_none(), "a fired timer has no wake left");
            }
        }
    }
}
