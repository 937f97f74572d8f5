//! The ground truth: what was acknowledged, and all that clients saw.
//!
//! What must always hold: a byte of an object follows from the object's number and the byte's
//! place, so any other byte is seen for what it is at once, without keeping what was put.

use std::collections::{BTreeMap, BTreeSet};

use isotherm_client::{Class, ClientError, Locator};
use isotherm_seam::{Clock, Domain, draw};
use isotherm_sim::SimClock;

use crate::linear::{self, Event, Saw, Verdict};

const CONTENT: Domain = Domain::new("simulator.content");
const NUMBER: Domain = Domain::new("simulator.object");

/// What is wrong with a run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// Which rule was broken: what a plan is cut down by.
    pub rule: &'static str,
    /// How.
    pub what: String,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.rule, self.what)
    }
}

/// What is known of an object.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) len: u64,
    /// Once its put was acknowledged.
    pub(crate) locator: Option<Locator>,
    /// Its put is under way.
    pub(crate) is_putting: bool,
    events: Vec<Event>,
    /// Calls under way that matter to the order: reads and deletes, by their place.
    open_deletes: u32,
    pub(crate) delete_called: bool,
    pub(crate) delete_acknowledged: bool,
}

/// What happened so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// Operations that were begun.
    pub begun: u64,
    /// That ended well; a read that was told of a delete is one of them.
    pub good: u64,
    /// That failed.
    pub failed: u64,
    /// Whose object had never been acknowledged.
    pub skipped: u64,
    /// Bytes that were read and compared.
    pub bytes_read: u64,
    /// Reads of fewer cells than are needed to decode that gave bytes behind a delete.
    pub parts_seen_late: u64,
}

/// All objects of a run.
pub(crate) struct Ledger {
    seed: u64,
    pub(crate) objects: BTreeMap<u64, Entry>,
    place: u64,
    pub(crate) failures: Vec<Failure>,
    pub(crate) tally: Tally,
    /// The plan harms more than objects survive: losses are claims, to be held against the truth.
    pub(crate) is_beyond: bool,
    /// Objects that a read has said to be gone although nobody deleted them.
    pub(crate) claims: BTreeSet<u64>,
    /// Objects that are lost.
    pub(crate) lost: BTreeSet<u64>,
    /// The object whose story is told, and the story.
    pub(crate) watched: Option<u64>,
    pub(crate) story: Vec<String>,
    clock: SimClock,
}

/// Whether a range of so many bytes may lie in fewer cells than are needed to decode.
fn is_part(locator: &Locator, len: u64) -> bool {
    let cells = u64::from(locator.data_cells);
    locator.class == Class::Stripe && len <= (cells - 1) * locator.len_bytes.div_ceil(cells)
}

/// Words of an object's content that follow from one key.
const KEY_WORDS: u64 = 256;

/// Cheap, and no two words alike within an object or between two.
fn mix(key: u64, word: u64) -> u64 {
    (key ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31) ^ key
}

/// Failures that are kept: the first says most.
const FAILURES_MAX: usize = 16;

impl Ledger {
    pub(crate) fn new(seed: u64, clock: SimClock) -> Ledger {
        Ledger {
            seed,
            objects: BTreeMap::new(),
            place: 0,
            failures: Vec::new(),
            tally: Tally::default(),
            is_beyond: false,
            claims: BTreeSet::new(),
            lost: BTreeSet::new(),
            watched: None,
            story: Vec::new(),
            clock,
        }
    }

    /// The number under which an object of the plan is put. Never used again.
    pub(crate) fn id(&self, object: u64) -> u128 {
        u128::from(draw(self.seed, NUMBER, object, 0)) << 64 | u128::from(object)
    }

    /// The object of a number; `None` if no object has it.
    pub(crate) fn object_of(&self, id: u128) -> Option<u64> {
        let object = id as u64;
        (self.id(object) == id && self.objects.contains_key(&object)).then_some(object)
    }

