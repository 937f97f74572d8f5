//! Whether what clients saw of one object can have happened in one order.
//!
//! What must always hold: the verdict is exact: there is an order of the operations in which each
//! takes effect between its call and its return, or there is none. An operation that never
//! returned may take effect at any time after its call, or never.
//!
//! The search is that of Wing and Gong (1993) with the memory of Lowe (2017): states that were
//! reached before with the same operations done are not searched again. Objects don't change, so
//! an object is one of three things, and each object is searched by itself.

use std::collections::BTreeSet;

/// What an operation saw or did.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Saw {
    /// A read gave the object's bytes.
    Bytes,
    /// A read was told that it is deleted, or not there.
    Gone,
    /// A delete was acknowledged.
    Deleted,
    /// A delete failed or never returned: from then on reads may see either, until another is
    /// acknowledged.
    MaybeDeleted,
}

/// An operation on one object.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Event {
    /// Place of its call among all calls and returns.
    pub call: u64,
    /// Place of its return; `None` if it never came.
    pub back: Option<u64>,
    /// What it saw.
    pub saw: Saw,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Object {
    There,
    Dying,
    Gone,
}

impl Object {
    fn after(self, saw: Saw) -> Option<Object> {
        match (self, saw) {
            (Object::There | Object::Dying, Saw::Bytes) => Some(self),
            (Object::Dying | Object::Gone, Saw::Gone) => Some(self),
            (_, Saw::Deleted) => Some(Object::Gone),
            (Object::There, Saw::MaybeDeleted) => Some(Object::Dying),
            (_, Saw::MaybeDeleted) => Some(self),
            (Object::Gone, Saw::Bytes) | (Object::There, Saw::Gone) => None,
        }
    }
}

/// What the search found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// There is an order.
    Linear,
    /// There is none.
    NotLinear,
    /// It took more steps than allowed.
    Unknown,
}

/// Steps of a search.
const STEPS_MAX: u32 = 200_000;

/// Operations done, one bit each.
type Done = Vec<u64>;

/// Looks for an order. The object is there before the first event.
#[must_use]
pub fn check(events: &[Event]) -> Verdict {
    let mut events = events.to_vec();
    events.sort_unstable();
    let words = events.len().div_ceil(64);
    let is_done = |done: &Done, at: usize| done[at / 64] >> (at % 64) & 1 == 1;
    let mut seen: BTreeSet<(Done, Object)> = BTreeSet::new();
    let mut open: Vec<(Done, Object)> = vec![(vec![0; words], Object::There)];
    let mut steps = 0;
    while let Some((mut done, object)) = open.pop() {
        steps += 1;
        if steps > STEPS_MAX {
            return Verdict::Unknown;
        }
        // What is next must have been called before anything that is left has returned.
        let mut horizon = horizon_of(&events, &done);
        // Reads that fit change nothing: they are best done at once.
        let mut moved = true;
        while moved {
            moved = false;
            for (at, event) in events.iter().enumerate() {
                let is_read = matches!(event.saw, Saw::Bytes | Saw::Gone);
                if event.call > horizon {
                    break;
                }
                if is_read && !is_done(&done, at) && object.after(event.saw).is_some() {
                    done[at / 64] |= 1 << (at % 64);
                    moved = true;
                }
            }
            if moved {
                horizon = horizon_of(&events, &done);
            }
        }
        let left = |at: &usize| !is_done(&done, *at);
        if (0..events.len()).filter(left).all(|at| events[at].back.is_none()) {
            return Verdict::Linear;
        }
        if !seen.insert((done.clone(), object)) {
            continue;
        }
        for at in (0..events.len()).filter(left) {
            if events[at].call > horizon {
                break;
            }
            if let Some(next) = object.after(events[at].saw) {
                let mut done = done.clone();
                done[at / 64] |= 1 << (at % 64);
                open.push((done, next));
            }
        }
    }
    Verdict::NotLinear
}

