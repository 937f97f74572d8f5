//! Places for calls, used again, with numbers that are not.
//!
//! What must always hold: a number of an earlier tenant finds nothing.

use crate::Ticket;

struct Slot<T> {
    /// How many tenants it has had.
    round: u32,
    tenant: Option<T>,
}

/// A slab whose keys are [`Ticket`]s: round (high half) and place.
pub(crate) struct Slots<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slots<T> {
    fn default() -> Slots<T> {
        Slots { slots: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slots<T> {
    pub(crate) fn insert(&mut self, tenant: T) -> Ticket {
        let place = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { round: 0, tenant: None });
            self.slots.len() as u32 - 1
        });
        let slot = &mut self.slots[place as usize];
        slot.round = slot.round.wrapping_add(1);
        slot.tenant = Some(tenant);
        Ticket(u64::from(slot.round) << 32 | u64::from(place))
    }

    pub(crate) fn get(&mut self, ticket: Ticket) -> Option<&mut T> {
        let slot = self.slots.get_mut(ticket.0 as u32 as usize)?;
        if slot.round == (ticket.0 >> 32) as u32 { slot.tenant.as_mut() } else { None }
    }

    pub(crate) fn remove(&mut self, ticket: Ticket) -> Option<T> {
        self.get(ticket)?;
        let place = ticket.0 as u32;
        self.free.push(place);
        self.slots[place as usize].tenant.take()
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.slots.iter_mut().filter_map(|slot| slot.tenant.as_mut())
    }

    /// Forgets all tenants.
    pub(crate) fn clear(&mut self) {
        for (place, slot) in self.slots.iter_mut().enumerate() {
            if slot.tenant.take().is_some() {
                self.free.push(place as u32);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_finds_its_tenant_and_no_later_one() {
        let mut slots = Slots::default();
        let a = slots.insert('a');
        let b = slots.insert('b');
        assert_eq!(slots.remove(a), Some('a'));
        let c = slots.insert('c');
        assert_ne!(a, c);
        assert_eq!(slots.get(a), None);
        assert_eq!(slots.remove(a), None);
        assert_eq!(slots.get(b), Some(&mut 'b'));
        assert_eq!(slots.get(c), Some(&mut 'c'));
        assert_eq!(slots.len(), 2);
        slots.clear();
        assert_eq!((slots.len(), slots.get(b)), (0, None));
    }
}