    /// The bytes of an object from a place on.
    pub(crate) fn content(&self, object: u64, from: u64, len: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(len);
        self.each_piece(object, from, len, |piece| {
            out.extend_from_slice(piece);
            true
        });
        out
    }

    /// The first of these bytes that is not the object's, from a place on.
    fn first_wrong(&self, object: u64, from: u64, bytes: &[u8]) -> Option<usize> {
        let (mut at, mut wrong) = (0, None);
        self.each_piece(object, from, bytes.len(), |piece| {
            let found = &bytes[at..at + piece.len()];
            if found != piece {
                let first = found.iter().zip(piece).position(|(a, b)| a != b);
                wrong = first.map(|first| at + first);
            }
            at += piece.len();
            wrong.is_none()
        });
        wrong
    }

    /// Shows the bytes of an object from a place on, piece by piece, for as long as `show` says yes.
    fn each_piece(&self, object: u64, from: u64, len: usize, mut show: impl FnMut(&[u8]) -> bool) {
        let end = from + len as u64;
        let mut buf = [0; (KEY_WORDS * 8) as usize];
        for number in from / 8 / KEY_WORDS..end.div_ceil(8 * KEY_WORDS) {
            let key = draw(self.seed, CONTENT, object, number);
            let start = number * KEY_WORDS;
            for (bytes, word) in buf.as_chunks_mut::<8>().0.iter_mut().zip(start..) {
                *bytes = mix(key, word).to_le_bytes();
            }
            let (start, stop) = (start * 8, (start + KEY_WORDS) * 8);
            let piece = (from.max(start) - start) as usize..(end.min(stop) - start) as usize;
            if !show(&buf[piece]) {
                return;
            }
        }
    }

    pub(crate) fn fail(&mut self, rule: &'static str, what: String) {
        if self.failures.len() < FAILURES_MAX {
            self.failures.push(Failure { rule, what });
        }
    }

    /// A line of the story, if one is told.
    pub(crate) fn tell(&mut self, what: impl FnOnce() -> String) {
        if self.watched.is_some() {
            let ms = self.clock.mono().0 as f64 / 1e6;
            self.story.push(format!("{ms:.3} {}", what()));
        }
    }

    pub(crate) fn tell_of(&mut self, object: u64, what: impl FnOnce() -> String) {
        if self.watched == Some(object) {
            self.tell(what);
        }
    }

    fn next_place(&mut self) -> u64 {
        self.place += 1;
        self.place
    }

    /// A put begins.
    pub(crate) fn put_begins(&mut self, object: u64, len: u64) {
        self.tally.begun += 1;
        let entry = Entry {
            len,
            locator: None,
            is_putting: true,
            events: Vec::new(),
            open_deletes: 0,
            delete_called: false,
            delete_acknowledged: false,
        };
        let before = self.objects.insert(object, entry);
        assert!(before.is_none(), "object {object} is put twice: the plan is wrong");
    }

    pub(crate) fn put_ends(&mut self, object: u64, result: Result<Locator, ClientError>) {
        self.tell_of(object, || format!("put: {result:?}"));
        let wanted = self.id(object);
        let entry = self.objects.get_mut(&object).expect("its put has begun");
        entry.is_putting = false;
        match result {
            Ok(locator) => {
                self.tally.good += 1;
                let is_it = locator.object == wanted && locator.len_bytes == entry.len;
                entry.locator = Some(locator);
                if !is_it {
                    self.fail("locator", format!("object {object} got {locator:?}"));
                }
            }
            Err(error) => {
                self.tally.failed += 1;
                let is_honest = !matches!(
                    error,
                    ClientError::OutOfRange { .. }
                        | ClientError::Locator(_)
                        | ClientError::TooLong { .. }
                        | ClientError::OtherCluster
                        | ClientError::NotFound
                        | ClientError::Lost { .. }
                        | ClientError::Corrupt { .. }
                );
                if !is_honest {
                    self.fail("error", format!("the put of object {object} answered {error:?}"));
                }
            }
        }
    }

