//! The reference model: what a store must answer, on a `BTreeMap`.
//!
//! What must always hold: the model forgets nothing that was acknowledged. An operation under
//! way may have happened or not, so a key has one state for certain (its floor) and perhaps
//! later ones. An answer that shows a later state, or an acknowledgement of it, raises the
//! floor: nothing older may be seen by whoever asks from then on. A crash leaves operations
//! under way undecided for good; what a restarted store shows then decides.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::rc::Rc;

use crate::{Delete, Get, GetError, Key, Put, PutError, Store};

/// What stores shards: a store on a disk, and its model.
pub trait Shards {
    /// Stores or replaces a shard.
    fn put(&self, put: Put, payload: &[u8]) -> impl Future<Output = Result<(), PutError>>;
    /// Removes a shard, whether or not it is here.
    fn delete(&self, delete: Delete) -> impl Future<Output = Result<(), PutError>>;
    /// The tombstone's holder no longer needs it.
    fn release(&self, key: Key);
    /// The payload or a piece of it.
    fn get(&self, get: Get) -> impl Future<Output = Result<Vec<u8>, GetError>>;
    /// All shards from one key to another, both included.
    fn keys(&self, from: Key, to: Key) -> impl Future<Output = Result<Vec<Key>, GetError>>;
}

/// What a key may hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum State {
    /// Nothing.
    Absent,
    /// A shard with this payload.
    Live(Rc<[u8]>),
    /// It was deleted. A tombstone that nobody holds may vanish at any time.
    Dead {
        /// The tombstone is kept until it is released.
        held: bool,
    },
}

impl State {
    /// Whether this answer to a get is right.
    pub fn allows_get(&self, get: &Get, answer: &Result<&[u8], GetError>) -> bool {
        match (self, answer) {
            (State::Live(payload), Ok(bytes)) => match &get.range {
                None => payload[..] == **bytes,
                Some(range) => {
                    payload.get(range.start as usize..range.end as usize) == Some(*bytes)
                }
            },
            (State::Live(payload), Err(GetError::OutOfRange { len_bytes })) => {
                let outside = get.range.as_ref().is_some_and(|r| r.end as usize > payload.len());
                outside && *len_bytes as usize == payload.len()
            }
            (State::Absent | State::Dead { held: false }, Err(GetError::NotFound)) => true,
            (State::Dead { .. }, Err(GetError::Deleted)) => true,
            _ => false,
        }
    }

    /// Whether a listing may show a shard, a tombstone or nothing.
    pub fn allows_listed(&self, is_tombstone: Option<bool>) -> bool {
        match self {
            State::Absent => is_tombstone.is_none(),
            State::Live(_) => is_tombstone == Some(false),
            State::Dead { held: true } => is_tombstone == Some(true),
            State::Dead { held: false } => is_tombstone != Some(false),
        }
    }
}

/// How an operation that changes a key ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It was acknowledged.
    Done,
    /// It was refused because of a tombstone.
    Deleted,
    /// It was refused and has changed nothing.
    Refused,
    /// It failed late: it may have happened or not.
    Unknown,
}

/// An operation under way, or what could be seen of a key at some moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark {
    key: Key,
    number: usize,
}

/// A store did what none may do.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{key}: {what}; it may be {allowed}")]
pub struct Wrong {
    /// Of this key.
    pub key: Key,
    /// What it did.
    pub what: String,
    /// What would have been right.
    pub allowed: String,
}

/// The model. It answers as a store does at once ([`Shards`]); or it is told of each operation
/// as it begins and ends, and judges answers.
#[derive(Clone, Default, Debug)]
pub struct Model {
    keys: RefCell<BTreeMap<Key, History>>,
}

#[derive(Clone, Debug)]
struct History {
    changes: Vec<Change>,
    /// The oldest change that may still be what the key holds.
    floor: usize,
    /// Changes before this one may be lost, and older ones be seen again: the medium was harmed.
    doubt: usize,
}

#[derive(Clone, Debug)]
struct Change {
    state: State,
    /// The floor when it began.
    from: usize,
    under_way: bool,
    refused: bool,
}

impl History {
    fn new() -> History {
        let nothing = Change { state: State::Absent, from: 0, under_way: false, refused: false };
        History { changes: vec![nothing], floor: 0, doubt: 0 }
    }

