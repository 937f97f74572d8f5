//! Numbered places for what a layer has in flight.
//!
//! What must always hold: as many as the depth, made once; a place is filled before it is
//! emptied and emptied once. So a layer renumbers requests on their way down by their place,
//! and the submitter's tags may be anything.

/// A fixed number of places.
pub(crate) struct Slots<T> {
    places: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Slots<T> {
    pub(crate) fn new(count: u32) -> Slots<T> {
        Slots { places: (0..count).map(|_| None).collect(), free: (0..count).rev().collect() }
    }

    /// How many are filled.
    pub(crate) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Fills a place; there must be one.
    pub(crate) fn fill(&mut self, value: T) -> u32 {
        let slot = self.free.pop().expect("a free slot");
        self.places[slot as usize] = Some(value);
        slot
    }

    /// Empties a place; it must be filled.
    pub(crate) fn empty(&mut self, slot: u64) -> T {
        let value = self.places[slot as usize].take().expect("a slot is emptied once");
        self.free.push(slot as u32);
        value
    }

    /// What is in flight, in no particular order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.places.iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_filled_and_emptied_once() {
        let mut slots = Slots::new(2);
        let (a, b) = (slots.fill('a'), slots.fill('b'));
        assert!(slots.len() == 2 && a != b);
        assert_eq!(slots.empty(a.into()), 'a');
        assert_eq!(slots.iter().collect::<String>(), "b");
        assert_eq!(slots.fill('c'), a);
    }

    #[test]
    #[should_panic(expected = "emptied once")]
    fn a_slot_emptied_twice_is_a_bug() {
        let mut slots = Slots::new(1);
        let slot = slots.fill(());
        slots.empty(slot.into());
        slots.empty(slot.into());
    }
}