    /// A read or a delete begins, if the object was ever acknowledged: its locator, and the place
    /// of the call.
    pub(crate) fn begins(&mut self, object: u64) -> Option<(Locator, u64)> {
        match self.objects.get(&object).and_then(|entry| entry.locator) {
            Some(locator) => {
                self.tally.begun += 1;
                Some((locator, self.next_place()))
            }
            None => {
                self.tally.skipped += 1;
                None
            }
        }
    }

    /// A read of bytes from a place on ends.
    pub(crate) fn read_ends(
        &mut self,
        object: u64,
        call: u64,
        from: u64,
        len: u64,
        result: Result<Vec<u8>, ClientError>,
    ) {
        self.tell_of(object, || {
            let what = result.as_ref().map(Vec::len);
            format!("read {call} of {len} bytes from {from}: {what:?}")
        });
        let now_ms = self.clock.mono().0 / 1_000_000;
        let back = Some(self.next_place());
        let saw = match result {
            Ok(bytes) => {
                self.tally.bytes_read += bytes.len() as u64;
                let at = self.first_wrong(object, from, &bytes);
                if at.is_some() || bytes.len() as u64 != len {
                    let what = format!(
                        "object {object}: {} bytes instead of {len} from byte {from} on, the first \
                         other one at {at:?}, at {now_ms} ms",
                        bytes.len()
                    );
                    return self.fail("bytes", what);
                }
                Some(Saw::Bytes)
            }
            Err(error @ (ClientError::Deleted | ClientError::NotFound)) => {
                let is_claim = self.is_beyond && error == ClientError::NotFound;
                let entry = &self.objects[&object];
                // Without a delete there is nothing to look for.
                if !entry.delete_called && is_claim {
                    self.claims.insert(object);
                    self.tally.failed += 1;
                    return;
                }
                if !entry.delete_called {
                    let what = format!("object {object} is gone without a delete, at {now_ms} ms");
                    self.fail("durability", what);
                    return;
                }
                Some(Saw::Gone)
            }
            Err(error @ (ClientError::Lost { .. } | ClientError::Corrupt { .. })) => {
                let entry = &self.objects[&object];
                // The remains of a deleted object are allowed to look like that.
                if !entry.delete_called && self.is_beyond {
                    self.claims.insert(object);
                } else if !entry.delete_called {
                    let what = format!("object {object}: {error}, at {now_ms} ms");
                    self.fail("durability", what);
                }
                None
            }
            Err(
                error @ (ClientError::OutOfRange { .. }
                | ClientError::Locator(_)
                | ClientError::OtherCluster
                | ClientError::TooLong { .. }),
            ) => {
                self.fail("error", format!("a read of object {object} answered {error:?}"));
                None
            }
            Err(_) => None,
        };
        match saw {
            Some(saw) => {
                self.tally.good += 1;
                let entry = self.objects.get_mut(&object).expect("it was begun");
                let is_part = entry.locator.is_some_and(|locator| is_part(&locator, len));
                // A member that has missed a delete gives its cell until it hears of it, and fewer cells
                // than are needed to decode may all be of such members. What it gives is right, and
                // after a repair there is none: that is looked for by itself.
                if saw == Saw::Bytes && is_part && entry.delete_called {
                    self.tally.parts_seen_late += 1;
                } else {
                    entry.events.push(Event { call, back, saw });
                }
            }
            None => self.tally.failed += 1,
        }
    }

    /// A delete begins. It counts as perhaps done until it ends.
    pub(crate) fn delete_begins(&mut self, object: u64) {
        self.tell_of(object, || "a delete begins".into());
        let entry = self.objects.get_mut(&object).expect("it was begun");
        entry.delete_called = true;
        entry.open_deletes += 1;
    }

