//! All sides of all sessions, by number.
//!
//! What must always hold: a number is never used again; of each address it is known how many sides
//! it has.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;

use super::end::End;

/// Each message looks up two of them, and there may be 40,000: a place for each that ever was.
#[derive(Default)]
pub(super) struct Ends {
    places: Vec<Option<Rc<End>>>,
    of_addr: BTreeMap<SocketAddr, usize>,
    len: usize,
}

impl Ends {
    /// The number of the next side.
    pub(super) fn next_id(&self) -> u64 {
        self.places.len() as u64
    }

    /// Takes the side that has the next number.
    pub(super) fn push(&mut self, end: Rc<End>) {
        assert_eq!(end.id, self.next_id(), "it was made for this place");
        *self.of_addr.entry(end.local).or_default() += 1;
        self.len += 1;
        self.places.push(Some(end));
    }

    pub(super) fn get(&self, id: u64) -> Option<&Rc<End>> {
        self.places.get(usize::try_from(id).ok()?)?.as_ref()
    }

    pub(super) fn remove(&mut self, id: u64) {
        let place = self.places.get_mut(id as usize);
        let Some(end) = place.and_then(Option::take) else { return };
        self.len -= 1;
        *self.of_addr.get_mut(&end.local).expect("it was counted") -= 1;
    }

    /// Those that are open, in the order of their numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Rc<End>> {
        self.places.iter().flatten()
    }

    /// How many are open,
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// and at one address.
    pub(super) fn sessions_of(&self, addr: &SocketAddr) -> usize {
        self.of_addr.get(addr).copied().unwrap_or(0)
    }
}