/// The first return among what is left.
fn horizon_of(events: &[Event], done: &Done) -> u64 {
    let left = events.iter().enumerate().filter(|(at, _)| done[at / 64] >> (at % 64) & 1 == 0);
    left.filter_map(|(_, event)| event.back).min().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use isotherm_seam::{Domain, Draws};

    use super::*;

    fn event(call: u64, back: u64, saw: Saw) -> Event {
        Event { call, back: (back > 0).then_some(back), saw }
    }

    #[test]
    fn reads_before_and_after_a_delete() {
        let good = [event(1, 2, Saw::Bytes), event(3, 6, Saw::Deleted), event(4, 5, Saw::Bytes)];
        assert_eq!(check(&good), Verdict::Linear);
        let also = [event(3, 6, Saw::Deleted), event(4, 5, Saw::Gone), event(7, 8, Saw::Gone)];
        assert_eq!(check(&also), Verdict::Linear);
        let back = [event(1, 2, Saw::Deleted), event(3, 4, Saw::Bytes)];
        assert_eq!(check(&back), Verdict::NotLinear);
        let lost = [event(1, 2, Saw::Gone), event(3, 4, Saw::Bytes)];
        assert_eq!(check(&lost), Verdict::NotLinear);
        // Seen as gone during the delete, then there again, before the delete returns.
        let flip = [event(1, 9, Saw::Deleted), event(2, 3, Saw::Gone), event(4, 5, Saw::Bytes)];
        assert_eq!(check(&flip), Verdict::NotLinear);
    }

    #[test]
    fn a_delete_that_failed_leaves_both_open() {
        let open = event(1, 0, Saw::MaybeDeleted);
        let flip = [open, event(2, 3, Saw::Gone), event(4, 5, Saw::Bytes)];
        assert_eq!(check(&flip), Verdict::Linear);
        let early = [event(2, 3, Saw::Gone), event(4, 0, Saw::MaybeDeleted)];
        assert_eq!(check(&early), Verdict::NotLinear);
        let late = [open, event(2, 3, Saw::Deleted), event(4, 5, Saw::Bytes)];
        assert_eq!(check(&late), Verdict::NotLinear);
    }

    /// Every order of all subsets of what never returned, without any cleverness.
    fn slow(events: &[Event]) -> bool {
        fn go(events: &[Event], left: u32, object: Object) -> bool {
            let indexes = || (0..events.len()).filter(|at| left >> at & 1 == 1);
            if indexes().all(|at| events[at].back.is_none()) {
                return true;
            }
            let horizon = indexes().filter_map(|at| events[at].back).min().unwrap_or(u64::MAX);
            indexes().any(|at| {
                events[at].call < horizon
                    && object
                        .after(events[at].saw)
                        .is_some_and(|next| go(events, left & !(1 << at), next))
            })
        }
        go(events, (1 << events.len()) - 1, Object::There)
    }

    #[test]
    fn it_agrees_with_a_search_through_all_orders() {
        let mut linear = 0;
        for seed in 0..20_000 {
            let draws = &mut Draws::new(seed, Domain::new("test.linear"), 0);
            let count = 1 + draws.below(6) as usize;
            let mut places: Vec<u64> = (1..=2 * count as u64).collect();
            let mut place = || places.swap_remove(draws.below(places.len() as u64) as usize);
            let pairs: Vec<(u64, u64)> = (0..count).map(|_| (place(), place())).collect();
            let events: Vec<Event> = pairs
                .iter()
                .map(|&(a, b)| {
                    let saw = [Saw::Bytes, Saw::Gone, Saw::Deleted, Saw::MaybeDeleted]
                        [draws.below(4) as usize];
                    let never = saw == Saw::MaybeDeleted;
                    Event { call: a.min(b), back: (!never).then_some(a.max(b)), saw }
                })
                .collect();
            let expected = slow(&events);
            linear += u32::from(expected);
            let verdict = if expected { Verdict::Linear } else { Verdict::NotLinear };
            assert_eq!(check(&events), verdict, "{events:?}");
        }
        assert!((5_000..15_000).contains(&linear), "{linear} of 20,000 are linear");
    }
}