    pub(crate) fn delete_ends(&mut self, object: u64, call: u64, result: Result<(), ClientError>) {
        self.tell_of(object, || format!("delete {call}: {result:?}"));
        let place = self.next_place();
        let entry = self.objects.get_mut(&object).expect("it was begun");
        entry.open_deletes -= 1;
        match result {
            Ok(()) => {
                self.tally.good += 1;
                entry.delete_acknowledged = true;
                entry.events.push(Event { call, back: Some(place), saw: Saw::Deleted });
            }
            Err(_) => {
                self.tally.failed += 1;
                entry.events.push(Event { call, back: None, saw: Saw::MaybeDeleted });
            }
        }
    }

    /// The machine of a client has died: what was under way never returns. Deletes are given by
    /// object and the place of their call.
    pub(crate) fn never_ends(&mut self, deletes: &[(u64, u64)], puts: &[u64]) {
        for &(object, call) in deletes {
            self.tell_of(object, || format!("delete {call}: its client died"));
            let entry = self.objects.get_mut(&object).expect("it was begun");
            entry.open_deletes -= 1;
            entry.events.push(Event { call, back: None, saw: Saw::MaybeDeleted });
        }
        for object in puts {
            self.objects.get_mut(object).expect("it was begun").is_putting = false;
        }
    }

    /// Objects that must be there: acknowledged, and no delete was ever asked for.
    pub(crate) fn living(&self) -> Vec<(u64, Locator)> {
        let entries = self.objects.iter().filter(|(_, entry)| !entry.delete_called);
        entries.filter_map(|(&object, entry)| Some((object, entry.locator?))).collect()
    }

    /// Objects of which a delete was asked for.
    pub(crate) fn dying(&self) -> Vec<(u64, Locator)> {
        let entries = self.objects.iter().filter(|(_, entry)| entry.delete_called);
        entries.filter_map(|(&object, entry)| Some((object, entry.locator?))).collect()
    }

    /// Looks at all that clients saw. Returns how many objects could not be decided.
    pub(crate) fn check_order(&mut self) -> u64 {
        let mut unknown = 0;
        let mut bad = Vec::new();
        for (&object, entry) in &self.objects {
            let gone = entry.events.iter().any(|event| event.saw != Saw::Bytes);
            // Reads of bytes alone are in order however they lie.
            if !gone {
                continue;
            }
            match linear::check(&entry.events) {
                Verdict::Linear => {}
                Verdict::Unknown => unknown += 1,
                Verdict::NotLinear => bad.push((object, entry.events.clone())),
            }
        }
        for (object, mut events) in bad {
            events.sort_unstable();
            let acknowledged = events.iter().any(|event| event.saw == Saw::Deleted);
            let rule = if acknowledged { "resurrection" } else { "order" };
            let tail = &events[events.len().saturating_sub(8)..];
            self.fail(rule, format!("object {object}: no order explains {tail:?}"));
        }
        unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_follows_from_its_place_and_another_is_seen() {
        let ledger = Ledger::new(7, SimClock::new());
        let whole = ledger.content(3, 0, 10_000);
        assert_ne!(whole, ledger.content(4, 0, 10_000));
        for (from, len) in [(0, 0), (0, 1), (5, 3), (8, 16), (2047, 2), (2048, 2048), (4095, 5905)]
        {
            let mut part = whole[from..from + len].to_vec();
            assert_eq!(ledger.content(3, from as u64, len), part, "{len} from {from}");
            assert_eq!(ledger.first_wrong(3, from as u64, &part), None);
            for at in [0, len / 2, len.saturating_sub(1)] {
                let Some(byte) = part.get_mut(at) else { continue };
                *byte ^= 1;
                assert_eq!(ledger.first_wrong(3, from as u64, &part), Some(at));
                part[at] ^= 1;
            }
        }
    }
}