    /// The changes that may be what a reader sees that began when the floor was `from`.
    fn open(&self, from: usize, to: usize) -> impl Iterator<Item = (usize, &State)> {
        let changes = self.changes.iter().enumerate().take(to).skip(from);
        changes
            .filter(|(_, change)| !change.refused)
            .map(|(number, change)| (number, &change.state))
    }

    /// Whether harm to the medium may explain any answer that was once right. A tombstone kills
    /// what it knows of; harm may have hidden some.
    fn is_doubtful(&self, from: usize) -> bool {
        let gone = |state: &State| !matches!(state, State::Live(_));
        self.doubt > from
            || self.doubt > 0 && self.open(from, usize::MAX).any(|(_, state)| gone(state))
    }

    fn wrong(&self, key: Key, from: usize, what: String) -> Wrong {
        let brief = |state: &State| match state {
            State::Live(payload) => {
                format!("{} bytes {:02x?}", payload.len(), &payload[..payload.len().min(16)])
            }
            other => format!("{other:?}"),
        };
        let allowed: Vec<String> = self.open(from, usize::MAX).map(|(_, s)| brief(s)).collect();
        Wrong { key, what, allowed: allowed.join(" or ") }
    }
}

impl Model {
    fn with<T>(&self, key: Key, then: impl FnOnce(&mut History) -> T) -> T {
        then(self.keys.borrow_mut().entry(key).or_insert_with(History::new))
    }

    /// All keys that anything was ever asked of.
    pub fn known(&self) -> Vec<Key> {
        self.keys.borrow().keys().copied().collect()
    }

    /// The keys with operations under way.
    pub fn under_way(&self) -> Vec<Key> {
        let busy = |history: &History| history.changes.iter().any(|change| change.under_way);
        self.keys.borrow().iter().filter(|(_, h)| busy(h)).map(|(&key, _)| key).collect()
    }

    /// The one state of a key, if it is certain.
    pub fn certain(&self, key: Key) -> Option<State> {
        self.with(key, |history| {
            let mut open = history.open(history.floor, usize::MAX);
            let state = open.next().map(|(_, state)| state.clone());
            if open.next().is_some() || history.is_doubtful(history.floor) { None } else { state }
        })
    }

    /// An operation begins that leaves the key in this state. Those of one key take effect in
    /// the order of these calls.
    pub fn begin(&self, key: Key, state: State) -> Mark {
        self.with(key, |history| {
            let from = history.floor;
            history.changes.push(Change { state, from, under_way: true, refused: false });
            Mark { key, number: history.changes.len() - 1 }
        })
    }

    /// It ends.
    pub fn end(&self, mark: Mark, outcome: Outcome) -> Result<(), Wrong> {
        self.with(mark.key, |history| {
            let is_put = matches!(history.changes[mark.number].state, State::Live(_));
            let from = history.changes[mark.number].from;
            let before = |fits: fn(&State) -> bool| {
                history.is_doubtful(from) || history.open(from, mark.number).any(|(_, s)| fits(s))
            };
            let wrong = match outcome {
                Outcome::Done if is_put && !before(|s| *s != State::Dead { held: true }) => {
                    Some("a put went past a tombstone that is held")
                }
                Outcome::Deleted if !before(|s| matches!(s, State::Dead { .. })) => {
                    Some("a put was refused for a tombstone that can't be")
                }
                Outcome::Deleted | Outcome::Refused if history.floor == mark.number => {
                    Some("it was refused after it had been seen")
                }
                _ => None,
            };
            let wrong = wrong.map(|what| history.wrong(mark.key, from, what.into()));
            let change = &mut history.changes[mark.number];
            change.under_way = false;
            change.refused = matches!(outcome, Outcome::Deleted | Outcome::Refused);
            if outcome == Outcome::Done {
                history.floor = history.floor.max(mark.number);
            }
            wrong.map_or(Ok(()), Err)
        })
    }

    /// The holder of the key's tombstone lets go of it.
    pub fn let_go(&self, key: Key) {
        self.with(key, |history| {
            for change in &mut history.changes {
                if let State::Dead { held } = &mut change.state {
                    *held = false;
                }
            }
        });
    }

    /// A reader begins.
    pub fn watch(&self, key: Key) -> Mark {
        self.with(key, |history| Mark { key, number: history.floor })
    }

