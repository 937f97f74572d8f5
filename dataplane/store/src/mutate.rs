//! Puts and deletes: one change of a key at a time, in the order of the calls.
//!
//! What must always hold: before a key's record is replaced or killed the store is certain that
//! it is that key's. A fingerprint alone never decides: the record itself is read, or the
//! memory of recent changes or the index run, which have whole keys.

use std::rc::Rc;

use crate::api::{Delete, Put, PutError};
use crate::append::{Aim, Body, Item, NO_KILLS, Then};
use crate::core::{Core, Done, Turns};
use crate::index::{DeltaKind, Found};
use crate::layout::{Kill, Kills, RecordHead, Shape, Tomb};
use crate::lifetime::aim_of_put;
use crate::payload::PutBuf;
use crate::{Key, Place};

/// What a key is now.
pub(crate) enum Standing {
    Absent,
    Live(Live),
    /// A tombstone.
    Dead {
        place: Place,
        kills: Kills,
        held: bool,
    },
}

/// A shard.
pub(crate) struct Live {
    pub(crate) place: Place,
    /// What lies on the disk of it: this record and older ones.
    pub(crate) kills: Kills,
    /// The number of its put; `None` if its record can't be read.
    pub(crate) sequence: Option<u64>,
}

impl Core {
    /// Checks and queues a put; its answer comes in the slot.
    pub(crate) fn begin_put(self: &Rc<Core>, put: Put, buf: PutBuf) -> u32 {
        let slot = self.state.borrow_mut().answers.open();
        if let Some(why) = self.put_is_refused(&put, &buf) {
            self.state.borrow_mut().answers.put(slot, Err(why));
            return slot;
        }
        let (ticket, change) = self.take_ticket(put.key);
        let absent = matches!(self.state.borrow().index.lookup(&put.key), Found::Absent);
        if ticket.is_first && absent {
            self.queue_put(put, buf, slot, change, None);
            return slot;
        }
        let core = Rc::clone(self);
        self.spawn("store.put", async move {
            core.turn(put.key, ticket.number).await;
            match core.standing(&put.key).await {
                Ok(Standing::Absent) => core.queue_put(put, buf, slot, change, None),
                Ok(Standing::Live(live)) => core.queue_put(put, buf, slot, change, Some(live)),
                Ok(Standing::Dead { .. }) => {
                    core.answer_early(put.key, slot, change, Err(PutError::Deleted));
                }
                Err(why) => core.answer_early(put.key, slot, change, Err(why)),
            }
        });
        slot
    }

    fn put_is_refused(&self, put: &Put, buf: &PutBuf) -> Option<PutError> {
        if buf.len() > self.payload_max as usize {
            return Some(PutError::TooLong);
        }
        if let Some(expected) = put.crc {
            let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
            buf.pieces().for_each(|piece| digest.update(piece));
            if digest.finalize() as u32 != expected {
                return Some(PutError::Mismatch);
            }
        }
        if self.state.borrow().retired {
            return Some(PutError::Retired);
        }
        self.change_is_refused()
    }

    fn change_is_refused(&self) -> Option<PutError> {
        let state = self.state.borrow();
        if state.closing {
            Some(PutError::Closed)
        } else if state.fenced {
            Some(PutError::Fenced)
        } else {
            None
        }
    }

    fn queue_put(&self, put: Put, buf: PutBuf, slot: u32, change: u64, replaced: Option<Live>) {
        let (is_refused, aim) = {
            let state = self.state.borrow();
            let queued = state.changes.len() as u64;
            let sequence = replaced.as_ref().and_then(|live| live.sequence);
            let lifetime = sequence.map(|sequence| state.next_sequence.saturating_sub(sequence));
            let is_refused = replaced.is_none() && state.index.room() < queued;
            let aim = match state.extents.is_short() {
                true => aim_of_put(lifetime, state.index.len()),
                // Two lanes cost a seek for each batch: none where there is nothing to clean.
                false => Aim::Fresh,
            };
            (is_refused, aim)
        };
        if is_refused {
            return self.answer_early(put.key, slot, change, Err(PutError::IndexFull));
        }
        let (replaced, kills) = match replaced {
            Some(Live { place, kills, .. }) => (Some(place), kills),
            None => (None, Kills::default()),
        };
        let head = RecordHead {
            key: put.key,
            epoch: put.epoch,
            codec: put.codec,
            put_s: self.world.wall_s(),
            expires_s: put.expires_s,
            kills,
            supersedes: replaced,
        };
        let shape = buf.shape;
        let body = Body::Shard { head, buf: Some(buf), vital: put.vital };
        let then = Then::Answer { slot, change, replaced };
        self.enqueue(Item { body, shape, sequence: None, then, owed: Vec::new() }, aim);
    }

