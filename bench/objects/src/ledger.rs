//! Which versions of which objects are there.
//!
//! What must always hold: a version is read only after its put was acknowledged, and deleted only
//! while nobody reads it; so a read that finds nothing is the cluster's fault.

use std::collections::{BTreeMap, VecDeque};

use crate::objects::ObjectId;

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    current: Option<u32>,
    next: u32,
}

/// The state of all objects of a load.
#[derive(Debug)]
pub(crate) struct Ledger {
    slots: Vec<Slot>,
    /// Versions that were replaced, oldest first.
    doomed: VecDeque<ObjectId>,
    readers: BTreeMap<ObjectId, u32>,
}

impl Ledger {
    pub(crate) fn new(objects: u64) -> Ledger {
        Ledger {
            slots: vec![Slot::default(); objects as usize],
            doomed: VecDeque::new(),
            readers: BTreeMap::new(),
        }
    }

    /// A new version of an object.
    pub(crate) fn begin_write(&mut self, slot: u64) -> ObjectId {
        let state = &mut self.slots[slot as usize];
        let version = state.next;
        state.next += 1;
        ObjectId { slot, version }
    }

    /// A version was acknowledged: it is read from now on, unless a newer one already is.
    pub(crate) fn wrote(&mut self, object: ObjectId) {
        let state = &mut self.slots[object.slot as usize];
        let newest = state.current.map_or(object.version, |version| version.max(object.version));
        let older = match state.current.replace(newest) {
            Some(before) if before == newest => object.version,
            Some(before) => before,
            None => return,
        };
        self.doomed.push_back(ObjectId { version: older, ..object });
    }

    /// The version of an object that is to be read; none where none was ever acknowledged.
    pub(crate) fn begin_read(&mut self, slot: u64) -> Option<ObjectId> {
        let version = self.slots[slot as usize].current?;
        let object = ObjectId { slot, version };
        *self.readers.entry(object).or_default() += 1;
        Some(object)
    }

    pub(crate) fn end_read(&mut self, object: ObjectId) {
        let readers = self.readers.get_mut(&object).expect("the read was begun");
        *readers -= 1;
        if *readers == 0 {
            self.readers.remove(&object);
        }
    }

    /// The version that was replaced longest ago of those that nobody reads.
    pub(crate) fn take_doomed(&mut self) -> Option<ObjectId> {
        let at = self.doomed.iter().position(|object| !self.readers.contains_key(object))?;
        self.doomed.remove(at)
    }

    /// A delete failed: it is for later.
    pub(crate) fn still_there(&mut self, object: ObjectId) {
        self.doomed.push_back(object);
    }

    /// Everything that is there is to be deleted.
    pub(crate) fn doom_all(&mut self) {
        for (slot, state) in (0..).zip(&mut self.slots) {
            if let Some(version) = state.current.take() {
                self.doomed.push_back(ObjectId { slot, version });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(slot: u64, version: u32) -> ObjectId {
        ObjectId { slot, version }
    }

    #[test]
    fn a_version_is_read_once_it_is_acknowledged_and_then_the_older_one_goes() {
        let mut ledger = Ledger::new(2);
        assert_eq!(ledger.begin_read(1), None);
        let first = ledger.begin_write(1);
        let second = ledger.begin_write(1);
        assert_eq!((first, second), (object(1, 0), object(1, 1)));
        assert_eq!(ledger.begin_read(1), None, "neither was acknowledged");
        ledger.wrote(second);
        assert_eq!(ledger.begin_read(1), Some(second));
        // The older one comes late: it is of no use any more.
        ledger.wrote(first);
        assert_eq!(ledger.begin_read(1), Some(second));
        assert_eq!(ledger.take_doomed(), Some(first));
        assert_eq!(ledger.take_doomed(), None);
    }

    #[test]
    fn what_is_being_read_is_not_deleted() {
        let mut ledger = Ledger::new(1);
        for _ in 0..2 {
            let object = ledger.begin_write(0);
            ledger.wrote(object);
            ledger.begin_read(0);
        }
        assert_eq!(ledger.take_doomed(), None, "version 0 has a reader");
        ledger.end_read(object(0, 0));
        assert_eq!(ledger.take_doomed(), Some(object(0, 0)));
        ledger.still_there(object(0, 0));
        ledger.end_read(object(0, 1));
        ledger.doom_all();
        assert_eq!(ledger.take_doomed(), Some(object(0, 0)));
        assert_eq!(ledger.take_doomed(), Some(object(0, 1)));
        assert_eq!((ledger.take_doomed(), ledger.begin_read(0)), (None, None));
    }
}