    /// The reader was told something that only states `fit` explain.
    pub fn see(
        &self,
        since: Mark,
        what: impl Fn() -> String,
        fit: impl Fn(&State) -> bool,
    ) -> Result<(), Wrong> {
        self.with(since.key, |history| {
            let doubtful = history.is_doubtful(since.number);
            let gone = [State::Absent, State::Dead { held: true }];
            if doubtful
                && (gone.iter().any(&fit) || history.open(0, since.number).any(|s| fit(s.1)))
            {
                // Harm explains it as well: nothing is learnt from it.
                return Ok(());
            }
            let seen = history.open(since.number, usize::MAX).find(|s| fit(s.1)).map(|s| s.0);
            if let Some(number) = seen {
                history.floor = history.floor.max(number);
                return Ok(());
            }
            Err(history.wrong(since.key, since.number, what()))
        })
    }

    /// The medium was harmed where this key lies: what was acknowledged of it so far may be
    /// gone, though nothing else may be in its place.
    pub fn doubt(&self, key: Key) {
        self.with(key, |history| history.doubt = history.changes.len());
    }

    /// Whether harm to the medium may explain what is seen of this key.
    pub fn is_doubtful(&self, key: Key) -> bool {
        self.with(key, |history| history.is_doubtful(history.floor))
    }

    /// The store is gone: of what was under way nobody will hear.
    pub fn crash(&self) {
        for history in self.keys.borrow_mut().values_mut() {
            history.changes.iter_mut().for_each(|change| change.under_way = false);
        }
    }

    /// As [`Model::see`], after a restart: what the key holds is now decided.
    pub fn decide(
        &self,
        key: Key,
        what: impl Fn() -> String,
        fit: impl Fn(&State) -> bool,
    ) -> Result<(), Wrong> {
        self.see(self.watch(key), what, &fit)?;
        self.with(key, |history| {
            let floor = history.floor;
            if history.doubt <= floor {
                for change in &mut history.changes[floor + 1..] {
                    change.refused |= !fit(&change.state);
                }
            }
        });
        Ok(())
    }
}

impl Shards for Store {
    async fn put(&self, put: Put, payload: &[u8]) -> Result<(), PutError> {
        let mut buf = self.buffer(payload.len()).map_err(PutError::Buffer)?;
        buf.fill(payload);
        Store::put(self, put, buf).await.map(|_| ())
    }

    async fn delete(&self, delete: Delete) -> Result<(), PutError> {
        Store::delete(self, delete).await
    }

    fn release(&self, key: Key) {
        Store::release(self, key);
    }

    async fn get(&self, get: Get) -> Result<Vec<u8>, GetError> {
        Store::get(self, get).await.map(|shard| shard.to_vec())
    }

    async fn keys(&self, from: Key, to: Key) -> Result<Vec<Key>, GetError> {
        let mut keys = Vec::new();
        let mut next = Some(from);
        while let Some(from) = next {
            let page = self.list(from, to, 100).await?;
            keys.extend(page.entries.iter().filter(|e| !e.is_tombstone).map(|e| e.key));
            next = page.next;
        }
        Ok(keys)
    }
}

impl Shards for Model {
    async fn put(&self, put: Put, payload: &[u8]) -> Result<(), PutError> {
        if let Some(State::Dead { held: true }) = self.certain(put.key) {
            return Err(PutError::Deleted);
        }
        let mark = self.begin(put.key, State::Live(payload.into()));
        self.end(mark, Outcome::Done).expect("it was not held");
        Ok(())
    }

    async fn delete(&self, delete: Delete) -> Result<(), PutError> {
        let was_held = self.certain(delete.key) == Some(State::Dead { held: true });
        let mark = self.begin(delete.key, State::Dead { held: delete.hold || was_held });
        self.end(mark, Outcome::Done).expect("a delete is always right");
        Ok(())
    }

    fn release(&self, key: Key) {
        self.let_go(key);
    }

    async fn get(&self, get: Get) -> Result<Vec<u8>, GetError> {
        match (self.certain(get.key), get.range) {
            (Some(State::Live(payload)), None) => Ok(payload.to_vec()),
            (Some(State::Live(payload)), Some(range)) => {
                let piece = payload.get(range.start as usize..range.end as usize);
                let len_bytes = payload.len() as u32;
                piece.map(<[u8]>::to_vec).ok_or(GetError::OutOfRange { len_bytes })
            }
            (Some(State::Dead { .. }), _) => Err(GetError::Deleted),
            _ => Err(GetError::NotFound),
        }
    }