    /// Queues a delete; its answer comes in the slot.
    pub(crate) fn begin_delete(self: &Rc<Core>, delete: Delete) -> u32 {
        let slot = self.state.borrow_mut().answers.open();
        if let Some(why) = self.change_is_refused() {
            self.state.borrow_mut().answers.put(slot, Err(why));
            return slot;
        }
        let (ticket, change) = self.take_ticket(delete.key);
        let core = Rc::clone(self);
        self.spawn("store.delete", async move {
            core.turn(delete.key, ticket.number).await;
            if core.state.borrow().fenced {
                // Nobody knows what became of the put before it: it may be on the disk, although
                // the index has never heard of it.
                return core.answer_early(delete.key, slot, change, Err(PutError::Fenced));
            }
            let (replaced, kills) = match core.standing(&delete.key).await {
                Ok(Standing::Absent) if !delete.hold => {
                    return core.answer_early(delete.key, slot, change, Ok(Done::Deleted));
                }
                Ok(Standing::Absent) => (None, Kills::default()),
                Ok(Standing::Live(Live { place, kills, .. })) => (Some(place), kills),
                Ok(Standing::Dead { held, .. }) if held || !delete.hold => {
                    if delete.hold {
                        core.state.borrow_mut().released.remove(&delete.key);
                    }
                    return core.answer_early(delete.key, slot, change, Ok(Done::Deleted));
                }
                Ok(Standing::Dead { place, kills, .. }) => (Some(place), kills),
                Err(why) => return core.answer_early(delete.key, slot, change, Err(why)),
            };
            let tomb = {
                let state = &mut *core.state.borrow_mut();
                state.released.remove(&delete.key);
                Tomb {
                    key: delete.key,
                    sequence: 0,
                    epoch: delete.epoch,
                    deleted_s: core.world.wall_s(),
                    held: delete.hold,
                    born: state.extents.next_incarnation(),
                    kills,
                    supersedes: replaced,
                }
            };
            let then = Then::Answer { slot, change, replaced };
            let shape = Shape { payload_bytes: 0 };
            let body = Body::Tomb(tomb);
            core.enqueue(Item { body, shape, sequence: None, then, owed: Vec::new() }, Aim::Fresh);
        });
        slot
    }

    fn answer_early(&self, key: Key, slot: u32, change: u64, answer: Result<Done, PutError>) {
        self.state.borrow_mut().answer_change(key, slot, change, answer);
        self.progress.notify();
    }

    fn take_ticket(&self, key: Key) -> (Ticket, u64) {
        let state = &mut *self.state.borrow_mut();
        let change = state.next_change;
        state.next_change += 1;
        state.changes.insert(change);
        (state.take_turn(key), change)
    }

    /// Waits for its turn to change a key.
    pub(crate) async fn turn(&self, key: Key, number: u32) {
        let is_next = || {
            let state = self.state.borrow();
            let turns = state.turns.get(&key).expect("a ticket was taken");
            (turns.serving == number).then_some(())
        };
        self.progress.until(is_next).await;
    }

    /// What a key is, for certain.
    pub(crate) async fn standing(self: &Rc<Core>, key: &Key) -> Result<Standing, PutError> {
        // Whether its key is known without its record; its number, if it names nothing older.
        let (place, is_certain, known) = {
            let state = self.state.borrow();
            match state.index.lookup(key) {
                Found::Absent => return Ok(Standing::Absent),
                Found::Memory(delta) => match delta.kind {
                    DeltaKind::Gone => return Ok(Standing::Absent),
                    DeltaKind::Live => {
                        let known = (delta.flags & NO_KILLS != 0).then_some(delta.sequence);
                        (delta.place, true, known)
                    }
                    DeltaKind::Dead => (delta.place, true, None),
                },
                Found::Collided(place) => (place, true, None),
                Found::Table(place) => (place, false, None),
            }
        };
        let own = self.kill_of(&place);
        if known.is_some() {
            let mut kills = Kills::default();
            kills.add(own);
            return Ok(Standing::Live(Live { place, kills, sequence: known }));
        }
        // Where its record can't be read, the runs have the whole key; what older records it named
        // is lost, so whatever kills it must outlive everything older.
        let mut unknown = Kills::default();
        unknown.forget();
        if place.dead {
            return match self.read_tomb(key, &place).await {
                Ok(Some(tomb)) => Ok(Standing::Dead { place, kills: tomb.kills, held: tomb.held }),
                Ok(None) if !is_certain => Ok(Standing::Absent),
                _ if is_certain || self.find_in_runs(key).await?.is_some() => {
                    // Whether it is held is unknown: who wants it held writes it anew.
                    Ok(Standing::Dead { place, kills: unknown, held: false })
                }
                _ => Ok(Standing::Absent),
            };
        }
        let (mut kills, sequence) = match self.read_head(key, &place).await {
            Ok(Some((head, (_, sequence)))) => (head.kills, Some(sequence)),
            Ok(None) if !is_certain => return Ok(Standing::Absent),
            _ if is_certain || self.find_in_runs(key).await?.is_some() => (unknown, None),
            _ => return Ok(Standing::Absent),
        };
        kills.retain(|kill| self.state.borrow().extents.is_alive(kill));
        kills.add(own);
        Ok(Standing::Live(Live { place, kills, sequence }))
    }

    pub(crate) fn kill_of(&self, place: &Place) -> Kill {
        let state = self.state.borrow();
        Kill { extent: place.extent, incarnation: state.extents.row(place.extent).incarnation }
    }
}

/// A place in the line of those who want to change a key.
#[derive(Clone, Copy)]
pub(crate) struct Ticket {
    pub(crate) number: u32,
    pub(crate) is_first: bool,
}

impl crate::core::State {
    /// Queues for a change of a key; [`crate::core::State::end_turn`] must follow.
    pub(crate) fn take_turn(&mut self, key: Key) -> Ticket {
        let turns = self.turns.entry(key).or_insert(Turns { serving: 0, next: 0 });
        turns.next += 1;
        Ticket { number: turns.next - 1, is_first: turns.next - 1 == turns.serving }
    }
}