    async fn keys(&self, from: Key, to: Key) -> Result<Vec<Key>, GetError> {
        let mut known = self.known();
        known.retain(|&key| {
            (from..=to).contains(&key) && matches!(self.certain(key), Some(State::Live(_)))
        });
        Ok(known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key = Key { group: 1, object: 2, stripe: 3, position: 4 };

    fn live(byte: u8) -> State {
        State::Live(Rc::from([byte]))
    }

    fn sees(model: &Model, since: Mark, state: &State) -> bool {
        model.see(since, String::new, |s| s == state).is_ok()
    }

    #[test]
    fn what_is_acknowledged_stays_and_what_is_not_may() {
        let model = Model::default();
        let first = model.begin(KEY, live(1));
        model.end(first, Outcome::Done).unwrap();
        model.begin(KEY, live(2));
        model.crash();
        for (state, allowed) in [(State::Absent, false), (live(1), true), (live(2), true)] {
            let model = model.clone();
            assert_eq!(model.decide(KEY, String::new, |s| *s == state).is_ok(), allowed);
            if allowed {
                assert_eq!(model.certain(KEY), Some(state), "and is decided from then on");
            }
        }
    }

    #[test]
    fn what_was_seen_once_is_seen_ever_after() {
        let model = Model::default();
        let before = model.watch(KEY);
        model.begin(KEY, live(1));
        assert!(sees(&model, before, &State::Absent));
        assert!(sees(&model, before, &live(1)));
        assert!(sees(&model, before, &State::Absent), "by one who asked before");
        assert!(!sees(&model, model.watch(KEY), &State::Absent), "by nobody who asks now");
        model.crash();
        assert!(model.decide(KEY, String::new, |s| *s == State::Absent).is_err());
    }

    #[test]
    fn a_held_tombstone_refuses_a_put_until_it_is_released() {
        let model = Model::default();
        let delete = model.begin(KEY, State::Dead { held: true });
        model.end(delete, Outcome::Done).unwrap();
        let put = model.begin(KEY, live(1));
        assert!(model.clone().end(put, Outcome::Done).is_err());
        model.end(put, Outcome::Deleted).unwrap();
        model.let_go(KEY);
        let put = model.begin(KEY, live(1));
        assert!(model.clone().end(put, Outcome::Deleted).is_ok(), "it may still be there");
        model.end(put, Outcome::Done).unwrap();
        let put = model.begin(KEY, live(2));
        assert!(model.end(put, Outcome::Deleted).is_err());
    }

    #[test]
    fn harm_allows_what_was_and_never_what_was_not() {
        let model = Model::default();
        for byte in [1, 2] {
            let put = model.begin(KEY, live(byte));
            model.end(put, Outcome::Done).unwrap();
        }
        assert!(!sees(&model, model.watch(KEY), &live(1)));
        model.doubt(KEY);
        assert!(sees(&model, model.watch(KEY), &live(1)));
        assert!(sees(&model, model.watch(KEY), &State::Absent));
        assert!(!sees(&model, model.watch(KEY), &live(9)));
        let put = model.begin(KEY, live(3));
        model.end(put, Outcome::Done).unwrap();
        assert!(!sees(&model, model.watch(KEY), &live(1)), "a new put is beyond doubt");
    }

    #[test]
    fn answers_are_those_of_the_state() {
        let get = |range| Get { key: KEY, range, deadline: None };
        let state = State::Live(Rc::from([1, 2, 3]));
        assert!(state.allows_get(&get(None), &Ok(&[1, 2, 3])));
        assert!(state.allows_get(&get(Some(1..3)), &Ok(&[2, 3])));
        assert!(!state.allows_get(&get(Some(1..3)), &Ok(&[1, 2])));
        let beyond = GetError::OutOfRange { len_bytes: 3 };
        assert!(state.allows_get(&get(Some(1..4)), &Err(beyond)));
        assert!(!state.allows_get(&get(Some(1..3)), &Err(beyond)));
        assert!(!state.allows_get(&get(None), &Err(GetError::NotFound)));
        let faded = State::Dead { held: false };
        assert!(faded.allows_listed(None) && faded.allows_listed(Some(true)));
        assert!(!faded.allows_listed(Some(false)));
    }
}
